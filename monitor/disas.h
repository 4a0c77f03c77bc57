/* Disassembly for the monitor. */
#ifndef RHEA_MONITOR_DISAS_H
#define RHEA_MONITOR_DISAS_H

#include "core/vcpu.h"
#include <glib.h>

/* @count instructions from @addr, physical or virtual of @cpu, appended to @out. */
void disas(VCpu *cpu, uint64_t addr, bool physical, unsigned count, GString *out);

#endif
