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

typedef struct BlockDriver {
    const char *name;
    int (*read)(void *file, uint64_t off, const struct iovec *iov, unsigned n_iov);
    int (*write)(void *file, uint64_t off, const struct iovec *iov, unsigned n_iov);
    int (*flush)(void *file);
    int (*discard)(void *file, uint64_t off, uint64_t len); /* NULL: nothing happens */
    void (*close)(void *file);
    /* May be NULL: the whole range is data. @len > 0 bounds what is looked at. */
    int (*extent)(void *file, uint64_t off, uint64_t len, BlockExtent *e);
    /* May be NULL: write zeros by write(). */
    int (*write_zeroes)(void *file, uint64_t off, uint64_t len);
} BlockDriver;

typedef struct BlockFile {
    const BlockDriver *driver;
    void *file;
    uint64_t size;
} BlockFile;

/* Raw images and host block devices (raw.c). */
bool raw_open(BlockFile *out, const char *path, bool read_only, GError **err);
/* The same read-only and without the lock, for tools that look at images in use. */
bool raw_open_unlocked(BlockFile *out, const char *path, GError **err);
/* Memory (raw.c). */
void memory_open(BlockFile *out, const void *data, size_t len);
/* Copy on write over @base, which it takes, in an unlinked temporary file (overlay.c). */
bool overlay_open(BlockFile *out, const BlockFile *base, GError **err);

enum {
    IMAGE_WRITE = 1 << 0,
    IMAGE_REPAIR = 1 << 1,     /* open dirty and corrupt images as they are, to repair them */
    IMAGE_NO_BACKING = 1 << 2, /* do not open the backing chain */
    IMAGE_UNLOCKED = 1 << 3,   /* read-only, even while someone writes */
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

static inline size_t iov_length(const struct iovec *iov, unsigned n)
{
    size_t len = 0;
    for (unsigned i = 0; i < n; i++) {
        len += iov[i].iov_len;
    }
    return len;
}

#endif
