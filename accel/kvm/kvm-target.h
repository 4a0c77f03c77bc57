/*
 * Between accel/kvm and a guest architecture's register map (target/<arch>/kvm-*.c). The
 * specification of everything with a KVM_ name is the kernel's Documentation/virt/kvm/api.rst.
 *
 * While a vCPU is not inside the accelerator's run function, its whole state is in the target's
 * struct. put() gives it to the kernel, get() takes it back; both skip what did not change.
 */
#ifndef RHEA_ACCEL_KVM_TARGET_H
#define RHEA_ACCEL_KVM_TARGET_H

#include "core/machine.h"
#include "core/vcpu.h"
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

/* What the run loop does next. */
typedef enum {
    KVM_NEXT_RUN,   /* into the guest again */
    KVM_NEXT_LEAVE, /* back to the vCPU's outer loop */
    KVM_NEXT_JIT,   /* the jit executes what the kernel cannot */
    KVM_NEXT_FATAL, /* the machine stops; a report was made */
} KvmNext;

typedef struct KvmTarget {
    /* Once a VM exists, before it has vCPUs or memory. */
    bool (*vm_init)(Machine *m, GError **err);
    /* The kernel's vCPU exists; negotiate features, allocate. */
    bool (*vcpu_init)(VCpu *cpu, GError **err);
    void (*vcpu_fini)(VCpu *cpu);
    /* Whole state to and from the kernel; vCPU thread. */
    bool (*put)(VCpu *cpu, GError **err);
    bool (*get)(VCpu *cpu, GError **err);
    /* Can the kernel represent the state and handle the events that wait? If not the jit runs until
     * it can. */
    bool (*can_run)(VCpu *cpu);
    /* May the jit take over for some instructions (or, with @at_all, for good)? *@why: a
     * static text. */
    bool (*may_translate)(VCpu *cpu, bool at_all, const char **why);
    /* Between two handing_over(): an instruction that the translator does not have is not
     * undefined, but the kernel's; gives_back() says that one was met, state before it. */
    void (*handing_over)(VCpu *cpu, bool on);
    bool (*gives_back)(VCpu *cpu);
    /* Make a fresh vCPU of a scratch machine (@fd, its shared page @run, @page at guest address 0
     * of @size bytes) execute @n instructions and halt; false: not possible. */
    bool (*calibrate)(Machine *m, int fd, void *page, size_t size, unsigned n);
    /* Around each KVM_RUN, state in the kernel: inject what waits; take what the shared page says.
     */
    void (*before_run)(VCpu *cpu);
    void (*after_run)(VCpu *cpu);
    /* An exit that the generic part does not know; KVM_NEXT_JIT if this does not either. */
    KvmNext (*exit)(VCpu *cpu, struct kvm_run *run);
    /* A HLT or the like: may the vCPU sleep? Sets VCpu.halted. */
    KvmNext (*halt)(VCpu *cpu);
    uint64_t max_ram; /* bytes of RAM the machine type can place, by the host's address width */
} KvmTarget;

/* ioctls: the kernel's answer (≥ 0), or -errno. */
int kvm_sys_ioctl(Machine *m, unsigned long req, void *arg);
int kvm_vm_ioctl(Machine *m, unsigned long req, void *arg);
int kvm_vcpu_ioctl(VCpu *cpu, unsigned long req, void *arg);
int kvm_fd_ioctl(Machine *m, int fd, unsigned long req, void *arg);
/* KVM_CHECK_EXTENSION on the VM; 0 if the kernel does not know it. */
int kvm_check(Machine *m, int cap);
/* KVM_ENABLE_CAP on the VM. */
int kvm_enable(Machine *m, int cap, uint64_t arg0, uint64_t arg1);
/* The shared page of a vCPU. */
struct kvm_run *kvm_run_page(VCpu *cpu);
/* What the target keeps for a vCPU under KVM; set by its vcpu_init, freed by its vcpu_fini. */
void *kvm_target_data(VCpu *cpu);
void kvm_set_target_data(VCpu *cpu, void *data);
/* Is the guest translated (hybrid=auto on a host that interprets)? */
bool kvm_interprets(const Machine *m);
/* Is @m's KVM set up (whether or not it runs the vCPUs now)? */
bool kvm_present(const Machine *m);

#endif
