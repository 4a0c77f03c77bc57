/* SMBIOS tables: walked as DSP0134 says, field by field. */
#include "hw/firmware/smbios.h"
#include "pci-fixture.h"

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;
    while (n--) {
        s += *p++;
    }
    return s;
}

typedef struct Tables {
    const uint8_t *p[64];
    unsigned n;
    size_t longest;
} Tables;

/* Structures, by the walk of 6.1.2: formatted part, then strings up to a double zero. */
static Tables walk(const uint8_t *p, size_t len)
{
    Tables t = {.n = 0};
    const uint8_t *end = p + len;

    while (p < end) {
        const uint8_t *start = p;
        g_assert_cmpuint(t.n, <, G_N_ELEMENTS(t.p));
        t.p[t.n++] = p;
        g_assert_cmpuint(p[1], >=, 4);
        p += p[1];
        while (p + 1 < end && (p[0] || p[1])) {
            p++;
        }
        p += 2;
        g_assert_true(p <= end);
        t.longest = MAX(t.longest, (size_t)(p - start));
        if (start[0] == 127) {
            g_assert_true(p == end);
        }
    }
    return t;
}

static const uint8_t *find(const Tables *t, unsigned type, unsigned nth)
{
    for (unsigned i = 0; i < t->n; i++) {
        if (t->p[i][0] == type && nth-- == 0) {
            return t->p[i];
        }
    }
    return NULL;
}

static const char *string(const uint8_t *p, unsigned field)
{
    unsigned n = p[field];
    const char *s = (const char *)p + p[1];
    if (n == 0) {
        return NULL;
    }
    while (--n) {
        s += strlen(s) + 1;
    }
    return s;
}

static Tables install(Fixture *f, const SmbiosConfig *cfg)
{
    GError *err = NULL;
    FwCfg *s = fw_cfg_new(f->m, &err);
    size_t alen, tlen;

    g_assert_true(smbios_install(s, cfg, &err));
    const uint8_t *a = fw_cfg_get_file(s, "etc/smbios/smbios-anchor", &alen);
    const uint8_t *p = fw_cfg_get_file(s, "etc/smbios/smbios-tables", &tlen);
    g_assert_cmpuint(alen, ==, 31);
    g_assert_cmpmem(a, 4, "_SM_", 4);
    g_assert_cmpmem(a + 16, 5, "_DMI_", 5);
    g_assert_cmphex(sum(a, 31), ==, 0);
    g_assert_cmphex(sum(a + 16, 15), ==, 0);
    g_assert_cmpuint(pci_get16(a + 22), ==, tlen);
    Tables t = walk(p, tlen);
    g_assert_cmpuint(pci_get16(a + 28), ==, t.n);
    g_assert_cmpuint(pci_get16(a + 8), ==, t.longest);
    return t;
}

static void test_defaults(void)
{
    Fixture *f = fixture_new(16 << 20);
    SmbiosConfig cfg = {
        .layout = pc_memory_layout(6ull << 30), .sockets = 2, .cores = 3, .threads = 2};
    for (unsigned i = 0; i < 16; i++) {
        cfg.uuid[i] = (uint8_t)(i + 1);
    }
    Tables t = install(f, &cfg);

    g_assert_null(find(&t, 0, 0)); /* left to the firmware */
    const uint8_t *p = find(&t, 1, 0);
    static const uint8_t wire[16] = {4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16};
    g_assert_cmpuint(p[1], ==, 0x1b);
    g_assert_cmpmem(p + 8, 16, wire, 16);
    g_assert_nonnull(string(p, 4));
    g_assert_null(string(p, 7));
    p = find(&t, 4, 1);
    g_assert_cmpstr(string(p, 4), ==, "CPU 1");
    g_assert_cmpuint(p[1], ==, 0x2a);
    g_assert_cmpuint(p[0x23], ==, 3);
    g_assert_cmpuint(p[0x25], ==, 6);
    g_assert_null(find(&t, 4, 2));
    p = find(&t, 16, 0);
    g_assert_cmpuint(pci_get32(p + 7), ==, 6 << 20);
    p = find(&t, 17, 0);
    g_assert_cmpuint(p[1], ==, 0x28);
    g_assert_cmpuint(pci_get16(p + 12), ==, 6144);
    p = find(&t, 19, 0);
    g_assert_cmphex(pci_get32(p + 8), ==, 0xe0000000 / 1024 - 1);
    p = find(&t, 19, 1);
    g_assert_cmphex(pci_get32(p + 4), ==, 0x100000000ull / 1024);
    g_assert_nonnull(find(&t, 3, 0));
    g_assert_nonnull(find(&t, 32, 0));
    g_assert_nonnull(find(&t, 127, 0));
    fixture_free(f);
}

static void test_strings_and_bios(void)
{
    Fixture *f = fixture_new(16 << 20);
    SmbiosConfig cfg = {.layout = pc_memory_layout(64 << 20),
                        .bios_vendor = "V",
                        .manufacturer = "Maker",
                        .product = "Thing",
                        .serial = "123",
                        .sku = "",
                        .family = "F"};
    Tables t = install(f, &cfg);
    const uint8_t *p = find(&t, 0, 0);
    g_assert_cmpstr(string(p, 4), ==, "V");
    g_assert_cmpuint(p[1], ==, 0x18);
    p = find(&t, 1, 0);
    g_assert_cmpstr(string(p, 4), ==, "Maker");
    g_assert_cmpstr(string(p, 5), ==, "Thing");
    g_assert_cmpstr(string(p, 7), ==, "123");
    g_assert_null(string(p, 0x19));
    g_assert_cmpstr(string(p, 0x1a), ==, "F");
    fixture_free(f);
}

static void test_large_memory(void)
{
    Fixture *f = fixture_new(16 << 20);
    SmbiosConfig cfg = {.layout = pc_memory_layout(100ull << 30)};
    Tables t = install(f, &cfg);
    uint64_t total = 0;

    for (unsigned i = 0; find(&t, 17, i); i++) {
        total += pci_get16(find(&t, 17, i) + 12);
    }
    g_assert_cmpuint(total, ==, 100 << 10);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/smbios/defaults", test_defaults);
    g_test_add_func("/smbios/strings-and-own-bios", test_strings_and_bios);
    g_test_add_func("/smbios/large-memory", test_large_memory);
    return g_test_run();
}
