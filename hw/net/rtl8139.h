/*
 * Realtek RTL8139C+ fast Ethernet controller. Private to hw/net/rtl8139*.c; boards and users
 * create it as device "rtl8139".
 */
#ifndef RHEA_HW_NET_RTL8139_H
#define RHEA_HW_NET_RTL8139_H

#include "hw/net/eeprom93c46.h"
#include "hw/pci/pci.h"
#include "net/net.h"

#define RTL_REGS 256
#define RTL_SEND_MAX 65536 /* bytes that one send of the C+ ring can gather */

enum { /* interrupt causes */
       RTL_ROK = 1,
       RTL_RER = 2,
       RTL_TOK = 4,
       RTL_TER = 8,
       RTL_RXOVW = 0x10,
       RTL_PUN = 0x20, /* and link change */
       RTL_FOVW = 0x40,
       RTL_TDU = 0x80,
       RTL_SWINT = 0x100,
       RTL_TIMEOUT = 0x4000,
};
enum { RTL_CR_BUFE = 1, RTL_CR_TE = 4, RTL_CR_RE = 8, RTL_CR_RST = 16 };
enum { RTL_CP_TX = 1, RTL_CP_RX = 2, RTL_CP_CHKSUM = 0x20, RTL_CP_VLAN = 0x40 };
enum { RTL_TSD_OWN = 0x2000, RTL_TSD_TOK = 0x8000 };
#define RTL_RX_WRAP 0x80

typedef struct RtlTally {
    uint64_t tx_ok, rx_ok, tx_err, rx_phys, rx_bcast;
    uint32_t rx_err, rx_mcast;
    uint16_t missed;
} RtlTally;

typedef struct Rtl8139 {
    PciDevice pci;
    NetPort port;
    char *netdev;
    uint8_t mac[6];
    MemRegion io, mem;
    Clock *clock;
    Timer timer;        /* TimerInt */
    int64_t timer_base; /* when TCTR was 0 */
    uint32_t timer_int;
    uint8_t idr[8], mar[8];
    uint32_t tsd[4], tsad[4];
    uint32_t rbstart, tcr, rcr, mpc;
    uint16_t cbr, capr, imr, isr, cpcr;
    uint8_t cr, cfg9346, config[6], mtps;
    uint16_t bmcr, anar, cscr, nwaytr, mulint;
    uint64_t tnpds, thpds, rdsar, dtccr;
    uint32_t cur_tx;   /* C mode descriptor that is next */
    uint32_t cp_tx[2]; /* index into the normal and high priority ring */
    uint32_t cp_rx;
    Eeprom eeprom;
    RtlTally tally;
    uint32_t tx_len; /* of the C+ frame being gathered */
    bool tx_drop, tx_open;
    uint8_t tx_buf[RTL_SEND_MAX];
} Rtl8139;

static inline Rtl8139 *rtl_of(NetPort *p)
{
    return (Rtl8139 *)((char *)p - offsetof(Rtl8139, port));
}

/* rtl8139.c */
void rtl_raise(Rtl8139 *s, uint16_t causes);
/* rtl8139_tx.c: C mode descriptors that were handed over; a ring of C+ mode (1: high priority). */
void rtl_send_c(Rtl8139 *s);
void rtl_send_cp(Rtl8139 *s, unsigned ring);
/* rtl8139_rx.c */
bool rtl_can_receive(NetPort *p);
bool rtl_receive(NetPort *p, const uint8_t *buf, size_t len);
uint32_t rtl_ring_size(const Rtl8139 *s);

#endif
