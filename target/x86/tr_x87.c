/*
 * x87: translation. Intel SDM volume 2 appendix A.5 (escape opcodes), volume 1 chapter 8.
 * Operands are loaded and stored by translated code, the operations are helpers (x87.h).
 */
#include "target/x86/x87.h"

#include "target/x86/helpers.h"
#include "target/x86/tr_util.h"

#define FPU_OFF(f) offsetof(X86Cpu, f)

/* ---- instruction and data pointers ---- */

/* The selectors, where the CPU has them. */
static void note_selector(Tr *t, int seg, size_t off)
{
    IrVal sel;

    if (!tr_feat(t, FEAT_7_EBX, 13)) {
        sel = ir_lde(t->b, IR_I32, IRM_16, FPU_OFF(seg[seg].sel));
        ir_ste(t->b, IR_I32, IRM_16, off, sel);
    }
}

/* A non-control instruction was executed: FIP, and FDP if @off (its operand's offset) is not 0.
 * FOP is kept where it matters, as later Intel CPUs do. After everything that can fault. */
static void note(Tr *t, IrVal off)
{
    IrBlock *b = t->b;

    ir_ste(b, IR_I64, IRM_64, FPU_OFF(fip), tr_i64(t, t->pc));
    note_selector(t, S_CS, FPU_OFF(fcs));
    if (off) {
        ir_ste(b, IR_I64, IRM_64, FPU_OFF(fdp), off);
        note_selector(t, t->ea_seg, FPU_OFF(fds));
    }
    if (tr_mode(t, M_FPUEXC)) {
        ir_ste(b, IR_I32, IRM_16, FPU_OFF(fop), tr_i32(t, (t->op & 7) << 8 | t->modrm));
    }
}

/* ---- operands ---- */

typedef struct Opd {
    IrVal off, addr;
} Opd;

static Opd mem_opd(Tr *t, unsigned bytes, bool write)
{
    Opd o;

    o.off = tr_ea_off(t);
    o.addr = tr_linear(t, t->ea_seg, o.off, bytes, write);
    return o;
}

static IrVal code(Tr *t, uint32_t more)
{
    return tr_i64(t, FPU_RAW(t->op, t->modrm) | more);
}

static IrVal load_signed(Tr *t, unsigned bytes, IrVal addr)
{
    return tr_sext(t, IR_I64, bytes, tr_ld(t, bytes, addr));
}

static void emit_pop(Tr *t)
{
    IrBlock *b = t->b;
    IrVal top = ir_lde(b, IR_I32, IRM_8, FPU_OFF(ftop));
    IrVal tags = ir_lde(b, IR_I32, IRM_8, FPU_OFF(ftag_empty));
    IrVal bit = ir_shl(b, IR_I32, tr_i32(t, 1), top);

    ir_ste(b, IR_I32, IRM_8, FPU_OFF(ftag_empty), ir_or(b, IR_I32, tags, bit));
    top = ir_and(b, IR_I32, ir_add(b, IR_I32, top, tr_i32(t, 1)), tr_i32(t, 7));
    ir_ste(b, IR_I32, IRM_8, FPU_OFF(ftop), top);
}

/* ---- memory forms ---- */

static void mem_arith(Tr *t)
{
    static const uint8_t bytes[4] = {4, 4, 8, 2}; /* D8 m32, DA m32int, DC m64, DE m16int */
    unsigned n = bytes[t->op >> 1 & 3];
    Opd o = mem_opd(t, n, false);
    IrVal v = tr_ld(t, n, o.addr);

    ir_call2(t->b, &x86_hd_farith_m, code(t, 0), v);
    note(t, o.off);
}

static void mem_load(Tr *t, unsigned bytes, const IrHelper *h, bool integer)
{
    Opd o = mem_opd(t, bytes, false);

    if (integer) {
        ir_call2(t->b, h, code(t, 0), load_signed(t, bytes, o.addr));
    } else {
        ir_call1(t->b, h, tr_ld(t, bytes, o.addr));
    }
    note(t, o.off);
}

/* fld m80, fbld */
static void mem_load_wide(Tr *t, const IrHelper *h)
{
    Opd o = mem_opd(t, 10, false);
    IrVal hi = ir_add(t->b, IR_I64, o.addr, tr_i64(t, 8)), lo;

    if (!tr_code64(t)) {
        hi = ir_ext32u(t->b, hi);
    }
    lo = tr_ld(t, 8, o.addr);
    ir_call2(t->b, h, lo, tr_ld(t, 2, hi));
    note(t, o.off);
}

static void mem_store(Tr *t, unsigned bytes, bool pop)
{
    IrBlock *b = t->b;
    Opd o = mem_opd(t, bytes, true);

    if (tr_mode(t, M_FPUEXC)) {
        ir_call2(b, &x86_hd_fst_mem_checked, code(t, 0), o.addr);
        x86_tr_after_access(t, o.addr, bytes, true);
    } else {
        tr_st(t, bytes, o.addr, ir_call1(b, &x86_hd_fst_mem, code(t, 0)));
        ir_ste(b, IR_I32, IRM_16, FPU_OFF(fstat), ir_lde(b, IR_I32, IRM_16, FPU_OFF(fstat_next)));
        if (pop) {
            emit_pop(t);
        }
    }
    note(t, o.off);
}

/* fstp m80, fbstp */
static void mem_store_wide(Tr *t)
{
    Opd o = mem_opd(t, 10, true);

    ir_call2(t->b, &x86_hd_fstp_wide, code(t, 0), o.addr);
    x86_tr_after_access(t, o.addr, 10, true);
    note(t, o.off);
}

/* fldenv, fnstenv, frstor, fnsave */
static void mem_env(Tr *t, const IrHelper *h, unsigned extra, bool load)
{
    unsigned fmt = (t->osz == 2 ? FE_16 : 0) | (tr_mode(t, M_PE) ? 0 : FE_REAL);
    unsigned bytes = (fmt & FE_16 ? 14 : 28) + extra;
    Opd o = mem_opd(t, bytes, !load);

    ir_call2(t->b, h, o.addr, tr_i64(t, fmt));
    x86_tr_after_access(t, o.addr, bytes, !load);
    if (load || tr_mode(t, M_FPUEXC)) { /* the exception masks may have changed */
        tr_end_exit(t);
    }
}

static IrVal status_word(Tr *t)
{
    IrBlock *b = t->b;
    IrVal top = ir_lde(b, IR_I32, IRM_8, FPU_OFF(ftop));
    IrVal sw = ir_lde(b, IR_I32, IRM_16, FPU_OFF(fstat));

    return ir_or(b, IR_I32, sw, ir_shl(b, IR_I32, top, tr_i32(t, 11)));
}

static void mem_control(Tr *t, unsigned n)
{
    IrBlock *b = t->b;
    IrVal v;

    if (n == 5) { /* fldcw */
        v = tr_ld(t, 2, mem_opd(t, 2, false).addr);
        x86_tr_exit_if(t, ir_call1(b, &x86_hd_fldcw, v));
    } else { /* fnstcw */
        v = ir_lde(b, IR_I32, IRM_16, FPU_OFF(fctrl));
        tr_st(t, 2, mem_opd(t, 2, true).addr, v);
    }
}

static void mem_d9(Tr *t, unsigned n)
{
    switch (n) {
    case 0:
        mem_load(t, 4, &x86_hd_fld_m32, false);
        break;
    case 2:
    case 3:
        mem_store(t, 4, n == 3);
        break;
    case 4:
        mem_env(t, &x86_hd_fldenv, 0, true);
        break;
    case 6:
        mem_env(t, &x86_hd_fnstenv, 0, false);
        break;
    default:
        mem_control(t, n);
        break;
    }
}

static void mem_db(Tr *t, unsigned n)
{
    switch (n) {
    case 0:
        mem_load(t, 4, &x86_hd_fild, true);
        break;
    case 1:
    case 2:
    case 3:
        mem_store(t, 4, n != 2);
        break;
    case 5:
        mem_load_wide(t, &x86_hd_fld_m80);
        break;
    default:
        mem_store_wide(t);
        break;
    }
}

static void mem_dd(Tr *t, unsigned n)
{
    switch (n) {
    case 0:
        mem_load(t, 8, &x86_hd_fld_m64, false);
        break;
    case 1:
    case 2:
    case 3:
        mem_store(t, 8, n != 2);
        break;
    case 4:
        mem_env(t, &x86_hd_frstor, 80, true);
        break;
    case 6:
        mem_env(t, &x86_hd_fnsave, 80, false);
        break;
    default: /* fnstsw */
        tr_st(t, 2, mem_opd(t, 2, true).addr, status_word(t));
        break;
    }
}

static void mem_df(Tr *t, unsigned n)
{
    switch (n) {
    case 0:
        mem_load(t, 2, &x86_hd_fild, true);
        break;
    case 1:
    case 2:
    case 3:
        mem_store(t, 2, n != 2);
        break;
    case 4:
        mem_load_wide(t, &x86_hd_fbld);
        break;
    case 5:
        mem_load(t, 8, &x86_hd_fild, true);
        break;
    case 6:
        mem_store_wide(t);
        break;
    default:
        mem_store(t, 8, true);
        break;
    }
}

static void mem_form(Tr *t)
{
    unsigned n = t->reg & 7;

    switch (t->op) {
    case 0xd9:
        mem_d9(t, n);
        break;
    case 0xdb:
        mem_db(t, n);
        break;
    case 0xdd:
        mem_dd(t, n);
        break;
    case 0xdf:
        mem_df(t, n);
        break;
    default:
        mem_arith(t);
        break;
    }
}

/* ---- register forms ---- */

static void reg_call(Tr *t, const IrHelper *h, uint32_t more)
{
    ir_call1(t->b, h, code(t, more));
    note(t, 0);
}

static void reg_arith(Tr *t, unsigned n, unsigned i)
{
    static const IrHelper *const h[4] = {&x86_hd_fadd, &x86_hd_fmul, &x86_hd_fsub, &x86_hd_fdiv};
    bool to_st0 = t->op == 0xd8;
    unsigned dst = to_st0 ? 0 : i, src = to_st0 ? i : 0;
    bool rev = n >= 4 && (to_st0 ? n & 1 : !(n & 1));

    reg_call(t,
             h[n < 2   ? n
               : n < 6 ? 2
                       : 3],
             dst << FC_DST_SHIFT | src << FC_SRC_SHIFT | (rev ? FC_REV : 0) |
                 (t->op == 0xde ? FC_POP : 0));
}

static void reg_com(Tr *t, unsigned i, uint32_t more)
{
    reg_call(t, &x86_hd_fcom, i << FC_SRC_SHIFT | more);
}

static void reg_comi(Tr *t, unsigned i, uint32_t more)
{
    IrVal r, before = tr_i64(t, 0);

    if (tr_mode(t, M_FPUEXC)) { /* an unmasked exception leaves the flags alone */
        before = ir_ext32u(t->b, tr_packed(t));
    }
    r = ir_call2(t->b, &x86_hd_fcomi, code(t, i << FC_SRC_SHIFT | more), before);
    note(t, 0);
    tr_set_flags(t, tr_flags_value(r));
}

static void reg_cmov(Tr *t, unsigned n, unsigned i)
{
    static const uint8_t cc[4] = {IRFC_C, IRFC_Z, IRFC_CZ, IRFC_P};
    IrVal cond;

    cond = ir_setflag(t->b, cc[n] | (t->op & 1), &t->flags);
    ir_call2(t->b, &x86_hd_fcmov, code(t, i << FC_SRC_SHIFT), ir_ext32u(t->b, cond));
    note(t, 0);
}

static void reg_d9(Tr *t, unsigned n, unsigned i)
{
    if (n == 0) {
        reg_call(t, &x86_hd_fld_st, 0);
    } else if (n == 1) {
        reg_call(t, &x86_hd_fxch, 0);
    } else if (n == 3) {
        reg_call(t, &x86_hd_fst_st, FC_POP);
    } else {
        reg_call(t, &x86_hd_freg, 0);
    }
}

static void reg_da(Tr *t, unsigned n, unsigned i)
{
    if (n < 4) {
        reg_cmov(t, n, i);
    } else { /* fucompp */
        reg_com(t, 1, FC_QUIET | FC_POP2);
    }
}

static void reg_db(Tr *t, unsigned n, unsigned i)
{
    if (n < 4) {
        reg_cmov(t, n, i);
    } else {
        reg_comi(t, i, n == 5 ? FC_QUIET : 0);
    }
}

static void reg_dd(Tr *t, unsigned n, unsigned i)
{
    switch (n) {
    case 0: /* ffree */
        reg_call(t, &x86_hd_freg, 0);
        break;
    case 1:
        reg_call(t, &x86_hd_fxch, 0);
        break;
    case 2:
    case 3:
        reg_call(t, &x86_hd_fst_st, n == 3 ? FC_POP : 0);
        break;
    default:
        reg_com(t, i, FC_QUIET | (n == 5 ? FC_POP : 0));
        break;
    }
}

static void reg_df(Tr *t, unsigned n, unsigned i)
{
    switch (n) {
    case 0: /* ffreep */
        reg_call(t, &x86_hd_freg, 0);
        break;
    case 1:
        reg_call(t, &x86_hd_fxch, 0);
        break;
    case 2:
    case 3:
        reg_call(t, &x86_hd_fst_st, FC_POP);
        break;
    default:
        reg_comi(t, i, FC_POP | (n == 5 ? FC_QUIET : 0));
        break;
    }
}

static void reg_form(Tr *t)
{
    unsigned n = t->modrm >> 3 & 7, i = t->modrm & 7;

    switch (t->op) {
    case 0xd9:
        reg_d9(t, n, i);
        break;
    case 0xda:
        reg_da(t, n, i);
        break;
    case 0xdb:
        reg_db(t, n, i);
        break;
    case 0xdd:
        reg_dd(t, n, i);
        break;
    case 0xdf:
        reg_df(t, n, i);
        break;
    default: /* D8, DC, DE */
        if (n != 2 && n != 3) {
            reg_arith(t, n, i);
        } else if (t->op != 0xde) {
            reg_com(t, i, n == 3 ? FC_POP : 0);
        } else if (n == 2) {
            reg_com(t, i, FC_POP);
        } else { /* fcompp */
            reg_com(t, 1, FC_POP2);
        }
        break;
    }
}

/* ---- entry ---- */

/* FNSTENV, FNSAVE, FNSTCW, FNSTSW: they do not look at pending exceptions. */
static bool no_wait(const Tr *t)
{
    return t->mod != 3 &&
           ((t->op == 0xd9 && (t->reg & 7) >= 6) || (t->op == 0xdd && (t->reg & 7) >= 6));
}

/* FNSTSW AX and the DB E0…E7 group: no waiting, nothing noted. */
static bool control_reg(Tr *t)
{
    if (t->op == 0xdf && t->modrm == 0xe0) {
        tr_set_reg(t, 2, R_RAX, status_word(t));
        return true;
    }
    if (t->op != 0xdb) {
        return false;
    }
    switch (t->modrm) {
    case 0xe0: /* FNENI, FNDISI, FNSETPM of old coprocessors do nothing */
    case 0xe1:
    case 0xe4:
        return true;
    case 0xe2:
        ir_call0(t->b, &x86_hd_fnclex);
        return true;
    case 0xe3:
        ir_call0(t->b, &x86_hd_fninit);
        if (tr_mode(t, M_FPUEXC)) {
            tr_end_exit(t);
        }
        return true;
    default:
        return false;
    }
}

/* Undefined encodings, which come before a pending exception. */
static bool invalid(Tr *t)
{
    static const uint32_t d9 = 0xffff7f33; /* valid ones of E0…FF */
    unsigned n = t->reg & 7, rm = t->modrm;
    bool no_sse3 = !tr_feat(t, FEAT_1_ECX, 0), no_cmov = !tr_feat(t, FEAT_1_EDX, 15);

    if (t->mod != 3) {
        switch (t->op) {
        case 0xd9:
            return n == 1;
        case 0xdb:
            return n == 4 || n == 6 || (n == 1 && no_sse3);
        case 0xdd:
            return n == 5 || (n == 1 && no_sse3);
        case 0xdf:
            return n == 1 && no_sse3;
        default:
            return false;
        }
    }
    switch (t->op) {
    case 0xd9:
        return n == 2 ? rm != 0xd0 : n >= 4 && !(d9 >> (rm & 31) & 1);
    case 0xda:
        return n < 4 ? no_cmov : rm != 0xe9;
    case 0xdb:
        return n < 4 || n == 5 || n == 6 ? no_cmov : true;
    case 0xdd:
        return n >= 6;
    case 0xde:
        return n == 3 && rm != 0xd9;
    case 0xdf:
        return n == 4 || n == 7 || ((n == 5 || n == 6) && no_cmov);
    default:
        return false;
    }
}

static void check_pending(Tr *t)
{
    if (tr_mode(t, M_FPUEXC)) {
        ir_call0(t->b, &x86_hd_fpu_pending);
    }
}

bool tr_x87(Tr *t)
{
    if (t->op == 0x9b) { /* FWAIT */
        if (tr_mode(t, M_MP) && tr_mode(t, M_TS)) {
            tr_exc(t, EXC_NM);
        } else {
            check_pending(t);
        }
        return true;
    }
    if (tr_mode(t, M_EM | M_TS)) {
        tr_modrm(t);
        tr_exc(t, EXC_NM);
        return true;
    }
    tr_modrm(t);
    if (t->mod == 3 && control_reg(t)) {
        return true;
    }
    if (invalid(t)) {
        tr_ud(t);
        return true;
    }
    if (t->op == 0xd9 && t->mod != 3 && (t->reg & 7) == 5) {
        tr_pack_first(t); /* FLDCW has a branch */
    }
    if (!no_wait(t)) {
        check_pending(t);
    }
    if (t->mod == 3) {
        reg_form(t);
    } else {
        mem_form(t);
    }
    return true;
}
