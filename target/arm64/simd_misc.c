/*
 * Advanced SIMD of A64, executed by C: two-register miscellaneous, across lanes, pairwise, shifts
 * by immediate. DDI 0487 section C4.1.95.
 */
#include "target/arm64/simd_exec.h"

static uint64_t ones(unsigned size)
{
    return size == 3 ? ~0ull : (1ull << (8u << size)) - 1;
}

/* ---- two registers: integer ---- */

static uint64_t reverse_bits(uint8_t b)
{
    b = (b & 0x55) << 1 | (b >> 1 & 0x55);
    b = (b & 0x33) << 2 | (b >> 2 & 0x33);
    return (uint8_t)(b << 4 | b >> 4);
}

static bool rev(FpState *f, const Simd *s, unsigned container)
{
    unsigned n = lanes(s, s->size), per = 1u << (container - s->size);
    VReg a = f->v[s->rn], r = {{0, 0}};

    if (s->size >= container || s->scalar) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        simd_set(&r, s->size, i, simd_get(&a, s->size, i ^ (per - 1)));
    }
    f->v[s->rd] = r;
    return true;
}

/* SADDLP, SADALP… */
static bool add_long_pairs(FpState *f, const Simd *s, bool acc)
{
    unsigned size = s->size, n = lanes(s, size) / 2;
    VReg a = f->v[s->rn], r = {{0, 0}};

    if (size == 3 || s->scalar) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t v = s->u ? simd_get(&a, size, 2 * i) + simd_get(&a, size, 2 * i + 1)
                          : (uint64_t)(simd_gets(&a, size, 2 * i) + simd_gets(&a, size, 2 * i + 1));

        simd_set(&r, size + 1, i, v + (acc ? simd_get(&f->v[s->rd], size + 1, i) : 0));
    }
    f->v[s->rd] = r;
    return true;
}

static uint64_t count_lead(uint64_t v, unsigned size, bool sign)
{
    unsigned width = 8u << size;

    if (sign) {
        int64_t x = (int64_t)(v << (64 - width)) >> (64 - width);

        v = (uint64_t)(x ^ x >> 63) & ones(size);
        return (v ? (unsigned)__builtin_clzll(v) - (64 - width) : width) - 1;
    }
    return v ? (unsigned)__builtin_clzll(v) - (64 - width) : width;
}

static bool misc_lane(FpState *f, const Simd *s, unsigned op, uint64_t ua, int64_t sa, uint64_t ud,
                      int64_t sd, uint64_t *out)
{
    unsigned width = 8u << s->size;

    switch (op) {
    case 0x03: /* SUQADD, USQADD */
        *out = s->u ? simd_sat_u(f, (__int128)ud + sa, width)
                    : simd_sat_s(f, (__int128)sd + ua, width);
        return true;
    case 0x04:
        *out = count_lead(ua, s->size, !s->u);
        return s->size < 3 && !s->scalar;
    case 0x05:
        if (s->scalar) {
            return false;
        }
        if (!s->u) {
            *out = __builtin_popcountll(ua);
            return s->size == 0;
        }
        *out = s->size ? reverse_bits(ua) : ~ua;
        return s->size <= 1;
    case 0x07:
        *out = simd_sat_s(f, s->u || sa < 0 ? -(__int128)sa : sa, width);
        return true;
    case 0x08:
        *out = (s->u ? sa >= 0 : sa > 0) ? ~0ull : 0;
        return true;
    case 0x09:
        *out = (s->u ? sa <= 0 : sa == 0) ? ~0ull : 0;
        return true;
    case 0x0a:
        *out = sa < 0 ? ~0ull : 0;
        return !s->u;
    case 0x0b:
        *out = s->u || sa < 0 ? -(uint64_t)sa : (uint64_t)sa;
        return true;
    default:
        return false;
    }
}

/* XTN, SQXTUN, SQXTN, UQXTN */
static bool narrow(FpState *f, const Simd *s, unsigned op)
{
    unsigned size = s->size, n = s->scalar ? 1 : 8 >> size, width = 8u << size;
    unsigned base = s->q && !s->scalar ? n : 0;
    VReg a = f->v[s->rn], r = {{0, 0}};

    if (size == 3 || (op == 0x12 && !s->u && s->scalar)) {
        return false;
    }
    if (base) {
        r.d[0] = f->v[s->rd].d[0];
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t u = simd_get(&a, size + 1, i), v;
        int64_t x = simd_gets(&a, size + 1, i);

        if (op == 0x12) {
            v = s->u ? simd_sat_u(f, x, width) : u;
        } else {
            v = s->u ? simd_sat_u(f, u, width) : simd_sat_s(f, x, width);
        }
        simd_set(&r, size, base + i, v);
    }
    f->v[s->rd] = r;
    return true;
}

static bool shll(FpState *f, const Simd *s)
{
    unsigned size = s->size, n = 8 >> size, base = s->q ? n : 0;
    VReg a = f->v[s->rn], r = {{0, 0}};

    if (size == 3 || s->scalar || !s->u) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        simd_set(&r, size + 1, i, simd_get(&a, size, base + i) << (8u << size));
    }
    f->v[s->rd] = r;
    return true;
}

/* ---- two registers: floating point ---- */

static uint64_t to_int(FpState *f, unsigned size, uint64_t v, unsigned mode, bool is_signed,
                       unsigned fbits)
{
    bool nan;
    double a = size == 3 ? a64_f64_in(f, v, &nan) : a64_f32_widen(f, v, &nan);

    return a64_f_to_int(f, a, nan, mode, 8u << size, is_signed, fbits);
}

static uint64_t from_int(FpState *f, unsigned size, uint64_t v, bool is_signed, unsigned fbits)
{
    if (size == 3) {
        return a64_int_to_f64(f, v, is_signed, fbits);
    }
    return a64_int_to_f32(f, is_signed ? (uint64_t)(int64_t)(int32_t)v : (uint32_t)v, is_signed,
                          fbits);
}

static uint64_t rint_(FpState *f, unsigned size, uint64_t v, unsigned mode, bool exact)
{
    return size == 3 ? a64_f64_rint(f, v, mode, exact) : a64_f32_rint(f, v, mode, exact);
}

static uint64_t cmp0(FpState *f, unsigned size, uint64_t v, unsigned want, bool signal)
{
    unsigned c = size == 3 ? a64_f64_cmp(f, v, 0, signal) : a64_f32_cmp(f, v, 0, signal);
    /* want: 1 less, 2 equal, 4 greater */
    unsigned is = c == 8 ? 1 : c == 6 ? 2 : c == 2 ? 4 : 0;

    return is & want ? ones(size) : 0;
}

/* recip_estimate() on 32-bit fixed point. */
static uint32_t urecpe(uint32_t v, bool sqrt)
{
    unsigned a, b;

    if (!sqrt) {
        if (!(v >> 31)) {
            return ~0u;
        }
        a = (v >> 23) * 2 + 1;
        return ((1u << 19) / a + 1) / 2 << 23;
    }
    if (!(v >> 30)) {
        return ~0u;
    }
    a = v >> 23;
    a = a < 256 ? a * 2 + 1 : ((a & ~1u) + 1) * 2;
    b = 512;
    while (a * (b + 1) * (b + 1) < 1u << 28) {
        b++;
    }
    return (b + 1) / 2 << 23;
}

/* FRINT32Z… on a lane, through the scalar instruction. */
static uint64_t frint_ts(FpState *f, unsigned size, uint64_t v, unsigned op)
{
    VReg keep0 = f->v[0];
    uint64_t r, x = 0;

    f->v[0] = (VReg){{v, 0}};
    a64_fp_scalar(f, &x, 0x1e200000 | (size & 1) << 22 | (16 + op) << 15 | 16 << 10);
    r = f->v[0].d[0];
    f->v[0] = keep0;
    return r;
}

/* @key: U, a, opcode. */
static bool fp_misc_lane(FpState *f, const Simd *s, unsigned key, unsigned size, uint64_t v,
                         uint64_t *out)
{
    unsigned cur = f->fpcr >> 22 & 3;
    bool u = key >> 6, scalar = s->scalar;

    switch (key & 0x3f) {
    case 0x2c:
        *out = cmp0(f, size, v, u ? 6 : 4, true);
        return true;
    case 0x2d:
        *out = cmp0(f, size, v, u ? 3 : 2, u);
        return true;
    case 0x2e:
        *out = cmp0(f, size, v, 1, true);
        return !u;
    case 0x2f:
        *out = u ? v ^ (size == 3 ? 1ull << 63 : 1ull << 31) : v & ones(size) >> 1;
        return !scalar;
    case 0x18:
        *out = rint_(f, size, v, u ? 4 : 0, false);
        return !scalar;
    case 0x19:
        *out = rint_(f, size, v, u ? cur : 2, u);
        return !scalar;
    case 0x38:
        *out = rint_(f, size, v, 1, false);
        return !scalar && !u;
    case 0x39:
        *out = rint_(f, size, v, u ? cur : 3, false);
        return !scalar;
    case 0x1e:
    case 0x1f:
        if (scalar || !(f->feat & FPF_FRINT)) {
            return false;
        }
        *out = frint_ts(f, size, v, (key & 1) << 1 | u);
        return true;
    case 0x1a:
        *out = to_int(f, size, v, 0, !u, 0);
        return true;
    case 0x1b:
        *out = to_int(f, size, v, 2, !u, 0);
        return true;
    case 0x1c:
        *out = to_int(f, size, v, 4, !u, 0);
        return true;
    case 0x3a:
        *out = to_int(f, size, v, 1, !u, 0);
        return true;
    case 0x3b:
        *out = to_int(f, size, v, 3, !u, 0);
        return true;
    case 0x1d:
        *out = from_int(f, size, v, !u, 0);
        return true;
    case 0x3c:
        *out = urecpe(v, u);
        return !scalar && size == 2;
    case 0x3d:
        *out = size == 3 ? u ? a64_f64_rsqrte(f, v) : a64_f64_recpe(f, v)
               : u ? a64_f32_rsqrte(f, v)
                         : a64_f32_recpe(f, v);
        return true;
    case 0x3f:
        if (u) {
            *out = size == 3 ? a64_f64_sqrt(f, v) : a64_f32_sqrt(f, v);
            return !scalar;
        }
        *out = size == 3 ? a64_f64_recpx(f, v) : a64_f32_recpx(f, v);
        return scalar;
    default:
        return false;
    }
}

/* FCVTL, FCVTN, FCVTXN */
static bool fp_widths(FpState *f, const Simd *s, unsigned op)
{
    bool dbl = s->size & 1, xn = s->u;
    VReg a = f->v[s->rn], r = {{0, 0}};
    unsigned n = dbl ? 2 : 4, base = s->q && !s->scalar ? n : 0;

    if (op == 0x17) {
        if (s->u || s->scalar) {
            return false;
        }
        for (unsigned i = 0; i < n; i++) {
            if (dbl) {
                r.d[i] = a64_f32_to_f64(f, a.s[base + i]);
            } else {
                r.s[i] = a64_f16_to_f32(f, a.h[base + i]);
            }
        }
        f->v[s->rd] = r;
        return true;
    }
    if ((xn && !dbl) || (s->scalar && !xn)) {
        return false;
    }
    if (base) {
        r.d[0] = f->v[s->rd].d[0];
    }
    for (unsigned i = 0; i < (s->scalar ? 1 : n); i++) {
        if (dbl) {
            r.s[base + i] = a64_f64_to_f32(f, a.d[i], xn);
        } else {
            r.h[base + i] = a64_f32_to_f16(f, a.s[i]);
        }
    }
    f->v[s->rd] = r;
    return true;
}

bool simd_two_misc(FpState *f, const Simd *s)
{
    unsigned op = s->insn >> 12 & 31, size = s->size;
    VReg a = f->v[s->rn], d = f->v[s->rd], r = {{0, 0}};
    unsigned key = (unsigned)s->u << 6 | (size & 2) << 4 | op;

    switch (op) {
    case 0x00:
        return rev(f, s, s->u ? 2 : 3);
    case 0x01:
        return !s->u && rev(f, s, 1);
    case 0x02:
        return add_long_pairs(f, s, false);
    case 0x06:
        return add_long_pairs(f, s, true);
    case 0x12:
    case 0x14:
        return narrow(f, s, op);
    case 0x13:
        return shll(f, s);
    case 0x16:
    case 0x17:
        return !(size & 2) && fp_widths(f, s, op);
    default:
        break;
    }
    if (op >= 0x0c) {
        unsigned width = size & 1 ? 3 : 2;

        if (width == 3 && !s->q) {
            return false;
        }
        for (unsigned i = 0; i < lanes(s, width); i++) {
            uint64_t v;

            if (!fp_misc_lane(f, s, key, width, simd_get(&a, width, i), &v)) {
                return false;
            }
            simd_set(&r, width, i, v);
        }
        f->v[s->rd] = r;
        return true;
    }
    if (op == 5 && s->u && size == 1) { /* RBIT works on bytes */
        if (s->scalar) {
            return false;
        }
        for (unsigned i = 0; i < lanes(s, 0); i++) {
            r.b[i] = reverse_bits(a.b[i]);
        }
        f->v[s->rd] = r;
        return true;
    }
    if (s->scalar ? op >= 8 && size != 3 : size == 3 && !s->q) {
        return false;
    }
    for (unsigned i = 0; i < lanes(s, size); i++) {
        uint64_t v;

        if (!misc_lane(f, s, op, simd_get(&a, size, i), simd_gets(&a, size, i),
                       simd_get(&d, size, i), simd_gets(&d, size, i), &v)) {
            return false;
        }
        simd_set(&r, size, i, v);
    }
    f->v[s->rd] = r;
    return true;
}

/* ---- across lanes, pairs ---- */

static uint64_t fp_across(FpState *f, unsigned op, const VReg *a)
{
    uint32_t lo = a64_f32_op(f, op, a->s[0], a->s[1]), hi = a64_f32_op(f, op, a->s[2], a->s[3]);

    return a64_f32_op(f, op, lo, hi);
}

bool simd_across(FpState *f, const Simd *s)
{
    unsigned op = s->insn >> 12 & 31, size = s->size, n = lanes(s, size);
    VReg a = f->v[s->rn], r = {{0, 0}};
    uint64_t best, sum = 0;

    if (op == 0x0c || op == 0x0f) {
        if (!s->u || !s->q || size & 1) {
            return false;
        }
        r.d[0] = fp_across(f,
                           op == 0xc   ? size >> 1 ? FPO_MINNM : FPO_MAXNM
                           : size >> 1 ? FPO_MIN
                                       : FPO_MAX,
                           &a);
        f->v[s->rd] = r;
        return true;
    }
    if (size == 3 || (size == 2 && !s->q)) {
        return false;
    }
    best = simd_get(&a, size, 0);
    for (unsigned i = 0; i < n; i++) {
        uint64_t v = simd_get(&a, size, i);
        int shift = 64 - (8 << size);
        bool less = s->u ? v < best : (int64_t)(v << shift) < (int64_t)(best << shift);
        bool more = s->u ? v > best : (int64_t)(v << shift) > (int64_t)(best << shift);

        sum += s->u || op == 0x1b ? v : (uint64_t)simd_gets(&a, size, i);
        if (op == 0x0a ? more : less) {
            best = v;
        }
    }
    switch (op) {
    case 0x03:
        simd_set(&r, size + 1, 0, sum);
        break;
    case 0x0a:
    case 0x1a:
        simd_set(&r, size, 0, best);
        break;
    case 0x1b:
        if (s->u) {
            return false;
        }
        simd_set(&r, size, 0, sum);
        break;
    default:
        return false;
    }
    f->v[s->rd] = r;
    return true;
}

bool simd_pairwise(FpState *f, const Simd *s)
{
    unsigned op = s->insn >> 12 & 31, size = s->size & 1 ? 3 : 2, fp;
    bool min = s->size >> 1;
    VReg a = f->v[s->rn], r = {{0, 0}};

    if (op == 0x1b && !s->u) {
        if (s->size != 3) {
            return false;
        }
        r.d[0] = a.d[0] + a.d[1];
        f->v[s->rd] = r;
        return true;
    }
    if (!s->u) {
        return false; /* half precision */
    }
    switch (op) {
    case 0x0c:
        fp = min ? FPO_MINNM : FPO_MAXNM;
        break;
    case 0x0d:
        if (min) {
            return false;
        }
        fp = FPO_ADD;
        break;
    case 0x0f:
        fp = min ? FPO_MIN : FPO_MAX;
        break;
    default:
        return false;
    }
    r.d[0] = simd_fp2(f, fp, size, simd_get(&a, size, 0), simd_get(&a, size, 1));
    f->v[s->rd] = r;
    return true;
}

/* ---- shifts by immediate ---- */

static bool shift_narrow(FpState *f, const Simd *s, unsigned op, unsigned size, unsigned n)
{
    unsigned count = s->scalar ? 1 : 8 >> size, base = s->q && !s->scalar ? count : 0;
    unsigned width = 8u << size;
    bool round = op & 1, sat = op >= 0x12 || s->u, from_u = op >= 0x12 && s->u;
    bool to_u = s->u;
    VReg a = f->v[s->rn], r = {{0, 0}};

    if (size == 3 || (s->scalar && !sat)) {
        return false;
    }
    if (base) {
        r.d[0] = f->v[s->rd].d[0];
    }
    for (unsigned i = 0; i < count; i++) {
        __int128 v =
            from_u ? (__int128)simd_get(&a, size + 1, i) : (__int128)simd_gets(&a, size + 1, i);

        if (round) {
            v += (__int128)1 << (n - 1);
        }
        v >>= n;
        if (sat) {
            v = to_u ? (__int128)simd_sat_u(f, v, width) : (__int128)simd_sat_s(f, v, width);
        }
        simd_set(&r, size, base + i, (uint64_t)v);
    }
    f->v[s->rd] = r;
    return true;
}

static bool shift_long(FpState *f, const Simd *s, unsigned size, unsigned n)
{
    unsigned count = 8 >> size, base = s->q ? count : 0;
    VReg a = f->v[s->rn], r = {{0, 0}};

    if (size == 3 || s->scalar) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        uint64_t v = s->u ? simd_get(&a, size, base + i) : (uint64_t)simd_gets(&a, size, base + i);

        simd_set(&r, size + 1, i, v << n);
    }
    f->v[s->rd] = r;
    return true;
}

static bool shift_lane(FpState *f, const Simd *s, unsigned op, unsigned size, int left, int right,
                       uint64_t v, uint64_t d, uint64_t *out)
{
    uint64_t m = ones(size);
    unsigned width = 8u << size;

    switch (op) {
    case 0x00:
    case 0x02:
    case 0x04:
    case 0x06:
        *out = simd_shift(f, v, size, -right, s->u, op & 4, false) + (op & 2 ? d : 0);
        return true;
    case 0x08: /* SRI */
        m = (unsigned)right >= width ? 0 : m >> right;
        *out = (d & ~m) | ((unsigned)right >= width ? 0 : v >> right & m);
        return s->u;
    case 0x0a: /* SHL, SLI */
        *out = v << left | (s->u ? d & ((1ull << left) - 1) : 0);
        return true;
    case 0x0c: { /* SQSHLU */
        __int128 x = (int64_t)(v << (64 - width)) >> (64 - width);

        *out = simd_sat_u(f, x < 0 ? -1 : x << left, width);
        return s->u;
    }
    case 0x0e:
        *out = simd_shift(f, v, size, left, s->u, false, true);
        return true;
    case 0x1c:
        *out = from_int(f, size, v, !s->u, right);
        return size >= 2;
    case 0x1f:
        *out = to_int(f, size, v, 3, !s->u, right);
        return size >= 2;
    default:
        return false;
    }
}

bool simd_shift_imm(FpState *f, const Simd *s)
{
    unsigned immh = s->insn >> 19 & 15, imm = s->insn >> 16 & 127, op = s->insn >> 11 & 31;
    unsigned size = 31 - __builtin_clz(immh), width = 8u << size;
    int left = imm - width, right = 2 * width - imm;
    VReg a = f->v[s->rn], d = f->v[s->rd], r = {{0, 0}};

    if (op >= 0x10 && op <= 0x13) {
        return shift_narrow(f, s, op, size, right);
    }
    if (op == 0x14) {
        return shift_long(f, s, size, left);
    }
    if (s->scalar) {
        bool sat = op == 0x0c || op == 0x0e, fp = op >= 0x1c;

        if (!sat && !fp && size != 3) {
            return false;
        }
    } else if (size == 3 && !s->q) {
        return false;
    }
    for (unsigned i = 0; i < lanes(s, size); i++) {
        uint64_t v;

        if (!shift_lane(f, s, op, size, left, right, simd_get(&a, size, i), simd_get(&d, size, i),
                        &v)) {
            return false;
        }
        simd_set(&r, size, i, v);
    }
    f->v[s->rd] = r;
    return true;
}
