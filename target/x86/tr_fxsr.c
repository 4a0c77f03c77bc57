/*
 * Groups 0F AE and 0F C7: FXSAVE, XSAVE, LDMXCSR, fences, cache line flushes: translation.
 * Intel SDM volume 1 chapters 10.5 and 13, volume 2.
 */
#include "target/x86/simd.h"

#include "target/x86/helpers.h"
#include "target/x86/tr_util.h"

void x86_tr_exit_if(Tr *t, IrVal changed)
{
    unsigned same = ir_label(t->b);

    ir_brcond(t->b, IR_I64, IRC_EQ, changed, tr_i64(t, 0), same);
    tr_exit(t, tr_i64(t, tr_next(t)));
    ir_place(t->b, same);
}

static unsigned xs_flags(Tr *t)
{
    return (t->rex & 8 ? XS_64 : 0) | (tr_code64(t) ? XS_CODE64 : 0) |
           (tr_cpl(t) == 0 ? XS_CPL0 : 0);
}

static void do_fxsave(Tr *t, bool restore)
{
    IrVal addr;

    if (!x86_has_ext(t->c, XF_FXSR)) {
        tr_ud(t);
    } else if (tr_mode(t, M_EM | M_TS)) {
        tr_exc(t, EXC_NM);
    } else {
        addr = tr_ea(t);
        x86_tr_before_access(t, addr, 512, !restore);
        ir_call2(t->b, restore ? &x86_hd_fxrstor : &x86_hd_fxsave, addr, tr_i64(t, xs_flags(t)));
        x86_tr_after_access(t, addr, 512, !restore);
        if (restore) {
            tr_end_exit(t);
        }
    }
}

/* XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR, XRSTORS */
static void do_xsave(Tr *t, X86Ext ext, unsigned flags, bool restore)
{
    IrVal addr, mask;

    if (!x86_has_ext(t->c, XF_XSAVE) || !x86_has_ext(t->c, ext) || !tr_mode(t, M_OSXSAVE)) {
        tr_ud(t);
    } else if ((flags & XS_SUPER) && tr_cpl(t) != 0) {
        tr_exc_err(t, EXC_GP, 0);
    } else if (tr_mode(t, M_TS)) {
        tr_exc(t, EXC_NM);
    } else {
        addr = tr_ea(t);
        mask = ir_or(t->b, IR_I64, ir_ext32u(t->b, xg(XG_RAX)),
                     ir_shl(t->b, IR_I64, xg(XG_RAX + R_RDX), tr_i64(t, 32)));
        x86_tr_before_access(t, addr, 576, !restore);
        ir_call3(t->b, restore ? &x86_hd_xrstor : &x86_hd_xsave, addr, mask,
                 tr_i64(t, flags | xs_flags(t)));
        x86_tr_after_access(t, addr, 576, !restore);
        if (restore) {
            tr_end_exit(t);
        }
    }
}

static void do_mxcsr(Tr *t, bool load)
{
    if (!x86_has_ext(t->c, XF_SSE) || tr_mode(t, M_EM) || !tr_mode(t, M_OSFXSR)) {
        tr_ud(t);
    } else if (tr_mode(t, M_TS)) {
        tr_exc(t, EXC_NM);
    } else if (load) {
        tr_pack_first(t);
        x86_tr_exit_if(t, ir_call1(t->b, &x86_hd_ldmxcsr, tr_ld(t, 4, tr_ea(t))));
    } else {
        tr_st(t, 4, tr_ea(t), ir_call0(t->b, &x86_hd_stmxcsr));
    }
}

static void do_flush(Tr *t, X86Ext ext)
{
    if (!x86_has_ext(t->c, ext)) {
        tr_ud(t);
    } else {
        tr_ld(t, 1, tr_ea(t)); /* faults as a load does; caches are not modelled */
    }
}

static void mem_form(Tr *t)
{
    switch (t->reg & 7) {
    case 0:
    case 1:
        do_fxsave(t, t->reg & 1);
        break;
    case 2:
    case 3:
        do_mxcsr(t, !(t->reg & 1));
        break;
    case 4:
    case 5:
        do_xsave(t, XF_XSAVE, 0, t->reg & 1);
        break;
    case 6:
        do_xsave(t, XF_XSAVEOPT, XS_OPT, false);
        break;
    default:
        do_flush(t, XF_CLFSH);
        break;
    }
}

bool x86_tr_grp15(Tr *t)
{
    unsigned n;

    tr_modrm(t);
    n = t->reg & 7;
    if (t->lock || t->rep) {
        tr_ud(t);
    } else if (t->mod != 3 && !t->p66) {
        mem_form(t);
    } else if (t->mod != 3 && n >= 6) {
        do_flush(t, n == 6 ? XF_CLWB : XF_CLFLUSHOPT);
    } else if (t->mod == 3 && !t->p66 && n >= 5) {
        if (!x86_has_ext(t->c, n == 7 ? XF_SSE : XF_SSE2)) {
            tr_ud(t);
        } else if (n == 6) {
            ir_fence(t->b); /* the others order nothing that translated code reorders */
        }
    } else {
        tr_ud(t);
    }
    return true;
}

bool x86_tr_grp9(Tr *t)
{
    tr_modrm(t);
    if (t->mod == 3 || t->rep || t->p66) {
        tr_ud(t);
        return true;
    }
    switch (t->reg & 7) {
    case 3:
        do_xsave(t, XF_XSAVES, XS_SUPER | XS_COMPACT, true);
        break;
    case 4:
        do_xsave(t, XF_XSAVEC, XS_COMPACT, false);
        break;
    case 5:
        do_xsave(t, XF_XSAVES, XS_SUPER | XS_COMPACT | XS_OPT, false);
        break;
    default:
        tr_ud(t);
        break;
    }
    return true;
}
