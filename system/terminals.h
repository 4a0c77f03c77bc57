/*
 * Which back end each serial port, monitor and debugger is on: -chardev, -serial, -parallel,
 * -debugcon, -monitor, -mon, -qmp, and the defaults of -nographic.
 */
#ifndef RHEA_SYSTEM_TERMINALS_H
#define RHEA_SYSTEM_TERMINALS_H

#include "system/sysconfig.h"
#include <glib.h>
#include <stdbool.h>

/* `-chardev help` and the like: printed, true. */
bool terminals_show_help(const SystemConfig *c);
/* Open all back ends and put the ports' ones into c->m. Before the machine is built. */
bool terminals_open(SystemConfig *c, GError **err);
/* Attach monitors. After the machine is built. */
bool terminals_attach(Machine *m, SystemConfig *c, GError **err);

#endif
