/*
 * Floating point and Advanced SIMD of AArch64, executed by C on the host's SSE unit. DDI 0487
 * chapters A1.5, C7; FPCR and FPSR in D19.2.
 *
 * a64_fp_exec() executes any instruction of the group "scalar floating point and Advanced SIMD"
 * with the host's MXCSR in the guest's rounding mode; its sticky bits become those of FPSR. What
 * the host does not do (NaN rules, flush to zero, tininess before rounding) is put right here.
 */
#ifndef RHEA_TARGET_ARM64_FP_H
#define RHEA_TARGET_ARM64_FP_H

#include <stdbool.h>
#include <stdint.h>

typedef union VReg {
    uint64_t d[2];
    uint32_t s[4];
    uint16_t h[8];
    uint8_t b[16];
    int64_t sd[2];
    int32_t ss[4];
    int16_t sh[8];
    int8_t sb[16];
    float f[4];
    double g[2];
} __attribute__((aligned(16))) VReg;

typedef struct FpState {
    VReg v[32];
    uint32_t fpcr;
    uint32_t fpsr;   /* QC and IDC; the others are the host's sticky flags */
    uint32_t feat;   /* FPF_*: optional instructions that exist */
    uint8_t nzcv;    /* result of compares, four bits */
    bool nzcv_set;   /* …when it was one */
    uint8_t nzcv_in; /* flags before, for conditional ones */
} FpState;

enum {
    FPF_FP16 = 1 << 0, /* half-precision arithmetic */
    FPF_RDM = 1 << 1,
    FPF_DP = 1 << 2,
    FPF_AES = 1 << 3,
    FPF_PMULL = 1 << 4,
    FPF_SHA1 = 1 << 5,
    FPF_SHA256 = 1 << 6,
    FPF_SHA512 = 1 << 7,
    FPF_SHA3 = 1 << 8,
    FPF_FCMA = 1 << 9,
    FPF_JSCVT = 1 << 10,
    FPF_FHM = 1 << 11,
    FPF_FRINT = 1 << 12,
    FPF_SM = 1 << 13,
};

#define FPCR_AHP (1u << 26)
#define FPCR_DN (1u << 25)
#define FPCR_FZ (1u << 24)
#define FPCR_FZ16 (1u << 19)
#define FPCR_MASK (FPCR_AHP | FPCR_DN | FPCR_FZ | 3u << 22)
#define FPSR_QC (1u << 27)
#define FPSR_IDC (1u << 7)

/* MXCSR. Not the compiler's intrinsics: those move across the arithmetic. */
static inline uint32_t fp_getcsr(void)
{
    uint32_t v;

    __asm__ volatile("stmxcsr %0" : "=m"(v) : : "memory");
    return v;
}
static inline void fp_setcsr(uint32_t v)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(v) : "memory");
}

/* Executes @insn on @f and @x (general registers, 31 of them). false: not allocated. */
bool a64_fp_exec(FpState *f, uint64_t *x, uint32_t insn);
/* Its parts. */
bool a64_fp_scalar(FpState *f, uint64_t *x, uint32_t insn);
bool a64_simd_exec(FpState *f, uint64_t *x, uint32_t insn);
bool a64_crypto_exec(FpState *f, uint32_t insn);

/* FPCR.RMode → MXCSR, and its sticky flags → FPSR (without QC, IDC) and back. */
uint32_t a64_mxcsr_of(uint32_t fpcr, uint32_t sticky);
uint32_t a64_fpsr_of(uint32_t mxcsr);
uint32_t a64_sticky_of(uint32_t fpsr);

/* The arithmetic, by lane: @f for FPCR and IDC. */
enum {
    FPO_ADD,
    FPO_SUB,
    FPO_MUL,
    FPO_DIV,
    FPO_MULX,
    FPO_MAX,
    FPO_MIN,
    FPO_MAXNM,
    FPO_MINNM,
    FPO_ABD,
    FPO_RECPS,
    FPO_RSQRTS
};
uint32_t a64_f32_op(FpState *f, unsigned op, uint32_t a, uint32_t b);
uint64_t a64_f64_op(FpState *f, unsigned op, uint64_t a, uint64_t b);
/* addend + a * b */
uint32_t a64_f32_fma(FpState *f, uint32_t add, uint32_t a, uint32_t b);
uint64_t a64_f64_fma(FpState *f, uint64_t add, uint64_t a, uint64_t b);
uint32_t a64_f32_sqrt(FpState *f, uint32_t a);
uint64_t a64_f64_sqrt(FpState *f, uint64_t a);
/* Round to an integral value: mode 0…3 as FPCR.RMode, 4 ties away; @exact raises IXC. */
uint32_t a64_f32_rint(FpState *f, uint32_t a, unsigned mode, bool exact);
uint64_t a64_f64_rint(FpState *f, uint64_t a, unsigned mode, bool exact);
/* To a @bits wide integer with @fbits fraction bits, saturating. */
uint64_t a64_f_to_int(FpState *f, double a, bool is_nan, unsigned mode, unsigned bits,
                      bool is_signed, unsigned fbits);
double a64_f32_widen(FpState *f, uint32_t a, bool *is_nan); /* exact; input flushed */
double a64_f64_in(FpState *f, uint64_t a, bool *is_nan);
/* From an integer (sign-extended or not) with @fbits fraction bits. */
uint32_t a64_int_to_f32(FpState *f, uint64_t v, bool is_signed, unsigned fbits);
uint64_t a64_int_to_f64(FpState *f, uint64_t v, bool is_signed, unsigned fbits);
/* Conversions of precision */
uint64_t a64_f32_to_f64(FpState *f, uint32_t a);
uint32_t a64_f64_to_f32(FpState *f, uint64_t a, bool odd);
uint32_t a64_f16_to_f32(FpState *f, uint16_t a);
uint64_t a64_f16_to_f64(FpState *f, uint16_t a);
uint16_t a64_f32_to_f16(FpState *f, uint32_t a);
uint16_t a64_f64_to_f16(FpState *f, uint64_t a);
/* NZCV of a comparison. */
unsigned a64_f32_cmp(FpState *f, uint32_t a, uint32_t b, bool signal);
unsigned a64_f64_cmp(FpState *f, uint64_t a, uint64_t b, bool signal);
/* Estimates */
uint32_t a64_f32_recpe(FpState *f, uint32_t a);
uint64_t a64_f64_recpe(FpState *f, uint64_t a);
uint32_t a64_f32_rsqrte(FpState *f, uint32_t a);
uint64_t a64_f64_rsqrte(FpState *f, uint64_t a);
uint32_t a64_f32_recpx(FpState *f, uint32_t a);
uint64_t a64_f64_recpx(FpState *f, uint64_t a);
uint64_t a64_fp_imm(unsigned imm8, unsigned bits);

#endif
