/*
 * "isa-debug-exit": a guest program ends the emulator by writing to a port; the exit status is
 * (value << 1) | 1. For test programs.
 */
#ifndef RHEA_HW_ISA_DEBUG_EXIT_H
#define RHEA_HW_ISA_DEBUG_EXIT_H

#include "core/device.h"

extern const DeviceType isa_debug_exit_type;

#endif
