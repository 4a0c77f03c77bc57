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

typedef struct Vga {
    MemRegion *vram; /* RAM; its first VGA_PLANAR bytes are the planes, interleaved by bytes */
    uint32_t vram_size;
    Clock *clock;
    Console *console;
    MemRegion io, window, vbe_io;

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

    /* Derived, for drawing. */
    bool redraw;                    /* registers changed: draw everything */
    bool written;                   /* the window was written to */
    uint32_t last_mode;             /* kind and size of the last picture */
    uint32_t cells[VGA_TEXT_CELLS]; /* text: what the surface shows */
    uint32_t cursor_cell;
    bool blink_on;
    uint32_t palette[256];
} Vga;

extern const StateTable vga_state;

/* Regions io (VGA_IO_BASE), window (A0000) and vbe_io (ports 1CE–1D0) are initialised; the caller
 * maps them. @vram must be RAM of at least VGA_PLANAR bytes. */
void vga_init(Vga *s, Machine *m, const char *name, Clock *clock, MemRegion *vram);
void vga_fini(Vga *s);
void vga_reset(Vga *s);

uint8_t vga_port_read(Vga *s, unsigned port); /* 3B0…3DF */
void vga_port_write(Vga *s, unsigned port, uint8_t val);
uint8_t vga_mem_read(Vga *s, uint32_t off);
void vga_mem_write(Vga *s, uint32_t off, uint8_t val);
uint16_t vga_vbe_read(Vga *s);
void vga_vbe_write(Vga *s, uint16_t val);

bool vga_vbe_on(const Vga *s);
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

#endif
