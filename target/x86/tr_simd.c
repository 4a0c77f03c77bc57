/*
 * SSE … SSE4.2, AES, PCLMULQDQ, SHA: translation. Intel SDM volume 2, volume 1 chapters 10-12.
 * An SSE instruction becomes the same vector operation of the IR on the XMM globals; see simd.h for
 * MXCSR and simd-tab.c for the opcode maps.
 */
#include "target/x86/simd.h"

#include "target/x86/helpers.h"
#include "target/x86/tr_util.h"

static const struct {
    uint8_t word, bit;
} ext_bits[] = {
    [XF_MMX] = {FEAT_1_EDX, 23},     [XF_MMXEXT] = {FEAT_1_EDX, 25},
    [XF_SSE] = {FEAT_1_EDX, 25},     [XF_SSE2] = {FEAT_1_EDX, 26},
    [XF_SSE3] = {FEAT_1_ECX, 0},     [XF_SSSE3] = {FEAT_1_ECX, 9},
    [XF_SSE41] = {FEAT_1_ECX, 19},   [XF_SSE42] = {FEAT_1_ECX, 20},
    [XF_AES] = {FEAT_1_ECX, 25},     [XF_CLMUL] = {FEAT_1_ECX, 1},
    [XF_SHA] = {FEAT_7_EBX, 29},     [XF_FXSR] = {FEAT_1_EDX, 24},
    [XF_XSAVE] = {FEAT_1_ECX, 26},   [XF_XSAVEOPT] = {FEAT_D_1_EAX, 0},
    [XF_XSAVEC] = {FEAT_D_1_EAX, 1}, [XF_XSAVES] = {FEAT_D_1_EAX, 3},
    [XF_CLFSH] = {FEAT_1_EDX, 19},   [XF_CLFLUSHOPT] = {FEAT_7_EBX, 23},
    [XF_CLWB] = {FEAT_7_EBX, 24},
};

bool x86_has_ext(const X86Cpu *c, X86Ext ext)
{
    if (ext == XF_NONE) {
        return true;
    }
    if (ext == XF_MMXEXT && (c->feat[FEAT_80000001_EDX] & 1u << 22)) {
        return x86_has_ext(c, XF_MMX);
    }
    return c->feat[ext_bits[ext].word] & 1u << ext_bits[ext].bit;
}

static inline IrVal xmm(unsigned n)
{
    return xg(XG_XMM0 + n);
}

/* ---- operations ---- */

/* Lanes of the result that may be an exact denormal without UE being set by masked execution. */
static unsigned tiny_lanes(unsigned vop)
{
    switch (vop) {
    case IRVOP_ADDPS:
    case IRVOP_SUBPS:
    case IRVOP_MULPS:
    case IRVOP_DIVPS:
    case IRVOP_HADDPS:
    case IRVOP_HSUBPS:
    case IRVOP_ADDSUBPS:
    case IRVOP_CVTPD2PS:
        return TINY_PS;
    case IRVOP_ADDPD:
    case IRVOP_SUBPD:
    case IRVOP_MULPD:
    case IRVOP_DIVPD:
    case IRVOP_HADDPD:
    case IRVOP_HSUBPD:
    case IRVOP_ADDSUBPD:
        return TINY_PD;
    case IRVOP_ADDSS:
    case IRVOP_SUBSS:
    case IRVOP_MULSS:
    case IRVOP_DIVSS:
    case IRVOP_CVTSD2SS:
        return TINY_SS;
    case IRVOP_ADDSD:
    case IRVOP_SUBSD:
    case IRVOP_MULSD:
    case IRVOP_DIVSD:
        return TINY_SD;
    default:
        return TINY_NONE;
    }
}

static bool fp_checked(Tr *t, unsigned vop)
{
    return tr_mode(t, M_XMMEXC) && (x86_vop_flags(vop) & IRVF_FP);
}

static void check_begin(Tr *t)
{
    ir_call0(t->b, &x86_hd_sse_begin);
}

static void check_end(Tr *t, unsigned lanes, IrVal result)
{
    if (lanes) {
        ir_vste(t->b, 16, offsetof(X86Cpu, simd_tmp), result);
    }
    ir_call1(t->b, &x86_hd_sse_check, tr_i64(t, lanes));
}

IrVal x86_tr_vop(Tr *t, unsigned vop, IrVal a, IrVal b, uint8_t imm)
{
    bool checked = fp_checked(t, vop);
    IrVal r;

    if (x86_vop_flags(vop) & IRVF_ONE) {
        a = 0;
    }
    if (checked) {
        check_begin(t);
    }
    r = ir_vop(t->b, vop, a, b, imm);
    if (checked) {
        check_end(t, tiny_lanes(vop), r);
    }
    return r;
}

/* The same into a global, after everything that can fault. */
static void vop_to(Tr *t, unsigned vop, IrVal d, IrVal a, IrVal b, uint8_t imm)
{
    if (fp_checked(t, vop)) {
        ir_mov(t->b, IR_V128, d, x86_tr_vop(t, vop, a, b, imm));
    } else {
        ir_vop_to(t->b, vop, d, x86_vop_flags(vop) & IRVF_ONE ? 0 : a, b, imm);
    }
}

/* DPPS, DPPD where exceptions are checked: each multiplication and addition is an operation of its
 * own for that. The result, which has not been written anywhere. */
static IrVal dot_checked(Tr *t, bool dbl, IrVal a, IrVal src, uint8_t imm)
{
    IrBlock *b = t->b;
    unsigned blend = dbl ? IRVOP_BLENDPD : IRVOP_BLENDPS, lanes = dbl ? 3 : 15;
    IrVal zero = ir_vop(b, IRVOP_PXOR, a, a, 0), p;

    p = x86_tr_vop(t, dbl ? IRVOP_MULPD : IRVOP_MULPS, ir_vop(b, blend, zero, a, imm >> 4 & lanes),
                   ir_vop(b, blend, zero, src, imm >> 4 & lanes), 0);
    p = x86_tr_vop(t, dbl ? IRVOP_HADDPD : IRVOP_HADDPS, p, p, 0);
    if (!dbl) {
        p = x86_tr_vop(t, IRVOP_HADDPS, p, p, 0);
    }
    return ir_vop(b, blend, zero, p, imm & lanes);
}

/* ---- memory operands ---- */

void x86_tr_before_access(Tr *t, IrVal addr, unsigned bytes, bool write)
{
    if (t->lim_addr && addr == t->lim_addr) {
        ir_call4(t->b, &x86_hd_check_seg, tr_i64(t, t->lim_seg), t->lim_off, tr_i64(t, bytes),
                 tr_i64(t, write));
    }
}

void x86_tr_after_access(Tr *t, IrVal addr, unsigned bytes, bool write)
{
    if (tr_mode(t, M_DEBUG)) {
        ir_call3(t->b, &x86_hd_check_dbreak, addr, tr_i64(t, bytes), tr_i64(t, write));
    }
}

/* A 16-byte operand must be aligned: #GP(0), which JitTarget.set_align_fault raises unless #AC is
 * in force. */
static unsigned aligned_memop(Tr *t, IrVal addr)
{
    if (tr_mode(t, M_ALIGN)) {
        ir_call1(t->b, &x86_hd_sse_align, addr);
        return tr_memop(t, 16);
    }
    return tr_memop(t, 16) | IRM_ALIGN;
}

IrVal x86_tr_load_vec(Tr *t, IrVal addr, unsigned size)
{
    IrVal v;

    switch (size) {
    case 1:
    case 2:
        return ir_vfromi(t->b, IR_I32, IRVOP_MOVD_FROMI, 0, tr_ld(t, size, addr), 0);
    case 16:
        x86_tr_before_access(t, addr, 16, false);
        v = ir_qld(t->b, IR_V128, aligned_memop(t, addr), addr);
        x86_tr_after_access(t, addr, 16, false);
        return v;
    case SM_U16:
        return tr_ldv(t, addr, 16);
    default:
        return tr_ldv(t, addr, size);
    }
}

static void store_vec(Tr *t, IrVal addr, IrVal v, unsigned size)
{
    if (size == 16) {
        x86_tr_before_access(t, addr, 16, true);
        ir_qst(t->b, IR_V128, aligned_memop(t, addr), addr, v);
        x86_tr_after_access(t, addr, 16, true);
    } else {
        tr_stv(t, addr, v, size == SM_U16 ? 16 : size);
    }
}

/* The r/m operand as a vector; all instruction bytes were read. */
static IrVal vec_rm(Tr *t, unsigned size)
{
    return t->mod == 3 ? xmm(t->rm) : x86_tr_load_vec(t, tr_ea(t), size);
}

/* ---- forms ---- */

static void do_v(Tr *t, const SimdOp *o)
{
    uint8_t imm = x86_vop_flags(o->vop) & IRVF_IMM ? tr_u8(t) : 0;
    IrVal src = vec_rm(t, o->size);

    if (o->vop == IRVOP_MOVQ && t->mod != 3) {
        ir_mov(t->b, IR_V128, xmm(t->reg), src); /* zero-filled already */
        return;
    }
    if ((o->vop == IRVOP_DPPS || o->vop == IRVOP_DPPD) && fp_checked(t, o->vop)) {
        ir_mov(t->b, IR_V128, xmm(t->reg),
               dot_checked(t, o->vop == IRVOP_DPPD, xmm(t->reg), src, imm));
        return;
    }
    vop_to(t, o->vop, xmm(t->reg), xmm(t->reg), src, imm);
}

static void do_move(Tr *t, const SimdOp *o)
{
    IrBlock *b = t->b;
    bool store = o->form == SF_STORE || o->form == SF_NT_STORE;

    if (t->mod == 3) {
        if (o->form == SF_NT_LOAD || o->form == SF_NT_STORE) {
            tr_ud(t);
        } else {
            ir_mov(b, IR_V128, xmm(store ? t->rm : t->reg), xmm(store ? t->reg : t->rm));
        }
    } else if (store) {
        store_vec(t, tr_ea(t), xmm(t->reg), o->size);
    } else {
        ir_mov(b, IR_V128, xmm(t->reg), x86_tr_load_vec(t, tr_ea(t), o->size));
    }
}

/* movss, movsd, movlps, movhps and their 66 forms */
static void do_partial(Tr *t, const SimdOp *o)
{
    IrBlock *b = t->b;
    IrVal d = xmm(t->reg), v;

    if (t->mod == 3) {
        if (o->form == SF_MOVS_ST) {
            ir_vop_to(b, o->vop, xmm(t->rm), xmm(t->rm), xmm(t->reg), 0);
        } else if (o->vop) { /* movss, movsd; movhlps, movlhps */
            ir_vop_to(b, o->vop, d, d, xmm(t->rm), 0);
        } else {
            tr_ud(t);
        }
        return;
    }
    switch (o->form) {
    case SF_MOVS_LD:
        ir_mov(b, IR_V128, d, x86_tr_load_vec(t, tr_ea(t), o->size));
        break;
    case SF_MOVL_LD:
        v = x86_tr_load_vec(t, tr_ea(t), 8);
        ir_vop_to(b, IRVOP_MOVSD, d, d, v, 0);
        break;
    case SF_MOVH_LD:
        v = x86_tr_load_vec(t, tr_ea(t), 8);
        ir_vop_to(b, IRVOP_MOVLHPS, d, d, v, 0);
        break;
    case SF_MOVH_ST:
        v = ir_vop(b, IRVOP_UNPCKHPD, d, d, 0);
        store_vec(t, tr_ea(t), v, 8);
        break;
    default: /* SF_MOVS_ST, SF_MOVL_ST */
        store_vec(t, tr_ea(t), d, o->size);
        break;
    }
}

static void do_movd(Tr *t, const SimdOp *o)
{
    IrBlock *b = t->b;
    unsigned bytes = t->rex & 8 ? 8 : 4;
    IrType ty = bytes == 8 ? IR_I64 : IR_I32;

    switch (o->form) {
    case SF_MOVD_LD:
        if (t->mod == 3) {
            ir_mov(b, IR_V128, xmm(t->reg),
                   ir_vfromi(b, ty, IRVOP_MOVD_FROMI, 0, tr_reg(t, bytes, t->rm), 0));
        } else {
            ir_mov(b, IR_V128, xmm(t->reg), x86_tr_load_vec(t, tr_ea(t), bytes));
        }
        break;
    case SF_MOVD_ST:
        if (t->mod == 3) {
            tr_set_reg(t, bytes, t->rm, ir_vtoi(b, ty, IRVOP_MOVD_TOI, xmm(t->reg), 0));
        } else {
            store_vec(t, tr_ea(t), xmm(t->reg), bytes);
        }
        break;
    default: /* SF_MOVQ_ST */
        if (t->mod == 3) {
            ir_vop_to(b, IRVOP_MOVQ, xmm(t->rm), 0, xmm(t->reg), 0);
        } else {
            store_vec(t, tr_ea(t), xmm(t->reg), 8);
        }
        break;
    }
}

static void do_flags(Tr *t, const SimdOp *o)
{
    IrVal src = vec_rm(t, o->size), f;
    bool checked = fp_checked(t, o->vop);

    if (checked) {
        check_begin(t);
    }
    f = ir_vcmpflags(t->b, o->vop, xmm(t->reg), src);
    if (checked) {
        check_end(t, TINY_NONE, 0);
    }
    tr_set_flags(t, (IrFlags){.kind = IRF_VALUE, .size = 4, .a = f});
}

/* cvtss2si and the like; movmskps, pmovmskb, pextrw r, xmm */
static void do_toi(Tr *t, const SimdOp *o)
{
    IrBlock *b = t->b;
    bool checked = fp_checked(t, o->vop);
    unsigned bytes = o->form == SF_TOI && (t->rex & 8) ? 8 : 4;
    uint8_t imm = x86_vop_flags(o->vop) & IRVF_IMM ? tr_u8(t) : 0;
    IrVal src, r;

    if (o->form != SF_TOI && t->mod != 3) {
        tr_ud(t);
        return;
    }
    src = vec_rm(t, o->size);
    if (checked) {
        check_begin(t);
    }
    r = ir_vtoi(b, bytes == 8 ? IR_I64 : IR_I32, o->vop, src, imm);
    if (checked) {
        check_end(t, TINY_NONE, 0);
    }
    tr_set_reg(t, bytes, t->reg, r);
}

static void do_fromi(Tr *t, const SimdOp *o)
{
    IrBlock *b = t->b;
    unsigned bytes = t->rex & 8 ? 8 : 4;
    bool checked = fp_checked(t, o->vop);
    IrVal i = t->mod == 3 ? tr_reg(t, bytes, t->rm) : tr_ld(t, bytes, tr_ea(t));
    IrVal r;

    if (checked) {
        check_begin(t);
    }
    r = ir_vfromi(b, bytes == 8 ? IR_I64 : IR_I32, o->vop, xmm(t->reg), i, 0);
    if (checked) {
        check_end(t, TINY_NONE, 0);
    }
    ir_mov(b, IR_V128, xmm(t->reg), r);
}

static void do_pextr(Tr *t, const SimdOp *o)
{
    uint8_t imm = tr_u8(t);
    unsigned bytes = o->size == 5 ? 4 : o->size == 4 && (t->rex & 8) ? 8 : o->size;
    IrVal v = ir_vtoi(t->b, bytes == 8 ? IR_I64 : IR_I32, o->vop, xmm(t->reg), imm);

    if (t->mod == 3) {
        tr_set_reg(t, bytes == 8 ? 8 : 4, t->rm, v);
    } else {
        tr_st(t, bytes, tr_ea(t), v);
    }
}

static void do_pinsr(Tr *t, const SimdOp *o)
{
    uint8_t imm = tr_u8(t);
    unsigned bytes = o->vop == IRVOP_PINSRD && (t->rex & 8) ? 8 : o->size;
    IrVal i = t->mod == 3 ? tr_reg(t, bytes == 8 ? 8 : 4, t->rm) : tr_ld(t, bytes, tr_ea(t));

    ir_mov(t->b, IR_V128, xmm(t->reg),
           ir_vfromi(t->b, bytes == 8 ? IR_I64 : IR_I32, o->vop, xmm(t->reg), i, imm));
}

static void do_insertps(Tr *t)
{
    uint8_t imm = tr_u8(t);
    IrVal src = vec_rm(t, 4);

    if (t->mod != 3) {
        imm &= 0x3f; /* a memory operand has only element 0 */
    }
    ir_vop_to(t->b, IRVOP_INSERTPS, xmm(t->reg), xmm(t->reg), src, imm);
}

/* pblendvb, blendvps, blendvpd: the sign bits of xmm0's elements select. */
static void do_blendv(Tr *t, const SimdOp *o)
{
    IrBlock *b = t->b;
    IrVal src = vec_rm(t, 16), m, keep;

    if (o->vop == IRVOP_PCMPGTB) {
        IrVal zero = ir_vop(b, IRVOP_PXOR, xmm(0), xmm(0), 0);
        m = ir_vop(b, IRVOP_PCMPGTB, zero, xmm(0), 0);
    } else {
        m = ir_vop(b, IRVOP_PSRADI, xmm(0), 0, 31);
        if (o->vop == IRVOP_PSHUFD) {
            m = ir_vop(b, IRVOP_PSHUFD, 0, m, 0xf5);
        }
    }
    keep = ir_vop(b, IRVOP_PANDN, m, xmm(t->reg), 0);
    m = ir_vop(b, IRVOP_PAND, m, src, 0);
    ir_vop_to(b, IRVOP_POR, xmm(t->reg), m, keep, 0);
}

static void do_shifti(Tr *t)
{
    static const uint16_t vops[3][8] = {
        [0] = {[2] = IRVOP_PSRLWI, [4] = IRVOP_PSRAWI, [6] = IRVOP_PSLLWI},
        [1] = {[2] = IRVOP_PSRLDI, [4] = IRVOP_PSRADI, [6] = IRVOP_PSLLDI},
        [2] = {[2] = IRVOP_PSRLQI, [3] = IRVOP_PSRLDQ, [6] = IRVOP_PSLLQI, [7] = IRVOP_PSLLDQ},
    };
    uint8_t imm = tr_u8(t);
    unsigned vop = vops[t->op - 0x71][t->reg & 7];

    if (t->mod != 3 || !vop) {
        tr_ud(t);
    } else {
        ir_vop_to(t->b, vop, xmm(t->rm), xmm(t->rm), 0, imm);
    }
}

IrVal x86_tr_ds_rdi(Tr *t, unsigned bytes)
{
    IrVal off = xg(XG_RAX + R_RDI);

    if (t->asz == 4) {
        off = ir_ext32u(t->b, off);
    } else if (t->asz == 2) {
        off = ir_ext16u(t->b, IR_I64, off);
    }
    return tr_linear(t, t->seg >= 0 ? t->seg : S_DS, off, bytes, true);
}

static void do_maskmov(Tr *t)
{
    if (t->mod != 3) {
        tr_ud(t);
        return;
    }
    ir_call3(t->b, &x86_hd_maskmov, x86_tr_ds_rdi(t, 16), tr_i64(t, t->reg), tr_i64(t, t->rm));
}

/* Source of a helper that takes an xmm number: 16 = simd_tmp[0]. */
static IrVal helper_src(Tr *t, unsigned size)
{
    if (t->mod == 3) {
        return tr_i64(t, t->rm);
    }
    ir_vste(t->b, 16, offsetof(X86Cpu, simd_tmp), x86_tr_load_vec(t, tr_ea(t), size));
    return tr_i64(t, 16);
}

static void do_pcmpstr(Tr *t)
{
    IrBlock *b = t->b;
    uint8_t imm = tr_u8(t);
    unsigned bytes = t->rex & 8 ? 8 : 4;
    IrVal src = helper_src(t, SM_U16);
    IrVal r, len1 = tr_i64(t, 0), len2 = len1;

    if (t->op < 0x62) { /* explicit lengths */
        len1 = bytes == 8 ? xg(XG_RAX) : ir_ext32s(b, xg(XG_RAX));
        len2 = bytes == 8 ? xg(XG_RAX + R_RDX) : ir_ext32s(b, xg(XG_RAX + R_RDX));
    }
    r = ir_call(b, &x86_hd_pcmpstr,
                (IrVal[]){tr_i64(t, t->op | imm << 8), tr_i64(t, t->reg), src, len1, len2}, 5);
    if (t->op & 1) { /* index */
        tr_set_reg(t, 4, R_RCX, ir_shr(b, IR_I64, r, tr_i64(t, 32)));
    }
    r = ir_and(b, IR_I32, r, tr_i32(t, 0xffff));
    tr_set_flags(t, (IrFlags){.kind = IRF_VALUE, .size = 4, .a = r});
}

static void do_sha256rnds2(Tr *t)
{
    IrVal src = helper_src(t, 16);

    ir_call2(t->b, &x86_hd_sha256rnds2, tr_i64(t, t->reg), src);
}

static void do_form(Tr *t, const SimdOp *o)
{
    switch (o->form) {
    case SF_V:
        do_v(t, o);
        break;
    case SF_LOAD:
    case SF_STORE:
    case SF_NT_LOAD:
    case SF_NT_STORE:
        do_move(t, o);
        break;
    case SF_MOVS_LD:
    case SF_MOVS_ST:
    case SF_MOVL_LD:
    case SF_MOVL_ST:
    case SF_MOVH_LD:
    case SF_MOVH_ST:
        do_partial(t, o);
        break;
    case SF_MOVQ_ST:
    case SF_MOVD_LD:
    case SF_MOVD_ST:
        do_movd(t, o);
        break;
    case SF_FLAGS:
        do_flags(t, o);
        break;
    case SF_TOI:
    case SF_MASK:
    case SF_PEXTRW:
        do_toi(t, o);
        break;
    case SF_FROMI:
        do_fromi(t, o);
        break;
    case SF_PEXTR:
        do_pextr(t, o);
        break;
    case SF_PINSR:
        do_pinsr(t, o);
        break;
    case SF_INSERTPS:
        do_insertps(t);
        break;
    case SF_BLENDV:
        do_blendv(t, o);
        break;
    case SF_SHIFTI:
        do_shifti(t);
        break;
    case SF_MASKMOV:
        do_maskmov(t);
        break;
    case SF_PCMPSTR:
        do_pcmpstr(t);
        break;
    default:
        do_sha256rnds2(t);
        break;
    }
}

/* ---- entry ---- */

/* MOVNTI, prefetches: general-purpose instructions of these maps. */
static bool tr_misc(Tr *t, unsigned pfx)
{
    if (t->op == 0xc3 && pfx == 0) {
        unsigned bytes = t->rex & 8 ? 8 : 4;
        tr_modrm(t);
        if (t->mod == 3 || t->lock || !x86_has_ext(t->c, XF_SSE2)) {
            tr_ud(t);
        } else {
            tr_st(t, bytes, tr_ea(t), tr_reg(t, bytes, t->reg));
        }
        return true;
    }
    if (t->op == 0x18 || t->op == 0x0d) { /* hints; reserved forms are no operations, too */
        tr_modrm(t);
        if (t->lock || (t->op == 0x0d && t->mod == 3)) {
            tr_ud(t);
        }
        return true;
    }
    return false;
}

bool tr_simd(Tr *t)
{
    unsigned pfx = t->rep == 0xf3 ? 2 : t->rep == 0xf2 ? 3 : t->p66 ? 1 : 0;
    const SimdOp *o;

    if (t->map == 1) {
        if (t->op == 0xae) {
            return x86_tr_grp15(t);
        }
        if (t->op == 0xc7) {
            return x86_tr_grp9(t);
        }
        if (t->op == 0x77 && pfx == 0) {
            x86_tr_emms(t);
            return true;
        }
        if (tr_misc(t, pfx)) {
            return true;
        }
    }
    o = x86_simd_lookup(t->map, t->op, pfx);
    if (!o) {
        return false;
    }
    if (t->lock || !x86_has_ext(t->c, o->ext)) {
        tr_ud(t);
    } else if (o->form >= SF_M_V) {
        x86_tr_mmx(t, o);
    } else if (tr_mode(t, M_EM) || !tr_mode(t, M_OSFXSR)) {
        tr_ud(t);
    } else if (tr_mode(t, M_TS)) {
        tr_exc(t, EXC_NM);
    } else {
        tr_modrm(t);
        do_form(t, o);
    }
    return true;
}
