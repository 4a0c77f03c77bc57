/*
 * Arm PrimeCell real-time clock PL031, revision r1p3. Technical Reference Manual DDI 0224C.
 */
#include "hw/timer/pl031.h"
#include "core/log.h"

enum {
    DR = 0x00,
    MR = 0x04,
    LR = 0x08,
    CR = 0x0c,
    IMSC = 0x10,
    RIS = 0x14,
    MIS = 0x18,
    ICR = 0x1c,
    PERIPH_ID = 0xfe0,
};

struct Pl031 {
    Device dev;
    MemRegion mem;
    Irq irq;
    Clock *clock;
    Timer timer;
    bool attached;
    uint32_t offset; /* data register - seconds of the clock */
    uint32_t match, load;
    bool mask, raw;
};

static uint32_t seconds(const Pl031 *s)
{
    return s->clock ? (uint32_t)(clock_now(s->clock) / NS_PER_SEC) : 0;
}

static void update_irq(Pl031 *s)
{
    irq_set(&s->irq, s->raw && s->mask);
}

/* When the counter will equal the match register. */
static void set_timer(Pl031 *s)
{
    uint32_t left = s->match - (seconds(s) + s->offset);

    if (!s->clock) {
        return;
    }
    if (!left) {
        timer_del(&s->timer);
        s->raw = true;
        update_irq(s);
        return;
    }
    timer_set(&s->timer, (clock_now(s->clock) / NS_PER_SEC + left) * NS_PER_SEC);
}

static void alarm_rings(void *opaque)
{
    Pl031 *s = opaque;

    s->raw = true;
    update_irq(s);
}

static uint64_t reg_read(void *opaque, uint64_t off, unsigned size)
{
    static const uint8_t ids[] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    Pl031 *s = opaque;

    (void)size;
    switch (off) {
    case DR:
        return seconds(s) + s->offset;
    case MR:
        return s->match;
    case LR:
        return s->load;
    case CR:
        return 1;
    case IMSC:
        return s->mask;
    case RIS:
        return s->raw;
    case MIS:
        return s->raw && s->mask;
    default:
        if (off >= PERIPH_ID) {
            return ids[(off - PERIPH_ID) / 4];
        }
        guest_error("pl031: read of register %" G_GINT64_MODIFIER "x", off);
        return 0;
    }
}

static void reg_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Pl031 *s = opaque;

    (void)size;
    switch (off) {
    case MR:
        s->match = val;
        set_timer(s);
        break;
    case LR:
        s->load = val;
        s->offset = (uint32_t)val - seconds(s);
        set_timer(s);
        break;
    case CR: /* cannot be stopped once it runs */
        break;
    case IMSC:
        s->mask = val & 1;
        update_irq(s);
        break;
    case ICR:
        if (val & 1) {
            s->raw = false;
            update_irq(s);
        }
        break;
    default:
        guest_error("pl031: write of register %" G_GINT64_MODIFIER "x", off);
    }
}

static const MemOps ops = {.read = reg_read, .write = reg_write, .impl_min = 4, .impl_max = 4};

/* Date and time survive a reset. */
static void reset(Device *dev)
{
    Pl031 *s = (Pl031 *)dev;

    s->match = s->load = 0;
    s->mask = s->raw = false;
    if (s->clock) {
        timer_del(&s->timer);
    }
    update_irq(s);
}

static bool realize(Device *dev, GError **err)
{
    return true;
}

static void unrealize(Device *dev)
{
    Pl031 *s = (Pl031 *)dev;

    if (s->clock) {
        timer_del(&s->timer);
    }
    if (s->attached) {
        mem_region_destroy(&s->mem);
    }
}

static const StateField fields[] = {
    STATE_U32(Pl031, offset), STATE_U32(Pl031, match), STATE_U32(Pl031, load),
    STATE_BOOL(Pl031, mask),  STATE_BOOL(Pl031, raw),  STATE_END_FIELD,
};

static bool post_load(void *obj, GError **err)
{
    Pl031 *s = obj;
    bool raw = s->raw;

    set_timer(s);
    s->raw = raw;
    update_irq(s);
    return true;
}

static const StateTable table = {
    .name = "pl031", .version = 1, .fields = fields, .post_load = post_load};

const DeviceType pl031_type = {
    .name = "pl031",
    .desc = "Arm PrimeCell real-time clock (PL031)",
    .size = sizeof(Pl031),
    .realize = realize,
    .unrealize = unrealize,
    .reset = reset,
    .state = &table,
};

Pl031 *pl031_new(Machine *m, MemRegion *parent, uint64_t base, Irq irq, Clock *clock,
                 uint32_t start, GError **err)
{
    Pl031 *s = (Pl031 *)device_new(&pl031_type, m);

    s->irq = irq;
    s->clock = clock;
    timer_init(&s->timer, clock, alarm_rings, s);
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    s->offset = start - seconds(s);
    mem_region_init_io(&s->mem, "pl031", &ops, s, 0x1000);
    mem_region_add(parent, &s->mem, base, 0);
    s->attached = true;
    return s;
}
