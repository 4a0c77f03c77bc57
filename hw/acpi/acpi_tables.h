/*
 * The ACPI tables of machine pc, given to firmware as fw_cfg files "etc/acpi/tables",
 * "etc/acpi/rsdp" and the script "etc/table-loader" by which it puts them into memory.
 */
#ifndef RHEA_HW_ACPI_ACPI_TABLES_H
#define RHEA_HW_ACPI_ACPI_TABLES_H

#include "hw/firmware/fw_cfg.h"
#include "hw/pci/i440fx.h"

typedef struct AcpiPcConfig {
    PcMemoryLayout layout;
    unsigned n_cpus;
    const uint8_t *apic_ids; /* n_cpus of them; NULL: 0, 1, 2 … */
    unsigned phys_bits;      /* of the CPU; decides about a PCI window above 4 GiB */
    bool hpet, vga, rtc, keyboard, mouse, floppy;
    uint8_t serial;   /* bit n: COM(n+1) is there */
    uint8_t parallel; /* bit n: LPT(n+1) */
    bool s4;
    uint8_t s4_val; /* SLP_TYP of S4 */
} AcpiPcConfig;

/* Builds all tables and adds the three files. */
bool acpi_tables_install(FwCfg *fw, const AcpiPcConfig *cfg, GError **err);

/* The bodies of single tables, with header and checksum (for tests). Caller owns. */
GByteArray *acpi_build_dsdt(const AcpiPcConfig *cfg);
GByteArray *acpi_build_ssdt(const AcpiPcConfig *cfg);
GByteArray *acpi_build_madt(const AcpiPcConfig *cfg);

#endif
