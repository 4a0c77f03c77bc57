/*
 * Intel 82441FX host bridge: configuration mechanism 1, PAM and SMRAM, the root PCI bus, and the
 * memory map of a PC around it.
 */
#ifndef RHEA_HW_PCI_I440FX_H
#define RHEA_HW_PCI_I440FX_H

#include "core/machine.h"
#include "hw/pci/pci.h"

typedef struct I440Fx I440Fx;

/* Where RAM lies in machine pc. */
typedef struct PcMemoryLayout {
    uint64_t ram_size;
    uint64_t below_4g; /* RAM at 0 */
    uint64_t above_4g; /* RAM at 4 GiB */
} PcMemoryLayout;

#define PC_LOW_RAM_MAX 0xe0000000ull
#define PC_PCI_HOLE_END 0xfec00000ull
#define PC_HIGH_RAM 0x100000000ull

/* All below 4 GiB up to 3.5 GiB, the rest above. */
PcMemoryLayout pc_memory_layout(uint64_t ram_size);

/* Creates, on @m: aliases of @m->ram in @m->memory_root after @layout, the PCI memory behind it,
 * the PAM and SMRAM windows, ports CF8h–CFFh in @m->io_root, and the bridge as function 00.0 of
 * bus "pci.0". @smm_root: container that CPUs in SMM see as memory (SMRAM is mapped into it, at a
 * priority above what the board put there), or NULL when the machine has no SMM. */
I440Fx *i440fx_new(Machine *m, const PcMemoryLayout *layout, MemRegion *smm_root, GError **err);
PciBus *i440fx_bus(I440Fx *s);
/* Memory as PCI sees it: firmware, VGA windows and MMIO below 4 GiB go here. RAM hides what lies
 * under it; 0xa0000–0xfffff is shown after PAM and SMRAM. */
MemRegion *i440fx_pci_mem(I440Fx *s);
/* Accesses to CF8h–CFBh that are not 32 bits wide pass to the ISA bridge (CF9h). */
void i440fx_set_cf8_bytes(I440Fx *s, uint8_t (*read)(void *opaque, unsigned off),
                          void (*write)(void *opaque, unsigned off, uint8_t val), void *opaque);

extern const DeviceType i440fx_type;

#endif
