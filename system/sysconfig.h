/*
 * The command line, parsed. Filled in by cmdline.c, read by main.c.
 */
#ifndef RHEA_SYSTEM_SYSCONFIG_H
#define RHEA_SYSTEM_SYSCONFIG_H

#include "core/machine.h"
#include <glib.h>
#include <stdbool.h>

typedef struct SystemConfig {
    const char *program; /* argv[0] without its folder */
    char *machine;       /* type name */
    char *arch;          /* -arch: target name */
    GPtrArray *accels;   /* char*: "jit", "kvm,opt=…", in order of preference */
    MachineConfig m;
    GPtrArray *serials, *parallels, *monitors, *qmps, *chardevs, *mons, *devices, *debugcons,
        *globals, *traces, *vncs, *usbdevices,
        *nets; /* char*, as typed; nets: "net SPEC", "netdev SPEC", "nic SPEC" */
    bool nodefaults, paused, daemonize, no_reboot, no_shutdown, enable_kvm, gdb_default,
        full_screen, msg_timestamp, msg_guest_name, mem_lock, mem_lock_on_fault;
    char *pidfile, *runas, *gdb, *log_items, *log_file, *display, *vga, *firmware_dir, *loadvm,
        *keyboard, *process_name;
} SystemConfig;

typedef enum { CMDLINE_RUN, CMDLINE_EXIT, CMDLINE_ERROR } CmdlineResult;

void config_init(SystemConfig *c);
void config_free(SystemConfig *c);
/* CMDLINE_EXIT: help or version was printed. CMDLINE_ERROR: @err has the sentence. */
CmdlineResult cmdline_parse(SystemConfig *c, int argc, char **argv, GError **err);

#endif
