/*
 * Machine `virt` of RISC-V: the addresses and interrupt numbers that OpenSBI, U-Boot, EDK2 and
 * Linux distributions know, described to them by a device tree.
 */
#ifndef RHEA_HW_MACHINE_VIRT_RISCV_H
#define RHEA_HW_MACHINE_VIRT_RISCV_H

#include "core/machine.h"

extern const MachineType virt_riscv_machine;

#endif
