/*
 * Intel 82540EM gigabit Ethernet controller (PCI/PCI-X Family of Gigabit Ethernet Controllers
 * Software Developer's Manual, 317453): registers, EEPROM, PHY, interrupts. Transmit and receive
 * are in e1000_tx.c and e1000_rx.c.
 *
 * Simplified: the link comes up LINK_DELAY after auto-negotiation starts, always at 1000 Mb/s;
 * a frame sent without IFCS goes out as it is; wake-up filters and packet memory read 0.
 */
#include "hw/net/e1000.h"
#include "core/log.h"
#include "hw/firmware/rom.h"
#include <string.h>

#define LINK_DELAY (50 * 1000000LL)

enum { CTRL_RST = 1 << 26, CTRL_PHY_RST = 1u << 31 };
enum { STATUS_FD = 1, STATUS_LU = 2, STATUS_SPEED_1000 = 0x80, STATUS_ASDV_1000 = 0x200 };
enum {
    EECD_SK = 1,
    EECD_CS = 2,
    EECD_DI = 4,
    EECD_DO = 8,
    EECD_REQ = 0x40,
    EECD_GNT = 0x80,
    EECD_PRES = 0x100
};
enum { EERD_START = 1, EERD_DONE = 0x10 };
enum { MDIC_READY = 1 << 28, MDIC_INT = 1 << 29, MDIC_ERROR = 1 << 30 };
enum {
    PHY_CTRL,
    PHY_STATUS,
    PHY_ID1,
    PHY_ID2,
    PHY_ANA,
    PHY_LPA,
    PHY_ANE,
    PHY_1000C = 9,
    PHY_1000S = 10,
    PHY_EXT = 15,
    PHY_SPEC = 17
};

/* ---- counters ---- */

void e1000_count(E1000 *s, unsigned stat, uint32_t n)
{
    uint32_t *r = e1000_reg(s, stat);

    *r = *r > UINT32_MAX - n ? UINT32_MAX : *r + n;
}

void e1000_count64(E1000 *s, unsigned stat, uint64_t n)
{
    uint64_t v = *e1000_reg(s, stat) | (uint64_t)*e1000_reg(s, stat + 4) << 32;

    v = v > UINT64_MAX - n ? UINT64_MAX : v + n;
    *e1000_reg(s, stat) = (uint32_t)v;
    *e1000_reg(s, stat + 4) = (uint32_t)(v >> 32);
}

unsigned e1000_size_class(size_t len)
{
    return len <= 64 ? 0 : len < 128 ? 1 : len < 256 ? 2 : len < 512 ? 3 : len < 1024 ? 4 : 5;
}

/* ---- interrupts ---- */

/* The line follows ICR and IMS, but rises not before the time ITR allows. */
static void update_irq(E1000 *s)
{
    bool want = *e1000_reg(s, E1000_ICR) & *e1000_reg(s, E1000_IMS);

    if (!want) {
        timer_del(&s->itr_timer);
        pci_set_irq(&s->pci, 0);
    } else if (!s->pci.intx_level) {
        int64_t now = clock_now(s->clock);
        if (now < s->next_irq) {
            timer_set(&s->itr_timer, s->next_irq);
        } else {
            s->next_irq = now + (*e1000_reg(s, E1000_ITR) & 0xffff) * 256LL;
            pci_set_irq(&s->pci, 1);
        }
    }
}

void e1000_raise(E1000 *s, uint32_t causes)
{
    *e1000_reg(s, E1000_ICR) |= causes & E1000_INT_ALL;
    update_irq(s);
}

static void itr_expired(void *opaque)
{
    update_irq(opaque);
}

static void rx_delay_expired(void *opaque)
{
    E1000 *s = opaque;

    s->rx_deadline = -1;
    e1000_raise(s, E1000_INT_RXT0);
}

static void tx_delay_expired(void *opaque)
{
    E1000 *s = opaque;

    s->tx_deadline = -1;
    e1000_raise(s, E1000_INT_TXDW);
}

static void tx_work(void *opaque)
{
    e1000_transmit(opaque);
}

/* ---- link and PHY (Marvell 88E1000S) ---- */

static void update_link(E1000 *s, bool tell)
{
    bool up = net_link_up(&s->port) && !s->link_wait;
    uint32_t *status = e1000_reg(s, E1000_STATUS), was = *status & STATUS_LU;

    *status = STATUS_FD | STATUS_SPEED_1000 | STATUS_ASDV_1000 | (up ? STATUS_LU : 0);
    s->phy[PHY_STATUS] = 0x7949 | (up ? 0x24 : 0);
    s->phy[PHY_SPEC] = up ? 0xac00 : 0x8000;
    s->phy[PHY_LPA] = up ? 0x45e1 : 0;
    s->phy[PHY_ANE] = up ? 0x000f : 0x0004;
    s->phy[PHY_1000S] = up ? 0x3c00 : 0;
    if (tell && was != (*status & STATUS_LU)) {
        e1000_raise(s, E1000_INT_LSC);
    }
}

static void link_negotiated(void *opaque)
{
    E1000 *s = opaque;

    s->link_wait = false;
    update_link(s, true);
}

static void start_negotiation(E1000 *s)
{
    s->link_wait = true;
    update_link(s, true);
    timer_set(&s->link_timer, clock_now(s->clock) + LINK_DELAY);
}

static void phy_reset(E1000 *s)
{
    static const uint16_t defaults[32] = {
        [PHY_CTRL] = 0x1140,  [PHY_ID1] = 0x0141, [PHY_ID2] = 0x0c20, [PHY_ANA] = 0x0de1,
        [PHY_1000C] = 0x0e00, [PHY_EXT] = 0x3000, [16] = 0x0360,      [20] = 0x0d60,
    };
    memcpy(s->phy, defaults, sizeof(s->phy));
    update_link(s, false);
}

static void phy_write(E1000 *s, unsigned n, uint16_t val)
{
    static const uint16_t writable[32] = {
        [PHY_CTRL] = 0x7d40, [PHY_ANA] = 0xbfff, [7] = 0xffff,  [PHY_1000C] = 0xff00, [16] = 0xffff,
        [18] = 0xffff,       [20] = 0xffff,      [24] = 0xffff, [29] = 0xffff,        [30] = 0xffff,
    };
    s->phy[n] = (s->phy[n] & ~writable[n]) | (val & writable[n]);
    if (n == PHY_CTRL && (val & 0x8000)) {
        phy_reset(s);
        start_negotiation(s);
    } else if (n == PHY_CTRL && (val & 0x0200) && (val & 0x1000)) {
        start_negotiation(s);
    }
}

static void write_mdic(E1000 *s, uint32_t val)
{
    unsigned n = val >> 16 & 31, op = val >> 26 & 3;
    uint32_t r = (val & ~(MDIC_ERROR | 0x8000ffffu)) | MDIC_READY | (val & 0xffff);

    if ((val >> 21 & 31) != 1 || (op != 1 && op != 2)) {
        r |= MDIC_ERROR;
    } else if (op == 1) {
        phy_write(s, n, (uint16_t)val);
    } else {
        r = (r & ~0xffffu) | s->phy[n];
    }
    *e1000_reg(s, E1000_MDIC) = r;
    if (val & MDIC_INT) {
        e1000_raise(s, E1000_INT_MDAC);
    }
}

static void link_changed(NetPort *p)
{
    E1000 *s = e1000_of(p);

    if (s->clock) {
        update_link(s, true);
    }
}

/* ---- EEPROM ---- */

static void eeprom_fill(E1000 *s)
{
    static const uint16_t words[EEPROM93C46_WORDS] = {
        [3] = 0xffff,  [4] = 0xffff,  [5] = 0xffff,         [8] = 0x3000,
        [9] = 0x1000,  [10] = 0x6403, [11] = PCI_SUBSYS_VM, [12] = PCI_SUBSYS_VENDOR_VM,
        [13] = 0x100e, [14] = 0x8086, [15] = 0x3040,        [16] = 0x0008,
        [17] = 0x2000, [18] = 0x7e14, [19] = 0x0048,        [20] = 0x1000,
        [21] = 0x00d8, [23] = 0x2700, [30] = 0x0602,        [33] = 0x1000,
        [34] = 0x0104,
    };
    uint16_t sum = 0;

    memcpy(s->eeprom.words, words, sizeof(words));
    for (unsigned i = 0; i < 3; i++) {
        s->eeprom.words[i] = s->mac[2 * i] | s->mac[2 * i + 1] << 8;
    }
    for (unsigned i = 0; i < 63; i++) {
        sum += s->eeprom.words[i];
    }
    s->eeprom.words[63] = 0xbaba - sum;
}

static void write_eecd(E1000 *s, uint32_t val)
{
    uint32_t *r = e1000_reg(s, E1000_EECD);

    *r = (val & (EECD_SK | EECD_CS | EECD_DI | 0x30 | EECD_REQ)) | EECD_PRES |
         (val & EECD_REQ ? EECD_GNT : 0);
    eeprom93c46_pins(&s->eeprom, val & EECD_CS, val & EECD_SK, val & EECD_DI);
}

static void write_eerd(E1000 *s, uint32_t val)
{
    uint32_t r = val & 0xff00;

    if (val & EERD_START) {
        r |= EERD_DONE | (uint32_t)s->eeprom.words[val >> 8 & 63] << 16;
    }
    *e1000_reg(s, E1000_EERD) = r;
}

/* ---- reset ---- */

/* By software the PHY, the link and the PCI registers stay. */
static void mac_reset(E1000 *s)
{
    uint32_t status = *e1000_reg(s, E1000_STATUS);

    timer_del(&s->itr_timer);
    timer_del(&s->rx_timer);
    timer_del(&s->tx_timer);
    timer_del(&s->tx_work);
    s->rx_deadline = s->tx_deadline = -1;
    s->next_irq = 0;
    memset(s->reg, 0, sizeof(s->reg));
    e1000_tx_reset(s);
    memset(&s->off, 0, sizeof(s->off));
    memset(&s->tso, 0, sizeof(s->tso));
    s->io_addr = 0;
    *e1000_reg(s, E1000_CTRL) = 0x00000a01;
    *e1000_reg(s, E1000_STATUS) = status;
    *e1000_reg(s, E1000_EECD) = EECD_PRES;
    *e1000_reg(s, E1000_PBA) = 0x00100030;
    *e1000_reg(s, E1000_MDIC) = MDIC_READY;
    *e1000_reg(s, E1000_VET) = 0x8100;
    *e1000_reg(s, E1000_RA) = pci_get32((const uint8_t[4]){
        s->eeprom.words[0], s->eeprom.words[0] >> 8, s->eeprom.words[1], s->eeprom.words[1] >> 8});
    *e1000_reg(s, E1000_RA + 4) = s->eeprom.words[2] | 1u << 31;
    pci_set_irq(&s->pci, 0);
    net_purge(&s->port);
}

static void write_ctrl(E1000 *s, uint32_t val)
{
    if (val & CTRL_RST) {
        mac_reset(s);
        return;
    }
    *e1000_reg(s, E1000_CTRL) = val & ~(CTRL_RST | CTRL_PHY_RST);
    if (val & CTRL_PHY_RST) {
        phy_reset(s);
        start_negotiation(s);
    }
}

/* ---- registers ---- */

/* Bits that plain registers keep; 0: special, read only or not there. */
static uint32_t plain_mask(unsigned off)
{
    if ((off >= E1000_MTA && off < E1000_MTA + 0x200) ||
        (off >= E1000_VFTA && off < E1000_VFTA + 0x200)) {
        return UINT32_MAX;
    }
    if (off >= E1000_RA && off < E1000_RA + 0x80) {
        return off & 4 ? 0x8003ffff : UINT32_MAX;
    }
    switch (off) {
    case E1000_RDBAL:
    case E1000_TDBAL:
        return ~15u;
    case E1000_RDLEN:
    case E1000_TDLEN:
        return 0xfff80;
    case E1000_RDH:
    case E1000_TDH:
    case E1000_VET:
    case E1000_ITR:
    case E1000_FCAH:
    case E1000_FCT:
    case E1000_RDTR:
    case E1000_RADV:
    case E1000_TIDV:
    case E1000_TADV:
    case E1000_PBA:
    case 0x170: /* FCTTV */
    case 0x458: /* AIFS */
        return 0xffff;
    case E1000_RXCSUM:
        return 0x7ff;
    case E1000_RSRPD:
        return 0xfff;
    case 0x2160: /* FCRTL */
    case 0x2168: /* FCRTH */
        return 0x8000fff8;
    case E1000_RDBAH:
    case E1000_TDBAH:
    case E1000_CTRL_EXT:
    case E1000_FCAL:
    case 0x178:  /* TXCW */
    case 0x410:  /* TIPG */
    case 0xe00:  /* LEDCTL */
    case 0x2828: /* RXDCTL */
    case E1000_TXDCTL:
    case 0x3000: /* TXDMAC */
    case 0x3830: /* TSPMT */
    case 0x5800: /* WUC */
    case 0x5808: /* WUFC */
    case 0x5810: /* WUS */
    case 0x5820: /* MANC */
    case 0x5838: /* IPAV */
        return UINT32_MAX;
    default:
        return (off >= 0x5840 && off < 0x5860) || (off >= 0x5880 && off < 0x5890) ? UINT32_MAX : 0;
    }
}

static void write_reg(E1000 *s, unsigned off, uint32_t val)
{
    switch (off) {
    case E1000_CTRL:
    case E1000_CTRL + 4: /* the same register again */
        write_ctrl(s, val);
        return;
    case E1000_EECD:
        write_eecd(s, val);
        return;
    case E1000_EERD:
        write_eerd(s, val);
        return;
    case E1000_MDIC:
        write_mdic(s, val);
        return;
    case E1000_ICR:
        *e1000_reg(s, off) &= ~val;
        update_irq(s);
        return;
    case E1000_ICS:
        e1000_raise(s, val);
        return;
    case E1000_IMS:
        *e1000_reg(s, off) |= val & E1000_INT_ALL;
        update_irq(s);
        return;
    case E1000_IMC:
        *e1000_reg(s, E1000_IMS) &= ~val;
        update_irq(s);
        return;
    case E1000_RCTL:
        *e1000_reg(s, off) = val & 0x07dffffe;
        net_flush(&s->port);
        return;
    case E1000_TCTL:
        *e1000_reg(s, off) = val & 0x03fffffa;
        e1000_transmit(s);
        return;
    case E1000_RDT:
        *e1000_reg(s, off) = val & 0xffff;
        net_flush(&s->port);
        return;
    case E1000_TDT:
        *e1000_reg(s, off) = val & 0xffff;
        e1000_transmit(s);
        return;
    default:
        break;
    }
    uint32_t mask = plain_mask(off);
    if (mask) {
        *e1000_reg(s, off) = val & mask;
        if (off == E1000_RDTR && val >> 31) { /* flush: interrupt now */
            timer_del(&s->rx_timer);
            rx_delay_expired(s);
        }
    } else if (off < E1000_STATS || off >= E1000_STATS + 0x100) {
        guest_error("e1000: write of %08x to register %04x", val, off);
    }
}

static uint32_t read_reg(E1000 *s, unsigned off)
{
    uint32_t v = *e1000_reg(s, off);

    if (off >= E1000_STATS && off < E1000_STATS + 0x100) {
        /* Reading clears; of 64-bit counters the upper half does it for both. */
        bool low =
            off == E1000_GORCL || off == E1000_GOTCL || off == E1000_TORL || off == E1000_TOTL;
        bool high = off == E1000_GORCL + 4 || off == E1000_GOTCL + 4 || off == E1000_TORL + 4 ||
                    off == E1000_TOTL + 4;
        if (!low) {
            *e1000_reg(s, off) = 0;
        }
        if (high) {
            *e1000_reg(s, off - 4) = 0;
        }
        return v;
    }
    switch (off) {
    case E1000_CTRL + 4:
        return *e1000_reg(s, E1000_CTRL);
    case E1000_EECD:
        return (v & ~EECD_DO) | (s->eeprom.dout ? EECD_DO : 0);
    case E1000_ICR:
        *e1000_reg(s, off) = 0;
        update_irq(s);
        return v;
    case E1000_ICS:
    case E1000_IMC:
        return 0;
    default:
        return v;
    }
}

static uint64_t mmio_read(void *opaque, uint64_t off, unsigned size)
{
    return off < E1000_REG_BYTES ? read_reg(opaque, off & ~3u) : 0;
}

static void mmio_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    if (off < E1000_REG_BYTES) {
        write_reg(opaque, off & ~3u, (uint32_t)val);
    }
}

/* IOADDR and IODATA: a window to all registers. */
static uint64_t io_read(void *opaque, uint64_t off, unsigned size)
{
    E1000 *s = opaque;

    return off == 0 ? s->io_addr : off == 4 ? mmio_read(s, s->io_addr, 4) : 0;
}

static void io_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    E1000 *s = opaque;

    if (off == 0) {
        s->io_addr = val & (E1000_MMIO_SIZE - 1) & ~3u;
    } else if (off == 4) {
        mmio_write(s, s->io_addr, val, 4);
    }
}

static const MemOps mmio_ops = {
    .read = mmio_read, .write = mmio_write, .impl_min = 4, .impl_max = 4};
static const MemOps io_ops = {.read = io_read, .write = io_write, .impl_min = 4, .impl_max = 4};

/* ---- device ---- */

static const PciInfo pci_info = {
    .vendor_id = 0x8086,
    .device_id = 0x100e,
    .revision = 3,
    .class_code = 0x020000,
    .int_pin = 1,
};

static const NetPortOps port_ops = {
    .kind = "nic",
    .can_receive = e1000_can_receive,
    .receive = e1000_receive,
    .link_changed = link_changed,
};

static void e1000_reset(Device *dev)
{
    E1000 *s = (E1000 *)dev;

    pci_device_reset(&s->pci);
    timer_del(&s->link_timer);
    s->link_wait = false;
    eeprom_fill(s);
    eeprom93c46_reset(&s->eeprom);
    mac_reset(s);
    phy_reset(s);
}

static void e1000_unrealize(Device *dev)
{
    E1000 *s = (E1000 *)dev;

    timer_del(&s->itr_timer);
    timer_del(&s->rx_timer);
    timer_del(&s->tx_timer);
    timer_del(&s->link_timer);
    timer_del(&s->tx_work);
    net_nic_fini(&s->port);
    pci_device_fini(&s->pci);
    mem_region_destroy(&s->mmio);
    mem_region_destroy(&s->io);
}

static bool e1000_realize(Device *dev, GError **err)
{
    E1000 *s = (E1000 *)dev;

    if (!pci_device_init(&s->pci, &pci_info, err)) {
        return false;
    }
    if (!net_nic_init(&s->port, dev, &port_ops, s->netdev, s->mac, err)) {
        pci_device_fini(&s->pci);
        return false;
    }
    s->clock = dev->machine->virtual_clock;
    timer_init(&s->itr_timer, s->clock, itr_expired, s);
    timer_init(&s->rx_timer, s->clock, rx_delay_expired, s);
    timer_init(&s->tx_timer, s->clock, tx_delay_expired, s);
    timer_init(&s->link_timer, s->clock, link_negotiated, s);
    timer_init(&s->tx_work, s->clock, tx_work, s);
    mem_region_init_io(&s->mmio, "e1000-mmio", &mmio_ops, s, E1000_MMIO_SIZE);
    mem_region_init_io(&s->io, "e1000-io", &io_ops, s, 64);
    pci_add_bar(&s->pci, 0, 0, &s->mmio);
    pci_add_bar(&s->pci, 2, PCI_BAR_IO, &s->io);
    if (firmware_add_option_rom(&s->pci, "efi-e1000.rom", err)) {
        return true;
    }
    e1000_unrealize(dev);
    return false;
}

static bool post_load(void *obj, GError **err)
{
    E1000 *s = obj;

    return (s->tx_len <= E1000_FRAME_MAX && s->io_addr < E1000_MMIO_SIZE && s->rx_deadline >= -1 &&
            s->tx_deadline >= -1) ||
           fail(err, "The saved state of e1000 is impossible");
}

static const StateField context_fields[] = {STATE_U8(E1000Context, ipcss),
                                            STATE_U8(E1000Context, ipcso),
                                            STATE_U8(E1000Context, tucss),
                                            STATE_U8(E1000Context, tucso),
                                            STATE_U8(E1000Context, hdrlen),
                                            STATE_U16(E1000Context, ipcse),
                                            STATE_U16(E1000Context, tucse),
                                            STATE_U16(E1000Context, mss),
                                            STATE_BOOL(E1000Context, tcp),
                                            STATE_BOOL(E1000Context, ip4),
                                            STATE_END_FIELD};
static const StateTable context_state = {.name = "context", .version = 1, .fields = context_fields};

static const StateField fields[] = {PCI_STATE(E1000, pci),
                                    STATE_U32_ARRAY(E1000, reg),
                                    STATE_U16_ARRAY(E1000, phy),
                                    STATE_U32(E1000, io_addr),
                                    STATE_STRUCT_ARRAY(E1000, eeprom, Eeprom, &eeprom93c46_state),
                                    STATE_BOOL(E1000, link_wait),
                                    STATE_TIMER(E1000, itr_timer),
                                    STATE_TIMER(E1000, rx_timer),
                                    STATE_TIMER(E1000, tx_timer),
                                    STATE_TIMER(E1000, link_timer),
                                    STATE_TIMER(E1000, tx_work),
                                    STATE_I64(E1000, next_irq),
                                    STATE_I64(E1000, rx_deadline),
                                    STATE_I64(E1000, tx_deadline),
                                    STATE_STRUCT_ARRAY(E1000, off, E1000Context, &context_state),
                                    STATE_STRUCT_ARRAY(E1000, tso, E1000Context, &context_state),
                                    STATE_U32(E1000, tx_len),
                                    STATE_BOOL(E1000, tx_tso),
                                    STATE_BOOL(E1000, tx_drop),
                                    STATE_BOOL(E1000, tx_vlan),
                                    STATE_U8(E1000, tx_popts),
                                    STATE_U16(E1000, tx_tag),
                                    STATE_BOOL(E1000, tx_started),
                                    STATE_U8_ARRAY(E1000, tx_buf),
                                    STATE_END_FIELD};
static const StateTable state = {
    .name = "e1000", .version = 1, .fields = fields, .post_load = post_load};

static const Property props[] = {
    PCI_PROPERTIES(E1000),
    {"netdev", PROP_NETDEV, offsetof(E1000, netdev), NULL, "id of the -netdev"},
    {"mac", PROP_MAC, offsetof(E1000, mac), NULL, "Ethernet address"},
    {NULL},
};

const DeviceType e1000_type = {
    .name = "e1000",
    .alias = "e1000-82540em",
    .desc = "Intel 82540EM gigabit Ethernet",
    .bus = "PCI",
    .size = sizeof(E1000),
    .user_creatable = true,
    .props = props,
    .realize = e1000_realize,
    .unrealize = e1000_unrealize,
    .reset = e1000_reset,
    .state = &state,
};
