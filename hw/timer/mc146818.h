/*
 * Motorola MC146818 real-time clock with 256 bytes of CMOS RAM: ports 70h-71h (and 72h-73h, the
 * extended bank of the PIIX).
 */
#ifndef RHEA_HW_TIMER_MC146818_H
#define RHEA_HW_TIMER_MC146818_H

#include "core/irq.h"
#include "core/machine.h"

typedef struct Mc146818 Mc146818;

typedef struct Mc146818Config {
    Clock *clock; /* what makes it go: host_clock (clock=host), virtual_clock (vm), mono_clock */
    Clock *host;  /* wall time, for the first date when @base is no date */
    const char *base; /* "utc" (or NULL), "localtime", "2006-06-17T16:01:21", "2006-06-17" */
    bool slew;        /* driftfix=slew: deliver missed periodic interrupts later */
    Irq irq;          /* IRQ 8 */
} Mc146818Config;

/* Reset keeps date and CMOS contents; they are set once, here. */
Mc146818 *mc146818_new(Machine *m, MemRegion *io, const Mc146818Config *cfg, GError **err);
/* CMOS bytes as the board's firmware expects them (14…127 and 128…255). */
void mc146818_set(Mc146818 *s, uint8_t index, uint8_t val);
uint8_t mc146818_get(Mc146818 *s, uint8_t index);
/* Port 70h bit 7: the board keeps NMI from the CPU. */
bool mc146818_nmi_masked(const Mc146818 *s);

#endif
