/*
 * VNC: pixel formats and the encodings Raw, Hextile and zlib; FramebufferUpdate as a whole.
 * RFC 6143, 7.4, 7.6.1, 7.7; zlib encoding (6): the community's RFB protocol text.
 */
#include "ui/vnc-internal.h"
#include <string.h>

/* ---- pixel formats ---- */

static uint32_t channel_bits(unsigned value, unsigned max, unsigned shift)
{
    return (value * max + 127) / 255 << shift;
}

bool vnc_format_set(VncFormat *f, unsigned bpp, unsigned depth, bool big_endian, bool true_colour,
                    const unsigned max[3], const unsigned shift[3])
{
    VncFormat n = {.bytes = bpp / 8, .depth = depth, .big_endian = big_endian};
    uint32_t used = 0;

    if ((bpp != 8 && bpp != 16 && bpp != 32) || depth > 32) {
        return false;
    }
    n.true_colour = true_colour;
    if (!true_colour) {
        /* The colour map that we set has 3 bits of red, 3 of green, 2 of blue. */
        static const unsigned map_max[3] = {7, 7, 3}, map_shift[3] = {5, 2, 0};
        if (bpp != 8) {
            return false;
        }
        memcpy(n.max, map_max, sizeof(n.max));
        memcpy(n.shift, map_shift, sizeof(n.shift));
    } else {
        for (int i = 0; i < 3; i++) {
            if (!max[i] || max[i] > 0xffff || (max[i] & (max[i] + 1)) || shift[i] >= bpp ||
                (uint64_t)max[i] << shift[i] >= 1ull << bpp) {
                return false;
            }
            n.max[i] = max[i];
            n.shift[i] = shift[i];
        }
    }
    for (int i = 0; i < 3; i++) {
        used |= n.max[i] << n.shift[i];
        for (unsigned v = 0; v < 256; v++) {
            uint32_t p = channel_bits(v, n.max[i], n.shift[i]);
            if (bpp == 16) {
                p = big_endian ? GUINT16_TO_BE(p) : GUINT16_TO_LE(p);
            } else if (bpp == 32) {
                p = big_endian ? GUINT32_TO_BE(p) : GUINT32_TO_LE(p);
            }
            n.table[i][v] = p;
        }
    }
    n.cpixel = -1;
    if (bpp == 32 && depth <= 24 && true_colour) {
        if (!(used >> 24)) {
            n.cpixel = big_endian ? 1 : 0;
        } else if (!(used & 0xff)) {
            n.cpixel = big_endian ? 0 : 1;
        }
    }
    n.tpixel = bpp == 32 && depth == 24 && n.max[0] == 255 && n.max[1] == 255 && n.max[2] == 255;
    *f = n;
    return true;
}

void vnc_format_default(VncFormat *f)
{
    static const unsigned max[3] = {255, 255, 255}, shift[3] = {16, 8, 0};

    vnc_format_set(f, 32, 24, false, true, max, shift);
}

static inline uint32_t convert(const VncFormat *f, uint32_t p)
{
    return f->table[0][p >> 16 & 255] | f->table[1][p >> 8 & 255] | f->table[2][p & 255];
}

uint8_t *vnc_put_pixels(const VncFormat *f, uint8_t *dst, const uint32_t *src, unsigned n)
{
    for (unsigned i = 0; i < n; i++, dst += f->bytes) {
        uint32_t v = convert(f, src[i]);
        if (f->bytes == 4) {
            memcpy(dst, &v, 4);
        } else if (f->bytes == 2) {
            uint16_t half = v;
            memcpy(dst, &half, 2);
        } else {
            *dst = v;
        }
    }
    return dst;
}

/* ---- bytes ---- */

uint8_t *vnc_grow(GByteArray *a, size_t n)
{
    guint at = a->len;

    g_byte_array_set_size(a, at + n);
    return a->data + at;
}

void vnc_put16(GByteArray *a, uint16_t v)
{
    v = GUINT16_TO_BE(v);
    g_byte_array_append(a, (const uint8_t *)&v, 2);
}

void vnc_put32(GByteArray *a, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    g_byte_array_append(a, (const uint8_t *)&v, 4);
}

static void put32_at(GByteArray *a, size_t at, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(a->data + at, &v, 4);
}

void vnc_rect_header(VncJob *job, int x, int y, int w, int h, int encoding)
{
    vnc_put16(job->out, x);
    vnc_put16(job->out, y);
    vnc_put16(job->out, w);
    vnc_put16(job->out, h);
    vnc_put32(job->out, encoding);
    job->n_out++;
}

void vnc_deflate(GByteArray *out, z_stream *z, bool *on, int level, const uint8_t *in, size_t len)
{
    if (!*on) {
        memset(z, 0, sizeof(*z));
        /* Fails only without memory, and then deflate() below does nothing. */
        *on = deflateInit2(z, level, Z_DEFLATED, MAX_WBITS, MAX_MEM_LEVEL, Z_DEFAULT_STRATEGY) ==
              Z_OK;
        g_assert(*on);
    }
    z->next_in = (Bytef *)in;
    z->avail_in = len;
    do {
        size_t room = MAX(len / 2, 256);
        z->next_out = vnc_grow(out, room);
        z->avail_out = room;
        deflate(z, Z_SYNC_FLUSH);
        g_byte_array_set_size(out, out->len - z->avail_out);
    } while (!z->avail_out || z->avail_in);
}

void vnc_encoder_fini(VncEncoder *e)
{
    if (e->zlib_on) {
        deflateEnd(&e->zlib);
    }
    if (e->zrle_on) {
        deflateEnd(&e->zrle);
    }
    for (int i = 0; i < 4; i++) {
        if (e->tight_on[i]) {
            deflateEnd(&e->tight[i]);
        }
    }
}

/* ---- palettes ---- */

static unsigned hash(uint32_t colour)
{
    return (colour * 2654435761u) >> 22;
}

static unsigned find_slot(const VncPalette *p, uint32_t colour)
{
    unsigned at = hash(colour);

    while (p->slot[at] && p->colour[p->slot[at] - 1] != colour) {
        at = (at + 1) % G_N_ELEMENTS(p->slot);
    }
    return at;
}

unsigned vnc_palette_index(const VncPalette *p, uint32_t colour)
{
    return p->slot[find_slot(p, colour)] - 1;
}

bool vnc_palette_fill(VncPalette *p, const VncRect *r, int x, int y, int w, int h, unsigned max)
{
    uint32_t last = ~0u; /* no pixel is that */

    p->n = 0;
    memset(p->slot, 0, sizeof(p->slot));
    for (int row = 0; row < h; row++) {
        const uint32_t *s = r->pixels + (size_t)(y + row) * r->w + x;
        for (int i = 0; i < w; i++) {
            if (s[i] == last) {
                continue;
            }
            last = s[i];
            unsigned at = find_slot(p, last);
            if (!p->slot[at]) {
                if (p->n == max) {
                    return false;
                }
                p->colour[p->n++] = last;
                p->slot[at] = p->n;
            }
        }
    }
    return true;
}

/* ---- Raw and zlib ---- */

static void encode_raw(VncJob *job, const VncRect *r)
{
    size_t n = (size_t)r->w * r->h;

    vnc_rect_header(job, r->x, r->y, r->w, r->h, VNC_ENC_RAW);
    vnc_put_pixels(&job->fmt, vnc_grow(job->out, n * job->fmt.bytes), r->pixels, n);
}

static void encode_zlib(VncJob *job, const VncRect *r)
{
    size_t n = (size_t)r->w * r->h;
    g_autofree uint8_t *raw = g_malloc(n * job->fmt.bytes);

    vnc_put_pixels(&job->fmt, raw, r->pixels, n);
    vnc_rect_header(job, r->x, r->y, r->w, r->h, VNC_ENC_ZLIB);
    size_t at = job->out->len;
    vnc_put32(job->out, 0);
    vnc_deflate(job->out, &job->enc->zlib, &job->enc->zlib_on, job->level, raw, n * job->fmt.bytes);
    put32_at(job->out, at, job->out->len - at - 4);
}

/* ---- Hextile ---- */

enum { HT_RAW = 1, HT_BACKGROUND = 2, HT_FOREGROUND = 4, HT_SUBRECTS = 8, HT_COLOURED = 16 };
#define HT_SIZE 16

/* Subrectangles of all that is not @bg: each the longest run, then as many equal rows below. */
static unsigned subrects(const VncJob *job, const VncRect *r, int x, int y, int w, int h,
                         uint32_t bg, bool coloured, GByteArray *out, size_t limit)
{
    bool done[HT_SIZE][HT_SIZE] = {{false}};
    unsigned count = 0;

    for (int j = 0; j < h; j++) {
        for (int i = 0; i < w; i++) {
            const uint32_t *p = r->pixels + (size_t)(y + j) * r->w + x;
            if (done[j][i] || p[i] == bg) {
                continue;
            }
            uint32_t c = p[i];
            int rw = 1, rh = 1;
            while (i + rw < w && p[i + rw] == c && !done[j][i + rw]) {
                rw++;
            }
            for (bool same = true; j + rh < h; rh++) {
                const uint32_t *q = p + (size_t)rh * r->w;
                for (int k = i; k < i + rw && same; k++) {
                    same = q[k] == c && !done[j + rh][k];
                }
                if (!same) {
                    break;
                }
            }
            for (int k = 0; k < rh; k++) {
                memset(&done[j + k][i], true, rw);
            }
            if (coloured) {
                vnc_put_pixels(&job->fmt, vnc_grow(out, job->fmt.bytes), &c, 1);
            }
            uint8_t *b = vnc_grow(out, 2);
            b[0] = i << 4 | j;
            b[1] = (rw - 1) << 4 | (rh - 1);
            if (++count > 255 || out->len >= limit) {
                return 256;
            }
        }
    }
    return count;
}

static void hextile_tile(VncJob *job, const VncRect *r, int x, int y, int w, int h, VncPalette *pal,
                         GByteArray *tmp)
{
    unsigned bytes = job->fmt.bytes, count = 0;
    bool few = vnc_palette_fill(pal, r, x, y, w, h, 2);
    size_t raw = (size_t)w * h * bytes;

    /* The pixel in the middle of the edge is as good a guess for the background as any. */
    uint32_t bg = few ? pal->colour[0] : r->pixels[(size_t)y * r->w + x];
    g_byte_array_set_size(tmp, 0);
    if (!few || pal->n > 1) {
        count = subrects(job, r, x, y, w, h, bg, !few, tmp, raw);
    }
    if (count > 255) {
        *vnc_grow(job->out, 1) = HT_RAW;
        for (int j = 0; j < h; j++) {
            vnc_put_pixels(&job->fmt, vnc_grow(job->out, w * bytes),
                           r->pixels + (size_t)(y + j) * r->w + x, w);
        }
        return;
    }
    *vnc_grow(job->out, 1) = HT_BACKGROUND | (count ? HT_SUBRECTS : 0) |
                             (count && few ? HT_FOREGROUND : 0) | (few ? 0 : HT_COLOURED);
    vnc_put_pixels(&job->fmt, vnc_grow(job->out, bytes), &bg, 1);
    if (count && few) {
        vnc_put_pixels(&job->fmt, vnc_grow(job->out, bytes), &pal->colour[1], 1);
    }
    if (count) {
        *vnc_grow(job->out, 1) = count;
        g_byte_array_append(job->out, tmp->data, tmp->len);
    }
}

static void encode_hextile(VncJob *job, const VncRect *r)
{
    g_autofree VncPalette *pal = g_new(VncPalette, 1);
    GByteArray *tmp = g_byte_array_new();

    vnc_rect_header(job, r->x, r->y, r->w, r->h, VNC_ENC_HEXTILE);
    for (int y = 0; y < r->h; y += HT_SIZE) {
        for (int x = 0; x < r->w; x += HT_SIZE) {
            hextile_tile(job, r, x, y, MIN(HT_SIZE, r->w - x), MIN(HT_SIZE, r->h - y), pal, tmp);
        }
    }
    g_byte_array_unref(tmp);
}

/* ---- an update ---- */

void vnc_encode(VncJob *job)
{
    vnc_put16(job->out, 0); /* FramebufferUpdate and padding */
    vnc_put16(job->out, 0);
    for (guint i = 0; i < job->rects->len; i++) {
        const VncRect *r = &g_array_index(job->rects, VncRect, i);
        switch (job->encoding) {
        case VNC_ENC_HEXTILE:
            encode_hextile(job, r);
            break;
        case VNC_ENC_ZLIB:
            encode_zlib(job, r);
            break;
        case VNC_ENC_TIGHT:
            vnc_encode_tight(job, r);
            break;
        case VNC_ENC_ZRLE:
            vnc_encode_zrle(job, r);
            break;
        default:
            encode_raw(job, r);
            break;
        }
    }
    job->out->data[2] = job->n_out >> 8;
    job->out->data[3] = job->n_out;
}
