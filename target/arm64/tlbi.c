/*
 * TLB maintenance of AArch64. DDI 0487 section D8.13.
 *
 * A broadcast is queued on the other vCPUs, who do it at their next instruction boundary; DSB waits
 * until all have. Entries are not kept by ASID or VMID: those of other contexts than the current
 * one are gone already when the context changes.
 */
#include "core/machine.h"
#include "target/arm64/cpu.h"
#include "target/arm64/helpers.h"

typedef struct Flush {
    Arm64Cpu *issuer;
    uint64_t va;
    enum { FLUSH_ALL, FLUSH_LOCAL, FLUSH_VA } what;
} Flush;

static void apply(Arm64Cpu *c, int what, uint64_t va)
{
    if (!c->vcpu.accel_data) {
        return;
    }
    switch (what) {
    case FLUSH_VA:
        if (c->tagged_va) {
            jit_tlb_flush(&c->vcpu, false);
        } else {
            jit_tlb_flush_page(&c->vcpu, va);
        }
        break;
    case FLUSH_LOCAL:
        jit_tlb_flush(&c->vcpu, true);
        break;
    default:
        jit_tlb_flush(&c->vcpu, false);
    }
}

static void remote(VCpu *cpu, void *arg)
{
    Flush *f = arg;

    apply(arm64(cpu), f->what, f->va);
    __atomic_sub_fetch(&f->issuer->tlbi_pending, 1, __ATOMIC_SEQ_CST);
    g_free(f);
}

static void flush(Arm64Cpu *c, bool broadcast, int what, uint64_t va)
{
    const Machine *m = c->vcpu.machine;

    apply(c, what, va);
    for (unsigned i = 0; broadcast && m && i < m->n_vcpus; i++) {
        VCpu *other = m->vcpus[i];
        Flush *f;

        if (other == &c->vcpu || !other->started) {
            continue;
        }
        f = g_new(Flush, 1);
        *f = (Flush){.issuer = c, .va = va, .what = what};
        __atomic_add_fetch(&c->tlbi_pending, 1, __ATOMIC_SEQ_CST);
        vcpu_queue(other, remote, f);
    }
}

bool a64_tlbi(Arm64Cpu *c, uint32_t reg, uint64_t val)
{
    unsigned op1 = reg >> 11 & 7, crm = reg >> 3 & 15, op2 = reg & 7;
    bool is = crm == 3 || crm == 0 || crm == 2; /* inner shareable */
    uint64_t va = (uint64_t)((int64_t)(val << 20) >> 8) & ~0xfffull;

    if ((op1 == 4 && (c->el < 2 || !c->has_el2)) || (op1 == 6 && c->el < 3) ||
        (op1 != 0 && op1 != 4 && op1 != 6)) {
        return false;
    }
    if (c->el == 1 && a64_el2_enabled(c) && c->hcr & (HCR_VM | HCR_DC)) {
        is = true; /* HCR_EL2.FB is a refinement of this */
    }
    switch (crm) {
    case 3:
    case 7:
        break;
    case 0: /* by intermediate address, EL2 */
    case 4:
        if (op1 != 4) {
            return false;
        }
        flush(c, is, FLUSH_ALL, 0);
        return true;
    default:
        return false;
    }
    switch (op2) {
    case 1:
    case 3:
    case 5:
    case 7:
        if (op1 && op2 != 1 && op2 != 5) {
            return false;
        }
        if (op1 && c->tcr[op1 == 4 ? 2 : 3] >> 20 & 1) {
            va &= (1ull << 56) - 1;
        }
        /* The mapping may be a block: without a size, drop what a block could cover. */
        flush(c, is, FLUSH_VA, va);
        return true;
    case 2:
        if (op1) {
            return false;
        }
        flush(c, is, FLUSH_LOCAL, 0);
        return true;
    case 0:
    case 4:
    case 6:
        flush(c, is, FLUSH_ALL, 0);
        return true;
    default:
        return false;
    }
}

/* Wait until the others have done what was broadcast. The instruction runs again meanwhile, so that
 * this vCPU does what others ask of it. */
uint64_t a64_h_dsb(VCpu *cpu)
{
    Arm64Cpu *c = arm64(cpu);

    for (unsigned i = 0; i < 200; i++) {
        if (!__atomic_load_n(&c->tlbi_pending, __ATOMIC_SEQ_CST)) {
            return 0;
        }
        __builtin_ia32_pause();
    }
    g_thread_yield();
    jit_leave(cpu);
}
