/* Arm PrimeCell UART PL011. */
#ifndef RHEA_HW_CHAR_PL011_H
#define RHEA_HW_CHAR_PL011_H

#include "chardev/chardev.h"
#include "core/irq.h"
#include "core/machine.h"

typedef struct Pl011 Pl011;
/* 4 KiB at @base of @parent; @chr may be NULL. Belongs to the machine. */
Pl011 *pl011_new(Machine *m, MemRegion *parent, uint64_t base, Irq irq, Chardev *chr, GError **err);

extern const DeviceType pl011_type;

#endif
