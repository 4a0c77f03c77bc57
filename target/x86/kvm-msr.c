/*
 * Model-specific registers under KVM: those of X86Cpu, and a generic list of the others that the
 * kernel keeps (kvmclock, steal time, …), whose values the translator only stores. Accesses to
 * registers that the kernel does not have come to target/x86/msr.c.
 */
#include "core/clock.h"
#include "core/log.h"
#include "target/x86/kvm-x86.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define AT(f) offsetof(X86Cpu, f)

typedef struct MsrPlace {
    uint32_t index;
    uint32_t off;
} MsrPlace;

static const MsrPlace places[] = {
    {0x174, AT(sysenter_cs)},    {0x175, AT(sysenter_esp)},
    {0x176, AT(sysenter_eip)},   {0xc0000081, AT(star)},
    {0xc0000082, AT(lstar)},     {0xc0000083, AT(cstar)},
    {0xc0000084, AT(sfmask)},    {0xc0000102, AT(kernel_gs_base)},
    {0xc0000103, AT(tsc_aux)},   {0x277, AT(pat)},
    {0x1a0, AT(misc_enable)},    {0x3b, AT(tsc_adjust)},
    {0x17a, AT(mcg_status)},     {0x17b, AT(mcg_ctl)},
    {0x1d9, AT(debugctl)},       {0x2ff, AT(mtrr_def_type)},
    {0x250, AT(mtrr_fixed[0])},  {0x258, AT(mtrr_fixed[1])},
    {0x259, AT(mtrr_fixed[2])},  {0x268, AT(mtrr_fixed[3])},
    {0x269, AT(mtrr_fixed[4])},  {0x26a, AT(mtrr_fixed[5])},
    {0x26b, AT(mtrr_fixed[6])},  {0x26c, AT(mtrr_fixed[7])},
    {0x26d, AT(mtrr_fixed[8])},  {0x26e, AT(mtrr_fixed[9])},
    {0x26f, AT(mtrr_fixed[10])},
};

/* Never moved: the TSC (kvm-state.c), the local APIC's, old names of kvmclock's registers,
 * constants of the host. */
static const uint32_t not_moved[] = {0x10, 0x11,  0x12,  0x1b,  0x34, 0x3a,      0x8b,
                                     0xce, 0x10a, 0x345, 0x6e0, 0x9e, 0xc0010117};

static uint64_t *place(X86Cpu *c, uint32_t index)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        if (places[i].index == index) {
            return (uint64_t *)((char *)c + places[i].off);
        }
    }
    if (index >= 0x200 && index < 0x210) {
        return index & 1 ? &c->mtrr_mask[(index - 0x200) / 2] : &c->mtrr_base[(index - 0x200) / 2];
    }
    if (index >= 0x400 && index < 0x400 + G_N_ELEMENTS(c->mc_bank)) {
        return &c->mc_bank[index - 0x400];
    }
    return x86_kvm_msr(c, index);
}

static void add(X86Kvm *x, uint32_t index)
{
    X86KvmMsrs *l = &x->msrs;

    for (uint32_t i = 0; i < l->n; i++) {
        if (l->index[i] == index) {
            return;
        }
    }
    if (l->n < X86_KVM_MAX_MSRS) {
        l->index[l->n++] = index;
    }
}

/* A register that only the kernel knows: the CPU keeps its value. */
static bool add_other(X86Cpu *c, uint32_t index)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(not_moved); i++) {
        if (not_moved[i] == index) {
            return false;
        }
    }
    if (place(c, index)) {
        return true;
    }
    if (index >> 16 == 0x4b56 ? false : index < 0x40000000 || index > 0x40000fff) {
        /* Neither a paravirtual register nor one of ours: would need the real thing behind it. */
        return index == 0x48 || index == 0x122 || index == 0xda0;
    }
    if (c->n_kvm_msrs == G_N_ELEMENTS(c->kvm_msr_index)) {
        return false;
    }
    c->kvm_msr_index[c->n_kvm_msrs++] = index;
    return true;
}

bool x86_kvm_msrs_init(X86Cpu *c, GError **err)
{
    enum { MAX = 1024 };
    g_autofree struct kvm_msr_list *l = g_malloc0(sizeof(*l) + MAX * sizeof(l->indices[0]));
    X86Kvm *x = x86_kvm(c);
    int r;

    l->nmsrs = MAX;
    r = kvm_sys_ioctl(c->vcpu.machine, KVM_GET_MSR_INDEX_LIST, l);
    if (r < 0) {
        return fail(err, "-accel kvm: the kernel does not list its model-specific registers: %s",
                    strerror(-r));
    }
    for (uint32_t i = 0; i < MIN(l->nmsrs, MAX); i++) {
        if (add_other(c, l->indices[i]) && place(c, l->indices[i])) {
            add(x, l->indices[i]);
        }
    }
    /* Not in the list, but there with the feature. */
    if (x86_feat(c, FEAT_1_EDX, 12)) {
        add(x, 0x2ff);
        for (unsigned i = 0; i < 16; i++) {
            add(x, 0x200 + i);
        }
        for (unsigned i = 0; i < 11; i++) {
            add(x, i == 0 ? 0x250 : i < 3 ? 0x257 + i : 0x265 + i);
        }
    }
    return true;
}

static void drop(X86Cpu *c, uint32_t i, const char *what)
{
    X86KvmMsrs *l = &x86_kvm(c)->msrs;

    if (c->vcpu.index == 0) {
        log_line(LOG_UNIMP, "KVM: the kernel refuses to %s register %08x; it is left alone", what,
                 l->index[i]);
    }
    l->n--;
    memmove(&l->index[i], &l->index[i + 1], (l->n - i) * sizeof(l->index[0]));
    memmove(&l->val[i], &l->val[i + 1], (l->n - i) * sizeof(l->val[0]));
    memmove(&l->known[i], &l->known[i + 1], (l->n - i) * sizeof(l->known[0]));
}

typedef struct MsrBuf {
    struct kvm_msrs h;
    struct kvm_msr_entry e[X86_KVM_MAX_MSRS];
} MsrBuf;

bool x86_kvm_msrs_put(X86Cpu *c, GError **err)
{
    X86KvmMsrs *l = &x86_kvm(c)->msrs;
    uint32_t which[X86_KVM_MAX_MSRS];
    MsrBuf b;
    int r;

    for (;;) {
        uint32_t n = 0;

        for (uint32_t i = 0; i < l->n; i++) {
            const uint64_t *p = place(c, l->index[i]);
            uint64_t v = p ? *p : 0; /* none: a state was loaded that did not have the register */

            if (p && (!l->known[i] || l->val[i] != v)) {
                b.e[n] = (struct kvm_msr_entry){.index = l->index[i], .data = v};
                which[n++] = i;
            }
        }
        if (!n) {
            return true;
        }
        b.h = (struct kvm_msrs){.nmsrs = n};
        r = kvm_vcpu_ioctl(&c->vcpu, KVM_SET_MSRS, &b);
        if (r < 0) {
            return fail(err, "the kernel refuses model-specific registers: %s", strerror(-r));
        }
        for (uint32_t i = 0; i < MIN((uint32_t)r, n); i++) {
            l->val[which[i]] = b.e[i].data;
            l->known[which[i]] = true;
        }
        if ((uint32_t)r >= n) {
            return true;
        }
        drop(c, which[r], "set");
    }
}

bool x86_kvm_msrs_get(X86Cpu *c, GError **err)
{
    X86KvmMsrs *l = &x86_kvm(c)->msrs;
    MsrBuf b;
    int r;

    for (;;) {
        if (!l->n) {
            return true;
        }
        b.h = (struct kvm_msrs){.nmsrs = l->n};
        for (uint32_t i = 0; i < l->n; i++) {
            b.e[i] = (struct kvm_msr_entry){.index = l->index[i]};
        }
        r = kvm_vcpu_ioctl(&c->vcpu, KVM_GET_MSRS, &b);
        if (r < 0) {
            return fail(err, "the kernel does not give model-specific registers: %s", strerror(-r));
        }
        if ((uint32_t)r >= l->n) {
            break;
        }
        drop(c, r, "read");
    }
    for (uint32_t i = 0; i < l->n; i++) {
        uint64_t *p = place(c, l->index[i]);

        l->val[i] = b.e[i].data;
        l->known[i] = true;
        if (p) {
            *p = l->val[i];
        }
    }
    return true;
}

/* ---- kvmclock without the kernel ---- */

/* ns = ((counter << shift) * mul) >> 32: the kernel's virt/kvm/x86/msr.rst. */
typedef struct PvClock {
    uint32_t version, pad;
    uint64_t tsc_timestamp, system_time;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad2[2];
} PvClock;

typedef struct PvWall {
    uint32_t version, sec, nsec;
} PvWall;

static void store(X86Cpu *c, uint64_t at, const void *p, unsigned size)
{
    for (unsigned i = 0; i < size; i += 4) {
        uint32_t v;

        memcpy(&v, (const uint8_t *)p + i, 4);
        jit_phys_store(&c->vcpu, at + i, v, 4);
    }
}

void x86_kvm_msr_written(X86Cpu *c, uint32_t msr, uint64_t v)
{
    struct kvm_clock_data now = {0};

    if ((msr != 0x4b564d00 && msr != 0x4b564d01) || !kvm_present(c->vcpu.machine) ||
        kvm_vm_ioctl(c->vcpu.machine, KVM_GET_CLOCK, &now) < 0) {
        return;
    }
    if (msr == 0x4b564d00) {
        uint64_t ns = g_get_real_time() * 1000 - now.clock;
        const PvWall w = {2, ns / NS_PER_SEC, ns % NS_PER_SEC};

        store(c, v & ~3ull, &w, sizeof(w));
    } else if (v & 1) {
        PvClock p = {.version = 2, .tsc_timestamp = x86_tsc(c), .system_time = now.clock};
        double hz = c->tsc_hz;

        for (; hz <= NS_PER_SEC; hz *= 2) {
            p.shift++;
        }
        for (; hz > 2.0 * NS_PER_SEC; hz /= 2) {
            p.shift--;
        }
        p.mul = (double)NS_PER_SEC * 4294967296.0 / hz;
        store(c, v & ~3ull, &p, sizeof(p));
    }
}

/* ---- exits ---- */

void x86_kvm_msr_filter(Machine *m)
{
    static uint8_t const none[8] = {0};
    struct kvm_msr_filter f = {.flags = KVM_MSR_FILTER_DEFAULT_ALLOW};
    static const uint32_t ours[] = {0x1b, 0x6e0};

    if (!kvm_check(m, KVM_CAP_X86_USER_SPACE_MSR) || !kvm_check(m, KVM_CAP_X86_MSR_FILTER)) {
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(ours); i++) {
        f.ranges[i] = (struct kvm_msr_filter_range){
            .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
            .nmsrs = 1,
            .base = ours[i],
            .bitmap = (uint8_t *)none,
        };
    }
    if (kvm_enable(m, KVM_CAP_X86_USER_SPACE_MSR,
                   KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL |
                       KVM_MSR_EXIT_REASON_FILTER,
                   0) >= 0) {
        kvm_vm_ioctl(m, KVM_X86_SET_MSR_FILTER, &f);
    }
}

static bool of_apic(uint32_t msr)
{
    return msr == 0x1b || msr == 0x6e0 || (msr >= 0x800 && msr < 0x900);
}

KvmNext x86_kvm_msr_exit(X86Cpu *c, struct kvm_run *run)
{
    uint32_t msr = run->msr.index;
    /* The kernel knows the register and refused the value: so do we. */
    bool refused = run->msr.reason == KVM_MSR_EXIT_REASON_INVAL && !of_apic(msr), ok;
    uint64_t v = 0;

    if (run->exit_reason == KVM_EXIT_X86_RDMSR) {
        ok = !refused && x86_msr_read(c, msr, &v);
        run->msr.data = v;
    } else {
        ok = !refused && x86_msr_write(c, msr, run->msr.data);
    }
    if (!ok) {
        guest_error("x86: KVM: access to model-specific register %08x refused", msr);
    }
    run->msr.error = !ok;
    return KVM_NEXT_RUN;
}
