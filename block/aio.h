/*
 * Asynchronous I/O of the host for plain ranges of files: io_uring and Linux AIO (io_submit). A
 * request goes to the kernel from the thread that makes it; one thread collects what is over.
 */
#ifndef RHEA_BLOCK_AIO_H
#define RHEA_BLOCK_AIO_H

#include <glib.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

typedef struct Aio Aio;

/* Embedded in a request. */
typedef struct AioOp {
    int ret;          /* bytes or a negative errno */
    struct iocb iocb; /* of Linux AIO */
} AioOp;

/* @done is called on the collecting thread for each operation that is over. NULL and a sentence
 * when the host cannot do it. */
Aio *aio_new(bool uring, void (*done)(void *opaque, AioOp *op), void *opaque, GError **err);
/* Nothing may be in flight; waits for the thread. */
void aio_free(Aio *a);
/* Machine lock. @iov must stay until it is over. false: no room, nothing happened. */
bool aio_submit(Aio *a, AioOp *op, int fd, bool write, uint64_t off, const struct iovec *iov,
                unsigned n);

#endif
