/* Disassembly for the monitor and -d in_asm. */
#ifndef RHEA_CORE_DISAS_H
#define RHEA_CORE_DISAS_H

#include "core/vcpu.h"
#include <glib.h>

/* @count instructions from @addr, physical or virtual of @cpu, appended to @out. */
void disas(VCpu *cpu, uint64_t addr, bool physical, unsigned count, GString *out);
/* The same for @len bytes that stand at @addr, of the kind of code that @cpu runs now; as bytes in
 * hex if there is no disassembler. vCPU thread, or the vCPU stopped. */
void disas_bytes(VCpu *cpu, uint64_t addr, const uint8_t *buf, size_t len, GString *out);

#endif
