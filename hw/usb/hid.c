/* USB input devices: what they share; see hid.h. */
#include "hw/usb/hid.h"
#include "core/log.h"
#include "core/machine.h"
#include <string.h>

enum {
    REQ_IN = 0xa1, /* class, interface */
    REQ_OUT = 0x21,
    GET_REPORT = 1,
    GET_IDLE = 2,
    GET_PROTOCOL = 3,
    SET_REPORT = 9,
    SET_IDLE = 10,
    SET_PROTOCOL = 11,

    DESC_HID = 0x21,
    DESC_REPORT = 0x22,
    HID_AT = 18, /* in the configuration */

    REPORT_INPUT = 1,
    REPORT_OUTPUT = 2,

    PROTOCOL_BOOT = 0,
    PROTOCOL_REPORT = 1,
};

#define IDLE_NS (4 * NS_PER_SEC / 1000)

static Clock *clock_of(const UsbHid *h)
{
    return h->usb.dev.machine->virtual_clock;
}

/* A report went out, or the idle rate was set: the time runs from here. */
static void restart_idle(UsbHid *h)
{
    h->due = false;
    if (h->idle && h->usb.config) {
        timer_set(&h->timer, clock_now(clock_of(h)) + h->idle * IDLE_NS);
    } else {
        timer_del(&h->timer);
    }
}

static void on_idle(void *opaque)
{
    UsbHid *h = opaque;

    h->due = true;
    usb_wakeup(&h->usb);
}

void hid_changed(UsbHid *h)
{
    if (h->kind->pending(h)) {
        usb_wakeup(&h->usb);
    }
}

static int get_descriptor(UsbHid *h, const UsbSetup *s, uint8_t *data)
{
    switch (s->value >> 8) {
    case DESC_HID:
        memcpy(data, h->kind->fn.config + HID_AT, 9);
        return 9;
    case DESC_REPORT:
        memcpy(data, h->kind->report_descriptor, h->kind->report_descriptor_len);
        return (int)h->kind->report_descriptor_len;
    default:
        return USB_STALL;
    }
}

int hid_control(UsbDevice *d, const UsbSetup *s, uint8_t *data)
{
    UsbHid *h = (UsbHid *)d;
    bool boot = h->kind->fn.config[15] == 1; /* interface sub-class */

    if (s->request == USB_GET_DESCRIPTOR && s->type == 0x81) {
        return get_descriptor(h, s, data);
    }
    if (!d->config || s->index != 0) {
        return USB_STALL;
    }
    switch (s->request | s->type << 8) {
    case GET_REPORT | REQ_IN << 8:
        return s->value == REPORT_INPUT << 8 ? (int)h->kind->report(h, data, false) : USB_STALL;
    case SET_REPORT | REQ_OUT << 8:
        if (s->value != REPORT_OUTPUT << 8 || !h->kind->set_output || s->length != 1) {
            return USB_STALL;
        }
        h->kind->set_output(h, data[0]);
        return 0;
    case GET_IDLE | REQ_IN << 8:
        data[0] = h->idle;
        return 1;
    case SET_IDLE | REQ_OUT << 8:
        if (s->value & 0xff) {
            return USB_STALL; /* no such report */
        }
        h->idle = (uint8_t)(s->value >> 8);
        restart_idle(h);
        return 0;
    case GET_PROTOCOL | REQ_IN << 8:
        data[0] = h->protocol;
        return boot ? 1 : USB_STALL;
    case SET_PROTOCOL | REQ_OUT << 8:
        if (!boot || s->value > PROTOCOL_REPORT) {
            return USB_STALL;
        }
        h->protocol = (uint8_t)s->value;
        return 0;
    default:
        return USB_STALL;
    }
}

int hid_in(UsbDevice *d, unsigned ep, uint8_t *buf, unsigned max)
{
    UsbHid *h = (UsbHid *)d;

    if (!h->due && !h->kind->pending(h)) {
        return USB_NAK;
    }
    int n = (int)h->kind->report(h, buf, true);
    restart_idle(h);
    return n;
}

int hid_out(UsbDevice *d, unsigned ep, const uint8_t *buf, unsigned len)
{
    return USB_STALL;
}

/* Input goes to the device from the moment a driver takes it, and not before: the BIOS may know
 * the PS/2 ports only. */
void hid_configured(UsbDevice *d, bool on)
{
    UsbHid *h = (UsbHid *)d;

    if (on) {
        restart_idle(h);
        input_activate(h->slot);
    } else {
        timer_del(&h->timer);
        input_deactivate(h->slot);
    }
}

void hid_reset(UsbDevice *d)
{
    UsbHid *h = (UsbHid *)d;

    if (!h->kind) {
        return; /* not realized yet */
    }
    h->protocol = PROTOCOL_REPORT;
    h->idle = h->kind->default_idle;
    h->due = false;
    timer_del(&h->timer);
    h->kind->clear(h);
}

bool hid_realize(UsbHid *h, const HidKind *kind, GError **err)
{
    if (!usb_device_init(&h->usb, &kind->fn, err)) {
        return false;
    }
    h->kind = kind;
    timer_init(&h->timer, clock_of(h), on_idle, h);
    h->slot = input_add(h->usb.dev.machine, kind->input, h);
    input_deactivate(h->slot);
    usb_device_attach(&h->usb);
    return true;
}

void hid_unrealize(Device *dev)
{
    UsbHid *h = (UsbHid *)dev;

    usb_device_fini(&h->usb);
    input_remove(h->slot);
    timer_del(&h->timer);
}

static bool post_load(void *obj, GError **err)
{
    UsbHid *h = obj;

    if (h->usb.config) {
        input_activate(h->slot);
    }
    return h->protocol <= PROTOCOL_REPORT ||
           fail(err, "The saved state of %s is impossible", h->usb.dev.type->name);
}

static const StateField fields[] = {USB_STATE(UsbHid, usb),     STATE_U8(UsbHid, protocol),
                                    STATE_U8(UsbHid, idle),     STATE_BOOL(UsbHid, due),
                                    STATE_TIMER(UsbHid, timer), STATE_END_FIELD};
const StateTable hid_state = {
    .name = "usb-hid", .version = 1, .fields = fields, .post_load = post_load};

/* ---- pointer events ---- */

void pointer_clear(Pointer *p)
{
    bool absolute = p->absolute;

    memset(p, 0, sizeof(*p));
    p->absolute = absolute;
}

void pointer_button(Pointer *p, unsigned button, bool down)
{
    uint8_t bit = (uint8_t)(1u << button);

    p->cur.buttons = (uint8_t)(down ? p->cur.buttons | bit : p->cur.buttons & ~bit);
}

static int32_t add(int32_t a, int32_t b)
{
    return (int32_t)CLAMP((int64_t)a + b, -INPUT_ABS_MAX, INPUT_ABS_MAX);
}

void pointer_sync(Pointer *p)
{
    PointerEvent *last = p->count ? &p->queue[(p->head + p->count - 1) % POINTER_QUEUE] : &p->out;
    bool moved = p->absolute ? p->cur.x != last->x || p->cur.y != last->y : p->cur.x || p->cur.y;
    bool clicked = p->cur.buttons != last->buttons;

    if (!moved && !clicked && !p->cur.dz) {
        return;
    }
    /* A motion may be merged into one that waits; a click gets an event of its own. */
    if (p->count && (!clicked || p->count == POINTER_QUEUE)) {
        last->x = p->absolute ? p->cur.x : add(last->x, p->cur.x);
        last->y = p->absolute ? p->cur.y : add(last->y, p->cur.y);
        last->dz = CLAMP(add(last->dz, p->cur.dz), -127, 127);
        last->buttons = p->cur.buttons;
    } else {
        p->queue[(p->head + p->count++) % POINTER_QUEUE] = p->cur;
    }
    p->cur.dz = 0;
    if (!p->absolute) {
        p->cur.x = p->cur.y = 0;
    }
}

static int32_t take(int32_t *left)
{
    int32_t v = CLAMP(*left, -127, 127);

    *left -= v;
    return v;
}

PointerEvent pointer_next(Pointer *p)
{
    if (!p->count) {
        p->out.dz = 0;
        if (!p->absolute) {
            p->out.x = p->out.y = 0;
        }
        return p->out;
    }
    PointerEvent *e = &p->queue[p->head];
    p->out.x = p->absolute ? CLAMP(e->x, 0, INPUT_ABS_MAX) : take(&e->x);
    p->out.y = p->absolute ? CLAMP(e->y, 0, INPUT_ABS_MAX) : take(&e->y);
    p->out.dz = take(&e->dz);
    p->out.buttons = e->buttons;
    if (!e->dz && (p->absolute || (!e->x && !e->y))) {
        p->head = (uint8_t)((p->head + 1) % POINTER_QUEUE);
        p->count--;
    }
    PointerEvent out = p->out;
    p->out.dz = 0;
    if (!p->absolute) {
        p->out.x = p->out.y = 0;
    }
    return out;
}

static bool pointer_post_load(void *obj, GError **err)
{
    Pointer *p = obj;

    for (unsigned i = 0; i < POINTER_QUEUE + 2; i++) {
        PointerEvent *e = i < POINTER_QUEUE ? &p->queue[i] : i == POINTER_QUEUE ? &p->cur : &p->out;
        e->x = add(e->x, 0);
        e->y = add(e->y, 0);
        e->dz = CLAMP(e->dz, -127, 127);
    }
    return (p->head < POINTER_QUEUE && p->count <= POINTER_QUEUE) ||
           fail(err, "The saved state of a USB pointer is impossible");
}

static const StateField event_fields[] = {STATE_I32(PointerEvent, x), STATE_I32(PointerEvent, y),
                                          STATE_I32(PointerEvent, dz),
                                          STATE_U8(PointerEvent, buttons), STATE_END_FIELD};
static const StateTable event_state = {
    .name = "pointer-event", .version = 1, .fields = event_fields};

static const StateField pointer_fields[] = {
    STATE_STRUCT_ARRAY(Pointer, queue, PointerEvent, &event_state),
    STATE_U8(Pointer, head),
    STATE_U8(Pointer, count),
    STATE_STRUCT_ARRAY(Pointer, cur, PointerEvent, &event_state),
    STATE_STRUCT_ARRAY(Pointer, out, PointerEvent, &event_state),
    STATE_END_FIELD};
const StateTable pointer_state = {
    .name = "pointer", .version = 1, .fields = pointer_fields, .post_load = pointer_post_load};
