/* hw/timer/hpet: IA-PC HPET specification 1.0a. */
#include "harness.h"
#include "hw/timer/hpet.h"

/* Lines 0…23: I/O APIC inputs; then ISA 0 and ISA 8. */
enum { LEGACY0 = 24, LEGACY1 };
enum { CAP = 0, CONF = 0x10, STA = 0x20, COUNT = 0xf0 };
#define CFG(n) (0x100 + 0x20 * (n))
#define CMP(n) (0x108 + 0x20 * (n))
enum { LEVEL = 2, ENB = 4, PERIODIC = 8, VAL_SET = 0x40, BITS32 = 0x100 };
#define ROUTE(pin) ((pin) << 9)

static Hpet *hpet;

static void start(Rig *r)
{
    rig_open(r);
    Irq gsi[24];
    const Irq legacy[2] = {rig_irq(r, LEGACY0), rig_irq(r, LEGACY1)};

    for (unsigned i = 0; i < 24; i++) {
        gsi[i] = rig_irq(r, i);
    }
    hpet = hpet_new(r->m, &r->m->memory_root, r->clk, legacy, gsi, NULL);
    g_assert_nonnull(hpet);
}

static uint64_t get(Rig *r, unsigned reg)
{
    return readq(r, HPET_BASE + reg);
}

static void set(Rig *r, unsigned reg, uint64_t val)
{
    writeq(r, HPET_BASE + reg, val);
}

static void ticks(Rig *r, int64_t n)
{
    clock_step(r->clk, n * 10);
}

static void test_capabilities(void)
{
    Rig r;

    start(&r);
    uint64_t cap = get(&r, CAP);
    g_assert_cmphex(cap >> 32, ==, HPET_PERIOD_FS);
    g_assert_cmphex(cap >> 32, <=, 0x05f5e100); /* at most 100 ns */
    g_assert_cmphex(cap & 0xff, ==, 1);
    g_assert_cmphex(cap >> 8 & 31, ==, 2); /* last timer */
    g_assert_cmphex(cap >> 13 & 7, ==, 5); /* 64 bits, legacy replacement */
    g_assert_cmphex(cap >> 16 & 0xffff, ==, 0x8086);
    g_assert_cmphex(readl(&r, HPET_BASE + 4), ==, HPET_PERIOD_FS);
    for (unsigned n = 0; n < 3; n++) {
        uint64_t cfg = get(&r, CFG(n));
        g_assert_cmphex(cfg & 0x30, ==, 0x30);
        g_assert_cmphex(cfg & 0x8000, ==, 0); /* no FSB */
        g_assert_cmphex(cfg >> 32, !=, 0);
        set(&r, CFG(n), UINT64_MAX);
        g_assert_cmphex(get(&r, CFG(n)) & 0xffff, ==, 0x3f7e);
        g_assert_cmphex(get(&r, CFG(n)) >> 32, ==, cfg >> 32);
        g_assert_cmphex(get(&r, CMP(n) + 8), ==, 0);
    }
    set(&r, CAP, 0);
    g_assert_cmphex(get(&r, CAP), ==, cap);
    g_assert_cmphex(get(&r, 0x3f8), ==, 0);
    rig_close(&r);
}

static void test_counter(void)
{
    Rig r;

    start(&r);
    ticks(&r, 1000);
    g_assert_cmphex(get(&r, COUNT), ==, 0);
    set(&r, COUNT, 0xfffffff0);
    set(&r, CONF, 1);
    ticks(&r, 0x20);
    g_assert_cmphex(get(&r, COUNT), ==, 0x100000010);
    g_assert_cmphex(readl(&r, HPET_BASE + COUNT), ==, 0x10);
    g_assert_cmphex(readl(&r, HPET_BASE + COUNT + 4), ==, 1);
    set(&r, CONF, 0);
    ticks(&r, 1000);
    g_assert_cmphex(get(&r, COUNT), ==, 0x100000010);
    writel(&r, HPET_BASE + COUNT + 4, 7); /* halves can be written alone */
    g_assert_cmphex(get(&r, COUNT), ==, 0x700000010);
    g_assert_cmphex(mem_load(r.m->memory, HPET_BASE + COUNT, 1), ==, 0xff); /* too narrow */
    rig_close(&r);
}

static void test_one_shot(void)
{
    Rig r;

    start(&r);
    set(&r, CFG(1), ENB | ROUTE(20));
    set(&r, CMP(1), 5000);
    set(&r, CONF, 1);
    ticks(&r, 4999);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 0);
    ticks(&r, 1);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 1);
    g_assert_cmpint(r.level[20], ==, 0); /* edge: a pulse */
    g_assert_cmphex(get(&r, STA), ==, 0);
    ticks(&r, 1000000);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 0);
    /* the past: 2^64 ticks away */
    set(&r, CMP(1), 10);
    ticks(&r, 1000000);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 0);
    /* 32 bits: the past is less than a wrap away, and it comes again each wrap */
    set(&r, CFG(1), ENB | BITS32 | ROUTE(20));
    g_assert_cmphex(get(&r, CMP(1)), ==, 10);
    ticks(&r, 1ll << 32);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 1);
    ticks(&r, 1ll << 32);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 1);
    /* a disabled or unroutable one is silent */
    set(&r, CFG(1), ENB | ROUTE(3));
    set(&r, CMP(1), get(&r, COUNT) + 10);
    ticks(&r, 20);
    g_assert_cmpuint(rig_rises(&r, 3), ==, 0);
    rig_close(&r);
}

static void test_level(void)
{
    Rig r;

    start(&r);
    set(&r, CFG(2), ENB | LEVEL | ROUTE(21));
    set(&r, CMP(2), 100);
    set(&r, CONF, 1);
    ticks(&r, 100);
    g_assert_cmpint(r.level[21], ==, 1);
    g_assert_cmphex(get(&r, STA), ==, 4);
    set(&r, STA, 3);
    g_assert_cmpint(r.level[21], ==, 1);
    writel(&r, HPET_BASE + STA, 4);
    g_assert_cmpint(r.level[21], ==, 0);
    /* status comes without the enable; enabling shows it */
    set(&r, CFG(2), LEVEL | ROUTE(21));
    set(&r, CMP(2), 200);
    ticks(&r, 100);
    g_assert_cmphex(get(&r, STA), ==, 4);
    g_assert_cmpint(r.level[21], ==, 0);
    set(&r, CFG(2), ENB | LEVEL | ROUTE(22));
    g_assert_cmpint(r.level[22], ==, 1);
    set(&r, CONF, 0); /* no interrupts while halted */
    g_assert_cmpint(r.level[22], ==, 0);
    rig_close(&r);
}

static void test_periodic(void)
{
    Rig r;

    start(&r);
    set(&r, CONF, 1);
    ticks(&r, 12345);
    uint64_t now = get(&r, COUNT);
    /* as Linux does it: accumulator first, then the period */
    set(&r, CFG(0), ENB | PERIODIC | VAL_SET | BITS32 | ROUTE(20));
    writel(&r, HPET_BASE + CMP(0), now + 100000);
    g_assert_cmphex(get(&r, CFG(0)) & VAL_SET, ==, 0);
    writel(&r, HPET_BASE + CMP(0), 100000);
    g_assert_cmphex(get(&r, CMP(0)), ==, now + 100000);
    ticks(&r, 99999);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 0);
    ticks(&r, 1);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 1);
    g_assert_cmphex(get(&r, CMP(0)), ==, now + 200000);
    ticks(&r, 5 * 100000);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 5);
    ticks(&r, 50000);
    set(&r, CMP(0), 200000); /* a new period from the next match on */
    ticks(&r, 50000);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 1);
    ticks(&r, 199999);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 0);
    ticks(&r, 1);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 1);
    /* tiny and zero periods do no harm */
    set(&r, CMP(0), 1);
    ticks(&r, 200000);
    rig_rises(&r, 20);
    ticks(&r, 10000000); /* 0.1 s */
    g_assert_cmpuint(rig_rises(&r, 20), <=, 5001);
    set(&r, CMP(0), 0);
    ticks(&r, 10000000);
    rig_rises(&r, 20);
    ticks(&r, 10000000);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 0);
    rig_close(&r);
}

static void test_periodic_wraps(void)
{
    Rig r;

    start(&r);
    set(&r, COUNT, 0xffffff00);
    set(&r, CFG(0), ENB | PERIODIC | VAL_SET | BITS32 | ROUTE(20));
    set(&r, CMP(0), 0xffffff80);
    set(&r, CMP(0), 0x10000);
    set(&r, CONF, 1);
    ticks(&r, 0x80);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 1);
    g_assert_cmphex(get(&r, CMP(0)), ==, 0xff80);
    ticks(&r, 0x10000);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 1);
    rig_close(&r);
}

static void test_legacy(void)
{
    Rig r;

    start(&r);
    Irq pit = hpet_legacy_in(hpet, 0), rtc = hpet_legacy_in(hpet, 1);

    irq_set(&pit, 1);
    g_assert_cmpint(r.level[LEGACY0], ==, 1);
    irq_set(&rtc, 1);
    g_assert_cmpint(r.level[LEGACY1], ==, 1);
    irq_set(&pit, 0);
    set(&r, CONF, 3); /* legacy replacement: PIT and RTC are cut off */
    g_assert_cmpint(r.level[LEGACY1], ==, 0);
    rig_rises(&r, LEGACY0);
    irq_set(&pit, 1);
    g_assert_cmpuint(rig_rises(&r, LEGACY0), ==, 0);
    set(&r, CFG(0), ENB | ROUTE(20)); /* the route is ignored */
    set(&r, CMP(0), 100);
    set(&r, CFG(1), ENB);
    set(&r, CMP(1), 200);
    set(&r, CFG(2), ENB | ROUTE(22));
    set(&r, CMP(2), 300);
    ticks(&r, 300);
    g_assert_cmpuint(rig_rises(&r, LEGACY0), ==, 1);
    g_assert_cmpuint(rig_rises(&r, LEGACY1), ==, 2); /* one was before */
    g_assert_cmpuint(rig_rises(&r, 20), ==, 0);
    g_assert_cmpuint(rig_rises(&r, 22), ==, 1);
    set(&r, CONF, 1);
    g_assert_cmpint(r.level[LEGACY0], ==, 1); /* the PIT's level again */
    rig_close(&r);
}

static void test_state(void)
{
    Rig r;

    start(&r);
    set(&r, CFG(0), ENB | PERIODIC | VAL_SET | ROUTE(20));
    set(&r, CMP(0), 1000000);
    set(&r, CFG(1), ENB | LEVEL | ROUTE(21));
    set(&r, CMP(1), 500);
    set(&r, CONF, 1);
    ticks(&r, 600);
    rig_roundtrip(r.m->devices->pdata[0]);
    rig_rises(&r, 20);
    ticks(&r, 1000000 - 600);
    g_assert_cmpuint(rig_rises(&r, 20), ==, 1);
    rig_close(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hpet/capabilities", test_capabilities);
    g_test_add_func("/hpet/counter", test_counter);
    g_test_add_func("/hpet/one-shot", test_one_shot);
    g_test_add_func("/hpet/level", test_level);
    g_test_add_func("/hpet/periodic", test_periodic);
    g_test_add_func("/hpet/periodic-wraps", test_periodic_wraps);
    g_test_add_func("/hpet/legacy", test_legacy);
    g_test_add_func("/hpet/state", test_state);
    return g_test_run();
}
