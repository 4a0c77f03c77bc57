/*
 * Intel 82371AB (PIIX4), function 3: power management and SMBus.
 */
#ifndef RHEA_HW_ACPI_PIIX4_PM_H
#define RHEA_HW_ACPI_PIIX4_PM_H

#include "core/irq.h"
#include "core/machine.h"
#include "hw/pci/pci.h"

typedef struct Piix4Pm Piix4Pm;

/* Where PC firmware puts the registers (what the ACPI tables say). */
enum {
    PIIX4_PM_BASE = 0x600,
    PIIX4_SMBUS_BASE = 0x700,
    PIIX4_SCI_IRQ = 9,
    PIIX4_SMI_CMD = 0xb2,
    PIIX4_ACPI_ENABLE = 0xf1,
    PIIX4_ACPI_DISABLE = 0xf0,
};

typedef struct Piix4PmConfig {
    Clock *clock; /* virtual; of the PM timer */
    Irq sci;      /* level; ISA interrupt 9 */
    /* SMI# out. NULL: the machine has no SMM, and firmware is told that it is set up already. */
    void (*smi)(void *opaque);
    void *smi_opaque;
    uint64_t ram_size; /* what the memory modules' SPD EEPROMs on the SMBus tell; 0 = none */
} Piix4PmConfig;

/* Function @devfn of @bus; ports B2h/B3h in @m->io_root. Writing SLP_EN with S5 (or S4) asks for
 * machine_request_shutdown(). */
Piix4Pm *piix4_pm_new(Machine *m, PciBus *bus, int devfn, const Piix4PmConfig *cfg, GError **err);
/* Press the power button. */
void piix4_pm_power_button(Piix4Pm *s);
/* General purpose event @n (0…15) happened. */
void piix4_pm_gpe(Piix4Pm *s, unsigned n);
/* The sleep states the properties leave: for the ACPI tables. S4's SLP_TYP value in *@s4_val. */
bool piix4_pm_has_s4(const Piix4Pm *s, uint8_t *s4_val);

extern const DeviceType piix4_pm_type;

#endif
