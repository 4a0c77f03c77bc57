/*
 * The CL-GD5446's BitBLT engine.
 * Cirrus Logic, CL-GD5446 Technical Reference Manual (1996): GR20–GR39 and appendix "BitBLT
 * engine".
 *
 * A BitBLT works row by row: the row's source (memory, pattern, colours for the bits of a bitmap,
 * or what the CPU sent) is collected, then the raster operation combines it with the destination.
 * So a row may overlap itself in either direction; rows follow each other in the order asked
 * for. Every address is taken modulo the size of the memory. What starts with a register write
 * ends in it, unless the CPU has to deliver or take data.
 */
#include "core/log.h"
#include "hw/display/cirrus_int.h"
#include <string.h>

/* Raster operation to the results for (source, destination) = (0,0) … (1,1), bits 0–3. */
static bool rop_table(uint8_t rop, uint8_t *t)
{
    static const struct {
        uint8_t code, table;
    } rops[16] = {
        {0x00, 0x0}, /* 0 */
        {0x90, 0x1}, /* not (S or D) */
        {0x50, 0x2}, /* not S and D */
        {0xd0, 0x3}, /* not S */
        {0x09, 0x4}, /* S and not D */
        {0x0b, 0x5}, /* not D */
        {0x59, 0x6}, /* S xor D */
        {0xda, 0x7}, /* not (S and D) */
        {0x05, 0x8}, /* S and D */
        {0x95, 0x9}, /* not (S xor D) */
        {0x06, 0xa}, /* D */
        {0xd6, 0xb}, /* not S or D */
        {0x0d, 0xc}, /* S */
        {0xad, 0xd}, /* S or not D */
        {0x6d, 0xe}, /* S or D */
        {0x0e, 0xf}, /* 1 */
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rops); i++) {
        if (rops[i].code == rop) {
            *t = rops[i].table;
            return true;
        }
    }
    return false;
}

static unsigned pixel_bytes(const CirrusBlt *b)
{
    return (b->mode >> 4 & 3) + 1;
}

static unsigned row_pixels(const CirrusBlt *b)
{
    return (b->width + pixel_bytes(b) - 1) / pixel_bytes(b);
}

/* Bytes of a row as the CPU sends or takes it, or of a bitmap's row in memory. */
static uint32_t source_bytes(const CirrusBlt *b)
{
    if (!(b->mode & BLT_EXPAND)) {
        return (b->width + 3) & ~3u;
    }
    return b->ext & BLTEXT_DWORDS ? (row_pixels(b) + 31) / 32 * 4 : (row_pixels(b) + 7) / 8;
}

/* ---- sources ---- */

static void gather(const Cirrus *s, uint32_t pos, uint8_t *to, uint32_t n)
{
    const uint8_t *mem = vga_planes(&s->vga);
    uint32_t size = s->vga.vram_size;

    pos &= size - 1;
    uint32_t part = MIN(n, size - pos);
    memcpy(to, mem + pos, part);
    memcpy(to + part, mem, n - part); /* n is less than the memory */
}

/* Colours for @bits, most significant first; what transparency leaves alone gets mask 0. */
static void expand_row(const CirrusBlt *b, const uint8_t *bits, bool repeat, uint8_t *src,
                       uint8_t *mask)
{
    unsigned bytes = pixel_bytes(b), n = row_pixels(b);
    uint8_t invert = b->ext & BLTEXT_INVERT ? 0xff : 0;
    bool transparent = b->mode & BLT_TRANSPARENT;

    for (unsigned x = 0; x < n; x++) {
        bool fg = ((bits[repeat ? 0 : x >> 3] ^ invert) & (0x80 >> (x & 7)));
        uint32_t color = fg ? b->fg : b->bg;
        for (unsigned k = 0; k < bytes; k++) {
            *src++ = color >> k * 8;
            *mask++ = fg || !transparent ? 0xff : 0;
        }
    }
}

/* Eight pixels of colour pattern row @row, over and over. 24-bit rows are 32 bytes apart. */
static void pattern_row(const Cirrus *s, const CirrusBlt *b, uint8_t *src)
{
    unsigned bytes = pixel_bytes(b), stride = bytes == 3 ? 32 : bytes * 8, n = bytes * 8;
    uint8_t line[32];

    gather(s, (b->src & ~(stride * 8 - 1)) + ((b->src + b->row) & 7) * stride, line, n);
    for (uint32_t x = 0; x < b->width; x += n) {
        memcpy(src + x, line, n);
    }
}

/* Pixels of the key's colour stay out; only 8- and 16-bit pixels can be compared. */
static void mask_key(const CirrusBlt *b, const uint8_t *src, uint8_t *mask)
{
    if (pixel_bytes(b) == 1) {
        for (uint32_t x = 0; x < b->width; x++) {
            mask[x] = src[x] == (b->key & 0xff) ? 0 : 0xff;
        }
    } else if (pixel_bytes(b) == 2) {
        for (uint32_t x = 0; x < b->width; x += 2) {
            mask[x] = mask[x + 1] = (src[x] | src[x + 1] << 8) == b->key ? 0 : 0xff;
        }
    }
}

/* ---- destination ---- */

static void combine(uint8_t *d, const uint8_t *src, const uint8_t *mask, uint32_t n, uint8_t table)
{
    uint8_t t0 = table & 1 ? 0xff : 0, t1 = table & 2 ? 0xff : 0;
    uint8_t t2 = table & 4 ? 0xff : 0, t3 = table & 8 ? 0xff : 0;

    for (uint32_t i = 0; i < n; i++) {
        uint8_t x = src[i], y = d[i];
        uint8_t r = (~x & ~y & t0) | (~x & y & t1) | (x & ~y & t2) | (x & y & t3);
        d[i] = (y & ~mask[i]) | (r & mask[i]);
    }
}

static void store_row(Cirrus *s, uint32_t pos, const uint8_t *src, const uint8_t *mask, uint32_t n,
                      uint8_t table, bool all)
{
    uint32_t size = s->vga.vram_size;

    pos &= size - 1;
    while (n) {
        uint32_t part = MIN(n, size - pos);
        if (all && table == 0x0c) {
            memcpy(vga_planes(&s->vga) + pos, src, part);
        } else {
            combine(vga_planes(&s->vga) + pos, src, mask, part, table);
        }
        mem_set_dirty(&s->vram, pos, part);
        src += part;
        mask += part;
        n -= part;
        pos = 0;
    }
}

/* One row; @sys is what the CPU sent for it. */
static void do_row(Cirrus *s, CirrusBlt *b, const uint8_t *sys, uint8_t table)
{
    uint8_t src[BLT_ROW], mask[BLT_ROW];
    uint32_t back = b->mode & BLT_BACKWARD ? b->width - 1 : 0;
    bool expand = b->mode & BLT_EXPAND, pattern = b->mode & BLT_PATTERN, all = false;

    if (expand) {
        uint8_t bits[BLT_MAX_WIDTH / 8 + 4] = {0xff};
        bool solid = pattern && (b->ext & BLTEXT_SOLID);
        if (solid) {
            /* the foreground everywhere, whatever the sense of the bits */
            bits[0] = b->ext & BLTEXT_INVERT ? 0 : 0xff;
        } else if (pattern) {
            gather(s, (b->src & ~7u) + ((b->src + b->row) & 7), bits, 1);
        } else if (!sys) {
            gather(s, b->mono, bits, source_bytes(b));
            b->mono += source_bytes(b);
        }
        expand_row(b, sys && !pattern ? sys : bits, pattern, src, mask);
    } else {
        if (pattern) {
            pattern_row(s, b, src);
        } else if (sys) {
            memcpy(src, sys, b->width);
        } else {
            gather(s, b->src - back, src, b->width);
        }
        all = !(b->mode & BLT_TRANSPARENT) || pixel_bytes(b) > 2;
        memset(mask, 0xff, b->width);
        src[b->width] = 0; /* half a pixel at the end */
        if (!all) {
            mask_key(b, src, mask);
        }
    }
    uint32_t skip = 0;
    if (expand || pattern) {
        skip = pixel_bytes(b) == 3 ? b->clip : (b->clip & 7) * pixel_bytes(b);
    }
    if (skip < b->width) {
        store_row(s, b->dst - back + skip, src + skip, mask + skip, b->width - skip, table, all);
    }
    if (b->mode & BLT_BACKWARD) {
        b->dst -= b->dst_pitch;
        b->src -= pattern ? 0 : b->src_pitch;
    } else {
        b->dst += b->dst_pitch;
        b->src += pattern ? 0 : b->src_pitch;
    }
    b->row++;
}

/* ---- control ---- */

static uint32_t get_register(const Cirrus *s, unsigned i, unsigned bytes)
{
    uint32_t v = 0;

    for (unsigned k = 0; k < bytes; k++) {
        v |= (uint32_t)s->gr[i + k] << k * 8;
    }
    return v;
}

static void load_registers(const Cirrus *s, CirrusBlt *b)
{
    b->mode = s->gr[GR_BLT_MODE];
    b->ext = s->gr[GR_BLT_EXT];
    b->rop = s->gr[GR_ROP];
    b->clip = s->gr[GR_CLIP];
    b->width = get_register(s, GR_WIDTH, 2) + 1;
    b->height = get_register(s, GR_HEIGHT, 2) + 1;
    b->dst_pitch = get_register(s, GR_DST_PITCH, 2);
    b->src_pitch = get_register(s, GR_SRC_PITCH, 2);
    b->dst = get_register(s, GR_DST, 3);
    b->src = b->mono = get_register(s, GR_SRC, 3);
    b->key = get_register(s, GR_KEY, 2);
    b->fg = b->bg = 0;
    static const uint8_t bytes[4] = {0, 0x10, 0x12, 0x14};
    for (unsigned k = 0; k < 4; k++) {
        b->bg |= (uint32_t)s->gr[bytes[k]] << k * 8;
        b->fg |= (uint32_t)s->gr[bytes[k] + 1] << k * 8;
    }
    b->row = b->have = 0;
}

/* What the manual does not define is not begun. */
static bool possible(const CirrusBlt *b)
{
    bool from = b->mode & BLT_FROM_SYSTEM, to = b->mode & BLT_TO_SYSTEM;

    return !(from && to) && !(from && (b->mode & BLT_PATTERN)) &&
           !(to && (b->mode & (BLT_PATTERN | BLT_EXPAND)));
}

void cirrus_blt_stop(Cirrus *s)
{
    s->blt.active = s->blt.suspended = false;
}

void cirrus_blt_start(Cirrus *s)
{
    CirrusBlt *b = &s->blt;
    uint8_t table = 0x0a;

    if (b->active) {
        b->suspended = false;
        return;
    }
    load_registers(s, b);
    if (!possible(b)) {
        guest_error("cirrus: BitBLT mode %02xh is not possible", b->mode);
        return;
    }
    if (!rop_table(b->rop, &table)) {
        guest_error("cirrus: there is no raster operation %02xh", b->rop);
    }
    if (b->mode & (BLT_FROM_SYSTEM | BLT_TO_SYSTEM)) {
        b->active = true;
        b->suspended = false;
        return;
    }
    while (b->row < b->height) {
        do_row(s, b, NULL, table);
    }
}

void cirrus_blt_control(Cirrus *s, uint8_t val)
{
    s->gr[GR_BLT_START] = val & ~(BLT_BUSY | BLT_START | BLT_PROGRESS | 0x10);
    if (val & BLT_RESET) {
        cirrus_blt_stop(s);
    } else if (val & BLT_START) {
        cirrus_blt_start(s);
    } else if (s->blt.active) {
        s->blt.suspended = true;
    }
}

uint8_t cirrus_blt_status(const Cirrus *s)
{
    uint8_t v = s->gr[GR_BLT_START];

    if (s->blt.active) {
        v |= BLT_PROGRESS | (s->blt.suspended ? 0 : BLT_BUSY | BLT_START);
    }
    return v;
}

/* ---- transfers with the CPU ---- */

bool cirrus_blt_takes(const Cirrus *s)
{
    return s->blt.active && !s->blt.suspended && (s->blt.mode & BLT_FROM_SYSTEM);
}

bool cirrus_blt_gives(const Cirrus *s)
{
    return s->blt.active && !s->blt.suspended && (s->blt.mode & BLT_TO_SYSTEM);
}

static void finish(Cirrus *s)
{
    cirrus_blt_stop(s);
    cirrus_update(s);
}

void cirrus_blt_put(Cirrus *s, uint64_t val, unsigned size)
{
    CirrusBlt *b = &s->blt;
    uint8_t table = 0x0a;

    rop_table(b->rop, &table);
    for (unsigned i = 0; i < size && b->active; i++) {
        b->data[b->have++] = val >> i * 8;
        if (b->have >= source_bytes(b)) {
            b->have = 0;
            do_row(s, b, b->data, table);
            if (b->row >= b->height) {
                finish(s); /* what is left of the access pads it */
            }
        }
    }
}

uint64_t cirrus_blt_get(Cirrus *s, unsigned size)
{
    CirrusBlt *b = &s->blt;
    uint64_t val = 0;

    for (unsigned i = 0; i < size; i++) {
        if (!b->active) {
            val |= 0xffull << i * 8;
            continue;
        }
        if (!b->have) {
            uint32_t back = b->mode & BLT_BACKWARD ? b->width - 1 : 0;
            memset(b->data + b->width, 0, 4);
            gather(s, b->src - back, b->data, b->width);
        }
        val |= (uint64_t)b->data[b->have++] << i * 8;
        if (b->have >= source_bytes(b)) {
            b->have = 0;
            b->src += b->mode & BLT_BACKWARD ? -b->src_pitch : b->src_pitch;
            if (++b->row >= b->height) {
                finish(s);
            }
        }
    }
    return val;
}

/* ---- saved state ---- */

bool cirrus_blt_check(CirrusBlt *b, GError **err)
{
    if (!b->active) {
        return true;
    }
    if (!(b->mode & (BLT_FROM_SYSTEM | BLT_TO_SYSTEM)) || !possible(b) || !b->width ||
        b->width > BLT_MAX_WIDTH || !b->height || b->height > BLT_MAX_HEIGHT ||
        b->row >= b->height || b->have >= source_bytes(b) || b->clip > 0x1f) {
        return fail(err, "cirrus: impossible state of the BitBLT engine");
    }
    return true;
}

static const StateField blt_fields[] = {
    STATE_BOOL(CirrusBlt, active),   STATE_BOOL(CirrusBlt, suspended),
    STATE_U8(CirrusBlt, mode),       STATE_U8(CirrusBlt, ext),
    STATE_U8(CirrusBlt, rop),        STATE_U8(CirrusBlt, clip),
    STATE_U32(CirrusBlt, width),     STATE_U32(CirrusBlt, height),
    STATE_U32(CirrusBlt, dst_pitch), STATE_U32(CirrusBlt, src_pitch),
    STATE_U32(CirrusBlt, dst),       STATE_U32(CirrusBlt, src),
    STATE_U32(CirrusBlt, fg),        STATE_U32(CirrusBlt, bg),
    STATE_U16(CirrusBlt, key),       STATE_U32(CirrusBlt, row),
    STATE_U32(CirrusBlt, have),      STATE_U32(CirrusBlt, mono),
    STATE_U8_ARRAY(CirrusBlt, data), STATE_END_FIELD,
};
const StateTable cirrus_blt_state = {.name = "cirrus-blt", .version = 1, .fields = blt_fields};
