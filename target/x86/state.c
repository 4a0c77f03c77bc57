/* The x86 CPU's saved state. */
#include "core/log.h"
#include "target/x86/sys.h"

static const StateField seg_fields[] = {
    STATE_U16(X86Seg, sel),   STATE_U32(X86Seg, attr), STATE_U64(X86Seg, base),
    STATE_U32(X86Seg, limit), STATE_END_FIELD,
};
static const StateTable seg_table = {.name = "seg", .version = 1, .fields = seg_fields};

static const StateField table_fields[] = {
    STATE_U64(X86Table, base),
    STATE_U16(X86Table, limit),
    STATE_END_FIELD,
};
static const StateTable table_table = {.name = "table", .version = 1, .fields = table_fields};

#define WORDS(f)                                                                                   \
    {                                                                                              \
        .name = #f, .kind = STATE_U64, .off = offsetof(X86Cpu, f),                                 \
        .count = sizeof(((X86Cpu *)0)->f) / 8, .stride = 8                                         \
    }
#define ONE(f, T, tab)                                                                             \
    {                                                                                              \
        .name = #f, .kind = STATE_STRUCT, .off = offsetof(X86Cpu, f), .count = 1,                  \
        .stride = sizeof(T), .table = (tab)                                                        \
    }

static const StateField cpu_fields[] = {
    WORDS(regs),
    STATE_U32(X86Cpu, cc),
    STATE_U32(X86Cpu, eflags),
    STATE_U64(X86Cpu, rip),
    STATE_U32(X86Cpu, mxcsr),
    WORDS(xmm),
    STATE_STRUCT_ARRAY(X86Cpu, seg, X86Seg, &seg_table),
    ONE(gdt, X86Table, &table_table),
    ONE(idt, X86Table, &table_table),
    STATE_U64(X86Cpu, cr0),
    STATE_U64(X86Cpu, cr2),
    STATE_U64(X86Cpu, cr3),
    STATE_U64(X86Cpu, cr4),
    STATE_U64(X86Cpu, xcr0),
    STATE_U64(X86Cpu, efer),
    STATE_U64(X86Cpu, star),
    STATE_U64(X86Cpu, lstar),
    STATE_U64(X86Cpu, cstar),
    STATE_U64(X86Cpu, sfmask),
    STATE_U64(X86Cpu, kernel_gs_base),
    STATE_U64(X86Cpu, tsc_aux),
    STATE_U64(X86Cpu, sysenter_cs),
    STATE_U64(X86Cpu, sysenter_esp),
    STATE_U64(X86Cpu, sysenter_eip),
    STATE_U64(X86Cpu, pat),
    STATE_U64(X86Cpu, misc_enable),
    STATE_U64(X86Cpu, tsc_offset),
    STATE_U64(X86Cpu, tsc_adjust),
    STATE_U64(X86Cpu, smbase),
    STATE_U64(X86Cpu, mtrr_def_type),
    STATE_U64_ARRAY(X86Cpu, mtrr_fixed),
    STATE_U64_ARRAY(X86Cpu, mtrr_base),
    STATE_U64_ARRAY(X86Cpu, mtrr_mask),
    STATE_U64(X86Cpu, mcg_status),
    STATE_U64(X86Cpu, mcg_ctl),
    STATE_U64_ARRAY(X86Cpu, mc_bank),
    STATE_U64(X86Cpu, debugctl),
    STATE_U64_ARRAY(X86Cpu, dr),
    WORDS(fpr),
    STATE_U16(X86Cpu, fctrl),
    STATE_U16(X86Cpu, fstat),
    STATE_U8(X86Cpu, ftop),
    STATE_U8(X86Cpu, ftag_empty),
    STATE_U16(X86Cpu, fop),
    STATE_U64(X86Cpu, fip),
    STATE_U64(X86Cpu, fdp),
    STATE_U16(X86Cpu, fcs),
    STATE_U16(X86Cpu, fds),
    STATE_U64_ARRAY(X86Cpu, pdpte),
    STATE_U32(X86Cpu, pending_db),
    STATE_BOOL(X86Cpu, shadow),
    STATE_BOOL(X86Cpu, shadow_ss),
    STATE_BOOL(X86Cpu, task_load),
    STATE_BOOL(X86Cpu, shutdown),
    STATE_BOOL(X86Cpu, nmi_masked),
    STATE_BOOL(X86Cpu, smm_nmi_masked),
    STATE_BOOL(X86Cpu, in_smm),
    STATE_BOOL(X86Cpu, wait_sipi),
    STATE_BOOL(X86Cpu, a20_off),
    STATE_U32(X86Cpu, saved_events),
    STATE_U32(X86Cpu, n_kvm_msrs),
    STATE_U32_ARRAY(X86Cpu, kvm_msr_index),
    STATE_U64_ARRAY(X86Cpu, kvm_msr_val),
    STATE_U8(X86Cpu, vcpu.sipi_vector),
    STATE_BOOL(X86Cpu, vcpu.halted),
    STATE_END_FIELD,
};

/* Events that are latched in the CPU; level ones come from the interrupt controller. */
#define LATCHED (VCPU_NMI | VCPU_SMI | VCPU_INIT | VCPU_SIPI | VCPU_TRAP)

static void pre_save(void *obj)
{
    X86Cpu *c = obj;

    c->saved_events = __atomic_load_n(&c->vcpu.events, __ATOMIC_SEQ_CST) & LATCHED;
}

static bool check(const X86Cpu *c)
{
    bool pg = c->cr0 & CR0_PG, lma = c->efer & EFER_LMA;

    if (c->cr0 >> 32 || (pg && !(c->cr0 & CR0_PE)) || c->cr4 & ~x86_cr4_mask(c) ||
        c->efer & ~x86_efer_mask(c)) {
        return false;
    }
    if (lma != (pg && c->efer & EFER_LME) || (lma && !(c->cr4 & CR4_PAE))) {
        return false;
    }
    if (c->eflags & EF_VM && (lma || !(c->cr0 & CR0_PE))) {
        return false;
    }
    /* The host's control register takes this value: reserved bits would fault there. */
    if (c->mxcsr & ~0xffffu || c->ftop > 7 || c->xcr0 & ~(3ull | (c->ext ? c->ext->mask : 0)) ||
        !(c->xcr0 & 1)) {
        return false;
    }
    return !(c->saved_events & ~LATCHED) && c->n_kvm_msrs <= G_N_ELEMENTS(c->kvm_msr_index);
}

static bool post_load(void *obj, GError **err)
{
    X86Cpu *c = obj;

    if (!check(c)) {
        return fail(err, "The saved state of a CPU cannot be: its registers contradict each other");
    }
    x86_set_eflags(c, (c->eflags & ~EF_ARITH) | x86_cc_to_eflags(c->cc));
    c->exc = -1;
    c->in_delivery = false;
    c->delivering = -1;
    for (unsigned i = 0; i < S_COUNT; i++) {
        c->seg[i].attr &= DESC_ATTR_MASK;
    }
    x86_update_mode(c);
    vcpu_unsignal(&c->vcpu, LATCHED);
    if (c->saved_events) {
        vcpu_signal(&c->vcpu, c->saved_events);
    }
    if (c->smm_hook) {
        c->smm_hook(c->smm_opaque, c->in_smm);
    }
    x86_flush_all(c);
    return true;
}

const StateTable x86_state_table = {
    .name = "x86-cpu",
    .version = 1,
    .fields = cpu_fields,
    .pre_save = pre_save,
    .post_load = post_load,
};
