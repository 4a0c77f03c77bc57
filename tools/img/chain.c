/* Backing files and sizes: commit, rebase, resize. */
#include "core/log.h"
#include "tools/img/img.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- commit ---- */

typedef struct Commit {
    const Args *a;
    BlockFile top, base;
    char *base_path, *base_format;
    unsigned depth; /* of the base below the top */
} Commit;

static bool same_path(const char *a, const char *b)
{
    char *x = realpath(a, NULL), *y = realpath(b, NULL);
    bool same = x && y && !strcmp(x, y);
    free(x);
    free(y);
    return same;
}

/* The backing file, or with -b the one that it names. */
static bool find_base(Commit *c, GError **err)
{
    const Args *a = c->a;
    const BlockFile *f = &c->top;

    for (c->depth = 1;; c->depth++) {
        f = f->driver->backing ? f->driver->backing(f->file) : NULL;
        if (!f) {
            return c->depth == 1 ? fail(err, "image '%s' has no backing file", file_at(a, 0))
                                 : fail(err, "'%s' is not below '%s'", a->backing, file_at(a, 0));
        }
        const char *path = f->driver->path ? f->driver->path(f->file) : NULL;
        if (!path) {
            return fail(err, "a backing file of '%s' has no name", file_at(a, 0));
        }
        if (!a->backing || same_path(path, a->backing)) {
            c->base_path = g_strdup(path);
            c->base_format = g_strdup(f->driver->name);
            return true;
        }
    }
}

/* What lies above the base goes to it. */
static int commit_data(Commit *c)
{
    g_autofree uint8_t *buf = g_malloc(CHUNK);
    const BlockFile *top = &c->top, *base = &c->base;
    int ret = 0;

    for (uint64_t off = 0; off < top->size && ret == 0;) {
        BlockExtent e;
        ret = extent_of(top, off, top->size - off, &e);
        if (ret == 0 && (!e.present || e.depth >= c->depth)) {
            off += e.len;
            continue;
        }
        if (ret == 0 && e.zero) {
            ret = block_file_zero(base, off, e.len, true);
            off += e.len;
            continue;
        }
        struct iovec iov = {buf, MIN(e.len, CHUNK)};
        ret = ret ? ret : top->driver->read(top->file, off, &iov, 1);
        ret = ret ? ret : base->driver->write(base->file, off, &iov, 1);
        keep_rate(c->a, iov.iov_len);
        off += iov.iov_len;
        progress(c->a, MIN(off, top->size - 1), top->size);
    }
    return ret ? ret : base->driver->flush(base->file);
}

/* The top loses its data, as it is in the base now. */
static bool empty_top(Commit *c, GError **err)
{
    const ImageFormat *format = image_format_of(&c->top);
    ImageInfo info = {0};
    int ret = 0;

    if (c->depth == 1 && !c->a->keep && c->top.driver->make_empty) {
        ret = c->top.driver->make_empty(c->top.file);
    }
    if (ret == 0 && format && !strcmp(format->name, "vmdk") && c->depth == 1) {
        format->info(&c->top, &info); /* the parent's content id is new */
        g_autofree char *name = g_strdup(info.backing);
        return format->set_backing(&c->top, name, "vmdk", err);
    }
    return ret == 0 || io_error(err, file_at(c->a, 0), ret);
}

bool cmd_commit(Args *a, GError **err)
{
    Commit c = {.a = a};
    unsigned flags;

    if (!want_files(a, 1, 1, "commit [-f FORMAT] [-b BASE] [-d] [-p] FILE", err) ||
        !cache_flags(a->cache, &flags, err) ||
        !open_arg(a, 0, a->format, flags | IMAGE_WRITE | IMAGE_BACKING_UNLOCKED, &c.top, err)) {
        return false;
    }
    bool ok = find_base(&c, err) &&
              image_open(&c.base, c.base_path, c.base_format, flags | IMAGE_WRITE, err);
    if (ok) {
        ok = c.base.size >= c.top.size || resize_image(&c.base, c.base_path, c.top.size, err);
        int ret = ok ? commit_data(&c) : 0;
        block_file_close(&c.base);
        ok = ok && (ret == 0 || io_error(err, c.base_path, ret)) && empty_top(&c, err);
    }
    block_file_close(&c.top);
    g_free(c.base_path);
    g_free(c.base_format);
    if (ok) {
        progress(a, 1, 1);
    }
    if (ok && !a->quiet) {
        puts("Image committed.");
    }
    return ok;
}

/* ---- rebase ---- */

/* Zeros behind its end; no file: zeros. */
static int read_part(const BlockFile *f, uint64_t off, uint8_t *buf, uint64_t len)
{
    uint64_t have = f && off < f->size ? MIN(len, f->size - off) : 0;
    struct iovec iov = {buf, have};

    memset(buf + have, 0, len - have);
    return have ? f->driver->read(f->file, off, &iov, 1) : 0;
}

/* What the old chain shows through @f and the new one shows differently goes into @f. */
static int keep_contents(const Args *a, const BlockFile *f, const BlockFile *new, uint64_t cs)
{
    const BlockFile *old = f->driver->backing(f->file);
    g_autofree uint8_t *x = g_malloc(CHUNK), *y = g_malloc(CHUNK);
    int ret = 0;

    for (uint64_t off = 0, len; off < f->size && ret == 0; off += len) {
        BlockExtent e;
        ret = extent_of(f, off, f->size - off, &e);
        len = e.len;
        progress(a, off, f->size);
        if (ret || (e.present && !e.depth)) {
            continue;
        }
        len = MIN(len, CHUNK - off % CHUNK);
        ret = read_part(old, off, x, len);
        ret = ret ? ret : read_part(new, off, y, len);
        for (uint64_t at = 0; at < len && ret == 0;) {
            uint64_t n = MIN(cs - (off + at) % cs, len - at);
            struct iovec iov = {x + at, n};
            if (memcmp(x + at, y + at, n)) {
                ret = is_zero(x + at, n) ? block_file_zero(f, off + at, n, true)
                                         : f->driver->write(f->file, off + at, &iov, 1);
            }
            at += n;
        }
    }
    return ret ? ret : f->driver->flush(f->file);
}

static bool rebase_safely(Args *a, BlockFile *f, const char *name, GError **err)
{
    const ImageFormat *format = image_format_of(f);
    BlockFile new;
    ImageInfo info;
    unsigned flags;

    if (!cache_flags(a->src_cache, &flags, err)) {
        return false;
    }
    if (name) {
        g_autofree char *path = image_backing_path(file_at(a, 0), name, err);
        if (!path || !image_open(&new, path, a->backing_format, flags | IMAGE_UNLOCKED, err)) {
            return false;
        }
        for (const BlockFile *b = &new; b;
             b = b->driver->backing ? b->driver->backing(b->file) : NULL) {
            const char *p = b->driver->path ? b->driver->path(b->file) : NULL;
            if (p && same_path(p, file_at(a, 0))) {
                block_file_close(&new);
                return fail(err, "'%s' would be in its own chain of backing files", file_at(a, 0));
            }
        }
    }
    format->info(f, &info);
    int ret =
        keep_contents(a, f, name ? &new : NULL, info.cluster_size ? info.cluster_size : 65536);
    if (name) {
        block_file_close(&new);
    }
    progress(a, 1, 1);
    return ret == 0 || io_error(err, file_at(a, 0), ret);
}

bool cmd_rebase(Args *a, GError **err)
{
    BlockFile f;
    unsigned flags;

    if (!want_files(a, 1, 1, "rebase [-u] -b FILE [-F FORMAT] FILE", err) ||
        !cache_flags(a->cache, &flags, err)) {
        return false;
    }
    if (!a->backing) {
        return fail(err, "rebase: -b FILE is missing; -b '' takes the backing file away");
    }
    const char *name = *a->backing ? a->backing : NULL;
    flags |= IMAGE_WRITE | (a->unsafe ? IMAGE_NO_BACKING : 0);
    if (!open_arg(a, 0, a->format, flags, &f, err)) {
        return false;
    }
    const ImageFormat *format = image_format_of(&f);
    bool ok = (format && format->set_backing && f.driver->backing) ||
              fail(err, "%s images have no backing file", f.driver->name);
    ok = ok && (a->unsafe || rebase_safely(a, &f, name, err)) &&
         format->set_backing(&f, name, a->backing_format, err);
    block_file_close(&f);
    return ok;
}

/* ---- resize ---- */

/* Space for what is new; of a qcow2 image for all of its file. */
static bool preallocate(const Args *a, const char *path, uint64_t from, uint64_t to, GError **err)
{
    bool full = !strcmp(a->prealloc, "full");
    BlockFile f;
    int ret = 0;

    if (!full) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        ret = fd < 0 ? errno : posix_fallocate(fd, (off_t)from, (off_t)(to - from));
        if (fd >= 0) {
            close(fd);
        }
        return ret == 0 || io_error(err, path, -ret);
    }
    g_autofree uint8_t *zeros = g_malloc0(CHUNK);
    if (!open_arg(a, 0, a->format, IMAGE_WRITE, &f, err)) {
        return false;
    }
    for (uint64_t off = from; off < to && ret == 0; off += CHUNK) {
        struct iovec iov = {zeros, MIN(CHUNK, to - off)};
        ret = f.driver->write(f.file, off, &iov, 1);
    }
    ret = ret ? ret : f.driver->flush(f.file);
    block_file_close(&f);
    return ret == 0 || io_error(err, path, ret);
}

static bool check_prealloc(const Args *a, const BlockFile *f, uint64_t size, GError **err)
{
    const char *p = a->prealloc;
    bool raw = !strcmp(f->driver->name, "raw");

    if (!p || !strcmp(p, "off")) {
        return true;
    }
    if (strcmp(p, "full") && (strcmp(p, "falloc") || !raw)) {
        return fail(err, "--preallocation=%s of %s images is not supported; off%s and full are", p,
                    f->driver->name, raw ? ", falloc" : "");
    }
    return size >= f->size || fail(err, "--preallocation is for images that grow");
}

bool cmd_resize(Args *a, GError **err)
{
    BlockFile f;
    uint64_t n, size;

    /* "-1G" looks like an option to getopt, so it may come behind "--". */
    if (!want_files(a, 2, 2, "resize [-f FORMAT] [--shrink] FILE [+|-]SIZE", err)) {
        return false;
    }
    const char *path = file_at(a, 0), *text = file_at(a, 1);
    if (!image_parse_size(text + (*text == '+' || *text == '-'), &n, err) ||
        !open_arg(a, 0, a->format, IMAGE_WRITE, &f, err)) {
        return false;
    }
    uint64_t old = f.size;
    bool ok = *text != '-' || n <= old || fail(err, "'%s' is more than the image has", text);
    size = *text == '+' ? old + n : *text == '-' ? old - n : n;
    size = (size + 511) & ~511ull;
    if (ok && size < old && !a->shrink) {
        ok = fail(err, "image '%s' would lose data at its end; --shrink allows it", path);
    }
    ok = ok && check_prealloc(a, &f, size, err) && resize_image(&f, path, size, err);
    block_file_close(&f);
    if (ok && a->prealloc && strcmp(a->prealloc, "off") && size > old) {
        ok = preallocate(a, path, old, size, err);
    }
    if (ok && !a->quiet) {
        puts("Image resized.");
    }
    return ok;
}
