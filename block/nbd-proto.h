/* Numbers of the NBD protocol. */
#ifndef RHEA_BLOCK_NBD_PROTO_H
#define RHEA_BLOCK_NBD_PROTO_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#define NBD_MAGIC 0x4e42444d41474943ull     /* "NBDMAGIC" */
#define NBD_OPT_MAGIC 0x49484156454f5054ull /* "IHAVEOPT" */
#define NBD_OLD_MAGIC 0x0000420281861253ull
#define NBD_REP_MAGIC 0x0003e889045565a9ull
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_SIMPLE_MAGIC 0x67446698u
#define NBD_CHUNK_MAGIC 0x668e33efu

#define NBD_MAX_NAME 4096u
#define NBD_MAX_PAYLOAD (32u << 20)

enum { NBD_FIXED_NEWSTYLE = 1, NBD_NO_ZEROES = 2 };

enum {
    NBD_HAS_FLAGS = 1 << 0,
    NBD_READ_ONLY = 1 << 1,
    NBD_SEND_FLUSH = 1 << 2,
    NBD_SEND_FUA = 1 << 3,
    NBD_SEND_TRIM = 1 << 5,
    NBD_SEND_ZEROES = 1 << 6,
    NBD_SEND_DF = 1 << 7,
    NBD_MULTI_CONN = 1 << 8,
    NBD_SEND_CACHE = 1 << 10,
};

enum {
    NBD_OPT_EXPORT_NAME = 1,
    NBD_OPT_ABORT = 2,
    NBD_OPT_LIST = 3,
    NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED = 8,
    NBD_OPT_LIST_META = 9,
    NBD_OPT_SET_META = 10,
};

#define NBD_REP_ERROR 0x80000000u
enum {
    NBD_REP_ACK = 1,
    NBD_REP_SERVER = 2,
    NBD_REP_INFO = 3,
    NBD_REP_META = 4,
};
#define NBD_REP_ERR_UNSUP (NBD_REP_ERROR + 1)
#define NBD_REP_ERR_POLICY (NBD_REP_ERROR + 2)
#define NBD_REP_ERR_INVALID (NBD_REP_ERROR + 3)
#define NBD_REP_ERR_TLS_REQD (NBD_REP_ERROR + 5)
#define NBD_REP_ERR_UNKNOWN (NBD_REP_ERROR + 6)
#define NBD_REP_ERR_SHUTDOWN (NBD_REP_ERROR + 7)
#define NBD_REP_ERR_TOO_BIG (NBD_REP_ERROR + 9)

enum { NBD_INFO_EXPORT = 0, NBD_INFO_NAME = 1, NBD_INFO_DESCRIPTION = 2, NBD_INFO_BLOCK_SIZE = 3 };

enum {
    NBD_CMD_READ = 0,
    NBD_CMD_WRITE = 1,
    NBD_CMD_DISC = 2,
    NBD_CMD_FLUSH = 3,
    NBD_CMD_TRIM = 4,
    NBD_CMD_CACHE = 5,
    NBD_CMD_ZEROES = 6,
    NBD_CMD_STATUS = 7,
};

enum {
    NBD_CMD_FUA = 1 << 0,
    NBD_CMD_NO_HOLE = 1 << 1,
    NBD_CMD_DF = 1 << 2,
    NBD_CMD_REQ_ONE = 1 << 3,
};

enum { NBD_CHUNK_DONE = 1 };
enum {
    NBD_CHUNK_NONE = 0,
    NBD_CHUNK_DATA = 1,
    NBD_CHUNK_HOLE = 2,
    NBD_CHUNK_STATUS = 5,
    NBD_CHUNK_ERROR = 0x8001,
    NBD_CHUNK_ERROR_AT = 0x8002,
};

enum { NBD_STATE_HOLE = 1, NBD_STATE_ZERO = 2 };

enum {
    NBD_EPERM = 1,
    NBD_EIO = 5,
    NBD_ENOMEM = 12,
    NBD_EINVAL = 22,
    NBD_ENOSPC = 28,
    NBD_EOVERFLOW = 75,
    NBD_ENOTSUP = 95,
    NBD_ESHUTDOWN = 108,
};

static inline uint16_t nbd_get16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return GUINT16_FROM_BE(v);
}

static inline uint32_t nbd_get32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return GUINT32_FROM_BE(v);
}

static inline uint64_t nbd_get64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return GUINT64_FROM_BE(v);
}

static inline void nbd_put16(void *p, uint16_t v)
{
    v = GUINT16_TO_BE(v);
    memcpy(p, &v, 2);
}

static inline void nbd_put32(void *p, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(p, &v, 4);
}

static inline void nbd_put64(void *p, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    memcpy(p, &v, 8);
}

/* All of it, or a negative errno; the other side hung up: -EPIPE (nbd-address.c). */
int nbd_recv(int fd, void *buf, size_t len);
int nbd_send(int fd, const struct iovec *iov, unsigned n);

#endif
