/* The RISC-V decoder's inside: what its files share. */
#ifndef RHEA_TARGET_RISCV_TRANSLATE_H
#define RHEA_TARGET_RISCV_TRANSLATE_H

#include "target/riscv/cpu.h"
#include "target/riscv/helpers.h"

typedef struct Tr {
    IrBlock *b;
    RiscvCpu *c;
    uint64_t mode;
    uint64_t pc, next; /* of this and of the next instruction */
    uint32_t insn;     /* 32-bit form; a compressed one is expanded */
    uint32_t raw;      /* as fetched, for mtval */
    unsigned mmu;      /* of data */
    bool rv32, ended, fetch_fault;
    uint64_t fault_addr;
    /* What the block knows of registers */
    uint32_t known; /* bit n: x[n] is val[n] */
    uint64_t val[32];
    uint32_t boxed; /* bit n: f[n] is a boxed single */
    bool fs_dirty;  /* mstatus.FS is dirty from here on */
} Tr;

/* One row of the decoder: instruction & mask == match, if the hart has @ext. */
typedef struct TrRow {
    uint32_t mask, match;
    uint8_t ext;
    uint8_t only; /* 0, 32 or 64 */
    void (*fn)(Tr *t, unsigned aux);
    uint32_t aux;
} TrRow;

/* Rows of major opcode (insn >> 2 & 31), ended by fn == NULL. NULL: none. */
extern const TrRow *const rv_tr_int_rows[32], *const rv_tr_fp_rows[32], *const rv_tr_sys_rows[32];
/* The 32-bit form of a compressed instruction; 0: illegal. */
uint32_t rv_expand(const RiscvCpu *c, uint16_t insn);

#define TR_I3(op, f3) 0x707f, ((op) | (f3) << 12)
#define TR_OP(op) 0x7f, (op)
#define TR_R(op, f3, f7) 0xfe00707f, ((op) | (f3) << 12 | (uint32_t)(f7) << 25)
#define TR_SH6(op, f3, f6) 0xfc00707f, ((op) | (f3) << 12 | (uint32_t)(f6) << 26)
#define TR_UN(op, f3, f12) 0xfff0707f, ((op) | (f3) << 12 | (uint32_t)(f12) << 20)

static inline unsigned rvt_rd(const Tr *t)
{
    return t->insn >> 7 & 31;
}
static inline unsigned rvt_rs1(const Tr *t)
{
    return t->insn >> 15 & 31;
}
static inline unsigned rvt_rs2(const Tr *t)
{
    return t->insn >> 20 & 31;
}
static inline int64_t rvt_imm_i(const Tr *t)
{
    return (int32_t)t->insn >> 20;
}
static inline int64_t rvt_imm_s(const Tr *t)
{
    return ((int32_t)t->insn >> 25) * 32 + (int)(t->insn >> 7 & 31);
}
static inline IrVal rvt_k(Tr *t, uint64_t v)
{
    return ir_const(t->b, IR_I64, v);
}
static inline IrVal rvt_xg(unsigned n)
{
    return ir_global(n);
}
static inline IrVal rvt_fg(unsigned n)
{
    return ir_global(G_F0 + n);
}

/* x[n] as it is now; a constant where the block knows it. */
IrVal rvt_x(Tr *t, unsigned n);
/* x[n] = v, in the hart's form; not for faulting instructions before they have. */
void rvt_set_x(Tr *t, unsigned n, IrVal v);
/* Sign-extend to the register form on RV32. */
IrVal rvt_form(Tr *t, IrVal v);
/* Effective address x[n] + imm */
IrVal rvt_addr(Tr *t, unsigned n, int64_t imm);
unsigned rvt_memop(const Tr *t, unsigned log2);
void rvt_illegal(Tr *t, unsigned aux);
/* End the block: go on at a known pc; at pc v; leave for the dispatcher at the next insn. */
void rvt_goto(Tr *t, uint64_t pc);
void rvt_goto_ind(Tr *t, IrVal pc, IrHint hint);
void rvt_exit_next(Tr *t);

#endif
