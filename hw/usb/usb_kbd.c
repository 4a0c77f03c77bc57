/*
 * usb-kbd: keyboard with the boot protocol. Device Class Definition for HID 1.11, appendices B.1
 * and C; HID Usage Tables 1.12, chapter 10 (keys) and 11 (LEDs).
 */
#include "core/log.h"
#include "hw/usb/hid.h"
#include <string.h>

#define KEY_QUEUE 32

enum { USAGE_ROLLOVER = 1, USAGE_MODIFIERS = 0xe0 };

typedef struct UsbKbd {
    UsbHid hid;
    uint8_t down[32]; /* a bit a usage, as last reported */
    /* Changes on their way: usage and, in bit 8, whether it is down. */
    uint16_t queue[KEY_QUEUE];
    uint8_t head, count;
    uint8_t leds;
} UsbKbd;

static const uint8_t report_descriptor[] = {
    0x05, 0x01,       /* usage page: generic desktop */
    0x09, 0x06,       /* usage: keyboard */
    0xa1, 0x01,       /* collection: application */
    0x75, 0x01,       /* 1 bit */
    0x95, 0x08,       /* 8 times */
    0x05, 0x07,       /* usage page: keys */
    0x19, 0xe0,       /* left Ctrl … */
    0x29, 0xe7,       /* right GUI */
    0x15, 0x00,       /* logical 0 … */
    0x25, 0x01,       /* 1 */
    0x81, 0x02,       /* input: variable, absolute */
    0x95, 0x01,       /* a reserved byte */
    0x75, 0x08,       /**/
    0x81, 0x01,       /**/
    0x95, 0x05,       /* 5 bits */
    0x75, 0x01,       /**/
    0x05, 0x08,       /* usage page: LEDs */
    0x19, 0x01,       /* Num Lock … */
    0x29, 0x05,       /* Kana */
    0x91, 0x02,       /* output: variable, absolute */
    0x95, 0x01,       /* and 3 bits of padding */
    0x75, 0x03,       /**/
    0x91, 0x01,       /**/
    0x95, 0x06,       /* 6 bytes */
    0x75, 0x08,       /**/
    0x15, 0x00,       /* logical 0 … */
    0x26, 0xff, 0x00, /* 255 */
    0x05, 0x07,       /* usage page: keys */
    0x19, 0x00,       /* 0 … */
    0x29, 0xff,       /* 255 */
    0x81, 0x00,       /* input: array */
    0xc0,             /* end */
};

static const uint8_t device_descriptor[18] = HID_DEVICE;
static const uint8_t config_descriptor[HID_CONFIG_LEN] =
    HID_CONFIG(1, 1, sizeof(report_descriptor), 8, 10);
static const char *const strings[] = {"Rhea", "USB Keyboard", "42", NULL};

/* Linux key code (linux/input-event-codes.h) → usage. */
static const uint8_t usages[256] = {
    [1] = 0x29,                                                                 /* esc */
    [2] = 0x1e,   0x1f,         0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, /* 1 … 0 */
    [12] = 0x2d,  0x2e,         0x2a, 0x2b, /* - = backspace tab */
    [16] = 0x14,  0x1a,         0x08, 0x15, 0x17, 0x1c, 0x18, 0x0c, 0x12, 0x13, /* q … p */
    [26] = 0x2f,  0x30,         0x28, 0xe0,                                     /* [ ] enter ctrl */
    [30] = 0x04,  0x16,         0x07, 0x09, 0x0a, 0x0b, 0x0d, 0x0e, 0x0f,       /* a … l */
    [39] = 0x33,  0x34,         0x35, 0xe1, 0x31,                               /* ; ' ` shift \ */
    [44] = 0x1d,  0x1b,         0x06, 0x19, 0x05, 0x11, 0x10,                   /* z … m */
    [51] = 0x36,  0x37,         0x38, 0xe5, 0x55, 0xe2, 0x2c, 0x39, /* , . / shift kp* alt space
                                                                       caps */
    [59] = 0x3a,  0x3b,         0x3c, 0x3d, 0x3e, 0x3f, 0x40, 0x41, 0x42, 0x43, /* f1 … f10 */
    [69] = 0x53,  0x47,                                                         /* num scroll */
    [71] = 0x5f,  0x60,         0x61, 0x56, 0x5c, 0x5d, 0x5e, 0x57, /* kp 7 8 9 - 4 5 6 + */
    [79] = 0x59,  0x5a,         0x5b, 0x62, 0x63,                   /* kp 1 2 3 0 . */
    [85] = 0x94,  0x64,         0x44, 0x45, 0x87,                   /* zenkaku 102nd f11 f12 ro */
    [90] = 0x92,  0x93,         0x8a, 0x88, 0x8b, 0x8c, /* katakana hiragana henkan kana muhenkan ,
                                                         */
    [96] = 0x58,  0xe4,         0x54, 0x46, 0xe6,       /* kp enter, ctrl, kp /, sysrq, alt */
    [102] = 0x4a, 0x52,         0x4b, 0x50, 0x4f, 0x4d, 0x51, /* home up pgup left right end down */
    [109] = 0x4e, 0x49,         0x4c,                         /* pgdn ins del */
    [113] = 0x7f, 0x81,         0x80, 0x66, 0x67,             /* mute vol- vol+ power kp= */
    [119] = 0x48, [121] = 0x85,                               /* pause, kp , */
    [122] = 0x90, 0x91,         0x89, 0xe3, 0xe7, 0x65,       /* hangul hanja yen gui gui menu */
    [128] = 0x78, 0x79,         0x76, 0x7a, 0x77, 0x7c, 0x74, 0x7d, 0x7e, 0x7b,
    0x75, /* stop … help */
    [183] = 0x68, 0x69,         0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71,
    0x72,         0x73, /* f13 … */
};

static bool pending(const UsbHid *h)
{
    return ((const UsbKbd *)h)->count;
}

static void take_change(UsbKbd *s)
{
    uint16_t e = s->queue[s->head];
    uint8_t *byte = &s->down[(e & 0xff) >> 3], bit = (uint8_t)(1u << (e & 7));

    *byte = (uint8_t)(e & 0x100 ? *byte | bit : *byte & ~bit);
    s->head = (uint8_t)((s->head + 1) % KEY_QUEUE);
    s->count--;
}

static unsigned report(UsbHid *h, uint8_t buf[HID_REPORT_MAX], bool next)
{
    UsbKbd *s = (UsbKbd *)h;
    unsigned n = 0;

    if (next && s->count) {
        take_change(s);
    }
    memset(buf, 0, 8);
    buf[0] = s->down[USAGE_MODIFIERS >> 3];
    for (unsigned u = 4; u < USAGE_MODIFIERS; u++) {
        if (s->down[u >> 3] >> (u & 7) & 1) {
            if (n < 6) {
                buf[2 + n] = (uint8_t)u;
            }
            n++;
        }
    }
    if (n > 6) { /* more than it can tell: appendix C */
        memset(buf + 2, USAGE_ROLLOVER, 6);
    }
    return 8;
}

static void set_output(UsbHid *h, uint8_t val)
{
    UsbKbd *s = (UsbKbd *)h;

    s->leds = val & 0x1f;
    input_set_leds(h->usb.dev.machine, (val & 1 ? INPUT_LED_NUM : 0) |
                                           (val & 2 ? INPUT_LED_CAPS : 0) |
                                           (val & 4 ? INPUT_LED_SCROLL : 0));
}

static void clear(UsbHid *h)
{
    UsbKbd *s = (UsbKbd *)h;

    memset(s->down, 0, sizeof(s->down));
    memset(s->queue, 0, sizeof(s->queue));
    s->head = s->count = s->leds = 0;
}

static void on_key(void *opaque, unsigned code, bool down)
{
    UsbKbd *s = opaque;
    uint8_t usage = code < 256 ? usages[code] : 0;

    if (!usage || !s->hid.usb.config) {
        return;
    }
    if (s->count == KEY_QUEUE) {
        take_change(s); /* nobody looks; what is down at the end stays right */
    }
    s->queue[(s->head + s->count++) % KEY_QUEUE] = (uint16_t)(usage | (down ? 0x100 : 0));
    hid_changed(&s->hid);
}

static const InputHandler input = {.name = "USB Keyboard", .kinds = INPUT_KEYS, .key = on_key};

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
    .default_idle = 125, /* 500 ms: 7.2.4 */
    .pending = pending,
    .report = report,
    .set_output = set_output,
    .clear = clear,
};

static bool kbd_realize(Device *dev, GError **err)
{
    return hid_realize((UsbHid *)dev, &kind, err);
}

static bool post_load(void *obj, GError **err)
{
    UsbKbd *s = obj;

    if (s->head >= KEY_QUEUE || s->count > KEY_QUEUE) {
        return fail(err, "The saved state of usb-kbd is impossible");
    }
    set_output(&s->hid, s->leds);
    return true;
}

static const StateField fields[] = {
    HID_STATE(UsbKbd, hid), STATE_U8_ARRAY(UsbKbd, down), STATE_U16_ARRAY(UsbKbd, queue),
    STATE_U8(UsbKbd, head), STATE_U8(UsbKbd, count),      STATE_U8(UsbKbd, leds),
    STATE_END_FIELD,
};
static const StateTable state = {
    .name = "usb-kbd", .version = 1, .fields = fields, .post_load = post_load};

static const Property props[] = {HID_PROPERTIES(UsbKbd), {NULL}};

const DeviceType usb_kbd_type = {
    .name = "usb-kbd",
    .desc = "USB keyboard",
    .bus = "usb",
    .size = sizeof(UsbKbd),
    .user_creatable = true,
    .props = props,
    .realize = kbd_realize,
    .unrealize = hid_unrealize,
    .reset = usb_device_reset,
    .state = &state,
};
