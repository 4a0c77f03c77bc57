/* Arm PrimeCell general-purpose input/output PL061. */
#ifndef RHEA_HW_GPIO_PL061_H
#define RHEA_HW_GPIO_PL061_H

#include "core/irq.h"
#include "core/machine.h"

typedef struct Pl061 Pl061;
/* 4 KiB at @base of @parent. @out: what the eight pins drive when they are outputs. */
Pl061 *pl061_new(Machine *m, MemRegion *parent, uint64_t base, Irq irq, const Irq out[8],
                 GError **err);
/* Pin @n (0…7) as an input. */
Irq pl061_pin(Pl061 *s, unsigned n);

extern const DeviceType pl061_type;

#endif
