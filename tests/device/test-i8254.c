/* hw/timer/i8254 and pcspk: the Intel 8254 data sheet. Times in input clocks of 838.095 ns. */
#include "harness.h"
#include "hw/timer/i8254.h"
#include "hw/timer/pcspk.h"

enum { IRQ0, C0 = 0x40, C1, C2, CTL };

static I8254 *pit;
static int64_t at; /* clocks since start */

static void start(Rig *r)
{
    rig_open(r);
    pit = i8254_new(r->m, &r->m->io_root, r->clk, rig_irq(r, IRQ0), NULL);
    g_assert_nonnull(pit);
    g_assert_nonnull(pcspk_new(r->m, &r->m->io_root, r->clk, pit, NULL));
    at = 0;
    rig_rises(r, IRQ0);
}

/* On to the middle of clock at+n. */
static void clocks(Rig *r, int64_t n)
{
    at += n;
    int64_t ns = ((__int128)at * NS_PER_SEC + NS_PER_SEC / 2) / I8254_HZ;
    clock_step(r->clk, ns - clock_now(r->clk));
}

static void program(Rig *r, unsigned ch, uint8_t mode, uint16_t count, bool bcd)
{
    outb(r, CTL, ch << 6 | 0x30 | mode << 1 | bcd);
    outb(r, C0 + ch, count);
    outb(r, C0 + ch, count >> 8);
}

static uint16_t count(Rig *r, unsigned ch)
{
    outb(r, CTL, ch << 6); /* latch */
    uint8_t lo = inb(r, C0 + ch);
    return inb(r, C0 + ch) << 8 | lo;
}

static uint8_t status(Rig *r, unsigned ch)
{
    outb(r, CTL, 0xe0 | 2 << ch);
    return inb(r, C0 + ch);
}

static void test_mode0(void)
{
    Rig r;

    start(&r);
    clocks(&r, 10);
    outb(&r, CTL, 0x30);
    g_assert_cmpint(r.level[IRQ0], ==, 0); /* OUT low by the control word */
    outb(&r, C0, 4);
    outb(&r, C0, 0);
    g_assert_cmphex(status(&r, 0), ==, 0x70); /* OUT 0, null count, RW 3, mode 0 */
    clocks(&r, 1);
    g_assert_cmphex(status(&r, 0), ==, 0x30);
    g_assert_cmpuint(count(&r, 0), ==, 4);
    clocks(&r, 1);
    g_assert_cmpuint(count(&r, 0), ==, 3);
    clocks(&r, 2);
    g_assert_cmpint(r.level[IRQ0], ==, 0);
    clocks(&r, 1); /* N + 1 clocks after the write */
    g_assert_cmpint(r.level[IRQ0], ==, 1);
    g_assert_cmpuint(rig_rises(&r, IRQ0), ==, 1);
    g_assert_cmphex(status(&r, 0), ==, 0xb0);
    g_assert_cmpuint(count(&r, 0), ==, 0);
    clocks(&r, 1);
    g_assert_cmpuint(count(&r, 0), ==, 0xffff);
    clocks(&r, 70000);
    g_assert_cmpuint(rig_rises(&r, IRQ0), ==, 0); /* once */
    /* a new count: the first byte stops, the second starts */
    outb(&r, C0, 2);
    g_assert_cmpint(r.level[IRQ0], ==, 0);
    clocks(&r, 100);
    g_assert_cmpint(r.level[IRQ0], ==, 0);
    outb(&r, C0, 0);
    clocks(&r, 3);
    g_assert_cmpint(r.level[IRQ0], ==, 1);
    rig_close(&r);
}

static void test_mode0_gate(void)
{
    Rig r;

    start(&r);
    program(&r, 2, 0, 10, false); /* gate 2 is low: loaded, not counting */
    clocks(&r, 50);
    g_assert_cmpuint(count(&r, 2), ==, 10);
    outb(&r, 0x61, 1);
    clocks(&r, 4);
    g_assert_cmpuint(count(&r, 2), ==, 6);
    outb(&r, 0x61, 0);
    clocks(&r, 40);
    g_assert_cmpuint(count(&r, 2), ==, 6);
    g_assert_cmphex(inb(&r, 0x61) & 0x20, ==, 0);
    outb(&r, 0x61, 1);
    clocks(&r, 5);
    g_assert_cmphex(inb(&r, 0x61) & 0x20, ==, 0);
    clocks(&r, 1);
    g_assert_cmphex(inb(&r, 0x61) & 0x21, ==, 0x21);
    rig_close(&r);
}

static void test_mode1(void)
{
    Rig r;

    start(&r);
    program(&r, 2, 1, 5, false);
    clocks(&r, 20);
    g_assert_true(i8254_out(pit, 2)); /* high until the trigger */
    outb(&r, 0x61, 1);
    clocks(&r, 1);
    g_assert_false(i8254_out(pit, 2));
    clocks(&r, 3);
    outb(&r, 0x61, 0); /* a low gate has no effect */
    outb(&r, 0x61, 1); /* retrigger: five more */
    clocks(&r, 5);
    g_assert_false(i8254_out(pit, 2));
    clocks(&r, 1);
    g_assert_true(i8254_out(pit, 2));
    rig_close(&r);
}

static void test_mode2(void)
{
    Rig r;

    start(&r);
    program(&r, 0, 2, 1000, false);
    clocks(&r, 1);
    g_assert_cmpuint(count(&r, 0), ==, 1000);
    rig_rises(&r, IRQ0);
    clocks(&r, 999);
    g_assert_cmpuint(count(&r, 0), ==, 1);
    g_assert_cmphex(status(&r, 0), ==, 0x34); /* OUT low for the last clock */
    g_assert_cmpuint(rig_rises(&r, IRQ0), ==, 0);
    clocks(&r, 1);
    g_assert_cmpuint(count(&r, 0), ==, 1000);
    g_assert_cmphex(status(&r, 0), ==, 0xb4);
    g_assert_cmpuint(rig_rises(&r, IRQ0), ==, 1);
    clocks(&r, 5000);
    g_assert_cmpuint(rig_rises(&r, IRQ0), ==, 5);
    /* a new count is used from the next period on */
    clocks(&r, 500);
    outb(&r, C0, 2000 & 255);
    outb(&r, C0, 2000 >> 8);
    g_assert_cmpuint(count(&r, 0), ==, 500);
    g_assert_cmphex(status(&r, 0) & 0x40, ==, 0x40);
    clocks(&r, 500);
    g_assert_cmpuint(rig_rises(&r, IRQ0), ==, 1);
    g_assert_cmpuint(count(&r, 0), ==, 2000);
    clocks(&r, 1999);
    g_assert_cmpuint(rig_rises(&r, IRQ0), ==, 0);
    clocks(&r, 1);
    g_assert_cmpuint(rig_rises(&r, IRQ0), ==, 1);
    rig_close(&r);
}

static void test_mode3(void)
{
    Rig r;

    start(&r);
    outb(&r, 0x61, 1);
    program(&r, 2, 3, 6, false);
    clocks(&r, 1);
    static const uint8_t even[] = {6, 4, 2, 6, 4, 2, 6}, high[] = {1, 1, 1, 0, 0, 0, 1};
    for (unsigned i = 0; i < 7; i++) {
        g_assert_cmpuint(count(&r, 2), ==, even[i]);
        g_assert_cmpint(i8254_out(pit, 2), ==, high[i]);
        clocks(&r, 1);
    }
    program(&r, 2, 3, 5, false); /* high for (N+1)/2, low for (N-1)/2 */
    clocks(&r, 1);
    static const uint8_t odd[] = {4, 2, 0, 4, 2, 4}, ohigh[] = {1, 1, 1, 0, 0, 1};
    for (unsigned i = 0; i < 6; i++) {
        g_assert_cmpuint(count(&r, 2), ==, odd[i]);
        g_assert_cmpint(i8254_out(pit, 2), ==, ohigh[i]);
        clocks(&r, 1);
    }
    /* the gate: low forces OUT high, its rise starts anew */
    program(&r, 2, 3, 100, false);
    clocks(&r, 71);
    g_assert_false(i8254_out(pit, 2));
    outb(&r, 0x61, 0);
    g_assert_true(i8254_out(pit, 2));
    clocks(&r, 500);
    outb(&r, 0x61, 1);
    clocks(&r, 1);
    g_assert_cmpuint(count(&r, 2), ==, 100);
    /* a new count takes over at the half */
    clocks(&r, 20);
    outb(&r, C2, 40);
    outb(&r, C2, 0);
    clocks(&r, 29);
    g_assert_true(i8254_out(pit, 2));
    clocks(&r, 1);
    g_assert_false(i8254_out(pit, 2));
    clocks(&r, 19);
    g_assert_false(i8254_out(pit, 2));
    clocks(&r, 1);
    g_assert_true(i8254_out(pit, 2));
    clocks(&r, 20);
    g_assert_false(i8254_out(pit, 2));
    /* interrupts: one a period, full range */
    program(&r, 0, 3, 0, false);
    rig_rises(&r, IRQ0);
    clocks(&r, 65536 * 18 + 2);
    g_assert_cmpuint(rig_rises(&r, IRQ0), ==, 18);
    rig_close(&r);
}

static void test_mode4_and_5(void)
{
    Rig r;

    start(&r);
    program(&r, 0, 4, 3, false);
    rig_rises(&r, IRQ0);
    clocks(&r, 3);
    g_assert_true(i8254_out(pit, 0));
    clocks(&r, 1); /* N + 1 after the write: low for one clock */
    g_assert_false(i8254_out(pit, 0));
    clocks(&r, 1);
    g_assert_true(i8254_out(pit, 0));
    g_assert_cmpuint(rig_rises(&r, IRQ0), ==, 1);
    clocks(&r, 65536 * 2);
    g_assert_cmpuint(rig_rises(&r, IRQ0), ==, 0);
    program(&r, 2, 5, 3, false);
    clocks(&r, 10);
    g_assert_true(i8254_out(pit, 2));
    outb(&r, 0x61, 1);
    clocks(&r, 4);
    g_assert_false(i8254_out(pit, 2));
    clocks(&r, 1);
    g_assert_true(i8254_out(pit, 2));
    rig_close(&r);
}

static void test_bcd_and_access(void)
{
    Rig r;

    start(&r);
    program(&r, 1, 2, 0x1000, true); /* one thousand */
    clocks(&r, 2);
    g_assert_cmphex(count(&r, 1), ==, 0x0999);
    clocks(&r, 999);
    g_assert_cmphex(count(&r, 1), ==, 0x1000);
    program(&r, 1, 0, 0, true); /* ten thousand */
    clocks(&r, 2);
    g_assert_cmphex(count(&r, 1), ==, 0x9999);
    /* LSB only, MSB only */
    outb(&r, CTL, 0x54);
    outb(&r, C1, 18);
    clocks(&r, 1);
    g_assert_cmpuint(inb(&r, C1), ==, 18);
    g_assert_cmpuint(inb(&r, C1), ==, 18);
    outb(&r, CTL, 0x60);
    outb(&r, C1, 2);
    clocks(&r, 2);
    g_assert_cmphex(inb(&r, C1), ==, 0x01);
    clocks(&r, 255);
    g_assert_cmphex(inb(&r, C1), ==, 0x01);
    clocks(&r, 1);
    g_assert_cmphex(inb(&r, C1), ==, 0x00);
    g_assert_cmphex(inb(&r, CTL), ==, 0xff);
    rig_close(&r);
}

static void test_latches(void)
{
    Rig r;

    start(&r);
    program(&r, 0, 2, 0x1234, false);
    clocks(&r, 1);
    outb(&r, CTL, 0x00);
    clocks(&r, 100);
    outb(&r, CTL, 0x00); /* ignored: not read yet */
    g_assert_cmphex(inb(&r, C0), ==, 0x34);
    g_assert_cmphex(inb(&r, C0), ==, 0x12);
    g_assert_cmphex(inb(&r, C0), ==, (0x1234 - 100) & 0xff); /* following the counter again */
    g_assert_cmphex(inb(&r, C0), ==, (0x1234 - 100) >> 8);
    /* read-back of status and count of two channels */
    program(&r, 1, 7, 50, false); /* mode 3, written as 111 */
    clocks(&r, 1);
    outb(&r, CTL, 0xc6);
    g_assert_cmphex(inb(&r, C1), ==, 0xbe); /* status first, its mode bits as written */
    g_assert_cmphex(inb(&r, C1), ==, 50);
    g_assert_cmphex(inb(&r, C1), ==, 0);
    g_assert_cmphex(inb(&r, C0), ==, 0xb4);
    rig_close(&r);
}

static void test_hostile_counts(void)
{
    Rig r;

    start(&r);
    program(&r, 0, 2, 2, false); /* 600 kHz: the host is spared */
    rig_rises(&r, IRQ0);
    clock_step(r.clk, NS_PER_SEC / 10);
    unsigned n = rig_rises(&r, IRQ0);
    g_assert_cmpuint(n, >, 1000);
    g_assert_cmpuint(n, <=, 5001);
    program(&r, 0, 2, 1, false); /* illegal */
    clock_step(r.clk, NS_PER_SEC);
    program(&r, 0, 3, 1, true);
    clock_step(r.clk, NS_PER_SEC);
    g_assert_cmpuint(count(&r, 0), <=, 1);
    program(&r, 0, 3, 0xffff, true); /* no BCD digits */
    clock_step(r.clk, NS_PER_SEC);
    rig_close(&r);
}

static void test_port61(void)
{
    Rig r;
    Pcspk *spk;

    start(&r);
    spk = r.m->devices->pdata[1];
    outb(&r, 0x61, 0xff);
    g_assert_cmphex(inb(&r, 0x61) & 0x0f, ==, 0x0f);
    g_assert_true(i8254_gate(pit, 2));
    outb(&r, 0x61, 0x03);
    program(&r, 2, 3, 1193, false);
    clocks(&r, 2);
    g_assert_cmpuint(pcspk_tone(spk), ==, 1000);
    outb(&r, 0x61, 0x01);
    g_assert_cmpuint(pcspk_tone(spk), ==, 0);
    unsigned changes = 0;
    uint8_t last = inb(&r, 0x61) & 0x10;
    for (unsigned i = 0; i < 1000; i++) {
        clock_step(r.clk, 1000);
        uint8_t now = inb(&r, 0x61) & 0x10;
        changes += now != last;
        last = now;
    }
    g_assert_cmpuint(changes, >=, 64); /* each 15.1 µs */
    g_assert_cmpuint(changes, <=, 68);
    rig_close(&r);
}

static void test_state(void)
{
    Rig r;

    start(&r);
    program(&r, 0, 2, 1000, false);
    program(&r, 2, 0, 77, false);
    clocks(&r, 100);
    outb(&r, CTL, 0x00);
    inb(&r, C0);
    outb(&r, C0, 5);
    rig_roundtrip(r.m->devices->pdata[0]);
    rig_rises(&r, IRQ0);
    clocks(&r, 901);
    g_assert_cmpuint(rig_rises(&r, IRQ0), ==, 1);
    rig_close(&r);
}

/* Saved times that wrap when they become nanoseconds would fire a timer for ever: refused. Every
 * 8 bytes that are a time of channel 0 are tried; a count is running and one waits to be loaded. */
static void test_bad_times(void)
{
    Rig r;

    start(&r);
    program(&r, 0, 2, 1000, false);
    clocks(&r, 100);
    outb(&r, C0, 200);
    outb(&r, C0, 0); /* the new count is loaded at the end of the cycle */
    Device *dev = r.m->devices->pdata[0];
    const StateTable *t = dev->type->state;
    GByteArray *a = g_byte_array_new();
    state_save(t, dev, a);
    for (guint at = 0; at + 8 <= a->len; at++) {
        static const uint8_t huge[8] = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f};
        uint8_t keep[8];
        size_t pos = 0;
        GError *err = NULL;
        memcpy(keep, a->data + at, 8);
        memcpy(a->data + at, huge, 8);
        dev->type->reset(dev);
        bool ok = state_load(t, dev, a->data, a->len, &pos, &err);
        g_clear_error(&err);
        if (ok) {
            static const char *const names[] = {"start", "held", "load_at", "edge_at"};
            g_autofree char *text = state_dump(t, dev);
            for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autofree char *line = g_strconcat(names[i], " = 0x1ffffffffffffffe", NULL);
                g_assert_null(strstr(text, line));
            }
            clock_step(r.clk, 1000000); /* ends */
        }
        memcpy(a->data + at, keep, 8);
    }
    g_byte_array_unref(a);
    rig_close(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8254/mode0", test_mode0);
    g_test_add_func("/i8254/bad-times", test_bad_times);
    g_test_add_func("/i8254/mode0-gate", test_mode0_gate);
    g_test_add_func("/i8254/mode1", test_mode1);
    g_test_add_func("/i8254/mode2", test_mode2);
    g_test_add_func("/i8254/mode3", test_mode3);
    g_test_add_func("/i8254/mode4-5", test_mode4_and_5);
    g_test_add_func("/i8254/bcd-access", test_bcd_and_access);
    g_test_add_func("/i8254/latches", test_latches);
    g_test_add_func("/i8254/hostile-counts", test_hostile_counts);
    g_test_add_func("/i8254/port61", test_port61);
    g_test_add_func("/i8254/state", test_state);
    return g_test_run();
}
