/*
 * The PCI transport against VIRTIO 1.2, sections 4.1.3 to 4.1.5, and MSI-X against PCI 3.0, section
 * 6.8.2: ids, capabilities, both register sets, the window, vectors, masks. The device is an
 * entropy source; a queue of it is driven by hand.
 */
#include "hw/virtio/virtio_pci.h"
#include "pci-fixture.h"

#define DEVFN PCI_DEVFN(4, 0)
#define IO 0xc000u
#define MSIX 0xe0000000u
#define MODERN 0xe0004000u
#define RING 0x10000u
#define BUF 0x20000u

typedef struct Bench {
    Fixture *f;
    Clock *real;
    VirtioPci *p;
    unsigned messages;
    uint64_t msg_addr;
    uint32_t msg_data;
} Bench;

static void on_msi(void *opaque, uint64_t addr, uint32_t data)
{
    Bench *b = opaque;

    b->messages++;
    b->msg_addr = addr;
    b->msg_data = data;
}

static void on_line(void *opaque, unsigned line, int level)
{
}

static void map_bars(Bench *b)
{
    cfg_write(b->f, DEVFN, 0x10, IO, 4);
    cfg_write(b->f, DEVFN, 0x14, MSIX, 4);
    cfg_write(b->f, DEVFN, 0x20, MODERN, 4);
    cfg_write(b->f, DEVFN, 0x24, 0, 4);
    cfg_write(b->f, DEVFN, 4, 7, 2);
}

static void bench_open(Bench *b, const char *prop, const char *val)
{
    GError *err = NULL;

    memset(b, 0, sizeof(*b));
    b->f = fixture_new(4 << 20);
    b->real = b->f->m->virtual_clock;
    b->f->m->virtual_clock = b->f->clock;
    Device *dev = device_new(device_type_find("virtio-rng-pci"), b->f->m);
    device_set(dev, "addr", "4", NULL);
    if (prop) {
        g_assert_true(device_set(dev, prop, val, NULL));
    }
    device_realize(dev, &b->f->bus->bus, &err);
    g_assert_no_error(err);
    b->p = (VirtioPci *)dev;
    pci_bus_set_msi(b->f->bus, on_msi, b);
    pci_bus_set_irqs(b->f->bus, NULL, on_line, b);
    map_bars(b);
}

static void bench_close(Bench *b)
{
    b->f->m->virtual_clock = b->real;
    fixture_free(b->f);
}

static uint32_t mr(Bench *b, uint64_t addr, unsigned size)
{
    return (uint32_t)mem_load(b->f->m->memory, addr, size);
}

static void mw(Bench *b, uint64_t addr, uint32_t val, unsigned size)
{
    mem_store(b->f->m->memory, addr, val, size);
}

/* One buffer of 64 bytes in slot @i of a ring of 8 whose avail and used rings are given. */
static void add_buffer(Bench *b, uint64_t avail, unsigned i)
{
    mem_store(b->f->m->memory, RING + 16 * (i % 8), BUF, 8);
    mw(b, RING + 16 * (i % 8) + 8, 64, 4);
    mw(b, RING + 16 * (i % 8) + 12, 2, 4);
    mw(b, avail + 4 + 2 * (i % 8), i % 8, 2);
    mw(b, avail + 2, i + 1, 2);
}

static void test_ids(void)
{
    Bench b;

    bench_open(&b, NULL, NULL);
    g_assert_cmphex(cfg_read(b.f, DEVFN, 0, 4), ==, 0x10051af4);
    g_assert_cmphex(cfg_read(b.f, DEVFN, 8, 4), ==, 0x00ff0000);
    g_assert_cmphex(cfg_read(b.f, DEVFN, 0x2c, 4), ==, 0x00041af4);
    bench_close(&b);
    bench_open(&b, "disable-legacy", "on");
    g_assert_cmphex(cfg_read(b.f, DEVFN, 0, 4), ==, 0x10441af4);
    g_assert_cmpuint(cfg_read(b.f, DEVFN, 8, 1), >=, 1);
    g_assert_cmphex(cfg_read(b.f, DEVFN, 0x10, 4), ==, 0);
    g_assert_cmpuint(cfg_read(b.f, DEVFN, 0x2e, 2), >=, 0x40);
    bench_close(&b);
    bench_open(&b, "disable-modern", "on");
    g_assert_cmphex(cfg_read(b.f, DEVFN, 0x20, 4), ==, 0);
    g_assert_cmpuint(pci_find_capability(&b.p->pci, PCI_CAP_ID_VNDR), ==, 0);
    g_assert_cmphex(inl(b.f, IO), ==, 7u << 27);
    bench_close(&b);
    bench_open(&b, "vectors", "0");
    g_assert_cmpuint(pci_find_capability(&b.p->pci, PCI_CAP_ID_MSIX), ==, 0);
    bench_close(&b);
}

/* Each structure once, in BAR 4, and the notification multiplier. */
static void test_capabilities(void)
{
    Bench b;
    unsigned seen = 0, n = 0;

    bench_open(&b, NULL, NULL);
    for (unsigned c = cfg_read(b.f, DEVFN, 0x34, 1); c; c = cfg_read(b.f, DEVFN, c + 1, 1)) {
        g_assert_cmpuint(++n, <, 10);
        g_assert_cmpuint(c & 3, ==, 0);
        if (cfg_read(b.f, DEVFN, c, 1) != 9) {
            continue;
        }
        unsigned type = cfg_read(b.f, DEVFN, c + 3, 1), len = cfg_read(b.f, DEVFN, c + 2, 1);
        g_assert_cmpuint(type, >=, 1);
        g_assert_cmpuint(type, <=, 5);
        g_assert_false(seen & 1u << type);
        seen |= 1u << type;
        g_assert_cmpuint(len, ==, type == 2 || type == 5 ? 20 : 16);
        if (type != 5) {
            g_assert_cmpuint(cfg_read(b.f, DEVFN, c + 4, 1), ==, 4);
            g_assert_cmphex(cfg_read(b.f, DEVFN, c + 8, 4) % 4096, ==, 0);
            g_assert_cmphex(cfg_read(b.f, DEVFN, c + 12, 4), >=, 56);
        }
        if (type == 2) {
            g_assert_cmpuint(cfg_read(b.f, DEVFN, c + 16, 4), ==, 4);
        }
    }
    g_assert_cmphex(seen, ==, 0x3e);
    bench_close(&b);
}

static void start_modern(Bench *b, unsigned queue_vector)
{
    mw(b, MODERN + 20, 0, 1);
    mw(b, MODERN + 20, 3, 1);
    mw(b, MODERN + 8, 1, 4);
    mw(b, MODERN + 12, 1, 4);
    mw(b, MODERN + 20, 11, 1);
    g_assert_cmphex(mr(b, MODERN + 20, 1), ==, 11);
    mw(b, MODERN + 22, 0, 2);
    mw(b, MODERN + 24, 8, 2);
    mw(b, MODERN + 26, queue_vector, 2);
    mw(b, MODERN + 32, RING, 4);
    mw(b, MODERN + 40, RING + 0x100, 4);
    mw(b, MODERN + 48, RING + 0x200, 4);
    mw(b, MODERN + 28, 1, 2);
    mw(b, MODERN + 20, 15, 1);
    mw(b, RING + 0x100, 0, 4);
    mw(b, RING + 0x200, 0, 4);
}

static void test_modern(void)
{
    Bench b;

    bench_open(&b, NULL, NULL);
    g_assert_cmphex(mr(&b, MODERN + 4, 4), ==, 3u << 28); /* not ANY_LAYOUT */
    mw(&b, MODERN, 1, 4);
    g_assert_cmphex(mr(&b, MODERN + 4, 4), ==, 1);
    g_assert_cmpuint(mr(&b, MODERN + 18, 2), ==, 1);
    mw(&b, MODERN + 22, 7, 2);
    g_assert_cmpuint(mr(&b, MODERN + 24, 2), ==, 0); /* no queue 7 */
    mw(&b, MODERN + 22, 0, 2);
    g_assert_cmpuint(mr(&b, MODERN + 24, 2), ==, 8);
    start_modern(&b, 0xffff);
    g_assert_cmphex(mr(&b, MODERN + 26, 2), ==, 0xffff);
    g_assert_cmphex(mr(&b, MODERN + 32, 4), ==, RING);
    g_assert_cmphex(mr(&b, MODERN + 28, 2), ==, 1);
    mw(&b, MODERN + 32, 0x5000, 4); /* not while it is enabled */
    g_assert_cmphex(mr(&b, MODERN + 32, 4), ==, RING);
    mw(&b, MODERN + 28, 0, 2);
    g_assert_cmphex(mr(&b, MODERN + 28, 2), ==, 1);
    add_buffer(&b, RING + 0x100, 0);
    mw(&b, MODERN + 0x3000, 0, 2);
    g_assert_cmpuint(mr(&b, RING + 0x202, 2), ==, 1);
    g_assert_cmpuint(mr(&b, RING + 0x208, 4), ==, 64);
    /* INTx; reading the ISR lowers it. */
    g_assert_true(b.p->pci.intx_driven);
    g_assert_cmphex(mr(&b, MODERN + 0x1000, 1), ==, 1);
    g_assert_false(b.p->pci.intx_driven);
    g_assert_cmphex(mr(&b, MODERN + 0x1000, 1), ==, 0);
    /* Without bus mastering nothing is read or written. */
    cfg_write(b.f, DEVFN, 4, 3, 2);
    add_buffer(&b, RING + 0x100, 1);
    mw(&b, MODERN + 0x3000, 0, 2);
    g_assert_cmpuint(mr(&b, RING + 0x202, 2), ==, 1);
    cfg_write(b.f, DEVFN, 4, 7, 2);
    mw(&b, MODERN + 0x3000, 0, 2);
    g_assert_cmpuint(mr(&b, RING + 0x202, 2), ==, 2);
    mw(&b, MODERN + 0x3004, 0, 2); /* no such queue */
    /* Odd accesses: refused, no harm. */
    mw(&b, MODERN + 20, 0xffff, 2);
    mw(&b, MODERN + 33, 1, 1);
    g_assert_cmphex(mr(&b, MODERN + 20, 1), ==, 15);
    g_assert_cmphex(mr(&b, MODERN + 56, 4), ==, 0);
    bench_close(&b);
}

/* The same registers through configuration space (4.1.4.9). */
static void test_window(void)
{
    Bench b;
    unsigned cap = 0;

    bench_open(&b, NULL, NULL);
    for (unsigned c = cfg_read(b.f, DEVFN, 0x34, 1); c; c = cfg_read(b.f, DEVFN, c + 1, 1)) {
        if (cfg_read(b.f, DEVFN, c, 1) == 9 && cfg_read(b.f, DEVFN, c + 3, 1) == 5) {
            cap = c;
        }
    }
    g_assert_cmpuint(cap, !=, 0);
    cfg_write(b.f, DEVFN, cap + 4, 4, 1);
    cfg_write(b.f, DEVFN, cap + 8, 20, 4);
    cfg_write(b.f, DEVFN, cap + 12, 1, 4);
    cfg_write(b.f, DEVFN, cap + 16, 3, 1);
    g_assert_cmphex(mr(&b, MODERN + 20, 1), ==, 3);
    g_assert_cmphex(cfg_read(b.f, DEVFN, cap + 16, 1), ==, 3);
    cfg_write(b.f, DEVFN, cap + 8, 18, 4);
    cfg_write(b.f, DEVFN, cap + 12, 2, 4);
    g_assert_cmphex(cfg_read(b.f, DEVFN, cap + 16, 2), ==, 1);
    /* Beyond the BAR, odd lengths, another BAR. */
    cfg_write(b.f, DEVFN, cap + 8, 0xfffffffe, 4);
    cfg_read(b.f, DEVFN, cap + 16, 2);
    cfg_write(b.f, DEVFN, cap + 16, 2, 2);
    cfg_write(b.f, DEVFN, cap + 12, 3, 4);
    cfg_write(b.f, DEVFN, cap + 16, 2, 4);
    cfg_write(b.f, DEVFN, cap + 4, 0, 1);
    cfg_write(b.f, DEVFN, cap + 16, 2, 4);
    g_assert_cmphex(mr(&b, MODERN + 20, 1), ==, 3);
    bench_close(&b);
}

static void test_legacy(void)
{
    Bench b;

    bench_open(&b, NULL, NULL);
    g_assert_cmphex(inl(b.f, IO), ==, 7u << 27);
    g_assert_cmpuint(inw(b.f, IO + 12), ==, 8);
    outw(b.f, IO + 14, 1);
    g_assert_cmpuint(inw(b.f, IO + 12), ==, 0);
    outw(b.f, IO + 14, 0);
    outb(b.f, IO + 18, 3);
    outl(b.f, IO + 4, 0);
    outl(b.f, IO + 8, RING >> 12);
    g_assert_cmphex(inl(b.f, IO + 8), ==, RING >> 12);
    cfg_write(b.f, DEVFN, 4, 1, 2); /* a driver that knows nothing of bus mastering */
    outb(b.f, IO + 18, 7);
    g_assert_cmphex(inb(b.f, IO + 18), ==, 7);
    add_buffer(&b, RING + 0x80, 0);
    outw(b.f, IO + 16, 0);
    g_assert_cmpuint(mr(&b, RING + 0x1002, 2), ==, 1);
    g_assert_cmphex(inb(b.f, IO + 19), ==, 1);
    g_assert_cmphex(inb(b.f, IO + 19), ==, 0);
    outb(b.f, IO + 18, 0);
    g_assert_cmphex(inl(b.f, IO + 8), ==, 0);
    outw(b.f, IO + 16, 9);
    bench_close(&b);
}

static void test_msix(void)
{
    Bench b;

    bench_open(&b, NULL, NULL);
    unsigned cap = pci_find_capability(&b.p->pci, PCI_CAP_ID_MSIX);
    g_assert_cmpuint(cap, !=, 0);
    g_assert_cmpuint(cfg_read(b.f, DEVFN, cap + 2, 2), ==, 1); /* two vectors */
    g_assert_cmpuint(cfg_read(b.f, DEVFN, cap + 4, 4) & 7, ==, 1);
    uint32_t pba = cfg_read(b.f, DEVFN, cap + 8, 4);
    g_assert_cmpuint(pba & 7, ==, 1);
    pba &= ~7u;
    g_assert_cmphex(mr(&b, MSIX + 12, 4), ==, 1); /* masked after reset */
    mw(&b, MSIX + 16, 0xfee01003, 4);
    mw(&b, MSIX + 20, 1, 4);
    mw(&b, MSIX + 24, 0x4042, 4);
    g_assert_cmphex(mr(&b, MSIX + 16, 4), ==, 0xfee01000);
    g_assert_cmphex(mr(&b, MSIX + 32, 4), ==, 0);
    cfg_write(b.f, DEVFN, cap + 2, 0x8000, 2);
    start_modern(&b, 1);
    g_assert_cmphex(mr(&b, MODERN + 26, 2), ==, 1);
    mw(&b, MODERN + 26, 2, 2); /* not there */
    g_assert_cmphex(mr(&b, MODERN + 26, 2), ==, 0xffff);
    mw(&b, MODERN + 26, 1, 2);
    /* Masked: pending, and sent when the mask goes. */
    add_buffer(&b, RING + 0x100, 0);
    mw(&b, MODERN + 0x3000, 0, 2);
    g_assert_cmpuint(b.messages, ==, 0);
    g_assert_cmphex(mr(&b, MSIX + pba, 4), ==, 2);
    mw(&b, MSIX + pba, 0, 4); /* read only */
    g_assert_cmphex(mr(&b, MSIX + pba, 4), ==, 2);
    mw(&b, MSIX + 28, 0, 4);
    g_assert_cmpuint(b.messages, ==, 1);
    g_assert_cmphex(b.msg_addr, ==, 0x1fee01000ull);
    g_assert_cmphex(b.msg_data, ==, 0x4042);
    g_assert_cmphex(mr(&b, MSIX + pba, 4), ==, 0);
    g_assert_false(b.p->pci.intx_driven);
    /* The function's mask. */
    cfg_write(b.f, DEVFN, cap + 2, 0xc000, 2);
    add_buffer(&b, RING + 0x100, 1);
    mw(&b, MODERN + 0x3000, 0, 2);
    g_assert_cmpuint(b.messages, ==, 1);
    cfg_write(b.f, DEVFN, cap + 2, 0x8000, 2);
    g_assert_cmpuint(b.messages, ==, 2);
    /* The legacy registers have two more with MSI-X. */
    outw(b.f, IO + 20, 1);
    g_assert_cmphex(inw(b.f, IO + 20), ==, 1);
    outw(b.f, IO + 22, 5);
    g_assert_cmphex(inw(b.f, IO + 22), ==, 0xffff);
    bench_close(&b);
}

static void test_errors(void)
{
    Fixture *f = fixture_new(4 << 20);
    static const char *const bad[][2] = {{"vectors", "129"}, {"disable-modern", "on"}};

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *err = NULL;
        Device *dev = device_new(device_type_find("virtio-rng-pci"), f->m);
        g_assert_true(device_set(dev, bad[i][0], bad[i][1], NULL));
        g_assert_true(device_set(dev, "disable-legacy", "on", NULL));
        g_assert_false(device_realize(dev, &f->bus->bus, &err));
        g_assert_nonnull(err);
        g_error_free(err);
        device_free(dev);
    }
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio_pci/ids", test_ids);
    g_test_add_func("/virtio_pci/capabilities", test_capabilities);
    g_test_add_func("/virtio_pci/modern", test_modern);
    g_test_add_func("/virtio_pci/window", test_window);
    g_test_add_func("/virtio_pci/legacy", test_legacy);
    g_test_add_func("/virtio_pci/msix", test_msix);
    g_test_add_func("/virtio_pci/errors", test_errors);
    return g_test_run();
}
