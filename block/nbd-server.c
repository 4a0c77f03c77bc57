/*
 * NBD server. Each connection has a thread that reads requests and one that writes replies; the
 * requests themselves are asynchronous ones of the exported block device, made under the machine
 * lock, so they count like a guest's and wait like them for snapshots and the like. Clients are as
 * hostile as guests: lengths are checked before memory is taken, and what is in flight is bounded.
 */
#include "block/dev.h"
#include "block/nbd-proto.h"
#include "block/nbd.h"
#include "core/log.h"
#include "core/machine.h"
#include <errno.h>
#include <glib-unix.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_IN_FLIGHT 64u
#define MAX_BYTES (2 * NBD_MAX_PAYLOAD)
#define MAX_EXTENTS 64u
#define MAX_OPTION 65536u
#define CONTEXT_ID 1
#define HANDSHAKE_SECONDS 30

typedef struct Export {
    char *name, *description;
    BlockDev *block; /* NULL: it is gone */
    bool writable;
    unsigned refs; /* machine lock: the list, and each connection that uses it */
} Export;

struct NbdServer {
    NbdServerConfig cfg;
    char *path;
    GArray *fds;     /* int, listening */
    GArray *sources; /* guint, of the main loop */
    GPtrArray *exports, *conns;
};

typedef struct Conn {
    NbdServer *server; /* machine lock; NULL: the server is gone */
    Export *export;
    int fd;
    unsigned refs; /* atomic: list, threads, requests in flight */
    bool structured, context, no_zeroes, negotiated;
    /* The writing thread's work */
    GMutex lock;
    GCond cond, room;
    GQueue replies; /* of Reply */
    unsigned in_flight;
    uint64_t bytes;
    bool ended; /* no more replies to come once nothing is in flight */
} Conn;

typedef struct Reply {
    Conn *conn;
    uint64_t handle, off;
    uint32_t len;
    uint16_t type, flags;
    int ret;
    uint8_t *data; /* payload of a write; result of a read */
    uint8_t *status;
    uint32_t status_len;
} Reply;

/* ---- references ---- */

/* Machine lock held. */
static void export_unref(Export *e)
{
    if (e && --e->refs == 0) {
        g_free(e->name);
        g_free(e->description);
        g_free(e);
    }
}

static void conn_unref(Conn *c)
{
    if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    close(c->fd);
    g_mutex_clear(&c->lock);
    g_cond_clear(&c->cond);
    g_cond_clear(&c->room);
    g_free(c);
}

static Conn *conn_ref(Conn *c)
{
    __atomic_add_fetch(&c->refs, 1, __ATOMIC_ACQ_REL);
    return c;
}

static Export *find_export(const NbdServer *s, const char *name)
{
    for (unsigned i = 0; s && i < s->exports->len; i++) {
        Export *e = s->exports->pdata[i];
        if (!strcmp(e->name, name)) {
            return e;
        }
    }
    return NULL;
}

/* ---- negotiation (the connection's thread) ---- */

static int send_bytes(Conn *c, const void *buf, size_t len)
{
    struct iovec iov = {(void *)buf, len};
    return nbd_send(c->fd, &iov, 1);
}

static int option_reply(Conn *c, uint32_t opt, uint32_t type, const void *data, uint32_t len)
{
    uint8_t h[20];
    struct iovec iov[2] = {{h, sizeof(h)}, {(void *)data, len}};

    nbd_put64(h, NBD_REP_MAGIC);
    nbd_put32(h + 8, opt);
    nbd_put32(h + 12, type);
    nbd_put32(h + 16, len);
    return nbd_send(c->fd, iov, len ? 2 : 1);
}

static int option_error(Conn *c, uint32_t opt, uint32_t type, const char *text)
{
    return option_reply(c, opt, type, text, (uint32_t)strlen(text));
}

/* A name of @len bytes at @p; NULL when it is none. */
static char *name_of(const uint8_t *p, uint32_t len)
{
    if (len > NBD_MAX_NAME || memchr(p, 0, len)) {
        return NULL;
    }
    return g_strndup((const char *)p, len);
}

static uint16_t export_flags(const Conn *c, const Export *e)
{
    uint16_t f = NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA | NBD_MULTI_CONN | NBD_SEND_CACHE;
    f |= e->writable ? NBD_SEND_TRIM | NBD_SEND_ZEROES : NBD_READ_ONLY;
    return c->structured ? f | NBD_SEND_DF : f;
}

typedef struct Facts {
    bool found;
    uint64_t size;
    uint16_t flags;
    char *description;
} Facts;

/* What is to be said of export @name; @take: it is the connection's from now on. */
static Facts look_up(Conn *c, const char *name, bool take)
{
    Facts f = {0};

    machine_lock();
    Export *e = find_export(c->server, name);
    if (e && e->block) {
        f.found = true;
        f.size = block_size(e->block);
        f.flags = export_flags(c, e);
        f.description = g_strdup(e->description);
        if (take && !c->export) {
            e->refs++;
            c->export = e;
        }
    }
    machine_unlock();
    return f;
}

static int opt_list(Conn *c, uint32_t len)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    int ret = 0;

    if (len) {
        return option_error(c, NBD_OPT_LIST, NBD_REP_ERR_INVALID, "LIST has no data");
    }
    machine_lock();
    for (unsigned i = 0; c->server && i < c->server->exports->len; i++) {
        const Export *e = c->server->exports->pdata[i];
        g_ptr_array_add(names, g_strdup(e->name));
    }
    machine_unlock();
    for (unsigned i = 0; i < names->len && ret == 0; i++) {
        uint32_t n = (uint32_t)strlen(names->pdata[i]);
        g_autofree uint8_t *b = g_malloc(n + 4);
        nbd_put32(b, n);
        memcpy(b + 4, names->pdata[i], n);
        ret = option_reply(c, NBD_OPT_LIST, NBD_REP_SERVER, b, n + 4);
    }
    return ret ? ret : option_reply(c, NBD_OPT_LIST, NBD_REP_ACK, NULL, 0);
}

/* 1: transmission begins. */
static int opt_go(Conn *c, uint32_t opt, const uint8_t *d, uint32_t len)
{
    uint32_t n = len >= 6 ? nbd_get32(d) : UINT32_MAX;
    g_autofree char *name = n <= len - 6 && len >= 6 ? name_of(d + 4, n) : NULL;

    if (!name || len - 6 - n != 2u * nbd_get16(d + 4 + n)) {
        return option_error(c, opt, NBD_REP_ERR_INVALID, "malformed request");
    }
    Facts f = look_up(c, name, opt == NBD_OPT_GO);
    if (!f.found) {
        return option_error(c, opt, NBD_REP_ERR_UNKNOWN, "there is no such export");
    }
    uint8_t b[14];
    nbd_put16(b, NBD_INFO_EXPORT);
    nbd_put64(b + 2, f.size);
    nbd_put16(b + 10, f.flags);
    int ret = option_reply(c, opt, NBD_REP_INFO, b, 12);
    for (uint32_t i = 0; i < nbd_get16(d + 4 + n) && ret == 0; i++) {
        uint16_t what = nbd_get16(d + 6 + n + 2 * i);
        if (what == NBD_INFO_BLOCK_SIZE) {
            nbd_put16(b, NBD_INFO_BLOCK_SIZE);
            nbd_put32(b + 2, 1);
            nbd_put32(b + 6, 4096);
            nbd_put32(b + 10, NBD_MAX_PAYLOAD);
            ret = option_reply(c, opt, NBD_REP_INFO, b, 14);
        } else if (what == NBD_INFO_NAME || (what == NBD_INFO_DESCRIPTION && f.description)) {
            const char *text = what == NBD_INFO_NAME ? name : f.description;
            g_autofree uint8_t *t = g_malloc(2 + strlen(text));
            nbd_put16(t, what);
            memcpy(t + 2, text, strlen(text));
            ret = option_reply(c, opt, NBD_REP_INFO, t, (uint32_t)(2 + strlen(text)));
        }
    }
    g_free(f.description);
    ret = ret ? ret : option_reply(c, opt, NBD_REP_ACK, NULL, 0);
    return ret == 0 && opt == NBD_OPT_GO ? 1 : ret;
}

/* The only context is base:allocation. */
static int opt_meta(Conn *c, uint32_t opt, const uint8_t *d, uint32_t len)
{
    static const char base[] = "base:", all[] = "base:allocation";
    uint32_t at = 4, n = len >= 8 ? nbd_get32(d) : UINT32_MAX;
    bool wanted = false;

    if (!c->structured) {
        return option_error(c, opt, NBD_REP_ERR_INVALID, "structured replies come first");
    }
    if (len < 8 || n > len - 8) {
        return option_error(c, opt, NBD_REP_ERR_INVALID, "malformed request");
    }
    g_autofree char *name = name_of(d + at, n);
    at += n;
    uint32_t queries = nbd_get32(d + at);
    at += 4;
    for (uint32_t i = 0; i < queries; i++) {
        uint32_t q = len - at >= 4 ? nbd_get32(d + at) : UINT32_MAX;
        if (len - at < 4 || q > len - at - 4) {
            return option_error(c, opt, NBD_REP_ERR_INVALID, "malformed query");
        }
        const uint8_t *text = d + at + 4;
        wanted |= q == strlen(all) && !memcmp(text, all, q);
        wanted |= opt == NBD_OPT_LIST_META && q == strlen(base) && !memcmp(text, base, q);
        at += 4 + q;
    }
    wanted |= opt == NBD_OPT_LIST_META && queries == 0;
    Facts f = name ? look_up(c, name, false) : (Facts){0};
    g_free(f.description);
    if (!f.found) {
        return option_error(c, opt, NBD_REP_ERR_UNKNOWN, "there is no such export");
    }
    int ret = 0;
    if (wanted) {
        uint8_t b[4 + sizeof(all)];
        nbd_put32(b, opt == NBD_OPT_SET_META ? CONTEXT_ID : 0);
        memcpy(b + 4, all, strlen(all));
        ret = option_reply(c, opt, NBD_REP_META, b, (uint32_t)(4 + strlen(all)));
    }
    if (opt == NBD_OPT_SET_META) {
        c->context = wanted;
    }
    return ret ? ret : option_reply(c, opt, NBD_REP_ACK, NULL, 0);
}

static int opt_export_name(Conn *c, const uint8_t *d, uint32_t len)
{
    uint8_t b[134] = {0};
    g_autofree char *name = name_of(d, len);
    Facts f = name ? look_up(c, name, true) : (Facts){0};

    g_free(f.description);
    if (!f.found) {
        return -ENOENT; /* this option has no way to say so */
    }
    nbd_put64(b, f.size);
    nbd_put16(b + 8, f.flags);
    int ret = send_bytes(c, b, c->no_zeroes ? 10 : sizeof(b));
    return ret ? ret : 1;
}

/* 1: go on to transmission; 0: the next option; else the end. */
static int one_option(Conn *c)
{
    uint8_t h[16];
    int ret = nbd_recv(c->fd, h, sizeof(h));

    if (ret || nbd_get64(h) != NBD_OPT_MAGIC) {
        return ret ? ret : -EPROTO;
    }
    uint32_t opt = nbd_get32(h + 8), len = nbd_get32(h + 12);
    if (len > MAX_OPTION) {
        return -EPROTO;
    }
    g_autofree uint8_t *d = g_malloc((gsize)len + 1);
    if ((ret = nbd_recv(c->fd, d, len))) {
        return ret;
    }
    switch (opt) {
    case NBD_OPT_EXPORT_NAME:
        return opt_export_name(c, d, len);
    case NBD_OPT_ABORT:
        option_reply(c, opt, NBD_REP_ACK, NULL, 0);
        return -ECONNABORTED;
    case NBD_OPT_LIST:
        return opt_list(c, len);
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return opt_go(c, opt, d, len);
    case NBD_OPT_STRUCTURED:
        if (len) {
            return option_error(c, opt, NBD_REP_ERR_INVALID, "this option has no data");
        }
        c->structured = true;
        return option_reply(c, opt, NBD_REP_ACK, NULL, 0);
    case NBD_OPT_LIST_META:
    case NBD_OPT_SET_META:
        return opt_meta(c, opt, d, len);
    case NBD_OPT_STARTTLS:
        return option_error(c, opt, NBD_REP_ERR_POLICY, "there is no TLS here");
    default:
        return option_error(c, opt, NBD_REP_ERR_UNSUP, "unknown option");
    }
}

static int negotiate(Conn *c)
{
    uint8_t b[18];
    int ret;

    nbd_put64(b, NBD_MAGIC);
    nbd_put64(b + 8, NBD_OPT_MAGIC);
    nbd_put16(b + 16, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    if ((ret = send_bytes(c, b, sizeof(b))) || (ret = nbd_recv(c->fd, b, 4))) {
        return ret;
    }
    uint32_t flags = nbd_get32(b);
    if (flags & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES)) {
        return -EPROTO;
    }
    c->no_zeroes = flags & NBD_NO_ZEROES;
    for (unsigned n = 0; n < 1000; n++) {
        ret = one_option(c);
        if (ret) {
            return ret;
        }
    }
    return -EPROTO;
}

/* ---- replies (the writing thread) ---- */

static uint32_t nbd_errno(int ret)
{
    switch (-ret) {
    case 0:
        return 0;
    case EPERM:
    case EROFS:
        return NBD_EPERM;
    case ENOMEM:
        return NBD_ENOMEM;
    case EINVAL:
        return NBD_EINVAL;
    case ENOSPC:
    case EFBIG:
    case EDQUOT:
        return NBD_ENOSPC;
    case EOVERFLOW:
        return NBD_EOVERFLOW;
    case ESHUTDOWN:
        return NBD_ESHUTDOWN;
    default:
        return NBD_EIO;
    }
}

static int send_simple(const Reply *r)
{
    uint8_t h[16];
    bool data = r->ret == 0 && r->type == NBD_CMD_READ;
    struct iovec iov[2] = {{h, sizeof(h)}, {r->data, r->len}};

    nbd_put32(h, NBD_SIMPLE_MAGIC);
    nbd_put32(h + 4, nbd_errno(r->ret));
    nbd_put64(h + 8, r->handle);
    return nbd_send(r->conn->fd, iov, data && r->len ? 2 : 1);
}

static int send_chunk(const Reply *r, uint16_t type, const void *head, uint32_t head_len,
                      const void *data, uint32_t len)
{
    uint8_t h[20];
    struct iovec iov[3] = {{h, sizeof(h)}, {(void *)head, head_len}, {(void *)data, len}};

    nbd_put32(h, NBD_CHUNK_MAGIC);
    nbd_put16(h + 4, NBD_CHUNK_DONE);
    nbd_put16(h + 6, type);
    nbd_put64(h + 8, r->handle);
    nbd_put32(h + 16, head_len + len);
    return nbd_send(r->conn->fd, iov, 3);
}

static int send_reply(const Reply *r)
{
    uint8_t b[8];

    if (!r->conn->structured || (r->type != NBD_CMD_READ && r->type != NBD_CMD_STATUS)) {
        return send_simple(r);
    }
    if (r->ret) {
        nbd_put32(b, nbd_errno(r->ret));
        nbd_put16(b + 4, 0);
        return send_chunk(r, NBD_CHUNK_ERROR, b, 6, NULL, 0);
    }
    if (r->type == NBD_CMD_STATUS) {
        nbd_put32(b, CONTEXT_ID);
        return send_chunk(r, NBD_CHUNK_STATUS, b, 4, r->status, r->status_len);
    }
    if (r->len == 0) {
        return send_chunk(r, NBD_CHUNK_NONE, NULL, 0, NULL, 0);
    }
    nbd_put64(b, r->off);
    return send_chunk(r, NBD_CHUNK_DATA, b, 8, r->data, r->len);
}

static void reply_free(Reply *r)
{
    Conn *c = r->conn;

    g_mutex_lock(&c->lock);
    c->in_flight--;
    c->bytes -= r->data ? r->len : 0;
    g_cond_signal(&c->room);
    g_cond_signal(&c->cond);
    g_mutex_unlock(&c->lock);
    g_free(r->data);
    g_free(r->status);
    g_free(r);
    conn_unref(c);
}

static gpointer writer(gpointer arg)
{
    Conn *c = arg;
    bool broken = false;

    for (;;) {
        g_mutex_lock(&c->lock);
        while (g_queue_is_empty(&c->replies) && !(c->ended && c->in_flight == 0)) {
            g_cond_wait(&c->cond, &c->lock);
        }
        Reply *r = g_queue_pop_head(&c->replies);
        g_mutex_unlock(&c->lock);
        if (!r) {
            break;
        }
        if (!broken && send_reply(r)) {
            broken = true;
            shutdown(c->fd, SHUT_RDWR);
        }
        reply_free(r);
    }
    shutdown(c->fd, SHUT_RDWR);
    conn_unref(c);
    return NULL;
}

/* Any thread; may be under the machine lock. */
static void answer(void *opaque, int ret)
{
    Reply *r = opaque;
    Conn *c = r->conn;

    r->ret = ret;
    g_mutex_lock(&c->lock);
    g_queue_push_tail(&c->replies, r);
    g_cond_signal(&c->cond);
    g_mutex_unlock(&c->lock);
}

/* ---- requests (the connection's thread) ---- */

/* Machine lock held. Neighbours of the same kind are one. */
static int block_status(Reply *r, BlockDev *b)
{
    const BlockFile *f = &b->file;
    unsigned n = 0, max = r->flags & NBD_CMD_REQ_ONE ? 1 : MAX_EXTENTS;
    uint64_t off = r->off, left = r->len;
    uint32_t last = UINT32_MAX;

    r->status = g_malloc(MAX_EXTENTS * 8);
    for (unsigned looked = 0; left && looked < 4 * MAX_EXTENTS; looked++) {
        BlockExtent e = {.len = left, .data = true, .present = true};
        int ret = f->driver->extent ? f->driver->extent(f->file, off, left, &e) : 0;
        if (ret) {
            return ret;
        }
        uint64_t len = CLAMP(e.len, 1, left);
        uint32_t flags =
            (e.zero ? NBD_STATE_ZERO : 0) | (e.data || e.compressed ? 0 : NBD_STATE_HOLE);
        if (flags == last) {
            uint8_t *p = r->status + (n - 1) * 8;
            nbd_put32(p, (uint32_t)(nbd_get32(p) + len));
        } else if (n == max) {
            break;
        } else {
            nbd_put32(r->status + n * 8, (uint32_t)len);
            nbd_put32(r->status + n * 8 + 4, flags);
            last = flags;
            n++;
        }
        off += len;
        left -= len;
    }
    r->status_len = n * 8;
    return 0;
}

static int check_request(const Conn *c, const Export *e, const Reply *r)
{
    static const uint16_t allowed[] = {
        [NBD_CMD_READ] = NBD_CMD_FUA | NBD_CMD_DF,
        [NBD_CMD_WRITE] = NBD_CMD_FUA,
        [NBD_CMD_FLUSH] = NBD_CMD_FUA,
        [NBD_CMD_TRIM] = NBD_CMD_FUA,
        [NBD_CMD_CACHE] = NBD_CMD_FUA,
        [NBD_CMD_ZEROES] = NBD_CMD_FUA | NBD_CMD_NO_HOLE,
        [NBD_CMD_STATUS] = NBD_CMD_FUA | NBD_CMD_REQ_ONE,
    };
    bool change = r->type == NBD_CMD_WRITE || r->type == NBD_CMD_TRIM || r->type == NBD_CMD_ZEROES;

    if (!e->block) {
        return -ESHUTDOWN;
    }
    if (r->type >= G_N_ELEMENTS(allowed) || r->flags & ~allowed[r->type] ||
        (r->flags & NBD_CMD_DF && !c->structured)) {
        return -EINVAL;
    }
    if (change && !e->writable) {
        return -EPERM;
    }
    uint64_t size = block_size(e->block);
    if (r->off > size || r->len > size - r->off) {
        return change ? -ENOSPC : -EINVAL;
    }
    if (r->type == NBD_CMD_STATUS && (!c->context || r->len == 0)) {
        return -EINVAL;
    }
    return 0;
}

static void after_trim(void *opaque, int ret)
{
    Reply *r = opaque;
    BlockDev *b = r->conn->export->block;

    if (ret == 0 && b) {
        block_flush(b, answer, r);
    } else {
        answer(r, ret ? ret : -ESHUTDOWN);
    }
}

static void start(Conn *c, Reply *r)
{
    struct iovec iov = {r->data, r->len};
    bool fua = r->flags & NBD_CMD_FUA;

    machine_lock();
    BlockDev *b = c->export->block;
    int ret = check_request(c, c->export, r);
    if (ret) {
        answer(r, ret);
        machine_unlock();
        return;
    }
    switch (r->type) {
    case NBD_CMD_READ:
        block_read(b, r->off, &iov, 1, answer, r);
        break;
    case NBD_CMD_WRITE:
        (fua ? block_write_fua : block_write)(b, r->off, &iov, 1, answer, r);
        break;
    case NBD_CMD_FLUSH:
        block_flush(b, answer, r);
        break;
    case NBD_CMD_TRIM:
        block_discard(b, r->off, r->len, fua ? after_trim : answer, r);
        break;
    case NBD_CMD_ZEROES:
        block_write_zeroes(b, r->off, r->len, !(r->flags & NBD_CMD_NO_HOLE),
                           fua ? after_trim : answer, r);
        break;
    case NBD_CMD_STATUS:
        answer(r, block_status(r, b));
        break;
    default: /* CACHE: a hint */
        answer(r, 0);
    }
    machine_unlock();
}

/* Waits until @len more bytes may be in flight. */
static void make_room(Conn *c, uint32_t len)
{
    g_mutex_lock(&c->lock);
    while (c->in_flight >= MAX_IN_FLIGHT || (c->in_flight && c->bytes + len > MAX_BYTES)) {
        g_cond_wait(&c->room, &c->lock);
    }
    c->in_flight++;
    c->bytes += len;
    g_mutex_unlock(&c->lock);
}

static int one_request(Conn *c)
{
    uint8_t h[28];
    int ret = nbd_recv(c->fd, h, sizeof(h));

    if (ret || nbd_get32(h) != NBD_REQUEST_MAGIC) {
        return ret ? ret : -EPROTO;
    }
    uint16_t type = nbd_get16(h + 6);
    uint32_t len = nbd_get32(h + 24);
    bool payload = type == NBD_CMD_READ || type == NBD_CMD_WRITE;
    if (type == NBD_CMD_DISC) {
        return -ECONNABORTED;
    }
    if (type == NBD_CMD_WRITE && len > NBD_MAX_PAYLOAD) {
        return -EPROTO; /* there is no way around its data */
    }
    bool too_long = type == NBD_CMD_READ && len > NBD_MAX_PAYLOAD;
    Reply *r = g_new0(Reply, 1);
    *r = (Reply){.conn = conn_ref(c),
                 .type = type,
                 .flags = nbd_get16(h + 4),
                 .handle = nbd_get64(h + 8),
                 .off = nbd_get64(h + 16),
                 .len = len};
    make_room(c, payload && !too_long ? len : 0);
    if (too_long) {
        answer(r, r->flags & NBD_CMD_DF ? -EOVERFLOW : -EINVAL);
        return 0;
    }
    if (payload) {
        r->data = g_try_malloc(MAX(len, 1));
        if (!r->data) {
            g_mutex_lock(&c->lock);
            c->bytes -= len;
            g_mutex_unlock(&c->lock);
            answer(r, -ENOMEM);
            return type == NBD_CMD_WRITE ? -ENOMEM : 0;
        }
    }
    if (type == NBD_CMD_WRITE && (ret = nbd_recv(c->fd, r->data, len))) {
        answer(r, -EIO);
        return ret;
    }
    start(c, r);
    return 0;
}

/* Machine lock held. */
static void tell_clients(NbdServer *s)
{
    if (s->cfg.clients) {
        s->cfg.clients(s->cfg.opaque, s->conns->len);
    }
}

static void set_timeout(int fd, int seconds)
{
    const struct timeval tv = {.tv_sec = seconds};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

static gpointer reader(gpointer arg)
{
    Conn *c = arg;

    set_timeout(c->fd, HANDSHAKE_SECONDS);
    int ret = c->negotiated ? 1 : negotiate(c);
    if (ret == 1) {
        set_timeout(c->fd, 0);
        g_thread_unref(g_thread_new("nbd-writer", writer, conn_ref(c)));
        do {
            ret = one_request(c);
        } while (ret == 0);
        g_mutex_lock(&c->lock);
        c->ended = true;
        g_cond_signal(&c->cond);
        while (c->in_flight) {
            g_cond_wait(&c->room, &c->lock);
        }
        g_mutex_unlock(&c->lock);
    }
    shutdown(c->fd, SHUT_RDWR);
    machine_lock();
    export_unref(c->export);
    c->export = NULL;
    if (c->server) {
        NbdServer *s = c->server;
        g_ptr_array_remove_fast(s->conns, c);
        c->server = NULL;
        tell_clients(s);
        conn_unref(c);
    }
    machine_unlock();
    conn_unref(c);
    return NULL;
}

/* ---- connections ---- */

static Conn *conn_new(NbdServer *s, int fd)
{
    Conn *c = g_new0(Conn, 1);

    c->server = s;
    c->fd = fd;
    c->refs = 2; /* the list's and the thread's */
    g_mutex_init(&c->lock);
    g_cond_init(&c->cond);
    g_cond_init(&c->room);
    g_queue_init(&c->replies);
    g_ptr_array_add(s->conns, c);
    return c;
}

void nbd_server_client(NbdServer *s, int fd)
{
    g_thread_unref(g_thread_new("nbd-reader", reader, conn_new(s, fd)));
    tell_clients(s);
}

bool nbd_server_kernel(NbdServer *s, int fd, const char *name, uint64_t *size, uint16_t *flags,
                       GError **err)
{
    Export *e = find_export(s, name);

    if (!e || !e->block) {
        return fail(err, "the NBD server has no export '%s'", name);
    }
    Conn *c = conn_new(s, fd);
    c->negotiated = true;
    c->export = e;
    e->refs++;
    *size = block_size(e->block);
    *flags = export_flags(c, e);
    g_thread_unref(g_thread_new("nbd-reader", reader, c));
    tell_clients(s);
    return true;
}

static gboolean on_connect(gint listen_fd, GIOCondition cond, gpointer opaque)
{
    NbdServer *s = opaque;
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC), one = 1;

    if (fd < 0) {
        return G_SOURCE_CONTINUE;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    machine_lock();
    if (s->cfg.max_clients && s->conns->len >= s->cfg.max_clients) {
        close(fd);
    } else {
        nbd_server_client(s, fd);
    }
    machine_unlock();
    return G_SOURCE_CONTINUE;
}

static bool listen_unix(NbdServer *s, GError **err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const char *path = s->cfg.path;
    struct stat st;

    if (strlen(path) >= sizeof(un.sun_path)) {
        return fail(err, "the name of the socket '%s' is too long", path);
    }
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        unlink(path);
    }
    g_strlcpy(un.sun_path, path, sizeof(un.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)) || listen(fd, 16)) {
        fail(err, "socket '%s': %s", path, g_strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    s->path = g_strdup(path);
    g_array_append_val(s->fds, fd);
    return true;
}

static bool listen_tcp(NbdServer *s, GError **err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    const char *host = s->cfg.host && *s->cfg.host ? s->cfg.host : NULL;
    const char *port = s->cfg.port ? s->cfg.port : NBD_PORT;
    struct addrinfo *list = NULL;
    int e = getaddrinfo(host, port, &hints, &list), one = 1, why = 0;

    if (e) {
        return fail(err, "address %s:%s: %s", host ? host : "*", port, gai_strerror(e));
    }
    for (struct addrinfo *a = list; a; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0) {
            why = errno;
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (a->ai_family == AF_INET6) {
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
        }
        if (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, 16)) {
            why = errno;
            close(fd);
            continue;
        }
        g_array_append_val(s->fds, fd);
    }
    freeaddrinfo(list);
    return s->fds->len || fail(err, "address %s:%s: %s", host ? host : "*", port, g_strerror(why));
}

NbdServer *nbd_server_new(const NbdServerConfig *cfg, GError **err)
{
    NbdServer *s = g_new0(NbdServer, 1);

    s->cfg = *cfg;
    s->fds = g_array_new(FALSE, FALSE, sizeof(int));
    s->sources = g_array_new(FALSE, FALSE, sizeof(guint));
    s->exports = g_ptr_array_new();
    s->conns = g_ptr_array_new();
    bool ok = cfg->path ? listen_unix(s, err) : cfg->port ? listen_tcp(s, err) : true;
    s->cfg.path = s->cfg.host = s->cfg.port = NULL;
    if (!ok) {
        nbd_server_free(s);
        return NULL;
    }
    for (unsigned i = 0; i < s->fds->len; i++) {
        guint id = g_unix_fd_add(g_array_index(s->fds, int, i), G_IO_IN, on_connect, s);
        g_array_append_val(s->sources, id);
    }
    return s;
}

/* ---- exports ---- */

static void block_gone(void *opaque)
{
    Export *e = opaque;
    e->block = NULL; /* what is in flight is waited for by block_close() */
}

static void disconnect(NbdServer *s, const Export *e)
{
    for (unsigned i = 0; i < s->conns->len; i++) {
        Conn *c = s->conns->pdata[i];
        if (!e || c->export == e) {
            shutdown(c->fd, SHUT_RDWR);
        }
    }
}

static void drop_export(NbdServer *s, Export *e)
{
    if (e->block) {
        block_remove_close_hook(e->block, block_gone, e);
        block_gone(e);
    }
    disconnect(s, e);
    g_ptr_array_remove(s->exports, e);
    export_unref(e);
}

bool nbd_server_add(NbdServer *s, BlockDev *b, const NbdExportConfig *cfg, GError **err)
{
    Export *old = find_export(s, cfg->name);

    if (old && !old->block) {
        drop_export(s, old); /* its drive is gone */
    } else if (old) {
        return fail(err, "the NBD server has an export '%s' already", cfg->name);
    }
    if (strlen(cfg->name) > NBD_MAX_NAME) {
        return fail(err, "the name of the export is too long");
    }
    if (cfg->writable && block_read_only(b)) {
        return fail(err, "drive '%s' is read-only and cannot be exported for writing", block_id(b));
    }
    Export *e = g_new0(Export, 1);
    e->name = g_strdup(cfg->name);
    e->description = g_strdup(cfg->description);
    e->block = b;
    e->writable = cfg->writable;
    e->refs = 1;
    block_add_close_hook(b, block_gone, e);
    g_ptr_array_add(s->exports, e);
    return true;
}

bool nbd_server_remove(NbdServer *s, const char *name, bool force, GError **err)
{
    Export *e = find_export(s, name);

    if (!e) {
        return fail(err, "the NBD server has no export '%s'", name);
    }
    if (e->refs > 1 && !force) {
        return fail(err, "the export '%s' is in use by %u clients", name, e->refs - 1);
    }
    drop_export(s, e);
    return true;
}

unsigned nbd_server_clients(const NbdServer *s)
{
    return s->conns->len;
}

void nbd_server_free(NbdServer *s)
{
    if (!s) {
        return;
    }
    for (unsigned i = 0; i < s->sources->len; i++) {
        g_source_remove(g_array_index(s->sources, guint, i));
    }
    for (unsigned i = 0; i < s->fds->len; i++) {
        close(g_array_index(s->fds, int, i));
    }
    if (s->path) {
        unlink(s->path);
    }
    disconnect(s, NULL);
    for (unsigned i = 0; i < s->conns->len; i++) {
        Conn *c = s->conns->pdata[i];
        c->server = NULL;
        conn_unref(c);
    }
    while (s->exports->len) {
        drop_export(s, s->exports->pdata[0]);
    }
    g_ptr_array_unref(s->conns);
    g_ptr_array_unref(s->exports);
    g_array_unref(s->fds);
    g_array_unref(s->sources);
    g_free(s->path);
    g_free(s);
}
