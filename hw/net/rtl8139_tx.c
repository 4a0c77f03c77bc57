/* RTL8139: the four transmit descriptors of C mode, the rings of C+ mode with their offloads. */
#include "core/log.h"
#include "hw/net/rtl8139.h"
#include <string.h>

#define TX_C_MAX 1792 /* largest size of a C mode descriptor */
#define TX_WIRE_MAX 16000
#define MAX_SEGMENTS 2048 /* of one send */
#define CP_OWN (1u << 31)
#define CP_EOR (1u << 30)
#define CP_FS (1u << 29)
#define CP_LS (1u << 28)
#define CP_LGSEN (1u << 27)
#define CP_IPCS (1u << 18)
#define CP_UDPCS (1u << 17)
#define CP_TCPCS (1u << 16)
#define CP_TAGC (1u << 17)
#define CP_RING 64

static void put16(uint8_t *p, unsigned v)
{
    p[0] = v >> 8;
    p[1] = v;
}

static void on_wire(Rtl8139 *s, const uint8_t *buf, size_t len)
{
    uint8_t padded[NET_MIN_FRAME];

    if (len < 14 || len > TX_WIRE_MAX) {
        guest_error("rtl8139: a frame of %zu bytes is not sent", len);
        s->tally.tx_err++;
        return;
    }
    if (len < sizeof(padded)) {
        memcpy(padded, buf, len);
        memset(padded + len, 0, sizeof(padded) - len);
        buf = padded;
        len = sizeof(padded);
    }
    s->tally.tx_ok++;
    if ((s->tcr >> 17 & 3) == 3) { /* loopback */
        if (!rtl_can_receive(&s->port) || !rtl_receive(&s->port, buf, len)) {
            rtl_raise(s, RTL_RXOVW);
        }
    } else {
        net_send(&s->port, buf, len);
    }
}

/* ---- C mode ---- */

void rtl_send_c(Rtl8139 *s)
{
    uint8_t buf[TX_C_MAX];

    for (unsigned n = 0; n < 4 && (s->cr & RTL_CR_TE); n++) {
        uint32_t *tsd = &s->tsd[s->cur_tx & 3], len = *tsd & 0x1fff;
        if (*tsd & RTL_TSD_OWN) {
            return;
        }
        if (len > TX_C_MAX) {
            guest_error("rtl8139: a transmit size of %u bytes", len);
        } else {
            pci_dma_read(&s->pci, s->tsad[s->cur_tx & 3], buf, len);
            on_wire(s, buf, len);
        }
        *tsd |= RTL_TSD_OWN | RTL_TSD_TOK;
        s->cur_tx = (s->cur_tx + 1) & 3;
        rtl_raise(s, RTL_TOK);
    }
}

/* ---- C+ mode ---- */

typedef struct Headers {
    size_t l3, ihl, l4; /* offsets of IPv4 and of what is behind; ihl: its length */
    size_t end;         /* of the datagram */
    uint8_t protocol;
} Headers;

/* False: no IPv4 whose lengths hold. */
static bool find_headers(const uint8_t *buf, size_t len, Headers *h)
{
    h->l3 = len > 18 && buf[12] == 0x81 && buf[13] == 0 ? 18 : 14;
    if (len < h->l3 + 20 || buf[h->l3 - 2] != 8 || buf[h->l3 - 1] || buf[h->l3] >> 4 != 4) {
        return false;
    }
    const uint8_t *ip = buf + h->l3;
    size_t total = ip[2] << 8 | ip[3];
    h->ihl = (ip[0] & 15) * 4;
    h->l4 = h->l3 + h->ihl;
    h->end = h->l3 + total;
    h->protocol = ip[9];
    return h->ihl >= 20 && total >= h->ihl && h->end <= len;
}

static void ip_sum(uint8_t *buf, const Headers *h)
{
    put16(buf + h->l3 + 10, 0);
    put16(buf + h->l3 + 10, (uint16_t)~net_fold(net_sum(buf + h->l3, h->ihl, 0)));
}

/* @at: the checksum's offset behind @h->l4. */
static void l4_sum(uint8_t *buf, const Headers *h, size_t at)
{
    size_t n = h->end - h->l4;

    put16(buf + h->l4 + at, 0);
    uint32_t sum = net_sum(buf + h->l3 + 12, 8, h->protocol + (uint32_t)n);
    uint16_t v = ~net_fold(net_sum(buf + h->l4, n, sum));
    put16(buf + h->l4 + at, v || h->protocol != 17 ? v : 0xffff);
}

static void offload(uint8_t *buf, size_t len, uint32_t dw0)
{
    Headers h;

    if (!(dw0 & (CP_IPCS | CP_UDPCS | CP_TCPCS)) || !find_headers(buf, len, &h)) {
        return;
    }
    if ((dw0 & CP_TCPCS) && h.protocol == 6 && h.end - h.l4 >= 20) {
        l4_sum(buf, &h, 16);
    } else if ((dw0 & CP_UDPCS) && h.protocol == 17 && h.end - h.l4 >= 8) {
        l4_sum(buf, &h, 6);
    }
    if (dw0 & CP_IPCS) {
        ip_sum(buf, &h);
    }
}

/* Large send: TCP over IPv4 in segments of @mss bytes. The header's total length is not to be
 * relied on: what was gathered counts. */
static void large_send(Rtl8139 *s, uint8_t *buf, size_t len, size_t mss)
{
    uint8_t frame[TX_WIRE_MAX];
    Headers h = {.l3 = 14};

    if (len > 18 && buf[12] == 0x81 && buf[13] == 0) {
        h.l3 = 18;
    }
    h.ihl = len >= h.l3 + 20 ? (buf[h.l3] & 15) * 4 : 0;
    h.l4 = h.l3 + h.ihl;
    if (h.ihl < 20 || buf[h.l3] >> 4 != 4 || buf[h.l3 + 9] != 6 || len < h.l4 + 20 || !mss ||
        len / mss > MAX_SEGMENTS) {
        guest_error("rtl8139: large send of what is no TCP over IPv4");
        s->tally.tx_err++;
        return;
    }
    h.protocol = 6;
    size_t head = h.l4 + (buf[h.l4 + 12] >> 4) * 4, pos = head;
    if (head < h.l4 + 20 || head > len) {
        guest_error("rtl8139: large send with a TCP header beyond the data");
        s->tally.tx_err++;
        return;
    }
    uint32_t seq =
        (uint32_t)buf[h.l4 + 4] << 24 | buf[h.l4 + 5] << 16 | buf[h.l4 + 6] << 8 | buf[h.l4 + 7];
    unsigned id = buf[h.l3 + 4] << 8 | buf[h.l3 + 5];
    do {
        size_t part = MIN(len - pos, mss);
        memcpy(frame, buf, head);
        memcpy(frame + head, buf + pos, part);
        h.end = head + part;
        put16(frame + h.l3 + 2, h.end - h.l3);
        put16(frame + h.l3 + 4, id++);
        put16(frame + h.l4 + 4, seq >> 16);
        put16(frame + h.l4 + 6, seq & 0xffff);
        if (pos + part < len) {
            frame[h.l4 + 13] &= ~9; /* FIN, PSH */
        }
        l4_sum(frame, &h, 16);
        ip_sum(frame, &h);
        on_wire(s, frame, h.end);
        seq += part;
        pos += part;
    } while (pos < len);
}

static void finish(Rtl8139 *s, uint32_t dw0, uint32_t dw1)
{
    if (!s->tx_drop) {
        if ((dw1 & CP_TAGC) && s->tx_len >= 14 && s->tx_len + 4 <= RTL_SEND_MAX) {
            memmove(s->tx_buf + 16, s->tx_buf + 12, s->tx_len - 12);
            put16(s->tx_buf + 12, 0x8100);
            s->tx_buf[14] = dw1; /* the register has them swapped */
            s->tx_buf[15] = dw1 >> 8;
            s->tx_len += 4;
        }
        if (dw0 & CP_LGSEN) {
            large_send(s, s->tx_buf, s->tx_len, dw0 >> 16 & 0x7ff);
        } else {
            offload(s->tx_buf, s->tx_len, dw0);
            on_wire(s, s->tx_buf, s->tx_len);
        }
    }
    s->tx_len = 0;
    s->tx_drop = s->tx_open = false;
}

static void gather(Rtl8139 *s, uint64_t addr, uint32_t len)
{
    if (len > RTL_SEND_MAX - s->tx_len) {
        if (!s->tx_drop) {
            guest_error("rtl8139: a send of more than %d bytes is dropped", RTL_SEND_MAX);
        }
        s->tx_drop = true;
        return;
    }
    pci_dma_read(&s->pci, addr, s->tx_buf + s->tx_len, len);
    s->tx_len += len;
}

void rtl_send_cp(Rtl8139 *s, unsigned ring)
{
    uint64_t base = ring ? s->thpds : s->tnpds;
    unsigned sent = 0;

    /* One turn around a ring of the largest size. */
    for (unsigned n = 0; n < CP_RING && (s->cr & RTL_CR_TE) && (s->cpcr & RTL_CP_TX); n++) {
        uint64_t at = base + s->cp_tx[ring] * 16;
        uint8_t d[16];
        if (!pci_dma_read(&s->pci, at, d, 16)) {
            guest_error("rtl8139: transmit descriptor at %" G_GINT64_MODIFIER "x cannot be read",
                        at);
            break;
        }
        uint32_t dw0 = pci_get32(d), dw1 = pci_get32(d + 4);
        if (!(dw0 & CP_OWN)) {
            break;
        }
        if (dw0 & CP_FS) {
            s->tx_len = 0;
            s->tx_drop = false;
            s->tx_open = true;
        }
        if (s->tx_open) {
            gather(s, pci_get32(d + 8) | (uint64_t)pci_get32(d + 12) << 32, dw0 & 0xffff);
        }
        pci_set32(d, dw0 & ~CP_OWN & 0xf000ffff);
        pci_dma_write(&s->pci, at, d, 4);
        s->cp_tx[ring] = dw0 & CP_EOR ? 0 : (s->cp_tx[ring] + 1) % CP_RING;
        if ((dw0 & CP_LS) && s->tx_open) {
            finish(s, dw0, dw1);
            sent++;
        }
    }
    rtl_raise(s, (sent ? RTL_TOK : 0) | RTL_TDU);
}
