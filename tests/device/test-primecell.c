/* PL011 (DDI 0183), PL031 (DDI 0224), PL061 (DDI 0190): registers. */
#include "chardev/chardev.h"
#include "core/machine.h"
#include "hw/char/pl011.h"
#include "hw/gpio/pl061.h"
#include "hw/timer/pl031.h"
#include <glib.h>

enum { BASE = 0x1000 };

static Machine *m;
static int level;

static void line(void *opaque, int n, int l)
{
    level = l;
}

static const Irq irq = {line, NULL, 0};

static uint32_t rd(unsigned off)
{
    return mem_load(m->memory, BASE + off, 4);
}

static void wr(unsigned off, uint32_t v)
{
    mem_store(m->memory, BASE + off, v, 4);
}

static void begin(void)
{
    machine_lock();
    m = machine_new(NULL, NULL);
    level = 0;
}

static void end(void)
{
    machine_free(m);
    machine_unlock();
}

static void check_id(uint32_t part)
{
    uint32_t id = 0, cell = 0;

    for (unsigned i = 0; i < 4; i++) {
        id |= (rd(0xfe0 + i * 4) & 0xff) << i * 8;
        cell |= (rd(0xff0 + i * 4) & 0xff) << i * 8;
    }
    g_assert_cmphex(id & 0xfffff, ==, 0x41000 | part);
    g_assert_cmphex(cell, ==, 0xb105f00d);
}

static void test_pl011(void)
{
    GError *err = NULL;
    uint8_t buf[16];

    begin();
    Chardev *c = chardev_new_from_opts("ringbuf,id=pl011,size=64", &err);

    g_assert_no_error(err);
    g_assert_nonnull(pl011_new(m, &m->memory_root, BASE, irq, c, &err));
    check_id(0x011);
    g_assert_cmphex(rd(0x18) & 0xf0, ==, 0x90); /* both FIFOs empty */
    g_assert_cmphex(rd(0x30), ==, 0x300);
    wr(0x30, 0x301);
    wr(0, 'A');
    g_assert_cmpint(chardev_ringbuf_read(c, buf, sizeof(buf)), ==, 1);
    g_assert_cmpint(buf[0], ==, 'A');
    g_assert_cmphex(rd(0x3c) & 0x20, ==, 0x20); /* transmit interrupt, masked */
    g_assert_cmpint(level, ==, 0);
    wr(0x38, 0x20);
    g_assert_cmpint(level, ==, 1);
    wr(0x44, 0x20);
    g_assert_cmpint(level, ==, 0);
    wr(0x38, 0x10);
    wr(0x2c, 0x10); /* FIFOs on: half full asks */
    g_assert_cmpint(chardev_ringbuf_inject(c, (const uint8_t *)"1234567", 7), ==, 7);
    g_assert_cmpint(level, ==, 0);
    g_assert_cmphex(rd(0x3c) & 0x40, ==, 0x40); /* time-out */
    g_assert_cmpint(chardev_ringbuf_inject(c, (const uint8_t *)"8", 1), ==, 1);
    g_assert_cmpint(level, ==, 1);
    g_assert_cmpint(rd(0), ==, '1');
    g_assert_cmpint(level, ==, 0);
    for (unsigned i = 0; i < 7; i++) {
        g_assert_cmpint(rd(0), ==, '2' + i);
    }
    g_assert_cmphex(rd(0x18) & 0x10, ==, 0x10);
    wr(0x30, 0x381); /* loop back */
    wr(0, 'x');
    g_assert_cmpint(rd(0), ==, 'x');
    end();
    chardev_remove(c, NULL);
}

static void test_pl031(void)
{
    GError *err = NULL;

    begin();
    Clock *clock = clock_new(CLOCK_KIND_MANUAL);

    g_assert_nonnull(pl031_new(m, &m->memory_root, BASE, irq, clock, 1000, &err));
    check_id(0x031);
    g_assert_cmpuint(rd(0), ==, 1000);
    clock_step(clock, 5 * NS_PER_SEC);
    g_assert_cmpuint(rd(0), ==, 1005);
    wr(8, 2000);
    g_assert_cmpuint(rd(0), ==, 2000);
    wr(0x10, 1);
    wr(4, 2003);
    g_assert_cmpint(level, ==, 0);
    clock_step(clock, 3 * NS_PER_SEC);
    g_assert_cmpint(level, ==, 1);
    g_assert_cmpuint(rd(0x18), ==, 1);
    wr(0x1c, 1);
    g_assert_cmpint(level, ==, 0);
    end();
    clock_free(clock);
}

static void test_pl061(void)
{
    GError *err = NULL;

    begin();
    Pl061 *p = pl061_new(m, &m->memory_root, BASE, irq, NULL, &err);
    Irq pin = pl061_pin(p, 3);

    g_assert_nonnull(p);
    check_id(0x061);
    irq_set(&pin, 1);
    g_assert_cmphex(rd(0x3fc), ==, 8);
    g_assert_cmphex(rd(0x010), ==, 0); /* address bits mask pin 3 out */
    wr(0x410, 8);
    wr(0x40c, 8); /* rising */
    irq_set(&pin, 0);
    g_assert_cmpint(level, ==, 0);
    irq_set(&pin, 1);
    g_assert_cmpint(level, ==, 1);
    g_assert_cmphex(rd(0x418), ==, 8);
    wr(0x41c, 8);
    g_assert_cmpint(level, ==, 0);
    wr(0x404, 8); /* level */
    g_assert_cmpint(level, ==, 1);
    irq_set(&pin, 0);
    g_assert_cmpint(level, ==, 0);
    wr(0x400, 0xf0); /* outputs */
    wr(0x3fc, 0xff);
    g_assert_cmphex(rd(0x3fc), ==, 0xf0);
    wr(0x040, 0); /* only pin 4 */
    g_assert_cmphex(rd(0x3fc), ==, 0xe0);
    end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/primecell/pl011", test_pl011);
    g_test_add_func("/primecell/pl031", test_pl031);
    g_test_add_func("/primecell/pl061", test_pl061);
    return g_test_run();
}
