/* Goldfish RTC against the text of Android's virtual hardware. */
#include "harness.h"
#include "hw/timer/goldfish_rtc.h"

enum { AT = 0x101000 };

static void test_time(void)
{
    Rig r;
    rig_open(&r);
    g_assert_true(goldfish_rtc_new(r.m, &r.m->memory_root, AT, r.clk, rig_irq(&r, 0), NULL));
    clock_step(r.clk, 0x123456789a);
    g_assert_cmphex(readl(&r, AT), ==, 0x3456789a);
    clock_step(r.clk, 0xf00000000); /* the high half was latched */
    g_assert_cmphex(readl(&r, AT + 4), ==, 0x12);
    g_assert_cmphex(readl(&r, AT), ==, 0x3456789a);
    g_assert_cmphex(readl(&r, AT + 4), ==, 0x21);
    writel(&r, AT + 4, 0x55);
    writel(&r, AT, 0x10);
    g_assert_cmphex(readl(&r, AT), ==, 0x10);
    g_assert_cmphex(readl(&r, AT + 4), ==, 0x55);
    rig_close(&r);
}

static void test_alarm(void)
{
    Rig r;
    rig_open(&r);
    g_assert_true(goldfish_rtc_new(r.m, &r.m->memory_root, AT, r.clk, rig_irq(&r, 0), NULL));
    writel(&r, AT + 0x10, 1);
    writel(&r, AT + 0x0c, 0);
    writel(&r, AT + 0x08, 5000);
    g_assert_cmphex(readl(&r, AT + 0x18), ==, 1);
    clock_step(r.clk, 4999);
    g_assert_cmpint(r.level[0], ==, 0);
    clock_step(r.clk, 1);
    g_assert_cmpint(r.level[0], ==, 1);
    g_assert_cmphex(readl(&r, AT + 0x18), ==, 0);
    writel(&r, AT + 0x1c, 1);
    g_assert_cmpint(r.level[0], ==, 0);
    /* An alarm in the past comes now; masked it waits. */
    writel(&r, AT + 0x10, 0);
    writel(&r, AT + 0x08, 1);
    g_assert_cmpint(r.level[0], ==, 0);
    writel(&r, AT + 0x10, 1);
    g_assert_cmpint(r.level[0], ==, 1);
    writel(&r, AT + 0x1c, 1);
    /* One that is cleared does not. */
    writel(&r, AT + 0x08, 90000);
    writel(&r, AT + 0x14, 1);
    clock_step(r.clk, 200000);
    g_assert_cmpint(r.level[0], ==, 0);
    writel(&r, AT + 0x08, 900000);
    rig_roundtrip(r.m->devices->pdata[0]);
    rig_close(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/goldfish-rtc/time", test_time);
    g_test_add_func("/goldfish-rtc/alarm", test_alarm);
    return g_test_run();
}
