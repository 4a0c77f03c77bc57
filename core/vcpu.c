/*
 * vCPUs: storage, thread, events, work.
 *
 * The thread's loop holds the machine lock except while it runs guest code, runs queued work or
 * sleeps. It sleeps on cond with work_lock. Nothing is lost because
 *  - events: the sleeper sets `waiting`, then looks at `events`; vcpu_signal() sets `events`,
 *    then looks at `waiting` (both sequentially consistent) and takes work_lock to wake;
 *  - machine state: the sleeper takes work_lock before it lets go of the machine lock.
 */
#include "core/vcpu.h"
#include "core/log.h"
#include "core/machine.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct VCpuWork {
    VCpuWork *next;
    void (*fn)(VCpu *cpu, void *arg);
    void *arg;
    bool *done; /* run_on: set under work_lock, then done_cond */
    GCond *done_cond;
};

static __thread VCpu *current;

VCpu *vcpu_current(void)
{
    return current;
}

/* ---- events ---- */

void vcpu_signal(VCpu *cpu, uint32_t events)
{
    __atomic_or_fetch(&cpu->events, events, __ATOMIC_SEQ_CST);
    __atomic_store_n(&cpu->exit_request, -1, __ATOMIC_SEQ_CST);
    if (cpu == current) {
        return;
    }
    if (__atomic_load_n(&cpu->waiting, __ATOMIC_SEQ_CST)) {
        g_mutex_lock(&cpu->work_lock);
        g_cond_broadcast(&cpu->cond);
        g_mutex_unlock(&cpu->work_lock);
    } else if (cpu->accel && cpu->accel->kick) {
        cpu->accel->kick(cpu);
    }
}

void vcpu_unsignal(VCpu *cpu, uint32_t events)
{
    __atomic_and_fetch(&cpu->events, ~events, __ATOMIC_SEQ_CST);
}

/* ---- work ---- */

static void add_work(VCpu *cpu, VCpuWork *w)
{
    VCpuWork **end = &cpu->work;

    g_mutex_lock(&cpu->work_lock);
    while (*end) {
        end = &(*end)->next;
    }
    *end = w;
    g_mutex_unlock(&cpu->work_lock);
    vcpu_signal(cpu, VCPU_WORK);
}

static VCpuWork *new_work(void (*fn)(VCpu *cpu, void *arg), void *arg)
{
    VCpuWork *w = g_new0(VCpuWork, 1);

    w->fn = fn;
    w->arg = arg;
    return w;
}

void vcpu_queue(VCpu *cpu, void (*fn)(VCpu *cpu, void *arg), void *arg)
{
    add_work(cpu, new_work(fn, arg));
}

void vcpu_run_on(VCpu *cpu, void (*fn)(VCpu *cpu, void *arg), void *arg)
{
    bool done = false;
    GCond done_cond;

    if (cpu == current || !cpu->started) {
        fn(cpu, arg);
        return;
    }
    g_assert(!machine_lock_held());
    g_cond_init(&done_cond);
    VCpuWork *w = new_work(fn, arg);
    w->done = &done;
    w->done_cond = &done_cond;
    add_work(cpu, w);
    g_mutex_lock(&cpu->work_lock);
    while (!done) {
        g_cond_wait(&done_cond, &cpu->work_lock);
    }
    g_mutex_unlock(&cpu->work_lock);
    g_cond_clear(&done_cond);
}

void vcpu_do_work(VCpu *cpu)
{
    vcpu_unsignal(cpu, VCPU_WORK);
    for (;;) {
        g_mutex_lock(&cpu->work_lock);
        VCpuWork *w = cpu->work;
        if (w) {
            cpu->work = w->next;
        }
        g_mutex_unlock(&cpu->work_lock);
        if (!w) {
            return;
        }
        w->fn(cpu, w->arg);
        if (w->done) {
            g_mutex_lock(&cpu->work_lock);
            *w->done = true;
            g_cond_signal(w->done_cond);
            g_mutex_unlock(&cpu->work_lock);
        }
        g_free(w);
    }
}

/* ---- thread ---- */

static uint32_t events_now(VCpu *cpu)
{
    return __atomic_load_n(&cpu->events, __ATOMIC_SEQ_CST);
}

/* Until somebody signals; may return early. Machine lock held at both ends. */
static void sleep_until_signal(VCpu *cpu, bool halted)
{
    g_mutex_lock(&cpu->work_lock);
    __atomic_store_n(&cpu->waiting, 1, __ATOMIC_SEQ_CST);
    uint32_t events = events_now(cpu);
    bool go = events & (VCPU_WORK | VCPU_STOP) || (halted && cpu->target->has_work(cpu));
    machine_unlock();
    if (!go) {
        g_cond_wait(&cpu->cond, &cpu->work_lock);
    }
    __atomic_store_n(&cpu->waiting, 0, __ATOMIC_SEQ_CST);
    g_mutex_unlock(&cpu->work_lock);
    machine_lock();
}

/* One turn of the loop; machine lock. */
static void vcpu_turn(VCpu *cpu)
{
    /* Before the conditions that it announces are read. */
    vcpu_unsignal(cpu, VCPU_STOP);
    bool park = machine_must_park(cpu->machine) || cpu->debug_hit != VCPU_DEBUG_NONE;

    if (park && !cpu->stopped) {
        cpu->stopped = true;
        machine_vcpu_parked(cpu->machine);
    }
    if (events_now(cpu) & VCPU_WORK) {
        machine_unlock();
        vcpu_do_work(cpu);
        machine_lock();
        return;
    }
    if (park) {
        sleep_until_signal(cpu, false);
        return;
    }
    cpu->stopped = false;
    if (cpu->halted) {
        if (!cpu->target->has_work(cpu)) {
            sleep_until_signal(cpu, true);
            return;
        }
        cpu->halted = false;
    }
    machine_unlock();
    cpu->accel->run(cpu);
    machine_lock();
    if (cpu->debug_hit != VCPU_DEBUG_NONE) {
        machine_request_stop(cpu->machine,
                             cpu->debug_hit == VCPU_DEBUG_ERROR ? RUN_INTERNAL_ERROR : RUN_DEBUG);
    }
}

static gpointer vcpu_thread(gpointer opaque)
{
    VCpu *cpu = opaque;

    current = cpu;
    machine_lock();
    while (!cpu->quit) {
        vcpu_turn(cpu);
    }
    cpu->stopped = true;
    machine_vcpu_parked(cpu->machine);
    machine_unlock();
    vcpu_do_work(cpu);
    return NULL;
}

void vcpu_start_thread(VCpu *cpu)
{
    char name[16];

    g_assert(!cpu->started && cpu->machine);
    cpu->started = true;
    g_snprintf(name, sizeof(name), "vcpu%d", cpu->index);
    cpu->thread = g_thread_new(name, vcpu_thread, cpu);
}

void vcpu_join_thread(VCpu *cpu)
{
    bool held = machine_lock_held();

    if (!cpu->started) {
        return;
    }
    if (!held) {
        machine_lock();
    }
    cpu->quit = true;
    vcpu_signal(cpu, VCPU_STOP);
    machine_unlock();
    g_thread_join(cpu->thread);
    cpu->thread = NULL;
    if (held) {
        machine_lock();
    }
    cpu->started = false;
    cpu->quit = false;
    vcpu_do_work(cpu); /* what came too late for the thread */
}

/* ---- life ---- */

static size_t mapping_size(const Target *target)
{
    size_t page = sysconf(_SC_PAGESIZE);

    return VCPU_ACCEL_AREA + ((target->state_size + page - 1) & ~(page - 1));
}

static void machine_list_add(Machine *m, VCpu *cpu)
{
    m->vcpus = g_renew(VCpu *, m->vcpus, m->n_vcpus + 1);
    m->vcpus[m->n_vcpus++] = cpu;
}

static void machine_list_del(Machine *m, VCpu *cpu)
{
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        if (m->vcpus[i] == cpu) {
            memmove(&m->vcpus[i], &m->vcpus[i + 1], (--m->n_vcpus - i) * sizeof(VCpu *));
            return;
        }
    }
}

static void release(VCpu *cpu)
{
    const Target *target = cpu->target;

    g_array_free(cpu->breakpoints, TRUE);
    g_array_free(cpu->watchpoints, TRUE);
    g_mutex_clear(&cpu->work_lock);
    g_cond_clear(&cpu->cond);
    munmap((uint8_t *)cpu - VCPU_ACCEL_AREA, mapping_size(target));
}

VCpu *vcpu_new(Machine *m, const Target *target, const Accelerator *accel, int index,
               const char *model, GError **err)
{
    uint8_t *area = mmap(NULL, mapping_size(target), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (area == MAP_FAILED) {
        fail(err, "The host has no memory for vCPU %d: %s", index, strerror(errno));
        return NULL;
    }
    VCpu *cpu = (VCpu *)(area + VCPU_ACCEL_AREA);
    cpu->index = index;
    cpu->target = target;
    cpu->accel = accel;
    cpu->machine = m;
    cpu->stopped = true;
    cpu->breakpoints = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    cpu->watchpoints = g_array_new(FALSE, FALSE, sizeof(VCpuWatch));
    g_mutex_init(&cpu->work_lock);
    g_cond_init(&cpu->cond);
    if (target->init && !target->init(cpu, model, err)) {
        release(cpu);
        return NULL;
    }
    if (accel && accel->vcpu_init && !accel->vcpu_init(cpu, err)) {
        if (target->free) {
            target->free(cpu);
        }
        release(cpu);
        return NULL;
    }
    if (m) {
        machine_list_add(m, cpu);
    }
    return cpu;
}

void vcpu_free(VCpu *cpu)
{
    if (!cpu) {
        return;
    }
    vcpu_join_thread(cpu);
    if (cpu->machine) {
        machine_list_del(cpu->machine, cpu);
    }
    if (cpu->accel && cpu->accel->vcpu_fini) {
        cpu->accel->vcpu_fini(cpu);
    }
    if (cpu->target->free) {
        cpu->target->free(cpu);
    }
    release(cpu);
}

bool vcpu_debug_rw(VCpu *cpu, uint64_t vaddr, void *buf, size_t len, bool write)
{
    uint8_t *p = buf;

    while (len) {
        size_t n = MIN(len, MEM_PAGE_SIZE - (vaddr & MEM_PAGE_MASK));
        uint64_t phys = cpu->target->debug_translate(cpu, vaddr);
        if (phys == UINT64_MAX || !(write ? mem_write_rom(cpu->machine->memory, phys, p, n)
                                          : mem_read(cpu->machine->memory, phys, p, n))) {
            return false;
        }
        vaddr += n;
        p += n;
        len -= n;
    }
    return true;
}
