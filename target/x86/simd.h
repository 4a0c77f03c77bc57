/*
 * What the SIMD, MMX and x87 parts of the x86 translator share.
 *
 * MXCSR convention: X86Cpu.mxcsr holds the guest's control and mask bits as the guest wrote them.
 * While translated code or a plain helper runs, the host's MXCSR holds the guest's rounding, FTZ
 * and DAZ bits, all exceptions masked, and the *sticky* bits; those in X86Cpu.mxcsr are stale
 * then. The jit loads X86Cpu.mxcsr | 0x1f80 when it enters translated code (and after an
 * IRH_HOSTFP helper) and merges the sticky bits back, mxcsr = (mxcsr & ~0x3f) | (host & 0x3f),
 * when it leaves (and before such a helper). Only x86_live_mxcsr() and x86_set_live_mxcsr() know
 * that here. When the guest has unmasked an exception, M_XMMEXC makes each floating point
 * operation be bracketed by the helpers sse_begin and sse_check.
 *
 * x87: X86Cpu.fstat.ES is always (fstat & ~fctrl & 0x3f) != 0. M_FPUEXC is set in the mode when
 * some x87 exception is unmasked, (fctrl & 0x3f) != 0x3f; without it no x87 exception is pending.
 */
#ifndef RHEA_TARGET_X86_SIMD_H
#define RHEA_TARGET_X86_SIMD_H

#include "accel/jit/ir-vec.h"
#include "target/x86/translate.h"

enum { MXCSR_STICKY = 0x3f, MXCSR_MASKS = 0x1f80, MXCSR_VALID = 0xffff, MXCSR_FTZ = 0x8000 };
enum { FPU_IE = 1, FPU_DE = 2, FPU_ZE = 4, FPU_OE = 8, FPU_UE = 16, FPU_PE = 32, FPU_SF = 64 };
enum { FPU_ES = 1 << 7, FPU_C0 = 1 << 8, FPU_C1 = 1 << 9, FPU_C2 = 1 << 10, FPU_C3 = 1 << 14 };
enum { FPU_EXC = 0x3f, FPU_CC = FPU_C0 | FPU_C1 | FPU_C2 | FPU_C3 };

/* Extensions, gated by X86Cpu.feat[]. */
typedef enum {
    XF_NONE,
    XF_MMX,
    XF_MMXEXT, /* the MMX additions of SSE, also AMD's MmxExt */
    XF_SSE,
    XF_SSE2,
    XF_SSE3,
    XF_SSSE3,
    XF_SSE41,
    XF_SSE42,
    XF_AES,
    XF_CLMUL,
    XF_SHA,
    XF_FXSR,
    XF_XSAVE,
    XF_XSAVEOPT,
    XF_XSAVEC,
    XF_XSAVES,
    XF_CLFSH,
    XF_CLFLUSHOPT,
    XF_CLWB,
} X86Ext;

/* How an opcode of the SIMD maps is translated. */
typedef enum {
    SF_NONE,
    SF_V,       /* xmm = vop(xmm, xmm/mem) */
    SF_LOAD,    /* xmm = xmm/mem, whole register */
    SF_STORE,   /* xmm/mem = xmm */
    SF_NT_LOAD, /* likewise, memory only */
    SF_NT_STORE,
    SF_MOVS_LD, /* movss, movsd: register form merges, memory form zero-fills */
    SF_MOVS_ST,
    SF_MOVL_LD, /* movlps/movlpd; movhlps */
    SF_MOVL_ST,
    SF_MOVH_LD, /* movhps/movhpd; movlhps */
    SF_MOVH_ST,
    SF_MOVQ_ST, /* movq xmm/m64, xmm */
    SF_MOVD_LD, /* movd/movq xmm, r/m */
    SF_MOVD_ST,
    SF_FLAGS,  /* (u)comis*, ptest */
    SF_TOI,    /* cvt*2si */
    SF_MASK,   /* movmsk*, pmovmskb */
    SF_FROMI,  /* cvtsi2* */
    SF_PEXTR,  /* pextr* r/m, xmm */
    SF_PEXTRW, /* pextrw r, xmm */
    SF_PINSR,
    SF_INSERTPS,
    SF_BLENDV,
    SF_SHIFTI, /* groups 71 72 73 */
    SF_MASKMOV,
    SF_PCMPSTR,
    SF_SHA256RNDS2,
    /* MMX */
    SF_M_V,    /* mm = vop(mm, mm/m64), element by element */
    SF_M_PACK, /* both operands make one 128-bit input of a horizontal operation */
    SF_M_LOW,  /* punpckl: mm/m32 */
    SF_M_HIGH, /* punpckh */
    SF_M_SHUFB,
    SF_M_ALIGNR,
    SF_M_LOAD,
    SF_M_STORE,
    SF_M_NT_STORE,
    SF_M_MOVD_LD,
    SF_M_MOVD_ST,
    SF_M_MASK,
    SF_M_PEXTRW,
    SF_M_PINSRW,
    SF_M_SHIFTI,
    SF_M_MASKMOV,
    SF_M_FROM_X,  /* movdq2q, cvtps2pi…: mm = low half of vop(xmm/mem) */
    SF_M_TO_X,    /* movq2dq, cvtpi2pd */
    SF_M_TO_XLOW, /* cvtpi2ps */
} SimdForm;

enum { SM_U16 = 17 }; /* SimdOp.size: 16 bytes, no alignment required */

typedef struct SimdOp {
    uint16_t vop;
    uint8_t form; /* SimdForm */
    uint8_t ext;  /* X86Ext */
    uint8_t size; /* of the memory operand: 2, 4, 8, 16 (aligned), SM_U16 */
} SimdOp;

/* The entry of opcode t->map, t->op with mandatory prefix @pfx (0, 1 = 66, 2 = F3, 3 = F2), or
 * NULL. simd-tab.c */
const SimdOp *x86_simd_lookup(unsigned map, unsigned op, unsigned pfx);
/* Flags (IRVF_*) of a vector operation. */
uint32_t x86_vop_flags(unsigned vop);

/* ---- tr_simd.c ---- */
bool x86_has_ext(const X86Cpu *c, X86Ext ext);
/* The vector operation, checking for unmasked exceptions where the mode says so. */
IrVal x86_tr_vop(Tr *t, unsigned vop, IrVal a, IrVal b, uint8_t imm);
/* Memory operand of @size (as SimdOp.size) as a zero-filled vector. */
IrVal x86_tr_load_vec(Tr *t, IrVal addr, unsigned size);
/* Around an access that is not made by tr_ld…: the limit check before it, and after it the data
 * breakpoint check. */
void x86_tr_before_access(Tr *t, IrVal addr, unsigned bytes, bool write);
void x86_tr_after_access(Tr *t, IrVal addr, unsigned bytes, bool write);
/* Linear address of seg:rDI (maskmov). */
IrVal x86_tr_ds_rdi(Tr *t, unsigned bytes);
/* ---- tr_mmx.c: what has an SF_M_* form; the extension was checked, ModRM not yet read ---- */
void x86_tr_mmx(Tr *t, const SimdOp *o);
void x86_tr_emms(Tr *t);
/* ---- tr_fxsr.c: groups 0F AE and 0F C7 (memory forms of XSAVE…) ---- */
bool x86_tr_grp15(Tr *t);
bool x86_tr_grp9(Tr *t);
/* Leaves the block through the dispatcher if @changed (I64) is not 0. The instruction began with
 * tr_pack_first(). */
void x86_tr_exit_if(Tr *t, IrVal changed);

/* ---- helpers; arguments as in helpers.h ---- */
#define X86_SIMD_HELPERS(X)                                                                        \
    X(sse_begin, 0, 0)                  /* before an operation under M_XMMEXC */                   \
    X(sse_check, 1, IRH_FAULTS)         /* after it: TINY_*, result in simd_tmp[0] */              \
    X(sse_align, 1, IRH_FAULTS)         /* #GP(0) unless 16-byte aligned */                        \
    X(ldmxcsr, 1, IRH_FAULTS | IRH_RET) /* → 1 if the mode changed */                            \
    X(stmxcsr, 0, IRH_RET)                                                                         \
    X(maskmov, 3, IRH_READS | IRH_FAULTS) /* linear, xmm data, xmm mask */                         \
    X(maskmovq, 3, IRH_FAULTS)            /* linear, mm data, mm mask */                           \
    X(pcmpstr, 5,                                                                                  \
      IRH_READS | IRH_WRITES | IRH_RET)       /* op | imm << 8, xmm, xmm or 16 = simd_tmp[0],      \
                                                lengths → flags | index << 32 */                 \
    X(sha256rnds2, 2, IRH_READS | IRH_WRITES) /* xmm, xmm or 16 */                                 \
    X(fpu_pending, 0, IRH_FAULTS)             /* #MF if an x87 exception is pending */             \
    X(fxsave, 2, IRH_READS | IRH_FAULTS)      /* linear, XS_* */                                   \
    X(fxrstor, 2, IRH_FAULTS | IRH_WRITES)                                                         \
    X(xsave, 3, IRH_READS | IRH_FAULTS) /* linear, mask, XS_* */                                   \
    X(xrstor, 3, IRH_FAULTS | IRH_WRITES)

#define X(n, a, f) extern const IrHelper x86_hd_##n;
X86_SIMD_HELPERS(X)
#undef X

/* Result of an operation that can underflow: which lanes sse_check looks at. */
enum { TINY_NONE, TINY_SS, TINY_PS, TINY_SD, TINY_PD };
/* Variants of fxsave, xsave and their opposites. */
enum { XS_64 = 1, XS_COMPACT = 2, XS_OPT = 4, XS_SUPER = 8, XS_CPL0 = 16, XS_CODE64 = 32 };

/* The guest's MXCSR, in a helper without IRH_HOSTFP. */
uint32_t x86_live_mxcsr(X86Cpu *c);
void x86_set_live_mxcsr(X86Cpu *c, uint32_t val);
/* Load the x87 control and status words (TOP in @fstat bits 11-13), ES computed. */
void x86_fpu_set_ctrl(X86Cpu *c, uint16_t fctrl);
void x86_fpu_set_stat(X86Cpu *c, uint16_t fstat);
static inline uint16_t x86_fpu_stat(const X86Cpu *c)
{
    return c->fstat | (c->ftop & 7) << 11;
}
/* Mode of FNINIT; fip, fdp, fop included. */
void x86_fpu_init(X86Cpu *c);
/* #MF (or FERR#) if an unmasked exception is pending. */
void x86_fpu_check_pending(X86Cpu *c);
/* Copies between a buffer and guest memory with the checks of an ordinary access; stores probe
 * all of it first. A fault does jit_raise(). */
void x86_guest_read(X86Cpu *c, uint64_t addr, void *buf, unsigned len);
void x86_guest_write(X86Cpu *c, uint64_t addr, const void *buf, unsigned len);

#endif
