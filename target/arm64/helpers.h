/*
 * C helpers that translated A64 code calls. X(name, nargs, flags): each is
 * uint64_t a64_h_NAME(VCpu *cpu, …nargs uint64_t), and the descriptor a64_hd_NAME.
 */
#ifndef RHEA_TARGET_ARM64_HELPERS_H
#define RHEA_TARGET_ARM64_HELPERS_H

#include "accel/jit/ir.h"
#include "core/vcpu.h"
#include <stdint.h>

#define A64_HELPERS(X)                                                                             \
    X(raise, 1, IRH_FAULTS | IRH_NORETURN)       /* ESR */                                         \
    X(raise_next, 2, IRH_FAULTS | IRH_NORETURN)  /* ESR, 0 SVC 1 HVC 2 SMC */                      \
    X(raise_fetch, 1, IRH_FAULTS | IRH_NORETURN) /* pc */                                          \
    X(raise_brk, 1, IRH_FAULTS | IRH_NORETURN)   /* immediate */                                   \
    X(trap_fp, 0, IRH_FAULTS | IRH_NORETURN)                                                       \
    X(undef, 0, IRH_FAULTS | IRH_NORETURN)                                                         \
    X(step, 0, IRH_FAULTS)                                                                         \
    X(br_target, 1, IRH_RET)                                                                       \
    X(eret, 0, IRH_ALL | IRH_RET) /* → pc */                                                     \
    X(wfx, 2, IRH_ALL)            /* 0 WFI 1 WFE, next pc */                                       \
    X(sev, 0, IRH_HOSTFP)                                                                          \
    X(dsb, 0, IRH_ALL)                                                                             \
    X(mrs, 2, IRH_ALL | IRH_RET) /* register, instruction → value */                             \
    X(msr, 3, IRH_ALL)           /* register, instruction, value */                                \
    X(sys, 3, IRH_ALL)           /* likewise: IC, DC, AT, TLBI */                                  \
    X(msr_imm, 2, IRH_ALL)       /* op1 << 3 | op2, immediate */                                   \
    X(udiv, 2, IRH_RET | IRH_PURE)                                                                 \
    X(sdiv, 2, IRH_RET | IRH_PURE)                                                                 \
    X(sdiv32, 2, IRH_RET | IRH_PURE)                                                               \
    X(rbit, 1, IRH_RET | IRH_PURE)                                                                 \
    X(crc32, 3, IRH_RET | IRH_PURE)         /* crc, value, bytes */                                \
    X(crc32c, 3, IRH_RET | IRH_PURE)        /* crc, value, bytes */                                \
    X(pac, 3, IRH_ALL | IRH_RET)            /* value, modifier, key << 2 | operation */            \
    X(casp, 4, IRH_ALL)                     /* address, rs, rt, mmu */                             \
    X(stxp, 4, IRH_ALL | IRH_RET)           /* address, lo, hi, mmu → status */                  \
    X(simd_redo, 2, IRH_READS | IRH_WRITES) /* instruction, 1: V[rd] is in fp_save */              \
    X(simd, 1, IRH_READS | IRH_WRITES)      /* instruction: FP, SIMD data processing */            \
    X(simd_ld, 3, IRH_ALL)                  /* instruction, address, mmu | BE << 8 */              \
    X(simd_st, 3, IRH_ALL)

#define A64_ARGS0 VCpu *cpu
#define A64_ARGS1 A64_ARGS0, uint64_t a
#define A64_ARGS2 A64_ARGS1, uint64_t b
#define A64_ARGS3 A64_ARGS2, uint64_t c
#define A64_ARGS4 A64_ARGS3, uint64_t d
#define X(name, nargs, flags)                                                                      \
    extern const IrHelper a64_hd_##name;                                                           \
    uint64_t a64_h_##name(A64_ARGS##nargs);
A64_HELPERS(X)
#undef X

#endif
