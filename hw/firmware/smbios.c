/*
 * SMBIOS structures: "System Management BIOS (SMBIOS) Reference Specification" 2.8.0 (DSP0134).
 * UUID fields are little endian since 2.6.
 */
#include "hw/firmware/smbios.h"
#include "core/log.h"
#include <string.h>

#define DEFAULT_MAKER "Rhea"
#define DEFAULT_PRODUCT "Standard PC (i440FX + PIIX)"
#define DEFAULT_VERSION "1"

enum {
    HANDLE_BIOS = 0x0000,
    HANDLE_SYSTEM = 0x0100,
    HANDLE_BOARD = 0x0200,
    HANDLE_CHASSIS = 0x0300,
    HANDLE_CPU = 0x0400,
    HANDLE_OEM = 0x0e00,
    HANDLE_ARRAY = 0x1000,
    HANDLE_DIMM = 0x1100,
    HANDLE_MAP = 0x1300,
    HANDLE_BOOT = 0x2000,
    HANDLE_END = 0x7f00,

    ANCHOR_SIZE = 31,
    MAX_DIMM_MIB = 16384, /* a device of 16 GiB each */
    MAX_DIMMS = 256,
};

typedef struct Tables {
    GByteArray *out;
    unsigned start;     /* of the structure being written */
    GPtrArray *strings; /* of it */
    unsigned count, longest;
} Tables;

static void put(Tables *t, uint64_t val, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        uint8_t b = (uint8_t)(val >> (8 * i));
        g_byte_array_append(t->out, &b, 1);
    }
}

/* A string field: the string's number, 0 when there is none. */
static void put_string(Tables *t, const char *text)
{
    if (!text || !*text) {
        put(t, 0, 1);
        return;
    }
    g_ptr_array_add(t->strings, (char *)text);
    put(t, t->strings->len, 1);
}

static void begin(Tables *t, unsigned type, unsigned handle)
{
    t->start = t->out->len;
    g_ptr_array_set_size(t->strings, 0);
    put(t, type, 1);
    put(t, 0, 1); /* length, at the end */
    put(t, handle, 2);
}

/* Does a file of the user's bring its own structures of @type? */
static bool from_file(const SmbiosConfig *c, unsigned type)
{
    return c->replaced[type / 32] >> type % 32 & 1;
}

static void end(Tables *t)
{
    t->out->data[t->start + 1] = (uint8_t)(t->out->len - t->start);
    for (unsigned i = 0; i < t->strings->len; i++) {
        const char *s = t->strings->pdata[i];
        g_byte_array_append(t->out, (const uint8_t *)s, (guint)strlen(s) + 1);
    }
    put(t, 0, t->strings->len ? 1 : 2);
    t->count++;
    t->longest = MAX(t->longest, t->out->len - t->start);
}

/* ---- structures ---- */

static void add_bios(Tables *t, const SmbiosConfig *c)
{
    begin(t, 0, HANDLE_BIOS);
    put_string(t, c->bios_vendor ? c->bios_vendor : "SeaBIOS");
    put_string(t, c->bios_version);
    put(t, 0xe800, 2); /* segment */
    put_string(t, c->bios_date ? c->bios_date : "04/01/2014");
    put(t, 0, 1);         /* 64 KiB */
    put(t, 1ull << 3, 8); /* characteristics are not given */
    put(t, 0, 1);
    /* Targeted content distribution, UEFI, virtual machine */
    put(t, 0x14 | (c->bios_uefi ? 8 : 0), 1);
    put(t, c->bios_release[0], 1);
    put(t, c->bios_release[1], 1);
    put(t, 0xffff, 2);
    end(t);
}

static void add_system(Tables *t, const SmbiosConfig *c)
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

    begin(t, 1, HANDLE_SYSTEM);
    put_string(t, c->manufacturer ? c->manufacturer : DEFAULT_MAKER);
    put_string(t, c->product ? c->product : DEFAULT_PRODUCT);
    put_string(t, c->version ? c->version : DEFAULT_VERSION);
    put_string(t, c->serial);
    for (unsigned i = 0; i < 16; i++) {
        put(t, c->uuid[order[i]], 1);
    }
    put(t, 6, 1); /* woken by the power switch */
    put_string(t, c->sku);
    put_string(t, c->family);
    end(t);
}

static void add_board(Tables *t, const SmbiosConfig *c)
{
    begin(t, 2, HANDLE_BOARD);
    put_string(t, c->board_manufacturer ? c->board_manufacturer : DEFAULT_MAKER);
    put_string(t, c->board_product ? c->board_product : DEFAULT_PRODUCT);
    put_string(t, c->board_version ? c->board_version : DEFAULT_VERSION);
    put_string(t, c->board_serial);
    put_string(t, c->board_asset);
    put(t, 1, 1); /* hosting board */
    put_string(t, c->board_location);
    put(t, HANDLE_CHASSIS, 2);
    put(t, 10, 1); /* motherboard */
    put(t, 0, 1);  /* contains no other objects */
    end(t);
}

static void add_chassis(Tables *t, const SmbiosConfig *c)
{
    begin(t, 3, HANDLE_CHASSIS);
    put_string(t, c->chassis_manufacturer ? c->chassis_manufacturer : DEFAULT_MAKER);
    put(t, 1, 1); /* other */
    put_string(t, c->chassis_version ? c->chassis_version : DEFAULT_VERSION);
    put_string(t, c->chassis_serial);
    put_string(t, c->asset_tag);
    put(t, 3, 1); /* safe: boot-up, power supply, thermal */
    put(t, 3, 1);
    put(t, 3, 1);
    put(t, 2, 1); /* security unknown */
    put(t, 0, 4);
    put(t, 0, 1); /* height, power cords, elements */
    put(t, 0, 1);
    put(t, 0, 1);
    put(t, 0, 1);
    put_string(t, c->chassis_sku);
    end(t);
}

static void add_cpu(Tables *t, const SmbiosConfig *c, unsigned n)
{
    unsigned cores = MAX(c->cores, 1), threads = cores * MAX(c->threads, 1);
    g_autofree char *socket = g_strdup_printf("%s %u", c->cpu_socket ? c->cpu_socket : "CPU", n);

    begin(t, 4, HANDLE_CPU + n);
    put_string(t, socket);
    put(t, 3, 1); /* central processor */
    put(t, 1, 1); /* family: other */
    put_string(t, c->cpu_vendor);
    put(t, c->cpu_signature, 4);
    put(t, c->cpu_features, 4);
    put_string(t, c->cpu_version ? c->cpu_version : DEFAULT_PRODUCT);
    put(t, 0, 1); /* voltage */
    put(t, 0, 2); /* external clock */
    put(t, c->cpu_max_mhz ? c->cpu_max_mhz : 2000, 2);
    put(t, c->cpu_mhz ? c->cpu_mhz : 2000, 2);
    put(t, 0x41, 1); /* socket populated, enabled */
    put(t, 1, 1);    /* upgrade: other */
    put(t, 0xffff, 2);
    put(t, 0xffff, 2); /* caches are not given */
    put(t, 0xffff, 2);
    put_string(t, c->cpu_serial);
    put_string(t, c->cpu_asset);
    put_string(t, c->cpu_part);
    put(t, MIN(cores, 255), 1);
    put(t, MIN(cores, 255), 1);
    put(t, MIN(threads, 255), 1);
    put(t, 2, 2); /* characteristics: unknown */
    put(t, 1, 2); /* family 2 */
    end(t);
}

static void add_dimm(Tables *t, const SmbiosConfig *c, unsigned n, uint64_t mib)
{
    g_autofree char *locator =
        g_strdup_printf("%s %u", c->dimm_locator ? c->dimm_locator : "DIMM", n);

    begin(t, 17, HANDLE_DIMM + n);
    put(t, HANDLE_ARRAY, 2);
    put(t, 0xfffe, 2); /* no error information */
    put(t, 0xffff, 2); /* widths unknown */
    put(t, 0xffff, 2);
    put(t, mib < 0x7fff ? mib : 0x7fff, 2);
    put(t, 9, 1); /* DIMM */
    put(t, 0, 1);
    put_string(t, locator);
    put_string(t, c->dimm_bank);
    put(t, 7, 1);      /* RAM */
    put(t, 1 << 1, 2); /* other */
    put(t, c->dimm_mhz, 2);
    put_string(t, c->dimm_manufacturer ? c->dimm_manufacturer : DEFAULT_MAKER);
    put_string(t, c->dimm_serial);
    put_string(t, c->dimm_asset);
    put_string(t, c->dimm_part);
    put(t, 0, 1); /* rank */
    put(t, mib < 0x7fff ? 0 : mib, 4);
    put(t, c->dimm_mhz, 2); /* configured speed; voltages unknown */
    put(t, 0, 2);
    put(t, 0, 2);
    put(t, 0, 2);
    end(t);
}

static void add_map(Tables *t, unsigned n, uint64_t start, uint64_t len, unsigned dimms)
{
    uint64_t end_kib = (start + len) / 1024 - 1;
    bool wide = end_kib >= 0xffffffff;

    begin(t, 19, HANDLE_MAP + n);
    put(t, wide ? 0xffffffff : start / 1024, 4);
    put(t, wide ? 0xffffffff : end_kib, 4);
    put(t, HANDLE_ARRAY, 2);
    put(t, MIN(dimms, 255), 1); /* partition width */
    put(t, wide ? start : 0, 8);
    put(t, wide ? start + len - 1 : 0, 8);
    end(t);
}

static void add_memory(Tables *t, const SmbiosConfig *c)
{
    uint64_t mib = MAX(c->layout.ram_size >> 20, 1);
    uint64_t each = MAX_DIMM_MIB;

    while ((mib + each - 1) / each > MAX_DIMMS) {
        each *= 2;
    }
    unsigned dimms = (unsigned)((mib + each - 1) / each);
    bool wide = mib >= 2u << 20; /* 2 TiB and more do not fit in KiB of 31 bits */

    begin(t, 16, HANDLE_ARRAY);
    put(t, 1, 1); /* other location */
    put(t, 3, 1); /* system memory */
    put(t, 6, 1); /* multi-bit ECC */
    put(t, wide ? 0x80000000u : mib << 10, 4);
    put(t, 0xfffe, 2);
    put(t, dimms, 2);
    put(t, wide ? mib << 20 : 0, 8);
    end(t);
    for (unsigned i = 0; i < dimms; i++) {
        add_dimm(t, c, i, MIN(each, mib - i * each));
    }
    add_map(t, 0, 0, c->layout.below_4g, dimms);
    if (c->layout.above_4g) {
        add_map(t, 1, PC_HIGH_RAM, c->layout.above_4g, dimms);
    }
}

static void add_oem(Tables *t, const SmbiosConfig *c)
{
    begin(t, 11, HANDLE_OEM);
    put(t, c->oem->len, 1);
    for (unsigned i = 0; i < c->oem->len; i++) {
        g_ptr_array_add(t->strings, c->oem->pdata[i]);
    }
    end(t);
}

static void add_all(Tables *t, const SmbiosConfig *c)
{
    /* Without an own type 0 firmware puts one with its real version in front. */
    if ((c->bios_vendor || c->bios_version || c->bios_date || c->has_release || c->bios_uefi) &&
        !from_file(c, 0)) {
        add_bios(t, c);
    }
    if (!from_file(c, 1)) {
        add_system(t, c);
    }
    if (c->given & 1u << 2) {
        add_board(t, c);
    }
    if (!from_file(c, 3)) {
        add_chassis(t, c);
    }
    for (unsigned i = 0; i < MIN(MAX(c->sockets, 1), 255) && !from_file(c, 4); i++) {
        add_cpu(t, c, i);
    }
    if (c->oem && c->oem->len) {
        add_oem(t, c);
    }
    /* Arrays, devices and their addresses name each other: all or none. */
    if (!from_file(c, 16) && !from_file(c, 17) && !from_file(c, 19)) {
        add_memory(t, c);
    }
    if (!from_file(c, 32)) {
        begin(t, 32, HANDLE_BOOT); /* no errors */
        put(t, 0, 6);
        put(t, 0, 1);
        end(t);
    }
    if (c->blobs) {
        g_byte_array_append(t->out, c->blobs->data, c->blobs->len);
        t->count += c->blob_count;
        t->longest = MAX(t->longest, c->blob_longest);
    }
    begin(t, 127, HANDLE_END);
    end(t);
}

static uint8_t minus_sum(const uint8_t *p, unsigned n)
{
    uint8_t s = 0;
    while (n--) {
        s += *p++;
    }
    return (uint8_t)-s;
}

/* The 2.1 entry point. Firmware fills in where the tables went and makes the sums anew. */
static void build_anchor(uint8_t *a, const Tables *t)
{
    memset(a, 0, ANCHOR_SIZE);
    memcpy(a, "_SM_", 4);
    a[5] = ANCHOR_SIZE;
    a[6] = 2;
    a[7] = 8;
    pci_set16(a + 8, (uint16_t)t->longest);
    memcpy(a + 16, "_DMI_", 5);
    pci_set16(a + 22, (uint16_t)t->out->len);
    pci_set16(a + 28, (uint16_t)t->count);
    a[30] = 0x28;
    a[21] = minus_sum(a + 16, ANCHOR_SIZE - 16);
    a[4] = minus_sum(a, 16);
}

bool smbios_install(FwCfg *fw, const SmbiosConfig *cfg, GError **err)
{
    Tables t = {.out = g_byte_array_new(), .strings = g_ptr_array_new()};
    uint8_t anchor[ANCHOR_SIZE];

    add_all(&t, cfg);
    build_anchor(anchor, &t);
    bool ok = !cfg->oem || cfg->oem->len <= 255 ||
              fail(err, "-smbios type=11: at most 255 strings are possible");
    ok = ok && (t.out->len <= 0xffff || fail(err, "the SMBIOS tables have more than 64 KiB"));
    ok = ok && fw_cfg_set_file(fw, "etc/smbios/smbios-anchor", anchor, sizeof(anchor), err) &&
         fw_cfg_set_file(fw, "etc/smbios/smbios-tables", t.out->data, t.out->len, err);
    g_byte_array_unref(t.out);
    g_ptr_array_unref(t.strings);
    return ok;
}
