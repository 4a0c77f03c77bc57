/* Configuration space, PAM, BARs and interrupt routing of the host bridge and the ISA bridge. */
#include "fuzz-pci.h"
#include "hw/isa/piix3.h"

typedef struct BarDev {
    PciDevice pci;
    MemRegion mem, io, big;
} BarDev;

static uint64_t reg_read(void *opaque, uint64_t off, unsigned size)
{
    return off;
}

static void reg_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    pci_set_irq(opaque, val & 1);
    pci_msi_notify(opaque, (unsigned)val >> 1);
}

static const MemOps reg_ops = {.read = reg_read, .write = reg_write};
static const PciInfo info = {.vendor_id = 1, .device_id = 2, .int_pin = 2};

static bool bar_realize(Device *dev, GError **err)
{
    BarDev *d = (BarDev *)dev;
    static const uint8_t rom[512] = {0x55, 0xaa, 1};

    d->pci.rombar = 1;
    if (!pci_device_init(&d->pci, &info, err)) {
        return false;
    }
    mem_region_init_io(&d->mem, "m", &reg_ops, d, 0x1000);
    mem_region_init_io(&d->io, "i", &reg_ops, d, 0x40);
    mem_region_init_io(&d->big, "b", &reg_ops, d, 1 << 20);
    pci_add_bar(&d->pci, 0, 0, &d->mem);
    pci_add_bar(&d->pci, 1, PCI_BAR_IO, &d->io);
    pci_add_bar(&d->pci, 2, PCI_BAR_MEM64, &d->big);
    return pci_add_rom(&d->pci, rom, sizeof(rom), err) && pci_add_msi(&d->pci, 8);
}

static void bar_unrealize(Device *dev)
{
    BarDev *d = (BarDev *)dev;
    pci_device_fini(&d->pci);
    mem_region_destroy(&d->mem);
    mem_region_destroy(&d->io);
    mem_region_destroy(&d->big);
}

static void bar_reset(Device *dev)
{
    pci_device_reset(&((BarDev *)dev)->pci);
}

static const StateField bar_fields[] = {PCI_STATE(BarDev, pci), STATE_END_FIELD};
static const StateTable bar_state = {.name = "bar", .version = 1, .fields = bar_fields};
static const DeviceType bar_type = {
    .name = "bar",
    .bus = "PCI",
    .size = sizeof(BarDev),
    .realize = bar_realize,
    .unrealize = bar_unrealize,
    .reset = bar_reset,
    .state = &bar_state,
};

/* Any register of the three functions. */
static void config(void *opaque, uint8_t what, uint32_t arg)
{
    static const uint8_t devfn[] = {0, 8, 24, 25};
    fuzz_pci_config(opaque, devfn[what & 3], what & 0xfc, arg | arg << 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzPci f;
    Irq irq[16];

    fuzz_pci_open(&f);
    for (int i = 0; i < 16; i++) {
        irq[i] = fuzz_pci_line(&f, i);
    }
    piix3_new(f.io.m, f.host, 8, irq, NULL);
    Device *d = device_new(&bar_type, f.io.m);
    ((BarDev *)d)->pci.devfn = 24;
    if (!device_realize(d, &f.bus->bus, NULL)) {
        device_free(d);
    }
    f.io.ports[0] = (FuzzRange){0xcf8, 8};
    f.io.ports[1] = (FuzzRange){0xc000, 0x40};
    f.io.mmio[0] = (FuzzRange){0xa0000, 0x60000};
    f.io.mmio[1] = (FuzzRange){0xfffff000, 0x1000};
    f.io.extra = config;
    f.io.opaque = &f;
    fuzz_run(&f.io, data, size);
    fuzz_pci_close(&f);
    return 0;
}
