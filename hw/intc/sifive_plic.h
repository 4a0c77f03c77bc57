/*
 * SiFive's platform-level interrupt controller: RISC-V PLIC specification 1.0.0. Sources
 * 1…PLIC_SOURCES-1, two contexts a hart (machine, supervisor).
 */
#ifndef RHEA_HW_INTC_SIFIVE_PLIC_H
#define RHEA_HW_INTC_SIFIVE_PLIC_H

#include "core/irq.h"
#include "core/machine.h"

#define PLIC_SOURCES 96 /* with source 0, which does not exist */
#define PLIC_SIZE 0x600000
#define PLIC_MAX_CONTEXTS 128

typedef struct Plic Plic;

/* Contexts 2n and 2n+1 drive the MEIP and SEIP pins of @m->vcpus[n]. */
Plic *plic_new(Machine *m, MemRegion *parent, uint64_t base, GError **err);
/* Input line of source @n (1…95); level. */
Irq plic_irq(Plic *s, unsigned n);

#endif
