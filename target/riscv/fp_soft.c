/*
 * Floating point in software, for rounding modes and formats that the host has not: an operation is
 * done in binary128 rounded toward zero, the last bit made odd when it was inexact, and that is
 * rounded once to the format. (binary128 has more than twice the bits of binary64 and two to
 * spare, so the second rounding is exact: Boldo and Melquiond, "Emulation of FMA and correctly
 * rounded sums: proved algorithms using rounding to odd", 2008.) Unprivileged ISA, chapters 20-22.
 */
#include "target/riscv/fp.h"
#include <string.h>

typedef unsigned __int128 U128;
typedef __float128 Quad;

typedef struct FmtInfo {
    uint8_t frac, exp; /* bits of fraction and exponent fields */
    int16_t bias;
} FmtInfo;

static const FmtInfo info[] = {
    [FMT_S] = {23, 8, 127}, [FMT_D] = {52, 11, 1023}, [FMT_H] = {10, 5, 15}};

static uint64_t inf_of(RvFmt f, bool neg)
{
    return (neg ? rv_sign(f) : 0) | ((1ull << info[f].exp) - 1) << info[f].frac;
}

static bool is_inf(RvFmt f, uint64_t v)
{
    return (v & ~rv_sign(f)) == inf_of(f, false);
}

static bool is_zero(RvFmt f, uint64_t v)
{
    return !(v & ~rv_sign(f) & (f == FMT_D ? ~0ull : f == FMT_S ? 0xffffffff : 0xffff));
}

static bool is_neg(RvFmt f, uint64_t v)
{
    return v & rv_sign(f);
}

/* A finite number, exactly. */
static Quad to_quad(RvFmt f, uint64_t v)
{
    uint64_t frac = v & ((1ull << info[f].frac) - 1);
    int exp = v >> info[f].frac & ((1u << info[f].exp) - 1);
    U128 m = frac | (exp ? 1ull << info[f].frac : 0);
    int e = (exp ? exp : 1) - info[f].bias - info[f].frac; /* of the last bit */
    U128 bits;
    Quad q;

    if (!m) {
        bits = 0;
    } else {
        int top = 63 - __builtin_clzll((uint64_t)m);

        bits = (m << (112 - top)) & (((U128)1 << 112) - 1);
        bits |= (U128)(e + top + 16383) << 112;
    }
    bits |= is_neg(f, v) ? (U128)1 << 127 : 0;
    memcpy(&q, &bits, 16);
    return q;
}

static bool round_up(unsigned rm, bool neg, bool odd, int vs_half, bool inexact)
{
    switch (rm) {
    case RM_RTZ:
        return false;
    case RM_RDN:
        return neg && inexact;
    case RM_RUP:
        return !neg && inexact;
    case RM_RMM:
        return vs_half >= 0;
    default:
        return vs_half > 0 || (vs_half == 0 && odd);
    }
}

/* @m >> @shift, rounded; *inexact is set. @m has at most 113 bits. */
static U128 shift_round(U128 m, unsigned shift, unsigned rm, bool neg, bool *inexact)
{
    U128 q, rem, half;

    if (!shift) {
        *inexact = false;
        return m;
    }
    if (shift > 126) { /* less than half of the last place */
        *inexact = m != 0;
        return round_up(rm, neg, false, -1, *inexact);
    }
    q = m >> shift;
    rem = m & (((U128)1 << shift) - 1);
    half = (U128)1 << (shift - 1);
    *inexact = rem != 0;
    return q + round_up(rm, neg, q & 1,
                        !rem          ? -1
                        : rem > half  ? 1
                        : rem == half ? 0
                                      : -1,
                        *inexact);
}

/* The number @v, not zero, infinite or NaN, in format @f. */
static uint64_t from_quad(RvFmt f, unsigned rm, Quad v, unsigned *flags)
{
    const FmtInfo *fi = &info[f];
    U128 bits, m, q;
    int e, emin = 1 - fi->bias, emax = fi->bias;
    unsigned shift = 112 - fi->frac;
    bool neg, inexact, tiny = false;

    memcpy(&bits, &v, 16);
    neg = bits >> 127;
    e = (int)(bits >> 112 & 0x7fff) - 16383;
    m = (bits & (((U128)1 << 112) - 1)) | (U128)1 << 112;
    if (e < emin) {
        bool dummy;

        /* Tiny, unless rounding with an unbounded exponent reaches the smallest normal. */
        tiny = e < emin - 1 || !(shift_round(m, shift, rm, neg, &dummy) >> (fi->frac + 1));
        shift += emin - e;
        e = emin;
    }
    q = shift_round(m, MIN(shift, 127), rm, neg, &inexact);
    if (q >> (fi->frac + 1)) {
        q >>= 1;
        e++;
    }
    *flags |= inexact ? FF_NX | (tiny ? FF_UF : 0) : 0;
    if (e > emax) {
        bool to_max = rm == RM_RTZ || (rm == RM_RDN && !neg) || (rm == RM_RUP && neg);

        *flags |= FF_OF | FF_NX;
        return inf_of(f, neg) - to_max;
    }
    /* A subnormal has no implicit bit, and its exponent field is 0. */
    return (neg ? rv_sign(f) : 0) | (q >> fi->frac ? (uint64_t)(e + fi->bias) << fi->frac |
                                                         (uint64_t)(q & ((1ull << fi->frac) - 1))
                                                   : (uint64_t)q);
}

/* ---- operations on quads, toward zero, odd when inexact ---- */

static Quad make_odd(Quad q, bool inexact)
{
    U128 bits;

    memcpy(&bits, &q, 16);
    bits |= inexact;
    memcpy(&q, &bits, 16);
    return q;
}

static Quad quad_op(RvFpOp op, Quad x, Quad y)
{
    uint32_t saved = rv_getcsr(), after;
    volatile Quad a = x, b = y, r;

    rv_setcsr(0x1f80 | 0x6000);
    r = op == FP_ADD ? a + b : op == FP_SUB ? a - b : op == FP_MUL ? a * b : a / b;
    after = rv_getcsr();
    rv_setcsr(saved);
    return make_odd(r, after & 0x20);
}

static bool quad_zero(Quad q)
{
    U128 bits;

    memcpy(&bits, &q, 16);
    return !(bits << 1);
}

/* The square root of a binary16 number fits a double with room for a sticky bit. */
static Quad half_sqrt(uint64_t a)
{
    uint32_t saved = rv_getcsr(), after;
    volatile double v = (double)to_quad(FMT_H, a), r;

    rv_setcsr(0x1f80 | 0x6000);
    r = __builtin_sqrt(v);
    after = rv_getcsr();
    rv_setcsr(saved);
    uint64_t bits;
    double d = r;
    memcpy(&bits, &d, 8);
    bits |= (after & 0x20) != 0;
    return to_quad(FMT_D, bits);
}

static uint64_t invalid(RvFmt f, unsigned *flags)
{
    *flags |= FF_NV;
    return rv_nan(f);
}

/* ± 0 of a sum that is exactly zero. */
static uint64_t zero_sum(RvFmt f, unsigned rm, bool same_sign, bool neg)
{
    return (same_sign ? neg : rm == RM_RDN) ? rv_sign(f) : 0;
}

static uint64_t soft_add(RvFmt f, unsigned rm, uint64_t a, uint64_t b, unsigned *flags)
{
    Quad r;

    if (is_inf(f, a)) {
        return is_inf(f, b) && is_neg(f, a) != is_neg(f, b) ? invalid(f, flags) : a;
    }
    if (is_inf(f, b)) {
        return b;
    }
    r = quad_op(FP_ADD, to_quad(f, a), to_quad(f, b));
    if (quad_zero(r)) {
        return zero_sum(f, rm, is_neg(f, a) == is_neg(f, b) && is_zero(f, a), is_neg(f, a));
    }
    return from_quad(f, rm, r, flags);
}

static uint64_t soft_mul(RvFmt f, unsigned rm, uint64_t a, uint64_t b, unsigned *flags)
{
    bool neg = is_neg(f, a) != is_neg(f, b);

    if (is_inf(f, a) || is_inf(f, b)) {
        return is_zero(f, a) || is_zero(f, b) ? invalid(f, flags) : inf_of(f, neg);
    }
    if (is_zero(f, a) || is_zero(f, b)) {
        return neg ? rv_sign(f) : 0;
    }
    return from_quad(f, rm, quad_op(FP_MUL, to_quad(f, a), to_quad(f, b)), flags);
}

static uint64_t soft_div(RvFmt f, unsigned rm, uint64_t a, uint64_t b, unsigned *flags)
{
    bool neg = is_neg(f, a) != is_neg(f, b);

    if (is_inf(f, a)) {
        return is_inf(f, b) ? invalid(f, flags) : inf_of(f, neg);
    }
    if (is_inf(f, b)) {
        return neg ? rv_sign(f) : 0;
    }
    if (is_zero(f, b)) {
        if (is_zero(f, a)) {
            return invalid(f, flags);
        }
        *flags |= FF_DZ;
        return inf_of(f, neg);
    }
    if (is_zero(f, a)) {
        return neg ? rv_sign(f) : 0;
    }
    return from_quad(f, rm, quad_op(FP_DIV, to_quad(f, a), to_quad(f, b)), flags);
}

static uint64_t soft_sqrt(RvFmt f, unsigned rm, uint64_t a, unsigned *flags)
{
    if (is_zero(f, a)) {
        return a;
    }
    if (is_neg(f, a)) {
        return invalid(f, flags);
    }
    if (is_inf(f, a)) {
        return a;
    }
    if (f == FMT_H) {
        return from_quad(f, rm, half_sqrt(a), flags);
    }
    /* A root is never half way between two numbers: ties away is ties to even. */
    uint32_t saved = rv_getcsr(), after;
    uint64_t out = 0;

    rv_setcsr(0x1f80 | rv_mxcsr_rc(rm));
    if (f == FMT_D) {
        double v;
        memcpy(&v, &a, 8);
        volatile double x = v, r = __builtin_sqrt(x);
        v = r;
        memcpy(&out, &v, 8);
    } else {
        float v;
        memcpy(&v, &a, 4);
        volatile float x = v, r = __builtin_sqrtf(x);
        v = r;
        memcpy(&out, &v, 4);
    }
    after = rv_getcsr();
    rv_setcsr(saved);
    *flags |= after & 0x20 ? FF_NX : 0;
    return out;
}

static bool nan2(RvFmt f, uint64_t a, uint64_t b, unsigned *flags)
{
    *flags |= rv_is_snan(f, a) || rv_is_snan(f, b) ? FF_NV : 0;
    return rv_is_nan(f, a) || rv_is_nan(f, b);
}

uint64_t rv_soft_op2(RvFpOp op, RvFmt f, unsigned rm, uint64_t a, uint64_t b, unsigned *flags)
{
    if (nan2(f, a, op == FP_SQRT ? a : b, flags)) {
        return rv_nan(f);
    }
    switch (op) {
    case FP_ADD:
        return soft_add(f, rm, a, b, flags);
    case FP_SUB:
        return soft_add(f, rm, a, b ^ rv_sign(f), flags);
    case FP_MUL:
        return soft_mul(f, rm, a, b, flags);
    case FP_DIV:
        return soft_div(f, rm, a, b, flags);
    default:
        return soft_sqrt(f, rm, a, flags);
    }
}

uint64_t rv_soft_op3(RvFpOp op, RvFmt f, unsigned rm, uint64_t a, uint64_t b, uint64_t c,
                     unsigned *flags)
{
    bool neg;
    Quad p, r;

    if (op == FP_NMSUB || op == FP_NMADD) {
        a ^= rv_sign(f);
    }
    if (op == FP_MSUB || op == FP_NMADD) {
        c ^= rv_sign(f);
    }
    neg = is_neg(f, a) != is_neg(f, b);
    /* Invalid even when the addend is a quiet NaN (20.2). */
    if (!rv_is_nan(f, a) && !rv_is_nan(f, b) &&
        ((is_inf(f, a) && is_zero(f, b)) || (is_zero(f, a) && is_inf(f, b)))) {
        *flags |= FF_NV;
        return rv_nan(f);
    }
    *flags |= rv_is_snan(f, c) ? FF_NV : 0;
    if (nan2(f, a, b, flags) || rv_is_nan(f, c)) {
        return rv_nan(f);
    }
    if (is_inf(f, a) || is_inf(f, b)) {
        return is_inf(f, c) && is_neg(f, c) != neg ? invalid(f, flags) : inf_of(f, neg);
    }
    if (is_inf(f, c)) {
        return c;
    }
    p = quad_op(FP_MUL, to_quad(f, a), to_quad(f, b)); /* exact */
    r = quad_op(FP_ADD, p, to_quad(f, c));
    if (quad_zero(r)) {
        return zero_sum(f, rm, neg == is_neg(f, c) && is_zero(f, c), neg);
    }
    return from_quad(f, rm, r, flags);
}

uint64_t rv_soft_cvt(RvFmt from, RvFmt to, unsigned rm, uint64_t a, unsigned *flags)
{
    if (nan2(from, a, a, flags)) {
        return rv_nan(to);
    }
    if (is_inf(from, a)) {
        return inf_of(to, is_neg(from, a));
    }
    if (is_zero(from, a)) {
        return is_neg(from, a) ? rv_sign(to) : 0;
    }
    return from_quad(to, rm, to_quad(from, a), flags);
}

uint64_t rv_soft_from_int(RvFmt f, RvFpInt kind, unsigned rm, uint64_t v, unsigned *flags)
{
    bool is_signed = kind == FPI_W || kind == FPI_L, neg;
    U128 bits, m;
    int top;
    Quad q;

    v = kind == FPI_W ? (uint64_t)(int32_t)v : kind == FPI_WU ? (uint32_t)v : v;
    neg = is_signed && (int64_t)v < 0;
    v = neg ? -v : v;
    if (!v) {
        return 0;
    }
    top = 63 - __builtin_clzll(v);
    m = (U128)v << (112 - top);
    bits = (m & (((U128)1 << 112) - 1)) | (U128)(top + 16383) << 112 | (U128)neg << 127;
    memcpy(&q, &bits, 16);
    return from_quad(f, rm, q, flags);
}

uint64_t rv_soft_to_int(RvFmt f, RvFpInt kind, unsigned rm, uint64_t a, unsigned *flags)
{
    static const uint64_t max[] = {INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX};
    static const uint64_t min[] = {1ull << 31, 0, 1ull << 63, 0}; /* magnitude */
    bool neg = is_neg(f, a), inexact = false, nan = rv_is_nan(f, a), over = nan;
    uint64_t limit, r;
    U128 q = 0;

    neg = neg && !nan;
    limit = neg ? min[kind] : max[kind];
    if (!nan && is_inf(f, a)) {
        over = true;
    } else if (!nan && !is_zero(f, a)) {
        Quad v = to_quad(f, a);
        U128 bits;
        int e;

        memcpy(&bits, &v, 16);
        e = (int)(bits >> 112 & 0x7fff) - 16383;
        q = (bits & (((U128)1 << 112) - 1)) | (U128)1 << 112;
        if (e > 64) {
            over = true;
        } else {
            q = shift_round(q, MIN(112 - e, 127), rm, neg, &inexact);
        }
    }
    if (over || q > limit) {
        *flags |= FF_NV;
        r = neg ? -limit : limit;
    } else {
        *flags |= inexact ? FF_NX : 0;
        r = neg ? -(uint64_t)q : (uint64_t)q;
    }
    return kind <= FPI_WU ? (uint64_t)(int32_t)r : r;
}
