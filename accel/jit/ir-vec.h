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
 *        IRVF_FLAGS  result is flags (VCMPFLAGS)
 *        IRVF_FP  depends on or changes MXCSR: never dropped (sticky flags), never moved across
 *                 CALL (helpers read and write the live MXCSR), merged only with its like
 *        IRVF_EXT(n)  shift groups 71/72/73: the operation is "opcode /n ib" on operand a alone
 *                 (a moved to d, d in ModRM.rm, n in ModRM.reg); b is 0
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
    IRVF_HAS_EXT = 1 << 15,
    IRVF_FMA = 1 << 19,  /* of IR_VFMA, not in the table */
    IRVF_EXT_SHIFT = 16, /* three bits: ModRM.reg of a shift group, if IRVF_HAS_EXT */
};
#define IRVF_EXT(n) (IRVF_HAS_EXT | (n) << IRVF_EXT_SHIFT)

/* Owner of the rows: target/x86's SIMD translator for now; the jit only consumes the columns. */
#define IR_VOPS(X)                                                                                 \
    /* floating point */                                                                           \
    X(SQRTPS, 0, 0x0f, 0x51, IRVF_ONE | IRVF_FP)                                                   \
    X(SQRTPD, 0x66, 0x0f, 0x51, IRVF_ONE | IRVF_FP)                                                \
    X(SQRTSS, 0xf3, 0x0f, 0x51, IRVF_FP)                                                           \
    X(SQRTSD, 0xf2, 0x0f, 0x51, IRVF_FP)                                                           \
    X(ADDPS, 0, 0x0f, 0x58, IRVF_FP)                                                               \
    X(ADDPD, 0x66, 0x0f, 0x58, IRVF_FP)                                                            \
    X(ADDSS, 0xf3, 0x0f, 0x58, IRVF_FP)                                                            \
    X(ADDSD, 0xf2, 0x0f, 0x58, IRVF_FP)                                                            \
    X(MULPS, 0, 0x0f, 0x59, IRVF_FP)                                                               \
    X(MULPD, 0x66, 0x0f, 0x59, IRVF_FP)                                                            \
    X(MULSS, 0xf3, 0x0f, 0x59, IRVF_FP)                                                            \
    X(MULSD, 0xf2, 0x0f, 0x59, IRVF_FP)                                                            \
    X(SUBPS, 0, 0x0f, 0x5c, IRVF_FP)                                                               \
    X(SUBPD, 0x66, 0x0f, 0x5c, IRVF_FP)                                                            \
    X(SUBSS, 0xf3, 0x0f, 0x5c, IRVF_FP)                                                            \
    X(SUBSD, 0xf2, 0x0f, 0x5c, IRVF_FP)                                                            \
    X(MINPS, 0, 0x0f, 0x5d, IRVF_FP)                                                               \
    X(MINPD, 0x66, 0x0f, 0x5d, IRVF_FP)                                                            \
    X(MINSS, 0xf3, 0x0f, 0x5d, IRVF_FP)                                                            \
    X(MINSD, 0xf2, 0x0f, 0x5d, IRVF_FP)                                                            \
    X(DIVPS, 0, 0x0f, 0x5e, IRVF_FP)                                                               \
    X(DIVPD, 0x66, 0x0f, 0x5e, IRVF_FP)                                                            \
    X(DIVSS, 0xf3, 0x0f, 0x5e, IRVF_FP)                                                            \
    X(DIVSD, 0xf2, 0x0f, 0x5e, IRVF_FP)                                                            \
    X(MAXPS, 0, 0x0f, 0x5f, IRVF_FP)                                                               \
    X(MAXPD, 0x66, 0x0f, 0x5f, IRVF_FP)                                                            \
    X(MAXSS, 0xf3, 0x0f, 0x5f, IRVF_FP)                                                            \
    X(MAXSD, 0xf2, 0x0f, 0x5f, IRVF_FP)                                                            \
    X(RSQRTPS, 0, 0x0f, 0x52, IRVF_ONE)                                                            \
    X(RSQRTSS, 0xf3, 0x0f, 0x52, 0)                                                                \
    X(RCPPS, 0, 0x0f, 0x53, IRVF_ONE)                                                              \
    X(RCPSS, 0xf3, 0x0f, 0x53, 0)                                                                  \
    X(CMPPS, 0, 0x0f, 0xc2, IRVF_IMM | IRVF_FP)                                                    \
    X(CMPPD, 0x66, 0x0f, 0xc2, IRVF_IMM | IRVF_FP)                                                 \
    X(CMPSS, 0xf3, 0x0f, 0xc2, IRVF_IMM | IRVF_FP)                                                 \
    X(CMPSD, 0xf2, 0x0f, 0xc2, IRVF_IMM | IRVF_FP)                                                 \
    X(CVTPS2PD, 0, 0x0f, 0x5a, IRVF_ONE | IRVF_FP)                                                 \
    X(CVTPD2PS, 0x66, 0x0f, 0x5a, IRVF_ONE | IRVF_FP)                                              \
    X(CVTSS2SD, 0xf3, 0x0f, 0x5a, IRVF_FP)                                                         \
    X(CVTSD2SS, 0xf2, 0x0f, 0x5a, IRVF_FP)                                                         \
    X(CVTDQ2PS, 0, 0x0f, 0x5b, IRVF_ONE | IRVF_FP)                                                 \
    X(CVTPS2DQ, 0x66, 0x0f, 0x5b, IRVF_ONE | IRVF_FP)                                              \
    X(CVTTPS2DQ, 0xf3, 0x0f, 0x5b, IRVF_ONE | IRVF_FP)                                             \
    X(CVTTPD2DQ, 0x66, 0x0f, 0xe6, IRVF_ONE | IRVF_FP)                                             \
    X(CVTDQ2PD, 0xf3, 0x0f, 0xe6, IRVF_ONE)                                                        \
    X(CVTPD2DQ, 0xf2, 0x0f, 0xe6, IRVF_ONE | IRVF_FP)                                              \
    X(HADDPD, 0x66, 0x0f, 0x7c, IRVF_FP | IRVF_SSE3)                                               \
    X(HADDPS, 0xf2, 0x0f, 0x7c, IRVF_FP | IRVF_SSE3)                                               \
    X(HSUBPD, 0x66, 0x0f, 0x7d, IRVF_FP | IRVF_SSE3)                                               \
    X(HSUBPS, 0xf2, 0x0f, 0x7d, IRVF_FP | IRVF_SSE3)                                               \
    X(ADDSUBPD, 0x66, 0x0f, 0xd0, IRVF_FP | IRVF_SSE3)                                             \
    X(ADDSUBPS, 0xf2, 0x0f, 0xd0, IRVF_FP | IRVF_SSE3)                                             \
    X(ROUNDPS, 0x66, 0x3a, 0x08, IRVF_ONE | IRVF_IMM | IRVF_FP | IRVF_SSE41)                       \
    X(ROUNDPD, 0x66, 0x3a, 0x09, IRVF_ONE | IRVF_IMM | IRVF_FP | IRVF_SSE41)                       \
    X(ROUNDSS, 0x66, 0x3a, 0x0a, IRVF_IMM | IRVF_FP | IRVF_SSE41)                                  \
    X(ROUNDSD, 0x66, 0x3a, 0x0b, IRVF_IMM | IRVF_FP | IRVF_SSE41)                                  \
    X(DPPS, 0x66, 0x3a, 0x40, IRVF_IMM | IRVF_FP | IRVF_SSE41)                                     \
    X(DPPD, 0x66, 0x3a, 0x41, IRVF_IMM | IRVF_FP | IRVF_SSE41)                                     \
    /* moves, merges, shuffles, logic */                                                           \
    X(MOVSS, 0xf3, 0x0f, 0x10, 0)                                                                  \
    X(MOVSD, 0xf2, 0x0f, 0x10, 0)                                                                  \
    X(MOVHLPS, 0, 0x0f, 0x12, 0)                                                                   \
    X(MOVLHPS, 0, 0x0f, 0x16, 0)                                                                   \
    X(MOVQ, 0xf3, 0x0f, 0x7e, IRVF_ONE)                                                            \
    X(MOVSLDUP, 0xf3, 0x0f, 0x12, IRVF_ONE | IRVF_SSE3)                                            \
    X(MOVSHDUP, 0xf3, 0x0f, 0x16, IRVF_ONE | IRVF_SSE3)                                            \
    X(MOVDDUP, 0xf2, 0x0f, 0x12, IRVF_ONE | IRVF_SSE3)                                             \
    X(UNPCKLPS, 0, 0x0f, 0x14, 0)                                                                  \
    X(UNPCKHPS, 0, 0x0f, 0x15, 0)                                                                  \
    X(UNPCKLPD, 0x66, 0x0f, 0x14, 0)                                                               \
    X(UNPCKHPD, 0x66, 0x0f, 0x15, 0)                                                               \
    X(SHUFPS, 0, 0x0f, 0xc6, IRVF_IMM)                                                             \
    X(SHUFPD, 0x66, 0x0f, 0xc6, IRVF_IMM)                                                          \
    X(ANDPS, 0, 0x0f, 0x54, 0)                                                                     \
    X(ANDNPS, 0, 0x0f, 0x55, 0)                                                                    \
    X(ORPS, 0, 0x0f, 0x56, 0)                                                                      \
    X(XORPS, 0, 0x0f, 0x57, 0)                                                                     \
    X(BLENDPS, 0x66, 0x3a, 0x0c, IRVF_IMM | IRVF_SSE41)                                            \
    X(BLENDPD, 0x66, 0x3a, 0x0d, IRVF_IMM | IRVF_SSE41)                                            \
    X(PBLENDW, 0x66, 0x3a, 0x0e, IRVF_IMM | IRVF_SSE41)                                            \
    X(INSERTPS, 0x66, 0x3a, 0x21, IRVF_IMM | IRVF_SSE41)                                           \
    X(PSHUFD, 0x66, 0x0f, 0x70, IRVF_ONE | IRVF_IMM)                                               \
    X(PSHUFHW, 0xf3, 0x0f, 0x70, IRVF_ONE | IRVF_IMM)                                              \
    X(PSHUFLW, 0xf2, 0x0f, 0x70, IRVF_ONE | IRVF_IMM)                                              \
    /* integer */                                                                                  \
    X(PUNPCKLBW, 0x66, 0x0f, 0x60, 0)                                                              \
    X(PUNPCKLWD, 0x66, 0x0f, 0x61, 0)                                                              \
    X(PUNPCKLDQ, 0x66, 0x0f, 0x62, 0)                                                              \
    X(PACKSSWB, 0x66, 0x0f, 0x63, 0)                                                               \
    X(PCMPGTB, 0x66, 0x0f, 0x64, 0)                                                                \
    X(PCMPGTW, 0x66, 0x0f, 0x65, 0)                                                                \
    X(PCMPGTD, 0x66, 0x0f, 0x66, 0)                                                                \
    X(PACKUSWB, 0x66, 0x0f, 0x67, 0)                                                               \
    X(PUNPCKHBW, 0x66, 0x0f, 0x68, 0)                                                              \
    X(PUNPCKHWD, 0x66, 0x0f, 0x69, 0)                                                              \
    X(PUNPCKHDQ, 0x66, 0x0f, 0x6a, 0)                                                              \
    X(PACKSSDW, 0x66, 0x0f, 0x6b, 0)                                                               \
    X(PUNPCKLQDQ, 0x66, 0x0f, 0x6c, 0)                                                             \
    X(PUNPCKHQDQ, 0x66, 0x0f, 0x6d, 0)                                                             \
    X(PCMPEQB, 0x66, 0x0f, 0x74, 0)                                                                \
    X(PCMPEQW, 0x66, 0x0f, 0x75, 0)                                                                \
    X(PCMPEQD, 0x66, 0x0f, 0x76, 0)                                                                \
    X(PSRLW, 0x66, 0x0f, 0xd1, 0)                                                                  \
    X(PSRLD, 0x66, 0x0f, 0xd2, 0)                                                                  \
    X(PSRLQ, 0x66, 0x0f, 0xd3, 0)                                                                  \
    X(PADDQ, 0x66, 0x0f, 0xd4, 0)                                                                  \
    X(PMULLW, 0x66, 0x0f, 0xd5, 0)                                                                 \
    X(PSUBUSB, 0x66, 0x0f, 0xd8, 0)                                                                \
    X(PSUBUSW, 0x66, 0x0f, 0xd9, 0)                                                                \
    X(PMINUB, 0x66, 0x0f, 0xda, 0)                                                                 \
    X(PAND, 0x66, 0x0f, 0xdb, 0)                                                                   \
    X(PADDUSB, 0x66, 0x0f, 0xdc, 0)                                                                \
    X(PADDUSW, 0x66, 0x0f, 0xdd, 0)                                                                \
    X(PMAXUB, 0x66, 0x0f, 0xde, 0)                                                                 \
    X(PANDN, 0x66, 0x0f, 0xdf, 0)                                                                  \
    X(PAVGB, 0x66, 0x0f, 0xe0, 0)                                                                  \
    X(PSRAW, 0x66, 0x0f, 0xe1, 0)                                                                  \
    X(PSRAD, 0x66, 0x0f, 0xe2, 0)                                                                  \
    X(PAVGW, 0x66, 0x0f, 0xe3, 0)                                                                  \
    X(PMULHUW, 0x66, 0x0f, 0xe4, 0)                                                                \
    X(PMULHW, 0x66, 0x0f, 0xe5, 0)                                                                 \
    X(PSUBSB, 0x66, 0x0f, 0xe8, 0)                                                                 \
    X(PSUBSW, 0x66, 0x0f, 0xe9, 0)                                                                 \
    X(PMINSW, 0x66, 0x0f, 0xea, 0)                                                                 \
    X(POR, 0x66, 0x0f, 0xeb, 0)                                                                    \
    X(PADDSB, 0x66, 0x0f, 0xec, 0)                                                                 \
    X(PADDSW, 0x66, 0x0f, 0xed, 0)                                                                 \
    X(PMAXSW, 0x66, 0x0f, 0xee, 0)                                                                 \
    X(PXOR, 0x66, 0x0f, 0xef, 0)                                                                   \
    X(PSLLW, 0x66, 0x0f, 0xf1, 0)                                                                  \
    X(PSLLD, 0x66, 0x0f, 0xf2, 0)                                                                  \
    X(PSLLQ, 0x66, 0x0f, 0xf3, 0)                                                                  \
    X(PMULUDQ, 0x66, 0x0f, 0xf4, 0)                                                                \
    X(PMADDWD, 0x66, 0x0f, 0xf5, 0)                                                                \
    X(PSADBW, 0x66, 0x0f, 0xf6, 0)                                                                 \
    X(PSUBB, 0x66, 0x0f, 0xf8, 0)                                                                  \
    X(PSUBW, 0x66, 0x0f, 0xf9, 0)                                                                  \
    X(PSUBD, 0x66, 0x0f, 0xfa, 0)                                                                  \
    X(PSUBQ, 0x66, 0x0f, 0xfb, 0)                                                                  \
    X(PADDB, 0x66, 0x0f, 0xfc, 0)                                                                  \
    X(PADDW, 0x66, 0x0f, 0xfd, 0)                                                                  \
    X(PADDD, 0x66, 0x0f, 0xfe, 0)                                                                  \
    X(PSRLWI, 0x66, 0x0f, 0x71, IRVF_EXT(2) | IRVF_IMM)                                            \
    X(PSRAWI, 0x66, 0x0f, 0x71, IRVF_EXT(4) | IRVF_IMM)                                            \
    X(PSLLWI, 0x66, 0x0f, 0x71, IRVF_EXT(6) | IRVF_IMM)                                            \
    X(PSRLDI, 0x66, 0x0f, 0x72, IRVF_EXT(2) | IRVF_IMM)                                            \
    X(PSRADI, 0x66, 0x0f, 0x72, IRVF_EXT(4) | IRVF_IMM)                                            \
    X(PSLLDI, 0x66, 0x0f, 0x72, IRVF_EXT(6) | IRVF_IMM)                                            \
    X(PSRLQI, 0x66, 0x0f, 0x73, IRVF_EXT(2) | IRVF_IMM)                                            \
    X(PSRLDQ, 0x66, 0x0f, 0x73, IRVF_EXT(3) | IRVF_IMM)                                            \
    X(PSLLQI, 0x66, 0x0f, 0x73, IRVF_EXT(6) | IRVF_IMM)                                            \
    X(PSLLDQ, 0x66, 0x0f, 0x73, IRVF_EXT(7) | IRVF_IMM)                                            \
    /* SSSE3, SSE4 */                                                                              \
    X(PSHUFB, 0x66, 0x38, 0x00, IRVF_SSSE3)                                                        \
    X(PHADDW, 0x66, 0x38, 0x01, IRVF_SSSE3)                                                        \
    X(PHADDD, 0x66, 0x38, 0x02, IRVF_SSSE3)                                                        \
    X(PHADDSW, 0x66, 0x38, 0x03, IRVF_SSSE3)                                                       \
    X(PMADDUBSW, 0x66, 0x38, 0x04, IRVF_SSSE3)                                                     \
    X(PHSUBW, 0x66, 0x38, 0x05, IRVF_SSSE3)                                                        \
    X(PHSUBD, 0x66, 0x38, 0x06, IRVF_SSSE3)                                                        \
    X(PHSUBSW, 0x66, 0x38, 0x07, IRVF_SSSE3)                                                       \
    X(PSIGNB, 0x66, 0x38, 0x08, IRVF_SSSE3)                                                        \
    X(PSIGNW, 0x66, 0x38, 0x09, IRVF_SSSE3)                                                        \
    X(PSIGND, 0x66, 0x38, 0x0a, IRVF_SSSE3)                                                        \
    X(PMULHRSW, 0x66, 0x38, 0x0b, IRVF_SSSE3)                                                      \
    X(PABSB, 0x66, 0x38, 0x1c, IRVF_ONE | IRVF_SSSE3)                                              \
    X(PABSW, 0x66, 0x38, 0x1d, IRVF_ONE | IRVF_SSSE3)                                              \
    X(PABSD, 0x66, 0x38, 0x1e, IRVF_ONE | IRVF_SSSE3)                                              \
    X(PALIGNR, 0x66, 0x3a, 0x0f, IRVF_IMM | IRVF_SSSE3)                                            \
    X(PMOVSXBW, 0x66, 0x38, 0x20, IRVF_ONE | IRVF_SSE41)                                           \
    X(PMOVSXBD, 0x66, 0x38, 0x21, IRVF_ONE | IRVF_SSE41)                                           \
    X(PMOVSXBQ, 0x66, 0x38, 0x22, IRVF_ONE | IRVF_SSE41)                                           \
    X(PMOVSXWD, 0x66, 0x38, 0x23, IRVF_ONE | IRVF_SSE41)                                           \
    X(PMOVSXWQ, 0x66, 0x38, 0x24, IRVF_ONE | IRVF_SSE41)                                           \
    X(PMOVSXDQ, 0x66, 0x38, 0x25, IRVF_ONE | IRVF_SSE41)                                           \
    X(PMOVZXBW, 0x66, 0x38, 0x30, IRVF_ONE | IRVF_SSE41)                                           \
    X(PMOVZXBD, 0x66, 0x38, 0x31, IRVF_ONE | IRVF_SSE41)                                           \
    X(PMOVZXBQ, 0x66, 0x38, 0x32, IRVF_ONE | IRVF_SSE41)                                           \
    X(PMOVZXWD, 0x66, 0x38, 0x33, IRVF_ONE | IRVF_SSE41)                                           \
    X(PMOVZXWQ, 0x66, 0x38, 0x34, IRVF_ONE | IRVF_SSE41)                                           \
    X(PMOVZXDQ, 0x66, 0x38, 0x35, IRVF_ONE | IRVF_SSE41)                                           \
    X(PHMINPOSUW, 0x66, 0x38, 0x41, IRVF_ONE | IRVF_SSE41)                                         \
    X(PMULDQ, 0x66, 0x38, 0x28, IRVF_SSE41)                                                        \
    X(PCMPEQQ, 0x66, 0x38, 0x29, IRVF_SSE41)                                                       \
    X(PACKUSDW, 0x66, 0x38, 0x2b, IRVF_SSE41)                                                      \
    X(PMINSB, 0x66, 0x38, 0x38, IRVF_SSE41)                                                        \
    X(PMINSD, 0x66, 0x38, 0x39, IRVF_SSE41)                                                        \
    X(PMINUW, 0x66, 0x38, 0x3a, IRVF_SSE41)                                                        \
    X(PMINUD, 0x66, 0x38, 0x3b, IRVF_SSE41)                                                        \
    X(PMAXSB, 0x66, 0x38, 0x3c, IRVF_SSE41)                                                        \
    X(PMAXSD, 0x66, 0x38, 0x3d, IRVF_SSE41)                                                        \
    X(PMAXUW, 0x66, 0x38, 0x3e, IRVF_SSE41)                                                        \
    X(PMAXUD, 0x66, 0x38, 0x3f, IRVF_SSE41)                                                        \
    X(PMULLD, 0x66, 0x38, 0x40, IRVF_SSE41)                                                        \
    X(MPSADBW, 0x66, 0x3a, 0x42, IRVF_IMM | IRVF_SSE41)                                            \
    X(PCMPGTQ, 0x66, 0x38, 0x37, IRVF_SSE42)                                                       \
    /* AES, carry-less multiply, SHA */                                                            \
    X(AESIMC, 0x66, 0x38, 0xdb, IRVF_ONE | IRVF_AES)                                               \
    X(AESENC, 0x66, 0x38, 0xdc, IRVF_AES)                                                          \
    X(AESENCLAST, 0x66, 0x38, 0xdd, IRVF_AES)                                                      \
    X(AESDEC, 0x66, 0x38, 0xde, IRVF_AES)                                                          \
    X(AESDECLAST, 0x66, 0x38, 0xdf, IRVF_AES)                                                      \
    X(AESKEYGENASSIST, 0x66, 0x3a, 0xdf, IRVF_ONE | IRVF_IMM | IRVF_AES)                           \
    X(PCLMULQDQ, 0x66, 0x3a, 0x44, IRVF_IMM | IRVF_CLMUL)                                          \
    X(SHA1NEXTE, 0, 0x38, 0xc8, IRVF_SHA)                                                          \
    X(SHA1MSG1, 0, 0x38, 0xc9, IRVF_SHA)                                                           \
    X(SHA1MSG2, 0, 0x38, 0xca, IRVF_SHA)                                                           \
    X(SHA256MSG1, 0, 0x38, 0xcc, IRVF_SHA)                                                         \
    X(SHA256MSG2, 0, 0x38, 0xcd, IRVF_SHA)                                                         \
    X(SHA1RNDS4, 0, 0x3a, 0xcc, IRVF_IMM | IRVF_SHA)                                               \
    /* to flags */                                                                                 \
    X(UCOMISS, 0, 0x0f, 0x2e, IRVF_FLAGS | IRVF_FP)                                                \
    X(UCOMISD, 0x66, 0x0f, 0x2e, IRVF_FLAGS | IRVF_FP)                                             \
    X(COMISS, 0, 0x0f, 0x2f, IRVF_FLAGS | IRVF_FP)                                                 \
    X(COMISD, 0x66, 0x0f, 0x2f, IRVF_FLAGS | IRVF_FP)                                              \
    X(PTEST, 0x66, 0x38, 0x17, IRVF_FLAGS | IRVF_SSE41)                                            \
    /* to integer */                                                                               \
    X(MOVD_TOI, 0x66, 0x0f, 0x7e, IRVF_TOI | IRVF_REV | IRVF_REXW_BY_TYPE)                         \
    X(MOVMSKPS, 0, 0x0f, 0x50, IRVF_TOI)                                                           \
    X(MOVMSKPD, 0x66, 0x0f, 0x50, IRVF_TOI)                                                        \
    X(PMOVMSKB, 0x66, 0x0f, 0xd7, IRVF_TOI)                                                        \
    X(CVTSS2SI, 0xf3, 0x0f, 0x2d, IRVF_TOI | IRVF_FP | IRVF_REXW_BY_TYPE)                          \
    X(CVTTSS2SI, 0xf3, 0x0f, 0x2c, IRVF_TOI | IRVF_FP | IRVF_REXW_BY_TYPE)                         \
    X(CVTSD2SI, 0xf2, 0x0f, 0x2d, IRVF_TOI | IRVF_FP | IRVF_REXW_BY_TYPE)                          \
    X(CVTTSD2SI, 0xf2, 0x0f, 0x2c, IRVF_TOI | IRVF_FP | IRVF_REXW_BY_TYPE)                         \
    X(PEXTRW, 0x66, 0x0f, 0xc5, IRVF_TOI | IRVF_IMM)                                               \
    X(PEXTRB, 0x66, 0x3a, 0x14, IRVF_TOI | IRVF_REV | IRVF_IMM | IRVF_SSE41)                       \
    X(PEXTRD, 0x66, 0x3a, 0x16, IRVF_TOI | IRVF_REV | IRVF_IMM | IRVF_REXW_BY_TYPE | IRVF_SSE41)   \
    /* from integer */                                                                             \
    X(MOVD_FROMI, 0x66, 0x0f, 0x6e, IRVF_FROMI | IRVF_ONE | IRVF_REXW_BY_TYPE)                     \
    X(CVTSI2SS, 0xf3, 0x0f, 0x2a, IRVF_FROMI | IRVF_FP | IRVF_REXW_BY_TYPE)                        \
    X(CVTSI2SD, 0xf2, 0x0f, 0x2a, IRVF_FROMI | IRVF_FP | IRVF_REXW_BY_TYPE)                        \
    X(PINSRW, 0x66, 0x0f, 0xc4, IRVF_FROMI | IRVF_IMM)                                             \
    X(PINSRB, 0x66, 0x3a, 0x20, IRVF_FROMI | IRVF_IMM | IRVF_SSE41)                                \
    X(PINSRD, 0x66, 0x3a, 0x22, IRVF_FROMI | IRVF_IMM | IRVF_REXW_BY_TYPE | IRVF_SSE41)

typedef enum {
#define X(n, p, m, o, f) IRVOP_##n,
    IR_VOPS(X)
#undef X
        IRVOP_COUNT
} IrVop;

#endif
