/*
 * Leaky buckets. Each request pours its units into the buckets it belongs to; they leak at the
 * limit's average. A bucket holds a tenth of a second of its average, or, with a burst rate, as
 * much as the burst may bring; what is above has to leak before the next request may go.
 */
#include "block/throttle.h"
#include "core/log.h"
#include "core/option.h"
#include <math.h>
#include <string.h>

#define RATE_MAX 1000000000000000ull
#define LENGTH_MAX 86400

typedef struct Bucket {
    double level, burst; /* units; burst leaks at the burst rate */
} Bucket;

struct ThrottleGroup {
    char *name;
    unsigned refs;
    GSList **registry;
    ThrottleConfig cfg;
    Clock *clock;
    Timer timer[2]; /* reads, writes */
    GQueue waiting[2];
    Bucket bucket[THROTTLE_BUCKETS];
    int64_t leaked; /* up to this time */
    bool running;   /* go() may submit */
};

/* ---- buckets ---- */

static void leak(ThrottleGroup *g)
{
    int64_t now = clock_now(g->clock);
    double s = (double)MAX(now - g->leaked, 0) / NS_PER_SEC;

    g->leaked = now;
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        const ThrottleLimit *l = &g->cfg.limit[i];
        g->bucket[i].level = MAX(0, g->bucket[i].level - s * (double)l->avg);
        g->bucket[i].burst = MAX(0, g->bucket[i].burst - s * (double)l->max);
    }
}

/* Seconds until a bucket is no longer too full. */
static double bucket_wait(const ThrottleLimit *l, const Bucket *b)
{
    if (!l->avg) {
        return 0;
    }
    double length = l->length ? (double)l->length : 1;
    double room = l->max ? (double)l->max * length : (double)l->avg / 10;
    double wait = MAX(0, (b->level - room) / (double)l->avg);
    if (l->max && l->length > 1) {
        wait = MAX(wait, (b->burst - (double)l->max / 10) / (double)l->max);
    }
    return wait;
}

static bool concerns(unsigned bucket, bool write)
{
    unsigned kind = bucket % 3;
    return kind == 0 || (kind == 2) == write;
}

/* ns; 0: may go now */
static int64_t wait_of(const ThrottleGroup *g, bool write)
{
    double wait = 0;
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        if (concerns(i, write)) {
            wait = MAX(wait, bucket_wait(&g->cfg.limit[i], &g->bucket[i]));
        }
    }
    return (int64_t)ceil(MIN(wait, 1e6) * NS_PER_SEC);
}

static void pour(ThrottleGroup *g, const ThrottleItem *it)
{
    double ops = 1;
    if (g->cfg.iops_size && it->bytes > g->cfg.iops_size) {
        ops = (double)it->bytes / (double)g->cfg.iops_size;
    }
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        if (g->cfg.limit[i].avg && concerns(i, it->write)) {
            double units = i < THROTTLE_IOPS_TOTAL ? (double)it->bytes : ops;
            g->bucket[i].level += units;
            g->bucket[i].burst += units;
        }
    }
}

/* ---- waiting ---- */

static void run(ThrottleGroup *g)
{
    if (g->running) {
        return;
    }
    g->running = true;
    g->refs++;
    leak(g);
    for (unsigned w = 0; w < 2; w++) {
        timer_del(&g->timer[w]);
        while (g->waiting[w].head) {
            int64_t ns = wait_of(g, w);
            if (ns > 0) {
                timer_set(&g->timer[w], clock_now(g->clock) + ns);
                break;
            }
            ThrottleItem *it = g->waiting[w].head->data;
            g_queue_unlink(&g->waiting[w], &it->link);
            pour(g, it);
            it->go(it);
        }
    }
    g->running = false;
    throttle_group_put(g);
}

static void on_timer(void *opaque)
{
    run(opaque);
}

void throttle_submit(ThrottleGroup *g, ThrottleItem *it)
{
    it->link = (GList){.data = it};
    g_queue_push_tail_link(&g->waiting[it->write], &it->link);
    run(g);
}

void throttle_release(ThrottleGroup *g, const void *owner)
{
    for (unsigned w = 0; w < 2; w++) {
        for (GList *l = g->waiting[w].head, *next; l; l = next) {
            ThrottleItem *it = l->data;
            next = l->next;
            if (it->owner == owner) {
                g_queue_unlink(&g->waiting[w], l);
                pour(g, it);
                it->go(it);
            }
        }
    }
    run(g);
}

/* ---- groups ---- */

ThrottleGroup *throttle_group_get(GSList **registry, const char *name, Clock *clock)
{
    for (GSList *l = name && registry ? *registry : NULL; l; l = l->next) {
        ThrottleGroup *g = l->data;
        if (!strcmp(g->name, name)) {
            g->refs++;
            return g;
        }
    }
    ThrottleGroup *g = g_new0(ThrottleGroup, 1);
    g->name = g_strdup(name);
    g->refs = 1;
    g->clock = clock;
    g->leaked = clock_now(clock);
    for (unsigned w = 0; w < 2; w++) {
        g_queue_init(&g->waiting[w]);
        timer_init(&g->timer[w], clock, on_timer, g);
    }
    if (name && registry) {
        g->registry = registry;
        *registry = g_slist_append(*registry, g);
    }
    return g;
}

void throttle_group_put(ThrottleGroup *g)
{
    if (!g || --g->refs) {
        return;
    }
    if (g->registry) {
        *g->registry = g_slist_remove(*g->registry, g);
    }
    timer_del(&g->timer[0]);
    timer_del(&g->timer[1]);
    g_free(g->name);
    g_free(g);
}

const char *throttle_group_name(const ThrottleGroup *g)
{
    return g->name;
}

void throttle_group_set(ThrottleGroup *g, const ThrottleConfig *t)
{
    leak(g);
    g->cfg = *t;
    memset(g->bucket, 0, sizeof(g->bucket));
    run(g);
}

const ThrottleConfig *throttle_group_config(const ThrottleGroup *g)
{
    return &g->cfg;
}

/* ---- options ---- */

bool throttle_enabled(const ThrottleConfig *t)
{
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        if (t->limit[i].avg) {
            return true;
        }
    }
    return false;
}

bool throttle_check(const ThrottleConfig *t, GError **err)
{
    for (unsigned k = 0; k < THROTTLE_BUCKETS; k += 3) {
        const ThrottleLimit *l = &t->limit[k];
        if ((l[0].avg && (l[1].avg || l[2].avg)) || (l[0].max && (l[1].max || l[2].max))) {
            return fail(err,
                        "limits: a total and limits of reads or writes cannot be given together");
        }
    }
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        const ThrottleLimit *l = &t->limit[i];
        if (l->avg > RATE_MAX || l->max > RATE_MAX) {
            return fail(err, "limits: a rate is at most %llu", RATE_MAX);
        }
        if (l->max && !l->avg) {
            return fail(err, "limits: a burst rate (…_max) needs the rate itself too");
        }
        if (l->max && l->max < l->avg) {
            return fail(err, "limits: a burst rate (…_max) must not be below the rate");
        }
        if (l->length > LENGTH_MAX || (l->length > 1 && !l->max)) {
            return fail(err, "limits: a burst's length is 1 to %d seconds and needs …_max",
                        LENGTH_MAX);
        }
    }
    return true;
}

bool throttle_parse(struct Options *o, ThrottleConfig *t, GError **err)
{
    static const struct {
        const char *old, *name;
    } names[THROTTLE_BUCKETS] = {
        {"bps", "bps-total"},   {"bps_rd", "bps-read"},   {"bps_wr", "bps-write"},
        {"iops", "iops-total"}, {"iops_rd", "iops-read"}, {"iops_wr", "iops-write"},
    };
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        ThrottleLimit *l = &t->limit[i];
        g_autofree char *old_max = g_strconcat(names[i].old, "_max", NULL);
        g_autofree char *old_len = g_strconcat(names[i].old, "_max_length", NULL);
        g_autofree char *name = g_strconcat("throttling.", names[i].name, NULL);
        g_autofree char *max = g_strconcat(name, "-max", NULL);
        g_autofree char *len = g_strconcat(name, "-max-length", NULL);
        if (!options_get_size(o, names[i].old, 1, &l->avg, err) ||
            !options_get_size(o, name, 1, &l->avg, err) ||
            !options_get_size(o, old_max, 1, &l->max, err) ||
            !options_get_size(o, max, 1, &l->max, err) ||
            !options_get_uint(o, old_len, LENGTH_MAX, &l->length, err) ||
            !options_get_uint(o, len, LENGTH_MAX, &l->length, err)) {
            return false;
        }
    }
    return options_get_size(o, "iops_size", 1, &t->iops_size, err) &&
           options_get_size(o, "throttling.iops-size", 1, &t->iops_size, err) &&
           throttle_check(t, err);
}
