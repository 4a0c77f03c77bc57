/* hw/timer/mc146818: the Motorola MC146818A data sheet and the PC's conventions. */
#include "harness.h"
#include "hw/timer/mc146818.h"

enum { IRQ8, A = 10, B = 11, C = 12, D = 13, CENTURY = 0x32 };
enum { SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10, DM = 4, H24 = 2, DSE = 1 };
#define MS 1000000LL

static Mc146818 *rtc;

static void start_at(Rig *r, const char *base, bool slew)
{
    GError *err = NULL;

    rig_open(r);
    Mc146818Config cfg = {
        .clock = r->clk, .host = r->clk, .base = base, .slew = slew, .irq = rig_irq(r, IRQ8)};
    rtc = mc146818_new(r->m, &r->m->io_root, &cfg, &err);
    g_assert_no_error(err);
    mc146818_set(rtc, A, 0x20); /* no periodic flag in the way */
}

static uint8_t get(Rig *r, uint8_t index)
{
    outb(r, 0x70, index);
    return inb(r, 0x71);
}

static void set(Rig *r, uint8_t index, uint8_t val)
{
    outb(r, 0x70, index);
    outb(r, 0x71, val);
}

/* Century, year, month, day, weekday, hour, minute, second as the registers hold them. */
#define TIME_IS(r, c, y, mo, d, w, h, mi, s)                                                       \
    do {                                                                                           \
        g_assert_cmphex(get(r, CENTURY), ==, c);                                                   \
        g_assert_cmphex(get(r, 9), ==, y);                                                         \
        g_assert_cmphex(get(r, 8), ==, mo);                                                        \
        g_assert_cmphex(get(r, 7), ==, d);                                                         \
        g_assert_cmphex(get(r, 6), ==, w);                                                         \
        g_assert_cmphex(get(r, 4), ==, h);                                                         \
        g_assert_cmphex(get(r, 2), ==, mi);                                                        \
        g_assert_cmphex(get(r, 0), ==, s);                                                         \
    } while (0)

static void test_time(void)
{
    Rig r;

    start_at(&r, "2023-12-31T23:59:58", false); /* a Sunday */
    TIME_IS(&r, 0x20, 0x23, 0x12, 0x31, 1, 0x23, 0x59, 0x58);
    clock_step(r.clk, 1999 * MS);
    g_assert_cmphex(get(&r, 0), ==, 0x59);
    clock_step(r.clk, 1 * MS);
    TIME_IS(&r, 0x20, 0x24, 0x01, 0x01, 2, 0x00, 0x00, 0x00);
    clock_step(r.clk, 59 * 86400 * NS_PER_SEC); /* a leap year */
    TIME_IS(&r, 0x20, 0x24, 0x02, 0x29, 5, 0x00, 0x00, 0x00);
    g_assert_cmphex(get(&r, D), ==, 0x80);
    rig_close(&r);
}

static void test_base(void)
{
    Rig r;
    GError *err = NULL;

    start_at(&r, "2000-01-01", false);
    TIME_IS(&r, 0x20, 0x00, 0x01, 0x01, 7, 0, 0, 0);
    rig_close(&r);
    rig_open(&r);
    clock_step(r.clk, 951782400LL * NS_PER_SEC + 250 * MS); /* 2000-02-29 UTC, a Tuesday */
    Mc146818Config cfg = {.clock = r.clk, .host = r.clk, .irq = rig_irq(&r, IRQ8)};
    rtc = mc146818_new(r.m, &r.m->io_root, &cfg, NULL);
    TIME_IS(&r, 0x20, 0x00, 0x02, 0x29, 3, 0, 0, 0);
    clock_step(r.clk, 749 * MS); /* the host's fraction of a second is kept */
    g_assert_cmphex(get(&r, 0), ==, 0);
    clock_step(r.clk, 1 * MS);
    g_assert_cmphex(get(&r, 0), ==, 1);
    static const char *const bad[] = {"tomorrow",     "2000-13-01", "2000-01-01T25:00:00",
                                      "2000-01-01 x", "2000-01",    ""};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        cfg.base = bad[i];
        g_assert_null(mc146818_new(r.m, &r.m->io_root, &cfg, &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
    }
    rig_close(&r);
}

static void test_codings(void)
{
    Rig r;

    start_at(&r, "1999-08-07T13:45:59", false);
    set(&r, B, H24 | DM);
    /* the coding bits convert nothing: the guest sets the time anew */
    set(&r, B, SET | H24 | DM);
    static const uint8_t v[][2] = {{0, 59}, {2, 45}, {4, 13}, {6, 7},
                                   {7, 7},  {8, 8},  {9, 99}, {CENTURY, 19}};
    for (unsigned i = 0; i < G_N_ELEMENTS(v); i++) {
        set(&r, v[i][0], v[i][1]);
    }
    set(&r, B, H24 | DM);
    TIME_IS(&r, 19, 99, 8, 7, 7, 13, 45, 59);
    set(&r, B, SET); /* BCD, 12 hours */
    set(&r, 4, 0x92);
    set(&r, 2, 0x59);
    set(&r, 0, 0x59);
    set(&r, 9, 0x99);
    set(&r, CENTURY, 0x19);
    set(&r, B, 0);
    g_assert_cmphex(get(&r, 4), ==, 0x92); /* 12:59:59 PM */
    clock_step(r.clk, NS_PER_SEC);
    g_assert_cmphex(get(&r, 4), ==, 0x81);
    clock_step(r.clk, 10 * 3600 * NS_PER_SEC);
    g_assert_cmphex(get(&r, 4), ==, 0x91);
    clock_step(r.clk, 3600 * NS_PER_SEC);
    g_assert_cmphex(get(&r, 4), ==, 0x12); /* midnight */
    g_assert_cmphex(get(&r, 7), ==, 0x08);
    g_assert_cmphex(get(&r, 6), ==, 1);
    rig_close(&r);
}

static void test_set_stops(void)
{
    Rig r;

    start_at(&r, "2020-05-05T10:20:30", false);
    clock_step(r.clk, 300 * MS);
    set(&r, B, SET | UIE | H24); /* SET clears UIE */
    g_assert_cmphex(get(&r, B), ==, SET | H24);
    clock_step(r.clk, 5 * NS_PER_SEC);
    g_assert_cmphex(get(&r, 0), ==, 0x30);
    g_assert_cmphex(get(&r, C), ==, 0);
    set(&r, 0, 0x10);
    set(&r, B, H24);
    g_assert_cmphex(get(&r, 0), ==, 0x10);
    clock_step(r.clk, 699 * MS); /* the divider chain went on */
    g_assert_cmphex(get(&r, 0), ==, 0x10);
    clock_step(r.clk, 1 * MS);
    g_assert_cmphex(get(&r, 0), ==, 0x11);
    /* writing while it runs works, too */
    set(&r, 4, 0x23);
    g_assert_cmphex(get(&r, 4), ==, 0x23);
    g_assert_cmphex(get(&r, 0), ==, 0x11);
    /* nonsense carries over and breaks nothing */
    for (unsigned i = 0; i < 256; i++) {
        set(&r, i % 10, i);
        set(&r, CENTURY, i);
        clock_step(r.clk, NS_PER_SEC);
        get(&r, i % 10);
    }
    rig_close(&r);
}

static void test_divider_reset(void)
{
    Rig r;

    start_at(&r, "2020-05-05T10:20:30", false);
    set(&r, A, 0x76);
    clock_step(r.clk, 10 * NS_PER_SEC + 123 * MS);
    g_assert_cmphex(get(&r, 0), ==, 0x30);
    set(&r, A, 0x26);
    clock_step(r.clk, 499 * MS); /* the first update comes half a second after the release */
    g_assert_cmphex(get(&r, 0), ==, 0x30);
    clock_step(r.clk, 1 * MS);
    g_assert_cmphex(get(&r, 0), ==, 0x31);
    rig_close(&r);
}

static void test_uip(void)
{
    Rig r;

    start_at(&r, "2020-05-05T10:20:30", false);
    set(&r, A, 0xa6); /* UIP cannot be written */
    g_assert_cmphex(get(&r, A), ==, 0x26);
    clock_step(r.clk, NS_PER_SEC - 2229 * 1000); /* 244 µs and the 1984 µs of the update */
    g_assert_cmphex(get(&r, A), ==, 0x26);
    clock_step(r.clk, 2 * 1000);
    g_assert_cmphex(get(&r, A), ==, 0xa6);
    clock_step(r.clk, 2227 * 1000 - 1);
    g_assert_cmphex(get(&r, A), ==, 0xa6);
    clock_step(r.clk, 1);
    g_assert_cmphex(get(&r, A), ==, 0x26);
    g_assert_cmphex(get(&r, 0), ==, 0x31);
    set(&r, B, SET | H24);
    clock_step(r.clk, NS_PER_SEC - 1000);
    g_assert_cmphex(get(&r, A), ==, 0x26);
    rig_close(&r);
}

static void test_update_interrupt(void)
{
    Rig r;

    start_at(&r, "2020-05-05T10:20:30", false);
    clock_step(r.clk, NS_PER_SEC);
    g_assert_cmphex(get(&r, C), ==, 0x10); /* the flag comes without the enable */
    g_assert_cmphex(get(&r, C), ==, 0);
    set(&r, B, H24 | UIE);
    clock_step(r.clk, NS_PER_SEC - 1);
    g_assert_cmpint(r.level[IRQ8], ==, 0);
    clock_step(r.clk, 1);
    g_assert_cmpint(r.level[IRQ8], ==, 1);
    clock_step(r.clk, 3 * NS_PER_SEC);
    g_assert_cmpuint(rig_rises(&r, IRQ8), ==, 1); /* until C is read */
    g_assert_cmphex(get(&r, C), ==, 0x90);
    g_assert_cmpint(r.level[IRQ8], ==, 0);
    clock_step(r.clk, NS_PER_SEC);
    g_assert_cmphex(get(&r, C), ==, 0x90);
    set(&r, B, H24);
    clock_step(r.clk, NS_PER_SEC);
    set(&r, B, H24 | UIE); /* enabling with the flag set */
    g_assert_cmpint(r.level[IRQ8], ==, 1);
    rig_close(&r);
}

static void test_alarm(void)
{
    Rig r;

    start_at(&r, "2020-05-05T10:20:30", false);
    set(&r, 5, 0x11);
    set(&r, 3, 0x00);
    set(&r, 1, 0x05);
    set(&r, B, H24 | AIE);
    clock_step(r.clk, (39 * 60 + 35) * NS_PER_SEC - 1);
    g_assert_cmpint(r.level[IRQ8], ==, 0);
    clock_step(r.clk, 1); /* 11:00:05 */
    g_assert_cmpint(r.level[IRQ8], ==, 1);
    g_assert_cmphex(get(&r, C), ==, 0xb0);
    clock_step(r.clk, 86400 * NS_PER_SEC - 1);
    g_assert_cmpint(r.level[IRQ8], ==, 0);
    clock_step(r.clk, 1);
    g_assert_cmphex(get(&r, C), ==, 0xb0);
    /* any hour, any minute */
    set(&r, 5, 0xc0);
    set(&r, 3, 0xff);
    for (unsigned i = 0; i < 3; i++) {
        clock_step(r.clk, 60 * NS_PER_SEC);
        g_assert_cmphex(get(&r, C), ==, 0xb0);
    }
    /* every second */
    set(&r, 1, 0xc0);
    clock_step(r.clk, NS_PER_SEC);
    g_assert_cmphex(get(&r, C), ==, 0xb0);
    /* a time that never comes */
    set(&r, 5, 0x29);
    clock_step(r.clk, 2 * 86400 * NS_PER_SEC);
    g_assert_cmphex(get(&r, C), ==, 0x10);
    rig_close(&r);
}

static void test_periodic(void)
{
    Rig r;
    /* RS: rate in Hz at 32.768 kHz */
    static const unsigned hz[16] = {0,   256, 128, 8192, 4096, 2048, 1024, 512,
                                    256, 128, 64,  32,   16,   8,    4,    2};

    start_at(&r, "2020-05-05T10:20:30", false);
    for (unsigned rs = 0; rs < 16; rs++) {
        set(&r, A, 0x20 | rs);
        set(&r, B, H24 | PIE);
        get(&r, C);
        rig_rises(&r, IRQ8);
        unsigned n = 0;
        for (unsigned i = 0; i < 16384; i++) {
            clock_step(r.clk, NS_PER_SEC / 16384);
            if (r.level[IRQ8]) {
                n += (get(&r, C) & 0xc0) == 0xc0;
            }
        }
        g_assert_cmpuint(n, >=, hz[rs] - (hz[rs] > 0));
        g_assert_cmpuint(n, <=, hz[rs] + 1);
        set(&r, B, H24);
    }
    /* unread: the line stays up, nothing piles up */
    set(&r, A, 0x26);
    get(&r, C);
    set(&r, B, H24 | PIE);
    rig_rises(&r, IRQ8);
    clock_step(r.clk, NS_PER_SEC);
    g_assert_cmpuint(rig_rises(&r, IRQ8), ==, 1);
    get(&r, C);
    g_assert_cmpint(r.level[IRQ8], ==, 0);
    rig_close(&r);
}

static void test_slew(void)
{
    Rig r;
    unsigned n = 0;

    start_at(&r, "2020-05-05T10:20:30", true);
    set(&r, A, 0x2a); /* 64 Hz */
    set(&r, B, H24 | PIE);
    get(&r, C);
    clock_step(r.clk, NS_PER_SEC / 2); /* the guest sleeps: 32 ticks */
    for (unsigned i = 0; i < 2000; i++) {
        clock_step(r.clk, MS);
        if (r.level[IRQ8]) {
            n++;
            get(&r, C);
        }
    }
    g_assert_cmpuint(n, >=, 158); /* 2.5 s × 64 Hz: none is lost in the end */
    g_assert_cmpuint(n, <=, 161);
    rig_close(&r);
}

static void test_daylight_saving(void)
{
    Rig r;

    start_at(&r, "1995-04-30T01:59:58", false); /* last Sunday in April */
    set(&r, B, H24 | DSE);
    clock_step(r.clk, NS_PER_SEC);
    TIME_IS(&r, 0x19, 0x95, 0x04, 0x30, 1, 0x01, 0x59, 0x59);
    clock_step(r.clk, NS_PER_SEC);
    TIME_IS(&r, 0x19, 0x95, 0x04, 0x30, 1, 0x03, 0x00, 0x00);
    rig_close(&r);
    start_at(&r, "1995-10-29T01:59:59", false); /* last Sunday in October */
    set(&r, B, H24 | DSE);
    clock_step(r.clk, NS_PER_SEC);
    TIME_IS(&r, 0x19, 0x95, 0x10, 0x29, 1, 0x01, 0x00, 0x00);
    clock_step(r.clk, 3600 * NS_PER_SEC); /* once only */
    TIME_IS(&r, 0x19, 0x95, 0x10, 0x29, 1, 0x02, 0x00, 0x00);
    rig_close(&r);
    start_at(&r, "1995-04-30T01:59:59", false); /* DSE off */
    clock_step(r.clk, NS_PER_SEC);
    TIME_IS(&r, 0x19, 0x95, 0x04, 0x30, 1, 0x02, 0x00, 0x00);
    rig_close(&r);
}

static void test_ram(void)
{
    Rig r;

    start_at(&r, "2020-05-05", false);
    mc146818_set(rtc, 0x5f, 0x33);
    mc146818_set(rtc, 0xfe, 0x44);
    for (unsigned i = 0x0e; i < 0x80; i++) {
        if (i != CENTURY && i != 0x5f) {
            set(&r, i, i ^ 0x5a);
        }
    }
    g_assert_cmphex(get(&r, 0x10), ==, 0x10 ^ 0x5a);
    g_assert_cmphex(get(&r, 0x5f), ==, 0x33);
    outb(&r, 0x72, 0x7e); /* extended bank */
    g_assert_cmphex(inb(&r, 0x73), ==, 0x44);
    outb(&r, 0x73, 0x55);
    g_assert_cmphex(mc146818_get(rtc, 0xfe), ==, 0x55);
    g_assert_cmphex(get(&r, 0x7e), ==, 0x7e ^ 0x5a);
    g_assert_false(mc146818_nmi_masked(rtc));
    outb(&r, 0x70, 0x8f);
    g_assert_true(mc146818_nmi_masked(rtc));
    g_assert_cmphex(inb(&r, 0x71), ==, 0x0f ^ 0x5a);
    set(&r, C, 0xff); /* read-only */
    set(&r, D, 0);
    g_assert_cmphex(get(&r, D), ==, 0x80);
    /* reset clears the enables and flags, not the contents */
    set(&r, B, 0x7f);
    clock_step(r.clk, NS_PER_SEC);
    Device *dev = r.m->devices->pdata[0];
    dev->type->reset(dev);
    g_assert_cmpint(r.level[IRQ8], ==, 0);
    g_assert_cmphex(get(&r, B), ==, 0x07);
    g_assert_cmphex(get(&r, C), ==, 0);
    g_assert_cmphex(get(&r, 0x5f), ==, 0x33);
    rig_close(&r);
}

static void test_state(void)
{
    Rig r;

    start_at(&r, "2020-05-05T01:02:03", true);
    set(&r, A, 0x26);
    set(&r, B, H24 | PIE | AIE | UIE);
    set(&r, 0x40, 0x12);
    clock_step(r.clk, 1500 * MS);
    rig_roundtrip(r.m->devices->pdata[0]);
    g_assert_cmphex(get(&r, 0), ==, 0x04);
    rig_close(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/mc146818/time", test_time);
    g_test_add_func("/mc146818/base", test_base);
    g_test_add_func("/mc146818/codings", test_codings);
    g_test_add_func("/mc146818/set-stops", test_set_stops);
    g_test_add_func("/mc146818/divider-reset", test_divider_reset);
    g_test_add_func("/mc146818/uip", test_uip);
    g_test_add_func("/mc146818/update-interrupt", test_update_interrupt);
    g_test_add_func("/mc146818/alarm", test_alarm);
    g_test_add_func("/mc146818/periodic", test_periodic);
    g_test_add_func("/mc146818/slew", test_slew);
    g_test_add_func("/mc146818/daylight-saving", test_daylight_saving);
    g_test_add_func("/mc146818/ram", test_ram);
    g_test_add_func("/mc146818/state", test_state);
    return g_test_run();
}
