/*
 * Realtek RTL8139C(L)+ fast Ethernet controller (RTL8139C data sheet 1.4, RTL8139C+ data sheet
 * 1.6): registers, EEPROM, PHY, timer, interrupts. Transmit and receive are in rtl8139_tx.c and
 * rtl8139_rx.c.
 *
 * Simplified: auto-negotiation takes no time; wake-up and VPD are not there.
 */
#include "hw/net/rtl8139.h"
#include "core/log.h"
#include "hw/firmware/rom.h"
#include <string.h>

#define PCI_HZ 33000000
#define TCR_VERSION 0x74800000u /* RTL8139C+ */
#define CFG_UNLOCKED 0xc0

void rtl_raise(Rtl8139 *s, uint16_t causes)
{
    s->isr |= causes;
    pci_set_irq(&s->pci, (s->isr & s->imr) != 0);
}

/* ---- timer: TCTR counts PCI clocks ---- */

static uint64_t clocks(Rtl8139 *s)
{
    int64_t ns = clock_now(s->clock) - s->timer_base;

    return ns < 0 ? 0 : muldiv64((uint64_t)ns, PCI_HZ, NS_PER_SEC);
}

static void arm_timer(Rtl8139 *s)
{
    uint64_t now = clocks(s), at = (now & ~(uint64_t)UINT32_MAX) | s->timer_int;

    if (!s->timer_int) {
        timer_del(&s->timer);
        return;
    }
    at += at <= now ? 1ull << 32 : 0;
    timer_set(&s->timer,
              s->timer_base + (int64_t)((unsigned __int128)at * NS_PER_SEC / PCI_HZ) + 1);
}

static void timer_fired(void *opaque)
{
    Rtl8139 *s = opaque;

    rtl_raise(s, RTL_TIMEOUT);
    arm_timer(s);
}

/* ---- reset and EEPROM ---- */

static void eeprom_fill(Rtl8139 *s)
{
    static const uint16_t words[EEPROM93C46_WORDS] = {
        [0] = 0x8129,        [1] = 0x10ec,  [2] = 0x8139,  [3] = PCI_SUBSYS_VENDOR_VM,
        [4] = PCI_SUBSYS_VM, [5] = 0x4020,  [6] = 0xe112,  [10] = 0x4d10,
        [11] = 0xf7c2,       [12] = 0x8801, [13] = 0x03b9, [14] = 0x60f4,
        [15] = 0x071a,
    };
    memcpy(s->eeprom.words, words, sizeof(words));
    for (unsigned i = 0; i < 3; i++) {
        s->eeprom.words[7 + i] = s->mac[2 * i] | s->mac[2 * i + 1] << 8;
    }
}

static void load_address(Rtl8139 *s)
{
    for (unsigned i = 0; i < 3; i++) {
        pci_set16(s->idr + 2 * i, s->eeprom.words[7 + i]);
    }
}

/* CR bit RST: everything but the station address, configuration and PHY. */
static void soft_reset(Rtl8139 *s)
{
    s->cr = RTL_CR_BUFE;
    s->imr = s->isr = s->cpcr = 0;
    s->cbr = 0;
    s->capr = 0xfff0;
    s->tcr = TCR_VERSION;
    s->rcr = s->mpc = s->rbstart = 0;
    s->mulint = 0;
    s->timer_int = 0;
    s->cur_tx = s->cp_tx[0] = s->cp_tx[1] = s->cp_rx = 0;
    s->tnpds = s->thpds = s->rdsar = s->dtccr = 0;
    s->tx_len = 0;
    s->tx_drop = s->tx_open = false;
    for (unsigned i = 0; i < 4; i++) {
        s->tsd[i] = RTL_TSD_OWN;
        s->tsad[i] = 0;
    }
    timer_del(&s->timer);
    net_purge(&s->port);
    rtl_raise(s, 0);
}

static void rtl8139_reset(Device *dev)
{
    Rtl8139 *s = (Rtl8139 *)dev;

    pci_device_reset(&s->pci);
    eeprom_fill(s);
    eeprom93c46_reset(&s->eeprom);
    load_address(s);
    memset(s->mar, 0, sizeof(s->mar));
    memset(s->config, 0, sizeof(s->config));
    memset(&s->tally, 0, sizeof(s->tally));
    s->config[1] = 0x0c; /* memory and I/O mapped */
    s->cfg9346 = 0;
    s->bmcr = 0x1000;
    s->anar = 0x05e1;
    s->cscr = 0;
    s->nwaytr = 0;
    s->mtps = 0x3f;
    s->timer_base = clock_now(s->clock);
    soft_reset(s);
}

static void write_9346(Rtl8139 *s, uint8_t val)
{
    s->cfg9346 = val & 0xce;
    eeprom93c46_pins(&s->eeprom, (val & 0xc0) == 0x80 && (val & 8), val & 4, val & 2);
    if ((val & 0xc0) == 0x40) { /* autoload */
        load_address(s);
        s->cfg9346 = 0;
    }
}

/* The counters at DTCCR, 64 bytes. */
static void dump_tally(Rtl8139 *s)
{
    uint8_t b[64] = {0};
    const RtlTally *t = &s->tally;
    const uint64_t wide[3] = {t->tx_ok, t->rx_ok, t->tx_err};

    for (unsigned i = 0; i < 3; i++) {
        pci_set32(b + 8 * i, (uint32_t)wide[i]);
        pci_set32(b + 8 * i + 4, (uint32_t)(wide[i] >> 32));
    }
    pci_set32(b + 24, t->rx_err);
    pci_set16(b + 28, t->missed);
    pci_set32(b + 40, (uint32_t)t->rx_phys);
    pci_set32(b + 44, (uint32_t)(t->rx_phys >> 32));
    pci_set32(b + 48, (uint32_t)t->rx_bcast);
    pci_set32(b + 52, (uint32_t)(t->rx_bcast >> 32));
    pci_set32(b + 56, t->rx_mcast);
    pci_dma_write(&s->pci, s->dtccr & ~63ull, b, sizeof(b));
    s->dtccr &= ~15ull; /* done */
}

/* ---- registers ---- */

static uint16_t bmsr(const Rtl8139 *s)
{
    return 0x7809 | (net_link_up(&s->port) ? 0x24 : 0);
}

static uint16_t tsad_summary(const Rtl8139 *s)
{
    uint16_t v = 0;

    for (unsigned i = 0; i < 4; i++) {
        v |= (s->tsd[i] & RTL_TSD_TOK ? 0x1000 : 0) << i | (s->tsd[i] & RTL_TSD_OWN ? 1 : 0) << i;
    }
    return v;
}

static bool cplus(const Rtl8139 *s)
{
    return s->cpcr & (RTL_CP_TX | RTL_CP_RX);
}

static uint8_t command(const Rtl8139 *s)
{
    bool empty = ((s->cbr - (uint16_t)(s->capr + 16)) & (rtl_ring_size(s) - 1)) == 0;

    return (s->cr & ~RTL_CR_BUFE) | (empty ? RTL_CR_BUFE : 0);
}

/* The dword at @off, a multiple of 4. */
static uint32_t read32(Rtl8139 *s, unsigned off)
{
    bool up = net_link_up(&s->port);

    switch (off) {
    case 0x00:
    case 0x04:
        return pci_get32(s->idr + off);
    case 0x08:
    case 0x0c:
        return pci_get32(s->mar + (off - 8));
    case 0x10:
    case 0x14:
        if (cplus(s)) {
            return (uint32_t)(s->dtccr >> (off & 4 ? 32 : 0));
        }
        return s->tsd[(off - 0x10) / 4];
    case 0x18:
    case 0x1c:
        return s->tsd[(off - 0x10) / 4];
    case 0x20:
    case 0x24:
    case 0x28:
    case 0x2c:
        if (cplus(s)) {
            return (uint32_t)((off < 0x28 ? s->tnpds : s->thpds) >> (off & 4 ? 32 : 0));
        }
        return s->tsad[(off - 0x20) / 4];
    case 0x30:
        return s->rbstart;
    case 0x34:
        return (uint32_t)command(s) << 24;
    case 0x38:
        return s->capr | (uint32_t)s->cbr << 16;
    case 0x3c:
        return s->imr | (uint32_t)s->isr << 16;
    case 0x40:
        return s->tcr;
    case 0x44:
        return s->rcr;
    case 0x48:
        return (uint32_t)clocks(s);
    case 0x4c:
        return s->mpc;
    case 0x50:
        return s->cfg9346 | s->eeprom.dout | s->config[0] << 8 | s->config[1] << 16;
    case 0x54:
        return s->timer_int;
    case 0x58:
        return (up ? 0 : 4) | 0x10 | (uint32_t)s->config[3] << 8 | (uint32_t)s->config[4] << 16;
    case 0x5c:
        return s->mulint;
    case 0x60:
        return tsad_summary(s) | (uint32_t)s->bmcr << 16;
    case 0x64:
        return bmsr(s) | (uint32_t)s->anar << 16;
    case 0x68:
        return (up ? 0x45e1 : 0) | (up ? 1u << 16 : 0);
    case 0x70:
        return s->nwaytr;
    case 0x74:
        return s->cscr | (up ? 0x08 : 0) | 0x0100;
    case 0xd8:
        return s->config[5];
    case 0xe0:
        return s->cpcr;
    case 0xe4:
        return (uint32_t)s->rdsar;
    case 0xe8:
        return (uint32_t)(s->rdsar >> 32);
    case 0xec:
        return s->mtps;
    default:
        return 0;
    }
}

static void set_half(uint64_t *r, unsigned off, uint32_t val, uint32_t low_mask)
{
    if (off & 4) {
        *r = (uint32_t)*r | (uint64_t)val << 32;
    } else {
        *r = (*r & ~(uint64_t)UINT32_MAX) | (val & low_mask);
    }
}

/* Dword registers; narrower writes have been merged. False: there is none at @off. */
static bool write32(Rtl8139 *s, unsigned off, uint32_t val)
{
    switch (off) {
    case 0x10:
    case 0x14:
    case 0x18:
    case 0x1c:
        if (cplus(s) && off < 0x18) {
            set_half(&s->dtccr, off, val, ~0x34u);
            if (off == 0x10 && (val & 8)) {
                dump_tally(s);
            }
        } else {
            uint32_t *tsd = &s->tsd[(off - 0x10) / 4];
            *tsd = val & 0x3f3fff;
            rtl_send_c(s);
        }
        return true;
    case 0x20:
    case 0x24:
    case 0x28:
    case 0x2c:
        if (cplus(s)) {
            set_half(off < 0x28 ? &s->tnpds : &s->thpds, off, val, ~255u);
            s->cp_tx[off >= 0x28] = 0;
        } else {
            s->tsad[(off - 0x20) / 4] = val;
        }
        return true;
    case 0x30:
        s->rbstart = val;
        return true;
    case 0x40:
        s->tcr = TCR_VERSION | (val & 0x030707f0);
        return true;
    case 0x44:
        s->rcr = val & 0x0f03ffbf;
        net_flush(&s->port);
        return true;
    case 0x48:
        s->timer_base = clock_now(s->clock);
        arm_timer(s);
        return true;
    case 0x4c:
        s->mpc = 0;
        return true;
    case 0x54:
        s->timer_int = val;
        arm_timer(s);
        return true;
    case 0xe4:
    case 0xe8:
        set_half(&s->rdsar, off == 0xe8 ? 4 : 0, val, ~255u);
        s->cp_rx = 0;
        return true;
    default:
        return false;
    }
}

static void write_cr(Rtl8139 *s, uint8_t val)
{
    if (val & RTL_CR_RST) {
        soft_reset(s);
        return;
    }
    s->cr = val & (RTL_CR_TE | RTL_CR_RE);
    net_flush(&s->port);
}

/* Word registers: the whole word, narrower writes merged. */
static bool write16(Rtl8139 *s, unsigned off, uint16_t val)
{
    switch (off) {
    case 0x38:
        s->capr = val;
        net_flush(&s->port);
        return true;
    case 0x3c:
        s->imr = val;
        rtl_raise(s, 0);
        return true;
    case 0x3e:
        s->isr &= ~val;
        rtl_raise(s, 0);
        net_flush(&s->port);
        return true;
    case 0x5c:
        s->mulint = val & 0xf3ff;
        return true;
    case 0x62:
        s->bmcr = val & 0x8000 ? 0x1000 : val & 0x3100;
        return true;
    case 0x66:
        s->anar = val;
        return true;
    case 0x70:
        s->nwaytr = val;
        return true;
    case 0x74:
        s->cscr = val & 0xf0ff & ~0x08;
        return true;
    case 0xe0:
        s->cpcr = val & 0x007b;
        net_flush(&s->port);
        return true;
    default:
        return false;
    }
}

static void write8(Rtl8139 *s, unsigned off, uint8_t val)
{
    bool unlocked = (s->cfg9346 & CFG_UNLOCKED) == CFG_UNLOCKED;

    if (off < 6) {
        s->idr[off] = val; /* the data sheet wants it unlocked, the chip does not */
    } else if (off >= 8 && off < 16) {
        s->mar[off - 8] = val;
    } else if (off == 0x37) {
        write_cr(s, val);
    } else if (off == 0x50) {
        write_9346(s, val);
    } else if (off == 0xd9) {
        if (val & 1) {
            rtl_raise(s, RTL_SWINT);
        }
        if (val & 0x80) {
            rtl_send_cp(s, 1);
        }
        if (val & 0x40) {
            rtl_send_cp(s, 0);
        }
    } else if (off == 0xec) {
        s->mtps = val & 0x3f;
    } else if (off == 0xd8) {
        s->config[5] = val & 0x7f;
    } else if (unlocked && (off == 0x52 || off == 0x59 || off == 0x5a)) {
        s->config[off == 0x52 ? 1 : off - 0x56] = off == 0x52 ? (val & 0xf3) | 0x0c : val;
    }
}

static uint64_t reg_read(void *opaque, uint64_t off, unsigned size)
{
    uint32_t v = read32(opaque, off & 0xfc) >> 8 * (off & 3);

    return size == 4 ? v : v & ((1u << 8 * size) - 1);
}

static void reg_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Rtl8139 *s = opaque;
    unsigned base = off & 0xfc, shift = 8 * (off & 3);
    uint32_t mask = (size == 4 ? UINT32_MAX : (1u << 8 * size) - 1) << shift;
    bool dword = base == 0x30 || base == 0x40 || base == 0x44 || base == 0x48 || base == 0x4c ||
                 base == 0x54 || base == 0xe4 || base == 0xe8 || (base >= 0x10 && base < 0x30);

    if (dword) {
        write32(s, base, (read32(s, base) & ~mask) | ((uint32_t)val << shift & mask));
        return;
    }
    for (unsigned i = 0; i < size;) {
        unsigned at = (off & 0xff) + i, word = at & 0xfe;
        uint32_t old = word == 0x3e ? 0 : read32(s, word & 0xfc) >> 8 * (word & 2);
        bool whole = !(at & 1) && size - i >= 2;
        uint16_t v = whole    ? val >> 8 * i
                     : at & 1 ? (old & 0xff) | (uint16_t)(val >> 8 * i & 0xff) << 8
                              : (old & 0xff00) | (val >> 8 * i & 0xff);
        if (write16(s, word, v)) {
            i += whole ? 2 : 1;
        } else {
            write8(s, at, (uint8_t)(val >> 8 * i));
            i++;
        }
    }
}

static const MemOps ops = {.read = reg_read, .write = reg_write, .impl_min = 1, .impl_max = 4};

/* ---- device ---- */

static const PciInfo pci_info = {
    .vendor_id = 0x10ec,
    .device_id = 0x8139,
    .revision = 0x20,
    .class_code = 0x020000,
    .int_pin = 1,
};

static void link_changed(NetPort *p)
{
    Rtl8139 *s = rtl_of(p);

    if (s->clock) {
        rtl_raise(s, RTL_PUN);
    }
}

static const NetPortOps port_ops = {
    .kind = "nic",
    .can_receive = rtl_can_receive,
    .receive = rtl_receive,
    .link_changed = link_changed,
};

static void rtl8139_unrealize(Device *dev)
{
    Rtl8139 *s = (Rtl8139 *)dev;

    timer_del(&s->timer);
    net_nic_fini(&s->port);
    pci_device_fini(&s->pci);
    mem_region_destroy(&s->io);
    mem_region_destroy(&s->mem);
}

static bool rtl8139_realize(Device *dev, GError **err)
{
    Rtl8139 *s = (Rtl8139 *)dev;

    if (!pci_device_init(&s->pci, &pci_info, err)) {
        return false;
    }
    if (!net_nic_init(&s->port, dev, &port_ops, s->netdev, s->mac, err)) {
        pci_device_fini(&s->pci);
        return false;
    }
    s->clock = dev->machine->virtual_clock;
    timer_init(&s->timer, s->clock, timer_fired, s);
    mem_region_init_io(&s->io, "rtl8139-io", &ops, s, RTL_REGS);
    mem_region_init_io(&s->mem, "rtl8139-mem", &ops, s, RTL_REGS);
    pci_add_bar(&s->pci, 0, PCI_BAR_IO, &s->io);
    pci_add_bar(&s->pci, 1, 0, &s->mem);
    if (firmware_add_option_rom(&s->pci, "efi-rtl8139.rom", err)) {
        return true;
    }
    rtl8139_unrealize(dev);
    return false;
}

static bool post_load(void *obj, GError **err)
{
    Rtl8139 *s = obj;

    /* A base in the future would make the timer fire without end. */
    s->timer_base = CLAMP(s->timer_base, 0, clock_now(s->clock));
    return (s->tx_len <= RTL_SEND_MAX && s->cur_tx < 4 && s->cp_tx[0] < 64 && s->cp_tx[1] < 64 &&
            s->cp_rx < 64) ||
           fail(err, "The saved state of rtl8139 is impossible");
}

static const StateField tally_fields[] = {
    STATE_U64(RtlTally, tx_ok),    STATE_U64(RtlTally, rx_ok),    STATE_U64(RtlTally, tx_err),
    STATE_U64(RtlTally, rx_phys),  STATE_U64(RtlTally, rx_bcast), STATE_U32(RtlTally, rx_err),
    STATE_U32(RtlTally, rx_mcast), STATE_U16(RtlTally, missed),   STATE_END_FIELD};
static const StateTable tally_state = {.name = "tally", .version = 1, .fields = tally_fields};

static const StateField fields[] = {PCI_STATE(Rtl8139, pci),
                                    STATE_TIMER(Rtl8139, timer),
                                    STATE_I64(Rtl8139, timer_base),
                                    STATE_U32(Rtl8139, timer_int),
                                    STATE_U8_ARRAY(Rtl8139, idr),
                                    STATE_U8_ARRAY(Rtl8139, mar),
                                    STATE_U32_ARRAY(Rtl8139, tsd),
                                    STATE_U32_ARRAY(Rtl8139, tsad),
                                    STATE_U32(Rtl8139, rbstart),
                                    STATE_U32(Rtl8139, tcr),
                                    STATE_U32(Rtl8139, rcr),
                                    STATE_U32(Rtl8139, mpc),
                                    STATE_U16(Rtl8139, cbr),
                                    STATE_U16(Rtl8139, capr),
                                    STATE_U16(Rtl8139, imr),
                                    STATE_U16(Rtl8139, isr),
                                    STATE_U16(Rtl8139, cpcr),
                                    STATE_U8(Rtl8139, cr),
                                    STATE_U8(Rtl8139, cfg9346),
                                    STATE_U8_ARRAY(Rtl8139, config),
                                    STATE_U8(Rtl8139, mtps),
                                    STATE_U16(Rtl8139, bmcr),
                                    STATE_U16(Rtl8139, anar),
                                    STATE_U16(Rtl8139, cscr),
                                    STATE_U16(Rtl8139, nwaytr),
                                    STATE_U16(Rtl8139, mulint),
                                    STATE_U64(Rtl8139, tnpds),
                                    STATE_U64(Rtl8139, thpds),
                                    STATE_U64(Rtl8139, rdsar),
                                    STATE_U64(Rtl8139, dtccr),
                                    STATE_U32(Rtl8139, cur_tx),
                                    STATE_U32_ARRAY(Rtl8139, cp_tx),
                                    STATE_U32(Rtl8139, cp_rx),
                                    STATE_STRUCT_ARRAY(Rtl8139, eeprom, Eeprom, &eeprom93c46_state),
                                    STATE_STRUCT_ARRAY(Rtl8139, tally, RtlTally, &tally_state),
                                    STATE_U32(Rtl8139, tx_len),
                                    STATE_BOOL(Rtl8139, tx_drop),
                                    STATE_BOOL(Rtl8139, tx_open),
                                    STATE_U8_ARRAY(Rtl8139, tx_buf),
                                    STATE_END_FIELD};
static const StateTable state = {
    .name = "rtl8139", .version = 1, .fields = fields, .post_load = post_load};

static const Property props[] = {
    PCI_PROPERTIES(Rtl8139),
    {"netdev", PROP_NETDEV, offsetof(Rtl8139, netdev), NULL, "id of the -netdev"},
    {"mac", PROP_MAC, offsetof(Rtl8139, mac), NULL, "Ethernet address"},
    {NULL},
};

const DeviceType rtl8139_type = {
    .name = "rtl8139",
    .desc = "Realtek RTL8139C+ fast Ethernet",
    .bus = "PCI",
    .size = sizeof(Rtl8139),
    .user_creatable = true,
    .props = props,
    .realize = rtl8139_realize,
    .unrealize = rtl8139_unrealize,
    .reset = rtl8139_reset,
    .state = &state,
};
