/* ACLINT against its specification 1.0-rc4, and Sstc's timer with it. */
#include "hw/intc/aclint.h"
#include "riscv-rig.h"

enum { AT = 0x2000000, TIMECMP = AT + 0x4000, TIME = AT + 0xbff8 };

static void test_msip(void)
{
    Rig r;
    Clock *keep = riscv_rig_open(&r, 3);

    g_assert_nonnull(aclint_new(r.m, &r.m->memory_root, AT, NULL));
    writel(&r, AT + 4, 0xffffffff);
    g_assert_cmphex(readl(&r, AT + 4), ==, 1);
    g_assert_false(pin(&r, 0, RISCV_IRQ_MSIP));
    g_assert_true(pin(&r, 1, RISCV_IRQ_MSIP));
    writel(&r, AT + 4, 0);
    g_assert_false(pin(&r, 1, RISCV_IRQ_MSIP));
    writeq(&r, AT + 0, 0x100000001);
    g_assert_true(pin(&r, 0, RISCV_IRQ_MSIP));
    g_assert_true(pin(&r, 1, RISCV_IRQ_MSIP));
    g_assert_cmphex(readl(&r, AT + 3 * 4), ==, 0);
    riscv_rig_close(&r, keep);
}

static void test_timer(void)
{
    Rig r;
    Clock *keep = riscv_rig_open(&r, 2);
    Aclint *s = aclint_new(r.m, &r.m->memory_root, AT, NULL);

    clock_step(r.clk, 1000000);
    g_assert_cmpuint(readq(&r, TIME), ==, 10000); /* 10 MHz */
    g_assert_cmpuint(rv_time(riscv(r.m->vcpus[0])), ==, 10000);
    writeq(&r, TIMECMP + 8, 10050);
    g_assert_false(pin(&r, 1, RISCV_IRQ_MTIP));
    clock_step(r.clk, 4900);
    g_assert_false(pin(&r, 1, RISCV_IRQ_MTIP));
    clock_step(r.clk, 100);
    g_assert_true(pin(&r, 1, RISCV_IRQ_MTIP));
    g_assert_false(pin(&r, 0, RISCV_IRQ_MTIP));
    /* A later comparison takes it away at once. */
    writel(&r, TIMECMP + 12, 1);
    g_assert_false(pin(&r, 1, RISCV_IRQ_MTIP));
    g_assert_cmphex(readq(&r, TIMECMP + 8), ==, 0x100000000 + 10050);
    /* Time can be set. */
    writeq(&r, TIME, 0x100000000 + 10000);
    g_assert_false(pin(&r, 1, RISCV_IRQ_MTIP));
    clock_step(r.clk, 5000);
    g_assert_true(pin(&r, 1, RISCV_IRQ_MTIP));
    rig_roundtrip((Device *)s);
    riscv_rig_close(&r, keep);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/aclint/msip", test_msip);
    g_test_add_func("/aclint/timer", test_timer);
    return g_test_run();
}
