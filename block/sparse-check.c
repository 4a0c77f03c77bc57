/*
 * Checking images of the formats of sparse.h: every block must be in the file, and no two in the
 * same place. Space that nothing refers to is a leak; at the end of the file it can be cut off.
 */
#include "block/sparse.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CHECK (1u << 26) /* allocated blocks: 512 MiB of memory */

typedef struct Scan {
    Sparse *s;
    ImageCheck *res;
    unsigned fix;
    void (*say)(void *opaque, const char *line);
    void *opaque;
    GArray *places;
    uint64_t end; /* of the last block */
} Scan;

static void G_GNUC_PRINTF(2, 3) tell(const Scan *k, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (k->say) {
        k->say(k->opaque, line);
    }
}

static void quiet(void *opaque, const char *line)
{
}

/* A block without data: nothing is lost by forgetting it. */
static int forget(Scan *k, uint64_t i)
{
    Sparse *s = k->s;
    int ret = k->fix & QCOW2_FIX_ERRORS && s->ops->clear ? s->ops->clear(s, i) : -ENOTSUP;

    if (ret == 0) {
        k->res->corruptions_fixed++;
    }
    return ret == -ENOTSUP ? 0 : ret;
}

static int look_at(Scan *k, uint64_t i, uint64_t *next)
{
    Sparse *s = k->s;
    SparseEntry e;
    uint64_t bs = 1ull << s->block_bits;
    int ret = s->ops->get(s, i, &e);

    if (ret == -EIO || (ret == 0 && e.kind >= SPARSE_DATA && e.off >= s->end)) {
        tell(k, "ERROR: block %" PRIu64 " has no valid place in the file", i);
        k->res->corruptions++;
        return forget(k, i);
    }
    if (ret || e.kind == SPARSE_NONE || e.kind == SPARSE_ZERO) {
        return ret;
    }
    if (k->places->len >= MAX_CHECK) {
        return -EFBIG;
    }
    k->res->allocated++;
    k->res->compressed += e.kind == SPARSE_PACKED;
    k->res->fragmented += *next && e.off != *next;
    uint64_t stride, overhead;
    s->ops->usage(s, &stride, &overhead);
    *next = e.off + stride;
    k->end = MAX(k->end, e.off + bs);
    if (e.kind == SPARSE_DATA) {
        g_array_append_val(k->places, e.off);
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void find_overlaps(Scan *k)
{
    uint64_t stride, overhead;

    k->s->ops->usage(k->s, &stride, &overhead);
    g_array_sort(k->places, compare);
    for (guint i = 1; i < k->places->len; i++) {
        uint64_t a = g_array_index(k->places, uint64_t, i - 1),
                 b = g_array_index(k->places, uint64_t, i);
        if (b - a < stride) {
            tell(k, "ERROR: two blocks overlap at offset %#" PRIx64 " of the file", b);
            k->res->corruptions++;
        }
    }
}

static int find_leaks(Scan *k)
{
    Sparse *s = k->s;
    uint64_t stride, overhead, file_end = MAX(s->end, s->stale);
    int ret = 0;

    s->ops->usage(s, &stride, &overhead);
    uint64_t used = overhead + k->places->len * stride;
    uint64_t lost = file_end > used ? (file_end - used) / stride : 0;
    if (!lost || k->res->compressed || k->res->corruptions) {
        return 0; /* sizes of compressed blocks are not known here */
    }
    uint64_t tail = MAX(k->end, overhead), cut = file_end > tail ? (file_end - tail) / stride : 0;
    BlockFile *f = &s->file;
    k->res->leaks += lost;
    tell(k, "%s %" PRIu64 " blocks that nothing refers to",
         k->fix && cut && f->driver->resize ? "Repairing" : "Leaked", lost);
    if (k->fix && cut && f->driver->resize && s->ops->trim) {
        ret = s->ops->trim(s, tail);
        k->res->leaks_fixed += ret ? 0 : MIN(cut, lost);
    }
    return ret;
}

static int check_locked(Scan *k)
{
    Sparse *s = k->s;
    uint64_t next = 0;
    int ret = s->ops->begin_check ? s->ops->begin_check(s) : 0;

    if (ret == -EIO) {
        tell(k, "ERROR: tables overlap or are out of the file");
        k->res->corruptions++;
        return 0;
    }
    for (uint64_t i = 0; i < s->blocks && ret == 0; i++) {
        ret = look_at(k, i, &next);
    }
    if (ret) {
        return ret;
    }
    find_overlaps(k);
    ret = find_leaks(k);
    if (ret == 0 && s->ops->check) {
        ret = s->ops->check(s, k->res->allocated, k->fix, k->res, k->say, k->opaque);
    }
    if (ret == 0 && k->fix) {
        ret = pages_sync(&s->pages);
    }
    k->res->end_offset = MAX(s->end, s->stale);
    k->res->corruptions -= k->res->corruptions_fixed;
    k->res->leaks -= k->res->leaks_fixed;
    return ret;
}

int sparse_check(const BlockFile *f, unsigned fix, ImageCheck *res,
                 void (*say)(void *opaque, const char *line), void *opaque)
{
    Sparse *s = f->file;
    Scan k = {.s = s, .res = res, .fix = fix, .say = say ? say : quiet, .opaque = opaque};

    memset(res, 0, sizeof(*res));
    res->total_clusters = s->blocks;
    if (fix && !s->writable) {
        return -EROFS;
    }
    k.places = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_mutex_lock(&s->lock);
    int ret = check_locked(&k);
    g_mutex_unlock(&s->lock);
    g_array_free(k.places, TRUE);
    return ret;
}
