/*
 * Machine `pc`: i440FX host bridge, PIIX3 south bridge, and the chips of a PC of the late nineties
 * with ACPI and local APICs.
 */
#ifndef RHEA_HW_MACHINE_PC_H
#define RHEA_HW_MACHINE_PC_H

#include "core/machine.h"

extern const MachineType pc_machine;

#endif
