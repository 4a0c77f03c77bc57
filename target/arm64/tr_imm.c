/* A64 data processing with immediates: translation. DDI 0487 section C4.1.86. */
#include "target/arm64/translate.h"

/* DecodeBitMasks() of the manual, for logical immediates. */
bool a64_bitmask(bool n, unsigned imms, unsigned immr, bool sf, uint64_t *mask)
{
    unsigned v = (unsigned)n << 6 | (~imms & 0x3f), len, size, s, r;
    uint64_t e;

    if (v < 2 || (n && !sf)) {
        return false;
    }
    len = 31 - __builtin_clz(v);
    size = 1u << len;
    s = imms & (size - 1);
    r = immr & (size - 1);
    if (s == size - 1) {
        return false;
    }
    e = (2ull << s) - 1;
    if (r) {
        e = e >> r | e << (size - r);
        e &= size == 64 ? ~0ull : (1ull << size) - 1;
    }
    while (size < 64) {
        e |= e << size;
        size *= 2;
    }
    *mask = sf ? e : (uint32_t)e;
    return true;
}

static bool add_sub(Tr *t)
{
    bool sf = ta_bit(t, 31), sub = ta_bit(t, 30);
    uint64_t imm = (uint64_t)ta_bits(t, 21, 10) << (ta_bit(t, 22) ? 12 : 0);
    IrVal x = ta_xsp(t, ta_rn(t)), y = ta_imm(t, sf, imm), r;

    if (!ta_bit(t, 29)) {
        r = sub ? ir_sub(t->b, ta_ty(sf), x, y) : ir_add(t->b, ta_ty(sf), x, y);
        ta_set_xsp(t, sf, ta_rd(t), r);
        return true;
    }
    r = sub ? ta_subs(t, sf, x, y, ta_rd(t) != 31) : ta_adds(t, sf, x, y);
    if (ta_rd(t) != 31) {
        ta_set_x(t, sf, ta_rd(t), r);
    }
    return true;
}

static bool logical(Tr *t)
{
    bool sf = ta_bit(t, 31);
    uint64_t mask;
    IrVal x = ta_x(t, ta_rn(t)), y, r;

    if (!a64_bitmask(ta_bit(t, 22), ta_bits(t, 15, 10), ta_bits(t, 21, 16), sf, &mask)) {
        return false;
    }
    y = ta_imm(t, sf, mask);
    switch (ta_bits(t, 30, 29)) {
    case 0:
        ta_set_xsp(t, sf, ta_rd(t), ir_and(t->b, ta_ty(sf), x, y));
        return true;
    case 1:
        ta_set_xsp(t, sf, ta_rd(t), ir_or(t->b, ta_ty(sf), x, y));
        return true;
    case 2:
        ta_set_xsp(t, sf, ta_rd(t), ir_xor(t->b, ta_ty(sf), x, y));
        return true;
    default:
        r = ir_and(t->b, ta_ty(sf), x, y);
        ta_set_flags(t, (IrFlags){IRF_LOGIC, sf ? 8 : 4, r, .cinv = true});
        ta_set_x(t, sf, ta_rd(t), r);
        return true;
    }
}

static bool mov_wide(Tr *t)
{
    bool sf = ta_bit(t, 31);
    unsigned pos = ta_bits(t, 22, 21) * 16, rd = ta_rd(t);
    uint64_t imm = (uint64_t)ta_bits(t, 20, 5) << pos;

    if (!sf && pos >= 32) {
        return false;
    }
    switch (ta_bits(t, 30, 29)) {
    case 0:
        imm = ~imm;
        ta_set_x(t, true, rd, ta_i64(t, sf ? imm : (uint32_t)imm));
        return true;
    case 2:
        ta_set_x(t, true, rd, ta_i64(t, imm));
        return true;
    case 3:
        if (rd != 31) {
            ta_set_x(t, sf, rd,
                     ir_deposit(t->b, ta_ty(sf), ta_x(t, rd), ta_imm(t, sf, ta_bits(t, 20, 5)), pos,
                                16));
        }
        return true;
    default:
        return false;
    }
}

static bool bitfield(Tr *t)
{
    bool sf = ta_bit(t, 31);
    IrType ty = ta_ty(sf);
    unsigned opc = ta_bits(t, 30, 29), width = sf ? 64 : 32;
    unsigned immr = ta_bits(t, 21, 16), imms = ta_bits(t, 15, 10), rd = ta_rd(t);
    IrVal x = ta_x(t, ta_rn(t)), r;

    if (opc == 3 || ta_bit(t, 22) != sf || immr >= width || imms >= width) {
        return false;
    }
    if (imms >= immr) {
        unsigned len = imms - immr + 1;

        if (opc == 1) {
            r = ir_deposit(t->b, ty, ta_x(t, rd), ir_extract(t->b, ty, x, immr, len, false), 0,
                           len);
        } else if (opc == 0 && imms == width - 1) {
            r = ir_sar(t->b, ty, x, ta_imm(t, sf, immr));
        } else if (opc == 2 && imms == width - 1) {
            r = ir_shr(t->b, ty, x, ta_imm(t, sf, immr));
        } else {
            r = ir_extract(t->b, ty, x, immr, len, opc == 0);
        }
    } else {
        unsigned pos = width - immr, len = imms + 1;

        if (opc == 1) {
            r = ir_deposit(t->b, ty, ta_x(t, rd), x, pos, len);
        } else if (opc == 2 && pos + len == width) {
            r = ir_shl(t->b, ty, x, ta_imm(t, sf, pos));
        } else {
            r = ir_shl(t->b, ty, ir_extract(t->b, ty, x, 0, len, opc == 0), ta_imm(t, sf, pos));
        }
    }
    ta_set_x(t, sf, rd, r);
    return true;
}

static bool extract(Tr *t)
{
    bool sf = ta_bit(t, 31);
    IrType ty = ta_ty(sf);
    unsigned lsb = ta_bits(t, 15, 10), width = sf ? 64 : 32;
    IrVal n = ta_x(t, ta_rn(t)), m = ta_x(t, ta_rm(t)), r;

    if (ta_bits(t, 30, 29) || ta_bit(t, 21) || ta_bit(t, 22) != sf || lsb >= width) {
        return false;
    }
    if (lsb == 0) {
        r = m;
    } else if (ta_rn(t) == ta_rm(t)) {
        r = ir_ror(t->b, ty, n, ta_imm(t, sf, lsb));
    } else {
        r = ir_or(t->b, ty, ir_shr(t->b, ty, m, ta_imm(t, sf, lsb)),
                  ir_shl(t->b, ty, n, ta_imm(t, sf, width - lsb)));
    }
    ta_set_x(t, sf, ta_rd(t), r);
    return true;
}

bool ta_dp_imm(Tr *t)
{
    switch (ta_bits(t, 25, 23)) {
    case 0:
    case 1: {
        int64_t imm = ta_sbits(t, 23, 5) << 2 | ta_bits(t, 30, 29);

        ta_set_x(
            t, true, ta_rd(t),
            ta_i64(t, ta_bit(t, 31) ? (t->pc & ~0xfffull) + ((uint64_t)imm << 12) : t->pc + imm));
        return true;
    }
    case 2:
        return add_sub(t);
    case 4:
        return logical(t);
    case 5:
        return mov_wide(t);
    case 6:
        return bitfield(t);
    case 7:
        return extract(t);
    default:
        return false;
    }
}
