/*
 * -device and -global.
 */
#ifndef RHEA_SYSTEM_DEVICES_H
#define RHEA_SYSTEM_DEVICES_H

#include "core/machine.h"
#include "system/sysconfig.h"
#include <glib.h>
#include <stdbool.h>

/* `-device help`, `-device NAME,help`: printed, true. */
bool devices_show_help(const SystemConfig *c);
/* Create what -device asks for, on the bus it names or the first one of its kind. */
bool devices_create(Machine *m, const SystemConfig *c, GError **err);
/* One device from "NAME,prop=value,…"; also for the monitor. Machine lock. */
bool device_create_from_text(Machine *m, const char *text, GError **err);
/* -global, before any device is made. */
bool devices_add_globals(Machine *m, const SystemConfig *c, GError **err);

#endif
