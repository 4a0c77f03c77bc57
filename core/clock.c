/*
 * Clocks and timers.
 *
 * Each real clock owns a timerfd, armed for its first deadline, that is polled by the default
 * glib context. The kernel wakes the main loop exactly when needed, so arming a timer from
 * another thread never has to interrupt the loop; the timerfd is touched only when a deadline
 * becomes the earliest. It may then fire too early (the timer was moved): that is harmless.
 */
#include "core/clock.h"
#include "core/machine.h"
#include <errno.h>
#include <glib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct Clock {
    ClockKind kind;
    GMutex lock;
    Timer *first;  /* by deadline, equal ones in order of timer_set; lock */
    int fd;        /* timerfd, -1: manual */
    int64_t armed; /* deadline that fd is set for, -1 = none; lock */
    GSource *source;
    /* Virtual: now = running ? monotonic + offset : offset. Host: offset. Manual: now. Written
     * under lock inside seq (odd: being written). */
    uint32_t seq;
    bool running;
    int64_t offset;
};

typedef struct ClockSource {
    GSource source;
    Clock *clock;
} ClockSource;

static int64_t host_now(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static clockid_t host_clock_id(const Clock *c)
{
    return c->kind == CLOCK_KIND_HOST ? CLOCK_REALTIME : CLOCK_MONOTONIC;
}

static void set_base(Clock *c, bool running, int64_t offset)
{
    __atomic_store_n(&c->seq, c->seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&c->running, running, __ATOMIC_RELAXED);
    __atomic_store_n(&c->offset, offset, __ATOMIC_RELAXED);
    __atomic_store_n(&c->seq, c->seq + 1, __ATOMIC_RELEASE);
}

int64_t clock_now(Clock *c)
{
    uint32_t seq;
    bool running;
    int64_t t;

    do {
        seq = __atomic_load_n(&c->seq, __ATOMIC_ACQUIRE);
        running = __atomic_load_n(&c->running, __ATOMIC_RELAXED);
        t = __atomic_load_n(&c->offset, __ATOMIC_RELAXED);
        if (running) {
            t += host_now(host_clock_id(c));
        }
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (G_UNLIKELY((seq & 1) || seq != __atomic_load_n(&c->seq, __ATOMIC_RELAXED)));
    return t;
}

/* Set the timerfd to the first deadline where that is earlier than what it is set for. c->lock. */
static void arm(Clock *c)
{
    if (c->fd < 0 || !c->running || !c->first ||
        (c->armed != -1 && c->armed <= c->first->deadline)) {
        return;
    }
    struct itimerspec its = {0};
    int64_t at;

    if (__builtin_sub_overflow(c->first->deadline, c->offset, &at)) {
        at = INT64_MAX;
    }
    at = MAX(at, 1); /* 0 would disarm */
    its.it_value.tv_sec = at / NS_PER_SEC;
    its.it_value.tv_nsec = at % NS_PER_SEC;
    int flags = TFD_TIMER_ABSTIME | (c->kind == CLOCK_KIND_HOST ? TFD_TIMER_CANCEL_ON_SET : 0);
    timerfd_settime(c->fd, flags, &its, NULL);
    c->armed = c->first->deadline;
}

static void rearm(Clock *c)
{
    c->armed = -1;
    arm(c);
}

static void unlink_timer(Clock *c, Timer *t)
{
    if (t->prev) {
        t->prev->next = t->next;
    } else {
        c->first = t->next;
    }
    if (t->next) {
        t->next->prev = t->prev;
    }
    t->prev = t->next = NULL;
    __atomic_store_n(&t->deadline, -1, __ATOMIC_RELAXED);
}

/* Fire what was due at @now. A timer that is set again for the past waits for the next turn, so
 * that no timer can hold the main loop. Machine lock. */
static void run_due(Clock *c, int64_t now)
{
    unsigned due = 0;

    g_mutex_lock(&c->lock);
    for (Timer *t = c->first; t && t->deadline <= now; t = t->next) {
        due++;
    }
    while (due-- && c->running && c->first && c->first->deadline <= now) {
        Timer *t = c->first;
        unlink_timer(c, t);
        g_mutex_unlock(&c->lock);
        t->fn(t->opaque);
        g_mutex_lock(&c->lock);
    }
    rearm(c);
    g_mutex_unlock(&c->lock);
}

static gboolean source_dispatch(GSource *source, GSourceFunc fn, gpointer data)
{
    Clock *c = ((ClockSource *)source)->clock;
    uint64_t n;

    /* ECANCELED: wall time was set. EAGAIN: moved meanwhile. Either way look at the clock. */
    if (read(c->fd, &n, sizeof(n)) < 0) {
        errno = 0;
    }
    machine_lock();
    run_due(c, clock_now(c));
    machine_unlock();
    return G_SOURCE_CONTINUE;
}

static const GSourceFuncs source_funcs = {.dispatch = source_dispatch};

/* A source with no prepare and check is ready when its descriptor is. */
static void attach(Clock *c)
{
    c->fd = timerfd_create(host_clock_id(c), TFD_CLOEXEC | TFD_NONBLOCK);
    if (c->fd < 0) {
        g_error("timerfd_create: %s", g_strerror(errno)); /* no descriptors left at start */
    }
    c->source = g_source_new((GSourceFuncs *)&source_funcs, sizeof(ClockSource));
    ((ClockSource *)c->source)->clock = c;
    g_source_set_name(c->source, "rhea-clock");
    g_source_set_priority(c->source, G_PRIORITY_HIGH);
    g_source_add_unix_fd(c->source, c->fd, G_IO_IN);
    g_source_attach(c->source, NULL);
}

Clock *clock_new(ClockKind kind)
{
    Clock *c = g_new0(Clock, 1);

    c->kind = kind;
    c->fd = -1;
    c->armed = -1;
    c->running = kind != CLOCK_KIND_MANUAL;
    g_mutex_init(&c->lock);
    if (kind == CLOCK_KIND_VIRTUAL) {
        c->offset = -host_now(CLOCK_MONOTONIC);
    }
    if (kind != CLOCK_KIND_MANUAL) {
        attach(c);
    }
    return c;
}

void clock_free(Clock *c)
{
    if (!c) {
        return;
    }
    g_assert(!c->first);
    if (c->source) {
        g_source_destroy(c->source);
        g_source_unref(c->source);
        close(c->fd);
    }
    g_mutex_clear(&c->lock);
    g_free(c);
}

void clock_stop(Clock *c)
{
    g_assert(c->kind == CLOCK_KIND_VIRTUAL);
    int64_t now = clock_now(c);

    g_mutex_lock(&c->lock);
    if (c->running) {
        set_base(c, false, now);
    }
    g_mutex_unlock(&c->lock);
}

void clock_start(Clock *c)
{
    g_assert(c->kind == CLOCK_KIND_VIRTUAL);
    g_mutex_lock(&c->lock);
    if (!c->running) {
        set_base(c, true, c->offset - host_now(CLOCK_MONOTONIC));
    }
    rearm(c);
    g_mutex_unlock(&c->lock);
}

void clock_set(Clock *c, int64_t ns)
{
    g_assert(c->kind == CLOCK_KIND_VIRTUAL);
    g_mutex_lock(&c->lock);
    if (!c->running) {
        set_base(c, false, ns);
    }
    g_mutex_unlock(&c->lock);
}

int64_t clock_offset(Clock *c)
{
    g_assert(c->kind == CLOCK_KIND_HOST);
    return __atomic_load_n(&c->offset, __ATOMIC_RELAXED);
}

void clock_set_offset(Clock *c, int64_t ns)
{
    g_assert(c->kind == CLOCK_KIND_HOST);
    g_mutex_lock(&c->lock);
    set_base(c, true, ns);
    rearm(c);
    g_mutex_unlock(&c->lock);
}

void clock_step(Clock *c, int64_t ns)
{
    g_assert(c->kind == CLOCK_KIND_MANUAL && ns >= 0);
    int64_t end = c->offset + ns;
    bool take = !machine_lock_held();

    if (take) {
        machine_lock();
    }
    g_mutex_lock(&c->lock);
    while (c->first && c->first->deadline <= end) {
        Timer *t = c->first;
        set_base(c, false, MAX(c->offset, t->deadline));
        unlink_timer(c, t);
        g_mutex_unlock(&c->lock);
        t->fn(t->opaque);
        g_mutex_lock(&c->lock);
    }
    set_base(c, false, end);
    g_mutex_unlock(&c->lock);
    if (take) {
        machine_unlock();
    }
}

int64_t clock_next_deadline(Clock *c)
{
    g_mutex_lock(&c->lock);
    int64_t d = c->first ? c->first->deadline : -1;
    g_mutex_unlock(&c->lock);
    return d;
}

void timer_init(Timer *t, Clock *c, void (*fn)(void *opaque), void *opaque)
{
    *t = (Timer){.clock = c, .fn = fn, .opaque = opaque, .deadline = -1};
}

void timer_set(Timer *t, int64_t deadline)
{
    Clock *c = t->clock;
    Timer *after = NULL;

    deadline = MAX(deadline, 0);
    g_mutex_lock(&c->lock);
    if (t->deadline != -1) {
        unlink_timer(c, t);
    }
    for (Timer *p = c->first; p && p->deadline <= deadline; p = p->next) {
        after = p;
    }
    t->prev = after;
    t->next = after ? after->next : c->first;
    if (t->next) {
        t->next->prev = t;
    }
    if (after) {
        after->next = t;
    } else {
        c->first = t;
    }
    __atomic_store_n(&t->deadline, deadline, __ATOMIC_RELAXED);
    arm(c);
    g_mutex_unlock(&c->lock);
}

void timer_del(Timer *t)
{
    if (!t->clock) {
        return;
    }
    g_mutex_lock(&t->clock->lock);
    if (t->deadline != -1) {
        unlink_timer(t->clock, t);
    }
    g_mutex_unlock(&t->clock->lock);
}

bool timer_pending(const Timer *t)
{
    return __atomic_load_n(&t->deadline, __ATOMIC_RELAXED) != -1;
}
