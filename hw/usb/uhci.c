/*
 * Universal host controller. Intel "Universal Host Controller Interface (UHCI) Design Guide",
 * revision 1.1; as function 2 of the 82371SB (PIIX3, order number 290550, chapter 2.6) and of the
 * 82371AB (PIIX4, 290562).
 *
 * A frame is run at its start, at once. Guests queue work by writing to memory, which the chip
 * finds by reading its lists a thousand times a second. Here it sleeps: after IDLE_FRAMES frames
 * in which nothing moved, the lists are looked at in bunches, every IDLE_BUNCH frames, until
 * something moves or a device has something (usb_wakeup). FRNUM counts on meanwhile. More data
 * fits into a frame than on the real wire.
 *
 * Legacy support (keyboard emulation by SMI) is not there: LEGSUP is stored, and of it only the
 * interrupt enable acts.
 */
#include "hw/usb/uhci.h"
#include "core/log.h"
#include "core/machine.h"
#include "hw/pci/pci.h"
#include "hw/usb/usb.h"
#include <string.h>

enum {
    REG_CMD = 0x00,
    REG_STS = 0x02,
    REG_INTR = 0x04,
    REG_FRNUM = 0x06,
    REG_FLBASE = 0x08,
    REG_SOF = 0x0c,
    REG_PORT = 0x10, /* and 12h */

    CMD_RS = 0x01,
    CMD_HCRESET = 0x02,
    CMD_GRESET = 0x04,
    CMD_EGSM = 0x08,
    CMD_FGR = 0x10,
    CMD_SWDBG = 0x20,
    CMD_MASK = 0xff,

    STS_INT = 0x01,
    STS_ERROR = 0x02,
    STS_RESUME = 0x04,
    STS_HOST_ERROR = 0x08,
    STS_PROCESS_ERROR = 0x10,
    STS_HALTED = 0x20,

    INTR_TIMEOUT = 0x01,
    INTR_RESUME = 0x02,
    INTR_IOC = 0x04,
    INTR_SHORT = 0x08,

    PORT_CONNECT = 0x0001,
    PORT_CONNECT_CHANGE = 0x0002,
    PORT_ENABLE = 0x0004,
    PORT_ENABLE_CHANGE = 0x0008,
    PORT_DPLUS = 0x0010,
    PORT_RESUME = 0x0040,
    PORT_ALWAYS = 0x0080,
    PORT_RESET = 0x0200,
    PORT_SUSPEND = 0x1000,

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

    REG_SBRN = 0x60,
    REG_LEGSUP = 0xc0,
    LEGSUP_PIRQ = 0x2000,

    N_PORTS = 2,
    MAX_TD_BYTES = 1280,
    FRAME_BYTES = 16384, /* that may move in a frame */
    FRAME_FETCHES = 512, /* descriptors that are read in a frame */
    IDLE_FRAMES = 64,
    IDLE_BUNCH = 16,
};

#define FRAME_NS 1000000LL

typedef struct Uhci {
    PciDevice pci;
    UsbBus bus;
    UsbPort port[N_PORTS];
    MemRegion io;
    Clock *clock;
    uint16_t cmd, sts, intr, frnum;
    uint32_t flbase;
    uint8_t sof;
    uint16_t portsc[N_PORTS];
    bool ioc, short_packet; /* what STS_INT stands for */
    int64_t next;           /* when frame @frnum begins */
    uint32_t idle;          /* frames in which nothing moved */
    Timer timer;
} Uhci;

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

static void update_irq(Uhci *s)
{
    bool level = (s->sts & STS_INT &&
                  ((s->ioc && s->intr & INTR_IOC) || (s->short_packet && s->intr & INTR_SHORT))) ||
                 (s->sts & STS_ERROR && s->intr & INTR_TIMEOUT) ||
                 (s->sts & STS_RESUME && s->intr & INTR_RESUME) ||
                 s->sts & (STS_HOST_ERROR | STS_PROCESS_ERROR);

    pci_set_irq(&s->pci, level && pci_get16(s->pci.config + REG_LEGSUP) & LEGSUP_PIRQ);
}

/* ---- running frames ---- */

static bool running(const Uhci *s)
{
    return s->cmd & CMD_RS;
}

static void stop(Uhci *s, uint16_t status)
{
    s->cmd &= (uint16_t)~CMD_RS;
    s->sts |= status | STS_HALTED;
    timer_del(&s->timer);
    update_irq(s);
}

static bool fetch(Frame *f, uint32_t addr, uint32_t *words, unsigned n)
{
    uint8_t raw[16];

    f->fetches++;
    if (!pci_dma_read(&f->s->pci, addr, raw, 4 * n)) {
        guest_error("uhci: no memory at %08x for a descriptor", addr);
        f->halt = true;
        stop(f->s, STS_HOST_ERROR);
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
        stop(f->s, STS_HOST_ERROR);
        return false;
    }
    return true;
}

static void process_error(Frame *f, const char *what, uint32_t token)
{
    guest_error("uhci: %s in a transfer descriptor (token %08x)", what, token);
    f->halt = true;
    stop(f->s, STS_PROCESS_ERROR);
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
        stop(s, STS_HOST_ERROR);
        return TD_STAY;
    }
    n = usb_transact(&s->bus, pid, (token >> 8) & 0x7f, (token >> 15) & 15, buf, max);
    trace("uhci_packet", "pid %02x address %u endpoint %u bytes %u: %d", pid, (token >> 8) & 0x7f,
          (token >> 15) & 15, max, n);
    if (pid == USB_PID_IN && n > 0 && !pci_dma_write(&s->pci, td[3], buf, (unsigned)n)) {
        guest_error("uhci: no memory at %08x for a packet", td[3]);
        f->halt = true;
        stop(s, STS_HOST_ERROR);
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
        stop(s, 0); /* after each transaction; what is done is inactive when the frame is resumed */
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

static void run_frame(Uhci *s)
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
    update_irq(s);
}

static void arm(Uhci *s)
{
    bool asleep = s->idle >= IDLE_FRAMES;

    timer_set(&s->timer, s->next + (asleep ? (IDLE_BUNCH - 1) * FRAME_NS : 0));
}

static void on_timer(void *opaque)
{
    Uhci *s = opaque;
    int64_t now = clock_now(s->clock);

    for (unsigned i = 0; running(s) && s->next <= now && i < 2 * IDLE_BUNCH; i++) {
        run_frame(s);
        if (!running(s)) {
            return;
        }
        s->frnum = (s->frnum + 1) & 0x7ff;
        s->next += FRAME_NS;
    }
    if (running(s)) {
        if (s->next <= now) { /* the host was away for long: those frames are lost */
            int64_t lost = (now - s->next) / FRAME_NS + 1;
            s->frnum = (uint16_t)((s->frnum + lost) & 0x7ff);
            s->next += lost * FRAME_NS;
        }
        arm(s);
    }
}

/* Frames that began and have not been run yet, for who reads the counter. */
static unsigned frames_due(const Uhci *s)
{
    int64_t now = clock_now(s->clock);

    return running(s) && now >= s->next ? (unsigned)(((now - s->next) / FRAME_NS + 1) & 0x7ff) : 0;
}

/* Something may move again: no more sleep. */
static void wake(Uhci *s)
{
    if (running(s) && s->idle >= IDLE_FRAMES) {
        /* The frames that were slept through would find nothing that this one does not. */
        unsigned due = frames_due(s);
        s->frnum = (uint16_t)((s->frnum + due) & 0x7ff);
        s->next += due * FRAME_NS;
        s->idle = 0;
        arm(s);
    }
    s->idle = 0;
}

/* ---- ports ---- */

static void port_changed(Uhci *s, unsigned n)
{
    uint16_t v = s->portsc[n];

    s->port[n].enabled = v & PORT_ENABLE && !(v & (PORT_SUSPEND | PORT_RESET)) &&
                         !(s->cmd & (CMD_EGSM | CMD_GRESET));
}

/* A resume event: in global suspend the controller resumes the bus itself (2.1.1, FGR). */
static void resume_event(Uhci *s)
{
    if (s->cmd & CMD_EGSM) {
        s->cmd |= CMD_FGR;
        s->sts |= STS_RESUME;
        update_irq(s);
    }
}

static void port_attached(void *opaque, UsbPort *port)
{
    Uhci *s = opaque;

    s->portsc[port->index] |= PORT_CONNECT | PORT_CONNECT_CHANGE;
    usb_device_bus_reset(port->dev);
    resume_event(s);
    wake(s);
}

static void port_detached(void *opaque, UsbPort *port)
{
    Uhci *s = opaque;
    uint16_t *v = &s->portsc[port->index];

    if (*v & PORT_ENABLE) {
        *v |= PORT_ENABLE_CHANGE;
    }
    *v &= (uint16_t) ~(PORT_CONNECT | PORT_ENABLE | PORT_SUSPEND | PORT_RESUME);
    *v |= PORT_CONNECT_CHANGE;
    port_changed(s, port->index);
    resume_event(s);
    wake(s);
}

static void port_wakeup(void *opaque, UsbPort *port)
{
    Uhci *s = opaque;
    uint16_t *v = &s->portsc[port->index];
    bool suspended = *v & PORT_SUSPEND || s->cmd & CMD_EGSM;

    if (!suspended) {
        wake(s);
    } else if (*v & PORT_ENABLE && port->dev->remote_wakeup && !(*v & PORT_RESUME)) {
        *v |= PORT_RESUME;
        resume_event(s);
        if (!(s->cmd & CMD_EGSM)) {
            s->sts |= STS_RESUME;
            update_irq(s);
        }
    }
}

static const UsbPortOps port_ops = {port_attached, port_detached, port_wakeup};

static void write_port(Uhci *s, unsigned n, uint16_t val)
{
    uint16_t old = s->portsc[n], v = old;
    UsbDevice *dev = s->port[n].dev;
    const uint16_t plain = PORT_ENABLE | PORT_RESUME | PORT_RESET | PORT_SUSPEND;

    v &= (uint16_t) ~(val & (PORT_CONNECT_CHANGE | PORT_ENABLE_CHANGE));
    v = (uint16_t)((v & ~plain) | (val & plain));
    if (!(v & PORT_CONNECT) || v & PORT_RESET) {
        v &= (uint16_t)~PORT_ENABLE;
    }
    if (!(v & PORT_ENABLE)) {
        v &= (uint16_t) ~(PORT_SUSPEND | PORT_RESUME);
    }
    if (old & PORT_RESUME && !(v & PORT_RESUME)) {
        v &= (uint16_t)~PORT_SUSPEND; /* the end of resume is the end of suspend */
    }
    s->portsc[n] = v;
    if (v & PORT_RESET && !(old & PORT_RESET) && dev) {
        usb_device_bus_reset(dev);
    }
    port_changed(s, n);
    wake(s);
}

static uint16_t read_port(const Uhci *s, unsigned n)
{
    uint16_t v = s->portsc[n] | PORT_ALWAYS;

    /* The idle state of a full-speed device is D+ high. */
    return v & PORT_CONNECT && !(v & PORT_RESET) ? v | PORT_DPLUS : v;
}

/* ---- registers ---- */

static void reset_registers(Uhci *s)
{
    timer_del(&s->timer);
    s->cmd = 0;
    s->sts = STS_HALTED;
    s->intr = s->frnum = 0;
    s->flbase = 0;
    s->sof = 0x40;
    s->ioc = s->short_packet = false;
    s->next = 0;
    s->idle = 0;
    for (unsigned i = 0; i < N_PORTS; i++) {
        s->portsc[i] = s->port[i].dev ? PORT_CONNECT | PORT_CONNECT_CHANGE : 0;
        port_changed(s, i);
    }
    update_irq(s);
}

static void bus_reset(Uhci *s)
{
    for (unsigned i = 0; i < N_PORTS; i++) {
        if (s->port[i].dev) {
            usb_device_bus_reset(s->port[i].dev);
        }
    }
}

static void write_cmd(Uhci *s, uint16_t val)
{
    uint16_t old = s->cmd;

    if (val & CMD_HCRESET) {
        reset_registers(s);
        return;
    }
    if (val & CMD_GRESET && !(old & CMD_GRESET)) {
        reset_registers(s);
        bus_reset(s);
        val &= (uint16_t)~CMD_RS;
    }
    s->cmd = val & CMD_MASK;
    /* Resume ends when software clears FGR: then the bus is out of suspend. */
    if (old & CMD_FGR && !(val & CMD_FGR)) {
        s->cmd &= (uint16_t)~CMD_EGSM;
    }
    for (unsigned i = 0; i < N_PORTS; i++) {
        port_changed(s, i);
    }
    if (s->cmd & CMD_RS && !(old & CMD_RS)) {
        s->sts &= (uint16_t)~STS_HALTED;
        s->next = clock_now(s->clock) + FRAME_NS;
        s->idle = 0;
        arm(s);
    } else if (!(s->cmd & CMD_RS) && old & CMD_RS) {
        s->cmd |= CMD_RS; /* for the counter */
        s->frnum = (uint16_t)((s->frnum + frames_due(s)) & 0x7ff);
        stop(s, 0);
    }
}

static void write_sts(Uhci *s, uint16_t val)
{
    s->sts &= (uint16_t) ~(val & 0x1f);
    if (val & STS_INT) {
        s->ioc = s->short_packet = false;
    }
    update_irq(s);
}

static uint64_t io_read(void *opaque, uint64_t off, unsigned size)
{
    Uhci *s = opaque;

    switch (off) {
    case REG_CMD:
        return s->cmd;
    case REG_STS:
        return s->sts;
    case REG_INTR:
        return s->intr;
    case REG_FRNUM:
        return (s->frnum + frames_due(s)) & 0x7ff;
    case REG_FLBASE:
        return s->flbase & 0xffff;
    case REG_FLBASE + 2:
        return s->flbase >> 16;
    case REG_SOF:
        return s->sof;
    case REG_PORT:
    case REG_PORT + 2:
        return read_port(s, (off - REG_PORT) / 2);
    default: /* a driver that counts ports stops here: bit 7 is 0 */
        return off > REG_PORT ? 0xff7f : 0;
    }
}

static void io_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Uhci *s = opaque;

    trace("uhci_write", "register %02x value %04x", (unsigned)off, (unsigned)val);
    switch (off) {
    case REG_CMD:
        write_cmd(s, (uint16_t)val);
        break;
    case REG_STS:
        write_sts(s, (uint16_t)val);
        break;
    case REG_INTR:
        s->intr = val & 15;
        update_irq(s);
        break;
    case REG_FRNUM:
        if (running(s)) {
            guest_error("uhci: write to FRNUM while running");
        } else {
            s->frnum = val & 0x7ff;
        }
        break;
    case REG_FLBASE:
        s->flbase = (s->flbase & 0xffff0000) | (val & 0xf000);
        break;
    case REG_FLBASE + 2:
        s->flbase = (s->flbase & 0xffff) | (uint32_t)(val & 0xffff) << 16;
        break;
    case REG_SOF:
        s->sof = val & 0x7f;
        break;
    case REG_PORT:
    case REG_PORT + 2:
        write_port(s, (off - REG_PORT) / 2, (uint16_t)val);
        break;
    default:
        guest_error("uhci: write of %04x to register %02x", (unsigned)val, (unsigned)off);
    }
}

static const MemOps io_ops = {.read = io_read, .write = io_write, .impl_min = 2, .impl_max = 2};

/* ---- device ---- */

static void config_written(PciDevice *d, unsigned off, unsigned size, const uint8_t *old)
{
    Uhci *s = (Uhci *)d;

    if (off < REG_LEGSUP + 2 && off + size > REG_LEGSUP) {
        if (pci_get16(d->config + REG_LEGSUP) & 0x001f) {
            guest_error("uhci: legacy keyboard emulation is not supported");
        }
        update_irq(s);
    }
    if (off <= PCI_COMMAND && off + size > PCI_COMMAND) {
        wake(s);
    }
}

static void uhci_reset(Device *dev)
{
    Uhci *s = (Uhci *)dev;

    pci_device_reset(&s->pci);
    reset_registers(s);
}

static void uhci_unrealize(Device *dev)
{
    Uhci *s = (Uhci *)dev;

    usb_bus_clear(&s->bus);
    timer_del(&s->timer);
    for (unsigned i = 0; i < N_PORTS; i++) {
        usb_port_unregister(&s->port[i]);
    }
    usb_bus_fini(&s->bus);
    pci_device_fini(&s->pci);
    mem_region_destroy(&s->io);
}

static bool realize(Uhci *s, const PciInfo *info, GError **err)
{
    if (!pci_device_init(&s->pci, info, err)) {
        return false;
    }
    s->clock = s->pci.dev.machine->virtual_clock;
    timer_init(&s->timer, s->clock, on_timer, s);
    s->pci.config[REG_SBRN] = 0x10; /* revision 1.0 */
    pci_set16(s->pci.config + REG_LEGSUP, LEGSUP_PIRQ);
    pci_set16(s->pci.wmask + REG_LEGSUP, 0x20bf);
    mem_region_init_io(&s->io, "uhci", &io_ops, s, 32);
    pci_add_bar(&s->pci, 4, PCI_BAR_IO, &s->io);
    usb_bus_init(&s->bus, &s->pci.dev);
    for (unsigned i = 0; i < N_PORTS; i++) {
        s->port[i] = (UsbPort){.ops = &port_ops, .opaque = s, .index = i};
        usb_port_register(&s->bus, &s->port[i]);
    }
    return true;
}

static const PciInfo piix3_info = {
    .vendor_id = 0x8086,
    .device_id = 0x7020,
    .revision = 1,
    .class_code = 0x0c0300,
    .int_pin = 4,
    .no_intx_disable = true,
    .config_written = config_written,
};

static const PciInfo piix4_info = {
    .vendor_id = 0x8086,
    .device_id = 0x7112,
    .revision = 1,
    .class_code = 0x0c0300,
    .int_pin = 4,
    .no_intx_disable = true,
    .config_written = config_written,
};

static bool piix3_realize(Device *dev, GError **err)
{
    return realize((Uhci *)dev, &piix3_info, err);
}

static bool piix4_realize(Device *dev, GError **err)
{
    return realize((Uhci *)dev, &piix4_info, err);
}

static bool post_load(void *obj, GError **err)
{
    Uhci *s = obj;

    if (s->frnum > 0x7ff || s->flbase & 0xfff || s->idle > IDLE_FRAMES || s->next < 0 ||
        timer_pending(&s->timer) != running(s) || s->cmd & ~CMD_MASK ||
        (running(s) && s->next > INT64_MAX - 2 * IDLE_BUNCH * FRAME_NS)) {
        return fail(err, "The saved state of the USB controller is impossible");
    }
    for (unsigned i = 0; i < N_PORTS; i++) {
        if (!!(s->portsc[i] & PORT_CONNECT) != (s->port[i].dev != NULL)) {
            return fail(err, "The saved state has other devices on the USB ports");
        }
        port_changed(s, i);
    }
    return true;
}

static const StateField fields[] = {
    PCI_STATE(Uhci, pci),     STATE_U16(Uhci, cmd),
    STATE_U16(Uhci, sts),     STATE_U16(Uhci, intr),
    STATE_U16(Uhci, frnum),   STATE_U32(Uhci, flbase),
    STATE_U8(Uhci, sof),      STATE_U16_ARRAY(Uhci, portsc),
    STATE_BOOL(Uhci, ioc),    STATE_BOOL(Uhci, short_packet),
    STATE_I64(Uhci, next),    STATE_U32(Uhci, idle),
    STATE_TIMER(Uhci, timer), STATE_END_FIELD,
};

static const StateTable uhci_state = {
    .name = "uhci", .version = 1, .fields = fields, .post_load = post_load};

static const Property props[] = {PCI_PROPERTIES(Uhci), {NULL}};

const DeviceType piix3_uhci_type = {
    .name = "piix3-usb-uhci",
    .desc = "Intel 82371SB USB controller",
    .bus = "PCI",
    .size = sizeof(Uhci),
    .user_creatable = true,
    .props = props,
    .realize = piix3_realize,
    .unrealize = uhci_unrealize,
    .reset = uhci_reset,
    .state = &uhci_state,
};

const DeviceType piix4_uhci_type = {
    .name = "piix4-usb-uhci",
    .desc = "Intel 82371AB USB controller",
    .bus = "PCI",
    .size = sizeof(Uhci),
    .user_creatable = true,
    .props = props,
    .realize = piix4_realize,
    .unrealize = uhci_unrealize,
    .reset = uhci_reset,
    .state = &uhci_state,
};

bool piix3_uhci_new(Machine *m, PciBus *bus, int devfn, GError **err)
{
    Uhci *s = (Uhci *)device_new(&piix3_uhci_type, m);

    s->pci.devfn = devfn;
    if (!device_realize(&s->pci.dev, &bus->bus, err)) {
        device_free(&s->pci.dev);
        return false;
    }
    return true;
}
