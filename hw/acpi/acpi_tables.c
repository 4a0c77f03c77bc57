/*
 * ACPI tables of machine pc and the loader script for firmware. ACPI specification 6.4, chapter 5
 * (FADT in the form of revision 3, which old systems read too); IA-PC HPET specification 1.0a,
 * 3.2.4; Windows ACPI Emulated Devices Table 1.0. Script: SeaBIOS src/fw/romfile_loader.h.
 */
#include "hw/acpi/acpi_tables.h"
#include "hw/acpi/acpi_dsdt.h"
#include "hw/acpi/piix4_pm.h"
#include <string.h>

#define TABLES_FILE "etc/acpi/tables"
#define RSDP_FILE "etc/acpi/rsdp"
#define LOADER_FILE "etc/table-loader"

enum {
    HEADER = 36,
    LOADER_ENTRY = 128,
    LOADER_NAME = 56,
    CMD_ALLOCATE = 1,
    CMD_POINTER = 2,
    CMD_CHECKSUM = 3,
    ZONE_HIGH = 1,
    ZONE_FSEG = 2,
};

/* FADT offsets. */
enum {
    F_FACS = 36,
    F_DSDT = 40,
    F_PROFILE = 45,
    F_SCI_INT = 46,
    F_SMI_CMD = 48,
    F_ACPI_ENABLE = 52,
    F_ACPI_DISABLE = 53,
    F_PM1A_EVT = 56,
    F_PM1A_CNT = 64,
    F_PM_TMR = 76,
    F_GPE0 = 80,
    F_PM1_EVT_LEN = 88,
    F_PM1_CNT_LEN = 89,
    F_PM_TMR_LEN = 91,
    F_GPE0_LEN = 92,
    F_LVL2_LAT = 96,
    F_LVL3_LAT = 98,
    F_CENTURY = 108,
    F_BOOT_ARCH = 109,
    F_FLAGS = 112,
    F_RESET_REG = 116,
    F_RESET_VALUE = 128,
    F_X_DSDT = 140,
    F_X_PM1A_EVT = 148,
    F_X_PM1A_CNT = 172,
    F_X_PM_TMR = 208,
    F_X_GPE0 = 220,
    F_SIZE = 244,

    FLAG_WBINVD = 1 << 0,
    FLAG_PROC_C1 = 1 << 2,
    FLAG_NO_SLEEP_BUTTON = 1 << 5,
    FLAG_NO_FIXED_RTC = 1 << 6,
    FLAG_RESET_REG = 1 << 10,

    ARCH_LEGACY = 1 << 0,
    ARCH_8042 = 1 << 1,
    ARCH_NO_VGA = 1 << 2,
    ARCH_NO_RTC = 1 << 5,
};

/* ---- tables ---- */

static void put(GByteArray *t, unsigned off, uint64_t val, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        t->data[off + i] = (uint8_t)(val >> (8 * i));
    }
}

static void append(GByteArray *t, uint64_t val, unsigned size)
{
    unsigned off = t->len;
    g_byte_array_set_size(t, off + size);
    put(t, off, val, size);
}

static GByteArray *table_new(const char *signature, unsigned revision, unsigned size)
{
    GByteArray *t = g_byte_array_new();

    g_byte_array_set_size(t, MAX(size, HEADER));
    memset(t->data, 0, t->len);
    memcpy(t->data, signature, 4);
    t->data[8] = (uint8_t)revision;
    memcpy(t->data + 10, "RHEA  ", 6);
    memcpy(t->data + 16, "RHEAPC  ", 8);
    put(t, 24, 1, 4);
    memcpy(t->data + 28, "RHEA", 4);
    put(t, 32, 1, 4);
    return t;
}

/* Length and checksum. The loader adds checksums again after it changed pointers. */
static GByteArray *table_done(GByteArray *t)
{
    uint8_t sum = 0;

    put(t, 4, t->len, 4);
    t->data[9] = 0;
    for (unsigned i = 0; i < t->len; i++) {
        sum += t->data[i];
    }
    t->data[9] = (uint8_t)-sum;
    return t;
}

GByteArray *acpi_build_dsdt(const AcpiPcConfig *cfg)
{
    Aml a;

    aml_init(&a);
    acpi_write_dsdt(&a, cfg);
    g_autoptr(GByteArray) code = aml_finish(&a);
    /* Revision 1: integers of 32 bits, as all systems know them. */
    GByteArray *t = table_new("DSDT", 1, 0);
    g_byte_array_append(t, code->data, code->len);
    return table_done(t);
}

GByteArray *acpi_build_ssdt(const AcpiPcConfig *cfg)
{
    Aml a;

    aml_init(&a);
    aml_scope(&a, "\\_SB");
    for (unsigned i = 0; i < cfg->n_cpus && i < 255; i++) {
        char name[8];
        g_snprintf(name, sizeof(name), "C%03X", i);
        aml_processor(&a, name, (uint8_t)i);
    }
    aml_end(&a);
    g_autoptr(GByteArray) code = aml_finish(&a);
    GByteArray *t = table_new("SSDT", 1, 0);
    g_byte_array_append(t, code->data, code->len);
    return table_done(t);
}

GByteArray *acpi_build_madt(const AcpiPcConfig *cfg)
{
    static const struct {
        uint8_t irq, gsi;
        uint16_t flags;
    } overrides[] = {
        /* The timer is wired to input 2. The lines PCI uses (and SCI): level, active high. */
        {0, 2, 0}, {5, 5, 0x0d}, {9, 9, 0x0d}, {10, 10, 0x0d}, {11, 11, 0x0d},
    };
    GByteArray *t = table_new("APIC", 1, 0);

    append(t, 0xfee00000, 4);
    append(t, 1, 4); /* a pair of 8259s is there too */
    for (unsigned i = 0; i < cfg->n_cpus && i < 255; i++) {
        append(t, 0, 1); /* local APIC */
        append(t, 8, 1);
        append(t, i, 1);
        append(t, cfg->apic_ids ? cfg->apic_ids[i] : i, 1);
        append(t, 1, 4);
    }
    append(t, 1, 1); /* I/O APIC */
    append(t, 12, 1);
    append(t, 0, 2); /* id 0 */
    append(t, 0xfec00000, 4);
    append(t, 0, 4);
    for (unsigned i = 0; i < G_N_ELEMENTS(overrides); i++) {
        append(t, 2, 1); /* interrupt source override */
        append(t, 10, 1);
        append(t, 0, 1);
        append(t, overrides[i].irq, 1);
        append(t, overrides[i].gsi, 4);
        append(t, overrides[i].flags, 2);
    }
    append(t, 4, 1); /* NMI on LINT1 of every local APIC */
    append(t, 6, 1);
    append(t, 0xff, 1);
    append(t, 0, 2);
    append(t, 1, 1);
    return table_done(t);
}

static void put_gas(GByteArray *t, unsigned off, unsigned bits, unsigned access, uint64_t addr)
{
    put(t, off, 1, 1); /* system I/O */
    put(t, off + 1, bits, 1);
    put(t, off + 2, 0, 1);
    put(t, off + 3, access, 1);
    put(t, off + 4, addr, 8);
}

static GByteArray *build_fadt(const AcpiPcConfig *cfg)
{
    GByteArray *t = table_new("FACP", 3, F_SIZE);
    unsigned arch = ARCH_LEGACY;

    put(t, F_PROFILE, 1, 1); /* desktop */
    put(t, F_SCI_INT, PIIX4_SCI_IRQ, 2);
    put(t, F_SMI_CMD, PIIX4_SMI_CMD, 4);
    put(t, F_ACPI_ENABLE, PIIX4_ACPI_ENABLE, 1);
    put(t, F_ACPI_DISABLE, PIIX4_ACPI_DISABLE, 1);
    put(t, F_PM1A_EVT, PIIX4_PM_BASE, 4);
    put(t, F_PM1A_CNT, PIIX4_PM_BASE + 4, 4);
    put(t, F_PM_TMR, PIIX4_PM_BASE + 8, 4);
    put(t, F_GPE0, PIIX4_PM_BASE + 12, 4);
    put(t, F_PM1_EVT_LEN, 4, 1);
    put(t, F_PM1_CNT_LEN, 2, 1);
    put(t, F_PM_TMR_LEN, 4, 1);
    put(t, F_GPE0_LEN, 4, 1);
    put(t, F_LVL2_LAT, 0xfff, 2); /* no C2, C3 */
    put(t, F_LVL3_LAT, 0xfff, 2);
    put(t, F_CENTURY, cfg->rtc ? 0x32 : 0, 1);
    arch |= cfg->keyboard ? ARCH_8042 : 0;
    arch |= cfg->vga ? 0 : ARCH_NO_VGA;
    arch |= cfg->rtc ? 0 : ARCH_NO_RTC;
    put(t, F_BOOT_ARCH, arch, 2);
    put(t, F_FLAGS,
        FLAG_WBINVD | FLAG_PROC_C1 | FLAG_NO_SLEEP_BUTTON | FLAG_NO_FIXED_RTC | FLAG_RESET_REG, 4);
    put_gas(t, F_RESET_REG, 8, 1, 0xcf9);
    put(t, F_RESET_VALUE, 0x06, 1);
    put_gas(t, F_X_PM1A_EVT, 32, 2, PIIX4_PM_BASE);
    put_gas(t, F_X_PM1A_CNT, 16, 2, PIIX4_PM_BASE + 4);
    put_gas(t, F_X_PM_TMR, 32, 3, PIIX4_PM_BASE + 8);
    put_gas(t, F_X_GPE0, 32, 1, PIIX4_PM_BASE + 12);
    return table_done(t);
}

static GByteArray *build_hpet(void)
{
    GByteArray *t = table_new("HPET", 1, 56);

    put(t, 36, 0x8086a201, 4); /* capabilities: three 64-bit comparators, legacy routing */
    put(t, 40 + 1, 64, 1);     /* memory */
    put(t, 44, 0xfed00000, 8);
    return table_done(t);
}

static GByteArray *build_waet(void)
{
    GByteArray *t = table_new("WAET", 1, 40);
    put(t, 36, 2, 4); /* one read of the PM timer is enough */
    return table_done(t);
}

static GByteArray *build_facs(void)
{
    GByteArray *t = g_byte_array_new();

    g_byte_array_set_size(t, 64);
    memset(t->data, 0, 64);
    memcpy(t->data, "FACS", 4);
    put(t, 4, 64, 4);
    return t;
}

/* ---- loader script ---- */

static uint8_t *command(GByteArray *script, unsigned cmd)
{
    unsigned at = script->len;

    g_byte_array_set_size(script, at + LOADER_ENTRY);
    memset(script->data + at, 0, LOADER_ENTRY);
    put(script, at, cmd, 4);
    return script->data + at;
}

static void cmd_allocate(GByteArray *script, const char *file, unsigned align, unsigned zone)
{
    uint8_t *e = command(script, CMD_ALLOCATE);
    g_strlcpy((char *)e + 4, file, LOADER_NAME);
    pci_set32(e + 4 + LOADER_NAME, align);
    e[4 + LOADER_NAME + 4] = (uint8_t)zone;
}

static void cmd_pointer(GByteArray *script, const char *file, unsigned off, unsigned size,
                        const char *to)
{
    uint8_t *e = command(script, CMD_POINTER);
    g_strlcpy((char *)e + 4, file, LOADER_NAME);
    g_strlcpy((char *)e + 4 + LOADER_NAME, to, LOADER_NAME);
    pci_set32(e + 4 + 2 * LOADER_NAME, off);
    e[4 + 2 * LOADER_NAME + 4] = (uint8_t)size;
}

static void cmd_checksum(GByteArray *script, const char *file, unsigned at, unsigned start,
                         unsigned len)
{
    uint8_t *e = command(script, CMD_CHECKSUM);
    g_strlcpy((char *)e + 4, file, LOADER_NAME);
    pci_set32(e + 4 + LOADER_NAME, at);
    pci_set32(e + 4 + LOADER_NAME + 4, start);
    pci_set32(e + 4 + LOADER_NAME + 8, len);
}

typedef struct Build {
    GByteArray *blob, *script;
    uint32_t entries[16]; /* offsets of what RSDT and XSDT list */
    unsigned n;
} Build;

/* Appends a table (and frees it); its offset. */
static uint32_t place(Build *b, GByteArray *t, bool listed)
{
    uint32_t at = b->blob->len;

    g_byte_array_append(b->blob, t->data, t->len);
    while (b->blob->len % 8) {
        append(b->blob, 0, 1);
    }
    g_byte_array_unref(t);
    if (listed) {
        g_assert(b->n < G_N_ELEMENTS(b->entries));
        b->entries[b->n++] = at;
    }
    return at;
}

/* Field of @size at @off becomes the address of @target; the checksum of the table at @table of
 * @len bytes, which holds the field, is made anew by the loader. */
static void point(Build *b, uint32_t off, unsigned size, uint32_t target)
{
    put(b->blob, off, target, size);
    cmd_pointer(b->script, TABLES_FILE, off, size, TABLES_FILE);
}

static void resum(Build *b, uint32_t table)
{
    b->blob->data[table + 9] = 0;
    cmd_checksum(b->script, TABLES_FILE, table + 9, table, pci_get32(b->blob->data + table + 4));
}

/* RSDT (pointers of 4 bytes) or XSDT (8). */
static uint32_t place_root(Build *b, const char *signature, unsigned size)
{
    GByteArray *t = table_new(signature, 1, HEADER + size * b->n);
    uint32_t at = place(b, table_done(t), false);

    for (unsigned i = 0; i < b->n; i++) {
        point(b, at + HEADER + size * i, size, b->entries[i]);
    }
    resum(b, at);
    return at;
}

static GByteArray *build_rsdp(Build *b, uint32_t rsdt, uint32_t xsdt)
{
    GByteArray *t = g_byte_array_new();

    g_byte_array_set_size(t, 36);
    memset(t->data, 0, 36);
    memcpy(t->data, "RSD PTR ", 8);
    memcpy(t->data + 9, "RHEA  ", 6);
    t->data[15] = 2;
    put(t, 16, rsdt, 4);
    put(t, 20, 36, 4);
    put(t, 24, xsdt, 8);
    cmd_pointer(b->script, RSDP_FILE, 16, 4, TABLES_FILE);
    cmd_pointer(b->script, RSDP_FILE, 24, 8, TABLES_FILE);
    cmd_checksum(b->script, RSDP_FILE, 8, 0, 20);
    cmd_checksum(b->script, RSDP_FILE, 32, 0, 36);
    return t;
}

bool acpi_tables_install(FwCfg *fw, const AcpiPcConfig *cfg, GError **err)
{
    Build b = {.blob = g_byte_array_new(), .script = g_byte_array_new()};

    cmd_allocate(b.script, TABLES_FILE, 64, ZONE_HIGH);
    cmd_allocate(b.script, RSDP_FILE, 16, ZONE_FSEG);
    uint32_t facs = place(&b, build_facs(), false);
    uint32_t dsdt = place(&b, acpi_build_dsdt(cfg), false);
    uint32_t fadt = place(&b, build_fadt(cfg), true);
    point(&b, fadt + F_FACS, 4, facs);
    point(&b, fadt + F_DSDT, 4, dsdt);
    point(&b, fadt + F_X_DSDT, 8, dsdt);
    resum(&b, fadt);
    place(&b, acpi_build_madt(cfg), true);
    place(&b, acpi_build_ssdt(cfg), true);
    if (cfg->hpet) {
        place(&b, build_hpet(), true);
    }
    place(&b, build_waet(), true);
    uint32_t rsdt = place_root(&b, "RSDT", 4);
    uint32_t xsdt = place_root(&b, "XSDT", 8);
    g_autoptr(GByteArray) rsdp = build_rsdp(&b, rsdt, xsdt);

    bool ok = fw_cfg_set_file(fw, TABLES_FILE, b.blob->data, b.blob->len, err) &&
              fw_cfg_set_file(fw, RSDP_FILE, rsdp->data, rsdp->len, err) &&
              fw_cfg_set_file(fw, LOADER_FILE, b.script->data, b.script->len, err);
    g_byte_array_unref(b.blob);
    g_byte_array_unref(b.script);
    return ok;
}
