/*
 * What USB input devices have in common: the requests of Device Class Definition for Human
 * Interface Devices (HID) 1.11, chapter 7, and one interrupt endpoint for reports.
 */
#ifndef RHEA_HW_USB_HID_H
#define RHEA_HW_USB_HID_H

#include "core/clock.h"
#include "hw/usb/usb.h"
#include "ui/input.h"

#define HID_REPORT_MAX 8
#define HID_CONFIG_LEN 34
/* All of them look like Adomax' devices, which guests know from virtual machines. */
#define HID_VENDOR 0x27, 0x06
#define HID_PRODUCT 0x01, 0x00

typedef struct UsbHid UsbHid;

typedef struct HidKind {
    UsbFunction fn;
    const InputHandler *input;
    const uint8_t *report_descriptor;
    unsigned report_descriptor_len;
    uint8_t default_idle; /* 4 ms each; 0 = only changes are reported */
    /* Is there a change that the guest has not seen? */
    bool (*pending)(const UsbHid *h);
    /* The report as it is now; @next: take the next change into it first. */
    unsigned (*report)(UsbHid *h, uint8_t buf[HID_REPORT_MAX], bool next);
    void (*set_output)(UsbHid *h, uint8_t val); /* may be NULL */
    void (*clear)(UsbHid *h);                   /* at reset */
} HidKind;

struct UsbHid {
    UsbDevice usb;
    const HidKind *kind;
    InputSlot *slot;
    uint8_t protocol; /* 0 = boot, 1 = report */
    uint8_t idle;
    bool due; /* the idle time has passed */
    Timer timer;
};

/* The whole configuration: one interface, the HID descriptor, one endpoint. */
#define HID_CONFIG(subclass, protocol, report_len, packet, interval)                               \
    {                                                                                              \
        9, USB_DESC_CONFIG, HID_CONFIG_LEN, 0, 1, 1, 0, 0xa0, 50, /* bus power, remote wake-up */  \
            9, USB_DESC_INTERFACE, 0, 0, 1, 3, subclass, protocol, 0, /* HID */                    \
            9, 0x21, 0x11, 0x01, 0, 1, 0x22, (report_len)&0xff, (report_len) >> 8, 7,              \
            USB_DESC_ENDPOINT, 0x81, 3, packet, 0, interval                                        \
    }
#define HID_DEVICE                                                                                 \
    {                                                                                              \
        18, USB_DESC_DEVICE, 0x10, 0x01, 0, 0, 0, 8, HID_VENDOR, HID_PRODUCT, 0x00, 0x01, 1, 2, 3, \
            1                                                                                      \
    }

bool hid_realize(UsbHid *h, const HidKind *kind, GError **err);
void hid_unrealize(Device *dev);
/* Something changed. */
void hid_changed(UsbHid *h);
/* Members of a UsbFunction. */
void hid_reset(UsbDevice *d);
void hid_configured(UsbDevice *d, bool on);
int hid_control(UsbDevice *d, const UsbSetup *s, uint8_t *data);
int hid_in(UsbDevice *d, unsigned ep, uint8_t *buf, unsigned max);
int hid_out(UsbDevice *d, unsigned ep, const uint8_t *buf, unsigned len);

extern const StateTable hid_state;
#define HID_STATE(S, f) STATE_STRUCT_ARRAY(S, f, UsbHid, &hid_state)
#define HID_PROPERTIES(S)                                                                          \
    {"port", PROP_STRING, offsetof(S, hid) + offsetof(UsbDevice, path), NULL,                      \
     "where it is plugged in: 1, or 1.3 behind a hub"},                                            \
    {                                                                                              \
        "serial", PROP_STRING, offsetof(S, hid) + offsetof(UsbDevice, serial), NULL,               \
            "serial number"                                                                        \
    }

/* Pointer events on their way to the guest, of mouse (moves add up) and tablet (the last one
 * counts). A click is never merged away. */
#define POINTER_QUEUE 16

typedef struct PointerEvent {
    int32_t x, y, dz;
    uint8_t buttons;
} PointerEvent;

typedef struct Pointer {
    bool absolute;
    PointerEvent queue[POINTER_QUEUE];
    uint8_t head, count;
    PointerEvent cur; /* being put together until the next sync */
    PointerEvent out; /* as last reported */
} Pointer;

void pointer_clear(Pointer *p);
void pointer_button(Pointer *p, unsigned button, bool down);
void pointer_sync(Pointer *p);
/* The next piece for a report: moves and wheel cut to what fits, the rest stays. */
PointerEvent pointer_next(Pointer *p);
extern const StateTable pointer_state;

#endif
