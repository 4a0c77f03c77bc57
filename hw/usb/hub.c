/*
 * USB hub with eight ports, full speed. Universal Serial Bus Specification 2.0, chapter 11; ganged
 * power switching and no over-current sensing, as cheap hubs are.
 */
#include "core/log.h"
#include "core/machine.h"
#include "hw/usb/usb.h"
#include "hw/usb/usb_int.h"
#include <string.h>

enum {
    N_PORTS = 8,

    TYPE_HUB_IN = 0xa0,
    TYPE_HUB_OUT = 0x20,
    TYPE_PORT_IN = 0xa3,
    TYPE_PORT_OUT = 0x23,
    DESC_HUB = 0x29,

    FEATURE_LOCAL_POWER = 0,  /* C_HUB_LOCAL_POWER */
    FEATURE_OVER_CURRENT = 1, /* C_HUB_OVER_CURRENT */
    PORT_CONNECTION = 0,      /* bits of wPortStatus, and features */
    PORT_ENABLE = 1,
    PORT_SUSPEND = 2,
    PORT_OVER_CURRENT = 3,
    PORT_RESET = 4,
    PORT_POWER = 8,
    C_PORT_CONNECTION = 16,
    C_PORT_RESET = 20,
};

#define BIT(n) (1u << (n))

typedef struct UsbHub {
    UsbDevice usb;
    UsbPort port[N_PORTS];
    uint32_t status[N_PORTS]; /* wPortStatus, and wPortChange above it */
} UsbHub;

static const uint8_t device_descriptor[18] = {
    18,   USB_DESC_DEVICE,
    0x10, 0x01,
    9,    0,
    0,    8, /* USB 1.1, class hub, packets of 8 */
    0x09, 0x04,
    0xaa, 0x55, /* an NEC hub */
    0x01, 0x01,
    1,    2,
    3,    1,
};

static const uint8_t config_descriptor[25] = {
    9, USB_DESC_CONFIG,    25,   0,    1, 1, 0,    0xe0, 0, /* self powered, remote wake-up */
    9, USB_DESC_INTERFACE, 0,    0,    1, 9, 0,    0,    0, /* class hub */
    7, USB_DESC_ENDPOINT,  0x81, 0x03, 2, 0, 0xff,          /* interrupt: status changes */
};

static const char *const strings[] = {"Rhea", "USB Hub", "1", NULL};

static void update_enabled(UsbHub *s, unsigned n)
{
    s->port[n].enabled =
        (s->status[n] & (BIT(PORT_ENABLE) | BIT(PORT_SUSPEND) | BIT(PORT_RESET))) ==
        BIT(PORT_ENABLE);
}

static void change(UsbHub *s, unsigned n, uint32_t bit)
{
    s->status[n] |= bit << 16;
    usb_wakeup(&s->usb);
}

/* ---- downstream ---- */

static void connect(UsbHub *s, unsigned n)
{
    if (s->status[n] & BIT(PORT_POWER) && s->port[n].dev) {
        s->status[n] |= BIT(PORT_CONNECTION);
        usb_device_bus_reset(s->port[n].dev);
        change(s, n, BIT(PORT_CONNECTION));
    }
}

static void port_attached(void *opaque, UsbPort *port)
{
    connect(opaque, port->index);
}

static void port_detached(void *opaque, UsbPort *port)
{
    UsbHub *s = opaque;
    uint32_t *v = &s->status[port->index], was = *v;

    *v &= ~(BIT(PORT_CONNECTION) | BIT(PORT_ENABLE) | BIT(PORT_SUSPEND) | BIT(PORT_RESET));
    update_enabled(s, port->index);
    if (was & BIT(PORT_ENABLE)) {
        change(s, port->index, BIT(PORT_ENABLE));
    }
    if (was & BIT(PORT_CONNECTION)) {
        change(s, port->index, BIT(PORT_CONNECTION));
    }
}

static void port_wakeup(void *opaque, UsbPort *port)
{
    UsbHub *s = opaque;
    uint32_t *v = &s->status[port->index];

    if (!(*v & BIT(PORT_SUSPEND))) {
        usb_wakeup(&s->usb);
    } else if (port->dev->remote_wakeup) {
        *v &= ~BIT(PORT_SUSPEND);
        update_enabled(s, port->index);
        change(s, port->index, BIT(PORT_SUSPEND));
    }
}

static const UsbPortOps port_ops = {port_attached, port_detached, port_wakeup};

/* ---- requests, 11.24.2 ---- */

static int hub_descriptor(const UsbSetup *s, uint8_t *data)
{
    static const uint8_t hub[] = {
        9,    DESC_HUB, N_PORTS, 0x10, 0x00, /* ganged power, no over-current protection */
        0x01,                                /* 2 ms until power is good */
        0,    0x00,     0xff,                /* all ports removable; the old power mask */
    };
    if (s->value >> 8 != DESC_HUB && s->value >> 8 != 0) {
        return USB_STALL;
    }
    memcpy(data, hub, sizeof(hub));
    return sizeof(hub);
}

static int set_port_feature(UsbHub *s, unsigned n, unsigned feature)
{
    uint32_t *v = &s->status[n];

    switch (feature) {
    case PORT_SUSPEND:
        *v |= *v & BIT(PORT_ENABLE) ? BIT(PORT_SUSPEND) : 0;
        break;
    case PORT_RESET:
        if (*v & BIT(PORT_CONNECTION)) {
            usb_device_bus_reset(s->port[n].dev);
            *v &= ~BIT(PORT_SUSPEND);
            *v |= BIT(PORT_ENABLE);
            change(s, n, BIT(PORT_RESET));
        }
        break;
    case PORT_POWER:
        if (!(*v & BIT(PORT_POWER))) {
            *v |= BIT(PORT_POWER);
            connect(s, n);
        }
        break;
    default:
        return USB_STALL;
    }
    update_enabled(s, n);
    return 0;
}

static int clear_port_feature(UsbHub *s, unsigned n, unsigned feature)
{
    uint32_t *v = &s->status[n];

    switch (feature) {
    case PORT_ENABLE:
        *v &= ~(BIT(PORT_ENABLE) | BIT(PORT_SUSPEND));
        break;
    case PORT_SUSPEND:
        if (*v & BIT(PORT_SUSPEND)) {
            *v &= ~BIT(PORT_SUSPEND);
            change(s, n, BIT(PORT_SUSPEND));
        }
        break;
    case PORT_POWER:
        *v = 0;
        break;
    default:
        if (feature < C_PORT_CONNECTION || feature > C_PORT_RESET) {
            return USB_STALL;
        }
        *v &= ~BIT(feature);
    }
    update_enabled(s, n);
    return 0;
}

static int control(UsbDevice *d, const UsbSetup *r, uint8_t *data)
{
    UsbHub *s = (UsbHub *)d;
    unsigned n = (r->index & 0xff) - 1;
    bool port = (r->type == TYPE_PORT_IN || r->type == TYPE_PORT_OUT) && r->index >> 8 == 0;

    if (!d->config || (port && n >= N_PORTS)) {
        return USB_STALL;
    }
    switch (r->request | r->type << 8) {
    case USB_GET_DESCRIPTOR | TYPE_HUB_IN << 8:
        return hub_descriptor(r, data);
    case USB_GET_STATUS | TYPE_HUB_IN << 8:
        memset(data, 0, 4); /* power is good */
        return 4;
    case USB_CLEAR_FEATURE | TYPE_HUB_OUT << 8:
        return r->value <= FEATURE_OVER_CURRENT ? 0 : USB_STALL;
    case USB_GET_STATUS | TYPE_PORT_IN << 8:
        if (!port) {
            return USB_STALL;
        }
        for (unsigned i = 0; i < 4; i++) {
            data[i] = (uint8_t)(s->status[n] >> (8 * i));
        }
        return 4;
    case USB_SET_FEATURE | TYPE_PORT_OUT << 8:
        return port ? set_port_feature(s, n, r->value) : USB_STALL;
    case USB_CLEAR_FEATURE | TYPE_PORT_OUT << 8:
        return port ? clear_port_feature(s, n, r->value) : USB_STALL;
    default:
        return USB_STALL;
    }
}

/* The status change endpoint: a bit a port, from bit 1 (11.12.4). */
static int ep_in(UsbDevice *d, unsigned ep, uint8_t *buf, unsigned max)
{
    UsbHub *s = (UsbHub *)d;
    unsigned map = 0;

    for (unsigned i = 0; i < N_PORTS; i++) {
        map |= s->status[i] >> 16 ? 2u << i : 0;
    }
    if (!map) {
        return USB_NAK;
    }
    buf[0] = (uint8_t)map;
    buf[1] = (uint8_t)(map >> 8);
    return 2;
}

static int ep_out(UsbDevice *d, unsigned ep, const uint8_t *buf, unsigned len)
{
    return USB_STALL;
}

/* Without a configuration the ports have no power. */
static void hub_reset(UsbDevice *d)
{
    UsbHub *s = (UsbHub *)d;

    for (unsigned i = 0; i < N_PORTS; i++) {
        s->status[i] = 0;
        update_enabled(s, i);
    }
}

static void configured(UsbDevice *d, bool on)
{
    hub_reset(d);
}

static const UsbFunction function = {
    .device = device_descriptor,
    .config = config_descriptor,
    .strings = strings,
    .reset = hub_reset,
    .configured = configured,
    .control = control,
    .in = ep_in,
    .out = ep_out,
};

/* ---- device ---- */

static bool hub_realize(Device *dev, GError **err)
{
    UsbHub *s = (UsbHub *)dev;

    if (!usb_device_init(&s->usb, &function, err)) {
        return false;
    }
    if (usb_tier(s->usb.port) >= USB_MAX_TIERS) {
        usb_device_fini(&s->usb);
        return fail(err, "usb-hub: at most five hubs may stand behind each other");
    }
    for (unsigned i = 0; i < N_PORTS; i++) {
        s->port[i] = (UsbPort){.hub = &s->usb, .ops = &port_ops, .opaque = s, .index = i};
        usb_port_register(s->usb.port->bus, &s->port[i]);
    }
    usb_device_attach(&s->usb);
    return true;
}

/* What is plugged into it goes with it. */
static void hub_unrealize(Device *dev)
{
    UsbHub *s = (UsbHub *)dev;

    for (unsigned i = 0; i < N_PORTS; i++) {
        if (s->port[i].dev) {
            device_free(&s->port[i].dev->dev);
        }
        usb_port_unregister(&s->port[i]);
    }
    usb_device_fini(&s->usb);
}

static bool post_load(void *obj, GError **err)
{
    UsbHub *s = obj;

    for (unsigned i = 0; i < N_PORTS; i++) {
        if (s->status[i] & BIT(PORT_CONNECTION) && !s->port[i].dev) {
            return fail(err, "The saved state has other devices on the USB hub's ports");
        }
        update_enabled(s, i);
    }
    return true;
}

static const StateField fields[] = {USB_STATE(UsbHub, usb), STATE_U32_ARRAY(UsbHub, status),
                                    STATE_END_FIELD};
static const StateTable state = {
    .name = "usb-hub", .version = 1, .fields = fields, .post_load = post_load};

static const Property props[] = {USB_PROPERTIES(UsbHub), {NULL}};

const DeviceType usb_hub_type = {
    .name = "usb-hub",
    .desc = "USB hub with eight ports",
    .bus = "usb",
    .size = sizeof(UsbHub),
    .user_creatable = true,
    .props = props,
    .realize = hub_realize,
    .unrealize = hub_unrealize,
    .reset = usb_device_reset,
    .state = &state,
};
