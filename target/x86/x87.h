/*
 * The x87 parts of the x86 CPU: fast helpers (x87_helpers.c), any instruction on the host's x87
 * with the guest's whole state loaded (x87_host.c), environment images (x87_env.c).
 *
 * Fast helpers work on one or two registers on an otherwise empty host stack. They are for the
 * case that all exceptions are masked and no register is missing or in the way; everything else
 * goes to x87_host.c, where the host CPU itself gives the responses to unmasked exceptions.
 */
#ifndef RHEA_TARGET_X86_X87_H
#define RHEA_TARGET_X86_X87_H

#include "target/x86/simd.h"

/* Code argument of helpers: the instruction, FPU_RAW(op, modrm), and what a helper needs of it. */
#define FPU_RAW(op, modrm) ((op) << 8 | (modrm))
enum {
    FC_DST_SHIFT = 16, /* stack register of the destination */
    FC_SRC_SHIFT = 20,
    FC_REV = 1 << 24, /* src - dst, src / dst */
    FC_POP = 1 << 25,
    FC_POP2 = 1 << 26,
    FC_QUIET = 1 << 27, /* FUCOM */
};

#define X86_FPU_HELPERS(X)                                                                         \
    X(fadd, 1, 0) /* code */                                                                       \
    X(fmul, 1, 0)                                                                                  \
    X(fsub, 1, 0)                                                                                  \
    X(fdiv, 1, 0)                                                                                  \
    X(fcom, 1, 0)                                                                                  \
    X(fcomi, 2, IRH_RET) /* code, packed flags before → after */                                 \
    X(fcmov, 2, 0)       /* code, condition */                                                     \
    X(farith_m, 2, 0)    /* code, value from memory */                                             \
    X(fld_st, 1, 0)      /* code */                                                                \
    X(fst_st, 1, 0)                                                                                \
    X(fxch, 1, 0)                                                                                  \
    X(fld_m32, 1, 0) /* value */                                                                   \
    X(fld_m64, 1, 0)                                                                               \
    X(fild, 2, 0)                     /* code, value sign-extended */                              \
    X(fld_m80, 2, 0)                  /* mantissa, sign and exponent */                            \
    X(fbld, 2, 0)                     /* low 8 bytes, high 2 bytes */                              \
    X(fst_mem, 1, IRH_RET)            /* code → value; the new status in fstat_next */           \
    X(fst_mem_checked, 2, IRH_FAULTS) /* code, linear: with unmasked exceptions; stores, pops */   \
    X(fstp_wide, 2, IRH_FAULTS)       /* code, linear: fstp m80, fbstp */                          \
    X(freg, 1, 0)                     /* code: any other register form */                          \
    X(fninit, 0, 0)                                                                                \
    X(fnclex, 0, 0)                                                                                \
    X(fldcw, 1, IRH_RET)      /* value → 1 if the mode changed */                                \
    X(fnstenv, 2, IRH_FAULTS) /* linear, FE_* */                                                   \
    X(fldenv, 2, IRH_FAULTS)                                                                       \
    X(fnsave, 2, IRH_FAULTS)                                                                       \
    X(frstor, 2, IRH_FAULTS)

#define X(n, a, f) extern const IrHelper x86_hd_##n;
X86_FPU_HELPERS(X)
#undef X

/* Format of environment images. */
enum { FE_16 = 1, FE_REAL = 2 };

static inline X86Fpr *x86_st(X86Cpu *c, unsigned i)
{
    return &c->fpr[(c->ftop + i) & 7];
}
static inline bool x86_st_empty(const X86Cpu *c, unsigned i)
{
    return c->ftag_empty >> ((c->ftop + i) & 7) & 1;
}
static inline void x86_fpu_pop(X86Cpu *c)
{
    c->ftag_empty |= 1 << (c->ftop & 7);
    c->ftop = (c->ftop + 1) & 7;
}
/* ST(-1) becomes ST(0); it must be empty. */
static inline X86Fpr *x86_fpu_push(X86Cpu *c)
{
    c->ftop = (c->ftop - 1) & 7;
    c->ftag_empty &= ~(1 << c->ftop);
    return &c->fpr[c->ftop];
}
static inline bool x86_fpu_all_masked(const X86Cpu *c)
{
    return (c->fctrl & FPU_EXC) == FPU_EXC;
}

/* ---- x87_host.c ---- */
/* Execute a register form. @flags: RFLAGS arithmetic bits before; returns those after. */
uint32_t x86_fpu_host_reg(X86Cpu *c, uint16_t raw, uint32_t flags);
/* Execute a memory form with the operand in @buf (16 bytes). True unless an unmasked exception
 * kept it from storing its result. */
bool x86_fpu_host_mem(X86Cpu *c, uint16_t raw, void *buf);

#endif
