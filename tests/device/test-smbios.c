/* SMBIOS tables: walked as DSP0134 says, field by field. */
#include "hw/firmware/smbios.h"
#include "pci-fixture.h"
#include <unistd.h>

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

/* -smbios as people write it: fields of each type, structures from a file, mistakes. */
static void test_options(void)
{
    static const char *const good[] = {
        "type=0,vendor=V,version=1,date=02/03/2004,release=4.9,uefi=on",
        "type=1,manufacturer=M,,N,product=P,version=2,serial=S,uuid=00112233-4455-6677-8899-"
        "aabbccddeeff,sku=K,family=F",
        "type=2,manufacturer=BM,product=BP,version=BV,serial=BS,asset=BA,location=BL",
        "type=3,manufacturer=CM,version=CV,serial=CS,asset=CA,sku=CK",
        "type=4,sock_pfx=SOCK,manufacturer=PM,version=PV,serial=PS,asset=PA,part=PP,max-speed=4000,"
        "current-speed=3000,processor-id=0x1122334455667788",
        "type=11,value=first,value=second",
        "type=17,loc_pfx=LOC,bank=DB,manufacturer=DM,serial=DS,asset=DA,part=DP,speed=3200",
    };
    static const char *const bad[] = {
        "type=9,x=1",
        "type=1,colour=red",
        "serial=1",
        "type=0,release=x",
        "type=1,uuid=zz",
        "file=/nonexistent",
        "type=4,max-speed=70000",
        "type=300",
        "file=/proc/self/comm",
    };
    Fixture *f = fixture_new(16 << 20);
    SmbiosConfig cfg = {.layout = pc_memory_layout(64 << 20)};
    g_autoptr(GPtrArray) opts = g_ptr_array_new();
    GError *err = NULL;
    /* A structure of type 8 with one string, as DSP0134 6.1 has it. */
    static const uint8_t blob[] = {8, 5, 0x34, 0x12, 1, 'J', '1', 0, 0};
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("rhea-smbios-XXXXXX", &path, NULL);

    g_assert_cmpint(write(fd, blob, sizeof(blob)), ==, sizeof(blob));
    g_autofree char *file = g_strdup_printf("file=%s", path);
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        g_ptr_array_add(opts, (gpointer)good[i]);
    }
    g_ptr_array_add(opts, file);
    g_assert_true(smbios_add_options(&cfg, opts, &err));
    Tables t = install(f, &cfg);
    const uint8_t *p = find(&t, 0, 0);
    g_assert_cmpstr(string(p, 8), ==, "02/03/2004");
    g_assert_cmpuint(p[0x14], ==, 4);
    g_assert_cmpuint(p[0x15], ==, 9);
    g_assert_cmphex(p[0x13] & 8, ==, 8);
    p = find(&t, 1, 0);
    static const uint8_t wire[8] = {0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66};
    g_assert_cmpstr(string(p, 4), ==, "M,N");
    g_assert_cmpmem(p + 8, 8, wire, 8);
    g_assert_cmpstr(string(p, 0x1a), ==, "F");
    p = find(&t, 2, 0);
    g_assert_cmpstr(string(p, 8), ==, "BA");
    g_assert_cmpstr(string(p, 0xa), ==, "BL");
    g_assert_cmpuint(pci_get16(p + 0xb), ==, pci_get16(find(&t, 3, 0) + 2));
    p = find(&t, 3, 0);
    g_assert_cmpuint(p[1], ==, 0x16);
    g_assert_cmpstr(string(p, 6), ==, "CV");
    g_assert_cmpstr(string(p, 0x15), ==, "CK");
    p = find(&t, 4, 0);
    g_assert_cmpstr(string(p, 4), ==, "SOCK 0");
    g_assert_cmphex(pci_get32(p + 8), ==, 0x55667788);
    g_assert_cmphex(pci_get32(p + 12), ==, 0x11223344);
    g_assert_cmpuint(pci_get16(p + 0x14), ==, 4000);
    g_assert_cmpuint(pci_get16(p + 0x16), ==, 3000);
    g_assert_cmpstr(string(p, 0x22), ==, "PP");
    p = find(&t, 11, 0);
    g_assert_cmpuint(p[4], ==, 2);
    p = find(&t, 17, 0);
    g_assert_cmpstr(string(p, 0x10), ==, "LOC 0");
    g_assert_cmpstr(string(p, 0x11), ==, "DB");
    g_assert_cmpuint(pci_get16(p + 0x15), ==, 3200);
    g_assert_cmpstr(string(p, 0x1a), ==, "DP");
    p = find(&t, 8, 0);
    g_assert_cmpstr(string(p, 4), ==, "J1");
    smbios_clear_options(&cfg);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        SmbiosConfig c = {.layout = pc_memory_layout(64 << 20)};
        opts->pdata[0] = (gpointer)bad[i];
        g_assert_false(smbios_add_options(&c, opts, &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
        smbios_clear_options(&c);
    }
    close(fd);
    unlink(path);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/smbios/defaults", test_defaults);
    g_test_add_func("/smbios/strings-and-own-bios", test_strings_and_bios);
    g_test_add_func("/smbios/large-memory", test_large_memory);
    g_test_add_func("/smbios/options", test_options);
    return g_test_run();
}
