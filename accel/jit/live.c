/*
 * One backward pass over a block: last uses, dead operations, and results that can be computed
 * directly in the register of the global that they are moved to.
 *
 * Local branches go forward only, so a value's life is contained in the linear interval from its
 * first definition to its last use, and no data-flow iteration is needed.
 */
#include "accel/jit/ir-vec.h"
#include "accel/jit/jit-internal.h"
#include <string.h>

static const uint32_t vop_flags[] = {
#define X(n, p, m, o, f) f,
    IR_VOPS(X)
#undef X
};

unsigned jit_flagcond_need(IrFlagCond cc)
{
    static const uint16_t need[8] = {IRF_V, IRF_C, IRF_Z,         IRF_C | IRF_Z,
                                     IRF_N, IRF_P, IRF_N | IRF_V, IRF_Z | IRF_N | IRF_V};

    return need[cc >> 1];
}

unsigned jit_flag_uses(IrFlagKind kind, unsigned need)
{
    bool only_result = !(need & ~(unsigned)(IRF_Z | IRF_N | IRF_P));

    switch (kind) {
    case IRF_PACKED:
        return 0;
    case IRF_VALUE:
    case IRF_LOGIC:
        return 1;
    case IRF_ADD:
        return only_result ? 1 : 3;
    case IRF_SUB:
        return 3;
    case IRF_ADC:
        return only_result ? 1 : 7;
    case IRF_SBB:
        return 7;
    case IRF_INC:
    case IRF_DEC:
        return (need & IRF_C ? 4 : 0) | (need & ~IRF_C ? 1 : 0);
    case IRF_SHL:
    case IRF_SHR:
    case IRF_SAR: /* the host redoes the last step on b */
        return only_result ? 1 : 2;
    default: /* MUL */
        return (need & (IRF_C | IRF_V) ? 2 : 0) | (need & (IRF_Z | IRF_N | IRF_P) ? 1 : 0);
    }
}

/* What a fault reads: the interpreter's computation wants both. */
static unsigned fault_uses(IrFlagKind kind)
{
    switch (kind) {
    case IRF_PACKED:
        return 0;
    case IRF_VALUE:
    case IRF_LOGIC:
        return 1;
    case IRF_ADC:
    case IRF_SBB:
        return 7;
    case IRF_INC:
    case IRF_DEC:
        return 5;
    default:
        return 3;
    }
}

typedef struct Pass {
    const IrBlock *b;
    JitLive *l;
    uint16_t want[64];  /* by global: value that should be made in its register, or 0 */
    uint8_t wanted[16]; /* globals with want[] set */
    unsigned n_wanted;
    unsigned pos;
} Pass;

static void unwant_all(Pass *p)
{
    for (unsigned i = 0; i < p->n_wanted; i++) {
        p->want[p->wanted[i]] = 0;
    }
    p->n_wanted = 0;
}

static void want(Pass *p, unsigned global, IrVal v)
{
    if (global >= 64 || p->n_wanted == 16) {
        return;
    }
    p->want[global] = v;
    p->wanted[p->n_wanted++] = global;
}

static void use(Pass *p, IrVal v)
{
    const IrValInfo *i = &p->b->vals[v];

    if (!v) {
        return;
    }
    if (!p->l->last_use[v]) {
        p->l->last_use[v] = p->pos + 1;
    }
    if (i->kind == IRV_GLOBAL && i->global < 64) {
        p->want[i->global] = 0;
    }
}

static void use_until(Pass *p, IrVal v, unsigned until)
{
    if (v && p->l->last_use[v] < until) {
        p->l->last_use[v] = until;
    }
}

static void use_flags(Pass *p, const IrInsn *in)
{
    const IrFlags *f = &p->b->flags[in->extra];
    unsigned need =
        in->op == IR_FLAGS || in->op == IR_BREXIT ? JIT_FLAGS_ALL : jit_flagcond_need(in->cc);
    unsigned uses = jit_flag_uses(f->kind, need);

    if (in->op == IR_BREXIT) { /* the condition may be had from other operands than all flags */
        uses |= jit_flag_uses(f->kind, jit_flagcond_need(in->cc));
    }

    if (f->kind == IRF_PACKED) {
        use(p, ir_global(p->b->target->flags_global));
    }
    if (uses & 1) {
        use(p, f->a);
        p->l->flag_result[f->a] |= f->kind != IRF_SUB && f->kind != IRF_SBB;
    }
    if (uses & 2) {
        use(p, f->b);
    }
    if (uses & 4) {
        use(p, f->c);
    }
    if (f->kind >= IRF_ADD) {
        p->l->flag_result[f->a] |= f->kind != IRF_SUB && f->kind != IRF_SBB;
    }
}

/* Can the operation be left out when nobody reads its results? */
static bool removable(const IrInsn *in)
{
    if (in->op == IR_LDE || in->op == IR_VLDE) {
        return true;
    }
    if (!(ir_op_info[in->op].flags & IRO_P)) {
        return false;
    }
    switch (in->op) {
    case IR_VOP:
    case IR_VCMPFLAGS:
    case IR_VTOI:
    case IR_VFROMI:
        return !(vop_flags[in->extra] & IRVF_FP);
    default:
        return true;
    }
}

static bool dead_result(const Pass *p, IrVal d)
{
    return !d || (p->b->vals[d].kind != IRV_GLOBAL && !p->l->last_use[d]);
}

/* The result @d of this instruction: is there a global whose register it should go to? */
static void result(Pass *p, const IrInsn *in)
{
    IrVal d = in->d;

    for (unsigned i = 0; i < p->n_wanted; i++) {
        unsigned gl = p->wanted[i];

        if (p->want[gl] == d) {
            p->want[gl] = 0;
            p->wanted[i] = p->wanted[--p->n_wanted];
            p->l->hint[p->pos] = gl + 1;
            if (in->op == IR_EXT32U && p->b->vals[in->a].kind == IRV_TEMP &&
                p->b->vals[in->a].type == IR_I32) {
                want(p, gl, in->a);
            }
            return;
        }
    }
}

static void inputs(Pass *p, const IrInsn *in)
{
    switch (in->op) {
    case IR_CALL:
        for (unsigned i = 0; i < in->cc; i++) {
            use(p, p->b->args[in->extra + i]);
        }
        return;
    case IR_FLAGS:
    case IR_SETFLAG:
    case IR_MOVFLAG:
    case IR_BRFLAG:
    case IR_BREXIT:
        use_flags(p, in);
        break;
    default:
        break;
    }
    use(p, in->a);
    use(p, in->b);
    use(p, in->c);
    use(p, in->e);
}

void jit_live(const IrBlock *b, JitLive *l, bool hints)
{
    Pass p = {.b = b, .l = l};
    unsigned fault_at = 0; /* position + 1 of the last fault point of this guest instruction */

    memset(l->last_use, 0, b->n_vals * sizeof l->last_use[0]);
    memset(l->flag_result, 0, b->n_vals);
    memset(l->hint, 0, b->n_insns * sizeof l->hint[0]);
    memset(l->dead, 0, b->n_insns);
    memset(l->label_refs, 0, b->n_labels * sizeof l->label_refs[0]);
    for (unsigned n = b->n_insns; n-- > 0;) {
        const IrInsn *in = &b->insns[n];
        unsigned flags = ir_op_info[in->op].flags;
        bool faults = flags & IRO_M;

        p.pos = n;
        switch (in->op) {
        case IR_NOP:
            continue;
        case IR_INSN:
            if (fault_at) {
                const IrFlags *f = &b->flags[in->extra];
                unsigned uses = fault_uses(f->kind);

                use_until(&p, uses & 1 ? f->a : 0, fault_at);
                use_until(&p, uses & 2 ? f->b : 0, fault_at);
                use_until(&p, uses & 4 ? f->c : 0, fault_at);
            }
            fault_at = 0;
            continue;
        case IR_LABEL:
            l->label_pos[in->imm] = n;
            break;
        case IR_BR:
        case IR_BRCOND:
        case IR_BRFLAG:
            l->label_refs[in->imm]++;
            break;
        case IR_MOV:
            if (b->vals[in->d].kind != IRV_GLOBAL) {
                break;
            }
            {
                unsigned gl = b->vals[in->d].global;

                if (gl < 64) {
                    p.want[gl] = 0;
                }
                inputs(&p, in);
                if (hints && b->vals[in->a].kind == IRV_TEMP) {
                    want(&p, gl, in->a);
                }
            }
            continue;
        case IR_CALL:
            faults = in->helper->flags & (IRH_FAULTS | IRH_NORETURN);
            break;
        default:
            break;
        }
        if (removable(in) && dead_result(&p, in->d) && dead_result(&p, in->d2)) {
            l->dead[n] = true;
            continue;
        }
        if (in->d) {
            if (b->vals[in->d].kind == IRV_GLOBAL) {
                if (b->vals[in->d].global < 64) {
                    p.want[b->vals[in->d].global] = 0;
                }
            } else {
                result(&p, in);
            }
        }
        /* Going backward, whatever is before this one must not have touched a global early. */
        if ((flags & IRO_E) || faults || in->op == IR_CALL) {
            unwant_all(&p);
        }
        if (faults && !fault_at) {
            fault_at = n + 1;
        }
        inputs(&p, in);
        if (hints && in->op == IR_EXT32U && b->vals[in->d].kind == IRV_GLOBAL &&
            b->vals[in->a].kind == IRV_TEMP && b->vals[in->a].type == IR_I32) {
            want(&p, b->vals[in->d].global, in->a);
        }
    }
}

/* Does the block write the guest's flags before anybody could see those that it starts with? */
bool jit_kills_flags(const IrBlock *b)
{
    IrVal cc = ir_global(b->target->flags_global);

    for (unsigned n = 0; n < b->n_insns; n++) {
        const IrInsn *in = &b->insns[n];
        unsigned flags = ir_op_info[in->op].flags;

        if (in->op == IR_INSN) {
            if (b->flags[in->extra].kind != IRF_PACKED) {
                return true;
            }
            continue;
        }
        if ((flags & (IRO_M | IRO_E)) || in->a == cc || in->b == cc || in->c == cc || in->e == cc) {
            return false;
        }
        switch (in->op) {
        case IR_CALL:
            if (!(in->helper->flags & IRH_PURE)) {
                return false;
            }
            for (unsigned i = 0; i < in->cc; i++) {
                if (b->args[in->extra + i] == cc) {
                    return false;
                }
            }
            break;
        case IR_FLAGS:
        case IR_SETFLAG:
        case IR_MOVFLAG: {
            const IrFlags *f = &b->flags[in->extra];

            if (f->kind == IRF_PACKED || f->a == cc || f->b == cc || f->c == cc) {
                return false;
            }
            break;
        }
        default:
            break;
        }
    }
    return false;
}
