/*
 * hybrid=auto: where the host's kernel interprets kernel-mode code (no hardware virtualisation),
 * the translator is faster by far, and takes the guest. Measured, not guessed: a scratch machine
 * executes a loop before the real one starts.
 */
#include "accel/kvm/kvm-int.h"
#include "core/log.h"
#include <sys/mman.h>

enum {
    LOOP_INSNS = 4000,
    SLOW_NS = 100, /* an instruction; hardware needs less than one */
};

static bool measure_vm(KvmMachine *k, int vm, void *page)
{
    struct kvm_userspace_memory_region r = {
        .slot = 0,
        .memory_size = MEM_PAGE_SIZE,
        .userspace_addr = (uintptr_t)page,
    };
    int fd = kvm_ioctl(k, vm, KVM_CREATE_VCPU, NULL);
    gint64 t0, best = G_MAXINT64;
    bool ok = fd >= 0 && kvm_ioctl(k, vm, KVM_SET_USER_MEMORY_REGION, &r) >= 0;

    /* The shortest of three: whatever else the host does only makes it longer. */
    for (unsigned i = 0; ok && i < 3; i++) {
        t0 = g_get_monotonic_time();
        ok = k->t->calibrate(k->m, fd, page, MEM_PAGE_SIZE, LOOP_INSNS);
        best = MIN(best, g_get_monotonic_time() - t0);
    }
    if (ok) {
        k->insn_ns = best * 1000.0 / LOOP_INSNS;
    }
    if (fd >= 0) {
        k->sys.close(k->sys.opaque, fd);
    }
    return ok;
}

void kvm_measure(KvmMachine *k)
{
    void *page;
    int vm;

    if (k->hybrid != KVM_HYBRID_AUTO || !k->shadow || !k->t->calibrate) {
        return;
    }
    vm = kvm_ioctl(k, k->fd, KVM_CREATE_VM, NULL);
    if (vm < 0) {
        return;
    }
    page = mmap(NULL, MEM_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED) {
        k->interprets = measure_vm(k, vm, page) && k->insn_ns > SLOW_NS;
        munmap(page, MEM_PAGE_SIZE);
    }
    k->sys.close(k->sys.opaque, vm);
    if (k->interprets) {
        warn_report(
            "KVM: this host only interprets guest kernels (%.0f ns an instruction); the guest "
            "is translated (-accel kvm,hybrid=off has KVM do it all the same)",
            k->insn_ns);
    }
}
