/*
 * Cirrus Logic CL-GD5446 graphics adapter: PCI device "cirrus-vga".
 */
#ifndef RHEA_HW_CIRRUS_H
#define RHEA_HW_CIRRUS_H

#include "hw/pci/pci.h"

extern const DeviceType cirrus_vga_type;

/* On @bus at @devfn (-1: first free); the ROM is vgabios-cirrus.bin. */
Device *cirrus_new(PciBus *bus, int devfn, GError **err);

#endif
