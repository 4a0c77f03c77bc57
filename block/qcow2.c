/*
 * qcow2: header, opening, creating, sizes.
 * After the format's specification, docs/interop/qcow2.txt of the QEMU project.
 */
#include "block/qcow2.h"
#include "block/qcow2-internal.h"
#include "config.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>

#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_FEATURE_NAMES 0x6803f857u
#define EXT_BITMAPS 0x23852875u
#define L2_CACHE (4u << 20) /* bytes */
#define RB_CACHE (1u << 20)
#define MAX_DISK (1ull << 62)
#define HEADER_V3 112

bool qcow2_is(const BlockFile *f)
{
    return f->driver == &qcow2_driver;
}

static bool bad(Qcow2 *s, GError **err, const char *what)
{
    return fail(err, "image '%s': %s", s->path, what);
}

/* ---- header ---- */

/* The name of an unknown feature, from the image itself or from the specification. */
static char *feature_name(const uint8_t *table, size_t len, unsigned bit)
{
    static const char *const known[] = {"dirty", "corrupt", "external data file",
                                        "compression type", "extended L2 entries"};
    for (size_t i = 0; i + 48 <= len; i += 48) {
        if (table[i] == 0 && table[i + 1] == bit && table[i + 2]) {
            char *name = g_strndup((const char *)table + i + 2, 46);
            for (char *p = name; *p; p++) {
                *p = g_ascii_isprint(*p) ? *p : '?';
            }
            return name;
        }
    }
    return bit < G_N_ELEMENTS(known) ? g_strdup(known[bit]) : g_strdup_printf("bit %u", bit);
}

/* Looks through the extensions in the first cluster @h, which end at @end. */
static bool extensions(Qcow2 *s, const uint8_t *h, size_t end, const uint8_t **names,
                       size_t *names_len, GError **err)
{
    size_t at = s->header_length;

    while (at + 8 <= end) {
        uint32_t type = be32(h + at), len = be32(h + at + 4);
        at += 8;
        if (type == 0) {
            break;
        }
        if (len > end - at) {
            return bad(s, err, "a header extension is longer than the header");
        }
        if (type == EXT_BACKING_FORMAT && !s->backing_format && len < 64) {
            s->backing_format = g_strndup((const char *)h + at, len);
        } else if (type == EXT_FEATURE_NAMES) {
            *names = h + at;
            *names_len = len;
        } else if (type == EXT_BITMAPS) {
            s->has_bitmaps = true;
        }
        at += MIN(((size_t)len + 7) & ~(size_t)7, end - at);
    }
    return true;
}

static bool features(Qcow2 *s, const uint8_t *h, const uint8_t *names, size_t names_len,
                     GError **err)
{
    uint64_t known = INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_COMPRESSION;
    uint64_t unknown = s->incompatible & ~known;

    if (unknown) {
        unsigned bit = (unsigned)__builtin_ctzll(unknown);
        g_autofree char *name = feature_name(names, names_len, bit);
        return fail(err, "image '%s' uses the feature '%s', which is not supported", s->path, name);
    }
    uint8_t type = s->header_length > 104 ? h[104] : 0;
    if (type > 1) {
        return fail(err, "image '%s': compression type %u is not supported", s->path, type);
    }
    if ((type != 0) != !!(s->incompatible & INCOMPAT_COMPRESSION)) {
        return bad(s, err, "compression type and its feature bit disagree");
    }
#ifndef HAVE_ZSTD
    if (type == 1) {
        return bad(s, err, "compression by zstd is not built in");
    }
#endif
    s->zstd = type == 1;
    return true;
}

static bool table_place(Qcow2 *s, uint64_t off, uint64_t len, GError **err, const char *what)
{
    if (off & (s->cluster_size - 1)) {
        return fail(err, "image '%s': the %s is not at a cluster's start", s->path, what);
    }
    if ((len && !off) || off >> s->cluster_bits > s->n_clusters ||
        clusters_of(s, len) > s->n_clusters - (off >> s->cluster_bits)) {
        return fail(err, "image '%s': the %s is not within the file", s->path, what);
    }
    return true;
}

static bool backing_name(Qcow2 *s, const uint8_t *h, uint64_t off, uint32_t len, GError **err)
{
    if (off == 0) {
        return true;
    }
    if (len > 1023 || off > s->cluster_size || len > s->cluster_size - off ||
        off < s->header_length) {
        return bad(s, err, "the backing file's name is not within the first cluster");
    }
    if (len && memchr(h + off, 0, len)) {
        return bad(s, err, "the backing file's name has a zero byte");
    }
    s->backing_name = len ? g_strndup((const char *)h + off, len) : NULL;
    return true;
}

static bool read_tables(Qcow2 *s, const uint8_t *h, GError **err)
{
    s->l1_size = be32(h + 36);
    s->l1_offset = be64(h + 40);
    s->reftable_offset = be64(h + 48);
    s->reftable_clusters = be32(h + 56);
    s->size = be64(h + 24);
    if (s->size > MAX_DISK) {
        return bad(s, err, "the disk is too large");
    }
    s->size = (s->size + 511) & ~511ull;
    if (s->l1_size > MAX_L1_BYTES / 8) {
        return bad(s, err, "the L1 table is too large");
    }
    uint64_t need = (clusters_of(s, s->size) + (1ull << s->l2_bits) - 1) >> s->l2_bits;
    if (need > s->l1_size) {
        return bad(s, err, "the L1 table is too small for the disk");
    }
    uint64_t ref_len = (uint64_t)s->reftable_clusters << s->cluster_bits;
    if (ref_len > MAX_REFTABLE_BYTES || ref_len == 0) {
        return bad(s, err, ref_len ? "the refcount table is too large" : "no refcount table");
    }
    if (!table_place(s, s->l1_offset, s->l1_size * 8ull, err, "L1 table") ||
        !table_place(s, s->reftable_offset, ref_len, err, "refcount table")) {
        return false;
    }
    s->reftable_len = (uint32_t)(ref_len / 8);
    s->l1 = g_new0(uint64_t, s->l1_size + 1);
    s->reftable = g_new0(uint64_t, s->reftable_len);
    if (qcow2_pread(s, s->l1_offset, s->l1, s->l1_size * 8ull) ||
        qcow2_pread(s, s->reftable_offset, s->reftable, ref_len)) {
        return bad(s, err, "the tables cannot be read");
    }
    for (uint32_t i = 0; i < s->l1_size; i++) {
        s->l1[i] = GUINT64_FROM_BE(s->l1[i]);
    }
    for (uint32_t i = 0; i < s->reftable_len; i++) {
        s->reftable[i] = GUINT64_FROM_BE(s->reftable[i]);
    }
    return true;
}

static bool read_header(Qcow2 *s, GError **err)
{
    uint8_t head[HEADER_V3] = {0};
    const uint8_t *names = NULL;
    size_t names_len = 0;

    if (s->file.size < 72 || qcow2_pread(s, 0, head, MIN(sizeof(head), s->file.size))) {
        return bad(s, err, "the file is too short for a qcow2 header");
    }
    if (memcmp(head, "QFI\xfb", 4)) {
        return bad(s, err, "this is not a qcow2 image");
    }
    s->version = be32(head + 4);
    if (s->version != 2 && s->version != 3) {
        return fail(err, "image '%s': qcow version %u is not supported", s->path, s->version);
    }
    s->cluster_bits = be32(head + 20);
    if (s->cluster_bits < 9 || s->cluster_bits > 21) {
        return fail(err, "image '%s': cluster_bits %u is not 9 to 21", s->path, s->cluster_bits);
    }
    if (be32(head + 32)) {
        return bad(s, err, "encryption is not supported");
    }
    s->cluster_size = 1ull << s->cluster_bits;
    s->l2_bits = s->cluster_bits - 3;
    s->n_clusters = clusters_of(s, s->file.size);
    s->header_length = 72;
    s->refcount_order = 4;
    if (s->version >= 3) {
        s->incompatible = be64(head + 72);
        s->compatible = be64(head + 80);
        s->refcount_order = be32(head + 96);
        s->header_length = be32(head + 100);
        if (s->header_length < 104 || s->header_length % 8 || s->header_length > s->cluster_size) {
            return fail(err, "image '%s': header length %u is wrong", s->path, s->header_length);
        }
        if (s->refcount_order > 6) {
            return fail(err, "image '%s': refcount_order %u is not 0 to 6", s->path,
                        s->refcount_order);
        }
    }
    s->rb_bits = s->cluster_bits + 3 - s->refcount_order;
    g_autofree uint8_t *h = g_malloc0(s->cluster_size);
    if (qcow2_pread(s, 0, h, MIN(s->cluster_size, s->file.size))) {
        return bad(s, err, "the header cannot be read");
    }
    uint64_t name_at = be64(h + 8);
    return extensions(s, h, name_at && name_at < s->cluster_size ? name_at : s->cluster_size,
                      &names, &names_len, err) &&
           features(s, h, names, names_len, err) &&
           backing_name(s, h, name_at, be32(h + 16), err) && read_tables(s, h, err);
}

/* ---- where tables are ---- */

static bool add_meta(Qcow2 *s, uint64_t off, uint64_t len, bool repair, const char *what,
                     GError **err)
{
    uint64_t first = off >> s->cluster_bits, n = clusters_of(s, len);

    if (!repair && !table_place(s, off, len, err, what) && off) {
        return false;
    }
    for (uint64_t c = first; c < first + n && c < s->n_clusters; c++) {
        if (!repair && qcow2_meta(s, c)) {
            return fail(err, "image '%s': %s overlaps another table; rhea-img check tells more",
                        s->path, what);
        }
        if (!qcow2_set_meta(s, c, true)) {
            return bad(s, err, "the file is too large to write to");
        }
    }
    return true;
}

bool qcow2_find_meta(Qcow2 *s, bool repair, GError **err)
{
    g_clear_pointer(&s->meta, g_free);
    s->meta_len = 0;
    uint64_t cs = s->cluster_size;
    bool ok =
        add_meta(s, 0, 1, true, "header", err) &&
        add_meta(s, s->l1_offset, s->l1_size * 8ull, repair, "L1 table", err) &&
        add_meta(s, s->reftable_offset, s->reftable_clusters * cs, repair, "refcount table", err) &&
        add_meta(s, s->snapshots_offset, s->snapshots_len, repair, "snapshot table", err);
    for (uint32_t i = 0; i < s->reftable_len && ok; i++) {
        ok = !s->reftable[i] || add_meta(s, s->reftable[i], cs, repair, "refcount block", err);
    }
    for (uint32_t i = 0; i < s->l1_size && ok; i++) {
        ok = !(s->l1[i] & ENTRY_OFFSET) ||
             add_meta(s, s->l1[i] & ENTRY_OFFSET, cs, repair, "L2 table", err);
    }
    for (unsigned i = 0; i < s->n_snapshots && ok; i++) {
        ok = add_meta(s, s->snapshots[i].l1_offset, s->snapshots[i].l1_size * 8ull, repair,
                      "L1 table of a snapshot", err);
    }
    return ok;
}

/* ---- life ---- */

static void free_image(Qcow2 *s)
{
    qcow2_cache_clear(&s->l2);
    qcow2_cache_clear(&s->rb);
    qcow2_snapshots_free(s);
    if (s->has_backing) {
        s->backing.driver->close(s->backing.file);
    }
    g_array_free(s->pending, TRUE);
    g_array_free(s->quarantine, TRUE);
    g_mutex_clear(&s->lock);
    g_cond_clear(&s->cond);
    g_free(s->meta);
    g_free(s->l1);
    g_free(s->reftable);
    g_free(s->path);
    g_free(s->backing_name);
    g_free(s->backing_format);
    g_free(s);
}

static int finish(Qcow2 *s)
{
    g_mutex_lock(&s->lock);
    int ret = s->writable ? qcow2_settle(s) : 0;
    g_mutex_unlock(&s->lock);
    return ret;
}

void qcow2_close(void *file)
{
    Qcow2 *s = file;

    bool told = s->error;
    if (finish(s) && !told) {
        warn_report("image '%s': the last tables could not be written", s->path);
    }
    s->file.driver->close(s->file.file);
    free_image(s);
}

/* What must be so before anything is written. */
static bool open_for_writing(Qcow2 *s, BlockFile *out, unsigned flags, GError **err)
{
    static const uint8_t zeros[8];
    bool repair = flags & IMAGE_REPAIR;
    uint8_t clear[8];

    if ((s->incompatible & INCOMPAT_CORRUPT) && !repair) {
        return bad(s, err,
                   "it is marked as damaged; rhea-img check -r all may repair it, and "
                   "readonly=on opens it");
    }
    s->writable = true;
    if (!qcow2_find_meta(s, repair || (s->incompatible & INCOMPAT_DIRTY), err)) {
        return false;
    }
    if (s->version >= 3 && qcow2_pread(s, 88, clear, 8) == 0 && be64(clear) &&
        qcow2_pwrite(s, 88, zeros, 8)) {
        return bad(s, err, "the header cannot be written");
    }
    if ((s->incompatible & INCOMPAT_DIRTY) && !repair) {
        Qcow2Check res;
        int ret = qcow2_check(out, QCOW2_FIX_LEAKS | QCOW2_FIX_ERRORS, &res, NULL, NULL);
        if (ret || res.corruptions || res.check_errors) {
            return bad(s, err,
                       "it was not closed in order, and its refcounts cannot be repaired; "
                       "readonly=on opens it");
        }
        return qcow2_find_meta(s, false, err);
    }
    return true;
}

static bool open_backing(Qcow2 *s, unsigned flags, GSList *chain, GError **err)
{
    if (!s->backing_name || (flags & IMAGE_NO_BACKING)) {
        return true;
    }
    g_autofree char *path = image_backing_path(s->path, s->backing_name, err);
    if (flags & IMAGE_BACKING_UNLOCKED) {
        flags |= IMAGE_UNLOCKED;
    }
    s->has_backing = path && image_open_chain(&s->backing, path, s->backing_format,
                                              flags & IMAGE_INHERIT, chain, err);
    if (!s->has_backing) {
        g_prefix_error(err, "backing file of '%s': ", s->path);
    }
    return s->has_backing;
}

bool qcow2_open(BlockFile *out, const BlockFile *file, const char *path, unsigned flags,
                GSList *chain, GError **err)
{
    Qcow2 *s = g_new0(Qcow2, 1);

    s->file = *file;
    s->path = g_strdup(path);
    g_mutex_init(&s->lock);
    g_cond_init(&s->cond);
    s->pending = g_array_new(FALSE, FALSE, sizeof(Freed));
    s->quarantine = g_array_new(FALSE, FALSE, sizeof(Freed));
    BlockFile f = {.driver = &qcow2_driver, .file = s};
    uint8_t counts[12] = {0};
    bool ok = read_header(s, err);
    if (ok) {
        qcow2_cache_init(&s->l2, (unsigned)CLAMP(L2_CACHE >> s->cluster_bits, 4, 8192));
        qcow2_cache_init(&s->rb, (unsigned)CLAMP(RB_CACHE >> s->cluster_bits, 4, 2048));
        qcow2_pread(s, 60, counts, sizeof(counts));
        s->snapshots_offset = be64(counts + 4);
        ok = qcow2_snapshots_read(s, be32(counts), err) &&
             (!(flags & IMAGE_WRITE) || open_for_writing(s, &f, flags, err)) &&
             open_backing(s, flags, chain, err);
    }
    if (!ok) {
        if (s->l2.map && s->writable) {
            finish(s);
        }
        free_image(s);
        return false;
    }
    f.size = s->size;
    *out = f;
    return true;
}

/* ---- what block/dev-admin.c does while nothing is in flight ---- */

bool qcow2_set_writable(void *file, bool on, GError **err)
{
    Qcow2 *s = file;
    const BlockDriver *d = s->file.driver;
    BlockFile self = {.driver = &qcow2_driver, .file = s, .size = s->size};

    if (on == s->writable) {
        return true;
    }
    if (on) {
        if (!d->set_writable || !d->set_writable(s->file.file, true, err)) {
            return d->set_writable || bad(s, err, "it cannot be written to");
        }
        if (open_for_writing(s, &self, 0, err)) {
            return true;
        }
        s->writable = false;
        d->set_writable(s->file.file, false, NULL);
        return false;
    }
    int ret = finish(s);
    if (ret) {
        return fail(err, "image '%s': %s", s->path, g_strerror(-ret));
    }
    s->writable = false;
    return !d->set_writable || d->set_writable(s->file.file, false, err);
}

const char *qcow2_path(void *file)
{
    return ((Qcow2 *)file)->path;
}

BlockFile *qcow2_backing(void *file)
{
    Qcow2 *s = file;
    return s->has_backing ? &s->backing : NULL;
}

void qcow2_attach_backing(void *file, const BlockFile *backing)
{
    Qcow2 *s = file;
    s->backing = *backing;
    s->has_backing = true;
}

void qcow2_info(const BlockFile *f, Qcow2Info *info)
{
    Qcow2 *s = f->file;

    *info = (Qcow2Info){.version = s->version,
                        .refcount_bits = 1u << s->refcount_order,
                        .cluster_size = s->cluster_size,
                        .virtual_size = s->size,
                        .lazy_refcounts = s->compatible & COMPAT_LAZY,
                        .dirty = s->incompatible & INCOMPAT_DIRTY,
                        .corrupt = s->incompatible & INCOMPAT_CORRUPT,
                        .zstd = s->zstd,
                        .backing = s->backing_name,
                        .backing_format = s->backing_format,
                        .snapshots = s->snapshots,
                        .n_snapshots = s->n_snapshots};
}

/* ---- creating ---- */

/* The end of extensions and the backing file's name behind @at in the first cluster. */
static bool put_backing(uint8_t *h, uint64_t cs, size_t at, const char *name, const char *format)
{
    size_t n = name ? strlen(name) : 0, f = name && format ? strlen(format) : 0;

    if (n > 1023 || f > 63 || at + 16 + ((f + 7) & ~(size_t)7) + n + 8 > cs) {
        return false;
    }
    if (f) {
        put32(h + at, EXT_BACKING_FORMAT);
        put32(h + at + 4, (uint32_t)f);
        memcpy(h + at + 8, format, f);
        at += 8 + ((f + 7) & ~(size_t)7);
    }
    at += 8; /* the end: type 0, length 0 */
    put64(h + 8, n ? at : 0);
    put32(h + 16, (uint32_t)n);
    if (n) {
        memcpy(h + at, name, n);
    }
    return true;
}

/* An image without a disk: header, refcount table, one refcount block. */
static bool write_empty(const BlockFile *file, const char *path, const Qcow2Create *o, GError **err)
{
    uint64_t cs = 1ull << o->cluster_bits;
    g_autofree uint8_t *h = g_malloc0(3 * cs);

    memcpy(h, "QFI\xfb", 4);
    put32(h + 4, o->version);
    put32(h + 20, o->cluster_bits);
    put64(h + 40, 0);
    put64(h + 48, cs);
    put32(h + 56, 1);
    size_t len = 72;
    if (o->version >= 3) {
        put64(h + 72, o->zstd ? INCOMPAT_COMPRESSION : 0);
        put64(h + 80, o->lazy_refcounts ? COMPAT_LAZY : 0);
        put32(h + 96, o->refcount_order);
        put32(h + 100, HEADER_V3);
        h[104] = o->zstd;
        len = HEADER_V3;
    }
    if (!put_backing(h, cs, len, o->backing, o->backing_format)) {
        return fail(err, "image '%s': the backing file's name does not fit into the header", path);
    }
    put64(h + cs, 2 * cs);
    for (unsigned i = 0; i < 3; i++) {
        refcount_set_in(o->refcount_order, h + 2 * cs, i, 1);
    }
    struct iovec iov = {h, 3 * cs};
    int ret = file->driver->write(file->file, 0, &iov, 1);
    return ret == 0 || fail(err, "image '%s': %s", path, g_strerror(-ret));
}

bool qcow2_create(const BlockFile *file, const char *path, const Qcow2Create *o, GError **err)
{
    BlockFile f = *file, image;

    if (o->cluster_bits < 9 || o->cluster_bits > 21 || o->refcount_order > 6 ||
        (o->version != 2 && o->version != 3)) {
        return fail(err, "image '%s': cluster size, refcount width or version is out of range",
                    path);
    }
    if (o->version == 2 && (o->refcount_order != 4 || o->lazy_refcounts || o->zstd)) {
        return fail(err,
                    "image '%s': compat=0.10 has refcount_bits=16 only, and neither lazy "
                    "refcounts nor zstd",
                    path);
    }
    uint64_t reach = o->size >> (2 * o->cluster_bits - 3);
    if (o->size > MAX_DISK || reach >= MAX_L1_BYTES / 8) {
        return fail(err, "image '%s': the disk is too large for the cluster size", path);
    }
    if (!write_empty(file, path, o, err)) {
        return false;
    }
    f.size = 3ull << o->cluster_bits;
    if (!qcow2_open(&image, &f, path, IMAGE_WRITE | IMAGE_NO_BACKING, NULL, err)) {
        return false;
    }
    Qcow2 *s = image.file;
    int ret = qcow2_resize(&image, o->size, err) ? 0 : -1;
    if (ret == 0) {
        g_mutex_lock(&s->lock);
        ret = o->prealloc_metadata ? qcow2_prealloc(s) : 0;
        ret = ret ? ret : qcow2_settle(s);
        g_mutex_unlock(&s->lock);
        if (ret) {
            fail(err, "image '%s': %s", path, g_strerror(-ret));
        }
    }
    free_image(s); /* the file stays open */
    return ret == 0;
}

bool qcow2_set_backing(const BlockFile *f, const char *name, const char *format, GError **err)
{
    Qcow2 *s = f->file;
    g_autofree uint8_t *old = g_malloc0(s->cluster_size), *h = g_malloc0(s->cluster_size);

    if (!s->writable || qcow2_pread(s, 0, old, s->cluster_size)) {
        return bad(s, err, "the header cannot be changed");
    }
    uint64_t name_at = be64(old + 8);
    size_t end = name_at ? name_at : s->cluster_size, at = s->header_length, to = at;
    memcpy(h, old, s->header_length);
    while (at + 8 <= end && be32(old + at)) {
        size_t n = 8 + (((size_t)be32(old + at + 4) + 7) & ~(size_t)7);
        if (n > end - at) {
            break;
        }
        if (be32(old + at) != EXT_BACKING_FORMAT) {
            memcpy(h + to, old + at, n);
            to += n;
        }
        at += n;
    }
    if (!put_backing(h, s->cluster_size, to, name, format)) {
        return bad(s, err, "the backing file's name does not fit into the header");
    }
    g_mutex_lock(&s->lock);
    int ret = qcow2_settle(s);
    ret = ret ? ret : qcow2_pwrite(s, 0, h, s->cluster_size);
    ret = ret ? ret : qcow2_flush_file(s);
    g_mutex_unlock(&s->lock);
    if (ret) {
        return fail(err, "image '%s': %s", s->path, g_strerror(-ret));
    }
    g_free(s->backing_name);
    g_free(s->backing_format);
    s->backing_name = g_strdup(name);
    s->backing_format = name ? g_strdup(format) : NULL;
    return true;
}

/* ---- size ---- */

/* Header fields from the disk's size to the place of the L1 table, in one sector. */
static int write_sizes(Qcow2 *s, uint64_t size, uint32_t l1_size, uint64_t l1_offset)
{
    uint8_t h[24] = {0};

    put64(h, size);
    put32(h + 12, l1_size);
    put64(h + 16, l1_offset);
    int ret = qcow2_pwrite(s, 24, h, sizeof(h));
    return ret ? ret : qcow2_flush_file(s);
}

int qcow2_l1_replace(Qcow2 *s, const uint64_t *l1, uint32_t n, uint64_t size)
{
    uint64_t old = s->l1_offset >> s->cluster_bits, n_old = clusters_of(s, s->l1_size * 8ull);
    uint64_t m = clusters_of(s, n * 8ull), first = 0;
    g_autofree uint64_t *buf = g_new(uint64_t, n + 1);

    int ret = m ? qcow2_alloc_row(s, m, &first) : 0;
    ret = ret ? ret : qcow2_sync(s);
    for (uint32_t i = 0; i < n; i++) {
        buf[i] = GUINT64_TO_BE(l1[i]);
    }
    ret = ret ? ret : qcow2_pwrite(s, first << s->cluster_bits, buf, n * 8ull);
    ret = ret ? ret : qcow2_flush_file(s);
    ret = ret ? ret : write_sizes(s, size, n, first << s->cluster_bits);
    if (ret) {
        return ret;
    }
    uint64_t *copy = g_new0(uint64_t, n + 1);
    memcpy(copy, l1, n * 8ull);
    g_free(s->l1);
    s->l1 = copy;
    s->l1_size = n;
    s->l1_offset = first << s->cluster_bits;
    s->l1_lo = s->l1_hi = 0;
    for (uint64_t c = 0; c < m && ret == 0; c++) {
        ret = qcow2_set_meta(s, first + c, true) ? 0 : -EFBIG;
    }
    for (uint64_t c = old; c < old + n_old && ret == 0; c++) {
        qcow2_set_meta(s, c, false);
        ret = qcow2_refcount_add(s, c, -1);
    }
    return ret;
}

int qcow2_l1_grow(Qcow2 *s, uint64_t size)
{
    uint64_t need = (clusters_of(s, size) + (1ull << s->l2_bits) - 1) >> s->l2_bits;

    if (need > MAX_L1_BYTES / 8) {
        return -EFBIG;
    }
    if (need <= s->l1_size) {
        return 0;
    }
    int ret = qcow2_sync(s);
    g_autofree uint64_t *l1 = g_new0(uint64_t, need);
    memcpy(l1, s->l1, s->l1_size * 8ull);
    return ret ? ret : qcow2_l1_replace(s, l1, (uint32_t)need, s->size);
}

/* Lock held. */
static int drop_tail(Qcow2 *s, uint64_t from, uint64_t to)
{
    int ret = 0;
    for (uint64_t c = from; c < to && ret == 0;) {
        MetaTable *t;
        ret = qcow2_l2(s, c, false, &t);
        if (ret == 0 && !t) {
            c = ((c >> s->l2_bits) + 1) << s->l2_bits;
            continue;
        }
        uint32_t at = (uint32_t)(c & ((1ull << s->l2_bits) - 1)) * 8;
        if (ret == 0 && be64(t->data + at)) {
            ret = qcow2_l2(s, c, true, &t);
            if (ret == 0) {
                uint64_t old = be64(t->data + at);
                put64(t->data + at, 0);
                qcow2_mark(t, at, 8);
                ret = qcow2_free_entry(s, old);
            }
        }
        c++;
    }
    return ret;
}

bool qcow2_resize(BlockFile *f, uint64_t size, GError **err)
{
    Qcow2 *s = f->file;
    uint64_t old = s->size;
    int ret = 0;

    size = (size + 511) & ~511ull;
    if (!s->writable || size > MAX_DISK) {
        return bad(s, err, s->writable ? "the size is too large" : "it is read-only");
    }
    if (s->n_snapshots && s->version < 3) {
        return bad(s, err, "an image of version 2 with snapshots cannot change its size");
    }
    if (size > old) {
        g_mutex_lock(&s->lock);
        ret = qcow2_l1_grow(s, size);
        g_mutex_unlock(&s->lock);
        /* What a longer backing file has there must not come up. */
        if (ret == 0 && s->has_backing && s->backing.size > old) {
            s->size = size;
            ret = qcow2_driver.write_zeroes(s, old, MIN(size, s->backing.size) - old, true);
        }
    }
    g_mutex_lock(&s->lock);
    ret = ret ? ret : qcow2_settle(s);
    ret = ret ? ret : write_sizes(s, size, s->l1_size, s->l1_offset);
    if (ret == 0 && size < old) {
        ret = drop_tail(s, clusters_of(s, size), clusters_of(s, old));
        ret = ret ? ret : qcow2_settle(s);
    }
    s->size = ret ? old : size;
    g_mutex_unlock(&s->lock);
    f->size = s->size;
    return ret == 0 || fail(err, "image '%s': %s", s->path, g_strerror(-ret));
}
