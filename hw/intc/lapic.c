/*
 * Local APIC of a P4 or later CPU, xAPIC and x2APIC: interrupt requests, local pins, timer and the
 * CPU's side. Registers are in lapic_regs.c, messages between APICs in lapic_bus.c.
 * Intel SDM volume 3, chapter "Advanced programmable interrupt controller". Without: CMCI, EOI
 * broadcast suppression, local thermal and performance interrupt sources (their LVT entries are
 * there).
 *
 * Locks: see lapic_int.h. The CPU's INTR is the level event VCPU_IRQ, kept up to date by
 * lapic_update_out() under the APIC's lock.
 */
#include "core/log.h"
#include "hw/intc/lapic_int.h"
#include <string.h>

enum {
    TIMER_MODE = 3 << 17, /* of LVT_TIMER */
    TIMER_PERIODIC = 1 << 17,
    TIMER_DEADLINE = 2 << 17,
};

#define NS_PER_COUNT (NS_PER_SEC / LAPIC_TIMER_HZ)
/* Periodic expirations closer than this become one. */
#define MIN_PERIOD_NS 10000

/* ---- vectors and priorities; lock held ---- */

int lapic_top_vector(const uint32_t set[8])
{
    for (int i = 7; i >= 0; i--) {
        if (set[i]) {
            return i * 32 + 31 - __builtin_clz(set[i]);
        }
    }
    return -1;
}

uint8_t lapic_tpr(const Lapic *l)
{
    return __atomic_load_n(&l->tpr, __ATOMIC_SEQ_CST);
}

uint8_t lapic_processor_priority(const Lapic *l)
{
    int isrv = lapic_top_vector(l->isr);
    uint8_t tpr = lapic_tpr(l), in_service = isrv < 0 ? 0 : isrv;

    return tpr >> 4 >= in_service >> 4 ? tpr : in_service & 0xf0;
}

uint8_t lapic_arbitration_priority(const Lapic *l)
{
    int isrv = MAX(lapic_top_vector(l->isr), 0), irrv = MAX(lapic_top_vector(l->irr), 0);
    uint8_t tpr = lapic_tpr(l);

    if (tpr >> 4 >= irrv >> 4 && tpr >> 4 > isrv >> 4) {
        return tpr;
    }
    return MAX(tpr & isrv & 0xf0, irrv & 0xf0);
}

bool lapic_has(const Lapic *l, uint8_t vector)
{
    return lapic_test_bit(l->irr, vector) || lapic_test_bit(l->isr, vector);
}

/* Vector that the CPU would get now; -1 for none. */
static int deliverable(const Lapic *l)
{
    int v = l->irr_any ? lapic_top_vector(l->irr) : -1;

    return v >= 0 && v >> 4 > lapic_processor_priority(l) >> 4 ? v : -1;
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

void lapic_update_out(Lapic *l)
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

bool lapic_request(Lapic *l, uint8_t vector, bool level)
{
    if (vector < 16) {
        lapic_error(l, ESR_RECEIVED_VECTOR);
        return false;
    }
    lapic_set_bit(l->irr, vector, true);
    lapic_set_bit(l->tmr, vector, level);
    __atomic_store_n(&l->irr_any, 1, __ATOMIC_SEQ_CST);
    lapic_update_out(l);
    return true;
}

void lapic_error(Lapic *l, uint32_t bit)
{
    uint32_t lvt = l->lvt[LVT_ERROR];

    l->esr_pending |= bit;
    /* An error in the error vector has nowhere to go. */
    if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16) {
        lapic_request(l, lvt, false);
    }
}

bool lapic_accept(Lapic *l, uint8_t mode, uint8_t vector, bool level)
{
    switch (mode) {
    case LAPIC_FIXED:
    case LAPIC_LOWEST:
        return (l->svr & SVR_ENABLE) && lapic_request(l, vector, level);
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
        lapic_update_out(l);
        return true;
    default:
        return false;
    }
}

/* ---- local interrupt pins; lock held ---- */

/* The pin rose, or is still high for a level-triggered entry. */
void lapic_lint_event(Lapic *l, unsigned n, bool rose)
{
    uint32_t *lvt = &l->lvt[LVT_LINT0 + n];
    unsigned mode = *lvt >> 8 & 7;

    if (*lvt & LVT_MASKED) {
        return;
    }
    if (mode == LAPIC_FIXED && (*lvt & LVT_LEVEL)) {
        if (l->lint[n] && !(*lvt & LVT_REMOTE_IRR) && lapic_request(l, *lvt, true)) {
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
        lapic_lint_event(l, n, rose);
    } else if (n == 1 && rose) {
        vcpu_signal(l->cpu, VCPU_NMI);
    }
    lapic_update_out(l);
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
void lapic_timer_poll(Lapic *l)
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
        lapic_request(l, l->lvt[LVT_TIMER], false);
    }
}

/* The host timer runs only if somebody will notice. */
void lapic_timer_arm(Lapic *l)
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
    lapic_timer_poll(l);
    lapic_timer_arm(l);
    g_mutex_unlock(&l->lock);
}

uint32_t lapic_timer_count(Lapic *l)
{
    lapic_timer_poll(l);
    if (l->expiry < 0 || timer_mode(l) == TIMER_DEADLINE) {
        return 0;
    }
    int64_t div = divider(l), left = MAX(l->expiry - clock_now(l->clk), 0);
    return (left + div - 1) / div;
}

void lapic_write_initial_count(Lapic *l, uint32_t val)
{
    lapic_timer_poll(l);
    if (timer_mode(l) == TIMER_DEADLINE) {
        return;
    }
    l->initial_count = val;
    l->expiry = val ? clock_now(l->clk) + val * divider(l) : -1;
    lapic_timer_arm(l);
}

void lapic_write_divide(Lapic *l, uint32_t val)
{
    uint32_t left = lapic_timer_count(l);

    l->divide = val & 0xb;
    if (l->expiry >= 0 && timer_mode(l) != TIMER_DEADLINE) {
        l->expiry = clock_now(l->clk) + left * divider(l);
    }
    lapic_timer_arm(l);
}

void lapic_write_deadline(Lapic *l, uint64_t val)
{
    uint64_t hz = l->cpu_ops->tsc_hz(l->cpu);

    lapic_timer_poll(l);
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
        lapic_timer_poll(l);
    }
    lapic_timer_arm(l);
}

void lapic_write_timer_lvt(Lapic *l, uint32_t val)
{
    lapic_timer_poll(l);
    bool was_deadline = timer_mode(l) == TIMER_DEADLINE;

    l->lvt[LVT_TIMER] = val;
    if (was_deadline != (timer_mode(l) == TIMER_DEADLINE)) {
        l->expiry = -1;
        l->tsc_deadline = 0;
        l->initial_count = 0;
    }
    lapic_timer_arm(l);
}

/* ---- the CPU's side ---- */

/* Reset state but for APIC_BASE and the ids: power-on, INIT, or disabling. */
void lapic_reset_registers(Lapic *l)
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
    lapic_timer_arm(l);
}

static int lapic_ack(void *opaque)
{
    Lapic *l = opaque;

    g_mutex_lock(&l->lock);
    int v = deliverable(l);
    bool extint = v < 0 && extint_pending(l);
    if (v >= 0) {
        lapic_set_bit(l->irr, v, false);
        lapic_set_bit(l->isr, v, true);
        note_irr(l);
    } else if (extint) {
        l->extint = false;
    }
    lapic_update_out(l);
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
    return lapic_tpr(opaque) >> 4;
}

/* Without the lock while nothing is requested. The order makes it safe: here TPR is written,
 * then irr_any read; a sender writes irr_any, then reads TPR. One of them sees the other. */
static void lapic_set_cr8(void *opaque, uint8_t cr8)
{
    Lapic *l = opaque;

    __atomic_store_n(&l->tpr, (cr8 & 15) << 4, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&l->irr_any, __ATOMIC_SEQ_CST)) {
        g_mutex_lock(&l->lock);
        lapic_update_out(l);
        g_mutex_unlock(&l->lock);
    }
}

static void lapic_init_reset(void *opaque)
{
    Lapic *l = opaque;

    g_mutex_lock(&l->lock);
    lapic_reset_registers(l);
    lapic_update_out(l);
    g_mutex_unlock(&l->lock);
}

const LocalIntc lapic_intc = {
    .ack = lapic_ack,
    .get_priority = lapic_get_cr8,
    .set_priority = lapic_set_cr8,
    .reg_read = lapic_msr_read,
    .reg_write = lapic_msr_write,
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
    lapic_reset_registers(l);
    l->out = false;
    vcpu_unsignal(l->cpu, VCPU_IRQ);
    lapic_update_out(l);
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
        l->lvt[i] &= lapic_lvt_writable[i] | LVT_REMOTE_IRR;
    }
    note_irr(l);
    l->out = false;
    vcpu_unsignal(l->cpu, VCPU_IRQ);
    lapic_update_out(l);
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

static uint64_t target_hz(VCpu *cpu)
{
    return cpu->target->board->counter_hz(cpu);
}

static uint64_t target_counter(VCpu *cpu)
{
    return cpu->target->board->counter_read(cpu);
}

static unsigned target_phys_bits(VCpu *cpu)
{
    return cpu_identity(cpu).phys_bits;
}

static const LapicCpuOps target_ops = {
    .tsc_hz = target_hz, .tsc_read = target_counter, .phys_bits = target_phys_bits};

Lapic *lapic_new(LapicBus *bus, VCpu *cpu, uint32_t apic_id, Clock *clk, GError **err)
{
    Lapic *l = (Lapic *)device_new(&lapic_type, bus->machine);

    l->bus = bus;
    l->cpu = cpu;
    l->initial_id = apic_id;
    l->clk = clk;
    l->cpu_ops = &target_ops;
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
