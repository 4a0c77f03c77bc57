/* Options of the command line that need more than a table entry; see cmdline.c. */
#ifndef RHEA_SYSTEM_OPTS_H
#define RHEA_SYSTEM_OPTS_H

#include "system/sysconfig.h"

/* Parse the option's argument into @c; false and one sentence when it is malformed or asks for
 * what this program cannot do. */
bool opt_boot(SystemConfig *c, const char *arg, GError **err);
bool opt_msg(SystemConfig *c, const char *arg, GError **err);
bool opt_overcommit(SystemConfig *c, const char *arg, GError **err);
bool opt_action(SystemConfig *c, const char *arg, GError **err);
/* What -msg, -overcommit and -name process= ask of the process: the first before the machine is
 * built, the second when its memory is there. */
void opts_apply_early(const SystemConfig *c);
bool opts_apply_late(const SystemConfig *c, const Machine *m, GError **err);

#endif
