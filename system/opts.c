/* -boot, -msg, -overcommit, -action: see opts.h. */
#include "system/opts.h"
#include "core/log.h"
#include "core/option.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

/* Letters a…p are what users may write; a PC has a, b (floppy), c (disk), d (CD) and n
 * (network), the rest names nothing in it. */
static bool check_letters(const char *arg, const char *order, GError **err)
{
    for (const char *s = order; s && *s; s++) {
        if (*s < 'a' || *s > 'p') {
            return fail(err,
                        "-boot %s: '%c' is no boot device; use a (floppy), c (disk), d (CD), "
                        "n (network)",
                        arg, *s);
        }
        if (strchr(s + 1, *s)) {
            return fail(err, "-boot %s: '%c' is named twice", arg, *s);
        }
    }
    return true;
}

static bool get_timeout(Options *o, int32_t *out, GError **err)
{
    const char *text = options_get(o, "reboot-timeout");
    uint64_t n = 0;

    if (!text) {
        return true;
    }
    if (!strcmp(text, "-1")) {
        *out = -1;
        return true;
    }
    if (!options_get_uint(o, "reboot-timeout", 0xffff, &n, err)) {
        return false;
    }
    *out = (int32_t)n;
    return true;
}

bool opt_boot(SystemConfig *c, const char *arg, GError **err)
{
    uint64_t splash_time = c->m.boot_menu_timeout;
    Options *o = options_parse("-boot", arg, "order", err);
    const char *order = o ? options_get(o, "order") : NULL,
               *once = o ? options_get(o, "once") : NULL,
               *splash = o ? options_get(o, "splash") : NULL;
    bool ok = o && options_get_bool(o, "menu", &c->m.boot_menu, err) &&
              options_get_bool(o, "strict", &c->m.boot_strict, err) &&
              options_get_uint(o, "splash-time", 0xffff, &splash_time, err) &&
              get_timeout(o, &c->m.boot_retry, err) && check_letters(arg, order, err) &&
              check_letters(arg, once, err) && options_check_used(o, err);

    if (ok) {
        c->m.boot_menu_timeout = (uint32_t)splash_time;
        c->m.boot_order = order ? g_strdup(order) : c->m.boot_order;
        c->m.boot_once = once ? g_strdup(once) : c->m.boot_once;
        c->m.boot_splash = splash ? g_strdup(splash) : c->m.boot_splash;
    }
    options_free(o);
    return ok;
}

bool opt_msg(SystemConfig *c, const char *arg, GError **err)
{
    Options *o = options_parse("-msg", arg, "timestamp", err);
    /* "-msg timestamp" alone is an old spelling of timestamp=on. */
    if (o && options_has(o, "timestamp") && !strcmp(options_get(o, "timestamp"), "timestamp")) {
        options_set(o, "timestamp", "on");
    }
    bool ok = o && options_get_bool(o, "timestamp", &c->msg_timestamp, err) &&
              options_get_bool(o, "guest-name", &c->msg_guest_name, err) &&
              options_check_used(o, err);
    options_free(o);
    return ok;
}

bool opt_overcommit(SystemConfig *c, const char *arg, GError **err)
{
    bool cpu_pm = false;
    Options *o = options_parse("-overcommit", arg, NULL, err);
    const char *lock = o ? options_get(o, "mem-lock") : NULL;
    bool ok = o && options_get_bool(o, "cpu-pm", &cpu_pm, err);

    if (ok && lock && !strcmp(lock, "on-fault")) {
        c->mem_lock = c->mem_lock_on_fault = true;
    } else if (ok && lock) {
        c->mem_lock_on_fault = false;
        ok = options_get_bool(o, "mem-lock", &c->mem_lock, err);
    }
    if (ok && cpu_pm) {
        ok = fail(err, "-overcommit: cpu-pm=on would let the guest keep the host's CPUs in "
                       "their sleep states, which this version does not do");
    }
    ok = ok && options_check_used(o, err);
    options_free(o);
    return ok;
}

/* A key whose device is not in this version: only its default can be asked for. */
static bool only(Options *o, const char *key, const char *value, const char *device, GError **err)
{
    const char *v = options_get(o, key);
    return !v || !strcmp(v, value) ||
           fail(err, "-action: %s=%s needs a %s, which this version does not have", key, v, device);
}

bool opt_action(SystemConfig *c, const char *arg, GError **err)
{
    Options *o = options_parse("-action", arg, NULL, err);
    if (!o) {
        return false;
    }
    const char *reboot = options_get(o, "reboot"), *shutdown = options_get(o, "shutdown");
    bool ok = true;
    if (reboot) {
        c->no_reboot = !strcmp(reboot, "shutdown");
        ok = c->no_reboot || !strcmp(reboot, "reset") ||
             fail(err, "-action: reboot=%s is neither reset nor shutdown", reboot);
    }
    if (ok && shutdown) {
        c->no_shutdown = !strcmp(shutdown, "pause");
        ok = c->no_shutdown || !strcmp(shutdown, "poweroff") ||
             fail(err, "-action: shutdown=%s is neither poweroff nor pause", shutdown);
    }
    ok = ok && only(o, "panic", "shutdown", "panic device", err) &&
         only(o, "watchdog", "reset", "watchdog", err) && options_check_used(o, err);
    options_free(o);
    return ok;
}

void opts_apply_early(const SystemConfig *c)
{
    report_set_prefix(c->msg_timestamp, c->msg_guest_name ? c->m.name : NULL);
    if (c->process_name) {
        prctl(PR_SET_NAME, c->process_name);
    }
}

bool opts_apply_late(const SystemConfig *c, const Machine *m, GError **err)
{
    /* Guest memory at once; of the rest, which is mostly address space kept free, what is used. */
    bool ok = !c->mem_lock || !mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);

    if (ok && c->mem_lock && !c->mem_lock_on_fault && m->ram) {
        ok = !mlock(m->ram->host, m->ram->size);
    }
    return ok || fail(err, "-overcommit mem-lock=on: memory cannot be locked: %s (see ulimit -l)",
                      g_strerror(errno));
}
