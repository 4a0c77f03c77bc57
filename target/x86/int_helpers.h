/*
 * C helpers of the integer part of the x86 translator. X(name, nargs, flags): each is
 * uint64_t x86_h_NAME(VCpu *cpu, …nargs uint64_t), and the descriptor x86_hd_NAME.
 */
#ifndef RHEA_TARGET_X86_INT_HELPERS_H
#define RHEA_TARGET_X86_INT_HELPERS_H

#include "accel/jit/ir.h"
#include "core/vcpu.h"
#include <stdint.h>

enum { X86_HELPER_STR = IRH_ALL | IRH_RET | IRH_HOSTFP };

#define X86_INT_HELPERS(X)                                                                         \
    X(divu, 3, IRH_FAULTS | IRH_RET)  /* dividend, divisor, bits ≤ 32 → quotient; #DE */       \
    X(divs, 3, IRH_FAULTS | IRH_RET)  /* sign-extended operands */                                 \
    X(div64, 3, IRH_FAULTS | IRH_RET) /* low, high, divisor → quotient; #DE */                   \
    X(idiv64, 3, IRH_FAULTS | IRH_RET)                                                             \
    X(bcd, 3, IRH_PURE | IRH_RET)   /* opcode, AX, packed flags → AX | flags << 32 */            \
    X(aam, 2, IRH_PURE | IRH_RET)   /* AL, base (not 0) → AX */                                  \
    X(crc32, 3, IRH_PURE | IRH_RET) /* CRC, value, bytes */                                        \
    X(pdep, 2, IRH_PURE | IRH_RET)  /* source, mask */                                             \
    X(pext, 2, IRH_PURE | IRH_RET)                                                                 \
    X(bound, 3, IRH_FAULTS)                /* index, lower, upper, sign-extended; #BR */           \
    X(umip, 0, IRH_FAULTS)                 /* CPL > 0: #GP if CR4.UMIP */                          \
    X(rd_segbase, 1, IRH_FAULTS | IRH_RET) /* S_FS or S_GS; #UD unless CR4.FSGSBASE */             \
    X(wr_segbase, 2, IRH_FAULTS)           /* and a value; #GP if not canonical */                 \
    X(check_stack, 2, IRH_FAULTS)          /* linear, bytes: must be writable */                   \
    X(cmpxchg16b, 1, IRH_ALL | IRH_RET)    /* linear → 1 if equal */                             \
    /* String instructions: X86StrDesc → 1 when done, 0 to come back for the rest */             \
    X(movs, 1, X86_HELPER_STR)                                                                     \
    X(stos, 1, X86_HELPER_STR)                                                                     \
    X(lods, 1, X86_HELPER_STR)                                                                     \
    X(scas, 1, X86_HELPER_STR)                                                                     \
    X(cmps, 1, X86_HELPER_STR)                                                                     \
    X(ins, 1, X86_HELPER_STR)                                                                      \
    X(outs, 1, X86_HELPER_STR)

#define X(n, a, f) extern const IrHelper x86_hd_##n;
X86_INT_HELPERS(X)
#undef X

/* What a string helper does, as its one argument. */
enum {
    STR_SIZE = 0xf,         /* bytes of an element */
    STR_ASZ_SHIFT = 4,      /* four bits: address size in bytes */
    STR_SEG_SHIFT = 8,      /* four bits: segment of the source */
    STR_REP = 1 << 12,      /* count in rCX */
    STR_WHILE_NZ = 1 << 13, /* REPNE: stop when equal (SCAS, CMPS) */
    STR_ONE = 1 << 14,      /* one element, then come back (single-step) */
    STR_CODE64 = 1 << 15,
    STR_LIMITS = 1 << 16, /* segment limits must be checked */
    STR_DEBUG = 1 << 17,  /* data breakpoints must be looked for */
};

#endif
