/* hw/intc/ioapic: the Intel 82093AA data sheet, with local APICs behind it. */
#include "apic-rig.h"
#include "hw/intc/ioapic.h"

enum { LEVEL = 0x8000, REMOTE_IRR = 0x4000, MASKED = 0x10000, LOGICAL = 0x800 };
#define EOI 0xb0

static ApicRig a;
static Ioapic *io;

static uint32_t get(uint8_t reg)
{
    writel(&a.r, IOAPIC_BASE, reg);
    return readl(&a.r, IOAPIC_BASE + 0x10);
}

static void set(uint8_t reg, uint32_t val)
{
    writel(&a.r, IOAPIC_BASE, reg);
    writel(&a.r, IOAPIC_BASE + 0x10, val);
}

static void entry(unsigned pin, uint32_t low, uint8_t dest)
{
    set(0x11 + 2 * pin, (uint32_t)dest << 24);
    set(0x10 + 2 * pin, low);
}

static void start(void)
{
    apic_rig_open(&a, 2);
    io = ioapic_new(a.r.m, &a.r.m->memory_root, IOAPIC_BASE, 5, a.bus, NULL);
    g_assert_nonnull(io);
    apic_set(&a, 0, 0xf0, 0x1ff);
    apic_set(&a, 1, 0xf0, 0x1ff);
}

static void line(unsigned pin, int level)
{
    Irq irq = ioapic_irq(io, pin);

    irq_set(&irq, level);
}

static void test_registers(void)
{
    start();
    g_assert_cmphex(get(0), ==, 0x05000000);
    g_assert_cmphex(get(1), ==, 0x00170011);
    for (unsigned i = 0; i < 24; i++) {
        g_assert_cmphex(get(0x10 + 2 * i), ==, MASKED);
        g_assert_cmphex(get(0x11 + 2 * i), ==, 0);
    }
    set(0, 0xffffffff);
    g_assert_cmphex(get(0), ==, 0x0f000000);
    g_assert_cmphex(get(2), ==, 0x0f000000); /* arbitration is loaded with the id */
    set(1, 0);
    g_assert_cmphex(get(1), ==, 0x00170011);
    set(0x3e, 0xffffffff);
    set(0x3f, 0xffffffff);
    g_assert_cmphex(get(0x3e), ==, 0x0001afff);
    g_assert_cmphex(get(0x3f), ==, 0xff000000);
    for (unsigned i = 0x40; i < 0x100; i++) { /* nothing there */
        set(i, 0xffffffff);
        g_assert_cmphex(get(i), ==, 0);
    }
    set(0x0f, 0x1);
    mem_store(a.r.m->memory, IOAPIC_BASE, 0x12, 1); /* the select register by a byte */
    g_assert_cmphex(readl(&a.r, IOAPIC_BASE), ==, 0x12);
    apic_rig_close(&a);
}

static void test_edge(void)
{
    start();
    entry(4, 0x41, 1);
    line(4, 1);
    g_assert_cmphex(ack(&a, 1), ==, 0x41);
    apic_set(&a, 1, EOI, 0);
    g_assert_false(irq_pending(&a, 1));
    line(4, 0);
    line(4, 1);
    g_assert_true(irq_pending(&a, 1));
    ack(&a, 1);
    apic_set(&a, 1, EOI, 0);
    /* an edge on a masked pin is lost */
    line(4, 0);
    entry(4, MASKED | 0x41, 1);
    line(4, 1);
    entry(4, 0x41, 1);
    g_assert_false(irq_pending(&a, 1));
    g_assert_cmphex(get(0x18) & REMOTE_IRR, ==, 0);
    apic_rig_close(&a);
}

static void test_level(void)
{
    start();
    entry(16, LEVEL | 0x51, 0);
    line(16, 1);
    g_assert_cmphex(get(0x30), ==, LEVEL | REMOTE_IRR | 0x51);
    g_assert_cmphex(ack(&a, 0), ==, 0x51);
    line(16, 0);
    line(16, 1); /* not before the EOI */
    g_assert_false(irq_pending(&a, 0));
    apic_set(&a, 0, EOI, 0);
    g_assert_true(irq_pending(&a, 0));
    g_assert_cmphex(ack(&a, 0), ==, 0x51);
    line(16, 0);
    apic_set(&a, 0, EOI, 0);
    g_assert_cmphex(get(0x30), ==, LEVEL | 0x51);
    g_assert_false(irq_pending(&a, 0));
    /* active while masked, then unmasked */
    entry(16, MASKED | LEVEL | 0x51, 0);
    line(16, 1);
    g_assert_false(irq_pending(&a, 0));
    set(0x30, LEVEL | 0x51);
    g_assert_true(irq_pending(&a, 0));
    /* remote IRR is read-only; a change to edge clears it */
    set(0x30, MASKED | LEVEL | 0x51);
    g_assert_cmphex(get(0x30) & REMOTE_IRR, ==, REMOTE_IRR);
    set(0x30, MASKED | 0x51);
    g_assert_cmphex(get(0x30) & REMOTE_IRR, ==, 0);
    apic_rig_close(&a);
}

static void test_nobody_takes_it(void)
{
    start();
    apic_set(&a, 0, 0xf0, 0xff); /* APIC 0 is disabled */
    entry(17, LEVEL | 0x52, 0);
    line(17, 1);
    g_assert_cmphex(get(0x32) & REMOTE_IRR, ==, 0); /* no EOI would ever come */
    apic_set(&a, 0, 0xf0, 0x1ff);
    set(0x32, LEVEL | 0x52);
    g_assert_cmphex(ack(&a, 0), ==, 0x52);
    entry(18, 0x07, 0); /* illegal vector */
    line(18, 1);
    apic_set(&a, 0, 0x280, 0);
    g_assert_cmphex(apic_get(&a, 0, 0x280), ==, 0x40);
    apic_rig_close(&a);
}

static void test_shared_vector(void)
{
    start();
    entry(16, LEVEL | 0x51, 0);
    entry(17, LEVEL | 0x51, 0);
    line(16, 1);
    line(17, 1);
    g_assert_cmphex(ack(&a, 0), ==, 0x51);
    line(16, 0);
    apic_set(&a, 0, EOI, 0); /* ends both; 17 is still active */
    g_assert_cmphex(get(0x30) & REMOTE_IRR, ==, 0);
    g_assert_cmphex(get(0x32) & REMOTE_IRR, ==, REMOTE_IRR);
    g_assert_cmphex(ack(&a, 0), ==, 0x51);
    apic_rig_close(&a);
}

static void test_modes(void)
{
    start();
    apic_set(&a, 0, 0xd0, 0x01000000);
    apic_set(&a, 1, 0xd0, 0x02000000);
    entry(3, LOGICAL | 0x44, 3);
    line(3, 1);
    g_assert_cmphex(ack(&a, 0), ==, 0x44);
    g_assert_cmphex(ack(&a, 1), ==, 0x44);
    apic_set(&a, 0, 0x80, 0xf0); /* lowest priority: CPU 1 */
    entry(5, LOGICAL | 0x100 | 0x55, 3);
    line(5, 1);
    g_assert_cmphex(ack(&a, 1), ==, 0x55);
    entry(6, 0x400, 1); /* NMI; level makes no difference */
    line(6, 1);
    g_assert_cmphex(apic_rig_events(&a, 1) & VCPU_NMI, ==, VCPU_NMI);
    entry(7, 0x200, 1);
    line(7, 1);
    g_assert_cmphex(apic_rig_events(&a, 1) & VCPU_SMI, ==, VCPU_SMI);
    entry(8, 0x500, 1);
    line(8, 1);
    g_assert_cmphex(apic_rig_events(&a, 1) & VCPU_INIT, ==, VCPU_INIT);
    a.inta_vector = 0x22;
    entry(0, 0x700, 0); /* ExtINT: virtual wire through the I/O APIC */
    line(0, 1);
    g_assert_cmphex(ack(&a, 0), ==, 0x22);
    entry(9, 0x300, 1); /* reserved */
    line(9, 1);
    entry(10, 0x600, 1);
    line(10, 1);
    g_assert_cmphex(apic_rig_events(&a, 1) & ~VCPU_IRQ, ==, 0);
    apic_rig_close(&a);
}

static void test_state(void)
{
    start();
    entry(16, LEVEL | 0x51, 0);
    line(16, 1);
    entry(3, 0x44, 1);
    rig_roundtrip(a.r.m->devices->pdata[2]);
    g_assert_cmphex(get(0x30), ==, LEVEL | REMOTE_IRR | 0x51);
    g_assert_cmphex(ack(&a, 0), ==, 0x51);
    apic_set(&a, 0, EOI, 0);
    g_assert_true(irq_pending(&a, 0));
    apic_rig_close(&a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ioapic/registers", test_registers);
    g_test_add_func("/ioapic/edge", test_edge);
    g_test_add_func("/ioapic/level", test_level);
    g_test_add_func("/ioapic/nobody-takes-it", test_nobody_takes_it);
    g_test_add_func("/ioapic/shared-vector", test_shared_vector);
    g_test_add_func("/ioapic/modes", test_modes);
    g_test_add_func("/ioapic/state", test_state);
    return g_test_run();
}
