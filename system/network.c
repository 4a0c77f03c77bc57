/* Networks of the command line: see network.h. */
#include "system/network.h"
#include "config.h"
#include "core/log.h"
#include "core/option.h"
#include "net/net.h"
#include "system/devices.h"
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *device;
} models[] = {
    {"e1000", "e1000"},           {"e1000-82540em", "e1000"},           {"rtl8139", "rtl8139"},
    {"virtio", "virtio-net-pci"}, {"virtio-net-pci", "virtio-net-pci"}, {NULL, NULL},
};

static const char *device_of_model(const char *model)
{
    for (unsigned i = 0; models[i].name; i++) {
        if (!strcmp(models[i].name, model) && device_type_find(models[i].device)) {
            return models[i].device;
        }
    }
    return NULL;
}

static const char *default_model(void)
{
    return device_of_model("rtl8139") ? "rtl8139" : "e1000";
}

static bool is_help(const char *s)
{
    return !strcmp(s, "help") || !strcmp(s, "?");
}

bool network_show_help(const SystemConfig *c)
{
    for (guint i = 0; i < c->nets->len; i++) {
        const char *text = c->nets->pdata[i], *spec = strchr(text, ' ') + 1;
        if (is_help(spec)) {
            g_autofree char *types = net_types();
            fputs(types, stdout);
            return true;
        }
        if (strstr(spec, "model=help") || strstr(spec, "model=?")) {
            puts("Network cards:");
            for (unsigned k = 0; models[k].name; k++) {
                if (device_type_find(models[k].device)) {
                    puts(models[k].name);
                }
            }
            return true;
        }
    }
    return false;
}

static const char *first_of(Options *o, const char *a, const char *b)
{
    const char *va = options_get(o, a), *vb = options_get(o, b);

    return va ? va : vb;
}

/* A card by keys model, mac or macaddr, addr, name or id of @o, on @netdev (NULL: none). */
static bool create_card(Machine *m, Options *o, const char *netdev, GError **err)
{
    const char *model = options_get(o, "model"), *mac = first_of(o, "mac", "macaddr");
    const char *addr = options_get(o, "addr"), *name = options_get(o, "name");
    const char *device = device_of_model(model ? model : default_model());
    g_autoptr(GString) text = g_string_new(NULL);

    options_mark_used(o, "vectors");
    if (!device) {
        return fail(err, "%s: there is no network card '%s'; model=help lists them",
                    options_what(o), model);
    }
    g_string_append_printf(text, "%s", device);
    const char *keys[] = {"netdev", "mac", "addr", "id"}, *values[] = {netdev, mac, addr, name};
    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (values[i]) {
            g_auto(GStrv) parts = g_strsplit(values[i], ",", -1);
            g_autofree char *escaped = g_strjoinv(",,", parts);
            g_string_append_printf(text, ",%s=%s", keys[i], escaped);
        }
    }
    return device_create_from_text(m, text->str, err);
}

/* -net nic,… and -net BACKEND,…: all on hub "vlan" (0). */
static bool create_net(Machine *m, const char *spec, GError **err)
{
    Options *o = options_parse("-net", spec, "type", err);
    const char *type = o ? options_get(o, "type") : NULL,
               *netdev = o ? options_get(o, "netdev") : NULL;
    uint64_t vlan = 0;
    bool ok = o && options_get_uint(o, "vlan", UINT32_MAX, &vlan, err);

    if (ok && !type) {
        ok = fail(err, "-net %s: nic, none or a back end must come first", spec);
    } else if (ok && !strcmp(type, "nic")) {
        NetPort *hub = netdev ? NULL : net_hub_port(m, (uint32_t)vlan, NULL, err);
        ok = (netdev || hub) && create_card(m, o, netdev ? netdev : hub->name, err) &&
             options_check_used(o, err);
    } else if (ok && strcmp(type, "none")) {
        g_autofree char *name = net_auto_name(m);
        NetPort *p;
        if (options_has(o, "name") && !options_has(o, "id")) {
            options_set(o, "id", options_get(o, "name"));
        }
        options_mark_used(o, "name");
        p = net_new(m, o, name, err);
        ok = p && (!strcmp(type, "hubport") || net_hub_port(m, (uint32_t)vlan, p->name, err));
    } else if (ok) {
        ok = options_check_used(o, err);
    }
    options_free(o);
    return ok;
}

typedef struct Split {
    Options *card, *back;
} Split;

static void split_key(const char *key, const char *value, void *arg)
{
    static const char *const of_card[] = {"model", "mac", "macaddr", "addr", "vectors", NULL};
    Split *s = arg;

    if (g_strv_contains(of_card, key)) {
        options_set(s->card, key, value);
    }
}

/* -nic BACKEND,model=,mac=,…: a back end and a card on it. */
static bool create_nic(Machine *m, const char *spec, GError **err)
{
    Options *o = options_parse("-nic", spec, "type", err);
    Split s = {options_new("-nic"), o};
    g_autofree char *name = net_auto_name(m);
    bool ok = o != NULL;
    const char *type = ok ? options_get(o, "type") : NULL;

    if (ok && !type) {
        ok = fail(err, "-nic %s: none or a back end must come first", spec);
    } else if (ok && strcmp(type, "none")) {
        options_foreach(o, split_key, &s);
        static const char *const keys[] = {"model", "mac", "macaddr", "addr", "vectors"};
        for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
            options_mark_used(o, keys[i]);
        }
        NetPort *p = net_new(m, o, name, err);
        ok = p && create_card(m, s.card, p->name, err);
    } else if (ok) {
        ok = options_check_used(o, err);
    }
    options_free(s.card);
    options_free(o);
    return ok;
}

static bool mentions_card(const SystemConfig *c)
{
    for (guint i = 0; i < c->devices->len; i++) {
        const char *text = c->devices->pdata[i];
        g_autofree char *driver = g_strndup(text, strcspn(text, ","));
        if (device_of_model(driver)) {
            return true;
        }
    }
    return false;
}

bool network_create(Machine *m, const SystemConfig *c, GError **err)
{
    static const struct {
        const char *kind;
        bool (*create)(Machine *m, const char *spec, GError **err);
    } kinds[] = {{"net ", create_net}, {"nic ", create_nic}};
    bool said = mentions_card(c);

    /* Back ends first: -device and -net nic may name one that stands behind them. */
    for (guint i = 0; i < c->nets->len; i++) {
        const char *text = c->nets->pdata[i];
        if (g_str_has_prefix(text, "netdev ") &&
            !net_new_from_opts(m, "-netdev", text + 7, NULL, err)) {
            return false;
        }
    }
    for (guint i = 0; i < c->nets->len; i++) {
        const char *text = c->nets->pdata[i];
        for (unsigned k = 0; k < G_N_ELEMENTS(kinds); k++) {
            if (g_str_has_prefix(text, kinds[k].kind)) {
                said = true;
                if (!kinds[k].create(m, text + 4, err)) {
                    return false;
                }
            }
        }
    }
#ifdef HAVE_SLIRP
    if (!said && !c->nodefaults) {
        return create_nic(m, "user", err);
    }
#endif
    return true;
}

static void check_port(NetPort *p, void *arg)
{
    if (p->backend && !p->peer && strcmp(p->ops->kind, "hubport")) {
        warn_report("network back end '%s' has no network card", p->name);
    }
}

bool network_check(Machine *m, const SystemConfig *c, GError **err)
{
    net_foreach(m, check_port, NULL);
    return true;
}

void network_cleanup(Machine *m)
{
    machine_lock();
    net_cleanup(m);
    machine_unlock();
}
