/*
 * -netdev, -net and -nic, and the card that a machine has when nothing is said.
 */
#ifndef RHEA_SYSTEM_NETWORK_H
#define RHEA_SYSTEM_NETWORK_H

#include "core/machine.h"
#include "system/sysconfig.h"
#include <glib.h>
#include <stdbool.h>

/* `-netdev help`, `-nic model=help`, `-net nic,model=help`: printed, true. */
bool network_show_help(const SystemConfig *c);
/* Back ends in the order given, and the cards of -net nic and -nic. Before devices_create(). */
bool network_create(Machine *m, const SystemConfig *c, GError **err);
/* Warns about back ends that nothing uses. After devices_create(). */
bool network_check(Machine *m, const SystemConfig *c, GError **err);
/* Ends all back ends; the cards stay. Before machine_free(). */
void network_cleanup(Machine *m);

#endif
