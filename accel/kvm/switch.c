/* Changing the accelerator of a machine that runs. */
#include "accel/jit/jit.h"
#include "accel/kvm/kvm-int.h"
#include "accel/kvm/kvm.h"
#include "core/log.h"
#include <string.h>

static void set_all(Machine *m, const Accelerator *accel)
{
    m->accel = accel;
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        m->vcpus[i]->accel = accel;
    }
}

/* vCPUs are parked: their states are in the targets' structs. */
static bool to_jit(Machine *m, GError **err)
{
    const KvmMachine *k = m->kvm;

    for (unsigned i = 0; i < m->n_vcpus; i++) {
        const char *why = NULL;

        if (!k->t->may_translate(m->vcpus[i], true, &why)) {
            return fail(err, "accel jit: vCPU %u cannot be translated: %s", i, why);
        }
    }
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        jit_forget(m->vcpus[i], true);
    }
    set_all(m, &kvm_jit_accel);
    return true;
}

static void drop_kvm(Machine *m)
{
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        kvm_vcpu_destroy(m->vcpus[i]);
    }
    kvm_destroy(m);
}

static bool to_kvm(Machine *m, GError **err)
{
    if (!m->kvm) {
        if (!kvm_init_with(m, &kvm_real_sys, NULL, err)) {
            return false;
        }
        for (unsigned i = 0; i < m->n_vcpus; i++) {
            if (!kvm_vcpu_create(m->vcpus[i], err)) {
                drop_kvm(m);
                return false;
            }
        }
    }
    if (((KvmMachine *)m->kvm)->shadow) {
        kvm_zap(m->kvm);
    }
    set_all(m, &kvm_accel);
    return true;
}

bool accel_switch(Machine *m, const char *name, GError **err)
{
    bool kvm = !strcmp(name, "kvm"), ok;

    if (!kvm && strcmp(name, "jit") && strcmp(name, "tcg")) {
        return fail(err, "accel: there is no accelerator '%s'; use jit or kvm", name);
    }
    if (!strcmp(m->accel->name, kvm ? "kvm" : "jit")) {
        return true;
    }
    machine_hold(m);
    ok = kvm ? to_kvm(m, err) : to_jit(m, err);
    machine_release(m);
    return ok;
}
