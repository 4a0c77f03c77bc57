/* Atomics, system instructions, CSR access, cache block operations. */
#include "target/riscv/translate.h"

/* ---- A ---- */

static IrVal amo_addr(Tr *t)
{
    return rvt_addr(t, rvt_rs1(t), 0);
}

static unsigned amo_mem(const Tr *t)
{
    return rvt_memop(t, t->insn >> 12 & 3) | IRM_ALIGN;
}

static void op_lr(Tr *t, unsigned aux)
{
    IrVal a = ir_copy(t->b, IR_I64, amo_addr(t));
    IrVal v = ir_qld(t->b, IR_I64, amo_mem(t) | IRM_SIGN, a);

    ir_ste(t->b, IR_I64, IRM_64, offsetof(RiscvCpu, res_addr), a);
    ir_ste(t->b, IR_I64, IRM_64, offsetof(RiscvCpu, res_val), v);
    rvt_set_x(t, rvt_rd(t), v);
}

/* Succeeds if the place still holds what LR saw there. */
static void op_sc(Tr *t, unsigned aux)
{
    IrBlock *b = t->b;
    unsigned fail = ir_label(b), done = ir_label(b), size = t->insn >> 12 & 3;
    IrVal a = ir_local(b, IR_I64), result = ir_local(b, IR_I64), old, seen;

    ir_mov(b, IR_I64, a, amo_addr(t));
    ir_mov(b, IR_I64, result, rvt_k(t, 1));
    ir_brcond(b, IR_I64, IRC_NE, a, ir_lde(b, IR_I64, IRM_64, offsetof(RiscvCpu, res_addr)), fail);
    seen = ir_lde(b, IR_I64, size == 2 ? IRM_32 : IRM_64, offsetof(RiscvCpu, res_val));
    old = ir_qatomic(b, IR_I64, IRA_CMPXCHG, amo_mem(t), a, rvt_x(t, rvt_rs2(t)), seen);
    seen = ir_lde(b, IR_I64, size == 2 ? IRM_32 : IRM_64, offsetof(RiscvCpu, res_val));
    ir_mov(b, IR_I64, result, ir_setcond(b, IR_I64, IRC_NE, old, seen));
    ir_br(b, done);
    ir_place(b, fail);
    /* An access that would fault does so also without a reservation. */
    ir_place(b, done);
    ir_ste(b, IR_I64, IRM_64, offsetof(RiscvCpu, res_addr), rvt_k(t, UINT64_MAX));
    rvt_set_x(t, rvt_rd(t), result);
}

static void op_amo(Tr *t, unsigned op)
{
    IrVal v = rvt_x(t, rvt_rs2(t)), old;

    old = ir_qatomic(t->b, IR_I64, op, amo_mem(t), amo_addr(t), v, 0);
    rvt_set_x(t, rvt_rd(t), (t->insn >> 12 & 3) == 2 ? ir_ext32s(t->b, old) : old);
}

static void op_amo_minmax(Tr *t, unsigned aux)
{
    unsigned bytes = 1u << (t->insn >> 12 & 3);

    rvt_set_x(t, rvt_rd(t),
              ir_call4(t->b, &rv_hd_amo_minmax, amo_addr(t), rvt_x(t, rvt_rs2(t)),
                       rvt_k(t, t->insn >> 27 | bytes << 8), rvt_k(t, t->mmu)));
}

/* ---- system ---- */

static void op_ecall(Tr *t, unsigned aux)
{
    ir_exit(t->b, ir_call1(t->b, &rv_hd_ecall, rvt_k(t, t->pc)));
    t->ended = true;
}

static void op_ebreak(Tr *t, unsigned aux)
{
    ir_call2(t->b, &rv_hd_raise, rvt_k(t, EXC_BREAK), rvt_k(t, rv_sext(t->c, t->pc)));
    t->ended = true;
}

static void op_xret(Tr *t, unsigned aux)
{
    ir_exit(t->b, ir_call1(t->b, aux == PRV_M ? &rv_hd_mret : &rv_hd_sret, rvt_k(t, t->raw)));
    t->ended = true;
}

static void op_wfi(Tr *t, unsigned aux)
{
    ir_call2(t->b, &rv_hd_wfi, rvt_k(t, t->raw), rvt_k(t, rv_zext(t->c, t->next)));
    t->ended = true;
}

static void op_wrs(Tr *t, unsigned aux)
{
    ir_call1(t->b, &rv_hd_wrs, rvt_k(t, rv_zext(t->c, t->next)));
    t->ended = true;
}

static void op_sfence(Tr *t, unsigned aux)
{
    ir_call3(t->b, &rv_hd_sfence, rvt_k(t, t->raw), rvt_x(t, rvt_rs1(t)), rvt_x(t, rvt_rs2(t)));
    rvt_exit_next(t);
}

/* CSRs that are plain storage for who may see them: no call, no exit. */
static const struct {
    uint16_t csr;
    uint8_t prv;
    uint32_t off;
    uint64_t mask; /* writable bits */
} plain[] = {
    {0x140, PRV_S, offsetof(RiscvCpu, sscratch), ~0ull},
    {0x141, PRV_S, offsetof(RiscvCpu, sepc), ~1ull},
    {0x142, PRV_S, offsetof(RiscvCpu, scause), ~0ull},
    {0x143, PRV_S, offsetof(RiscvCpu, stval), ~0ull},
    {0x340, PRV_M, offsetof(RiscvCpu, mscratch), ~0ull},
    {0x341, PRV_M, offsetof(RiscvCpu, mepc), ~1ull},
    {0x342, PRV_M, offsetof(RiscvCpu, mcause), ~0ull},
    {0x343, PRV_M, offsetof(RiscvCpu, mtval), ~0ull},
};

static bool plain_csr(Tr *t, unsigned csr, IrVal val, unsigned op, bool write)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(plain); i++) {
        if (plain[i].csr != csr || (t->mode & RM_PRV) < plain[i].prv ||
            (csr < 0x300 && !rv_has(t->c, RVE_S)) || ((csr & 15) == 1 && !rv_has(t->c, RVE_C))) {
            continue;
        }
        IrVal old = ir_lde(t->b, IR_I64, IRM_64, plain[i].off), now = val;

        if (write) {
            now = op == 1 ? ir_or(t->b, IR_I64, old, val) : now;
            now = op == 2 ? ir_andn(t->b, IR_I64, old, val) : now;
            now = ir_and(t->b, IR_I64, now, rvt_k(t, plain[i].mask));
            ir_ste(t->b, IR_I64, IRM_64, plain[i].off, now);
        }
        rvt_set_x(t, rvt_rd(t), old);
        return true;
    }
    return false;
}

static void op_csr(Tr *t, unsigned op)
{
    unsigned csr = t->insn >> 20, rs1 = rvt_rs1(t);
    bool write = op == 0 || rs1;
    IrVal val = t->insn >> 14 & 1 ? rvt_k(t, rs1) : rvt_x(t, rs1), old;

    if (plain_csr(t, csr, val, op, write)) {
        return;
    }
    if (!write) {
        rvt_set_x(t, rvt_rd(t), ir_call2(t->b, &rv_hd_csr_read, rvt_k(t, csr), rvt_k(t, t->raw)));
        return;
    }
    old = ir_call4(t->b, &rv_hd_csr_rw, rvt_k(t, csr), val, rvt_k(t, op), rvt_k(t, t->raw));
    rvt_set_x(t, rvt_rd(t), old);
    if (csr != 1) { /* fflags: nothing else follows from it */
        rvt_exit_next(t);
    }
}

/* ---- cache blocks ---- */

static void op_cbo(Tr *t, unsigned aux)
{
    ir_call2(t->b, &rv_hd_cbo, rvt_k(t, t->raw), rvt_addr(t, rvt_rs1(t), 0));
}

/* ---- rows ---- */

#define AMO(f5, fn, aux)                                                                           \
    {0xf800707f, 0x202f | (uint32_t)(f5) << 27, RVE_A, 0, fn, aux},                                \
    {                                                                                              \
        0xf800707f, 0x302f | (uint32_t)(f5) << 27, RVE_A, 64, fn, aux                              \
    }

static const TrRow amo_rows[] = {
    {0xf9f0707f, 0x1000202f, RVE_A, 0, op_lr, 0},
    {0xf9f0707f, 0x1000302f, RVE_A, 64, op_lr, 0},
    AMO(0x03, op_sc, 0),
    AMO(0x01, op_amo, IRA_XCHG),
    AMO(0x00, op_amo, IRA_ADD),
    AMO(0x04, op_amo, IRA_XOR),
    AMO(0x0c, op_amo, IRA_AND),
    AMO(0x08, op_amo, IRA_OR),
    AMO(0x10, op_amo_minmax, 0),
    AMO(0x14, op_amo_minmax, 0),
    AMO(0x18, op_amo_minmax, 0),
    AMO(0x1c, op_amo_minmax, 0),
    {0},
};

static const TrRow sys_rows[] = {
    {~0u, 0x00000073, RVE_NONE, 0, op_ecall, 0},
    {~0u, 0x00100073, RVE_NONE, 0, op_ebreak, 0},
    {~0u, 0x30200073, RVE_NONE, 0, op_xret, PRV_M},
    {~0u, 0x10200073, RVE_S, 0, op_xret, PRV_S},
    {~0u, 0x10500073, RVE_NONE, 0, op_wfi, 0},
    {~0u, 0x00d00073, RVE_ZAWRS, 0, op_wrs, 0},
    {~0u, 0x01d00073, RVE_ZAWRS, 0, op_wrs, 0},
    {0xfe007fff, 0x12000073, RVE_S, 0, op_sfence, 0},
    {0xfe007fff, 0x16000073, RVE_SVINVAL, 0, op_sfence, 0},
    {~0u, 0x18000073, RVE_SVINVAL, 0, op_sfence, 0},
    {~0u, 0x18100073, RVE_SVINVAL, 0, op_sfence, 0},
    {TR_I3(0x73, 1), RVE_NONE, 0, op_csr, 0},
    {TR_I3(0x73, 2), RVE_NONE, 0, op_csr, 1},
    {TR_I3(0x73, 3), RVE_NONE, 0, op_csr, 2},
    {TR_I3(0x73, 5), RVE_NONE, 0, op_csr, 0},
    {TR_I3(0x73, 6), RVE_NONE, 0, op_csr, 1},
    {TR_I3(0x73, 7), RVE_NONE, 0, op_csr, 2},
    {0},
};

static const TrRow cbo_rows[] = {
    {0xfff07fff, 0x0000200f, RVE_ZICBOM, 0, op_cbo, 0}, /* cbo.inval */
    {0xfff07fff, 0x0010200f, RVE_ZICBOM, 0, op_cbo, 0}, /* cbo.clean */
    {0xfff07fff, 0x0020200f, RVE_ZICBOM, 0, op_cbo, 0}, /* cbo.flush */
    {0xfff07fff, 0x0040200f, RVE_ZICBOZ, 0, op_cbo, 0}, /* cbo.zero */
    {0},
};

const TrRow *const rv_tr_sys_rows[32] = {
    [0x2f >> 2] = amo_rows, [0x73 >> 2] = sys_rows, [0x0f >> 2] = cbo_rows};
