/*
 * virtio network device: VIRTIO 1.2, section 5.1, and its legacy parts: features, configuration,
 * queues. Packets are in virtio_net_io.c, the control queue in virtio_net_ctrl.c.
 *
 * Checksums and segmentation are done by net/offload.c where the back end does not take unfinished
 * frames; frames that are to be finished by the guest come from back ends that say so.
 */
#include "hw/net/virtio_net.h"
#include "core/log.h"
#include "hw/firmware/rom.h"
#include "hw/virtio/virtio_types.h"
#include <string.h>

enum { CFG_MAC = 0, CFG_STATUS = 6, CFG_PAIRS = 8, CFG_MTU = 10, CFG_SIZE = 12 };
enum { STATUS_LINK_UP = 1, STATUS_ANNOUNCE = 2 };

/* ---- configuration space ---- */

static void get_config(VirtioDevice *v, uint8_t *c)
{
    VirtioNet *s = (VirtioNet *)v;

    memcpy(c + CFG_MAC, s->cur_mac, 6);
    virtio_put16(c + CFG_STATUS, (net_link_up(&s->port) ? STATUS_LINK_UP : 0) |
                                     (s->announce ? STATUS_ANNOUNCE : 0));
    virtio_put16(c + CFG_PAIRS, s->queues);
    virtio_put16(c + CFG_MTU, s->mtu);
}

/* Legacy drivers write the address here (5.1.4.2). */
static void set_config(VirtioDevice *v, const uint8_t *c, unsigned off, unsigned len)
{
    VirtioNet *s = (VirtioNet *)v;

    if (off < 6 && !virtio_has(v, VIRTIO_F_VERSION_1) && !vnet_has(s, VNET_F_CTRL_MAC_ADDR)) {
        memcpy(s->cur_mac, c + CFG_MAC, 6);
    }
}

/* ---- queues ---- */

static void handle(VirtioDevice *v, VirtQueue *q)
{
    VirtioNet *s = (VirtioNet *)v;
    unsigned ctrl = vnet_has(s, VNET_F_MQ) ? 2u * s->queues : 2;

    if (q->index == ctrl && vnet_has(s, VNET_F_CTRL_VQ)) {
        vnet_handle_ctrl(v, q);
    } else if (q->index & 1) {
        vnet_handle_tx(v, q);
    } else {
        vnet_handle_rx(v, q);
    }
}

static uint32_t agreed_offloads(const VirtioNet *s)
{
    return (vnet_has(s, VNET_F_GUEST_CSUM) ? NET_OFFLOAD_CSUM : 0) |
           (vnet_has(s, VNET_F_GUEST_TSO4) ? NET_OFFLOAD_TSO4 : 0) |
           (vnet_has(s, VNET_F_GUEST_TSO6) ? NET_OFFLOAD_TSO6 : 0) |
           (vnet_has(s, VNET_F_GUEST_ECN) ? NET_OFFLOAD_ECN : 0);
}

static void net_start(VirtioDevice *v)
{
    VirtioNet *s = (VirtioNet *)v;

    vnet_set_offloads(s, agreed_offloads(s));
}

static void link_changed(NetPort *p)
{
    VirtioNet *s = vnet_of(p);

    if (s->v.view) {
        vnet_set_offloads(s, s->offloads); /* there may be another peer */
        virtio_config_changed(&s->v);
    }
}

static void net_reset(VirtioDevice *v)
{
    VirtioNet *s = (VirtioNet *)v;

    memcpy(s->cur_mac, s->mac, 6);
    s->pairs = 1;
    s->announce = s->blocked = false;
    timer_del(&s->announce_timer);
    vnet_filter_reset(s);
    memset(s->flow, 0, sizeof(s->flow));
    vnet_set_offloads(s, 0);
    net_purge(&s->port);
}

/* ---- life ---- */

static const NetPortOps port_ops = {
    .kind = "nic",
    .can_receive = vnet_can_receive,
    .receive = vnet_receive,
    .receive_todo = vnet_receive_todo,
    .peer_ready = vnet_peer_ready,
    .link_changed = link_changed,
};

/* After a migration switches learn the new place from what the guest sends. */
static void announce(void *opaque)
{
    VirtioNet *s = opaque;

    if (vnet_has(s, VNET_F_GUEST_ANNOUNCE) && (s->v.status & VIRTIO_DRIVER_OK)) {
        s->announce = true;
        virtio_config_changed(&s->v);
    }
}

static bool check_properties(VirtioNet *s, GError **err)
{
    const char *name = s->v.dev->type->name;

    if (s->queues == 0) {
        s->queues = (uint16_t)CLAMP(s->v.dev->machine->cfg.smp, 1, VIRTIO_NET_MAX_PAIRS);
    }
    if (!s->mq) {
        s->queues = 1;
    }
    if (s->queues > VIRTIO_NET_MAX_PAIRS) {
        return fail(err, "%s: queues must be 1 to %u, not %u", name, VIRTIO_NET_MAX_PAIRS,
                    s->queues);
    }
    if (s->rx_size < 64 || s->rx_size > VIRTQ_MAX_SIZE || (s->rx_size & (s->rx_size - 1)) ||
        s->tx_size < 64 || s->tx_size > VIRTQ_MAX_SIZE || (s->tx_size & (s->tx_size - 1))) {
        return fail(err, "%s: queue sizes must be powers of two from 64 to %u", name,
                    VIRTQ_MAX_SIZE);
    }
    if (s->mtu && s->mtu < 68) {
        return fail(err, "%s: host_mtu must be at least 68, not %u", name, s->mtu);
    }
    return true;
}

static uint64_t offered(const VirtioNet *s)
{
    const uint64_t of_ctrl = VIRTIO_BIT(VNET_F_CTRL_RX) | VIRTIO_BIT(VNET_F_CTRL_VLAN) |
                             VIRTIO_BIT(VNET_F_CTRL_RX_EXTRA) | VIRTIO_BIT(VNET_F_CTRL_MAC_ADDR) |
                             VIRTIO_BIT(VNET_F_GUEST_ANNOUNCE) | VIRTIO_BIT(VNET_F_MQ) |
                             VIRTIO_BIT(VNET_F_CTRL_GUEST_OFFLOADS);
    const uint64_t of_csum = VIRTIO_BIT(VNET_F_HOST_TSO4) | VIRTIO_BIT(VNET_F_HOST_TSO6) |
                             VIRTIO_BIT(VNET_F_HOST_ECN) | VIRTIO_BIT(VNET_F_GSO);
    const uint64_t of_guest_csum = VIRTIO_BIT(VNET_F_GUEST_TSO4) | VIRTIO_BIT(VNET_F_GUEST_TSO6) |
                                   VIRTIO_BIT(VNET_F_GUEST_ECN);
    const NetPort *peer = s->port.peer;
    uint64_t f = VIRTIO_BIT(VNET_F_MAC);

    for (unsigned i = 0; i < G_N_ELEMENTS(s->feature); i++) {
        f |= s->feature[i] ? VIRTIO_BIT(i) : 0;
    }
    f |= s->mq ? VIRTIO_BIT(VNET_F_MQ) : 0;
    f |= s->mtu ? VIRTIO_BIT(VNET_F_MTU) : 0;
    /* Drivers keep large buffers for frames that such back ends never send. */
    if (peer && !peer->ops->peer_offloads) {
        f &= ~of_guest_csum;
    }
    f &= f & VIRTIO_BIT(VNET_F_CTRL_VQ) ? UINT64_MAX : ~of_ctrl;
    f &= f & VIRTIO_BIT(VNET_F_CSUM) ? UINT64_MAX : ~of_csum;
    f &= f & VIRTIO_BIT(VNET_F_GUEST_CSUM) ? UINT64_MAX : ~of_guest_csum;
    return f;
}

static bool net_realize(VirtioDevice *v, GError **err)
{
    VirtioNet *s = (VirtioNet *)v;

    if (!check_properties(s, err) ||
        !virtio_add_boot_path(v, s->bootindex, "ethernet", "/ethernet-phy@0", err) ||
        !net_nic_init(&s->port, v->dev, &port_ops, s->netdev, s->mac, err)) {
        return false;
    }
    v->config_size = CFG_SIZE;
    v->host_features = offered(s);
    for (unsigned i = 0; i < s->queues; i++) {
        virtio_add_queue(v, s->rx_size, handle);
        virtio_add_queue(v, s->tx_size, handle);
    }
    if (v->host_features & VIRTIO_BIT(VNET_F_CTRL_VQ)) {
        virtio_add_queue(v, 64, handle);
    }
    timer_init(&s->announce_timer, v->dev->machine->virtual_clock, announce, s);
    memcpy(s->cur_mac, s->mac, 6);
    s->pairs = 1;
    return true;
}

static void net_unrealize(VirtioDevice *v)
{
    VirtioNet *s = (VirtioNet *)v;

    timer_del(&s->announce_timer);
    net_nic_fini(&s->port);
}

static bool post_load(void *obj, GError **err)
{
    VirtioNet *s = obj;

    if (s->pairs < 1 || s->pairs > s->queues || s->offloads & ~agreed_offloads(s)) {
        return fail(err, "the saved state of virtio-net is impossible");
    }
    vnet_set_offloads(s, s->offloads);
    s->blocked = false;
    timer_set(&s->announce_timer, clock_now(s->v.dev->machine->virtual_clock));
    return true;
}

static const StateField fields[] = {
    VIRTIO_STATE(VirtioNet, v),
    STATE_U8_ARRAY(VirtioNet, cur_mac),
    STATE_U16(VirtioNet, pairs),
    STATE_BOOL(VirtioNet, announce),
    STATE_U32(VirtioNet, offloads),
    STATE_STRUCT_ARRAY(VirtioNet, filter, VirtioNetFilter, &vnet_filter_state),
    STATE_U8_ARRAY(VirtioNet, flow),
    STATE_END_FIELD,
};
static const StateTable state = {
    .name = "virtio-net", .version = 1, .fields = fields, .post_load = post_load};

static const VirtioClass net_class = {
    .name = "virtio-net",
    .id = VIRTIO_ID_NET,
    .legacy_pci_id = 0x1000,
    .pci_class = 0x020000,
    .boot_rom = "efi-virtio.rom",
    .realize = net_realize,
    .unrealize = net_unrealize,
    .reset = net_reset,
    .get_config = get_config,
    .set_config = set_config,
    .start = net_start,
};

#define FEATURE(T, name, bit)                                                                      \
    {name, PROP_BOOL, offsetof(T, d.feature) + (bit), "on", "offer this feature"},
#define PROPS(T)                                                                                   \
    {"netdev", PROP_NETDEV, offsetof(T, d.netdev), NULL, "id of the -netdev"},                     \
        {"mac", PROP_MAC, offsetof(T, d.mac), NULL, "Ethernet address"},                           \
        {"bootindex", PROP_STRING, offsetof(T, d.bootindex), NULL, "place in the boot order"},     \
        {"rx_queue_size", PROP_U16, offsetof(T, d.rx_size), "256", "places in a receive queue"},   \
        {"tx_queue_size", PROP_U16, offsetof(T, d.tx_size), "256", "places in a transmit queue"},  \
        {"mq", PROP_BOOL, offsetof(T, d.mq), "off", "offer several pairs of queues"},              \
        {"queues", PROP_U16, offsetof(T, d.queues), "0", "pairs, with mq=on; 0: one a CPU"},       \
        {"host_mtu", PROP_U16, offsetof(T, d.mtu), "0", "tell the guest this MTU"},                \
        FEATURE(T, "csum", VNET_F_CSUM) FEATURE(T, "guest_csum", VNET_F_GUEST_CSUM) FEATURE(       \
            T, "ctrl_guest_offloads", VNET_F_CTRL_GUEST_OFFLOADS) FEATURE(T, "gso", VNET_F_GSO)    \
            FEATURE(T, "guest_tso4", VNET_F_GUEST_TSO4) FEATURE(                                   \
                T, "guest_tso6", VNET_F_GUEST_TSO6) FEATURE(T, "guest_ecn", VNET_F_GUEST_ECN)      \
                FEATURE(T, "host_tso4", VNET_F_HOST_TSO4) FEATURE(                                 \
                    T, "host_tso6", VNET_F_HOST_TSO6) FEATURE(T, "host_ecn", VNET_F_HOST_ECN)      \
                    FEATURE(T, "mrg_rxbuf", VNET_F_MRG_RXBUF) FEATURE(T, "status", VNET_F_STATUS)  \
                        FEATURE(T, "ctrl_vq", VNET_F_CTRL_VQ)                                      \
                            FEATURE(T, "ctrl_rx", VNET_F_CTRL_RX)                                  \
                                FEATURE(T, "ctrl_vlan", VNET_F_CTRL_VLAN)                          \
                                    FEATURE(T, "ctrl_rx_extra", VNET_F_CTRL_RX_EXTRA)              \
                                        FEATURE(T, "guest_announce", VNET_F_GUEST_ANNOUNCE)        \
                                            FEATURE(T, "ctrl_mac_addr", VNET_F_CTRL_MAC_ADDR)

VIRTIO_PCI_TYPE(VirtioNet, virtio_net, "virtio-net", "virtio-net", "virtio network adapter",
                net_class, state, PROPS);
VIRTIO_BUS_TYPE(VirtioNet, virtio_net, "virtio-net", "virtio network adapter", net_class, state,
                PROPS);
