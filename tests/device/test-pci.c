/* PCI function core against the PCI Local Bus Specification 3.0, chapter 6. */
#include "pci-fixture.h"

typedef struct TestDev {
    PciDevice pci;
    MemRegion mmio, io, big;
    uint32_t reg;
    bool msi;
} TestDev;

static uint64_t reg_read(void *opaque, uint64_t off, unsigned size)
{
    return ((TestDev *)opaque)->reg + off;
}

static void reg_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    ((TestDev *)opaque)->reg = (uint32_t)val;
}

static const MemOps reg_ops = {.read = reg_read, .write = reg_write};

static const PciInfo info = {
    .vendor_id = 0x1234,
    .device_id = 0x5678,
    .revision = 9,
    .class_code = 0x020001,
    .int_pin = 1,
};

static bool test_realize(Device *dev, GError **err)
{
    TestDev *t = (TestDev *)dev;
    static const uint8_t rom[3000] = {0x55, 0xaa, 6};

    if (!pci_device_init(&t->pci, &info, err)) {
        return false;
    }
    mem_region_init_io(&t->mmio, "mmio", &reg_ops, t, 0x1800); /* becomes 8 KiB */
    mem_region_init_io(&t->io, "io", &reg_ops, t, 0x20);
    mem_region_init_io(&t->big, "big", &reg_ops, t, 1 << 20);
    pci_add_bar(&t->pci, 0, 0, &t->mmio);
    pci_add_bar(&t->pci, 1, PCI_BAR_IO, &t->io);
    pci_add_bar(&t->pci, 2, PCI_BAR_MEM64 | PCI_BAR_PREFETCH, &t->big);
    g_assert_true(pci_add_rom(&t->pci, rom, sizeof(rom), err));
    g_assert_true(pci_add_msi(&t->pci, 4));
    return true;
}

static void test_unrealize(Device *dev)
{
    TestDev *t = (TestDev *)dev;
    pci_device_fini(&t->pci);
    mem_region_destroy(&t->mmio);
    mem_region_destroy(&t->io);
    mem_region_destroy(&t->big);
}

static void test_reset(Device *dev)
{
    pci_device_reset(&((TestDev *)dev)->pci);
}

static const StateField test_fields[] = {PCI_STATE(TestDev, pci), STATE_END_FIELD};
static const StateTable test_state = {.name = "test", .version = 1, .fields = test_fields};
static const Property test_props[] = {PCI_PROPERTIES(TestDev), {NULL}};

static const DeviceType test_type = {
    .name = "test-pci",
    .bus = "PCI",
    .size = sizeof(TestDev),
    .props = test_props,
    .realize = test_realize,
    .unrealize = test_unrealize,
    .reset = test_reset,
    .state = &test_state,
};

static TestDev *add(Fixture *f, const char *addr)
{
    GError *err = NULL;
    TestDev *t = (TestDev *)device_new(&test_type, f->m);
    if (addr) {
        g_assert_true(device_set(&t->pci.dev, "addr", addr, &err));
    }
    device_realize(&t->pci.dev, &f->bus->bus, &err);
    g_assert_no_error(err);
    return t;
}

static void test_header(void)
{
    Fixture *f = fixture_new(4 << 20);
    TestDev *t = add(f, "3");

    g_assert_cmphex(cfg_read(f, 0x18, 0, 4), ==, 0x56781234);
    g_assert_cmphex(cfg_read(f, 0x18, 8, 4), ==, 0x02000109);
    g_assert_cmphex(cfg_read(f, 0x18, 0x2c, 4), ==, 0x11001af4);
    g_assert_cmphex(cfg_read(f, 0x18, 0x3d, 1), ==, 1);
    /* Ids and class are read only; interrupt line is storage. */
    cfg_write(f, 0x18, 0, 0xffffffff, 4);
    cfg_write(f, 0x18, 0x3c, 0xffff, 2);
    g_assert_cmphex(cfg_read(f, 0x18, 0, 4), ==, 0x56781234);
    g_assert_cmphex(cfg_read(f, 0x18, 0x3c, 2), ==, 0x01ff);
    /* Reserved command bits stay 0. */
    cfg_write(f, 0x18, 4, 0xffff, 2);
    g_assert_cmphex(cfg_read(f, 0x18, 4, 2), ==, 0x0547);
    /* Status error bits: writing 1 clears. */
    t->pci.config[7] = 0xf9;
    cfg_write(f, 0x18, 6, 0x8000, 2);
    g_assert_cmphex(cfg_read(f, 0x18, 7, 1), ==, 0x79);
    /* A function that is not there, and another bus. */
    g_assert_cmphex(cfg_read(f, 0x20, 0, 4), ==, 0xffffffff);
    outl(f, 0xcf8, 0x80011800);
    g_assert_cmphex(inl(f, 0xcfc), ==, 0xffffffff);
    fixture_free(f);
}

static void test_bar_sizing(void)
{
    Fixture *f = fixture_new(4 << 20);
    TestDev *t = add(f, "3");

    cfg_write(f, 0x18, 0x10, 0xffffffff, 4);
    g_assert_cmphex(cfg_read(f, 0x18, 0x10, 4), ==, 0xffffe000);
    cfg_write(f, 0x18, 0x14, 0xffffffff, 4);
    g_assert_cmphex(cfg_read(f, 0x18, 0x14, 4), ==, 0xffffffe1);
    cfg_write(f, 0x18, 0x18, 0xffffffff, 4);
    cfg_write(f, 0x18, 0x1c, 0xffffffff, 4);
    g_assert_cmphex(cfg_read(f, 0x18, 0x18, 4), ==, 0xfff0000c);
    g_assert_cmphex(cfg_read(f, 0x18, 0x1c, 4), ==, 0xffffffff);
    cfg_write(f, 0x18, 0x30, 0xfffffffe, 4);
    g_assert_cmphex(cfg_read(f, 0x18, 0x30, 4), ==, 0xfffff000);
    cfg_write(f, 0x18, 0x20, 0xffffffff, 4);
    g_assert_cmphex(cfg_read(f, 0x18, 0x20, 4), ==, 0);
    /* Sized with decoding on: nothing may appear at the end of the spaces. */
    cfg_write(f, 0x18, 4, 3, 2);
    g_assert_cmphex(pci_bar_addr(&t->pci, 0), ==, UINT64_MAX);
    g_assert_cmphex(pci_bar_addr(&t->pci, 1), ==, UINT64_MAX);
    g_assert_cmphex(pci_bar_addr(&t->pci, 2), ==, UINT64_MAX);
    fixture_free(f);
}

static void test_bar_mapping(void)
{
    Fixture *f = fixture_new(4 << 20);
    TestDev *t = add(f, "3");

    t->reg = 0x100;
    cfg_write(f, 0x18, 0x10, 0xe0000000, 4);
    cfg_write(f, 0x18, 0x14, 0xc000, 4);
    cfg_write(f, 0x18, 0x18, 0x00000000, 4);
    cfg_write(f, 0x18, 0x1c, 0x1, 4); /* 4 GiB */
    g_assert_cmphex(mem_load(f->m->memory, 0xe0000004, 4), ==, 0xffffffff);
    cfg_write(f, 0x18, 4, 2, 2);
    g_assert_cmphex(mem_load(f->m->memory, 0xe0000004, 4), ==, 0x104);
    g_assert_cmphex(mem_load(f->m->memory, 0x100000008ull, 4), ==, 0x108);
    g_assert_cmphex(inl(f, 0xc004), ==, 0xffffffff);
    cfg_write(f, 0x18, 4, 3, 2);
    g_assert_cmphex(inl(f, 0xc004), ==, 0x104);
    /* Moves when rewritten. */
    cfg_write(f, 0x18, 0x10, 0xd0000000, 4);
    g_assert_cmphex(mem_load(f->m->memory, 0xe0000004, 4), ==, 0xffffffff);
    mem_store(f->m->memory, 0xd0000000, 0x55, 4);
    g_assert_cmphex(t->reg, ==, 0x55);
    /* RAM hides what lies under it. */
    cfg_write(f, 0x18, 0x10, 0x00200000, 4);
    mem_store(f->m->memory, 0x200000, 0x1234, 4);
    g_assert_cmphex(t->reg, ==, 0x55);
    /* The expansion ROM has an enable bit of its own. */
    cfg_write(f, 0x18, 0x30, 0xf0000000, 4);
    g_assert_cmphex(mem_load(f->m->memory, 0xf0000000, 2), ==, 0xffff);
    cfg_write(f, 0x18, 0x30, 0xf0000001, 4);
    g_assert_cmphex(mem_load(f->m->memory, 0xf0000000, 2), ==, 0xaa55);
    /* Reset: all gone. */
    test_type.reset(&t->pci.dev);
    g_assert_cmphex(cfg_read(f, 0x18, 0x10, 4), ==, 0);
    g_assert_cmphex(mem_load(f->m->memory, 0xf0000000, 2), ==, 0xffff);
    fixture_free(f);
}

typedef struct Lines {
    int level[4];
} Lines;

static void set_line(void *opaque, unsigned line, int level)
{
    ((Lines *)opaque)->level[line] = level;
}

static void test_intx(void)
{
    Fixture *f = fixture_new(4 << 20);
    TestDev *a = add(f, "4"), *b = add(f, "8");
    Lines lines = {{0}};

    /* Slots 4 and 8, INTA#: both line 0 of the default swizzle. */
    pci_bus_set_irqs(f->bus, NULL, set_line, &lines);
    pci_set_irq(&a->pci, 1);
    pci_set_irq(&b->pci, 1);
    g_assert_cmpint(lines.level[0], ==, 1);
    g_assert_cmphex(cfg_read(f, 0x20, 6, 2) & 8, ==, 8);
    pci_set_irq(&a->pci, 0);
    g_assert_cmpint(lines.level[0], ==, 1);
    /* Interrupt disable takes it off the line; the status bit stays. */
    cfg_write(f, 0x40, 4, 0x400, 2);
    g_assert_cmpint(lines.level[0], ==, 0);
    g_assert_cmphex(cfg_read(f, 0x40, 6, 2) & 8, ==, 8);
    cfg_write(f, 0x40, 4, 0, 2);
    g_assert_cmpint(lines.level[0], ==, 1);
    device_free(&b->pci.dev);
    g_assert_cmpint(lines.level[0], ==, 0);
    pci_bus_set_irqs(f->bus, NULL, NULL, NULL);
    fixture_free(f);
}

typedef struct Msi {
    uint64_t addr;
    uint32_t data;
    unsigned n;
} Msi;

static void take_msi(void *opaque, uint64_t addr, uint32_t data)
{
    Msi *m = opaque;
    m->addr = addr;
    m->data = data;
    m->n++;
}

static void test_msi(void)
{
    Fixture *f = fixture_new(4 << 20);
    TestDev *t = add(f, "3");
    Msi got = {0};
    unsigned cap = cfg_read(f, 0x18, 0x34, 1);

    pci_bus_set_msi(f->bus, take_msi, &got);
    g_assert_cmphex(cfg_read(f, 0x18, 6, 2) & 0x10, ==, 0x10);
    g_assert_cmphex(cfg_read(f, 0x18, cap, 1), ==, 5);
    g_assert_cmphex(cfg_read(f, 0x18, cap + 2, 2), ==, 0x0084); /* 64 bit, 4 vectors */
    cfg_write(f, 0x18, cap + 4, 0xfee01003, 4);
    g_assert_cmphex(cfg_read(f, 0x18, cap + 4, 4), ==, 0xfee01000);
    cfg_write(f, 0x18, cap + 12, 0x4041, 2);
    pci_msi_notify(&t->pci, 0);
    g_assert_cmpuint(got.n, ==, 0);
    cfg_write(f, 0x18, cap + 2, 0x0011, 2); /* enabled, 2 granted */
    pci_msi_notify(&t->pci, 3);
    g_assert_cmpuint(got.n, ==, 0); /* not a bus master */
    cfg_write(f, 0x18, 4, 4, 2);
    pci_msi_notify(&t->pci, 3);
    g_assert_cmpuint(got.n, ==, 1);
    g_assert_cmphex(got.addr, ==, 0xfee01000);
    g_assert_cmphex(got.data, ==, 0x4041);
    pci_msi_notify(&t->pci, 0);
    g_assert_cmphex(got.data, ==, 0x4040);
    /* More granted than offered: cut. */
    cfg_write(f, 0x18, cap + 2, 0x0071, 2);
    pci_msi_notify(&t->pci, 7);
    g_assert_cmphex(got.data, ==, 0x4043);
    fixture_free(f);
}

static void test_dma(void)
{
    Fixture *f = fixture_new(4 << 20);
    TestDev *t = add(f, "3");
    uint32_t v = 0x12345678;

    mem_store(f->m->memory, 0x1000, 0xcafe, 4);
    g_assert_false(pci_dma_read(&t->pci, 0x1000, &v, 4));
    g_assert_cmphex(v, ==, 0xffffffff);
    cfg_write(f, 0x18, 4, 4, 2);
    g_assert_true(pci_dma_read(&t->pci, 0x1000, &v, 4));
    g_assert_cmphex(v, ==, 0xcafe);
    v = 0xbeef;
    g_assert_true(pci_dma_write(&t->pci, 0x1000, &v, 4));
    g_assert_cmphex(mem_load(f->m->memory, 0x1000, 4), ==, 0xbeef);
    g_assert_false(pci_dma_write(&t->pci, 0xf0000000, &v, 4));
    fixture_free(f);
}

static void test_slots(void)
{
    Fixture *f = fixture_new(4 << 20);
    GError *err = NULL;
    TestDev *a = add(f, NULL), *t;

    g_assert_cmpint(a->pci.devfn, ==, 8); /* the first behind the bridge */
    t = (TestDev *)device_new(&test_type, f->m);
    g_assert_true(device_set(&t->pci.dev, "addr", "1", &err));
    g_assert_false(device_realize(&t->pci.dev, &f->bus->bus, &err));
    g_assert_nonnull(strstr(err->message, "taken by test-pci"));
    g_clear_error(&err);
    g_assert_true(device_set(&t->pci.dev, "addr", "1.1", &err));
    g_assert_false(device_realize(&t->pci.dev, &f->bus->bus, &err));
    g_assert_nonnull(strstr(err->message, "multifunction"));
    g_clear_error(&err);
    device_free(&t->pci.dev);
    for (unsigned i = 2; i < 32; i++) {
        add(f, NULL);
    }
    t = (TestDev *)device_new(&test_type, f->m);
    g_assert_false(device_realize(&t->pci.dev, &f->bus->bus, &err));
    g_assert_nonnull(strstr(err->message, "no free slot"));
    g_clear_error(&err);
    device_free(&t->pci.dev);
    fixture_free(f);
}

static void test_state_roundtrip(void)
{
    Fixture *f = fixture_new(4 << 20);
    TestDev *t = add(f, "3");
    GByteArray *out = g_byte_array_new();
    GError *err = NULL;
    size_t pos = 0;

    cfg_write(f, 0x18, 0x10, 0xe0000000, 4);
    cfg_write(f, 0x18, 4, 2, 2);
    state_save(&test_state, t, out);
    test_type.reset(&t->pci.dev);
    t->reg = 0x700;
    g_assert_true(state_load(&test_state, t, out->data, out->len, &pos, &err));
    g_assert_cmphex(mem_load(f->m->memory, 0xe0000004, 4), ==, 0x704);
    g_byte_array_unref(out);
    fixture_free(f);
}

static void test_capability_chain(void)
{
    Fixture *f = fixture_new(4 << 20);
    TestDev *t = add(f, "3");
    unsigned msi = pci_find_capability(&t->pci, 5);

    g_assert_cmpuint(msi, >=, 0x40);
    unsigned a = pci_add_capability(&t->pci, 9, 0, 10);
    g_assert_cmpuint(a, >=, msi + 14);
    g_assert_cmphex(t->pci.config[0x34], ==, a);
    g_assert_cmphex(t->pci.config[a + 1], ==, msi);
    g_assert_cmpuint(pci_add_capability(&t->pci, 9, 0, 0xc0), ==, 0);
    /* A loop made by hand does not hang the search. */
    t->pci.config[msi + 1] = (uint8_t)a;
    g_assert_cmpuint(pci_find_capability(&t->pci, 0x77), ==, 0);
    t->pci.have_reset = false; /* what was done by hand here belongs into realize */
    test_type.reset(&t->pci.dev);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci/header-fields-and-masks", test_header);
    g_test_add_func("/pci/bar-sizing", test_bar_sizing);
    g_test_add_func("/pci/bar-mapping", test_bar_mapping);
    g_test_add_func("/pci/intx-shared-and-disabled", test_intx);
    g_test_add_func("/pci/msi", test_msi);
    g_test_add_func("/pci/dma-needs-bus-master", test_dma);
    g_test_add_func("/pci/slot-allocation", test_slots);
    g_test_add_func("/pci/state-roundtrip", test_state_roundtrip);
    g_test_add_func("/pci/capability-chain", test_capability_chain);
    return g_test_run();
}
