/* Devices, their properties, and buses. */
#include "core/device.h"
#include "core/log.h"
#include "core/machine.h"
#include "core/option.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const DeviceType *device_type_find(const char *name)
{
    for (unsigned i = 0; device_types[i]; i++) {
        const DeviceType *t = device_types[i];
        if (!strcmp(t->name, name) || (t->alias && !strcmp(t->alias, name))) {
            return t;
        }
    }
    return NULL;
}

/* ---- properties ---- */

static const Property *find_prop(const DeviceType *type, const char *name)
{
    for (const Property *p = type->props; p && p->name; p++) {
        if (!strcmp(p->name, name)) {
            return p;
        }
    }
    return NULL;
}

static bool parse_mac(const char *text, uint8_t mac[6])
{
    for (unsigned i = 0; i < 6; i++) {
        if (!g_ascii_isxdigit(text[0]) || !g_ascii_isxdigit(text[1])) {
            return false;
        }
        mac[i] = g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]);
        text += 2;
        if (i < 5 && *text != ':' && *text != '-') {
            return false;
        }
        text += i < 5;
    }
    return !*text;
}

/* "SLOT[.FN]" in hex, or "-1" for any. */
static bool parse_pci_addr(const char *text, int32_t *devfn)
{
    char *end;

    if (!strcmp(text, "-1")) {
        *devfn = -1;
        return true;
    }
    if (!g_ascii_isxdigit(text[0])) {
        return false;
    }
    unsigned long slot = strtoul(text, &end, 16), fn = 0;
    if (*end == '.') {
        if (!g_ascii_isxdigit(end[1])) {
            return false;
        }
        fn = strtoul(end + 1, &end, 16);
    }
    if (*end || slot > 31 || fn > 7) {
        return false;
    }
    *devfn = slot << 3 | fn;
    return true;
}

static bool set_enum(const char *what, const Property *p, const char *value, int32_t *out,
                     GError **err)
{
    for (int32_t i = 0; p->values[i]; i++) {
        if (!strcmp(p->values[i], value)) {
            *out = i;
            return true;
        }
    }
    char *all = g_strjoinv(", ", (char **)p->values);
    fail(err, "%s must be one of %s, not '%s'", what, all, value);
    g_free(all);
    return false;
}

static bool set_number(const char *what, const Property *p, void *field, const char *value,
                       GError **err)
{
    uint64_t v, max = p->kind == PROP_U8    ? UINT8_MAX
                      : p->kind == PROP_U16 ? UINT16_MAX
                      : p->kind == PROP_U32 ? UINT32_MAX
                                            : UINT64_MAX;

    if (!(p->kind == PROP_SIZE ? parse_size(what, value, 1, &v, err)
                               : parse_uint(what, value, UINT64_MAX, &v, err))) {
        return false;
    }
    if (v > max) {
        return fail(err, "%s must be at most %" PRIu64 ", not '%s'", what, max, value);
    }
    switch (p->kind) {
    case PROP_U8:
        *(uint8_t *)field = v;
        break;
    case PROP_U16:
        *(uint16_t *)field = v;
        break;
    case PROP_U32:
        *(uint32_t *)field = v;
        break;
    default:
        *(uint64_t *)field = v;
    }
    return true;
}

static bool set_prop(Device *dev, const Property *p, const char *value, GError **err)
{
    void *field = (uint8_t *)dev + p->off;
    char *what = g_strdup_printf("%s: %s", dev->type->name, p->name);
    bool ok = true;

    switch (p->kind) {
    case PROP_BOOL:
        ok = parse_bool(what, value, field, err);
        break;
    case PROP_U8:
    case PROP_U16:
    case PROP_U32:
    case PROP_U64:
    case PROP_SIZE:
        ok = set_number(what, p, field, value, err);
        break;
    case PROP_STRING:
    case PROP_DRIVE:
    case PROP_CHARDEV:
    case PROP_NETDEV:
        g_free(*(char **)field);
        *(char **)field = g_strdup(value);
        break;
    case PROP_MAC: {
        uint8_t mac[6];
        if (parse_mac(value, mac)) {
            memcpy(field, mac, 6);
        } else {
            ok = fail(err, "%s must be an address like 52:54:00:12:34:56, not '%s'", what, value);
        }
        break;
    }
    case PROP_PCI_ADDR:
        if (!parse_pci_addr(value, field)) {
            ok = fail(err, "%s must be SLOT or SLOT.FUNCTION in hex (at most 1f.7), not '%s'", what,
                      value);
        }
        break;
    case PROP_ENUM:
        ok = set_enum(what, p, value, field, err);
        break;
    }
    g_free(what);
    return ok;
}

bool device_set(Device *dev, const char *prop, const char *value, GError **err)
{
    const Property *p = find_prop(dev->type, prop);

    if (dev->realized) {
        return fail(err, "%s: %s cannot be changed while the device is in use", dev->type->name,
                    prop);
    }
    if (!p && !strcmp(prop, "id")) {
        g_free(dev->id);
        dev->id = g_strdup(value);
        return true;
    }
    if (!p) {
        return fail(err, "%s has no property '%s'", dev->type->name, prop);
    }
    return set_prop(dev, p, value, err);
}

char *device_get(const Device *dev, const char *prop)
{
    const Property *p = find_prop(dev->type, prop);

    if (!p) {
        return strcmp(prop, "id") ? NULL : g_strdup(dev->id);
    }
    const void *f = (const uint8_t *)dev + p->off;
    switch (p->kind) {
    case PROP_BOOL:
        return g_strdup(*(const bool *)f ? "on" : "off");
    case PROP_U8:
        return g_strdup_printf("%u", *(const uint8_t *)f);
    case PROP_U16:
        return g_strdup_printf("%u", *(const uint16_t *)f);
    case PROP_U32:
        return g_strdup_printf("%u", *(const uint32_t *)f);
    case PROP_U64:
    case PROP_SIZE:
        return g_strdup_printf("%" PRIu64, *(const uint64_t *)f);
    case PROP_MAC: {
        const uint8_t *m = f;
        return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
    }
    case PROP_PCI_ADDR: {
        int32_t devfn = *(const int32_t *)f;
        return devfn < 0 ? g_strdup("-1") : g_strdup_printf("%02x.%x", devfn >> 3, devfn & 7);
    }
    case PROP_ENUM:
        return g_strdup(p->values[*(const int32_t *)f]);
    default:
        return g_strdup(*(char *const *)f);
    }
}

/* ---- -global ---- */

typedef struct GlobalProp {
    const DeviceType *type;
    const Property *prop;
    char *value;
} GlobalProp;

static void free_strings(Device *dev)
{
    for (const Property *p = dev->type->props; p && p->name; p++) {
        if (p->kind == PROP_STRING || p->kind == PROP_DRIVE || p->kind == PROP_CHARDEV ||
            p->kind == PROP_NETDEV) {
            g_free(*(char **)((uint8_t *)dev + p->off));
        }
    }
}

static void global_free(gpointer p)
{
    g_free(((GlobalProp *)p)->value);
    g_free(p);
}

void device_free_globals(Machine *m)
{
    g_clear_pointer(&m->globals, g_ptr_array_unref);
}

/* The three parts of either spelling; g_free them. */
static bool split_global(const char *text, char *part[3], GError **err)
{
    const char *dot = strchr(text, '.'), *eq = strchr(text, '=');

    if (dot && eq && dot < eq && dot > text && eq > dot + 1) {
        part[0] = g_strndup(text, dot - text);
        part[1] = g_strndup(dot + 1, eq - dot - 1);
        part[2] = g_strdup(eq + 1);
        return true;
    }
    static const char *const keys[] = {"driver", "property", "value"};
    Options *o = options_parse("-global", text, NULL, err);
    bool ok = o;
    for (unsigned i = 0; ok && i < 3; i++) {
        const char *v = options_get(o, keys[i]);
        ok = v || fail(err,
                       "-global %s: write DRIVER.PROPERTY=VALUE, or "
                       "driver=D,property=P,value=V",
                       text);
        part[i] = g_strdup(v);
    }
    ok = ok && options_check_used(o, err);
    options_free(o);
    return ok;
}

bool device_add_global(Machine *m, const char *text, GError **err)
{
    char *part[3] = {NULL};
    bool ok = split_global(text, part, err);
    const DeviceType *t = ok ? device_type_find(part[0]) : NULL;
    const Property *p = t ? find_prop(t, part[1]) : NULL;

    if (ok && !t) {
        ok = fail(err, "-global %s: there is no device '%s'; -device help lists them", text,
                  part[0]);
    } else if (ok && !p) {
        ok = fail(err, "-global %s: device %s has no property '%s'; -device %s,help lists them",
                  text, t->name, part[1], t->name);
    }
    if (ok) {
        /* Try it on a device that is never used. */
        Device *scratch = device_new(t, NULL);
        ok = set_prop(scratch, p, part[2], err);
        free_strings(scratch);
        g_free(scratch);
        g_prefix_error(err, "-global ");
    }
    if (ok) {
        GlobalProp *g = g_new(GlobalProp, 1);
        *g = (GlobalProp){t, p, g_steal_pointer(&part[2])};
        m->globals = m->globals ? m->globals : g_ptr_array_new_with_free_func(global_free);
        g_ptr_array_add(m->globals, g);
    }
    for (unsigned i = 0; i < 3; i++) {
        g_free(part[i]);
    }
    return ok;
}

/* ---- devices ---- */

Device *device_new(const DeviceType *type, Machine *m)
{
    Device *dev = g_malloc0(type->size);

    g_assert(type->size >= sizeof(Device));
    dev->type = type;
    dev->machine = m;
    for (const Property *p = type->props; p && p->name; p++) {
        GError *err = NULL;
        if (p->def && !set_prop(dev, p, p->def, &err)) {
            g_error("%s", err->message); /* a wrong table */
        }
    }
    for (unsigned i = 0; m && m->globals && i < m->globals->len; i++) {
        const GlobalProp *g = m->globals->pdata[i];
        if (g->type == type) {
            set_prop(dev, g->prop, g->value, NULL); /* checked by device_add_global() */
        }
    }
    return dev;
}

const char *property_kind_name(PropKind kind)
{
    static const char *const names[] = {
        [PROP_BOOL] = "bool",   [PROP_U8] = "uint8",      [PROP_U16] = "uint16",
        [PROP_U32] = "uint32",  [PROP_U64] = "uint64",    [PROP_SIZE] = "size",
        [PROP_STRING] = "str",  [PROP_MAC] = "macaddr",   [PROP_DRIVE] = "drive",
        [PROP_CHARDEV] = "chr", [PROP_NETDEV] = "netdev", [PROP_PCI_ADDR] = "slot[.function]",
        [PROP_ENUM] = "name",
    };
    return names[kind];
}

bool device_realize(Device *dev, Bus *bus, GError **err)
{
    const DeviceType *t = dev->type;

    g_assert(!dev->realized);
    if (t->bus && (!bus || strcmp(bus->kind, t->bus))) {
        return fail(err, "%s needs a bus of kind %s%s%s", t->name, t->bus,
                    bus ? ", which is not " : "", bus ? bus->name : "");
    }
    if (bus && bus_full(bus)) {
        return fail(err, "%s: bus %s is full", t->name, bus->name);
    }
    dev->bus = bus;
    if (bus) {
        bus->children = g_list_append(bus->children, dev);
    }
    if (t->realize && !t->realize(dev, err)) {
        if (bus) {
            bus->children = g_list_remove(bus->children, dev);
        }
        dev->bus = NULL;
        return false;
    }
    dev->realized = true;
    if (dev->machine) {
        g_ptr_array_add(dev->machine->devices, dev);
    }
    t->reset(dev);
    return true;
}

void device_free(Device *dev)
{
    if (!dev) {
        return;
    }
    while (dev->buses) {
        bus_clear(dev->buses->data); /* leaves the list */
    }
    if (dev->realized) {
        if (dev->machine) {
            g_ptr_array_remove(dev->machine->devices, dev);
        }
        if (dev->type->unrealize) {
            dev->type->unrealize(dev);
        }
        dev->realized = false;
    }
    if (dev->bus) {
        dev->bus->children = g_list_remove(dev->bus->children, dev);
    }
    free_strings(dev);
    g_free(dev->id);
    g_free(dev);
}

/* ---- buses ---- */

bool bus_full(const Bus *bus)
{
    return bus->max_children && g_list_length(bus->children) >= bus->max_children;
}

void bus_init(Bus *bus, const char *kind, const char *name, Device *owner)
{
    *bus = (Bus){.kind = kind, .name = g_strdup(name), .owner = owner};
    if (owner) {
        owner->buses = g_list_append(owner->buses, bus);
    }
}

void bus_clear(Bus *bus)
{
    while (bus->children) {
        device_free(g_list_last(bus->children)->data);
    }
    if (bus->owner) {
        bus->owner->buses = g_list_remove(bus->owner->buses, bus);
        bus->owner = NULL;
    }
    g_free(bus->name);
    bus->name = NULL;
}
