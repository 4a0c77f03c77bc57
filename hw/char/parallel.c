/*
 * Parallel port with a printer on it.
 * IBM PC/AT Technical Reference, "Parallel Printer Adapter"; IEEE 1284-1994 (signal names);
 * PS/2 Hardware Interface Technical Reference, "Parallel Port Controller" (direction bit).
 */
#include "hw/char/parallel.h"
#include "core/log.h"
#include "core/machine.h"

enum { REG_DATA, REG_STATUS, REG_CONTROL };

enum { /* as the port shows them: BUSY is inverted */
       ST_RESERVED = 7,
       ST_NERROR = 8,
       ST_SELECT = 16,
       ST_PAPER_END = 32,
       ST_NACK = 64,
       ST_NBUSY = 128
};

enum {
    CT_STROBE = 1,
    CT_AUTOFEED = 2,
    CT_NINIT = 4,
    CT_SELECT_IN = 8,
    CT_IRQ = 16,
    CT_INPUT = 32,
    CT_MASK = 63,
    CT_UNUSED = 0xc0
};

struct Parallel {
    Device dev;
    char *chardev;
    uint32_t index, iobase, irq_no;
    MemRegion io;
    Irq irq;
    ChardevFront *front;
    uint8_t data, control;
    uint8_t held; /* the byte that the back end did not take yet */
    bool busy;    /* there is one */
};

/* The printer took the byte: BUSY goes down, ACK pulses. */
static void acknowledge(Parallel *s)
{
    s->busy = false;
    if (s->control & CT_IRQ) {
        irq_pulse(&s->irq);
    }
}

static void send(Parallel *s)
{
    if (!s->front || chardev_write(s->front, &s->held, 1) == 1) {
        acknowledge(s);
    }
}

static uint8_t status(const Parallel *s)
{
    if (!s->front) {
        return 0x7f; /* open inputs */
    }
    uint8_t v = ST_RESERVED | ST_NACK | (s->busy ? 0 : ST_NBUSY);
    if (!(s->control & CT_NINIT)) {
        v &= ~ST_NBUSY; /* being reset */
    }
    return v | ST_NERROR | ST_SELECT;
}

static uint64_t parallel_read(void *opaque, uint64_t off, unsigned size)
{
    Parallel *s = opaque;

    switch (off) {
    case REG_DATA:
        return s->control & CT_INPUT ? 0xff : s->data;
    case REG_STATUS:
        return status(s);
    case REG_CONTROL:
        return s->control | CT_UNUSED;
    default:
        return 0xff;
    }
}

static void write_control(Parallel *s, uint8_t val)
{
    bool strobe = (val & CT_STROBE) && !(s->control & CT_STROBE);

    s->control = val & CT_MASK;
    if (!(val & CT_NINIT)) {
        s->busy = false; /* the printer forgets */
        return;
    }
    if (strobe && s->front) {
        if (s->busy) {
            guest_error("parallel: strobe while the printer is busy");
            return;
        }
        s->held = s->data;
        s->busy = true;
        send(s);
    }
}

static void parallel_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Parallel *s = opaque;

    if (off == REG_DATA) {
        s->data = val;
    } else if (off == REG_CONTROL) {
        write_control(s, val);
    }
}

static const MemOps parallel_ops = {.read = parallel_read, .write = parallel_write, .impl_max = 1};

static void front_writable(void *opaque)
{
    Parallel *s = opaque;

    if (s->busy) {
        send(s);
    }
}

static const ChardevHandlers front_handlers = {.writable = front_writable};

/* ---- life ---- */

#define PORTS 3
#define CHOOSE 0xffffffffu

static uint32_t free_index(const Device *dev)
{
    uint32_t used = 0;

    for (guint i = 0; dev->machine && i < dev->machine->devices->len; i++) {
        const Device *d = dev->machine->devices->pdata[i];
        if (d->type == &isa_parallel_type && d != dev && ((const Parallel *)d)->index < 32) {
            used |= 1u << ((const Parallel *)d)->index;
        }
    }
    return __builtin_ctz(~used);
}

static bool parallel_realize(Device *dev, GError **err)
{
    static const uint16_t bases[PORTS] = {0x378, 0x278, 0x3bc};
    static const uint8_t irqs[PORTS] = {7, 5, 7};
    Parallel *s = (Parallel *)dev;
    IsaBus *isa = (IsaBus *)dev->bus;

    if (s->index == CHOOSE) {
        s->index = free_index(dev);
    }
    if (s->index >= PORTS && s->iobase == CHOOSE) {
        return fail(err, "isa-parallel: index %u: there are %d parallel ports", s->index, PORTS);
    }
    if (s->iobase == CHOOSE) {
        s->iobase = bases[s->index];
    }
    if (s->irq_no == CHOOSE) {
        s->irq_no = s->index < PORTS ? irqs[s->index] : 7;
    }
    if (s->irq_no > 15 || s->iobase > 0xfffc) {
        return fail(err, "isa-parallel: iobase=0x%x,irq=%u are not possible", s->iobase, s->irq_no);
    }
    if (s->chardev && *s->chardev) {
        Chardev *chr = chardev_find(s->chardev);
        if (!chr) {
            return fail(err, "isa-parallel: there is no chardev '%s'", s->chardev);
        }
        s->front = chardev_attach(chr, &front_handlers, s, err);
        if (!s->front) {
            return false;
        }
    }
    s->irq = isa->irq[s->irq_no];
    mem_region_init_io(&s->io, "parallel", &parallel_ops, s, 3);
    mem_region_add(isa->io, &s->io, s->iobase, 0);
    return true;
}

static void parallel_unrealize(Device *dev)
{
    Parallel *s = (Parallel *)dev;

    mem_region_destroy(&s->io);
    chardev_detach(s->front);
    s->front = NULL;
}

static void parallel_reset(Device *dev)
{
    Parallel *s = (Parallel *)dev;

    s->data = 0;
    s->control = CT_SELECT_IN | CT_NINIT;
    s->busy = false;
}

static bool parallel_post_load(void *obj, GError **err)
{
    front_writable(obj);
    return true;
}

static const Property parallel_props[] = {
    {"chardev", PROP_CHARDEV, offsetof(Parallel, chardev), NULL, "back end"},
    {"index", PROP_U32, offsetof(Parallel, index), "4294967295", "LPT port, from 0"},
    {"iobase", PROP_U32, offsetof(Parallel, iobase), "4294967295", "first I/O port"},
    {"irq", PROP_U32, offsetof(Parallel, irq_no), "4294967295", "interrupt line"},
    {NULL},
};

static const StateField parallel_fields[] = {
    STATE_U8(Parallel, data), STATE_U8(Parallel, control),
    STATE_U8(Parallel, held), STATE_BOOL(Parallel, busy),
    STATE_END_FIELD,
};
static const StateTable parallel_state = {.name = "isa-parallel",
                                          .version = 1,
                                          .fields = parallel_fields,
                                          .post_load = parallel_post_load};

const DeviceType isa_parallel_type = {
    .name = "isa-parallel",
    .desc = "parallel port",
    .bus = "ISA",
    .size = sizeof(Parallel),
    .user_creatable = true,
    .props = parallel_props,
    .realize = parallel_realize,
    .unrealize = parallel_unrealize,
    .reset = parallel_reset,
    .state = &parallel_state,
};

Parallel *parallel_new_isa(IsaBus *isa, uint16_t iobase, int irq, Chardev *chr, GError **err)
{
    Device *dev = device_new(&isa_parallel_type, isa_machine(isa));
    Parallel *s = (Parallel *)dev;

    s->iobase = iobase;
    s->irq_no = irq;
    if (chr) {
        g_free(s->chardev);
        s->chardev = g_strdup(chardev_label(chr));
    }
    if (!device_realize(dev, &isa->bus, err)) {
        device_free(dev);
        return NULL;
    }
    return s;
}
