/*
 * The program: command line → machine → main loop. Exits are here only.
 */
#include "accel/jit/jit.h"
#include "accel/kvm/kvm.h"
#include "block/drive.h"
#include "block/nbd.h"
#include "chardev/chardev.h"
#include "config.h"
#include "core/log.h"
#include "core/machine.h"
#include "core/option.h"
#include "hw/machine/machines.h"
#include "migration/snapshot.h"
#include "monitor/monitor.h"
#include "system/daemon.h"
#include "system/devices.h"
#include "system/displays.h"
#include "system/gdbstub.h"
#include "system/network.h"
#include "system/opts.h"
#include "system/sysconfig.h"
#include "system/terminals.h"
#include "system/usbdevice.h"
#include "target/targets.h"
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

static bool wants_help(const char *text)
{
    return text && (!strcmp(text, "help") || !strcmp(text, "?"));
}

/* By -arch or by the program's name (rhea-system-ARCH). NULL without @err: neither says. */
static const Target *named_target(const SystemConfig *c, GError **err)
{
    const char *by_name = strstr(c->program, "system-"), *want = c->arch;
    if (!want && by_name) {
        want = by_name + strlen("system-");
    }
    const Target *t = want ? target_find(want) : NULL;
    if (want && !t) {
        g_autoptr(GString) names = g_string_new(NULL);
        for (const Target *const *i = all_targets; *i; i++) {
            g_string_append_printf(names, "%s%s", names->len ? ", " : "", (*i)->name);
        }
        fail(err, "-arch: there is no guest architecture '%s'; there are %s", want, names->str);
    }
    return t;
}

static bool machine_is(const MachineType *t, const char *name, const Target *target)
{
    return (!strcmp(t->name, name) || (t->alias && !strcmp(t->alias, name))) &&
           (!target || g_strv_contains(t->archs, target->name));
}

/* Machine type and target of this run. Either may follow from the other. */
static const MachineType *find_machine(const SystemConfig *c, const Target **target, GError **err)
{
    g_autoptr(GError) why = NULL;
    const Target *t = named_target(c, &why);
    const char *name = c->machine ? c->machine : (t ? t : all_targets[0])->default_machine;
    const MachineType *found = NULL;
    const char *other = NULL; /* an architecture that has such a machine */
    unsigned n = 0;
    if (why) {
        g_propagate_error(err, g_steal_pointer(&why));
        return NULL;
    }
    for (const MachineType *const *m = machine_types; *m; m++) {
        if (machine_is(*m, name, t)) {
            found = *m;
            n++;
        } else if (machine_is(*m, name, NULL)) {
            other = (*m)->archs[0];
        }
    }
    if (n > 1) {
        g_autoptr(GString) names = g_string_new(NULL);
        for (const MachineType *const *m = machine_types; *m; m++) {
            if (machine_is(*m, name, NULL)) {
                g_string_append_printf(names, "%s%s", names->len ? ", " : "", (*m)->archs[0]);
            }
        }
        fail(err, "-machine %s: several architectures have it; add -arch with one of %s", name,
             names->str);
        return NULL;
    }
    if (!found && other) {
        fail(err, "machine '%s' has no CPU of architecture '%s'", name, t->name);
        return NULL;
    }
    if (!found) {
        fail(err, "-machine: there is no machine '%s'; -machine help lists them", name);
        return NULL;
    }
    *target = t ? t : target_find(found->archs[0]);
    return found;
}

/* The target that help is about. */
static const Target *help_target(const SystemConfig *c)
{
    const Target *t = NULL;
    if (!c->machine || wants_help(c->machine) || !find_machine(c, &t, NULL)) {
        t = named_target(c, NULL);
    }
    return t ? t : all_targets[0];
}

static void list_machines(const Target *target)
{
    printf("Machines of %s:\n", target->name);
    for (const MachineType *const *t = machine_types; *t; t++) {
        if (g_strv_contains((*t)->archs, target->name)) {
            printf("%-20s %s%s%s%s\n", (*t)->name, (*t)->desc, (*t)->alias ? ", also called " : "",
                   (*t)->alias ? (*t)->alias : "",
                   machine_is(*t, target->default_machine, NULL) ? " (default)" : "");
        }
    }
}

static void list_targets(void)
{
    puts("Architectures:");
    for (const Target *const *t = all_targets; *t; t++) {
        printf("%s%s\n", (*t)->name, t == all_targets ? " (default)" : "");
    }
}

/* What was asked for, in order; without a word the translator. */
static void default_accels(SystemConfig *c)
{
    bool by_name = !strcmp(c->program, "kvm") || !strcmp(c->program, "qemu-kvm");
    if (c->accels->len) {
        return;
    }
    if (c->enable_kvm || by_name) {
        g_ptr_array_add(c->accels, g_strdup("kvm"));
    }
    if (!c->enable_kvm) {
        g_ptr_array_add(c->accels, g_strdup("jit"));
    }
}

static const Accelerator *find_accel(const char *name)
{
    return !strcmp(name, "jit") || !strcmp(name, "tcg") ? &jit_accel
           : !strcmp(name, "kvm")                       ? &kvm_accel
                                                        : NULL;
}

/* Initialises the first of the wanted accelerators that works. */
static bool init_accel(Machine *m, SystemConfig *c, GError **err)
{
    default_accels(c);
    for (guint i = 0; i < c->accels->len; i++) {
        const char *text = c->accels->pdata[i], *comma = strchr(text, ',');
        g_autofree char *name = comma ? g_strndup(text, comma - text) : g_strdup(text);
        g_autoptr(GError) why = NULL;
        const Accelerator *accel = find_accel(name);
        if (!accel) {
            return fail(err, "-accel: there is no accelerator '%s'; use jit or kvm", name);
        }
        machine_lock();
        bool ok = accel->init(m, comma ? comma + 1 : NULL, &why);
        machine_unlock();
        if (ok) {
            m->accel = accel;
            return true;
        }
        if (i + 1 == c->accels->len) {
            g_propagate_error(err, g_steal_pointer(&why));
            return false;
        }
        warn_report("%s; trying %s", why->message, (char *)c->accels->pdata[i + 1]);
    }
    return false;
}

static bool show_help(const SystemConfig *c)
{
    if (wants_help(c->arch)) {
        list_targets();
    } else if (wants_help(c->machine)) {
        list_machines(help_target(c));
    } else if (wants_help(c->m.cpu_model)) {
        g_autofree char *text = help_target(c)->models();
        fputs(text, stdout);
    } else if (c->accels->len && wants_help(c->accels->pdata[0])) {
        puts("Accelerators:\njit (also called tcg)\nkvm");
    } else if (c->accels->len && !strcmp(c->accels->pdata[0], "kvm,help")) {
        g_autofree char *text = kvm_options_help();
        fputs(text, stdout);
    } else if (c->log_items && wants_help(c->log_items)) {
        g_autoptr(GError) e = NULL;
        uint32_t mask;
        log_parse("help", &mask, &e);
        puts(e ? e->message : "");
    } else {
        return terminals_show_help(c) || devices_show_help(c) || displays_show_help(c) ||
               network_show_help(c);
    }
    return true;
}

static gboolean on_signal(gpointer arg)
{
    machine_request_shutdown(arg, SHUTDOWN_HOST_SIGNAL);
    return G_SOURCE_CONTINUE;
}

static bool set_up_logging(const SystemConfig *c, GError **err)
{
    uint32_t mask = 0;
    if (c->log_items && !log_parse(c->log_items, &mask, err)) {
        return false;
    }
    if (c->log_file && !log_set_file(c->log_file, err)) {
        return false;
    }
    log_mask |= mask;
    for (guint i = 0; i < c->traces->len; i++) {
        trace_enable(c->traces->pdata[i]);
    }
    return true;
}

static bool gdb_open(Machine *m, const SystemConfig *c, GError **err)
{
    const char *spec = c->gdb ? c->gdb : c->gdb_default ? "tcp::1234" : NULL;
    return !spec || gdbstub_start(m, spec, err);
}

/* Guest memory is not reserved in advance; more than the host could ever give is a mistake. */
static bool check_ram(uint64_t size, GError **err)
{
    struct sysinfo host;
    if (sysinfo(&host) < 0) {
        return true;
    }
    uint64_t most = ((uint64_t)host.totalram + host.totalswap) * host.mem_unit;
    return size <= most || fail(err,
                                "-m: the host has %" G_GUINT64_FORMAT " MiB of memory and swap, "
                                "%" G_GUINT64_FORMAT " MiB were asked for",
                                most >> 20, size >> 20);
}

/* What the board did not ask for is a typing error, or for another machine. */
static bool machine_options_used(const SystemConfig *c, GError **err)
{
    return !c->m.machine_opts || options_check_used(c->m.machine_opts, err);
}

/* Everything between the command line and the first guest instruction. NULL: nothing is left over.
 */
static Machine *build(SystemConfig *c, GError **err)
{
    const Target *target;
    const MachineType *type = find_machine(c, &target, err);
    if (!type || !set_up_logging(c, err)) {
        return NULL;
    }
    if (c->m.smp > type->max_vcpus) {
        fail(err, "-smp %u: machine '%s' has at most %u CPUs", c->m.smp, type->name,
             type->max_vcpus);
        return NULL;
    }
    if (c->m.usb && !type->has_usb) {
        fail(err, "-usb: machine '%s' has no USB in this version", type->name);
        return NULL;
    }
    c->m.target = target;
    if (!c->m.ram_size) {
        c->m.ram_size = type->default_ram;
    }
    for (guint i = 0; i < c->m.drives->len; i++) {
        DriveSpec *d = c->m.drives->pdata[i];
        if (!d->if_given) {
            d->iface = type->default_drive_if;
        }
    }
    c->m.default_devices = !c->nodefaults;
    c->m.has_display = c->vga ? strcmp(c->vga, "none") != 0 : !c->nodefaults && !c->m.nographic;
    c->m.vga = c->vga && strcmp(c->vga, "none") ? c->vga : NULL;
    c->m.firmware_dir = c->firmware_dir;
    if (!check_ram(c->m.ram_size, err) || !terminals_open(c, err)) {
        return NULL;
    }
    Machine *m = machine_new(type, NULL);
    m->cfg = c->m;
    m->no_reboot = c->no_reboot;
    m->no_shutdown = c->no_shutdown;
    if (!init_accel(m, c, err) || !devices_add_globals(m, c, err) || !drives_prepare(m, err) ||
        !type->init(m, err) || !machine_options_used(c, err) || !network_create(m, c, err) ||
        !usb_devices_create(m, c, err) || !devices_create(m, c, err) || !drives_check(m, err) ||
        !network_check(m, c, err) || !terminals_attach(m, c, err) || !displays_open(m, c, err) ||
        !gdb_open(m, c, err) || !opts_apply_late(c, m, err) || !daemon_ready(c, err)) {
        displays_close(m);
        monitor_cleanup();
        gdbstub_cleanup();
        network_cleanup(m);
        machine_free(m);
        return NULL;
    }
    return m;
}

static bool boot_set(Machine *m, const char *order, GError **err)
{
    return m->boot_set ? m->boot_set(m, order, err)
                       : fail(err, "machine '%s' cannot change its boot order", m->type->name);
}

/* Ctrl-A x and s of a mux. */
static void mux_quit(void *opaque)
{
    machine_request_shutdown(opaque, SHUTDOWN_HOST_QUIT);
}

static void mux_commit(void *opaque)
{
    int cpu = 0;
    g_autofree char *text = monitor_hmp_line(opaque, &cpu, "commit all");
    if (text && *text) {
        g_strchomp(text);
        warn_report("commit: %s", text);
    }
}

static int run(Machine *m, const SystemConfig *c, GError **err)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++) {
        g_unix_signal_add(signals[i], on_signal, m);
    }
    machine_lock();
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        vcpu_start_thread(m->vcpus[i]);
    }
    machine_reset(m);
    if (c->loadvm && !snapshot_load(m, c->loadvm, err)) {
        machine_unlock();
        return 1;
    }
    if (!c->paused) {
        machine_start(m);
    }
    machine_unlock();
    return machine_main_loop(m);
}

int main(int argc, char **argv)
{
    static const MonitorHooks hooks = {.device_add = device_create_from_text,
                                       .gdbserver = gdbstub_start,
                                       .boot_set = boot_set,
                                       .usb_add = usb_device_create,
                                       .usb_del = usb_device_remove};
    g_autoptr(GError) err = NULL;
    SystemConfig c;
    int status = 1;

    config_init(&c);
    signal(SIGPIPE, SIG_IGN);
    CmdlineResult r = cmdline_parse(&c, argc, argv, &err);
    if (r == CMDLINE_RUN && show_help(&c)) {
        r = CMDLINE_EXIT;
    }
    if (r == CMDLINE_EXIT) {
        status = 0;
    } else if (r == CMDLINE_RUN && daemon_fork(&c, &err)) {
        monitor_set_hooks(&hooks);
        opts_apply_early(&c);
        Machine *m = build(&c, &err);
        if (m) {
            const ChardevHooks mux = {.quit = mux_quit, .commit_all = mux_commit, .opaque = m};
            chardev_set_hooks(&mux);
            status = run(m, &c, &err);
            machine_lock();
            displays_close(m);
            nbd_server_free(m->nbd);
            machine_unlock();
            monitor_cleanup();
            gdbstub_cleanup();
            network_cleanup(m);
            machine_free(m);
        }
        chardev_cleanup();
        daemon_cleanup(&c);
    }
    if (err) {
        error_report("%s", err->message);
    }
    config_free(&c);
    return status;
}
