/*
 * What the integer parts of the x86 decoder share: operands, ways to end a block, the stack.
 */
#ifndef RHEA_TARGET_X86_TR_UTIL_H
#define RHEA_TARGET_X86_TR_UTIL_H

#include "target/x86/translate.h"
#include <stdbool.h>
#include <stdint.h>

/* What a ModRM r/m (or an implied operand) names. */
typedef struct TrOpd {
    bool mem;
    uint8_t reg;
    IrVal addr;
} TrOpd;

static inline IrType tr_type(unsigned bytes)
{
    return bytes == 8 ? IR_I64 : IR_I32;
}
static inline unsigned tr_log2(unsigned bytes)
{
    return (unsigned)__builtin_ctz(bytes);
}
static inline bool tr_code64(const Tr *t)
{
    return t->mode & M_CODE64;
}
/* Operand size of instructions that are 64 bits wide in 64-bit mode (push, near branches…). */
static inline unsigned tr_osz64(const Tr *t)
{
    return tr_code64(t) && t->osz == 4 ? 8 : t->osz;
}
/* The address of the next instruction as RIP will hold it. All bytes have been read. */
static inline uint64_t tr_next(const Tr *t)
{
    return tr_code64(t) ? t->next : (uint32_t)t->next;
}
/* I/O privilege: CLI, STI, IN… are allowed without looking further. */
static inline bool tr_iopl_ok(const Tr *t)
{
    return !(t->mode & M_VM86) && tr_cpl(t) <= (t->mode >> M_IOPL_SHIFT & 3);
}
static inline bool tr_feat(const Tr *t, unsigned word, unsigned bit)
{
    return t->c->feat[word] >> bit & 1;
}
static inline IrFlags tr_flags_value(IrVal v)
{
    return (IrFlags){.kind = IRF_VALUE, .size = 4, .a = v};
}

/* A register as an operand that is used up at once: no copy, upper bits undefined. */
IrVal tr_rd(Tr *t, unsigned bytes, unsigned r);
/* @v, which may be a global, as a value that stays when the global changes. */
IrVal tr_stable(Tr *t, IrType ty, IrVal v);
/* Write a register with an I64 value that is zero-extended from @bytes already. */
void tr_set_reg_zx(Tr *t, unsigned bytes, unsigned r, IrVal v);
/* Zero- or sign-extension of the low @bytes of @v into type @ty. */
IrVal tr_zext(Tr *t, IrType ty, unsigned bytes, IrVal v);
IrVal tr_sext(Tr *t, IrType ty, unsigned bytes, IrVal v);
/* Low bits of a constant: an immediate of @bytes (8: four bytes, sign-extended) as operand. */
IrVal tr_imm(Tr *t, unsigned bytes);
IrVal tr_const(Tr *t, unsigned bytes, uint64_t v);
/* Byte (sign-extended) read from the instruction. */
int64_t tr_s8(Tr *t);

/* Load that sign-extends to @ty. */
IrVal tr_ld_sx(Tr *t, unsigned bytes, IrType ty, IrVal addr);

/* The r/m operand: for memory the address is made, so all instruction bytes have been read. */
TrOpd tr_rm(Tr *t);
IrVal tr_opd_ld(Tr *t, const TrOpd *o, unsigned bytes);
IrVal tr_opd_ld_rmw(Tr *t, const TrOpd *o, unsigned bytes);
void tr_opd_st(Tr *t, const TrOpd *o, unsigned bytes, IrVal v);
unsigned tr_memop(const Tr *t, unsigned bytes); /* size, alignment, mmu index */

static inline bool tr_locked(const Tr *t, const TrOpd *o)
{
    return t->lock && o->mem;
}
/* Read-modify-write at once. The old value, zero-extended to I64. */
IrVal tr_atomic(Tr *t, unsigned bytes, IrAtomic op, const TrOpd *o, IrVal v, IrVal expected);
/* Linear address of the memory operand plus @delta. */
IrVal tr_ea_plus(Tr *t, unsigned delta, unsigned size, bool write);

/* Packed flags now (all of them), and a packed value that need only supply C. */
IrVal tr_packed(Tr *t);
IrVal tr_packed_c(Tr *t);
/* The instruction needs its flags packed from its start on: for those with local branches, after
 * which pending lazy flags would have lost their values, and before helpers that read flags and
 * may fault. May be called in the middle: the instruction is then decoded again. */
void tr_pack_first(Tr *t);

/* The stack. off: stack pointer as an offset (I64, zero-extended from its size). */
unsigned tr_sp_bytes(const Tr *t);
IrVal tr_sp(Tr *t, int64_t delta);
void tr_set_sp(Tr *t, IrVal off);
IrVal tr_stack_addr(Tr *t, IrVal off, unsigned bytes, bool write);
void tr_push(Tr *t, unsigned bytes, IrVal v);
/* Load from the stack at offset sp + delta. */
IrVal tr_stack_ld(Tr *t, unsigned bytes, int64_t delta);

/* Leave the block. Several may be emitted on different paths; the caller sets t->ended. Flags are
 * packed on all of them (before a branch: tr_pack_flags() first). */
void tr_goto(Tr *t, uint64_t pc);
void tr_goto_ind(Tr *t, IrVal pc, IrHint hint);
void tr_exit(Tr *t, IrVal pc);
/* The path ends in a helper that does not return. */
void tr_noreturn(Tr *t, const IrHelper *h, const IrVal *args, unsigned n);
/* The block ends at @rip, which a helper has returned along with flags in X86Cpu.cc. */
void tr_exit_at(Tr *t, IrVal rip);
/* false: not at level 0; #GP was emitted. */
bool tr_need_cpl0(Tr *t);
/* The other EFLAGS bits, a selector, in the state. */
IrVal tr_ld_eflags(Tr *t);
void tr_st_eflags(Tr *t, IrVal v);
void tr_change_eflags(Tr *t, uint32_t clear, uint32_t set);
IrVal tr_ld_sel(Tr *t, unsigned seg);
/* Truncate a branch target to the operand size. */
uint64_t tr_target(const Tr *t, unsigned bytes, uint64_t pc);

/* Parts of the integer decoder besides tr_int(), tr_ctl(), tr_string(): as those. */
bool tr_alu(Tr *t);  /* arithmetic, logic, exchanges */
bool tr_bits(Tr *t); /* shifts, rotates, bits */
bool tr_vex(Tr *t);  /* after C4, C5: false if that is LES, LDS */
bool tr_sys(Tr *t);  /* I/O, system instructions */

#endif
