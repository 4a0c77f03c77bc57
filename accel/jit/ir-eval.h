/*
 * What IR operations and flags mean, on host integers: used by the builders' constant folding,
 * by the interpreter, and when a fault needs the flags. One definition for all.
 */
#ifndef RHEA_ACCEL_JIT_IR_EVAL_H
#define RHEA_ACCEL_JIT_IR_EVAL_H

#include "accel/jit/ir.h"
#include <stdbool.h>
#include <stdint.h>

static inline uint64_t ir_mask(IrType t, uint64_t v)
{
    return t == IR_I32 ? (uint32_t)v : v;
}
/* Bits [0, 8 * size) of @v, zero- or sign-extended. */
uint64_t ir_zext(uint64_t v, unsigned size);
int64_t ir_sext(uint64_t v, unsigned size);
/* Result of a pure integer operation with one output; I32 results are zero-extended. @imm:
 * position and length of DEPOSIT, EXTRACT. */
uint64_t ir_eval(IrOp op, IrType t, uint64_t a, uint64_t b, uint64_t imm);
void ir_eval_mul2(bool is_signed, IrType t, uint64_t a, uint64_t b, uint64_t *lo, uint64_t *hi);
bool ir_eval_cond(IrCond cc, IrType t, uint64_t a, uint64_t b);
/* The packed flags of kind @kind (not PACKED), and a condition on packed flags. */
uint32_t ir_eval_flags(IrFlagKind kind, unsigned size, uint64_t a, uint64_t b, uint64_t c);
bool ir_eval_flagcond(IrFlagCond cc, uint32_t packed);

#endif
