/* PLIC and ACLINT with the pins of two harts. */
#include "fuzz-io.h"
#include "hw/intc/aclint.h"
#include "hw/intc/sifive_plic.h"
#include "target/riscv/riscv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const Accelerator none = {.name = "none"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzIo f;

    fuzz_open(&f);
    Clock *keep = f.m->virtual_clock;
    f.m->virtual_clock = f.clk;
    for (unsigned i = 0; i < 2; i++) {
        g_assert_nonnull(vcpu_new(f.m, &riscv64_target, &none, i, NULL, NULL));
    }
    Plic *s = plic_new(f.m, &f.m->memory_root, 0xc000000, NULL);
    aclint_new(f.m, &f.m->memory_root, 0x2000000, NULL);
    f.mmio[0] = (FuzzRange){0xc000000, 0x2400};
    f.mmio[1] = (FuzzRange){0xc200000, 0x4000};
    f.mmio[2] = (FuzzRange){0x2000000, 0xc000};
    for (unsigned i = 0; i < 32; i++) {
        f.inputs[f.n_inputs++] = plic_irq(s, i * 3);
    }
    fuzz_run(&f, data, size);
    while (f.m->devices->len) {
        device_free(f.m->devices->pdata[f.m->devices->len - 1]);
    }
    while (f.m->n_vcpus) {
        vcpu_free(f.m->vcpus[f.m->n_vcpus - 1]);
    }
    f.m->virtual_clock = keep;
    fuzz_close(&f);
    return 0;
}
