/* Requests, worker threads and completions of block devices. */
#include "block/block.h"
#include "block/driver.h"
#include "core/log.h"
#include "core/machine.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MAX_THREADS 8

enum { REQ_READ, REQ_WRITE, REQ_FLUSH, REQ_DISCARD };

typedef struct Request {
    int kind;
    uint64_t off, len;
    struct iovec *iov;
    unsigned n_iov;
    BlockDone *done;
    void *opaque;
    int ret;
} Request;

struct BlockDev {
    BlockFile file;
    char *name;
    bool read_only;
    bool probed_raw; /* nobody said raw: it must not turn into another format */
    GThreadPool *pool;
    GSource *source;
    unsigned in_flight; /* machine lock: requests whose callback has not run */
    GMutex lock;
    GCond finished;
    GQueue completed; /* of Request, under @lock */
};

typedef struct DoneSource {
    GSource source;
    BlockDev *dev;
} DoneSource;

/* ---- completion ---- */

/* Machine lock held. */
static bool run_completed(BlockDev *b)
{
    bool any = false;

    for (;;) {
        g_mutex_lock(&b->lock);
        Request *r = g_queue_pop_head(&b->completed);
        g_mutex_unlock(&b->lock);
        if (!r) {
            return any;
        }
        any = true;
        b->in_flight--;
        r->done(r->opaque, r->ret);
        g_free(r->iov);
        g_free(r);
    }
}

static gboolean dispatch_done(GSource *source, GSourceFunc fn, gpointer data)
{
    BlockDev *b = ((DoneSource *)source)->dev;

    g_source_set_ready_time(source, -1);
    machine_lock();
    /* The device may have been closed while this waited for the lock. */
    if (!g_source_is_destroyed(source)) {
        run_completed(b);
    }
    machine_unlock();
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs done_funcs = {.dispatch = dispatch_done};

static void complete(BlockDev *b, Request *r)
{
    g_mutex_lock(&b->lock);
    g_queue_push_tail(&b->completed, r);
    g_cond_broadcast(&b->finished);
    g_source_set_ready_time(b->source, 0);
    g_mutex_unlock(&b->lock);
}

/* A guest that writes another format's header would choose what is read the next time. */
static bool disguised(const Request *r)
{
    uint8_t head[8];
    size_t n = 0;

    if (r->off != 0) {
        return false;
    }
    for (unsigned i = 0; i < r->n_iov && n < sizeof(head); i++) {
        size_t k = MIN(sizeof(head) - n, r->iov[i].iov_len);
        memcpy(head + n, r->iov[i].iov_base, k);
        n += k;
    }
    return strcmp(image_probe(head, n), "raw");
}

static int run(BlockFile *f, const Request *r)
{
    switch (r->kind) {
    case REQ_READ:
        return f->driver->read(f->file, r->off, r->iov, r->n_iov);
    case REQ_WRITE:
        return f->driver->write(f->file, r->off, r->iov, r->n_iov);
    case REQ_FLUSH:
        return f->driver->flush(f->file);
    default:
        return f->driver->discard ? f->driver->discard(f->file, r->off, r->len) : 0;
    }
}

static void worker(gpointer data, gpointer user)
{
    Request *r = data;
    BlockDev *b = user;
    if (r->kind == REQ_WRITE && b->probed_raw && disguised(r)) {
        guest_error("image '%s': the guest writes another format's header to a probed raw image; "
                    "format=raw allows it",
                    b->name);
        r->ret = -EPERM;
    } else {
        r->ret = run(&b->file, r);
    }
    complete(b, r);
}

/* ---- requests ---- */

static bool in_range(const BlockDev *b, uint64_t off, uint64_t len)
{
    return off <= b->file.size && len <= b->file.size - off;
}

static void submit(BlockDev *b, int kind, uint64_t off, uint64_t len, const struct iovec *iov,
                   unsigned n_iov, BlockDone *done, void *opaque)
{
    Request *r = g_new0(Request, 1);

    *r = (Request){.kind = kind, .off = off, .len = len, .done = done, .opaque = opaque};
    r->iov = g_memdup2(iov, n_iov * sizeof(*iov));
    r->n_iov = n_iov;
    b->in_flight++;
    if (!in_range(b, off, len)) {
        r->ret = -EINVAL;
    } else if (b->read_only && (kind == REQ_WRITE || kind == REQ_DISCARD)) {
        r->ret = -EROFS;
    } else if (kind != REQ_FLUSH && len == 0) {
        r->ret = 0;
    } else {
        g_thread_pool_push(b->pool, r, NULL);
        return;
    }
    complete(b, r);
}

void block_read(BlockDev *b, uint64_t off, const struct iovec *iov, unsigned n_iov, BlockDone *done,
                void *opaque)
{
    submit(b, REQ_READ, off, iov_length(iov, n_iov), iov, n_iov, done, opaque);
}

void block_write(BlockDev *b, uint64_t off, const struct iovec *iov, unsigned n_iov,
                 BlockDone *done, void *opaque)
{
    submit(b, REQ_WRITE, off, iov_length(iov, n_iov), iov, n_iov, done, opaque);
}

void block_flush(BlockDev *b, BlockDone *done, void *opaque)
{
    submit(b, REQ_FLUSH, 0, 0, NULL, 0, done, opaque);
}

void block_discard(BlockDev *b, uint64_t off, uint64_t len, BlockDone *done, void *opaque)
{
    submit(b, REQ_DISCARD, off, len, NULL, 0, done, opaque);
}

unsigned block_in_flight(const BlockDev *b)
{
    return b->in_flight;
}

void block_drain(BlockDev *b)
{
    while (b->in_flight) {
        if (run_completed(b)) {
            continue;
        }
        g_mutex_lock(&b->lock);
        while (g_queue_is_empty(&b->completed)) {
            g_cond_wait(&b->finished, &b->lock);
        }
        g_mutex_unlock(&b->lock);
    }
}

int block_pread(BlockDev *b, uint64_t off, void *buf, size_t len)
{
    struct iovec iov = {buf, len};
    return in_range(b, off, len) ? b->file.driver->read(b->file.file, off, &iov, 1) : -EINVAL;
}

int block_pwrite(BlockDev *b, uint64_t off, const void *buf, size_t len)
{
    struct iovec iov = {(void *)buf, len};
    if (b->read_only) {
        return -EROFS;
    }
    return in_range(b, off, len) ? b->file.driver->write(b->file.file, off, &iov, 1) : -EINVAL;
}

/* ---- life ---- */

uint64_t block_size(const BlockDev *b)
{
    return b->file.size;
}

bool block_read_only(const BlockDev *b)
{
    return b->read_only;
}

const char *block_name(const BlockDev *b)
{
    return b->name;
}

const char *block_format(const BlockDev *b)
{
    return b->file.driver->name;
}

static BlockDev *dev_new(const BlockFile *f, const char *name, bool read_only)
{
    BlockDev *b = g_new0(BlockDev, 1);

    b->file = *f;
    b->name = g_strdup(name);
    b->read_only = read_only;
    g_mutex_init(&b->lock);
    g_cond_init(&b->finished);
    g_queue_init(&b->completed);
    b->pool = g_thread_pool_new(worker, b, MAX_THREADS, FALSE, NULL);
    b->source = g_source_new(&done_funcs, sizeof(DoneSource));
    ((DoneSource *)b->source)->dev = b;
    g_source_set_name(b->source, "rhea-block");
    g_source_attach(b->source, NULL);
    return b;
}

BlockDev *block_open(const BlockOptions *o, GError **err)
{
    BlockFile f, top;
    bool write = !o->read_only && !o->snapshot;

    if (!image_open(&f, o->file, o->format, write ? IMAGE_WRITE : 0, err)) {
        return NULL;
    }
    bool guess = !o->format && !strcmp(f.driver->name, "raw");
    if (o->snapshot && !o->read_only) {
        if (!overlay_open(&top, &f, err)) {
            f.driver->close(f.file);
            return NULL;
        }
        f = top;
    }
    BlockDev *b = dev_new(&f, o->file, o->read_only);
    b->probed_raw = guess && write;
    return b;
}

BlockDev *block_open_memory(const void *data, size_t len, bool read_only)
{
    BlockFile f;
    memory_open(&f, data, len);
    return dev_new(&f, "memory", read_only);
}

void block_close(BlockDev *b)
{
    if (!b) {
        return;
    }
    block_drain(b);
    g_source_destroy(b->source);
    /* Workers have handed over their last request, but may still be inside complete(). */
    g_thread_pool_free(b->pool, FALSE, TRUE);
    g_source_unref(b->source);
    b->file.driver->close(b->file.file);
    g_mutex_clear(&b->lock);
    g_cond_clear(&b->finished);
    g_free(b->name);
    g_free(b);
}
