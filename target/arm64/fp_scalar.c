/* Scalar floating-point instructions of A64, executed by C. DDI 0487 section C4.1.94. */
#include "target/arm64/fp.h"
#include <math.h>

static unsigned bits(uint32_t insn, unsigned hi, unsigned lo)
{
    return insn >> lo & ((1u << (hi - lo + 1)) - 1);
}

static uint64_t xr(const uint64_t *x, unsigned n)
{
    return n == 31 ? 0 : x[n];
}

static void set_x(uint64_t *x, unsigned n, bool sf, uint64_t v)
{
    if (n != 31) {
        x[n] = sf ? v : (uint32_t)v;
    }
}

static void set_s(FpState *f, unsigned n, uint32_t v)
{
    f->v[n] = (VReg){{v, 0}};
}

static void set_d(FpState *f, unsigned n, uint64_t v)
{
    f->v[n] = (VReg){{v, 0}};
}

/* JavaScript's conversion: modulo 2^32. Z tells whether it was exact. */
static void fjcvtzs(FpState *f, uint64_t *x, unsigned rd, unsigned rn)
{
    uint32_t csr;
    bool nan, exact;
    uint64_t raw = f->v[rn].d[0];
    double a = a64_f64_in(f, raw, &nan), t;
    uint32_t r = 0;

    csr = fp_getcsr();
    if (nan || isinf(a)) {
        exact = false;
        csr |= 1;
    } else {
        t = trunc(a);
        exact = t == a && t >= -0x1p31 && t < 0x1p31 && !(raw == 1ull << 63);
        if (t < -0x1p31 || t >= 0x1p31) {
            csr |= 1;
        } else if (t != a) {
            csr |= 32;
        }
        r = (uint32_t)(int64_t)fmod(t, 0x1p32);
    }
    /* An input that was flushed to zero is not exact. */
    if (exact && !t && raw << 1) {
        exact = false;
    }
    fp_setcsr(csr);
    set_x(x, rd, false, r);
    f->nzcv = exact ? 4 : 0;
    f->nzcv_set = true;
}

static bool to_int(FpState *f, uint64_t *x, uint32_t insn, unsigned type, unsigned mode,
                   bool is_signed, unsigned fbits)
{
    unsigned rn = bits(insn, 9, 5);
    bool sf = insn >> 31, nan;
    double a;

    if (type > 1) {
        return false;
    }
    a = type ? a64_f64_in(f, f->v[rn].d[0], &nan) : a64_f32_widen(f, f->v[rn].s[0], &nan);
    set_x(x, insn & 31, sf, a64_f_to_int(f, a, nan, mode, sf ? 64 : 32, is_signed, fbits));
    return true;
}

static bool from_int(FpState *f, uint64_t *x, uint32_t insn, unsigned type, bool is_signed,
                     unsigned fbits)
{
    uint64_t v = xr(x, bits(insn, 9, 5));

    if (type > 1) {
        return false;
    }
    if (!(insn >> 31)) {
        v = is_signed ? (uint64_t)(int64_t)(int32_t)v : (uint32_t)v;
    }
    if (type) {
        set_d(f, insn & 31, a64_int_to_f64(f, v, is_signed, fbits));
    } else {
        set_s(f, insn & 31, a64_int_to_f32(f, v, is_signed, fbits));
    }
    return true;
}

static bool convert_int(FpState *f, uint64_t *x, uint32_t insn)
{
    unsigned type = bits(insn, 23, 22), rmode = bits(insn, 20, 19), op = bits(insn, 18, 16);
    unsigned rn = bits(insn, 9, 5), rd = insn & 31;
    bool sf = insn >> 31;

    if (op == 6 || op == 7) {
        bool to_fp = op == 7;

        if (rmode == 3 && type == 1 && !to_fp && !sf) {
            if (!(f->feat & FPF_JSCVT)) {
                return false;
            }
            fjcvtzs(f, x, rd, rn);
            return true;
        }
        if (rmode == 1 && type == 2 && sf) { /* upper half */
            if (to_fp) {
                f->v[rd].d[1] = xr(x, rn);
            } else {
                set_x(x, rd, true, f->v[rn].d[1]);
            }
            return true;
        }
        if (rmode || type > 1 || type != sf) {
            return false;
        }
        if (to_fp) {
            set_d(f, rd, sf ? xr(x, rn) : (uint32_t)xr(x, rn));
        } else {
            set_x(x, rd, sf, f->v[rn].d[0]);
        }
        return true;
    }
    if (op == 2 || op == 3) {
        return rmode == 0 && from_int(f, x, insn, type, op == 2, 0);
    }
    if (op >= 4) {
        return rmode == 0 && to_int(f, x, insn, type, 4, op == 4, 0);
    }
    return to_int(f, x, insn, type, rmode, op == 0, 0);
}

static bool convert_fixed(FpState *f, uint64_t *x, uint32_t insn)
{
    unsigned type = bits(insn, 23, 22), rmode = bits(insn, 20, 19), op = bits(insn, 18, 16);
    unsigned scale = bits(insn, 15, 10), fbits = 64 - scale;

    if (!(insn >> 31) && scale < 32) {
        return false;
    }
    if (rmode == 0 && (op == 2 || op == 3)) {
        return from_int(f, x, insn, type, op == 2, fbits);
    }
    return rmode == 3 && op < 2 && to_int(f, x, insn, type, 3, op == 0, fbits);
}

static bool convert_precision(FpState *f, unsigned type, unsigned to, unsigned rd, unsigned rn)
{
    switch (type << 2 | to) {
    case 0 << 2 | 1:
        set_d(f, rd, a64_f32_to_f64(f, f->v[rn].s[0]));
        return true;
    case 0 << 2 | 3:
        set_d(f, rd, a64_f32_to_f16(f, f->v[rn].s[0]));
        return true;
    case 1 << 2 | 0:
        set_s(f, rd, a64_f64_to_f32(f, f->v[rn].d[0], false));
        return true;
    case 1 << 2 | 3:
        set_d(f, rd, a64_f64_to_f16(f, f->v[rn].d[0]));
        return true;
    case 3 << 2 | 0:
        set_s(f, rd, a64_f16_to_f32(f, f->v[rn].h[0]));
        return true;
    case 3 << 2 | 1:
        set_d(f, rd, a64_f16_to_f64(f, f->v[rn].h[0]));
        return true;
    default:
        return false;
    }
}

/* FRINT32Z, 32X, 64Z, 64X: out of range gives the most negative integer. */
static uint64_t frint_ts(FpState *f, uint64_t raw, bool dbl, unsigned op)
{
    unsigned size = op & 2 ? 64 : 32, mode = op & 1 ? f->fpcr >> 22 & 3 : 3;
    uint32_t csr;
    bool nan;
    double a = dbl ? a64_f64_in(f, raw, &nan) : a64_f32_widen(f, raw, &nan), top, r;
    uint64_t min = dbl          ? size == 64 ? 0xc3e0000000000000ull : 0xc1e0000000000000ull
                   : size == 64 ? 0xdf000000ull
                                : 0xcf000000ull;

    csr = fp_getcsr();
    top = size == 64 ? 0x1p63 : 0x1p31;
    if (nan || isinf(a)) {
        fp_setcsr(csr | 1);
        return min;
    }
    raw = dbl ? a64_f64_rint(f, raw, mode, true) : a64_f32_rint(f, raw, mode, true);
    r = dbl ? a64_f64_in(f, raw, &nan) : a64_f32_widen(f, raw, &nan);
    if (r < -top || r >= top) {
        fp_setcsr(csr | 1);
        return min;
    }
    return raw;
}

static bool one_source(FpState *f, uint32_t insn, unsigned type)
{
    unsigned op = bits(insn, 20, 15), rn = bits(insn, 9, 5), rd = insn & 31;
    static const uint8_t modes[8] = {0, 1, 2, 3, 4, 5, 6, 7}; /* N P M Z A - X I */
    uint32_t s = f->v[rn].s[0];
    uint64_t d = f->v[rn].d[0];

    if (op >= 4 && op < 8) {
        return (op & 3) != type && convert_precision(f, type, op & 3, rd, rn);
    }
    if (type > 1) {
        return false;
    }
    if (op >= 8 && op < 16) {
        unsigned mode = modes[op & 7];

        if (mode == 5) {
            return false;
        }
        if (mode >= 6) {
            mode = f->fpcr >> 22 & 3;
        }
        if (type) {
            set_d(f, rd, a64_f64_rint(f, d, mode, op == 14));
        } else {
            set_s(f, rd, a64_f32_rint(f, s, mode, op == 14));
        }
        return true;
    }
    if (op >= 16 && op < 20) {
        if (!(f->feat & FPF_FRINT)) {
            return false;
        }
        set_d(f, rd, frint_ts(f, type ? d : s, type, op & 3));
        return true;
    }
    switch (op) {
    case 0:
        break;
    case 1:
        d &= ~(1ull << 63);
        s &= ~(1u << 31);
        break;
    case 2:
        d ^= 1ull << 63;
        s ^= 1u << 31;
        break;
    case 3:
        if (type) {
            d = a64_f64_sqrt(f, d);
        } else {
            s = a64_f32_sqrt(f, s);
        }
        break;
    default:
        return false;
    }
    set_d(f, rd, type ? d : s);
    return true;
}

static bool two_source(FpState *f, uint32_t insn, unsigned type)
{
    static const uint8_t ops[] = {FPO_MUL, FPO_DIV,   FPO_ADD,   FPO_SUB, FPO_MAX,
                                  FPO_MIN, FPO_MAXNM, FPO_MINNM, FPO_MUL};
    unsigned op = bits(insn, 15, 12), rn = bits(insn, 9, 5), rm = bits(insn, 20, 16),
             rd = insn & 31;

    if (op > 8 || type > 1) {
        return false;
    }
    if (type) {
        uint64_t r = a64_f64_op(f, ops[op], f->v[rn].d[0], f->v[rm].d[0]);

        set_d(f, rd, op == 8 ? r ^ 1ull << 63 : r);
    } else {
        uint32_t r = a64_f32_op(f, ops[op], f->v[rn].s[0], f->v[rm].s[0]);

        set_s(f, rd, op == 8 ? r ^ 1u << 31 : r);
    }
    return true;
}

static bool three_source(FpState *f, uint32_t insn, unsigned type)
{
    bool o1 = insn >> 21 & 1, o0 = insn >> 15 & 1;
    unsigned rn = bits(insn, 9, 5), rm = bits(insn, 20, 16), ra = bits(insn, 14, 10),
             rd = insn & 31;

    if (type > 1 || insn >> 29 & 5) {
        return false;
    }
    if (type) {
        uint64_t sign = 1ull << 63, n = f->v[rn].d[0], a = f->v[ra].d[0];

        set_d(f, rd, a64_f64_fma(f, o1 ? a ^ sign : a, o0 != o1 ? n ^ sign : n, f->v[rm].d[0]));
    } else {
        uint32_t sign = 1u << 31, n = f->v[rn].s[0], a = f->v[ra].s[0];

        set_s(f, rd, a64_f32_fma(f, o1 ? a ^ sign : a, o0 != o1 ? n ^ sign : n, f->v[rm].s[0]));
    }
    return true;
}

static unsigned compare(FpState *f, unsigned type, unsigned rn, uint64_t b, bool signal)
{
    return type ? a64_f64_cmp(f, f->v[rn].d[0], b, signal)
                : a64_f32_cmp(f, f->v[rn].s[0], b, signal);
}

static bool holds(unsigned nzcv, unsigned cond)
{
    bool n = nzcv & 8, z = nzcv & 4, c = nzcv & 2, v = nzcv & 1, r;

    switch (cond >> 1) {
    case 0:
        r = z;
        break;
    case 1:
        r = c;
        break;
    case 2:
        r = n;
        break;
    case 3:
        r = v;
        break;
    case 4:
        r = c && !z;
        break;
    case 5:
        r = n == v;
        break;
    case 6:
        r = n == v && !z;
        break;
    default:
        return true;
    }
    return r != (cond & 1);
}

static bool fcmp(FpState *f, uint32_t insn, unsigned type)
{
    unsigned op2 = insn & 31, rn = bits(insn, 9, 5), rm = bits(insn, 20, 16);
    bool zero = op2 & 8;

    if (type > 1 || bits(insn, 15, 14) || op2 & 7) {
        return false;
    }
    f->nzcv = compare(f, type, rn, zero ? 0 : f->v[rm].d[0], op2 & 16);
    f->nzcv_set = true;
    return true;
}

static bool fccmp(FpState *f, uint32_t insn, unsigned type)
{
    if (type > 1) {
        return false;
    }
    f->nzcv = holds(f->nzcv_in, bits(insn, 15, 12))
                  ? compare(f, type, bits(insn, 9, 5), f->v[bits(insn, 20, 16)].d[0], insn >> 4 & 1)
                  : insn & 15;
    f->nzcv_set = true;
    return true;
}

bool a64_fp_scalar(FpState *f, uint64_t *x, uint32_t insn)
{
    unsigned type = bits(insn, 23, 22);

    if (bits(insn, 28, 24) == 31) {
        return three_source(f, insn, type);
    }
    if (insn >> 29 & 1) {
        return false;
    }
    if (!(insn >> 21 & 1)) {
        return convert_fixed(f, x, insn);
    }
    if (!bits(insn, 15, 10)) {
        return convert_int(f, x, insn);
    }
    if (insn >> 31) {
        return false;
    }
    if (bits(insn, 14, 10) == 16) {
        return one_source(f, insn, type);
    }
    if (bits(insn, 13, 10) == 8) {
        return fcmp(f, insn, type);
    }
    if (bits(insn, 12, 10) == 4) {
        if (bits(insn, 9, 5) || type > 1) {
            return false;
        }
        set_d(f, insn & 31, a64_fp_imm(bits(insn, 20, 13), type ? 64 : 32));
        return true;
    }
    switch (bits(insn, 11, 10)) {
    case 1:
        return fccmp(f, insn, type);
    case 2:
        return two_source(f, insn, type);
    default: { /* FCSEL */
        unsigned from =
            holds(f->nzcv_in, bits(insn, 15, 12)) ? bits(insn, 9, 5) : bits(insn, 20, 16);

        if (type > 1) {
            return false;
        }
        set_d(f, insn & 31, type ? f->v[from].d[0] : f->v[from].s[0]);
        return true;
    }
    }
}

bool a64_fp_exec(FpState *f, uint64_t *x, uint32_t insn)
{
    if ((insn & 0x5e000000) == 0x1e000000) {
        return a64_fp_scalar(f, x, insn);
    }
    if (a64_crypto_exec(f, insn)) {
        return true;
    }
    return !(insn >> 31) && a64_simd_exec(f, x, insn);
}
