/*
 * The command line: one table of options in the spelling that users know, old ones included.
 */
#include "block/drive.h"
#include "config.h"
#include "core/log.h"
#include "core/option.h"
#include "system/opts.h"
#include "system/sysconfig.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { FLAG, TEXT, LIST, CALL, IGNORE } OptionKind;

typedef struct CmdOption {
    const char *name;
    const char *arg; /* how the argument is shown; NULL: takes none */
    OptionKind kind;
    size_t off; /* FLAG: bool, TEXT: char *, LIST: GPtrArray *, in SystemConfig */
    bool (*fn)(SystemConfig *c, const char *arg, GError **err);
    const char *help; /* NULL: old spelling, not listed */
} CmdOption;

#define OFF(f) offsetof(SystemConfig, f)

static void set_text(char **where, const char *text)
{
    g_free(*where);
    *where = g_strdup(text);
}

static void add_text(GPtrArray *list, const char *text)
{
    g_ptr_array_add(list, g_strdup(text));
}

/* ---- machine, CPU, memory ---- */

static void keep_option(const char *key, const char *value, void *arg)
{
    options_set(arg, key, value);
}

/* Properties whose one possible value may be named. */
static bool machine_fixed(Options *o, GError **err)
{
    static const struct {
        const char *name, *values, *why;
    } fixed[] = {
        {"vmport", "off auto", "there is no VMware port"},
        {"smm", "off auto", "system management mode is not in this version"},
        {"dump-guest-core", "on", "guest memory cannot be kept out of core dumps"},
        {"mem-merge", "on off", ""}, /* a hint to the host, which cannot merge shared memory */
        {"kernel_irqchip", "on off split", ""}, /* of KVM; translation has no such choice */
        {"kernel-irqchip", "on off split", ""},
        {"pcspk-audiodev", "none", "there is no sound output"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(fixed); i++) {
        const char *v = options_get(o, fixed[i].name);
        g_auto(GStrv) allowed = g_strsplit(fixed[i].values, " ", -1);
        if (v && !g_strv_contains((const char *const *)allowed, v)) {
            return fail(err, "-machine: %s=%s is not possible%s%s; use %s", fixed[i].name, v,
                        *fixed[i].why ? ": " : "", fixed[i].why, fixed[i].values);
        }
    }
    return true;
}

/* Keys of several -machine add up. What is not read here is the board's. */
static bool opt_machine(SystemConfig *c, const char *arg, GError **err)
{
    Options *given = options_parse("-machine", arg, "type", err);
    if (!given) {
        return false;
    }
    if (!c->m.machine_opts) {
        c->m.machine_opts = options_new("-machine");
    }
    Options *o = c->m.machine_opts;
    options_foreach(given, keep_option, o);
    options_free(given);
    bool ok = true, flag;
    if (options_get(o, "type")) {
        set_text(&c->machine, options_get(o, "type"));
    }
    if (options_get(o, "accel")) {
        g_auto(GStrv) names = g_strsplit(options_get(o, "accel"), ":", -1);
        g_ptr_array_set_size(c->accels, 0);
        for (char **n = names; *n; n++) {
            add_text(c->accels, *n);
        }
    }
    flag = !c->m.no_hpet;
    ok = options_get_bool(o, "hpet", &flag, err);
    c->m.no_hpet = !flag;
    flag = !c->m.no_acpi;
    ok = ok && options_get_bool(o, "acpi", &flag, err);
    c->m.no_acpi = !flag;
    flag = !c->m.nographic;
    ok = ok && options_get_bool(o, "graphics", &flag, err);
    return ok && options_get_bool(o, "usb", &c->m.usb, err) && machine_fixed(o, err);
}

static bool opt_accel(SystemConfig *c, const char *arg, GError **err)
{
    add_text(c->accels, arg);
    return true;
}

static bool opt_memory(SystemConfig *c, const char *arg, GError **err)
{
    Options *o = options_parse("-m", arg, "size", err);
    bool ok = o && options_get_size(o, "size", 1 << 20, &c->m.ram_size, err);
    if (ok && (options_has(o, "slots") || options_has(o, "maxmem"))) {
        warn_report("-m: memory hot-plug (slots, maxmem) is not supported and ignored");
        options_mark_used(o, "slots");
        options_mark_used(o, "maxmem");
    }
    ok = ok && options_check_used(o, err);
    options_free(o);
    if (ok && (c->m.ram_size < 1 << 20 || c->m.ram_size > 1ull << 40)) {
        return fail(err, "-m %s: guest memory must be between 1M and 1T", arg);
    }
    c->m.ram_size = (c->m.ram_size + 0xfff) & ~0xfffull;
    return ok;
}

static bool opt_smp(SystemConfig *c, const char *arg, GError **err)
{
    uint64_t cpus = 0, sockets = 0, dies = 1, cores = 0, threads = 0, max = 0;
    Options *o = options_parse("-smp", arg, "cpus", err);
    bool ok = o && options_get_uint(o, "cpus", 1024, &cpus, err) &&
              options_get_uint(o, "sockets", 1024, &sockets, err) &&
              options_get_uint(o, "dies", 1024, &dies, err) &&
              options_get_uint(o, "cores", 1024, &cores, err) &&
              options_get_uint(o, "threads", 1024, &threads, err) &&
              options_get_uint(o, "maxcpus", 1024, &max, err) && options_check_used(o, err);
    options_free(o);
    if (!ok) {
        return false;
    }
    if (dies != 1) {
        return fail(err, "-smp %s: dies must be 1", arg);
    }
    threads = threads ? threads : 1;
    if (!cpus) {
        cpus = max ? max : (sockets ? sockets : 1) * (cores ? cores : 1) * threads;
    }
    if (max && max != cpus) {
        warn_report("-smp: CPU hot-plug (maxcpus) is not supported, all %u CPUs are there at once",
                    (unsigned)max);
        cpus = max;
    }
    if (!cores) {
        cores = sockets ? cpus / (sockets * threads) : 1;
        cores = cores ? cores : 1;
    }
    if (!sockets) {
        sockets = cpus / (cores * threads);
    }
    if (sockets * cores * threads != cpus) {
        return fail(err,
                    "-smp %s: %u CPUs are not sockets (%u) times cores (%u) times threads (%u)",
                    arg, (unsigned)cpus, (unsigned)sockets, (unsigned)cores, (unsigned)threads);
    }
    c->m.smp = cpus;
    c->m.sockets = sockets;
    c->m.cores = cores;
    c->m.threads = threads;
    return true;
}

static bool opt_rtc(SystemConfig *c, const char *arg, GError **err)
{
    Options *o = options_parse("-rtc", arg, "base", err);
    if (!o) {
        return false;
    }
    const char *base = options_get(o, "base"), *clock = options_get(o, "clock"),
               *drift = options_get(o, "driftfix");
    bool ok = true;
    if (base && strcmp(base, "utc") && strcmp(base, "localtime")) {
        g_autofree char *iso = strchr(base, 'T') ? g_strconcat(base, "Z", NULL)
                                                 : g_strconcat(base, "T00:00:00Z", NULL);
        g_autoptr(GDateTime) t = g_date_time_new_from_iso8601(iso, NULL);
        ok = t || fail(err,
                       "-rtc: base '%s' is neither utc, localtime nor a date such as "
                       "2026-11-20T08:30:00",
                       base);
    }
    if (ok && clock && strcmp(clock, "host") && strcmp(clock, "vm") && strcmp(clock, "rt")) {
        ok = fail(err, "-rtc: clock '%s' is neither host, vm nor rt", clock);
    }
    if (ok && drift && strcmp(drift, "none") && strcmp(drift, "slew")) {
        ok = fail(err, "-rtc: driftfix '%s' is neither none nor slew", drift);
    }
    ok = ok && options_check_used(o, err);
    if (ok) {
        c->m.rtc_base = base ? g_strdup(base) : c->m.rtc_base;
        c->m.rtc_clock = clock ? g_strdup(clock) : c->m.rtc_clock;
        c->m.rtc_slew = drift && !strcmp(drift, "slew");
    }
    options_free(o);
    return ok;
}

static bool opt_localtime(SystemConfig *c, const char *arg, GError **err)
{
    c->m.rtc_base = g_strdup("localtime");
    return true;
}

static bool opt_name(SystemConfig *c, const char *arg, GError **err)
{
    Options *o = options_parse("-name", arg, "guest", err);
    if (!o) {
        return false;
    }
    const char *guest = options_get(o, "guest"), *process = options_get(o, "process");
    bool threads; /* threads have names always */
    bool ok = options_get_bool(o, "debug-threads", &threads, err) && options_check_used(o, err);
    if (ok && process) {
        set_text(&c->process_name, process);
    }
    c->m.name = guest ? g_strdup(guest) : c->m.name;
    options_free(o);
    return ok;
}

static bool opt_uuid(SystemConfig *c, const char *arg, GError **err)
{
    if (!g_uuid_string_is_valid(arg)) {
        return fail(err,
                    "-uuid: '%s' is no UUID; it must look like "
                    "550e8400-e29b-41d4-a716-446655440000",
                    arg);
    }
    const char *p = arg;
    for (int i = 0; i < 16; i++, p += 2) {
        p += *p == '-';
        c->m.uuid[i] = g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]);
    }
    c->m.have_uuid = true;
    return true;
}

#define STRING_OPTION(fn, field)                                                                   \
    static bool fn(SystemConfig *c, const char *arg, GError **err)                                 \
    {                                                                                              \
        g_free((char *)c->m.field);                                                                \
        c->m.field = g_strdup(arg);                                                                \
        return true;                                                                               \
    }
STRING_OPTION(opt_cpu, cpu_model)
STRING_OPTION(opt_kernel, kernel)
STRING_OPTION(opt_initrd, initrd)
STRING_OPTION(opt_append, append)
STRING_OPTION(opt_dtb, dtb)
STRING_OPTION(opt_bios, bios)

/* ---- drives ---- */

static bool add_drive(SystemConfig *c, const char *file, int index, bool cdrom, bool floppy)
{
    int iface = floppy ? DRIVE_IF_FLOPPY : DRIVE_IF_IDE;
    DriveSpec *d = drive_new(file, iface, index, cdrom);
    d->if_given = floppy;
    g_ptr_array_add(c->m.drives, d);
    return true;
}

#define DRIVE_OPTION(fn, index, cdrom, floppy)                                                     \
    static bool fn(SystemConfig *c, const char *arg, GError **err)                                 \
    {                                                                                              \
        return add_drive(c, arg, index, cdrom, floppy);                                            \
    }
DRIVE_OPTION(opt_hda, 0, false, false)
DRIVE_OPTION(opt_hdb, 1, false, false)
DRIVE_OPTION(opt_hdc, 2, false, false)
DRIVE_OPTION(opt_hdd, 3, false, false)
DRIVE_OPTION(opt_cdrom, 2, true, false)
DRIVE_OPTION(opt_fda, 0, false, true)
DRIVE_OPTION(opt_fdb, 1, false, true)

static bool opt_drive(SystemConfig *c, const char *arg, GError **err)
{
    DriveSpec *d = drive_parse("-drive", arg, err);
    if (d) {
        g_ptr_array_add(c->m.drives, d);
    }
    return d;
}

static bool opt_blockdev(SystemConfig *c, const char *arg, GError **err)
{
    DriveSpec *d = drive_parse_node("-blockdev", arg, err);
    if (d) {
        g_ptr_array_add(c->m.drives, d);
    }
    return d;
}

static bool opt_snapshot(SystemConfig *c, const char *arg, GError **err)
{
    c->m.snapshot = true;
    return true;
}

/* ---- devices, consoles ---- */

static bool opt_nographic(SystemConfig *c, const char *arg, GError **err)
{
    c->m.nographic = true;
    return true;
}

static bool opt_sdl(SystemConfig *c, const char *arg, GError **err)
{
    set_text(&c->display, "sdl");
    return true;
}

static bool opt_vga(SystemConfig *c, const char *arg, GError **err)
{
    if (strcmp(arg, "std") && strcmp(arg, "none") && strcmp(arg, "cirrus")) {
        return fail(err, "-vga: there is no adapter '%s'; use cirrus, std or none", arg);
    }
    set_text(&c->vga, arg);
    return true;
}

#define NET_OPTION(fn, kind)                                                                       \
    static bool fn(SystemConfig *c, const char *arg, GError **err)                                 \
    {                                                                                              \
        g_ptr_array_add(c->nets, g_strconcat(kind " ", arg, NULL));                                \
        return true;                                                                               \
    }
NET_OPTION(opt_net, "net")
NET_OPTION(opt_netdev, "netdev")
NET_OPTION(opt_nic, "nic")

static bool opt_usbdevice(SystemConfig *c, const char *arg, GError **err)
{
    c->m.usb = true;
    add_text(c->usbdevices, arg);
    return true;
}

static bool opt_smbios(SystemConfig *c, const char *arg, GError **err)
{
    add_text(c->m.smbios, arg);
    return true;
}

static bool opt_fw_cfg(SystemConfig *c, const char *arg, GError **err)
{
    add_text(c->m.fw_cfg, arg);
    return true;
}

static bool opt_usb(SystemConfig *c, const char *arg, GError **err)
{
    c->m.usb = true;
    return true;
}

static bool opt_no_acpi(SystemConfig *c, const char *arg, GError **err)
{
    c->m.no_acpi = true;
    return true;
}

static bool opt_no_hpet(SystemConfig *c, const char *arg, GError **err)
{
    c->m.no_hpet = true;
    return true;
}

static bool opt_readconfig(SystemConfig *c, const char *arg, GError **err);
static bool opt_help(SystemConfig *c, const char *arg, GError **err);

static bool opt_version(SystemConfig *c, const char *arg, GError **err)
{
    puts("Rhea emulator version " RHEA_VERSION);
    exit(0);
}

static const CmdOption options[] = {
    {"help", NULL, CALL, 0, opt_help, "show this text"},
    {"h", NULL, CALL, 0, opt_help, NULL},
    {"version", NULL, CALL, 0, opt_version, "show the version"},
    {"machine", "TYPE[,accel=A[:B]][,PROP=V]", CALL, 0, opt_machine,
     "the machine; 'help' lists them"},
    {"M", "TYPE", CALL, 0, opt_machine, NULL},
    {"accel", "NAME[,OPT=V]", CALL, 0, opt_accel,
     "jit (or tcg), kvm; several: the first that works"},
    {"enable-kvm", NULL, FLAG, OFF(enable_kvm), NULL, "the same as -accel kvm"},
    {"arch", "NAME", TEXT, OFF(arch), NULL, "guest architecture; 'help' lists them"},
    {"cpu", "MODEL[,+FLAG][,-FLAG]", CALL, 0, opt_cpu, "CPU model; 'help' lists them"},
    {"smp", "N[,sockets=][,cores=][,threads=]", CALL, 0, opt_smp, "number of CPUs, up to 64"},
    {"m", "SIZE", CALL, 0, opt_memory, "guest memory, in MiB without a suffix (128)"},
    {"name", "NAME", CALL, 0, opt_name, "a name for the guest"},
    {"uuid", "UUID", CALL, 0, opt_uuid, "the machine's UUID"},
    {"hda", "FILE", CALL, 0, opt_hda, "first IDE disk; -hdb -hdc -hdd the others"},
    {"hdb", "FILE", CALL, 0, opt_hdb, NULL},
    {"hdc", "FILE", CALL, 0, opt_hdc, NULL},
    {"hdd", "FILE", CALL, 0, opt_hdd, NULL},
    {"cdrom", "FILE", CALL, 0, opt_cdrom, "CD image"},
    {"fda", "FILE", CALL, 0, opt_fda, "floppy image; -fdb the second"},
    {"fdb", "FILE", CALL, 0, opt_fdb, NULL},
    {"drive", "file=F,if=I,index=N,media=M,format=raw|qcow2", CALL, 0, opt_drive,
     "a drive; also cache= aio= discard= detect-zeroes= rerror= werror= readonly= bps= iops= …"},
    {"blockdev", "driver=D,node-name=ID,… or JSON", CALL, 0, opt_blockdev,
     "an image for -device …,drive=ID"},
    {"snapshot", NULL, CALL, 0, opt_snapshot, "write to temporary files instead of images"},
    {"boot", "[order=]acdn[,once=D][,menu=on]", CALL, 0, opt_boot,
     "boot devices in order; also splash=FILE,splash-time=MS,reboot-timeout=MS,strict=on"},
    {"kernel", "FILE", CALL, 0, opt_kernel, "boot this Linux, Multiboot or PVH kernel"},
    {"initrd", "FILE", CALL, 0, opt_initrd, "its initial ram disk (Multiboot: modules)"},
    {"append", "TEXT", CALL, 0, opt_append, "its command line"},
    {"dtb", "FILE", CALL, 0, opt_dtb, NULL},
    {"bios", "FILE", CALL, 0, opt_bios, "firmware image"},
    {"L", "DIR", TEXT, OFF(firmware_dir), NULL, "look for firmware here first"},
    {"rtc", "base=utc|localtime|DATE,clock=,driftfix=", CALL, 0, opt_rtc, "real-time clock"},
    {"localtime", NULL, CALL, 0, opt_localtime, NULL},
    {"no-acpi", NULL, CALL, 0, opt_no_acpi, "no ACPI tables"},
    {"no-hpet", NULL, CALL, 0, opt_no_hpet, "no HPET"},
    {"smbios", "type=N,FIELD=V", CALL, 0, opt_smbios, "SMBIOS fields"},
    {"fw_cfg", "name=N,string=S|file=F", CALL, 0, opt_fw_cfg, "a firmware configuration item"},
    {"device", "NAME[,PROP=V]", LIST, OFF(devices), NULL, "add a device; 'help' and 'NAME,help'"},
    {"global", "DRIVER.PROP=V", LIST, OFF(globals), NULL, "default of a device property"},
    {"nodefaults", NULL, FLAG, OFF(nodefaults), NULL, "no default devices"},
    {"no-user-config", NULL, IGNORE, 0, NULL, NULL},
    {"vga", "cirrus|std|none", CALL, 0, opt_vga, "graphics adapter"},
    {"display", "sdl|vnc=SPEC|none", TEXT, OFF(display), NULL, "the display; 'help' lists all"},
    {"nographic", NULL, CALL, 0, opt_nographic,
     "no display; serial port and monitor on the terminal"},
    {"vnc", "[HOST]:N|unix:PATH[,password=on]", LIST, OFF(vncs), NULL, "a VNC server"},
    {"sdl", NULL, CALL, 0, opt_sdl, NULL},
    {"full-screen", NULL, FLAG, OFF(full_screen), NULL,
     "start with the window over all the screen"},
    {"k", "LAYOUT", TEXT, OFF(keyboard), NULL, "keyboard of VNC clients: de, fr, en-gb …"},
    {"usb", NULL, CALL, 0, opt_usb, "fit the board's USB host controller"},
    {"usbdevice", "NAME", CALL, 0, opt_usbdevice,
     "USB device: tablet, mouse, keyboard, hub, disk:FILE, serial:DEV"},
    {"net", "SPEC", CALL, 0, opt_net, NULL},
    {"nic", "SPEC", CALL, 0, opt_nic,
     "network card and back end: user[,model=M][,mac=A][,hostfwd=…], tap,…, none"},
    {"netdev", "SPEC", CALL, 0, opt_netdev,
     "network back end: user,id=ID[,hostfwd=…][,tftp=DIR], tap,id=ID[,ifname=N]"},
    {"chardev", "BACKEND,id=ID[,OPT=V]", LIST, OFF(chardevs), NULL, "a character back end"},
    {"serial", "DEV", LIST, OFF(serials), NULL,
     "serial port: stdio, pty, file:F, unix:P, tcp:…, mon:DEV"},
    {"parallel", "DEV", LIST, OFF(parallels), NULL, "parallel port"},
    {"debugcon", "DEV", LIST, OFF(debugcons), NULL, "debug console at port 0xe9"},
    {"monitor", "DEV", LIST, OFF(monitors), NULL, "the monitor's terminal"},
    {"qmp", "DEV", LIST, OFF(qmps), NULL, "a QMP server"},
    {"mon", "chardev=ID[,mode=readline|control]", LIST, OFF(mons), NULL, "a monitor on a chardev"},
    {"gdb", "DEV", TEXT, OFF(gdb), NULL, "wait for gdb: tcp::1234"},
    {"s", NULL, FLAG, OFF(gdb_default), NULL, "the same as -gdb tcp::1234"},
    {"S", NULL, FLAG, OFF(paused), NULL, "do not start the CPUs"},
    {"d", "ITEM[,…]", TEXT, OFF(log_items), NULL, "log; 'help' lists the items"},
    {"D", "FILE", TEXT, OFF(log_file), NULL, "log to FILE"},
    {"trace", "PATTERN", LIST, OFF(traces), NULL, "enable trace points"},
    {"no-reboot", NULL, FLAG, OFF(no_reboot), NULL, "exit instead of rebooting"},
    {"no-shutdown", NULL, FLAG, OFF(no_shutdown), NULL, "stop instead of exiting at power-off"},
    {"action", "reboot=reset|shutdown,shutdown=poweroff|pause", CALL, 0, opt_action,
     "what to do at reboot and power-off"},
    {"daemonize", NULL, FLAG, OFF(daemonize), NULL, "go to the background when ready"},
    {"loadvm", "TAG", TEXT, OFF(loadvm), NULL, "start from a snapshot made by savevm"},
    {"pidfile", "FILE", TEXT, OFF(pidfile), NULL, "write the process id here"},
    {"runas", "USER", TEXT, OFF(runas), NULL, "change to this user when everything is open"},
    {"readconfig", "FILE", CALL, 0, opt_readconfig, "read options from a file"},
    {"overcommit", "mem-lock=on|off|on-fault", CALL, 0, opt_overcommit,
     "keep the program's memory from being swapped out"},
    {"msg", "timestamp=on,guest-name=on", CALL, 0, opt_msg, "what stands before messages"},
};

static bool opt_help(SystemConfig *c, const char *arg, GError **err)
{
    printf("usage: %s [OPTION]… [DISK-IMAGE]\n\n", c->program);
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        const CmdOption *o = &options[i];
        if (o->help) {
            g_autofree char *left = g_strdup_printf("-%s %s", o->name, o->arg ? o->arg : "");
            printf(strlen(left) > 37 ? "  %s\n  %-38s%s\n" : "  %-38s%s\n", left,
                   strlen(left) > 37 ? "" : o->help, o->help);
        }
    }
    puts("\nWith -nographic: Ctrl-A H helps, Ctrl-A X quits, Ctrl-A C is the monitor.");
    exit(0);
}

static const CmdOption *find_option(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        if (!strcmp(options[i].name, name)) {
            return &options[i];
        }
    }
    return NULL;
}

static bool apply(SystemConfig *c, const CmdOption *o, const char *arg, GError **err)
{
    char *base = (char *)c + o->off;
    switch (o->kind) {
    case FLAG:
        *(bool *)base = true;
        return true;
    case TEXT:
        set_text((char **)base, arg);
        return true;
    case LIST:
        add_text(*(GPtrArray **)base, arg);
        return true;
    case CALL:
        return o->fn(c, arg, err);
    case IGNORE:
        return true;
    }
    return true;
}

/* [group "id"] sections with key = "value" lines, as -writeconfig made them. */
static bool opt_readconfig(SystemConfig *c, const char *arg, GError **err)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) why = NULL;
    if (!g_file_get_contents(arg, &text, NULL, &why)) {
        return fail(err, "-readconfig: %s", why->message);
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *group = NULL;
    g_autoptr(GString) spec = g_string_new(NULL);
    bool ok = true;
    for (int i = 0; ok; i++) {
        char *line = lines[i] ? g_strstrip(lines[i]) : NULL;
        char name[64], id[64], value[1024];
        if (line && (!*line || *line == '#')) {
            continue;
        }
        if (!line || *line == '[') {
            if (group) {
                const CmdOption *o = find_option(group);
                ok = o && o->arg ? apply(c, o, spec->str, err)
                                 : fail(err, "-readconfig %s: there is no group [%s]", arg, group);
            }
            if (!line || !ok) {
                break;
            }
            g_string_truncate(spec, 0);
            g_free(group);
            group = NULL;
            if (sscanf(line, "[%63[a-z-] \"%63[^\"]\"]", name, id) == 2) {
                g_string_printf(spec, "id=%s", id);
            } else if (sscanf(line, "[%63[a-z-]]", name) != 1) {
                return fail(err, "%s line %d: '%s' is no section", arg, i + 1, line);
            }
            group = g_strdup(name);
        } else if (group && sscanf(line, "%63[a-zA-Z0-9_.-] = \"%1023[^\"]\"", name, value) == 2) {
            g_auto(GStrv) parts = g_strsplit(value, ",", -1);
            g_autofree char *escaped = g_strjoinv(",,", parts);
            g_string_append_printf(spec, "%s%s=%s", spec->len ? "," : "", name, escaped);
        } else {
            return fail(err, "%s line %d: expected NAME = \"VALUE\"", arg, i + 1);
        }
    }
    return ok;
}

void config_init(SystemConfig *c)
{
    GPtrArray **lists[] = {&c->accels,    &c->serials,  &c->parallels, &c->monitors,
                           &c->qmps,      &c->chardevs, &c->mons,      &c->devices,
                           &c->debugcons, &c->globals,  &c->traces,    &c->m.smbios,
                           &c->m.fw_cfg,  &c->vncs,     &c->nets,      &c->usbdevices};
    memset(c, 0, sizeof *c);
    for (unsigned i = 0; i < G_N_ELEMENTS(lists); i++) {
        *lists[i] = g_ptr_array_new_with_free_func(g_free);
    }
    c->m.drives = g_ptr_array_new_with_free_func((GDestroyNotify)drive_free);
    c->m.smp = c->m.sockets = c->m.cores = c->m.threads = 1;
    c->m.boot_retry = -1;
}

void config_free(SystemConfig *c)
{
    GPtrArray *lists[] = {c->accels,   c->serials,   c->parallels, c->monitors,  c->qmps,
                          c->chardevs, c->mons,      c->devices,   c->debugcons, c->globals,
                          c->traces,   c->m.smbios,  c->m.fw_cfg,  c->m.drives,  c->vncs,
                          c->nets,     c->usbdevices};
    for (unsigned i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_ptr_array_free(lists[i], true);
    }
    options_free(c->m.machine_opts);
    char *texts[] = {c->machine,   c->arch,     c->pidfile,     c->runas, c->gdb,
                     c->log_items, c->log_file, c->display,     c->vga,   c->firmware_dir,
                     c->loadvm,    c->keyboard, c->process_name};
    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_free(texts[i]);
    }
    const char *const given[] = {c->m.cpu_model, c->m.kernel, c->m.initrd,
                                 c->m.append,    c->m.dtb,    c->m.bios};
    for (unsigned i = 0; i < G_N_ELEMENTS(given); i++) {
        g_free((char *)given[i]);
    }
}

CmdlineResult cmdline_parse(SystemConfig *c, int argc, char **argv, GError **err)
{
    const char *slash = strrchr(argv[0], '/');
    c->program = slash ? slash + 1 : argv[0];
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *arg = NULL;
        if (*word != '-' || !word[1]) {
            add_drive(c, word, 0, false, false);
            continue;
        }
        word += word[1] == '-' ? 2 : 1;
        const CmdOption *o = find_option(word);
        if (!o) {
            fail(err, "there is no option '%s'; -help lists all", argv[i]);
            return CMDLINE_ERROR;
        }
        if (o->arg && !(arg = argv[++i])) {
            fail(err, "option '-%s' needs an argument: %s", o->name, o->arg);
            return CMDLINE_ERROR;
        }
        if (!apply(c, o, arg, err)) {
            return CMDLINE_ERROR;
        }
    }
    return CMDLINE_RUN;
}
