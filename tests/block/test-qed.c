/* qed: data against a model, hostile headers and tables, backing files, power cuts. */
#include "block/bytes.h"
#include "tests/block/format-test.h"

static void make(MemoryImage *m, uint64_t size)
{
    test_create(m, &format_qed, size, "cluster_size=4k,table_size=1");
}

static void make_plain(MemoryImage *m, uint64_t size)
{
    test_create(m, &format_qed, size, "");
}

/* Small tables by hand are not to be had: with 4K they reach over 2 MiB. */
static void make_wide(MemoryImage *m, uint64_t size)
{
    test_create(m, &format_qed, size, "cluster_size=4k,table_size=4");
}

static const FormatTest small = {&format_qed, make, 0};

static void test_models(void)
{
    test_data(&small, 5 << 20, 1);
    test_data(&(FormatTest){&format_qed, make_plain, 0}, (3 << 20) + 512, 2);
    test_data(&(FormatTest){&format_qed, make_wide, 0}, 1 << 20, 3);
    test_full(&small, 1 << 20);
}

static void test_headers(void)
{
    static const WrongField wrong[] = {
        {0, 4, 0, "not a qed"},
        {4, 4, 0, "cluster size"},
        {4, 4, 2048, "cluster size"},
        {4, 4, 5000, "cluster size"},
        {4, 4, 1u << 31, "cluster size"},
        {8, 4, 0, "table size"},
        {8, 4, 3, "table size"},
        {8, 4, 32, "table size"},
        {12, 4, 0, "header"},
        {12, 4, 0xffffffff, "header"},
        {12, 4, 2, "L1"},
        {16, 8, 8, "feature"},
        {16, 8, 1ull << 63, "feature"},
        {16, 8, 1, "name"},
        {40, 8, 0, "L1"},
        {40, 8, 4097, "L1"},
        {40, 8, 1ull << 40, "L1"},
        {40, 8, UINT64_MAX - 4095, "L1"},
        {48, 8, 1000, "size of the disk"},
        {48, 8, 1ull << 40, "size of the disk"},
        {48, 8, UINT64_MAX - 511, "size of the disk"},
    };
    test_wrong(&small, wrong, G_N_ELEMENTS(wrong), false, NULL);
    test_limits(&small, 0, 64, false, NULL);
    test_limits(&small, 4096, 16, false, NULL);
}

/* An image that asks for a check gets it before the first write. */
static void test_need_check(void)
{
    MemoryImage m = {0};
    uint8_t data[4096];
    BlockFile f, image;
    GError *err = NULL;

    make(&m, 1 << 20);
    memset(data, 5, sizeof(data));
    f = test_open(&small, &m, IMAGE_WRITE);
    g_assert_cmpint(test_io(&f, true, 0, data, sizeof(data)), ==, 0);
    g_assert_cmpint(test_io(&f, true, 8192, data, sizeof(data)), ==, 0);
    f.driver->close(f.file);
    m.data[16] |= 2;
    f = test_open(&small, &m, IMAGE_WRITE);
    f.driver->close(f.file);
    g_assert_cmpuint(m.data[16], ==, 0);
    m.data[16] |= 2;
    uint64_t l2 = get_le64(m.data + 4096);
    put_le64(m.data + l2 + 8, get_le64(m.data + l2)); /* two in one place */
    f = memory_image_file(&m);
    g_assert_false(format_qed.open(&image, &f, "test", IMAGE_WRITE, NULL, &err));
    g_assert_nonnull(strstr(err->message, "damaged"));
    g_clear_error(&err);
    f = test_open(&small, &m, 0);
    f.driver->close(f.file);
    /* A data cluster over the table itself is never written to. */
    m.data[16] = 0;
    put_le64(m.data + l2 + 8, l2);
    f = test_open(&small, &m, IMAGE_WRITE);
    g_assert_cmpint(test_io(&f, true, 4096, data, sizeof(data)), ==, -EIO);
    f.driver->close(f.file);
    g_free(m.data);
}

/* What is not written shows the file below, up to its end. */
static void test_backing(void)
{
    MemoryImage m = {0}, below = {0};
    uint64_t size = 1 << 20, short_size = size - 50000 / 512 * 512;
    g_autofree uint8_t *model = g_malloc0(size);
    GRand *r = g_rand_new_with_seed(7);

    below.len = short_size;
    below.data = g_malloc(short_size);
    for (uint64_t i = 0; i < short_size; i++) {
        below.data[i] = (uint8_t)g_rand_int(r);
    }
    memcpy(model, below.data, short_size);
    make(&m, size);
    BlockFile f = test_open(&small, &m, IMAGE_WRITE), b = memory_image_file(&below);
    f.driver->set_backing(f.file, &b);
    test_reads(&f, model, size);
    for (unsigned i = 0; i < 200; i++) {
        test_step(r, &f, model, size);
    }
    test_reads(&f, model, size);
    g_assert_true(f.driver->resize(&f, size + 8192, NULL));
    test_sound(&small, &f, false);
    f.driver->close(f.file);
    g_rand_free(r);
    g_free(m.data);
    g_free(below.data);
}

static void test_power(void)
{
    for (guint32 seed = 0; seed < 4; seed++) {
        test_cuts(&small, seed);
    }
    test_cuts(&(FormatTest){&format_qed, make_plain, 0}, 5);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qed/data", test_models);
    g_test_add_func("/qed/headers", test_headers);
    g_test_add_func("/qed/need-check", test_need_check);
    g_test_add_func("/qed/backing", test_backing);
    g_test_add_func("/qed/power-cuts", test_power);
    return g_test_run();
}
