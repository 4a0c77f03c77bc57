/* A file in memory that grows, as the bottom of image formats; it can log what is done to it. */
#ifndef RHEA_TESTS_BLOCK_MEMORY_FILE_H
#define RHEA_TESTS_BLOCK_MEMORY_FILE_H

#include "block/driver.h"
#include <errno.h>
#include <string.h>

#define MEMORY_FILE_MAX (64u << 20)

typedef struct LogItem {
    uint64_t off;
    size_t len; /* 0 = a flush */
    uint8_t *data;
} LogItem;

typedef struct MemoryImage {
    uint8_t *data;
    size_t len;
    GArray *log; /* of LogItem, when wanted */
    int fail;    /* errno of further writes */
} MemoryImage;

static int memory_image_read(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    MemoryImage *m = file;
    for (unsigned i = 0; i < n; i++) {
        size_t have = off < m->len ? MIN(iov[i].iov_len, m->len - off) : 0;
        if (have) {
            memcpy(iov[i].iov_base, m->data + off, have);
        }
        memset((uint8_t *)iov[i].iov_base + have, 0, iov[i].iov_len - have);
        off += iov[i].iov_len;
    }
    return 0;
}

static int memory_image_write(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    MemoryImage *m = file;
    if (m->fail) {
        return -m->fail;
    }
    for (unsigned i = 0; i < n; i++) {
        size_t len = iov[i].iov_len;
        if (len == 0) {
            continue;
        }
        if (off > MEMORY_FILE_MAX || len > MEMORY_FILE_MAX - off) {
            return -ENOSPC;
        }
        if (off + len > m->len) {
            m->data = g_realloc(m->data, off + len);
            memset(m->data + m->len, 0, off + len - m->len);
            m->len = off + len;
        }
        memcpy(m->data + off, iov[i].iov_base, len);
        if (m->log) {
            LogItem item = {off, len, g_memdup2(iov[i].iov_base, len)};
            g_array_append_val(m->log, item);
        }
        off += len;
    }
    return 0;
}

static int memory_image_flush(void *file)
{
    MemoryImage *m = file;
    LogItem item = {0};
    if (m->log) {
        g_array_append_val(m->log, item);
    }
    return 0;
}

static void memory_image_close(void *file)
{
}

static const BlockDriver memory_image_driver = {
    .name = "test",
    .read = memory_image_read,
    .write = memory_image_write,
    .flush = memory_image_flush,
    .close = memory_image_close,
};

/* @m stays the caller's. */
static inline BlockFile memory_image_file(MemoryImage *m)
{
    return (BlockFile){
        .driver = &memory_image_driver, .file = m, .size = (m->len + 511) & ~(uint64_t)511};
}

#endif
