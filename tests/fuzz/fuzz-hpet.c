/* The HPET. */
#include "fuzz-io.h"
#include "hw/timer/hpet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzIo f;
    unsigned sink = 0;
    Irq legacy[2], gsi[24];

    fuzz_open(&f);
    for (unsigned i = 0; i < 24; i++) {
        gsi[i] = (Irq){fuzz_sink, &sink, i};
        legacy[i & 1] = gsi[i];
    }
    Hpet *s = hpet_new(f.m, &f.m->memory_root, f.clk, legacy, gsi, NULL);
    f.mmio[0] = (FuzzRange){HPET_BASE, 0x160};
    f.mmio[1] = (FuzzRange){HPET_BASE + 0x100, 0x60};
    f.mmio[2] = (FuzzRange){HPET_BASE + 0x10, 1};
    f.inputs[f.n_inputs++] = hpet_legacy_in(s, 0);
    f.inputs[f.n_inputs++] = hpet_legacy_in(s, 1);
    fuzz_run(&f, data, size);
    fuzz_close(&f);
    return 0;
}
