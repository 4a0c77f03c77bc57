/*
 * Raw images: regular files, host block devices, memory.
 *
 * With IMAGE_DIRECT (O_DIRECT) the kernel wants offsets, lengths and memory at multiples of a
 * block. Requests that are not go through a bounce buffer; writes then read what is around them
 * first, alone on the file, so that two of them cannot undo each other.
 */
#include "block/driver.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define IOV_CHUNK 64
#define BOUNCE_MAX (1u << 20)
#define ALIGN_MAX 65536u

typedef struct RawFile {
    int fd;
    char *path;
    unsigned flags; /* IMAGE_* */
    bool is_device, no_zero_range, no_punch;
    unsigned align;  /* of direct requests; 1: no direct I/O */
    GRWLock partial; /* direct: held alone by writes that are not aligned */
} RawFile;

/* All of @iov, in spite of short transfers. Reading: zeros beyond the end of the file. */
static int transfer(int fd, uint64_t off, const struct iovec *iov, unsigned n, bool write)
{
    for (unsigned i = 0; i < n;) {
        struct iovec part[IOV_CHUNK];
        unsigned k = MIN(n - i, IOV_CHUNK);
        memcpy(part, iov + i, k * sizeof(*part));
        i += k;
        for (unsigned j = 0; j < k;) {
            ssize_t done = write ? pwritev(fd, part + j, (int)(k - j), (off_t)off)
                                 : preadv(fd, part + j, (int)(k - j), (off_t)off);
            if (done < 0 && errno == EINTR) {
                continue;
            }
            if (done < 0) {
                return -errno;
            }
            if (done == 0 && iov_length(part + j, k - j) > 0) {
                if (write) {
                    return -EIO;
                }
                for (unsigned z = j; z < k; z++) {
                    memset(part[z].iov_base, 0, part[z].iov_len);
                    off += part[z].iov_len;
                }
                break;
            }
            off += (uint64_t)done;
            while (j < k && (size_t)done >= part[j].iov_len) {
                done -= (ssize_t)part[j++].iov_len;
            }
            if (j < k) {
                part[j].iov_base = (uint8_t *)part[j].iov_base + done;
                part[j].iov_len -= (size_t)done;
            }
        }
    }
    return 0;
}

/* ---- direct I/O ---- */

static bool aligned(const RawFile *f, uint64_t off, const struct iovec *iov, unsigned n)
{
    uint64_t bits = off;
    for (unsigned i = 0; i < n; i++) {
        bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
    }
    return (bits & (f->align - 1)) == 0;
}

typedef struct Cursor {
    const struct iovec *iov;
    unsigned n;
    size_t at; /* in *iov */
} Cursor;

static void copy_bytes(Cursor *c, uint8_t *buf, size_t len, bool to_iov)
{
    while (len && c->n) {
        size_t k = MIN(len, c->iov->iov_len - c->at);
        uint8_t *p = (uint8_t *)c->iov->iov_base + c->at;
        memcpy(to_iov ? p : buf, to_iov ? buf : p, k);
        buf += k;
        len -= k;
        c->at += k;
        if (c->at == c->iov->iov_len) {
            c->iov++;
            c->n--;
            c->at = 0;
        }
    }
}

/* A piece that reaches behind the end of the file must not make it longer than it has to be. */
static int write_tail(const RawFile *f, uint64_t off, const uint8_t *buf, size_t len)
{
    g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", f->fd);
    struct iovec iov = {(void *)buf, len};
    int fd = open(self, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int ret = transfer(fd, off, &iov, 1, true);
    if (ret == 0 && fdatasync(fd)) {
        ret = -errno;
    }
    close(fd);
    return ret;
}

/* Lock held alone when writing. */
static int bounce(RawFile *f, uint64_t off, const struct iovec *iov, unsigned n, bool write)
{
    Cursor c = {iov, n, 0};
    uint64_t left = iov_length(iov, n), mask = f->align - 1;
    size_t max = MIN(((left + mask) & ~mask) + f->align, BOUNCE_MAX);
    uint8_t *buf = NULL;
    int ret = 0;

    if (posix_memalign((void **)&buf, MAX(f->align, 4096), max)) {
        return -ENOMEM;
    }
    while (left && ret == 0) {
        uint64_t start = off & ~mask, skip = off - start;
        size_t len = MIN(left, max - skip);
        struct iovec piece = {buf, (skip + len + mask) & ~mask};
        bool partial = skip || piece.iov_len != len;
        struct stat st;
        if (!write || partial) {
            ret = transfer(f->fd, start, &piece, 1, false);
        }
        copy_bytes(&c, buf + skip, len, !write);
        if (write && ret == 0) {
            bool tail = !f->is_device && fstat(f->fd, &st) == 0 &&
                        start + piece.iov_len > (uint64_t)st.st_size && (off + len) & mask;
            ret = tail ? write_tail(f, start, buf, skip + len)
                       : transfer(f->fd, start, &piece, 1, true);
        }
        off += len;
        left -= len;
    }
    free(buf);
    return ret;
}

static int raw_read(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    RawFile *f = file;
    return aligned(f, off, iov, n) ? transfer(f->fd, off, iov, n, false)
                                   : bounce(f, off, iov, n, false);
}

static int raw_write(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    RawFile *f = file;
    int ret;

    if (f->align == 1) {
        return transfer(f->fd, off, iov, n, true);
    }
    if (aligned(f, off, iov, n)) {
        g_rw_lock_reader_lock(&f->partial);
        ret = transfer(f->fd, off, iov, n, true);
        g_rw_lock_reader_unlock(&f->partial);
    } else {
        g_rw_lock_writer_lock(&f->partial);
        ret = bounce(f, off, iov, n, true);
        g_rw_lock_writer_unlock(&f->partial);
    }
    return ret;
}

/* The block of direct I/O: what the kernel says, or the smallest that works. */
static bool find_align(RawFile *f, GError **err)
{
    void *buf;

    f->align = 1;
    if (!(f->flags & IMAGE_DIRECT)) {
        return true;
    }
#ifdef STATX_DIOALIGN
    struct statx stx;
    if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        stx.stx_mask & STATX_DIOALIGN && stx.stx_dio_offset_align) {
        f->align = MAX(stx.stx_dio_offset_align, stx.stx_dio_mem_align);
        return true;
    }
#endif
    int sector;
    if (f->is_device && ioctl(f->fd, BLKSSZGET, &sector) == 0) {
        f->align = (unsigned)sector;
        return true;
    }
    if (posix_memalign(&buf, ALIGN_MAX, ALIGN_MAX)) {
        return fail(err, "image '%s': out of memory", f->path);
    }
    for (f->align = 512; f->align <= ALIGN_MAX; f->align *= 2) {
        if (pread(f->fd, buf, f->align, 0) >= 0 || errno != EINVAL) {
            break;
        }
    }
    free(buf);
    return f->align <= ALIGN_MAX ||
           fail(err, "image '%s': the file system does not do direct I/O (cache=none, directsync)",
                f->path);
}

static bool raw_plain(void *file, uint64_t off, const struct iovec *iov, unsigned n, bool write,
                      int *fd, uint64_t *host)
{
    RawFile *f = file;

    /* Blocks of more than a sector: guests may write parts of them, see raw_write(). */
    if (!aligned(f, off, iov, n) || (write && f->align > 512)) {
        return false;
    }
    *fd = f->fd;
    *host = off;
    return true;
}

/* ---- the rest ---- */

static int raw_flush(void *file)
{
    RawFile *f = file;
    return f->flags & IMAGE_NO_FLUSH || fdatasync(f->fd) == 0 ? 0 : -errno;
}

static bool not_there(int e)
{
    return e == EOPNOTSUPP || e == ENOTTY || e == EINVAL || e == ENOSYS;
}

static int raw_discard(void *file, uint64_t off, uint64_t len)
{
    RawFile *f = file;
    int ret;

    if (f->is_device) {
        uint64_t range[2] = {off, len};
        ret = ioctl(f->fd, BLKDISCARD, range);
    } else {
        ret = fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len);
    }
    return ret == 0 || not_there(errno) ? 0 : -errno; /* a hint: what cannot be punched stays */
}

static int raw_extent(void *file, uint64_t off, uint64_t len, BlockExtent *e)
{
    RawFile *f = file;

    *e = (BlockExtent){.len = len,
                       .offset = off,
                       .file = f->path,
                       .has_offset = true,
                       .data = true,
                       .present = true};
    if (f->is_device) {
        return 0;
    }
    off_t data = lseek(f->fd, (off_t)off, SEEK_DATA), end;
    if (data < 0 && errno != ENXIO) {
        return 0; /* the file system cannot tell */
    }
    if (data < 0 || (uint64_t)data > off) {
        e->len = data < 0 ? len : MIN(len, (uint64_t)data - off);
        e->data = false;
        e->zero = true;
    } else if ((end = lseek(f->fd, (off_t)off, SEEK_HOLE)) > (off_t)off) {
        e->len = MIN(len, (uint64_t)end - off);
    }
    return 0;
}

static int raw_write_zeroes(void *file, uint64_t off, uint64_t len, bool unmap)
{
    RawFile *f = file;
    static const uint8_t zeros[65536];
    uint64_t range[2] = {off, len};

    /* Without KEEP_SIZE nothing behind the end would become part of the file; zeros there are
     * what it reads as anyway. */
    if (f->is_device) {
        if (((off | len) & 511) == 0 && ioctl(f->fd, BLKZEROOUT, range) == 0) {
            return 0;
        }
    } else if (unmap && !f->no_punch) {
        if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) ==
            0) {
            return 0;
        }
        f->no_punch = not_there(errno);
    } else if (!unmap && !f->no_zero_range) {
        if (fallocate(f->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) ==
            0) {
            return 0;
        }
        f->no_zero_range = not_there(errno);
    }
    while (len) {
        struct iovec iov = {(void *)zeros, MIN(len, sizeof(zeros))};
        int ret = raw_write(f, off, &iov, 1);
        if (ret) {
            return ret;
        }
        off += iov.iov_len;
        len -= iov.iov_len;
    }
    return 0;
}

static void raw_close(void *file)
{
    RawFile *f = file;
    close(f->fd);
    g_rw_lock_clear(&f->partial);
    g_free(f->path);
    g_free(f);
}

static const char *raw_path(void *file)
{
    return ((RawFile *)file)->path;
}

static bool file_size(RawFile *f, uint64_t *size, GError **err)
{
    struct stat st;

    if (fstat(f->fd, &st)) {
        return fail(err, "image '%s': %s", f->path, g_strerror(errno));
    }
    if (S_ISBLK(st.st_mode)) {
        f->is_device = true;
        if (ioctl(f->fd, BLKGETSIZE64, size)) {
            return fail(err, "block device '%s': %s", f->path, g_strerror(errno));
        }
        return true;
    }
    if (!S_ISREG(st.st_mode)) {
        return fail(err, "image '%s' is neither a file nor a block device", f->path);
    }
    /* Devices count in sectors; what the file has not reads as zeros. */
    *size = ((uint64_t)st.st_size + 511) & ~511ull;
    return true;
}

static bool raw_resize(BlockFile *b, uint64_t size, GError **err)
{
    RawFile *f = b->file;
    uint64_t have = 0;

    if (f->is_device) {
        if (!file_size(f, &have, err)) {
            return false;
        }
        if (size > have) {
            return fail(
                err, "block device '%s' has %" G_GUINT64_FORMAT " bytes and cannot become larger",
                f->path, have);
        }
        b->size = size;
        return true;
    }
    if (size > INT64_MAX - 511) {
        return fail(err, "image '%s': the size is too large", f->path);
    }
    if (ftruncate(f->fd, (off_t)size)) {
        return fail(err, "image '%s': %s", f->path, g_strerror(errno));
    }
    b->size = (size + 511) & ~511ull;
    return true;
}

static int open_flags(unsigned flags)
{
    return (flags & IMAGE_WRITE ? O_RDWR : O_RDONLY) | (flags & IMAGE_DIRECT ? O_DIRECT : 0) |
           O_CLOEXEC | O_NONBLOCK;
}

static bool raw_set_writable(void *file, bool on, GError **err)
{
    RawFile *f = file;
    unsigned flags = on ? (f->flags | IMAGE_WRITE) : (f->flags & ~(unsigned)IMAGE_WRITE);

    if (flags == f->flags) {
        return true;
    }
    g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", f->fd);
    int fd = open(self, open_flags(flags));
    if (fd < 0) {
        return fail(err, "image '%s': %s", f->path, g_strerror(errno));
    }
    /* The locks go with the description; our own would be in our way. */
    image_lock(f->fd, f->path, IMAGE_UNLOCKED, NULL);
    if (!image_lock(fd, f->path, flags, err)) {
        image_lock(f->fd, f->path, f->flags, NULL);
        close(fd);
        return false;
    }
    close(f->fd);
    f->fd = fd;
    f->flags = flags;
    return true;
}

static const BlockDriver raw_driver = {
    .name = "raw",
    .read = raw_read,
    .write = raw_write,
    .flush = raw_flush,
    .discard = raw_discard,
    .close = raw_close,
    .extent = raw_extent,
    .write_zeroes = raw_write_zeroes,
    .resize = raw_resize,
    .plain = raw_plain,
    .set_writable = raw_set_writable,
    .path = raw_path,
};

static bool open_fd(RawFile *f, GError **err)
{
    f->fd = open(f->path, open_flags(f->flags));
    if (f->fd < 0 && f->flags & IMAGE_AUTO_RO && f->flags & IMAGE_WRITE &&
        (errno == EROFS || errno == EACCES || errno == EPERM)) {
        f->flags &= ~(unsigned)IMAGE_WRITE;
        f->fd = open(f->path, open_flags(f->flags));
    }
    if (f->fd >= 0) {
        return true;
    }
    int e = errno;
    if (e == EINVAL && f->flags & IMAGE_DIRECT) {
        return fail(err,
                    "image '%s': the file system does not do direct I/O (cache=none, directsync)",
                    f->path);
    }
    if (e == EROFS || (e == EACCES && f->flags & IMAGE_WRITE && access(f->path, R_OK) == 0)) {
        return fail(err, "image '%s' is write-protected; readonly=on or -snapshot opens it",
                    f->path);
    }
    return fail(err, "image '%s': %s", f->path, g_strerror(e));
}

bool raw_open(BlockFile *out, const char *path, unsigned flags, GError **err)
{
    RawFile *f = g_new0(RawFile, 1);
    uint64_t size = 0;

    f->path = g_strdup(path);
    f->flags = flags;
    g_rw_lock_init(&f->partial);
    if (!open_fd(f, err) || !file_size(f, &size, err) || !find_align(f, err) ||
        !image_lock(f->fd, path, f->flags, err)) {
        raw_close(f);
        return false;
    }
    *out = (BlockFile){
        .driver = &raw_driver, .file = f, .size = size, .read_only = !(f->flags & IMAGE_WRITE)};
    return true;
}

/* ---- memory ---- */

typedef struct MemoryFile {
    uint8_t *data;
} MemoryFile;

static int memory_read(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    MemoryFile *f = file;
    for (unsigned i = 0; i < n; i++) {
        memcpy(iov[i].iov_base, f->data + off, iov[i].iov_len);
        off += iov[i].iov_len;
    }
    return 0;
}

static int memory_write(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    MemoryFile *f = file;
    for (unsigned i = 0; i < n; i++) {
        memcpy(f->data + off, iov[i].iov_base, iov[i].iov_len);
        off += iov[i].iov_len;
    }
    return 0;
}

static int memory_flush(void *file)
{
    return 0;
}

static void memory_close(void *file)
{
    MemoryFile *f = file;
    g_free(f->data);
    g_free(f);
}

static const BlockDriver memory_driver = {
    .name = "memory",
    .read = memory_read,
    .write = memory_write,
    .flush = memory_flush,
    .close = memory_close,
};

void memory_open(BlockFile *out, const void *data, size_t len)
{
    MemoryFile *f = g_new0(MemoryFile, 1);

    size_t size = (len + 511) & ~(size_t)511;
    f->data = g_malloc0(size ? size : 1);
    if (data) {
        memcpy(f->data, data, len);
    }
    *out = (BlockFile){.driver = &memory_driver, .file = f, .size = size};
}
