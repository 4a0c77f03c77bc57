/* A machine with RAM, a 440FX bridge and port access, for tests of what sits behind it. */
#ifndef RHEA_TESTS_PCI_FIXTURE_H
#define RHEA_TESTS_PCI_FIXTURE_H

#include "core/machine.h"
#include "hw/pci/i440fx.h"
#include <glib.h>
#include <string.h>

typedef struct Fixture {
    Machine *m;
    MemRegion ram;
    PcMemoryLayout layout;
    I440Fx *host;
    PciBus *bus;
    Clock *clock;
    int irq_level[16];
    unsigned irq_rises[16];
} Fixture;

static inline void fixture_irq(void *opaque, int n, int level)
{
    Fixture *f = opaque;
    if (level && !f->irq_level[n]) {
        f->irq_rises[n]++;
    }
    f->irq_level[n] = level;
}

static inline Irq fixture_line(Fixture *f, int n)
{
    return (Irq){fixture_irq, f, n};
}

/* Holds the machine lock until fixture_free(). */
static inline Fixture *fixture_new(uint64_t ram_size)
{
    Fixture *f = g_new0(Fixture, 1);
    GError *err = NULL;

    machine_lock();
    f->m = machine_new(NULL, NULL);
    f->clock = clock_new(CLOCK_KIND_MANUAL);
    f->layout = pc_memory_layout(ram_size);
    mem_region_init_ram(&f->ram, "ram", ram_size, &err);
    g_assert_no_error(err);
    f->m->ram = &f->ram;
    f->m->cfg.ram_size = ram_size;
    f->host = i440fx_new(f->m, &f->layout, NULL, &err);
    g_assert_no_error(err);
    f->bus = i440fx_bus(f->host);
    return f;
}

/* Whatever a test left behind survives save and load. */
static inline void fixture_check_state(Fixture *f)
{
    for (guint i = 0; i < f->m->devices->len; i++) {
        Device *dev = (Device *)f->m->devices->pdata[i];
        const StateTable *t = dev->type->state;
        GError *err = NULL;
        size_t pos = 0;
        if (!t) {
            continue;
        }
        GByteArray *a = g_byte_array_new(), *b = g_byte_array_new();
        state_save(t, dev, a);
        state_load(t, dev, a->data, a->len, &pos, &err);
        g_assert_no_error(err);
        g_assert_cmpuint(pos, ==, a->len);
        state_save(t, dev, b);
        for (guint k = 0; k < a->len; k++) {
            if (a->data[k] != b->data[k]) {
                g_error("%s: byte %u of the state was %02x, is %02x", dev->type->name, k,
                        a->data[k], b->data[k]);
            }
        }
        g_byte_array_unref(a);
        g_byte_array_unref(b);
    }
}

static inline void fixture_free(Fixture *f)
{
    fixture_check_state(f);
    machine_free(f->m);
    mem_region_destroy(&f->ram);
    clock_free(f->clock);
    if (machine_lock_held()) {
        machine_unlock();
    }
    g_free(f);
}

static inline uint32_t inx(Fixture *f, unsigned port, unsigned size)
{
    return (uint32_t)mem_load(f->m->io, port, size);
}

static inline void outx(Fixture *f, unsigned port, uint32_t val, unsigned size)
{
    mem_store(f->m->io, port, val, size);
}

#define inb(f, p) inx(f, p, 1)
#define inw(f, p) inx(f, p, 2)
#define inl(f, p) inx(f, p, 4)
#define outb(f, p, v) outx(f, p, v, 1)
#define outw(f, p, v) outx(f, p, v, 2)
#define outl(f, p, v) outx(f, p, v, 4)

static inline uint32_t cfg_addr(unsigned devfn, unsigned reg)
{
    return 0x80000000u | devfn << 8 | (reg & 0xfc);
}

static inline uint32_t cfg_read(Fixture *f, unsigned devfn, unsigned reg, unsigned size)
{
    outl(f, 0xcf8, cfg_addr(devfn, reg));
    return inx(f, 0xcfc + (reg & 3), size);
}

static inline void cfg_write(Fixture *f, unsigned devfn, unsigned reg, uint32_t val, unsigned size)
{
    outl(f, 0xcf8, cfg_addr(devfn, reg));
    outx(f, 0xcfc + (reg & 3), val, size);
}

#endif
