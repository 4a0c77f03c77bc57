/*
 * Instructions that read and write EFLAGS, with the virtual-8086 (VME) and protected-mode virtual
 * interrupt (PVI) rules. Intel SDM volume 2, CLI, STI, PUSHF, POPF; volume 3, chapter 21.
 */
#include "target/x86/sys.h"

/* What CLI and STI act on here: EF_IF, EF_VIF, or 0 = not allowed. */
static uint32_t interrupt_flag(X86Cpu *c)
{
    if (x86_real(c)) {
        return EF_IF;
    }
    if (x86_v86(c)) {
        return x86_iopl(c) == 3 ? EF_IF : c->cr4 & CR4_VME ? EF_VIF : 0;
    }
    if (x86_cpl(c) <= x86_iopl(c)) {
        return EF_IF;
    }
    return x86_cpl(c) == 3 && c->cr4 & CR4_PVI ? EF_VIF : 0;
}

uint64_t x86_h_cli(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint32_t flag = interrupt_flag(c);

    if (!flag) {
        x86_raise_err(c, EXC_GP, 0);
    }
    c->eflags &= ~flag;
    return 0;
}

uint64_t x86_h_sti(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint32_t flag = interrupt_flag(c);

    if (!flag || (flag == EF_VIF && c->eflags & EF_VIP)) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (flag == EF_IF && !(c->eflags & EF_IF)) {
        c->shadow = true;
        c->shadow_ss = false;
    }
    c->eflags |= flag;
    return 0;
}

uint64_t x86_h_set_shadow(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);

    c->shadow = true;
    c->shadow_ss = true;
    return 0;
}

uint64_t x86_h_read_eflags(VCpu *cpu)
{
    return x86_get_eflags(x86(cpu)) & ~(EF_VM | EF_RF);
}

uint64_t x86_h_pushf_check(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint32_t flags;

    jit_sync(cpu);
    flags = x86_get_eflags(c) & ~(EF_VM | EF_RF);
    if (x86_v86(c) && x86_iopl(c) < 3) {
        if (!(c->cr4 & CR4_VME)) {
            x86_raise_err(c, EXC_GP, 0);
        }
        flags = (flags & ~(uint32_t)EF_IF) | EF_IOPL | (flags & EF_VIF ? EF_IF : 0);
    }
    return flags;
}

uint64_t x86_h_popf(VCpu *cpu, uint64_t val, uint64_t bytes)
{
    X86Cpu *c = x86(cpu);
    uint32_t mask = EF_ARITH | EF_TF | EF_DF | EF_NT, old, v = val;
    unsigned cpl = x86_cpl(c);

    if (bytes > 2) {
        mask |= EF_AC | EF_ID | EF_RF;
        v &= ~(uint32_t)EF_RF;
    }
    if (x86_v86(c)) {
        if (x86_iopl(c) == 3) {
            mask |= EF_IF;
        } else {
            if (!(c->cr4 & CR4_VME) || bytes != 2 || v & EF_TF ||
                (v & EF_IF && c->eflags & EF_VIP)) {
                x86_raise_err(c, EXC_GP, 0);
            }
            mask |= EF_VIF;
            v = v & EF_IF ? v | EF_VIF : v & ~(uint32_t)EF_VIF;
        }
    } else {
        mask |= cpl <= x86_iopl(c) ? EF_IF : 0;
        mask |= cpl == 0 ? EF_IOPL : 0;
    }
    old = c->eflags; /* arithmetic bits are all replaced */
    x86_set_eflags(c, (old & ~mask) | (v & mask));
    return 0;
}
