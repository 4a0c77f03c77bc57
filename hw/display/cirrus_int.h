/*
 * Inside of the CL-GD5446: registers, BitBLT engine, memory paths, picture. Private to
 * hw/display/cirrus*.c. Machine lock throughout.
 */
#ifndef RHEA_HW_CIRRUS_INT_H
#define RHEA_HW_CIRRUS_INT_H

#include "hw/display/vga_regs.h"
#include "hw/pci/pci.h"

#define CIRRUS_ID 0xb8            /* CRTC 27h: CL-GD5446 */
#define CIRRUS_LFB_SIZE 0x2000000 /* the address range of BAR 0 */
#define CIRRUS_BLT_APERTURE 0x1000000
#define CIRRUS_MMIO_SIZE 0x1000
#define CIRRUS_MMIO_BLT 0x100 /* the BitBLT registers in BAR 1 */
#define CIRRUS_UNLOCKED 0x12
#define CIRRUS_LOCKED 0x0f

enum { /* sequencer */
       SR_UNLOCK = 6,
       SR_EXT_MODE = 7,
       SR_VCLK_NUM = 0x0b,
       SR_DRAM = 0x0f,
       SR_CURSOR_X = 0x10,
       SR_CURSOR_Y = 0x11,
       SR_CURSOR = 0x12,
       SR_CURSOR_ADDR = 0x13,
       SR_CONFIG = 0x17,
       SR_VCLK_DEN = 0x1b,
       SR_MCLK = 0x1f
};
enum { SR7_PACKED = 1, SR17_MMIO = 4, SR17_MMIO_LINEAR = 0x40 };
enum { CURSOR_ON = 1, CURSOR_DAC = 2, CURSOR_64 = 4 };

enum { /* graphics controller */
       GR_BG = 0,
       GR_FG = 1,
       GR_OFFSET0 = 9,
       GR_OFFSET1 = 0x0a,
       GR_EXT = 0x0b,
       GR_POWER = 0x0e,
       GR_BG1 = 0x10,
       GR_FG1 = 0x11,
       GR_WIDTH = 0x20,
       GR_HEIGHT = 0x22,
       GR_DST_PITCH = 0x24,
       GR_SRC_PITCH = 0x26,
       GR_DST = 0x28,
       GR_SRC = 0x2c,
       GR_CLIP = 0x2f,
       GR_BLT_MODE = 0x30,
       GR_BLT_START = 0x31,
       GR_ROP = 0x32,
       GR_BLT_EXT = 0x33,
       GR_KEY = 0x34
};
enum { /* GRB */
       GRB_DUAL = 1,
       GRB_BY8 = 2,
       GRB_WRITE_MODES = 4,
       GRB_LATCH8 = 8,
       GRB_BY16 = 0x10,
       GRB_16K = 0x20
};
enum { /* GR30 */
       BLT_BACKWARD = 1,
       BLT_TO_SYSTEM = 2,
       BLT_FROM_SYSTEM = 4,
       BLT_TRANSPARENT = 8,
       BLT_PATTERN = 0x40,
       BLT_EXPAND = 0x80
};
enum { /* GR31 */
       BLT_BUSY = 1,
       BLT_START = 2,
       BLT_RESET = 4,
       BLT_PROGRESS = 8,
       BLT_APERTURE = 0x20,
       BLT_AUTOSTART = 0x80
};
enum { BLTEXT_DWORDS = 1, BLTEXT_INVERT = 2, BLTEXT_SOLID = 4 }; /* GR33 */

#define BLT_MAX_WIDTH 8192 /* bytes */
#define BLT_MAX_HEIGHT 2048
#define BLT_ROW (BLT_MAX_WIDTH + 32)

/* A BitBLT that has begun: its registers as they were, and how far it got. Only those from or to
 * the CPU outlive the register write that starts them. */
typedef struct CirrusBlt {
    bool active, suspended;
    uint8_t mode, ext, rop, clip;
    uint32_t width, height; /* bytes, rows */
    uint32_t dst_pitch, src_pitch, dst, src;
    uint32_t fg, bg;
    uint16_t key;
    uint32_t row;  /* rows done */
    uint32_t have; /* bytes of @data that the CPU gave or took */
    uint32_t mono; /* monochrome source in video memory: where the next row begins */
    uint8_t data[BLT_ROW];
} CirrusBlt;

typedef struct CirrusCursor { /* what of it the picture depends on */
    bool on;
    unsigned x, y, size;
    uint32_t bg, fg;
    uint8_t pattern[1024];
} CirrusCursor;

typedef struct Cirrus {
    PciDevice pci;
    uint32_t vgamem_mb;
    Vga vga;
    MemRegion vram;
    MemRegion lfb;            /* BAR 0, a container */
    MemRegion lfb_io;         /* over the video memory in it when accesses mean more than bytes */
    MemRegion swap16, swap32; /* byte-swapping apertures */
    MemRegion blt_io;         /* upper half of BAR 0: BitBLT data */
    MemRegion mmio;           /* BAR 1 */
    MemRegion mmio_low, mmio_lfb; /* the BitBLT registers at B8000 and at the end of the memory */

    uint8_t sr[32], gr[64], cr[64]; /* what the VGA part does not keep */
    uint8_t hidden_dac, hidden_count;
    uint8_t ext_dac[16 * 3];
    uint8_t cursor_x_low, cursor_y_low; /* index bits 7:5 of the position registers */
    uint8_t latch[8];
    CirrusBlt blt;

    CirrusCursor cursor; /* as drawn */
} Cirrus;

/* cirrus_regs.c */
uint8_t cirrus_port_read(Cirrus *s, unsigned port);
void cirrus_port_write(Cirrus *s, unsigned port, uint8_t val);
void cirrus_regs_reset(Cirrus *s);
/* What registers decide of the VGA part and of the memory map. */
void cirrus_update(Cirrus *s);
bool cirrus_packed(const Cirrus *s);
/* Offset in the 256 bytes of memory-mapped BitBLT registers. */
uint8_t cirrus_mmio_read(Cirrus *s, unsigned off);
void cirrus_mmio_write(Cirrus *s, unsigned off, uint8_t val);

/* cirrus_blt.c */
void cirrus_blt_control(Cirrus *s, uint8_t val); /* GR31 was written */
void cirrus_blt_start(Cirrus *s);
void cirrus_blt_stop(Cirrus *s);
uint8_t cirrus_blt_status(const Cirrus *s);
/* The CPU's accesses belong to the engine. */
bool cirrus_blt_takes(const Cirrus *s);
bool cirrus_blt_gives(const Cirrus *s);
void cirrus_blt_put(Cirrus *s, uint64_t val, unsigned size);
uint64_t cirrus_blt_get(Cirrus *s, unsigned size);
bool cirrus_blt_check(CirrusBlt *b, GError **err); /* of a loaded state */
extern const StateTable cirrus_blt_state;

/* cirrus_mem.c: one byte at @a of the video memory, as the window and the linear aperture do it. */
uint8_t cirrus_mem_read(Cirrus *s, uint32_t a);
void cirrus_mem_write(Cirrus *s, uint32_t a, uint8_t val);
uint64_t cirrus_window_read(void *opaque, uint32_t off, unsigned size);
void cirrus_window_write(void *opaque, uint32_t off, uint64_t val, unsigned size);
bool cirrus_magic(const Cirrus *s); /* accesses are more than bytes of the memory */
extern const MemOps cirrus_lfb_ops, cirrus_swap16_ops, cirrus_swap32_ops, cirrus_blt_ops;

/* cirrus_draw.c */
void cirrus_draw(void *opaque, bool full);

#endif
