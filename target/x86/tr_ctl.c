/*
 * x86 control transfer, segment registers, flags. Intel SDM volume 2.
 */
#include "target/x86/helpers.h"
#include "target/x86/int_helpers.h"
#include "target/x86/tr_util.h"

/* ---- near branches ---- */

/* Operand size of a near branch. In 64-bit mode prefix 66 is ignored, as Intel's CPUs do. */
static unsigned branch_size(const Tr *t)
{
    return tr_code64(t) ? 8 : t->osz;
}

/* Without M_CSLIMIT 16-bit code may have a limit of 64 KiB, which 16-bit targets cannot exceed. */
static bool need_check(const Tr *t)
{
    return tr_mode(t, M_CSLIMIT) || (!(t->mode & (M_CODE32 | M_CODE64)) && t->osz == 4);
}

static void check_target(Tr *t, IrVal pc)
{
    if (need_check(t)) {
        ir_call1(t->b, &x86_hd_check_cs, pc);
    }
}

static uint64_t rel_target(Tr *t, bool short_form)
{
    unsigned n = branch_size(t);
    int64_t rel = short_form ? tr_s8(t) : n == 2 ? (int16_t)tr_u16(t) : (int32_t)tr_u32(t);

    return tr_target(t, n, t->next + rel);
}

/* End the block: on to the next instruction, or at @label to @target. */
static void two_ways(Tr *t, unsigned label, uint64_t target)
{
    tr_goto(t, tr_next(t));
    ir_place(t->b, label);
    check_target(t, tr_i64(t, target));
    tr_goto(t, target);
    t->ended = true;
}

static void op_jcc(Tr *t)
{
    uint64_t target = rel_target(t, t->map == 0);
    unsigned taken;
    IrFlags f;

    if (!need_check(t) && !t->single && t->mode == t->b->mode) {
        /* Taken: leave the block, packing the flags only there. Else go on with lazy flags. */
        ir_brexit(t->b, t->op & 15, &t->flags, target);
        if (++t->side_exits >= 3 || target == t->start) {
            tr_goto(t, tr_next(t));
            t->ended = true;
        }
        return;
    }
    if (need_check(t)) { /* the check on one path needs the flags to be safe */
        tr_pack_first(t);
    }
    f = t->flags;
    tr_pack_flags(t);
    taken = ir_label(t->b);
    ir_brflag(t->b, t->op & 15, &f, taken);
    two_ways(t, taken, target);
}

/* LOOPNE, LOOPE, LOOP: each path counts for itself, after its last possible fault. */
static void op_loop(Tr *t)
{
    uint64_t target = rel_target(t, true);
    IrBlock *b = t->b;
    IrType ty = tr_type(t->asz);
    IrVal cx = xg(XG_RAX + R_RCX), one = tr_const(t, t->asz, 1), left;
    unsigned taken = ir_label(b);

    tr_pack_first(t);
    left = tr_zext(t, IR_I64, t->asz, ir_sub(b, ty, cx, one));
    if (t->op != 0xe2) {
        IrVal z = ir_ext32u(b, ir_setflag(b, t->op == 0xe1 ? IRFC_Z : IRFC_NZ, &t->flags));

        left = ir_movcond(b, IR_I64, IR_I64, IRC_EQ, left, tr_i64(t, 0), left, z);
    }
    ir_brcond(b, IR_I64, IRC_NE, left, tr_i64(t, 0), taken);
    tr_set_reg(t, t->asz, R_RCX, ir_sub(b, ty, cx, one));
    tr_goto(t, tr_next(t));
    ir_place(b, taken);
    check_target(t, tr_i64(t, target));
    tr_set_reg(t, t->asz, R_RCX, ir_sub(b, ty, cx, one));
    tr_goto(t, target);
    t->ended = true;
}

static void op_jcxz(Tr *t)
{
    uint64_t target = rel_target(t, true);
    IrVal cx = xg(XG_RAX + R_RCX);
    unsigned taken = ir_label(t->b);

    tr_pack_first(t);
    cx = t->asz == 8 ? cx : tr_zext(t, IR_I64, t->asz, cx);
    ir_brcond(t->b, IR_I64, IRC_EQ, cx, tr_i64(t, 0), taken);
    two_ways(t, taken, target);
}

static void op_jmp(Tr *t)
{
    uint64_t target = rel_target(t, t->op == 0xeb);

    check_target(t, tr_i64(t, target));
    tr_goto(t, target);
    t->ended = true;
}

static void op_call(Tr *t)
{
    unsigned n = branch_size(t);
    uint64_t target = rel_target(t, false);

    check_target(t, tr_i64(t, target));
    tr_push(t, n, tr_const(t, n, tr_next(t)));
    tr_goto(t, target);
    t->ended = true;
}

static void op_ret(Tr *t)
{
    unsigned n = branch_size(t), pop = t->op == 0xc2 ? tr_u16(t) : 0;
    IrVal pc = tr_stack_ld(t, n, 0);

    check_target(t, pc);
    tr_set_sp(t, tr_sp(t, n + pop));
    tr_goto_ind(t, pc, IRJ_RET);
    t->ended = true;
}

static void op_jmp_call_rm(Tr *t, bool call)
{
    unsigned n = branch_size(t);
    TrOpd o = tr_rm(t);
    IrVal pc = o.mem ? tr_ld(t, n, o.addr) : tr_reg(t, n, o.reg);

    check_target(t, pc);
    if (call) {
        tr_push(t, n, tr_const(t, n, tr_next(t)));
    }
    tr_goto_ind(t, pc, call ? IRJ_CALL : IRJ_JUMP);
    t->ended = true;
}

/* ---- far transfers ---- */

static void far_transfer(Tr *t, bool call, IrVal sel, IrVal off)
{
    tr_pack_first(t);
    tr_exit_at(t, ir_call4(t->b, call ? &x86_hd_far_call : &x86_hd_far_jmp, sel, off,
                           tr_i64(t, t->osz), tr_i64(t, tr_next(t))));
}

static void op_far_imm(Tr *t)
{
    uint32_t off = t->osz == 2 ? tr_u16(t) : tr_u32(t);
    uint16_t sel = tr_u16(t);

    if (tr_code64(t)) {
        tr_ud(t);
        return;
    }
    far_transfer(t, t->op == 0x9a, tr_i64(t, sel), tr_i64(t, off));
}

static void op_far_mem(Tr *t, bool call)
{
    IrVal off, sel;

    if (t->mod == 3) {
        tr_ud(t);
        return;
    }
    off = tr_ld(t, t->osz, tr_ea_plus(t, 0, t->osz, false));
    sel = tr_ld(t, 2, tr_ea_plus(t, t->osz, 2, false));
    far_transfer(t, call, sel, off);
}

static void op_far_ret(Tr *t)
{
    unsigned pop = t->op == 0xca ? tr_u16(t) : 0;

    tr_pack_first(t);
    tr_exit_at(t, ir_call2(t->b, &x86_hd_far_ret, tr_i64(t, t->osz), tr_i64(t, pop)));
}

static void op_iret(Tr *t)
{
    tr_pack_first(t);
    tr_exit_at(t, ir_call2(t->b, &x86_hd_iret, tr_i64(t, t->osz), tr_i64(t, tr_next(t))));
}

enum { SOFT_INT_N, SOFT_INT3, SOFT_INTO, SOFT_INT1 };

static void soft_int(Tr *t, unsigned vec, unsigned kind)
{
    IrVal args[] = {tr_i64(t, vec), tr_i64(t, tr_next(t)), tr_i64(t, kind)};

    tr_noreturn(t, &x86_hd_soft_int, args, 3);
}

static void op_int(Tr *t)
{
    unsigned none;

    switch (t->op) {
    case 0xcc:
        soft_int(t, EXC_BP, SOFT_INT3);
        break;
    case 0xcd:
        soft_int(t, tr_u8(t), SOFT_INT_N);
        break;
    case 0xf1:
        soft_int(t, EXC_DB, SOFT_INT1);
        break;
    default: /* INTO */
        if (tr_code64(t)) {
            tr_ud(t);
            return;
        }
        tr_pack_first(t);
        none = ir_label(t->b);
        ir_brflag(t->b, IRFC_NV, &t->flags, none);
        soft_int(t, EXC_OF, SOFT_INTO);
        ir_place(t->b, none);
        return;
    }
    t->ended = true;
}

static void op_fast_call(Tr *t)
{
    IrVal next = tr_i64(t, tr_next(t)), bytes = tr_i64(t, t->osz == 8 ? 8 : 4);

    tr_pack_first(t);
    switch (t->op) {
    case 0x05:
        tr_exit_at(t, ir_call1(t->b, &x86_hd_syscall, next));
        break;
    case 0x07:
        if (tr_need_cpl0(t)) {
            tr_exit_at(t, ir_call1(t->b, &x86_hd_sysret, bytes));
        }
        break;
    case 0x34:
        if (tr_mode(t, M_PE | M_VM86)) {
            tr_exit_at(t, ir_call1(t->b, &x86_hd_sysenter, next));
        } else {
            tr_exc_err(t, EXC_GP, 0);
        }
        break;
    default:
        if (!tr_mode(t, M_PE)) {
            tr_exc_err(t, EXC_GP, 0);
        } else if (tr_need_cpl0(t)) {
            tr_exit_at(t, ir_call1(t->b, &x86_hd_sysexit, bytes));
        }
        break;
    }
}

/* ---- segment registers ---- */

/* After the load of a segment register: what blocks assume may have changed. In 64-bit mode
 * they assume nothing of FS and GS. */
static void after_load_seg(Tr *t, unsigned seg)
{
    if (seg == S_SS) {
        ir_call0(t->b, &x86_hd_set_shadow);
    }
    if (!tr_code64(t) || seg < S_FS) {
        tr_end_exit(t);
    }
}

static void op_mov_sreg(Tr *t)
{
    unsigned seg;
    IrVal v;
    TrOpd o;

    tr_modrm(t);
    seg = t->modrm >> 3 & 7;
    if (seg > S_GS || (t->op == 0x8e && seg == S_CS)) {
        tr_ud(t);
        return;
    }
    o = tr_rm(t);
    if (t->op == 0x8c) {
        v = tr_ld_sel(t, seg);
        tr_opd_st(t, &o, o.mem ? 2 : t->osz, v);
        return;
    }
    v = o.mem ? tr_ld(t, 2, o.addr) : tr_reg(t, 2, o.reg);
    ir_call2(t->b, &x86_hd_load_seg, tr_i64(t, seg), v);
    after_load_seg(t, seg);
}

static void push_sreg(Tr *t, unsigned seg)
{
    tr_push(t, tr_osz64(t), tr_ld_sel(t, seg));
}

static void pop_sreg(Tr *t, unsigned seg)
{
    unsigned n = tr_osz64(t);
    IrVal v = tr_stack_ld(t, n, 0), sp = tr_sp(t, n);

    ir_call2(t->b, &x86_hd_load_seg, tr_i64(t, seg), tr_zext(t, IR_I64, 2, v));
    tr_set_sp(t, sp);
    after_load_seg(t, seg);
}

static void op_load_far(Tr *t, unsigned seg)
{
    IrVal off, sel;

    tr_modrm(t);
    if (t->mod == 3) {
        tr_ud(t);
        return;
    }
    off = tr_ld(t, t->osz, tr_ea_plus(t, 0, t->osz, false));
    sel = tr_ld(t, 2, tr_ea_plus(t, t->osz, 2, false));
    ir_call2(t->b, &x86_hd_load_seg, tr_i64(t, seg), sel);
    tr_set_reg_zx(t, t->osz, t->reg, off);
    after_load_seg(t, seg);
}

/* ---- flags ---- */

static void op_pushf(Tr *t)
{
    unsigned n = tr_osz64(t);
    IrBlock *b = t->b;
    IrVal v, cc;

    if (tr_mode(t, M_VM86)) {
        tr_pack_first(t);
        v = ir_call0(b, &x86_hd_pushf_check);
    } else {
        cc = tr_packed(t);
        v = ir_and(b, IR_I32, tr_ld_eflags(t), tr_i32(t, ~(uint32_t)(EF_VM | EF_RF)));
        v = ir_or(b, IR_I32, v,
                  ir_and(b, IR_I32, ir_shr(b, IR_I32, cc, tr_i32(t, 8)),
                         tr_i32(t, EF_CF | EF_PF | EF_AF | EF_ZF | EF_SF)));
        cc = ir_and(b, IR_I32, cc, tr_i32(t, IRF_V));
        v = ir_or(b, IR_I32, v, ir_shl(b, IR_I32, cc, tr_i32(t, 11)));
        v = n == 8 ? ir_ext32u(b, v) : v;
    }
    tr_push(t, n, v);
}

/* POPF at level 0 that changes nothing blocks are made for: the block goes on. */
static void popf_inline(Tr *t, unsigned n, IrVal v)
{
    const uint32_t heavy = n == 2 ? EF_TF | EF_IOPL : EF_TF | EF_IOPL | EF_AC;
    const uint32_t light = EF_IF | EF_DF | EF_NT | (n == 2 ? 0 : EF_ID);
    IrBlock *b = t->b;
    IrVal keep = ir_local(b, IR_I64), ef = tr_ld_eflags(t), waits, why, cc;
    unsigned fast = ir_label(b);

    tr_pack_first(t);
    ir_mov(b, IR_I64, keep, v);
    waits = ir_lde(b, IR_I32, IRM_32, offsetof(X86Cpu, vcpu.events));
    why = ir_and(b, IR_I32, v, tr_i32(t, EF_IF)); /* an interrupt that can be taken now */
    why = ir_movcond(b, IR_I32, IR_I32, IRC_EQ, waits, tr_i32(t, 0), waits, why);
    ef = ir_and(b, IR_I32, ir_xor(b, IR_I32, ef, v), tr_i32(t, heavy));
    ir_brcond(b, IR_I32, IRC_EQ, ir_or(b, IR_I32, why, ef), tr_i32(t, 0), fast);
    ir_call2(b, &x86_hd_popf, keep, tr_i64(t, n));
    tr_set_sp(t, tr_sp(t, n));
    tr_exit(t, tr_i64(t, tr_next(t)));
    ir_place(b, fast);
    ef = ir_and(b, IR_I32, tr_ld_eflags(t), tr_i32(t, ~light));
    tr_st_eflags(t, ir_or(b, IR_I32, ef, ir_and(b, IR_I32, keep, tr_i32(t, light))));
    cc = ir_and(b, IR_I32, keep, tr_i32(t, EF_CF | EF_PF | EF_AF | EF_ZF | EF_SF));
    cc = ir_shl(b, IR_I32, cc, tr_i32(t, 8));
    cc = ir_or(b, IR_I32, cc, ir_extract(b, IR_I32, keep, 11, 1, false));
    tr_set_sp(t, tr_sp(t, n));
    tr_set_flags(t, tr_flags_value(cc));
}

static void op_popf(Tr *t)
{
    unsigned n = tr_osz64(t);
    IrVal v = tr_stack_ld(t, n, 0);

    if (!t->single && !tr_cpl(t)) {
        popf_inline(t, n, v);
        return;
    }
    ir_call2(t->b, &x86_hd_popf, v, tr_i64(t, n));
    t->flags = (IrFlags){.kind = IRF_PACKED};
    tr_set_sp(t, tr_sp(t, n));
    tr_end_exit(t);
}

static void op_cli(Tr *t)
{
    if (tr_iopl_ok(t)) {
        tr_change_eflags(t, EF_IF, 0);
    } else {
        ir_call0(t->b, &x86_hd_cli);
    }
}

/* STI without leaving the block unless something waits. The shadow is the next instruction, which
 * is in this block (x86_translate() sees to the case that it is not). */
static void op_sti(Tr *t)
{
    IrBlock *b = t->b;
    IrVal ef, waits, shadow;
    unsigned go_on;

    if (!tr_iopl_ok(t)) {
        ir_call0(b, &x86_hd_sti);
        tr_end_exit(t);
        return;
    }
    tr_pack_flags(t);
    ef = tr_ld_eflags(t);
    waits = ir_lde(b, IR_I32, IRM_32, offsetof(X86Cpu, vcpu.events));
    shadow = ir_andn(b, IR_I32, tr_i32(t, EF_IF), ef);
    shadow = ir_movcond(b, IR_I32, IR_I32, IRC_EQ, waits, tr_i32(t, 0), waits, shadow);
    shadow = ir_shr(b, IR_I32, shadow, tr_i32(t, 9));
    ir_ste(b, IR_I32, IRM_8, offsetof(X86Cpu, shadow), shadow);
    ir_ste(b, IR_I32, IRM_8, offsetof(X86Cpu, shadow_ss), tr_i32(t, 0));
    tr_st_eflags(t, ir_or(b, IR_I32, ef, tr_i32(t, EF_IF)));
    go_on = ir_label(b);
    ir_brcond(b, IR_I32, IRC_EQ, waits, tr_i32(t, 0), go_on);
    tr_exit(t, tr_i64(t, tr_next(t)));
    ir_place(b, go_on);
    t->sti_last = true;
}

/* ---- tables ---- */

static void op_push_pop_sreg(Tr *t)
{
    unsigned seg = t->op >> 3 & 3;

    if (tr_code64(t)) {
        tr_ud(t);
    } else if (t->op & 1) {
        pop_sreg(t, seg);
    } else {
        push_sreg(t, seg);
    }
}

static void op_group5(Tr *t)
{
    unsigned sub;

    tr_modrm(t);
    sub = t->modrm >> 3 & 7;
    if (sub == 2 || sub == 4) {
        op_jmp_call_rm(t, sub == 2);
    } else if (sub == 3 || sub == 5) {
        op_far_mem(t, sub == 3);
    } else {
        tr_ud(t);
    }
}

static bool ctl_map0(Tr *t)
{
    switch (t->op) {
    case 0x06:
    case 0x07:
    case 0x0e:
    case 0x16:
    case 0x17:
    case 0x1e:
    case 0x1f:
        op_push_pop_sreg(t);
        return true;
    case 0x70 ... 0x7f:
        op_jcc(t);
        return true;
    case 0x8c:
    case 0x8e:
        op_mov_sreg(t);
        return true;
    case 0x9a:
    case 0xea:
        op_far_imm(t);
        return true;
    case 0x9c:
        op_pushf(t);
        return true;
    case 0x9d:
        op_popf(t);
        return true;
    case 0xc2:
    case 0xc3:
        op_ret(t);
        return true;
    case 0xc4:
    case 0xc5:
        if (tr_code64(t)) {
            tr_ud(t);
        } else {
            op_load_far(t, t->op == 0xc4 ? S_ES : S_DS);
        }
        return true;
    case 0xca:
    case 0xcb:
        op_far_ret(t);
        return true;
    case 0xcc ... 0xce:
    case 0xf1:
        op_int(t);
        return true;
    case 0xcf:
        op_iret(t);
        return true;
    case 0xe0 ... 0xe2:
        op_loop(t);
        return true;
    case 0xe3:
        op_jcxz(t);
        return true;
    case 0xe8:
        op_call(t);
        return true;
    case 0xe9:
    case 0xeb:
        op_jmp(t);
        return true;
    case 0xfa:
        op_cli(t);
        return true;
    case 0xfb:
        op_sti(t);
        return true;
    case 0xfc:
        tr_change_eflags(t, EF_DF, 0);
        return true;
    case 0xfd:
        tr_change_eflags(t, 0, EF_DF);
        return true;
    case 0xff:
        op_group5(t);
        return true;
    default:
        return false;
    }
}

static bool ctl_map1(Tr *t)
{
    switch (t->op) {
    case 0x80 ... 0x8f:
        op_jcc(t);
        return true;
    case 0xa0:
    case 0xa8:
        push_sreg(t, t->op == 0xa0 ? S_FS : S_GS);
        return true;
    case 0xa1:
    case 0xa9:
        pop_sreg(t, t->op == 0xa1 ? S_FS : S_GS);
        return true;
    case 0xb2:
        op_load_far(t, S_SS);
        return true;
    case 0xb4:
    case 0xb5:
        op_load_far(t, t->op == 0xb4 ? S_FS : S_GS);
        return true;
    case 0x05:
    case 0x07:
    case 0x34:
    case 0x35:
        op_fast_call(t);
        return true;
    default:
        return false;
    }
}

bool tr_ctl(Tr *t)
{
    return t->map == 0 ? ctl_map0(t) : t->map == 1 && ctl_map1(t);
}
