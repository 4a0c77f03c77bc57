/* All device types that are linked in. A new device gets one line in each list. */
#include "core/device.h"

extern const DeviceType cirrus_vga_type, e1000_type, rtl8139_type, fw_cfg_type, hpet_type,
    i440fx_type, ide_cd_type, ide_hd_type, i8042_type, i8237_type, i8254_type, i8259_type,
    ioapic_type, isa_debug_exit_type, isa_debugcon_type, isa_fdc_type, isa_parallel_type,
    isa_serial_type, isa_vga_type, lapic_type, mc146818_type, pcspk_type, piix3_ide_type,
    piix3_type, piix4_pm_type, port92_type, vga_pci_type, virtio_blk_device_type,
    virtio_blk_pci_type, virtio_mmio_type, virtio_rng_device_type, virtio_rng_pci_type;

/* clang-format off */
const DeviceType *const device_types[] = {
    &cirrus_vga_type,
    &e1000_type,
    &fw_cfg_type,
    &hpet_type,
    &i440fx_type,
    &ide_cd_type,
    &ide_hd_type,
    &i8042_type,
    &i8237_type,
    &i8254_type,
    &i8259_type,
    &ioapic_type,
    &isa_debug_exit_type,
    &isa_debugcon_type,
    &isa_fdc_type,
    &isa_parallel_type,
    &isa_serial_type,
    &isa_vga_type,
    &lapic_type,
    &mc146818_type,
    &pcspk_type,
    &piix3_ide_type,
    &piix3_type,
    &piix4_pm_type,
    &port92_type,
    &rtl8139_type,
    &vga_pci_type,
    &virtio_blk_device_type,
    &virtio_blk_pci_type,
    &virtio_mmio_type,
    &virtio_rng_device_type,
    &virtio_rng_pci_type,
    NULL,
};
/* clang-format on */
