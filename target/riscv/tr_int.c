/*
 * Integer instructions: I, M, Zba, Zbb, Zbc, Zbs, Zicond. On RV32 the operations whose result
 * depends on the width are done on words (see cpu.h).
 */
#include "target/riscv/translate.h"

typedef enum {
    A_ADD,
    A_SUB,
    A_SLL,
    A_SLT,
    A_SLTU,
    A_XOR,
    A_SRL,
    A_SRA,
    A_OR,
    A_AND,
    A_ANDN,
    A_ORN,
    A_XNOR,
    A_ROL,
    A_ROR,
    A_MIN,
    A_MAX,
    A_MINU,
    A_MAXU,
    A_SH1ADD,
    A_SH2ADD,
    A_SH3ADD,
    A_BCLR,
    A_BEXT,
    A_BINV,
    A_BSET,
    A_CZEQ,
    A_CZNE,
    A_MUL,
    A_OPS = 0x7f,
    A_W = 0x80,  /* on words */
    A_UW = 0x100 /* first operand: zero-extended word */
} Alu;

static IrVal bit_mask(Tr *t, IrType ty, IrVal n)
{
    return ir_shl(t->b, ty, ir_const(t->b, ty, 1), n);
}

static IrVal sh_add(Tr *t, IrType ty, IrVal a, IrVal b, unsigned n)
{
    return ir_add(t->b, ty, ir_shl(t->b, ty, a, ir_const(t->b, ty, n)), b);
}

static IrVal minmax(Tr *t, IrCond cc, IrVal a, IrVal b)
{
    return ir_movcond(t->b, IR_I64, IR_I64, cc, a, b, a, b);
}

static IrVal alu_op(Tr *t, Alu op, IrType ty, IrVal a, IrVal b)
{
    IrBlock *k = t->b;

    switch (op) {
    case A_ADD:
        return ir_add(k, ty, a, b);
    case A_SUB:
        return ir_sub(k, ty, a, b);
    case A_SLL:
        return ir_shl(k, ty, a, b);
    case A_SRL:
        return ir_shr(k, ty, a, b);
    case A_SRA:
        return ir_sar(k, ty, a, b);
    case A_ROL:
        return ir_rol(k, ty, a, b);
    case A_ROR:
        return ir_ror(k, ty, a, b);
    case A_SH1ADD:
    case A_SH2ADD:
    case A_SH3ADD:
        return sh_add(t, ty, a, b, op - A_SH1ADD + 1);
    case A_BCLR:
        return ir_andn(k, ty, a, bit_mask(t, ty, b));
    case A_BINV:
        return ir_xor(k, ty, a, bit_mask(t, ty, b));
    case A_BSET:
        return ir_or(k, ty, a, bit_mask(t, ty, b));
    case A_BEXT:
        return ir_and(k, ty, ir_shr(k, ty, a, b), ir_const(k, ty, 1));
    case A_MUL:
        return ir_mul(k, ty, a, b);
    /* The same for both widths */
    case A_SLT:
        return ir_setcond(k, IR_I64, IRC_LT, a, b);
    case A_SLTU:
        return ir_setcond(k, IR_I64, IRC_LTU, a, b);
    case A_XOR:
        return ir_xor(k, IR_I64, a, b);
    case A_OR:
        return ir_or(k, IR_I64, a, b);
    case A_AND:
        return ir_and(k, IR_I64, a, b);
    case A_ANDN:
        return ir_andn(k, IR_I64, a, b);
    case A_ORN:
        return ir_or(k, IR_I64, a, ir_not(k, IR_I64, b));
    case A_XNOR:
        return ir_not(k, IR_I64, ir_xor(k, IR_I64, a, b));
    case A_MIN:
        return minmax(t, IRC_LT, a, b);
    case A_MAX:
        return minmax(t, IRC_GT, a, b);
    case A_MINU:
        return minmax(t, IRC_LTU, a, b);
    case A_MAXU:
        return minmax(t, IRC_GTU, a, b);
    case A_CZEQ:
        return ir_movcond(k, IR_I64, IR_I64, IRC_EQ, b, rvt_k(t, 0), rvt_k(t, 0), a);
    default: /* A_CZNE */
        return ir_movcond(k, IR_I64, IR_I64, IRC_NE, b, rvt_k(t, 0), rvt_k(t, 0), a);
    }
}

static bool width_free(Alu op)
{
    return (op >= A_SLT && op <= A_XOR) || (op >= A_OR && op <= A_XNOR) ||
           (op >= A_MIN && op <= A_MAXU) || op == A_CZEQ || op == A_CZNE;
}

static void alu(Tr *t, unsigned aux, IrVal a, IrVal b)
{
    Alu op = aux & A_OPS;
    bool word = (aux & A_W || t->rv32) && !width_free(op);
    IrVal r;

    if (aux & A_UW) {
        a = ir_ext32u(t->b, a);
    }
    r = alu_op(t, op, word ? IR_I32 : IR_I64, a, b);
    rvt_set_x(t, rvt_rd(t), word ? ir_ext32s(t->b, r) : r);
}

static void op_rr(Tr *t, unsigned aux)
{
    alu(t, aux, rvt_x(t, rvt_rs1(t)), rvt_x(t, rvt_rs2(t)));
}

static void op_imm(Tr *t, unsigned aux)
{
    alu(t, aux, rvt_x(t, rvt_rs1(t)), rvt_k(t, rvt_imm_i(t)));
}

static void op_shift(Tr *t, unsigned aux)
{
    unsigned n = t->insn >> 20 & 63;

    if (n > 31 && (t->rv32 || aux & A_W)) {
        rvt_illegal(t, 0);
        return;
    }
    alu(t, aux, rvt_x(t, rvt_rs1(t)), rvt_k(t, n));
}

static void op_slli_uw(Tr *t, unsigned aux)
{
    alu(t, A_SLL | A_UW, rvt_x(t, rvt_rs1(t)), rvt_k(t, t->insn >> 20 & 63));
}

/* ---- one operand ---- */

typedef enum { U_CLZ, U_CTZ, U_CPOP, U_SEXTB, U_SEXTH, U_ZEXTH, U_REV8, U_ORCB } Unary;

static void op_unary(Tr *t, unsigned aux)
{
    bool word = aux & A_W || t->rv32;
    IrType ty = word ? IR_I32 : IR_I64;
    IrVal a = rvt_x(t, rvt_rs1(t)), r;

    switch (aux & A_OPS) {
    case U_CLZ:
        r = ir_clz(t->b, ty, a);
        break;
    case U_CTZ:
        r = ir_ctz(t->b, ty, a);
        break;
    case U_CPOP:
        r = ir_popcnt(t->b, ty, a);
        break;
    case U_SEXTB:
        word = false;
        r = ir_ext8s(t->b, IR_I64, a);
        break;
    case U_SEXTH:
        word = false;
        r = ir_ext16s(t->b, IR_I64, a);
        break;
    case U_ZEXTH:
        word = false;
        r = ir_ext16u(t->b, IR_I64, a);
        break;
    case U_REV8:
        r = ir_bswap(t->b, ty, a);
        break;
    default:
        r = ir_call1(t->b, &rv_hd_orcb, a);
        break;
    }
    rvt_set_x(t, rvt_rd(t), word ? ir_ext32s(t->b, r) : r);
}

/* ---- multiplication, division, carry-less ---- */

typedef enum { MH_S, MH_SU, MH_U } MulHigh;

static void op_mulh(Tr *t, unsigned kind)
{
    IrVal a = rvt_x(t, rvt_rs1(t)), b = rvt_x(t, rvt_rs2(t)), r;

    if (t->rv32) {
        a = kind == MH_U ? ir_ext32u(t->b, a) : a;
        b = kind == MH_S ? b : ir_ext32u(t->b, b);
        r = ir_sar(t->b, IR_I64, ir_mul(t->b, IR_I64, a, b), rvt_k(t, 32));
    } else {
        IrVal lo = ir_temp(t->b, IR_I64);

        r = ir_temp(t->b, IR_I64);
        ir_mul2(t->b, kind == MH_S, IR_I64, lo, r, a, b);
        if (kind == MH_SU) { /* a negative: its unsigned reading is 2^64 too large */
            IrVal neg = ir_and(t->b, IR_I64, ir_sar(t->b, IR_I64, a, rvt_k(t, 63)), b);

            r = ir_sub(t->b, IR_I64, r, neg);
        }
    }
    rvt_set_x(t, rvt_rd(t), r);
}

typedef enum { C_DIV, C_DIVU, C_REM, C_REMU, C_CLMUL, C_CLMULH, C_CLMULR } Call2;

static void op_call2(Tr *t, unsigned aux)
{
    static const IrHelper *const full[] = {&rv_hd_div, &rv_hd_divu, &rv_hd_rem, &rv_hd_remu};
    static const IrHelper *const word[] = {&rv_hd_divw, &rv_hd_divuw, &rv_hd_remw, &rv_hd_remuw};
    IrVal a = rvt_x(t, rvt_rs1(t)), b = rvt_x(t, rvt_rs2(t)), r;
    unsigned op = aux & A_OPS;

    if (op <= C_REMU) {
        r = ir_call2(t->b, (aux & A_W || t->rv32 ? word : full)[op], a, b);
    } else if (op == C_CLMUL) {
        r = rvt_form(t, ir_call2(t->b, &rv_hd_clmul, a, b));
    } else if (t->rv32) {
        r = ir_call2(t->b, &rv_hd_clmulh32, ir_ext32u(t->b, a), ir_ext32u(t->b, b));
        /* bits 63…31 of the product; CLMULH wants 63…32 */
        r = ir_ext32s(t->b, op == C_CLMULH ? ir_shr(t->b, IR_I64, r, rvt_k(t, 1)) : r);
    } else {
        r = ir_call2(t->b, &rv_hd_clmulh, a, b);
        if (op == C_CLMULR) { /* one bit further down */
            IrVal low = ir_call2(t->b, &rv_hd_clmul, a, b);

            r = ir_or(t->b, IR_I64, ir_shl(t->b, IR_I64, r, rvt_k(t, 1)),
                      ir_shr(t->b, IR_I64, low, rvt_k(t, 63)));
        }
    }
    rvt_set_x(t, rvt_rd(t), r);
}

/* ---- constants, jumps, branches ---- */

static void op_lui(Tr *t, unsigned aux)
{
    rvt_set_x(t, rvt_rd(t), rvt_k(t, (int64_t)(int32_t)(t->insn & 0xfffff000)));
}

static void op_auipc(Tr *t, unsigned aux)
{
    uint64_t v = t->pc + (int64_t)(int32_t)(t->insn & 0xfffff000);

    rvt_set_x(t, rvt_rd(t), rvt_k(t, rv_sext(t->c, v)));
}

/* Without C a target must be a multiple of four. */
static bool target_ok(Tr *t, uint64_t to)
{
    if (to & 2 && !rv_has(t->c, RVE_C)) {
        ir_call2(t->b, &rv_hd_raise, rvt_k(t, EXC_INSN_MISALIGNED), rvt_k(t, to));
        return false;
    }
    return true;
}

static void op_jal(Tr *t, unsigned aux)
{
    uint32_t i = t->insn;
    int64_t off = (int32_t)((i & 0x80000000) | (i & 0xff000) << 11 | (i >> 20 & 1) << 22 |
                            (i >> 21 & 0x3ff) << 12) >>
                  11;
    uint64_t to = rv_zext(t->c, t->pc + off);

    t->ended = true;
    if (target_ok(t, to)) {
        rvt_set_x(t, rvt_rd(t), rvt_k(t, rv_sext(t->c, t->next)));
        rvt_goto(t, to);
    }
}

static void op_jalr(Tr *t, unsigned aux)
{
    unsigned rd = rvt_rd(t), rs1 = rvt_rs1(t);
    bool link = rd == 1 || rd == 5, ret = (rs1 == 1 || rs1 == 5) && !link;
    IrVal to = ir_add(t->b, IR_I64, rvt_x(t, rs1), rvt_k(t, rvt_imm_i(t)));

    to = ir_and(t->b, IR_I64, to, rvt_k(t, ~1ull));
    if (!rv_has(t->c, RVE_C)) {
        unsigned ok = ir_label(t->b);
        IrVal keep = ir_local(t->b, IR_I64);

        ir_mov(t->b, IR_I64, keep, to);
        ir_brcond(t->b, IR_I64, IRC_TSTZ, keep, rvt_k(t, 2), ok);
        ir_call2(t->b, &rv_hd_raise, rvt_k(t, EXC_INSN_MISALIGNED), keep);
        ir_place(t->b, ok);
        to = keep;
    } else if (rd && to == rvt_xg(rd)) {
        to = ir_copy(t->b, IR_I64, to);
    }
    rvt_set_x(t, rd, rvt_k(t, rv_sext(t->c, t->next)));
    rvt_goto_ind(t, to, link ? IRJ_CALL : ret ? IRJ_RET : IRJ_JUMP);
}

static void op_branch(Tr *t, unsigned cc)
{
    uint32_t i = t->insn;
    int64_t off = (int32_t)((i & 0x80000000) | (i >> 7 & 1) << 30 | (i >> 25 & 0x3f) << 24 |
                            (i >> 8 & 15) << 20) >>
                  19;
    uint64_t to = rv_zext(t->c, t->pc + off);
    unsigned taken = ir_label(t->b);

    t->ended = true;
    ir_brcond(t->b, IR_I64, cc, rvt_x(t, rvt_rs1(t)), rvt_x(t, rvt_rs2(t)), taken);
    ir_jmp(t->b, rv_zext(t->c, t->next));
    ir_place(t->b, taken);
    if (target_ok(t, to)) {
        ir_jmp(t->b, to);
    }
}

/* ---- memory ---- */

static void op_load(Tr *t, unsigned mem)
{
    IrVal v = ir_qld(t->b, IR_I64, mem | rvt_memop(t, 0), rvt_addr(t, rvt_rs1(t), rvt_imm_i(t)));

    rvt_set_x(t, rvt_rd(t), v);
}

static void op_store(Tr *t, unsigned mem)
{
    ir_qst(t->b, IR_I64, mem | rvt_memop(t, 0), rvt_addr(t, rvt_rs1(t), rvt_imm_s(t)),
           rvt_x(t, rvt_rs2(t)));
}

static void op_fence(Tr *t, unsigned aux)
{
    /* Hosts keep all orders but that of a store before a load. */
    if (t->insn >> 24 & 1 && t->insn >> 20 & 2 && t->insn >> 28 != 8) {
        ir_fence(t->b);
    } else if ((t->insn >> 24 & 5) && (t->insn >> 20 & 10)) {
        ir_fence(t->b);
    }
}

/* Self-modified code is found by itself; what follows is decoded anew from memory. */
static void op_fence_i(Tr *t, unsigned aux)
{
    rvt_exit_next(t);
}

static void op_nothing(Tr *t, unsigned aux)
{
}

/* ---- rows ---- */

static const TrRow load_rows[] = {
    {TR_I3(0x03, 0), RVE_NONE, 0, op_load, IRM_8 | IRM_SIGN},
    {TR_I3(0x03, 1), RVE_NONE, 0, op_load, IRM_16 | IRM_SIGN},
    {TR_I3(0x03, 2), RVE_NONE, 0, op_load, IRM_32 | IRM_SIGN},
    {TR_I3(0x03, 3), RVE_NONE, 64, op_load, IRM_64},
    {TR_I3(0x03, 4), RVE_NONE, 0, op_load, IRM_8},
    {TR_I3(0x03, 5), RVE_NONE, 0, op_load, IRM_16},
    {TR_I3(0x03, 6), RVE_NONE, 64, op_load, IRM_32},
    {0},
};
static const TrRow store_rows[] = {
    {TR_I3(0x23, 0), RVE_NONE, 0, op_store, IRM_8},
    {TR_I3(0x23, 1), RVE_NONE, 0, op_store, IRM_16},
    {TR_I3(0x23, 2), RVE_NONE, 0, op_store, IRM_32},
    {TR_I3(0x23, 3), RVE_NONE, 64, op_store, IRM_64},
    {0},
};
static const TrRow fence_rows[] = {
    {TR_I3(0x0f, 0), RVE_NONE, 0, op_fence, 0},
    {TR_I3(0x0f, 1), RVE_NONE, 0, op_fence_i, 0},
    {0},
};
static const TrRow imm_rows[] = {
    {TR_I3(0x13, 0), RVE_NONE, 0, op_imm, A_ADD},
    {TR_I3(0x13, 2), RVE_NONE, 0, op_imm, A_SLT},
    {TR_I3(0x13, 3), RVE_NONE, 0, op_imm, A_SLTU},
    {TR_I3(0x13, 4), RVE_NONE, 0, op_imm, A_XOR},
    {0xfff0707f, 0x00006013, RVE_ZICBOP, 0, op_nothing, 0}, /* prefetch.i: ori x0 */
    {TR_I3(0x13, 6), RVE_NONE, 0, op_imm, A_OR},
    {TR_I3(0x13, 7), RVE_NONE, 0, op_imm, A_AND},
    {TR_SH6(0x13, 1, 0x00), RVE_NONE, 0, op_shift, A_SLL},
    {TR_SH6(0x13, 5, 0x00), RVE_NONE, 0, op_shift, A_SRL},
    {TR_SH6(0x13, 5, 0x10), RVE_NONE, 0, op_shift, A_SRA},
    {TR_SH6(0x13, 5, 0x18), RVE_ZBB, 0, op_shift, A_ROR},
    {TR_SH6(0x13, 1, 0x12), RVE_ZBS, 0, op_shift, A_BCLR},
    {TR_SH6(0x13, 5, 0x12), RVE_ZBS, 0, op_shift, A_BEXT},
    {TR_SH6(0x13, 1, 0x1a), RVE_ZBS, 0, op_shift, A_BINV},
    {TR_SH6(0x13, 1, 0x0a), RVE_ZBS, 0, op_shift, A_BSET},
    {TR_UN(0x13, 1, 0x600), RVE_ZBB, 0, op_unary, U_CLZ},
    {TR_UN(0x13, 1, 0x601), RVE_ZBB, 0, op_unary, U_CTZ},
    {TR_UN(0x13, 1, 0x602), RVE_ZBB, 0, op_unary, U_CPOP},
    {TR_UN(0x13, 1, 0x604), RVE_ZBB, 0, op_unary, U_SEXTB},
    {TR_UN(0x13, 1, 0x605), RVE_ZBB, 0, op_unary, U_SEXTH},
    {TR_UN(0x13, 5, 0x287), RVE_ZBB, 0, op_unary, U_ORCB},
    {TR_UN(0x13, 5, 0x6b8), RVE_ZBB, 64, op_unary, U_REV8},
    {TR_UN(0x13, 5, 0x698), RVE_ZBB, 32, op_unary, U_REV8},
    {0},
};
static const TrRow imm32_rows[] = {
    {TR_I3(0x1b, 0), RVE_NONE, 64, op_imm, A_ADD | A_W},
    {TR_SH6(0x1b, 1, 0x00), RVE_NONE, 64, op_shift, A_SLL | A_W},
    {TR_SH6(0x1b, 5, 0x00), RVE_NONE, 64, op_shift, A_SRL | A_W},
    {TR_SH6(0x1b, 5, 0x10), RVE_NONE, 64, op_shift, A_SRA | A_W},
    {TR_SH6(0x1b, 5, 0x18), RVE_ZBB, 64, op_shift, A_ROR | A_W},
    {TR_SH6(0x1b, 1, 0x02), RVE_ZBA, 64, op_slli_uw, 0},
    {TR_UN(0x1b, 1, 0x600), RVE_ZBB, 64, op_unary, U_CLZ | A_W},
    {TR_UN(0x1b, 1, 0x601), RVE_ZBB, 64, op_unary, U_CTZ | A_W},
    {TR_UN(0x1b, 1, 0x602), RVE_ZBB, 64, op_unary, U_CPOP | A_W},
    {0},
};
static const TrRow op_rows[] = {
    {TR_R(0x33, 0, 0x00), RVE_NONE, 0, op_rr, A_ADD},
    {TR_R(0x33, 0, 0x20), RVE_NONE, 0, op_rr, A_SUB},
    {TR_R(0x33, 1, 0x00), RVE_NONE, 0, op_rr, A_SLL},
    {TR_R(0x33, 2, 0x00), RVE_NONE, 0, op_rr, A_SLT},
    {TR_R(0x33, 3, 0x00), RVE_NONE, 0, op_rr, A_SLTU},
    {TR_R(0x33, 4, 0x00), RVE_NONE, 0, op_rr, A_XOR},
    {TR_R(0x33, 5, 0x00), RVE_NONE, 0, op_rr, A_SRL},
    {TR_R(0x33, 5, 0x20), RVE_NONE, 0, op_rr, A_SRA},
    {TR_R(0x33, 6, 0x00), RVE_NONE, 0, op_rr, A_OR},
    {TR_R(0x33, 7, 0x00), RVE_NONE, 0, op_rr, A_AND},
    {TR_R(0x33, 0, 0x01), RVE_M, 0, op_rr, A_MUL},
    {TR_R(0x33, 1, 0x01), RVE_M, 0, op_mulh, MH_S},
    {TR_R(0x33, 2, 0x01), RVE_M, 0, op_mulh, MH_SU},
    {TR_R(0x33, 3, 0x01), RVE_M, 0, op_mulh, MH_U},
    {TR_R(0x33, 4, 0x01), RVE_M, 0, op_call2, C_DIV},
    {TR_R(0x33, 5, 0x01), RVE_M, 0, op_call2, C_DIVU},
    {TR_R(0x33, 6, 0x01), RVE_M, 0, op_call2, C_REM},
    {TR_R(0x33, 7, 0x01), RVE_M, 0, op_call2, C_REMU},
    {TR_R(0x33, 7, 0x20), RVE_ZBB, 0, op_rr, A_ANDN},
    {TR_R(0x33, 6, 0x20), RVE_ZBB, 0, op_rr, A_ORN},
    {TR_R(0x33, 4, 0x20), RVE_ZBB, 0, op_rr, A_XNOR},
    {TR_R(0x33, 4, 0x05), RVE_ZBB, 0, op_rr, A_MIN},
    {TR_R(0x33, 5, 0x05), RVE_ZBB, 0, op_rr, A_MINU},
    {TR_R(0x33, 6, 0x05), RVE_ZBB, 0, op_rr, A_MAX},
    {TR_R(0x33, 7, 0x05), RVE_ZBB, 0, op_rr, A_MAXU},
    {TR_R(0x33, 1, 0x30), RVE_ZBB, 0, op_rr, A_ROL},
    {TR_R(0x33, 5, 0x30), RVE_ZBB, 0, op_rr, A_ROR},
    {TR_UN(0x33, 4, 0x080), RVE_ZBB, 32, op_unary, U_ZEXTH},
    {TR_R(0x33, 2, 0x10), RVE_ZBA, 0, op_rr, A_SH1ADD},
    {TR_R(0x33, 4, 0x10), RVE_ZBA, 0, op_rr, A_SH2ADD},
    {TR_R(0x33, 6, 0x10), RVE_ZBA, 0, op_rr, A_SH3ADD},
    {TR_R(0x33, 1, 0x24), RVE_ZBS, 0, op_rr, A_BCLR},
    {TR_R(0x33, 5, 0x24), RVE_ZBS, 0, op_rr, A_BEXT},
    {TR_R(0x33, 1, 0x34), RVE_ZBS, 0, op_rr, A_BINV},
    {TR_R(0x33, 1, 0x14), RVE_ZBS, 0, op_rr, A_BSET},
    {TR_R(0x33, 5, 0x07), RVE_ZICOND, 0, op_rr, A_CZEQ},
    {TR_R(0x33, 7, 0x07), RVE_ZICOND, 0, op_rr, A_CZNE},
    {TR_R(0x33, 1, 0x05), RVE_ZBC, 0, op_call2, C_CLMUL},
    {TR_R(0x33, 2, 0x05), RVE_ZBC, 0, op_call2, C_CLMULR},
    {TR_R(0x33, 3, 0x05), RVE_ZBC, 0, op_call2, C_CLMULH},
    {0},
};
static const TrRow op32_rows[] = {
    {TR_R(0x3b, 0, 0x00), RVE_NONE, 64, op_rr, A_ADD | A_W},
    {TR_R(0x3b, 0, 0x20), RVE_NONE, 64, op_rr, A_SUB | A_W},
    {TR_R(0x3b, 1, 0x00), RVE_NONE, 64, op_rr, A_SLL | A_W},
    {TR_R(0x3b, 5, 0x00), RVE_NONE, 64, op_rr, A_SRL | A_W},
    {TR_R(0x3b, 5, 0x20), RVE_NONE, 64, op_rr, A_SRA | A_W},
    {TR_R(0x3b, 0, 0x01), RVE_M, 64, op_rr, A_MUL | A_W},
    {TR_R(0x3b, 4, 0x01), RVE_M, 64, op_call2, C_DIV | A_W},
    {TR_R(0x3b, 5, 0x01), RVE_M, 64, op_call2, C_DIVU | A_W},
    {TR_R(0x3b, 6, 0x01), RVE_M, 64, op_call2, C_REM | A_W},
    {TR_R(0x3b, 7, 0x01), RVE_M, 64, op_call2, C_REMU | A_W},
    {TR_R(0x3b, 1, 0x30), RVE_ZBB, 64, op_rr, A_ROL | A_W},
    {TR_R(0x3b, 5, 0x30), RVE_ZBB, 64, op_rr, A_ROR | A_W},
    {TR_UN(0x3b, 4, 0x080), RVE_ZBB, 64, op_unary, U_ZEXTH},
    {TR_R(0x3b, 0, 0x04), RVE_ZBA, 64, op_rr, A_ADD | A_UW},
    {TR_R(0x3b, 2, 0x10), RVE_ZBA, 64, op_rr, A_SH1ADD | A_UW},
    {TR_R(0x3b, 4, 0x10), RVE_ZBA, 64, op_rr, A_SH2ADD | A_UW},
    {TR_R(0x3b, 6, 0x10), RVE_ZBA, 64, op_rr, A_SH3ADD | A_UW},
    {0},
};
static const TrRow lui_rows[] = {{TR_OP(0x37), RVE_NONE, 0, op_lui, 0}, {0}};
static const TrRow auipc_rows[] = {{TR_OP(0x17), RVE_NONE, 0, op_auipc, 0}, {0}};
static const TrRow jal_rows[] = {{TR_OP(0x6f), RVE_NONE, 0, op_jal, 0}, {0}};
static const TrRow jalr_rows[] = {{TR_I3(0x67, 0), RVE_NONE, 0, op_jalr, 0}, {0}};
static const TrRow branch_rows[] = {
    {TR_I3(0x63, 0), RVE_NONE, 0, op_branch, IRC_EQ},
    {TR_I3(0x63, 1), RVE_NONE, 0, op_branch, IRC_NE},
    {TR_I3(0x63, 4), RVE_NONE, 0, op_branch, IRC_LT},
    {TR_I3(0x63, 5), RVE_NONE, 0, op_branch, IRC_GE},
    {TR_I3(0x63, 6), RVE_NONE, 0, op_branch, IRC_LTU},
    {TR_I3(0x63, 7), RVE_NONE, 0, op_branch, IRC_GEU},
    {0},
};

const TrRow *const rv_tr_int_rows[32] = {
    [0x03 >> 2] = load_rows, [0x23 >> 2] = store_rows, [0x0f >> 2] = fence_rows,
    [0x13 >> 2] = imm_rows,  [0x1b >> 2] = imm32_rows, [0x33 >> 2] = op_rows,
    [0x3b >> 2] = op32_rows, [0x37 >> 2] = lui_rows,   [0x17 >> 2] = auipc_rows,
    [0x6f >> 2] = jal_rows,  [0x67 >> 2] = jalr_rows,  [0x63 >> 2] = branch_rows,
};
