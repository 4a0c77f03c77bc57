/* UDP: each write is a datagram; what comes to the local port is input. */
#include "chardev/backend.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct Udp {
    Chardev chr;
    FdIo io;
    char *name;
    uint8_t buf[65536]; /* rest of a datagram */
    size_t pos, len;
} Udp;

static struct addrinfo *lookup(const char *host, const char *port, int family, bool passive,
                               GError **err)
{
    struct addrinfo hints = {
        .ai_socktype = SOCK_DGRAM, .ai_family = family, .ai_flags = passive ? AI_PASSIVE : 0};
    struct addrinfo *list = NULL;
    int r = getaddrinfo(host && *host ? host : NULL, port, &hints, &list);

    if (r) {
        fail(err, "cannot resolve '%s:%s': %s", host ? host : "", port, gai_strerror(r));
    }
    return r ? NULL : list;
}

/* Datagrams come whole; the front may want less. */
static ssize_t udp_read(FdIo *io, uint8_t *buf, size_t len)
{
    Udp *u = (Udp *)io->chr;

    if (u->pos == u->len) {
        ssize_t n = recv(io->in, u->buf, sizeof(u->buf), MSG_DONTWAIT);
        if (n <= 0) {
            errno = EAGAIN; /* errors of single datagrams (ICMP) do not end anything */
            return -1;
        }
        u->pos = 0;
        u->len = n;
    }
    len = MIN(len, u->len - u->pos);
    memcpy(buf, u->buf + u->pos, len);
    u->pos += len;
    return len;
}

static void udp_flush(Udp *u)
{
    while (u->pos < u->len) {
        size_t n = MIN(chardev_be_can_receive(&u->chr), u->len - u->pos);
        if (!n) {
            return;
        }
        u->pos += n;
        chardev_be_receive(&u->chr, u->buf + u->pos - n, n);
    }
}

static void udp_input(FdIo *io, const uint8_t *buf, size_t len)
{
    chardev_be_receive(io->chr, buf, len);
    udp_flush((Udp *)io->chr);
}

static bool udp_open(Chardev *chr, const ChardevOpts *o, GError **err)
{
    Udp *u = (Udp *)chr;
    const char *host = chardev_opt(o, "host"), *port = chardev_opt(o, "port");
    const char *lhost = chardev_opt(o, "localaddr"), *lport = chardev_opt(o, "localport");
    bool v4, v6;

    fdio_init(&u->io, chr);
    u->io.sock = true;
    u->io.read = udp_read;
    u->io.input = udp_input;
    if (!chardev_opt_bool(o, "ipv4", false, &v4, err) ||
        !chardev_opt_bool(o, "ipv6", false, &v6, err)) {
        return false;
    }
    if (!port) {
        return fail(err, "chardev udp '%s' needs a port", chr->label);
    }
    struct addrinfo *to = lookup(host && *host ? host : "localhost", port,
                                 v4 == v6 ? AF_UNSPEC
                                 : v4     ? AF_INET
                                          : AF_INET6,
                                 false, err);
    if (!to) {
        return false;
    }
    struct addrinfo *from = lookup(lhost, lport ? lport : "0", to->ai_family, true, err);
    int fd = from ? socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    bool ok = fd >= 0 && bind(fd, from->ai_addr, from->ai_addrlen) == 0 &&
              connect(fd, to->ai_addr, to->ai_addrlen) == 0;
    int e = errno;

    freeaddrinfo(to);
    if (!from) {
        return false;
    }
    freeaddrinfo(from);
    if (!ok) {
        if (fd >= 0) {
            close(fd);
        }
        return fail(err, "chardev udp '%s': %s", chr->label, g_strerror(e));
    }
    u->name = g_strdup_printf("udp:%s:%s", host ? host : "localhost", port);
    chr->open = true;
    fdio_open(&u->io, fd, fd, false);
    return true;
}

static void udp_close(Chardev *chr)
{
    fdio_fini(&((Udp *)chr)->io);
    g_free(((Udp *)chr)->name);
    ((Udp *)chr)->name = NULL;
}

/* A datagram that does not go out now is lost, as datagrams are. */
static size_t udp_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    (void)!send(((Udp *)chr)->io.out, buf, MIN(len, 65507), MSG_DONTWAIT | MSG_NOSIGNAL);
    return len;
}

static void udp_accept_input(Chardev *chr)
{
    udp_flush((Udp *)chr);
    fdio_update(&((Udp *)chr)->io);
}

static char *udp_filename(const Chardev *chr)
{
    return g_strdup(((const Udp *)chr)->name);
}

static const char *const udp_keys[] = {"host", "port", "localaddr", "localport",
                                       "ipv4", "ipv6", NULL};
const ChardevType chardev_udp_type = {
    .name = "udp",
    .opts = udp_keys,
    .size = sizeof(Udp),
    .open = udp_open,
    .close = udp_close,
    .write = udp_write,
    .accept_input = udp_accept_input,
    .filename = udp_filename,
};
