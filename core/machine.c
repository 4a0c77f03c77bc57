/*
 * The machine lock, run state, reset and shutdown, the main loop.
 *
 * Requests from any thread are bits that an always attached glib source hands to the main
 * thread. A pending reset or shutdown also parks the vCPUs, as the real signal would: the guest
 * runs no further instructions after the one that asked for it (other vCPUs: a few).
 */
#include "core/machine.h"
#include "core/log.h"

enum {
    REQ_RESET = 1 << 0,
    REQ_SHUTDOWN = 1 << 1,
    REQ_POWERDOWN = 1 << 2,
    REQ_STOP = 1 << 3,
    REQ_EXIT = 1 << 4,
};

struct MachineLoop {
    GSource *source;
    uint32_t requests;                                    /* atomic */
    int reset_cause, shutdown_cause, stop_why, exit_code; /* atomic; of the requests */
    unsigned pause; /* vCPUs must park although the machine runs; machine lock */
    GCond parked;   /* with the machine lock */
    bool quit;      /* main thread */
};

typedef struct RequestSource {
    GSource source;
    Machine *machine;
} RequestSource;

typedef struct Hook {
    void (*reset)(void *opaque);
    void (*state)(void *opaque, bool running);
    void *opaque;
} Hook;

/* ---- the lock ---- */

static GMutex lock;
static __thread bool lock_held;

void machine_lock(void)
{
    g_assert(!lock_held);
    g_mutex_lock(&lock);
    lock_held = true;
}

bool machine_trylock(void)
{
    g_assert(!lock_held);
    lock_held = g_mutex_trylock(&lock);
    return lock_held;
}

void machine_unlock(void)
{
    g_assert(lock_held);
    lock_held = false;
    g_mutex_unlock(&lock);
}

bool machine_lock_held(void)
{
    return lock_held;
}

/* ---- stopping and going on ---- */

bool machine_running(const Machine *m)
{
    return m->state == RUN_RUNNING;
}

bool machine_must_park(const Machine *m)
{
    return m->state != RUN_RUNNING || m->loop->pause ||
           __atomic_load_n(&m->loop->requests, __ATOMIC_SEQ_CST) &
               (REQ_RESET | REQ_SHUTDOWN | REQ_EXIT);
}

void machine_vcpu_parked(Machine *m)
{
    g_cond_broadcast(&m->loop->parked);
}

/* Makes every vCPU leave the guest, or its sleep, and look at the machine's state. */
static void kick_all(Machine *m)
{
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        vcpu_signal(m->vcpus[i], VCPU_STOP);
    }
}

static bool all_parked(const Machine *m)
{
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        if (m->vcpus[i]->started && !m->vcpus[i]->stopped) {
            return false;
        }
    }
    return true;
}

/* Lets go of the lock while it waits: a vCPU on its way here may need it. */
static void wait_parked(Machine *m)
{
    kick_all(m);
    while (!all_parked(m) && machine_must_park(m)) {
        lock_held = false;
        g_cond_wait(&m->loop->parked, &lock);
        lock_held = true;
    }
}

void machine_hold(Machine *m)
{
    m->loop->pause++;
    wait_parked(m);
}

void machine_release(Machine *m)
{
    m->loop->pause--;
    kick_all(m);
}

static void call_state_hooks(Machine *m, bool running)
{
    for (GSList *l = m->state_hooks; l; l = l->next) {
        Hook *h = l->data;
        h->state(h->opaque, running);
    }
}

void machine_start(Machine *m)
{
    if (m->state == RUN_RUNNING) {
        return;
    }
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        m->vcpus[i]->debug_hit = VCPU_DEBUG_NONE;
    }
    m->state = RUN_RUNNING;
    clock_start(m->virtual_clock);
    call_state_hooks(m, true);
    kick_all(m);
}

void machine_stop(Machine *m, RunState why)
{
    if (vcpu_current()) {
        /* A vCPU cannot wait for itself, nor two for each other. */
        machine_request_stop(m, why);
        return;
    }
    bool was_running = m->state == RUN_RUNNING;
    m->state = why;
    if (!was_running) {
        return;
    }
    wait_parked(m);
    if (m->state == RUN_RUNNING) {
        return; /* started again by somebody while we waited */
    }
    clock_stop(m->virtual_clock);
    call_state_hooks(m, false);
}

const char *run_state_name(RunState s)
{
    static const char *const names[] = {
        [RUN_PRELAUNCH] = "prelaunch", [RUN_RUNNING] = "running",
        [RUN_PAUSED] = "paused",       [RUN_SHUTDOWN] = "shutdown",
        [RUN_DEBUG] = "debug",         [RUN_INTERNAL_ERROR] = "internal-error",
        [RUN_IO_ERROR] = "io-error",
    };

    return s < G_N_ELEMENTS(names) ? names[s] : "unknown";
}

/* ---- requests ---- */

static void request(Machine *m, uint32_t bit)
{
    __atomic_or_fetch(&m->loop->requests, bit, __ATOMIC_SEQ_CST);
    if (bit & (REQ_RESET | REQ_SHUTDOWN | REQ_EXIT)) {
        kick_all(m);
    }
    g_source_set_ready_time(m->loop->source, 0);
}

void machine_request_reset(Machine *m, ShutdownCause cause)
{
    __atomic_store_n(&m->loop->reset_cause, cause, __ATOMIC_RELAXED);
    request(m, REQ_RESET);
}

void machine_request_shutdown(Machine *m, ShutdownCause cause)
{
    __atomic_store_n(&m->loop->shutdown_cause, cause, __ATOMIC_RELAXED);
    request(m, REQ_SHUTDOWN);
}

void machine_request_powerdown(Machine *m)
{
    request(m, REQ_POWERDOWN);
}

void machine_request_stop(Machine *m, RunState why)
{
    __atomic_store_n(&m->loop->stop_why, why, __ATOMIC_RELAXED);
    request(m, REQ_STOP);
}

void machine_request_exit(Machine *m, int code)
{
    __atomic_store_n(&m->loop->exit_code, code, __ATOMIC_RELAXED);
    request(m, REQ_EXIT);
}

static void tell(Machine *m, MachineEvent ev, ShutdownCause cause)
{
    if (m->event) {
        m->event(m, ev, cause);
    }
}

static void do_shutdown(Machine *m, ShutdownCause cause)
{
    bool by_guest = cause == SHUTDOWN_GUEST_SHUTDOWN || cause == SHUTDOWN_GUEST_RESET ||
                    cause == SHUTDOWN_GUEST_PANIC;

    tell(m, MACHINE_EVENT_SHUTDOWN, cause);
    if (by_guest && m->no_shutdown) {
        machine_stop(m, RUN_SHUTDOWN);
    } else {
        m->loop->quit = true;
    }
}

static void do_reset(Machine *m, ShutdownCause cause)
{
    if (m->no_reboot && cause == SHUTDOWN_GUEST_RESET) {
        do_shutdown(m, cause);
        return;
    }
    m->loop->pause++;
    wait_parked(m);
    machine_reset(m);
    m->loop->pause--;
    tell(m, MACHINE_EVENT_RESET, cause);
    if (m->state == RUN_SHUTDOWN || m->state == RUN_INTERNAL_ERROR) {
        m->state = RUN_PAUSED; /* may go on from here */
    }
    kick_all(m);
}

static gboolean dispatch_requests(GSource *source, GSourceFunc fn, gpointer data)
{
    Machine *m = ((RequestSource *)source)->machine;
    struct MachineLoop *l = m->loop;

    g_source_set_ready_time(source, -1);
    machine_lock();
    uint32_t r = __atomic_exchange_n(&l->requests, 0, __ATOMIC_SEQ_CST);
    if (r & REQ_EXIT) {
        m->exit_code = __atomic_load_n(&l->exit_code, __ATOMIC_RELAXED);
        l->quit = true;
    }
    if (r & REQ_SHUTDOWN) {
        do_shutdown(m, __atomic_load_n(&l->shutdown_cause, __ATOMIC_RELAXED));
    }
    if ((r & REQ_STOP) && m->state == RUN_RUNNING) {
        machine_stop(m, __atomic_load_n(&l->stop_why, __ATOMIC_RELAXED));
    }
    if ((r & REQ_POWERDOWN) && m->power_button) {
        m->power_button(m);
        tell(m, MACHINE_EVENT_POWERDOWN, SHUTDOWN_NONE);
    }
    if ((r & REQ_RESET) && !l->quit) {
        do_reset(m, __atomic_load_n(&l->reset_cause, __ATOMIC_RELAXED));
    }
    machine_unlock();
    return G_SOURCE_CONTINUE;
}

static const GSourceFuncs request_funcs = {.dispatch = dispatch_requests};

/* ---- reset ---- */

void machine_reset(Machine *m)
{
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        VCpu *cpu = m->vcpus[i];
        vcpu_unsignal(cpu, ~(uint32_t)(VCPU_WORK | VCPU_STOP));
        cpu->halted = false;
        if (cpu->target->reset) {
            cpu->target->reset(cpu);
        }
        if (cpu->accel && cpu->accel->flush_tlb) {
            cpu->accel->flush_tlb(cpu);
        }
    }
    mem_transaction_begin();
    for (unsigned i = 0; i < m->devices->len; i++) {
        Device *dev = m->devices->pdata[i];
        dev->type->reset(dev);
    }
    mem_transaction_commit();
    for (GSList *l = m->reset_hooks; l; l = l->next) {
        Hook *h = l->data;
        h->reset(h->opaque);
    }
}

void machine_add_reset_hook(Machine *m, void (*fn)(void *opaque), void *opaque)
{
    Hook *h = g_new0(Hook, 1);

    h->reset = fn;
    h->opaque = opaque;
    m->reset_hooks = g_slist_append(m->reset_hooks, h);
}

void machine_add_state_hook(Machine *m, void (*fn)(void *opaque, bool running), void *opaque)
{
    Hook *h = g_new0(Hook, 1);

    h->state = fn;
    h->opaque = opaque;
    m->state_hooks = g_slist_append(m->state_hooks, h);
}

void machine_remove_state_hook(Machine *m, void (*fn)(void *opaque, bool running), void *opaque)
{
    for (GSList *l = m->state_hooks; l; l = l->next) {
        Hook *h = l->data;
        if (h->state == fn && h->opaque == opaque) {
            m->state_hooks = g_slist_delete_link(m->state_hooks, l);
            g_free(h);
            return;
        }
    }
}

/* ---- life ---- */

Machine *machine_new(const MachineType *type, const Accelerator *accel)
{
    Machine *m = g_new0(Machine, 1);

    m->type = type;
    m->accel = accel;
    m->state = RUN_PRELAUNCH;
    mem_region_init_container(&m->memory_root, "system", UINT64_MAX);
    mem_region_init_container(&m->io_root, "io", 0x10000);
    m->memory = mem_space_new("memory", &m->memory_root);
    m->io = mem_space_new("I/O", &m->io_root);
    m->virtual_clock = clock_new(CLOCK_KIND_VIRTUAL);
    clock_stop(m->virtual_clock);
    m->host_clock = clock_new(CLOCK_KIND_HOST);
    m->mono_clock = clock_new(CLOCK_KIND_MONOTONIC);
    m->devices = g_ptr_array_new();
    m->loop = g_new0(struct MachineLoop, 1);
    g_cond_init(&m->loop->parked);
    m->loop->source = g_source_new((GSourceFuncs *)&request_funcs, sizeof(RequestSource));
    ((RequestSource *)m->loop->source)->machine = m;
    g_source_set_name(m->loop->source, "rhea-requests");
    g_source_attach(m->loop->source, NULL);
    return m;
}

void machine_free(Machine *m)
{
    if (!m) {
        return;
    }
    bool held = machine_lock_held();
    if (!held) {
        machine_lock();
    }
    if (m->state == RUN_RUNNING) {
        machine_stop(m, RUN_SHUTDOWN);
    }
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        vcpu_join_thread(m->vcpus[i]);
    }
    while (m->devices->len) {
        device_free(m->devices->pdata[m->devices->len - 1]);
    }
    while (m->n_vcpus) {
        vcpu_free(m->vcpus[m->n_vcpus - 1]);
    }
    g_free(m->vcpus);
    if (m->board && m->type && m->type->fini) {
        m->type->fini(m);
    }
    if (m->accel && m->accel->fini) {
        m->accel->fini(m);
    }
    device_free_globals(m);
    g_slist_free_full(m->reset_hooks, g_free);
    g_slist_free_full(m->state_hooks, g_free);
    mem_space_free(m->memory);
    mem_space_free(m->io);
    mem_region_destroy(&m->memory_root);
    mem_region_destroy(&m->io_root);
    clock_free(m->virtual_clock);
    clock_free(m->host_clock);
    clock_free(m->mono_clock);
    g_ptr_array_free(m->devices, TRUE);
    g_source_destroy(m->loop->source);
    g_source_unref(m->loop->source);
    g_cond_clear(&m->loop->parked);
    g_free(m->loop);
    g_free(m);
    if (!held) {
        machine_unlock();
    }
}

int machine_main_loop(Machine *m)
{
    while (!m->loop->quit) {
        g_main_context_iteration(NULL, TRUE);
    }
    machine_lock();
    machine_stop(m, RUN_SHUTDOWN);
    machine_unlock();
    return m->exit_code;
}
