/* Messages to the user, the -d log, trace points. */
#include "core/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

uint32_t log_mask;

/* guest_error(): at most this many lines a second from each call site. */
#define SITE_LINES 5
#define SITES 64

typedef struct Site {
    const void *addr;
    gint64 second;
    unsigned lines, dropped;
} Site;

static struct {
    GMutex lock;
    FILE *file; /* NULL = stderr */
    GPtrArray *patterns;
    Site sites[SITES];
    bool timestamp; /* -msg */
    char *guest;
} state;

static const struct {
    const char *name;
    uint32_t bit;
    const char *help;
} items[] = {
    {"in_asm", LOG_IN_ASM, "guest code as it is translated"},
    {"op", LOG_IR, "the translator's intermediate form"},
    {"out_asm", LOG_OUT_ASM, "generated host code"},
    {"int", LOG_INT, "interrupts and exceptions"},
    {"mmu", LOG_MMU, "page table walks"},
    {"exec", LOG_EXEC, "each block that runs"},
    {"guest_errors", LOG_GUEST_ERROR, "what the guest does against its hardware's manual"},
    {"cpu_reset", LOG_CPU_RESET, "CPU state at reset"},
    {"unimp", LOG_UNIMP, "what the guest uses and Rhea does not have"},
    {"trace", LOG_TRACE, "trace points chosen by -trace"},
};

static bool parse_item(const char *word, uint32_t *mask)
{
    if (!strcmp(word, "all")) {
        *mask |= ~(uint32_t)LOG_TRACE;
        return true;
    }
    if (!strcmp(word, "none")) {
        *mask = 0;
        return true;
    }
    if (!strcmp(word, "ir")) {
        word = "op";
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(items); i++) {
        if (!strcmp(word, items[i].name)) {
            *mask |= items[i].bit;
            return true;
        }
    }
    return false;
}

bool log_parse(const char *text, uint32_t *mask, GError **err)
{
    uint32_t m = 0;
    char **words = g_strsplit(text, ",", -1);
    const char *bad = NULL;

    for (char **w = words; *w && !bad; w++) {
        if (!parse_item(*w, &m)) {
            bad = *w;
        }
    }
    if (bad) {
        GString *s = g_string_new(NULL);
        for (unsigned i = 0; i < G_N_ELEMENTS(items); i++) {
            g_string_append_printf(s, "\n  %-14s%s", items[i].name, items[i].help);
        }
        if (!strcmp(bad, "help")) {
            fail(err, "Log items, separated by commas: all, none or%s", s->str);
        } else {
            fail(err, "There is no log item '%s'; use all, none or%s", bad, s->str);
        }
        g_string_free(s, TRUE);
    }
    bool ok = !bad;
    g_strfreev(words);
    if (ok) {
        *mask = m;
    }
    return ok;
}

bool log_set_file(const char *path, GError **err)
{
    FILE *f = NULL;

    if (path) {
        char pid[16];
        snprintf(pid, sizeof(pid), "%d", (int)getpid());
        char **parts = g_strsplit(path, "%d", 2);
        char *name = g_strjoinv(pid, parts);
        f = fopen(name, "w");
        if (!f) {
            fail(err, "The log file '%s' cannot be written: %s", name, strerror(errno));
        } else {
            setvbuf(f, NULL, _IOLBF, 0);
        }
        g_free(name);
        g_strfreev(parts);
        if (!f) {
            return false;
        }
    }
    g_mutex_lock(&state.lock);
    if (state.file) {
        fclose(state.file);
    }
    state.file = f;
    g_mutex_unlock(&state.lock);
    return true;
}

/* One whole line, so that lines of several threads do not mix. */
static void put_line(const char *prefix, const char *fmt, va_list ap)
{
    char *text = g_strdup_vprintf(fmt, ap);
    size_t n = strlen(text);
    const char *nl = n && text[n - 1] == '\n' ? "" : "\n";

    g_mutex_lock(&state.lock);
    fprintf(state.file ? state.file : stderr, "%s%s%s", prefix, text, nl);
    g_mutex_unlock(&state.lock);
    g_free(text);
}

void log_line(uint32_t item, const char *fmt, ...)
{
    va_list ap;

    if (!log_on(item)) {
        return;
    }
    va_start(ap, fmt);
    put_line("", fmt, ap);
    va_end(ap);
}

/* May call site @addr print a line now? *dropped: lines that it lost before this one. */
static bool site_may_print(const void *addr, unsigned *dropped)
{
    gint64 second = g_get_monotonic_time() / G_USEC_PER_SEC;
    unsigned slot = ((uintptr_t)addr >> 2) * 2654435761u % SITES;
    bool ok = false;

    *dropped = 0;
    g_mutex_lock(&state.lock);
    Site *s = &state.sites[slot];
    if (s->addr != addr || s->second != second) {
        *dropped = s->addr == addr ? s->dropped : 0;
        *s = (Site){.addr = addr, .second = second};
    }
    if (s->lines < SITE_LINES) {
        s->lines++;
        ok = true;
    } else {
        s->dropped++;
    }
    g_mutex_unlock(&state.lock);
    return ok;
}

__attribute__((noinline)) void guest_error(const char *fmt, ...)
{
    unsigned dropped;
    va_list ap;

    if (!log_on(LOG_GUEST_ERROR) || !site_may_print(__builtin_return_address(0), &dropped)) {
        return;
    }
    if (dropped) {
        log_line(LOG_GUEST_ERROR, "guest error: (%u more of the next kind)", dropped);
    }
    va_start(ap, fmt);
    put_line("guest error: ", fmt, ap);
    va_end(ap);
}

void report_set_prefix(bool timestamp, const char *guest)
{
    state.timestamp = timestamp;
    g_free(state.guest);
    state.guest = g_strdup(guest);
}

static void report(const char *kind, const char *fmt, va_list ap)
{
    const char *name = g_get_prgname();
    char *text = g_strdup_vprintf(fmt, ap);

    g_autofree char *when = NULL;
    if (state.timestamp) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        when = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S.%fZ ");
    }
    fprintf(stderr, "%s%s%s%s: %s%s\n", when ? when : "", state.guest ? state.guest : "",
            state.guest ? " " : "", name ? name : "rhea", kind, text);
    g_free(text);
}

void error_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    report("", fmt, ap);
    va_end(ap);
}

void warn_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    report("warning: ", fmt, ap);
    va_end(ap);
}

void info_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    report("info: ", fmt, ap);
    va_end(ap);
}

static bool trace_wanted(const char *name)
{
    bool found = false;

    g_mutex_lock(&state.lock);
    for (unsigned i = 0; state.patterns && i < state.patterns->len && !found; i++) {
        found = g_pattern_match_simple(state.patterns->pdata[i], name);
    }
    g_mutex_unlock(&state.lock);
    return found;
}

void trace_emit(const char *name, const char *fmt, ...)
{
    va_list ap;

    if (!trace_wanted(name)) {
        return;
    }
    char *prefix = g_strconcat(name, " ", NULL);
    va_start(ap, fmt);
    put_line(prefix, fmt, ap);
    va_end(ap);
    g_free(prefix);
}

void trace_enable(const char *pattern)
{
    g_mutex_lock(&state.lock);
    if (!state.patterns) {
        state.patterns = g_ptr_array_new_with_free_func(g_free);
    }
    g_ptr_array_add(state.patterns, g_strdup(pattern));
    g_mutex_unlock(&state.lock);
    __atomic_or_fetch(&log_mask, LOG_TRACE, __ATOMIC_RELAXED);
}

GQuark rhea_error_quark(void)
{
    return g_quark_from_static_string("rhea-error");
}

bool fail(GError **err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (err) {
        char *text = g_strdup_vprintf(fmt, ap);
        g_propagate_error(err, g_error_new_literal(RHEA_ERROR, 1, text));
        g_free(text);
    }
    va_end(ap);
    return false;
}
