/* GICv2: IHI 0048B. Distributor, CPU interface, priorities, SGIs, level and edge. */
#include "core/machine.h"
#include "hw/intc/gicv2.h"
#include <glib.h>

enum { DIST = 0x1000, CPU = 0x4000, IAR = CPU + 0xc, EOIR = CPU + 0x10 };

typedef struct Rig {
    Machine *m;
    GicV2 *g;
    int irq[2], fiq[2];
} Rig;

static void line(void *opaque, int n, int level)
{
    ((int *)opaque)[n] = level;
}

static void setup(Rig *r)
{
    GicV2Config cfg = {.dist = DIST, .cpu = CPU, .n_cpus = 2, .n_irqs = 64};
    GError *err = NULL;

    *r = (Rig){0};
    machine_lock();
    r->m = machine_new(NULL, NULL);
    for (int i = 0; i < 2; i++) {
        cfg.irq[i] = (Irq){line, r->irq, i};
        cfg.fiq[i] = (Irq){line, r->fiq, i};
    }
    r->g = gicv2_new(r->m, &r->m->memory_root, &cfg, &err);
    g_assert_no_error(err);
}

static void teardown(Rig *r)
{
    machine_free(r->m);
    machine_unlock();
}

static uint32_t rd(Rig *r, uint64_t addr)
{
    return mem_load(r->m->memory, addr, 4);
}

static void wr(Rig *r, uint64_t addr, uint32_t v)
{
    mem_store(r->m->memory, addr, v, 4);
}

static void enable(Rig *r)
{
    wr(r, DIST, 1);
    wr(r, CPU, 1);
    wr(r, CPU + 4, 0xff);
}

static void test_ids(void)
{
    Rig r;

    setup(&r);
    g_assert_cmphex(rd(&r, DIST + 4), ==, 1 | 1 << 5); /* 64 interrupts, two CPUs */
    g_assert_cmphex(rd(&r, DIST + 0xfe8) & 0xf0, ==, 0x20);
    g_assert_cmphex(rd(&r, DIST + 0x800), ==, 0x01010101); /* private ones target their CPU */
    g_assert_cmphex(rd(&r, DIST + 0x100), ==, 0xffff);     /* SGIs are always enabled */
    g_assert_cmphex(rd(&r, IAR), ==, 1023);
    teardown(&r);
}

static void test_level(void)
{
    Rig r;

    setup(&r);
    Irq spi = gicv2_spi(r.g, 3); /* ID 35 */

    enable(&r);
    wr(&r, DIST + 0x104, 1 << 3);
    mem_store(r.m->memory, DIST + 0x800 + 35, 1, 1);
    mem_store(r.m->memory, DIST + 0x400 + 35, 0x80, 1);
    irq_set(&spi, 1);
    g_assert_cmpint(r.irq[0], ==, 1);
    g_assert_cmpint(r.irq[1], ==, 0);
    g_assert_cmphex(rd(&r, DIST + 0x204), ==, 1 << 3);
    g_assert_cmphex(rd(&r, IAR), ==, 35);
    g_assert_cmpint(r.irq[0], ==, 0); /* active: its priority masks it */
    g_assert_cmphex(rd(&r, CPU + 0x14), ==, 0x80);
    wr(&r, EOIR, 35);
    g_assert_cmpint(r.irq[0], ==, 1); /* still high: pending again */
    g_assert_cmphex(rd(&r, IAR), ==, 35);
    irq_set(&spi, 0);
    wr(&r, EOIR, 35);
    g_assert_cmpint(r.irq[0], ==, 0);
    g_assert_cmphex(rd(&r, CPU + 0x14), ==, 0xff);
    teardown(&r);
}

static void test_edge(void)
{
    Rig r;

    setup(&r);
    Irq spi = gicv2_spi(r.g, 0);

    enable(&r);
    wr(&r, DIST + 0xc08, 2); /* ID 32: edge */
    wr(&r, DIST + 0x104, 1);
    mem_store(r.m->memory, DIST + 0x820, 1, 1);
    irq_pulse(&spi);
    g_assert_cmpint(r.irq[0], ==, 1);
    g_assert_cmphex(rd(&r, IAR), ==, 32);
    wr(&r, EOIR, 32);
    g_assert_cmpint(r.irq[0], ==, 0);
    teardown(&r);
}

/* A higher priority preempts; the same one does not. */
static void test_priority(void)
{
    Rig r;

    setup(&r);
    Irq a = gicv2_spi(r.g, 0), b = gicv2_spi(r.g, 1), c = gicv2_spi(r.g, 2);

    enable(&r);
    wr(&r, DIST + 0x104, 7);
    wr(&r, DIST + 0x820, 0x010101);
    wr(&r, DIST + 0x420, 0x401080 | 0x00);
    irq_set(&a, 1); /* 80h */
    g_assert_cmphex(rd(&r, IAR), ==, 32);
    irq_set(&c, 1); /* 40h */
    g_assert_cmpint(r.irq[0], ==, 1);
    g_assert_cmphex(rd(&r, IAR), ==, 34);
    g_assert_cmpint(r.irq[0], ==, 0);
    irq_set(&b, 1); /* 10h */
    g_assert_cmphex(rd(&r, IAR), ==, 33);
    wr(&r, EOIR, 33);
    g_assert_cmphex(rd(&r, CPU + 0x14), ==, 0x40);
    wr(&r, CPU + 4, 0x10); /* mask: only what is above 10h */
    wr(&r, EOIR, 34);
    wr(&r, EOIR, 32);
    g_assert_cmpint(r.irq[0], ==, 0);
    wr(&r, CPU + 4, 0x18);
    g_assert_cmpint(r.irq[0], ==, 1);
    teardown(&r);
}

static void test_sgi(void)
{
    Rig r;

    setup(&r);
    enable(&r);
    wr(&r, DIST + 0xf00, 2 << 24 | 5); /* to itself */
    g_assert_cmpint(r.irq[0], ==, 1);
    g_assert_cmpint(r.irq[1], ==, 0);
    g_assert_cmphex(rd(&r, IAR), ==, 5);
    wr(&r, EOIR, 5);
    g_assert_cmpint(r.irq[0], ==, 0);
    wr(&r, DIST + 0xf20, 2 << 8); /* SGI 1, as if from CPU 1 */
    g_assert_cmphex(rd(&r, CPU + 0x18), ==, 1 | 1 << 10);
    g_assert_cmphex(rd(&r, IAR), ==, 1 | 1 << 10);
    teardown(&r);
}

static void test_fiq(void)
{
    Rig r;

    setup(&r);
    enable(&r);
    wr(&r, CPU, 1 | 8); /* group 0 by FIQ */
    wr(&r, DIST + 0xf00, 2 << 24);
    g_assert_cmpint(r.fiq[0], ==, 1);
    g_assert_cmpint(r.irq[0], ==, 0);
    teardown(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gicv2/identification", test_ids);
    g_test_add_func("/gicv2/level", test_level);
    g_test_add_func("/gicv2/edge", test_edge);
    g_test_add_func("/gicv2/priority", test_priority);
    g_test_add_func("/gicv2/sgi", test_sgi);
    g_test_add_func("/gicv2/fiq", test_fiq);
    return g_test_run();
}
