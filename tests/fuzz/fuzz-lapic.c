/* Three local APICs: MMIO, MSRs, messages, pins, acknowledge. */
#include "../device/apic-rig.h"
#include "fuzz-io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void cpu_side(void *opaque, uint8_t what, uint32_t arg)
{
    ApicRig *a = opaque;
    unsigned i = what >> 4 & 3;
    uint64_t v;

    i = i < a->n ? i : 0;
    switch (what & 15) {
    case 0:
    case 1:
        g_assert_cmpint(ack(a, i), <, 256);
        break;
    case 2:
        lapic_intc.set_priority(a->apic[i], arg);
        break;
    case 3:
        lapic_mmio_write(a->apic[i], 0xb0, 0);
        break;
    case 4:
        wrmsr(a, i, 0x6e0, clock_now(a->r.clk) * 2 + arg * 64);
        break;
    case 5:
        wrmsr(a, i, 0x1b, (uint64_t)(arg & 0xff) << 8 | 0xfee00000 ^ (arg & 0xf000) << 4);
        break;
    case 6:
        wrmsr(a, i, 0x800 + (arg & 0x3f), arg >> 6);
        break;
    case 7:
        rdmsr(a, i, 0x800 + (arg & 0xff), &v);
        break;
    case 8:
        wrmsr(a, i, 0x830, (uint64_t)(arg >> 12) << 32 | (arg & 0xfff) | 0x4000);
        break;
    case 9:
        lapic_deliver_msi(a->bus, LAPIC_BASE | (arg & 0xff) << 12 | (arg >> 6 & 0xc), arg);
        break;
    case 10:
        lapic_mmio_write(a->apic[i], 0x310, arg << 20);
        lapic_mmio_write(a->apic[i], 0x300, arg << 8 | what);
        break;
    case 11:
        lapic_mmio_write(a->apic[i], (arg & 0x3f) << 4, arg >> 4);
        break;
    case 12:
        lapic_intc.init_reset(a->apic[i]);
        break;
    case 13:
        lapic_mmio_write(a->apic[i], 0x320, arg & 1 ? 0x20040 : arg & 2 ? 0x40040 : arg);
        lapic_mmio_write(a->apic[i], 0x380, arg);
        break;
    default:
        lapic_mmio_write(a->apic[i], 0xf0, 0x100 | arg);
    }
    /* VCPU_IRQ is what the acknowledge would find, whatever happened. */
    g_assert_true(irq_pending(a, i) == a->apic[i]->out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ApicRig a;
    FuzzIo f;

    memset(&f, 0, sizeof(f));
    apic_rig_open(&a, 3);
    a.inta_vector = 0x30;
    f.m = a.r.m;
    f.clk = a.r.clk;
    f.mmio[0] = (FuzzRange){LAPIC_BASE, 0x400};
    f.inputs[f.n_inputs++] = lapic_bus_intr(a.bus);
    f.inputs[f.n_inputs++] = lapic_bus_nmi(a.bus);
    f.extra = cpu_side;
    f.opaque = &a;
    fuzz_run(&f, data, size);
    apic_rig_close(&a);
    return 0;
}
