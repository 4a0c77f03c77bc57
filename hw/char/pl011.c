/*
 * Arm PrimeCell UART PL011, revision r1p5. Technical Reference Manual DDI 0183G.
 *
 * What is written goes to the back end at once; the transmit FIFO holds what it does not take.
 */
#include "hw/char/pl011.h"
#include "core/log.h"
#include <string.h>

enum { DEPTH = 16 };
enum {
    DR = 0x00,
    RSR = 0x04,
    FR = 0x18,
    ILPR = 0x20,
    IBRD = 0x24,
    FBRD = 0x28,
    LCR_H = 0x2c,
    CR = 0x30,
    IFLS = 0x34,
    IMSC = 0x38,
    RIS = 0x3c,
    MIS = 0x40,
    ICR = 0x44,
    DMACR = 0x48,
    PERIPH_ID = 0xfe0,
};
enum {
    FR_CTS = 1,
    FR_DSR = 2,
    FR_DCD = 4,
    FR_RXFE = 0x10,
    FR_TXFF = 0x20,
    FR_RXFF = 0x40,
    FR_TXFE = 0x80
};
enum { LCR_BRK = 1, LCR_FEN = 0x10 };
enum {
    CR_UARTEN = 1,
    CR_LBE = 0x80,
    CR_TXE = 0x100,
    CR_RXE = 0x200,
    CR_DTR = 0x400,
    CR_RTS = 0x800
};
enum {
    INT_RX = 0x10,
    INT_TX = 0x20,
    INT_RT = 0x40,
    INT_BE = 0x200,
    INT_OE = 0x400,
    INT_ALL = 0x7ff
};
enum { DR_BE = 0x400, DR_OE = 0x800 };

struct Pl011 {
    Device dev;
    MemRegion mem;
    Irq irq;
    ChardevFront *front;
    bool attached;
    uint32_t rsr, ilpr, ibrd, fbrd, lcr, cr, ifls, imsc, ris, dmacr;
    uint16_t rx[DEPTH];
    uint8_t rx_head, rx_count;
    uint8_t tx[DEPTH];
    uint8_t tx_head, tx_count;
};

static unsigned depth(const Pl011 *s)
{
    return s->lcr & LCR_FEN ? DEPTH : 1;
}

/* Bytes at which the level of IFLS is reached: 1/8 … 7/8 of the FIFO. */
static unsigned trigger(const Pl011 *s, unsigned shift)
{
    static const uint8_t levels[] = {2, 4, 8, 12, 14, 14, 14, 14};

    return s->lcr & LCR_FEN ? levels[s->ifls >> shift & 7] : 1;
}

static void update_irq(Pl011 *s)
{
    irq_set(&s->irq, (s->ris & s->imsc) != 0);
}

/* ---- receiver ---- */

static void receive(Pl011 *s, uint16_t word)
{
    if (s->rx_count == depth(s)) {
        s->ris |= INT_OE;
        s->rsr |= 8;
        return;
    }
    s->rx[(s->rx_head + s->rx_count++) % DEPTH] = word;
    if (s->rx_count >= trigger(s, 3)) {
        s->ris |= INT_RX;
    }
    /* The line is idle after it, as far as anybody can tell: the time-out is due. */
    s->ris |= INT_RT;
}

static size_t can_receive(void *opaque)
{
    const Pl011 *s = opaque;

    if ((s->cr & (CR_UARTEN | CR_RXE)) != (CR_UARTEN | CR_RXE) || s->cr & CR_LBE) {
        return 0;
    }
    return depth(s) > s->rx_count ? depth(s) - s->rx_count : 0;
}

static void front_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Pl011 *s = opaque;

    for (size_t i = 0; i < len; i++) {
        receive(s, buf[i]);
    }
    update_irq(s);
}

static void front_event(void *opaque, ChardevEvent ev)
{
    Pl011 *s = opaque;

    if (ev == CHARDEV_BREAK && can_receive(s)) {
        receive(s, DR_BE);
        s->ris |= INT_BE;
        update_irq(s);
    }
}

static uint32_t read_data(Pl011 *s)
{
    uint16_t v;

    if (!s->rx_count) {
        return 0;
    }
    v = s->rx[s->rx_head];
    s->rx_head = (s->rx_head + 1) % DEPTH;
    s->rx_count--;
    s->rsr = v >> 8 & 15;
    if (s->rx_count < trigger(s, 3)) {
        s->ris &= ~(uint32_t)INT_RX;
    }
    if (!s->rx_count) {
        s->ris &= ~(uint32_t)INT_RT;
    }
    update_irq(s);
    if (s->front) {
        chardev_accept_input(s->front);
    }
    return v;
}

/* ---- transmitter ---- */

static void transmit(Pl011 *s)
{
    while (s->tx_count) {
        size_t run = MIN(s->tx_count, DEPTH - s->tx_head), n = run;

        if (s->front) {
            n = chardev_write(s->front, s->tx + s->tx_head, run);
        }
        s->tx_head = (s->tx_head + n) % DEPTH;
        s->tx_count -= n;
        if (n < run) {
            break;
        }
    }
    if (s->tx_count <= DEPTH - trigger(s, 0) || !s->tx_count) {
        s->ris |= INT_TX;
    }
    update_irq(s);
}

static void front_writable(void *opaque)
{
    transmit(opaque);
}

static void write_data(Pl011 *s, uint8_t byte)
{
    if (s->cr & CR_LBE) {
        receive(s, byte);
        s->ris |= INT_TX;
        update_irq(s);
        return;
    }
    if (s->tx_count == depth(s)) {
        guest_error("pl011: written while the transmit FIFO was full");
        return;
    }
    s->tx[(s->tx_head + s->tx_count++) % DEPTH] = byte;
    s->ris &= ~(uint32_t)INT_TX;
    transmit(s);
}

static const ChardevHandlers handlers = {
    .can_receive = can_receive,
    .receive = front_receive,
    .event = front_event,
    .writable = front_writable,
};

/* ---- registers ---- */

static uint32_t flags(const Pl011 *s)
{
    return FR_CTS | FR_DSR | FR_DCD | (s->rx_count ? 0 : FR_RXFE) |
           (s->rx_count >= depth(s) ? FR_RXFF : 0) | (s->tx_count ? 0 : FR_TXFE) |
           (s->tx_count >= depth(s) ? FR_TXFF : 0);
}

static uint64_t reg_read(void *opaque, uint64_t off, unsigned size)
{
    static const uint8_t ids[] = {0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
    Pl011 *s = opaque;

    (void)size;
    switch (off) {
    case DR:
        return read_data(s);
    case RSR:
        return s->rsr;
    case FR:
        return flags(s);
    case ILPR:
        return s->ilpr;
    case IBRD:
        return s->ibrd;
    case FBRD:
        return s->fbrd;
    case LCR_H:
        return s->lcr;
    case CR:
        return s->cr;
    case IFLS:
        return s->ifls;
    case IMSC:
        return s->imsc;
    case RIS:
        return s->ris;
    case MIS:
        return s->ris & s->imsc;
    case DMACR:
        return s->dmacr;
    default:
        if (off >= PERIPH_ID) {
            return ids[(off - PERIPH_ID) / 4];
        }
        guest_error("pl011: read of register %" G_GINT64_MODIFIER "x", off);
        return 0;
    }
}

static void write_lcr(Pl011 *s, uint32_t val)
{
    if ((s->lcr ^ val) & LCR_FEN) { /* the FIFOs are emptied */
        s->rx_count = 0;
        s->ris &= ~(uint32_t)(INT_RX | INT_RT);
    }
    if ((s->lcr ^ val) & LCR_BRK && s->front) {
        int on = val & LCR_BRK;

        chardev_ctrl(s->front, CHARDEV_SET_BREAK, &on);
    }
    s->lcr = val & 0xff;
}

static void reg_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Pl011 *s = opaque;

    (void)size;
    switch (off) {
    case DR:
        write_data(s, val);
        return;
    case RSR:
        s->rsr = 0;
        return;
    case ILPR:
        s->ilpr = val & 0xff;
        return;
    case IBRD:
        s->ibrd = val & 0xffff;
        return;
    case FBRD:
        s->fbrd = val & 0x3f;
        return;
    case LCR_H:
        write_lcr(s, val);
        break;
    case CR:
        s->cr = val & 0xff87;
        if (s->front) {
            chardev_accept_input(s->front);
        }
        break;
    case IFLS:
        s->ifls = val & 0x3f;
        break;
    case IMSC:
        s->imsc = val & INT_ALL;
        break;
    case ICR:
        s->ris &= ~(uint32_t)val;
        break;
    case DMACR: /* no DMA controller is wired */
        s->dmacr = val & 7;
        return;
    default:
        guest_error("pl011: write of register %" G_GINT64_MODIFIER "x", off);
        return;
    }
    update_irq(s);
}

static const MemOps ops = {.read = reg_read, .write = reg_write, .impl_min = 4, .impl_max = 4};

/* ---- life ---- */

static void reset(Device *dev)
{
    Pl011 *s = (Pl011 *)dev;

    s->rsr = s->ilpr = s->ibrd = s->fbrd = s->lcr = s->imsc = s->ris = s->dmacr = 0;
    s->cr = CR_TXE | CR_RXE;
    s->ifls = 0x12;
    s->rx_head = s->rx_count = s->tx_head = s->tx_count = 0;
    update_irq(s);
}

static bool realize(Device *dev, GError **err)
{
    return true;
}

static void unrealize(Device *dev)
{
    Pl011 *s = (Pl011 *)dev;

    chardev_detach(s->front);
    if (s->attached) {
        mem_region_destroy(&s->mem);
    }
}

static const StateField fields[] = {
    STATE_U32(Pl011, rsr),
    STATE_U32(Pl011, ilpr),
    STATE_U32(Pl011, ibrd),
    STATE_U32(Pl011, fbrd),
    STATE_U32(Pl011, lcr),
    STATE_U32(Pl011, cr),
    STATE_U32(Pl011, ifls),
    STATE_U32(Pl011, imsc),
    STATE_U32(Pl011, ris),
    STATE_U32(Pl011, dmacr),
    STATE_U16_ARRAY(Pl011, rx),
    STATE_U8(Pl011, rx_head),
    STATE_U8(Pl011, rx_count),
    STATE_U8_ARRAY(Pl011, tx),
    STATE_U8(Pl011, tx_head),
    STATE_U8(Pl011, tx_count),
    STATE_END_FIELD,
};

static bool post_load(void *obj, GError **err)
{
    Pl011 *s = obj;

    if (s->rx_head >= DEPTH || s->tx_head >= DEPTH || s->rx_count > DEPTH || s->tx_count > DEPTH) {
        return fail(err, "The saved state of a PL011 cannot be: its FIFO is larger than %d", DEPTH);
    }
    update_irq(s);
    return true;
}

static const StateTable table = {
    .name = "pl011", .version = 1, .fields = fields, .post_load = post_load};

const DeviceType pl011_type = {
    .name = "pl011",
    .desc = "Arm PrimeCell UART (PL011)",
    .size = sizeof(Pl011),
    .realize = realize,
    .unrealize = unrealize,
    .reset = reset,
    .state = &table,
};

Pl011 *pl011_new(Machine *m, MemRegion *parent, uint64_t base, Irq irq, Chardev *chr, GError **err)
{
    Pl011 *s = (Pl011 *)device_new(&pl011_type, m);

    s->irq = irq;
    if (chr) {
        s->front = chardev_attach(chr, &handlers, s, err);
        if (!s->front) {
            device_free(&s->dev);
            return NULL;
        }
    }
    if (!device_realize(&s->dev, NULL, err)) {
        chardev_detach(s->front);
        device_free(&s->dev);
        return NULL;
    }
    mem_region_init_io(&s->mem, "pl011", &ops, s, 0x1000);
    mem_region_add(parent, &s->mem, base, 0);
    s->attached = true;
    return s;
}
