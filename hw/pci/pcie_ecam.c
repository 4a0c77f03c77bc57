/*
 * Generic ECAM host: PCI Express Base Specification 4.0, 7.2.2 (ECAM); Open Firmware's PCI bus
 * binding, 2.1; Linux Documentation/devicetree/bindings/pci/host-generic-pci.yaml.
 */
#include "hw/pci/pcie_ecam.h"
#include "core/log.h"
#include <string.h>

#define PCI_SPACE (1ull << 52)

struct PcieEcam {
    Device dev;
    PcieEcamConfig cfg;
    PciBus bus;
    PciDevice *root;
    MemRegion ecam, pci_mem, pci_io, io_window, mem32, mem64;
};

/* ---- configuration space ---- */

static PciDevice *function_at(PcieEcam *s, uint64_t off)
{
    return pci_bus_find(&s->bus, off >> 20 & 0xff, off >> 12 & 0xff);
}

static uint64_t ecam_read(void *opaque, uint64_t off, unsigned size)
{
    PciDevice *d = function_at(opaque, off);
    uint32_t ones = size == 4 ? UINT32_MAX : (1u << size * 8) - 1;

    /* Functions here are conventional PCI: nothing beyond the first 256 bytes. */
    if (!d || (off & 0xfff) >= PCI_CONFIG_SIZE) {
        return ones;
    }
    return pci_config_load(d, off & 0xff, size) & ones;
}

static void ecam_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    PciDevice *d = function_at(opaque, off);

    if (d && (off & 0xfff) < PCI_CONFIG_SIZE) {
        pci_config_store(d, off & 0xff, (uint32_t)val, size);
    }
}

static const MemOps ecam_ops = {.read = ecam_read, .write = ecam_write, .impl_max = 4};

/* ---- the host bridge function ---- */

static const PciInfo root_info = {
    .vendor_id = 0x1b36,
    .device_id = 0x0008,
    .class_code = 0x060000,
    .not_pluggable = true,
};

static bool root_realize(Device *dev, GError **err)
{
    return pci_device_init((PciDevice *)dev, &root_info, err);
}

static void root_unrealize(Device *dev)
{
    pci_device_fini((PciDevice *)dev);
}

static void root_reset(Device *dev)
{
    pci_device_reset((PciDevice *)dev);
}

typedef struct PcieEcamRoot {
    PciDevice pci;
} PcieEcamRoot;

static const Property root_props[] = {PCI_PROPERTIES(PcieEcamRoot), {NULL}};
static const StateField root_fields[] = {PCI_STATE(PcieEcamRoot, pci), STATE_END_FIELD};
static const StateTable root_state = {.name = "gpex-root", .version = 1, .fields = root_fields};

const DeviceType pcie_ecam_root_type = {
    .name = "gpex-root",
    .desc = "host bridge of the generic PCI host",
    .bus = "PCI",
    .size = sizeof(PcieEcamRoot),
    .props = root_props,
    .realize = root_realize,
    .unrealize = root_unrealize,
    .reset = root_reset,
    .state = &root_state,
};

/* ---- host ---- */

static void set_irq(void *opaque, unsigned line, int level)
{
    PcieEcam *s = opaque;

    irq_set(&s->cfg.irq[line & 3], level);
}

static unsigned map_irq(void *opaque, unsigned devfn, unsigned pin)
{
    return (PCI_SLOT(devfn) + pin) & 3;
}

static void window(PcieEcam *s, MemRegion *w, const char *name, uint64_t base, uint64_t size)
{
    if (size) {
        mem_region_init_alias(w, name, &s->pci_mem, base, size);
    }
}

static void ecam_unrealize(Device *dev)
{
    PcieEcam *s = (PcieEcam *)dev;

    pci_bus_fini(&s->bus);
    mem_region_destroy(&s->ecam);
    if (s->cfg.mem32_size) {
        mem_region_destroy(&s->mem32);
    }
    if (s->cfg.mem64_size) {
        mem_region_destroy(&s->mem64);
    }
    mem_region_destroy(&s->io_window);
    mem_region_destroy(&s->pci_io);
    mem_region_destroy(&s->pci_mem);
}

static bool ecam_realize(Device *dev, GError **err)
{
    PcieEcam *s = (PcieEcam *)dev;
    Machine *m = dev->machine;

    if (!s->cfg.ecam_size) {
        return fail(err, "gpex-pcihost: only boards make it");
    }
    mem_region_init_container(&s->pci_mem, "pci-memory", PCI_SPACE);
    mem_region_init_container(&s->pci_io, "pci-io", 0x10000);
    mem_region_init_io(&s->ecam, "pcie-ecam", &ecam_ops, s, s->cfg.ecam_size);
    mem_region_init_alias(&s->io_window, "pcie-io", &s->pci_io, 0, s->cfg.io_size);
    window(s, &s->mem32, "pcie-mem32", s->cfg.mem32, s->cfg.mem32_size);
    window(s, &s->mem64, "pcie-mem64", s->cfg.mem64, s->cfg.mem64_size);
    pci_bus_init(&s->bus, "pcie.0", dev, &s->pci_mem, &s->pci_io, m->memory);
    pci_bus_set_irqs(&s->bus, map_irq, set_irq, s);
    pci_bus_set_msi(&s->bus, s->cfg.msi, s->cfg.msi_opaque);
    s->root = (PciDevice *)device_new(&pcie_ecam_root_type, m);
    s->root->devfn = 0;
    if (!device_realize(&s->root->dev, &s->bus.bus, err)) {
        device_free(&s->root->dev);
        ecam_unrealize(dev);
        return false;
    }
    return true;
}

static void ecam_reset(Device *dev)
{
}

const DeviceType pcie_ecam_type = {
    .name = "gpex-pcihost",
    .desc = "generic PCI host with memory-mapped configuration",
    .size = sizeof(PcieEcam),
    .realize = ecam_realize,
    .unrealize = ecam_unrealize,
    .reset = ecam_reset,
};

PcieEcam *pcie_ecam_new(Machine *m, MemRegion *parent, const PcieEcamConfig *cfg, GError **err)
{
    PcieEcam *s = (PcieEcam *)device_new(&pcie_ecam_type, m);

    s->cfg = *cfg;
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    mem_region_add(parent, &s->ecam, cfg->ecam, 0);
    mem_region_add(parent, &s->io_window, cfg->io, 0);
    if (cfg->mem32_size) {
        mem_region_add(parent, &s->mem32, cfg->mem32, 0);
    }
    if (cfg->mem64_size) {
        mem_region_add(parent, &s->mem64, cfg->mem64, 0);
    }
    return s;
}

PciBus *pcie_ecam_bus(PcieEcam *s)
{
    return &s->bus;
}

/* ---- device tree ---- */

enum { SPACE_IO = 0x01000000, SPACE_MEM32 = 0x02000000, SPACE_MEM64 = 0x03000000 };

static void put_range(GArray *cells, uint32_t space, uint64_t pci, uint64_t cpu, uint64_t size)
{
    const uint32_t c[] = {
        space,         (uint32_t)(pci >> 32),  (uint32_t)pci, (uint32_t)(cpu >> 32),
        (uint32_t)cpu, (uint32_t)(size >> 32), (uint32_t)size};

    if (size) {
        g_array_append_vals(cells, c, G_N_ELEMENTS(c));
    }
}

void pcie_ecam_fdt(PcieEcam *s, Fdt *f, const char *parent_path, uint32_t intc,
                   const uint32_t *spec, unsigned n_spec, unsigned vary, unsigned intc_addr_cells)
{
    const PcieEcamConfig *c = &s->cfg;
    g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, 4), map = g_array_new(FALSE, FALSE, 4);

    put_range(ranges, SPACE_IO, 0, c->io, c->io_size);
    put_range(ranges, SPACE_MEM32, c->mem32, c->mem32, c->mem32_size);
    put_range(ranges, SPACE_MEM64, c->mem64, c->mem64, c->mem64_size);
    for (unsigned slot = 0; slot < 4; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            const uint32_t zero = 0, head[] = {slot << 11, 0, 0, pin + 1, intc};

            g_array_append_vals(map, head, G_N_ELEMENTS(head));
            for (unsigned i = 0; i < intc_addr_cells; i++) {
                g_array_append_val(map, zero);
            }
            for (unsigned i = 0; i < n_spec; i++) {
                uint32_t v = spec[i] + (i == vary ? (slot + pin) & 3 : 0);

                g_array_append_val(map, v);
            }
        }
    }
    dt_node(f, "%s/pci@%llx", parent_path, (unsigned long long)c->ecam);
    dt_text(f, "compatible", "pci-host-ecam-generic");
    dt_text(f, "device_type", "pci");
    dt_u32s(f, "#address-cells", 3);
    dt_u32s(f, "#size-cells", 2);
    dt_u32s(f, "#interrupt-cells", 1);
    dt_u32s(f, "linux,pci-domain", 0);
    dt_u32s(f, "bus-range", 0, (uint32_t)(c->ecam_size >> 20) - 1);
    dt_flag(f, "dma-coherent");
    dt_reg(f, c->ecam, c->ecam_size);
    dt_cells(f, "ranges", (const uint32_t *)(void *)ranges->data, ranges->len);
    dt_u32s(f, "interrupt-map-mask", 0x1800, 0, 0, 7);
    dt_cells(f, "interrupt-map", (const uint32_t *)(void *)map->data, map->len);
}
