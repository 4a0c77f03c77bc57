/* Asynchronous I/O of the host: see aio.h. */
#include "block/aio.h"
#include "config.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef HAVE_URING
#include <liburing.h>
#endif

#define DEPTH 256u
#define SUBMIT_TRIES 1000

struct Aio {
    void (*done)(void *opaque, AioOp *op);
    void *opaque;
    bool uring;
    unsigned in_flight; /* atomic */
    GThread *thread;
    aio_context_t ctx;
    int zero; /* /dev/zero: reading it wakes the thread of Linux AIO */
#ifdef HAVE_URING
    struct io_uring ring; /* filled under the machine lock, emptied by the thread */
#endif
};

static void over(Aio *a, AioOp *op, int ret)
{
    op->ret = ret;
    __atomic_sub_fetch(&a->in_flight, 1, __ATOMIC_ACQ_REL);
    a->done(a->opaque, op);
}

/* ---- Linux AIO ---- */

static gpointer collect_native(gpointer arg)
{
    Aio *a = arg;

    for (;;) {
        struct io_event ev[32];
        long n = syscall(SYS_io_getevents, a->ctx, 1L, (long)G_N_ELEMENTS(ev), ev, NULL);
        if (n < 0 && errno != EINTR) {
            return NULL;
        }
        for (long i = 0; i < n; i++) {
            if (!ev[i].data) {
                return NULL; /* aio_free() */
            }
            over(a, (AioOp *)(uintptr_t)ev[i].data, (int)ev[i].res);
        }
    }
}

static bool submit_native(Aio *a, AioOp *op, int fd, uint16_t opcode, uint64_t off,
                          const struct iovec *iov, unsigned n)
{
    struct iocb *cb = &op->iocb;

    *cb = (struct iocb){.aio_data = (uintptr_t)op,
                        .aio_lio_opcode = opcode,
                        .aio_fildes = (uint32_t)fd,
                        .aio_buf = (uintptr_t)iov,
                        .aio_nbytes = n,
                        .aio_offset = (int64_t)off};
    return syscall(SYS_io_submit, a->ctx, 1L, &cb) == 1;
}

static bool open_native(Aio *a, GError **err)
{
    a->zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    if (a->zero < 0 || syscall(SYS_io_setup, (unsigned long)DEPTH, &a->ctx)) {
        return fail(err, "aio=native: the host refuses: %s", g_strerror(errno));
    }
    a->thread = g_thread_new("aio", collect_native, a);
    return true;
}

static void close_native(Aio *a)
{
    if (a->thread) {
        struct iocb cb = {.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)a->zero};
        struct iocb *list = &cb;
        char byte;
        cb.aio_buf = (uintptr_t)&byte;
        cb.aio_nbytes = 1;
        if (syscall(SYS_io_submit, a->ctx, 1L, &list) == 1) {
            g_thread_join(a->thread);
        } else {
            g_thread_unref(a->thread);
        }
    }
    if (a->ctx) {
        syscall(SYS_io_destroy, a->ctx);
    }
    if (a->zero >= 0) {
        close(a->zero);
    }
}

/* ---- io_uring ---- */

#ifdef HAVE_URING
static gpointer collect_uring(gpointer arg)
{
    Aio *a = arg;

    for (;;) {
        struct io_uring_cqe *cqe;
        int ret = io_uring_wait_cqe(&a->ring, &cqe);
        if (ret == -EINTR) {
            continue;
        }
        if (ret < 0) {
            return NULL;
        }
        AioOp *op = io_uring_cqe_get_data(cqe);
        int res = cqe->res;
        io_uring_cqe_seen(&a->ring, cqe);
        if (!op) {
            return NULL; /* aio_free() */
        }
        over(a, op, res);
    }
}

/* What is in the ring must go: nobody else may come to send it. */
static void send_ring(Aio *a)
{
    for (unsigned i = 0; i < SUBMIT_TRIES; i++) {
        int ret = io_uring_submit(&a->ring);
        if (ret != -EINTR && ret != -EAGAIN && ret != -EBUSY) {
            return;
        }
        g_usleep(1000);
    }
}

static bool submit_uring(Aio *a, AioOp *op, int fd, bool write, uint64_t off,
                         const struct iovec *iov, unsigned n)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&a->ring);

    if (!sqe) {
        return false;
    }
    if (write) {
        io_uring_prep_writev(sqe, fd, iov, n, off);
    } else {
        io_uring_prep_readv(sqe, fd, iov, n, off);
    }
    io_uring_sqe_set_data(sqe, op);
    send_ring(a);
    return true;
}

static bool open_uring(Aio *a, GError **err)
{
    int ret = io_uring_queue_init(DEPTH, &a->ring, 0);
    if (ret) {
        return fail(err, "aio=io_uring: the host's kernel refuses io_uring (%s); use aio=threads",
                    g_strerror(-ret));
    }
    a->thread = g_thread_new("io_uring", collect_uring, a);
    return true;
}

static void close_uring(Aio *a)
{
    struct io_uring_sqe *sqe = a->thread ? io_uring_get_sqe(&a->ring) : NULL;

    if (sqe) {
        io_uring_prep_nop(sqe);
        io_uring_sqe_set_data(sqe, NULL);
        send_ring(a);
        g_thread_join(a->thread);
    }
    if (a->thread) {
        io_uring_queue_exit(&a->ring);
    }
}
#else
static bool submit_uring(Aio *a, AioOp *op, int fd, bool write, uint64_t off,
                         const struct iovec *iov, unsigned n)
{
    return false;
}

static bool open_uring(Aio *a, GError **err)
{
    return fail(err, "aio=io_uring is not built in; use aio=threads");
}

static void close_uring(Aio *a)
{
}
#endif

/* ---- both ---- */

Aio *aio_new(bool uring, void (*done)(void *opaque, AioOp *op), void *opaque, GError **err)
{
    Aio *a = g_new0(Aio, 1);

    a->done = done;
    a->opaque = opaque;
    a->uring = uring;
    a->zero = -1;
    if (uring ? open_uring(a, err) : open_native(a, err)) {
        return a;
    }
    aio_free(a);
    return NULL;
}

void aio_free(Aio *a)
{
    if (!a) {
        return;
    }
    if (a->uring) {
        close_uring(a);
    } else {
        close_native(a);
    }
    g_free(a);
}

bool aio_submit(Aio *a, AioOp *op, int fd, bool write, uint64_t off, const struct iovec *iov,
                unsigned n)
{
    /* Never more than fits into the completion queue. */
    if (__atomic_load_n(&a->in_flight, __ATOMIC_ACQUIRE) >= DEPTH - 1) {
        return false;
    }
    __atomic_add_fetch(&a->in_flight, 1, __ATOMIC_ACQ_REL);
    bool ok = a->uring ? submit_uring(a, op, fd, write, off, iov, n)
                       : submit_native(a, op, fd, write ? IOCB_CMD_PWRITEV : IOCB_CMD_PREADV, off,
                                       iov, n);
    if (!ok) {
        __atomic_sub_fetch(&a->in_flight, 1, __ATOMIC_ACQ_REL);
    }
    return ok;
}
