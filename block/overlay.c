/*
 * Copy on write into a temporary file, for -snapshot. Clusters that were written are there at
 * their own offsets; a bitmap tells which. Never flushed: it is gone with the process.
 */
#include "block/driver.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER 65536u

typedef struct Overlay {
    BlockFile base, top;
    GMutex lock;
    uint64_t n; /* clusters */
    uint8_t *present;
} Overlay;

static bool present(const Overlay *o, uint64_t c)
{
    return o->present[c / 8] & (1u << (c % 8));
}

static uint64_t base_length(const Overlay *o, uint64_t off, uint64_t len)
{
    return MIN(len, o->base.size - MIN(off, o->base.size));
}

/* Lock held. Fills what a write to [off, off + len) of cluster @c leaves untouched. */
static int populate(Overlay *o, uint64_t c, bool whole)
{
    if (present(o, c)) {
        return 0;
    }
    int ret = 0;
    uint64_t len = base_length(o, c * CLUSTER, CLUSTER);
    if (!whole && len) {
        g_autofree uint8_t *buf = g_malloc(len);
        struct iovec iov = {buf, len};
        ret = o->base.driver->read(o->base.file, c * CLUSTER, &iov, 1);
        if (ret == 0) {
            ret = o->top.driver->write(o->top.file, c * CLUSTER, &iov, 1);
        }
    }
    if (ret == 0) {
        o->present[c / 8] |= (uint8_t)(1u << (c % 8));
    }
    return ret;
}

/* Calls the driver for each piece of @iov inside one cluster. */
static int each_piece(Overlay *o, uint64_t off, const struct iovec *iov, unsigned n, bool write)
{
    int ret = 0;

    g_mutex_lock(&o->lock);
    for (unsigned i = 0; i < n && ret == 0; i++) {
        uint8_t *p = iov[i].iov_base;
        size_t left = iov[i].iov_len;
        while (left && ret == 0) {
            uint64_t c = off / CLUSTER;
            struct iovec piece = {p, MIN(left, CLUSTER - off % CLUSTER)};
            if (write) {
                ret = populate(o, c, piece.iov_len == CLUSTER);
                ret = ret ? ret : o->top.driver->write(o->top.file, off, &piece, 1);
            } else {
                const BlockFile *f = present(o, c) ? &o->top : &o->base;
                ret = f->driver->read(f->file, off, &piece, 1);
            }
            p += piece.iov_len;
            off += piece.iov_len;
            left -= piece.iov_len;
        }
    }
    g_mutex_unlock(&o->lock);
    return ret;
}

static int overlay_read(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    return each_piece(file, off, iov, n, false);
}

static int overlay_write(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    return each_piece(file, off, iov, n, true);
}

static int overlay_extent(void *file, uint64_t off, uint64_t len, BlockExtent *e)
{
    Overlay *o = file;
    uint64_t end = off + len, c = off / CLUSTER, start = off;

    g_mutex_lock(&o->lock);
    bool here = present(o, c);
    for (; off < end && present(o, c) == here; c++) {
        off = MIN(end, (c + 1) * CLUSTER);
    }
    g_mutex_unlock(&o->lock);
    *e = (BlockExtent){.len = off - start, .present = true, .data = true};
    if (!here) {
        if (o->base.driver->extent && start < o->base.size) {
            int ret =
                o->base.driver->extent(o->base.file, start, MIN(off, o->base.size) - start, e);
            if (ret) {
                return ret;
            }
        }
        e->depth++;
    }
    return 0;
}

/* All of a range of clusters as if written with zeros, without reading what is below. */
static int overlay_write_zeroes(void *file, uint64_t off, uint64_t len, bool unmap)
{
    Overlay *o = file;
    int ret = 0;

    g_mutex_lock(&o->lock);
    while (len && ret == 0) {
        uint64_t n = MIN(len, CLUSTER - off % CLUSTER);
        ret = populate(o, off / CLUSTER, n == CLUSTER);
        ret = ret ? ret : block_file_zero(&o->top, off, n, true);
        off += n;
        len -= n;
    }
    g_mutex_unlock(&o->lock);
    return ret;
}

static BlockFile *overlay_backing(void *file)
{
    return &((Overlay *)file)->base;
}

static int overlay_make_empty(void *file)
{
    Overlay *o = file;
    memset(o->present, 0, o->n / 8 + 1);
    return o->top.driver->discard(o->top.file, 0, o->n * CLUSTER);
}

static int overlay_flush(void *file)
{
    return 0;
}

static void overlay_close(void *file)
{
    Overlay *o = file;
    o->base.driver->close(o->base.file);
    o->top.driver->close(o->top.file);
    g_mutex_clear(&o->lock);
    g_free(o->present);
    g_free(o);
}

static const BlockDriver overlay_driver = {
    .name = "raw",
    .read = overlay_read,
    .write = overlay_write,
    .flush = overlay_flush,
    .close = overlay_close,
    .extent = overlay_extent,
    .write_zeroes = overlay_write_zeroes,
    .backing = overlay_backing,
    .make_empty = overlay_make_empty,
};

bool overlay_open(BlockFile *out, const BlockFile *base, GError **err)
{
    const char *dir = g_getenv("TMPDIR");
    g_autofree char *path = g_strdup_printf("%s/rhea-XXXXXX", dir && *dir ? dir : "/var/tmp");
    BlockFile top;

    int fd = mkstemp(path);
    if (fd < 0) {
        return fail(err, "temporary file '%s': %s", path, g_strerror(errno));
    }
    close(fd);
    bool ok = raw_open(&top, path, IMAGE_WRITE | IMAGE_NO_FLUSH | IMAGE_UNLOCKED, err);
    unlink(path);
    if (!ok) {
        return false;
    }
    Overlay *o = g_new0(Overlay, 1);
    o->base = *base;
    o->top = top;
    o->n = (base->size + CLUSTER - 1) / CLUSTER;
    o->present = g_malloc0(o->n / 8 + 1);
    g_mutex_init(&o->lock);
    *out = (BlockFile){.driver = &overlay_driver, .file = o, .size = base->size};
    return true;
}
