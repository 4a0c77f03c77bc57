/*
 * usb-mouse: five buttons and a wheel, with the boot protocol. Device Class Definition for HID
 * 1.11, appendix B.2; HID Usage Tables 1.12 (pages 1 and 9).
 */
#include "hw/usb/hid.h"

typedef struct UsbMouse {
    UsbHid hid;
    Pointer p;
} UsbMouse;

static const uint8_t report_descriptor[] = {
    0x05, 0x01, /* usage page: generic desktop */
    0x09, 0x02, /* usage: mouse */
    0xa1, 0x01, /* collection: application */
    0x09, 0x01, /* usage: pointer */
    0xa1, 0x00, /* collection: physical */
    0x05, 0x09, /* usage page: buttons */
    0x19, 0x01, /* 1 … */
    0x29, 0x05, /* 5 */
    0x15, 0x00, /* logical 0 … */
    0x25, 0x01, /* 1 */
    0x95, 0x05, /* 5 fields */
    0x75, 0x01, /* of 1 bit */
    0x81, 0x02, /* input: variable, absolute */
    0x95, 0x01, /* and 3 bits of padding */
    0x75, 0x03, /**/
    0x81, 0x01, /**/
    0x05, 0x01, /* usage page: generic desktop */
    0x09, 0x30, /* X */
    0x09, 0x31, /* Y */
    0x09, 0x38, /* wheel */
    0x15, 0x81, /* logical -127 … */
    0x25, 0x7f, /* 127 */
    0x75, 0x08, /* 8 bits */
    0x95, 0x03, /* three times */
    0x81, 0x06, /* input: variable, relative */
    0xc0,       /* end */
    0xc0,       /* end */
};

static const uint8_t device_descriptor[18] = HID_DEVICE;
static const uint8_t config_descriptor[HID_CONFIG_LEN] =
    HID_CONFIG(1, 2, sizeof(report_descriptor), 4, 8);
static const char *const strings[] = {"Rhea", "USB Mouse", "42", NULL};

static bool pending(const UsbHid *h)
{
    return ((const UsbMouse *)h)->p.count;
}

static unsigned report(UsbHid *h, uint8_t buf[HID_REPORT_MAX], bool next)
{
    Pointer *p = &((UsbMouse *)h)->p;
    PointerEvent e = next ? pointer_next(p) : p->out;

    buf[0] = e.buttons & (h->protocol ? 0x1f : 7);
    buf[1] = (uint8_t)e.x;
    buf[2] = (uint8_t)e.y;
    buf[3] = (uint8_t)-e.dz; /* positive is away from the user */
    return h->protocol ? 4 : 3;
}

static void clear(UsbHid *h)
{
    pointer_clear(&((UsbMouse *)h)->p);
}

/* ---- events ---- */

static void on_rel(void *opaque, int dx, int dy)
{
    Pointer *p = &((UsbMouse *)opaque)->p;

    p->cur.x =
        CLAMP(p->cur.x + CLAMP(dx, -INPUT_ABS_MAX, INPUT_ABS_MAX), -INPUT_ABS_MAX, INPUT_ABS_MAX);
    p->cur.y =
        CLAMP(p->cur.y + CLAMP(dy, -INPUT_ABS_MAX, INPUT_ABS_MAX), -INPUT_ABS_MAX, INPUT_ABS_MAX);
}

static void on_button(void *opaque, unsigned button, bool down)
{
    pointer_button(&((UsbMouse *)opaque)->p, button, down);
}

static void on_wheel(void *opaque, int dz)
{
    Pointer *p = &((UsbMouse *)opaque)->p;

    p->cur.dz = CLAMP(p->cur.dz + CLAMP(dz, -127, 127), -127, 127);
}

static void on_sync(void *opaque)
{
    UsbMouse *s = opaque;

    if (s->hid.usb.config) {
        pointer_sync(&s->p);
        hid_changed(&s->hid);
    }
}

static const InputHandler input = {
    .name = "USB Mouse",
    .kinds = INPUT_REL,
    .rel = on_rel,
    .button = on_button,
    .wheel = on_wheel,
    .sync = on_sync,
};

static const HidKind kind = {
    .fn = {.device = device_descriptor,
           .config = config_descriptor,
           .strings = strings,
           .reset = hid_reset,
           .configured = hid_configured,
           .control = hid_control,
           .in = hid_in,
           .out = hid_out},
    .input = &input,
    .report_descriptor = report_descriptor,
    .report_descriptor_len = sizeof(report_descriptor),
    .pending = pending,
    .report = report,
    .clear = clear,
};

static bool mouse_realize(Device *dev, GError **err)
{
    return hid_realize((UsbHid *)dev, &kind, err);
}

static const StateField fields[] = {HID_STATE(UsbMouse, hid),
                                    STATE_STRUCT_ARRAY(UsbMouse, p, Pointer, &pointer_state),
                                    STATE_END_FIELD};
static const StateTable state = {.name = "usb-mouse", .version = 1, .fields = fields};

static const Property props[] = {HID_PROPERTIES(UsbMouse), {NULL}};

const DeviceType usb_mouse_type = {
    .name = "usb-mouse",
    .desc = "USB mouse",
    .bus = "usb",
    .size = sizeof(UsbMouse),
    .user_creatable = true,
    .props = props,
    .realize = mouse_realize,
    .unrealize = hid_unrealize,
    .reset = usb_device_reset,
    .state = &state,
};
