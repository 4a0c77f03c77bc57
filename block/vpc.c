/*
 * VHD, Virtual PC's disk image ("vpc"): fixed and dynamic.
 * Source: Microsoft, "Virtual Hard Disk Image Format Specification", version 1.0 (2006). All
 * numbers are big-endian. A dynamic image is a copy of the footer, a header, the block allocation
 * table (BAT) of sector numbers, blocks (each behind a bitmap of its sectors), and the footer.
 *
 * A new block goes where the footer was; until the next flush, which writes the footer behind it,
 * the copy at the front stands for it, as the specification wants.
 */
#include "block/bytes.h"
#include "block/sparse.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define SECTOR 512u
#define FOOTER 512u
#define HEADER 1024u
#define UNUSED 0xffffffffu
#define FIXED_BITS 21u
#define BLOCK_BITS 21u
#define EPOCH 946684800 /* 2000-01-01 in Unix time */
#define MAX_CHS (65535ull * 16 * 255)
#define MAX_SIZE (2040ull << 30)

enum { TYPE_FIXED = 2, TYPE_DYNAMIC = 3, TYPE_DIFF = 4 };

/* Footer */
enum {
    F_FEATURES = 8,
    F_VERSION = 12,
    F_DATA = 16,
    F_TIME = 24,
    F_APP = 28,
    F_APP_VERSION = 32,
    F_HOST = 36,
    F_ORIGINAL = 40,
    F_SIZE = 48,
    F_CHS = 56,
    F_TYPE = 60,
    F_SUM = 64,
    F_UUID = 68,
};
/* Dynamic header */
enum { H_DATA = 8, H_TABLE = 16, H_VERSION = 24, H_ENTRIES = 28, H_BLOCK = 32, H_SUM = 36 };

typedef struct Vpc {
    Sparse s;
    bool dynamic;
    uint8_t footer[FOOTER];
    uint64_t header, table, table_end; /* places in the file */
    uint32_t bitmap;                   /* bytes of a block's, in whole sectors */
} Vpc;

static uint32_t checksum(const uint8_t *p, size_t n, size_t at)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += i >= at && i < at + 4 ? 0 : p[i];
    }
    return ~sum;
}

static bool overlaps(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a < b + b_len && b < a + a_len;
}

static int vpc_get(Sparse *s, uint64_t block, SparseEntry *e)
{
    Vpc *v = (Vpc *)s;
    uint8_t raw[4];

    if (!v->dynamic) {
        *e = (SparseEntry){SPARSE_DATA, block << s->block_bits};
        return 0;
    }
    int ret = pages_read(&s->pages, v->table + block * 4, raw, 4);
    uint32_t n = get_be32(raw);
    *e = (SparseEntry){SPARSE_NONE, 0};
    if (ret || n == UNUSED) {
        return ret;
    }
    uint64_t at = (uint64_t)n * SECTOR, len = v->bitmap + (1ull << s->block_bits);
    if (overlaps(at, len, 0, FOOTER) || overlaps(at, len, v->header, HEADER) ||
        overlaps(at, len, v->table, v->table_end - v->table)) {
        return -EIO;
    }
    *e = (SparseEntry){SPARSE_DATA, at + v->bitmap};
    return 0;
}

static int vpc_set(Sparse *s, uint64_t block, const SparseEntry *e)
{
    Vpc *v = (Vpc *)s;
    uint8_t raw[4];
    put_be32(raw, (uint32_t)((e->off - v->bitmap) / SECTOR));
    return pages_write(&s->pages, v->table + block * 4, raw, 4, PAGES_LEAF);
}

static int vpc_clear(Sparse *s, uint64_t block)
{
    uint8_t raw[4];
    put_be32(raw, UNUSED);
    return pages_write(&s->pages, ((Vpc *)s)->table + block * 4, raw, 4, PAGES_LEAF);
}

static int vpc_reserve(Sparse *s, uint64_t *n, uint64_t *off)
{
    Vpc *v = (Vpc *)s;

    if (!v->dynamic || s->end / SECTOR >= UNUSED) {
        return v->dynamic ? -EFBIG : -EIO;
    }
    *n = 1;
    *off = s->end + v->bitmap;
    s->end = *off + (1ull << s->block_bits);
    return 0;
}

/* All sectors of a new block count as written: what was not is zeros. */
static int vpc_prepare(Sparse *s, uint64_t off)
{
    Vpc *v = (Vpc *)s;
    g_autofree uint8_t *ones = g_malloc(v->bitmap);
    memset(ones, 0xff, v->bitmap);
    return sparse_pwrite(s, off - v->bitmap, ones, v->bitmap);
}

/* A block that another program made may have sectors that do not count yet. */
static int vpc_touch(Sparse *s, uint64_t block)
{
    Vpc *v = (Vpc *)s;
    SparseEntry e;
    uint8_t bits[SECTOR];

    if (!v->dynamic) {
        return 0;
    }
    int ret = vpc_get(s, block, &e);
    uint64_t bytes = (1ull << s->block_bits) / SECTOR / 8;
    for (uint64_t i = 0; i < bytes && ret == 0; i += sizeof(bits)) {
        size_t n = MIN(sizeof(bits), bytes - i);
        ret = pages_read(&s->pages, e.off - v->bitmap + i, bits, n);
        if (ret == 0 && (bits[0] != 0xff || memcmp(bits, bits + 1, n - 1))) {
            memset(bits, 0xff, n);
            ret = pages_write(&s->pages, e.off - v->bitmap + i, bits, n, PAGES_LEAF);
        }
    }
    return ret;
}

static int vpc_settle(Sparse *s)
{
    Vpc *v = (Vpc *)s;
    uint64_t at = s->stale < FOOTER ? 0 : s->stale - FOOTER;
    return v->dynamic ? sparse_pwrite(s, MAX(s->end, at), v->footer, FOOTER) : 0;
}

static int vpc_trim(Sparse *s, uint64_t end)
{
    int ret = sparse_trim(s, end);
    return ret ? ret : vpc_settle(s);
}

static bool is_footer(const uint8_t *f)
{
    return memcmp(f, "conectix", 8) == 0 && get_be32(f + F_SUM) == checksum(f, FOOTER, F_SUM);
}

static bool vpc_begin(Sparse *s, GError **err)
{
    Vpc *v = (Vpc *)s;
    uint64_t file_end = s->end, end = MAX(v->table_end, v->header + HEADER);
    uint8_t last[FOOTER];

    if (!v->dynamic) {
        return true;
    }
    for (uint64_t i = 0; i < s->blocks; i++) {
        SparseEntry e;
        if (vpc_get(s, i, &e)) {
            return sparse_bad(s, err,
                              "the block allocation table is damaged; read-only=on opens it");
        }
        if (e.kind == SPARSE_DATA) {
            end = MAX(end, e.off + (1ull << s->block_bits));
        }
    }
    if (end > file_end) {
        return sparse_bad(s, err, "a block is beyond the end of the file; read-only=on opens it");
    }
    s->end = end;
    s->stale = file_end;
    /* After a crash there may be none at the end. */
    if (sparse_pread(s, file_end - FOOTER, last, FOOTER) || !is_footer(last)) {
        s->stale = MAX(file_end + FOOTER, end);
        if (vpc_settle(s)) {
            return sparse_bad(s, err, "the footer cannot be written");
        }
    }
    return true;
}

static void vpc_usage(Sparse *s, uint64_t *stride, uint64_t *overhead)
{
    Vpc *v = (Vpc *)s;
    *stride = (1ull << s->block_bits) + v->bitmap;
    *overhead = v->dynamic ? MAX(v->table_end, v->header + HEADER) + FOOTER : FOOTER;
}

static const SparseOps vpc_ops = {
    .driver = {SPARSE_MEMBERS("vpc"), .set_backing = NULL},
    .get = vpc_get,
    .set = vpc_set,
    .clear = vpc_clear,
    .trim = vpc_trim,
    .touch = vpc_touch,
    .reserve = vpc_reserve,
    .prepare = vpc_prepare,
    .settle = vpc_settle,
    .begin = vpc_begin,
    .usage = vpc_usage,
};

static bool read_dynamic(Vpc *v, GError **err)
{
    Sparse *s = &v->s;
    uint8_t h[HEADER] = {0};

    v->header = get_be64(v->footer + F_DATA);
    if (v->header < FOOTER || v->header % SECTOR || v->header > INT64_MAX - HEADER ||
        v->header + HEADER > s->end || sparse_pread(s, v->header, h, HEADER) ||
        memcmp(h, "cxsparse", 8)) {
        return sparse_bad(s, err, "there is no header of a dynamic disk where the footer says");
    }
    if (get_be32(h + H_SUM) != checksum(h, HEADER, H_SUM)) {
        return sparse_bad(s, err, "the checksum of the dynamic disk's header is wrong");
    }
    uint32_t bs = get_be32(h + H_BLOCK), n = get_be32(h + H_ENTRIES);
    if (get_be32(h + H_VERSION) >> 16 != 1) {
        return sparse_bad(s, err, "the version of the dynamic disk's header is not 1");
    }
    if (bs < SECTOR || bs > 1u << 30 || (bs & (bs - 1))) {
        return sparse_bad(s, err, "the size of a block is not a power of 2 from 512 to 1G");
    }
    s->block_bits = (unsigned)__builtin_ctz(bs);
    s->blocks = (s->size + bs - 1) >> s->block_bits;
    v->table = get_be64(h + H_TABLE);
    if (s->blocks > n) {
        return sparse_bad(s, err, "the block allocation table is too short for the disk");
    }
    if (v->table < FOOTER || v->table % SECTOR || v->table > INT64_MAX / 2 ||
        overlaps(v->table, n * 4ull, v->header, HEADER) || v->table + n * 4ull > s->end) {
        return sparse_bad(s, err,
                          "header and block allocation table overlap or are out of the file");
    }
    v->table_end = (v->table + n * 4ull + SECTOR - 1) / SECTOR * SECTOR;
    v->bitmap = (bs / SECTOR / 8 + SECTOR - 1) / SECTOR * SECTOR;
    return true;
}

static bool read_image(Vpc *v, GError **err)
{
    Sparse *s = &v->s;
    bool found = s->end >= FOOTER && sparse_pread(s, s->end - FOOTER, v->footer, FOOTER) == 0 &&
                 is_footer(v->footer);

    /* Without one at the end the copy counts. */
    found = found || (sparse_pread(s, 0, v->footer, FOOTER) == 0 && is_footer(v->footer));
    if (!found) {
        return sparse_bad(s, err,
                          "it is not a vpc image: there is no footer with a right checksum");
    }
    uint32_t type = get_be32(v->footer + F_TYPE);
    s->size = get_be64(v->footer + F_SIZE);
    if (get_be32(v->footer + F_VERSION) >> 16 != 1) {
        return sparse_bad(s, err, "the version of the footer is not 1");
    }
    if (type == TYPE_DIFF) {
        return sparse_bad(s, err, "differencing vpc images are not supported");
    }
    if (type != TYPE_FIXED && type != TYPE_DYNAMIC) {
        return fail(err, "image '%s': there is no vpc disk type %u", s->path, type);
    }
    if (s->size > 1ull << 50) {
        return sparse_bad(s, err, "the disk is too large");
    }
    s->size = (s->size + SECTOR - 1) / SECTOR * SECTOR;
    v->dynamic = type == TYPE_DYNAMIC;
    if (v->dynamic) {
        return read_dynamic(v, err);
    }
    if (s->size > s->end - FOOTER) {
        return sparse_bad(s, err, "the file is shorter than the disk");
    }
    s->block_bits = FIXED_BITS;
    s->blocks = (s->size + (1u << FIXED_BITS) - 1) >> FIXED_BITS;
    return true;
}

static bool vpc_open(BlockFile *out, const BlockFile *file, const char *path, unsigned flags,
                     GSList *chain, GError **err)
{
    Vpc *v = g_new0(Vpc, 1);

    v->s.ops = &vpc_ops;
    sparse_init(&v->s, file, path);
    if (!read_image(v, err) || !sparse_start(&v->s, out, flags, chain, err)) {
        sparse_free(&v->s);
        return false;
    }
    return true;
}

/* ---- creating ---- */

/* Cylinders, heads and sectors of the specification's appendix. */
static uint64_t geometry(uint64_t sectors, uint32_t *chs)
{
    uint64_t total = MIN(sectors, MAX_CHS);
    uint32_t spt, heads, ch;

    if (total >= 65535ull * 16 * 63) {
        spt = 255;
        heads = 16;
        ch = (uint32_t)(total / spt);
    } else {
        spt = 17;
        ch = (uint32_t)(total / spt);
        heads = MAX((ch + 1023) / 1024, 4);
        if (ch >= heads * 1024 || heads > 16) {
            spt = 31;
            heads = 16;
            ch = (uint32_t)(total / spt);
        }
        if (ch >= heads * 1024) {
            spt = 63;
            heads = 16;
            ch = (uint32_t)(total / spt);
        }
    }
    uint32_t cylinders = ch / heads;
    *chs = cylinders << 16 | heads << 8 | spt;
    return (uint64_t)cylinders * heads * spt;
}

/* The smallest disk with a geometry that has @sectors; more than one has: as it is. */
static uint64_t round_up(uint64_t sectors, uint32_t *chs)
{
    for (uint64_t n = sectors; n <= MAX_CHS; n++) {
        uint64_t have = geometry(n, chs);
        if (have >= sectors) {
            return have;
        }
    }
    geometry(sectors, chs);
    return sectors;
}

static void make_footer(uint8_t *f, uint64_t size, uint32_t chs, bool fixed, bool exact)
{
    memset(f, 0, FOOTER);
    memcpy(f, "conectix", 8);
    put_be32(f + F_FEATURES, 2); /* reserved, always set */
    put_be32(f + F_VERSION, 0x00010000);
    put_be64(f + F_DATA, fixed ? UINT64_MAX : FOOTER);
    put_be32(f + F_TIME, (uint32_t)(time(NULL) - EPOCH));
    /* Programs take the size from the geometry, unless they know the creator for one that does
     * not: Windows. */
    memcpy(f + F_APP, exact ? "win " : "rhea", 4);
    put_be32(f + F_APP_VERSION, 0x00010000);
    memcpy(f + F_HOST, "Wi2k", 4);
    put_be64(f + F_ORIGINAL, size);
    put_be64(f + F_SIZE, size);
    put_be32(f + F_CHS, chs);
    put_be32(f + F_TYPE, fixed ? TYPE_FIXED : TYPE_DYNAMIC);
    if (getrandom(f + F_UUID, 16, 0) != 16) {
        memset(f + F_UUID, 0x5a, 16);
    }
    put_be32(f + F_SUM, checksum(f, FOOTER, F_SUM));
}

static int put(const BlockFile *f, uint64_t off, void *data, size_t len)
{
    struct iovec iov = {data, len};
    return f->driver->write(f->file, off, &iov, 1);
}

static int write_dynamic(const BlockFile *f, uint8_t *footer, uint64_t size)
{
    uint8_t h[HEADER] = {0};
    g_autofree uint8_t *ones = g_malloc(65536);
    uint64_t n = (size + (1u << BLOCK_BITS) - 1) >> BLOCK_BITS, table = FOOTER + HEADER;
    uint64_t len = (n * 4 + SECTOR - 1) / SECTOR * SECTOR;

    memcpy(h, "cxsparse", 8);
    put_be64(h + H_DATA, UINT64_MAX);
    put_be64(h + H_TABLE, table);
    put_be32(h + H_VERSION, 0x00010000);
    put_be32(h + H_ENTRIES, (uint32_t)n);
    put_be32(h + H_BLOCK, 1u << BLOCK_BITS);
    put_be32(h + H_SUM, checksum(h, HEADER, H_SUM));
    memset(ones, 0xff, 65536);
    int ret = put(f, FOOTER, h, HEADER);
    for (uint64_t at = 0; at < len && ret == 0; at += 65536) {
        ret = put(f, table + at, ones, MIN(65536, len - at));
    }
    ret = ret ? ret : put(f, table + len, footer, FOOTER);
    return ret ? ret : put(f, 0, footer, FOOTER);
}

static bool vpc_create(const BlockFile *file, const char *path, const ImageCreate *c, GError **err)
{
    g_autofree char *sub = image_option(c, "subformat");
    uint64_t sectors = (c->size + SECTOR - 1) / SECTOR;
    bool fixed = sub && !strcmp(sub, "fixed"), exact = false;
    uint8_t footer[FOOTER];
    uint32_t chs = 0;

    if (c->backing) {
        return fail(err, "image '%s': backing files of vpc images are not supported", path);
    }
    if (sub && !fixed && strcmp(sub, "dynamic")) {
        return fail(err, "subformat=%s is neither dynamic nor fixed", sub);
    }
    if (!image_option_bool(c, "force_size", &exact, err)) {
        return false;
    }
    if (c->size > MAX_SIZE) {
        return fail(err, "image '%s': vpc images have at most 2040G", path);
    }
    if (exact || sectors > MAX_CHS) {
        geometry(sectors, &chs);
        exact = true;
    } else {
        sectors = round_up(sectors, &chs);
    }
    make_footer(footer, sectors * SECTOR, chs, fixed, exact);
    int ret = fixed ? put(file, sectors * SECTOR, footer, FOOTER)
                    : write_dynamic(file, footer, sectors * SECTOR);
    return ret == 0 || fail(err, "image '%s': %s", path, g_strerror(-ret));
}

static void vpc_info(const BlockFile *f, ImageInfo *info)
{
    const Vpc *v = f->file;
    *info = (ImageInfo){.cluster_size = v->dynamic ? 1ull << v->s.block_bits : 0};
}

const ImageFormat format_vpc = {
    .name = "vpc",
    .open = vpc_open,
    .create = vpc_create,
    .check = sparse_check,
    .info = vpc_info,
};
