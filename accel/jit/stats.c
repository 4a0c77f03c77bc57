/* `info jit`. */
#include "accel/jit/jit-internal.h"

static void add_stats(JitStats *sum, const JitStats *s)
{
#define X(n, d) sum->n += s->n;
    JIT_STATS(X)
#undef X
}

static void describe_space(GString *s, const JitCpu *j)
{
    size_t used = 0, total = 0, meta = 0;
    unsigned blocks = 0;

    for (unsigned i = 0; i < JIT_SEGMENTS; i++) {
        const JitSegment *g = &j->seg[i];

        used += g->p - g->start;
        total += g->end - g->start;
        meta += g->meta_used;
        blocks += g->blocks->len;
    }
    g_string_append_printf(s,
                           "vCPU %d: %u blocks in the cache, %zu KiB of %zu KiB code, %zu KiB of "
                           "side tables\n",
                           j->cpu->index, blocks, used >> 10, total >> 10, meta >> 10);
}

char *jit_info(Machine *m)
{
    GString *s = g_string_new(NULL);
    JitMachine *jm = m->accel_data;
    JitStats sum = {0};

    for (unsigned i = 0; i < m->n_vcpus; i++) {
        const JitCpu *j = jit_cpu(m->vcpus[i]);

        if (j) {
            describe_space(s, j);
            add_stats(&sum, &j->st);
        }
    }
#define X(n, d) g_string_append_printf(s, "%12" G_GUINT64_FORMAT "  %s\n", sum.n, d);
    JIT_STATS(X)
#undef X
    if (sum.insns) {
        g_string_append_printf(s, "%.2f host bytes and %.0f ns for each guest instruction\n",
                               (double)sum.host_bytes / sum.insns,
                               (double)sum.translate_ns / sum.insns);
    }
#define X(n, d)                                                                                    \
    if (!jm->opts.n) {                                                                             \
        g_string_append_printf(s, "opt-%s is off\n", #n);                                          \
    }
    JIT_OPTS(X)
#undef X
    return g_string_free(s, FALSE);
}
