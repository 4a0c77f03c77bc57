/*
 * What boards and interrupt controllers ask of an AArch64 CPU, and what it asks of them. The
 * functions are implemented in target/arm64.
 */
#ifndef RHEA_CORE_ARM64_BOARD_H
#define RHEA_CORE_ARM64_BOARD_H

#include "core/irq.h"
#include "core/vcpu.h"
#include <stdbool.h>
#include <stdint.h>

/* Outputs of the generic timer and the PMU. */
enum {
    ARM64_TIMER_PHYS,    /* CNTP, non-secure EL1 */
    ARM64_TIMER_VIRT,    /* CNTV */
    ARM64_TIMER_HYP,     /* CNTHP */
    ARM64_TIMER_SEC,     /* CNTPS, secure EL1 */
    ARM64_TIMER_HYPVIRT, /* CNTHV */
    ARM64_TIMERS,
};

/* Inputs: levels. */
enum { ARM64_IRQ, ARM64_FIQ, ARM64_VIRQ, ARM64_VFIQ };

/* System register interface of a GICv3 (ICC_*, ICV_*, ICH_*). @reg is op0 << 14 | op1 << 11 |
 * CRn << 7 | CRm << 3 | op2. vCPU thread, machine lock not held. false: no such register. */
typedef struct Arm64Gic {
    bool (*read)(void *opaque, uint32_t reg, uint64_t *val);
    bool (*write)(void *opaque, uint32_t reg, uint64_t val);
} Arm64Gic;

/* Set up by the board before the machine runs. */
void arm64_set_gic(VCpu *cpu, const Arm64Gic *gic, void *opaque);
/* Driven under the machine lock from the main thread or the vCPU's thread. */
void arm64_set_timer_irq(VCpu *cpu, unsigned timer, Irq irq);
/* Any thread. */
void arm64_set_irq(VCpu *cpu, unsigned line, int level);
/* Affinity value of MPIDR_EL1 (Aff3 at bits 39:32). */
uint64_t arm64_mpidr(VCpu *cpu);
/* Which levels the CPU has; -M virt,secure=, virtualization=. Before reset. */
void arm64_set_levels(VCpu *cpu, bool el2, bool el3);

/* Power State Coordination Interface (DEN 0022) answered by the CPU for `hvc` or `smc`. */
typedef enum { ARM64_PSCI_NONE, ARM64_PSCI_HVC, ARM64_PSCI_SMC } Arm64Psci;
void arm64_set_psci(VCpu *cpu, Arm64Psci conduit);
/* State after each reset: where it starts, x0, whether it is powered on. @el: 0 = the highest that
 * it has. */
void arm64_set_start(VCpu *cpu, uint64_t pc, uint64_t x0, unsigned el, bool on);
/* "arm,cortex-a53" for the device tree. */
const char *arm64_compatible(VCpu *cpu);

#endif
