/* UHCI by the Design Guide 1.1, the device core by USB 2.0 chapter 9, the hub by chapter 11. */
#include "ui/input.h"
#include "usb-fixture.h"

enum { STS_INT = 1, STS_ERROR = 2, STS_RESUME = 4, STS_HSE = 8, STS_HCPE = 16, STS_HALTED = 32 };

static void test_registers(void)
{
    UsbRig *r = usb_rig_new();
    Fixture *f = r->f;

    g_assert_cmphex(cfg_read(f, UHCI_DEVFN, 0, 4), ==, 0x70208086);
    g_assert_cmphex(cfg_read(f, UHCI_DEVFN, 8, 4) >> 8, ==, 0x0c0300);
    g_assert_cmphex(cfg_read(f, UHCI_DEVFN, 0x3d, 1), ==, 4);
    g_assert_cmphex(cfg_read(f, UHCI_DEVFN, 0x60, 1), ==, 0x10);
    g_assert_cmphex(cfg_read(f, UHCI_DEVFN, 0xc0, 2), ==, 0x2000);
    cfg_write(f, UHCI_DEVFN, 0x20, 0xffffffff, 4);
    g_assert_cmphex(cfg_read(f, UHCI_DEVFN, 0x20, 4), ==, 0xffffffe1);
    cfg_write(f, UHCI_DEVFN, 0x20, UHCI, 4);

    g_assert_cmphex(inw(f, UHCI), ==, 0);
    g_assert_cmphex(inw(f, UHCI + 2), ==, STS_HALTED);
    g_assert_cmphex(inw(f, UHCI + 4), ==, 0);
    g_assert_cmphex(inw(f, UHCI + 6), ==, 0);
    g_assert_cmphex(inb(f, UHCI + 12), ==, 0x40);
    g_assert_cmphex(inw(f, UHCI + 0x10), ==, 0x80);
    g_assert_cmphex(inw(f, UHCI + 0x12), ==, 0x80);
    g_assert_cmphex(inw(f, UHCI + 0x14) & 0x80, ==, 0); /* no third port */

    outw(f, UHCI + 4, 0xffff);
    outl(f, UHCI + 8, 0x12345fff);
    outw(f, UHCI + 6, 0xffff);
    outb(f, UHCI + 12, 0xff);
    g_assert_cmphex(inw(f, UHCI + 4), ==, 15);
    g_assert_cmphex(inl(f, UHCI + 8), ==, 0x12345000);
    g_assert_cmphex(inw(f, UHCI + 6), ==, 0x7ff);
    g_assert_cmphex(inb(f, UHCI + 12), ==, 0x7f);
    outw(f, UHCI, 2); /* HCRESET */
    g_assert_cmphex(inw(f, UHCI), ==, 0);
    g_assert_cmphex(inl(f, UHCI + 8), ==, 0);
    g_assert_cmphex(inb(f, UHCI + 12), ==, 0x40);
    usb_rig_free(r);
}

static void test_ports(void)
{
    UsbRig *r = usb_rig_new();
    Fixture *f = r->f;
    const unsigned port = UHCI + 0x10;

    outw(f, port, 4); /* nothing there: cannot be enabled */
    g_assert_cmphex(inw(f, port), ==, 0x80);
    Device *d = usb_plug(r, "usb-mouse", NULL);
    g_assert_cmphex(inw(f, port), ==, 0x93);
    outw(f, port, 2);
    g_assert_cmphex(inw(f, port), ==, 0x91);
    outw(f, port, 4);
    g_assert_cmphex(inw(f, port), ==, 0x95);
    outw(f, port, 0x204); /* reset disables */
    g_assert_cmphex(inw(f, port) & 0x204, ==, 0x200);
    outw(f, port, 0);
    outw(f, port, 4);
    outw(f, port, 0x1004);
    g_assert_cmphex(inw(f, port), ==, 0x1095);
    device_free(d);
    g_assert_cmphex(inw(f, port), ==, 0x8a); /* both changes, nothing else */
    outw(f, port, 0xa);
    g_assert_cmphex(inw(f, port), ==, 0x80);
    usb_rig_free(r);
}

static void test_control(void)
{
    UsbRig *r = usb_rig_new();
    uint8_t d[256];

    usb_plug(r, "usb-tablet", NULL);
    usb_run(r);
    usb_enable(r, 0);
    g_assert_cmpint(usb_control(r, 0, 8, 0x80, 6, 0x100, 0, 64, d), ==, 18);
    g_assert_cmpint(d[0], ==, 18);
    g_assert_cmpint(d[1], ==, 1);
    g_assert_cmpint(d[7], ==, 8);
    g_assert_cmpint(d[17], ==, 1);
    g_assert_cmpint(usb_control(r, 0, 8, 0, 5, 7, 0, 0, NULL), ==, 0);
    g_assert_cmpint(usb_control(r, 0, 8, 0x80, 6, 0x100, 0, 8, d), ==, USB_STALL); /* gone */
    g_assert_cmpint(usb_control(r, 7, 8, 0x80, 6, 0x100, 0, 5, d), ==, 5);
    int n = usb_control(r, 7, 8, 0x80, 6, 0x200, 0, 255, d);
    g_assert_cmpint(n, ==, d[2] | d[3] << 8);
    g_assert_cmpint(usb_control(r, 7, 8, 0x80, 6, 0x300, 0, 255, d), ==, 4);
    g_assert_cmphex(d[2] | d[3] << 8, ==, 0x409);
    g_assert_cmpint(usb_control(r, 7, 8, 0x80, 6, 0x302, 0x409, 255, d), ==, 2 + 2 * 10);
    g_assert_cmpmem(d + 2, 6, "U\0S\0B", 6);
    g_assert_cmpint(usb_control(r, 7, 8, 0x80, 6, 0x309, 0x409, 255, d), ==, USB_STALL);
    g_assert_cmpint(usb_control(r, 7, 8, 0x80, 6, 0x600, 0, 10, d), ==, USB_STALL); /* qualifier */
    g_assert_cmpint(usb_control(r, 7, 8, 0x80, 8, 0, 0, 1, d), ==, 1);
    g_assert_cmpint(d[0], ==, 0);
    g_assert_cmpint(usb_control(r, 7, 8, 0, 9, 2, 0, 0, NULL), ==, USB_STALL); /* no such */
    g_assert_cmpint(usb_control(r, 7, 8, 0, 9, 1, 0, 0, NULL), ==, 0);
    g_assert_cmpint(usb_control(r, 7, 8, 0x80, 8, 0, 0, 1, d), ==, 1);
    g_assert_cmpint(d[0], ==, 1);
    /* Remote wake-up and endpoint halt, set, seen, cleared. */
    g_assert_cmpint(usb_control(r, 7, 8, 0, 3, 1, 0, 0, NULL), ==, 0);
    g_assert_cmpint(usb_control(r, 7, 8, 0x80, 0, 0, 0, 2, d), ==, 2);
    g_assert_cmphex(d[0], ==, 2);
    g_assert_cmpint(usb_control(r, 7, 8, 2, 3, 0, 0x81, 0, NULL), ==, 0);
    g_assert_cmpint(usb_control(r, 7, 8, 0x82, 0, 0, 0x81, 2, d), ==, 2);
    g_assert_cmphex(d[0], ==, 1);
    g_assert_cmpint(usb_packet(r, USB_PID_IN, 7, 1, d, 8, 5), ==, USB_STALL);
    g_assert_cmpint(usb_control(r, 7, 8, 2, 1, 0, 0x81, 0, NULL), ==, 0);
    g_assert_cmpint(usb_packet(r, USB_PID_IN, 7, 1, d, 8, 5), ==, USB_NAK);
    g_assert_cmpint(usb_control(r, 7, 8, 0x82, 0, 0, 0x85, 2, d), ==, USB_STALL); /* no such */
    g_assert_cmpint(usb_packet(r, USB_PID_IN, 7, 3, d, 8, 5), ==, USB_SILENT);
    usb_rig_free(r);
}

/* CVE-2020-14364: data stages longer than any buffer, or going on for ever. */
static void test_long_setup(void)
{
    UsbRig *r = usb_rig_new();
    uint8_t d[64] = {0};

    usb_plug(r, "usb-kbd", NULL);
    usb_run(r);
    unsigned a = usb_set_up(r, 0, 8);
    const uint8_t setups[][8] = {
        {0x21, 9, 0, 2, 0, 0, 0xff, 0xff}, /* SET_REPORT with 65535 bytes */
        {0x00, 7, 0, 1, 0, 0, 0x01, 0x04}, /* SET_DESCRIPTOR with 1025 */
        {0x21, 9, 0, 2, 0, 0, 0x00, 0x04}, /* 1024: taken, then refused */
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(setups); i++) {
        memcpy(d, setups[i], 8);
        mem_write(r->f->m->memory, BUF, d, 8);
        td(r, 0, LINK_END, TD_ACTIVE | TD_ERR3, token(USB_PID_SETUP, a, 0, 8), BUF);
        g_assert_cmpuint(usb_go(r, 1), ==, 1);
        unsigned taken = 0;
        while (taken < 2000 && usb_packet(r, USB_PID_OUT, a, 0, d, 8, 2) == 8) {
            taken++;
        }
        g_assert_cmpuint(taken, ==, i == 2 ? 128 : 0);
        /* And the other way in the middle of it. */
        g_assert_cmpint(usb_packet(r, USB_PID_IN, a, 0, d, 8, 2), ==, USB_STALL);
    }
    /* A host that never stops reading gets empty packets. */
    const uint8_t get[8] = {0x80, 6, 0, 1, 0, 0, 0xff, 0xff};
    mem_write(r->f->m->memory, BUF, get, 8);
    td(r, 0, LINK_END, TD_ACTIVE | TD_ERR3, token(USB_PID_SETUP, a, 0, 8), BUF);
    g_assert_cmpuint(usb_go(r, 1), ==, 1);
    unsigned sum = 0;
    for (unsigned i = 0; i < 1000; i++) {
        sum += (unsigned)usb_packet(r, USB_PID_IN, a, 0, d, 8, 2);
    }
    g_assert_cmpuint(sum, ==, 18);
    g_assert_cmpint(usb_control(r, a, 8, 0x80, 6, 0x100, 0, 18, d), ==, 18);
    usb_rig_free(r);
}

static void test_queues(void)
{
    UsbRig *r = usb_rig_new();
    const uint8_t setup[8] = {0x80, 6, 0, 1, 0, 0, 18, 0};

    usb_plug(r, "usb-tablet", NULL);
    usb_run(r);
    usb_enable(r, 0);
    mem_write(r->f->m->memory, BUF, setup, 8);
    for (unsigned depth = 0; depth < 2; depth++) {
        uint32_t vf = depth ? LINK_DEPTH : 0;
        td(r, 0, TD(1) | vf, TD_ACTIVE | TD_ERR3, token(USB_PID_SETUP, 0, 0, 8), BUF);
        td(r, 1, TD(2) | vf, TD_ACTIVE | TD_ERR3 | TD_IOC, token(USB_PID_IN, 0, 0, 8), BUF + 16);
        td(r, 2, LINK_END, TD_ACTIVE | TD_ERR3, token(USB_PID_IN, 0, 0, 8), BUF + 24);
        queue(r, LINK_END, TD(0));
        frames(r, 1);
        g_assert_cmphex(td_status(r, 0), ==, (uint32_t)TD_ERR3 | 7);
        /* Breadth first: one a frame. */
        g_assert_cmphex(td_status(r, 1) & TD_ACTIVE, ==, depth ? 0 : TD_ACTIVE);
        g_assert_cmphex(ram(r, QH + 4), ==, depth ? LINK_END : TD(1));
        frames(r, 2);
        g_assert_cmphex(ram(r, QH + 4), ==, LINK_END);
        g_assert_cmphex(inw(r->f, UHCI + 2), ==, STS_INT);
        g_assert_cmpint(r->irq, ==, 1);
        outw(r->f, UHCI + 2, STS_INT);
        g_assert_cmphex(inw(r->f, UHCI + 2), ==, 0);
        g_assert_cmpint(r->irq, ==, 0);
    }
    /* A TD that is not active stops its queue, and its IOC counts. */
    td(r, 0, TD(1), TD_IOC, token(USB_PID_SETUP, 0, 0, 8), BUF);
    queue(r, LINK_END, TD(0));
    frames(r, 1);
    g_assert_cmphex(ram(r, QH + 4), ==, TD(0));
    g_assert_cmphex(inw(r->f, UHCI + 2), ==, STS_INT);
    outw(r->f, UHCI + 4, 0xb); /* IOC off */
    g_assert_cmpint(r->irq, ==, 0);
    usb_rig_free(r);
}

static void test_results(void)
{
    UsbRig *r = usb_rig_new();
    uint8_t d[64];

    usb_plug(r, "usb-tablet", NULL);
    usb_run(r);
    unsigned a = usb_set_up(r, 0, 8);
    outw(r->f, UHCI + 2, 0x1f);
    /* NAK: stays active. */
    td(r, 0, LINK_END, TD_ACTIVE | TD_ERR3, token(USB_PID_IN, a, 1, 8), BUF);
    queue(r, LINK_END, TD(0));
    frames(r, 3);
    g_assert_cmphex(td_status(r, 0), ==, (uint32_t)(TD_ACTIVE | TD_ERR3 | TD_NAK));
    g_assert_cmphex(ram(r, QH + 4), ==, TD(0));
    g_assert_cmphex(inw(r->f, UHCI + 2), ==, 0);
    /* STALL of a request that is not there. */
    g_assert_cmpint(usb_control(r, a, 8, 0x80, 99, 0, 0, 8, d), ==, USB_STALL);
    g_assert_cmphex(td_status(r, 1) & (TD_ACTIVE | TD_STALLED | TD_BABBLE), ==, TD_STALLED);
    g_assert_cmphex(inw(r->f, UHCI + 2), ==, STS_ERROR);
    g_assert_cmpint(r->irq, ==, 1);
    outw(r->f, UHCI + 2, STS_ERROR);
    g_assert_cmpint(r->irq, ==, 0);
    /* Babble: 8 bytes where 5 were asked for. */
    const uint8_t setup[8] = {0x80, 6, 0, 1, 0, 0, 18, 0};
    mem_write(r->f->m->memory, BUF, setup, 8);
    td(r, 0, TD(1), TD_ACTIVE | TD_ERR3, token(USB_PID_SETUP, a, 0, 8), BUF);
    td(r, 1, LINK_END, TD_ACTIVE | TD_ERR3, token(USB_PID_IN, a, 0, 5), BUF + 16);
    set_ram(r, BUF + 16, 0x11223344);
    g_assert_cmpuint(usb_go(r, 2), ==, 1);
    g_assert_cmphex(td_status(r, 1) & (TD_BABBLE | TD_STALLED), ==, TD_BABBLE | TD_STALLED);
    g_assert_cmphex(ram(r, BUF + 16), ==, 0x11223344);
    outw(r->f, UHCI + 2, 0x1f);
    /* Nobody there: three times, then out. */
    td(r, 0, LINK_END, TD_ACTIVE | TD_ERR3, token(USB_PID_IN, 99, 1, 8), BUF);
    queue(r, LINK_END, TD(0));
    frames(r, 1);
    g_assert_cmphex(td_status(r, 0) & ~0x7ffu, ==, TD_ACTIVE | 2u << 27 | TD_TIMEOUT);
    g_assert_cmphex(inw(r->f, UHCI + 2), ==, 0);
    frames(r, 2);
    g_assert_cmphex(td_status(r, 0) & ~0x7ffu, ==, TD_STALLED | TD_TIMEOUT);
    g_assert_cmphex(inw(r->f, UHCI + 2), ==, STS_ERROR);
    /* Without a limit: for ever. */
    td(r, 0, LINK_END, TD_ACTIVE, token(USB_PID_IN, 99, 1, 8), BUF);
    frames(r, 50);
    g_assert_cmphex(td_status(r, 0) & ~0x7ffu, ==, TD_ACTIVE | TD_TIMEOUT);
    usb_rig_free(r);
}

static void test_short_packet(void)
{
    UsbRig *r = usb_rig_new();
    const uint8_t setup[8] = {0x80, 6, 0, 1, 0, 0, 64, 0};

    usb_plug(r, "usb-tablet", NULL);
    usb_run(r);
    usb_enable(r, 0);
    mem_write(r->f->m->memory, BUF, setup, 8);
    for (unsigned spd = 0; spd < 2; spd++) {
        outw(r->f, UHCI + 2, 0x1f);
        td(r, 0, TD(1) | LINK_DEPTH, TD_ACTIVE, token(USB_PID_SETUP, 0, 0, 8), BUF);
        td(r, 1, TD(2) | LINK_DEPTH, TD_ACTIVE | (spd ? TD_SPD : 0), token(USB_PID_IN, 0, 0, 32),
           BUF + 16);
        td(r, 2, LINK_END, TD_ACTIVE, token(USB_PID_IN, 0, 0, 8), BUF + 48);
        queue(r, LINK_END, TD(0));
        frames(r, 2);
        g_assert_cmphex(td_status(r, 1) & 0xffffff, ==, 7);
        g_assert_cmphex(ram(r, QH + 4) & ~4u, ==, spd ? TD(1) : LINK_END);
        g_assert_cmphex(inw(r->f, UHCI + 2), ==, spd ? STS_INT : 0);
        g_assert_cmpint(r->irq, ==, spd);
    }
    outw(r->f, UHCI + 4, 7); /* not for short packets */
    g_assert_cmpint(r->irq, ==, 0);
    usb_rig_free(r);
}

static void test_fatal(void)
{
    static const struct {
        uint32_t link, token, buf;
        uint16_t sts;
    } cases[] = {
        {TD(0), 0x55 | 7u << 21, BUF, STS_HCPE},              /* no packet identifier */
        {TD(0), USB_PID_IN | 0x500u << 21, BUF, STS_HCPE},    /* 1281 bytes */
        {TD(0), USB_PID_OUT | 7u << 21, 0xfffffff0, STS_HSE}, /* data where nothing is */
        {0xf0000000, 0, 0, STS_HSE},                          /* a list where nothing is */
        {0xf0000000 | LINK_QH, 0, 0, STS_HSE},
        {0xffffffe0, 0, 0, STS_HSE},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        UsbRig *r = usb_rig_new();
        usb_run(r);
        td(r, 0, LINK_END, TD_ACTIVE, cases[i].token, cases[i].buf);
        set_ram(r, FRAME_LIST + 4, cases[i].link);
        frames(r, 3);
        g_assert_cmphex(inw(r->f, UHCI + 2), ==, cases[i].sts | STS_HALTED);
        g_assert_cmphex(inw(r->f, UHCI) & 1, ==, 0);
        g_assert_cmpint(r->irq, ==, 1); /* cannot be masked */
        outw(r->f, UHCI + 2, cases[i].sts);
        g_assert_cmpint(r->irq, ==, 0);
        g_assert_cmpint((int)clock_next_deadline(r->f->clock), ==, -1);
        usb_rig_free(r);
    }
    /* The frame list itself. */
    UsbRig *r = usb_rig_new();
    usb_run(r);
    outw(r->f, UHCI, 0);
    outl(r->f, UHCI + 8, 0xf0000000);
    outw(r->f, UHCI, 1);
    frames(r, 1);
    g_assert_cmphex(inw(r->f, UHCI + 2), ==, STS_HSE | STS_HALTED);
    usb_rig_free(r);
}

/* Loops end with the frame; the controller goes on and frames count. */
static void test_loops(void)
{
    UsbRig *r = usb_rig_new();

    usb_run(r);
    queue(r, QH | LINK_QH, LINK_END); /* to itself */
    frames(r, 3000);
    queue(r, QH | LINK_QH, QH | LINK_QH);
    frames(r, 3000);
    td(r, 0, TD(0), 0, token(USB_PID_IN, 1, 1, 8), BUF); /* itself, outside a queue */
    set_ram(r, FRAME_LIST, TD(0));
    frames(r, 3000);
    td(r, 0, TD(0) | LINK_DEPTH, TD_ACTIVE | TD_SPD, token(USB_PID_IN, 1, 1, 8), BUF);
    queue(r, QH | LINK_QH, TD(0));
    frames(r, 3000);
    /* A circle of three that the entry is not part of. */
    queue(r, (QH + 16) | LINK_QH, LINK_END);
    for (unsigned i = 1; i < 4; i++) {
        set_ram(r, QH + 16 * i, (QH + 16 * (i == 3 ? 1 : i + 1)) | LINK_QH);
        set_ram(r, QH + 16 * i + 4, LINK_END);
    }
    frames(r, 3000);
    g_assert_cmphex(inw(r->f, UHCI) & 1, ==, 1);
    g_assert_cmphex(inw(r->f, UHCI + 2), ==, 0);
    g_assert_cmpuint(inw(r->f, UHCI + 6), ==, 15000 & 0x7ff);
    usb_rig_free(r);
}

/* No work a thousand times a second when nothing moves, and none of this shows. */
static void test_sleep(void)
{
    UsbRig *r = usb_rig_new();
    UsbDevice *d = (UsbDevice *)usb_plug(r, "usb-tablet", NULL);
    unsigned wakes = 0;

    usb_run(r);
    unsigned a = usb_set_up(r, 0, 8);
    unsigned start = inw(r->f, UHCI + 6);
    td(r, 0, LINK_END, TD_ACTIVE, token(USB_PID_IN, a, 1, 8), BUF);
    queue(r, LINK_END, TD(0));
    frames(r, 200);
    for (int64_t end = clock_now(r->f->clock) + 1000 * MSEC; clock_now(r->f->clock) < end;) {
        int64_t next = clock_next_deadline(r->f->clock);
        g_assert_cmpint(next, !=, -1);
        clock_step(r->f->clock, MAX(next - clock_now(r->f->clock), 1));
        wakes++;
    }
    g_assert_cmpuint(wakes, <=, 65);
    g_assert_cmpuint((inw(r->f, UHCI + 6) - start) & 0x7ff, >=, 1200);
    unsigned before = inw(r->f, UHCI + 6);
    for (unsigned i = 0; i < 40; i++) { /* in every phase of the sleep */
        frames(r, 1);
        before = (before + 1) & 0x7ff;
        g_assert_cmpuint(inw(r->f, UHCI + 6), ==, before);
    }
    usb_wakeup(d);
    int64_t next = clock_next_deadline(r->f->clock) - clock_now(r->f->clock);
    g_assert_cmpint(next, <=, MSEC);
    outw(r->f, UHCI, 0xc0);
    g_assert_cmpint(clock_next_deadline(r->f->clock), ==, -1);
    before = inw(r->f, UHCI + 6);
    frames(r, 30);
    g_assert_cmpuint(inw(r->f, UHCI + 6), ==, before);
    usb_rig_free(r);
}

static void test_suspend(void)
{
    UsbRig *r = usb_rig_new();
    Device *d = usb_plug(r, "usb-kbd", NULL);

    usb_run(r);
    unsigned a = usb_set_up(r, 0, 8);
    /* One port: without remote wake-up nothing comes, with it the controller tells. */
    for (unsigned enabled = 0; enabled < 2; enabled++) {
        if (enabled) {
            usb_control(r, a, 8, 0, 3, 1, 0, 0, NULL);
        }
        outw(r->f, UHCI + 2, 0x1f);
        outw(r->f, UHCI + 0x10, 0x1004);
        input_key(r->f->m, 30, true);
        g_assert_cmphex(inw(r->f, UHCI + 0x10) & 0x40, ==, enabled ? 0x40 : 0);
        g_assert_cmphex(inw(r->f, UHCI + 2), ==, enabled ? STS_RESUME : 0);
        outw(r->f, UHCI + 0x10, 0x1044);
        outw(r->f, UHCI + 0x10, 0x0004);
        g_assert_cmphex(inw(r->f, UHCI + 0x10) & 0x1040, ==, 0);
    }
    /* The whole bus. */
    outw(r->f, UHCI, 0xc0);
    outw(r->f, UHCI, 0xc8);
    outw(r->f, UHCI + 2, 0x1f);
    input_key(r->f->m, 30, false);
    g_assert_cmphex(inw(r->f, UHCI), ==, 0xd8); /* forced resume */
    g_assert_cmphex(inw(r->f, UHCI + 2), ==, STS_RESUME | STS_HALTED);
    g_assert_cmpint(r->irq, ==, 1);
    outw(r->f, UHCI, 0xc8);
    g_assert_cmphex(inw(r->f, UHCI), ==, 0xc0);
    outw(r->f, UHCI, 0xc8);
    outw(r->f, UHCI + 2, 0x1f);
    device_free(d); /* a disconnect is a resume event too */
    g_assert_cmphex(inw(r->f, UHCI + 2) & STS_RESUME, ==, STS_RESUME);
    usb_rig_free(r);
}

static void test_resets(void)
{
    UsbRig *r = usb_rig_new();
    UsbDevice *d = (UsbDevice *)usb_plug(r, "usb-mouse", NULL);

    usb_run(r);
    g_assert_cmpuint(usb_set_up(r, 0, 8), ==, d->addr);
    outw(r->f, UHCI, 4); /* GRESET */
    g_assert_cmpuint(d->addr, ==, 0);
    g_assert_cmphex(inw(r->f, UHCI + 8), ==, 0);
    outw(r->f, UHCI, 0);
    usb_run(r);
    usb_set_up(r, 0, 8);
    outw(r->f, UHCI + 0x10, 0x200);
    g_assert_cmpuint(d->addr, ==, 0);
    outw(r->f, UHCI + 0x10, 0);
    usb_set_up(r, 0, 8);
    outw(r->f, UHCI, 2); /* HCRESET: the device is there anew, its state stays */
    g_assert_cmphex(inw(r->f, UHCI + 0x10), ==, 0x93);
    g_assert_cmphex(inw(r->f, UHCI + 2), ==, STS_HALTED);
    usb_rig_free(r);
}

/* Software debug: one transaction, then a halt. */
static void test_debug(void)
{
    UsbRig *r = usb_rig_new();

    usb_run(r);
    outw(r->f, UHCI, 0);
    for (unsigned i = 0; i < 3; i++) {
        td(r, i, i == 2 ? LINK_END : TD(i + 1) | LINK_DEPTH, TD_ACTIVE | 1u << 27,
           token(USB_PID_IN, 77, 1, 8), BUF);
        set_ram(r, FRAME_LIST + 4 * i, TD(0));
    }
    set_ram(r, FRAME_LIST + 4, LINK_END);
    outw(r->f, UHCI + 6, 0);
    for (unsigned i = 0; i < 3; i++) {
        outw(r->f, UHCI, 0x21);
        frames(r, 1);
        g_assert_cmphex(inw(r->f, UHCI + 2) & STS_HALTED, ==, STS_HALTED);
        for (unsigned k = 0; k < 3; k++) {
            g_assert_cmphex(td_status(r, k) & TD_ACTIVE, ==, k <= i ? 0 : TD_ACTIVE);
        }
    }
    usb_rig_free(r);
}

static void test_hub(void)
{
    UsbRig *r = usb_rig_new();
    uint8_t d[64];
    const char *const hub_port[] = {"port", "2", NULL}, *const kbd_port[] = {"port", "2.3", NULL};

    Device *hub = usb_plug(r, "usb-hub", hub_port);
    usb_run(r);
    unsigned a = usb_set_up(r, 1, 8);
    g_assert_cmpint(usb_control(r, a, 8, 0xa0, 6, 0x2900, 0, 64, d), ==, 9);
    g_assert_cmpint(d[2], ==, 8);
    g_assert_cmpint(usb_control(r, a, 8, 0xa3, 0, 0, 3, 4, d), ==, 4);
    g_assert_cmphex(pci_get32(d), ==, 0);
    g_assert_cmpint(usb_control(r, a, 8, 0xa3, 0, 0, 9, 4, d), ==, USB_STALL); /* no such port */
    g_assert_cmpint(usb_control(r, a, 8, 0x23, 3, 8, 0, 0, NULL), ==, USB_STALL);
    Device *kbd = usb_plug(r, "usb-kbd", kbd_port);
    g_assert_cmpint(usb_packet(r, USB_PID_IN, a, 1, d, 2, 5), ==, USB_NAK); /* no power */
    g_assert_cmpint(usb_control(r, a, 8, 0x23, 3, 8, 3, 0, NULL), ==, 0);
    g_assert_cmpint(usb_packet(r, USB_PID_IN, a, 1, d, 2, 5), ==, 2);
    g_assert_cmphex(d[0], ==, 1 << 3);
    usb_control(r, a, 8, 0xa3, 0, 0, 3, 4, d);
    g_assert_cmphex(pci_get32(d), ==, 0x00010101);
    usb_control(r, a, 8, 0x23, 1, 16, 3, 0, NULL);
    g_assert_cmpint(usb_control(r, 0, 8, 0x80, 6, 0x100, 0, 8, d), ==, USB_STALL); /* not enabled */
    g_assert_cmpint(usb_control(r, a, 8, 0x23, 3, 4, 3, 0, NULL), ==, 0);          /* reset */
    usb_control(r, a, 8, 0xa3, 0, 0, 3, 4, d);
    g_assert_cmphex(pci_get32(d), ==, 0x00100103);
    usb_control(r, a, 8, 0x23, 1, 20, 3, 0, NULL);
    g_assert_cmpint(usb_control(r, 0, 8, 0x80, 6, 0x100, 0, 8, d), ==, 8);
    g_assert_cmpint(usb_control(r, 0, 8, 0, 5, 9, 0, 0, NULL), ==, 0);
    g_assert_cmpint(usb_control(r, 9, 8, 0, 9, 1, 0, 0, NULL), ==, 0);
    /* Suspended it does not hear. */
    g_assert_cmpint(usb_control(r, a, 8, 0x23, 3, 2, 3, 0, NULL), ==, 0);
    g_assert_cmpint(usb_control(r, 9, 8, 0x80, 8, 0, 0, 1, d), ==, USB_STALL);
    g_assert_cmpint(usb_control(r, a, 8, 0x23, 1, 2, 3, 0, NULL), ==, 0);
    g_assert_cmpint(usb_control(r, 9, 8, 0x80, 8, 0, 0, 1, d), ==, 1);
    usb_control(r, a, 8, 0x23, 1, 18, 3, 0, NULL);
    device_free(kbd);
    usb_control(r, a, 8, 0xa3, 0, 0, 3, 4, d);
    g_assert_cmphex(pci_get32(d), ==, 0x00030100); /* connection and enable changed */
    usb_plug(r, "usb-kbd", kbd_port);
    device_free(hub); /* with what is on it */
    g_assert_cmphex(inw(r->f, UHCI + 0x12) & 5, ==, 0);
    for (guint i = 0; i < r->f->m->devices->len; i++) {
        g_assert_cmpstr(((Device *)r->f->m->devices->pdata[i])->type->name, !=, "usb-kbd");
    }
    usb_rig_free(r);
}

/* The last free port gets a hub; five hubs deep is the end. */
static void test_tree(void)
{
    UsbRig *r = usb_rig_new();
    GError *err = NULL;

    for (unsigned i = 0; i < 30; i++) {
        usb_plug(r, "usb-mouse", NULL);
    }
    g_autofree char *info = usb_info(r->f->m);
    g_assert_nonnull(strstr(info, "Port 2.8.8"));
    usb_rig_free(r);

    r = usb_rig_new();
    char path[16] = "1";
    for (unsigned i = 0; i < 6; i++) {
        Device *hub = device_new(device_type_find("usb-hub"), r->f->m);
        device_set(hub, "port", path, NULL);
        bool ok = device_realize(hub, usb_rig_bus(r), &err);
        g_assert_cmpint(ok, ==, i < 5);
        if (!ok) {
            g_assert_nonnull(strstr(err->message, "five hubs"));
            g_clear_error(&err);
            device_free(hub);
        }
        g_strlcat(path, ".1", sizeof(path));
    }
    usb_rig_free(r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/uhci/registers", test_registers);
    g_test_add_func("/uhci/ports", test_ports);
    g_test_add_func("/uhci/control", test_control);
    g_test_add_func("/uhci/long-setup", test_long_setup);
    g_test_add_func("/uhci/queues", test_queues);
    g_test_add_func("/uhci/results", test_results);
    g_test_add_func("/uhci/short-packet", test_short_packet);
    g_test_add_func("/uhci/fatal", test_fatal);
    g_test_add_func("/uhci/loops", test_loops);
    g_test_add_func("/uhci/sleep", test_sleep);
    g_test_add_func("/uhci/suspend", test_suspend);
    g_test_add_func("/uhci/resets", test_resets);
    g_test_add_func("/uhci/debug", test_debug);
    g_test_add_func("/uhci/hub", test_hub);
    g_test_add_func("/uhci/tree", test_tree);
    return g_test_run();
}
