/*
 * Guest flags on the host's: what the host flags hold, and the cheapest way to recreate flags.
 */
#include "accel/jit/host/x86_64/gen.h"

enum { ZNP = IRF_Z | IRF_N | IRF_P };

HfOps hf_ops(JitGen *g, IrVal a, IrVal b)
{
    uint64_t k;

    return (HfOps){
        .a = a ? g->v[a].vn : 0, .b = b ? g->v[b].vn : 0, .one = b && ra_const(g, b, &k) && k == 1};
}

void hf_set(JitGen *g, IrFlagKind kind, unsigned size, HfOps o, IrVal result, unsigned good)
{
    uint32_t r = result ? g->v[result].vn : 0;

    g->hf.valid = true;
    g->hf.kind = kind;
    g->hf.size = size;
    g->hf.good = good;
    g->hf.one = o.one;
    g->hf.result = r;
    g->hf.c = 0;
    if (kind == IRF_SUB) {
        g->hf.a = o.a;
        g->hf.b = g->hf.b2 = o.b;
    } else { /* ADD, LOGIC: described by the result */
        g->hf.a = r;
        g->hf.b = o.b;
        g->hf.b2 = o.a;
    }
}

/* The host flags are exactly @f now. */
static void hf_exact(JitGen *g, const IrFlags *f, unsigned good)
{
    g->hf.valid = true;
    g->hf.kind = f->kind;
    g->hf.size = f->size;
    g->hf.good = good;
    g->hf.one = false;
    g->hf.a = f->a ? g->v[f->a].vn : 0;
    g->hf.b = g->hf.b2 = f->b ? g->v[f->b].vn : 0;
    g->hf.c = f->c ? g->v[f->c].vn : 0;
    g->hf.result = f->kind == IRF_SUB || f->kind == IRF_SBB || f->kind == IRF_VALUE ? 0 : g->hf.a;
}

static bool hf_match(JitGen *g, const IrFlags *f, unsigned need)
{
    uint32_t a, b, c;

    if (!g->hf.valid || !g->j->o->flags || (need & ~g->hf.good)) {
        return false;
    }
    a = f->a ? g->v[f->a].vn : 0;
    b = f->b ? g->v[f->b].vn : 0;
    c = f->c ? g->v[f->c].vn : 0;
    if (g->hf.kind == IRF_VALUE || f->kind == IRF_VALUE) {
        return g->hf.kind == f->kind && g->hf.a == a;
    }
    if (g->hf.size != f->size) {
        return false;
    }
    if (!(need & ~ZNP) && g->hf.result && f->kind != IRF_SUB && f->kind != IRF_SBB &&
        g->hf.result == a) {
        return true;
    }
    switch (f->kind) {
    case IRF_ADD:
    case IRF_SUB:
    case IRF_LOGIC:
        return g->hf.kind == f->kind && g->hf.a == a &&
               (f->kind == IRF_LOGIC || g->hf.b == b || g->hf.b2 == b);
    case IRF_INC:
    case IRF_DEC:
        if (!(need & IRF_C) && g->hf.one && g->hf.result == a &&
            g->hf.kind == (f->kind == IRF_INC ? IRF_ADD : IRF_SUB)) {
            return true;
        }
        return g->hf.kind == f->kind && g->hf.a == a && g->hf.c == c;
    default:
        return g->hf.kind == f->kind && g->hf.a == a && g->hf.b == b && g->hf.c == c;
    }
}

static void emit_test(JitGen *g, unsigned size, IrVal v)
{
    Opd o = ra_opd(g, v, size);

    if (o.mem) {
        x_alu_mi(&g->a, ALU_CMP, size, o.reg, o.disp, 0);
    } else if (size == 1) {
        x_rr(&g->a, 0x84 | XB | XRB, o.reg, o.reg);
    } else {
        x_rr(&g->a, 0x85 | x_size(size), o.reg, o.reg);
    }
}

/* rcx := rcx op v */
static void alu_rcx(JitGen *g, unsigned op, unsigned size, IrVal v)
{
    int32_t k;

    if (ra_imm32(g, v, size, &k)) {
        x_alu_ri(&g->a, op, size, RCX, k);
    } else {
        Opd o = ra_opd(g, v, size);

        if (o.mem) {
            x_alu_rm(&g->a, op, size, RCX, o.reg, o.disp);
        } else {
            x_alu_rr(&g->a, op, size, RCX, o.reg);
        }
    }
}

static void emit_cmp(JitGen *g, unsigned size, IrVal a, IrVal b)
{
    int32_t k;
    Opd o;

    if (ra_imm32(g, b, size, &k)) {
        if (k == 0) {
            emit_test(g, size, a);
            return;
        }
        o = ra_opd(g, a, size);
        if (o.mem) {
            x_alu_mi(&g->a, ALU_CMP, size, o.reg, o.disp, k);
        } else {
            x_alu_ri(&g->a, ALU_CMP, size, o.reg, k);
        }
        return;
    }
    int r = ra_reg(g, a);

    o = ra_opd(g, b, size);
    if (o.mem) {
        x_alu_rm(&g->a, ALU_CMP, size, r, o.reg, o.disp);
    } else {
        x_alu_rr(&g->a, ALU_CMP, size, r, o.reg);
    }
}

/* CF := bit @bit of @v, through rdx. */
static void carry_from(JitGen *g, IrVal v, unsigned bit)
{
    int r = RDX;

    if (g->v[ra_root(g, v)].reg >= 0) {
        r = ra_reg(g, v);
    } else {
        hf_hold(g);
        ra_load_to(g, RDX, v, false);
    }
    x_rr(&g->a, X0F | 0xba, 4, r);
    a8(&g->a, bit);
}

/* All of the host's flags := @f (kinds that are not packed words, and not MUL). */
static void recreate(JitGen *g, const IrFlags *f)
{
    unsigned size = f->size;
    bool wide = size == 8;
    int32_t k;

    hf_clobber(g);
    /* Sums are computed before the scratch registers come into use. */
    if (f->kind == IRF_ADD || f->kind == IRF_ADC || f->kind == IRF_SBB) {
        if (!ra_imm32(g, f->b, size, &k)) {
            ra_opd(g, f->b, size);
        }
    }
    if (f->kind == IRF_ADC || f->kind == IRF_SBB || f->kind == IRF_INC || f->kind == IRF_DEC) {
        ra_opd(g, f->c, 4);
    }
    switch (f->kind) {
    case IRF_SUB:
        emit_cmp(g, size, f->a, f->b);
        break;
    case IRF_LOGIC:
        emit_test(g, size, f->a);
        break;
    case IRF_ADD:
        ra_load_to(g, RCX, f->a, wide);
        alu_rcx(g, ALU_SUB, size, f->b);
        alu_rcx(g, ALU_ADD, size, f->b);
        break;
    case IRF_ADC:
        ra_load_to(g, RCX, f->a, wide);
        ra_load_to(g, RDX, f->c, false);
        alu_rcx(g, ALU_SUB, size, f->b);
        x_alu_rr(&g->a, ALU_SUB, size, RCX, RDX);
        x_rr(&g->a, X0F | 0xba, 4, RDX);
        a8(&g->a, 0);
        alu_rcx(g, ALU_ADC, size, f->b);
        break;
    case IRF_SBB:
        ra_load_to(g, RCX, f->a, wide);
        carry_from(g, f->c, 0);
        alu_rcx(g, ALU_SBB, size, f->b);
        break;
    case IRF_INC:
    case IRF_DEC: {
        bool inc = f->kind == IRF_INC;

        ra_load_to(g, RCX, f->a, wide);
        x_alu_ri(&g->a, inc ? ALU_SUB : ALU_ADD, size, RCX, 1);
        carry_from(g, f->c, 8);
        x_rr(&g->a, (size == 1 ? 0xfe : 0xff) | x_size(size), inc ? 0 : 1, RCX);
        break;
    }
    default: /* shifts: the last step */
        ra_load_to(g, RCX, f->b, wide);
        x_shift_i(&g->a, f->kind == IRF_SHL ? 4 : f->kind == IRF_SHR ? 5 : 7, size, RCX, 1);
        break;
    }
    hf_exact(g, f, JIT_FLAGS_ALL);
}

/* rax := packed flags of a multiplication. */
static void pack_mul(JitGen *g, const IrFlags *f)
{
    hf_clobber(g);
    emit_test(g, f->size, f->a);
    a8(&g->a, 0x9f); /* lahf */
    emit_test(g, f->size, f->b);
    x_rr(&g->a, X0F | 0x90 | CC_NE | XB, 0, RAX);
    a8(&g->a, 0x08); /* or ah, al */
    a8(&g->a, 0xc4);
}

static void to_host_from_rax(JitGen *g)
{
    a8(&g->a, 0x04); /* add al, 127 */
    a8(&g->a, 0x7f);
    a8(&g->a, 0x9e); /* sahf */
}

/* A condition on a packed word. */
static unsigned packed_cond(JitGen *g, IrVal v, IrFlagCond cc)
{
    unsigned need = jit_flagcond_need(cc);
    IrFlags f = {.kind = IRF_VALUE, .a = v};
    Opd o;

    if (hf_match(g, &f, need)) {
        return cc;
    }
    hf_clobber(g);
    if ((cc >> 1) == (IRFC_LT >> 1) || (cc >> 1) == (IRFC_LE >> 1)) {
        ra_take(g, RAX);
        ra_load_to(g, RAX, v, false);
        to_host_from_rax(g);
        hf_exact(g, &f, JIT_FLAGS_ALL);
        return cc;
    }
    o = ra_opd(g, v, 1);
    if (o.mem) {
        x_rm(&g->a, 0xf6, 0, o.reg, o.disp + (need > 0xff));
        a8(&g->a, need > 0xff ? need >> 8 : need);
    } else if (need <= 0xff) {
        x_rr(&g->a, 0xf6 | XB, 0, o.reg);
        a8(&g->a, need);
    } else {
        x_rr(&g->a, 0xf7, 0, o.reg);
        a32(&g->a, need);
    }
    return cc & 1 ? CC_E : CC_NE;
}

static unsigned mul_cond(JitGen *g, const IrFlags *f, IrFlagCond cc)
{
    unsigned need = jit_flagcond_need(cc);

    if (!(need & ~(IRF_C | IRF_V))) {
        hf_clobber(g);
        emit_test(g, f->size, f->b);
        return cc & 1 ? CC_E : CC_NE;
    }
    if (!(need & ~ZNP)) {
        hf_clobber(g);
        emit_test(g, f->size, f->a);
        return cc;
    }
    ra_take(g, RAX);
    pack_mul(g, f);
    to_host_from_rax(g);
    hf_exact(g, f, JIT_FLAGS_ALL);
    return cc;
}

unsigned hf_cond(JitGen *g, const IrFlags *f, IrFlagCond cc)
{
    unsigned need = jit_flagcond_need(cc);

    if (f->kind == IRF_PACKED) {
        return packed_cond(g, ir_global(g->t->flags_global), cc);
    }
    if (f->kind == IRF_VALUE) {
        return packed_cond(g, f->a, cc);
    }
    if (hf_match(g, f, need)) {
        return cc;
    }
    if (f->kind == IRF_MUL) {
        return mul_cond(g, f, cc);
    }
    if (f->kind != IRF_SUB && f->kind != IRF_SBB && f->kind != IRF_LOGIC && !(need & ~ZNP)) {
        IrFlags r = {.kind = IRF_LOGIC, .size = f->size, .a = f->a};

        hf_clobber(g);
        emit_test(g, f->size, f->a);
        hf_exact(g, &r, JIT_FLAGS_ALL);
        return cc;
    }
    if (need == IRF_C) {
        switch (f->kind) {
        case IRF_ADD: /* carry: the sum is below an operand */
            hf_clobber(g);
            emit_cmp(g, f->size, f->a, f->b);
            return cc;
        case IRF_INC:
        case IRF_DEC:
            return packed_cond(g, f->c, cc);
        default:
            break;
        }
    }
    if ((f->kind == IRF_INC || f->kind == IRF_DEC) && !(need & IRF_C)) {
        bool inc = f->kind == IRF_INC;

        hf_clobber(g);
        ra_load_to(g, RCX, f->a, f->size == 8);
        x_alu_ri(&g->a, inc ? ALU_SUB : ALU_ADD, f->size, RCX, 1);
        x_alu_ri(&g->a, inc ? ALU_ADD : ALU_SUB, f->size, RCX, 1);
        hf_exact(g, f, JIT_FLAGS_ALL & ~IRF_C);
        return cc;
    }
    recreate(g, f);
    return cc;
}

static unsigned host_cc(IrCond cc)
{
    static const uint8_t map[] = {CC_E, CC_NE, CC_B,  CC_AE, CC_BE, CC_A,
                                  CC_L, CC_GE, CC_LE, CC_G,  CC_E,  CC_NE};

    return map[cc];
}

unsigned hf_compare(JitGen *g, IrCond cc, IrType t, IrVal a, IrVal b)
{
    unsigned size = t == IR_I32 ? 4 : 8, need;
    uint64_t k;
    IrFlags f = {.kind = IRF_SUB, .size = size, .a = a, .b = b};

    if (cc >= IRC_TSTZ) {
        int32_t i;

        hf_clobber(g);
        if (a == b) {
            emit_test(g, size, a);
        } else if (ra_imm32(g, b, size, &i)) {
            Opd o;

            if (size == 8 && i >= 0) {
                size = 4;
            }
            o = ra_opd(g, a, size);
            if (size == 4 && i >= 0 && i <= 0xff) {
                if (o.mem) {
                    x_rm(&g->a, 0xf6, 0, o.reg, o.disp);
                } else {
                    x_rr(&g->a, 0xf6 | XB, 0, o.reg);
                }
                a8(&g->a, i);
            } else {
                if (o.mem) {
                    x_rm(&g->a, 0xf7 | x_size(size), 0, o.reg, o.disp);
                } else {
                    x_rr(&g->a, 0xf7 | x_size(size), 0, o.reg);
                }
                a32(&g->a, i);
            }
        } else {
            int r = ra_reg(g, a);
            Opd o = ra_opd(g, b, size);

            if (o.mem) {
                x_rm(&g->a, 0x85 | x_size(size), r, o.reg, o.disp);
            } else {
                x_rr(&g->a, 0x85 | x_size(size), r, o.reg);
            }
        }
        return host_cc(cc);
    }
    if (ra_const(g, b, &k) && (t == IR_I32 ? (uint32_t)k : k) == 0) {
        f = (IrFlags){.kind = IRF_LOGIC, .size = size, .a = a};
        need = cc <= IRC_NE ? IRF_Z : JIT_FLAGS_ALL & ~IRF_H;
    } else {
        need = cc <= IRC_NE ? IRF_Z : JIT_FLAGS_ALL & ~(IRF_H | IRF_P);
    }
    if (!hf_match(g, &f, need)) {
        recreate(g, &f);
    }
    return host_cc(cc);
}

/* ax := the host's flags; @cinv: with C complemented (the host's stay as they are). */
static void lahf(JitGen *g, bool cinv)
{
    if (cinv) {
        a8(&g->a, 0xf5); /* cmc */
    }
    a8(&g->a, 0x9f);
    x_rr(&g->a, X0F | 0x90 | XB, 0, RAX); /* seto al */
    if (cinv) {
        a8(&g->a, 0xf5);
    }
}

void hf_pack(JitGen *g, const IrFlags *f)
{
    if (f->kind == IRF_PACKED || f->kind == IRF_VALUE) {
        ra_load_to(g, RAX, f->kind == IRF_PACKED ? ir_global(g->t->flags_global) : f->a, false);
        return;
    }
    if (f->kind == IRF_MUL && !hf_match(g, f, JIT_FLAGS_ALL)) {
        pack_mul(g, f);
    } else {
        if (!hf_match(g, f, JIT_FLAGS_ALL)) {
            recreate(g, f);
        }
        lahf(g, f->cinv);
    }
}

/* ---- flags of a way out ---- */

bool hf_is(JitGen *g, const IrFlags *f)
{
    return hf_match(g, f, JIT_FLAGS_ALL);
}

static FlagOpd flag_opd(JitGen *g, IrVal v, unsigned size)
{
    FlagOpd r = {0};

    if (!v) {
        return r;
    }
    r.is_imm = ra_imm32(g, v, size, &r.imm);
    if (!r.is_imm) {
        r.o = ra_opd(g, v, size);
    }
    return r;
}

void hf_source(JitGen *g, const IrFlags *f, FlagSrc *src)
{
    typeof(g->hf) hf = g->hf;

    hf_hold(g);
    *src = (FlagSrc){.kind = f->kind, .size = f->size, .cinv = f->cinv};
    src->a = flag_opd(g, f->a, f->kind == IRF_VALUE ? 2 : f->size);
    src->b = flag_opd(g, f->b, f->size);
    src->c = flag_opd(g, f->c, 2);
    g->hf = hf;
}

static void src_to(JitGen *g, int reg, const FlagOpd *s, unsigned size)
{
    if (s->is_imm) {
        x_mov_ri(&g->a, reg, size == 8 ? (uint64_t)(int64_t)s->imm : (uint32_t)s->imm);
    } else if (s->o.mem) {
        if (size <= 2) {
            x_rm(&g->a, X0F | (size == 1 ? 0xb6 : 0xb7), reg, s->o.reg, s->o.disp);
        } else {
            x_load(&g->a, size == 8, reg, s->o.reg, s->o.disp);
        }
    } else {
        x_mov_rr(&g->a, true, reg, s->o.reg);
    }
}

static void src_alu(JitGen *g, unsigned op, unsigned size, int reg, const FlagOpd *s)
{
    if (s->is_imm) {
        x_alu_ri(&g->a, op, size, reg, s->imm);
    } else if (s->o.mem) {
        x_alu_rm(&g->a, op, size, reg, s->o.reg, s->o.disp);
    } else {
        x_alu_rr(&g->a, op, size, reg, s->o.reg);
    }
}

static void test_rcx(JitGen *g, unsigned size)
{
    x_rr(&g->a, size == 1 ? 0x84 | XB | XRB : 0x85 | x_size(size), RCX, RCX);
}

static void bit_to_carry(JitGen *g, int reg, unsigned bit)
{
    x_rr(&g->a, X0F | 0xba, 4, reg);
    a8(&g->a, bit);
}

void hf_pack_source(JitGen *g, const FlagSrc *s, bool ready)
{
    unsigned size = s->size;

    if (s->kind == IRF_VALUE) {
        src_to(g, RAX, &s->a, 2);
        return;
    }
    if (!ready) {
        src_to(g, RCX, s->kind >= IRF_SHL && s->kind <= IRF_SAR ? &s->b : &s->a, size);
        switch (s->kind) {
        case IRF_SUB:
            src_alu(g, ALU_CMP, size, RCX, &s->b);
            break;
        case IRF_LOGIC:
            test_rcx(g, size);
            break;
        case IRF_ADD:
            src_alu(g, ALU_SUB, size, RCX, &s->b);
            src_alu(g, ALU_ADD, size, RCX, &s->b);
            break;
        case IRF_ADC:
            src_to(g, RDX, &s->c, 2);
            src_alu(g, ALU_SUB, size, RCX, &s->b);
            x_alu_rr(&g->a, ALU_SUB, size, RCX, RDX);
            bit_to_carry(g, RDX, 0);
            src_alu(g, ALU_ADC, size, RCX, &s->b);
            break;
        case IRF_SBB:
            src_to(g, RDX, &s->c, 2);
            bit_to_carry(g, RDX, 0);
            src_alu(g, ALU_SBB, size, RCX, &s->b);
            break;
        case IRF_INC:
        case IRF_DEC:
            x_alu_ri(&g->a, s->kind == IRF_INC ? ALU_SUB : ALU_ADD, size, RCX, 1);
            src_to(g, RDX, &s->c, 2);
            bit_to_carry(g, RDX, 8);
            x_rr(&g->a, (size == 1 ? 0xfe : 0xff) | x_size(size), s->kind == IRF_INC ? 0 : 1, RCX);
            break;
        case IRF_MUL:
            src_to(g, RDX, &s->b, size); /* it may be in rax */
            test_rcx(g, size);
            a8(&g->a, 0x9f); /* lahf */
            x_mov_rr(&g->a, true, RCX, RDX);
            test_rcx(g, size);
            x_rr(&g->a, X0F | 0x90 | CC_NE | XB, 0, RAX);
            a8(&g->a, 0x08); /* or ah, al */
            a8(&g->a, 0xc4);
            return;
        default:
            x_shift_i(&g->a, s->kind == IRF_SHL ? 4 : s->kind == IRF_SHR ? 5 : 7, size, RCX, 1);
            break;
        }
    }
    lahf(g, s->cinv);
}
