/* What usb.c and usb_device.c share. */
#ifndef RHEA_HW_USB_USB_INT_H
#define RHEA_HW_USB_USB_INT_H

#include "hw/usb/usb.h"

/* A free port of @d's bus, by its "port" property; makes room with a hub. NULL and @err. */
UsbPort *usb_choose_port(UsbDevice *d, GError **err);
/* Root ports are in tier 1. */
unsigned usb_tier(const UsbPort *port);
/* One transaction with this device; see usb_transact(). */
int usb_device_packet(UsbDevice *d, uint8_t pid, unsigned ep, uint8_t *buf, unsigned len);

#endif
