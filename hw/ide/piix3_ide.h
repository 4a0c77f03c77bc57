/*
 * Intel 82371SB (PIIX3), function 1: two IDE channels with bus mastering at the legacy ports.
 */
#ifndef RHEA_HW_IDE_PIIX3_IDE_H
#define RHEA_HW_IDE_PIIX3_IDE_H

#include "core/machine.h"
#include "hw/ide/ata.h"
#include "hw/pci/pci.h"

typedef struct Piix3Ide Piix3Ide;

/* @irq: ISA interrupts 14 and 15. */
Piix3Ide *piix3_ide_new(Machine *m, PciBus *bus, int devfn, const Irq irq[2], GError **err);
/* @channel 0…1, @unit 0 (master) or 1. Takes cfg->block, also on failure. */
bool piix3_ide_attach(Piix3Ide *s, unsigned channel, unsigned unit, const AtaDriveConfig *cfg,
                      GError **err);
/* NULL when there is no drive. */
AtaDrive *piix3_ide_drive(Piix3Ide *s, unsigned channel, unsigned unit);

extern const DeviceType piix3_ide_type, ide_hd_type, ide_cd_type;

#endif
