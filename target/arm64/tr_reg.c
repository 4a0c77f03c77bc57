/* A64 data processing with registers: translation. DDI 0487 section C4.1.89. */
#include "target/arm64/helpers.h"
#include "target/arm64/translate.h"

static IrVal shifted(Tr *t, bool sf, IrVal v, unsigned type, unsigned amount)
{
    IrType ty = ta_ty(sf);
    IrVal n = ta_imm(t, sf, amount);

    if (!amount) {
        return v;
    }
    return type == 0   ? ir_shl(t->b, ty, v, n)
           : type == 1 ? ir_shr(t->b, ty, v, n)
           : type == 2 ? ir_sar(t->b, ty, v, n)
                       : ir_ror(t->b, ty, v, n);
}

static bool logical(Tr *t)
{
    bool sf = ta_bit(t, 31), invert = ta_bit(t, 21);
    IrType ty = ta_ty(sf);
    unsigned amount = ta_bits(t, 15, 10), opc = ta_bits(t, 30, 29);
    IrVal n = ta_x(t, ta_rn(t)), m, r;

    if (!sf && amount >= 32) {
        return false;
    }
    m = shifted(t, sf, ta_x(t, ta_rm(t)), ta_bits(t, 23, 22), amount);
    if (opc == 1) {
        m = invert ? ir_not(t->b, ty, m) : m;
        r = ta_rn(t) == 31 ? m : ir_or(t->b, ty, n, m);
    } else if (opc == 2) {
        r = ir_xor(t->b, ty, n, invert ? ir_not(t->b, ty, m) : m);
    } else {
        r = invert ? ir_andn(t->b, ty, n, m) : ir_and(t->b, ty, n, m);
    }
    if (opc == 3) {
        r = ta_stable(t, ty, r);
        ta_set_flags(t, (IrFlags){IRF_LOGIC, sf ? 8 : 4, r, .cinv = true});
    }
    ta_set_x(t, sf, ta_rd(t), r);
    return true;
}

static bool add_sub(Tr *t)
{
    bool sf = ta_bit(t, 31), sub = ta_bit(t, 30), ext = ta_bit(t, 21);
    IrType ty = ta_ty(sf);
    IrVal n, m, r;

    if (ext) {
        static const uint8_t lens[] = {8, 16, 32, 64};
        unsigned option = ta_bits(t, 15, 13), amount = ta_bits(t, 12, 10), len = lens[option & 3];

        if (amount > 4 || ta_bits(t, 23, 22)) {
            return false;
        }
        n = ta_xsp(t, ta_rn(t));
        m = ta_x(t, ta_rm(t));
        if (len < (sf ? 64u : 32u)) {
            m = len == 32 ? option & 4 ? ir_ext32s(t->b, m) : ir_ext32u(t->b, m)
                          : ir_extract(t->b, ty, m, 0, len, option & 4);
        }
        m = shifted(t, sf, m, 0, amount);
    } else {
        unsigned amount = ta_bits(t, 15, 10), type = ta_bits(t, 23, 22);

        if ((!sf && amount >= 32) || type == 3) {
            return false;
        }
        n = ta_x(t, ta_rn(t));
        m = shifted(t, sf, ta_x(t, ta_rm(t)), type, amount);
    }
    if (ta_bit(t, 29)) {
        r = sub ? ta_subs(t, sf, n, m, ta_rd(t) != 31) : ta_adds(t, sf, n, m);
        if (ta_rd(t) != 31) {
            ta_set_x(t, sf, ta_rd(t), r);
        }
        return true;
    }
    r = sub ? ir_sub(t->b, ty, n, m) : ir_add(t->b, ty, n, m);
    if (ext) {
        ta_set_xsp(t, sf, ta_rd(t), r);
    } else {
        ta_set_x(t, sf, ta_rd(t), r);
    }
    return true;
}

static bool add_carry(Tr *t)
{
    bool sf = ta_bit(t, 31), sub = ta_bit(t, 30);
    IrType ty = ta_ty(sf);
    IrVal x = ta_x(t, ta_rn(t)), y = ta_x(t, ta_rm(t)), c, cx, r;

    c = ta_borrow(t);
    if (!sub) {
        c = ir_xor(t->b, IR_I32, c, ta_i32(t, 1));
    }
    cx = sf ? ir_ext32u(t->b, c) : c;
    x = ta_stable(t, ty, x);
    y = ta_stable(t, ty, y);
    r = sub ? ir_sub(t->b, ty, ir_sub(t->b, ty, x, y), cx)
            : ir_add(t->b, ty, ir_add(t->b, ty, x, y), cx);
    if (ta_bit(t, 29)) {
        if (sub) {
            ta_set_flags(t, (IrFlags){IRF_SBB, sf ? 8 : 4, x, y, c});
        } else {
            ta_set_flags(t, (IrFlags){IRF_ADC, sf ? 8 : 4, r, y, c, .cinv = true});
        }
    }
    ta_set_x(t, sf, ta_rd(t), r);
    return true;
}

/* ---- flags ---- */

/* Put bit @from of I64 @v at flag bit @to of packed @p (I32); C comes inverted. */
static IrVal put_flag(Tr *t, IrVal p, IrVal v, unsigned from, unsigned to)
{
    IrVal f = ir_extract(t->b, IR_I64, v, from, 1, false);

    if (to == 8) {
        f = ir_xor(t->b, IR_I64, f, ta_i64(t, 1));
    }
    return ir_deposit(t->b, IR_I32, p, f, to, 1);
}

static bool flag_ops(Tr *t)
{
    IrVal p, v;

    if (!id_field(t->c->isar0, 52) || ta_bits(t, 30, 29) != 1) {
        return false;
    }
    if (ta_bits(t, 14, 10) == 1 && ta_bit(t, 31) && !ta_bit(t, 4)) { /* RMIF */
        static const uint8_t to[] = {0, 8, 14, 15};

        p = ta_packed(t);
        v = ir_ror(t->b, IR_I64, ta_x(t, ta_rn(t)), ta_i64(t, ta_bits(t, 20, 15)));
        for (unsigned i = 0; i < 4; i++) {
            if (ta_bit(t, i)) {
                p = put_flag(t, p, v, i, to[i]);
            }
        }
    } else if (ta_bits(t, 20, 15) == 0 && ta_bits(t, 13, 10) == 2 && (t->insn & 31) == 13 &&
               !ta_bit(t, 31)) { /* SETF8, SETF16 */
        unsigned msb = ta_bit(t, 14) ? 15 : 7;
        IrVal x = ta_stable(t, IR_I64, ta_x(t, ta_rn(t))), z;

        z = ir_setcond(t->b, IR_I64, IRC_TSTZ, x, ta_i64(t, (2ull << msb) - 1));
        p = put_flag(t, ta_packed(t), x, msb, 15);
        p = ir_deposit(t->b, IR_I32, p, z, 14, 1);
        v = ir_xor(t->b, IR_I64, x, ir_shr(t->b, IR_I64, x, ta_i64(t, 1)));
        p = put_flag(t, p, v, msb, 0);
    } else {
        return false;
    }
    ta_set_flags(t, (IrFlags){.kind = IRF_VALUE, .size = 4, .a = p});
    return true;
}

static bool cond_compare(Tr *t)
{
    bool sf = ta_bit(t, 31), sub = ta_bit(t, 30);
    unsigned cond = ta_bits(t, 15, 12);
    IrVal x = ta_x(t, ta_rn(t)), y, p, no;
    IrFlags before, f;
    IrFlagCond cc = 0;

    if (!ta_bit(t, 29) || ta_bit(t, 10) || ta_bit(t, 4)) {
        return false;
    }
    y = ta_bit(t, 11) ? ta_imm(t, sf, ta_rm(t)) : ta_x(t, ta_rm(t));
    if (cond < 14) {
        cc = ta_cond(t, cond);
    }
    before = t->flags;
    if (sub) {
        ta_subs(t, sf, x, y, false);
    } else {
        ta_adds(t, sf, x, y);
    }
    if (cond >= 14) {
        return true;
    }
    f = t->flags;
    no = ta_nzcv_const(t, t->insn & 15);
    p = ir_movflag(t->b, IR_I32, cc, &before, ir_flags(t->b, &f), no);
    ta_set_flags(t, (IrFlags){.kind = IRF_VALUE, .size = 4, .a = p});
    return true;
}

static bool cond_select(Tr *t)
{
    bool sf = ta_bit(t, 31), inv = ta_bit(t, 30), inc = ta_bit(t, 10);
    IrType ty = ta_ty(sf);
    unsigned cond = ta_bits(t, 15, 12), rm = ta_rm(t);
    IrVal yes = ta_x(t, ta_rn(t)), no = ta_x(t, rm), r;
    IrFlagCond cc;

    if (ta_bit(t, 29) || ta_bit(t, 11)) {
        return false;
    }
    if (cond >= 14) {
        ta_set_x(t, sf, ta_rd(t), yes);
        return true;
    }
    if (ta_rn(t) == 31 && rm == 31 && (inv || inc)) { /* CSET, CSETM */
        cc = ta_cond(t, cond ^ 1);
        r = ir_setflag(t->b, cc, &t->flags);
        if (inv) {
            ta_set_x(t, sf, ta_rd(t), ir_neg(t->b, ty, sf ? ir_ext32u(t->b, r) : r));
        } else {
            ta_set_x(t, false, ta_rd(t), r);
        }
        return true;
    }
    if (inv) {
        no = inc ? ir_neg(t->b, ty, no) : ir_not(t->b, ty, no);
    } else if (inc) {
        no = ir_add(t->b, ty, no, ta_imm(t, sf, 1));
    }
    cc = ta_cond(t, cond);
    ta_set_x(t, sf, ta_rd(t), ir_movflag(t->b, ty, cc, &t->flags, yes, no));
    return true;
}

/* ---- one, two, three sources ---- */

static bool pauth_1(Tr *t)
{
    unsigned op = ta_bits(t, 15, 10), rd = ta_rd(t), rn = ta_rn(t);
    IrVal mod;

    if (!ta_bit(t, 31) || !(id_field(t->c->isar1, 4) | id_field(t->c->isar1, 8)) || op > 17) {
        return false;
    }
    if (op >= 8) {
        if (rn != 31) {
            return false;
        }
        mod = ta_i64(t, 0);
    } else {
        mod = ta_xsp(t, rn);
    }
    if (op >= 16) { /* XPACI, XPACD */
        ta_set_x(t, true, rd,
                 ir_call3(t->b, &a64_hd_pac, ta_x(t, rd), mod, ta_i64(t, (op & 1) << 3 | 2)));
        return true;
    }
    ta_set_x(
        t, true, rd,
        ir_call3(t->b, &a64_hd_pac, ta_x(t, rd), mod, ta_i64(t, (op & 3) << 2 | (op >> 2 & 1))));
    return true;
}

/* Bytes of @v reversed inside each half-word. */
static IrVal rev16(Tr *t, bool sf, IrVal v)
{
    IrType ty = ta_ty(sf);
    IrVal m = ta_imm(t, sf, 0x00ff00ff00ff00ffull);

    return ir_or(t->b, ty, ir_shl(t->b, ty, ir_and(t->b, ty, v, m), ta_imm(t, sf, 8)),
                 ir_and(t->b, ty, ir_shr(t->b, ty, v, ta_imm(t, sf, 8)), m));
}

static bool one_source(Tr *t)
{
    bool sf = ta_bit(t, 31);
    IrType ty = ta_ty(sf);
    IrVal x = ta_x(t, ta_rn(t)), r;

    if (ta_bit(t, 29)) {
        return false;
    }
    if (ta_rm(t) == 1) {
        return pauth_1(t);
    }
    if (ta_rm(t)) {
        return false;
    }
    switch (ta_bits(t, 15, 10)) {
    case 0:
        r = ir_call1(t->b, &a64_hd_rbit, sf ? x : ir_ext32u(t->b, x));
        if (!sf) {
            r = ir_shr(t->b, IR_I64, r, ta_i64(t, 32));
        }
        break;
    case 1:
        r = rev16(t, sf, x);
        break;
    case 2:
        r = sf ? ir_ror(t->b, IR_I64, ir_bswap(t->b, IR_I64, x), ta_i64(t, 32))
               : ir_bswap(t->b, IR_I32, x);
        break;
    case 3:
        if (!sf) {
            return false;
        }
        r = ir_bswap(t->b, IR_I64, x);
        break;
    case 4:
        r = ir_clz(t->b, ty, x);
        break;
    case 5: /* CLS: leading zeros of x ^ x << 1 with the lowest bit set, which end the count */
        r = ir_xor(t->b, ty, x, ir_sar(t->b, ty, x, ta_imm(t, sf, sf ? 63 : 31)));
        r = ir_sub(t->b, ty, ir_clz(t->b, ty, r), ta_imm(t, sf, 1));
        break;
    default:
        return false;
    }
    ta_set_x(t, sf, ta_rd(t), r);
    return true;
}

static bool crc(Tr *t, unsigned op)
{
    unsigned bytes = 1u << (op & 3);
    IrVal v = ta_x(t, ta_rm(t));

    if (!id_field(t->c->isar0, 16) || ta_bit(t, 31) != (bytes == 8)) {
        return false;
    }
    ta_set_x(t, false, ta_rd(t),
             ir_call3(t->b, op & 4 ? &a64_hd_crc32c : &a64_hd_crc32,
                      ir_ext32u(t->b, ta_x(t, ta_rn(t))), v, ta_i64(t, bytes)));
    return true;
}

static bool two_source(Tr *t)
{
    bool sf = ta_bit(t, 31);
    IrType ty = ta_ty(sf);
    unsigned op = ta_bits(t, 15, 10);
    IrVal n = ta_x(t, ta_rn(t)), m = ta_x(t, ta_rm(t)), r;

    if (ta_bit(t, 29)) {
        return false;
    }
    if (op >= 16 && op < 24) {
        return crc(t, op & 7);
    }
    switch (op) {
    case 2:
        r = ir_call2(t->b, &a64_hd_udiv, sf ? n : ir_ext32u(t->b, n), sf ? m : ir_ext32u(t->b, m));
        break;
    case 3:
        r = sf ? ir_call2(t->b, &a64_hd_sdiv, n, m)
               : ir_call2(t->b, &a64_hd_sdiv32, ir_ext32u(t->b, n), ir_ext32u(t->b, m));
        break;
    case 8:
        r = ir_shl(t->b, ty, n, m);
        break;
    case 9:
        r = ir_shr(t->b, ty, n, m);
        break;
    case 10:
        r = ir_sar(t->b, ty, n, m);
        break;
    case 11:
        r = ir_ror(t->b, ty, n, m);
        break;
    case 12: /* PACGA */
        if (!sf || !(id_field(t->c->isar1, 24) | id_field(t->c->isar1, 28))) {
            return false;
        }
        r = ir_call3(t->b, &a64_hd_pac, n, ta_xsp(t, ta_rm(t)), ta_i64(t, 4 << 2 | 3));
        break;
    default:
        return false;
    }
    ta_set_x(t, sf, ta_rd(t), r);
    return true;
}

static bool three_source(Tr *t)
{
    bool sf = ta_bit(t, 31), sub = ta_bit(t, 15), is_signed;
    IrType ty = ta_ty(sf);
    IrVal n = ta_x(t, ta_rn(t)), m = ta_x(t, ta_rm(t)), a = ta_x(t, ta_ra(t)), r;
    unsigned op = ta_bits(t, 23, 21);

    if (ta_bits(t, 30, 29)) {
        return false;
    }
    if (op == 0) {
        r = ir_mul(t->b, ty, n, m);
    } else if (!sf) {
        return false;
    } else if (op == 1 || op == 5) {
        is_signed = op == 1;
        r = ir_mul(t->b, IR_I64, is_signed ? ir_ext32s(t->b, n) : ir_ext32u(t->b, n),
                   is_signed ? ir_ext32s(t->b, m) : ir_ext32u(t->b, m));
    } else if ((op == 2 || op == 6) && !sub) {
        IrVal lo = ir_temp(t->b, IR_I64), hi = ir_temp(t->b, IR_I64);

        ir_mul2(t->b, op == 2, IR_I64, lo, hi, n, m);
        ta_set_x(t, true, ta_rd(t), hi);
        return true;
    } else {
        return false;
    }
    if (ta_ra(t) != 31) {
        r = sub ? ir_sub(t->b, ty, a, r) : ir_add(t->b, ty, a, r);
    } else if (sub) {
        r = ir_neg(t->b, ty, r);
    }
    ta_set_x(t, sf, ta_rd(t), r);
    return true;
}

bool ta_dp_reg(Tr *t)
{
    if (!ta_bit(t, 28)) {
        return ta_bit(t, 24) ? add_sub(t) : logical(t);
    }
    if (ta_bit(t, 24)) {
        return three_source(t);
    }
    switch (ta_bits(t, 23, 21)) {
    case 0:
        return ta_bits(t, 15, 10) ? flag_ops(t) : add_carry(t);
    case 2:
        return cond_compare(t);
    case 4:
        return cond_select(t);
    case 6:
        return ta_bit(t, 30) ? one_source(t) : two_source(t);
    default:
        return false;
    }
}
