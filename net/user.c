/*
 * User mode: a whole TCP/IP network in this process, by libslirp. No privileges, no host set-up.
 */
#include "config.h"
#include "core/log.h"
#include "net/net.h"
#include <string.h>

#ifdef HAVE_SLIRP
#include "net/user-rules.h"
#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>

typedef struct PollSource PollSource;

typedef struct UserNet {
    NetPort port;
    Slirp *slirp;
    PollSource *src;
    struct in_addr guest; /* of forwarding rules that name none: the first DHCP address */
    char **search;
    bool busy; /* inside libslirp's own work: it is not re-entrant */
} UserNet;

typedef struct PollFd {
    int fd;
    GIOCondition events, got;
    gpointer tag;
} PollFd;

struct PollSource {
    GSource src;
    UserNet *u;
    Machine *m;
    GArray *fds;      /* of PollFd, in the order in which libslirp named them last */
    unsigned n;       /* of them in use in this turn */
    int64_t deadline; /* monotonic µs of the next protocol timer, -1: none */
    int stale;        /* atomic: the set that the main loop waits for is old */
};

static bool enter(void)
{
    if (machine_lock_held()) {
        return false;
    }
    machine_lock();
    return true;
}

static void leave(bool entered)
{
    if (entered) {
        machine_unlock();
    }
}

/* ---- the main loop's side ---- */

static int add_poll(int fd, int events, void *opaque)
{
    PollSource *s = opaque;
    GIOCondition want =
        (events & SLIRP_POLL_IN ? G_IO_IN : 0) | (events & SLIRP_POLL_OUT ? G_IO_OUT : 0) |
        (events & SLIRP_POLL_PRI ? G_IO_PRI : 0) | (events & SLIRP_POLL_ERR ? G_IO_ERR : 0) |
        (events & SLIRP_POLL_HUP ? G_IO_HUP : 0);

    if (s->n == s->fds->len) {
        PollFd none = {.fd = -1};
        g_array_append_val(s->fds, none);
    }
    PollFd *p = &g_array_index(s->fds, PollFd, s->n);
    if (p->fd == fd && p->tag) {
        if (p->events != want) {
            g_source_modify_unix_fd(&s->src, p->tag, want);
        }
    } else {
        if (p->tag) {
            g_source_remove_unix_fd(&s->src, p->tag);
        }
        p->fd = fd;
        p->tag = g_source_add_unix_fd(&s->src, fd, want);
    }
    p->events = want;
    return (int)s->n++;
}

static void drop_fds(PollSource *s, unsigned from)
{
    for (unsigned i = from; i < s->fds->len; i++) {
        PollFd *p = &g_array_index(s->fds, PollFd, i);
        if (p->tag) {
            g_source_remove_unix_fd(&s->src, p->tag);
        }
    }
    g_array_set_size(s->fds, from);
}

static gboolean poll_prepare(GSource *src, gint *timeout)
{
    PollSource *s = (PollSource *)src;
    bool entered = enter();
    uint32_t ms = UINT32_MAX;

    g_atomic_int_set(&s->stale, 0);
    s->n = 0;
    /* A stopped guest has a stopped network, whose clock does not move. */
    if (s->u && s->m->state == RUN_RUNNING) {
        slirp_pollfds_fill(s->u->slirp, &ms, add_poll, s);
    }
    drop_fds(s, s->n);
    leave(entered);
    *timeout = ms == UINT32_MAX ? -1 : (gint)MIN(ms, 60000);
    s->deadline = *timeout < 0 ? -1 : g_get_monotonic_time() + *timeout * 1000;
    return FALSE;
}

static gboolean poll_check(GSource *src)
{
    PollSource *s = (PollSource *)src;
    bool any = s->deadline >= 0 && g_get_monotonic_time() >= s->deadline;

    for (unsigned i = 0; i < s->fds->len; i++) {
        PollFd *p = &g_array_index(s->fds, PollFd, i);
        p->got = g_source_query_unix_fd(src, p->tag);
        any |= p->got != 0;
    }
    return any;
}

static int get_revents(int i, void *opaque)
{
    PollSource *s = opaque;
    GIOCondition got =
        i >= 0 && (unsigned)i < s->fds->len ? g_array_index(s->fds, PollFd, i).got : 0;

    return (got & G_IO_IN ? SLIRP_POLL_IN : 0) | (got & G_IO_OUT ? SLIRP_POLL_OUT : 0) |
           (got & G_IO_PRI ? SLIRP_POLL_PRI : 0) | (got & G_IO_ERR ? SLIRP_POLL_ERR : 0) |
           (got & G_IO_HUP ? SLIRP_POLL_HUP : 0);
}

static gboolean poll_dispatch(GSource *src, GSourceFunc fn, gpointer arg)
{
    PollSource *s = (PollSource *)src;
    bool entered = enter();

    if (s->u) {
        s->u->busy = true;
        slirp_pollfds_poll(s->u->slirp, 0, get_revents, s);
        s->u->busy = false;
        net_flush(&s->u->port);
    }
    leave(entered);
    return G_SOURCE_CONTINUE;
}

static void poll_finalize(GSource *src)
{
    g_array_free(((PollSource *)src)->fds, true);
}

static PollSource *poll_source_new(UserNet *u)
{
    static const GSourceFuncs funcs = {poll_prepare,  poll_check, poll_dispatch,
                                       poll_finalize, NULL,       NULL};
    PollSource *s = (PollSource *)g_source_new((GSourceFuncs *)&funcs, sizeof(PollSource));

    s->u = u;
    s->m = u->port.m;
    s->fds = g_array_new(false, false, sizeof(PollFd));
    s->deadline = -1;
    g_source_attach(&s->src, NULL);
    return s;
}

/* The set of descriptors may have changed: have the main loop ask again. */
static void poll_again(UserNet *u)
{
    if (u->src && !g_atomic_int_get(&u->src->stale)) {
        g_atomic_int_set(&u->src->stale, 1);
        g_main_context_wakeup(NULL);
    }
}

/* ---- libslirp's side ---- */

static ssize_t cb_send(const void *buf, size_t len, void *opaque)
{
    UserNet *u = opaque;

    net_send(&u->port, buf, len);
    return (ssize_t)len;
}

static void cb_guest_error(const char *msg, void *opaque)
{
    guest_error("network '%s': %s", ((UserNet *)opaque)->port.name, msg);
}

static int64_t cb_clock(void *opaque)
{
    return clock_now(((UserNet *)opaque)->port.m->virtual_clock);
}

static void *cb_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    Timer *t = g_new0(Timer, 1);

    timer_init(t, ((UserNet *)opaque)->port.m->virtual_clock, cb, cb_opaque);
    return t;
}

static void cb_timer_free(void *timer, void *opaque)
{
    timer_del(timer);
    g_free(timer);
}

static void cb_timer_mod(void *timer, int64_t ms, void *opaque)
{
    timer_set(timer, ms * 1000000);
}

static void cb_poll_fd(int fd, void *opaque)
{
}

static void cb_notify(void *opaque)
{
    poll_again(opaque);
}

static const SlirpCb callbacks = {
    .send_packet = cb_send,
    .guest_error = cb_guest_error,
    .clock_get_ns = cb_clock,
    .timer_new = cb_timer_new,
    .timer_free = cb_timer_free,
    .timer_mod = cb_timer_mod,
    .register_poll_fd = cb_poll_fd,
    .unregister_poll_fd = cb_poll_fd,
    .notify = cb_notify,
};

/* ---- the port ---- */

static bool user_can_receive(NetPort *p)
{
    return !((UserNet *)p)->busy;
}

static bool user_receive(NetPort *p, const uint8_t *buf, size_t len)
{
    UserNet *u = (UserNet *)p;

    slirp_input(u->slirp, buf, (int)len);
    poll_again(u);
    return true;
}

static void user_fini(NetPort *p)
{
    UserNet *u = (UserNet *)p;

    if (u->src) {
        u->src->u = NULL;
        drop_fds(u->src, 0);
        g_source_destroy(&u->src->src);
        g_source_unref(&u->src->src);
        u->src = NULL;
    }
    if (u->slirp) {
        slirp_cleanup(u->slirp);
    }
    g_strfreev(u->search);
}

static const NetPortOps user_ops = {
    .kind = "user", .can_receive = user_can_receive, .receive = user_receive, .fini = user_fini};

/* ---- rules ---- */

static bool add_hostfwd(UserNet *u, const char *text, GError **err)
{
    NetForward f;

    if (!net_parse_hostfwd(text, false, &f, err)) {
        return false;
    }
    if (!f.guest.s_addr) {
        f.guest = u->guest;
    }
    if (slirp_add_hostfwd(u->slirp, f.udp, f.host, f.host_port, f.guest, f.guest_port) < 0) {
        return fail(err, "hostfwd=%s: the host's port %d cannot be opened: %s", text, f.host_port,
                    g_strerror(errno));
    }
    poll_again(u);
    return true;
}

static bool add_guestfwd(UserNet *u, const char *text, GError **err)
{
    NetGuestForward f;

    if (!net_parse_guestfwd(text, &f, err)) {
        return false;
    }
    bool ok = slirp_add_exec(u->slirp, f.command, &f.server, f.port) >= 0 ||
              fail(err, "guestfwd=%s: the address is not in the network or in use", text);
    g_free(f.command);
    return ok;
}

typedef struct RuleArg {
    UserNet *u;
    GError **err;
    bool ok;
    GPtrArray *search;
} RuleArg;

static void rule_item(const char *key, const char *value, void *arg)
{
    RuleArg *r = arg;

    if (r->ok && !strcmp(key, "hostfwd")) {
        r->ok = add_hostfwd(r->u, value, r->err);
    } else if (r->ok && !strcmp(key, "guestfwd")) {
        r->ok = add_guestfwd(r->u, value, r->err);
    }
}

static void search_item(const char *key, const char *value, void *arg)
{
    RuleArg *r = arg;

    if (!strcmp(key, "dnssearch")) {
        g_ptr_array_add(r->search, g_strdup(value));
    }
}

static bool check_names(Options *o, GError **err)
{
    const char *host = options_get(o, "hostname"), *tftp = options_get(o, "tftp");

    if (options_has(o, "smb") || options_has(o, "smbserver")) {
        return fail(err,
                    "%s user: smb= is not in this version; use tftp= or hostfwd=", options_what(o));
    }
    if (host && strlen(host) > 255) {
        return fail(err, "%s user: hostname is longer than 255 bytes", options_what(o));
    }
    if (tftp && !g_file_test(tftp, G_FILE_TEST_IS_DIR)) {
        return fail(err, "%s user: tftp=%s is no folder", options_what(o), tftp);
    }
    return true;
}

static NetPort *user_create(Machine *m, Options *o, GError **err)
{
    SlirpConfig c = {.version = 1};
    bool restrict_ = false;

    if (!net_parse_user_addresses(o, &c, err) ||
        !options_get_bool(o, "restrict", &restrict_, err) || !check_names(o, err)) {
        return NULL;
    }
    UserNet *u = g_new0(UserNet, 1);
    RuleArg r = {.u = u, .err = err, .ok = true, .search = g_ptr_array_new()};
    options_foreach(o, search_item, &r);
    g_ptr_array_add(r.search, NULL);
    u->search = (char **)g_ptr_array_free(r.search, false);
    u->port.m = m;
    u->port.ops = &user_ops;
    u->guest = c.vdhcp_start;
    c.restricted = restrict_;
    c.vhostname = options_get(o, "hostname");
    c.vdomainname = options_get(o, "domainname");
    c.tftp_path = options_get(o, "tftp");
    c.tftp_server_name = options_get(o, "tftp-server-name");
    c.bootfile = options_get(o, "bootfile");
    c.vdnssearch = u->search[0] ? (const char **)u->search : NULL;
    options_mark_used(o, "dnssearch");
    options_mark_used(o, "hostfwd");
    options_mark_used(o, "guestfwd");
    u->slirp = slirp_new(&c, &callbacks, u);
    if (!u->slirp) {
        fail(err, "%s user: libslirp refuses this network", options_what(o));
        r.ok = false;
    } else {
        options_foreach(o, rule_item, &r);
    }
    if (!r.ok) {
        user_fini(&u->port);
        g_free(u);
        return NULL;
    }
    char addr[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &c.vnetwork, addr, sizeof(addr));
    u->port.info = g_strdup_printf("net=%s,restrict=%s", addr, restrict_ ? "on" : "off");
    u->src = poll_source_new(u);
    return &u->port;
}

/* ---- monitor ---- */

typedef struct Find {
    const char *id;
    UserNet *found;
    GString *out;
} Find;

static void find_user(NetPort *p, void *arg)
{
    Find *f = arg;

    if (p->ops == &user_ops && !f->found && (!f->id || !strcmp(f->id, p->name))) {
        f->found = (UserNet *)p;
    }
}

static UserNet *need_user(Machine *m, const char *id, GError **err)
{
    Find f = {id, NULL, NULL};

    net_foreach(m, find_user, &f);
    if (!f.found) {
        fail(err, id ? "'%s' is no user mode network" : "there is no user mode network%s",
             id ? id : "");
    }
    return f.found;
}

bool net_user_hostfwd_add(Machine *m, const char *id, const char *rule, GError **err)
{
    UserNet *u = need_user(m, id, err);

    return u && add_hostfwd(u, rule, err);
}

bool net_user_hostfwd_remove(Machine *m, const char *id, const char *rule, GError **err)
{
    UserNet *u = need_user(m, id, err);
    NetForward f;

    if (!u || !net_parse_hostfwd(rule, true, &f, err)) {
        return false;
    }
    if (slirp_remove_hostfwd(u->slirp, f.udp, f.host, f.host_port) < 0) {
        return fail(err, "host forwarding rule for %s not found", rule);
    }
    poll_again(u);
    return true;
}

static void show_user(NetPort *p, void *arg)
{
    Find *f = arg;

    if (p->ops == &user_ops) {
        g_autofree char *text = slirp_connection_info(((UserNet *)p)->slirp);
        g_string_append_printf(f->out, "Hub -1 (%s):\n%s\n", p->name, text);
    }
}

char *net_user_info(Machine *m)
{
    Find f = {NULL, NULL, g_string_new(NULL)};

    net_foreach(m, show_user, &f);
    return g_string_free(f.out, false);
}

#else

static NetPort *user_create(Machine *m, Options *o, GError **err)
{
    fail(err, "%s user: this program was built without libslirp (package libslirp-dev)",
         options_what(o));
    return NULL;
}

bool net_user_hostfwd_add(Machine *m, const char *id, const char *rule, GError **err)
{
    return fail(err, "this program was built without user mode networks");
}

bool net_user_hostfwd_remove(Machine *m, const char *id, const char *rule, GError **err)
{
    return fail(err, "this program was built without user mode networks");
}

char *net_user_info(Machine *m)
{
    return g_strdup("");
}

#endif

const NetBackendType net_user_type = {
    .name = "user",
    .create = user_create,
    .help = "[net=,host=,dhcpstart=,dns=,restrict=,hostfwd=,tftp=,…]: a network in this process"};
