/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT. Intel SDM volume 2; AMD APM volume 3 (SYSCALL outside of
 * 64-bit mode exists on AMD only).
 */
#include "target/x86/sys.h"

uint64_t x86_h_syscall(VCpu *cpu, uint64_t next)
{
    X86Cpu *c = x86(cpu);
    uint16_t sel = (c->star >> 32) & 0xfffc;
    uint32_t flags;
    uint64_t rip;

    if (!(c->efer & EFER_SCE) || !x86_prot(c) || (!x86_code64(c) && x86_is_intel(c))) {
        x86_raise(c, EXC_UD);
    }
    if (!x86_lma(c)) {
        c->regs[R_RCX] = (uint32_t)next;
        rip = (uint32_t)c->star;
        c->eflags &= ~(EF_VM | EF_IF | EF_RF);
        x86_flat_cs(c, sel, 0, false);
        x86_flat_ss(c, sel + 8, 0);
        return rip;
    }
    flags = x86_get_eflags(c) & ~EF_RF;
    rip = x86_code64(c) ? c->lstar : c->cstar;
    c->regs[R_RCX] = next;
    c->regs[11] = flags;
    x86_set_eflags(c, flags & ~(uint32_t)c->sfmask);
    x86_flat_cs(c, sel, 0, true);
    x86_flat_ss(c, sel + 8, 0);
    return rip;
}

uint64_t x86_h_sysret(VCpu *cpu, uint64_t bytes)
{
    X86Cpu *c = x86(cpu);
    uint16_t sel = c->star >> 48;
    uint64_t rip = c->regs[R_RCX];

    if (!(c->efer & EFER_SCE) || !x86_prot(c) || (!x86_code64(c) && x86_is_intel(c))) {
        x86_raise(c, EXC_UD);
    }
    x86_need_cpl0(c);
    if (x86_lma(c)) {
        if (bytes == 8 && !x86_canonical(rip)) {
            x86_raise_err(c, EXC_GP, 0);
        }
        x86_set_eflags(c, (c->regs[11] & 0x3c7fd7) | 2);
    } else {
        bytes = 4;
        c->eflags |= EF_IF;
    }
    if (bytes == 8) {
        x86_flat_cs(c, (sel + 16) | 3, 3, true);
    } else {
        rip = (uint32_t)rip;
        x86_flat_cs(c, sel | 3, 3, false);
    }
    x86_flat_ss(c, (sel + 8) | 3, 3);
    return rip;
}

uint64_t x86_h_sysenter(VCpu *cpu, uint64_t next)
{
    X86Cpu *c = x86(cpu);
    uint16_t sel = c->sysenter_cs & 0xfffc;
    bool lma = x86_lma(c);

    if (x86_real(c) || !sel) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (lma && x86_is_amd(c)) {
        x86_raise(c, EXC_UD);
    }
    c->eflags &= ~(EF_VM | EF_IF | EF_RF);
    c->regs[R_RSP] = lma ? c->sysenter_esp : (uint32_t)c->sysenter_esp;
    x86_flat_cs(c, sel, 0, lma);
    x86_flat_ss(c, sel + 8, 0);
    return lma ? c->sysenter_eip : (uint32_t)c->sysenter_eip;
}

uint64_t x86_h_sysexit(VCpu *cpu, uint64_t bytes)
{
    X86Cpu *c = x86(cpu);
    uint16_t sel = c->sysenter_cs & 0xfffc;
    uint64_t rip = c->regs[R_RDX], rsp = c->regs[R_RCX];

    if (x86_real(c) || !sel || x86_cpl(c) != 0) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (x86_lma(c) && x86_is_amd(c)) {
        x86_raise(c, EXC_UD);
    }
    if (bytes == 8) {
        if (!x86_canonical(rip) || !x86_canonical(rsp)) {
            x86_raise_err(c, EXC_GP, 0);
        }
        x86_flat_cs(c, (sel + 32) | 3, 3, true);
        x86_flat_ss(c, (sel + 40) | 3, 3);
    } else {
        rip = (uint32_t)rip;
        rsp = (uint32_t)rsp;
        x86_flat_cs(c, (sel + 16) | 3, 3, false);
        x86_flat_ss(c, (sel + 24) | 3, 3);
    }
    c->regs[R_RSP] = rsp;
    return rip;
}
