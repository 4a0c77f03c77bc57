/*
 * The adapters around the VGA part: PCI device "VGA" (1234:1111, frame buffer in BAR 0, registers
 * in BAR 2) and ISA device "isa-vga".
 * Layout of the PCI device: "Standard VGA" of the Bochs/QEMU PCI display specification.
 */
#include "hw/display/vga.h"
#include "core/log.h"
#include "core/machine.h"
#include "hw/display/edid.h"
#include "hw/display/vga_regs.h"
#include "hw/firmware/rom.h"
#include <string.h>

#define MMIO_SIZE 4096 /* from 0 on the monitor's EDID */
#define MMIO_VGA 0x400 /* ports 3C0–3DF */
#define MMIO_VBE 0x500 /* the VBE registers, 16 bits each */
#define MMIO_ENDIAN 0x600
#define LITTLE_ENDIAN_MARK 0x1e1e1e1eu
#define ISA_LFB 0xe0000000u

static bool init_vram(MemRegion *r, uint32_t mb, GError **err)
{
    if (mb < 1 || mb > 256 || (mb & (mb - 1))) {
        return fail(err, "VGA: vgamem_mb=%u must be a power of two from 1 to 256", mb);
    }
    return mem_region_init_ram(r, "vga.vram", (uint64_t)mb << 20, err);
}

/* ---- PCI ---- */

typedef struct VgaPci {
    PciDevice pci;
    uint32_t vgamem_mb, xres, yres;
    bool edid;
    uint8_t edid_data[EDID_SIZE];
    Vga vga;
    MemRegion vram, mmio;
} VgaPci;

static uint64_t mmio_read(void *opaque, uint64_t off, unsigned size)
{
    const VgaPci *d = opaque;
    Vga *s = &((VgaPci *)opaque)->vga;

    if (off < MMIO_VGA) {
        uint64_t v = 0;
        for (unsigned i = 0; i < size; i++) {
            v |= (uint64_t)(off + i < EDID_SIZE ? d->edid_data[off + i] : 0) << i * 8;
        }
        return v;
    }
    if (off >= MMIO_VGA && off < MMIO_VGA + 0x20) {
        uint64_t v = 0;
        for (unsigned i = 0; i < size; i++) {
            v |= (uint64_t)vga_port_read(s, 0x3c0 + off - MMIO_VGA + i) << i * 8;
        }
        return v;
    }
    if (off >= MMIO_VBE && off < MMIO_VBE + VBE_REGS * 2 && size == 2) {
        uint16_t index = s->vbe_index, v;
        s->vbe_index = (off - MMIO_VBE) / 2;
        v = vga_vbe_read(s);
        s->vbe_index = index;
        return v;
    }
    if (off == MMIO_ENDIAN) {
        return LITTLE_ENDIAN_MARK;
    }
    return ~0ull;
}

static void mmio_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Vga *s = &((VgaPci *)opaque)->vga;

    if (off >= MMIO_VGA && off < MMIO_VGA + 0x20) {
        for (unsigned i = 0; i < size; i++) {
            vga_port_write(s, 0x3c0 + off - MMIO_VGA + i, val >> i * 8);
        }
    } else if (off >= MMIO_VBE && off < MMIO_VBE + VBE_REGS * 2 && size == 2) {
        uint16_t index = s->vbe_index;
        s->vbe_index = (off - MMIO_VBE) / 2;
        vga_vbe_write(s, val);
        s->vbe_index = index;
    }
}

static const MemOps mmio_ops = {.read = mmio_read, .write = mmio_write};

static const PciInfo vga_pci_info = {
    .vendor_id = 0x1234,
    .device_id = 0x1111,
    .revision = 2,
    .class_code = 0x030000,
};

static bool vga_pci_realize(Device *dev, GError **err)
{
    VgaPci *v = (VgaPci *)dev;
    PciBus *bus = (PciBus *)dev->bus;

    if (v->edid && !edid_make(v->edid_data, v->xres, v->yres, err)) {
        return false;
    }
    if (!pci_device_init(&v->pci, &vga_pci_info, err)) {
        return false;
    }
    if (!init_vram(&v->vram, v->vgamem_mb, err)) {
        pci_device_fini(&v->pci);
        return false;
    }
    if (!vga_init(&v->vga, dev->machine, "VGA", dev->machine->virtual_clock, &v->vram, NULL, NULL,
                  err)) {
        mem_region_destroy(&v->vram);
        pci_device_fini(&v->pci);
        return false;
    }
    mem_region_init_io(&v->mmio, "vga-mmio", &mmio_ops, v, MMIO_SIZE);
    pci_add_bar(&v->pci, 0, PCI_BAR_PREFETCH, &v->vram);
    pci_add_bar(&v->pci, 2, 0, &v->mmio);
    mem_region_add(bus->io, &v->vga.io, VGA_IO_BASE, 0);
    mem_region_add(bus->io, &v->vga.vbe_io, 0x1ce, 0);
    mem_region_add(bus->mem, &v->vga.window, 0xa0000, 1);
    if (firmware_add_option_rom(&v->pci, "vgabios-stdvga.bin", err)) {
        return true;
    }
    vga_fini(&v->vga);
    pci_device_fini(&v->pci);
    mem_region_destroy(&v->mmio);
    mem_region_destroy(&v->vram);
    return false;
}

static void vga_pci_unrealize(Device *dev)
{
    VgaPci *v = (VgaPci *)dev;

    vga_fini(&v->vga);
    pci_device_fini(&v->pci);
    mem_region_destroy(&v->mmio);
    mem_region_destroy(&v->vram);
}

static void vga_pci_reset(Device *dev)
{
    VgaPci *v = (VgaPci *)dev;

    pci_device_reset(&v->pci);
    vga_reset(&v->vga);
}

#define STATE_VGA(S)                                                                               \
    {                                                                                              \
        .name = "vga", .kind = STATE_STRUCT, .off = offsetof(S, vga), .count = 1,                  \
        .stride = sizeof(Vga), .table = &vga_state                                                 \
    }

static const Property vga_pci_props[] = {
    PCI_PROPERTIES(VgaPci),
    {"vgamem_mb", PROP_U32, offsetof(VgaPci, vgamem_mb), "16", "video memory in MiB"},
    {"edid", PROP_BOOL, offsetof(VgaPci, edid), "on", "a monitor that says what it can do"},
    {"xres", PROP_U32, offsetof(VgaPci, xres), "1280", "its width in pixels"},
    {"yres", PROP_U32, offsetof(VgaPci, yres), "800", "its height in pixels"},
    {NULL},
};

static const StateField vga_pci_fields[] = {PCI_STATE(VgaPci, pci), STATE_VGA(VgaPci),
                                            STATE_END_FIELD};
static const StateTable vga_pci_state = {.name = "VGA", .version = 1, .fields = vga_pci_fields};

const DeviceType vga_pci_type = {
    .name = "VGA",
    .desc = "standard VGA with VBE",
    .bus = "PCI",
    .size = sizeof(VgaPci),
    .user_creatable = true,
    .props = vga_pci_props,
    .realize = vga_pci_realize,
    .unrealize = vga_pci_unrealize,
    .reset = vga_pci_reset,
    .state = &vga_pci_state,
};

Device *vga_new_pci(PciBus *bus, int devfn, GError **err)
{
    Device *dev = device_new(&vga_pci_type, bus->bus.owner ? bus->bus.owner->machine : NULL);

    ((VgaPci *)dev)->pci.devfn = devfn;
    if (!device_realize(dev, &bus->bus, err)) {
        device_free(dev);
        return NULL;
    }
    return dev;
}

/* ---- ISA ---- */

typedef struct VgaIsa {
    Device dev;
    uint32_t vgamem_mb;
    Vga vga;
    MemRegion vram;
} VgaIsa;

static bool vga_isa_realize(Device *dev, GError **err)
{
    VgaIsa *v = (VgaIsa *)dev;
    IsaBus *isa = (IsaBus *)dev->bus;

    if (!init_vram(&v->vram, v->vgamem_mb, err)) {
        return false;
    }
    if (!vga_init(&v->vga, dev->machine, "VGA", isa->clock, &v->vram, NULL, NULL, err)) {
        mem_region_destroy(&v->vram);
        return false;
    }
    mem_region_add(isa->io, &v->vga.io, VGA_IO_BASE, 0);
    mem_region_add(isa->io, &v->vga.vbe_io, 0x1ce, 0);
    mem_region_add(isa->mem, &v->vga.window, 0xa0000, 1);
    mem_region_add(isa->mem, &v->vram, ISA_LFB, 1);
    return true;
}

static void vga_isa_unrealize(Device *dev)
{
    VgaIsa *v = (VgaIsa *)dev;

    vga_fini(&v->vga);
    mem_region_destroy(&v->vram);
}

static void vga_isa_reset(Device *dev)
{
    vga_reset(&((VgaIsa *)dev)->vga);
}

static const Property vga_isa_props[] = {
    {"vgamem_mb", PROP_U32, offsetof(VgaIsa, vgamem_mb), "8", "video memory in MiB"},
    {NULL},
};

static const StateField vga_isa_fields[] = {STATE_VGA(VgaIsa), STATE_END_FIELD};
static const StateTable vga_isa_state = {.name = "isa-vga", .version = 1, .fields = vga_isa_fields};

const DeviceType isa_vga_type = {
    .name = "isa-vga",
    .desc = "standard VGA with VBE on ISA",
    .bus = "ISA",
    .size = sizeof(VgaIsa),
    .user_creatable = true,
    .props = vga_isa_props,
    .realize = vga_isa_realize,
    .unrealize = vga_isa_unrealize,
    .reset = vga_isa_reset,
    .state = &vga_isa_state,
};

Device *vga_new_isa(IsaBus *isa, GError **err)
{
    Device *dev = device_new(&isa_vga_type, isa_machine(isa));

    if (!device_realize(dev, &isa->bus, err)) {
        device_free(dev);
        return NULL;
    }
    return dev;
}
