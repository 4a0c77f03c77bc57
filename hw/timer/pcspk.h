/* Port 61h: timer 2 gate, speaker enable, memory refresh toggle, NMI status. */
#ifndef RHEA_HW_TIMER_PCSPK_H
#define RHEA_HW_TIMER_PCSPK_H

#include "hw/timer/i8254.h"

typedef struct Pcspk Pcspk;

Pcspk *pcspk_new(Machine *m, MemRegion *io, Clock *clk, I8254 *pit, GError **err);
/* The tone that the speaker makes now in Hz, 0 = silence. */
uint32_t pcspk_tone(Pcspk *s);

#endif
