/*
 * Stream sockets: TCP and unix, server and client, telnet (RFC 854, 856, 857, 858), inherited
 * descriptors, reconnecting. A server takes one connection at a time; the next one comes when
 * that is gone.
 */
#include "chardev/backend.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_FDS 16

enum { /* telnet */
       IAC = 255,
       DONT = 254,
       DO = 253,
       WONT = 252,
       WILL = 251,
       SB = 250,
       BRK = 243,
       SE = 240,
       OPT_BINARY = 0,
       OPT_ECHO = 1,
       OPT_SGA = 3
};

typedef enum { TN_DATA, TN_IAC, TN_OPTION, TN_SUB, TN_SUB_IAC } TelnetState;

typedef struct SockAddr {
    int family;
    socklen_t len;
    struct sockaddr_storage sa;
} SockAddr;

typedef struct Socket {
    Chardev chr;
    FdIo io;
    bool server, telnet, nodelay, is_unix, from_fd;
    int listen_fd, connect_fd;
    GSource *listen_src, *connect_src, *timer;
    uint64_t reconnect_ms;
    SockAddr *addrs; /* resolved once */
    unsigned n_addrs;
    char *name, *unlink_path;
    TelnetState tn;
    int fds[MAX_FDS]; /* that came with SCM_RIGHTS */
    unsigned n_fds;
} Socket;

static void start_connect(Socket *s);

/* ---- addresses ---- */

static void add_addr(Socket *s, int family, const void *sa, socklen_t len)
{
    s->addrs = g_renew(SockAddr, s->addrs, s->n_addrs + 1);
    SockAddr *a = &s->addrs[s->n_addrs++];
    *a = (SockAddr){.family = family, .len = len};
    memcpy(&a->sa, sa, len);
}

static bool resolve_unix(Socket *s, const char *path, bool abstract, GError **err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t n = strlen(path);

    if (n + 1 > sizeof(un.sun_path)) {
        return fail(err, "the socket path '%s' is longer than %zu bytes", path,
                    sizeof(un.sun_path) - 1);
    }
    memcpy(un.sun_path + abstract, path, n + !abstract);
    add_addr(s, AF_UNIX, &un,
             abstract ? offsetof(struct sockaddr_un, sun_path) + 1 + n : sizeof(un));
    s->is_unix = true;
    s->name = g_strdup_printf("unix:%s", path);
    return true;
}

static bool resolve_tcp(Socket *s, const ChardevOpts *o, GError **err)
{
    const char *host = chardev_opt(o, "host"), *port = chardev_opt(o, "port");
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = s->server ? AI_PASSIVE : 0};
    struct addrinfo *list;
    bool v4, v6;

    if (!port) {
        return fail(err, "chardev socket '%s' needs port= or path= or fd=", s->chr.label);
    }
    if (!chardev_opt_bool(o, "ipv4", false, &v4, err) ||
        !chardev_opt_bool(o, "ipv6", false, &v6, err)) {
        return false;
    }
    hints.ai_family = v4 == v6 ? AF_UNSPEC : v4 ? AF_INET : AF_INET6;
    int r = getaddrinfo(host && *host ? host : NULL, port, &hints, &list);
    if (r) {
        return fail(err, "cannot resolve '%s:%s' of chardev '%s': %s", host ? host : "", port,
                    s->chr.label, gai_strerror(r));
    }
    for (struct addrinfo *a = list; a; a = a->ai_next) {
        add_addr(s, a->ai_family, a->ai_addr, a->ai_addrlen);
    }
    freeaddrinfo(list);
    s->name = g_strdup_printf("%s:%s:%s", s->telnet ? "telnet" : "tcp", host ? host : "", port);
    return true;
}

/* ---- data ---- */

static void drop_fds(Socket *s)
{
    for (unsigned i = 0; i < s->n_fds; i++) {
        close(s->fds[i]);
    }
    s->n_fds = 0;
}

static ssize_t socket_read(FdIo *io, uint8_t *buf, size_t len)
{
    Socket *s = (Socket *)io->chr;
    union {
        char buf[CMSG_SPACE(sizeof(int) * MAX_FDS)];
        struct cmsghdr align;
    } control;
    struct iovec iov = {buf, len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = s->is_unix ? control.buf : NULL,
                         .msg_controllen = s->is_unix ? sizeof(control.buf) : 0};
    ssize_t n = recvmsg(io->in, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0) {
        return n;
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (s->n_fds < MAX_FDS) {
                s->fds[s->n_fds++] = fd;
            } else {
                close(fd);
            }
        }
    }
    return n;
}

/* Take telnet's commands out of the data, in place; bytes left. */
static size_t telnet_filter(Socket *s, uint8_t *buf, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        uint8_t c = buf[i];

        switch (s->tn) {
        case TN_DATA:
            if (c == IAC) {
                s->tn = TN_IAC;
            } else {
                buf[n++] = c;
            }
            break;
        case TN_IAC:
            s->tn = TN_DATA;
            if (c == IAC) {
                buf[n++] = c;
            } else if (c == BRK) {
                chardev_be_event(&s->chr, CHARDEV_BREAK);
            } else if (c == SB) {
                s->tn = TN_SUB;
            } else if (c >= WILL && c <= DONT) {
                s->tn = TN_OPTION;
            }
            break;
        case TN_OPTION:
            s->tn = TN_DATA;
            break;
        case TN_SUB:
            s->tn = c == IAC ? TN_SUB_IAC : TN_SUB;
            break;
        case TN_SUB_IAC:
            s->tn = c == SE ? TN_DATA : TN_SUB;
            break;
        }
    }
    return n;
}

static void socket_input(FdIo *io, const uint8_t *buf, size_t len)
{
    Socket *s = (Socket *)io->chr;

    if (s->telnet) {
        uint8_t copy[CHARDEV_READ_MAX];

        memcpy(copy, buf, len);
        chardev_be_receive(io->chr, copy, telnet_filter(s, copy, len));
    } else {
        chardev_be_receive(io->chr, buf, len);
    }
}

static size_t socket_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    Socket *s = (Socket *)chr;
    uint8_t pair[2] = {IAC, IAC};
    size_t done = 0;

    if (!s->telnet) {
        return fdio_write(&s->io, buf, len);
    }
    while (done < len) {
        const uint8_t *iac = memchr(buf + done, IAC, len - done);
        size_t part = iac ? iac - (buf + done) : len - done;
        size_t n = fdio_write(&s->io, buf + done, part);

        done += n;
        if (n < part) {
            break;
        }
        if (iac) {
            /* Half a pair would be a command; the queue keeps a little room for that. */
            n = fdio_write(&s->io, pair, 2);
            if (!n) {
                break;
            }
            if (n == 1) {
                g_byte_array_append(s->io.queue, pair, 1);
            }
            done++;
        }
    }
    return done;
}

/* ---- connections ---- */

static bool accept_ready(Socket *s);

static gboolean on_listen(gint fd, GIOCondition cond, gpointer arg)
{
    Socket *s = arg;

    if (accept_ready(s)) {
        chardev_unwatch(&s->listen_src);
    }
    return G_SOURCE_CONTINUE;
}

static void watch_listen(Socket *s)
{
    if (s->listen_fd >= 0 && !s->listen_src && !s->chr.removed) {
        s->listen_src = chardev_watch(&s->chr, s->listen_fd, G_IO_IN, on_listen, s);
    }
}

static gboolean on_reconnect(gpointer arg)
{
    Socket *s = arg;
    bool entered = chardev_enter();

    if (!g_source_is_destroyed(g_main_current_source())) {
        chardev_unwatch(&s->timer);
        start_connect(s);
    }
    chardev_leave(entered);
    return G_SOURCE_REMOVE;
}

static void connect_later(Socket *s)
{
    if (!s->reconnect_ms || s->timer || s->chr.removed) {
        return;
    }
    s->timer = g_timeout_source_new(s->reconnect_ms);
    g_source_set_callback(s->timer, on_reconnect, chardev_ref(&s->chr),
                          (GDestroyNotify)chardev_unref);
    g_source_attach(s->timer, NULL);
}

static void socket_gone(FdIo *io)
{
    Socket *s = (Socket *)io->chr;

    fdio_close(io);
    drop_fds(s);
    chardev_be_event(&s->chr, CHARDEV_CLOSED);
    if (s->server) {
        watch_listen(s);
    } else {
        connect_later(s);
    }
}

static void connected(Socket *s, int fd)
{
    int one = 1;

    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (!s->is_unix && (s->nodelay || s->telnet)) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    if (!s->is_unix) {
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    }
    s->tn = TN_DATA;
    fdio_open(&s->io, fd, fd, false);
    if (s->telnet && s->server) {
        static const uint8_t hello[] = {IAC, WILL, OPT_ECHO,   IAC, WILL, OPT_SGA,
                                        IAC, WILL, OPT_BINARY, IAC, DO,   OPT_BINARY};
        fdio_write(&s->io, hello, sizeof(hello));
    }
    chardev_be_event(&s->chr, CHARDEV_OPENED);
    fdio_update(&s->io);
}

static bool accept_ready(Socket *s)
{
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0) {
        return false;
    }
    connected(s, fd);
    return true;
}

static gboolean on_connect(gint fd, GIOCondition cond, gpointer arg)
{
    Socket *s = arg;
    int e = 0;
    socklen_t len = sizeof(e);

    getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
    chardev_unwatch(&s->connect_src);
    if (e) {
        close(fd);
        connect_later(s);
    } else {
        connected(s, fd);
    }
    return G_SOURCE_CONTINUE;
}

/* Begin to connect without waiting; tries again later when that fails. */
static void start_connect(Socket *s)
{
    for (unsigned i = 0; i < s->n_addrs; i++) {
        const SockAddr *a = &s->addrs[i];
        int fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0) {
            continue;
        }
        if (connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0) {
            connected(s, fd);
            return;
        }
        if (errno == EINPROGRESS) {
            s->connect_fd = fd;
            s->connect_src = chardev_watch(&s->chr, fd, G_IO_OUT, on_connect, s);
            return;
        }
        close(fd);
    }
    connect_later(s);
}

/* At start, without reconnect=: the user wants to know. */
static bool connect_now(Socket *s, GError **err)
{
    int e = 0;

    for (unsigned i = 0; i < s->n_addrs; i++) {
        const SockAddr *a = &s->addrs[i];
        int fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd >= 0 && connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0) {
            connected(s, fd);
            return true;
        }
        e = errno;
        if (fd >= 0) {
            close(fd);
        }
    }
    return fail(err, "chardev '%s' cannot connect to %s: %s", s->chr.label, s->name, g_strerror(e));
}

static bool listen_addr(Socket *s, const SockAddr *a)
{
    int one = 1;
    int fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return false;
    }
    if (a->family == AF_UNIX) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)&a->sa;
        if (un->sun_path[0]) {
            unlink(un->sun_path);
            s->unlink_path = g_strdup(un->sun_path);
        }
    } else {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (a->family == AF_INET6) {
            int only = 0;
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
        }
    }
    if (bind(fd, (const struct sockaddr *)&a->sa, a->len) < 0 || listen(fd, 1) < 0) {
        int e = errno;
        close(fd);
        errno = e;
        return false;
    }
    s->listen_fd = fd;
    return true;
}

static void set_port(SockAddr *a, unsigned port)
{
    if (a->family == AF_INET) {
        ((struct sockaddr_in *)&a->sa)->sin_port = htons(port);
    } else if (a->family == AF_INET6) {
        ((struct sockaddr_in6 *)&a->sa)->sin6_port = htons(port);
    }
}

static bool start_listen(Socket *s, const ChardevOpts *o, GError **err)
{
    uint64_t to, port = 0;
    const char *port_text = chardev_opt(o, "port");
    int e = 0;

    if (!chardev_opt_uint(o, "to", 0, 65535, &to, err)) {
        return false;
    }
    if (port_text) {
        port = g_ascii_strtoull(port_text, NULL, 10);
    }
    for (uint64_t p = port; p <= MAX(port, to); p++) {
        for (unsigned i = 0; i < s->n_addrs; i++) {
            if (p != port) {
                set_port(&s->addrs[i], p);
            }
            if (listen_addr(s, &s->addrs[i])) {
                if (p != port) {
                    char *colon = strrchr(s->name, ':');
                    char *name =
                        g_strdup_printf("%.*s:%" PRIu64, (int)(colon - s->name), s->name, p);
                    g_free(s->name);
                    s->name = name;
                }
                return true;
            }
            e = errno;
        }
    }
    return fail(err, "chardev '%s' cannot listen on %s: %s", s->chr.label, s->name, g_strerror(e));
}

static bool wait_for_client(Socket *s, GError **err)
{
    struct pollfd p = {.fd = s->listen_fd, .events = POLLIN};

    info_report("waiting for connection on %s,server=on (chardev '%s')", s->name, s->chr.label);
    for (;;) {
        int r = poll(&p, 1, -1);
        if (r < 0 && errno != EINTR) {
            return fail(err, "chardev '%s': waiting on %s: %s", s->chr.label, s->name,
                        g_strerror(errno));
        }
        if (r > 0 && accept_ready(s)) {
            return true;
        }
    }
}

/* fd=N: a listening or connected socket that we inherited. */
static bool use_fd(Socket *s, const char *text, GError **err)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char *end;
    long fd = strtol(text, &end, 10);
    int listening = 0;
    socklen_t llen = sizeof(listening);

    if (end == text || *end || fd < 0 || getsockname(fd, (struct sockaddr *)&sa, &len) < 0) {
        return fail(err, "chardev '%s': fd=%s is no socket", s->chr.label, text);
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &llen);
    s->is_unix = sa.ss_family == AF_UNIX;
    s->from_fd = true;
    if (s->is_unix && len > offsetof(struct sockaddr_un, sun_path) &&
        ((struct sockaddr_un *)&sa)->sun_path[0]) {
        s->name = g_strdup_printf("unix:%s", ((struct sockaddr_un *)&sa)->sun_path);
    } else {
        s->name = g_strdup_printf("%s:fd=%ld", s->is_unix ? "unix" : "tcp", fd);
    }
    if (s->server) {
        if (!listening) {
            return fail(err, "chardev '%s': fd=%s is no listening socket", s->chr.label, text);
        }
        s->listen_fd = fd;
    } else {
        if (listening) {
            return fail(err, "chardev '%s': fd=%s is a listening socket; add server=on",
                        s->chr.label, text);
        }
        connected(s, fd);
    }
    return true;
}

static bool read_opts(Socket *s, const ChardevOpts *o, bool *wait, bool *abstract, GError **err)
{
    uint64_t sec, ms;

    if (!chardev_opt_bool(o, "server", false, &s->server, err) ||
        !chardev_opt_bool(o, "wait", true, wait, err) ||
        !chardev_opt_bool(o, "telnet", false, &s->telnet, err) ||
        !chardev_opt_bool(o, "abstract", false, abstract, err) ||
        (chardev_opt(o, "nodelay") && !chardev_opt_bool(o, "nodelay", false, &s->nodelay, err)) ||
        (chardev_opt(o, "delay") && !chardev_opt_bool(o, "delay", true, &s->nodelay, err)) ||
        !chardev_opt_uint(o, "reconnect", 0, 86400, &sec, err) ||
        !chardev_opt_uint(o, "reconnect-ms", 0, 86400000, &ms, err)) {
        return false;
    }
    if (chardev_opt(o, "delay")) {
        s->nodelay = !s->nodelay;
    }
    s->reconnect_ms = sec * 1000 + ms;
    if (s->server && s->reconnect_ms) {
        return fail(err, "chardev '%s': reconnect= is for clients; a server just waits",
                    s->chr.label);
    }
    if (!s->server && chardev_opt(o, "wait")) {
        return fail(err, "chardev '%s': wait= needs server=on", s->chr.label);
    }
    if (chardev_opt(o, "tls-creds")) {
        return fail(err, "chardev '%s': TLS is not supported for character sockets", s->chr.label);
    }
    bool ws;
    if (!chardev_opt_bool(o, "websocket", false, &ws, err)) {
        return false;
    }
    return !ws || fail(err, "chardev '%s': websocket is not supported", s->chr.label);
}

static bool socket_open(Chardev *chr, const ChardevOpts *o, GError **err)
{
    Socket *s = (Socket *)chr;
    const char *path = chardev_opt(o, "path"), *fd = chardev_opt(o, "fd");
    bool wait, abstract;

    fdio_init(&s->io, chr);
    s->listen_fd = -1;
    s->io.sock = true;
    s->io.read = socket_read;
    s->io.input = socket_input;
    s->io.gone = socket_gone;
    if (!read_opts(s, o, &wait, &abstract, err)) {
        return false;
    }
    if (fd) {
        if (!use_fd(s, fd, err)) {
            return false;
        }
    } else if (!(path ? resolve_unix(s, path, abstract, err) : resolve_tcp(s, o, err))) {
        return false;
    } else if (!s->server) {
        if (s->reconnect_ms) {
            start_connect(s);
            return true;
        }
        return connect_now(s, err);
    } else if (!start_listen(s, o, err)) {
        return false;
    }
    if (!s->server) {
        return true;
    }
    if (wait && !wait_for_client(s, err)) {
        return false;
    }
    fcntl(s->listen_fd, F_SETFL, fcntl(s->listen_fd, F_GETFL) | O_NONBLOCK);
    if (!chr->open) {
        watch_listen(s);
    }
    return true;
}

static void socket_close(Chardev *chr)
{
    Socket *s = (Socket *)chr;

    if (s->connect_src) {
        chardev_unwatch(&s->connect_src);
        close(s->connect_fd);
    }
    chardev_unwatch(&s->listen_src);
    chardev_unwatch(&s->timer);
    fdio_fini(&s->io);
    drop_fds(s);
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
        s->listen_fd = -1;
    }
    if (s->unlink_path) {
        unlink(s->unlink_path);
    }
    g_free(s->unlink_path);
    g_free(s->name);
    g_free(s->addrs);
    s->unlink_path = s->name = NULL;
    s->addrs = NULL;
    s->n_addrs = 0;
}

static void socket_accept_input(Chardev *chr)
{
    fdio_update(&((Socket *)chr)->io);
}

static int socket_take_fd(Chardev *chr)
{
    Socket *s = (Socket *)chr;

    if (!s->n_fds) {
        return -1;
    }
    int fd = s->fds[0];
    s->n_fds--;
    memmove(s->fds, s->fds + 1, s->n_fds * sizeof(int));
    return fd;
}

static char *socket_filename(const Chardev *chr)
{
    const Socket *s = (const Socket *)chr;

    return g_strdup_printf("%s%s%s", chr->open ? "" : "disconnected:", s->name,
                           s->server ? ",server=on" : "");
}

static const char *const socket_opts[] = {
    "host",     "port",  "path",      "fd",        "to",        "ipv4",      "ipv6",
    "server",   "wait",  "telnet",    "nodelay",   "delay",     "reconnect", "reconnect-ms",
    "abstract", "tight", "tls-creds", "tls-authz", "websocket", NULL};
const ChardevType chardev_socket_type = {
    .name = "socket",
    .opts = socket_opts,
    .size = sizeof(Socket),
    .open = socket_open,
    .close = socket_close,
    .write = socket_write,
    .accept_input = socket_accept_input,
    .take_fd = socket_take_fd,
    .filename = socket_filename,
};
