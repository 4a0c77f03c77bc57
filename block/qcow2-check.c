/*
 * qcow2: counts the references to every cluster, compares them with the refcounts, and repairs.
 * Each L2 table is looked at once however many L1 entries lead there, so that hostile images do
 * not take for ever.
 */
#include "block/qcow2-internal.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define MAX_CHECK_CLUSTERS (1ull << 30)

typedef struct Check {
    Qcow2 *s;
    Qcow2Check *res;
    unsigned fix;
    void (*report)(void *opaque, const char *line);
    void *opaque;
    uint32_t *refs; /* of n clusters */
    uint64_t n;
    GHashTable *l2; /* offset → Table */
} Check;

typedef struct Table {
    uint64_t offset;
    uint32_t times;
    bool active, copied;
} Table;

G_GNUC_PRINTF(2, 3)
static void tell(Check *k, const char *fmt, ...)
{
    if (k->report) {
        va_list ap;
        va_start(ap, fmt);
        g_autofree char *line = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        k->report(k->opaque, line);
    }
}

static void count(Check *k, uint64_t off, uint64_t len, uint32_t times, const char *what)
{
    uint64_t c = off >> k->s->cluster_bits,
             end = c + clusters_of(k->s, (off & (k->s->cluster_size - 1)) + len);

    for (; c < end; c++) {
        if (c >= k->n) {
            k->res->corruptions++;
            tell(k, "ERROR: %s at offset %#" PRIx64 " is beyond the end of the file", what, off);
            return;
        }
        k->refs[c] += MIN(times, UINT32_MAX - k->refs[c]);
    }
}

static void count_l1(Check *k, const uint64_t *l1, uint32_t n, bool active)
{
    Qcow2 *s = k->s;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t off = l1[i] & ENTRY_OFFSET;
        if ((l1[i] & L1_RESERVED) || (off && qcow2_check_offset(s, off))) {
            k->res->corruptions++;
            tell(k, "ERROR: L1 entry %u is wrong: %016" PRIx64, i, l1[i]);
            continue;
        }
        if (!off) {
            continue;
        }
        Table *t = g_hash_table_lookup(k->l2, &off);
        if (!t) {
            t = g_new0(Table, 1);
            t->offset = off;
            g_hash_table_insert(k->l2, &t->offset, t);
        }
        t->times += t->times < UINT32_MAX;
        t->active |= active;
        t->copied |= active && (l1[i] & ENTRY_COPIED);
    }
}

static void check_copied(Check *k, uint64_t off, bool copied, const char *what)
{
    uint64_t c;

    if (copied && qcow2_refcount(k->s, off >> k->s->cluster_bits, &c) == 0 && c != 1) {
        k->res->corruptions++;
        tell(k, "ERROR OFLAG_COPIED %s: offset=%" PRIx64 " refcount=%" PRIu64, what, off, c);
        if (k->fix & QCOW2_FIX_ERRORS) {
            k->res->corruptions_fixed++; /* at the end, with all of them */
        }
    }
}

static void count_l2(Check *k, const Table *t)
{
    Qcow2 *s = k->s;
    g_autofree uint8_t *data = g_malloc(s->cluster_size);
    uint64_t next = 0;

    count(k, t->offset, s->cluster_size, t->times, "L2 table");
    if (qcow2_pread(s, t->offset, data, s->cluster_size)) {
        k->res->check_errors++;
        return;
    }
    check_copied(k, t->offset, t->copied, "L2 cluster");
    for (uint64_t i = 0; i < s->cluster_size; i += 8) {
        uint64_t e = be64(data + i), off = e & ENTRY_OFFSET, len = s->cluster_size;
        if (e & ENTRY_COMPRESSED) {
            packed_place(s, e, &off, &len);
            k->res->compressed += t->active;
            k->res->allocated += t->active;
            count(k, off, len, t->times, "compressed cluster");
            continue;
        }
        if ((e & L2_RESERVED) || ((e & ENTRY_ZERO) && s->version < 3) ||
            (off & (s->cluster_size - 1))) {
            k->res->corruptions++;
            tell(k, "ERROR: L2 entry %016" PRIx64 " in the table at %#" PRIx64 " is wrong", e,
                 t->offset);
            continue;
        }
        if (!off) {
            continue;
        }
        k->res->allocated += t->active;
        k->res->fragmented += t->active && next && off != next;
        next = off + len;
        count(k, off, len, t->times, "data cluster");
        check_copied(k, off, t->copied && (e & ENTRY_COPIED), "data cluster");
    }
}

static void count_all(Check *k)
{
    Qcow2 *s = k->s;
    GHashTableIter it;
    void *key, *value;

    count(k, 0, 1, 1, "header");
    count(k, s->l1_offset, s->l1_size * 8ull, 1, "L1 table");
    count(k, s->reftable_offset, (uint64_t)s->reftable_clusters << s->cluster_bits, 1,
          "refcount table");
    count(k, s->snapshots_offset, s->snapshots_len, 1, "snapshot table");
    count_l1(k, s->l1, s->l1_size, true);
    for (unsigned i = 0; i < s->n_snapshots; i++) {
        const Qcow2Snapshot *sn = &s->snapshots[i];
        g_autofree uint64_t *l1 = g_new0(uint64_t, sn->l1_size + 1);
        count(k, sn->l1_offset, sn->l1_size * 8ull, 1, "L1 table of a snapshot");
        if (qcow2_pread(s, sn->l1_offset, l1, sn->l1_size * 8ull)) {
            k->res->check_errors++;
            continue;
        }
        for (uint32_t j = 0; j < sn->l1_size; j++) {
            l1[j] = GUINT64_FROM_BE(l1[j]);
        }
        count_l1(k, l1, sn->l1_size, false);
    }
    g_hash_table_iter_init(&it, k->l2);
    while (g_hash_table_iter_next(&it, &key, &value)) {
        count_l2(k, value);
    }
}

static int add_cluster(Check *k, uint64_t c)
{
    if (c >= k->n) {
        k->refs = g_renew(uint32_t, k->refs, c + 1);
        memset(k->refs + k->n, 0, (c + 1 - k->n) * 4);
        k->n = c + 1;
    }
    return 0;
}

/* Refcount blocks: counted; with @fix, wrong ones are replaced and missing ones made. */
static int check_blocks(Check *k)
{
    Qcow2 *s = k->s;
    bool fix = k->fix & QCOW2_FIX_ERRORS;
    int ret = 0;

    for (uint32_t i = 0; i < s->reftable_len; i++) {
        uint64_t off = s->reftable[i];
        if (!off) {
            continue;
        }
        bool inside = qcow2_check_offset(s, off) == 0;
        bool ok = inside && !k->refs[off >> s->cluster_bits];
        if (inside && !(fix && !ok)) {
            count(k, off, s->cluster_size, 1, "refcount block");
        }
        if (ok) {
            continue;
        }
        k->res->corruptions++;
        tell(k, "ERROR: refcount block %u at offset %#" PRIx64 " is wrong", i, off);
        if (fix) {
            s->reftable[i] = 0;
            k->res->corruptions_fixed++;
        }
    }
    uint64_t n = k->n;
    for (uint64_t c = 0; c < n && ret == 0 && fix; c++) {
        uint64_t i = c >> s->rb_bits, at;
        if (!k->refs[c] || (i < s->reftable_len && s->reftable[i])) {
            continue;
        }
        MetaTable *t;
        uint64_t before = s->n_clusters;
        ret = i < s->reftable_len ? qcow2_alloc_row(s, 1, &at) : -EFBIG;
        if (ret == 0 && !s->reftable[i]) {
            ret = qcow2_new_block(s, i, at, &t);
        }
        if (ret) {
            break;
        }
        /* What came to be at the end of the file: blocks, and one cluster that may not be used. */
        for (uint64_t x = before; x < s->n_clusters; x++) {
            add_cluster(k, x);
        }
        for (uint32_t b = 0; b < s->reftable_len; b++) {
            if (s->reftable[b] >> s->cluster_bits >= before) {
                k->refs[s->reftable[b] >> s->cluster_bits] = 1;
            }
        }
    }
    return ret;
}

static int compare_one(Check *k, uint64_t c, uint64_t have, uint32_t want)
{
    bool leak = have > want;
    bool fix = k->fix & (leak ? QCOW2_FIX_LEAKS : QCOW2_FIX_ERRORS);

    if (leak && k->s->has_bitmaps) {
        return 0; /* may be a bitmap's, which is not looked at */
    }
    tell(k, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%u",
         fix    ? "Repairing"
         : leak ? "Leaked"
                : "ERROR",
         c, have, want);
    *(leak ? &k->res->leaks : &k->res->corruptions) += 1;
    if (!fix || want > refcount_max(k->s)) {
        return 0;
    }
    int ret = qcow2_refcount_set(k->s, c, want);
    if (ret == 0) {
        *(leak ? &k->res->leaks_fixed : &k->res->corruptions_fixed) += 1;
    }
    return ret;
}

static int compare(Check *k)
{
    Qcow2 *s = k->s;
    int ret = 0;
    uint64_t per = 1ull << s->rb_bits, last = 0;

    for (uint64_t i = 0; i < MAX(s->reftable_len, (k->n + per - 1) >> s->rb_bits) && ret == 0;
         i++) {
        bool there =
            i < s->reftable_len && s->reftable[i] && qcow2_check_offset(s, s->reftable[i]) == 0;
        uint64_t end = there ? (i + 1) << s->rb_bits : MIN(k->n, (i + 1) << s->rb_bits);
        for (uint64_t c = i << s->rb_bits; c < end && ret == 0; c++) {
            uint64_t have = 0;
            uint32_t want = c < k->n ? k->refs[c] : 0;
            if (there) {
                ret = qcow2_refcount(s, c, &have);
            }
            if (have || want) {
                last = c + 1;
            }
            if (ret == 0 && have != want) {
                ret = compare_one(k, c, have, want);
            }
        }
    }
    k->res->end_offset = last << s->cluster_bits;
    return ret;
}

static int check_locked(Check *k)
{
    Qcow2 *s = k->s;
    int ret = k->fix ? s->error : 0;

    ret = ret || !s->writable ? ret : qcow2_settle(s);
    if (ret) {
        return ret;
    }
    k->n = s->n_clusters;
    k->refs = k->n <= MAX_CHECK_CLUSTERS ? g_try_malloc0_n(k->n + 1, 4) : NULL;
    if (!k->refs) {
        return -EFBIG;
    }
    count_all(k);
    ret = check_blocks(k);
    ret = ret ? ret : compare(k);
    if (ret == 0 && (k->fix & QCOW2_FIX_ERRORS)) {
        ret = qcow2_sync(s);
        ret = ret ? ret : qcow2_fix_copied(s, false);
    }
    if (ret == 0 && k->fix) {
        ret = qcow2_settle(s);
    }
    k->res->corruptions -= k->res->corruptions_fixed;
    k->res->leaks -= k->res->leaks_fixed;
    if (ret == 0 && (k->fix & QCOW2_FIX_ERRORS) && !k->res->corruptions &&
        (s->incompatible & INCOMPAT_CORRUPT)) {
        ret = qcow2_set_incompatible(s, s->incompatible & ~INCOMPAT_CORRUPT);
    }
    return ret;
}

int qcow2_check(const BlockFile *f, unsigned fix, Qcow2Check *res,
                void (*report)(void *opaque, const char *line), void *opaque)
{
    Qcow2 *s = f->file;
    Check k = {.s = s, .res = res, .fix = fix, .report = report, .opaque = opaque};

    memset(res, 0, sizeof(*res));
    res->total_clusters = clusters_of(s, s->size);
    if (fix && !s->writable) {
        return -EROFS;
    }
    g_mutex_lock(&s->lock);
    bool lazy_dirty = s->incompatible & INCOMPAT_DIRTY;
    k.l2 = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    int ret = check_locked(&k);
    if (ret == 0 && fix && lazy_dirty && !res->corruptions) {
        ret = qcow2_set_incompatible(s, s->incompatible & ~INCOMPAT_DIRTY);
    }
    g_hash_table_destroy(k.l2);
    g_free(k.refs);
    g_mutex_unlock(&s->lock);
    return ret;
}
