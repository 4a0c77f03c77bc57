/*
 * Guest memory: the inline TLB probe, and the out-of-line calls when it misses.
 *
 *     lea  ecx, [addr]              index of the first byte's page
 *     shr  ecx, 8
 *     and  ecx, 0xfff0
 *     lea  rdx, [addr + size - 1]   page of the last byte: an access that crosses misses
 *     and  rdx, -4096
 *     cmp  rdx, [r15 + rcx + array]
 *     jne  slow
 *     mov  rdx, [r15 + rcx + array + 8]
 *     op   [rdx + addr]
 */
#include "accel/jit/host/x86_64/gen.h"

uint32_t emit_fault(JitGen *g, bool host_fp)
{
    JitFault *f = &g->faults[g->n_faults];
    const IrFlags *fl;
    IrVal vals[3] = {0};

    if (g->n_faults == G_MAX_SLOW - 1 || g->n_locs > G_MAX_SLOW * 3 - 4) {
        g->fail = true;
        return 0;
    }
    *f = (JitFault){.host_fp = host_fp, .kind = IRF_PACKED};
    if (g->insn) {
        fl = &g->b->flags[g->insn->extra];
        f->pc_delta = g->insn->imm - g->b->pc;
        f->kind = fl->kind | (fl->cinv ? JIT_FAULT_CINV : 0);
        f->size = fl->size;
        switch (fl->kind) {
        case IRF_PACKED:
            break;
        case IRF_VALUE:
        case IRF_LOGIC:
            vals[0] = fl->a;
            f->n_locs = 1;
            break;
        case IRF_ADC:
        case IRF_SBB:
        case IRF_INC:
        case IRF_DEC:
            vals[2] = fl->c;
            f->n_locs = 3;
            /* fall through */
        default:
            vals[0] = fl->a;
            vals[1] = fl->b;
            f->n_locs = f->n_locs ? 3 : 2;
        }
    }
    f->locs = g->n_locs;
    for (unsigned i = 0; i < f->n_locs; i++) {
        g->locs[g->n_locs++] = vals[i] ? ra_describe(g, vals[i]) : (JitLoc){0};
    }
    if (f->n_locs && g->n_faults) { /* often the same as before */
        const JitFault *last = f - 1;

        if (last->n_locs == f->n_locs &&
            !memcmp(&g->locs[last->locs], &g->locs[f->locs], f->n_locs * sizeof(JitLoc))) {
            f->locs = last->locs;
            g->n_locs -= f->n_locs;
        }
    }
    return g->n_faults++;
}

void emit_ext_load(JitGen *g, unsigned mem, IrType t, int dst, int base, int index, int32_t disp)
{
    uint32_t w = t == IR_I64 ? XW : 0, opc;

    switch (mem & (IRM_SIZE | IRM_SIGN)) {
    case IRM_8:
        opc = X0F | 0xb6;
        break;
    case IRM_16:
        opc = X0F | 0xb7;
        break;
    case IRM_32:
        opc = 0x8b;
        break;
    case IRM_64:
    case IRM_64 | IRM_SIGN:
        opc = 0x8b | XW;
        break;
    case IRM_8 | IRM_SIGN:
        opc = X0F | 0xbe | w;
        break;
    case IRM_16 | IRM_SIGN:
        opc = X0F | 0xbf | w;
        break;
    default: /* 32, signed */
        opc = t == IR_I64 ? 0x63 | XW : 0x8b;
        break;
    }
    x_mem(&g->a, opc, dst, base, index, 0, disp);
}

void emit_store(JitGen *g, unsigned size, int base, int index, int32_t disp, int reg)
{
    uint32_t opc = size == 1 ? 0x88 | XRB : 0x89 | x_size(size);

    x_mem(&g->a, opc, reg, base, index, 0, disp);
}

static int32_t array_disp(JitGen *g, unsigned mem, bool write)
{
    int mmu = (mem >> IRM_MMU_SHIFT) & 15;

    return (mmu - (int)g->cur_mmu) * JIT_TLB_MMU + (write ? JIT_TLB_WRITE : 0);
}

/* Emits the probe; rdx is the addend afterwards. Fills @s. */
static void emit_probe(JitGen *g, Slow *s, int base, int32_t disp, unsigned mem, bool write)
{
    unsigned size = 1u << (mem & IRM_SIZE);
    int32_t arr = array_disp(g, mem, write), mask = -4096;

    s->base = base;
    s->disp = disp;
    s->op.mem = mem;
    hf_clobber(g);
    if (!g->j->o->fasttlb) {
        s->jump[0] = x_jmp(&g->a);
        return;
    }
    if (disp) {
        x_lea(&g->a, false, RCX, base, -1, 0, disp);
    } else {
        x_mov_rr(&g->a, false, RCX, base);
    }
    x_shift_i(&g->a, 5, 4, RCX, MEM_PAGE_BITS - 4);
    x_alu_ri(&g->a, ALU_AND, 4, RCX, (JIT_TLB_SIZE - 1) << 4);
    if (mem & IRM_ALIGN) {
        mask |= size - 1;
    } else {
        disp += size - 1;
    }
    if (disp) {
        x_lea(&g->a, true, RDX, base, -1, 0, disp);
    } else {
        x_mov_rr(&g->a, true, RDX, base);
    }
    x_alu_ri(&g->a, ALU_AND, 8, RDX, mask);
    x_mem(&g->a, x_alu_opc(ALU_CMP, 8), RDX, R15, RCX, 0, arr);
    s->jump[0] = x_jcc(&g->a, CC_NE);
    x_mem(&g->a, 0x8b | XW, RDX, R15, RCX, 0, arr + 8);
}

static Slow *new_slow(JitGen *g, const IrInsn *in, unsigned kind, unsigned atomic)
{
    Slow *s;

    if (g->n_slow >= G_MAX_SLOW - 1) {
        g->fail = true;
        return &g->slow[G_MAX_SLOW - 1];
    }
    s = &g->slow[g->n_slow++];
    *s = (Slow){.val = -1, .dst = -1, .exp = -1};
    s->op.kind = kind;
    s->op.type_atomic = in->type | atomic << 4;
    s->xmm_live = ra_xmm_live(g);
    return s;
}

static void emit_bswap(JitGen *g, int reg, unsigned size)
{
    if (size == 2) {
        x_shift_i(&g->a, 0, 2, reg, 8);
        return;
    }
    if (size == 8 || reg >= 8) {
        a8(&g->a, 0x40 | (size == 8 ? 8 : 0) | reg >> 3);
    }
    a8(&g->a, 0x0f);
    a8(&g->a, 0xc8 | (reg & 7));
}

static void emit_qld_vec(JitGen *g, const IrInsn *in)
{
    unsigned size = in->mem & IRM_SIZE;
    int32_t disp;
    int base = ra_addr(g, in->a, &disp), dst;
    Slow *s;
    uint32_t fault;

    fault = emit_fault(g, false);
    dst = ra_dst_x(g, in->d, 0);
    s = new_slow(g, in, JIT_SLOW_VLD, 0);
    s->fault = fault;
    s->dst = dst;
    emit_probe(g, s, base, disp, in->mem, in->mem & IRM_RMW);
    x_mem(&g->a,
          size == IRM_128 ? 0xf3u << 16 | X0F | 0x6f : /* movdqu */
              size == IRM_64 ? 0xf3u << 16 | X0F | 0x7e
                             :  /* movq */
              X66 | X0F | 0x6e, /* movd */
          dst, RDX, base, 0, disp);
    s->back = g->a.p;
    ra_done_x(g, in->d, dst);
}

void emit_qld(JitGen *g, const IrInsn *in)
{
    unsigned size = 1u << (in->mem & IRM_SIZE);
    int32_t disp;
    int base, dst;
    uint32_t fault;
    Slow *s;
    bool zext = in->type == IR_I32 || (!(in->mem & IRM_SIGN) && size < 8);

    if (in->type == IR_V128) {
        emit_qld_vec(g, in);
        return;
    }
    base = ra_addr(g, in->a, &disp);
    fault = emit_fault(g, false);
    dst = ra_dst(g, in->d, ra_root(g, in->a));
    s = new_slow(g, in, JIT_SLOW_LD, 0);
    s->fault = fault;
    s->dst = dst;
    emit_probe(g, s, base, disp, in->mem, in->mem & IRM_RMW);
    if (in->mem & IRM_BE) {
        emit_ext_load(g, in->mem & ~IRM_SIGN, in->type, dst, RDX, base, disp);
        if (size > 1) {
            emit_bswap(g, dst, size);
        }
        if ((in->mem & IRM_SIGN) && size < 8) {
            x_rr(&g->a,
                 size == 1   ? X0F | 0xbe | XB | XW
                 : size == 2 ? X0F | 0xbf | XW
                             : 0x63 | XW,
                 dst, dst);
            zext = false;
        }
    } else {
        emit_ext_load(g, in->mem, in->type, dst, RDX, base, disp);
    }
    s->back = g->a.p;
    hf_clobber(g);
    ra_done(g, in->d, dst, zext);
}

void emit_qst(JitGen *g, const IrInsn *in)
{
    unsigned size = 1u << (in->mem & IRM_SIZE);
    int32_t disp, k = 0;
    int base, val = -1;
    bool imm = false;
    Slow *s;
    uint32_t fault;

    if (in->type == IR_V128) {
        val = ra_xmm(g, in->b);
    } else if (!(in->mem & IRM_BE) && ra_imm32(g, in->b, size, &k)) {
        imm = true;
    } else {
        val = ra_reg(g, in->b);
    }
    base = ra_addr(g, in->a, &disp);
    fault = emit_fault(g, false);
    s = new_slow(g, in, in->type == IR_V128 ? JIT_SLOW_VST : JIT_SLOW_ST, 0);
    s->fault = fault;
    s->val = val;
    s->val_imm = imm;
    s->imm = k;
    emit_probe(g, s, base, disp, in->mem, true);
    if (in->type == IR_V128) {
        x_mem(&g->a,
              size == 16  ? 0xf3u << 16 | X0F | 0x7f
              : size == 8 ? X66 | X0F | 0xd6
                          : X66 | X0F | 0x7e,
              val, RDX, base, 0, disp);
    } else if (imm) {
        x_mem(&g->a, (size == 1 ? 0xc6 : 0xc7) | x_size(size), 0, RDX, base, 0, disp);
        x_imm(&g->a, size, k);
    } else if ((in->mem & IRM_BE) && size > 1) {
        x_mov_rr(&g->a, true, RCX, val);
        emit_bswap(g, RCX, size);
        emit_store(g, size, RDX, base, disp, RCX);
    } else {
        emit_store(g, size, RDX, base, disp, val);
    }
    s->back = g->a.p;
}

static void zero_extend(JitGen *g, int reg, unsigned size)
{
    if (size == 1) {
        x_rr(&g->a, X0F | 0xb6 | XB, reg, reg);
    } else if (size == 2) {
        x_rr(&g->a, X0F | 0xb7, reg, reg);
    } else if (size == 4) {
        x_mov_rr(&g->a, false, reg, reg);
    }
}

/* An atomic whose old value nobody wants: lock op [rdx + base + disp], val */
static bool emit_atomic_plain(JitGen *g, const IrInsn *in, int base, int32_t disp, int val)
{
    static const uint8_t alu[] = {
        [IRA_ADD] = ALU_ADD, [IRA_AND] = ALU_AND, [IRA_OR] = ALU_OR, [IRA_XOR] = ALU_XOR};
    unsigned size = 1u << (in->mem & IRM_SIZE);

    if (in->cc == IRA_XCHG || in->cc == IRA_CMPXCHG ||
        (in->d && (g->v[in->d].kind == IRV_GLOBAL || g->v[in->d].last_use > g->pos))) {
        return false;
    }
    a8(&g->a, 0xf0);
    x_mem(&g->a, size == 1 ? alu[in->cc] * 8 | XRB : (alu[in->cc] * 8 + 1) | x_size(size), val, RDX,
          base, 0, disp);
    return true;
}

/*
 * The operation on [rdx + base + disp]; the old value is left in rax.
 */
static void emit_atomic_op(JitGen *g, const IrInsn *in, int base, int32_t disp, int val)
{
    unsigned size = 1u << (in->mem & IRM_SIZE);
    uint32_t w = x_size(size), byte = size == 1 ? XRB : 0;
    uint8_t *top;

    switch (in->cc) {
    case IRA_XCHG:
        x_mov_rr(&g->a, true, RAX, val);
        x_mem(&g->a, (size == 1 ? 0x86 : 0x87) | w | byte, RAX, RDX, base, 0, disp);
        break;
    case IRA_ADD:
        x_mov_rr(&g->a, true, RAX, val);
        a8(&g->a, 0xf0);
        x_mem(&g->a, X0F | (size == 1 ? 0xc0 : 0xc1) | w | byte, RAX, RDX, base, 0, disp);
        break;
    case IRA_CMPXCHG:
        a8(&g->a, 0xf0);
        x_mem(&g->a, X0F | (size == 1 ? 0xb0 : 0xb1) | w | byte, val, RDX, base, 0, disp);
        break;
    default:
        emit_ext_load(g, in->mem & IRM_SIZE, IR_I64, RAX, RDX, base, disp);
        top = g->a.p;
        x_mov_rr(&g->a, true, RCX, RAX);
        x_alu_rr(&g->a,
                 in->cc == IRA_AND  ? ALU_AND
                 : in->cc == IRA_OR ? ALU_OR
                                    : ALU_XOR,
                 8, RCX, val);
        a8(&g->a, 0xf0);
        x_mem(&g->a, X0F | (size == 1 ? 0xb0 : 0xb1) | w | byte, RCX, RDX, base, 0, disp);
        a8(&g->a, 0x75);
        a8(&g->a, (uint8_t)(top - (g->a.p + 1)));
    }
    zero_extend(g, RAX, size);
}

void emit_qatomic(JitGen *g, const IrInsn *in)
{
    int32_t disp;
    int base, val;
    uint32_t fault;
    unsigned mem = in->mem & ~IRM_SIGN;
    Slow *s;
    IrVal owner;

    g->hint = 0;
    ra_take(g, RAX);
    /* The operands of the atomic must survive it: rax is written before they are read last. */
    base = ra_addr(g, in->a, &disp);
    val = ra_reg(g, in->b);
    if (in->cc == IRA_CMPXCHG) {
        ra_load_to(g, RAX, in->c, true);
    }
    fault = emit_fault(g, false);
    s = new_slow(g, in, JIT_SLOW_ATOMIC, in->cc);
    s->fault = fault;
    s->val = val;
    s->dst = RAX;
    s->exp = in->cc == IRA_CMPXCHG ? RAX : -1;
    s->has_exp = in->cc == IRA_CMPXCHG;
    emit_probe(g, s, base, disp, mem, true);
    if (!g->j->o->atomics) {
        uint8_t *at = x_jmp(&g->a);

        s->jump[1] = at;
    } else if (!emit_atomic_plain(g, in, base, disp, val)) {
        emit_atomic_op(g, in, base, disp, val);
    }
    s->back = g->a.p;
    hf_clobber(g);
    owner = g->reg_val[RAX];
    (void)owner;
    if (in->d && (g->v[in->d].kind == IRV_GLOBAL || g->v[in->d].last_use > g->pos)) {
        if (g->v[in->d].pinned) {
            int dst = ra_dst(g, in->d, 0);

            x_mov_rr(&g->a, true, dst, RAX);
            ra_done(g, in->d, dst, in->type == IR_I32);
        } else {
            ra_done(g, in->d, RAX, in->type == IR_I32 || (mem & IRM_SIZE) < IRM_64);
        }
    }
}

/* ---- misses ---- */

void emit_slow_paths(JitGen *g)
{
    for (unsigned i = 0; i < g->n_slow; i++) {
        Slow *s = &g->slow[i];
        const void *thunk = g->j->thunk_slow[s->xmm_live];
        uint32_t op;

        for (unsigned n = 0; n < 2; n++) {
            if (s->jump[n]) {
                x_fix(s->jump[n], g->a.p);
            }
        }
        if (s->has_exp) {
            x_store(&g->a, true, RSP, G_F_ARGS, s->exp);
        }
        switch (s->op.kind) {
        case JIT_SLOW_VST:
            x_rm(&g->a, X0F | 0x29, s->val, RSP, G_F_VEC);
            break;
        case JIT_SLOW_ST:
        case JIT_SLOW_ATOMIC:
            if (s->val_imm) {
                x_rr(&g->a, 0xc7 | XW, 0, RCX);
                a32(&g->a, s->imm);
            } else {
                x_mov_rr(&g->a, true, RCX, s->val);
            }
            break;
        }
        if (s->disp) {
            x_lea(&g->a, true, RDX, s->base, -1, 0, s->disp);
        } else {
            x_mov_rr(&g->a, true, RDX, s->base);
        }
        memcpy(&op, &s->op, 4);
        x_rm(&g->a, 0xc7, 0, RSP, G_F_OP);
        a32(&g->a, op);
        a8(&g->a, 0xe8);
        a32(&g->a, (uint32_t)((const uint8_t *)thunk - (g->a.p + g->rx + 4)));
        g->faults[s->fault].host_off = g->a.p - g->start;
        if (s->op.kind == JIT_SLOW_VLD) {
            x_rm(&g->a, X0F | 0x28, s->dst, RSP, G_F_VEC);
        } else if (s->op.kind == JIT_SLOW_LD || s->op.kind == JIT_SLOW_ATOMIC) {
            x_mov_rr(&g->a, true, s->dst, RCX);
        }
        x_fix(x_jmp(&g->a), s->back);
    }
}
