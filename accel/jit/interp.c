/*
 * The interpreter: executes IR directly. It is the reference that the host back ends are tested
 * against, and mode=interp runs whole guests with it. Slow and plain on purpose.
 *
 * Guest MXCSR is loaded around vector operations and helpers only; what an unwinding helper left
 * in it is collected before the next one (guest_fp_begin).
 */
#include "accel/jit/ir-eval.h"
#include "accel/jit/ir-vec.h"
#include "accel/jit/jit-internal.h"
#include <string.h>
#ifdef __x86_64__
#include <xmmintrin.h>
#endif

typedef struct IrInterp {
    uint64_t v[IR_MAX_VALS]; /* temporaries: integers */
    uint8_t vec[IR_MAX_VALS][16] __attribute__((aligned(16)));
    const IrCode *code;
    const IrInsn *insn; /* the current IR_INSN */
    bool fp_loaded;     /* the host's MXCSR is the guest's */
} IrInterp;

/* ---- blocks ---- */

static void find_labels(IrCode *c)
{
    for (unsigned i = 0; i < c->n_insns; i++) {
        if (c->insns[i].op == IR_LABEL) {
            c->label_pos[c->insns[i].imm] = i;
        }
    }
}

IrCode *ir_code_new(const IrBlock *b)
{
    IrCode *c = g_new0(IrCode, 1);

    c->n_insns = b->n_insns;
    c->n_vals = b->n_vals;
    c->n_flags = b->n_flags;
    c->n_args = b->n_args;
    c->insns = g_memdup2(b->insns, sizeof(IrInsn) * b->n_insns);
    c->vals = g_memdup2(b->vals, sizeof(IrValInfo) * b->n_vals);
    c->flags = g_memdup2(b->flags, sizeof(IrFlags) * b->n_flags);
    c->args = g_memdup2(b->args, sizeof(IrVal) * b->n_args);
    find_labels(c);
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

/* ---- guest MXCSR ---- */

static uint32_t *guest_mxcsr(JitCpu *j)
{
    return j->t->mxcsr_off >= 0 ? (uint32_t *)((char *)j->cpu + j->t->mxcsr_off) : NULL;
}

static void guest_fp_end(JitCpu *j)
{
#ifdef __x86_64__
    uint32_t *m = guest_mxcsr(j);

    if (m && j->interp->fp_loaded) {
        *m |= _mm_getcsr() & 0x3f;
        _mm_setcsr(0x1f80);
    }
#endif
    j->interp->fp_loaded = false;
}

static void guest_fp_begin(JitCpu *j)
{
    guest_fp_end(j);
#ifdef __x86_64__
    uint32_t *m = guest_mxcsr(j);

    if (m) {
        _mm_setcsr(*m | 0x1f80);
        j->interp->fp_loaded = true;
    }
#endif
}

/* ---- values ---- */

static void *global_ptr(JitCpu *j, const IrValInfo *info)
{
    return (char *)j->cpu + j->t->globals[info->global].off;
}

static uint64_t get(JitCpu *j, IrVal v)
{
    const IrValInfo *info = &j->interp->code->vals[v];

    switch (info->kind) {
    case IRV_CONST:
        return info->imm;
    case IRV_GLOBAL:
        return info->type == IR_I32 ? *(uint32_t *)global_ptr(j, info)
                                    : *(uint64_t *)global_ptr(j, info);
    default:
        return j->interp->v[v];
    }
}

static void set(JitCpu *j, IrVal v, uint64_t x)
{
    const IrValInfo *info = &j->interp->code->vals[v];

    if (info->kind != IRV_GLOBAL) {
        j->interp->v[v] = x;
    } else if (info->type == IR_I32) {
        *(uint32_t *)global_ptr(j, info) = x;
    } else {
        *(uint64_t *)global_ptr(j, info) = x;
    }
}

static void *vec(JitCpu *j, IrVal v)
{
    const IrValInfo *info = &j->interp->code->vals[v];

    return info->kind == IRV_GLOBAL ? global_ptr(j, info) : j->interp->vec[v];
}

static uint32_t packed_flags(JitCpu *j, const IrFlags *f)
{
    if (f->kind == IRF_PACKED) {
        return get(j, ir_global(j->t->flags_global));
    }
    if (f->kind == IRF_VALUE) {
        return get(j, f->a);
    }
    return ir_eval_flags(f->kind, f->size, get(j, f->a), f->b ? get(j, f->b) : 0,
                         f->c ? get(j, f->c) : 0);
}

static bool flag_cond(JitCpu *j, const IrInsn *in)
{
    return ir_eval_flagcond(in->cc, packed_flags(j, &j->interp->code->flags[in->extra]));
}

static void set_pc(JitCpu *j, uint64_t pc)
{
    *(uint64_t *)((char *)j->cpu + j->t->pc_off) = pc;
}

void jit_interp_restore(JitCpu *j)
{
    IrInterp *s = j->interp;

    guest_fp_end(j);
    if (s->insn) {
        uint32_t flags = packed_flags(j, &s->code->flags[s->insn->extra]);

        set_pc(j, s->insn->imm);
        *(uint32_t *)((char *)j->cpu + j->t->globals[j->t->flags_global].off) = flags;
    }
}

/* ---- operations ---- */

static void op_env(JitCpu *j, const IrInsn *in)
{
    char *p = (char *)j->cpu + in->imm;
    unsigned size = 1u << (in->mem & IRM_SIZE);

    if (in->op == IR_LDE) {
        uint64_t x = 0;

        memcpy(&x, p, size);
        if (in->mem & IRM_SIGN) {
            x = ir_sext(x, size);
        }
        set(j, in->d, ir_mask(in->type, x));
    } else {
        uint64_t x = get(j, in->a);

        memcpy(p, &x, size);
    }
}

static void op_env_vec(JitCpu *j, const IrInsn *in)
{
    char *p = (char *)j->cpu + in->imm;
    unsigned size = in->mem; /* 4, 8 or 16 */

    if (in->op == IR_VLDE) {
        uint8_t x[16] = {0};

        memcpy(x, p, size);
        memcpy(vec(j, in->d), x, 16);
    } else {
        memcpy(p, vec(j, in->a), size);
    }
}

static void op_memory(JitCpu *j, const IrInsn *in)
{
    uint64_t addr = get(j, in->a);

    switch (in->op) {
    case IR_QLD:
        if (in->type == IR_V128) {
            uint8_t x[16] = {0};

            jit_mem_load_vec(j, addr, in->mem, x);
            memcpy(vec(j, in->d), x, 16);
        } else {
            set(j, in->d, ir_mask(in->type, jit_mem_load(j, addr, in->mem, in->type)));
        }
        break;
    case IR_QST:
        if (in->type == IR_V128) {
            jit_mem_store_vec(j, addr, in->mem, vec(j, in->b));
        } else {
            jit_mem_store(j, addr, in->mem, get(j, in->b));
        }
        break;
    default:
        set(j, in->d,
            jit_mem_atomic(j, in->cc, addr, in->mem, get(j, in->b), in->c ? get(j, in->c) : 0));
    }
}

static void op_call(JitCpu *j, const IrInsn *in)
{
    typedef uint64_t Fn(VCpu *, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
    uint64_t a[5] = {0}, r;
    bool guest_fp = !(in->helper->flags & IRH_HOSTFP);

    for (unsigned i = 0; i < in->cc; i++) {
        a[i] = get(j, j->interp->code->args[in->extra + i]);
    }
    if (guest_fp) {
        guest_fp_begin(j);
    }
    r = ((Fn *)in->helper->fn)(j->cpu, a[0], a[1], a[2], a[3], a[4]);
    if (guest_fp) {
        guest_fp_end(j);
    }
    if (in->d) {
        set(j, in->d, r);
    }
}

static void op_vector(JitCpu *j, const IrInsn *in)
{
    static const uint8_t zero[16];
    const void *a = in->a ? vec(j, in->a) : zero;
    uint8_t d[16] = {0};
    uint64_t r;

    guest_fp_begin(j);
    switch (in->op) {
    case IR_VOP:
        jit_vop_run(in->extra, in->op, in->type, in->imm, d, a, in->b ? vec(j, in->b) : zero, 0);
        memcpy(vec(j, in->d), d, 16);
        break;
    case IR_VFROMI:
        jit_vop_run(in->extra, in->op, in->type, in->imm, d, a, zero, get(j, in->b));
        memcpy(vec(j, in->d), d, 16);
        break;
    case IR_VTOI:
        r = jit_vop_run(in->extra, in->op, in->type, in->imm, d, a, zero, 0);
        set(j, in->d, ir_mask(in->type, r));
        break;
    default:
        r = jit_vop_run(in->extra, in->op, in->type, in->imm, d, a, vec(j, in->b), 0);
        set(j, in->d, r);
    }
    guest_fp_end(j);
}

static void op_integer(JitCpu *j, const IrInsn *in)
{
    uint64_t lo, hi;

    switch (in->op) {
    case IR_MULU2:
    case IR_MULS2:
        ir_eval_mul2(in->op == IR_MULS2, in->type, get(j, in->a), get(j, in->b), &lo, &hi);
        if (in->d) {
            set(j, in->d, lo);
        }
        if (in->d2) {
            set(j, in->d2, hi);
        }
        break;
    case IR_SETCOND:
        set(j, in->d, ir_eval_cond(in->cc, in->type, get(j, in->a), get(j, in->b)));
        break;
    case IR_MOVCOND:
        lo = get(j, ir_eval_cond(in->cc, in->type2, get(j, in->a), get(j, in->b)) ? in->c : in->e);
        set(j, in->d, ir_mask(in->type, lo));
        break;
    case IR_FLAGS:
        set(j, in->d, packed_flags(j, &j->interp->code->flags[in->extra]));
        break;
    case IR_SETFLAG:
        set(j, in->d, flag_cond(j, in));
        break;
    case IR_MOVFLAG:
        set(j, in->d, ir_mask(in->type, get(j, flag_cond(j, in) ? in->a : in->b)));
        break;
    case IR_MOV:
        if (in->type == IR_V128) {
            memmove(vec(j, in->d), vec(j, in->a), 16);
            break;
        }
        /* fall through */
    default:
        set(j, in->d, ir_eval(in->op, in->type, get(j, in->a), in->b ? get(j, in->b) : 0, in->imm));
    }
}

/* Position of the next instruction after a branch, or @pos + 1. */
static unsigned op_branch(JitCpu *j, const IrInsn *in, unsigned pos)
{
    bool taken =
        in->op == IR_BR ||
        (in->op == IR_BRCOND && ir_eval_cond(in->cc, in->type, get(j, in->a), get(j, in->b))) ||
        (in->op == IR_BRFLAG && flag_cond(j, in));

    return taken ? j->interp->code->label_pos[in->imm] : pos + 1;
}

unsigned jit_interp(JitCpu *j, const IrCode *c, uint64_t pc0)
{
    IrInterp *s = j->interp ? j->interp : (j->interp = g_new0(IrInterp, 1));
    unsigned pos = 0;

    s->code = c;
    s->insn = NULL;
    for (;;) {
        const IrInsn *in = &c->insns[pos];

        switch (in->op) {
        case IR_INSN:
            s->insn = in;
            break;
        case IR_NOP:
        case IR_LABEL:
            break;
        case IR_FENCE:
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
            break;
        case IR_BR:
        case IR_BRCOND:
        case IR_BRFLAG:
            pos = op_branch(j, in, pos);
            continue;
        case IR_LDE:
        case IR_STE:
            op_env(j, in);
            break;
        case IR_VLDE:
        case IR_VSTE:
            op_env_vec(j, in);
            break;
        case IR_QLD:
        case IR_QST:
        case IR_QATOMIC:
            op_memory(j, in);
            break;
        case IR_CALL:
            op_call(j, in);
            break;
        case IR_VOP:
        case IR_VCMPFLAGS:
        case IR_VTOI:
        case IR_VFROMI:
            op_vector(j, in);
            break;
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
            op_integer(j, in);
        }
        pos++;
    }
}
