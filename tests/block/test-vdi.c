/* vdi: data against a model, hostile headers and maps, power cuts. */
#include "block/bytes.h"
#include "tests/block/format-test.h"

#define BLOCK 4096u

/* Small blocks: as many as an image with blocks of 1 MiB has of those. */
static void make(MemoryImage *m, uint64_t size)
{
    test_create(m, &format_vdi, size / BLOCK << 20, "");
    put_le64(m->data + 0x170, size);
    put_le32(m->data + 0x178, BLOCK);
}

static void make_static(MemoryImage *m, uint64_t size)
{
    test_create(m, &format_vdi, size, "static=on");
}

static void make_plain(MemoryImage *m, uint64_t size)
{
    test_create(m, &format_vdi, size, "");
}

static const FormatTest small = {&format_vdi, make, 0};

static void test_models(void)
{
    test_data(&small, 1 << 20, 1);
    test_data(&(FormatTest){&format_vdi, make_static, 0}, 3 << 20, 2);
    test_data(&(FormatTest){&format_vdi, make_plain, 0}, (3 << 20) + 512, 3);
    test_full(&small, 1 << 20);
}

static void test_headers(void)
{
    static const WrongField wrong[] = {
        {0x40, 4, 0x12345678, "not a vdi"},
        {0x44, 4, 0x00010000, "version"},
        {0x44, 4, 0x00020001, "version"},
        {0x4c, 4, 0, "type"},
        {0x4c, 4, 4, "differencing"},
        {0x4c, 4, 3, "differencing"},
        {0x1b8, 4, 1, "differencing"},
        {0x154, 4, 0, "overlap"},
        {0x154, 4, 513, "overlap"},
        {0x154, 4, 0xfffffe00, "overlap"},
        {0x158, 4, 512, "overlap"},
        {0x168, 4, 4096, "sector"},
        {0x170, 8, UINT64_MAX, "size of the disk"},
        {0x170, 8, (192 << 10) + 1, "size of the disk"},
        {0x178, 4, 0, "power of 2"},
        {0x178, 4, 3 << 10, "power of 2"},
        {0x178, 4, 1u << 31, "power of 2"},
        {0x17c, 4, 512, "power of 2"},
        {0x180, 4, 0xffffffff, "size of the disk"},
        {0x180, 4, 1, "size of the disk"},
    };
    test_wrong(&small, wrong, G_N_ELEMENTS(wrong), false, NULL);
    test_limits(&small, 0x40, 0x1d0 - 0x40, false, NULL);
    test_limits(&small, 512, 32, false, NULL);
}

/* Entries that share a place, or have none: found, and -r all forgets only the latter. */
static void test_check(void)
{
    MemoryImage m = {0};
    uint8_t data[BLOCK];
    ImageCheck r;

    make(&m, 192 << 10);
    BlockFile f = test_open(&small, &m, IMAGE_WRITE);
    for (unsigned i = 0; i < 4; i++) {
        memset(data, (int)i + 1, sizeof(data));
        g_assert_cmpint(test_io(&f, true, i * BLOCK, data, sizeof(data)), ==, 0);
    }
    f.driver->close(f.file);
    put_le32(m.data + 512 + 5 * 4, 1);         /* as block 1 */
    put_le32(m.data + 512 + 6 * 4, 0xfffffff); /* no such place */
    f = test_open(&small, &m, 0);
    g_assert_cmpint(format_vdi.check(&f, 0, &r, NULL, NULL), ==, 0);
    g_assert_cmpuint(r.corruptions, ==, 2);
    g_assert_cmpint(test_io(&f, false, 6 * BLOCK, data, sizeof(data)), ==, -EIO);
    f.driver->close(f.file);
    f = test_open(&small, &m, IMAGE_WRITE | IMAGE_REPAIR);
    g_assert_cmpint(format_vdi.check(&f, QCOW2_FIX_LEAKS | QCOW2_FIX_ERRORS, &r, NULL, NULL), ==,
                    0);
    g_assert_cmpuint(r.corruptions, ==, 1);
    g_assert_cmpuint(r.corruptions_fixed, ==, 1);
    g_assert_cmpint(test_io(&f, false, 5 * BLOCK, data, sizeof(data)), ==, 0);
    g_assert_cmpuint(data[100], ==, 2);
    g_assert_cmpint(test_io(&f, false, 6 * BLOCK, data, sizeof(data)), ==, 0);
    g_assert_cmpuint(data[100], ==, 0);
    f.driver->close(f.file);
    g_free(m.data);
}

static void test_power(void)
{
    for (guint32 seed = 0; seed < 4; seed++) {
        test_cuts(&small, seed);
    }
    test_cuts(&(FormatTest){&format_vdi, make_plain, 0}, 5);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vdi/data", test_models);
    g_test_add_func("/vdi/headers", test_headers);
    g_test_add_func("/vdi/check", test_check);
    g_test_add_func("/vdi/power-cuts", test_power);
    return g_test_run();
}
