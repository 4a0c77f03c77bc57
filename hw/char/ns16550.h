/*
 * 16550A UART, as a part (Uart16550, for any bus) and as the ISA device "isa-serial".
 */
#ifndef RHEA_HW_NS16550_H
#define RHEA_HW_NS16550_H

#include "chardev/chardev.h"
#include "core/clock.h"
#include "core/device.h"
#include "core/irq.h"
#include "core/memory.h"
#include "hw/isa/isa.h"

#define UART16550_FIFO 16
#define UART16550_IO_SIZE 8

/* The part. Embed it; the members are the implementation's. */
typedef struct Uart16550 {
    Clock *clock;
    Irq irq;
    bool gate_out2; /* PC boards: OUT2 enables the interrupt line */
    ChardevFront *front;
    uint32_t base_baud; /* rate of divisor 1 */

    uint8_t ier, fcr, lcr, mcr, msr, scr;
    uint8_t line_err; /* OE PE FE BI, until LSR is read */
    uint16_t divisor;
    uint8_t rbr; /* what a read of an empty receiver gives */
    uint8_t rx[UART16550_FIFO], rx_err[UART16550_FIFO];
    uint8_t rx_head, rx_count;
    uint8_t tx[UART16550_FIFO];
    uint8_t tx_head, tx_count;
    bool thre_pending;    /* transmitter-empty interrupt not acknowledged yet */
    bool timeout_pending; /* character timeout */
    bool has_modem;       /* the back end has modem lines of its own */
    Timer timeout, modem_poll;
} Uart16550;

extern const StateTable uart16550_state;
extern const MemOps uart16550_ops; /* opaque = Uart16550 *, byte registers */

/* @chr may be NULL: nothing is connected. False when @chr is taken. */
bool uart16550_init(Uart16550 *u, Clock *clock, Irq irq, Chardev *chr, GError **err);
void uart16550_fini(Uart16550 *u);
void uart16550_reset(Uart16550 *u);
uint8_t uart16550_read(Uart16550 *u, unsigned reg);
void uart16550_write(Uart16550 *u, unsigned reg, uint8_t val);

/* -device isa-serial,chardev=,index=,iobase=,irq= */
extern const DeviceType isa_serial_type;
typedef struct Ns16550 Ns16550;
/* Serial port at @iobase; @chr may be NULL. Plugged into @isa, freed with it. */
Ns16550 *ns16550_new_isa(IsaBus *isa, uint16_t iobase, int irq, Chardev *chr, GError **err);

#endif
