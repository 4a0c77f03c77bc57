/*
 * A64 FP and SIMD instructions that have a short form on the host: translation.
 *
 * Floating point runs on the host's SSE unit, whose sticky flags are FPSR's. Its results are Arm's
 * but for NaNs (which operand's NaN; the default NaN's sign) and for underflow of what rounds up to
 * the smallest normal number: a result that may be one of those is done again by the interpreter,
 * from the same operands.
 */
#include "accel/jit/ir-vec.h"
#include "target/arm64/helpers.h"
#include "target/arm64/translate.h"

typedef struct Shape {
    bool dbl, scalar, tiny, q;
} Shape;

static IrVal vconst32(Tr *t, uint32_t v)
{
    IrVal x = ir_vfromi(t->b, IR_I32, IRVOP_MOVD_FROMI, 0, ta_i32(t, v), 0);

    return ir_vop(t->b, IRVOP_PSHUFD, 0, x, 0);
}

static IrVal vconst64(Tr *t, uint64_t v, bool both)
{
    IrVal x = ir_vfromi(t->b, IR_I64, IRVOP_MOVD_FROMI, 0, ta_i64(t, v), 0);

    return both ? ir_vop(t->b, IRVOP_PUNPCKLQDQ, x, x, 0) : x;
}

/* An operand as wide as the operation: what is above would make exceptions. */
static IrVal operand(Tr *t, const Shape *s, unsigned r)
{
    return s->scalar || s->q ? ta_v(r) : ir_vop(t->b, IRVOP_MOVQ, 0, ta_v(r), 0);
}

/* V[rd] := the lanes of @r, the rest zero. */
static void set_fp(Tr *t, const Shape *s, unsigned rd, IrVal r)
{
    if (s->scalar && !s->dbl) {
        r = ir_vop(t->b, IRVOP_MOVSS, vconst64(t, 0, false), r, 0);
    } else if (s->scalar) {
        r = ir_vop(t->b, IRVOP_MOVQ, 0, r, 0);
    }
    ta_set_v(t, rd, r);
}

/* Before: keep what a repetition needs. */
static bool keep(Tr *t, unsigned rd, unsigned rn, unsigned rm, unsigned ra)
{
    ta_pack_flags(t);
    if (rd != rn && rd != rm && rd != ra) {
        return false;
    }
    ir_vste(t->b, 16, offsetof(Arm64Cpu, fp_save), ta_v(rd));
    return true;
}

/* After V[rd] was set: again, if it has what the host may do otherwise. */
static void settle(Tr *t, const Shape *s, bool saved)
{
    unsigned ok = ir_label(t->b), cold = s->tiny && s->scalar ? ir_label(t->b) : 0;
    IrVal v = ta_v(ta_rd(t)), m;

    if (s->scalar) {
        if (s->tiny) {
            m = s->dbl ? ir_vtoi(t->b, IR_I32, IRVOP_PEXTRD, v, 1)
                       : ir_vtoi(t->b, IR_I32, IRVOP_MOVD_TOI, v, 0);
            m = ir_add(t->b, IR_I32, m, m);
            ir_brcond(t->b, IR_I32, IRC_EQ, m, ta_i32(t, s->dbl ? 0x200000 : 0x1000000), cold);
        }
        IrFlags f = {.kind = IRF_VALUE, .size = 4};

        f.a = ir_vcmpflags(t->b, s->dbl ? IRVOP_UCOMISD : IRVOP_UCOMISS, v, v);
        ir_brflag(t->b, IRFC_NP, &f, ok);
    } else {
        m = ir_vop(t->b, s->dbl ? IRVOP_CMPPD : IRVOP_CMPPS, v, v, 3);
        if (s->tiny) {
            IrVal e = ir_vop(t->b, IRVOP_PSLLDI, v, 0, 1);

            e = ir_vop(t->b, IRVOP_PCMPEQD, e, vconst32(t, s->dbl ? 0x200000 : 0x1000000), 0);
            m = ir_vop(t->b, IRVOP_POR, m, e, 0);
        }
        m = ir_vtoi(t->b, IR_I32, IRVOP_MOVMSKPS, m, 0);
        ir_brcond(t->b, IR_I32, IRC_EQ, m, ta_i32(t, 0), ok);
    }
    if (cold) {
        ir_place(t->b, cold);
    }
    ir_call2(t->b, &a64_hd_simd_redo, ta_i64(t, t->insn), ta_i64(t, saved));
    ir_place(t->b, ok);
}

static bool host_ok(void)
{
    return jit_host_has(IRVF_SSE3 | IRVF_SSSE3 | IRVF_SSE41 | IRVF_SSE42);
}

/* ---- floating point ---- */

static unsigned arith_vop(unsigned op, const Shape *s)
{
    static const uint16_t vops[4][4] = {
        {IRVOP_MULPS, IRVOP_MULPD, IRVOP_MULSS, IRVOP_MULSD},
        {IRVOP_DIVPS, IRVOP_DIVPD, IRVOP_DIVSS, IRVOP_DIVSD},
        {IRVOP_ADDPS, IRVOP_ADDPD, IRVOP_ADDSS, IRVOP_ADDSD},
        {IRVOP_SUBPS, IRVOP_SUBPD, IRVOP_SUBSS, IRVOP_SUBSD},
    };

    return vops[op][s->dbl + 2 * s->scalar];
}

/* @op: 0 multiply 1 divide 2 add 3 subtract */
static void arith(Tr *t, unsigned op, Shape s)
{
    unsigned rd = ta_rd(t), rn = ta_rn(t), rm = ta_rm(t);
    bool saved = keep(t, rd, rn, rm, 32);
    IrVal r = ir_vop(t->b, arith_vop(op, &s), operand(t, &s, rn), operand(t, &s, rm), 0);

    s.tiny = op < 2;
    set_fp(t, &s, rd, r);
    settle(t, &s, saved);
}

static void fmla(Tr *t, Shape s, unsigned kind, unsigned rn, IrVal y, unsigned rm, unsigned ra)
{
    unsigned rd = ta_rd(t);
    bool saved = keep(t, rd, rn, rm, ra);
    IrVal r;

    kind |= (s.dbl ? IRFMA_DOUBLE : 0) | (s.scalar ? IRFMA_SCALAR : 0);
    s.tiny = true;
    r = ir_vfma(t->b, kind, operand(t, &s, rn), y, operand(t, &s, ra));
    set_fp(t, &s, rd, r);
    settle(t, &s, saved);
}

/* NZCV of a comparison of scalars: less N, equal ZC, greater C, unordered CV. */
static void fcmp(Tr *t, bool dbl, bool signal, IrVal x, IrVal y)
{
    static const uint16_t vops[] = {IRVOP_UCOMISS, IRVOP_UCOMISD, IRVOP_COMISS, IRVOP_COMISD};
    IrVal p = ir_vcmpflags(t->b, vops[dbl + 2 * signal], x, y), u, z, c, nu;

    u = ir_extract(t->b, IR_I32, p, 10, 1, false);
    z = ir_extract(t->b, IR_I32, p, 14, 1, false);
    c = ir_extract(t->b, IR_I32, p, 8, 1, false);
    nu = ir_xor(t->b, IR_I32, u, ta_i32(t, 1));
    c = ir_and(t->b, IR_I32, c, nu);
    z = ir_and(t->b, IR_I32, z, nu);
    u = ir_deposit(t->b, IR_I32, u, c, 8, 1);
    u = ir_deposit(t->b, IR_I32, u, z, 14, 1);
    u = ir_deposit(t->b, IR_I32, u, c, 15, 1);
    ta_set_flags(t, (IrFlags){.kind = IRF_VALUE, .size = 4, .a = u});
}

static bool fp_one(Tr *t, bool dbl)
{
    unsigned op = ta_bits(t, 20, 15), rd = ta_rd(t), rn = ta_rn(t);
    IrType ty = ta_ty(dbl);
    Shape s = {.dbl = dbl, .scalar = true};
    bool saved;
    IrVal v;

    switch (op) {
    case 0:
        set_fp(t, &s, rd, ta_v(rn));
        return true;
    case 1:
    case 2:
        v = ir_vtoi(t->b, ty, IRVOP_MOVD_TOI, ta_v(rn), 0);
        if (op == 1) {
            v = ir_and(t->b, ty, v, ta_imm(t, dbl, dbl ? ~0ull >> 1 : 0x7fffffff));
        } else {
            v = ir_xor(t->b, ty, v, ta_imm(t, dbl, dbl ? 1ull << 63 : 1u << 31));
        }
        ta_set_v(t, rd, ir_vfromi(t->b, ty, IRVOP_MOVD_FROMI, 0, v, 0));
        return true;
    case 3:
        if (t->mode & M_FPSLOW) {
            return false;
        }
        saved = keep(t, rd, rn, 32, 32);
        v = ir_vop(t->b, dbl ? IRVOP_SQRTSD : IRVOP_SQRTSS, ta_v(rn), ta_v(rn), 0);
        set_fp(t, &s, rd, v);
        settle(t, &s, saved);
        return true;
    case 5: /* single to double: exact, NaNs as the host makes them */
        if (dbl || t->mode & M_FPSLOW) {
            return false;
        }
        s.dbl = true;
        set_fp(t, &s, rd, ir_vop(t->b, IRVOP_CVTSS2SD, ta_v(rn), ta_v(rn), 0));
        return true;
    case 4:
        if (!dbl || t->mode & M_FPSLOW) {
            return false;
        }
        s.dbl = false;
        s.tiny = true;
        saved = keep(t, rd, rn, 32, 32);
        set_fp(t, &s, rd, ir_vop(t->b, IRVOP_CVTSD2SS, ta_v(rn), ta_v(rn), 0));
        settle(t, &s, saved);
        return true;
    default:
        return false;
    }
}

static bool fp_int(Tr *t, bool dbl)
{
    unsigned key = ta_bits(t, 20, 16), rd = ta_rd(t), rn = ta_rn(t), ok;
    bool sf = ta_bit(t, 31);
    IrVal v;

    switch (key) {
    case 6: /* FMOV to general */
        ta_set_x(t, sf, rd, ir_vtoi(t->b, ta_ty(sf), IRVOP_MOVD_TOI, ta_v(rn), 0));
        return true;
    case 7:
        v = ta_x(t, rn);
        ta_set_v(t, rd, ir_vfromi(t->b, ta_ty(sf), IRVOP_MOVD_FROMI, 0, v, 0));
        return true;
    case 2: /* SCVTF */
    case 3: /* UCVTF */
        v = ta_x(t, rn);
        if (key == 3) {
            if (sf) {
                return false;
            }
            v = ir_ext32u(t->b, v);
        }
        v = ir_vfromi(t->b, key == 3 ? IR_I64 : ta_ty(sf), dbl ? IRVOP_CVTSI2SD : IRVOP_CVTSI2SS,
                      vconst64(t, 0, false), v, 0);
        ta_set_v(t, rd, v);
        return true;
    case 24: /* FCVTZS */
        if (t->mode & M_FPSLOW || rd == 31) {
            return false;
        }
        ta_pack_flags(t);
        ok = ir_label(t->b);
        v = ir_vtoi(t->b, ta_ty(sf), dbl ? IRVOP_CVTTSD2SI : IRVOP_CVTTSS2SI, ta_v(rn), 0);
        ta_set_x(t, sf, rd, v);
        ir_brcond(t->b, ta_ty(sf), IRC_NE, v, ta_imm(t, sf, sf ? 1ull << 63 : 1u << 31), ok);
        ir_call2(t->b, &a64_hd_simd_redo, ta_i64(t, t->insn), ta_i64(t, 0));
        ir_place(t->b, ok);
        return true;
    default:
        return false;
    }
}

static bool fcsel(Tr *t, bool dbl)
{
    unsigned cond = ta_bits(t, 15, 12);
    IrType ty = ta_ty(dbl);
    IrVal n, m;
    IrFlagCond cc;

    if (cond >= 14) {
        return false;
    }
    cc = ta_cond(t, cond);
    n = ir_vtoi(t->b, ty, IRVOP_MOVD_TOI, ta_v(ta_rn(t)), 0);
    m = ir_vtoi(t->b, ty, IRVOP_MOVD_TOI, ta_v(ta_rm(t)), 0);
    n = ir_movflag(t->b, ty, cc, &t->flags, n, m);
    ta_set_v(t, ta_rd(t), ir_vfromi(t->b, ty, IRVOP_MOVD_FROMI, 0, n, 0));
    return true;
}

static bool fp_scalar(Tr *t)
{
    bool dbl = ta_bit(t, 22), slow = t->mode & M_FPSLOW;
    Shape s = {.dbl = dbl, .scalar = true};

    if (ta_bit(t, 23)) {
        return false;
    }
    if (ta_bit(t, 24)) { /* three sources */
        static const uint8_t kinds[] = {0, IRFMA_NEG_PRODUCT, IRFMA_NEG_PRODUCT | IRFMA_NEG_ADDEND,
                                        IRFMA_NEG_ADDEND};

        if (slow || !jit_host_has(IRVF_FMA)) {
            return false;
        }
        fmla(t, s, kinds[ta_bit(t, 21) << 1 | ta_bit(t, 15)], ta_rn(t), ta_v(ta_rm(t)), ta_rm(t),
             ta_ra(t));
        return true;
    }
    if (!ta_bit(t, 21)) {
        return false;
    }
    if (!ta_bits(t, 15, 10)) {
        return fp_int(t, dbl);
    }
    if (ta_bits(t, 14, 10) == 16) {
        return fp_one(t, dbl);
    }
    if (ta_bits(t, 13, 10) == 8) {
        if (slow) {
            return false;
        }
        fcmp(t, dbl, ta_bit(t, 4), ta_v(ta_rn(t)),
             ta_bit(t, 3) ? vconst64(t, 0, false) : ta_v(ta_rm(t)));
        return true;
    }
    if (ta_bits(t, 12, 10) == 4) {
        ta_set_v(t, ta_rd(t), vconst64(t, a64_fp_imm(ta_bits(t, 20, 13), dbl ? 64 : 32), false));
        return true;
    }
    switch (ta_bits(t, 11, 10)) {
    case 2:
        if (slow || ta_bits(t, 15, 12) > 3) {
            return false;
        }
        arith(t, ta_bits(t, 15, 12), s);
        return true;
    case 3:
        return fcsel(t, dbl);
    default:
        return false;
    }
}

/* ---- vectors ---- */

static void set_q(Tr *t, IrVal v)
{
    ta_set_v(t, ta_rd(t), ta_bit(t, 30) ? v : ir_vop(t->b, IRVOP_MOVQ, 0, v, 0));
}

static bool fp_three(Tr *t, unsigned op)
{
    Shape s = {.dbl = ta_bit(t, 22), .q = ta_bit(t, 30)};
    unsigned key = (ta_bit(t, 29) << 1 | ta_bit(t, 23)) << 5 | op;

    if (t->mode & M_FPSLOW) {
        return false;
    }
    switch (key) {
    case 0x1a:
        arith(t, 2, s);
        return true;
    case 0x3a:
        arith(t, 3, s);
        return true;
    case 0x5b:
        arith(t, 0, s);
        return true;
    case 0x5f:
        if (!s.q) {
            return false;
        }
        arith(t, 1, s);
        return true;
    case 0x19:
    case 0x39:
        if (!jit_host_has(IRVF_FMA)) {
            return false;
        }
        fmla(t, s, key == 0x39 ? IRFMA_NEG_PRODUCT : 0, ta_rn(t), operand(t, &s, ta_rm(t)),
             ta_rm(t), ta_rd(t));
        return true;
    default:
        return false;
    }
}

static bool logic(Tr *t)
{
    IrVal n = ta_v(ta_rn(t)), m = ta_v(ta_rm(t)), d = ta_v(ta_rd(t)), r;
    IrBlock *b = t->b;

    switch (ta_bit(t, 29) << 2 | ta_bits(t, 23, 22)) {
    case 0:
        r = ir_vop(b, IRVOP_PAND, n, m, 0);
        break;
    case 1:
        r = ir_vop(b, IRVOP_PANDN, m, n, 0);
        break;
    case 2:
        r = ta_rn(t) == ta_rm(t) ? n : ir_vop(b, IRVOP_POR, n, m, 0);
        break;
    case 3:
        r = ir_vop(b, IRVOP_PXOR, m, vconst32(t, ~0u), 0);
        r = ir_vop(b, IRVOP_POR, r, n, 0);
        break;
    case 4:
        r = ir_vop(b, IRVOP_PXOR, n, m, 0);
        break;
    case 5: /* BSL */
        r = ir_vop(b, IRVOP_PXOR, n, m, 0);
        r = ir_vop(b, IRVOP_PXOR, ir_vop(b, IRVOP_PAND, r, d, 0), m, 0);
        break;
    case 6: /* BIT */
        r = ir_vop(b, IRVOP_PXOR, d, n, 0);
        r = ir_vop(b, IRVOP_PXOR, ir_vop(b, IRVOP_PAND, r, m, 0), d, 0);
        break;
    default: /* BIF */
        r = ir_vop(b, IRVOP_PXOR, d, n, 0);
        r = ir_vop(b, IRVOP_PXOR, ir_vop(b, IRVOP_PANDN, m, r, 0), d, 0);
    }
    set_q(t, r);
    return true;
}

static const uint16_t vop_add[] = {IRVOP_PADDB, IRVOP_PADDW, IRVOP_PADDD, IRVOP_PADDQ};
static const uint16_t vop_sub[] = {IRVOP_PSUBB, IRVOP_PSUBW, IRVOP_PSUBD, IRVOP_PSUBQ};

/* Lanes of @size from the low or high half, twice as wide. */
static IrVal widen(Tr *t, IrVal v, unsigned size, bool u, bool high)
{
    static const uint16_t zx[] = {IRVOP_PMOVZXBW, IRVOP_PMOVZXWD, IRVOP_PMOVZXDQ};
    static const uint16_t sx[] = {IRVOP_PMOVSXBW, IRVOP_PMOVSXWD, IRVOP_PMOVSXDQ};

    if (high) {
        v = ir_vop(t->b, IRVOP_PSHUFD, 0, v, 0xee);
    }
    return ir_vop(t->b, u ? zx[size] : sx[size], 0, v, 0);
}

/* Sums, differences and products of lanes that become twice as wide. */
static bool three_diff(Tr *t)
{
    unsigned op = ta_bits(t, 15, 12), size = ta_bits(t, 23, 22);
    bool u = ta_bit(t, 29), high = ta_bit(t, 30);
    IrVal n, m, r, d = ta_v(ta_rd(t));

    if (size == 3 || !(0x150f >> op & 1)) {
        return false;
    }
    m = widen(t, ta_v(ta_rm(t)), size, u, high);
    n = op == 1 || op == 3 ? ta_v(ta_rn(t)) : widen(t, ta_v(ta_rn(t)), size, u, high);
    switch (op) {
    case 0:
    case 1:
        r = ir_vop(t->b, vop_add[size + 1], n, m, 0);
        break;
    case 2:
    case 3:
        r = ir_vop(t->b, vop_sub[size + 1], n, m, 0);
        break;
    default:
        r = ir_vop(t->b,
                   size == 0   ? IRVOP_PMULLW
                   : size == 1 ? IRVOP_PMULLD
                   : u         ? IRVOP_PMULUDQ
                               : IRVOP_PMULDQ,
                   n, m, 0);
        if (op != 12) {
            r = ir_vop(t->b, op == 8 ? vop_add[size + 1] : vop_sub[size + 1], d, r, 0);
        }
    }
    ta_set_v(t, ta_rd(t), r);
    return true;
}

/* The low halves of wide lanes into the low or high half of V[rd]. */
static void narrow(Tr *t, IrVal v, unsigned size)
{
    static const uint64_t pick[] = {0x0e0c0a0806040200ull, 0x0d0c090805040100ull};

    if (size == 2) {
        v = ir_vop(t->b, IRVOP_PSHUFD, 0, v, 0x08);
    } else {
        v = ir_vop(t->b, IRVOP_PSHUFB, v, vconst64(t, pick[size], true), 0);
    }
    if (ta_bit(t, 30)) {
        ta_set_v(t, ta_rd(t), ir_vop(t->b, IRVOP_PUNPCKLQDQ, ta_v(ta_rd(t)), v, 0));
    } else {
        ta_set_v(t, ta_rd(t), ir_vop(t->b, IRVOP_MOVQ, 0, v, 0));
    }
}

/* SADDLP, UADDLP and with accumulation */
static bool add_pairs(Tr *t, unsigned size, bool u, bool acc)
{
    IrVal n = ta_v(ta_rn(t)), r;

    if (size == 0) {
        IrVal one = vconst32(t, 0x01010101);

        r = u ? ir_vop(t->b, IRVOP_PMADDUBSW, n, one, 0) : ir_vop(t->b, IRVOP_PMADDUBSW, one, n, 0);
    } else if (size == 1 && !u) {
        r = ir_vop(t->b, IRVOP_PMADDWD, n, vconst32(t, 0x00010001), 0);
    } else {
        return false;
    }
    set_q(t, acc ? ir_vop(t->b, vop_add[size + 1], ta_v(ta_rd(t)), r, 0) : r);
    return true;
}

static bool two_misc(Tr *t)
{
    static const uint16_t eq[] = {IRVOP_PCMPEQB, IRVOP_PCMPEQW, IRVOP_PCMPEQD, IRVOP_PCMPEQQ};
    static const uint16_t gt[] = {IRVOP_PCMPGTB, IRVOP_PCMPGTW, IRVOP_PCMPGTD, IRVOP_PCMPGTQ};
    static const uint16_t abs[] = {IRVOP_PABSB, IRVOP_PABSW, IRVOP_PABSD};
    unsigned op = ta_bits(t, 16, 12), size = ta_bits(t, 23, 22);
    IrVal n = ta_v(ta_rn(t)), zero;
    bool u = ta_bit(t, 29);

    switch (u << 5 | op) {
    case 0x02:
    case 0x22:
    case 0x06:
    case 0x26:
        return add_pairs(t, size, u, op == 6);
    case 0x25:
        if (size) {
            return false;
        }
        set_q(t, ir_vop(t->b, IRVOP_PXOR, n, vconst32(t, ~0u), 0));
        return true;
    case 0x08:
        set_q(t, ir_vop(t->b, gt[size], n, vconst64(t, 0, false), 0));
        return true;
    case 0x09:
        set_q(t, ir_vop(t->b, eq[size], n, vconst64(t, 0, false), 0));
        return true;
    case 0x0a:
        zero = vconst64(t, 0, false);
        set_q(t, ir_vop(t->b, gt[size], zero, n, 0));
        return true;
    case 0x0b:
        if (size == 3) {
            return false;
        }
        set_q(t, ir_vop(t->b, abs[size], 0, n, 0));
        return true;
    case 0x2b:
        zero = vconst64(t, 0, false);
        set_q(t, ir_vop(t->b, vop_sub[size], zero, n, 0));
        return true;
    case 0x12:
        narrow(t, n, size);
        return true;
    default:
        return false;
    }
}

/* Operations with a host instruction, by element size; 0: none. U, opcode. */
static unsigned int_vop(unsigned u, unsigned op, unsigned size, bool *swap)
{
    static const uint16_t add[] = {IRVOP_PADDB, IRVOP_PADDW, IRVOP_PADDD, IRVOP_PADDQ};
    static const uint16_t sub[] = {IRVOP_PSUBB, IRVOP_PSUBW, IRVOP_PSUBD, IRVOP_PSUBQ};
    static const uint16_t eq[] = {IRVOP_PCMPEQB, IRVOP_PCMPEQW, IRVOP_PCMPEQD, IRVOP_PCMPEQQ};
    static const uint16_t gt[] = {IRVOP_PCMPGTB, IRVOP_PCMPGTW, IRVOP_PCMPGTD, IRVOP_PCMPGTQ};
    static const uint16_t smax[] = {IRVOP_PMAXSB, IRVOP_PMAXSW, IRVOP_PMAXSD};
    static const uint16_t smin[] = {IRVOP_PMINSB, IRVOP_PMINSW, IRVOP_PMINSD};
    static const uint16_t umax[] = {IRVOP_PMAXUB, IRVOP_PMAXUW, IRVOP_PMAXUD};
    static const uint16_t umin[] = {IRVOP_PMINUB, IRVOP_PMINUW, IRVOP_PMINUD};

    *swap = false;
    switch (u << 5 | op) {
    case 0x10:
        return add[size];
    case 0x30:
        return sub[size];
    case 0x31:
        return eq[size];
    case 0x06:
        return gt[size];
    case 0x0c:
        return size < 3 ? smax[size] : IRVOP_COUNT;
    case 0x0d:
        return size < 3 ? smin[size] : IRVOP_COUNT;
    case 0x2c:
        return size < 3 ? umax[size] : IRVOP_COUNT;
    case 0x2d:
        return size < 3 ? umin[size] : IRVOP_COUNT;
    case 0x13:
        return size == 1 ? IRVOP_PMULLW : size == 2 ? IRVOP_PMULLD : IRVOP_COUNT;
    case 0x22: /* URHADD */
        return size == 0 ? IRVOP_PAVGB : size == 1 ? IRVOP_PAVGW : IRVOP_COUNT;
    default:
        return IRVOP_COUNT;
    }
}

static bool three_same(Tr *t)
{
    unsigned op = ta_bits(t, 15, 11), size = ta_bits(t, 23, 22), u = ta_bit(t, 29), vop;
    IrVal n = ta_v(ta_rn(t)), m = ta_v(ta_rm(t)), r;
    bool swap;

    if (op >= 0x18) {
        return fp_three(t, op);
    }
    if (op == 3) {
        return logic(t);
    }
    if (op == 0x12 && (size == 1 || size == 2)) { /* MLA, MLS */
        r = ir_vop(t->b, size == 1 ? IRVOP_PMULLW : IRVOP_PMULLD, n, m, 0);
        vop = size == 1 ? u ? IRVOP_PSUBW : IRVOP_PADDW : u ? IRVOP_PSUBD : IRVOP_PADDD;
        set_q(t, ir_vop(t->b, vop, ta_v(ta_rd(t)), r, 0));
        return true;
    }
    if ((op == 0x0e || op == 0x0f) && size < 3) { /* ABD, ABA */
        r = ir_vop(t->b, int_vop(u, 0x0c, size, &swap), n, m, 0);
        m = ir_vop(t->b, int_vop(u, 0x0d, size, &swap), n, m, 0);
        vop = size == 0 ? IRVOP_PSUBB : size == 1 ? IRVOP_PSUBW : IRVOP_PSUBD;
        r = ir_vop(t->b, vop, r, m, 0);
        if (op == 0x0f) {
            vop = size == 0 ? IRVOP_PADDB : size == 1 ? IRVOP_PADDW : IRVOP_PADDD;
            r = ir_vop(t->b, vop, ta_v(ta_rd(t)), r, 0);
        }
        set_q(t, r);
        return true;
    }
    if (op == 0x17 && !u && (size == 1 || size == 2) && ta_bit(t, 30)) { /* ADDP */
        set_q(t, ir_vop(t->b, size == 1 ? IRVOP_PHADDW : IRVOP_PHADDD, n, m, 0));
        return true;
    }
    vop = int_vop(u, op, size, &swap);
    if (vop == IRVOP_COUNT) {
        return false;
    }
    set_q(t, ir_vop(t->b, vop, n, m, 0));
    return true;
}

static bool modified_imm(Tr *t)
{
    unsigned cmode = ta_bits(t, 15, 12), imm8 = ta_bits(t, 18, 16) << 5 | ta_bits(t, 9, 5);
    bool op = ta_bit(t, 29), q = ta_bit(t, 30);
    uint64_t v = 0;
    IrVal d = ta_v(ta_rd(t));

    if (ta_bit(t, 11)) {
        return false;
    }
    switch (cmode >> 1) {
    case 0:
    case 1:
    case 2:
    case 3:
        v = (uint64_t)imm8 << (cmode >> 1) * 8;
        v |= v << 32;
        break;
    case 4:
    case 5:
        v = ((uint64_t)imm8 << (cmode >> 1 & 1) * 8) * 0x0001000100010001ull;
        break;
    case 6:
        v = cmode & 1 ? (uint64_t)imm8 << 16 | 0xffff : (uint64_t)imm8 << 8 | 0xff;
        v |= v << 32;
        break;
    default:
        if (cmode & 1) {
            v = op ? a64_fp_imm(imm8, 64) : a64_fp_imm(imm8, 32) * 0x100000001ull;
        } else if (!op) {
            v = imm8 * 0x0101010101010101ull;
        } else {
            for (unsigned i = 0; i < 8; i++) {
                v |= imm8 >> i & 1 ? 0xffull << i * 8 : 0;
            }
        }
    }
    if (cmode < 12 && cmode & 1) {
        IrVal k = vconst64(t, v, true);

        set_q(t, op ? ir_vop(t->b, IRVOP_PANDN, k, d, 0) : ir_vop(t->b, IRVOP_POR, d, k, 0));
        return true;
    }
    ta_set_v(t, ta_rd(t), vconst64(t, op && cmode < 14 ? ~v : v, q));
    return true;
}

static bool shift(Tr *t)
{
    unsigned imm = ta_bits(t, 22, 16), op = ta_bits(t, 15, 11), size = 31 - __builtin_clz(imm >> 3);
    unsigned width = 8u << size, left = imm - width, right = 2 * width - imm;
    static const uint16_t shl[] = {0, IRVOP_PSLLWI, IRVOP_PSLLDI, IRVOP_PSLLQI};
    static const uint16_t shr[] = {0, IRVOP_PSRLWI, IRVOP_PSRLDI, IRVOP_PSRLQI};
    static const uint16_t sar[] = {0, IRVOP_PSRAWI, IRVOP_PSRADI, 0};
    static const uint16_t zx[] = {IRVOP_PMOVZXBW, IRVOP_PMOVZXWD, IRVOP_PMOVZXDQ};
    static const uint16_t sx[] = {IRVOP_PMOVSXBW, IRVOP_PMOVSXWD, IRVOP_PMOVSXDQ};
    static const uint16_t add[] = {IRVOP_PADDB, IRVOP_PADDW, IRVOP_PADDD, IRVOP_PADDQ};
    bool u = ta_bit(t, 29);
    IrVal n = ta_v(ta_rn(t)), r;

    if (op == 0x14 && size < 3) { /* SSHLL, USHLL */
        if (ta_bit(t, 30)) {
            n = ir_vop(t->b, IRVOP_PSHUFD, 0, n, 0xee);
        }
        r = ir_vop(t->b, u ? zx[size] : sx[size], 0, n, 0);
        if (left) {
            r = ir_vop(t->b, shl[size + 1], r, 0, left);
        }
        ta_set_v(t, ta_rd(t), r);
        return true;
    }
    if (op == 0x10 && !u && size < 3) { /* SHRN */
        narrow(t, ir_vop(t->b, shr[size + 1], n, 0, right), size);
        return true;
    }
    if (size == 0) {
        return false;
    }
    if (op == 0x0a && !u) {
        set_q(t, ir_vop(t->b, shl[size], n, 0, left));
        return true;
    }
    if (op == 0 || op == 2) { /* SSHR, USHR, and with accumulation */
        if (!u && size == 3) {
            return false;
        }
        r = ir_vop(t->b, u ? shr[size] : sar[size], n, 0, right);
        set_q(t, op ? ir_vop(t->b, add[size], ta_v(ta_rd(t)), r, 0) : r);
        return true;
    }
    return false;
}

/* DUP, INS, UMOV */
static bool copy(Tr *t)
{
    unsigned imm5 = ta_bits(t, 20, 16), imm4 = ta_bits(t, 14, 11), size = __builtin_ctz(imm5 | 16);
    unsigned lane = imm5 >> (size + 1), rd = ta_rd(t);
    bool q = ta_bit(t, 30);
    IrVal v, x;

    if (ta_bit(t, 29)) {
        return false;
    }
    switch (imm4) {
    case 1: /* DUP (general) */
        x = ta_x(t, ta_rn(t));
        v = ir_vfromi(t->b, size == 3 ? IR_I64 : IR_I32, IRVOP_MOVD_FROMI, 0, x, 0);
        if (size == 0) {
            v = ir_vop(t->b, IRVOP_PSHUFB, v, vconst64(t, 0, false), 0);
        } else if (size == 1) {
            v = ir_vop(t->b, IRVOP_PSHUFD, 0, ir_vop(t->b, IRVOP_PSHUFLW, 0, v, 0), 0);
        } else if (size == 2) {
            v = ir_vop(t->b, IRVOP_PSHUFD, 0, v, 0);
        } else {
            v = ir_vop(t->b, IRVOP_PUNPCKLQDQ, v, v, 0);
        }
        set_q(t, v);
        return true;
    case 0: /* DUP (element) */
        if (size == 3) {
            v = ir_vop(t->b, IRVOP_PSHUFD, 0, ta_v(ta_rn(t)), lane ? 0xee : 0x44);
        } else if (size == 2) {
            v = ir_vop(t->b, IRVOP_PSHUFD, 0, ta_v(ta_rn(t)), lane * 0x55);
        } else {
            return false;
        }
        set_q(t, v);
        return true;
    case 3: /* INS (general) */
        x = ta_x(t, ta_rn(t));
        v = ir_vfromi(t->b, size == 3 ? IR_I64 : IR_I32,
                      size == 0   ? IRVOP_PINSRB
                      : size == 1 ? IRVOP_PINSRW
                                  : IRVOP_PINSRD,
                      ta_v(rd), x, lane);
        ta_set_v(t, rd, v);
        return true;
    case 7: /* UMOV */
        v = ir_vtoi(t->b, size == 3 ? IR_I64 : IR_I32,
                    size == 0   ? IRVOP_PEXTRB
                    : size == 1 ? IRVOP_PEXTRW
                                : IRVOP_PEXTRD,
                    ta_v(ta_rn(t)), lane);
        ta_set_x(t, size == 3, rd, v);
        return true;
    default:
        (void)q;
        return false;
    }
}

static bool zip(Tr *t)
{
    static const uint16_t lo[] = {IRVOP_PUNPCKLBW, IRVOP_PUNPCKLWD, IRVOP_PUNPCKLDQ,
                                  IRVOP_PUNPCKLQDQ};
    static const uint16_t hi[] = {IRVOP_PUNPCKHBW, IRVOP_PUNPCKHWD, IRVOP_PUNPCKHDQ,
                                  IRVOP_PUNPCKHQDQ};
    unsigned size = ta_bits(t, 23, 22), op = ta_bits(t, 14, 12);

    if ((op & 3) != 3 || !ta_bit(t, 30)) {
        return false;
    }
    ta_set_v(t, ta_rd(t),
             ir_vop(t->b, op & 4 ? hi[size] : lo[size], ta_v(ta_rn(t)), ta_v(ta_rm(t)), 0));
    return true;
}

static bool aes(Tr *t)
{
    unsigned op = ta_bits(t, 16, 12);
    IrVal n = ta_v(ta_rn(t)), d = ta_v(ta_rd(t)), zero = vconst64(t, 0, false), r;
    IrBlock *b = t->b;

    if (!jit_host_has(IRVF_AES)) {
        return false;
    }
    switch (op) {
    case 4:
        r = ir_vop(b, IRVOP_AESENCLAST, ir_vop(b, IRVOP_PXOR, d, n, 0), zero, 0);
        break;
    case 5:
        r = ir_vop(b, IRVOP_AESDECLAST, ir_vop(b, IRVOP_PXOR, d, n, 0), zero, 0);
        break;
    case 6: /* the last round backward, then a whole one: what remains is the columns' mixing */
        r = ir_vop(b, IRVOP_AESDECLAST, n, zero, 0);
        r = ir_vop(b, IRVOP_AESENC, r, zero, 0);
        break;
    case 7:
        r = ir_vop(b, IRVOP_AESIMC, 0, n, 0);
        break;
    default:
        return false;
    }
    ta_set_v(t, ta_rd(t), r);
    return true;
}

/* FMLA, FMLS, FMUL by element */
static bool fp_element(Tr *t)
{
    unsigned op = ta_bits(t, 15, 12), rm = ta_rm(t), index;
    Shape s = {.dbl = ta_bit(t, 22), .q = ta_bit(t, 30), .scalar = ta_bit(t, 28)};
    bool saved;
    IrVal e, r;

    if (!ta_bit(t, 23) || ta_bit(t, 29) || (op != 1 && op != 5 && op != 9) || t->mode & M_FPSLOW ||
        (!s.q && !s.scalar) || !jit_host_has(IRVF_FMA)) {
        return false;
    }
    index = s.dbl ? ta_bit(t, 11) : ta_bit(t, 11) << 1 | ta_bit(t, 21);
    e = ir_vop(t->b, IRVOP_PSHUFD, 0, ta_v(rm), s.dbl ? index ? 0xee : 0x44 : index * 0x55);
    if (op != 9) {
        fmla(t, s, op == 5 ? IRFMA_NEG_PRODUCT : 0, ta_rn(t), e, rm, ta_rd(t));
        return true;
    }
    saved = keep(t, ta_rd(t), ta_rn(t), rm, 32);
    r = ir_vop(t->b, arith_vop(0, &s), ta_v(ta_rn(t)), e, 0);
    s.tiny = true;
    set_fp(t, &s, ta_rd(t), r);
    settle(t, &s, saved);
    return true;
}

bool ta_simd(Tr *t)
{
    uint32_t i = t->insn;

    if (!host_ok()) {
        return false;
    }
    if ((i & 0x5e000000) == 0x1e000000) {
        return fp_scalar(t);
    }
    if ((i & 0xfffe0c00) == 0x4e280800) {
        return aes(t);
    }
    if ((i & 0x8f000400) == 0x0f000000) {
        return fp_element(t);
    }
    if ((i & 0x9f200c00) == 0x0e200000) {
        return three_diff(t);
    }
    if ((i & 0x9f3e0c00) == 0x0e200800) {
        return two_misc(t);
    }
    if ((i & 0x9f200400) == 0x0e200400) {
        return three_same(t);
    }
    if ((i & 0x9f800400) == 0x0f000400) {
        return i >> 19 & 15 ? shift(t) : modified_imm(t);
    }
    if ((i & 0x9fe08400) == 0x0e000400) {
        return copy(t);
    }
    if ((i & 0xbf208c00) == 0x0e000800) {
        return zip(t);
    }
    return false;
}
