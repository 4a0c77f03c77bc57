/* The Goldfish real-time clock: nanoseconds since 1970, and an alarm. */
#ifndef RHEA_HW_TIMER_GOLDFISH_RTC_H
#define RHEA_HW_TIMER_GOLDFISH_RTC_H

#include "core/clock.h"
#include "core/irq.h"
#include "core/machine.h"

/* @clock gives the time and the alarm. */
bool goldfish_rtc_new(Machine *m, MemRegion *parent, uint64_t base, Clock *clock, Irq irq,
                      GError **err);

#endif
