/*
 * A bench for APICs: vCPUs without a target behind them, local APICs, a TSC of 2 GHz on the
 * manual clock. Everything that target/x86 would provide is here, so that no CPU is linked.
 */
#ifndef RHEA_TESTS_APIC_RIG_H
#define RHEA_TESTS_APIC_RIG_H

#include "harness.h"
#include "hw/intc/lapic_int.h"

#define RIG_CPUS 4

typedef struct ApicRig {
    Rig r;
    VCpu cpu[RIG_CPUS];
    Lapic *apic[RIG_CPUS];
    LapicBus *bus;
    unsigned n;
    int inta_vector; /* what the 8259 pair answers */
    unsigned inta_count;
    uint8_t eoi[16]; /* vectors of EOI messages */
    unsigned n_eoi;
} ApicRig;

static Clock *apic_rig_clock;

static inline uint64_t apic_rig_hz(VCpu *cpu)
{
    return 2000000000;
}

static inline uint64_t apic_rig_tsc(VCpu *cpu)
{
    return clock_now(apic_rig_clock) * 2;
}

static inline unsigned apic_rig_phys_bits(VCpu *cpu)
{
    return 40;
}

static const LapicCpuOps apic_rig_ops = {
    .tsc_hz = apic_rig_hz, .tsc_read = apic_rig_tsc, .phys_bits = apic_rig_phys_bits};

static inline int apic_rig_inta(void *opaque)
{
    ApicRig *a = opaque;

    a->inta_count++;
    return a->inta_vector;
}

static inline void apic_rig_eoi(void *opaque, uint8_t vector)
{
    ApicRig *a = opaque;

    g_assert_true(machine_lock_held());
    a->eoi[a->n_eoi++ & 15] = vector;
}

static inline void apic_rig_open(ApicRig *a, unsigned n)
{
    memset(a, 0, sizeof(*a));
    rig_open(&a->r);
    apic_rig_clock = a->r.clk;
    a->n = n;
    a->bus = lapic_bus_new(a->r.m, &a->r.m->memory_root);
    lapic_bus_set_inta(a->bus, apic_rig_inta, a);
    lapic_bus_add_eoi(a->bus, apic_rig_eoi, a);
    for (unsigned i = 0; i < n; i++) {
        a->cpu[i].index = i;
        a->cpu[i].machine = a->r.m;
        g_mutex_init(&a->cpu[i].work_lock);
        g_cond_init(&a->cpu[i].cond);
        a->apic[i] = lapic_new(a->bus, &a->cpu[i], i, a->r.clk, NULL);
        g_assert_nonnull(a->apic[i]);
        lapic_set_cpu_ops(a->apic[i], &apic_rig_ops);
    }
}

static inline void apic_rig_close(ApicRig *a)
{
    while (a->r.m->devices->len) {
        device_free(a->r.m->devices->pdata[a->r.m->devices->len - 1]);
    }
    lapic_bus_free(a->bus);
    for (unsigned i = 0; i < a->n; i++) {
        g_mutex_clear(&a->cpu[i].work_lock);
        g_cond_clear(&a->cpu[i].cond);
    }
    rig_close(&a->r);
}

/* Events of a vCPU since the last look; the level VCPU_IRQ stays. */
static inline uint32_t apic_rig_events(ApicRig *a, unsigned i)
{
    uint32_t e = a->cpu[i].events;

    a->cpu[i].events &= VCPU_IRQ;
    return e;
}

static inline bool irq_pending(ApicRig *a, unsigned i)
{
    return a->cpu[i].events & VCPU_IRQ;
}

static inline int ack(ApicRig *a, unsigned i)
{
    return lapic_intc.ack(a->apic[i]);
}

/* xAPIC registers: the window shows those of the first CPU here, as no vCPU thread runs; others
 * are reached directly. */
static inline uint32_t apic_get(ApicRig *a, unsigned i, unsigned off)
{
    return i ? lapic_mmio_read(a->apic[i], off) : readl(&a->r, LAPIC_BASE + off);
}

static inline void apic_set(ApicRig *a, unsigned i, unsigned off, uint32_t val)
{
    if (i) {
        lapic_mmio_write(a->apic[i], off, val);
    } else {
        writel(&a->r, LAPIC_BASE + off, val);
    }
}

static inline bool wrmsr(ApicRig *a, unsigned i, uint32_t msr, uint64_t val)
{
    return lapic_intc.reg_write(a->apic[i], msr, val);
}

static inline bool rdmsr(ApicRig *a, unsigned i, uint32_t msr, uint64_t *val)
{
    return lapic_intc.reg_read(a->apic[i], msr, val);
}

#endif
