/*
 * x86 bit manipulation instructions with VEX encoding (BMI1, BMI2). Intel SDM volume 2, chapter 2.3
 * for the prefix. Other VEX instructions (AVX) are not there.
 */
#include "target/x86/helpers.h"
#include "target/x86/int_helpers.h"
#include "target/x86/tr_util.h"

enum { PP_NONE, PP_66, PP_F3, PP_F2 };

typedef struct Vex {
    uint8_t pp, v; /* v: the extra register */
    bool wide;
} Vex;

/* N and Z of @r, C = @c (0 or 1), the rest 0 or undefined. */
static void result_flags(Tr *t, unsigned sz, IrVal r, IrVal c)
{
    IrFlags f = {IRF_LOGIC, sz, r};

    tr_set_flags(t, tr_flags_value(ir_deposit(t->b, IR_I32, ir_flags(t->b, &f), c, 8, 1)));
}

static void op_andn(Tr *t, unsigned sz, unsigned v)
{
    TrOpd o = tr_rm(t);
    IrVal x = tr_opd_ld(t, &o, sz), r = ir_andn(t->b, tr_type(sz), x, xg(XG_RAX + v));

    tr_set_reg(t, sz, t->reg, r);
    tr_set_flags(t, (IrFlags){IRF_LOGIC, sz, r});
}

/* BLSR, BLSMSK, BLSI: clear, mask up to, isolate the lowest set bit. */
static void op_bls(Tr *t, unsigned sz, unsigned v)
{
    unsigned sub = t->modrm >> 3 & 7;
    IrType ty = tr_type(sz);
    TrOpd o = tr_rm(t);
    IrVal x = tr_stable(t, ty, tr_opd_ld(t, &o, sz)), zero = tr_const(t, sz, 0), r;

    if (sub == 3) {
        r = ir_and(t->b, ty, x, ir_neg(t->b, ty, x));
    } else {
        r = ir_sub(t->b, ty, x, tr_const(t, sz, 1));
        r = sub == 1 ? ir_and(t->b, ty, x, r) : ir_xor(t->b, ty, x, r);
    }
    tr_set_reg(t, sz, v, r);
    result_flags(t, sz, r, ir_setcond(t->b, ty, sub == 3 ? IRC_NE : IRC_EQ, x, zero));
}

/* (1 << n) - 1, or all ones if n is not less than the width. n: I32, at most 255. */
static IrVal low_mask(Tr *t, unsigned sz, IrVal n)
{
    IrType ty = tr_type(sz);
    IrVal one = tr_const(t, sz, 1), m;

    m = ir_sub(t->b, ty, ir_shl(t->b, ty, one, tr_zext(t, ty, 1, n)), one);
    return ir_movcond(t->b, ty, IR_I32, IRC_LTU, n, tr_i32(t, sz * 8), m, tr_const(t, sz, ~0ull));
}

static void op_bzhi(Tr *t, unsigned sz, unsigned v)
{
    IrType ty = tr_type(sz);
    TrOpd o = tr_rm(t);
    IrVal x = tr_opd_ld(t, &o, sz), n = ir_ext8u(t->b, IR_I32, xg(XG_RAX + v)), r;

    r = ir_and(t->b, ty, x, low_mask(t, sz, n));
    tr_set_reg(t, sz, t->reg, r);
    result_flags(t, sz, r, ir_setcond(t->b, IR_I32, IRC_GEU, n, tr_i32(t, sz * 8)));
}

static void op_bextr(Tr *t, unsigned sz, unsigned v)
{
    IrBlock *b = t->b;
    IrType ty = tr_type(sz);
    TrOpd o = tr_rm(t);
    IrVal x = tr_opd_ld(t, &o, sz), start = ir_ext8u(b, IR_I32, xg(XG_RAX + v));
    IrVal len = ir_extract(b, IR_I32, xg(XG_RAX + v), 8, 8, false), r;

    r = ir_shr(b, ty, x, tr_zext(t, ty, 1, start));
    r = ir_movcond(b, ty, IR_I32, IRC_LTU, start, tr_i32(t, sz * 8), r, tr_const(t, sz, 0));
    r = ir_and(b, ty, r, low_mask(t, sz, len));
    tr_set_reg(t, sz, t->reg, r);
    tr_set_flags(t, (IrFlags){IRF_LOGIC, sz, r});
}

static void op_shift_x(Tr *t, unsigned sz, const Vex *x)
{
    static const uint8_t ops[] = {[PP_66] = IR_SHL, [PP_F3] = IR_SAR, [PP_F2] = IR_SHR};
    TrOpd o = tr_rm(t);
    IrVal v = tr_opd_ld(t, &o, sz);

    tr_set_reg(t, sz, t->reg, ir_op(t->b, ops[x->pp], tr_type(sz), v, xg(XG_RAX + x->v)));
}

static void op_pdep_pext(Tr *t, unsigned sz, const Vex *x)
{
    TrOpd o = tr_rm(t);
    IrVal mask = tr_zext(t, IR_I64, sz, tr_opd_ld(t, &o, sz)), v = tr_reg(t, sz, x->v);

    tr_set_reg(t, sz, t->reg,
               ir_call2(t->b, x->pp == PP_F2 ? &x86_hd_pdep : &x86_hd_pext, v, mask));
}

static void op_mulx(Tr *t, unsigned sz, unsigned v)
{
    IrBlock *b = t->b;
    TrOpd o = tr_rm(t);
    IrVal x = tr_opd_ld(t, &o, sz), y = xg(XG_RAX + R_RDX), lo, hi;

    if (sz == 8) {
        lo = ir_temp(b, IR_I64);
        hi = ir_temp(b, IR_I64);
        ir_mul2(b, false, IR_I64, lo, hi, x, y);
    } else {
        lo = ir_mul(b, IR_I64, ir_ext32u(b, x), ir_ext32u(b, y));
        hi = ir_shr(b, IR_I64, lo, tr_i64(t, 32));
    }
    tr_set_reg(t, sz, v, lo);
    tr_set_reg(t, sz, t->reg, hi); /* wins when they are the same */
}

static bool map2(Tr *t, const Vex *x)
{
    bool bmi1 = tr_feat(t, FEAT_7_EBX, 3), bmi2 = tr_feat(t, FEAT_7_EBX, 8);
    unsigned sz = x->wide ? 8 : 4;

    tr_modrm(t);
    if (t->op == 0xf2 && x->pp == PP_NONE && bmi1) {
        op_andn(t, sz, x->v);
    } else if (t->op == 0xf3 && x->pp == PP_NONE && bmi1 && (t->modrm >> 3 & 7) - 1u < 3) {
        op_bls(t, sz, x->v);
    } else if (t->op == 0xf5 && x->pp == PP_NONE && bmi2) {
        op_bzhi(t, sz, x->v);
    } else if (t->op == 0xf5 && x->pp >= PP_F3 && bmi2) {
        op_pdep_pext(t, sz, x);
    } else if (t->op == 0xf6 && x->pp == PP_F2 && bmi2) {
        op_mulx(t, sz, x->v);
    } else if (t->op == 0xf7 && x->pp == PP_NONE && bmi1) {
        op_bextr(t, sz, x->v);
    } else if (t->op == 0xf7 && x->pp != PP_NONE && bmi2) {
        op_shift_x(t, sz, x);
    } else {
        return false;
    }
    return true;
}

static bool op_rorx(Tr *t, const Vex *x)
{
    unsigned sz = x->wide ? 8 : 4;
    IrVal n, v;
    TrOpd o;

    if (t->op != 0xf0 || x->pp != PP_F2 || x->v != 0 || !tr_feat(t, FEAT_7_EBX, 8)) {
        return false;
    }
    tr_modrm(t);
    n = tr_const(t, sz, tr_u8(t) & (sz * 8 - 1));
    o = tr_rm(t);
    v = tr_opd_ld(t, &o, sz);
    tr_set_reg(t, sz, t->reg, ir_ror(t->b, tr_type(sz), v, n));
    return true;
}

bool tr_vex(Tr *t)
{
    uint64_t next = t->next;
    uint8_t b1 = tr_u8(t), b2;
    Vex x;

    if (!tr_code64(t) && (!tr_mode(t, M_PE) || (b1 & 0xc0) != 0xc0)) {
        t->next = next; /* LES, LDS */
        return false;
    }
    if (t->op == 0xc5) {
        tr_ud(t);
        return true;
    }
    b2 = tr_u8(t);
    t->op = tr_u8(t);
    if (t->lock || t->p66 || t->rep || t->rex || b2 & 4 /* L */) {
        tr_ud(t);
        return true;
    }
    x = (Vex){.pp = b2 & 3, .v = ~b2 >> 3 & 15, .wide = b2 & 0x80 && tr_code64(t)};
    if (tr_code64(t)) {
        t->rex = 0x40;
        t->rex_r = b1 & 0x80 ? 0 : 8;
        t->rex_x = b1 & 0x40 ? 0 : 8;
        t->rex_b = b1 & 0x20 ? 0 : 8;
    } else {
        x.v &= 7;
    }
    t->map = b1 & 31;
    if (!(t->map == 2 ? map2(t, &x) : t->map == 3 && op_rorx(t, &x))) {
        tr_ud(t);
    }
    return true;
}
