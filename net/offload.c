/*
 * What a network adapter's offload engines do, for ports that take finished frames only: Internet
 * checksums (RFC 1071) and TCP segmentation over IPv4 and IPv6 (RFC 791, 8200, 9293).
 */
#include "net/net.h"
#include <string.h>

#define SEGMENT_MIN 32 /* bytes of payload: fewer would make thousands of frames of one */

enum { ETH_VLAN = 0x8100, ETH_QINQ = 0x88a8, ETH_IP4 = 0x0800, ETH_IP6 = 0x86dd };
enum { IP_TCP = 6 };
enum { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80 };

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v);
}

static bool fill_checksum(const NetTodo *t, uint8_t *buf, size_t len)
{
    size_t at = (size_t)t->csum_start + t->csum_off;

    if (t->csum_start >= len || at + 2 > len) {
        return false;
    }
    /* The field holds the sum of the pseudo header. */
    uint16_t sum = (uint16_t)~net_fold(net_sum(buf + t->csum_start, len - t->csum_start, 0));
    /* Of UDP, where 0 means "none"; for TCP both mean the same. */
    put16(buf + at, sum ? sum : 0xffff);
    return true;
}

typedef struct Packet {
    size_t ip, tcp, data; /* offsets of headers and payload */
    bool v6;
} Packet;

static bool parse(const NetTodo *t, const uint8_t *buf, size_t len, Packet *p)
{
    size_t off = 12;

    while (off + 4 <= len && off < 20 &&
           (get16(buf + off) == ETH_VLAN || get16(buf + off) == ETH_QINQ)) {
        off += 4;
    }
    p->ip = off + 2;
    p->tcp = t->csum_start;
    p->v6 = (t->gso_type & ~NET_GSO_ECN) == NET_GSO_TCP6;
    if (p->ip + (p->v6 ? 40 : 20) > len || get16(buf + off) != (p->v6 ? ETH_IP6 : ETH_IP4) ||
        buf[p->ip] >> 4 != (p->v6 ? 6 : 4)) {
        return false;
    }
    if (p->v6) {
        /* Extension headers are between; where they end is what the sender says. */
        if (p->tcp < p->ip + 40) {
            return false;
        }
    } else if (p->tcp != p->ip + 4u * (buf[p->ip] & 15) || p->tcp < p->ip + 20 ||
               buf[p->ip + 9] != IP_TCP) {
        return false;
    }
    if (p->tcp + 20 > len) {
        return false;
    }
    p->data = p->tcp + 4u * (buf[p->tcp + 12] >> 4);
    return p->data >= p->tcp + 20 && p->data < len && t->csum_off == 16;
}

/* Lengths, numbers and checksums of one segment of @len bytes; it is number @i and starts @off
 * bytes after the first. */
static void fix_headers(const Packet *p, uint8_t *buf, size_t len, unsigned i, size_t off,
                        bool last)
{
    uint8_t *ip = buf + p->ip, *tcp = buf + p->tcp;
    uint32_t tcp_len = (uint32_t)(len - p->tcp), sum;

    if (p->v6) {
        put16(ip + 4, (uint32_t)(len - p->ip - 40));
        sum = net_sum(ip + 8, 32, tcp_len + IP_TCP);
    } else {
        put16(ip + 2, (uint32_t)(len - p->ip));
        put16(ip + 4, get16(ip + 4) + i);
        put16(ip + 10, 0);
        put16(ip + 10, (uint16_t)~net_fold(net_sum(ip, p->tcp - p->ip, 0)));
        sum = net_sum(ip + 12, 8, tcp_len + IP_TCP);
    }
    put32(tcp + 4, get32(tcp + 4) + (uint32_t)off);
    if (!last) {
        tcp[13] &= ~(TCP_FIN | TCP_PSH);
    }
    if (i) {
        tcp[13] &= ~TCP_CWR;
    }
    put16(tcp + 16, 0);
    put16(tcp + 16, (uint16_t)~net_fold(net_sum(tcp, tcp_len, sum)));
}

bool net_finish(const NetTodo *t, uint8_t *buf, size_t len,
                void (*emit)(void *opaque, const uint8_t *buf, size_t len), void *opaque)
{
    uint8_t gso = t->gso_type & ~NET_GSO_ECN;
    uint8_t frame[NET_MAX_FRAME];
    Packet p;

    if (gso == NET_GSO_NONE) {
        if ((t->flags & NET_TODO_CSUM) && !fill_checksum(t, buf, len)) {
            return false;
        }
        emit(opaque, buf, len);
        return true;
    }
    if ((gso != NET_GSO_TCP4 && gso != NET_GSO_TCP6) || !(t->flags & NET_TODO_CSUM) ||
        t->gso_size < SEGMENT_MIN || !parse(t, buf, len, &p)) {
        return false;
    }
    size_t payload = len - p.data;
    unsigned i = 0;
    for (size_t off = 0; off < payload; off += t->gso_size, i++) {
        size_t n = MIN(t->gso_size, payload - off);
        memcpy(frame, buf, p.data);
        memcpy(frame + p.data, buf + p.data + off, n);
        fix_headers(&p, frame, p.data + n, i, off, off + n == payload);
        emit(opaque, frame, p.data + n);
    }
    return true;
}
