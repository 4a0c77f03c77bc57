/* Hubs: what comes in at one port goes out at all others (-netdev hubport, -net with vlan=). */
#include "core/log.h"
#include "net/net.h"
#include <string.h>

typedef struct HubPort {
    NetPort port;
    uint32_t hub;
} HubPort;

typedef struct HubFrame {
    HubPort *from;
    const uint8_t *buf;
    size_t len;
} HubFrame;

static bool hub_receive(NetPort *p, const uint8_t *buf, size_t len);

static const NetPortOps hub_ops = {.kind = "hubport", .receive = hub_receive};

static void send_on(NetPort *p, void *arg)
{
    HubFrame *f = arg;

    /* A port whose peer is a port of the same hub would send in circles. */
    if (p->ops == &hub_ops && p != &f->from->port && ((HubPort *)p)->hub == f->from->hub &&
        p->peer && p->peer->ops != &hub_ops) {
        net_send(p, f->buf, f->len);
    }
}

static bool hub_receive(NetPort *p, const uint8_t *buf, size_t len)
{
    HubFrame f = {(HubPort *)p, buf, len};

    net_foreach(p->m, send_on, &f);
    return true;
}

static NetPort *hub_create(Machine *m, Options *o, GError **err)
{
    uint64_t hub = UINT64_MAX;
    const char *netdev = options_get(o, "netdev");
    NetPort *other = netdev ? net_find(m, netdev) : NULL;

    if (!options_get_uint(o, "hubid", UINT32_MAX, &hub, err)) {
        return NULL;
    }
    if (hub == UINT64_MAX) {
        fail(err, "%s hubport: it needs hubid=NUMBER", options_what(o));
        return NULL;
    }
    if (netdev && (!other || !other->backend)) {
        fail(err, "%s hubport: there is no -netdev with id '%s'", options_what(o), netdev);
        return NULL;
    }
    if (other && (other->peer || other->ops == &hub_ops)) {
        fail(err, "%s hubport: netdev '%s' is %s", options_what(o), netdev,
             other->peer ? "in use" : "a hub's port itself");
        return NULL;
    }
    HubPort *h = g_new0(HubPort, 1);
    h->port.ops = &hub_ops;
    h->hub = (uint32_t)hub;
    h->port.info = g_strdup_printf("hubid=%u", h->hub);
    if (other) {
        h->port.peer = other;
        other->peer = &h->port;
    }
    return &h->port;
}

const NetBackendType net_hubport_type = {
    .name = "hubport", .create = hub_create, .help = "hubid=N[,netdev=ID]: a port of a hub"};

static void count_port(NetPort *p, void *arg)
{
    if (p->ops == &hub_ops) {
        (*(unsigned *)arg)++;
    }
}

NetPort *net_hub_port(Machine *m, uint32_t n, const char *netdev, GError **err)
{
    unsigned count = 0;
    char number[16];
    Options *o = options_new("-net");

    net_foreach(m, count_port, &count);
    g_autofree char *id = g_strdup_printf("hub%uport%u", n, count);
    g_snprintf(number, sizeof(number), "%u", n);
    options_set(o, "type", "hubport");
    options_set(o, "hubid", number);
    if (netdev) {
        options_set(o, "netdev", netdev);
    }
    NetPort *p = net_new(m, o, id, err);
    options_free(o);
    return p;
}
