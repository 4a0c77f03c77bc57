/*
 * Local APIC registers: MMIO of xAPIC mode, MSRs of x2APIC mode, and the writes that send
 * interrupts. See lapic.c.
 */
#include "core/log.h"
#include "hw/intc/lapic_int.h"

/* Register numbers: MMIO offset / 16 = MSR - 800h. */
enum {
    REG_ID = 0x02,
    REG_VERSION = 0x03,
    REG_TPR = 0x08,
    REG_APR = 0x09,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_RRD = 0x0c,
    REG_LDR = 0x0d,
    REG_DFR = 0x0e,
    REG_SVR = 0x0f,
    REG_ISR = 0x10,
    REG_TMR = 0x18,
    REG_IRR = 0x20,
    REG_ESR = 0x28,
    REG_ICR = 0x30,
    REG_ICR_HIGH = 0x31,
    REG_LVT = 0x32,
    REG_INITIAL = 0x38,
    REG_CURRENT = 0x39,
    REG_DIVIDE = 0x3e,
    REG_SELF_IPI = 0x3f,

    VERSION = (LVT_COUNT - 1) << 16 | 0x14,

    ICR_LOGICAL = 1 << 11,
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
    ICR_WRITABLE = 0x000ccfff,

    MSR_APIC_BASE = 0x1b,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
};

/* ---- registers; lock held ---- */

static uint32_t read_ldr(const Lapic *l)
{
    if (lapic_x2(l)) {
        return l->initial_id >> 4 << 16 | 1u << (l->initial_id & 15);
    }
    return l->ldr;
}

/* @ok becomes false for what is no register (or not readable). */
static uint32_t read_reg(Lapic *l, unsigned reg, bool *ok)
{
    switch (reg) {
    case REG_ID:
        return lapic_x2(l) ? l->initial_id : l->id;
    case REG_VERSION:
        return VERSION;
    case REG_TPR:
        return lapic_tpr(l);
    case REG_PPR:
        return lapic_processor_priority(l);
    case REG_LDR:
        return read_ldr(l);
    case REG_SVR:
        return l->svr;
    case REG_ESR:
        return l->esr;
    case REG_ICR:
        return l->icr;
    case REG_INITIAL:
        return l->initial_count;
    case REG_CURRENT:
        return lapic_timer_count(l);
    case REG_DIVIDE:
        return l->divide;
    case REG_APR:
    case REG_RRD:
    case REG_DFR:
    case REG_ICR_HIGH:
    case REG_EOI:
        if (!lapic_x2(l)) {
            return reg == REG_APR        ? lapic_arbitration_priority(l)
                   : reg == REG_DFR      ? l->dfr
                   : reg == REG_ICR_HIGH ? l->icr >> 32
                                         : 0;
        }
        break;
    default:
        if (reg >= REG_ISR && reg < REG_ISR + 8) {
            return l->isr[reg - REG_ISR];
        }
        if (reg >= REG_TMR && reg < REG_TMR + 8) {
            return l->tmr[reg - REG_TMR];
        }
        if (reg >= REG_IRR && reg < REG_IRR + 8) {
            return l->irr[reg - REG_IRR];
        }
        if (reg >= REG_LVT && reg < REG_LVT + LVT_COUNT) {
            return l->lvt[reg - REG_LVT];
        }
    }
    *ok = false;
    return 0;
}

static void write_svr(Lapic *l, uint32_t val)
{
    l->svr = val & 0x3ff;
    if (!(val & SVR_ENABLE)) {
        for (unsigned i = 0; i < LVT_COUNT; i++) {
            l->lvt[i] |= LVT_MASKED;
        }
        lapic_timer_arm(l);
    }
}

static void write_lvt(Lapic *l, unsigned i, uint32_t val)
{
    uint32_t writable = lapic_lvt_writable[i];

    val = (val & writable) | (l->lvt[i] & ~writable);
    if (!(l->svr & SVR_ENABLE)) {
        val |= LVT_MASKED;
    }
    if (i == LVT_TIMER) {
        lapic_write_timer_lvt(l, val);
        return;
    }
    if ((i == LVT_LINT0 || i == LVT_LINT1) && !(val & LVT_LEVEL)) {
        val &= ~LVT_REMOTE_IRR;
    }
    l->lvt[i] = val;
    if (i == LVT_LINT0 || i == LVT_LINT1) {
        lapic_lint_event(l, i - LVT_LINT0, false);
    }
}

/* The level-triggered vector that ended, for the I/O APICs; -1: none. */
static int end_of_interrupt(Lapic *l)
{
    int v = lapic_top_vector(l->isr);

    if (v < 0) {
        return -1;
    }
    lapic_set_bit(l->isr, v, false);
    bool level = lapic_test_bit(l->tmr, v);
    for (unsigned n = 0; n < 2; n++) {
        uint32_t *lvt = &l->lvt[LVT_LINT0 + n];
        if ((*lvt & LVT_REMOTE_IRR) && (*lvt & 0xff) == v) {
            *lvt &= ~LVT_REMOTE_IRR;
            lapic_lint_event(l, n, false);
        }
    }
    return level ? v : -1;
}

/* Registers whose write needs nobody else. False: no such register, or read-only. */
static bool write_reg(Lapic *l, unsigned reg, uint32_t val)
{
    switch (reg) {
    case REG_ID:
        l->id = val & 0xff000000;
        return true;
    case REG_TPR:
        __atomic_store_n(&l->tpr, val & 0xff, __ATOMIC_SEQ_CST);
        return true;
    case REG_LDR:
        l->ldr = val & 0xff000000;
        return true;
    case REG_DFR:
        l->dfr = val | 0x0fffffff;
        return true;
    case REG_SVR:
        write_svr(l, val);
        return true;
    case REG_ESR:
        l->esr = l->esr_pending;
        l->esr_pending = 0;
        return true;
    case REG_ICR_HIGH:
        l->icr = (l->icr & UINT32_MAX) | (uint64_t)(val & 0xff000000) << 32;
        return true;
    case REG_INITIAL:
        lapic_write_initial_count(l, val);
        return true;
    case REG_DIVIDE:
        lapic_write_divide(l, val);
        return true;
    default:
        if (reg >= REG_LVT && reg < REG_LVT + LVT_COUNT) {
            write_lvt(l, reg - REG_LVT, val);
            return true;
        }
        return false;
    }
}

/* ---- sending; lock not held ---- */

static void error_locked(Lapic *l, uint32_t bit)
{
    g_mutex_lock(&l->lock);
    lapic_error(l, bit);
    g_mutex_unlock(&l->lock);
}

static void send_self(Lapic *l, uint8_t vector)
{
    g_mutex_lock(&l->lock);
    lapic_accept(l, LAPIC_FIXED, vector, false);
    g_mutex_unlock(&l->lock);
}

static void send_ipi(Lapic *l, uint64_t icr, bool wide)
{
    LapicMessage msg = {.vector = icr,
                        .mode = icr >> 8 & 7,
                        .logical = icr & ICR_LOGICAL,
                        .wide = wide,
                        .dest = wide ? icr >> 32 : icr >> 56};
    bool fixed = msg.mode == LAPIC_FIXED || msg.mode == LAPIC_LOWEST;

    trace("lapic_ipi", "from %u icr %016" G_GINT64_MODIFIER "x", l->initial_id, icr);
    if (msg.mode == 3 || msg.mode == LAPIC_EXTINT) {
        guest_error("lapic: an IPI cannot have delivery mode %u", msg.mode);
        return;
    }
    if (msg.mode == LAPIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT)) {
        return; /* INIT level de-assert: since the P4 it does nothing */
    }
    if (fixed && msg.vector < 16) {
        error_locked(l, ESR_SEND_VECTOR);
        return;
    }
    switch (icr >> 18 & 3) {
    case 0:
        lapic_bus_deliver(l->bus, &msg);
        break;
    case 1:
        if (fixed) {
            send_self(l, msg.vector);
        }
        break;
    case 2: /* all, and me only for what can be sent to oneself */
        lapic_bus_broadcast(l->bus, &msg, fixed ? NULL : l);
        break;
    default:
        lapic_bus_broadcast(l->bus, &msg, l);
    }
}

/* Registers that send something. False if @reg is another one. */
static bool write_sending(Lapic *l, unsigned reg, uint64_t val, bool x2)
{
    uint64_t icr;
    int v;

    switch (reg) {
    case REG_EOI:
        g_mutex_lock(&l->lock);
        v = end_of_interrupt(l);
        lapic_update_out(l);
        g_mutex_unlock(&l->lock);
        if (v >= 0) {
            lapic_bus_eoi(l->bus, v);
        }
        return true;
    case REG_ICR:
        g_mutex_lock(&l->lock);
        l->icr = icr = (x2 ? val & ~(uint64_t)UINT32_MAX : l->icr & ~(uint64_t)UINT32_MAX) |
                       (val & ICR_WRITABLE);
        g_mutex_unlock(&l->lock);
        send_ipi(l, icr, x2);
        return true;
    case REG_SELF_IPI:
        if (x2) {
            if ((val & 0xff) < 16) {
                error_locked(l, ESR_SEND_VECTOR);
            } else {
                send_self(l, val);
            }
        }
        return x2;
    default:
        return false;
    }
}

/* ---- MMIO ---- */

/* Only xAPIC mode has the window; else the CPU's access goes to nothing. */
static bool window_open(const Lapic *l)
{
    return lapic_hw_enabled(l) && !lapic_x2(l);
}

uint32_t lapic_mmio_read(Lapic *l, uint64_t off)
{
    uint32_t v = UINT32_MAX;
    bool ok = true;

    g_mutex_lock(&l->lock);
    if (window_open(l)) {
        /* Each register is the first dword of 16 bytes; what reading the others gives is
         * undefined. */
        v = off & 0xf ? 0 : read_reg(l, off >> 4, &ok);
        if (!ok) {
            lapic_error(l, ESR_REGISTER);
        }
    }
    g_mutex_unlock(&l->lock);
    return v;
}

void lapic_mmio_write(Lapic *l, uint64_t off, uint32_t val)
{
    unsigned reg = off >> 4;

    g_mutex_lock(&l->lock);
    bool open = window_open(l) && !(off & 0xf);
    g_mutex_unlock(&l->lock);
    if (!open || write_sending(l, reg, val, false)) {
        return;
    }
    g_mutex_lock(&l->lock);
    bool sel_ro = reg == REG_VERSION || reg == REG_APR || reg == REG_PPR || reg == REG_RRD ||
                  reg == REG_CURRENT || (reg >= REG_ISR && reg < REG_ISR + 24);
    if (!sel_ro && !write_reg(l, reg, val)) {
        lapic_error(l, ESR_REGISTER);
    }
    lapic_update_out(l);
    g_mutex_unlock(&l->lock);
}

/* ---- MSRs ---- */

static bool write_base(Lapic *l, uint64_t val)
{
    uint64_t reserved = ~(((1ull << l->cpu_ops->phys_bits(l->cpu)) - 1) & ~0xfffull) &
                        ~(uint64_t)(BASE_BSP | BASE_X2 | BASE_ENABLE);
    uint64_t mode = BASE_X2 | BASE_ENABLE, was = l->base & mode, now = val & mode;

    if ((val & reserved) || now == BASE_X2 || (was == mode && now == BASE_ENABLE) ||
        (!was && now == mode)) {
        return false;
    }
    g_mutex_lock(&l->lock);
    bool moved = (l->base ^ val) & ~0xfffull;
    l->base = (val & ~(uint64_t)BASE_BSP) | (l->base & BASE_BSP);
    if (was && !now) {
        lapic_reset_registers(l);
        l->id = l->initial_id << 24;
    } else if (was != now && now == mode) {
        l->icr &= UINT32_MAX;
    }
    lapic_update_out(l);
    g_mutex_unlock(&l->lock);
    if (moved && l == l->bus->apics->pdata[0]) {
        lapic_bus_move(l->bus, val & ~0xfffull);
    }
    return true;
}

bool lapic_msr_read(void *opaque, uint32_t msr, uint64_t *val)
{
    Lapic *l = opaque;
    bool ok = true;

    g_mutex_lock(&l->lock);
    if (msr == MSR_APIC_BASE) {
        *val = l->base;
    } else if (msr == MSR_TSC_DEADLINE) {
        lapic_timer_poll(l);
        *val = l->tsc_deadline;
    } else if (lapic_x2(l) && msr == MSR_X2APIC + REG_ICR) {
        *val = l->icr;
    } else if (lapic_x2(l) && msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x100) {
        *val = read_reg(l, msr - MSR_X2APIC, &ok);
    } else {
        ok = false;
    }
    g_mutex_unlock(&l->lock);
    return ok;
}

/* Bits that an x2APIC register takes; writing others is #GP. 0 for what cannot be written, or
 * takes only 0. */
static uint64_t x2_writable(unsigned reg)
{
    switch (reg) {
    case REG_TPR:
    case REG_SELF_IPI:
        return 0xff;
    case REG_SVR:
        return 0x3ff;
    case REG_ICR:
        return 0xffffffff00000000 | ICR_WRITABLE;
    case REG_INITIAL:
        return UINT32_MAX;
    case REG_DIVIDE:
        return 0xb;
    default:
        if (reg >= REG_LVT && reg < REG_LVT + LVT_COUNT) {
            return lapic_lvt_writable[reg - REG_LVT] | 1 << 12 |
                   LVT_REMOTE_IRR; /* two are read-only */
        }
        return 0;
    }
}

static bool x2_write(Lapic *l, unsigned reg, uint64_t val)
{
    if (val & ~x2_writable(reg) || reg == REG_ID || reg == REG_LDR || reg == REG_DFR ||
        reg == REG_ICR_HIGH) {
        return false;
    }
    if (write_sending(l, reg, val, true)) {
        return true;
    }
    g_mutex_lock(&l->lock);
    bool ok = write_reg(l, reg, val);
    lapic_update_out(l);
    g_mutex_unlock(&l->lock);
    return ok;
}

bool lapic_msr_write(void *opaque, uint32_t msr, uint64_t val)
{
    Lapic *l = opaque;

    if (msr == MSR_APIC_BASE) {
        return write_base(l, val);
    }
    if (msr == MSR_TSC_DEADLINE) {
        g_mutex_lock(&l->lock);
        lapic_write_deadline(l, val);
        g_mutex_unlock(&l->lock);
        return true;
    }
    /* Only this vCPU changes its mode. */
    return lapic_x2(l) && msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x100 &&
           x2_write(l, msr - MSR_X2APIC, val);
}
