/*
 * The translator against its own interpreter: random blocks of IR over a toy guest must leave
 * the same registers, flags, memory and faults. And flags against the host CPU.
 */
#include "accel/jit/ir-eval.h"
#include "tests/unit/jit-toy.c.inc"

/* ---- random blocks ---- */

typedef struct Rnd {
    IrBlock *b;
    uint64_t s;
    IrVal i64[48], i32[48], v[24];
    unsigned n64, n32, nv;
    IrVal local;
    IrFlags cur;
    unsigned size;
    bool vectors, branches, atomics, calls, exits;
} Rnd;

static uint64_t rnd(Rnd *r)
{
    r->s ^= r->s << 13;
    r->s ^= r->s >> 7;
    r->s ^= r->s << 17;
    return r->s * 0x2545f4914f6cdd1dull;
}

static unsigned pick(Rnd *r, unsigned n)
{
    return (rnd(r) >> 33) % n;
}

static uint64_t rnd_const(Rnd *r)
{
    switch (pick(r, 7)) {
    case 0:
        return pick(r, 4);
    case 1:
        return (int8_t)rnd(r);
    case 2:
        return (int32_t)rnd(r);
    case 3:
        return 1ull << pick(r, 64);
    case 4:
        return ~(1ull << pick(r, 64));
    case 5:
        return 0x7fffffff;
    default:
        return rnd(r);
    }
}

static IrVal pick64(Rnd *r)
{
    unsigned k = pick(r, 10);

    if (k < 5 && r->n64) {
        return r->i64[pick(r, r->n64)];
    }
    if (k == 5) {
        return ir_const(r->b, IR_I64, rnd_const(r));
    }
    return toy_r(pick(r, TOY_REGS));
}

static IrVal pick32(Rnd *r)
{
    if (pick(r, 10) < 6 && r->n32) {
        return r->i32[pick(r, r->n32)];
    }
    return pick(r, 8) ? pick64(r) : ir_const(r->b, IR_I32, rnd_const(r));
}

static IrVal pick_t(Rnd *r, IrType t)
{
    return t == IR_I64 ? pick64(r) : pick32(r);
}

static IrVal pickv(Rnd *r)
{
    return r->nv && pick(r, 2) ? r->v[pick(r, r->nv)] : toy_v(pick(r, TOY_VECS));
}

static void add_t(Rnd *r, IrType t, IrVal v)
{
    if (!v) {
        return;
    }
    if (t == IR_I64) {
        r->i64[r->n64 < 48 ? r->n64++ : pick(r, 48)] = v;
    } else if (t == IR_I32) {
        r->i32[r->n32 < 48 ? r->n32++ : pick(r, 48)] = v;
    } else {
        r->v[r->nv < 24 ? r->nv++ : pick(r, 24)] = v;
    }
}

static void forget_temps(Rnd *r)
{
    r->n64 = r->n32 = r->nv = 0;
}

/* A snapshot of a value for flags, which must not change later. */
static IrVal snap(Rnd *r, IrType t)
{
    IrVal v = pick_t(r, t);

    return ir_copy(r->b, t, v);
}

static IrVal packed_value(Rnd *r)
{
    IrVal v = ir_op(r->b, IR_AND, IR_I32, pick32(r),
                    ir_const(r->b, IR_I32, IRF_V | IRF_C | IRF_P | IRF_H | IRF_Z | IRF_N));

    return ir_op(r->b, IR_OR, IR_I32, v, ir_const(r->b, IR_I32, IRF_ONE));
}

static IrFlags rnd_flags(Rnd *r)
{
    static const uint8_t sizes[] = {1, 2, 4, 8};
    IrFlags f = {.kind = pick(r, IRF_MUL + 1), .size = sizes[pick(r, 4)]};
    IrType t = f.size == 8 ? IR_I64 : IR_I32;

    switch (f.kind) {
    case IRF_PACKED:
        return (IrFlags){.kind = IRF_PACKED};
    case IRF_VALUE:
        f.a = packed_value(r);
        return f;
    case IRF_ADC:
    case IRF_SBB:
        f.c = ir_op(r->b, IR_AND, IR_I32, pick32(r), ir_const(r->b, IR_I32, 1));
        break;
    case IRF_INC:
    case IRF_DEC:
        f.c = packed_value(r);
        break;
    }
    f.a = snap(r, t);
    if (f.kind != IRF_LOGIC && f.kind != IRF_INC && f.kind != IRF_DEC) {
        f.b = snap(r, t);
    }
    if (f.kind == IRF_SHR || f.kind == IRF_SAR) { /* the result belongs to the operand */
        IrVal ext;
        unsigned bits = f.size * 8;

        ext = f.kind == IRF_SAR || 1 ? ir_extract(r->b, t, f.b, 0, bits, f.kind == IRF_SAR) : f.b;
        f.a = ir_op(r->b, f.kind == IRF_SHR ? IR_SHR : IR_SAR, t, ext, ir_const(r->b, t, 1));
    } else if (f.kind == IRF_SHL) {
        f.a = ir_op(r->b, IR_SHL, t, f.b, ir_const(r->b, t, 1));
    }
    return f;
}

/* After an operation: flags that the operation itself set, as decoders use them. */
static void flags_from(Rnd *r, IrOp op, IrType t, IrVal d, IrVal a, IrVal b)
{
    unsigned size = t == IR_I64 ? 8 : 4;

    switch (op) {
    case IR_ADD:
        r->cur = (IrFlags){.kind = IRF_ADD, .size = size, .a = d, .b = b};
        break;
    case IR_SUB:
        r->cur = (IrFlags){.kind = IRF_SUB, .size = size, .a = a, .b = b};
        break;
    case IR_AND:
    case IR_OR:
    case IR_XOR:
        r->cur = (IrFlags){.kind = IRF_LOGIC, .size = size, .a = d};
        break;
    default:
        break;
    }
}

static void pack(Rnd *r)
{
    IrVal v;

    if (r->cur.kind == IRF_PACKED) {
        return;
    }
    v = ir_flags(r->b, &r->cur);
    if (r->cur.kind == IRF_SHL || r->cur.kind == IRF_SHR || r->cur.kind == IRF_SAR) {
        /* H is not defined after shifts */
        v = ir_op(r->b, IR_AND, IR_I32, v, ir_const(r->b, IR_I32, 0xffff & ~IRF_H));
    }
    ir_mov(r->b, IR_I32, ir_global(TOY_CC), v);
    r->cur = (IrFlags){.kind = IRF_PACKED};
}

static void rnd_int(Rnd *r)
{
    static const uint8_t bin[] = {IR_ADD, IR_SUB, IR_AND, IR_OR,  IR_XOR, IR_ANDN, IR_MUL,
                                  IR_SHL, IR_SHR, IR_SAR, IR_ROL, IR_ROR, IR_ADD,  IR_SUB};
    static const uint8_t un[] = {IR_NOT,    IR_NEG,   IR_BSWAP, IR_CLZ,    IR_CTZ,
                                 IR_POPCNT, IR_EXT8U, IR_EXT8S, IR_EXT16U, IR_EXT16S};
    IrType t = pick(r, 2) ? IR_I64 : IR_I32;
    unsigned w = t == IR_I64 ? 64 : 32, pos, len;
    IrVal d, lo, hi;

    switch (pick(r, 16)) {
    case 0:
        add_t(r, t, ir_op(r->b, un[pick(r, G_N_ELEMENTS(un))], t, pick_t(r, t), 0));
        break;
    case 1:
        add_t(r, IR_I64, pick(r, 2) ? ir_ext32u(r->b, pick32(r)) : ir_ext32s(r->b, pick32(r)));
        break;
    case 2:
        pos = pick(r, 2) ? pick(r, 2) * 8 : pick(r, w);
        len = pick(r, 3) ? 8u << pick(r, 2) : 1 + pick(r, w - pos);
        len = MIN(len, w - pos);
        add_t(r, t, ir_extract(r->b, t, pick_t(r, t), pos, len, pick(r, 2)));
        break;
    case 3:
        pos = pick(r, 2) ? pick(r, 2) * 8 : pick(r, w);
        len = pick(r, 3) ? 8u << pick(r, 2) : 1 + pick(r, w - pos);
        len = MIN(len, w - pos);
        add_t(r, t, ir_deposit(r->b, t, pick_t(r, t), pick_t(r, t), pos, len));
        break;
    case 4:
        d = ir_setcond(r->b, t, pick(r, 12), pick_t(r, t), pick_t(r, t));
        add_t(r, IR_I64, d);
        break;
    case 5: {
        IrType tc = pick(r, 2) ? IR_I64 : IR_I32;

        add_t(r, t,
              ir_movcond(r->b, t, tc, pick(r, 12), pick_t(r, tc), pick_t(r, tc), pick_t(r, t),
                         pick_t(r, t)));
        break;
    }
    case 6:
        lo = ir_temp(r->b, t);
        hi = ir_temp(r->b, t);
        ir_mul2(r->b, pick(r, 2), t, lo, hi, pick_t(r, t), pick_t(r, t));
        add_t(r, t, lo);
        add_t(r, t, hi);
        break;
    case 7:
        add_t(r, IR_I32, ir_setflag(r->b, pick(r, 16), &r->cur));
        break;
    case 8:
        add_t(r, t, ir_movflag(r->b, t, pick(r, 16), &r->cur, pick_t(r, t), pick_t(r, t)));
        break;
    case 9:
        d = ir_lde(r->b, t, pick(r, t == IR_I64 ? 4 : 3) | (pick(r, 2) ? IRM_SIGN : 0),
                   offsetof(ToyCpu, scratch) + pick(r, 7) * 8);
        add_t(r, t, d);
        break;
    case 10: {
        /* the same temporary twice */
        IrVal twice = ir_copy(r->b, t, pick_t(r, t));

        ir_op_to(r->b, bin[pick(r, G_N_ELEMENTS(bin))], t, twice, twice, pick_t(r, t));
        add_t(r, t, twice);
        break;
    }
    default: {
        IrOp op = bin[pick(r, G_N_ELEMENTS(bin))];

        add_t(r, t, ir_op(r->b, op, t, pick_t(r, t), pick_t(r, t)));
    }
    }
}

static IrVal rnd_addr(Rnd *r)
{
    uint64_t base = 0x40000;
    IrVal v;

    switch (pick(r, 12)) {
    case 0:
        base = TOY_HOLE - 4; /* the end of the page before */
        break;
    case 1:
        base = TOY_RO - 6;
        break;
    case 2:
        base = TOY_IO;
        break;
    }
    v = ir_op(r->b, IR_AND, IR_I64, pick64(r),
              ir_const(r->b, IR_I64,
                       base & 0xfff ? 7
                       : pick(r, 2) ? 0xfff
                                    : 0x3ff8));
    if (pick(r, 3) == 0) {
        IrVal i = ir_op(r->b, IR_AND, IR_I64, pick64(r), ir_const(r->b, IR_I64, 15));

        v = ir_op(r->b, IR_ADD, IR_I64, v,
                  ir_op(r->b, IR_SHL, IR_I64, i, ir_const(r->b, IR_I64, pick(r, 4))));
    }
    return ir_op(r->b, IR_ADD, IR_I64, v, ir_const(r->b, IR_I64, base));
}

static void rnd_mem(Rnd *r)
{
    IrType t = pick(r, 2) ? IR_I64 : IR_I32;
    unsigned mem = pick(r, t == IR_I64 ? 4 : 3) | pick(r, 2) << IRM_MMU_SHIFT;
    IrVal a = rnd_addr(r);

    if (pick(r, 8) == 0) {
        mem |= IRM_BE;
    }
    if (pick(r, 16) == 0) {
        mem |= IRM_ALIGN;
    }
    switch (pick(r, 8)) {
    case 0:
    case 1:
    case 2:
        ir_qst(r->b, t, mem, a, pick_t(r, t));
        break;
    case 3:
        if (r->vectors) {
            unsigned vm = IRM_32 + pick(r, 3);

            if (pick(r, 2)) {
                add_t(r, IR_V128, ir_qld(r->b, IR_V128, vm, a));
            } else {
                ir_qst(r->b, IR_V128, vm, a, pickv(r));
            }
        }
        break;
    case 4:
        if (r->atomics) {
            add_t(r, t,
                  ir_qatomic(r->b, t, pick(r, 6), mem & ~(IRM_BE), a, pick_t(r, t), pick_t(r, t)));
        }
        break;
    default:
        if (pick(r, 2)) {
            mem |= IRM_SIGN;
        }
        if (pick(r, 4) == 0) {
            mem |= IRM_RMW;
        }
        add_t(r, t, ir_qld(r->b, t, mem, a));
    }
}

static void rnd_vec(Rnd *r)
{
    static const uint16_t ops[] = {IRVOP_ADDPS, IRVOP_ADDSD,  IRVOP_MULPD,   IRVOP_PADDB,
                                   IRVOP_PXOR,  IRVOP_SQRTSS, IRVOP_DIVSS,   IRVOP_SUBPS,
                                   IRVOP_MOVSS, IRVOP_MOVSD,  IRVOP_MOVLHPS, IRVOP_PUNPCKLBW};
    IrType t = pick(r, 2) ? IR_I64 : IR_I32;

    switch (pick(r, 8)) {
    case 0:
        add_t(r, IR_V128, ir_vop(r->b, IRVOP_PSHUFD, 0, pickv(r), rnd(r)));
        break;
    case 1:
        add_t(r, IR_I32, ir_vcmpflags(r->b, IRVOP_UCOMISD, pickv(r), pickv(r)));
        r->cur = (IrFlags){.kind = IRF_VALUE, .a = r->i32[r->n32 - 1]};
        if (r->n32 >= 48) {
            r->cur = (IrFlags){.kind = IRF_PACKED};
        }
        break;
    case 2:
        add_t(r, t, ir_vtoi(r->b, t, pick(r, 2) ? IRVOP_MOVD_TOI : IRVOP_CVTTSD2SI, pickv(r), 0));
        break;
    case 3:
        if (pick(r, 2)) {
            add_t(r, IR_V128, ir_vfromi(r->b, t, IRVOP_MOVD_FROMI, 0, pick_t(r, t), 0));
        } else {
            add_t(r, IR_V128, ir_vfromi(r->b, t, IRVOP_CVTSI2SD, pickv(r), pick_t(r, t), 0));
        }
        break;
    case 4:
        add_t(r, IR_V128,
              ir_vlde(r->b, 4u << pick(r, 3), offsetof(ToyCpu, scratch) + pick(r, 5) * 8));
        break;
    case 5:
        add_t(r, IR_V128, ir_vop(r->b, IRVOP_PSRLDI, pickv(r), 0, pick(r, 40)));
        break;
    default:
        add_t(r, IR_V128, ir_vop(r->b, ops[pick(r, G_N_ELEMENTS(ops))], pickv(r), pickv(r), 0));
    }
}

/* Second half of a guest instruction: writes of the state. */
static void rnd_writes(Rnd *r)
{
    static const uint8_t bin[] = {IR_ADD, IR_SUB, IR_AND, IR_XOR, IR_OR, IR_ADD, IR_SUB};
    unsigned n = pick(r, 3);

    for (unsigned i = 0; i < n; i++) {
        IrVal g = toy_r(pick(r, TOY_REGS)), a, k;

        switch (pick(r, 7)) {
        case 0: /* as an ALU instruction: op on a register, flags from it */
        case 1: {
            IrOp op = bin[pick(r, G_N_ELEMENTS(bin))];
            IrType t = pick(r, 2) ? IR_I64 : IR_I32;
            IrVal old = ir_copy(r->b, t, g), b2, d;

            b2 = pick(r, 2) ? ir_const(r->b, t, rnd_const(r)) : ir_copy(r->b, t, pick_t(r, t));
            d = ir_op(r->b, op, t, pick(r, 2) ? g : old, b2);
            ir_mov(r->b, IR_I64, g, t == IR_I32 ? ir_ext32u(r->b, d) : d);
            flags_from(r, op, t, d, old, b2);
            break;
        }
        case 2: /* INC, DEC */
            a = ir_copy(r->b, IR_I32, ir_global(TOY_CC));
            if (r->cur.kind != IRF_PACKED) {
                a = ir_flags(r->b, &r->cur);
                a = ir_op(r->b, IR_AND, IR_I32, a, ir_const(r->b, IR_I32, 0xffff & ~IRF_H));
            }
            k = ir_op(r->b, pick(r, 2) ? IR_ADD : IR_SUB, IR_I64, g, ir_const(r->b, IR_I64, 1));
            r->cur =
                (IrFlags){.kind = r->b->insns[r->b->n_insns - 1].op == IR_ADD ? IRF_INC : IRF_DEC,
                          .size = 8,
                          .a = k,
                          .c = a};
            ir_mov(r->b, IR_I64, g, k);
            break;
        case 3:
            ir_op_to(r->b, bin[pick(r, G_N_ELEMENTS(bin))], IR_I64, g, pick64(r), pick64(r));
            break;
        case 4: /* push-like address arithmetic */
            k = ir_op(r->b, IR_ADD, IR_I64, g, ir_const(r->b, IR_I64, -8));
            add_t(r, IR_I64, k);
            ir_mov(r->b, IR_I64, g, k);
            break;
        case 5:
            if (r->vectors) {
                if (pick(r, 2)) {
                    ir_mov(r->b, IR_V128, toy_v(pick(r, TOY_VECS)), pickv(r));
                } else {
                    IrVal d = toy_v(pick(r, TOY_VECS));

                    ir_vop_to(r->b, pick(r, 2) ? IRVOP_PADDB : IRVOP_ADDPS, d,
                              pick(r, 2) ? d : pickv(r), pickv(r), 0);
                }
                break;
            }
            /* fall through */
        default:
            ir_mov(r->b, IR_I64, g, pick64(r));
        }
    }
    switch (pick(r, 5)) {
    case 0:
        r->cur = rnd_flags(r);
        break;
    case 1:
        pack(r);
        break;
    case 2:
        ir_ste(r->b, IR_I64, pick(r, 4), offsetof(ToyCpu, scratch) + pick(r, 8) * 8, pick64(r));
        break;
    case 3:
        if (r->vectors) {
            ir_vste(r->b, 4u << pick(r, 3), offsetof(ToyCpu, scratch) + pick(r, 5) * 8, pickv(r));
        }
        break;
    }
}

/* ---- helpers that blocks call ---- */

static uint64_t h_pure(void *env, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    return a + 3 * b - c * 5 + (d ^ e);
}

static uint64_t h_state(void *env, uint64_t a, uint64_t b)
{
    ToyCpu *c = env;

    if (a % 5 == 0) {
        c->fault_kind = 5;
        c->fault_addr = a;
        jit_raise(&c->vcpu);
    }
    c->r[1] += a;
    c->r[9] ^= b + c->r[2] + c->cc;
    c->v[3][5]++;
    return c->r[4];
}

static uint64_t h_read(void *env)
{
    ToyCpu *c = env;

    return c->r[0] + c->r[11] + c->v[1][2];
}

static const IrHelper help_pure = {"pure", h_pure, 5, IRH_RET | IRH_PURE};
static const IrHelper help_state = {"state", h_state, 2, IRH_RET | IRH_ALL};
static const IrHelper help_read = {"read", h_read, 0, IRH_RET | IRH_READS};

static void rnd_call(Rnd *r)
{
    IrVal a[5];

    for (int i = 0; i < 5; i++) {
        a[i] = pick64(r);
    }
    switch (pick(r, 3)) {
    case 0:
        add_t(r, IR_I64, ir_call(r->b, &help_pure, a, 5));
        break;
    case 1:
        add_t(r, IR_I64, ir_call(r->b, &help_state, a, 2));
        break;
    default:
        add_t(r, IR_I64, ir_call0(r->b, &help_read));
    }
}

static void rnd_exit(Rnd *r, uint64_t to);

static void rnd_block(IrBlock *b, uint64_t pc, unsigned max, void *arg)
{
    Rnd *r = arg;
    unsigned n;

    r->b = b;
    r->s = pc * 0x9e3779b97f4a7c15ull + 12345;
    forget_temps(r);
    r->cur = (IrFlags){.kind = IRF_PACKED};
    n = 1 + pick(r, r->size);
    n = MIN(max, n);
    r->local = ir_local(b, IR_I64);
    ir_mov(b, IR_I64, r->local, ir_const(b, IR_I64, 7));
    for (unsigned i = 0; i < n; i++) {
        unsigned skip = 0;

        ir_insn(b, pc + i, &r->cur);
        b->n_guest++;
        for (unsigned k = pick(r, 5); k-- > 0;) {
            unsigned what = pick(r, 12);

            if (what < 4) {
                rnd_mem(r);
            } else if (what == 4 && r->vectors) {
                rnd_vec(r);
            } else {
                rnd_int(r);
            }
        }
        if (r->calls && pick(r, 8) == 0) {
            rnd_call(r);
        }
        if (r->branches && pick(r, 4) == 0) {
            bool taken_writes = pick(r, 2);

            pack(r);
            skip = ir_label(b);
            if (pick(r, 2)) {
                ir_brcond(b, IR_I64, pick(r, 12), pick64(r), pick64(r), skip);
            } else {
                IrFlags f = rnd_flags(r);

                ir_brflag(b, pick(r, 16), &f, skip);
            }
            forget_temps(r);
            rnd_int(r);
            ir_op_to(b, IR_ADD, IR_I64, r->local, r->local, pick64(r));
            if (taken_writes) {
                rnd_writes(r);
                pack(r);
            }
            ir_place(b, skip);
            forget_temps(r);
            add_t(r, IR_I64, r->local);
        }
        rnd_writes(r);
        if (r->exits && pick(r, 4) == 0) {
            rnd_exit(r, pc + 0x100001 + i);
        }
        if (ir_full(b)) {
            break;
        }
    }
    if (r->exits && pick(r, 2)) {
        rnd_exit(r, pc + 0x100000);
    }
    pack(r);
    ir_mov(b, IR_I64, toy_r(0), r->local);
    ir_exit(b, ir_const(b, IR_I64, pc + 0x100));
}

static bool shift_kind(const IrFlags *f)
{
    return f->kind == IRF_SHL || f->kind == IRF_SHR || f->kind == IRF_SAR;
}

/* A random conditional way out to block @to. */
static void rnd_exit(Rnd *r, uint64_t to)
{
    if (shift_kind(&r->cur)) { /* H is not defined */
        pack(r);
    }
    ir_brexit(r->b, pick(r, 16), &r->cur, to);
}

static void rnd_body(Rnd *r, uint64_t pc, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        ir_insn(r->b, pc + i, &r->cur);
        r->b->n_guest++;
        for (unsigned k = pick(r, 4); k-- > 0;) {
            if (pick(r, 4) == 0) {
                rnd_mem(r);
            } else {
                rnd_int(r);
            }
        }
        rnd_writes(r);
    }
}

enum { NET = 32 };

/* One of NET blocks that jump to each other at random until r11 has been counted down. */
static void net_block(IrBlock *b, uint64_t pc, unsigned max, void *arg)
{
    Rnd *r = arg;
    uint64_t base = pc & -64ull;
    IrVal left, old;

    r->b = b;
    r->s = pc * 0x9e3779b97f4a7c15ull + 777;
    forget_temps(r);
    r->cur = (IrFlags){.kind = IRF_PACKED};
    ir_insn(b, pc, &r->cur);
    b->n_guest = 1;
    if ((pc & 63) == 63) {
        ir_exit(b, ir_const(b, IR_I64, 0x1237f));
        return;
    }
    if (pick(r, 2)) { /* a block that looks at the old flags, or uses memory, first */
        rnd_body(r, pc + 1, 1);
        pack(r);
    }
    old = ir_lde(b, IR_I64, IRM_64, offsetof(ToyCpu, left));
    left = ir_sub(b, IR_I64, old, ir_const(b, IR_I64, 1));
    ir_ste(b, IR_I64, IRM_64, offsetof(ToyCpu, left), left);
    r->cur = (IrFlags){.kind = IRF_SUB, .size = 8, .a = old, .b = ir_const(b, IR_I64, 1)};
    ir_brexit(b, IRFC_Z, &r->cur, base + 63);
    rnd_body(r, pc + 2, pick(r, 3));
    for (unsigned n = pick(r, 3); n-- > 0;) {
        rnd_exit(r, base + pick(r, NET));
        rnd_body(r, pc + 6, pick(r, 2));
    }
    pack(r);
    ir_jmp(b, base + pick(r, NET));
}

/* ---- comparing ---- */

static void set_state(Toy *t, uint64_t seed)
{
    Rnd r = {.s = seed * 77777 + 99};
    ToyCpu *c = t->c;

    for (int i = 0; i < TOY_REGS; i++) {
        c->r[i] = rnd_const(&r);
    }
    c->cc = (rnd(&r) & (IRF_V | IRF_C | IRF_P | IRF_H | IRF_Z | IRF_N)) | IRF_ONE;
    for (int i = 0; i < TOY_VECS; i++) {
        float f[4];

        for (int k = 0; k < 4; k++) {
            f[k] = (int)(rnd(&r) % 2000) / 8.0f - 100;
        }
        memcpy(c->v[i], f, 16);
    }
    for (int i = 0; i < 8; i++) {
        c->scratch[i] = rnd(&r);
    }
    c->mxcsr = 0x1f80;
    for (unsigned i = 0; i < 0x5000; i += 8) {
        *(uint64_t *)(t->ram.host + 0x40000 + i) = rnd(&r);
    }
    memset(t->ram.host + TOY_HOLE - 16, 0x5a, 16);
    memset(t->ram.host + TOY_RO - 16, 0xa5, 16);
    c->n_faults = 0;
    c->fault_addr = 0;
    c->pc = seed;
}

static bool same_state(Toy *a, Toy *b)
{
    size_t from = offsetof(ToyCpu, r), to = offsetof(ToyCpu, runs);

    return !memcmp((char *)a->c + from, (char *)b->c + from, to - from) &&
           !memcmp(a->ram.host, b->ram.host, TOY_RAM);
}

static void show(const char *who, Toy *t)
{
    ToyCpu *c = t->c;

    g_test_message("%s: pc %" G_GINT64_MODIFIER "x cc %x faults %u kind %u addr %" G_GINT64_MODIFIER
                   "x mxcsr %x",
                   who, c->pc, c->cc, c->n_faults, c->fault_kind, c->fault_addr, c->mxcsr);
    for (int i = 0; i < TOY_REGS; i++) {
        g_test_message("  r%d %016" G_GINT64_MODIFIER "x", i, c->r[i]);
    }
    for (int i = 0; i < TOY_VECS; i++) {
        uint64_t q[2];

        memcpy(q, c->v[i], 16);
        g_test_message("  v%d %016" G_GINT64_MODIFIER "x %016" G_GINT64_MODIFIER "x", i, q[0],
                       q[1]);
    }
}

static void show_difference(Toy *a, Toy *b, uint64_t seed)
{
    JitCpu *j = jit_cpu(&b->c->vcpu);
    JitBlock *blk;
    char *text;

    show("interpreter", a);
    show("translated", b);
    for (unsigned i = 0; i < TOY_RAM; i++) {
        if (a->ram.host[i] != b->ram.host[i]) {
            g_test_message("memory differs at %x: %02x, %02x", i, a->ram.host[i], b->ram.host[i]);
            break;
        }
    }
    b->c->runs = 0;
    blk = jit_block_get(j, seed, 0, false);
    ir_begin(j->ir, &toy_jit, seed, 0);
    toy_emit(j->ir, seed, 64, toy_arg);
    text = ir_dump(j->ir);
    g_print("%s\n", text);
    g_free(text);
    extern char *jit_host_disas(const uint8_t *, size_t, uint64_t);
    text = jit_host_disas(blk->host, blk->host_size, (uintptr_t)blk->host);
    g_print("%s\n", text);
    g_free(text);
}

static void compare(const char *opts, Rnd *what, unsigned n, uint64_t first)
{
    Toy a, b;
    unsigned faults = 0;

    toy_init(&a, "mode=interp");
    toy_init(&b, opts);
    toy_emit = rnd_block;
    toy_arg = what;
    for (uint64_t seed = first; seed < first + n; seed++) {
        JitCpu *j = jit_cpu(&b.c->vcpu);
        char *msg;

        if (g_getenv("JIT_SEED") && seed != strtoul(g_getenv("JIT_SEED"), NULL, 0)) {
            continue;
        }
        ir_begin(j->ir, &toy_jit, seed, 0);
        rnd_block(j->ir, seed, 64, what);
        msg = ir_verify(j->ir);
        if (msg) {
            char *text = ir_dump(j->ir);

            g_print("%s", text);
            g_test_message("seed %u: %s", (unsigned)seed, msg);
            g_assert_not_reached();
        }
        set_state(&a, seed);
        set_state(&b, seed);
        toy_run(&a, 1);
        toy_run(&b, 1);
        faults += a.c->n_faults;
        if (!same_state(&a, &b)) {
            g_test_message("seed %u (%s) differs", (unsigned)seed, opts);
            show_difference(&a, &b, seed);
            g_assert_not_reached();
        }
    }
    g_test_message("%u of %u blocks ended in a fault", faults, n);
    toy_free(&a);
    toy_free(&b);
}

static unsigned rounds(void);

static void test_exits(void)
{
    Rnd r = {.size = 14,
             .vectors = true,
             .branches = true,
             .atomics = true,
             .calls = true,
             .exits = true};

    compare("opt-link=off", &r, rounds(), 500001);
}

/* Blocks linked to each other, run for a while. */
static void test_net(const char *opts)
{
    Toy a, b;
    Rnd r = {0};
    unsigned faults = 0, n = rounds() / 2;

    toy_init(&a, "mode=interp");
    toy_init(&b, opts);
    toy_emit = net_block;
    toy_arg = &r;
    for (uint64_t seed = 1; seed <= n; seed++) {
        if (g_getenv("JIT_SEED") && seed != strtoul(g_getenv("JIT_SEED"), NULL, 0)) {
            continue;
        }
        set_state(&a, seed);
        set_state(&b, seed);
        a.c->pc = b.c->pc = seed * 64;
        for (unsigned more = 0; more < 3; more++) {
            a.c->left = b.c->left = 1 + seed * 7 % 97 + more * 50;
            a.c->pc = b.c->pc = seed * 64 + more;
            a.c->stop_pc = b.c->stop_pc = 0x1237f;
            toy_run(&a, 0);
            toy_run(&b, 0);
            faults += a.c->n_faults;
            if (!same_state(&a, &b)) {
                g_test_message("net %u (%s) differs in pass %u", (unsigned)seed, opts, more);
                show("interpreter", &a);
                show("translated", &b);
                g_assert_not_reached();
            }
            if (a.c->n_faults) {
                break;
            }
        }
    }
    g_test_message("%u runs ended in a fault", faults);
    toy_free(&a);
    toy_free(&b);
}

static void test_links(void)
{
    test_net("");
    test_net("opt-lazyflags=off");
    test_net("opt-link=off");
    test_net("opt-jumpcache=off");
    test_net("tb-size=2M,max-insns=3");
}

static unsigned rounds(void)
{
    const char *e = g_getenv("JIT_ROUNDS");

    return e ? strtoul(e, NULL, 0) : 2000;
}

static void test_straight(void)
{
    Rnd r = {.size = 8};

    compare("", &r, rounds(), 1);
}

static void test_vectors(void)
{
    Rnd r = {.size = 8, .vectors = true};

    compare("", &r, rounds(), 100001);
}

static void test_all(void)
{
    Rnd r = {.size = 14, .vectors = true, .branches = true, .atomics = true, .calls = true};

    compare("", &r, rounds(), 200001);
}

static void test_big(void)
{
    Rnd r = {.size = 60, .vectors = true, .branches = true, .atomics = true, .calls = true};

    compare("", &r, rounds() / 4, 300001);
}

static void test_options(void)
{
    static const char *const opts[] = {
        "opt-pin=off",
        "opt-fold=off",
        "opt-inplace=off",
        "opt-cache=off",
        "opt-flags=off",
        "opt-fasttlb=off",
        "opt-victim=off",
        "opt-atomics=off",
        "opt-jumpcache=off,opt-link=off",
        "opt-pin=off,opt-fold=off,opt-inplace=off,opt-cache=off,opt-flags=off"};
    Rnd r = {.size = 14, .vectors = true, .branches = true, .atomics = true, .calls = true};

    for (unsigned i = 0; i < G_N_ELEMENTS(opts); i++) {
        compare(opts[i], &r, rounds() / 8, 400001);
    }
}

/* ---- flags against the host CPU ---- */

static uint32_t host_flags(IrFlagKind kind, unsigned size, uint64_t x, uint64_t y, unsigned carry,
                           uint64_t *result)
{
    uint64_t fl, r = x;

#define OP2(insn, T)                                                                               \
    do {                                                                                           \
        T v = (T)x, w = (T)y;                                                                      \
        __asm__ volatile("bt $0, %3\n" insn " %2, %0\npushfq\npopq %1"                             \
                         : "+r"(v), "=r"(fl)                                                       \
                         : "r"(w), "r"(carry)                                                      \
                         : "cc");                                                                  \
        r = v;                                                                                     \
    } while (0)
#define OP1(insn, T)                                                                               \
    do {                                                                                           \
        T v = (T)x;                                                                                \
        __asm__ volatile("bt $0, %2\n" insn " %0\npushfq\npopq %1"                                 \
                         : "+r"(v), "=r"(fl)                                                       \
                         : "r"(carry)                                                              \
                         : "cc");                                                                  \
        r = v;                                                                                     \
    } while (0)
#define SIZES(OP, insn)                                                                            \
    do {                                                                                           \
        if (size == 1) {                                                                           \
            OP(insn "b", uint8_t);                                                                 \
        } else if (size == 2) {                                                                    \
            OP(insn "w", uint16_t);                                                                \
        } else if (size == 4) {                                                                    \
            OP(insn "l", uint32_t);                                                                \
        } else {                                                                                   \
            OP(insn "q", uint64_t);                                                                \
        }                                                                                          \
    } while (0)
    switch (kind) {
    case IRF_ADD:
        SIZES(OP2, "add");
        break;
    case IRF_SUB:
        SIZES(OP2, "sub");
        break;
    case IRF_LOGIC:
        SIZES(OP2, "and");
        break;
    case IRF_ADC:
        SIZES(OP2, "adc");
        break;
    case IRF_SBB:
        SIZES(OP2, "sbb");
        break;
    case IRF_INC:
        SIZES(OP1, "inc");
        break;
    case IRF_DEC:
        SIZES(OP1, "dec");
        break;
    case IRF_SHL:
        SIZES(OP1, "shl");
        break;
    case IRF_SHR:
        SIZES(OP1, "shr");
        break;
    default:
        SIZES(OP1, "sar");
        break;
    }
    *result = r;
    return (fl & 0xd5) << 8 | (fl >> 11 & 1) | IRF_ONE;
}

/* r0 = x, r1 = y, r2 = carry; packed flags into r3, conditions into r4. */
static void flag_block(IrBlock *b, uint64_t pc, unsigned max, void *arg)
{
    IrFlagKind kind = pc & 15;
    unsigned size = 1u << (pc >> 4 & 3);
    unsigned how = pc >> 6 & 3;
    IrType t = size == 8 ? IR_I64 : IR_I32;
    IrFlags f = {.kind = kind, .size = size};
    IrVal x = ir_copy(b, t, toy_r(0)), y = ir_copy(b, t, toy_r(1)), c, res, all;

    ir_insn(b, pc, &(IrFlags){.kind = IRF_PACKED});
    c = ir_op(b, IR_AND, IR_I32, toy_r(2), ir_const(b, IR_I32, 1));
    switch (kind) {
    case IRF_ADD:
        res = ir_add(b, t, x, y);
        f.a = res;
        f.b = y;
        break;
    case IRF_SUB:
        res = ir_sub(b, t, x, y);
        f.a = x;
        f.b = y;
        break;
    case IRF_LOGIC:
        res = ir_and(b, t, x, y);
        f.a = res;
        break;
    case IRF_ADC:
        res = ir_add(b, t, ir_add(b, t, x, y), t == IR_I64 ? ir_ext32u(b, c) : c);
        f.a = res;
        f.b = y;
        f.c = c;
        break;
    case IRF_SBB:
        f.a = x;
        f.b = y;
        f.c = c;
        res = ir_sub(b, t, ir_sub(b, t, x, y), t == IR_I64 ? ir_ext32u(b, c) : c);
        break;
    case IRF_INC:
    case IRF_DEC:
        res = ir_op(b, kind == IRF_INC ? IR_ADD : IR_SUB, t, x, ir_const(b, t, 1));
        f.a = res;
        f.c = ir_op(b, IR_OR, IR_I32, ir_shl(b, IR_I32, c, ir_const(b, IR_I32, 8)),
                    ir_const(b, IR_I32, IRF_ONE | IRF_Z | IRF_V));
        break;
    case IRF_SHL:
        res = ir_shl(b, t, x, ir_const(b, t, 1));
        f.a = res;
        f.b = x;
        break;
    case IRF_SHR:
    default:
        res = ir_extract(b, t, x, 0, size * 8, kind == IRF_SAR);
        res = ir_op(b, kind == IRF_SHR ? IR_SHR : IR_SAR, t, res, ir_const(b, t, 1));
        f.a = res;
        f.b = x;
        break;
    }
    all = ir_const(b, IR_I64, 0);
    if (how == 1) { /* something that spoils the host's flags in between */
        ir_mov(b, IR_I64, toy_r(5), ir_mul(b, IR_I64, toy_r(6), toy_r(7)));
    }
    if (how != 2) {
        ir_mov(b, IR_I64, toy_r(3), ir_ext32u(b, ir_flags(b, &f)));
    }
    for (unsigned cc = 0; cc < 16; cc++) {
        IrVal bit = ir_ext32u(b, ir_setflag(b, cc, &f));

        if (how == 3) { /* each from scratch */
            ir_mov(b, IR_I64, toy_r(5), ir_mul(b, IR_I64, toy_r(6), toy_r(7)));
        }
        all = ir_or(b, IR_I64, all, ir_shl(b, IR_I64, bit, ir_const(b, IR_I64, cc)));
    }
    if (how == 2) {
        ir_mov(b, IR_I64, toy_r(3), ir_ext32u(b, ir_flags(b, &f)));
    }
    ir_mov(b, IR_I64, toy_r(4), all);
    b->n_guest = 1;
    ir_exit(b, ir_const(b, IR_I64, 0));
}

static void test_flags(void)
{
    static const uint64_t values[] = {0,
                                      1,
                                      2,
                                      0x7f,
                                      0x80,
                                      0xff,
                                      0x7fff,
                                      0x8000,
                                      0xffff,
                                      0x7fffffff,
                                      0x80000000,
                                      0xffffffff,
                                      0x7fffffffffffffff,
                                      0x8000000000000000,
                                      0xffffffffffffffff,
                                      0x1237f6789abcdef0};
    Toy t;

    toy_init(&t, "");
    toy_emit = flag_block;
    for (unsigned kind = IRF_ADD; kind <= IRF_SAR; kind++) {
        for (unsigned s = 0; s < 4 * 4; s++) {
            unsigned size = 1u << (s & 3);

            for (unsigned i = 0; i < G_N_ELEMENTS(values) * G_N_ELEMENTS(values) * 2; i++) {
                uint64_t x = values[i % 16], y = values[i / 16 % 16], res;
                unsigned carry = i / 256, mask = IRF_V | IRF_C | IRF_P | IRF_Z | IRF_N | IRF_H;
                uint32_t want = host_flags(kind, size, x, y, carry, &res), conds = 0;

                if (kind == IRF_SHL || kind == IRF_SHR || kind == IRF_SAR) {
                    mask &= ~IRF_H;
                }
                for (unsigned cc = 0; cc < 16; cc++) {
                    conds |= ir_eval_flagcond(cc, want) << cc;
                }
                t.c->r[0] = x;
                t.c->r[1] = y;
                t.c->r[2] = carry;
                t.c->pc = kind | s << 4;
                toy_run(&t, 1);
                if ((t.c->r[3] & mask) != (want & mask) || t.c->r[4] != conds) {
                    g_test_message("kind %u size %u how %u x %lx y %lx carry %u: flags %lx want "
                                   "%x, conditions %lx want %x",
                                   kind, size, s >> 2, (long)x, (long)y, carry, (long)t.c->r[3],
                                   want, (long)t.c->r[4], conds);
                    g_test_fail();
                    return;
                }
            }
        }
    }
    toy_free(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/jit/flags-as-host", test_flags);
    g_test_add_func("/jit/random/straight", test_straight);
    g_test_add_func("/jit/random/vectors", test_vectors);
    g_test_add_func("/jit/random/all", test_all);
    g_test_add_func("/jit/random/big", test_big);
    g_test_add_func("/jit/random/exits", test_exits);
    g_test_add_func("/jit/random/links", test_links);
    g_test_add_func("/jit/random/options", test_options);
    return g_test_run();
}
