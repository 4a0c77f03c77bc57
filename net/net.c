/* Network ports: see net.h. */
#include "net/net.h"
#include "core/log.h"
#include <string.h>

typedef struct NetList {
    GPtrArray *ports; /* of NetPort*, in order of creation */
    unsigned next_mac, next_auto;
} NetList;

static const NetBackendType *const backend_types[] = {
    &net_user_type,
    &net_tap_type,
    &net_hubport_type,
    NULL,
};

/* ---- frames ---- */

static bool deliverable(const NetPort *p)
{
    return !p->receiving && (!p->ops->can_receive || p->ops->can_receive((NetPort *)p));
}

static bool deliver(NetPort *p, const uint8_t *buf, size_t len)
{
    p->receiving = true;
    bool taken = p->ops->receive(p, buf, len);
    p->receiving = false;
    return taken;
}

bool net_send(NetPort *from, const uint8_t *buf, size_t len)
{
    NetPort *to = from->peer;

    if (!to || !len || len > NET_MAX_FRAME || !net_link_up(from)) {
        return true;
    }
    if (g_queue_is_empty(&to->waiting) && deliverable(to) && deliver(to, buf, len)) {
        /* Frames that came in answer, while it was busy, wait. */
        if (!g_queue_is_empty(&to->waiting)) {
            net_flush(to);
        }
        return true;
    }
    if (to->waiting.length >= NET_QUEUE_FRAMES) {
        to->dropped++;
    } else {
        g_queue_push_tail(&to->waiting, g_bytes_new(buf, len));
        if (!to->receiving && deliverable(to)) {
            net_flush(to);
        }
    }
    to->sender_stopped = !g_queue_is_empty(&to->waiting);
    return !to->sender_stopped;
}

static bool takes(const NetPort *p, const NetTodo *t)
{
    unsigned need =
        (t->flags ? NET_OFFLOAD_CSUM : 0) | (t->gso_type & NET_GSO_ECN ? NET_OFFLOAD_ECN : 0);

    switch (t->gso_type & ~NET_GSO_ECN) {
    case NET_GSO_NONE:
        break;
    case NET_GSO_TCP4:
        need |= NET_OFFLOAD_TSO4;
        break;
    case NET_GSO_TCP6:
        need |= NET_OFFLOAD_TSO6;
        break;
    default:
        return false;
    }
    return p->ops->receive_todo && !(need & ~p->offloads);
}

typedef struct Emit {
    NetPort *from;
    bool go_on;
} Emit;

static void emit(void *opaque, const uint8_t *buf, size_t len)
{
    Emit *e = opaque;

    e->go_on = net_send(e->from, buf, len);
}

bool net_send_todo(NetPort *from, const NetTodo *todo, uint8_t *buf, size_t len)
{
    NetPort *to = from->peer;
    Emit e = {from, true};

    if (!todo->flags && !todo->gso_type) {
        return net_send(from, buf, len);
    }
    if (!to || !len || len > NET_MAX_FRAME || !net_link_up(from)) {
        return true;
    }
    if (takes(to, todo) && g_queue_is_empty(&to->waiting) && deliverable(to)) {
        to->receiving = true;
        bool taken = to->ops->receive_todo(to, todo, buf, len);
        to->receiving = false;
        if (taken) {
            if (!g_queue_is_empty(&to->waiting)) {
                net_flush(to);
            }
            return true;
        }
    }
    /* Frames wait finished: the one queue is of bytes only. */
    if (!net_finish(todo, buf, len, emit, &e)) {
        guest_error("%s: a frame of %zu bytes contradicts its header: checksum from %u at +%u, "
                    "segments of kind %u",
                    from->name, len, todo->csum_start, todo->csum_off, todo->gso_type);
    }
    return e.go_on;
}

void net_flush(NetPort *p)
{
    /* What arrives meanwhile is taken as well, but not without end. */
    for (unsigned n = 0; n < 2 * NET_QUEUE_FRAMES && !g_queue_is_empty(&p->waiting); n++) {
        if (!deliverable(p)) {
            return;
        }
        GBytes *b = g_queue_pop_head(&p->waiting);
        gsize len;
        const uint8_t *data = g_bytes_get_data(b, &len);
        if (!deliver(p, data, len)) {
            g_queue_push_head(&p->waiting, b);
            return;
        }
        g_bytes_unref(b);
    }
    if (p->sender_stopped && g_queue_is_empty(&p->waiting)) {
        p->sender_stopped = false;
        if (p->peer && p->peer->ops->peer_ready) {
            p->peer->ops->peer_ready(p->peer);
        }
    }
}

void net_purge(NetPort *p)
{
    GBytes *b;

    while ((b = g_queue_pop_head(&p->waiting))) {
        g_bytes_unref(b);
    }
    if (p->sender_stopped) {
        p->sender_stopped = false;
        if (p->peer && p->peer->ops->peer_ready) {
            p->peer->ops->peer_ready(p->peer);
        }
    }
}

bool net_link_up(const NetPort *p)
{
    return p->peer && !p->link_down && !p->peer->link_down;
}

static void link_changed(NetPort *p)
{
    if (p && p->ops->link_changed) {
        p->ops->link_changed(p);
    }
}

void net_set_link(NetPort *p, bool up)
{
    if (p->link_down == up) {
        p->link_down = !up;
        if (!up) {
            net_purge(p);
        }
        link_changed(p);
        link_changed(p->peer);
    }
}

bool net_set_link_by_name(Machine *m, const char *name, bool up, GError **err)
{
    NetPort *p = net_find(m, name);

    if (!p) {
        return fail(err, "there is no network device or back end '%s'", name);
    }
    net_set_link(p, up);
    return true;
}

/* ---- the list ---- */

static NetList *net_list(Machine *m)
{
    if (!m->nets) {
        m->nets = g_new0(NetList, 1);
        m->nets->ports = g_ptr_array_new();
    }
    return m->nets;
}

static void list_remove(NetPort *p)
{
    NetList *l = p->m->nets;

    if (l && g_ptr_array_remove(l->ports, p) && !l->ports->len) {
        g_ptr_array_free(l->ports, true);
        g_free(l);
        p->m->nets = NULL;
    }
}

NetPort *net_find(Machine *m, const char *name)
{
    for (guint i = 0; m->nets && i < m->nets->ports->len; i++) {
        NetPort *p = m->nets->ports->pdata[i];
        if (!strcmp(p->name, name)) {
            return p;
        }
    }
    return NULL;
}

void net_foreach(Machine *m, void (*fn)(NetPort *p, void *arg), void *arg)
{
    for (guint i = 0; m->nets && i < m->nets->ports->len; i++) {
        fn(m->nets->ports->pdata[i], arg);
    }
}

static char *free_name(Machine *m, const char *format_prefix, unsigned width)
{
    for (unsigned n = 0;; n++) {
        char *name = g_strdup_printf("%s%0*u", format_prefix, width, n);
        if (!net_find(m, name)) {
            return name;
        }
        g_free(name);
    }
}

char *net_auto_name(Machine *m)
{
    return free_name(m, "#net", 3);
}

/* ---- cards ---- */

static void set_peers(NetPort *a, NetPort *b)
{
    a->peer = b;
    b->peer = a;
}

static void unpeer(NetPort *p)
{
    NetPort *other = p->peer;

    net_purge(p);
    if (other) {
        net_purge(other);
        other->peer = NULL;
        p->peer = NULL;
        link_changed(other);
    }
}

bool net_nic_init(NetPort *p, Device *dev, const NetPortOps *ops, const char *netdev,
                  uint8_t mac[6], GError **err)
{
    static const uint8_t none[6];
    Machine *m = dev->machine;
    NetPort *back = netdev && *netdev ? net_find(m, netdev) : NULL;

    if (netdev && *netdev && (!back || !back->backend)) {
        return fail(err, "-device %s: there is no -netdev with id '%s'", dev->type->name, netdev);
    }
    if (back && back->peer) {
        return fail(err, "-device %s: netdev '%s' is in use by '%s'", dev->type->name, netdev,
                    back->peer->name);
    }
    NetList *l = net_list(m);
    if (!memcmp(mac, none, 6)) {
        const uint8_t base[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
        memcpy(mac, base, 6);
        mac[5] += l->next_mac++;
    }
    g_autofree char *prefix = g_strdup_printf("%s.", dev->type->name);
    memset(p, 0, sizeof(*p));
    p->ops = ops;
    p->m = m;
    p->name = dev->id && *dev->id ? g_strdup(dev->id) : free_name(m, prefix, 1);
    p->info = g_strdup_printf("model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x", dev->type->name,
                              mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    g_queue_init(&p->waiting);
    if (back) {
        set_peers(p, back);
        link_changed(back);
    }
    g_ptr_array_add(l->ports, p);
    return true;
}

void net_nic_fini(NetPort *p)
{
    if (p->ops) {
        unpeer(p);
        list_remove(p);
        g_free(p->name);
        g_free(p->info);
        memset(p, 0, sizeof(*p));
    }
}

/* ---- back ends ---- */

static const NetBackendType *find_type(const char *name)
{
    for (const NetBackendType *const *t = backend_types; *t; t++) {
        if (!strcmp((*t)->name, name)) {
            return *t;
        }
    }
    return NULL;
}

char *net_types(void)
{
    GString *s = g_string_new("Network back ends:\n");

    for (const NetBackendType *const *t = backend_types; *t; t++) {
        g_string_append_printf(s, "%-10s %s\n", (*t)->name, (*t)->help);
    }
    return g_string_free(s, false);
}

static void free_backend(NetPort *p)
{
    unpeer(p);
    if (p->ops->fini) {
        p->ops->fini(p);
    }
    list_remove(p);
    g_free(p->name);
    g_free(p->info);
    g_free(p);
}

NetPort *net_new(Machine *m, Options *o, const char *implied_id, GError **err)
{
    const char *type_name = options_get(o, "type"), *what = options_what(o);
    const char *id = options_get(o, "id");
    const NetBackendType *type = type_name ? find_type(type_name) : NULL;

    id = id ? id : implied_id;
    if (!type_name) {
        fail(err, "%s: the type must come first (user, tap, hubport)", what);
        return NULL;
    }
    if (!type) {
        fail(err, "%s: there is no network back end '%s'; use user, tap or hubport", what,
             type_name);
        return NULL;
    }
    if (!id || !*id) {
        fail(err, "%s %s: it needs an id (id=NAME)", what, type_name);
        return NULL;
    }
    if (net_find(m, id)) {
        fail(err, "%s %s: the id '%s' is in use", what, type_name, id);
        return NULL;
    }
    g_autofree char *name = g_strdup(id);
    NetPort *p = type->create(m, o, err);
    if (!p) {
        return NULL;
    }
    p->m = m;
    p->backend = true;
    p->name = g_steal_pointer(&name);
    g_queue_init(&p->waiting);
    g_ptr_array_add(net_list(m)->ports, p);
    if (!options_check_used(o, err)) {
        free_backend(p);
        return NULL;
    }
    return p;
}

NetPort *net_new_from_opts(Machine *m, const char *what, const char *text, const char *implied_id,
                           GError **err)
{
    Options *o = options_parse(what, text, "type", err);
    NetPort *p = o ? net_new(m, o, implied_id, err) : NULL;

    options_free(o);
    return p;
}

bool net_del(Machine *m, const char *id, GError **err)
{
    NetPort *p = net_find(m, id);

    if (!p || !p->backend) {
        return fail(err, "there is no -netdev with id '%s'", id);
    }
    free_backend(p);
    return true;
}

void net_cleanup(Machine *m)
{
    for (guint i = m->nets ? m->nets->ports->len : 0; m->nets && i-- > 0;) {
        NetPort *p = m->nets->ports->pdata[i];
        if (p->backend) {
            free_backend(p);
        }
    }
}

/* ---- info ---- */

static void append_port(GString *s, const NetPort *p, const char *lead)
{
    g_string_append_printf(s, "%s%s: index=0,type=%s%s%s%s\n", lead, p->name, p->ops->kind,
                           p->info && *p->info ? "," : "", p->info ? p->info : "",
                           p->link_down ? ",link=down" : "");
}

char *net_info(Machine *m)
{
    GString *s = g_string_new(NULL);

    for (guint i = 0; m->nets && i < m->nets->ports->len; i++) {
        NetPort *p = m->nets->ports->pdata[i];
        if (!p->backend) {
            append_port(s, p, "");
            if (p->peer) {
                append_port(s, p->peer, " \\ ");
            }
        }
    }
    for (guint i = 0; m->nets && i < m->nets->ports->len; i++) {
        NetPort *p = m->nets->ports->pdata[i];
        if (p->backend && (!p->peer || p->peer->backend)) {
            append_port(s, p, "");
        }
    }
    return g_string_free(s, false);
}

/* ---- descriptors ---- */

struct NetFd {
    GSource src;
    Machine *m;
    gpointer tag;
    void (*readable)(void *opaque);
    void *opaque;
    int paused; /* atomic: also set by vCPU threads */
};

static gboolean netfd_prepare(GSource *src, gint *timeout)
{
    NetFd *w = (NetFd *)src;
    bool want = !g_atomic_int_get(&w->paused) && w->m->state == RUN_RUNNING;

    g_source_modify_unix_fd(src, w->tag, want ? G_IO_IN : 0);
    *timeout = -1;
    return FALSE;
}

static gboolean netfd_check(GSource *src)
{
    NetFd *w = (NetFd *)src;

    return !g_atomic_int_get(&w->paused) && w->m->state == RUN_RUNNING &&
           (g_source_query_unix_fd(src, w->tag) & (G_IO_IN | G_IO_HUP | G_IO_ERR));
}

static gboolean netfd_dispatch(GSource *src, GSourceFunc fn, gpointer arg)
{
    NetFd *w = (NetFd *)src;
    bool take = !machine_lock_held();

    if (take) {
        machine_lock();
    }
    if (!g_source_is_destroyed(src)) {
        w->readable(w->opaque);
    }
    if (take) {
        machine_unlock();
    }
    return G_SOURCE_CONTINUE;
}

NetFd *net_fd_watch(Machine *m, int fd, void (*readable)(void *opaque), void *opaque)
{
    static const GSourceFuncs funcs = {netfd_prepare, netfd_check, netfd_dispatch,
                                       NULL,          NULL,        NULL};
    NetFd *w = (NetFd *)g_source_new((GSourceFuncs *)&funcs, sizeof(NetFd));

    w->m = m;
    w->readable = readable;
    w->opaque = opaque;
    w->tag = g_source_add_unix_fd(&w->src, fd, G_IO_IN);
    g_source_attach(&w->src, NULL);
    return w;
}

void net_fd_pause(NetFd *w, bool paused)
{
    if (w && g_atomic_int_get(&w->paused) != paused) {
        g_atomic_int_set(&w->paused, paused);
        if (!paused) {
            g_main_context_wakeup(NULL);
        }
    }
}

void net_fd_unwatch(NetFd *w)
{
    if (w) {
        g_source_destroy(&w->src);
        g_source_unref(&w->src);
    }
}

/* ---- arithmetic ---- */

uint32_t net_sum(const uint8_t *p, size_t len, uint32_t start)
{
    uint64_t sum = 0;

    for (; len >= 4; p += 4, len -= 4) {
        uint32_t v;
        memcpy(&v, p, 4);
        sum += GUINT32_FROM_BE(v);
    }
    if (len >= 2) {
        sum += p[0] << 8 | p[1];
        p += 2;
        len -= 2;
    }
    if (len) {
        sum += p[0] << 8;
    }
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    return net_fold((uint32_t)sum) + net_fold(start);
}

uint32_t net_mac_crc(const uint8_t mac[6])
{
    uint32_t crc = 0xffffffff;

    for (unsigned i = 0; i < 6; i++) {
        uint8_t b = mac[i];
        for (unsigned bit = 0; bit < 8; bit++, b >>= 1) {
            bool out = (crc >> 31) ^ (b & 1);
            crc = crc << 1 ^ (out ? 0x04c11db7 : 0);
        }
    }
    return crc;
}
