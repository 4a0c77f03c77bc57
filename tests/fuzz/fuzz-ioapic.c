/* The I/O APIC with two local APICs behind it. */
#include "../device/apic-rig.h"
#include "fuzz-io.h"
#include "hw/intc/ioapic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void cpu_or_entry(void *opaque, uint8_t what, uint32_t arg)
{
    ApicRig *a = opaque;
    unsigned i = what >> 7;

    switch (what & 7) {
    case 0:
        lapic_mmio_write(a->apic[i], 0xf0, 0x1ff ^ (arg & 0x100));
        break;
    case 1:
    case 2:
        ack(a, i);
        break;
    case 3:
        lapic_mmio_write(a->apic[i], 0xb0, 0);
        break;
    case 4:
        lapic_mmio_write(a->apic[i], 0xd0, arg << 24);
        break;
    default: /* an entry, in two writes */
        writel(&a->r, IOAPIC_BASE, 0x10 + (what >> 3 & 15));
        writel(&a->r, IOAPIC_BASE + 0x10, arg | (arg & 3) << 24);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ApicRig a;
    FuzzIo f;

    memset(&f, 0, sizeof(f));
    apic_rig_open(&a, 2);
    a.inta_vector = 0x30;
    Ioapic *io = ioapic_new(a.r.m, &a.r.m->memory_root, IOAPIC_BASE, 0, a.bus, NULL);
    lapic_mmio_write(a.apic[0], 0xf0, 0x1ff);
    f.m = a.r.m;
    f.clk = a.r.clk;
    f.mmio[0] = (FuzzRange){IOAPIC_BASE, 0x20};
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        f.inputs[f.n_inputs++] = ioapic_irq(io, i);
    }
    f.extra = cpu_or_entry;
    f.opaque = &a;
    fuzz_run(&f, data, size);
    apic_rig_close(&a);
    return 0;
}
