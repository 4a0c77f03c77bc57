/* Reading, writing and placing blocks of the formats of sparse.h. */
#include "block/sparse.h"
#include "block/iov.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>

#define MAX_RUN (16u << 20) /* bytes that are placed at once */
#define MAX_LOOK 4096u      /* blocks that one lookup goes over */
#define SECTOR 512u

typedef struct Run {
    SparseEntry e; /* of the first byte, for DATA */
    uint64_t len;
} Run;

static uint64_t block_size_of(const Sparse *s)
{
    return 1ull << s->block_bits;
}

/* ---- the file ---- */

int sparse_pread(const Sparse *s, uint64_t off, void *buf, size_t len)
{
    struct iovec iov = {buf, len};
    return s->file.driver->read(s->file.file, off, &iov, 1);
}

int sparse_pwrite(const Sparse *s, uint64_t off, const void *buf, size_t len)
{
    struct iovec iov = {(void *)buf, len};
    return s->file.driver->write(s->file.file, off, &iov, 1);
}

int sparse_extend(const Sparse *s, uint64_t end)
{
    static const uint8_t zeros[SECTOR];
    return end < SECTOR ? 0 : sparse_pwrite(s, end - SECTOR, zeros, SECTOR);
}

int sparse_new_table(Sparse *s, uint64_t len, uint64_t align, uint64_t *off)
{
    uint64_t at = (s->end + align - 1) & ~(align - 1);
    int ret =
        at < s->stale ? block_file_zero(&s->file, at, len, false) : sparse_extend(s, at + len);

    if (ret == 0) {
        pages_forget(&s->pages, at, len);
        *off = at;
        s->end = at + len;
    }
    return ret;
}

int sparse_trim(Sparse *s, uint64_t end)
{
    BlockFile *f = &s->file;
    if (!f->driver->resize || !f->driver->resize(f, end, NULL)) {
        return -EIO;
    }
    s->end = s->stale = end;
    return 0;
}

/* ---- lookup ---- */

/* Lock held. */
static int entry_of(Sparse *s, uint64_t block, SparseEntry *e)
{
    int ret = block < s->blocks ? s->ops->get(s, block, e) : -EIO;
    if (ret == 0 && (e->kind == SPARSE_DATA || e->kind == SPARSE_PACKED) && e->off >= s->end) {
        guest_error("image '%s': block %" G_GUINT64_FORMAT " is beyond the end of the file",
                    s->path, block);
        return -EIO;
    }
    return ret;
}

/* Lock held. What is at @off, as far as it goes on, at most @len. */
static int lookup(Sparse *s, uint64_t off, uint64_t len, Run *r)
{
    uint64_t bs = block_size_of(s), c = off >> s->block_bits, in = off & (bs - 1);
    int ret = entry_of(s, c, &r->e);

    r->len = bs - in;
    for (unsigned i = 1; ret == 0 && r->len < len && i < MAX_LOOK && r->e.kind != SPARSE_PACKED;
         i++) {
        SparseEntry next;
        /* What is wrong is told when it is its turn. */
        if (c + i >= s->blocks || s->ops->get(s, c + i, &next) || next.kind != r->e.kind ||
            (r->e.kind == SPARSE_DATA && (next.off != r->e.off + i * bs || next.off >= s->end))) {
            break;
        }
        r->len += bs;
    }
    r->len = MIN(r->len, len);
    r->e.off += r->e.kind == SPARSE_DATA ? in : 0;
    return ret;
}

/* ---- reading ---- */

static int read_backing(Sparse *s, uint64_t off, const struct iovec *iov, unsigned n)
{
    uint64_t len = iov_length(iov, n), have = 0;

    if (s->has_backing && off < s->backing.size) {
        have = MIN(len, s->backing.size - off);
    }
    if (have < len) {
        iov_zero(iov, n);
    }
    if (!have) {
        return 0;
    }
    g_autofree struct iovec *part = g_new(struct iovec, n + 2);
    unsigned k = iov_slice(iov, n, 0, have, part);
    return s->backing.driver->read(s->backing.file, off, part, k);
}

static int read_packed(Sparse *s, uint64_t at, uint64_t in, const struct iovec *iov, unsigned n)
{
    g_autofree uint8_t *buf = g_try_malloc(block_size_of(s));
    int ret = buf ? s->ops->unpack(s, at, buf) : -ENOMEM;
    if (ret == 0) {
        iov_from_buf(iov, n, buf + in);
    }
    return ret;
}

int sparse_read(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    Sparse *s = file;
    uint64_t len = iov_length(iov, n);
    g_autofree struct iovec *part = g_new(struct iovec, n + 2);

    for (uint64_t done = 0; done < len;) {
        Run r;
        g_mutex_lock(&s->lock);
        int ret = lookup(s, off + done, len - done, &r);
        g_mutex_unlock(&s->lock);
        if (ret) {
            return ret;
        }
        unsigned k = iov_slice(iov, n, done, r.len, part);
        switch (r.e.kind) {
        case SPARSE_DATA:
            ret = s->file.driver->read(s->file.file, r.e.off, part, k);
            break;
        case SPARSE_PACKED:
            ret = read_packed(s, r.e.off, (off + done) & (block_size_of(s) - 1), part, k);
            break;
        case SPARSE_NONE:
            ret = read_backing(s, off + done, part, k);
            break;
        case SPARSE_ZERO:
            iov_zero(part, k);
        }
        if (ret) {
            return ret;
        }
        done += r.len;
    }
    return 0;
}

/* ---- writing ---- */

/* alloc held. A compressed block is written anew as a whole. */
static int write_packed(Sparse *s, uint64_t off, const SparseEntry *old, const struct iovec *iov,
                        unsigned n, uint64_t len)
{
    uint64_t bs = block_size_of(s), c = off >> s->block_bits, in = off & (bs - 1);
    g_autofree uint8_t *buf = g_try_malloc0(bs);
    SparseEntry e;
    int ret = buf ? 0 : -ENOMEM;

    if (ret == 0 && len < bs && old->kind != SPARSE_ZERO) {
        struct iovec whole = {buf, MIN(bs, s->size - (c << s->block_bits))};
        ret = sparse_read(s, c << s->block_bits, &whole, 1);
    }
    if (ret == 0) {
        iov_to_buf(iov, n, buf + in);
        g_mutex_lock(&s->lock);
        ret = s->ops->pack(s, c, buf, &e);
        ret = ret ? ret : s->ops->set(s, c, &e);
        g_mutex_unlock(&s->lock);
    }
    return ret;
}

/* alloc held. Data of @len bytes at @off into new space at @host; around it what the backing file
 * has. Without @pad the space has zeros already. */
static int write_new(Sparse *s, uint64_t off, uint64_t len, uint64_t host, bool pad,
                     const struct iovec *iov, unsigned n)
{
    uint64_t mask = block_size_of(s) - 1, head = pad ? off & mask : 0;
    uint64_t over = (block_size_of(s) - ((off + len) & mask)) & mask, tail = pad ? over : 0;
    g_autofree uint8_t *around = head + tail ? g_try_malloc0(head + tail) : NULL;
    g_autofree struct iovec *part = g_new(struct iovec, n + 4);
    unsigned k = 0;
    int ret = head + tail && !around ? -ENOMEM : 0;

    if (ret == 0 && head) {
        part[k++] = (struct iovec){around, head};
        ret = read_backing(s, off - head, part, 1);
    }
    k += iov_slice(iov, n, 0, len, part + k);
    if (ret == 0 && tail) {
        part[k] = (struct iovec){around + head, tail};
        ret = read_backing(s, off + len, part + k++, 1);
    }
    ret = ret ? ret : s->file.driver->write(s->file.file, host + (pad ? 0 : off & mask), part, k);
    return ret == 0 && over && !pad ? sparse_extend(s, host + (off & mask) + len + over) : ret;
}

/* alloc held. Writes some of the @len bytes at @off, *@did of them, to new space. */
static int place(Sparse *s, uint64_t off, uint64_t len, SparseKind kind, const struct iovec *iov,
                 unsigned n_iov, uint64_t *did)
{
    uint64_t bs = block_size_of(s), c = off >> s->block_bits, in = off & (bs - 1), host = 0;
    uint64_t n = (in + MIN(len, MAX(MAX_RUN, bs) - in) + bs - 1) >> s->block_bits;
    g_autofree struct iovec *part = g_new(struct iovec, n_iov + 2);

    g_mutex_lock(&s->lock);
    uint64_t old_end = s->end;
    int ret = s->ops->reserve ? s->ops->reserve(s, &n, &host) : 0;
    if (!s->ops->reserve) {
        host = s->end;
        s->end += n << s->block_bits;
    }
    uint64_t end = s->end;
    bool fresh = host >= s->stale;
    g_mutex_unlock(&s->lock);
    *did = MIN(len, (n << s->block_bits) - in);
    ret = ret == 0 && s->ops->prepare ? s->ops->prepare(s, host) : ret;
    if (ret == 0) {
        unsigned k = iov_slice(iov, n_iov, 0, *did, part);
        bool below = s->has_backing && kind == SPARSE_NONE;
        ret = write_new(s, off, *did, host, below || !fresh, part, k);
    }
    g_mutex_lock(&s->lock);
    for (uint64_t i = 0; i < n && ret == 0; i++) {
        const SparseEntry e = {SPARSE_DATA, host + (i << s->block_bits)};
        ret = s->ops->set(s, c + i, &e);
        old_end = s->end; /* what has an entry stays */
    }
    if (ret && s->end == end && old_end != end) {
        s->stale = MAX(s->stale, end);
        s->end = old_end;
    }
    g_mutex_unlock(&s->lock);
    return ret;
}

/* Lock held. */
static int touch(Sparse *s, uint64_t off, uint64_t len)
{
    int ret = 0;
    for (uint64_t c = off >> s->block_bits; s->ops->touch && ret == 0; c++) {
        if (c << s->block_bits >= off + len) {
            break;
        }
        ret = s->ops->touch(s, c);
    }
    return ret;
}

/* Some of the bytes of @iov where there is no block to write into. */
static int write_elsewhere(Sparse *s, uint64_t off, const struct iovec *iov, unsigned n,
                           uint64_t len, uint64_t *did)
{
    Run r;
    g_autofree struct iovec *part = g_new(struct iovec, n + 2);

    g_mutex_lock(&s->alloc);
    g_mutex_lock(&s->lock);
    int ret = lookup(s, off, len, &r);
    g_mutex_unlock(&s->lock);
    *did = 0;
    if (ret == 0 && r.e.kind != SPARSE_DATA) { /* else someone was faster */
        if (s->ops->pack) {
            r.len = MIN(r.len, block_size_of(s) - (off & (block_size_of(s) - 1)));
            unsigned k = iov_slice(iov, n, 0, r.len, part);
            ret = write_packed(s, off, &r.e, part, k, r.len);
            *did = r.len;
        } else if (!s->ops->set || r.e.kind == SPARSE_PACKED) {
            ret = -EIO;
        } else {
            unsigned k = iov_slice(iov, n, 0, r.len, part);
            ret = place(s, off, r.len, r.e.kind, part, k, did);
        }
    }
    g_mutex_unlock(&s->alloc);
    return ret;
}

int sparse_write(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    Sparse *s = file;
    uint64_t len = iov_length(iov, n);
    g_autofree struct iovec *part = g_new(struct iovec, n + 2);

    if (!s->writable) {
        return -EROFS;
    }
    for (uint64_t done = 0; done < len;) {
        Run r;
        g_mutex_lock(&s->lock);
        int ret = lookup(s, off + done, len - done, &r);
        ret = ret == 0 && r.e.kind == SPARSE_DATA ? touch(s, off + done, r.len) : ret;
        g_mutex_unlock(&s->lock);
        if (ret) {
            return ret;
        }
        uint64_t did = r.len;
        unsigned k = iov_slice(iov, n, done, r.len, part);
        ret = r.e.kind == SPARSE_DATA ? s->file.driver->write(s->file.file, r.e.off, part, k)
                                      : write_elsewhere(s, off + done, part, k, r.len, &did);
        if (ret) {
            return ret;
        }
        done += did;
    }
    return 0;
}

/* ---- zeros and discards ---- */

/* Lock and alloc not held: a block as a whole becomes an entry of zeros. */
static int zero_entry(Sparse *s, uint64_t off, bool *done)
{
    Run r;

    g_mutex_lock(&s->alloc);
    g_mutex_lock(&s->lock);
    int ret = lookup(s, off, block_size_of(s), &r);
    *done = ret == 0 && r.e.kind == SPARSE_NONE;
    if (*done) {
        ret = s->ops->set(s, off >> s->block_bits, &(SparseEntry){.kind = SPARSE_ZERO});
    }
    g_mutex_unlock(&s->lock);
    g_mutex_unlock(&s->alloc);
    return ret;
}

/* Zeros as data, of at most one block. */
static int zero_by_write(Sparse *s, uint64_t off, uint64_t len)
{
    static const uint8_t zeros[65536];
    int ret = 0;

    while (len && ret == 0) {
        struct iovec iov = {(void *)zeros, MIN(len, sizeof(zeros))};
        ret = sparse_write(s, off, &iov, 1);
        off += iov.iov_len;
        len -= iov.iov_len;
    }
    return ret;
}

int sparse_write_zeroes(void *file, uint64_t off, uint64_t len, bool unmap)
{
    Sparse *s = file;
    uint64_t bs = block_size_of(s);

    if (!s->writable) {
        return -EROFS;
    }
    while (len) {
        Run r;
        bool done = true;
        g_mutex_lock(&s->lock);
        int ret = lookup(s, off, len, &r);
        g_mutex_unlock(&s->lock);
        if (ret == 0 && r.e.kind == SPARSE_DATA) {
            ret = block_file_zero(&s->file, r.e.off, r.len, unmap);
        } else if (ret == 0 &&
                   (r.e.kind == SPARSE_PACKED || (r.e.kind == SPARSE_NONE && s->has_backing))) {
            r.len = MIN(r.len, bs - (off & (bs - 1)));
            bool whole = r.len == bs || (!(off & (bs - 1)) && off + r.len == s->size);
            done = false;
            if (whole && s->ops->can_zero && r.e.kind == SPARSE_NONE) {
                ret = zero_entry(s, off, &done);
            }
            ret = ret || done ? ret : zero_by_write(s, off, r.len);
        }
        if (ret) {
            return ret;
        }
        off += r.len;
        len -= r.len;
    }
    return 0;
}

int sparse_discard(void *file, uint64_t off, uint64_t len)
{
    Sparse *s = file;

    if (!s->writable) {
        return -EROFS;
    }
    while (len) {
        Run r;
        g_mutex_lock(&s->lock);
        int ret = lookup(s, off, len, &r);
        g_mutex_unlock(&s->lock);
        if (ret == 0 && r.e.kind == SPARSE_DATA && s->file.driver->discard) {
            ret = s->file.driver->discard(s->file.file, r.e.off, r.len);
        }
        if (ret) {
            return ret;
        }
        off += r.len;
        len -= r.len;
    }
    return 0;
}

int sparse_extent(void *file, uint64_t off, uint64_t len, BlockExtent *e)
{
    Sparse *s = file;
    Run r;

    g_mutex_lock(&s->lock);
    int ret = lookup(s, off, len, &r);
    g_mutex_unlock(&s->lock);
    if (ret) {
        return ret;
    }
    bool data = r.e.kind == SPARSE_DATA || r.e.kind == SPARSE_PACKED;
    *e = (BlockExtent){.len = r.len, .data = data, .zero = !data, .present = true};
    if (r.e.kind == SPARSE_DATA) {
        e->has_offset = true;
        e->offset = r.e.off;
        e->file = s->file.driver->path ? s->file.driver->path(s->file.file) : NULL;
    } else if (r.e.kind == SPARSE_PACKED) {
        e->compressed = true;
    } else if (r.e.kind == SPARSE_NONE) {
        e->present = false;
        if (s->has_backing && off < s->backing.size) {
            BlockFile *b = &s->backing;
            uint64_t n = MIN(r.len, b->size - off);
            *e = (BlockExtent){.len = n, .data = true, .present = true};
            ret = b->driver->extent ? b->driver->extent(b->file, off, n, e) : 0;
            e->depth++;
        }
    }
    return ret;
}

/* ---- life ---- */

int sparse_flush(void *file)
{
    Sparse *s = file;
    g_mutex_lock(&s->lock);
    int ret = s->writable ? pages_sync(&s->pages) : 0;
    g_mutex_unlock(&s->lock);
    return ret;
}

bool sparse_bad(const Sparse *s, GError **err, const char *what)
{
    return fail(err, "image '%s': %s", s->path, what);
}

static int settle(void *opaque)
{
    Sparse *s = opaque;
    return s->ops->settle(s);
}

void sparse_init(Sparse *s, const BlockFile *file, const char *path)
{
    s->file = *file;
    s->path = g_strdup(path);
    s->end = s->stale = (file->size + SECTOR - 1) / SECTOR * SECTOR;
    g_mutex_init(&s->lock);
    g_mutex_init(&s->alloc);
    pages_init(&s->pages, &s->file);
    s->pages.settle = s->ops->settle ? settle : NULL;
    s->pages.opaque = s;
}

void sparse_free(Sparse *s)
{
    if (s->has_backing) {
        block_file_close(&s->backing);
    }
    if (s->ops->free) {
        s->ops->free(s);
    }
    pages_free(&s->pages);
    g_mutex_clear(&s->lock);
    g_mutex_clear(&s->alloc);
    g_free(s->path);
    g_free(s->backing_name);
    g_free(s->backing_format);
    g_free(s);
}

bool sparse_start(Sparse *s, BlockFile *out, unsigned flags, GSList *chain, GError **err)
{
    if (flags & IMAGE_WRITE) {
        s->writable = true;
        if (s->ops->begin && !(flags & IMAGE_REPAIR) && !s->ops->begin(s, err)) {
            return false;
        }
    }
    if (s->backing_name && !(flags & IMAGE_NO_BACKING)) {
        g_autofree char *path = image_backing_path(s->path, s->backing_name, err);
        if (flags & IMAGE_BACKING_UNLOCKED) {
            flags |= IMAGE_UNLOCKED;
        }
        s->has_backing = path && image_open_chain(&s->backing, path, s->backing_format,
                                                  flags & IMAGE_INHERIT, chain, err);
        if (!s->has_backing) {
            g_prefix_error(err, "backing file of '%s': ", s->path);
            return false;
        }
    }
    *out = (BlockFile){.driver = &s->ops->driver, .file = s, .size = s->size};
    return true;
}

void sparse_close(void *file)
{
    Sparse *s = file;

    if (s->writable && sparse_flush(s)) {
        warn_report("image '%s': the last tables could not be written", s->path);
    }
    block_file_close(&s->file);
    sparse_free(s);
}

bool sparse_set_writable(void *file, bool on, GError **err)
{
    Sparse *s = file;
    const BlockDriver *d = s->file.driver;

    if (on == s->writable) {
        return true;
    }
    if (on) {
        if (!d->set_writable || !d->set_writable(s->file.file, true, err)) {
            return d->set_writable || sparse_bad(s, err, "it cannot be written to");
        }
        s->writable = true;
        if (!s->ops->begin || s->ops->begin(s, err)) {
            return true;
        }
        s->writable = false;
        d->set_writable(s->file.file, false, NULL);
        return false;
    }
    int ret = sparse_flush(s);
    if (ret) {
        return sparse_bad(s, err, g_strerror(-ret));
    }
    s->writable = false;
    return !d->set_writable || d->set_writable(s->file.file, false, err);
}

const char *sparse_path(void *file)
{
    return ((Sparse *)file)->path;
}

BlockFile *sparse_backing(void *file)
{
    Sparse *s = file;
    return s->has_backing ? &s->backing : NULL;
}

void sparse_set_backing(void *file, const BlockFile *backing)
{
    Sparse *s = file;
    s->backing = *backing;
    s->has_backing = true;
}
