/*
 * UHCI: frame lists, queues and transfer descriptors. Design Guide 1.1, chapter 3. Work in a frame
 * is bounded by descriptors and bytes; what points outside memory or makes no sense stops the
 * controller.
 */
#include "core/log.h"
#include "hw/usb/uhci_int.h"

enum {
    LINK_END = 1,
    LINK_QH = 2,
    LINK_DEPTH = 4,
    TD_ACTLEN = 0x7ff,
    TD_TIMEOUT = 1 << 18,
    TD_NAK = 1 << 19,
    TD_BABBLE = 1 << 20,
    TD_STALLED = 1 << 22,
    TD_ACTIVE = 1 << 23,
    TD_IOC = 1 << 24,
    TD_ISO = 1 << 25,
    TD_CERR_SHIFT = 27,
    TD_SPD = 1 << 29,
    TD_RESULTS = 0x00fe0000 | TD_ACTLEN,
    MAX_TD_BYTES = 1280,
    FRAME_BYTES = 16384, /* that may move in a frame */
    FRAME_FETCHES = 512, /* descriptors that are read in a frame */
};

/* One frame being run. */
typedef struct Frame {
    Uhci *s;
    unsigned bytes, fetches;
    bool moved, ioc, short_packet, error, halt;
    uint32_t qh; /* in whose queue we are, 0 = none */
    /* Loops: a queue head that was met before with nothing moved since (Brent). */
    uint32_t mark;
    unsigned since, limit;
} Frame;

static bool fetch(Frame *f, uint32_t addr, uint32_t *words, unsigned n)
{
    uint8_t raw[16];

    f->fetches++;
    if (!pci_dma_read(&f->s->pci, addr, raw, 4 * n)) {
        guest_error("uhci: no memory at %08x for a descriptor", addr);
        f->halt = true;
        uhci_stop(f->s, STS_HOST_ERROR);
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        words[i] = pci_get32(raw + 4 * i);
    }
    return true;
}

static bool store(Frame *f, uint32_t addr, uint32_t val)
{
    uint8_t raw[4];

    pci_set32(raw, val);
    if (!pci_dma_write(&f->s->pci, addr, raw, 4)) {
        guest_error("uhci: no memory at %08x for a result", addr);
        f->halt = true;
        uhci_stop(f->s, STS_HOST_ERROR);
        return false;
    }
    return true;
}

static void process_error(Frame *f, const char *what, uint32_t token)
{
    guest_error("uhci: %s in a transfer descriptor (token %08x)", what, token);
    f->halt = true;
    uhci_stop(f->s, STS_PROCESS_ERROR);
}

typedef enum {
    TD_ADVANCE, /* done: the queue goes on */
    TD_STAY,    /* the queue's head stays */
} TdResult;

/* What happened on the wire goes into the status; true if the TD is done with success. */
static bool account(Frame *f, uint32_t *status, uint32_t token, int n, unsigned max)
{
    uint32_t errors = (*status >> TD_CERR_SHIFT) & 3;

    if (n == USB_NAK) {
        /* An isochronous one has no second try. */
        *status |= TD_NAK;
        *status &= *status & TD_ISO ? ~(uint32_t)TD_ACTIVE : ~0u;
        return *status & TD_ISO;
    }
    *status &= ~(uint32_t)TD_RESULTS;
    if (n >= 0) {
        *status |= (uint32_t)(n - 1) & TD_ACTLEN;
        f->moved = true;
        f->bytes += (unsigned)n + 16; /* and what frames a packet */
        return true;
    }
    *status |= TD_ACTLEN; /* nothing moved */
    switch (n) {
    case USB_STALL:
        *status |= TD_STALLED;
        f->error = f->moved = true;
        return false;
    case USB_BABBLE:
        *status |= TD_BABBLE | TD_STALLED;
        f->error = f->moved = true;
        return false;
    default: /* no answer: three strikes, or no limit */
        *status |= TD_TIMEOUT;
        if (*status & TD_ISO) {
            f->error = f->moved = true;
            return true;
        }
        if (!errors) {
            *status |= TD_ACTIVE;
            return false;
        }
        errors--;
        *status = (*status & ~(3u << TD_CERR_SHIFT)) | errors << TD_CERR_SHIFT;
        *status |= errors ? TD_ACTIVE : TD_STALLED;
        f->error |= !errors;
        f->moved = true;
        return false;
    }
}

/* Chapter 3.2: one transfer descriptor. @td: its four words. */
static TdResult run_td(Frame *f, uint32_t addr, const uint32_t td[4])
{
    Uhci *s = f->s;
    uint32_t status = td[1], token = td[2];
    unsigned max = ((token >> 21) + 1) & 0x7ff;
    uint8_t pid = token & 0xff, buf[MAX_TD_BYTES];
    int n;

    if (!(status & TD_ACTIVE)) {
        /* The interrupt is asked for all the same. */
        f->ioc |= !!(status & TD_IOC);
        return TD_STAY;
    }
    if (pid != USB_PID_IN && pid != USB_PID_OUT && pid != USB_PID_SETUP) {
        process_error(f, "no valid packet identifier", token);
        return TD_STAY;
    }
    if (max > MAX_TD_BYTES) {
        process_error(f, "an impossible length", token);
        return TD_STAY;
    }
    if (pid != USB_PID_IN && max && !pci_dma_read(&s->pci, td[3], buf, max)) {
        guest_error("uhci: no memory at %08x for a packet", td[3]);
        f->halt = true;
        uhci_stop(s, STS_HOST_ERROR);
        return TD_STAY;
    }
    n = usb_transact(&s->bus, pid, (token >> 8) & 0x7f, (token >> 15) & 15, buf, max);
    trace("uhci_packet", "pid %02x address %u endpoint %u bytes %u: %d", pid, (token >> 8) & 0x7f,
          (token >> 15) & 15, max, n);
    if (pid == USB_PID_IN && n > 0 && !pci_dma_write(&s->pci, td[3], buf, (unsigned)n)) {
        guest_error("uhci: no memory at %08x for a packet", td[3]);
        f->halt = true;
        uhci_stop(s, STS_HOST_ERROR);
        return TD_STAY;
    }
    bool done = account(f, &status, token, n, max);
    bool ended = !(status & TD_ACTIVE);
    if (!store(f, addr + 4, status)) {
        return TD_STAY;
    }
    f->ioc |= ended && status & TD_IOC;
    if (s->cmd & CMD_SWDBG) {
        f->halt = true;
        uhci_stop(
            s, 0); /* after each transaction; what is done is inactive when the frame is resumed */
    }
    if (done && pid == USB_PID_IN && (unsigned)n < max && status & TD_SPD && f->qh) {
        f->short_packet = true;
        return TD_STAY;
    }
    return done ? TD_ADVANCE : TD_STAY;
}

/* A queue head is entered; true if that is going round in circles. */
static bool met_before(Frame *f, uint32_t qh)
{
    if (f->moved) {
        f->moved = false;
        f->since = 0;
        f->limit = 1;
        f->mark = 0;
        f->s->idle = 0;
    }
    if (f->mark == qh) {
        return true;
    }
    if (++f->since == f->limit) {
        f->since = 0;
        f->limit *= 2;
        f->mark = qh;
    }
    return false;
}

/* Follows the links from @link to the end, or until the frame is full. Chapter 3.4. */
static void run_lists(Frame *f, uint32_t link)
{
    uint32_t head = LINK_END; /* where the queue that we are in goes on, horizontally */

    while (!(link & LINK_END) && !f->halt && f->fetches < FRAME_FETCHES && f->bytes < FRAME_BYTES) {
        uint32_t addr = link & ~15u, w[4];
        if (link & LINK_QH) {
            if (met_before(f, addr | 2) || !fetch(f, addr, w, 2)) {
                return;
            }
            f->qh = w[1] & LINK_END ? 0 : addr | 2;
            head = w[0];
            link = w[1] & LINK_END ? head : w[1];
            continue;
        }
        if (!fetch(f, addr, w, 4)) {
            return;
        }
        TdResult r = run_td(f, addr, w);
        if (!f->qh) {
            link = w[0];
            continue;
        }
        if (r == TD_ADVANCE) {
            if (!store(f, (f->qh & ~15u) + 4, w[0])) {
                return;
            }
            if (w[0] & LINK_DEPTH && !(w[0] & LINK_END)) {
                link = w[0];
                continue;
            }
        }
        f->qh = 0;
        link = head;
    }
}

void uhci_run_frame(Uhci *s)
{
    Frame f = {.s = s, .limit = 1};
    uint32_t link;

    s->idle = MIN(s->idle + 1, IDLE_FRAMES);
    if (!fetch(&f, s->flbase + 4 * (s->frnum & 1023u), &link, 1)) {
        return;
    }
    run_lists(&f, link);
    if (f.moved || f.ioc) {
        s->idle = 0;
    }
    if (f.ioc || f.short_packet) {
        s->sts |= STS_INT;
        s->ioc |= f.ioc;
        s->short_packet |= f.short_packet;
    }
    s->sts |= f.error ? STS_ERROR : 0;
    uhci_update_irq(s);
}
