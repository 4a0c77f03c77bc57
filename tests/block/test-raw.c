/* Block devices over raw files: data, ends, errors, locking, overlay, order of completions. */
#include "block/block.h"
#include "core/machine.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#define MIB (1u << 20)

typedef struct Result {
    unsigned calls;
    int ret;
} Result;

static void done(void *opaque, int ret)
{
    Result *r = opaque;
    r->calls++;
    r->ret = ret;
}

static char *image(size_t len)
{
    char *path = NULL;
    int fd = g_file_open_tmp("rhea-block-XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, (off_t)len), ==, 0);
    close(fd);
    return path;
}

static BlockDev *open_with(const char *path, bool ro, bool snapshot)
{
    const BlockOptions o = {.file = path, .read_only = ro, .snapshot = snapshot};
    GError *err = NULL;
    BlockDev *b = block_open(&o, &err);
    g_assert_no_error(err);
    return b;
}

static void test_read_write(void)
{
    g_autofree char *path = image(4 * MIB);
    machine_lock();
    BlockDev *b = open_with(path, false, false);
    uint8_t a[700], c[300], back[1000];
    Result r = {0};

    g_assert_cmpuint(block_size(b), ==, 4 * MIB);
    memset(a, 0xaa, sizeof(a));
    memset(c, 0xcc, sizeof(c));
    struct iovec iov[2] = {{a, sizeof(a)}, {c, sizeof(c)}};
    block_write(b, 12345, iov, 2, done, &r);
    memset(iov, 0, sizeof(iov)); /* the list is the callee's own copy */
    g_assert_cmpuint(block_in_flight(b), ==, 1);
    block_drain(b);
    g_assert_cmpuint(r.calls, ==, 1);
    g_assert_cmpint(r.ret, ==, 0);
    struct iovec in = {back, sizeof(back)};
    block_read(b, 12345, &in, 1, done, &r);
    block_flush(b, done, &r);
    block_discard(b, 0, 4096, done, &r);
    block_drain(b);
    g_assert_cmpuint(r.calls, ==, 4);
    g_assert_cmpmem(back, 700, a, 700);
    g_assert_cmpmem(back + 700, 300, c, 300);
    block_close(b);
    machine_unlock();
    g_unlink(path);
}

static void test_range_and_errors(void)
{
    g_autofree char *path = image(1000); /* not a multiple of a sector */
    machine_lock();
    BlockDev *b = open_with(path, true, false);
    uint8_t buf[1024];
    struct iovec iov = {buf, 512};
    Result r = {0};

    g_assert_cmpuint(block_size(b), ==, 1024);
    memset(buf, 0x55, sizeof(buf));
    block_read(b, 512, &iov, 1, done, &r);
    block_drain(b);
    g_assert_cmpint(r.ret, ==, 0);
    g_assert_cmphex(buf[487], ==, 0);
    g_assert_cmphex(buf[511], ==, 0); /* zeros beyond the end of the file */
    block_read(b, 513, &iov, 1, done, &r);
    block_drain(b);
    g_assert_cmpint(r.ret, ==, -EINVAL);
    block_read(b, UINT64_MAX - 100, &iov, 1, done, &r);
    block_drain(b);
    g_assert_cmpint(r.ret, ==, -EINVAL);
    block_write(b, 0, &iov, 1, done, &r);
    block_drain(b);
    g_assert_cmpint(r.ret, ==, -EROFS);
    g_assert_cmpint(block_pwrite(b, 0, buf, 512), ==, -EROFS);
    block_close(b);
    machine_unlock();
    g_unlink(path);
}

static void refused(const char *path, const char *format, bool ro, const char *why)
{
    const BlockOptions o = {.file = path, .format = format, .read_only = ro};
    GError *err = NULL;
    g_assert_null(block_open(&o, &err));
    if (!strstr(err->message, why)) {
        g_error("'%s' is not in '%s'", why, err->message);
    }
    g_clear_error(&err);
}

static void test_refused(void)
{
    g_autofree char *path = image(4096), *dir = g_dir_make_tmp("rhea-XXXXXX", NULL);

    refused("/nonexistent/image", NULL, false, "'/nonexistent/image': No such file");
    refused(dir, NULL, true, "neither a file nor a block device");
    refused("/dev/null", NULL, true, "neither a file nor a block device");
    refused(path, "qcow2", false, "not a qcow2 image");
    refused(path, "vmdk", false, "not a vmdk image");
    g_assert_true(g_file_set_contents(path, "QFI\xfb....................", 24, NULL));
    refused(path, NULL, false, "qcow version");
    machine_lock();
    const BlockOptions raw = {.file = path, .format = "raw"};
    BlockDev *b = block_open(&raw, NULL);
    g_assert_nonnull(b);
    /* One writer only; two readers are fine. */
    refused(path, "raw", false, "in use");
    refused(path, "raw", true, "in use");
    block_close(b);
    b = open_with("/proc/self/exe", true, false);
    BlockDev *b2 = open_with("/proc/self/exe", true, false);
    block_close(b);
    block_close(b2);
    machine_unlock();
    g_unlink(path);
    g_rmdir(dir);
}

static void test_snapshot(void)
{
    g_autofree char *path = image(MIB + 700);
    uint8_t *p = g_malloc(MIB + 1024), *q = g_malloc(MIB + 1024);

    machine_lock();
    BlockDev *b = open_with(path, false, false);
    for (unsigned i = 0; i < MIB; i++) {
        p[i] = (uint8_t)(i * 7 + i / 512);
    }
    memset(p + MIB, 0, 1024);
    g_assert_cmpint(block_pwrite(b, 0, p, MIB), ==, 0);
    block_close(b);
    g_autofree char *before = NULL;
    gsize len, len2;
    g_file_get_contents(path, &before, &len, NULL);

    b = open_with(path, false, true);
    g_assert_false(block_read_only(b));
    /* Pieces inside clusters, across them, whole ones, and at the odd end */
    static const struct {
        uint32_t off, len;
    } w[] = {{100, 5}, {65530, 20}, {131072, 65536}, {200000, 300000}, {MIB + 512, 512}, {100, 1}};
    for (unsigned i = 0; i < G_N_ELEMENTS(w); i++) {
        memset(p + w[i].off, 0xe0 + (int)i, w[i].len);
        g_assert_cmpint(block_pwrite(b, w[i].off, p + w[i].off, w[i].len), ==, 0);
    }
    g_assert_cmpint(block_pread(b, 0, q, MIB + 1024), ==, 0);
    g_assert_cmpmem(q, MIB + 1024, p, MIB + 1024);
    block_close(b);
    machine_unlock();
    g_autofree char *after = NULL;
    g_file_get_contents(path, &after, &len2, NULL);
    g_assert_cmpmem(before, len, after, len2);
    g_free(p);
    g_free(q);
    g_unlink(path);
}

/* Callbacks come through the main loop, under the lock, one for each request. */
static void counted(void *opaque, int ret)
{
    g_assert_true(machine_lock_held());
    g_assert_cmpint(ret, ==, 0);
    (*(unsigned *)opaque)++;
}

static void test_main_loop(void)
{
    g_autofree char *path = image(MIB);
    static uint8_t bufs[200][4096];
    unsigned n = 0;

    machine_lock();
    BlockDev *b = open_with(path, false, false);
    for (unsigned i = 0; i < 200; i++) {
        struct iovec iov = {bufs[i], 4096};
        memset(bufs[i], (int)i, 4096);
        block_write(b, i * 4096, &iov, 1, counted, &n);
    }
    machine_unlock();
    gint64 end = g_get_monotonic_time() + 10 * G_TIME_SPAN_SECOND;
    while (n < 200 && g_get_monotonic_time() < end) {
        g_main_context_iteration(NULL, FALSE);
    }
    g_assert_cmpuint(n, ==, 200);
    machine_lock();
    uint8_t back[4096];
    for (unsigned i = 0; i < 200; i++) {
        g_assert_cmpint(block_pread(b, i * 4096, back, 4096), ==, 0);
        g_assert_cmpmem(back, 4096, bufs[i], 4096);
    }
    /* Closing with requests under way */
    for (unsigned i = 0; i < 50; i++) {
        struct iovec iov = {bufs[i], 4096};
        block_read(b, i * 4096, &iov, 1, counted, &n);
    }
    block_close(b);
    g_assert_cmpuint(n, ==, 250);
    machine_unlock();
    g_unlink(path);
}

/* A raw image that nobody called raw must not turn into another format by what a guest writes. */
static void test_disguise(void)
{
    g_autofree char *path = image(4096);
    uint8_t buf[512] = "QFI\xfb";
    struct iovec iov = {buf, sizeof(buf)};
    Result r = {0};

    machine_lock();
    BlockDev *b = open_with(path, false, false);
    block_write(b, 0, &iov, 1, done, &r);
    block_drain(b);
    g_assert_cmpint(r.ret, ==, -EIO);
    block_write(b, 512, &iov, 1, done, &r);
    block_drain(b);
    g_assert_cmpint(r.ret, ==, 0);
    block_close(b);
    const BlockOptions raw = {.file = path, .format = "raw"};
    b = block_open(&raw, NULL);
    block_write(b, 0, &iov, 1, done, &r);
    block_drain(b);
    g_assert_cmpint(r.ret, ==, 0);
    block_close(b);
    machine_unlock();
    g_unlink(path);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/block/read-write-iovec", test_read_write);
    g_test_add_func("/block/range-and-errors", test_range_and_errors);
    g_test_add_func("/block/refused", test_refused);
    g_test_add_func("/block/disguise", test_disguise);
    g_test_add_func("/block/snapshot-leaves-image-alone", test_snapshot);
    g_test_add_func("/block/main-loop-completions", test_main_loop);
    return g_test_run();
}
