/*
 * Messages, the -d log and trace points.
 *
 * error_*: to the user on stderr, prefixed with the program's name. log_*: the -d items, to
 * -D FILE or stderr. guest_error(): the guest did what its hardware's manual forbids; limited
 * to a few lines a second each call site. Any thread.
 */
#ifndef RHEA_CORE_LOG_H
#define RHEA_CORE_LOG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    LOG_IN_ASM = 1 << 0,
    LOG_IR = 1 << 1,
    LOG_OUT_ASM = 1 << 2,
    LOG_INT = 1 << 3,
    LOG_MMU = 1 << 4,
    LOG_EXEC = 1 << 5,
    LOG_GUEST_ERROR = 1 << 6,
    LOG_CPU_RESET = 1 << 7,
    LOG_UNIMP = 1 << 8,
    LOG_TRACE = 1 << 9,
};

extern uint32_t log_mask; /* set at start and by the monitor's `log` */

static inline bool log_on(uint32_t item)
{
    return G_UNLIKELY(log_mask & item);
}

/* "in_asm,int" → mask; "help" and unknown names give false with a sentence listing all. */
bool log_parse(const char *items, uint32_t *mask, GError **err);
bool log_set_file(const char *path, GError **err); /* %d = pid; NULL = stderr */
void log_line(uint32_t item, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void guest_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

void error_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void warn_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void info_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* -msg: put the time (ISO 8601, UTC) and a guest's name in front of these messages. */
void report_set_prefix(bool timestamp, const char *guest);

/* Trace points: `trace("i8254_write", "port %x val %x", …)`; enabled by -trace PATTERN (glob). */
#define trace(name, ...)                                                                           \
    do {                                                                                           \
        if (log_on(LOG_TRACE)) {                                                                   \
            trace_emit(name, __VA_ARGS__);                                                         \
        }                                                                                          \
    } while (0)
void trace_emit(const char *name, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void trace_enable(const char *pattern);

/* The one error domain for sentences shown to users. */
#define RHEA_ERROR (rhea_error_quark())
GQuark rhea_error_quark(void);
/* g_set_error with our domain; returns false so that `return fail(err, "…")` reads well. */
bool fail(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#endif
