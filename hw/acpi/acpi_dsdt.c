/*
 * The differentiated description: PCI host bridge, interrupt links, ISA devices, sleep states.
 * ACPI specification 6.4, chapters 6 and 9; PIRQ registers: 82371SB data sheet, 60h–63h.
 */
#include "hw/acpi/acpi_dsdt.h"
#include "hw/acpi/aml.h"
#include "hw/acpi/piix4_pm.h"
#include <string.h>

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

    aml_name(a, "BUF0");
    aml_resources(a);
    aml_res_interrupt(a, none, 1);
    aml_end(a);
    aml_method(a, "_CRS", 0, true);
    aml_create_dword_field(a);
    aml_path(a, "BUF0");
    aml_int(a, 5); /* the number in an extended interrupt descriptor */
    aml_path(a, "IRQV");
    aml_if(a); /* not routed: number 0 */
    aml_and(a);
    aml_path(a, path);
    aml_int(a, 0x80);
    aml_null(a);
    aml_store(a);
    aml_int(a, 0);
    aml_path(a, "IRQV");
    aml_return(a);
    aml_path(a, "BUF0");
    aml_end(a);
    aml_and(a);
    aml_path(a, path);
    aml_int(a, 0x0f);
    aml_path(a, "IRQV");
    aml_return(a);
    aml_path(a, "BUF0");
    aml_end(a);

    aml_method(a, "_SRS", 1, true);
    aml_create_dword_field(a);
    aml_arg(a, 0);
    aml_int(a, 5);
    aml_path(a, "IRQW");
    aml_store(a);
    aml_path(a, "IRQW");
    aml_path(a, path);
    aml_end(a);
    aml_end(a);
}

/* ---- ISA devices ---- */

static void isa_device(Aml *a, const char *name, const char *hid, unsigned uid)
{
    aml_device(a, name);
    aml_name_eisa(a, "_HID", hid);
    if (uid) {
        aml_name_int(a, "_UID", uid);
    }
    aml_name_int(a, "_STA", 0x0f);
    aml_name(a, "_CRS");
    aml_resources(a);
}

static void isa_device_end(Aml *a)
{
    aml_end(a); /* resources */
    aml_end(a); /* device */
}

static void add_ports(Aml *a, const AcpiPcConfig *cfg)
{
    static const uint16_t com_io[4] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
    static const uint8_t com_irq[4] = {4, 3, 4, 3};
    static const uint16_t lpt_io[3] = {0x378, 0x278, 0x3bc};
    static const uint8_t lpt_irq[3] = {7, 5, 7};
    char name[] = "COM1";

    for (unsigned i = 0; i < 4; i++) {
        if (cfg->serial & (1u << i)) {
            name[3] = (char)('1' + i);
            isa_device(a, name, "PNP0501", i + 1);
            aml_res_io(a, com_io[i], com_io[i], 8, 8);
            aml_res_irq1(a, com_irq[i]);
            isa_device_end(a);
        }
    }
    memcpy(name, "LPT", 3);
    for (unsigned i = 0; i < 3; i++) {
        if (cfg->parallel & (1u << i)) {
            name[3] = (char)('1' + i);
            isa_device(a, name, "PNP0400", i + 1);
            aml_res_io(a, lpt_io[i], lpt_io[i], 8, i == 2 ? 4 : 8);
            aml_res_irq1(a, lpt_irq[i]);
            isa_device_end(a);
        }
    }
}

static void add_isa(Aml *a, const AcpiPcConfig *cfg)
{
    aml_device(a, "ISA");
    aml_name_int(a, "_ADR", 0x00010000);
    aml_region(a, "PIRQ", 2, 0x60, 4);
    aml_field(a, "PIRQ", 1);
    for (unsigned i = 0; i < 4; i++) {
        aml_field_unit(a, pirq_names[i], 8);
    }
    aml_end(a);
    if (cfg->rtc) {
        isa_device(a, "RTC", "PNP0B00", 0);
        aml_res_io(a, 0x70, 0x70, 1, 8);
        aml_res_irq1(a, 8);
        isa_device_end(a);
    }
    if (cfg->keyboard) {
        isa_device(a, "KBD", "PNP0303", 0);
        aml_res_io(a, 0x60, 0x60, 1, 1);
        aml_res_io(a, 0x64, 0x64, 1, 1);
        aml_res_irq1(a, 1);
        isa_device_end(a);
    }
    if (cfg->mouse) {
        isa_device(a, "MOU", "PNP0F13", 0);
        aml_res_irq1(a, 12);
        isa_device_end(a);
    }
    if (cfg->floppy) {
        isa_device(a, "FDC0", "PNP0700", 0);
        aml_res_io(a, 0x3f2, 0x3f2, 0, 4);
        aml_res_io(a, 0x3f7, 0x3f7, 0, 1);
        aml_res_irq1(a, 6);
        aml_res_dma(a, 1 << 2);
        isa_device_end(a);
    }
    add_ports(a, cfg);
    aml_end(a);
}

/* What the board decodes and no other device claims. */
static void add_board(Aml *a, const AcpiPcConfig *cfg)
{
    isa_device(a, "MRES", "PNP0C02", 0);
    aml_res_io(a, 0x4d0, 0x4d0, 1, 2); /* ELCR */
    aml_res_io(a, PIIX4_SMI_CMD, PIIX4_SMI_CMD, 1, 2);
    aml_res_io(a, 0x92, 0x92, 1, 1);
    aml_res_io(a, PIIX4_PM_BASE, PIIX4_PM_BASE, 1, 0x40);
    aml_res_io(a, PIIX4_SMBUS_BASE, PIIX4_SMBUS_BASE, 1, 0x10);
    isa_device_end(a);

    aml_device(a, "FWCF");
    aml_name_string(a, "_HID", "QEMU0002");
    aml_name_int(a, "_STA", 0x0b); /* not for people to see */
    aml_name(a, "_CRS");
    aml_resources(a);
    aml_res_io(a, 0x510, 0x510, 1, 12);
    aml_end(a);
    aml_end(a);

    if (cfg->hpet) {
        aml_device(a, "HPET");
        aml_name_eisa(a, "_HID", "PNP0103");
        aml_name_int(a, "_UID", 0);
        aml_name_int(a, "_STA", 0x0f);
        aml_name(a, "_CRS");
        aml_resources(a);
        aml_res_memory32(a, false, 0xfed00000, 0x400);
        aml_end(a);
        aml_end(a);
    }
}

/* \_Sn: SLP_TYP values for PM1a and PM1b. */
static void add_sleep(Aml *a, const char *name, unsigned typ)
{
    aml_name(a, name);
    aml_package(a, 4);
    aml_int(a, typ);
    aml_int(a, typ);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_end(a);
}

void acpi_write_dsdt(Aml *a, const AcpiPcConfig *cfg)
{
    aml_scope(a, "\\_SB");
    aml_device(a, "PCI0");
    aml_name_eisa(a, "_HID", "PNP0A03");
    aml_name_int(a, "_UID", 0);
    add_pci_crs(a, cfg);
    add_prt(a);
    add_isa(a, cfg);
    aml_end(a);
    for (unsigned i = 0; i < 4; i++) {
        add_link(a, i);
    }
    add_board(a, cfg);
    aml_end(a);
    if (cfg->s4) {
        add_sleep(a, "\\_S4", cfg->s4_val);
    }
    add_sleep(a, "\\_S5", 0);
}
