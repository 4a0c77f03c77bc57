/* A 16550A on a memory bus: registers one byte apart, interrupt not gated by OUT2. */
#ifndef RHEA_HW_CHAR_SERIAL_MMIO_H
#define RHEA_HW_CHAR_SERIAL_MMIO_H

#include "core/irq.h"
#include "core/machine.h"

struct Chardev;

/* @size bytes at @base, of which the first eight are registers; @chr may be NULL. @base_baud: rate
 * of divisor 1. */
bool serial_mmio_new(Machine *m, MemRegion *parent, uint64_t base, uint64_t size, Irq irq,
                     uint32_t base_baud, struct Chardev *chr, GError **err);

#endif
