/* Inside of a block device; for block/ alone. */
#ifndef RHEA_BLOCK_DEV_H
#define RHEA_BLOCK_DEV_H

#include "block/aio.h"
#include "block/block.h"
#include "block/driver.h"

/* The first are BlockKind's. */
enum { REQ_READ, REQ_WRITE, REQ_FLUSH, REQ_DISCARD, REQ_ZEROES };

typedef struct Request {
    ThrottleItem item; /* first; owner: the device */
    int kind;
    uint64_t off, len;
    struct iovec *iov;
    unsigned n_iov;
    bool fua, unmap;
    AioOp aio;
    bool written; /* only the flush behind it is left */
    bool invalid; /* never got as far as the image */
    int64_t start;
    BlockDone *done;
    void *opaque;
    int ret;
} Request;

typedef struct CloseHook {
    void (*fn)(void *opaque);
    void *opaque;
} CloseHook;

struct BlockDev {
    BlockFile file; /* changes only while nothing is in flight, under the machine lock */
    BlockOptions opts;
    char *name;
    bool read_only;
    bool probed_raw; /* nobody said raw: it must not turn into another format */
    int disguise_told;
    GThreadPool *pool;
    Aio *aio; /* NULL: threads do it all */
    GSource *source;
    /* Machine lock */
    unsigned in_flight; /* requests whose callback has not run */
    bool draining;
    GQueue stalled; /* of Request: wait for the machine to go on */
    BlockStats stats;
    ThrottleGroup *throttle; /* NULL: no limits */
    Clock *clock;            /* of limits, when no machine lends one */
    void (*on_resize)(void *opaque);
    void *resize_opaque;
    GArray *close_hooks; /* of CloseHook; NULL: none */
    /* Workers */
    GMutex lock;
    GCond finished;
    GQueue completed; /* of Request, under @lock */
};

/* A device over @f, which it takes; of @o what concerns files is not looked at. Machine lock. */
BlockDev *block_wrap(const BlockFile *f, const BlockOptions *o);
/* Waits for all requests but those that wait for the machine. Machine lock. */
void block_quiesce(BlockDev *b);
/* Its image goes; requests fail with -EIO from now on. */
void block_disconnect(BlockDev *b);

/* @fn runs when @b is closed, before the last requests are waited for. */
void block_add_close_hook(BlockDev *b, void (*fn)(void *opaque), void *opaque);
void block_remove_close_hook(BlockDev *b, void (*fn)(void *opaque), void *opaque);

#endif
