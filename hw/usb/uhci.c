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
#include "hw/usb/uhci_int.h"
#include <string.h>

enum {
    REG_CMD = 0x00,
    REG_STS = 0x02,
    REG_INTR = 0x04,
    REG_FRNUM = 0x06,
    REG_FLBASE = 0x08,
    REG_SOF = 0x0c,
    REG_PORT = 0x10, /* and 12h */

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

    REG_SBRN = 0x60,
    REG_LEGSUP = 0xc0,
    LEGSUP_PIRQ = 0x2000,

    IDLE_BUNCH = 16,
};

#define FRAME_NS 1000000LL

void uhci_update_irq(Uhci *s)
{
    bool level = (s->sts & STS_INT &&
                  ((s->ioc && s->intr & INTR_IOC) || (s->short_packet && s->intr & INTR_SHORT))) ||
                 (s->sts & STS_ERROR && s->intr & INTR_TIMEOUT) ||
                 (s->sts & STS_RESUME && s->intr & INTR_RESUME) ||
                 s->sts & (STS_HOST_ERROR | STS_PROCESS_ERROR);

    pci_set_irq(&s->pci, level && pci_get16(s->pci.config + REG_LEGSUP) & LEGSUP_PIRQ);
}

/* ---- running frames ---- */

void uhci_stop(Uhci *s, uint16_t status)
{
    s->cmd &= (uint16_t)~CMD_RS;
    s->sts |= status | STS_HALTED;
    timer_del(&s->timer);
    uhci_update_irq(s);
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

    for (unsigned i = 0; uhci_running(s) && s->next <= now && i < 2 * IDLE_BUNCH; i++) {
        uhci_run_frame(s);
        if (!uhci_running(s)) {
            return;
        }
        s->frnum = (s->frnum + 1) & 0x7ff;
        s->next += FRAME_NS;
    }
    if (uhci_running(s)) {
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

    return uhci_running(s) && now >= s->next ? (unsigned)(((now - s->next) / FRAME_NS + 1) & 0x7ff)
                                             : 0;
}

/* Something may move again: no more sleep. */
static void wake(Uhci *s)
{
    if (uhci_running(s) && s->idle >= IDLE_FRAMES) {
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
        uhci_update_irq(s);
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
            uhci_update_irq(s);
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
    for (unsigned i = 0; i < UHCI_PORTS; i++) {
        s->portsc[i] = s->port[i].dev ? PORT_CONNECT | PORT_CONNECT_CHANGE : 0;
        port_changed(s, i);
    }
    uhci_update_irq(s);
}

static void bus_reset(Uhci *s)
{
    for (unsigned i = 0; i < UHCI_PORTS; i++) {
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
    for (unsigned i = 0; i < UHCI_PORTS; i++) {
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
        uhci_stop(s, 0);
    }
}

static void write_sts(Uhci *s, uint16_t val)
{
    s->sts &= (uint16_t) ~(val & 0x1f);
    if (val & STS_INT) {
        s->ioc = s->short_packet = false;
    }
    uhci_update_irq(s);
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
        uhci_update_irq(s);
        break;
    case REG_FRNUM:
        if (uhci_running(s)) {
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
        uhci_update_irq(s);
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
    for (unsigned i = 0; i < UHCI_PORTS; i++) {
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
    for (unsigned i = 0; i < UHCI_PORTS; i++) {
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
        timer_pending(&s->timer) != uhci_running(s) || s->cmd & ~CMD_MASK ||
        (uhci_running(s) && s->next > INT64_MAX - 2 * IDLE_BUNCH * FRAME_NS)) {
        return fail(err, "The saved state of the USB controller is impossible");
    }
    for (unsigned i = 0; i < UHCI_PORTS; i++) {
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
