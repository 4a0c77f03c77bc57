/*
 * Intel 8254 programmable interval timer.
 * Data sheet: Intel 8254 (231164-005).
 *
 * Nothing counts: a channel remembers at which input clock its present count was loaded, and
 * everything else is computed when somebody looks. Time is in input clocks (of 838 ns) since the
 * Clock's zero; where counting is held (gate low in modes 0, 2, 3, 4) the elapsed part is kept.
 * A host timer runs only for channel 0, whose OUT is an interrupt line.
 */
#include "hw/timer/i8254.h"
#include "core/log.h"

enum { RW_LATCH, RW_LSB, RW_MSB, RW_WORD }; /* RW bits of the control word */

/* Edges of OUT that are closer than this are not all shown to the interrupt controller: it, too,
 * would see them as one, and a count of 2 must not eat the host. */
#define MIN_EDGE_NS 20000

typedef struct Channel {
    uint8_t mode; /* 0…5 */
    bool bcd;
    uint8_t rw; /* RW_* of the last control word */
    bool gate;
    /* Counting. `loaded`: there is a count in the counting element. `start`: clock at which its
     * count was `period` (0x10000 for 0, or 10000 in BCD). While held, `held` clocks had passed. */
    bool loaded, holding, triggered;
    uint32_t period;
    int64_t start, held;
    /* A count written but not yet in the counting element (null count). */
    bool null_count, next_valid;
    uint32_t next;
    int64_t load_at; /* clock at which `next` is loaded, -1: at the cycle's end or a trigger */
    /* Access */
    bool write_msb, read_msb; /* next byte of a 16-bit access is the high one */
    uint8_t write_lsb;
    bool count_latched, status_latched;
    uint16_t latch;
    uint8_t status;
} Channel;

struct I8254 {
    Device dev;
    Channel ch[3];
    Clock *clk;
    Irq irq;
    bool irq_level;
    Timer timer;
    MemRegion ports;
};

/* ---- time ---- */

static int64_t to_clocks(int64_t ns)
{
    return muldiv64(ns, I8254_HZ, NS_PER_SEC);
}

/* First nanosecond of clock @t. */
static int64_t to_ns(int64_t t)
{
    return (int64_t)(((unsigned __int128)t * NS_PER_SEC + I8254_HZ - 1) / I8254_HZ);
}

static int64_t now_clocks(I8254 *s)
{
    return to_clocks(clock_now(s->clk));
}

static bool is_periodic(const Channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

static bool is_triggered(const Channel *c)
{
    return c->mode == 1 || c->mode == 5;
}

static void load(Channel *c, int64_t at)
{
    c->period = c->next;
    c->next_valid = c->null_count = false;
    c->load_at = -1;
    c->loaded = true;
    c->start = at;
    c->held = 0;
    c->holding = !c->gate && !is_triggered(c);
}

/* Clocks since the count was loaded. */
static int64_t elapsed(const Channel *c, int64_t now)
{
    return c->holding ? c->held : MAX(now - c->start, 0);
}

/* Bring what happens by itself up to @now: a written count gets loaded. */
static void advance(Channel *c, int64_t now)
{
    if (c->next_valid && c->load_at >= 0 && now >= c->load_at) {
        load(c, c->load_at);
    }
    if (c->next_valid && is_periodic(c) && c->loaded && !c->holding &&
        now - c->start >= c->period) {
        load(c, c->start + c->period);
    }
    if (is_periodic(c) && c->loaded && !c->holding && now - c->start >= c->period) {
        c->start += (now - c->start) / c->period * c->period;
    }
}

/* ---- outputs ---- */

/* Clocks during which a square wave is high. */
static uint32_t high_half(const Channel *c)
{
    return (c->period + 1) / 2;
}

static bool out_level(const Channel *c, int64_t now)
{
    if (!c->loaded || (is_triggered(c) && !c->triggered)) {
        return c->mode != 0;
    }
    int64_t n = elapsed(c, now);
    switch (c->mode) {
    case 0:
        return n >= c->period;
    case 1:
        return n >= c->period;
    case 2:
        return c->holding || c->period < 2 || n % c->period != c->period - 1;
    case 3:
        return c->holding || c->period < 2 || n % c->period < high_half(c);
    default:
        return n != c->period; /* one clock low */
    }
}

/* The clock after @now at which OUT changes next; -1: never by itself. */
static int64_t next_change(const Channel *c, int64_t now)
{
    int64_t at = -1;

    if (c->loaded && !c->holding && !(is_triggered(c) && !c->triggered)) {
        int64_t n = elapsed(c, now), base = now - n;
        switch (c->mode) {
        case 0:
        case 1:
            at = n < c->period ? base + c->period : -1;
            break;
        case 2:
        case 3:
            if (c->period >= 2) {
                uint32_t low = c->mode == 2 ? c->period - 1 : high_half(c);
                int64_t cycle = n - n % c->period;
                at = base + cycle + (n - cycle < low ? low : c->period);
            }
            break;
        default:
            at = n < c->period ? base + c->period : n == c->period ? base + n + 1 : -1;
        }
    }
    if (c->next_valid && c->load_at > now && (at < 0 || c->load_at < at)) {
        at = c->load_at;
    }
    return at;
}

static void update_irq(I8254 *s)
{
    int64_t ns = clock_now(s->clk), now = to_clocks(ns);
    Channel *c = &s->ch[0];

    advance(c, now);
    bool level = out_level(c, now);
    /* Low pulses of one clock (modes 2, 4, 5) are over before anybody looks: show them. */
    if (level != s->irq_level) {
        s->irq_level = level;
        irq_set(&s->irq, level);
    }
    int64_t at = next_change(c, now);
    if (at < 0) {
        timer_del(&s->timer);
    } else {
        timer_set(&s->timer, MAX(to_ns(at), ns + 1));
    }
}

/* The time came for the next change of OUT, and perhaps long ago. */
static void on_timer(void *opaque)
{
    I8254 *s = opaque;
    Channel *c = &s->ch[0];
    int64_t now = now_clocks(s);

    /* A whole low phase that passed since is shown as an edge. */
    advance(c, now);
    if (c->loaded && out_level(c, now) && s->irq_level && is_periodic(c)) {
        irq_set(&s->irq, 0);
        irq_set(&s->irq, 1);
    } else if (is_periodic(c) && c->mode == 2 && !out_level(c, now)) {
        /* Rate generator: the low clock has come; its end is the edge that matters. */
    }
    update_irq(s);
    if (timer_pending(&s->timer)) {
        int64_t next = MAX(s->timer.deadline, clock_now(s->clk));
        (void)next;
    }
}
