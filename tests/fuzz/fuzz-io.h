/*
 * Turns fuzzer bytes into what a hostile guest and its board can do to a chip: port and MMIO
 * accesses of every size in and around its registers, time passing, input lines, reset, and state
 * that is saved, damaged and loaded. Include it in one fuzz-NAME.c and fill in a FuzzIo.
 */
#ifndef RHEA_TESTS_FUZZ_IO_H
#define RHEA_TESTS_FUZZ_IO_H

#include "core/clock.h"
#include "core/irq.h"
#include "core/machine.h"
#include <string.h>

#define FUZZ_MAX_OPS 400
#define FUZZ_MAX_NS (3 * NS_PER_SEC) /* of guest time in a run */

typedef struct FuzzRange {
    uint64_t base, size;
} FuzzRange;

typedef struct FuzzIo {
    Machine *m;
    Clock *clk; /* manual; may be NULL */
    FuzzRange ports[8], mmio[4];
    Irq inputs[32];
    unsigned n_inputs;
    /* Something of the chip's own, with two argument bytes; may be NULL. */
    void (*extra)(void *opaque, uint8_t what, uint32_t arg);
    void *opaque;
    /* private */
    const uint8_t *p, *end;
    int64_t passed;
} FuzzIo;

static inline uint64_t fuzz_take(FuzzIo *f, unsigned n)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < n; i++) {
        v |= (uint64_t)(f->p < f->end ? *f->p++ : 0) << (8 * i);
    }
    return v;
}

/* An address in one of @ranges, sometimes a little outside; false if there are none. */
static inline bool fuzz_addr(FuzzIo *f, const FuzzRange *ranges, unsigned max, uint64_t *addr)
{
    unsigned n = 0;

    while (n < max && ranges[n].size) {
        n++;
    }
    if (!n) {
        return false;
    }
    const FuzzRange *r = &ranges[fuzz_take(f, 1) % n];
    uint64_t off = r->size > 256 ? fuzz_take(f, 2) : fuzz_take(f, 1);
    *addr = r->base + off % (r->size + 4) - 2;
    if (r->size >= 16 && (off & 1)) {
        *addr = (r->base + off % r->size) & ~3ull; /* mostly registers, not their middles */
    }
    return true;
}

static inline void fuzz_access(FuzzIo *f, uint8_t op)
{
    bool port = op & 1, write = op & 2;
    unsigned size = 1u << (op >> 2 & 3);
    MemSpace *space = port ? f->m->io : f->m->memory;
    uint64_t addr;

    if (!fuzz_addr(f, port ? f->ports : f->mmio, port ? 8 : 4, &addr)) {
        return;
    }
    if (port) {
        addr &= 0xffff;
        size = size > 4 ? 4 : size;
    }
    if (write) {
        mem_store(space, addr, fuzz_take(f, size), size);
    } else {
        mem_load(space, addr, size);
    }
}

static inline void fuzz_step(FuzzIo *f, uint8_t b)
{
    int64_t ns = (int64_t)((b & 15) + 1) << (b >> 4) * 2; /* 1 ns … 17 s */

    if (f->clk) {
        ns = MIN(ns, FUZZ_MAX_NS - f->passed);
        f->passed += ns;
        clock_step(f->clk, ns);
    }
}

/* Save a device, damage some bytes, load. It must refuse, or go on safely. */
static inline void fuzz_state(FuzzIo *f)
{
    if (!f->m->devices->len) {
        return;
    }
    Device *dev = f->m->devices->pdata[fuzz_take(f, 1) % f->m->devices->len];
    GByteArray *a = g_byte_array_new();
    size_t pos = 0;

    state_save(dev->type->state, dev, a);
    unsigned damage = fuzz_take(f, 1) & 7;
    for (unsigned i = 0; i < damage; i++) {
        a->data[fuzz_take(f, 2) % a->len] = fuzz_take(f, 1);
    }
    uint8_t *exact = g_memdup2(a->data, a->len);
    if (!state_load(dev->type->state, dev, exact, a->len, &pos, NULL)) {
        dev->type->reset(dev);
    }
    g_free(exact);
    g_byte_array_free(a, TRUE);
}

static inline void fuzz_run(FuzzIo *f, const uint8_t *data, size_t size)
{
    f->p = data;
    f->end = data + size;
    for (unsigned i = 0; i < FUZZ_MAX_OPS && f->p < f->end; i++) {
        uint8_t op = fuzz_take(f, 1);
        switch (op >> 4) {
        case 10:
        case 11:
        case 12:
            fuzz_step(f, fuzz_take(f, 1));
            break;
        case 13:
            if (f->n_inputs) {
                uint8_t b = fuzz_take(f, 1);
                irq_set(&f->inputs[(b >> 1) % f->n_inputs], b & 1);
            }
            break;
        case 14:
            if (f->extra) {
                uint8_t what = fuzz_take(f, 1);
                f->extra(f->opaque, what, fuzz_take(f, 2));
            }
            break;
        case 15:
            if (op & 1) {
                fuzz_state(f);
            } else if (!(op & 14) && f->m->devices->len) {
                Device *dev = f->m->devices->pdata[fuzz_take(f, 1) % f->m->devices->len];
                dev->type->reset(dev);
            }
            break;
        default:
            fuzz_access(f, op);
        }
    }
}

/* A machine and a manual clock, under the machine lock. */
static inline void fuzz_open(FuzzIo *f)
{
    memset(f, 0, sizeof(*f));
    machine_lock();
    f->m = machine_new(NULL, NULL);
    f->clk = clock_new(CLOCK_KIND_MANUAL);
}

static inline void fuzz_close(FuzzIo *f)
{
    machine_free(f->m);
    clock_free(f->clk);
    machine_unlock();
}

/* A line that counts what is driven onto it, so that it is not optimised away. */
static inline void fuzz_sink(void *opaque, int n, int level)
{
    (*(unsigned *)opaque) += n + level;
}

#endif
