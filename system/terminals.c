/* Back ends of ports and monitors: see terminals.h. */
#include "system/terminals.h"
#include "chardev/chardev.h"
#include "core/log.h"
#include "core/option.h"
#include "monitor/monitor.h"
#include <stdio.h>
#include <string.h>

bool terminals_show_help(const SystemConfig *c)
{
    for (guint i = 0; i < c->chardevs->len; i++) {
        if (!strcmp(c->chardevs->pdata[i], "help") || !strcmp(c->chardevs->pdata[i], "?")) {
            g_autofree char *types = chardev_types();
            printf("Character back ends:\n%s\n", types);
            return true;
        }
    }
    return false;
}

static bool open_ports(GPtrArray *specs, const char *name, Chardev **ports, unsigned max,
                       GError **err)
{
    if (specs->len > max) {
        return fail(err, "-%s: the machine has %u such ports, %u were given", name, max,
                    specs->len);
    }
    for (guint i = 0; i < specs->len; i++) {
        g_autofree char *label = g_strdup_printf("%s%u", name, i);
        g_autoptr(GError) why = NULL;
        ports[i] = chardev_new_from_spec(label, specs->pdata[i], true, &why);
        if (why) {
            return fail(err, "-%s %s: %s", name, (char *)specs->pdata[i], why->message);
        }
    }
    return true;
}

bool terminals_open(SystemConfig *c, GError **err)
{
    for (guint i = 0; i < c->chardevs->len; i++) {
        if (!chardev_new_from_opts(c->chardevs->pdata[i], err)) {
            return false;
        }
    }
    if (!c->nodefaults && c->m.nographic && !c->serials->len) {
        /* The terminal is serial port and monitor at once, unless it has another use. */
        bool monitor = !c->monitors->len && !c->mons->len;
        g_ptr_array_add(c->serials, g_strdup(monitor ? "mon:stdio" : "stdio"));
    } else if (!c->nodefaults && !c->serials->len) {
        g_ptr_array_add(c->serials, g_strdup("null"));
    }
    return open_ports(c->serials, "serial", c->m.serial, G_N_ELEMENTS(c->m.serial), err) &&
           open_ports(c->parallels, "parallel", c->m.parallel, G_N_ELEMENTS(c->m.parallel), err) &&
           open_ports(c->debugcons, "debugcon", &c->m.debugcon, 1, err);
}

static bool attach_mon(Machine *m, const char *text, GError **err)
{
    Options *o = options_parse("-mon", text, "chardev", err);
    if (!o) {
        return false;
    }
    const char *id = options_get(o, "chardev"), *mode = options_get(o, "mode");
    Chardev *chr = id ? chardev_find(id) : NULL;
    bool pretty, ok = options_get_bool(o, "pretty", &pretty, err);
    if (ok && !chr) {
        ok = fail(err, "-mon: there is no chardev '%s'", id ? id : "");
    }
    if (ok && mode && strcmp(mode, "readline") && strcmp(mode, "control")) {
        ok = fail(err, "-mon: mode=%s is neither readline nor control", mode);
    }
    ok = ok && options_check_used(o, err) &&
         (mode && !strcmp(mode, "control") ? monitor_attach_qmp(m, chr, err)
                                           : monitor_attach_hmp(m, chr, err));
    options_free(o);
    return ok;
}

static bool attach_all(Machine *m, GPtrArray *specs, const char *name, bool qmp, GError **err)
{
    for (guint i = 0; i < specs->len; i++) {
        g_autofree char *label = g_strdup_printf("compat_%s%u", name, i);
        g_autoptr(GError) why = NULL;
        Chardev *chr = chardev_new_from_spec(label, specs->pdata[i], true, &why);
        if (why) {
            return fail(err, "-%s %s: %s", name, (char *)specs->pdata[i], why->message);
        }
        if (chr && !(qmp ? monitor_attach_qmp(m, chr, err) : monitor_attach_hmp(m, chr, err))) {
            return false;
        }
    }
    return true;
}

bool terminals_attach(Machine *m, SystemConfig *c, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(c->m.serial); i++) {
        Chardev *chr = c->m.serial[i];
        if (chr && chardev_wants_monitor(chr) && !monitor_attach_hmp(m, chr, err)) {
            return false;
        }
    }
    for (guint i = 0; i < c->mons->len; i++) {
        if (!attach_mon(m, c->mons->pdata[i], err)) {
            return false;
        }
    }
    return attach_all(m, c->monitors, "monitor", false, err) &&
           attach_all(m, c->qmps, "qmp", true, err);
}
