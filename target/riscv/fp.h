/*
 * RISC-V floating point on the host's SSE units. fflags are the host's sticky flags (MXCSR of the
 * guest, RiscvCpu.mxcsr, live in the register while guest code runs); frm is mirrored into its
 * rounding control. Round-to-nearest-ties-away has no host mode: it is done in software.
 */
#ifndef RHEA_TARGET_RISCV_FP_H
#define RHEA_TARGET_RISCV_FP_H

#include "target/riscv/cpu.h"

typedef enum { FMT_S, FMT_D, FMT_H } RvFmt; /* the encoding's fmt field, except H = 2 */

typedef enum {
    FP_ADD,
    FP_SUB,
    FP_MUL,
    FP_DIV,
    FP_SQRT,
    FP_MIN,
    FP_MAX,
    FP_LE,
    FP_LT,
    FP_EQ,
    FP_MADD, /* three operands: a*b+c, a*b-c, -(a*b)+c, -(a*b)-c */
    FP_MSUB,
    FP_NMSUB,
    FP_NMADD,
} RvFpOp;

typedef enum { FPI_W, FPI_WU, FPI_L, FPI_LU } RvFpInt;

enum { RM_RNE, RM_RTZ, RM_RDN, RM_RUP, RM_RMM, RM_DYN = 7 };
enum { FF_NX = 1, FF_UF = 2, FF_OF = 4, FF_DZ = 8, FF_NV = 16 };

#define BOX_S 0xffffffff00000000ull
#define BOX_H 0xffffffffffff0000ull
#define NAN_S 0x7fc00000u
#define NAN_D 0x7ff8000000000000ull
#define NAN_H 0x7e00u

/* fcsr fields <-> the state; vCPU thread, in a helper without IRH_HOSTFP or outside code. */
unsigned rv_fflags(RiscvCpu *c);
void rv_set_fflags(RiscvCpu *c, unsigned flags);
void rv_set_frm(RiscvCpu *c, unsigned frm);

/* MXCSR, in program order with other volatile assembly (the compiler's intrinsics are not). */
static inline uint32_t rv_getcsr(void)
{
    uint32_t v;

    __asm__ volatile("stmxcsr %0" : "=m"(v) : : "memory");
    return v;
}
static inline void rv_setcsr(uint32_t v)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(v) : "memory");
}

/* MXCSR rounding control for @frm. */
static inline uint32_t rv_mxcsr_rc(unsigned frm)
{
    static const uint16_t rc[8] = {0, 0x6000, 0x2000, 0x4000, 0, 0, 0, 0};

    return rc[frm & 7];
}

/* The software unit: one rounding of an exact or sticky binary128 value, any format and mode.
 * *flags collects FF_*. Operands and results are raw bits of the format, not boxed. */
uint64_t rv_soft_op2(RvFpOp op, RvFmt fmt, unsigned rm, uint64_t a, uint64_t b, unsigned *flags);
uint64_t rv_soft_op3(RvFpOp op, RvFmt fmt, unsigned rm, uint64_t a, uint64_t b, uint64_t c,
                     unsigned *flags);
uint64_t rv_soft_cvt(RvFmt from, RvFmt to, unsigned rm, uint64_t a, unsigned *flags);
uint64_t rv_soft_from_int(RvFmt fmt, RvFpInt kind, unsigned rm, uint64_t v, unsigned *flags);
uint64_t rv_soft_to_int(RvFmt fmt, RvFpInt kind, unsigned rm, uint64_t a, unsigned *flags);

static inline bool rv_is_nan(RvFmt f, uint64_t v)
{
    return f == FMT_D   ? (v & ~(1ull << 63)) > 0x7ff0000000000000ull
           : f == FMT_S ? (v & 0x7fffffff) > 0x7f800000
                        : (v & 0x7fff) > 0x7c00;
}
static inline bool rv_is_snan(RvFmt f, uint64_t v)
{
    return rv_is_nan(f, v) && !(v >> (f == FMT_D ? 51 : f == FMT_S ? 22 : 9) & 1);
}
static inline uint64_t rv_nan(RvFmt f)
{
    return f == FMT_D ? NAN_D : f == FMT_S ? NAN_S : NAN_H;
}
static inline uint64_t rv_sign(RvFmt f)
{
    return f == FMT_D ? 1ull << 63 : f == FMT_S ? 1u << 31 : 1u << 15;
}
/* Raw bits of a register's value; one that is not boxed right is the canonical NaN. */
static inline uint64_t rv_unbox(RvFmt f, uint64_t v)
{
    return f == FMT_D   ? v
           : f == FMT_S ? ((v & BOX_S) == BOX_S ? (uint32_t)v : NAN_S)
                        : ((v & BOX_H) == BOX_H ? (uint16_t)v : NAN_H);
}
static inline uint64_t rv_box(RvFmt f, uint64_t v)
{
    return f == FMT_D ? v : f == FMT_S ? v | BOX_S : v | BOX_H;
}

#endif
