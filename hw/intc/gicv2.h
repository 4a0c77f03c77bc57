/* Arm Generic Interrupt Controller, architecture version 2. */
#ifndef RHEA_HW_INTC_GICV2_H
#define RHEA_HW_INTC_GICV2_H

#include "core/irq.h"
#include "core/machine.h"

enum { GICV2_CPUS = 8, GICV2_MAX_IRQS = 1020 };

typedef struct GicV2 GicV2;
typedef struct GicV2Config {
    uint64_t dist, cpu;      /* bases of the distributor (4 KiB) and the CPU interface (8 KiB) */
    unsigned n_cpus, n_irqs; /* n_irqs: with SGIs and PPIs, a multiple of 32 */
    Irq irq[GICV2_CPUS], fiq[GICV2_CPUS];
} GicV2Config;

/* On @parent; belongs to the machine. */
GicV2 *gicv2_new(Machine *m, MemRegion *parent, const GicV2Config *cfg, GError **err);
/* Shared interrupt @n (0: interrupt ID 32); private one @n (16…31) of a CPU. */
Irq gicv2_spi(GicV2 *g, unsigned n);
Irq gicv2_ppi(GicV2 *g, unsigned cpu, unsigned n);

extern const DeviceType gicv2_type;

#endif
