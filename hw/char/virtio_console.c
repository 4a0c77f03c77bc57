/* -device virtconsole and virtserialport: ports of a virtio console device, with a chardev each. */
#include "core/log.h"
#include "hw/char/virtio_serial.h"

static size_t can_receive(void *opaque)
{
    return virtio_serial_room(opaque);
}

static void receive(void *opaque, const uint8_t *buf, size_t len)
{
    virtio_serial_give(opaque, buf, len);
}

static void event(void *opaque, ChardevEvent ev)
{
    if (ev == CHARDEV_OPENED || ev == CHARDEV_CLOSED) {
        virtio_serial_host_open(opaque, ev == CHARDEV_OPENED);
    }
}

static void writable(void *opaque)
{
    virtio_serial_more(opaque);
}

static const ChardevHandlers handlers = {
    .can_receive = can_receive, .receive = receive, .event = event, .writable = writable};

static bool port_realize(Device *dev, bool console, GError **err)
{
    VirtSerialPort *p = (VirtSerialPort *)dev;
    Chardev *chr = NULL;

    p->console = console;
    if (p->chardev && *p->chardev && !(chr = chardev_find(p->chardev))) {
        return fail(err, "%s: there is no chardev '%s'", dev->type->name, p->chardev);
    }
    if (!virtio_serial_add_port(((VirtSerialBus *)dev->bus)->serial, p, err)) {
        return false;
    }
    if (chr && !(p->front = chardev_attach(chr, &handlers, p, err))) {
        virtio_serial_remove_port(p);
        return false;
    }
    /* Without a back end there is nobody to wait for. */
    p->host_open = chr ? p->host_open || chardev_is_open(chr) : console;
    return true;
}

static bool console_realize(Device *dev, GError **err)
{
    return port_realize(dev, true, err);
}

static bool serialport_realize(Device *dev, GError **err)
{
    return port_realize(dev, false, err);
}

static void port_unrealize(Device *dev)
{
    VirtSerialPort *p = (VirtSerialPort *)dev;

    chardev_detach(p->front);
    p->front = NULL;
    virtio_serial_remove_port(p);
}

static void port_reset(Device *dev)
{
    VirtSerialPort *p = (VirtSerialPort *)dev;

    p->guest_open = false;
    p->sent = 0;
}

static const StateField fields[] = {
    STATE_BOOL(VirtSerialPort, guest_open),
    STATE_U64(VirtSerialPort, sent),
    STATE_END_FIELD,
};
static const StateTable state = {.name = "virtio-serial-port", .version = 1, .fields = fields};

static const Property props[] = {
    {"chardev", PROP_CHARDEV, offsetof(VirtSerialPort, chardev), NULL, "id of the -chardev"},
    {"name", PROP_STRING, offsetof(VirtSerialPort, name), NULL,
     "what the guest finds the port by (/dev/virtio-ports/NAME)"},
    {"nr", PROP_U32, offsetof(VirtSerialPort, nr), "4294967295",
     "port number; default: first free"},
    {NULL},
};

const DeviceType virtconsole_type = {
    .name = "virtconsole",
    .desc = "console port of a virtio console device",
    .bus = "virtio-serial-bus",
    .size = sizeof(VirtSerialPort),
    .user_creatable = true,
    .props = props,
    .realize = console_realize,
    .unrealize = port_unrealize,
    .reset = port_reset,
    .state = &state,
};

const DeviceType virtserialport_type = {
    .name = "virtserialport",
    .desc = "port of a virtio console device",
    .bus = "virtio-serial-bus",
    .size = sizeof(VirtSerialPort),
    .user_creatable = true,
    .props = props,
    .realize = serialport_realize,
    .unrealize = port_unrealize,
    .reset = port_reset,
    .state = &state,
};
