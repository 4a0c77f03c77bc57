/* Shared by the parts of the Advanced SIMD interpreter. */
#ifndef RHEA_TARGET_ARM64_SIMD_EXEC_H
#define RHEA_TARGET_ARM64_SIMD_EXEC_H

#include "target/arm64/fp.h"

typedef struct Simd {
    uint32_t insn;
    uint8_t rd, rn, rm, size;
    bool q, u, scalar;
} Simd;

static inline unsigned lanes(const Simd *s, unsigned size)
{
    return s->scalar ? 1 : (s->q ? 16u : 8u) >> size;
}

uint64_t simd_get(const VReg *v, unsigned size, unsigned lane);
int64_t simd_gets(const VReg *v, unsigned size, unsigned lane);
void simd_set(VReg *v, unsigned size, unsigned lane, uint64_t x);
uint64_t a64_simd_imm(unsigned op, unsigned cmode, unsigned imm8);

/* The groups of the manual; false: unallocated. */
bool simd_three_same(FpState *f, const Simd *s);
bool simd_three_diff(FpState *f, const Simd *s);
bool simd_three_extra(FpState *f, const Simd *s);
bool simd_two_misc(FpState *f, const Simd *s);
bool simd_across(FpState *f, const Simd *s);
bool simd_pairwise(FpState *f, const Simd *s);
bool simd_by_element(FpState *f, const Simd *s);
bool simd_shift_imm(FpState *f, const Simd *s);

/* Saturation to @bits; QC is set when it happens. */
uint64_t simd_sat_s(FpState *f, __int128 v, unsigned bits);
uint64_t simd_sat_u(FpState *f, __int128 v, unsigned bits);
/* Shift left by @shift (right when negative), optionally rounding and saturating. */
uint64_t simd_shift(FpState *f, uint64_t raw, unsigned size, int shift, bool u, bool round,
                    bool sat);
uint64_t simd_fp2(FpState *f, unsigned op, unsigned size, uint64_t a, uint64_t b);
uint64_t simd_fma(FpState *f, unsigned size, uint64_t add, uint64_t a, uint64_t b);

#endif
