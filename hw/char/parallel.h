/* Parallel port: "isa-parallel", standard and PS/2 bidirectional mode. */
#ifndef RHEA_HW_PARALLEL_H
#define RHEA_HW_PARALLEL_H

#include "chardev/chardev.h"
#include "hw/isa/isa.h"

extern const DeviceType isa_parallel_type;
typedef struct Parallel Parallel;
/* Port at @iobase (378h, 278h, 3BCh); @chr NULL: nothing is plugged in. */
Parallel *parallel_new_isa(IsaBus *isa, uint16_t iobase, int irq, Chardev *chr, GError **err);

#endif
