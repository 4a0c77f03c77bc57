/*
 * GDB remote serial protocol over a character back end.
 */
#ifndef RHEA_SYSTEM_GDBSTUB_H
#define RHEA_SYSTEM_GDBSTUB_H

#include "core/machine.h"
#include <glib.h>
#include <stdbool.h>

/* Serve gdb on @spec ("tcp::1234", "unix:/path", "stdio", "pty", "chardev:ID"); sockets listen
 * and do not wait. "none" ends the service. Replaces an earlier one. */
bool gdbstub_start(Machine *m, const char *spec, GError **err);
/* Before chardev_cleanup() and machine_free(). */
void gdbstub_cleanup(void);

#endif
