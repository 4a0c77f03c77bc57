/*
 * The SIMD opcode maps as data. Intel SDM volume 2, appendix A (opcode map) and chapters 3-5.
 */
#include "target/x86/simd.h"

#define V(op_, pfx, NAME, e, sz) [op_][pfx] = {IRVOP_##NAME, SF_V, XF_##e, sz}
#define W(op_, pfx, NAME, form, e, sz) [op_][pfx] = {IRVOP_##NAME, SF_##form, XF_##e, sz}
#define M(op_, pfx, form, e, sz) [op_][pfx] = {0, SF_##form, XF_##e, sz}
/* packed and scalar, single and double */
#define FP4(op_, N)                                                                                \
    [op_] = {{IRVOP_##N##PS, SF_V, XF_SSE, 16},                                                    \
             {IRVOP_##N##PD, SF_V, XF_SSE2, 16},                                                   \
             {IRVOP_##N##SS, SF_V, XF_SSE, 4},                                                     \
             {IRVOP_##N##SD, SF_V, XF_SSE2, 8}}
#define FPK(op_, N)                                                                                \
    [op_] = {{IRVOP_##N##PS, SF_V, XF_SSE, 16}, {IRVOP_##N##PS, SF_V, XF_SSE2, 16}}
/* MMX without prefix and SSE2 with 66 */
#define IMX(op_, N, mform, mext)                                                                   \
    [op_] = {{IRVOP_##N, SF_M_##mform, XF_##mext, 8}, {IRVOP_##N, SF_V, XF_SSE2, 16}}
#define IM(op_, N) IMX(op_, N, V, MMX)
#define IML(op_, N)                                                                                \
    [op_] = {{IRVOP_##N, SF_M_LOW, XF_MMX, 4}, {IRVOP_##N, SF_V, XF_SSE2, 16}}
#define IMH(op_, N, L)                                                                             \
    [op_] = {{IRVOP_##L, SF_M_HIGH, XF_MMX, 8}, {IRVOP_##N, SF_V, XF_SSE2, 16}}

static const SimdOp map_0f[256][4] = {
    M(0x10, 0, LOAD, SSE, SM_U16),
    M(0x10, 1, LOAD, SSE2, SM_U16),
    W(0x10, 2, MOVSS, MOVS_LD, SSE, 4),
    W(0x10, 3, MOVSD, MOVS_LD, SSE2, 8),
    M(0x11, 0, STORE, SSE, SM_U16),
    M(0x11, 1, STORE, SSE2, SM_U16),
    W(0x11, 2, MOVSS, MOVS_ST, SSE, 4),
    W(0x11, 3, MOVSD, MOVS_ST, SSE2, 8),
    W(0x12, 0, MOVHLPS, MOVL_LD, SSE, 8),
    M(0x12, 1, MOVL_LD, SSE2, 8),
    V(0x12, 2, MOVSLDUP, SSE3, 16),
    V(0x12, 3, MOVDDUP, SSE3, 8),
    M(0x13, 0, MOVL_ST, SSE, 8),
    M(0x13, 1, MOVL_ST, SSE2, 8),
    V(0x14, 0, UNPCKLPS, SSE, 16),
    V(0x14, 1, UNPCKLPD, SSE2, 16),
    V(0x15, 0, UNPCKHPS, SSE, 16),
    V(0x15, 1, UNPCKHPD, SSE2, 16),
    W(0x16, 0, MOVLHPS, MOVH_LD, SSE, 8),
    M(0x16, 1, MOVH_LD, SSE2, 8),
    V(0x16, 2, MOVSHDUP, SSE3, 16),
    M(0x17, 0, MOVH_ST, SSE, 8),
    M(0x17, 1, MOVH_ST, SSE2, 8),
    M(0x28, 0, LOAD, SSE, 16),
    M(0x28, 1, LOAD, SSE2, 16),
    M(0x29, 0, STORE, SSE, 16),
    M(0x29, 1, STORE, SSE2, 16),
    W(0x2a, 0, CVTDQ2PS, M_TO_XLOW, SSE, 8),
    W(0x2a, 1, CVTDQ2PD, M_TO_X, SSE2, 8),
    W(0x2a, 2, CVTSI2SS, FROMI, SSE, 4),
    W(0x2a, 3, CVTSI2SD, FROMI, SSE2, 4),
    M(0x2b, 0, NT_STORE, SSE, 16),
    M(0x2b, 1, NT_STORE, SSE2, 16),
    W(0x2c, 0, CVTTPS2DQ, M_FROM_X, SSE, 8),
    W(0x2c, 1, CVTTPD2DQ, M_FROM_X, SSE2, 16),
    W(0x2c, 2, CVTTSS2SI, TOI, SSE, 4),
    W(0x2c, 3, CVTTSD2SI, TOI, SSE2, 8),
    W(0x2d, 0, CVTPS2DQ, M_FROM_X, SSE, 8),
    W(0x2d, 1, CVTPD2DQ, M_FROM_X, SSE2, 16),
    W(0x2d, 2, CVTSS2SI, TOI, SSE, 4),
    W(0x2d, 3, CVTSD2SI, TOI, SSE2, 8),
    W(0x2e, 0, UCOMISS, FLAGS, SSE, 4),
    W(0x2e, 1, UCOMISD, FLAGS, SSE2, 8),
    W(0x2f, 0, COMISS, FLAGS, SSE, 4),
    W(0x2f, 1, COMISD, FLAGS, SSE2, 8),
    W(0x50, 0, MOVMSKPS, MASK, SSE, 0),
    W(0x50, 1, MOVMSKPD, MASK, SSE2, 0),
    FP4(0x51, SQRT),
    V(0x52, 0, RSQRTPS, SSE, 16),
    V(0x52, 2, RSQRTSS, SSE, 4),
    V(0x53, 0, RCPPS, SSE, 16),
    V(0x53, 2, RCPSS, SSE, 4),
    FPK(0x54, AND),
    FPK(0x55, ANDN),
    FPK(0x56, OR),
    FPK(0x57, XOR),
    FP4(0x58, ADD),
    FP4(0x59, MUL),
    V(0x5a, 0, CVTPS2PD, SSE2, 8),
    V(0x5a, 1, CVTPD2PS, SSE2, 16),
    V(0x5a, 2, CVTSS2SD, SSE2, 4),
    V(0x5a, 3, CVTSD2SS, SSE2, 8),
    V(0x5b, 0, CVTDQ2PS, SSE2, 16),
    V(0x5b, 1, CVTPS2DQ, SSE2, 16),
    V(0x5b, 2, CVTTPS2DQ, SSE2, 16),
    FP4(0x5c, SUB),
    FP4(0x5d, MIN),
    FP4(0x5e, DIV),
    FP4(0x5f, MAX),
    IML(0x60, PUNPCKLBW),
    IML(0x61, PUNPCKLWD),
    IML(0x62, PUNPCKLDQ),
    IMX(0x63, PACKSSWB, PACK, MMX),
    IM(0x64, PCMPGTB),
    IM(0x65, PCMPGTW),
    IM(0x66, PCMPGTD),
    IMX(0x67, PACKUSWB, PACK, MMX),
    IMH(0x68, PUNPCKHBW, PUNPCKLBW),
    IMH(0x69, PUNPCKHWD, PUNPCKLWD),
    IMH(0x6a, PUNPCKHDQ, PUNPCKLDQ),
    IMX(0x6b, PACKSSDW, PACK, MMX),
    V(0x6c, 1, PUNPCKLQDQ, SSE2, 16),
    V(0x6d, 1, PUNPCKHQDQ, SSE2, 16),
    M(0x6e, 0, M_MOVD_LD, MMX, 4),
    M(0x6e, 1, MOVD_LD, SSE2, 4),
    M(0x6f, 0, M_LOAD, MMX, 8),
    M(0x6f, 1, LOAD, SSE2, 16),
    M(0x6f, 2, LOAD, SSE2, SM_U16),
    W(0x70, 0, PSHUFLW, M_V, MMXEXT, 8),
    V(0x70, 1, PSHUFD, SSE2, 16),
    V(0x70, 2, PSHUFHW, SSE2, 16),
    V(0x70, 3, PSHUFLW, SSE2, 16),
    M(0x71, 0, M_SHIFTI, MMX, 0),
    M(0x71, 1, SHIFTI, SSE2, 0),
    M(0x72, 0, M_SHIFTI, MMX, 0),
    M(0x72, 1, SHIFTI, SSE2, 0),
    M(0x73, 0, M_SHIFTI, MMX, 0),
    M(0x73, 1, SHIFTI, SSE2, 0),
    IM(0x74, PCMPEQB),
    IM(0x75, PCMPEQW),
    IM(0x76, PCMPEQD),
    V(0x7c, 1, HADDPD, SSE3, 16),
    V(0x7c, 3, HADDPS, SSE3, 16),
    V(0x7d, 1, HSUBPD, SSE3, 16),
    V(0x7d, 3, HSUBPS, SSE3, 16),
    M(0x7e, 0, M_MOVD_ST, MMX, 4),
    M(0x7e, 1, MOVD_ST, SSE2, 4),
    V(0x7e, 2, MOVQ, SSE2, 8),
    M(0x7f, 0, M_STORE, MMX, 8),
    M(0x7f, 1, STORE, SSE2, 16),
    M(0x7f, 2, STORE, SSE2, SM_U16),
    FP4(0xc2, CMP),
    W(0xc4, 0, PINSRW, M_PINSRW, MMXEXT, 2),
    W(0xc4, 1, PINSRW, PINSR, SSE2, 2),
    W(0xc5, 0, PEXTRW, M_PEXTRW, MMXEXT, 2),
    W(0xc5, 1, PEXTRW, PEXTRW, SSE2, 2),
    V(0xc6, 0, SHUFPS, SSE, 16),
    V(0xc6, 1, SHUFPD, SSE2, 16),
    V(0xd0, 1, ADDSUBPD, SSE3, 16),
    V(0xd0, 3, ADDSUBPS, SSE3, 16),
    IM(0xd1, PSRLW),
    IM(0xd2, PSRLD),
    IM(0xd3, PSRLQ),
    IMX(0xd4, PADDQ, V, SSE2),
    IM(0xd5, PMULLW),
    M(0xd6, 1, MOVQ_ST, SSE2, 8),
    W(0xd6, 2, MOVQ, M_TO_X, SSE2, 0),
    W(0xd6, 3, MOVQ, M_FROM_X, SSE2, 0),
    W(0xd7, 0, PMOVMSKB, M_MASK, MMXEXT, 0),
    W(0xd7, 1, PMOVMSKB, MASK, SSE2, 0),
    IM(0xd8, PSUBUSB),
    IM(0xd9, PSUBUSW),
    IMX(0xda, PMINUB, V, MMXEXT),
    IM(0xdb, PAND),
    IM(0xdc, PADDUSB),
    IM(0xdd, PADDUSW),
    IMX(0xde, PMAXUB, V, MMXEXT),
    IM(0xdf, PANDN),
    IMX(0xe0, PAVGB, V, MMXEXT),
    IM(0xe1, PSRAW),
    IM(0xe2, PSRAD),
    IMX(0xe3, PAVGW, V, MMXEXT),
    IMX(0xe4, PMULHUW, V, MMXEXT),
    IM(0xe5, PMULHW),
    V(0xe6, 1, CVTTPD2DQ, SSE2, 16),
    V(0xe6, 2, CVTDQ2PD, SSE2, 8),
    V(0xe6, 3, CVTPD2DQ, SSE2, 16),
    M(0xe7, 0, M_NT_STORE, MMXEXT, 8),
    M(0xe7, 1, NT_STORE, SSE2, 16),
    IM(0xe8, PSUBSB),
    IM(0xe9, PSUBSW),
    IMX(0xea, PMINSW, V, MMXEXT),
    IM(0xeb, POR),
    IM(0xec, PADDSB),
    IM(0xed, PADDSW),
    IMX(0xee, PMAXSW, V, MMXEXT),
    IM(0xef, PXOR),
    M(0xf0, 3, NT_LOAD, SSE3, SM_U16),
    IM(0xf1, PSLLW),
    IM(0xf2, PSLLD),
    IM(0xf3, PSLLQ),
    IMX(0xf4, PMULUDQ, V, SSE2),
    IM(0xf5, PMADDWD),
    IMX(0xf6, PSADBW, V, MMXEXT),
    M(0xf7, 0, M_MASKMOV, MMXEXT, 8),
    M(0xf7, 1, MASKMOV, SSE2, 16),
    IM(0xf8, PSUBB),
    IM(0xf9, PSUBW),
    IM(0xfa, PSUBD),
    IMX(0xfb, PSUBQ, V, SSE2),
    IM(0xfc, PADDB),
    IM(0xfd, PADDW),
    IM(0xfe, PADDD),
};

/* 0F 38 and 0F 3A: without prefix and with 66 only. */
#define S3(op_, N, mform)                                                                          \
    [op_] = {{IRVOP_##N, SF_M_##mform, XF_SSSE3, 8}, {IRVOP_##N, SF_V, XF_SSSE3, 16}}
#define S41(op_, N, sz) V(op_, 1, N, SSE41, sz)

static const SimdOp map_38[256][2] = {
    S3(0x00, PSHUFB, SHUFB),
    S3(0x01, PHADDW, PACK),
    S3(0x02, PHADDD, PACK),
    S3(0x03, PHADDSW, PACK),
    S3(0x04, PMADDUBSW, V),
    S3(0x05, PHSUBW, PACK),
    S3(0x06, PHSUBD, PACK),
    S3(0x07, PHSUBSW, PACK),
    S3(0x08, PSIGNB, V),
    S3(0x09, PSIGNW, V),
    S3(0x0a, PSIGND, V),
    S3(0x0b, PMULHRSW, V),
    W(0x10, 1, PCMPGTB, BLENDV, SSE41, 16),
    W(0x14, 1, PSRADI, BLENDV, SSE41, 16),
    W(0x15, 1, PSHUFD, BLENDV, SSE41, 16),
    W(0x17, 1, PTEST, FLAGS, SSE41, 16),
    S3(0x1c, PABSB, V),
    S3(0x1d, PABSW, V),
    S3(0x1e, PABSD, V),
    S41(0x20, PMOVSXBW, 8),
    S41(0x21, PMOVSXBD, 4),
    S41(0x22, PMOVSXBQ, 2),
    S41(0x23, PMOVSXWD, 8),
    S41(0x24, PMOVSXWQ, 4),
    S41(0x25, PMOVSXDQ, 8),
    S41(0x28, PMULDQ, 16),
    S41(0x29, PCMPEQQ, 16),
    M(0x2a, 1, NT_LOAD, SSE41, 16),
    S41(0x2b, PACKUSDW, 16),
    S41(0x30, PMOVZXBW, 8),
    S41(0x31, PMOVZXBD, 4),
    S41(0x32, PMOVZXBQ, 2),
    S41(0x33, PMOVZXWD, 8),
    S41(0x34, PMOVZXWQ, 4),
    S41(0x35, PMOVZXDQ, 8),
    V(0x37, 1, PCMPGTQ, SSE42, 16),
    S41(0x38, PMINSB, 16),
    S41(0x39, PMINSD, 16),
    S41(0x3a, PMINUW, 16),
    S41(0x3b, PMINUD, 16),
    S41(0x3c, PMAXSB, 16),
    S41(0x3d, PMAXSD, 16),
    S41(0x3e, PMAXUW, 16),
    S41(0x3f, PMAXUD, 16),
    S41(0x40, PMULLD, 16),
    S41(0x41, PHMINPOSUW, 16),
    V(0xc8, 0, SHA1NEXTE, SHA, 16),
    V(0xc9, 0, SHA1MSG1, SHA, 16),
    V(0xca, 0, SHA1MSG2, SHA, 16),
    M(0xcb, 0, SHA256RNDS2, SHA, 16),
    V(0xcc, 0, SHA256MSG1, SHA, 16),
    V(0xcd, 0, SHA256MSG2, SHA, 16),
    V(0xdb, 1, AESIMC, AES, 16),
    V(0xdc, 1, AESENC, AES, 16),
    V(0xdd, 1, AESENCLAST, AES, 16),
    V(0xde, 1, AESDEC, AES, 16),
    V(0xdf, 1, AESDECLAST, AES, 16),
};

static const SimdOp map_3a[256][2] = {
    S41(0x08, ROUNDPS, 16),
    S41(0x09, ROUNDPD, 16),
    S41(0x0a, ROUNDSS, 4),
    S41(0x0b, ROUNDSD, 8),
    S41(0x0c, BLENDPS, 16),
    S41(0x0d, BLENDPD, 16),
    S41(0x0e, PBLENDW, 16),
    S3(0x0f, PALIGNR, ALIGNR),
    W(0x14, 1, PEXTRB, PEXTR, SSE41, 1),
    W(0x15, 1, PEXTRW, PEXTR, SSE41, 2),
    W(0x16, 1, PEXTRD, PEXTR, SSE41, 4),
    W(0x17, 1, PEXTRD, PEXTR, SSE41, 5), /* EXTRACTPS: 4 bytes whatever REX.W says */
    W(0x20, 1, PINSRB, PINSR, SSE41, 1),
    W(0x21, 1, INSERTPS, INSERTPS, SSE41, 4),
    W(0x22, 1, PINSRD, PINSR, SSE41, 4),
    S41(0x40, DPPS, 16),
    S41(0x41, DPPD, 16),
    S41(0x42, MPSADBW, 16),
    V(0x44, 1, PCLMULQDQ, CLMUL, 16),
    M(0x60, 1, PCMPSTR, SSE42, SM_U16),
    M(0x61, 1, PCMPSTR, SSE42, SM_U16),
    M(0x62, 1, PCMPSTR, SSE42, SM_U16),
    M(0x63, 1, PCMPSTR, SSE42, SM_U16),
    V(0xcc, 0, SHA1RNDS4, SHA, 16),
    V(0xdf, 1, AESKEYGENASSIST, AES, 16),
};

const SimdOp *x86_simd_lookup(unsigned map, unsigned op, unsigned pfx)
{
    const SimdOp *o = NULL;

    if (map == 1) {
        o = &map_0f[op][pfx];
    } else if (map == 2 && pfx < 2) {
        o = &map_38[op][pfx];
    } else if (map == 3 && pfx < 2) {
        o = &map_3a[op][pfx];
    }
    return o && o->form != SF_NONE ? o : NULL;
}

static const uint32_t vop_flags[IRVOP_COUNT] = {
#define X(n, p, m, o, f) f,
    IR_VOPS(X)
#undef X
};

uint32_t x86_vop_flags(unsigned vop)
{
    return vop_flags[vop];
}
