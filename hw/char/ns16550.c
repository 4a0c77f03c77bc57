/*
 * 16550A UART.
 * National Semiconductor PC16550D data sheet (June 1995); IBM PC/AT Technical Reference for OUT2.
 *
 * What is written goes to the back end at once: a serial line slower than the host is of no use
 * to anybody. The transmitter is busy only while the back end does not take more. Times that the
 * guest can see (character timeout) follow the divisor.
 */
#include "hw/char/ns16550.h"
#include "core/log.h"
#include "core/machine.h"
#include <string.h>

enum { REG_DATA, REG_IER, REG_IIR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

enum { IER_RDA = 1, IER_THRE = 2, IER_RLS = 4, IER_MSI = 8, IER_MASK = 15 };

enum {
    IIR_NONE = 1,
    IIR_MSI = 0,
    IIR_THRE = 2,
    IIR_RDA = 4,
    IIR_RLS = 6,
    IIR_TIMEOUT = 12,
    IIR_FIFO = 0xc0
};

enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4, FCR_DMA = 8, FCR_TRIGGER = 0xc0 };

enum { LCR_BITS = 3, LCR_STOP = 4, LCR_PARITY = 8, LCR_EVEN = 16, LCR_BREAK = 64, LCR_DLAB = 128 };

enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 16, MCR_MASK = 31 };

enum {
    LSR_DR = 1,
    LSR_OE = 2,
    LSR_PE = 4,
    LSR_FE = 8,
    LSR_BI = 16,
    LSR_THRE = 32,
    LSR_TEMT = 64,
    LSR_FIFO_ERR = 128,
    LSR_ERRORS = LSR_OE | LSR_PE | LSR_FE | LSR_BI
};

enum {
    MSR_DCTS = 1,
    MSR_DDSR = 2,
    MSR_TERI = 4,
    MSR_DDCD = 8,
    MSR_CTS = 16,
    MSR_DSR = 32,
    MSR_RI = 64,
    MSR_DCD = 128
};

#define MODEM_POLL_NS (20 * NS_PER_SEC / 1000)

static bool fifo_on(const Uart16550 *u)
{
    return u->fcr & FCR_ENABLE;
}

static unsigned rx_trigger(const Uart16550 *u)
{
    static const uint8_t levels[] = {1, 4, 8, 14};

    return fifo_on(u) ? levels[u->fcr >> 6] : 1;
}

/* The pending source of the highest priority. */
static uint8_t iir(const Uart16550 *u)
{
    if ((u->ier & IER_RLS) && u->line_err) {
        return IIR_RLS;
    }
    if ((u->ier & IER_RDA) && u->rx_count >= rx_trigger(u)) {
        return IIR_RDA;
    }
    if ((u->ier & IER_RDA) && u->timeout_pending) {
        return IIR_TIMEOUT;
    }
    if ((u->ier & IER_THRE) && u->thre_pending) {
        return IIR_THRE;
    }
    if ((u->ier & IER_MSI) && (u->msr & 15)) {
        return IIR_MSI;
    }
    return IIR_NONE;
}

static void update_irq(Uart16550 *u)
{
    /* In loopback the OUT2 pin is inactive, whatever MCR says. */
    bool gate = !u->gate_out2 || (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

    irq_set(&u->irq, gate && iir(u) != IIR_NONE);
}

/* ---- line parameters ---- */

static int64_t char_time(const Uart16550 *u)
{
    uint32_t baud = u->base_baud / (u->divisor ? u->divisor : 1);
    unsigned bits =
        1 + 5 + (u->lcr & LCR_BITS) + !!(u->lcr & LCR_PARITY) + 1 + !!(u->lcr & LCR_STOP);

    return bits * NS_PER_SEC / (baud ? baud : 1);
}

static void arm_timeout(Uart16550 *u)
{
    if (fifo_on(u) && u->rx_count) {
        timer_set(&u->timeout, clock_now(u->clock) + 4 * char_time(u));
    } else {
        timer_del(&u->timeout);
    }
}

static void on_timeout(void *opaque)
{
    Uart16550 *u = opaque;

    if (fifo_on(u) && u->rx_count) {
        u->timeout_pending = true;
        update_irq(u);
    }
}

static void line_params_changed(Uart16550 *u)
{
    if (u->front && u->divisor) {
        ChardevSerialParams p = {
            .speed = u->base_baud / u->divisor,
            .data_bits = 5 + (u->lcr & LCR_BITS),
            .stop_bits = u->lcr & LCR_STOP ? 2 : 1,
            .parity = !(u->lcr & LCR_PARITY) ? 'N'
                      : u->lcr & LCR_EVEN    ? 'E'
                                             : 'O',
        };
        chardev_ctrl(u->front, CHARDEV_SET_SERIAL, &p);
    }
}

/* ---- modem lines ---- */

static void set_modem(Uart16550 *u, uint8_t lines)
{
    uint8_t change = (u->msr ^ lines) & 0xf0;
    uint8_t delta = (change >> 4) & (MSR_DCTS | MSR_DDSR | MSR_DDCD);

    if ((change & MSR_RI) && !(lines & MSR_RI)) {
        delta |= MSR_TERI; /* trailing edge only */
    }
    u->msr = (lines & 0xf0) | (u->msr & 15) | delta;
    update_irq(u);
}

static void sample_modem(Uart16550 *u)
{
    uint8_t lines = 0;
    int host = 0;

    if (u->mcr & MCR_LOOP) {
        lines = (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
    } else if (u->has_modem && chardev_ctrl(u->front, CHARDEV_GET_MODEM, &host)) {
        lines = (host & CHARDEV_CTS ? MSR_CTS : 0) | (host & CHARDEV_DSR ? MSR_DSR : 0) |
                (host & CHARDEV_RI ? MSR_RI : 0) | (host & CHARDEV_DCD ? MSR_DCD : 0);
    } else if (u->front) {
        lines = MSR_CTS | MSR_DSR | MSR_DCD; /* a null-modem cable to something ready */
    }
    set_modem(u, lines);
}

static void on_modem_poll(void *opaque)
{
    Uart16550 *u = opaque;

    sample_modem(u);
    if (u->has_modem && (u->ier & IER_MSI)) {
        timer_set(&u->modem_poll, clock_now(u->clock) + MODEM_POLL_NS);
    }
}

static void drive_modem(Uart16550 *u)
{
    if (u->has_modem) {
        int bits = 0;
        if (!(u->mcr & MCR_LOOP)) {
            bits = (u->mcr & MCR_DTR ? CHARDEV_DTR : 0) | (u->mcr & MCR_RTS ? CHARDEV_RTS : 0);
        }
        chardev_ctrl(u->front, CHARDEV_SET_MODEM, &bits);
    }
}

/* ---- receiver ---- */

static unsigned rx_size(const Uart16550 *u)
{
    return fifo_on(u) ? UART16550_FIFO : 1;
}

/* The errors of a character show in LSR when it gets to the top. */
static void expose_top(Uart16550 *u)
{
    if (u->rx_count) {
        u->line_err |= u->rx_err[u->rx_head];
        u->rx_err[u->rx_head] = 0;
    }
}

static void rx_push(Uart16550 *u, uint8_t c, uint8_t errors)
{
    if (u->rx_count >= rx_size(u)) {
        u->line_err |= LSR_OE;
        if (fifo_on(u)) {
            return; /* lost in the shift register */
        }
        u->rx_count = 0; /* overwritten */
    }
    unsigned i = (u->rx_head + u->rx_count) % UART16550_FIFO;
    u->rx[i] = c;
    u->rx_err[i] = errors;
    if (++u->rx_count == 1) {
        expose_top(u);
    }
    u->timeout_pending = false;
    arm_timeout(u);
}

static void rx_clear(Uart16550 *u)
{
    u->rx_head = u->rx_count = 0;
    memset(u->rx_err, 0, sizeof(u->rx_err));
    u->line_err = 0;
    u->timeout_pending = false;
    timer_del(&u->timeout);
}

static uint8_t rx_pop(Uart16550 *u)
{
    if (u->rx_count) {
        u->rbr = u->rx[u->rx_head];
        u->rx_head = (u->rx_head + 1) % UART16550_FIFO;
        u->rx_count--;
        expose_top(u);
        u->timeout_pending = false;
        arm_timeout(u);
        update_irq(u);
        if (u->front && !(u->mcr & MCR_LOOP)) {
            chardev_accept_input(u->front);
        }
    }
    return u->rbr;
}

static size_t front_can_receive(void *opaque)
{
    Uart16550 *u = opaque;

    return u->mcr & MCR_LOOP ? 0 : rx_size(u) - MIN(u->rx_count, rx_size(u));
}

static void front_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Uart16550 *u = opaque;

    for (size_t i = 0; i < len; i++) {
        rx_push(u, buf[i], 0);
    }
    update_irq(u);
}

static void front_event(void *opaque, ChardevEvent ev)
{
    Uart16550 *u = opaque;

    if (ev == CHARDEV_BREAK && !(u->mcr & MCR_LOOP)) {
        rx_push(u, 0, LSR_BI);
        update_irq(u);
    }
}

/* ---- transmitter ---- */

static void tx_emptied(Uart16550 *u)
{
    u->tx_head = 0;
    u->thre_pending = true;
    update_irq(u);
}

/* Move on what the back end (or the loop) takes. */
static void tx_run(Uart16550 *u)
{
    if (!u->tx_count) {
        return;
    }
    while (u->tx_count) {
        unsigned run = MIN(u->tx_count, UART16550_FIFO - u->tx_head);
        size_t n = run;

        if (u->mcr & MCR_LOOP) {
            uint8_t mask = 0xff >> (3 - (u->lcr & LCR_BITS));
            for (unsigned i = 0; i < run; i++) {
                rx_push(u, u->tx[u->tx_head + i] & mask, 0);
            }
        } else if (u->front) {
            n = chardev_write(u->front, u->tx + u->tx_head, run);
        }
        u->tx_head = (u->tx_head + n) % UART16550_FIFO;
        u->tx_count -= n;
        if (n < run) {
            return;
        }
    }
    tx_emptied(u);
}

static void front_writable(void *opaque)
{
    tx_run(opaque);
}

static void tx_push(Uart16550 *u, uint8_t c)
{
    if (u->tx_count >= rx_size(u)) {
        guest_error("16550: write to a full transmitter");
        if (fifo_on(u)) {
            return;
        }
        u->tx_count = 0;
    }
    u->tx[(u->tx_head + u->tx_count) % UART16550_FIFO] = c;
    u->tx_count++;
    /* The line goes down before it may come up again: the interrupt controller sees an edge. */
    u->thre_pending = false;
    update_irq(u);
    tx_run(u);
}

static const ChardevHandlers front_handlers = {
    .can_receive = front_can_receive,
    .receive = front_receive,
    .event = front_event,
    .writable = front_writable,
};

/* ---- registers ---- */

static uint8_t read_lsr(Uart16550 *u)
{
    uint8_t v = (u->rx_count ? LSR_DR : 0) | u->line_err | (u->tx_count ? 0 : LSR_THRE | LSR_TEMT);

    if (fifo_on(u)) {
        bool bad = u->line_err & (LSR_PE | LSR_FE | LSR_BI);
        for (unsigned i = 0; i < u->rx_count; i++) {
            bad |= u->rx_err[(u->rx_head + i) % UART16550_FIFO];
        }
        v |= bad ? LSR_FIFO_ERR : 0;
    }
    if (u->line_err) {
        u->line_err = 0;
        update_irq(u);
    }
    return v;
}

static uint8_t read_iir(Uart16550 *u)
{
    uint8_t v = iir(u);

    if (v == IIR_THRE) {
        u->thre_pending = false;
        update_irq(u);
    }
    return v | (fifo_on(u) ? IIR_FIFO : 0);
}

static uint8_t read_msr(Uart16550 *u)
{
    if (u->has_modem) {
        sample_modem(u);
    }
    uint8_t v = u->msr;
    u->msr &= 0xf0;
    update_irq(u);
    return v;
}

uint8_t uart16550_read(Uart16550 *u, unsigned reg)
{
    switch (reg & 7) {
    case REG_DATA:
        return u->lcr & LCR_DLAB ? u->divisor & 0xff : rx_pop(u);
    case REG_IER:
        return u->lcr & LCR_DLAB ? u->divisor >> 8 : u->ier;
    case REG_IIR:
        return read_iir(u);
    case REG_LCR:
        return u->lcr;
    case REG_MCR:
        return u->mcr;
    case REG_LSR:
        return read_lsr(u);
    case REG_MSR:
        return read_msr(u);
    default:
        return u->scr;
    }
}

static void write_ier(Uart16550 *u, uint8_t val)
{
    uint8_t on = val & ~u->ier & IER_MASK;

    u->ier = val & IER_MASK;
    if ((on & IER_THRE) && !u->tx_count) {
        u->thre_pending = true; /* enabling it on an empty transmitter interrupts at once */
    }
    if ((on & IER_MSI) && u->has_modem) {
        on_modem_poll(u);
    }
    update_irq(u);
}

static void write_fcr(Uart16550 *u, uint8_t val)
{
    bool toggled = (val ^ u->fcr) & FCR_ENABLE;

    if (toggled || ((val & FCR_ENABLE) && (val & FCR_CLEAR_RX))) {
        rx_clear(u);
    }
    /* The other bits take effect only together with the enable bit. */
    u->fcr = val & FCR_ENABLE ? val & (FCR_ENABLE | FCR_DMA | FCR_TRIGGER) : 0;
    if ((toggled || ((val & FCR_ENABLE) && (val & FCR_CLEAR_TX))) && u->tx_count) {
        u->tx_count = 0;
        tx_emptied(u);
    }
    update_irq(u);
    if (u->front) {
        chardev_accept_input(u->front);
    }
}

static void write_lcr(Uart16550 *u, uint8_t val)
{
    uint8_t change = u->lcr ^ val;

    u->lcr = val;
    if (change & (LCR_BITS | LCR_STOP | LCR_PARITY | LCR_EVEN)) {
        line_params_changed(u);
    }
    if ((change & LCR_BREAK) && u->front) {
        int on = !!(val & LCR_BREAK);
        chardev_ctrl(u->front, CHARDEV_SET_BREAK, &on);
    }
}

static void write_mcr(Uart16550 *u, uint8_t val)
{
    uint8_t change = (u->mcr ^ val) & MCR_MASK;

    u->mcr = val & MCR_MASK;
    if (change & (MCR_LOOP | MCR_DTR | MCR_RTS)) {
        drive_modem(u);
    }
    sample_modem(u);
    update_irq(u);
    if (change & MCR_LOOP) {
        tx_run(u);
        if (u->front) {
            chardev_accept_input(u->front);
        }
    }
}

void uart16550_write(Uart16550 *u, unsigned reg, uint8_t val)
{
    switch (reg & 7) {
    case REG_DATA:
        if (u->lcr & LCR_DLAB) {
            u->divisor = (u->divisor & 0xff00) | val;
            line_params_changed(u);
        } else {
            tx_push(u, val);
        }
        break;
    case REG_IER:
        if (u->lcr & LCR_DLAB) {
            u->divisor = (u->divisor & 0xff) | val << 8;
            line_params_changed(u);
        } else {
            write_ier(u, val);
        }
        break;
    case REG_IIR:
        write_fcr(u, val);
        break;
    case REG_LCR:
        write_lcr(u, val);
        break;
    case REG_MCR:
        write_mcr(u, val);
        break;
    case REG_SCR:
        u->scr = val;
        break;
    default:
        break; /* LSR: factory test; MSR: nothing that matters */
    }
}

/* ---- life ---- */

void uart16550_reset(Uart16550 *u)
{
    u->ier = u->fcr = u->lcr = u->mcr = 0;
    u->msr = 0;
    u->scr = u->rbr = 0;
    u->divisor = 12; /* undefined in the data sheet; 9600 baud does no harm */
    u->tx_head = u->tx_count = 0;
    u->thre_pending = false;
    rx_clear(u);
    timer_del(&u->modem_poll);
    drive_modem(u);
    sample_modem(u);
    u->msr &= 0xf0;
    update_irq(u);
    if (u->front) {
        chardev_accept_input(u->front);
    }
}

bool uart16550_init(Uart16550 *u, Clock *clock, Irq irq, Chardev *chr, GError **err)
{
    int lines;

    u->clock = clock;
    u->irq = irq;
    u->base_baud = 115200;
    timer_init(&u->timeout, clock, on_timeout, u);
    timer_init(&u->modem_poll, clock, on_modem_poll, u);
    u->front = chr ? chardev_attach(chr, &front_handlers, u, err) : NULL;
    if (chr && !u->front) {
        return false;
    }
    u->has_modem = u->front && chardev_ctrl(u->front, CHARDEV_GET_MODEM, &lines);
    return true;
}

void uart16550_fini(Uart16550 *u)
{
    timer_del(&u->timeout);
    timer_del(&u->modem_poll);
    chardev_detach(u->front);
    u->front = NULL;
}

static bool uart_post_load(void *obj, GError **err)
{
    Uart16550 *u = obj;

    if (u->rx_head >= UART16550_FIFO || u->rx_count > UART16550_FIFO ||
        u->tx_head >= UART16550_FIFO || u->tx_count > UART16550_FIFO) {
        return fail(err, "16550: impossible FIFO state");
    }
    u->fcr &= FCR_ENABLE | FCR_DMA | FCR_TRIGGER;
    tx_run(u);
    return true;
}

static const StateField uart_fields[] = {
    STATE_U8(Uart16550, ier),
    STATE_U8(Uart16550, fcr),
    STATE_U8(Uart16550, lcr),
    STATE_U8(Uart16550, mcr),
    STATE_U8(Uart16550, msr),
    STATE_U8(Uart16550, scr),
    STATE_U8(Uart16550, line_err),
    STATE_U16(Uart16550, divisor),
    STATE_U8(Uart16550, rbr),
    STATE_U8_ARRAY(Uart16550, rx),
    STATE_U8_ARRAY(Uart16550, rx_err),
    STATE_U8(Uart16550, rx_head),
    STATE_U8(Uart16550, rx_count),
    STATE_U8_ARRAY(Uart16550, tx),
    STATE_U8(Uart16550, tx_head),
    STATE_U8(Uart16550, tx_count),
    STATE_BOOL(Uart16550, thre_pending),
    STATE_BOOL(Uart16550, timeout_pending),
    STATE_TIMER(Uart16550, timeout),
    STATE_TIMER(Uart16550, modem_poll),
    STATE_END_FIELD,
};

const StateTable uart16550_state = {
    .name = "uart16550", .version = 1, .fields = uart_fields, .post_load = uart_post_load};

static uint64_t ops_read(void *opaque, uint64_t off, unsigned size)
{
    return uart16550_read(opaque, off);
}

static void ops_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    uart16550_write(opaque, off, val);
}

const MemOps uart16550_ops = {.read = ops_read, .write = ops_write, .impl_max = 1};

/* ---- isa-serial ---- */

struct Ns16550 {
    Device dev;
    char *chardev;
    uint32_t index, iobase, irq;
    Uart16550 uart;
    MemRegion io;
};

#define PORTS 4
#define CHOOSE 0xffffffffu

/* The lowest COM port that no other serial port has. */
static uint32_t free_index(const Device *dev)
{
    uint32_t used = 0;

    for (guint i = 0; dev->machine && i < dev->machine->devices->len; i++) {
        const Device *d = dev->machine->devices->pdata[i];
        if (d->type == &isa_serial_type && d != dev && ((const Ns16550 *)d)->index < 32) {
            used |= 1u << ((const Ns16550 *)d)->index;
        }
    }
    return __builtin_ctz(~used);
}

static bool isa_serial_realize(Device *dev, GError **err)
{
    static const uint16_t bases[PORTS] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
    static const uint8_t irqs[PORTS] = {4, 3, 4, 3};
    Ns16550 *s = (Ns16550 *)dev;
    IsaBus *isa = (IsaBus *)dev->bus;
    Chardev *chr = NULL;

    if (s->index == CHOOSE) {
        s->index = free_index(dev);
    }
    if (s->index >= PORTS && (s->iobase == CHOOSE || s->irq == CHOOSE)) {
        return fail(err, "isa-serial: index %u: there are %d serial ports", s->index, PORTS);
    }
    if (s->iobase == CHOOSE) {
        s->iobase = bases[s->index];
    }
    if (s->irq == CHOOSE) {
        s->irq = irqs[s->index];
    }
    if (s->irq > 15) {
        return fail(err, "isa-serial: irq=%u: ISA has interrupts 0 to 15", s->irq);
    }
    if (s->iobase > 0xfff8) {
        return fail(err, "isa-serial: iobase=0x%x is no I/O port", s->iobase);
    }
    if (s->chardev && *s->chardev) {
        chr = chardev_find(s->chardev);
        if (!chr) {
            return fail(err, "isa-serial: there is no chardev '%s'", s->chardev);
        }
    }
    if (!uart16550_init(&s->uart, isa->clock, isa->irq[s->irq], chr, err)) {
        return false;
    }
    s->uart.gate_out2 = true;
    mem_region_init_io(&s->io, "serial", &uart16550_ops, &s->uart, UART16550_IO_SIZE);
    mem_region_add(isa->io, &s->io, s->iobase, 0);
    return true;
}

static void isa_serial_unrealize(Device *dev)
{
    Ns16550 *s = (Ns16550 *)dev;

    mem_region_destroy(&s->io);
    uart16550_fini(&s->uart);
}

static void isa_serial_reset(Device *dev)
{
    uart16550_reset(&((Ns16550 *)dev)->uart);
}

static const Property isa_serial_props[] = {
    {"chardev", PROP_CHARDEV, offsetof(Ns16550, chardev), NULL, "back end"},
    {"index", PROP_U32, offsetof(Ns16550, index), "4294967295", "COM port, from 0"},
    {"iobase", PROP_U32, offsetof(Ns16550, iobase), "4294967295", "first I/O port"},
    {"irq", PROP_U32, offsetof(Ns16550, irq), "4294967295", "interrupt line"},
    {NULL},
};

static const StateField isa_serial_fields[] = {
    {.name = "uart",
     .kind = STATE_STRUCT,
     .off = offsetof(Ns16550, uart),
     .count = 1,
     .stride = sizeof(Uart16550),
     .table = &uart16550_state},
    STATE_END_FIELD,
};
static const StateTable isa_serial_state = {
    .name = "isa-serial", .version = 1, .fields = isa_serial_fields};

const DeviceType isa_serial_type = {
    .name = "isa-serial",
    .desc = "16550A serial port",
    .bus = "ISA",
    .size = sizeof(Ns16550),
    .user_creatable = true,
    .props = isa_serial_props,
    .realize = isa_serial_realize,
    .unrealize = isa_serial_unrealize,
    .reset = isa_serial_reset,
    .state = &isa_serial_state,
};

Ns16550 *ns16550_new_isa(IsaBus *isa, uint16_t iobase, int irq, Chardev *chr, GError **err)
{
    Machine *m = isa_machine(isa);
    Device *dev = device_new(&isa_serial_type, m);
    Ns16550 *s = (Ns16550 *)dev;
    static const uint16_t bases[PORTS] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};

    s->iobase = iobase;
    s->irq = irq;
    for (unsigned i = 0; i < PORTS; i++) {
        if (bases[i] == iobase) {
            s->index = i;
        }
    }
    if (chr) {
        g_free(s->chardev);
        s->chardev = g_strdup(chardev_label(chr));
    }
    if (!device_realize(dev, &isa->bus, err)) {
        device_free(dev);
        return NULL;
    }
    return s;
}
