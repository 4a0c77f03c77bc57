/*
 * Intel 82540EM gigabit Ethernet controller. Private to hw/net/e1000*.c; boards and users create
 * it as device "e1000".
 */
#ifndef RHEA_HW_NET_E1000_H
#define RHEA_HW_NET_E1000_H

#include "hw/net/eeprom93c46.h"
#include "hw/pci/pci.h"
#include "net/net.h"

#define E1000_MMIO_SIZE 0x20000
#define E1000_REG_BYTES 0x6000 /* what is above: packet memory and wake-up filters */
#define E1000_FRAME_MAX 65536  /* bytes that one send can gather */
#define E1000_JUMBO 16128      /* largest frame on the wire */

enum { /* register offsets */
       E1000_CTRL = 0x0000,
       E1000_STATUS = 0x0008,
       E1000_EECD = 0x0010,
       E1000_EERD = 0x0014,
       E1000_CTRL_EXT = 0x0018,
       E1000_MDIC = 0x0020,
       E1000_FCAL = 0x0028,
       E1000_FCAH = 0x002c,
       E1000_FCT = 0x0030,
       E1000_VET = 0x0038,
       E1000_ICR = 0x00c0,
       E1000_ITR = 0x00c4,
       E1000_ICS = 0x00c8,
       E1000_IMS = 0x00d0,
       E1000_IMC = 0x00d8,
       E1000_RCTL = 0x0100,
       E1000_TCTL = 0x0400,
       E1000_PBA = 0x1000,
       E1000_RDBAL = 0x2800,
       E1000_RDBAH = 0x2804,
       E1000_RDLEN = 0x2808,
       E1000_RDH = 0x2810,
       E1000_RDT = 0x2818,
       E1000_RDTR = 0x2820,
       E1000_RADV = 0x282c,
       E1000_RSRPD = 0x2c00,
       E1000_TDBAL = 0x3800,
       E1000_TDBAH = 0x3804,
       E1000_TDLEN = 0x3808,
       E1000_TDH = 0x3810,
       E1000_TDT = 0x3818,
       E1000_TIDV = 0x3820,
       E1000_TXDCTL = 0x3828,
       E1000_TADV = 0x382c,
       E1000_STATS = 0x4000,
       E1000_MPC = 0x4010,
       E1000_PRC64 = 0x405c,
       E1000_GPRC = 0x4074,
       E1000_BPRC = 0x4078,
       E1000_MPRC = 0x407c,
       E1000_GPTC = 0x4080,
       E1000_GORCL = 0x4088,
       E1000_GOTCL = 0x4090,
       E1000_RNBC = 0x40a0,
       E1000_RUC = 0x40a4,
       E1000_ROC = 0x40ac,
       E1000_TORL = 0x40c0,
       E1000_TOTL = 0x40c8,
       E1000_TPR = 0x40d0,
       E1000_TPT = 0x40d4,
       E1000_PTC64 = 0x40d8,
       E1000_MPTC = 0x40f0,
       E1000_BPTC = 0x40f4,
       E1000_TSCTC = 0x40f8,
       E1000_TSCTFC = 0x40fc,
       E1000_RXCSUM = 0x5000,
       E1000_MTA = 0x5200,
       E1000_RA = 0x5400,
       E1000_VFTA = 0x5600,
};

enum { /* interrupt causes */
       E1000_INT_TXDW = 1 << 0,
       E1000_INT_TXQE = 1 << 1,
       E1000_INT_LSC = 1 << 2,
       E1000_INT_RXDMT0 = 1 << 4,
       E1000_INT_RXO = 1 << 6,
       E1000_INT_RXT0 = 1 << 7,
       E1000_INT_MDAC = 1 << 9,
       E1000_INT_TXD_LOW = 1 << 15,
       E1000_INT_SRPD = 1 << 16,
       E1000_INT_ALL = 0x1f6df,
};

#define E1000_CTRL_VME (1u << 30)

typedef struct E1000Context { /* of a context descriptor */
    uint8_t ipcss, ipcso, tucss, tucso, hdrlen;
    uint16_t ipcse, tucse, mss;
    bool tcp, ip4;
} E1000Context;

typedef struct E1000 {
    PciDevice pci;
    NetPort port;
    char *netdev;
    uint8_t mac[6];
    MemRegion mmio, io;
    uint32_t reg[E1000_REG_BYTES / 4];
    uint16_t phy[32];
    uint32_t io_addr;
    Eeprom eeprom;
    bool link_wait;
    Clock *clock;
    Timer itr_timer, rx_timer, tx_timer, link_timer, tx_work;
    int64_t next_irq;                 /* ITR: not before */
    int64_t rx_deadline, tx_deadline; /* absolute delay timers; -1: not running */
    /* The frame being gathered; what was read of it is kept between kicks. */
    E1000Context off, tso; /* contexts for checksum offload and for segmentation */
    uint32_t tx_len;
    bool tx_tso, tx_drop, tx_vlan;
    uint8_t tx_popts;
    uint16_t tx_tag;
    bool tx_started; /* popts of this frame are known */
    uint8_t tx_buf[E1000_FRAME_MAX];
} E1000;

static inline uint32_t *e1000_reg(E1000 *s, unsigned off)
{
    return &s->reg[off >> 2];
}

static inline E1000 *e1000_of(NetPort *p)
{
    return (E1000 *)((char *)p - offsetof(E1000, port));
}

/* e1000.c */
void e1000_raise(E1000 *s, uint32_t causes);
/* Counters stop at their end. */
void e1000_count(E1000 *s, unsigned stat, uint32_t n);
void e1000_count64(E1000 *s, unsigned stat_low, uint64_t n);
/* 0…5: the size class of a frame of @len bytes with FCS, for PRC64… and PTC64…. */
unsigned e1000_size_class(size_t len);

/* e1000_tx.c: send what is between TDH and TDT, a bounded amount at once. */
void e1000_transmit(E1000 *s);
/* Forget the frame that is being gathered. */
void e1000_tx_reset(E1000 *s);

/* e1000_rx.c */
bool e1000_can_receive(NetPort *p);
bool e1000_receive(NetPort *p, const uint8_t *buf, size_t len);
/* A frame that was sent with loopback on. */
void e1000_loop_back(E1000 *s, const uint8_t *buf, size_t len);

#endif
