/*
 * Clocks and timers. A Clock counts nanoseconds; timers on it fire in the main loop under
 * the machine lock, in order of their deadlines. The virtual clock stops with the machine,
 * the host clock is wall time (UTC), the monotonic clock never stops. A manual clock is
 * moved by tests only. Devices are given the clock they use; they never ask the host.
 */
#ifndef RHEA_CORE_CLOCK_H
#define RHEA_CORE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define NS_PER_SEC 1000000000LL

typedef struct Clock Clock;
typedef struct Timer Timer;

/* The state of a timer is public so that it can be embedded and saved; use the functions. */
struct Timer {
    Clock *clock;
    void (*fn)(void *opaque);
    void *opaque;
    int64_t deadline; /* ns; -1 when not pending */
    Timer *prev, *next;
};

typedef enum {
    CLOCK_KIND_VIRTUAL,
    CLOCK_KIND_HOST,
    CLOCK_KIND_MONOTONIC,
    CLOCK_KIND_MANUAL
} ClockKind;

/* Clocks of the three real kinds are driven by the main loop's glib context. */
Clock *clock_new(ClockKind kind);
void clock_free(Clock *c);   /* all timers must have been deleted */
int64_t clock_now(Clock *c); /* ns; any thread */
/* Manual clocks: move to now+ns, firing every timer on the way at its own deadline. */
void clock_step(Clock *c, int64_t ns);
/* Manual clock: the next deadline, -1 if none. */
int64_t clock_next_deadline(Clock *c);
/* Virtual clocks: stop and go on (no time passes in between). Machine lock. */
void clock_stop(Clock *c);
void clock_start(Clock *c);
/* Stopped virtual clock: the time it goes on from (a saved machine is loaded). */
void clock_set(Clock *c, int64_t ns);
/* Host clock: offset that is added to wall time (-rtc base=). */
void clock_set_offset(Clock *c, int64_t ns);
int64_t clock_offset(Clock *c);

void timer_init(Timer *t, Clock *c, void (*fn)(void *opaque), void *opaque);
/* (Re)arm for absolute time @deadline in ns; a past deadline fires at the next loop turn.
 * timer_set and timer_del are safe from any thread; the callback runs under the lock. */
void timer_set(Timer *t, int64_t deadline);
void timer_del(Timer *t);
bool timer_pending(const Timer *t);

/* a * b / c with a 128-bit product. c > 0. */
static inline uint64_t muldiv64(uint64_t a, uint32_t b, uint32_t c)
{
    return (uint64_t)((unsigned __int128)a * b / c);
}

#endif
