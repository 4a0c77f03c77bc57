/* fw_cfg against the public interface text. */
#include "hw/firmware/fw_cfg.h"
#include "pci-fixture.h"
#include <unistd.h>

typedef struct Dma {
    uint32_t control, len;
    uint64_t addr;
} Dma;

static uint32_t dma(Fixture *f, uint32_t control, uint32_t len, uint64_t addr)
{
    Dma d = {GUINT32_TO_BE(control), GUINT32_TO_BE(len), GUINT64_TO_BE(addr)};
    mem_write(f->m->memory, 0x5000, &d, sizeof(d));
    outl(f, 0x518, GUINT32_TO_BE(0x5000));
    mem_read(f->m->memory, 0x5000, &d, sizeof(d));
    return GUINT32_FROM_BE(d.control);
}

static FwCfg *setup(Fixture *f)
{
    GError *err = NULL;
    FwCfg *s = fw_cfg_new(f->m, &err);
    g_assert_no_error(err);
    return s;
}

static void test_signature(void)
{
    Fixture *f = fixture_new(4 << 20);
    setup(f);
    const char *sig = "QEMU";
    outw(f, 0x510, 0);
    for (int i = 0; i < 4; i++) {
        g_assert_cmphex(inb(f, 0x511), ==, sig[i]);
    }
    g_assert_cmphex(inb(f, 0x511), ==, 0); /* beyond the end */
    outw(f, 0x510, 1);
    g_assert_cmphex(inb(f, 0x511), ==, 3);
    /* The DMA address register shows "QEMU CFG", big endian. */
    char text[9] = {0};
    for (int i = 0; i < 8; i++) {
        text[i] = (char)inb(f, 0x514 + i);
    }
    g_assert_cmpstr(text, ==, "QEMU CFG");
    g_assert_cmphex(inl(f, 0x514), ==, 0x554d4551);
    outw(f, 0x510, 0x1234); /* no such item */
    g_assert_cmphex(inb(f, 0x511), ==, 0);
    fixture_free(f);
}

/* An item that stays in its file: a range of it, by ports and by DMA, also when the file shrinks.
 */
static void test_file_range(void)
{
    Fixture *f = fixture_new(4 << 20);
    FwCfg *s = setup(f);
    char *path = NULL, buf[40000], back[40010];
    int fd = g_file_open_tmp("rhea-fwcfg-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    for (unsigned i = 0; i < sizeof(buf); i++) {
        buf[i] = (char)(i * 7 + (i >> 8));
    }
    g_assert_cmpint(write(fd, buf, sizeof(buf)), ==, sizeof(buf));
    fw_cfg_take_fd(s, FW_CFG_KERNEL_DATA, dup(fd), 100, sizeof(buf) - 100);
    outw(f, 0x510, FW_CFG_KERNEL_DATA);
    g_assert_cmphex(inb(f, 0x511), ==, (uint8_t)buf[100]);
    g_assert_cmphex(inb(f, 0x511), ==, (uint8_t)buf[101]);
    /* Select and read the whole, and ten bytes more: zeros. */
    g_assert_cmphex(dma(f, FW_CFG_KERNEL_DATA << 16 | 8 | 2, sizeof(buf) - 90, 0x10000), ==, 0);
    mem_read(f->m->memory, 0x10000, back, sizeof(buf) - 90);
    g_assert_cmpmem(back, sizeof(buf) - 100, buf + 100, sizeof(buf) - 100);
    for (unsigned i = 0; i < 10; i++) {
        g_assert_cmpint(back[sizeof(buf) - 100 + i], ==, 0);
    }
    g_assert_cmpint(ftruncate(fd, 200), ==, 0);
    g_assert_cmphex(dma(f, FW_CFG_KERNEL_DATA << 16 | 8 | 2, 300, 0x10000), ==, 0);
    mem_read(f->m->memory, 0x10000, back, 300);
    g_assert_cmpmem(back, 100, buf + 100, 100);
    g_assert_cmpint(back[100] | back[299], ==, 0);
    /* Replaced by bytes in memory. */
    fw_cfg_set_bytes(s, FW_CFG_KERNEL_DATA, "xy", 2);
    outw(f, 0x510, FW_CFG_KERNEL_DATA);
    g_assert_cmphex(inb(f, 0x511), ==, 'x');
    close(fd);
    unlink(path);
    g_free(path);
    fixture_free(f);
}

static void test_directory(void)
{
    Fixture *f = fixture_new(4 << 20);
    FwCfg *s = setup(f);
    uint8_t dir[4 + 2 * 64];

    g_assert_true(fw_cfg_set_file(s, "etc/one", "abc", 3, NULL));
    g_assert_true(fw_cfg_set_file(s, "genroms/two.bin", "defghij", 7, NULL));
    outw(f, 0x510, 0x19);
    for (unsigned i = 0; i < sizeof(dir); i++) {
        dir[i] = (uint8_t)inb(f, 0x511);
    }
    g_assert_cmphex(dir[3], ==, 2);
    g_assert_cmphex(dir[4 + 3], ==, 3);
    g_assert_cmphex(dir[4 + 5], ==, 0x20);
    g_assert_cmpstr((char *)dir + 4 + 8, ==, "etc/one");
    g_assert_cmphex(dir[68 + 5], ==, 0x21);
    g_assert_cmpstr((char *)dir + 68 + 8, ==, "genroms/two.bin");
    outw(f, 0x510, 0x21);
    g_assert_cmphex(inb(f, 0x511), ==, 'd');
    outw(f, 0x510, 0x4021); /* "write mode" selects the same item */
    g_assert_cmphex(inb(f, 0x511), ==, 'd');
    outb(f, 0x511, 'X'); /* the data port takes no writes */
    outw(f, 0x510, 0x21);
    g_assert_cmphex(inb(f, 0x511), ==, 'd');

    GError *err = NULL;
    char name[80];
    memset(name, 'n', sizeof(name));
    name[56] = 0;
    g_assert_false(fw_cfg_set_file(s, name, "", 0, &err));
    g_clear_error(&err);
    name[55] = 0;
    g_assert_true(fw_cfg_set_file(s, name, "", 0, &err));
    fixture_free(f);
}

static void test_dma(void)
{
    Fixture *f = fixture_new(4 << 20);
    FwCfg *s = setup(f);
    char buf[16] = {0};

    fw_cfg_set_file(s, "file", "0123456789", 10, NULL);
    mem_store(f->m->memory, 0x6000, 0x2323232323232323, 8);
    mem_store(f->m->memory, 0x6008, 0x2323232323232323, 8);
    /* select + read, beyond the end zeros */
    g_assert_cmphex(dma(f, 0x20u << 16 | 0x0a, 12, 0x6000), ==, 0);
    mem_read(f->m->memory, 0x6000, buf, 16);
    g_assert_cmpmem(buf, 16, "0123456789\0\0####", 16);
    /* select + skip, then read on */
    g_assert_cmphex(dma(f, 0x20u << 16 | 0x0c, 4, 0), ==, 0);
    g_assert_cmphex(dma(f, 0x02, 3, 0x6000), ==, 0);
    mem_read(f->m->memory, 0x6000, buf, 4);
    g_assert_cmpmem(buf, 4, "4563", 4);
    g_assert_cmphex(inb(f, 0x511), ==, '7'); /* one position for both ways */
    /* writing what is read only */
    g_assert_cmphex(dma(f, 0x20u << 16 | 0x18, 2, 0x6000) & 1, ==, 1);
    /* a target that is no RAM; a huge length */
    g_assert_cmphex(dma(f, 0x20u << 16 | 0x0a, 12, 0xf0000000) & 1, ==, 1);
    g_assert_cmphex(dma(f, 0x20u << 16 | 0x0a, 0xffffffff, 0x6000) & 1, ==, 1);
    g_assert_cmphex(dma(f, 0x20u << 16 | 0x0a, 16, UINT64_MAX - 3) & 1, ==, 1);
    /* skipping far beyond the end */
    for (int i = 0; i < 4; i++) {
        g_assert_cmphex(dma(f, 0x04, 0xffffffff, 0), ==, 0);
    }
    g_assert_cmphex(inb(f, 0x511), ==, 0);
    /* the request itself in no RAM */
    outl(f, 0x514, GUINT32_TO_BE(0xffffffff));
    outl(f, 0x518, GUINT32_TO_BE(0xfffffff8));
    fixture_free(f);
}

static unsigned written;

static void on_write(void *opaque)
{
    written++;
}

static void test_writable(void)
{
    Fixture *f = fixture_new(4 << 20);
    FwCfg *s = setup(f);
    size_t len;

    written = 0;
    g_assert_true(fw_cfg_set_file_rw(s, "rw", "........", 8, on_write, NULL, NULL, NULL));
    mem_write(f->m->memory, 0x6000, "hello", 5);
    dma(f, 0x20u << 16 | 0x0c, 2, 0);
    g_assert_cmphex(dma(f, 0x10, 5, 0x6000), ==, 0);
    g_assert_cmpmem(fw_cfg_get_file(s, "rw", &len), 8, "..hello.", 8);
    g_assert_cmpuint(written, ==, 1);
    /* never beyond the end */
    g_assert_cmphex(dma(f, 0x20u << 16 | 0x18, 9, 0x6000) & 1, ==, 1);
    g_assert_cmpuint(written, ==, 1);
    fw_cfg_get_file(s, "rw", &len);
    g_assert_cmpuint(len, ==, 8);
    fixture_free(f);
}

static void refresh(void *opaque)
{
    g_assert_true(fw_cfg_set_file(opaque, "late", "new contents", 12, NULL));
}

static void test_refresh_and_bootorder(void)
{
    Fixture *f = fixture_new(4 << 20);
    FwCfg *s = setup(f);
    size_t len;

    fw_cfg_set_file(s, "late", "old", 3, NULL);
    fw_cfg_set_refresh(s, "late", refresh, s);
    outw(f, 0x510, 0x20);
    g_assert_cmphex(inb(f, 0x511), ==, 'n');
    fw_cfg_add_boot_path(s, 5, "/five");
    fw_cfg_add_boot_path(s, 1, "/one");
    fw_cfg_add_boot_path(s, 5, "/five-b");
    g_assert_cmpstr((char *)fw_cfg_get_file(s, "bootorder", &len), ==, "/one\n/five\n/five-b");
    fixture_free(f);
}

static void test_pc_items(void)
{
    Fixture *f = fixture_new(64 << 20);
    FwCfg *s = setup(f);
    const E820Entry map[] = {{0, 64 << 20, E820_RAM}, {0xfeffc000, 0x4000, E820_RESERVED}};
    size_t len;
    GError *err = NULL;

    f->m->cfg.smp = 3;
    f->m->cfg.boot_menu = true;
    f->m->cfg.boot_menu_timeout = 1500;
    g_assert_true(fw_cfg_setup_pc(s, map, 2, &err));
    const uint8_t *p = fw_cfg_get_file(s, "etc/e820", &len);
    g_assert_cmpuint(len, ==, 40);
    g_assert_cmphex(pci_get32(p + 8), ==, 64 << 20);
    g_assert_cmphex(pci_get32(p + 20), ==, 0xfeffc000);
    g_assert_cmphex(pci_get32(p + 36), ==, 2);
    outw(f, 0x510, FW_CFG_NB_CPUS);
    g_assert_cmphex(inb(f, 0x511), ==, 3);
    p = fw_cfg_get_file(s, "etc/boot-menu-wait", &len);
    g_assert_cmphex(pci_get16(p), ==, 1500);

    uint8_t a, b;
    g_assert_true(pc_boot_order_cmos("dcn", &a, &b, &err));
    g_assert_cmphex(b, ==, 0x23); /* CD 3, disk 2 */
    g_assert_cmphex(a, ==, 0x40);
    g_assert_true(pc_boot_order_cmos(NULL, &a, &b, &err));
    g_assert_cmphex(b, ==, 0x12);
    g_assert_cmphex(a, ==, 0x30);
    g_assert_false(pc_boot_order_cmos("C", &a, &b, &err));
    g_clear_error(&err);
    g_assert_false(pc_boot_order_cmos("cc", &a, &b, &err));
    g_clear_error(&err);
    fixture_free(f);
}

/* -fw_cfg and -boot strict=, splash= as people write them. */
static void test_user_items(void)
{
    static const char *const bad[] = {
        "name=opt/x",
        "string=a",
        "name=opt/x,file=/nonexistent",
        "name=opt/x,string=a,file=b",
        "name=etc/there,string=a",
        "name=opt/x,string=a,colour=red",
    };
    Fixture *f = fixture_new(4 << 20);
    FwCfg *s = setup(f);
    g_autoptr(GPtrArray) items = g_ptr_array_new();
    GError *err = NULL;
    size_t len;

    g_ptr_array_add(items, (gpointer) "name=opt/one,string=a,,b");
    g_ptr_array_add(items, (gpointer) "opt/two,string=xyz");
    g_assert_true(fw_cfg_add_user_items(s, items, &err));
    g_assert_cmpmem(fw_cfg_get_file(s, "opt/one", &len), len, "a,b", 3);
    g_assert_cmpmem(fw_cfg_get_file(s, "opt/two", &len), len, "xyz", 3);
    fw_cfg_set_file(s, "etc/there", "1", 1, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        items->pdata[0] = (gpointer)bad[i];
        g_assert_false(fw_cfg_add_user_items(s, items, &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
    }
    fw_cfg_set_boot_strict(s);
    g_assert_null(fw_cfg_get_file(s, "bootorder", &len)); /* no order: nothing to be strict about */
    fw_cfg_add_boot_path(s, 1, "/one");
    g_assert_cmpstr((char *)fw_cfg_get_file(s, "bootorder", &len), ==, "/one\nHALT");
    g_assert_false(fw_cfg_add_splash(s, "/proc/self/comm", &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fw_cfg/signature-and-id", test_signature);
    g_test_add_func("/fw_cfg/file-range", test_file_range);
    g_test_add_func("/fw_cfg/directory-and-files", test_directory);
    g_test_add_func("/fw_cfg/dma", test_dma);
    g_test_add_func("/fw_cfg/writable-file", test_writable);
    g_test_add_func("/fw_cfg/refresh-and-bootorder", test_refresh_and_bootorder);
    g_test_add_func("/fw_cfg/user-items", test_user_items);
    g_test_add_func("/fw_cfg/pc-items", test_pc_items);
    return g_test_run();
}
