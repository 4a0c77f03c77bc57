/*
 * Local APIC of a P4 or later CPU, xAPIC and x2APIC.
 * Intel SDM volume 3, chapter "Advanced programmable interrupt controller". Without: CMCI,
 * EOI broadcast suppression, local thermal and performance interrupt sources (their LVT entries
 * are there).
 *
 * Locks: see lapic_int.h. The CPU's INTR is the level event VCPU_IRQ, kept up to date by
 * update_out() under the APIC's lock.
 */
#include "core/log.h"
#include "hw/intc/lapic_int.h"
#include <string.h>

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

    ESR_SEND_VECTOR = 1 << 5,
    ESR_RECEIVED_VECTOR = 1 << 6,
    ESR_REGISTER = 1 << 7,

    LVT_REMOTE_IRR = 1 << 14,
    LVT_LEVEL = 1 << 15,
    LVT_MASKED = 1 << 16,
    TIMER_MODE = 3 << 17,
    TIMER_PERIODIC = 1 << 17,
    TIMER_DEADLINE = 2 << 17,

    ICR_LOGICAL = 1 << 11,
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
    ICR_WRITABLE = 0x000ccfff,

    MSR_APIC_BASE = 0x1b,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
};

#define NS_PER_COUNT (NS_PER_SEC / LAPIC_TIMER_HZ)
/* Periodic expirations closer than this become one. */
#define MIN_PERIOD_NS 10000

static const uint32_t lvt_writable[LVT_COUNT] = {
    [LVT_TIMER] = 0x000700ff, [LVT_THERMAL] = 0x000107ff, [LVT_PERF] = 0x000107ff,
    [LVT_LINT0] = 0x0001a7ff, [LVT_LINT1] = 0x0001a7ff,   [LVT_ERROR] = 0x000100ff,
};

/* ---- vectors and priorities; lock held ---- */

static int top_vector(const uint32_t set[8])
{
    for (int i = 7; i >= 0; i--) {
        if (set[i]) {
            return i * 32 + 31 - __builtin_clz(set[i]);
        }
    }
    return -1;
}

static bool test_bit(const uint32_t set[8], uint8_t v)
{
    return set[v / 32] >> (v % 32) & 1;
}

static void set_bit(uint32_t set[8], uint8_t v, bool on)
{
    if (on) {
        set[v / 32] |= 1u << (v % 32);
    } else {
        set[v / 32] &= ~(1u << (v % 32));
    }
}

static uint8_t get_tpr(const Lapic *l)
{
    return __atomic_load_n(&l->tpr, __ATOMIC_SEQ_CST);
}

static uint8_t processor_priority(const Lapic *l)
{
    int isrv = top_vector(l->isr);
    uint8_t tpr = get_tpr(l), in_service = isrv < 0 ? 0 : isrv;

    return tpr >> 4 >= in_service >> 4 ? tpr : in_service & 0xf0;
}

uint8_t lapic_arbitration_priority(const Lapic *l)
{
    int isrv = MAX(top_vector(l->isr), 0), irrv = MAX(top_vector(l->irr), 0);
    uint8_t tpr = get_tpr(l);

    if (tpr >> 4 >= irrv >> 4 && tpr >> 4 > isrv >> 4) {
        return tpr;
    }
    return MAX(tpr & isrv & 0xf0, irrv & 0xf0);
}

bool lapic_has(const Lapic *l, uint8_t vector)
{
    return test_bit(l->irr, vector) || test_bit(l->isr, vector);
}

/* Vector that the CPU would get now; -1 for none. */
static int deliverable(const Lapic *l)
{
    int v = l->irr_any ? top_vector(l->irr) : -1;

    return v >= 0 && v >> 4 > processor_priority(l) >> 4 ? v : -1;
}

/* Does the 8259 pair's INTR reach the CPU? */
static bool extint_pending(const Lapic *l)
{
    uint32_t lvt = l->lvt[LVT_LINT0];

    if (!lapic_hw_enabled(l)) {
        return l->lint[0];
    }
    return l->extint || (l->lint[0] && !(lvt & LVT_MASKED) && (lvt >> 8 & 7) == LAPIC_EXTINT);
}

static void update_out(Lapic *l)
{
    bool out = extint_pending(l) || deliverable(l) >= 0;

    if (out != l->out) {
        l->out = out;
        (out ? vcpu_signal : vcpu_unsignal)(l->cpu, VCPU_IRQ);
    }
}

static void note_irr(Lapic *l)
{
    uint32_t any = 0;

    for (unsigned i = 0; i < 8; i++) {
        any |= l->irr[i];
    }
    __atomic_store_n(&l->irr_any, any != 0, __ATOMIC_SEQ_CST);
}

static void set_error(Lapic *l, uint32_t bit);

/* A fixed interrupt arrives. */
static bool request_vector(Lapic *l, uint8_t vector, bool level)
{
    if (vector < 16) {
        set_error(l, ESR_RECEIVED_VECTOR);
        return false;
    }
    set_bit(l->irr, vector, true);
    set_bit(l->tmr, vector, level);
    __atomic_store_n(&l->irr_any, 1, __ATOMIC_SEQ_CST);
    update_out(l);
    return true;
}

static void set_error(Lapic *l, uint32_t bit)
{
    uint32_t lvt = l->lvt[LVT_ERROR];

    l->esr_pending |= bit;
    /* An error in the error vector has nowhere to go. */
    if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16) {
        request_vector(l, lvt, false);
    }
}

bool lapic_accept(Lapic *l, uint8_t mode, uint8_t vector, bool level)
{
    switch (mode) {
    case LAPIC_FIXED:
    case LAPIC_LOWEST:
        return (l->svr & SVR_ENABLE) && request_vector(l, vector, level);
    case LAPIC_SMI:
        vcpu_signal(l->cpu, VCPU_SMI);
        return true;
    case LAPIC_NMI:
        vcpu_signal(l->cpu, VCPU_NMI);
        return true;
    case LAPIC_INIT:
        vcpu_signal(l->cpu, VCPU_INIT);
        return true;
    case LAPIC_SIPI:
        __atomic_store_n(&l->cpu->sipi_vector, vector, __ATOMIC_SEQ_CST);
        vcpu_signal(l->cpu, VCPU_SIPI);
        return true;
    case LAPIC_EXTINT:
        l->extint = true;
        update_out(l);
        return true;
    default:
        return false;
    }
}

/* ---- local interrupt pins; lock held ---- */

/* The pin rose, or is still high for a level-triggered entry. */
static void lint_event(Lapic *l, unsigned n, bool rose)
{
    uint32_t *lvt = &l->lvt[LVT_LINT0 + n];
    unsigned mode = *lvt >> 8 & 7;

    if (*lvt & LVT_MASKED) {
        return;
    }
    if (mode == LAPIC_FIXED && (*lvt & LVT_LEVEL)) {
        if (l->lint[n] && !(*lvt & LVT_REMOTE_IRR) && request_vector(l, *lvt, true)) {
            *lvt |= LVT_REMOTE_IRR;
        }
    } else if (rose && mode != LAPIC_EXTINT && mode != LAPIC_SIPI && mode != LAPIC_LOWEST) {
        lapic_accept(l, mode, *lvt, false);
    }
}

void lapic_set_lint(Lapic *l, unsigned n, bool level)
{
    bool rose = level && !l->lint[n];

    l->lint[n] = level;
    if (lapic_hw_enabled(l)) {
        lint_event(l, n, rose);
    } else if (n == 1 && rose) {
        vcpu_signal(l->cpu, VCPU_NMI);
    }
    update_out(l);
}

/* ---- timer; lock held ---- */

static int64_t divider(const Lapic *l)
{
    unsigned code = (l->divide & 3) | (l->divide & 8) >> 1;

    return (1 << ((code + 1) & 7)) * NS_PER_COUNT;
}

static uint32_t timer_mode(const Lapic *l)
{
    return l->lvt[LVT_TIMER] & TIMER_MODE;
}

/* The timer reached zero before now: deliver, and reload or stop. */
static void timer_poll(Lapic *l)
{
    int64_t now;

    if (l->expiry < 0 || (now = clock_now(l->clk)) < l->expiry) {
        return;
    }
    if (timer_mode(l) == TIMER_PERIODIC && l->initial_count) {
        int64_t period = l->initial_count * divider(l);
        l->expiry += (now - l->expiry) / period * period + period;
    } else {
        l->expiry = -1;
        l->tsc_deadline = 0;
    }
    if (!(l->lvt[LVT_TIMER] & LVT_MASKED)) {
        request_vector(l, l->lvt[LVT_TIMER], false);
    }
}

/* The host timer runs only if somebody will notice. */
static void timer_arm(Lapic *l)
{
    if (l->expiry < 0 || (l->lvt[LVT_TIMER] & LVT_MASKED)) {
        timer_del(&l->timer);
    } else if (timer_mode(l) == TIMER_PERIODIC) {
        timer_set(&l->timer, MAX(l->expiry, clock_now(l->clk) + MIN_PERIOD_NS));
    } else {
        timer_set(&l->timer, l->expiry);
    }
}

static void on_timer(void *opaque)
{
    Lapic *l = opaque;

    g_mutex_lock(&l->lock);
    timer_poll(l);
    timer_arm(l);
    g_mutex_unlock(&l->lock);
}

static uint32_t timer_count(Lapic *l)
{
    timer_poll(l);
    if (l->expiry < 0 || timer_mode(l) == TIMER_DEADLINE) {
        return 0;
    }
    int64_t div = divider(l);
    return (l->expiry - clock_now(l->clk) + div - 1) / div;
}

static void write_initial_count(Lapic *l, uint32_t val)
{
    timer_poll(l);
    if (timer_mode(l) == TIMER_DEADLINE) {
        return;
    }
    l->initial_count = val;
    l->expiry = val ? clock_now(l->clk) + val * divider(l) : -1;
    timer_arm(l);
}

static void write_divide(Lapic *l, uint32_t val)
{
    uint32_t left = timer_count(l);

    l->divide = val & 0xb;
    if (l->expiry >= 0 && timer_mode(l) != TIMER_DEADLINE) {
        l->expiry = clock_now(l->clk) + left * divider(l);
    }
    timer_arm(l);
}

static void write_deadline(Lapic *l, uint64_t val)
{
    uint64_t hz = l->cpu_ops->tsc_hz(l->cpu);

    timer_poll(l);
    if (timer_mode(l) != TIMER_DEADLINE || !hz) {
        return;
    }
    l->tsc_deadline = val;
    l->expiry = -1;
    if (val) {
        uint64_t tsc = l->cpu_ops->tsc_read(l->cpu);
        unsigned __int128 ns = val > tsc ? val - tsc : 0;
        ns = (ns * NS_PER_SEC + hz - 1) / hz;
        l->expiry = clock_now(l->clk) + (int64_t)MIN(ns, INT64_MAX / 4);
        timer_poll(l);
    }
    timer_arm(l);
}

static void write_timer_lvt(Lapic *l, uint32_t val)
{
    timer_poll(l);
    bool was_deadline = timer_mode(l) == TIMER_DEADLINE;

    l->lvt[LVT_TIMER] = val;
    if (was_deadline != (timer_mode(l) == TIMER_DEADLINE)) {
        l->expiry = -1;
        l->tsc_deadline = 0;
        l->initial_count = 0;
    }
    timer_arm(l);
}

/* ---- registers; lock held ---- */

/* Reset state but for APIC_BASE and the ids: power-on, INIT, or disabling. */
static void reset_registers(Lapic *l)
{
    __atomic_store_n(&l->tpr, 0, __ATOMIC_SEQ_CST);
    l->ldr = 0;
    l->dfr = UINT32_MAX;
    l->svr = 0xff;
    memset(l->isr, 0, sizeof(l->isr));
    memset(l->irr, 0, sizeof(l->irr));
    memset(l->tmr, 0, sizeof(l->tmr));
    note_irr(l);
    l->esr = l->esr_pending = 0;
    l->icr = 0;
    for (unsigned i = 0; i < LVT_COUNT; i++) {
        l->lvt[i] = LVT_MASKED;
    }
    l->extint = false;
    l->initial_count = l->divide = 0;
    l->expiry = -1;
    l->tsc_deadline = 0;
    timer_arm(l);
}

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
        return get_tpr(l);
    case REG_PPR:
        return processor_priority(l);
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
        return timer_count(l);
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
        timer_arm(l);
    }
}

static void write_lvt(Lapic *l, unsigned i, uint32_t val)
{
    uint32_t writable = lvt_writable[i];

    val = (val & writable) | (l->lvt[i] & ~writable);
    if (!(l->svr & SVR_ENABLE)) {
        val |= LVT_MASKED;
    }
    if (i == LVT_TIMER) {
        write_timer_lvt(l, val);
        return;
    }
    if ((i == LVT_LINT0 || i == LVT_LINT1) && !(val & LVT_LEVEL)) {
        val &= ~LVT_REMOTE_IRR;
    }
    l->lvt[i] = val;
    if (i == LVT_LINT0 || i == LVT_LINT1) {
        lint_event(l, i - LVT_LINT0, false);
    }
}

/* The level-triggered vector that ended, for the I/O APICs; -1: none. */
static int end_of_interrupt(Lapic *l)
{
    int v = top_vector(l->isr);

    if (v < 0) {
        return -1;
    }
    set_bit(l->isr, v, false);
    bool level = test_bit(l->tmr, v);
    for (unsigned n = 0; n < 2; n++) {
        uint32_t *lvt = &l->lvt[LVT_LINT0 + n];
        if ((*lvt & LVT_REMOTE_IRR) && (*lvt & 0xff) == v) {
            *lvt &= ~LVT_REMOTE_IRR;
            lint_event(l, n, false);
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
        write_initial_count(l, val);
        return true;
    case REG_DIVIDE:
        write_divide(l, val);
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
    set_error(l, bit);
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
        update_out(l);
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
            set_error(l, ESR_REGISTER);
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
        set_error(l, ESR_REGISTER);
    }
    update_out(l);
    g_mutex_unlock(&l->lock);
}

/* ---- the CPU's side ---- */

static int lapic_ack(void *opaque)
{
    Lapic *l = opaque;

    g_mutex_lock(&l->lock);
    int v = deliverable(l);
    bool extint = v < 0 && extint_pending(l);
    if (v >= 0) {
        set_bit(l->irr, v, false);
        set_bit(l->isr, v, true);
        note_irr(l);
    } else if (extint) {
        l->extint = false;
    }
    update_out(l);
    g_mutex_unlock(&l->lock);
    if (extint && l->bus->inta) {
        bool take = !machine_lock_held();
        if (take) {
            machine_lock();
        }
        v = l->bus->inta(l->bus->inta_opaque);
        if (take) {
            machine_unlock();
        }
    }
    return v;
}

static uint8_t lapic_get_cr8(void *opaque)
{
    return get_tpr(opaque) >> 4;
}

/* Without the lock while nothing is requested. The order makes it safe: here TPR is written,
 * then irr_any read; a sender writes irr_any, then reads TPR. One of them sees the other. */
static void lapic_set_cr8(void *opaque, uint8_t cr8)
{
    Lapic *l = opaque;

    __atomic_store_n(&l->tpr, (cr8 & 15) << 4, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&l->irr_any, __ATOMIC_SEQ_CST)) {
        g_mutex_lock(&l->lock);
        update_out(l);
        g_mutex_unlock(&l->lock);
    }
}

static void lapic_init_reset(void *opaque)
{
    Lapic *l = opaque;

    g_mutex_lock(&l->lock);
    reset_registers(l);
    update_out(l);
    g_mutex_unlock(&l->lock);
}

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
        reset_registers(l);
        l->id = l->initial_id << 24;
    } else if (was != now && now == mode) {
        l->icr &= UINT32_MAX;
    }
    update_out(l);
    g_mutex_unlock(&l->lock);
    if (moved && l == l->bus->apics->pdata[0]) {
        lapic_bus_move(l->bus, val & ~0xfffull);
    }
    return true;
}

static bool lapic_msr_read(void *opaque, uint32_t msr, uint64_t *val)
{
    Lapic *l = opaque;
    bool ok = true;

    g_mutex_lock(&l->lock);
    if (msr == MSR_APIC_BASE) {
        *val = l->base;
    } else if (msr == MSR_TSC_DEADLINE) {
        timer_poll(l);
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
            return lvt_writable[reg - REG_LVT] | 1 << 12 | LVT_REMOTE_IRR; /* two are read-only */
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
    update_out(l);
    g_mutex_unlock(&l->lock);
    return ok;
}

static bool lapic_msr_write(void *opaque, uint32_t msr, uint64_t val)
{
    Lapic *l = opaque;

    if (msr == MSR_APIC_BASE) {
        return write_base(l, val);
    }
    if (msr == MSR_TSC_DEADLINE) {
        g_mutex_lock(&l->lock);
        write_deadline(l, val);
        g_mutex_unlock(&l->lock);
        return true;
    }
    /* Only this vCPU changes its mode. */
    return lapic_x2(l) && msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x100 &&
           x2_write(l, msr - MSR_X2APIC, val);
}

const X86Intc lapic_intc = {
    .ack = lapic_ack,
    .get_tpr = lapic_get_cr8,
    .set_tpr = lapic_set_cr8,
    .msr_read = lapic_msr_read,
    .msr_write = lapic_msr_write,
    .init_reset = lapic_init_reset,
};

/* ---- life ---- */

static void lapic_reset(Device *dev)
{
    Lapic *l = (Lapic *)dev;
    bool first = l == l->bus->apics->pdata[0];

    g_mutex_lock(&l->lock);
    l->base = LAPIC_BASE | BASE_ENABLE | (l->cpu->index == 0 ? BASE_BSP : 0);
    l->id = l->initial_id << 24;
    reset_registers(l);
    l->out = false;
    vcpu_unsignal(l->cpu, VCPU_IRQ);
    update_out(l);
    g_mutex_unlock(&l->lock);
    if (first) {
        lapic_bus_move(l->bus, LAPIC_BASE);
    }
}

static bool lapic_post_load(void *obj, GError **err)
{
    Lapic *l = obj;
    uint64_t mode = l->base & (BASE_X2 | BASE_ENABLE);

    if (mode == BASE_X2 || l->expiry < -1 || l->expiry > INT64_MAX / 2 ||
        (l->base & 0x6ff & ~(uint64_t)(BASE_BSP | BASE_X2))) {
        return fail(err, "The saved state of the lapic is impossible");
    }
    l->tpr &= 0xff;
    l->svr &= 0x3ff;
    l->divide &= 0xb;
    l->irr[0] &= 0xffff0000;
    l->isr[0] &= 0xffff0000;
    for (unsigned i = 0; i < LVT_COUNT; i++) {
        l->lvt[i] &= lvt_writable[i] | LVT_REMOTE_IRR;
    }
    note_irr(l);
    l->out = false;
    vcpu_unsignal(l->cpu, VCPU_IRQ);
    update_out(l);
    if (l == l->bus->apics->pdata[0]) {
        lapic_bus_move(l->bus, l->base & ~0xfffull);
    }
    return true;
}

static const StateField lapic_fields[] = {
    STATE_U64(Lapic, base),
    STATE_U32(Lapic, id),
    STATE_U32(Lapic, tpr),
    STATE_U32(Lapic, ldr),
    STATE_U32(Lapic, dfr),
    STATE_U32(Lapic, svr),
    STATE_U32_ARRAY(Lapic, isr),
    STATE_U32_ARRAY(Lapic, irr),
    STATE_U32_ARRAY(Lapic, tmr),
    STATE_U32(Lapic, esr),
    STATE_U32(Lapic, esr_pending),
    STATE_U64(Lapic, icr),
    STATE_U32_ARRAY(Lapic, lvt),
    STATE_ARRAY_(Lapic, lint, STATE_BOOL, bool),
    STATE_BOOL(Lapic, extint),
    STATE_U32(Lapic, initial_count),
    STATE_U32(Lapic, divide),
    STATE_I64(Lapic, expiry),
    STATE_U64(Lapic, tsc_deadline),
    STATE_TIMER(Lapic, timer),
    STATE_END_FIELD,
};
static const StateTable lapic_table = {
    .name = "lapic", .version = 1, .fields = lapic_fields, .post_load = lapic_post_load};

static bool lapic_realize(Device *dev, GError **err)
{
    Lapic *l = (Lapic *)dev;

    if (!l->bus || !l->cpu || !l->clk) {
        return fail(err, "lapic: no CPU");
    }
    g_mutex_init(&l->lock);
    timer_init(&l->timer, l->clk, on_timer, l);
    g_ptr_array_add(l->bus->apics, l);
    return true;
}

static void lapic_unrealize(Device *dev)
{
    Lapic *l = (Lapic *)dev;

    timer_del(&l->timer);
    g_ptr_array_remove(l->bus->apics, l);
    g_mutex_clear(&l->lock);
}

const DeviceType lapic_type = {
    .name = "lapic",
    .desc = "Local APIC",
    .size = sizeof(Lapic),
    .realize = lapic_realize,
    .unrealize = lapic_unrealize,
    .reset = lapic_reset,
    .state = &lapic_table,
};

static const LapicCpuOps x86_ops = {
    .tsc_hz = x86_tsc_hz, .tsc_read = x86_tsc_read, .phys_bits = x86_phys_bits};

Lapic *lapic_new(LapicBus *bus, VCpu *cpu, uint32_t apic_id, Clock *clk, GError **err)
{
    Lapic *l = (Lapic *)device_new(&lapic_type, bus->machine);

    l->bus = bus;
    l->cpu = cpu;
    l->initial_id = apic_id;
    l->clk = clk;
    l->cpu_ops = &x86_ops;
    if (!device_realize(&l->dev, NULL, err)) {
        device_free(&l->dev);
        return NULL;
    }
    return l;
}

void lapic_set_cpu_ops(Lapic *l, const LapicCpuOps *ops)
{
    l->cpu_ops = ops;
}
