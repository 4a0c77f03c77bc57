/*
 * The CL-GD5446's memory as the CPU reaches it: banks, extended write modes, the linear apertures.
 * Cirrus Logic, CL-GD5446 Technical Reference Manual (1996): GR9–GRB, GR5, SR2; appendix "Extended
 * addressing".
 *
 * Packed-pixel modes with write mode 0 move bytes; there the map shows the memory itself and
 * nothing of this file runs.
 */
#include "hw/display/cirrus_int.h"
#include <string.h>

static unsigned write_mode(const Cirrus *s)
{
    return s->gr[GR_MODE] & (s->gr[GR_EXT] & GRB_WRITE_MODES ? 7 : 3);
}

static bool blt_owns_memory(const Cirrus *s)
{
    return (cirrus_blt_takes(s) || cirrus_blt_gives(s)) && !(s->gr[GR_BLT_START] & BLT_APERTURE);
}

bool cirrus_magic(const Cirrus *s)
{
    return blt_owns_memory(s) ||
           (cirrus_packed(s) && (write_mode(s) || (s->gr[GR_EXT] & (GRB_BY8 | GRB_BY16))));
}

/* A byte of the CPU's addresses may stand for eight or sixteen of the memory. */
static uint32_t expand_address(const Cirrus *s, uint32_t a)
{
    unsigned shift = s->gr[GR_EXT] & GRB_BY16 ? 4 : s->gr[GR_EXT] & GRB_BY8 ? 3 : 0;

    return a << shift & (s->vga.vram_size - 1);
}

uint8_t cirrus_mem_read(Cirrus *s, uint32_t a)
{
    const uint8_t *mem = vga_planes(&s->vga);

    a = expand_address(s, a);
    if (s->gr[GR_EXT] & GRB_LATCH8) {
        memcpy(s->latch, mem + (a & ~7u), 8);
    } else {
        memcpy(s->latch, mem + (a & ~3u), 4);
        memcpy(s->latch + 4, mem + (a & ~3u), 4);
    }
    memcpy(s->vga.latch, s->latch, 4);
    return mem[a];
}

/* Write modes 4 and 5: each bit of the byte is a pixel, foreground or (mode 5) background. */
static uint32_t write_pixels(Cirrus *s, uint32_t a, uint8_t val, bool opaque)
{
    uint8_t *mem = vga_planes(&s->vga) + (a & ~7u), mask = s->sr[SR_MAP_MASK];
    unsigned bytes = s->gr[GR_EXT] & GRB_BY16 ? 2 : 1;

    for (unsigned i = 0; i < 8; i++) {
        bool fg = val & (0x80 >> i);
        if (!(mask & (0x80 >> i)) || !(fg || opaque)) {
            continue;
        }
        mem[i * bytes] = s->gr[fg ? GR_FG : GR_BG];
        if (bytes == 2) {
            mem[i * 2 + 1] = s->gr[fg ? GR_FG1 : GR_BG1];
        }
    }
    return 8 * bytes;
}

void cirrus_mem_write(Cirrus *s, uint32_t a, uint8_t val)
{
    uint8_t *mem = vga_planes(&s->vga);
    unsigned mode = write_mode(s), len = 1;

    a = expand_address(s, a);
    if (mode == 4 || mode == 5) {
        len = write_pixels(s, a, val, mode == 5);
        a &= ~7u;
    } else if (mode == 1 && (s->gr[GR_EXT] & GRB_LATCH8) && (s->gr[GR_EXT] & GRB_BY8)) {
        memcpy(mem + (a & ~7u), s->latch, 8);
        a &= ~7u;
        len = 8;
    } else if (mode == 1) {
        mem[a] = s->latch[a & 7];
    } else {
        mem[a] = val;
    }
    mem_set_dirty(&s->vram, a, len);
}

/* ---- the window at A0000 ---- */

static uint32_t bank_address(const Cirrus *s, uint32_t a)
{
    if ((s->gr[GR_EXT] & GRB_DUAL) && (a & 0x8000)) {
        return (a & 0x7fff) + s->vga.ext_bank[1];
    }
    return a + s->vga.ext_bank[0];
}

static uint8_t window_read(Cirrus *s, uint32_t off)
{
    if (!vga_decode(&s->vga, &off)) {
        return 0xff;
    }
    off = bank_address(s, off);
    return cirrus_packed(s) ? cirrus_mem_read(s, off) : vga_planes_read(&s->vga, off);
}

static void window_write(Cirrus *s, uint32_t off, uint8_t val)
{
    if (!vga_decode(&s->vga, &off)) {
        return;
    }
    off = bank_address(s, off);
    if (cirrus_packed(s)) {
        cirrus_mem_write(s, off, val);
    } else {
        vga_planes_write(&s->vga, off, val);
    }
}

uint64_t cirrus_window_read(void *opaque, uint32_t off, unsigned size)
{
    Cirrus *s = opaque;
    uint32_t a = off;
    uint64_t v = 0;

    if (cirrus_blt_gives(s) && blt_owns_memory(s) && vga_decode(&s->vga, &a)) {
        return cirrus_blt_get(s, size);
    }
    for (unsigned i = 0; i < size; i++) {
        v |= (uint64_t)window_read(s, off + i) << i * 8;
    }
    return v;
}

void cirrus_window_write(void *opaque, uint32_t off, uint64_t val, unsigned size)
{
    Cirrus *s = opaque;
    uint32_t a = off;

    if (cirrus_blt_takes(s) && blt_owns_memory(s) && vga_decode(&s->vga, &a)) {
        cirrus_blt_put(s, val, size);
        return;
    }
    for (unsigned i = 0; i < size; i++) {
        window_write(s, off + i, val >> i * 8);
    }
}

/* ---- the linear apertures ---- */

static uint64_t lfb_read(void *opaque, uint64_t off, unsigned size)
{
    Cirrus *s = opaque;
    uint64_t v = 0;

    if (cirrus_blt_gives(s) && blt_owns_memory(s)) {
        return cirrus_blt_get(s, size);
    }
    for (unsigned i = 0; i < size; i++) {
        v |= (uint64_t)cirrus_mem_read(s, off + i) << i * 8;
    }
    return v;
}

static void lfb_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Cirrus *s = opaque;

    if (cirrus_blt_takes(s) && blt_owns_memory(s)) {
        cirrus_blt_put(s, val, size);
        return;
    }
    for (unsigned i = 0; i < size; i++) {
        cirrus_mem_write(s, off + i, val >> i * 8);
    }
}

/* Bytes change places inside each word (@flip 1) or doubleword (3). What is narrower than that is
 * found at the other address. */
static uint64_t swap_value(uint64_t val, unsigned size, unsigned flip)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < size; i++) {
        v |= (val >> i * 8 & 0xff) << (i ^ (flip & (size - 1))) * 8;
    }
    return v;
}

static uint64_t swap_off(const Cirrus *s, uint64_t off, unsigned size, unsigned flip)
{
    return (off ^ (flip & ~(size - 1))) & (s->vga.vram_size - 1);
}

static uint64_t swap_read(Cirrus *s, uint64_t off, unsigned size, unsigned flip)
{
    return swap_value(lfb_read(s, swap_off(s, off, size, flip), size), size, flip);
}

static void swap_write(Cirrus *s, uint64_t off, uint64_t val, unsigned size, unsigned flip)
{
    lfb_write(s, swap_off(s, off, size, flip), swap_value(val, size, flip), size);
}

static uint64_t swap16_read(void *opaque, uint64_t off, unsigned size)
{
    return swap_read(opaque, off, size, 1);
}

static void swap16_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    swap_write(opaque, off, val, size, 1);
}

static uint64_t swap32_read(void *opaque, uint64_t off, unsigned size)
{
    return swap_read(opaque, off, size, 3);
}

static void swap32_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    swap_write(opaque, off, val, size, 3);
}

static uint64_t blt_read(void *opaque, uint64_t off, unsigned size)
{
    return cirrus_blt_gives(opaque) ? cirrus_blt_get(opaque, size) : UINT64_MAX;
}

static void blt_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    if (cirrus_blt_takes(opaque)) {
        cirrus_blt_put(opaque, val, size);
    }
}

const MemOps cirrus_lfb_ops = {.read = lfb_read, .write = lfb_write, .impl_max = 8};
const MemOps cirrus_swap16_ops = {.read = swap16_read, .write = swap16_write, .impl_max = 8};
const MemOps cirrus_swap32_ops = {.read = swap32_read, .write = swap32_write, .impl_max = 8};
const MemOps cirrus_blt_ops = {.read = blt_read, .write = blt_write, .impl_max = 8};
