/*
 * RISC-V Advanced Core Local Interruptor, 1.0-rc4, laid out as SiFive's CLINT: software interrupts
 * (MSWI) at 0, timer compare registers (MTIMECMP) at 4000h, MTIME at BFF8h. Optionally the device
 * for supervisor software interrupts (SSWI).
 */
#ifndef RHEA_HW_INTC_ACLINT_H
#define RHEA_HW_INTC_ACLINT_H

#include "core/machine.h"

#define ACLINT_SIZE 0x10000
#define ACLINT_MAX_HARTS 64

typedef struct Aclint Aclint;

/* For @m->vcpus, whose time CSR becomes MTIME. */
Aclint *aclint_new(Machine *m, MemRegion *parent, uint64_t base, GError **err);

#endif
