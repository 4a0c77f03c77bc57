/*
 * Cirrus Logic CL-GD5446, a PCI graphics adapter with 2 or 4 MiB.
 * Cirrus Logic, CL-GD5446 Technical Reference Manual (1996), chapter "PCI configuration registers".
 *
 * BAR 0: 32 MiB. From 0 on the video memory, at 4 and 8 MiB the same with the bytes of words and
 * doublewords swapped, from 16 MiB on data for the BitBLT engine. BAR 1: the VGA ports from 0
 * on, the BitBLT registers at 100h.
 */
#include "hw/display/cirrus.h"
#include "core/log.h"
#include "core/machine.h"
#include "hw/display/cirrus_int.h"
#include "hw/firmware/rom.h"

#define SWAP16_OFF 0x400000
#define SWAP32_OFF 0x800000
#define MMIO_LOW 0x18000 /* in the window: B8000 */

/* ---- regions ---- */

static uint64_t io_read(void *opaque, uint64_t off, unsigned size)
{
    return cirrus_port_read(opaque, VGA_IO_BASE + off);
}

static void io_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    cirrus_port_write(opaque, VGA_IO_BASE + off, val);
}

static uint64_t mmio_read(void *opaque, uint64_t off, unsigned size)
{
    if (off < 0x20) {
        return cirrus_port_read(opaque, 0x3c0 + off);
    }
    if (off >= CIRRUS_MMIO_BLT && off < CIRRUS_MMIO_BLT + 0x100) {
        return cirrus_mmio_read(opaque, off - CIRRUS_MMIO_BLT);
    }
    return 0xff;
}

static void mmio_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    if (off < 0x20) {
        cirrus_port_write(opaque, 0x3c0 + off, val);
    } else if (off >= CIRRUS_MMIO_BLT && off < CIRRUS_MMIO_BLT + 0x100) {
        cirrus_mmio_write(opaque, off - CIRRUS_MMIO_BLT, val);
    }
}

static uint64_t blt_regs_read(void *opaque, uint64_t off, unsigned size)
{
    return cirrus_mmio_read(opaque, off);
}

static void blt_regs_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    cirrus_mmio_write(opaque, off, val);
}

static const MemOps io_ops = {.read = io_read, .write = io_write, .impl_max = 1};
static const MemOps mmio_ops = {.read = mmio_read, .write = mmio_write, .impl_max = 1};
static const MemOps blt_regs_ops = {.read = blt_regs_read, .write = blt_regs_write, .impl_max = 1};

static void init_regions(Cirrus *s)
{
    mem_region_destroy(&s->vga.io); /* ours instead of the VGA part's */
    mem_region_init_io(&s->vga.io, "cirrus-ports", &io_ops, s, VGA_IO_SIZE);
    mem_region_init_container(&s->lfb, "cirrus-lfb", CIRRUS_LFB_SIZE);
    mem_region_init_io(&s->lfb_io, "cirrus-lfb-io", &cirrus_lfb_ops, s, s->vram.size);
    mem_region_init_io(&s->swap16, "cirrus-swap16", &cirrus_swap16_ops, s, s->vram.size);
    mem_region_init_io(&s->swap32, "cirrus-swap32", &cirrus_swap32_ops, s, s->vram.size);
    mem_region_init_io(&s->blt_io, "cirrus-blt-data", &cirrus_blt_ops, s,
                       CIRRUS_LFB_SIZE - CIRRUS_BLT_APERTURE);
    mem_region_init_io(&s->mmio, "cirrus-mmio", &mmio_ops, s, CIRRUS_MMIO_SIZE);
    mem_region_init_io(&s->mmio_low, "cirrus-mmio-low", &blt_regs_ops, s, 256);
    mem_region_init_io(&s->mmio_lfb, "cirrus-mmio-lfb", &blt_regs_ops, s, 256);
    s->lfb_io.enabled = s->mmio_low.enabled = s->mmio_lfb.enabled = false;
    mem_region_add(&s->lfb, &s->vram, 0, 0);
    mem_region_add(&s->lfb, &s->lfb_io, 0, 1);
    mem_region_add(&s->lfb, &s->mmio_lfb, s->vram.size - 256, 2);
    mem_region_add(&s->lfb, &s->swap16, SWAP16_OFF, 0);
    mem_region_add(&s->lfb, &s->swap32, SWAP32_OFF, 0);
    mem_region_add(&s->lfb, &s->blt_io, CIRRUS_BLT_APERTURE, 0);
    mem_region_add(&s->vga.window, &s->mmio_low, MMIO_LOW, 2);
}

static void destroy_regions(Cirrus *s)
{
    mem_region_destroy(&s->mmio_low);
    mem_region_destroy(&s->mmio_lfb);
    mem_region_destroy(&s->mmio);
    mem_region_destroy(&s->blt_io);
    mem_region_destroy(&s->swap32);
    mem_region_destroy(&s->swap16);
    mem_region_destroy(&s->lfb_io);
    mem_region_destroy(&s->lfb);
    mem_region_destroy(&s->vram);
}

/* ---- life ---- */

static const PciInfo cirrus_info = {
    .vendor_id = 0x1013,
    .device_id = 0x00b8,
    .revision = 0,
    .class_code = 0x030000,
};
static const ConsoleOps console_ops = {.update = cirrus_draw};

static bool cirrus_realize(Device *dev, GError **err)
{
    Cirrus *s = (Cirrus *)dev;
    PciBus *bus = (PciBus *)dev->bus;

    if (s->vgamem_mb != 2 && s->vgamem_mb != 4) {
        return fail(err, "cirrus-vga: vgamem_mb=%u: the CL-GD5446 has 2 or 4", s->vgamem_mb);
    }
    if (!pci_device_init(&s->pci, &cirrus_info, err)) {
        return false;
    }
    if (!mem_region_init_ram(&s->vram, "vga.vram", (uint64_t)s->vgamem_mb << 20, err)) {
        goto no_vram;
    }
    if (!vga_init(&s->vga, dev->machine, "cirrus", dev->machine->virtual_clock, &s->vram,
                  &console_ops, s, err)) {
        goto no_vga;
    }
    s->vga.ext_read = cirrus_window_read;
    s->vga.ext_write = cirrus_window_write;
    s->vga.ext_opaque = s;
    init_regions(s);
    pci_add_bar(&s->pci, 0, PCI_BAR_PREFETCH, &s->lfb);
    pci_add_bar(&s->pci, 1, 0, &s->mmio);
    mem_region_add(bus->io, &s->vga.io, VGA_IO_BASE, 0);
    mem_region_add(bus->mem, &s->vga.window, 0xa0000, 1);
    if (firmware_add_option_rom(&s->pci, "vgabios-cirrus.bin", err)) {
        return true;
    }
    vga_fini(&s->vga);
    pci_device_fini(&s->pci);
    destroy_regions(s);
    return false;
no_vga:
    mem_region_destroy(&s->vram);
no_vram:
    pci_device_fini(&s->pci);
    return false;
}

static void cirrus_unrealize(Device *dev)
{
    Cirrus *s = (Cirrus *)dev;

    vga_fini(&s->vga);
    pci_device_fini(&s->pci);
    destroy_regions(s);
}

static void cirrus_reset(Device *dev)
{
    Cirrus *s = (Cirrus *)dev;

    pci_device_reset(&s->pci);
    cirrus_regs_reset(s);
}

/* ---- saved state ---- */

static bool cirrus_post_load(void *obj, GError **err)
{
    Cirrus *s = obj;

    if (s->hidden_count > 4 || s->cursor_x_low > 7 || s->cursor_y_low > 7) {
        return fail(err, "cirrus: impossible state");
    }
    if (!cirrus_blt_check(&s->blt, err)) {
        return false;
    }
    cirrus_update(s);
    return true;
}

static const StateField cirrus_fields[] = {
    PCI_STATE(Cirrus, pci),
    STATE_STRUCT_ARRAY(Cirrus, vga, Vga, &vga_state),
    STATE_U8_ARRAY(Cirrus, sr),
    STATE_U8_ARRAY(Cirrus, gr),
    STATE_U8_ARRAY(Cirrus, cr),
    STATE_U8(Cirrus, hidden_dac),
    STATE_U8(Cirrus, hidden_count),
    STATE_U8_ARRAY(Cirrus, ext_dac),
    STATE_U8(Cirrus, cursor_x_low),
    STATE_U8(Cirrus, cursor_y_low),
    STATE_U8_ARRAY(Cirrus, latch),
    STATE_STRUCT_ARRAY(Cirrus, blt, CirrusBlt, &cirrus_blt_state),
    STATE_END_FIELD,
};
static const StateTable cirrus_state = {
    .name = "cirrus-vga", .version = 1, .fields = cirrus_fields, .post_load = cirrus_post_load};

static const Property cirrus_props[] = {
    PCI_PROPERTIES(Cirrus),
    {"vgamem_mb", PROP_U32, offsetof(Cirrus, vgamem_mb), "4", "video memory in MiB: 2 or 4"},
    {NULL},
};

const DeviceType cirrus_vga_type = {
    .name = "cirrus-vga",
    .desc = "Cirrus Logic CL-GD5446 graphics adapter",
    .bus = "PCI",
    .size = sizeof(Cirrus),
    .user_creatable = true,
    .props = cirrus_props,
    .realize = cirrus_realize,
    .unrealize = cirrus_unrealize,
    .reset = cirrus_reset,
    .state = &cirrus_state,
};

Device *cirrus_new(PciBus *bus, int devfn, GError **err)
{
    Device *dev = device_new(&cirrus_vga_type, bus->bus.owner ? bus->bus.owner->machine : NULL);

    ((Cirrus *)dev)->pci.devfn = devfn;
    if (!device_realize(dev, &bus->bus, err)) {
        device_free(dev);
        return NULL;
    }
    return dev;
}
