/*
 * Intel 82371SB (PIIX3), function 0: the PCI-to-ISA bridge. PIRQ routing, reset control, and the
 * register file firmware expects. DMA, timers and interrupt controllers of the chip are devices
 * of their own (i8237, i8254, i8259 with ELCR); the IDE function is hw/ide/piix3_ide.h.
 */
#ifndef RHEA_HW_ISA_PIIX3_H
#define RHEA_HW_ISA_PIIX3_H

#include "core/irq.h"
#include "core/machine.h"
#include "hw/pci/i440fx.h"

typedef struct Piix3 Piix3;

/* Function 0 of @devfn (multifunction). @irq: the 16 ISA lines into the interrupt controllers.
 * Takes PIRQA–D of @host's bus, and port CF9h (hard reset of the machine, or INIT to the CPUs). */
Piix3 *piix3_new(Machine *m, I440Fx *host, int devfn, const Irq irq[16], GError **err);
/* ISA line @n with the PIRQs that are routed to it joined in: what ISA devices and SCI drive. */
Irq piix3_isa_irq(Piix3 *s, unsigned n);
/* The interrupt that PIRQ @pirq (0…3) is routed to, -1 = none. */
int piix3_pirq_route(const Piix3 *s, unsigned pirq);

extern const DeviceType piix3_type;

#endif
