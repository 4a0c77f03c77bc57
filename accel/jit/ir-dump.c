/* The IR as text, and its checker. */
#include "accel/jit/ir-vec.h"
#include "accel/jit/ir.h"
#include "accel/jit/jit-target.h"
#include <glib.h>
#include <string.h>

static const char *const cond_names[] = {"eq", "ne", "ltu", "geu", "leu",  "gtu",
                                         "lt", "ge", "le",  "gt",  "tstz", "tstnz"};
static const char *const flagcond_names[] = {"v", "nv", "c", "nc", "z",  "nz", "cz", "ncz",
                                             "n", "nn", "p", "np", "lt", "ge", "le", "gt"};
static const char *const flag_names[] = {"packed", "value", "add", "sub", "logic", "adc", "sbb",
                                         "inc",    "dec",   "shl", "shr", "sar",   "mul"};
static const char *const atomic_names[] = {"xchg", "add", "and", "or", "xor", "cmpxchg"};
static const char *const vop_names[] = {
#define X(n, p, m, o, f) #n,
    IR_VOPS(X)
#undef X
};

static void dump_val(GString *s, const IrBlock *b, IrVal v)
{
    const IrValInfo *i = &b->vals[v];

    switch (i->kind) {
    case IRV_CONST:
        g_string_append_printf(s, "0x%" G_GINT64_MODIFIER "x", i->imm);
        break;
    case IRV_GLOBAL:
        g_string_append(s, b->target->globals[i->global].name);
        break;
    case IRV_LOCAL:
        g_string_append_printf(s, "l%u", v);
        break;
    case IRV_TEMP:
        g_string_append_printf(s, "t%u", v);
        break;
    default:
        g_string_append(s, "-");
    }
}

static void dump_flags(GString *s, const IrBlock *b, unsigned n)
{
    const IrFlags *f = &b->flags[n];

    g_string_append_printf(s, " {%s", flag_names[f->kind]);
    if (f->kind != IRF_PACKED) {
        const IrVal v[3] = {f->a, f->b, f->c};

        g_string_append_printf(s, "%u", f->size * 8);
        for (int i = 0; i < 3; i++) {
            if (v[i]) {
                g_string_append_c(s, ' ');
                dump_val(s, b, v[i]);
            }
        }
        if (f->cinv) {
            g_string_append(s, " cinv");
        }
    }
    g_string_append_c(s, '}');
}

static void dump_extra(GString *s, const IrBlock *b, const IrInsn *in)
{
    switch (in->op) {
    case IR_QLD:
    case IR_QST:
    case IR_QATOMIC:
    case IR_LDE:
    case IR_STE:
        g_string_append_printf(s, " %s%u%s%s", in->mem & IRM_SIGN ? "s" : "",
                               8u << (in->mem & IRM_SIZE), in->mem & IRM_BE ? "be" : "",
                               in->mem & IRM_RMW ? " rmw" : "");
        if (in->op == IR_LDE || in->op == IR_STE) {
            g_string_append_printf(s, " env+0x%" G_GINT64_MODIFIER "x", in->imm);
        } else {
            g_string_append_printf(s, " mmu%u", in->mem >> IRM_MMU_SHIFT & 15);
        }
        if (in->op == IR_QATOMIC) {
            g_string_append_printf(s, " %s", atomic_names[in->cc]);
        }
        break;
    case IR_VLDE:
    case IR_VSTE:
        g_string_append_printf(s, " %u bytes env+0x%" G_GINT64_MODIFIER "x", in->mem, in->imm);
        break;
    case IR_VOP:
    case IR_VCMPFLAGS:
    case IR_VTOI:
    case IR_VFROMI:
        g_string_append_printf(s, " %s imm 0x%x",
                               in->extra < IRVOP_COUNT ? vop_names[in->extra] : "?",
                               (unsigned)in->imm);
        break;
    case IR_CALL:
        g_string_append_printf(s, " %s(", in->helper->name);
        for (unsigned i = 0; i < in->cc; i++) {
            g_string_append(s, i ? ", " : "");
            dump_val(s, b, b->args[in->extra + i]);
        }
        g_string_append_c(s, ')');
        break;
    case IR_DEPOSIT:
    case IR_EXTRACTU:
    case IR_EXTRACTS:
        g_string_append_printf(s, " [%u, +%u]", (unsigned)in->imm & 0xff,
                               (unsigned)(in->imm >> 8) & 0xff);
        break;
    case IR_SETCOND:
    case IR_MOVCOND:
    case IR_BRCOND:
        g_string_append_printf(s, " %s", cond_names[in->cc]);
        break;
    case IR_FLAGS:
        dump_flags(s, b, in->extra);
        break;
    case IR_SETFLAG:
    case IR_MOVFLAG:
    case IR_BRFLAG:
    case IR_BREXIT:
        g_string_append_printf(s, " %s", flagcond_names[in->cc]);
        dump_flags(s, b, in->extra);
        if (in->op == IR_BREXIT) {
            g_string_append_printf(s, " 0x%" G_GINT64_MODIFIER "x", in->imm);
        }
        break;
    case IR_JMP:
        g_string_append_printf(s, " 0x%" G_GINT64_MODIFIER "x", in->imm);
        break;
    default:
        break;
    }
    if (in->op == IR_BR || in->op == IR_BRCOND || in->op == IR_BRFLAG || in->op == IR_LABEL) {
        g_string_append_printf(s, " L%u", (unsigned)in->imm);
    }
}

char *ir_dump(const IrBlock *b)
{
    static const char *const types[] = {"i32", "i64", "v128"};
    GString *s = g_string_new(NULL);

    g_string_printf(s, "block 0x%" G_GINT64_MODIFIER "x mode 0x%" G_GINT64_MODIFIER "x\n", b->pc,
                    b->mode);
    for (unsigned n = 0; n < b->n_insns; n++) {
        const IrInsn *in = &b->insns[n];
        const IrVal v[4] = {in->a, in->b, in->c, in->e};

        if (in->op == IR_INSN) {
            g_string_append_printf(s, " ---- 0x%" G_GINT64_MODIFIER "x", in->imm);
            dump_flags(s, b, in->extra);
            g_string_append_c(s, '\n');
            continue;
        }
        g_string_append(s, "    ");
        if (in->d) {
            dump_val(s, b, in->d);
            if (in->d2) {
                g_string_append(s, ", ");
                dump_val(s, b, in->d2);
            }
            g_string_append(s, " = ");
        }
        g_string_append_printf(s, "%s.%s", ir_op_info[in->op].name, types[in->type]);
        for (int i = 0; i < 4; i++) {
            if (v[i]) {
                g_string_append(s, i ? ", " : " ");
                dump_val(s, b, v[i]);
            }
        }
        dump_extra(s, b, in);
        g_string_append_c(s, '\n');
    }
    return g_string_free(s, FALSE);
}

/* ---- the checker ---- */

typedef struct Verify {
    const IrBlock *b;
    GString *err;
    unsigned pos;
    bool defined[IR_MAX_VALS];         /* TEMPs die at labels and branches, LOCALs do not */
    bool wide[IR_MAX_VALS];            /* an I32 value whose upper half is known to be zero */
    int8_t label_state[IR_MAX_LABELS]; /* 0 unknown, 1 branched to, 2 placed */
    bool label_dirty[IR_MAX_LABELS];
    bool dirty; /* a global was written since INSN */
    bool ended;
} Verify;

static void G_GNUC_PRINTF(2, 3) complain(Verify *v, const char *fmt, ...)
{
    va_list ap;

    if (v->err) {
        return;
    }
    v->err = g_string_new(NULL);
    g_string_printf(v->err, "instruction %u (%s): ", v->pos,
                    v->pos < v->b->n_insns && v->b->insns[v->pos].op < IR_N_OPS
                        ? ir_op_info[v->b->insns[v->pos].op].name
                        : "?");
    va_start(ap, fmt);
    g_string_append_vprintf(v->err, fmt, ap);
    va_end(ap);
}

static void check_use(Verify *v, IrVal x, IrType t)
{
    const IrValInfo *i;

    if (!x || x >= v->b->n_vals) {
        complain(v, "operand %u does not exist", x);
        return;
    }
    i = &v->b->vals[x];
    if ((i->kind == IRV_TEMP || i->kind == IRV_LOCAL) && !v->defined[x]) {
        complain(v, "value %u is read but not defined here", x);
    } else if ((i->type == IR_V128) != (t == IR_V128)) {
        complain(v, "value %u is of the wrong class", x);
    } else if (t == IR_I64 && i->type == IR_I32 && i->kind != IRV_CONST && !v->wide[x] &&
               i->kind != IRV_GLOBAL) {
        complain(v, "64-bit read of the 32-bit value %u", x);
    }
}

static void check_flags(Verify *v, const IrFlags *f)
{
    IrType t = f->size == 8 ? IR_I64 : IR_I32;

    if (f->kind == IRF_PACKED) {
        return;
    }
    check_use(v, f->a, f->kind == IRF_VALUE ? IR_I32 : t);
    if (f->kind == IRF_VALUE) {
        if (f->cinv) {
            complain(v, "cinv on a packed value");
        }
        return;
    }
    if (f->size != 1 && f->size != 2 && f->size != 4 && f->size != 8) {
        complain(v, "flags of size %u", f->size);
    }
    if (f->kind != IRF_LOGIC && f->kind != IRF_INC && f->kind != IRF_DEC) {
        check_use(v, f->b, t);
    }
    if (f->kind == IRF_ADC || f->kind == IRF_SBB || f->kind == IRF_INC || f->kind == IRF_DEC) {
        check_use(v, f->c, IR_I32);
    }
}

static void check_def(Verify *v, IrVal d, bool wide)
{
    if (!d || d >= v->b->n_vals) {
        complain(v, "result %u does not exist", d);
        return;
    }
    switch (v->b->vals[d].kind) {
    case IRV_CONST:
        complain(v, "a constant is assigned");
        break;
    case IRV_GLOBAL:
        v->dirty = true;
        break;
    default:
        v->defined[d] = true;
        v->wide[d] = wide;
    }
}

static void kill_temps(Verify *v)
{
    for (unsigned i = 0; i < v->b->n_vals; i++) {
        if (v->b->vals[i].kind == IRV_TEMP) {
            v->defined[i] = false;
        }
    }
}

static void check_inputs(Verify *v, const IrInsn *in)
{
    IrType t = in->type;

    switch (in->op) {
    case IR_QLD:
        check_use(v, in->a, IR_I64);
        break;
    case IR_QST:
    case IR_QATOMIC:
        check_use(v, in->a, IR_I64);
        check_use(v, in->b, t);
        if (in->op == IR_QATOMIC && in->cc == IRA_CMPXCHG) {
            check_use(v, in->c, t);
        }
        break;
    case IR_EXT8U: /* these read less than 32 bits: an I32 value will do */
    case IR_EXT8S:
    case IR_EXT16U:
    case IR_EXT16S:
    case IR_EXT32U:
    case IR_EXT32S:
        check_use(v, in->a, IR_I32);
        break;
    case IR_DEPOSIT:
        check_use(v, in->a, t);
        check_use(v, in->b, in->imm >> 8 <= 32 ? IR_I32 : t);
        break;
    case IR_MOVCOND:
        check_use(v, in->a, in->type2);
        check_use(v, in->b, in->type2);
        check_use(v, in->c, t);
        check_use(v, in->e, t);
        break;
    case IR_CALL:
        for (unsigned i = 0; i < in->cc; i++) {
            IrVal x = v->b->args[in->extra + i];

            check_use(v, x, x < v->b->n_vals ? v->b->vals[x].type : IR_I64);
        }
        break;
    case IR_VTOI:
        check_use(v, in->a, IR_V128);
        break;
    case IR_VFMA:
        check_use(v, in->a, IR_V128);
        check_use(v, in->b, IR_V128);
        check_use(v, in->c, IR_V128);
        break;
    case IR_VCMPFLAGS:
    case IR_VOP:
        if (in->a) {
            check_use(v, in->a, IR_V128);
        }
        if (in->b || !in->a) { /* shifts by immediate have a only */
            check_use(v, in->b, IR_V128);
        }
        break;
    case IR_VFROMI:
        if (in->a) {
            check_use(v, in->a, IR_V128);
        }
        check_use(v, in->b, IR_I32);
        break;
    case IR_FLAGS:
    case IR_SETFLAG:
    case IR_MOVFLAG:
    case IR_BRFLAG:
    case IR_BREXIT:
        if (in->extra >= v->b->n_flags) {
            complain(v, "flags %u do not exist", in->extra);
            break;
        }
        check_flags(v, &v->b->flags[in->extra]);
        /* fall through */
    default:
        if (ir_op_info[in->op].ins >= 1) {
            check_use(v, in->a, t);
        }
        if (ir_op_info[in->op].ins >= 2) {
            check_use(v, in->b, t);
        }
    }
}

static void check_flow(Verify *v, const IrInsn *in)
{
    switch (in->op) {
    case IR_BR:
    case IR_BRCOND:
    case IR_BRFLAG:
        if (in->imm >= v->b->n_labels || v->label_state[in->imm] == 2) {
            complain(v, "branch to label %u, which is not ahead", (unsigned)in->imm);
            return;
        }
        v->label_state[in->imm] = 1;
        v->label_dirty[in->imm] |= v->dirty;
        kill_temps(v);
        v->ended = in->op == IR_BR;
        break;
    case IR_LABEL:
        if (in->imm >= v->b->n_labels || v->label_state[in->imm] == 2) {
            complain(v, "label %u is placed twice", (unsigned)in->imm);
            return;
        }
        if (v->ended) {
            v->dirty = v->label_dirty[in->imm];
        } else {
            v->dirty |= v->label_dirty[in->imm];
        }
        v->ended = v->label_state[in->imm] == 0 && v->ended;
        v->label_state[in->imm] = 2;
        kill_temps(v);
        break;
    case IR_JMP:
    case IR_JMP_IND:
    case IR_EXIT:
        v->ended = true;
        break;
    default:
        break;
    }
}

static void check_insn(Verify *v, const IrInsn *in)
{
    bool faults = ir_op_info[in->op].flags & IRO_M;

    if (v->ended && in->op != IR_LABEL) {
        return; /* cannot be reached: after a branch that folded to "always" */
    }
    if (in->op == IR_INSN) {
        v->dirty = false;
        if (in->extra >= v->b->n_flags) {
            complain(v, "flags %u do not exist", in->extra);
        }
        return;
    }
    check_inputs(v, in);
    if (in->op == IR_CALL) {
        faults = in->helper->flags & (IRH_FAULTS | IRH_NORETURN);
        if (in->helper->flags & IRH_NORETURN) {
            v->ended = true;
        }
    }
    if (faults && v->dirty) {
        complain(v, "can fault after a global was written in the same guest instruction");
    }
    if (in->d) {
        check_def(v, in->d,
                  in->op == IR_SETCOND || in->op == IR_SETFLAG || in->op == IR_FLAGS ||
                      in->op == IR_VCMPFLAGS || in->type == IR_I64);
    } else if (ir_op_info[in->op].outs && in->op != IR_CALL) {
        complain(v, "has no result");
    }
    if (in->d2) {
        check_def(v, in->d2, in->type == IR_I64);
    }
    check_flow(v, in);
}

char *ir_verify(const IrBlock *b)
{
    Verify *v = g_new0(Verify, 1);
    char *msg = NULL;

    v->b = b;
    for (v->pos = 0; v->pos < b->n_insns && !v->err; v->pos++) {
        if (b->insns[v->pos].op >= IR_N_OPS) {
            complain(v, "unknown operation");
            break;
        }
        check_insn(v, &b->insns[v->pos]);
    }
    if (!v->ended) {
        complain(v, "the block has a path without an end");
    }
    for (unsigned i = 0; i < b->n_labels; i++) {
        if (v->label_state[i] == 1) {
            complain(v, "label %u is never placed", i);
        }
    }
    if (v->err) {
        msg = g_string_free(v->err, FALSE);
    }
    g_free(v);
    return msg;
}
