/* UHCI controller of the PIIX3, as the board fits it; users make more with -device. */
#ifndef RHEA_HW_USB_UHCI_H
#define RHEA_HW_USB_UHCI_H

#include "hw/pci/pci.h"

bool piix3_uhci_new(Machine *m, PciBus *bus, int devfn, GError **err);

#endif
