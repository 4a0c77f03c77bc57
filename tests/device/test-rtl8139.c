/* RTL8139C+ against its data sheets, and what hostile guests do. */
#include "hw/net/rtl8139.h"
#include "net-fixture.h"

#define BASE 0xe0000000u
#define RING 0x20000u
#define DESC 0x10000u
#define DATA 0x40000u
#define OWN (1u << 31)
#define EOR (1u << 30)

typedef struct Bench {
    Fixture *f;
    Clock *real;
    Wire w;
    Rtl8139 *s;
} Bench;

static NetPort *port_of(Device *d)
{
    return &((Rtl8139 *)d)->port;
}

static void bench_open(Bench *b)
{
    b->f = fixture_new(4 << 20);
    b->real = b->f->m->virtual_clock;
    b->s = (Rtl8139 *)net_card(b->f, &b->w, port_of, "rtl8139", 1, BASE);
}

static void bench_close(Bench *b)
{
    net_close(b->f, b->real);
}

static void w8(Bench *b, unsigned r, uint8_t v)
{
    mem_store(b->f->m->memory, BASE + r, v, 1);
}

static void w16(Bench *b, unsigned r, uint16_t v)
{
    mem_store(b->f->m->memory, BASE + r, v, 2);
}

static uint16_t r16(Bench *b, unsigned r)
{
    return (uint16_t)mem_load(b->f->m->memory, BASE + r, 2);
}

static uint8_t r8(Bench *b, unsigned r)
{
    return (uint8_t)mem_load(b->f->m->memory, BASE + r, 1);
}

static void test_identity(void)
{
    Bench b;
    unsigned got = 0, cmd = 0x180; /* start, 10, address 0 */

    bench_open(&b);
    g_assert_cmphex(cfg_read(b.f, PCI_DEVFN(4, 0), 0, 4), ==, 0x813910ec);
    g_assert_cmphex(cfg_read(b.f, PCI_DEVFN(4, 0), 8, 1), ==, 0x20);
    g_assert_cmphex(rd(b.f, BASE), ==, 0x01005452);
    g_assert_cmphex(r16(&b, 4), ==, 0x0302);
    g_assert_cmphex(rd(b.f, BASE + 0x40) & 0x7cc00000, ==, 0x74800000);
    w8(&b, 0x50, 0x80);
    w8(&b, 0x50, 0x88);
    for (int i = 8; i >= 0; i--) {
        uint8_t di = cmd >> i & 1 ? 2 : 0;
        w8(&b, 0x50, 0x88 | di);
        w8(&b, 0x50, 0x8c | di);
    }
    for (unsigned i = 0; i < 16; i++) {
        w8(&b, 0x50, 0x88);
        w8(&b, 0x50, 0x8c);
        got = got << 1 | (r8(&b, 0x50) & 1);
    }
    g_assert_cmphex(got, ==, 0x8129);
    g_assert_true(r16(&b, 0x64) & 4); /* link */
    net_set_link(&b.s->port, false);
    g_assert_false(r16(&b, 0x64) & 4);
    g_assert_true(r8(&b, 0x58) & 4);
    g_assert_true(r16(&b, 0x3e) & RTL_PUN);
    bench_close(&b);
}

static void test_c_mode(void)
{
    Bench b;
    uint8_t in[64] = {0x52, 0x54, 0, 1, 2, 3, [63] = 0xaa};

    bench_open(&b);
    w16(&b, 0x3c, RTL_TOK | RTL_ROK);
    w8(&b, 0x37, 0xc);
    for (unsigned i = 0; i < 100; i++) {
        mem_store(b.f->m->memory, DATA + i, i, 1);
    }
    for (unsigned i = 0; i < 5; i++) { /* round the four descriptors */
        wr(b.f, BASE + 0x20 + (i & 3) * 4, DATA);
        wr(b.f, BASE + 0x10 + (i & 3) * 4, 100);
        g_assert_cmpuint(b.w.frames, ==, i + 1);
        g_assert_cmphex(rd(b.f, BASE + 0x10 + (i & 3) * 4) & 0xa000, ==, 0xa000);
    }
    g_assert_cmpuint(b.w.len, ==, 100);
    g_assert_true(b.s->pci.intx_level);
    w16(&b, 0x3e, RTL_TOK);
    g_assert_false(b.s->pci.intx_level);

    wr(b.f, BASE + 0x30, RING);
    wr(b.f, BASE + 0x44, 0x0a); /* own address and broadcast, 8K */
    g_assert_true(r8(&b, 0x37) & 1);
    net_send(&b.w.port, in, 64);
    g_assert_false(r8(&b, 0x37) & 1);
    g_assert_cmphex(rd(b.f, RING), ==, 68u << 16 | 0x4001);
    g_assert_cmphex(rd(b.f, RING + 64), ==, 0xaa000000);
    g_assert_cmpuint(r16(&b, 0x3a), ==, 72);
    w16(&b, 0x38, 72 - 16);
    g_assert_true(r8(&b, 0x37) & 1);
    in[5] = 9;
    net_send(&b.w.port, in, 64); /* not ours */
    g_assert_true(r8(&b, 0x37) & 1);
    in[5] = 3;
    /* Round the ring: what does not fit waits until CAPR moves. */
    for (unsigned i = 0; i < 200; i++) {
        net_send(&b.w.port, in, 64);
    }
    g_assert_cmpuint(b.s->port.waiting.length, >, 0);
    for (unsigned i = 0; i < 200; i++) {
        unsigned at = (r16(&b, 0x38) + 16) & 8191;
        g_assert_cmphex(rd(b.f, RING + at), ==, 68u << 16 | 0x4001);
        w16(&b, 0x38, (at + 72 - 16) & 8191);
    }
    g_assert_true(r8(&b, 0x37) & 1);
    bench_close(&b);
}

static void desc(Bench *b, uint32_t at, uint32_t dw0, uint32_t dw1, uint32_t addr)
{
    wr(b->f, at, dw0);
    wr(b->f, at + 4, dw1);
    wr(b->f, at + 8, addr);
    wr(b->f, at + 12, 0);
}

static void cp_on(Bench *b)
{
    w16(b, 0xe0, 0x63);
    wr(b->f, BASE + 0x20, DESC);
    wr(b->f, BASE + 0xe4, RING);
    wr(b->f, BASE + 0x44, 0x0e);
    w8(b, 0x37, 0xc);
}

static void test_cp_mode(void)
{
    Bench b;
    uint8_t h[54] = {0x52,      0x54,        0,        1,           2,          3,
                     [12] = 8,  [14] = 0x45, [19] = 7, [22] = 64,   [23] = 6,   [26] = 10,
                     [30] = 10, [33] = 1,    [41] = 5, [46] = 0x50, [47] = 0x19};
    uint8_t group[64] = {1, 0, 0x5e, 0, 0, 1};

    bench_open(&b);
    cp_on(&b);
    mem_write(b.f->m->memory, DATA, h, sizeof(h));
    /* Large send of 2500 bytes in segments of 1000. */
    desc(&b, DESC, OWN | 1u << 29 | 1u << 27 | 1000u << 16 | 54, 0, DATA);
    desc(&b, DESC + 16, OWN | EOR | 1u << 28 | 1u << 27 | 1000u << 16 | 2500, 0, DATA + 0x1000);
    w8(&b, 0xd9, 0x40);
    g_assert_cmpuint(b.w.frames, ==, 3);
    g_assert_cmpuint(b.w.len, ==, 554);
    g_assert_cmpuint(b.w.buf[16] << 8 | b.w.buf[17], ==, 540);
    g_assert_cmpuint(b.w.buf[19], ==, 9);
    g_assert_cmpuint(b.w.buf[40] << 8 | b.w.buf[41], ==, 2005);
    g_assert_cmphex(b.w.buf[47], ==, 0x19);
    g_assert_cmphex(net_fold(net_sum(b.w.buf + 14, 20, 0)), ==, 0xffff);
    g_assert_cmphex(net_fold(net_sum(b.w.buf + 34, 520, net_sum(b.w.buf + 26, 8, 526))), ==,
                    0xffff);
    g_assert_false(rd(b.f, DESC) & OWN);
    /* A VLAN tag is put in (bytes swapped in the descriptor). */
    desc(&b, DESC, OWN | EOR | 3u << 28 | 64, 1u << 17 | 0x0520, DATA);
    w8(&b, 0xd9, 0x40);
    g_assert_cmpuint(b.w.len, ==, 68);
    g_assert_cmphex(b.w.buf[12] << 8 | b.w.buf[13], ==, 0x8100);
    g_assert_cmphex(b.w.buf[14] << 8 | b.w.buf[15], ==, 0x2005);

    desc(&b, RING, OWN | EOR | 1536, 0, DATA + 0x8000);
    net_send(&b.w.port, group, 64); /* not in the hash table */
    g_assert_true(rd(b.f, RING) & OWN);
    wr(b.f, BASE + 8, 1u << 31); /* bit 31: 01-00-5e-00-00-01 */
    net_send(&b.w.port, group, 64);
    g_assert_cmphex(rd(b.f, RING), ==, EOR | 3u << 28 | 1u << 27 | 68);
    g_assert_cmphex(rd(b.f, DATA + 0x8000), ==, 0x005e0001);
    /* No descriptor: it waits; one that is too small: lost and counted. */
    net_send(&b.w.port, group, 64);
    g_assert_cmpuint(b.s->port.waiting.length, ==, 1);
    desc(&b, RING, OWN | EOR | 32, 0, DATA + 0x8000);
    w16(&b, 0x3e, 0xffff);
    g_assert_cmpuint(b.s->port.waiting.length, ==, 0);
    g_assert_cmpuint(rd(b.f, BASE + 0x4c), ==, 1);
    bench_close(&b);
}

/* TimerInt counts PCI clocks of 33 MHz. */
static void test_timer(void)
{
    Bench b;

    bench_open(&b);
    wr(b.f, BASE + 0x54, 33000);
    wr(b.f, BASE + 0x48, 0);
    clock_step(b.f->clock, 999000);
    g_assert_false(r16(&b, 0x3e) & RTL_TIMEOUT);
    clock_step(b.f->clock, 1100);
    g_assert_true(r16(&b, 0x3e) & RTL_TIMEOUT);
    bench_close(&b);
}

/* The classes of CVE-2015-5165 (header lengths of large sends beyond the data), CVE-2016-8910
 * (rings without end), CVE-2018-17958 (sizes), and loopback. */
static void test_hostile(void)
{
    Bench b;
    uint8_t h[64] = {[12] = 8, [14] = 0x4f, [16] = 0, [17] = 4, [23] = 6};
    uint8_t *big = g_malloc0(16000);

    bench_open(&b);
    cp_on(&b);
    mem_write(b.f->m->memory, DATA, h, sizeof(h));
    for (unsigned len = 0; len < 120; len++) {
        desc(&b, DESC, OWN | EOR | 3u << 28 | 1u << 27 | (len & 0xff) << 16 | len, 0, DATA);
        w8(&b, 0xd9, 0x40);
        desc(&b, DESC, OWN | EOR | 3u << 28 | 7u << 16 | len, 0, DATA);
        w8(&b, 0xd9, 0xc0);
    }
    /* All 64 own, no end of ring, first but never last; then in the chip's own registers. */
    for (unsigned i = 0; i < 64; i++) {
        desc(&b, DESC + i * 16, OWN | 1u << 29 | 0xffff, 0, DATA);
        desc(&b, RING + i * 16, OWN | 0x1fff, 0, BASE);
    }
    w8(&b, 0xd9, 0x40);
    net_send(&b.w.port, memset(big, 0xff, 6), 16000);
    wr(b.f, BASE + 0x20, BASE);
    wr(b.f, BASE + 0xe4, BASE);
    w8(&b, 0xd9, 0x40);
    net_send(&b.w.port, big, 15000);
    /* Loopback into a ring at the top of memory. */
    wr(b.f, BASE + 0x40, 3 << 17);
    wr(b.f, BASE + 0xe4, 0xffffff00);
    w8(&b, 0xd9, 0x40);
    w16(&b, 0xe0, 0);
    w8(&b, 0x37, 0x10);
    g_assert_cmphex(r8(&b, 0x37), ==, 1);
    w8(&b, 0x37, 0xc);
    wr(b.f, BASE + 0x30, 0xfffffff0);
    wr(b.f, BASE + 0x44, 0xffffffff);
    wr(b.f, BASE + 0x40, 3 << 17);
    for (unsigned i = 0; i < 64; i++) {
        w16(&b, 0x38, i * 1021);
        wr(b.f, BASE + 0x10 + (i & 3) * 4, i * 200);
        net_send(&b.w.port, big, 14 + i * 200);
    }
    bench_close(&b);
    g_free(big);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rtl8139/identity", test_identity);
    g_test_add_func("/rtl8139/c-mode", test_c_mode);
    g_test_add_func("/rtl8139/c-plus-mode", test_cp_mode);
    g_test_add_func("/rtl8139/timer", test_timer);
    g_test_add_func("/rtl8139/hostile", test_hostile);
    return g_test_run();
}
