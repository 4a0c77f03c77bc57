/* The debug exit port; a convention of virtual machines, no chip. */
#include "hw/misc/isa_debug_exit.h"
#include "core/log.h"
#include "core/machine.h"
#include "hw/isa/isa.h"

typedef struct DebugExit {
    Device dev;
    MemRegion io;
    uint32_t iobase, iosize;
} DebugExit;

static uint64_t exit_read(void *opaque, uint64_t off, unsigned size)
{
    return 0;
}

static void exit_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    DebugExit *s = opaque;

    if (s->dev.machine) {
        machine_request_exit(s->dev.machine, (int)((val << 1 | 1) & 0xff));
    }
}

static const MemOps exit_ops = {.read = exit_read, .write = exit_write};

static void exit_reset(Device *dev)
{
}

static bool exit_realize(Device *dev, GError **err)
{
    DebugExit *s = (DebugExit *)dev;

    if (!s->iosize || s->iosize > 8 || s->iobase + s->iosize > 0x10000) {
        return fail(err, "isa-debug-exit: iobase=0x%x,iosize=0x%x are no I/O ports", s->iobase,
                    s->iosize);
    }
    mem_region_init_io(&s->io, "isa-debug-exit", &exit_ops, s, s->iosize);
    mem_region_add(((IsaBus *)dev->bus)->io, &s->io, s->iobase, 0);
    return true;
}

static void exit_unrealize(Device *dev)
{
    mem_region_destroy(&((DebugExit *)dev)->io);
}

static const Property exit_props[] = {
    {"iobase", PROP_U32, offsetof(DebugExit, iobase), "0x501", "first I/O port"},
    {"iosize", PROP_U32, offsetof(DebugExit, iosize), "2", "number of ports"},
    {NULL},
};

const DeviceType isa_debug_exit_type = {
    .name = "isa-debug-exit",
    .desc = "port that ends the emulator",
    .bus = "ISA",
    .size = sizeof(DebugExit),
    .user_creatable = true,
    .props = exit_props,
    .realize = exit_realize,
    .unrealize = exit_unrealize,
    .reset = exit_reset,
};
