/*
 * Disk images as devices see them: a flat range of bytes with asynchronous requests.
 *
 * Requests are made under the machine lock and run on worker threads, in no order among each
 * other; the completion callback runs later on some thread (or in block_drain()) under the machine
 * lock, and may make requests but not close the device. The caller keeps the memory that @iov
 * points at until then. What a completed write wrote is safe on the medium after a flush that was
 * requested later has completed; with cache=writethrough and directsync it is safe as soon as it
 * has completed.
 *
 * Failed requests: rerror= and werror= are obeyed here. A request that stops the machine stays in
 * flight (its callback does not run) and is made again when the machine goes on, so a device
 * (IDE, floppy, virtio-blk) has nothing to do for them but to set BlockOptions.machine, which
 * drive_take() of block/drive.h does. block_drain() ends such requests with their error: a device
 * that is reset drops them anyway.
 */
#ifndef RHEA_BLOCK_BLOCK_H
#define RHEA_BLOCK_BLOCK_H

#include "block/throttle.h"
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct Machine;
struct Options;

typedef struct BlockDev BlockDev;

typedef enum { BLOCK_AIO_THREADS, BLOCK_AIO_NATIVE, BLOCK_AIO_URING } BlockAio;
typedef enum { BLOCK_ZEROES_OFF, BLOCK_ZEROES_ON, BLOCK_ZEROES_UNMAP } BlockZeroes;
/* DEFAULT: report for reading, enospc for writing; without a machine always report. */
typedef enum {
    BLOCK_ERROR_DEFAULT,
    BLOCK_ERROR_REPORT,
    BLOCK_ERROR_IGNORE,
    BLOCK_ERROR_STOP,
    BLOCK_ERROR_ENOSPC
} BlockErrorPolicy;

/* Strings and @tree are the caller's and may go after the open. Zeros are good defaults. */
typedef struct BlockOptions {
    const char *file;
    const char *format;   /* "raw", "qcow2"; NULL = look at the file */
    struct Options *tree; /* instead of @file: driver=, file.filename= …; see block/tree.h */
    const char *id;       /* for messages, `info block` and events; NULL: the file's name */
    bool read_only;
    bool auto_read_only; /* read-only when it cannot be written to */
    bool snapshot;       /* writes go to a temporary file that vanishes with the device */
    bool writethrough;   /* each write is on the medium when it completes */
    bool direct;         /* past the host's page cache */
    bool no_flush;       /* flushes do nothing: fast, and all is lost with the host */
    bool discard;        /* discards reach the file; else they do nothing */
    bool share_rw;       /* other programs may write to the file too */
    bool unlocked;       /* do not look at others' locks; read_only only */
    BlockZeroes detect_zeroes;
    BlockAio aio;
    BlockErrorPolicy rerror, werror;
    struct Machine *machine; /* that stops at errors; NULL in tools and tests */
    ThrottleConfig throttle;
    const char *throttle_group; /* NULL: one of its own */
} BlockOptions;

/* One sentence when the file cannot be opened, is in use, or has a format that is not there. */
BlockDev *block_open(const BlockOptions *opts, GError **err);
/* A device over @len bytes of memory, for tests; @data is copied. */
BlockDev *block_open_memory(const void *data, size_t len, bool read_only);
/* Waits for requests in flight (their callbacks run), then closes. Machine lock. NULL is fine. */
void block_close(BlockDev *b);

uint64_t block_size(const BlockDev *b); /* bytes */
bool block_read_only(const BlockDev *b);
bool block_write_cache(const BlockDev *b); /* completed writes need a flush to be safe */
bool block_discards(const BlockDev *b);    /* discard=unmap */
const char *block_name(const BlockDev *b); /* the file, for messages and `info block` */
const char *block_id(const BlockDev *b);   /* the drive */
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
/* The same, on the medium when it completes (FUA), whatever the cache mode but unsafe. */
void block_write_fua(BlockDev *b, uint64_t off, const struct iovec *iov, unsigned n_iov,
                     BlockDone *done, void *opaque);
/* Zeros from @off on; @unmap: they may be a hole, if the device discards. */
void block_write_zeroes(BlockDev *b, uint64_t off, uint64_t len, bool unmap, BlockDone *done,
                        void *opaque);
void block_flush(BlockDev *b, BlockDone *done, void *opaque);
/* The contents may become anything or zeros; never fails for want of support. */
void block_discard(BlockDev *b, uint64_t off, uint64_t len, BlockDone *done, void *opaque);

/* Wait until nothing is in flight, running the callbacks. Machine lock; any thread. */
void block_drain(BlockDev *b);
unsigned block_in_flight(const BlockDev *b);

/* Synchronous, for set-up code: 0 or a negative errno. */
int block_pread(BlockDev *b, uint64_t off, void *buf, size_t len);
int block_pwrite(BlockDev *b, uint64_t off, const void *buf, size_t len);

/* ---- for the operator (block/drive.c, monitor) ---- */

typedef enum { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_UNMAP, BLOCK_KINDS } BlockKind;

typedef struct BlockStats {
    uint64_t ops[BLOCK_KINDS], bytes[BLOCK_KINDS], failed[BLOCK_KINDS], invalid[BLOCK_KINDS];
    uint64_t ns[BLOCK_KINDS]; /* from request to completion, all together */
    uint64_t highest;         /* end of the highest write */
    int64_t last;             /* monotonic ns of the last completion; 0: none yet */
    BlockErrorPolicy failure; /* what stopped the machine last, or DEFAULT for nothing */
    bool no_space;            /* and it was for want of space */
} BlockStats;

void block_get_stats(const BlockDev *b, BlockStats *out);
/* The options it was opened with; strings belong to the device. */
const BlockOptions *block_options(const BlockDev *b);
void block_get_throttle(const BlockDev *b, ThrottleConfig *out);
const char *block_throttle_group(const BlockDev *b); /* NULL: none with a name */
bool block_has_backing(const BlockDev *b);
/* @group NULL: as it is. */
void block_set_throttle(BlockDev *b, const ThrottleConfig *t, const char *group);
/* A new size in bytes; the device's on_resize is told. Nothing in flight fails. */
bool block_resize(BlockDev *b, uint64_t size, GError **err);
void block_on_resize(BlockDev *b, void (*fn)(void *opaque), void *opaque);
/* A new qcow2 @file over the image under way: from now on writes go there. With @reuse the file
 * is there already. */
bool block_external_snapshot(BlockDev *b, const char *file, const char *format, bool reuse,
                             GError **err);
/* What is in the top image goes into its backing file; with snapshot=on, into the image. */
bool block_commit(BlockDev *b, GError **err);
/* The formatted chain of files, top first: "top.qcow2", "base.raw"; caller g_strfreev()s. */
char **block_chain(const BlockDev *b);

#endif
