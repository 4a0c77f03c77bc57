/* What the operator does to block devices: limits, sizes, external snapshots, commit. */
#include "block/dev.h"
#include "block/qcow2.h"
#include "core/log.h"
#include "core/machine.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_CHUNK (1u << 20)

void block_get_stats(const BlockDev *b, BlockStats *out)
{
    *out = b->stats;
}

const BlockOptions *block_options(const BlockDev *b)
{
    return &b->opts;
}

/* ---- limits ---- */

void block_get_throttle(const BlockDev *b, ThrottleConfig *out)
{
    *out = b->throttle ? *throttle_group_config(b->throttle) : (ThrottleConfig){0};
}

const char *block_throttle_group(const BlockDev *b)
{
    return b->throttle ? throttle_group_name(b->throttle) : NULL;
}

void block_set_throttle(BlockDev *b, const ThrottleConfig *t, const char *group)
{
    Machine *m = b->opts.machine;
    ThrottleGroup *old = b->throttle;

    if (!old || group) {
        if (!m && !b->clock) {
            b->clock = clock_new(CLOCK_KIND_MONOTONIC);
        }
        ThrottleGroup *g =
            throttle_group_get(m ? &m->throttle_groups : NULL, group, m ? m->mono_clock : b->clock);
        if (old) {
            throttle_release(old, b);
            throttle_group_put(old);
        }
        b->throttle = g;
        /* A member that comes without limits of its own takes the group's. */
        if (!throttle_enabled(t) && group) {
            return;
        }
    }
    throttle_group_set(b->throttle, t);
}

/* ---- size ---- */

void block_on_resize(BlockDev *b, void (*fn)(void *opaque), void *opaque)
{
    b->on_resize = fn;
    b->resize_opaque = opaque;
}

bool block_resize(BlockDev *b, uint64_t size, GError **err)
{
    if (b->read_only) {
        return fail(err, "image '%s' is read-only", b->name);
    }
    if (!b->file.driver->resize) {
        return fail(err, "image '%s': an image of format %s cannot change its size", b->name,
                    b->file.driver->name);
    }
    if (size == 0) {
        return fail(err, "image '%s': the new size is 0", b->name);
    }
    block_quiesce(b);
    if (!b->file.driver->resize(&b->file, size, err)) {
        return false;
    }
    if (b->on_resize) {
        b->on_resize(b->resize_opaque);
    }
    return true;
}

/* ---- chains ---- */

static const char *path_of(const BlockFile *f)
{
    return f->driver->path ? f->driver->path(f->file) : NULL;
}

static BlockFile *backing_of(const BlockFile *f)
{
    return f->driver->backing ? f->driver->backing(f->file) : NULL;
}

bool block_has_backing(const BlockDev *b)
{
    return backing_of(&b->file) != NULL;
}

char **block_chain(const BlockDev *b)
{
    GPtrArray *names = g_ptr_array_new();

    for (const BlockFile *f = &b->file; f; f = backing_of(f)) {
        const char *path = path_of(f);
        g_ptr_array_add(
            names, g_strdup_printf("%s (%s)", path ? path : "temporary file", f->driver->name));
    }
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(names, FALSE);
}

static bool create_qcow2(const char *file, const char *backing, const char *format, uint64_t size,
                         GError **err)
{
    BlockFile f;
    int fd = open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return fail(err, "image '%s': %s", file, g_strerror(errno));
    }
    close(fd);
    const Qcow2Create o = {.size = size,
                           .backing = backing,
                           .backing_format = format,
                           .cluster_bits = 16,
                           .version = 3,
                           .refcount_order = 4};
    if (!raw_open(&f, file, IMAGE_WRITE, err)) {
        return false;
    }
    bool ok = qcow2_create(&f, file, &o, err);
    block_file_close(&f);
    return ok;
}

bool block_external_snapshot(BlockDev *b, const char *file, const char *format, bool reuse,
                             GError **err)
{
    const char *old = path_of(&b->file);
    BlockFile top;

    if (b->read_only) {
        return fail(err, "drive '%s' is read-only", block_id(b));
    }
    if (format && strcmp(format, "qcow2")) {
        return fail(err, "an external snapshot must be a qcow2 image, not %s", format);
    }
    if (!old || !b->file.driver->set_writable) {
        return fail(err, "drive '%s': its image is a temporary file and cannot be a backing file",
                    block_id(b));
    }
    char *real = realpath(old, NULL);
    g_autofree char *base = g_strdup(real ? real : old);
    free(real);
    char *there = realpath(file, NULL);
    bool same = there && !strcmp(there, base);
    free(there);
    if (same) {
        return fail(err, "image '%s' is what the drive writes to now", file);
    }
    block_quiesce(b);
    int ret = b->file.driver->flush(b->file.file);
    if (ret) {
        return fail(err, "image '%s': %s", b->name, g_strerror(-ret));
    }
    unsigned flags = IMAGE_WRITE | IMAGE_NO_BACKING | (b->opts.direct ? IMAGE_DIRECT : 0) |
                     (b->opts.no_flush ? IMAGE_NO_FLUSH : 0);
    if ((!reuse && !create_qcow2(file, base, b->file.driver->name, b->file.size, err)) ||
        !image_open(&top, file, "qcow2", flags, err)) {
        return false;
    }
    if (top.size < b->file.size || !b->file.driver->set_writable(b->file.file, false, err)) {
        if (top.size < b->file.size) {
            fail(err, "image '%s' is smaller than the drive", file);
        }
        block_file_close(&top);
        return false;
    }
    top.size = b->file.size;
    top.driver->set_backing(top.file, &b->file);
    b->file = top;
    g_free(b->name);
    b->opts.file = b->name = g_strdup(file);
    b->probed_raw = false;
    return true;
}

/* ---- commit ---- */

static int copy_down(const BlockFile *top, const BlockFile *base)
{
    g_autofree uint8_t *buf = g_malloc(COPY_CHUNK);
    int ret = 0;

    for (uint64_t off = 0; off < top->size && ret == 0;) {
        BlockExtent e = {.len = top->size - off, .present = true, .data = true};
        if (top->driver->extent) {
            ret = top->driver->extent(top->file, off, top->size - off, &e);
        }
        if (ret || e.len == 0) {
            return ret ? ret : -EIO;
        }
        if (!e.present || e.depth > 0) {
            off += e.len;
        } else if (e.zero) {
            ret = block_file_zero(base, off, e.len, true);
            off += e.len;
        } else {
            struct iovec iov = {buf, MIN(e.len, COPY_CHUNK)};
            ret = top->driver->read(top->file, off, &iov, 1);
            ret = ret ? ret : base->driver->write(base->file, off, &iov, 1);
            off += iov.iov_len;
        }
    }
    return ret ? ret : base->driver->flush(base->file);
}

bool block_commit(BlockDev *b, GError **err)
{
    BlockFile *base = backing_of(&b->file);

    if (!base) {
        return fail(err, "drive '%s' has no backing file to commit to", block_id(b));
    }
    if (!base->driver->set_writable || !b->file.driver->make_empty) {
        return fail(err, "drive '%s': commit is not possible with format %s", block_id(b),
                    base->driver->name);
    }
    block_quiesce(b);
    if (!base->driver->set_writable(base->file, true, err)) {
        return false;
    }
    bool ok = true;
    if (base->size < b->file.size) {
        ok = base->driver->resize ? base->driver->resize(base, b->file.size, err)
                                  : fail(err, "the backing file cannot grow to the drive's size");
    }
    int ret = ok ? copy_down(&b->file, base) : 0;
    ret = ok && !ret ? b->file.driver->make_empty(b->file.file) : ret;
    if (ret) {
        ok = fail(err, "drive '%s': %s", block_id(b), g_strerror(-ret));
    }
    return base->driver->set_writable(base->file, false, ok ? err : NULL) && ok;
}

/* ---- without an image ---- */

static int gone_io(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    return -EIO;
}

static int gone_flush(void *file)
{
    return -EIO;
}

static void gone_close(void *file)
{
}

static const BlockDriver gone_driver = {
    .name = "gone",
    .read = gone_io,
    .write = gone_io,
    .flush = gone_flush,
    .close = gone_close,
};

void block_disconnect(BlockDev *b)
{
    block_drain(b);
    block_file_close(&b->file);
    b->file = (BlockFile){.driver = &gone_driver, .size = b->file.size};
    /* There is nothing to wait for any more. */
    b->opts.rerror = b->opts.werror = BLOCK_ERROR_REPORT;
}
