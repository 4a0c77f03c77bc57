/*
 * What a RISC-V board asks of its harts beyond core/intc.h: interrupt pins, start state, and what
 * the device tree says of a CPU. Implemented in target/riscv.
 */
#ifndef RHEA_CORE_RISCV_HART_H
#define RHEA_CORE_RISCV_HART_H

#include "core/vcpu.h"
#include <stdbool.h>
#include <stdint.h>

/* Interrupt pins of a hart: bit numbers of mip. */
enum { RISCV_IRQ_MSIP = 3, RISCV_IRQ_MTIP = 7, RISCV_IRQ_SEIP = 9, RISCV_IRQ_MEIP = 11 };

#define RISCV_TIMEBASE 10000000u /* Hz of the time CSR and of mtime */

/* Drive a pin. Any thread. */
void riscv_set_irq(VCpu *cpu, unsigned pin, int level);
/* Where the time CSR comes from. NULL: virtual time in ticks of RISCV_TIMEBASE. Any thread. */
void riscv_set_time(VCpu *cpu, uint64_t (*time)(void *opaque), void *opaque);
/* The source of time was written: timers of the hart are computed anew. Machine lock. */
void riscv_time_changed(VCpu *cpu);
/* Where the hart starts after reset (default 1000h), and its registers a0, a1. */
void riscv_set_start(VCpu *cpu, uint64_t pc);
/* For a device tree; the text lives as long as the vCPU. */
const char *riscv_isa(VCpu *cpu);      /* "rv64imafdc_zicsr…" */
const char *riscv_mmu_type(VCpu *cpu); /* "riscv,sv57", NULL: no MMU */
bool riscv_is_32(VCpu *cpu);
unsigned riscv_cbo_block(VCpu *cpu); /* bytes, 0: no cache block operations */

#endif
