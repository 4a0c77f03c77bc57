/*
 * x86 operands: addresses, memory, registers, the stack, flags as the decoder's parts use them.
 */
#include "target/x86/helpers.h"
#include "target/x86/tr_util.h"

/* ---- addresses ---- */

/* Low bits of an I64 offset, as wide as addresses are. */
static IrVal wrap(Tr *t, unsigned asz, IrVal off)
{
    return asz == 8 ? off : asz == 4 ? ir_ext32u(t->b, off) : ir_ext16u(t->b, IR_I64, off);
}

IrVal tr_ea_off(Tr *t)
{
    IrBlock *b = t->b;
    IrType ty = t->asz == 8 ? IR_I64 : IR_I32;
    int64_t disp = t->disp;
    IrVal v = 0;

    if (t->rip_rel) {
        uint64_t at = t->next + disp;

        return tr_i64(t, t->asz == 8 ? at : (uint32_t)at);
    }
    if (t->base >= 0) {
        v = xg(XG_RAX + t->base);
        if (t->base == R_RSP) {
            disp += t->sp_adj;
        }
    }
    if (t->index >= 0) {
        IrVal i = xg(XG_RAX + t->index);

        if (t->scale) {
            i = ir_shl(b, ty, i, tr_const(t, t->asz, t->scale));
        }
        v = v ? ir_add(b, ty, v, i) : i;
    }
    if (!v) {
        return tr_i64(t, t->asz == 8   ? (uint64_t)disp
                         : t->asz == 4 ? (uint32_t)disp
                                       : (uint16_t)disp);
    }
    if (disp) {
        v = ir_add(b, ty, v, tr_const(t, t->asz, disp));
    }
    return wrap(t, t->asz, v);
}

/* Does an access through @seg need its base added, its limit checked? */
static bool seg_has_base(const Tr *t, int seg)
{
    return seg >= S_FS || (!tr_code64(t) && (t->mode & M_ADDSEG || seg == S_CS));
}

/* M_LIMITS speaks of DS, ES and SS. */
static bool seg_has_limit(const Tr *t, int seg)
{
    return !tr_code64(t) && (t->mode & M_LIMITS || seg >= S_FS || seg == S_CS);
}

static void limit_check(Tr *t, int seg, IrVal off, unsigned size, bool write)
{
    ir_call4(t->b, &x86_hd_check_seg, tr_i64(t, seg), off, tr_i64(t, size), tr_i64(t, write));
}

static IrVal add_base(Tr *t, int seg, IrVal off)
{
    IrBlock *b = t->b;
    IrVal base;

    if (!seg_has_base(t, seg)) {
        return off;
    }
    if (tr_code64(t)) {
        base = ir_lde(b, IR_I64, IRM_64, offsetof(X86Cpu, seg[seg].base));
        return ir_add(b, IR_I64, base, off);
    }
    if (seg == S_CS) {
        base = tr_i32(t, t->cs_base);
    } else {
        base = ir_lde(b, IR_I32, IRM_32, offsetof(X86Cpu, seg[seg].base));
    }
    return ir_ext32u(b, ir_add(b, IR_I32, base, off));
}

IrVal tr_linear(Tr *t, int seg, IrVal off, unsigned size, bool write)
{
    if (seg_has_limit(t, seg)) {
        limit_check(t, seg, off, size, write);
    }
    return add_base(t, seg, off);
}

IrVal tr_ea(Tr *t)
{
    IrVal off = tr_ea_off(t), addr;

    if (!seg_has_limit(t, t->ea_seg)) {
        return add_base(t, t->ea_seg, off);
    }
    /* How much is accessed, and how, is known at the load or store: they check again if that
     * is more than this. */
    addr = tr_linear(t, t->ea_seg, off, 1, false);
    t->lim_addr = addr;
    t->lim_off = off;
    t->lim_seg = t->ea_seg;
    return addr;
}

IrVal tr_ea_plus(Tr *t, unsigned delta, unsigned size, bool write)
{
    IrVal off = tr_ea_off(t);

    if (delta) {
        off = tr_zext(t, IR_I64, t->asz, ir_add(t->b, IR_I64, off, tr_i64(t, delta)));
    }
    return tr_linear(t, t->ea_seg, off, size, write);
}

/* ---- memory ---- */

unsigned tr_memop(const Tr *t, unsigned bytes)
{
    unsigned mmu = tr_cpl(t) == 3 ? MMU_USER : tr_mode(t, M_AC_SMAP) ? MMU_KERNEL_SMAP : MMU_KERNEL;
    unsigned align = tr_mode(t, M_ALIGN) && bytes > 1 && bytes <= 8 ? IRM_ALIGN : 0;

    return tr_log2(bytes) | align | mmu << IRM_MMU_SHIFT;
}

static void before_access(Tr *t, unsigned bytes, IrVal addr, bool write)
{
    if (t->lim_addr && addr == t->lim_addr && (bytes > 1 || write)) {
        limit_check(t, t->lim_seg, t->lim_off, bytes, write);
    }
}

static void after_access(Tr *t, unsigned bytes, IrVal addr, bool write)
{
    if (tr_mode(t, M_DEBUG)) {
        ir_call3(t->b, &x86_hd_check_dbreak, addr, tr_i64(t, bytes), tr_i64(t, write));
    }
}

static IrVal load(Tr *t, unsigned bytes, IrType ty, IrVal addr, unsigned extra)
{
    IrVal v;

    before_access(t, bytes, addr, extra & IRM_RMW);
    v = ir_qld(t->b, ty, tr_memop(t, bytes) | extra, addr);
    after_access(t, bytes, addr, extra & IRM_RMW);
    return v;
}

IrVal tr_ld(Tr *t, unsigned bytes, IrVal addr)
{
    return load(t, bytes, bytes == 16 ? IR_V128 : IR_I64, addr, 0);
}

IrVal tr_ld_sx(Tr *t, unsigned bytes, IrType ty, IrVal addr)
{
    return load(t, bytes, ty, addr, IRM_SIGN);
}

IrVal tr_ld_rmw(Tr *t, unsigned bytes, IrVal addr)
{
    return load(t, bytes, bytes == 16 ? IR_V128 : IR_I64, addr, IRM_RMW);
}

void tr_st(Tr *t, unsigned bytes, IrVal addr, IrVal v)
{
    before_access(t, bytes, addr, true);
    ir_qst(t->b, bytes == 16 ? IR_V128 : tr_type(bytes), tr_memop(t, bytes), addr, v);
    after_access(t, bytes, addr, true);
}

IrVal tr_ldv(Tr *t, IrVal addr, unsigned bytes)
{
    IrVal v;

    before_access(t, bytes, addr, false);
    v = ir_qld(t->b, IR_V128, tr_memop(t, bytes), addr);
    after_access(t, bytes, addr, false);
    return v;
}

void tr_stv(Tr *t, IrVal addr, IrVal v, unsigned bytes)
{
    before_access(t, bytes, addr, true);
    ir_qst(t->b, IR_V128, tr_memop(t, bytes), addr, v);
    after_access(t, bytes, addr, true);
}

IrVal tr_atomic(Tr *t, unsigned bytes, IrAtomic op, const TrOpd *o, IrVal v, IrVal expected)
{
    IrVal old;

    if (t->b->vals[v].kind == IRV_TEMP && t->b->vals[v].type == IR_I32) {
        v = ir_ext32u(t->b, v);
    }
    before_access(t, bytes, o->addr, true);
    old = ir_qatomic(t->b, IR_I64, op, tr_memop(t, bytes), o->addr, v, expected);
    after_access(t, bytes, o->addr, true);
    return old;
}

/* ---- values ---- */

IrVal tr_i32(Tr *t, uint32_t v)
{
    return ir_const(t->b, IR_I32, v);
}

IrVal tr_i64(Tr *t, uint64_t v)
{
    return ir_const(t->b, IR_I64, v);
}

IrVal tr_const(Tr *t, unsigned bytes, uint64_t v)
{
    return bytes == 8 ? tr_i64(t, v) : tr_i32(t, v);
}

IrVal tr_imm(Tr *t, unsigned bytes)
{
    switch (bytes) {
    case 1:
        return tr_i32(t, tr_u8(t));
    case 2:
        return tr_i32(t, tr_u16(t));
    case 4:
        return tr_i32(t, tr_u32(t));
    default:
        return tr_i64(t, (int64_t)(int32_t)tr_u32(t));
    }
}

IrVal tr_zext(Tr *t, IrType ty, unsigned bytes, IrVal v)
{
    switch (bytes) {
    case 1:
        return ir_ext8u(t->b, ty, v);
    case 2:
        return ir_ext16u(t->b, ty, v);
    case 4:
        return ty == IR_I64 ? ir_ext32u(t->b, v) : v;
    default:
        return v;
    }
}

IrVal tr_sext(Tr *t, IrType ty, unsigned bytes, IrVal v)
{
    switch (bytes) {
    case 1:
        return ir_ext8s(t->b, ty, v);
    case 2:
        return ir_ext16s(t->b, ty, v);
    case 4:
        return ty == IR_I64 ? ir_ext32s(t->b, v) : v;
    default:
        return v;
    }
}

IrVal tr_stable(Tr *t, IrType ty, IrVal v)
{
    return t->b->vals[v].kind == IRV_GLOBAL ? ir_copy(t->b, ty, v) : v;
}

/* ---- registers ---- */

static bool is_high_byte(const Tr *t, unsigned bytes, unsigned r)
{
    return bytes == 1 && !t->rex && r >= 4 && r < 8;
}

IrVal tr_rd(Tr *t, unsigned bytes, unsigned r)
{
    if (is_high_byte(t, bytes, r)) {
        return ir_extract(t->b, IR_I64, xg(XG_RAX + r - 4), 8, 8, false);
    }
    return xg(XG_RAX + r);
}

IrVal tr_reg(Tr *t, unsigned bytes, unsigned r)
{
    if (is_high_byte(t, bytes, r)) {
        return tr_rd(t, bytes, r);
    }
    return bytes == 8 ? ir_copy(t->b, IR_I64, xg(XG_RAX + r))
                      : tr_zext(t, IR_I64, bytes, xg(XG_RAX + r));
}

static void deposit_to(Tr *t, IrVal g, IrVal v, unsigned pos, unsigned len)
{
    ir_mov(t->b, IR_I64, g, ir_deposit(t->b, IR_I64, g, v, pos, len));
}

void tr_set_reg(Tr *t, unsigned bytes, unsigned r, IrVal v)
{
    IrVal g;

    if (is_high_byte(t, bytes, r)) {
        deposit_to(t, xg(XG_RAX + r - 4), v, 8, 8);
        return;
    }
    g = xg(XG_RAX + r);
    switch (bytes) {
    case 1:
        deposit_to(t, g, v, 0, 8);
        break;
    case 2:
        deposit_to(t, g, v, 0, 16);
        break;
    case 4:
        ir_op_to(t->b, IR_EXT32U, IR_I64, g, v, 0);
        break;
    default:
        ir_mov(t->b, IR_I64, g, v);
        break;
    }
}

void tr_set_reg_zx(Tr *t, unsigned bytes, unsigned r, IrVal v)
{
    if (bytes >= 4) {
        ir_mov(t->b, IR_I64, xg(XG_RAX + r), v);
    } else {
        tr_set_reg(t, bytes, r, v);
    }
}

TrOpd tr_rm(Tr *t)
{
    if (t->mod == 3) {
        return (TrOpd){.reg = t->rm};
    }
    return (TrOpd){.mem = true, .addr = tr_ea(t)};
}

IrVal tr_opd_ld(Tr *t, const TrOpd *o, unsigned bytes)
{
    return o->mem ? tr_ld(t, bytes, o->addr) : tr_rd(t, bytes, o->reg);
}

IrVal tr_opd_ld_rmw(Tr *t, const TrOpd *o, unsigned bytes)
{
    return o->mem ? tr_ld_rmw(t, bytes, o->addr) : tr_rd(t, bytes, o->reg);
}

void tr_opd_st(Tr *t, const TrOpd *o, unsigned bytes, IrVal v)
{
    if (o->mem) {
        tr_st(t, bytes, o->addr, v);
    } else {
        tr_set_reg(t, bytes, o->reg, v);
    }
}

/* ---- the stack ---- */

unsigned tr_sp_bytes(const Tr *t)
{
    return tr_code64(t) ? 8 : tr_mode(t, M_STACK32) ? 4 : 2;
}

IrVal tr_sp(Tr *t, int64_t delta)
{
    unsigned n = tr_sp_bytes(t);
    IrVal sp = xg(XG_RAX + R_RSP);

    if (delta) {
        sp = ir_add(t->b, tr_type(n), sp, tr_const(t, n, delta));
    } else if (n == 8) {
        return sp;
    }
    return wrap(t, n, sp);
}

void tr_set_sp(Tr *t, IrVal off)
{
    tr_set_reg_zx(t, tr_sp_bytes(t), R_RSP, off);
}

IrVal tr_stack_addr(Tr *t, IrVal off, unsigned bytes, bool write)
{
    return tr_linear(t, S_SS, off, bytes, write);
}

void tr_push(Tr *t, unsigned bytes, IrVal v)
{
    IrVal sp = tr_sp(t, -(int64_t)bytes);

    tr_st(t, bytes, tr_stack_addr(t, sp, bytes, true), v);
    tr_set_sp(t, sp);
}

IrVal tr_stack_ld(Tr *t, unsigned bytes, int64_t delta)
{
    return tr_ld(t, bytes, tr_stack_addr(t, tr_sp(t, delta), bytes, false));
}

/* ---- flags ---- */

void tr_set_flags(Tr *t, IrFlags f)
{
    t->flags = f;
}

IrVal tr_packed(Tr *t)
{
    return t->flags.kind == IRF_VALUE ? t->flags.a : ir_flags(t->b, &t->flags);
}

IrVal tr_packed_c(Tr *t)
{
    switch (t->flags.kind) {
    case IRF_PACKED:
    case IRF_VALUE:
        return tr_packed(t);
    case IRF_LOGIC:
        return tr_i32(t, 0);
    case IRF_INC:
    case IRF_DEC:
        return t->flags.c;
    default:
        return ir_shl(t->b, IR_I32, ir_setflag(t->b, IRFC_C, &t->flags), tr_i32(t, 8));
    }
}

void tr_pack_flags(Tr *t)
{
    if (t->flags.kind != IRF_PACKED) {
        IrVal v = t->flags.kind == IRF_VALUE ? t->flags.a : ir_flags(t->b, &t->flags);

        ir_mov(t->b, IR_I32, xg(XG_CC), v);
        t->flags = (IrFlags){.kind = IRF_PACKED};
    }
}

void tr_pack_first(Tr *t)
{
    if (t->flags.kind != IRF_PACKED) {
        t->repack = true;
        tr_pack_flags(t);
    }
}

IrVal tr_ld_eflags(Tr *t)
{
    return ir_lde(t->b, IR_I32, IRM_32, offsetof(X86Cpu, eflags));
}

void tr_st_eflags(Tr *t, IrVal v)
{
    ir_ste(t->b, IR_I32, IRM_32, offsetof(X86Cpu, eflags), v);
}

void tr_change_eflags(Tr *t, uint32_t clear, uint32_t set)
{
    IrVal ef = tr_ld_eflags(t);

    if (clear) {
        ef = ir_and(t->b, IR_I32, ef, tr_i32(t, ~clear));
    }
    if (set) {
        ef = ir_or(t->b, IR_I32, ef, tr_i32(t, set));
    }
    tr_st_eflags(t, ef);
}

IrVal tr_ld_sel(Tr *t, unsigned seg)
{
    return ir_lde(t->b, IR_I64, IRM_16, offsetof(X86Cpu, seg[seg].sel));
}
