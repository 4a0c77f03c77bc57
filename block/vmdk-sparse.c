/*
 * Sparse extents of vmdk images, plain and compressed (streamOptimized).
 * Source: VMware, "Virtual Disk Format 5.0" (2011): header, grain directory of grain tables of
 * sector numbers, twice where they are redundant, grains. Little-endian.
 *
 * A compressed grain that is written again goes to the end of the file. An image that ends in a
 * footer, as streams do, gets its grain directory named in the header instead before anything is
 * written behind it.
 */
#include "block/bytes.h"
#include "block/deflate.h"
#include "block/sparse.h"
#include "block/vmdk.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>
#include <zlib.h>

#define SECTOR 512u
#define MARKER 12u /* of a grain: place on the disk, length */
#define MAX_TABLES (1u << 22)
#define MAX_CAPACITY (1ull << 42) /* sectors */

typedef struct VmdkSparse {
    Sparse s;
    VmdkHeader h;
    bool packed, zeroed, redundant;
    bool at_end;    /* the header names no directory yet, the footer does */
    uint64_t n_gt;  /* entries of the directory in use */
    GArray *tables; /* writable: offsets of all grain tables, ascending */
    uint64_t extra; /* bytes of tables behind the overhead */
} VmdkSparse;

/* ---- header ---- */

void vmdk_put_header(uint8_t *raw, const VmdkHeader *h)
{
    memset(raw, 0, VMDK_HEADER);
    memcpy(raw, "KDMV", 4);
    put_le32(raw + 4, h->version);
    put_le32(raw + 8, h->flags);
    put_le64(raw + 12, h->capacity);
    put_le64(raw + 20, h->grain);
    put_le64(raw + 28, h->descriptor);
    put_le64(raw + 36, h->descriptor_len);
    put_le32(raw + 44, h->gtes);
    put_le64(raw + 48, h->rgd);
    put_le64(raw + 56, h->gd);
    put_le64(raw + 64, h->overhead);
    memcpy(raw + 73, "\n \r\n", 4);
    put_le16(raw + 77, h->compression);
}

bool vmdk_get_header(const uint8_t *raw, VmdkHeader *h)
{
    *h = (VmdkHeader){.version = get_le32(raw + 4),
                      .flags = get_le32(raw + 8),
                      .capacity = get_le64(raw + 12),
                      .grain = get_le64(raw + 20),
                      .descriptor = get_le64(raw + 28),
                      .descriptor_len = get_le64(raw + 36),
                      .gtes = get_le32(raw + 44),
                      .rgd = get_le64(raw + 48),
                      .gd = get_le64(raw + 56),
                      .overhead = get_le64(raw + 64),
                      .compression = get_le16(raw + 77)};
    return memcmp(raw, "KDMV", 4) == 0;
}

/* ---- tables ---- */

static int read32(VmdkSparse *v, uint64_t off, uint32_t *n)
{
    uint8_t raw[4];
    int ret = pages_read(&v->s.pages, off, raw, 4);
    *n = get_le32(raw);
    return ret;
}

static int write32(VmdkSparse *v, uint64_t off, uint32_t n, PagesLevel level)
{
    uint8_t raw[4];
    put_le32(raw, n);
    return pages_write(&v->s.pages, off, raw, 4, level);
}

static bool overlaps(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a < b + b_len && b < a + a_len;
}

/* Neither header, descriptor nor directories. */
static bool good_place(const VmdkSparse *v, uint64_t off, uint64_t len)
{
    const VmdkHeader *h = &v->h;
    return off >= VMDK_HEADER && off < v->s.end &&
           !overlaps(off, len, h->descriptor * SECTOR, h->descriptor_len * SECTOR) &&
           !overlaps(off, len, h->gd * SECTOR, v->n_gt * 4) &&
           !(v->redundant && overlaps(off, len, h->rgd * SECTOR, v->n_gt * 4));
}

static bool hits_table(const VmdkSparse *v, uint64_t off, uint64_t len)
{
    guint lo = 0, hi = v->tables ? v->tables->len : 0;

    while (lo < hi) {
        guint mid = (lo + hi) / 2;
        if (g_array_index(v->tables, uint64_t, mid) + VMDK_GT_BYTES <= off) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return v->tables && lo < v->tables->len && g_array_index(v->tables, uint64_t, lo) < off + len;
}

/* The grain table @i of the directory at sector @gd; 0: none. */
static int table_of(VmdkSparse *v, uint64_t gd, uint64_t i, uint64_t *gt)
{
    uint32_t n;
    int ret = read32(v, gd * SECTOR + i * 4, &n);

    *gt = (uint64_t)n * SECTOR;
    if (ret == 0 && n && (!good_place(v, *gt, VMDK_GT_BYTES) || *gt + VMDK_GT_BYTES > v->s.end)) {
        return -EIO;
    }
    return ret;
}

static int vmdk_get(Sparse *s, uint64_t block, SparseEntry *e)
{
    VmdkSparse *v = (VmdkSparse *)s;
    uint64_t gt, len = v->packed ? SECTOR : 1ull << s->block_bits;
    uint32_t n = 0;
    int ret = table_of(v, v->h.gd, block / VMDK_GTES, &gt);

    if (ret == 0 && gt) {
        ret = read32(v, gt + block % VMDK_GTES * 4, &n);
    }
    *e = (SparseEntry){.kind = SPARSE_NONE};
    if (ret || !n) {
        return ret;
    }
    if (n == 1 && v->zeroed) {
        e->kind = SPARSE_ZERO;
        return 0;
    }
    *e = (SparseEntry){v->packed ? SPARSE_PACKED : SPARSE_DATA, (uint64_t)n * SECTOR};
    return good_place(v, e->off, len) && !hits_table(v, e->off, len) ? 0 : -EIO;
}

/* In one of the directories. */
static int set_in(VmdkSparse *v, uint64_t gd, uint64_t block, uint32_t n)
{
    Sparse *s = &v->s;
    uint64_t gt;
    int ret = table_of(v, gd, block / VMDK_GTES, &gt);

    if (ret == 0 && !gt) {
        if (v->tables->len >= MAX_TABLES) {
            return -EFBIG;
        }
        ret = sparse_new_table(s, VMDK_GT_BYTES, SECTOR, &gt);
        if (ret == 0 && gt / SECTOR > UINT32_MAX) {
            ret = -EFBIG;
        }
        ret = ret ? ret
                  : write32(v, gd * SECTOR + block / VMDK_GTES * 4, (uint32_t)(gt / SECTOR),
                            PAGES_ROOT);
        if (ret == 0) {
            g_array_append_val(v->tables, gt);
            v->extra += VMDK_GT_BYTES;
        }
    }
    return ret ? ret : write32(v, gt + block % VMDK_GTES * 4, n, PAGES_LEAF);
}

static int vmdk_set(Sparse *s, uint64_t block, const SparseEntry *e)
{
    VmdkSparse *v = (VmdkSparse *)s;
    uint32_t n = e->kind == SPARSE_ZERO ? 1 : (uint32_t)(e->off / SECTOR);
    int ret = v->redundant ? set_in(v, v->h.rgd, block, n) : 0;
    return ret ? ret : set_in(v, v->h.gd, block, n);
}

static int vmdk_clear(Sparse *s, uint64_t block)
{
    VmdkSparse *v = (VmdkSparse *)s;
    uint64_t gt;
    int ret = table_of(v, v->h.gd, block / VMDK_GTES, &gt);

    if (ret || !gt) {
        return ret == -EIO ? -ENOTSUP : ret;
    }
    return vmdk_set(s, block, &(SparseEntry){.kind = SPARSE_NONE});
}

static int vmdk_reserve(Sparse *s, uint64_t *n, uint64_t *off)
{
    if ((s->end >> 9) + (*n << (s->block_bits - 9)) > UINT32_MAX) {
        return -EFBIG;
    }
    *off = s->end;
    s->end += *n << s->block_bits;
    return 0;
}

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int find_in(VmdkSparse *v, uint64_t gd)
{
    for (uint64_t i = 0; i < v->n_gt; i++) {
        uint64_t gt;
        int ret = table_of(v, gd, i, &gt);
        if (ret == 0 && gt && v->tables->len >= MAX_TABLES) {
            ret = -EFBIG;
        }
        if (ret) {
            return ret;
        }
        if (gt) {
            g_array_append_val(v->tables, gt);
            v->extra += gt >= v->h.overhead * SECTOR ? VMDK_GT_BYTES : 0;
        }
    }
    return 0;
}

/* All tables; -EIO when they are out of the file or overlap. */
static int vmdk_find_tables(Sparse *s)
{
    VmdkSparse *v = (VmdkSparse *)s;

    if (!v->tables) {
        v->tables = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    }
    g_array_set_size(v->tables, 0);
    v->extra = 0;
    int ret = find_in(v, v->h.gd);
    ret = ret == 0 && v->redundant ? find_in(v, v->h.rgd) : ret;
    g_array_sort(v->tables, compare_offsets);
    for (guint i = 1; i < v->tables->len && ret == 0; i++) {
        if (g_array_index(v->tables, uint64_t, i) - g_array_index(v->tables, uint64_t, i - 1) <
            VMDK_GT_BYTES) {
            ret = -EIO;
        }
    }
    return ret;
}

static bool vmdk_begin(Sparse *s, GError **err)
{
    VmdkSparse *v = (VmdkSparse *)s;
    uint8_t raw[VMDK_HEADER];

    if (vmdk_find_tables(s)) {
        return sparse_bad(s, err,
                          "grain tables overlap or are out of the file; read-only=on opens it");
    }
    if (v->at_end) {
        vmdk_put_header(raw, &v->h);
        if (pages_write(&s->pages, 0, raw, sizeof(raw), PAGES_ROOT) || pages_sync(&s->pages)) {
            return sparse_bad(s, err, "the header cannot be changed");
        }
        v->at_end = false;
    }
    return true;
}

static void vmdk_usage(Sparse *s, uint64_t *stride, uint64_t *overhead)
{
    VmdkSparse *v = (VmdkSparse *)s;
    *stride = 1ull << s->block_bits;
    *overhead = v->h.overhead * SECTOR + v->extra;
}

/* ---- compressed grains ---- */

static int vmdk_unpack(Sparse *s, uint64_t off, uint8_t *out)
{
    uint64_t grain = 1ull << s->block_bits;
    uint8_t marker[MARKER];
    int ret = sparse_pread(s, off, marker, sizeof(marker));
    uint32_t len = get_le32(marker + 8);

    if (ret || len == 0 || len > 2 * grain + 64) {
        return ret ? ret : -EIO;
    }
    g_autofree uint8_t *in = g_try_malloc(len);
    z_stream z = {.next_in = in, .avail_in = len, .next_out = out, .avail_out = (uInt)grain};
    ret = in ? sparse_pread(s, off + MARKER, in, len) : -ENOMEM;
    if (ret || inflateInit(&z) != Z_OK) {
        return ret ? ret : -ENOMEM;
    }
    int done = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    if (done != Z_STREAM_END && z.avail_out) {
        return -EIO;
    }
    memset(out + grain - z.avail_out, 0, z.avail_out);
    return 0;
}

/* Lock held. */
static int append(Sparse *s, uint64_t block, const uint8_t *packed, size_t len, SparseEntry *e)
{
    size_t all = (MARKER + len + SECTOR - 1) / SECTOR * SECTOR;
    g_autofree uint8_t *buf = g_malloc0(all);

    if ((s->end + all) / SECTOR > UINT32_MAX) {
        return -EFBIG;
    }
    put_le64(buf, block << (s->block_bits - 9));
    put_le32(buf + 8, (uint32_t)len);
    memcpy(buf + MARKER, packed, len);
    *e = (SparseEntry){SPARSE_PACKED, s->end};
    int ret = sparse_pwrite(s, s->end, buf, all);
    s->end += ret ? 0 : all;
    return ret;
}

static int vmdk_pack(Sparse *s, uint64_t block, const uint8_t *data, SparseEntry *e)
{
    size_t grain = 1ull << s->block_bits, room = compressBound(grain);
    g_autofree uint8_t *out = g_try_malloc(room);
    size_t len = out ? block_deflate(data, grain, out, room, 15, true) : 0;
    return len ? append(s, block, out, len, e) : -ENOMEM;
}

size_t vmdk_sparse_compress(const BlockFile *f, const uint8_t *data, size_t len, uint8_t *out)
{
    return block_deflate(data, len, out, len, 15, true);
}

int vmdk_sparse_write_packed(const BlockFile *f, uint64_t off, const uint8_t *packed, size_t len)
{
    Sparse *s = f->file;
    SparseEntry e;

    if (!s->writable) {
        return -EROFS;
    }
    if (!((VmdkSparse *)s)->packed || off >> s->block_bits >= s->blocks ||
        off & ((1ull << s->block_bits) - 1)) {
        return -EINVAL;
    }
    g_mutex_lock(&s->alloc);
    g_mutex_lock(&s->lock);
    int ret = append(s, off >> s->block_bits, packed, len, &e);
    ret = ret ? ret : vmdk_set(s, off >> s->block_bits, &e);
    g_mutex_unlock(&s->lock);
    g_mutex_unlock(&s->alloc);
    return ret;
}

/* ---- opening ---- */

static void vmdk_free(Sparse *s)
{
    VmdkSparse *v = (VmdkSparse *)s;
    if (v->tables) {
        g_array_free(v->tables, TRUE);
    }
}

#define OPS                                                                                        \
    .driver = {SPARSE_MEMBERS("vmdk")}, .get = vmdk_get, .set = vmdk_set, .clear = vmdk_clear,     \
    .begin = vmdk_begin, .begin_check = vmdk_find_tables, .usage = vmdk_usage, .free = vmdk_free

static const SparseOps plain_ops = {OPS, .reserve = vmdk_reserve};
static const SparseOps zeroed_ops = {OPS, .reserve = vmdk_reserve, .can_zero = true};
static const SparseOps packed_ops = {OPS, .unpack = vmdk_unpack, .pack = vmdk_pack};

/* The header of a stream is the one behind its data. */
static bool find_footer(VmdkSparse *v, GError **err)
{
    Sparse *s = &v->s;
    uint8_t raw[3 * SECTOR] = {0}; /* marker, footer, end of stream */
    VmdkHeader h;

    if (v->h.gd != VMDK_GD_AT_END) {
        return true;
    }
    if (s->end < sizeof(raw) || sparse_pread(s, s->end - sizeof(raw), raw, sizeof(raw)) ||
        get_le32(raw + 8) != 0 || get_le32(raw + 12) != 3 || !vmdk_get_header(raw + SECTOR, &h) ||
        h.capacity != v->h.capacity || h.grain != v->h.grain || h.gd == VMDK_GD_AT_END) {
        return sparse_bad(s, err, "the footer at its end is missing or damaged");
    }
    v->h.gd = h.gd;
    v->at_end = true;
    return true;
}

static bool in_file(const Sparse *s, uint64_t sector, uint64_t len)
{
    return sector < MAX_CAPACITY && sector * SECTOR <= s->end && len <= s->end - sector * SECTOR;
}

static bool read_header(VmdkSparse *v, GError **err)
{
    Sparse *s = &v->s;
    VmdkHeader *h = &v->h;
    uint8_t raw[VMDK_HEADER] = {0};

    if (sparse_pread(s, 0, raw, sizeof(raw)) || !vmdk_get_header(raw, h)) {
        return sparse_bad(s, err, "it is not a sparse vmdk extent");
    }
    if (h->version < 1 || h->version > 3) {
        return fail(err, "image '%s': vmdk version %u is not supported; 1 to 3 are", s->path,
                    h->version);
    }
    if (h->grain < 8 || h->grain > 65536 || (h->grain & (h->grain - 1))) {
        return sparse_bad(s, err, "the size of a grain is not a power of 2 from 4K to 32M");
    }
    if (h->gtes != VMDK_GTES) {
        return sparse_bad(s, err, "grain tables have not 512 entries");
    }
    if (h->capacity > MAX_CAPACITY) {
        return sparse_bad(s, err, "the disk is too large");
    }
    v->packed = h->flags & VMDK_PACKED;
    v->zeroed = h->flags & VMDK_ZEROED;
    if (v->packed && (h->compression != 1 || !(h->flags & VMDK_MARKERS))) {
        return sparse_bad(s, err, "its way of compression is not supported");
    }
    s->block_bits = 9 + (unsigned)__builtin_ctzll(h->grain);
    s->size = h->capacity * SECTOR;
    s->blocks = (h->capacity + h->grain - 1) / h->grain;
    v->n_gt = (s->blocks + VMDK_GTES - 1) / VMDK_GTES;
    if (!find_footer(v, err)) {
        return false;
    }
    v->redundant = h->flags & VMDK_REDUNDANT && h->rgd && h->rgd != VMDK_GD_AT_END;
    if (!h->gd || !in_file(s, h->gd, v->n_gt * 4) || h->overhead > MAX_CAPACITY ||
        (v->redundant && !in_file(s, h->rgd, v->n_gt * 4)) ||
        (h->descriptor && !in_file(s, h->descriptor, 0)) ||
        h->descriptor_len > VMDK_MAX_DESCRIPTOR / SECTOR ||
        (v->redundant && overlaps(h->gd * SECTOR, v->n_gt * 4, h->rgd * SECTOR, v->n_gt * 4)) ||
        overlaps(h->gd * SECTOR, v->n_gt * 4, h->descriptor * SECTOR, h->descriptor_len * SECTOR)) {
        return sparse_bad(s, err, "its grain directory is out of the file or overlaps");
    }
    return true;
}

bool vmdk_sparse_open(BlockFile *out, const BlockFile *file, const char *path, const char *backing,
                      unsigned flags, GSList *chain, GError **err)
{
    VmdkSparse *v = g_new0(VmdkSparse, 1);

    v->s.ops = &plain_ops;
    sparse_init(&v->s, file, path);
    v->s.backing_name = g_strdup(backing);
    if (!read_header(v, err)) {
        sparse_free(&v->s);
        return false;
    }
    v->s.ops = v->packed ? &packed_ops : v->zeroed ? &zeroed_ops : &plain_ops;
    if (!sparse_start(&v->s, out, flags, chain, err)) {
        sparse_free(&v->s);
        return false;
    }
    return true;
}

void vmdk_sparse_release(BlockFile *f)
{
    Sparse *s = f->file;
    if (s->writable) {
        sparse_flush(s);
    }
    sparse_free(s);
}

uint64_t vmdk_sparse_grain(const BlockFile *f)
{
    return 1ull << ((Sparse *)f->file)->block_bits;
}

bool vmdk_sparse_packed(const BlockFile *f)
{
    return ((VmdkSparse *)f->file)->packed;
}

int vmdk_sparse_check(const BlockFile *f, unsigned fix, ImageCheck *res,
                      void (*say)(void *opaque, const char *line), void *opaque)
{
    return sparse_check(f, fix, res, say, opaque);
}
