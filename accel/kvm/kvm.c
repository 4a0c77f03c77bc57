/*
 * KVM as an accelerator: options, set-up of the VM and its vCPUs. Specification: the kernel's
 * Documentation/virt/kvm/api.rst.
 */
#include "accel/kvm/kvm.h"
#include "accel/jit/jit.h"
#include "accel/kvm/kvm-int.h"
#include "core/log.h"
#include "core/option.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { API_VERSION = 12 };

/* ---- options ---- */

char *kvm_options_help(void)
{
    return g_strdup(
        "kernel-irqchip=off (interrupt controllers are emulated by Rhea)\n"
        "hybrid=auto|off (auto: translate if the host's KVM is measured to interpret)\n");
}

static bool parse_opts(KvmMachine *k, const char *text, GError **err)
{
    Options *o = options_parse("-accel kvm", text ? text : "", NULL, err);
    const char *v;
    bool ok = true;

    if (!o) {
        return false;
    }
    if ((v = options_get(o, "kernel-irqchip")) && strcmp(v, "off")) {
        ok = fail(err,
                  !strcmp(v, "on") || !strcmp(v, "split")
                      ? "-accel kvm: kernel-irqchip=%s is not in this version; use off"
                      : "-accel kvm: kernel-irqchip must be off, not '%s'",
                  v);
    }
    if (ok && (v = options_get(o, "hybrid"))) {
        if (!strcmp(v, "off")) {
            k->hybrid = KVM_HYBRID_OFF;
        } else if (strcmp(v, "auto")) {
            ok = fail(err, "-accel kvm: hybrid must be off or auto, not '%s'", v);
        }
    }
    ok = ok && options_check_used(o, err);
    options_free(o);
    return ok;
}

/* ---- the VM ---- */

static bool open_device(KvmMachine *k, GError **err)
{
    int v;

    k->fd = k->sys.open(k->sys.opaque, "/dev/kvm");
    if (k->fd < 0) {
        switch (errno) {
        case ENOENT:
        case ENODEV:
        case ENXIO:
            return fail(err, "-accel kvm: this host has no /dev/kvm (load the module kvm_intel or "
                             "kvm_amd, and enable virtualisation in the firmware), or use "
                             "-accel jit");
        case EACCES:
        case EPERM:
            return fail(err, "-accel kvm: no permission to open /dev/kvm; become a member of the "
                             "group kvm, or use -accel jit");
        default:
            return fail(err, "-accel kvm: cannot open /dev/kvm: %s; use -accel jit",
                        strerror(errno));
        }
    }
    v = kvm_ioctl(k, k->fd, KVM_GET_API_VERSION, NULL);
    if (v != API_VERSION) {
        return v < 0 ? fail(err, "-accel kvm: /dev/kvm does not answer: %s", strerror(-v))
                     : fail(err,
                            "-accel kvm: the host's kernel speaks version %d of the interface, "
                            "version %d is needed; use a newer kernel or -accel jit",
                            v, API_VERSION);
    }
    return true;
}

static bool create_vm(KvmMachine *k, GError **err)
{
    k->vm = kvm_ioctl(k, k->fd, KVM_CREATE_VM, NULL);
    if (k->vm < 0) {
        int e = -k->vm;

        k->vm = -1;
        return fail(err, "-accel kvm: the kernel makes no virtual machine: %s%s", strerror(e),
                    e == EBUSY ? " (another hypervisor uses the processor)" : "; use -accel jit");
    }
    return true;
}

static bool check_capabilities(KvmMachine *k, GError **err)
{
    static const struct {
        int cap;
        const char *name;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
        {KVM_CAP_DESTROY_MEMORY_REGION_WORKS, "KVM_CAP_DESTROY_MEMORY_REGION_WORKS"},
        {KVM_CAP_SYNC_MMU, "KVM_CAP_SYNC_MMU"},
        {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
        {KVM_CAP_INTERNAL_ERROR_DATA, "KVM_CAP_INTERNAL_ERROR_DATA"},
    };
    Machine *m = k->m;
    int n;

    for (unsigned i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (!kvm_check(m, needed[i].cap)) {
            return fail(err,
                        "-accel kvm: the host's kernel lacks %s; use Linux 4.11 or newer, or "
                        "-accel jit",
                        needed[i].name);
        }
    }
    n = kvm_check(m, KVM_CAP_MAX_VCPUS);
    n = n ? n : kvm_check(m, KVM_CAP_NR_VCPUS);
    n = n ? n : 4; /* what api.rst says for kernels that do not tell */
    if (m->cfg.smp > (unsigned)n) {
        return fail(err, "-smp %u: the host's KVM has at most %d CPUs for a machine", m->cfg.smp,
                    n);
    }
    n = kvm_check(m, KVM_CAP_NR_MEMSLOTS);
    k->max_slots = n ? n : 32;
    k->readonly_mem = kvm_check(m, KVM_CAP_READONLY_MEM);
    n = kvm_ioctl(k, k->fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
    if (n < (int)sizeof(struct kvm_run)) {
        return fail(err, "-accel kvm: the kernel does not tell the size of a vCPU's shared page");
    }
    k->run_size = n;
    return true;
}

void kvm_destroy(Machine *m)
{
    KvmMachine *k = m->kvm;

    kvm_slots_stop(k);
    if (k->vm >= 0) {
        k->sys.close(k->sys.opaque, k->vm);
    }
    if (k->fd >= 0) {
        k->sys.close(k->sys.opaque, k->fd);
    }
    g_free(k->slot_error);
    g_free(k);
    m->kvm = NULL;
}

/* The VM without vCPUs; m->kvm. */
bool kvm_init_with(Machine *m, const KvmSys *sys, const char *opts, GError **err)
{
    const Target *target = m->cfg.target;
    KvmMachine *k;

    if (!target || !target->kvm) {
        return fail(err,
                    "-accel kvm: the host's processor cannot run %s guests; use -accel jit, which "
                    "translates",
                    target ? target->name : "these");
    }
    k = g_new0(KvmMachine, 1);
    k->m = m;
    k->sys = *sys;
    k->t = target->kvm;
    k->fd = k->vm = -1;
    k->hybrid = KVM_HYBRID_AUTO;
    m->kvm = k;
    if (!parse_opts(k, opts, err) || !open_device(k, err) || !create_vm(k, err) ||
        !check_capabilities(k, err) || !k->t->vm_init(m, err)) {
        kvm_destroy(m);
        return false;
    }
    k->shadow = sys->shadow_paging(sys->opaque);
    kvm_measure(k);
    kvm_slots_start(k);
    if (k->slot_error) {
        fail(err, "-accel kvm: %s", k->slot_error);
        kvm_destroy(m);
        return false;
    }
    return true;
}

static bool init(Machine *m, const char *opts, GError **err)
{
    if (!jit_accel.init(m, NULL, err)) {
        return false;
    }
    if (!kvm_init_with(m, &kvm_real_sys, opts, err)) {
        jit_accel.fini(m);
        return false;
    }
    return true;
}

static void fini(Machine *m)
{
    if (m->kvm) {
        kvm_destroy(m);
    }
    jit_accel.fini(m);
}

/* ---- vCPUs ---- */

void kvm_vcpu_destroy(VCpu *cpu)
{
    KvmCpu *v = kvm_cpu(cpu);
    KvmMachine *k;

    if (!v) {
        return;
    }
    k = v->k;
    if (v->attached) {
        mem_space_del_listener(k->m->memory, &v->listener);
        mem_space_del_listener(k->m->io, &v->listener);
        mem_view_put(v->mem);
        mem_view_put(v->io);
    }
    if (k->t->vcpu_fini) {
        k->t->vcpu_fini(cpu);
    }
    if (v->run) {
        k->sys.munmap(k->sys.opaque, v->run, k->run_size);
    }
    if (v->fd >= 0) {
        k->sys.close(k->sys.opaque, v->fd);
    }
    g_free(v);
    cpu->kvm = NULL;
}

bool kvm_vcpu_create(VCpu *cpu, GError **err)
{
    KvmMachine *k = cpu->machine->kvm;
    KvmCpu *v = g_new0(KvmCpu, 1);
    int ring;

    v->cpu = cpu;
    v->k = k;
    v->slice = 1;
    cpu->kvm = v;
    v->fd = kvm_ioctl(k, k->vm, KVM_CREATE_VCPU, (void *)(uintptr_t)cpu->index);
    if (v->fd < 0) {
        fail(err, "-accel kvm: the kernel does not create vCPU %d: %s", cpu->index,
             strerror(-v->fd));
        v->fd = -1;
        kvm_vcpu_destroy(cpu);
        return false;
    }
    v->run = k->sys.mmap(k->sys.opaque, k->run_size, v->fd, 0);
    if (!v->run) {
        fail(err, "-accel kvm: the page shared with vCPU %d cannot be mapped: %s", cpu->index,
             strerror(errno));
        kvm_vcpu_destroy(cpu);
        return false;
    }
    ring = kvm_check(k->m, KVM_CAP_COALESCED_MMIO);
    if (ring > 0 && (size_t)(ring + 1) * sysconf(_SC_PAGESIZE) <= k->run_size) {
        v->ring = (void *)((char *)v->run + ring * sysconf(_SC_PAGESIZE));
    }
    if (!k->t->vcpu_init(cpu, err)) {
        kvm_vcpu_destroy(cpu);
        return false;
    }
    return true;
}

static bool vcpu_init(VCpu *cpu, GError **err)
{
    if (!jit_accel.vcpu_init(cpu, err)) {
        return false;
    }
    if (!kvm_vcpu_create(cpu, err)) {
        jit_accel.vcpu_fini(cpu);
        return false;
    }
    return true;
}

static void vcpu_fini(VCpu *cpu)
{
    kvm_vcpu_destroy(cpu);
    jit_accel.vcpu_fini(cpu);
}

static void flush_tlb(VCpu *cpu)
{
    jit_accel.flush_tlb(cpu);
}

const Accelerator kvm_accel = {
    .name = "kvm",
    .init = init,
    .fini = fini,
    .vcpu_init = vcpu_init,
    .vcpu_fini = vcpu_fini,
    .run = kvm_run_vcpu,
    .kick = kvm_kick,
    .flush_tlb = flush_tlb,
    .info = kvm_info,
};

/* ---- the translator on a machine that has KVM, too ---- */

static void jit_run(VCpu *cpu)
{
    jit_accel.run(cpu);
}

static void jit_kick(VCpu *cpu)
{
    jit_accel.kick(cpu);
}

static char *info_jit(Machine *m)
{
    return jit_accel.info(m);
}

const Accelerator kvm_jit_accel = {
    .name = "jit",
    .init = init,
    .fini = fini,
    .vcpu_init = vcpu_init,
    .vcpu_fini = vcpu_fini,
    .run = jit_run,
    .kick = jit_kick,
    .flush_tlb = flush_tlb,
    .info = info_jit,
};
