/* virtio network device: control queue and receive filters (VIRTIO 1.2, 5.1.6.5). */
#include "core/log.h"
#include "hw/net/virtio_net.h"
#include <string.h>

enum { CLASS_RX, CLASS_MAC, CLASS_VLAN, CLASS_ANNOUNCE, CLASS_MQ, CLASS_OFFLOADS };
enum { RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST };
enum { MAC_TABLE_SET, MAC_ADDR_SET };
enum { VLAN_ADD, VLAN_DEL };
enum { ACK_OK, ACK_ERR };

/* ---- filter ---- */

void vnet_filter_reset(VirtioNet *s)
{
    s->filter = (VirtioNetFilter){.promisc = true};
}

static bool in_table(const uint8_t (*macs)[6], unsigned n, const uint8_t *mac)
{
    for (unsigned i = 0; i < n; i++) {
        if (!memcmp(macs[i], mac, 6)) {
            return true;
        }
    }
    return false;
}

bool vnet_filter_passes(const VirtioNet *s, const uint8_t *f, size_t len)
{
    const VirtioNetFilter *t = &s->filter;
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    if (len < 14) {
        return false;
    }
    if (vnet_has(s, VNET_F_CTRL_VLAN) && f[12] == 0x81 && f[13] == 0x00 && len >= 16) {
        unsigned id = (f[14] & 15) << 8 | f[15];
        if (!(t->vlans[id / 32] >> id % 32 & 1)) {
            return false;
        }
    }
    if (t->promisc) {
        return true;
    }
    if (!memcmp(f, broadcast, 6)) {
        return !t->nobcast;
    }
    if (f[0] & 1) {
        return !t->nomulti &&
               (t->allmulti || t->multi_overflow || in_table(t->macs + t->n_uni, t->n_multi, f));
    }
    return !t->nouni && (t->alluni || t->uni_overflow || !memcmp(f, s->cur_mac, 6) ||
                         in_table(t->macs, t->n_uni, f));
}

/* ---- commands; the element's readable part behind class and command is @e from offset 2 ---- */

static bool set_rx_mode(VirtioNet *s, uint8_t cmd, const VirtElem *e)
{
    VirtioNetFilter *t = &s->filter;
    bool *const modes[] = {&t->promisc, &t->allmulti, &t->alluni,
                           &t->nomulti, &t->nouni,    &t->nobcast};
    uint8_t on;

    if (cmd > (vnet_has(s, VNET_F_CTRL_RX_EXTRA) ? RX_NOBCAST : RX_ALLMULTI) ||
        !vnet_has(s, VNET_F_CTRL_RX) || virtelem_get(&s->v, e, 2, &on, 1) < 1) {
        return false;
    }
    *modes[cmd] = on;
    return true;
}

/* A list of addresses at @*off: 32 bits of count, then 6 bytes each. What does not fit in the
 * table makes everything of its kind pass. */
static bool take_list(VirtioNet *s, const VirtElem *e, uint64_t *off, uint8_t (*macs)[6],
                      unsigned room, uint8_t *n, bool *overflow)
{
    uint8_t count[4];

    if (virtelem_get(&s->v, e, *off, count, 4) < 4) {
        return false;
    }
    uint64_t entries = virtio_get32(count);
    *off += 4;
    if (*off + entries * 6 > e->out_len) {
        return false;
    }
    *overflow = entries > room;
    *n = *overflow ? 0 : (uint8_t)entries;
    virtelem_get(&s->v, e, *off, macs, *n * 6u);
    *off += entries * 6;
    return true;
}

static bool set_macs(VirtioNet *s, uint8_t cmd, const VirtElem *e)
{
    VirtioNetFilter t = s->filter;
    uint64_t off = 2;

    if (cmd == MAC_ADDR_SET) {
        return e->out_len == 8 && vnet_has(s, VNET_F_CTRL_MAC_ADDR) &&
               virtelem_get(&s->v, e, 2, s->cur_mac, 6) == 6;
    }
    if (cmd != MAC_TABLE_SET || !vnet_has(s, VNET_F_CTRL_RX) ||
        !take_list(s, e, &off, t.macs, VIRTIO_NET_MACS, &t.n_uni, &t.uni_overflow) ||
        !take_list(s, e, &off, t.macs + t.n_uni, VIRTIO_NET_MACS - t.n_uni, &t.n_multi,
                   &t.multi_overflow)) {
        return false;
    }
    s->filter = t;
    return true;
}

static bool set_vlan(VirtioNet *s, uint8_t cmd, const VirtElem *e)
{
    uint8_t id[2];

    if (!vnet_has(s, VNET_F_CTRL_VLAN) || cmd > VLAN_DEL || virtelem_get(&s->v, e, 2, id, 2) < 2 ||
        virtio_get16(id) > 4095) {
        return false;
    }
    uint32_t *word = &s->filter.vlans[virtio_get16(id) / 32], bit = 1u << virtio_get16(id) % 32;
    *word = cmd == VLAN_ADD ? *word | bit : *word & ~bit;
    return true;
}

static bool announce_ack(VirtioNet *s, uint8_t cmd)
{
    if (cmd != 0 || !s->announce) {
        return false;
    }
    s->announce = false;
    return true;
}

static bool set_pairs(VirtioNet *s, uint8_t cmd, const VirtElem *e)
{
    uint8_t n[2];

    if (cmd != 0 || !vnet_has(s, VNET_F_MQ) || virtelem_get(&s->v, e, 2, n, 2) < 2 ||
        virtio_get16(n) < 1 || virtio_get16(n) > s->queues) {
        return false;
    }
    s->pairs = virtio_get16(n);
    net_flush(&s->port);
    return true;
}

void vnet_set_offloads(VirtioNet *s, uint32_t offloads)
{
    s->offloads = s->port.offloads = offloads;
    if (s->port.peer && s->port.peer->ops->peer_offloads) {
        s->port.peer->ops->peer_offloads(s->port.peer, offloads);
    }
}

static bool set_offloads(VirtioNet *s, uint8_t cmd, const VirtElem *e)
{
    uint8_t raw[8];

    if (cmd != 0 || !vnet_has(s, VNET_F_CTRL_GUEST_OFFLOADS) ||
        virtelem_get(&s->v, e, 2, raw, 8) < 8) {
        return false;
    }
    uint64_t bits = virtio_get64(raw);
    /* Only what was agreed on can be switched. */
    if (bits &
        ~(s->v.guest_features & (VIRTIO_BIT(VNET_F_GUEST_CSUM) | VIRTIO_BIT(VNET_F_GUEST_TSO4) |
                                 VIRTIO_BIT(VNET_F_GUEST_TSO6) | VIRTIO_BIT(VNET_F_GUEST_ECN)))) {
        return false;
    }
    vnet_set_offloads(s, (bits & VIRTIO_BIT(VNET_F_GUEST_CSUM) ? NET_OFFLOAD_CSUM : 0) |
                             (bits & VIRTIO_BIT(VNET_F_GUEST_TSO4) ? NET_OFFLOAD_TSO4 : 0) |
                             (bits & VIRTIO_BIT(VNET_F_GUEST_TSO6) ? NET_OFFLOAD_TSO6 : 0) |
                             (bits & VIRTIO_BIT(VNET_F_GUEST_ECN) ? NET_OFFLOAD_ECN : 0));
    return true;
}

static bool command(VirtioNet *s, const uint8_t head[2], const VirtElem *e)
{
    switch (head[0]) {
    case CLASS_RX:
        return set_rx_mode(s, head[1], e);
    case CLASS_MAC:
        return set_macs(s, head[1], e);
    case CLASS_VLAN:
        return set_vlan(s, head[1], e);
    case CLASS_ANNOUNCE:
        return announce_ack(s, head[1]);
    case CLASS_MQ:
        return set_pairs(s, head[1], e);
    case CLASS_OFFLOADS:
        return set_offloads(s, head[1], e);
    default:
        return false;
    }
}

void vnet_handle_ctrl(VirtioDevice *v, VirtQueue *q)
{
    VirtioNet *s = (VirtioNet *)v;
    uint8_t head[2];
    VirtElem *e;

    while ((e = virtq_next(q))) {
        if (!e->in_len || virtelem_get(v, e, 0, head, 2) < 2) {
            virtio_broken(v, "a control command without class, command or room for its result");
            virtq_drop(q, e);
            return;
        }
        uint8_t ack = command(s, head, e) ? ACK_OK : ACK_ERR;
        if (ack == ACK_ERR) {
            guest_error("virtio-net: control command %u.%u failed", head[0], head[1]);
        }
        virtelem_put(v, e, e->in_len - 1, &ack, 1);
        virtq_push(q, e, 1);
        virtq_notify(q);
    }
}

static bool post_load(void *obj, GError **err)
{
    const VirtioNetFilter *t = obj;

    return t->n_uni + t->n_multi <= VIRTIO_NET_MACS ||
           fail(err, "the saved state of virtio-net has too many addresses");
}

static const StateField fields[] = {
    STATE_BOOL(VirtioNetFilter, promisc),
    STATE_BOOL(VirtioNetFilter, allmulti),
    STATE_BOOL(VirtioNetFilter, alluni),
    STATE_BOOL(VirtioNetFilter, nomulti),
    STATE_BOOL(VirtioNetFilter, nouni),
    STATE_BOOL(VirtioNetFilter, nobcast),
    STATE_BOOL(VirtioNetFilter, uni_overflow),
    STATE_BOOL(VirtioNetFilter, multi_overflow),
    STATE_U8(VirtioNetFilter, n_uni),
    STATE_U8(VirtioNetFilter, n_multi),
    STATE_U8_ARRAY(VirtioNetFilter, macs),
    STATE_U32_ARRAY(VirtioNetFilter, vlans),
    STATE_END_FIELD,
};
const StateTable vnet_filter_state = {
    .name = "filter", .version = 1, .fields = fields, .post_load = post_load};
