/*
 * System control port A.
 * IBM PS/2 Hardware Interface Technical Reference (1988), "System Control Port A"; Intel 82371SB.
 */
#include "hw/misc/port92.h"
#include "core/log.h"
#include "core/machine.h"

enum { P92_RESET = 1, P92_A20 = 2, P92_STORED = 0xfa };

struct Port92 {
    Device dev;
    MemRegion io;
    Irq a20, reset;
    uint8_t val;
};

static uint64_t port92_read(void *opaque, uint64_t off, unsigned size)
{
    return ((Port92 *)opaque)->val;
}

static void port92_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Port92 *s = opaque;
    bool reset = (val & P92_RESET) && !(s->val & P92_RESET);

    trace("port92_write", "val %02x", (unsigned)val);
    s->val = val & (P92_STORED | P92_RESET);
    irq_set(&s->a20, !!(val & P92_A20));
    if (reset) {
        irq_pulse(&s->reset);
    }
}

static const MemOps port92_ops = {.read = port92_read, .write = port92_write, .impl_max = 1};

static void port92_reset(Device *dev)
{
    Port92 *s = (Port92 *)dev;

    s->val = 0;
    irq_set(&s->a20, 0);
}

static bool port92_realize(Device *dev, GError **err)
{
    Port92 *s = (Port92 *)dev;

    mem_region_init_io(&s->io, "port92", &port92_ops, s, 1);
    mem_region_add(((IsaBus *)dev->bus)->io, &s->io, 0x92, 0);
    return true;
}

static void port92_unrealize(Device *dev)
{
    mem_region_destroy(&((Port92 *)dev)->io);
}

static bool port92_post_load(void *obj, GError **err)
{
    Port92 *s = obj;

    irq_set(&s->a20, !!(s->val & P92_A20));
    return true;
}

static const StateField port92_fields[] = {STATE_U8(Port92, val), STATE_END_FIELD};
static const StateTable port92_state = {
    .name = "port92", .version = 1, .fields = port92_fields, .post_load = port92_post_load};

const DeviceType port92_type = {
    .name = "port92",
    .desc = "system control port A",
    .bus = "ISA",
    .size = sizeof(Port92),
    .realize = port92_realize,
    .unrealize = port92_unrealize,
    .reset = port92_reset,
    .state = &port92_state,
};

Port92 *port92_new(IsaBus *isa, Irq a20, Irq reset, GError **err)
{
    Device *dev = device_new(&port92_type, isa_machine(isa));
    Port92 *s = (Port92 *)dev;

    s->a20 = a20;
    s->reset = reset;
    if (!device_realize(dev, &isa->bus, err)) {
        device_free(dev);
        return NULL;
    }
    return s;
}
