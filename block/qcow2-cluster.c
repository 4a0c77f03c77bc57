/* qcow2: guest data — reading, writing, discarding, compressed clusters. */
#include "block/deflate.h"
#include "block/qcow2-internal.h"
#include "config.h"
#include <errno.h>
#include <string.h>
#include <zlib.h>
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif

#define MAX_RUN (16u << 20) /* bytes that one allocation covers */

typedef enum Kind { UNALLOCATED, ZERO, NORMAL, COMPRESSED } Kind;

typedef struct Run {
    Kind kind;
    uint64_t entry, host; /* of the first byte */
    uint64_t len;
    bool in_place; /* may be written where it is */
} Run;

/* ---- tables ---- */

int qcow2_check_offset(Qcow2 *s, uint64_t off)
{
    bool ok = off && !(off & (s->cluster_size - 1)) && off >> s->cluster_bits < s->n_clusters;
    return ok ? 0 : -EIO;
}

static void set_l1(Qcow2 *s, uint32_t i, uint64_t v)
{
    bool clean = s->l1_lo >= s->l1_hi;
    s->l1[i] = v;
    s->l1_lo = clean ? i : MIN(s->l1_lo, i);
    s->l1_hi = clean ? i + 1 : MAX(s->l1_hi, i + 1);
}

/* An L2 table of its own for L1 entry @i, with what the old one @old (0 = none) has. */
static int own_l2(Qcow2 *s, uint32_t i, uint64_t old, MetaTable **out)
{
    g_autofree uint8_t *copy = NULL;
    uint64_t first, n;
    int ret = 0;

    if (old) {
        ret = qcow2_table(s, &s->l2, old, true, out);
        copy = ret ? NULL : g_memdup2((*out)->data, s->cluster_size);
    }
    ret = ret ? ret : qcow2_alloc(s, 1, &first, &n);
    if (ret) {
        return ret;
    }
    ret = qcow2_set_meta(s, first, true) ? 0 : -EFBIG;
    ret = ret ? ret : qcow2_table(s, &s->l2, first << s->cluster_bits, false, out);
    if (ret) {
        qcow2_set_meta(s, first, false);
        qcow2_refcount_add(s, first, -1);
        return ret;
    }
    if (copy) {
        for (uint64_t k = 0; k < s->cluster_size; k += 8) {
            put64((*out)->data + k, be64(copy + k) & ~ENTRY_COPIED);
        }
    }
    set_l1(s, i, first << s->cluster_bits | ENTRY_COPIED);
    if (old) {
        qcow2_set_meta(s, old >> s->cluster_bits, false);
        ret = qcow2_free_later(s, old >> s->cluster_bits, 1);
    }
    return ret;
}

int qcow2_l2(Qcow2 *s, uint64_t c, bool make, MetaTable **out)
{
    uint64_t i = c >> s->l2_bits;

    *out = NULL;
    if (i >= s->l1_size) {
        return -EIO;
    }
    uint64_t old = s->l1[i] & ENTRY_OFFSET;
    if ((s->l1[i] & L1_RESERVED) || (old && qcow2_check_offset(s, old))) {
        return qcow2_corrupt(s, "an entry of the L1 table is wrong");
    }
    if (make && (!old || !(s->l1[i] & ENTRY_COPIED))) {
        return own_l2(s, (uint32_t)i, old, out);
    }
    return old ? qcow2_table(s, &s->l2, old, true, out) : 0;
}

/* In an L2 table that is shared the flags of its entries mean nothing. */
static uint64_t entry_of(const Qcow2 *s, const MetaTable *t, uint64_t c)
{
    uint64_t v = t ? be64(t->data + (c & ((1ull << s->l2_bits) - 1)) * 8) : 0;
    return s->l1[c >> s->l2_bits] & ENTRY_COPIED ? v : v & ~ENTRY_COPIED;
}

static void set_entry(const Qcow2 *s, MetaTable *t, uint64_t c, uint64_t v)
{
    uint32_t off = (uint32_t)(c & ((1ull << s->l2_bits) - 1)) * 8;
    put64(t->data + off, v);
    qcow2_mark(t, off, 8);
}

static int classify(Qcow2 *s, uint64_t entry, Run *r)
{
    uint64_t len;

    *r = (Run){.entry = entry, .host = entry & ENTRY_OFFSET};
    if (entry & ENTRY_COMPRESSED) {
        packed_place(s, entry, &r->host, &len);
        r->kind = COMPRESSED;
        if ((r->host + len - 1) >> s->cluster_bits >= s->n_clusters || r->host < s->cluster_size) {
            return qcow2_corrupt(s, "a compressed cluster is out of the file");
        }
        return 0;
    }
    if ((entry & L2_RESERVED) || ((entry & ENTRY_ZERO) && s->version < 3) ||
        (r->host && qcow2_check_offset(s, r->host))) {
        return qcow2_corrupt(s, "an entry of an L2 table is wrong");
    }
    r->kind = entry & ENTRY_ZERO ? ZERO : r->host ? NORMAL : UNALLOCATED;
    r->in_place = r->kind == NORMAL && (entry & ENTRY_COPIED);
    return 0;
}

/* What is at @off, as far as it goes on, at most @len. */
static int lookup(Qcow2 *s, uint64_t off, uint64_t len, Run *r)
{
    uint64_t c = off >> s->cluster_bits, in = off & (s->cluster_size - 1);
    MetaTable *t;
    int ret = qcow2_l2(s, c, false, &t);

    ret = ret ? ret : classify(s, entry_of(s, t, c), r);
    if (ret) {
        return ret;
    }
    uint64_t end = MIN(len, (((c >> s->l2_bits) + 1) << s->l2_bits << s->cluster_bits) - off);
    r->len = s->cluster_size - in;
    if (!t) {
        r->len = end;
    }
    while (r->len < end && r->kind != COMPRESSED) {
        Run next;
        if (classify(s, entry_of(s, t, (off + r->len) >> s->cluster_bits), &next) ||
            next.kind != r->kind || next.in_place != r->in_place ||
            (r->kind == NORMAL && next.host != r->host + in + r->len)) {
            break; /* what is wrong is told when it is its turn */
        }
        r->len += s->cluster_size;
    }
    r->len = MIN(r->len, end);
    r->host += r->kind == COMPRESSED ? 0 : in;
    return 0;
}

/* ---- vectors ---- */

/* @len bytes of @iov from @skip on; room for @n + 2. */
static unsigned slice(const struct iovec *iov, unsigned n, uint64_t skip, uint64_t len,
                      struct iovec *out)
{
    unsigned k = 0;
    for (unsigned i = 0; i < n && len; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        out[k].iov_base = (uint8_t *)iov[i].iov_base + skip;
        out[k].iov_len = MIN(len, iov[i].iov_len - skip);
        len -= out[k++].iov_len;
        skip = 0;
    }
    return k;
}

static void fill_zero(const struct iovec *iov, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        memset(iov[i].iov_base, 0, iov[i].iov_len);
    }
}

static void copy_to(const struct iovec *iov, unsigned n, const uint8_t *p)
{
    for (unsigned i = 0; i < n; i++) {
        memcpy(iov[i].iov_base, p, iov[i].iov_len);
        p += iov[i].iov_len;
    }
}

/* ---- compressed clusters ---- */

static bool inflate_cluster(const Qcow2 *s, uint8_t *out, const uint8_t *in, size_t len)
{
    if (s->zstd) {
#ifdef HAVE_ZSTD
        /* The frame may be followed by what is left of the sector. */
        ZSTD_DCtx *d = ZSTD_createDCtx();
        ZSTD_inBuffer i = {in, len, 0};
        ZSTD_outBuffer o = {out, s->cluster_size, 0};
        size_t before, ret = 1;
        while (d && o.pos < o.size) {
            before = i.pos + o.pos;
            ret = ZSTD_decompressStream(d, &o, &i);
            if (ZSTD_isError(ret) || i.pos + o.pos == before) {
                break;
            }
        }
        ZSTD_freeDCtx(d);
        return o.pos == o.size;
#else
        return false;
#endif
    }
    z_stream z = {.next_in = (Bytef *)in,
                  .avail_in = (uInt)len,
                  .next_out = out,
                  .avail_out = (uInt)s->cluster_size};
    if (inflateInit2(&z, -15) != Z_OK) {
        return false;
    }
    int ret = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && z.avail_out == 0;
}

/* No lock. */
static int read_compressed(Qcow2 *s, const Run *r, uint64_t in, const struct iovec *iov, unsigned n)
{
    uint64_t off, len;

    packed_place(s, r->entry, &off, &len);
    if (len > 2 * s->cluster_size) {
        return -EIO; /* more than anyone needs */
    }
    g_autofree uint8_t *packed = g_malloc(len), *out = g_malloc(s->cluster_size);
    int ret = qcow2_pread(s, off, packed, len);
    if (ret == 0 && !inflate_cluster(s, out, packed, len)) {
        ret = -EIO;
    }
    if (ret == 0) {
        copy_to(iov, n, out + in);
    }
    return ret;
}

size_t qcow2_compress(const BlockFile *f, const uint8_t *data, size_t len, uint8_t *out)
{
    const Qcow2 *s = f->file;

    if (s->zstd) {
#ifdef HAVE_ZSTD
        size_t n = ZSTD_compress(out, len - 1, data, len, 3);
        return ZSTD_isError(n) ? 0 : n;
#else
        return 0;
#endif
    }
    return block_deflate(data, len, out, len - 1, 12, false);
}

/* Lock held. A place for @len bytes, shared with other compressed clusters where it can be. */
static int pack(Qcow2 *s, size_t len, uint64_t *off)
{
    uint64_t in = s->packed & (s->cluster_size - 1), last = s->packed >> s->cluster_bits, first, n;
    int shared = -EOVERFLOW, ret;

    if (s->packed) {
        shared = qcow2_refcount_add(s, last, 1);
    }
    if (shared && shared != -EOVERFLOW) {
        return shared;
    }
    if (shared == 0 && len <= s->cluster_size - in) {
        *off = s->packed;
    } else {
        ret = qcow2_alloc(s, 1, &first, &n);
        if (shared == 0 && (ret || first != last + 1)) {
            qcow2_refcount_add(s, last, -1);
            shared = -EOVERFLOW;
        }
        if (ret) {
            return ret;
        }
        *off = shared == 0 ? s->packed : first << s->cluster_bits;
    }
    s->packed = *off + len;
    if (!(s->packed & (s->cluster_size - 1))) {
        s->packed = 0;
    }
    return 0;
}

int qcow2_write_compressed(const BlockFile *f, uint64_t off, const uint8_t *packed, size_t len)
{
    Qcow2 *s = f->file;
    uint64_t c = off >> s->cluster_bits, at;
    unsigned x = 62 - (s->cluster_bits - 8);
    MetaTable *t;

    if (!s->writable) {
        return -EROFS;
    }
    if (len == 0 || len >= s->cluster_size || (off & (s->cluster_size - 1)) || off >= s->size) {
        return -EINVAL;
    }
    g_mutex_lock(&s->lock);
    int ret = qcow2_l2(s, c, true, &t);
    if (ret == 0 && entry_of(s, t, c)) {
        ret = -EINVAL;
    }
    ret = ret ? ret : pack(s, len, &at);
    if (ret == 0 && at >> x) {
        ret = -EFBIG;
    }
    ret = ret ? ret : qcow2_pwrite(s, at, packed, len);
    ret = ret ? ret : qcow2_l2(s, c, true, &t);
    if (ret == 0) {
        uint64_t sectors = ((at & 511) + len - 1) / 512;
        set_entry(s, t, c, ENTRY_COMPRESSED | sectors << x | at);
    }
    g_mutex_unlock(&s->lock);
    return ret;
}

/* ---- reading ---- */

/* No lock. */
static int read_backing(Qcow2 *s, uint64_t off, struct iovec *iov, unsigned n)
{
    uint64_t len = iov_length(iov, n), have = 0;

    if (s->has_backing && off < s->backing.size) {
        have = MIN(len, s->backing.size - off);
    }
    if (have == len && have) {
        return s->backing.driver->read(s->backing.file, off, iov, n);
    }
    fill_zero(iov, n);
    if (!have) {
        return 0;
    }
    g_autofree struct iovec *part = g_new(struct iovec, n + 2);
    unsigned k = slice(iov, n, 0, have, part);
    return s->backing.driver->read(s->backing.file, off, part, k);
}

static int qcow2_read(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    Qcow2 *s = file;
    uint64_t len = iov_length(iov, n), done = 0;
    g_autofree struct iovec *part = g_new(struct iovec, n + 2);
    int ret = 0;

    g_mutex_lock(&s->lock);
    unsigned epoch = qcow2_enter(s);
    while (done < len && ret == 0) {
        Run r;
        ret = lookup(s, off + done, len - done, &r);
        if (ret) {
            break;
        }
        g_mutex_unlock(&s->lock);
        unsigned k = slice(iov, n, done, r.len, part);
        switch (r.kind) {
        case NORMAL:
            ret = s->file.driver->read(s->file.file, r.host, part, k);
            break;
        case COMPRESSED:
            ret = read_compressed(s, &r, (off + done) & (s->cluster_size - 1), part, k);
            break;
        case UNALLOCATED:
            ret = read_backing(s, off + done, part, k);
            break;
        case ZERO:
            fill_zero(part, k);
        }
        done += r.len;
        g_mutex_lock(&s->lock);
    }
    qcow2_leave(s, epoch);
    g_mutex_unlock(&s->lock);
    return ret;
}

/* ---- writing ---- */

static bool others_write(const Qcow2 *s, uint64_t first, uint64_t last)
{
    for (GSList *l = s->writers; l; l = l->next) {
        const Writer *w = l->data;
        if (first <= w->last && last >= w->first) {
            return true;
        }
    }
    return false;
}

static bool reads_zero(const Qcow2 *s, Kind k)
{
    return k == ZERO || (k == UNALLOCATED && !s->has_backing);
}

/* No lock. Data of @len bytes at @off goes to the new clusters at @host, with what is around it in
 * the first and last cluster, unless the file has zeros there (@pad is false). */
static int write_new(Qcow2 *s, uint64_t off, uint64_t len, uint64_t host, bool pad,
                     const struct iovec *iov, unsigned n, struct iovec *part, uint64_t skip)
{
    uint64_t mask = s->cluster_size - 1, head = pad ? off & mask : 0;
    uint64_t tail = pad ? (s->cluster_size - ((off + len) & mask)) & mask : 0;
    g_autofree uint8_t *around = head + tail ? g_malloc0(head + tail) : NULL;
    unsigned k = 0;
    int ret = 0;

    if (head) {
        part[k++] = (struct iovec){around, head};
        ret = qcow2_read(s, off - head, part, 1);
    }
    k += slice(iov, n, skip, len, part + k);
    if (ret == 0 && tail) {
        part[k] = (struct iovec){around + head, MIN(tail, s->size - MIN(s->size, off + len))};
        ret = part[k].iov_len ? qcow2_read(s, off + len, part + k, 1) : 0;
        part[k++].iov_len = tail;
    }
    uint64_t at = pad ? host : host + (off & mask);
    return ret ? ret : s->file.driver->write(s->file.file, at, part, k);
}

/* Lock held. The tables get to know @n new clusters at @host for guest cluster @c on. */
static int link_new(Qcow2 *s, uint64_t c, uint64_t n, uint64_t host)
{
    for (uint64_t i = 0; i < n; i++) {
        MetaTable *t;
        int ret = qcow2_l2(s, c + i, true, &t);
        if (ret) {
            return ret;
        }
        uint64_t old = entry_of(s, t, c + i), new = host + (i << s->cluster_bits);
        set_entry(s, t, c + i, new | ENTRY_COPIED);
        if ((old & ENTRY_COMPRESSED) || (old & ENTRY_OFFSET) != new) {
            ret = qcow2_free_entry(s, old);
            if (ret) {
                return ret;
            }
        }
    }
    return 0;
}

/* Lock held. Clusters for the guest's from @c on, at most @max: new ones, or the one that an entry
 * of zeros already has. */
static int take(Qcow2 *s, uint64_t c, const Run *r, uint64_t max, uint64_t *first, uint64_t *n,
                bool *own)
{
    MetaTable *t;

    *own = r->kind == ZERO && (r->entry & ENTRY_OFFSET) && (r->entry & ENTRY_COPIED);
    if (*own) {
        *first = (r->entry & ENTRY_OFFSET) >> s->cluster_bits;
        *n = 1;
        return qcow2_meta(s, *first) ? qcow2_corrupt(s, "guest data and tables overlap") : 0;
    }
    int ret = qcow2_l2(s, c, true, &t); /* so that it does not fail after the data */
    return ret ? ret : qcow2_alloc(s, max, first, n);
}

/* Lock held (let go meanwhile). Writes some of @len bytes at @off, *@did of them, to new places. */
static int write_alloc(Qcow2 *s, uint64_t off, const Run *r, const struct iovec *iov, unsigned n,
                       struct iovec *part, uint64_t skip, uint64_t *did)
{
    uint64_t c = off >> s->cluster_bits, in = off & (s->cluster_size - 1), first, got;
    uint64_t want = clusters_of(s, in + MIN(r->len, MAX_RUN)), virgin = s->n_clusters;
    Writer w;
    bool own;

    int ret = take(s, c, r, want, &first, &got, &own);
    if (ret) {
        return ret;
    }
    *did = MIN(r->len, (got << s->cluster_bits) - in);
    bool pad = own || first < virgin || !reads_zero(s, r->kind);
    w = (Writer){c, c + got - 1};
    s->writers = g_slist_prepend(s->writers, &w);
    g_mutex_unlock(&s->lock);
    ret = write_new(s, off, *did, first << s->cluster_bits, pad, iov, n, part, skip);
    g_mutex_lock(&s->lock);
    if (ret == 0) {
        ret = s->error ? s->error : link_new(s, c, got, first << s->cluster_bits);
    } else if (!own) {
        for (uint64_t i = 0; i < got; i++) {
            qcow2_refcount_add(s, first + i, -1);
        }
    }
    s->writers = g_slist_remove(s->writers, &w);
    g_cond_broadcast(&s->cond);
    return ret;
}

static int qcow2_write(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    Qcow2 *s = file;
    uint64_t len = iov_length(iov, n), done = 0, did;
    g_autofree struct iovec *part = g_new(struct iovec, n + 4);
    int ret = s->writable ? 0 : -EROFS;

    g_mutex_lock(&s->lock);
    unsigned epoch = qcow2_enter(s);
    while (done < len && ret == 0) {
        Run r;
        uint64_t at = off + done;
        ret = s->error ? s->error : lookup(s, at, len - done, &r);
        if (ret) {
            break;
        }
        if (!r.in_place &&
            others_write(s, at >> s->cluster_bits, (at + r.len - 1) >> s->cluster_bits)) {
            g_cond_wait(&s->cond, &s->lock);
            continue;
        }
        if (!r.in_place) {
            ret = write_alloc(s, at, &r, iov, n, part, done, &did);
            done += ret ? 0 : did;
            continue;
        }
        for (uint64_t c = r.host >> s->cluster_bits;
             c <= (r.host + r.len - 1) >> s->cluster_bits && ret == 0; c++) {
            ret = qcow2_meta(s, c) ? qcow2_corrupt(s, "guest data and tables overlap") : 0;
        }
        if (ret == 0) {
            g_mutex_unlock(&s->lock);
            unsigned k = slice(iov, n, done, r.len, part);
            ret = s->file.driver->write(s->file.file, r.host, part, k);
            g_mutex_lock(&s->lock);
        }
        done += r.len;
    }
    qcow2_leave(s, epoch);
    g_mutex_unlock(&s->lock);
    return ret;
}

static int qcow2_flush(void *file)
{
    Qcow2 *s = file;

    if (!s->writable) {
        return 0;
    }
    g_mutex_lock(&s->lock);
    int ret = qcow2_sync(s);
    g_mutex_unlock(&s->lock);
    return ret;
}

/* ---- discarding ---- */

static int write_zeros(Qcow2 *s, uint64_t off, uint64_t len)
{
    g_autofree uint8_t *zeros = g_malloc0(MIN(len, 1u << 20));
    int ret = 0;
    while (len && ret == 0) {
        struct iovec iov = {zeros, MIN(len, 1u << 20)};
        ret = qcow2_write(s, off, &iov, 1);
        off += iov.iov_len;
        len -= iov.iov_len;
    }
    return ret;
}

/* Lock held. One whole cluster, which reads as zeros afterwards. */
static int drop_cluster(Qcow2 *s, uint64_t c)
{
    uint64_t new = s->has_backing || s->backing_name ? ENTRY_ZERO : 0;
    MetaTable *t;
    Run r;

    int ret = qcow2_l2(s, c, false, &t);
    ret = ret ? ret : classify(s, entry_of(s, t, c), &r);
    if (ret || r.entry == new || (r.entry == 0 && new == 0)) {
        return ret;
    }
    ret = qcow2_l2(s, c, true, &t);
    if (ret == 0) {
        set_entry(s, t, c, new);
        ret = qcow2_free_entry(s, r.entry);
    }
    return ret;
}

/* @exact: zeros must be read; else what cannot be dropped stays. */
static int drop_range(Qcow2 *s, uint64_t off, uint64_t len, bool exact)
{
    uint64_t mask = s->cluster_size - 1, end = off + len, first = clusters_of(s, off);
    uint64_t last = end >= s->size ? clusters_of(s, s->size) : end >> s->cluster_bits;
    bool can = s->version >= 3 || !s->backing_name;
    int ret = s->writable ? 0 : -EROFS;

    if (ret == 0 && (first >= last || !can)) {
        return exact ? write_zeros(s, off, len) : 0;
    }
    if (ret == 0 && exact && (off & mask)) {
        ret = write_zeros(s, off, (first << s->cluster_bits) - off);
    }
    if (ret == 0 && exact && last << s->cluster_bits < end) {
        ret = write_zeros(s, last << s->cluster_bits, end - (last << s->cluster_bits));
    }
    g_mutex_lock(&s->lock);
    for (uint64_t c = first; c < last && ret == 0;) {
        Run r;
        if (others_write(s, c, c)) {
            g_cond_wait(&s->cond, &s->lock);
            continue;
        }
        ret = s->error ? s->error
                       : lookup(s, c << s->cluster_bits, (last - c) << s->cluster_bits, &r);
        if (ret == 0 && r.kind == UNALLOCATED && !s->backing_name) {
            c += MAX(1, r.len >> s->cluster_bits);
            continue;
        }
        ret = ret ? ret : drop_cluster(s, c++);
    }
    g_mutex_unlock(&s->lock);
    return ret;
}

static int qcow2_discard(void *file, uint64_t off, uint64_t len)
{
    return drop_range(file, off, len, false);
}

static int qcow2_write_zeroes(void *file, uint64_t off, uint64_t len, bool unmap)
{
    return drop_range(file, off, len, true);
}

int qcow2_make_empty(const BlockFile *f)
{
    Qcow2 *s = f->file;
    uint64_t n = clusters_of(s, s->size);
    int ret = 0;

    g_mutex_lock(&s->lock);
    for (uint64_t c = 0; c < n && ret == 0;) {
        MetaTable *t;
        ret = qcow2_l2(s, c, false, &t);
        if (ret == 0 && !t) {
            c = ((c >> s->l2_bits) + 1) << s->l2_bits;
            continue;
        }
        uint64_t old = ret ? 0 : entry_of(s, t, c);
        if (old) {
            ret = qcow2_l2(s, c, true, &t);
            if (ret == 0) {
                set_entry(s, t, c, 0);
                ret = qcow2_free_entry(s, old);
            }
        }
        c++;
    }
    ret = ret ? ret : qcow2_settle(s);
    g_mutex_unlock(&s->lock);
    return ret;
}

/* ---- the rest ---- */

static int qcow2_extent(void *file, uint64_t off, uint64_t len, BlockExtent *e)
{
    Qcow2 *s = file;
    Run r;

    g_mutex_lock(&s->lock);
    int ret = lookup(s, off, len, &r);
    g_mutex_unlock(&s->lock);
    if (ret) {
        return ret;
    }
    if (r.kind == UNALLOCATED && s->has_backing && off < s->backing.size) {
        len = MIN(r.len, s->backing.size - off);
        *e = (BlockExtent){.len = len, .data = true, .present = true};
        if (s->backing.driver->extent) {
            ret = s->backing.driver->extent(s->backing.file, off, len, e);
        }
        e->depth++;
        return ret;
    }
    *e = (BlockExtent){.len = r.len,
                       .present = r.kind != UNALLOCATED,
                       .data = r.kind == NORMAL || r.kind == COMPRESSED,
                       .zero = r.kind == ZERO || r.kind == UNALLOCATED,
                       .compressed = r.kind == COMPRESSED};
    if (r.kind == NORMAL) {
        e->has_offset = true;
        e->offset = r.host;
        e->file = s->path;
    }
    return 0;
}

static int driver_make_empty(void *file)
{
    const BlockFile f = {.driver = &qcow2_driver, .file = file};
    return qcow2_make_empty(&f);
}

int qcow2_prealloc(Qcow2 *s)
{
    uint64_t n = clusters_of(s, s->size), first = 0, got = 0;
    int ret = 0;

    for (uint64_t c = 0; c < n && ret == 0; c += got) {
        MetaTable *t;
        uint64_t left = (((c >> s->l2_bits) + 1) << s->l2_bits) - c;
        ret = qcow2_l2(s, c, true, &t);
        ret = ret ? ret : qcow2_alloc(s, MIN(left, n - c), &first, &got);
        ret = ret ? ret : link_new(s, c, got, first << s->cluster_bits);
    }
    if (ret == 0 && n) {
        static const uint8_t zeros[512];
        ret = qcow2_pwrite(s, (s->n_clusters << s->cluster_bits) - 512, zeros, 512);
    }
    return ret;
}

const BlockDriver qcow2_driver = {
    .name = "qcow2",
    .read = qcow2_read,
    .write = qcow2_write,
    .flush = qcow2_flush,
    .discard = qcow2_discard,
    .close = qcow2_close,
    .extent = qcow2_extent,
    .write_zeroes = qcow2_write_zeroes,
    .resize = qcow2_resize,
    .set_writable = qcow2_set_writable,
    .path = qcow2_path,
    .backing = qcow2_backing,
    .set_backing = qcow2_attach_backing,
    .make_empty = driver_make_empty,
    .snapshots = &qcow2_snapshot_ops,
};
