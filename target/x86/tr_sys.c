/*
 * x86 I/O and system instructions. Intel SDM volume 2.
 *
 * What depends on privilege alone is decided here, from the block's mode; the rest is the system
 * helpers' (helpers.h).
 */
#include "target/x86/helpers.h"
#include "target/x86/int_helpers.h"
#include "target/x86/tr_util.h"

/* SGDT, SIDT, SLDT, STR, SMSW under CR4.UMIP. */
static void check_umip(Tr *t)
{
    if (tr_cpl(t)) {
        ir_call0(t->b, &x86_hd_umip);
    }
}

/* ---- I/O ---- */

static void op_in_out(Tr *t)
{
    bool out = t->op & 2;
    unsigned sz = !(t->op & 1) ? 1 : t->osz == 2 ? 2 : 4;
    IrVal port = t->op < 0xe8 ? tr_i64(t, tr_u8(t)) : tr_reg(t, 2, R_RDX), bytes = tr_i64(t, sz);

    if (out) {
        ir_call3(t->b, &x86_hd_out, port, tr_reg(t, sz, R_RAX), bytes);
        /* Its effect on this CPU (SMI, A20, interrupts) is there at the next instruction. */
        tr_end_exit(t);
    } else {
        tr_set_reg(t, sz, R_RAX, ir_call2(t->b, &x86_hd_in, port, bytes));
    }
}

/* ---- system: groups 6 and 7 ---- */

static void set_zf(Tr *t, IrVal zf)
{
    tr_set_flags(t, tr_flags_value(ir_deposit(t->b, IR_I32, tr_packed(t), zf, 14, 1)));
}

static void op_group6(Tr *t)
{
    IrVal sel;
    unsigned sub;
    TrOpd o;

    tr_modrm(t);
    sub = t->modrm >> 3 & 7;
    if (!tr_mode(t, M_PE) || sub > 5) {
        tr_ud(t);
        return;
    }
    if (sub < 2) { /* SLDT, STR */
        check_umip(t);
        o = tr_rm(t);
        tr_opd_st(t, &o, o.mem ? 2 : t->osz, tr_ld_sel(t, sub ? S_TR : S_LDTR));
        return;
    }
    if (sub < 4 && !tr_need_cpl0(t)) {
        return;
    }
    o = tr_rm(t);
    sel = o.mem ? tr_ld(t, 2, o.addr) : tr_reg(t, 2, o.reg);
    switch (sub) {
    case 2:
        ir_call1(t->b, &x86_hd_lldt, sel);
        break;
    case 3:
        ir_call1(t->b, &x86_hd_ltr, sel);
        break;
    default:
        set_zf(t, ir_call1(t->b, sub == 4 ? &x86_hd_verr : &x86_hd_verw, sel));
        break;
    }
}

static void op_store_table(Tr *t, bool idt)
{
    size_t off = idt ? offsetof(X86Cpu, idt) : offsetof(X86Cpu, gdt);
    unsigned n = tr_code64(t) ? 8 : 4;
    IrVal limit, base;

    check_umip(t);
    limit = ir_lde(t->b, IR_I32, IRM_16, off + offsetof(X86Table, limit));
    base = ir_lde(t->b, IR_I64, IRM_64, off + offsetof(X86Table, base));
    tr_st(t, 2, tr_ea_plus(t, 0, 2, true), limit);
    tr_st(t, n, tr_ea_plus(t, 2, n, true), base);
}

static void op_load_table(Tr *t, bool idt)
{
    unsigned n = tr_code64(t) ? 8 : 4;
    IrVal limit, base;

    if (!tr_need_cpl0(t)) {
        return;
    }
    limit = tr_ld(t, 2, tr_ea_plus(t, 0, 2, false));
    base = tr_ld(t, n, tr_ea_plus(t, 2, n, false));
    if (n == 4 && t->osz == 2) {
        base = ir_and(t->b, IR_I64, base, tr_i64(t, 0xffffff));
    }
    ir_call2(t->b, idt ? &x86_hd_lidt : &x86_hd_lgdt, limit, base);
}

static void op_msw(Tr *t, bool load)
{
    TrOpd o;
    IrVal v;

    if (!load) {
        check_umip(t);
        o = tr_rm(t);
        v = ir_lde(t->b, IR_I64, IRM_64, offsetof(X86Cpu, cr0));
        tr_opd_st(t, &o, o.mem ? 2 : t->osz, v);
        return;
    }
    if (tr_need_cpl0(t)) {
        o = tr_rm(t);
        v = o.mem ? tr_ld(t, 2, o.addr) : tr_reg(t, 2, o.reg);
        ir_call1(t->b, &x86_hd_lmsw, v);
        tr_end_exit(t);
    }
}

/* CLAC, STAC. The block goes on with the changed mode where that is known; leaving it then is
 * through the dispatcher. */
static void op_ac(Tr *t, bool set)
{
    if (!tr_feat(t, FEAT_7_EBX, 20) || tr_cpl(t)) {
        tr_ud(t);
        return;
    }
    tr_change_eflags(t, set ? 0 : EF_AC, set ? EF_AC : 0);
    if (set) {
        t->mode &= ~(uint64_t)M_AC_SMAP;
    } else if (t->b->mode & M_AC_SMAP) { /* so CR4.SMAP is set */
        t->mode |= M_AC_SMAP;
    } else {
        tr_end_exit(t);
    }
}

static void op_group7_reg(Tr *t)
{
    bool monitor = tr_feat(t, FEAT_1_ECX, 3) && !tr_cpl(t);

    switch (t->modrm) {
    case 0xc8:
        if (monitor) {
            ir_call0(t->b, &x86_hd_monitor);
            return;
        }
        break;
    case 0xc9:
        if (monitor) {
            tr_pack_first(t);
            tr_noreturn(t, &x86_hd_mwait, (IrVal[]){tr_i64(t, tr_next(t))}, 1);
            t->ended = true;
            return;
        }
        break;
    case 0xca:
    case 0xcb:
        op_ac(t, t->modrm & 1);
        return;
    case 0xd0:
        if (tr_mode(t, M_OSXSAVE)) {
            ir_call0(t->b, &x86_hd_xgetbv);
            return;
        }
        break;
    case 0xd1:
        if (tr_mode(t, M_OSXSAVE)) {
            if (tr_need_cpl0(t)) {
                ir_call0(t->b, &x86_hd_xsetbv);
                tr_end_exit(t);
            }
            return;
        }
        break;
    case 0xf8:
        if (tr_code64(t)) {
            if (tr_need_cpl0(t)) {
                ir_call0(t->b, &x86_hd_swapgs);
            }
            return;
        }
        break;
    case 0xf9:
        if (tr_feat(t, FEAT_80000001_EDX, 27)) {
            ir_call0(t->b, &x86_hd_rdtscp);
            return;
        }
        break;
    default:
        break;
    }
    tr_ud(t);
}

static void op_group7(Tr *t)
{
    unsigned sub;

    tr_modrm(t);
    sub = t->modrm >> 3 & 7;
    if (sub == 4 || sub == 6) {
        op_msw(t, sub == 6);
    } else if (t->mod == 3) {
        op_group7_reg(t);
    } else if (sub < 2) {
        op_store_table(t, sub == 1);
    } else if (sub < 4) {
        op_load_table(t, sub == 3);
    } else if (sub == 7) {
        if (tr_need_cpl0(t)) {
            ir_call1(t->b, &x86_hd_invlpg, tr_ea(t));
            tr_end_exit(t);
        }
    } else {
        tr_ud(t);
    }
}

static void op_lar_lsl(Tr *t)
{
    IrBlock *b = t->b;
    IrVal sel, r, now, ok = tr_i64(t, 1ull << 32), old;
    TrOpd o;

    tr_modrm(t);
    if (!tr_mode(t, M_PE)) {
        tr_ud(t);
        return;
    }
    o = tr_rm(t);
    sel = o.mem ? tr_ld(t, 2, o.addr) : tr_reg(t, 2, o.reg);
    r = ir_call1(b, t->op == 2 ? &x86_hd_lar : &x86_hd_lsl, sel);
    old = xg(XG_RAX + t->reg);
    now = t->osz == 2 ? ir_deposit(b, IR_I64, old, r, 0, 16) : ir_ext32u(b, r);
    ir_mov(b, IR_I64, old, ir_movcond(b, IR_I64, IR_I64, IRC_TSTNZ, r, ok, now, old));
    set_zf(t, ir_setcond(b, IR_I64, IRC_TSTNZ, r, ok));
}

/* ---- system: the rest ---- */

/* MOV to and from control (20, 22) and debug registers (21, 23). The mod field is ignored. */
static void op_mov_cr_dr(Tr *t)
{
    bool debug = t->op & 1, to = t->op & 2;
    unsigned n = tr_code64(t) ? 8 : 4, reg, r;
    IrVal v;

    t->modrm = tr_u8(t);
    reg = (t->modrm >> 3 & 7) | t->rex_r;
    r = (t->modrm & 7) | t->rex_b;
    if (!debug && reg == 0 && t->lock && tr_feat(t, FEAT_80000001_ECX, 4)) {
        reg = 8; /* AMD's way to CR8 outside 64-bit mode */
        t->lock_ok = true;
    }
    if (debug ? reg > 7 : (reg > 4 && reg != 8) || reg == 1) {
        tr_ud(t);
        return;
    }
    if (!tr_need_cpl0(t)) {
        return;
    }
    if (to) {
        ir_call2(t->b, debug ? &x86_hd_mov_to_dr : &x86_hd_mov_to_cr, tr_i64(t, reg),
                 tr_reg(t, n, r));
        tr_end_exit(t);
    } else {
        v = ir_call1(t->b, debug ? &x86_hd_mov_from_dr : &x86_hd_mov_from_cr, tr_i64(t, reg));
        tr_set_reg(t, n, r, v);
    }
}

static void op_rdtsc(Tr *t)
{
    IrVal v = ir_call0(t->b, &x86_hd_rdtsc);

    ir_mov(t->b, IR_I64, xg(XG_RAX + R_RAX), ir_ext32u(t->b, v));
    ir_mov(t->b, IR_I64, xg(XG_RAX + R_RDX), ir_shr(t->b, IR_I64, v, tr_i64(t, 32)));
}

static void op_hlt(Tr *t)
{
    if (tr_need_cpl0(t)) {
        tr_pack_first(t);
        tr_noreturn(t, &x86_hd_hlt, (IrVal[]){tr_i64(t, tr_next(t))}, 1);
        t->ended = true;
    }
}

/* F3 0F AE /0…3: RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE. */
static bool op_segbase(Tr *t)
{
    uint64_t next = t->next;
    IrVal seg, v;

    tr_modrm(t);
    if (t->rep != 0xf3 || t->mod != 3 || (t->modrm >> 3 & 7) > 3) {
        t->next = next;
        return false;
    }
    if (!tr_code64(t) || !tr_feat(t, FEAT_7_EBX, 0)) {
        tr_ud(t);
        return true;
    }
    seg = tr_i64(t, t->modrm & 8 ? S_GS : S_FS);
    if (t->modrm & 16) {
        v = tr_reg(t, t->osz == 8 ? 8 : 4, t->rm);
        ir_call2(t->b, &x86_hd_wr_segbase, seg, v);
    } else {
        v = ir_call1(t->b, &x86_hd_rd_segbase, seg);
        tr_set_reg(t, t->osz == 8 ? 8 : 4, t->rm, v);
    }
    return true;
}

/* 0F C7 /6, /7 with a register: RDRAND, RDSEED, RDPID. */
static bool op_random(Tr *t)
{
    uint64_t next = t->next;
    bool seed;

    tr_modrm(t);
    if (t->mod != 3 || (t->modrm >> 3 & 7) < 6) {
        t->next = next;
        return false;
    }
    seed = t->modrm & 8;
    if (t->rep == 0xf3 && seed && tr_feat(t, FEAT_7_ECX, 22)) {
        IrVal v = ir_lde(t->b, IR_I64, IRM_32, offsetof(X86Cpu, tsc_aux));

        tr_set_reg_zx(t, 8, t->rm, v);
    } else if (!t->rep && (seed ? tr_feat(t, FEAT_7_EBX, 18) : tr_feat(t, FEAT_1_ECX, 30))) {
        tr_set_reg(t, t->osz, t->rm, ir_call1(t->b, &x86_hd_rdrand, tr_i64(t, t->osz)));
        tr_set_flags(t, tr_flags_value(tr_i32(t, IRF_C)));
    } else {
        tr_ud(t);
    }
    return true;
}

static void op_invpcid(Tr *t)
{
    tr_modrm(t);
    if (!t->p66 || t->mod == 3 || !tr_feat(t, FEAT_7_EBX, 10)) {
        tr_ud(t);
    } else if (tr_need_cpl0(t)) {
        IrVal type = tr_reg(t, tr_code64(t) ? 8 : 4, t->reg);

        ir_call2(t->b, &x86_hd_invpcid, type, tr_ea_plus(t, 0, 16, false));
        tr_end_exit(t);
    }
}

/* ---- tables ---- */

static bool sys_map1(Tr *t)
{
    switch (t->op) {
    case 0x00:
        op_group6(t);
        return true;
    case 0x01:
        op_group7(t);
        return true;
    case 0x02:
    case 0x03:
        op_lar_lsl(t);
        return true;
    case 0x06:
        if (tr_need_cpl0(t)) {
            ir_call0(t->b, &x86_hd_clts);
            tr_end_exit(t);
        }
        return true;
    case 0x08: /* INVD, WBINVD: caches are not visible */
    case 0x09:
        tr_need_cpl0(t);
        return true;
    case 0x0d: /* PREFETCHW and the hints that are no operation where not known */
    case 0x18 ... 0x1f:
        tr_modrm(t);
        return true;
    case 0x20 ... 0x23:
        op_mov_cr_dr(t);
        return true;
    case 0x30:
        if (tr_need_cpl0(t)) {
            ir_call0(t->b, &x86_hd_wrmsr);
            tr_end_exit(t);
        }
        return true;
    case 0x31:
        op_rdtsc(t);
        return true;
    case 0x32:
        if (tr_need_cpl0(t)) {
            ir_call0(t->b, &x86_hd_rdmsr);
        }
        return true;
    case 0x33:
        ir_call0(t->b, &x86_hd_rdpmc);
        return true;
    case 0xa2:
        ir_call0(t->b, &x86_hd_cpuid);
        return true;
    case 0xaa:
        tr_pack_first(t);
        tr_exit_at(t, ir_call0(t->b, &x86_hd_rsm));
        return true;
    case 0xae:
        return op_segbase(t);
    case 0xc7:
        return op_random(t);
    default:
        return false;
    }
}

bool tr_sys(Tr *t)
{
    if (t->map == 0) {
        switch (t->op) {
        case 0xe4 ... 0xe7:
        case 0xec ... 0xef:
            op_in_out(t);
            return true;
        case 0xf4:
            op_hlt(t);
            return true;
        default:
            return false;
        }
    }
    if (t->map == 1) {
        return sys_map1(t);
    }
    if (t->map == 2 && t->op == 0x82) {
        op_invpcid(t);
        return true;
    }
    return false;
}
