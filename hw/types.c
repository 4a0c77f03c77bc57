/* All device types that are linked in. A new device gets one line in each list. */
#include "core/device.h"

/* clang-format off */
extern const DeviceType aclint_type;
extern const DeviceType cirrus_vga_type;
extern const DeviceType e1000_type;
extern const DeviceType fw_cfg_type;
extern const DeviceType gicv2_type;
extern const DeviceType goldfish_rtc_type;
extern const DeviceType hpet_type;
extern const DeviceType i440fx_type;
extern const DeviceType i8042_type;
extern const DeviceType i8237_type;
extern const DeviceType i8254_type;
extern const DeviceType i8259_type;
extern const DeviceType ide_cd_type;
extern const DeviceType ide_hd_type;
extern const DeviceType ioapic_type;
extern const DeviceType isa_debug_exit_type;
extern const DeviceType isa_debugcon_type;
extern const DeviceType isa_fdc_type;
extern const DeviceType isa_parallel_type;
extern const DeviceType isa_serial_type;
extern const DeviceType isa_vga_type;
extern const DeviceType lapic_type;
extern const DeviceType mc146818_type;
extern const DeviceType pcie_ecam_type;
extern const DeviceType pcie_ecam_root_type;
extern const DeviceType pcspk_type;
extern const DeviceType pflash_type;
extern const DeviceType piix3_type;
extern const DeviceType piix3_ide_type;
extern const DeviceType piix3_uhci_type;
extern const DeviceType piix4_pm_type;
extern const DeviceType piix4_uhci_type;
extern const DeviceType pl011_type;
extern const DeviceType pl031_type;
extern const DeviceType pl061_type;
extern const DeviceType plic_type;
extern const DeviceType port92_type;
extern const DeviceType rtl8139_type;
extern const DeviceType serial_mmio_type;
extern const DeviceType sifive_test_type;
extern const DeviceType usb_hub_type;
extern const DeviceType usb_kbd_type;
extern const DeviceType usb_mouse_type;
extern const DeviceType usb_serial_type;
extern const DeviceType usb_storage_type;
extern const DeviceType usb_tablet_type;
extern const DeviceType vga_pci_type;
extern const DeviceType virtconsole_type;
extern const DeviceType virtio_balloon_device_type;
extern const DeviceType virtio_balloon_pci_type;
extern const DeviceType virtio_blk_device_type;
extern const DeviceType virtio_blk_pci_type;
extern const DeviceType virtio_mmio_type;
extern const DeviceType virtio_net_device_type;
extern const DeviceType virtio_net_pci_type;
extern const DeviceType virtio_rng_device_type;
extern const DeviceType virtio_rng_pci_type;
extern const DeviceType virtio_serial_device_type;
extern const DeviceType virtio_serial_pci_type;
extern const DeviceType virtserialport_type;

const DeviceType *const device_types[] = {
    &aclint_type,
    &cirrus_vga_type,
    &e1000_type,
    &fw_cfg_type,
    &gicv2_type,
    &goldfish_rtc_type,
    &hpet_type,
    &i440fx_type,
    &i8042_type,
    &i8237_type,
    &i8254_type,
    &i8259_type,
    &ide_cd_type,
    &ide_hd_type,
    &ioapic_type,
    &isa_debug_exit_type,
    &isa_debugcon_type,
    &isa_fdc_type,
    &isa_parallel_type,
    &isa_serial_type,
    &isa_vga_type,
    &lapic_type,
    &mc146818_type,
    &pcie_ecam_type,
    &pcie_ecam_root_type,
    &pcspk_type,
    &pflash_type,
    &piix3_type,
    &piix3_ide_type,
    &piix3_uhci_type,
    &piix4_pm_type,
    &piix4_uhci_type,
    &pl011_type,
    &pl031_type,
    &pl061_type,
    &plic_type,
    &port92_type,
    &rtl8139_type,
    &serial_mmio_type,
    &sifive_test_type,
    &usb_hub_type,
    &usb_kbd_type,
    &usb_mouse_type,
    &usb_serial_type,
    &usb_storage_type,
    &usb_tablet_type,
    &vga_pci_type,
    &virtconsole_type,
    &virtio_balloon_device_type,
    &virtio_balloon_pci_type,
    &virtio_blk_device_type,
    &virtio_blk_pci_type,
    &virtio_mmio_type,
    &virtio_net_device_type,
    &virtio_net_pci_type,
    &virtio_rng_device_type,
    &virtio_rng_pci_type,
    &virtio_serial_device_type,
    &virtio_serial_pci_type,
    &virtserialport_type,
    NULL,
};
/* clang-format on */
