/*
 * virtio console device: VIRTIO 1.2, section 5.3. Ports are in virtio_console.c.
 *
 * Control messages that the driver has no room for yet are kept as one bit each ("owed"), so that
 * no number of them needs memory.
 */
#include "hw/char/virtio_serial.h"
#include "core/log.h"
#include "hw/virtio/virtio_types.h"
#include <string.h>

#define CHUNK 4096
#define ROOM_MAX 65536

enum { F_MULTIPORT = 1, F_EMERG_WRITE = 2 };
enum { CFG_MAX_PORTS = 4, CFG_EMERG = 8, CFG_SIZE = 12 };
enum { Q_CTRL_TO_GUEST = 2, Q_CTRL_FROM_GUEST = 3 };
enum { /* control events */
       EV_DEVICE_READY = 0,
       EV_DEVICE_ADD = 1,
       EV_DEVICE_REMOVE = 2,
       EV_PORT_READY = 3,
       EV_CONSOLE_PORT = 4,
       EV_PORT_OPEN = 6,
       EV_PORT_NAME = 7,
};
enum { MESSAGE = 8, NAME_MAX_BYTES = 255 };

struct VirtioSerial {
    VirtioDevice v;
    VirtSerialBus bus;
    uint32_t max_ports;
    bool emergency;
    VirtSerialPort *ports[VIRTIO_SERIAL_MAX_PORTS];
    uint8_t owed[VIRTIO_SERIAL_MAX_PORTS]; /* bit n: event n is to be sent */
    bool driver_ready;                     /* for messages about ports */
};

static VirtQueue *to_guest(VirtioSerial *s, unsigned port)
{
    return &s->v.vq[port ? 2 + 2 * port : 0];
}

static VirtQueue *from_guest(VirtioSerial *s, unsigned port)
{
    return to_guest(s, port) + 1;
}

/* ---- control messages to the guest ---- */

static size_t make_message(const VirtioSerial *s, unsigned port, unsigned event, uint8_t *msg)
{
    const VirtSerialPort *p = s->ports[port];
    size_t len = MESSAGE;

    virtio_put32(msg, port);
    virtio_put16(msg + 4, (uint16_t)event);
    virtio_put16(msg + 6, event == EV_PORT_OPEN ? p && p->host_open : 1);
    if (event == EV_PORT_NAME && p && p->name) {
        size_t n = MIN(strlen(p->name), NAME_MAX_BYTES);
        memcpy(msg + len, p->name, n);
        len += n;
    }
    return len;
}

static void send_owed(VirtioSerial *s)
{
    /* A removal comes first: its number may be taken again. */
    static const uint8_t order[] = {EV_DEVICE_REMOVE, EV_DEVICE_ADD, EV_CONSOLE_PORT, EV_PORT_NAME,
                                    EV_PORT_OPEN};
    VirtQueue *q = &s->v.vq[Q_CTRL_TO_GUEST];
    uint8_t msg[MESSAGE + NAME_MAX_BYTES];

    if (!s->driver_ready) {
        return;
    }
    for (unsigned port = 0; port < s->max_ports; port++) {
        for (unsigned i = 0; s->owed[port] && i < G_N_ELEMENTS(order); i++) {
            VirtElem *e;
            if (!(s->owed[port] >> order[i] & 1)) {
                continue;
            }
            if (!(e = virtq_pop(q))) {
                virtq_notify(q);
                return;
            }
            size_t len = make_message(s, port, order[i], msg);
            len = virtelem_put(&s->v, e, 0, msg, len);
            virtq_push(q, e, (uint32_t)len);
            s->owed[port] &= ~(1u << order[i]);
        }
    }
    virtq_notify(q);
}

static void owe(VirtioSerial *s, unsigned port, unsigned event)
{
    if (virtio_has(&s->v, VIRTIO_BIT(F_MULTIPORT)) && s->driver_ready) {
        s->owed[port] |= 1u << event;
        send_owed(s);
    }
}

static void handle_ctrl_room(VirtioDevice *v, VirtQueue *q)
{
    send_owed((VirtioSerial *)v);
}

/* ---- control messages from the guest ---- */

static void guest_opened(VirtioSerial *s, VirtSerialPort *p, bool open)
{
    p->guest_open = open;
    if (open && p->front) {
        chardev_accept_input(p->front);
    }
}

static void port_ready(VirtioSerial *s, unsigned port)
{
    const VirtSerialPort *p = s->ports[port];

    s->owed[port] |= p->console ? 1u << EV_CONSOLE_PORT : 0;
    s->owed[port] |= p->name && *p->name ? 1u << EV_PORT_NAME : 0;
    s->owed[port] |= p->host_open ? 1u << EV_PORT_OPEN : 0;
    send_owed(s);
}

static void message(VirtioSerial *s, uint32_t port, uint16_t event, uint16_t value)
{
    if (event == EV_DEVICE_READY) {
        s->driver_ready = value == 1;
        for (unsigned i = 0; i < s->max_ports; i++) {
            s->owed[i] = s->ports[i] ? 1u << EV_DEVICE_ADD : 0;
        }
        send_owed(s);
        return;
    }
    VirtSerialPort *p = port < s->max_ports ? s->ports[port] : NULL;
    if (!p) {
        guest_error("virtio-serial: message %u for port %u, which is not there", event, port);
    } else if (event == EV_PORT_READY && value == 1) {
        port_ready(s, port);
    } else if (event == EV_PORT_OPEN) {
        guest_opened(s, p, value);
    } else if (event != EV_PORT_READY) {
        guest_error("virtio-serial: message %u, which is not for the device", event);
    }
}

static void handle_ctrl(VirtioDevice *v, VirtQueue *q)
{
    uint8_t msg[MESSAGE];
    VirtElem *e;

    while ((e = virtq_next(q))) {
        bool whole = virtelem_get(v, e, 0, msg, sizeof(msg)) == sizeof(msg);
        virtq_push(q, e, 0);
        if (whole) {
            message((VirtioSerial *)v, virtio_get32(msg), virtio_get16(msg + 4),
                    virtio_get16(msg + 6));
        }
    }
    virtq_notify(q);
}

/* ---- data ---- */

static unsigned port_of(const VirtQueue *q)
{
    return q->index < 2 ? 0 : q->index / 2 - 1;
}

/* What the host does not take stays in the queue. */
static bool send_buffer(VirtioSerial *s, VirtSerialPort *p, const VirtElem *e)
{
    uint8_t buf[CHUNK];

    while (p->sent < e->out_len) {
        size_t n = virtelem_get(&s->v, e, p->sent, buf, sizeof(buf));
        size_t taken = p->front ? chardev_write(p->front, buf, n) : n;
        p->sent += taken;
        if (taken < n) {
            return false;
        }
    }
    p->sent = 0;
    return true;
}

static void handle_from_guest(VirtioDevice *v, VirtQueue *q)
{
    VirtioSerial *s = (VirtioSerial *)v;
    VirtSerialPort *p = s->ports[port_of(q)];
    VirtElem *e;

    while ((e = virtq_next(q))) {
        if (p && !send_buffer(s, p, e)) {
            virtq_unpop(q, e); /* goes on when the host takes more */
            break;
        }
        virtq_push(q, e, 0);
    }
    virtq_notify(q);
}

static void handle_to_guest(VirtioDevice *v, VirtQueue *q)
{
    VirtSerialPort *p = ((VirtioSerial *)v)->ports[port_of(q)];

    if (p && p->front) {
        chardev_accept_input(p->front);
    }
}

size_t virtio_serial_room(VirtSerialPort *p)
{
    VirtioSerial *s = p->serial;
    VirtQueue *q = to_guest(s, p->nr);
    bool open = p->guest_open || p->console || !virtio_has(&s->v, VIRTIO_BIT(F_MULTIPORT));
    VirtElem *e = open && !virtio_busy(&s->v) ? virtq_pop(q) : NULL;
    size_t room = e ? MIN(e->in_len, ROOM_MAX) : 0;

    if (e) {
        virtq_unpop(q, e);
    }
    return room;
}

void virtio_serial_give(VirtSerialPort *p, const uint8_t *buf, size_t len)
{
    VirtioSerial *s = p->serial;
    VirtQueue *q = to_guest(s, p->nr);

    while (len) {
        VirtElem *e = virtq_pop(q);
        if (!e) {
            return; /* the guest took its buffers back meanwhile */
        }
        size_t n = virtelem_put(&s->v, e, 0, buf, len);
        virtq_push(q, e, (uint32_t)n);
        buf += n;
        len -= n;
    }
    virtq_notify(q);
}

void virtio_serial_more(VirtSerialPort *p)
{
    virtio_later(from_guest(p->serial, p->nr));
}

void virtio_serial_host_open(VirtSerialPort *p, bool open)
{
    if (p->host_open != open) {
        p->host_open = open;
        owe(p->serial, p->nr, EV_PORT_OPEN);
    }
}

/* ---- ports ---- */

static bool choose_number(VirtioSerial *s, VirtSerialPort *p, GError **err)
{
    const char *name = p->dev.type->name;

    if (p->nr == UINT32_MAX) {
        /* Number 0 is what drivers without several ports see as the console. */
        for (p->nr = p->console ? 0 : 1; p->nr < s->max_ports && s->ports[p->nr]; p->nr++) {
        }
        if (p->nr >= s->max_ports) {
            p->nr = UINT32_MAX;
            return fail(err, "%s: all %u ports of %s are taken", name, s->max_ports,
                        s->bus.bus.name);
        }
        return true;
    }
    if (p->nr == 0 && !p->console) {
        return fail(err, "%s: port 0 is for a virtconsole", name);
    }
    if (p->nr >= s->max_ports || s->ports[p->nr]) {
        return fail(err, "%s: port %u of %s is %s", name, p->nr, s->bus.bus.name,
                    p->nr < s->max_ports ? "taken" : "too high; max_ports= is the limit");
    }
    return true;
}

bool virtio_serial_add_port(VirtioSerial *s, VirtSerialPort *p, GError **err)
{
    if (p->name && strlen(p->name) > NAME_MAX_BYTES) {
        return fail(err, "%s: name= is longer than %u bytes", p->dev.type->name, NAME_MAX_BYTES);
    }
    for (unsigned i = 0; p->name && i < s->max_ports; i++) {
        if (s->ports[i] && s->ports[i]->name && !strcmp(s->ports[i]->name, p->name)) {
            return fail(err, "%s: there is a port with name=%s on %s", p->dev.type->name, p->name,
                        s->bus.bus.name);
        }
    }
    if (!choose_number(s, p, err)) {
        return false;
    }
    p->serial = s;
    s->ports[p->nr] = p;
    owe(s, p->nr, EV_DEVICE_ADD);
    return true;
}

void virtio_serial_remove_port(VirtSerialPort *p)
{
    VirtioSerial *s = p->serial;

    s->ports[p->nr] = NULL;
    s->owed[p->nr] = 0;
    owe(s, p->nr, EV_DEVICE_REMOVE);
}

/* ---- device ---- */

static void get_config(VirtioDevice *v, uint8_t *c)
{
    virtio_put32(c + CFG_MAX_PORTS, ((VirtioSerial *)v)->max_ports);
}

static void set_config(VirtioDevice *v, const uint8_t *c, unsigned off, unsigned len)
{
    VirtioSerial *s = (VirtioSerial *)v;
    const VirtSerialPort *p = s->ports[0];

    /* A character at any time, before there are queues. */
    if (s->emergency && off <= CFG_EMERG && off + len > CFG_EMERG && p && p->front) {
        chardev_write(p->front, c + CFG_EMERG, 1);
    }
}

static bool serial_realize(VirtioDevice *v, GError **err)
{
    VirtioSerial *s = (VirtioSerial *)v;

    if (s->max_ports < 1 || s->max_ports > VIRTIO_SERIAL_MAX_PORTS) {
        return fail(err, "%s: max_ports must be 1 to %u, not %u", v->dev->type->name,
                    VIRTIO_SERIAL_MAX_PORTS, s->max_ports);
    }
    g_autofree char *name =
        v->dev->id ? g_strdup_printf("%s.0", v->dev->id) : g_strdup("virtio-serial0.0");
    bus_init(&s->bus.bus, "virtio-serial-bus", name, v->dev);
    s->bus.serial = s;
    v->config_size = CFG_SIZE;
    v->host_features = VIRTIO_BIT(F_MULTIPORT) | (s->emergency ? VIRTIO_BIT(F_EMERG_WRITE) : 0);
    for (unsigned i = 0; i <= s->max_ports; i++) {
        bool ctrl = i == 1;
        virtio_add_queue(v, 128, ctrl ? handle_ctrl_room : handle_to_guest);
        virtio_add_queue(v, 128, ctrl ? handle_ctrl : handle_from_guest);
    }
    return true;
}

static void serial_reset(VirtioDevice *v)
{
    VirtioSerial *s = (VirtioSerial *)v;

    s->driver_ready = false;
    memset(s->owed, 0, sizeof(s->owed));
    for (unsigned i = 0; i < VIRTIO_SERIAL_MAX_PORTS; i++) {
        if (s->ports[i]) {
            s->ports[i]->guest_open = false;
            s->ports[i]->sent = 0;
        }
    }
}

static const StateField fields[] = {
    VIRTIO_STATE(VirtioSerial, v),
    STATE_U8_ARRAY(VirtioSerial, owed),
    STATE_BOOL(VirtioSerial, driver_ready),
    STATE_END_FIELD,
};
static const StateTable state = {.name = "virtio-serial", .version = 1, .fields = fields};

static const VirtioClass serial_class = {
    .name = "virtio-serial",
    .id = VIRTIO_ID_CONSOLE,
    .legacy_pci_id = 0x1003,
    .pci_class = 0x078000,
    .vectors = 2,
    .realize = serial_realize,
    .reset = serial_reset,
    .get_config = get_config,
    .set_config = set_config,
};

#define PROPS(T)                                                                                   \
    {"max_ports", PROP_U32, offsetof(T, d.max_ports), "31", "ports that the bus takes"},           \
        {"emergency-write", PROP_BOOL, offsetof(T, d.emergency), "on",                             \
         "offer output of single characters without queues"},

VIRTIO_PCI_TYPE(VirtioSerial, virtio_serial, "virtio-serial", "virtio-serial",
                "virtio ports between guest and host", serial_class, state, PROPS);
VIRTIO_BUS_TYPE(VirtioSerial, virtio_serial, "virtio-serial", "virtio ports between guest and host",
                serial_class, state, PROPS);
