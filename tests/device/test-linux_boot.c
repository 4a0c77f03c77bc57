/*
 * -kernel: Linux images (boot.rst), Multiboot (0.6.96), PVH (start_info.h); made by hand here.
 */
#include "core/log.h"
#include "hw/firmware/linux_boot.h"
#include "pci-fixture.h"
#include <elf.h>
#include <glib/gstdio.h>

#define SETUP_LEN (5 * 512)
#define KERNEL_LEN 70000

static void put16(uint8_t *p, unsigned v)
{
    pci_set16(p, (uint16_t)v);
}

/* A bzImage: 4 setup sectors, protocol 2.@minor. */
static uint8_t *image(unsigned minor, bool high, size_t *len)
{
    *len = SETUP_LEN + KERNEL_LEN;
    uint8_t *p = g_malloc0(*len);
    p[0x1f1] = 4;
    put16(p + 0x1fe, 0xaa55);
    memcpy(p + 0x202, "HdrS", 4);
    put16(p + 0x206, 0x200 | minor);
    p[0x211] = high;
    pci_set32(p + 0x22c, 0x7fffffff);
    pci_set32(p + 0x238, 100);
    pci_set32(p + 0x258, 0x1000000);
    pci_set32(p + 0x260, 0x800000);
    memset(p + SETUP_LEN, 0xcc, KERNEL_LEN);
    return p;
}

static uint32_t item32(FwCfg *s, uint16_t key)
{
    size_t len;
    const uint8_t *p = fw_cfg_get_bytes(s, key, &len);
    g_assert_cmpuint(len, ==, 4);
    return pci_get32(p);
}

static char *temp_file(const void *data, size_t len)
{
    char *path = NULL;
    int fd = g_file_open_tmp("rhea-boot-XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_assert_true(g_file_set_contents(path, data, (gssize)len, NULL));
    return path;
}

static void test_modern(void)
{
    Fixture *f = fixture_new(64 << 20);
    GError *err = NULL;
    FwCfg *s = fw_cfg_new(f->m, &err);
    size_t len;
    g_autofree uint8_t *img = image(15, true, &len);
    g_autofree char *initrd = temp_file("initrd contents", 15);
    KernelFile k = {"k", img, len, initrd, "vga=0x317 quiet"};

    g_assert_true(linux_boot_probe(&k));
    g_assert_true(linux_boot_setup(s, &k, &f->layout, &err));
    g_assert_cmphex(item32(s, FW_CFG_SETUP_ADDR), ==, 0x10000);
    g_assert_cmphex(item32(s, FW_CFG_SETUP_SIZE), ==, SETUP_LEN);
    g_assert_cmphex(item32(s, FW_CFG_KERNEL_ADDR), ==, 0x100000);
    g_assert_cmphex(item32(s, FW_CFG_KERNEL_SIZE), ==, KERNEL_LEN);
    uint32_t cmd = item32(s, FW_CFG_CMDLINE_ADDR), at = item32(s, FW_CFG_INITRD_ADDR);
    const uint8_t *h = fw_cfg_get_bytes(s, FW_CFG_SETUP_DATA, &len);
    g_assert_cmphex(h[0x210], ==, 0xff);
    g_assert_cmphex(h[0x211], ==, 0x81);
    g_assert_cmphex(pci_get32(h + 0x228), ==, cmd);
    g_assert_cmphex(pci_get16(h + 0x224), ==, cmd - 0x10000 - 0x200);
    g_assert_cmphex(pci_get16(h + 0x1fa), ==, 0x317);
    g_assert_cmphex(pci_get32(h + 0x218), ==, at);
    g_assert_cmphex(pci_get32(h + 0x21c), ==, 15);
    g_assert_cmphex(at & 0xfff, ==, 0);
    g_assert_cmphex(at, >=, 0x1800000); /* above what the kernel unpacks into */
    g_assert_cmphex(at + 15, <, 64 << 20);
    const uint8_t *c = fw_cfg_get_bytes(s, FW_CFG_CMDLINE_DATA, &len);
    g_assert_cmpstr((const char *)c, ==, "vga=0x317 quiet");
    g_assert_cmpuint(item32(s, FW_CFG_CMDLINE_SIZE), ==, len);
    g_unlink(initrd);
    fixture_free(f);
}

/* mem= bounds the initrd, and so does initrd_addr_max. */
static void test_initrd_limits(void)
{
    Fixture *f = fixture_new(256 << 20);
    GError *err = NULL;
    FwCfg *s = fw_cfg_new(f->m, &err);
    size_t len;
    g_autofree uint8_t *img = image(15, true, &len);
    g_autofree char *initrd = temp_file("x", 1);
    KernelFile k = {"k", img, len, initrd, "a mem=64M b"};

    g_assert_true(linux_boot_setup(s, &k, &f->layout, &err));
    g_assert_cmphex(item32(s, FW_CFG_INITRD_ADDR), <, 64 << 20);
    k.append = NULL;
    pci_set32(img + 0x22c, 0x3ffffff);
    g_assert_true(linux_boot_setup(s, &k, &f->layout, &err));
    g_assert_cmphex(item32(s, FW_CFG_INITRD_ADDR), ==, 0x3fff000);
    pci_set32(img + 0x22c, 0x17fffff); /* all taken by the kernel */
    g_assert_false(linux_boot_setup(s, &k, &f->layout, &err));
    g_assert_nonnull(strstr(err->message, "MiB"));
    g_clear_error(&err);
    g_unlink(initrd);
    fixture_free(f);
}

static void test_old_protocols(void)
{
    Fixture *f = fixture_new(64 << 20);
    GError *err = NULL;
    FwCfg *s = fw_cfg_new(f->m, &err);
    size_t len;
    g_autofree uint8_t *img = image(1, true, &len);
    KernelFile k = {"k", img, len, NULL, "old"};

    g_assert_true(linux_boot_setup(s, &k, &f->layout, &err));
    g_assert_cmphex(item32(s, FW_CFG_SETUP_ADDR), ==, 0x90000);
    const uint8_t *h = fw_cfg_get_bytes(s, FW_CFG_SETUP_DATA, &len);
    g_assert_cmphex(pci_get16(h + 0x20), ==, 0xa33f);
    g_assert_cmphex(pci_get16(h + 0x22) + 0x90000, ==, item32(s, FW_CFG_CMDLINE_ADDR));
    img[0x211] = 0; /* zImage */
    g_assert_true(linux_boot_setup(s, &k, &f->layout, &err));
    g_assert_cmphex(item32(s, FW_CFG_KERNEL_ADDR), ==, 0x10000);
    fixture_free(f);
}

static void refused(Fixture *f, FwCfg *s, const KernelFile *k, const char *why)
{
    GError *err = NULL;
    g_assert_false(linux_boot_setup(s, k, &f->layout, &err));
    if (!strstr(err->message, why)) {
        g_error("'%s' is not in '%s'", why, err->message);
    }
    g_clear_error(&err);
}

static void test_refused(void)
{
    Fixture *f = fixture_new(64 << 20);
    FwCfg *s = fw_cfg_new(f->m, NULL);
    size_t len;
    g_autofree uint8_t *img = image(15, true, &len);
    char line[102];
    KernelFile k = {"k", img, len, NULL, line};

    memset(line, 'x', 101);
    line[101] = 0;
    refused(f, s, &k, "command line");
    k.append = "";
    img[0x1f1] = 255;
    refused(f, s, &k, "cut off");
    k.len = 600;
    img[0x1f1] = 4;
    refused(f, s, &k, "cut off");
    k.len = len;
    k.initrd = "/nonexistent/initrd";
    refused(f, s, &k, "/nonexistent/initrd");
    k.initrd = NULL;
    pci_set32(img + 0x260, 0xf0000000);
    refused(f, s, &k, "MiB of memory");
    k.len = 100;
    g_assert_false(linux_boot_probe(&k));
    fixture_free(f);
}

/* ---- Multiboot ---- */

static PcMemoryLayout layout_64m(void)
{
    return pc_memory_layout(64 << 20);
}

static void mb_header(uint8_t *p, uint32_t flags)
{
    pci_set32(p, 0x1badb002);
    pci_set32(p + 4, flags);
    pci_set32(p + 8, -(0x1badb002 + flags));
}

static const Flat32Piece *piece(const Flat32Boot *b, unsigned i)
{
    g_assert_cmpuint(i, <, b->pieces->len);
    return &g_array_index(b->pieces, Flat32Piece, i);
}

static void test_multiboot_addresses(void)
{
    g_autofree uint8_t *p = g_malloc0(9000);
    PcMemoryLayout l = layout_64m();
    GError *err = NULL;
    KernelFile k = {"mb", p, 9000, NULL, "arg"};

    mb_header(p + 64, 1 << 16);
    pci_set32(p + 64 + 12, 0x200040); /* header */
    pci_set32(p + 64 + 16, 0x200020); /* load: 32 bytes before */
    pci_set32(p + 64 + 20, 0x201020); /* 4 KiB */
    pci_set32(p + 64 + 24, 0x203000);
    pci_set32(p + 64 + 28, 0x200100);
    g_assert_true(multiboot_probe(&k));
    Flat32Boot *b = multiboot_load(&k, &l, &err);
    g_assert_no_error(err);
    g_assert_cmphex(piece(b, 0)->addr, ==, 0x200020);
    g_assert_cmphex(g_bytes_get_size(piece(b, 0)->data), ==, 0x1000);
    g_assert_cmphex(piece(b, 0)->size, ==, 0x203000 - 0x200020);
    g_assert_cmphex(b->eip, ==, 0x200100);
    g_assert_cmphex(b->eax, ==, 0x2badb002);
    g_assert_cmpstr(b->cmdline, ==, "mb arg");
    flat32_boot_free(b);

    static const struct {
        unsigned field;
        uint32_t val;
        const char *why;
    } bad[] = {{12, 0x200000, "before its start"}, {12, 0x300000, "before its start"},
               {20, 0x200000, "do not fit"},       {20, 0x20f000, "do not fit"},
               {24, 0x200100, "do not fit"},       {16, 0x20003f, NULL}};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        uint32_t old = pci_get32(p + 64 + bad[i].field);
        pci_set32(p + 64 + bad[i].field, bad[i].val);
        b = multiboot_load(&k, &l, &err);
        if (bad[i].why) {
            g_assert_null(b);
            g_assert_nonnull(strstr(err->message, bad[i].why));
            g_clear_error(&err);
        } else {
            g_assert_nonnull(b);
            flat32_boot_free(b);
        }
        pci_set32(p + 64 + bad[i].field, old);
    }
    mb_header(p + 64, 1 << 16 | 1 << 9);
    g_assert_null(multiboot_load(&k, &l, &err));
    g_assert_nonnull(strstr(err->message, "requires features"));
    g_clear_error(&err);
}

/* An ELF32 with one segment, at @paddr, and a PVH note. */
static uint8_t *elf32(uint32_t paddr, uint32_t memsz, bool note, size_t *len)
{
    uint8_t *p = g_malloc0(*len = 0x2000);
    Elf32_Ehdr h = {.e_type = ET_EXEC,
                    .e_machine = EM_386,
                    .e_version = 1,
                    .e_entry = 0xc0100010,
                    .e_phoff = sizeof(h),
                    .e_ehsize = sizeof(h),
                    .e_phentsize = sizeof(Elf32_Phdr),
                    .e_phnum = note ? 2 : 1};
    Elf32_Phdr load = {PT_LOAD, 0x1000, 0xc0100000, paddr, 0x800, memsz, 7, 0x1000};
    Elf32_Phdr pn = {PT_NOTE, 0x1000, 0, 0, 20, 20, 4, 4};

    memcpy(h.e_ident, ELFMAG, 4);
    h.e_ident[EI_CLASS] = ELFCLASS32;
    h.e_ident[EI_DATA] = ELFDATA2LSB;
    memcpy(p, &h, sizeof(h));
    memcpy(p + sizeof(h), &load, sizeof(load));
    memcpy(p + sizeof(h) + sizeof(load), &pn, sizeof(pn));
    pci_set32(p + 0x1000, 4);
    pci_set32(p + 0x1004, 4);
    pci_set32(p + 0x1008, 18);
    memcpy(p + 0x100c, "Xen", 4);
    pci_set32(p + 0x1010, 0x345678);
    return p;
}

static void test_multiboot_elf_and_modules(void)
{
    size_t len;
    g_autofree uint8_t *p = elf32(0x100000, 0x5000, false, &len);
    g_autofree char *m1 = temp_file("module one", 10), *m2 = temp_file("two", 3);
    g_autofree char *arg = g_strdup_printf("%s a b=1,,2,%s", m1, m2);
    PcMemoryLayout l = layout_64m();
    GError *err = NULL;
    KernelFile k = {"mb", p, len, arg, NULL};

    mb_header(p + 0x1100, 3);
    Flat32Boot *b = multiboot_load(&k, &l, &err);
    g_assert_no_error(err);
    g_assert_cmphex(b->eip, ==, 0x100010); /* virtual entry moved to where it lies */
    g_assert_cmpuint(b->modules->len, ==, 2);
    const Flat32Module *a = &g_array_index(b->modules, Flat32Module, 0);
    const Flat32Module *c = &g_array_index(b->modules, Flat32Module, 1);
    g_assert_cmphex(a->addr, ==, 0x105000);
    g_assert_cmpuint(a->size, ==, 10);
    g_assert_true(g_str_has_suffix(a->cmdline, " a b=1,2"));
    g_assert_cmphex(c->addr, ==, 0x106000);
    g_assert_cmpstr(c->cmdline, ==, m2);
    flat32_boot_free(b);

    k.initrd = "/nonexistent/module";
    g_assert_null(multiboot_load(&k, &l, &err));
    g_assert_nonnull(strstr(err->message, "/nonexistent/module"));
    g_clear_error(&err);
    g_unlink(m1);
    g_unlink(m2);
}

static void test_build_structures(void)
{
    Fixture *f = fixture_new(64 << 20);
    size_t len;
    g_autofree uint8_t *p = elf32(0x100000, 0x5000, true, &len);
    const E820Entry map[] = {{0, 0x9fc00, 1}, {0x100000, 0x3e00000, 1}, {0xfffc0000, 0x40000, 2}};
    KernelFile k = {"kernel", p, len, NULL, "line"};
    MemSpace *mem = f->m->memory;
    char text[32];

    mb_header(p + 0x1100, 3);
    Flat32Boot *b = multiboot_load(&k, &f->layout, NULL);
    b->machine = f->m;
    g_assert_true(b->build(b, map, 3));
    uint32_t i = b->ebx, flags = (uint32_t)mem_load(mem, i, 4);
    g_assert_cmphex(flags, ==, 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
    g_assert_cmpuint(mem_load(mem, i + 4, 4), ==, 639);
    g_assert_cmpuint(mem_load(mem, i + 8, 4), ==, 0x3e00000 >> 10);
    mem_read(mem, mem_load(mem, i + 16, 4), text, sizeof(text));
    g_assert_cmpstr(text, ==, "kernel line");
    g_assert_cmpuint(mem_load(mem, i + 44, 4), ==, 72);
    uint32_t m = (uint32_t)mem_load(mem, i + 48, 4);
    g_assert_cmpuint(mem_load(mem, m + 24, 4), ==, 20);
    g_assert_cmphex(mem_load(mem, m + 24 + 4, 8), ==, 0x100000);
    flat32_boot_free(b);

    GError *err = NULL;
    mem_write_rom(mem, 0xf5000, "RSD PTR ", 8);
    cfg_write(f, 0, 0x59, 0x30, 1); /* RAM at 0xf0000 */
    mem_write(mem, 0xf5a30, "RSD PTR ", 8);
    b = pvh_load(&k, &f->layout, &err);
    g_assert_no_error(err);
    g_assert_cmphex(b->eip, ==, 0x345678);
    b->machine = f->m;
    g_assert_true(b->build(b, map, 3));
    i = b->ebx;
    g_assert_cmphex(mem_load(mem, i, 4), ==, 0x336ec578);
    g_assert_cmphex(mem_load(mem, i + 4, 4), ==, 1);
    mem_read(mem, mem_load(mem, i + 24, 8), text, sizeof(text));
    g_assert_cmpstr(text, ==, "line");
    g_assert_cmphex(mem_load(mem, i + 32, 8), ==, 0xf5a30);
    g_assert_cmpuint(mem_load(mem, i + 48, 4), ==, 3);
    m = (uint32_t)mem_load(mem, i + 40, 8);
    g_assert_cmphex(mem_load(mem, m + 48, 8), ==, 0xfffc0000);
    g_assert_cmpuint(mem_load(mem, m + 64, 4), ==, 2);
    flat32_boot_free(b);
    fixture_free(f);
}

/* Every single damaged byte of the headers: refused or loaded, never out of bounds. */
static void test_damaged_elf(void)
{
    size_t len;
    g_autofree uint8_t *p = elf32(0x100000, 0x5000, true, &len);
    PcMemoryLayout l = layout_64m();
    static const uint8_t vals[] = {0, 1, 0x7f, 0x80, 0xff};
    /* An own block of exact size, so that the sanitizer sees what lies beyond. */
    for (unsigned i = 4; i < 0x1014; i = i == 0x80 ? 0x1000 : i + 1) {
        for (unsigned v = 0; v < sizeof(vals); v++) {
            g_autofree uint8_t *copy = g_memdup2(p, len);
            copy[i] = vals[v];
            KernelFile k = {"k", copy, len, NULL, NULL};
            Flat32Boot *b = pvh_load(&k, &l, NULL);
            flat32_boot_free(b);
        }
    }
    for (size_t cut = 52; cut < len; cut += 97) {
        g_autofree uint8_t *copy = g_memdup2(p, cut);
        KernelFile k = {"k", copy, cut, NULL, NULL};
        if (pvh_probe(&k)) {
            flat32_boot_free(pvh_load(&k, &l, NULL));
        }
    }
}

/* ---- the ROM ---- */

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;
    while (n--) {
        s += *p++;
    }
    return s;
}

static void test_rom(void)
{
    size_t len;
    g_autofree uint8_t *rom = direct_boot_rom(0x1234, &len);

    g_assert_cmphex(pci_get16(rom), ==, 0xaa55);
    g_assert_cmpuint(rom[2] * 512u, ==, len);
    g_assert_cmphex(sum(rom, len), ==, 0);
    const uint8_t *pnp = rom + pci_get16(rom + 0x1a);
    g_assert_cmpmem(pnp, 4, "$PnP", 4);
    g_assert_cmphex(sum(pnp, pnp[5] * 16u), ==, 0);
    g_assert_cmphex(pci_get16(pnp + 0x1a), !=, 0); /* boot entry vector */
    g_assert_cmphex(pci_get16(rom + 0x1c), ==, 0x1234);
}

/* The bytes in the tree are what as makes of linuxboot.S. */
static void test_rom_matches_source(void)
{
    const char *dir = g_getenv("RHEA_SRC");
    g_autofree char *script = g_build_filename(dir ? dir : ".", "hw/firmware/linuxboot.sh", NULL);
    char *argv[] = {script, "--binary", NULL};
    g_autofree char *out = NULL;
    size_t len;
    int status;
    GError *err = NULL;
    g_autofree uint8_t *rom = direct_boot_rom(0, &len);

    if (!g_file_test(script, G_FILE_TEST_EXISTS)) {
        g_test_skip("not run from the source tree (RHEA_SRC)");
        return;
    }
    g_assert_true(g_spawn_sync(NULL, argv, NULL, 0, NULL, NULL, &out, NULL, &status, &err));
    g_assert_cmpint(status, ==, 0);
    rom[0x29] = 0;
    rom[len - 1] = 0;
    g_assert_cmpmem(rom, len, out, len);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/linux_boot/modern-image", test_modern);
    g_test_add_func("/linux_boot/initrd-limits", test_initrd_limits);
    g_test_add_func("/linux_boot/old-protocols", test_old_protocols);
    g_test_add_func("/linux_boot/refused", test_refused);
    g_test_add_func("/multiboot/load-addresses", test_multiboot_addresses);
    g_test_add_func("/multiboot/elf-and-modules", test_multiboot_elf_and_modules);
    g_test_add_func("/multiboot/start-structures", test_build_structures);
    g_test_add_func("/pvh/damaged-elf", test_damaged_elf);
    g_test_add_func("/boot_rom/header-and-checksums", test_rom);
    g_test_add_func("/boot_rom/matches-source", test_rom_matches_source);
    return g_test_run();
}
