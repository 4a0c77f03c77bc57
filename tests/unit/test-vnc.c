/*
 * VNC server against a client written here from RFC 6143 and the community's RFB protocol text:
 * what is decoded must be the surface.
 */
#include "config.h"
#include "core/machine.h"
#include "ui/input.h"
#include "ui/vnc-internal.h"
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef HAVE_JPEG
#include <stdio.h>
/* After stdio.h. */
#include <jpeglib.h>
#endif

#define W 200
#define H 150

typedef struct Rig {
    Machine *m;
    Console *con;
    VncServer *s;
    int fd;
    GByteArray *in;
    /* The decoder. */
    unsigned bytes, max[3], shift[3];
    bool big;
    int w, h;
    uint32_t *fb; /* 0x00rrggbb */
    z_stream z[6];
    bool z_on[6];
    unsigned rects, pseudo[512];
    int abs, size_reason, size_status;
    bool jpeg_seen;
    GString *keys;
} Rig;

static const ConsoleOps con_ops = {0};

/* ---- plumbing ---- */

static void turn(void)
{
    g_main_context_iteration(NULL, FALSE);
}

/* True: @n bytes are there. False: the server hung up or nothing came for 5 s. */
static bool want(Rig *g, guint n)
{
    gint64 end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;

    while (g->in->len < n && g_get_monotonic_time() < end) {
        uint8_t buf[65536];
        turn();
        ssize_t got = recv(g->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (!got) {
            return false;
        }
        if (got > 0) {
            g_byte_array_append(g->in, buf, got);
        } else {
            g_usleep(500);
        }
    }
    return g->in->len >= n;
}

static const uint8_t *need(Rig *g, guint n)
{
    if (!want(g, n)) {
        g_error("the server sent %u bytes of %u", g->in->len, n);
    }
    return g->in->data;
}

static void eat(Rig *g, guint n)
{
    g_byte_array_remove_range(g->in, 0, n);
}

static void take(Rig *g, void *to, guint n)
{
    memcpy(to, need(g, n), n);
    eat(g, n);
}

static unsigned take_n(Rig *g, unsigned n)
{
    uint8_t b[4];
    unsigned v = 0;

    take(g, b, n);
    for (unsigned i = 0; i < n; i++) {
        v = v << 8 | b[i];
    }
    return v;
}

static void put(Rig *g, const void *p, size_t n)
{
    g_assert_cmpint(send(g->fd, p, n, MSG_NOSIGNAL), ==, n);
}

static bool hung_up(Rig *g)
{
    g_byte_array_set_size(g->in, 0);
    while (want(g, g->in->len + 1)) {
    }
    char c;
    return recv(g->fd, &c, 1, MSG_DONTWAIT) == 0;
}

static void key_fn(void *opaque, unsigned code, bool down)
{
    g_string_append_printf(((Rig *)opaque)->keys, "%s%u ", down ? "+" : "-", code);
}

static void rel_fn(void *opaque, int dx, int dy)
{
    g_string_append_printf(((Rig *)opaque)->keys, "r%d,%d ", dx, dy);
}

static void abs_fn(void *opaque, int x, int y)
{
    g_string_append_printf(((Rig *)opaque)->keys, "a%d,%d ", x, y);
}

static void button_fn(void *opaque, unsigned b, bool down)
{
    g_string_append_printf(((Rig *)opaque)->keys, "%sb%u ", down ? "+" : "-", b);
}

static void wheel_fn(void *opaque, int dz)
{
    g_string_append_printf(((Rig *)opaque)->keys, "w%d ", dz);
}

static Rig *rig_new(void)
{
    Rig *g = g_new0(Rig, 1);

    machine_lock();
    g->m = machine_new(NULL, NULL);
    g->con = console_new(g->m, "test", &con_ops, NULL);
    console_resize(g->con, W, H);
    g->s = vnc_server_new(g->m, NULL);
    machine_unlock();
    g->in = g_byte_array_new();
    g->keys = g_string_new(NULL);
    g->fd = -1;
    return g;
}

static void plug(Rig *g)
{
    int sv[2];

    if (g->fd >= 0) {
        close(g->fd);
        g_byte_array_set_size(g->in, 0);
    }
    g_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv));
    g->fd = sv[0];
    machine_lock();
    g_assert(vnc_server_add_client(g->s, sv[1], "test"));
    machine_unlock();
}

static void rig_free(Rig *g)
{
    machine_lock();
    vnc_cleanup(g->m);
    console_free(g->con);
    machine_free(g->m);
    machine_unlock();
    for (int i = 0; i < 6; i++) {
        if (g->z_on[i]) {
            inflateEnd(&g->z[i]);
        }
    }
    if (g->fd >= 0) {
        close(g->fd);
    }
    g_byte_array_unref(g->in);
    g_string_free(g->keys, TRUE);
    g_free(g->fb);
    g_free(g);
}

/* ---- handshake ---- */

static void expect(Rig *g, const char *bytes, guint n)
{
    g_assert_cmpmem(need(g, n), n, bytes, n);
    eat(g, n);
}

static void server_init(Rig *g)
{
    static const uint8_t format[16] = {32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0};

    put(g, "\1", 1);
    g->w = take_n(g, 2);
    g->h = take_n(g, 2);
    expect(g, (const char *)format, 16);
    unsigned n = take_n(g, 4);
    expect(g, "Rhea", n);
    g->bytes = 4;
    g->max[0] = g->max[1] = g->max[2] = 255;
    g->shift[0] = 16;
    g->shift[1] = 8;
    g->shift[2] = 0;
    g->big = false;
    g_free(g->fb);
    g->fb = g_new0(uint32_t, g->w * g->h);
}

static void shake(Rig *g)
{
    plug(g);
    expect(g, "RFB 003.008\n", 12);
    put(g, "RFB 003.008\n", 12);
    expect(g, "\1\1", 2);
    put(g, "\1", 1);
    expect(g, "\0\0\0\0", 4);
    server_init(g);
    g_assert_cmpint(g->w, ==, W);
    g_assert_cmpint(g->h, ==, H);
}

static void test_versions(void)
{
    Rig *g = rig_new();

    shake(g);
    plug(g);
    need(g, 12);
    eat(g, 12);
    put(g, "RFB 003.007\n", 12);
    expect(g, "\1\1", 2);
    put(g, "\1", 1); /* 3.7: no result with None */
    server_init(g);
    static const char *const old[] = {"RFB 003.003\n", "RFB 003.005\n"};
    for (int i = 0; i < 2; i++) {
        plug(g);
        need(g, 12);
        eat(g, 12);
        put(g, old[i], 12);
        expect(g, "\0\0\0\1", 4);
        server_init(g);
    }
    rig_free(g);
}

static void test_password(void)
{
    /* Made with `openssl enc -des-ede3` and three times the key cea6c64ea62e0000: "secret" with
     * the bits of each byte reversed. */
    static const uint8_t block[8] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef},
                         known[8] = {0x2d, 0x2a, 0x0d, 0xd3, 0x83, 0x42, 0x6c, 0x2e};
    uint8_t in[16], out[16];

    memcpy(in, block, 8);
    memcpy(in + 8, block, 8);
    if (!vnc_auth_response("secret", in, out)) {
        g_test_skip("built without libnettle");
        return;
    }
    g_assert_cmpmem(out, 8, known, 8);
    g_assert_cmpmem(out + 8, 8, known, 8);
    Rig *g = rig_new();
    g->s->ask_password = true;
    g->s->password = g_strdup("secret");
    for (int good = 0; good < 2; good++) {
        uint8_t challenge[16], answer[16];
        plug(g);
        need(g, 12);
        eat(g, 12);
        put(g, "RFB 003.008\n", 12);
        expect(g, "\1\2", 2);
        put(g, "\2", 1);
        take(g, challenge, 16);
        vnc_auth_response(good ? "secret" : "Secret", challenge, answer);
        put(g, answer, 16);
        if (good) {
            expect(g, "\0\0\0\0", 4);
            server_init(g);
        } else {
            gint64 t0 = g_get_monotonic_time();
            expect(g,
                   "\0\0\0\1\0\0\0\x15"
                   "Authentication failed",
                   29);
            g_assert_cmpint(g_get_monotonic_time() - t0, >, G_USEC_PER_SEC);
            g_assert_true(hung_up(g));
        }
    }
    rig_free(g);
}

/* ---- the decoder ---- */

static uint32_t pixel_of(const Rig *g, const uint8_t *p)
{
    uint32_t v = 0, rgb = 0;

    for (unsigned i = 0; i < g->bytes; i++) {
        v |= (uint32_t)p[i] << 8 * (g->big ? g->bytes - 1 - i : i);
    }
    for (int i = 0; i < 3; i++) {
        rgb = rgb << 8 | ((v >> g->shift[i] & g->max[i]) * 255 + g->max[i] / 2) / g->max[i];
    }
    return rgb;
}

static unsigned cpixel_len(const Rig *g)
{
    return g->bytes == 4 ? 3 : g->bytes;
}

/* ZRLE: the formats used here leave the top byte of 32 bits unused. */
static uint32_t cpixel_of(const Rig *g, const uint8_t *p)
{
    uint8_t whole[4] = {0};

    if (g->bytes != 4) {
        return pixel_of(g, p);
    }
    memcpy(whole + (g->big ? 1 : 0), p, 3);
    return pixel_of(g, whole);
}

static uint32_t tpixel_of(const Rig *g, const uint8_t *p)
{
    return g->bytes == 4 ? (uint32_t)p[0] << 16 | p[1] << 8 | p[2] : pixel_of(g, p);
}

static void set_px(Rig *g, int x, int y, uint32_t v)
{
    g_assert_cmpint(x, <, g->w);
    g_assert_cmpint(y, <, g->h);
    g->fb[y * g->w + x] = v;
}

static uint8_t *unpack(Rig *g, int stream, unsigned len, size_t out_len)
{
    z_stream *z = &g->z[stream];
    uint8_t *out = g_malloc(out_len + 1);

    if (!g->z_on[stream]) {
        g_assert_cmpint(inflateInit(z), ==, Z_OK);
        g->z_on[stream] = true;
    }
    z->next_in = (Bytef *)need(g, len);
    z->avail_in = len;
    z->next_out = out;
    z->avail_out = out_len + 1;
    int rc = inflate(z, Z_SYNC_FLUSH);
    g_assert_true(rc == Z_OK || rc == Z_BUF_ERROR);
    g_assert_cmpint(z->avail_in, ==, 0);
    eat(g, len);
    return out;
}

static size_t unpacked(const Rig *g, int stream, const uint8_t *out)
{
    return g->z[stream].next_out - out;
}

static void raw_bytes(Rig *g, const uint8_t *p, int x, int y, int w, int h)
{
    for (int j = 0; j < h; j++) {
        for (int i = 0; i < w; i++, p += g->bytes) {
            set_px(g, x + i, y + j, pixel_of(g, p));
        }
    }
}

static uint32_t take_pixel(Rig *g)
{
    uint8_t b[4];

    take(g, b, g->bytes);
    return pixel_of(g, b);
}

static void hextile(Rig *g, int x, int y, int w, int h)
{
    uint32_t bg = 0, fg = 0;

    for (int ty = 0; ty < h; ty += 16) {
        for (int tx = 0; tx < w; tx += 16) {
            int tw = MIN(16, w - tx), th = MIN(16, h - ty);
            unsigned m = take_n(g, 1), n = 0;
            if (m & 1) {
                g_autofree uint8_t *raw = g_malloc(tw * th * g->bytes);
                take(g, raw, tw * th * g->bytes);
                raw_bytes(g, raw, x + tx, y + ty, tw, th);
                continue;
            }
            bg = m & 2 ? take_pixel(g) : bg;
            fg = m & 4 ? take_pixel(g) : fg;
            n = m & 8 ? take_n(g, 1) : 0;
            for (int i = 0; i < tw * th; i++) {
                set_px(g, x + tx + i % tw, y + ty + i / tw, bg);
            }
            while (n--) {
                uint32_t c = m & 16 ? take_pixel(g) : fg;
                unsigned xy = take_n(g, 1), wh = take_n(g, 1);
                int sx = xy >> 4, sy = xy & 15, sw = (wh >> 4) + 1, sh = (wh & 15) + 1;
                g_assert_true(sx + sw <= tw && sy + sh <= th);
                for (int i = 0; i < sw * sh; i++) {
                    set_px(g, x + tx + sx + i % sw, y + ty + sy + i / sw, c);
                }
            }
        }
    }
}

static const uint8_t *zrle_tile(Rig *g, const uint8_t *p, int x, int y, int w, int h)
{
    unsigned kind = *p++, len = cpixel_len(g), n = kind & 127;
    uint32_t pal[128];

    g_assert_true(kind <= 16 || kind == 128 || kind >= 130);
    if (kind == 0) {
        for (int i = 0; i < w * h; i++, p += len) {
            set_px(g, x + i % w, y + i / w, cpixel_of(g, p));
        }
        return p;
    }
    for (unsigned i = 0; i < n; i++, p += len) {
        pal[i] = cpixel_of(g, p);
    }
    if (kind <= 16) {
        int bits = kind == 1 ? 0 : kind == 2 ? 1 : kind <= 4 ? 2 : 4;
        for (int j = 0; j < h; j++) {
            int bit = 0;
            for (int i = 0; i < w; i++, bit += bits) {
                unsigned k = bits ? p[bit / 8] >> (8 - bits - bit % 8) & ((1 << bits) - 1) : 0;
                g_assert_cmpint(k, <, n);
                set_px(g, x + i, y + j, pal[k]);
            }
            p += (bit + 7) / 8;
        }
        return p;
    }
    for (int i = 0; i < w * h;) {
        uint32_t c;
        int run = 1;
        bool more = true;
        if (n) {
            more = *p & 128;
            c = pal[*p++ & 127];
        } else {
            c = cpixel_of(g, p);
            p += len;
        }
        while (more) {
            run += *p;
            more = *p++ == 255;
        }
        g_assert_cmpint(i + run, <=, w * h);
        for (; run--; i++) {
            set_px(g, x + i % w, y + i / w, c);
        }
    }
    return p;
}

static void zrle(Rig *g, int x, int y, int w, int h)
{
    unsigned len = take_n(g, 4);
    g_autofree uint8_t *data = unpack(g, 4, len, w * h * 5 + 65536);
    const uint8_t *p = data;

    for (int ty = 0; ty < h; ty += 64) {
        for (int tx = 0; tx < w; tx += 64) {
            p = zrle_tile(g, p, x + tx, y + ty, MIN(64, w - tx), MIN(64, h - ty));
        }
    }
    g_assert_cmpint(p - data, ==, unpacked(g, 4, data));
}

static unsigned compact(Rig *g)
{
    unsigned b = take_n(g, 1), v = b & 127;

    if (b & 128) {
        b = take_n(g, 1);
        v |= (b & 127) << 7;
        if (b & 128) {
            v |= take_n(g, 1) << 14;
        }
    }
    return v;
}

static void jpeg(Rig *g, unsigned len, int x, int y, int w, int h)
{
#ifdef HAVE_JPEG
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr e;
    g_autofree uint8_t *row = g_malloc(w * 3);
    JSAMPROW rows[1] = {row};

    d.err = jpeg_std_error(&e);
    jpeg_create_decompress(&d);
    jpeg_mem_src(&d, (unsigned char *)need(g, len), len);
    jpeg_read_header(&d, TRUE);
    jpeg_start_decompress(&d);
    g_assert_cmpint(d.output_width, ==, w);
    g_assert_cmpint(d.output_height, ==, h);
    for (int j = 0; j < h; j++) {
        jpeg_read_scanlines(&d, rows, 1);
        for (int i = 0; i < w; i++) {
            set_px(g, x + i, y + j, row[i * 3] << 16 | row[i * 3 + 1] << 8 | row[i * 3 + 2]);
        }
    }
    jpeg_finish_decompress(&d);
    jpeg_destroy_decompress(&d);
#endif
    g->jpeg_seen = true;
    eat(g, len);
}

static void tight(Rig *g, int x, int y, int w, int h)
{
    unsigned ctl = take_n(g, 1), n = 0, len = cpixel_len(g);
    uint32_t pal[256];
    uint8_t b[4];

    g_assert_cmpint(w, <=, 2048);
    g_assert_cmpint(ctl & 15, ==, 0); /* our server never resets a stream */
    if (ctl >> 4 == 8) {
        take(g, b, len);
        for (int i = 0; i < w * h; i++) {
            set_px(g, x + i % w, y + i / w, tpixel_of(g, b));
        }
        return;
    }
    if (ctl >> 4 == 9) {
        jpeg(g, compact(g), x, y, w, h);
        return;
    }
    g_assert_cmpint(ctl >> 4, <, 8);
    if (ctl & 0x40) {
        g_assert_cmpint(take_n(g, 1), ==, 1);
        n = take_n(g, 1) + 1;
        for (unsigned i = 0; i < n; i++) {
            take(g, b, len);
            pal[i] = tpixel_of(g, b);
        }
    }
    size_t row = n == 2 ? (w + 7) / 8 : n ? w : w * len, size = row * h;
    int stream = ctl >> 4 & 3;
    g_autofree uint8_t *data = NULL;
    if (size < 12) {
        data = g_malloc(12);
        take(g, data, size);
    } else {
        data = unpack(g, stream, compact(g), size);
        g_assert_cmpint(unpacked(g, stream, data), ==, size);
    }
    for (int j = 0; j < h; j++) {
        for (int i = 0; i < w; i++) {
            const uint8_t *p = data + j * row;
            if (n == 2) {
                set_px(g, x + i, y + j, pal[p[i / 8] >> (7 - i % 8) & 1]);
            } else if (n) {
                g_assert_cmpint(p[i], <, n);
                set_px(g, x + i, y + j, pal[p[i]]);
            } else {
                set_px(g, x + i, y + j, tpixel_of(g, p + i * len));
            }
        }
    }
}

static void pseudo(Rig *g, int enc, int x, int y, int w, int h)
{
    g->pseudo[-enc]++;
    if (enc == VNC_ENC_POINTER_TYPE) {
        g->abs = x;
    } else if (enc == VNC_ENC_LED) {
        take_n(g, 1);
    } else if (enc == VNC_ENC_EXT_DESKTOP_SIZE || enc == VNC_ENC_DESKTOP_SIZE) {
        g->w = w;
        g->h = h;
        g_free(g->fb);
        g->fb = g_new0(uint32_t, w * h);
        if (enc == VNC_ENC_EXT_DESKTOP_SIZE) {
            g->size_reason = x;
            g->size_status = y;
            g_assert_cmpint(take_n(g, 1), ==, 1);
            need(g, 3 + 16);
            eat(g, 3 + 16);
        }
    }
}

/* One FramebufferUpdate; true if it had pixels. */
static bool update(Rig *g, int encoding)
{
    bool pixels = false;
    g_assert_cmpint(take_n(g, 1), ==, 0);
    take_n(g, 1);
    unsigned n = take_n(g, 2);

    while (n--) {
        int x = take_n(g, 2), y = take_n(g, 2), w = take_n(g, 2), h = take_n(g, 2);
        int enc = (int)take_n(g, 4);
        if (enc < 0) {
            pseudo(g, enc, x, y, w, h);
            continue;
        }
        g_assert_cmpint(enc, ==, encoding);
        g->rects++;
        pixels = true;
        if (enc == VNC_ENC_RAW) {
            g_autofree uint8_t *raw = g_malloc(w * h * g->bytes);
            take(g, raw, w * h * g->bytes);
            raw_bytes(g, raw, x, y, w, h);
        } else if (enc == VNC_ENC_ZLIB) {
            g_autofree uint8_t *raw = unpack(g, 5, take_n(g, 4), w * h * g->bytes);
            g_assert_cmpint(unpacked(g, 5, raw), ==, w * h * g->bytes);
            raw_bytes(g, raw, x, y, w, h);
        } else if (enc == VNC_ENC_HEXTILE) {
            hextile(g, x, y, w, h);
        } else if (enc == VNC_ENC_ZRLE) {
            zrle(g, x, y, w, h);
        } else {
            tight(g, x, y, w, h);
        }
    }
    return pixels;
}

static void set_encodings(Rig *g, const int32_t *list, unsigned n)
{
    GByteArray *a = g_byte_array_new();

    g_byte_array_append(a, (const uint8_t *)"\2\0", 2);
    vnc_put16(a, n);
    for (unsigned i = 0; i < n; i++) {
        vnc_put32(a, list[i]);
    }
    put(g, a->data, a->len);
    g_byte_array_unref(a);
}

static void request(Rig *g, bool incremental)
{
    uint8_t m[10] = {3, incremental, 0, 0, 0, 0, g->w >> 8, g->w, g->h >> 8, g->h};

    put(g, m, sizeof(m));
}

static void set_format(Rig *g, unsigned bpp, unsigned depth, bool big, const unsigned *max,
                       const unsigned *shift)
{
    uint8_t m[20] = {0, 0, 0, 0, bpp, depth, big, 1, 0, max[0], 0, max[1], 0, max[2]};

    for (int i = 0; i < 3; i++) {
        m[14 + i] = shift[i];
        g->max[i] = max[i];
        g->shift[i] = shift[i];
    }
    g->bytes = bpp / 8;
    g->big = big;
    put(g, m, sizeof(m));
}

/* ---- pictures ---- */

enum { PIC_SOLID, PIC_TEXT, PIC_COLOURS, PIC_MANY, PIC_NOISE, PIC_COUNT };

static uint32_t lcg(uint32_t *s)
{
    return *s = *s * 1664525 + 1013904223;
}

static void draw(Rig *g, int kind)
{
    int stride, w = console_width(g->con), h = console_height(g->con);
    uint32_t seed = 7;

    machine_lock();
    uint32_t *p = console_pixels(g->con, &stride);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            uint32_t r = lcg(&seed) >> 8, v = 0;
            switch (kind) {
            case PIC_SOLID:
                v = 0x3366cc;
                break;
            case PIC_TEXT:
                v = (x / 3 * 5 + y / 2 * 7) % 11 == 0 ? 0xaaaaaa : 0;
                break;
            case PIC_COLOURS:
                v = ((x / 9 + y / 5) % 13) * 0x111317;
                break;
            case PIC_MANY:
                v = ((x / 2) % 200) * 0x010203 + (y / 50);
                break;
            default:
                v = r & 0xffffff;
                break;
            }
            /* The unused byte may hold anything. */
            p[y * stride + x] = v | 0x5a000000;
        }
    }
    console_dirty(g->con, 0, 0, w, h);
    machine_unlock();
}

/* The client's picture is the surface, as far as its channels go. */
static void compare(Rig *g, unsigned slack)
{
    int stride;
    const uint32_t *p = console_pixels(g->con, &stride);

    for (int y = 0; y < g->h; y++) {
        for (int x = 0; x < g->w; x++) {
            for (int i = 0; i < 3; i++) {
                int a = p[y * stride + x] >> (16 - 8 * i) & 255;
                int b = g->fb[y * g->w + x] >> (16 - 8 * i) & 255;
                int most = slack + (g->max[i] == 255 ? 0 : 255 / g->max[i] / 2 + 1);
                if (ABS(a - b) > most) {
                    g_error("pixel %d,%d channel %d: %d, the surface has %d", x, y, i, b, a);
                }
            }
        }
    }
}

static void get_all(Rig *g, int enc)
{
    request(g, false);
    while (!update(g, enc)) {
    }
}

static const struct {
    unsigned bpp, depth, max[3], shift[3];
    bool big;
} formats[] = {
    {32, 24, {255, 255, 255}, {16, 8, 0}, false}, {32, 24, {255, 255, 255}, {16, 8, 0}, true},
    {32, 24, {255, 255, 255}, {0, 8, 16}, false}, {16, 16, {31, 63, 31}, {11, 5, 0}, false},
    {16, 16, {31, 63, 31}, {11, 5, 0}, true},     {16, 15, {31, 31, 31}, {10, 5, 0}, false},
    {8, 8, {7, 7, 3}, {0, 3, 6}, false},          {8, 6, {3, 3, 3}, {4, 2, 0}, false},
};

static void test_encoding(gconstpointer data)
{
    int32_t enc = GPOINTER_TO_INT(data);

    for (unsigned f = 0; f < G_N_ELEMENTS(formats); f++) {
        Rig *g = rig_new();
        shake(g);
        set_format(g, formats[f].bpp, formats[f].depth, formats[f].big, formats[f].max,
                   formats[f].shift);
        set_encodings(g, &enc, 1);
        for (int pic = 0; pic < PIC_COUNT; pic++) {
            draw(g, pic);
            get_all(g, enc);
            compare(g, 0);
        }
        /* One changed pixel is one small rectangle; nothing changed is nothing sent. */
        int stride;
        machine_lock();
        console_pixels(g->con, &stride)[100 * stride + 60] ^= 0xffffff;
        console_dirty(g->con, 0, 90, W, 20);
        machine_unlock();
        g->rects = 0;
        request(g, true);
        while (!update(g, enc)) {
        }
        g_assert_cmpint(g->rects, ==, 1);
        compare(g, 0);
        machine_lock();
        console_dirty(g->con, 0, 0, W, H);
        machine_unlock();
        request(g, true);
        for (int i = 0; i < 100; i++) {
            turn();
            g_usleep(1000);
        }
        char c;
        g_assert_cmpint(recv(g->fd, &c, 1, MSG_DONTWAIT), ==, -1);
        rig_free(g);
    }
}

#ifdef HAVE_JPEG
static void test_jpeg(void)
{
    static const int32_t encs[] = {VNC_ENC_TIGHT, -23};
    Rig *g = rig_new();

    g->s->lossy = true;
    shake(g);
    set_encodings(g, encs, 2);
    /* Smooth, and of more than 256 colours. */
    int stride;
    machine_lock();
    uint32_t *p = console_pixels(g->con, &stride);
    for (int i = 0; i < W * H; i++) {
        p[i / W * stride + i % W] = (i % W) << 16 | (i / W) << 8 | 100;
    }
    console_dirty(g->con, 0, 0, W, H);
    machine_unlock();
    get_all(g, VNC_ENC_TIGHT);
    g_assert_true(g->jpeg_seen);
    compare(g, 8);
    rig_free(g);
}
#endif

static void test_colour_map(void)
{
    Rig *g = rig_new();
    static const uint8_t m[20] = {0, 0, 0, 0, 8, 8};

    shake(g);
    put(g, m, sizeof(m));
    expect(g, "\1\0\0\0\1\0", 6);
    uint8_t map[256][6];
    take(g, map, sizeof(map));
    draw(g, PIC_SOLID);
    g->bytes = 1;
    request(g, false);
    /* Raw; the decoder's pixel is the index. */
    need(g, 4 + 12 + W * H);
    const uint8_t *c = map[g->in->data[16]];
    g_assert_cmpint(ABS(c[0] - 0x33), <, 19);
    g_assert_cmpint(ABS(c[2] - 0x66), <, 19);
    g_assert_cmpint(ABS(c[4] - 0xcc), <, 43);
    rig_free(g);
}

static void test_resize(void)
{
    static const int32_t encs[] = {VNC_ENC_RAW, VNC_ENC_EXT_DESKTOP_SIZE},
                         old[] = {VNC_ENC_RAW, VNC_ENC_DESKTOP_SIZE};
    for (int e = 0; e < 3; e++) {
        Rig *g = rig_new();
        shake(g);
        set_encodings(g, e == 1 ? old : encs, e == 2 ? 1 : 2);
        draw(g, PIC_TEXT);
        get_all(g, VNC_ENC_RAW);
        g_assert_cmpint(g->pseudo[308], ==, e == 0);
        machine_lock();
        console_resize(g->con, 320, 90);
        machine_unlock();
        draw(g, PIC_COLOURS);
        if (e < 2) {
            request(g, true);
            g_assert_false(update(g, VNC_ENC_RAW));
            g_assert_cmpint(g->w, ==, 320);
            get_all(g, VNC_ENC_RAW);
            compare(g, 0);
        } else { /* cannot resize: gets what fits */
            get_all(g, VNC_ENC_RAW);
            g_assert_cmpint(g->w, ==, W);
            g->h = 90;
            compare(g, 0);
        }
        if (!e) {
            /* A client may not set the size. */
            uint8_t m[24] = {251, 0, 1, 0, 1, 0, 1};
            put(g, m, 24);
            request(g, false);
            while (g->pseudo[308] < 3) {
                update(g, VNC_ENC_RAW);
            }
            g_assert_cmpint(g->size_reason, ==, 1);
            g_assert_cmpint(g->size_status, ==, 1);
            g_assert_cmpint(g->w, ==, 320);
        }
        rig_free(g);
    }
}

/* ---- input ---- */

static void got_input(Rig *g, const char *text)
{
    gint64 end = g_get_monotonic_time() + 2 * G_USEC_PER_SEC;

    while (strcmp(g->keys->str, text) && g_get_monotonic_time() < end) {
        turn();
        g_usleep(200);
    }
    g_assert_cmpstr(g->keys->str, ==, text);
    g_string_truncate(g->keys, 0);
}

G_GNUC_UNUSED static void key(Rig *g, uint32_t sym, bool down)
{
    uint8_t m[8] = {4, down, 0, 0, sym >> 24, sym >> 16, sym >> 8, sym};

    put(g, m, 8);
}

static void ext_key(Rig *g, unsigned xt, bool down)
{
    uint8_t m[12] = {255, 0, 0, down, 0, 0, 0, 'z', 0, 0, 0, xt};

    put(g, m, 12);
}

static void pointer(Rig *g, unsigned mask, unsigned x, unsigned y)
{
    uint8_t m[6] = {5, mask, x >> 8, x, y >> 8, y};

    put(g, m, 6);
}

static void test_keys(void)
{
    static const InputHandler h = {.name = "kbd", .kinds = INPUT_KEYS, .key = key_fn};
    static const int32_t encs[] = {VNC_ENC_RAW, VNC_ENC_EXT_KEY};
    Rig *g = rig_new();

    machine_lock();
    InputSlot *slot = input_add(g->m, &h, g);
    machine_unlock();
    shake(g);
    set_encodings(g, encs, 2);
    get_all(g, VNC_ENC_RAW);
    g_assert_cmpint(g->pseudo[258], ==, 1);
    ext_key(g, 0x1e, true); /* a */
    ext_key(g, 0x1e, false);
    ext_key(g, 0x9c, true); /* keypad Enter: e0 1c */
    ext_key(g, 0x9c, false);
    ext_key(g, 0xc6, true);
    ext_key(g, 0xc6, false);
    ext_key(g, 0x1f, false); /* was not down */
    got_input(g, "+30 -30 +96 -96 +119 -119 ");
#ifdef HAVE_XKBCOMMON
    key(g, 0xffe1, true); /* Shift */
    key(g, 'A', true);
    key(g, 0xffe1, false);
    key(g, 'a', false); /* the same key, by its other name: stays down until its own name */
    key(g, 'A', false);
    key(g, 0xff0d, true);
    key(g, 0xff0d, false);
    got_input(g, "+42 +30 -42 -30 +28 -28 ");
    /* German: z and y change places, @ is AltGr+q. */
    machine_lock();
    g->s->own_keymap = g->s->keymap;
    Keymap *de = keymap_new("de", NULL);
    if (de) {
        const Keymap *us = g->s->keymap;
        g_assert_cmpint(keymap_code(us, 'z', false, false), ==, 44);
        g_assert_cmpint(keymap_code(us, '@', true, false), ==, 3);
        g_assert_cmpint(keymap_code(de, 'z', false, false), ==, 21);
        g_assert_cmpint(keymap_code(de, '@', false, true), ==, 16);
        g_assert_cmpint(keymap_code(de, 0xdf, false, false), ==, 12);   /* sharp s */
        g_assert_cmpint(keymap_code(de, 0xfe51, false, false), ==, 13); /* dead acute */
        g_assert_cmpint(keymap_code(de, '<', false, false), ==, 86);
        keymap_free(de);
    }
    g_assert_null(keymap_new("no-such-layout", NULL));
    machine_unlock();
#endif
    /* What is down when the client goes is let go. */
    ext_key(g, 0x1d, true);
    got_input(g, "+29 ");
    close(g->fd);
    g->fd = -1;
    got_input(g, "-29 ");
    machine_lock();
    input_remove(slot);
    machine_unlock();
    rig_free(g);
}

static void test_pointer(void)
{
    static const InputHandler rel = {.name = "mouse",
                                     .kinds = INPUT_REL,
                                     .rel = rel_fn,
                                     .button = button_fn,
                                     .wheel = wheel_fn},
                              abs = {.name = "tablet",
                                     .kinds = INPUT_ABS,
                                     .abs = abs_fn,
                                     .button = button_fn,
                                     .wheel = wheel_fn};
    static const int32_t encs[] = {VNC_ENC_RAW, VNC_ENC_POINTER_TYPE};
    Rig *g = rig_new();

    machine_lock();
    InputSlot *s1 = input_add(g->m, &rel, g);
    machine_unlock();
    shake(g);
    set_encodings(g, encs, 2);
    get_all(g, VNC_ENC_RAW);
    g_assert_cmpint(g->abs, ==, 0);
    pointer(g, 0, 0x7fff + 5, 0x7fff - 3);
    pointer(g, 1, 0x7fff, 0x7fff);
    pointer(g, 0, 0x7fff, 0x7fff);
    got_input(g, "r5,-3 r0,0 +b0 r0,0 -b0 ");
    machine_lock();
    InputSlot *s2 = input_add(g->m, &abs, g);
    machine_unlock();
    get_all(g, VNC_ENC_RAW);
    g_assert_cmpint(g->pseudo[257], ==, 2);
    g_assert_cmpint(g->abs, ==, 1);
    pointer(g, 2, W - 1, 0);
    pointer(g, 8, 0, H - 1);
    got_input(g, "a32767,0 +b2 a0,32767 -b2 w-1 ");
    machine_lock();
    input_remove(s2);
    input_remove(s1);
    machine_unlock();
    rig_free(g);
}

/* ---- bad clients ---- */

static void test_hostile(void)
{
    static const struct {
        const char *bytes;
        unsigned len;
    } messages[] = {
        {"\x63", 1},
        /* Pixel formats: 24 bits; a shift outside; a maximum of 0 and one with holes. */
        {"\0\0\0\0\x18\x18\0\1\0\xff\0\xff\0\xff\0\x8\x10\0\0\0", 20},
        {"\0\0\0\0\x20\x18\0\1\0\xff\0\xff\0\xff\xff\x8\x10\0\0\0", 20},
        {"\0\0\0\0\x20\x18\0\1\0\0\0\xff\0\xff\0\x8\x10\0\0\0", 20},
        {"\0\0\0\0\x20\x18\0\1\0\xfe\0\xff\0\xff\0\x8\x10\0\0\0", 20},
        {"\0\0\0\0\x10\x10\0\1\xff\xff\0\xff\0\xff\1\x8\x8\0\0\0", 20},
        {"\0\0\0\0\x20\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20}, /* colour map of 32 bits */
        {"\2\0\xff\xff", 4},                                  /* 65535 encodings */
        {"\6\0\0\0\x7f\xff\xff\xff", 8},                      /* 2 GiB of cut text */
        {"\6\0\0\0\x80\0\0\0", 8},
        {"\xff\x09", 2},
    };
    Rig *g = rig_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(messages); i++) {
        shake(g);
        put(g, messages[i].bytes, messages[i].len);
        g_assert_true(hung_up(g));
    }
    static const char *const hello[] = {"GET / HTTP/1.0\r\n", "RFB 004.000\n", "RFB 003.0x8\n"};
    for (int i = 0; i < 3; i++) {
        plug(g);
        put(g, hello[i], strlen(hello[i]));
        g_assert_true(hung_up(g));
    }
    plug(g);
    put(g, "RFB 003.008\n\2", 13); /* a type that was not offered */
    g_assert_true(hung_up(g));
    /* Cut text is read and forgotten, in pieces. */
    shake(g);
    put(g, "\6\0\0\0\0\0\0\5ab", 10);
    put(g, "cde", 3);
    get_all(g, VNC_ENC_RAW);
    /* Update requests outside the screen. */
    put(g, "\3\0\xff\xff\xff\xff\xff\xff\xff\xff", 10);
    get_all(g, VNC_ENC_RAW);
    compare(g, 0);
    rig_free(g);
}

/* A client that asks and asks and never reads gets at most one update queued. */
static void test_slow(void)
{
    Rig *g = rig_new();

    shake(g);
    machine_lock();
    console_resize(g->con, 1024, 768);
    machine_unlock();
    plug(g);
    expect(g, "RFB 003.008\n", 12);
    put(g, "RFB 003.003\n", 12);
    expect(g, "\0\0\0\1", 4);
    server_init(g);
    VncClient *c = g_list_last(g->s->clients)->data;
    for (int i = 0; i < 200; i++) {
        draw(g, i % PIC_COUNT);
        request(g, false);
        turn();
        turn();
        g_assert_cmpuint(c->out->len - c->out_pos, <=, 1024 * 768 * 4 + 100);
    }
    /* It reads again, and ends with the newest picture. */
    draw(g, PIC_NOISE);
    get_all(g, VNC_ENC_RAW);
    get_all(g, VNC_ENC_RAW);
    compare(g, 0);
    rig_free(g);
}

static void test_sharing(void)
{
    Rig *g = rig_new();

    shake(g);
    int first = g->fd;
    g->fd = -1;
    shake(g); /* shared: both stay */
    g_assert_cmpint(g_list_length(g->s->clients), ==, 2);
    int second = g->fd;
    g->fd = -1;
    plug(g);
    put(g, "RFB 003.008\n\1\0", 14); /* exclusive */
    need(g, 12 + 2 + 4 + 24);
    g_assert_cmpint(g_list_length(g->s->clients), ==, 1);
    g->s->share = VNC_SHARE_FORCE;
    plug(g);
    put(g, "RFB 003.008\n\1\0", 14);
    g_assert_true(hung_up(g));
    for (int i = 0; i < VNC_MAX_CLIENTS; i++) {
        int sv[2];
        g_assert(!socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
        machine_lock();
        vnc_server_add_client(g->s, sv[1], "many");
        machine_unlock();
        close(sv[0]);
    }
    g_assert_cmpint(g_list_length(g->s->clients), <=, VNC_MAX_CLIENTS);
    close(first);
    close(second);
    rig_free(g);
}

static void test_spec(void)
{
    static const char *const bad[] = {"",
                                      "5901",
                                      ":x",
                                      ":70000",
                                      ":1,foo=1",
                                      ":1,share=maybe",
                                      "unix:",
                                      ":1,websocket=on",
                                      ":1,to=x",
                                      ":1,password=2",
                                      ":1,tls-creds=a"};
    Rig *g = rig_new();
    g_autofree char *dir = g_dir_make_tmp("rhea-vnc-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "s", NULL);
    g_autofree char *spec = g_strconcat("unix:", path, NULL);

    machine_lock();
    vnc_cleanup(g->m);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) err = NULL;
        g_assert_false(vnc_start(g->m, bad[i], NULL, &err));
        g_assert_nonnull(err);
        g_assert_null(g->m->vnc);
    }
    g_assert_true(vnc_start(g->m, "none", NULL, NULL));
    g_assert_null(vnc_address(g->m));
    g_assert_true(vnc_start(g->m, spec, NULL, NULL));
    g_assert_cmpstr(vnc_address(g->m), ==, spec);
    g_assert_false(vnc_set_password(g->m, "x", NULL));
    /* The second one takes the next free port. */
    g_assert_true(vnc_start(g->m, "127.0.0.1:60,to=99", NULL, NULL));
    g_autofree char *one = g_strdup(vnc_address(g->m));
    g_assert_true(vnc_start(g->m, "127.0.0.1:60,to=99", NULL, NULL));
    g_assert_cmpstr(one, !=, vnc_address(g->m));
    vnc_cleanup(g->m);
    machine_unlock();
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    rmdir(dir);
    rig_free(g);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vnc/versions", test_versions);
    g_test_add_func("/vnc/password", test_password);
    g_test_add_data_func("/vnc/raw", GINT_TO_POINTER(VNC_ENC_RAW), test_encoding);
    g_test_add_data_func("/vnc/hextile", GINT_TO_POINTER(VNC_ENC_HEXTILE), test_encoding);
    g_test_add_data_func("/vnc/zlib", GINT_TO_POINTER(VNC_ENC_ZLIB), test_encoding);
    g_test_add_data_func("/vnc/tight", GINT_TO_POINTER(VNC_ENC_TIGHT), test_encoding);
    g_test_add_data_func("/vnc/zrle", GINT_TO_POINTER(VNC_ENC_ZRLE), test_encoding);
#ifdef HAVE_JPEG
    g_test_add_func("/vnc/jpeg", test_jpeg);
#endif
    g_test_add_func("/vnc/colour-map", test_colour_map);
    g_test_add_func("/vnc/resize", test_resize);
    g_test_add_func("/vnc/keys", test_keys);
    g_test_add_func("/vnc/pointer", test_pointer);
    g_test_add_func("/vnc/hostile", test_hostile);
    g_test_add_func("/vnc/slow-client", test_slow);
    g_test_add_func("/vnc/sharing", test_sharing);
    g_test_add_func("/vnc/spec", test_spec);
    return g_test_run();
}
