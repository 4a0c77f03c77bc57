/* Integer operations that the IR has not. Unprivileged ISA, chapters 13 (M) and 29 (B). */
#include "target/riscv/helpers.h"
#include <stdint.h>

static uint64_t rv_h_div(VCpu *cpu, uint64_t a, uint64_t b)
{
    if (!b) {
        return UINT64_MAX;
    }
    return a == 1ull << 63 && b == UINT64_MAX ? a : (uint64_t)((int64_t)a / (int64_t)b);
}

static uint64_t rv_h_divu(VCpu *cpu, uint64_t a, uint64_t b)
{
    return b ? a / b : UINT64_MAX;
}

static uint64_t rv_h_rem(VCpu *cpu, uint64_t a, uint64_t b)
{
    if (!b) {
        return a;
    }
    return b == UINT64_MAX ? 0 : (uint64_t)((int64_t)a % (int64_t)b);
}

static uint64_t rv_h_remu(VCpu *cpu, uint64_t a, uint64_t b)
{
    return b ? a % b : a;
}

static uint64_t word(uint32_t v)
{
    return (uint64_t)(int32_t)v;
}

static uint64_t rv_h_divw(VCpu *cpu, uint64_t a, uint64_t b)
{
    int32_t y = (int32_t)b;

    return y ? word((uint32_t)((int64_t)(int32_t)a / y)) : UINT64_MAX;
}

static uint64_t rv_h_divuw(VCpu *cpu, uint64_t a, uint64_t b)
{
    return (uint32_t)b ? word((uint32_t)a / (uint32_t)b) : UINT64_MAX;
}

static uint64_t rv_h_remw(VCpu *cpu, uint64_t a, uint64_t b)
{
    int32_t y = (int32_t)b;

    return word(y ? (uint32_t)((int64_t)(int32_t)a % y) : (uint32_t)a);
}

static uint64_t rv_h_remuw(VCpu *cpu, uint64_t a, uint64_t b)
{
    return word((uint32_t)b ? (uint32_t)a % (uint32_t)b : (uint32_t)a);
}

static uint64_t rv_h_clmul(VCpu *cpu, uint64_t a, uint64_t b)
{
    uint64_t r = 0;

    for (; b; b &= b - 1) {
        r ^= a << __builtin_ctzll(b);
    }
    return r;
}

static uint64_t rv_h_clmulh(VCpu *cpu, uint64_t a, uint64_t b)
{
    uint64_t r = 0;

    for (b &= ~1ull; b; b &= b - 1) {
        r ^= a >> (64 - __builtin_ctzll(b));
    }
    return r;
}

/* Bits 63…31 of the product of two words. */
static uint64_t rv_h_clmulh32(VCpu *cpu, uint64_t a, uint64_t b)
{
    return rv_h_clmul(cpu, a, b) >> 31;
}

static uint64_t rv_h_orcb(VCpu *cpu, uint64_t a)
{
    uint64_t r = 0;

    for (unsigned i = 0; i < 64; i += 8) {
        r |= a >> i & 0xff ? 0xffull << i : 0;
    }
    return r;
}

#define X(n, a)                                                                                    \
    const IrHelper rv_hd_##n = {                                                                   \
        .name = #n, .fn = (void *)rv_h_##n, .nargs = a, .flags = IRH_RET | IRH_PURE};
RV_INT_HELPERS(X)
#undef X
