/*
 * The run loop: state to the kernel, KVM_RUN until something must be done outside, state back.
 * Read kvm_run_vcpu() and run_guest() first; each exit reason is one function below handle_exit().
 */
#include "accel/jit/jit.h"
#include "accel/kvm/kvm-int.h"
#include "core/log.h"
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

/* Interrupts KVM_RUN; does nothing else. */
#define KICK_SIGNAL SIGUSR1

/* ---- kicks ---- */

static void on_kick(int sig)
{
}

static void install_kick(KvmCpu *v)
{
    struct sigaction sa = {.sa_handler = on_kick, .sa_flags = SA_RESTART};

    sigemptyset(&sa.sa_mask);
    sigaction(KICK_SIGNAL, &sa, NULL);
    v->thread = pthread_self();
    v->have_thread = true;
}

/* Events are set before. A vCPU that is not in the guest looks at them before it enters. */
void kvm_kick(VCpu *cpu)
{
    KvmCpu *v = kvm_cpu(cpu);

    if (v && __atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        pthread_kill(v->thread, KICK_SIGNAL);
    }
}

/* ---- memory views ---- */

static void view_changed(void *opaque, MemSpace *space, const FlatView *old, const FlatView *now)
{
    __atomic_store_n(&((KvmCpu *)opaque)->view_changed, 1, __ATOMIC_SEQ_CST);
}

static void attach(KvmCpu *v)
{
    Machine *m = v->k->m;

    machine_lock();
    v->listener = (MemListener){.changed = view_changed, .opaque = v};
    mem_space_add_listener(m->memory, &v->listener);
    mem_space_add_listener(m->io, &v->listener);
    v->mem = mem_view_get(m->memory);
    v->io = mem_view_get(m->io);
    machine_unlock();
    v->attached = true;
}

static inline void fresh_views(KvmCpu *v)
{
    if (G_UNLIKELY(__atomic_load_n(&v->view_changed, __ATOMIC_RELAXED))) {
        kvm_view_update(v);
    }
}

void kvm_view_update(KvmCpu *v)
{
    FlatView *mem = v->mem, *io = v->io;

    __atomic_store_n(&v->view_changed, 0, __ATOMIC_SEQ_CST);
    v->mem = mem_view_get(v->k->m->memory);
    v->io = mem_view_get(v->k->m->io);
    mem_view_put(mem);
    mem_view_put(io);
}

/* ---- exits ---- */

static KvmNext exit_io(KvmCpu *v, struct kvm_run *run)
{
    uint8_t *p = (uint8_t *)run + run->io.data_offset;
    unsigned size = run->io.size;

    v->st.io++;
    v->must_complete = true;
    fresh_views(v);
    if (run->io.direction == KVM_EXIT_IO_IN) {
        for (uint32_t i = 0; i < run->io.count; i++, p += size) {
            uint64_t val = mem_view_load(v->io, run->io.port, size, false);

            memcpy(p, &val, size);
        }
    } else {
        for (uint32_t i = 0; i < run->io.count; i++, p += size) {
            uint64_t val = 0;

            memcpy(&val, p, size);
            mem_view_store(v->io, run->io.port, val, size, false);
        }
    }
    return KVM_NEXT_RUN;
}

/* Pieces that the map's functions take: 1, 2, 4 or 8 bytes. */
static unsigned piece(unsigned len)
{
    return len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1;
}

static KvmNext exit_mmio(KvmCpu *v, struct kvm_run *run)
{
    uint64_t addr = run->mmio.phys_addr;
    unsigned len = MIN(run->mmio.len, 8), n;
    uint8_t *p = run->mmio.data;

    v->st.mmio++;
    v->must_complete = true;
    fresh_views(v);
    for (; len; len -= n, p += n, addr += n) {
        uint64_t val = 0;

        n = piece(len);
        if (run->mmio.is_write) {
            memcpy(&val, p, n);
            mem_view_store(v->mem, addr, val, n, false);
        } else {
            val = mem_view_load(v->mem, addr, n, false);
            memcpy(p, &val, n);
        }
    }
    return KVM_NEXT_RUN;
}

static KvmNext exit_system_event(KvmCpu *v, struct kvm_run *run)
{
    Machine *m = v->k->m;

    switch (run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        machine_request_shutdown(m, SHUTDOWN_GUEST_SHUTDOWN);
        return KVM_NEXT_LEAVE;
    case KVM_SYSTEM_EVENT_RESET:
        machine_request_reset(m, SHUTDOWN_GUEST_RESET);
        return KVM_NEXT_LEAVE;
    case KVM_SYSTEM_EVENT_CRASH:
        machine_request_shutdown(m, SHUTDOWN_GUEST_PANIC);
        return KVM_NEXT_LEAVE;
    case KVM_SYSTEM_EVENT_WAKEUP:
    case KVM_SYSTEM_EVENT_SUSPEND:
        return KVM_NEXT_RUN;
    default:
        return kvm_fatal(v, "KVM: the kernel reports system event %u, which is not known here",
                         run->system_event.type);
    }
}

/* Triple fault. A kernel that runs guests without hardware virtualisation also ends so when it
 * cannot deliver an event; there the state is that before the instruction, and the jit finds out.
 */
static KvmNext exit_shutdown(KvmCpu *v)
{
    if (v->k->shadow) {
        v->st.handover_shutdown++;
        return KVM_NEXT_JIT;
    }
    guest_error("KVM: vCPU %d: triple fault", v->cpu->index);
    machine_request_reset(v->k->m, SHUTDOWN_GUEST_RESET);
    return KVM_NEXT_LEAVE;
}

static KvmNext handle_exit(KvmCpu *v)
{
    struct kvm_run *run = v->run;
    KvmNext n;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        return exit_io(v, run);
    case KVM_EXIT_MMIO:
        return exit_mmio(v, run);
    case KVM_EXIT_HLT:
        v->st.hlt++;
        return v->k->t->halt(v->cpu);
    case KVM_EXIT_INTR:
        v->st.intr++;
        return KVM_NEXT_RUN;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        v->st.irq_window++;
        return KVM_NEXT_RUN;
    case KVM_EXIT_SHUTDOWN:
        return exit_shutdown(v);
    case KVM_EXIT_SYSTEM_EVENT:
        v->st.other++;
        return exit_system_event(v, run);
    case KVM_EXIT_INTERNAL_ERROR:
        v->st.handover_emulation++;
        return KVM_NEXT_JIT;
    case KVM_EXIT_FAIL_ENTRY:
        v->st.handover_entry++;
        return KVM_NEXT_JIT;
    default:
        v->st.other++;
        n = v->k->t->exit(v->cpu, run);
        v->st.handover_unknown += n == KVM_NEXT_JIT;
        return n;
    }
}

/* ---- the guest ---- */

static uint32_t events_now(VCpu *cpu)
{
    __atomic_store_n(&cpu->exit_request, 0, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&cpu->events, __ATOMIC_SEQ_CST);
}

static bool must_leave(VCpu *cpu)
{
    return cpu->halted || cpu->debug_hit != VCPU_DEBUG_NONE ||
           events_now(cpu) & (VCPU_WORK | VCPU_STOP);
}

static KvmNext run_failed(KvmCpu *v, int e)
{
    switch (e) {
    case EINTR:
    case EAGAIN:
        v->must_complete = false;
        v->st.intr++;
        return KVM_NEXT_RUN;
    case EFAULT: /* memory that cannot be had, with the newer exit reason of that name */
    case EHWPOISON:
    case ENOSYS: /* an instruction or access that this kernel does not do */
        v->st.handover_unknown++;
        return KVM_NEXT_JIT;
    default:
        return kvm_fatal(v, "KVM_RUN failed: %s", strerror(e));
    }
}

/* State is in the kernel at both ends. */
static KvmNext run_guest(KvmCpu *v)
{
    const KvmTarget *t = v->k->t;
    struct kvm_run *run = v->run;
    VCpu *cpu = v->cpu;
    KvmNext next = KVM_NEXT_RUN;
    int r;

    while (next == KVM_NEXT_RUN) {
        __atomic_store_n(&v->in_guest, 1, __ATOMIC_SEQ_CST);
        __atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        if (G_UNLIKELY(must_leave(cpu) || !t->can_run(cpu))) {
            break;
        }
        t->before_run(cpu);
        v->st.runs++;
        r = kvm_ioctl(v->k, v->fd, KVM_RUN, NULL);
        v->ran = true;
        t->after_run(cpu);
        v->must_complete = false;
        next = r < 0 ? run_failed(v, -r) : handle_exit(v);
    }
    __atomic_store_n(&v->in_guest, 0, __ATOMIC_SEQ_CST);
    return next;
}

/* The kernel finishes port and memory reads at the next entry: enter and leave at once. Such an
 * entry may ask for the next piece of an access. */
static KvmNext complete_exit(KvmCpu *v, KvmNext next)
{
    while (v->must_complete) {
        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        v->must_complete = false;
        int r = kvm_ioctl(v->k, v->fd, KVM_RUN, NULL);

        v->k->t->after_run(v->cpu);
        if (r >= 0) {
            KvmNext n = handle_exit(v);

            next = n == KVM_NEXT_RUN ? next : n;
        } else if (r != -EINTR && r != -EAGAIN) {
            return run_failed(v, -r);
        }
    }
    return next;
}

void kvm_run_vcpu(VCpu *cpu)
{
    KvmCpu *v = kvm_cpu(cpu);
    const KvmTarget *t = v->k->t;
    g_autoptr(GError) err = NULL;
    KvmNext next;

    if (v->k->interprets) {
        jit_accel.run(cpu);
        return;
    }
    if (!v->attached) {
        attach(v);
    }
    if (!v->have_thread || !pthread_equal(v->thread, pthread_self())) {
        install_kick(v);
    }
    while (!must_leave(cpu)) {
        if (!t->can_run(cpu)) {
            kvm_translate_until_fit(v);
            continue;
        }
        v->st.puts++;
        if (!t->put(cpu, &err)) {
            kvm_fatal(v, "KVM: %s", err->message);
            return;
        }
        next = complete_exit(v, run_guest(v));
        v->st.gets++;
        if (!t->get(cpu, &err)) {
            kvm_fatal(v, "KVM: %s", err->message);
            return;
        }
        kvm_finish_event(v);
        if (next == KVM_NEXT_JIT) {
            next = kvm_handover(v);
        }
        if (next == KVM_NEXT_LEAVE || next == KVM_NEXT_FATAL) {
            return;
        }
    }
}
