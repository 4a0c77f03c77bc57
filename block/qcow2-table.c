/* qcow2: the caches of L2 tables and refcount blocks, and the order in which they are written. */
#include "block/qcow2-internal.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>

int qcow2_pread(Qcow2 *s, uint64_t off, void *buf, size_t len)
{
    struct iovec iov = {buf, len};
    return s->file.driver->read(s->file.file, off, &iov, 1);
}

int qcow2_pwrite(Qcow2 *s, uint64_t off, const void *buf, size_t len)
{
    struct iovec iov = {(void *)buf, len};
    return s->error ? s->error : s->file.driver->write(s->file.file, off, &iov, 1);
}

/* What a failed flush lost cannot be known: nothing may be built on it. */
int qcow2_flush_file(Qcow2 *s)
{
    int ret = s->error ? s->error : s->file.driver->flush(s->file.file);
    if (ret) {
        s->error = ret;
    }
    return ret;
}

int qcow2_set_incompatible(Qcow2 *s, uint64_t bits)
{
    uint8_t buf[8];
    int ret = 0;

    if (s->version >= 3 && bits != s->incompatible) {
        put64(buf, bits);
        ret = qcow2_pwrite(s, 72, buf, 8);
        ret = ret ? ret : qcow2_flush_file(s);
        if (ret == 0) {
            s->incompatible = bits;
        }
    }
    return ret;
}

int qcow2_corrupt(Qcow2 *s, const char *what)
{
    if (s->writable && !s->error) {
        warn_report("image '%s' is damaged: %s; it is not written to any more", s->path, what);
        qcow2_set_incompatible(s, s->incompatible | INCOMPAT_CORRUPT);
        s->error = -EIO;
    }
    return -EIO;
}

/* ---- clusters that hold tables ---- */

bool qcow2_meta(const Qcow2 *s, uint64_t c)
{
    return c < s->meta_len && (s->meta[c / 8] & (1u << (c % 8)));
}

bool qcow2_set_meta(Qcow2 *s, uint64_t c, bool on)
{
    if (!s->writable) {
        return true;
    }
    if (c >= s->meta_len) {
        uint64_t len = MAX(c + 1, s->meta_len + s->meta_len / 2 + 4096) | 63;
        len++;
        uint8_t *p = c < MAX_FILE_CLUSTERS ? g_try_malloc0(len / 8) : NULL;
        if (!p) {
            return false;
        }
        if (s->meta) {
            memcpy(p, s->meta, s->meta_len / 8);
        }
        g_free(s->meta);
        s->meta = p;
        s->meta_len = len;
    }
    uint8_t bit = (uint8_t)(1u << (c % 8));
    s->meta[c / 8] = (uint8_t)(on ? s->meta[c / 8] | bit : s->meta[c / 8] & ~bit);
    return true;
}

/* ---- caches ---- */

void qcow2_cache_init(MetaCache *c, unsigned n)
{
    c->n = n;
    c->t = g_new0(MetaTable, n);
    c->map = g_hash_table_new(g_int64_hash, g_int64_equal);
}

void qcow2_cache_clear(MetaCache *c)
{
    for (unsigned i = 0; i < c->n_used; i++) {
        g_free(c->t[i].data);
    }
    g_free(c->t);
    if (c->map) {
        g_hash_table_destroy(c->map);
    }
    memset(c, 0, sizeof(*c));
}

void qcow2_mark(MetaTable *t, uint32_t off, uint32_t len)
{
    uint32_t lo = off & ~511u, hi = (off + len + 511) & ~511u;
    bool clean = t->lo >= t->hi;
    t->lo = clean ? lo : MIN(t->lo, lo);
    t->hi = clean ? hi : MAX(t->hi, hi);
}

static int write_table(Qcow2 *s, MetaTable *t)
{
    if (t->lo < t->hi) {
        int ret = qcow2_pwrite(s, t->offset + t->lo, t->data + t->lo, t->hi - t->lo);
        if (ret) {
            return ret;
        }
    }
    t->lo = t->hi = 0;
    return 0;
}

static int write_tables(Qcow2 *s, MetaCache *c, bool only_fresh, bool *left)
{
    for (unsigned i = 0; i < c->n_used; i++) {
        MetaTable *t = &c->t[i];
        if (only_fresh && !t->fresh) {
            *left = *left || t->lo < t->hi;
            continue;
        }
        int ret = write_table(s, t);
        if (ret) {
            return ret;
        }
    }
    return 0;
}

/* A slot to fill; its old table is safe in the file or about to be. */
static int victim(Qcow2 *s, MetaCache *c, MetaTable **out)
{
    if (c->n_used < c->n) {
        *out = &c->t[c->n_used++];
        (*out)->data = g_malloc(s->cluster_size);
        (*out)->offset = 0;
        return 0;
    }
    MetaTable *t = &c->t[0];
    for (unsigned i = 1; i < c->n; i++) {
        if (c->t[i].used < t->used) {
            t = &c->t[i];
        }
    }
    int ret = 0;
    if (t->lo < t->hi || t->fresh) {
        ret = c == &s->rb ? write_table(s, t) : qcow2_sync(s);
    }
    if (ret == 0 && t->offset) {
        g_hash_table_remove(c->map, &t->offset);
        t->offset = 0;
    }
    *out = t;
    return ret;
}

int qcow2_table(Qcow2 *s, MetaCache *c, uint64_t offset, bool read, MetaTable **out)
{
    MetaTable *t = g_hash_table_lookup(c->map, &offset);
    int ret = 0;

    if (!t) {
        ret = victim(s, c, &t);
        if (ret == 0) {
            t->lo = t->hi = 0;
            t->fresh = false;
            t->used = 0;
            ret = read ? qcow2_pread(s, offset, t->data, s->cluster_size) : 0;
        }
        if (ret) {
            return ret;
        }
        t->offset = offset;
        g_hash_table_insert(c->map, &t->offset, t);
    }
    if (!read) {
        memset(t->data, 0, s->cluster_size);
        t->fresh = true;
        t->lo = 0;
        t->hi = (uint32_t)s->cluster_size;
    }
    t->used = ++c->clock;
    *out = t;
    return 0;
}

void qcow2_table_drop(MetaCache *c, uint64_t offset)
{
    MetaTable *t = g_hash_table_lookup(c->map, &offset);
    if (t) {
        g_hash_table_remove(c->map, &offset);
        t->offset = 0;
        t->lo = t->hi = 0;
        t->fresh = false;
        t->used = 0;
    }
}

/* ---- order ---- */

static int write_entries(Qcow2 *s, uint64_t base, const uint64_t *table, uint32_t lo, uint32_t hi)
{
    g_autofree uint64_t *buf = g_new(uint64_t, hi - lo);
    for (uint32_t i = lo; i < hi; i++) {
        buf[i - lo] = GUINT64_TO_BE(table[i]);
    }
    return qcow2_pwrite(s, base + lo * 8ull, buf, (hi - lo) * 8ull);
}

static int write_refcounts(Qcow2 *s)
{
    int ret = write_tables(s, &s->rb, false, NULL);

    if (ret == 0 && s->ref_lo < s->ref_hi) {
        ret = qcow2_flush_file(s);
        ret = ret ? ret : write_entries(s, s->reftable_offset, s->reftable, s->ref_lo, s->ref_hi);
        if (ret == 0) {
            s->ref_lo = s->ref_hi = 0;
        }
    }
    return ret;
}

/* Counts of what nobody uses go down when the requests that might still use it are done. */
static int release(Qcow2 *s)
{
    int ret = 0;

    if (s->quarantine->len == 0 || s->active[s->quarantine_epoch]) {
        return 0;
    }
    for (unsigned i = 0; i < s->quarantine->len && ret == 0; i++) {
        Freed f = g_array_index(s->quarantine, Freed, i);
        for (uint64_t c = f.first; c < f.first + f.n && ret == 0; c++) {
            ret = qcow2_refcount_add(s, c, -1);
        }
    }
    g_array_set_size(s->quarantine, 0); /* after an error the rest leaks */
    return ret;
}

unsigned qcow2_enter(Qcow2 *s)
{
    s->active[s->epoch]++;
    return s->epoch;
}

void qcow2_leave(Qcow2 *s, unsigned epoch)
{
    s->active[epoch]--;
    release(s);
}

int qcow2_sync(Qcow2 *s)
{
    bool second = s->l1_lo < s->l1_hi;
    int ret = s->error;

    if (ret == 0 && (!(s->incompatible & INCOMPAT_DIRTY) || s->ref_lo < s->ref_hi)) {
        ret = write_refcounts(s);
    }
    ret = ret ? ret : write_tables(s, &s->l2, true, &second);
    ret = ret ? ret : qcow2_flush_file(s);
    if (ret == 0 && second) {
        ret = write_tables(s, &s->l2, false, NULL);
        if (ret == 0 && s->l1_lo < s->l1_hi) {
            ret = write_entries(s, s->l1_offset, s->l1, s->l1_lo, s->l1_hi);
        }
        ret = ret ? ret : qcow2_flush_file(s);
    }
    if (ret) {
        return ret;
    }
    s->l1_lo = s->l1_hi = 0;
    for (unsigned i = 0; i < s->l2.n_used; i++) {
        s->l2.t[i].fresh = false;
    }
    for (unsigned i = 0; i < s->rb.n_used; i++) {
        s->rb.t[i].fresh = s->rb.t[i].fresh && s->rb.t[i].lo < s->rb.t[i].hi;
    }
    if (s->quarantine->len == 0 && s->pending->len) {
        GArray *t = s->pending;
        s->pending = s->quarantine;
        s->quarantine = t;
        s->quarantine_epoch = s->epoch;
        s->epoch ^= 1;
    }
    return release(s);
}

int qcow2_settle(Qcow2 *s)
{
    int ret;

    do {
        ret = qcow2_sync(s);
    } while (ret == 0 && (s->pending->len || s->quarantine->len));
    ret = ret ? ret : write_refcounts(s);
    ret = ret ? ret : qcow2_flush_file(s);
    if (ret == 0 && s->incompatible & INCOMPAT_DIRTY) {
        ret = qcow2_set_incompatible(s, s->incompatible & ~INCOMPAT_DIRTY);
    }
    return ret;
}
