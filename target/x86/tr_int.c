/*
 * x86 integer instructions: data movement, arithmetic, bits. Intel SDM volume 2.
 *
 * Flags: nothing here computes flags; tr_set_flags() says how they could be. What is undefined
 * in the manual is whatever is cheapest.
 */
#include "target/x86/helpers.h"
#include "target/x86/int_helpers.h"
#include "target/x86/tr_util.h"

/* ---- arithmetic and logic ---- */

enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

static IrVal carry_in(Tr *t, unsigned sz, IrVal *flag)
{
    *flag = ir_setflag(t->b, IRFC_C, &t->flags);
    return sz == 8 ? ir_ext32u(t->b, *flag) : *flag;
}

static IrVal alu_adc(Tr *t, unsigned sz, IrVal x, IrVal y)
{
    IrType ty = tr_type(sz);
    IrVal c, cx = carry_in(t, sz, &c), sy = tr_stable(t, ty, y);
    IrVal r = ir_add(t->b, ty, ir_add(t->b, ty, x, y), cx);

    tr_set_flags(t, (IrFlags){IRF_ADC, sz, r, sy, c});
    return r;
}

static IrVal alu_sbb(Tr *t, unsigned sz, IrVal x, IrVal y)
{
    IrType ty = tr_type(sz);
    IrVal c, cx = carry_in(t, sz, &c), sx, sy, r;

    if (x == y) { /* the idiom that spreads the carry */
        sx = sy = tr_const(t, sz, 0);
        r = ir_neg(t->b, ty, cx);
    } else {
        sx = tr_stable(t, ty, x);
        sy = tr_stable(t, ty, y);
        r = ir_sub(t->b, ty, ir_sub(t->b, ty, x, y), cx);
    }
    tr_set_flags(t, (IrFlags){IRF_SBB, sz, sx, sy, c});
    return r;
}

/* The result of @x op @y with its flags set; 0 for CMP. Callers have no fault to come. */
static IrVal alu(Tr *t, unsigned op, unsigned sz, IrVal x, IrVal y)
{
    IrType ty = tr_type(sz);
    IrVal r, sx, sy;

    switch (op) {
    case ALU_ADD:
        sy = tr_stable(t, ty, y);
        r = ir_add(t->b, ty, x, y);
        tr_set_flags(t, (IrFlags){IRF_ADD, sz, r, sy});
        return r;
    case ALU_ADC:
        return alu_adc(t, sz, x, y);
    case ALU_SBB:
        return alu_sbb(t, sz, x, y);
    case ALU_OR:
        r = ir_or(t->b, ty, x, y);
        break;
    case ALU_AND:
        r = ir_and(t->b, ty, x, y);
        break;
    case ALU_XOR:
        r = ir_xor(t->b, ty, x, y);
        break;
    default: /* SUB, CMP */
        if (x == y) {
            sx = sy = tr_const(t, sz, 0);
        } else {
            sx = tr_stable(t, ty, x);
            sy = tr_stable(t, ty, y);
        }
        r = op == ALU_CMP ? 0 : ir_sub(t->b, ty, x, y);
        tr_set_flags(t, (IrFlags){IRF_SUB, sz, sx, sy});
        return r;
    }
    tr_set_flags(t, (IrFlags){IRF_LOGIC, sz, r});
    return r;
}

/* Read-modify-write at once. The old value, zero-extended to I64. */
static IrVal atomic(Tr *t, unsigned sz, IrAtomic op, const TrOpd *o, IrVal v, IrVal expected)
{
    IrVal old;

    if (t->b->vals[v].kind == IRV_TEMP && t->b->vals[v].type == IR_I32) {
        v = ir_ext32u(t->b, v);
    }
    old = ir_qatomic(t->b, IR_I64, op, tr_memop(t, sz), o->addr, v, expected);
    if (tr_mode(t, M_DEBUG)) {
        ir_call3(t->b, &x86_hd_check_dbreak, o->addr, tr_i64(t, sz), tr_i64(t, 1));
    }
    return old;
}

static bool locked(const Tr *t, const TrOpd *o)
{
    return t->lock && o->mem;
}

/* LOCK with an operation that no atomic does: compute on what was loaded, exchange if that is
 * still there, else execute the instruction again. */
static void alu_cmpxchg_loop(Tr *t, const TrOpd *o, unsigned sz, unsigned op, IrVal y)
{
    IrType ty = tr_type(sz);
    IrVal old = tr_ld_rmw(t, sz, o->addr), r, seen, cc;
    unsigned done;

    if (op == ALU_CMP) { /* stands for NEG */
        r = ir_sub(t->b, ty, tr_const(t, sz, 0), old);
        tr_set_flags(t, (IrFlags){IRF_SUB, sz, tr_const(t, sz, 0), old});
    } else {
        r = alu(t, op, sz, old, y);
    }
    cc = ir_local(t->b, IR_I32);
    ir_mov(t->b, IR_I32, cc, tr_packed(t));
    seen = atomic(t, sz, IRA_CMPXCHG, o, r, old);
    done = ir_label(t->b);
    ir_brcond(t->b, IR_I64, IRC_EQ, seen, old, done);
    t->flags = (IrFlags){.kind = IRF_PACKED}; /* as at the start: tr_pack_first() */
    tr_goto(t, t->pc);
    ir_place(t->b, done);
    tr_set_flags(t, tr_flags_value(cc));
}

static void alu_locked(Tr *t, const TrOpd *o, unsigned sz, unsigned op, IrVal y)
{
    static const uint8_t kind[] = {
        [ALU_ADD] = IRA_ADD, [ALU_OR] = IRA_OR,   [ALU_AND] = IRA_AND,
        [ALU_SUB] = IRA_ADD, [ALU_XOR] = IRA_XOR,
    };
    IrVal old, v = y;

    if (op == ALU_ADC || op == ALU_SBB) {
        tr_pack_first(t);
        alu_cmpxchg_loop(t, o, sz, op, y);
        return;
    }
    if (op == ALU_SUB) {
        v = ir_neg(t->b, tr_type(sz), y);
    }
    old = atomic(t, sz, kind[op], o, v, 0);
    alu(t, op, sz, old, y);
}

/* dst op= src where dst is the r/m operand. */
static void alu_rm(Tr *t, unsigned op, unsigned sz, const TrOpd *o, IrVal y)
{
    IrVal x, r;

    if (op == ALU_CMP) {
        alu(t, op, sz, tr_opd_ld(t, o, sz), y);
        return;
    }
    t->lock_ok = o->mem;
    if (locked(t, o)) {
        alu_locked(t, o, sz, op, y);
        return;
    }
    x = tr_opd_ld_rmw(t, o, sz);
    r = alu(t, op, sz, x, y);
    tr_opd_st(t, o, sz, r);
}

static void op_alu(Tr *t)
{
    unsigned op = t->op >> 3 & 7, form = t->op & 7, sz = form & 1 ? t->osz : 1;
    IrVal r;
    TrOpd o;

    if (form >= 4) { /* accumulator, immediate */
        IrVal imm = tr_imm(t, sz);

        r = alu(t, op, sz, tr_rd(t, sz, R_RAX), imm);
        if (r) {
            tr_set_reg(t, sz, R_RAX, r);
        }
        return;
    }
    tr_modrm(t);
    o = tr_rm(t);
    if (form < 2) {
        alu_rm(t, op, sz, &o, tr_rd(t, sz, t->reg));
        return;
    }
    r = alu(t, op, sz, tr_rd(t, sz, t->reg), tr_opd_ld(t, &o, sz));
    if (r) {
        tr_set_reg(t, sz, t->reg, r);
    }
}

static void op_group1(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    IrVal imm;
    TrOpd o;

    tr_modrm(t);
    imm = t->op == 0x83 ? tr_const(t, sz, tr_s8(t)) : tr_imm(t, sz);
    o = tr_rm(t);
    alu_rm(t, t->modrm >> 3 & 7, sz, &o, imm);
}

static void test_flags(Tr *t, unsigned sz, IrVal x, IrVal y)
{
    tr_set_flags(t, (IrFlags){IRF_LOGIC, sz, ir_and(t->b, tr_type(sz), x, y)});
}

static void op_test(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    TrOpd o;

    if (t->op >= 0xa8) {
        IrVal imm = tr_imm(t, sz);

        test_flags(t, sz, tr_rd(t, sz, R_RAX), imm);
        return;
    }
    tr_modrm(t);
    o = tr_rm(t);
    test_flags(t, sz, tr_opd_ld(t, &o, sz), tr_rd(t, sz, t->reg));
}

static void inc_dec(Tr *t, const TrOpd *o, unsigned sz, bool dec)
{
    IrType ty = tr_type(sz);
    IrVal one = tr_const(t, sz, dec ? ~0ull : 1), c, r;

    t->lock_ok = o->mem;
    if (locked(t, o)) {
        r = ir_add(t->b, ty, atomic(t, sz, IRA_ADD, o, one, 0), one);
    } else {
        r = ir_add(t->b, ty, tr_opd_ld_rmw(t, o, sz), one);
        tr_opd_st(t, o, sz, r);
    }
    c = tr_packed_c(t);
    tr_set_flags(t, (IrFlags){dec ? IRF_DEC : IRF_INC, sz, r, 0, c});
}

static void op_not_neg(Tr *t, const TrOpd *o, unsigned sz, bool neg)
{
    IrType ty = tr_type(sz);
    IrVal x;

    t->lock_ok = o->mem;
    if (locked(t, o)) {
        if (neg) {
            tr_pack_first(t);
            alu_cmpxchg_loop(t, o, sz, ALU_CMP, 0);
        } else {
            atomic(t, sz, IRA_XOR, o, tr_const(t, sz, ~0ull), 0);
        }
        return;
    }
    x = tr_opd_ld_rmw(t, o, sz);
    if (!neg) {
        tr_opd_st(t, o, sz, ir_not(t->b, ty, x));
        return;
    }
    x = tr_stable(t, ty, x);
    tr_opd_st(t, o, sz, ir_neg(t->b, ty, x));
    tr_set_flags(t, (IrFlags){IRF_SUB, sz, tr_const(t, sz, 0), x});
}

/* ---- multiplication and division ---- */

/* One-operand MUL, IMUL: AX, DX:AX … = rAX * operand. */
static void mul_acc(Tr *t, const TrOpd *o, unsigned sz, bool sign)
{
    IrBlock *b = t->b;
    IrVal y = tr_opd_ld(t, o, sz), x = tr_rd(t, sz, R_RAX), lo, hi, over;

    if (sz == 8) {
        lo = ir_temp(b, IR_I64);
        hi = ir_temp(b, IR_I64);
        ir_mul2(b, sign, IR_I64, lo, hi, x, y);
        over = sign ? ir_xor(b, IR_I64, hi, ir_sar(b, IR_I64, lo, tr_i64(t, 63))) : hi;
        tr_set_reg(t, 8, R_RAX, lo);
        tr_set_reg(t, 8, R_RDX, hi);
    } else {
        IrType ty = sz == 4 ? IR_I64 : IR_I32;
        IrVal bits = tr_const(t, sz == 4 ? 8 : 4, sz * 8);

        x = sign ? tr_sext(t, ty, sz, x) : tr_zext(t, ty, sz, x);
        y = sign ? tr_sext(t, ty, sz, y) : tr_zext(t, ty, sz, y);
        lo = ir_mul(b, ty, x, y);
        hi = ir_shr(b, ty, lo, bits);
        over = sign ? ir_shr(b, ty, ir_xor(b, ty, lo, tr_sext(t, ty, sz, lo)), bits) : hi;
        if (sz == 1) {
            tr_set_reg(t, 2, R_RAX, lo);
        } else {
            tr_set_reg(t, sz, R_RAX, lo);
            tr_set_reg(t, sz, R_RDX, hi);
        }
    }
    tr_set_flags(t, (IrFlags){IRF_MUL, sz, lo, over});
}

/* IMUL r, r/m and r, r/m, imm. The product that only flags need is apart, so that it goes away
 * when they are dead. */
static void imul(Tr *t, unsigned sz, IrVal x, IrVal y)
{
    IrBlock *b = t->b;
    IrType ty = tr_type(sz);
    IrVal r, over, lo, hi;

    r = ir_mul(b, ty, x, y);
    if (sz == 8) {
        lo = ir_temp(b, IR_I64);
        hi = ir_temp(b, IR_I64);
        ir_mul2(b, true, IR_I64, lo, hi, x, y);
        over = ir_xor(b, IR_I64, hi, ir_sar(b, IR_I64, lo, tr_i64(t, 63)));
    } else {
        IrType wide = sz == 4 ? IR_I64 : IR_I32;
        IrVal bits = tr_const(t, sz == 4 ? 8 : 4, sz * 8);

        lo = ir_mul(b, wide, tr_sext(t, wide, sz, x), tr_sext(t, wide, sz, y));
        over = ir_shr(b, wide, ir_xor(b, wide, lo, tr_sext(t, wide, sz, lo)), bits);
    }
    tr_set_reg(t, sz, t->reg, r);
    tr_set_flags(t, (IrFlags){IRF_MUL, sz, r, over});
}

static void op_imul(Tr *t)
{
    unsigned sz = t->osz;
    IrVal imm = 0;
    TrOpd o;

    tr_modrm(t);
    if (t->map == 0) {
        imm = t->op == 0x6b ? tr_const(t, sz, tr_s8(t)) : tr_imm(t, sz);
    }
    o = tr_rm(t);
    imul(t, sz, tr_opd_ld(t, &o, sz), imm ? imm : tr_rd(t, sz, t->reg));
}

static void div_acc(Tr *t, const TrOpd *o, unsigned sz, bool sign)
{
    IrBlock *b = t->b;
    IrVal d = tr_opd_ld(t, o, sz), num, q, rem;

    if (sz == 8) {
        IrVal ax = xg(XG_RAX), dx = xg(XG_RAX + R_RDX);

        d = tr_stable(t, IR_I64, d);
        q = ir_call3(b, sign ? &x86_hd_idiv64 : &x86_hd_div64, ax, dx, d);
        rem = ir_sub(b, IR_I64, ax, ir_mul(b, IR_I64, q, d));
        tr_set_reg(t, 8, R_RAX, q);
        tr_set_reg(t, 8, R_RDX, rem);
        return;
    }
    d = sign ? tr_sext(t, IR_I64, sz, d) : tr_zext(t, IR_I64, sz, d);
    if (sz == 1) {
        num = tr_reg(t, 2, R_RAX);
    } else {
        num = ir_deposit(b, IR_I64, tr_reg(t, sz, R_RAX), xg(XG_RAX + R_RDX), sz * 8, sz * 8);
    }
    if (sign) {
        num = tr_sext(t, IR_I64, sz * 2, num);
    }
    q = ir_call3(b, sign ? &x86_hd_divs : &x86_hd_divu, num, d, tr_i64(t, sz * 8));
    rem = ir_sub(b, IR_I64, num, ir_mul(b, IR_I64, q, d));
    if (sz == 1) {
        tr_set_reg(t, 2, R_RAX, ir_deposit(b, IR_I64, q, rem, 8, 8));
    } else {
        tr_set_reg(t, sz, R_RAX, q);
        tr_set_reg(t, sz, R_RDX, rem);
    }
}

static void op_group3(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1, sub;
    IrVal imm;
    TrOpd o;

    tr_modrm(t);
    sub = t->modrm >> 3 & 7;
    imm = sub < 2 ? tr_imm(t, sz) : 0;
    o = tr_rm(t);
    switch (sub) {
    case 0:
    case 1:
        test_flags(t, sz, tr_opd_ld(t, &o, sz), imm);
        break;
    case 2:
    case 3:
        op_not_neg(t, &o, sz, sub == 3);
        break;
    case 4:
    case 5:
        mul_acc(t, &o, sz, sub == 5);
        break;
    default:
        div_acc(t, &o, sz, sub == 7);
        break;
    }
}

/* ---- shifts and rotates ---- */

static unsigned count_mask(unsigned sz)
{
    return sz == 8 ? 63 : 31;
}

/* New flags if the count (of type @ty, masked) is not 0, else the old ones. */
static void flags_if_count(Tr *t, IrType ty, IrVal count, IrVal now)
{
    uint64_t k;

    if (ir_is_const(t->b, count, &k)) {
        tr_set_flags(t, tr_flags_value(now));
        return;
    }
    tr_set_flags(t, tr_flags_value(ir_movcond(t->b, IR_I32, ty, IRC_EQ, count,
                                              ir_const(t->b, ty, 0), tr_packed(t), now)));
}

static IrVal shift(Tr *t, unsigned sub, unsigned sz, IrVal x, IrVal count)
{
    IrBlock *b = t->b;
    IrType ty = tr_type(sz);
    IrOp op = sub == 5 ? IR_SHR : sub == 7 ? IR_SAR : IR_SHL;
    IrFlagKind kind = sub == 5 ? IRF_SHR : sub == 7 ? IRF_SAR : IRF_SHL;
    IrVal before, r;
    IrFlags f;
    uint64_t k;

    if (op == IR_SHR) {
        x = tr_zext(t, ty, sz, x);
    } else if (op == IR_SAR) {
        x = tr_sext(t, ty, sz, x);
    }
    before = ir_op(b, op, ty, x, ir_sub(b, ty, count, tr_const(t, sz, 1)));
    r = ir_op(b, op, ty, x, count);
    f = (IrFlags){kind, sz, r, before};
    if (ir_is_const(b, count, &k)) {
        tr_set_flags(t, f);
    } else {
        flags_if_count(t, ty, count, ir_flags(b, &f));
    }
    return r;
}

/* C and V of @cc replaced. */
static IrVal with_cv(Tr *t, IrVal cc, IrVal c, IrVal v)
{
    cc = ir_deposit(t->b, IR_I32, cc, c, 8, 1);
    return ir_deposit(t->b, IR_I32, cc, v, 0, 1);
}

static IrVal bit_of(Tr *t, IrType ty, IrVal v, unsigned bit)
{
    return ir_extract(t->b, ty, v, bit, 1, false);
}

/* V of a right rotate: the two top bits of the result differ. */
static IrVal top_two_differ(Tr *t, IrType ty, unsigned w, IrVal r)
{
    return ir_xor(t->b, ty, bit_of(t, ty, r, w - 1), bit_of(t, ty, r, w - 2));
}

static IrVal rotate(Tr *t, bool right, unsigned sz, IrVal x, IrVal count)
{
    IrBlock *b = t->b;
    IrType ty = tr_type(sz);
    unsigned w = sz * 8;
    IrVal r, c, v;

    if (sz == 1) { /* the same bits all over 32: then the wide rotate is right, too */
        x = ir_mul(b, IR_I32, ir_ext8u(b, IR_I32, x), tr_i32(t, 0x01010101));
    } else if (sz == 2) {
        x = ir_deposit(b, IR_I32, x, x, 16, 16);
    }
    r = ir_op(b, right ? IR_ROR : IR_ROL, ty, x, count);
    c = bit_of(t, ty, r, right ? w - 1 : 0);
    v = right ? top_two_differ(t, ty, w, r) : ir_xor(b, ty, bit_of(t, ty, r, w - 1), c);
    flags_if_count(t, ty, count, with_cv(t, tr_packed(t), c, v));
    return r;
}

/* @count modulo 9 or 17 (it is at most 31). */
static IrVal mod_width1(Tr *t, unsigned sz, IrVal count)
{
    IrBlock *b = t->b;

    if (sz == 1) {
        IrVal q = ir_shr(b, IR_I32, ir_mul(b, IR_I32, count, tr_i32(t, 57)), tr_i32(t, 9));

        return ir_sub(b, IR_I32, count, ir_mul(b, IR_I32, q, tr_i32(t, 9)));
    }
    if (sz == 2) {
        return ir_movcond(b, IR_I32, IR_I32, IRC_GEU, count, tr_i32(t, 17),
                          ir_sub(b, IR_I32, count, tr_i32(t, 17)), count);
    }
    return count;
}

/* RCL, RCR of up to 32 bits: a rotate of the 9, 17 or 33 bits C:x. */
static IrVal rotate_carry(Tr *t, bool right, unsigned sz, IrVal x, IrVal count)
{
    IrBlock *b = t->b;
    unsigned w = sz * 8;
    IrVal c_in = ir_ext32u(b, ir_setflag(b, IRFC_C, &t->flags));
    IrVal n = ir_ext32u(b, mod_width1(t, sz, count)), back, r, c, v;

    x = ir_deposit(b, IR_I64, tr_zext(t, IR_I64, sz, x), c_in, w, 1);
    back = ir_sub(b, IR_I64, tr_i64(t, w + 1), n);
    r = ir_or(b, IR_I64, ir_op(b, right ? IR_SHR : IR_SHL, IR_I64, x, n),
              ir_op(b, right ? IR_SHL : IR_SHR, IR_I64, x, back));
    c = bit_of(t, IR_I64, r, w);
    v = right ? top_two_differ(t, IR_I64, w, r) : ir_xor(b, IR_I64, bit_of(t, IR_I64, r, w - 1), c);
    flags_if_count(t, IR_I32, count, with_cv(t, tr_packed(t), c, v));
    return r;
}

static IrVal rotate_carry64(Tr *t, bool right, IrVal x, IrVal count)
{
    IrBlock *b = t->b;
    IrOp to = right ? IR_SHR : IR_SHL, from = right ? IR_SHL : IR_SHR;
    IrVal one = tr_i64(t, 1), n = count, rest, before, r, c, v, c_in;

    c_in = ir_ext32u(b, ir_setflag(b, IRFC_C, &t->flags));
    rest = ir_sub(b, IR_I64, tr_i64(t, 64), n); /* 1…63, or count 0, handled below */
    before = ir_sub(b, IR_I64, n, one);
    r = ir_or(b, IR_I64, ir_op(b, to, IR_I64, x, n),
              ir_op(b, from, IR_I64, ir_op(b, from, IR_I64, x, one), rest));
    r = ir_or(b, IR_I64, r, ir_shl(b, IR_I64, c_in, right ? rest : before));
    c = bit_of(t, IR_I64, ir_shr(b, IR_I64, x, right ? before : rest), 0);
    r = ir_movcond(b, IR_I64, IR_I64, IRC_EQ, n, tr_i64(t, 0), x, r);
    v = right ? top_two_differ(t, IR_I64, 64, r) : ir_xor(b, IR_I64, bit_of(t, IR_I64, r, 63), c);
    flags_if_count(t, IR_I64, n, with_cv(t, tr_packed(t), c, v));
    return r;
}

static IrVal shift_any(Tr *t, unsigned sub, unsigned sz, IrVal x, IrVal count)
{
    switch (sub) {
    case 0:
    case 1:
        return rotate(t, sub & 1, sz, x, count);
    case 2:
    case 3:
        return sz == 8 ? rotate_carry64(t, sub & 1, x, count)
                       : rotate_carry(t, sub & 1, sz, x, count);
    default:
        return shift(t, sub, sz, x, count);
    }
}

/* CL masked to what counts for @sz. */
static IrVal count_cl(Tr *t, unsigned sz)
{
    return ir_and(t->b, tr_type(sz), xg(XG_RAX + R_RCX), tr_const(t, sz, count_mask(sz)));
}

static void op_group2(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    IrVal count, x, r;
    uint64_t k;
    TrOpd o;

    tr_modrm(t);
    if (t->op < 0xd0) {
        count = tr_const(t, sz, tr_u8(t) & count_mask(sz));
    } else if (t->op < 0xd2) {
        count = tr_const(t, sz, 1);
    } else {
        count = count_cl(t, sz);
    }
    o = tr_rm(t);
    x = tr_opd_ld_rmw(t, &o, sz);
    if (ir_is_const(t->b, count, &k) && k == 0) {
        r = ir_copy(t->b, tr_type(sz), x);
    } else {
        r = shift_any(t, t->modrm >> 3 & 7, sz, x, count);
    }
    tr_opd_st(t, &o, sz, r);
}

/* SHLD, SHRD of 16 bits, where a count may pass the width: dst:src:dst. */
static IrVal double_shift16(Tr *t, bool right, IrVal x, IrVal y, IrVal count, IrVal *before)
{
    IrBlock *b = t->b;
    IrVal n = ir_ext32u(b, count), v, less = ir_sub(b, IR_I64, n, tr_i64(t, 1));

    v = ir_deposit(b, IR_I64, ir_ext16u(b, IR_I64, x), y, 16, 16);
    v = ir_deposit(b, IR_I64, v, x, 32, 16);
    if (right) {
        *before = ir_shr(b, IR_I64, v, less);
        return ir_shr(b, IR_I64, v, n);
    }
    *before = ir_shr(b, IR_I64, ir_shl(b, IR_I64, v, less), tr_i64(t, 32));
    return ir_shr(b, IR_I64, ir_shl(b, IR_I64, v, n), tr_i64(t, 32));
}

static void double_shift(Tr *t, bool right, const TrOpd *o, unsigned sz, IrVal count)
{
    IrBlock *b = t->b;
    IrType ty = tr_type(sz);
    IrVal x = tr_opd_ld_rmw(t, o, sz), y = tr_rd(t, sz, t->reg), r, before, now;
    IrFlags f;
    uint64_t k;

    if (sz == 2) {
        r = double_shift16(t, right, x, y, count, &before);
    } else {
        IrVal rest = ir_sub(b, ty, tr_const(t, sz, sz * 8), count);

        before = ir_op(b, right ? IR_SHR : IR_SHL, ty, x, ir_sub(b, ty, count, tr_const(t, sz, 1)));
        r = ir_or(b, ty, ir_op(b, right ? IR_SHR : IR_SHL, ty, x, count),
                  ir_op(b, right ? IR_SHL : IR_SHR, ty, y, rest));
        if (!ir_is_const(b, count, &k)) { /* both counts are 0 modulo the width */
            r = ir_movcond(b, ty, ty, IRC_EQ, count, tr_const(t, sz, 0), x, r);
        }
    }
    f = (IrFlags){right ? IRF_SAR : IRF_SHL, sz, r, before};
    now = ir_flags(b, &f);
    if (right) { /* V: the sign changed */
        IrType wide = sz == 2 ? IR_I32 : ty;

        now = ir_deposit(b, IR_I32, now, bit_of(t, wide, ir_xor(b, wide, r, x), sz * 8 - 1), 0, 1);
    }
    flags_if_count(t, ty, count, now);
    tr_opd_st(t, o, sz, r);
}

static void op_double_shift(Tr *t)
{
    unsigned sz = t->osz;
    IrVal count;
    uint64_t k;
    TrOpd o;

    tr_modrm(t);
    count = t->op & 1 ? count_cl(t, sz) : tr_const(t, sz, tr_u8(t) & count_mask(sz));
    o = tr_rm(t);
    if (ir_is_const(t->b, count, &k) && k == 0) {
        tr_opd_st(t, &o, sz, ir_copy(t->b, tr_type(sz), tr_opd_ld_rmw(t, &o, sz)));
    } else {
        double_shift(t, t->op >= 0xa8, &o, sz, count);
    }
}

/* ---- bits ---- */

/* Z stays, C is bit 0 of @bit, the others are undefined: as of a shift whose result is 0 if Z. */
static void bit_flags(Tr *t, IrVal bit)
{
    IrVal nz = ir_setflag(t->b, IRFC_NZ, &t->flags);

    tr_set_flags(t, (IrFlags){IRF_SHR, 4, nz, bit});
}

/* @kind: 0 BT, 1 BTS, 2 BTR, 3 BTC. @index is already within the operand. */
static void bit_op(Tr *t, unsigned kind, const TrOpd *o, unsigned sz, IrVal index)
{
    static const uint8_t atomics[] = {IRA_OR, IRA_OR, IRA_AND, IRA_XOR};
    IrBlock *b = t->b;
    IrType ty = tr_type(sz);
    IrVal mask = ir_shl(b, ty, tr_const(t, sz, 1), index), x, r;

    if (kind == 0) {
        x = tr_opd_ld(t, o, sz);
    } else if (t->lock_ok = o->mem, locked(t, o)) {
        x = atomic(t, sz, atomics[kind], o, kind == 2 ? ir_not(b, ty, mask) : mask, 0);
    } else {
        x = tr_stable(t, ty, tr_opd_ld_rmw(t, o, sz));
        r = kind == 1   ? ir_or(b, ty, x, mask)
            : kind == 2 ? ir_andn(b, ty, x, mask)
                        : ir_xor(b, ty, x, mask);
        tr_opd_st(t, o, sz, r);
    }
    bit_flags(t, ir_shr(b, ty, x, index));
}

static void op_bit_reg(Tr *t)
{
    unsigned sz = t->osz;
    IrType ty = tr_type(sz);
    IrBlock *b = t->b;
    IrVal index;
    TrOpd o;

    tr_modrm(t);
    index = ir_and(b, ty, tr_rd(t, sz, t->reg), tr_const(t, sz, sz * 8 - 1));
    if (t->mod == 3) {
        o = tr_rm(t);
    } else { /* the index, which is signed, reaches beyond the operand */
        IrVal off = tr_ea_off(t), far = tr_sext(t, IR_I64, sz, tr_rd(t, sz, t->reg));

        far = ir_sar(b, IR_I64, far, tr_i64(t, tr_log2(sz * 8)));
        off = ir_add(b, IR_I64, off, ir_shl(b, IR_I64, far, tr_i64(t, tr_log2(sz))));
        off = t->asz == 8 ? off : tr_zext(t, IR_I64, t->asz, off);
        o = (TrOpd){.mem = true, .addr = tr_linear(t, t->ea_seg, off, sz, t->op != 0xa3)};
    }
    bit_op(t, t->op >> 3 & 3, &o, sz, index);
}

static void op_bit_imm(Tr *t)
{
    unsigned sz = t->osz, sub;
    uint8_t index;
    TrOpd o;

    tr_modrm(t);
    index = tr_u8(t);
    sub = t->modrm >> 3 & 7;
    if (sub < 4) {
        tr_ud(t);
        return;
    }
    o = tr_rm(t);
    bit_op(t, sub & 3, &o, sz, tr_const(t, sz, index & (sz * 8 - 1)));
}

/* BSF, BSR; TZCNT, LZCNT with REP if the CPU has them; POPCNT. */
static void op_bit_scan(Tr *t)
{
    bool reverse = t->op & 1;
    unsigned sz = t->osz;
    IrBlock *b = t->b;
    IrType ty = tr_type(sz);
    IrVal x, r, zero;
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    x = tr_stable(t, ty, tr_opd_ld(t, &o, sz));
    if (sz == 2) {
        x = ir_ext16u(b, IR_I32, x);
    }
    if (t->rep == 0xf3 && (reverse ? tr_feat(t, FEAT_80000001_ECX, 5) /* LZCNT */
                                   : tr_feat(t, FEAT_7_EBX, 3) /* BMI1 */)) {
        if (!reverse) {
            r = ir_ctz(b, ty, sz == 2 ? ir_or(b, ty, x, tr_i32(t, 1 << 16)) : x);
        } else {
            r = ir_clz(b, ty, x);
            if (sz == 2) {
                r = ir_sub(b, ty, r, tr_i32(t, 16));
            }
        }
        zero = ir_setcond(b, ty, IRC_EQ, x, tr_const(t, sz, 0));
        tr_set_reg(t, sz, t->reg, r);
        tr_set_flags(t, (IrFlags){IRF_MUL, sz, r, zero});
        return;
    }
    r = reverse ? ir_xor(b, ty, ir_clz(b, ty, x), tr_const(t, sz, sz == 8 ? 63 : 31))
                : ir_ctz(b, ty, x);
    /* The destination stays when the source is 0 (AMD says so, Intel does so). */
    r = sz == 8 ? r : tr_zext(t, IR_I64, 4, r);
    if (sz == 2) {
        r = ir_deposit(b, IR_I64, xg(XG_RAX + t->reg), r, 0, 16);
    }
    r = ir_movcond(b, IR_I64, ty, IRC_EQ, x, tr_const(t, sz, 0), xg(XG_RAX + t->reg), r);
    tr_set_reg(t, 8, t->reg, r);
    tr_set_flags(t, (IrFlags){IRF_LOGIC, sz, x});
}

static void op_popcnt(Tr *t)
{
    unsigned sz = t->osz;
    IrBlock *b = t->b;
    IrType ty = tr_type(sz);
    IrVal x, z;
    TrOpd o;

    if (t->rep != 0xf3 || !tr_feat(t, FEAT_1_ECX, 23)) {
        tr_ud(t);
        return;
    }
    tr_modrm(t);
    o = tr_rm(t);
    x = tr_stable(t, ty, tr_opd_ld(t, &o, sz));
    x = sz == 2 ? ir_ext16u(b, IR_I32, x) : x;
    z = ir_setcond(b, ty, IRC_EQ, x, tr_const(t, sz, 0));
    tr_set_reg(t, sz, t->reg, ir_popcnt(b, ty, x));
    tr_set_flags(t, tr_flags_value(ir_shl(b, IR_I32, z, tr_i32(t, 14))));
}

static void op_bswap(Tr *t)
{
    unsigned r = (t->op & 7) | t->rex_b;

    if (t->osz == 2) { /* undefined; the CPUs clear the register's low half */
        tr_set_reg(t, 2, r, tr_i32(t, 0));
    } else {
        tr_set_reg(t, t->osz, r, ir_bswap(t->b, tr_type(t->osz), xg(XG_RAX + r)));
    }
}

/* ---- data movement ---- */

static void op_mov_rm(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    if (t->op < 0x8a) {
        tr_opd_st(t, &o, sz, tr_rd(t, sz, t->reg));
    } else if (o.mem) {
        tr_set_reg_zx(t, sz, t->reg, tr_ld(t, sz, o.addr));
    } else {
        tr_set_reg(t, sz, t->reg, tr_rd(t, sz, o.reg));
    }
}

static void op_mov_imm(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    IrVal imm;
    TrOpd o;

    tr_modrm(t);
    if (t->modrm >> 3 & 7) {
        tr_ud(t);
        return;
    }
    imm = tr_imm(t, sz);
    o = tr_rm(t);
    tr_opd_st(t, &o, sz, imm);
}

static void op_mov_reg_imm(Tr *t)
{
    unsigned r = (t->op & 7) | t->rex_b, sz = t->op & 8 ? t->osz : 1;
    uint64_t v = sz == 8 ? tr_u64(t) : sz == 4 ? tr_u32(t) : sz == 2 ? tr_u16(t) : tr_u8(t);

    tr_set_reg_zx(t, sz, r, tr_i64(t, v));
}

static void op_moffs(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    uint64_t off = t->asz == 8 ? tr_u64(t) : t->asz == 4 ? tr_u32(t) : tr_u16(t);
    bool store = t->op >= 0xa2;
    IrVal addr = tr_linear(t, t->seg >= 0 ? t->seg : S_DS, tr_i64(t, off), sz, store);

    if (store) {
        tr_st(t, sz, addr, xg(XG_RAX));
    } else {
        tr_set_reg_zx(t, sz, R_RAX, tr_ld(t, sz, addr));
    }
}

/* MOVZX, MOVSX, MOVSXD. */
static void op_extend(Tr *t, unsigned from, bool sign)
{
    unsigned sz = t->osz;
    IrVal v;
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    if (from >= sz) { /* 16 to 16 bits, MOVSXD without REX.W */
        v = tr_opd_ld(t, &o, sz);
    } else if (o.mem) {
        if (!sign) {
            tr_set_reg_zx(t, sz, t->reg, tr_ld(t, from, o.addr));
            return;
        }
        v = tr_ld_sx(t, from, tr_type(sz), o.addr);
    } else {
        v = tr_rd(t, from, o.reg);
        if (!sign) {
            tr_set_reg_zx(t, sz, t->reg, tr_zext(t, IR_I64, from, v));
            return;
        }
        v = tr_sext(t, tr_type(sz), from, v);
    }
    tr_set_reg(t, sz, t->reg, v);
}

static void op_lea(Tr *t)
{
    IrVal off;

    tr_modrm(t);
    if (t->mod == 3) {
        tr_ud(t);
        return;
    }
    off = tr_ea_off(t);
    if (t->asz <= t->osz) {
        tr_set_reg_zx(t, t->osz, t->reg, off);
    } else {
        tr_set_reg(t, t->osz, t->reg, off);
    }
}

static void op_xchg(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    IrVal x, y;
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    t->lock_ok = o.mem;
    if (o.mem) {
        x = atomic(t, sz, IRA_XCHG, &o, tr_rd(t, sz, t->reg), 0);
        tr_set_reg_zx(t, sz, t->reg, x);
        return;
    }
    x = tr_reg(t, sz, o.reg);
    y = tr_reg(t, sz, t->reg);
    tr_set_reg_zx(t, sz, o.reg, y);
    tr_set_reg_zx(t, sz, t->reg, x);
}

static void op_xchg_acc(Tr *t)
{
    unsigned r = (t->op & 7) | t->rex_b;
    IrVal x, y;

    if (r == R_RAX) {
        if (t->rep == 0xf3) {
            tr_pack_first(t);
            tr_noreturn(t, &x86_hd_pause, (IrVal[]){tr_i64(t, tr_next(t))}, 1);
            t->ended = true;
        }
        return;
    }
    x = tr_reg(t, t->osz, r);
    y = tr_reg(t, t->osz, R_RAX);
    tr_set_reg_zx(t, t->osz, r, y);
    tr_set_reg_zx(t, t->osz, R_RAX, x);
}

static void op_xadd(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    IrVal x, y, sum;
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    y = tr_reg(t, sz, t->reg);
    t->lock_ok = o.mem;
    if (locked(t, &o)) {
        x = atomic(t, sz, IRA_ADD, &o, y, 0);
        sum = alu(t, ALU_ADD, sz, x, y);
        tr_set_reg(t, sz, t->reg, x);
        return;
    }
    x = o.mem ? tr_ld_rmw(t, sz, o.addr) : tr_reg(t, sz, o.reg);
    sum = alu(t, ALU_ADD, sz, x, y);
    if (o.mem) {
        tr_st(t, sz, o.addr, sum);
        tr_set_reg(t, sz, t->reg, x);
    } else {
        tr_set_reg(t, sz, t->reg, x);
        tr_set_reg(t, sz, o.reg, sum);
    }
}

static void op_cmpxchg(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    IrBlock *b = t->b;
    IrVal acc, old, now, val;
    IrFlags f;
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    acc = tr_reg(t, sz, R_RAX);
    t->lock_ok = o.mem;
    if (locked(t, &o)) {
        old = atomic(t, sz, IRA_CMPXCHG, &o, tr_rd(t, sz, t->reg), acc);
    } else {
        old = o.mem ? tr_ld_rmw(t, sz, o.addr) : tr_reg(t, sz, o.reg);
    }
    f = (IrFlags){IRF_SUB, sz, acc, old};
    if (!locked(t, &o)) {
        val = tr_rd(t, sz, t->reg);
        val = ir_movcond(b, IR_I64, IR_I64, IRC_EQ, acc, old, val, old);
        tr_opd_st(t, &o, sz, val);
    }
    /* When equal, the accumulator is not written, nor its upper half. */
    now = xg(XG_RAX);
    if (!o.mem && o.reg == R_RAX) {
        /* it was equal to itself, and is written above */
    } else if (sz < 4) {
        tr_set_reg(t, sz, R_RAX, ir_movcond(b, IR_I64, IR_I64, IRC_EQ, acc, old, acc, old));
    } else {
        ir_mov(b, IR_I64, now, ir_movcond(b, IR_I64, IR_I64, IRC_EQ, acc, old, now, old));
    }
    tr_set_flags(t, f);
}

static void op_cmpxchg8b(Tr *t)
{
    IrBlock *b = t->b;
    IrVal expect, val, old, eq, old_hi;
    TrOpd o = tr_rm(t);

    t->lock_ok = true;
    expect = ir_deposit(b, IR_I64, xg(XG_RAX + R_RAX), xg(XG_RAX + R_RDX), 32, 32);
    val = ir_deposit(b, IR_I64, xg(XG_RAX + R_RBX), xg(XG_RAX + R_RCX), 32, 32);
    old = atomic(t, 8, IRA_CMPXCHG, &o, val, expect);
    eq = ir_setcond(b, IR_I64, IRC_EQ, old, expect);
    old_hi = ir_shr(b, IR_I64, old, tr_i64(t, 32));
    ir_mov(
        b, IR_I64, xg(XG_RAX + R_RAX),
        ir_movcond(b, IR_I64, IR_I64, IRC_EQ, old, expect, xg(XG_RAX + R_RAX), ir_ext32u(b, old)));
    ir_mov(b, IR_I64, xg(XG_RAX + R_RDX),
           ir_movcond(b, IR_I64, IR_I64, IRC_EQ, old, expect, xg(XG_RAX + R_RDX), old_hi));
    tr_set_flags(t, tr_flags_value(ir_deposit(b, IR_I32, tr_packed(t), eq, 14, 1)));
}

static void op_cmpxchg16b(Tr *t)
{
    IrVal addr, eq;

    if (!tr_feat(t, FEAT_1_ECX, 13)) {
        tr_ud(t);
        return;
    }
    t->lock_ok = true;
    addr = tr_ea(t);
    eq = ir_call1(t->b, &x86_hd_cmpxchg16b, addr);
    tr_set_flags(t, tr_flags_value(ir_deposit(t->b, IR_I32, tr_packed(t), eq, 14, 1)));
}

static void op_movbe(Tr *t, bool store)
{
    IrType ty = tr_type(t->osz);
    IrVal addr, v;

    if (!tr_feat(t, FEAT_1_ECX, 22) || t->mod == 3) {
        tr_ud(t);
        return;
    }
    addr = tr_ea(t);
    v = store ? xg(XG_RAX + t->reg) : tr_ld(t, t->osz, addr);
    v = ir_bswap(t->b, ty, v);
    if (t->osz == 2) {
        v = ir_shr(t->b, IR_I32, v, tr_i32(t, 16));
    }
    if (store) {
        tr_st(t, t->osz, addr, v);
    } else {
        tr_set_reg(t, t->osz, t->reg, v);
    }
}

static void op_crc32(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    IrVal v;
    TrOpd o;

    if (!tr_feat(t, FEAT_1_ECX, 20)) {
        tr_ud(t);
        return;
    }
    o = tr_rm(t);
    v = tr_zext(t, IR_I64, sz, tr_opd_ld(t, &o, sz));
    v = ir_call3(t->b, &x86_hd_crc32, tr_reg(t, 4, t->reg), v, tr_i64(t, sz));
    tr_set_reg(t, 8, t->reg, v);
}

/* ADCX (carry), ADOX (overflow). */
static void op_adx(Tr *t, bool overflow)
{
    unsigned sz = t->osz == 8 ? 8 : 4;
    IrBlock *b = t->b;
    IrType ty = tr_type(sz);
    IrVal c, cx, x, y, r, c1, c2, cc = tr_packed(t);
    TrOpd o;

    if (!tr_feat(t, FEAT_7_EBX, 19)) {
        tr_ud(t);
        return;
    }
    o = tr_rm(t);
    c = ir_setflag(b, overflow ? IRFC_V : IRFC_C, &t->flags);
    cx = sz == 8 ? ir_ext32u(b, c) : c;
    x = tr_opd_ld(t, &o, sz);
    y = tr_rd(t, sz, t->reg);
    r = ir_add(b, ty, x, y);
    c1 = ir_setcond(b, ty, IRC_LTU, r, x);
    r = ir_add(b, ty, r, cx);
    c2 = ir_setcond(b, ty, IRC_LTU, r, cx);
    tr_set_reg(t, sz, t->reg, r);
    cc = ir_deposit(b, IR_I32, cc, ir_or(b, IR_I32, c1, c2), overflow ? 0 : 8, 1);
    tr_set_flags(t, tr_flags_value(cc));
}

/* 0F 38 F0, F1, F6. */
static bool op_map2_f(Tr *t)
{
    if (t->op == 0xf6) {
        if (!t->p66 && t->rep != 0xf3) {
            return false;
        }
        tr_modrm(t);
        op_adx(t, t->rep == 0xf3);
        return true;
    }
    tr_modrm(t);
    if (t->rep == 0xf2) {
        op_crc32(t);
    } else {
        op_movbe(t, t->op == 0xf1);
    }
    return true;
}

/* ---- the stack ---- */

static void op_push_reg(Tr *t)
{
    tr_push(t, tr_osz64(t), xg(XG_RAX + ((t->op & 7) | t->rex_b)));
}

static void op_pop_reg(Tr *t)
{
    unsigned sz = tr_osz64(t), r = (t->op & 7) | t->rex_b;
    IrVal v = tr_stack_ld(t, sz, 0);

    tr_set_sp(t, tr_sp(t, sz));
    tr_set_reg_zx(t, sz, r, v);
}

static void op_push_imm(Tr *t)
{
    unsigned sz = tr_osz64(t);

    tr_push(t, sz, t->op == 0x6a ? tr_const(t, sz, tr_s8(t)) : tr_imm(t, sz));
}

static void op_push_rm(Tr *t)
{
    unsigned sz = tr_osz64(t);
    TrOpd o = tr_rm(t);

    tr_push(t, sz, tr_opd_ld(t, &o, sz));
}

static void op_pop_rm(Tr *t)
{
    unsigned sz = tr_osz64(t);
    IrVal v;
    TrOpd o;

    tr_modrm(t);
    if (t->modrm >> 3 & 7) {
        tr_ud(t);
        return;
    }
    v = tr_stack_ld(t, sz, 0);
    t->sp_adj = sz;
    o = tr_rm(t);
    if (o.mem) {
        tr_st(t, sz, o.addr, v);
        tr_set_sp(t, tr_sp(t, sz));
    } else {
        tr_set_sp(t, tr_sp(t, sz));
        tr_set_reg_zx(t, sz, o.reg, v);
    }
}

static void op_pusha(Tr *t)
{
    unsigned sz = t->osz;

    for (unsigned i = 0; i < 8; i++) {
        IrVal sp = tr_sp(t, -(int64_t)((i + 1) * sz));

        tr_st(t, sz, tr_stack_addr(t, sp, sz, true), xg(XG_RAX + i));
    }
    tr_set_sp(t, tr_sp(t, -(int64_t)(8 * sz)));
}

static void op_popa(Tr *t)
{
    unsigned sz = t->osz;
    IrVal v[8];

    for (unsigned i = 0; i < 8; i++) {
        v[i] = i == R_RSP ? 0 : tr_stack_ld(t, sz, (7 - i) * sz);
    }
    tr_set_sp(t, tr_sp(t, 8 * sz));
    for (unsigned i = 0; i < 8; i++) {
        if (v[i]) {
            tr_set_reg_zx(t, sz, i, v[i]);
        }
    }
}

static void op_enter(Tr *t)
{
    unsigned sz = tr_osz64(t), n = tr_sp_bytes(t), level;
    uint16_t size = tr_u16(t);
    IrBlock *b = t->b;
    IrVal frame = tr_sp(t, -(int64_t)sz), sp;

    level = tr_u8(t) & 31;
    tr_st(t, sz, tr_stack_addr(t, frame, sz, true), xg(XG_RAX + R_RBP));
    for (unsigned i = 1; i < level; i++) { /* pointers to the enclosing procedures' frames */
        IrVal from = ir_add(b, tr_type(n), xg(XG_RAX + R_RBP), tr_const(t, n, -(int64_t)(i * sz)));
        IrVal to = tr_sp(t, -(int64_t)((i + 1) * sz)), v;

        from = tr_zext(t, IR_I64, n, from);
        v = tr_ld(t, sz, tr_stack_addr(t, from, sz, false));
        tr_st(t, sz, tr_stack_addr(t, to, sz, true), v);
    }
    if (level) {
        IrVal to = tr_sp(t, -(int64_t)((level + 1) * sz));

        tr_st(t, sz, tr_stack_addr(t, to, sz, true), frame);
    }
    sp = tr_sp(t, -(int64_t)((level + 1) * sz + size));
    ir_call2(b, &x86_hd_check_stack, tr_stack_addr(t, sp, sz, true), tr_i64(t, sz));
    tr_set_reg_zx(t, n, R_RBP, n == 8 ? tr_stable(t, IR_I64, frame) : frame);
    tr_set_sp(t, sp);
}

static void op_leave(Tr *t)
{
    unsigned sz = tr_osz64(t), n = tr_sp_bytes(t);
    IrVal bp = n == 8 ? xg(XG_RAX + R_RBP) : tr_zext(t, IR_I64, n, xg(XG_RAX + R_RBP));
    IrVal v = tr_ld(t, sz, tr_stack_addr(t, bp, sz, false));

    tr_set_sp(t, tr_zext(t, IR_I64, n, ir_add(t->b, tr_type(n), bp, tr_const(t, n, sz))));
    tr_set_reg_zx(t, sz, R_RBP, v);
}

/* ---- flags and conversions ---- */

static void op_setcc(Tr *t)
{
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    tr_opd_st(t, &o, 1, ir_setflag(t->b, t->op & 15, &t->flags));
}

static void op_cmov(Tr *t)
{
    unsigned sz = t->osz;
    IrType ty = tr_type(sz);
    IrVal v, dst;
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    v = tr_opd_ld(t, &o, sz);
    dst = tr_rd(t, sz, t->reg);
    tr_set_reg(t, sz, t->reg, ir_movflag(t->b, ty, t->op & 15, &t->flags, v, dst));
}

static void op_carry(Tr *t)
{
    IrVal cc = tr_packed(t), c = tr_i32(t, IRF_C);

    cc = t->op == 0xf5   ? ir_xor(t->b, IR_I32, cc, c)
         : t->op == 0xf8 ? ir_andn(t->b, IR_I32, cc, c)
                         : ir_or(t->b, IR_I32, cc, c);
    tr_set_flags(t, tr_flags_value(cc));
}

enum { AH_FLAGS = EF_CF | EF_PF | EF_AF | EF_ZF | EF_SF };

static bool op_ah_flags(Tr *t)
{
    IrBlock *b = t->b;
    IrVal ax = xg(XG_RAX + R_RAX), v;

    if (tr_code64(t) && !tr_feat(t, FEAT_80000001_ECX, 0)) {
        tr_ud(t);
    } else if (t->op == 0x9f) { /* LAHF */
        v = ir_and(b, IR_I32, tr_packed(t), tr_i32(t, AH_FLAGS << 8));
        v = ir_shr(b, IR_I32, ir_or(b, IR_I32, v, tr_i32(t, 2 << 8)), tr_i32(t, 8));
        ir_mov(b, IR_I64, ax, ir_deposit(b, IR_I64, ax, v, 8, 8));
    } else { /* SAHF */
        v = ir_and(b, IR_I32, ax, tr_i32(t, AH_FLAGS << 8));
        v = ir_or(b, IR_I32, v, ir_setflag(b, IRFC_V, &t->flags));
        tr_set_flags(t, tr_flags_value(v));
    }
    return true;
}

static void op_bcd(Tr *t)
{
    IrBlock *b = t->b;
    IrVal r, ax;

    if (t->op == 0xd4) {
        uint8_t base = tr_u8(t);

        if (base == 0) {
            tr_exc(t, EXC_DE);
            return;
        }
        ax = ir_call2(b, &x86_hd_aam, tr_reg(t, 1, R_RAX), tr_i64(t, base));
        tr_set_reg(t, 2, R_RAX, ax);
        tr_set_flags(t, (IrFlags){IRF_LOGIC, 1, ax});
    } else if (t->op == 0xd5) {
        IrVal base = tr_i32(t, tr_u8(t)), ah = ir_extract(b, IR_I32, xg(XG_RAX), 8, 8, false);

        r = ir_add(b, IR_I32, ir_mul(b, IR_I32, ah, base), xg(XG_RAX));
        r = ir_ext8u(b, IR_I32, r);
        tr_set_reg(t, 2, R_RAX, r);
        tr_set_flags(t, (IrFlags){IRF_LOGIC, 1, r});
    } else {
        r = ir_call3(b, &x86_hd_bcd, tr_i64(t, t->op), tr_reg(t, 2, R_RAX),
                     ir_ext32u(b, tr_packed(t)));
        tr_set_reg(t, 2, R_RAX, r);
        r = ir_shr(b, IR_I64, r, tr_i64(t, 32));
        tr_set_flags(t, tr_flags_value(ir_copy(b, IR_I32, r)));
    }
}

/* CBW, CWDE, CDQE; CWD, CDQ, CQO. */
static void op_convert(Tr *t)
{
    IrVal ax = xg(XG_RAX + R_RAX);

    if (t->op == 0x98) {
        tr_set_reg(t, t->osz, R_RAX, tr_sext(t, tr_type(t->osz), t->osz / 2, ax));
    } else {
        IrType ty = tr_type(t->osz);
        IrVal v = tr_sext(t, ty, t->osz, ax);

        v = ir_sar(t->b, ty, v, tr_const(t, t->osz, t->osz == 8 ? 63 : 31));
        tr_set_reg(t, t->osz, R_RDX, v);
    }
}

static void op_salc(Tr *t)
{
    IrVal c = ir_setflag(t->b, IRFC_C, &t->flags);

    tr_set_reg(t, 1, R_RAX, ir_neg(t->b, IR_I32, c));
}

static void op_xlat(Tr *t)
{
    IrType ty = t->asz == 8 ? IR_I64 : IR_I32;
    IrVal off = ir_add(t->b, ty, tr_zext(t, IR_I64, 1, xg(XG_RAX)), xg(XG_RAX + R_RBX));

    off = tr_zext(t, IR_I64, t->asz, off);
    tr_set_reg_zx(t, 1, R_RAX,
                  tr_ld(t, 1, tr_linear(t, t->seg >= 0 ? t->seg : S_DS, off, 1, false)));
}

static void op_bound(Tr *t)
{
    unsigned sz = t->osz;
    IrVal off, lo, hi, i;

    off = tr_ea_off(t);
    lo = tr_ld(t, sz, tr_linear(t, t->ea_seg, off, sz * 2, false));
    off = tr_zext(t, IR_I64, t->asz, ir_add(t->b, IR_I64, off, tr_i64(t, sz)));
    hi = tr_ld(t, sz, tr_linear(t, t->ea_seg, off, sz, false));
    i = tr_sext(t, IR_I64, sz, xg(XG_RAX + t->reg));
    ir_call3(t->b, &x86_hd_bound, i, tr_sext(t, IR_I64, sz, lo), tr_sext(t, IR_I64, sz, hi));
}

static void op_arpl(Tr *t)
{
    IrBlock *b = t->b;
    IrVal dst, src, less, zf, r;
    TrOpd o;

    tr_modrm(t);
    if (!tr_mode(t, M_PE)) {
        tr_ud(t);
        return;
    }
    o = tr_rm(t);
    dst = tr_stable(t, IR_I32, tr_opd_ld_rmw(t, &o, 2));
    src = ir_and(b, IR_I32, xg(XG_RAX + t->reg), tr_i32(t, 3));
    less = ir_and(b, IR_I32, dst, tr_i32(t, 3));
    zf = ir_setcond(b, IR_I32, IRC_LTU, less, src);
    r = ir_deposit(b, IR_I32, dst, src, 0, 2);
    tr_opd_st(t, &o, 2, ir_movcond(b, IR_I32, IR_I32, IRC_LTU, less, src, r, dst));
    tr_set_flags(t, tr_flags_value(ir_deposit(b, IR_I32, tr_packed(t), zf, 14, 1)));
}

/* ---- groups and tables ---- */

static void op_group4_5(Tr *t)
{
    unsigned sub = t->modrm >> 3 & 7;
    TrOpd o;

    if (sub < 2) {
        o = tr_rm(t);
        inc_dec(t, &o, t->op & 1 ? t->osz : 1, sub == 1);
    } else { /* PUSH */
        op_push_rm(t);
    }
}

/* 0F C7: what is not vector state or random numbers (tr_ctl, tr_simd). */
static bool op_group9(Tr *t)
{
    uint64_t next = t->next;

    tr_modrm(t);
    if ((t->modrm >> 3 & 7) != 1 || t->mod == 3) {
        t->next = next;
        return false;
    }
    if (t->osz == 8) {
        op_cmpxchg16b(t);
    } else {
        op_cmpxchg8b(t);
    }
    return true;
}

/* Opcodes that 64-bit mode has given up or to other use, among those of this file. */
static bool gone_in_64(uint8_t op)
{
    switch (op) {
    case 0x27:
    case 0x2f:
    case 0x37:
    case 0x3f:
    case 0x60:
    case 0x61:
    case 0x62:
    case 0x82:
    case 0xd4:
    case 0xd5:
    case 0xd6:
        return true;
    default:
        return false;
    }
}

static bool int_map0(Tr *t)
{
    uint8_t op = t->op;
    uint64_t next = t->next;
    TrOpd o;

    if (tr_code64(t) && gone_in_64(op)) {
        tr_ud(t);
        return true;
    }
    if (op < 0x40 && (op & 7) < 6) {
        op_alu(t);
        return true;
    }
    switch (op) {
    case 0x27:
    case 0x2f:
    case 0x37:
    case 0x3f:
    case 0xd4:
    case 0xd5:
        op_bcd(t);
        return true;
    case 0x40 ... 0x4f:
        o = (TrOpd){.reg = op & 7};
        inc_dec(t, &o, t->osz, op >= 0x48);
        return true;
    case 0x50 ... 0x57:
        op_push_reg(t);
        return true;
    case 0x58 ... 0x5f:
        op_pop_reg(t);
        return true;
    case 0x60:
        op_pusha(t);
        return true;
    case 0x61:
        op_popa(t);
        return true;
    case 0x62:
        tr_modrm(t);
        if (t->mod == 3) {
            tr_ud(t);
        } else {
            op_bound(t);
        }
        return true;
    case 0x63:
        if (tr_code64(t)) {
            op_extend(t, 4, true);
        } else {
            op_arpl(t);
        }
        return true;
    case 0x68:
    case 0x6a:
        op_push_imm(t);
        return true;
    case 0x69:
    case 0x6b:
        op_imul(t);
        return true;
    case 0x80 ... 0x83:
        op_group1(t);
        return true;
    case 0x84:
    case 0x85:
    case 0xa8:
    case 0xa9:
        op_test(t);
        return true;
    case 0x86:
    case 0x87:
        op_xchg(t);
        return true;
    case 0x88 ... 0x8b:
        op_mov_rm(t);
        return true;
    case 0x8d:
        op_lea(t);
        return true;
    case 0x8f:
        op_pop_rm(t);
        return true;
    case 0x90 ... 0x97:
        op_xchg_acc(t);
        return true;
    case 0x98:
    case 0x99:
        op_convert(t);
        return true;
    case 0x9e:
    case 0x9f:
        return op_ah_flags(t);
    case 0xa0 ... 0xa3:
        op_moffs(t);
        return true;
    case 0xb0 ... 0xbf:
        op_mov_reg_imm(t);
        return true;
    case 0xc0:
    case 0xc1:
    case 0xd0 ... 0xd3:
        op_group2(t);
        return true;
    case 0xc6:
    case 0xc7:
        op_mov_imm(t);
        return true;
    case 0xc8:
        op_enter(t);
        return true;
    case 0xc9:
        op_leave(t);
        return true;
    case 0xd6:
        op_salc(t);
        return true;
    case 0xd7:
        op_xlat(t);
        return true;
    case 0xf5:
    case 0xf8:
    case 0xf9:
        op_carry(t);
        return true;
    case 0xf6:
    case 0xf7:
        op_group3(t);
        return true;
    case 0xfe:
    case 0xff:
        tr_modrm(t);
        if ((t->modrm & 0x30) == 0 || (op == 0xff && (t->modrm & 0x38) == 0x30)) {
            op_group4_5(t);
            return true;
        }
        t->next = next;
        return false;
    default:
        return false;
    }
}

static bool int_map1(Tr *t)
{
    switch (t->op) {
    case 0x40 ... 0x4f:
        op_cmov(t);
        return true;
    case 0x90 ... 0x9f:
        op_setcc(t);
        return true;
    case 0xa3:
    case 0xab:
    case 0xb3:
    case 0xbb:
        op_bit_reg(t);
        return true;
    case 0xba:
        op_bit_imm(t);
        return true;
    case 0xa4:
    case 0xa5:
    case 0xac:
    case 0xad:
        op_double_shift(t);
        return true;
    case 0xaf:
        op_imul(t);
        return true;
    case 0xb0:
    case 0xb1:
        op_cmpxchg(t);
        return true;
    case 0xb6:
    case 0xbe:
        op_extend(t, 1, t->op == 0xbe);
        return true;
    case 0xb7:
    case 0xbf:
        op_extend(t, 2, t->op == 0xbf);
        return true;
    case 0xb8:
        op_popcnt(t);
        return true;
    case 0xbc:
    case 0xbd:
        op_bit_scan(t);
        return true;
    case 0xc0:
    case 0xc1:
        op_xadd(t);
        return true;
    case 0xc7:
        return op_group9(t);
    case 0xc8 ... 0xcf:
        op_bswap(t);
        return true;
    default:
        return false;
    }
}

bool tr_int(Tr *t)
{
    switch (t->map) {
    case 0:
        return int_map0(t);
    case 1:
        return int_map1(t);
    case 2:
        return (t->op == 0xf0 || t->op == 0xf1 || t->op == 0xf6) && op_map2_f(t);
    default:
        return false;
    }
}
