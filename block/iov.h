/* Vectors of memory: parts, zeros, copies. */
#ifndef RHEA_BLOCK_IOV_H
#define RHEA_BLOCK_IOV_H

#include <glib.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

/* @len bytes of @iov from @skip on go to @out, which has room for @n + 2; returns how many. */
static inline unsigned iov_slice(const struct iovec *iov, unsigned n, uint64_t skip, uint64_t len,
                                 struct iovec *out)
{
    unsigned k = 0;
    for (unsigned i = 0; i < n && len; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        out[k].iov_base = (uint8_t *)iov[i].iov_base + skip;
        out[k].iov_len = MIN(len, iov[i].iov_len - skip);
        len -= out[k++].iov_len;
        skip = 0;
    }
    return k;
}

static inline void iov_zero(const struct iovec *iov, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        memset(iov[i].iov_base, 0, iov[i].iov_len);
    }
}

static inline void iov_from_buf(const struct iovec *iov, unsigned n, const uint8_t *p)
{
    for (unsigned i = 0; i < n; i++) {
        memcpy(iov[i].iov_base, p, iov[i].iov_len);
        p += iov[i].iov_len;
    }
}

static inline void iov_to_buf(const struct iovec *iov, unsigned n, uint8_t *p)
{
    for (unsigned i = 0; i < n; i++) {
        memcpy(p, iov[i].iov_base, iov[i].iov_len);
        p += iov[i].iov_len;
    }
}

#endif
