/* Arm PrimeCell real-time clock PL031. */
#ifndef RHEA_HW_TIMER_PL031_H
#define RHEA_HW_TIMER_PL031_H

#include "core/irq.h"
#include "core/machine.h"

typedef struct Pl031 Pl031;
/* 4 KiB at @base of @parent. Seconds count on @clock, from @seconds (Unix time) now. */
Pl031 *pl031_new(Machine *m, MemRegion *parent, uint64_t base, Irq irq, Clock *clock,
                 uint32_t seconds, GError **err);

extern const DeviceType pl031_type;

#endif
