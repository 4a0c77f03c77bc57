/* The GICv2: distributor, CPU interface, input lines. */
#include "fuzz-io.h"
#include "hw/intc/gicv2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    GicV2Config cfg = {.dist = 0x10000, .cpu = 0x20000, .n_cpus = 3, .n_irqs = 96};
    FuzzIo f = {0};

    machine_lock();
    f.m = machine_new(NULL, NULL);
    GicV2 *g = gicv2_new(f.m, &f.m->memory_root, &cfg, NULL);

    for (unsigned i = 0; i < 24; i++) {
        f.inputs[i] = i < 16 ? gicv2_spi(g, i * 4) : gicv2_ppi(g, i % 3, 16 + i % 16);
    }
    f.n_inputs = 24;
    f.mmio[0] = (FuzzRange){0x10000, 0x1000};
    f.mmio[1] = (FuzzRange){0x20000, 0x2000};
    machine_unlock();
    fuzz_run(&f, data, size);
    machine_lock();
    machine_free(f.m);
    machine_unlock();
    return 0;
}
