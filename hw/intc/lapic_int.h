/*
 * What lapic.c (one APIC) and lapic_bus.c (messages between them) share.
 *
 * Locks. Each APIC has a small lock over its registers; it is taken by its own vCPU (MMIO, MSRs,
 * acknowledge), by senders of messages on any thread, and by its timer under the machine lock.
 * Order: machine lock, then at most one APIC's lock, then leaves (a vCPU's work lock, a clock's
 * lock). So a message is never sent, nor an EOI broadcast (which needs the machine lock), while
 * an APIC's lock is held. TPR is atomic besides; see lapic_set_cr8().
 */
#ifndef RHEA_HW_INTC_LAPIC_INT_H
#define RHEA_HW_INTC_LAPIC_INT_H

#include "hw/intc/lapic.h"

enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

enum {
    BASE_BSP = 1 << 8,
    BASE_X2 = 1 << 10,
    BASE_ENABLE = 1 << 11,

    SVR_ENABLE = 1 << 8,
    SVR_NO_FOCUS = 1 << 9,
};

struct Lapic {
    Device dev;
    LapicBus *bus;
    VCpu *cpu;
    uint32_t initial_id; /* all 32 bits; constant */
    GMutex lock;
    uint64_t base; /* IA32_APIC_BASE */
    uint32_t id;   /* xAPIC mode: bits 31-24 of the register */
    uint32_t tpr;  /* atomic */
    uint32_t ldr, dfr, svr;
    uint32_t isr[8], irr[8], tmr[8];
    uint32_t irr_any; /* atomic: irr is not empty; derived */
    uint32_t esr, esr_pending;
    uint64_t icr;
    uint32_t lvt[LVT_COUNT];
    bool lint[2]; /* levels */
    bool extint;  /* an ExtINT message waits */
    bool out;     /* what the CPU's VCPU_IRQ is; derived */
    /* Timer: counts initial × divider ns. expiry: the next zero in ns, -1 = stopped. */
    uint32_t initial_count, divide;
    int64_t expiry;
    uint64_t tsc_deadline;
    Clock *clk;
    Timer timer;
    const LapicCpuOps *cpu_ops;
};

#define LAPIC_EOI_HOOKS 4

struct LapicBus {
    Machine *machine;
    MemRegion window;
    GPtrArray *apics; /* of Lapic*; fixed once vCPUs run */
    int (*inta)(void *opaque);
    void *inta_opaque;
    struct {
        void (*fn)(void *opaque, uint8_t vector);
        void *opaque;
    } eoi[LAPIC_EOI_HOOKS];
    unsigned n_eoi;
    bool intr, nmi; /* levels; machine lock */
    uint32_t turn;  /* atomic: who is asked first for the lowest priority */
};

/* A message on the bus: 8-bit destinations of devices and xAPICs, 32-bit ones of x2APICs. */
typedef struct LapicMessage {
    uint8_t vector, mode;
    bool logical, level, wide;
    uint32_t dest;
} LapicMessage;

/* ---- lapic.c; lock held ---- */

static inline bool lapic_hw_enabled(const Lapic *l)
{
    return l->base & BASE_ENABLE;
}
static inline bool lapic_x2(const Lapic *l)
{
    return l->base & BASE_X2;
}
/* Take a message that is for this APIC; false if it cannot. */
bool lapic_accept(Lapic *l, uint8_t mode, uint8_t vector, bool level);
/* Is it the focus of @vector: pending or in service here? */
bool lapic_has(const Lapic *l, uint8_t vector);
uint8_t lapic_arbitration_priority(const Lapic *l);
/* A level on LINT0 or LINT1 (INTR and NMI of a disabled APIC). */
void lapic_set_lint(Lapic *l, unsigned n, bool level);

/* ---- lapic.c; lock not held ---- */

uint32_t lapic_mmio_read(Lapic *l, uint64_t off);
void lapic_mmio_write(Lapic *l, uint64_t off, uint32_t val);

/* ---- lapic_bus.c; no APIC lock held ---- */

bool lapic_bus_deliver(LapicBus *bus, const LapicMessage *msg);
/* Every APIC but @except (which may be NULL). */
void lapic_bus_broadcast(LapicBus *bus, const LapicMessage *msg, const Lapic *except);
void lapic_bus_eoi(LapicBus *bus, uint8_t vector);
/* The first APIC moved: so does the register window. */
void lapic_bus_move(LapicBus *bus, uint64_t addr);

#endif
