/*
 * x86 data movement, stack, conversions, the flags as data. Intel SDM volume 2.
 */
#include "target/x86/helpers.h"
#include "target/x86/int_helpers.h"
#include "target/x86/tr_util.h"

/* ---- data movement ---- */

static void op_mov_rm(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    if (t->op < 0x8a) {
        tr_opd_st(t, &o, sz, tr_rd(t, sz, t->reg));
    } else if (o.mem) {
        tr_set_reg_zx(t, sz, t->reg, tr_ld(t, sz, o.addr));
    } else {
        tr_set_reg(t, sz, t->reg, tr_rd(t, sz, o.reg));
    }
}

static void op_mov_imm(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    IrVal imm;
    TrOpd o;

    tr_modrm(t);
    if (t->modrm >> 3 & 7) {
        tr_ud(t);
        return;
    }
    imm = tr_imm(t, sz);
    o = tr_rm(t);
    tr_opd_st(t, &o, sz, imm);
}

static void op_mov_reg_imm(Tr *t)
{
    unsigned r = (t->op & 7) | t->rex_b, sz = t->op & 8 ? t->osz : 1;
    uint64_t v = sz == 8 ? tr_u64(t) : sz == 4 ? tr_u32(t) : sz == 2 ? tr_u16(t) : tr_u8(t);

    tr_set_reg_zx(t, sz, r, tr_i64(t, v));
}

static void op_moffs(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    uint64_t off = t->asz == 8 ? tr_u64(t) : t->asz == 4 ? tr_u32(t) : tr_u16(t);
    bool store = t->op >= 0xa2;
    IrVal addr = tr_linear(t, t->seg >= 0 ? t->seg : S_DS, tr_i64(t, off), sz, store);

    if (store) {
        tr_st(t, sz, addr, xg(XG_RAX));
    } else {
        tr_set_reg_zx(t, sz, R_RAX, tr_ld(t, sz, addr));
    }
}

/* MOVZX, MOVSX, MOVSXD. */
static void op_extend(Tr *t, unsigned from, bool sign)
{
    unsigned sz = t->osz;
    IrVal v;
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    if (from >= sz) { /* 16 to 16 bits, MOVSXD without REX.W */
        v = tr_opd_ld(t, &o, sz);
    } else if (o.mem) {
        if (!sign) {
            tr_set_reg_zx(t, sz, t->reg, tr_ld(t, from, o.addr));
            return;
        }
        v = tr_ld_sx(t, from, tr_type(sz), o.addr);
    } else {
        v = tr_rd(t, from, o.reg);
        if (!sign) {
            tr_set_reg_zx(t, sz, t->reg, tr_zext(t, IR_I64, from, v));
            return;
        }
        v = tr_sext(t, tr_type(sz), from, v);
    }
    tr_set_reg(t, sz, t->reg, v);
}

static void op_lea(Tr *t)
{
    IrVal off;

    tr_modrm(t);
    if (t->mod == 3) {
        tr_ud(t);
        return;
    }
    off = tr_ea_off(t);
    if (t->asz <= t->osz) {
        tr_set_reg_zx(t, t->osz, t->reg, off);
    } else {
        tr_set_reg(t, t->osz, t->reg, off);
    }
}

static void op_xchg(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    IrVal x, y;
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    t->lock_ok = o.mem;
    if (o.mem) {
        x = tr_atomic(t, sz, IRA_XCHG, &o, tr_rd(t, sz, t->reg), 0);
        tr_set_reg_zx(t, sz, t->reg, x);
        return;
    }
    x = tr_reg(t, sz, o.reg);
    y = tr_reg(t, sz, t->reg);
    tr_set_reg_zx(t, sz, o.reg, y);
    tr_set_reg_zx(t, sz, t->reg, x);
}

static void op_xchg_acc(Tr *t)
{
    unsigned r = (t->op & 7) | t->rex_b;
    IrVal x, y;

    if (r == R_RAX) {
        if (t->rep == 0xf3) {
            tr_pack_first(t);
            tr_noreturn(t, &x86_hd_pause, (IrVal[]){tr_i64(t, tr_next(t))}, 1);
            t->ended = true;
        }
        return;
    }
    x = tr_reg(t, t->osz, r);
    y = tr_reg(t, t->osz, R_RAX);
    tr_set_reg_zx(t, t->osz, r, y);
    tr_set_reg_zx(t, t->osz, R_RAX, x);
}

static void op_movbe(Tr *t, bool store)
{
    IrType ty = tr_type(t->osz);
    IrVal addr, v;

    if (!tr_feat(t, FEAT_1_ECX, 22) || t->mod == 3) {
        tr_ud(t);
        return;
    }
    addr = tr_ea(t);
    v = store ? xg(XG_RAX + t->reg) : tr_ld(t, t->osz, addr);
    v = ir_bswap(t->b, ty, v);
    if (t->osz == 2) {
        v = ir_shr(t->b, IR_I32, v, tr_i32(t, 16));
    }
    if (store) {
        tr_st(t, t->osz, addr, v);
    } else {
        tr_set_reg(t, t->osz, t->reg, v);
    }
}

static void op_crc32(Tr *t)
{
    unsigned sz = t->op & 1 ? t->osz : 1;
    IrVal v;
    TrOpd o;

    if (!tr_feat(t, FEAT_1_ECX, 20)) {
        tr_ud(t);
        return;
    }
    o = tr_rm(t);
    v = tr_zext(t, IR_I64, sz, tr_opd_ld(t, &o, sz));
    v = ir_call3(t->b, &x86_hd_crc32, tr_reg(t, 4, t->reg), v, tr_i64(t, sz));
    tr_set_reg(t, 8, t->reg, v);
}

/* 0F 38 F0, F1. */
static bool op_map2_f(Tr *t)
{
    tr_modrm(t);
    if (t->rep == 0xf2) {
        op_crc32(t);
    } else {
        op_movbe(t, t->op == 0xf1);
    }
    return true;
}

/* ---- the stack ---- */

static void op_push_reg(Tr *t)
{
    tr_push(t, tr_osz64(t), xg(XG_RAX + ((t->op & 7) | t->rex_b)));
}

static void op_pop_reg(Tr *t)
{
    unsigned sz = tr_osz64(t), r = (t->op & 7) | t->rex_b;
    IrVal v = tr_stack_ld(t, sz, 0);

    tr_set_sp(t, tr_sp(t, sz));
    tr_set_reg_zx(t, sz, r, v);
}

static void op_push_imm(Tr *t)
{
    unsigned sz = tr_osz64(t);

    tr_push(t, sz, t->op == 0x6a ? tr_const(t, sz, tr_s8(t)) : tr_imm(t, sz));
}

static void op_push_rm(Tr *t)
{
    unsigned sz = tr_osz64(t);
    TrOpd o = tr_rm(t);

    tr_push(t, sz, tr_opd_ld(t, &o, sz));
}

static void op_pop_rm(Tr *t)
{
    unsigned sz = tr_osz64(t);
    IrVal v;
    TrOpd o;

    tr_modrm(t);
    if (t->modrm >> 3 & 7) {
        tr_ud(t);
        return;
    }
    v = tr_stack_ld(t, sz, 0);
    t->sp_adj = sz;
    o = tr_rm(t);
    if (o.mem) {
        tr_st(t, sz, o.addr, v);
        tr_set_sp(t, tr_sp(t, sz));
    } else {
        tr_set_sp(t, tr_sp(t, sz));
        tr_set_reg_zx(t, sz, o.reg, v);
    }
}

static void op_pusha(Tr *t)
{
    unsigned sz = t->osz;

    for (unsigned i = 0; i < 8; i++) {
        IrVal sp = tr_sp(t, -(int64_t)((i + 1) * sz));

        tr_st(t, sz, tr_stack_addr(t, sp, sz, true), xg(XG_RAX + i));
    }
    tr_set_sp(t, tr_sp(t, -(int64_t)(8 * sz)));
}

static void op_popa(Tr *t)
{
    unsigned sz = t->osz;
    IrVal v[8];

    for (unsigned i = 0; i < 8; i++) {
        v[i] = i == R_RSP ? 0 : tr_stack_ld(t, sz, (7 - i) * sz);
    }
    tr_set_sp(t, tr_sp(t, 8 * sz));
    for (unsigned i = 0; i < 8; i++) {
        if (v[i]) {
            tr_set_reg_zx(t, sz, i, v[i]);
        }
    }
}

static void op_enter(Tr *t)
{
    unsigned sz = tr_osz64(t), n = tr_sp_bytes(t), level;
    uint16_t size = tr_u16(t);
    IrBlock *b = t->b;
    IrVal frame = tr_sp(t, -(int64_t)sz), sp;

    level = tr_u8(t) & 31;
    tr_st(t, sz, tr_stack_addr(t, frame, sz, true), xg(XG_RAX + R_RBP));
    for (unsigned i = 1; i < level; i++) { /* pointers to the enclosing procedures' frames */
        IrVal from = ir_add(b, tr_type(n), xg(XG_RAX + R_RBP), tr_const(t, n, -(int64_t)(i * sz)));
        IrVal to = tr_sp(t, -(int64_t)((i + 1) * sz)), v;

        from = tr_zext(t, IR_I64, n, from);
        v = tr_ld(t, sz, tr_stack_addr(t, from, sz, false));
        tr_st(t, sz, tr_stack_addr(t, to, sz, true), v);
    }
    if (level) {
        IrVal to = tr_sp(t, -(int64_t)((level + 1) * sz));

        tr_st(t, sz, tr_stack_addr(t, to, sz, true), frame);
    }
    sp = tr_sp(t, -(int64_t)((level + 1) * sz + size));
    ir_call2(b, &x86_hd_check_stack, tr_stack_addr(t, sp, sz, true), tr_i64(t, sz));
    tr_set_reg_zx(t, n, R_RBP, n == 8 ? tr_stable(t, IR_I64, frame) : frame);
    tr_set_sp(t, sp);
}

static void op_leave(Tr *t)
{
    unsigned sz = tr_osz64(t), n = tr_sp_bytes(t);
    IrVal bp = n == 8 ? xg(XG_RAX + R_RBP) : tr_zext(t, IR_I64, n, xg(XG_RAX + R_RBP));
    IrVal v = tr_ld(t, sz, tr_stack_addr(t, bp, sz, false));

    tr_set_sp(t, tr_zext(t, IR_I64, n, ir_add(t->b, tr_type(n), bp, tr_const(t, n, sz))));
    tr_set_reg_zx(t, sz, R_RBP, v);
}

/* ---- flags and conversions ---- */

static void op_setcc(Tr *t)
{
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    tr_opd_st(t, &o, 1, ir_setflag(t->b, t->op & 15, &t->flags));
}

static void op_cmov(Tr *t)
{
    unsigned sz = t->osz;
    IrType ty = tr_type(sz);
    IrVal v, dst;
    TrOpd o;

    tr_modrm(t);
    o = tr_rm(t);
    v = tr_opd_ld(t, &o, sz);
    dst = tr_rd(t, sz, t->reg);
    tr_set_reg(t, sz, t->reg, ir_movflag(t->b, ty, t->op & 15, &t->flags, v, dst));
}

static void op_carry(Tr *t)
{
    IrVal cc = tr_packed(t), c = tr_i32(t, IRF_C);

    cc = t->op == 0xf5   ? ir_xor(t->b, IR_I32, cc, c)
         : t->op == 0xf8 ? ir_andn(t->b, IR_I32, cc, c)
                         : ir_or(t->b, IR_I32, cc, c);
    tr_set_flags(t, tr_flags_value(cc));
}

enum { AH_FLAGS = EF_CF | EF_PF | EF_AF | EF_ZF | EF_SF };

static bool op_ah_flags(Tr *t)
{
    IrBlock *b = t->b;
    IrVal ax = xg(XG_RAX + R_RAX), v;

    if (tr_code64(t) && !tr_feat(t, FEAT_80000001_ECX, 0)) {
        tr_ud(t);
    } else if (t->op == 0x9f) { /* LAHF */
        v = ir_and(b, IR_I32, tr_packed(t), tr_i32(t, AH_FLAGS << 8));
        v = ir_shr(b, IR_I32, ir_or(b, IR_I32, v, tr_i32(t, 2 << 8)), tr_i32(t, 8));
        ir_mov(b, IR_I64, ax, ir_deposit(b, IR_I64, ax, v, 8, 8));
    } else { /* SAHF */
        v = ir_and(b, IR_I32, ax, tr_i32(t, AH_FLAGS << 8));
        v = ir_or(b, IR_I32, v, ir_setflag(b, IRFC_V, &t->flags));
        tr_set_flags(t, tr_flags_value(v));
    }
    return true;
}

static void op_bcd(Tr *t)
{
    IrBlock *b = t->b;
    IrVal r, ax;

    if (t->op == 0xd4) {
        uint8_t base = tr_u8(t);

        if (base == 0) {
            tr_exc(t, EXC_DE);
            return;
        }
        ax = ir_call2(b, &x86_hd_aam, tr_reg(t, 1, R_RAX), tr_i64(t, base));
        tr_set_reg(t, 2, R_RAX, ax);
        tr_set_flags(t, (IrFlags){IRF_LOGIC, 1, ax});
    } else if (t->op == 0xd5) {
        IrVal base = tr_i32(t, tr_u8(t)), ah = ir_extract(b, IR_I32, xg(XG_RAX), 8, 8, false);

        r = ir_add(b, IR_I32, ir_mul(b, IR_I32, ah, base), xg(XG_RAX));
        r = ir_ext8u(b, IR_I32, r);
        tr_set_reg(t, 2, R_RAX, r);
        tr_set_flags(t, (IrFlags){IRF_LOGIC, 1, r});
    } else {
        r = ir_call3(b, &x86_hd_bcd, tr_i64(t, t->op), tr_reg(t, 2, R_RAX),
                     ir_ext32u(b, tr_packed(t)));
        tr_set_reg(t, 2, R_RAX, r);
        r = ir_shr(b, IR_I64, r, tr_i64(t, 32));
        tr_set_flags(t, tr_flags_value(ir_copy(b, IR_I32, r)));
    }
}

/* CBW, CWDE, CDQE; CWD, CDQ, CQO. */
static void op_convert(Tr *t)
{
    IrVal ax = xg(XG_RAX + R_RAX);

    if (t->op == 0x98) {
        tr_set_reg(t, t->osz, R_RAX, tr_sext(t, tr_type(t->osz), t->osz / 2, ax));
    } else {
        IrType ty = tr_type(t->osz);
        IrVal v = tr_sext(t, ty, t->osz, ax);

        v = ir_sar(t->b, ty, v, tr_const(t, t->osz, t->osz == 8 ? 63 : 31));
        tr_set_reg(t, t->osz, R_RDX, v);
    }
}

static void op_salc(Tr *t)
{
    IrVal c = ir_setflag(t->b, IRFC_C, &t->flags);

    tr_set_reg(t, 1, R_RAX, ir_neg(t->b, IR_I32, c));
}

static void op_xlat(Tr *t)
{
    IrType ty = t->asz == 8 ? IR_I64 : IR_I32;
    IrVal off = ir_add(t->b, ty, tr_zext(t, IR_I64, 1, xg(XG_RAX)), xg(XG_RAX + R_RBX));

    off = tr_zext(t, IR_I64, t->asz, off);
    tr_set_reg_zx(t, 1, R_RAX,
                  tr_ld(t, 1, tr_linear(t, t->seg >= 0 ? t->seg : S_DS, off, 1, false)));
}

static void op_bound(Tr *t)
{
    unsigned sz = t->osz;
    IrVal off, lo, hi, i;

    off = tr_ea_off(t);
    lo = tr_ld(t, sz, tr_linear(t, t->ea_seg, off, sz * 2, false));
    off = tr_zext(t, IR_I64, t->asz, ir_add(t->b, IR_I64, off, tr_i64(t, sz)));
    hi = tr_ld(t, sz, tr_linear(t, t->ea_seg, off, sz, false));
    i = tr_sext(t, IR_I64, sz, xg(XG_RAX + t->reg));
    ir_call3(t->b, &x86_hd_bound, i, tr_sext(t, IR_I64, sz, lo), tr_sext(t, IR_I64, sz, hi));
}

static void op_arpl(Tr *t)
{
    IrBlock *b = t->b;
    IrVal dst, src, less, zf, r;
    TrOpd o;

    tr_modrm(t);
    if (!tr_mode(t, M_PE)) {
        tr_ud(t);
        return;
    }
    o = tr_rm(t);
    dst = tr_stable(t, IR_I32, tr_opd_ld_rmw(t, &o, 2));
    src = ir_and(b, IR_I32, xg(XG_RAX + t->reg), tr_i32(t, 3));
    less = ir_and(b, IR_I32, dst, tr_i32(t, 3));
    zf = ir_setcond(b, IR_I32, IRC_LTU, less, src);
    r = ir_deposit(b, IR_I32, dst, src, 0, 2);
    tr_opd_st(t, &o, 2, ir_movcond(b, IR_I32, IR_I32, IRC_LTU, less, src, r, dst));
    tr_set_flags(t, tr_flags_value(ir_deposit(b, IR_I32, tr_packed(t), zf, 14, 1)));
}

/* ---- tables ---- */

/* The next instruction byte, to be read again. */
static uint8_t byte_ahead(Tr *t)
{
    uint64_t next = t->next;
    uint8_t byte = tr_u8(t);

    t->next = next;
    return byte;
}

/* Opcodes that 64-bit mode has given up or to other use, among those of this file. */
static bool gone_in_64(uint8_t op)
{
    switch (op) {
    case 0x27:
    case 0x2f:
    case 0x37:
    case 0x3f:
    case 0x60:
    case 0x61:
    case 0x62:
    case 0xd4:
    case 0xd5:
    case 0xd6:
        return true;
    default:
        return false;
    }
}

static bool int_map0(Tr *t)
{
    uint8_t op = t->op;

    if (tr_code64(t) && gone_in_64(op)) {
        tr_ud(t);
        return true;
    }
    switch (op) {
    case 0x27:
    case 0x2f:
    case 0x37:
    case 0x3f:
    case 0xd4:
    case 0xd5:
        op_bcd(t);
        return true;
    case 0x50 ... 0x57:
        op_push_reg(t);
        return true;
    case 0x58 ... 0x5f:
        op_pop_reg(t);
        return true;
    case 0x60:
        op_pusha(t);
        return true;
    case 0x61:
        op_popa(t);
        return true;
    case 0x62:
        tr_modrm(t);
        if (t->mod == 3) {
            tr_ud(t);
        } else {
            op_bound(t);
        }
        return true;
    case 0x63:
        if (tr_code64(t)) {
            op_extend(t, 4, true);
        } else {
            op_arpl(t);
        }
        return true;
    case 0x68:
    case 0x6a:
        op_push_imm(t);
        return true;
    case 0x86:
    case 0x87:
        op_xchg(t);
        return true;
    case 0x88 ... 0x8b:
        op_mov_rm(t);
        return true;
    case 0x8d:
        op_lea(t);
        return true;
    case 0x8f:
        op_pop_rm(t);
        return true;
    case 0x90 ... 0x97:
        op_xchg_acc(t);
        return true;
    case 0x98:
    case 0x99:
        op_convert(t);
        return true;
    case 0x9e:
    case 0x9f:
        return op_ah_flags(t);
    case 0xa0 ... 0xa3:
        op_moffs(t);
        return true;
    case 0xb0 ... 0xbf:
        op_mov_reg_imm(t);
        return true;
    case 0xc6:
    case 0xc7:
        op_mov_imm(t);
        return true;
    case 0xc8:
        op_enter(t);
        return true;
    case 0xc9:
        op_leave(t);
        return true;
    case 0xd6:
        op_salc(t);
        return true;
    case 0xd7:
        op_xlat(t);
        return true;
    case 0xf5:
    case 0xf8:
    case 0xf9:
        op_carry(t);
        return true;
    case 0xff: /* PUSH */
        if ((byte_ahead(t) & 0x38) == 0x30) {
            tr_modrm(t);
            op_push_rm(t);
            return true;
        }
        return false;
    default:
        return false;
    }
}

static bool int_map1(Tr *t)
{
    switch (t->op) {
    case 0x40 ... 0x4f:
        op_cmov(t);
        return true;
    case 0x90 ... 0x9f:
        op_setcc(t);
        return true;
    case 0xb6:
    case 0xbe:
        op_extend(t, 1, t->op == 0xbe);
        return true;
    case 0xb7:
    case 0xbf:
        op_extend(t, 2, t->op == 0xbf);
        return true;
    default:
        return false;
    }
}

bool tr_int(Tr *t)
{
    switch (t->map) {
    case 0:
        return int_map0(t);
    case 1:
        return int_map1(t);
    case 2:
        return (t->op == 0xf0 || t->op == 0xf1) && op_map2_f(t);
    default:
        return false;
    }
}
