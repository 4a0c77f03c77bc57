/*
 * QED images: clusters behind two levels of tables, with backing files.
 * Source: "QED Image File Format" (the qed_spec text): all little-endian; an offset of 0 in a
 * table is none, 1 in an L2 table a cluster of zeros.
 *
 * Data is flushed before L2 entries are written, and these before L1 entries, so the need-check
 * bit is never set here; an image that has it is checked before it is written to.
 */
#include "block/bytes.h"
#include "block/sparse.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>

#define HEADER 64u
#define MAX_TABLES (1u << 22)

enum {
    AT_CLUSTER = 4,
    AT_TABLE = 8,
    AT_HEADER = 12,
    AT_FEATURES = 16,
    AT_AUTOCLEAR = 32,
    AT_L1 = 40,
    AT_SIZE = 48,
    AT_BACKING = 56,
    AT_BACKING_LEN = 60,
};
enum { HAS_BACKING = 1, NEED_CHECK = 2, NO_PROBE = 4, KNOWN = 7 };

typedef struct Qed {
    Sparse s;
    uint32_t table_len;  /* bytes */
    unsigned table_bits; /* log2 of its entries */
    uint32_t header_len; /* bytes */
    uint64_t features, l1;
    GArray *tables; /* writable: offsets of all L2 tables, ascending */
} Qed;

static int read64(Qed *q, uint64_t off, uint64_t *v)
{
    uint8_t raw[8];
    int ret = pages_read(&q->s.pages, off, raw, 8);
    *v = get_le64(raw);
    return ret;
}

static int write64(Qed *q, uint64_t off, uint64_t v, PagesLevel level)
{
    uint8_t raw[8];
    put_le64(raw, v);
    return pages_write(&q->s.pages, off, raw, 8, level);
}

static bool overlaps(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a < b + b_len && b < a + a_len;
}

/* A place that neither header nor L1 table have, in the file. */
static bool good_place(const Qed *q, uint64_t off, uint64_t len)
{
    return !(off & ((1ull << q->s.block_bits) - 1)) && off < q->s.end &&
           !overlaps(off, len, 0, q->header_len) && !overlaps(off, len, q->l1, q->table_len);
}

/* Index of the first L2 table at or behind @off. */
static guint table_at(const Qed *q, uint64_t off)
{
    guint lo = 0, hi = q->tables->len;
    while (lo < hi) {
        guint mid = (lo + hi) / 2;
        if (g_array_index(q->tables, uint64_t, mid) < off) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static bool hits_table(const Qed *q, uint64_t off, uint64_t len)
{
    if (!q->tables) {
        return false;
    }
    guint i = table_at(q, off);
    return (i < q->tables->len && g_array_index(q->tables, uint64_t, i) < off + len) ||
           (i && g_array_index(q->tables, uint64_t, i - 1) + q->table_len > off);
}

/* The L2 table of @block; 0: none. */
static int l2_of(Qed *q, uint64_t block, uint64_t *l2)
{
    int ret = read64(q, q->l1 + (block >> q->table_bits) * 8, l2);
    if (ret == 0 && *l2 && (!good_place(q, *l2, q->table_len) || *l2 + q->table_len > q->s.end)) {
        return -EIO;
    }
    return ret;
}

static int qed_get(Sparse *s, uint64_t block, SparseEntry *e)
{
    Qed *q = (Qed *)s;
    uint64_t l2, v = 0;
    int ret = l2_of(q, block, &l2);

    if (ret == 0 && l2) {
        ret = read64(q, l2 + (block & ((1ull << q->table_bits) - 1)) * 8, &v);
    }
    *e = (SparseEntry){v == 0 ? SPARSE_NONE : v == 1 ? SPARSE_ZERO : SPARSE_DATA, v};
    if (ret == 0 && e->kind == SPARSE_DATA &&
        (!good_place(q, v, 1ull << s->block_bits) || hits_table(q, v, 1ull << s->block_bits))) {
        return -EIO;
    }
    return ret;
}

static int qed_set(Sparse *s, uint64_t block, const SparseEntry *e)
{
    Qed *q = (Qed *)s;
    uint64_t l2;
    int ret = l2_of(q, block, &l2);

    if (ret == 0 && !l2) {
        if (q->tables->len >= MAX_TABLES) {
            return -EFBIG;
        }
        ret = sparse_new_table(s, q->table_len, 1ull << s->block_bits, &l2);
        ret = ret ? ret : write64(q, q->l1 + (block >> q->table_bits) * 8, l2, PAGES_ROOT);
        if (ret == 0) {
            g_array_append_val(q->tables, l2);
        }
    }
    uint64_t v = e->kind == SPARSE_ZERO ? 1 : e->off;
    return ret ? ret : write64(q, l2 + (block & ((1ull << q->table_bits) - 1)) * 8, v, PAGES_LEAF);
}

static int qed_clear(Sparse *s, uint64_t block)
{
    Qed *q = (Qed *)s;
    uint64_t l2;
    int ret = l2_of(q, block, &l2);

    if (ret == -EIO) { /* of the table itself */
        return write64(q, q->l1 + (block >> q->table_bits) * 8, 0, PAGES_ROOT);
    }
    return ret || !l2 ? ret
                      : write64(q, l2 + (block & ((1ull << q->table_bits) - 1)) * 8, 0, PAGES_LEAF);
}

static int qed_trim(Sparse *s, uint64_t end)
{
    Qed *q = (Qed *)s;
    if (q->tables->len) {
        end = MAX(end, g_array_index(q->tables, uint64_t, q->tables->len - 1) + q->table_len);
    }
    return sparse_trim(s, MAX(end, MAX(q->l1 + q->table_len, (uint64_t)q->header_len)));
}

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* All L2 tables; -EIO when they are out of the file or overlap. */
static int find_tables(Qed *q)
{
    uint64_t n = (q->s.blocks + (1ull << q->table_bits) - 1) >> q->table_bits, l2;

    if (!q->tables) {
        q->tables = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    }
    g_array_set_size(q->tables, 0);
    for (uint64_t i = 0; i < n; i++) {
        int ret = l2_of(q, i << q->table_bits, &l2);
        if (ret == 0 && l2 && q->tables->len >= MAX_TABLES) {
            ret = -EFBIG;
        }
        if (ret) {
            return ret;
        }
        if (l2) {
            g_array_append_val(q->tables, l2);
        }
    }
    g_array_sort(q->tables, compare_offsets);
    for (guint i = 1; i < q->tables->len; i++) {
        if (g_array_index(q->tables, uint64_t, i) - g_array_index(q->tables, uint64_t, i - 1) <
            q->table_len) {
            return -EIO;
        }
    }
    return 0;
}

static int clear_flags(Qed *q)
{
    int ret = write64(q, AT_FEATURES, q->features & ~(uint64_t)NEED_CHECK, PAGES_ROOT);
    ret = ret ? ret : write64(q, AT_AUTOCLEAR, 0, PAGES_ROOT);
    ret = ret ? ret : pages_sync(&q->s.pages);
    q->features &= ret ? q->features : ~(uint64_t)NEED_CHECK;
    return ret;
}

static bool qed_begin(Sparse *s, GError **err)
{
    Qed *q = (Qed *)s;
    uint64_t mask = (1ull << s->block_bits) - 1, autoclear = 0;
    ImageCheck res;

    if (find_tables(q)) {
        return sparse_bad(s, err, "tables overlap or are out of the file; read-only=on opens it");
    }
    if (q->features & NEED_CHECK) {
        BlockFile self = {.driver = &s->ops->driver, .file = s, .size = s->size};
        if (sparse_check(&self, 0, &res, NULL, NULL) || res.corruptions || res.check_errors) {
            return sparse_bad(s, err,
                              "it was not closed in order and is damaged; rhea-img check shows "
                              "how, and read-only=on opens it");
        }
    }
    s->end = (s->end + mask) & ~mask;
    if (read64(q, AT_AUTOCLEAR, &autoclear) ||
        ((autoclear || q->features & NEED_CHECK) && clear_flags(q))) {
        return sparse_bad(s, err, "the header cannot be changed");
    }
    return true;
}

static void qed_usage(Sparse *s, uint64_t *stride, uint64_t *overhead)
{
    Qed *q = (Qed *)s;
    *stride = 1ull << s->block_bits;
    *overhead = q->header_len + q->table_len + (uint64_t)q->tables->len * q->table_len;
}

static int qed_check(Sparse *s, uint64_t blocks, unsigned fix, ImageCheck *res,
                     void (*say)(void *opaque, const char *line), void *opaque)
{
    Qed *q = (Qed *)s;
    return fix && !res->corruptions && q->features & NEED_CHECK ? clear_flags(q) : 0;
}

static int qed_begin_check(Sparse *s)
{
    return find_tables((Qed *)s);
}

static void qed_free(Sparse *s)
{
    Qed *q = (Qed *)s;
    if (q->tables) {
        g_array_free(q->tables, TRUE);
    }
}

/* The disk only grows: what the tables reach is the limit. */
static bool qed_resize(BlockFile *f, uint64_t size, GError **err)
{
    Sparse *s = f->file;
    Qed *q = (Qed *)s;
    uint64_t old = s->size;

    size = (size + 511) & ~511ull;
    if (size < old) {
        return sparse_bad(s, err, "qed images cannot become smaller");
    }
    if (size > INT64_MAX || (size >> s->block_bits) >> (2 * q->table_bits)) {
        return sparse_bad(s, err, "the disk is too large for its tables");
    }
    s->size = size;
    s->blocks = (size + (1ull << s->block_bits) - 1) >> s->block_bits;
    int ret = 0;
    if (s->has_backing && s->backing.size > old) { /* what it has there must not come up */
        ret = sparse_write_zeroes(s, old, MIN(size, s->backing.size) - old, true);
    }
    g_mutex_lock(&s->lock);
    ret = ret ? ret : write64(q, AT_SIZE, size, PAGES_ROOT);
    ret = ret ? ret : pages_sync(&s->pages);
    g_mutex_unlock(&s->lock);
    if (ret) {
        return sparse_bad(s, err, g_strerror(-ret));
    }
    f->size = size;
    return true;
}

static const SparseOps qed_ops = {
    .driver = {SPARSE_MEMBERS("qed"), .resize = qed_resize},
    .get = qed_get,
    .set = qed_set,
    .clear = qed_clear,
    .trim = qed_trim,
    .begin = qed_begin,
    .begin_check = qed_begin_check,
    .usage = qed_usage,
    .check = qed_check,
    .can_zero = true,
    .free = qed_free,
};

static bool read_backing_name(Qed *q, const uint8_t *h, GError **err)
{
    Sparse *s = &q->s;
    uint32_t at = get_le32(h + AT_BACKING), len = get_le32(h + AT_BACKING_LEN);

    if (!(q->features & HAS_BACKING)) {
        return true;
    }
    if (len == 0 || len > 1023 || at < HEADER || at > q->header_len || len > q->header_len - at) {
        return sparse_bad(s, err, "the backing file's name is out of the header");
    }
    s->backing_name = g_malloc0(len + 1);
    if (sparse_pread(s, at, s->backing_name, len)) {
        return sparse_bad(s, err, "the backing file's name cannot be read");
    }
    s->backing_format = q->features & NO_PROBE ? g_strdup("raw") : NULL;
    return true;
}

static bool read_header(Qed *q, GError **err)
{
    Sparse *s = &q->s;
    uint8_t h[HEADER] = {0};

    if (sparse_pread(s, 0, h, sizeof(h)) || memcmp(h, "QED\0", 4)) {
        return sparse_bad(s, err, "it is not a qed image");
    }
    uint32_t cs = get_le32(h + AT_CLUSTER), ts = get_le32(h + AT_TABLE),
             hs = get_le32(h + AT_HEADER);
    q->features = get_le64(h + AT_FEATURES);
    q->l1 = get_le64(h + AT_L1);
    s->size = get_le64(h + AT_SIZE);
    if (q->features & ~(uint64_t)KNOWN) {
        return fail(err, "image '%s': feature bits %#" G_GINT64_MODIFIER "x of qed are unknown",
                    s->path, q->features & ~(uint64_t)KNOWN);
    }
    if (cs < 4096 || cs > 64u << 20 || (cs & (cs - 1))) {
        return sparse_bad(s, err, "the cluster size is not a power of 2 from 4K to 64M");
    }
    if (ts < 1 || ts > 16 || (ts & (ts - 1))) {
        return sparse_bad(s, err, "the table size is not 1, 2, 4, 8 or 16 clusters");
    }
    if (hs < 1 || hs > 1u << 20 || (uint64_t)hs * cs > INT32_MAX) {
        return sparse_bad(s, err, "the size of the header is wrong");
    }
    s->block_bits = (unsigned)__builtin_ctz(cs);
    q->table_len = ts * cs;
    q->table_bits = (unsigned)__builtin_ctz(q->table_len / 8);
    q->header_len = hs * cs;
    if (s->size % 512 || s->size > INT64_MAX ||
        ((s->size + cs - 1) >> s->block_bits) > 1ull << (2 * q->table_bits)) {
        return sparse_bad(s, err, "the size of the disk is wrong");
    }
    if (q->l1 % cs || q->l1 < q->header_len || q->l1 > s->end || q->table_len > s->end - q->l1) {
        return sparse_bad(s, err, "the L1 table is out of the file or overlaps the header");
    }
    s->blocks = (s->size + cs - 1) >> s->block_bits;
    return read_backing_name(q, h, err);
}

static bool qed_open(BlockFile *out, const BlockFile *file, const char *path, unsigned flags,
                     GSList *chain, GError **err)
{
    Qed *q = g_new0(Qed, 1);

    q->s.ops = &qed_ops;
    sparse_init(&q->s, file, path);
    if (!read_header(q, err) || !sparse_start(&q->s, out, flags, chain, err)) {
        sparse_free(&q->s);
        return false;
    }
    return true;
}

/* ---- creating, renaming ---- */

/* The name behind the fixed part of the header @h of @len bytes. */
static bool put_backing(uint8_t *h, uint32_t len, const char *name, const char *format)
{
    size_t n = name ? strlen(name) : 0;
    uint64_t features = get_le64(h + AT_FEATURES) & ~(uint64_t)(HAS_BACKING | NO_PROBE);

    if (n > 1023 || HEADER + n > len) {
        return false;
    }
    memset(h + HEADER, 0, MIN(len - HEADER, 1023));
    if (n) {
        memcpy(h + HEADER, name, n);
        features |= HAS_BACKING | (format && !strcmp(format, "raw") ? NO_PROBE : 0);
    }
    put_le64(h + AT_FEATURES, features);
    put_le32(h + AT_BACKING, n ? HEADER : 0);
    put_le32(h + AT_BACKING_LEN, (uint32_t)n);
    return true;
}

static bool qed_create(const BlockFile *file, const char *path, const ImageCreate *c, GError **err)
{
    uint64_t cs = 65536, ts = 4, size = (c->size + 511) & ~511ull;
    static const uint8_t zeros[512];

    if (!image_option_size(c, "cluster_size", &cs, err) ||
        !image_option_size(c, "table_size", &ts, err)) {
        return false;
    }
    if (cs < 4096 || cs > 64u << 20 || (cs & (cs - 1))) {
        return fail(err, "cluster_size is not a power of 2 from 4K to 64M");
    }
    if (ts < 1 || ts > 16 || (ts & (ts - 1))) {
        return fail(err, "table_size is not 1, 2, 4, 8 or 16");
    }
    unsigned bits = (unsigned)__builtin_ctzll(ts * cs / 8);
    if (size > INT64_MAX || (size + cs - 1) / cs > 1ull << (2 * bits)) {
        return fail(err, "image '%s': the disk is too large for these tables", path);
    }
    uint8_t h[4096] = "QED";
    put_le32(h + AT_CLUSTER, (uint32_t)cs);
    put_le32(h + AT_TABLE, (uint32_t)ts);
    put_le32(h + AT_HEADER, 1);
    put_le64(h + AT_L1, cs);
    put_le64(h + AT_SIZE, size);
    if (!put_backing(h, sizeof(h), c->backing, c->backing_format)) {
        return fail(err, "image '%s': the backing file's name does not fit into the header", path);
    }
    struct iovec iov = {h, sizeof(h)}, last = {(void *)zeros, sizeof(zeros)};
    int ret = file->driver->write(file->file, cs + ts * cs - sizeof(zeros), &last, 1);
    ret = ret ? ret : file->driver->write(file->file, 0, &iov, 1);
    return ret == 0 || fail(err, "image '%s': %s", path, g_strerror(-ret));
}

static bool qed_rename_backing(const BlockFile *f, const char *name, const char *format,
                               GError **err)
{
    Sparse *s = f->file;
    Qed *q = (Qed *)s;
    uint8_t h[4096];

    if (!s->writable) {
        return sparse_bad(s, err, "it is read-only");
    }
    g_mutex_lock(&s->lock);
    int ret = pages_read(&s->pages, 0, h, sizeof(h));
    bool fits = ret == 0 && put_backing(h, MIN(sizeof(h), q->header_len), name, format);
    if (fits) {
        ret = pages_write(&s->pages, 0, h, sizeof(h), PAGES_ROOT);
        ret = ret ? ret : pages_sync(&s->pages);
    }
    g_mutex_unlock(&s->lock);
    if (ret || !fits) {
        return sparse_bad(
            s, err, ret ? g_strerror(-ret) : "the backing file's name does not fit the header");
    }
    q->features = get_le64(h + AT_FEATURES);
    return true;
}

static void qed_info(const BlockFile *f, ImageInfo *info)
{
    const Qed *q = f->file;
    *info = (ImageInfo){.cluster_size = 1ull << q->s.block_bits,
                        .dirty = q->features & NEED_CHECK,
                        .backing = q->s.backing_name,
                        .backing_format = q->s.backing_format};
}

const ImageFormat format_qed = {
    .name = "qed",
    .open = qed_open,
    .create = qed_create,
    .check = sparse_check,
    .info = qed_info,
    .set_backing = qed_rename_backing,
};
