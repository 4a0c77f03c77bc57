/* usb-serial: the FT232BM as FTDI's drivers use it (data sheet 1.8, AN232B-04 and -05). */
#include "chardev/chardev.h"
#include "usb-fixture.h"

typedef struct Port {
    UsbRig *r;
    Chardev *chr;
    unsigned a;
} Port;

static Port port_new(void)
{
    Port p = {.r = usb_rig_new()};
    GError *err = NULL;

    p.chr = chardev_new_from_opts("ringbuf,id=ring,size=1024", &err);
    g_assert_no_error(err);
    const char *const props[] = {"chardev", "ring", NULL};
    usb_plug(p.r, "usb-serial", props);
    usb_run(p.r);
    p.a = usb_set_up(p.r, 0, 8);
    return p;
}

static void port_free(Port *p)
{
    usb_rig_free(p->r);
    g_assert_true(chardev_remove(p->chr, NULL));
}

static int vendor(Port *p, uint8_t req, unsigned value, unsigned index)
{
    return usb_control(p->r, p->a, 8, 0x40, req, value, index, 0, NULL);
}

static void test_data(void)
{
    Port p = port_new();
    uint8_t d[64], out[100], in[600];
    unsigned got = 0;

    for (unsigned i = 0; i < 100; i++) {
        out[i] = (uint8_t)(i * 3);
    }
    g_assert_cmpint(usb_packet(p.r, USB_PID_OUT, p.a, 2, out, 64, 5), ==, 64);
    g_assert_cmpint(usb_packet(p.r, USB_PID_OUT, p.a, 2, out + 64, 36, 5), ==, 36);
    g_assert_cmpint(chardev_ringbuf_read(p.chr, in, sizeof(in)), ==, 100);
    g_assert_cmpmem(in, 100, out, 100);

    /* More than the receive FIFO of 384 bytes is not taken; two status bytes lead each packet. */
    memset(in, 'x', sizeof(in));
    g_assert_cmpint(chardev_ringbuf_inject(p.chr, in, 600), ==, 384);
    for (unsigned i = 0; i < 10; i++) {
        int n = usb_packet(p.r, USB_PID_IN, p.a, 1, d, 64, 30);
        g_assert_cmpint(n, >=, 2);
        g_assert_cmphex(d[0] & 0x0f, ==, 1);
        g_assert_cmphex(d[1], ==, 0x60);
        for (int k = 2; k < n; k++) {
            g_assert_cmphex(d[k], ==, 'x');
        }
        got += (unsigned)n - 2;
    }
    g_assert_cmpuint(got, ==, 384);
    /* Purge. */
    chardev_ringbuf_inject(p.chr, in, 20);
    g_assert_cmpint(vendor(&p, 0, 1, 0), ==, 0);
    g_assert_cmpint(usb_packet(p.r, USB_PID_IN, p.a, 1, d, 64, 30), ==, 2);
    g_assert_cmpint(vendor(&p, 0, 3, 0), ==, USB_STALL);
    port_free(&p);
}

/* A packet with nothing but status comes each time the latency is over. */
static void test_latency(void)
{
    Port p = port_new();
    uint8_t d[64];
    unsigned n = 0;

    g_assert_cmpint(usb_control(p.r, p.a, 8, 0xc0, 10, 0, 0, 1, d), ==, 1);
    g_assert_cmpint(d[0], ==, 16);
    for (unsigned ms = 0; ms < 320; ms++) {
        n += usb_packet(p.r, USB_PID_IN, p.a, 1, d, 64, 1) == 2;
    }
    g_assert_cmpuint(n, >=, 19);
    g_assert_cmpuint(n, <=, 21);
    g_assert_cmpint(vendor(&p, 9, 100, 0), ==, 0);
    usb_packet(p.r, USB_PID_IN, p.a, 1, d, 64, 30);
    n = 0;
    for (unsigned ms = 0; ms < 1000; ms++) {
        n += usb_packet(p.r, USB_PID_IN, p.a, 1, d, 64, 1) == 2;
    }
    g_assert_cmpuint(n, >=, 9);
    g_assert_cmpuint(n, <=, 10);
    g_assert_cmpint(vendor(&p, 9, 0, 0), ==, USB_STALL);
    g_assert_cmpint(vendor(&p, 9, 256, 0), ==, USB_STALL);
    port_free(&p);
}

static void test_requests(void)
{
    Port p = port_new();
    uint8_t d[64] = {0};

    g_assert_cmpint(usb_control(p.r, p.a, 8, 0x80, 6, 0x100, 0, 18, d), ==, 18);
    g_assert_cmpmem(d + 8, 6, "\x03\x04\x01\x60\x00\x04", 6);
    g_assert_cmpint(vendor(&p, 3, 0x4138, 0), ==, 0); /* 9600 */
    g_assert_cmpint(vendor(&p, 3, 0, 0), ==, 0);      /* 3 million */
    g_assert_cmpint(vendor(&p, 3, 0xffff, 1), ==, 0);
    g_assert_cmpint(vendor(&p, 4, 0x4308, 0), ==, 0); /* break, mark parity */
    g_assert_cmpint(vendor(&p, 1, 0x0303, 0), ==, 0);
    g_assert_cmpint(vendor(&p, 2, 0, 0x100), ==, 0);
    g_assert_cmpint(vendor(&p, 77, 0, 0), ==, USB_STALL);
    g_assert_cmpint(usb_control(p.r, p.a, 8, 0xc0, 5, 0, 0, 2, d), ==, 2);
    g_assert_cmphex(d[1], ==, 0x60);
    g_assert_cmpint(usb_control(p.r, p.a, 8, 0xc0, 0x90, 0, 5, 2, d), ==, 2);
    g_assert_cmphex(d[0] & d[1], ==, 0xff);
    g_assert_cmpint(usb_control(p.r, p.a, 8, 0x40, 1, 0, 0, 8, d), ==, USB_STALL);
    port_free(&p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/usb-serial/data", test_data);
    g_test_add_func("/usb-serial/latency", test_latency);
    g_test_add_func("/usb-serial/requests", test_requests);
    return g_test_run();
}
