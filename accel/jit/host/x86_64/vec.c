/* x86-64 code generation: vector operations, from the columns of ir-vec.h. */
#include "accel/jit/host/x86_64/gen.h"

typedef struct VopRow {
    uint8_t prefix, map, opcode;
    uint32_t flags;
} VopRow;

static const VopRow rows[IRVOP_COUNT] = {
#define X(n, p, m, o, f) {p, m, o, f},
    IR_VOPS(X)
#undef X
};

static uint32_t row_opc(const VopRow *r)
{
    /* map: 0x0f is the plain two-byte map, 0x38 and 0x3a those of 0F 38 and 0F 3A */
    return (uint32_t)r->prefix << 16 | (uint32_t)r->map << 8 | r->opcode;
}

/* The row's instruction with ModRM.reg @reg and operand @o. */
static void emit_row(JitGen *g, const VopRow *r, unsigned reg, Opd o, uint8_t imm, uint32_t extra)
{
    uint32_t opc = row_opc(r) | extra;

    if (o.mem) {
        x_rm(&g->a, opc, reg, o.reg, o.disp);
    } else {
        x_rr(&g->a, opc, reg, o.reg);
    }
    if (r->flags & IRVF_IMM) {
        a8(&g->a, imm);
    }
}

static void movaps(JitGen *g, int dst, int src)
{
    if (dst != src) {
        x_rr(&g->a, X0F | 0x28, dst, src);
    }
}

static void load_x(JitGen *g, int dst, Opd o)
{
    if (o.mem) {
        x_rm(&g->a, X0F | 0x28, dst, o.reg, o.disp);
    } else {
        movaps(g, dst, o.reg);
    }
}

/* Operations whose memory form means something else than the register form. */
static bool needs_reg(unsigned vop)
{
    switch (vop) {
    case IRVOP_MOVSS:
    case IRVOP_MOVSD:
    case IRVOP_MOVHLPS:
    case IRVOP_MOVLHPS:
    case IRVOP_INSERTPS:
        return true;
    default:
        return false;
    }
}

/* Register for the result of an operation on @a: a guest register that is overwritten keeps the
 * register of its copy. */
static int dst_for(JitGen *g, IrVal d, IrVal a)
{
    IrVal r = ra_root(g, a);

    if (r == d && g->v[d].kind == IRV_GLOBAL) {
        ra_before_write(g, d);
        if (g->v[d].reg >= 0) {
            return g->v[d].reg;
        }
    }
    return ra_dst_x(g, d, r);
}

/* Scalars and halves: the memory form reads fewer bytes than the value has; all of them are in
 * the value's home, so a memory operand is always right. */
static void emit_vop(JitGen *g, const IrInsn *in)
{
    const VopRow *r = &rows[in->extra];
    Opd oa = {0}, ob = {0};
    bool reads_a = in->a && !(r->flags & IRVF_ONE);
    int dst;

    if (r->flags & IRVF_HAS_EXT) { /* shift by immediate: in place on a */
        oa = ra_xopd(g, in->a);
        dst = dst_for(g, in->d, in->a);
        load_x(g, dst, oa);
        x_rr(&g->a, row_opc(r), (r->flags >> IRVF_EXT_SHIFT) & 7, dst);
        a8(&g->a, in->imm);
        ra_done_x(g, in->d, dst);
        return;
    }
    ob = needs_reg(in->extra) ? (Opd){.reg = ra_xmm(g, in->b)} : ra_xopd(g, in->b);
    if (reads_a) {
        oa = ra_xopd(g, in->a);
        dst = dst_for(g, in->d, in->a);
        if (!ob.mem && ob.reg == dst && (oa.mem || oa.reg != dst)) {
            movaps(g, G_XMM_SCRATCH, ob.reg);
            ob.reg = G_XMM_SCRATCH;
        }
        load_x(g, dst, oa);
    } else {
        dst = ra_dst_x(g, in->d, ra_root(g, in->b));
        if (!(r->flags & IRVF_ONE) && (ob.mem || ob.reg != dst)) {
            x_rr(&g->a, X0F | 0x57, dst, dst); /* merges into zero */
        } else if (!(r->flags & IRVF_ONE)) {
            movaps(g, G_XMM_SCRATCH, dst);
            ob.reg = G_XMM_SCRATCH;
            x_rr(&g->a, X0F | 0x57, dst, dst);
        }
    }
    emit_row(g, r, dst, ob, in->imm, 0);
    ra_done_x(g, in->d, dst);
}

static void emit_vcmpflags(JitGen *g, const IrInsn *in)
{
    const VopRow *r = &rows[in->extra];
    int a;
    Opd ob;
    HfOps none = {0};

    ra_take(g, RAX);
    ob = ra_xopd(g, in->b);
    a = ra_xmm(g, in->a);
    emit_row(g, r, a, ob, in->imm, 0);
    hf_hold(g);
    a8(&g->a, 0x9f);                      /* lahf */
    x_rr(&g->a, X0F | 0x90 | XB, 0, RAX); /* seto al */
    x_rr(&g->a, X0F | 0xb7, RAX, RAX);
    g->hint = 0;
    ra_done(g, in->d, RAX, true);
    hf_set(g, IRF_VALUE, 4, none, in->d, JIT_FLAGS_ALL);
    g->hf.result = 0;
}

static void emit_vtoi(JitGen *g, const IrInsn *in)
{
    const VopRow *r = &rows[in->extra];
    uint32_t w = (r->flags & IRVF_REXW_BY_TYPE) && in->type == IR_I64 ? XW : 0;
    bool valid = g->hf.valid;
    int dst;

    if (r->flags & IRVF_REV) {
        int x = ra_xmm(g, in->a);

        dst = ra_dst(g, in->d, 0);
        emit_row(g, r, x, (Opd){.reg = dst}, in->imm, w);
    } else {
        Opd o = r->flags & IRVF_FP ? ra_xopd(g, in->a) : (Opd){.reg = ra_xmm(g, in->a)};

        dst = ra_dst(g, in->d, 0);
        emit_row(g, r, dst, o, in->imm, w);
    }
    if (!valid) {
        hf_hold(g);
    }
    /* Results of 32-bit forms are zero-extended by the host. */
    ra_done(g, in->d, dst, !w);
    if (!valid) {
        hf_clobber(g);
    }
}

static void emit_vfromi(JitGen *g, const IrInsn *in)
{
    const VopRow *r = &rows[in->extra];
    uint32_t w = (r->flags & IRVF_REXW_BY_TYPE) && in->type == IR_I64 ? XW : 0;
    bool reads_a = in->a && !(r->flags & IRVF_ONE);
    int i = ra_reg(g, in->b), dst;
    Opd oa = {0};

    if (reads_a) {
        oa = ra_xopd(g, in->a);
        dst = dst_for(g, in->d, in->a);
        load_x(g, dst, oa);
    } else {
        dst = ra_dst_x(g, in->d, 0);
        if (!(r->flags & IRVF_ONE)) {
            x_rr(&g->a, X0F | 0x57, dst, dst);
        }
    }
    emit_row(g, r, dst, (Opd){.reg = i}, in->imm, w);
    ra_done_x(g, in->d, dst);
}

/* VFMADD231 and its relatives, in the scratch register: VEX.66.0F38 */
static void emit_vfma(JitGen *g, const IrInsn *in)
{
    static const uint8_t ops[] = {0xb8, 0xbc, 0xba, 0xbe}; /* by IRFMA_NEG_* */
    int a = ra_xmm(g, in->a), b = ra_xmm(g, in->b), s = G_XMM_SCRATCH, dst;
    Opd oc = ra_xopd(g, in->c);

    load_x(g, s, oc);
    a8(&g->a, 0xc4);
    a8(&g->a, (s & 8 ? 0 : 0x80) | 0x40 | (b & 8 ? 0 : 0x20) | 2);
    a8(&g->a, (in->extra & IRFMA_DOUBLE ? 0x80 : 0) | (~a & 15) << 3 | 1);
    a8(&g->a, ops[in->extra >> 2] | (in->extra & IRFMA_SCALAR ? 1 : 0));
    a8(&g->a, 0xc0 | (s & 7) << 3 | (b & 7));
    dst = ra_dst_x(g, in->d, 0);
    movaps(g, dst, s);
    ra_done_x(g, in->d, dst);
}

static void emit_vlde(JitGen *g, const IrInsn *in)
{
    int dst = ra_dst_x(g, in->d, 0);

    x_rm(&g->a,
         in->mem == 16  ? X0F | 0x10
         : in->mem == 8 ? 0xf3u << 16 | X0F | 0x7e
                        : X66 | X0F | 0x6e,
         dst, R14, in->imm);
    ra_done_x(g, in->d, dst);
}

static void emit_vste(JitGen *g, const IrInsn *in)
{
    x_rm(&g->a,
         in->mem == 16  ? X0F | 0x11
         : in->mem == 8 ? X66 | X0F | 0xd6
                        : X66 | X0F | 0x7e,
         ra_xmm(g, in->a), R14, in->imm);
}

void emit_vec(JitGen *g, const IrInsn *in)
{
    switch (in->op) {
    case IR_VLDE:
        emit_vlde(g, in);
        break;
    case IR_VSTE:
        emit_vste(g, in);
        break;
    case IR_VOP:
        emit_vop(g, in);
        break;
    case IR_VCMPFLAGS:
        emit_vcmpflags(g, in);
        break;
    case IR_VTOI:
        emit_vtoi(g, in);
        break;
    case IR_VFMA:
        emit_vfma(g, in);
        break;
    case IR_VFROMI:
        emit_vfromi(g, in);
        break;
    default:
        g_assert_not_reached();
    }
}
