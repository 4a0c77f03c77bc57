/*
 * Building the IR: interning of constants, constant folding, appending.
 *
 * Folding never returns an operand itself: callers may assign a result again, so identities
 * become a MOV, which the register allocator makes free. A folded result is a constant.
 */
#include "accel/jit/ir.h"
#include "accel/jit/ir-eval.h"
#include "accel/jit/jit-target.h"
#include <glib.h>
#include <string.h>

const IrOpInfo ir_op_info[IR_N_OPS] = {
#define X(n, o, i, f) [IR_##n] = {#n, o, i, f},
    IR_OPS(X)
#undef X
};

void ir_begin(IrBlock *b, const struct JitTarget *target, uint64_t pc, uint64_t mode)
{
    b->target = target;
    b->pc = pc;
    b->mode = mode;
    b->n_insns = b->n_flags = b->n_args = b->n_labels = 0;
    b->n_guest = b->guest_bytes = 0;
    b->transient = false;
    b->vals[0] = (IrValInfo){.kind = IRV_NONE};
    g_assert(target->n_globals < IR_MAX_VALS / 4);
    for (unsigned i = 0; i < target->n_globals; i++) {
        b->vals[i + 1] =
            (IrValInfo){.kind = IRV_GLOBAL, .type = target->globals[i].type, .global = i};
    }
    b->n_vals = target->n_globals + 1;
    memset(b->const_hash, 0, sizeof b->const_hash);
}

static IrVal new_val(IrBlock *b, unsigned kind, IrType t)
{
    /* Decoders stop at half of it (ir_full()): overrunning is a bug, never the guest's doing. */
    g_assert(b->n_vals < IR_MAX_VALS);
    b->vals[b->n_vals] = (IrValInfo){.kind = kind, .type = t};
    return b->n_vals++;
}

IrVal ir_const(IrBlock *b, IrType t, uint64_t v)
{
    uint16_t *slot;
    IrVal c;

    v = ir_mask(t, v);
    slot = &b->const_hash[(v ^ v >> 7 ^ v >> 17 ^ v >> 41 ^ t) % 64];
    c = *slot;
    if (c && c < b->n_vals && b->vals[c].kind == IRV_CONST && b->vals[c].type == t &&
        b->vals[c].imm == v) {
        return c;
    }
    c = new_val(b, IRV_CONST, t);
    b->vals[c].imm = v;
    *slot = c;
    return c;
}

IrVal ir_temp(IrBlock *b, IrType t)
{
    return new_val(b, IRV_TEMP, t);
}

IrVal ir_local(IrBlock *b, IrType t)
{
    return new_val(b, IRV_LOCAL, t);
}

static IrInsn *emit(IrBlock *b, IrOp op, IrType t)
{
    IrInsn *in;

    g_assert(b->n_insns < IR_MAX_INSNS);
    in = &b->insns[b->n_insns++];
    memset(in, 0, sizeof *in);
    in->op = op;
    in->type = t;
    return in;
}

static unsigned add_flags(IrBlock *b, const IrFlags *f)
{
    IrFlags n = *f;

    if (n.kind == IRF_PACKED) {
        n = (IrFlags){.kind = IRF_PACKED};
    }
    if (b->n_flags) {
        const IrFlags *last = &b->flags[b->n_flags - 1];

        if (last->kind == n.kind && last->size == n.size && last->a == n.a && last->b == n.b &&
            last->c == n.c && last->cinv == n.cinv) {
            return b->n_flags - 1;
        }
    }
    g_assert(b->n_flags < IR_MAX_FLAGS);
    b->flags[b->n_flags] = n;
    return b->n_flags++;
}

void ir_insn(IrBlock *b, uint64_t pc, const IrFlags *flags)
{
    unsigned f = add_flags(b, flags);
    IrInsn *in = emit(b, IR_INSN, IR_I64);

    in->imm = pc;
    in->extra = f;
}

/* A result of type @t that is constant @v goes into @d (or becomes a constant). */
static IrVal put_const(IrBlock *b, IrType t, IrVal d, uint64_t v)
{
    IrVal c = ir_const(b, t, v);

    if (!d) {
        return c;
    }
    ir_mov(b, t, d, c);
    return d;
}

static IrVal put_mov(IrBlock *b, IrType t, IrVal d, IrVal a)
{
    if (!d) {
        d = ir_temp(b, t);
    }
    ir_mov(b, t, d, a);
    return d;
}

/* Identities with one constant operand @k (the second). 0: none applies. */
static IrVal fold_identity(IrBlock *b, IrOp op, IrType t, IrVal d, IrVal a, uint64_t k)
{
    uint64_t ones = ir_mask(t, ~0ull);

    switch (op) {
    case IR_ADD:
    case IR_SUB:
    case IR_OR:
    case IR_XOR:
    case IR_ANDN:
        if (k == 0) {
            return put_mov(b, t, d, a);
        }
        if (k == ones && op == IR_OR) {
            return put_const(b, t, d, ones);
        }
        break;
    case IR_AND:
        if (k == 0) {
            return put_const(b, t, d, 0);
        }
        if (k == ones) {
            return put_mov(b, t, d, a);
        }
        break;
    case IR_MUL:
        if (k == 0) {
            return put_const(b, t, d, 0);
        }
        if (k == 1) {
            return put_mov(b, t, d, a);
        }
        break;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROL:
    case IR_ROR:
        if ((k & (t == IR_I32 ? 31 : 63)) == 0) {
            return put_mov(b, t, d, a);
        }
        break;
    default:
        break;
    }
    return 0;
}

static IrVal op_common(IrBlock *b, IrOp op, IrType t, IrVal d, IrVal a, IrVal c)
{
    unsigned ins = ir_op_info[op].ins;
    uint64_t ka = 0, kc = 0;
    bool const_a = ir_is_const(b, a, &ka), const_c = ins < 2 || ir_is_const(b, c, &kc);
    IrInsn *in;
    IrVal r;

    if (const_a && const_c) {
        return put_const(b, t, d, ir_eval(op, t, ka, kc, 0));
    }
    if (const_a && (ir_op_info[op].flags & IRO_C)) {
        IrVal swap = a;

        a = c;
        c = swap;
        kc = ka;
        const_c = true;
    }
    if (ins == 2 && const_c && (r = fold_identity(b, op, t, d, a, ir_mask(t, kc)))) {
        return r;
    }
    if (ins == 2 && a == c) {
        if (op == IR_SUB || op == IR_XOR || op == IR_ANDN) {
            return put_const(b, t, d, 0);
        }
        if (op == IR_AND || op == IR_OR) {
            return put_mov(b, t, d, a);
        }
    }
    if (!d) {
        d = ir_temp(b, t);
    }
    in = emit(b, op, t);
    in->d = d;
    in->a = a;
    in->b = ins == 2 ? c : 0;
    return d;
}

void ir_op_to(IrBlock *b, IrOp op, IrType t, IrVal d, IrVal a, IrVal c)
{
    if (op == IR_MOV) {
        ir_mov(b, t, d, a);
    } else {
        op_common(b, op, t, d, a, c);
    }
}

IrVal ir_op(IrBlock *b, IrOp op, IrType t, IrVal a, IrVal c)
{
    return op == IR_MOV ? ir_copy(b, t, a) : op_common(b, op, t, 0, a, c);
}

void ir_mov(IrBlock *b, IrType t, IrVal d, IrVal a)
{
    IrInsn *in;

    if (d == a) {
        return;
    }
    in = emit(b, IR_MOV, t);
    in->d = d;
    in->a = a;
}

IrVal ir_copy(IrBlock *b, IrType t, IrVal a)
{
    IrVal d = ir_temp(b, t);

    ir_mov(b, t, d, a);
    return d;
}

void ir_mul2(IrBlock *b, bool is_signed, IrType t, IrVal lo, IrVal hi, IrVal x, IrVal y)
{
    IrInsn *in = emit(b, is_signed ? IR_MULS2 : IR_MULU2, t);

    in->d = lo;
    in->d2 = hi;
    in->a = x;
    in->b = y;
}

IrVal ir_deposit(IrBlock *b, IrType t, IrVal into, IrVal v, unsigned pos, unsigned len)
{
    uint64_t imm = pos | len << 8, ka, kv;
    IrInsn *in;
    IrVal d;

    g_assert(len > 0 && pos + len <= (t == IR_I32 ? 32 : 64));
    if (ir_is_const(b, into, &ka) && ir_is_const(b, v, &kv)) {
        return ir_const(b, t, ir_eval(IR_DEPOSIT, t, ka, kv, imm));
    }
    if (len == (t == IR_I32 ? 32 : 64)) {
        return ir_copy(b, t, v);
    }
    d = ir_temp(b, t);
    in = emit(b, IR_DEPOSIT, t);
    in->d = d;
    in->a = into;
    in->b = v;
    in->imm = imm;
    return d;
}

IrVal ir_extract(IrBlock *b, IrType t, IrVal v, unsigned pos, unsigned len, bool is_signed)
{
    unsigned width = t == IR_I32 ? 32 : 64;
    IrOp op = is_signed ? IR_EXTRACTS : IR_EXTRACTU;
    uint64_t imm = pos | len << 8, k;
    IrInsn *in;
    IrVal d;

    g_assert(len > 0 && pos + len <= width);
    if (ir_is_const(b, v, &k)) {
        return ir_const(b, t, ir_eval(op, t, k, 0, imm));
    }
    if (pos == 0) {
        if (len == width) {
            return ir_copy(b, t, v);
        }
        if (len == 8 || len == 16) {
            op = len == 8 ? (is_signed ? IR_EXT8S : IR_EXT8U) : (is_signed ? IR_EXT16S : IR_EXT16U);
            return ir_op(b, op, t, v, 0);
        }
        if (len == 32) {
            return ir_op(b, is_signed ? IR_EXT32S : IR_EXT32U, t, v, 0);
        }
    }
    if (pos + len == width) {
        return ir_op(b, is_signed ? IR_SAR : IR_SHR, t, v, ir_const(b, t, pos));
    }
    d = ir_temp(b, t);
    in = emit(b, op, t);
    in->d = d;
    in->a = v;
    in->imm = imm;
    return d;
}

/* Constants go second; the condition is mirrored. */
static IrCond swap_cond(IrCond cc)
{
    static const uint8_t mirrored[] = {
        [IRC_EQ] = IRC_EQ,   [IRC_NE] = IRC_NE,   [IRC_LTU] = IRC_GTU,   [IRC_GEU] = IRC_LEU,
        [IRC_LEU] = IRC_GEU, [IRC_GTU] = IRC_LTU, [IRC_LT] = IRC_GT,     [IRC_GE] = IRC_LE,
        [IRC_LE] = IRC_GE,   [IRC_GT] = IRC_LT,   [IRC_TSTZ] = IRC_TSTZ, [IRC_TSTNZ] = IRC_TSTNZ,
    };
    return mirrored[cc];
}

/* 0 or 1 when the result is known, -1 otherwise. May swap the operands. */
static int fold_cond(IrBlock *b, IrType t, IrCond *cc, IrVal *x, IrVal *y)
{
    uint64_t kx, ky;
    bool cx = ir_is_const(b, *x, &kx), cy = ir_is_const(b, *y, &ky);

    if (cx && cy) {
        return ir_eval_cond(*cc, t, kx, ky);
    }
    if (*x == *y && *cc < IRC_TSTZ) {
        return ir_eval_cond(*cc, t, 0, 0);
    }
    if (cx) {
        IrVal swap = *x;

        *x = *y;
        *y = swap;
        *cc = swap_cond(*cc);
    }
    return -1;
}

IrVal ir_setcond(IrBlock *b, IrType t, IrCond cc, IrVal x, IrVal y)
{
    int known = fold_cond(b, t, &cc, &x, &y);
    IrInsn *in;
    IrVal d;

    if (known >= 0) {
        return ir_const(b, IR_I64, known);
    }
    d = ir_temp(b, IR_I64);
    in = emit(b, IR_SETCOND, t);
    in->cc = cc;
    in->d = d;
    in->a = x;
    in->b = y;
    return d;
}

IrVal ir_movcond(IrBlock *b, IrType t, IrType t_cmp, IrCond cc, IrVal x, IrVal y, IrVal yes,
                 IrVal no)
{
    int known = fold_cond(b, t_cmp, &cc, &x, &y);
    IrInsn *in;
    IrVal d;

    if (known >= 0) {
        return ir_copy(b, t, known ? yes : no);
    }
    d = ir_temp(b, t);
    in = emit(b, IR_MOVCOND, t);
    in->type2 = t_cmp;
    in->cc = cc;
    in->d = d;
    in->a = x;
    in->b = y;
    in->c = yes;
    in->e = no;
    return d;
}

unsigned ir_label(IrBlock *b)
{
    g_assert(b->n_labels < IR_MAX_LABELS);
    return b->n_labels++;
}

void ir_place(IrBlock *b, unsigned label)
{
    emit(b, IR_LABEL, IR_I64)->imm = label;
}

void ir_br(IrBlock *b, unsigned label)
{
    emit(b, IR_BR, IR_I64)->imm = label;
}

void ir_brcond(IrBlock *b, IrType t, IrCond cc, IrVal x, IrVal y, unsigned label)
{
    int known = fold_cond(b, t, &cc, &x, &y);
    IrInsn *in;

    if (known >= 0) {
        if (known) {
            ir_br(b, label);
        }
        return;
    }
    in = emit(b, IR_BRCOND, t);
    in->cc = cc;
    in->a = x;
    in->b = y;
    in->imm = label;
}

IrVal ir_flags(IrBlock *b, const IrFlags *f)
{
    unsigned n;
    IrInsn *in;
    IrVal d;

    if (f->kind == IRF_PACKED) {
        return ir_copy(b, IR_I32, ir_global(b->target->flags_global));
    }
    if (f->kind == IRF_VALUE) {
        return ir_copy(b, IR_I32, f->a);
    }
    n = add_flags(b, f);
    d = ir_temp(b, IR_I32);
    in = emit(b, IR_FLAGS, IR_I32);
    in->d = d;
    in->extra = n;
    return d;
}

IrVal ir_setflag(IrBlock *b, IrFlagCond cc, const IrFlags *f)
{
    unsigned n = add_flags(b, f);
    IrVal d = ir_temp(b, IR_I32);
    IrInsn *in = emit(b, IR_SETFLAG, IR_I32);

    in->cc = cc;
    in->d = d;
    in->extra = n;
    return d;
}

IrVal ir_movflag(IrBlock *b, IrType t, IrFlagCond cc, const IrFlags *f, IrVal yes, IrVal no)
{
    unsigned n = add_flags(b, f);
    IrVal d = ir_temp(b, t);
    IrInsn *in = emit(b, IR_MOVFLAG, t);

    in->cc = cc;
    in->d = d;
    in->a = yes;
    in->b = no;
    in->extra = n;
    return d;
}

void ir_brflag(IrBlock *b, IrFlagCond cc, const IrFlags *f, unsigned label)
{
    unsigned n = add_flags(b, f);
    IrInsn *in = emit(b, IR_BRFLAG, IR_I32);

    in->cc = cc;
    in->extra = n;
    in->imm = label;
}

void ir_brexit(IrBlock *b, IrFlagCond cc, const IrFlags *f, uint64_t pc)
{
    unsigned n = add_flags(b, f);
    IrInsn *in = emit(b, IR_BREXIT, IR_I32);

    in->cc = cc;
    in->extra = n;
    in->imm = pc;
}

IrVal ir_lde(IrBlock *b, IrType t, unsigned mem, size_t off)
{
    IrVal d = ir_temp(b, t);
    IrInsn *in = emit(b, IR_LDE, t);

    in->d = d;
    in->mem = mem;
    in->imm = off;
    return d;
}

void ir_ste(IrBlock *b, IrType t, unsigned mem, size_t off, IrVal v)
{
    IrInsn *in = emit(b, IR_STE, t);

    in->mem = mem;
    in->imm = off;
    in->a = v;
}

IrVal ir_qld(IrBlock *b, IrType t, unsigned mem, IrVal addr)
{
    IrVal d = ir_temp(b, t);
    IrInsn *in = emit(b, IR_QLD, t);

    in->d = d;
    in->mem = mem;
    in->a = addr;
    return d;
}

void ir_qst(IrBlock *b, IrType t, unsigned mem, IrVal addr, IrVal v)
{
    IrInsn *in = emit(b, IR_QST, t);

    in->mem = mem;
    in->a = addr;
    in->b = v;
}

IrVal ir_qatomic(IrBlock *b, IrType t, IrAtomic op, unsigned mem, IrVal addr, IrVal v,
                 IrVal expected)
{
    IrVal d = ir_temp(b, t);
    IrInsn *in = emit(b, IR_QATOMIC, t);

    in->cc = op;
    in->d = d;
    in->mem = mem;
    in->a = addr;
    in->b = v;
    in->c = expected;
    return d;
}

void ir_fence(IrBlock *b)
{
    emit(b, IR_FENCE, IR_I64);
}

IrVal ir_call(IrBlock *b, const IrHelper *h, const IrVal *args, unsigned n)
{
    IrVal d = h->flags & IRH_RET ? ir_temp(b, IR_I64) : 0;
    IrInsn *in;

    g_assert(n == h->nargs && n <= 5 && b->n_args + n <= IR_MAX_ARGS);
    in = emit(b, IR_CALL, IR_I64);
    in->d = d;
    in->helper = h;
    in->cc = n;
    in->extra = b->n_args;
    for (unsigned i = 0; i < n; i++) {
        b->args[b->n_args++] = args[i];
    }
    return d;
}

void ir_jmp(IrBlock *b, uint64_t pc)
{
    emit(b, IR_JMP, IR_I64)->imm = pc;
}

void ir_jmp_ind(IrBlock *b, IrVal pc, IrHint hint)
{
    uint64_t k;
    IrInsn *in;

    if (ir_is_const(b, pc, &k)) {
        ir_jmp(b, k);
        return;
    }
    in = emit(b, IR_JMP_IND, IR_I64);
    in->a = pc;
    in->cc = hint;
}

void ir_exit(IrBlock *b, IrVal pc)
{
    emit(b, IR_EXIT, IR_I64)->a = pc;
}

IrVal ir_vlde(IrBlock *b, unsigned bytes, size_t off)
{
    IrVal d = ir_temp(b, IR_V128);
    IrInsn *in = emit(b, IR_VLDE, IR_V128);

    in->d = d;
    in->mem = bytes;
    in->imm = off;
    return d;
}

void ir_vste(IrBlock *b, unsigned bytes, size_t off, IrVal v)
{
    IrInsn *in = emit(b, IR_VSTE, IR_V128);

    in->a = v;
    in->mem = bytes;
    in->imm = off;
}

static void vec_insn(IrBlock *b, IrOp op, IrType t, unsigned vop, IrVal d, IrVal x, IrVal y,
                     uint8_t imm)
{
    IrInsn *in = emit(b, op, t);

    in->extra = vop;
    in->d = d;
    in->a = x;
    in->b = y;
    in->imm = imm;
}

void ir_vop_to(IrBlock *b, unsigned vop, IrVal d, IrVal x, IrVal y, uint8_t imm)
{
    vec_insn(b, IR_VOP, IR_V128, vop, d, x, y, imm);
}

IrVal ir_vop(IrBlock *b, unsigned vop, IrVal x, IrVal y, uint8_t imm)
{
    IrVal d = ir_temp(b, IR_V128);

    ir_vop_to(b, vop, d, x, y, imm);
    return d;
}

IrVal ir_vcmpflags(IrBlock *b, unsigned vop, IrVal x, IrVal y)
{
    IrVal d = ir_temp(b, IR_I32);

    vec_insn(b, IR_VCMPFLAGS, IR_I32, vop, d, x, y, 0);
    return d;
}

IrVal ir_vtoi(IrBlock *b, IrType t, unsigned vop, IrVal x, uint8_t imm)
{
    IrVal d = ir_temp(b, t);

    vec_insn(b, IR_VTOI, t, vop, d, x, 0, imm);
    return d;
}

IrVal ir_vfma(IrBlock *b, unsigned kind, IrVal x, IrVal y, IrVal c)
{
    IrVal d = ir_temp(b, IR_V128);
    IrInsn *in = emit(b, IR_VFMA, IR_V128);

    in->extra = kind;
    in->d = d;
    in->a = x;
    in->b = y;
    in->c = c;
    return d;
}

IrVal ir_vfromi(IrBlock *b, IrType t, unsigned vop, IrVal into, IrVal i, uint8_t imm)
{
    IrVal d = ir_temp(b, IR_V128);

    vec_insn(b, IR_VFROMI, t, vop, d, into, i, imm);
    return d;
}
