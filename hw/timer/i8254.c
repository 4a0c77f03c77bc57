/*
 * Intel 8254 programmable interval timer.
 * Data sheet: Intel 8254 (231164-005).
 *
 * Nothing counts: a channel remembers at which input clock its present count was loaded, and
 * everything else is computed when somebody looks. Time is in input clocks (of 838 ns) since the
 * Clock's zero; where counting is held by the gate, the part that has elapsed is kept. A host
 * timer runs for channel 0 only, whose OUT is an interrupt line: it fires at rising edges and
 * shows each as a low-high pulse; other low phases of a running wave are not shown on the line.
 */
#include "hw/timer/i8254.h"
#include "core/log.h"

enum { RW_LATCH, RW_LSB, RW_MSB, RW_WORD }; /* RW bits of the control word */

/* Rising edges closer than this are shown as one: an interrupt controller whose CPU needs longer
 * sees them so, too, and a count of 2 must not eat the host. */
#define MIN_EDGE_NS 20000

/* Times in a saved state lie within this of the Clock's zero (73 years): further ones would not
 * fit in nanoseconds, and a wake-up that wraps into the past would fire for ever. */
#define MAX_CLOCKS ((int64_t)(INT64_MAX / 4 / NS_PER_SEC) * I8254_HZ)

typedef struct Channel {
    uint8_t ctl;  /* bits 5-0 of the control word as written: RW, M, BCD */
    uint8_t mode; /* 0…5, derived from it */
    bool gate;
    bool cr_valid;   /* the count register was written since the control word */
    bool null_count; /* …and that count is not in the counting element yet */
    uint32_t cr;     /* 1…65536 */
    /* The counting element: at clock `start` its count was `period`. When `holding`, counting
     * stands still and `held` clocks had passed. */
    bool loaded, holding;
    uint32_t period;
    int64_t start, held;
    int64_t load_at; /* clock at which cr is loaded; -1: not now, or by a trigger */
    /* Access */
    bool write_msb, read_msb; /* the next byte of a 16-bit access is the high one */
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
    int64_t edge_at;    /* clock of the next rising edge of OUT 0, -1 = none */
    int64_t last_pulse; /* ns */
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
    return ((unsigned __int128)t * NS_PER_SEC + I8254_HZ - 1) / I8254_HZ;
}

static int64_t now_clocks(I8254 *s)
{
    return to_clocks(clock_now(s->clk));
}

/* ---- counting ---- */

static bool is_periodic(const Channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Started by a rising gate only. */
static bool is_triggered(const Channel *c)
{
    return c->mode == 1 || c->mode == 5;
}

/* Clocks since the count was loaded. */
static int64_t elapsed(const Channel *c, int64_t now)
{
    return c->holding ? c->held : MAX(now - c->start, 0);
}

/* Clocks of a square wave's high half. */
static uint32_t high_half(uint32_t period)
{
    return (period + 1) / 2;
}

static void load(Channel *c, int64_t start)
{
    c->period = c->cr;
    c->null_count = false;
    c->load_at = -1;
    c->loaded = true;
    c->start = start;
    c->held = 0;
    c->holding = !c->gate && !is_triggered(c);
}

/* A new count replaces a running one at the end of the cycle (mode 2) or half cycle (mode 3). */
static int64_t boundary_after(const Channel *c, int64_t now)
{
    int64_t n = elapsed(c, now) % c->period;
    uint32_t half = high_half(c->period);

    return now - n + (c->mode == 3 && n < half ? half : c->period);
}

/* Bring what happens by itself up to @now. */
static void advance(Channel *c, int64_t now)
{
    if (c->load_at >= 0 && now >= c->load_at) {
        /* In the middle of a square wave: the new count's low half follows. */
        bool middle = c->mode == 3 && c->loaded && !c->holding &&
                      (c->load_at - c->start) % c->period == high_half(c->period);
        load(c, middle ? c->load_at - high_half(c->cr) : c->load_at);
    }
    if (is_periodic(c) && c->loaded && !c->holding && now - c->start >= c->period) {
        c->start += (now - c->start) / c->period * c->period;
    }
}

static bool out_level(const Channel *c, int64_t now)
{
    if (!c->loaded) {
        return c->mode != 0;
    }
    int64_t n = elapsed(c, now);
    switch (c->mode) {
    case 0:
    case 1:
        return n >= c->period;
    case 2:
        return c->holding || c->period < 2 || n % c->period != c->period - 1;
    case 3:
        return c->holding || c->period < 2 || n % c->period < high_half(c->period);
    default:
        return n != c->period; /* low for one clock */
    }
}

/* Count in the counting element as it is read. */
static uint16_t count_now(const Channel *c, int64_t now)
{
    bool bcd = c->ctl & 1;
    int64_t n = elapsed(c, now), wrap = bcd ? 10000 : 0x10000, v;

    if (!c->loaded) {
        return 0;
    }
    if (c->mode == 2) {
        v = c->period - n % c->period;
    } else if (c->mode == 3) {
        /* By twos; odd counts lose one when they are loaded. */
        uint32_t half = high_half(c->period);
        int64_t in = n % c->period;
        v = (c->period & ~1u) - 2 * (in < half ? in : in - half);
    } else {
        v = c->period - n % wrap;
        v = v < 0 ? v + wrap : v;
    }
    v %= wrap;
    if (bcd) {
        v = v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 << 12;
    }
    return v;
}

/* ---- OUT 0 as an interrupt line ---- */

/* The clock of the first rising edge after @now; -1: none by itself. */
static int64_t next_rise(const Channel *c, int64_t now)
{
    if (!c->loaded || c->holding) {
        return -1;
    }
    int64_t n = elapsed(c, now), base = now - n;
    switch (c->mode) {
    case 0:
    case 1:
        return n < c->period ? base + c->period : -1;
    case 2:
    case 3:
        return c->period >= 2 ? base + n - n % c->period + c->period : -1;
    default:
        return n <= c->period ? base + c->period + 1 : -1;
    }
}

static void set_line(I8254 *s, bool level)
{
    if (s->irq_level != level) {
        s->irq_level = level;
        irq_set(&s->irq, level);
    }
}

/* Show an edge whose time has come. Before every look at or change of channel 0. */
static void serve_edge(I8254 *s, int64_t now)
{
    if (s->edge_at >= 0 && now >= s->edge_at) {
        s->edge_at = -1;
        s->last_pulse = clock_now(s->clk);
        set_line(s, false);
        set_line(s, true);
    }
}

/* Line and timer as the registers want them. */
static void update_irq(I8254 *s)
{
    Channel *c = &s->ch[0];
    int64_t ns = clock_now(s->clk), now = to_clocks(ns), wake;

    serve_edge(s, now);
    advance(c, now);
    bool low = c->mode <= 1 && !out_level(c, now);
    set_line(s, !low);
    s->edge_at = wake = next_rise(c, now);
    if (c->load_at >= 0) { /* look again when the new count is in */
        wake = wake < 0 ? c->load_at : MIN(c->load_at, wake);
    }
    if (wake < 0) {
        timer_del(&s->timer);
    } else {
        int64_t at = to_ns(wake);
        if (at <= clock_now(s->clk)) { /* only a damaged saved state leads here; time must go on */
            at = clock_now(s->clk) + MIN_EDGE_NS;
        }
        timer_set(&s->timer, is_periodic(c) ? MAX(at, s->last_pulse + MIN_EDGE_NS) : at);
    }
}

static void on_timer(void *opaque)
{
    update_irq(opaque);
}

/* Present state of channel @n; for channel 0 the edge that is due comes first. */
static Channel *channel(I8254 *s, unsigned n, int64_t *now)
{
    *now = now_clocks(s);
    if (n == 0) {
        serve_edge(s, *now);
    }
    advance(&s->ch[n], *now);
    return &s->ch[n];
}

/* ---- gates ---- */

static void hold(Channel *c, int64_t now)
{
    if (!c->holding) {
        c->held = elapsed(c, now);
        c->holding = true;
    }
}

static void release(Channel *c, int64_t now)
{
    if (c->holding) {
        c->start = now - c->held;
        c->holding = false;
    }
}

void i8254_set_gate(I8254 *s, unsigned n, bool level)
{
    int64_t now;
    Channel *c = channel(s, n, &now);

    if (c->gate == level) {
        return;
    }
    c->gate = level;
    switch (c->mode) {
    case 0:
    case 4:
        (level ? release : hold)(c, now);
        break;
    default: /* a rising gate starts anew */
        if (level && c->cr_valid) {
            c->load_at = now + 1;
        } else if (!level && is_periodic(c)) {
            hold(c, now);
            c->load_at = -1;
        }
    }
    if (n == 0) {
        update_irq(s);
    }
}

bool i8254_gate(const I8254 *s, unsigned n)
{
    return s->ch[n].gate;
}

bool i8254_out(I8254 *s, unsigned n)
{
    int64_t now;
    const Channel *c = channel(s, n, &now);

    return out_level(c, now);
}

uint32_t i8254_frequency(I8254 *s, unsigned n)
{
    int64_t now;
    const Channel *c = channel(s, n, &now);

    return is_periodic(c) && c->loaded && !c->holding && c->period >= 2 ? I8254_HZ / c->period : 0;
}

/* ---- registers ---- */

static void set_mode(Channel *c)
{
    unsigned m = (c->ctl >> 1) & 7;

    c->mode = m > 5 ? m - 4 : m; /* X10 and X11 */
}

static void write_control(Channel *c, uint8_t val)
{
    c->ctl = val & 0x3f;
    set_mode(c);
    c->cr_valid = c->loaded = c->holding = false;
    c->null_count = true;
    c->load_at = -1;
    c->write_msb = c->read_msb = c->count_latched = c->status_latched = false;
}

static void latch_count(Channel *c, int64_t now)
{
    if (!c->count_latched) {
        c->latch = count_now(c, now);
        c->count_latched = true;
        c->read_msb = false;
    }
}

static void latch_status(Channel *c, int64_t now)
{
    if (!c->status_latched) {
        c->status = out_level(c, now) << 7 | c->null_count << 6 | c->ctl;
        c->status_latched = true;
    }
}

static void read_back(I8254 *s, uint8_t val)
{
    for (unsigned n = 0; n < 3; n++) {
        if (val & (2u << n)) {
            int64_t now;
            Channel *c = channel(s, n, &now);
            if (!(val & 0x20)) {
                latch_count(c, now);
            }
            if (!(val & 0x10)) {
                latch_status(c, now);
            }
        }
    }
}

static void control_port(I8254 *s, uint8_t val)
{
    unsigned n = val >> 6;
    int64_t now;

    if (n == 3) {
        read_back(s, val);
        return;
    }
    Channel *c = channel(s, n, &now);
    if (((val >> 4) & 3) == RW_LATCH) {
        latch_count(c, now);
    } else {
        write_control(c, val);
    }
}

/* A complete count has been written. */
static void new_count(Channel *c, uint16_t val, int64_t now)
{
    uint32_t v = val;

    if (c->ctl & 1) {
        v = (val >> 12) * 1000 + (val >> 8 & 15) * 100 + (val >> 4 & 15) * 10 + (val & 15);
        v = v ? MIN(v, 10000) : 10000; /* digits above 9 are the guest's mistake */
    }
    c->cr = v ? v : 0x10000;
    c->cr_valid = c->null_count = true;
    if (is_periodic(c) && c->cr == 1) {
        guest_error("i8254: a count of 1 is illegal in mode %u", c->mode);
    }
    if (c->mode == 0 || c->mode == 4 || (is_periodic(c) && !c->loaded)) {
        c->load_at = now + 1;
    } else if (is_periodic(c) && !c->holding) {
        c->load_at = boundary_after(c, now);
    }
}

static void count_port(Channel *c, uint8_t val, int64_t now)
{
    switch (c->ctl >> 4) {
    case RW_LSB:
        new_count(c, val, now);
        break;
    case RW_MSB:
        new_count(c, val << 8, now);
        break;
    case RW_WORD:
        if (c->write_msb) {
            c->write_msb = false;
            new_count(c, val << 8 | c->write_lsb, now);
            break;
        }
        c->write_lsb = val;
        c->write_msb = true;
        if (c->mode == 0) { /* the first byte stops counting */
            c->loaded = c->holding = false;
            c->load_at = -1;
        }
        break;
    default:
        break; /* no control word yet */
    }
}

static uint8_t read_count(Channel *c, int64_t now)
{
    unsigned rw = c->ctl >> 4;
    uint16_t v = c->count_latched ? c->latch : count_now(c, now);
    bool high = rw == RW_MSB || (rw == RW_WORD && c->read_msb);

    if (rw == RW_WORD) {
        c->read_msb = !c->read_msb;
    }
    if (rw != RW_WORD || high) {
        c->count_latched = false;
    }
    return high ? v >> 8 : v;
}

static uint64_t i8254_read(void *opaque, uint64_t off, unsigned size)
{
    I8254 *s = opaque;
    int64_t now;

    if (off == 3) {
        return 0xff; /* write only */
    }
    Channel *c = channel(s, off, &now);
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    return read_count(c, now);
}

static void i8254_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    I8254 *s = opaque;
    int64_t now;

    trace("i8254_write", "port %u val %02x", (unsigned)off, (unsigned)val);
    if (off == 3) {
        control_port(s, val);
    } else {
        Channel *c = channel(s, off, &now);
        count_port(c, val, now);
    }
    update_irq(s);
}

static const MemOps i8254_ops = {.read = i8254_read, .write = i8254_write, .impl_max = 1};

/* ---- life ---- */

static void i8254_reset(Device *dev)
{
    I8254 *s = (I8254 *)dev;

    /* The chip has no reset; it is undefined until programmed. Here: silent, outputs high. */
    for (unsigned i = 0; i < 3; i++) {
        s->ch[i] = (Channel){.ctl = RW_WORD << 4 | 3 << 1, .mode = 3, .load_at = -1};
        s->ch[i].null_count = true;
        s->ch[i].gate = i < 2;
    }
    s->edge_at = -1;
    s->last_pulse = -MIN_EDGE_NS;
    timer_del(&s->timer);
    update_irq(s);
}

static bool channel_post_load(void *obj, GError **err)
{
    Channel *c = obj;

    set_mode(c);
    if (c->ctl > 0x3f || c->cr > 0x10000 || c->period > 0x10000 || (c->cr_valid && !c->cr) ||
        (c->loaded && !c->period) || c->load_at < -1 || (c->load_at >= 0 && !c->cr_valid) ||
        c->start < -MAX_CLOCKS || c->start > MAX_CLOCKS || c->held < 0 || c->held > MAX_CLOCKS ||
        c->load_at > MAX_CLOCKS) {
        return fail(err, "The saved state of the i8254 is impossible");
    }
    return true;
}

static bool i8254_post_load(void *obj, GError **err)
{
    const I8254 *s = obj;

    if (s->edge_at > MAX_CLOCKS || s->last_pulse < -MIN_EDGE_NS || s->last_pulse > INT64_MAX / 4) {
        return fail(err, "The saved state of the i8254 is impossible");
    }
    return true;
}

static const StateField channel_fields[] = {
    STATE_U8(Channel, ctl),
    STATE_BOOL(Channel, gate),
    STATE_BOOL(Channel, cr_valid),
    STATE_BOOL(Channel, null_count),
    STATE_U32(Channel, cr),
    STATE_BOOL(Channel, loaded),
    STATE_BOOL(Channel, holding),
    STATE_U32(Channel, period),
    STATE_I64(Channel, start),
    STATE_I64(Channel, held),
    STATE_I64(Channel, load_at),
    STATE_BOOL(Channel, write_msb),
    STATE_BOOL(Channel, read_msb),
    STATE_U8(Channel, write_lsb),
    STATE_BOOL(Channel, count_latched),
    STATE_BOOL(Channel, status_latched),
    STATE_U16(Channel, latch),
    STATE_U8(Channel, status),
    STATE_END_FIELD,
};
static const StateTable channel_table = {
    .name = "channel", .version = 1, .fields = channel_fields, .post_load = channel_post_load};
static const StateField i8254_fields[] = {
    STATE_STRUCT_ARRAY(I8254, ch, Channel, &channel_table),
    STATE_BOOL(I8254, irq_level),
    STATE_I64(I8254, edge_at),
    STATE_I64(I8254, last_pulse),
    STATE_TIMER(I8254, timer),
    STATE_END_FIELD,
};
static const StateTable i8254_table = {
    .name = "i8254", .version = 1, .fields = i8254_fields, .post_load = i8254_post_load};

static bool i8254_realize(Device *dev, GError **err)
{
    I8254 *s = (I8254 *)dev;

    if (!s->clk) {
        return fail(err, "i8254: no clock");
    }
    timer_init(&s->timer, s->clk, on_timer, s);
    mem_region_init_io(&s->ports, "pit", &i8254_ops, s, 4);
    return true;
}

static void i8254_unrealize(Device *dev)
{
    I8254 *s = (I8254 *)dev;

    timer_del(&s->timer);
    mem_region_destroy(&s->ports);
}

const DeviceType i8254_type = {
    .name = "i8254",
    .desc = "8254 interval timer",
    .size = sizeof(I8254),
    .realize = i8254_realize,
    .unrealize = i8254_unrealize,
    .reset = i8254_reset,
    .state = &i8254_table,
};

I8254 *i8254_new(Machine *m, MemRegion *io, Clock *clk, Irq irq0, GError **err)
{
    I8254 *s = (I8254 *)device_new(&i8254_type, m);

    s->clk = clk;
    s->irq = irq0;
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    mem_region_add(io, &s->ports, 0x40, 0);
    return s;
}
