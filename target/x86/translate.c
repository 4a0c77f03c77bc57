/*
 * x86 decoder: the block loop, prefixes, ModRM, operands. Intel SDM volume 2, chapter 2.
 */
#include "target/x86/translate.h"
#include "target/x86/helpers.h"
#include "target/x86/tr_util.h"

enum { MAX_INSN_BYTES = 15 };

/* Heat: what compilers use most; the jit pins as many as the host has registers for. */
#define GPR(n, h)                                                                                  \
    {                                                                                              \
        .name = #n, .type = IR_I64, .heat = h, .off = offsetof(X86Cpu, regs[R_##n])                \
    }
#define GPRN(n, h)                                                                                 \
    {                                                                                              \
        .name = "R" #n, .type = IR_I64, .heat = h, .off = offsetof(X86Cpu, regs[n])                \
    }
#define XMM(n)                                                                                     \
    {                                                                                              \
        .name = "XMM" #n, .type = IR_V128, .heat = 0, .off = offsetof(X86Cpu, xmm[n])              \
    }
const JitGlobal x86_jit_globals[XG_COUNT] = {
    GPR(RAX, 100),
    GPR(RCX, 90),
    GPR(RDX, 92),
    GPR(RBX, 80),
    GPR(RSP, 98),
    GPR(RBP, 78),
    GPR(RSI, 84),
    GPR(RDI, 88),
    GPRN(8, 60),
    GPRN(9, 55),
    GPRN(10, 40),
    GPRN(11, 38),
    GPRN(12, 62),
    GPRN(13, 54),
    GPRN(14, 50),
    GPRN(15, 48),
    [XG_CC] = {.name = "CC", .type = IR_I32, .heat = 95, .off = offsetof(X86Cpu, cc)},
    XMM(0),
    XMM(1),
    XMM(2),
    XMM(3),
    XMM(4),
    XMM(5),
    XMM(6),
    XMM(7),
    XMM(8),
    XMM(9),
    XMM(10),
    XMM(11),
    XMM(12),
    XMM(13),
    XMM(14),
    XMM(15),
};

/* ---- instruction bytes ---- */

static uint64_t code_linear(const Tr *t, uint64_t pc)
{
    return tr_code64(t) ? pc : (uint32_t)(t->cs_base + pc);
}

uint8_t tr_u8(Tr *t)
{
    uint64_t linear;
    uint8_t byte;

    if (t->fetch_fault || t->too_long) {
        return 0;
    }
    if (t->next - t->pc >= MAX_INSN_BYTES) {
        t->too_long = true;
        return 0;
    }
    linear = code_linear(t, t->next);
    if (!jit_fetch(&t->c->vcpu, linear, &byte)) {
        t->fetch_fault = true;
        t->fault_linear = linear;
        return 0;
    }
    t->next++;
    return byte;
}

uint16_t tr_u16(Tr *t)
{
    uint16_t v = tr_u8(t);

    return v | tr_u8(t) << 8;
}

uint32_t tr_u32(Tr *t)
{
    uint32_t v = tr_u16(t);

    return v | (uint32_t)tr_u16(t) << 16;
}

uint64_t tr_u64(Tr *t)
{
    uint64_t v = tr_u32(t);

    return v | (uint64_t)tr_u32(t) << 32;
}

int64_t tr_s8(Tr *t)
{
    return (int8_t)tr_u8(t);
}

/* ---- ModRM ---- */

static void modrm16(Tr *t)
{
    static const int8_t bases[8] = {R_RBX, R_RBX, R_RBP, R_RBP, R_RSI, R_RDI, R_RBP, R_RBX};
    static const int8_t indexes[8] = {R_RSI, R_RDI, R_RSI, R_RDI, -1, -1, -1, -1};
    unsigned rm = t->modrm & 7;

    t->base = bases[rm];
    t->index = indexes[rm];
    if (t->mod == 0 && rm == 6) {
        t->base = -1;
        t->disp = tr_u16(t);
    } else if (t->mod == 1) {
        t->disp = tr_s8(t);
    } else if (t->mod == 2) {
        t->disp = tr_u16(t);
    }
}

static void modrm32(Tr *t)
{
    unsigned rm = t->modrm & 7;

    if (rm == 4) {
        uint8_t sib = tr_u8(t);
        int index = (sib >> 3 & 7) | t->rex_x;

        t->scale = sib >> 6;
        t->index = index == 4 ? -1 : index;
        t->base = (sib & 7) | t->rex_b;
        if ((sib & 7) == 5 && t->mod == 0) {
            t->base = -1;
            t->disp = (int32_t)tr_u32(t);
        }
    } else if (rm == 5 && t->mod == 0) {
        t->disp = (int32_t)tr_u32(t);
        t->rip_rel = tr_code64(t);
    } else {
        t->base = rm | t->rex_b;
    }
    if (t->mod == 1) {
        t->disp = tr_s8(t);
    } else if (t->mod == 2) {
        t->disp = (int32_t)tr_u32(t);
    }
}

void tr_modrm(Tr *t)
{
    t->modrm = tr_u8(t);
    t->mod = t->modrm >> 6;
    t->reg = (t->modrm >> 3 & 7) | t->rex_r;
    t->base = t->index = -1;
    t->scale = 0;
    t->disp = 0;
    t->rip_rel = false;
    t->ea_seg = S_DS;
    if (t->mod == 3) {
        t->rm = (t->modrm & 7) | t->rex_b;
        return;
    }
    t->rm = 0;
    if (t->asz == 2) {
        modrm16(t);
    } else {
        modrm32(t);
    }
    if (t->seg >= 0) {
        t->ea_seg = t->seg;
    } else if (t->base == R_RSP || t->base == R_RBP) {
        t->ea_seg = S_SS;
    }
}

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
        tr_pack_flags(t);
        ir_insn(t->b, t->pc, &t->flags);
    }
}

/* ---- ends ---- */

void tr_noreturn(Tr *t, const IrHelper *h, const IrVal *args, unsigned n)
{
    ir_call(t->b, h, args, n);
}

void tr_exc(Tr *t, int vec)
{
    tr_noreturn(t, &x86_hd_raise, (IrVal[]){tr_i64(t, vec)}, 1);
    t->ended = true;
}

void tr_exc_err(Tr *t, int vec, uint32_t err)
{
    tr_noreturn(t, &x86_hd_raise_err, (IrVal[]){tr_i64(t, vec), tr_i64(t, err)}, 2);
    t->ended = true;
}

void tr_ud(Tr *t)
{
    tr_exc(t, EXC_UD);
}

static bool mode_changed(const Tr *t)
{
    return t->single || t->mode != t->b->mode;
}

void tr_exit(Tr *t, IrVal pc)
{
    tr_pack_flags(t);
    if (tr_mode(t, M_TF)) {
        ir_insn(t->b, t->pc, &t->flags); /* a trap: what was written stays */
        tr_noreturn(t, &x86_hd_single_step, &pc, 1);
    } else {
        ir_exit(t->b, pc);
    }
}

void tr_goto(Tr *t, uint64_t pc)
{
    if (mode_changed(t)) {
        tr_exit(t, tr_i64(t, pc));
    } else {
        tr_pack_flags(t);
        ir_jmp(t->b, pc);
    }
}

void tr_goto_ind(Tr *t, IrVal pc, IrHint hint)
{
    if (mode_changed(t)) {
        tr_exit(t, pc);
    } else {
        tr_pack_flags(t);
        ir_jmp_ind(t->b, pc, hint);
    }
}

void tr_end_exit(Tr *t)
{
    tr_exit(t, tr_i64(t, tr_next(t)));
    t->ended = true;
}

uint64_t tr_target(const Tr *t, unsigned bytes, uint64_t pc)
{
    return bytes == 2 ? (uint16_t)pc : bytes == 4 ? (uint32_t)pc : pc;
}

/* ---- one instruction ---- */

/* Prefixes up to the first opcode byte, which is left in t->op. */
static void prefixes(Tr *t)
{
    t->lock = t->p66 = t->p67 = false;
    t->rep = 0;
    t->seg = -1;
    t->rex = 0;
    for (;;) {
        uint8_t byte = tr_u8(t);

        switch (byte) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
            if (!tr_code64(t)) {
                t->seg = S_ES + (byte >> 3 & 3);
            }
            break;
        case 0x64:
        case 0x65:
            t->seg = S_FS + (byte & 1);
            break;
        case 0x66:
            t->p66 = true;
            break;
        case 0x67:
            t->p67 = true;
            break;
        case 0xf0:
            t->lock = true;
            break;
        case 0xf2:
        case 0xf3:
            t->rep = byte;
            break;
        default:
            if (tr_code64(t) && (byte & 0xf0) == 0x40) {
                t->rex = byte;
                continue;
            }
            t->op = byte;
            return;
        }
        t->rex = 0; /* REX counts only right before the opcode */
    }
}

static void sizes(Tr *t)
{
    t->rex_r = (t->rex & 4) << 1;
    t->rex_x = (t->rex & 2) << 2;
    t->rex_b = (t->rex & 1) << 3;
    if (tr_code64(t)) {
        t->osz = t->rex & 8 ? 8 : t->p66 ? 2 : 4;
        t->asz = t->p67 ? 4 : 8;
    } else {
        bool big = tr_mode(t, M_CODE32);

        t->osz = big != t->p66 ? 4 : 2;
        t->asz = big != t->p67 ? 4 : 2;
    }
}

static void one_insn(Tr *t)
{
    t->next = t->pc;
    t->fetch_fault = t->too_long = t->lock_ok = t->sti_last = false;
    t->sp_adj = 0;
    t->lim_addr = 0;
    prefixes(t);
    sizes(t);
    t->map = 0;
    if (t->op == 0x0f) {
        t->map = 1;
        t->op = tr_u8(t);
        if (t->op == 0x38 || t->op == 0x3a) {
            t->map = t->op == 0x38 ? 2 : 3;
            t->op = tr_u8(t);
        }
    }
    if (t->map == 0 && (t->op == 0x9b || (t->op & 0xf8) == 0xd8)) {
        if (!tr_x87(t)) {
            tr_ud(t);
        }
    } else if (!tr_int(t) && !tr_ctl(t) && !tr_string(t) && !(t->map && tr_simd(t))) {
        tr_ud(t);
    }
}

/* What must happen at the start of the first instruction of a block with special modes. */
static void prologue(Tr *t)
{
    if (tr_mode(t, M_SHADOW)) {
        ir_ste(t->b, IR_I32, IRM_8, offsetof(X86Cpu, shadow), tr_i32(t, 0));
    }
    if (tr_mode(t, M_RF)) {
        IrVal ef = ir_lde(t->b, IR_I32, IRM_32, offsetof(X86Cpu, eflags));

        ir_ste(t->b, IR_I32, IRM_32, offsetof(X86Cpu, eflags),
               ir_and(t->b, IR_I32, ef, tr_i32(t, ~(uint32_t)EF_RF)));
    } else if (tr_mode(t, M_DEBUG)) {
        ir_call0(t->b, &x86_hd_check_ibreak);
    }
}

/* Must the instruction be checked to lie inside the code segment? In 16-bit code M_CSLIMIT is
 * clear for the usual limit of 64 KiB, which only running off the end can exceed. */
static bool check_cs(const Tr *t)
{
    return tr_mode(t, M_CSLIMIT) || (!(t->mode & (M_CODE32 | M_CODE64)) && t->next > 0x10000);
}

/* Translate the instruction at t->pc. false: it could not be fetched and nothing of it is left. */
static bool step(Tr *t, bool first)
{
    IrMark mark = ir_mark(t->b), body;
    IrFlags flags = t->flags;
    uint64_t mode = t->mode;
    bool sti_last = t->sti_last;

    ir_insn(t->b, t->pc, &t->flags);
    if (first) {
        prologue(t);
    }
    body = ir_mark(t->b);
    one_insn(t);
    if (check_cs(t) && !t->fetch_fault && !t->too_long) {
        /* Again, behind a check that the instruction is inside the segment. */
        ir_rollback(t->b, body);
        t->flags = flags;
        t->mode = mode;
        t->ended = false;
        ir_call1(t->b, &x86_hd_check_cs, tr_i64(t, (uint32_t)(t->next - 1)));
        body = ir_mark(t->b);
        one_insn(t);
    }
    if (!t->fetch_fault && !t->too_long && (!t->lock || t->lock_ok)) {
        return true;
    }
    t->flags = flags;
    t->mode = mode;
    t->ended = false;
    if (t->fetch_fault && !first) {
        ir_rollback(t->b, mark);
        t->sti_last = sti_last;
        return false;
    }
    ir_rollback(t->b, body);
    if (t->fetch_fault) {
        tr_noreturn(t, &x86_hd_raise_fetch, (IrVal[]){tr_i64(t, t->fault_linear)}, 1);
        t->ended = true;
    } else if (t->too_long) {
        tr_exc_err(t, EXC_GP, 0);
    } else {
        tr_ud(t);
    }
    return true;
}

void x86_translate(VCpu *cpu, IrBlock *b, unsigned max)
{
    Tr tr = {.b = b,
             .c = x86(cpu),
             .mode = b->mode,
             .cs_base = b->mode >> 32,
             .start = b->pc,
             .pc = b->pc,
             .next = b->pc,
             .flags = {.kind = IRF_PACKED}},
       *t = &tr;
    uint64_t page;

    if (!tr_code64(t)) {
        t->start = t->pc = (uint32_t)t->pc;
    }
    page = code_linear(t, t->pc) >> 12;
    t->single = t->mode & (M_TF | M_SHADOW | M_RF | M_DEBUG);
    if (t->single) {
        max = 1;
    }
    b->n_guest = 0;
    do {
        if (!step(t, b->n_guest == 0)) {
            break;
        }
        b->n_guest++;
        b->guest_bytes = MAX((uint32_t)(t->next - t->start), 1);
        t->pc = tr_next(t);
    } while (!t->ended && b->n_guest < max && !ir_full(b) && code_linear(t, t->pc) >> 12 == page);
    if (t->ended) {
        return;
    }
    if (t->sti_last) {
        /* The instruction after STI is in another block: the shadow must last until there. */
        ir_ste(b, IR_I32, IRM_8, offsetof(X86Cpu, shadow), tr_i32(t, 1));
        tr_exit(t, tr_i64(t, t->pc));
    } else {
        tr_goto(t, t->pc);
    }
}
