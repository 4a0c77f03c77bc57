/*
 * Goldfish RTC: Android's "Goldfish virtual hardware" text, RTC section; driver Linux
 * drivers/rtc/rtc-goldfish.c.
 */
#include "hw/timer/goldfish_rtc.h"
#include "core/log.h"

enum {
    TIME_LOW = 0x00, /* read: low half, latches the high one; write: sets the time */
    TIME_HIGH = 0x04,
    ALARM_LOW = 0x08, /* write: arms with the high half written before */
    ALARM_HIGH = 0x0c,
    IRQ_ENABLED = 0x10,
    CLEAR_ALARM = 0x14,
    ALARM_STATUS = 0x18,
    CLEAR_INTERRUPT = 0x1c,
};

typedef struct GoldfishRtc {
    Device dev;
    MemRegion mmio;
    Clock *clock;
    Irq irq;
    uint64_t offset; /* time = clock + this */
    uint32_t time_high, alarm_low, alarm_high;
    bool pending, irq_enabled, armed;
    Timer alarm;
} GoldfishRtc;

static uint64_t now(GoldfishRtc *s)
{
    return (uint64_t)clock_now(s->clock) + s->offset;
}

static void update_irq(GoldfishRtc *s)
{
    irq_set(&s->irq, s->pending && s->irq_enabled);
}

static void alarm_fired(void *opaque)
{
    GoldfishRtc *s = opaque;

    s->armed = false;
    s->pending = true;
    update_irq(s);
}

static void arm(GoldfishRtc *s)
{
    uint64_t at = (uint64_t)s->alarm_high << 32 | s->alarm_low, t = now(s);

    if (at <= t) {
        timer_del(&s->alarm);
        alarm_fired(s);
        return;
    }
    s->armed = true;
    /* Beyond what the host's clock can count: never. */
    at -= s->offset;
    timer_set(&s->alarm, at > INT64_MAX ? INT64_MAX : (int64_t)at);
}

static uint64_t rtc_read(void *opaque, uint64_t off, unsigned size)
{
    GoldfishRtc *s = opaque;
    uint64_t t;

    switch (off) {
    case TIME_LOW:
        t = now(s);
        s->time_high = t >> 32;
        return (uint32_t)t;
    case TIME_HIGH:
        return s->time_high;
    case ALARM_LOW:
        return s->alarm_low;
    case ALARM_HIGH:
        return s->alarm_high;
    case IRQ_ENABLED:
        return s->irq_enabled;
    case ALARM_STATUS:
        return s->armed;
    default:
        return 0;
    }
}

static void rtc_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    GoldfishRtc *s = opaque;
    uint64_t t;

    switch (off) {
    case TIME_LOW:
    case TIME_HIGH:
        t = now(s);
        s->offset +=
            (off == TIME_LOW ? (t & ~0xffffffffull) | (uint32_t)val : (uint32_t)t | val << 32) - t;
        if (s->armed) {
            arm(s);
        }
        break;
    case ALARM_LOW:
        s->alarm_low = val;
        arm(s);
        break;
    case ALARM_HIGH:
        s->alarm_high = val;
        break;
    case IRQ_ENABLED:
        s->irq_enabled = val & 1;
        update_irq(s);
        break;
    case CLEAR_ALARM:
        s->armed = false;
        timer_del(&s->alarm);
        break;
    case CLEAR_INTERRUPT:
        s->pending = false;
        update_irq(s);
        break;
    default:
        guest_error("goldfish-rtc: write to %02x", (unsigned)off);
    }
}

static const MemOps rtc_ops = {
    .read = rtc_read, .write = rtc_write, .impl_min = 4, .impl_max = 4, .valid_min = 4};

static void rtc_reset(Device *dev)
{
    GoldfishRtc *s = (GoldfishRtc *)dev;

    /* The time goes on. */
    s->time_high = s->alarm_low = s->alarm_high = 0;
    s->pending = s->irq_enabled = s->armed = false;
    timer_del(&s->alarm);
    update_irq(s);
}

static bool rtc_realize(Device *dev, GError **err)
{
    GoldfishRtc *s = (GoldfishRtc *)dev;

    if (!s->clock) {
        return fail(err, "goldfish_rtc: only boards make it");
    }
    timer_init(&s->alarm, s->clock, alarm_fired, s);
    mem_region_init_io(&s->mmio, "goldfish_rtc", &rtc_ops, s, 0x24);
    return true;
}

static void rtc_unrealize(Device *dev)
{
    GoldfishRtc *s = (GoldfishRtc *)dev;

    timer_del(&s->alarm);
    mem_region_destroy(&s->mmio);
}

static bool rtc_post_load(void *obj, GError **err)
{
    GoldfishRtc *s = obj;

    if (s->armed) {
        arm(s);
    }
    update_irq(s);
    return true;
}

static const StateField rtc_fields[] = {
    STATE_U64(GoldfishRtc, offset),    STATE_U32(GoldfishRtc, time_high),
    STATE_U32(GoldfishRtc, alarm_low), STATE_U32(GoldfishRtc, alarm_high),
    STATE_BOOL(GoldfishRtc, pending),  STATE_BOOL(GoldfishRtc, irq_enabled),
    STATE_BOOL(GoldfishRtc, armed),    STATE_END_FIELD,
};

static const StateTable rtc_state = {
    .name = "goldfish_rtc", .version = 1, .fields = rtc_fields, .post_load = rtc_post_load};

const DeviceType goldfish_rtc_type = {
    .name = "goldfish_rtc",
    .desc = "Goldfish real-time clock",
    .size = sizeof(GoldfishRtc),
    .realize = rtc_realize,
    .unrealize = rtc_unrealize,
    .reset = rtc_reset,
    .state = &rtc_state,
};

bool goldfish_rtc_new(Machine *m, MemRegion *parent, uint64_t base, Clock *clock, Irq irq,
                      GError **err)
{
    GoldfishRtc *s = (GoldfishRtc *)device_new(&goldfish_rtc_type, m);

    s->clock = clock;
    s->irq = irq;
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return false;
    }
    mem_region_add(parent, &s->mmio, base, 0);
    return true;
}
