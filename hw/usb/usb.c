/* USB buses, ports, and the monitor's view of them; see usb.h. The device core is usb_device.c. */
#include "hw/usb/usb.h"
#include "core/log.h"
#include "core/machine.h"
#include "hw/pci/pci.h"
#include "hw/usb/usb_int.h"
#include <string.h>

/* Buses of a machine, in order. */
static UsbBus *next_bus(Machine *m, guint *i)
{
    for (; *i < m->devices->len; (*i)++) {
        Device *dev = m->devices->pdata[*i];
        for (GList *b = dev->buses; b; b = b->next) {
            if (!strcmp(((Bus *)b->data)->kind, "usb")) {
                (*i)++;
                return b->data;
            }
        }
    }
    return NULL;
}

#define FOREACH_BUS(m, bus) for (guint i_ = 0; ((bus) = next_bus(m, &i_));)

void usb_bus_init(UsbBus *bus, Device *owner)
{
    UsbBus *other;
    bool taken;

    memset(bus, 0, sizeof(*bus));
    do {
        taken = false;
        FOREACH_BUS(owner->machine, other)
        {
            taken |= other->number == bus->number;
        }
        bus->number += taken;
    } while (taken);
    g_autofree char *name = g_strdup_printf("usb-bus.%u", bus->number);
    bus_init(&bus->bus, "usb", name, owner);
    bus->ports = g_ptr_array_new();
}

void usb_bus_clear(UsbBus *bus)
{
    while (bus->bus.children) {
        device_free(g_list_last(bus->bus.children)->data);
    }
}

void usb_bus_fini(UsbBus *bus)
{
    bus_clear(&bus->bus);
    if (bus->ports) {
        g_ptr_array_free(bus->ports, TRUE);
        bus->ports = NULL;
    }
}

void usb_port_register(UsbBus *bus, UsbPort *port)
{
    port->bus = bus;
    port->dev = NULL;
    port->path = port->hub ? g_strdup_printf("%s.%u", port->hub->port->path, port->index + 1)
                           : g_strdup_printf("%u", port->index + 1);
    g_ptr_array_add(bus->ports, port);
}

void usb_port_unregister(UsbPort *port)
{
    if (port->bus && port->bus->ports) {
        g_ptr_array_remove(port->bus->ports, port);
    }
    g_free(port->path);
    port->path = NULL;
    port->bus = NULL;
}

/* ---- where to plug a device ---- */

unsigned usb_tier(const UsbPort *port)
{
    unsigned n = 1;

    for (const UsbDevice *hub = port->hub; hub; hub = hub->port->hub) {
        n++;
    }
    return n;
}

static UsbPort *free_port(UsbBus *bus, const char *path, unsigned *n_free)
{
    UsbPort *first = NULL;

    *n_free = 0;
    for (guint i = 0; i < bus->ports->len; i++) {
        UsbPort *p = bus->ports->pdata[i];
        if (!p->dev && (!path || !strcmp(p->path, path))) {
            first = first ? first : p;
            ++*n_free;
        }
    }
    return first;
}

static bool port_exists(const UsbBus *bus, const char *path)
{
    for (guint i = 0; i < bus->ports->len; i++) {
        if (!strcmp(((UsbPort *)bus->ports->pdata[i])->path, path)) {
            return true;
        }
    }
    return false;
}

static bool is_hub(const UsbDevice *d)
{
    return d->fn->device[4] == 9;
}

UsbPort *usb_choose_port(UsbDevice *d, GError **err)
{
    UsbBus *bus = (UsbBus *)d->dev.bus;
    const char *name = d->dev.type->name;
    unsigned n;
    UsbPort *p = free_port(bus, d->path, &n);

    if (!p && d->path) {
        fail(err,
             port_exists(bus, d->path) ? "%s: port %s of %s is in use"
                                       : "%s: there is no port %s on %s",
             name, d->path, bus->bus.name);
        return NULL;
    }
    /* The last port is where the others would have gone: put a hub there. */
    if (p && n == 1 && !d->path && !is_hub(d) && usb_tier(p) < USB_MAX_TIERS) {
        Device *hub = device_new(device_type_find("usb-hub"), d->dev.machine);
        if (!device_realize(hub, &bus->bus, err)) {
            device_free(hub);
            return NULL;
        }
        p = free_port(bus, NULL, &n);
    }
    if (!p) {
        fail(err, "%s: all ports of %s are in use", name, bus->bus.name);
    }
    return p;
}

/* ---- traffic ---- */

static bool reachable(const UsbPort *p)
{
    while (p->enabled) {
        if (!p->hub) {
            return true;
        }
        if (!p->hub->config) {
            return false;
        }
        p = p->hub->port;
    }
    return false;
}

int usb_transact(UsbBus *bus, uint8_t pid, unsigned addr, unsigned ep, uint8_t *buf, unsigned len)
{
    for (guint i = 0; i < bus->ports->len; i++) {
        UsbPort *p = bus->ports->pdata[i];
        if (p->dev && p->enabled && p->dev->addr == addr && reachable(p)) {
            return usb_device_packet(p->dev, pid, ep, buf, len);
        }
    }
    return USB_SILENT;
}

void usb_wakeup(UsbDevice *d)
{
    if (d->port) {
        d->port->ops->wakeup(d->port->opaque, d->port);
    }
}

/* ---- for people and firmware ---- */

char *usb_firmware_path(const UsbDevice *d)
{
    const Device *owner = d->port->bus->bus.owner;
    GString *hubs = g_string_new(NULL);

    if (!owner->type->bus || strcmp(owner->type->bus, "PCI")) {
        g_string_free(hubs, TRUE);
        return NULL;
    }
    for (const UsbDevice *hub = d->port->hub; hub; hub = hub->port->hub) {
        g_autofree char *part = g_strdup_printf("/hub@%x", hub->port->index + 1);
        g_string_prepend(hubs, part);
    }
    int32_t devfn = ((const PciDevice *)owner)->devfn;
    g_autofree char *pci =
        PCI_FUNC(devfn) ? g_strdup_printf("/pci@i0cf8/usb@%x,%x", PCI_SLOT(devfn), PCI_FUNC(devfn))
                        : g_strdup_printf("/pci@i0cf8/usb@%x", PCI_SLOT(devfn));
    g_string_prepend(hubs, pci);
    return g_string_free(hubs, FALSE);
}

char *usb_info(Machine *m)
{
    GString *out = g_string_new(NULL);
    UsbBus *bus;
    bool any = false;

    FOREACH_BUS(m, bus)
    {
        any = true;
        for (guint i = 0; i < bus->ports->len; i++) {
            const UsbPort *p = bus->ports->pdata[i];
            if (p->dev) {
                g_string_append_printf(
                    out, "  Device %u.%u, Port %s, Speed 12 Mb/s, Product %s%s%s\n", bus->number,
                    p->dev->number, p->path, usb_product(p->dev), p->dev->dev.id ? ", ID: " : "",
                    p->dev->dev.id ? p->dev->dev.id : "");
            }
        }
    }
    if (!any) {
        g_string_append(out, "USB support not enabled\n");
    }
    return g_string_free(out, FALSE);
}

UsbDevice *usb_find(Machine *m, const char *name)
{
    UsbBus *bus;

    FOREACH_BUS(m, bus)
    {
        for (guint i = 0; i < bus->ports->len; i++) {
            UsbDevice *d = ((UsbPort *)bus->ports->pdata[i])->dev;
            g_autofree char *own =
                d ? g_strdup_printf("%u.%u", bus->number, d->number) : g_strdup("");
            if (!strcmp(own, name)) {
                return d;
            }
        }
    }
    return NULL;
}

bool usb_present(Machine *m)
{
    guint i = 0;

    return next_bus(m, &i) != NULL;
}
