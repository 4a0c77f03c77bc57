/*
 * NBD client. Requests of several worker threads share one connection; of those that wait for
 * replies one reads the socket and hands each reply to its owner. What the server sends is checked
 * against what was asked; a connection that breaks the protocol ends, and requests fail with -EIO.
 */
#include "block/nbd-proto.h"
#include "block/nbd.h"
#include "core/log.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HANDSHAKE_SECONDS 30
#define MAX_REPLY 65536u /* of an option */

typedef struct Pending {
    struct Pending *next;
    uint64_t handle, off;
    uint32_t len;
    uint16_t type;
    const struct iovec *iov; /* where data read goes */
    unsigned n_iov;
    uint64_t got; /* bytes of data and holes */
    uint32_t status_len, status_flags;
    bool have_status, done;
    int ret;
} Pending;

typedef struct NbdClient {
    int fd;
    char *name;
    uint64_t size;
    uint16_t flags;
    uint32_t min_block, max_block;
    uint32_t context; /* id of base:allocation */
    bool structured, have_context;
    GMutex send_lock;    /* order: before @lock */
    GMutex partial_lock; /* outermost: unaligned writes, one at a time */
    GMutex lock;
    GCond cond; /* a reply came, or the reader's place is free */
    Pending *pending;
    uint64_t next_handle;
    bool reading, broken;
} NbdClient;

/* ---- negotiation ---- */

static bool bad(const NbdClient *c, GError **err, const char *what)
{
    return fail(err, "NBD server %s: %s", c->name, what);
}

static bool io_failed(const NbdClient *c, int ret, GError **err)
{
    return fail(err, "NBD server %s: %s", c->name,
                ret == -EPIPE    ? "it closed the connection"
                : ret == -EAGAIN ? "it does not answer"
                                 : g_strerror(-ret));
}

static bool get(const NbdClient *c, void *buf, size_t len, GError **err)
{
    int ret = nbd_recv(c->fd, buf, len);
    return ret == 0 || io_failed(c, ret, err);
}

static bool put(const NbdClient *c, const void *buf, size_t len, GError **err)
{
    struct iovec iov = {(void *)buf, len};
    int ret = nbd_send(c->fd, &iov, 1);
    return ret == 0 || io_failed(c, ret, err);
}

static bool send_option(const NbdClient *c, uint32_t opt, const GByteArray *data, GError **err)
{
    uint8_t h[16];
    nbd_put64(h, NBD_OPT_MAGIC);
    nbd_put32(h + 8, opt);
    nbd_put32(h + 12, data ? data->len : 0);
    return put(c, h, sizeof(h), err) && (!data || put(c, data->data, data->len, err));
}

/* The next reply to @opt; *@data is NUL-terminated and the caller's. */
static bool get_reply(const NbdClient *c, uint32_t opt, uint32_t *type, uint8_t **data,
                      uint32_t *len, GError **err)
{
    uint8_t h[20];

    *data = NULL;
    if (!get(c, h, sizeof(h), err)) {
        return false;
    }
    if (nbd_get64(h) != NBD_REP_MAGIC || nbd_get32(h + 8) != opt) {
        return bad(c, err, "it answers something else than was asked");
    }
    *type = nbd_get32(h + 12);
    *len = nbd_get32(h + 16);
    if (*len > MAX_REPLY) {
        return bad(c, err, "an answer is too long");
    }
    *data = g_malloc0((gsize)*len + 1);
    if (!get(c, *data, *len, err)) {
        g_clear_pointer(data, g_free);
        return false;
    }
    return true;
}

static void add32(GByteArray *a, uint32_t v)
{
    uint8_t b[4];
    nbd_put32(b, v);
    g_byte_array_append(a, b, 4);
}

static void add_text(GByteArray *a, const char *text)
{
    add32(a, (uint32_t)strlen(text));
    g_byte_array_append(a, (const uint8_t *)text, (guint)strlen(text));
}

static bool ask_structured(NbdClient *c, GError **err)
{
    uint32_t type, len;
    uint8_t *data;

    if (!send_option(c, NBD_OPT_STRUCTURED, NULL, err) ||
        !get_reply(c, NBD_OPT_STRUCTURED, &type, &data, &len, err)) {
        return false;
    }
    g_free(data);
    c->structured = type == NBD_REP_ACK;
    return true;
}

static bool ask_context(NbdClient *c, const char *export, GError **err)
{
    static const char name[] = "base:allocation";
    g_autoptr(GByteArray) a = g_byte_array_new();
    uint32_t type = 0, len;

    add_text(a, export);
    add32(a, 1);
    add_text(a, name);
    if (!send_option(c, NBD_OPT_SET_META, a, err)) {
        return false;
    }
    for (unsigned n = 0; type != NBD_REP_ACK && !(type & NBD_REP_ERROR); n++) {
        uint8_t *data;
        if (!get_reply(c, NBD_OPT_SET_META, &type, &data, &len, err)) {
            return false;
        }
        if (type == NBD_REP_META && len == 4 + sizeof(name) - 1 &&
            !memcmp(data + 4, name, sizeof(name) - 1)) {
            c->context = nbd_get32(data);
            c->have_context = true;
        }
        g_free(data);
        if (n > 16) {
            return bad(c, err, "it names too many contexts");
        }
    }
    return true;
}

static bool export_info(NbdClient *c, const uint8_t *data, uint32_t len, bool *have, GError **err)
{
    uint16_t what = len >= 2 ? nbd_get16(data) : 0xffff;

    if (what == NBD_INFO_EXPORT && len == 12) {
        c->size = nbd_get64(data + 2);
        c->flags = nbd_get16(data + 10);
        *have = true;
    } else if (what == NBD_INFO_BLOCK_SIZE && len == 14) {
        c->min_block = nbd_get32(data + 2);
        c->max_block = nbd_get32(data + 10);
        if (!c->min_block || (c->min_block & (c->min_block - 1)) || c->min_block > 65536 ||
            c->max_block < c->min_block) {
            return bad(c, err, "its block sizes make no sense");
        }
    }
    return true;
}

/* false without @err: the server does not know GO. */
static bool ask_go(NbdClient *c, const char *export, bool *unknown, GError **err)
{
    g_autoptr(GByteArray) a = g_byte_array_new();
    const uint8_t wants[4] = {0, 1, 0, NBD_INFO_BLOCK_SIZE};
    bool have = false;

    add_text(a, export);
    g_byte_array_append(a, wants, sizeof(wants));
    if (!send_option(c, NBD_OPT_GO, a, err)) {
        return false;
    }
    for (unsigned n = 0; n < 32; n++) {
        uint32_t type, len;
        g_autofree uint8_t *data = NULL;
        if (!get_reply(c, NBD_OPT_GO, &type, &data, &len, err)) {
            return false;
        }
        if (type == NBD_REP_ACK) {
            return have || bad(c, err, "it does not tell the export's size");
        }
        if (type == NBD_REP_ERR_UNSUP) {
            *unknown = true;
            return false;
        }
        if (type == NBD_REP_ERR_UNKNOWN) {
            return fail(err, "NBD server %s has no export '%s'", c->name, export);
        }
        if (type == NBD_REP_ERR_TLS_REQD) {
            return bad(c, err, "it wants TLS, which is not supported");
        }
        if (type & NBD_REP_ERROR) {
            g_autofree char *text = g_utf8_make_valid((char *)data, -1);
            return fail(err, "NBD server %s refuses the export '%s': %s", c->name, export,
                        *text ? text : "no reason given");
        }
        if (type == NBD_REP_INFO && !export_info(c, data, len, &have, err)) {
            return false;
        }
    }
    return bad(c, err, "it talks too much");
}

static bool export_by_name(NbdClient *c, const char *export, bool zeroes, GError **err)
{
    g_autoptr(GByteArray) a = g_byte_array_new();
    uint8_t b[10], skip[124];

    g_byte_array_append(a, (const uint8_t *)export, (guint)strlen(export));
    if (!send_option(c, NBD_OPT_EXPORT_NAME, a, err) || !get(c, b, sizeof(b), err)) {
        return false;
    }
    c->size = nbd_get64(b);
    c->flags = nbd_get16(b + 8);
    return !zeroes || get(c, skip, sizeof(skip), err);
}

static bool negotiate(NbdClient *c, const char *export, GError **err)
{
    uint8_t b[16], old[136];
    bool unknown = false;

    if (!get(c, b, 16, err)) {
        return false;
    }
    if (nbd_get64(b) != NBD_MAGIC) {
        return bad(c, err, "this is no NBD server");
    }
    if (nbd_get64(b + 8) == NBD_OLD_MAGIC) {
        if (!get(c, old, sizeof(old), err)) {
            return false;
        }
        c->size = nbd_get64(old);
        c->flags = nbd_get16(old + 10);
        return !*export || bad(c, err, "it is an old one, without named exports");
    }
    if (nbd_get64(b + 8) != NBD_OPT_MAGIC) {
        return bad(c, err, "this is no NBD server");
    }
    if (!get(c, b, 2, err)) {
        return false;
    }
    uint16_t flags = nbd_get16(b);
    nbd_put32(b, flags & (NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES));
    if (!put(c, b, 4, err)) {
        return false;
    }
    bool zeroes = !(flags & NBD_NO_ZEROES);
    if (!(flags & NBD_FIXED_NEWSTYLE)) {
        return export_by_name(c, export, zeroes, err);
    }
    if (!ask_structured(c, err) || (c->structured && !ask_context(c, export, err))) {
        return false;
    }
    if (ask_go(c, export, &unknown, err)) {
        return true;
    }
    if (unknown) {
        return export_by_name(c, export, zeroes, err);
    }
    send_option(c, NBD_OPT_ABORT, NULL, NULL); /* the polite end */
    return false;
}

/* ---- replies ---- */

static int errno_of(uint32_t e)
{
    switch (e) {
    case 0:
        return 0;
    case NBD_EPERM:
        return -EPERM;
    case NBD_ENOMEM:
        return -ENOMEM;
    case NBD_EINVAL:
        return -EINVAL;
    case NBD_ENOSPC:
        return -ENOSPC;
    case NBD_EOVERFLOW:
        return -EOVERFLOW;
    case NBD_ENOTSUP:
        return -EOPNOTSUPP;
    case NBD_ESHUTDOWN:
        return -ESHUTDOWN;
    default:
        return -EIO;
    }
}

/* @len bytes from the socket (or zeros) to @at of what @p reads into. */
static int deliver(NbdClient *c, Pending *p, uint64_t at, uint64_t len, bool hole)
{
    if (p->type != NBD_CMD_READ || at > p->len || len > p->len - at) {
        return -EPROTO;
    }
    p->got += len;
    for (unsigned i = 0; i < p->n_iov && len; i++) {
        if (at >= p->iov[i].iov_len) {
            at -= p->iov[i].iov_len;
            continue;
        }
        size_t n = MIN(len, p->iov[i].iov_len - at);
        uint8_t *to = (uint8_t *)p->iov[i].iov_base + at;
        int ret = 0;
        if (hole) {
            memset(to, 0, n);
        } else {
            ret = nbd_recv(c->fd, to, n);
        }
        if (ret) {
            return ret;
        }
        len -= n;
        at = 0;
    }
    return 0;
}

static int skip_bytes(NbdClient *c, uint32_t len)
{
    uint8_t buf[512];
    int ret = 0;
    while (len && ret == 0) {
        uint32_t n = MIN(len, sizeof(buf));
        ret = nbd_recv(c->fd, buf, n);
        len -= n;
    }
    return ret;
}

static int error_chunk(NbdClient *c, Pending *p, uint32_t len)
{
    uint8_t b[6];
    if (len < 6 || len > 65536 + 14) {
        return -EPROTO;
    }
    int ret = nbd_recv(c->fd, b, 6);
    if (ret) {
        return ret;
    }
    uint32_t e = nbd_get32(b);
    p->ret = p->ret ? p->ret : e ? errno_of(e) : -EIO;
    return skip_bytes(c, len - 6);
}

static int status_chunk(NbdClient *c, Pending *p, uint32_t len)
{
    uint8_t b[12];
    if (p->type != NBD_CMD_STATUS || len < 12 || (len - 4) % 8 || len > MAX_REPLY) {
        return -EPROTO;
    }
    int ret = nbd_recv(c->fd, b, 12);
    if (ret) {
        return ret;
    }
    if (nbd_get32(b) == c->context && !p->have_status) {
        p->status_len = nbd_get32(b + 4);
        p->status_flags = nbd_get32(b + 8);
        p->have_status = true;
        if (p->status_len == 0) {
            return -EPROTO;
        }
    }
    return skip_bytes(c, len - 12);
}

static int chunk(NbdClient *c, Pending *p, uint16_t type, uint32_t len)
{
    uint8_t b[12];
    int ret;

    switch (type) {
    case NBD_CHUNK_NONE:
        return len ? -EPROTO : 0;
    case NBD_CHUNK_DATA:
        if (len < 9) {
            return -EPROTO;
        }
        ret = nbd_recv(c->fd, b, 8);
        return ret ? ret : deliver(c, p, nbd_get64(b) - p->off, len - 8, false);
    case NBD_CHUNK_HOLE:
        if (len != 12) {
            return -EPROTO;
        }
        ret = nbd_recv(c->fd, b, 12);
        return ret ? ret : deliver(c, p, nbd_get64(b) - p->off, nbd_get32(b + 8), true);
    case NBD_CHUNK_STATUS:
        return status_chunk(c, p, len);
    default:
        return type & 0x8000 ? error_chunk(c, p, len) : -EPROTO;
    }
}

static Pending *find(NbdClient *c, uint64_t handle)
{
    g_mutex_lock(&c->lock);
    Pending *p = c->pending;
    while (p && p->handle != handle) {
        p = p->next;
    }
    g_mutex_unlock(&c->lock);
    return p;
}

/* Reads one reply or chunk. Only the reader gets here; a Pending that is not done stays. */
static int read_reply(NbdClient *c, Pending **ended)
{
    uint8_t h[20];
    int ret = nbd_recv(c->fd, h, 4);

    *ended = NULL;
    if (ret) {
        return ret;
    }
    uint32_t magic = nbd_get32(h);
    if (magic == NBD_SIMPLE_MAGIC) {
        ret = nbd_recv(c->fd, h + 4, 12);
        Pending *p = ret ? NULL : find(c, nbd_get64(h + 8));
        if (!p || (c->structured && p->type == NBD_CMD_READ)) {
            return ret ? ret : -EPROTO;
        }
        p->ret = errno_of(nbd_get32(h + 4));
        if (p->ret == 0 && p->type == NBD_CMD_READ) {
            ret = deliver(c, p, 0, p->len, false);
        }
        *ended = p;
        return ret;
    }
    if (magic != NBD_CHUNK_MAGIC || !c->structured) {
        return -EPROTO;
    }
    ret = nbd_recv(c->fd, h + 4, 16);
    Pending *p = ret ? NULL : find(c, nbd_get64(h + 8));
    if (!p) {
        return ret ? ret : -EPROTO;
    }
    ret = chunk(c, p, nbd_get16(h + 6), nbd_get32(h + 16));
    if (ret == 0 && nbd_get16(h + 4) & NBD_CHUNK_DONE) {
        if (p->ret == 0 && p->type == NBD_CMD_READ && p->got != p->len) {
            return -EPROTO;
        }
        *ended = p;
    }
    return ret;
}

/* Lock held. Whoever reads the socket finds its end. */
static void break_connection(NbdClient *c, int ret)
{
    if (!c->broken) {
        c->broken = true;
        warn_report("NBD server %s: %s; requests fail from now on", c->name,
                    ret == -EPIPE    ? "it closed the connection"
                    : ret == -EPROTO ? "it breaks the protocol"
                                     : g_strerror(-ret));
        shutdown(c->fd, SHUT_RDWR);
    }
}

/* Lock held, by the reader: nobody else touches the requests' memory. */
static void fail_pending(NbdClient *c)
{
    for (Pending *p = c->pending; p; p = p->next) {
        p->ret = p->done ? p->ret : -EIO;
        p->done = true;
    }
}

static int wait_reply(NbdClient *c, Pending *p)
{
    g_mutex_lock(&c->lock);
    while (!p->done) {
        if (c->reading) {
            g_cond_wait(&c->cond, &c->lock);
            continue;
        }
        Pending *ended;
        c->reading = true;
        g_mutex_unlock(&c->lock);
        int ret = read_reply(c, &ended);
        g_mutex_lock(&c->lock);
        c->reading = false;
        if (ret) {
            break_connection(c, ret);
            fail_pending(c);
        } else if (ended) {
            ended->done = true;
        }
        if (ended || ret) {
            g_cond_broadcast(&c->cond);
        }
    }
    for (Pending **q = &c->pending; *q; q = &(*q)->next) {
        if (*q == p) {
            *q = p->next;
            break;
        }
    }
    g_cond_broadcast(&c->cond); /* somebody else must read now */
    g_mutex_unlock(&c->lock);
    return p->ret;
}

/* ---- requests ---- */

static int request(NbdClient *c, Pending *p, uint16_t cmd_flags)
{
    struct iovec small[9], *iov = small;
    uint8_t h[28];

    nbd_put32(h, NBD_REQUEST_MAGIC);
    nbd_put16(h + 4, cmd_flags);
    nbd_put16(h + 6, p->type);
    nbd_put64(h + 16, p->off);
    nbd_put32(h + 24, p->len);
    unsigned n = p->type == NBD_CMD_WRITE ? p->n_iov : 0;
    g_autofree struct iovec *large = n > 8 ? g_new(struct iovec, n + 1) : NULL;
    iov = large ? large : small;
    iov[0] = (struct iovec){h, sizeof(h)};
    if (n) {
        memcpy(iov + 1, p->iov, n * sizeof(*iov));
    }
    g_mutex_lock(&c->send_lock);
    g_mutex_lock(&c->lock);
    bool broken = c->broken;
    if (!broken) {
        p->handle = c->next_handle++;
        p->next = c->pending;
        c->pending = p;
    }
    g_mutex_unlock(&c->lock);
    nbd_put64(h + 8, p->handle);
    int ret = broken ? -EIO : nbd_send(c->fd, iov, n + 1);
    if (ret && !broken) {
        g_mutex_lock(&c->lock);
        break_connection(c, ret);
        g_mutex_unlock(&c->lock);
    }
    g_mutex_unlock(&c->send_lock);
    return broken ? -EIO : wait_reply(c, p);
}

/* Calls for pieces of at most the server's largest request. */
static int each_piece(NbdClient *c, uint16_t type, uint64_t off, const struct iovec *iov,
                      unsigned n)
{
    uint64_t len = iov_length(iov, n), max = MIN(c->max_block, NBD_MAX_PAYLOAD);
    int ret = 0;

    if (len <= max) {
        Pending p = {.type = type, .off = off, .len = (uint32_t)len, .iov = iov, .n_iov = n};
        return len ? request(c, &p, 0) : 0;
    }
    for (unsigned i = 0; i < n && ret == 0; i++) {
        struct iovec part = iov[i];
        size_t left = part.iov_len;
        while (left && ret == 0) {
            part.iov_len = MIN(left, max);
            Pending p = {
                .type = type, .off = off, .len = (uint32_t)part.iov_len, .iov = &part, .n_iov = 1};
            ret = request(c, &p, 0);
            off += part.iov_len;
            left -= part.iov_len;
            part.iov_base = (uint8_t *)part.iov_base + part.iov_len;
        }
    }
    return ret;
}

static bool is_aligned(const NbdClient *c, uint64_t off, const struct iovec *iov, unsigned n)
{
    uint64_t bits = off;
    for (unsigned i = 0; i < n; i++) {
        bits |= iov[i].iov_len; /* pieces must be, too */
    }
    return (bits & (c->min_block - 1)) == 0;
}

/* Through an aligned buffer; @write: what is around it is read first. */
static int unaligned(NbdClient *c, uint64_t off, const struct iovec *iov, unsigned n, bool write)
{
    uint64_t mask = c->min_block - 1, len = iov_length(iov, n), start = off & ~mask;
    uint64_t end = (off + len + mask) & ~mask;
    g_autofree uint8_t *buf = g_malloc(end - start);
    struct iovec all = {buf, end - start};

    int ret = each_piece(c, NBD_CMD_READ, start, &all, 1);
    uint8_t *p = buf + (off - start);
    for (unsigned i = 0; i < n && ret == 0; i++) {
        memcpy(write ? p : iov[i].iov_base, write ? iov[i].iov_base : p, iov[i].iov_len);
        p += iov[i].iov_len;
    }
    return ret || !write ? ret : each_piece(c, NBD_CMD_WRITE, start, &all, 1);
}

static int client_read(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    NbdClient *c = file;
    uint64_t len = iov_length(iov, n);

    if (off > c->size || len > c->size - off) {
        /* Formats look behind the end; zeros are there. */
        for (unsigned i = 0; i < n; i++) {
            memset(iov[i].iov_base, 0, iov[i].iov_len);
        }
        if (off >= c->size) {
            return 0;
        }
        g_autofree uint8_t *buf = g_malloc(c->size - off);
        struct iovec have = {buf, c->size - off};
        int ret = client_read(file, off, &have, 1);
        uint8_t *p = buf;
        for (unsigned i = 0; i < n && have.iov_len; i++) {
            size_t k = MIN(iov[i].iov_len, have.iov_len);
            memcpy(iov[i].iov_base, p, k);
            p += k;
            have.iov_len -= k;
        }
        return ret;
    }
    return is_aligned(c, off, iov, n) ? each_piece(c, NBD_CMD_READ, off, iov, n)
                                      : unaligned(c, off, iov, n, false);
}

static int client_write(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    NbdClient *c = file;
    int ret;

    if (off > c->size || iov_length(iov, n) > c->size - off) {
        return -ENOSPC;
    }
    if (c->min_block == 1) {
        return each_piece(c, NBD_CMD_WRITE, off, iov, n);
    }
    g_mutex_lock(&c->partial_lock);
    ret = is_aligned(c, off, iov, n) ? each_piece(c, NBD_CMD_WRITE, off, iov, n)
                                     : unaligned(c, off, iov, n, true);
    g_mutex_unlock(&c->partial_lock);
    return ret;
}

static int client_flush(void *file)
{
    NbdClient *c = file;
    Pending p = {.type = NBD_CMD_FLUSH};
    return c->flags & NBD_SEND_FLUSH ? request(c, &p, 0) : 0;
}

/* Ranges without data, aligned inwards; what is cut off is not the caller's loss. */
static int ranges(NbdClient *c, uint16_t type, uint64_t off, uint64_t len, uint16_t cmd_flags)
{
    uint64_t max = (1u << 31) & ~((uint64_t)c->min_block - 1);
    int ret = 0;

    while (len && ret == 0) {
        Pending p = {.type = type, .off = off, .len = (uint32_t)MIN(len, max)};
        ret = request(c, &p, cmd_flags);
        off += p.len;
        len -= p.len;
    }
    return ret;
}

static int client_discard(void *file, uint64_t off, uint64_t len)
{
    NbdClient *c = file;
    uint64_t mask = c->min_block - 1, end = (off + len) & ~mask;

    off = (off + mask) & ~mask;
    if (!(c->flags & NBD_SEND_TRIM) || off >= end) {
        return 0;
    }
    return ranges(c, NBD_CMD_TRIM, off, end - off, 0);
}

static int client_zeroes(void *file, uint64_t off, uint64_t len, bool unmap)
{
    NbdClient *c = file;
    static const uint8_t zeros[65536];

    if (off > c->size || len > c->size - off) {
        return -ENOSPC;
    }
    if (c->flags & NBD_SEND_ZEROES && ((off | len) & (c->min_block - 1)) == 0) {
        return ranges(c, NBD_CMD_ZEROES, off, len, unmap ? 0 : NBD_CMD_NO_HOLE);
    }
    int ret = 0;
    while (len && ret == 0) {
        struct iovec iov = {(void *)zeros, MIN(len, sizeof(zeros))};
        ret = client_write(file, off, &iov, 1);
        off += iov.iov_len;
        len -= iov.iov_len;
    }
    return ret;
}

static int client_extent(void *file, uint64_t off, uint64_t len, BlockExtent *e)
{
    NbdClient *c = file;

    *e = (BlockExtent){.len = len, .present = true, .data = true};
    if (!c->have_context || off >= c->size || off & (c->min_block - 1)) {
        return 0;
    }
    len = MIN(MIN(len, c->size - off), 1u << 30);
    Pending p = {.type = NBD_CMD_STATUS, .off = off, .len = (uint32_t)len};
    p.len = (p.len + c->min_block - 1) & ~(c->min_block - 1);
    p.len = (uint32_t)MIN(p.len, c->size - off);
    int ret = request(c, &p, NBD_CMD_REQ_ONE);
    if (ret || !p.have_status) {
        return ret == -EIO && c->broken ? ret : 0;
    }
    e->len = MIN(len, p.status_len);
    e->zero = p.status_flags & NBD_STATE_ZERO;
    e->data = !e->zero;
    e->has_offset = true;
    e->offset = off;
    e->file = c->name;
    return 0;
}

static const char *client_path(void *file)
{
    return ((NbdClient *)file)->name;
}

static void client_close(void *file)
{
    NbdClient *c = file;
    uint8_t h[28] = {0};
    struct iovec iov = {h, sizeof(h)};

    if (!c->broken) {
        nbd_put32(h, NBD_REQUEST_MAGIC);
        nbd_put16(h + 6, NBD_CMD_DISC);
        nbd_send(c->fd, &iov, 1);
    }
    close(c->fd);
    g_mutex_clear(&c->send_lock);
    g_mutex_clear(&c->partial_lock);
    g_mutex_clear(&c->lock);
    g_cond_clear(&c->cond);
    g_free(c->name);
    g_free(c);
}

static const BlockDriver nbd_driver = {
    .name = "raw",
    .read = client_read,
    .write = client_write,
    .flush = client_flush,
    .discard = client_discard,
    .close = client_close,
    .extent = client_extent,
    .write_zeroes = client_zeroes,
    .path = client_path,
};

/* ---- connecting ---- */

static void set_timeout(int fd, int seconds)
{
    const struct timeval tv = {.tv_sec = seconds};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

bool nbd_open_fd(BlockFile *out, int fd, const char *export, const char *name, unsigned flags,
                 GError **err)
{
    NbdClient *c = g_new0(NbdClient, 1);
    bool ok;

    c->fd = fd;
    c->name = g_strdup(name);
    c->min_block = 1;
    c->max_block = NBD_MAX_PAYLOAD;
    g_mutex_init(&c->send_lock);
    g_mutex_init(&c->partial_lock);
    g_mutex_init(&c->lock);
    g_cond_init(&c->cond);
    set_timeout(fd, HANDSHAKE_SECONDS);
    ok = negotiate(c, export, err);
    if (ok && c->size > INT64_MAX - 511) {
        ok = bad(c, err, "the export's size makes no sense");
    }
    bool read_only = c->flags & NBD_READ_ONLY;
    if (ok && read_only && flags & IMAGE_WRITE && !(flags & IMAGE_AUTO_RO)) {
        ok = fail(err,
                  "NBD server %s: the export '%s' is read-only; readonly=on or -snapshot opens "
                  "it",
                  name, export);
    }
    if (!ok) {
        c->broken = true;
        client_close(c);
        return false;
    }
    set_timeout(fd, 0);
    *out = (BlockFile){.driver = &nbd_driver,
                       .file = c,
                       .size = c->size & ~511ull,
                       .read_only = read_only || !(flags & IMAGE_WRITE)};
    return true;
}

static int connect_unix(const char *path, GError **err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(un.sun_path)) {
        fail(err, "the name of the socket '%s' is too long", path);
        return -1;
    }
    g_strlcpy(un.sun_path, path, sizeof(un.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un))) {
        fail(err, "NBD server at socket '%s': %s", path, g_strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

static int connect_tcp(const char *host, const char *port, GError **err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    int fd = -1, e = getaddrinfo(host, port, &hints, &list), why = 0, one = 1;

    if (e) {
        fail(err, "NBD server %s:%s: %s", host, port, gai_strerror(e));
        return -1;
    }
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0) {
            set_timeout(fd, HANDSHAKE_SECONDS);
        }
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen)) {
            why = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd < 0) {
        fail(err, "NBD server %s:%s: %s", host, port, g_strerror(why ? why : EHOSTUNREACH));
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static bool open_address(BlockFile *out, const NbdAddress *a, unsigned flags, GError **err)
{
    const char *host = a->host ? a->host : "localhost", *port = a->port ? a->port : NBD_PORT;
    bool six = a->host && strchr(a->host, ':');
    g_autofree char *name =
        a->path
            ? g_strdup_printf("nbd+unix:///%s?socket=%s", a->export, a->path)
            : g_strdup_printf(six ? "nbd://[%s]:%s/%s" : "nbd://%s:%s/%s", host, port, a->export);
    int fd = a->path ? connect_unix(a->path, err) : connect_tcp(host, port, err);
    return fd >= 0 && nbd_open_fd(out, fd, a->export, name, flags, err);
}

bool nbd_open(BlockFile *out, const char *name, unsigned flags, GError **err)
{
    NbdAddress a;

    if (!nbd_address_parse(&a, name, err)) {
        return false;
    }
    bool ok = open_address(out, &a, flags, err);
    nbd_address_clear(&a);
    return ok;
}

static char *key_of(Options *o, const char *prefix, const char *key)
{
    g_autofree char *full = g_strconcat(prefix, key, NULL);
    return g_strdup(options_get(o, full));
}

static char *first(char *a, char *b)
{
    if (a) {
        g_free(b);
        return a;
    }
    return b;
}

bool nbd_open_options(BlockFile *out, Options *o, const char *prefix, unsigned flags, GError **err)
{
    g_autofree char *type = key_of(o, prefix, "server.type");
    g_autofree char *uri = key_of(o, prefix, "uri");
    NbdAddress a = {0};
    bool ok;

    if (uri) {
        return nbd_open(out, uri, flags, err);
    }
    a.path = first(key_of(o, prefix, "server.path"), key_of(o, prefix, "path"));
    a.host = first(key_of(o, prefix, "server.host"), key_of(o, prefix, "host"));
    a.port = first(key_of(o, prefix, "server.port"), key_of(o, prefix, "port"));
    a.export = first(key_of(o, prefix, "export"), g_strdup(""));
    if (type && strcmp(type, "inet") && strcmp(type, "unix")) {
        ok = fail(err, "%s: server.type=%s is neither inet nor unix", options_what(o), type);
    } else if (!a.path && !a.host) {
        ok = fail(err, "%s: driver nbd needs server.host= and server.port=, or server.path=",
                  options_what(o));
    } else {
        ok = open_address(out, &a, flags, err);
    }
    nbd_address_clear(&a);
    return ok;
}
