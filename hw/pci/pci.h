/*
 * PCI bus and function core: configuration space, base address registers, INTx, bus mastering,
 * capabilities, MSI, expansion ROM. PCI Local Bus Specification 2.3/3.0.
 *
 * A function is a struct whose first member is PciDevice. Its DeviceType.realize calls
 * pci_device_init() first, then pci_add_bar() and so on; unrealize calls pci_device_fini(),
 * reset calls pci_device_reset(), and its state table holds PCI_STATE(S, pci).
 * Machine lock throughout.
 */
#ifndef RHEA_HW_PCI_PCI_H
#define RHEA_HW_PCI_PCI_H

#include "core/device.h"
#include "core/irq.h"
#include "core/memory.h"
#include "hw/pci/pci_regs.h"

#define PCI_CONFIG_SIZE 256
#define PCI_NUM_BARS 6
#define PCI_ROM_SLOT 6
#define PCI_MAX_LINES 8 /* interrupt lines of a root bus */
#define PCI_DEVFN(slot, fn) (((slot) << 3) | (fn))
#define PCI_SLOT(devfn) ((devfn) >> 3)
#define PCI_FUNC(devfn) ((devfn)&7)
/* Subsystem ids that tell firmware and drivers "this is a virtual machine's device". */
#define PCI_SUBSYS_VENDOR_VM 0x1af4
#define PCI_SUBSYS_VM 0x1100

typedef struct PciBus PciBus;
typedef struct PciDevice PciDevice;

/* What never changes of a kind of function. */
typedef struct PciInfo {
    uint16_t vendor_id, device_id;
    uint16_t subsys_vendor, subsys_id; /* both 0: the virtual machine's */
    uint8_t revision;
    uint32_t class_code;   /* base class << 16 | sub-class << 8 | programming interface */
    uint8_t int_pin;       /* 0: none, 1…4: INTA#…INTD# */
    bool no_subsys;        /* the chip has no subsystem registers (read 0) */
    bool no_intx_disable;  /* chip older than PCI 2.3: command bit 10 and status bit 3 are 0 */
    bool not_pluggable;    /* part of the board: no hot unplug */
    uint16_t command_mask; /* writable command bits; 0 = all that make sense */
    /* Own read: NULL = the stored bytes. */
    uint32_t (*config_read)(PciDevice *d, unsigned off, unsigned size);
    /* After the core stored a write of @size bytes at @off under the write masks. @old holds the
     * whole space from before. */
    void (*config_written)(PciDevice *d, unsigned off, unsigned size, const uint8_t *old);
} PciInfo;

typedef struct PciBar {
    MemRegion *region; /* NULL: unused */
    uint64_t size;     /* power of two */
    uint8_t flags;     /* PCI_BAR_IO, PCI_BAR_MEM64, PCI_BAR_PREFETCH */
    bool mapped;
    uint64_t addr; /* where, when mapped */
} PciBar;

struct PciDevice {
    Device dev;
    PciBus *bus;
    const PciInfo *info;
    int32_t devfn;      /* property "addr"; -1 = first free slot */
    bool multifunction; /* property: function 0 of several */
    uint32_t rombar;    /* property: 0 = no expansion ROM register */
    char *romfile;      /* property: image for the expansion ROM, "" = none */
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t wmask[PCI_CONFIG_SIZE];   /* bits the guest can write */
    uint8_t w1cmask[PCI_CONFIG_SIZE]; /* bits that writing 1 clears */
    uint8_t reset_config[PCI_CONFIG_SIZE];
    bool used[PCI_CONFIG_SIZE]; /* capability allocator */
    PciBar bars[PCI_NUM_BARS + 1];
    MemRegion rom;
    bool have_rom;
    bool have_reset;  /* reset_config is taken */
    bool intx_level;  /* what the function wants */
    bool intx_driven; /* what it puts on the bus */
    uint8_t msi_cap;  /* offset, 0 = none */
};

struct PciBus {
    Bus bus; /* kind "PCI" */
    uint8_t number;
    PciDevice *functions[256];
    MemRegion *mem, *io; /* the spaces that base addresses are mapped into */
    MemSpace *dma;       /* what masters see */
    /* Line 0…n_lines-1 that @pin (0…3) of @devfn ends at. NULL: (slot + pin) mod 4. */
    unsigned (*map_irq)(void *opaque, unsigned devfn, unsigned pin);
    void (*set_irq)(void *opaque, unsigned line, int level);
    void *irq_opaque;
    int line_count[PCI_MAX_LINES];
    /* Message signalled interrupt. NULL: MSI writes go to the DMA space. */
    void (*msi)(void *opaque, uint64_t addr, uint32_t data);
    void *msi_opaque;
};

/* A root bus. The pointers stay the caller's. */
void pci_bus_init(PciBus *bus, const char *name, Device *owner, MemRegion *mem, MemRegion *io,
                  MemSpace *dma);
void pci_bus_set_irqs(PciBus *bus, unsigned (*map)(void *opaque, unsigned devfn, unsigned pin),
                      void (*set)(void *opaque, unsigned line, int level), void *opaque);
void pci_bus_set_msi(PciBus *bus, void (*msi)(void *opaque, uint64_t addr, uint32_t data),
                     void *opaque);
PciDevice *pci_bus_find(PciBus *bus, unsigned bus_nr, unsigned devfn);
/* Frees the functions on it. */
void pci_bus_fini(PciBus *bus);

/* First call of a function's realize; @d->dev.bus is the PciBus. Takes the slot. */
bool pci_device_init(PciDevice *d, const PciInfo *info, GError **err);
/* Last call of unrealize: unmaps all, gives the slot back. */
void pci_device_fini(PciDevice *d);
/* Registers back to what they were when realize ended; lowers INTx; unmaps. */
void pci_device_reset(PciDevice *d);
extern const StateTable pci_device_state;
/* The whole PciDevice member @f of struct @S in a state table. */
#define PCI_STATE(S, f) STATE_STRUCT_ARRAY(S, f, PciDevice, &pci_device_state)
/* Common properties; @S has PciDevice as first member. */
#define PCI_PROPERTIES(S)                                                                          \
    {"addr", PROP_PCI_ADDR, offsetof(S, pci) + offsetof(PciDevice, devfn), "-1",                   \
     "slot and function on the bus"},                                                              \
        {"multifunction", PROP_BOOL, offsetof(S, pci) + offsetof(PciDevice, multifunction), "off", \
         "function 0 of a device with several"},                                                   \
        {"rombar", PROP_U32, offsetof(S, pci) + offsetof(PciDevice, rombar), "1",                  \
         "0: no expansion ROM register"},                                                          \
    {                                                                                              \
        "romfile", PROP_STRING, offsetof(S, pci) + offsetof(PciDevice, romfile), NULL,             \
            "image of the expansion ROM"                                                           \
    }

enum {
    PCI_BAR_IO = 1,
    PCI_BAR_MEM64 = 4, /* takes the next register too */
    PCI_BAR_PREFETCH = 8
};
/* Base address register @n; the region's size is rounded up to a power of two. @region stays the
 * caller's and is mapped and unmapped as the guest says. */
void pci_add_bar(PciDevice *d, unsigned n, unsigned flags, MemRegion *region);
/* Expansion ROM from @data (copied), padded to a power of two. Does nothing with rombar=0. */
bool pci_add_rom(PciDevice *d, const void *data, size_t len, GError **err);
/* Where BAR @n (PCI_ROM_SLOT: the ROM) is mapped; -1 = not. */
uint64_t pci_bar_addr(const PciDevice *d, unsigned n);

/* A capability of @size bytes (multiple of 4 is taken); returns its offset, 0 = no room. @off 0 =
 * choose. Link and id are filled in; the rest is zero and read only until masks are set. */
unsigned pci_add_capability(PciDevice *d, uint8_t id, unsigned off, unsigned size);
unsigned pci_find_capability(const PciDevice *d, uint8_t id);
/* MSI with 1, 2, 4 … 32 vectors, 64-bit address, no per-vector mask. False: no room. */
bool pci_add_msi(PciDevice *d, unsigned vectors);
bool pci_msi_enabled(const PciDevice *d);
/* Send vector @n (cut to what the guest granted). */
void pci_msi_notify(PciDevice *d, unsigned n);
/* A message of MSI or MSI-X to whoever takes them on this bus. */
void pci_send_msi(PciDevice *d, uint64_t addr, uint32_t data);

/* Drive the function's INTx pin. */
void pci_set_irq(PciDevice *d, int level);
/* The same as a line. */
Irq pci_irq(PciDevice *d);

/* DMA by the function; refused (false, all-ones) while bus mastering is off. */
bool pci_dma_read(PciDevice *d, uint64_t addr, void *buf, uint64_t len);
bool pci_dma_write(PciDevice *d, uint64_t addr, const void *buf, uint64_t len);

/* Configuration access as the bus makes it: @size 1, 2 or 4 inside one dword. */
uint32_t pci_config_load(PciDevice *d, unsigned off, unsigned size);
void pci_config_store(PciDevice *d, unsigned off, uint32_t val, unsigned size);

/* Little-endian accessors of the stored bytes, without side effects. */
static inline uint16_t pci_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t pci_get32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void pci_set16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void pci_set32(uint8_t *p, uint32_t v)
{
    pci_set16(p, (uint16_t)v);
    pci_set16(p + 2, (uint16_t)(v >> 16));
}

#endif
