/* qcow2: the snapshot table; snapshots are made, applied and deleted with the image at rest. */
#include "block/qcow2-internal.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>

static void snapshot_clear(Qcow2Snapshot *sn)
{
    g_free(sn->id);
    g_free(sn->name);
    g_free(sn->extra);
}

void qcow2_snapshots_free(Qcow2 *s)
{
    for (unsigned i = 0; i < s->n_snapshots; i++) {
        snapshot_clear(&s->snapshots[i]);
    }
    g_clear_pointer(&s->snapshots, g_free);
    s->n_snapshots = 0;
}

static bool wrong(Qcow2 *s, unsigned i, const char *what, GError **err)
{
    return fail(err, "image '%s': snapshot %u has a wrong %s", s->path, i + 1, what);
}

static char *text_at(Qcow2 *s, uint64_t at, unsigned len)
{
    char *p = g_malloc0(len + 1);
    qcow2_pread(s, at, p, len);
    return p;
}

/* One entry at @at, which moves on. */
static bool read_one(Qcow2 *s, unsigned i, uint64_t *at, GError **err)
{
    uint8_t h[40];
    Qcow2Snapshot *sn = &s->snapshots[i];

    if (qcow2_pread(s, *at, h, sizeof(h))) {
        return wrong(s, i, "table entry", err);
    }
    unsigned id_len = be16(h + 12), name_len = be16(h + 14);
    *sn = (Qcow2Snapshot){.l1_offset = be64(h),
                          .l1_size = be32(h + 8),
                          .date_sec = be32(h + 16),
                          .date_nsec = be32(h + 20),
                          .vm_clock = be64(h + 24),
                          .vm_size = be32(h + 32),
                          .extra_len = be32(h + 36),
                          .disk_size = s->size};
    if (sn->extra_len > 1024) {
        sn->extra_len = 0;
        return wrong(s, i, "length of extra data", err);
    }
    sn->extra = (uint8_t *)text_at(s, *at + 40, sn->extra_len);
    sn->id = text_at(s, *at + 40 + sn->extra_len, id_len);
    sn->name = text_at(s, *at + 40 + sn->extra_len + id_len, name_len);
    if (sn->extra_len >= 8) {
        sn->vm_size = be64(sn->extra);
    }
    if (sn->extra_len >= 16) {
        sn->disk_size = be64(sn->extra + 8);
    }
    *at += (40 + sn->extra_len + id_len + name_len + 7) & ~7ull;
    uint64_t first = sn->l1_offset >> s->cluster_bits, n = clusters_of(s, sn->l1_size * 8ull);
    if (sn->l1_size > MAX_L1_BYTES / 8 || (sn->l1_offset & (s->cluster_size - 1)) ||
        first > s->n_clusters || n > s->n_clusters - first || (n && !first)) {
        return wrong(s, i, "L1 table", err);
    }
    if (sn->disk_size > 1ull << 62) {
        return wrong(s, i, "disk size", err);
    }
    return true;
}

bool qcow2_snapshots_read(Qcow2 *s, uint32_t n, GError **err)
{
    uint64_t at = s->snapshots_offset;

    if (n == 0) {
        s->snapshots_offset = 0;
        return true;
    }
    if (n > MAX_SNAPSHOTS || (at & (s->cluster_size - 1)) || at == 0 ||
        at + n * 40ull > s->n_clusters << s->cluster_bits) {
        return fail(err, "image '%s': the snapshot table is wrong", s->path);
    }
    s->snapshots = g_new0(Qcow2Snapshot, n);
    for (uint32_t i = 0; i < n; i++) {
        s->n_snapshots = i + 1;
        if (at > s->n_clusters << s->cluster_bits) {
            return wrong(s, i, "table entry", err);
        }
        if (!read_one(s, i, &at, err)) {
            return false;
        }
        if (at - s->snapshots_offset > MAX_SNAPSHOT_TABLE) {
            return fail(err, "image '%s': the snapshot table is too large", s->path);
        }
    }
    s->snapshots_len = at - s->snapshots_offset;
    return true;
}

/* ---- writing the table ---- */

static GByteArray *serialise(const Qcow2Snapshot *sn, unsigned n)
{
    GByteArray *a = g_byte_array_new();
    for (unsigned i = 0; i < n; i++) {
        uint8_t h[40], extra[1024] = {0};
        static const uint8_t pad[8];
        uint32_t extra_len = MAX(sn[i].extra_len, 16);
        size_t id = strlen(sn[i].id), name = strlen(sn[i].name);

        if (sn[i].extra_len) {
            memcpy(extra, sn[i].extra, sn[i].extra_len);
        }
        put64(extra, sn[i].vm_size);
        put64(extra + 8, sn[i].disk_size);
        put64(h, sn[i].l1_offset);
        put32(h + 8, sn[i].l1_size);
        put16(h + 12, (uint16_t)id);
        put16(h + 14, (uint16_t)name);
        put32(h + 16, sn[i].date_sec);
        put32(h + 20, sn[i].date_nsec);
        put64(h + 24, sn[i].vm_clock);
        put32(h + 32, sn[i].vm_size > UINT32_MAX ? 0 : (uint32_t)sn[i].vm_size);
        put32(h + 36, extra_len);
        g_byte_array_append(a, h, sizeof(h));
        g_byte_array_append(a, extra, extra_len);
        g_byte_array_append(a, (const uint8_t *)sn[i].id, (guint)id);
        g_byte_array_append(a, (const uint8_t *)sn[i].name, (guint)name);
        g_byte_array_append(a, pad, (guint)(-a->len & 7u));
    }
    return a;
}

/* A new table in the file; the old one is free then. */
static int write_table(Qcow2 *s, const Qcow2Snapshot *sn, unsigned n)
{
    g_autoptr(GByteArray) a = serialise(sn, n);
    uint64_t old = s->snapshots_offset >> s->cluster_bits, first = 0;
    uint64_t n_old = s->n_snapshots ? clusters_of(s, s->snapshots_len) : 0;
    uint64_t m = clusters_of(s, a->len);
    uint8_t h[12];

    int ret = m ? qcow2_alloc_row(s, m, &first) : 0;
    ret = ret ? ret : qcow2_sync(s);
    if (ret == 0 && m) {
        ret = qcow2_pwrite(s, first << s->cluster_bits, a->data, a->len);
        ret = ret ? ret : qcow2_flush_file(s);
    }
    put32(h, n);
    put64(h + 4, first << s->cluster_bits);
    ret = ret ? ret : qcow2_pwrite(s, 60, h, sizeof(h));
    ret = ret ? ret : qcow2_flush_file(s);
    if (ret) {
        return ret;
    }
    for (uint64_t c = old; c < old + n_old && ret == 0; c++) {
        ret = qcow2_refcount_add(s, c, -1);
    }
    s->snapshots_offset = first << s->cluster_bits;
    s->snapshots_len = a->len;
    return ret;
}

/* ---- trees ---- */

static int count_entry(Qcow2 *s, uint64_t entry, int delta)
{
    uint64_t off = entry & ENTRY_OFFSET, len = 1;
    int ret = 0;

    if (entry & ENTRY_COMPRESSED) {
        packed_place(s, entry, &off, &len);
    } else if (!off) {
        return 0;
    }
    uint64_t a = off >> s->cluster_bits, b = (off + len - 1) >> s->cluster_bits;
    if (b >= s->n_clusters) {
        return -EIO;
    }
    for (uint64_t c = a; c <= b && ret == 0; c++) {
        ret = qcow2_refcount_add(s, c, delta);
    }
    return ret;
}

/* Adds @delta to the refcounts of all that @l1 reaches; @steps: how many were counted, or (when
 * going down after a failure) are to be. */
static int count_tree(Qcow2 *s, const uint64_t *l1, uint32_t n, int delta, uint64_t *steps)
{
    g_autofree uint8_t *table = g_malloc(s->cluster_size);
    uint64_t max = delta < 0 ? *steps : UINT64_MAX, did = 0;
    int ret = 0;

    for (uint32_t i = 0; i < n && ret == 0; i++) {
        uint64_t off = l1[i] & ENTRY_OFFSET;
        MetaTable *t;
        if (!off) {
            continue;
        }
        ret = qcow2_check_offset(s, off);
        ret = ret ? ret : qcow2_table(s, &s->l2, off, true, &t);
        if (ret) {
            break;
        }
        memcpy(table, t->data, s->cluster_size);
        for (uint64_t k = 0; k < s->cluster_size && ret == 0 && did < max; k += 8) {
            ret = count_entry(s, be64(table + k), delta);
            did += ret == 0;
        }
        if (ret == 0 && did < max) {
            ret = qcow2_refcount_add(s, off >> s->cluster_bits, delta);
            did += ret == 0;
        }
    }
    *steps = did;
    return ret;
}

int qcow2_fix_copied(Qcow2 *s, bool clear)
{
    int ret = 0;

    for (uint32_t i = 0; i < s->l1_size && ret == 0; i++) {
        uint64_t off = s->l1[i] & ENTRY_OFFSET, count;
        MetaTable *t;
        if (!off || qcow2_check_offset(s, off)) {
            continue;
        }
        ret = qcow2_refcount(s, off >> s->cluster_bits, &count);
        uint64_t new = off | (ret == 0 && count == 1 && !clear ? ENTRY_COPIED : 0);
        if (new != s->l1[i]) {
            bool clean = s->l1_lo >= s->l1_hi;
            s->l1[i] = new;
            s->l1_lo = clean ? i : MIN(s->l1_lo, i);
            s->l1_hi = clean ? i + 1 : MAX(s->l1_hi, i + 1);
        }
        for (uint32_t k = 0; k < s->cluster_size && ret == 0; k += 8) {
            ret = qcow2_table(s, &s->l2, off, true, &t);
            uint64_t e = ret ? 0 : be64(t->data + k), host = e & ENTRY_OFFSET;
            if ((e & ENTRY_COMPRESSED) || (!host && !(e & ENTRY_COPIED))) {
                continue;
            }
            count = 0;
            if (!clear && host && qcow2_check_offset(s, host) == 0) {
                ret = qcow2_refcount(s, host >> s->cluster_bits, &count);
            }
            new = count == 1 ? e | ENTRY_COPIED : e & ~ENTRY_COPIED;
            if (ret == 0 && new != e) {
                put64(t->data + k, new);
                qcow2_mark(t, k, 8);
            }
        }
    }
    return ret;
}

static int find(const Qcow2 *s, const char *name)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < s->n_snapshots; i++) {
            if (!strcmp(pass ? s->snapshots[i].name : s->snapshots[i].id, name)) {
                return (int)i;
            }
        }
    }
    return -1;
}

static int read_l1(Qcow2 *s, const Qcow2Snapshot *sn, uint64_t *l1)
{
    int ret = qcow2_pread(s, sn->l1_offset, l1, sn->l1_size * 8ull);
    for (uint32_t i = 0; i < sn->l1_size && ret == 0; i++) {
        l1[i] = GUINT64_FROM_BE(l1[i]) & ~ENTRY_COPIED;
    }
    return ret;
}

/* ---- what users ask for ---- */

static bool result(Qcow2 *s, int ret, GError **err)
{
    if (ret == -EOVERFLOW) {
        return fail(err, "image '%s': its refcounts are too narrow for another snapshot", s->path);
    }
    return ret == 0 || fail(err, "image '%s': %s", s->path, g_strerror(-ret));
}

static void fill(Qcow2 *s, Qcow2Snapshot *sn, const BlockSnapshot *what)
{
    unsigned long id = 0;
    for (unsigned i = 0; i < s->n_snapshots; i++) {
        id = MAX(id, strtoul(s->snapshots[i].id, NULL, 10));
    }
    int64_t now = g_get_real_time();
    *sn = (Qcow2Snapshot){.id = g_strdup_printf("%lu", id + 1),
                          .name = g_strdup(what->name),
                          .vm_clock = what->vm_clock,
                          .vm_size = what->vm_size,
                          .date_sec = (uint32_t)(now / 1000000),
                          .date_nsec = (uint32_t)(now % 1000000) * 1000,
                          .l1_size = s->l1_size,
                          .disk_size = s->size};
}

static int create(Qcow2 *s, Qcow2Snapshot *sn)
{
    uint64_t n = clusters_of(s, s->l1_size * 8ull), first = 0, steps;
    g_autofree uint64_t *buf = g_new0(uint64_t, s->l1_size + 1);

    int ret = qcow2_settle(s);
    ret = ret ? ret : qcow2_fix_copied(s, true);
    ret = ret ? ret : qcow2_sync(s);
    if (ret) {
        return ret;
    }
    ret = count_tree(s, s->l1, s->l1_size, 1, &steps);
    if (ret) {
        count_tree(s, s->l1, s->l1_size, -1, &steps);
        qcow2_fix_copied(s, false);
        return ret;
    }
    ret = n ? qcow2_alloc_row(s, n, &first) : 0;
    for (uint32_t i = 0; i < s->l1_size; i++) {
        buf[i] = GUINT64_TO_BE(s->l1[i]);
    }
    ret = ret ? ret : qcow2_sync(s);
    ret = ret ? ret : qcow2_pwrite(s, first << s->cluster_bits, buf, s->l1_size * 8ull);
    sn->l1_offset = first << s->cluster_bits;
    return ret;
}

/* ---- the machine's state: clusters from the first L1 entry on that the disk does not need ---- */

static uint32_t vm_first(const Qcow2 *s, uint64_t disk_size)
{
    return (uint32_t)((clusters_of(s, disk_size) + (1ull << s->l2_bits) - 1) >> s->l2_bits);
}

/* Lock held. The active tables lose it. */
static int vm_drop(Qcow2 *s)
{
    uint32_t first = vm_first(s, s->size), n = s->l1_size > first ? s->l1_size - first : 0;
    g_autofree uint64_t *vm = g_new0(uint64_t, n + 1);
    uint64_t steps = UINT64_MAX, count, any = 0;

    int ret = qcow2_settle(s);
    for (uint32_t i = 0; i < n; i++) {
        vm[i] = s->l1[first + i] & ENTRY_OFFSET;
        any |= vm[i];
        s->l1[first + i] = 0;
    }
    if (ret || !any) {
        return ret;
    }
    s->l1_lo = first;
    s->l1_hi = first + n;
    ret = qcow2_sync(s);
    ret = ret ? ret : count_tree(s, vm, n, -1, &steps);
    for (uint32_t i = 0; i < n && ret == 0; i++) {
        ret = vm[i] ? qcow2_refcount(s, vm[i] >> s->cluster_bits, &count) : 0;
        if (vm[i] && ret == 0 && count == 0) {
            qcow2_table_drop(&s->l2, vm[i]);
        }
    }
    ret = ret ? ret : qcow2_settle(s);
    return ret ? ret : qcow2_find_meta(s, false, NULL) ? 0 : -EIO;
}

static int snapshot_vm_drop(void *file)
{
    Qcow2 *s = file;

    g_mutex_lock(&s->lock);
    int ret = s->writable ? vm_drop(s) : 0;
    g_mutex_unlock(&s->lock);
    return ret;
}

static int snapshot_vm_write(void *file, uint64_t off, const void *buf, size_t len)
{
    Qcow2 *s = file;
    uint64_t base = (uint64_t)vm_first(s, s->size) << s->l2_bits << s->cluster_bits;
    uint64_t end = off + len, span = (uint64_t)1 << s->l2_bits << s->cluster_bits;
    size_t whole = len & ~(size_t)(s->cluster_size - 1);
    struct iovec iov = {(void *)buf, whole};

    g_mutex_lock(&s->lock);
    int ret = s->writable ? 0 : -EROFS;
    if (ret == 0 && base + end > s->l1_size * span) {
        /* Room ahead: each time the whole table is written. */
        ret = qcow2_l1_grow(s, base + end + end / 2 + (1u << 20));
    }
    g_mutex_unlock(&s->lock);
    if (ret == 0 && whole) {
        ret = qcow2_driver.write(s, base + off, &iov, 1);
    }
    if (ret == 0 && whole < len) {
        g_autofree uint8_t *last = g_malloc0(s->cluster_size);
        iov = (struct iovec){last, s->cluster_size};
        memcpy(last, (const uint8_t *)buf + whole, len - whole);
        ret = qcow2_driver.write(s, base + off + whole, &iov, 1);
    }
    return ret;
}

/* Lock held. Where the snapshot has cluster @c of the image; 0: it reads as zeros. */
static int vm_cluster(Qcow2 *s, const uint64_t *l1, uint32_t n, uint64_t c, uint64_t *host)
{
    uint64_t i = c >> s->l2_bits, off = i < n ? l1[i] & ENTRY_OFFSET : 0;
    MetaTable *t;

    *host = 0;
    if (!off) {
        return 0;
    }
    int ret = qcow2_check_offset(s, off);
    ret = ret ? ret : qcow2_table(s, &s->l2, off, true, &t);
    if (ret) {
        return ret;
    }
    uint64_t e = be64(t->data + (c & ((1ull << s->l2_bits) - 1)) * 8);
    if (e & (ENTRY_COMPRESSED | L2_RESERVED)) {
        return -EIO;
    }
    *host = e & ENTRY_ZERO ? 0 : e & ENTRY_OFFSET;
    return *host ? qcow2_check_offset(s, *host) : 0;
}

static int snapshot_vm_read(void *file, const char *id, uint64_t off, void *buf, size_t len)
{
    Qcow2 *s = file;
    int i = find(s, id), ret = i < 0 ? -ENOENT : 0;
    const Qcow2Snapshot *sn = &s->snapshots[MAX(i, 0)];
    uint8_t *p = buf;

    if (ret || off > sn->vm_size || len > sn->vm_size - off) {
        return ret ? ret : -EINVAL;
    }
    g_autofree uint64_t *l1 = g_new0(uint64_t, sn->l1_size + 1);
    g_mutex_lock(&s->lock);
    ret = read_l1(s, sn, l1);
    uint64_t at = ((uint64_t)vm_first(s, sn->disk_size) << s->l2_bits << s->cluster_bits) + off;
    while (len && ret == 0) {
        uint64_t in = at & (s->cluster_size - 1), n = MIN(len, s->cluster_size - in), host;
        ret = vm_cluster(s, l1, sn->l1_size, at >> s->cluster_bits, &host);
        if (ret == 0 && host) {
            ret = qcow2_pread(s, host + in, p, n);
        } else {
            memset(p, 0, n);
        }
        at += n;
        p += n;
        len -= n;
    }
    g_mutex_unlock(&s->lock);
    return ret;
}

static bool snapshot_create(const BlockFile *f, const BlockSnapshot *what, GError **err)
{
    Qcow2 *s = f->file;

    if (!s->writable || s->n_snapshots >= MAX_SNAPSHOTS || strlen(what->name) > 1023) {
        return fail(err, "image '%s': no snapshot can be made%s", s->path,
                    s->writable ? "" : " while it is read-only");
    }
    s->snapshots = g_renew(Qcow2Snapshot, s->snapshots, s->n_snapshots + 1);
    Qcow2Snapshot *sn = &s->snapshots[s->n_snapshots];
    fill(s, sn, what);
    g_mutex_lock(&s->lock);
    int ret = create(s, sn);
    ret = ret ? ret : write_table(s, s->snapshots, s->n_snapshots + 1);
    if (ret == 0) {
        s->n_snapshots++;
        ret = qcow2_find_meta(s, false, NULL) ? qcow2_settle(s) : -EIO;
        ret = ret ? ret : vm_drop(s);
    } else {
        snapshot_clear(sn);
    }
    g_mutex_unlock(&s->lock);
    return result(s, ret, err);
}

bool qcow2_snapshot_create(const BlockFile *f, const char *name, GError **err)
{
    return snapshot_create(f, &(BlockSnapshot){.name = name}, err);
}

static int apply(Qcow2 *s, const Qcow2Snapshot *sn)
{
    uint64_t steps, need = (clusters_of(s, sn->disk_size) + (1ull << s->l2_bits) - 1) >> s->l2_bits;
    uint32_t n = (uint32_t)MAX(need, sn->l1_size), n_old = s->l1_size;

    if (need > MAX_L1_BYTES / 8) {
        return -EFBIG;
    }
    g_autofree uint64_t *l1 = g_new0(uint64_t, n + 1);
    int ret = qcow2_settle(s);
    ret = ret ? ret : read_l1(s, sn, l1);
    if (ret) {
        return ret;
    }
    g_autofree uint64_t *old = g_memdup2(s->l1, (n_old + 1) * 8ull);
    ret = count_tree(s, l1, n, 1, &steps);
    if (ret) {
        count_tree(s, l1, n, -1, &steps);
        return ret;
    }
    ret = qcow2_l1_replace(s, l1, n, sn->disk_size);
    if (ret == 0) {
        s->size = sn->disk_size;
        steps = UINT64_MAX;
        ret = count_tree(s, old, n_old, -1, &steps);
    }
    ret = ret ? ret : qcow2_fix_copied(s, false);
    ret = ret ? ret : qcow2_settle(s);
    ret = ret ? ret : qcow2_find_meta(s, false, NULL) ? 0 : -EIO;
    return ret ? ret : vm_drop(s);
}

bool qcow2_snapshot_apply(BlockFile *f, const char *name, GError **err)
{
    Qcow2 *s = f->file;
    int i = find(s, name);

    if (i < 0 || !s->writable) {
        return fail(err, "image '%s' %s '%s'", s->path,
                    i < 0 ? "has no snapshot" : "is read-only and cannot go back to", name);
    }
    g_mutex_lock(&s->lock);
    int ret = apply(s, &s->snapshots[i]);
    g_mutex_unlock(&s->lock);
    f->size = s->size;
    return result(s, ret, err);
}

bool qcow2_snapshot_delete(const BlockFile *f, const char *name, GError **err)
{
    Qcow2 *s = f->file;
    int i = find(s, name);
    uint64_t steps = UINT64_MAX;

    if (i < 0 || !s->writable) {
        return fail(err, "image '%s' %s '%s'", s->path,
                    i < 0 ? "has no snapshot" : "is read-only and keeps", name);
    }
    Qcow2Snapshot sn = s->snapshots[i];
    g_autofree uint64_t *l1 = g_new0(uint64_t, sn.l1_size + 1);
    g_autofree Qcow2Snapshot *rest = g_new0(Qcow2Snapshot, s->n_snapshots);
    unsigned n = 0;
    for (unsigned k = 0; k < s->n_snapshots; k++) {
        if (k != (unsigned)i) {
            rest[n++] = s->snapshots[k];
        }
    }
    g_mutex_lock(&s->lock);
    int ret = qcow2_settle(s);
    ret = ret ? ret : read_l1(s, &sn, l1);
    ret = ret ? ret : write_table(s, rest, n);
    if (ret == 0) {
        memcpy(s->snapshots, rest, n * sizeof(*rest));
        s->n_snapshots = n;
        ret = count_tree(s, l1, sn.l1_size, -1, &steps);
        uint64_t c = sn.l1_offset >> s->cluster_bits, end = c + clusters_of(s, sn.l1_size * 8ull);
        for (; c < end && ret == 0; c++) {
            ret = qcow2_refcount_add(s, c, -1);
        }
        ret = ret ? ret : qcow2_fix_copied(s, false);
        ret = ret ? ret : qcow2_settle(s);
        ret = ret ? ret : qcow2_find_meta(s, false, NULL) ? 0 : -EIO;
        snapshot_clear(&sn);
    }
    g_mutex_unlock(&s->lock);
    return result(s, ret, err);
}

/* ---- for the block layer ---- */

static bool snapshot_get(void *file, unsigned i, BlockSnapshot *out)
{
    const Qcow2 *s = file;

    if (i >= s->n_snapshots) {
        return false;
    }
    const Qcow2Snapshot *sn = &s->snapshots[i];
    *out = (BlockSnapshot){.id = sn->id,
                           .name = sn->name,
                           .date_sec = sn->date_sec,
                           .date_nsec = sn->date_nsec,
                           .vm_clock = sn->vm_clock,
                           .vm_size = sn->vm_size};
    return true;
}

const BlockSnapshotOps qcow2_snapshot_ops = {
    .get = snapshot_get,
    .create = snapshot_create,
    .apply = qcow2_snapshot_apply,
    .remove = qcow2_snapshot_delete,
    .vm_write = snapshot_vm_write,
    .vm_drop = snapshot_vm_drop,
    .vm_read = snapshot_vm_read,
};
