/*
 * usb-serial: FTDI FT232BM, a serial port. FT232BM data sheet 1.8; application notes AN232B-05
 * (baud rates) and AN232B-04 (latency timer); its vendor requests are those of FTDI's drivers.
 */
#include "chardev/chardev.h"
#include "core/log.h"
#include "core/machine.h"
#include "hw/usb/usb.h"
#include <string.h>

enum {
    EP_IN = 1,
    EP_OUT = 2,
    PACKET = 64,
    RX_FIFO = 384,
    TX_FIFO = 128,

    TYPE_OUT = 0x40, /* vendor, device */
    TYPE_IN = 0xc0,
    REQ_RESET = 0,
    REQ_MODEM = 1,
    REQ_FLOW = 2,
    REQ_BAUD = 3,
    REQ_DATA = 4,
    REQ_STATUS = 5,
    REQ_EVENT_CHAR = 6,
    REQ_ERROR_CHAR = 7,
    REQ_SET_LATENCY = 9,
    REQ_GET_LATENCY = 10,
    REQ_READ_EEPROM = 0x90,

    DATA_BREAK = 0x4000,

    MODEM_ALWAYS = 0x01,
    MODEM_CTS = 0x10,
    MODEM_DSR = 0x20,
    MODEM_RI = 0x40,
    MODEM_DCD = 0x80,
    LINE_BREAK = 0x10,
    LINE_TX_EMPTY = 0x60,
};

#define MS (NS_PER_SEC / 1000)

typedef struct UsbSerial {
    UsbDevice usb;
    char *chardev;
    Clock *clock;
    ChardevFront *front;
    uint8_t rx[RX_FIFO], tx[TX_FIFO];
    uint32_t rx_len, tx_len;
    uint16_t flow, data_format;
    uint32_t baud;
    uint16_t event_char, error_char; /* kept; every packet goes out within the latency anyway */
    uint8_t dtr_rts;                 /* bit 0, 1 */
    uint8_t latency;                 /* ms */
    uint8_t modem_sent;
    bool brk;    /* a break came in */
    int64_t due; /* when a packet goes out even if there is nothing */
    Timer timer;
} UsbSerial;

static const uint8_t device_descriptor[18] = {
    18, USB_DESC_DEVICE, 0x10, 0x01, 0, 0, 0, 8, 0x03, 0x04, 0x01, 0x60, 0x00, 0x04, 1, 2, 3,
    1, /* 0403:6001, release 4.00: a BM */
};

static const uint8_t config_descriptor[32] = {
    9,
    USB_DESC_CONFIG,
    32,
    0,
    1,
    1,
    0,
    0x80,
    45, /* bus powered, 90 mA */
    9,
    USB_DESC_INTERFACE,
    0,
    0,
    2,
    0xff,
    0xff,
    0xff,
    2,
    7,
    USB_DESC_ENDPOINT,
    0x80 | EP_IN,
    2,
    PACKET,
    0,
    0,
    7,
    USB_DESC_ENDPOINT,
    EP_OUT,
    2,
    PACKET,
    0,
    0,
};

static const char *const strings[] = {"Rhea", "USB Serial", "1", NULL};

/* ---- the line ---- */

static uint8_t modem_status(UsbSerial *s)
{
    int lines = 0;
    uint8_t v = MODEM_ALWAYS;

    if (!chardev_ctrl(s->front, CHARDEV_GET_MODEM, &lines)) {
        lines = chardev_is_open(chardev_of(s->front)) ? CHARDEV_CTS | CHARDEV_DSR | CHARDEV_DCD : 0;
    }
    v |= lines & CHARDEV_CTS ? MODEM_CTS : 0;
    v |= lines & CHARDEV_DSR ? MODEM_DSR : 0;
    v |= lines & CHARDEV_RI ? MODEM_RI : 0;
    v |= lines & CHARDEV_DCD ? MODEM_DCD : 0;
    return v;
}

static uint8_t line_status(const UsbSerial *s)
{
    return (uint8_t)((s->tx_len ? 0 : LINE_TX_EMPTY) | (s->brk ? LINE_BREAK : 0));
}

static void set_parameters(UsbSerial *s)
{
    static const char parity[8] = {'N', 'O', 'E', 'N', 'N', 'N', 'N', 'N'};
    ChardevSerialParams p = {.speed = s->baud,
                             .data_bits = s->data_format & 0xff,
                             .stop_bits = (s->data_format >> 11 & 3) ? 2 : 1,
                             .parity = parity[s->data_format >> 8 & 7]};
    int brk = !!(s->data_format & DATA_BREAK);

    if (p.data_bits < 7 || p.data_bits > 8) {
        p.data_bits = 8;
    }
    chardev_ctrl(s->front, CHARDEV_SET_SERIAL, &p);
    chardev_ctrl(s->front, CHARDEV_SET_BREAK, &brk);
}

static void set_modem_lines(UsbSerial *s)
{
    int lines = (s->dtr_rts & 1 ? CHARDEV_DTR : 0) | (s->dtr_rts & 2 ? CHARDEV_RTS : 0);

    chardev_ctrl(s->front, CHARDEV_SET_MODEM, &lines);
}

/* AN232B-05: the divisor of 3 MHz has 14 bits and eighths, in an order of its own. */
static uint32_t baud_of(uint16_t value, uint16_t index)
{
    static const uint8_t eighths[8] = {0, 4, 2, 1, 3, 5, 6, 7};
    uint32_t div = (value & 0x3fffu) * 8 + eighths[(value >> 14) | (index & 1) << 2];

    if (div == 0) {
        return 3000000;
    }
    return div == 8 ? 2000000 : 3000000 * 8 / div;
}

static void flush_tx(UsbSerial *s)
{
    size_t n = s->tx_len ? chardev_write(s->front, s->tx, s->tx_len) : 0;

    memmove(s->tx, s->tx + n, s->tx_len - n);
    s->tx_len -= (uint32_t)n;
}

static size_t can_receive(void *opaque)
{
    return RX_FIFO - ((UsbSerial *)opaque)->rx_len;
}

static void receive(void *opaque, const uint8_t *buf, size_t len)
{
    UsbSerial *s = opaque;
    size_t n = MIN(len, RX_FIFO - s->rx_len);

    if (!s->usb.config) {
        return; /* nobody listens */
    }
    memcpy(s->rx + s->rx_len, buf, n);
    s->rx_len += (uint32_t)n;
    usb_wakeup(&s->usb);
}

static void event(void *opaque, ChardevEvent ev)
{
    UsbSerial *s = opaque;

    s->brk |= ev == CHARDEV_BREAK;
    usb_wakeup(&s->usb);
}

static void writable(void *opaque)
{
    UsbSerial *s = opaque;

    flush_tx(s);
    usb_wakeup(&s->usb);
}

static const ChardevHandlers handlers = {
    .can_receive = can_receive, .receive = receive, .event = event, .writable = writable};

/* ---- USB ---- */

static void reset_port(UsbSerial *s)
{
    s->rx_len = s->tx_len = 0;
    s->flow = 0;
    s->data_format = 8;
    s->baud = 9600;
    s->event_char = s->error_char = 0;
    s->dtr_rts = 0;
    s->latency = 16;
    s->brk = false;
    s->modem_sent = 0;
}

static int vendor_out(UsbSerial *s, const UsbSetup *r)
{
    switch (r->request) {
    case REQ_RESET:
        if (r->value > 2) {
            return USB_STALL;
        }
        if (r->value != 2) { /* 0: all, 1: receiver */
            s->rx_len = 0;
            chardev_accept_input(s->front);
        }
        if (r->value != 1) {
            s->tx_len = 0;
        }
        return 0;
    case REQ_MODEM: /* the high byte says which lines are meant */
        s->dtr_rts = (uint8_t)((s->dtr_rts & ~(r->value >> 8)) | (r->value & r->value >> 8 & 3));
        set_modem_lines(s);
        return 0;
    case REQ_FLOW:
        s->flow = r->index >> 8;
        return 0;
    case REQ_BAUD:
        s->baud = baud_of(r->value, r->index);
        set_parameters(s);
        return 0;
    case REQ_DATA:
        s->data_format = r->value;
        set_parameters(s);
        return 0;
    case REQ_EVENT_CHAR:
        s->event_char = r->value;
        return 0;
    case REQ_ERROR_CHAR:
        s->error_char = r->value;
        return 0;
    case REQ_SET_LATENCY:
        if (r->value < 1 || r->value > 255) {
            return USB_STALL;
        }
        s->latency = (uint8_t)r->value;
        return 0;
    default:
        return USB_STALL;
    }
}

static int control(UsbDevice *d, const UsbSetup *r, uint8_t *data)
{
    UsbSerial *s = (UsbSerial *)d;

    if (r->type == TYPE_OUT && !r->length) {
        return vendor_out(s, r);
    }
    if (r->type != TYPE_IN) {
        return USB_STALL;
    }
    switch (r->request) {
    case REQ_STATUS:
        data[0] = modem_status(s);
        data[1] = line_status(s);
        return 2;
    case REQ_GET_LATENCY:
        data[0] = s->latency;
        return 1;
    case REQ_READ_EEPROM: /* none is fitted */
        data[0] = data[1] = 0xff;
        return 2;
    default:
        return USB_STALL;
    }
}

static void on_timer(void *opaque)
{
    usb_wakeup(&((UsbSerial *)opaque)->usb);
}

/* Each packet begins with both status bytes; one goes out when it is full, when a modem line has
 * changed, or when the latency time is over. */
static int ep_in(UsbDevice *d, unsigned ep, uint8_t *buf, unsigned max)
{
    UsbSerial *s = (UsbSerial *)d;
    uint8_t modem = modem_status(s);
    int64_t now = clock_now(s->clock);
    unsigned n = MIN(s->rx_len, PACKET - 2);

    if (s->due > now + 256 * MS) {
        s->due = now; /* a clock that went back */
    }
    if (n < PACKET - 2 && modem == s->modem_sent && !s->brk && now < s->due) {
        if (!timer_pending(&s->timer)) {
            timer_set(&s->timer, s->due);
        }
        return USB_NAK;
    }
    buf[0] = modem;
    buf[1] = line_status(s);
    memcpy(buf + 2, s->rx, n);
    memmove(s->rx, s->rx + n, s->rx_len - n);
    s->rx_len -= n;
    s->brk = false;
    s->modem_sent = modem;
    s->due = now + s->latency * MS;
    timer_del(&s->timer);
    if (n) {
        chardev_accept_input(s->front);
    }
    return (int)n + 2;
}

static int ep_out(UsbDevice *d, unsigned ep, const uint8_t *buf, unsigned len)
{
    UsbSerial *s = (UsbSerial *)d;

    if (len > TX_FIFO - s->tx_len) {
        return USB_NAK; /* writable() wakes the host */
    }
    memcpy(s->tx + s->tx_len, buf, len);
    s->tx_len += len;
    flush_tx(s);
    return 0;
}

static void serial_reset(UsbDevice *d)
{
    UsbSerial *s = (UsbSerial *)d;

    timer_del(&s->timer);
    s->due = 0;
    reset_port(s);
}

static void configured(UsbDevice *d, bool on)
{
    UsbSerial *s = (UsbSerial *)d;

    timer_del(&s->timer);
    if (on) {
        chardev_accept_input(s->front);
    }
}

static const UsbFunction function = {
    .device = device_descriptor,
    .config = config_descriptor,
    .strings = strings,
    .reset = serial_reset,
    .configured = configured,
    .control = control,
    .in = ep_in,
    .out = ep_out,
};

/* ---- device ---- */

static bool serial_realize(Device *dev, GError **err)
{
    UsbSerial *s = (UsbSerial *)dev;
    Chardev *chr = s->chardev ? chardev_find(s->chardev) : NULL;

    if (!chr) {
        return s->chardev ? fail(err, "usb-serial: there is no chardev '%s'", s->chardev)
                          : fail(err, "usb-serial needs chardev=ID");
    }
    s->clock = dev->machine->virtual_clock;
    timer_init(&s->timer, s->clock, on_timer, s);
    reset_port(s);
    if (!usb_device_init(&s->usb, &function, err)) {
        return false;
    }
    if (!(s->front = chardev_attach(chr, &handlers, s, err))) {
        usb_device_fini(&s->usb);
        return false;
    }
    usb_device_attach(&s->usb);
    return true;
}

static void serial_unrealize(Device *dev)
{
    UsbSerial *s = (UsbSerial *)dev;

    usb_device_fini(&s->usb);
    timer_del(&s->timer);
    chardev_detach(s->front);
}

static bool post_load(void *obj, GError **err)
{
    UsbSerial *s = obj;

    if (s->rx_len > RX_FIFO || s->tx_len > TX_FIFO || s->due < 0 || !s->latency) {
        return fail(err, "The saved state of usb-serial is impossible");
    }
    set_parameters(s);
    set_modem_lines(s);
    return true;
}

static const StateField fields[] = {
    USB_STATE(UsbSerial, usb),
    STATE_U8_ARRAY(UsbSerial, rx),
    STATE_U8_ARRAY(UsbSerial, tx),
    STATE_U32(UsbSerial, rx_len),
    STATE_U32(UsbSerial, tx_len),
    STATE_U16(UsbSerial, flow),
    STATE_U16(UsbSerial, data_format),
    STATE_U32(UsbSerial, baud),
    STATE_U16(UsbSerial, event_char),
    STATE_U16(UsbSerial, error_char),
    STATE_U8(UsbSerial, dtr_rts),
    STATE_U8(UsbSerial, latency),
    STATE_U8(UsbSerial, modem_sent),
    STATE_BOOL(UsbSerial, brk),
    STATE_I64(UsbSerial, due),
    STATE_TIMER(UsbSerial, timer),
    STATE_END_FIELD,
};
static const StateTable state = {
    .name = "usb-serial", .version = 1, .fields = fields, .post_load = post_load};

static const Property props[] = {
    USB_PROPERTIES(UsbSerial),
    {"chardev", PROP_CHARDEV, offsetof(UsbSerial, chardev), NULL, "back end"},
    {NULL},
};

const DeviceType usb_serial_type = {
    .name = "usb-serial",
    .desc = "FTDI FT232BM serial port",
    .bus = "usb",
    .size = sizeof(UsbSerial),
    .user_creatable = true,
    .props = props,
    .realize = serial_realize,
    .unrealize = serial_unrealize,
    .reset = usb_device_reset,
    .state = &state,
};
