/*
 * A64 branches, exception generation, system instructions: translation. DDI 0487 section C4.1.87.
 */
#include "accel/jit/ir-vec.h"
#include "core/machine.h"
#include "target/arm64/helpers.h"
#include "target/arm64/translate.h"

enum { MAX_SIDE_EXITS = 3 };

static void two_ways(Tr *t, unsigned label, uint64_t target)
{
    ta_goto(t, t->pc + 4);
    ir_place(t->b, label);
    ta_goto(t, target);
}

static bool b_cond(Tr *t)
{
    unsigned cond = t->insn & 15, taken;
    uint64_t target = t->pc + (ta_sbits(t, 23, 5) << 2);
    IrFlagCond cc;
    IrFlags f;

    if (ta_bit(t, 24) || ta_bit(t, 4)) {
        return false;
    }
    if (cond >= 14) {
        ta_goto(t, target);
        return true;
    }
    cc = ta_cond(t, cond);
    if (!t->single) {
        ir_brexit(t->b, cc, &t->flags, target);
        if (++t->side_exits >= MAX_SIDE_EXITS || target == t->b->pc) {
            ta_goto(t, t->pc + 4);
        }
        return true;
    }
    f = t->flags;
    ta_pack_flags(t);
    taken = ir_label(t->b);
    ir_brflag(t->b, cc, &f, taken);
    two_ways(t, taken, target);
    return true;
}

static bool cbz(Tr *t)
{
    bool sf = ta_bit(t, 31);
    unsigned taken;

    ta_pack_flags(t);
    taken = ir_label(t->b);
    ir_brcond(t->b, ta_ty(sf), ta_bit(t, 24) ? IRC_NE : IRC_EQ, ta_x(t, ta_rd(t)), ta_imm(t, sf, 0),
              taken);
    two_ways(t, taken, t->pc + (ta_sbits(t, 23, 5) << 2));
    return true;
}

static bool tbz(Tr *t)
{
    unsigned n = ta_bit(t, 31) << 5 | ta_bits(t, 23, 19), taken;

    ta_pack_flags(t);
    taken = ir_label(t->b);
    if (n < 32) {
        ir_brcond(t->b, IR_I32, ta_bit(t, 24) ? IRC_TSTNZ : IRC_TSTZ, ta_x(t, ta_rd(t)),
                  ta_i32(t, 1u << n), taken);
    } else {
        ir_brcond(t->b, IR_I64, ta_bit(t, 24) ? IRC_TSTNZ : IRC_TSTZ, ta_x(t, ta_rd(t)),
                  ta_i64(t, 1ull << n), taken);
    }
    two_ways(t, taken, t->pc + (ta_sbits(t, 18, 5) << 2));
    return true;
}

static bool b_imm(Tr *t)
{
    if (ta_bit(t, 31)) {
        ta_set_x(t, true, 30, ta_i64(t, t->pc + 4));
    }
    ta_goto(t, t->pc + (ta_sbits(t, 25, 0) << 2));
    return true;
}

static bool has_pauth(const Tr *t)
{
    return id_field(t->c->isar1, 4) | id_field(t->c->isar1, 8);
}

static bool b_reg(Tr *t)
{
    unsigned opc = ta_bits(t, 24, 21), op3 = ta_bits(t, 15, 10), op4 = t->insn & 31;
    IrVal target;

    if (ta_rm(t) != 31) {
        return false;
    }
    if (opc == 4) {
        bool pac = op3 & 2;

        if (ta_rn(t) != 31 || (pac ? op4 != 31 || !has_pauth(t) : op4 || op3) || op3 > 3 ||
            ta_el(t) == 0 || op3 == 1) {
            return false;
        }
        ta_pack_flags(t);
        if (pac) {
            IrVal lr = ir_lde(t->b, IR_I64, IRM_64, offsetof(Arm64Cpu, elr) + ta_el(t) * 8);

            lr = ir_call3(t->b, &a64_hd_pac, lr, ir_global(AG_SP), ta_i64(t, (op3 & 1) << 2 | 1));
            ir_ste(t->b, IR_I64, IRM_64, offsetof(Arm64Cpu, elr) + ta_el(t) * 8, lr);
        }
        ir_exit(t->b, ir_call0(t->b, &a64_hd_eret));
        t->ended = true;
        return true;
    }
    if (op3 == 0) {
        if (opc > 2 || op4) {
            return false;
        }
        target = ta_x(t, ta_rn(t));
    } else if ((op3 == 2 || op3 == 3) && has_pauth(t)) {
        IrVal mod;

        if (opc & 8) {
            if (opc > 9) {
                return false;
            }
            mod = ta_xsp(t, op4);
        } else if (opc == 2) {
            if (op4 != 31 || ta_rn(t) != 31) {
                return false;
            }
            mod = ir_global(AG_SP);
        } else {
            if (opc > 2 || op4 != 31) {
                return false;
            }
            mod = ta_i64(t, 0);
        }
        target = ir_call3(t->b, &a64_hd_pac, ta_x(t, opc == 2 ? 30 : ta_rn(t)), mod,
                          ta_i64(t, (op3 & 1) << 2 | 1));
        opc &= 3;
    } else {
        return false;
    }
    if (opc == 1) {
        target = ta_stable(t, IR_I64, target);
        ta_set_x(t, true, 30, ta_i64(t, t->pc + 4));
    }
    ta_goto_ind(t, target, opc == 0 ? IRJ_JUMP : opc == 1 ? IRJ_CALL : IRJ_RET);
    return true;
}

/* ---- exceptions ---- */

static bool exception(Tr *t)
{
    unsigned opc = ta_bits(t, 23, 21), ll = t->insn & 3, imm = ta_bits(t, 20, 5);

    if (ta_bits(t, 4, 2)) {
        return false;
    }
    if (opc == 0 && ll) {
        static const uint8_t ec[] = {0, EC_SVC, EC_HVC, EC_SMC};

        if (ll > 1 && ta_el(t) == 0) {
            return false;
        }
        ir_call2(t->b, &a64_hd_raise_next, ta_i64(t, esr_make(ec[ll], imm)), ta_i64(t, ll - 1));
        t->ended = true;
        return true;
    }
    if (opc == 1 && ll == 0) {
        ir_call1(t->b, &a64_hd_raise_brk, ta_i64(t, imm));
        t->ended = true;
        return true;
    }
    return false; /* HLT without a debugger, DCPS: undefined */
}

/* ---- system ---- */

static void pac_hint(Tr *t, unsigned rd, IrVal mod, unsigned key, unsigned op)
{
    if (has_pauth(t)) {
        ta_set_x(t, true, rd,
                 ir_call3(t->b, &a64_hd_pac, ta_x(t, rd), mod, ta_i64(t, key << 2 | op)));
    }
}

static void hint(Tr *t)
{
    unsigned n = ta_bits(t, 11, 5);

    switch (n) {
    case 2: /* WFE */
    case 3: /* WFI */
        ta_pack_flags(t);
        ir_call2(t->b, &a64_hd_wfx, ta_i64(t, n == 2), ta_i64(t, t->pc + 4));
        ta_end_exit(t);
        break;
    case 4:
    case 5:
        ir_call0(t->b, &a64_hd_sev);
        break;
    case 7: /* XPACLRI */
        pac_hint(t, 30, ta_i64(t, 0), 0, 2);
        break;
    case 8:  /* PACIA1716 */
    case 10: /* PACIB1716 */
        pac_hint(t, 17, ta_x(t, 16), n == 10, 0);
        break;
    case 12:
    case 14:
        pac_hint(t, 17, ta_x(t, 16), n == 14, 1);
        break;
    case 24: /* PACIAZ, PACIASP, PACIBZ, PACIBSP */
    case 25:
    case 26:
    case 27:
    case 28: /* AUT… */
    case 29:
    case 30:
    case 31:
        pac_hint(t, 30, n & 1 ? ir_global(AG_SP) : ta_i64(t, 0), n >> 1 & 1, n >> 2 & 1);
        break;
    default:
        break;
    }
}

static bool barrier(Tr *t)
{
    unsigned op2 = ta_bits(t, 7, 5), crm = ta_bits(t, 11, 8);

    switch (op2) {
    case 2: /* CLREX */
        ir_ste(t->b, IR_I32, IRM_32, offsetof(Arm64Cpu, ex_size), ta_i32(t, 0));
        return true;
    case 4: /* DSB */
        ir_fence(t->b);
        if (t->c->vcpu.machine && t->c->vcpu.machine->n_vcpus > 1 && ta_el(t)) {
            ta_pack_flags(t);
            ir_call0(t->b, &a64_hd_dsb);
        }
        return true;
    case 5: /* DMB: only a store before a load is not ordered by the host */
        if ((crm & 3) == 3 || (crm & 3) == 0) {
            ir_fence(t->b);
        }
        return true;
    case 6: /* ISB */
        ta_end_exit(t);
        return true;
    case 7: /* SB */
        return id_field(t->c->isar1, 36);
    default:
        return false;
    }
}

/* CFINV, XAFLAG, AXFLAG */
static bool flag_manip(Tr *t, unsigned op2)
{
    unsigned level = id_field(t->c->isar0, 52);
    IrVal p;

    if (level < (op2 ? 2 : 1)) {
        return false;
    }
    p = ta_packed(t);
    if (op2 == 0) {
        p = ir_xor(t->b, IR_I32, p, ta_i32(t, IRF_C));
    } else {
        /* p: borrow = !C */
        IrVal z = ir_extract(t->b, IR_I32, p, 14, 1, false);
        IrVal b = ir_extract(t->b, IR_I32, p, 8, 1, false);
        IrVal v = ir_extract(t->b, IR_I32, p, 0, 1, false), n, one = ta_i32(t, 1), nb;

        if (op2 == 1) { /* XAFLAG: N = !C & !Z, Z = Z & C, C = C | Z, V = !C & Z */
            IrVal nz = ir_xor(t->b, IR_I32, z, one), cc = ir_xor(t->b, IR_I32, b, one);

            n = ir_and(t->b, IR_I32, b, nz);
            v = ir_and(t->b, IR_I32, b, z);
            nb = ir_and(t->b, IR_I32, b, nz);
            z = ir_and(t->b, IR_I32, z, cc);
        } else { /* AXFLAG: N = 0, Z = Z | V, C = C & !V, V = 0 */
            n = ta_i32(t, 0);
            z = ir_or(t->b, IR_I32, z, v);
            nb = ir_or(t->b, IR_I32, b, v);
            v = ta_i32(t, 0);
        }
        p = ir_deposit(t->b, IR_I32, ta_i32(t, 0), n, 15, 1);
        p = ir_deposit(t->b, IR_I32, p, z, 14, 1);
        p = ir_deposit(t->b, IR_I32, p, nb, 8, 1);
        p = ir_deposit(t->b, IR_I32, p, v, 0, 1);
    }
    ta_set_flags(t, (IrFlags){.kind = IRF_VALUE, .size = 4, .a = p});
    return true;
}

static bool pstate_imm(Tr *t)
{
    unsigned op1 = ta_bits(t, 18, 16), op2 = ta_bits(t, 7, 5), imm = ta_bits(t, 11, 8),
             key = op1 << 3 | op2;
    bool el0 = ta_el(t) == 0;

    if (ta_rd(t) != 31) {
        return false;
    }
    switch (key) {
    case 0:
    case 1:
    case 2:
        return flag_manip(t, op2);
    case 3: /* UAO */
        if (el0 || !id_field(t->c->mmfr2, 4)) {
            return false;
        }
        break;
    case 4: /* PAN */
        if (el0 || !id_field(t->c->mmfr1, 20)) {
            return false;
        }
        break;
    case 5: /* SPSel */
        if (el0) {
            return false;
        }
        break;
    case 3 << 3 | 1: /* SSBS */
        if (!id_field(t->c->pfr1, 4)) {
            return false;
        }
        break;
    case 3 << 3 | 2: /* DIT */
        if (!id_field(t->c->pfr0, 48)) {
            return false;
        }
        break;
    case 3 << 3 | 6:
        if (!el0 && !t->single) { /* DAIFSet */
            IrVal d = ir_lde(t->b, IR_I32, IRM_32, offsetof(Arm64Cpu, daif));

            ir_ste(t->b, IR_I32, IRM_32, offsetof(Arm64Cpu, daif),
                   ir_or(t->b, IR_I32, d, ta_i32(t, imm << 6)));
            if (imm & 8) {
                ta_end_exit(t);
            }
            return true;
        }
        break;
    case 3 << 3 | 7:
        break;
    default:
        return false;
    }
    ta_pack_flags(t);
    ir_call2(t->b, &a64_hd_msr_imm, ta_i64(t, key), ta_i64(t, imm));
    ta_end_exit(t);
    return true;
}

/* Registers with storage alone, from this level; the rest by helpers. */
static bool sysreg(Tr *t)
{
    uint32_t reg = t->insn >> 5 & 0xffff;
    bool read = ta_bit(t, 21);
    unsigned rt = ta_rd(t);
    int off;

    if (reg == SYSREG(3, 3, 4, 2, 0)) { /* NZCV */
        static const uint8_t to[] = {0, 8, 14, 15};
        IrVal p, v;

        if (read) {
            v = ta_i64(t, 0);
            p = ir_ext32u(t->b, ir_xor(t->b, IR_I32, ta_packed(t), ta_i32(t, IRF_C)));
            for (unsigned i = 0; i < 4; i++) {
                v = ir_deposit(t->b, IR_I64, v, ir_extract(t->b, IR_I64, p, to[i], 1, false),
                               28 + i, 1);
            }
            ta_set_x(t, true, rt, v);
        } else {
            v = ir_xor(t->b, IR_I64, ta_x(t, rt), ta_i64(t, PS_C));
            p = ta_i32(t, 0);
            for (unsigned i = 0; i < 4; i++) {
                p = ir_deposit(t->b, IR_I32, p, ir_extract(t->b, IR_I64, v, 28 + i, 1, false),
                               to[i], 1);
            }
            ta_set_flags(t, (IrFlags){.kind = IRF_VALUE, .size = 4, .a = p});
        }
        return true;
    }
    off = a64_sysreg_plain(t->c, reg, !read, ta_el(t));
    if (off >= 0) {
        if (read) {
            ta_set_x(t, true, rt, ir_lde(t->b, IR_I64, IRM_64, off));
        } else {
            ir_ste(t->b, IR_I64, IRM_64, off, ta_x(t, rt));
        }
        return true;
    }
    ta_pack_flags(t);
    if (read) {
        IrVal v = ir_call2(t->b, &a64_hd_mrs, ta_i64(t, reg), ta_i64(t, t->insn));

        ta_set_x(t, true, rt, v);
    } else {
        ir_call3(t->b, &a64_hd_msr, ta_i64(t, reg), ta_i64(t, t->insn), ta_x(t, rt));
        ta_end_exit(t);
    }
    return true;
}

/* DC ZVA: 64 bytes; the first store finds any fault. */
static void dc_zva(Tr *t)
{
    IrVal base = ir_and(t->b, IR_I64, ta_x(t, ta_rd(t)), ta_i64(t, ~63ull)), zero;
    unsigned mem = (ta_memop(t, 4) & ~(IRM_ALIGN | IRM_BE));

    zero = ir_vfromi(t->b, IR_I64, IRVOP_MOVD_FROMI, 0, ta_i64(t, 0), 0);
    for (unsigned i = 0; i < 4; i++) {
        ir_qst(t->b, IR_V128, mem, ta_add_imm(t, base, i * 16), zero);
    }
}

static bool sys(Tr *t)
{
    uint32_t reg = t->insn >> 5 & 0xffff;

    if (ta_bit(t, 21)) {
        return false; /* SYSL: none */
    }
    if (reg == SYSREG(1, 3, 7, 4, 1) && ta_el(t)) {
        dc_zva(t);
        return true;
    }
    ta_pack_flags(t);
    ir_call3(t->b, &a64_hd_sys, ta_i64(t, reg), ta_i64(t, t->insn), ta_x(t, ta_rd(t)));
    if (ta_bits(t, 15, 12) == 8) { /* TLBI changes mappings */
        ta_end_exit(t);
    }
    return true;
}

static bool system_insn(Tr *t)
{
    unsigned op0 = ta_bits(t, 20, 19), op1 = ta_bits(t, 18, 16), crn = ta_bits(t, 15, 12);

    if (op0 == 0) {
        if (ta_bit(t, 21)) {
            return false;
        }
        if (op1 == 3 && crn == 2 && ta_rd(t) == 31) {
            hint(t);
            return true;
        }
        if (op1 == 3 && crn == 3 && ta_rd(t) == 31) {
            return barrier(t);
        }
        return crn == 4 && pstate_imm(t);
    }
    if (op0 == 1) {
        return sys(t);
    }
    return sysreg(t);
}

bool ta_branch(Tr *t)
{
    switch (ta_bits(t, 31, 29)) {
    case 0:
    case 4:
        return b_imm(t);
    case 1:
    case 5:
        return ta_bit(t, 25) ? tbz(t) : cbz(t);
    case 2:
        return !ta_bit(t, 25) && b_cond(t);
    case 6:
        if (ta_bit(t, 25)) {
            return b_reg(t);
        }
        if (ta_bits(t, 25, 24) == 0) {
            return exception(t);
        }
        return ta_bits(t, 24, 22) == 4 && system_insn(t);
    default:
        return false;
    }
}
