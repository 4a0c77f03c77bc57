/*
 * The ISA bus: what the south bridge offers to the devices behind it. Board devices get these as
 * arguments; -device isa-… devices find them through Device.bus.
 */
#ifndef RHEA_HW_ISA_H
#define RHEA_HW_ISA_H

#include "core/clock.h"
#include "core/device.h"
#include "core/irq.h"
#include "core/memory.h"

typedef struct I8237 I8237;

typedef struct IsaBus {
    Bus bus;             /* kind "ISA" */
    Irq irq[16];         /* into the interrupt controllers */
    MemRegion *io;       /* I/O port space */
    MemRegion *mem;      /* memory below 1 MiB and above */
    MemSpace *mem_space; /* for DMA */
    Clock *clock;        /* virtual */
    I8237 *dma;
    Machine *machine; /* of the devices on it; NULL: the owner's */
} IsaBus;

static inline Machine *isa_machine(const IsaBus *isa)
{
    return isa->machine ? isa->machine : isa->bus.owner ? isa->bus.owner->machine : NULL;
}

#endif
