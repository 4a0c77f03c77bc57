/* 16550A against National's PC16550D data sheet. */
#include "hw/char/ns16550.h"
#include "isa-fixture.h"
#include <string.h>

#define BASE 0x3f8

typedef struct Uart {
    IsaFixture f;
    Chardev *chr;
} Uart;

static void start(Uart *u)
{
    fixture_init(&u->f);
    u->chr = chardev_new_from_opts("ringbuf,id=c0,size=1024", NULL);
    g_assert_nonnull(u->chr);
    g_assert_nonnull(ns16550_new_isa(&u->f.isa, BASE, 4, u->chr, NULL));
}

static void stop(Uart *u)
{
    fixture_fini(&u->f);
    machine_lock();
    chardev_cleanup();
    machine_unlock();
}

static void wr(Uart *u, unsigned reg, uint8_t val)
{
    outb(&u->f, BASE + reg, val);
}

static uint8_t rd(Uart *u, unsigned reg)
{
    return inb(&u->f, BASE + reg);
}

static size_t inject(Uart *u, const char *s)
{
    return chardev_ringbuf_inject(u->chr, (const uint8_t *)s, strlen(s));
}

static void test_reset(void)
{
    Uart u;

    start(&u);
    g_assert_cmphex(rd(&u, 1), ==, 0);    /* IER */
    g_assert_cmphex(rd(&u, 2), ==, 0x01); /* IIR: nothing pending, no FIFO */
    g_assert_cmphex(rd(&u, 3), ==, 0);
    g_assert_cmphex(rd(&u, 4), ==, 0);
    g_assert_cmphex(rd(&u, 5), ==, 0x60); /* THRE, TEMT */
    g_assert_cmphex(rd(&u, 6) & 0x0f, ==, 0);
    g_assert_cmpint(u.f.level[4], ==, 0);
    stop(&u);
}

static void test_registers(void)
{
    Uart u;

    start(&u);
    wr(&u, 7, 0xa5);
    g_assert_cmphex(rd(&u, 7), ==, 0xa5);
    wr(&u, 1, 0xff);
    g_assert_cmphex(rd(&u, 1), ==, 0x0f); /* upper bits stay 0 */
    wr(&u, 1, 0);
    wr(&u, 4, 0xff);
    g_assert_cmphex(rd(&u, 4), ==, 0x1f);
    wr(&u, 4, 0);
    wr(&u, 3, 0x80);
    wr(&u, 0, 0x34);
    wr(&u, 1, 0x12);
    g_assert_cmphex(rd(&u, 0), ==, 0x34);
    g_assert_cmphex(rd(&u, 1), ==, 0x12);
    wr(&u, 3, 0x03);
    g_assert_cmphex(rd(&u, 3), ==, 0x03);
    g_assert_cmphex(rd(&u, 1), ==, 0x00); /* IER, not the divisor */
    stop(&u);
}

static void test_transmit(void)
{
    Uart u;
    uint8_t buf[16];

    start(&u);
    wr(&u, 0, 'h');
    wr(&u, 0, 'i');
    g_assert_cmpint(chardev_ringbuf_read(u.chr, buf, sizeof(buf)), ==, 2);
    g_assert_cmpint(memcmp(buf, "hi", 2), ==, 0);
    g_assert_cmphex(rd(&u, 5), ==, 0x60);
    stop(&u);
}

static void test_thre_interrupt(void)
{
    Uart u;

    start(&u);
    wr(&u, 4, 0x08); /* OUT2 */
    /* Enabling it on an empty transmitter interrupts at once. */
    wr(&u, 1, 0x02);
    g_assert_cmpint(u.f.level[4], ==, 1);
    g_assert_cmphex(rd(&u, 2), ==, 0x02);
    /* Reading IIR acknowledged it. */
    g_assert_cmpint(u.f.level[4], ==, 0);
    g_assert_cmphex(rd(&u, 2), ==, 0x01);
    /* A byte goes out: another edge. */
    int edges = u.f.edges[4];
    wr(&u, 0, 'x');
    g_assert_cmpint(u.f.edges[4], ==, edges + 1);
    /* Without acknowledging: the line falls with the write and rises again. */
    wr(&u, 0, 'y');
    g_assert_cmpint(u.f.edges[4], ==, edges + 2);
    /* OUT2 gates the line of a PC. */
    wr(&u, 4, 0);
    g_assert_cmpint(u.f.level[4], ==, 0);
    stop(&u);
}

static void test_receive(void)
{
    Uart u;

    start(&u);
    wr(&u, 4, 0x08);
    wr(&u, 1, 0x01);
    /* Without FIFO: one byte at a time, flow control before loss. */
    g_assert_cmpint(inject(&u, "ab"), ==, 1);
    g_assert_cmphex(rd(&u, 5), ==, 0x61);
    g_assert_cmphex(rd(&u, 2), ==, 0x04);
    g_assert_cmpint(u.f.level[4], ==, 1);
    g_assert_cmphex(rd(&u, 0), ==, 'a');
    g_assert_cmpint(u.f.level[4], ==, 0);
    g_assert_cmphex(rd(&u, 5), ==, 0x60);
    stop(&u);
}

static void test_fifo_trigger_and_timeout(void)
{
    Uart u;
    static const unsigned level[] = {1, 4, 8, 14};

    for (unsigned t = 0; t < 4; t++) {
        start(&u);
        wr(&u, 4, 0x08);
        wr(&u, 3, 0x83);
        wr(&u, 0, 1); /* 115200 baud */
        wr(&u, 1, 0);
        wr(&u, 3, 0x03);
        wr(&u, 2, 0x01 | t << 6);
        wr(&u, 1, 0x01);
        g_assert_cmphex(rd(&u, 2), ==, 0xc1);
        for (unsigned i = 1; i < level[t]; i++) {
            g_assert_cmpint(inject(&u, "x"), ==, 1);
            g_assert_cmpint(u.f.level[4], ==, 0);
        }
        if (level[t] > 1) {
            /* Four character times of ten bits: 347 µs. */
            clock_step(u.f.clock, 340000);
            g_assert_cmpint(u.f.level[4], ==, 0);
            clock_step(u.f.clock, 10000);
            g_assert_cmpint(u.f.level[4], ==, 1);
            g_assert_cmphex(rd(&u, 2), ==, 0xcc);
            rd(&u, 0);
            g_assert_cmphex(rd(&u, 2), ==, 0xc1);
            inject(&u, "x");
        }
        inject(&u, "x");
        g_assert_cmphex(rd(&u, 2), ==, 0xc4);
        rd(&u, 0);
        g_assert_cmphex(rd(&u, 2), ==, 0xc1);
        stop(&u);
    }
}

static void test_fifo_size_and_clear(void)
{
    Uart u;

    start(&u);
    wr(&u, 2, 0x01);
    g_assert_cmpint(inject(&u, "0123456789abcdefgh"), ==, 16);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(rd(&u, 0), ==, '0' + i);
    }
    wr(&u, 2, 0x03); /* clear the receiver */
    g_assert_cmphex(rd(&u, 5), ==, 0x60);
    inject(&u, "z");
    wr(&u, 2, 0x00); /* turning the FIFO off clears it too */
    g_assert_cmphex(rd(&u, 5), ==, 0x60);
    g_assert_cmphex(rd(&u, 2), ==, 0x01);
    stop(&u);
}

static void test_loopback(void)
{
    Uart u;
    uint8_t buf[4];

    start(&u);
    wr(&u, 3, 0x03);
    wr(&u, 4, 0x10);
    rd(&u, 6);
    wr(&u, 0, 0x5a);
    g_assert_cmphex(rd(&u, 5), ==, 0x61);
    g_assert_cmphex(rd(&u, 0), ==, 0x5a);
    g_assert_cmpint(chardev_ringbuf_read(u.chr, buf, 4), ==, 0);
    /* Modem outputs come back: DTR→DSR, RTS→CTS, OUT1→RI, OUT2→DCD. */
    wr(&u, 4, 0x11);
    g_assert_cmphex(rd(&u, 6), ==, 0x22); /* DSR, delta DSR */
    g_assert_cmphex(rd(&u, 6), ==, 0x20);
    wr(&u, 4, 0x12);
    g_assert_cmphex(rd(&u, 6), ==, 0x13);
    wr(&u, 4, 0x14);
    g_assert_cmphex(rd(&u, 6), ==, 0x41); /* RI came: no TERI */
    wr(&u, 4, 0x18);
    g_assert_cmphex(rd(&u, 6), ==, 0x8c); /* RI went: TERI; delta DCD */
    /* Overrun without FIFO: the second byte stays. */
    wr(&u, 0, 1);
    wr(&u, 0, 2);
    g_assert_cmphex(rd(&u, 5), ==, 0x63);
    g_assert_cmphex(rd(&u, 5), ==, 0x61); /* OE cleared by reading */
    g_assert_cmphex(rd(&u, 0), ==, 2);
    /* With the FIFO: 16 bytes stay, the 17th is lost. Linux measures the FIFO so. */
    wr(&u, 2, 0x07);
    for (unsigned i = 0; i < 40; i++) {
        wr(&u, 0, i);
    }
    g_assert_cmphex(rd(&u, 5) & 0x02, ==, 0x02);
    unsigned n = 0;
    while (rd(&u, 5) & 1) {
        g_assert_cmpint(rd(&u, 0), ==, n++);
    }
    g_assert_cmpint(n, ==, 16);
    stop(&u);
}

static void test_line_status_priority(void)
{
    Uart u;

    start(&u);
    wr(&u, 3, 0x03);
    wr(&u, 4, 0x10);
    wr(&u, 1, 0x0f);
    rd(&u, 6);
    rd(&u, 2);
    wr(&u, 0, 1);
    wr(&u, 0, 2); /* overrun */
    wr(&u, 4, 0x11);
    g_assert_cmphex(rd(&u, 2), ==, 0x06);
    rd(&u, 5);
    g_assert_cmphex(rd(&u, 2), ==, 0x04);
    rd(&u, 0);
    g_assert_cmphex(rd(&u, 2), ==, 0x02);
    g_assert_cmphex(rd(&u, 2), ==, 0x00);
    rd(&u, 6);
    g_assert_cmphex(rd(&u, 2), ==, 0x01);
    stop(&u);
}

static void test_save_load(void)
{
    Uart u;
    GByteArray *a = g_byte_array_new(), *b = g_byte_array_new();
    size_t pos = 0;

    start(&u);
    wr(&u, 2, 0x41);
    wr(&u, 1, 0x05);
    wr(&u, 7, 0x77);
    inject(&u, "abc");
    Device *dev = u.f.m->devices->pdata[0];
    state_save(dev->type->state, dev, a);
    dev->type->reset(dev);
    g_assert_true(state_load(dev->type->state, dev, a->data, a->len, &pos, NULL));
    g_assert_cmpint(pos, ==, a->len);
    state_save(dev->type->state, dev, b);
    g_assert_cmpmem(a->data, a->len, b->data, b->len);
    g_assert_cmphex(rd(&u, 0), ==, 'a');
    g_assert_cmphex(rd(&u, 7), ==, 0x77);
    stop(&u);
    g_byte_array_unref(a);
    g_byte_array_unref(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ns16550/reset", test_reset);
    g_test_add_func("/ns16550/registers", test_registers);
    g_test_add_func("/ns16550/transmit", test_transmit);
    g_test_add_func("/ns16550/thre-interrupt", test_thre_interrupt);
    g_test_add_func("/ns16550/receive", test_receive);
    g_test_add_func("/ns16550/fifo-trigger-and-timeout", test_fifo_trigger_and_timeout);
    g_test_add_func("/ns16550/fifo-size-and-clear", test_fifo_size_and_clear);
    g_test_add_func("/ns16550/loopback", test_loopback);
    g_test_add_func("/ns16550/line-status-priority", test_line_status_priority);
    g_test_add_func("/ns16550/save-load", test_save_load);
    return g_test_run();
}
