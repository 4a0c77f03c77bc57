/*
 * usb-tablet: a pointer with absolute positions, five buttons and a wheel. Device Class Definition
 * for HID 1.11, HID Usage Tables 1.12 (pages 1 and 9).
 */
#include "hw/usb/hid.h"

typedef struct UsbTablet {
    UsbHid hid;
    Pointer p;
} UsbTablet;

static const uint8_t report_descriptor[] = {
    0x05, 0x01,       /* usage page: generic desktop */
    0x09, 0x02,       /* usage: mouse */
    0xa1, 0x01,       /* collection: application */
    0x09, 0x01,       /* usage: pointer */
    0xa1, 0x00,       /* collection: physical */
    0x05, 0x09,       /* usage page: buttons */
    0x19, 0x01,       /* 1 … */
    0x29, 0x05,       /* 5 */
    0x15, 0x00,       /* logical 0 … */
    0x25, 0x01,       /* 1 */
    0x95, 0x05,       /* 5 fields */
    0x75, 0x01,       /* of 1 bit */
    0x81, 0x02,       /* input: variable, absolute */
    0x95, 0x01,       /* and 3 bits of padding */
    0x75, 0x03,       /**/
    0x81, 0x01,       /**/
    0x05, 0x01,       /* usage page: generic desktop */
    0x09, 0x30,       /* X */
    0x09, 0x31,       /* Y */
    0x15, 0x00,       /* logical 0 … */
    0x26, 0xff, 0x7f, /* 32767 */
    0x35, 0x00,       /* physical the same */
    0x46, 0xff, 0x7f, /**/
    0x75, 0x10,       /* 16 bits */
    0x95, 0x02,       /* twice */
    0x81, 0x02,       /* input: variable, absolute */
    0x09, 0x38,       /* wheel */
    0x15, 0x81,       /* -127 … */
    0x25, 0x7f,       /* 127 */
    0x35, 0x00,       /* no physical range */
    0x45, 0x00,       /**/
    0x75, 0x08,       /* 8 bits */
    0x95, 0x01,       /* once */
    0x81, 0x06,       /* input: variable, relative */
    0xc0,             /* end */
    0xc0,             /* end */
};

static const uint8_t device_descriptor[18] = HID_DEVICE;
/* No boot device: those are relative. */
static const uint8_t config_descriptor[HID_CONFIG_LEN] =
    HID_CONFIG(0, 0, sizeof(report_descriptor), 8, 8);
static const char *const strings[] = {"Rhea", "USB Tablet", "42", NULL};

static bool pending(const UsbHid *h)
{
    return ((const UsbTablet *)h)->p.count;
}

static unsigned report(UsbHid *h, uint8_t buf[HID_REPORT_MAX], bool next)
{
    Pointer *p = &((UsbTablet *)h)->p;
    PointerEvent e = next ? pointer_next(p) : p->out;
    unsigned x = (unsigned)CLAMP(e.x, 0, INPUT_ABS_MAX), y = (unsigned)CLAMP(e.y, 0, INPUT_ABS_MAX);

    buf[0] = e.buttons & 0x1f;
    buf[1] = (uint8_t)x;
    buf[2] = (uint8_t)(x >> 8);
    buf[3] = (uint8_t)y;
    buf[4] = (uint8_t)(y >> 8);
    buf[5] = (uint8_t)-e.dz; /* positive is away from the user */
    return 6;
}

static void clear(UsbHid *h)
{
    pointer_clear(&((UsbTablet *)h)->p);
}

/* ---- events ---- */

static void on_abs(void *opaque, int x, int y)
{
    Pointer *p = &((UsbTablet *)opaque)->p;

    p->cur.x = x;
    p->cur.y = y;
}

static void on_button(void *opaque, unsigned button, bool down)
{
    pointer_button(&((UsbTablet *)opaque)->p, button, down);
}

static void on_wheel(void *opaque, int dz)
{
    Pointer *p = &((UsbTablet *)opaque)->p;

    p->cur.dz = CLAMP(p->cur.dz + CLAMP(dz, -127, 127), -127, 127);
}

static void on_sync(void *opaque)
{
    UsbTablet *s = opaque;

    if (s->hid.usb.config) {
        pointer_sync(&s->p);
        hid_changed(&s->hid);
    }
}

static const InputHandler input = {
    .name = "USB Tablet",
    .kinds = INPUT_ABS,
    .abs = on_abs,
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

static bool tablet_realize(Device *dev, GError **err)
{
    ((UsbTablet *)dev)->p.absolute = true;
    return hid_realize((UsbHid *)dev, &kind, err);
}

static const StateField fields[] = {HID_STATE(UsbTablet, hid),
                                    STATE_STRUCT_ARRAY(UsbTablet, p, Pointer, &pointer_state),
                                    STATE_END_FIELD};
static const StateTable state = {.name = "usb-tablet", .version = 1, .fields = fields};

static const Property props[] = {HID_PROPERTIES(UsbTablet), {NULL}};

const DeviceType usb_tablet_type = {
    .name = "usb-tablet",
    .desc = "USB tablet: absolute pointer",
    .bus = "usb",
    .size = sizeof(UsbTablet),
    .user_creatable = true,
    .props = props,
    .realize = tablet_realize,
    .unrealize = hid_unrealize,
    .reset = usb_device_reset,
    .state = &state,
};
