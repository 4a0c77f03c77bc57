/*
 * C helpers that translated RISC-V code calls: uint64_t rv_h_NAME(VCpu *, …), descriptor
 * rv_hd_NAME. "→ pc": returns the next pc; the translator ends the block with EXIT to it.
 */
#ifndef RHEA_TARGET_RISCV_HELPERS_H
#define RHEA_TARGET_RISCV_HELPERS_H

#include "accel/jit/ir.h"
#include "core/vcpu.h"
#include <stdint.h>

#define RV_SYS_HELPERS(X)                                                                          \
    X(raise, 2, IRH_FAULTS | IRH_NORETURN)       /* cause, tval */                                 \
    X(raise_fetch, 1, IRH_FAULTS | IRH_NORETURN) /* address that cannot be fetched */              \
    X(csr_read, 2, IRH_FAULTS | IRH_RET)         /* csr, insn */                                   \
    X(csr_rw, 4, IRH_FAULTS | IRH_RET) /* csr, value, op 0 w 1 s 2 c, insn → old value */        \
    X(ecall, 1, IRH_READS | IRH_RET)   /* pc → pc */                                             \
    X(mret, 1, IRH_FAULTS | IRH_RET)   /* insn → pc */                                           \
    X(sret, 1, IRH_FAULTS | IRH_RET)                                                               \
    X(wfi, 2, IRH_ALL | IRH_NORETURN)      /* insn, next pc */                                     \
    X(wrs, 1, IRH_ALL | IRH_NORETURN)      /* next pc */                                           \
    X(sfence, 3, IRH_FAULTS)               /* insn, rs1 | rs1 is x0 → -1, rs2 likewise */        \
    X(cbo, 2, IRH_FAULTS)                  /* insn, address */                                     \
    X(amo_minmax, 4, IRH_FAULTS | IRH_RET) /* address, value, funct5 | bytes << 8, mmu → old */

#define RV_P1 , uint64_t
#define RV_P2 RV_P1, uint64_t
#define RV_P3 RV_P2, uint64_t
#define RV_P4 RV_P3, uint64_t
#define X(n, a, f)                                                                                 \
    uint64_t rv_h_##n(VCpu *cpu RV_P##a);                                                          \
    extern const IrHelper rv_hd_##n;
RV_SYS_HELPERS(X)
#undef X

/* pure integer */
#define RV_INT_HELPERS(X)                                                                          \
    X(div, 2)                                                                                      \
    X(divu, 2)                                                                                     \
    X(rem, 2)                                                                                      \
    X(remu, 2)                                                                                     \
    X(divw, 2)                                                                                     \
    X(divuw, 2)                                                                                    \
    X(remw, 2)                                                                                     \
    X(remuw, 2)                                                                                    \
    X(clmul, 2)                                                                                    \
    X(clmulh, 2)                                                                                   \
    X(clmulh32, 2)                                                                                 \
    X(orcb, 1)

#define X(n, a) extern const IrHelper rv_hd_##n;
RV_INT_HELPERS(X)
#undef X

/* Floating point, on register values (boxed). what: RvFpOp | RvFmt << 8 | rounding mode << 16 */
#define RV_FP_HELPERS(X)                                                                           \
    X(fp_op2, 3)      /* what, a, b */                                                             \
    X(fp_op3, 4)      /* what, a, b, c */                                                          \
    X(fp_cvt, 2)      /* from | to << 8 | rm << 16, a */                                           \
    X(fp_to_int, 2)   /* RvFpInt | RvFmt << 8 | rm << 16, a */                                     \
    X(fp_from_int, 2) /* likewise */                                                               \
    X(fp_class, 2)    /* RvFmt, a */

#define X(n, a)                                                                                    \
    uint64_t rv_h_##n(VCpu *cpu RV_P##a);                                                          \
    extern const IrHelper rv_hd_##n;
RV_FP_HELPERS(X)
#undef X

#endif
