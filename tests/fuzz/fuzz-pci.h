/* fuzz-io.h with RAM, a 440FX, and its bus. */
#ifndef RHEA_TESTS_FUZZ_PCI_H
#define RHEA_TESTS_FUZZ_PCI_H

#include "fuzz-io.h"
#include "hw/pci/i440fx.h"

typedef struct FuzzPci {
    FuzzIo io;
    MemRegion ram;
    I440Fx *host;
    PciBus *bus;
    unsigned sink;
} FuzzPci;

static inline Irq fuzz_pci_line(FuzzPci *f, int n)
{
    return (Irq){fuzz_sink, &f->sink, n};
}

static inline void fuzz_pci_open(FuzzPci *f)
{
    PcMemoryLayout layout = pc_memory_layout(4 << 20);

    f->sink = 0;
    fuzz_open(&f->io);
    mem_region_init_ram(&f->ram, "ram", 4 << 20, NULL);
    f->io.m->ram = &f->ram;
    f->host = i440fx_new(f->io.m, &layout, NULL, NULL);
    f->bus = i440fx_bus(f->host);
}

static inline void fuzz_pci_close(FuzzPci *f)
{
    fuzz_close(&f->io);
    mem_region_destroy(&f->ram);
}

/* A configuration write as a guest makes it. */
static inline void fuzz_pci_config(FuzzPci *f, unsigned devfn, unsigned reg, uint32_t val)
{
    mem_store(f->io.m->io, 0xcf8, 0x80000000u | devfn << 8 | (reg & 0xfc), 4);
    mem_store(f->io.m->io, 0xcfc, val, 4);
}

#endif
