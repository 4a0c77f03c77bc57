/*
 * VDI, VirtualBox's disk image, version 1.1: dynamic and static.
 * Written from the layout of the header as VirtualBox's "Virtual Disk Image" tutorial gives it
 * (all little-endian): a header, a map of 32-bit numbers of blocks, the blocks.
 */
#include "block/bytes.h"
#include "block/sparse.h"
#include "core/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define HEADER 512u
#define SIGNATURE 0xbeda107fu
#define VERSION 0x00010001u
#define NONE 0xffffffffu
#define ZERO 0xfffffffeu
#define MAX_BLOCKS 0x1fffffffu
#define BLOCK_BITS 20u

enum {
    AT_SIGNATURE = 0x40,
    AT_VERSION = 0x44,
    AT_HEADER_SIZE = 0x48,
    AT_TYPE = 0x4c,
    AT_MAP = 0x154,
    AT_DATA = 0x158,
    AT_SECTOR = 0x168,
    AT_SIZE = 0x170,
    AT_BLOCK = 0x178,
    AT_EXTRA = 0x17c,
    AT_BLOCKS = 0x180,
    AT_USED = 0x184,
    AT_UUID = 0x188,
    AT_UUID_SNAP = 0x198,
    AT_UUID_PARENT = 0x1b8,
};
enum { TYPE_DYNAMIC = 1, TYPE_STATIC = 2, TYPE_UNDO = 3, TYPE_DIFF = 4 };

typedef struct Vdi {
    Sparse s;
    uint64_t map, data; /* offsets in the file */
    uint32_t used;      /* as the header says */
} Vdi;

static int vdi_get(Sparse *s, uint64_t block, SparseEntry *e)
{
    Vdi *v = (Vdi *)s;
    uint8_t raw[4];
    int ret = pages_read(&s->pages, v->map + block * 4, raw, 4);
    uint32_t n = get_le32(raw);

    *e = (SparseEntry){.kind = n == NONE ? SPARSE_NONE : n == ZERO ? SPARSE_ZERO : SPARSE_DATA};
    if (ret == 0 && e->kind == SPARSE_DATA) {
        if (n >= s->blocks) {
            return -EIO;
        }
        e->off = v->data + ((uint64_t)n << s->block_bits);
    }
    return ret;
}

static int put_used(Vdi *v, uint32_t used)
{
    uint8_t raw[4];
    v->used = used;
    put_le32(raw, used);
    return pages_write(&v->s.pages, AT_USED, raw, 4, PAGES_LEAF);
}

static int vdi_set(Sparse *s, uint64_t block, const SparseEntry *e)
{
    Vdi *v = (Vdi *)s;
    uint8_t raw[4];
    uint64_t n = (e->off - v->data) >> s->block_bits;

    put_le32(raw, (uint32_t)n);
    int ret = pages_write(&s->pages, v->map + block * 4, raw, 4, PAGES_LEAF);
    return ret ? ret : put_used(v, v->used + 1);
}

static int vdi_reserve(Sparse *s, uint64_t *n, uint64_t *off)
{
    Vdi *v = (Vdi *)s;
    uint64_t next = (s->end - v->data) >> s->block_bits;

    if (next >= s->blocks) {
        return -ENOSPC; /* only when places are lost: check finds them */
    }
    *n = MIN(*n, s->blocks - next);
    *off = s->end;
    s->end += *n << s->block_bits;
    return 0;
}

static int vdi_clear(Sparse *s, uint64_t block)
{
    uint8_t raw[4];
    put_le32(raw, NONE);
    return pages_write(&s->pages, ((Vdi *)s)->map + block * 4, raw, 4, PAGES_LEAF);
}

/* Blocks in use, and the end of the last one. */
static int scan(Vdi *v, uint32_t *used, uint64_t *end)
{
    Sparse *s = &v->s;

    *used = 0;
    *end = v->data;
    for (uint64_t i = 0; i < s->blocks; i++) {
        SparseEntry e;
        int ret = vdi_get(s, i, &e);
        if (ret) {
            return ret;
        }
        if (e.kind == SPARSE_DATA) {
            *used += 1;
            *end = MAX(*end, e.off + (1ull << s->block_bits));
        }
    }
    return 0;
}

static bool vdi_begin(Sparse *s, GError **err)
{
    Vdi *v = (Vdi *)s;
    uint64_t file_end = s->end, end;
    uint32_t used;

    if (scan(v, &used, &end)) {
        return sparse_bad(s, err, "the map of blocks is damaged; read-only=on opens it");
    }
    if (end >= file_end + (1ull << s->block_bits)) {
        return sparse_bad(s, err, "a block is beyond the end of the file; read-only=on opens it");
    }
    s->end = end;
    s->stale = file_end;
    if (used != v->used && put_used(v, used)) {
        return sparse_bad(s, err, "the header cannot be changed");
    }
    return true;
}

static void vdi_usage(Sparse *s, uint64_t *stride, uint64_t *overhead)
{
    *stride = 1ull << s->block_bits;
    *overhead = ((Vdi *)s)->data;
}

static int vdi_check(Sparse *s, uint64_t blocks, unsigned fix, ImageCheck *res,
                     void (*say)(void *opaque, const char *line), void *opaque)
{
    Vdi *v = (Vdi *)s;

    if (v->used == blocks) {
        return 0;
    }
    g_autofree char *line =
        g_strdup_printf("%s: the header counts %u blocks, the map %" G_GUINT64_FORMAT,
                        fix ? "Repairing" : "Leaked", v->used, blocks);
    say(opaque, line);
    res->leaks++;
    if (fix) {
        res->leaks_fixed++;
        return put_used(v, (uint32_t)blocks);
    }
    return 0;
}

static const SparseOps vdi_ops = {
    .driver = {SPARSE_MEMBERS("vdi"), .set_backing = NULL},
    .get = vdi_get,
    .set = vdi_set,
    .clear = vdi_clear,
    .trim = sparse_trim,
    .reserve = vdi_reserve,
    .begin = vdi_begin,
    .usage = vdi_usage,
    .check = vdi_check,
};

static bool nonzero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i]) {
            return true;
        }
    }
    return false;
}

static bool read_header(Vdi *v, GError **err)
{
    Sparse *s = &v->s;
    uint8_t h[HEADER] = {0};

    if (sparse_pread(s, 0, h, sizeof(h)) || get_le32(h + AT_SIGNATURE) != SIGNATURE) {
        return sparse_bad(s, err, "it is not a vdi image");
    }
    uint32_t version = get_le32(h + AT_VERSION), type = get_le32(h + AT_TYPE);
    uint32_t bs = get_le32(h + AT_BLOCK), blocks = get_le32(h + AT_BLOCKS);
    uint64_t map_end = get_le32(h + AT_MAP) + blocks * 4ull;
    s->size = get_le64(h + AT_SIZE);
    v->map = get_le32(h + AT_MAP);
    v->data = get_le32(h + AT_DATA);
    v->used = get_le32(h + AT_USED);
    if (version != VERSION) {
        return fail(err, "image '%s': vdi version %u.%u is not supported; 1.1 is", s->path,
                    version >> 16, version & 0xffff);
    }
    if (type == TYPE_UNDO || type == TYPE_DIFF || nonzero(h + AT_UUID_PARENT, 16)) {
        return sparse_bad(s, err, "differencing vdi images are not supported");
    }
    if (type != TYPE_DYNAMIC && type != TYPE_STATIC) {
        return fail(err, "image '%s': there is no vdi image type %u", s->path, type);
    }
    if (bs < 4096 || bs > 64u << 20 || (bs & (bs - 1)) || get_le32(h + AT_EXTRA)) {
        return sparse_bad(s, err, "the size of a block is not a power of 2 from 4K to 64M");
    }
    if (get_le32(h + AT_SECTOR) != 512) {
        return sparse_bad(s, err, "the size of a sector is not 512");
    }
    if (blocks > MAX_BLOCKS || s->size > (uint64_t)blocks * bs) {
        return sparse_bad(s, err, "the size of the disk does not fit the number of blocks");
    }
    if (v->map < HEADER || v->map % 512 || v->data % 512 || v->data < map_end ||
        map_end > (s->end + 511) / 512 * 512) {
        return sparse_bad(s, err, "header, map and data overlap or are out of the file");
    }
    s->block_bits = (unsigned)__builtin_ctz(bs);
    s->size = (s->size + 511) & ~511ull;
    s->blocks = MIN(blocks, (s->size + bs - 1) / bs);
    return true;
}

static bool vdi_open(BlockFile *out, const BlockFile *file, const char *path, unsigned flags,
                     GSList *chain, GError **err)
{
    Vdi *v = g_new0(Vdi, 1);

    v->s.ops = &vdi_ops;
    sparse_init(&v->s, file, path);
    if (!read_header(v, err) || !sparse_start(&v->s, out, flags, chain, err)) {
        sparse_free(&v->s);
        return false;
    }
    return true;
}

static void random_uuid(uint8_t *p)
{
    if (getrandom(p, 16, 0) != 16) {
        memset(p, 0x5a, 16);
    }
    p[7] = (p[7] & 0x0f) | 0x40;
    p[8] = (p[8] & 0x3f) | 0x80;
}

/* The map, 64 KiB at a time. */
static int write_map(const BlockFile *f, uint64_t at, uint64_t len, uint64_t blocks, bool fixed)
{
    g_autofree uint8_t *buf = g_malloc(65536);
    int ret = 0;

    for (uint64_t off = 0; off < len && ret == 0;) {
        struct iovec iov = {buf, MIN(65536, len - off)};
        for (size_t i = 0; i < iov.iov_len; i += 4) {
            uint64_t n = (off + i) / 4;
            put_le32(buf + i, n < blocks ? fixed ? (uint32_t)n : NONE : 0);
        }
        ret = f->driver->write(f->file, at + off, &iov, 1);
        off += iov.iov_len;
    }
    return ret;
}

static bool vdi_create(const BlockFile *file, const char *path, const ImageCreate *c, GError **err)
{
    uint8_t h[HEADER] = {0};
    uint64_t size = (c->size + 511) & ~511ull;
    uint64_t blocks = (size >> BLOCK_BITS) + ((size & ((1u << BLOCK_BITS) - 1)) != 0);
    uint64_t map_len = (blocks * 4 + 511) & ~511ull;
    uint64_t data = (HEADER + map_len + 4095) & ~4095ull;
    bool fixed = false;

    if (c->backing) {
        return fail(err, "image '%s': vdi images have no backing files", path);
    }
    if (!image_option_bool(c, "static", &fixed, err)) {
        return false;
    }
    if (blocks > MAX_BLOCKS) {
        return fail(err, "image '%s': the disk is too large for a vdi image", path);
    }
    strcpy((char *)h, "<<< Rhea VM Virtual Disk Image >>>\n");
    put_le32(h + AT_SIGNATURE, SIGNATURE);
    put_le32(h + AT_VERSION, VERSION);
    put_le32(h + AT_HEADER_SIZE, 0x180);
    put_le32(h + AT_TYPE, fixed ? TYPE_STATIC : TYPE_DYNAMIC);
    put_le32(h + AT_MAP, HEADER);
    put_le32(h + AT_DATA, (uint32_t)data);
    put_le32(h + AT_SECTOR, 512);
    put_le64(h + AT_SIZE, size);
    put_le32(h + AT_BLOCK, 1u << BLOCK_BITS);
    put_le32(h + AT_BLOCKS, (uint32_t)blocks);
    put_le32(h + AT_USED, fixed ? (uint32_t)blocks : 0);
    random_uuid(h + AT_UUID);
    random_uuid(h + AT_UUID_SNAP);
    struct iovec iov = {h, HEADER};
    static const uint8_t zeros[512];
    struct iovec last = {(void *)zeros, 512};
    uint64_t end = data + (fixed ? blocks << BLOCK_BITS : 0);
    int ret = write_map(file, HEADER, map_len, blocks, fixed);
    ret =
        ret || end <= HEADER + map_len ? ret : file->driver->write(file->file, end - 512, &last, 1);
    ret = ret ? ret : file->driver->write(file->file, 0, &iov, 1);
    return ret == 0 || fail(err, "image '%s': %s", path, g_strerror(-ret));
}

static void vdi_info(const BlockFile *f, ImageInfo *info)
{
    const Sparse *s = f->file;
    *info = (ImageInfo){.cluster_size = 1ull << s->block_bits};
}

const ImageFormat format_vdi = {
    .name = "vdi",
    .open = vdi_open,
    .create = vdi_create,
    .check = sparse_check,
    .info = vdi_info,
};
