/* What the files of the UHCI controller share; see uhci.c. */
#ifndef RHEA_HW_USB_UHCI_INT_H
#define RHEA_HW_USB_UHCI_INT_H

#include "core/clock.h"
#include "hw/pci/pci.h"
#include "hw/usb/usb.h"

enum {
    CMD_RS = 0x01,
    CMD_HCRESET = 0x02,
    CMD_GRESET = 0x04,
    CMD_EGSM = 0x08,
    CMD_FGR = 0x10,
    CMD_SWDBG = 0x20,
    CMD_MASK = 0xff,
    STS_INT = 0x01,
    STS_ERROR = 0x02,
    STS_RESUME = 0x04,
    STS_HOST_ERROR = 0x08,
    STS_PROCESS_ERROR = 0x10,
    STS_HALTED = 0x20,
    UHCI_PORTS = 2,
    IDLE_FRAMES = 64,
};

typedef struct Uhci {
    PciDevice pci;
    UsbBus bus;
    UsbPort port[UHCI_PORTS];
    MemRegion io;
    Clock *clock;
    uint16_t cmd, sts, intr, frnum;
    uint32_t flbase;
    uint8_t sof;
    uint16_t portsc[UHCI_PORTS];
    bool ioc, short_packet; /* what STS_INT stands for */
    int64_t next;           /* when frame @frnum begins */
    uint32_t idle;          /* frames in which nothing moved */
    Timer timer;
} Uhci;

static inline bool uhci_running(const Uhci *s)
{
    return s->cmd & CMD_RS;
}

/* The interrupt line by the registers. */
void uhci_update_irq(Uhci *s);
/* Run/stop goes off, @status comes on. */
void uhci_stop(Uhci *s, uint16_t status);
/* The lists of frame s->frnum. */
void uhci_run_frame(Uhci *s);

#endif
