/*
 * ACPI tables: what firmware would do with the loader script, then the checks of an operating
 * system; iasl reads every table back.
 */
#include "hw/acpi/acpi_tables.h"
#include "hw/acpi/aml.h"
#include "hw/acpi/piix4_pm.h"
#include "pci-fixture.h"
#include <glib/gstdio.h>

#define TABLES_AT 0x00f00000u
#define RSDP_AT 0x000f5000u

static const AcpiPcConfig config = {
    .layout = {.ram_size = 6ull << 30, .below_4g = 0xe0000000, .above_4g = 0xa0000000},
    .n_cpus = 3,
    .phys_bits = 40,
    .hpet = true,
    .vga = true,
    .rtc = true,
    .keyboard = true,
    .mouse = true,
    .floppy = true,
    .serial = 5,
    .parallel = 1,
    .s4 = true,
    .s4_val = 2,
};

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;
    while (n--) {
        s += *p++;
    }
    return s;
}

typedef struct Installed {
    uint8_t *tables, *rsdp;
    size_t tables_len, rsdp_len;
} Installed;

static uint8_t *file_of(Installed *in, const uint8_t *name, size_t *len, uint32_t *at)
{
    if (!strcmp((const char *)name, "etc/acpi/tables")) {
        *len = in->tables_len;
        *at = TABLES_AT;
        return in->tables;
    }
    g_assert_cmpstr((const char *)name, ==, "etc/acpi/rsdp");
    *len = in->rsdp_len;
    *at = RSDP_AT;
    return in->rsdp;
}

/* The script, as SeaBIOS documents it in romfile_loader.h. */
static void run_script(Installed *in, const uint8_t *e, size_t len)
{
    g_assert_cmpuint(len % 128, ==, 0);
    for (; len; e += 128, len -= 128) {
        size_t size, size2;
        uint32_t at, at2;
        uint8_t *file = file_of(in, e + 4, &size, &at);
        switch (pci_get32(e)) {
        case 1:
            g_assert_cmpuint(at % pci_get32(e + 60), ==, 0);
            g_assert_cmpuint(e[64], ==, at == RSDP_AT ? 2 : 1);
            break;
        case 2: {
            uint32_t off = pci_get32(e + 116);
            unsigned n = e[120];
            g_assert_true(n == 4 || n == 8);
            g_assert_cmpuint(off + n, <=, size);
            file_of(in, e + 60, &size2, &at2);
            uint32_t v = pci_get32(file + off);
            g_assert_cmpuint(v, <, size2);
            pci_set32(file + off, v + at2);
            break;
        }
        case 3: {
            uint32_t off = pci_get32(e + 60), start = pci_get32(e + 64), n = pci_get32(e + 68);
            g_assert_cmpuint(start + n, <=, size);
            file[off] -= sum(file + start, n);
            break;
        }
        default:
            g_assert_not_reached();
        }
    }
}

static Installed install(Fixture *f)
{
    GError *err = NULL;
    FwCfg *s = fw_cfg_new(f->m, &err);
    Installed in = {0};
    size_t len;

    g_assert_true(acpi_tables_install(s, &config, &err));
    const uint8_t *p = fw_cfg_get_file(s, "etc/acpi/tables", &in.tables_len);
    in.tables = g_memdup2(p, in.tables_len);
    p = fw_cfg_get_file(s, "etc/acpi/rsdp", &in.rsdp_len);
    in.rsdp = g_memdup2(p, in.rsdp_len);
    p = fw_cfg_get_file(s, "etc/table-loader", &len);
    run_script(&in, p, len);
    return in;
}

static const uint8_t *at(const Installed *in, uint64_t addr)
{
    g_assert_cmphex(addr, >=, TABLES_AT);
    g_assert_cmphex(addr, <, TABLES_AT + in->tables_len);
    return in->tables + (addr - TABLES_AT);
}

static const uint8_t *find(const Installed *in, const char *sig)
{
    const uint8_t *rsdt = at(in, pci_get32(in->rsdp + 16));
    for (uint32_t i = 36; i < pci_get32(rsdt + 4); i += 4) {
        const uint8_t *t = at(in, pci_get32(rsdt + i));
        if (!memcmp(t, sig, 4)) {
            return t;
        }
    }
    return NULL;
}

static void test_chain(void)
{
    Fixture *f = fixture_new(16 << 20);
    Installed in = install(f);

    g_assert_cmpmem(in.rsdp, 8, "RSD PTR ", 8);
    g_assert_cmpuint(in.rsdp_len, ==, 36);
    g_assert_cmphex(sum(in.rsdp, 20), ==, 0);
    g_assert_cmphex(sum(in.rsdp, 36), ==, 0);
    const uint8_t *rsdt = at(&in, pci_get32(in.rsdp + 16)),
                  *xsdt = at(&in, pci_get32(in.rsdp + 24));
    g_assert_cmpmem(rsdt, 4, "RSDT", 4);
    g_assert_cmpmem(xsdt, 4, "XSDT", 4);
    unsigned n = (pci_get32(rsdt + 4) - 36) / 4;
    g_assert_cmpuint(n, ==, (pci_get32(xsdt + 4) - 36) / 8);
    g_assert_cmphex(sum(rsdt, pci_get32(rsdt + 4)), ==, 0);
    g_assert_cmphex(sum(xsdt, pci_get32(xsdt + 4)), ==, 0);
    for (unsigned i = 0; i < n; i++) {
        uint32_t a = pci_get32(rsdt + 36 + 4 * i);
        g_assert_cmphex(a, ==, pci_get32(xsdt + 36 + 8 * i));
        const uint8_t *t = at(&in, a);
        g_assert_cmphex(sum(t, pci_get32(t + 4)), ==, 0);
    }
    const uint8_t *fadt = find(&in, "FACP");
    const uint8_t *facs = at(&in, pci_get32(fadt + 36)), *dsdt = at(&in, pci_get32(fadt + 40));
    g_assert_cmpmem(facs, 4, "FACS", 4);
    g_assert_cmphex((pci_get32(fadt + 36)) % 64, ==, 0);
    g_assert_cmpmem(dsdt, 4, "DSDT", 4);
    g_assert_cmphex(pci_get32(fadt + 140), ==, pci_get32(fadt + 40));
    g_assert_cmphex(sum(dsdt, pci_get32(dsdt + 4)), ==, 0);
    /* Fixed hardware where firmware puts it. */
    g_assert_cmphex(pci_get16(fadt + 46), ==, 9);
    g_assert_cmphex(pci_get32(fadt + 56), ==, PIIX4_PM_BASE);
    g_assert_cmphex(pci_get32(fadt + 76), ==, PIIX4_PM_BASE + 8);
    g_assert_cmphex(pci_get32(fadt + 112) & 0x110, ==, 0); /* fixed button, 24-bit timer */
    g_free(in.tables);
    g_free(in.rsdp);
    fixture_free(f);
}

static void test_madt(void)
{
    g_autoptr(GByteArray) t = acpi_build_madt(&config);
    unsigned cpus = 0, ioapics = 0, overrides = 0;

    g_assert_cmphex(pci_get32(t->data + 36), ==, 0xfee00000);
    for (unsigned i = 44; i < t->len; i += t->data[i + 1]) {
        g_assert_cmpuint(t->data[i + 1], >=, 2);
        switch (t->data[i]) {
        case 0:
            g_assert_cmpuint(t->data[i + 3], ==, cpus);
            cpus++;
            break;
        case 1:
            g_assert_cmphex(pci_get32(t->data + i + 4), ==, 0xfec00000);
            ioapics++;
            break;
        case 2:
            if (t->data[i + 3] == 0) {
                g_assert_cmpuint(pci_get32(t->data + i + 4), ==, 2);
            } else {
                g_assert_cmphex(pci_get16(t->data + i + 8), ==, 0x0d);
            }
            overrides++;
            break;
        }
    }
    g_assert_cmpuint(cpus, ==, 3);
    g_assert_cmpuint(ioapics, ==, 1);
    g_assert_cmpuint(overrides, ==, 5);
}

/* iasl -d; returns the text. */
static char *disassemble(GByteArray *t, const char *name)
{
    g_autofree char *dir = g_dir_make_tmp("rhea-acpi-XXXXXX", NULL);
    g_autofree char *aml = g_strdup_printf("%s/%s.aml", dir, name);
    g_autofree char *dsl = g_strdup_printf("%s/%s.dsl", dir, name);
    g_autofree char *back = g_strdup_printf("%s/back", dir);
    g_autofree char *back_aml = g_strdup_printf("%s/back.aml", dir);
    char *d[] = {"iasl", "-d", aml, NULL}, *c[] = {"iasl", "-oa", "-p", back, dsl, NULL};
    g_autofree char *out = NULL, *errs = NULL, *out2 = NULL, *errs2 = NULL;
    char *text = NULL, *again = NULL;
    gsize len;
    int status;

    g_assert_true(g_file_set_contents(aml, (char *)t->data, t->len, NULL));
    g_assert_true(
        g_spawn_sync(NULL, d, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &errs, &status, NULL));
    g_assert_cmpint(status, ==, 0);
    g_assert_true(g_file_get_contents(dsl, &text, &len, NULL));
    g_assert_true(
        g_spawn_sync(NULL, c, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out2, &errs2, &status, NULL));
    g_test_message("%s%s", out2, errs2);
    g_assert_cmpint(status, ==, 0);
    /* What iasl makes of the text is what we wrote. */
    g_assert_true(g_file_get_contents(back_aml, &again, &len, NULL));
    g_assert_cmpmem((uint8_t *)again + 36, len - 36, t->data + 36, t->len - 36);
    g_free(again);
    g_remove(aml);
    g_remove(dsl);
    g_remove(back_aml);
    g_rmdir(dir);
    return text;
}

static void has(const char *text, const char *what)
{
    if (!strstr(text, what)) {
        g_error("'%s' not in\n%s", what, text);
    }
}

static void test_dsdt(void)
{
    g_autoptr(GByteArray) t = acpi_build_dsdt(&config);
    g_autofree char *text = disassemble(t, "dsdt");

    has(text, "Device (PCI0)");
    has(text, "EisaId (\"PNP0A03\")");
    has(text, "Name (_PRT, Package (0x80)");
    has(text, "OperationRegion (PIRQ, PCI_Config, 0x60, 0x04)");
    has(text, "Device (LNKD)");
    has(text, "Device (COM1)");
    has(text, "Device (COM3)");
    has(text, "Device (LPT1)");
    has(text, "Device (FDC0)");
    has(text, "Device (HPET)");
    has(text, "Name (\\_S4");
    has(text, "Name (\\_S5");
    has(text, "0xE0000000,         // Range Minimum");
    has(text, "0xFEBFFFFF,         // Range Maximum");
    has(text, "0x0000008000000000, // Range Minimum");
    g_assert_null(strstr(text, "COM2"));
    g_assert_null(strstr(text, "_S3"));
    g_assert_null(strstr(text, "Unknown"));
}

static void test_ssdt(void)
{
    g_autoptr(GByteArray) t = acpi_build_ssdt(&config);
    g_autofree char *text = disassemble(t, "ssdt");
    has(text, "Processor (C000, 0x00");
    has(text, "Processor (C002, 0x02");
    g_assert_null(strstr(text, "C003"));
}

/* Encodings at their borders: ACPI 20.2.3, 20.2.4. */
static void test_aml_encoding(void)
{
    Aml a;
    aml_init(&a);
    aml_int(&a, 0);
    aml_int(&a, 1);
    aml_int(&a, 255);
    aml_int(&a, 256);
    aml_int(&a, 0x12345678);
    aml_int(&a, 0x100000000ull);
    aml_eisa_id(&a, "PNP0A03");
    aml_path(&a, "\\_SB.A");
    aml_path(&a, "^X.Y.Z");
    static const uint8_t want[] = {0x00, 0x01, 0x0a, 0xff, 0x0b, 0x00, 0x01, 0x0c, 0x78, 0x56, 0x34,
                                   0x12, 0x0e, 0,    0,    0,    0,    1,    0,    0,    0,    0x0c,
                                   0x41, 0xd0, 0x0a, 0x03, 0x5c, 0x2e, '_',  'S',  'B',  '_',  'A',
                                   '_',  '_',  '_',  0x5e, 0x2f, 3,    'X',  '_',  '_',  '_',  'Y',
                                   '_',  '_',  '_',  'Z',  '_',  '_',  '_'};
    GByteArray *out = aml_finish(&a);
    g_assert_cmpmem(out->data, out->len, want, sizeof(want));
    g_byte_array_unref(out);

    /* Package lengths: 1 byte up to 63, 2 up to 4095, 3 after. */
    static const unsigned body[] = {58, 59, 4000, 4089, 4090, 70000};
    static const unsigned head[] = {1, 2, 2, 2, 3, 3};
    for (unsigned i = 0; i < G_N_ELEMENTS(body); i++) {
        aml_init(&a);
        aml_scope(&a, "TEST");
        for (unsigned n = 0; n < body[i]; n++) {
            aml_int(&a, 0);
        }
        aml_end(&a);
        out = aml_finish(&a);
        unsigned total = head[i] + 4 + body[i], got;
        g_assert_cmpuint(out->len, ==, 1 + total);
        const uint8_t *p = out->data + 1;
        g_assert_cmpuint(p[0] >> 6, ==, head[i] - 1);
        got = head[i] == 1 ? p[0] : (p[0] & 15) | p[1] << 4 | (head[i] > 2 ? p[2] << 12 : 0);
        g_assert_cmpuint(got, ==, total);
        g_byte_array_unref(out);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/acpi/aml-encoding", test_aml_encoding);
    g_test_add_func("/acpi/tables-link-up", test_chain);
    g_test_add_func("/acpi/madt", test_madt);
    g_test_add_func("/acpi/dsdt-through-iasl", test_dsdt);
    g_test_add_func("/acpi/ssdt-through-iasl", test_ssdt);
    return g_test_run();
}
