/* All machine types that are linked in; NULL-terminated, the first is the default. */
#ifndef RHEA_HW_MACHINE_MACHINES_H
#define RHEA_HW_MACHINE_MACHINES_H

#include "core/machine.h"

extern const MachineType *const machine_types[];

#endif
