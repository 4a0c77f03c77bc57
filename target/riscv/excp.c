/*
 * Traps: exceptions, interrupts and the returns from them. Privileged ISA, chapters 3.1.6
 * (mstatus), 3.1.8 (delegation), 3.1.9 (mip, mie), 3.3 (privileged instructions).
 */
#include "core/log.h"
#include "target/riscv/cpu.h"
#include "target/riscv/helpers.h"
#include <inttypes.h>

void rv_set_exc(RiscvCpu *c, int cause, uint64_t tval)
{
    c->exc = cause;
    c->exc_tval = tval;
}

void rv_raise(RiscvCpu *c, int cause, uint64_t tval)
{
    rv_set_exc(c, cause, tval);
    jit_raise(&c->vcpu);
}

uint64_t rv_h_raise(VCpu *cpu, uint64_t cause, uint64_t tval)
{
    rv_raise(riscv(cpu), cause, tval);
}

uint64_t rv_h_raise_fetch(VCpu *cpu, uint64_t addr)
{
    JitPage page;

    if (!rv_walk(cpu, addr, JIT_EXEC, rv_mmu_code(riscv(cpu)), false, &page)) {
        jit_raise(cpu);
    }
    jit_leave(cpu); /* the mapping has come meanwhile: try again */
}

/* Enter the handler of @cause; pc is that of the trapped instruction. */
static void enter_trap(RiscvCpu *c, unsigned cause, bool irq, uint64_t tval)
{
    uint64_t deleg = irq ? c->mideleg : c->medeleg, tvec, st = c->mstatus;
    uint64_t code = cause | (irq ? 1ull << (c->rv32 ? 31 : 63) : 0);
    bool to_s = c->prv <= PRV_S && (deleg >> cause & 1) && rv_has(c, RVE_S);

    if (log_on(LOG_INT)) {
        log_line(LOG_INT, "hart %d: %s %u at %" PRIx64 " tval %" PRIx64 " %c→%c", c->vcpu.index,
                 irq ? "interrupt" : "exception", cause, c->pc, tval, "US?M"[c->prv],
                 to_s ? 'S' : 'M');
    }
    if (to_s) {
        st &= ~(MST_SPIE | MST_SPP);
        st |= (st & MST_SIE ? MST_SPIE : 0) | (c->prv == PRV_S ? MST_SPP : 0);
        st &= ~MST_SIE;
        c->scause = rv_sext(c, code);
        c->sepc = rv_sext(c, c->pc);
        c->stval = rv_sext(c, tval);
        tvec = c->stvec;
        c->prv = PRV_S;
    } else {
        st &= ~(MST_MPIE | MST_MPP);
        st |= (st & MST_MIE ? MST_MPIE : 0) | (uint64_t)c->prv << MST_MPP_SHIFT;
        st &= ~MST_MIE;
        c->mcause = rv_sext(c, code);
        c->mepc = rv_sext(c, c->pc);
        c->mtval = rv_sext(c, tval);
        tvec = c->mtvec;
        c->prv = PRV_M;
    }
    c->mstatus = st;
    c->pc = rv_zext(c, (tvec & ~3ull) + (irq && (tvec & 3) == 1 ? cause * 4 : 0));
}

void rv_deliver(VCpu *cpu)
{
    RiscvCpu *c = riscv(cpu);
    int cause = c->exc;

    c->exc = -1;
    if (cause >= 0) {
        enter_trap(c, cause, false, c->exc_tval);
    }
}

uint64_t rv_h_ecall(VCpu *cpu, uint64_t pc)
{
    RiscvCpu *c = riscv(cpu);

    c->pc = pc;
    enter_trap(c, EXC_ECALL_U + c->prv, false, 0);
    return c->pc;
}

/* ---- interrupts ---- */

void rv_update_irq(RiscvCpu *c)
{
    uint64_t mip = __atomic_load_n(&c->mip, __ATOMIC_SEQ_CST);

    if (mip & __atomic_load_n(&c->mie, __ATOMIC_SEQ_CST)) {
        vcpu_signal(&c->vcpu, VCPU_IRQ);
    } else {
        vcpu_unsignal(&c->vcpu, VCPU_IRQ);
        /* It may have come between the two. */
        mip = __atomic_load_n(&c->mip, __ATOMIC_SEQ_CST);
        if (mip & __atomic_load_n(&c->mie, __ATOMIC_SEQ_CST)) {
            vcpu_signal(&c->vcpu, VCPU_IRQ);
        }
    }
}

void rv_set_mip(RiscvCpu *c, uint64_t bits, bool on)
{
    if (on) {
        __atomic_or_fetch(&c->mip, bits, __ATOMIC_SEQ_CST);
    } else {
        __atomic_and_fetch(&c->mip, ~bits, __ATOMIC_SEQ_CST);
    }
    rv_update_irq(c);
}

void riscv_set_irq(VCpu *cpu, unsigned pin, int level)
{
    RiscvCpu *c = riscv(cpu);

    if (pin == RISCV_IRQ_SEIP) {
        /* mip.SEIP is the pin or what machine mode wrote (3.1.9). */
        __atomic_store_n(&c->ext_seip, level != 0, __ATOMIC_SEQ_CST);
        level = level || __atomic_load_n(&c->soft_seip, __ATOMIC_SEQ_CST);
    }
    rv_set_mip(c, 1ull << pin, level);
}

/* The interrupt to take now, -1 for none. */
static int pick_irq(RiscvCpu *c)
{
    static const uint8_t order[] = {IRQ_MEI, IRQ_MSI, IRQ_MTI, IRQ_SEI, IRQ_SSI, IRQ_STI};
    uint64_t on = __atomic_load_n(&c->mip, __ATOMIC_SEQ_CST) & c->mie;
    uint64_t m = on & ~c->mideleg, s = on & c->mideleg;

    if (!(c->prv < PRV_M || c->mstatus & MST_MIE)) {
        m = 0;
    }
    if (!(c->prv < PRV_S || (c->prv == PRV_S && c->mstatus & MST_SIE))) {
        s = 0;
    }
    on = m ? m : s;
    for (unsigned i = 0; on && i < sizeof(order); i++) {
        if (on >> order[i] & 1) {
            return order[i];
        }
    }
    return -1;
}

bool rv_has_work(VCpu *cpu)
{
    RiscvCpu *c = riscv(cpu);
    uint32_t ev = __atomic_load_n(&cpu->events, __ATOMIC_SEQ_CST);

    /* WFI goes on for an interrupt that is enabled, whether or not it can be taken. */
    return ev & VCPU_RESET || __atomic_load_n(&c->mip, __ATOMIC_SEQ_CST) & c->mie;
}

bool rv_take_event(VCpu *cpu)
{
    RiscvCpu *c = riscv(cpu);
    uint32_t ev = __atomic_load_n(&cpu->events, __ATOMIC_SEQ_CST);
    int irq;

    if (ev & VCPU_RESET) {
        vcpu_unsignal(cpu, VCPU_RESET);
        cpu->target->reset(cpu);
        return true;
    }
    if (!(ev & VCPU_IRQ) || (irq = pick_irq(c)) < 0) {
        return false;
    }
    enter_trap(c, irq, true, 0);
    return true;
}

/* ---- returns and waits ---- */

uint64_t rv_h_mret(VCpu *cpu, uint64_t insn)
{
    RiscvCpu *c = riscv(cpu);
    unsigned mpp = c->mstatus >> MST_MPP_SHIFT & 3;

    if (c->prv != PRV_M) {
        rv_raise(c, EXC_ILLEGAL, insn);
    }
    c->mstatus = (c->mstatus & ~(MST_MIE | MST_MPP)) | (c->mstatus & MST_MPIE ? MST_MIE : 0) |
                 MST_MPIE | (rv_has(c, RVE_U) ? 0 : MST_MPP);
    if (mpp != PRV_M) {
        c->mstatus &= ~MST_MPRV;
    }
    c->prv = mpp;
    return rv_zext(c, c->mepc);
}

uint64_t rv_h_sret(VCpu *cpu, uint64_t insn)
{
    RiscvCpu *c = riscv(cpu);
    unsigned spp = c->mstatus & MST_SPP ? PRV_S : PRV_U;

    if (c->prv < PRV_S || !rv_has(c, RVE_S) || (c->prv == PRV_S && c->mstatus & MST_TSR)) {
        rv_raise(c, EXC_ILLEGAL, insn);
    }
    c->mstatus = (c->mstatus & ~(MST_SIE | MST_SPP | MST_MPRV)) |
                 (c->mstatus & MST_SPIE ? MST_SIE : 0) | MST_SPIE;
    c->prv = spp;
    return rv_zext(c, c->sepc);
}

uint64_t rv_h_wfi(VCpu *cpu, uint64_t insn, uint64_t next)
{
    RiscvCpu *c = riscv(cpu);

    if ((c->prv < PRV_M && c->mstatus & MST_TW) || (c->prv == PRV_U && rv_has(c, RVE_S))) {
        rv_raise(c, EXC_ILLEGAL, insn);
    }
    cpu->halted = !rv_has_work(cpu);
    c->pc = next;
    jit_leave_done(cpu);
}

uint64_t rv_h_wrs(VCpu *cpu, uint64_t next)
{
    RiscvCpu *c = riscv(cpu);

    /* A short stall is allowed at any time; let the other harts run. */
    c->res_addr = UINT64_MAX;
    g_thread_yield();
    c->pc = next;
    jit_leave_done(cpu);
}
