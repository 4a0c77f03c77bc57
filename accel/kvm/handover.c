/*
 * Hand-over: the jit executes what the kernel cannot, on the same state, and gives the vCPU back.
 * docs/decisions/0006.
 *
 * A hand-over is one instruction. When the kernel gives up again at once, the next ones are twice
 * as long, up to a slice of time in which blocks run as under the jit alone; every stretch that the
 * kernel manages makes them shorter again.
 *
 * Both sides share memory, so each must learn what the other wrote:
 * - the jit forgets its TLB before each hand-over, and its code before one that uses the code cache
 *   (single instructions are translated anew each time). With several vCPUs, of which others may
 *   write code meanwhile, hand-overs stay single instructions.
 * - a kernel with shadow page tables does not see that the jit wrote guest page tables: they are
 *   dropped afterwards.
 */
#include "accel/jit/jit.h"
#include "accel/kvm/kvm-int.h"
#include "core/clock.h"
#include "core/log.h"
#include <inttypes.h>
#include <stdarg.h>

enum {
    SINGLE_MAX = 16,         /* instructions, one by one; longer slices run blocks */
    SLICE_MAX_NS = 16000000, /* 16 ms */
    SLICE_MIN_NS = 250000,
    SOON_NS = 1000000, /* the kernel gave up "at once" */
};

static int64_t now_ns(void)
{
    return g_get_monotonic_time() * 1000;
}

/* ---- reports ---- */

static void report_code(KvmCpu *v)
{
    VCpu *cpu = v->cpu;
    uint64_t pc = cpu->target->get_pc(cpu);
    g_autoptr(GString) s = g_string_new("Code=");
    uint8_t b;

    machine_lock();
    for (int i = -16; i < 24; i++) {
        bool ok = vcpu_debug_rw(cpu, pc + i, &b, 1, false);

        g_string_append_printf(s,
                               i    ? ok ? "%02x " : "\?\? "
                               : ok ? "<%02x> "
                                    : "<\?\?> ",
                               ok ? b : 0);
    }
    machine_unlock();
    error_report("%s", s->str);
}

static void report_exit(KvmCpu *v)
{
    const struct kvm_run *run = v->run;

    switch (run->exit_reason) {
    case KVM_EXIT_FAIL_ENTRY:
        error_report("KVM: entry failed, hardware error 0x%" PRIx64,
                     (uint64_t)run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        error_report("KVM internal error. Suberror: %u", run->internal.suberror);
        for (unsigned i = 0; i < MIN(run->internal.ndata, 16); i++) {
            error_report("extra data[%u]: 0x%016" PRIx64, i, (uint64_t)run->internal.data[i]);
        }
        break;
    default:
        error_report("KVM: unhandled exit %u", run->exit_reason);
    }
}

KvmNext kvm_fatal(KvmCpu *v, const char *fmt, ...)
{
    VCpu *cpu = v->cpu;
    g_autofree char *text = NULL, *regs = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    error_report("%s (vCPU %d)", text, cpu->index);
    regs = cpu->target->dump(cpu, false);
    error_report("%s", regs);
    report_code(v);
    cpu->debug_hit = VCPU_DEBUG_ERROR;
    return KVM_NEXT_FATAL;
}

/* ---- coherence ---- */

static void enter_jit(KvmCpu *v, bool blocks)
{
    jit_forget(v->cpu, blocks && v->ran);
    if (blocks) {
        v->ran = false;
    }
}

static void leave_jit(KvmCpu *v)
{
    if (v->k->shadow) {
        v->st.zaps++;
        kvm_zap(v->k);
    }
}

static bool alone(const KvmCpu *v)
{
    return v->k->m->n_vcpus == 1;
}

/* ---- what ends a hand-over ---- */

static bool back(VCpu *cpu)
{
    return kvm_cpu(cpu)->k->t->gives_back(cpu);
}

static bool after_some(VCpu *cpu, void *arg)
{
    uint64_t *left = arg;

    return back(cpu) || (*left)-- == 0;
}

static bool after_time(VCpu *cpu, void *arg)
{
    KvmCpu *v = kvm_cpu(cpu);

    return back(cpu) || now_ns() >= v->jit_until;
}

static bool at_once(VCpu *cpu, void *arg)
{
    return true;
}

static bool when_fit(VCpu *cpu, void *arg)
{
    return back(cpu) || kvm_cpu(cpu)->k->t->can_run(cpu);
}

/* ---- hand-overs ---- */

void kvm_finish_event(KvmCpu *v)
{
    jit_forget(v->cpu, false);
    jit_run_until(v->cpu, at_once, NULL, true);
}

void kvm_translate_until_fit(KvmCpu *v)
{
    int64_t t0 = now_ns();

    v->st.handover_state++;
    enter_jit(v, alone(v));
    jit_run_until(v->cpu, when_fit, NULL, !alone(v));
    leave_jit(v);
    v->st.handover_ns += now_ns() - t0;
}

static void next_length(KvmCpu *v, int64_t now)
{
    if (now - v->last_return > SOON_NS) {
        v->slice = MAX(v->slice / 2, 1);
    } else if (v->slice < SINGLE_MAX) {
        v->slice *= 2;
    } else if (alone(v)) {
        v->slice = CLAMP(v->slice * 2, SLICE_MIN_NS, SLICE_MAX_NS);
    }
    if (v->slice > SINGLE_MAX && v->slice < SLICE_MIN_NS) {
        v->slice = SINGLE_MAX;
    }
}

KvmNext kvm_handover(KvmCpu *v)
{
    int64_t t0 = now_ns();
    const char *why = NULL;
    bool blocks, stuck;
    uint64_t pc;

    if (!v->k->t->may_translate(v->cpu, false, &why)) {
        report_exit(v);
        return kvm_fatal(v, "KVM: the translator cannot take over: %s", why);
    }
    if (log_on(LOG_EXEC)) {
        log_line(LOG_EXEC, "KVM: vCPU %d: exit %u/%u at %016" PRIx64 ", translating %" PRIu64,
                 v->cpu->index, v->run->exit_reason, v->run->internal.suberror,
                 v->cpu->target->get_pc(v->cpu), v->slice);
    }
    next_length(v, t0);
    pc = v->cpu->target->get_pc(v->cpu);
    v->k->t->handing_over(v->cpu, true);
    blocks = v->slice > SINGLE_MAX;
    enter_jit(v, blocks);
    if (blocks) {
        v->st.handover_slices++;
        v->jit_until = t0 + v->slice;
        jit_run_until(v->cpu, after_time, NULL, false);
    } else {
        uint64_t left = v->slice;

        v->st.handover_insns += jit_run_until(v->cpu, after_some, &left, true);
    }
    leave_jit(v);
    stuck = back(v->cpu) && v->cpu->target->get_pc(v->cpu) == pc;
    v->k->t->handing_over(v->cpu, false);
    v->last_return = now_ns();
    v->st.handover_ns += v->last_return - t0;
    if (stuck && v->run->exit_reason != KVM_EXIT_SHUTDOWN) {
        report_exit(v);
        return kvm_fatal(v, "KVM: neither the kernel nor the translator can execute this");
    }
    return v->cpu->halted || v->cpu->debug_hit ? KVM_NEXT_LEAVE : KVM_NEXT_RUN;
}
