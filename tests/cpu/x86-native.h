/*
 * Runs a piece of x86-64 code on the host CPU with a given register, x87, MMX and SSE state, and
 * reads the state back: the reference for tests of translated code. Guest addresses are those of
 * this process: X86N_CODE and X86N_DATA are mapped at fixed low addresses.
 */
#ifndef RHEA_TESTS_CPU_X86_NATIVE_H
#define RHEA_TESTS_CPU_X86_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    X86N_CODE = 0x1000000,
    X86N_CODE_SIZE = 0x6000000,
    X86N_DATA = 0x200000, /* two pages */
    X86N_DATA_SIZE = 0x2000,
    X86N_OPERAND = X86N_DATA + 0x800,
    X86N_STACK = X86N_DATA + 0x1f00,
};

/* FXSAVE64 image */
typedef struct X86NFx {
    uint16_t fcw, fsw;
    uint8_t ftw, rsvd;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    union {
        struct {
            uint64_t mant;
            uint16_t exp;
            uint16_t pad[3];
        };
        uint8_t b[16];
    } st[8];
    union {
        uint8_t b[16];
        uint16_t w[8];
        uint32_t l[4];
        uint64_t q[2];
    } xmm[16];
    uint8_t rest[96];
} __attribute__((aligned(16))) X86NFx;

typedef struct X86NState {
    X86NFx fx;
    uint64_t gpr[16]; /* rsp is the stack's */
    uint64_t rflags;
    int trap; /* exception vector, or -1 */
    uint64_t rip;
} X86NState;

void x86n_init(void);
/* Put code where it can run. Each piece has an address of its own. */
uint64_t x86n_place(const uint8_t *code, unsigned len);
/* Run the code at @at from @in to @out. A trap ends it. */
void x86n_run(uint64_t at, const X86NState *in, X86NState *out);

#endif
