/*
 * Port 61h, the NMI status and control register of a PC: gate and output of timer channel 2,
 * speaker enable, the memory refresh toggle. 82371SB (PIIX3) data sheet, 2.5.4.
 */
#include "hw/timer/pcspk.h"
#include "core/log.h"

enum {
    GATE2 = 1 << 0,
    SPEAKER = 1 << 1,
    WRITABLE = 0x0f, /* and the enables of SERR# and IOCHK# NMIs, active low */
    REFRESH = 1 << 4,
    OUT2 = 1 << 5,
};

/* The refresh request toggles with each period of channel 1 as BIOSes program it: 18 clocks. */
#define REFRESH_NS 15085

struct Pcspk {
    Device dev;
    uint8_t control;
    Clock *clk;
    I8254 *pit;
    MemRegion port;
};

static uint64_t pcspk_read(void *opaque, uint64_t off, unsigned size)
{
    Pcspk *s = opaque;
    uint8_t v = s->control;

    if (clock_now(s->clk) / REFRESH_NS & 1) {
        v |= REFRESH;
    }
    if (i8254_out(s->pit, 2)) {
        v |= OUT2;
    }
    return v;
}

static void pcspk_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Pcspk *s = opaque;

    s->control = val & WRITABLE;
    i8254_set_gate(s->pit, 2, val & GATE2);
}

uint32_t pcspk_tone(Pcspk *s)
{
    return s->control & SPEAKER ? i8254_frequency(s->pit, 2) : 0;
}

static const MemOps pcspk_ops = {.read = pcspk_read, .write = pcspk_write, .impl_max = 1};

static void pcspk_reset(Device *dev)
{
    Pcspk *s = (Pcspk *)dev;

    s->control = 0;
    i8254_set_gate(s->pit, 2, false);
}

static const StateField pcspk_fields[] = {STATE_U8(Pcspk, control), STATE_END_FIELD};
static const StateTable pcspk_table = {.name = "pcspk", .version = 1, .fields = pcspk_fields};

static bool pcspk_realize(Device *dev, GError **err)
{
    Pcspk *s = (Pcspk *)dev;

    if (!s->clk || !s->pit) {
        return fail(err, "pcspk: no timer");
    }
    mem_region_init_io(&s->port, "port61", &pcspk_ops, s, 1);
    return true;
}

static void pcspk_unrealize(Device *dev)
{
    mem_region_destroy(&((Pcspk *)dev)->port);
}

const DeviceType pcspk_type = {
    .name = "pcspk",
    .desc = "PC speaker gate, port 61h",
    .size = sizeof(Pcspk),
    .realize = pcspk_realize,
    .unrealize = pcspk_unrealize,
    .reset = pcspk_reset,
    .state = &pcspk_table,
};

Pcspk *pcspk_new(Machine *m, MemRegion *io, Clock *clk, I8254 *pit, GError **err)
{
    Pcspk *s = (Pcspk *)device_new(&pcspk_type, m);

    s->clk = clk;
    s->pit = pit;
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    mem_region_add(io, &s->port, 0x61, 0);
    return s;
}
