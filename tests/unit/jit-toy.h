/*
 * A toy guest for tests of the jit: 12 integer and 8 vector registers, packed flags, flat memory
 * with holes and read-only pages, and blocks made by a test's function.
 */
#ifndef RHEA_TEST_JIT_TOY_H
#define RHEA_TEST_JIT_TOY_H

#include "accel/jit/ir-vec.h"
#include "accel/jit/ir.h"
#include "accel/jit/jit-internal.h"
#include "accel/jit/jit.h"
#include "core/machine.h"
#include "core/memory.h"
#include "core/vcpu.h"
#include <glib.h>
#include <string.h>

enum { TOY_REGS = 12, TOY_VECS = 8, TOY_CC = TOY_REGS, TOY_V0, TOY_GLOBALS = TOY_V0 + TOY_VECS };
enum {
    TOY_RAM = 1 << 20,
    TOY_HOLE = 0x80000, /* page without mapping */
    TOY_RO = 0x90000,   /* page without write permission */
    TOY_CODE = 0xa0000, /* where blocks are fetched from */
    TOY_IO = 0x200000,  /* a device: reads give the offset's complement */
};

typedef struct ToyCpu {
    VCpu vcpu;
    uint64_t r[TOY_REGS];
    uint32_t cc;
    uint32_t mxcsr;
    uint64_t pc;
    uint8_t v[TOY_VECS][16] __attribute__((aligned(16)));
    uint64_t scratch[8]; /* for LDE, STE */
    uint64_t left;       /* blocks to run yet, of some tests */
    uint64_t fault_addr;
    uint32_t fault_kind; /* 1 read, 2 write, 3 exec, 4 align, 5 helper */
    uint32_t n_faults;
    uint32_t runs; /* get_mode() calls left before the vCPU is stopped */
    uint32_t mode;
    uint64_t stop_pc; /* stop there when runs is 0 */
} ToyCpu;

typedef void (*ToyEmit)(IrBlock *b, uint64_t pc, unsigned max, void *arg);
extern ToyEmit toy_emit;
extern void *toy_arg;
extern const Target toy_target;

typedef struct Toy {
    Machine *m;
    MemRegion ram, io;
    ToyCpu *c;
} Toy;

/* @opts: of -accel jit. */
void toy_init(Toy *t, const char *opts);
void toy_free(Toy *t);
/* Run from c->pc for @runs passes through the dispatcher. */
void toy_run(Toy *t, unsigned runs);
static inline IrVal toy_r(unsigned n)
{
    return ir_global(n);
}
static inline IrVal toy_v(unsigned n)
{
    return ir_global(TOY_V0 + n);
}

#endif
