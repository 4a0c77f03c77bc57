/* Intel 82093AA I/O APIC: 24 inputs, register window of two registers. */
#ifndef RHEA_HW_INTC_IOAPIC_H
#define RHEA_HW_INTC_IOAPIC_H

#include "core/irq.h"
#include "core/machine.h"
#include "hw/intc/lapic.h"

#define IOAPIC_BASE 0xfec00000u
#define IOAPIC_PINS 24

typedef struct Ioapic Ioapic;

/* Maps itself into @mem at @addr (IOAPIC_BASE). @id: initial APIC id (0…15). */
Ioapic *ioapic_new(Machine *m, MemRegion *mem, uint64_t addr, uint8_t id, LapicBus *bus,
                   GError **err);
/* Input 0…23. In a PC: 1…15 are the ISA lines (except 2), 2 is ISA line 0, 16…23 PCI or free. */
Irq ioapic_irq(Ioapic *s, unsigned pin);

#endif
