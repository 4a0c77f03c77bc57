/*
 * Disk images as devices see them: a flat range of bytes with asynchronous requests.
 *
 * Requests are made under the machine lock and run on worker threads, in no order among each
 * other; the completion callback runs in the main loop (or in block_drain()) under the machine
 * lock. The caller keeps the memory that @iov points at until then. What a completed write wrote
 * is safe on the medium after a flush that was requested later has completed.
 */
#ifndef RHEA_BLOCK_BLOCK_H
#define RHEA_BLOCK_BLOCK_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef struct BlockDev BlockDev;

typedef struct BlockOptions {
    const char *file;
    const char *format; /* "raw"; NULL = look at the file */
    bool read_only;
    bool snapshot; /* writes go to a temporary file that vanishes with the device */
} BlockOptions;

/* One sentence when the file cannot be opened, is in use, or has a format that is not there. */
BlockDev *block_open(const BlockOptions *opts, GError **err);
/* A device over @len bytes of memory, for tests; @data is copied. */
BlockDev *block_open_memory(const void *data, size_t len, bool read_only);
/* Waits for requests in flight (their callbacks run), then closes. Machine lock. NULL is fine. */
void block_close(BlockDev *b);

uint64_t block_size(const BlockDev *b); /* bytes */
bool block_read_only(const BlockDev *b);
const char *block_name(const BlockDev *b); /* for messages and `info block` */
const char *block_format(const BlockDev *b);

/* @ret: 0 or a negative errno. */
typedef void BlockDone(void *opaque, int ret);

/* [off, off + length of @iov) must lie in the device, else -EINVAL; an image that ends inside
 * reads zeros there. @iov itself is copied. */
void block_read(BlockDev *b, uint64_t off, const struct iovec *iov, unsigned n_iov, BlockDone *done,
                void *opaque);
/* -EROFS on read-only devices. */
void block_write(BlockDev *b, uint64_t off, const struct iovec *iov, unsigned n_iov,
                 BlockDone *done, void *opaque);
void block_flush(BlockDev *b, BlockDone *done, void *opaque);
/* The contents may become anything or zeros; never fails for want of support. */
void block_discard(BlockDev *b, uint64_t off, uint64_t len, BlockDone *done, void *opaque);

/* Wait until nothing is in flight, running the callbacks. Machine lock; any thread. */
void block_drain(BlockDev *b);
unsigned block_in_flight(const BlockDev *b);

/* Synchronous, for set-up code: 0 or a negative errno. */
int block_pread(BlockDev *b, uint64_t off, void *buf, size_t len);
int block_pwrite(BlockDev *b, uint64_t off, const void *buf, size_t len);

#endif
