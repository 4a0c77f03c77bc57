/* Arm PrimeCell GPIO PL061, revision r1p0. Technical Reference Manual DDI 0190B. */
#include "hw/gpio/pl061.h"
#include "core/log.h"
#include <string.h>

enum {
    DATA_END = 0x400, /* address bits 9:2 select the pins */
    GPIODIR = 0x400,
    IS = 0x404,
    IBE = 0x408,
    IEV = 0x40c,
    IE = 0x410,
    RIS = 0x414,
    MIS = 0x418,
    IC = 0x41c,
    AFSEL = 0x420,
    PERIPH_ID = 0xfe0,
};

struct Pl061 {
    Device dev;
    MemRegion mem;
    Irq irq, out[8];
    bool attached;
    uint8_t data, in; /* output latch, levels of the pins from outside */
    uint8_t dir, is, ibe, iev, ie, edge, afsel;
};

static uint8_t pins(const Pl061 *s)
{
    return (s->data & s->dir) | (s->in & ~s->dir);
}

static uint8_t raw(const Pl061 *s)
{
    uint8_t level = ~(pins(s) ^ s->iev);

    return (level & s->is) | (s->edge & ~s->is);
}

static void update_irq(Pl061 *s)
{
    irq_set(&s->irq, (raw(s) & s->ie) != 0);
}

static void edges(Pl061 *s, uint8_t before)
{
    uint8_t now = pins(s), changed = now ^ before;

    s->edge |= changed & ~s->is & (s->ibe | ~(now ^ s->iev));
    update_irq(s);
}

static void set_pin(void *opaque, int n, int level)
{
    Pl061 *s = opaque;
    uint8_t before = pins(s);

    s->in = level ? s->in | 1u << n : s->in & ~(1u << n);
    edges(s, before);
}

Irq pl061_pin(Pl061 *s, unsigned n)
{
    return (Irq){set_pin, s, (int)n};
}

static void drive(Pl061 *s)
{
    for (unsigned i = 0; i < 8; i++) {
        if (s->dir >> i & 1) {
            irq_set(&s->out[i], s->data >> i & 1);
        }
    }
}

static uint64_t reg_read(void *opaque, uint64_t off, unsigned size)
{
    static const uint8_t ids[] = {0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    Pl061 *s = opaque;

    (void)size;
    if (off < DATA_END) {
        return pins(s) & off >> 2;
    }
    switch (off) {
    case GPIODIR:
        return s->dir;
    case IS:
        return s->is;
    case IBE:
        return s->ibe;
    case IEV:
        return s->iev;
    case IE:
        return s->ie;
    case RIS:
        return raw(s);
    case MIS:
        return raw(s) & s->ie;
    case AFSEL:
        return s->afsel;
    default:
        if (off >= PERIPH_ID) {
            return ids[(off - PERIPH_ID) / 4];
        }
        guest_error("pl061: read of register %" G_GINT64_MODIFIER "x", off);
        return 0;
    }
}

static void reg_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Pl061 *s = opaque;
    uint8_t before = pins(s), mask = off >> 2;

    (void)size;
    if (off < DATA_END) {
        mask &= s->dir;
        s->data = (s->data & ~mask) | (val & mask);
        drive(s);
        edges(s, before);
        return;
    }
    switch (off) {
    case GPIODIR:
        s->dir = val;
        drive(s);
        edges(s, before);
        return;
    case IS:
        s->is = val;
        break;
    case IBE:
        s->ibe = val;
        break;
    case IEV:
        s->iev = val;
        break;
    case IE:
        s->ie = val;
        break;
    case IC:
        s->edge &= ~val;
        break;
    case AFSEL:
        s->afsel = val;
        break;
    default:
        guest_error("pl061: write of register %" G_GINT64_MODIFIER "x", off);
        return;
    }
    update_irq(s);
}

static const MemOps ops = {.read = reg_read, .write = reg_write, .impl_min = 4, .impl_max = 4};

static void reset(Device *dev)
{
    Pl061 *s = (Pl061 *)dev;

    s->data = s->dir = s->is = s->ibe = s->iev = s->ie = s->edge = s->afsel = 0;
    update_irq(s);
}

static bool realize(Device *dev, GError **err)
{
    return true;
}

static void unrealize(Device *dev)
{
    Pl061 *s = (Pl061 *)dev;

    if (s->attached) {
        mem_region_destroy(&s->mem);
    }
}

static const StateField fields[] = {
    STATE_U8(Pl061, data),  STATE_U8(Pl061, in),  STATE_U8(Pl061, dir), STATE_U8(Pl061, is),
    STATE_U8(Pl061, ibe),   STATE_U8(Pl061, iev), STATE_U8(Pl061, ie),  STATE_U8(Pl061, edge),
    STATE_U8(Pl061, afsel), STATE_END_FIELD,
};

static bool post_load(void *obj, GError **err)
{
    update_irq(obj);
    return true;
}

static const StateTable table = {
    .name = "pl061", .version = 1, .fields = fields, .post_load = post_load};

const DeviceType pl061_type = {
    .name = "pl061",
    .desc = "Arm PrimeCell GPIO (PL061)",
    .size = sizeof(Pl061),
    .realize = realize,
    .unrealize = unrealize,
    .reset = reset,
    .state = &table,
};

Pl061 *pl061_new(Machine *m, MemRegion *parent, uint64_t base, Irq irq, const Irq out[8],
                 GError **err)
{
    Pl061 *s = (Pl061 *)device_new(&pl061_type, m);

    s->irq = irq;
    if (out) {
        memcpy(s->out, out, sizeof(s->out));
    }
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    mem_region_init_io(&s->mem, "pl061", &ops, s, 0x1000);
    mem_region_add(parent, &s->mem, base, 0);
    s->attached = true;
    return s;
}
