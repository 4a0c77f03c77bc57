/* Intel 82540EM against its software developer's manual, and what hostile guests do. */
#include "hw/net/e1000.h"
#include "net-fixture.h"

#define BASE 0xe0000000u
#define TX_RING 0x10000u
#define RX_RING 0x20000u
#define DATA 0x40000u
#define REG(r) (BASE + (r))

typedef struct Bench {
    Fixture *f;
    Clock *real;
    Wire w;
    E1000 *s;
} Bench;

static NetPort *port_of(Device *d)
{
    return &((E1000 *)d)->port;
}

static void bench_open(Bench *b)
{
    b->f = fixture_new(4 << 20);
    b->real = b->f->m->virtual_clock;
    b->s = (E1000 *)net_card(b->f, &b->w, port_of, "e1000", 0, BASE);
}

static void bench_close(Bench *b)
{
    net_close(b->f, b->real);
}

static void rings(Bench *b, unsigned n_tx, unsigned n_rx)
{
    Fixture *f = b->f;

    wr(f, REG(E1000_TDBAL), TX_RING);
    wr(f, REG(E1000_TDLEN), n_tx * 16);
    wr(f, REG(E1000_RDBAL), RX_RING);
    wr(f, REG(E1000_RDLEN), n_rx * 16);
    for (unsigned i = 0; i < n_rx; i++) {
        wr(f, RX_RING + i * 16, 0x80000 + i * 2048);
    }
    wr(f, REG(E1000_TCTL), 0xa);
    wr(f, REG(E1000_RCTL), 0x8002); /* EN, BAM, 2048 bytes */
    wr(f, REG(E1000_RDT), n_rx - 1);
}

static void tx(Bench *b, unsigned i, uint32_t addr, uint32_t dw2, uint32_t dw3)
{
    wr(b->f, TX_RING + i * 16, addr);
    wr(b->f, TX_RING + i * 16 + 4, 0);
    wr(b->f, TX_RING + i * 16 + 8, dw2);
    wr(b->f, TX_RING + i * 16 + 12, dw3);
}

/* MAC in EEPROM and RA, checksum BABAh, by EERD and by the pins; PHY id by MDIC. */
static void test_identity(void)
{
    Bench b;
    uint16_t sum = 0;

    bench_open(&b);
    g_assert_cmphex(cfg_read(b.f, PCI_DEVFN(4, 0), 0, 4), ==, 0x100e8086);
    g_assert_cmphex(rd(b.f, REG(E1000_RA)), ==, 0x01005452);
    g_assert_cmphex(rd(b.f, REG(E1000_RA + 4)), ==, 0x80000302);
    for (unsigned i = 0; i < 64; i++) {
        wr(b.f, REG(E1000_EERD), i << 8 | 1);
        uint32_t v = rd(b.f, REG(E1000_EERD));
        g_assert_true(v & 0x10);
        sum += v >> 16;
    }
    g_assert_cmphex(sum, ==, 0xbaba);
    /* Read word 1 by hand: start, 10, address 000001. */
    unsigned cmd = 0x181, got = 0;
    wr(b.f, REG(E1000_EECD), 0x40);
    g_assert_true(rd(b.f, REG(E1000_EECD)) & 0x80);
    wr(b.f, REG(E1000_EECD), 0x42);
    for (int i = 8; i >= 0; i--) {
        uint32_t di = cmd >> i & 1 ? 4 : 0;
        wr(b.f, REG(E1000_EECD), 0x42 | di);
        wr(b.f, REG(E1000_EECD), 0x43 | di);
    }
    for (unsigned i = 0; i < 16; i++) {
        wr(b.f, REG(E1000_EECD), 0x42);
        wr(b.f, REG(E1000_EECD), 0x43);
        got = got << 1 | (rd(b.f, REG(E1000_EECD)) >> 3 & 1);
    }
    g_assert_cmphex(got, ==, 0x0100);
    wr(b.f, REG(E1000_MDIC), 2u << 26 | 1u << 21 | 2u << 16);
    g_assert_cmphex(rd(b.f, REG(E1000_MDIC)) & 0x5000ffff, ==, 0x10000141);
    wr(b.f, REG(E1000_MDIC), 2u << 26 | 2u << 21); /* no PHY there */
    g_assert_true(rd(b.f, REG(E1000_MDIC)) & 1u << 30);
    g_assert_true(rd(b.f, REG(E1000_STATUS)) & 2);
    bench_close(&b);
}

static void test_send(void)
{
    Bench b;

    bench_open(&b);
    rings(&b, 8, 8);
    wr(b.f, REG(E1000_IMS), E1000_INT_TXDW);
    for (unsigned i = 0; i < 100; i++) {
        mem_store(b.f->m->memory, DATA + i, i, 1);
    }
    /* Legacy in two descriptors with a checksum of bytes 14… at 20. */
    tx(&b, 0, DATA, 50, 0);
    tx(&b, 1, DATA + 50, 50 | 20 << 16 | 0x0fu << 24, 14 << 8);
    wr(b.f, REG(E1000_TDT), 2);
    g_assert_cmpuint(b.w.frames, ==, 1);
    g_assert_cmpuint(b.w.len, ==, 100);
    g_assert_cmpuint(b.w.buf[99], ==, 99);
    uint32_t want = 0;
    for (unsigned i = 14; i < 100; i += 2) {
        want += i << 8 | (i + 1);
    }
    want = (want & 0xffff) + (want >> 16);
    want = (want & 0xffff) + (want >> 16);
    g_assert_cmphex(b.w.buf[20] << 8 | b.w.buf[21], ==, (uint16_t)~want);
    g_assert_cmpuint(rd(b.f, TX_RING + 16 + 12) & 1, ==, 1);
    g_assert_cmpuint(rd(b.f, TX_RING + 12) & 1, ==, 0);
    g_assert_true(b.s->pci.intx_level);
    g_assert_cmphex(rd(b.f, REG(E1000_ICR)) & 3, ==, 3);
    g_assert_false(b.s->pci.intx_level);
    g_assert_cmpuint(rd(b.f, REG(E1000_GPTC)), ==, 1);
    g_assert_cmpuint(rd(b.f, REG(E1000_GPTC)), ==, 0); /* reading clears */
    bench_close(&b);
}

/* 2500 bytes of TCP in segments of 1000: lengths, ids, sequence numbers, flags, checksums. */
static void test_segmentation(void)
{
    Bench b;
    uint8_t h[54] = {[12] = 8, [14] = 0x45, [22] = 64, [23] = 6, [26] = 10,   [30] = 10,  [33] = 1,
                     [18] = 0, [19] = 7,    [38] = 0,  [41] = 5, [46] = 0x50, [47] = 0x19};

    bench_open(&b);
    rings(&b, 8, 8);
    uint16_t pseudo = net_fold(net_sum(h + 26, 8, 6)); /* without the length */
    h[50] = pseudo >> 8;
    h[51] = pseudo & 0xff;
    mem_write(b.f->m->memory, DATA, h, sizeof(h));
    tx(&b, 0, 14 | 24 << 8 | 33u << 16, 2500 | 0x27u << 24, 1000u << 16 | 54 << 8);
    wr(b.f, TX_RING + 4, 34 | 50 << 8);
    tx(&b, 1, DATA, 54 | 1u << 20 | 0x24u << 24, 3 << 8);
    tx(&b, 2, DATA + 0x1000, 2500 | 1u << 20 | 0x2du << 24, 3 << 8);
    wr(b.f, REG(E1000_TDT), 3);
    g_assert_cmpuint(b.w.frames, ==, 3);
    g_assert_cmpuint(b.w.len, ==, 554);
    g_assert_cmpuint(b.w.buf[16] << 8 | b.w.buf[17], ==, 540);
    g_assert_cmpuint(b.w.buf[19], ==, 9);
    g_assert_cmpuint(b.w.buf[40] << 8 | b.w.buf[41], ==, 2005);
    g_assert_cmphex(b.w.buf[47], ==, 0x19);
    g_assert_cmphex(net_fold(net_sum(b.w.buf + 14, 20, 0)), ==, 0xffff);
    g_assert_cmphex(net_fold(net_sum(b.w.buf + 34, 520, net_sum(b.w.buf + 26, 8, 6 + 520))), ==,
                    0xffff);
    g_assert_cmpuint(rd(b.f, REG(E1000_TSCTC)), ==, 1);
    bench_close(&b);
}

static void test_receive(void)
{
    Bench b;
    uint8_t to_us[64] = {0x52, 0x54, 0, 1, 2, 3}, other[64] = {0x52, 0x54, 0, 9, 9, 9},
            group[64] = {1, 0, 0x5e, 0, 0, 1}, vlan[64] = {0x52, 0x54, 0, 1, 2, 3};

    bench_open(&b);
    rings(&b, 8, 8);
    wr(b.f, REG(E1000_IMS), E1000_INT_RXT0);
    net_send(&b.w.port, to_us, 64);
    g_assert_cmphex(rd(b.f, RX_RING + 8) & 0xffff, ==, 68); /* with FCS */
    g_assert_cmphex(rd(b.f, RX_RING + 12) & 0xff, ==, 7);   /* DD EOP IXSM */
    g_assert_cmphex(rd(b.f, 0x80000), ==, 0x01005452);
    g_assert_cmpuint(rd(b.f, REG(E1000_RDH)), ==, 1);
    g_assert_true(b.s->pci.intx_level);
    rd(b.f, REG(E1000_ICR));
    net_send(&b.w.port, other, 64);
    net_send(&b.w.port, group, 64);
    g_assert_cmpuint(rd(b.f, REG(E1000_RDH)), ==, 1);
    /* Multicast table, MO 0: bits 47:36, here 000h | 01h >> … of 00 01. */
    unsigned hash = (0x01 << 8 | 0x00) >> 4;
    wr(b.f, REG(E1000_MTA) + (hash >> 5) * 4, 1u << (hash & 31));
    net_send(&b.w.port, group, 64);
    g_assert_cmpuint(rd(b.f, REG(E1000_RDH)), ==, 2);
    g_assert_true(rd(b.f, RX_RING + 16 + 12) & 0x80); /* PIF */
    /* VLAN: stripped with VME; filtered with VFE. */
    vlan[12] = 0x81;
    vlan[14] = 0x20;
    vlan[15] = 0x05;
    wr(b.f, REG(E1000_CTRL), 1u << 30 | 0x41);
    net_send(&b.w.port, vlan, 64);
    g_assert_cmphex(rd(b.f, RX_RING + 32 + 12), ==, 0x2005000f);
    g_assert_cmpuint(rd(b.f, RX_RING + 32 + 8) & 0xffff, ==, 64);
    wr(b.f, REG(E1000_RCTL), 0x48002);
    net_send(&b.w.port, vlan, 64);
    g_assert_cmpuint(rd(b.f, REG(E1000_RDH)), ==, 3);
    wr(b.f, REG(E1000_VFTA), 1 << 5);
    net_send(&b.w.port, vlan, 64);
    g_assert_cmpuint(rd(b.f, REG(E1000_RDH)), ==, 4);
    /* Too long without LPE; then over several descriptors with it. */
    uint8_t big[5000] = {0x52, 0x54, 0, 1, 2, 3};
    net_send(&b.w.port, big, sizeof(big));
    g_assert_cmpuint(rd(b.f, REG(E1000_ROC)), ==, 1);
    wr(b.f, REG(E1000_RCTL), 0x8022);
    net_send(&b.w.port, big, sizeof(big));
    g_assert_cmpuint(rd(b.f, REG(E1000_RDH)), ==, 7);
    g_assert_cmphex(rd(b.f, RX_RING + 4 * 16 + 12) & 3, ==, 1);
    g_assert_cmphex(rd(b.f, RX_RING + 6 * 16 + 12) & 3, ==, 3);
    g_assert_cmpuint(rd(b.f, RX_RING + 6 * 16 + 8) & 0xffff, ==, 5004 - 4096);
    /* The ring is full: frames wait for RDT. */
    net_send(&b.w.port, to_us, 64);
    g_assert_cmpuint(b.s->port.waiting.length, ==, 1);
    wr(b.f, REG(E1000_RDT), 3);
    g_assert_cmpuint(b.s->port.waiting.length, ==, 0);
    bench_close(&b);
}

/* ITR: after one interrupt the next comes not before 256 ns times its value. */
static void test_mitigation(void)
{
    Bench b;

    bench_open(&b);
    wr(b.f, REG(E1000_ITR), 1000);
    wr(b.f, REG(E1000_IMS), 0xff);
    wr(b.f, REG(E1000_ICS), 1);
    g_assert_true(b.s->pci.intx_level);
    rd(b.f, REG(E1000_ICR));
    wr(b.f, REG(E1000_ICS), 1);
    g_assert_false(b.s->pci.intx_level);
    clock_step(b.f->clock, 255999);
    g_assert_false(b.s->pci.intx_level);
    clock_step(b.f->clock, 1);
    g_assert_true(b.s->pci.intx_level);
    net_set_link(&b.s->port, false);
    g_assert_false(rd(b.f, REG(E1000_STATUS)) & 2);
    g_assert_true(rd(b.f, REG(E1000_ICR)) & E1000_INT_LSC);
    bench_close(&b);
}

/* The classes of CVE-2015-6815 (zero lengths, loops), -2016-8910-like rings, -2018-10839-like
 * lengths: nothing hangs, nothing is read beyond a buffer (sanitizers look). */
static void test_hostile(void)
{
    static const uint32_t bases[] = {TX_RING, BASE, BASE + 0x3800, 0xfffffff0u, 0xf0000};
    Bench b;
    uint8_t frame[1500] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    bench_open(&b);
    for (unsigned i = 0; i < G_N_ELEMENTS(bases); i++) {
        rings(&b, 65535, 8);
        for (unsigned k = 0; k < 64; k++) {
            tx(&b, k, DATA, (k & 1 ? 0xfffff : 0) | (k & 3) << 20 | (0x20u | (k * 37 & 0xff)) << 24,
               0xffffffffu - k);
        }
        wr(b.f, REG(E1000_TDBAL), bases[i]);
        wr(b.f, REG(E1000_TDLEN), 0xfff80);
        wr(b.f, REG(E1000_TDT), 0xfff0);
        wr(b.f, REG(E1000_RDBAL), bases[i]);
        wr(b.f, REG(E1000_RDLEN), 0xfff80);
        wr(b.f, REG(E1000_RDH), i & 1 ? 0xffff : 0);
        wr(b.f, REG(E1000_RDT), 0x8000);
        wr(b.f, REG(E1000_RCTL), 0x803e);
        net_send(&b.w.port, frame, sizeof(frame));
        wr(b.f, REG(E1000_RCTL), 0x80fe); /* loopback */
        wr(b.f, REG(E1000_TDT), 0x10);
        clock_step(b.f->clock, 10 * 1000000);
        wr(b.f, REG(E1000_CTRL), 1u << 26);
        g_assert_cmphex(rd(b.f, REG(E1000_RCTL)), ==, 0);
    }
    /* A send that never ends is dropped, the next one is good. */
    rings(&b, 16, 8);
    for (unsigned k = 0; k < 10; k++) {
        tx(&b, k, DATA, 0xffff, 0);
    }
    tx(&b, 10, DATA, 64 | 1u << 24, 0);
    tx(&b, 11, DATA, 64 | 1u << 24, 0);
    unsigned before = b.w.frames;
    wr(b.f, REG(E1000_TDT), 12);
    g_assert_cmpuint(b.w.frames, ==, before + 1);
    bench_close(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/e1000/identity", test_identity);
    g_test_add_func("/e1000/send", test_send);
    g_test_add_func("/e1000/segmentation", test_segmentation);
    g_test_add_func("/e1000/receive", test_receive);
    g_test_add_func("/e1000/mitigation", test_mitigation);
    g_test_add_func("/e1000/hostile", test_hostile);
    return g_test_run();
}
