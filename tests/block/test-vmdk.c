/* vmdk: sparse and compressed extents against a model, hostile headers, descriptors, power cuts. */
#include "block/bytes.h"
#include "block/vmdk.h"
#include "tests/block/format-test.h"
#include <glib/gstdio.h>

/* Grains of 4 KiB. */
static void shrink_grains(MemoryImage *m)
{
    put_le64(m->data + 20, 8);
}

static void make(MemoryImage *m, uint64_t size)
{
    test_create(m, &format_vmdk, size, "");
    shrink_grains(m);
}

static void make_zeroed(MemoryImage *m, uint64_t size)
{
    test_create(m, &format_vmdk, size, "zeroed_grain=on");
    shrink_grains(m);
}

static void make_stream(MemoryImage *m, uint64_t size)
{
    test_create(m, &format_vmdk, size, "subformat=streamOptimized");
    shrink_grains(m);
}

/* Without grain tables: they come to be with the first grain. */
static void make_bare(MemoryImage *m, uint64_t size)
{
    make(m, size);
    memset(m->data + get_le64(m->data + 48) * 512, 0, 512);
    memset(m->data + get_le64(m->data + 56) * 512, 0, 512);
}

static const FormatTest small = {&format_vmdk, make, 0}, stream = {&format_vmdk, make_stream, 0},
                        zeroed = {&format_vmdk, make_zeroed, 0},
                        bare = {&format_vmdk, make_bare, 0};

static void test_models(void)
{
    test_data(&small, 1 << 20, 1);
    test_data(&zeroed, 1 << 20, 2);
    test_data(&bare, (1 << 20) + 512, 3);
    test_data(&stream, 1 << 20, 4);
    test_full(&small, 1 << 20);
    test_full(&bare, 1 << 20);
}

static void test_headers(void)
{
    static const WrongField wrong[] = {
        {0, 4, 0, "not a vmdk"},
        {0, 4, 0x44574f43, "COWD"},
        {4, 4, 0, "version 0"},
        {4, 4, 4, "version 4"},
        {8, 4, 0x10003, "compression"},
        {12, 8, 1ull << 60, "too large"},
        {12, 8, 1ull << 40, "out of the file"},
        {20, 8, 0, "grain"},
        {20, 8, 4, "grain"},
        {20, 8, 100, "grain"},
        {20, 8, 1ull << 40, "grain"},
        {28, 8, 1ull << 50, "descriptor"},
        {28, 8, 1000, "descriptor"},
        {36, 8, 1ull << 50, "descriptor"},
        {44, 4, 0, "512 entries"},
        {44, 4, 0xffffffff, "512 entries"},
        {48, 8, 1ull << 60, "out of the file"},
        {56, 8, 0, "out of the file"},
        {56, 8, 1ull << 60, "out of the file"},
        {56, 8, UINT64_MAX, "footer"},
        {56, 8, 21, "overlaps"},
        {64, 8, UINT64_MAX, "out of the file"},
    };
    test_wrong(&small, wrong, G_N_ELEMENTS(wrong), false, NULL);
    test_limits(&small, 0, 80, false, NULL);
    test_limits(&stream, 0, 80, false, NULL);
    test_limits(&small, 21 * 512, 8, false, NULL);
    test_limits(&small, 22 * 512, 8, false, NULL);
    test_limits(&small, 26 * 512, 16, false, NULL);
}

/* A stream as the specification has it: the directory comes last, with a footer behind it. */
static void test_footer(void)
{
    MemoryImage m = {0};
    uint64_t size = 192 << 10;
    g_autofree uint8_t *model = g_malloc0(size);
    GRand *r = g_rand_new_with_seed(3);

    make_stream(&m, size);
    BlockFile f = test_open(&stream, &m, IMAGE_WRITE);
    for (unsigned i = 0; i < 30; i++) {
        test_step(r, &f, model, size);
    }
    f.driver->close(f.file);
    uint8_t tail[3 * 512] = {0}; /* footer marker, footer, end of stream */
    put_le64(tail, 1);
    put_le32(tail + 12, 3);
    memcpy(tail + 512, m.data, 512);
    put_le64(m.data + 56, UINT64_MAX);
    m.data = g_realloc(m.data, m.len + sizeof(tail));
    memcpy(m.data + m.len, tail, sizeof(tail));
    m.len += sizeof(tail);
    f = test_open(&stream, &m, 0);
    test_reads(&f, model, size);
    f.driver->close(f.file);
    f = test_open(&stream, &m, IMAGE_WRITE); /* ends behind the footer from now on */
    for (unsigned i = 0; i < 30; i++) {
        test_step(r, &f, model, size);
    }
    f.driver->close(f.file);
    f = test_open(&stream, &m, 0);
    test_reads(&f, model, size);
    f.driver->close(f.file);
    g_rand_free(r);
    g_free(m.data);
}

/* Disks of several files, as descriptors describe them. */
static void test_descriptors(void)
{
    static const struct {
        const char *text, *says; /* NULL: is fine */
    } all[] = {
        {"RW 8 FLAT \"a\" 0\nRW 8 ZERO\nRW 8 FLAT \"b\" 8\n", NULL},
        {"RW 8 VMFS \"a\"\n", NULL},
        {"RW 8 FLAT \"a\" 9\n", "smaller"},
        {"RW 17 FLAT \"a\" 0\n", "smaller"},
        {"RW 8 FLAT \"none\" 0\n", "none"},
        {"RW 8 FLAT\n", "no file name"},
        {"RW 8 FLAT a 0\n", "no file name"},
        {"RW 8 FLAT \"\" 0\n", "no file name"},
        {"RW 8 FLAT \"a 0\n", "no file name"},
        {"RW 8 SPARSE \"a\"\n", "not a sparse"},
        {"RW 8 SESPARSE \"a\"\n", "SESPARSE"},
        {"NOACCESS 8 FLAT \"a\" 0\n", "NOACCESS"},
        {"RW 18446744073709551615 ZERO\n", "too large"},
        {"RW 8 FLAT \"a\" 18446744073709551615\n", "too large"},
        {"", "no extents"},
        {"parentCID=12345678\nRW 8 ZERO\n", "does not name"},
        {"parentCID=12345678\nparentFileNameHint=\"x\"\nRW 8 ZERO\n", "parents"},
    };
    g_autofree char *dir = g_dir_make_tmp("rhea-vmdk-XXXXXX", NULL);
    g_autofree char *a = g_build_filename(dir, "a", NULL), *d = g_build_filename(dir, "d", NULL),
                    *b = g_build_filename(dir, "b", NULL);
    uint8_t data[16 * 512];

    for (unsigned i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(i / 512 + 1);
    }
    g_assert_true(g_file_set_contents(a, (char *)data, sizeof(data), NULL));
    g_assert_true(g_file_set_contents(b, (char *)data, sizeof(data), NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        g_autofree char *text = g_strdup_printf(
            "# Disk DescriptorFile\nversion=1\nCID=11223344\n"
            "createType=\"custom\"\n%s%s",
            strstr(all[i].text, "parentCID") ? "" : "parentCID=ffffffff\n", all[i].text);
        GError *err = NULL;
        BlockFile f;
        g_assert_true(g_file_set_contents(d, text, -1, NULL));
        bool ok = image_open(&f, d, NULL, IMAGE_WRITE, &err);
        const char *says = all[i].says;
        if (ok == (says != NULL) || (says && !strstr(err->message, says))) {
            g_error("'%s': got %s", all[i].text, ok ? "an open image" : err->message);
        }
        g_clear_error(&err);
        if (ok && i == 0) {
            uint8_t back[24 * 512];
            g_assert_cmpuint(f.size, ==, sizeof(back));
            g_assert_cmpint(test_io(&f, false, 0, back, sizeof(back)), ==, 0);
            g_assert_cmpmem(back, 8 * 512, data, 8 * 512);
            g_assert_cmpuint(back[8 * 512], ==, 0);
            g_assert_cmpmem(back + 16 * 512, 8 * 512, data + 8 * 512, 8 * 512);
            g_assert_cmpint(test_io(&f, true, 9 * 512, back, 512), ==, -EROFS);
            g_assert_cmpint(test_io(&f, true, 0, back, 512), ==, 0);
        }
        if (ok) {
            f.driver->close(f.file);
        }
    }
    g_unlink(a);
    g_unlink(b);
    g_unlink(d);
    g_rmdir(dir);
}

/* Whoever writes gives the disk a new CID, once. */
static void test_cid(void)
{
    MemoryImage m = {0};
    uint8_t data[512] = {1};

    make(&m, 192 << 10);
    BlockFile f = test_open(&small, &m, IMAGE_WRITE);
    uint32_t old = vmdk_cid(&f);
    g_assert_cmpint(test_io(&f, true, 0, data, 512), ==, 0);
    uint32_t new = vmdk_cid(&f);
    g_assert_cmpuint(old, !=, new);
    g_assert_cmpint(test_io(&f, true, 512, data, 512), ==, 0);
    g_assert_cmpuint(vmdk_cid(&f), ==, new);
    f.driver->close(f.file);
    f = test_open(&small, &m, 0);
    g_assert_cmpuint(vmdk_cid(&f), ==, new);
    f.driver->close(f.file);
    g_free(m.data);
}

static void test_power(void)
{
    for (guint32 seed = 0; seed < 3; seed++) {
        test_cuts(&small, seed);
        test_cuts(&bare, seed + 10);
    }
    test_cuts(&zeroed, 20);
    test_cuts(&stream, 30);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vmdk/data", test_models);
    g_test_add_func("/vmdk/headers", test_headers);
    g_test_add_func("/vmdk/footer", test_footer);
    g_test_add_func("/vmdk/descriptors", test_descriptors);
    g_test_add_func("/vmdk/cid", test_cid);
    g_test_add_func("/vmdk/power-cuts", test_power);
    return g_test_run();
}
