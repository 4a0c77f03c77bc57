/*
 * Vector operations of the IR (IR_VOP, IR_VTOI, IR_VFROMI, IR_VCMPFLAGS): one table.
 *
 * X(NAME, prefix, map, opcode, flags)  describes the operation by the x86 SSE instruction that
 * defines its meaning: mandatory prefix (0, 0x66, 0xf3, 0xf2), opcode map (0x0f, 0x38, 0x3a) and
 * opcode byte. d = NAME(a, b): a is what the instruction has in its first operand (destination
 * before the operation), b its second. The x86-64 back end emits just that; the interpreter on
 * an x86-64 host calls generated two-instruction stubs of it; other hosts supply a function.
 * flags: IRVF_ONE  a is not read     IRVF_IMM  has an 8-bit immediate
 *        IRVF_TOI  result is an integer (VTOI)   IRVF_FROMI  b is an integer (VFROMI)
 *        IRVF_FLAGS  result is flags (VCMPFLAGS)  IRVF_FP  depends on or changes MXCSR
 *        IRVF_XMM0  blendv-style implicit third operand: not allowed here, use BLENDV* by helper
 *        IRVF_SSE3/SSSE3/SSE41/SSE42/AES/CLMUL/SHA  host feature needed beyond SSE2
 */
#ifndef RHEA_ACCEL_JIT_IR_VEC_H
#define RHEA_ACCEL_JIT_IR_VEC_H

enum {
    IRVF_ONE = 1,
    IRVF_IMM = 2,
    IRVF_TOI = 4,
    IRVF_FROMI = 8,
    IRVF_FLAGS = 16,
    IRVF_FP = 32,
    IRVF_REXW_BY_TYPE = 64, /* integer side has the width of the IR type */
    IRVF_REV = 128, /* VTOI whose vector is the ModRM.reg operand (movd r/m32, xmm; pextr) */
    IRVF_SSE3 = 1 << 8,
    IRVF_SSSE3 = 1 << 9,
    IRVF_SSE41 = 1 << 10,
    IRVF_SSE42 = 1 << 11,
    IRVF_AES = 1 << 12,
    IRVF_CLMUL = 1 << 13,
    IRVF_SHA = 1 << 14,
};

/* Owner of the rows: target/x86's SIMD translator for now; the jit only consumes the columns. */
#define IR_VOPS(X)                                                                                 \
    X(ADDPS, 0, 0x0f, 0x58, IRVF_FP)                                                               \
    X(ADDPD, 0x66, 0x0f, 0x58, IRVF_FP)                                                            \
    X(ADDSS, 0xf3, 0x0f, 0x58, IRVF_FP)                                                            \
    X(ADDSD, 0xf2, 0x0f, 0x58, IRVF_FP)                                                            \
    X(PADDB, 0x66, 0x0f, 0xfc, 0)                                                                  \
    X(PXOR, 0x66, 0x0f, 0xef, 0)                                                                   \
    X(PSHUFD, 0x66, 0x0f, 0x70, IRVF_ONE | IRVF_IMM)                                               \
    X(UCOMISD, 0x66, 0x0f, 0x2e, IRVF_FLAGS | IRVF_FP)                                             \
    X(MOVD_TOI, 0x66, 0x0f, 0x7e, IRVF_TOI | IRVF_REV | IRVF_REXW_BY_TYPE)                         \
    X(MOVD_FROMI, 0x66, 0x0f, 0x6e, IRVF_FROMI | IRVF_ONE | IRVF_REXW_BY_TYPE)                     \
    X(CVTSI2SD, 0xf2, 0x0f, 0x2a, IRVF_FROMI | IRVF_FP | IRVF_REXW_BY_TYPE)                        \
    X(CVTTSD2SI, 0xf2, 0x0f, 0x2c, IRVF_TOI | IRVF_FP | IRVF_REXW_BY_TYPE)                         \
    X(MOVMSKPS, 0, 0x0f, 0x50, IRVF_TOI)

typedef enum {
#define X(n, p, m, o, f) IRVOP_##n,
    IR_VOPS(X)
#undef X
        IRVOP_COUNT
} IrVop;

#endif
