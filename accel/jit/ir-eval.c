/* Meaning of the IR's integer operations and flags. */
#include "accel/jit/ir-eval.h"
#include <glib.h>

uint64_t ir_zext(uint64_t v, unsigned size)
{
    return size >= 8 ? v : v & ((1ull << size * 8) - 1);
}

int64_t ir_sext(uint64_t v, unsigned size)
{
    unsigned sh = 64 - (size >= 8 ? 8 : size) * 8;

    return (int64_t)(v << sh) >> sh;
}

static uint64_t eval_extract(uint64_t a, unsigned pos, unsigned len, bool is_signed)
{
    uint64_t v = a >> pos;

    if (len >= 64) {
        return v;
    }
    v &= (1ull << len) - 1;
    if (is_signed && len) {
        v = (uint64_t)((int64_t)(v << (64 - len)) >> (64 - len));
    }
    return v;
}

static uint64_t eval_deposit(uint64_t a, uint64_t b, unsigned pos, unsigned len)
{
    uint64_t m = (len >= 64 ? ~0ull : (1ull << len) - 1) << pos;

    return (a & ~m) | ((b << pos) & m);
}

static uint64_t eval_shift(IrOp op, unsigned width, uint64_t a, unsigned n)
{
    n &= width - 1;
    if (width == 32) {
        uint32_t x = a;

        switch (op) {
        case IR_SHL:
            return x << n;
        case IR_SHR:
            return x >> n;
        case IR_SAR:
            return (int32_t)x >> n;
        case IR_ROL:
            return n ? x << n | x >> (32 - n) : x;
        default:
            return n ? x >> n | x << (32 - n) : x;
        }
    }
    switch (op) {
    case IR_SHL:
        return a << n;
    case IR_SHR:
        return a >> n;
    case IR_SAR:
        return (int64_t)a >> n;
    case IR_ROL:
        return n ? a << n | a >> (64 - n) : a;
    default:
        return n ? a >> n | a << (64 - n) : a;
    }
}

uint64_t ir_eval(IrOp op, IrType t, uint64_t a, uint64_t b, uint64_t imm)
{
    unsigned pos = imm & 0xff, len = (imm >> 8) & 0xff;
    unsigned width = t == IR_I32 ? 32 : 64;
    uint64_t r = 0;

    switch (op) {
    case IR_MOV:
        r = a;
        break;
    case IR_ADD:
        r = a + b;
        break;
    case IR_SUB:
        r = a - b;
        break;
    case IR_AND:
        r = a & b;
        break;
    case IR_OR:
        r = a | b;
        break;
    case IR_XOR:
        r = a ^ b;
        break;
    case IR_ANDN:
        r = a & ~b;
        break;
    case IR_NOT:
        r = ~a;
        break;
    case IR_NEG:
        r = -a;
        break;
    case IR_MUL:
        r = a * b;
        break;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROL:
    case IR_ROR:
        r = eval_shift(op, width, a, b);
        break;
    case IR_EXT8U:
        r = (uint8_t)a;
        break;
    case IR_EXT8S:
        r = (int8_t)a;
        break;
    case IR_EXT16U:
        r = (uint16_t)a;
        break;
    case IR_EXT16S:
        r = (int16_t)a;
        break;
    case IR_EXT32U:
        r = (uint32_t)a;
        break;
    case IR_EXT32S:
        r = (int32_t)a;
        break;
    case IR_DEPOSIT:
        r = eval_deposit(a, b, pos, len);
        break;
    case IR_EXTRACTU:
        r = eval_extract(ir_mask(t, a), pos, len, false);
        break;
    case IR_EXTRACTS:
        r = eval_extract(ir_mask(t, a), pos, len, true);
        break;
    case IR_BSWAP:
        r = t == IR_I32 ? __builtin_bswap32(a) : __builtin_bswap64(a);
        break;
    case IR_CLZ:
        a = ir_mask(t, a);
        r = !a ? width : __builtin_clzll(a) - (64 - width);
        break;
    case IR_CTZ:
        a = ir_mask(t, a);
        r = !a ? width : __builtin_ctzll(a);
        break;
    case IR_POPCNT:
        r = __builtin_popcountll(ir_mask(t, a));
        break;
    default:
        g_assert_not_reached();
    }
    return ir_mask(t, r);
}

void ir_eval_mul2(bool is_signed, IrType t, uint64_t a, uint64_t b, uint64_t *lo, uint64_t *hi)
{
    if (t == IR_I32) {
        uint64_t r = is_signed ? (uint64_t)((int64_t)(int32_t)a * (int32_t)b)
                               : (uint64_t)(uint32_t)a * (uint32_t)b;
        *lo = (uint32_t)r;
        *hi = r >> 32;
    } else {
        unsigned __int128 r = is_signed ? (unsigned __int128)((__int128)(int64_t)a * (int64_t)b)
                                        : (unsigned __int128)a * b;
        *lo = (uint64_t)r;
        *hi = (uint64_t)(r >> 64);
    }
}

bool ir_eval_cond(IrCond cc, IrType t, uint64_t a, uint64_t b)
{
    int64_t sa, sb;
    bool r;

    a = ir_mask(t, a);
    b = ir_mask(t, b);
    sa = t == IR_I32 ? (int32_t)a : (int64_t)a;
    sb = t == IR_I32 ? (int32_t)b : (int64_t)b;
    switch (cc & ~1) {
    case IRC_EQ:
        r = a == b;
        break;
    case IRC_LTU:
        r = a < b;
        break;
    case IRC_LEU:
        r = a <= b;
        break;
    case IRC_LT:
        r = sa < sb;
        break;
    case IRC_LE:
        r = sa <= sb;
        break;
    default:
        r = !(a & b);
        break;
    }
    return r ^ (cc & 1);
}

static uint32_t flags_nzp(uint64_t r, unsigned size)
{
    uint32_t f = IRF_ONE;

    r = ir_zext(r, size);
    f |= r ? 0 : IRF_Z;
    f |= r >> (size * 8 - 1) ? IRF_N : 0;
    f |= __builtin_parity((uint8_t)r) ? 0 : IRF_P;
    return f;
}

/* Flags of x + y + carry (result r) by the carry-out vector. */
static uint32_t flags_add(unsigned size, uint64_t x, uint64_t y, uint64_t r)
{
    unsigned top = size * 8 - 1;
    uint64_t co = (x & y) | ((x | y) & ~r);
    uint64_t v = (x ^ r) & (y ^ r);

    return flags_nzp(r, size) | (co >> top & 1 ? IRF_C : 0) | (v >> top & 1 ? IRF_V : 0) |
           (co >> 3 & 1 ? IRF_H : 0);
}

static uint32_t flags_sub(unsigned size, uint64_t x, uint64_t y, uint64_t r)
{
    unsigned top = size * 8 - 1;
    uint64_t bo = (~x & y) | ((~x | y) & r);
    uint64_t v = (x ^ y) & (x ^ r);

    return flags_nzp(r, size) | (bo >> top & 1 ? IRF_C : 0) | (v >> top & 1 ? IRF_V : 0) |
           (bo >> 3 & 1 ? IRF_H : 0);
}

uint32_t ir_eval_flags(IrFlagKind kind, unsigned size, uint64_t a, uint64_t b, uint64_t c)
{
    unsigned top = size * 8 - 1;
    uint32_t f;

    switch (kind) {
    case IRF_ADD:
        return flags_add(size, a - b, b, a);
    case IRF_SUB:
        return flags_sub(size, a, b, a - b);
    case IRF_LOGIC:
        return flags_nzp(a, size);
    case IRF_ADC:
        return flags_add(size, a - b - c, b, a);
    case IRF_SBB:
        return flags_sub(size, a, b, a - b - c);
    case IRF_INC:
        return (flags_add(size, a - 1, 1, a) & ~IRF_C) | (c & IRF_C);
    case IRF_DEC:
        return (flags_sub(size, a + 1, 1, a) & ~IRF_C) | (c & IRF_C);
    case IRF_SHL:
        f = flags_nzp(a, size) | (b >> top & 1 ? IRF_C : 0);
        return f | ((a ^ b) >> top & 1 ? IRF_V : 0);
    case IRF_SHR:
        return flags_nzp(a, size) | (b & 1 ? IRF_C : 0) | (b >> top & 1 ? IRF_V : 0);
    case IRF_SAR:
        return flags_nzp(a, size) | (b & 1 ? IRF_C : 0);
    case IRF_MUL:
        return flags_nzp(a, size) | (ir_zext(b, size) ? IRF_C | IRF_V : 0);
    default: /* PACKED, VALUE: a is it */
        return a;
    }
}

bool ir_eval_flagcond(IrFlagCond cc, uint32_t p)
{
    bool n = p & IRF_N, v = p & IRF_V, r;

    switch (cc & ~1) {
    case IRFC_V:
        r = v;
        break;
    case IRFC_C:
        r = p & IRF_C;
        break;
    case IRFC_Z:
        r = p & IRF_Z;
        break;
    case IRFC_CZ:
        r = p & (IRF_C | IRF_Z);
        break;
    case IRFC_N:
        r = n;
        break;
    case IRFC_P:
        r = p & IRF_P;
        break;
    case IRFC_LT:
        r = n != v;
        break;
    default:
        r = n != v || (p & IRF_Z);
        break;
    }
    return r ^ (cc & 1);
}
