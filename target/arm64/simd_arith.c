/*
 * Advanced SIMD arithmetic of A64, executed by C: three registers of one size, of different sizes,
 * by element. DDI 0487 section C4.1.95.
 */
#include "target/arm64/simd_exec.h"

static uint64_t mask(unsigned size)
{
    return size == 3 ? ~0ull : (1ull << (8u << size)) - 1;
}

uint64_t simd_sat_s(FpState *f, __int128 v, unsigned bits)
{
    __int128 max = ((__int128)1 << (bits - 1)) - 1, min = -max - 1;

    if (v > max || v < min) {
        f->fpsr |= FPSR_QC;
        v = v > max ? max : min;
    }
    return (uint64_t)v;
}

uint64_t simd_sat_u(FpState *f, __int128 v, unsigned bits)
{
    __int128 max = ((__int128)1 << bits) - 1;

    if (v > max || v < 0) {
        f->fpsr |= FPSR_QC;
        v = v > max ? max : 0;
    }
    return (uint64_t)v;
}

uint64_t simd_shift(FpState *f, uint64_t raw, unsigned size, int shift, bool u, bool round,
                    bool sat)
{
    unsigned width = 8u << size;
    __int128 v = u ? (__int128)(raw & mask(size))
                   : (__int128)((int64_t)(raw << (64 - width)) >> (64 - width));

    if (shift < 0) {
        int n = -shift;

        if (n > (int)width + 1) {
            n = width + 1;
        }
        if (round) {
            v += (__int128)1 << (n - 1);
        }
        v >>= n;
        return (uint64_t)v & mask(size);
    }
    if (shift >= (int)width) {
        if (sat && v) {
            v = v > 0 ? (__int128)1 << 100 : -((__int128)1 << 100);
        } else {
            v = 0;
        }
    } else {
        v = (__int128)((unsigned __int128)v << shift);
    }
    if (sat) {
        v = u ? (__int128)simd_sat_u(f, v, width) : (__int128)simd_sat_s(f, v, width);
    }
    return (uint64_t)v & mask(size);
}

uint64_t simd_fp2(FpState *f, unsigned op, unsigned size, uint64_t a, uint64_t b)
{
    return size == 3 ? a64_f64_op(f, op, a, b) : a64_f32_op(f, op, a, b);
}

uint64_t simd_fma(FpState *f, unsigned size, uint64_t add, uint64_t a, uint64_t b)
{
    return size == 3 ? a64_f64_fma(f, add, a, b) : a64_f32_fma(f, add, a, b);
}

static uint64_t fp_sign(unsigned size)
{
    return size == 3 ? 1ull << 63 : 1ull << 31;
}

static unsigned fp_cmp(FpState *f, unsigned size, uint64_t a, uint64_t b, bool signal)
{
    return size == 3 ? a64_f64_cmp(f, a, b, signal) : a64_f32_cmp(f, a, b, signal);
}

/* ---- three same: integer ---- */

static uint64_t pmul8(uint64_t a, uint64_t b)
{
    uint64_t r = 0;

    for (unsigned i = 0; i < 8; i++) {
        r ^= b >> i & 1 ? a << i : 0;
    }
    return r;
}

/* SQDMULH and SQRDMULH: the high half of the doubled product. */
static uint64_t dmulh(FpState *f, int64_t a, int64_t b, unsigned size, bool round)
{
    unsigned width = 8u << size;
    __int128 p = (__int128)a * b * 2;

    if (round) {
        p += (__int128)1 << (width - 1);
    }
    return simd_sat_s(f, p >> width, width);
}

/* SQRDMLAH, SQRDMLSH */
static uint64_t rdmla(FpState *f, int64_t acc, int64_t a, int64_t b, unsigned size, bool sub)
{
    unsigned width = 8u << size;
    __int128 p = (__int128)a * b * 2;

    p = ((__int128)acc << width) + (sub ? -p : p) + ((__int128)1 << (width - 1));
    return simd_sat_s(f, p >> width, width);
}

static bool logic(FpState *f, const Simd *s)
{
    VReg a = f->v[s->rn], b = f->v[s->rm], *d = &f->v[s->rd], r;

    for (unsigned i = 0; i < 2; i++) {
        uint64_t x = a.d[i], y = b.d[i], z = d->d[i];

        switch (s->u << 2 | s->size) {
        case 0:
            z = x & y;
            break;
        case 1:
            z = x & ~y;
            break;
        case 2:
            z = x | y;
            break;
        case 3:
            z = x | ~y;
            break;
        case 4:
            z = x ^ y;
            break;
        case 5: /* BSL */
            z = y ^ ((y ^ x) & z);
            break;
        case 6: /* BIT */
            z = z ^ ((z ^ x) & y);
            break;
        default: /* BIF */
            z = z ^ ((z ^ x) & ~y);
        }
        r.d[i] = z;
    }
    if (!s->q) {
        r.d[1] = 0;
    }
    *d = r;
    return true;
}

/* One lane; false: unallocated. */
static bool int_lane(FpState *f, const Simd *s, unsigned op, const VReg *va, const VReg *vb,
                     const VReg *vd, unsigned i, uint64_t *out)
{
    unsigned size = s->size, width = 8u << size;
    uint64_t ua = simd_get(va, size, i), ub = simd_get(vb, size, i), ud = simd_get(vd, size, i);
    int64_t sa = simd_gets(va, size, i), sb = simd_gets(vb, size, i);
    bool u = s->u, less = u ? ua < ub : sa < sb;
    __int128 a = u ? (__int128)ua : sa, b = u ? (__int128)ub : sb;

    switch (op) {
    case 0x00: /* HADD */
        *out = (uint64_t)((a + b) >> 1);
        return size < 3;
    case 0x01: /* QADD */
        *out = u ? simd_sat_u(f, a + b, width) : simd_sat_s(f, a + b, width);
        return true;
    case 0x02: /* RHADD */
        *out = (uint64_t)((a + b + 1) >> 1);
        return size < 3;
    case 0x04: /* HSUB */
        *out = (uint64_t)((a - b) >> 1);
        return size < 3;
    case 0x05: /* QSUB */
        *out = u ? simd_sat_u(f, a - b, width) : simd_sat_s(f, a - b, width);
        return true;
    case 0x06: /* CMGT, CMHI */
        *out = a > b ? ~0ull : 0;
        return true;
    case 0x07: /* CMGE, CMHS */
        *out = a >= b ? ~0ull : 0;
        return true;
    case 0x08:
    case 0x09:
    case 0x0a:
    case 0x0b: /* SHL, QSHL, RSHL, QRSHL by register */
        *out = simd_shift(f, ua, size, (int8_t)ub, u, op & 2, op & 1);
        return true;
    case 0x0c:
        *out = less ? ub : ua;
        return size < 3;
    case 0x0d:
        *out = less ? ua : ub;
        return size < 3;
    case 0x0e:
    case 0x0f: /* ABD, ABA */
        *out = (uint64_t)(less ? b - a : a - b) + (op & 1 ? ud : 0);
        return size < 3;
    case 0x10:
        *out = u ? ua - ub : ua + ub;
        return true;
    case 0x11: /* CMTST, CMEQ */
        *out = (u ? ua == ub : (ua & ub) != 0) ? ~0ull : 0;
        return true;
    case 0x12:
        *out = u ? ud - ua * ub : ud + ua * ub;
        return size < 3;
    case 0x13:
        *out = u ? pmul8(ua, ub) : ua * ub;
        return u ? size == 0 : size < 3;
    case 0x16:
        *out = dmulh(f, sa, sb, size, u);
        return size == 1 || size == 2;
    default:
        return false;
    }
}

/* Scalar forms exist of some operations, mostly on double words only. */
static bool scalar_ok(const Simd *s, unsigned op)
{
    switch (op) {
    case 0x01:
    case 0x05:
    case 0x09:
    case 0x0b:
    case 0x16:
        return true;
    case 0x06:
    case 0x07:
    case 0x08:
    case 0x0a:
    case 0x10:
    case 0x11:
        return s->size == 3;
    default:
        return false;
    }
}

static bool pair_int(FpState *f, const Simd *s, unsigned op)
{
    unsigned n = lanes(s, s->size);
    VReg a = f->v[s->rn], b = f->v[s->rm], r = {{0, 0}};

    if (s->scalar || (op != 0x17 && s->size == 3) || (op == 0x17 && s->u) ||
        (s->size == 3 && !s->q)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        const VReg *src = i < n / 2 ? &a : &b;
        unsigned k = i % (n / 2) * 2;
        uint64_t x = simd_get(src, s->size, k), y = simd_get(src, s->size, k + 1), v;
        bool less = s->u ? x < y : simd_gets(src, s->size, k) < simd_gets(src, s->size, k + 1);

        v = op == 0x17 ? x + y : less == (op == 0x14) ? y : x;
        simd_set(&r, s->size, i, v);
    }
    f->v[s->rd] = r;
    return true;
}

/* ---- three same: floating point ---- */

static bool fp_lane(FpState *f, unsigned op, unsigned size, uint64_t a, uint64_t b, uint64_t d,
                    uint64_t *out)
{
    uint64_t sign = fp_sign(size), ones = mask(size);

    switch (op) {
    case 0x18: /* U a opcode: 0 a 11000 … as key below */
        *out = simd_fp2(f, FPO_MAXNM, size, a, b);
        return true;
    case 0x38:
        *out = simd_fp2(f, FPO_MINNM, size, a, b);
        return true;
    case 0x19:
        *out = simd_fma(f, size, d, a, b);
        return true;
    case 0x39:
        *out = simd_fma(f, size, d, a ^ sign, b);
        return true;
    case 0x1a:
        *out = simd_fp2(f, FPO_ADD, size, a, b);
        return true;
    case 0x3a:
        *out = simd_fp2(f, FPO_SUB, size, a, b);
        return true;
    case 0x1b:
        *out = simd_fp2(f, FPO_MULX, size, a, b);
        return true;
    case 0x1c:
        *out = fp_cmp(f, size, a, b, false) == 6 ? ones : 0;
        return true;
    case 0x1e:
        *out = simd_fp2(f, FPO_MAX, size, a, b);
        return true;
    case 0x3e:
        *out = simd_fp2(f, FPO_MIN, size, a, b);
        return true;
    case 0x1f:
        *out = simd_fp2(f, FPO_RECPS, size, a, b);
        return true;
    case 0x3f:
        *out = simd_fp2(f, FPO_RSQRTS, size, a, b);
        return true;
    case 0x5b:
        *out = simd_fp2(f, FPO_MUL, size, a, b);
        return true;
    case 0x5c: { /* FCMGE */
        unsigned c = fp_cmp(f, size, a, b, true);

        *out = c == 6 || c == 2 ? ones : 0;
        return true;
    }
    case 0x7c: /* FCMGT */
        *out = fp_cmp(f, size, a, b, true) == 2 ? ones : 0;
        return true;
    case 0x5d: { /* FACGE */
        unsigned c = fp_cmp(f, size, a & ~sign, b & ~sign, true);

        *out = c == 6 || c == 2 ? ones : 0;
        return true;
    }
    case 0x7d:
        *out = fp_cmp(f, size, a & ~sign, b & ~sign, true) == 2 ? ones : 0;
        return true;
    case 0x5f:
        *out = simd_fp2(f, FPO_DIV, size, a, b);
        return true;
    case 0x7a:
        *out = simd_fp2(f, FPO_ABD, size, a, b);
        return true;
    default:
        return false;
    }
}

static bool fp_scalar_ok(unsigned key)
{
    switch (key) {
    case 0x1b:
    case 0x1c:
    case 0x1f:
    case 0x3f:
    case 0x5c:
    case 0x5d:
    case 0x7a:
    case 0x7c:
    case 0x7d:
        return true;
    default:
        return false;
    }
}

/* Pairs: FADDP, FMAXP… by the operation of arithmetic. */
static int fp_pair_op(unsigned key)
{
    switch (key) {
    case 0x58:
        return FPO_MAXNM;
    case 0x78:
        return FPO_MINNM;
    case 0x5a:
        return FPO_ADD;
    case 0x5e:
        return FPO_MAX;
    case 0x7e:
        return FPO_MIN;
    default:
        return -1;
    }
}

/* A half as it is, signalling or not, in IEEE form whatever FPCR.AHP says. */
static uint32_t widen(uint16_t a)
{
    FpState plain = {.fpcr = 0};

    if ((a >> 10 & 31) == 31) {
        return (uint32_t)(a >> 15) << 31 | 0xffu << 23 | (uint32_t)(a & 1023) << 13;
    }
    return a64_f16_to_f32(&plain, a);
}

/* FMLAL, FMLSL: products of halves are exact in single precision. */
static bool fmlal(FpState *f, const Simd *s, bool sub, bool upper, const VReg *b, int elem)
{
    VReg a = f->v[s->rn], r = {{0, 0}};
    unsigned n = s->q ? 4 : 2, base = upper ? n : 0;

    if (!(f->feat & FPF_FHM) || s->scalar) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        uint32_t x = widen(a.h[base + i] ^ (sub ? 0x8000 : 0));
        uint32_t y = widen(b->h[elem < 0 ? base + i : (unsigned)elem]);

        r.s[i] = a64_f32_fma(f, f->v[s->rd].s[i], x, y);
    }
    f->v[s->rd] = r;
    return true;
}

static bool fp_three(FpState *f, const Simd *s, unsigned op)
{
    unsigned size = s->size & 1 ? 3 : 2, key = (s->u << 1 | s->size >> 1) << 5 | op;
    VReg a = f->v[s->rn], b = f->v[s->rm], r = {{0, 0}};
    int pair = fp_pair_op(key);

    /* FMLAL, FMLSL and the second halves */
    if (!(s->size & 1) && ((op == 0x1d && !s->u) || (op == 0x19 && s->u))) {
        return fmlal(f, s, s->size >> 1, op == 0x19, &b, -1);
    }
    if ((size == 3 && !s->q) || (s->scalar && !fp_scalar_ok(key))) {
        return false;
    }
    if (pair >= 0) {
        unsigned n = lanes(s, size);

        for (unsigned i = 0; i < n; i++) {
            const VReg *src = i < n / 2 ? &a : &b;
            unsigned k = i % (n / 2) * 2;

            simd_set(&r, size, i,
                     simd_fp2(f, pair, size, simd_get(src, size, k), simd_get(src, size, k + 1)));
        }
        f->v[s->rd] = r;
        return true;
    }
    for (unsigned i = 0; i < lanes(s, size); i++) {
        uint64_t v;

        if (!fp_lane(f, key, size, simd_get(&a, size, i), simd_get(&b, size, i),
                     simd_get(&f->v[s->rd], size, i), &v)) {
            return false;
        }
        simd_set(&r, size, i, v);
    }
    f->v[s->rd] = r;
    return true;
}

bool simd_three_same(FpState *f, const Simd *s)
{
    unsigned op = s->insn >> 11 & 31;
    VReg a = f->v[s->rn], b = f->v[s->rm], r = {{0, 0}};

    if (op >= 0x18) {
        return fp_three(f, s, op);
    }
    if (op == 3) {
        return !s->scalar && logic(f, s);
    }
    if (op == 0x14 || op == 0x15 || op == 0x17) {
        return pair_int(f, s, op);
    }
    if (s->scalar ? !scalar_ok(s, op) : s->size == 3 && !s->q) {
        return false;
    }
    for (unsigned i = 0; i < lanes(s, s->size); i++) {
        uint64_t v = 0;

        if (!int_lane(f, s, op, &a, &b, &f->v[s->rd], i, &v)) {
            return false;
        }
        simd_set(&r, s->size, i, v);
    }
    f->v[s->rd] = r;
    return true;
}

/* ---- three different ---- */

static void pmull64(uint64_t a, uint64_t b, VReg *r)
{
    *r = (VReg){{0, 0}};
    for (unsigned i = 0; i < 64; i++) {
        if (b >> i & 1) {
            r->d[0] ^= a << i;
            r->d[1] ^= i ? a >> (64 - i) : 0;
        }
    }
}

/* Products and sums of long lanes: MLAL, MULL, SQDMLAL… @d: accumulator. */
static bool long_lane(FpState *f, unsigned op, bool u, unsigned size, int64_t a, int64_t b,
                      uint64_t d, uint64_t *out)
{
    unsigned wide = 16u << size;
    __int128 p;

    switch (op) {
    case 0x8:
        *out = d + (uint64_t)(a * b);
        return true;
    case 0xa:
        *out = d - (uint64_t)(a * b);
        return true;
    case 0xc:
        *out = (uint64_t)(a * b);
        return true;
    case 0x9:
    case 0xb:
    case 0xd:
        if (u || size == 0 || size == 3) {
            return false;
        }
        p = (int64_t)simd_sat_s(f, (__int128)a * b * 2, wide);
        if (op != 0xd) {
            int64_t acc = (int64_t)(d << (64 - wide)) >> (64 - wide);

            p = op == 9 ? acc + p : acc - p;
            *out = simd_sat_s(f, p, wide);
        } else {
            *out = (uint64_t)p;
        }
        return true;
    default:
        return false;
    }
}

static bool diff_lane(FpState *f, const Simd *s, unsigned op, const VReg *va, const VReg *vb,
                      unsigned i, unsigned base, uint64_t *out)
{
    unsigned size = s->size;
    bool wide_a = op == 1 || op == 3 || op == 4 || op == 6;
    int64_t a, b;
    uint64_t d = simd_get(&f->v[s->rd], size + 1, i);

    if (op == 4 || op == 6) {
        b = (int64_t)simd_get(vb, size + 1, i);
    } else {
        b = s->u ? (int64_t)simd_get(vb, size, base + i) : simd_gets(vb, size, base + i);
    }
    a = wide_a ? (int64_t)simd_get(va, size + 1, i)
        : s->u ? (int64_t)simd_get(va, size, base + i)
               : simd_gets(va, size, base + i);
    switch (op) {
    case 0:
    case 1:
        *out = (uint64_t)a + (uint64_t)b;
        return true;
    case 2:
    case 3:
        *out = (uint64_t)a - (uint64_t)b;
        return true;
    case 5:
    case 7: {
        bool less = s->u ? (uint64_t)a < (uint64_t)b : a < b;

        *out = (less ? (uint64_t)b - (uint64_t)a : (uint64_t)a - (uint64_t)b) + (op == 5 ? d : 0);
        return true;
    }
    case 0xe:
        *out = pmul8(a & 0xff, b & 0xff);
        return size == 0 && !s->u;
    default:
        return long_lane(f, op, s->u, size, a, b, d, out);
    }
}

bool simd_three_diff(FpState *f, const Simd *s)
{
    unsigned op = s->insn >> 12 & 15, size = s->size, n = s->scalar ? 1 : 8 >> size;
    unsigned base = s->q && !s->scalar ? n : 0;
    VReg a = f->v[s->rn], b = f->v[s->rm], r = {{0, 0}};

    if (s->scalar && op != 9 && op != 0xb && op != 0xd) {
        return false;
    }
    if (op == 0xe && size == 3) {
        if (s->u || !(f->feat & FPF_PMULL)) {
            return false;
        }
        pmull64(a.d[s->q], b.d[s->q], &f->v[s->rd]);
        return true;
    }
    if (size == 3 || op == 15) {
        return false;
    }
    if (op == 4 || op == 6) { /* narrow to the high half */
        VReg d = f->v[s->rd];

        for (unsigned i = 0; i < n; i++) {
            uint64_t x = simd_get(&a, size + 1, i), y = simd_get(&b, size + 1, i);
            uint64_t v = op == 4 ? x + y : x - y;

            v += s->u ? 1ull << ((8u << size) - 1) : 0;
            simd_set(&r, size, base + i, v >> (8u << size));
        }
        if (s->q) {
            r.d[0] = d.d[0];
        }
        f->v[s->rd] = r;
        return true;
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t v = 0;

        if (!diff_lane(f, s, op, &a, &b, i, base, &v)) {
            return false;
        }
        simd_set(&r, size + 1, i, v);
    }
    f->v[s->rd] = r;
    return true;
}

/* ---- extra: RDM, dot product, complex ---- */

static uint32_t dot4(bool u, const uint8_t *a, const uint8_t *b)
{
    uint32_t r = 0;

    for (unsigned k = 0; k < 4; k++) {
        r += u ? (uint32_t)a[k] * b[k] : (uint32_t)((int8_t)a[k] * (int8_t)b[k]);
    }
    return r;
}

/* One complex number: FCMLA with rotation @rot × 90°. */
static void fcmla(FpState *f, unsigned size, unsigned rot, const VReg *a, unsigned ai,
                  const VReg *b, unsigned bi, VReg *d, unsigned di)
{
    uint64_t sign = fp_sign(size), e1, e2, e3, e4;

    e2 = e4 = simd_get(a, size, ai + (rot & 1));
    e1 = simd_get(b, size, bi + (rot & 1));
    e3 = simd_get(b, size, bi + !(rot & 1));
    e1 ^= rot == 1 || rot == 2 ? sign : 0;
    e3 ^= rot == 2 || rot == 3 ? sign : 0;
    uint64_t re = simd_fma(f, size, simd_get(d, size, di), e2, e1);
    uint64_t im = simd_fma(f, size, simd_get(d, size, di + 1), e4, e3);

    simd_set(d, size, di, re);
    simd_set(d, size, di + 1, im);
}

bool simd_three_extra(FpState *f, const Simd *s)
{
    unsigned op = s->insn >> 11 & 15, size = s->size;
    VReg a = f->v[s->rn], b = f->v[s->rm], d = f->v[s->rd], r = {{0, 0}};

    if (op <= 1 && s->u) { /* SQRDMLAH, SQRDMLSH */
        if (!(f->feat & FPF_RDM) || size == 0 || size == 3) {
            return false;
        }
        for (unsigned i = 0; i < lanes(s, size); i++) {
            simd_set(&r, size, i,
                     rdmla(f, simd_gets(&d, size, i), simd_gets(&a, size, i),
                           simd_gets(&b, size, i), size, op));
        }
    } else if (op == 2 && !s->scalar) { /* SDOT, UDOT */
        if (!(f->feat & FPF_DP) || size != 2) {
            return false;
        }
        for (unsigned i = 0; i < lanes(s, 2); i++) {
            r.s[i] = d.s[i] + dot4(s->u, a.b + i * 4, b.b + i * 4);
        }
    } else if (op >= 8 && s->u && !s->scalar && f->feat & FPF_FCMA) {
        if (size < 2 || (size == 3 && !s->q)) {
            return false;
        }
        r = d;
        for (unsigned i = 0; i < lanes(s, size); i += 2) {
            if (op < 12) {
                fcmla(f, size, op & 3, &a, i, &b, i, &r, i);
            } else { /* FCADD: rotation in bit 12 */
                uint64_t sign = fp_sign(size), e1 = simd_get(&b, size, i + 1),
                         e3 = simd_get(&b, size, i);

                if (op & 1) {
                    return false;
                }
                *(op & 2 ? &e3 : &e1) ^= sign;
                simd_set(&r, size, i, simd_fp2(f, FPO_ADD, size, simd_get(&a, size, i), e1));
                simd_set(&r, size, i + 1,
                         simd_fp2(f, FPO_ADD, size, simd_get(&a, size, i + 1), e3));
            }
        }
        if (!s->q) {
            r.d[1] = 0;
        }
    } else {
        return false;
    }
    f->v[s->rd] = r;
    return true;
}

/* ---- by element ---- */

static bool fp_element(FpState *f, const Simd *s, unsigned op)
{
    unsigned size = s->size, index, rm = s->rm;
    bool h = s->insn >> 11 & 1, l = s->insn >> 21 & 1;
    VReg a = f->v[s->rn], r = {{0, 0}};
    uint64_t e, sign;

    if (size < 2) {
        return false; /* half precision */
    }
    if (size == 3) {
        if (l || (!s->q && !s->scalar)) {
            return false;
        }
        index = h;
    } else {
        index = h << 1 | l;
    }
    if (s->u && op != 9) {
        return false;
    }
    e = simd_get(&f->v[rm], size, index);
    sign = fp_sign(size);
    for (unsigned i = 0; i < lanes(s, size); i++) {
        uint64_t x = simd_get(&a, size, i), d = simd_get(&f->v[s->rd], size, i), v;

        v = op == 1   ? simd_fma(f, size, d, x, e)
            : op == 5 ? simd_fma(f, size, d, x ^ sign, e)
                      : simd_fp2(f, s->u ? FPO_MULX : FPO_MUL, size, x, e);
        simd_set(&r, size, i, v);
    }
    f->v[s->rd] = r;
    return true;
}

static bool fcmla_element(FpState *f, const Simd *s, unsigned op)
{
    unsigned index = s->insn >> 11 & 1, rot = op >> 1 & 3;
    VReg a = f->v[s->rn], b = f->v[s->rm], r = f->v[s->rd];

    if (!(f->feat & FPF_FCMA) || s->scalar || s->size != 2 || !s->q || s->insn >> 21 & 1) {
        return false;
    }
    for (unsigned i = 0; i < 4; i += 2) {
        fcmla(f, 2, rot, &a, i, &b, index * 2, &r, i);
    }
    f->v[s->rd] = r;
    return true;
}

static bool element_same(FpState *f, const Simd *s, unsigned op, int64_t e)
{
    unsigned size = s->size;
    VReg a = f->v[s->rn], d = f->v[s->rd], r = {{0, 0}};

    for (unsigned i = 0; i < lanes(s, size); i++) {
        int64_t x = simd_gets(&a, size, i);
        uint64_t v;

        switch (op << 1 | s->u) {
        case 0x0 << 1 | 1:
            v = simd_get(&d, size, i) + (uint64_t)x * (uint64_t)e;
            break;
        case 0x4 << 1 | 1:
            v = simd_get(&d, size, i) - (uint64_t)x * (uint64_t)e;
            break;
        case 0x8 << 1:
            v = (uint64_t)x * (uint64_t)e;
            break;
        case 0xc << 1:
        case 0xd << 1:
            v = dmulh(f, x, e, size, op & 1);
            break;
        case 0xd << 1 | 1:
        case 0xf << 1 | 1:
            if (!(f->feat & FPF_RDM)) {
                return false;
            }
            v = rdmla(f, simd_gets(&d, size, i), x, e, size, op == 0xf);
            break;
        default:
            return false;
        }
        if (s->scalar && op < 0xc) {
            return false;
        }
        simd_set(&r, size, i, v);
    }
    f->v[s->rd] = r;
    return true;
}

bool simd_by_element(FpState *f, const Simd *s)
{
    unsigned op = s->insn >> 12 & 15, size = s->size, index, rm = s->rm, n, base;
    bool h = s->insn >> 11 & 1, l = s->insn >> 21 & 1, m = s->insn >> 20 & 1;
    VReg a = f->v[s->rn], r = {{0, 0}}, vb;
    int64_t e;

    if (s->u && (op & 9) == 1) {
        return fcmla_element(f, s, op);
    }
    if (op == 1 || op == 5 || op == 9) {
        return fp_element(f, s, op);
    }
    if (size == 2 && (s->u ? op == 8 || op == 12 : op == 0 || op == 4)) { /* FMLAL, FMLSL */
        index = h << 2 | l << 1 | m;
        vb = f->v[rm & 15];
        return fmlal(f, s, op & 4, s->u, &vb, index);
    }
    if (op == 14) { /* SDOT, UDOT */
        if (!(f->feat & FPF_DP) || size != 2 || s->scalar) {
            return false;
        }
        vb = f->v[rm];
        for (unsigned i = 0; i < lanes(s, 2); i++) {
            r.s[i] = f->v[s->rd].s[i] + dot4(s->u, a.b + i * 4, vb.b + (h << 1 | l) * 4);
        }
        f->v[s->rd] = r;
        return true;
    }
    if (size == 1) {
        index = h << 2 | l << 1 | m;
        rm &= 15;
    } else if (size == 2) {
        index = h << 1 | l;
    } else {
        return false;
    }
    vb = f->v[rm];
    if (op == 0 || op == 4 || op == 8 || op == 12 || op == 13 || op == 15) {
        return element_same(f, s, op, simd_gets(&vb, size, index));
    }
    /* long: 2 MLAL, 3 SQDMLAL, 6 MLSL, 7 SQDMLSL, 10 MULL, 11 SQDMULL */
    static const uint8_t as[16] = {[2] = 8, [3] = 9, [6] = 10, [7] = 11, [10] = 12, [11] = 13};

    if (!as[op] || (s->scalar && !(op & 1))) {
        return false;
    }
    n = s->scalar ? 1 : 8 >> size;
    base = s->q && !s->scalar ? n : 0;
    e = s->u ? (int64_t)simd_get(&vb, size, index) : simd_gets(&vb, size, index);
    for (unsigned i = 0; i < n; i++) {
        int64_t x = s->u ? (int64_t)simd_get(&a, size, base + i) : simd_gets(&a, size, base + i);
        uint64_t v;

        if (!long_lane(f, as[op], s->u, size, x, e, simd_get(&f->v[s->rd], size + 1, i), &v)) {
            return false;
        }
        simd_set(&r, size + 1, i, v);
    }
    f->v[s->rd] = r;
    return true;
}
