/* 82540EM: the transmit ring, checksum offload and TCP segmentation. */
#include "core/log.h"
#include "hw/net/e1000.h"
#include <inttypes.h>
#include <string.h>

enum { TCTL_EN = 1 << 1, TCTL_PSP = 1 << 3 };
enum {
    CMD_EOP = 1,
    CMD_IFCS = 2,
    CMD_IC = 4, /* legacy: insert checksum; else: segmentation */
    CMD_TSE = 4,
    CMD_RS = 8,
    CMD_RPS = 0x10,
    CMD_DEXT = 0x20,
    CMD_VLE = 0x40,
    CMD_IDE = 0x80,
};
enum { TUCMD_TCP = 1, TUCMD_IP = 2 };
enum { POPTS_IXSM = 1, POPTS_TXSM = 2 };
enum { DTYP_CONTEXT = 0, DTYP_DATA = 1 };

/* What one turn may do; the rest follows from a timer, so that a ring that is huge, or refilled
 * while it is read, does not keep the machine from its other work. */
#define TX_TURN_DESCRIPTORS 1024
#define TX_TURN_BYTES (1u << 20)
#define MAX_SEGMENTS 2048   /* of one send */
#define TX_TURN_PAUSE 20000 /* ns */

void e1000_tx_reset(E1000 *s)
{
    s->tx_len = 0;
    s->tx_tso = s->tx_drop = s->tx_vlan = s->tx_started = false;
    s->tx_popts = 0;
    s->tx_tag = 0;
}

/* ---- one frame onto the wire ---- */

static void count_sent(E1000 *s, const uint8_t *buf, size_t wire)
{
    e1000_count(s, E1000_TPT, 1);
    e1000_count64(s, E1000_TOTL, wire);
    e1000_count(s, E1000_GPTC, 1);
    e1000_count64(s, E1000_GOTCL, wire);
    e1000_count(s, E1000_PTC64 + 4 * e1000_size_class(wire), 1);
    if (buf[0] & 1) {
        bool all = true;
        for (unsigned i = 0; i < 6; i++) {
            all &= buf[i] == 0xff;
        }
        e1000_count(s, all ? E1000_BPTC : E1000_MPTC, 1);
    }
}

static void put_on_wire(E1000 *s, const uint8_t *buf, size_t len)
{
    uint8_t out[E1000_JUMBO + 4];
    bool tag = s->tx_vlan && (*e1000_reg(s, E1000_CTRL) & E1000_CTRL_VME);

    if (len < 14 || len > E1000_JUMBO) {
        guest_error("e1000: a frame of %zu bytes is not sent", len);
        return;
    }
    if (tag || len < NET_MIN_FRAME) {
        unsigned vet = *e1000_reg(s, E1000_VET) & 0xffff, skip = tag ? 4 : 0;
        memcpy(out, buf, 12);
        memcpy(out + 12 + skip, buf + 12, len - 12);
        if (tag) {
            out[12] = vet >> 8;
            out[13] = vet;
            out[14] = s->tx_tag >> 8;
            out[15] = s->tx_tag;
        }
        len += skip;
        if (len < NET_MIN_FRAME && (*e1000_reg(s, E1000_TCTL) & TCTL_PSP)) {
            memset(out + len, 0, NET_MIN_FRAME - len);
            len = NET_MIN_FRAME;
        }
        buf = out;
    }
    count_sent(s, buf, len + 4);
    /* Loopback in the MAC or transceiver, or in the PHY. */
    if ((*e1000_reg(s, E1000_RCTL) & 0xc0) || (s->phy[0] & 0x4000)) {
        e1000_loop_back(s, buf, len);
    } else {
        net_send(&s->port, buf, len);
    }
}

/* ---- checksums and segments ---- */

/* The sum of bytes @css…@cse (0: to the end) goes to @cso. */
static void insert_sum(uint8_t *buf, size_t len, size_t css, size_t cso, size_t cse)
{
    size_t end = cse && cse < len ? cse + 1 : len;

    if (css >= end || cso + 2 > len) {
        return;
    }
    uint16_t sum = ~net_fold(net_sum(buf + css, end - css, 0));
    buf[cso] = sum >> 8;
    buf[cso + 1] = sum;
}

static void insert_sums(const E1000Context *c, uint8_t popts, uint8_t *buf, size_t len)
{
    if (popts & POPTS_TXSM) {
        insert_sum(buf, len, c->tucss, c->tucso, c->tucse);
    }
    if (popts & POPTS_IXSM) {
        insert_sum(buf, len, c->ipcss, c->ipcso, c->ipcse);
    }
}

static void add16(uint8_t *p, unsigned v)
{
    v += p[0] << 8 | p[1];
    p[0] = v >> 8;
    p[1] = v;
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = v >> 8;
    p[1] = v;
}

/* Headers of segment @n: lengths, identification, sequence number, flags, pseudo-header sum. */
static void adjust_headers(const E1000Context *c, uint8_t *f, size_t len, unsigned n, size_t sent,
                           bool last)
{
    if (c->ip4) {
        put16(f + c->ipcss + 2, len - c->ipcss);
        add16(f + c->ipcss + 4, n);
    } else {
        put16(f + c->ipcss + 4, len - c->ipcss - 40);
    }
    if (c->tcp) {
        uint8_t *tcp = f + c->tucss;
        uint32_t seq = (uint32_t)tcp[4] << 24 | tcp[5] << 16 | tcp[6] << 8 | tcp[7];
        seq += sent;
        put16(tcp + 4, seq >> 16);
        put16(tcp + 6, seq & 0xffff);
        if (!last) {
            tcp[13] &= ~9; /* FIN, PSH */
        }
    } else {
        put16(f + c->tucss + 4, len - c->tucss);
    }
    if (c->tucso + 2u <= len) { /* the driver's pseudo-header sum is without the length */
        uint8_t *sum = f + c->tucso;
        put16(sum, net_fold((sum[0] << 8 | sum[1]) + (uint32_t)(len - c->tucss)));
    }
}

static bool tso_sane(const E1000Context *c, size_t len)
{
    size_t l3 = c->ip4 ? 20 : 40, l4 = c->tcp ? 20 : 8;

    return c->mss && len / c->mss <= MAX_SEGMENTS && c->hdrlen >= 14 && c->hdrlen <= len &&
           c->ipcss >= 14 && c->ipcss + l3 <= c->hdrlen && c->tucss >= 14 &&
           c->tucss + l4 <= c->hdrlen && c->hdrlen + c->mss <= E1000_JUMBO;
}

static void send_segments(E1000 *s)
{
    const E1000Context *c = &s->tso;
    uint8_t frame[E1000_JUMBO];
    size_t payload = s->tx_len - MIN(c->hdrlen, s->tx_len), pos = 0;

    if (!tso_sane(c, s->tx_len)) {
        guest_error("e1000: segmentation with headers of %u, segments of %u bytes", c->hdrlen,
                    c->mss);
        e1000_count(s, E1000_TSCTFC, 1);
        return;
    }
    for (unsigned n = 0; n == 0 || pos < payload; n++) {
        size_t part = MIN(payload - pos, c->mss), len = c->hdrlen + part;
        memcpy(frame, s->tx_buf, c->hdrlen);
        memcpy(frame + c->hdrlen, s->tx_buf + c->hdrlen + pos, part);
        adjust_headers(c, frame, len, n, pos, pos + part >= payload);
        insert_sums(c, s->tx_popts, frame, len);
        put_on_wire(s, frame, len);
        pos += part;
    }
    e1000_count(s, E1000_TSCTC, 1);
}

/* ---- descriptors ---- */

static void gather(E1000 *s, uint64_t addr, uint32_t len)
{
    if (len > E1000_FRAME_MAX - s->tx_len) {
        if (!s->tx_drop) {
            guest_error("e1000: a send of more than %d bytes is dropped", E1000_FRAME_MAX);
        }
        s->tx_drop = true;
        return;
    }
    pci_dma_read(&s->pci, addr, s->tx_buf + s->tx_len, len);
    s->tx_len += len;
}

static void set_context(E1000 *s, const uint8_t d[16])
{
    uint32_t cmd = pci_get32(d + 8);
    E1000Context c = {
        .ipcss = d[0],
        .ipcso = d[1],
        .ipcse = pci_get16(d + 2),
        .tucss = d[4],
        .tucso = d[5],
        .tucse = pci_get16(d + 6),
        .tcp = cmd >> 24 & TUCMD_TCP,
        .ip4 = cmd >> 24 & TUCMD_IP,
        .hdrlen = d[13],
        .mss = pci_get16(d + 14),
    };
    if (cmd >> 24 & CMD_TSE) {
        s->tso = c;
    } else {
        s->off = c;
    }
}

static void finish_frame(E1000 *s, const uint8_t d[16], bool legacy)
{
    uint8_t cmd = d[11];

    if (legacy) {
        /* CSO 10, CSS 13; an offset beyond the frame inserts nothing. */
        s->tx_vlan = cmd & CMD_VLE;
        s->tx_tag = pci_get16(d + 14);
        if (cmd & CMD_IC) {
            insert_sum(s->tx_buf, s->tx_len, d[13], d[10], 0);
        }
    }
    if (s->tx_drop) {
        s->tx_drop = false;
    } else if (s->tx_tso) {
        send_segments(s);
    } else {
        insert_sums(&s->off, s->tx_popts, s->tx_buf, s->tx_len);
        put_on_wire(s, s->tx_buf, s->tx_len);
    }
    e1000_tx_reset(s);
}

/* Returns the bytes it was about. */
static uint32_t one_descriptor(E1000 *s, const uint8_t d[16])
{
    uint32_t dword2 = pci_get32(d + 8);
    uint64_t addr = pci_get32(d) | (uint64_t)pci_get32(d + 4) << 32;
    uint8_t cmd = dword2 >> 24;
    uint32_t len;

    if (!(cmd & CMD_DEXT)) {
        len = dword2 & 0xffff;
        gather(s, addr, len);
        if (cmd & CMD_EOP) {
            finish_frame(s, d, true);
        }
        return len;
    }
    if ((dword2 >> 20 & 15) == DTYP_CONTEXT) {
        set_context(s, d);
        return 0;
    }
    if ((dword2 >> 20 & 15) != DTYP_DATA) {
        guest_error("e1000: transmit descriptor of type %u", dword2 >> 20 & 15);
        return 0;
    }
    if (!s->tx_started) { /* options count in the first descriptor of a frame */
        s->tx_started = true;
        s->tx_popts = d[13];
        s->tx_tso = cmd & CMD_TSE;
    }
    if (cmd & CMD_VLE) {
        s->tx_vlan = true;
        s->tx_tag = pci_get16(d + 14);
    }
    len = dword2 & 0xfffff;
    gather(s, addr, len);
    if (cmd & CMD_EOP) {
        finish_frame(s, d, false);
    }
    return MIN(len, E1000_FRAME_MAX);
}

/* Says that the descriptor is done; returns the interrupt causes to raise now. */
static uint32_t write_back(E1000 *s, uint64_t at, const uint8_t d[16])
{
    uint8_t cmd = d[11], status = (d[12] & 0xf0) | 1;
    bool context = (cmd & CMD_DEXT) && !(d[10] >> 4);

    if (!(cmd & (CMD_RS | CMD_RPS))) {
        return 0;
    }
    pci_dma_write(&s->pci, at + 12, &status, 1);
    if (!(cmd & CMD_IDE) || context || !(*e1000_reg(s, E1000_TIDV) & 0xffff)) {
        return E1000_INT_TXDW;
    }
    int64_t now = clock_now(s->clock), abs = *e1000_reg(s, E1000_TADV) & 0xffff;
    if (s->tx_deadline < 0) {
        s->tx_deadline = abs ? now + abs * 1024 : INT64_MAX;
    }
    timer_set(&s->tx_timer,
              MIN(now + (*e1000_reg(s, E1000_TIDV) & 0xffff) * 1024LL, s->tx_deadline));
    return 0;
}

void e1000_transmit(E1000 *s)
{
    uint64_t base = *e1000_reg(s, E1000_TDBAL) | (uint64_t)*e1000_reg(s, E1000_TDBAH) << 32;
    uint32_t n = *e1000_reg(s, E1000_TDLEN) / 16, *head = e1000_reg(s, E1000_TDH), causes = 0;
    uint32_t done = 0, bytes = 0;

    timer_del(&s->tx_work);
    if (!(*e1000_reg(s, E1000_TCTL) & TCTL_EN) || !n) {
        return;
    }
    if (*head >= n || *e1000_reg(s, E1000_TDT) >= n) {
        guest_error("e1000: transmit head %u, tail %u in a ring of %u", *head,
                    *e1000_reg(s, E1000_TDT), n);
        return;
    }
    while (*head != *e1000_reg(s, E1000_TDT)) {
        uint64_t at = base + *head * 16;
        uint8_t d[16];
        if (done++ >= TX_TURN_DESCRIPTORS || bytes >= TX_TURN_BYTES) {
            timer_set(&s->tx_work, clock_now(s->clock) + TX_TURN_PAUSE);
            break;
        }
        if (!pci_dma_read(&s->pci, at, d, sizeof(d))) {
            guest_error("e1000: transmit descriptor at %" PRIx64 " cannot be read", at);
            memset(d, 0, sizeof(d));
        }
        bytes += one_descriptor(s, d);
        causes |= write_back(s, at, d);
        *head = *head + 1 >= n ? 0 : *head + 1;
    }
    if (*head == *e1000_reg(s, E1000_TDT)) {
        causes |= E1000_INT_TXQE;
    }
    if (causes) {
        e1000_raise(s, causes);
    }
}
