/*
 * A64 decoder: the block loop, registers, flags, ways out. DDI 0487 chapters C2…C6.
 */
#include "target/arm64/translate.h"
#include "target/arm64/helpers.h"

/* Heat: what compilers use most; the jit pins as many as the host has registers for. */
#define GPR(n, h) [n] = {.name = "X" #n, .type = IR_I64, .heat = h, .off = offsetof(Arm64Cpu, x[n])}
#define VREG(n) [AG_V0 + n] = {.name = "V" #n, .type = IR_V128, .off = offsetof(Arm64Cpu, fp.v[n])}
const JitGlobal a64_jit_globals[AG_COUNT] = {
    GPR(0, 100),
    GPR(1, 98),
    GPR(2, 92),
    GPR(3, 86),
    GPR(4, 70),
    GPR(5, 60),
    GPR(6, 40),
    GPR(7, 39),
    GPR(8, 50),
    GPR(9, 38),
    GPR(10, 36),
    GPR(11, 35),
    GPR(12, 34),
    GPR(13, 33),
    GPR(14, 32),
    GPR(15, 31),
    GPR(16, 20),
    GPR(17, 20),
    GPR(18, 10),
    GPR(19, 75),
    GPR(20, 65),
    GPR(21, 55),
    GPR(22, 45),
    GPR(23, 30),
    GPR(24, 29),
    GPR(25, 28),
    GPR(26, 27),
    GPR(27, 26),
    GPR(28, 25),
    GPR(29, 42),
    GPR(30, 41),
    [AG_SP] = {.name = "SP", .type = IR_I64, .heat = 90, .off = offsetof(Arm64Cpu, sp)},
    [AG_CC] = {.name = "CC", .type = IR_I32, .heat = 95, .off = offsetof(Arm64Cpu, cc)},
    VREG(0),
    VREG(1),
    VREG(2),
    VREG(3),
    VREG(4),
    VREG(5),
    VREG(6),
    VREG(7),
    VREG(8),
    VREG(9),
    VREG(10),
    VREG(11),
    VREG(12),
    VREG(13),
    VREG(14),
    VREG(15),
    VREG(16),
    VREG(17),
    VREG(18),
    VREG(19),
    VREG(20),
    VREG(21),
    VREG(22),
    VREG(23),
    VREG(24),
    VREG(25),
    VREG(26),
    VREG(27),
    VREG(28),
    VREG(29),
    VREG(30),
    VREG(31),
};

IrVal ta_i32(Tr *t, uint32_t v)
{
    return ir_const(t->b, IR_I32, v);
}

IrVal ta_i64(Tr *t, uint64_t v)
{
    return ir_const(t->b, IR_I64, v);
}

IrVal ta_imm(Tr *t, bool sf, uint64_t v)
{
    return sf ? ta_i64(t, v) : ta_i32(t, v);
}

/* ---- registers ---- */

IrVal ta_x(Tr *t, unsigned r)
{
    return r == 31 ? ta_i64(t, 0) : ir_global(AG_X0 + r);
}

IrVal ta_xsp(Tr *t, unsigned r)
{
    return ir_global(r == 31 ? AG_SP : AG_X0 + r);
}

static void set_global(Tr *t, bool sf, unsigned g, IrVal v)
{
    if (sf) {
        ir_mov(t->b, IR_I64, ir_global(g), v);
    } else {
        ir_op_to(t->b, IR_EXT32U, IR_I64, ir_global(g), v, 0);
    }
}

void ta_set_x(Tr *t, bool sf, unsigned r, IrVal v)
{
    if (r != 31) {
        set_global(t, sf, AG_X0 + r, v);
    }
}

void ta_set_xsp(Tr *t, bool sf, unsigned r, IrVal v)
{
    set_global(t, sf, r == 31 ? AG_SP : AG_X0 + r, v);
}

IrVal ta_v(unsigned r)
{
    return ir_global(AG_V0 + r);
}

void ta_set_v(Tr *t, unsigned r, IrVal v)
{
    ir_mov(t->b, IR_V128, ta_v(r), v);
}

IrVal ta_stable(Tr *t, IrType ty, IrVal v)
{
    return t->b->vals[v].kind == IRV_GLOBAL ? ir_copy(t->b, ty, v) : v;
}

/* ---- flags ---- */

void ta_set_flags(Tr *t, IrFlags f)
{
    t->flags = f;
}

IrVal ta_packed(Tr *t)
{
    return t->flags.kind == IRF_VALUE ? t->flags.a : ir_flags(t->b, &t->flags);
}

void ta_pack_flags(Tr *t)
{
    if (t->flags.kind != IRF_PACKED) {
        ir_mov(t->b, IR_I32, ir_global(AG_CC), ta_packed(t));
        t->flags = (IrFlags){.kind = IRF_PACKED};
    }
}

IrFlagCond ta_cond(Tr *t, unsigned cond)
{
    static const uint8_t map[] = {
        IRFC_Z,  IRFC_NZ,  IRFC_NC, IRFC_C,  IRFC_N,  IRFC_NN, IRFC_V,
        IRFC_NV, IRFC_NCZ, IRFC_CZ, IRFC_GE, IRFC_LT, IRFC_GT, IRFC_LE,
    };

    if (t->flags.cinv) {
        if (cond == 2 || cond == 3) {
            return map[cond ^ 1];
        }
        if (cond == 8 || cond == 9) {
            ta_set_flags(t, (IrFlags){.kind = IRF_VALUE, .size = 4, .a = ta_packed(t)});
        }
    }
    return map[cond];
}

IrVal ta_borrow(Tr *t)
{
    return ir_setflag(t->b, t->flags.cinv ? IRFC_NC : IRFC_C, &t->flags);
}

IrVal ta_nzcv_const(Tr *t, unsigned nzcv)
{
    return ta_i32(t, (nzcv & 8 ? IRF_N : 0) | (nzcv & 4 ? IRF_Z : 0) | (nzcv & 2 ? 0 : IRF_C) |
                         (nzcv & 1 ? IRF_V : 0));
}

IrVal ta_adds(Tr *t, bool sf, IrVal x, IrVal y)
{
    IrType ty = ta_ty(sf);
    IrVal sy = ta_stable(t, ty, y), r = ir_add(t->b, ty, x, sy);

    ta_set_flags(t, (IrFlags){IRF_ADD, sf ? 8 : 4, r, sy, .cinv = true});
    return r;
}

IrVal ta_subs(Tr *t, bool sf, IrVal x, IrVal y, bool want)
{
    IrType ty = ta_ty(sf);
    IrVal sx, sy, r;

    if (x == y) {
        sx = sy = ta_imm(t, sf, 0);
    } else {
        sx = ta_stable(t, ty, x);
        sy = ta_stable(t, ty, y);
    }
    r = want ? ir_sub(t->b, ty, sx, sy) : 0;
    ta_set_flags(t, (IrFlags){IRF_SUB, sf ? 8 : 4, sx, sy});
    return r;
}

/* ---- ends ---- */

void ta_exit(Tr *t, IrVal pc)
{
    ta_pack_flags(t);
    if (t->mode & M_SS) {
        ir_ste(t->b, IR_I32, IRM_8, offsetof(Arm64Cpu, ss), ta_i32(t, 0));
    }
    ir_exit(t->b, pc);
    t->ended = true;
}

void ta_goto(Tr *t, uint64_t pc)
{
    if (t->single) {
        ta_exit(t, ta_i64(t, pc));
    } else {
        ta_pack_flags(t);
        ir_jmp(t->b, pc);
        t->ended = true;
    }
}

/* Translated lookups are exact for addresses of 48 bits, sign-extended, only: any other may have a
 * tag, or it faults. */
void ta_goto_ind(Tr *t, IrVal pc, IrHint hint)
{
    IrVal top, target = ir_local(t->b, IR_I64);
    unsigned odd;

    ta_pack_flags(t);
    ir_mov(t->b, IR_I64, target, pc);
    if (t->single) {
        ta_exit(t, ir_call1(t->b, &a64_hd_br_target, target));
        return;
    }
    odd = ir_label(t->b);
    top = ir_add(t->b, IR_I64, ir_sar(t->b, IR_I64, target, ta_i64(t, 48)), ta_i64(t, 1));
    ir_brcond(t->b, IR_I64, IRC_GTU, top, ta_i64(t, 1), odd);
    ir_jmp_ind(t->b, target, hint);
    ir_place(t->b, odd);
    ir_exit(t->b, ir_call1(t->b, &a64_hd_br_target, target));
    t->ended = true;
}

void ta_end_exit(Tr *t)
{
    ta_exit(t, ta_i64(t, t->pc + 4));
}

void ta_exc(Tr *t, uint32_t esr)
{
    ir_call1(t->b, &a64_hd_raise, ta_i64(t, esr));
    t->ended = true;
}

void ta_undef(Tr *t)
{
    ir_call0(t->b, &a64_hd_undef);
    t->ended = true;
}

bool ta_fp_ok(Tr *t)
{
    if (!(t->mode & M_FP)) {
        ir_call0(t->b, &a64_hd_trap_fp);
        t->ended = true;
        return false;
    }
    return true;
}

/* ---- memory ---- */

unsigned ta_mmu(const Tr *t)
{
    switch (ta_el(t)) {
    case 0:
        return MMU_EL0;
    case 1:
        return t->mode & M_PAN ? MMU_EL1_PAN : MMU_EL1;
    case 2:
        return MMU_EL2;
    default:
        return MMU_EL3;
    }
}

unsigned ta_memop(const Tr *t, unsigned log2)
{
    return log2 | ta_mmu(t) << IRM_MMU_SHIFT | (t->mode & M_BE && log2 ? IRM_BE : 0) |
           (t->mode & M_ALIGN ? IRM_ALIGN : 0);
}

IrVal ta_add_imm(Tr *t, IrVal base, int64_t imm)
{
    return imm ? ir_add(t->b, IR_I64, base, ta_i64(t, imm)) : base;
}

/* ---- the loop ---- */

static bool decode(Tr *t)
{
    switch (ta_bits(t, 28, 25)) {
    case 8:
    case 9:
        return ta_dp_imm(t);
    case 10:
    case 11:
        return ta_branch(t);
    case 4:
    case 6:
    case 12:
    case 14:
        return ta_ls(t);
    case 5:
    case 13:
        return ta_dp_reg(t);
    case 7:
    case 15:
        return ta_fp(t);
    default:
        return false;
    }
}

static bool fetch(Tr *t)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < 4; i++) {
        uint8_t byte;

        if (!jit_fetch(&t->c->vcpu, t->pc + i, &byte)) {
            return false;
        }
        v |= (uint32_t)byte << i * 8;
    }
    t->insn = v;
    return true;
}

static void one(Tr *t, bool first)
{
    IrMark mark = ir_mark(t->b);
    IrFlags flags = t->flags;

    if (first && t->mode & M_SS) {
        ir_call0(t->b, &a64_hd_step);
    }
    if (t->mode & M_IL) {
        ta_exc(t, esr_make(EC_ILLEGAL, 0));
        return;
    }
    if (!decode(t)) {
        ir_rollback(t->b, mark);
        t->flags = flags;
        ta_undef(t);
    }
}

void a64_translate(VCpu *cpu, IrBlock *b, unsigned max)
{
    Tr tr = {.b = b, .c = arm64(cpu), .mode = b->mode, .pc = b->pc, .flags = {.kind = IRF_PACKED}},
       *t = &tr;
    uint64_t page = b->pc >> 12;

    t->single = t->mode & M_SS;
    if (t->single) {
        max = 1;
    }
    b->n_guest = 0;
    do {
        bool first = b->n_guest == 0;

        if (t->pc & 3 || !fetch(t)) {
            if (!first) {
                break;
            }
            ir_insn(b, t->pc, &t->flags);
            b->transient = true;
            ir_call1(b, &a64_hd_raise_fetch, ta_i64(t, t->pc));
            b->n_guest = 1;
            b->guest_bytes = 4 - (t->pc & 3);
            return;
        }
        ir_insn(b, t->pc, &t->flags);
        one(t, first);
        b->n_guest++;
        b->guest_bytes = b->n_guest * 4;
        t->pc += 4;
    } while (!t->ended && b->n_guest < max && !ir_full(b) && t->pc >> 12 == page);
    if (!t->ended) {
        ta_goto(t, t->pc);
    }
}
