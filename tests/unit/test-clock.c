/* core/clock, and the vCPU loop and run state of core/vcpu and core/machine. */
#include "core/clock.h"
#include "core/machine.h"
#include <unistd.h>

#define MS 1000000LL

typedef struct Probe {
    Timer t;
    int64_t fired_at;
    unsigned count;
    int64_t again; /* re-arm that much later, -1 no */
    GString *log;
    char name;
    bool locked;
} Probe;

static void fire(void *opaque)
{
    Probe *p = opaque;

    p->count++;
    p->fired_at = clock_now(p->t.clock);
    p->locked = machine_lock_held();
    g_assert_false(timer_pending(&p->t));
    if (p->log) {
        g_string_append_c(p->log, p->name);
    }
    if (p->again >= 0) {
        timer_set(&p->t, p->fired_at + p->again);
    }
}

static void test_manual(void)
{
    Clock *c = clock_new(CLOCK_KIND_MANUAL);
    GString *log = g_string_new(NULL);
    Probe a = {.again = -1, .name = 'a', .log = log}, b = {.again = 10, .name = 'b', .log = log},
          d = {.again = -1, .name = 'd', .log = log};

    timer_init(&a.t, c, fire, &a);
    timer_init(&b.t, c, fire, &b);
    timer_init(&d.t, c, fire, &d);
    g_assert_cmpint(clock_now(c), ==, 0);
    g_assert_cmpint(clock_next_deadline(c), ==, -1);
    timer_set(&a.t, 30);
    timer_set(&d.t, 30);
    timer_set(&b.t, 15);
    g_assert_cmpint(clock_next_deadline(c), ==, 15);
    clock_step(c, 14);
    g_assert_cmpstr(log->str, ==, "");
    clock_step(c, 1);
    g_assert_cmpint(b.fired_at, ==, 15);
    clock_step(c, 20); /* b at 25, then a and d at 30 in order of setting, b at 35 */
    g_assert_cmpstr(log->str, ==, "bbadb");
    g_assert_cmpint(a.fired_at, ==, 30);
    g_assert_cmpint(clock_now(c), ==, 35);
    timer_del(&b.t);
    g_assert_false(timer_pending(&b.t));
    timer_set(&a.t, 5); /* the past */
    clock_step(c, 0);
    g_assert_cmpuint(a.count, ==, 2);
    g_assert_cmpint(a.fired_at, ==, 35);
    timer_set(&a.t, 50);
    timer_set(&a.t, 60); /* moved, not doubled */
    clock_step(c, 100);
    g_assert_cmpuint(a.count, ==, 3);
    g_assert_true(a.locked);
    clock_free(c);
    g_string_free(log, TRUE);
}

static void run_loop_until(const unsigned *count, unsigned n, int64_t limit_ms)
{
    gint64 end = g_get_monotonic_time() + limit_ms * 1000;

    while (*count < n && g_get_monotonic_time() < end) {
        if (!g_main_context_iteration(NULL, FALSE)) {
            g_usleep(100);
        }
    }
}

static void test_virtual(void)
{
    Clock *c = clock_new(CLOCK_KIND_VIRTUAL);
    Probe p = {.again = -1};

    timer_init(&p.t, c, fire, &p);
    int64_t t0 = clock_now(c);
    timer_set(&p.t, t0 + 5 * MS);
    run_loop_until(&p.count, 1, 2000);
    g_assert_cmpuint(p.count, ==, 1);
    g_assert_cmpint(p.fired_at, >=, t0 + 5 * MS);
    g_assert_true(p.locked);
    /* stopped: time stands still and nothing fires */
    clock_stop(c);
    int64_t t1 = clock_now(c);
    timer_set(&p.t, t1 + 2 * MS);
    g_usleep(10000);
    run_loop_until(&p.count, 2, 20);
    g_assert_cmpuint(p.count, ==, 1);
    g_assert_cmpint(clock_now(c), ==, t1);
    clock_start(c);
    g_assert_cmpint(clock_now(c) - t1, <, 1000 * MS);
    run_loop_until(&p.count, 2, 2000);
    g_assert_cmpuint(p.count, ==, 2);
    /* far future does not overflow into the past */
    timer_set(&p.t, INT64_MAX);
    run_loop_until(&p.count, 3, 10);
    g_assert_cmpuint(p.count, ==, 2);
    timer_del(&p.t);
    clock_free(c);
}

static void test_wall_and_earlier(void)
{
    Clock *h = clock_new(CLOCK_KIND_HOST), *m = clock_new(CLOCK_KIND_MONOTONIC);
    Probe p = {.again = -1}, q = {.again = -1};

    g_assert_cmpint(ABS(clock_now(h) / 1000 - g_get_real_time()), <, 1000000);
    clock_set_offset(h, 3600 * NS_PER_SEC);
    g_assert_cmpint(clock_now(h) / 1000 - g_get_real_time(), >, 3590 * 1000000LL);
    timer_init(&p.t, h, fire, &p);
    timer_init(&q.t, m, fire, &q);
    timer_set(&p.t, clock_now(h) + 3600 * NS_PER_SEC);
    timer_set(&q.t, clock_now(m) + 3600 * NS_PER_SEC);
    timer_set(&p.t, clock_now(h) + 2 * MS); /* became the earliest */
    timer_set(&q.t, clock_now(m) + 2 * MS);
    run_loop_until(&p.count, 1, 2000);
    run_loop_until(&q.count, 1, 2000);
    g_assert_cmpuint(p.count, ==, 1);
    g_assert_cmpuint(q.count, ==, 1);
    clock_free(h);
    clock_free(m);
}

static void test_self_arming_does_not_hold_the_loop(void)
{
    Clock *c = clock_new(CLOCK_KIND_MONOTONIC);
    Probe p = {.again = 0}; /* for "now", always */

    timer_init(&p.t, c, fire, &p);
    timer_set(&p.t, 1);
    for (unsigned i = 0; i < 50; i++) {
        g_main_context_iteration(NULL, TRUE); /* returns each time */
    }
    g_assert_cmpuint(p.count, >=, 40);
    timer_del(&p.t);
    clock_free(c);
}

static gpointer arm_from_thread(gpointer opaque)
{
    Probe *p = opaque;

    timer_set(&p->t, clock_now(p->t.clock) + MS);
    return NULL;
}

static void test_arm_wakes_a_blocked_loop(void)
{
    Clock *c = clock_new(CLOCK_KIND_MONOTONIC);
    Probe p = {.again = -1};

    timer_init(&p.t, c, fire, &p);
    GThread *t = g_thread_new("arm", arm_from_thread, &p);
    while (!p.count) {
        g_main_context_iteration(NULL, TRUE); /* would block for ever if the arming were missed */
    }
    g_thread_join(t);
    clock_free(c);
}

/* ---- vCPUs and run state, with a target that only counts ---- */

typedef struct FakeCpu {
    VCpu vcpu;
    uint64_t turns, resets;
    bool halt_next;
} FakeCpu;

static bool fake_has_work(VCpu *cpu)
{
    return __atomic_load_n(&cpu->events, __ATOMIC_SEQ_CST) & (VCPU_IRQ | VCPU_NMI);
}

static void fake_reset(VCpu *cpu)
{
    ((FakeCpu *)cpu)->resets++;
}

/* Spins like a guest until something is wanted. */
static void fake_run(VCpu *cpu)
{
    FakeCpu *f = (FakeCpu *)cpu;

    g_assert_false(machine_lock_held());
    g_assert_true(vcpu_current() == cpu);
    while (!__atomic_load_n(&cpu->exit_request, __ATOMIC_SEQ_CST)) {
        __atomic_add_fetch(&f->turns, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&f->halt_next, __ATOMIC_SEQ_CST)) {
            vcpu_unsignal(cpu, VCPU_NMI);
            cpu->halted = true;
            return;
        }
    }
    __atomic_store_n(&cpu->exit_request, 0, __ATOMIC_SEQ_CST);
}

static const Target fake_target = {
    .name = "fake", .state_size = sizeof(FakeCpu), .has_work = fake_has_work, .reset = fake_reset};
static const Accelerator fake_accel = {.name = "fake", .run = fake_run};

static bool turning(FakeCpu *f)
{
    uint64_t before = __atomic_load_n(&f->turns, __ATOMIC_SEQ_CST);

    for (unsigned i = 0; i < 2000; i++) {
        if (__atomic_load_n(&f->turns, __ATOMIC_SEQ_CST) != before) {
            return true;
        }
        g_usleep(1000);
    }
    return false;
}

static bool standing(FakeCpu *f)
{
    uint64_t before = __atomic_load_n(&f->turns, __ATOMIC_SEQ_CST);

    g_usleep(20000);
    return __atomic_load_n(&f->turns, __ATOMIC_SEQ_CST) == before;
}

static void work_fn(VCpu *cpu, void *arg)
{
    g_assert_true(vcpu_current() == cpu);
    g_assert_false(machine_lock_held());
    ++*(unsigned *)arg;
}

static Machine *fake_machine(unsigned n)
{
    Machine *m = machine_new(NULL, &fake_accel);

    for (unsigned i = 0; i < n; i++) {
        VCpu *cpu = vcpu_new(m, &fake_target, &fake_accel, i, NULL, NULL);
        g_assert_nonnull(cpu);
        g_assert_cmpuint((uintptr_t)cpu % 4096, ==, 0);
        ((char *)cpu)[-1] = 1; /* the accelerator's area is there */
        ((char *)cpu)[-(ptrdiff_t)VCPU_ACCEL_AREA] = 1;
    }
    g_assert_cmpuint(m->n_vcpus, ==, n);
    return m;
}

static void test_vcpu_stop_and_work(void)
{
    Machine *m = fake_machine(2);
    FakeCpu *a = (FakeCpu *)m->vcpus[0], *b = (FakeCpu *)m->vcpus[1];
    unsigned ran = 0;

    vcpu_start_thread(m->vcpus[0]);
    vcpu_start_thread(m->vcpus[1]);
    g_assert_true(standing(a));
    vcpu_run_on(m->vcpus[0], work_fn, &ran); /* a stopped vCPU works */
    g_assert_cmpuint(ran, ==, 1);
    machine_lock();
    machine_start(m);
    machine_unlock();
    g_assert_true(turning(a) && turning(b));
    for (unsigned i = 0; i < 200; i++) {
        vcpu_run_on(m->vcpus[i & 1], work_fn, &ran);
    }
    g_assert_cmpuint(ran, ==, 201);
    for (unsigned i = 0; i < 100; i++) {
        machine_lock();
        machine_stop(m, RUN_PAUSED);
        g_assert_true(a->vcpu.stopped && b->vcpu.stopped);
        int64_t t = clock_now(m->virtual_clock);
        g_assert_cmpint(clock_now(m->virtual_clock), ==, t);
        machine_start(m);
        machine_unlock();
    }
    g_assert_true(turning(a) && turning(b));
    machine_free(m);
}

static void test_vcpu_halt_wakes(void)
{
    Machine *m = fake_machine(1);
    FakeCpu *a = (FakeCpu *)m->vcpus[0];

    vcpu_start_thread(m->vcpus[0]);
    a->halt_next = true;
    machine_lock();
    machine_start(m);
    machine_unlock();
    /* each NMI gives exactly one turn, none is lost */
    for (unsigned i = 0; i < 3000; i++) {
        while (!__atomic_load_n(&a->vcpu.waiting, __ATOMIC_SEQ_CST) && i % 3) {
            g_thread_yield();
        }
        uint64_t before = __atomic_load_n(&a->turns, __ATOMIC_SEQ_CST);
        vcpu_signal(m->vcpus[0], VCPU_NMI);
        gint64 end = g_get_monotonic_time() + 5000000;
        while (__atomic_load_n(&a->turns, __ATOMIC_SEQ_CST) == before &&
               (__atomic_load_n(&a->vcpu.events, __ATOMIC_SEQ_CST) & VCPU_NMI)) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
        }
    }
    machine_free(m);
}

static void reset_hook(void *opaque)
{
    ++*(unsigned *)opaque;
}

static void state_hook(void *opaque, bool running)
{
    g_string_append_c(opaque, running ? '+' : '-');
}

static gboolean quit_later(gpointer m)
{
    machine_request_exit(m, 42);
    return G_SOURCE_REMOVE;
}

static gboolean reset_later(gpointer m)
{
    machine_request_reset(m, SHUTDOWN_GUEST_RESET);
    return G_SOURCE_REMOVE;
}

static gboolean stop_later(gpointer m)
{
    machine_request_stop(m, RUN_IO_ERROR);
    return G_SOURCE_REMOVE;
}

static void test_requests(void)
{
    Machine *m = fake_machine(1);
    FakeCpu *a = (FakeCpu *)m->vcpus[0];
    GString *log = g_string_new(NULL);
    unsigned resets = 0;

    machine_add_reset_hook(m, reset_hook, &resets);
    machine_add_state_hook(m, state_hook, log);
    vcpu_start_thread(m->vcpus[0]);
    machine_lock();
    machine_start(m);
    machine_unlock();
    g_timeout_add(10, reset_later, m);
    g_timeout_add(60, stop_later, m);
    g_timeout_add(90, quit_later, m);
    g_assert_cmpint(machine_main_loop(m), ==, 42);
    g_assert_cmpuint(resets, ==, 1);
    g_assert_cmpuint(a->resets, ==, 1);
    g_assert_cmpstr(log->str, ==, "+-");
    g_assert_true(a->vcpu.stopped);
    machine_free(m);
    g_string_free(log, TRUE);
}

static void test_no_reboot_no_shutdown(void)
{
    Machine *m = fake_machine(1);

    vcpu_start_thread(m->vcpus[0]);
    m->no_reboot = m->no_shutdown = true;
    machine_lock();
    machine_start(m);
    machine_unlock();
    machine_request_reset(m, SHUTDOWN_GUEST_RESET);
    for (unsigned i = 0; i < 100 && m->state == RUN_RUNNING; i++) {
        g_main_context_iteration(NULL, FALSE);
        g_usleep(1000);
    }
    g_assert_cmpstr(run_state_name(m->state), ==, "shutdown");
    machine_request_shutdown(m, SHUTDOWN_HOST_QUIT);
    g_assert_cmpint(machine_main_loop(m), ==, 0);
    machine_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/clock/manual", test_manual);
    g_test_add_func("/clock/virtual", test_virtual);
    g_test_add_func("/clock/wall-and-earlier", test_wall_and_earlier);
    g_test_add_func("/clock/self-arming", test_self_arming_does_not_hold_the_loop);
    g_test_add_func("/clock/arm-from-thread", test_arm_wakes_a_blocked_loop);
    g_test_add_func("/vcpu/stop-and-work", test_vcpu_stop_and_work);
    g_test_add_func("/vcpu/halt-wakes", test_vcpu_halt_wakes);
    g_test_add_func("/machine/requests", test_requests);
    g_test_add_func("/machine/no-reboot-no-shutdown", test_no_reboot_no_shutdown);
    return g_test_run();
}
