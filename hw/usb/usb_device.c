/*
 * The part of a USB device that all share: control transfers and the standard requests. Universal
 * Serial Bus Specification 2.0, 8.5.3 and chapter 9.
 */
#include "core/log.h"
#include "core/machine.h"
#include "hw/usb/usb.h"
#include "hw/usb/usb_int.h"
#include <string.h>

enum { /* UsbDevice.stage */
       STAGE_IDLE,
       STAGE_DATA_IN,
       STAGE_DATA_OUT,
       STAGE_STATUS_IN, /* an empty IN ends it */
       STAGE_STALLED,   /* until the next SETUP */
       STAGE_COUNT
};

enum {
    TYPE_IN = 0x80,
    TYPE_STANDARD_MASK = 0x60,
    TO_DEVICE = 0,
    TO_INTERFACE = 1,
    TO_ENDPOINT = 2,

    FEATURE_HALT = 0,
    FEATURE_REMOTE_WAKEUP = 1,

    ATTR_SELF_POWERED = 0x40,
    ATTR_REMOTE_WAKEUP = 0x20,
};

#define LANG_EN_US 0x0409

static unsigned config_len(const UsbDevice *d)
{
    return d->fn->config[2] | d->fn->config[3] << 8;
}

/* ---- standard requests ---- */

static const char *string_at(const UsbDevice *d, unsigned index)
{
    if (index == d->fn->device[16] && d->serial) {
        return d->serial;
    }
    for (unsigned i = 1; d->fn->strings[i - 1]; i++) {
        if (i == index) {
            return d->fn->strings[i - 1];
        }
    }
    return NULL;
}

const char *usb_product(const UsbDevice *d)
{
    const char *s = string_at(d, d->fn->device[15]);
    return s ? s : d->dev.type->name;
}

static int string_descriptor(const UsbDevice *d, unsigned index, uint8_t *data)
{
    data[1] = USB_DESC_STRING;
    if (index == 0) {
        data[0] = 4;
        data[2] = LANG_EN_US & 0xff;
        data[3] = LANG_EN_US >> 8;
        return 4;
    }
    const char *text = string_at(d, index);
    glong n = 0;
    g_autofree gunichar2 *utf16 = text ? g_utf8_to_utf16(text, -1, NULL, &n, NULL) : NULL;
    if (!utf16) {
        return USB_STALL;
    }
    n = MIN(n, 126);
    for (glong i = 0; i < n; i++) {
        data[2 + 2 * i] = (uint8_t)utf16[i];
        data[3 + 2 * i] = (uint8_t)(utf16[i] >> 8);
    }
    data[0] = (uint8_t)(2 + 2 * n);
    return data[0];
}

static int get_descriptor(UsbDevice *d, const UsbSetup *s, uint8_t *data)
{
    switch (s->value >> 8) {
    case USB_DESC_DEVICE:
        memcpy(data, d->fn->device, 18);
        return 18;
    case USB_DESC_CONFIG:
        if (s->value & 0xff) {
            return USB_STALL;
        }
        memcpy(data, d->fn->config, config_len(d));
        return (int)config_len(d);
    case USB_DESC_STRING:
        return string_descriptor(d, s->value & 0xff, data);
    default: /* device qualifier too: there is no other speed */
        return USB_STALL;
    }
}

static int set_configuration(UsbDevice *d, unsigned value)
{
    if (value != 0 && value != d->fn->config[5]) {
        return USB_STALL;
    }
    bool was = d->config != 0;
    d->config = (uint8_t)value;
    d->halted_in = d->halted_out = 0;
    if (d->fn->configured && (was || value)) {
        d->fn->configured(d, value != 0);
    }
    return 0;
}

static int device_request(UsbDevice *d, const UsbSetup *s, uint8_t *data)
{
    bool can_wake = d->fn->config[7] & ATTR_REMOTE_WAKEUP;

    switch (s->request) {
    case USB_GET_STATUS:
        data[0] = (uint8_t)((d->fn->config[7] & ATTR_SELF_POWERED ? 1 : 0) | d->remote_wakeup << 1);
        data[1] = 0;
        return 2;
    case USB_CLEAR_FEATURE:
    case USB_SET_FEATURE:
        if (s->value != FEATURE_REMOTE_WAKEUP || !can_wake) {
            return USB_STALL;
        }
        d->remote_wakeup = s->request == USB_SET_FEATURE;
        return 0;
    case USB_SET_ADDRESS: /* takes effect after the status stage */
        if (s->value > 127) {
            return USB_STALL;
        }
        d->new_addr = (uint8_t)s->value;
        return 0;
    case USB_GET_DESCRIPTOR:
        return get_descriptor(d, s, data);
    case USB_GET_CONFIGURATION:
        data[0] = d->config;
        return 1;
    case USB_SET_CONFIGURATION:
        return set_configuration(d, s->value & 0xff);
    default:
        return USB_STALL;
    }
}

static int interface_request(UsbDevice *d, const UsbSetup *s, uint8_t *data)
{
    if (!d->config || (s->index & 0xff) >= d->fn->config[4]) {
        return USB_STALL;
    }
    switch (s->request) {
    case USB_GET_STATUS:
        data[0] = data[1] = 0;
        return 2;
    case USB_GET_INTERFACE:
        data[0] = 0;
        return 1;
    case USB_SET_INTERFACE:
        if (s->value != 0) {
            return USB_STALL;
        }
        d->halted_in = d->halted_out = 0;
        return 0;
    case USB_GET_DESCRIPTOR: /* of classes */
        return d->fn->control ? d->fn->control(d, s, data) : USB_STALL;
    default:
        return USB_STALL;
    }
}

static int endpoint_request(UsbDevice *d, const UsbSetup *s, uint8_t *data)
{
    unsigned ep = s->index & 15;
    bool in = s->index & 0x80;
    uint16_t *halted = in ? &d->halted_in : &d->halted_out, bit = (uint16_t)(1u << ep);

    if (s->index & 0xff70 || (ep && (!d->config || !(in ? d->packet_in : d->packet_out)[ep]))) {
        return USB_STALL;
    }
    switch (s->request) {
    case USB_GET_STATUS:
        data[0] = !!(*halted & bit);
        data[1] = 0;
        return 2;
    case USB_CLEAR_FEATURE:
    case USB_SET_FEATURE:
        if (s->value != FEATURE_HALT) {
            return USB_STALL;
        }
        if (!ep) {
            return 0; /* the default pipe does not halt */
        }
        if (s->request == USB_SET_FEATURE) {
            *halted |= bit;
        } else if (!d->fn->unhalt || d->fn->unhalt(d, ep, in)) {
            *halted &= (uint16_t)~bit;
        }
        return 0;
    default:
        return USB_STALL;
    }
}

static int run_request(UsbDevice *d, const UsbSetup *s)
{
    if (s->type & TYPE_STANDARD_MASK) {
        return d->fn->control ? d->fn->control(d, s, d->data) : USB_STALL;
    }
    bool in = s->request == USB_GET_STATUS || s->request == USB_GET_DESCRIPTOR ||
              s->request == USB_GET_CONFIGURATION || s->request == USB_GET_INTERFACE;
    if (in != !!(s->type & TYPE_IN)) {
        return USB_STALL;
    }
    switch (s->type & 0x1f) {
    case TO_DEVICE:
        return device_request(d, s, d->data);
    case TO_INTERFACE:
        return interface_request(d, s, d->data);
    case TO_ENDPOINT:
        return endpoint_request(d, s, d->data);
    default:
        return USB_STALL;
    }
}

/* ---- control transfers ---- */

static UsbSetup parse_setup(const uint8_t p[8])
{
    return (UsbSetup){.type = p[0],
                      .request = p[1],
                      .value = (uint16_t)(p[2] | p[3] << 8),
                      .index = (uint16_t)(p[4] | p[5] << 8),
                      .length = (uint16_t)(p[6] | p[7] << 8)};
}

/* A SETUP is always taken and ends what was going on. */
static int take_setup(UsbDevice *d, const uint8_t *buf, unsigned len)
{
    if (len != 8) {
        return USB_SILENT;
    }
    memcpy(d->setup, buf, 8);
    UsbSetup s = parse_setup(d->setup);
    d->len = d->pos = 0;
    d->new_addr = d->addr;
    if (s.type & TYPE_IN) {
        int n = run_request(d, &s);
        d->stage = n < 0 ? STAGE_STALLED : STAGE_DATA_IN;
        d->len = n < 0 ? 0 : MIN((unsigned)n, s.length);
        if (n >= 0 && s.length == 0) {
            d->stage = STAGE_STATUS_IN; /* no data stage: the status goes in */
        }
    } else if (s.length) {
        /* The length is checked before anything is taken: no index can pass the buffer. */
        d->len = s.length;
        d->stage = STAGE_DATA_OUT;
        if (s.length > USB_DATA_MAX) {
            guest_error("%s: request %02x/%02x with %u bytes of data", d->dev.type->name, s.type,
                        s.request, s.length);
            d->len = 0;
            d->stage = STAGE_STALLED;
        }
    } else {
        d->stage = run_request(d, &s) < 0 ? STAGE_STALLED : STAGE_STATUS_IN;
    }
    return 8;
}

static int control_in(UsbDevice *d, uint8_t *buf)
{
    unsigned n;

    switch (d->stage) {
    case STAGE_DATA_IN:
        n = MIN(d->len - d->pos, d->fn->device[7]);
        memcpy(buf, d->data + d->pos, n);
        d->pos += n;
        return (int)n; /* nothing left: an empty packet, as a host that asks on expects */
    case STAGE_STATUS_IN:
        d->stage = STAGE_IDLE;
        d->addr = d->new_addr;
        return 0;
    default:
        d->stage = STAGE_STALLED;
        return USB_STALL;
    }
}

static int control_out(UsbDevice *d, const uint8_t *buf, unsigned len)
{
    switch (d->stage) {
    case STAGE_DATA_OUT:
        if (len > d->len - d->pos) {
            d->stage = STAGE_STALLED;
            return USB_STALL;
        }
        memcpy(d->data + d->pos, buf, len);
        d->pos += len;
        if (d->pos == d->len) {
            UsbSetup s = parse_setup(d->setup);
            d->stage = run_request(d, &s) < 0 ? STAGE_STALLED : STAGE_STATUS_IN;
        }
        return (int)len;
    case STAGE_DATA_IN: /* the status stage, also when the host has not read all */
        d->stage = STAGE_IDLE;
        return len ? USB_STALL : 0;
    default:
        d->stage = STAGE_STALLED;
        return USB_STALL;
    }
}

int usb_device_packet(UsbDevice *d, uint8_t pid, unsigned ep, uint8_t *buf, unsigned len)
{
    uint8_t packet[USB_PACKET_MAX];
    unsigned max = ep ? (pid == USB_PID_IN ? d->packet_in : d->packet_out)[ep] : d->fn->device[7];
    int n;

    if (pid == USB_PID_SETUP) {
        return ep ? USB_SILENT : take_setup(d, buf, len);
    }
    if (!max || (ep && !d->config)) {
        return USB_SILENT; /* no such endpoint */
    }
    if (ep && (pid == USB_PID_IN ? d->halted_in : d->halted_out) & 1u << ep) {
        return USB_STALL;
    }
    if (pid == USB_PID_OUT) {
        if (len > max) {
            guest_error("%s: a packet of %u bytes for an endpoint of %u", d->dev.type->name, len,
                        max);
            return USB_SILENT;
        }
        n = ep ? d->fn->out(d, ep, buf, len) : control_out(d, buf, len);
    } else {
        n = ep ? d->fn->in(d, ep, packet, max) : control_in(d, packet);
        if (n > (int)len) {
            return USB_BABBLE;
        }
        if (n > 0) {
            memcpy(buf, packet, (size_t)n);
        }
    }
    if (n == USB_STALL && ep) {
        *(pid == USB_PID_IN ? &d->halted_in : &d->halted_out) |= (uint16_t)(1u << ep);
    }
    return n < 0 || pid == USB_PID_IN ? n : (int)len;
}

/* ---- life ---- */

static void power_on(UsbDevice *d)
{
    d->addr = d->new_addr = d->config = 0;
    d->remote_wakeup = false;
    d->halted_in = d->halted_out = 0;
    d->stage = STAGE_IDLE;
    d->len = d->pos = 0;
    memset(d->setup, 0, sizeof(d->setup));
    memset(d->data, 0, sizeof(d->data));
}

void usb_device_bus_reset(UsbDevice *d)
{
    bool was = d->config;

    power_on(d);
    if (was && d->fn->configured) {
        d->fn->configured(d, false);
    }
    if (d->fn->reset) {
        d->fn->reset(d);
    }
}

void usb_device_reset(Device *dev)
{
    usb_device_bus_reset((UsbDevice *)dev);
}

/* Endpoints as the configuration lists them. */
static void find_endpoints(UsbDevice *d)
{
    const uint8_t *c = d->fn->config;
    unsigned len = config_len(d);

    g_assert(len <= USB_DATA_MAX);
    for (unsigned i = 0; i + 1 < len; i += c[i]) {
        g_assert(c[i] >= 2 && i + c[i] <= len);
        if (c[i + 1] == USB_DESC_ENDPOINT) {
            unsigned ep = c[i + 2] & 15;
            g_assert(c[i + 4] <= USB_PACKET_MAX);
            *(c[i + 2] & 0x80 ? &d->packet_in[ep] : &d->packet_out[ep]) = c[i + 4];
        }
    }
}

bool usb_device_init(UsbDevice *d, const UsbFunction *fn, GError **err)
{
    d->fn = fn;
    find_endpoints(d);
    power_on(d);
    if (d->serial && (!g_utf8_validate(d->serial, -1, NULL) || !*d->serial)) {
        return fail(err, "%s: serial must be a text", d->dev.type->name);
    }
    UsbPort *port = usb_choose_port(d, err);
    if (!port) {
        return false;
    }
    d->port = port;
    port->dev = d;
    d->number = ++port->bus->next_number;
    return true;
}

void usb_device_attach(UsbDevice *d)
{
    d->port->ops->attached(d->port->opaque, d->port);
}

void usb_device_fini(UsbDevice *d)
{
    if (d->port) {
        d->port->ops->detached(d->port->opaque, d->port);
        d->port->dev = NULL;
        d->port = NULL;
    }
}

static bool post_load(void *obj, GError **err)
{
    UsbDevice *d = obj;

    return (d->addr < 128 && d->new_addr < 128 && d->stage < STAGE_COUNT &&
            (!d->config || d->config == d->fn->config[5]) && d->len <= USB_DATA_MAX &&
            d->pos <= d->len) ||
           fail(err, "The saved state of %s is impossible", d->dev.type->name);
}

static const StateField fields[] = {
    STATE_U8(UsbDevice, addr),       STATE_U8(UsbDevice, new_addr),
    STATE_U8(UsbDevice, config),     STATE_BOOL(UsbDevice, remote_wakeup),
    STATE_U16(UsbDevice, halted_in), STATE_U16(UsbDevice, halted_out),
    STATE_U8(UsbDevice, stage),      STATE_U8_ARRAY(UsbDevice, setup),
    STATE_U32(UsbDevice, len),       STATE_U32(UsbDevice, pos),
    STATE_U8_ARRAY(UsbDevice, data), STATE_END_FIELD,
};

const StateTable usb_device_state = {
    .name = "usb-device", .version = 1, .fields = fields, .post_load = post_load};
