/*
 * Standard VGA with the Bochs VBE extension, as PCI device "VGA" and as ISA device "isa-vga".
 */
#ifndef RHEA_HW_VGA_H
#define RHEA_HW_VGA_H

#include "hw/isa/isa.h"
#include "hw/pci/pci.h"

extern const DeviceType vga_pci_type, isa_vga_type;

/* On @bus at @devfn (-1: first free); the ROM is vgabios-stdvga.bin. */
Device *vga_new_pci(PciBus *bus, int devfn, GError **err);
/* Frame buffer at E0000000h; the board loads vgabios-isavga.bin at C0000h. */
Device *vga_new_isa(IsaBus *isa, GError **err);

#endif
