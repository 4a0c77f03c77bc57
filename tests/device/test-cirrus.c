/* Registers, memory paths and pictures of the CL-GD5446, from its Technical Reference Manual. */
#include "cirrus-rig.h"

static uint32_t pixel(Bench *b, int x, int y)
{
    int stride;
    uint32_t *p = console_pixels(b->c->vga.console, &stride);

    return p[y * stride + x] & 0xffffff;
}

static void draw(Bench *b)
{
    console_update(b->c->vga.console, false);
}

static void check_size(Bench *b, int w, int h)
{
    g_assert_cmpint(console_width(b->c->vga.console), ==, w);
    g_assert_cmpint(console_height(b->c->vga.console), ==, h);
}

static uint32_t six(unsigned v)
{
    v &= 63;
    return v << 2 | v >> 4;
}

/* DAC entry i: (i, 2i, 3i) in six bits. */
static void load_dac(Bench *b)
{
    outb(b->f, 0x3c8, 0);
    for (unsigned i = 0; i < 256; i++) {
        outb(b->f, 0x3c9, i & 63);
        outb(b->f, 0x3c9, i * 2 & 63);
        outb(b->f, 0x3c9, i * 3 & 63);
    }
}

static uint32_t color(unsigned i)
{
    return six(i) << 16 | six(i * 2) << 8 | six(i * 3);
}

/* CRTC tables of the manual's modes 5Fh (640x480), 5Ch (800x600) and 60h (1024x768); the offset is
 * put in by depth. */
typedef struct Geometry {
    int w, h;
    uint8_t cr[25];
} Geometry;

static const Geometry geometries[] = {
    {640, 480, {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0x00, 0x00, 0x00,
                0x00, 0x00, 0x00, 0xea, 0x8c, 0xdf, 0x50, 0x00, 0xe7, 0x04, 0xe3, 0xff}},
    {800, 600, {0x7d, 0x63, 0x64, 0x80, 0x6b, 0x1a, 0x98, 0xf0, 0x00, 0x60, 0x00, 0x00, 0x00,
                0x00, 0x00, 0x00, 0x7d, 0x23, 0x57, 0x64, 0x40, 0x57, 0x98, 0xc3, 0xff}},
    {1024, 768, {0xa3, 0x7f, 0x80, 0x86, 0x85, 0x96, 0x24, 0xfd, 0x00, 0x60, 0x00, 0x00, 0x00,
                 0x00, 0x00, 0x00, 0x02, 0x88, 0xff, 0x80, 0x00, 0xff, 0x24, 0xe3, 0xff}},
};

/* Depths: sequencer 7, hidden DAC, bytes a pixel. */
typedef struct Depth {
    const char *name;
    uint8_t sr7, dac;
    unsigned bytes;
} Depth;

static const Depth depths[] = {
    {"8", 0x11, 0x00, 1},    {"15", 0x17, 0xc0, 2},    {"16", 0x17, 0xc1, 2},
    {"24", 0x15, 0xc5, 3},   {"32", 0x19, 0xc5, 4},    {"16, two clocks", 0x13, 0xe1, 2},
    {"gray", 0x11, 0xc8, 1}, {"3-3-2", 0x11, 0xc9, 1}, {"15 or palette", 0x17, 0xd0, 2},
};

static void set_mode(Bench *b, const Geometry *g, const Depth *d)
{
    unsigned offset = g->w * d->bytes / 8;

    packed(b, d->sr7, d->dac);
    seq(b, 0, 3);
    seq(b, 1, 1);
    crtc(b, 0x11, 0);
    for (unsigned i = 0; i < 25; i++) {
        crtc(b, i, i == 0x13 ? offset : g->cr[i]);
    }
    crtc(b, 0x1a, 0);
    crtc(b, 0x1b, 0x22 | (offset & 0x100) >> 4);
    crtc(b, 0x1d, 0);
    for (unsigned i = 0; i < 21; i++) {
        attr(b, i, i < 16 ? i : i == 16 ? 1 : i == 18 ? 15 : 0);
    }
    inb(b->f, 0x3da);
    outb(b->f, 0x3c0, 0x20);
    load_dac(b);
}

static void test_identity(void)
{
    Bench b;

    start(&b);
    g_assert_cmphex(cfg_read(b.f, DEVFN, 0, 4), ==, 0x00b81013);
    g_assert_cmphex(cfg_read(b.f, DEVFN, 0x0a, 2), ==, 0x0300);
    cfg_write(b.f, DEVFN, 0x10, 0xffffffff, 4);
    g_assert_cmphex(cfg_read(b.f, DEVFN, 0x10, 4), ==, 0xfe000008); /* 32 MiB, prefetchable */
    cfg_write(b.f, DEVFN, 0x14, 0xffffffff, 4);
    g_assert_cmphex(cfg_read(b.f, DEVFN, 0x14, 4), ==, 0xfffff000);
    g_assert_cmphex(get_crtc(&b, 0x27) >> 2, ==, 0xb8 >> 2);
    g_assert_cmphex(get_seq(&b, 0x0f) & 0x98, ==, 0x98); /* 4 MiB */
    g_assert_cmphex(get_seq(&b, 0x17) & 0x38, ==, 0x20); /* PCI */
    stop(&b);
}

static void test_lock(void)
{
    Bench b;

    start(&b);
    g_assert_cmphex(get_seq(&b, 6), ==, 0x12);
    seq(&b, 6, 0);
    g_assert_cmphex(get_seq(&b, 6), ==, 0x0f);
    seq(&b, 7, 1);
    gfx(&b, 0x0b, 0x21);
    crtc(&b, 0x1b, 0x22);
    seq(&b, 6, 0xf2); /* bits 7:5 and 3 do not count */
    g_assert_cmphex(get_seq(&b, 6), ==, 0x12);
    g_assert_cmphex(get_seq(&b, 7), ==, 0);
    g_assert_cmphex(get_gfx(&b, 0x0b), ==, 0);
    g_assert_cmphex(get_crtc(&b, 0x1b), ==, 0);
    crtc(&b, 0x1b, 0x22);
    g_assert_cmphex(get_crtc(&b, 0x1b), ==, 0x22);
    /* Widths of the BitBLT registers. */
    static const uint8_t masks[][2] = {{0x20, 0xff}, {0x21, 0x1f}, {0x23, 0x07}, {0x25, 0x1f},
                                       {0x27, 0x1f}, {0x2a, 0x3f}, {0x2e, 0x3f}, {0x30, 0xff}};
    for (unsigned i = 0; i < G_N_ELEMENTS(masks); i++) {
        gfx(&b, masks[i][0], 0xff);
        g_assert_cmphex(get_gfx(&b, masks[i][0]), ==, masks[i][1]);
    }
    stop(&b);
}

static void test_hidden_dac(void)
{
    Bench b;

    start(&b);
    outb(b.f, 0x3c6, 0xff);
    hidden(&b, 0xc5);
    g_assert_cmphex(inb(b.f, 0x3c6), ==, 0xff); /* the mask was not touched */
    inb(b.f, 0x3c8);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmphex(inb(b.f, 0x3c6), ==, 0xff);
    }
    g_assert_cmphex(inb(b.f, 0x3c6), ==, 0xc5);
    /* another DAC register in between begins anew */
    for (unsigned i = 0; i < 3; i++) {
        inb(b.f, 0x3c6);
    }
    inb(b.f, 0x3c8);
    outb(b.f, 0x3c6, 0x7f);
    g_assert_cmphex(inb(b.f, 0x3c6), ==, 0x7f);
    stop(&b);
}

static void test_readback(void)
{
    Bench b;

    start(&b);
    inb(b.f, 0x3da);
    g_assert_cmphex(get_crtc(&b, 0x24), ==, 0x00);
    outb(b.f, 0x3c0, 0x33);
    g_assert_cmphex(get_crtc(&b, 0x24), ==, 0x80);
    g_assert_cmphex(get_crtc(&b, 0x26), ==, 0x33);
    stop(&b);
}

/* The pictures of all sizes and depths: a pixel in each corner, and its neighbours. */
static void test_modes(void)
{
    Bench b;

    start(&b);
    for (unsigned g = 0; g < G_N_ELEMENTS(geometries); g++) {
        for (unsigned d = 0; d < G_N_ELEMENTS(depths); d++) {
            const Geometry *geo = &geometries[g];
            const Depth *depth = &depths[d];
            unsigned pitch = geo->w * depth->bytes;
            if (pitch / 8 > 0x1ff) {
                continue; /* more than the offset register holds */
            }
            memset(b.vram, 0, VRAM);
            set_mode(&b, geo, depth);
            draw(&b);
            check_size(&b, geo->w, geo->h);
            for (unsigned i = 0; i < 200; i++) {
                unsigned x = (i * 37) % geo->w, y = (i * 53 + i / 7) % geo->h;
                uint32_t v = i * 0x01030507u + 0x00123456, want;
                x = i == 0 ? 0 : i == 1 ? geo->w - 1u : x;
                y = i == 0 ? 0 : i == 1 ? geo->h - 1u : y;
                unsigned r5 = v >> 10 & 31, g5 = v >> 5 & 31, b5 = v & 31;
                switch (d) {
                case 0:
                    want = color(v & 255);
                    break;
                case 2:
                case 5:
                    want = ((v >> 11 & 31) * 255 / 31) << 16 | ((v >> 5 & 63) * 255 / 63) << 8 |
                           b5 * 255 / 31;
                    break;
                case 6:
                    want = (v & 255) * 0x10101;
                    break;
                case 7:
                    want = ((v >> 5 & 7) * 255 / 7) << 16 | ((v >> 2 & 7) * 255 / 7) << 8 |
                           (v & 3) * 255 / 3;
                    break;
                case 1:
                case 8:
                    want = (r5 * 255 / 31) << 16 | (g5 * 255 / 31) << 8 | b5 * 255 / 31;
                    if (d == 8 && (v & 0x8000)) {
                        want = color(v & 255);
                    }
                    break;
                default:
                    want = v & 0xffffff;
                    break;
                }
                for (unsigned k = 0; k < depth->bytes; k++) {
                    poke(&b, LFB + y * pitch + x * depth->bytes + k, v >> k * 8 & 255, 1);
                }
                draw(&b);
                uint32_t have = pixel(&b, x, y);
                g_test_message("%s bits, %u,%u: %06x is %06x", depth->name, x, y, v, have);
                for (unsigned k = 0; k < 24; k += 8) { /* five bits to eight: one may differ */
                    g_assert_cmpint(abs((int)(have >> k & 255) - (int)(want >> k & 255)), <=, 1);
                }
            }
        }
    }
    stop(&b);
}

/* What keeps the screen dark in packed modes, and what does not. */
static void test_blank(void)
{
    Bench b;

    start(&b);
    set_mode(&b, &geometries[0], &depths[0]);
    poke(&b, LFB, 0x21, 1);
    seq(&b, 1, 0x21);
    crtc(&b, 0x17, 0x03);
    draw(&b);
    g_assert_cmphex(pixel(&b, 0, 0), ==, color(0x21));
    gfx(&b, 0x0e, 0x06);
    draw(&b);
    g_assert_cmphex(pixel(&b, 0, 0), ==, 0);
    gfx(&b, 0x0e, 0x00);
    draw(&b);
    g_assert_cmphex(pixel(&b, 0, 0), ==, color(0x21));
    inb(b.f, 0x3da);
    outb(b.f, 0x3c0, 0x00);
    draw(&b);
    g_assert_cmphex(pixel(&b, 0, 0), ==, 0);
    stop(&b);
}

/* Start address and offset of more bits, split screen, doubled lines, interlace. */
static void test_scanout(void)
{
    Bench b;

    start(&b);
    set_mode(&b, &geometries[0], &depths[0]);
    /* 20 bits of doublewords */
    static const struct {
        uint32_t start;
        uint8_t c, d, b, e;
    } starts[] = {
        {0x00004, 0, 1, 0, 0},          {0x00400, 1, 0, 0, 0},  {0x40000, 0, 0, 1, 0},
        {0x80000, 0, 0, 4, 0},          {0x100000, 0, 0, 8, 0}, {0x200000, 0, 0, 0, 0x80},
        {0x3ffffc, 255, 255, 13, 0x80},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(starts); i++) {
        b.vram[starts[i].start] = 0x21 + i;
        mem_set_dirty(&b.c->vram, starts[i].start, 1);
        crtc(&b, 0x0c, starts[i].c);
        crtc(&b, 0x0d, starts[i].d);
        crtc(&b, 0x1b, 0x22 | starts[i].b);
        crtc(&b, 0x1d, starts[i].e);
        draw(&b);
        g_assert_cmphex(pixel(&b, 0, 0), ==, color(0x21 + i));
    }
    /* The last one goes over the end of the memory. */
    poke(&b, LFB, 0x77, 1);
    draw(&b);
    g_assert_cmphex(pixel(&b, 4, 0), ==, color(0x77));
    crtc(&b, 0x0c, 0);
    crtc(&b, 0x0d, 0);
    crtc(&b, 0x1d, 0);
    crtc(&b, 0x1b, 0x32); /* offset 150h: 2688 bytes */
    poke(&b, LFB + 2688, 0x55, 1);
    draw(&b);
    g_assert_cmphex(pixel(&b, 0, 1), ==, color(0x55));
    crtc(&b, 0x1b, 0x22);
    /* Split after line 99. */
    crtc(&b, 0x18, 99);
    crtc(&b, 0x07, 0x2e);
    crtc(&b, 0x09, 0x00);
    poke(&b, LFB + 7, 0x66, 1);
    draw(&b);
    g_assert_cmphex(pixel(&b, 7, 100), ==, color(0x66));
    poke(&b, LFB + 8, 0x67, 1);
    draw(&b);
    g_assert_cmphex(pixel(&b, 8, 100), ==, color(0x67));
    g_assert_cmphex(pixel(&b, 8, 0), ==, color(0x67));
    crtc(&b, 0x18, 0xff);
    crtc(&b, 0x07, 0x3e);
    crtc(&b, 0x09, 0xc0); /* each row twice */
    poke(&b, LFB + 640, 0x31, 1);
    draw(&b);
    g_assert_cmphex(pixel(&b, 0, 2), ==, color(0x31));
    g_assert_cmphex(pixel(&b, 0, 3), ==, color(0x31));
    crtc(&b, 0x09, 0x40);
    crtc(&b, 0x1a, 1);
    draw(&b);
    check_size(&b, 640, 960);
    crtc(&b, 0x1a, 0);
    crtc(&b, 0x17, 0xe7); /* the vertical counter at half the rate */
    draw(&b);
    check_size(&b, 640, 960);
    stop(&b);
}

static void load_cursor(Bench *b, unsigned n, unsigned size, unsigned x, unsigned y,
                        unsigned planes)
{
    uint8_t *p = b->vram + VRAM - 0x4000 + (size == 64 ? n * 1024 : n * 256);
    unsigned row = size == 64 ? 16 : 4, second = size == 64 ? 8 : 128;

    if (planes & 1) {
        p[y * row + x / 8] |= 0x80 >> x % 8;
    }
    if (planes & 2) {
        p[second + y * row + x / 8] |= 0x80 >> x % 8;
    }
}

static void test_cursor(void)
{
    Bench b;

    start(&b);
    set_mode(&b, &geometries[0], &depths[0]);
    memset(b.vram, 5, 640 * 480);
    for (unsigned size = 32; size <= 64; size += 32) {
        memset(b.vram + VRAM - 0x4000, 0, 0x4000);
        load_cursor(&b, 3, size, 0, 0, 3);
        load_cursor(&b, 3, size, 1, 0, 2);
        load_cursor(&b, 3, size, 2, 0, 1);
        load_cursor(&b, 3, size, size - 1, size - 1, 3);
        seq(&b, 0x12, 2); /* the cursor's colours: entries 0 and 15 */
        outb(b.f, 0x3c8, 0);
        outb(b.f, 0x3c9, 1);
        outb(b.f, 0x3c9, 2);
        outb(b.f, 0x3c9, 3);
        outb(b.f, 0x3c8, 15);
        outb(b.f, 0x3c9, 60);
        outb(b.f, 0x3c9, 50);
        outb(b.f, 0x3c9, 40);
        outb(b.f, 0x3c7, 15);
        g_assert_cmpint(inb(b.f, 0x3c9), ==, 60);
        seq(&b, 0x12, size == 64 ? 5 : 1);
        seq(&b, 0x13, size == 64 ? 3 * 4 : 3);
        unsigned x = 101, y = 203;
        outw(b.f, 0x3c4, (x << 5 & 0xe0) | 0x10 | (x >> 3) << 8);
        outw(b.f, 0x3c4, (y << 5 & 0xe0) | 0x11 | (y >> 3) << 8);
        draw(&b);
        uint32_t back = color(5);
        g_assert_cmphex(pixel(&b, x, y), ==, six(60) << 16 | six(50) << 8 | six(40));
        g_assert_cmphex(pixel(&b, x + 1, y), ==, six(1) << 16 | six(2) << 8 | six(3));
        g_assert_cmphex(pixel(&b, x + 2, y), ==, back ^ 0xffffff);
        g_assert_cmphex(pixel(&b, x + 3, y), ==, back);
        g_assert_cmphex(pixel(&b, x + size - 1, y + size - 1), ==,
                        six(60) << 16 | six(50) << 8 | six(40));
        g_assert_cmphex(pixel(&b, x + size, y + size - 1), ==, back);
        /* It goes, and what was under it comes back. */
        outw(b.f, 0x3c4, (639 << 5 & 0xe0) | 0x10 | (639 >> 3) << 8);
        draw(&b);
        g_assert_cmphex(pixel(&b, x, y), ==, back);
        g_assert_cmphex(pixel(&b, 639, y), ==, six(60) << 16 | six(50) << 8 | six(40));
        seq(&b, 0x12, 0);
        draw(&b);
        g_assert_cmphex(pixel(&b, 639, y), ==, back);
    }
    stop(&b);
}

static void count(void *opaque, Console *c, int x, int y, int w, int h)
{
    *(unsigned *)opaque += h;
}

/* An unchanged screen is not drawn; a change draws its lines. */
static void test_unchanged(void)
{
    static const ConsoleListener l = {.dirty = count};
    unsigned lines = 0;
    Bench b;

    start(&b);
    set_mode(&b, &geometries[0], &depths[0]);
    draw(&b);
    console_add_listener(b.c->vga.console, &l, &lines);
    draw(&b);
    g_assert_cmpuint(lines, ==, 0);
    poke(&b, LFB + 640 * 100, 1, 1);
    draw(&b);
    g_assert_cmpuint(lines, >=, 1);
    g_assert_cmpuint(lines, <=, 14); /* two pages at most */
    lines = 0;
    poke(&b, 0xa0000, 1, 1);
    draw(&b);
    g_assert_cmpuint(lines, >=, 1);
    lines = 0;
    draw(&b);
    g_assert_cmpuint(lines, ==, 0);
    console_del_listener(b.c->vga.console, &l, &lines);
    stop(&b);
}

static void test_banks(void)
{
    Bench b;

    start(&b);
    packed(&b, 0x01, 0);
    gfx(&b, 9, 3);
    poke(&b, 0xa0010, 0x11, 1);
    g_assert_cmphex(b.vram[3 * 4096 + 0x10], ==, 0x11);
    gfx(&b, 0x0b, 0x20);
    poke(&b, 0xaffff, 0x12, 1);
    g_assert_cmphex(b.vram[3 * 16384 + 0xffff], ==, 0x12);
    gfx(&b, 0x0b, 0x21);
    gfx(&b, 0x0a, 0x80);
    poke(&b, 0xa7fff, 0x13, 1);
    poke(&b, 0xa8000, 0x14, 1);
    g_assert_cmphex(b.vram[3 * 16384 + 0x7fff], ==, 0x13);
    g_assert_cmphex(b.vram[0x80 * 16384], ==, 0x14);
    g_assert_cmphex(peek(&b, 0xa8000, 1), ==, 0x14);
    g_assert_cmphex(peek(&b, LFB + 0x80 * 16384, 1), ==, 0x14);
    /* A bank that ends behind the memory wraps (CVE-2016-3712: banks and what they reach). */
    gfx(&b, 0x0b, 0x20);
    gfx(&b, 9, 0xff);
    poke(&b, 0xa3fff, 0x15, 1);
    g_assert_cmphex(b.vram[VRAM - 1], ==, 0x15);
    poke(&b, 0xa4000, 0x16, 1);
    g_assert_cmphex(b.vram[0], ==, 0x16);
    g_assert_cmphex(peek(&b, 0xa4000, 1), ==, 0x16);
    /* In planar modes too. */
    seq(&b, 7, 0);
    seq(&b, 4, 6);
    for (unsigned i = 0; i < 0x10000; i += 0x555) {
        poke(&b, 0xa0000 + i, i, 1);
        peek(&b, 0xa0000 + i, 1);
    }
    /* Pictures with every register at its end. */
    crtc(&b, 0x11, 0);
    for (unsigned sr7 = 0; sr7 < 16; sr7++) {
        for (unsigned text = 0; text < 2; text++) {
            for (unsigned i = 0; i < 0x1e; i++) {
                crtc(&b, i, i == 0x11 ? 0 : 0xff);
            }
            seq(&b, 7, sr7);
            gfx(&b, 6, text ? 0 : 1);
            inb(b.f, 0x3da);
            outb(b.f, 0x3c0, 0x20);
            console_update(b.c->vga.console, true);
        }
    }
    stop(&b);
}

static void test_write_modes(void)
{
    Bench b;

    start(&b);
    packed(&b, 0x01, 0);
    gfx(&b, 0x0b, 0x06); /* extended write modes, eight bytes an address */
    gfx(&b, 0, 0xb0);
    gfx(&b, 1, 0xf1);
    seq(&b, 2, 0xff);
    g_assert_cmphex(get_gfx(&b, 0), ==, 0xb0);
    gfx(&b, 5, 0x44); /* mode 4: the foreground where bits are set */
    memset(b.vram + 0x80, 0x55, 16);
    poke(&b, 0xa0010, 0xa1, 1);
    static const uint8_t want4[8] = {0xf1, 0x55, 0xf1, 0x55, 0x55, 0x55, 0x55, 0xf1};
    g_assert_cmpmem(b.vram + 0x80, 8, want4, 8);
    gfx(&b, 5, 0x45); /* mode 5: the background elsewhere */
    poke(&b, LFB + 0x11, 0xa1, 1);
    static const uint8_t want5[8] = {0xf1, 0xb0, 0xf1, 0xb0, 0xb0, 0xb0, 0xb0, 0xf1};
    g_assert_cmpmem(b.vram + 0x88, 8, want5, 8);
    seq(&b, 2, 0x0f); /* four pixels may be written */
    poke(&b, 0xa0010, 0xff, 1);
    static const uint8_t want_mask[8] = {0xf1, 0x55, 0xf1, 0x55, 0xf1, 0xf1, 0xf1, 0xf1};
    g_assert_cmpmem(b.vram + 0x80, 8, want_mask, 8);
    seq(&b, 2, 0xff);
    gfx(&b, 0x0b, 0x14); /* pixels of 16 bits */
    gfx(&b, 0x10, 0xb8);
    gfx(&b, 0x11, 0xf9);
    poke(&b, 0xa0020, 0x80, 1);
    g_assert_cmphex(pci_get16(b.vram + 0x200), ==, 0xf9f1);
    g_assert_cmphex(pci_get16(b.vram + 0x20e), ==, 0xb8b0);
    /* Eight latches: a copy of eight bytes with one read and one write. */
    gfx(&b, 0x0b, 0x0e);
    gfx(&b, 5, 0x41);
    memcpy(b.vram + 0x400, "latches!", 8);
    peek(&b, 0xa0080, 1);
    poke(&b, 0xa0090, 0, 1);
    g_assert_cmpmem(b.vram + 0x480, 8, "latches!", 8);
    /* And back to plain memory. */
    gfx(&b, 5, 0x40);
    gfx(&b, 0x0b, 0);
    poke(&b, 0xa0480, 0x21, 1);
    g_assert_cmphex(b.vram[0x480], ==, 0x21);
    g_assert_cmphex(peek(&b, LFB + 0x480, 1), ==, 0x21);
    stop(&b);
}

static void test_apertures(void)
{
    Bench b;

    start(&b);
    packed(&b, 0x01, 0);
    poke(&b, LFB + 0x400000 + 0x100, 0x44332211, 4);
    g_assert_cmphex(pci_get32(b.vram + 0x100), ==, 0x33441122);
    poke(&b, LFB + 0x800000 + 0x104, 0x44332211, 4);
    g_assert_cmphex(pci_get32(b.vram + 0x104), ==, 0x11223344);
    poke(&b, LFB + 0x400000 + 0x108, 0xabcd, 2);
    g_assert_cmphex(pci_get16(b.vram + 0x108), ==, 0xcdab);
    poke(&b, LFB + 0x800000 + 0x10c, 0xabcd, 2); /* the other half of the doubleword */
    g_assert_cmphex(pci_get16(b.vram + 0x10e), ==, 0xcdab);
    g_assert_cmphex(peek(&b, LFB + 0x400000 + 0x100, 4), ==, 0x44332211);
    g_assert_cmphex(peek(&b, LFB + 0x800000 + 0x104, 4), ==, 0x44332211);
    g_assert_cmphex(peek(&b, LFB + 0xc00000, 4), ==, 0xffffffff);
    stop(&b);
}

/* What text and chained modes write through the shadow is in the planes when modes change. */
static void test_shadow(void)
{
    Bench b;

    start(&b);
    set_mode(&b, &geometries[0], &depths[0]);
    seq(&b, 7, 0); /* chained 256 colours of the VGA */
    for (unsigned i = 0; i < 0x10000; i += 0x101) {
        poke(&b, 0xa0000 + i, i * 7, 1);
    }
    seq(&b, 4, 6); /* unchained: plane i & 3, address i & ~3 */
    for (unsigned i = 0; i < 0x10000; i += 0x101) {
        gfx(&b, 4, i & 3);
        g_assert_cmphex(peek(&b, 0xa0000 + (i & 0xfffc), 1), ==, i * 7 & 255);
    }
    seq(&b, 4, 2); /* text */
    seq(&b, 2, 3);
    gfx(&b, 4, 0);
    gfx(&b, 5, 0x10);
    gfx(&b, 6, 0x0e);
    outb(b.f, 0x3c2, 0x67);
    for (unsigned i = 0; i < 0x8000; i += 0x33) {
        poke(&b, 0xb8000 + i, i * 5, 1);
    }
    gfx(&b, 5, 0x00); /* planes one by one; even addresses are plane 0, odd ones plane 1 */
    seq(&b, 4, 6);
    gfx(&b, 6, 0x0c);
    for (unsigned i = 0; i < 0x8000; i += 0x33) {
        gfx(&b, 4, i & 1);
        g_assert_cmphex(peek(&b, 0xb8000 + (i & ~1u), 1), ==, i * 5 & 255);
    }
    stop(&b);
}

/* A machine is saved memory first, devices then; text that was just written comes back. */
static void test_saved_text(void)
{
    Bench b;
    GByteArray *a = g_byte_array_new();
    size_t pos = 0;

    start(&b);
    set_mode(&b, &geometries[0], &depths[0]);
    seq(&b, 7, 0);
    seq(&b, 4, 2);
    seq(&b, 2, 3);
    gfx(&b, 5, 0x10);
    gfx(&b, 6, 0x0e);
    outb(b.f, 0x3c2, 0x67);
    draw(&b);
    poke(&b, 0xb8000, 0x0741, 2);
    g_autofree uint8_t *vram = g_memdup2(b.vram, VRAM);
    g_autofree uint8_t *shadow = g_memdup2(b.c->vga.shadow.host, VGA_SHADOW);
    state_save(cirrus_vga_type.state, b.c, a);
    cirrus_vga_type.reset(&b.c->pci.dev);
    memcpy(b.vram, vram, VRAM);
    memcpy(b.c->vga.shadow.host, shadow, VGA_SHADOW);
    g_assert_true(state_load(cirrus_vga_type.state, b.c, a->data, a->len, &pos, NULL));
    g_assert_cmphex(peek(&b, 0xb8000, 2), ==, 0x0741);
    draw(&b);
    g_assert_cmphex(b.vram[0], ==, 0x41);
    g_assert_cmphex(b.vram[1], ==, 0x07);
    /* A packed mode is not touched by an old shadow. */
    set_mode(&b, &geometries[0], &depths[0]);
    poke(&b, LFB, 0x66666666, 4);
    g_byte_array_set_size(a, 0);
    pos = 0;
    state_save(cirrus_vga_type.state, b.c, a);
    g_assert_true(state_load(cirrus_vga_type.state, b.c, a->data, a->len, &pos, NULL));
    draw(&b);
    g_assert_cmphex(pci_get32(b.vram), ==, 0x66666666);
    g_byte_array_unref(a);
    stop(&b);
}

static void test_size(void)
{
    GError *err = NULL;
    Fixture *f = fixture_new(16 << 20);
    Device *d = device_new(&cirrus_vga_type, f->m);

    g_assert_true(device_set(d, "vgamem_mb", "16", &err));
    g_assert_false(device_realize(d, &f->bus->bus, &err));
    g_assert_nonnull(strstr(err->message, "2 or 4"));
    g_clear_error(&err);
    g_assert_true(device_set(d, "vgamem_mb", "2", &err));
    g_assert_true(device_realize(d, &f->bus->bus, &err));
    g_assert_cmphex(((Cirrus *)d)->sr[0x0f] & 0x98, ==, 0x18);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cirrus/identity", test_identity);
    g_test_add_func("/cirrus/lock", test_lock);
    g_test_add_func("/cirrus/hidden-dac", test_hidden_dac);
    g_test_add_func("/cirrus/readback", test_readback);
    g_test_add_func("/cirrus/modes", test_modes);
    g_test_add_func("/cirrus/blank", test_blank);
    g_test_add_func("/cirrus/scanout", test_scanout);
    g_test_add_func("/cirrus/cursor", test_cursor);
    g_test_add_func("/cirrus/unchanged", test_unchanged);
    g_test_add_func("/cirrus/banks-cve-2016-3712", test_banks);
    g_test_add_func("/cirrus/write-modes", test_write_modes);
    g_test_add_func("/cirrus/apertures", test_apertures);
    g_test_add_func("/cirrus/shadow", test_shadow);
    g_test_add_func("/cirrus/saved-text", test_saved_text);
    g_test_add_func("/cirrus/size", test_size);
    return g_test_run();
}
