/*
 * x86-64 code generation: integer operations, branches, calls, exits; the driver.
 */
#include "accel/jit/host/x86_64/gen.h"
#include <cpuid.h>
#include <string.h>

static const uint8_t pin_regs[G_PINS] = {RBX, RBP, RSI, RDI, R8, R9, R12, R13};

void jit_host_pins(const JitTarget *t, const JitOpts *o, bool *pinned)
{
    memset(pinned, 0, t->n_globals);
    for (unsigned n = 0; o->pin && n < G_PINS; n++) {
        int best = -1;

        for (unsigned i = 0; i < t->n_globals; i++) {
            const JitGlobal *gl = &t->globals[i];

            if (!pinned[i] && gl->type == IR_I64 && gl->heat > 0 &&
                (best < 0 || gl->heat > t->globals[best].heat)) {
                best = i;
            }
        }
        if (best < 0) {
            break;
        }
        pinned[best] = true;
    }
}

JitGen *jit_gen_new(JitCpu *j)
{
    JitGen *g = g_new0(JitGen, 1);
    unsigned eax, ebx, ecx, edx;

    g->j = j;
    g->t = j->t;
    jit_host_pins(j->t, j->o, g->pinned);
    for (unsigned i = 0; i < j->t->n_globals; i++) {
        if (g->pinned[i]) {
            g->pin_reg[i] = pin_regs[g->n_pins];
            g->pin_global[g->n_pins++] = i;
        }
    }
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
        g->has_popcnt = ecx & bit_POPCNT;
    }
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        g->has_bmi1 = ebx & bit_BMI;
        g->has_bmi2 = ebx & bit_BMI2;
    }
    if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx)) {
        g->has_lzcnt = ecx & bit_LZCNT;
    }
    return g;
}

void jit_gen_free(JitGen *g)
{
    g_free(g);
}

void emit_mov_rr(JitGen *g, bool wide, int dst, int src)
{
    if (dst != src || !wide) {
        x_mov_rr(&g->a, wide, dst, src);
    }
}

/* dst op= operand */
static void alu_opd(JitGen *g, unsigned op, unsigned size, int dst, Opd o)
{
    if (o.mem) {
        x_alu_rm(&g->a, op, size, dst, o.reg, o.disp);
    } else {
        x_alu_rr(&g->a, op, size, dst, o.reg);
    }
}

static void move_to(JitGen *g, bool wide, int dst, Opd o)
{
    if (o.mem) {
        x_load(&g->a, wide, dst, o.reg, o.disp);
    } else if (o.reg != dst) {
        x_mov_rr(&g->a, wide, dst, o.reg);
    }
}

/* A plain copy of a value, or a lazy sum that an ADD can extend. */
static bool as_sum(JitGen *g, IrVal v, IrVal *base, IrVal *index, unsigned *scale, int64_t *disp)
{
    IrVal r = ra_root(g, v);
    Val *x = &g->v[r];

    *base = *index = 0;
    *scale = 0;
    *disp = 0;
    if (x->kind == IRV_CONST) {
        *disp = (int64_t)x->imm;
        return *disp == (int32_t)*disp;
    }
    if (x->lazy) {
        *base = x->base;
        *index = x->index;
        *scale = x->scale;
        *disp = x->disp;
    } else {
        *base = r;
    }
    return true;
}

/* d = a ± b without code, when the sum fits a host address. */
static bool lazy_add(JitGen *g, const IrInsn *in, bool sub)
{
    IrVal b1, i1, b2, i2, base, index;
    unsigned s1, s2, scale = 0;
    int64_t d1, d2;
    bool flags = g->live.flag_result[in->d];

    if (g->hint || !g->j->o->fold || g->v[in->d].kind < IRV_TEMP) {
        return false;
    }
    if (!as_sum(g, in->a, &b1, &i1, &s1, &d1) || !as_sum(g, in->b, &b2, &i2, &s2, &d2)) {
        return false;
    }
    if (b2 == 0 && i2 == 0) { /* a constant */
        d1 += sub ? -d2 : d2;
        if (flags && i1) {
            return false;
        }
        if (!ra_lazy(g, in->d, b1, i1, s1, d1, false)) {
            return false;
        }
        g->v[in->d].def = in - g->b->insns;
        return true;
    }
    if (sub || flags) {
        return false;
    }
    if (b1 && !i1 && b2 && !i2) { /* base + base */
        base = b1;
        index = b2;
    } else if (b1 && !i1 && !b2) { /* base + scaled */
        base = b1;
        index = i2;
        scale = s2;
    } else if (b2 && !i2 && !b1) {
        base = b2;
        index = i1;
        scale = s1;
    } else {
        return false;
    }
    if (!ra_lazy(g, in->d, base, index, scale, d1 + d2, false)) {
        return false;
    }
    g->v[in->d].def = in - g->b->insns;
    return true;
}

/* The result is in @dst; the host flags keep meaning what they did. */
static void done_zext(JitGen *g, const IrInsn *in, int dst, bool zext)
{
    bool valid = g->hf.valid;

    if (!valid) {
        hf_hold(g);
        g->hf.kind = 0xff;
    }
    ra_done(g, in->d, dst, zext);
    if (!valid) {
        hf_clobber(g);
    }
}

static void done(JitGen *g, const IrInsn *in, int dst)
{
    done_zext(g, in, dst, in->type == IR_I32);
}

static void done_flags(JitGen *g, const IrInsn *in, int dst, IrFlagKind kind, HfOps o, bool set)
{
    hf_hold(g);
    ra_done(g, in->d, dst, in->type == IR_I32);
    if (set) {
        hf_set(g, kind, in->type == IR_I32 ? 4 : 8, o, in->d, JIT_FLAGS_ALL);
    } else {
        hf_clobber(g);
    }
}

static void emit_add(JitGen *g, const IrInsn *in)
{
    bool wide = in->type == IR_I64, sub = in->op == IR_SUB;
    unsigned size = wide ? 8 : 4;
    IrVal a = in->a, b = in->b, target;
    HfOps o = hf_ops(g, a, b);
    int32_t k = 0;
    bool imm, flags = g->live.flag_result[in->d] || sub;
    Opd ob = {0};
    int dst, ra;

    if (lazy_add(g, in, sub)) {
        return;
    }
    imm = ra_imm32(g, b, size, &k);
    target = ra_target(g, in->d);
    if (!imm && !sub && target && ra_root(g, b) == target && ra_root(g, a) != target) {
        IrVal swap = a;

        a = b;
        b = swap;
    }
    if (!imm) {
        ob = ra_opd(g, b, size);
    }
    if (target) {
        bool in_place = ra_root(g, a) == target;

        ra = in_place ? g->v[target].reg : -1;
        Opd oa = {0};

        if (!in_place) {
            oa = ra_opd(g, a, size);
        }
        if (in_place && imm) {
            ra_before_add(g, target, sub ? -(int64_t)k : k, wide);
        } else if (in_place && sub) {
            ra_before_sub(g, target, b, wide);
        }
        if (in_place && (imm || sub)) {
            dst = g->v[target].reg; /* dependents were adjusted to the value to come */
        } else {
            dst = ra_dst(g, in->d, 0);
        }
        if (in_place) {
            if (imm) {
                x_alu_ri(&g->a, sub ? ALU_SUB : ALU_ADD, size, dst, k);
            } else {
                alu_opd(g, sub ? ALU_SUB : ALU_ADD, size, dst, ob);
            }
        } else if (!sub && !oa.mem && !ob.mem && !flags && g->j->o->fold) {
            if (imm) {
                x_lea(&g->a, wide, dst, oa.reg, -1, 0, k);
            } else {
                x_lea(&g->a, wide, dst, oa.reg, ob.reg, 0, 0);
            }
            done(g, in, dst);
            return;
        } else if (!imm && !ob.mem && ob.reg == dst) {
            /* dst = a - dst */
            move_to(g, wide, RCX, oa);
            x_alu_rr(&g->a, ALU_SUB, size, RCX, dst);
            x_mov_rr(&g->a, wide, dst, RCX);
        } else {
            move_to(g, wide, dst, oa);
            if (imm) {
                x_alu_ri(&g->a, sub ? ALU_SUB : ALU_ADD, size, dst, k);
            } else {
                alu_opd(g, sub ? ALU_SUB : ALU_ADD, size, dst, ob);
            }
        }
        done_flags(g, in, dst, sub ? IRF_SUB : IRF_ADD, o, true);
        return;
    }
    ra = ra_reg(g, a);
    dst = ra_dst(g, in->d, ra_root(g, a));
    if (dst != ra && !flags && !sub && !ob.mem) {
        if (imm) {
            x_lea(&g->a, wide, dst, ra, -1, 0, k);
        } else {
            x_lea(&g->a, wide, dst, ra, ob.reg, 0, 0);
        }
        done(g, in, dst);
        return;
    }
    if (dst != ra) {
        x_mov_rr(&g->a, wide, dst, ra);
    }
    if (imm) {
        x_alu_ri(&g->a, sub ? ALU_SUB : ALU_ADD, size, dst, k);
    } else {
        alu_opd(g, sub ? ALU_SUB : ALU_ADD, size, dst, ob);
    }
    done_flags(g, in, dst, sub ? IRF_SUB : IRF_ADD, o, true);
}

/* AND OR XOR */
static void emit_logic(JitGen *g, const IrInsn *in, unsigned op)
{
    bool wide = in->type == IR_I64;
    unsigned size = wide ? 8 : 4;
    IrVal a = in->a, b = in->b, target = ra_target(g, in->d);
    HfOps o = hf_ops(g, a, b);
    int32_t k = 0;
    bool imm = ra_imm32(g, b, size, &k), flags = g->live.flag_result[in->d];
    Opd oa, ob = {0};
    int dst;

    if (!imm && ((target && ra_root(g, b) == target) ||
                 (!target && !ra_dying(g, ra_root(g, a)) && ra_dying(g, ra_root(g, b))))) {
        IrVal swap = a;

        a = b;
        b = swap;
    }
    if (op == ALU_AND && wide && imm && k >= 0) {
        size = 4; /* the upper half becomes 0 anyway */
    }
    if (op == ALU_AND && imm && !flags && (k == 0xff || k == 0xffff)) {
        oa = ra_opd(g, a, 2);
        dst = ra_dst(g, in->d, ra_root(g, a));
        if (oa.mem) {
            x_rm(&g->a, X0F | (k == 0xff ? 0xb6 : 0xb7), dst, oa.reg, oa.disp);
        } else {
            x_rr(&g->a, X0F | (k == 0xff ? 0xb6 | XB : 0xb7), dst, oa.reg);
        }
        done_zext(g, in, dst, true);
        return;
    }
    if (!imm) {
        ob = ra_opd(g, b, size);
    }
    oa = ra_opd(g, a, size);
    dst = ra_dst(g, in->d, ra_root(g, a));
    if (!imm && !ob.mem && ob.reg == dst && (oa.mem || oa.reg != dst)) {
        alu_opd(g, op, size, dst, oa); /* commutative */
    } else {
        move_to(g, size == 8, dst, oa);
        if (imm) {
            x_alu_ri(&g->a, op, size, dst, k);
        } else {
            alu_opd(g, op, size, dst, ob);
        }
    }
    hf_hold(g);
    ra_done(g, in->d, dst, size == 4);
    if (size == (wide ? 8 : 4)) {
        hf_set(g, IRF_LOGIC, size, o, in->d, JIT_FLAGS_ALL);
    } else {
        /* a 32-bit AND for a 64-bit one: the sign is 0 in both only if bit 31 of k is 0 */
        hf_set(g, IRF_LOGIC, 8, o, in->d, JIT_FLAGS_ALL);
    }
}

static void emit_andn(JitGen *g, const IrInsn *in)
{
    bool wide = in->type == IR_I64;
    unsigned size = wide ? 8 : 4;
    Opd oa, ob;
    int dst;

    oa = ra_opd(g, in->a, size);
    ob = ra_opd(g, in->b, size);
    dst = ra_dst(g, in->d, 0);
    move_to(g, wide, RCX, ob);
    x_rr(&g->a, 0xf7 | x_size(size), 2, RCX);
    alu_opd(g, ALU_AND, size, RCX, oa);
    x_mov_rr(&g->a, wide, dst, RCX);
    done_flags(g, in, dst, IRF_LOGIC, (HfOps){0}, true);
}

/* One-operand operations whose result depends on a alone: a moved to dst, then changed. */
static int move_in(JitGen *g, const IrInsn *in)
{
    bool wide = in->type == IR_I64;
    Opd o = ra_opd(g, in->a, wide ? 8 : 4);
    int dst = ra_dst(g, in->d, ra_root(g, in->a));

    move_to(g, wide, dst, o);
    return dst;
}

static void emit_mul(JitGen *g, const IrInsn *in)
{
    bool wide = in->type == IR_I64;
    unsigned size = wide ? 8 : 4;
    int32_t k;
    Opd oa, ob;
    int dst;

    if (ra_imm32(g, in->b, size, &k)) {
        bool small = k >= -128 && k < 128;
        uint32_t opc = (small ? 0x6b : 0x69) | x_size(size);

        oa = ra_opd(g, in->a, size);
        dst = ra_dst(g, in->d, ra_root(g, in->a));
        if (oa.mem) {
            x_rm(&g->a, opc, dst, oa.reg, oa.disp);
        } else {
            x_rr(&g->a, opc, dst, oa.reg);
        }
        if (small) {
            a8(&g->a, k);
        } else {
            a32(&g->a, k);
        }
    } else {
        IrVal a = in->a, b = in->b, target = ra_target(g, in->d);

        if (target && ra_root(g, b) == target) {
            a = in->b;
            b = in->a;
        }
        ob = ra_opd(g, b, size);
        oa = ra_opd(g, a, size);
        dst = ra_dst(g, in->d, ra_root(g, a));
        if (!ob.mem && ob.reg == dst && (oa.mem || oa.reg != dst)) {
            Opd swap = oa;

            oa = ob;
            ob = swap;
        }
        move_to(g, wide, dst, oa);
        if (ob.mem) {
            x_rm(&g->a, X0F | 0xaf | x_size(size), dst, ob.reg, ob.disp);
        } else {
            x_rr(&g->a, X0F | 0xaf | x_size(size), dst, ob.reg);
        }
    }
    hf_clobber(g);
    done(g, in, dst);
}

/* Full products: mul/imul with rax and rdx. */
static void emit_mul2(JitGen *g, const IrInsn *in)
{
    bool wide = in->type == IR_I64;
    unsigned size = wide ? 8 : 4;
    Opd ob;
    int hi = -1, lo = RAX;

    g->hint = 0;
    ra_take(g, RAX);
    ob = ra_opd(g, in->b, size);
    ra_load_to(g, RAX, in->a, wide);
    if (in->d2 && (g->v[in->d2].kind == IRV_GLOBAL || g->v[in->d2].last_use > g->pos)) {
        hi = ra_dst(g, in->d2, 0);
    }
    if (in->d && g->v[in->d].pinned) {
        lo = ra_dst(g, in->d, 0);
    }
    if (ob.mem) {
        x_rm(&g->a, 0xf7 | x_size(size), in->op == IR_MULS2 ? 5 : 4, ob.reg, ob.disp);
    } else {
        x_rr(&g->a, 0xf7 | x_size(size), in->op == IR_MULS2 ? 5 : 4, ob.reg);
    }
    hf_clobber(g);
    if (lo != RAX) {
        x_mov_rr(&g->a, wide, lo, RAX);
    }
    if (hi >= 0) {
        x_mov_rr(&g->a, wide, hi, RDX);
    }
    if (in->d) {
        ra_done(g, in->d, lo, !wide);
    }
    if (hi >= 0) {
        ra_done(g, in->d2, hi, !wide);
    }
}

static void emit_shift(JitGen *g, const IrInsn *in)
{
    static const uint8_t ops[] = {[IR_SHL - IR_SHL] = 4,
                                  [IR_SHR - IR_SHL] = 5,
                                  [IR_SAR - IR_SHL] = 7,
                                  [IR_ROL - IR_SHL] = 0,
                                  [IR_ROR - IR_SHL] = 1};
    bool wide = in->type == IR_I64;
    unsigned size = wide ? 8 : 4, op = ops[in->op - IR_SHL];
    uint64_t k;
    int dst;

    if (ra_const(g, in->b, &k)) {
        k &= wide ? 63 : 31;
        if (in->op == IR_SHL && wide && k >= 1 && k <= 3 && !g->hint && g->j->o->fold &&
            !g->live.flag_result[in->d] && g->v[in->d].kind >= IRV_TEMP) {
            IrVal r = ra_root(g, in->a);

            if (!g->v[r].lazy && g->v[r].kind != IRV_CONST &&
                ra_lazy(g, in->d, 0, r, k, 0, false)) {
                g->v[in->d].def = in - g->b->insns;
                return;
            }
        }
        dst = move_in(g, in);
        if (k == 0) {
            if (!wide) {
                x_mov_rr(&g->a, false, dst, dst);
            }
            done(g, in, dst);
            return;
        }
        x_shift_i(&g->a, op, size, dst, k);
    } else if (g->has_bmi2 && op >= 4) {
        Opd oa, ob;
        int rb;

        ob = (Opd){.reg = ra_reg(g, in->b)};
        rb = ob.reg;
        oa = ra_opd(g, in->a, size);
        dst = ra_dst(g, in->d, ra_root(g, in->a));
        /* VEX.LZ.pp.0F38.W F7: shlx 66, sarx F3, shrx F2 */
        unsigned pp = op == 4 ? 1 : op == 7 ? 2 : 3;

        a8(&g->a, 0xc4);
        a8(&g->a, (dst < 8 ? 0x80 : 0) | 0x40 | (oa.reg < 8 ? 0x20 : 0) | 2);
        a8(&g->a, (wide ? 0x80 : 0) | (~rb & 15) << 3 | pp);
        a8(&g->a, 0xf7);
        if (oa.mem) {
            a8(&g->a, 0x80 | (dst & 7) << 3 | (oa.reg & 7));
            if ((oa.reg & 7) == 4) {
                a8(&g->a, 0x24);
            }
            a32(&g->a, oa.disp);
        } else {
            a8(&g->a, 0xc0 | (dst & 7) << 3 | (oa.reg & 7));
        }
        done(g, in, dst);
        return;
    } else {
        Opd oa = ra_opd(g, in->a, size), ob = ra_opd(g, in->b, 4);

        dst = ra_dst(g, in->d, ra_root(g, in->a));
        move_to(g, false, RCX, ob);
        move_to(g, wide, dst, oa);
        x_shift_cl(&g->a, op, wide, dst);
    }
    hf_clobber(g);
    hf_hold(g);
    ra_done(g, in->d, dst, !wide);
    hf_clobber(g);
    if (op >= 4 && ra_const(g, in->b, &k)) {
        /* Z, N, P are those of the result. */
        hf_set(g, IRF_VALUE, size, (HfOps){0}, in->d, IRF_Z | IRF_N | IRF_P);
        g->hf.kind = IRF_MUL; /* matches by result only */
        g->hf.a = 0;
    }
}

static void emit_ext(JitGen *g, const IrInsn *in)
{
    IrVal r = ra_root(g, in->a);
    uint32_t opc;
    unsigned from;
    Opd o;
    int dst;

    switch (in->op) {
    case IR_EXT32U:
        if (g->v[in->d].kind == IRV_GLOBAL &&
            (g->v[in->a].zext || (g->v[r].zext && !g->v[r].lazy))) {
            ra_mov(g, IR_I64, in->d, in->a);
            return;
        }
        if (g->v[in->a].zext || (g->v[r].zext && !g->v[r].lazy)) {
            /* Nothing to do: a copy. */
            uint32_t vn = g->v[in->a].vn;

            if (g->v[r].lazy ? ra_lazy(g, in->d, g->v[r].base, g->v[r].index, g->v[r].scale,
                                       g->v[r].disp, true)
                             : ra_lazy(g, in->d, r, 0, 0, 0, true)) {
                g->v[in->d].vn = vn;
                return;
            }
        }
        opc = 0x8b;
        from = 4;
        break;
    case IR_EXT32S:
        opc = 0x63 | XW;
        from = 4;
        break;
    case IR_EXT8U:
        opc = X0F | 0xb6 | XB;
        from = 1;
        break;
    case IR_EXT8S:
        opc = X0F | 0xbe | XB;
        from = 1;
        break;
    case IR_EXT16U:
        opc = X0F | 0xb7;
        from = 2;
        break;
    default:
        opc = X0F | 0xbf;
        from = 2;
        break;
    }
    if ((in->op == IR_EXT8S || in->op == IR_EXT16S) && in->type == IR_I64) {
        opc |= XW;
    }
    if (in->op == IR_EXT32U && g->v[r].lazy && g->v[r].base) {
        /* lea r32 */
        Val *x = &g->v[r];
        int b = ra_reg(g, x->base), i = x->index ? ra_reg(g, x->index) : -1;
        int32_t disp = x->disp;
        unsigned scale = x->scale;

        dst = ra_dst(g, in->d, 0);
        x_lea(&g->a, false, dst, b, i, scale, disp);
    } else {
        o = ra_opd(g, in->a, from);
        dst = ra_dst(g, in->d, r);
        if (o.mem) {
            x_rm(&g->a, opc, dst, o.reg, o.disp);
        } else {
            x_rr(&g->a, opc, dst, o.reg);
        }
    }
    done_zext(g, in, dst,
              in->type == IR_I32 || in->op == IR_EXT32U || in->op == IR_EXT8U ||
                  in->op == IR_EXT16U);
}

static void emit_deposit(JitGen *g, const IrInsn *in)
{
    bool wide = in->type == IR_I64;
    unsigned pos = in->imm & 0xff, len = (in->imm >> 8) & 0xff, size = wide ? 8 : 4;
    uint64_t field = (len >= 64 ? ~0ull : (1ull << len) - 1), k, clear;
    bool imm;
    Opd oa, ob;
    int dst;

    if (pos == 0 && (len == 8 || len == 16)) {
        imm = ra_const(g, in->b, &k);
        int rb = imm ? -1 : ra_reg(g, in->b);

        oa = ra_opd(g, in->a, size);
        dst = ra_dst(g, in->d, ra_root(g, in->a));
        if (rb == dst && (oa.mem || oa.reg != dst)) {
            x_mov_rr(&g->a, false, RCX, rb);
            rb = RCX;
        }
        move_to(g, wide, dst, oa);
        if (!wide && !oa.mem && oa.reg == dst && !g->v[in->a].zext) {
            x_mov_rr(&g->a, false, dst, dst);
        }
        if (imm && len == 8) {
            x_rr(&g->a, 0xc6 | XB, 0, dst);
            a8(&g->a, k);
        } else if (imm) {
            x_rr(&g->a, 0xc7 | X66, 0, dst);
            a8(&g->a, k);
            a8(&g->a, k >> 8);
        } else if (len == 8) {
            x_rr(&g->a, 0x8a | XB | XRB, dst, rb);
        } else {
            x_rr(&g->a, 0x8b | X66, dst, rb);
        }
        done(g, in, dst);
        return;
    }
    if (pos == 8 && len == 8 && (ra_target(g, in->d) ? g->v[ra_target(g, in->d)].reg : -1) == RBX &&
        ra_root(g, in->a) == ra_target(g, in->d)) {
        /* bh */
        if (ra_const(g, in->b, &k)) {
            dst = ra_dst(g, in->d, 0);
            a8(&g->a, 0xb7);
            a8(&g->a, k);
        } else {
            ob = ra_opd(g, in->b, 4);
            dst = ra_dst(g, in->d, 0); /* may use rcx to save what else bh is part of */
            move_to(g, false, RCX, ob);
            a8(&g->a, 0x88); /* mov bh, cl */
            a8(&g->a, 0xc0 | 1 << 3 | 7);
        }
        done(g, in, dst);
        return;
    }
    /* General: clear the field, or in the shifted value. */
    ob = (Opd){.reg = -1};
    imm = ra_const(g, in->b, &k);
    if (!imm) {
        ob = ra_opd(g, in->b, size);
    }
    oa = ra_opd(g, in->a, size);
    dst = ra_dst(g, in->d, 0);
    move_to(g, wide, RCX, oa);
    clear = ~(field << pos);
    hf_clobber(g);
    if (!wide || (int64_t)clear == (int32_t)clear) {
        x_alu_ri(&g->a, ALU_AND, size, RCX, (int32_t)clear);
    } else {
        x_mov_ri(&g->a, RDX, clear);
        x_alu_rr(&g->a, ALU_AND, 8, RCX, RDX);
    }
    if (imm) {
        k = (k & field) << pos;
        if (!wide || (int64_t)k == (int32_t)k) {
            x_alu_ri(&g->a, ALU_OR, size, RCX, (int32_t)k);
        } else {
            x_mov_ri(&g->a, RDX, k);
            x_alu_rr(&g->a, ALU_OR, 8, RCX, RDX);
        }
    } else {
        unsigned w = wide ? 64 : 32;

        move_to(g, wide, RDX, ob);
        if (w - len) {
            x_shift_i(&g->a, 4, size, RDX, w - len);
        }
        if (w - len - pos) {
            x_shift_i(&g->a, 5, size, RDX, w - len - pos);
        }
        x_alu_rr(&g->a, ALU_OR, size, RCX, RDX);
    }
    x_mov_rr(&g->a, wide, dst, RCX);
    done(g, in, dst);
}

static void emit_extract(JitGen *g, const IrInsn *in)
{
    bool wide = in->type == IR_I64, sign = in->op == IR_EXTRACTS;
    unsigned pos = in->imm & 0xff, len = (in->imm >> 8) & 0xff, size = wide ? 8 : 4;
    unsigned w = wide ? 64 : 32;
    Opd o;
    int dst;

    if (pos == 8 && len == 8) {
        IrVal r = ra_root(g, in->a);

        o = ra_opd(g, in->a, 2);
        dst = ra_dst(g, in->d, r);
        uint32_t opc = X0F | (sign ? 0xbe | (wide ? XW : 0) : 0xb6);

        if (o.mem) {
            x_rm(&g->a, opc, dst, o.reg, o.disp + 1);
            done(g, in, dst);
            return;
        }
        if ((o.reg == RBX || o.reg == RAX) && dst < 8 && !(opc & XW)) {
            x_rr(&g->a, opc, dst, o.reg == RBX ? 7 : 4); /* bh, ah */
            done_zext(g, in, dst, true);
            return;
        }
        move_to(g, wide, dst, o);
        hf_clobber(g);
        x_shift_i(&g->a, 5, 4, dst, 8);
        x_rr(&g->a, opc | XB, dst, dst);
        done(g, in, dst);
        return;
    }
    dst = move_in(g, in);
    hf_clobber(g);
    if (!sign && pos && (len == 8 || len == 16 || len == 32)) {
        x_shift_i(&g->a, 5, size, dst, pos);
        x_rr(&g->a, len == 8 ? X0F | 0xb6 | XB : len == 16 ? X0F | 0xb7 : 0x8b, dst, dst);
    } else if (!sign && len < 32 && pos < 32) {
        x_shift_i(&g->a, 5, size, dst, pos);
        x_alu_ri(&g->a, ALU_AND, 4, dst, (1u << len) - 1);
    } else {
        if (w - len - pos) {
            x_shift_i(&g->a, 4, size, dst, w - len - pos);
        }
        x_shift_i(&g->a, sign ? 7 : 5, size, dst, w - len);
    }
    done(g, in, dst);
}

static void emit_count(JitGen *g, const IrInsn *in)
{
    bool wide = in->type == IR_I64;
    unsigned size = wide ? 8 : 4, w = size * 8;
    Opd o;
    int dst;
    bool direct = in->op == IR_CLZ ? g->has_lzcnt : in->op == IR_CTZ ? g->has_bmi1 : g->has_popcnt;

    o = ra_opd(g, in->a, size);
    if (direct) {
        uint32_t opc = 0xf3u << 16 | X0F | (wide ? XW : 0) |
                       (in->op == IR_CLZ   ? 0xbd
                        : in->op == IR_CTZ ? 0xbc
                                           : 0xb8);

        dst = ra_dst(g, in->d, ra_root(g, in->a));
        hf_clobber(g);
        if (o.mem) {
            x_rm(&g->a, opc, dst, o.reg, o.disp);
        } else {
            x_rr(&g->a, opc, dst, o.reg);
        }
        done(g, in, dst);
        return;
    }
    hf_clobber(g);
    if (in->op != IR_POPCNT) { /* bsf, bsr leave the destination alone for 0 in practice: cmov */
        move_to(g, wide, RDX, o);
        dst = ra_dst(g, in->d, 0);
        x_mov_ri(&g->a, RCX, in->op == IR_CTZ ? w : 2 * w - 1);
        x_rr(&g->a, X0F | (in->op == IR_CTZ ? 0xbc : 0xbd) | x_size(size), RDX, RDX);
        x_rr(&g->a, X0F | 0x40 | CC_E | x_size(size), RDX, RCX);
        if (in->op == IR_CLZ) {
            x_alu_ri(&g->a, ALU_XOR, size, RDX, w - 1);
        }
        x_mov_rr(&g->a, wide, dst, RDX);
        done(g, in, dst);
        return;
    }
    /* popcnt bit by bit: rdx = value, rcx = count */
    move_to(g, wide, RDX, o);
    dst = ra_dst(g, in->d, 0);
    x_mov_ri(&g->a, RCX, 0);
    uint8_t *top = g->a.p;

    x_rr(&g->a, 0x85 | x_size(size), RDX, RDX);
    a8(&g->a, 0x74); /* jz out */
    uint8_t *out = g->a.p;

    a8(&g->a, 0);
    x_lea(&g->a, wide, dst, RDX, -1, 0, -1);
    x_alu_rr(&g->a, ALU_AND, size, RDX, dst);
    x_alu_ri(&g->a, ALU_ADD, 4, RCX, 1);
    a8(&g->a, 0xeb);
    a8(&g->a, (uint8_t)(top - (g->a.p + 1)));
    *out = g->a.p - (out + 1);
    x_mov_rr(&g->a, true, dst, RCX);
    done(g, in, dst);
}

static void emit_unary(JitGen *g, const IrInsn *in)
{
    bool wide = in->type == IR_I64;
    uint32_t w = wide ? XW : 0;
    int dst = move_in(g, in);

    switch (in->op) {
    case IR_NOT:
        x_rr(&g->a, 0xf7 | w, 2, dst);
        break;
    case IR_NEG:
        x_rr(&g->a, 0xf7 | w, 3, dst);
        hf_clobber(g);
        break;
    default: /* BSWAP */
        if (wide || dst >= 8) {
            a8(&g->a, 0x40 | (wide ? 8 : 0) | dst >> 3);
        }
        a8(&g->a, 0x0f);
        a8(&g->a, 0xc8 | (dst & 7));
    }
    done(g, in, dst);
}

/* d = cc ? 1 : 0; the flags are in place. */
static void set_from_cc(JitGen *g, const IrInsn *in, unsigned cc)
{
    int dst;

    hf_hold(g);
    ra_unlock_all(g); /* the comparison's operands are done with */
    dst = ra_dst(g, in->d, 0);
    x_rr(&g->a, X0F | 0x90 | cc | XB, 0, dst);
    x_rr(&g->a, X0F | 0xb6 | XB, dst, dst);
    ra_done(g, in->d, dst, true);
}

static void emit_setcond(JitGen *g, const IrInsn *in)
{
    unsigned cc = hf_compare(g, in->cc, in->type, in->a, in->b);
    typeof(g->hf) hf = g->hf;

    set_from_cc(g, in, cc);
    g->hf = hf;
}

static void emit_setflag(JitGen *g, const IrInsn *in)
{
    unsigned cc = hf_cond(g, &g->b->flags[in->extra], in->cc);
    typeof(g->hf) hf = g->hf;

    set_from_cc(g, in, cc);
    g->hf = hf;
}

/* d = cc ? yes : no */
static void select_cc(JitGen *g, const IrInsn *in, unsigned cc, IrVal yes, IrVal no)
{
    bool wide = in->type == IR_I64;
    unsigned size = wide ? 8 : 4;
    typeof(g->hf) hf = g->hf;
    Opd oy, on;
    int dst;

    hf_hold(g);
    ra_unlock_all(g); /* the comparison's operands are done with */
    oy = ra_opd(g, yes, size);
    on = ra_opd(g, no, size);
    dst = ra_dst(g, in->d, ra_root(g, no));
    if (!oy.mem && oy.reg == dst && (on.mem || on.reg != dst)) {
        /* the result's register holds yes: select the other way round */
        Opd swap = oy;

        oy = on;
        on = swap;
        cc ^= 1;
    }
    move_to(g, wide, dst, on);
    if (oy.mem) {
        x_rm(&g->a, X0F | 0x40 | cc | x_size(size), dst, oy.reg, oy.disp);
    } else {
        x_rr(&g->a, X0F | 0x40 | cc | x_size(size), dst, oy.reg);
    }
    ra_done(g, in->d, dst, !wide);
    g->hf = hf;
}

static void emit_movcond(JitGen *g, const IrInsn *in)
{
    unsigned cc = hf_compare(g, in->cc, in->type2, in->a, in->b);

    select_cc(g, in, cc, in->c, in->e);
}

static void emit_movflag(JitGen *g, const IrInsn *in)
{
    unsigned cc = hf_cond(g, &g->b->flags[in->extra], in->cc);

    select_cc(g, in, cc, in->a, in->b);
}

static unsigned skip_insns(JitGen *g, unsigned n)
{
    while (n < g->b->n_insns && (g->b->insns[n].op == IR_INSN || g->b->insns[n].op == IR_NOP)) {
        n++;
    }
    return n;
}

/* FLAGS, mostly followed by the move to the flags global, which is then done, too. */
static void emit_flags(JitGen *g, const IrInsn *in)
{
    const IrInsn *next = in + 1;
    bool store = next < g->b->insns + g->b->n_insns && next->op == IR_MOV && next->a == in->d &&
                 next->d == ir_global(g->t->flags_global);
    typeof(g->hf) hf;

    g->hint = 0;
    g->pack_at = g->a.p;
    ra_take(g, RAX);
    hf_pack(g, &g->b->flags[in->extra]);
    hf = g->hf;
    hf_hold(g);
    if (store) {
        ra_store_flags(g);
        g->live.dead[next - g->b->insns] = true;
    }
    if (!store || g->v[in->d].last_use > g->pos + 1) {
        x_rr(&g->a, X0F | 0xb7, RAX, RAX); /* movzx eax, ax */
        ra_done(g, in->d, RAX, true);
        if (store) {
            g->v[next->d].vn = g->v[in->d].vn;
        }
    }
    g->hf = hf;
    /* Can be jumped over when nothing but a forward jump follows. */
    unsigned after = skip_insns(g, next - g->b->insns + 1);

    if (!store || after >= g->b->n_insns || g->b->insns[after].op != IR_JMP ||
        g->a.p - g->pack_at < 5) {
        g->pack_at = NULL;
    }
}

/* ---- branches ---- */

static void add_fix(JitGen *g, unsigned label, uint8_t *at)
{
    LabelRec *l = &g->labels[label];

    if (l->n == G_N_ELEMENTS(l->fix)) {
        g->fail = true;
        return;
    }
    l->fix[l->n++] = at;
}

static void add_exit(JitGen *g, ExitRec e);
static void emit_jmp(JitGen *g, const IrInsn *in);

static bool jmp_is_back(JitGen *g, const IrInsn *in)
{
    return in->imm <= (g->insn ? g->insn->imm : g->b->pc);
}

static bool jmp_is_direct(JitGen *g, const IrInsn *in)
{
    uint64_t lin = g->j->block_lin;

    return g->j->o->link && ((lin + (in->imm - g->b->pc)) ^ lin) >> MEM_PAGE_BITS == 0;
}

static void emit_branch(JitGen *g, const IrInsn *in)
{
    unsigned cc;

    ra_sync_branch(g, g->live.label_pos[in->imm]);
    switch (in->op) {
    case IR_BR:
        add_fix(g, in->imm, x_jmp(&g->a));
        g->reachable = false;
        break;
    case IR_BRCOND:
        cc = hf_compare(g, in->cc, in->type, in->a, in->b);
        add_fix(g, in->imm, x_jcc(&g->a, cc));
        break;
    default:
        cc = hf_cond(g, &g->b->flags[in->extra], in->cc);
        add_fix(g, in->imm, x_jcc(&g->a, cc));
    }
}

/* Leave the block on a condition: the flags are packed only on that way, out of line. */
static void emit_brexit(JitGen *g, const IrInsn *in)
{
    const IrFlags *f = &g->b->flags[in->extra];
    ExitRec e = {.pc = in->imm};
    unsigned cc = hf_cond(g, f, in->cc);

    e.pack = f->kind != IRF_PACKED;
    e.host_flags = e.pack && hf_is(g, f);
    e.back = jmp_is_back(g, in);
    e.direct = jmp_is_direct(g, in);
    if (e.pack) {
        ra_unlock_all(g);
        hf_source(g, f, &e.src);
    }
    if (!e.pack && !e.back && e.direct) {
        e.jump = x_jcc(&g->a, cc);
    } else {
        e.cond = x_jcc(&g->a, cc);
    }
    add_exit(g, e);
}

/*
 * A branch between two direct jumps: `branch L; JMP x; LABEL L; JMP y`. The conditional jump is the
 * patched jump to the one that goes forward; what goes backward needs a poll and falls through.
 * Returns the position after the pattern, or 0.
 */
static unsigned emit_two_way(JitGen *g, const IrInsn *in)
{
    const IrInsn *insns = g->b->insns, *x, *y, *far, *near;
    unsigned n = skip_insns(g, in - insns + 1), m, cc;
    ExitRec e = {0};

    m = skip_insns(g, n + 1);
    if (m + 1 >= g->b->n_insns || insns[n].op != IR_JMP || insns[m].op != IR_LABEL ||
        insns[m].imm != in->imm || g->live.label_refs[in->imm] != 1) {
        return 0;
    }
    x = &insns[n];
    n = skip_insns(g, m + 1);
    if (n >= g->b->n_insns || insns[n].op != IR_JMP) {
        return 0;
    }
    y = &insns[n];
    if (!jmp_is_back(g, y)) {
        far = y;
        near = x;
    } else {
        far = x;
        near = y;
    }
    if (jmp_is_back(g, far) || !jmp_is_direct(g, far)) {
        return 0;
    }
    cc = in->op == IR_BRCOND ? hf_compare(g, in->cc, in->type, in->a, in->b)
                             : hf_cond(g, &g->b->flags[in->extra], in->cc);
    e.jump = x_jcc(&g->a, far == y ? cc : cc ^ 1);
    e.pc = far->imm;
    e.direct = true;
    add_exit(g, e);
    emit_jmp(g, near);
    return n + 1;
}

static void emit_label(JitGen *g, const IrInsn *in)
{
    LabelRec *l = &g->labels[in->imm];

    if (g->reachable) {
        ra_sync_branch(g, in - g->b->insns);
    }
    ra_at_label(g);
    if (l->n == 1 && !g->reachable && l->fix[0] + 4 == g->a.p && l->fix[0][-1] == 0xe9) {
        g->a.p = l->fix[0] - 1; /* a jump to here */
    } else {
        for (unsigned i = 0; i < l->n; i++) {
            x_fix(l->fix[i], g->a.p);
        }
    }
    g->reachable = true;
}

/* ---- state ---- */

static void emit_lde(JitGen *g, const IrInsn *in)
{
    int dst = ra_dst(g, in->d, 0);

    emit_ext_load(g, in->mem, in->type, dst, R14, -1, in->imm);
    done_zext(g, in, dst, in->type == IR_I32 || (!(in->mem & IRM_SIGN) && (in->mem & 7) < 3));
}

static void emit_ste(JitGen *g, const IrInsn *in)
{
    unsigned size = 1u << (in->mem & IRM_SIZE);
    int32_t k;

    if (ra_imm32(g, in->a, size, &k)) {
        x_rm(&g->a, (size == 1 ? 0xc6 : 0xc7) | x_size(size), 0, R14, in->imm);
        x_imm(&g->a, size, k);
    } else {
        emit_store(g, size, R14, -1, in->imm, ra_reg(g, in->a));
    }
}

/* ---- calls ---- */

static void emit_call(JitGen *g, const IrInsn *in)
{
    const IrHelper *h = in->helper;
    unsigned flags = h->flags, thunk;
    bool faults = flags & (IRH_FAULTS | IRH_NORETURN);
    uint32_t fault = 0;

    g->hint = 0;
    if (flags & IRH_WRITES) {
        /* Copies of globals that live on get homes of their own. */
        ra_settle_globals(g);
    }
    ra_before_call(g, faults);
    for (unsigned i = 0; i < in->cc; i++) {
        IrVal v = g->b->args[in->extra + i];
        int32_t k;

        ra_unlock_all(g);
        if (i < 2) {
            continue;
        }
        if (ra_imm32(g, v, 8, &k)) {
            x_rm(&g->a, 0xc7 | XW, 0, RSP, G_F_ARGS + (i - 2) * 8);
            a32(&g->a, k);
        } else {
            ra_load_to(g, RCX, v, true);
            x_store(&g->a, true, RSP, G_F_ARGS + (i - 2) * 8, RCX);
        }
    }
    if (in->cc > 0) {
        /* A sum may need both scratch registers. */
        IrVal a0 = g->b->args[in->extra], a1 = in->cc > 1 ? g->b->args[in->extra + 1] : 0;

        if (a1 && g->v[ra_root(g, a1)].lazy) {
            ra_reg(g, a1);
        }
        if (g->v[ra_root(g, a0)].lazy) {
            ra_reg(g, a0);
        }
        ra_load_to(g, RCX, a0, true);
        if (a1) {
            ra_load_to(g, RDX, a1, true);
        }
        ra_unlock_all(g);
    }
    ra_before_call(g, faults); /* what the arguments' computation loaded */
    x_mov_ri(&g->a, RAX, (uintptr_t)h->fn);
    thunk = (flags & (IRH_READS | IRH_WRITES | IRH_FAULTS | IRH_NORETURN) ? 1 : 0) |
            (flags & IRH_WRITES ? 2 : 0) | (flags & IRH_HOSTFP ? 4 : 0);
    if (faults) {
        ra_forget_temps(g); /* they are in their slots */
        fault = emit_fault(g, flags & IRH_HOSTFP);
    }
    a8(&g->a, 0xe8);
    a32(&g->a, (uint32_t)((const uint8_t *)g->j->thunk_call[thunk] - (g->a.p + g->rx + 4)));
    if (faults) {
        g->faults[fault].host_off = g->a.p - g->start;
    }
    ra_forget_temps(g);
    hf_clobber(g);
    if (flags & IRH_WRITES) {
        ra_globals_changed(g);
    }
    if (flags & IRH_NORETURN) {
        g->reachable = false;
        return;
    }
    if (in->d && (g->v[in->d].kind == IRV_GLOBAL || g->v[in->d].last_use > g->pos)) {
        ra_lock(g, RAX);
        if (g->v[in->d].pinned) {
            int dst = ra_dst(g, in->d, 0);

            x_mov_rr(&g->a, true, dst, RAX);
            ra_done(g, in->d, dst, false);
        } else {
            ra_done(g, in->d, RAX, false);
        }
    }
}

/* ---- ends ---- */

static void add_exit(JitGen *g, ExitRec e)
{
    if (g->n_exits == G_MAX_EXITS) {
        g->fail = true;
        return;
    }
    g->exits[g->n_exits++] = e;
}

static uint8_t *emit_poll(JitGen *g)
{
    x_alu_mi(&g->a, ALU_CMP, 4, R14, 0, 0);
    return x_jcc(&g->a, CC_L);
}

static void jmp_thunk(JitGen *g, unsigned reason)
{
    uint8_t *at = x_jmp(&g->a);
    int32_t d = (const uint8_t *)g->j->thunk_exit[reason] - (at + 4 + g->rx);

    memcpy(at, &d, 4);
}

static void store_pc(JitGen *g, uint64_t pc)
{
    if ((int64_t)pc == (int32_t)pc) {
        x_rm(&g->a, 0xc7 | XW, 0, R14, g->t->pc_off);
        a32(&g->a, pc);
    } else {
        x_mov_ri(&g->a, RCX, pc);
        x_store(&g->a, true, R14, g->t->pc_off, RCX);
    }
}

/* Inline lookup of a known pc; falls through on a miss. */
static void const_lookup(JitGen *g, uint64_t pc)
{
    int32_t entry = JIT_OFF_JC + (int32_t)jit_jump_index(pc) * 16;
    uint8_t *miss;

    if (!g->j->o->jumpcache) {
        return;
    }
    x_mov_ri(&g->a, RDX, pc);
    x_alu_rm(&g->a, ALU_XOR, 8, RDX, R14, JIT_OFF_HOT + (int)offsetof(JitHot, ctx));
    x_alu_rm(&g->a, ALU_CMP, 8, RDX, R14, entry);
    a8(&g->a, 0x75);
    miss = g->a.p;
    a8(&g->a, 0);
    x_rm(&g->a, 0xff, 4, R14, entry + 8);
    *miss = g->a.p - (miss + 1);
}

static void emit_jmp(JitGen *g, const IrInsn *in)
{
    uint64_t pc = in->imm;
    ExitRec e = {.pc = pc, .direct = jmp_is_direct(g, in)};

    if (jmp_is_back(g, in)) {
        e.poll = emit_poll(g);
    } else {
        e.pack_at = g->pack_at;
    }
    g->pack_at = NULL;
    if (e.direct) {
        e.jump = x_jmp(&g->a);
    } else {
        const_lookup(g, pc);
        store_pc(g, pc);
        jmp_thunk(g, JIT_EXIT_LOOKUP);
    }
    if (e.direct || e.poll) {
        add_exit(g, e);
    }
    g->reachable = false;
}

static void emit_jmp_ind(JitGen *g, const IrInsn *in)
{
    int r = ra_reg(g, in->a);
    ExitRec e = {.ind_reg = r, .indirect = true};

    e.poll = emit_poll(g);
    if (g->j->o->jumpcache) {
        x_load(&g->a, true, RDX, R14, JIT_OFF_HOT + (int)offsetof(JitHot, ctx));
        x_rr(&g->a, X0F | 0xb7, RCX, r);
        x_alu_rr(&g->a, ALU_XOR, 8, RDX, r);
        x_shift_i(&g->a, 4, 4, RCX, 4);
        x_mem(&g->a, x_alu_opc(ALU_CMP, 8), RDX, R14, RCX, 0, JIT_OFF_JC);
        e.jump = x_jcc(&g->a, CC_NE);
        x_mem(&g->a, 0xff, 4, R14, RCX, 0, JIT_OFF_JC + 8);
    } else {
        e.jump = x_jmp(&g->a);
    }
    add_exit(g, e);
    g->reachable = false;
}

static void emit_exit(JitGen *g, const IrInsn *in)
{
    uint64_t k;

    if (ra_const(g, in->a, &k)) {
        store_pc(g, k);
    } else {
        x_store(&g->a, true, R14, g->t->pc_off, ra_reg(g, in->a));
    }
    jmp_thunk(g, JIT_EXIT_EXIT);
    g->reachable = false;
}

static void store_packed(JitGen *g)
{
    x_rm(&g->a, 0x89 | X66, RAX, R14, g->cc_off);
}

/* The jump at the end of a way out: linkable, or a lookup. */
static void way_out(JitGen *g, ExitRec *e)
{
    if (e->direct) {
        e->jump = x_jmp(&g->a);
    } else {
        const_lookup(g, e->pc);
        store_pc(g, e->pc);
        jmp_thunk(g, JIT_EXIT_LOOKUP);
    }
}

/* What a conditional exit jumps to. */
static void cond_stub(JitGen *g, ExitRec *e, JitExit *x)
{
    uint8_t *poll[2] = {NULL, NULL};

    x_fix(e->cond, g->a.p);
    if (x) {
        x->cond_off = e->pack ? e->cond - g->start : 0;
        x->full_off = g->a.p - g->start;
    }
    if (e->pack) {
        hf_pack_source(g, &e->src, e->host_flags);
        store_packed(g);
    }
    if (e->back) {
        poll[0] = emit_poll(g);
    }
    way_out(g, e);
    if (!e->back) {
        return;
    }
    if (e->pack && x) { /* for targets that overwrite the flags: poll only */
        x->lite_off = g->a.p - g->start;
        poll[1] = emit_poll(g);
        x->lite_jump_off = x_jmp(&g->a) - g->start;
        x_fix(poll[1], g->a.p);
        hf_pack_source(g, &e->src, false);
        store_packed(g);
    }
    x_fix(poll[0], g->a.p);
    store_pc(g, e->pc);
    jmp_thunk(g, JIT_EXIT_POLL);
}

/* Stubs of jumps, at the block's end. */
static void emit_exit_stubs(JitGen *g, JitBlock *blk)
{
    unsigned n = 0;

    for (unsigned i = 0; i < g->n_exits; i++) {
        ExitRec *e = &g->exits[i];
        JitExit *x = e->direct ? &jit_exits(blk)[n++] : NULL;

        if (e->indirect) {
            x_fix(e->jump, g->a.p);
            x_store(&g->a, true, R14, g->t->pc_off, e->ind_reg);
            jmp_thunk(g, JIT_EXIT_LOOKUP);
            x_fix(e->poll, g->a.p);
            x_store(&g->a, true, R14, g->t->pc_off, e->ind_reg);
            jmp_thunk(g, JIT_EXIT_POLL);
            continue;
        }
        if (e->cond) {
            cond_stub(g, e, x);
        }
        if (e->poll) {
            x_fix(e->poll, g->a.p);
            store_pc(g, e->pc);
            jmp_thunk(g, JIT_EXIT_POLL);
        }
        if (!x) {
            continue;
        }
        if (e->pack_at) {
            x->pack_off = e->pack_at - g->start;
        }
        x_fix(e->jump, g->a.p);
        x->jump_off = e->jump - g->start;
        x->stub_off = g->a.p - g->start;
        a8(&g->a, 0xe8);
        a32(&g->a, (uint32_t)((const uint8_t *)g->j->thunk_link - (g->a.p + g->rx + 4)));
        x->pc_delta = e->pc - g->b->pc;
        x->from = blk;
    }
}

void jit_host_put_jump(uint8_t *rw, const uint8_t *rx, const void *target)
{
    int32_t d = (const uint8_t *)target - (rx + 5);

    rw[0] = 0xe9;
    memcpy(rw + 1, &d, 4);
}

void jit_host_patch(uint8_t *rw, const uint8_t *rx, const void *target)
{
    int32_t d = (const uint8_t *)target - (rx + 4);

    __atomic_store_n((int32_t *)rw, d, __ATOMIC_RELAXED);
}

/* ---- the driver ---- */

static void emit_insn(JitGen *g, const IrInsn *in)
{
    switch (in->op) {
    case IR_NOP:
        break;
    case IR_INSN:
        g->insn = in;
        break;
    case IR_MOV:
        ra_mov(g, in->type, in->d, in->a);
        break;
    case IR_ADD:
    case IR_SUB:
        emit_add(g, in);
        break;
    case IR_AND:
        emit_logic(g, in, ALU_AND);
        break;
    case IR_OR:
        emit_logic(g, in, ALU_OR);
        break;
    case IR_XOR:
        emit_logic(g, in, ALU_XOR);
        break;
    case IR_ANDN:
        emit_andn(g, in);
        break;
    case IR_NOT:
    case IR_NEG:
    case IR_BSWAP:
        emit_unary(g, in);
        break;
    case IR_MUL:
        emit_mul(g, in);
        break;
    case IR_MULU2:
    case IR_MULS2:
        emit_mul2(g, in);
        break;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROL:
    case IR_ROR:
        emit_shift(g, in);
        break;
    case IR_EXT8U:
    case IR_EXT8S:
    case IR_EXT16U:
    case IR_EXT16S:
    case IR_EXT32U:
    case IR_EXT32S:
        emit_ext(g, in);
        break;
    case IR_DEPOSIT:
        emit_deposit(g, in);
        break;
    case IR_EXTRACTU:
    case IR_EXTRACTS:
        emit_extract(g, in);
        break;
    case IR_CLZ:
    case IR_CTZ:
    case IR_POPCNT:
        emit_count(g, in);
        break;
    case IR_SETCOND:
        emit_setcond(g, in);
        break;
    case IR_MOVCOND:
        emit_movcond(g, in);
        break;
    case IR_BRCOND:
    case IR_BR:
    case IR_BRFLAG:
        emit_branch(g, in);
        break;
    case IR_BREXIT:
        emit_brexit(g, in);
        break;
    case IR_LABEL:
        emit_label(g, in);
        break;
    case IR_FLAGS:
        emit_flags(g, in);
        break;
    case IR_SETFLAG:
        emit_setflag(g, in);
        break;
    case IR_MOVFLAG:
        emit_movflag(g, in);
        break;
    case IR_LDE:
        emit_lde(g, in);
        break;
    case IR_STE:
        emit_ste(g, in);
        break;
    case IR_QLD:
        emit_qld(g, in);
        break;
    case IR_QST:
        emit_qst(g, in);
        break;
    case IR_QATOMIC:
        emit_qatomic(g, in);
        break;
    case IR_FENCE:
        hf_clobber(g);
        a8(&g->a, 0xf0); /* lock or dword [rsp - 8], 0 */
        x_alu_mi(&g->a, ALU_OR, 4, RSP, -8, 0);
        break;
    case IR_CALL:
        emit_call(g, in);
        break;
    case IR_JMP:
        emit_jmp(g, in);
        break;
    case IR_JMP_IND:
        emit_jmp_ind(g, in);
        break;
    case IR_EXIT:
        emit_exit(g, in);
        break;
    default:
        emit_vec(g, in);
    }
}

long jit_host_emit(JitCpu *j, JitGen *g, const IrBlock *b, JitBlock *blk, JitSegment *seg,
                   uint8_t *rw, size_t room)
{
    enum { MARGIN = 4096 };
    unsigned n_direct = 0, skip;
    size_t side;

    if (room < 4 * MARGIN) {
        return 0;
    }
    g->b = b;
    g->a.p = g->start = rw;
    g->limit = rw + room - MARGIN;
    g->rx = j->code_rx - j->code_rw;
    g->fail = false;
    g->insn = NULL;
    g->pack_at = NULL;
    g->cur_mmu = blk->mmu;
    g->cc_off = g->t->globals[g->t->flags_global].off;
    g->n_slow = g->n_exits = g->n_faults = g->n_locs = 0;
    g->reachable = true;
    for (unsigned i = 0; i < b->n_labels; i++) {
        g->labels[i].n = 0;
    }
    jit_live(b, &g->live, j->o->inplace);
    ra_begin(g);
    for (unsigned n = 0; n < b->n_insns; n++) {
        const IrInsn *in = &b->insns[n];

        if (g->live.dead[n] || (!g->reachable && in->op != IR_LABEL)) {
            continue;
        }
        g->pos = n + 1;
        g->hint = g->live.hint[n];
        ra_unlock_all(g);
        if ((in->op == IR_BRFLAG || in->op == IR_BRCOND) && (skip = emit_two_way(g, in))) {
            n = skip - 1;
        } else {
            emit_insn(g, in);
        }
        if (g->a.p > g->limit) {
            return 0;
        }
        if (g->fail) {
            return -1;
        }
    }
    for (unsigned i = 0; i < g->n_exits; i++) {
        n_direct += g->exits[i].direct;
    }
    /* What stubs need at most. */
    if (g->a.p + g->n_slow * 80 + g->n_exits * 256 > g->limit) {
        return 0;
    }
    if (n_direct > 255) {
        return -1;
    }
    side = n_direct * sizeof(JitExit) + g->n_faults * sizeof(JitFault) + g->n_locs * sizeof(JitLoc);
    if (!jit_meta_alloc(seg, side)) {
        return 0;
    }
    memset(jit_exits(blk), 0, n_direct * sizeof(JitExit));
    blk->n_exits = n_direct;
    blk->n_faults = g->n_faults;
    emit_slow_paths(g);
    emit_exit_stubs(g, blk);
    if (g->a.p - rw > UINT16_MAX) {
        return -1;
    }
    memcpy(jit_faults(blk), g->faults, g->n_faults * sizeof(JitFault));
    memcpy(jit_locs(blk), g->locs, g->n_locs * sizeof(JitLoc));
    blk->host = rw + g->rx;
    blk->host_size = g->a.p - rw;
    return g->a.p - rw;
}
