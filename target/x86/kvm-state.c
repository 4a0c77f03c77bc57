/*
 * The x86 register map of KVM: X86Cpu to and from the kernel's structures. Specification: the
 * kernel's Documentation/virt/kvm/api.rst and asm/kvm.h; format of the XSAVE area: Intel SDM volume
 * 1, chapter 13.
 *
 * put() builds the structures and gives the kernel those that differ from what it has. So they are
 * compared as built, not as read: the kernel may hand back bits in another form.
 */
#include "core/clock.h"
#include "core/log.h"
#include "target/x86/kvm-x86.h"
#include "target/x86/simd.h"
#include <errno.h>
#include <string.h>

enum {
    XS_FCW = 0,
    XS_FSW = 2,
    XS_FTW = 4,
    XS_FOP = 6,
    XS_FIP = 8,
    XS_FDP = 16,
    XS_MXCSR = 24,
    XS_ST = 32,
    XS_XMM = 160,
    XS_BV = 512,
};

/* ---- segments ---- */

static void seg_out(struct kvm_segment *k, const X86Seg *s, bool stack)
{
    uint32_t a = s->attr;

    *k = (struct kvm_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->sel,
        .dpl = a >> DESC_DPL_SHIFT & 3,
    };
    if (!(a & DESC_P)) {
        k->unusable = 1;
        k->dpl = stack ? k->dpl : 0;
        return;
    }
    k->type = a >> DESC_TYPE_SHIFT & 15;
    k->s = !!(a & DESC_S);
    k->present = 1;
    k->avl = !!(a & DESC_AVL);
    k->l = !!(a & DESC_L);
    k->db = !!(a & DESC_B);
    k->g = !!(a & DESC_G);
}

static void seg_in(X86Seg *s, const struct kvm_segment *k)
{
    s->sel = k->selector;
    s->base = k->base;
    s->limit = k->limit;
    /* Also of an unusable SS: its DPL is the CPL. */
    s->attr = (uint32_t)k->dpl << DESC_DPL_SHIFT;
    if (!k->unusable) {
        s->attr |= k->type << DESC_TYPE_SHIFT | (k->s ? DESC_S : 0) | (k->present ? DESC_P : 0) |
                   (k->avl ? DESC_AVL : 0) | (k->l ? DESC_L : 0) | (k->db ? DESC_B : 0) |
                   (k->g ? DESC_G : 0);
    }
}

/* ---- general and system registers ---- */

static void regs_out(X86Cpu *c, struct kvm_regs *k)
{
    const uint64_t *r = c->regs;

    *k = (struct kvm_regs){
        .rax = r[R_RAX],
        .rbx = r[R_RBX],
        .rcx = r[R_RCX],
        .rdx = r[R_RDX],
        .rsi = r[R_RSI],
        .rdi = r[R_RDI],
        .rsp = r[R_RSP],
        .rbp = r[R_RBP],
        .r8 = r[8],
        .r9 = r[9],
        .r10 = r[10],
        .r11 = r[11],
        .r12 = r[12],
        .r13 = r[13],
        .r14 = r[14],
        .r15 = r[15],
        .rip = c->rip,
        .rflags = x86_get_eflags(c) | 2,
    };
}

static void regs_in(X86Cpu *c, const struct kvm_regs *k)
{
    const uint64_t r[16] = {k->rax, k->rcx, k->rdx, k->rbx, k->rsp, k->rbp, k->rsi, k->rdi,
                            k->r8,  k->r9,  k->r10, k->r11, k->r12, k->r13, k->r14, k->r15};

    memcpy(c->regs, r, sizeof(r));
    c->rip = k->rip;
    x86_set_eflags(c, k->rflags);
}

static uint64_t apic_base(X86Cpu *c)
{
    uint64_t v = 0;

    if (c->intc && c->intc->reg_read) {
        c->intc->reg_read(c->intc_opaque, 0x1b, &v);
    }
    return v;
}

static uint8_t tpr(X86Cpu *c)
{
    return c->intc && c->intc->get_priority ? c->intc->get_priority(c->intc_opaque) : 0;
}

static bool pae_paging(const X86Cpu *c)
{
    return c->cr0 & CR0_PG && c->cr4 & CR4_PAE && !(c->efer & EFER_LMA);
}

static void sregs_out(X86Cpu *c, struct kvm_sregs2 *k)
{
    *k = (struct kvm_sregs2){
        .cr0 = c->cr0,
        .cr2 = c->cr2,
        .cr3 = c->cr3,
        .cr4 = c->cr4,
        .cr8 = tpr(c),
        .efer = c->efer,
        .apic_base = apic_base(c),
        .gdt = {.base = c->gdt.base, .limit = c->gdt.limit},
        .idt = {.base = c->idt.base, .limit = c->idt.limit},
    };
    seg_out(&k->cs, &c->seg[S_CS], false);
    seg_out(&k->ds, &c->seg[S_DS], false);
    seg_out(&k->es, &c->seg[S_ES], false);
    seg_out(&k->fs, &c->seg[S_FS], false);
    seg_out(&k->gs, &c->seg[S_GS], false);
    seg_out(&k->ss, &c->seg[S_SS], true);
    seg_out(&k->tr, &c->seg[S_TR], false);
    seg_out(&k->ldt, &c->seg[S_LDTR], false);
    if (pae_paging(c)) {
        k->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
        memcpy(k->pdptrs, c->pdpte, sizeof(k->pdptrs));
    }
}

static void sregs_in(X86Cpu *c, const struct kvm_sregs2 *k)
{
    c->cr0 = k->cr0;
    c->cr2 = k->cr2;
    c->cr3 = k->cr3;
    c->cr4 = k->cr4;
    c->efer = k->efer;
    c->gdt = (X86Table){k->gdt.base, k->gdt.limit};
    c->idt = (X86Table){k->idt.base, k->idt.limit};
    seg_in(&c->seg[S_CS], &k->cs);
    seg_in(&c->seg[S_DS], &k->ds);
    seg_in(&c->seg[S_ES], &k->es);
    seg_in(&c->seg[S_FS], &k->fs);
    seg_in(&c->seg[S_GS], &k->gs);
    seg_in(&c->seg[S_SS], &k->ss);
    seg_in(&c->seg[S_TR], &k->tr);
    seg_in(&c->seg[S_LDTR], &k->ldt);
    if (k->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID) {
        memcpy(c->pdpte, k->pdptrs, sizeof(c->pdpte));
    } else if (pae_paging(c)) {
        x86_load_pdptes(c, c->cr3);
    }
}

/* The older form of the same. */
static void sregs_narrow(struct kvm_sregs *o, const struct kvm_sregs2 *s)
{
    *o = (struct kvm_sregs){
        .cs = s->cs,
        .ds = s->ds,
        .es = s->es,
        .fs = s->fs,
        .gs = s->gs,
        .ss = s->ss,
        .tr = s->tr,
        .ldt = s->ldt,
        .gdt = s->gdt,
        .idt = s->idt,
        .cr0 = s->cr0,
        .cr2 = s->cr2,
        .cr3 = s->cr3,
        .cr4 = s->cr4,
        .cr8 = s->cr8,
        .efer = s->efer,
        .apic_base = s->apic_base,
    };
}

static void sregs_widen(struct kvm_sregs2 *s, const struct kvm_sregs *o)
{
    *s = (struct kvm_sregs2){
        .cs = o->cs,
        .ds = o->ds,
        .es = o->es,
        .fs = o->fs,
        .gs = o->gs,
        .ss = o->ss,
        .tr = o->tr,
        .ldt = o->ldt,
        .gdt = o->gdt,
        .idt = o->idt,
        .cr0 = o->cr0,
        .cr2 = o->cr2,
        .cr3 = o->cr3,
        .cr4 = o->cr4,
        .cr8 = o->cr8,
        .efer = o->efer,
        .apic_base = o->apic_base,
    };
}

/* ---- x87, SSE, and what else XSAVE holds ---- */

static void put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, 2);
}
static void put64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, 8);
}
static uint16_t get16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, 2);
    return v;
}
static uint64_t get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
    return v;
}

/* Components that the translator does not have stay as the kernel gave them. */
static void xsave_out(X86Cpu *c, uint8_t *p)
{
    uint32_t mxcsr[2] = {c->mxcsr, 0xffff};

    put16(p + XS_FCW, c->fctrl);
    put16(p + XS_FSW, x86_fpu_stat(c));
    put16(p + XS_FTW, (uint8_t)~c->ftag_empty);
    put16(p + XS_FOP, c->fop & 0x7ff);
    put64(p + XS_FIP, c->fip);
    put64(p + XS_FDP, c->fdp);
    memcpy(p + XS_MXCSR, mxcsr, 8);
    for (unsigned i = 0; i < 8; i++) {
        memset(p + XS_ST + i * 16, 0, 16);
        memcpy(p + XS_ST + i * 16, c->fpr[(c->ftop + i) & 7].b, 10);
    }
    memcpy(p + XS_XMM, c->xmm, sizeof(c->xmm));
    put64(p + XS_BV, get64(p + XS_BV) | 3);
}

static void xsave_in(X86Cpu *c, const uint8_t *p)
{
    uint64_t bv = get64(p + XS_BV);
    uint32_t mxcsr;

    /* A component that is not in XSTATE_BV has its initial configuration. */
    x86_fpu_set_ctrl(c, bv & 1 ? get16(p + XS_FCW) : 0x37f);
    x86_fpu_set_stat(c, bv & 1 ? get16(p + XS_FSW) : 0);
    c->ftag_empty = bv & 1 ? (uint8_t)~p[XS_FTW] : 0xff;
    c->fop = bv & 1 ? get16(p + XS_FOP) & 0x7ff : 0;
    c->fip = bv & 1 ? get64(p + XS_FIP) : 0;
    c->fdp = bv & 1 ? get64(p + XS_FDP) : 0;
    c->fcs = c->fds = 0;
    memset(c->fpr, 0, sizeof(c->fpr));
    for (unsigned i = 0; i < 8 && bv & 1; i++) {
        memcpy(c->fpr[(c->ftop + i) & 7].b, p + XS_ST + i * 16, 10);
    }
    memcpy(&mxcsr, p + XS_MXCSR, 4);
    c->mxcsr = mxcsr & 0xffff;
    if (bv & 2) {
        memcpy(c->xmm, p + XS_XMM, sizeof(c->xmm));
    } else {
        memset(c->xmm, 0, sizeof(c->xmm));
    }
}

/* ---- debug registers, XCR0, events ---- */

static void debug_out(const X86Cpu *c, struct kvm_debugregs *k)
{
    *k = (struct kvm_debugregs){.dr6 = c->dr[6], .dr7 = c->dr[7]};
    memcpy(k->db, c->dr, sizeof(k->db));
}

static void debug_in(X86Cpu *c, const struct kvm_debugregs *k)
{
    memcpy(c->dr, k->db, sizeof(k->db));
    c->dr[4] = c->dr[5] = 0;
    c->dr[6] = k->dr6;
    c->dr[7] = k->dr7;
}

static void events_out(const X86Cpu *c, struct kvm_vcpu_events *k)
{
    *k = (struct kvm_vcpu_events){
        .interrupt.shadow = !c->shadow     ? 0
                            : c->shadow_ss ? KVM_X86_SHADOW_INT_MOV_SS
                                           : KVM_X86_SHADOW_INT_STI,
        .nmi.masked = c->nmi_masked,
        .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
    };
}

/* An event that the kernel had begun to deliver becomes a pending exception: the jit delivers it
 * before anybody sees the state. Software interrupts are taken again by their instruction. */
static void events_in(X86Cpu *c, const struct kvm_vcpu_events *k)
{
    VCpu *cpu = &c->vcpu;
    bool has_exc = k->exception.injected || k->exception.pending;
    unsigned nr = k->exception.nr;

    c->exc = -1;
    c->in_delivery = false;
    c->delivering = -1;
    c->pending_db = 0;
    c->shadow = k->interrupt.shadow;
    c->shadow_ss = k->interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS;
    c->nmi_masked = k->nmi.masked;
    if (k->nmi.injected) {
        c->nmi_masked = false;
        vcpu_signal(cpu, VCPU_NMI);
    } else if (k->nmi.pending) {
        vcpu_signal(cpu, VCPU_NMI);
    }
    if (has_exc && nr != EXC_BP && nr != EXC_OF) {
        c->exc_cr2 = c->cr2;
        x86_set_exc(c, nr, nr == EXC_DB ? EV_TRAP : EV_FAULT, k->exception.has_error_code,
                    k->exception.error_code);
        c->exc_cr2 = c->cr2;
    } else if (k->interrupt.injected && !k->interrupt.soft) {
        x86_set_exc(c, k->interrupt.nr, EV_EXT, false, 0);
    }
}

/* ---- the whole ---- */

static void build(X86Cpu *c, X86KvmRegs *k)
{
    memset(k, 0, sizeof(*k));
    regs_out(c, &k->regs);
    sregs_out(c, &k->sregs);
    debug_out(c, &k->debug);
    events_out(c, &k->events);
    k->xcrs.nr_xcrs = 1;
    k->xcrs.xcrs[0].value = c->xcr0;
}

static bool call(X86Cpu *c, unsigned long req, void *arg, const char *what, GError **err)
{
    int r = kvm_vcpu_ioctl(&c->vcpu, req, arg);

    return r >= 0 || fail(err, "the kernel refuses %s: %s", what, strerror(-r));
}

static bool put_sregs(X86Cpu *c, X86Kvm *x, struct kvm_sregs2 *s, GError **err)
{
    struct kvm_sregs old;

    if (x->sregs2) {
        return call(c, KVM_SET_SREGS2, s, "system registers", err);
    }
    sregs_narrow(&old, s);
    return call(c, KVM_SET_SREGS, &old, "system registers", err);
}

/* The TSC goes on while a vCPU is out of the kernel; it is set only after a change: another value
 * written under the jit, or a stop of the machine, which stops the guest's time. */
static int64_t missed_ns(X86Cpu *c)
{
    Machine *m = c->vcpu.machine;

    return clock_now(m->mono_clock) - clock_now(m->virtual_clock);
}

static bool put_tsc(X86Cpu *c, X86Kvm *x, GError **err)
{
    struct {
        struct kvm_msrs h;
        struct kvm_msr_entry e;
    } m = {.h.nmsrs = 1, .e.index = 0x10};
    int64_t missed = missed_ns(c), late = missed - x->stopped_ns;

    if (x->tsc_known && x->tsc_offset == c->tsc_offset && late < 1000000 && late > -1000000) {
        return true;
    }
    m.e.data = x86_tsc(c);
    x->tsc_offset = c->tsc_offset;
    x->stopped_ns = missed;
    x->tsc_known = true;
    return call(c, KVM_SET_MSRS, &m, "the time stamp counter", err);
}

static bool get_tsc(X86Cpu *c, X86Kvm *x, GError **err)
{
    struct {
        struct kvm_msrs h;
        struct kvm_msr_entry e;
    } m = {.h.nmsrs = 1, .e.index = 0x10};

    if (!call(c, KVM_GET_MSRS, &m, "the time stamp counter", err)) {
        return false;
    }
    c->tsc_offset += m.e.data - x86_tsc(c);
    x->tsc_offset = c->tsc_offset;
    x->stopped_ns = missed_ns(c);
    x->tsc_known = true;
    return true;
}

bool x86_kvm_put(VCpu *cpu, GError **err)
{
    X86Cpu *c = x86(cpu);
    X86Kvm *x = x86_kvm(c);
    X86KvmRegs now;
    bool all = !x->have_last, ok = true;

#define CHANGED(f) (all || memcmp(&now.f, &x->last.f, sizeof(now.f)))
    build(c, &now);
    x->have_last = false; /* until all went well */
    if (CHANGED(sregs)) {
        ok = put_sregs(c, x, &now.sregs, err);
    }
    if (ok && CHANGED(xcrs) && x->xcrs) {
        ok = call(c, KVM_SET_XCRS, &now.xcrs, "XCR0", err);
    }
    xsave_out(c, x->xsave);
    if (ok && (all || memcmp(x->xsave, x->xsave_last, x->xsave_size))) {
        ok = call(c, KVM_SET_XSAVE, x->xsave, "floating-point registers", err);
    }
    if (ok && CHANGED(regs)) {
        ok = call(c, KVM_SET_REGS, &now.regs, "general registers", err);
    }
    if (ok && CHANGED(debug)) {
        ok = call(c, KVM_SET_DEBUGREGS, &now.debug, "debug registers", err);
    }
    ok = ok && x86_kvm_msrs_put(c, err) && put_tsc(c, x, err);
    /* Setting registers may have dropped what was pending: always. */
    ok = ok && call(c, KVM_SET_VCPU_EVENTS, &now.events, "pending events", err);
    x->irq_ready = c->eflags & EF_IF && !c->shadow;
    return ok;
#undef CHANGED
}

bool x86_kvm_get(VCpu *cpu, GError **err)
{
    X86Cpu *c = x86(cpu);
    X86Kvm *x = x86_kvm(c);
    X86KvmRegs k = {0};
    bool ok;

    if (x->sregs2) {
        ok = call(c, KVM_GET_SREGS2, &k.sregs, "to read system registers", err);
    } else {
        struct kvm_sregs old = {0};

        ok = call(c, KVM_GET_SREGS, &old, "to read system registers", err);
        sregs_widen(&k.sregs, &old);
    }
    ok = ok && call(c, KVM_GET_REGS, &k.regs, "to read general registers", err) &&
         call(c, x->xsave_size > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE,
              x->xsave, "to read floating-point registers", err) &&
         (!x->xcrs || call(c, KVM_GET_XCRS, &k.xcrs, "to read XCR0", err)) &&
         call(c, KVM_GET_DEBUGREGS, &k.debug, "to read debug registers", err) &&
         call(c, KVM_GET_VCPU_EVENTS, &k.events, "to read pending events", err) &&
         x86_kvm_msrs_get(c, err) && get_tsc(c, x, err);
    if (!ok) {
        return false;
    }
    sregs_in(c, &k.sregs);
    regs_in(c, &k.regs);
    xsave_in(c, x->xsave);
    debug_in(c, &k.debug);
    for (unsigned i = 0; i < MIN(k.xcrs.nr_xcrs, KVM_MAX_XCRS); i++) {
        if (k.xcrs.xcrs[i].xcr == 0) {
            c->xcr0 = k.xcrs.xcrs[i].value;
        }
    }
    x86_update_mode(c);
    events_in(c, &k.events);
    build(c, &x->last);
    xsave_out(c, x->xsave);
    memcpy(x->xsave_last, x->xsave, x->xsave_size);
    x->have_last = true;
    return true;
}
