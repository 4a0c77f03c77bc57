/*
 * The descriptors of the system helpers, and those helpers that belong nowhere else.
 */
#include "target/x86/sys.h"
#include <errno.h>
#include <sys/random.h>

#define X(n, a, f)                                                                                 \
    const IrHelper x86_hd_##n = {.name = #n, .fn = (void *)x86_h_##n, .nargs = a, .flags = f};
X86_SYS_HELPERS(X)
#undef X

uint64_t x86_h_cpuid(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint32_t out[4];

    x86_cpuid(c, c->regs[R_RAX], c->regs[R_RCX], out);
    c->regs[R_RAX] = out[0];
    c->regs[R_RBX] = out[1];
    c->regs[R_RCX] = out[2];
    c->regs[R_RDX] = out[3];
    return 0;
}

uint64_t x86_h_rdrand(VCpu *cpu, uint64_t bytes)
{
    uint64_t v = 0;

    while (getrandom(&v, MIN(bytes, sizeof(v)), 0) < 0 && errno == EINTR) {
    }
    return v;
}

uint64_t x86_h_swapgs(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint64_t base = c->seg[S_GS].base;

    x86_need_cpl0(c);
    c->seg[S_GS].base = c->kernel_gs_base;
    c->kernel_gs_base = base;
    return 0;
}
