/* x86 under KVM: set-up, events, exits. Kernel's Documentation/virt/kvm/api.rst. */
#include "core/clock.h"
#include "core/log.h"
#include "target/x86/kvm-x86.h"
#include <cpuid.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Pages that processors without unrestricted guest mode need, in a hole of the memory map. */
#define IDENTITY_MAP 0xfeffc000ull
#define TSS_PAGES 0xfeffd000ull

static bool vm_init(Machine *m, GError **err)
{
    uint64_t map = IDENTITY_MAP;
    int r;

    if (!kvm_check(m, KVM_CAP_XSAVE) || !kvm_check(m, KVM_CAP_DEBUGREGS) ||
        !kvm_check(m, KVM_CAP_VCPU_EVENTS)) {
        return fail(err, "-accel kvm: the host's kernel cannot hand out all of a CPU's state "
                         "(KVM_CAP_XSAVE, KVM_CAP_DEBUGREGS, KVM_CAP_VCPU_EVENTS); use a newer "
                         "kernel or -accel jit");
    }
    if (kvm_check(m, KVM_CAP_SET_IDENTITY_MAP_ADDR) &&
        (r = kvm_vm_ioctl(m, KVM_SET_IDENTITY_MAP_ADDR, &map)) < 0) {
        return fail(err, "-accel kvm: the kernel refuses the identity map's address: %s",
                    strerror(-r));
    }
    if (kvm_check(m, KVM_CAP_SET_TSS_ADDR) &&
        (r = kvm_vm_ioctl(m, KVM_SET_TSS_ADDR, (void *)(uintptr_t)TSS_PAGES)) < 0) {
        return fail(err, "-accel kvm: the kernel refuses the address of its TSS pages: %s",
                    strerror(-r));
    }
    x86_kvm_msr_filter(m);
    return true;
}

static void vcpu_fini(VCpu *cpu)
{
    X86Kvm *x = kvm_target_data(cpu);

    if (x) {
        x86(cpu)->ext = NULL;
        g_free(x->xsave);
        g_free(x->xsave_last);
        g_free(x);
        kvm_set_target_data(cpu, NULL);
    }
}

/* The guest's TSC counts as the kernel's does, or the kernel scales it. */
static bool tsc_init(X86Cpu *c, GError **err)
{
    Machine *m = c->vcpu.machine;
    uint64_t want = c->tsc_set ? c->tsc_hz / 1000 : 0;
    int khz, r;

    if (want && kvm_check(m, KVM_CAP_TSC_CONTROL)) {
        r = kvm_vcpu_ioctl(&c->vcpu, KVM_SET_TSC_KHZ, (void *)(uintptr_t)want);
        if (r < 0) {
            return fail(err, "-cpu tsc-frequency: the kernel refuses %" PRIu64 " kHz: %s", want,
                        strerror(-r));
        }
    }
    khz = kvm_vcpu_ioctl(&c->vcpu, KVM_GET_TSC_KHZ, NULL);
    if (khz <= 0) {
        return true; /* an unstable TSC: guests do not trust it, either */
    }
    if (want && ABS((int64_t)want - khz) > khz / 4000) {
        return fail(err,
                    "-cpu tsc-frequency: this host's KVM does not scale the counter; only "
                    "%d000 is possible",
                    khz);
    }
    if (!c->tsc_set) {
        c->tsc_hz = khz * 1000ull;
    }
    return true;
}

/* Components that fit into the kernel's image, by the processor's own description. */
static void ext_init(X86Cpu *c, X86Kvm *x)
{
    uint32_t a, b, cx, d;

    x->ext.image = x->xsave;
    for (unsigned i = 2; i < 63 && __get_cpuid_count(0xd, i, &a, &b, &cx, &d); i++) {
        if (a && !(cx & 1) && b >= 576 && (uint64_t)a + b <= x->xsave_size) {
            x->ext.comp[i].size = a;
            x->ext.comp[i].off = b;
            x->ext.comp[i].align = cx & 2;
            x->ext.mask |= 1ull << i;
        }
    }
    c->ext = &x->ext;
}

static bool vcpu_init(VCpu *cpu, GError **err)
{
    X86Cpu *c = x86(cpu);
    X86Kvm *x = g_new0(X86Kvm, 1);
    Machine *m = cpu->machine;

    kvm_set_target_data(cpu, x);
    x->sregs2 = kvm_check(m, KVM_CAP_SREGS2);
    x->xcrs = kvm_check(m, KVM_CAP_XCRS);
    x->nmi = kvm_check(m, KVM_CAP_USER_NMI);
    x->xsave_size = MAX((size_t)kvm_check(m, KVM_CAP_XSAVE2), sizeof(struct kvm_xsave));
    x->xsave = g_malloc0(x->xsave_size);
    x->xsave_last = g_malloc0(x->xsave_size);
    ext_init(c, x);
    return x86_kvm_cpuid_init(c, err) && tsc_init(c, err) && x86_kvm_msrs_init(c, err);
}

/* ---- what the kernel can do ---- */

static uint32_t events_now(const X86Cpu *c)
{
    return __atomic_load_n(&c->vcpu.events, __ATOMIC_SEQ_CST);
}

static bool debugged(const VCpu *cpu)
{
    return cpu->debug_step || cpu->breakpoints->len || cpu->watchpoints->len;
}

static bool can_run(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint32_t special = VCPU_RESET | VCPU_INIT | VCPU_SIPI | VCPU_SMI | VCPU_TRAP;

    if (!x86_kvm(c)->nmi) {
        special |= VCPU_NMI;
    }
    return !(events_now(c) & special) && !c->in_smm && !c->a20_off && !c->task_load &&
           !c->shutdown && !c->wait_sipi && c->exc < 0 && !debugged(cpu);
}

static bool may_translate(VCpu *cpu, bool at_all, const char **why)
{
    X86Cpu *c = x86(cpu);

    if (c->cr4 & ~x86_cr4_mask(c)) {
        *why = "the guest uses control register bits that the translator does not know";
        return false;
    }
    if (at_all && c->xcr0 & ~3ull) {
        *why = "the guest uses AVX or other extended state, which the translator does not have "
               "(-cpu with -avx avoids it)";
        return false;
    }
    return true;
}

static void handing_over(VCpu *cpu, bool on)
{
    X86Cpu *c = x86(cpu);

    c->may_give_back = on;
    c->give_back = false;
}

static bool gives_back(VCpu *cpu)
{
    return x86(cpu)->give_back;
}

/* mov $n/2,%ecx; 1: dec %ecx; jnz 1b; out: a port exit; in flat 32-bit protected mode. */
static bool calibrate(Machine *m, int fd, void *page, size_t size, unsigned n)
{
    static const uint8_t code[] = {0xb9, 0, 0, 0, 0, 0x49, 0x75, 0xfd, 0xe6, 0x80};
    const struct kvm_segment flat = {
        .limit = 0xffffffff, .selector = 0x10, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    struct kvm_regs regs = {.rflags = 2};
    struct kvm_sregs s;
    uint32_t rounds = n / 2;

    memcpy(page, code, sizeof(code));
    memcpy((uint8_t *)page + 1, &rounds, 4);
    if (kvm_fd_ioctl(m, fd, KVM_GET_SREGS, &s) < 0) {
        return false;
    }
    s.ds = s.es = s.ss = s.fs = s.gs = s.cs = flat;
    s.cs.selector = 8;
    s.cs.type = 11;
    s.cr0 |= CR0_PE;
    return kvm_fd_ioctl(m, fd, KVM_SET_SREGS, &s) >= 0 &&
           kvm_fd_ioctl(m, fd, KVM_SET_REGS, &regs) >= 0 && kvm_fd_ioctl(m, fd, KVM_RUN, NULL) >= 0;
}

/* ---- around KVM_RUN ---- */

static void before_run(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    X86Kvm *x = x86_kvm(c);
    struct kvm_run *run = kvm_run_page(cpu);
    uint32_t ev = events_now(c);

    if (G_UNLIKELY(ev & VCPU_NMI)) {
        vcpu_unsignal(cpu, VCPU_NMI);
        kvm_vcpu_ioctl(cpu, KVM_NMI, NULL);
    }
    if (ev & VCPU_IRQ && x->irq_ready) {
        int vec = c->intc && c->intc->ack ? c->intc->ack(c->intc_opaque) : -1;

        if (vec >= 0) {
            struct kvm_interrupt irq = {.irq = vec & 0xff};

            kvm_vcpu_ioctl(cpu, KVM_INTERRUPT, &irq);
        }
        x->irq_ready = false;
        ev = events_now(c);
    }
    run->request_interrupt_window = (ev & VCPU_IRQ) != 0;
    if (c->intc && c->intc->get_priority) {
        run->cr8 = x->cr8 = c->intc->get_priority(c->intc_opaque);
    }
}

static void after_run(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    X86Kvm *x = x86_kvm(c);
    const struct kvm_run *run = kvm_run_page(cpu);

    x->irq_ready = run->ready_for_interrupt_injection;
    if (run->cr8 != x->cr8 && c->intc && c->intc->set_priority) {
        x->cr8 = run->cr8;
        c->intc->set_priority(c->intc_opaque, x->cr8);
    }
}

static KvmNext halt(VCpu *cpu)
{
    if (kvm_run_page(cpu)->if_flag && events_now(x86(cpu)) & VCPU_IRQ) {
        return KVM_NEXT_RUN;
    }
    cpu->halted = true;
    return KVM_NEXT_LEAVE;
}

static KvmNext on_exit_reason(VCpu *cpu, struct kvm_run *run)
{
    switch (run->exit_reason) {
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        return x86_kvm_msr_exit(x86(cpu), run);
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_TPR_ACCESS:
    case KVM_EXIT_X86_BUS_LOCK:
    case KVM_EXIT_DIRTY_RING_FULL:
        return KVM_NEXT_RUN;
    case KVM_EXIT_HYPERCALL:
        run->hypercall.ret = (uint64_t)-ENOSYS;
        return KVM_NEXT_RUN;
    default:
        return KVM_NEXT_JIT;
    }
}

const KvmTarget x86_kvm_target = {
    .vm_init = vm_init,
    .vcpu_init = vcpu_init,
    .vcpu_fini = vcpu_fini,
    .put = x86_kvm_put,
    .get = x86_kvm_get,
    .can_run = can_run,
    .may_translate = may_translate,
    .handing_over = handing_over,
    .gives_back = gives_back,
    .calibrate = calibrate,
    .before_run = before_run,
    .after_run = after_run,
    .exit = on_exit_reason,
    .halt = halt,
};
