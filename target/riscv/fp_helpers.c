/*
 * Floating-point operations as helpers: on the host's SSE unit where format and rounding mode are
 * the host's, else in software (fp_soft.c). Unprivileged ISA, chapters 20-22. They run with the
 * guest's MXCSR, whose sticky flags are fflags.
 */
#include "target/riscv/fp.h"
#include "target/riscv/helpers.h"
#include <math.h>
#include <string.h>
#include <xmmintrin.h>

/* Keeps the compiler from moving floating point across changes of MXCSR. */
#define BARRIER(v) __asm__ volatile("" : "+x"(v))

static uint32_t to_mxcsr(unsigned f)
{
    return (f & FF_NV ? 1 : 0) | (f & FF_DZ ? 4 : 0) | (f & FF_OF ? 8 : 0) | (f & FF_UF ? 16 : 0) |
           (f & FF_NX ? 32 : 0);
}

static void raise_flags(unsigned f)
{
    if (f) {
        rv_setcsr(rv_getcsr() | to_mxcsr(f));
    }
}

unsigned rv_fflags(RiscvCpu *c)
{
    uint32_t m = rv_getcsr();

    return (m & 1 ? FF_NV : 0) | (m & 4 ? FF_DZ : 0) | (m & 8 ? FF_OF : 0) | (m & 16 ? FF_UF : 0) |
           (m & 32 ? FF_NX : 0);
}

/* Both the live register and the state: the dispatcher merges the two. */
void rv_set_fflags(RiscvCpu *c, unsigned flags)
{
    c->mxcsr = (c->mxcsr & ~0x3fu) | to_mxcsr(flags);
    rv_setcsr((rv_getcsr() & ~0x3fu) | to_mxcsr(flags));
}

void rv_set_frm(RiscvCpu *c, unsigned frm)
{
    c->frm = frm;
    c->mxcsr = (c->mxcsr & ~0x6000u) | rv_mxcsr_rc(frm);
    rv_setcsr((rv_getcsr() & ~0x6000u) | rv_mxcsr_rc(frm));
}

/* Switch rounding control for one operation. */
static uint32_t rc_begin(unsigned rm)
{
    uint32_t m = rv_getcsr();

    if ((m & 0x6000) != rv_mxcsr_rc(rm)) {
        rv_setcsr((m & ~0x6000u) | rv_mxcsr_rc(rm));
    }
    return m & 0x6000;
}

static void rc_end(uint32_t rc)
{
    uint32_t m = rv_getcsr();

    if ((m & 0x6000) != rc) {
        rv_setcsr((m & ~0x6000u) | rc);
    }
}

static double as_d(uint64_t v)
{
    double d;

    memcpy(&d, &v, 8);
    return d;
}

static float as_s(uint64_t v)
{
    float s;

    memcpy(&s, &v, 4);
    return s;
}

static uint64_t from_d(double d)
{
    uint64_t v;

    memcpy(&v, &d, 8);
    return v;
}

static uint64_t from_s(float s)
{
    uint32_t v;

    memcpy(&v, &s, 4);
    return v;
}

#define HOST_OP2(T, name, get, put, root)                                                          \
    static uint64_t name(RvFpOp op, uint64_t x, uint64_t y)                                        \
    {                                                                                              \
        T a = get(x), b = get(y), r;                                                               \
                                                                                                   \
        BARRIER(a);                                                                                \
        BARRIER(b);                                                                                \
        r = op == FP_ADD   ? a + b                                                                 \
            : op == FP_SUB ? a - b                                                                 \
            : op == FP_MUL ? a * b                                                                 \
            : op == FP_DIV ? a / b                                                                 \
                           : root(a);                                                              \
        BARRIER(r);                                                                                \
        return put(r);                                                                             \
    }

static inline float root_s(float v)
{
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(v)));
}

static inline double root_d(double v)
{
    __asm__ volatile("sqrtsd %0, %0" : "+x"(v));
    return v;
}

HOST_OP2(double, host_op2_d, as_d, from_d, root_d)
HOST_OP2(float, host_op2_s, as_s, from_s, root_s)

/* ---- minima, comparisons ---- */

/* a < b for numbers, without flags; -0 < +0 if @zeros. */
static bool less(RvFmt f, uint64_t a, uint64_t b, bool zeros)
{
    bool na = a & rv_sign(f), nb = b & rv_sign(f);

    if (!zeros && !((a | b) & ~rv_sign(f))) {
        return false;
    }
    return na != nb ? na : na ? a > b : a < b;
}

static uint64_t minmax(RvFpOp op, RvFmt f, uint64_t a, uint64_t b, unsigned *flags)
{
    bool na = rv_is_nan(f, a), nb = rv_is_nan(f, b);

    *flags |= rv_is_snan(f, a) || rv_is_snan(f, b) ? FF_NV : 0;
    if (na || nb) {
        return na && nb ? rv_nan(f) : na ? b : a;
    }
    return less(f, a, b, true) == (op == FP_MIN) ? a : b;
}

static uint64_t compare(RvFpOp op, RvFmt f, uint64_t a, uint64_t b, unsigned *flags)
{
    bool eq;

    if (rv_is_nan(f, a) || rv_is_nan(f, b)) {
        bool quiet = op == FP_EQ && !rv_is_snan(f, a) && !rv_is_snan(f, b);

        *flags |= quiet ? 0 : FF_NV;
        return 0;
    }
    eq = a == b || !((a | b) & ~rv_sign(f));
    return op == FP_EQ ? eq : op == FP_LT ? less(f, a, b, false) : eq || less(f, a, b, false);
}

/* ---- the helpers ---- */

uint64_t rv_h_fp_op2(VCpu *cpu, uint64_t what, uint64_t x, uint64_t y)
{
    RvFpOp op = what & 0xff;
    RvFmt f = what >> 8 & 0xff;
    unsigned rm = what >> 16, flags = 0;
    uint64_t a = rv_unbox(f, x), b = rv_unbox(f, y), r;

    if (op >= FP_LE && op <= FP_EQ) {
        r = compare(op, f, a, b, &flags);
        raise_flags(flags);
        return r;
    }
    if (op == FP_MIN || op == FP_MAX) {
        r = minmax(op, f, a, b, &flags);
    } else if (f == FMT_H || rm == RM_RMM) {
        r = rv_soft_op2(op, f, rm, a, b, &flags);
    } else {
        uint32_t rc = rc_begin(rm);

        r = f == FMT_D ? host_op2_d(op, a, b) : host_op2_s(op, a, b);
        rc_end(rc);
        r = rv_is_nan(f, r) ? rv_nan(f) : r;
    }
    raise_flags(flags);
    return rv_box(f, r);
}

uint64_t rv_h_fp_op3(VCpu *cpu, uint64_t what, uint64_t x, uint64_t y, uint64_t z)
{
    RvFpOp op = what & 0xff;
    RvFmt f = what >> 8 & 0xff;
    unsigned rm = what >> 16, flags = 0;
    uint64_t a = rv_unbox(f, x), b = rv_unbox(f, y), c = rv_unbox(f, z), r, sign = rv_sign(f);
    uint64_t a1 = op == FP_NMSUB || op == FP_NMADD ? a ^ sign : a;
    uint64_t c1 = op == FP_MSUB || op == FP_NMADD ? c ^ sign : c;

    if (f == FMT_H || rm == RM_RMM) {
        r = rv_soft_op3(op, f, rm, a, b, c, &flags);
    } else {
        uint32_t rc = rc_begin(rm);

        if (f == FMT_D) {
            double d = as_d(a1);

            BARRIER(d);
            d = fma(d, as_d(b), as_d(c1));
            BARRIER(d);
            r = from_d(d);
        } else {
            float s = as_s(a1);

            BARRIER(s);
            s = fmaf(s, as_s(b), as_s(c1));
            BARRIER(s);
            r = from_s(s);
        }
        rc_end(rc);
        if (rv_is_nan(f, r)) { /* the flags of NaNs differ in one case */
            r = rv_soft_op3(op, f, rm, a, b, c, &flags);
        }
    }
    raise_flags(flags);
    return rv_box(f, r);
}

uint64_t rv_h_fp_cvt(VCpu *cpu, uint64_t what, uint64_t x)
{
    RvFmt from = what & 0xff, to = what >> 8 & 0xff;
    unsigned rm = what >> 16, flags = 0;
    uint64_t a = rv_unbox(from, x), r;

    if (from == FMT_S && to == FMT_D) {
        float s = as_s(a);

        BARRIER(s);
        r = from_d(s);
        r = rv_is_nan(to, r) ? NAN_D : r;
    } else if (from == FMT_D && to == FMT_S && rm != RM_RMM) {
        uint32_t rc = rc_begin(rm);
        double d = as_d(a);
        float s;

        BARRIER(d);
        s = (float)d;
        BARRIER(s);
        rc_end(rc);
        r = from_s(s);
        r = rv_is_nan(to, r) ? NAN_S : r;
    } else {
        r = rv_soft_cvt(from, to, rm, a, &flags);
    }
    raise_flags(flags);
    return rv_box(to, r);
}

/* On the host if the result fits the signed 64-bit range for sure. */
static bool host_to_int(RvFmt f, RvFpInt kind, unsigned rm, uint64_t a, uint64_t *r)
{
    double lo = kind == FPI_W ? -2147483648.0 : kind == FPI_L ? -9007199254740992.0 : 0.0;
    double hi = kind == FPI_W ? 2147483647.0 : kind == FPI_WU ? 4294967295.0 : 9007199254740992.0;
    uint32_t rc;
    long long v;
    double d;

    if (f == FMT_H || rm == RM_RMM || rv_is_nan(f, a)) {
        return false;
    }
    d = f == FMT_D ? as_d(a) : (double)as_s(a);
    if (!(d >= lo && d <= hi)) {
        return false;
    }
    rc = rc_begin(rm);
    BARRIER(d);
    __asm__ volatile("cvtsd2si %1, %0" : "=r"(v) : "x"(d));
    rc_end(rc);
    *r = kind <= FPI_WU ? (uint64_t)(int32_t)v : (uint64_t)v;
    return true;
}

uint64_t rv_h_fp_to_int(VCpu *cpu, uint64_t what, uint64_t x)
{
    RvFpInt kind = what & 0xff;
    RvFmt f = what >> 8 & 0xff;
    unsigned rm = what >> 16, flags = 0;
    uint64_t a = rv_unbox(f, x), r;

    if (!host_to_int(f, kind, rm, a, &r)) {
        r = rv_soft_to_int(f, kind, rm, a, &flags);
        raise_flags(flags);
    }
    return r;
}

uint64_t rv_h_fp_from_int(VCpu *cpu, uint64_t what, uint64_t v)
{
    RvFpInt kind = what & 0xff;
    RvFmt f = what >> 8 & 0xff;
    unsigned rm = what >> 16, flags = 0;
    uint64_t r;

    v = kind == FPI_W ? (uint64_t)(int32_t)v : kind == FPI_WU ? (uint32_t)v : v;
    if (f == FMT_H || rm == RM_RMM || (kind == FPI_LU && (int64_t)v < 0)) {
        r = rv_soft_from_int(f, kind, rm, v, &flags);
        raise_flags(flags);
    } else {
        uint32_t rc = rc_begin(rm);
        double d = 0;
        float s = 0;

        if (f == FMT_D) {
            __asm__ volatile("cvtsi2sdq %1, %0" : "+x"(d) : "r"(v));
        } else {
            __asm__ volatile("cvtsi2ssq %1, %0" : "+x"(s) : "r"(v));
        }
        rc_end(rc);
        r = f == FMT_D ? from_d(d) : from_s(s);
    }
    return rv_box(f, r);
}

uint64_t rv_h_fp_class(VCpu *cpu, uint64_t fmt, uint64_t x)
{
    RvFmt f = fmt;
    uint64_t a = rv_unbox(f, x), mag = a & ~rv_sign(f);
    bool neg = a & rv_sign(f);
    uint64_t inf = rv_nan(f) & ~(f == FMT_D ? 1ull << 51 : f == FMT_S ? 1ull << 22 : 1ull << 9);
    unsigned normal = f == FMT_D ? 52 : f == FMT_S ? 23 : 10;

    if (rv_is_nan(f, a)) {
        return rv_is_snan(f, a) ? 1 << 8 : 1 << 9;
    }
    unsigned kind = mag == inf ? 0 : mag >> normal ? 1 : mag ? 2 : 3;
    return 1u << (neg ? kind : 7 - kind);
}

#define X(n, a)                                                                                    \
    const IrHelper rv_hd_##n = {.name = #n, .fn = (void *)rv_h_##n, .nargs = a, .flags = IRH_RET};
RV_FP_HELPERS(X)
#undef X
