/* virtio network device: packets (VIRTIO 1.2, 5.1.6). See virtio_net.c. */
#include "core/log.h"
#include "hw/net/virtio_net.h"
#include <string.h>

enum { /* struct virtio_net_hdr */
       HDR_FLAGS = 0,
       HDR_GSO_TYPE = 1,
       HDR_LEN = 2,
       HDR_GSO_SIZE = 4,
       HDR_CSUM_START = 6,
       HDR_CSUM_OFF = 8,
       HDR_BUFFERS = 10,
       HDR_MAX = 12,
};

/* ---- flows ---- */

/* The same for both directions of a TCP or UDP flow; 0 for what is none. */
static unsigned flow_hash(const uint8_t *f, size_t len)
{
    uint32_t h = 0;
    size_t ip = 14, l4, addr, n;

    if (len < 14 + 40) {
        return 0;
    }
    if (f[12] == 0x08 && f[13] == 0x00) {
        addr = ip + 12;
        n = 8;
        l4 = ip + 4u * (f[ip] & 15);
        if (f[ip + 9] != 6 && f[ip + 9] != 17) {
            return 0;
        }
    } else if (f[12] == 0x86 && f[13] == 0xdd) {
        addr = ip + 8;
        n = 32;
        l4 = ip + 40;
        if (f[ip + 6] != 6 && f[ip + 6] != 17) {
            return 0;
        }
    } else {
        return 0;
    }
    if (l4 + 4 > len) {
        return 0;
    }
    for (size_t i = 0; i < n / 2; i++) {
        h = h * 31 + (f[addr + i] ^ f[addr + n / 2 + i]);
    }
    h = h * 31 + (f[l4] ^ f[l4 + 2]);
    h = h * 31 + (f[l4 + 1] ^ f[l4 + 3]);
    return (h ^ h >> 8 ^ h >> 16) % VIRTIO_NET_FLOWS;
}

/* ---- sending ---- */

static bool send_element(VirtioNet *s, VirtQueue *q, const VirtElem *e)
{
    uint8_t hdr[HDR_MAX], buf[NET_MAX_FRAME];
    unsigned hdr_len = vnet_header(s);
    size_t len = e->out_len - MIN(e->out_len, hdr_len);

    if (virtelem_get(&s->v, e, 0, hdr, hdr_len) < hdr_len || len > NET_MAX_FRAME) {
        guest_error("virtio-net: a packet of %zu bytes with header", (size_t)e->out_len);
        return true;
    }
    virtelem_get(&s->v, e, hdr_len, buf, len);
    if (s->pairs > 1) {
        s->flow[flow_hash(buf, len)] = (uint8_t)(q->index / 2);
    }
    const NetTodo todo = {
        .flags = vnet_has(s, VNET_F_CSUM) ? hdr[HDR_FLAGS] & NET_TODO_CSUM : 0,
        .gso_type = hdr[HDR_GSO_TYPE],
        .hdr_len = virtio_get16(hdr + HDR_LEN),
        .gso_size = virtio_get16(hdr + HDR_GSO_SIZE),
        .csum_start = virtio_get16(hdr + HDR_CSUM_START),
        .csum_off = virtio_get16(hdr + HDR_CSUM_OFF),
    };
    return net_send_todo(&s->port, &todo, buf, len);
}

void vnet_handle_tx(VirtioDevice *v, VirtQueue *q)
{
    VirtioNet *s = (VirtioNet *)v;
    VirtElem *e;
    bool any = false;

    /* The main loop sends, several packets in a turn, while the CPU makes more of them. An answer
     * that makes room would come back here. */
    if (vcpu_current() || s->sending) {
        virtq_want_kicks(q, false);
        virtio_later(q);
        return;
    }
    s->sending = true;
    virtq_want_kicks(q, false);
    while (!s->blocked && (e = virtq_next(q))) {
        s->blocked = !send_element(s, q, e);
        virtq_push(q, e, 0);
        any = true;
    }
    s->sending = false;
    if (!s->blocked) {
        virtq_want_kicks(q, true);
        if (virtq_has(q)) {
            virtio_later(q);
        }
    }
    if (any) {
        virtq_notify(q);
    }
}

void vnet_peer_ready(NetPort *p)
{
    VirtioNet *s = vnet_of(p);

    s->blocked = false;
    for (unsigned i = 1; i < s->v.n_queues; i += 2) {
        virtio_later(&s->v.vq[i]);
    }
}

/* ---- receiving ---- */

static VirtQueue *rx_queue(VirtioNet *s, unsigned pair)
{
    return &s->v.vq[2 * pair];
}

bool vnet_can_receive(NetPort *p)
{
    VirtioNet *s = vnet_of(p);

    if (virtio_busy(&s->v)) {
        return false;
    }
    for (unsigned i = 0; i < s->pairs; i++) {
        if (virtq_has(rx_queue(s, i))) {
            return true;
        }
    }
    return false;
}

/* Elements for one frame with its header; 0: there are not enough now, or (*@drop) never will. */
static unsigned gather(VirtioNet *s, VirtQueue *q, size_t need, VirtElem **el, unsigned max,
                       bool *drop)
{
    uint64_t room = 0;
    unsigned n = 0;

    *drop = false;
    while (n < max && (el[n] = virtq_pop(q))) {
        room += el[n++]->in_len;
        if (room >= need) {
            return n;
        }
        if (!vnet_has(s, VNET_F_MRG_RXBUF) || el[0]->in_len < vnet_header(s)) {
            guest_error("virtio-net: a receive buffer of %u bytes", (unsigned)room);
            *drop = true;
            break;
        }
    }
    *drop |= n == max;
    while (n) {
        virtq_unpop(q, el[--n]);
    }
    return 0;
}

static void fill_header(uint8_t *hdr, const NetTodo *t, unsigned buffers)
{
    hdr[HDR_FLAGS] = t->flags;
    hdr[HDR_GSO_TYPE] = t->gso_type;
    virtio_put16(hdr + HDR_LEN, t->hdr_len);
    virtio_put16(hdr + HDR_GSO_SIZE, t->gso_size);
    virtio_put16(hdr + HDR_CSUM_START, t->csum_start);
    virtio_put16(hdr + HDR_CSUM_OFF, t->csum_off);
    virtio_put16(hdr + HDR_BUFFERS, (uint16_t)buffers);
}

bool vnet_receive_todo(NetPort *p, const NetTodo *todo, const uint8_t *buf, size_t len)
{
    VirtioNet *s = vnet_of(p);
    VirtElem *el[VIRTQ_MAX_SIZE];
    uint8_t hdr[HDR_MAX];
    unsigned pair = s->pairs > 1 ? s->flow[flow_hash(buf, len)] % s->pairs : 0;
    VirtQueue *q = rx_queue(s, pair);
    unsigned hdr_len = vnet_header(s);
    size_t done = 0;
    bool drop;

    if (!vnet_filter_passes(s, buf, len)) {
        return true;
    }
    if (virtio_busy(&s->v)) {
        return false;
    }
    unsigned n = gather(s, q, hdr_len + len, el, q->size, &drop);
    if (!n) {
        return drop;
    }
    fill_header(hdr, todo, n);
    for (unsigned i = 0; i < n; i++) {
        unsigned at = i ? 0 : hdr_len;
        size_t k = MIN(len - done, el[i]->in_len - at);
        virtelem_put(&s->v, el[i], 0, hdr, at);
        virtelem_put(&s->v, el[i], at, buf + done, k);
        done += k;
        virtq_fill(q, el[i], (uint32_t)(at + k), i);
    }
    virtq_flush(q, n);
    virtq_notify(q);
    return true;
}

bool vnet_receive(NetPort *p, const uint8_t *buf, size_t len)
{
    const NetTodo none = {0};

    return vnet_receive_todo(p, &none, buf, len);
}

/* New buffers: what waits can come. */
void vnet_handle_rx(VirtioDevice *v, VirtQueue *q)
{
    net_flush(&((VirtioNet *)v)->port);
}
