/*
 * CPUID under KVM: features are those of the model that the host's kernel offers
 * (KVM_GET_SUPPORTED_CPUID); the kernel's own leaves (4000_0000h) announce kvmclock and steal time.
 * The translator answers from the same, so that a hand-over changes nothing.
 */
#include "core/log.h"
#include "target/x86/kvm-x86.h"
#include "target/x86/models.h"
#include <errno.h>
#include <string.h>

enum { MAX_ENTRIES = 256 };
#define B(n) (1u << (n))
/* Of leaf 4000_0001h, what works without the kernel's local APIC, and does no hypercall (the
 * translator has none): clock (two forms, stable), no I/O delay, steal time. */
#define PV_FEATURES (B(0) | B(1) | B(3) | B(5) | B(24))

static struct kvm_cpuid2 *supported(Machine *m, GError **err)
{
    struct kvm_cpuid2 *s =
        g_malloc0(sizeof(struct kvm_cpuid2) + MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2));
    int r;

    s->nent = MAX_ENTRIES;
    r = kvm_sys_ioctl(m, KVM_GET_SUPPORTED_CPUID, s);
    if (r < 0) {
        fail(err, "-accel kvm: the kernel does not tell which features it offers: %s",
             strerror(-r));
        g_free(s);
        return NULL;
    }
    s->nent = MIN(s->nent, MAX_ENTRIES);
    return s;
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *s, uint32_t leaf, uint32_t sub)
{
    for (uint32_t i = 0; s && i < s->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &s->entries[i];

        if (e->function == leaf &&
            (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == sub)) {
            return e;
        }
    }
    return NULL;
}

bool x86_kvm_limits(Machine *m, X86KvmLimits *l, GError **err)
{
    static const struct {
        uint8_t word, reg;
        uint32_t leaf, sub;
    } where[] = {
        {FEAT_1_EDX, 3, 1, 0},
        {FEAT_1_ECX, 2, 1, 0},
        {FEAT_7_EBX, 1, 7, 0},
        {FEAT_7_ECX, 2, 7, 0},
        {FEAT_7_EDX, 3, 7, 0},
        {FEAT_80000001_EDX, 3, 0x80000001, 0},
        {FEAT_80000001_ECX, 2, 0x80000001, 0},
        {FEAT_80000007_EDX, 3, 0x80000007, 0},
        {FEAT_6_EAX, 0, 6, 0},
        {FEAT_D_1_EAX, 0, 0xd, 1},
    };
    g_autofree struct kvm_cpuid2 *s = supported(m, err);
    const struct kvm_cpuid_entry2 *e;

    if (!s) {
        return false;
    }
    memset(l, 0, sizeof(*l));
    for (unsigned i = 0; i < G_N_ELEMENTS(where); i++) {
        if ((e = find(s, where[i].leaf, where[i].sub))) {
            const uint32_t r[4] = {e->eax, e->ebx, e->ecx, e->edx};

            l->feat[where[i].word] = r[where[i].reg];
        }
    }
    l->feat[FEAT_1_ECX] |= B(BIT_HYPERVISOR);
    /* Follow the topology. */
    l->feat[FEAT_1_EDX] |= B(28);
    l->feat[FEAT_80000001_ECX] |= B(1);
    /* The local APIC is ours: its timer never sleeps; the rest needs its registers to exit. */
    l->feat[FEAT_6_EAX] |= B(2);
    if (kvm_check(m, KVM_CAP_X86_USER_SPACE_MSR) && kvm_check(m, KVM_CAP_X86_MSR_FILTER)) {
        l->feat[FEAT_1_ECX] |= B(21) | B(24);
    } else {
        l->feat[FEAT_1_ECX] &= ~(B(21) | B(24));
    }
    /* Waiting on an address exits nowhere. */
    l->feat[FEAT_1_ECX] &= ~B(3);
    if ((e = find(s, 0x80000008, 0))) {
        l->phys_bits = e->eax & 0xff;
    }
    if ((e = find(s, 0x40000001, 0))) {
        /* Nobody fills the clock's page when the guest is translated from the beginning. */
        l->pv = kvm_interprets(m) ? 0 : e->eax & PV_FEATURES;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(l->xsave); i++) {
        if ((e = find(s, 0xd, i))) {
            l->xsave[i] = (X86KvmLeaf){e->eax, e->ebx, e->ecx, e->edx};
        }
    }
    return true;
}

/* State components that the features need, of those the kernel can keep. */
static uint64_t components(const X86Cpu *c)
{
    uint64_t have = c->kvm_limits->xsave[0].eax | (uint64_t)c->kvm_limits->xsave[0].edx << 32;
    uint64_t want = 3;

    want |= (c->shown[FEAT_1_ECX] >> 28 & 1) ? 1 << 2 : 0;
    want |= (c->shown[FEAT_7_EBX] >> 16 & 1) ? 7 << 5 : 0;
    want |= (c->shown[FEAT_7_ECX] >> 3 & 1) ? 1 << 9 : 0;
    return want & have;
}

static void leaf_d(const X86Cpu *c, uint32_t sub, uint32_t out[4])
{
    uint64_t mask = components(c);
    const X86KvmLeaf *x = c->kvm_limits->xsave;
    uint32_t size = 576, packed = 576;

    for (unsigned i = 2; i < G_N_ELEMENTS(c->kvm_limits->xsave); i++) {
        if (mask >> i & 1) {
            size = MAX(size, x[i].ebx + x[i].eax);
            packed = (x[i].ecx & 2 ? (packed + 63) & ~63u : packed) + x[i].eax;
        }
    }
    if (sub == 0) {
        out[0] = mask;
        out[3] = mask >> 32;
        out[1] = out[2] = size;
    } else if (sub == 1) {
        out[0] = c->shown[FEAT_D_1_EAX];
        out[1] = c->shown[FEAT_D_1_EAX] & 2 ? packed : 0;
    } else if (sub < G_N_ELEMENTS(c->kvm_limits->xsave) && mask >> sub & 1) {
        out[0] = x[sub].eax;
        out[1] = x[sub].ebx;
        out[2] = x[sub].ecx;
    }
}

bool x86_kvm_cpuid(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    if (leaf == 0xd && leaf <= c->cpuid_level && (c->shown[FEAT_1_ECX] >> 26 & 1)) {
        leaf_d(c, sub, out);
        return true;
    }
    if (!c->kvm_limits->pv || !(c->shown[FEAT_1_ECX] >> BIT_HYPERVISOR & 1)) {
        return false;
    }
    if (leaf == 0x40000000) {
        out[0] = 0x40000010;
        memcpy(&out[1], "KVMKVMKVM\0\0\0", 12);
        return true;
    }
    if (leaf == 0x40000001) {
        out[0] = c->kvm_limits->pv;
        return true;
    }
    return false;
}

static void add(X86Cpu *c, struct kvm_cpuid2 *t, uint32_t leaf, uint32_t sub, bool indexed)
{
    struct kvm_cpuid_entry2 *e;
    uint32_t r[4];

    if (t->nent == MAX_ENTRIES) {
        return;
    }
    x86_cpuid(c, leaf, sub, r);
    e = &t->entries[t->nent++];
    *e = (struct kvm_cpuid_entry2){
        .function = leaf,
        .index = sub,
        .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
        .eax = r[0],
        .ebx = r[1],
        .ecx = r[2],
        .edx = r[3],
    };
}

static void add_leaf(X86Cpu *c, struct kvm_cpuid2 *t, uint32_t leaf)
{
    unsigned subs = leaf == 4 || leaf == 0x8000001d ? 5
                    : leaf == 7                     ? 1
                    : leaf == 0xb                   ? 3
                    : leaf == 0xd                   ? G_N_ELEMENTS(c->kvm_limits->xsave)
                                                    : 0;

    for (unsigned s = 0; s < MAX(subs, 1); s++) {
        add(c, t, leaf, s, subs > 0);
    }
}

bool x86_kvm_cpuid_init(X86Cpu *c, GError **err)
{
    g_autofree struct kvm_cpuid2 *t =
        g_malloc0(sizeof(struct kvm_cpuid2) + MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2));
    int r;

    for (uint32_t l = 0; l <= MIN(c->cpuid_level, 0x20); l++) {
        add_leaf(c, t, l);
    }
    if ((c->shown[FEAT_1_ECX] >> BIT_HYPERVISOR & 1)) {
        add_leaf(c, t, 0x40000000);
        add_leaf(c, t, 0x40000001);
        add_leaf(c, t, 0x40000010);
    }
    for (uint32_t l = 0x80000000; l <= MIN(c->cpuid_xlevel, 0x80000021); l++) {
        add_leaf(c, t, l);
    }
    r = kvm_vcpu_ioctl(&c->vcpu, KVM_SET_CPUID2, t);
    return r >= 0 || fail(err,
                          "-accel kvm: the kernel refuses the CPU's features: %s (another "
                          "-cpu may do)",
                          strerror(-r));
}
