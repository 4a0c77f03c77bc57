/* Helpers of tr_sys.c: AMO minima and maxima, cache block operations; the table of all. */
#include "target/riscv/cpu.h"
#include "target/riscv/helpers.h"
#include <string.h>

/* ---- amomin, amomax ---- */

static uint64_t choose(unsigned f5, unsigned bytes, uint64_t old, uint64_t v)
{
    bool less;

    if (bytes == 4) {
        less = f5 & 8 ? (uint32_t)v < (uint32_t)old : (int32_t)v < (int32_t)old;
    } else {
        less = f5 & 8 ? v < old : (int64_t)v < (int64_t)old;
    }
    return less != ((f5 & 4) != 0) ? v : old; /* f5 bit 2: maximum */
}

uint64_t rv_h_amo_minmax(VCpu *cpu, uint64_t addr, uint64_t v, uint64_t what, uint64_t mmu)
{
    unsigned f5 = what & 31, bytes = what >> 8;
    uint64_t old;
    void *p;

    if (addr & (bytes - 1)) {
        rv_raise(riscv(cpu), EXC_STORE_MISALIGNED, addr);
    }
    jit_probe(cpu, addr, bytes, JIT_WRITE, mmu);
    p = jit_host_ptr(cpu, addr, JIT_WRITE, mmu);
    if (!p) { /* a device, or a page with translated code */
        old = jit_load(cpu, addr, bytes, mmu);
        jit_store(cpu, addr, choose(f5, bytes, old, v), bytes, mmu);
    } else if (bytes == 4) {
        uint32_t o = __atomic_load_n((uint32_t *)p, __ATOMIC_RELAXED);

        while (!__atomic_compare_exchange_n((uint32_t *)p, &o, choose(f5, 4, o, v), false,
                                            __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        }
        old = o;
    } else {
        old = __atomic_load_n((uint64_t *)p, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n((uint64_t *)p, &old, choose(f5, 8, old, v), false,
                                            __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        }
    }
    return bytes == 4 ? (uint64_t)(int32_t)old : old;
}

/* ---- cbo.* (Cache-Block Management, 1.0) ---- */

/* Is it allowed by menvcfg and senvcfg? @field: ENV_CBIE, ENV_CBCFE, ENV_CBZE. */
static bool env_allows(const RiscvCpu *c, uint64_t field)
{
    return (c->prv == PRV_M || c->menvcfg & field) &&
           (c->prv != PRV_U || !rv_has(c, RVE_S) || c->senvcfg & field);
}

uint64_t rv_h_cbo(VCpu *cpu, uint64_t insn, uint64_t addr)
{
    RiscvCpu *c = riscv(cpu);
    unsigned op = insn >> 20, mmu = rv_mmu_data(c);
    uint64_t at = addr & ~(uint64_t)(RV_CBO_BLOCK - 1);
    JitPage page;

    if (!env_allows(c, op == 4 ? ENV_CBZE : op == 0 ? ENV_CBIE : ENV_CBCFE)) {
        rv_raise(c, EXC_ILLEGAL, insn);
    }
    if (op == 4) {
        jit_probe(cpu, at, RV_CBO_BLOCK, JIT_WRITE, mmu);
        for (unsigned i = 0; i < RV_CBO_BLOCK; i += 8) {
            jit_store(cpu, at + i, 0, 8, mmu);
        }
        return 0;
    }
    /* Memory is coherent: nothing to do where reading or writing is allowed; faults are those of
     * a store, with the address as given. */
    if (!rv_walk(cpu, addr, JIT_READ, mmu, true, &page) &&
        !rv_walk(cpu, addr, JIT_WRITE, mmu, false, &page)) {
        jit_raise(cpu);
    }
    return 0;
}

/* ---- the table ---- */

#define X(n, a, f)                                                                                 \
    const IrHelper rv_hd_##n = {.name = #n, .fn = (void *)rv_h_##n, .nargs = a, .flags = f};
RV_SYS_HELPERS(X)
#undef X
