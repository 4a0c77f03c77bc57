/*
 * Debug console port: the port E9h convention ("port E9 hack"), and SeaBIOS's port 402h.
 * Output that the back end does not take at once is dropped: there is no flow control.
 */
#include "hw/char/debugcon.h"
#include "core/log.h"

struct DebugCon {
    Device dev;
    MemRegion io;
    char *chardev;
    uint32_t iobase, readback;
    ChardevFront *front;
};

static uint64_t debugcon_read(void *opaque, uint64_t off, unsigned size)
{
    return ((DebugCon *)opaque)->readback;
}

static void debugcon_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    DebugCon *s = opaque;
    uint8_t c = val;

    if (s->front) {
        chardev_write(s->front, &c, 1);
    }
}

static const MemOps debugcon_ops = {.read = debugcon_read, .write = debugcon_write, .impl_max = 1};

static const ChardevHandlers debugcon_handlers = {0};

static void debugcon_reset(Device *dev)
{
}

static bool debugcon_realize(Device *dev, GError **err)
{
    DebugCon *s = (DebugCon *)dev;

    if (s->iobase > 0xffff) {
        return fail(err, "isa-debugcon: iobase=0x%x is no I/O port", s->iobase);
    }
    if (s->chardev && *s->chardev) {
        Chardev *chr = chardev_find(s->chardev);
        if (!chr) {
            return fail(err, "isa-debugcon: there is no chardev '%s'", s->chardev);
        }
        s->front = chardev_attach(chr, &debugcon_handlers, s, err);
        if (!s->front) {
            return false;
        }
    }
    mem_region_init_io(&s->io, "debugcon", &debugcon_ops, s, 1);
    mem_region_add(((IsaBus *)dev->bus)->io, &s->io, s->iobase, 0);
    return true;
}

static void debugcon_unrealize(Device *dev)
{
    DebugCon *s = (DebugCon *)dev;

    mem_region_destroy(&s->io);
    chardev_detach(s->front);
    s->front = NULL;
}

static const Property debugcon_props[] = {
    {"iobase", PROP_U32, offsetof(DebugCon, iobase), "0xe9", "I/O port"},
    {"chardev", PROP_CHARDEV, offsetof(DebugCon, chardev), NULL, "back end"},
    {"readback", PROP_U32, offsetof(DebugCon, readback), "0xe9", "what a read gives"},
    {NULL},
};

const DeviceType isa_debugcon_type = {
    .name = "isa-debugcon",
    .desc = "debug console port",
    .bus = "ISA",
    .size = sizeof(DebugCon),
    .user_creatable = true,
    .props = debugcon_props,
    .realize = debugcon_realize,
    .unrealize = debugcon_unrealize,
    .reset = debugcon_reset,
};

DebugCon *debugcon_new(IsaBus *isa, uint16_t iobase, Chardev *chr, GError **err)
{
    Device *dev = device_new(&isa_debugcon_type, isa_machine(isa));
    DebugCon *s = (DebugCon *)dev;

    s->iobase = iobase;
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
