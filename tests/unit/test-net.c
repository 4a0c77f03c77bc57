/* Ports, queues with flow control, hubs, links, and the options of back ends. */
#include "core/machine.h"
#include "net/net.h"
#include <string.h>

typedef struct Peer {
    Device dev;
    NetPort port;
    bool ready;
    unsigned frames, links, woken;
    size_t last;
    uint8_t mac[6];
} Peer;

static Peer *peer_of(NetPort *p)
{
    return (Peer *)((char *)p - offsetof(Peer, port));
}

static bool can_receive(NetPort *p)
{
    return peer_of(p)->ready;
}

static bool receive(NetPort *p, const uint8_t *buf, size_t len)
{
    peer_of(p)->frames++;
    peer_of(p)->last = len;
    return true;
}

static void link_changed(NetPort *p)
{
    peer_of(p)->links++;
}

static void ready(NetPort *p)
{
    peer_of(p)->woken++;
}

static const NetPortOps ops = {.kind = "nic",
                               .can_receive = can_receive,
                               .receive = receive,
                               .link_changed = link_changed,
                               .peer_ready = ready};
static const DeviceType type = {.name = "card"};

static void open_peer(Machine *m, Peer *p, const char *netdev)
{
    GError *err = NULL;

    memset(p, 0, sizeof(*p));
    p->dev.type = &type;
    p->dev.machine = m;
    p->ready = true;
    net_nic_init(&p->port, &p->dev, &ops, netdev, p->mac, &err);
    g_assert_no_error(err);
}

static Machine *open_machine(void)
{
    machine_lock();
    return machine_new(NULL, NULL);
}

static void close_machine(Machine *m)
{
    net_cleanup(m);
    machine_free(m);
    if (machine_lock_held()) {
        machine_unlock();
    }
}

static const uint8_t frame[64];

/* Three cards on hub 3: a frame of one reaches the two others only. */
static void test_hub(void)
{
    Machine *m = open_machine();
    Peer p[3];

    for (unsigned i = 0; i < 3; i++) {
        open_peer(m, &p[i], net_hub_port(m, 3, NULL, NULL)->name);
        g_assert_cmpuint(p[i].mac[5], ==, 0x56 + i);
    }
    g_assert_true(net_send(&p[0].port, frame, sizeof(frame)));
    g_assert_cmpuint(p[0].frames, ==, 0);
    g_assert_cmpuint(p[1].frames, ==, 1);
    g_assert_cmpuint(p[2].frames, ==, 1);
    g_autofree char *info = net_info(m);
    g_assert_nonnull(strstr(info, "card.0: index=0,type=nic,model=card,macaddr=52:54:00:12:34:56"));
    g_assert_nonnull(strstr(info, "hub3port0: index=0,type=hubport"));
    for (unsigned i = 0; i < 3; i++) {
        net_nic_fini(&p[i].port);
    }
    close_machine(m);
}

/* Frames wait in order while the card cannot take them, up to a limit; the sender is told. */
static void test_queue(void)
{
    Machine *m = open_machine();
    Peer a, b;

    open_peer(m, &a, NULL);
    open_peer(m, &b, NULL);
    a.port.peer = &b.port;
    b.port.peer = &a.port;
    b.ready = false;
    for (unsigned i = 0; i < NET_QUEUE_FRAMES + 10; i++) {
        g_assert_false(net_send(&a.port, frame, 14 + i % 40));
    }
    g_assert_cmpuint(b.frames, ==, 0);
    g_assert_cmpuint(b.port.dropped, ==, 10);
    net_flush(&b.port);
    g_assert_cmpuint(b.frames, ==, 0);
    b.ready = true;
    net_flush(&b.port);
    g_assert_cmpuint(b.frames, ==, NET_QUEUE_FRAMES);
    g_assert_cmpuint(b.last, ==, 14 + (NET_QUEUE_FRAMES - 1) % 40);
    g_assert_cmpuint(a.woken, ==, 1);
    uint8_t *big = g_malloc0(NET_MAX_FRAME + 1);
    net_send(&a.port, big, NET_MAX_FRAME + 1);
    net_send(&a.port, big, 0);
    g_assert_cmpuint(b.frames, ==, NET_QUEUE_FRAMES);
    g_free(big);

    net_set_link(&b.port, false);
    g_assert_cmpuint(a.links, ==, 1);
    net_send(&a.port, frame, 64);
    g_assert_cmpuint(b.frames, ==, NET_QUEUE_FRAMES);
    g_assert_true(net_set_link_by_name(m, b.port.name, true, NULL));
    net_send(&a.port, frame, 64);
    g_assert_cmpuint(b.frames, ==, NET_QUEUE_FRAMES + 1);
    net_nic_fini(&a.port);
    net_nic_fini(&b.port);
    close_machine(m);
}

static void refused(Machine *m, const char *text, const char *word)
{
    GError *err = NULL;

    g_assert_null(net_new_from_opts(m, "-netdev", text, NULL, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, word)) {
        g_error("'%s' gave '%s', which does not name '%s'", text, err->message, word);
    }
    g_clear_error(&err);
}

static void test_options(void)
{
    Machine *m = open_machine();

    refused(m, "bogus,id=x", "bogus");
    refused(m, "user", "id");
    refused(m, "hubport,id=x", "hubid");
    refused(m, "tap,id=x,br=br0", "br=");
    refused(m, "tap,id=x,fd=999", "fd=999");
    refused(m, "tap,id=x,ifname=a-name-that-is-far-too-long", "ifname");
    refused(m, "user,id=x,nonsense=1", "nonsense");
    refused(m, "user,id=x,net=10.0.2.300/24", "10.0.2.300");
    refused(m, "user,id=x,net=10.0.2.0/33", "prefix");
    refused(m, "user,id=x,dhcpstart=10.0.3.1", "dhcpstart");
    refused(m, "user,id=x,hostfwd=tcp:1234", "hostfwd=tcp:1234");
    refused(m, "user,id=x,hostfwd=sctp::1-:2", "tcp: or udp:");
    refused(m, "user,id=x,hostfwd=tcp::70000-:22", "70000");
    refused(m, "user,id=x,tftp=/does/not/exist", "tftp");
    refused(m, "user,id=x,ipv4=off,ipv6=off", "off");
    refused(m, "user,id=x,smb=/tmp", "smb");
    g_assert_null(m->nets);
    GError *err = NULL;
    net_new_from_opts(m, "-netdev",
                      "user,id=u,net=192.168.9.0/24,restrict=on,dnssearch=a.b,dnssearch=c.d", NULL,
                      &err);
    g_assert_no_error(err);
    refused(m, "user,id=u", "'u' is in use");
    g_autofree char *info = net_info(m);
    g_assert_cmpstr(info, ==, "u: index=0,type=user,net=192.168.9.0,restrict=on\n");
    g_assert_false(net_user_hostfwd_remove(m, NULL, "tcp::5", NULL));
    g_assert_true(net_user_hostfwd_add(m, "u", "udp:127.0.0.1:0-:53", NULL));
    g_assert_true(net_del(m, "u", NULL));
    g_assert_null(m->nets);
    close_machine(m);
}

/* RFC 1071's example; and a CRC whose upper bits are a known hash: 01-00-5e-00-00-01. */
static void test_sums(void)
{
    static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    static const uint8_t all_hosts[6] = {1, 0, 0x5e, 0, 0, 1};

    g_assert_cmphex(net_fold(net_sum(bytes, 8, 0)), ==, 0xddf2);
    g_assert_cmphex(net_fold(net_sum(bytes + 4, 4, net_sum(bytes, 4, 0))), ==, 0xddf2);
    g_assert_cmphex(net_fold(net_sum(bytes, 7, 0)), ==, 0xdcfb);
    g_assert_cmpuint(net_mac_crc(all_hosts) >> 26, ==, 31);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/net/hub", test_hub);
    g_test_add_func("/net/queue", test_queue);
    g_test_add_func("/net/options", test_options);
    g_test_add_func("/net/sums", test_sums);
    return g_test_run();
}
