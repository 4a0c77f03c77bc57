/* HMP: run state, logs, input, screens. */
#include "accel/kvm/kvm.h"
#include "core/log.h"
#include "monitor/hmp.h"
#include "ui/console.h"
#include "ui/input.h"
#include "ui/vnc.h"
#include <string.h>

static void cmd_stop(Hmp *h, const HmpArgs *a)
{
    machine_stop(h->m, RUN_PAUSED);
}

static void cmd_cont(Hmp *h, const HmpArgs *a)
{
    if (h->m->state == RUN_SHUTDOWN || h->m->state == RUN_INTERNAL_ERROR) {
        hmp_printf(h, "Error: Resetting the Virtual Machine is required\n");
        return;
    }
    machine_start(h->m);
}

static void cmd_quit(Hmp *h, const HmpArgs *a)
{
    machine_request_shutdown(h->m, SHUTDOWN_HOST_QUIT);
}

static void cmd_reset(Hmp *h, const HmpArgs *a)
{
    machine_request_reset(h->m, SHUTDOWN_HOST_QUIT);
}

static void cmd_powerdown(Hmp *h, const HmpArgs *a)
{
    machine_request_powerdown(h->m);
}

static void cmd_cpu(Hmp *h, const HmpArgs *a)
{
    uint64_t n = hmp_num(a, "index", 0);

    if (n >= h->m->n_vcpus) {
        hmp_printf(h, "Error: invalid CPU index\n");
    } else {
        *h->cpu = n;
    }
}

static void cmd_nmi(Hmp *h, const HmpArgs *a)
{
    if (h->m->nmi) {
        h->m->nmi(h->m);
        return;
    }
    for (unsigned i = 0; i < h->m->n_vcpus; i++) {
        vcpu_signal(h->m->vcpus[i], VCPU_NMI);
    }
}

static void cmd_accel(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;
    const char *name = hmp_text(a, "name");

    if (!name) {
        hmp_printf(h, "%s\n", h->m->accel ? h->m->accel->name : "none");
    } else if (!accel_switch(h->m, name, &err)) {
        hmp_error(h, err);
    }
}

static void cmd_log(Hmp *h, const HmpArgs *a)
{
    const char *items = hmp_text(a, "items");
    GError *err = NULL;
    uint32_t mask = 0;

    if (!items || !*items || (strcmp(items, "none") && !log_parse(items, &mask, &err))) {
        hmp_error(h, err ? err : g_error_new_literal(RHEA_ERROR, 0, "no log item was named"));
        return;
    }
    log_mask = (log_mask & LOG_TRACE) | mask;
}

static void cmd_logfile(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;

    if (!log_set_file(hmp_text(a, "filename"), &err)) {
        hmp_error(h, err);
    }
}

static void cmd_trace(Hmp *h, const HmpArgs *a)
{
    if (hmp_num(a, "option", 0)) {
        trace_enable(hmp_text(a, "name"));
        log_mask |= LOG_TRACE;
    } else if (!strcmp(hmp_text(a, "name"), "*")) {
        log_mask &= ~LOG_TRACE;
    } else {
        hmp_printf(h, "Error: single trace points cannot be turned off; use trace-event * off\n");
    }
}

static void cmd_gdbserver(Hmp *h, const HmpArgs *a)
{
    const MonitorHooks *hooks = monitor_hooks();
    const char *spec = hmp_text(a, "device");
    GError *err = NULL;

    if (!hooks->gdbserver) {
        hmp_printf(h, "Error: there is no gdb server here\n");
        return;
    }
    if (!hooks->gdbserver(h->m, spec ? spec : "tcp::1234", &err)) {
        hmp_error(h, err);
    } else if (!spec || strcmp(spec, "none")) {
        hmp_printf(h, "Waiting for gdb connection on device '%s'\n", spec ? spec : "tcp::1234");
    } else {
        hmp_printf(h, "Disabled gdbserver\n");
    }
}

static void cmd_sendkey(Hmp *h, const HmpArgs *a)
{
    uint64_t hold = MIN(hmp_num(a, "hold-time", 100), 60000);
    GError *err = NULL;

    if (!input_send_keys(h->m, hmp_text(a, "keys"), hold, &err)) {
        hmp_error(h, err);
    }
}

static void cmd_mouse_move(Hmp *h, const HmpArgs *a)
{
    int dx = (int)hmp_num(a, "dx", 0), dy = (int)hmp_num(a, "dy", 0);

    if (input_is_abs(h->m)) {
        input_abs(h->m, dx, dy);
    } else {
        input_rel(h->m, dx, dy);
    }
    if (hmp_has(a, "dz")) {
        input_wheel(h->m, (int)hmp_num(a, "dz", 0));
    }
    input_sync(h->m);
}

static void cmd_mouse_button(Hmp *h, const HmpArgs *a)
{
    static const uint8_t order[] = {BUTTON_LEFT, BUTTON_MIDDLE, BUTTON_RIGHT};
    uint64_t state = hmp_num(a, "state", 0);

    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        input_button(h->m, order[i], state >> i & 1);
    }
    input_sync(h->m);
}

static void cmd_mouse_set(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;

    if (!input_select(h->m, hmp_num(a, "index", 0), &err)) {
        hmp_error(h, err);
    }
}

static void cmd_screendump(Hmp *h, const HmpArgs *a)
{
    Console *c = console_get(h->m, hmp_num(a, "head", 0));
    GError *err = NULL;

    if (!c) {
        hmp_printf(h, "Error: there is no console to take a screendump of\n");
    } else if (!console_screendump(c, hmp_text(a, "filename"), &err)) {
        hmp_error(h, err);
    }
}

static void cmd_boot_set(Hmp *h, const HmpArgs *a)
{
    const MonitorHooks *hooks = monitor_hooks();
    GError *err = NULL;

    if (!hooks->boot_set) {
        hmp_printf(h, "Error: this machine cannot change its boot order while it runs\n");
    } else if (!hooks->boot_set(h->m, hmp_text(a, "bootdevice"), &err)) {
        hmp_error(h, err);
    } else {
        hmp_printf(h, "boot device list now set to %s\n", hmp_text(a, "bootdevice"));
    }
}

static void set_vnc_password(Hmp *h, const char *password)
{
    GError *err = NULL;

    if (!vnc_set_password(h->m, password, &err)) {
        hmp_error(h, err);
    }
}

static void cmd_change(Hmp *h, const HmpArgs *a)
{
    const char *password = hmp_text(a, "arg");

    if (strcmp(hmp_text(a, "device"), "vnc")) {
        hmp_change_medium(h, a);
    } else if (strcmp(hmp_text(a, "target"), "password")) {
        hmp_printf(h, "Error: only the password of VNC can be changed\n");
    } else if (!password) {
        hmp_printf(h, "Error: the new password is missing: change vnc password PASSWORD\n");
    } else {
        set_vnc_password(h, password);
    }
}

static void cmd_set_password(Hmp *h, const HmpArgs *a)
{
    if (strcmp(hmp_text(a, "protocol"), "vnc")) {
        hmp_printf(h, "Error: there is no protocol '%s'; use vnc\n", hmp_text(a, "protocol"));
    } else {
        set_vnc_password(h, hmp_text(a, "password"));
    }
}

/* Answered by the dispatcher. */
static void cmd_help(Hmp *h, const HmpArgs *a)
{
}

const HmpCommand hmp_control_commands[] = {
    {"help|?", "cmd:S?", "[cmd]", "show the help", cmd_help},
    {"info", NULL, "[subcommand]", "show various information about the system state", NULL,
     .sub = hmp_info_commands},
    {"stop|s", "", NULL, "stop emulation", cmd_stop},
    {"cont|c", "", NULL, "resume emulation", cmd_cont},
    {"quit|q", "", NULL, "quit the emulator", cmd_quit},
    {"system_reset", "", NULL, "reset the system", cmd_reset},
    {"system_powerdown", "", NULL, "send system power down event", cmd_powerdown},
    {"cpu", "index:i", "index", "set the default CPU", cmd_cpu},
    {"nmi", "index:i?", NULL, "inject an NMI", cmd_nmi},
    {"accel", "name:s?", "[jit|kvm]",
     "run the machine by another accelerator from now on, or tell which it is", cmd_accel},
    {"log", "items:s", "item1[,...]", "activate logging of the specified items", cmd_log},
    {"logfile", "filename:s", "filename", "output logs to 'filename'", cmd_logfile},
    {"trace-event", "name:s,option:b", "name on|off", "change the status of trace points",
     cmd_trace},
    {"gdbserver", "device:s?", "[device]",
     "start gdbserver on given device (default 'tcp::1234'), stop with 'none'", cmd_gdbserver},
    {"sendkey", "keys:s,hold-time:i?", "keys [hold_ms]",
     "send keys to the VM (e.g. 'sendkey ctrl-alt-f1', default hold time=100 ms)", cmd_sendkey,
     .complete = input_key_name_at},
    {"mouse_move", "dx:i,dy:i,dz:i?", "dx dy [dz]", "send mouse move events", cmd_mouse_move},
    {"mouse_button", "state:i", "state", "change mouse button state (1=L, 2=M, 4=R)",
     cmd_mouse_button},
    {"mouse_set", "index:i", "index", "set which mouse device receives events", cmd_mouse_set},
    {"screendump", "filename:s,head:i?", "filename [head]", "save screen into PPM image",
     cmd_screendump},
    {"change", "device:s,force:-f,target:s,arg:s?,read-only-mode:s?",
     "device [-f] filename [format [read-only-mode]]",
     "change a removable medium, or the VNC password: change vnc password PASSWORD", cmd_change},
    {"set_password", "protocol:s,password:s", "protocol password", "set vnc password",
     cmd_set_password},
    {"boot_set", "bootdevice:s", "bootdevice", "define new values for the boot device list",
     cmd_boot_set},
    {NULL},
};
