/*
 * VNC server: addresses, the picture that is told to clients, and when to look at the console.
 * RFC 6143 "The Remote Framebuffer Protocol"; see vnc.h.
 */
#include "ui/vnc.h"
#include "config.h"
#include "core/log.h"
#include "core/option.h"
#include "ui/vnc-internal.h"
#include <errno.h>
#include <glib-unix.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PORT_BASE 5900
#define INTERVAL_MIN (NS_PER_SEC / 30)
#define INTERVAL_MAX (NS_PER_SEC / 4)
#define TILE_W 32 /* a change is told in units of this */
#define TILE_H 16
#define ENCODER_THREADS 2

/* ---- the picture ---- */

static bool tile_changed(const uint32_t *p, int stride, uint32_t *shadow, int w, int tw, int th)
{
    uint32_t diff = 0;

    for (int y = 0; y < th && !diff; y++) {
        for (int x = 0; x < tw; x++) {
            diff |= (p[(size_t)y * stride + x] ^ shadow[(size_t)y * w + x]) & 0xffffff;
        }
    }
    if (!diff) {
        return false;
    }
    for (int y = 0; y < th; y++) {
        for (int x = 0; x < tw; x++) {
            shadow[(size_t)y * w + x] = p[(size_t)y * stride + x] & 0xffffff;
        }
    }
    return true;
}

/* Copies what differs into the shadow and marks it for all clients. */
static void on_dirty(void *opaque, Console *con, int x, int y, int w, int h)
{
    VncServer *s = opaque;
    int stride;
    const uint32_t *p = console_pixels(con, &stride);
    pixman_region32_t fresh;

    if (!s->clients) {
        return;
    }
    pixman_region32_init(&fresh);
    int x0 = x / TILE_W * TILE_W, y0 = y / TILE_H * TILE_H;
    for (int ty = y0; ty < y + h; ty += TILE_H) {
        int th = MIN(TILE_H, s->h - ty), run = -1;
        for (int tx = x0; tx < x + w; tx += TILE_W) {
            int tw = MIN(TILE_W, s->w - tx);
            bool diff = tile_changed(p + (size_t)ty * stride + tx, stride,
                                     s->shadow + (size_t)ty * s->w + tx, s->w, tw, th);
            if (diff && run < 0) {
                run = tx;
            } else if (!diff && run >= 0) {
                pixman_region32_union_rect(&fresh, &fresh, run, ty, tx - run, th);
                run = -1;
            }
        }
        if (run >= 0) {
            pixman_region32_union_rect(&fresh, &fresh, run, ty, s->w - run, th);
        }
    }
    if (pixman_region32_not_empty(&fresh)) {
        s->changed = true;
        pixman_region32_intersect_rect(&fresh, &fresh, 0, 0, s->w, s->h);
        for (GList *l = s->clients; l; l = l->next) {
            VncClient *c = l->data;
            pixman_region32_union(&c->dirty, &c->dirty, &fresh);
        }
    }
    pixman_region32_fini(&fresh);
}

static void on_resized(void *opaque, Console *con)
{
    VncServer *s = opaque;

    s->w = console_width(con);
    s->h = console_height(con);
    g_free(s->shadow);
    s->shadow = g_new0(uint32_t, (size_t)s->w * s->h);
    s->changed = true;
    for (GList *l = s->clients; l; l = l->next) {
        VncClient *c = l->data;
        pixman_region32_union_rect(&c->dirty, &c->dirty, 0, 0, s->w, s->h);
        c->send_size = true;
    }
}

static const ConsoleListener listener = {.resized = on_resized, .dirty = on_dirty};

static void on_refresh(void *opaque)
{
    VncServer *s = opaque;

    s->changed = false;
    console_update(s->con, false);
    s->interval = s->changed ? INTERVAL_MIN : MIN(s->interval * 5 / 4, INTERVAL_MAX);
    for (GList *l = s->clients, *next; l; l = next) {
        next = l->next;
        vnc_client_update(l->data);
    }
}

void vnc_server_wake(VncServer *s, bool active)
{
    if (active) {
        s->interval = INTERVAL_MIN;
    }
    if (active || !timer_pending(&s->refresh)) {
        int64_t at = clock_now(s->m->mono_clock) + s->interval;
        if (!timer_pending(&s->refresh) || at < s->refresh.deadline) {
            timer_set(&s->refresh, at);
        }
    }
}

const Keymap *vnc_server_keymap(VncServer *s)
{
    g_autoptr(GError) err = NULL;

    if (!s->keymap && !s->no_keymap) {
        s->keymap = s->own_keymap = keymap_new(NULL, &err);
        s->no_keymap = !s->keymap;
        if (err) {
            warn_report("VNC: %s; only clients that send key codes can type", err->message);
        }
    }
    return s->keymap;
}

/* ---- life ---- */

static void drop_source(GSource *src)
{
    g_source_destroy(src);
    g_source_unref(src);
}

static gboolean job_done(gpointer arg)
{
    bool held = machine_lock_held();

    if (!held) {
        machine_lock();
    }
    vnc_client_job_done(arg);
    if (!held) {
        machine_unlock();
    }
    return G_SOURCE_REMOVE;
}

static void work(gpointer data, gpointer arg)
{
    vnc_encode(data);
    g_idle_add_full(G_PRIORITY_DEFAULT, job_done, data, NULL);
}

VncServer *vnc_server_new(Machine *m, Keymap *keymap)
{
    static const ConsoleOps no_ops = {0};
    VncServer *s = g_new0(VncServer, 1), **last = &m->vnc;

    s->m = m;
    s->keymap = keymap;
    s->interval = INTERVAL_MIN;
    s->con = console_get(m, 0);
    if (!s->con) {
        s->con = s->own_con = console_new(NULL, "none", &no_ops, NULL);
    }
    on_resized(s, s->con);
    console_add_listener(s->con, &listener, s);
    timer_init(&s->refresh, m->mono_clock, on_refresh, s);
    while (*last) {
        last = &(*last)->next;
    }
    *last = s;
    return s;
}

void vnc_server_free(VncServer *s)
{
    VncServer **p = &s->m->vnc;

    while (*p != s) {
        p = &(*p)->next;
    }
    *p = s->next;
    for (unsigned i = 0; i < s->n_fds; i++) {
        drop_source(s->srcs[i]);
        close(s->fds[i]);
    }
    if (s->unix_path) {
        unlink(s->unix_path);
    }
    while (s->clients) {
        vnc_client_drop(s->clients->data, NULL);
    }
    if (s->pool) {
        g_thread_pool_free(s->pool, FALSE, TRUE);
    }
    while (s->jobs) {
        g_idle_remove_by_data(s->jobs->data);
        vnc_client_job_done(s->jobs->data);
    }
    timer_del(&s->refresh);
    console_del_listener(s->con, &listener, s);
    console_free(s->own_con);
    keymap_free(s->own_keymap);
    g_free(s->shadow);
    g_free(s->address);
    g_free(s->unix_path);
    g_free(s->password);
    g_free(s);
}

VncClient *vnc_server_add_client(VncServer *s, int fd, const char *peer)
{
    if (g_list_length(s->clients) >= VNC_MAX_CLIENTS) {
        warn_report("VNC client %s: there are %d already, disconnected", peer, VNC_MAX_CLIENTS);
        close(fd);
        return NULL;
    }
    if (!s->pool) {
        s->pool = g_thread_pool_new(work, s, ENCODER_THREADS, FALSE, NULL);
    }
    VncClient *c = vnc_client_new(s, fd, peer);
    bool first = !s->clients;
    s->clients = g_list_append(s->clients, c);
    if (first) {
        /* Nobody followed what changed. */
        console_update(s->con, true);
    }
    vnc_client_flush(c);
    return g_list_find(s->clients, c) ? c : NULL;
}

/* ---- listening ---- */

static void address_text(const struct sockaddr *sa, socklen_t len, char *out, size_t size)
{
    char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?";

    if (sa->sa_family == AF_UNIX) {
        g_strlcpy(out, "unix", size);
        return;
    }
    getnameinfo(sa, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    g_snprintf(out, size, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static gboolean on_connect(gint fd, GIOCondition cond, gpointer arg)
{
    VncServer *s = arg;
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);
    char peer[NI_MAXHOST + NI_MAXSERV + 8];
    int one = 1, client = accept4(fd, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (client >= 0) {
        bool held = machine_lock_held();
        if (!held) {
            machine_lock();
        }
        if (sa.ss_family == AF_INET || sa.ss_family == AF_INET6) {
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        }
        address_text((struct sockaddr *)&sa, len, peer, sizeof(peer));
        vnc_server_add_client(s, client, peer);
        if (!held) {
            machine_unlock();
        }
    }
    return G_SOURCE_CONTINUE;
}

static bool listen_on(VncServer *s, const struct sockaddr *sa, socklen_t len)
{
    int one = 1, fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return false;
    }
    if (sa->sa_family != AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    }
    if (sa->sa_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    if (bind(fd, sa, len) < 0 || listen(fd, 8) < 0) {
        int e = errno;
        close(fd);
        errno = e;
        return false;
    }
    GSource *src = g_unix_fd_source_new(fd, G_IO_IN);
    g_source_set_callback(src, G_SOURCE_FUNC(on_connect), s, NULL);
    g_source_attach(src, NULL);
    s->srcs[s->n_fds] = src;
    s->fds[s->n_fds++] = fd;
    return true;
}

static void close_all(VncServer *s)
{
    while (s->n_fds) {
        s->n_fds--;
        drop_source(s->srcs[s->n_fds]);
        close(s->fds[s->n_fds]);
    }
}

static bool listen_unix(VncServer *s, const char *path, GError **err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(un.sun_path) || !*path) {
        return fail(err, "-vnc: '%s' cannot be the name of a unix socket", path);
    }
    strcpy(un.sun_path, path);
    unlink(path);
    if (!listen_on(s, (struct sockaddr *)&un, sizeof(un))) {
        return fail(err, "-vnc: cannot listen on '%s': %s", path, g_strerror(errno));
    }
    s->unix_path = g_strdup(path);
    s->address = g_strconcat("unix:", path, NULL);
    return true;
}

/* One port; a host may have several addresses. */
static bool listen_port(VncServer *s, const char *host, int family, unsigned port, bool *local,
                        GError **err)
{
    struct addrinfo hints = {
        .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    g_autofree char *text = g_strdup_printf("%u", port);
    int last = 0, rc = getaddrinfo(host, text, &hints, &list);

    if (rc) {
        return fail(err, "-vnc: cannot find the address of '%s': %s", host, gai_strerror(rc));
    }
    *local = true;
    for (struct addrinfo *a = list; a && s->n_fds < G_N_ELEMENTS(s->fds); a = a->ai_next) {
        if (listen_on(s, a->ai_addr, a->ai_addrlen)) {
            char name[NI_MAXHOST + NI_MAXSERV + 8];
            address_text(a->ai_addr, a->ai_addrlen, name, sizeof(name));
            *local &= g_str_has_prefix(name, "127.") || g_str_has_prefix(name, "[::1]");
            if (!s->address || a->ai_family == AF_INET) {
                g_free(s->address);
                s->address = g_strdup(name);
            }
        } else {
            last = errno;
            if (last == EADDRINUSE) {
                close_all(s);
                g_clear_pointer(&s->address, g_free);
                break;
            }
        }
    }
    freeaddrinfo(list);
    return s->n_fds || fail(err, "-vnc: cannot listen on port %u: %s", port, g_strerror(last));
}

static bool listen_tcp(VncServer *s, const char *where, Options *o, GError **err)
{
    const char *colon = strrchr(where, ':');
    uint64_t n = 0, to = 0;
    bool v4 = false, v6 = false, local = false;

    if (!colon || !parse_uint("-vnc: display number", colon + 1, 65535 - PORT_BASE, &n, err)) {
        return colon ? false
                     : fail(err,
                            "-vnc %s: expected [HOST]:DISPLAY, unix:PATH or none; display 1 is "
                            "port 5901",
                            where);
    }
    to = n;
    if (!options_get_uint(o, "to", 65535 - PORT_BASE, &to, err) ||
        !options_get_bool(o, "ipv4", &v4, err) || !options_get_bool(o, "ipv6", &v6, err)) {
        return false;
    }
    g_autofree char *host = g_strndup(where, colon - where);
    if (*host == '[' && g_str_has_suffix(host, "]")) {
        memmove(host, host + 1, strlen(host));
        host[strlen(host) - 1] = '\0';
    }
    int family = v4 == v6 ? AF_UNSPEC : v4 ? AF_INET : AF_INET6;
    for (;; n++) {
        g_autoptr(GError) e = NULL;
        if (listen_port(s, *host ? host : NULL, family, PORT_BASE + n, &local, &e)) {
            break;
        }
        if (n >= to) {
            g_propagate_error(err, g_steal_pointer(&e));
            return false;
        }
    }
    if (!local && !s->ask_password) {
        warn_report("VNC: everybody who reaches %s can use the machine; there is no password",
                    s->address);
    }
    return true;
}

static bool set_up(VncServer *s, Options *o, GError **err)
{
    const char *where = options_get(o, "vnc"), *share = options_get(o, "share");
    static const char *const shares[] = {"allow-exclusive", "force-shared", "ignore"};
    static const char *const missing[] = {
        "websocket", "tls-creds", "tls-authz",       "sasl",         "sasl-authz",
        "reverse",   "audiodev",  "password-secret", "key-delay-ms", "power-control"};

    for (unsigned i = 0; i < G_N_ELEMENTS(missing); i++) {
        if (options_has(o, missing[i])) {
            return fail(err, "-vnc: option '%s' is not in this version", missing[i]);
        }
    }
    for (s->share = 0; share && strcmp(share, shares[s->share]);) {
        if (++s->share == G_N_ELEMENTS(shares)) {
            return fail(err, "-vnc: share=%s is none of allow-exclusive, force-shared, ignore",
                        share);
        }
    }
    /* Every change is compared before it is sent; there is nothing to switch. */
    options_mark_used(o, "non-adaptive");
    options_mark_used(o, "id");
    options_mark_used(o, "to");
    options_mark_used(o, "ipv4");
    options_mark_used(o, "ipv6");
    if (!options_get_bool(o, "password", &s->ask_password, err) ||
        !options_get_bool(o, "lossy", &s->lossy, err) || !options_check_used(o, err)) {
        return false;
    }
#ifndef HAVE_NETTLE
    if (s->ask_password) {
        return fail(err, "-vnc: passwords need libnettle, which this program was built without");
    }
#endif
#ifndef HAVE_JPEG
    if (s->lossy) {
        return fail(err, "-vnc: lossy=on needs libjpeg, which this program was built without");
    }
#endif
    return g_str_has_prefix(where, "unix:") ? listen_unix(s, where + 5, err)
                                            : listen_tcp(s, where, o, err);
}

bool vnc_start(Machine *m, const char *spec, Keymap *keymap, GError **err)
{
    Options *o = options_parse("-vnc", spec, "vnc", err);
    bool ok = o != NULL;

    if (ok && !options_get(o, "vnc")) {
        ok = fail(err, "-vnc: expected [HOST]:DISPLAY, unix:PATH or none");
    } else if (ok && strcmp(options_get(o, "vnc"), "none")) {
        VncServer *s = vnc_server_new(m, keymap);
        ok = set_up(s, o, err);
        if (!ok) {
            vnc_server_free(s);
        }
    }
    options_free(o);
    return ok;
}

void vnc_cleanup(Machine *m)
{
    while (m->vnc) {
        vnc_server_free(m->vnc);
    }
}

/* ---- monitor ---- */

const char *vnc_address(Machine *m)
{
    VncServer *s = m->vnc;

    while (s && s->next) {
        s = s->next;
    }
    return s ? s->address : NULL;
}

bool vnc_set_password(Machine *m, const char *password, GError **err)
{
    bool any = false;

    for (VncServer *s = m->vnc; s; s = s->next) {
        if (s->ask_password) {
            any = true;
            g_free(s->password);
            s->password = g_strdup(password);
        }
    }
    return any || fail(err, "no VNC server asks for a password; start one with "
                            "-vnc DISPLAY,password=on");
}

char *vnc_info(Machine *m)
{
    GString *out = g_string_new(m->vnc ? NULL : "None\n");

    for (VncServer *s = m->vnc; s; s = s->next) {
        g_string_append_printf(out, "default:\n  Server: %s\n    Auth: %s\n", s->address,
                               s->ask_password ? "vnc" : "none");
        for (GList *l = s->clients; l; l = l->next) {
            VncClient *c = l->data;
            g_string_append_printf(out, "  Client: %s\n", c->peer);
        }
    }
    return g_string_free(out, FALSE);
}
