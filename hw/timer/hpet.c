/*
 * High precision event timer.
 * Specification: IA-PC HPET 1.0a (Intel, October 2004).
 *
 * The main counter is the Clock divided by 10 ns. A comparator remembers the main counter value
 * of its next match, in 64 bits whatever its size; the host timer wakes for it.
 */
#include "hw/timer/hpet.h"
#include "core/log.h"

#define TIMERS 3
#define TICK_NS (HPET_PERIOD_FS / 1000000)
#define SIZE 0x400

/* Matches of one comparator closer than this become one, so that a tiny period does not eat the
 * host. */
#define MIN_MATCH_NS 20000

/* Where each comparator's interrupt can go, besides legacy replacement: pins that a PC leaves
 * free for it. */
#define ROUTES 0x00f00000u

enum {
    CAPABILITY = 0x00,
    CONFIG = 0x10,
    STATUS = 0x20,
    COUNTER = 0xf0,
    TIMER0 = 0x100,
    TN_CONFIG = 0x00,
    TN_COMPARATOR = 0x08,

    CONF_ENABLE = 1 << 0,
    CONF_LEGACY = 1 << 1,

    TN_LEVEL = 1 << 1,
    TN_ENABLE = 1 << 2,
    TN_PERIODIC = 1 << 3,
    TN_PERIODIC_CAP = 1 << 4,
    TN_SIZE_CAP = 1 << 5,
    TN_VAL_SET = 1 << 6,
    TN_32BIT = 1 << 8,
    TN_ROUTE_SHIFT = 9,
    TN_WRITABLE = TN_LEVEL | TN_ENABLE | TN_PERIODIC | TN_VAL_SET | TN_32BIT | 31 << TN_ROUTE_SHIFT,
};

typedef struct HpetTimer {
    uint32_t config; /* writable bits */
    uint64_t comparator, period;
    bool armed;
    uint64_t match; /* main counter of the next match, if armed */
    int64_t last;   /* ns of the last match */
    Timer timer;
    Hpet *hpet;
    unsigned n;
} HpetTimer;

struct Hpet {
    Device dev;
    uint64_t config;
    uint32_t status;  /* bit n: comparator n matched in level mode */
    uint64_t counter; /* halted: its value; running: value at Clock zero */
    HpetTimer tn[TIMERS];
    bool legacy_in[2];
    bool legacy_out[2]; /* levels on @legacy */
    uint32_t gsi_out;   /* and on @gsi */
    Clock *clk;
    Irq legacy[2], gsi[24];
    MemRegion regs;
    /* The main counter is a clock source that guests read all the time: a region of its own that
     * is read without the machine lock. seq is odd while config and counter change. */
    MemRegion counter_reg;
    uint32_t seq;
};

/* ---- counting ---- */

static bool running(const Hpet *s)
{
    return s->config & CONF_ENABLE;
}

static uint64_t counter_at(const Hpet *s, int64_t ns)
{
    return running(s) ? s->counter + ns / TICK_NS : s->counter;
}

static void set_counter(Hpet *s, uint64_t config, uint64_t counter)
{
    __atomic_store_n(&s->seq, s->seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&s->config, config, __ATOMIC_RELAXED);
    __atomic_store_n(&s->counter, counter, __ATOMIC_RELAXED);
    __atomic_store_n(&s->seq, s->seq + 1, __ATOMIC_RELEASE);
}

/* From any thread, without the lock. */
static uint64_t counter_unlocked(const Hpet *s)
{
    uint64_t config, counter, v;
    uint32_t seq;

    do {
        seq = __atomic_load_n(&s->seq, __ATOMIC_ACQUIRE);
        config = __atomic_load_n(&s->config, __ATOMIC_RELAXED);
        counter = __atomic_load_n(&s->counter, __ATOMIC_RELAXED);
        v = config & CONF_ENABLE ? counter + clock_now(s->clk) / TICK_NS : counter;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (G_UNLIKELY((seq & 1) || seq != __atomic_load_n(&s->seq, __ATOMIC_RELAXED)));
    return v;
}

static uint64_t counter_now(const Hpet *s)
{
    return counter_at(s, clock_now(s->clk));
}

/* ---- outputs ---- */

static bool is_legacy(const HpetTimer *t)
{
    return (t->hpet->config & CONF_LEGACY) && t->n < 2;
}

/* Pin that the interrupt goes to; -1: none. */
static int route(const HpetTimer *t)
{
    unsigned pin = t->config >> TN_ROUTE_SHIFT & 31;

    return ROUTES & (1u << pin) ? (int)pin : -1;
}

static bool level_active(const HpetTimer *t)
{
    return running(t->hpet) && (t->config & (TN_LEVEL | TN_ENABLE)) == (TN_LEVEL | TN_ENABLE) &&
           (t->hpet->status & (1u << t->n));
}

static void update_irq(Hpet *s)
{
    bool legacy[2] = {s->legacy_in[0], s->legacy_in[1]};
    uint32_t gsi = 0;

    if (s->config & CONF_LEGACY) {
        legacy[0] = level_active(&s->tn[0]);
        legacy[1] = level_active(&s->tn[1]);
    }
    for (unsigned n = 0; n < TIMERS; n++) {
        const HpetTimer *t = &s->tn[n];
        if (!is_legacy(t) && level_active(t) && route(t) >= 0) {
            gsi |= 1u << route(t);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        if (legacy[i] != s->legacy_out[i]) {
            s->legacy_out[i] = legacy[i];
            irq_set(&s->legacy[i], legacy[i]);
        }
    }
    uint32_t changed = gsi ^ s->gsi_out;
    s->gsi_out = gsi;
    for (unsigned i = 0; changed; i++, changed >>= 1) {
        if (changed & 1) {
            irq_set(&s->gsi[i], gsi >> i & 1);
        }
    }
}

/* The comparator matched. */
static void raise_interrupt(HpetTimer *t)
{
    Hpet *s = t->hpet;

    if (t->config & TN_LEVEL) {
        s->status |= 1u << t->n;
        update_irq(s);
    } else if (t->config & TN_ENABLE) {
        if (is_legacy(t)) {
            irq_pulse(&s->legacy[t->n]);
        } else if (route(t) >= 0 && !(s->gsi_out & (1u << route(t)))) {
            irq_pulse(&s->gsi[route(t)]);
        }
    }
}

static void legacy_input(void *opaque, int n, int level)
{
    Hpet *s = opaque;

    s->legacy_in[n] = level;
    update_irq(s);
}

/* ---- comparators ---- */

static uint64_t comparator_mask(const HpetTimer *t)
{
    return t->config & TN_32BIT ? UINT32_MAX : UINT64_MAX;
}

/* Wake for the match. A timer without interrupt needs none: every register access catches up. */
static void set_timer(HpetTimer *t)
{
    Hpet *s = t->hpet;

    if (!running(s) || !t->armed || !(t->config & TN_ENABLE)) {
        timer_del(&t->timer);
        return;
    }
    /* First instant at which the counter is `match`. */
    uint64_t ticks = t->match - s->counter;
    int64_t ns = ticks > INT64_MAX / TICK_NS ? INT64_MAX : (int64_t)ticks * TICK_NS;
    if (t->config & TN_PERIODIC) {
        ns = MAX(ns, t->last + MIN_MATCH_NS);
    }
    timer_set(&t->timer, ns);
}

/* The first match at @from or later; after a change of comparator, size or counter. */
static void arm(HpetTimer *t, uint64_t from)
{
    uint64_t distance = (t->comparator - from) & comparator_mask(t);

    /* What lies behind in 64 bits comes again in centuries. */
    t->match = from + distance;
    t->armed = distance <= INT64_MAX;
    set_timer(t);
}

/* Matches up to now happen. */
static void catch_up(HpetTimer *t)
{
    Hpet *s = t->hpet;
    int64_t ns = clock_now(s->clk);
    uint64_t now = counter_at(s, ns), mask = comparator_mask(t);

    if (!running(s) || !t->armed || (int64_t)(now - t->match) < 0) {
        return;
    }
    if (t->config & TN_PERIODIC) {
        uint64_t period = t->period & mask;
        uint64_t steps = period ? (now - t->match) / period + 1 : 0;
        t->match += steps * period; /* modulo 2^64, as all comparisons */
        t->armed = period && t->match - now <= INT64_MAX;
        t->comparator = t->match & mask;
    } else if (t->config & TN_32BIT) {
        t->match += ((now - t->match) >> 32 << 32) + (1ull << 32);
    } else {
        t->armed = false;
    }
    t->last = ns;
    set_timer(t);
    raise_interrupt(t);
}

static void catch_up_all(Hpet *s)
{
    for (unsigned n = 0; n < TIMERS; n++) {
        catch_up(&s->tn[n]);
    }
}

static void on_timer(void *opaque)
{
    HpetTimer *t = opaque;

    catch_up(t);
    if (!timer_pending(&t->timer)) {
        set_timer(t); /* it came too early */
    }
}

/* ---- registers ---- */

static uint64_t read_timer(const HpetTimer *t, unsigned reg)
{
    switch (reg) {
    case TN_CONFIG:
        return (uint64_t)ROUTES << 32 | TN_PERIODIC_CAP | TN_SIZE_CAP | t->config;
    case TN_COMPARATOR:
        return t->comparator & comparator_mask(t);
    default:
        return 0; /* no FSB delivery */
    }
}

/* The 64-bit register at @reg. */
static uint64_t read_reg(Hpet *s, unsigned reg)
{
    switch (reg) {
    case CAPABILITY:
        return (uint64_t)HPET_PERIOD_FS << 32 | 0x8086u << 16 | 1 << 15 | 1 << 13 |
               (TIMERS - 1) << 8 | 1;
    case CONFIG:
        return s->config;
    case STATUS:
        return s->status;
    case COUNTER:
        return counter_now(s);
    default:
        if (reg >= TIMER0 && reg < TIMER0 + TIMERS * 0x20) {
            return read_timer(&s->tn[(reg - TIMER0) / 0x20], reg & 0x1f);
        }
        return 0;
    }
}

static uint64_t hpet_read(void *opaque, uint64_t off, unsigned size)
{
    Hpet *s = opaque;

    catch_up_all(s);
    uint64_t v = read_reg(s, off & ~7u);
    return size == 8 ? v : v >> (off & 4 ? 32 : 0);
}

static void write_config(Hpet *s, uint64_t val)
{
    int64_t ns = clock_now(s->clk);
    uint64_t now = counter_at(s, ns);

    val &= CONF_ENABLE | CONF_LEGACY;
    set_counter(s, val, val & CONF_ENABLE ? now - ns / TICK_NS : now);
    for (unsigned n = 0; n < TIMERS; n++) {
        set_timer(&s->tn[n]);
    }
    update_irq(s);
}

static void write_counter(Hpet *s, uint64_t val)
{
    if (running(s)) {
        guest_error("hpet: the counter is written while it runs");
    }
    set_counter(s, s->config, running(s) ? val - clock_now(s->clk) / TICK_NS : val);
    for (unsigned n = 0; n < TIMERS; n++) {
        arm(&s->tn[n], val);
    }
}

static void write_timer_config(HpetTimer *t, uint64_t val)
{
    t->config = val & TN_WRITABLE;
    if (!(val & TN_PERIODIC)) {
        t->config &= ~TN_VAL_SET;
    }
    if (!(val & TN_LEVEL)) {
        t->hpet->status &= ~(1u << t->n);
    }
    t->comparator &= comparator_mask(t);
    t->period &= comparator_mask(t);
    arm(t, counter_now(t->hpet));
    update_irq(t->hpet);
}

static void write_comparator(HpetTimer *t, uint64_t val, uint64_t written)
{
    uint64_t mask = comparator_mask(t);

    if (t->config & TN_PERIODIC) {
        t->period = ((t->period & ~written) | (val & written)) & mask;
        if (!(t->config & TN_VAL_SET)) {
            return; /* the accumulator goes on */
        }
        t->config &= ~TN_VAL_SET;
    }
    t->comparator = ((t->comparator & ~written) | (val & written)) & mask;
    arm(t, counter_now(t->hpet));
}

/* @written: mask of the bits that the access covers; @val has the others as they are. */
static void write_reg(Hpet *s, unsigned reg, uint64_t val, uint64_t written)
{
    switch (reg) {
    case CONFIG:
        write_config(s, val);
        return;
    case STATUS:
        s->status &= ~(val & written);
        update_irq(s);
        return;
    case COUNTER:
        write_counter(s, val);
        return;
    default:
        break;
    }
    if (reg < TIMER0 || reg >= TIMER0 + TIMERS * 0x20) {
        return;
    }
    HpetTimer *t = &s->tn[(reg - TIMER0) / 0x20];
    if ((reg & 0x1f) == TN_CONFIG) {
        write_timer_config(t, val);
    } else if ((reg & 0x1f) == TN_COMPARATOR) {
        write_comparator(t, val, written);
    }
}

static void hpet_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Hpet *s = opaque;
    unsigned shift = off & 4 ? 32 : 0;
    uint64_t written = size == 8 ? UINT64_MAX : (uint64_t)UINT32_MAX << shift;

    trace("hpet_write", "off %03x size %u val %" G_GINT64_MODIFIER "x", (unsigned)off, size, val);
    catch_up_all(s);
    unsigned reg = off & ~7u;
    write_reg(s, reg, (read_reg(s, reg) & ~written) | val << shift, written);
}

static const MemOps hpet_ops = {
    .read = hpet_read, .write = hpet_write, .impl_min = 4, .impl_max = 8, .valid_min = 4};

static uint64_t counter_read(void *opaque, uint64_t off, unsigned size)
{
    uint64_t v = counter_unlocked(opaque);

    return size == 8 ? v : v >> (off & 4 ? 32 : 0);
}

static void counter_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    bool take = !machine_lock_held();

    if (take) {
        machine_lock();
    }
    hpet_write(opaque, COUNTER + off, val, size);
    if (take) {
        machine_unlock();
    }
}

static const MemOps counter_ops = {.read = counter_read,
                                   .write = counter_write,
                                   .impl_min = 4,
                                   .impl_max = 8,
                                   .valid_min = 4,
                                   .lockless = true};

/* ---- life ---- */

static void hpet_reset(Device *dev)
{
    Hpet *s = (Hpet *)dev;

    s->status = 0;
    set_counter(s, 0, 0);
    for (unsigned n = 0; n < TIMERS; n++) {
        HpetTimer *t = &s->tn[n];
        t->config = 0;
        t->comparator = UINT64_MAX;
        t->period = 0;
        t->armed = false;
        t->match = 0;
        t->last = -MIN_MATCH_NS;
        timer_del(&t->timer);
    }
    update_irq(s);
}

static bool timer_post_load(void *obj, GError **err)
{
    HpetTimer *t = obj;

    t->config &= TN_WRITABLE;
    if (t->last < -MIN_MATCH_NS || t->last > INT64_MAX / 2) {
        return fail(err, "The saved state of the hpet is impossible");
    }
    return true;
}

static bool hpet_post_load(void *obj, GError **err)
{
    Hpet *s = obj;

    s->config &= CONF_ENABLE | CONF_LEGACY;
    s->status &= (1u << TIMERS) - 1;
    s->gsi_out &= ROUTES;
    return true;
}

static const StateField timer_fields[] = {
    STATE_U32(HpetTimer, config),  STATE_U64(HpetTimer, comparator),
    STATE_U64(HpetTimer, period),  STATE_BOOL(HpetTimer, armed),
    STATE_U64(HpetTimer, match),   STATE_I64(HpetTimer, last),
    STATE_TIMER(HpetTimer, timer), STATE_END_FIELD,
};
static const StateTable timer_table = {
    .name = "timer", .version = 1, .fields = timer_fields, .post_load = timer_post_load};
static const StateField hpet_fields[] = {
    STATE_U64(Hpet, config),
    STATE_U32(Hpet, status),
    STATE_U64(Hpet, counter),
    STATE_STRUCT_ARRAY(Hpet, tn, HpetTimer, &timer_table),
    STATE_ARRAY_(Hpet, legacy_in, STATE_BOOL, bool),
    STATE_ARRAY_(Hpet, legacy_out, STATE_BOOL, bool),
    STATE_U32(Hpet, gsi_out),
    STATE_END_FIELD,
};
static const StateTable hpet_table = {
    .name = "hpet", .version = 1, .fields = hpet_fields, .post_load = hpet_post_load};

static bool hpet_realize(Device *dev, GError **err)
{
    Hpet *s = (Hpet *)dev;

    if (!s->clk) {
        return fail(err, "hpet: no clock");
    }
    for (unsigned n = 0; n < TIMERS; n++) {
        s->tn[n].hpet = s;
        s->tn[n].n = n;
        timer_init(&s->tn[n].timer, s->clk, on_timer, &s->tn[n]);
    }
    mem_region_init_io(&s->regs, "hpet", &hpet_ops, s, SIZE);
    mem_region_init_io(&s->counter_reg, "hpet-counter", &counter_ops, s, 8);
    mem_region_add(&s->regs, &s->counter_reg, COUNTER, 1);
    return true;
}

static void hpet_unrealize(Device *dev)
{
    Hpet *s = (Hpet *)dev;

    for (unsigned n = 0; n < TIMERS; n++) {
        timer_del(&s->tn[n].timer);
    }
    mem_region_destroy(&s->counter_reg);
    mem_region_destroy(&s->regs);
}

const DeviceType hpet_type = {
    .name = "hpet",
    .desc = "High precision event timer",
    .size = sizeof(Hpet),
    .realize = hpet_realize,
    .unrealize = hpet_unrealize,
    .reset = hpet_reset,
    .state = &hpet_table,
};

Hpet *hpet_new(Machine *m, MemRegion *mem, Clock *clk, const Irq legacy[2], const Irq gsi[24],
               GError **err)
{
    Hpet *s = (Hpet *)device_new(&hpet_type, m);

    s->clk = clk;
    for (unsigned i = 0; i < 2; i++) {
        s->legacy[i] = legacy[i];
    }
    for (unsigned i = 0; i < 24; i++) {
        s->gsi[i] = gsi[i];
    }
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    mem_region_add(mem, &s->regs, HPET_BASE, 1);
    return s;
}

Irq hpet_legacy_in(Hpet *s, unsigned n)
{
    g_assert(n < 2);
    return (Irq){.fn = legacy_input, .opaque = s, .n = n};
}
