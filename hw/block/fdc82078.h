/*
 * Floppy controller 82078 with its drives, at ports 3F0–3F5 and 3F7: "isa-fdc".
 */
#ifndef RHEA_HW_FDC82078_H
#define RHEA_HW_FDC82078_H

#include "block/drive.h"
#include "hw/isa/isa.h"

typedef struct Fdc Fdc;
extern const DeviceType isa_fdc_type;

/* Values as CMOS byte 10h has them. */
typedef enum {
    FDC_DRIVE_NONE,
    FDC_DRIVE_360K,
    FDC_DRIVE_1200K,
    FDC_DRIVE_720K,
    FDC_DRIVE_1440K,
    FDC_DRIVE_2880K
} FdcDriveType;

/* Ports 3F0h, interrupt 6, DMA channel 2 of a PC: iobase 0x3f0, irq 6, dma 2. @isa->dma exists. */
Fdc *fdc_new(IsaBus *isa, uint16_t iobase, int irq, int dma, GError **err);
/* Fit drive @unit (0…3) with @media, which the controller takes over; NULL: an empty 1.44 M
 * drive. The image's size decides the format (160K … 2.88M) and the type of the drive. */
bool fdc_attach(Fdc *s, unsigned unit, BlockDev *media, GError **err);
/* Another disk (or NULL: none) into a drive that is there. */
bool fdc_change_media(Fdc *s, unsigned unit, BlockDev *media, GError **err);
/* @spec (taken for this unit) is what the operator changes it by, and goes with it. True. */
bool fdc_set_drive(Fdc *s, unsigned unit, DriveSpec *spec);
FdcDriveType fdc_drive_type(const Fdc *s, unsigned unit);
/* "floppy0: FILE (1.44M, read only)" lines; caller frees. */
char *fdc_info(const Fdc *s);

#endif
