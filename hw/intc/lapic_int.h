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

    LVT_REMOTE_IRR = 1 << 14,
    LVT_LEVEL = 1 << 15,
    LVT_MASKED = 1 << 16,

    ESR_SEND_VECTOR = 1 << 5,
    ESR_RECEIVED_VECTOR = 1 << 6,
    ESR_REGISTER = 1 << 7,
};

/* Writable bits of each entry. */
static const uint32_t lapic_lvt_writable[LVT_COUNT] = {
    [LVT_TIMER] = 0x000700ff, [LVT_THERMAL] = 0x000107ff, [LVT_PERF] = 0x000107ff,
    [LVT_LINT0] = 0x0001a7ff, [LVT_LINT1] = 0x0001a7ff,   [LVT_ERROR] = 0x000100ff,
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

/* Vectors are bits 0…255 of 8 words. */
static inline bool lapic_test_bit(const uint32_t set[8], uint8_t v)
{
    return set[v / 32] >> (v % 32) & 1;
}
static inline void lapic_set_bit(uint32_t set[8], uint8_t v, bool on)
{
    if (on) {
        set[v / 32] |= 1u << (v % 32);
    } else {
        set[v / 32] &= ~(1u << (v % 32));
    }
}
int lapic_top_vector(const uint32_t set[8]); /* -1: empty */
uint8_t lapic_tpr(const Lapic *l);           /* needs no lock */
uint8_t lapic_processor_priority(const Lapic *l);
/* Make VCPU_IRQ what the registers say. After every change. */
void lapic_update_out(Lapic *l);
/* A fixed interrupt arrives; false if the vector is illegal. */
bool lapic_request(Lapic *l, uint8_t vector, bool level);
void lapic_error(Lapic *l, uint32_t bit);
/* LINT pin @n rose, or its entry changed. */
void lapic_lint_event(Lapic *l, unsigned n, bool rose);
void lapic_reset_registers(Lapic *l);
/* Deliver what the timer owes. */
void lapic_timer_poll(Lapic *l);
void lapic_timer_arm(Lapic *l);
uint32_t lapic_timer_count(Lapic *l);
void lapic_write_initial_count(Lapic *l, uint32_t val);
void lapic_write_divide(Lapic *l, uint32_t val);
void lapic_write_deadline(Lapic *l, uint64_t val);
void lapic_write_timer_lvt(Lapic *l, uint32_t val);

/* ---- lapic_regs.c; lock not held ---- */

uint32_t lapic_mmio_read(Lapic *l, uint64_t off);
void lapic_mmio_write(Lapic *l, uint64_t off, uint32_t val);
bool lapic_msr_read(void *lapic, uint32_t msr, uint64_t *val);
bool lapic_msr_write(void *lapic, uint32_t msr, uint64_t val);

/* ---- lapic_bus.c; no APIC lock held ---- */

bool lapic_bus_deliver(LapicBus *bus, const LapicMessage *msg);
/* Every APIC but @except (which may be NULL). */
void lapic_bus_broadcast(LapicBus *bus, const LapicMessage *msg, const Lapic *except);
void lapic_bus_eoi(LapicBus *bus, uint8_t vector);
/* The first APIC moved: so does the register window. */
void lapic_bus_move(LapicBus *bus, uint64_t addr);

#endif
