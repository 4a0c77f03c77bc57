/* The BitBLT engine of the CL-GD5446 against a model made from its Technical Reference Manual. */
#include "cirrus-rig.h"

/* Sixteen bytes that hold every pair of source and destination bits, every operation. */
static void test_rops(void)
{
    Bench b;

    start(&b);
    for (unsigned i = 0; i < 16; i++) {
        Blt p = {.rop = all_rops[i], .width = 16, .height = 1, .dst = 0x1000, .src = 0x2000};
        for (unsigned k = 0; k < 16; k++) {
            b.vram[0x1000 + k] = k * 0x11;
            b.vram[0x2000 + k] = (k * 7 + 3) * 0x13;
        }
        program(&b, &p);
        gfx(&b, 0x31, 2);
        for (unsigned k = 0; k < 16; k++) {
            g_assert_cmphex(b.vram[0x1000 + k], ==,
                            model_rop(all_rops[i], (k * 7 + 3) * 0x13, k * 0x11));
        }
        g_assert_cmphex(b.vram[0x1010], ==, 0);
    }
    stop(&b);
}

/* Overlapping rectangles in both directions move as memmove() moves them. */
static void test_overlap(void)
{
    Bench b;
    GRand *r = g_rand_new_with_seed(1);

    start(&b);
    fill_random(&b, r);
    g_autofree uint8_t *old = g_memdup2(b.vram, VRAM);
    Blt down = {
        .mode = 1, .rop = 0x0d, .width = 100, .height = 50, .dst_pitch = 640, .src_pitch = 640};
    down.src = 49 * 640 + 99;
    down.dst = down.src + 3 * 640 + 5;
    program(&b, &down);
    gfx(&b, 0x31, 2);
    for (unsigned y = 0; y < 50; y++) {
        g_assert_cmpmem(b.vram + (y + 3) * 640 + 5, 100, old + y * 640, 100);
    }
    memcpy(b.vram, old, VRAM);
    Blt up = {.rop = 0x0d,
              .width = 100,
              .height = 50,
              .dst_pitch = 640,
              .src_pitch = 640,
              .src = 3 * 640 + 5};
    program(&b, &up);
    gfx(&b, 0x31, 2);
    for (unsigned y = 0; y < 50; y++) {
        g_assert_cmpmem(b.vram + y * 640, 100, old + (y + 3) * 640 + 5, 100);
    }
    g_rand_free(r);
    stop(&b);
}

static void random_blt(Blt *p, GRand *r, uint8_t mode)
{
    static const unsigned align[4] = {1, 2, 1, 4};
    unsigned depth = mode >> 4 & 3, bytes = depth + 1;

    *p = (Blt){.mode = mode,
               .rop = all_rops[g_rand_int_range(r, 0, 16)],
               .width = g_rand_int_range(r, 1, 70) * bytes,
               .height = g_rand_int_range(r, 1, 20),
               .dst_pitch = g_rand_int_range(r, 70, 200) * bytes,
               .src_pitch = g_rand_int_range(r, 70, 200) * bytes,
               .fg = g_rand_int(r),
               .bg = g_rand_int(r),
               .key = g_rand_int(r)};
    p->dst = g_rand_int_range(r, 0x100000, 0x180000) / align[depth] * align[depth];
    p->src = g_rand_int_range(r, 0x200000, 0x280000);
    if (!(mode & 0xc0)) {
        p->src = p->src / align[depth] * align[depth];
    }
    if (mode & 0xc0) {
        p->clip = bytes == 3 ? g_rand_int_range(r, 0, 8) * 3 : g_rand_int_range(r, 0, 8);
    }
}

static void test_kinds(gconstpointer arg)
{
    uint8_t kind = GPOINTER_TO_UINT(arg), ext = GPOINTER_TO_UINT(arg) >> 8;
    Bench b;
    GRand *r = g_rand_new_with_seed(kind);

    start(&b);
    packed(&b, 0x01, 0);
    fill_random(&b, r);
    for (unsigned depth = 0; depth < 4; depth++) {
        for (unsigned i = 0; i < 12; i++) {
            Blt p;
            random_blt(&p, r, kind | depth << 4);
            p.ext = ext;
            if ((kind & 0xc8) == 8) { /* pixels of the key's colour in the source */
                for (unsigned k = 0; k < 4000; k++) {
                    uint32_t at = (p.src + g_rand_int_range(r, 0, 8000)) & ~1u;
                    pci_set16(b.vram + at, depth ? p.key : (p.key & 0xff) * 0x101);
                }
            }
            uint64_t to = i % 3 == 0 ? 0xa0000 : i % 3 == 1 ? LFB + 0x1000 : LFB + 0x1234564;
            check_blt(&b, &p, to, r);
        }
    }
    g_rand_free(r);
    stop(&b);
}

static void test_solid(void)
{
    Bench b;
    GRand *r = g_rand_new_with_seed(3);

    start(&b);
    for (unsigned depth = 0; depth < 4; depth++) {
        Blt p = {.mode = 0xc0 | depth << 4,
                 .ext = 4,
                 .rop = 0x0d,
                 .width = 12 * (depth + 1),
                 .height = 5,
                 .dst_pitch = 100,
                 .dst = 0x5000,
                 .fg = 0x44332211};
        check_blt(&b, &p, 0, r);
        for (unsigned x = 0; x < p.width; x++) {
            g_assert_cmphex(b.vram[0x5000 + 4 * 100 + x], ==, (x % (depth + 1) + 1) * 0x11);
        }
        g_assert_cmphex(b.vram[0x5000 + p.width], ==, 0);
        memset(b.vram + 0x5000, 0, 0x1000);
    }
    g_rand_free(r);
    stop(&b);
}

/* The CPU reads the screen; rows are padded to doublewords. */
static void test_to_system(void)
{
    Bench b;
    GRand *r = g_rand_new_with_seed(4);
    static const uint64_t from[] = {0xa0000, LFB, LFB + 0x1000000};

    start(&b);
    packed(&b, 0x01, 0);
    fill_random(&b, r);
    for (unsigned i = 0; i < 3; i++) {
        Blt p = {
            .mode = 2, .rop = 0x0d, .width = 13, .height = 4, .src_pitch = 77, .src = 0x12345 + i};
        program(&b, &p);
        gfx(&b, 0x31, 2);
        for (unsigned y = 0; y < 4; y++) {
            for (unsigned x = 0; x < 16; x += 4) {
                uint32_t v = peek(&b, from[i] + x, 4), want = 0;
                for (unsigned k = 0; k < 4; k++) {
                    want |= x + k < 13 ? (uint32_t)b.vram[p.src + y * 77 + x + k] << k * 8 : 0;
                }
                g_assert_cmphex(v, ==, want);
            }
        }
        g_assert_cmphex(get_gfx(&b, 0x31), ==, 0);
    }
    /* afterwards the memory is memory */
    g_assert_cmphex(peek(&b, LFB, 4), ==, pci_get32(b.vram));
    g_rand_free(r);
    stop(&b);
}

static void test_suspend(void)
{
    Bench b;
    Blt p = {.mode = 4, .rop = 0x0d, .width = 8, .height = 2, .dst_pitch = 8, .dst = 0x8000};

    start(&b);
    packed(&b, 0x01, 0);
    program(&b, &p);
    gfx(&b, 0x31, 2);
    poke(&b, LFB, 0x11111111, 4);
    gfx(&b, 0x31, 0); /* suspended: in progress, not busy; memory is memory */
    g_assert_cmphex(get_gfx(&b, 0x31), ==, 0x08);
    poke(&b, LFB, 0xabababab, 4);
    g_assert_cmphex(pci_get32(b.vram), ==, 0xabababab);
    gfx(&b, 0x31, 2);
    g_assert_cmphex(get_gfx(&b, 0x31), ==, 0x0b);
    poke(&b, LFB, 0x22222222, 4);
    g_assert_cmphex(pci_get32(b.vram + 0x8004), ==, 0x22222222);
    g_assert_cmphex(pci_get32(b.vram), ==, 0xabababab);
    gfx(&b, 0x31, 4); /* reset */
    gfx(&b, 0x31, 0);
    g_assert_cmphex(get_gfx(&b, 0x31), ==, 0);
    poke(&b, LFB, 0x33333333, 4);
    g_assert_cmphex(pci_get32(b.vram), ==, 0x33333333);
    g_assert_cmphex(pci_get32(b.vram + 0x8008), ==, 0);
    /* Only the upper half of BAR 0 when GR31 says so. */
    program(&b, &p);
    gfx(&b, 0x31, 0x22);
    poke(&b, LFB, 0x44444444, 4);
    g_assert_cmphex(pci_get32(b.vram), ==, 0x44444444);
    for (unsigned i = 0; i < 4; i++) {
        poke(&b, LFB + 0x1000000 + i * 4, 0x50505050 + i, 4);
    }
    g_assert_cmphex(pci_get32(b.vram + 0x8000), ==, 0x50505050);
    g_assert_cmphex(get_gfx(&b, 0x31), ==, 0x20);
    stop(&b);
}

/* Half of a transfer goes through save and load. */
static void test_saved(void)
{
    Bench b;
    Blt p = {.mode = 4, .rop = 0x0d, .width = 16, .height = 2, .dst_pitch = 16, .dst = 0x8000};

    start(&b);
    packed(&b, 0x01, 0);
    program(&b, &p);
    gfx(&b, 0x31, 2);
    for (unsigned i = 0; i < 5; i++) {
        poke(&b, LFB, 0x01010101 * i, 4);
    }
    fixture_check_state(b.f);
    for (unsigned i = 5; i < 8; i++) {
        g_assert_cmphex(get_gfx(&b, 0x31), ==, 0x0b);
        poke(&b, LFB, 0x01010101 * i, 4);
    }
    g_assert_cmphex(get_gfx(&b, 0x31), ==, 0);
    for (unsigned i = 0; i < 8; i++) {
        g_assert_cmphex(b.vram[0x8000 + i * 4], ==, i);
    }
    stop(&b);
}

/* The memory-mapped registers at their three places, and autostart. */
static void test_mmio(void)
{
    static const uint64_t places[] = {MMIO + 0x100, 0xb8000, LFB + VRAM - 256};
    Bench b;

    start(&b);
    packed(&b, 0x01, 0);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t m = places[i];
        seq(&b, 0x17, i == 1 ? 0x04 : i == 2 ? 0x44 : 0);
        gfx(&b, 0x31, 0x80);
        memcpy(b.vram + 0x3000, "the source", 10);
        poke(&b, m + 0x08, 9, 2);
        poke(&b, m + 0x0a, 0, 2);
        poke(&b, m + 0x0c, 640, 2);
        poke(&b, m + 0x0e, 640, 2);
        poke(&b, m + 0x14, 0x3000, 4);
        poke(&b, m + 0x17, 0, 1);
        poke(&b, m + 0x18, 0, 1);
        poke(&b, m + 0x1a, 0x0d, 1);
        poke(&b, m + 0x1b, 0, 1);
        poke(&b, m + 0x10, 0x4000 + i * 16, 4); /* starts it */
        g_assert_cmpmem(b.vram + 0x4000 + i * 16, 10, "the source", 10);
        g_assert_cmphex(peek(&b, m + 0x40, 1), ==, 0x80);
        g_assert_cmphex(peek(&b, m + 0x08, 2), ==, 9);
        g_assert_cmphex(peek(&b, m + 0x14, 2), ==, 0x3000);
        /* colours are split over the old and the new registers */
        poke(&b, m + 0x04, 0xa4a3a2a1, 4);
        g_assert_cmphex(get_gfx(&b, 0x11), ==, 0xa2);
        g_assert_cmphex(get_gfx(&b, 0x13), ==, 0xa3);
        g_assert_cmphex(get_gfx(&b, 0x15), ==, 0xa4);
        g_assert_cmphex(peek(&b, m + 0x04, 4), ==, 0xa4a3a2a1);
    }
    /* without the enable bit they are memory */
    seq(&b, 0x17, 0);
    poke(&b, LFB + VRAM - 256 + 8, 0x55, 1);
    g_assert_cmphex(b.vram[VRAM - 256 + 8], ==, 0x55);
    g_assert_cmphex(get_gfx(&b, 0x20), ==, 9);
    stop(&b);
}

/* What overran the memory in other models: each address is taken modulo its size, so the result
 * is the model's in all 4 MiB. */
static void check_outside(const Blt *list, unsigned n)
{
    Bench b;
    GRand *r = g_rand_new_with_seed(99);

    start(&b);
    packed(&b, 0x01, 0);
    for (unsigned i = 0; i < n; i++) {
        fill_random(&b, r);
        check_blt(&b, &list[i], LFB, r);
    }
    g_rand_free(r);
    stop(&b);
}

/* CVE-2014-8106: pitch times height behind the end. */
static void test_cve_2014_8106(void)
{
    static const Blt list[] = {
        {.rop = 0x0d,
         .width = 8192,
         .height = 2048,
         .dst_pitch = 8191,
         .src_pitch = 8191,
         .dst = 0x3fffff,
         .src = 0x3ffff0},
        {.mode = 0x40,
         .rop = 0x59,
         .width = 8192,
         .height = 2048,
         .dst_pitch = 8191,
         .dst = 0x3fffff,
         .src = 0x3fffff},
        {.mode = 0xc0,
         .ext = 4,
         .rop = 0x0d,
         .width = 5,
         .height = 2048,
         .dst_pitch = 8191,
         .dst = 0x3ffffe,
         .fg = 0x11},
        {.mode = 0x80,
         .rop = 0x0d,
         .width = 8192,
         .height = 600,
         .dst_pitch = 8000,
         .dst = 0x3f0000,
         .src = 0x3fffff,
         .fg = 1,
         .bg = 2},
    };

    check_outside(list, G_N_ELEMENTS(list));
}

/* CVE-2017-2615: backward copies that begin too near to address 0. */
static void test_cve_2017_2615(void)
{
    static const Blt list[] = {
        {.mode = 1,
         .rop = 0x0d,
         .width = 8192,
         .height = 2048,
         .dst_pitch = 8191,
         .src_pitch = 8191,
         .dst = 0,
         .src = 1},
        {.mode = 1,
         .rop = 0x6d,
         .width = 100,
         .height = 3,
         .dst_pitch = 640,
         .src_pitch = 640,
         .dst = 50,
         .src = 2000},
        {.mode = 0x19,
         .rop = 0x0d,
         .width = 64,
         .height = 9,
         .dst_pitch = 128,
         .src_pitch = 128,
         .dst = 127,
         .src = 255,
         .key = 5},
    };

    check_outside(list, G_N_ELEMENTS(list));
}

/* CVE-2017-2620: data from the CPU to a destination that is checked too late. */
static void test_cve_2017_2620(void)
{
    static const Blt list[] = {
        {.mode = 4, .rop = 0x0d, .width = 8192, .height = 20, .dst_pitch = 8191, .dst = 0x3ffffd},
        {.mode = 0x84,
         .rop = 0x0d,
         .width = 8191,
         .height = 20,
         .dst_pitch = 8191,
         .dst = 0x3fffff,
         .fg = 3},
        {.mode = 0xb4,
         .ext = 1,
         .rop = 0x0d,
         .width = 8192,
         .height = 20,
         .dst_pitch = 4096,
         .dst = 0x3ffffc,
         .fg = 3},
        {.mode = 5, .rop = 0x0d, .width = 30, .height = 20, .dst_pitch = 4096, .dst = 7},
    };

    check_outside(list, G_N_ELEMENTS(list));
}

/* CVE-2017-7980: widths, heights and pitches of every sign and none, and clips wider than rows. */
static void test_cve_2017_7980(void)
{
    static const Blt list[] = {
        {.rop = 0x0d, .width = 1, .height = 1, .dst = 0x3fffff, .src = 0},
        {.rop = 0x0d, .width = 8192, .height = 2048, .dst = 0x3ff000, .src = 0x3fff00},
        {.mode = 0x40, .rop = 0x0d, .width = 8192, .height = 3, .dst = 0x3ffff0, .src = 0x3fffff},
        {.mode = 0x60,
         .rop = 0x0d,
         .width = 8192,
         .height = 9,
         .dst = 0x3ffff0,
         .src = 0x3fffff,
         .clip = 31},
        {.mode = 0xa0,
         .rop = 0x0d,
         .width = 3,
         .height = 9,
         .dst_pitch = 1,
         .dst = 0x3fffff,
         .src = 0x3fffff,
         .clip = 31},
        {.mode = 0xf0,
         .rop = 0x0d,
         .width = 4,
         .height = 9,
         .dst_pitch = 8191,
         .dst = 0x3fffff,
         .src = 0x3fffff,
         .clip = 7},
    };

    check_outside(list, G_N_ELEMENTS(list));
}

/* Modes that the manual does not define are not begun, nothing is drawn. */
static void test_impossible(void)
{
    static const uint8_t modes[] = {0x06, 0x44, 0xc4, 0x42, 0x82};
    Bench b;

    start(&b);
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        Blt p = {.mode = modes[i], .rop = 0x0e, .width = 64, .height = 4, .dst_pitch = 64};
        program(&b, &p);
        gfx(&b, 0x31, 2);
        g_assert_cmphex(get_gfx(&b, 0x31), ==, 0);
        g_assert_cmphex(b.vram[0], ==, 0);
    }
    Blt p = {.rop = 0x77, .width = 4, .height = 1, .src = 0x1000};
    b.vram[0x1000] = 0xff;
    program(&b, &p);
    gfx(&b, 0x31, 2);
    g_assert_cmphex(b.vram[0], ==, 0);
    stop(&b);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        unsigned kind; /* GR30, GR33 << 8 */
    } kinds[] = {
        {"copy", 0x00},
        {"copy-backward", 0x01},
        {"copy-key", 0x08},
        {"pattern", 0x40},
        {"pattern-key", 0x48},
        {"expand", 0x80},
        {"expand-invert", 0x280},
        {"expand-dwords", 0x180},
        {"expand-transparent", 0x88},
        {"mono-pattern", 0xc0},
        {"mono-pattern-t", 0xc8},
        {"solid", 0x4c0},
        {"cpu", 0x04},
        {"cpu-key", 0x0c},
        {"cpu-expand", 0x84},
        {"cpu-expand-t", 0x8c},
        {"cpu-dwords", 0x184},
        {"cpu-invert-t", 0x38c},
    };

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cirrus-blt/rops", test_rops);
    g_test_add_func("/cirrus-blt/overlap", test_overlap);
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *path = g_strdup_printf("/cirrus-blt/kind/%s", kinds[i].name);
        g_test_add_data_func(path, GUINT_TO_POINTER(kinds[i].kind), test_kinds);
    }
    g_test_add_func("/cirrus-blt/solid", test_solid);
    g_test_add_func("/cirrus-blt/to-system", test_to_system);
    g_test_add_func("/cirrus-blt/suspend", test_suspend);
    g_test_add_func("/cirrus-blt/saved", test_saved);
    g_test_add_func("/cirrus-blt/mmio", test_mmio);
    g_test_add_func("/cirrus-blt/cve-2014-8106", test_cve_2014_8106);
    g_test_add_func("/cirrus-blt/cve-2017-2615", test_cve_2017_2615);
    g_test_add_func("/cirrus-blt/cve-2017-2620", test_cve_2017_2620);
    g_test_add_func("/cirrus-blt/cve-2017-7980", test_cve_2017_7980);
    g_test_add_func("/cirrus-blt/impossible", test_impossible);
    return g_test_run();
}
