/*
 * virtio network device. Private to hw/net/virtio_net*.c; users create it as "virtio-net-pci" or
 * "virtio-net-device".
 */
#ifndef RHEA_HW_NET_VIRTIO_NET_H
#define RHEA_HW_NET_VIRTIO_NET_H

#include "hw/virtio/virtio.h"
#include "net/net.h"

#define VIRTIO_NET_MAX_PAIRS 31
#define VIRTIO_NET_MACS 64
#define VIRTIO_NET_FLOWS 256

enum { /* features */
       VNET_F_CSUM = 0,
       VNET_F_GUEST_CSUM = 1,
       VNET_F_CTRL_GUEST_OFFLOADS = 2,
       VNET_F_MTU = 3,
       VNET_F_MAC = 5,
       VNET_F_GSO = 6, /* legacy */
       VNET_F_GUEST_TSO4 = 7,
       VNET_F_GUEST_TSO6 = 8,
       VNET_F_GUEST_ECN = 9,
       VNET_F_HOST_TSO4 = 11,
       VNET_F_HOST_TSO6 = 12,
       VNET_F_HOST_ECN = 13,
       VNET_F_MRG_RXBUF = 15,
       VNET_F_STATUS = 16,
       VNET_F_CTRL_VQ = 17,
       VNET_F_CTRL_RX = 18,
       VNET_F_CTRL_VLAN = 19,
       VNET_F_CTRL_RX_EXTRA = 20,
       VNET_F_GUEST_ANNOUNCE = 21,
       VNET_F_MQ = 22,
       VNET_F_CTRL_MAC_ADDR = 23,
};

typedef struct VirtioNetFilter {
    bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
    bool uni_overflow, multi_overflow;
    uint8_t n_uni, n_multi; /* addresses in the table: unicast first */
    uint8_t macs[VIRTIO_NET_MACS][6];
    uint32_t vlans[4096 / 32];
} VirtioNetFilter;

typedef struct VirtioNet {
    VirtioDevice v;
    NetPort port;
    char *netdev, *bootindex;
    uint8_t mac[6]; /* property */
    uint16_t rx_size, tx_size, queues, mtu;
    bool mq;
    bool feature[24]; /* properties, by number */

    /* State */
    uint8_t cur_mac[6];
    uint16_t pairs; /* in use */
    bool announce;
    uint32_t offloads; /* NET_OFFLOAD_* that the driver takes now */
    VirtioNetFilter filter;
    uint8_t flow[VIRTIO_NET_FLOWS]; /* queue pair that a flow was sent on last */
    /* Not saved */
    bool sending; /* in the handler of a transmit queue */
    bool blocked; /* the back end wants no more frames now */
    Timer announce_timer;
} VirtioNet;

static inline VirtioNet *vnet_of(NetPort *p)
{
    return (VirtioNet *)((char *)p - offsetof(VirtioNet, port));
}

static inline bool vnet_has(const VirtioNet *s, unsigned feature)
{
    return virtio_has(&s->v, VIRTIO_BIT(feature));
}

/* Bytes of struct virtio_net_hdr. */
static inline unsigned vnet_header(const VirtioNet *s)
{
    return virtio_has(&s->v, VIRTIO_F_VERSION_1) || vnet_has(s, VNET_F_MRG_RXBUF) ? 12 : 10;
}

/* virtio_net_io.c */
bool vnet_can_receive(NetPort *p);
bool vnet_receive(NetPort *p, const uint8_t *buf, size_t len);
bool vnet_receive_todo(NetPort *p, const NetTodo *todo, const uint8_t *buf, size_t len);
void vnet_handle_rx(VirtioDevice *v, VirtQueue *q);
void vnet_handle_tx(VirtioDevice *v, VirtQueue *q);
void vnet_peer_ready(NetPort *p);

/* virtio_net_ctrl.c */
void vnet_handle_ctrl(VirtioDevice *v, VirtQueue *q);
/* The filter of power-on: everything passes. */
void vnet_filter_reset(VirtioNet *s);
bool vnet_filter_passes(const VirtioNet *s, const uint8_t *frame, size_t len);
/* Tell the back end which offloads the driver takes. */
void vnet_set_offloads(VirtioNet *s, uint32_t offloads);
extern const StateTable vnet_filter_state;

#endif
