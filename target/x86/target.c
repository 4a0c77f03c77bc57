/*
 * The x86 targets: initialisation, reset, events, and what boards and devices may ask of the CPU
 * (core/intc.h). Intel SDM volume 3, chapter 10 (processor management): states after power-up
 * and INIT; chapter 6.9: priority of events.
 */
#include "core/log.h"
#include "core/machine.h"
#include "target/x86/sys.h"
#include "target/x86/translate.h"
#include "target/x86/x86.h"
#include <string.h>

/* ---- JitTarget ---- */

static uint64_t linear_pc(VCpu *cpu, uint64_t pc, uint64_t mode)
{
    return mode & M_CODE64 ? pc : (uint32_t)((mode >> 32) + pc);
}

static unsigned mmu_index(uint64_t mode)
{
    return (mode & M_CPL) == 3 ? MMU_USER : mode & M_AC_SMAP ? MMU_KERNEL_SMAP : MMU_KERNEL;
}

static void set_align_fault(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu)
{
    /* Without #AC enabled, only operands of SSE instructions must be aligned; with it, those
     * are checked by a helper (x86_tr_load_vec). */
    x86_set_exc(x86(cpu), x86_mode(cpu) & M_ALIGN ? EXC_AC : EXC_GP, EV_FAULT, true, 0);
}

/* ---- events ---- */

static uint32_t events_now(VCpu *cpu)
{
    return __atomic_load_n(&cpu->events, __ATOMIC_SEQ_CST);
}

static bool has_work(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint32_t ev = events_now(cpu);

    if (ev & VCPU_RESET) {
        return true;
    }
    if (c->wait_sipi) {
        return ev & (VCPU_SIPI | VCPU_INIT);
    }
    if (ev & (VCPU_SMI | VCPU_INIT) && !c->in_smm) {
        return true;
    }
    if (ev & VCPU_NMI && !c->nmi_masked) {
        return true;
    }
    if (c->shutdown) {
        return false;
    }
    return ev & VCPU_TRAP || (ev & VCPU_IRQ && c->eflags & EF_IF);
}

static void take_sipi(X86Cpu *c)
{
    uint8_t vec = c->vcpu.sipi_vector;

    vcpu_unsignal(&c->vcpu, VCPU_SIPI);
    if (!c->wait_sipi) {
        return;
    }
    c->wait_sipi = false;
    c->vcpu.halted = false;
    c->seg[S_CS].sel = vec << 8;
    c->seg[S_CS].base = (uint32_t)vec << 12;
    c->rip = 0;
    x86_update_mode(c);
}

/* Debug traps of the instruction before. */
static bool take_trap(X86Cpu *c)
{
    vcpu_unsignal(&c->vcpu, VCPU_TRAP);
    if (c->task_load) {
        x86_task_finish(c);
        /* The T bit of the new TSS asked for a trap: at the next look. */
        if (c->pending_db) {
            vcpu_signal(&c->vcpu, VCPU_TRAP);
        }
        return true;
    }
    if (!c->pending_db) {
        return false;
    }
    c->dr[6] |= c->pending_db;
    c->pending_db = 0;
    x86_enter_event(c, EXC_DB, EV_TRAP);
    return true;
}

static bool take_irq(X86Cpu *c)
{
    int vec = c->intc && c->intc->ack ? c->intc->ack(c->intc_opaque) : -1;

    if (vec < 0) {
        return false;
    }
    x86_enter_event(c, vec & 0xff, EV_EXT);
    return true;
}

static bool take_event(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint32_t ev = events_now(cpu);

    if (ev & VCPU_RESET) {
        vcpu_unsignal(cpu, VCPU_RESET);
        cpu->target->reset(cpu);
        return true;
    }
    if (c->wait_sipi) {
        if (ev & VCPU_INIT) {
            x86_init_reset(c);
            return true;
        }
        if (ev & VCPU_SIPI) {
            take_sipi(c);
            return true;
        }
        cpu->halted = true;
        return false;
    }
    if (ev & VCPU_SIPI && !(ev & VCPU_INIT)) {
        vcpu_unsignal(cpu, VCPU_SIPI); /* means nothing to a running CPU; after INIT it does */
    }
    /* A task switch is half done: nothing may come in between. */
    if (ev & VCPU_TRAP && c->task_load) {
        return take_trap(c);
    }
    if (ev & VCPU_SMI && !c->in_smm) {
        vcpu_unsignal(cpu, VCPU_SMI);
        x86_smm_enter(c);
        return true;
    }
    if (ev & VCPU_INIT && !c->in_smm) {
        x86_init_reset(c);
        return true;
    }
    if (ev & VCPU_NMI && !c->nmi_masked && c->shutdown) {
        c->shutdown = false;
    }
    if (c->shutdown) {
        cpu->halted = true;
        return false;
    }
    if (ev & VCPU_TRAP && take_trap(c)) {
        return true;
    }
    if (ev & VCPU_NMI && !c->nmi_masked && !(c->shadow && c->shadow_ss)) {
        vcpu_unsignal(cpu, VCPU_NMI);
        c->nmi_masked = true;
        x86_enter_event(c, EXC_NMI, EV_EXT);
        return true;
    }
    if (ev & VCPU_IRQ && c->eflags & EF_IF && !c->shadow) {
        return take_irq(c);
    }
    return false;
}

/* ---- reset ---- */

void x86_flush_all(X86Cpu *c)
{
    VCpu *cpu = &c->vcpu;

    if (cpu->accel && cpu->accel->flush_tlb && cpu->accel_data) {
        cpu->accel->flush_tlb(cpu);
    }
}

static void reset_segments(X86Cpu *c)
{
    for (unsigned i = 0; i < S_COUNT; i++) {
        c->seg[i] = (X86Seg){
            .limit = 0xffff,
            .attr = DESC_P | DESC_S | DESC_W | DESC_A,
        };
    }
    c->seg[S_CS].sel = 0xf000;
    c->seg[S_CS].base = 0xffff0000;
    c->seg[S_CS].attr |= DESC_CODE;
    c->seg[S_LDTR].attr = DESC_P | SYS_LDT << DESC_TYPE_SHIFT;
    c->seg[S_TR].attr = DESC_P | SYS_TSS_BUSY << DESC_TYPE_SHIFT;
    c->gdt = c->idt = (X86Table){.limit = 0xffff};
}

/* What power-up and INIT have in common. */
static void reset_common(X86Cpu *c, bool init)
{
    bool bsp = c->vcpu.index == 0;

    memset(c->regs, 0, sizeof(c->regs));
    c->regs[R_RDX] = c->cpuid_version;
    x86_set_eflags(c, 2);
    c->rip = 0xfff0;
    reset_segments(c);
    c->cr0 = (init ? c->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW) | CR0_ET;
    c->cr2 = c->cr3 = c->cr4 = 0;
    memset(c->pdpte, 0, sizeof(c->pdpte));
    memset(c->dr, 0, sizeof(c->dr));
    c->dr[6] = 0xffff0ff0;
    c->dr[7] = 0x400;
    x86_msr_reset(c, init);
    c->exc = -1;
    c->in_delivery = c->shadow = c->shadow_ss = c->task_load = c->shutdown = false;
    c->nmi_masked = c->in_smm = c->smi_pending = false;
    c->delivering = -1;
    c->pending_db = 0;
    c->wait_sipi = !bsp;
    c->vcpu.halted = !bsp;
    x86_update_mode(c);
}

static void reset_fpu(X86Cpu *c)
{
    memset(c->fpr, 0, sizeof(c->fpr));
    memset(c->xmm, 0, sizeof(c->xmm));
    c->fctrl = 0x40;
    c->fstat = c->ftop = c->ftag_empty = 0; /* all tags "zero" */
    c->fop = c->fcs = c->fds = 0;
    c->fip = c->fdp = 0;
    c->mxcsr = 0x1f80;
    c->xcr0 = 1;
}

static void power_on(X86Cpu *c)
{
    if (c->in_smm && c->smm_hook) {
        c->smm_hook(c->smm_opaque, false);
    }
    reset_common(c, false);
    reset_fpu(c);
}

static void reset(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);

    vcpu_unsignal(cpu, VCPU_NMI | VCPU_SMI | VCPU_INIT | VCPU_SIPI | VCPU_RESET | VCPU_TRAP);
    power_on(c);
    x86_flush_all(c);
}

void x86_init_reset(X86Cpu *c)
{
    /* A SIPI that waits stays: INIT and SIPI may have come before either was looked at. */
    vcpu_unsignal(&c->vcpu, VCPU_INIT | VCPU_TRAP);
    reset_common(c, true);
    if (c->intc && c->intc->init_reset) {
        c->intc->init_reset(c->intc_opaque);
    }
    jit_tlb_flush(&c->vcpu, false);
}

/* ---- Target ---- */

static void topology(X86Cpu *c)
{
    const Machine *m = c->vcpu.machine;

    c->smp_total = m && m->cfg.smp ? m->cfg.smp : 1;
    c->smp_cores = m && m->cfg.cores ? m->cfg.cores : 1;
    c->smp_threads = m && m->cfg.threads ? m->cfg.threads : 1;
}

static void release(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);

    g_free((void *)c->kvm_limits);
    c->kvm_limits = NULL;
}

static bool init(VCpu *cpu, const char *model, bool long_mode, GError **err)
{
    X86Cpu *c = x86(cpu);

    c->tsc_hz = NS_PER_SEC;
    c->apic_id = cpu->index;
    c->ucode_rev = 1;
    topology(c);
    if (cpu->machine && cpu->machine->kvm) {
        X86KvmLimits *l = g_new0(X86KvmLimits, 1);

        c->kvm_limits = l;
        if (!x86_kvm_limits(cpu->machine, l, err)) {
            release(cpu);
            return false;
        }
    }
    if (!x86_model_init(c, model, long_mode, err)) {
        release(cpu);
        return false;
    }
    power_on(c);
    return true;
}

static bool init64(VCpu *cpu, const char *model, GError **err)
{
    return init(cpu, model, true, err);
}

static bool init32(VCpu *cpu, const char *model, GError **err)
{
    return init(cpu, model, false, err);
}

static char *models64(void)
{
    return x86_model_list(true);
}

static char *models32(void)
{
    return x86_model_list(false);
}

static uint64_t get_pc(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);

    return x86_code64(c) ? c->rip : (uint32_t)(c->seg[S_CS].base + c->rip);
}

static void set_pc(VCpu *cpu, uint64_t pc)
{
    X86Cpu *c = x86(cpu);

    c->rip = x86_code64(c) ? pc : (uint32_t)(pc - c->seg[S_CS].base);
}

static const JitTarget jit_target = {
    .globals = x86_jit_globals,
    .n_globals = XG_COUNT,
    .flags_global = XG_CC,
    .pc_off = offsetof(X86Cpu, rip),
    .n_mmu = MMU_COUNT,
    .max_block = 64,
    .get_mode = x86_mode,
    .linear_pc = linear_pc,
    .mmu_index = mmu_index,
    .translate = x86_translate,
    .walk = x86_walk,
    .set_align_fault = set_align_fault,
    .deliver = x86_deliver,
    .take_event = take_event,
    .mxcsr_off = offsetof(X86Cpu, mxcsr),
};

#if defined(__x86_64__) && defined(__linux__)
#define X86_KVM &x86_kvm_target
#else
#define X86_KVM NULL
#endif

/* ---- core/intc.h ---- */

static void set_intc(VCpu *cpu, const LocalIntc *intc, void *opaque)
{
    x86(cpu)->intc = intc;
    x86(cpu)->intc_opaque = opaque;
}

static void apply_a20(VCpu *cpu, void *arg)
{
    X86Cpu *c = x86(cpu);
    bool off = arg != NULL;

    if (c->a20_off != off) {
        c->a20_off = off;
        x86_flush_all(c);
    }
}

static void set_a20(VCpu *cpu, bool on)
{
    void *arg = on ? NULL : GINT_TO_POINTER(1);

    if (cpu == vcpu_current() || !cpu->started) {
        apply_a20(cpu, arg);
    } else {
        vcpu_queue(cpu, apply_a20, arg);
    }
}

static void set_local_id(VCpu *cpu, uint32_t id)
{
    x86(cpu)->apic_id = id;
}

static void set_fpu_error(VCpu *cpu, void (*fn)(void *opaque, int level), void *opaque)
{
    x86(cpu)->ferr = fn;
    x86(cpu)->ferr_opaque = opaque;
}

static void set_smm_hook(VCpu *cpu, void (*fn)(void *opaque, bool in_smm), void *opaque)
{
    x86(cpu)->smm_hook = fn;
    x86(cpu)->smm_opaque = opaque;
}

static uint64_t counter_hz(VCpu *cpu)
{
    return x86(cpu)->tsc_hz;
}

static uint64_t counter_read(VCpu *cpu)
{
    return x86_tsc(x86(cpu));
}

static void identity(VCpu *cpu, CpuIdentity *id)
{
    X86Cpu *c = x86(cpu);

    id->vendor = c->vendor;
    id->signature = c->cpuid_version;
    id->features = c->shown[FEAT_1_EDX];
    id->phys_bits = c->phys_bits;
    id->long_addresses = (c->shown[FEAT_80000001_EDX] >> 29) & 1;
}

static void enter_flat32(VCpu *cpu, uint32_t eip, uint32_t eax, uint32_t ebx)
{
    static const uint8_t data[] = {S_ES, S_SS, S_DS, S_FS, S_GS};
    X86Cpu *c = x86(cpu);

    c->cr0 = CR0_PE | CR0_ET;
    c->cr4 = c->efer = 0;
    x86_set_eflags(c, 2);
    x86_flat_cs(c, 0x10, 0, false);
    for (unsigned i = 0; i < sizeof(data); i++) {
        c->seg[data[i]] = (X86Seg){
            .sel = 0x18,
            .limit = 0xffffffff,
            .attr = DESC_P | DESC_S | DESC_W | DESC_A | DESC_G | DESC_B,
        };
    }
    c->seg[S_TR] = (X86Seg){
        .limit = 0x67,
        .attr = DESC_P | SYS_TSS_BUSY << DESC_TYPE_SHIFT,
    };
    memset(c->regs, 0, sizeof(c->regs));
    c->regs[R_RAX] = eax;
    c->regs[R_RBX] = ebx;
    c->rip = eip;
    c->wait_sipi = c->shutdown = false;
    cpu->halted = false;
    x86_update_mode(c);
    x86_flush_all(c);
}

static const CpuBoardOps board_ops = {
    .set_intc = set_intc,
    .set_local_id = set_local_id,
    .identity = identity,
    .counter_hz = counter_hz,
    .counter_read = counter_read,
    .set_a20 = set_a20,
    .set_fpu_error = set_fpu_error,
    .set_smm_hook = set_smm_hook,
    .enter_flat32 = enter_flat32,
};

/* ---- the targets ---- */

#define COMMON                                                                                     \
    .state_size = sizeof(X86Cpu), .state_align = __alignof__(X86Cpu), .max_vcpus = 255,            \
    .jit = &jit_target, .kvm = X86_KVM, .free = release, .board = &board_ops,                      \
    .state = &x86_state_table, .reset = reset, .has_work = has_work, .get_pc = get_pc,             \
    .set_pc = set_pc, .debug_translate = x86_debug_translate, .dump = x86_dump,                    \
    .dump_tlb = x86_dump_tlb, .get_reg = x86_get_reg

const Target x86_64_target = {
    COMMON,
    .name = "x86_64",
    .default_machine = "pc",
    .disas = VCPU_DISAS_X86,
    .gdb_arch = "i386:x86-64",
    .gdb_xml = x86_gdb_xml64,
    .gdb_num_regs = X86_GDB_REGS64,
    .gdb_read = x86_gdb_read64,
    .gdb_write = x86_gdb_write64,
    .init = init64,
    .models = models64,
};

const Target i386_target = {
    COMMON,
    .name = "i386",
    .default_machine = "pc",
    .disas = VCPU_DISAS_X86,
    .gdb_arch = "i386",
    .gdb_xml = x86_gdb_xml32,
    .gdb_num_regs = X86_GDB_REGS32,
    .gdb_read = x86_gdb_read32,
    .gdb_write = x86_gdb_write32,
    .init = init32,
    .models = models32,
};
