/* The smaller commands: compare, snapshot, bench. */
#include "core/log.h"
#include "tools/img/img.h"
#include <stdio.h>
#include <string.h>

typedef struct Pair {
    BlockFile f[2];
    uint64_t off;        /* how far they are equal */
    bool strict, status; /* status: they differ in what is allocated */
} Pair;

/* What is known of both from @off on. */
static int look(const Pair *p, uint64_t all, BlockExtent *e, uint64_t *len)
{
    int ret = 0;

    *len = all - p->off;
    for (unsigned i = 0; i < 2 && ret == 0; i++) {
        e[i] = (BlockExtent){.len = all - p->off, .zero = true};
        if (p->off < p->f[i].size) {
            ret = extent_of(&p->f[i], p->off, p->f[i].size - p->off, &e[i]);
            *len = MIN(*len, e[i].len);
        }
    }
    return ret;
}

/* *@same is false when they differ; at p->off then. */
static int compare_all(const Args *a, Pair *p, bool *same)
{
    g_autofree uint8_t *x = g_malloc(CHUNK), *y = g_malloc(CHUNK);
    uint64_t all = MAX(p->f[0].size, p->f[1].size), len;
    int ret = 0;

    *same = true;
    for (; p->off < all && ret == 0; p->off += len) {
        BlockExtent e[2];
        ret = look(p, all, e, &len);
        progress(a, p->off, all);
        bool inside = p->off < MIN(p->f[0].size, p->f[1].size);
        if (ret == 0 && p->strict && inside && e[0].present != e[1].present) {
            p->status = true;
            *same = false;
            return 0;
        }
        if (ret || (e[0].zero && e[1].zero)) {
            continue;
        }
        len = MIN(len, CHUNK);
        for (unsigned i = 0; i < 2 && ret == 0; i++) {
            struct iovec iov = {i ? y : x, len};
            memset(iov.iov_base, 0, len);
            ret = e[i].zero ? 0 : p->f[i].driver->read(p->f[i].file, p->off, &iov, 1);
        }
        if (ret == 0 && memcmp(x, y, len)) {
            for (size_t k = 0; x[k] == y[k]; k++) {
                p->off++;
            }
            *same = false;
            return 0;
        }
    }
    progress(a, all, all);
    return ret;
}

/* Status 1: they differ. */
bool cmd_compare(Args *a, int *status, GError **err)
{
    Pair p = {.strict = a->strict};
    unsigned flags;
    bool same;

    *status = 2;
    if (!want_files(a, 2, 2, "compare [-f FORMAT] [-F FORMAT] [-s] FILE FILE", err) ||
        !cache_flags(a->src_cache, &flags, err) ||
        !open_arg(a, 0, a->format, flags, &p.f[0], err)) {
        return false;
    }
    if (!open_arg(a, 1, a->backing_format, flags, &p.f[1], err)) {
        block_file_close(&p.f[0]);
        return false;
    }
    bool sizes = p.f[0].size == p.f[1].size;
    int ret = 0;
    if (a->strict && !sizes) {
        same = false;
    } else {
        ret = compare_all(a, &p, &same);
    }
    block_file_close(&p.f[0]);
    block_file_close(&p.f[1]);
    if (ret) {
        return fail(err, "reading at offset %" PRIu64 ": %s", p.off, g_strerror(-ret));
    }
    *status = !same;
    if (a->quiet) {
        return true;
    }
    if (a->strict && !sizes) {
        puts("Strict mode: Image size mismatch!");
    } else if (!same && p.status) {
        printf("Strict mode: Offset %" PRIu64 " block status mismatch!\n", p.off);
    } else if (!same) {
        printf("Content mismatch at offset %" PRIu64 "!\n", p.off);
    } else {
        puts(sizes ? "Images are identical."
                   : "Warning: Image size mismatch!\nImages are identical.");
    }
    return true;
}

bool cmd_snapshot(Args *a, GError **err)
{
    BlockFile f;
    Qcow2Info q;
    bool list = a->mode == 'l' || !a->mode, ok;

    if (!want_files(a, 1, 1, "snapshot [-l | -c NAME | -a NAME | -d NAME] FILE", err)) {
        return false;
    }
    unsigned flags = list ? 0 : IMAGE_WRITE;
    if (!open_arg(a, 0, a->format, flags | IMAGE_NO_BACKING, &f, err)) {
        return false;
    }
    if (!qcow2_is(&f)) {
        ok = fail(err, "image '%s': %s images have no snapshots", file_at(a, 0), f.driver->name);
    } else if (list) {
        qcow2_info(&f, &q);
        if (q.n_snapshots) {
            print_snapshots(&q);
        }
        ok = true;
    } else if (a->mode == 'c') {
        ok = qcow2_snapshot_create(&f, a->mode_arg, err);
    } else {
        ok = a->mode == 'a' ? qcow2_snapshot_apply(&f, a->mode_arg, err)
                            : qcow2_snapshot_delete(&f, a->mode_arg, err);
    }
    block_file_close(&f);
    return ok;
}

/* ---- bench ---- */

typedef struct Bench {
    const Args *a;
    BlockFile f;
    GMutex lock;
    uint64_t next; /* requests given out */
    int ret;
} Bench;

static gpointer bench_worker(gpointer opaque)
{
    Bench *b = opaque;
    const Args *a = b->a;
    g_autofree uint8_t *buf = g_malloc(a->buffer);
    uint64_t room = b->f.size - a->buffer;

    memset(buf, (int)a->pattern, a->buffer);
    g_mutex_lock(&b->lock);
    while (b->next < a->count && b->ret == 0) {
        uint64_t n = b->next++;
        bool flush = a->flush_every && n % a->flush_every == a->flush_every - 1;
        g_mutex_unlock(&b->lock);
        uint64_t off = (a->offset + n * (a->step ? a->step : a->buffer)) % (room + 1);
        struct iovec iov = {buf, a->buffer};
        int ret = (a->write ? b->f.driver->write : b->f.driver->read)(b->f.file, off, &iov, 1);
        ret = ret == 0 && flush ? b->f.driver->flush(b->f.file) : ret;
        g_mutex_lock(&b->lock);
        b->ret = b->ret ? b->ret : ret;
    }
    g_mutex_unlock(&b->lock);
    return NULL;
}

bool cmd_bench(Args *a, GError **err)
{
    Bench b = {.a = a};
    unsigned flags;
    GThread *threads[64];

    a->count = a->count ? a->count : 75000;
    a->depth = a->depth ? a->depth : 64;
    a->buffer = a->buffer ? a->buffer : 4096;
    if (!want_files(a, 1, 1, "bench [-c COUNT] [-d DEPTH] [-s SIZE] [-S STEP] [-w] FILE", err) ||
        !cache_flags(a->cache, &flags, err)) {
        return false;
    }
    if (a->depth > 64 || a->buffer > 1u << 30 || a->count > 1u << 31) {
        return fail(err, "bench: -d is at most 64, -s at most 1G, -c at most 2G");
    }
    if (!a->write && a->flush_every) {
        return fail(err, "bench: --flush-interval is for writing (-w)");
    }
    if (!open_arg(a, 0, a->format, flags | (a->write ? IMAGE_WRITE : 0), &b.f, err)) {
        return false;
    }
    if (b.f.size < a->buffer) {
        block_file_close(&b.f);
        return fail(err, "bench: the image is smaller than one request");
    }
    printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64
           " in parallel (starting at offset %" PRIu64 ", step size %" PRIu64 ")\n",
           a->count, a->write ? "write" : "read", a->buffer, a->depth, a->offset,
           a->step ? a->step : a->buffer);
    int64_t start = g_get_monotonic_time();
    g_mutex_init(&b.lock);
    for (unsigned i = 0; i < a->depth; i++) {
        threads[i] = g_thread_new("bench", bench_worker, &b);
    }
    for (unsigned i = 0; i < a->depth; i++) {
        g_thread_join(threads[i]);
    }
    g_mutex_clear(&b.lock);
    double s = (double)(g_get_monotonic_time() - start) / 1e6;
    block_file_close(&b.f);
    if (b.ret) {
        return io_error(err, file_at(a, 0), b.ret);
    }
    printf("Run completed in %.3f seconds.\n", s);
    return true;
}
