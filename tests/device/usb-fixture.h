/*
 * A UHCI controller with whatever is plugged in, and the driver's side: schedules in memory as the
 * UHCI Design Guide 1.1 lays them out, control transfers of USB 2.0 chapter 8.5.3.
 */
#ifndef RHEA_TESTS_USB_FIXTURE_H
#define RHEA_TESTS_USB_FIXTURE_H

#include "hw/usb/uhci.h"
#include "hw/usb/usb.h"
#include "pci-fixture.h"

#define UHCI_DEVFN PCI_DEVFN(1, 2)
#define UHCI 0xc040u
#define FRAME_LIST 0x10000u
#define QH 0x20000u
#define TD(n) (0x21000u + 32 * (n))
#define BUF 0x40000u
#define MSEC 1000000LL

enum {
    LINK_END = 1,
    LINK_QH = 2,
    LINK_DEPTH = 4,
    TD_TIMEOUT = 1 << 18,
    TD_NAK = 1 << 19,
    TD_BABBLE = 1 << 20,
    TD_STALLED = 1 << 22,
    TD_ACTIVE = 1 << 23,
    TD_IOC = 1 << 24,
    TD_ERR3 = 3 << 27,
    TD_SPD = 1 << 29,
};

typedef struct UsbRig {
    Fixture *f;
    Clock *real;
    int irq;
    unsigned rises;
} UsbRig;

static inline void usb_rig_irq(void *opaque, unsigned line, int level)
{
    UsbRig *r = opaque;
    r->rises += level && !r->irq;
    r->irq = level;
}

static inline uint32_t ram(UsbRig *r, uint32_t addr)
{
    return (uint32_t)mem_load(r->f->m->memory, addr, 4);
}

static inline void set_ram(UsbRig *r, uint32_t addr, uint32_t val)
{
    mem_store(r->f->m->memory, addr, val, 4);
}

static inline uint32_t token(uint8_t pid, unsigned addr, unsigned ep, unsigned len)
{
    return pid | addr << 8 | ep << 15 | ((len - 1) & 0x7ff) << 21;
}

static inline void td(UsbRig *r, unsigned n, uint32_t link, uint32_t status, uint32_t tok,
                      uint32_t buf)
{
    const uint32_t w[4] = {link, status, tok, buf};
    for (unsigned i = 0; i < 4; i++) {
        set_ram(r, TD(n) + 4 * i, w[i]);
    }
}

static inline uint32_t td_status(UsbRig *r, unsigned n)
{
    return ram(r, TD(n) + 4);
}

static inline void queue(UsbRig *r, uint32_t head, uint32_t element)
{
    set_ram(r, QH, head);
    set_ram(r, QH + 4, element);
}

static inline void frames(UsbRig *r, unsigned n)
{
    clock_step(r->f->clock, n * MSEC);
}

static inline Bus *usb_rig_bus(UsbRig *r)
{
    for (guint i = 0; i < r->f->m->devices->len; i++) {
        GList *b = ((Device *)r->f->m->devices->pdata[i])->buses;
        if (b && !strcmp(((Bus *)b->data)->kind, "usb")) {
            return b->data;
        }
    }
    return NULL;
}

static inline Device *usb_plug(UsbRig *r, const char *type, const char *const *props)
{
    Device *d = device_new(device_type_find(type), r->f->m);
    GError *err = NULL;

    for (; props && props[0]; props += 2) {
        device_set(d, props[0], props[1], &err);
        g_assert_no_error(err);
    }
    device_realize(d, usb_rig_bus(r), &err);
    g_assert_no_error(err);
    return d;
}

/* As firmware and driver set it up: running, one empty queue in each frame. */
static inline UsbRig *usb_rig_new(void)
{
    UsbRig *r = g_new0(UsbRig, 1);
    GError *err = NULL;

    r->f = fixture_new(16 << 20);
    r->real = r->f->m->virtual_clock;
    r->f->m->virtual_clock = r->f->clock;
    pci_bus_set_irqs(r->f->bus, NULL, usb_rig_irq, r);
    piix3_uhci_new(r->f->m, r->f->bus, UHCI_DEVFN, &err);
    g_assert_no_error(err);
    cfg_write(r->f, UHCI_DEVFN, 0x20, UHCI, 4);
    cfg_write(r->f, UHCI_DEVFN, 4, 5, 2);
    return r;
}

static inline void usb_rig_free(UsbRig *r)
{
    fixture_check_state(r->f);
    /* Devices go while their clock is there. */
    while (r->f->m->devices->len > 1) {
        device_free(r->f->m->devices->pdata[r->f->m->devices->len - 1]);
    }
    r->f->m->virtual_clock = r->real;
    fixture_free(r->f);
    g_free(r);
}

static inline void usb_run(UsbRig *r)
{
    for (unsigned i = 0; i < 1024; i++) {
        set_ram(r, FRAME_LIST + 4 * i, QH | LINK_QH);
    }
    queue(r, LINK_END, LINK_END);
    outl(r->f, UHCI + 8, FRAME_LIST);
    outw(r->f, UHCI + 6, 0);
    outw(r->f, UHCI + 4, 0x0f);
    outw(r->f, UHCI, 0xc1);
}

/* What a hub driver does to use what is on port @n (0, 1). */
static inline void usb_enable(UsbRig *r, unsigned n)
{
    outw(r->f, UHCI + 0x10 + 2 * n, 0x200);
    frames(r, 50);
    outw(r->f, UHCI + 0x10 + 2 * n, 0);
    outw(r->f, UHCI + 0x10 + 2 * n, 0xe);
    g_assert_cmphex(inw(r->f, UHCI + 0x10 + 2 * n), ==, 0x95);
}

/* Runs TDs 0…n-1 as one queue; the first that did not succeed, or n. */
static inline unsigned usb_go(UsbRig *r, unsigned n)
{
    queue(r, LINK_END, TD(0));
    for (unsigned ms = 0; ms < 300 && !(ram(r, QH + 4) & LINK_END); ms++) {
        frames(r, 1);
        for (unsigned i = 0; i < n; i++) {
            if (td_status(r, i) & TD_STALLED) {
                queue(r, LINK_END, LINK_END);
                return i;
            }
        }
    }
    unsigned done = 0;
    while (done < n && !(td_status(r, done) & TD_ACTIVE)) {
        done++;
    }
    queue(r, LINK_END, LINK_END);
    return done;
}

/* A control transfer with packets of @mps bytes: bytes moved, or USB_STALL. */
static inline int usb_control(UsbRig *r, unsigned addr, unsigned mps, uint8_t type, uint8_t req,
                              unsigned value, unsigned index, unsigned len, void *data)
{
    const uint8_t setup[8] = {type,           req,
                              (uint8_t)value, (uint8_t)(value >> 8),
                              (uint8_t)index, (uint8_t)(index >> 8),
                              (uint8_t)len,   (uint8_t)(len >> 8)};
    bool in = type & 0x80;
    unsigned n = 1, total = 0;

    mem_write(r->f->m->memory, BUF, setup, 8);
    if (!in && len) {
        mem_write(r->f->m->memory, BUF + 16, data, len);
    }
    td(r, 0, TD(1) | LINK_DEPTH, TD_ACTIVE | TD_ERR3, token(USB_PID_SETUP, addr, 0, 8), BUF);
    for (unsigned off = 0; off < len; off += mps, n++) {
        td(r, n, TD(n + 1) | LINK_DEPTH, TD_ACTIVE | TD_ERR3,
           token(in ? USB_PID_IN : USB_PID_OUT, addr, 0, MIN(mps, len - off)), BUF + 16 + off);
    }
    td(r, n, LINK_END, TD_ACTIVE | TD_ERR3 | TD_IOC,
       token(in && len ? USB_PID_OUT : USB_PID_IN, addr, 0, 0), 0);
    if (in && len) { /* a short packet leads to the status stage */
        for (unsigned i = 1; i < n; i++) {
            set_ram(r, TD(i) + 4, TD_ACTIVE | TD_ERR3 | TD_SPD);
        }
    }
    queue(r, LINK_END, TD(0));
    for (unsigned ms = 0; ms < 300 && td_status(r, n) & TD_ACTIVE; ms++) {
        frames(r, 1);
        for (unsigned i = 0; i <= n; i++) {
            uint32_t st = td_status(r, i), max = ((ram(r, TD(i) + 8) >> 21) + 1) & 0x7ff;
            if (st & TD_STALLED) {
                queue(r, LINK_END, LINK_END);
                return USB_STALL;
            }
            if (in && i && i < n && !(st & TD_ACTIVE) && ((st + 1) & 0x7ff) < max) {
                set_ram(r, QH + 4, TD(n));
            }
        }
    }
    bool done = !(td_status(r, n) & TD_ACTIVE);
    queue(r, LINK_END, LINK_END);
    if (!done) {
        return USB_NAK;
    }
    for (unsigned i = 1; i < n; i++) {
        total += td_status(r, i) & TD_ACTIVE ? 0 : (td_status(r, i) + 1) & 0x7ff;
    }
    if (in && data) {
        mem_read(r->f->m->memory, BUF + 16, data, total);
    }
    return (int)total;
}

/* One packet on a bulk or interrupt endpoint: bytes, USB_NAK (after @ms frames) or USB_STALL. */
static inline int usb_packet(UsbRig *r, uint8_t pid, unsigned addr, unsigned ep, void *data,
                             unsigned len, unsigned ms)
{
    if (pid == USB_PID_OUT) {
        mem_write(r->f->m->memory, BUF, data, len);
    }
    td(r, 0, LINK_END, TD_ACTIVE | TD_ERR3, token(pid, addr, ep, len), BUF);
    queue(r, LINK_END, TD(0));
    for (; ms && td_status(r, 0) & TD_ACTIVE; ms--) {
        frames(r, 1);
    }
    queue(r, LINK_END, LINK_END);
    uint32_t st = td_status(r, 0);
    if (st & TD_ACTIVE) {
        return USB_NAK;
    }
    if (st & TD_BABBLE) {
        return USB_BABBLE;
    }
    if (st & TD_TIMEOUT) {
        return USB_SILENT;
    }
    if (st & TD_STALLED) {
        return USB_STALL;
    }
    unsigned n = (st + 1) & 0x7ff;
    if (pid == USB_PID_IN) {
        mem_read(r->f->m->memory, BUF, data, n);
    }
    return (int)n;
}

/* Plugged into root port @n: address 5 + @n, configured. */
static inline unsigned usb_set_up(UsbRig *r, unsigned n, unsigned mps)
{
    usb_enable(r, n);
    g_assert_cmpint(usb_control(r, 0, mps, 0, USB_SET_ADDRESS, 5 + n, 0, 0, NULL), ==, 0);
    g_assert_cmpint(usb_control(r, 5 + n, mps, 0, USB_SET_CONFIGURATION, 1, 0, 0, NULL), ==, 0);
    return 5 + n;
}

#endif
