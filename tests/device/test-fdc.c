/* 82078 against Intel's data sheet, with the 8237 between it and memory. */
#include "hw/block/fdc82078.h"
#include "hw/dma/i8237.h"
#include "isa-fixture.h"
#include <string.h>

#define SIZE_1440 (1440 * 1024)

typedef struct Bench {
    IsaFixture f;
    Fdc *fdc;
    uint8_t *image;
} Bench;

static void start(Bench *b, size_t kib, bool read_only)
{
    fixture_init(&b->f);
    b->f.isa.dma = i8237_new(&b->f.isa, NULL);
    b->fdc = fdc_new(&b->f.isa, 0x3f0, 6, 2, NULL);
    g_assert_nonnull(b->fdc);
    b->image = g_malloc(kib * 1024);
    for (size_t i = 0; i < kib * 1024; i++) {
        b->image[i] = i / 512 + i % 512 * 3;
    }
    if (kib) {
        GError *err = NULL;
        fdc_attach(b->fdc, 0, block_open_memory(b->image, kib * 1024, read_only), &err);
        g_assert_no_error(err);
    } else {
        g_assert_true(fdc_attach(b->fdc, 0, NULL, NULL));
    }
}

static void stop(Bench *b)
{
    fixture_fini(&b->f);
    g_free(b->image);
}

static uint8_t msr(Bench *b)
{
    return inb(&b->f, 0x3f4);
}

static void send(Bench *b, unsigned n, const uint8_t *bytes)
{
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmphex(msr(b) & 0xc0, ==, 0x80);
        outb(&b->f, 0x3f5, bytes[i]);
    }
}

#define cmd(b, ...) send(b, sizeof((uint8_t[]){__VA_ARGS__}), (const uint8_t[]){__VA_ARGS__})

/* Until the controller wants something or raises its interrupt. */
static void run(Bench *b)
{
    for (int i = 0; i < 5000 && !b->f.level[6]; i++) {
        machine_unlock();
        if (!g_main_context_iteration(NULL, FALSE)) {
            g_usleep(100);
        }
        machine_lock();
        clock_step(b->f.clock, 200000);
    }
}

static unsigned results(Bench *b, uint8_t *out)
{
    unsigned n = 0;

    while ((msr(b) & 0xc0) == 0xc0 && n < 16) {
        out[n++] = inb(&b->f, 0x3f5);
    }
    g_assert_cmphex(msr(b) & 0xd0, ==, 0x80);
    return n;
}

/* DMA channel 2: @len bytes at @addr; @mode 0x46 to memory, 0x4a from memory. */
static void dma(Bench *b, uint8_t mode, uint32_t addr, unsigned len)
{
    IsaFixture *f = &b->f;

    outb(f, 0xd6, 0xc0); /* channel 4 cascades */
    outb(f, 0xd4, 0x00);
    outb(f, 0x0a, 0x06);
    outb(f, 0x0c, 0);
    outb(f, 0x0b, mode);
    outb(f, 0x04, addr);
    outb(f, 0x04, addr >> 8);
    outb(f, 0x81, addr >> 16);
    outb(f, 0x05, len - 1);
    outb(f, 0x05, (len - 1) >> 8);
    outb(f, 0x0a, 0x02);
}

static void power_up(Bench *b)
{
    uint8_t r[16];

    outb(&b->f, 0x3f2, 0x1c); /* motor 0, DMA, out of reset */
    g_assert_cmpint(b->f.level[6], ==, 1);
    for (unsigned i = 0; i < 4; i++) {
        cmd(b, 0x08);
        g_assert_cmpint(results(b, r), ==, 2);
        g_assert_cmphex(r[0], ==, 0xc0 | i);
    }
    g_assert_cmpint(b->f.level[6], ==, 0);
    cmd(b, 0x03, 0xaf, 0x02);
    outb(&b->f, 0x3f7, 0); /* 500 kbit/s */
}

static void seek(Bench *b, uint8_t track)
{
    uint8_t r[16];

    cmd(b, 0x0f, 0, track);
    run(b);
    cmd(b, 0x08);
    g_assert_cmpint(results(b, r), ==, 2);
    g_assert_cmphex(r[0], ==, 0x20);
    g_assert_cmpint(r[1], ==, track);
}

static void test_reset(void)
{
    Bench b;
    uint8_t r[16];

    start(&b, 1440, false);
    g_assert_cmphex(msr(&b), ==, 0); /* in reset */
    power_up(&b);
    /* Nothing to sense: invalid. */
    cmd(&b, 0x08);
    g_assert_cmpint(results(&b, r), ==, 1);
    g_assert_cmphex(r[0], ==, 0x80);
    cmd(&b, 0x10);
    g_assert_cmpint(results(&b, r), ==, 1);
    g_assert_cmphex(r[0], ==, 0x90);
    cmd(&b, 0x1b); /* no such command */
    g_assert_cmpint(results(&b, r), ==, 1);
    g_assert_cmphex(r[0], ==, 0x80);
    /* Reset through DSR interrupts as well. */
    outb(&b.f, 0x3f4, 0x80);
    g_assert_cmpint(b.f.level[6], ==, 1);
    stop(&b);
}

static void test_lock_and_configure(void)
{
    Bench b;
    uint8_t r[16];

    start(&b, 1440, false);
    power_up(&b);
    cmd(&b, 0x13, 0, 0x57, 0x12);
    cmd(&b, 0x94);
    g_assert_cmpint(results(&b, r), ==, 1);
    g_assert_cmphex(r[0], ==, 0x10);
    outb(&b.f, 0x3f4, 0x80);
    /* Polling was off: no interrupt; LOCK keeps the configuration. */
    g_assert_cmpint(b.f.level[6], ==, 0);
    cmd(&b, 0x0e);
    g_assert_cmpint(results(&b, r), ==, 10);
    g_assert_cmphex(r[4], ==, 0xaf);
    g_assert_cmphex(r[5], ==, 0x02);
    g_assert_cmphex(r[7], ==, 0x80);
    g_assert_cmphex(r[8], ==, 0x57);
    g_assert_cmphex(r[9], ==, 0x12);
    cmd(&b, 0x14);
    results(&b, r);
    outb(&b.f, 0x3f4, 0x80);
    cmd(&b, 0x08);
    results(&b, r);
    cmd(&b, 0x0e);
    results(&b, r);
    g_assert_cmphex(r[8], ==, 0x20);
    stop(&b);
}

static void test_seek_and_change_line(void)
{
    Bench b;
    uint8_t r[16];

    start(&b, 1440, false);
    power_up(&b);
    g_assert_cmphex(inb(&b.f, 0x3f7) & 0x80, ==, 0x80);
    cmd(&b, 0x07, 0);
    g_assert_cmphex(msr(&b) & 1, ==, 1); /* drive 0 seeks */
    run(&b);
    cmd(&b, 0x08);
    g_assert_cmpint(results(&b, r), ==, 2);
    g_assert_cmphex(r[0], ==, 0x20);
    g_assert_cmpint(r[1], ==, 0);
    g_assert_cmphex(inb(&b.f, 0x3f7) & 0x80, ==, 0);
    seek(&b, 40);
    cmd(&b, 0x04, 0);
    g_assert_cmpint(results(&b, r), ==, 1);
    g_assert_cmphex(r[0] & 0x50, ==, 0); /* not track 0, not protected */
    cmd(&b, 0x4a, 0x04);
    run(&b);
    g_assert_cmpint(results(&b, r), ==, 7);
    g_assert_cmphex(r[0], ==, 0x04);
    g_assert_cmpint(r[3], ==, 40);
    g_assert_cmpint(r[4], ==, 1);
    g_assert_cmpint(r[6], ==, 2);
    stop(&b);
}

static void test_read_dma(void)
{
    Bench b;
    uint8_t r[16], buf[4 * 512];

    start(&b, 1440, false);
    power_up(&b);
    seek(&b, 5);
    dma(&b, 0x46, 0x12000, sizeof(buf));
    /* Multi-track from head 0, sector 17: two sectors there, two on head 1. */
    cmd(&b, 0xe6, 0x00, 5, 0, 17, 2, 18, 0x1b, 0xff);
    run(&b);
    g_assert_cmpint(results(&b, r), ==, 7);
    g_assert_cmphex(r[0], ==, 0x04);
    g_assert_cmphex(r[1], ==, 0);
    g_assert_cmphex(r[2], ==, 0);
    g_assert_cmpint(r[3], ==, 5);
    g_assert_cmpint(r[4], ==, 1);
    g_assert_cmpint(r[5], ==, 3);
    mem_read(b.f.m->memory, 0x12000, buf, sizeof(buf));
    g_assert_cmpmem(buf, sizeof(buf), b.image + (5 * 36 + 16) * 512, sizeof(buf));
    /* Terminal count inside a sector ends the transfer there. */
    dma(&b, 0x46, 0x14000, 100);
    cmd(&b, 0xe6, 0x00, 5, 0, 1, 2, 18, 0x1b, 0xff);
    run(&b);
    g_assert_cmpint(results(&b, r), ==, 7);
    g_assert_cmphex(r[0], ==, 0);
    g_assert_cmpint(r[5], ==, 2);
    mem_read(b.f.m->memory, 0x14000, buf, 101);
    g_assert_cmpmem(buf, 100, b.image + 5 * 36 * 512, 100);
    g_assert_cmpint(buf[100], ==, 0);
    stop(&b);
}

static void test_end_of_cylinder(void)
{
    Bench b;
    uint8_t r[16];

    start(&b, 1440, false);
    power_up(&b);
    dma(&b, 0x46, 0x10000, 8 * 512);
    cmd(&b, 0x46, 0x00, 0, 0, 17, 2, 18, 0x1b, 0xff);
    run(&b);
    g_assert_cmpint(results(&b, r), ==, 7);
    g_assert_cmphex(r[0], ==, 0x40);
    g_assert_cmphex(r[1], ==, 0x80);
    g_assert_cmpint(r[3], ==, 1);
    g_assert_cmpint(r[5], ==, 1);
    stop(&b);
}

static void test_write_dma(void)
{
    Bench b;
    uint8_t r[16], buf[1024], back[1024];

    start(&b, 1440, false);
    power_up(&b);
    memset(buf, 0x5a, sizeof(buf));
    buf[700] = 1;
    mem_write(b.f.m->memory, 0x20000, buf, sizeof(buf));
    dma(&b, 0x4a, 0x20000, sizeof(buf));
    cmd(&b, 0xc5, 0x04, 0, 1, 3, 2, 18, 0x1b, 0xff);
    run(&b);
    g_assert_cmpint(results(&b, r), ==, 7);
    g_assert_cmphex(r[0], ==, 0x04);
    g_assert_cmpint(r[5], ==, 5);
    dma(&b, 0x46, 0x30000, sizeof(buf));
    cmd(&b, 0xe6, 0x04, 0, 1, 3, 2, 18, 0x1b, 0xff);
    run(&b);
    results(&b, r);
    mem_read(b.f.m->memory, 0x30000, back, sizeof(back));
    g_assert_cmpmem(buf, sizeof(buf), back, sizeof(back));
    stop(&b);
}

static void test_pio(void)
{
    Bench b;
    uint8_t r[16];

    start(&b, 1440, false);
    power_up(&b);
    cmd(&b, 0x03, 0xaf, 0x03); /* non-DMA */
    cmd(&b, 0x46, 0x00, 0, 0, 18, 2, 18, 0x1b, 0xff);
    g_assert_cmphex(msr(&b), ==, 0x30);
    run(&b);
    for (unsigned i = 0; i < 512; i++) {
        g_assert_cmphex(msr(&b), ==, 0xf0);
        g_assert_cmphex(inb(&b.f, 0x3f5), ==, b.image[17 * 512 + i]);
    }
    g_assert_cmpint(b.f.level[6], ==, 0);
    run(&b);
    g_assert_cmpint(results(&b, r), ==, 7);
    g_assert_cmphex(r[0], ==, 0x40); /* nobody gave a terminal count */
    g_assert_cmphex(r[1], ==, 0x80);
    stop(&b);
}

static void test_errors(void)
{
    static const struct {
        uint8_t c, h, r, n, st1, st2;
    } cases[] = {
        {0, 0, 19, 2, 0x04, 0},                          /* no such sector */
        {0, 0, 0, 2, 0x04, 0},    {0, 0, 1, 3, 0x04, 0}, /* other size */
        {0, 1, 1, 2, 0x04, 0},                           /* other head in the ID */
        {7, 0, 1, 2, 0x04, 0x10},                        /* wrong cylinder */
    };
    Bench b;
    uint8_t r[16];

    start(&b, 1440, false);
    power_up(&b);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        cmd(&b, 0x46, 0x00, cases[i].c, cases[i].h, cases[i].r, cases[i].n, 18, 0x1b, 0xff);
        run(&b);
        g_assert_cmpint(results(&b, r), ==, 7);
        g_assert_cmphex(r[0], ==, 0x40);
        g_assert_cmphex(r[1], ==, cases[i].st1);
        g_assert_cmphex(r[2], ==, cases[i].st2);
    }
    /* Wrong data rate: no address mark is seen. So systems find out the format. */
    outb(&b.f, 0x3f7, 2);
    cmd(&b, 0x4a, 0x00);
    run(&b);
    results(&b, r);
    g_assert_cmphex(r[0], ==, 0x40);
    g_assert_cmphex(r[1], ==, 0x01);
    stop(&b);
    start(&b, 720, true);
    power_up(&b);
    outb(&b.f, 0x3f7, 2);
    cmd(&b, 0x4a, 0x00);
    run(&b);
    results(&b, r);
    g_assert_cmphex(r[0], ==, 0x00);
    /* Write protected. */
    cmd(&b, 0x45, 0x00, 0, 0, 1, 2, 9, 0x1b, 0xff);
    run(&b);
    results(&b, r);
    g_assert_cmphex(r[0], ==, 0x40);
    g_assert_cmphex(r[1], ==, 0x02);
    stop(&b);
    /* An empty drive, and none at all. */
    start(&b, 0, false);
    power_up(&b);
    cmd(&b, 0x46, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    run(&b);
    results(&b, r);
    g_assert_cmphex(r[0], ==, 0x40);
    g_assert_cmphex(r[1] & 1, ==, 1);
    cmd(&b, 0x07, 1);
    run(&b);
    cmd(&b, 0x08);
    results(&b, r);
    g_assert_cmphex(r[0], ==, 0x71); /* abnormal, seek end, equipment check, drive 1 */
    stop(&b);
}

static void test_format(void)
{
    Bench b;
    uint8_t r[16], ids[18 * 4], buf[512];

    start(&b, 1440, false);
    power_up(&b);
    seek(&b, 3);
    for (unsigned i = 0; i < 18; i++) {
        const uint8_t id[4] = {3, 0, i + 1, 2};
        memcpy(ids + i * 4, id, 4);
    }
    mem_write(b.f.m->memory, 0x20000, ids, sizeof(ids));
    dma(&b, 0x4a, 0x20000, sizeof(ids));
    cmd(&b, 0x4d, 0x00, 2, 18, 0x54, 0xf6);
    run(&b);
    g_assert_cmpint(results(&b, r), ==, 7);
    g_assert_cmphex(r[0], ==, 0);
    dma(&b, 0x46, 0x30000, 512);
    cmd(&b, 0x46, 0x00, 3, 0, 18, 2, 18, 0x1b, 0xff);
    run(&b);
    results(&b, r);
    mem_read(b.f.m->memory, 0x30000, buf, 512);
    for (unsigned i = 0; i < 512; i++) {
        g_assert_cmphex(buf[i], ==, 0xf6);
    }
    stop(&b);
}

/* The class of CVE-2015-3456: commands whose bytes never stop must not get anywhere. */
static void test_fifo_bounds(void)
{
    static const uint8_t first[] = {0x8e, 0x4e, 0x0a, 0x06, 0x33, 0x2e, 0xff, 0x00};
    Bench b;

    start(&b, 1440, false);
    power_up(&b);
    for (size_t i = 0; i < sizeof(first); i++) {
        outb(&b.f, 0x3f5, first[i]);
        for (unsigned k = 0; k < 2000; k++) {
            outb(&b.f, 0x3f5, 0x3f);
        }
        for (unsigned k = 0; k < 2000; k++) {
            inb(&b.f, 0x3f5);
        }
        outb(&b.f, 0x3f2, 0);
        outb(&b.f, 0x3f2, 0x1c);
    }
    stop(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fdc/reset", test_reset);
    g_test_add_func("/fdc/lock-and-configure", test_lock_and_configure);
    g_test_add_func("/fdc/seek-and-change-line", test_seek_and_change_line);
    g_test_add_func("/fdc/read-dma", test_read_dma);
    g_test_add_func("/fdc/end-of-cylinder", test_end_of_cylinder);
    g_test_add_func("/fdc/write-dma", test_write_dma);
    g_test_add_func("/fdc/pio", test_pio);
    g_test_add_func("/fdc/errors", test_errors);
    g_test_add_func("/fdc/format", test_format);
    g_test_add_func("/fdc/fifo-bounds", test_fifo_bounds);
    return g_test_run();
}
