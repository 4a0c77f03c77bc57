/*
 * The differentiated description: PCI host bridge, interrupt links, ISA devices, sleep states.
 * ACPI specification 6.4, chapters 6 and 9; PIRQ registers: 82371SB data sheet, 60h–63h.
 */
#include "hw/acpi/acpi_dsdt.h"
#include "hw/acpi/aml.h"
#include "hw/acpi/piix4_pm.h"

#define PCI_IO_HOLE 0xcf8 /* the configuration ports are not the bridge's to pass on */
/* Where SeaBIOS puts 64-bit base addresses that do not fit below 4 GiB. */
#define PCI_HIGH_START 0x8000000000ull
#define PCI_HIGH_END 0xffffffffffull

static const char *const link_names[4] = {"LNKA", "LNKB", "LNKC", "LNKD"};
static const char *const pirq_names[4] = {"PRQA", "PRQB", "PRQC", "PRQD"};

/* ---- PCI ---- */

static void add_prt(Aml *a)
{
    aml_name(a, "_PRT");
    aml_package(a, 32 * 4);
    for (unsigned slot = 0; slot < 32; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            aml_package(a, 4);
            aml_int(a, slot << 16 | 0xffff);
            aml_int(a, pin);
            if (slot == 1 && pin == 0) {
                /* The power management function: hardwired to SCI. */
                aml_int(a, 0);
                aml_int(a, PIIX4_SCI_IRQ);
            } else {
                aml_path(a, link_names[(slot + pin + 3) & 3]);
                aml_int(a, 0);
            }
            aml_end(a);
        }
    }
    aml_end(a);
}

static void add_pci_crs(Aml *a, const AcpiPcConfig *cfg)
{
    aml_name(a, "_CRS");
    aml_resources(a);
    aml_res_word_bus(a, 0, 255);
    aml_res_io(a, PCI_IO_HOLE, PCI_IO_HOLE, 1, 8);
    aml_res_word_io(a, 0, PCI_IO_HOLE - 1);
    aml_res_word_io(a, PCI_IO_HOLE + 8, 0xffff);
    aml_res_dword_memory(a, true, 0xa0000, 0xbffff);
    aml_res_dword_memory(a, false, (uint32_t)((cfg->layout.below_4g + 0xfff) & ~0xfffull),
                         (uint32_t)PC_PCI_HOLE_END - 1);
    if (cfg->phys_bits >= 40 && PC_HIGH_RAM + cfg->layout.above_4g <= PCI_HIGH_START) {
        aml_res_qword_memory(a, true, PCI_HIGH_START, PCI_HIGH_END);
    }
    aml_end(a);
}

/* PIRQ routing registers as link devices. */
static void add_link(Aml *a, unsigned n)
{
    static const uint32_t possible[] = {5, 10, 11};
    static const uint32_t none[] = {0};
    const char *reg = pirq_names[n];
    g_autofree char *path = g_strdup_printf("\\_SB.PCI0.ISA.%s", reg);

    aml_device(a, link_names[n]);
    aml_name_eisa(a, "_HID", "PNP0C0F");
    aml_name_int(a, "_UID", n + 1);
    aml_name(a, "_PRS");
    aml_resources(a);
    aml_res_interrupt(a, possible, G_N_ELEMENTS(possible));
    aml_end(a);

    aml_method(a, "_STA", 0, false); /* present; active unless bit 7 is set */
    aml_if(a);
    aml_and(a);
    aml_path(a, path);
    aml_int(a, 0x80);
    aml_null(a);
    aml_return(a);
    aml_int(a, 0x09);
    aml_end(a);
    aml_return(a);
    aml_int(a, 0x0b);
    aml_end(a);

    aml_method(a, "_DIS", 0, false);
    aml_or(a);
    aml_path(a, path);
    aml_int(a, 0x80);
    aml_path(a, path);
    aml_end(a);

    aml_method(a, "_CRS", 0, true);
    aml_name(a, "BUF0");
    aml_resources(a);
    aml_res_interrupt(a, none, 1);
    aml_end(a);
    aml_create_dword_field(a);
    aml_path(a, "BUF0");
    aml_int(a, 5); /* the number in an extended interrupt descriptor */
    aml_path(a, "IRQV");
    aml_store(a);
    aml_path(a, path);
    aml_local(a, 0);
    aml_if(a);
    aml_and(a);
    aml_local(a, 0);
    aml_int(a, 0x80);
    aml_null(a);
    aml_else(a); /* closed below: If () {} Else {} needs the If to be closed first */
    aml_end(a);
    aml_end(a);
    aml_end(a);
    aml_end(a);
}

