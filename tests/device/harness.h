/*
 * A bench for chips: an empty machine, a manual clock, and lines that record what is driven onto
 * them. The machine lock is held from rig_open() to rig_close().
 */
#ifndef RHEA_TESTS_HARNESS_H
#define RHEA_TESTS_HARNESS_H

#include "core/clock.h"
#include "core/irq.h"
#include "core/machine.h"
#include <string.h>

#define RIG_LINES 32

typedef struct Rig {
    Machine *m;
    Clock *clk;
    int level[RIG_LINES];
    unsigned rises[RIG_LINES]; /* since rig_rises() looked */
} Rig;

static inline void rig_open(Rig *r)
{
    memset(r, 0, sizeof(*r));
    machine_lock();
    r->m = machine_new(NULL, NULL);
    r->clk = clock_new(CLOCK_KIND_MANUAL);
}

static inline void rig_close(Rig *r)
{
    machine_free(r->m); /* devices too */
    clock_free(r->clk);
    machine_unlock();
}

static inline void rig_line(void *opaque, int n, int level)
{
    Rig *r = opaque;

    g_assert(n >= 0 && n < RIG_LINES);
    r->rises[n] += level && !r->level[n];
    r->level[n] = level;
}

static inline Irq rig_irq(Rig *r, int n)
{
    return (Irq){.fn = rig_line, .opaque = r, .n = n};
}

static inline unsigned rig_rises(Rig *r, int n)
{
    unsigned count = r->rises[n];

    r->rises[n] = 0;
    return count;
}

static inline uint8_t inb(Rig *r, uint16_t port)
{
    return mem_load(r->m->io, port, 1);
}

static inline void outb(Rig *r, uint16_t port, uint8_t val)
{
    mem_store(r->m->io, port, val, 1);
}

static inline uint32_t readl(Rig *r, uint64_t addr)
{
    return mem_load(r->m->memory, addr, 4);
}

static inline void writel(Rig *r, uint64_t addr, uint32_t val)
{
    mem_store(r->m->memory, addr, val, 4);
}

static inline uint64_t readq(Rig *r, uint64_t addr)
{
    return mem_load(r->m->memory, addr, 8);
}

static inline void writeq(Rig *r, uint64_t addr, uint64_t val)
{
    mem_store(r->m->memory, addr, val, 8);
}

/* A device's state survives save, reset, load: same dump, same bytes. And no prefix of the
 * stream, nor one with a broken byte, does harm. */
static inline void rig_roundtrip(Device *dev)
{
    const StateTable *t = dev->type->state;
    GByteArray *a = g_byte_array_new(), *b = g_byte_array_new();
    GError *err = NULL;
    size_t pos = 0;

    state_save(t, dev, a);
    char *before = state_dump(t, dev);
    dev->type->reset(dev);
    bool ok = state_load(t, dev, a->data, a->len, &pos, &err);
    g_assert_no_error(err);
    g_assert_true(ok);
    g_assert_cmpuint(pos, ==, a->len);
    char *after = state_dump(t, dev);
    g_assert_cmpstr(before, ==, after);
    state_save(t, dev, b);
    g_assert_cmpmem(a->data, a->len, b->data, b->len);
    for (size_t n = 0; n < a->len; n++) {
        pos = 0;
        g_assert_false(state_load(t, dev, a->data, n, &pos, &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
    }
    for (size_t n = 0; n < b->len; n++) {
        uint8_t keep = b->data[n];
        b->data[n] ^= 0xff;
        pos = 0;
        dev->type->reset(dev);
        if (!state_load(t, dev, b->data, b->len, &pos, &err)) {
            g_assert_nonnull(err);
            g_clear_error(&err);
        }
        b->data[n] = keep;
    }
    dev->type->reset(dev);
    pos = 0;
    g_assert_true(state_load(t, dev, a->data, a->len, &pos, NULL));
    g_free(before);
    g_free(after);
    g_byte_array_free(a, TRUE);
    g_byte_array_free(b, TRUE);
}

#endif
