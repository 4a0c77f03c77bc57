/* 82371SB function 0: PIRQ routing and reset control, against data sheet 290550. */
#include "hw/isa/piix3.h"
#include "pci-fixture.h"

#define DEVFN PCI_DEVFN(1, 0)

typedef struct IntDev {
    PciDevice pci;
} IntDev;

static const PciInfo int_info = {.vendor_id = 1, .device_id = 2, .int_pin = 1};

static bool int_realize(Device *dev, GError **err)
{
    return pci_device_init(&((IntDev *)dev)->pci, &int_info, err);
}

static void int_unrealize(Device *dev)
{
    pci_device_fini(&((IntDev *)dev)->pci);
}

static void int_reset(Device *dev)
{
    pci_device_reset(&((IntDev *)dev)->pci);
}

static const DeviceType int_type = {
    .name = "int",
    .bus = "PCI",
    .size = sizeof(IntDev),
    .realize = int_realize,
    .unrealize = int_unrealize,
    .reset = int_reset,
};

static PciDevice *int_dev(Fixture *f, int slot)
{
    IntDev *d = (IntDev *)device_new(&int_type, f->m);
    d->pci.devfn = slot << 3;
    g_assert_true(device_realize(&d->pci.dev, &f->bus->bus, NULL));
    return &d->pci;
}

static Piix3 *setup(Fixture *f)
{
    Irq irq[16];
    GError *err = NULL;
    for (int i = 0; i < 16; i++) {
        irq[i] = fixture_line(f, i);
    }
    Piix3 *s = piix3_new(f->m, f->host, DEVFN, irq, &err);
    g_assert_no_error(err);
    return s;
}

static void test_values(void)
{
    Fixture *f = fixture_new(4 << 20);
    setup(f);
    g_assert_cmphex(cfg_read(f, DEVFN, 0, 4), ==, 0x70008086);
    g_assert_cmphex(cfg_read(f, DEVFN, 4, 4), ==, 0x02000007);
    g_assert_cmphex(cfg_read(f, DEVFN, 8, 4) >> 8, ==, 0x060100);
    g_assert_cmphex(cfg_read(f, DEVFN, 0x0e, 1), ==, 0x80);
    g_assert_cmphex(cfg_read(f, DEVFN, 0x4c, 1), ==, 0x4d);
    g_assert_cmphex(cfg_read(f, DEVFN, 0x4e, 2), ==, 0x0003);
    g_assert_cmphex(cfg_read(f, DEVFN, 0x60, 4), ==, 0x80808080);
    g_assert_cmphex(cfg_read(f, DEVFN, 0x69, 1), ==, 0x02);
    fixture_free(f);
}

static void test_routing(void)
{
    Fixture *f = fixture_new(4 << 20);
    Piix3 *s = setup(f);
    /* Slot 2, INTA#: PIRQB. Slots 3 and 7: PIRQC. */
    PciDevice *b = int_dev(f, 2), *c = int_dev(f, 3), *c2 = int_dev(f, 7);

    cfg_write(f, DEVFN, 0x60, 0x0b0b0a0a, 4);
    g_assert_cmpint(piix3_pirq_route(s, 1), ==, 10);
    pci_set_irq(b, 1);
    g_assert_cmpint(f->irq_level[10], ==, 1);
    pci_set_irq(c, 1);
    pci_set_irq(c2, 1);
    pci_set_irq(c, 0);
    g_assert_cmpint(f->irq_level[11], ==, 1);
    /* Another route moves the level along. */
    cfg_write(f, DEVFN, 0x61, 5, 1);
    g_assert_cmpint(f->irq_level[10], ==, 0);
    g_assert_cmpint(f->irq_level[5], ==, 1);
    /* Two PIRQs on one line. */
    cfg_write(f, DEVFN, 0x62, 5, 1);
    pci_set_irq(b, 0);
    g_assert_cmpint(f->irq_level[5], ==, 1);
    pci_set_irq(c2, 0);
    g_assert_cmpint(f->irq_level[5], ==, 0);
    /* Disabled, and reserved numbers, go nowhere. */
    pci_set_irq(b, 1);
    cfg_write(f, DEVFN, 0x61, 0x85, 1);
    g_assert_cmpint(f->irq_level[5], ==, 0);
    for (unsigned i = 0; i < 16; i++) {
        bool reserved = i == 0 || i == 1 || i == 2 || i == 8 || i == 13;
        cfg_write(f, DEVFN, 0x61, i, 1);
        g_assert_cmpint(f->irq_level[i], ==, !reserved);
    }
    fixture_free(f);
}

static void test_shared_isa_line(void)
{
    Fixture *f = fixture_new(4 << 20);
    Piix3 *s = setup(f);
    PciDevice *b = int_dev(f, 2);
    Irq sci = piix3_isa_irq(s, 9);

    cfg_write(f, DEVFN, 0x61, 9, 1);
    irq_set(&sci, 1);
    pci_set_irq(b, 1);
    irq_set(&sci, 0);
    g_assert_cmpint(f->irq_level[9], ==, 1);
    pci_set_irq(b, 0);
    g_assert_cmpint(f->irq_level[9], ==, 0);
    g_assert_cmpuint(f->irq_rises[9], ==, 1);
    fixture_free(f);
}

static bool reset_seen;

static void saw_reset(void *opaque)
{
    reset_seen = true;
}

static bool reset_happens(Fixture *f)
{
    reset_seen = false;
    machine_unlock();
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    machine_lock();
    return reset_seen;
}

static void test_reset_control(void)
{
    Fixture *f = fixture_new(4 << 20);
    setup(f);
    machine_add_reset_hook(f->m, saw_reset, NULL);
    outb(f, 0xcf9, 0x02);
    g_assert_cmphex(inb(f, 0xcf9), ==, 0x02);
    g_assert_false(reset_happens(f));
    outb(f, 0xcf9, 0x06);
    g_assert_true(reset_happens(f));
    g_assert_cmphex(inb(f, 0xcf9), ==, 0x00);
    /* Bit 2 must rise. */
    outb(f, 0xcf9, 0x04); /* soft: INIT to (no) CPUs */
    outb(f, 0xcf9, 0x06);
    g_assert_false(reset_happens(f));
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/piix3/power-on-values", test_values);
    g_test_add_func("/piix3/pirq-routing", test_routing);
    g_test_add_func("/piix3/pirq-shares-isa-line", test_shared_isa_line);
    g_test_add_func("/piix3/reset-control", test_reset_control);
    return g_test_run();
}
