/*
 * What a disk image format gives to block.c. Straight-line code: the functions run on worker
 * threads, several at a time, and may block. All return 0 or a negative errno.
 */
#ifndef RHEA_BLOCK_DRIVER_H
#define RHEA_BLOCK_DRIVER_H

#include "block/block.h"

/* What is known of a range from some offset on. */
typedef struct BlockExtent {
    uint64_t len;
    uint64_t offset;  /* in @file, where @has_offset */
    const char *file; /* NULL: unknown */
    unsigned depth;   /* 0 = the image itself, 1 = its backing file, … */
    bool present;     /* allocated in some image of the chain */
    bool data;        /* has to be read */
    bool zero;        /* reads as zeros */
    bool compressed, has_offset;
} BlockExtent;

typedef struct BlockFile BlockFile;

/* An internal snapshot; strings belong to the image and last until its list changes. */
typedef struct BlockSnapshot {
    const char *id, *name;
    uint32_t date_sec, date_nsec; /* UTC */
    uint64_t vm_clock;            /* ns that the guest had run */
    uint64_t vm_size;             /* bytes of machine state; 0: of the disk only */
} BlockSnapshot;

/* Internal snapshots, while no request is in flight. A machine's state is written first, in pieces
 * that follow each other, each but the last a multiple of 2 MiB; the snapshot then takes it. */
typedef struct BlockSnapshotOps {
    bool (*get)(void *file, unsigned i, BlockSnapshot *out); /* false: there are not as many */
    /* @what: name, vm_clock, vm_size */
    bool (*create)(const BlockFile *f, const BlockSnapshot *what, GError **err);
    bool (*apply)(BlockFile *f, const char *id, GError **err);
    bool (*remove)(const BlockFile *f, const char *id, GError **err);
    int (*vm_write)(void *file, uint64_t off, const void *buf, size_t len);
    int (*vm_drop)(void *file); /* what was written and no snapshot took */
    int (*vm_read)(void *file, const char *id, uint64_t off, void *buf, size_t len);
} BlockSnapshotOps;

/* read, write, flush and close are there always; the rest may be NULL. */
typedef struct BlockDriver {
    const char *name;
    int (*read)(void *file, uint64_t off, const struct iovec *iov, unsigned n_iov);
    int (*write)(void *file, uint64_t off, const struct iovec *iov, unsigned n_iov);
    int (*flush)(void *file);
    int (*discard)(void *file, uint64_t off, uint64_t len); /* NULL: nothing happens */
    void (*close)(void *file);
    /* NULL: the whole range is data. @len > 0 bounds what is looked at. */
    int (*extent)(void *file, uint64_t off, uint64_t len, BlockExtent *e);
    /* NULL: write zeros by write(). @unmap: a hole will do; else the space stays allocated where
     * that makes a difference. */
    int (*write_zeroes)(void *file, uint64_t off, uint64_t len, bool unmap);
    /* Is [off, off + len) just a range of a file of the host, which anybody may read or write at
     * *@host of *@fd while the request is in flight? NULL: never. Any thread. */
    bool (*plain)(void *file, uint64_t off, const struct iovec *iov, unsigned n_iov, bool write,
                  int *fd, uint64_t *host);
    /* The rest: no request is in flight. */
    /* A new size; sets f->size. NULL: cannot change. */
    bool (*resize)(BlockFile *f, uint64_t size, GError **err);
    /* Stop being a writer (tables are written, others may write), or become one. */
    bool (*set_writable)(void *file, bool on, GError **err);
    const char *(*path)(void *file); /* NULL or a NULL result: has no name */
    /* The image whose data shows where this one has none; NULL result: none. */
    BlockFile *(*backing)(void *file);
    /* Puts @backing, which it takes, behind an image that was opened without. */
    void (*set_backing)(void *file, const BlockFile *backing);
    /* Forgets all data, so that the backing file's shows everywhere. */
    int (*make_empty)(void *file);
    const BlockSnapshotOps *snapshots; /* NULL: the format has none */
} BlockDriver;

struct BlockFile {
    const BlockDriver *driver;
    void *file;
    uint64_t size;
    bool read_only; /* IMAGE_AUTO_RO had to */
};

/* Raw images and host block devices; @flags: IMAGE_*, below (raw.c). */
bool raw_open(BlockFile *out, const char *path, unsigned flags, GError **err);
/* Memory (raw.c). */
void memory_open(BlockFile *out, const void *data, size_t len);
/* Copy on write over @base, which it takes, in an unlinked temporary file (overlay.c). */
bool overlay_open(BlockFile *out, const BlockFile *base, GError **err);

enum {
    IMAGE_WRITE = 1 << 0,
    IMAGE_REPAIR = 1 << 1,     /* open dirty and corrupt images as they are, to repair them */
    IMAGE_NO_BACKING = 1 << 2, /* do not open the backing chain */
    IMAGE_UNLOCKED = 1 << 3,   /* no locks: read-only, even while someone writes */
    IMAGE_SHARE_RW = 1 << 4,   /* others may write too */
    IMAGE_DIRECT = 1 << 5,     /* past the host's page cache */
    IMAGE_NO_FLUSH = 1 << 6,   /* flushing the file does nothing */
    IMAGE_AUTO_RO = 1 << 7,    /* with WRITE: read-only if it must be */
    IMAGE_BACKING_UNLOCKED = 1 << 8,
    /* What backing files have in common with the image in front. */
    IMAGE_INHERIT = IMAGE_UNLOCKED | IMAGE_DIRECT | IMAGE_NO_FLUSH,
};

/* Formats by name; NULL for an unknown one. */
bool image_format_known(const char *format);
/* Format of a file by its first bytes: a name, "raw" when nothing is known of it. */
const char *image_probe(const uint8_t *head, size_t len);
/* Opens @path as @format (NULL: probed) with its backing chain (image.c). */
bool image_open(BlockFile *out, const char *path, const char *format, unsigned flags, GError **err);
/* The same for a member of a chain; @chain: real paths of the images above. */
bool image_open_chain(BlockFile *out, const char *path, const char *format, unsigned flags,
                      GSList *chain, GError **err);
/* What an image names as its backing file, as a path: relative to the image's folder. */
char *image_backing_path(const char *path, const char *name, GError **err);

/* Locks of a file as QEMU's programs take them (lock.c): what the opener does (IMAGE_WRITE or only
 * reads) and does not bear others doing. Drops what @fd had. */
bool image_lock(int fd, const char *path, unsigned flags, GError **err);

static inline void block_file_close(BlockFile *f)
{
    f->driver->close(f->file);
}

/* Zeros by whatever the driver has. */
int block_file_zero(const BlockFile *f, uint64_t off, uint64_t len, bool unmap);

static inline size_t iov_length(const struct iovec *iov, unsigned n)
{
    size_t len = 0;
    for (unsigned i = 0; i < n; i++) {
        len += iov[i].iov_len;
    }
    return len;
}

#endif
