/* RTL8139: filters, the receive ring of C mode and the descriptors of C+ mode. */
#include "core/log.h"
#include "hw/net/rtl8139.h"
#include <string.h>

enum { RCR_AAP = 1, RCR_APM = 2, RCR_AM = 4, RCR_AB = 8 };
enum { RX_ROK = 1, RX_BAR = 0x2000, RX_PAM = 0x4000, RX_MAR = 0x8000 };
#define RX_MAX 16383 /* with FCS: what the length fields can say */
#define CP_OWN (1u << 31)
#define CP_EOR (1u << 30)
#define CP_FS_LS (3u << 28)
#define CP_RING 64 /* descriptors at most */

uint32_t rtl_ring_size(const Rtl8139 *s)
{
    return 8192u << (s->rcr >> 11 & 3);
}

/* Bytes that the ring takes; one that is empty takes all but nothing ever fills it up wholly. */
static uint32_t ring_room(const Rtl8139 *s)
{
    uint32_t size = rtl_ring_size(s), used = (s->cbr - (uint16_t)(s->capr + 16)) & (size - 1);

    return size - used;
}

static uint64_t cp_at(const Rtl8139 *s)
{
    return s->rdsar + s->cp_rx * 16;
}

bool rtl_can_receive(NetPort *p)
{
    Rtl8139 *s = rtl_of(p);
    uint8_t d[4];

    if (!(s->cr & RTL_CR_RE)) {
        return true; /* and drop */
    }
    if (s->cpcr & RTL_CP_RX) {
        return !pci_dma_read(&s->pci, cp_at(s), d, 4) || pci_get32(d) & CP_OWN;
    }
    return ring_room(s) > 64;
}

/* Status bits of the C mode header; 0: not for us. */
static uint16_t accept(Rtl8139 *s, const uint8_t *buf)
{
    static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};

    if (!memcmp(buf, broadcast, 6)) {
        s->tally.rx_bcast += !!(s->rcr & (RCR_AB | RCR_AAP));
        return s->rcr & (RCR_AB | RCR_AAP) ? RX_ROK | RX_BAR : 0;
    }
    if (buf[0] & 1) {
        unsigned hash = net_mac_crc(buf) >> 26;
        bool ok =
            (s->rcr & RCR_AAP) || ((s->rcr & RCR_AM) && (s->mar[hash >> 3] >> (hash & 7) & 1));
        s->tally.rx_mcast += ok;
        return ok ? RX_ROK | RX_MAR : 0;
    }
    if (!memcmp(buf, s->idr, 6)) {
        s->tally.rx_phys += !!(s->rcr & (RCR_APM | RCR_AAP));
        return s->rcr & (RCR_APM | RCR_AAP) ? RX_ROK | RX_PAM : 0;
    }
    return s->rcr & RCR_AAP ? RX_ROK : 0;
}

static void missed(Rtl8139 *s, uint16_t cause)
{
    s->mpc = (s->mpc + 1) & 0xffffff;
    s->tally.missed++;
    rtl_raise(s, cause);
}

/* ---- C mode ---- */

static void ring_put(Rtl8139 *s, const void *data, uint32_t len)
{
    uint32_t size = rtl_ring_size(s), pos = s->cbr & (size - 1);
    uint32_t part = MIN(len, size - pos);

    /* WRAP: a frame goes on behind the end; not with 64K, where there is no room. */
    if ((s->rcr & RTL_RX_WRAP) && size < 65536) {
        part = len;
    }
    pci_dma_write(&s->pci, s->rbstart + (uint64_t)pos, data, part);
    if (part < len) {
        pci_dma_write(&s->pci, s->rbstart, (const uint8_t *)data + part, len - part);
    }
}

static bool receive_c(Rtl8139 *s, const uint8_t *buf, size_t len, uint16_t status)
{
    uint8_t frame[4 + RX_MAX + 4];
    uint32_t size = rtl_ring_size(s), need = (4 + (uint32_t)len + 4 + 3) & ~3u;

    if (need >= size) {
        missed(s, RTL_RXOVW);
        return true;
    }
    if (need + 4 > ring_room(s)) {
        return false;
    }
    pci_set16(frame, status);
    pci_set16(frame + 2, (uint16_t)(len + 4));
    memcpy(frame + 4, buf, len);
    memset(frame + 4 + len, 0, 4);
    ring_put(s, frame, 4 + (uint32_t)len + 4);
    s->cbr = (uint16_t)(((s->cbr & (size - 1)) + need) & (size - 1));
    s->tally.rx_ok++;
    rtl_raise(s, RTL_ROK);
    return true;
}

/* ---- C+ mode ---- */

/* Protocol and checksum failure bits of IPv4. */
static uint32_t cp_checksums(const uint8_t *buf, size_t len)
{
    const uint8_t *ip = buf + 14;

    if (len < 34 || buf[12] != 8 || buf[13] || ip[0] >> 4 != 4) {
        return 0;
    }
    size_t ihl = (ip[0] & 15) * 4, total = ip[2] << 8 | ip[3];
    if (ihl < 20 || total < ihl || 14 + total > len) {
        return 0;
    }
    uint32_t r = 3u << 17;
    if (net_fold(net_sum(ip, ihl, 0)) != 0xffff) {
        r |= 1u << 16;
    }
    bool fragment = (ip[6] << 8 | ip[7]) & 0x3fff, udp = ip[9] == 17;
    size_t l4 = total - ihl;
    if (fragment || (!udp && ip[9] != 6) || l4 < (udp ? 8 : 20)) {
        return r;
    }
    r = (r & ~(3u << 17)) | (udp ? 2u : 1u) << 17;
    bool none = udp && !ip[ihl + 6] && !ip[ihl + 7];
    uint32_t sum = net_sum(ip + 12, 8, ip[9] + (uint32_t)l4);
    if (!none && net_fold(net_sum(ip + ihl, l4, sum)) != 0xffff) {
        r |= udp ? 1u << 15 : 1u << 14;
    }
    return r;
}

static bool receive_cp(Rtl8139 *s, const uint8_t *buf, size_t len, uint16_t status)
{
    static const uint8_t fcs[4];
    uint8_t d[16], copy[RX_MAX];
    uint32_t tag = 0;

    if (!pci_dma_read(&s->pci, cp_at(s), d, 16)) {
        guest_error("rtl8139: receive descriptor at %" G_GINT64_MODIFIER "x cannot be read",
                    cp_at(s));
        missed(s, RTL_RXOVW);
        return true;
    }
    uint32_t dw0 = pci_get32(d), size = dw0 & 0x1fff;
    if (!(dw0 & CP_OWN)) {
        return false;
    }
    uint32_t sums = s->cpcr & RTL_CP_CHKSUM ? cp_checksums(buf, len) : 0;
    if ((s->cpcr & RTL_CP_VLAN) && buf[12] == 0x81 && buf[13] == 0) {
        tag = 1u << 16 | buf[15] << 8 | buf[14];
        memcpy(copy, buf, 12);
        memcpy(copy + 12, buf + 16, len - 16);
        buf = copy;
        len -= 4;
    }
    if (len + 4 > size) { /* one descriptor a frame: what is too long is lost */
        missed(s, RTL_RXOVW);
        return true;
    }
    uint64_t addr = pci_get32(d + 8) | (uint64_t)pci_get32(d + 12) << 32;
    pci_dma_write(&s->pci, addr, buf, len);
    pci_dma_write(&s->pci, addr + len, fcs, 4);
    pci_set32(d + 4, tag);
    pci_set32(d, (dw0 & CP_EOR) | CP_FS_LS | sums | (status & RX_MAR ? 1u << 27 : 0) |
                     (status & RX_PAM ? 1u << 26 : 0) | (status & RX_BAR ? 1u << 25 : 0) |
                     (uint32_t)(len + 4));
    pci_dma_write(&s->pci, cp_at(s) + 4, d + 4, 4);
    pci_dma_write(&s->pci, cp_at(s), d, 4);
    s->cp_rx = dw0 & CP_EOR ? 0 : (s->cp_rx + 1) % CP_RING;
    s->tally.rx_ok++;
    rtl_raise(s, RTL_ROK);
    return true;
}

bool rtl_receive(NetPort *p, const uint8_t *buf, size_t len)
{
    Rtl8139 *s = rtl_of(p);
    uint8_t copy[NET_MIN_FRAME];

    if (!(s->cr & RTL_CR_RE)) {
        return true;
    }
    if (len < 14 || len + 4 > RX_MAX) {
        s->tally.rx_err++;
        return true;
    }
    if (len < sizeof(copy)) {
        memcpy(copy, buf, len);
        memset(copy + len, 0, sizeof(copy) - len);
        buf = copy;
        len = sizeof(copy);
    }
    uint16_t status = accept(s, buf);
    if (!status) {
        return true;
    }
    return s->cpcr & RTL_CP_RX ? receive_cp(s, buf, len, status) : receive_c(s, buf, len, status);
}
