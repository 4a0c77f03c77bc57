/*
 * Exceptions of AArch64: entry, return, routing, interrupts. DDI 0487 chapter D1.
 */
#include "core/log.h"
#include "core/machine.h"
#include "target/arm64/cpu.h"
#include "target/arm64/helpers.h"
#include <inttypes.h>

/* ---- PSTATE ---- */

uint32_t a64_get_nzcv(const Arm64Cpu *c)
{
    return (c->cc & IRF_N ? PS_N : 0) | (c->cc & IRF_Z ? PS_Z : 0) | (c->cc & IRF_C ? 0 : PS_C) |
           (c->cc & IRF_V ? PS_V : 0);
}

void a64_set_nzcv(Arm64Cpu *c, uint32_t p)
{
    c->cc = (p & PS_N ? IRF_N : 0) | (p & PS_Z ? IRF_Z : 0) | (p & PS_C ? 0 : IRF_C) |
            (p & PS_V ? IRF_V : 0);
}

uint32_t a64_get_pstate(const Arm64Cpu *c)
{
    return a64_get_nzcv(c) | (c->dit ? PS_DIT : 0) | (c->uao ? PS_UAO : 0) | (c->pan ? PS_PAN : 0) |
           (c->ss ? PS_SS : 0) | (c->il ? PS_IL : 0) | (c->ssbs ? PS_SSBS : 0) | c->daif |
           (uint32_t)c->el << PS_EL_SHIFT | (c->spsel ? PS_SP : 0);
}

void a64_save_sp(Arm64Cpu *c)
{
    c->sp_el[c->spsel ? c->el : 0] = c->sp;
}

void a64_load_sp(Arm64Cpu *c)
{
    c->sp = c->sp_el[c->spsel ? c->el : 0];
}

bool a64_secure(const Arm64Cpu *c)
{
    return c->has_el3 && (c->el == 3 || !(c->scr & SCR_NS));
}

/* Is there an EL2 above this EL0 or EL1? */
bool a64_el2_enabled(const Arm64Cpu *c)
{
    return c->has_el2 && (!c->has_el3 || c->scr & SCR_NS);
}

/* ---- raising ---- */

unsigned a64_sync_target(const Arm64Cpu *c)
{
    if (c->el == 0 && a64_el2_enabled(c) && c->hcr & HCR_TGE) {
        return 2;
    }
    return c->el ? c->el : 1;
}

void a64_set_exc(Arm64Cpu *c, uint32_t esr, unsigned el, bool next)
{
    c->exc = EXC_SYNC;
    c->exc_el = el;
    c->exc_esr = esr;
    c->exc_next = next;
    c->exc_far_valid = false;
}

void a64_raise(Arm64Cpu *c, uint32_t esr)
{
    a64_set_exc(c, esr, a64_sync_target(c), false);
    jit_raise(&c->vcpu);
}

void a64_undef(Arm64Cpu *c)
{
    a64_raise(c, esr_make(EC_UNKNOWN, 0));
}

/* ---- entry ---- */

static void enter(Arm64Cpu *c, unsigned el, unsigned kind, uint64_t ret)
{
    uint32_t pstate = a64_get_pstate(c);
    uint64_t vector = c->vbar[el] + kind * 0x80;

    if (el > c->el) {
        vector += 0x400; /* from AArch64 */
    } else if (c->spsel) {
        vector += 0x200;
    }
    log_line(LOG_INT,
             "CPU %d: exception kind %u EL%u to EL%u, ESR %08x FAR %016" PRIx64 " pc %016" PRIx64,
             c->vcpu.index, kind, c->el, el, kind ? 0 : c->exc_esr, c->exc_far, ret);
    a64_save_sp(c);
    c->spsr[el] = pstate;
    c->elr[el] = ret;
    c->el = el;
    c->spsel = true;
    a64_load_sp(c);
    c->daif = PS_DAIF;
    c->ss = c->il = false;
    if (id_field(c->mmfr1, 20) && el == 1 && !(c->sctlr[1] & SCTLR_SPAN)) {
        c->pan = true;
    }
    c->uao = false;
    c->ssbs = c->sctlr[el] & SCTLR_DSSBS;
    c->ex_size = 0;
    c->pc = vector;
    c->vcpu.halted = false;
    a64_update_mode(c);
}

void a64_deliver(VCpu *cpu)
{
    Arm64Cpu *c = arm64(cpu);
    unsigned el = c->exc_el, kind = c->exc;
    uint32_t esr = c->exc_esr, ec = esr >> 26;

    if (kind == EXC_NONE) {
        return;
    }
    c->exc = EXC_NONE;
    /* "From a lower level" is another class. */
    if (el > c->el && (ec == EC_IABT || ec == EC_DABT || ec == EC_STEP)) {
        esr = (esr & 0x3ffffff) | (ec - 1) << 26;
    }
    c->exc_esr = esr;
    c->esr[el] = esr;
    if (c->exc_far_valid) {
        c->far[el] = c->exc_far;
        if (el == 2) {
            c->hpfar = c->exc_hpfar;
        }
    }
    enter(c, el, 0, c->exc_next ? c->pc + 4 : c->pc);
}

/* ---- interrupts ---- */

static uint32_t events_now(VCpu *cpu)
{
    return __atomic_load_n(&cpu->events, __ATOMIC_SEQ_CST);
}

/* Level that a physical interrupt goes to. */
static unsigned irq_target(const Arm64Cpu *c, bool fiq)
{
    if (c->has_el3 && c->scr & (fiq ? SCR_FIQ : SCR_IRQ)) {
        return 3;
    }
    if (a64_el2_enabled(c) && (c->hcr & (fiq ? HCR_FMO : HCR_IMO) || c->hcr & HCR_TGE)) {
        return 2;
    }
    return 1;
}

/* Can a physical interrupt be taken now? */
static bool irq_open(const Arm64Cpu *c, bool fiq, unsigned *el)
{
    *el = irq_target(c, fiq);
    if (*el < c->el) {
        return false;
    }
    if (*el > c->el && *el != 1) {
        return true; /* to a higher level than EL1: masks of the lower do not count */
    }
    return !(c->daif & (fiq ? PS_F : PS_I));
}

static bool virq_open(const Arm64Cpu *c, bool fiq)
{
    return c->el <= 1 && a64_el2_enabled(c) && !(c->hcr & HCR_TGE) &&
           c->hcr & (fiq ? HCR_FMO : HCR_IMO) && !(c->daif & (fiq ? PS_F : PS_I));
}

static bool virq_pending(const Arm64Cpu *c, uint32_t ev, bool fiq)
{
    return ev & (fiq ? EV_VFIQ : EV_VIRQ) || c->hcr & (fiq ? HCR_VF : HCR_VI);
}

bool a64_has_work(VCpu *cpu)
{
    Arm64Cpu *c = arm64(cpu);
    uint32_t ev = events_now(cpu);

    if (c->powered_off) {
        return ev & (EV_WAKE | VCPU_RESET);
    }
    return ev & (EV_IRQ | EV_FIQ | EV_VIRQ | EV_VFIQ | EV_WAKE | VCPU_RESET) ||
           c->hcr & (HCR_VI | HCR_VF);
}

bool a64_take_event(VCpu *cpu)
{
    Arm64Cpu *c = arm64(cpu);
    uint32_t ev = events_now(cpu);
    unsigned el;

    if (ev & VCPU_RESET) {
        vcpu_unsignal(cpu, VCPU_RESET);
        cpu->target->reset(cpu);
        return true;
    }
    if (ev & EV_WAKE) {
        vcpu_unsignal(cpu, EV_WAKE);
    }
    if (c->powered_off) {
        cpu->halted = true;
        return false;
    }
    if (ev & EV_FIQ && irq_open(c, true, &el)) {
        enter(c, el, 2, c->pc);
        return true;
    }
    if (ev & EV_IRQ && irq_open(c, false, &el)) {
        enter(c, el, 1, c->pc);
        return true;
    }
    if (virq_pending(c, ev, true) && virq_open(c, true)) {
        enter(c, 1, 2, c->pc);
        return true;
    }
    if (virq_pending(c, ev, false) && virq_open(c, false)) {
        enter(c, 1, 1, c->pc);
        return true;
    }
    return false;
}

/* ---- helpers ---- */

uint64_t a64_h_raise(VCpu *cpu, uint64_t esr)
{
    a64_raise(arm64(cpu), esr);
}

uint64_t a64_h_undef(VCpu *cpu)
{
    a64_undef(arm64(cpu));
}

uint64_t a64_h_raise_brk(VCpu *cpu, uint64_t imm)
{
    Arm64Cpu *c = arm64(cpu);
    unsigned el = a64_sync_target(c);

    a64_set_exc(c, esr_make(EC_BRK, imm), el, false);
    jit_raise(cpu);
}

uint64_t a64_h_raise_next(VCpu *cpu, uint64_t esr, uint64_t kind)
{
    Arm64Cpu *c = arm64(cpu);

    if (kind == 0) {
        a64_set_exc(c, esr, a64_sync_target(c), true);
        jit_raise(cpu);
    }
    if ((kind == 1 && c->psci == ARM64_PSCI_HVC) || (kind == 2 && c->psci == ARM64_PSCI_SMC)) {
        jit_sync(cpu);
        a64_psci(c);
        c->pc += 4;
        jit_leave_done(cpu);
    }
    if (kind == 1) {
        bool ok = c->has_el2 && c->el >= 1 && (c->el == 2 || a64_el2_enabled(c));

        ok = ok && (c->has_el3 ? c->scr & SCR_HCE || c->el == 3 : !(c->hcr & HCR_HCD));
        if (!ok) {
            a64_undef(c);
        }
        a64_set_exc(c, esr, MAX(c->el, 2), true);
    } else {
        if (c->el == 1 && a64_el2_enabled(c) && c->hcr & HCR_TSC) {
            a64_set_exc(c, esr, 2, false);
            jit_raise(cpu);
        }
        if (!c->has_el3 || c->scr & SCR_SMD) {
            a64_undef(c);
        }
        a64_set_exc(c, esr, 3, true);
    }
    jit_raise(cpu);
}

uint64_t a64_h_trap_fp(VCpu *cpu)
{
    Arm64Cpu *c = arm64(cpu);
    unsigned fpen = c->cpacr >> 20 & 3;
    unsigned el = 1;

    if (c->el <= 1 && (fpen == 3 || (fpen == 1 && c->el == 1))) {
        el = a64_el2_enabled(c) && c->cptr[2] & 1 << 10 ? 2 : 3;
    } else if (c->el == 2) {
        el = c->cptr[2] & 1 << 10 ? 2 : 3;
    } else if (c->el == 3) {
        el = 3;
    } else {
        el = a64_sync_target(c);
    }
    a64_set_exc(c, esr_make(EC_FP, 1u << 24 | 14 << 20), el, false);
    jit_raise(cpu);
}

uint64_t a64_h_step(VCpu *cpu)
{
    Arm64Cpu *c = arm64(cpu);

    if (!c->ss) {
        a64_set_exc(c, esr_make(EC_STEP, 0x22), a64_sync_target(c), false);
        jit_raise(cpu);
    }
    return 0;
}

/* A branch target with a tag, or one that will fault. */
uint64_t a64_h_br_target(VCpu *cpu, uint64_t pc)
{
    Arm64Cpu *c = arm64(cpu);

    if (c->el <= 1) {
        if (pc >> 55 & 1 ? c->mode & M_TBI1 : c->mode & M_TBI0) {
            pc = (uint64_t)((int64_t)(pc << 8) >> 8);
        }
    } else if (c->mode & M_TBI0) {
        pc = pc << 8 >> 8;
    }
    return pc;
}

/* Can SPSR be returned to? */
static bool legal_return(const Arm64Cpu *c, uint32_t spsr)
{
    unsigned el = spsr >> PS_EL_SHIFT & 3;

    if (spsr & PS_NRW || el > c->el || spsr & 2) {
        return false;
    }
    if (el == 0) {
        return !(spsr & PS_SP);
    }
    if (el == 2 && (!c->has_el2 || (c->has_el3 && !(c->scr & SCR_NS)))) {
        return false;
    }
    if (el == 3 && !c->has_el3) {
        return false;
    }
    return !(el == 1 && a64_el2_enabled(c) && c->hcr & HCR_TGE);
}

uint64_t a64_h_eret(VCpu *cpu)
{
    Arm64Cpu *c = arm64(cpu);
    uint32_t spsr = c->spsr[c->el];
    uint64_t pc = c->elr[c->el];
    bool legal = legal_return(c, spsr);

    a64_save_sp(c);
    a64_set_nzcv(c, spsr);
    c->daif = spsr & PS_DAIF;
    c->ss = spsr & PS_SS;
    c->dit = spsr & PS_DIT && id_field(c->pfr0, 48);
    c->ssbs = spsr & PS_SSBS && id_field(c->pfr1, 4);
    c->pan = spsr & PS_PAN && id_field(c->mmfr1, 20);
    c->uao = spsr & PS_UAO && id_field(c->mmfr2, 4);
    if (legal) {
        c->il = spsr & PS_IL;
        c->el = spsr >> PS_EL_SHIFT & 3;
        c->spsel = spsr & PS_SP;
    } else {
        c->il = true;
    }
    a64_load_sp(c);
    c->ex_size = 0;
    c->event_reg = true;
    a64_update_mode(c);
    return pc >> 48 == 0 || pc >> 48 == 0xffff ? pc : a64_h_br_target(cpu, pc);
}
