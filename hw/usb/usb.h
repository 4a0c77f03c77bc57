/*
 * USB: bus, ports and device core. Universal Serial Bus Specification, revision 2.0 (chapters 5, 8
 * and 9 of what a function sees; chapter 11 is in hub.c).
 *
 * A host controller or hub owns UsbPorts; a device is a struct whose first member is UsbDevice and
 * whose DeviceType.realize calls usb_device_init(). The controller runs one transaction at a time
 * by usb_transact(); what a device cannot answer yet it NAKs, and calls usb_wakeup() when it can.
 * So no packet is ever pending inside a device, and none holds on to guest memory. Nothing is lost
 * on this bus: data toggles of both sides always agree and are not modelled.
 * Machine lock throughout.
 */
#ifndef RHEA_HW_USB_USB_H
#define RHEA_HW_USB_USB_H

#include "core/device.h"

typedef struct UsbBus UsbBus;
typedef struct UsbPort UsbPort;
typedef struct UsbDevice UsbDevice;

enum { /* packet identifiers, 8.3.1 */
       USB_PID_SETUP = 0x2d,
       USB_PID_IN = 0x69,
       USB_PID_OUT = 0xe1
};

enum { /* results of a transaction that are no length */
       USB_NAK = -1,
       USB_STALL = -2,
       USB_SILENT = -3, /* nobody answers */
       USB_BABBLE = -4  /* the device sent more than was asked for */
};

enum { /* requests and descriptors, tables 9-4, 9-5 */
       USB_GET_STATUS = 0,
       USB_CLEAR_FEATURE = 1,
       USB_SET_FEATURE = 3,
       USB_SET_ADDRESS = 5,
       USB_GET_DESCRIPTOR = 6,
       USB_SET_DESCRIPTOR = 7,
       USB_GET_CONFIGURATION = 8,
       USB_SET_CONFIGURATION = 9,
       USB_GET_INTERFACE = 10,
       USB_SET_INTERFACE = 11,

       USB_DESC_DEVICE = 1,
       USB_DESC_CONFIG = 2,
       USB_DESC_STRING = 3,
       USB_DESC_INTERFACE = 4,
       USB_DESC_ENDPOINT = 5
};

#define USB_DATA_MAX 1024 /* data stage of a control transfer that we take or give */
#define USB_PACKET_MAX 64 /* full speed, but isochronous */
#define USB_MAX_TIERS 6   /* hubs between root port and device: 5 (4.1.1) */

typedef struct UsbSetup {
    uint8_t type, request;
    uint16_t value, index, length;
} UsbSetup;

/* What a kind of device is; all are full-speed ones with one configuration. */
typedef struct UsbFunction {
    const uint8_t *device;      /* device descriptor, 18 bytes */
    const uint8_t *config;      /* configuration descriptor with all that follows */
    const char *const *strings; /* from index 1; ends with NULL */
    /* Bus reset: all but what a power cycle would not change either. Also at machine reset. */
    void (*reset)(UsbDevice *d);
    /* The guest chose the configuration, or took it away. May be NULL. */
    void (*configured)(UsbDevice *d, bool on);
    /* Requests that the core does not know. To the host: fill @data (USB_DATA_MAX bytes), return
     * the length, which is cut to s->length. From the host: @data has s->length bytes, return 0.
     * Or USB_STALL. May be NULL. */
    int (*control)(UsbDevice *d, const UsbSetup *s, uint8_t *data);
    /* Endpoint @ep (1…15): at most the descriptor's packet size; USB_NAK, USB_STALL. */
    int (*in)(UsbDevice *d, unsigned ep, uint8_t *buf, unsigned max);
    int (*out)(UsbDevice *d, unsigned ep, const uint8_t *buf, unsigned len); /* 0 = taken */
    /* The guest cleared the halt of an endpoint; false: it stays. May be NULL. */
    bool (*unhalt)(UsbDevice *d, unsigned ep, bool in);
} UsbFunction;

struct UsbDevice {
    Device dev;
    const UsbFunction *fn;
    UsbPort *port;
    char *path;      /* property "port": where to plug it, NULL = first free */
    char *serial;    /* string of the device descriptor's iSerialNumber; may be NULL */
    unsigned number; /* for `info usb` and usb_del */
    uint8_t packet_in[16], packet_out[16]; /* packet sizes, 0 = no such endpoint */

    uint8_t addr, new_addr, config;
    bool remote_wakeup;
    uint16_t halted_in, halted_out; /* a bit an endpoint */
    /* Control transfer on endpoint 0. */
    uint8_t stage;
    uint8_t setup[8];
    uint32_t len, pos;
    uint8_t data[USB_DATA_MAX];
};

/* What the owner of a port hears. */
typedef struct UsbPortOps {
    void (*attached)(void *opaque, UsbPort *port); /* port->dev is set */
    void (*detached)(void *opaque, UsbPort *port); /* port->dev is still set, but going */
    /* The device has data, or is ready for some, after it NAKed; or it wants to be resumed. */
    void (*wakeup)(void *opaque, UsbPort *port);
} UsbPortOps;

struct UsbPort {
    UsbBus *bus;
    UsbDevice *dev;
    UsbDevice *hub; /* that the port belongs to; NULL = root */
    const UsbPortOps *ops;
    void *opaque;
    unsigned index; /* from 0 */
    char *path;     /* "1", "2.4" */
    bool enabled;   /* kept up by the owner: traffic goes through */
};

struct UsbBus {
    Bus bus;          /* kind "usb" */
    unsigned number;  /* of `info usb` */
    GPtrArray *ports; /* of UsbPort*, root ports first */
    unsigned next_number;
};

void usb_bus_init(UsbBus *bus, Device *owner);
/* Frees what is plugged in. After that the ports must be unregistered. */
void usb_bus_clear(UsbBus *bus);
void usb_bus_fini(UsbBus *bus);
/* All of @port but @bus, @path is filled in by the caller; @hub's path leads. */
void usb_port_register(UsbBus *bus, UsbPort *port);
void usb_port_unregister(UsbPort *port);

/* One transaction with the device at @addr: bytes moved or USB_*. @buf: of SETUP and OUT @len bytes
 * to send, of IN room for @len. */
int usb_transact(UsbBus *bus, uint8_t pid, unsigned addr, unsigned ep, uint8_t *buf, unsigned len);
/* The guest drives reset onto a port, or power comes. */
void usb_device_bus_reset(UsbDevice *d);

/* First call of a device's realize: takes a port. */
bool usb_device_init(UsbDevice *d, const UsbFunction *fn, GError **err);
/* Last call of realize: electrically on the bus. */
void usb_device_attach(UsbDevice *d);
/* First call of unrealize (or of a failing realize): unplugs it. */
void usb_device_fini(UsbDevice *d);
/* DeviceType.reset of all USB devices. */
void usb_device_reset(Device *dev);
void usb_wakeup(UsbDevice *d);
/* What the device descriptor calls the product. */
const char *usb_product(const UsbDevice *d);
/* Open Firmware path of the device as SeaBIOS makes it up to its bus: "/pci@i0cf8/usb@1,2/hub@1";
 * NULL if the controller is no PCI function. Caller frees. */
char *usb_firmware_path(const UsbDevice *d);

extern const StateTable usb_device_state;
#define USB_STATE(S, f) STATE_STRUCT_ARRAY(S, f, UsbDevice, &usb_device_state)
#define USB_PROPERTIES(S)                                                                          \
    {"port", PROP_STRING, offsetof(S, usb) + offsetof(UsbDevice, path), NULL,                      \
     "where it is plugged in: 1, or 1.3 behind a hub"},                                            \
    {                                                                                              \
        "serial", PROP_STRING, offsetof(S, usb) + offsetof(UsbDevice, serial), NULL,               \
            "serial number"                                                                        \
    }

/* Text of `info usb`; caller frees. */
char *usb_info(Machine *m);
/* The device that `info usb` calls "BUS.NUMBER", or NULL. */
UsbDevice *usb_find(Machine *m, const char *name);
/* Does the machine have a bus to plug devices into? */
bool usb_present(Machine *m);

#endif
