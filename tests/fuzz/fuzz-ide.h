/* PIIX3 IDE with images in memory. */
#ifndef RHEA_TESTS_FUZZ_IDE_H
#define RHEA_TESTS_FUZZ_IDE_H

#include "fuzz-pci.h"
#include "hw/ide/piix3_ide.h"

#define DEVFN 9
#define BM 0xc000u
#define PRD 0x2000u

static inline Piix3Ide *fuzz_ide_open(FuzzPci *f, AtaKind first, AtaKind second, size_t bytes)
{
    fuzz_pci_open(f);
    const Irq irq[2] = {fuzz_pci_line(f, 14), fuzz_pci_line(f, 15)};
    Piix3Ide *ide = piix3_ide_new(f->io.m, f->bus, DEVFN, irq, NULL);
    AtaDriveConfig cfg = {.kind = first, .block = block_open_memory(NULL, bytes, false)};

    piix3_ide_attach(ide, 0, 0, &cfg, NULL);
    if (second != ATA_NONE) {
        cfg = (AtaDriveConfig){.kind = second, .block = block_open_memory(NULL, 40960, false)};
        piix3_ide_attach(ide, 0, 1, &cfg, NULL);
    }
    fuzz_pci_config(f, DEVFN, 0x40, 0x80008000);
    fuzz_pci_config(f, DEVFN, 0x20, BM);
    fuzz_pci_config(f, DEVFN, 4, 5);
    f->io.ports[0] = (FuzzRange){0x1f0, 8};
    f->io.ports[1] = (FuzzRange){0x1f0, 8};
    f->io.ports[2] = (FuzzRange){0x3f6, 1};
    f->io.ports[3] = (FuzzRange){BM, 16};
    f->io.mmio[0] = (FuzzRange){PRD, 32};
    f->io.opaque = f;
    return ide;
}

static inline void fuzz_ide_settle(FuzzPci *f)
{
    Piix3Ide *ide = (Piix3Ide *)f->bus->functions[DEVFN];
    for (unsigned i = 0; i < 2; i++) {
        AtaDrive *d = piix3_ide_drive(ide, 0, i);
        if (d && d->block) {
            block_drain(d->block);
        }
    }
}

static inline void fuzz_ide_out(FuzzPci *f, unsigned reg, uint8_t val)
{
    mem_store(f->io.m->io, 0x1f0 + reg, val, 1);
}

/* Start the engine over two entries, of @arg's making. */
static inline void fuzz_ide_bm(FuzzPci *f, uint8_t what, uint32_t arg)
{
    MemSpace *mem = f->io.m->memory;
    mem_store(mem, PRD, what & 0x10 ? arg << 16 : 0x10000, 4);
    mem_store(mem, PRD + 4, arg & 0xffff, 4);
    mem_store(mem, PRD + 8, 0x20000, 4);
    mem_store(mem, PRD + 12, 0x80000000u | (what & 0x20 ? arg * 3 : 0), 4);
    mem_store(f->io.m->io, BM + 4, PRD, 4);
    mem_store(f->io.m->io, BM, what & 8, 1);
    mem_store(f->io.m->io, BM, (what & 8) | 1, 1);
}

/* Move many words through the data port. */
static inline void fuzz_ide_data(FuzzPci *f, bool write, uint32_t n)
{
    for (uint32_t i = 0; i < (n & 0x7fff); i++) {
        if (write) {
            mem_store(f->io.m->io, 0x1f0, i, 2);
        } else {
            mem_load(f->io.m->io, 0x1f0, 2);
        }
    }
}

#endif
