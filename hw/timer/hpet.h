/* IA-PC HPET 1.0a: one 64-bit counter of 100 MHz, three comparators, at FED00000h. */
#ifndef RHEA_HW_TIMER_HPET_H
#define RHEA_HW_TIMER_HPET_H

#include "core/irq.h"
#include "core/machine.h"

#define HPET_BASE 0xfed00000u
#define HPET_PERIOD_FS 10000000u /* femtoseconds a tick */

typedef struct Hpet Hpet;

/* @legacy: ISA lines 0 and 8 (each to the 8259 pair and the I/O APIC). @gsi: the 24 I/O APIC
 * inputs. Both are copied. */
Hpet *hpet_new(Machine *m, MemRegion *mem, Clock *clk, const Irq legacy[2], const Irq gsi[24],
               GError **err);
/* Where the 8254's OUT 0 (n = 0) and the RTC's IRQ (n = 1) go: the HPET passes them on to @legacy
 * unless the guest chose legacy replacement. */
Irq hpet_legacy_in(Hpet *s, unsigned n);

#endif
