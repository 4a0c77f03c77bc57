/*
 * VNC: the encodings ZRLE (RFC 6143, 7.7.6) and Tight (the community's RFB protocol text).
 */
#include "config.h"
#include "ui/vnc-internal.h"
#include <stdio.h>
#include <string.h>

#ifdef HAVE_JPEG
#include <jpeglib.h>
#include <setjmp.h>
#endif

/* ---- ZRLE ---- */

#define ZRLE_TILE 64
#define ZRLE_PALETTE_MAX 127
enum { ZRLE_RAW = 0, ZRLE_SOLID = 1, ZRLE_PLAIN_RLE = 128 };

static unsigned cpixel_size(const VncFormat *f)
{
    return f->cpixel >= 0 ? 3 : f->bytes;
}

static uint8_t *put_cpixels(const VncFormat *f, uint8_t *dst, const uint32_t *src, unsigned n)
{
    if (f->cpixel < 0) {
        return vnc_put_pixels(f, dst, src, n);
    }
    for (unsigned i = 0; i < n; i++, dst += 3) {
        uint8_t whole[4];
        vnc_put_pixels(f, whole, src + i, 1);
        memcpy(dst, whole + f->cpixel, 3);
    }
    return dst;
}

/* The next run of @t (a tile as one row of @n); returns its length. */
static unsigned run_length(const uint32_t *t, unsigned n)
{
    unsigned len = 1;

    while (len < n && t[len] == t[0]) {
        len++;
    }
    return len;
}

static void put_run(GByteArray *out, unsigned len)
{
    for (len--; len >= 255; len -= 255) {
        *vnc_grow(out, 1) = 255;
    }
    *vnc_grow(out, 1) = len;
}

static void zrle_packed(GByteArray *out, const VncPalette *p, const uint32_t *t, int w, int h)
{
    unsigned bits = p->n > 4 ? 4 : p->n > 2 ? 2 : 1;

    for (int y = 0; y < h; y++) {
        unsigned acc = 0, have = 0;
        for (int x = 0; x < w; x++) {
            acc = acc << bits | vnc_palette_index(p, t[y * w + x]);
            have += bits;
            if (have == 8) {
                *vnc_grow(out, 1) = acc;
                acc = have = 0;
            }
        }
        if (have) {
            *vnc_grow(out, 1) = acc << (8 - have);
        }
    }
}

static void zrle_tile(const VncFormat *f, GByteArray *out, VncPalette *p, const VncRect *tile)
{
    const uint32_t *t = tile->pixels;
    int w = tile->w, h = tile->h;
    unsigned n = w * h, size = cpixel_size(f), best, kind = ZRLE_RAW;
    bool pal = vnc_palette_fill(p, tile, 0, 0, w, h, ZRLE_PALETTE_MAX);
    unsigned rle = 0, pal_rle = p->n * size;

    if (pal && p->n == 1) {
        *vnc_grow(out, 1) = ZRLE_SOLID;
        put_cpixels(f, vnc_grow(out, size), t, 1);
        return;
    }
    for (unsigned i = 0; i < n;) {
        unsigned len = run_length(t + i, n - i), bytes = 1 + (len - 1) / 255;
        rle += size + bytes;
        pal_rle += len == 1 ? 1 : 1 + bytes;
        i += len;
    }
    best = n * size;
    if (rle < best) {
        best = rle;
        kind = ZRLE_PLAIN_RLE;
    }
    if (pal && pal_rle < best) {
        best = pal_rle;
        kind = ZRLE_PLAIN_RLE + p->n;
    }
    if (pal && p->n <= 16) {
        unsigned bits = p->n > 4 ? 4 : p->n > 2 ? 2 : 1;
        kind = p->n * size + h * ((w * bits + 7) / 8) < best ? p->n : kind;
    }
    *vnc_grow(out, 1) = kind;
    if (kind == ZRLE_RAW) {
        put_cpixels(f, vnc_grow(out, n * size), t, n);
        return;
    }
    if (kind != ZRLE_PLAIN_RLE) {
        put_cpixels(f, vnc_grow(out, p->n * size), p->colour, p->n);
    }
    if (kind < ZRLE_PLAIN_RLE) {
        zrle_packed(out, p, t, w, h);
        return;
    }
    for (unsigned i = 0; i < n;) {
        unsigned len = run_length(t + i, n - i);
        if (kind == ZRLE_PLAIN_RLE) {
            put_cpixels(f, vnc_grow(out, size), t + i, 1);
            put_run(out, len);
        } else if (len == 1) {
            *vnc_grow(out, 1) = vnc_palette_index(p, t[i]);
        } else {
            *vnc_grow(out, 1) = 128 | vnc_palette_index(p, t[i]);
            put_run(out, len);
        }
        i += len;
    }
}

void vnc_encode_zrle(VncJob *job, const VncRect *r)
{
    g_autofree VncPalette *pal = g_new(VncPalette, 1);
    uint32_t pixels[ZRLE_TILE * ZRLE_TILE];
    GByteArray *plain = g_byte_array_sized_new(16384);

    for (int y = 0; y < r->h; y += ZRLE_TILE) {
        for (int x = 0; x < r->w; x += ZRLE_TILE) {
            VncRect tile = {0, 0, MIN(ZRLE_TILE, r->w - x), MIN(ZRLE_TILE, r->h - y), pixels};
            for (int row = 0; row < tile.h; row++) {
                memcpy(pixels + row * tile.w, r->pixels + (size_t)(y + row) * r->w + x,
                       tile.w * sizeof(uint32_t));
            }
            zrle_tile(&job->fmt, plain, pal, &tile);
        }
    }
    vnc_rect_header(job, r->x, r->y, r->w, r->h, VNC_ENC_ZRLE);
    size_t at = job->out->len;
    vnc_put32(job->out, 0);
    vnc_deflate(job->out, &job->enc->zrle, &job->enc->zrle_on, job->level, plain->data, plain->len);
    uint32_t len = GUINT32_TO_BE((uint32_t)(job->out->len - at - 4));
    memcpy(job->out->data + at, &len, 4);
    g_byte_array_unref(plain);
}

/* ---- Tight ---- */

#define TIGHT_MAX_WIDTH 2048
#define TIGHT_MAX_PIXELS 65536
#define TIGHT_MIN_COMPRESS 12 /* bytes; less is sent as it is */
#define TIGHT_MIN_JPEG 1024   /* pixels */
enum { TIGHT_FILL = 0x80, TIGHT_JPEG = 0x90, TIGHT_FILTER = 0x40, TIGHT_FILTER_PALETTE = 1 };
enum { STREAM_FULL, STREAM_MONO, STREAM_INDEXED };

static unsigned tpixel_size(const VncFormat *f)
{
    return f->tpixel ? 3 : f->bytes;
}

static void put_tpixels(const VncFormat *f, uint8_t *dst, const uint32_t *src, size_t n)
{
    if (!f->tpixel) {
        vnc_put_pixels(f, dst, src, n);
        return;
    }
    for (size_t i = 0; i < n; i++, dst += 3) {
        dst[0] = src[i] >> 16;
        dst[1] = src[i] >> 8;
        dst[2] = src[i];
    }
}

/* 7 bits, 7 bits, 8 bits; the top bit says that there is more. */
static void put_compact(GByteArray *out, size_t len)
{
    uint8_t b[3] = {len & 0x7f, len >> 7 & 0x7f, len >> 14};
    int n = len >= 1 << 14 ? 3 : len >= 1 << 7 ? 2 : 1;

    for (int i = 0; i < n - 1; i++) {
        b[i] |= 0x80;
    }
    g_byte_array_append(out, b, n);
}

static void tight_data(VncJob *job, int stream, const uint8_t *data, size_t len)
{
    if (len < TIGHT_MIN_COMPRESS) {
        g_byte_array_append(job->out, data, len);
        return;
    }
    GByteArray *z = g_byte_array_sized_new(len / 2 + 64);
    vnc_deflate(z, &job->enc->tight[stream], &job->enc->tight_on[stream], job->level, data, len);
    put_compact(job->out, z->len);
    g_byte_array_append(job->out, z->data, z->len);
    g_byte_array_unref(z);
}

static void tight_indexed(VncJob *job, const VncPalette *p, const uint32_t *t, int w, int h)
{
    unsigned size = tpixel_size(&job->fmt);
    bool mono = p->n == 2;
    size_t row = mono ? (w + 7) / 8 : w;
    g_autofree uint8_t *data = g_malloc0(row * h);
    int stream = mono ? STREAM_MONO : STREAM_INDEXED;

    *vnc_grow(job->out, 1) = stream << 4 | TIGHT_FILTER;
    *vnc_grow(job->out, 1) = TIGHT_FILTER_PALETTE;
    *vnc_grow(job->out, 1) = p->n - 1;
    put_tpixels(&job->fmt, vnc_grow(job->out, p->n * size), p->colour, p->n);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++, t++) {
            if (!mono) {
                data[y * row + x] = vnc_palette_index(p, *t);
            } else if (*t == p->colour[1]) {
                data[y * row + x / 8] |= 0x80 >> (x & 7);
            }
        }
    }
    tight_data(job, stream, data, row * h);
}

#ifdef HAVE_JPEG
typedef struct JpegError {
    struct jpeg_error_mgr mgr;
    jmp_buf out;
} JpegError;

static void jpeg_failed(j_common_ptr c)
{
    longjmp(((JpegError *)c->err)->out, 1);
}

static void jpeg_silent(j_common_ptr c)
{
}

static bool tight_jpeg(VncJob *job, const uint32_t *t, int w, int h)
{
    /* Levels 0…9 of the protocol. */
    static const uint8_t quality[10] = {15, 29, 41, 42, 62, 77, 79, 86, 92, 100};
    struct jpeg_compress_struct c;
    JpegError e;
    unsigned char *mem = NULL;
    unsigned long len = 0;
    g_autofree uint8_t *row = g_malloc(w * 3);

    c.err = jpeg_std_error(&e.mgr);
    e.mgr.error_exit = jpeg_failed;
    e.mgr.output_message = jpeg_silent;
    if (setjmp(e.out)) {
        jpeg_destroy_compress(&c);
        free(mem);
        return false;
    }
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &mem, &len);
    c.image_width = w;
    c.image_height = h;
    c.input_components = 3;
    c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, quality[job->quality], TRUE);
    jpeg_start_compress(&c, TRUE);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            uint32_t p = t[(size_t)y * w + x];
            row[x * 3] = p >> 16;
            row[x * 3 + 1] = p >> 8;
            row[x * 3 + 2] = p;
        }
        JSAMPROW rows[1] = {row};
        jpeg_write_scanlines(&c, rows, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    *vnc_grow(job->out, 1) = TIGHT_JPEG;
    put_compact(job->out, len);
    g_byte_array_append(job->out, mem, len);
    free(mem);
    return true;
}
#else
static bool tight_jpeg(VncJob *job, const uint32_t *t, int w, int h)
{
    return false;
}
#endif

static void tight_rect(VncJob *job, VncPalette *pal, int x, int y, const VncRect *t)
{
    const VncFormat *f = &job->fmt;
    unsigned size = tpixel_size(f);
    size_t n = (size_t)t->w * t->h;
    bool few = vnc_palette_fill(pal, t, 0, 0, t->w, t->h, f->bytes == 1 ? 2 : VNC_PALETTE_MAX);

    vnc_rect_header(job, x, y, t->w, t->h, VNC_ENC_TIGHT);
    if (few && pal->n == 1) {
        *vnc_grow(job->out, 1) = TIGHT_FILL;
        put_tpixels(f, vnc_grow(job->out, size), t->pixels, 1);
    } else if (few && (pal->n == 2 || pal->n * (size - 1) < n)) {
        tight_indexed(job, pal, t->pixels, t->w, t->h);
    } else if (job->quality < 0 || f->bytes == 1 || n < TIGHT_MIN_JPEG ||
               !tight_jpeg(job, t->pixels, t->w, t->h)) {
        g_autofree uint8_t *data = g_malloc(n * size);
        put_tpixels(f, data, t->pixels, n);
        *vnc_grow(job->out, 1) = STREAM_FULL << 4;
        tight_data(job, STREAM_FULL, data, n * size);
    }
}

void vnc_encode_tight(VncJob *job, const VncRect *r)
{
    g_autofree VncPalette *pal = g_new(VncPalette, 1);
    int w_max = MIN(r->w, TIGHT_MAX_WIDTH), h_max = MAX(TIGHT_MAX_PIXELS / w_max, 1);
    g_autofree uint32_t *pixels = g_new(uint32_t, (size_t)w_max * MIN(h_max, r->h));

    for (int y = 0; y < r->h; y += h_max) {
        for (int x = 0; x < r->w; x += w_max) {
            VncRect t = {0, 0, MIN(w_max, r->w - x), MIN(h_max, r->h - y), pixels};
            for (int row = 0; row < t.h; row++) {
                memcpy(pixels + (size_t)row * t.w, r->pixels + (size_t)(y + row) * r->w + x,
                       t.w * sizeof(uint32_t));
            }
            tight_rect(job, pal, r->x + x, r->y + y, &t);
        }
    }
}
