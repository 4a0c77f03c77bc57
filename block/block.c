/* Requests, worker threads and completions of block devices. */
#include "block/block.h"
#include "block/dev.h"
#include "block/tree.h"
#include "core/log.h"
#include "core/machine.h"
#include <errno.h>
#include <string.h>

#define MAX_THREADS 16
#define HEAD 512 /* bytes that formats are known by */
#define ZERO_CHUNK (1u << 20)
#define AIO_MAX_IOV 1024u
#define AIO_MAX_LEN (1u << 30)

typedef struct DoneSource {
    GSource source;
    BlockDev *dev;
} DoneSource;

static BlockKind kind_of(const Request *r)
{
    return r->kind == REQ_ZEROES ? BLOCK_WRITE : (BlockKind)r->kind;
}

/* ---- completion ---- */

static void account(BlockDev *b, const Request *r)
{
    BlockKind k = kind_of(r);
    BlockStats *s = &b->stats;

    b->stats.last = g_get_monotonic_time() * 1000;
    if (r->invalid) {
        s->invalid[k]++;
    } else if (r->ret < 0) {
        s->failed[k]++;
    } else {
        s->ops[k]++;
        s->bytes[k] += r->len;
        s->ns[k] += (uint64_t)MAX(s->last - r->start, 0);
        if (k == BLOCK_WRITE) {
            s->highest = MAX(s->highest, r->off + r->len);
        }
    }
}

static void tell_error(BlockDev *b, const Request *r, const char *action)
{
    if (!b->opts.machine || !b->opts.machine->block_event) {
        return;
    }
    g_autofree char *id = g_strescape(b->opts.id ? b->opts.id : "", NULL);
    g_autofree char *json = g_strdup_printf(
        "{\"device\": \"%s\", \"operation\": \"%s\", \"action\": \"%s\", \"nospace\": %s, "
        "\"reason\": \"%s\"}",
        id, r->kind == REQ_READ ? "read" : "write", action, r->ret == -ENOSPC ? "true" : "false",
        g_strerror(-r->ret));
    b->opts.machine->block_event(b->opts.machine, "BLOCK_IO_ERROR", json);
}

static void zero_result(const Request *r)
{
    for (unsigned i = 0; i < r->n_iov; i++) {
        memset(r->iov[i].iov_base, 0, r->iov[i].iov_len);
    }
}

/* A request failed: as rerror= and werror= want it. True: it waits until the machine goes on. */
static bool failed(BlockDev *b, Request *r)
{
    BlockErrorPolicy p = r->kind == REQ_READ ? b->opts.rerror : b->opts.werror;

    if (r->invalid) {
        return false;
    }
    if (p == BLOCK_ERROR_DEFAULT) {
        p = r->kind == REQ_READ ? BLOCK_ERROR_REPORT : BLOCK_ERROR_ENOSPC;
    }
    if (p == BLOCK_ERROR_ENOSPC) {
        p = r->ret == -ENOSPC ? BLOCK_ERROR_STOP : BLOCK_ERROR_REPORT;
    }
    if (p == BLOCK_ERROR_STOP && (!b->opts.machine || b->draining)) {
        p = BLOCK_ERROR_REPORT;
    }
    if (p == BLOCK_ERROR_REPORT) {
        tell_error(b, r, "report");
        return false;
    }
    if (p == BLOCK_ERROR_IGNORE) {
        tell_error(b, r, "ignore");
        if (r->kind == REQ_READ) {
            zero_result(r);
        }
        r->ret = 0;
        return false;
    }
    tell_error(b, r, "stop");
    if (b->stats.failure == BLOCK_ERROR_DEFAULT) {
        warn_report("image '%s': %s; the machine stops, 'cont' tries again", b->name,
                    g_strerror(-r->ret));
    }
    b->stats.failure = BLOCK_ERROR_STOP;
    b->stats.no_space = r->ret == -ENOSPC;
    g_queue_push_tail(&b->stalled, r);
    machine_request_stop(b->opts.machine, RUN_IO_ERROR);
    return true;
}

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
        account(b, r);
        if (r->ret < 0 && failed(b, r)) {
            continue;
        }
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

static void push_completed(BlockDev *b, Request *r)
{
    g_mutex_lock(&b->lock);
    g_queue_push_tail(&b->completed, r);
    g_cond_broadcast(&b->finished);
    g_mutex_unlock(&b->lock);
}

static void complete(BlockDev *b, Request *r)
{
    push_completed(b, r);
    g_source_set_ready_time(b->source, 0);
}

/* ---- on the worker ---- */

/* A guest that writes another format's header would choose what is read the next time. */
static bool disguised(const BlockFile *f, const Request *r)
{
    uint8_t head[HEAD] = {0};
    struct iovec old = {head, MIN(HEAD, f->size)};
    size_t at = r->off, n = MIN(HEAD, f->size);

    if (r->off >= HEAD || f->driver->read(f->file, 0, &old, 1)) {
        return false;
    }
    for (unsigned i = 0; i < r->n_iov && at < n; i++) {
        size_t k = MIN(n - at, r->iov[i].iov_len);
        memcpy(head + at, r->iov[i].iov_base, k);
        at += k;
    }
    return strcmp(image_probe(head, n), "raw");
}

static bool all_zero(const Request *r)
{
    static const uint8_t zeros[4096];
    for (unsigned i = 0; i < r->n_iov; i++) {
        const uint8_t *p = r->iov[i].iov_base;
        for (size_t left = r->iov[i].iov_len, n; left; left -= n, p += n) {
            n = MIN(left, sizeof(zeros));
            if (memcmp(p, zeros, n)) {
                return false;
            }
        }
    }
    return true;
}

int block_file_zero(const BlockFile *f, uint64_t off, uint64_t len, bool unmap)
{
    if (f->driver->write_zeroes) {
        return f->driver->write_zeroes(f->file, off, len, unmap);
    }
    g_autofree uint8_t *zeros = g_malloc0(MIN(len, ZERO_CHUNK));
    int ret = 0;
    while (len && ret == 0) {
        struct iovec iov = {zeros, MIN(len, ZERO_CHUNK)};
        ret = f->driver->write(f->file, off, &iov, 1);
        off += iov.iov_len;
        len -= iov.iov_len;
    }
    return ret;
}

static int run_write(BlockDev *b, const Request *r)
{
    const BlockFile *f = &b->file;

    if (b->probed_raw && disguised(f, r)) {
        if (!g_atomic_int_exchange(&b->disguise_told, 1)) {
            warn_report("image '%s': the guest writes another format's header to an image that was "
                        "found to be raw; it gets an error. format=raw allows it",
                        b->name);
        }
        return -EIO;
    }
    if (b->opts.detect_zeroes != BLOCK_ZEROES_OFF && f->driver->write_zeroes && all_zero(r)) {
        return f->driver->write_zeroes(f->file, r->off, r->len,
                                       b->opts.detect_zeroes == BLOCK_ZEROES_UNMAP &&
                                           b->opts.discard);
    }
    return f->driver->write(f->file, r->off, r->iov, r->n_iov);
}

static int run(BlockDev *b, const Request *r)
{
    const BlockFile *f = &b->file;
    int ret;

    if (r->written) {
        return f->driver->flush(f->file);
    }
    switch (r->kind) {
    case REQ_READ:
        return f->driver->read(f->file, r->off, r->iov, r->n_iov);
    case REQ_WRITE:
        ret = run_write(b, r);
        break;
    case REQ_ZEROES:
        ret = block_file_zero(f, r->off, r->len, r->unmap && b->opts.discard);
        break;
    case REQ_FLUSH:
        return f->driver->flush(f->file);
    default:
        return b->opts.discard && f->driver->discard ? f->driver->discard(f->file, r->off, r->len)
                                                     : 0;
    }
    return ret == 0 && (r->fua || b->opts.writethrough) ? f->driver->flush(f->file) : ret;
}

/* On a thread of ours, without the machine lock. */
static void over(BlockDev *b, Request *r)
{
    push_completed(b, r);
    /* Here, if nobody is in the way: it saves waking the main loop. Who has the lock may be waiting
     * for this very request, or for this thread to end. */
    if (machine_trylock()) {
        run_completed(b);
        machine_unlock();
    } else {
        g_source_set_ready_time(b->source, 0);
    }
}

static void worker(gpointer data, gpointer user)
{
    Request *r = data;
    BlockDev *b = user;

    r->ret = run(b, r);
    over(b, r);
}

/* ---- the host's asynchronous I/O ---- */

/* On its thread. What was done in part, or not at all for reasons of its own, a worker does. */
static void aio_done(void *opaque, AioOp *op)
{
    BlockDev *b = opaque;
    Request *r = (Request *)((char *)op - offsetof(Request, aio));

    if (op->ret < 0 && op->ret != -EAGAIN && op->ret != -EINVAL && op->ret != -EOPNOTSUPP) {
        r->ret = op->ret;
    } else if (op->ret < 0 || (uint64_t)op->ret != r->len) {
        g_thread_pool_push(b->pool, r, NULL);
        return;
    } else if (r->kind == REQ_WRITE && (r->fua || b->opts.writethrough)) {
        r->written = true;
        g_thread_pool_push(b->pool, r, NULL);
        return;
    }
    over(b, r);
}

static bool try_aio(BlockDev *b, Request *r)
{
    const BlockFile *f = &b->file;
    bool write = r->kind == REQ_WRITE;
    uint64_t host;
    int fd;

    if (!b->aio || !f->driver->plain || (r->kind != REQ_READ && !write) || r->n_iov > AIO_MAX_IOV ||
        r->len > AIO_MAX_LEN ||
        (write &&
         (b->opts.detect_zeroes != BLOCK_ZEROES_OFF || (b->probed_raw && r->off < HEAD)))) {
        return false;
    }
    return f->driver->plain(f->file, r->off, r->iov, r->n_iov, write, &fd, &host) &&
           aio_submit(b->aio, &r->aio, fd, write, host, r->iov, r->n_iov);
}

/* ---- requests ---- */

static bool in_range(const BlockDev *b, uint64_t off, uint64_t len)
{
    return off <= b->file.size && len <= b->file.size - off;
}

static void dispatch(ThrottleItem *it)
{
    Request *r = (Request *)it;
    BlockDev *b = it->owner;

    if (!try_aio(b, r)) {
        g_thread_pool_push(b->pool, r, NULL);
    }
}

/* Takes @proto's fields; the lists are copied. */
static void submit(BlockDev *b, const Request *proto)
{
    Request *r = g_memdup2(proto, sizeof(*proto));
    bool change = r->kind != REQ_READ && r->kind != REQ_FLUSH;

    r->iov = g_memdup2(r->iov, r->n_iov * sizeof(*r->iov));
    r->start = g_get_monotonic_time() * 1000;
    r->item =
        (ThrottleItem){.owner = b, .bytes = r->len, .write = r->kind != REQ_READ, .go = dispatch};
    b->in_flight++;
    if (!in_range(b, r->off, r->len)) {
        r->ret = -EINVAL;
    } else if (b->read_only && change) {
        r->ret = -EROFS;
    } else if (r->kind == REQ_FLUSH || r->kind == REQ_DISCARD) {
        dispatch(&r->item);
        return;
    } else if (r->len) {
        if (b->throttle) {
            throttle_submit(b->throttle, &r->item);
        } else {
            dispatch(&r->item);
        }
        return;
    }
    r->invalid = r->ret != 0;
    complete(b, r);
}

void block_read(BlockDev *b, uint64_t off, const struct iovec *iov, unsigned n_iov, BlockDone *done,
                void *opaque)
{
    submit(b, &(Request){.kind = REQ_READ,
                         .off = off,
                         .len = iov_length(iov, n_iov),
                         .iov = (struct iovec *)iov,
                         .n_iov = n_iov,
                         .done = done,
                         .opaque = opaque});
}

static void write_request(BlockDev *b, uint64_t off, const struct iovec *iov, unsigned n_iov,
                          bool fua, BlockDone *done, void *opaque)
{
    submit(b, &(Request){.kind = REQ_WRITE,
                         .off = off,
                         .len = iov_length(iov, n_iov),
                         .iov = (struct iovec *)iov,
                         .n_iov = n_iov,
                         .fua = fua,
                         .done = done,
                         .opaque = opaque});
}

void block_write(BlockDev *b, uint64_t off, const struct iovec *iov, unsigned n_iov,
                 BlockDone *done, void *opaque)
{
    write_request(b, off, iov, n_iov, false, done, opaque);
}

void block_write_fua(BlockDev *b, uint64_t off, const struct iovec *iov, unsigned n_iov,
                     BlockDone *done, void *opaque)
{
    write_request(b, off, iov, n_iov, true, done, opaque);
}

void block_write_zeroes(BlockDev *b, uint64_t off, uint64_t len, bool unmap, BlockDone *done,
                        void *opaque)
{
    submit(b, &(Request){.kind = REQ_ZEROES,
                         .off = off,
                         .len = len,
                         .unmap = unmap,
                         .done = done,
                         .opaque = opaque});
}

void block_flush(BlockDev *b, BlockDone *done, void *opaque)
{
    submit(b, &(Request){.kind = REQ_FLUSH, .done = done, .opaque = opaque});
}

void block_discard(BlockDev *b, uint64_t off, uint64_t len, BlockDone *done, void *opaque)
{
    submit(b,
           &(Request){.kind = REQ_DISCARD, .off = off, .len = len, .done = done, .opaque = opaque});
}

unsigned block_in_flight(const BlockDev *b)
{
    return b->in_flight;
}

static void wait_until(BlockDev *b, bool keep_stalled)
{
    while (b->in_flight > (keep_stalled ? b->stalled.length : 0)) {
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

void block_quiesce(BlockDev *b)
{
    if (b->throttle) {
        throttle_release(b->throttle, b);
    }
    wait_until(b, true);
}

void block_drain(BlockDev *b)
{
    Request *r;

    if (b->throttle) {
        throttle_release(b->throttle, b);
    }
    b->draining = true;
    while ((r = g_queue_pop_head(&b->stalled))) {
        complete(b, r);
    }
    wait_until(b, false);
    b->draining = false;
}

/* The machine goes on: what stopped it is tried again. */
static void on_state(void *opaque, bool running)
{
    BlockDev *b = opaque;

    if (!running) {
        return;
    }
    b->stats.failure = BLOCK_ERROR_DEFAULT;
    b->stats.no_space = false;
    for (unsigned n = b->stalled.length; n; n--) {
        Request *r = g_queue_pop_head(&b->stalled);
        r->ret = 0;
        r->written = false;
        dispatch(&r->item);
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

bool block_write_cache(const BlockDev *b)
{
    return !b->opts.writethrough;
}

bool block_discards(const BlockDev *b)
{
    return b->opts.discard;
}

const char *block_name(const BlockDev *b)
{
    return b->name;
}

const char *block_id(const BlockDev *b)
{
    return b->opts.id ? b->opts.id : b->name;
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
    g_queue_init(&b->stalled);
    b->pool = g_thread_pool_new(worker, b, MAX_THREADS, FALSE, NULL);
    b->source = g_source_new(&done_funcs, sizeof(DoneSource));
    ((DoneSource *)b->source)->dev = b;
    g_source_set_name(b->source, "rhea-block");
    g_source_attach(b->source, NULL);
    return b;
}

static bool check_options(const BlockOptions *o, GError **err)
{
    if (o->aio == BLOCK_AIO_NATIVE && !o->direct) {
        return fail(err, "image '%s': aio=native needs cache=none or cache=directsync",
                    o->file ? o->file : o->id);
    }
    if (o->detect_zeroes == BLOCK_ZEROES_UNMAP && !o->discard) {
        return fail(err, "image '%s': detect-zeroes=unmap needs discard=unmap",
                    o->file ? o->file : o->id);
    }
    if (o->unlocked && !o->read_only) {
        return fail(err, "image '%s': force-share=on needs read-only=on",
                    o->file ? o->file : o->id);
    }
    return throttle_check(&o->throttle, err);
}

static bool open_file(BlockFile *f, const BlockOptions *o, GError **err)
{
    bool write = !o->read_only && !o->snapshot;
    unsigned flags = (write ? IMAGE_WRITE : 0) | (o->direct ? IMAGE_DIRECT : 0) |
                     (o->no_flush ? IMAGE_NO_FLUSH : 0) | (o->unlocked ? IMAGE_UNLOCKED : 0) |
                     (o->share_rw ? IMAGE_SHARE_RW : 0) | (o->auto_read_only ? IMAGE_AUTO_RO : 0);
    if (o->tree) {
        return tree_open(f, o->tree, o->machine, flags, err);
    }
    return image_open(f, o->file, o->format, flags, err);
}

BlockDev *block_wrap(const BlockFile *f, const BlockOptions *o)
{
    const char *path = f->driver->path ? f->driver->path(f->file) : NULL;
    bool read_only = o->read_only || (f->read_only && !o->snapshot);
    BlockDev *b = dev_new(f, o->file ? o->file : path ? path : o->id ? o->id : "", read_only);

    b->opts = *o;
    b->opts.read_only = read_only;
    b->opts.file = b->name;
    b->opts.format = b->opts.throttle_group = NULL;
    b->opts.tree = NULL;
    b->opts.id = g_strdup(o->id);
    if (o->machine) {
        machine_add_state_hook(o->machine, on_state, b);
    }
    if (throttle_enabled(&o->throttle) || o->throttle_group) {
        block_set_throttle(b, &o->throttle, o->throttle_group);
    }
    return b;
}

BlockDev *block_open(const BlockOptions *o, GError **err)
{
    BlockFile f, top;

    if (!check_options(o, err) || !open_file(&f, o, err)) {
        return NULL;
    }
    bool guess = !o->format && !o->tree && !strcmp(f.driver->name, "raw");
    if (o->snapshot && !o->read_only) {
        if (!overlay_open(&top, &f, err)) {
            block_file_close(&f);
            return NULL;
        }
        f = top;
        guess = false;
    }
    BlockDev *b = block_wrap(&f, o);
    if (o->aio != BLOCK_AIO_THREADS && f.driver->plain &&
        !(b->aio = aio_new(o->aio == BLOCK_AIO_URING, aio_done, b, err))) {
        block_close(b);
        return NULL;
    }
    b->probed_raw = guess && !b->read_only;
    return b;
}

BlockDev *block_open_memory(const void *data, size_t len, bool read_only)
{
    BlockFile f;
    memory_open(&f, data, len);
    return dev_new(&f, "memory", read_only);
}

void block_add_close_hook(BlockDev *b, void (*fn)(void *opaque), void *opaque)
{
    const CloseHook h = {fn, opaque};
    if (!b->close_hooks) {
        b->close_hooks = g_array_new(FALSE, FALSE, sizeof(CloseHook));
    }
    g_array_append_val(b->close_hooks, h);
}

void block_remove_close_hook(BlockDev *b, void (*fn)(void *opaque), void *opaque)
{
    for (unsigned i = 0; b->close_hooks && i < b->close_hooks->len; i++) {
        const CloseHook *h = &g_array_index(b->close_hooks, CloseHook, i);
        if (h->fn == fn && h->opaque == opaque) {
            g_array_remove_index(b->close_hooks, i);
            return;
        }
    }
}

void block_close(BlockDev *b)
{
    if (!b) {
        return;
    }
    for (unsigned i = 0; b->close_hooks && i < b->close_hooks->len; i++) {
        const CloseHook *h = &g_array_index(b->close_hooks, CloseHook, i);
        h->fn(h->opaque);
    }
    block_drain(b);
    if (b->close_hooks) {
        g_array_unref(b->close_hooks);
    }
    if (b->opts.machine) {
        machine_remove_state_hook(b->opts.machine, on_state, b);
    }
    g_source_destroy(b->source);
    /* Workers have handed over their last request, but may still be inside complete(). */
    g_thread_pool_free(b->pool, FALSE, TRUE);
    g_source_unref(b->source);
    aio_free(b->aio);
    block_file_close(&b->file);
    throttle_group_put(b->throttle);
    clock_free(b->clock);
    g_mutex_clear(&b->lock);
    g_cond_clear(&b->finished);
    g_free((char *)b->opts.id);
    g_free(b->name);
    g_free(b);
}
