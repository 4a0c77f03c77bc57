/* What the files target/x86/kvm-*.c share. */
#ifndef RHEA_TARGET_X86_KVM_X86_H
#define RHEA_TARGET_X86_KVM_X86_H

#include "accel/kvm/kvm-target.h"
#include "target/x86/sys.h"

enum { X86_KVM_MAX_MSRS = 160 };

/* Everything of one vCPU in the kernel's own structures. */
typedef struct X86KvmRegs {
    struct kvm_regs regs;
    struct kvm_sregs2 sregs;
    struct kvm_debugregs debug;
    struct kvm_xcrs xcrs;
    struct kvm_vcpu_events events;
} X86KvmRegs;

typedef struct X86KvmMsrs {
    uint32_t n;
    uint32_t index[X86_KVM_MAX_MSRS];
    uint64_t val[X86_KVM_MAX_MSRS];
    bool known[X86_KVM_MAX_MSRS]; /* val is what the kernel has */
} X86KvmMsrs;

/* Of one vCPU; kvm_target_data(). */
typedef struct X86Kvm {
    X86KvmRegs last; /* what the kernel has, as build() would make it */
    bool have_last;
    X86ExtState ext;
    bool sregs2, xcrs, nmi;
    uint8_t *xsave, *xsave_last;
    size_t xsave_size;
    X86KvmMsrs msrs;
    uint64_t tsc_offset; /* X86Cpu.tsc_offset that the kernel's TSC has */
    int64_t stopped_ns;  /* what the virtual clock had missed then */
    bool tsc_known;
    bool irq_ready;
    uint8_t cr8;
} X86Kvm;

static inline X86Kvm *x86_kvm(X86Cpu *c)
{
    return kvm_target_data(&c->vcpu);
}

/* ---- kvm-cpuid.c ---- */
/* CPUID is settled: filter features by what the host offers, tell the kernel. */
bool x86_kvm_cpuid_init(X86Cpu *c, GError **err);

/* ---- kvm-msr.c ---- */
bool x86_kvm_msrs_init(X86Cpu *c, GError **err);
bool x86_kvm_msrs_put(X86Cpu *c, GError **err);
bool x86_kvm_msrs_get(X86Cpu *c, GError **err);
KvmNext x86_kvm_msr_exit(X86Cpu *c, struct kvm_run *run);
/* Have accesses that the kernel cannot do, and those of the local APIC, exit. */
void x86_kvm_msr_filter(Machine *m);

/* ---- kvm-state.c ---- */
bool x86_kvm_put(VCpu *cpu, GError **err);
bool x86_kvm_get(VCpu *cpu, GError **err);

#endif
