/* -device and -global: see devices.h. */
#include "system/devices.h"
#include "block/drive.h"
#include "core/device.h"
#include "core/log.h"
#include "core/option.h"
#include <stdio.h>
#include <string.h>

static void print_type(const DeviceType *t)
{
    printf("%s options:\n", t->name);
    for (const Property *p = t->props; p && p->name; p++) {
        printf("  %s=<%s>%s%s%s%s\n", p->name, property_kind_name(p->kind), p->help ? " - " : "",
               p->help ? p->help : "", p->def ? ", default " : "", p->def ? p->def : "");
    }
}

bool devices_show_help(const SystemConfig *c)
{
    for (guint i = 0; i < c->devices->len; i++) {
        g_auto(GStrv) words = g_strsplit(c->devices->pdata[i], ",", 3);
        const DeviceType *t;
        if (words[0] && (!strcmp(words[0], "help") || !strcmp(words[0], "?"))) {
            for (const DeviceType *const *d = device_types; *d; d++) {
                if ((*d)->user_creatable) {
                    printf("name \"%s\"%s%s, desc \"%s\"\n", (*d)->name, (*d)->bus ? ", bus " : "",
                           (*d)->bus ? (*d)->bus : "", (*d)->desc);
                }
            }
            return true;
        }
        if (words[0] && words[1] && !strcmp(words[1], "help") && (t = device_type_find(words[0]))) {
            print_type(t);
            return true;
        }
    }
    return false;
}

/* Without a name a bus with room is wanted. */
static bool bus_fits(const Bus *bus, const char *kind, const char *name)
{
    return !strcmp(bus->kind, kind) && (name ? !strcmp(bus->name, name) : !bus_full(bus));
}

/* Depth first: a bus of @kind (and of @name, if given) at or below @bus. */
static Bus *find_bus(Bus *bus, const char *kind, const char *name)
{
    if (bus_fits(bus, kind, name)) {
        return bus;
    }
    for (GList *d = bus->children; d; d = d->next) {
        for (GList *b = ((Device *)d->data)->buses; b; b = b->next) {
            Bus *found = find_bus(b->data, kind, name);
            if (found) {
                return found;
            }
        }
    }
    return NULL;
}

/* Below the root, or provided by a device of the board. */
static Bus *find_machine_bus(Machine *m, const char *kind, const char *name)
{
    Bus *bus = m->root_bus ? find_bus(m->root_bus, kind, name) : NULL;

    for (guint i = 0; !bus && i < m->devices->len; i++) {
        for (GList *b = ((Device *)m->devices->pdata[i])->buses; b && !bus; b = b->next) {
            bus = bus_fits(b->data, kind, name) ? b->data : NULL;
        }
    }
    return bus;
}

typedef struct SetProps {
    Device *dev;
    GError **err;
    bool ok;
} SetProps;

static void set_prop(const char *key, const char *value, void *arg)
{
    SetProps *s = arg;
    if (s->ok && strcmp(key, "driver") && strcmp(key, "bus") && strcmp(key, "id")) {
        s->ok = device_set(s->dev, key, value, s->err);
    }
}

bool device_create_from_text(Machine *m, const char *text, GError **err)
{
    Options *o = options_parse("-device", text, "driver", err);
    if (!o) {
        return false;
    }
    const char *driver = options_get(o, "driver"), *bus_name = options_get(o, "bus");
    const DeviceType *type = driver ? device_type_find(driver) : NULL;
    bool ok = false;
    if (!driver) {
        fail(err, "-device %s: the device's name must come first", text);
    } else if (!type || !type->user_creatable) {
        fail(err, "-device: there is no device '%s'; -device help lists them", driver);
    } else {
        Bus *bus = type->bus ? find_machine_bus(m, type->bus, bus_name) : NULL;
        if (type->bus && !bus) {
            fail(err, "-device %s: this machine has no %s%s bus%s%s%s", driver,
                 bus_name ? "" : "free ", type->bus, bus_name ? " named " : "",
                 bus_name ? bus_name : "",
                 !bus_name && !strcmp(type->bus, "usb") ? "; -usb gives it one" : "");
        } else {
            Device *dev = device_new(type, m);
            SetProps s = {dev, err, true};
            dev->id = g_strdup(options_get(o, "id"));
            options_foreach(o, set_prop, &s);
            ok = s.ok && device_realize(dev, bus, err);
            if (!ok) {
                device_free(dev);
            }
        }
    }
    options_free(o);
    return ok;
}

/* if=virtio, and what a board makes of drives without if=: on PCI if there is such a bus. */
static bool create_virtio_drives(Machine *m, const SystemConfig *c, GError **err)
{
    bool pci = find_machine_bus(m, "PCI", NULL);

    for (guint i = 0, n = 0; i < m->cfg.drives->len; i++) {
        DriveSpec *d = m->cfg.drives->pdata[i];
        if (d->iface != DRIVE_IF_VIRTIO || d->used) {
            continue;
        }
        while (!d->id) {
            g_autofree char *name = g_strdup_printf("virtio%u", n++);
            d->id = drive_find(m, name) ? NULL : g_steal_pointer(&name);
        }
        g_auto(GStrv) parts = g_strsplit(d->id, ",", -1);
        g_autofree char *id = g_strjoinv(",,", parts);
        g_autofree char *text =
            g_strdup_printf("virtio-blk-%s,drive=%s", pci ? "pci" : "device", id);
        if (!device_create_from_text(m, text, err)) {
            return false;
        }
    }
    return true;
}

bool devices_create(Machine *m, const SystemConfig *c, GError **err)
{
    if (!create_virtio_drives(m, c, err)) {
        return false;
    }
    for (guint i = 0; i < c->devices->len; i++) {
        if (!device_create_from_text(m, c->devices->pdata[i], err)) {
            return false;
        }
    }
    return true;
}

bool devices_add_globals(Machine *m, const SystemConfig *c, GError **err)
{
    for (guint i = 0; i < c->globals->len; i++) {
        if (!device_add_global(m, c->globals->pdata[i], err)) {
            return false;
        }
    }
    return true;
}
