/*
 * x86 arithmetic, logic, multiplication, division, exchange-and-add. Intel SDM volume 2.
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
    seen = tr_atomic(t, sz, IRA_CMPXCHG, o, r, old);
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
    old = tr_atomic(t, sz, kind[op], o, v, 0);
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
    if (tr_locked(t, o)) {
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
    if (tr_locked(t, o)) {
        r = ir_add(t->b, ty, tr_atomic(t, sz, IRA_ADD, o, one, 0), one);
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
    if (tr_locked(t, o)) {
        if (neg) {
            tr_pack_first(t);
            alu_cmpxchg_loop(t, o, sz, ALU_CMP, 0);
        } else {
            tr_atomic(t, sz, IRA_XOR, o, tr_const(t, sz, ~0ull), 0);
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

/* ---- exchanges ---- */

static void op_xadd(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    IrVal x, y, sum;
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    y = tr_reg(t, sz, t->reg);
    t->lock_ok = o.mem;
    if (tr_locked(t, &o)) {
        x = tr_atomic(t, sz, IRA_ADD, &o, y, 0);
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
    if (tr_locked(t, &o)) {
        old = tr_atomic(t, sz, IRA_CMPXCHG, &o, tr_rd(t, sz, t->reg), acc);
    } else {
        old = o.mem ? tr_ld_rmw(t, sz, o.addr) : tr_reg(t, sz, o.reg);
    }
    f = (IrFlags){IRF_SUB, sz, acc, old};
    val = tr_rd(t, sz, t->reg);
    if (!o.mem && sz == 4) { /* when not equal, all of the register stays (measured) */
        val =
            ir_movcond(b, IR_I64, IR_I64, IRC_EQ, acc, old, ir_ext32u(b, val), xg(XG_RAX + o.reg));
        tr_set_reg(t, 8, o.reg, val);
    } else if (!tr_locked(t, &o)) {
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
    old = tr_atomic(t, 8, IRA_CMPXCHG, &o, val, expect);
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

/* ---- tables ---- */

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

/* INC, DEC of FE and FF. */
static bool op_group45(Tr *t)
{
    uint64_t next = t->next;
    TrOpd o;

    tr_modrm(t);
    if (t->modrm & 0x30) {
        t->next = next;
        return false;
    }
    o = tr_rm(t);
    inc_dec(t, &o, t->op & 1 ? t->osz : 1, t->modrm & 8);
    return true;
}

static bool alu_map0(Tr *t)
{
    uint8_t op = t->op;
    TrOpd o;

    if (op < 0x40 && (op & 7) < 6) {
        op_alu(t);
        return true;
    }
    switch (op) {
    case 0x40 ... 0x4f:
        o = (TrOpd){.reg = op & 7};
        inc_dec(t, &o, t->osz, op >= 0x48);
        return true;
    case 0x69:
    case 0x6b:
        op_imul(t);
        return true;
    case 0x80 ... 0x83:
        if (op == 0x82 && tr_code64(t)) {
            return false;
        }
        op_group1(t);
        return true;
    case 0x84:
    case 0x85:
    case 0xa8:
    case 0xa9:
        op_test(t);
        return true;
    case 0xf6:
    case 0xf7:
        op_group3(t);
        return true;
    case 0xfe:
    case 0xff:
        return op_group45(t);
    default:
        return false;
    }
}

static bool alu_map1(Tr *t)
{
    switch (t->op) {
    case 0xaf:
        op_imul(t);
        return true;
    case 0xb0:
    case 0xb1:
        op_cmpxchg(t);
        return true;
    case 0xc0:
    case 0xc1:
        op_xadd(t);
        return true;
    case 0xc7:
        return op_group9(t);
    default:
        return false;
    }
}

bool tr_alu(Tr *t)
{
    switch (t->map) {
    case 0:
        return alu_map0(t);
    case 1:
        return alu_map1(t);
    case 2:
        if (t->op == 0xf6 && (t->p66 || t->rep == 0xf3)) {
            tr_modrm(t);
            op_adx(t, t->rep == 0xf3);
            return true;
        }
        return false;
    default:
        return false;
    }
}
