/* The Arm machine "virt". */
#ifndef RHEA_HW_MACHINE_VIRT_ARM_H
#define RHEA_HW_MACHINE_VIRT_ARM_H

#include "core/machine.h"

extern const MachineType virt_arm_machine;

#endif
