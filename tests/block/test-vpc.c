/* vpc: data against a model, hostile footers, headers and tables, power cuts. */
#include "block/bytes.h"
#include "tests/block/format-test.h"

#define BLOCK 8192u

static void sum(uint8_t *p, size_t n, size_t at)
{
    uint32_t all = 0;
    put_be32(p + at, 0);
    for (size_t i = 0; i < n; i++) {
        all += p[i];
    }
    put_be32(p + at, ~all);
}

/* Makes the checksums right again, as one who means harm does. */
static void fix_sums(MemoryImage *m)
{
    sum(m->data, 512, 64);
    sum(m->data + 512, 1024, 36);
    memcpy(m->data + m->len - 512, m->data, 512);
}

static void make(MemoryImage *m, uint64_t size)
{
    test_create(m, &format_vpc, size / BLOCK << 21, "force_size=on");
    put_be64(m->data + 48, size);
    put_be32(m->data + 512 + 32, BLOCK);
    fix_sums(m);
}

static void make_fixed(MemoryImage *m, uint64_t size)
{
    test_create(m, &format_vpc, size, "force_size=on,subformat=fixed");
}

static void make_plain(MemoryImage *m, uint64_t size)
{
    test_create(m, &format_vpc, size, "force_size=on");
}

static const FormatTest small = {&format_vpc, make, 0};

static void test_models(void)
{
    test_data(&small, 1 << 20, 1);
    test_data(&(FormatTest){&format_vpc, make_fixed, 0}, (1 << 20) + 512, 2);
    test_data(&(FormatTest){&format_vpc, make_plain, 0}, (5 << 20) + 512, 3);
    test_full(&small, 1 << 20);
}

static void test_headers(void)
{
    static const WrongField wrong[] = {
        {12, 4, 0x00020000, "version of the footer"},
        {16, 8, 0, "no header"},
        {16, 8, 513, "no header"},
        {16, 8, UINT64_MAX, "no header"},
        {16, 8, INT64_MAX, "no header"},
        {48, 8, UINT64_MAX, "too large"},
        {48, 8, 1ull << 40, "too short"},
        {60, 4, 4, "differencing"},
        {60, 4, 7, "type 7"},
        {512, 4, 0, "no header"},
        {512 + 16, 8, 0, "overlap"},
        {512 + 16, 8, 512, "overlap"},
        {512 + 16, 8, 1535, "overlap"},
        {512 + 16, 8, UINT64_MAX, "overlap"},
        {512 + 24, 4, 0x00020000, "version of the dynamic"},
        {512 + 28, 4, 1, "too short"},
        {512 + 28, 4, 0xffffffff, "out of the file"},
        {512 + 32, 4, 0, "power of 2"},
        {512 + 32, 4, 3 << 10, "power of 2"},
        {512 + 32, 4, 1u << 31, "power of 2"},
    };
    static const WrongField sums[] = {{512 + 36, 4, 0, "checksum of the dynamic"}};

    test_wrong(&small, wrong, G_N_ELEMENTS(wrong), true, fix_sums);
    test_wrong(&small, sums, 1, true, NULL);
    test_limits(&small, 8, 80, true, fix_sums);
    test_limits(&small, 512, 48, true, fix_sums);
    test_limits(&small, 1536, 16, true, NULL);
}

/* Without the footer at the end, as after a crash, the copy at the front counts. */
static void test_footers(void)
{
    MemoryImage m = {0};
    GError *err = NULL;
    BlockFile f, image;

    make(&m, 192 << 10);
    m.len -= 512;
    f = test_open(&small, &m, IMAGE_WRITE);
    f.driver->close(f.file);
    g_assert_cmpmem(m.data + m.len - 512, 512, m.data, 512);
    memset(m.data, 0, 512);
    f = test_open(&small, &m, 0);
    f.driver->close(f.file);
    memset(m.data + m.len - 512, 0, 512);
    f = memory_image_file(&m);
    g_assert_false(format_vpc.open(&image, &f, "test", 0, NULL, &err));
    g_assert_nonnull(strstr(err->message, "footer"));
    g_clear_error(&err);
    g_free(m.data);
}

/* Sectors that did not count in a block's bitmap do so once something is written. */
static void test_bitmap(void)
{
    MemoryImage m = {0};
    uint8_t data[512];

    make(&m, 192 << 10);
    memset(data, 9, sizeof(data));
    BlockFile f = test_open(&small, &m, IMAGE_WRITE);
    g_assert_cmpint(test_io(&f, true, 0, data, sizeof(data)), ==, 0);
    f.driver->close(f.file);
    uint64_t at = get_be32(m.data + 1536) * 512ull;
    g_assert_cmpuint(m.data[at], ==, 0xff);
    m.data[at] = 0x80; /* the first sector only */
    f = test_open(&small, &m, IMAGE_WRITE);
    g_assert_cmpint(test_io(&f, true, 512, data, sizeof(data)), ==, 0);
    f.driver->close(f.file);
    g_assert_cmpuint(m.data[at], ==, 0xff);
    g_free(m.data);
}

static void test_power(void)
{
    for (guint32 seed = 0; seed < 4; seed++) {
        test_cuts(&small, seed);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vpc/data", test_models);
    g_test_add_func("/vpc/headers", test_headers);
    g_test_add_func("/vpc/footers", test_footers);
    g_test_add_func("/vpc/bitmap", test_bitmap);
    g_test_add_func("/vpc/power-cuts", test_power);
    return g_test_run();
}
