/*
 * x86 shifts, rotates and bit instructions. Intel SDM volume 2.
 *
 * A count that is not constant may be 0, and then the flags stay: both are computed, by pure
 * operations, and one is chosen. Nothing of it is left when the flags are dead.
 */
#include "target/x86/helpers.h"
#include "target/x86/int_helpers.h"
#include "target/x86/tr_util.h"

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
    IrType wide;
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
    f = (IrFlags){IRF_LOGIC, sz, r};
    wide = sz == 2 ? IR_I64 : ty; /* of before and r */
    now = ir_deposit(b, IR_I32, ir_flags(b, &f), bit_of(t, wide, before, right ? 0 : sz * 8 - 1), 8,
                     1);
    wide = sz == 2 ? IR_I32 : ty;
    now = ir_deposit(b, IR_I32, now, /* V: the sign changed */
                     bit_of(t, wide, ir_xor(b, wide, r, x), sz * 8 - 1), 0, 1);
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

/* Z stays, C is bit 0 of @bit, the others are undefined: as of a product whose low half is 0 if Z
 * was set, and whose high half is the bit. */
static void bit_flags(Tr *t, unsigned sz, IrVal bit)
{
    IrVal nz = ir_setflag(t->b, IRFC_NZ, &t->flags);

    bit = ir_and(t->b, tr_type(sz), bit, tr_const(t, sz, 1));
    tr_set_flags(t, (IrFlags){IRF_MUL, 4, nz, bit});
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
    } else if (t->lock_ok = o->mem, tr_locked(t, o)) {
        x = tr_atomic(t, sz, atomics[kind], o, kind == 2 ? ir_not(b, ty, mask) : mask, 0);
    } else {
        x = tr_stable(t, ty, tr_opd_ld_rmw(t, o, sz));
        r = kind == 1   ? ir_or(b, ty, x, mask)
            : kind == 2 ? ir_andn(b, ty, x, mask)
                        : ir_xor(b, ty, x, mask);
        tr_opd_st(t, o, sz, r);
    }
    bit_flags(t, sz, ir_shr(b, ty, x, index));
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

/* ---- tables ---- */

bool tr_bits(Tr *t)
{
    if (t->map == 0 && ((t->op & 0xfe) == 0xc0 || (t->op & 0xfc) == 0xd0)) {
        op_group2(t);
        return true;
    }
    if (t->map != 1) {
        return false;
    }
    switch (t->op) {
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
    case 0xb8:
        op_popcnt(t);
        return true;
    case 0xbc:
    case 0xbd:
        op_bit_scan(t);
        return true;
    case 0xc8 ... 0xcf:
        op_bswap(t);
        return true;
    default:
        return false;
    }
}
