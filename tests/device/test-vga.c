/* VGA against IBM's VGA technical reference and the Bochs VBE interface. */
#include "hw/display/vga_regs.h"
#include "isa-fixture.h"
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

typedef struct Bench {
    IsaFixture f;
    MemRegion vram;
    Vga *v;
} Bench;

static void start(Bench *b)
{
    fixture_init(&b->f);
    g_assert_true(mem_region_init_ram(&b->vram, "vram", 4 << 20, NULL));
    b->v = g_new0(Vga, 1);
    g_assert_true(vga_init(b->v, b->f.m, "vga", b->f.clock, &b->vram, NULL, NULL, NULL));
    vga_reset(b->v);
    mem_region_add(&b->f.m->io_root, &b->v->io, VGA_IO_BASE, 0);
    mem_region_add(&b->f.m->io_root, &b->v->vbe_io, 0x1ce, 0);
    mem_region_add(&b->f.m->memory_root, &b->v->window, 0xa0000, 1);
    mem_region_add(&b->f.m->memory_root, &b->vram, 0xe0000000, 0);
}

static void stop(Bench *b)
{
    vga_fini(b->v);
    g_free(b->v);
    mem_region_destroy(&b->vram);
    fixture_fini(&b->f);
}

static void seq(Bench *b, uint8_t i, uint8_t v)
{
    outw(&b->f, 0x3c4, i | v << 8);
}

static void gfx(Bench *b, uint8_t i, uint8_t v)
{
    outw(&b->f, 0x3ce, i | v << 8);
}

static void crtc(Bench *b, uint8_t i, uint8_t v)
{
    outw(&b->f, 0x3d4, i | v << 8);
}

static void attr(Bench *b, uint8_t i, uint8_t v)
{
    inb(&b->f, 0x3da);
    outb(&b->f, 0x3c0, i);
    outb(&b->f, 0x3c0, v);
}

static void poke(Bench *b, uint32_t a, uint8_t v)
{
    mem_store(b->f.m->memory, a, v, 1);
}

static uint8_t peek(Bench *b, uint32_t a)
{
    return mem_load(b->f.m->memory, a, 1);
}

/* The tables of the BIOS manual for modes 3, 12h and 13h: misc, sequencer, CRTC, attribute,
 * graphics. */
typedef struct Mode {
    uint8_t misc, sr[5], cr[25], ar[21], gr[9];
} Mode;

static const Mode mode3 = {
    0x67,
    {0x03, 0x00, 0x03, 0x00, 0x02},
    {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
     0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff},
    {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
     0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00},
    {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x0f, 0xff},
};
static const Mode mode12 = {
    0xe3,
    {0x03, 0x01, 0x0f, 0x00, 0x06},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0x00, 0x00, 0x00,
     0x00, 0x00, 0x00, 0xea, 0x8c, 0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff},
    {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
     0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x01, 0x00, 0x0f, 0x00, 0x00},
    {0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x0f, 0xff},
};
static const Mode mode13 = {
    0x63,
    {0x03, 0x01, 0x0f, 0x00, 0x0e},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0x00, 0x00, 0x00,
     0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff},
    {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a,
     0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x41, 0x00, 0x0f, 0x00, 0x00},
    {0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x05, 0x0f, 0xff},
};

static void set_mode(Bench *b, const Mode *m)
{
    outb(&b->f, 0x3c2, m->misc);
    for (unsigned i = 0; i < 5; i++) {
        seq(b, i, m->sr[i]);
    }
    crtc(b, 0x11, 0);
    for (unsigned i = 0; i < 25; i++) {
        crtc(b, i, m->cr[i]);
    }
    for (unsigned i = 0; i < 9; i++) {
        gfx(b, i, m->gr[i]);
    }
    for (unsigned i = 0; i < 21; i++) {
        attr(b, i, m->ar[i]);
    }
    inb(&b->f, 0x3da);
    outb(&b->f, 0x3c0, 0x20);
    /* DAC entry i: (i, 2i, 3i) in six bits. */
    outb(&b->f, 0x3c8, 0);
    for (unsigned i = 0; i < 256; i++) {
        outb(&b->f, 0x3c9, i & 63);
        outb(&b->f, 0x3c9, i * 2 & 63);
        outb(&b->f, 0x3c9, i * 3 & 63);
    }
}

static uint32_t six(unsigned v)
{
    v &= 63;
    return v << 2 | v >> 4;
}

static uint32_t color(unsigned dac)
{
    return six(dac) << 16 | six(dac * 2) << 8 | six(dac * 3);
}

static uint32_t pixel(Bench *b, int x, int y)
{
    int stride;
    uint32_t *p = console_pixels(b->v->console, &stride);

    return p[y * stride + x] & 0xffffff;
}

static void test_registers(void)
{
    Bench b;

    start(&b);
    outb(&b.f, 0x3c2, 0x67);
    g_assert_cmphex(inb(&b.f, 0x3cc), ==, 0x67);
    crtc(&b, 0x0a, 0x2d);
    g_assert_cmphex(inb(&b.f, 0x3d5), ==, 0x2d);
    g_assert_cmphex(inb(&b.f, 0x3b5), ==, 0xff); /* the other half is not decoded */
    /* CRTC 0–7 are protected by bit 7 of register 11h, but bit 4 of register 7. */
    crtc(&b, 0x11, 0x00);
    crtc(&b, 0x00, 0x5f);
    crtc(&b, 0x11, 0x80);
    crtc(&b, 0x00, 0x11);
    crtc(&b, 0x07, 0x10);
    outb(&b.f, 0x3d4, 0);
    g_assert_cmphex(inb(&b.f, 0x3d5), ==, 0x5f);
    outb(&b.f, 0x3d4, 7);
    g_assert_cmphex(inb(&b.f, 0x3d5), ==, 0x10);
    /* The flip-flop of 3C0. */
    attr(&b, 0x12, 0x0a);
    inb(&b.f, 0x3da);
    outb(&b.f, 0x3c0, 0x12);
    g_assert_cmphex(inb(&b.f, 0x3c1), ==, 0x0a);
    outb(&b.f, 0x3c2, 0x66);
    g_assert_cmphex(inb(&b.f, 0x3b5), !=, 0xff);
    g_assert_cmphex(inb(&b.f, 0x3d5), ==, 0xff);
    stop(&b);
}

static void test_dac(void)
{
    Bench b;

    start(&b);
    outb(&b.f, 0x3c8, 10);
    for (unsigned i = 1; i <= 6; i++) {
        outb(&b.f, 0x3c9, i * 11);
    }
    outb(&b.f, 0x3c7, 10);
    g_assert_cmphex(inb(&b.f, 0x3c7) & 3, ==, 3);
    for (unsigned i = 1; i <= 6; i++) {
        g_assert_cmpint(inb(&b.f, 0x3c9), ==, i * 11 & 63);
    }
    stop(&b);
}

static void test_write_modes(void)
{
    Bench b;

    start(&b);
    set_mode(&b, &mode12);
    /* Mode 0: map mask, then read each plane. */
    seq(&b, 2, 0x05);
    poke(&b, 0xa0000, 0xc3);
    for (unsigned p = 0; p < 4; p++) {
        gfx(&b, 4, p);
        g_assert_cmphex(peek(&b, 0xa0000), ==, p & 1 ? 0 : 0xc3);
    }
    seq(&b, 2, 0x0f);
    /* Set/reset for planes 0 and 1, rotated data for the others. */
    gfx(&b, 0, 0x01);
    gfx(&b, 1, 0x03);
    gfx(&b, 3, 0x04);
    poke(&b, 0xa0001, 0x81);
    static const uint8_t want[4] = {0xff, 0x00, 0x18, 0x18};
    for (unsigned p = 0; p < 4; p++) {
        gfx(&b, 4, p);
        g_assert_cmphex(peek(&b, 0xa0001), ==, want[p]);
    }
    gfx(&b, 1, 0);
    /* XOR with the latches, under a bit mask. */
    gfx(&b, 3, 0x18);
    gfx(&b, 8, 0x0f);
    gfx(&b, 4, 0);
    g_assert_cmphex(peek(&b, 0xa0001), ==, 0xff);
    poke(&b, 0xa0001, 0xff);
    g_assert_cmphex(peek(&b, 0xa0001), ==, 0xf0);
    gfx(&b, 3, 0);
    gfx(&b, 8, 0xff);
    /* Mode 1 copies the latches. */
    gfx(&b, 5, 1);
    peek(&b, 0xa0001);
    poke(&b, 0xa0100, 0x00);
    gfx(&b, 5, 0);
    for (unsigned p = 0; p < 4; p++) {
        gfx(&b, 4, p);
        uint8_t v = peek(&b, 0xa0001);
        g_assert_cmphex(peek(&b, 0xa0100), ==, v);
    }
    /* Mode 2 expands a colour; mode 3 masks the set/reset colour with the data. */
    gfx(&b, 5, 2);
    gfx(&b, 8, 0x80);
    peek(&b, 0xa0200);
    poke(&b, 0xa0200, 0x09);
    gfx(&b, 8, 0xff);
    gfx(&b, 5, 3);
    gfx(&b, 0, 0x06);
    peek(&b, 0xa0200);
    poke(&b, 0xa0200, 0x01);
    gfx(&b, 5, 0);
    static const uint8_t want23[4] = {0x80, 0x01, 0x01, 0x80};
    for (unsigned p = 0; p < 4; p++) {
        gfx(&b, 4, p);
        g_assert_cmphex(peek(&b, 0xa0200), ==, want23[p]);
    }
    /* Read mode 1: compare colours; planes that do not care. */
    gfx(&b, 5, 8);
    gfx(&b, 2, 0x09);
    gfx(&b, 7, 0x0f);
    g_assert_cmphex(peek(&b, 0xa0200), ==, 0x80);
    gfx(&b, 2, 0x06);
    g_assert_cmphex(peek(&b, 0xa0200), ==, 0x01);
    gfx(&b, 7, 0x00);
    g_assert_cmphex(peek(&b, 0xa0200), ==, 0xff);
    stop(&b);
}

static void test_map_select(void)
{
    Bench b;

    start(&b);
    set_mode(&b, &mode3);
    poke(&b, 0xb8000, 0x41);
    g_assert_cmphex(peek(&b, 0xb8000), ==, 0x41);
    g_assert_cmphex(peek(&b, 0xa0000), ==, 0xff);
    g_assert_cmphex(peek(&b, 0xb0000), ==, 0xff);
    gfx(&b, 6, 0x0a); /* B0000 */
    g_assert_cmphex(peek(&b, 0xb0000), ==, 0x41);
    g_assert_cmphex(peek(&b, 0xb8000), ==, 0xff);
    outb(&b.f, 0x3c2, 0x65); /* RAM off */
    g_assert_cmphex(peek(&b, 0xb0000), ==, 0xff);
    stop(&b);
}

static void load_glyph(Bench *b, uint8_t c, uint8_t bits)
{
    seq(b, 2, 4);
    seq(b, 4, 7);
    gfx(b, 5, 0);
    gfx(b, 6, 4);
    for (unsigned i = 0; i < 16; i++) {
        poke(b, 0xa0000 + c * 32 + i, bits);
    }
    seq(b, 2, 3);
    seq(b, 4, 2);
    gfx(b, 5, 0x10);
    gfx(b, 6, 0x0e);
}

static void test_text(void)
{
    Bench b;

    start(&b);
    set_mode(&b, &mode3);
    load_glyph(&b, 'A', 0xf0);
    load_glyph(&b, 0xc4, 0xff); /* a line-drawing character */
    for (unsigned i = 0; i < 80 * 25; i++) {
        poke(&b, 0xb8000 + i * 2, 0);
        poke(&b, 0xb8001 + i * 2, 0x07);
    }
    poke(&b, 0xb8000 + 2 * 81, 'A'); /* row 1, column 1 */
    poke(&b, 0xb8001 + 2 * 81, 0x1e);
    poke(&b, 0xb8000 + 2 * 2, 0xc4);
    console_update(b.v->console, true);
    g_assert_cmpint(console_width(b.v->console), ==, 720);
    g_assert_cmpint(console_height(b.v->console), ==, 400);
    /* Attribute 1Eh: foreground register 14, background register 1. */
    g_assert_cmphex(pixel(&b, 9, 16), ==, color(0x3e));
    g_assert_cmphex(pixel(&b, 12, 31), ==, color(0x3e));
    g_assert_cmphex(pixel(&b, 13, 16), ==, color(0x01));
    g_assert_cmphex(pixel(&b, 17, 16), ==, color(0x01));    /* ninth dot: background */
    g_assert_cmphex(pixel(&b, 18 + 8, 3), ==, color(0x07)); /* ninth dot of a line character */
    g_assert_cmphex(pixel(&b, 27, 3), ==, color(0));
    /* The cursor: lines 13 and 14 of the first cell. */
    crtc(&b, 0x0e, 0);
    crtc(&b, 0x0f, 0);
    console_update(b.v->console, false);
    g_assert_cmphex(pixel(&b, 0, 13), ==, color(0x07));
    g_assert_cmphex(pixel(&b, 0, 12), ==, color(0));
    crtc(&b, 0x0a, 0x2d); /* off */
    console_update(b.v->console, false);
    g_assert_cmphex(pixel(&b, 0, 13), ==, color(0));
    /* Start address: one row down. */
    crtc(&b, 0x0d, 80);
    console_update(b.v->console, false);
    g_assert_cmphex(pixel(&b, 9, 0), ==, color(0x3e));
    /* A change of one cell without any register. */
    poke(&b, 0xb8000 + 2 * 80, 'A');
    console_update(b.v->console, false);
    g_assert_cmphex(pixel(&b, 0, 0), ==, color(0x07));
    /* Screen off. */
    seq(&b, 1, 0x20);
    console_update(b.v->console, false);
    g_assert_cmphex(pixel(&b, 9, 0), ==, 0);
    stop(&b);
}

static void test_mode12(void)
{
    Bench b;

    start(&b);
    set_mode(&b, &mode12);
    seq(&b, 2, 0x0a);
    poke(&b, 0xa0000 + 80 * 100 + 1, 0x80);
    console_update(b.v->console, true);
    g_assert_cmpint(console_width(b.v->console), ==, 640);
    g_assert_cmpint(console_height(b.v->console), ==, 480);
    g_assert_cmphex(pixel(&b, 8, 100), ==, color(0x3a));
    g_assert_cmphex(pixel(&b, 9, 100), ==, color(0));
    attr(&b, 0x12, 0x07); /* plane 3 is not shown */
    inb(&b.f, 0x3da);
    outb(&b.f, 0x3c0, 0x20);
    console_update(b.v->console, false);
    g_assert_cmphex(pixel(&b, 8, 100), ==, color(0x02));
    attr(&b, 0x13, 3); /* panned by three dots */
    outb(&b.f, 0x3c0, 0x20);
    inb(&b.f, 0x3da);
    outb(&b.f, 0x3c0, 0x20);
    console_update(b.v->console, false);
    g_assert_cmphex(pixel(&b, 5, 100), ==, color(0x02));
    stop(&b);
}

static void test_mode13(void)
{
    Bench b;

    start(&b);
    set_mode(&b, &mode13);
    for (unsigned x = 0; x < 320; x++) {
        poke(&b, 0xa0000 + 320 * 10 + x, x);
    }
    g_assert_cmphex(peek(&b, 0xa0000 + 320 * 10 + 7), ==, 7);
    console_update(b.v->console, true);
    g_assert_cmpint(console_width(b.v->console), ==, 640);
    g_assert_cmpint(console_height(b.v->console), ==, 400);
    for (unsigned x = 0; x < 320; x++) {
        g_assert_cmphex(pixel(&b, x * 2, 20), ==, color(x & 255));
        g_assert_cmphex(pixel(&b, x * 2 + 1, 21), ==, color(x & 255));
    }
    /* Mode X: the same memory unchained, one plane a time. */
    seq(&b, 4, 0x06);
    crtc(&b, 0x14, 0x00);
    crtc(&b, 0x17, 0xe3);
    seq(&b, 2, 0x04);
    poke(&b, 0xa0000, 99);
    console_update(b.v->console, true);
    g_assert_cmphex(pixel(&b, 4, 0), ==, color(99));
    stop(&b);
}

static void test_retrace(void)
{
    Bench b;
    unsigned sync = 0, off = 0, frames = 0, last = 8;

    start(&b);
    set_mode(&b, &mode3);
    /* 70 Hz: in one second 70 vertical retraces of 2 of 449 lines. */
    for (unsigned i = 0; i < 100000; i++) {
        uint8_t s = inb(&b.f, 0x3da);
        sync += !!(s & 8);
        off += s & 1;
        frames += (s & 8) && !last;
        last = s & 8;
        clock_step(b.f.clock, 10000);
    }
    g_assert_cmpint(frames, >=, 69);
    g_assert_cmpint(frames, <=, 71);
    g_assert_cmpint(sync, >, 300);
    g_assert_cmpint(sync, <, 600);
    g_assert_cmpint(off, >, 10000);
    g_assert_cmpint(off, <, 40000);
    stop(&b);
}

static void vbe(Bench *b, uint16_t i, uint16_t v)
{
    outw(&b->f, 0x1ce, i);
    outw(&b->f, 0x1d0, v);
}

static uint16_t vbe_get(Bench *b, uint16_t i)
{
    outw(&b->f, 0x1ce, i);
    return inw(&b->f, 0x1d0);
}

static void test_vbe(void)
{
    Bench b;

    start(&b);
    g_assert_cmphex(vbe_get(&b, 0) & 0xfff0, ==, 0xb0c0);
    g_assert_cmpint(vbe_get(&b, 10), ==, 64);
    vbe(&b, 4, 2);
    g_assert_cmpint(vbe_get(&b, 3), ==, 32); /* capabilities */
    vbe(&b, 4, 0);
    memset(b.vram.host, 0x55, b.vram.size);
    vbe(&b, 1, 800);
    vbe(&b, 2, 600);
    vbe(&b, 3, 32);
    vbe(&b, 4, 0x41);
    g_assert_cmpint(vbe_get(&b, 6), ==, 800);
    mem_store(b.f.m->memory, 0xe0000000 + (100 * 800 + 50) * 4, 0x00123456, 4);
    console_update(b.v->console, false);
    g_assert_cmpint(console_width(b.v->console), ==, 800);
    g_assert_cmpint(console_height(b.v->console), ==, 600);
    g_assert_cmphex(pixel(&b, 50, 100), ==, 0x123456);
    g_assert_cmphex(pixel(&b, 51, 100), ==, 0); /* cleared when it was set */
    /* Only what was written is drawn again. */
    mem_store(b.f.m->memory, 0xe0000000 + (200 * 800 + 1) * 4, 0x00abcdef, 4);
    console_update(b.v->console, false);
    g_assert_cmphex(pixel(&b, 1, 200), ==, 0xabcdef);
    /* The window shows a bank. */
    gfx(&b, 6, 5);
    outb(&b.f, 0x3c2, 0x67);
    vbe(&b, 5, 2);
    uint32_t at = 0x20000 + 0x123;
    poke(&b, 0xa0123, 0x77);
    g_assert_cmphex(b.vram.host[at], ==, 0x77);
    /* Panning. */
    vbe(&b, 9, 100);
    console_update(b.v->console, false);
    g_assert_cmphex(pixel(&b, 50, 0), ==, 0x123456);
    vbe(&b, 4, 0);
    vbe(&b, 1, 640);
    vbe(&b, 2, 480);
    vbe(&b, 3, 16);
    vbe(&b, 4, 0xc1); /* not cleared */
    mem_store(b.f.m->memory, 0xe0000000, 0xf81f, 2);
    console_update(b.v->console, false);
    g_assert_cmphex(pixel(&b, 0, 0), ==, 0xff00ff);
    /* What memory cannot hold gets fewer lines. */
    vbe(&b, 4, 0);
    vbe(&b, 1, 0xffff);
    vbe(&b, 2, 0xffff);
    vbe(&b, 3, 32);
    vbe(&b, 4, 0x41);
    g_assert_cmpint((uint64_t)vbe_get(&b, 1) * vbe_get(&b, 2) * 4, <=, b.vram.size);
    vbe(&b, 8, 0xffff);
    vbe(&b, 9, 0xffff);
    console_update(b.v->console, true);
    stop(&b);
}

static void test_screendump(void)
{
    Bench b;
    g_autofree char *text = NULL;
    gsize len;
    g_autofree char *path = g_strdup_printf("%s/rhea-vga-%d.ppm", g_get_tmp_dir(), getpid());
    GError *err = NULL;

    start(&b);
    set_mode(&b, &mode13);
    poke(&b, 0xa0000, 0x2a);
    g_assert_true(console_screendump(console_get(b.f.m, 0), path, &err));
    g_assert_true(g_file_get_contents(path, &text, &len, NULL));
    g_assert_cmpint(len, ==, 15 + 640 * 400 * 3);
    g_assert_cmpmem(text, 15, "P6\n640 400\n255\n", 15);
    g_assert_cmphex((uint8_t)text[15], ==, six(0x2a));
    g_unlink(path);
    g_assert_false(console_screendump(console_get(b.f.m, 0), "/nonexistent/x", &err));
    g_clear_error(&err);
    stop(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vga/registers", test_registers);
    g_test_add_func("/vga/dac", test_dac);
    g_test_add_func("/vga/write-modes", test_write_modes);
    g_test_add_func("/vga/map-select", test_map_select);
    g_test_add_func("/vga/text", test_text);
    g_test_add_func("/vga/mode12", test_mode12);
    g_test_add_func("/vga/mode13", test_mode13);
    g_test_add_func("/vga/retrace", test_retrace);
    g_test_add_func("/vga/vbe", test_vbe);
    g_test_add_func("/vga/screendump", test_screendump);
    return g_test_run();
}
