/*
 * Two 8259A interrupt controllers as a PC wires them: the second one's INT drives input 2 of the
 * first. Ports 20h-21h, A0h-A1h, and the edge/level control registers at 4D0h-4D1h.
 */
#ifndef RHEA_HW_INTC_I8259_H
#define RHEA_HW_INTC_I8259_H

#include "core/irq.h"
#include "core/machine.h"

typedef struct I8259 I8259;

/* Ports go into @io. @intr: the first chip's INT output (lapic_bus_intr(), or the CPU's INTR). */
I8259 *i8259_new(Machine *m, MemRegion *io, Irq intr, GError **err);
/* Interrupt request input 0…15 (2 is the cascade and swallows what is driven onto it). */
Irq i8259_irq(I8259 *s, unsigned n);
/* The CPU's INTA cycles: the vector, a spurious one if the request went away. Machine lock. */
int i8259_ack(void *i8259);

#endif
