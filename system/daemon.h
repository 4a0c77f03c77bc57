/*
 * Process housekeeping: -daemonize, -pidfile, -runas.
 */
#ifndef RHEA_SYSTEM_DAEMON_H
#define RHEA_SYSTEM_DAEMON_H

#include "system/sysconfig.h"
#include <glib.h>
#include <stdbool.h>

/* -daemonize: fork; the parent stays until daemon_ready() or the child's death and exits with its
 * status, so that errors still reach the terminal and whoever waits finds everything open. Call
 * before any thread exists. */
bool daemon_fork(const SystemConfig *c, GError **err);
/* Everything is open: write the pid file, change user, release the parent, close the terminal. */
bool daemon_ready(const SystemConfig *c, GError **err);
/* At exit: remove the pid file that daemon_ready() wrote. */
void daemon_cleanup(const SystemConfig *c);

#endif
