/* `info kvm`. */
#include "accel/kvm/kvm-int.h"
#include "accel/kvm/kvm.h"

static void add(KvmStats *sum, const KvmStats *s)
{
#define X(n, d) sum->n += s->n;
    KVM_STATS(X)
#undef X
}

char *kvm_info(Machine *m)
{
    bool used = m->accel && !strcmp(m->accel->name, "kvm");
    GString *s = g_string_new(used ? "kvm support: enabled\n" : "kvm support: disabled\n");
    const KvmMachine *k = m->kvm;
    KvmStats sum = {0};

    if (!k) {
        return g_string_free(s, FALSE);
    }
    g_string_append_printf(s, "%u memory slots of %u; %s page tables; hybrid=%s\n", k->slots->len,
                           k->max_slots, k->shadow ? "shadow" : "nested",
                           k->hybrid == KVM_HYBRID_AUTO ? "auto" : "off");
    if (k->insn_ns > 0) {
        g_string_append_printf(s, "the kernel needs %.1f ns for an instruction in kernel mode%s\n",
                               k->insn_ns, k->interprets ? ": the guest is translated" : "");
    }
    add(&sum, &k->st);
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        if (m->vcpus[i]->kvm) {
            add(&sum, &kvm_cpu(m->vcpus[i])->st);
        }
    }
#define X(n, d) g_string_append_printf(s, "%12" G_GUINT64_FORMAT "  %s\n", sum.n, d);
    KVM_STATS(X)
#undef X
    return g_string_free(s, FALSE);
}
