/* The AML of machine pc's DSDT; used by acpi_tables.c. */
#ifndef RHEA_HW_ACPI_ACPI_DSDT_H
#define RHEA_HW_ACPI_ACPI_DSDT_H

#include "hw/acpi/acpi_tables.h"
#include "hw/acpi/aml.h"

void acpi_write_dsdt(Aml *a, const AcpiPcConfig *cfg);

#endif
