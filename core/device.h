/*
 * Devices. A device is a plain C struct whose first member is Device, described by one const
 * DeviceType: name, bus, properties, realize, reset, saved state. No class hierarchy.
 *
 * Life: device_new() (zeroed struct, property defaults) → properties set → device_realize()
 * → reset → runs → device_free(). Every realized device is on its Machine's list, in the order
 * of realize; reset, save and load walk that list, so none can be missed.
 *
 * Board devices have a header of their own with `X *x_new(...)`-style set-up that passes in
 * clocks, irqs and spaces; devices that users create with -device find them through their bus.
 */
#ifndef RHEA_CORE_DEVICE_H
#define RHEA_CORE_DEVICE_H

#include "core/state.h"
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Device Device;
typedef struct DeviceType DeviceType;
typedef struct Bus Bus;
typedef struct Machine Machine;

typedef enum {
    PROP_BOOL,     /* bool */
    PROP_U8,       /* uint8_t */
    PROP_U16,      /* uint16_t */
    PROP_U32,      /* uint32_t */
    PROP_U64,      /* uint64_t */
    PROP_SIZE,     /* uint64_t, accepts k M G T suffixes */
    PROP_STRING,   /* char *, owned by the device */
    PROP_MAC,      /* uint8_t[6] */
    PROP_DRIVE,    /* char *: id of a -drive/-blockdev node */
    PROP_CHARDEV,  /* char *: id of a -chardev */
    PROP_NETDEV,   /* char *: id of a -netdev */
    PROP_PCI_ADDR, /* int32_t: devfn, -1 = choose; written SLOT[.FN] in hex */
    PROP_ENUM,     /* int32_t index into .values */
} PropKind;

typedef struct Property {
    const char *name;
    PropKind kind;
    uint32_t off;
    const char *def; /* default, as a user would write it; NULL = zero/none */
    const char *help;
    const char *const *values; /* PROP_ENUM: NULL-terminated */
} Property;

struct DeviceType {
    const char *name;  /* as in -device NAME */
    const char *alias; /* old spelling, or NULL */
    const char *desc;
    const char *bus; /* bus kind it plugs into: "PCI", "ISA", "IDE", "usb"…; NULL = board only */
    size_t size;
    bool user_creatable;
    const Property *props; /* ends with .name == NULL; may be NULL */
    /* Check properties, take resources. On failure nothing may remain taken. */
    bool (*realize)(Device *dev, GError **err);
    void (*unrealize)(Device *dev);
    /* Power-on and reset state; mandatory. */
    void (*reset)(Device *dev);
    const StateTable *state; /* NULL only if the device has no state */
};

struct Device {
    const DeviceType *type;
    char *id;
    Machine *machine;
    Bus *bus;     /* where it is plugged, or NULL */
    GList *buses; /* of Bus*, which it provides */
    bool realized;
};

/* A place that devices plug into. Concrete buses (PciBus, IdeBus…) have it as first member. */
struct Bus {
    const char *kind;      /* "PCI", "ISA"… */
    char *name;            /* "pci.0" */
    Device *owner;         /* NULL for the root */
    GList *children;       /* of Device* */
    unsigned max_children; /* 0: as many as the bus's own rules allow */
};

/* All types that are linked in: a static list in hw/types.c. NULL-terminated. */
extern const DeviceType *const device_types[];
const DeviceType *device_type_find(const char *name);

/* @type->size zeroed bytes with property defaults set. */
Device *device_new(const DeviceType *type, Machine *m);
/* -global: "DRIVER.PROP=VALUE" or "driver=D,property=P,value=V". From now on devices of that type
 * are made with this value. One sentence when there is no such device or property, or when the
 * value is malformed. */
bool device_add_global(Machine *m, const char *text, GError **err);
void device_free_globals(Machine *m);
/* Set one property from text; false and one sentence when unknown or malformed. */
bool device_set(Device *dev, const char *prop, const char *value, GError **err);
char *device_get(const Device *dev, const char *prop);
/* Plugs it into @bus (NULL for board devices), realizes, puts it on the machine's list, resets. On
 * failure the device is as before; the caller frees it. */
/* How a value of this kind is written: "bool", "uint32", "size"… */
const char *property_kind_name(PropKind kind);
bool device_realize(Device *dev, Bus *bus, GError **err);
void device_free(Device *dev); /* unrealizes when needed */

/* Takes no more devices. */
bool bus_full(const Bus *bus);
void bus_init(Bus *bus, const char *kind, const char *name, Device *owner);
void bus_clear(Bus *bus); /* frees children and what it holds, not @bus */

#endif
