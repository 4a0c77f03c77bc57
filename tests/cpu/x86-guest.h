/*
 * A bare x86 CPU in long mode for tests of translated code: no machine around it, flat segments
 * with the selectors Linux uses, identity paging, user level 3, a gate for each vector.
 */
#ifndef RHEA_TESTS_CPU_X86_GUEST_H
#define RHEA_TESTS_CPU_X86_GUEST_H

#include <stdbool.h>
#include <stdint.h>

enum {
    X86G_RAM = 0x10800000, /* bytes, from 0; all of it is the user's, too */
    X86G_END = 0x81,       /* INT of it ends a run */
};

typedef struct X86GState {
    uint64_t gpr[16];
    uint64_t rip, rflags;
    int vec;      /* how it ended: X86G_END or an exception; -1: it did not */
    uint32_t err; /* error code */
} X86GState;

typedef struct X86Guest X86Guest;

/* @opts: of the accelerator, for instance "mode=interp". */
X86Guest *x86g_new(const char *opts);
void x86g_free(X86Guest *g);
uint8_t *x86g_ram(X86Guest *g);
/* Write code: blocks made of what was there go. */
void x86g_write(X86Guest *g, uint64_t at, const void *bytes, unsigned len);
struct X86Cpu *x86g_cpu(X86Guest *g);
/* Run from *s until a vector is taken. @bits: 32 or 64. */
void x86g_run(X86Guest *g, unsigned bits, X86GState *s);

#endif
