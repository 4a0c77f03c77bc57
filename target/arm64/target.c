/*
 * The AArch64 target: initialisation, reset, what boards may ask of the CPU
 * (core/arm64-board.h). DDI 0487 section D1.3 (reset).
 */
#include "core/log.h"
#include "core/machine.h"
#include "target/arm64/arm64.h"
#include "target/arm64/cpu.h"
#include "target/arm64/translate.h"
#include <string.h>

/* ---- JitTarget ---- */

static uint64_t get_mode(VCpu *cpu)
{
    return arm64(cpu)->mode;
}

static uint64_t linear_pc(VCpu *cpu, uint64_t pc, uint64_t mode)
{
    return pc;
}

static unsigned mmu_index(uint64_t mode)
{
    switch (mode & M_EL) {
    case 0:
        return MMU_EL0;
    case 1:
        return mode & M_PAN ? MMU_EL1_PAN : MMU_EL1;
    case 2:
        return MMU_EL2;
    default:
        return MMU_EL3;
    }
}

static bool fp_enabled(const Arm64Cpu *c)
{
    unsigned fpen = c->cpacr >> 20 & 3;

    if (c->el <= 1 && !(a64_el2_enabled(c) && c->hcr & HCR_TGE)) {
        if (fpen != 3 && !(fpen == 1 && c->el == 1)) {
            return false;
        }
    }
    if (c->el <= 2 && a64_el2_enabled(c) && c->cptr[2] & 1 << 10) {
        return false;
    }
    return !(c->has_el3 && c->cptr[3] & 1 << 10);
}

/* Software step: debug exceptions are enabled from the current level. */
static bool stepping(const Arm64Cpu *c)
{
    if (!(c->mdscr & 1) || c->oslsr || c->el > 1) {
        return false;
    }
    return c->el == 0 || (c->mdscr >> 13 & 1 && !(c->daif & PS_D));
}

void a64_update_mode(Arm64Cpu *c)
{
    unsigned el = c->el, sel = MAX(el, 1);
    uint64_t m = el, sctlr = c->sctlr[sel], tcr = c->tcr[sel];

    if (fp_enabled(c)) {
        m |= M_FP;
    }
    if (c->fp.fpcr & (FPCR_FZ | FPCR_DN)) {
        m |= M_FPSLOW;
    }
    if (sctlr & SCTLR_A) {
        m |= M_ALIGN;
    }
    if (sctlr & (el ? SCTLR_EE : SCTLR_E0E)) {
        m |= M_BE;
    }
    if (el == 1 && c->pan) {
        m |= M_PAN;
    }
    if (c->uao) {
        m |= M_UAO;
    }
    if (stepping(c)) {
        m |= M_SS;
    }
    if (c->il) {
        m |= M_IL;
    }
    if (sel == 1) {
        m |= (tcr >> 37 & 1 ? M_TBI0 : 0) | (tcr >> 38 & 1 ? M_TBI1 : 0);
    } else {
        m |= tcr >> 20 & 1 ? M_TBI0 : 0;
    }
    c->mode = m;
}

/* ---- reset ---- */

void a64_power_on(Arm64Cpu *c)
{
    size_t first = offsetof(Arm64Cpu, ex_addr), last = offsetof(Arm64Cpu, timer);
    uint32_t pending = __atomic_load_n(&c->tlbi_pending, __ATOMIC_SEQ_CST);

    memset(c->x, 0, sizeof(c->x));
    memset(c->fp.v, 0, sizeof(c->fp.v));
    memset((char *)c + first, 0, last - first);
    __atomic_store_n(&c->tlbi_pending, pending, __ATOMIC_SEQ_CST);
    c->sp = 0;
    c->cc = IRF_C;
    c->fp.fpcr = c->fp.fpsr = 0;
    c->mxcsr = 0x1f80;
    c->daif = PS_DAIF;
    c->el = c->has_el3 ? 3 : c->has_el2 ? 2 : 1;
    c->spsel = true;
    for (unsigned i = 1; i < 4; i++) {
        c->sctlr[i] = 0x30c50830;
    }
    c->sctlr[1] = 0x30d00800;
    c->scr = 0;
    c->hcr = 0;
    c->vpidr = c->model->midr;
    c->vmpidr = c->mpidr;
    c->cptr[2] = 0x33ff;
    c->cpacr = 0;
    c->oslsr = 1;
    c->rndr_seed = c->mpidr * 0x9e3779b97f4a7c15ull;
    c->exc = EXC_NONE;
    c->tagged_va = false;
    c->event_reg = false;
    a64_timer_reset(c);
    a64_update_mode(c);
}

static void reset(VCpu *cpu)
{
    Arm64Cpu *c = arm64(cpu);

    vcpu_unsignal(cpu, VCPU_RESET | EV_WAKE);
    a64_power_on(c);
    c->start_on = c->vcpu.index == 0 || c->boot_on;
    c->pc = c->start_pc;
    c->x[0] = c->start_x0;
    if (c->start_el && c->start_el < c->el) {
        if (c->el == 3) { /* what firmware would have set up */
            c->scr = SCR_NS | SCR_RW | (c->has_el2 ? SCR_HCE : 0);
        }
        if (c->has_el2) {
            c->hcr = HCR_RW;
            c->cntkctl[2] = 3;
        }
        c->el = c->start_el;
    }
    __atomic_store_n(&c->powered_off, !c->start_on, __ATOMIC_SEQ_CST);
    cpu->halted = c->powered_off;
    a64_update_mode(c);
    a64_flush(c, false);
}

/* ---- Target ---- */

static bool init(VCpu *cpu, const char *model, GError **err)
{
    Arm64Cpu *c = arm64(cpu);

    c->clock = cpu->machine ? cpu->machine->virtual_clock : NULL;
    a64_timer_init(c);
    if (!a64_model_init(c, model, err)) {
        return false;
    }
    reset(cpu);
    return true;
}

static void target_free(VCpu *cpu)
{
    a64_timer_free(arm64(cpu));
}

static uint64_t get_pc(VCpu *cpu)
{
    return arm64(cpu)->pc;
}

static void set_pc(VCpu *cpu, uint64_t pc)
{
    arm64(cpu)->pc = pc;
}

static const JitTarget jit_target = {
    .globals = a64_jit_globals,
    .n_globals = AG_COUNT,
    .flags_global = AG_CC,
    .pc_off = offsetof(Arm64Cpu, pc),
    .n_mmu = MMU_COUNT,
    .max_block = 64,
    .get_mode = get_mode,
    .linear_pc = linear_pc,
    .mmu_index = mmu_index,
    .translate = a64_translate,
    .walk = a64_walk,
    .set_align_fault = a64_set_align_fault,
    .deliver = a64_deliver,
    .take_event = a64_take_event,
    .mxcsr_off = offsetof(Arm64Cpu, mxcsr),
};

const Target arm64_target = {
    .name = "aarch64",
    .default_machine = "virt",
    .disas = VCPU_DISAS_AARCH64,
    .state_size = sizeof(Arm64Cpu),
    .state_align = __alignof__(Arm64Cpu),
    .max_vcpus = 512,
    .jit = &jit_target,
    .state = &a64_state_table,
    .gdb_arch = "aarch64",
    .gdb_xml = a64_gdb_xml,
    .gdb_num_regs = A64_GDB_REGS,
    .gdb_read = a64_gdb_read,
    .gdb_write = a64_gdb_write,
    .init = init,
    .free = target_free,
    .reset = reset,
    .models = a64_model_list,
    .has_work = a64_has_work,
    .get_pc = get_pc,
    .set_pc = set_pc,
    .debug_translate = a64_debug_translate,
    .dump = a64_dump,
    .dump_tlb = a64_dump_tlb,
    .get_reg = a64_get_reg,
};

/* ---- core/arm64-board.h ---- */

void arm64_set_timer_irq(VCpu *cpu, unsigned timer, Irq irq)
{
    arm64(cpu)->timer[timer].irq = irq;
}

void arm64_set_irq(VCpu *cpu, unsigned line, int level)
{
    static const uint32_t events[] = {EV_IRQ, EV_FIQ, EV_VIRQ, EV_VFIQ};

    if (level) {
        vcpu_signal(cpu, events[line]);
    } else {
        vcpu_unsignal(cpu, events[line]);
    }
}

void arm64_set_psci(VCpu *cpu, Arm64Psci conduit)
{
    arm64(cpu)->psci = conduit;
}

void arm64_set_start(VCpu *cpu, uint64_t pc, uint64_t x0, unsigned el, bool on)
{
    Arm64Cpu *c = arm64(cpu);

    c->start_pc = pc;
    c->start_x0 = x0;
    c->start_el = el;
    c->boot_on = on;
}
