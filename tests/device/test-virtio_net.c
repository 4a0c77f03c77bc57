/*
 * virtio-net against VIRTIO 1.2, section 5.1: headers, merged buffers, filters, control commands,
 * queue pairs; and net/offload.c: checksums and segments as receivers check them (RFC 1071, 791,
 * 8200, 9293).
 */
#include "hw/net/virtio_net.h"
#include "virtio-fixture.h"

#define TX 0x100000u
#define RX 0x200000u
#define CTRL 0x300000u

typedef struct Wire {
    NetPort port;
    unsigned frames, todos;
    size_t len[64];
    uint8_t buf[64][2048]; /* of each its start */
    bool full;
    unsigned told; /* offloads */
} Wire;

typedef struct Bench {
    VFixture f;
    Wire w;
    VirtioNet *s;
} Bench;

static void keep(void *opaque, const uint8_t *buf, size_t len)
{
    Wire *w = opaque;

    g_assert_cmpuint(w->frames, <, 64);
    w->len[w->frames] = len;
    memcpy(w->buf[w->frames], buf, MIN(len, 2048));
    w->frames++;
}

static bool wire_can_receive(NetPort *p)
{
    return !((Wire *)p)->full;
}

static bool wire_receive(NetPort *p, const uint8_t *buf, size_t len)
{
    keep(p, buf, len);
    return true;
}

static bool wire_receive_todo(NetPort *p, const NetTodo *todo, const uint8_t *buf, size_t len)
{
    ((Wire *)p)->todos++;
    keep(p, buf, len);
    return true;
}

static void wire_offloads(NetPort *p, unsigned offloads)
{
    ((Wire *)p)->told = offloads;
}

static const NetPortOps plain_ops = {
    .kind = "test", .can_receive = wire_can_receive, .receive = wire_receive};
static const NetPortOps todo_ops = {.kind = "test",
                                    .can_receive = wire_can_receive,
                                    .receive = wire_receive,
                                    .receive_todo = wire_receive_todo,
                                    .peer_offloads = wire_offloads};

static void bench_open(Bench *b, const char *prop, const char *val)
{
    memset(b, 0, sizeof(*b));
    vf_machine(&b->f, false);
    Device *dev = device_new(device_type_find("virtio-net-device"), b->f.r.m);
    device_set(dev, "mac", "52:54:00:01:02:03", NULL);
    if (prop) {
        g_assert_true(device_set(dev, prop, val, NULL));
        g_assert_true(device_set(dev, "queues", "3", NULL));
    }
    vf_plug(&b->f, dev);
    b->s = (VirtioNet *)b->f.v;
    b->w.port.ops = &plain_ops;
    b->w.port.m = b->f.r.m;
    b->w.port.peer = &b->s->port;
    b->s->port.peer = &b->w.port;
}

static void bench_close(Bench *b)
{
    rig_roundtrip(b->f.dev);
    b->s->port.peer = NULL;
    net_purge(&b->w.port);
    vf_close(&b->f);
}

static void fill(Bench *b, uint64_t at, const void *data, size_t len)
{
    mem_write(b->f.r.m->memory, at, data, len);
}

/* A packet with header @hdr on queue @n, in pieces of odd sizes. */
static void send(Bench *b, unsigned n, const uint8_t hdr[12], const uint8_t *frame, size_t len)
{
    const VfBuf bufs[] = {{TX, 5, false}, {TX + 5, 20, false}, {TX + 25, len + 12 - 25, false}};
    uint32_t head = 0, used = 0;

    fill(b, TX, hdr, 12);
    fill(b, TX + 12, frame, len);
    vf_add(&b->f, n, bufs, 3);
    vf_kick(&b->f, n);
    g_assert_true(vf_used(&b->f, n, &head, &used));
    g_assert_cmpuint(used, ==, 0);
}

static void test_config(void)
{
    Bench b;

    bench_open(&b, NULL, NULL);
    g_assert_cmphex(vf_reg(&b.f, 0x100), ==, 0x01005452);
    g_assert_cmphex(vf_reg(&b.f, 0x104), ==, 0x10302); /* link up */
    g_assert_cmphex(vf_reg(&b.f, 0x10) & 0xffffff, ==,
                    0xbfbbe7); /* all but GUEST_UFO, HOST_UFO, MQ, MTU */
    vf_start(&b.f, ~0ull & ~VIRTIO_F_EVENT_IDX, 3, 64);
    vf_ack(&b.f);
    net_set_link(&b.s->port, false);
    g_assert_cmphex(vf_ack(&b.f), ==, 2);
    g_assert_cmphex(vf_reg(&b.f, 0x104), ==, 0x00302);
    /* The address is read only for 1.x drivers. */
    mem_store(b.f.r.m->memory, VF_BASE + 0x100, 0xaa, 1);
    g_assert_cmphex(vf_reg(&b.f, 0x100), ==, 0x01005452);
    bench_close(&b);
}

static void test_send(void)
{
    Bench b;
    uint8_t hdr[12] = {0}, frame[100];

    bench_open(&b, NULL, NULL);
    vf_start(&b.f, VIRTIO_BIT(0), 2, 64);
    for (unsigned i = 0; i < sizeof(frame); i++) {
        frame[i] = (uint8_t)i;
    }
    send(&b, 1, hdr, frame, 100);
    g_assert_cmpuint(b.w.frames, ==, 1);
    g_assert_cmpmem(b.w.buf[0], b.w.len[0], frame, 100);
    /* A checksum of bytes 14 to the end, at 14 + 16. */
    hdr[0] = 1;
    hdr[6] = 14;
    hdr[8] = 16;
    send(&b, 1, hdr, frame, 100);
    g_assert_cmpuint(b.w.frames, ==, 2);
    uint32_t want = 0;
    for (unsigned i = 14; i < 100; i += 2) {
        want += frame[i] << 8 | frame[i + 1];
    }
    want = (want & 0xffff) + (want >> 16);
    want = (want & 0xffff) + (want >> 16);
    g_assert_cmphex(b.w.buf[1][30] << 8 | b.w.buf[1][31], ==, (uint16_t)~want);
    /* Beyond the end of the frame: dropped. */
    hdr[6] = 99;
    send(&b, 1, hdr, frame, 100);
    hdr[6] = 90;
    hdr[8] = 9;
    send(&b, 1, hdr, frame, 100);
    hdr[1] = 77;
    send(&b, 1, hdr, frame, 100);
    g_assert_cmpuint(b.w.frames, ==, 2);
    /* Too short for a header, and too long for a frame. */
    const VfBuf tiny = {TX, 11, false}, huge = {TX, 0xfffffff0, false};
    vf_add(&b.f, 1, &tiny, 1);
    vf_add(&b.f, 1, &huge, 1);
    vf_kick(&b.f, 1);
    g_assert_cmpuint(b.w.frames, ==, 2);
    g_assert_cmpuint(vf_used_idx(&b.f, 1), ==, 7);
    bench_close(&b);
}

/* A peer that is full stops the queue, and starts it again. */
static void test_backpressure(void)
{
    Bench b;
    uint8_t frame[64] = {0};
    const VfBuf buf = {TX, 76, false};

    bench_open(&b, NULL, NULL);
    vf_start(&b.f, 0, 2, 64);
    fill(&b, TX, frame, sizeof(frame));
    b.w.full = true;
    for (unsigned i = 0; i < 10; i++) {
        vf_add(&b.f, 1, &buf, 1);
        vf_kick(&b.f, 1);
    }
    g_assert_cmpuint(vf_used_idx(&b.f, 1), ==, 1); /* that one waits in the peer's queue */
    b.w.full = false;
    net_flush(&b.w.port);
    clock_step(b.f.r.clk, 1);
    g_assert_cmpuint(vf_used_idx(&b.f, 1), ==, 10);
    g_assert_cmpuint(b.w.frames, ==, 10);
    bench_close(&b);
}

static void make_tcp4(uint8_t *f, size_t payload)
{
    const uint8_t head[54] = {
        [12] = 8,  [14] = 0x45, [19] = 7,    [22] = 64,   [23] = 6, [26] = 10,   [29] = 1,
        [30] = 10, [33] = 2,    [34] = 0x12, [36] = 0x34, [41] = 5, [46] = 0x50, [47] = 0x99};
    memcpy(f, head, 54);
    f[16] = (uint8_t)((40 + payload) >> 8);
    f[17] = (uint8_t)(40 + payload);
    for (size_t i = 0; i < payload; i++) {
        f[54 + i] = (uint8_t)(i * 3);
    }
}

static void test_segmentation(void)
{
    Bench b;
    static uint8_t frame[54 + 2500];
    const uint8_t hdr[12] = {[0] = 1, [1] = 1, [2] = 54, [4] = 0xe8, [5] = 3, [6] = 34, [8] = 16};

    bench_open(&b, NULL, NULL);
    make_tcp4(frame, 2500);
    vf_start(&b.f, VIRTIO_BIT(0) | VIRTIO_BIT(11), 2, 64);
    send(&b, 1, hdr, frame, sizeof(frame));
    g_assert_cmpuint(b.w.frames, ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        const uint8_t *p = b.w.buf[i];
        size_t n = i < 2 ? 1000 : 500;
        g_assert_cmpuint(b.w.len[i], ==, 54 + n);
        g_assert_cmpuint(p[16] << 8 | p[17], ==, 40 + n);
        g_assert_cmpuint(p[18] << 8 | p[19], ==, 7 + i);
        g_assert_cmpuint(p[40] << 8 | p[41], ==, 5 + 1000 * i);
        /* CWR in the first, FIN and PSH in the last, ACK in all. */
        g_assert_cmphex(p[47], ==, i == 0 ? 0x90 : i == 1 ? 0x10 : 0x19);
        g_assert_cmphex(net_fold(net_sum(p + 14, 20, 0)), ==, 0xffff);
        g_assert_cmphex(net_fold(net_sum(p + 34, 20 + n, net_sum(p + 26, 8, 6 + 20 + (uint32_t)n))),
                        ==, 0xffff);
        g_assert_cmpmem(p + 54, n, frame + 54 + 1000 * i, n);
    }
    /* A peer that segments itself gets it whole, if it takes that kind. */
    b.w.frames = 0;
    b.w.port.ops = &todo_ops;
    b.w.port.offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4;
    send(&b, 1, hdr, frame, sizeof(frame));
    g_assert_cmpuint(b.w.todos, ==, 1);
    g_assert_cmpuint(b.w.frames, ==, 1);
    b.w.port.offloads = NET_OFFLOAD_CSUM;
    send(&b, 1, hdr, frame, sizeof(frame));
    g_assert_cmpuint(b.w.todos, ==, 1);
    g_assert_cmpuint(b.w.frames, ==, 4);
    bench_close(&b);
}

static void test_segmentation6(void)
{
    Wire *w = g_new0(Wire, 1);
    static uint8_t f[14 + 4 + 40 + 8 + 32 + 3000];
    NetTodo t = {.flags = NET_TODO_CSUM,
                 .gso_type = NET_GSO_TCP6,
                 .gso_size = 1440,
                 .csum_start = 66,
                 .csum_off = 16};

    /* VLAN tag, IPv6, a destination options header, TCP with 12 bytes of options. */
    f[12] = 0x81;
    f[16] = 0x86;
    f[17] = 0xdd;
    f[18] = 0x60;
    f[24] = 60;
    f[41] = 1;
    f[57] = 2;
    f[58] = 6;
    f[78] = 0x80;
    f[79] = 0x10;
    g_assert_true(net_finish(&t, f, sizeof(f), keep, w));
    g_assert_cmpuint(w->frames, ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        const uint8_t *p = w->buf[i];
        size_t n = i < 2 ? 1440 : 120;
        g_assert_cmpuint(w->len[i], ==, 98 + n);
        g_assert_cmpuint(p[22] << 8 | p[23], ==, 8 + 32 + n);
        g_assert_cmpuint(p[72] << 8 | p[73], ==, 1440 * i);
        g_assert_cmphex(
            net_fold(net_sum(p + 66, 32 + n, net_sum(p + 26, 32, 6 + 32 + (uint32_t)n))), ==,
            0xffff);
    }
    /* Contradictions. */
    w->frames = 0;
    t.gso_size = 1;
    g_assert_false(net_finish(&t, f, sizeof(f), keep, w));
    t.gso_size = 1440;
    t.csum_start = 40;
    g_assert_false(net_finish(&t, f, sizeof(f), keep, w));
    t.csum_start = 65535;
    g_assert_false(net_finish(&t, f, sizeof(f), keep, w));
    t.csum_start = 66;
    for (size_t len = 0; len < 98; len++) {
        g_assert_false(net_finish(&t, f, len, keep, w));
    }
    t.gso_type = NET_GSO_TCP4;
    g_assert_false(net_finish(&t, f, sizeof(f), keep, w));
    g_assert_cmpuint(w->frames, ==, 0);
    g_free(w);
}

static void add_rx(Bench *b, unsigned n, unsigned count, uint32_t len)
{
    for (unsigned i = 0; i < count; i++) {
        const VfBuf buf = {RX + (n * 64 + i) * 4096u, len, true};
        vf_add(&b->f, n, &buf, 1);
    }
    vf_kick(&b->f, n);
}

static void test_receive(void)
{
    Bench b;
    uint8_t frame[200];
    uint32_t head = 0, len = 0;

    bench_open(&b, NULL, NULL);
    vf_start(&b.f, 0, 2, 64);
    for (unsigned i = 0; i < sizeof(frame); i++) {
        frame[i] = (uint8_t)i;
    }
    net_send(&b.w.port, frame, 200); /* waits */
    add_rx(&b, 0, 2, 1526);
    g_assert_true(vf_used(&b.f, 0, &head, &len));
    g_assert_cmpuint(len, ==, 212);
    g_assert_cmphex(readl(&b.f.r, RX), ==, 0);
    g_assert_cmphex(readl(&b.f.r, RX + 8), ==, 0x10000); /* num_buffers is 1 */
    g_assert_cmphex(readl(&b.f.r, RX + 12), ==, 0x03020100);
    g_assert_cmphex(vf_ack(&b.f), ==, 1);
    /* Does not fit: dropped, the buffer stays. */
    static uint8_t big[3000];
    net_send(&b.w.port, big, sizeof(big));
    g_assert_false(vf_used(&b.f, 0, &head, &len));
    net_send(&b.w.port, frame, 200);
    g_assert_true(vf_used(&b.f, 0, &head, &len));
    g_assert_cmpuint(head, ==, 1);
    bench_close(&b);
}

static void test_merged(void)
{
    Bench b;
    static uint8_t big[3000];
    uint32_t head = 0, len = 0;

    bench_open(&b, NULL, NULL);
    vf_start(&b.f, VIRTIO_BIT(15), 2, 64);
    for (unsigned i = 0; i < sizeof(big); i++) {
        big[i] = (uint8_t)(i * 5);
    }
    add_rx(&b, 0, 2, 1000);
    net_send(&b.w.port, big, sizeof(big)); /* two are not enough: it waits */
    g_assert_cmpuint(vf_used_idx(&b.f, 0), ==, 0);
    const VfBuf more[] = {{RX + 2 * 4096, 1000, true}, {RX + 3 * 4096, 1000, true}};
    vf_add(&b.f, 0, more, 1);
    vf_add(&b.f, 0, more + 1, 1);
    vf_kick(&b.f, 0);
    g_assert_cmpuint(vf_used_idx(&b.f, 0), ==, 4);
    g_assert_cmpuint(vf_read16(&b.f, RX + 10), ==, 4);
    static const unsigned want[] = {1000, 1000, 1000, 12};
    size_t at = 0;
    for (unsigned i = 0; i < 4; i++) {
        g_assert_true(vf_used(&b.f, 0, &head, &len));
        g_assert_cmpuint(head, ==, i);
        g_assert_cmpuint(len, ==, want[i]);
        for (unsigned k = i ? 0 : 12; k < len; k++, at++) {
            g_assert_cmphex(mem_load(b.f.r.m->memory, RX + i * 4096 + k, 1), ==, big[at]);
        }
    }
    g_assert_cmpuint(at, ==, sizeof(big));
    /* A first buffer that has no room for the header: never. */
    b.f.q[0].free = 0;
    const VfBuf tiny = {RX, 11, true};
    for (unsigned i = 0; i < 60; i++) {
        vf_add(&b.f, 0, &tiny, 1);
    }
    vf_kick(&b.f, 0);
    net_send(&b.w.port, big, sizeof(big));
    g_assert_cmpuint(vf_used_idx(&b.f, 0), ==, 4);
    g_assert_cmpuint(b.s->port.waiting.length, ==, 0);
    bench_close(&b);
}

/* ---- control ---- */

static uint8_t control(Bench *b, unsigned n, const void *cmd, unsigned len)
{
    const VfBuf bufs[] = {{CTRL, 1, false}, {CTRL + 1, len - 1, false}, {CTRL + 4096, 1, true}};

    fill(b, CTRL, cmd, len);
    mem_store(b->f.r.m->memory, CTRL + 4096, 0xee, 1);
    vf_add(&b->f, n, bufs, 3);
    vf_kick(&b->f, n);
    vf_ack(&b->f);
    return (uint8_t)mem_load(b->f.r.m->memory, CTRL + 4096, 1);
}

#define CTL(...)                                                                                   \
    control(&b, 2, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static bool passes(Bench *b, uint8_t a0, uint8_t a5, unsigned vlan)
{
    uint8_t f[64] = {a0, 0x54, 0, 1, 2, a5, [12] = 8};

    if (vlan) {
        f[12] = 0x81;
        f[14] = (uint8_t)(vlan >> 8);
        f[15] = (uint8_t)vlan;
    }
    return vnet_filter_passes(b->s, f, sizeof(f));
}

static void test_filter(void)
{
    Bench b;

    bench_open(&b, NULL, NULL);
    vf_start(&b.f,
             VIRTIO_BIT(17) | VIRTIO_BIT(18) | VIRTIO_BIT(19) | VIRTIO_BIT(20) | VIRTIO_BIT(23), 3,
             64);
    g_assert_true(passes(&b, 0x52, 9, 0));
    g_assert_cmpuint(CTL(0, 0, 0), ==, 0); /* not promiscuous */
    g_assert_false(passes(&b, 0x52, 9, 0));
    g_assert_true(passes(&b, 0x52, 3, 0));
    g_assert_false(passes(&b, 0x01, 9, 0));
    g_assert_cmpuint(CTL(0, 1, 1), ==, 0);
    g_assert_true(passes(&b, 0x01, 9, 0));
    g_assert_cmpuint(CTL(0, 1, 0), ==, 0);
    /* One unicast, two multicast addresses. */
    g_assert_cmpuint(CTL(1, 0, 1, 0, 0, 0, 0x52, 0x54, 0, 1, 2, 9, 2, 0, 0, 0, 1, 0x54, 0, 1, 2, 8,
                         1, 0x54, 0, 1, 2, 7),
                     ==, 0);
    g_assert_true(passes(&b, 0x52, 9, 0));
    g_assert_false(passes(&b, 0x52, 8, 0));
    g_assert_true(passes(&b, 0x01, 8, 0));
    g_assert_true(passes(&b, 0x01, 7, 0));
    g_assert_false(passes(&b, 0x01, 9, 0));
    /* Counts that are larger than what follows: refused, the table stays. */
    g_assert_cmpuint(CTL(1, 0, 2, 0, 0, 0, 0x52, 0x54, 0, 1, 2, 1, 0, 0, 0, 0), ==, 1);
    g_assert_cmpuint(CTL(1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0), ==, 1);
    g_assert_true(passes(&b, 0x52, 9, 0));
    /* More than the table holds: all of that kind. */
    uint8_t many[2 + 4 + 70 * 6 + 4] = {1, 0, 70};
    g_assert_cmpuint(control(&b, 2, many, sizeof(many)), ==, 0);
    g_assert_true(passes(&b, 0x52, 44, 0));
    g_assert_false(passes(&b, 0x01, 8, 0));
    /* The station's own address. */
    g_assert_cmpuint(CTL(1, 0, 0, 0, 0, 0, 0, 0, 0, 0), ==, 0);
    g_assert_cmpuint(CTL(1, 1, 0x52, 0x54, 0, 1, 2, 0x66), ==, 0);
    g_assert_true(passes(&b, 0x52, 0x66, 0));
    g_assert_false(passes(&b, 0x52, 3, 0));
    g_assert_cmphex(vf_reg(&b.f, 0x104) & 0xffff, ==, 0x6602);
    /* VLANs. */
    g_assert_false(passes(&b, 0x52, 0x66, 5));
    g_assert_cmpuint(CTL(2, 0, 5, 0), ==, 0);
    g_assert_true(passes(&b, 0x52, 0x66, 5));
    g_assert_cmpuint(CTL(2, 1, 5, 0), ==, 0);
    g_assert_false(passes(&b, 0x52, 0x66, 5));
    g_assert_cmpuint(CTL(2, 0, 0, 0x10), ==, 1); /* 4096 */
    /* Not agreed on, not there, too short. */
    g_assert_cmpuint(CTL(4, 0, 1, 0), ==, 1);
    g_assert_cmpuint(CTL(5, 0, 0, 0, 0, 0, 0, 0, 0, 0), ==, 1);
    g_assert_cmpuint(CTL(9, 9, 1), ==, 1);
    g_assert_cmpuint(CTL(0, 0), ==, 1);
    bench_close(&b);
}

/* Three pairs: the control queue is the seventh; answers come where the flow was sent from. */
static void test_pairs(void)
{
    Bench b;
    static uint8_t out[154], in[154];
    const uint8_t hdr[12] = {0}, pairs[] = {4, 0, 3, 0}, four[] = {4, 0, 4, 0},
                  none[] = {4, 0, 0, 0};
    uint32_t head = 0, len = 0;

    bench_open(&b, "mq", "on");
    g_assert_cmpuint(mem_load(b.f.r.m->memory, VF_BASE + 0x108, 2), ==, 3);
    vf_start(&b.f, VIRTIO_BIT(17) | VIRTIO_BIT(22), 7, 64);
    make_tcp4(out, 100);
    make_tcp4(in, 100);
    memcpy(in + 26, out + 30, 4);
    memcpy(in + 30, out + 26, 4);
    memcpy(in + 34, out + 36, 2);
    memcpy(in + 36, out + 34, 2);
    for (unsigned i = 0; i < 3; i++) {
        add_rx(&b, 2 * i, 8, 1526);
    }
    g_assert_cmpuint(control(&b, 6, four, 4), ==, 1);
    g_assert_cmpuint(control(&b, 6, none, 4), ==, 1);
    g_assert_cmpuint(control(&b, 6, pairs, 4), ==, 0);
    for (unsigned i = 0; i < 3; i++) {
        send(&b, 2 * i + 1, hdr, out, sizeof(out));
        net_send(&b.w.port, in, sizeof(in));
        g_assert_true(vf_used(&b.f, 2 * i, &head, &len));
        g_assert_cmpuint(len, ==, 166);
    }
    bench_close(&b);
}

static void test_offloads(void)
{
    Bench b;
    static uint8_t frame[54 + 4000];
    const NetTodo tso = {.flags = NET_TODO_CSUM,
                         .gso_type = NET_GSO_TCP4,
                         .gso_size = 1000,
                         .csum_start = 34,
                         .csum_off = 16,
                         .hdr_len = 54};

    bench_open(&b, NULL, NULL);
    b.w.port.ops = &todo_ops;
    vf_start(&b.f, VIRTIO_BIT(1) | VIRTIO_BIT(2) | VIRTIO_BIT(7) | VIRTIO_BIT(15) | VIRTIO_BIT(17),
             3, 64);
    g_assert_cmphex(b.w.told, ==, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
    make_tcp4(frame, 4000);
    add_rx(&b, 0, 16, 4096);
    net_send_todo(&b.w.port, &tso, frame, sizeof(frame));
    g_assert_cmpuint(vf_used_idx(&b.f, 0), ==, 1);
    g_assert_cmphex(readl(&b.f.r, RX), ==, 0x00360101);
    g_assert_cmphex(readl(&b.f.r, RX + 4), ==, 0x002203e8);
    g_assert_cmphex(readl(&b.f.r, RX + 8), ==, 0x00010010);
    /* The driver takes no more of them: segments come. */
    g_assert_cmpuint(CTL(5, 0, 0, 0, 0, 0, 0, 0, 0, 0), ==, 0);
    g_assert_cmphex(b.w.told, ==, 0);
    make_tcp4(frame, 4000);
    net_send_todo(&b.w.port, &tso, frame, sizeof(frame));
    g_assert_cmpuint(vf_used_idx(&b.f, 0), ==, 5);
    g_assert_cmpuint(CTL(5, 0, 0, 1, 0, 0, 0, 0, 0, 0), ==, 1); /* TSO6 was not agreed on */
    bench_close(&b);
}

static void test_hostile_control(void)
{
    Bench b;
    const VfBuf no_ack = {CTRL, 64, false}, no_cmd[] = {{CTRL, 1, false}, {CTRL + 64, 1, true}};

    bench_open(&b, NULL, NULL);
    vf_start(&b.f, VIRTIO_BIT(17), 3, 64);
    vf_add(&b.f, 2, &no_ack, 1);
    vf_kick(&b.f, 2);
    g_assert_cmphex(vf_reg(&b.f, 0x70), ==, 15 | 64);
    vf_start(&b.f, VIRTIO_BIT(17), 3, 64);
    vf_add(&b.f, 2, no_cmd, 2);
    vf_kick(&b.f, 2);
    g_assert_cmphex(vf_reg(&b.f, 0x70), ==, 15 | 64);
    bench_close(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio_net/config", test_config);
    g_test_add_func("/virtio_net/send", test_send);
    g_test_add_func("/virtio_net/backpressure", test_backpressure);
    g_test_add_func("/virtio_net/segmentation", test_segmentation);
    g_test_add_func("/virtio_net/segmentation6", test_segmentation6);
    g_test_add_func("/virtio_net/receive", test_receive);
    g_test_add_func("/virtio_net/merged", test_merged);
    g_test_add_func("/virtio_net/filter", test_filter);
    g_test_add_func("/virtio_net/pairs", test_pairs);
    g_test_add_func("/virtio_net/offloads", test_offloads);
    g_test_add_func("/virtio_net/hostile-control", test_hostile_control);
    return g_test_run();
}
