/*
 * AArch64 floating-point arithmetic on the host's SSE unit. DDI 0487: shared pseudo-code of
 * chapter J1.3 (FPAdd … FPToFixed). The host's sticky flags are the guest's; see fp.h.
 */
#include "target/arm64/fp.h"
#include <math.h>
#include <string.h>

enum { FE_IE = 1, FE_ZE = 4, FE_OE = 8, FE_UE = 16, FE_PE = 32, FE_ALL = 63 };
enum { HW_SQRT = 100, HW_FMA };

static void raise_fp(unsigned flags)
{
    fp_setcsr(fp_getcsr() | flags);
}

static unsigned recip_estimate(unsigned a)
{
    a = a * 2 + 1;
    return ((1u << 19) / a + 1) / 2;
}

static unsigned rsqrt_estimate(unsigned a)
{
    unsigned b = 512;

    a = a < 256 ? a * 2 + 1 : ((a & ~1u) + 1) * 2;
    while (a * (b + 1) * (b + 1) < 1u << 28) {
        b++;
    }
    return (b + 1) / 2;
}

#define U uint32_t
#define FLT float
#define N(x) a64_f32_##x
#define MANT 23
#define EXPMAX 255
#define SFX "ss"
#define FMA fmaf
#define a64_f32_from_int a64_int_to_f32
#include "target/arm64/fp_width.c.inc"
#undef U
#undef FLT
#undef N
#undef MANT
#undef EXPMAX
#undef SFX
#undef FMA
#define U uint64_t
#define FLT double
#define N(x) a64_f64_##x
#define MANT 52
#define EXPMAX 2047
#define SFX "sd"
#define FMA fma
#define a64_f64_from_int a64_int_to_f64
#include "target/arm64/fp_width.c.inc"
#undef U
#undef FLT
#undef N
#undef MANT
#undef EXPMAX
#undef SFX
#undef FMA

/* ---- MXCSR ---- */

uint32_t a64_mxcsr_of(uint32_t fpcr, uint32_t sticky)
{
    static const uint8_t rc[] = {0, 2, 1, 3}; /* nearest, +inf, -inf, zero */

    return 0x1f80 | (uint32_t)rc[fpcr >> 22 & 3] << 13 | (sticky & (FE_ALL & ~2u));
}

uint32_t a64_fpsr_of(uint32_t csr)
{
    return (csr & FE_IE) | (csr & FE_ZE ? 2 : 0) | (csr & FE_OE ? 4 : 0) | (csr & FE_UE ? 8 : 0) |
           (csr & FE_PE ? 16 : 0);
}

uint32_t a64_sticky_of(uint32_t fpsr)
{
    return (fpsr & 1 ? FE_IE : 0) | (fpsr & 2 ? FE_ZE : 0) | (fpsr & 4 ? FE_OE : 0) |
           (fpsr & 8 ? FE_UE : 0) | (fpsr & 16 ? FE_PE : 0);
}

/* ---- to integers ---- */

double a64_f64_in(FpState *f, uint64_t a, bool *is_nan)
{
    a = a64_f64_flush(f, a);
    *is_nan = (a & ~(1ull << 63)) > 0x7ff0000000000000ull;
    return *is_nan ? 0 : a64_f64_flt(a);
}

double a64_f32_widen(FpState *f, uint32_t a, bool *is_nan)
{
    a = a64_f32_flush(f, a);
    *is_nan = (a & 0x7fffffff) > 0x7f800000;
    return *is_nan ? 0 : (double)a64_f32_flt(a);
}

uint64_t a64_f_to_int(FpState *f, double a, bool is_nan, unsigned mode, unsigned bits,
                      bool is_signed, unsigned fbits)
{
    uint32_t csr = fp_getcsr();
    double v, r, top = ldexp(1, is_signed ? bits - 1 : bits);
    uint64_t mask = bits == 64 ? ~0ull : (1ull << bits) - 1, out;
    bool bad = true;

    (void)f;
    if (is_nan) {
        raise_fp(FE_IE);
        return 0;
    }
    v = a * ldexp(1, fbits);
    r = a64_f64_round(v, mode);
    if (r >= top) {
        out = is_signed ? mask >> 1 : mask;
    } else if (r < (is_signed ? -top : 0)) {
        out = is_signed ? (mask >> 1) + 1 : 0;
    } else {
        bad = false;
        out = r >= 0x1p63 ? (uint64_t)(r - 0x1p63) | 1ull << 63 : (uint64_t)(int64_t)r;
    }
    asm volatile("" : "+r"(out));
    fp_setcsr(csr | (bad ? FE_IE : r != v ? FE_PE : 0));
    return out & mask;
}

/* ---- precisions ---- */

uint64_t a64_f32_to_f64(FpState *f, uint32_t a)
{
    a = a64_f32_flush(f, a);
    if ((a & 0x7fffffff) > 0x7f800000) {
        a = a64_f32_one_nan(f, a);
        return (uint64_t)(a >> 31) << 63 | 0x7ffull << 52 | (uint64_t)(a & 0x7fffff) << 29;
    }
    return a64_f64_raw(a64_f32_flt(a));
}

uint32_t a64_f64_to_f32(FpState *f, uint64_t a, bool odd)
{
    uint32_t before, after, r, t;
    double d;
    float s;

    a = a64_f64_flush(f, a);
    if ((a & ~(1ull << 63)) > 0x7ff0000000000000ull) {
        a = a64_f64_one_nan(f, a);
        return (uint32_t)(a >> 63) << 31 | 0xffu << 23 | (uint32_t)(a >> 29 & 0x7fffff);
    }
    before = fp_getcsr();
    d = a64_f64_flt(a);
    if (odd) {
        fp_setcsr((before & ~FE_ALL) | 3 << 13);
        asm volatile("cvtsd2ss %1, %0" : "=x"(s) : "x"(d));
        after = fp_getcsr();
        r = a64_f32_raw(s);
        if (after & FE_PE) {
            r |= 1;
        }
        if (f->fpcr & FPCR_FZ && (r & 0x7fffffff) && (r & 0x7fffffff) < 1u << 23) {
            fp_setcsr(before | FE_UE);
            return r & 1u << 31;
        }
        fp_setcsr(before | (after & FE_ALL & ~2u));
        return r;
    }
    asm volatile("cvtsd2ss %1, %0" : "=x"(s) : "x"(d));
    r = a64_f32_raw(s);
    if ((r & 0x7fffffff) > 1u << 23 || !(f->fpcr & FPCR_FZ || (r & 0x7fffffff) == 1u << 23)) {
        return r;
    }
    after = fp_getcsr();
    fp_setcsr((before & ~FE_ALL) | 3 << 13);
    asm volatile("cvtsd2ss %1, %0" : "=x"(s) : "x"(d));
    t = a64_f32_raw(s) & 0x7fffffff;
    if (t < 1u << 23 && (t || fp_getcsr() & FE_PE)) {
        if (f->fpcr & FPCR_FZ) {
            fp_setcsr(before | FE_UE);
            return r & 1u << 31;
        }
        after |= fp_getcsr() & FE_PE ? FE_UE | FE_PE : 0;
    }
    fp_setcsr(after);
    return r;
}

/* A half as sign, and value × 2^24 as an integer where finite; false: infinity or NaN. */
static bool half_value(const FpState *f, uint16_t a, double *v)
{
    unsigned exp = a >> 10 & 31, frac = a & 1023;

    if (exp == 31 && !(f->fpcr & FPCR_AHP)) {
        return false;
    }
    *v = exp ? ldexp(1024 + frac, (int)exp - 25) : ldexp(frac, -24);
    if (a >> 15) {
        *v = -*v;
    }
    return true;
}

uint64_t a64_f16_to_f64(FpState *f, uint16_t a)
{
    double v;
    uint64_t r;

    if (half_value(f, a, &v)) {
        return a64_f64_raw(v);
    }
    r = (uint64_t)(a >> 15) << 63 | 0x7ffull << 52 | (uint64_t)(a & 1023) << 42;
    return a & 1023 ? a64_f64_one_nan(f, r) : r;
}

uint32_t a64_f16_to_f32(FpState *f, uint16_t a)
{
    double v;
    uint32_t r;

    if (half_value(f, a, &v)) {
        return a64_f32_raw((float)v);
    }
    r = (uint32_t)(a >> 15) << 31 | 0xffu << 23 | (uint32_t)(a & 1023) << 13;
    return a & 1023 ? a64_f32_one_nan(f, r) : r;
}

/* A finite number sign, mant × 2^exp, to half. */
static uint16_t round_half(FpState *f, bool neg, uint64_t mant, int exp)
{
    unsigned mode = f->fpcr >> 22 & 3, flags = 0;
    bool ahp = f->fpcr & FPCR_AHP, tiny, up;
    int top, e, drop;
    uint64_t q, rest, half;
    uint16_t sign = neg ? 0x8000 : 0;

    if (!mant) {
        return sign;
    }
    top = 63 - __builtin_clzll(mant) + exp; /* of the leading bit */
    tiny = top < -14;
    e = tiny ? -14 : top;
    drop = e - 10 - exp; /* bits below the last one */
    if (drop <= 0) {
        q = mant << -drop;
        rest = half = 0;
    } else if (drop > 63) {
        q = 0;
        rest = 1;
        half = 2;
    } else {
        q = mant >> drop;
        rest = mant & ((1ull << drop) - 1);
        half = 1ull << (drop - 1);
    }
    up = mode == 0   ? rest > half || (rest == half && rest && q & 1)
         : mode == 1 ? rest && !neg
         : mode == 2 ? rest && neg
                     : false;
    flags = rest ? FE_PE | (tiny ? FE_UE : 0) : 0;
    q += up;
    if (q >> 11) {
        q >>= 1;
        e++;
    }
    unsigned biased = q >> 10 ? (unsigned)(e + 15) : 0;

    if (ahp ? e + 15 > 31 : e + 15 > 30) {
        if (ahp) {
            raise_fp(FE_IE);
            return sign | 0x7fff;
        }
        raise_fp(FE_OE | FE_PE);
        return sign | (mode == 0 || (mode == 1 && !neg) || (mode == 2 && neg) ? 0x7c00 : 0x7bff);
    }
    if (flags) {
        raise_fp(flags);
    }
    return sign | biased << 10 | (q & 1023);
}

uint16_t a64_f64_to_f16(FpState *f, uint64_t a)
{
    unsigned exp;
    bool neg;

    a = a64_f64_flush(f, a);
    exp = a >> 52 & 2047;
    neg = a >> 63;
    if (exp == 2047) {
        uint64_t frac = a & ((1ull << 52) - 1);

        if (f->fpcr & FPCR_AHP) {
            raise_fp(FE_IE);
            return frac ? neg << 15 : neg << 15 | 0x7fff;
        }
        if (frac) {
            a = a64_f64_one_nan(f, a);
            return (uint16_t)(a >> 63) << 15 | 0x7e00 | (a >> 42 & 1023);
        }
        return neg << 15 | 0x7c00;
    }
    return round_half(f, neg, (a & ((1ull << 52) - 1)) | (exp ? 1ull << 52 : 0),
                      (int)(exp ? exp : 1) - 1075);
}

uint16_t a64_f32_to_f16(FpState *f, uint32_t a)
{
    unsigned exp;
    bool neg;

    a = a64_f32_flush(f, a);
    exp = a >> 23 & 255;
    neg = a >> 31;
    if (exp == 255) {
        if (f->fpcr & FPCR_AHP) {
            raise_fp(FE_IE);
            return a & 0x7fffff ? neg << 15 : neg << 15 | 0x7fff;
        }
        if (a & 0x7fffff) {
            a = a64_f32_one_nan(f, a);
            return (uint16_t)(a >> 31) << 15 | 0x7e00 | (a >> 13 & 1023);
        }
        return neg << 15 | 0x7c00;
    }
    return round_half(f, neg, (a & 0x7fffff) | (exp ? 1u << 23 : 0), (int)(exp ? exp : 1) - 150);
}

uint64_t a64_fp_imm(unsigned imm8, unsigned bits)
{
    uint64_t sign = imm8 >> 7, b6 = imm8 >> 6 & 1, low = imm8 & 63;

    switch (bits) {
    case 16:
        return sign << 15 | (b6 ? 0xcull : 0x10ull) << 10 | low << 6;
    case 32:
        return sign << 31 | (b6 ? 0x1full << 25 : 1ull << 30) | low << 19;
    default:
        return sign << 63 | (b6 ? 0xffull << 54 : 1ull << 62) | low << 48;
    }
}
