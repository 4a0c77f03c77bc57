/* Offsets and bits of PCI configuration space, type 0 header (PCI Local Bus Spec 3.0, ch. 6). */
#ifndef RHEA_HW_PCI_REGS_H
#define RHEA_HW_PCI_REGS_H

enum {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION_ID = 0x08,
    PCI_CLASS_PROG = 0x09,
    PCI_CLASS_DEVICE = 0x0a,
    PCI_CACHE_LINE_SIZE = 0x0c,
    PCI_LATENCY_TIMER = 0x0d,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BASE_ADDRESS_0 = 0x10,
    PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
    PCI_SUBSYSTEM_ID = 0x2e,
    PCI_ROM_ADDRESS = 0x30,
    PCI_CAPABILITY_LIST = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
};

enum {
    PCI_COMMAND_IO = 1 << 0,
    PCI_COMMAND_MEMORY = 1 << 1,
    PCI_COMMAND_MASTER = 1 << 2,
    PCI_COMMAND_PARITY = 1 << 6,
    PCI_COMMAND_SERR = 1 << 8,
    PCI_COMMAND_INTX_DISABLE = 1 << 10,

    PCI_STATUS_INTERRUPT = 1 << 3,
    PCI_STATUS_CAP_LIST = 1 << 4,
    PCI_STATUS_FAST_BACK = 1 << 7,
    PCI_STATUS_DEVSEL_MEDIUM = 1 << 9,
    PCI_STATUS_W1C = 0xf900, /* error bits, cleared by writing ones */

    PCI_ROM_ENABLE = 1,
    PCI_HEADER_MULTIFUNCTION = 0x80,
};

enum {
    PCI_CAP_ID_PM = 0x01,
    PCI_CAP_ID_MSI = 0x05,
    PCI_CAP_ID_VNDR = 0x09,
    PCI_CAP_ID_MSIX = 0x11
};

/* MSI capability with a 64-bit address. */
enum {
    PCI_MSI_CONTROL = 2,
    PCI_MSI_ADDR_LO = 4,
    PCI_MSI_ADDR_HI = 8,
    PCI_MSI_DATA = 12,
    PCI_MSI_SIZE = 14,
    PCI_MSI_ENABLE = 1,
    PCI_MSI_64BIT = 0x80,
};

#endif
