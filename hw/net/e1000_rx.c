/* 82540EM: receive filters, checksum checks and the receive ring. */
#include "core/log.h"
#include "hw/net/e1000.h"
#include <string.h>

enum {
    RCTL_EN = 1 << 1,
    RCTL_UPE = 1 << 3,
    RCTL_MPE = 1 << 4,
    RCTL_LPE = 1 << 5,
    RCTL_BAM = 1 << 15,
    RCTL_VFE = 1 << 18,
    RCTL_CFIEN = 1 << 19,
    RCTL_CFI = 1 << 20,
    RCTL_BSEX = 1 << 25,
    RCTL_SECRC = 1 << 26,
};
enum {
    RXD_DD = 1,
    RXD_EOP = 2,
    RXD_IXSM = 4,
    RXD_VP = 8,
    RXD_TCPCS = 0x20,
    RXD_IPCS = 0x40,
    RXD_PIF = 0x80,
    RXD_ERR_TCPE = 0x20,
    RXD_ERR_IPE = 0x40,
};
enum { RXCSUM_IPOFL = 1 << 8, RXCSUM_TUOFL = 1 << 9 };

#define MAX_STANDARD 1522 /* without long packet enable, with FCS and VLAN tag */

/* Descriptors in the ring; 0: it is not set up. */
static uint32_t ring_size(E1000 *s)
{
    return *e1000_reg(s, E1000_RDLEN) / 16;
}

static uint32_t ring_free(E1000 *s)
{
    uint32_t n = ring_size(s), head = *e1000_reg(s, E1000_RDH), tail = *e1000_reg(s, E1000_RDT);

    if (!n || head >= n || tail >= n) {
        return 0;
    }
    return tail >= head ? tail - head : n - head + tail;
}

static uint32_t buffer_size(uint32_t rctl)
{
    unsigned shift = rctl >> 16 & 3;

    if (rctl & RCTL_BSEX) {
        return shift ? 32768u >> shift : 2048; /* 0 is reserved */
    }
    return 2048u >> shift;
}

bool e1000_can_receive(NetPort *p)
{
    E1000 *s = e1000_of(p);

    if (!(*e1000_reg(s, E1000_RCTL) & RCTL_EN)) {
        return true; /* and drop */
    }
    return ring_free(s) > 0;
}

/* ---- filters ---- */

static bool multicast_match(E1000 *s, const uint8_t *mac)
{
    static const uint8_t shifts[] = {4, 3, 2, 0};
    unsigned shift = shifts[*e1000_reg(s, E1000_RCTL) >> 12 & 3];
    unsigned bit = ((mac[5] << 8 | mac[4]) >> shift) & 0xfff;

    return s->reg[(E1000_MTA >> 2) + (bit >> 5)] >> (bit & 31) & 1;
}

/* One of the 16 receive addresses; PIF does not apply then. */
static bool exact_match(E1000 *s, const uint8_t *mac)
{
    for (unsigned i = 0; i < 16; i++) {
        uint32_t low = s->reg[(E1000_RA >> 2) + i * 2], high = s->reg[(E1000_RA >> 2) + i * 2 + 1];
        if (high >> 31 && pci_get32(mac) == low && pci_get16(mac + 4) == (high & 0xffff)) {
            return true;
        }
    }
    return false;
}

static bool vlan_pass(E1000 *s, const uint8_t *buf, size_t len)
{
    uint32_t rctl = *e1000_reg(s, E1000_RCTL);
    unsigned type = buf[12] << 8 | buf[13], tag = buf[14] << 8 | buf[15];

    if (!(rctl & RCTL_VFE) || type != (*e1000_reg(s, E1000_VET) & 0xffff)) {
        return true;
    }
    if ((rctl & RCTL_CFIEN) && !(tag >> 12 & 1) != !(rctl & RCTL_CFI)) {
        return false;
    }
    tag &= 0xfff;
    return s->reg[(E1000_VFTA >> 2) + (tag >> 5)] >> (tag & 31) & 1;
}

/* Whether the frame is for us; @pif: it passed an imperfect filter only. */
static bool accept(E1000 *s, const uint8_t *buf, size_t len, bool *pif)
{
    static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};
    uint32_t rctl = *e1000_reg(s, E1000_RCTL);

    *pif = false;
    if (!vlan_pass(s, buf, len)) {
        return false;
    }
    if (!memcmp(buf, broadcast, 6)) {
        return rctl & (RCTL_BAM | RCTL_MPE);
    }
    if (exact_match(s, buf)) {
        return true;
    }
    if (buf[0] & 1) {
        *pif = !(rctl & RCTL_MPE);
        return (rctl & RCTL_MPE) || multicast_match(s, buf);
    }
    return rctl & RCTL_UPE;
}

/* ---- checksums ---- */

/* Status and error bits of IPv4 and TCP or UDP behind it. */
static void check_sums(E1000 *s, const uint8_t *buf, size_t len, uint8_t *status, uint8_t *errors)
{
    uint32_t rxcsum = *e1000_reg(s, E1000_RXCSUM);
    size_t l3 = 14;

    if ((buf[12] << 8 | buf[13]) == 0x8100) {
        l3 = 18;
    }
    if (!(rxcsum & (RXCSUM_IPOFL | RXCSUM_TUOFL)) || len < l3 + 20 ||
        (buf[l3 - 2] << 8 | buf[l3 - 1]) != 0x0800 || buf[l3] >> 4 != 4) {
        *status |= RXD_IXSM;
        return;
    }
    const uint8_t *ip = buf + l3;
    size_t ihl = (ip[0] & 15) * 4, total = ip[2] << 8 | ip[3];
    if (ihl < 20 || total < ihl || len < l3 + total) {
        *status |= RXD_IXSM;
        return;
    }
    if (rxcsum & RXCSUM_IPOFL) {
        *status |= RXD_IPCS;
        *errors |= net_fold(net_sum(ip, ihl, 0)) == 0xffff ? 0 : RXD_ERR_IPE;
    }
    bool fragment = (ip[6] << 8 | ip[7]) & 0x3fff, udp = ip[9] == 17;
    size_t l4 = total - ihl;
    if (!(rxcsum & RXCSUM_TUOFL) || fragment || (!udp && ip[9] != 6) || l4 < (udp ? 8 : 20) ||
        (udp && !ip[ihl + 6] && !ip[ihl + 7])) {
        return;
    }
    uint32_t sum = net_sum(ip + 12, 8, ip[9] + (uint32_t)l4);
    *status |= RXD_TCPCS;
    *errors |= net_fold(net_sum(ip + ihl, l4, sum)) == 0xffff ? 0 : RXD_ERR_TCPE;
}

static uint16_t packet_sum(E1000 *s, const uint8_t *buf, size_t len)
{
    size_t start = *e1000_reg(s, E1000_RXCSUM) & 0xff;

    if (*e1000_reg(s, E1000_RXCSUM) & RXCSUM_TUOFL || start >= len) {
        return 0; /* the two share the adder */
    }
    return net_fold(net_sum(buf + start, len - start, 0));
}

/* ---- the ring ---- */

static void count_frame(E1000 *s, const uint8_t *buf, size_t wire)
{
    e1000_count(s, E1000_TPR, 1);
    e1000_count64(s, E1000_TORL, wire);
    e1000_count(s, E1000_GPRC, 1);
    e1000_count64(s, E1000_GORCL, wire);
    e1000_count(s, E1000_PRC64 + 4 * e1000_size_class(wire), 1);
    if (buf[0] & 1) {
        bool all = true;
        for (unsigned i = 0; i < 6; i++) {
            all &= buf[i] == 0xff;
        }
        e1000_count(s, all ? E1000_BPRC : E1000_MPRC, 1);
    }
}

/* Interrupts after a frame: at once, or when the delay timers say so. */
static void notify(E1000 *s, size_t len)
{
    uint32_t n = ring_size(s), free = ring_free(s), delay = *e1000_reg(s, E1000_RDTR) & 0xffff;
    uint32_t causes = 0, small = *e1000_reg(s, E1000_RSRPD) & 0xfff;

    if (free <= n >> (1 + MIN(*e1000_reg(s, E1000_RCTL) >> 8 & 3, 2))) {
        causes |= E1000_INT_RXDMT0;
    }
    if (small && len <= small) {
        causes |= E1000_INT_SRPD;
    }
    if (!delay) {
        causes |= E1000_INT_RXT0;
    } else {
        int64_t now = clock_now(s->clock), abs = *e1000_reg(s, E1000_RADV) & 0xffff;
        if (s->rx_deadline < 0) {
            s->rx_deadline = abs ? now + abs * 1024 : INT64_MAX;
        }
        timer_set(&s->rx_timer, MIN(now + delay * 1024, s->rx_deadline));
    }
    if (causes) {
        e1000_raise(s, causes);
    }
}

static void put_descriptor(E1000 *s, uint32_t head, const uint8_t d[16])
{
    uint64_t base = *e1000_reg(s, E1000_RDBAL) | (uint64_t)*e1000_reg(s, E1000_RDBAH) << 32;

    /* Status last: the guest looks at it. */
    pci_dma_write(&s->pci, base + head * 16 + 8, d + 8, 4);
    pci_dma_write(&s->pci, base + head * 16 + 14, d + 14, 2);
    pci_dma_write(&s->pci, base + head * 16 + 12, d + 12, 2);
}

typedef struct RxFrame {
    const uint8_t *buf;
    size_t len, wire; /* wire: with the FCS that goes to memory */
    uint8_t status, errors;
    uint16_t sum, tag;
} RxFrame;

static void store_frame(E1000 *s, const RxFrame *f)
{
    uint64_t base = *e1000_reg(s, E1000_RDBAL) | (uint64_t)*e1000_reg(s, E1000_RDBAH) << 32;
    uint32_t n = ring_size(s), size = buffer_size(*e1000_reg(s, E1000_RCTL));

    unsigned steps = 0;

    for (size_t pos = 0; pos < f->wire;) {
        uint32_t head = *e1000_reg(s, E1000_RDH);
        size_t chunk = MIN(f->wire - pos, size);
        uint8_t d[16];
        if (!pci_dma_read(&s->pci, base + head * 16, d, sizeof(d))) {
            memset(d, 0, sizeof(d));
        }
        uint64_t addr = pci_get32(d) | (uint64_t)pci_get32(d + 4) << 32;
        if (addr) { /* a null address is skipped over */
            static const uint8_t fcs[4];
            size_t data = pos < f->len ? MIN(chunk, f->len - pos) : 0;
            pci_dma_write(&s->pci, addr, f->buf + pos, data);
            pci_dma_write(&s->pci, addr + data, fcs, chunk - data);
        }
        bool last = addr && pos + chunk == f->wire;
        pci_set16(d + 8, (uint16_t)chunk);
        pci_set16(d + 10, f->sum);
        d[12] = RXD_DD | (last ? RXD_EOP | f->status : 0);
        d[13] = last ? f->errors : 0;
        pci_set16(d + 14, last ? f->tag : 0);
        put_descriptor(s, head, d);
        *e1000_reg(s, E1000_RDH) = head + 1 >= n ? 0 : head + 1;
        pos += addr ? chunk : 0;
        if (!ring_free(s) || ++steps > 256) {
            if (last) {
                return;
            }
            guest_error("e1000: receive descriptors without buffers");
            return;
        }
    }
}

/* False: no room now. */
static bool take(E1000 *s, const uint8_t *buf, size_t len)
{
    uint8_t copy[E1000_JUMBO];
    uint32_t rctl = *e1000_reg(s, E1000_RCTL);
    bool pif;

    if (len < 14 || len > E1000_JUMBO) {
        e1000_count(s, len < 14 ? E1000_RUC : E1000_ROC, 1);
        return true;
    }
    if (len < NET_MIN_FRAME) {
        memcpy(copy, buf, len);
        memset(copy + len, 0, NET_MIN_FRAME - len);
        buf = copy;
        len = NET_MIN_FRAME;
    }
    if (len + 4 > MAX_STANDARD && !(rctl & RCTL_LPE)) {
        e1000_count(s, E1000_ROC, 1);
        return true;
    }
    if (!accept(s, buf, len, &pif)) {
        return true;
    }
    RxFrame f = {.buf = buf, .len = len, .status = pif ? RXD_PIF : 0};
    check_sums(s, buf, len, &f.status, &f.errors);
    f.sum = packet_sum(s, buf, len);
    if ((*e1000_reg(s, E1000_CTRL) & E1000_CTRL_VME) &&
        (buf[12] << 8 | buf[13]) == (*e1000_reg(s, E1000_VET) & 0xffff)) {
        f.tag = buf[14] << 8 | buf[15];
        f.status |= RXD_VP;
        memmove(copy + 12, buf + 16, len - 16);
        memmove(copy, buf, 12);
        f.buf = copy;
        f.len = len - 4;
    }
    f.wire = f.len + (rctl & RCTL_SECRC ? 0 : 4);
    uint32_t need = (f.wire + buffer_size(rctl) - 1) / buffer_size(rctl);
    if (need > ring_free(s)) {
        if (need < ring_size(s)) {
            return false;
        }
        e1000_count(s, E1000_MPC, 1);
        e1000_raise(s, E1000_INT_RXO);
        return true;
    }
    count_frame(s, buf, len + 4);
    store_frame(s, &f);
    notify(s, len);
    return true;
}

bool e1000_receive(NetPort *p, const uint8_t *buf, size_t len)
{
    E1000 *s = e1000_of(p);

    if (!(*e1000_reg(s, E1000_RCTL) & RCTL_EN)) {
        return true;
    }
    return take(s, buf, len);
}

void e1000_loop_back(E1000 *s, const uint8_t *buf, size_t len)
{
    if ((*e1000_reg(s, E1000_RCTL) & RCTL_EN) && !take(s, buf, len)) {
        e1000_count(s, E1000_MPC, 1);
        e1000_count(s, E1000_RNBC, 1);
        e1000_raise(s, E1000_INT_RXO);
    }
}
