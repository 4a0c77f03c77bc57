/* The picture of a VGA: what its CRTC, attribute controller and DAC make of the memory. */
#include "core/machine.h"
#include "hw/display/vga_regs.h"
#include <limits.h>
#include <string.h>

enum { KIND_BLANK, KIND_TEXT, KIND_GRAPHICS, KIND_VBE };

#define MAX_DOTS 2400 /* of a VGA scan line: 256 characters of 9 dots and panning */
#define NO_CELL 0xffffffffu

/* What memory the CRTC addresses, and how. */
typedef struct Scan {
    VgaTiming t;
    unsigned row_lines; /* scan lines of a character row */
    unsigned double_scan;
    unsigned start, offset; /* memory address counter */
    unsigned line_compare;
} Scan;

static uint32_t dac_color(const Vga *s, unsigned i)
{
    const uint8_t *c = &s->dac[(i & s->dac_mask) * 3];

    if (!(s->vbe[VBE_ENABLE] & VBE_8BIT_DAC)) {
        return vga_color6(c);
    }
    return (uint32_t)c[0] << 16 | c[1] << 8 | c[2];
}

/* Colours of the sixteen attributes. */
static void attribute_colors(Vga *s)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned v = s->ar[i];

        if (s->ar[AR_MODE] & 0x80) {
            v = (v & 0x0f) | (s->ar[AR_COLOR] & 3) << 4;
        }
        v |= (s->ar[AR_COLOR] & 0x0c) << 4;
        s->palette[i] = dac_color(s, v);
    }
}

void vga_all_colors(Vga *s)
{
    for (unsigned i = 0; i < 256; i++) {
        s->palette[i] = dac_color(s, i);
    }
}

static void get_scan(const Vga *s, Scan *c)
{
    const uint8_t *cr = s->cr;

    vga_timing(s, &c->t);
    c->row_lines = (cr[9] & 31) + 1;
    c->double_scan = cr[9] >> 7;
    c->start = cr[0x0c] << 8 | cr[0x0d] | s->ext_start;
    c->offset = (cr[0x13] | s->ext_offset) * 2;
    c->line_compare = cr[0x18] | (cr[7] & 0x10) << 4 | (cr[9] & 0x40) << 3;
}

/* Counter to plane address: byte, word and doubleword mode, CGA and Hercules row selects. */
static unsigned crtc_address(const Vga *s, unsigned counter, unsigned row_line)
{
    uint8_t mode = s->cr[0x17];
    unsigned a;

    if (!s->ext_wrap) {
        counter &= 0xffff;
    }
    if (s->cr[0x14] & 0x40) {
        a = counter << 2 | (counter >> 14 & 3);
    } else if (!(mode & 0x40)) {
        a = counter << 1 | (counter >> (mode & 0x20 ? 15 : 13) & 1);
    } else {
        a = counter;
    }
    if (!(mode & 1)) {
        a = (a & ~0x2000u) | (row_line & 1) << 13;
    }
    if (!(mode & 2)) {
        a = (a & ~0x4000u) | (row_line >> 1 & 1) << 14;
    }
    return a & (s->ext_wrap ? (s->vram_size >> 2) - 1 : 0xffff);
}

bool vga_new_mode(Vga *s, unsigned kind, unsigned w, unsigned h)
{
    uint64_t mode = (uint64_t)kind << 32 | w << 16 | h;

    if (!console_resize(s->console, w, h)) {
        return false;
    }
    if (mode != s->last_mode) {
        s->last_mode = mode;
        s->redraw = true;
    }
    return true;
}

bool vga_blanked(const Vga *s)
{
    return !(s->ar_index & 0x20) || (s->sr[SR_CLOCKING] & 0x20) || !(s->cr[0x17] & 0x80);
}

void vga_draw_blank(Vga *s)
{
    int stride, w = console_width(s->console), h = console_height(s->console);
    bool first = s->redraw;

    if (!vga_new_mode(s, KIND_BLANK, w, h) || !(first || s->redraw)) {
        return;
    }
    uint32_t *p = console_pixels(s->console, &stride);
    for (int y = 0; y < h; y++) {
        memset(p + (size_t)y * stride, 0, w * 4);
    }
    console_dirty(s->console, 0, 0, w, h);
}

/* ---- text ---- */

typedef struct Text {
    unsigned cols, rows, cw, ch;
    const uint8_t *fonts[2];
    bool blink, line_graphics;
    unsigned cursor; /* counter value */
    bool cursor_on;
} Text;

static void get_text(Vga *s, const Scan *c, Text *t)
{
    static const uint16_t maps[8] = {0, 0x4000, 0x8000, 0xc000, 0x2000, 0x6000, 0xa000, 0xe000};
    uint8_t f = s->sr[SR_FONT];
    int64_t ms = clock_now(s->clock) / (NS_PER_SEC / 1000);

    t->cols = MIN(c->t.columns, 256);
    t->cw = c->t.char_width;
    t->ch = c->row_lines << c->double_scan;
    t->rows = MAX(c->t.lines / t->ch, 1);
    /* Bit 3 of the attribute: 1 takes map A. */
    t->fonts[0] = s->vram->host + maps[(f & 3) | (f >> 4 & 1) << 2] * 4 + 2;
    t->fonts[1] = s->vram->host + maps[(f >> 2 & 3) | (f >> 5 & 1) << 2] * 4 + 2;
    t->blink = s->ar[AR_MODE] & 8;
    t->line_graphics = s->ar[AR_MODE] & 4;
    t->cursor = s->cr[0x0e] << 8 | s->cr[0x0f];
    /* The cursor blinks at 1/16 of the frame rate, characters at 1/32. */
    t->cursor_on = !(s->cr[0x0a] & 0x20) && ms / 267 % 2 == 0;
    bool on = ms / 533 % 2 == 0;
    if (on != s->blink_on) {
        s->blink_on = on;
        if (t->blink) {
            memset(s->cells, 0xff, sizeof(s->cells));
            s->written = true;
        }
    }
}

static void draw_glyph(const Vga *s, const Text *t, uint32_t *dst, int stride, uint32_t cell,
                       bool cursor, unsigned double_scan)
{
    uint8_t c = cell, attr = cell >> 8;
    const uint8_t *font = t->fonts[attr & 8 ? 1 : 0] + c * 32 * 4;
    uint32_t fg = s->palette[attr & 15], bg = s->palette[attr >> 4 & (t->blink ? 7 : 15)];
    unsigned cstart = s->cr[0x0a] & 31, cend = s->cr[0x0b] & 31;
    bool hidden = t->blink && (attr & 0x80) && !s->blink_on;
    /* Monochrome adapters underline attribute 1. */
    bool underline = !(s->misc & 1) && (attr & 7) == 1;

    for (unsigned y = 0; y < t->ch; y++) {
        unsigned line = y >> double_scan;
        uint8_t bits = line < 32 && !hidden ? font[line * 4] : 0;
        bool solid =
            (cursor && line >= cstart && line <= cend) || (underline && line == (s->cr[0x14] & 31));

        for (unsigned x = 0; x < 8; x++) {
            dst[x] = solid || (bits & (0x80 >> x)) ? fg : bg;
        }
        if (t->cw == 9) {
            bool ninth = t->line_graphics && c >= 0xc0 && c <= 0xdf && (bits & 1);
            dst[8] = solid || ninth ? fg : bg;
        }
        dst += stride;
    }
}

static void draw_text(Vga *s, const Scan *c)
{
    Text t;
    int stride;

    get_text(s, c, &t);
    if (!vga_new_mode(s, KIND_TEXT, t.cols * t.cw, t.rows * t.ch)) {
        return;
    }
    uint32_t cursor_now = t.cursor << 1 | t.cursor_on;
    if (!s->redraw && !s->written && cursor_now == s->last_cursor) {
        return;
    }
    s->last_cursor = cursor_now;
    if (s->redraw) {
        memset(s->cells, 0xff, sizeof(s->cells));
        attribute_colors(s);
    }
    uint32_t *p = console_pixels(s->console, &stride);
    const uint8_t *mem = s->vram->host;
    unsigned row_start = c->start;

    for (unsigned y = 0; y < t.rows; y++) {
        unsigned first = t.cols, last = 0;

        if (y && y * t.ch == c->line_compare + 1) {
            row_start = 0; /* the split screen begins at address 0 */
        }
        for (unsigned x = 0; x < t.cols; x++) {
            unsigned counter = row_start + x, slot = y * t.cols + x;
            const uint8_t *m = mem + crtc_address(s, counter, 0) * 4;
            bool cursor = t.cursor_on && (counter & 0xffff) == t.cursor;
            uint32_t cell = m[0] | m[1] << 8 | cursor << 16;

            if (slot < VGA_TEXT_CELLS && s->cells[slot] == cell) {
                continue;
            }
            if (slot < VGA_TEXT_CELLS) {
                s->cells[slot] = cell;
            }
            draw_glyph(s, &t, p + (size_t)y * t.ch * stride + x * t.cw, stride, cell, cursor,
                       c->double_scan);
            first = MIN(first, x);
            last = x;
        }
        if (first <= last && first < t.cols) {
            console_dirty(s->console, first * t.cw, y * t.ch, (last - first + 1) * t.cw, t.ch);
        }
        row_start += c->offset;
    }
}

/* ---- VGA graphics ---- */

static void planar_pixels(const Vga *s, const uint8_t *m, uint32_t *dst)
{
    uint8_t enable = s->ar[AR_PLANES] & 15;

    for (unsigned x = 0; x < 8; x++) {
        unsigned bit = 7 - x;
        unsigned v = (m[0] >> bit & 1) | (m[1] >> bit & 1) << 1 | (m[2] >> bit & 1) << 2 |
                     (m[3] >> bit & 1) << 3;
        dst[x] = s->palette[v & enable];
    }
}

/* CGA's two bits a pixel: planes 0 and 1 in turn, 2 and 3 for the upper bits. */
static void packed_pixels(const Vga *s, const uint8_t *m, uint32_t *dst)
{
    uint8_t enable = s->ar[AR_PLANES] & 15;

    for (unsigned x = 0; x < 8; x++) {
        unsigned shift = 6 - (x & 3) * 2, half = x >> 2;
        unsigned v = (m[half] >> shift & 3) | (m[2 + half] >> shift & 3) << 2;
        dst[x] = s->palette[v & enable];
    }
}

static void byte_pixels(const Vga *s, const uint8_t *m, uint32_t *dst)
{
    for (unsigned x = 0; x < 8; x++) {
        dst[x] = s->palette[m[x >> 1]];
    }
}

/* One scan line of dots into @line (8 dots a character clock). */
static void scan_line(const Vga *s, const Scan *c, unsigned counter, unsigned row_line,
                      unsigned pan, uint32_t *line)
{
    const uint8_t *mem = s->vram->host;
    uint8_t mode = s->gr[GR_MODE];
    uint32_t dots[MAX_DOTS + 16];
    unsigned cols = MIN(c->t.columns, 256);

    for (unsigned x = 0; x <= cols; x++) {
        const uint8_t *m = mem + crtc_address(s, counter + x, row_line) * 4;

        if (mode & 0x40) {
            byte_pixels(s, m, dots + x * 8);
        } else if (mode & 0x20) {
            packed_pixels(s, m, dots + x * 8);
        } else {
            planar_pixels(s, m, dots + x * 8);
        }
    }
    memcpy(line, dots + pan, cols * 8 * sizeof(uint32_t));
}

static void draw_graphics(Vga *s, const Scan *c)
{
    unsigned cols = MIN(c->t.columns, 256), wide = s->sr[SR_CLOCKING] & 8 ? 2 : 1;
    unsigned w = cols * 8 * wide, h = MIN(c->t.lines, 2048);
    uint32_t line[MAX_DOTS];
    int stride;

    if (!vga_new_mode(s, KIND_GRAPHICS, w, h)) {
        return;
    }
    if (!s->redraw && !s->written) {
        return;
    }
    if (s->gr[GR_MODE] & 0x40) {
        vga_all_colors(s);
    } else {
        attribute_colors(s);
    }
    uint32_t *p = console_pixels(s->console, &stride);
    unsigned counter = c->start + (s->cr[8] >> 5 & 3), row_line = s->cr[8] & 31, sub = 0;
    unsigned pan = s->gr[GR_MODE] & 0x40 ? s->ar[AR_PAN] & 6 : s->ar[AR_PAN] & 7;

    for (unsigned y = 0; y < h; y++) {
        scan_line(s, c, counter, row_line, pan, line);
        uint32_t *dst = p + (size_t)y * stride;
        for (unsigned x = 0; x < cols * 8; x++) {
            for (unsigned k = 0; k < wide; k++) {
                *dst++ = line[x];
            }
        }
        if (y == c->line_compare) {
            counter = row_line = sub = 0;
            pan = s->ar[AR_MODE] & 0x20 ? 0 : pan;
            continue;
        }
        if (++sub > c->double_scan) {
            sub = 0;
            if (++row_line >= c->row_lines) {
                row_line = 0;
                counter += c->offset;
            }
        }
    }
    console_dirty(s->console, 0, 0, w, h);
}

/* ---- VBE ---- */

static uint32_t pixel_at(const Vga *s, const uint8_t *m, unsigned bpp)
{
    unsigned v;

    switch (bpp) {
    case 8:
        return s->palette[*m];
    case 15:
        v = m[0] | m[1] << 8;
        return (v & 0x7c00) << 9 | (v & 0x7000) << 4 | (v & 0x03e0) << 6 | (v & 0x0380) << 1 |
               (v & 0x001f) << 3 | (v & 0x001c) >> 2;
    case 16:
        v = m[0] | m[1] << 8;
        return (v & 0xf800) << 8 | (v & 0xe000) << 3 | (v & 0x07e0) << 5 | (v & 0x0600) >> 1 |
               (v & 0x001f) << 3 | (v & 0x001c) >> 2;
    default: /* 24, 32 */
        return m[0] | m[1] << 8 | m[2] << 16;
    }
}

static void vbe_line(const void *opaque, const uint8_t *m, unsigned w, uint32_t *dst)
{
    const Vga *s = opaque;
    unsigned bpp = s->vbe[VBE_BPP], bytes = (bpp + 7) / 8;

    if (bpp == 4) {
        for (unsigned x = 0; x < w; x += 8, m += 4) {
            planar_pixels(s, m, dst + x);
        }
        return;
    }
    if (bpp == 32) {
        memcpy(dst, m, w * 4);
        return;
    }
    for (unsigned x = 0; x < w; x++) {
        dst[x] = pixel_at(s, m + x * bytes, bpp);
    }
}

static void draw_vbe(Vga *s)
{
    unsigned w = s->vbe[VBE_XRES], h = s->vbe[VBE_YRES], bpp = s->vbe[VBE_BPP];
    VgaLinear l = {
        .w = w,
        .h = h,
        .start = vga_vbe_start(s),
        .pitch = vga_vbe_pitch(s),
        .row_bytes = bpp == 4 ? w / 2 : w * ((bpp + 7) / 8),
        .split = UINT_MAX,
        .convert = vbe_line,
        .opaque = s,
    };

    if (!vga_new_mode(s, KIND_VBE, w, h)) {
        return;
    }
    l.all = s->redraw;
    if (s->redraw) {
        if (bpp == 4) {
            attribute_colors(s);
        } else {
            vga_all_colors(s);
        }
    }
    vga_draw_linear(s, &l);
}

/* ---- linear frame buffers ---- */

enum { PAGE_UNKNOWN, PAGE_CLEAN, PAGE_DIRTY };

/* Bytes [@from, @from + @len) changed since the last picture. A page is asked once a picture. */
static bool row_dirty(Vga *s, uint64_t from, uint32_t len)
{
    bool dirty = false;

    for (uint64_t page = from >> MEM_PAGE_BITS; page <= (from + len - 1) >> MEM_PAGE_BITS; page++) {
        uint64_t at = (page << MEM_PAGE_BITS) % s->vram_size;
        uint8_t *state = &s->pages[at >> MEM_PAGE_BITS];
        if (*state == PAGE_UNKNOWN) {
            bool d = mem_test_clear_dirty(s->vram, at, MEM_PAGE_SIZE, MEM_DIRTY_DISPLAY);
            *state = d ? PAGE_DIRTY : PAGE_CLEAN;
        }
        dirty |= *state == PAGE_DIRTY;
    }
    return dirty;
}

/* A row that goes over the end of memory continues at its beginning. */
static void convert_row(const Vga *s, const VgaLinear *l, uint64_t pos, uint32_t *dst)
{
    if (pos + l->row_bytes <= s->vram_size) {
        l->convert(l->opaque, vga_planes(s) + pos, l->w, dst);
        return;
    }
    g_autofree uint8_t *row = g_malloc(l->row_bytes);
    for (uint32_t done = 0, n; done < l->row_bytes; done += n) {
        uint64_t at = (pos + done) % s->vram_size;
        n = MIN(l->row_bytes - done, s->vram_size - at);
        memcpy(row + done, vga_planes(s) + at, n);
    }
    l->convert(l->opaque, row, l->w, dst);
}

static bool forced(const VgaLinear *l, unsigned y)
{
    return l->all || (y >= l->force[0][0] && y < l->force[0][1]) ||
           (y >= l->force[1][0] && y < l->force[1][1]);
}

void vga_draw_linear(Vga *s, const VgaLinear *l)
{
    unsigned first = l->h, sub = 0;
    uint64_t pos = l->start % s->vram_size;
    int stride;
    uint32_t *p = console_pixels(s->console, &stride);

    memset(s->pages, PAGE_UNKNOWN, s->vram_size >> MEM_PAGE_BITS);
    for (unsigned y = 0; y <= l->h; y++) {
        bool draw = y < l->h && (row_dirty(s, pos, l->row_bytes) || forced(l, y));

        if (draw) {
            uint32_t *dst = p + (size_t)y * stride;
            convert_row(s, l, pos, dst);
            if (l->overlay) {
                l->overlay(l->opaque, y, l->w, dst);
            }
            first = MIN(first, y);
        } else if (first < y && first < l->h) {
            console_dirty(s->console, 0, first, l->w, y - first);
            first = l->h;
        }
        if (y == l->split) {
            pos = sub = 0;
        } else if (++sub > l->repeat) {
            sub = 0;
            pos = (pos + l->pitch) % s->vram_size;
        }
    }
}

void vga_draw(void *opaque, bool full)
{
    Vga *s = opaque;
    Scan c;

    s->redraw |= full;
    vga_sync(s);
    if (vga_vbe_on(s)) {
        draw_vbe(s);
    } else if (vga_blanked(s)) {
        vga_draw_blank(s);
    } else {
        get_scan(s, &c);
        if (s->gr[GR_MISC] & 1) {
            draw_graphics(s, &c);
        } else {
            draw_text(s, &c);
        }
    }
    s->redraw = s->written = false;
}
