/*
 * A bench for ISA devices: an empty machine with RAM, an ISA bus on a manual clock, and interrupt
 * lines that record their level and count rising edges.
 */
#ifndef RHEA_TESTS_ISA_FIXTURE_H
#define RHEA_TESTS_ISA_FIXTURE_H

#include "core/machine.h"
#include "hw/isa/isa.h"
#include <glib.h>

typedef struct IsaFixture {
    Machine *m;
    IsaBus isa;
    MemRegion ram;
    Clock *clock;
    int level[18]; /* ISA interrupts, then two lines for the test's own use */
    int edges[18];
} IsaFixture;

static inline void fixture_irq(void *opaque, int n, int level)
{
    IsaFixture *f = opaque;

    if (level && !f->level[n]) {
        f->edges[n]++;
    }
    f->level[n] = level;
}

static inline Irq fixture_line(IsaFixture *f, int n)
{
    return (Irq){fixture_irq, f, n};
}

static inline void fixture_init(IsaFixture *f)
{
    *f = (IsaFixture){0};
    f->m = machine_new(NULL, NULL);
    machine_lock();
    f->clock = clock_new(CLOCK_KIND_MANUAL);
    g_assert_true(mem_region_init_ram(&f->ram, "ram", 2 << 20, NULL));
    mem_region_add(&f->m->memory_root, &f->ram, 0, 0);
    bus_init(&f->isa.bus, "ISA", "isa.0", NULL);
    f->isa.machine = f->m;
    f->isa.io = &f->m->io_root;
    f->isa.mem = &f->m->memory_root;
    f->isa.mem_space = f->m->memory;
    f->isa.clock = f->clock;
    for (int i = 0; i < 16; i++) {
        f->isa.irq[i] = fixture_line(f, i);
    }
}

static inline void fixture_fini(IsaFixture *f)
{
    while (f->m->devices->len) {
        device_free(f->m->devices->pdata[f->m->devices->len - 1]);
    }
    bus_clear(&f->isa.bus);
    mem_region_destroy(&f->ram);
    clock_free(f->clock);
    machine_unlock();
    machine_free(f->m);
}

static inline void outb(IsaFixture *f, uint16_t port, uint8_t val)
{
    mem_store(f->m->io, port, val, 1);
}

static inline uint8_t inb(IsaFixture *f, uint16_t port)
{
    return mem_load(f->m->io, port, 1);
}

static inline void outw(IsaFixture *f, uint16_t port, uint16_t val)
{
    mem_store(f->m->io, port, val, 2);
}

static inline uint16_t inw(IsaFixture *f, uint16_t port)
{
    return mem_load(f->m->io, port, 2);
}

#endif
