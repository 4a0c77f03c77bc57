/*
 * Executes IR directly: the reference that translated code is compared with, and what runs
 * under mode=interp.
 */
#include "accel/jit/host/host.h"
#include "accel/jit/ir-eval.h"
#include "accel/jit/ir-vec.h"
#include "accel/jit/jit-internal.h"
#include <string.h>

typedef union Value {
    uint64_t q[2];
    uint8_t b[16];
} __attribute__((aligned(16))) Value;

struct IrInterp {
    const IrCode *code;
    const IrInsn *insn; /* the last IR_INSN */
    uint64_t pc0;
    Value v[IR_MAX_VALS];
};

IrCode *ir_code_new(const IrBlock *b)
{
    IrCode *c = g_new0(IrCode, 1);

    c->n_insns = b->n_insns;
    c->n_vals = b->n_vals;
    c->n_flags = b->n_flags;
    c->n_args = b->n_args;
    c->insns = g_memdup2(b->insns, b->n_insns * sizeof b->insns[0]);
    c->vals = g_memdup2(b->vals, b->n_vals * sizeof b->vals[0]);
    c->flags = g_memdup2(b->flags, b->n_flags * sizeof b->flags[0]);
    c->args = g_memdup2(b->args, b->n_args * sizeof b->args[0]);
    for (unsigned i = 0; i < b->n_insns; i++) {
        if (b->insns[i].op == IR_LABEL) {
            c->label_pos[b->insns[i].imm] = i;
        }
    }
    return c;
}

void ir_code_free(IrCode *c)
{
    if (c) {
        g_free(c->insns);
        g_free(c->vals);
        g_free(c->flags);
        g_free(c->args);
        g_free(c);
    }
}

static char *env(JitCpu *j)
{
    return (char *)j->cpu;
}

static uint64_t get(JitCpu *j, IrVal v)
{
    struct IrInterp *s = j->interp;
    const IrValInfo *i = &s->code->vals[v];
    uint64_t r;

    switch (i->kind) {
    case IRV_CONST:
        return i->imm;
    case IRV_GLOBAL:
        if (i->type == IR_I32) {
            return *(uint32_t *)(env(j) + j->t->globals[i->global].off);
        }
        memcpy(&r, env(j) + j->t->globals[i->global].off, 8);
        return r;
    default:
        return s->v[v].q[0];
    }
}

static void set(JitCpu *j, IrVal d, uint64_t val)
{
    struct IrInterp *s = j->interp;
    const IrValInfo *i = &s->code->vals[d];

    if (!d) {
        return;
    }
    if (i->kind == IRV_GLOBAL) {
        if (i->type == IR_I32) {
            *(uint32_t *)(env(j) + j->t->globals[i->global].off) = val;
        } else {
            memcpy(env(j) + j->t->globals[i->global].off, &val, 8);
        }
    } else {
        s->v[d].q[0] = val;
    }
}

static const void *vget(JitCpu *j, IrVal v)
{
    static const Value zero;
    struct IrInterp *s = j->interp;

    if (!v) {
        return &zero;
    }
    if (s->code->vals[v].kind == IRV_GLOBAL) {
        return env(j) + j->t->globals[s->code->vals[v].global].off;
    }
    return &s->v[v];
}

static void vset(JitCpu *j, IrVal d, const void *val)
{
    struct IrInterp *s = j->interp;

    if (s->code->vals[d].kind == IRV_GLOBAL) {
        memcpy(env(j) + j->t->globals[s->code->vals[d].global].off, val, 16);
    } else {
        memcpy(&s->v[d], val, 16);
    }
}

/* For conditions; packed_of(): the packed form. */
static uint32_t flags_of(JitCpu *j, unsigned n)
{
    const IrFlags *f = &j->interp->code->flags[n];

    if (f->kind == IRF_PACKED) {
        return *(uint32_t *)(env(j) + j->t->globals[j->t->flags_global].off);
    }
    return ir_eval_flags(f->kind, f->size, get(j, f->a), f->b ? get(j, f->b) : 0,
                         f->c ? get(j, f->c) : 0);
}

static uint32_t packed_of(JitCpu *j, unsigned n)
{
    return flags_of(j, n) ^ (j->interp->code->flags[n].cinv ? IRF_C : 0);
}

void jit_interp_restore(JitCpu *j)
{
    const IrInsn *in = j->interp->insn;

    if (!in) {
        memcpy(env(j) + j->t->pc_off, &j->interp->pc0, 8);
        return;
    }
    *(uint32_t *)(env(j) + j->t->globals[j->t->flags_global].off) = packed_of(j, in->extra);
    memcpy(env(j) + j->t->pc_off, &in->imm, 8);
}

static uint64_t load_env(JitCpu *j, const IrInsn *in)
{
    unsigned size = 1u << (in->mem & IRM_SIZE);
    uint64_t v = 0;

    memcpy(&v, env(j) + in->imm, size);
    if (in->mem & IRM_SIGN) {
        v = ir_sext(v, size);
    }
    return ir_mask(in->type, v);
}

static void run_call(JitCpu *j, const IrInsn *in)
{
    const IrHelper *h = in->helper;
    uint64_t a[5] = {0}, r;
    uint32_t fp = 0;

    for (unsigned i = 0; i < in->cc; i++) {
        a[i] = get(j, j->interp->code->args[in->extra + i]);
    }
    if (h->flags & IRH_HOSTFP) {
        jit_host_fp_sync(j);
        fp = jit_host_fp_begin();
        jit_hot(j->cpu)->mxcsr_tmp = fp;
        j->interp_host_fp = true;
    }
    r = ((uint64_t(*)(void *, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t))h->fn)(
        j->cpu, a[0], a[1], a[2], a[3], a[4]);
    if (h->flags & IRH_HOSTFP) {
        jit_host_fp_end(fp);
        j->interp_host_fp = false;
    }
    set(j, in->d, r);
}

static void run_vec(JitCpu *j, const IrInsn *in)
{
    Value d = {{0, 0}};

    switch (in->op) {
    case IR_VLDE:
        memcpy(&d, env(j) + in->imm, in->mem);
        vset(j, in->d, &d);
        break;
    case IR_VSTE:
        memcpy(env(j) + in->imm, vget(j, in->a), in->mem);
        break;
    case IR_VOP:
        jit_vop_run(j->m, in->extra, in->op, in->type, in->imm, &d, vget(j, in->a), vget(j, in->b),
                    0);
        vset(j, in->d, &d);
        break;
    case IR_VFMA:
        jit_vfma_run(in->extra, &d, vget(j, in->a), vget(j, in->b), vget(j, in->c));
        vset(j, in->d, &d);
        break;
    case IR_VFROMI:
        jit_vop_run(j->m, in->extra, in->op, in->type, in->imm, &d, vget(j, in->a), NULL,
                    get(j, in->b));
        vset(j, in->d, &d);
        break;
    case IR_VTOI:
        set(j, in->d,
            jit_vop_run(j->m, in->extra, in->op, in->type, in->imm, &d, NULL, vget(j, in->a), 0));
        break;
    default: /* VCMPFLAGS */
        set(j, in->d,
            jit_vop_run(j->m, in->extra, in->op, in->type, in->imm, &d, vget(j, in->a),
                        vget(j, in->b), 0));
    }
}

static void run_mem(JitCpu *j, const IrInsn *in)
{
    Value v;

    switch (in->op) {
    case IR_QLD:
        if (in->type == IR_V128) {
            jit_mem_load_vec(j, get(j, in->a), in->mem, &v);
            vset(j, in->d, &v);
        } else {
            set(j, in->d, jit_mem_load(j, get(j, in->a), in->mem, in->type));
        }
        break;
    case IR_QST:
        if (in->type == IR_V128) {
            memcpy(&v, vget(j, in->b), 16);
            jit_mem_store_vec(j, get(j, in->a), in->mem, &v);
        } else {
            jit_mem_store(j, get(j, in->a), in->mem, get(j, in->b));
        }
        break;
    default:
        set(j, in->d,
            jit_mem_atomic(j, in->cc, get(j, in->a), in->mem, get(j, in->b),
                           in->cc == IRA_CMPXCHG ? get(j, in->c) : 0));
    }
}

static void set_pc(JitCpu *j, uint64_t pc)
{
    memcpy(env(j) + j->t->pc_off, &pc, 8);
}

/* Straight-line operations. */
static void run_simple(JitCpu *j, const IrInsn *in)
{
    IrType t = in->type;
    uint64_t lo, hi;
    bool cond;

    switch (in->op) {
    case IR_NOP:
        break;
    case IR_INSN:
        j->interp->insn = in;
        break;
    case IR_MOV:
        if (t == IR_V128) {
            Value v;

            memcpy(&v, vget(j, in->a), 16);
            vset(j, in->d, &v);
        } else {
            set(j, in->d, get(j, in->a));
        }
        break;
    case IR_MULU2:
    case IR_MULS2:
        ir_eval_mul2(in->op == IR_MULS2, t, get(j, in->a), get(j, in->b), &lo, &hi);
        set(j, in->d, lo);
        set(j, in->d2, hi);
        break;
    case IR_SETCOND:
        set(j, in->d, ir_eval_cond(in->cc, t, get(j, in->a), get(j, in->b)));
        break;
    case IR_MOVCOND:
        cond = ir_eval_cond(in->cc, in->type2, get(j, in->a), get(j, in->b));
        set(j, in->d, ir_mask(t, get(j, cond ? in->c : in->e)));
        break;
    case IR_FLAGS:
        set(j, in->d, packed_of(j, in->extra));
        break;
    case IR_SETFLAG:
        set(j, in->d, ir_eval_flagcond(in->cc, flags_of(j, in->extra)));
        break;
    case IR_MOVFLAG:
        cond = ir_eval_flagcond(in->cc, flags_of(j, in->extra));
        set(j, in->d, ir_mask(t, get(j, cond ? in->a : in->b)));
        break;
    case IR_LDE:
        set(j, in->d, load_env(j, in));
        break;
    case IR_STE: {
        uint64_t v = get(j, in->a);

        memcpy(env(j) + in->imm, &v, 1u << (in->mem & IRM_SIZE));
        break;
    }
    case IR_FENCE:
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        break;
    case IR_CALL:
        run_call(j, in);
        break;
    case IR_QLD:
    case IR_QST:
    case IR_QATOMIC:
        run_mem(j, in);
        break;
    case IR_VLDE:
    case IR_VSTE:
    case IR_VOP:
    case IR_VCMPFLAGS:
    case IR_VTOI:
    case IR_VFROMI:
    case IR_VFMA:
        run_vec(j, in);
        break;
    default:
        set(j, in->d, ir_eval(in->op, t, get(j, in->a), in->b ? get(j, in->b) : 0, in->imm));
    }
}

unsigned jit_interp(JitCpu *j, const IrCode *c, uint64_t pc0)
{
    if (!j->interp) {
        j->interp = g_new0(struct IrInterp, 1);
    }
    j->interp->code = c;
    j->interp->insn = NULL;
    j->interp->pc0 = pc0;
    for (unsigned n = 0;; n++) {
        const IrInsn *in = &c->insns[n];
        bool taken;

        switch (in->op) {
        case IR_BR:
            n = c->label_pos[in->imm];
            continue;
        case IR_BRCOND:
            taken = ir_eval_cond(in->cc, in->type, get(j, in->a), get(j, in->b));
            n = taken ? c->label_pos[in->imm] : n;
            continue;
        case IR_BRFLAG:
            taken = ir_eval_flagcond(in->cc, flags_of(j, in->extra));
            n = taken ? c->label_pos[in->imm] : n;
            continue;
        case IR_LABEL:
            continue;
        case IR_BREXIT: {
            uint32_t packed = packed_of(j, in->extra);

            if (ir_eval_flagcond(in->cc, flags_of(j, in->extra))) {
                memcpy(env(j) + j->t->globals[j->t->flags_global].off, &packed, 4);
                set_pc(j, in->imm);
                return JIT_EXIT_LOOKUP;
            }
            continue;
        }
        case IR_JMP:
            set_pc(j, in->imm);
            return JIT_EXIT_LOOKUP;
        case IR_JMP_IND:
            set_pc(j, get(j, in->a));
            return JIT_EXIT_LOOKUP;
        case IR_EXIT:
            set_pc(j, get(j, in->a));
            return JIT_EXIT_EXIT;
        default:
            run_simple(j, in);
        }
    }
}

void jit_interp_free(JitCpu *j)
{
    g_free(j->interp);
    j->interp = NULL;
}
