/* The translating accelerator, as main and the monitor see it. */
#ifndef RHEA_ACCEL_JIT_JIT_H
#define RHEA_ACCEL_JIT_JIT_H

#include "core/memory.h"
#include "core/vcpu.h"

extern const Accelerator jit_accel;

/* ---- for accel/kvm, which lets the jit run what the kernel cannot ---- */

/* Run @cpu translated, beginning with the delivery of an exception that is pending in its state,
 * until @done (asked before each block, and after events were taken) says true or the outer loop
 * has to act. @single: each block is one instruction and nothing translated is kept. vCPU thread,
 * machine lock not held. Returns the number of blocks. */
uint64_t jit_run_until(VCpu *cpu, bool (*done)(VCpu *cpu, void *arg), void *arg, bool single);
/* Memory, and with it code and page tables, changed behind the jit's back: forget translations of
 * addresses, and with @code translated blocks. vCPU thread or stopped. */
void jit_forget(VCpu *cpu, bool code);
/* The jit's own hooks. */
const MemAccelHooks *jit_mem_hooks_of(Machine *m);
/* Text of `-accel jit,help`. Caller frees. */
char *jit_options_help(void);

#endif
