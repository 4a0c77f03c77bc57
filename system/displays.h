/*
 * Which displays show the machine: -display, -vnc, -sdl, -full-screen, -k and the default.
 */
#ifndef RHEA_SYSTEM_DISPLAYS_H
#define RHEA_SYSTEM_DISPLAYS_H

#include "system/sysconfig.h"
#include <glib.h>
#include <stdbool.h>

/* `-display help`: printed, true. */
bool displays_show_help(const SystemConfig *c);
/* After the machine is built. */
bool displays_open(Machine *m, const SystemConfig *c, GError **err);
/* Before machine_free(). */
void displays_close(Machine *m);

#endif
