/*
 * What a disk image format gives to block.c. Straight-line code: the functions run on worker
 * threads, several at a time, and may block. All return 0 or a negative errno.
 */
#ifndef RHEA_BLOCK_DRIVER_H
#define RHEA_BLOCK_DRIVER_H

#include "block/block.h"

typedef struct BlockDriver {
    const char *name;
    int (*read)(void *file, uint64_t off, const struct iovec *iov, unsigned n_iov);
    int (*write)(void *file, uint64_t off, const struct iovec *iov, unsigned n_iov);
    int (*flush)(void *file);
    int (*discard)(void *file, uint64_t off, uint64_t len); /* NULL: nothing happens */
    void (*close)(void *file);
} BlockDriver;

typedef struct BlockFile {
    const BlockDriver *driver;
    void *file;
    uint64_t size;
} BlockFile;

/* Raw images and host block devices (raw.c). */
bool raw_open(BlockFile *out, const char *path, bool read_only, GError **err);
/* Memory (raw.c). */
void memory_open(BlockFile *out, const void *data, size_t len);
/* Copy on write over @base, which it takes, in an unlinked temporary file (overlay.c). */
bool overlay_open(BlockFile *out, const BlockFile *base, GError **err);

static inline size_t iov_length(const struct iovec *iov, unsigned n)
{
    size_t len = 0;
    for (unsigned i = 0; i < n; i++) {
        len += iov[i].iov_len;
    }
    return len;
}

#endif
