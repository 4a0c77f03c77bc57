/*
 * x87 instructions as C helpers: the frequent ones with one or two host x87 instructions. Intel SDM
 * volume 1 chapter 8. See x87.h for when these fast forms apply.
 */
#include "target/x86/x87.h"

#include <string.h>

enum { HOST_FCW = 0x37f, FCW_RC_PC = 0xf00, FSW_STICKY = FPU_EXC | FPU_SF };

/* ---- the host's x87 around an operation ---- */

/* Guest rounding and precision are in effect between these two. */
static inline void host_enter(const X86Cpu *c)
{
    if ((c->fctrl & FCW_RC_PC) != (HOST_FCW & FCW_RC_PC)) {
        uint16_t cw = c->fctrl | FPU_EXC;
        asm volatile("fldcw %0" : : "m"(cw));
    }
}

static inline void host_leave(const X86Cpu *c)
{
    if ((c->fctrl & FCW_RC_PC) != (HOST_FCW & FCW_RC_PC)) {
        uint16_t cw = HOST_FCW;
        asm volatile("fldcw %0" : : "m"(cw));
    }
}

static inline void merge(X86Cpu *c, uint16_t sw, uint16_t cc)
{
    c->fstat = (c->fstat & ~cc) | (sw & (FSW_STICKY | cc));
}

/*
 * An operation and the status word it left in ax. The host's sticky flags are what earlier
 * operations left: if one is set that is not set in the guest (%[fresh]: those bits), it may be
 * stale, so they are cleared and the operation is repeated. @drop takes the result off the stack.
 */
#define ONCE(load, op, drop)                                                                       \
    load "\n" op "\n"                                                                              \
         "fnstsw %%ax\ntest %w[fresh], %%ax\njz 1f\n" drop "\nfnclex\n" load "\n" op "\n"          \
         "fnstsw %%ax\n1:\n"
#define DROP "fstp %%st(0)"
#define FRESH(c) [fresh] "r"(FSW_STICKY & ~(c)->fstat)
#define ST_CLOBBERS "st", "st(1)", "st(2)", "memory", "cc"

/* ---- arithmetic ---- */

static inline unsigned fc_dst(uint64_t code)
{
    return code >> FC_DST_SHIFT & 7;
}

static inline unsigned fc_src(uint64_t code)
{
    return code >> FC_SRC_SHIFT & 7;
}

/* dst = dst op src, or src op dst with FC_REV. @insn: on st1 = left and st0 = right. */
#define ARITH(name, insn)                                                                          \
    static void x86_h_##name(VCpu *cpu, uint64_t code)                                             \
    {                                                                                              \
        X86Cpu *c = x86(cpu);                                                                      \
        unsigned d = fc_dst(code), s = fc_src(code);                                               \
        X86Fpr *left = x86_st(c, code & FC_REV ? s : d);                                           \
        X86Fpr *right = x86_st(c, code & FC_REV ? d : s), *dst = x86_st(c, d);                     \
        uint16_t sw;                                                                               \
                                                                                                   \
        if (!x86_fpu_all_masked(c) || x86_st_empty(c, d) || x86_st_empty(c, s)) {                  \
            x86_fpu_host_reg(c, code, 0);                                                          \
            return;                                                                                \
        }                                                                                          \
        host_enter(c);                                                                             \
        asm volatile(ONCE("fldt %[l]\nfldt %[r]", insn, DROP) "fstpt %[d]"                         \
                     : [d] "=m"(*dst), "=&a"(sw)                                                   \
                     : [l] "m"(*left), [r] "m"(*right), FRESH(c)                                   \
                     : ST_CLOBBERS);                                                               \
        host_leave(c);                                                                             \
        merge(c, sw, FPU_C1);                                                                      \
        if (code & FC_POP) {                                                                       \
            x86_fpu_pop(c);                                                                        \
        }                                                                                          \
    }
ARITH(fadd, ".byte 0xde, 0xc1")
ARITH(fmul, ".byte 0xde, 0xc9")
ARITH(fsub, ".byte 0xde, 0xe9")
ARITH(fdiv, ".byte 0xde, 0xf9")

/* ---- arithmetic and comparison with memory ---- */

#define ARITH_M(insn)                                                                              \
    asm volatile(ONCE("fldt %[d]", insn " %[m]", DROP) "fstpt %[d]"                                \
                 : [d] "+m"(*d), "=&a"(sw)                                                         \
                 : [m] "m"(val), FRESH(c)                                                          \
                 : ST_CLOBBERS);                                                                   \
    break
#define COM_M(insn)                                                                                \
    asm volatile(ONCE("fldt %[d]", insn " %[m]", "")                                               \
                 : "=&a"(sw)                                                                       \
                 : [d] "m"(*d), [m] "m"(val), FRESH(c)                                             \
                 : ST_CLOBBERS);                                                                   \
    break
#define ARITH_M_CASES(op, sx)                                                                      \
    case (op) << 3 | 0:                                                                            \
        ARITH_M("fadd" sx);                                                                        \
    case (op) << 3 | 1:                                                                            \
        ARITH_M("fmul" sx);                                                                        \
    case (op) << 3 | 2:                                                                            \
    case (op) << 3 | 3:                                                                            \
        COM_M("fcomp" sx);                                                                         \
    case (op) << 3 | 4:                                                                            \
        ARITH_M("fsub" sx);                                                                        \
    case (op) << 3 | 5:                                                                            \
        ARITH_M("fsubr" sx);                                                                       \
    case (op) << 3 | 6:                                                                            \
        ARITH_M("fdiv" sx);                                                                        \
    case (op) << 3 | 7:                                                                            \
        ARITH_M("fdivr" sx)
#define ARITH_MI_CASES(op, sx)                                                                     \
    case (op) << 3 | 0:                                                                            \
        ARITH_M("fiadd" sx);                                                                       \
    case (op) << 3 | 1:                                                                            \
        ARITH_M("fimul" sx);                                                                       \
    case (op) << 3 | 2:                                                                            \
    case (op) << 3 | 3:                                                                            \
        COM_M("ficomp" sx);                                                                        \
    case (op) << 3 | 4:                                                                            \
        ARITH_M("fisub" sx);                                                                       \
    case (op) << 3 | 5:                                                                            \
        ARITH_M("fisubr" sx);                                                                      \
    case (op) << 3 | 6:                                                                            \
        ARITH_M("fidiv" sx);                                                                       \
    case (op) << 3 | 7:                                                                            \
        ARITH_M("fidivr" sx)

static void x86_h_farith_m(VCpu *cpu, uint64_t code, uint64_t val)
{
    X86Cpu *c = x86(cpu);
    X86Fpr *d = x86_st(c, 0);
    unsigned ext = code >> 3 & 7;
    uint16_t sw = 0;

    if (!x86_fpu_all_masked(c) || x86_st_empty(c, 0)) {
        uint64_t buf[2] = {val, 0};
        x86_fpu_host_mem(c, code, buf);
        return;
    }
    host_enter(c);
    switch ((code >> 8 & 7) << 3 | ext) {
        ARITH_M_CASES(0, "s");
        ARITH_M_CASES(4, "l");
        ARITH_MI_CASES(2, "l");
        ARITH_MI_CASES(6, "s");
    default:
        break;
    }
    host_leave(c);
    merge(c, sw, ext == 2 || ext == 3 ? FPU_CC : FPU_C1);
    if (ext == 3) {
        x86_fpu_pop(c);
    }
}

/* ---- comparisons, conditional moves ---- */

#define COM(insn)                                                                                  \
    asm volatile(ONCE("fldt %[b]\nfldt %[a]", insn, "")                                            \
                 : "=&a"(sw)                                                                       \
                 : [a] "m"(*a), [b] "m"(*b), FRESH(c)                                              \
                 : ST_CLOBBERS)

static void x86_h_fcom(VCpu *cpu, uint64_t code)
{
    X86Cpu *c = x86(cpu);
    unsigned s = fc_src(code);
    X86Fpr *a = x86_st(c, 0), *b = x86_st(c, s);
    uint16_t sw;

    if (!x86_fpu_all_masked(c) || x86_st_empty(c, 0) || x86_st_empty(c, s)) {
        x86_fpu_host_reg(c, code, 0);
        return;
    }
    host_enter(c);
    if (code & FC_QUIET) {
        COM("fucompp");
    } else {
        COM("fcompp");
    }
    host_leave(c);
    merge(c, sw, FPU_CC);
    if (code & (FC_POP | FC_POP2)) {
        x86_fpu_pop(c);
    }
    if (code & FC_POP2) {
        x86_fpu_pop(c);
    }
}

#define COMI(insn)                                                                                 \
    asm volatile(ONCE("fldt %[b]\nfldt %[a]",                                                      \
                      insn " %%st(1), %%st\nlahf\nmovzbl %%ah, %k[f]\nfstp %%st(0)", "")           \
                 : "=&a"(sw), [f] "=&Q"(ef)                                                        \
                 : [a] "m"(*a), [b] "m"(*b), FRESH(c)                                              \
                 : ST_CLOBBERS)

static uint64_t x86_h_fcomi(VCpu *cpu, uint64_t code, uint64_t flags)
{
    X86Cpu *c = x86(cpu);
    unsigned s = fc_src(code);
    X86Fpr *a = x86_st(c, 0), *b = x86_st(c, s);
    uint64_t ef;
    uint16_t sw;

    if (!x86_fpu_all_masked(c) || x86_st_empty(c, 0) || x86_st_empty(c, s)) {
        return x86_eflags_to_cc(x86_fpu_host_reg(c, code, x86_cc_to_eflags(flags)));
    }
    host_enter(c);
    if (code & FC_QUIET) {
        COMI("fucomip");
    } else {
        COMI("fcomip");
    }
    host_leave(c);
    merge(c, sw, FPU_C1);
    if (code & FC_POP) {
        x86_fpu_pop(c);
    }
    return x86_eflags_to_cc(ef & (EF_ZF | EF_PF | EF_CF));
}

static void x86_h_fcmov(VCpu *cpu, uint64_t code, uint64_t cond)
{
    X86Cpu *c = x86(cpu);
    unsigned s = fc_src(code);

    if (x86_st_empty(c, 0) || x86_st_empty(c, s)) {
        /* bit 8 of the opcode negates; the condition's flag is one of C, Z, both, P */
        bool set = (bool)cond != (bool)(code & 0x100);
        static const uint8_t flag[4] = {EF_CF, EF_ZF, EF_CF, EF_PF};
        x86_fpu_host_reg(c, code, set ? flag[code >> 3 & 3] : 0);
        return;
    }
    if (cond) {
        *x86_st(c, 0) = *x86_st(c, s);
    }
}

/* ---- stack moves ---- */

static void x86_h_fld_st(VCpu *cpu, uint64_t code)
{
    X86Cpu *c = x86(cpu);
    X86Fpr *s = x86_st(c, code & 7);

    if (x86_st_empty(c, code & 7) || !x86_st_empty(c, 7)) {
        x86_fpu_host_reg(c, code, 0);
        return;
    }
    c->fstat &= ~FPU_C1;
    *x86_fpu_push(c) = *s;
}

static void x86_h_fst_st(VCpu *cpu, uint64_t code)
{
    X86Cpu *c = x86(cpu);
    unsigned d = code & 7;

    if (x86_st_empty(c, 0)) {
        x86_fpu_host_reg(c, code, 0);
        return;
    }
    c->fstat &= ~FPU_C1;
    *x86_st(c, d) = *x86_st(c, 0);
    c->ftag_empty &= ~(1 << ((c->ftop + d) & 7));
    if (code & FC_POP) {
        x86_fpu_pop(c);
    }
}

static void x86_h_fxch(VCpu *cpu, uint64_t code)
{
    X86Cpu *c = x86(cpu);
    unsigned s = code & 7;
    X86Fpr tmp;

    if (x86_st_empty(c, 0) || x86_st_empty(c, s)) {
        x86_fpu_host_reg(c, code, 0);
        return;
    }
    c->fstat &= ~FPU_C1;
    tmp = *x86_st(c, 0);
    *x86_st(c, 0) = *x86_st(c, s);
    *x86_st(c, s) = tmp;
}

/* ---- loads ---- */

static bool load_on_host(X86Cpu *c, uint16_t raw, uint64_t lo, uint64_t hi)
{
    uint64_t buf[2] = {lo, hi};

    return x86_fpu_host_mem(c, raw, buf);
}

static void push_value(X86Cpu *c, uint64_t mant, uint16_t exp)
{
    X86Fpr *r = x86_fpu_push(c);

    c->fstat &= ~FPU_C1;
    r->mant = mant;
    r->exp = exp;
}

static void x86_h_fld_m32(VCpu *cpu, uint64_t val)
{
    X86Cpu *c = x86(cpu);
    uint32_t e = val >> 23 & 0xff;
    uint16_t sign = val >> 16 & 0x8000;

    if (!x86_st_empty(c, 7) || e == 0xff || (e == 0 && (val & 0x7fffff))) {
        load_on_host(c, FPU_RAW(0xd9, 0), (uint32_t)val, 0);
    } else if (e == 0) {
        push_value(c, 0, sign);
    } else {
        push_value(c, 1ull << 63 | (val & 0x7fffff) << 40, sign | (e - 127 + 16383));
    }
}

static void x86_h_fld_m64(VCpu *cpu, uint64_t val)
{
    X86Cpu *c = x86(cpu);
    uint32_t e = val >> 52 & 0x7ff;
    uint16_t sign = val >> 48 & 0x8000;
    uint64_t frac = val & 0xfffffffffffffu;

    if (!x86_st_empty(c, 7) || e == 0x7ff || (e == 0 && frac)) {
        load_on_host(c, FPU_RAW(0xdd, 0), val, 0);
    } else if (e == 0) {
        push_value(c, 0, sign);
    } else {
        push_value(c, 1ull << 63 | frac << 11, sign | (e - 1023 + 16383));
    }
}

static void x86_h_fild(VCpu *cpu, uint64_t code, uint64_t val)
{
    X86Cpu *c = x86(cpu);

    if (!x86_st_empty(c, 7)) {
        load_on_host(c, code, val, 0);
    } else if (val == 0) {
        push_value(c, 0, 0);
    } else {
        bool neg = (int64_t)val < 0;
        uint64_t mag = neg ? -val : val;
        unsigned n = __builtin_clzll(mag);

        push_value(c, mag << n, (neg ? 0x8000 : 0) | (16383 + 63 - n));
    }
}

static void x86_h_fld_m80(VCpu *cpu, uint64_t mant, uint64_t exp)
{
    X86Cpu *c = x86(cpu);

    if (!x86_st_empty(c, 7)) {
        load_on_host(c, FPU_RAW(0xdb, 5 << 3), mant, exp);
    } else {
        push_value(c, mant, exp);
    }
}

static void x86_h_fbld(VCpu *cpu, uint64_t lo, uint64_t hi)
{
    load_on_host(x86(cpu), FPU_RAW(0xdf, 4 << 3), lo, hi);
}

/* ---- stores ---- */

/* Kinds of store by opcode and ModRM.reg. */
enum {
    ST_M32 = 0xd9 << 3 | 2,
    ST_M64 = 0xdd << 3 | 2,
    IST_M32 = 0xdb << 3 | 2,
    IST_M16 = 0xdf << 3 | 2,
    IST_M64 = 0xdf << 3 | 7,
    ISTT_M32 = 0xdb << 3 | 1,
    ISTT_M64 = 0xdd << 3 | 1,
    ISTT_M16 = 0xdf << 3 | 1,
};

static unsigned store_kind(uint64_t code)
{
    unsigned n = (code >> 8 & 0xff) << 3 | (code >> 3 & 7);

    return n == IST_M64 ? n : (n & 7) == 3 ? n - 1 : n;
}

#define STORE(insn)                                                                                \
    asm volatile(ONCE("fldt %[s]", insn " %[m]", "")                                               \
                 : [m] "=m"(val), "=&a"(sw)                                                        \
                 : [s] "m"(*s), FRESH(c)                                                           \
                 : ST_CLOBBERS);                                                                   \
    break

/* Indefinite values for an empty register. */
static uint64_t store_indefinite(unsigned kind)
{
    switch (kind) {
    case ST_M32:
        return 0xffc00000;
    case ST_M64:
        return 0xfff8000000000000u;
    case IST_M16:
    case ISTT_M16:
        return 0x8000;
    case IST_M32:
    case ISTT_M32:
        return 0x80000000;
    default:
        return 1ull << 63;
    }
}

static uint64_t x86_h_fst_mem(VCpu *cpu, uint64_t code)
{
    X86Cpu *c = x86(cpu);
    X86Fpr *s = x86_st(c, 0);
    unsigned kind = store_kind(code);
    uint64_t val = 0;
    uint16_t sw = 0;

    if (x86_st_empty(c, 0)) {
        c->fstat_next = (c->fstat & ~FPU_C1) | FPU_IE | FPU_SF;
        return store_indefinite(kind);
    }
    host_enter(c);
    switch (kind) {
    case ST_M32:
        STORE("fstps");
    case ST_M64:
        STORE("fstpl");
    case IST_M16:
        STORE("fistps");
    case IST_M32:
        STORE("fistpl");
    case IST_M64:
        STORE("fistpll");
    case ISTT_M16:
        STORE("fisttps");
    case ISTT_M32:
        STORE("fisttpl");
    default:
        STORE("fisttpll");
    }
    host_leave(c);
    c->fstat_next = (c->fstat & ~FPU_C1) | (sw & (FSW_STICKY | FPU_C1));
    return val;
}

static unsigned store_bytes(unsigned kind)
{
    switch (kind) {
    case IST_M16:
    case ISTT_M16:
        return 2;
    case ST_M32:
    case IST_M32:
    case ISTT_M32:
        return 4;
    default:
        return 8;
    }
}

/* What an x87 instruction changes. */
typedef struct FpuRegs {
    X86Fpr fpr[8];
    uint16_t fstat;
    uint8_t ftop, ftag_empty;
} FpuRegs;

static void get_regs(const X86Cpu *c, FpuRegs *r)
{
    memcpy(r->fpr, c->fpr, sizeof r->fpr);
    r->fstat = c->fstat;
    r->ftop = c->ftop;
    r->ftag_empty = c->ftag_empty;
}

static void set_regs(X86Cpu *c, const FpuRegs *r)
{
    memcpy(c->fpr, r->fpr, sizeof r->fpr);
    c->fstat = r->fstat;
    c->ftop = r->ftop;
    c->ftag_empty = r->ftag_empty;
}

/* A store that runs on the host with everything loaded. The write to guest memory may leave this
 * function, to run the instruction again: the state changes only after it. */
static void store_checked(X86Cpu *c, uint16_t raw, uint64_t addr, unsigned bytes)
{
    uint8_t buf[16] = {0};
    FpuRegs before, after;

    jit_probe(&c->vcpu, addr, bytes, JIT_WRITE, x86_mmu_data(c));
    get_regs(c, &before);
    if (x86_fpu_host_mem(c, raw, buf)) {
        get_regs(c, &after);
        set_regs(c, &before);
        x86_guest_write(c, addr, buf, bytes);
        set_regs(c, &after);
    }
}

static void x86_h_fst_mem_checked(VCpu *cpu, uint64_t code, uint64_t addr)
{
    store_checked(x86(cpu), code, addr, store_bytes(store_kind(code)));
}

static void x86_h_fstp_wide(VCpu *cpu, uint64_t code, uint64_t addr)
{
    X86Cpu *c = x86(cpu);

    if (code >> 8 == 0xdb && !x86_st_empty(c, 0)) {
        x86_guest_write(c, addr, x86_st(c, 0)->b, 10);
        c->fstat &= ~FPU_C1;
        x86_fpu_pop(c);
    } else {
        store_checked(c, code, addr, 10);
    }
}

/* ---- other register forms ---- */

#define UNARY(insn)                                                                                \
    asm volatile(ONCE("fldt %[d]", insn, DROP) "fstpt %[d]"                                        \
                 : [d] "+m"(*d), "=&a"(sw)                                                         \
                 : FRESH(c)                                                                        \
                 : ST_CLOBBERS);                                                                   \
    break

/* The frequent ones of D9 E0…FF that need one register. */
static bool fast_unary(X86Cpu *c, unsigned rm)
{
    X86Fpr *d = x86_st(c, 0);
    uint16_t sw = 0;

    switch (rm) {
    case 0xe0: /* fchs, fabs */
    case 0xe1:
        d->exp = rm & 1 ? d->exp & 0x7fff : d->exp ^ 0x8000;
        c->fstat &= ~FPU_C1;
        return true;
    case 0xfa:
    case 0xfc:
        break;
    default:
        return false;
    }
    if (!x86_fpu_all_masked(c)) {
        return false;
    }
    host_enter(c);
    switch (rm) {
    case 0xfa:
        UNARY("fsqrt");
    default:
        UNARY("frndint");
    }
    host_leave(c);
    merge(c, sw, FPU_C1);
    return true;
}

/* FLD1, FLDZ; the other constants depend on the rounding mode. */
static bool fast_const(X86Cpu *c, unsigned rm)
{
    if ((rm != 0xe8 && rm != 0xee) || !x86_st_empty(c, 7)) {
        return false;
    }
    push_value(c, rm == 0xe8 ? 1ull << 63 : 0, rm == 0xe8 ? 16383 : 0);
    return true;
}

static void x86_h_freg(VCpu *cpu, uint64_t code)
{
    X86Cpu *c = x86(cpu);
    unsigned rm = code & 0xff;

    if ((code >> 8 & 0xff) == 0xd9 &&
        (fast_const(c, rm) || (!x86_st_empty(c, 0) && fast_unary(c, rm)))) {
        return;
    }
    x86_fpu_host_reg(c, code, 0);
}

#define X(n, a, f) const IrHelper x86_hd_##n = {#n, (void *)x86_h_##n, a, f};
X(fadd, 1, 0)
X(fmul, 1, 0)
X(fsub, 1, 0)
X(fdiv, 1, 0)
X(fcom, 1, 0)
X(fcomi, 2, IRH_RET)
X(fcmov, 2, 0)
X(farith_m, 2, 0)
X(fld_st, 1, 0)
X(fst_st, 1, 0)
X(fxch, 1, 0)
X(fld_m32, 1, 0)
X(fld_m64, 1, 0)
X(fild, 2, 0)
X(fld_m80, 2, 0)
X(fbld, 2, 0)
X(fst_mem, 1, IRH_RET)
X(fst_mem_checked, 2, IRH_FAULTS)
X(fstp_wide, 2, IRH_FAULTS)
X(freg, 1, 0)
