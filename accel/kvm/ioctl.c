/* ioctls, and what else a target's register map asks of accel/kvm. Needs nothing of the jit. */
#include "accel/kvm/kvm-int.h"
#include <errno.h>

int kvm_ioctl(KvmMachine *k, int fd, unsigned long req, void *arg)
{
    int r;

    do {
        r = k->sys.ioctl(k->sys.opaque, fd, req, arg);
    } while (r < 0 && errno == EINTR && req != KVM_RUN);
    return r < 0 ? -errno : r;
}

int kvm_sys_ioctl(Machine *m, unsigned long req, void *arg)
{
    KvmMachine *k = m->kvm;

    return kvm_ioctl(k, k->fd, req, arg);
}

int kvm_vm_ioctl(Machine *m, unsigned long req, void *arg)
{
    KvmMachine *k = m->kvm;

    return kvm_ioctl(k, k->vm, req, arg);
}

int kvm_vcpu_ioctl(VCpu *cpu, unsigned long req, void *arg)
{
    KvmCpu *v = kvm_cpu(cpu);

    return kvm_ioctl(v->k, v->fd, req, arg);
}

int kvm_fd_ioctl(Machine *m, int fd, unsigned long req, void *arg)
{
    return kvm_ioctl(m->kvm, fd, req, arg);
}

int kvm_check(Machine *m, int cap)
{
    int r = kvm_vm_ioctl(m, KVM_CHECK_EXTENSION, (void *)(uintptr_t)cap);

    return MAX(r, 0);
}

int kvm_enable(Machine *m, int cap, uint64_t arg0, uint64_t arg1)
{
    struct kvm_enable_cap c = {.cap = cap, .args = {arg0, arg1}};

    return kvm_vm_ioctl(m, KVM_ENABLE_CAP, &c);
}

struct kvm_run *kvm_run_page(VCpu *cpu)
{
    return kvm_cpu(cpu)->run;
}

void *kvm_target_data(VCpu *cpu)
{
    return cpu->kvm ? kvm_cpu(cpu)->target_data : NULL;
}

void kvm_set_target_data(VCpu *cpu, void *data)
{
    kvm_cpu(cpu)->target_data = data;
}

bool kvm_interprets(const Machine *m)
{
    return m->kvm && ((KvmMachine *)m->kvm)->interprets;
}

bool kvm_present(const Machine *m)
{
    return m->kvm;
}
