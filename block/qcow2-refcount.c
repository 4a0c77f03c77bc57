/* qcow2: refcounts and the allocation of clusters. */
#include "block/qcow2-internal.h"
#include <errno.h>
#include <string.h>

#define MAX_PENDING 65536

uint64_t refcount_get_in(unsigned order, const uint8_t *block, uint64_t i)
{
    switch (order) {
    case 3:
        return block[i];
    case 4:
        return be16(block + i * 2);
    case 5:
        return be32(block + i * 4);
    case 6:
        return be64(block + i * 8);
    default: {
        unsigned per = 8u >> order, shift = (unsigned)(i % per) << order;
        return (block[i / per] >> shift) & ((1u << (1u << order)) - 1);
    }
    }
}

void refcount_set_in(unsigned order, uint8_t *block, uint64_t i, uint64_t v)
{
    switch (order) {
    case 3:
        block[i] = (uint8_t)v;
        break;
    case 4:
        put16(block + i * 2, (uint16_t)v);
        break;
    case 5:
        put32(block + i * 4, (uint32_t)v);
        break;
    case 6:
        put64(block + i * 8, v);
        break;
    default: {
        unsigned per = 8u >> order, shift = (unsigned)(i % per) << order;
        unsigned mask = ((1u << (1u << order)) - 1) << shift;
        block[i / per] = (uint8_t)((block[i / per] & ~mask) | ((unsigned)v << shift));
    }
    }
}

/* The refcount block with @cluster in it; NULL when there is none. */
static int block_of(Qcow2 *s, uint64_t cluster, MetaTable **out)
{
    uint64_t i = cluster >> s->rb_bits;

    *out = NULL;
    if (i >= s->reftable_len || s->reftable[i] == 0) {
        return 0;
    }
    if (qcow2_check_offset(s, s->reftable[i])) {
        return qcow2_corrupt(s, "an entry of the refcount table is wrong");
    }
    return qcow2_table(s, &s->rb, s->reftable[i], true, out);
}

static void set_in(Qcow2 *s, MetaTable *t, uint64_t cluster, uint64_t v)
{
    uint64_t i = cluster & ((1ull << s->rb_bits) - 1);
    refcount_set_in(s->refcount_order, t->data, i, v);
    qcow2_mark(t, (uint32_t)((i << s->refcount_order) / 8), 1);
}

int qcow2_refcount(Qcow2 *s, uint64_t cluster, uint64_t *count)
{
    MetaTable *t;
    int ret = block_of(s, cluster, &t);

    *count = 0;
    if (ret == 0 && t) {
        *count = refcount_get_in(s->refcount_order, t->data, cluster & ((1ull << s->rb_bits) - 1));
    }
    return ret;
}

int qcow2_refcount_set(Qcow2 *s, uint64_t cluster, uint64_t count)
{
    MetaTable *t;
    int ret = 0;

    /* With lazy refcounts the blocks are only written at the end: say so first. */
    if ((s->compatible & COMPAT_LAZY) && !(s->incompatible & INCOMPAT_DIRTY)) {
        ret = qcow2_set_incompatible(s, s->incompatible | INCOMPAT_DIRTY);
    }
    ret = ret ? ret : block_of(s, cluster, &t);
    if (ret) {
        return ret;
    }
    if (!t) {
        return qcow2_corrupt(s, "a refcount block is missing");
    }
    set_in(s, t, cluster, count);
    if (count == 0) {
        s->hint = MIN(s->hint, cluster);
        qcow2_table_drop(&s->l2, cluster << s->cluster_bits);
        if (s->packed >> s->cluster_bits == cluster) {
            s->packed = 0;
        }
    }
    return 0;
}

int qcow2_refcount_add(Qcow2 *s, uint64_t cluster, int64_t delta)
{
    uint64_t v;
    int ret = qcow2_refcount(s, cluster, &v);

    if (ret) {
        return ret;
    }
    if (delta < 0 && v < (uint64_t)-delta) {
        return qcow2_corrupt(s, "the refcount of a cluster in use is 0");
    }
    if (delta > 0 && refcount_max(s) - v < (uint64_t)delta) {
        return -EOVERFLOW;
    }
    return qcow2_refcount_set(s, cluster, v + (uint64_t)delta);
}

int qcow2_new_block(Qcow2 *s, uint64_t i, uint64_t cluster, MetaTable **out)
{
    if (!qcow2_set_meta(s, cluster, true)) {
        return -EFBIG;
    }
    int ret = qcow2_table(s, &s->rb, cluster << s->cluster_bits, false, out);
    if (ret) {
        return ret;
    }
    s->reftable[i] = cluster << s->cluster_bits;
    bool clean = s->ref_lo >= s->ref_hi;
    s->ref_lo = clean ? (uint32_t)i : MIN(s->ref_lo, (uint32_t)i);
    s->ref_hi = clean ? (uint32_t)i + 1 : MAX(s->ref_hi, (uint32_t)i + 1);
    s->n_clusters = MAX(s->n_clusters, cluster + 1);
    return 0;
}

static int alloc_row(Qcow2 *s, uint64_t n, uint64_t *first)
{
    uint64_t start = s->n_clusters, k = 0, missing;

    /* The blocks that are missing come behind, and must count themselves. */
    for (;; k = missing) {
        missing = 0;
        uint64_t last = (start + n + k - 1) >> s->rb_bits;
        if (last >= s->reftable_len) {
            return -EFBIG;
        }
        for (uint64_t i = start >> s->rb_bits; i <= last; i++) {
            missing += s->reftable[i] == 0;
        }
        if (missing == k) {
            break;
        }
    }
    uint64_t at = start + n;
    for (uint64_t i = start >> s->rb_bits; i <= (start + n + k - 1) >> s->rb_bits; i++) {
        MetaTable *t;
        int ret = s->reftable[i] ? 0 : qcow2_new_block(s, i, at++, &t);
        if (ret) {
            return ret;
        }
    }
    s->n_clusters = start + n + k;
    for (uint64_t c = start; c < start + n + k; c++) {
        int ret = qcow2_refcount_set(s, c, 1);
        if (ret) {
            return ret;
        }
    }
    *first = start;
    return 0;
}

/* A larger refcount table, in the file at once. */
static int grow_reftable(Qcow2 *s, uint64_t need)
{
    uint64_t old = s->reftable_offset >> s->cluster_bits, n_old = s->reftable_clusters, first;
    uint64_t m = MAX(clusters_of(s, need * 8), n_old + n_old / 2 + 1);
    for (;;) {
        uint64_t cover = ((s->n_clusters + 2 * m + 16) >> s->rb_bits) + 4;
        if (m * s->cluster_size / 8 >= MAX(need, cover + m * s->cluster_size / 8 / 64)) {
            break;
        }
        m++;
        if (m * s->cluster_size > MAX_REFTABLE_BYTES) {
            return -EFBIG;
        }
    }
    if (m * s->cluster_size > MAX_REFTABLE_BYTES) {
        return -EFBIG;
    }
    uint64_t len = m * s->cluster_size / 8;
    s->reftable = g_renew(uint64_t, s->reftable, len);
    memset(s->reftable + s->reftable_len, 0, (len - s->reftable_len) * 8);
    s->reftable_len = (uint32_t)len;
    int ret = alloc_row(s, m, &first);
    for (unsigned i = 0; i < s->rb.n_used && ret == 0; i++) {
        MetaTable *t = &s->rb.t[i];
        if (t->lo < t->hi) {
            ret = qcow2_pwrite(s, t->offset + t->lo, t->data + t->lo, t->hi - t->lo);
            t->lo = t->hi = 0;
        }
    }
    if (ret == 0) {
        g_autofree uint64_t *buf = g_new(uint64_t, len);
        for (uint64_t i = 0; i < len; i++) {
            buf[i] = GUINT64_TO_BE(s->reftable[i]);
        }
        ret = qcow2_pwrite(s, first << s->cluster_bits, buf, len * 8);
        ret = ret ? ret : qcow2_flush_file(s);
    }
    if (ret == 0) {
        uint8_t head[12];
        put64(head, first << s->cluster_bits);
        put32(head + 8, (uint32_t)m);
        ret = qcow2_pwrite(s, 48, head, sizeof(head));
        ret = ret ? ret : qcow2_flush_file(s);
    }
    if (ret) {
        s->error = ret; /* the table in memory is not the one in the file */
        return ret;
    }
    s->reftable_offset = first << s->cluster_bits;
    s->reftable_clusters = (uint32_t)m;
    s->ref_lo = s->ref_hi = 0;
    for (uint64_t c = 0; c < m && ret == 0; c++) {
        ret = qcow2_set_meta(s, first + c, true) ? 0 : -EFBIG;
    }
    for (uint64_t c = 0; c < n_old && ret == 0; c++) {
        qcow2_set_meta(s, old + c, false);
        ret = qcow2_refcount_add(s, old + c, -1);
    }
    return ret;
}

int qcow2_alloc_row(Qcow2 *s, uint64_t n, uint64_t *first)
{
    int ret = s->error ? s->error : alloc_row(s, n, first);

    if (ret == -EFBIG) {
        uint64_t last = s->n_clusters + n + (n >> s->rb_bits) * 2 + 16;
        ret = grow_reftable(s, (last >> s->rb_bits) + 2);
        ret = ret ? ret : alloc_row(s, n, first);
    }
    return ret;
}

int qcow2_alloc(Qcow2 *s, uint64_t max, uint64_t *first, uint64_t *n)
{
    for (uint64_t i = s->hint;;) {
        uint64_t b = i >> s->rb_bits, end = (b + 1) << s->rb_bits;
        MetaTable *t = NULL;
        int ret = s->error;

        if (ret == 0 && i >= MAX_FILE_CLUSTERS) {
            ret = -EFBIG;
        } else if (ret == 0 && b >= s->reftable_len) {
            ret = grow_reftable(s, b + 1);
            i = MIN(i, s->hint);
            if (ret == 0) {
                continue;
            }
        } else if (ret == 0) {
            ret = block_of(s, i, &t);
        }
        if (ret) {
            return ret;
        }
        if (!t) {
            if (qcow2_meta(s, i)) {
                return qcow2_corrupt(s, "a cluster with tables has refcount 0");
            }
            ret = qcow2_new_block(s, b, i, &t);
            ret = ret ? ret : qcow2_refcount_set(s, i, 1);
            if (ret) {
                return ret;
            }
            i++;
            continue;
        }
        uint64_t mask = (1ull << s->rb_bits) - 1;
        while (i < end && refcount_get_in(s->refcount_order, t->data, i & mask)) {
            i++;
        }
        if (i == end) {
            continue;
        }
        *first = i;
        while (i < end && i - *first < max &&
               refcount_get_in(s->refcount_order, t->data, i & mask) == 0) {
            if (qcow2_meta(s, i)) {
                return qcow2_corrupt(s, "a cluster with tables has refcount 0");
            }
            i++;
        }
        *n = i - *first;
        for (uint64_t c = *first; c < i; c++) {
            ret = qcow2_refcount_set(s, c, 1);
            if (ret) {
                return ret;
            }
        }
        s->hint = i;
        s->n_clusters = MAX(s->n_clusters, i);
        return 0;
    }
}

int qcow2_free_later(Qcow2 *s, uint64_t first, uint64_t n)
{
    Freed *last = s->pending->len ? &g_array_index(s->pending, Freed, s->pending->len - 1) : NULL;
    Freed f = {first, n};

    if (last && last->first + last->n == first) {
        last->n += n;
        return 0;
    }
    g_array_append_val(s->pending, f);
    return s->pending->len > MAX_PENDING ? qcow2_sync(s) : 0;
}

int qcow2_free_entry(Qcow2 *s, uint64_t entry)
{
    uint64_t off, len;

    if (entry & ENTRY_COMPRESSED) {
        packed_place(s, entry, &off, &len);
        uint64_t a = off >> s->cluster_bits, b = (off + len - 1) >> s->cluster_bits;
        return qcow2_free_later(s, a, b - a + 1);
    }
    off = entry & ENTRY_OFFSET;
    return off ? qcow2_free_later(s, off >> s->cluster_bits, 1) : 0;
}
