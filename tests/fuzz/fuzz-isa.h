/* An ISA bus with RAM for the fuzz targets of ISA devices, on top of fuzz-io.h. */
#ifndef RHEA_TESTS_FUZZ_ISA_H
#define RHEA_TESTS_FUZZ_ISA_H

#include "fuzz-io.h"
#include "hw/isa/isa.h"

typedef struct FuzzIsa {
    FuzzIo io;
    IsaBus isa;
    MemRegion ram;
    unsigned sink;
} FuzzIsa;

static inline void fuzz_isa_open(FuzzIsa *f)
{
    memset(f, 0, sizeof(*f));
    fuzz_open(&f->io);
    mem_region_init_ram(&f->ram, "ram", 1 << 18, NULL);
    mem_region_add(&f->io.m->memory_root, &f->ram, 0, 0);
    bus_init(&f->isa.bus, "ISA", "isa.0", NULL);
    f->isa.machine = f->io.m;
    f->isa.io = &f->io.m->io_root;
    f->isa.mem = &f->io.m->memory_root;
    f->isa.mem_space = f->io.m->memory;
    f->isa.clock = f->io.clk;
    for (int i = 0; i < 16; i++) {
        f->isa.irq[i] = (Irq){fuzz_sink, &f->sink, i};
    }
}

static inline void fuzz_isa_close(FuzzIsa *f)
{
    while (f->io.m->devices->len) {
        device_free(f->io.m->devices->pdata[f->io.m->devices->len - 1]);
    }
    bus_clear(&f->isa.bus);
    mem_region_destroy(&f->ram);
    fuzz_close(&f->io);
}

#endif
