/* NBD: names of servers and exports; all of a transfer over a socket. */
#include "block/nbd-proto.h"
#include "block/nbd.h"
#include "core/log.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define IOV_CHUNK 64

int nbd_recv(int fd, void *buf, size_t len)
{
    uint8_t *p = buf;
    while (len) {
        ssize_t n = recv(fd, p, len, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EPIPE;
        }
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int nbd_send(int fd, const struct iovec *iov, unsigned n)
{
    while (n) {
        struct iovec part[IOV_CHUNK];
        unsigned k = MIN(n, IOV_CHUNK);
        memcpy(part, iov, k * sizeof(*part));
        iov += k;
        n -= k;
        for (unsigned j = 0; j < k;) {
            struct msghdr msg = {.msg_iov = part + j, .msg_iovlen = k - j};
            ssize_t done = sendmsg(fd, &msg, MSG_NOSIGNAL);
            if (done < 0 && errno == EINTR) {
                continue;
            }
            if (done < 0) {
                return -errno;
            }
            while (j < k && (size_t)done >= part[j].iov_len) {
                done -= (ssize_t)part[j++].iov_len;
            }
            if (j < k) {
                part[j].iov_base = (uint8_t *)part[j].iov_base + done;
                part[j].iov_len -= (size_t)done;
            }
        }
    }
    return 0;
}

bool nbd_is_address(const char *text)
{
    return g_str_has_prefix(text, "nbd:") || g_str_has_prefix(text, "nbd+unix:") ||
           g_str_has_prefix(text, "nbd+tcp:");
}

void nbd_address_clear(NbdAddress *a)
{
    g_free(a->path);
    g_free(a->host);
    g_free(a->port);
    g_free(a->export);
    memset(a, 0, sizeof(*a));
}

/* HOST:PORT, [ADDRESS]:PORT */
static bool host_port(NbdAddress *a, const char *text)
{
    const char *end = *text == '[' ? strchr(text, ']') : strrchr(text, ':');

    if (*text == '[') {
        if (!end || end[1] != ':' || !end[2]) {
            return false;
        }
        a->host = g_strndup(text + 1, (gsize)(end - text - 1));
        a->port = g_strdup(end + 2);
        return true;
    }
    if (!end || !end[1]) {
        return false;
    }
    a->host = end > text ? g_strndup(text, (gsize)(end - text)) : NULL;
    a->port = g_strdup(end + 1);
    return true;
}

static bool parse_old(NbdAddress *a, const char *text)
{
    const char *mark = strstr(text, ":exportname=");
    g_autofree char *place = mark ? g_strndup(text, (gsize)(mark - text)) : g_strdup(text);

    a->export = g_strdup(mark ? mark + strlen(":exportname=") : "");
    if (g_str_has_prefix(place, "unix:")) {
        a->path = g_strdup(place + 5);
        return *a->path;
    }
    return host_port(a, place);
}

static bool parse_uri(NbdAddress *a, const char *text, bool is_unix)
{
    g_autoptr(GUri) uri = g_uri_parse(text, G_URI_FLAGS_NONE, NULL);
    const char *path = uri ? g_uri_get_path(uri) : NULL;

    if (!uri) {
        return false;
    }
    a->export = g_strdup(path && *path == '/' ? path + 1 : "");
    if (is_unix) {
        const char *query = g_uri_get_query(uri);
        g_autoptr(GHashTable) params =
            query ? g_uri_parse_params(query, -1, "&;", G_URI_PARAMS_NONE, NULL) : NULL;
        a->path = params ? g_strdup(g_hash_table_lookup(params, "socket")) : NULL;
        return a->path && *a->path;
    }
    const char *host = g_uri_get_host(uri);
    int port = g_uri_get_port(uri);
    a->host = host && *host ? g_strdup(host) : NULL;
    a->port = port > 0 ? g_strdup_printf("%d", port) : g_strdup(NBD_PORT);
    return true;
}

bool nbd_address_parse(NbdAddress *a, const char *text, GError **err)
{
    bool ok;

    memset(a, 0, sizeof(*a));
    if (g_str_has_prefix(text, "nbd+unix:")) {
        ok = parse_uri(a, text, true);
    } else if (g_str_has_prefix(text, "nbd://") || g_str_has_prefix(text, "nbd+tcp://")) {
        ok = parse_uri(a, text, false);
    } else {
        ok = g_str_has_prefix(text, "nbd:") && parse_old(a, text + 4);
    }
    if (ok && strlen(a->export) > NBD_MAX_NAME) {
        ok = false;
    }
    if (!ok) {
        nbd_address_clear(a);
        return fail(err,
                    "'%s' is no NBD address; use nbd://HOST[:PORT]/EXPORT, "
                    "nbd+unix:///EXPORT?socket=PATH, nbd:HOST:PORT[:exportname=E] or "
                    "nbd:unix:PATH[:exportname=E]",
                    text);
    }
    return true;
}
