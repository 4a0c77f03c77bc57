/*
 * MMX and the SSE instructions with MMX operands: translation. Intel SDM volume 1 chapter 9.
 * MM registers are the low 8 bytes of the physical x87 registers. They are computed with the
 * 128-bit vector operations; only the low half of the result counts. Each MMX instruction but
 * EMMS sets TOP to 0 and marks all registers valid; a write sets the exponent part to all ones.
 */
#include "target/x86/simd.h"

#include "target/x86/helpers.h"

static size_t mm_off(unsigned n)
{
    return offsetof(X86Cpu, fpr) + (n & 7) * sizeof(X86Fpr);
}

static IrVal mm_get(Tr *t, unsigned n)
{
    return ir_vlde(t->b, 8, mm_off(n));
}

/* TOP = 0, all valid. After everything that can fault. */
static void mm_enter(Tr *t)
{
    _Static_assert(offsetof(X86Cpu, ftag_empty) == offsetof(X86Cpu, ftop) + 1, "stored together");
    ir_ste(t->b, IR_I32, IRM_16, offsetof(X86Cpu, ftop), tr_i32(t, 0));
}

static void mm_set(Tr *t, unsigned n, IrVal v)
{
    mm_enter(t);
    ir_vste(t->b, 8, mm_off(n), v);
    ir_ste(t->b, IR_I32, IRM_16, mm_off(n) + offsetof(X86Fpr, exp), tr_i32(t, 0xffff));
}

static IrVal mm_rm(Tr *t, unsigned size)
{
    return t->mod == 3 ? mm_get(t, t->rm) : x86_tr_load_vec(t, tr_ea(t), size);
}

/* #UD, #NM; true if one was raised. #MF, where x87 exceptions can be pending at all; @mmx: the
 * instruction makes the transition to MMX state. */
static bool mm_check(Tr *t, bool ud, bool mmx)
{
    if (tr_mode(t, M_EM) || ud) {
        tr_ud(t);
        return true;
    }
    if (tr_mode(t, M_TS)) {
        tr_exc(t, EXC_NM);
        return true;
    }
    if (mmx && tr_mode(t, M_FPUEXC)) {
        ir_call0(t->b, &x86_hd_fpu_pending);
    }
    return false;
}

static const uint16_t shift_vops[3][8] = {
    [0] = {[2] = IRVOP_PSRLWI, [4] = IRVOP_PSRAWI, [6] = IRVOP_PSLLWI},
    [1] = {[2] = IRVOP_PSRLDI, [4] = IRVOP_PSRADI, [6] = IRVOP_PSLLDI},
    [2] = {[2] = IRVOP_PSRLQI, [6] = IRVOP_PSLLQI},
};

/* Forms that ModRM makes undefined. */
static bool invalid(Tr *t, const SimdOp *o)
{
    switch (o->form) {
    case SF_M_NT_STORE:
        return t->mod == 3;
    case SF_M_MASK:
    case SF_M_PEXTRW:
    case SF_M_MASKMOV:
        return t->mod != 3;
    case SF_M_SHIFTI:
        return t->mod != 3 || !shift_vops[t->op - 0x71][t->reg & 7];
    case SF_M_FROM_X:
    case SF_M_TO_X:
    case SF_M_TO_XLOW: /* size 0: movdq2q, movq2dq */
        return !tr_mode(t, M_OSFXSR) || (o->size == 0 && t->mod != 3);
    default:
        return false;
    }
}

/* cvtpi2pd and cvtpi2ps with a memory operand do not touch MMX state. (The manual says that only of
 * the former; AMD CPUs do so for both.) */
static bool is_mmx(Tr *t, const SimdOp *o)
{
    return (o->form != SF_M_TO_X && o->form != SF_M_TO_XLOW) || t->mod == 3;
}

static void do_op(Tr *t, const SimdOp *o)
{
    IrBlock *b = t->b;
    uint8_t imm = x86_vop_flags(o->vop) & IRVF_IMM ? tr_u8(t) : 0;
    IrVal src = mm_rm(t, o->size), dst = mm_get(t, t->reg), v;

    switch (o->form) {
    case SF_M_PACK:
        v = ir_vop(b, IRVOP_PUNPCKLQDQ, dst, src, 0);
        v = ir_vop(b, o->vop, v, v, 0);
        break;
    case SF_M_HIGH:
        v = ir_vop(b, o->vop, dst, src, 0);
        v = ir_vop(b, IRVOP_PSRLDQ, v, 0, 8);
        break;
    case SF_M_SHUFB: /* three bits select */
        v = ir_vfromi(b, IR_I64, IRVOP_MOVD_FROMI, 0, tr_i64(t, 0x8787878787878787u), 0);
        v = ir_vop(b, o->vop, dst, ir_vop(b, IRVOP_PAND, src, v, 0), 0);
        break;
    case SF_M_ALIGNR:
        v = ir_vop(b, IRVOP_PUNPCKLQDQ, src, dst, 0);
        v = ir_vop(b, IRVOP_PSRLDQ, v, 0, imm);
        break;
    default: /* SF_M_V, SF_M_LOW */
        v = x86_tr_vop(t, o->vop, dst, src, imm);
        break;
    }
    mm_set(t, t->reg, v);
}

static void do_move(Tr *t, const SimdOp *o)
{
    bool store = o->form != SF_M_LOAD;

    if (t->mod == 3) {
        mm_set(t, store ? t->rm : t->reg, mm_get(t, store ? t->reg : t->rm));
    } else if (store) {
        tr_stv(t, tr_ea(t), mm_get(t, t->reg), 8);
        mm_enter(t);
    } else {
        mm_set(t, t->reg, tr_ldv(t, tr_ea(t), 8));
    }
}

static void do_movd(Tr *t, const SimdOp *o)
{
    IrBlock *b = t->b;
    unsigned bytes = t->rex & 8 ? 8 : 4;
    IrType ty = bytes == 8 ? IR_I64 : IR_I32;

    if (o->form == SF_M_MOVD_LD) {
        if (t->mod == 3) {
            IrVal i = tr_reg(t, bytes, t->rm);
            mm_set(t, t->reg, ir_vfromi(b, ty, IRVOP_MOVD_FROMI, 0, i, 0));
        } else {
            mm_set(t, t->reg, tr_ldv(t, tr_ea(t), bytes));
        }
        return;
    }
    if (t->mod == 3) {
        tr_set_reg(t, bytes, t->rm, ir_vtoi(b, ty, IRVOP_MOVD_TOI, mm_get(t, t->reg), 0));
    } else {
        tr_stv(t, tr_ea(t), mm_get(t, t->reg), bytes);
    }
    mm_enter(t);
}

/* pmovmskb, pextrw, pinsrw */
static void do_int(Tr *t, const SimdOp *o)
{
    IrBlock *b = t->b;
    uint8_t imm = o->form == SF_M_MASK ? 0 : tr_u8(t) & 3;
    IrVal i;

    if (o->form == SF_M_PINSRW) {
        i = t->mod == 3 ? tr_reg(t, 4, t->rm) : tr_ld(t, 2, tr_ea(t));
        mm_set(t, t->reg, ir_vfromi(b, IR_I32, o->vop, mm_get(t, t->reg), i, imm));
    } else {
        tr_set_reg(t, 4, t->reg, ir_vtoi(b, IR_I32, o->vop, mm_get(t, t->rm), imm));
        mm_enter(t);
    }
}

static void do_shifti(Tr *t)
{
    uint8_t imm = tr_u8(t);

    mm_set(t, t->rm, ir_vop(t->b, shift_vops[t->op - 0x71][t->reg & 7], mm_get(t, t->rm), 0, imm));
}

static void do_maskmov(Tr *t)
{
    ir_call3(t->b, &x86_hd_maskmovq, x86_tr_ds_rdi(t, 8), tr_i64(t, t->reg & 7),
             tr_i64(t, t->rm & 7));
    mm_enter(t);
}

/* Between MM and XMM: conversions and moves. */
static void do_mixed(Tr *t, const SimdOp *o)
{
    IrBlock *b = t->b;
    IrVal src, v, d;

    if (o->form == SF_M_FROM_X) {
        src = t->mod == 3 ? xg(XG_XMM0 + t->rm) : x86_tr_load_vec(t, tr_ea(t), o->size);
        if (o->size == 8 && t->mod == 3) {
            src = ir_vop(b, IRVOP_MOVQ, 0, src, 0); /* no exceptions of the upper half */
        }
        if (tr_mode(t, M_XMMEXC)) {
            mm_enter(t); /* #XM finds the transition made */
        }
        mm_set(t, t->reg, o->size ? x86_tr_vop(t, o->vop, 0, src, 0) : src);
        return;
    }
    src = mm_rm(t, 8);
    if (tr_mode(t, M_XMMEXC) && is_mmx(t, o)) {
        mm_enter(t);
    }
    v = o->size ? x86_tr_vop(t, o->vop, 0, src, 0) : src;
    d = xg(XG_XMM0 + t->reg);
    if (o->form == SF_M_TO_XLOW) {
        ir_vop_to(b, IRVOP_MOVSD, d, d, v, 0);
    } else {
        ir_mov(b, IR_V128, d, v);
    }
    if (is_mmx(t, o)) {
        mm_enter(t);
    }
}

void x86_tr_mmx(Tr *t, const SimdOp *o)
{
    tr_modrm(t);
    if (mm_check(t, invalid(t, o), is_mmx(t, o))) {
        return;
    }
    switch (o->form) {
    case SF_M_LOAD:
    case SF_M_STORE:
    case SF_M_NT_STORE:
        do_move(t, o);
        break;
    case SF_M_MOVD_LD:
    case SF_M_MOVD_ST:
        do_movd(t, o);
        break;
    case SF_M_MASK:
    case SF_M_PEXTRW:
    case SF_M_PINSRW:
        do_int(t, o);
        break;
    case SF_M_SHIFTI:
        do_shifti(t);
        break;
    case SF_M_MASKMOV:
        do_maskmov(t);
        break;
    case SF_M_FROM_X:
    case SF_M_TO_X:
    case SF_M_TO_XLOW:
        do_mixed(t, o);
        break;
    default:
        do_op(t, o);
        break;
    }
}

void x86_tr_emms(Tr *t)
{
    if (!mm_check(t, t->lock || !x86_has_ext(t->c, XF_MMX), true)) {
        /* TOP = 0, all empty */
        ir_ste(t->b, IR_I32, IRM_16, offsetof(X86Cpu, ftop), tr_i32(t, 0xff00));
    }
}
