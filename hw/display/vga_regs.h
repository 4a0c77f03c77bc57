/*
 * The VGA part: registers, memory, picture. Private to hw/display/. Other adapters (Cirrus) embed
 * it and add what they have.
 */
#ifndef RHEA_HW_VGA_REGS_H
#define RHEA_HW_VGA_REGS_H

#include "core/clock.h"
#include "core/memory.h"
#include "core/state.h"
#include "ui/console.h"

#define VGA_WINDOW 0x20000u /* A0000–BFFFF */
#define VGA_PLANAR 0x40000u /* bytes of planar memory: four planes of 64 KiB */
#define VGA_IO_BASE 0x3b0u  /* ports 3B0–3DF */
#define VGA_IO_SIZE 0x30u
#define VBE_REGS 11
#define VGA_TEXT_CELLS 8192
#define VGA_SHADOW 0x10000u

enum {
    VBE_ID,
    VBE_XRES,
    VBE_YRES,
    VBE_BPP,
    VBE_ENABLE,
    VBE_BANK,
    VBE_VIRT_WIDTH,
    VBE_VIRT_HEIGHT,
    VBE_X_OFFSET,
    VBE_Y_OFFSET,
    VBE_MEMORY_64K
};

enum { VBE_ENABLED = 1, VBE_GETCAPS = 2, VBE_8BIT_DAC = 0x20, VBE_LFB = 0x40, VBE_NOCLEAR = 0x80 };

enum { /* control words of the sequencer, graphics and attribute controllers */
       SR_CLOCKING = 1,
       SR_MAP_MASK = 2,
       SR_FONT = 3,
       SR_MEMORY = 4,
       GR_SET_RESET = 0,
       GR_ENABLE_SR = 1,
       GR_COMPARE = 2,
       GR_ROTATE = 3,
       GR_READ_MAP = 4,
       GR_MODE = 5,
       GR_MISC = 6,
       GR_DONT_CARE = 7,
       GR_BIT_MASK = 8,
       AR_MODE = 0x10,
       AR_OVERSCAN = 0x11,
       AR_PLANES = 0x12,
       AR_PAN = 0x13,
       AR_COLOR = 0x14
};

/* How the CPU reaches the memory behind the window at A0000–BFFFF. */
typedef enum {
    VGA_MAP_IO,     /* each access goes through the graphics controller */
    VGA_MAP_LINEAR, /* banks of a linear frame buffer, as RAM */
    VGA_MAP_TEXT,   /* odd/even text and chained 256-colour modes, which only move bytes: RAM of */
    VGA_MAP_CHAIN4  /* its own (shadow), copied to the planes before anybody looks at them */
} VgaMap;

typedef struct Vga {
    MemRegion *vram; /* RAM; its first VGA_PLANAR bytes are the planes, interleaved by bytes */
    uint32_t vram_size;
    Clock *clock;
    Console *console;
    MemRegion io, vbe_io;
    MemRegion window, window_io; /* container of VGA_WINDOW bytes; what is in it by @map */
    MemRegion bank[2], shadow_view, shadow;
    VgaMap map;
    bool loaded; /* a saved state just came in: the shadow is newer than the planes */

    uint8_t misc, feature;
    uint8_t sr_index, sr[8];
    uint8_t gr_index, gr[16];
    uint8_t cr_index, cr[32];
    uint8_t ar_index, ar[21];
    bool ar_flip; /* the next write of 3C0 is data */
    uint8_t dac_mask, dac_state, dac_read, dac_write, dac_sub;
    uint8_t dac_cache[3];
    uint8_t dac[768];
    uint8_t latch[4];
    uint16_t vbe_index, vbe[VBE_REGS];

    /* What an adapter with more registers adds; it keeps them up to date and calls vga_remap().
     * All zero: a plain VGA. */
    uint32_t ext_start, ext_offset; /* higher bits of the CRTC's start address and offset */
    bool ext_wrap;                  /* the CRTC's counter is not cut to 16 bits */
    uint64_t ext_dot_hz;            /* 0: by the miscellaneous output register */
    bool ext_magic;                 /* the window must be VGA_MAP_IO */
    bool ext_linear;                /* the window shows ext_bank[] in 32 KiB pieces */
    uint32_t ext_bank[2];
    /* Window accesses of 1…8 bytes; NULL: vga_mem_read() and vga_mem_write(). */
    uint64_t (*ext_read)(void *opaque, uint32_t off, unsigned size);
    void (*ext_write)(void *opaque, uint32_t off, uint64_t val, unsigned size);
    void *ext_opaque;

    /* Derived, for drawing. */
    bool redraw;                    /* registers changed: draw everything */
    bool written;                   /* the window was written to */
    uint64_t last_mode;             /* kind and size of the last picture */
    uint32_t last_cursor;           /* text: where it was, and whether it was on */
    uint8_t *pages;                 /* scratch: a byte a page of video memory */
    uint32_t cells[VGA_TEXT_CELLS]; /* text: what the surface shows */
    bool blink_on;
    uint32_t palette[256];
} Vga;

extern const StateTable vga_state;

/* Regions io (VGA_IO_BASE), window (A0000) and vbe_io (ports 1CE–1D0) are initialised; the caller
 * maps them. @vram must be RAM of at least VGA_PLANAR bytes. The console's pictures come from
 * vga_draw(), or from @ops with @ops_opaque. False: the host has no memory. */
bool vga_init(Vga *s, Machine *m, const char *name, Clock *clock, MemRegion *vram,
              const ConsoleOps *ops, void *ops_opaque, GError **err);
void vga_fini(Vga *s);
void vga_reset(Vga *s);

uint8_t vga_port_read(Vga *s, unsigned port); /* 3B0…3DF */
void vga_port_write(Vga *s, unsigned port, uint8_t val);
uint8_t vga_mem_read(Vga *s, uint32_t off);
void vga_mem_write(Vga *s, uint32_t off, uint8_t val);
/* Offset from A0000 into what graphics register 6 maps there; false: not decoded. */
bool vga_decode(const Vga *s, uint32_t *off);
/* The same behind vga_decode(). */
uint8_t vga_planes_read(Vga *s, uint32_t a);
void vga_planes_write(Vga *s, uint32_t a, uint8_t val);
/* After any change of a register that decides VgaMap. */
void vga_remap(Vga *s);
/* Bring the planes up to date with what the CPU wrote to the shadow. */
void vga_sync(Vga *s);
uint16_t vga_vbe_read(Vga *s);
void vga_vbe_write(Vga *s, uint16_t val);

bool vga_vbe_on(const Vga *s);
bool vga_vbe_linear(const Vga *s);
void vga_vbe_reset(Vga *s);
bool vga_vbe_post_load(Vga *s, GError **err);
/* Bytes from one line of the VBE frame buffer to the next; where the picture begins. */
uint32_t vga_vbe_pitch(const Vga *s);
uint32_t vga_vbe_start(const Vga *s);

/* Scan-out geometry of the CRTC. */
typedef struct VgaTiming {
    unsigned char_width; /* dots */
    unsigned columns;    /* character clocks displayed */
    unsigned lines;      /* scan lines displayed */
    unsigned h_total, v_total, v_sync_start, v_sync_len;
    uint64_t dot_hz;
} VgaTiming;
void vga_timing(const Vga *s, VgaTiming *t);

void vga_draw(void *opaque, bool full); /* ConsoleOps.update */

/* A frame buffer of lines one after the other, drawn as far as it changed. Addresses wrap at
 * vram_size. */
typedef struct VgaLinear {
    unsigned w, h;      /* of the picture */
    uint64_t start;     /* bytes */
    uint32_t pitch;     /* bytes from row to row */
    uint32_t row_bytes; /* that a row shows */
    unsigned repeat;    /* picture lines that show one row, less 1 */
    unsigned split;     /* after this line the rows begin at address 0; UINT_MAX: never */
    bool all;
    unsigned force[2][2]; /* lines from…to (not included) that are drawn anyway */
    void (*convert)(const void *opaque, const uint8_t *row, unsigned w, uint32_t *dst);
    void (*overlay)(const void *opaque, unsigned y, unsigned w, uint32_t *dst); /* or NULL */
    const void *opaque;
} VgaLinear;
void vga_draw_linear(Vga *s, const VgaLinear *l);
/* Makes the surface @w × @h; true if there is one. A new kind or size means s->redraw. Kinds from
 * VGA_KIND_OWN on are the adapter's. */
bool vga_new_mode(Vga *s, unsigned kind, unsigned w, unsigned h);
enum { VGA_KIND_OWN = 16 };
/* DAC entries into s->palette; six bits to eight. */
void vga_all_colors(Vga *s);
bool vga_blanked(const Vga *s);
void vga_draw_blank(Vga *s);

static inline uint8_t *vga_planes(const Vga *s)
{
    return s->vram->host;
}

static inline uint32_t vga_color6(const uint8_t *c)
{
    return (uint32_t)(c[0] << 2 | c[0] >> 4) << 16 | (c[1] << 2 | c[1] >> 4) << 8 |
           (c[2] << 2 | c[2] >> 4);
}

#endif
