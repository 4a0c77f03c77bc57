/* Raw images: regular files, host block devices, memory. */
#include "block/driver.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define IOV_CHUNK 64

typedef struct RawFile {
    int fd;
    bool is_device;
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

static int raw_read(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    return transfer(((RawFile *)file)->fd, off, iov, n, false);
}

static int raw_write(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    return transfer(((RawFile *)file)->fd, off, iov, n, true);
}

static int raw_flush(void *file)
{
    return fdatasync(((RawFile *)file)->fd) ? -errno : 0;
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
    if (ret == 0 || errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL) {
        return 0; /* a hint: what cannot be punched stays */
    }
    return -errno;
}

static int raw_extent(void *file, uint64_t off, uint64_t len, BlockExtent *e)
{
    RawFile *f = file;

    *e =
        (BlockExtent){.len = len, .offset = off, .has_offset = true, .data = true, .present = true};
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

static int raw_write_zeroes(void *file, uint64_t off, uint64_t len)
{
    RawFile *f = file;
    static const uint8_t zeros[65536];

    if (!f->is_device &&
        fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) == 0) {
        return 0;
    }
    while (len) {
        struct iovec iov = {(void *)zeros, MIN(len, sizeof(zeros))};
        int ret = transfer(f->fd, off, &iov, 1, true);
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
    g_free(f);
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
};

/* Two programs that write one image destroy it. */
static bool lock_image(int fd, const char *path, bool read_only, GError **err)
{
    struct flock fl = {.l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

    if (fcntl(fd, F_OFD_SETLK, &fl) && (errno == EAGAIN || errno == EACCES)) {
        return fail(err, "image '%s' is in use%s", path,
                    read_only ? " by a program that writes to it" : " by another drive or program");
    }
    return true;
}

static bool file_size(int fd, const char *path, RawFile *f, uint64_t *size, GError **err)
{
    struct stat st;

    if (fstat(fd, &st)) {
        return fail(err, "image '%s': %s", path, g_strerror(errno));
    }
    if (S_ISBLK(st.st_mode)) {
        f->is_device = true;
        if (ioctl(fd, BLKGETSIZE64, size)) {
            return fail(err, "block device '%s': %s", path, g_strerror(errno));
        }
        return true;
    }
    if (!S_ISREG(st.st_mode)) {
        return fail(err, "image '%s' is neither a file nor a block device", path);
    }
    /* Devices count in sectors; what the file has not reads as zeros. */
    *size = ((uint64_t)st.st_size + 511) & ~511ull;
    return true;
}

static bool open_file(BlockFile *out, const char *path, bool read_only, bool lock, GError **err)
{
    RawFile *f = g_new0(RawFile, 1);
    uint64_t size = 0;

    f->fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0) {
        int e = errno;
        g_free(f);
        if (e == EROFS || (e == EACCES && !read_only && access(path, R_OK) == 0)) {
            return fail(err, "image '%s' is write-protected; readonly=on or -snapshot opens it",
                        path);
        }
        return fail(err, "image '%s': %s", path, g_strerror(e));
    }
    if (!file_size(f->fd, path, f, &size, err) ||
        (lock && !lock_image(f->fd, path, read_only, err))) {
        raw_close(f);
        return false;
    }
    *out = (BlockFile){.driver = &raw_driver, .file = f, .size = size};
    return true;
}

bool raw_open(BlockFile *out, const char *path, bool read_only, GError **err)
{
    return open_file(out, path, read_only, true, err);
}

bool raw_open_unlocked(BlockFile *out, const char *path, GError **err)
{
    return open_file(out, path, true, false, err);
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
