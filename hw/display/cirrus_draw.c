/*
 * The CL-GD5446's picture: packed-pixel modes and the hardware cursor. All other modes are the VGA
 * part's.
 * Cirrus Logic, CL-GD5446 Technical Reference Manual (1996): SR7, SR10–SR13, CR1A, CR1B, CR1D,
 * hidden DAC register; appendix "Hardware cursor".
 */
#include "hw/display/cirrus_int.h"
#include <limits.h>
#include <string.h>

#define CURSOR_AREA 0x4000 /* the patterns are in the last 16 KiB of the memory */

typedef enum {
    PIX_8,
    PIX_GRAY,
    PIX_332,
    PIX_16_INDEX,
    PIX_555,
    PIX_555_MIX,
    PIX_565,
    PIX_24,
    PIX_32
} Format;

typedef struct Picture {
    const Cirrus *s;
    Format format;
    unsigned bytes; /* a pixel */
    const CirrusCursor *cursor;
} Picture;

/* ---- pixel formats ---- */

/* 8-bit pixels at twice the clock are fetched like 16-bit ones. */
static bool clock_doubled(const Cirrus *s)
{
    return (s->sr[SR_EXT_MODE] & 0x0e) == 6 && (s->hidden_dac & 0xcf) == 0x4a;
}

static Format get_format(const Cirrus *s)
{
    uint8_t dac = s->hidden_dac, mode = dac & 0x0f;

    switch (s->sr[SR_EXT_MODE] & 0x0e) {
    case 2:
    case 6:
        if (clock_doubled(s)) {
            return PIX_8;
        }
        if (!(dac & 0x80)) {
            return PIX_16_INDEX;
        }
        if (!(dac & 0x40) || !mode) {
            return dac & 0x10 ? PIX_555_MIX : PIX_555;
        }
        return PIX_565;
    case 4:
        return PIX_24;
    case 8:
        return PIX_32;
    default:
        return (dac & 0xc0) != 0xc0 ? PIX_8 : mode == 8 ? PIX_GRAY : mode == 9 ? PIX_332 : PIX_8;
    }
}

static unsigned format_bytes(Format f)
{
    return f == PIX_32 ? 4 : f == PIX_24 ? 3 : f >= PIX_16_INDEX ? 2 : 1;
}

static uint32_t rgb555(unsigned v)
{
    return (v & 0x7c00) << 9 | (v & 0x7000) << 4 | (v & 0x03e0) << 6 | (v & 0x0380) << 1 |
           (v & 0x001f) << 3 | (v & 0x001c) >> 2;
}

static uint32_t rgb565(unsigned v)
{
    return (v & 0xf800) << 8 | (v & 0xe000) << 3 | (v & 0x07e0) << 5 | (v & 0x0600) >> 1 |
           (v & 0x001f) << 3 | (v & 0x001c) >> 2;
}

static uint32_t rgb332(unsigned v)
{
    unsigned r = v >> 5, g = v >> 2 & 7, b = v & 3;

    return (r << 5 | r << 2 | r >> 1) << 16 | (g << 5 | g << 2 | g >> 1) << 8 | b * 0x55;
}

static void convert(const void *opaque, const uint8_t *m, unsigned w, uint32_t *dst)
{
    const Picture *p = opaque;
    const uint32_t *palette = p->s->vga.palette;

    for (unsigned x = 0; x < w; x++, m += p->bytes) {
        unsigned word = p->bytes == 2 ? m[0] | m[1] << 8 : 0;
        switch (p->format) {
        case PIX_8:
            dst[x] = palette[*m];
            break;
        case PIX_GRAY:
            dst[x] = *m * 0x10101u;
            break;
        case PIX_332:
            dst[x] = rgb332(*m);
            break;
        case PIX_16_INDEX:
            dst[x] = palette[m[0]];
            break;
        case PIX_555:
            dst[x] = rgb555(word);
            break;
        case PIX_555_MIX: /* bit 15: the low byte is a colour of the palette */
            dst[x] = word & 0x8000 ? palette[m[0]] : rgb555(word);
            break;
        case PIX_565:
            dst[x] = rgb565(word);
            break;
        default:
            dst[x] = m[0] | m[1] << 8 | (uint32_t)m[2] << 16;
            break;
        }
    }
}

/* ---- cursor ---- */

static void get_cursor(const Cirrus *s, CirrusCursor *c)
{
    uint8_t attr = s->sr[SR_CURSOR], addr = s->sr[SR_CURSOR_ADDR] & 0x3f;

    memset(c, 0, sizeof(*c));
    if (!(attr & CURSOR_ON)) {
        return;
    }
    c->on = true;
    c->x = s->sr[SR_CURSOR_X] << 3 | s->cursor_x_low;
    c->y = s->sr[SR_CURSOR_Y] << 3 | s->cursor_y_low;
    c->size = attr & CURSOR_64 ? 64 : 32;
    c->bg = vga_color6(&s->ext_dac[0]);
    c->fg = vga_color6(&s->ext_dac[15 * 3]);
    const uint8_t *area = vga_planes(&s->vga) + s->vga.vram_size - CURSOR_AREA;
    if (c->size == 64) {
        memcpy(c->pattern, area + (addr & 0x3c) * 256, 1024);
    } else {
        memcpy(c->pattern, area + addr * 256, 256);
    }
}

/* Two planes: 00 transparent, 01 (second plane, first plane) inverts, 10 background, 11
 * foreground. 32x32: one plane after the other; 64x64: eight bytes of each in turn. */
static void cursor_line(const CirrusCursor *c, unsigned y, unsigned w, uint32_t *dst)
{
    if (!c->on || y < c->y || y >= c->y + c->size) {
        return;
    }
    unsigned row = y - c->y;
    const uint8_t *p0 = c->size == 64 ? c->pattern + row * 16 : c->pattern + row * 4;
    const uint8_t *p1 = p0 + (c->size == 64 ? 8 : 128);

    for (unsigned i = 0; i < c->size && c->x + i < w; i++) {
        uint8_t bit = 0x80 >> (i & 7);
        uint32_t *d = &dst[c->x + i];
        if (p1[i >> 3] & bit) {
            *d = p0[i >> 3] & bit ? c->fg : c->bg;
        } else if (p0[i >> 3] & bit) {
            *d ^= 0xffffff;
        }
    }
}

static void overlay(const void *opaque, unsigned y, unsigned w, uint32_t *dst)
{
    cursor_line(((const Picture *)opaque)->cursor, y, w, dst);
}

/* ---- packed pixels ---- */

/* Two bits that darken a VGA do not count here: CRTC 17h bit 7, which Linux's driver leaves off in
 * its modes, and SR1 bit 5, which the BIOS leaves on in its own (it gives the CPU all of the
 * memory's time). GRE stops the synchronisation: the monitor sleeps. */
static bool blanked(const Cirrus *s)
{
    return !(s->vga.ar_index & 0x20) || (s->gr[GR_POWER] & 6);
}

static void draw_packed(Cirrus *s, const CirrusCursor *old, const CirrusCursor *now, bool moved)
{
    Vga *v = &s->vga;
    const uint8_t *cr = v->cr;
    Picture p = {.s = s, .format = get_format(s), .cursor = now};
    VgaTiming t;

    vga_timing(v, &t);
    p.bytes = format_bytes(p.format);
    unsigned tall = v->cr[0x17] & 4 ? 2 : 1;
    unsigned compare = (cr[0x18] | (cr[7] & 0x10) << 4 | (cr[9] & 0x40) << 3) * tall;
    uint32_t start = (cr[0x0c] << 8 | cr[0x0d] | v->ext_start) + (cr[8] >> 5 & 3);
    unsigned pan = p.bytes > 2 ? 0 : (v->ar[AR_PAN] & 6) / 2 & ~(p.bytes - 1);
    VgaLinear l = {
        .w = t.columns * 8 * (clock_doubled(s) ? 2 : 1),
        .h = t.lines,
        .start = (uint64_t)start * 4 + pan,
        .pitch = (cr[0x13] | v->ext_offset) * 8,
        .repeat = (((cr[9] & 31) + 1u) << (cr[9] >> 7)) - 1,
        .split = compare < t.lines ? compare : UINT_MAX,
        .convert = convert,
        .overlay = overlay,
        .opaque = &p,
    };

    if (s->cr[0x1a] & 1) { /* interlaced: each field has half of the lines */
        l.h *= 2;
    }
    l.row_bytes = l.w * p.bytes;
    if (!vga_new_mode(v, VGA_KIND_OWN + p.format, l.w, l.h)) {
        return;
    }
    l.all = v->redraw;
    if (v->redraw) {
        vga_all_colors(v);
    }
    if (moved) {
        const CirrusCursor *c[2] = {old, now};
        for (unsigned i = 0; i < 2; i++) {
            if (c[i]->on) {
                l.force[i][0] = c[i]->y;
                l.force[i][1] = c[i]->y + c[i]->size;
            }
        }
    }
    vga_draw_linear(v, &l);
    v->redraw = v->written = false;
}

/* ---- VGA modes ---- */

static void draw_vga(Cirrus *s, const CirrusCursor *now, bool moved)
{
    Vga *v = &s->vga;
    bool graphics = v->gr[GR_MISC] & 1;
    int stride;

    vga_sync(v);
    v->redraw |= moved && graphics;
    bool drawn = v->redraw || v->written;
    vga_draw(v, false);
    if (!graphics || !now->on || !drawn || vga_blanked(v)) {
        return;
    }
    uint32_t *p = console_pixels(v->console, &stride);
    unsigned w = console_width(v->console), h = console_height(v->console);
    for (unsigned y = now->y; y < now->y + now->size && y < h; y++) {
        cursor_line(now, y, w, p + (size_t)y * stride);
    }
    console_dirty(v->console, now->x, now->y, now->size, now->size);
}

void cirrus_draw(void *opaque, bool full)
{
    Cirrus *s = opaque;
    CirrusCursor old = s->cursor;

    s->vga.redraw |= full;
    get_cursor(s, &s->cursor);
    bool moved = memcmp(&old, &s->cursor, sizeof(old)) != 0;
    if (!cirrus_packed(s)) {
        draw_vga(s, &s->cursor, moved);
    } else if (blanked(s)) {
        vga_draw_blank(&s->vga);
        s->vga.redraw = s->vga.written = false;
    } else {
        draw_packed(s, &old, &s->cursor, moved);
    }
}
