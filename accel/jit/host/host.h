/* What a host back end provides to the jit. */
#ifndef RHEA_ACCEL_JIT_HOST_H
#define RHEA_ACCEL_JIT_HOST_H

#include "accel/jit/jit-internal.h"

/* Per-vCPU state of the code generator. */
JitGen *jit_gen_new(JitCpu *j);
void jit_gen_free(JitGen *g);
/* Emit the thunks at @rw; returns the bytes used. */
size_t jit_host_thunks(JitCpu *j, uint8_t *rw);
/* Emit code for @b at @rw (at most @room bytes) and fill @blk's code-related fields; side tables
 * come from @seg's meta arena. Returns the size; 0: no room; -1: the block is too complex. */
long jit_host_emit(JitCpu *j, JitGen *g, const IrBlock *b, JitBlock *blk, JitSegment *seg,
                   uint8_t *rw, size_t room);
/* Run translated code at @host. */
unsigned jit_host_enter(JitCpu *j, void *host, unsigned mmu);
/* Return address of the call that the running translated code has open. */
const void *jit_host_call_site(JitCpu *j);
/* Value of a saved host register or frame slot at that call. */
uint64_t jit_host_saved_reg(JitCpu *j, int reg);
uint64_t jit_host_slot(JitCpu *j, int frame_off);
/* Buffers in the frame for slow paths of vectors and compare-exchange. */
void *jit_host_vec_buf(JitCpu *j);
uint64_t jit_host_expected(JitCpu *j);
/* Point the jump whose 32-bit displacement is at @rw (executable at @rx) to @target. */
void jit_host_patch(uint8_t *rw, const uint8_t *rx, const void *target);
/* Overwrite five bytes at @rw with a jump to @target. */
void jit_host_put_jump(uint8_t *rw, const uint8_t *rx, const void *target);
/* Which globals are pinned; fills pinned[]. */
void jit_host_pins(const JitTarget *t, const JitOpts *o, bool *pinned);
/* IRVF_* features that the host has (SSE3… AES, CLMUL, SHA). */
uint32_t jit_host_features(void);
/* The guest's MXCSR becomes the host's. It stays so until the loop is left; the state gets sticky
 * flags by jit_host_fp_sync(). @fresh: the state alone is right; else only what changed in it. */
void jit_host_fp_load(JitCpu *j, bool fresh);
/* Guest sticky flags into the state; on leaving a helper by jump also put the guest's MXCSR back.
 */
void jit_host_fp_sync(JitCpu *j);
void jit_host_fp_unwind(JitCpu *j, bool host_fp);
/* Swap in the host's MXCSR, returning the present one; and back. */
uint32_t jit_host_fp_begin(void);
void jit_host_fp_end(uint32_t saved);
/* Text of @n bytes at @code for -d out_asm; caller frees. */
char *jit_host_disas(const uint8_t *code, size_t n, uint64_t addr);

#endif
