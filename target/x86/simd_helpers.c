/*
 * C helpers of SSE and MMX code: MXCSR, unmasked SIMD exceptions, masked moves, string compare.
 * Intel SDM volume 1 chapter 11.5 (exceptions), volume 2.
 */
#include "target/x86/simd.h"

#include <immintrin.h>

/* ---- MXCSR ---- */

uint32_t x86_live_mxcsr(X86Cpu *c)
{
    return (c->mxcsr & ~(uint32_t)MXCSR_STICKY) | (_mm_getcsr() & MXCSR_STICKY);
}

void x86_set_live_mxcsr(X86Cpu *c, uint32_t val)
{
    c->mxcsr = val;
    _mm_setcsr(val | MXCSR_MASKS);
}

static bool all_masked(uint32_t mxcsr)
{
    return (mxcsr & MXCSR_MASKS) == MXCSR_MASKS;
}

static uint64_t x86_h_ldmxcsr(VCpu *cpu, uint64_t val)
{
    X86Cpu *c = x86(cpu);
    bool before = all_masked(c->mxcsr);

    if ((uint32_t)val & ~(uint32_t)MXCSR_VALID) {
        x86_raise_err(c, EXC_GP, 0);
    }
    x86_set_live_mxcsr(c, val);
    return before != all_masked(val);
}

static uint64_t x86_h_stmxcsr(VCpu *cpu)
{
    return x86_live_mxcsr(x86(cpu));
}

/* ---- operations under M_XMMEXC: sse_begin, the operation, sse_check ---- */

static void x86_h_sse_begin(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint32_t csr = x86_live_mxcsr(c);

    c->simd_mxcsr = csr;
    csr &= ~(uint32_t)MXCSR_STICKY;
    if (!(csr & FPU_UE << 7)) {
        csr &= ~(uint32_t)MXCSR_FTZ; /* has no effect while underflow is unmasked */
    }
    x86_set_live_mxcsr(c, csr);
}

static bool tiny32(uint32_t v)
{
    return (v & 0x7f800000) == 0 && (v & 0x7fffff);
}

static bool tiny64(uint64_t v)
{
    return (v & 0x7ff0000000000000u) == 0 && (v & 0xfffffffffffffu);
}

static bool any_tiny(const X86Vec *v, unsigned lanes)
{
    switch (lanes) {
    case TINY_SS:
        return tiny32(v->l[0]);
    case TINY_PS:
        return tiny32(v->l[0]) || tiny32(v->l[1]) || tiny32(v->l[2]) || tiny32(v->l[3]);
    case TINY_SD:
        return tiny64(v->q[0]);
    case TINY_PD:
        return tiny64(v->q[0]) || tiny64(v->q[1]);
    default:
        return false;
    }
}

static void x86_h_sse_check(VCpu *cpu, uint64_t lanes)
{
    X86Cpu *c = x86(cpu);
    uint32_t raised = _mm_getcsr() & MXCSR_STICKY, unmasked;

    /* Unmasked underflow is signalled for exact results, too. */
    if (!(c->mxcsr & FPU_UE << 7) && any_tiny(&c->simd_tmp, lanes)) {
        raised |= FPU_UE;
    }
    unmasked = raised & ~(c->mxcsr >> 7);
    if (unmasked & (FPU_IE | FPU_DE | FPU_ZE)) {
        raised &= FPU_IE | FPU_DE | FPU_ZE; /* found before anything is computed */
    }
    x86_set_live_mxcsr(c, c->simd_mxcsr | raised);
    if (unmasked) {
        x86_raise(c, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
    }
}

static void x86_h_sse_align(VCpu *cpu, uint64_t addr)
{
    if (addr & 15) {
        x86_raise_err(x86(cpu), EXC_GP, 0);
    }
}

/* ---- masked stores ---- */

static void maskmov(X86Cpu *c, uint64_t addr, const uint8_t *data, const uint8_t *mask,
                    unsigned bytes)
{
    unsigned mmu = x86_mmu_data(c);

    for (unsigned i = 0; i < bytes; i++) {
        if (mask[i] & 0x80) {
            jit_probe(&c->vcpu, addr + i, 1, JIT_WRITE, mmu);
        }
    }
    for (unsigned i = 0; i < bytes; i++) {
        if (mask[i] & 0x80) {
            jit_store(&c->vcpu, addr + i, data[i], 1, mmu);
        }
    }
}

static void x86_h_maskmov(VCpu *cpu, uint64_t addr, uint64_t data, uint64_t mask)
{
    X86Cpu *c = x86(cpu);

    maskmov(c, addr, c->xmm[data & 15].b, c->xmm[mask & 15].b, 16);
}

static void x86_h_maskmovq(VCpu *cpu, uint64_t addr, uint64_t data, uint64_t mask)
{
    X86Cpu *c = x86(cpu);

    maskmov(c, addr, c->fpr[data & 7].b, c->fpr[mask & 7].b, 8);
}

/* ---- PCMPxSTRx, SHA256RNDS2: by the host's instruction ---- */

/* One stub of 8 bytes for each opcode 60…63 and immediate: op imm, %xmm1, %xmm0; ret. */
asm(".pushsection .text\n"
    ".balign 16\n"
    "x86_pcmpstr_stubs:\n"
    ".set pcmpstr_op, 0x60\n"
    ".rept 4\n"
    ".set pcmpstr_imm, 0\n"
    ".rept 256\n"
    ".byte 0x66, 0x0f, 0x3a, pcmpstr_op, 0xc1, pcmpstr_imm, 0xc3, 0xcc\n"
    ".set pcmpstr_imm, pcmpstr_imm + 1\n"
    ".endr\n"
    ".set pcmpstr_op, pcmpstr_op + 1\n"
    ".endr\n"
    ".popsection\n");
extern const uint8_t x86_pcmpstr_stubs[] __attribute__((visibility("hidden")));

/* Lengths saturate at 16 either way. */
static uint32_t string_length(uint64_t v)
{
    int64_t n = (int64_t)v;

    return n > 16 || n < -16 ? 16 : n < 0 ? -n : n;
}

static uint64_t x86_h_pcmpstr(VCpu *cpu, uint64_t op_imm, uint64_t dst, uint64_t src, uint64_t len1,
                              uint64_t len2)
{
    X86Cpu *c = x86(cpu);
    unsigned op = op_imm & 3;
    const uint8_t *stub = x86_pcmpstr_stubs + (op << 8 | (op_imm >> 8 & 0xff)) * 8;
    const X86Vec *s = src == 16 ? &c->simd_tmp : &c->xmm[src & 15];
    register __m128i x0 asm("xmm0") = _mm_load_si128((const __m128i *)&c->xmm[dst & 15]);
    register __m128i x1 asm("xmm1") = _mm_load_si128((const __m128i *)s);
    uint64_t flags = string_length(len1), index = 0;

    asm volatile("lea -128(%%rsp), %%rsp\n"
                 "call *%[stub]\n"
                 "pushfq\n"
                 "pop %%rax\n"
                 "lea 128(%%rsp), %%rsp"
                 : "+x"(x0), "+a"(flags), "+c"(index)
                 : "x"(x1), "d"((uint64_t)string_length(len2)), [stub] "r"(stub)
                 : "cc", "memory");
    if (!(op & 1)) {
        _mm_store_si128((__m128i *)&c->xmm[0], x0);
    }
    return (x86_eflags_to_cc(flags) & 0xffff) | index << 32;
}

__attribute__((target("sha,sse4.1"))) static void x86_h_sha256rnds2(VCpu *cpu, uint64_t dst,
                                                                    uint64_t src)
{
    X86Cpu *c = x86(cpu);
    const X86Vec *s = src == 16 ? &c->simd_tmp : &c->xmm[src & 15];
    __m128i d = _mm_load_si128((const __m128i *)&c->xmm[dst & 15]);

    d = _mm_sha256rnds2_epu32(d, _mm_load_si128((const __m128i *)s),
                              _mm_load_si128((const __m128i *)&c->xmm[0]));
    _mm_store_si128((__m128i *)&c->xmm[dst & 15], d);
}

/* ---- x87 exceptions pending before MMX instructions, FWAIT… ---- */

static void x86_h_fpu_pending(VCpu *cpu)
{
    x86_fpu_check_pending(x86(cpu));
}

#define H(n, a, f) const IrHelper x86_hd_##n = {#n, (void *)x86_h_##n, a, f}
H(sse_begin, 0, 0);
H(sse_check, 1, IRH_FAULTS);
H(sse_align, 1, IRH_FAULTS);
H(ldmxcsr, 1, IRH_FAULTS | IRH_RET);
H(stmxcsr, 0, IRH_RET);
H(maskmov, 3, IRH_READS | IRH_FAULTS);
H(maskmovq, 3, IRH_FAULTS);
H(pcmpstr, 5, IRH_READS | IRH_WRITES | IRH_RET);
H(sha256rnds2, 2, IRH_READS | IRH_WRITES);
H(fpu_pending, 0, IRH_FAULTS);
