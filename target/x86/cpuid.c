/* CPUID leaves. Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E. */
#include "core/clock.h"
#include "target/x86/sys.h"
#include <string.h>

enum { XSAVE_BYTES = 576, LINE = 64 };

static bool x86_shows(const X86Cpu *c, unsigned word, unsigned bit)
{
    return c->shown[word] >> bit & 1;
}

/* Bits that hold values 0…n-1. */
static unsigned id_bits(unsigned n)
{
    unsigned b = 0;

    while (n > 1u << b) {
        b++;
    }
    return b;
}

static unsigned per_socket(const X86Cpu *c)
{
    return c->smp_cores * c->smp_threads;
}

static void put_text(uint32_t out[4], const char *s, unsigned a, unsigned b, unsigned d)
{
    memcpy(&out[a], s, 4);
    memcpy(&out[b], s + 4, 4);
    memcpy(&out[d], s + 8, 4);
}

static bool apic_enabled(X86Cpu *c)
{
    uint64_t base;

    if (!c->intc || !c->intc->reg_read || !c->intc->reg_read(c->intc_opaque, 0x1b, &base)) {
        return false;
    }
    return base & 1 << 11;
}

static void leaf1(X86Cpu *c, uint32_t out[4])
{
    out[0] = c->cpuid_version;
    out[1] = c->apic_id << 24 | LINE / 8 << 8;
    if (per_socket(c) > 1) {
        out[1] |= MIN(per_socket(c), 255) << 16;
    }
    out[2] = c->shown[FEAT_1_ECX] & ~(1u << 27);
    if (c->cr4 & CR4_OSXSAVE) {
        out[2] |= 1u << 27;
    }
    out[3] = c->shown[FEAT_1_EDX];
    if (out[3] & 1u << 9 && !apic_enabled(c)) {
        out[3] &= ~(1u << 9);
    }
}

typedef struct Cache {
    unsigned type, level, ways, sets, inclusive_bits;
} Cache;

static const Cache caches[] = {
    {1, 1, 8, 64, 1},     /* 32 KiB data */
    {2, 1, 8, 64, 1},     /* 32 KiB code */
    {3, 2, 16, 4096, 1},  /* 4 MiB */
    {3, 3, 16, 16384, 6}, /* 16 MiB, shared by the socket */
};

static void leaf4(X86Cpu *c, uint32_t sub, uint32_t out[4])
{
    const Cache *k;
    unsigned sharing;

    if (sub >= G_N_ELEMENTS(caches)) {
        return;
    }
    k = &caches[sub];
    sharing = k->level == 3 ? per_socket(c) : c->smp_threads;
    out[0] = k->type | k->level << 5 | 1 << 8 | ((1u << id_bits(sharing)) - 1) << 14 |
             ((1u << id_bits(c->smp_cores)) - 1) << 26;
    out[1] = (LINE - 1) | (k->ways - 1) << 22;
    out[2] = k->sets - 1;
    out[3] = k->inclusive_bits;
}

static void leaf_b(X86Cpu *c, uint32_t sub, uint32_t out[4])
{
    out[2] = sub & 0xff;
    out[3] = c->apic_id;
    if (sub == 0) {
        out[0] = id_bits(c->smp_threads);
        out[1] = c->smp_threads;
        out[2] |= 1 << 8;
    } else if (sub == 1) {
        out[0] = id_bits(c->smp_threads) + id_bits(c->smp_cores);
        out[1] = per_socket(c);
        out[2] |= 2 << 8;
    }
}

static void leaf_d(X86Cpu *c, uint32_t sub, uint32_t out[4])
{
    if (!x86_shows(c, FEAT_1_ECX, 26)) {
        return;
    }
    if (sub == 0) {
        out[0] = 3; /* x87, SSE */
        out[1] = out[2] = XSAVE_BYTES;
    } else if (sub == 1) {
        out[0] = c->shown[FEAT_D_1_EAX];
        out[1] = c->shown[FEAT_D_1_EAX] & 1 << 1 ? XSAVE_BYTES : 0;
    }
}

static void basic(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    switch (leaf) {
    case 0:
        out[0] = c->cpuid_level;
        put_text(out, c->vendor, 1, 3, 2);
        break;
    case 1:
        leaf1(c, out);
        break;
    case 2:
        if (!x86_is_amd(c)) {
            /* 32 KiB + 32 KiB first level, 4 MiB second, 16 MiB third level. */
            out[0] = 1;
            out[2] = 0x4d;
            out[3] = 0x2c307d;
        }
        break;
    case 4:
        if (!x86_is_amd(c)) {
            leaf4(c, sub, out);
        }
        break;
    case 5:
        out[2] = 3; /* MONITOR: extensions listed, interrupts break even if masked */
        break;
    case 6:
        out[0] = c->shown[FEAT_6_EAX];
        break;
    case 7:
        if (sub == 0) {
            out[1] = c->shown[FEAT_7_EBX];
            out[2] = c->shown[FEAT_7_ECX];
            out[3] = c->shown[FEAT_7_EDX];
        }
        break;
    case 0xb:
        leaf_b(c, sub, out);
        break;
    case 0xd:
        leaf_d(c, sub, out);
        break;
    }
}

static void hypervisor(X86Cpu *c, uint32_t leaf, uint32_t out[4])
{
    switch (leaf) {
    case 0x40000000:
        out[0] = 0x40000010;
        put_text(out, "RheaRheaRhea", 1, 2, 3);
        break;
    case 0x40000010:
        out[0] = c->tsc_hz / 1000;
        out[1] = NS_PER_SEC / 1000; /* the local APIC's timer */
        break;
    }
}

static void extended(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    bool lm = x86_shows(c, FEAT_80000001_EDX, 29);

    switch (leaf) {
    case 0x80000000:
        out[0] = c->cpuid_xlevel;
        put_text(out, c->vendor, 1, 3, 2);
        break;
    case 0x80000001:
        out[0] = c->cpuid_version;
        out[2] = c->shown[FEAT_80000001_ECX];
        out[3] = c->shown[FEAT_80000001_EDX];
        break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
        memcpy(out, c->brand + (leaf - 0x80000002) * 16, 16);
        break;
    case 0x80000005:
        out[0] = out[1] = 0x01ff01ff; /* 255-entry TLBs */
        out[2] = out[3] = 0x40020140; /* 64 KiB, 2 ways, 64-byte lines */
        break;
    case 0x80000006:
        out[1] = 0x42004200;
        out[2] = 0x02008140; /* 512 KiB, 16 ways */
        out[3] = 0x00808140;
        break;
    case 0x80000007:
        out[3] = c->shown[FEAT_80000007_EDX];
        break;
    case 0x80000008:
        out[0] = c->phys_bits | (lm ? c->virt_bits << 8 : 0);
        if (per_socket(c) > 1) {
            out[2] = (per_socket(c) - 1) | id_bits(per_socket(c)) << 12;
        }
        break;
    case 0x8000001d:
        if (x86_shows(c, FEAT_80000001_ECX, 22)) {
            leaf4(c, sub, out);
            out[0] &= 0x03ffffff;
        }
        break;
    case 0x8000001e:
        if (x86_shows(c, FEAT_80000001_ECX, 22)) {
            out[0] = c->apic_id;
            out[1] = c->apic_id >> id_bits(c->smp_threads) | (c->smp_threads - 1) << 8;
            out[2] = c->apic_id >> (id_bits(c->smp_threads) + id_bits(c->smp_cores));
        }
        break;
    }
}

void x86_cpuid(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    memset(out, 0, 16);
    if (c->kvm_limits && x86_kvm_cpuid(c, leaf, sub, out)) {
        return;
    }
    if (leaf >= 0x80000000) {
        if (leaf <= c->cpuid_xlevel) {
            extended(c, leaf, sub, out);
            return;
        }
    } else if (leaf >= 0x40000000 && leaf <= 0x400000ff && x86_shows(c, FEAT_1_ECX, 31)) {
        hypervisor(c, leaf, out);
        return;
    } else if (leaf <= c->cpuid_level) {
        basic(c, leaf, sub, out);
        return;
    }
    /* Beyond the end: Intel answers with the last basic leaf, AMD with zeros. */
    if (!x86_is_amd(c)) {
        basic(c, c->cpuid_level, sub, out);
    }
}
