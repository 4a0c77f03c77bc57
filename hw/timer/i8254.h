/* Intel 8254 interval timer of a PC: ports 40h-43h, 1.193182 MHz, three channels. */
#ifndef RHEA_HW_TIMER_I8254_H
#define RHEA_HW_TIMER_I8254_H

#include "core/irq.h"
#include "core/machine.h"

#define I8254_HZ 1193182

typedef struct I8254 I8254;

/* @irq0 follows OUT of channel 0. Gates 0 and 1 are tied high, gate 2 starts low. */
I8254 *i8254_new(Machine *m, MemRegion *io, Clock *clk, Irq irq0, GError **err);
void i8254_set_gate(I8254 *s, unsigned channel, bool level);
bool i8254_gate(const I8254 *s, unsigned channel);
/* Level of OUT now. */
bool i8254_out(I8254 *s, unsigned channel);
/* Frequency of a square wave or rate generator that runs now, in Hz; 0 otherwise (for sound). */
uint32_t i8254_frequency(I8254 *s, unsigned channel);

#endif
