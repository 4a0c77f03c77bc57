/*
 * The A64 decoder's state and what its parts share. DDI 0487, chapter C4 (encodings).
 *
 * translate.c  block loop, registers, flags, ways out    tr_imm.c  data processing, immediate
 * tr_reg.c     data processing, register                 tr_ls.c   loads and stores
 * tr_atomic.c  exclusives, atomics, ordered accesses     tr_br.c   branches, exceptions, system
 * tr_fp.c      scalar floating point                     tr_simd.c Advanced SIMD
 */
#ifndef RHEA_TARGET_ARM64_TRANSLATE_H
#define RHEA_TARGET_ARM64_TRANSLATE_H

#include "accel/jit/ir.h"
#include "target/arm64/cpu.h"
#include <stdbool.h>
#include <stdint.h>

/* IR globals, in the order of a64_jit_globals[]. */
enum { AG_X0, AG_SP = 31, AG_CC, AG_V0, AG_COUNT = AG_V0 + 32 };

typedef struct Tr {
    IrBlock *b;
    Arm64Cpu *c;
    uint64_t mode; /* M_* */
    uint64_t pc;   /* of this instruction */
    uint32_t insn;
    IrFlags flags; /* how NZCV is to be computed now */
    bool ended;    /* the block's end was emitted */
    bool single;   /* the block has one instruction and ends by EXIT */
    uint8_t side_exits;
} Tr;

/* Bits @hi…@lo of the instruction. */
static inline uint32_t ta_bits(const Tr *t, unsigned hi, unsigned lo)
{
    return t->insn >> lo & (uint32_t)((1ull << (hi - lo + 1)) - 1);
}
static inline bool ta_bit(const Tr *t, unsigned n)
{
    return t->insn >> n & 1;
}
static inline int64_t ta_sbits(const Tr *t, unsigned hi, unsigned lo)
{
    return (int64_t)((uint64_t)t->insn << (63 - hi)) >> (63 - hi + lo);
}
static inline unsigned ta_rd(const Tr *t)
{
    return t->insn & 31;
}
static inline unsigned ta_rn(const Tr *t)
{
    return t->insn >> 5 & 31;
}
static inline unsigned ta_rm(const Tr *t)
{
    return t->insn >> 16 & 31;
}
static inline unsigned ta_ra(const Tr *t)
{
    return t->insn >> 10 & 31;
}
static inline unsigned ta_el(const Tr *t)
{
    return t->mode & M_EL;
}
static inline IrType ta_ty(bool sf)
{
    return sf ? IR_I64 : IR_I32;
}
IrVal ta_i32(Tr *t, uint32_t v);
IrVal ta_i64(Tr *t, uint64_t v);
IrVal ta_imm(Tr *t, bool sf, uint64_t v);

/* Registers by number; 31 is zero (x), the stack pointer (xsp). Used up at once: globals. */
IrVal ta_x(Tr *t, unsigned r);
IrVal ta_xsp(Tr *t, unsigned r);
/* Write; 32-bit values are zero-extended. */
void ta_set_x(Tr *t, bool sf, unsigned r, IrVal v);
void ta_set_xsp(Tr *t, bool sf, unsigned r, IrVal v);
IrVal ta_v(unsigned r);
void ta_set_v(Tr *t, unsigned r, IrVal v);
/* @v as a value that stays when the global changes. */
IrVal ta_stable(Tr *t, IrType ty, IrVal v);

/* Flags */
void ta_set_flags(Tr *t, IrFlags f);
void ta_pack_flags(Tr *t);
IrVal ta_packed(Tr *t); /* I32 */
/* The condition @cond (0…13) as one of the IR on t->flags, which may become a packed value. */
IrFlagCond ta_cond(Tr *t, unsigned cond);
IrVal ta_borrow(Tr *t);               /* !C as I32 0 or 1 */
IrVal ta_nzcv_const(Tr *t, unsigned); /* four bits NZCV, packed */
/* x + y, x - y with flags set. */
IrVal ta_adds(Tr *t, bool sf, IrVal x, IrVal y);
IrVal ta_subs(Tr *t, bool sf, IrVal x, IrVal y, bool want);

/* Ends */
void ta_goto(Tr *t, uint64_t pc);
void ta_goto_ind(Tr *t, IrVal pc, IrHint hint);
void ta_exit(Tr *t, IrVal pc);
void ta_end_exit(Tr *t); /* after this instruction, through the dispatcher */
void ta_exc(Tr *t, uint32_t esr);
void ta_undef(Tr *t);
/* Emits the trap and returns false when FP instructions are not enabled. */
bool ta_fp_ok(Tr *t);

/* Guest memory */
unsigned ta_mmu(const Tr *t);
unsigned ta_memop(const Tr *t, unsigned log2);
IrVal ta_add_imm(Tr *t, IrVal base, int64_t imm);

/* false: the encoding is not allocated (here). */
bool ta_dp_imm(Tr *t);
bool ta_dp_reg(Tr *t);
bool ta_ls(Tr *t);
bool ta_exclusive(Tr *t);
bool ta_lse(Tr *t);
bool ta_rcpc(Tr *t);
bool ta_simd_ls(Tr *t);
bool ta_branch(Tr *t);
bool ta_fp(Tr *t);   /* scalar FP */
bool ta_simd(Tr *t); /* vectors; false: not done inline */

bool a64_bitmask(bool n, unsigned imms, unsigned immr, bool sf, uint64_t *mask);
void a64_translate(VCpu *cpu, IrBlock *b, unsigned max);
extern const JitGlobal a64_jit_globals[AG_COUNT];

#endif
