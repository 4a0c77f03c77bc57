/* qcow2: data against a model, refcounts, hostile headers, and power cuts at every write. */
#include "block/qcow2.h"
#include "config.h"
#include "core/machine.h"
#include "tests/block/memory-file.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#define DISK (1u << 20)

static void put_be(uint8_t *p, unsigned n, uint64_t v)
{
    while (n--) {
        p[n] = (uint8_t)v;
        v >>= 8;
    }
}

static void create(MemoryImage *m, const Qcow2Create *c)
{
    GError *err = NULL;
    BlockFile f = memory_image_file(m);
    g_assert_true(qcow2_create(&f, "test", c, &err));
    g_assert_no_error(err);
}

static BlockFile open_image(MemoryImage *m, unsigned flags)
{
    GError *err = NULL;
    BlockFile f = memory_image_file(m), image;
    g_assert_true(qcow2_open(&image, &f, "test", flags, NULL, &err));
    g_assert_no_error(err);
    return image;
}

static int io(const BlockFile *f, bool write, uint64_t off, void *buf, size_t len)
{
    struct iovec iov[2] = {{buf, len / 3}, {(uint8_t *)buf + len / 3, len - len / 3}};
    return (write ? f->driver->write : f->driver->read)(f->file, off, iov, 2);
}

static void complain(void *opaque, const char *line)
{
    if (!g_str_has_prefix(line, "Leaked")) {
        g_test_message("%s", line);
    }
}

static void assert_sound(const BlockFile *f, bool leaks_allowed)
{
    Qcow2Check r;
    g_assert_cmpint(qcow2_check(f, 0, &r, complain, NULL), ==, 0);
    g_assert_cmpuint(r.corruptions, ==, 0);
    g_assert_cmpuint(r.check_errors, ==, 0);
    if (!leaks_allowed) {
        g_assert_cmpuint(r.leaks, ==, 0);
    }
}

/* One random change to image and model. */
static void step(GRand *r, const BlockFile *f, uint8_t *model, size_t size)
{
    static uint8_t buf[65536];
    size_t len = (size_t)g_rand_int_range(r, 1, g_rand_int_range(r, 0, 4) ? 12 : 128) * 512;
    uint64_t off = (uint64_t)g_rand_int_range(r, 0, (gint32)((size - len) / 512)) * 512;
    int what = g_rand_int_range(r, 0, 10);

    if (what < 7) {
        for (size_t i = 0; i < len; i++) {
            buf[i] = (uint8_t)(g_rand_int(r) | 1);
        }
        g_assert_cmpint(io(f, true, off, buf, len), ==, 0);
        memcpy(model + off, buf, len);
    } else {
        g_assert_cmpint(f->driver->write_zeroes(f->file, off, len, true), ==, 0);
        memset(model + off, 0, len);
    }
}

static void assert_reads(const BlockFile *f, const uint8_t *model, size_t size)
{
    g_autofree uint8_t *back = g_malloc(size);
    g_assert_cmpint(io(f, false, 0, back, size), ==, 0);
    g_assert_cmpmem(back, size, model, size);
}

static void random_io(const Qcow2Create *c)
{
    MemoryImage m = {0};
    g_autofree uint8_t *model = g_malloc0(DISK);
    GRand *r = g_rand_new_with_seed(c->cluster_bits * 8 + c->refcount_order);

    create(&m, c);
    BlockFile f = open_image(&m, IMAGE_WRITE);
    g_assert_cmpuint(f.size, ==, DISK);
    for (unsigned i = 0; i < 400; i++) {
        step(r, &f, model, DISK);
        if (i % 37 == 0) {
            g_assert_cmpint(f.driver->flush(f.file), ==, 0);
        }
        if (i % 100 == 99) {
            assert_reads(&f, model, DISK);
            f.driver->close(f.file);
            f = open_image(&m, IMAGE_WRITE);
            assert_sound(&f, false);
        }
    }
    assert_reads(&f, model, DISK);
    f.driver->close(f.file);
    g_rand_free(r);
    g_free(m.data);
}

static void test_data(void)
{
    for (unsigned bits = 9; bits <= 21; bits += bits == 9 ? 3 : 4) {
        for (unsigned order = 0; order <= 6; order++) {
            random_io(&(Qcow2Create){DISK, 3, bits, order, .lazy_refcounts = order == 3});
        }
    }
    random_io(&(Qcow2Create){DISK, 2, 16, 4});
    random_io(&(Qcow2Create){DISK, 3, 12, 4, .prealloc_metadata = true});
}

/* A machine's state: beside the disk, kept by its snapshot alone, dropped when nobody took it. */
static void vm_state(unsigned cluster_bits, unsigned version)
{
    enum { STATE = (2 << 20) + 12345 };
    MemoryImage m = {0};
    g_autofree uint8_t *disk = g_malloc0(DISK), *state = g_malloc(STATE), *got = g_malloc(STATE);
    GRand *r = g_rand_new_with_seed(7);
    BlockSnapshot sn;
    GError *err = NULL;

    create(&m, &(Qcow2Create){DISK, version, cluster_bits, 4});
    BlockFile f = open_image(&m, IMAGE_WRITE);
    const BlockSnapshotOps *ops = f.driver->snapshots;
    for (unsigned i = 0; i < STATE; i++) {
        state[i] = g_rand_int(r) >> 24;
    }
    memset(state + 100000, 0, 300000);
    for (unsigned i = 0; i < 40; i++) {
        step(r, &f, disk, DISK);
    }
    /* Given up: nothing stays. */
    g_assert_cmpint(ops->vm_write(f.file, 0, state, 2 << 20), ==, 0);
    assert_reads(&f, disk, DISK);
    g_assert_cmpint(ops->vm_drop(f.file), ==, 0);
    assert_sound(&f, false);
    for (unsigned round = 0; round < 3; round++) {
        state[0] = round;
        g_assert_cmpint(ops->vm_write(f.file, 0, state, 2 << 20), ==, 0);
        g_assert_cmpint(ops->vm_write(f.file, 2 << 20, state + (2 << 20), STATE - (2 << 20)), ==,
                        0);
        sn = (BlockSnapshot){.name = "vm", .vm_size = STATE, .vm_clock = 1234567890123};
        g_assert_true(ops->create(&f, &sn, &err));
        assert_sound(&f, false);
        for (unsigned i = 0; i < 20; i++) {
            step(r, &f, disk, DISK);
        }
    }
    f.driver->close(f.file);
    f = open_image(&m, IMAGE_WRITE);
    assert_reads(&f, disk, DISK);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(ops->get(f.file, i, &sn));
        g_assert_cmpuint(sn.vm_size, ==, STATE);
        g_assert_cmpuint(sn.vm_clock, ==, 1234567890123);
        g_assert_cmpint(ops->vm_read(f.file, sn.id, 0, got, STATE), ==, 0);
        state[0] = i;
        g_assert_cmpmem(got, STATE, state, STATE);
        g_assert_cmpint(ops->vm_read(f.file, sn.id, 99999, got, 5000), ==, 0);
        g_assert_cmpmem(got, 5000, state + 99999, 5000);
        g_assert_cmpint(ops->vm_read(f.file, sn.id, STATE - 5, got, 6), ==, -EINVAL);
    }
    g_assert_true(ops->apply(&f, "2", &err));
    assert_sound(&f, false);
    g_assert_true(ops->remove(&f, "1", &err));
    g_assert_true(ops->remove(&f, "3", &err));
    assert_sound(&f, false);
    g_assert_cmpint(ops->vm_read(f.file, "2", 0, got, STATE), ==, 0);
    state[0] = 1;
    g_assert_cmpmem(got, STATE, state, STATE);
    g_assert_true(ops->remove(&f, "2", &err));
    assert_sound(&f, false);
    f.driver->close(f.file);
    g_rand_free(r);
    g_free(m.data);
}

static void test_vm_state(void)
{
    vm_state(9, 3);
    vm_state(12, 2);
    vm_state(16, 3);
    vm_state(21, 3);
}

static void test_snapshots(void)
{
    MemoryImage m = {0};
    g_autofree uint8_t *one = g_malloc0(DISK), *two = g_malloc0(DISK);
    GRand *r = g_rand_new_with_seed(5);
    GError *err = NULL;

    create(&m, &(Qcow2Create){DISK, 3, 12, 4});
    BlockFile f = open_image(&m, IMAGE_WRITE);
    for (unsigned i = 0; i < 50; i++) {
        step(r, &f, one, DISK);
    }
    g_assert_true(qcow2_snapshot_create(&f, "s", &err));
    assert_sound(&f, false);
    memcpy(two, one, DISK);
    for (unsigned i = 0; i < 50; i++) {
        step(r, &f, two, DISK);
    }
    g_assert_true(qcow2_snapshot_create(&f, "t", &err));
    assert_sound(&f, false);
    g_assert_true(qcow2_snapshot_apply(&f, "s", &err));
    assert_reads(&f, one, DISK);
    assert_sound(&f, false);
    for (unsigned i = 0; i < 50; i++) {
        step(r, &f, one, DISK);
    }
    g_assert_true(qcow2_snapshot_apply(&f, "t", &err));
    assert_reads(&f, two, DISK);
    g_assert_true(qcow2_snapshot_delete(&f, "s", &err));
    g_assert_true(qcow2_snapshot_delete(&f, "t", &err));
    assert_reads(&f, two, DISK);
    assert_sound(&f, false);
    g_assert_false(qcow2_snapshot_apply(&f, "s", &err));
    g_clear_error(&err);
    f.driver->close(f.file);
    g_rand_free(r);
    g_free(m.data);
}

/* A snapshot that does not fit the refcounts changes nothing. */
static void test_narrow(void)
{
    MemoryImage m = {0};
    uint8_t data[512];
    GError *err = NULL;

    create(&m, &(Qcow2Create){DISK, 3, 12, 0});
    BlockFile f = open_image(&m, IMAGE_WRITE);
    memset(data, 3, sizeof(data));
    g_assert_cmpint(io(&f, true, 0, data, sizeof(data)), ==, 0);
    g_assert_false(qcow2_snapshot_create(&f, "s", &err));
    g_assert_nonnull(strstr(err->message, "refcount"));
    g_clear_error(&err);
    assert_sound(&f, false);
    f.driver->close(f.file);
    g_free(m.data);
}

/* Each is set in a good image, and must be refused with one sentence. */
static void test_headers(void)
{
    static const struct {
        unsigned off, len;
        uint64_t value;
        const char *says;
    } wrong[] = {
        {0, 4, 0, "not a qcow2"},
        {4, 4, 1, "version 1"},
        {4, 4, 4, "version 4"},
        {8, 8, 50, "backing"},
        {8, 8, 1u << 30, "backing"},
        {16, 4, 0, NULL},
        {20, 4, 8, "cluster_bits"},
        {20, 4, 22, "cluster_bits"},
        {20, 4, UINT32_MAX, "cluster_bits"},
        {24, 8, UINT64_MAX, "too large"},
        {24, 8, 1ull << 50, "L1 table"},
        {32, 4, 1, "encryption"},
        {36, 4, UINT32_MAX, "too large"},
        {36, 4, 0, "L1 table"},
        {40, 8, 513, "L1 table"},
        {40, 8, 1ull << 40, "L1 table"},
        {40, 8, ~0xfffull, "L1 table"},
        {48, 8, 513, "refcount table"},
        {48, 8, 1ull << 62, "refcount table"},
        {56, 4, 0, "refcount table"},
        {56, 4, UINT32_MAX, "refcount table"},
        {60, 4, UINT32_MAX, "snapshot"},
        {60, 4, 1, "snapshot"},
        {72, 8, 4, "external data file"},
        {72, 8, 16, "extended L2"},
        {72, 8, 1ull << 63, "bit 63"},
        {72, 8, 8, "compression"},
        {96, 4, 7, "refcount_order"},
        {100, 4, 96, "header length"},
        {100, 4, 105, "header length"},
        {100, 4, 1u << 31, "header length"},
        {104, 1, 9, "compression type"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        MemoryImage m = {0};
        BlockFile image;
        GError *err = NULL;
        create(&m, &(Qcow2Create){DISK, 3, 12, 4});
        put_be(m.data + wrong[i].off, wrong[i].len, wrong[i].value);
        BlockFile f = memory_image_file(&m);
        bool ok = qcow2_open(&image, &f, "test", IMAGE_WRITE, NULL, &err);
        if (!wrong[i].says) {
            g_assert_true(ok);
            image.driver->close(image.file);
        } else {
            g_assert_false(ok);
            g_test_message("%s", err->message);
            g_assert_nonnull(strstr(err->message, wrong[i].says));
            g_clear_error(&err);
        }
        g_free(m.data);
    }
}

/* The corrupt bit keeps writers out; so does a data cluster over a table, when it is found. */
static void test_corrupt(void)
{
    MemoryImage m = {0};
    uint8_t data[512] = {1};
    GError *err = NULL;
    BlockFile f, image;

    create(&m, &(Qcow2Create){DISK, 3, 12, 4});
    image = open_image(&m, IMAGE_WRITE);
    g_assert_cmpint(io(&image, true, 0, data, 512), ==, 0);
    image.driver->close(image.file);
    uint64_t l1 = GUINT64_FROM_BE(*(uint64_t *)(m.data + 40));
    uint64_t l2 = GUINT64_FROM_BE(*(uint64_t *)(m.data + l1)) & ~(1ull << 63);
    put_be(m.data + l2, 8, l1 | 1ull << 63);
    image = open_image(&m, IMAGE_WRITE);
    g_autofree uint8_t *before = g_memdup2(m.data + l1, 4096);
    g_assert_cmpint(io(&image, true, 0, data, 512), ==, -EIO);
    g_assert_cmpint(io(&image, true, 65536, data, 512), ==, -EIO);
    g_assert_cmpmem(m.data + l1, 4096, before, 4096);
    image.driver->close(image.file);
    g_assert_cmpuint(m.data[79] & 2, ==, 2);
    f = memory_image_file(&m);
    g_assert_false(qcow2_open(&image, &f, "test", IMAGE_WRITE, NULL, &err));
    g_clear_error(&err);
    image = open_image(&m, 0);
    g_assert_cmpint(io(&image, false, 65536, data, 512), ==, 0);
    image.driver->close(image.file);
    g_free(m.data);
}

static void test_full(void)
{
    MemoryImage m = {0};
    uint8_t data[4096];

    create(&m, &(Qcow2Create){DISK, 3, 12, 4});
    BlockFile f = open_image(&m, IMAGE_WRITE);
    memset(data, 1, sizeof(data));
    g_assert_cmpint(io(&f, true, 0, data, sizeof(data)), ==, 0);
    m.fail = ENOSPC;
    g_assert_cmpint(io(&f, true, 65536, data, sizeof(data)), ==, -ENOSPC);
    g_assert_cmpint(f.driver->flush(f.file), ==, -ENOSPC);
    m.fail = 0; /* there is room again: nothing is lost */
    g_assert_cmpint(io(&f, true, 65536, data, sizeof(data)), ==, 0);
    g_assert_cmpint(f.driver->flush(f.file), ==, 0);
    f.driver->close(f.file);
    f = open_image(&m, IMAGE_WRITE);
    assert_sound(&f, false);
    uint8_t back[4096];
    g_assert_cmpint(io(&f, false, 0, back, sizeof(back)), ==, 0);
    g_assert_cmpmem(back, sizeof(back), data, sizeof(data));
    f.driver->close(f.file);
    g_free(m.data);
}

static void test_compressed(bool zstd)
{
    MemoryImage m = {0};
    g_autofree uint8_t *model = g_malloc0(DISK), *packed = g_malloc(4096);
    GRand *r = g_rand_new_with_seed(9);

    create(&m, &(Qcow2Create){DISK, 3, 12, 4, .zstd = zstd});
    BlockFile f = open_image(&m, IMAGE_WRITE);
    for (unsigned c = 0; c < DISK / 4096; c++) {
        for (unsigned i = 0; i < 4096; i++) {
            model[c * 4096 + i] = (uint8_t)(i % 64 ? c : g_rand_int(r));
        }
        size_t n = qcow2_compress(&f, model + c * 4096, 4096, packed);
        g_assert_cmpuint(n, >, 0);
        g_assert_cmpint(qcow2_write_compressed(&f, c * 4096, packed, n), ==, 0);
    }
    assert_reads(&f, model, DISK);
    assert_sound(&f, false);
    for (unsigned i = 0; i < 60; i++) {
        step(r, &f, model, DISK);
    }
    assert_reads(&f, model, DISK);
    f.driver->close(f.file);
    f = open_image(&m, IMAGE_WRITE);
    assert_reads(&f, model, DISK);
    assert_sound(&f, false);
    f.driver->close(f.file);
    g_rand_free(r);
    g_free(m.data);
}

static void test_zlib(void)
{
    test_compressed(false);
}

#ifdef HAVE_ZSTD
static void test_zstd(void)
{
    test_compressed(true);
}
#endif

/* ---- many requests at once ---- */

typedef struct Async {
    unsigned left;
    int ret;
} Async;

static void async_done(void *opaque, int ret)
{
    Async *a = opaque;
    a->left--;
    a->ret = a->ret ? a->ret : ret;
}

/* Requests in flight that do not overlap, but share clusters, with flushes and discards between. */
static void test_parallel(void)
{
    g_autofree char *dir = g_dir_make_tmp("rhea-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "a.qcow2", NULL);
    g_autofree uint8_t *model = g_malloc0(DISK), *back = g_malloc(DISK);
    GRand *r = g_rand_new_with_seed(3);
    GError *err = NULL;
    BlockFile f;

    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    g_assert_true(raw_open(&f, path, IMAGE_WRITE, &err));
    g_assert_true(qcow2_create(&f, path, &(Qcow2Create){DISK, 3, 14, 4}, &err));
    f.driver->close(f.file);
    machine_lock();
    BlockDev *b = block_open(&(BlockOptions){.file = path, .discard = true}, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(block_format(b), ==, "qcow2");
    for (unsigned round = 0; round < 60; round++) {
        Async a = {0};
        for (unsigned off = 0; off < DISK;) {
            unsigned len = (unsigned)g_rand_int_range(r, 1, 60) * 512;
            len = MIN(len, DISK - off);
            int what = g_rand_int_range(r, 0, 8);
            struct iovec iov = {model + off, len};
            if (what < 4) {
                memset(model + off, g_rand_int_range(r, 1, 256), len);
                a.left++;
                block_write(b, off, &iov, 1, async_done, &a);
            } else if (what == 4) {
                iov.iov_base = back + off;
                a.left++;
                block_read(b, off, &iov, 1, async_done, &a);
            } else if (what == 5 && off % 16384 == 0 && len >= 16384) {
                len = 16384;
                memset(model + off, 0, len);
                a.left++;
                block_discard(b, off, len, async_done, &a);
            } else if (what == 6 && off % 5 == 0) {
                a.left++;
                block_flush(b, async_done, &a);
            }
            off += len;
        }
        block_drain(b);
        g_assert_cmpuint(a.left, ==, 0);
        g_assert_cmpint(a.ret, ==, 0);
        g_assert_cmpint(block_pread(b, 0, back, DISK), ==, 0);
        g_assert_cmpmem(back, DISK, model, DISK);
    }
    block_close(b);
    machine_unlock();
    g_assert_true(image_open(&f, path, NULL, 0, &err));
    assert_sound(&f, false);
    f.driver->close(f.file);
    g_unlink(path);
    g_rmdir(dir);
    g_rand_free(r);
}

/* ---- power cuts ---- */

#define CUT_DISK (192u << 10)

typedef struct Point {
    unsigned at; /* items of the log before it */
    uint8_t *model;
    uint8_t *touched; /* sectors written since the flush before */
} Point;

/* The image at a cut: opens, has leaks at worst, and what was flushed before @f (and not written
 * since) is there. */
static void assert_cut(const MemoryImage *cut, const Point *p)
{
    MemoryImage m = {.data = g_memdup2(cut->data, cut->len), .len = cut->len};
    g_autofree uint8_t *back = g_malloc(CUT_DISK);
    bool dirty = m.data[79] & 1;
    BlockFile f = open_image(&m, IMAGE_WRITE);

    assert_sound(&f, !dirty);
    g_assert_cmpint(io(&f, false, 0, back, CUT_DISK), ==, 0);
    for (unsigned s = 0; s < CUT_DISK / 512; s++) {
        if (!p->touched[s]) {
            g_assert_cmpmem(back + s * 512, 512, p->model + s * 512, 512);
        }
    }
    f.driver->close(f.file);
    g_free(m.data);
}

static void apply_item(MemoryImage *m, const LogItem *i)
{
    struct iovec iov = {i->data, i->len};
    memory_image_write(m, i->off, &iov, 1);
}

static void run_cuts(const Qcow2Create *c, bool with_snapshot, guint32 seed)
{
    MemoryImage m = {0}, now = {0};
    g_autofree uint8_t *model = g_malloc0(CUT_DISK), *old = g_malloc(CUT_DISK);
    GArray *points = g_array_new(FALSE, TRUE, sizeof(Point));
    GRand *r = g_rand_new_with_seed(seed);
    Point p = {0, g_malloc0(CUT_DISK), g_malloc0(CUT_DISK / 512)};

    create(&m, c);
    now.data = g_memdup2(m.data, m.len);
    now.len = m.len;
    m.log = g_array_new(FALSE, FALSE, sizeof(LogItem));
    BlockFile f = open_image(&m, IMAGE_WRITE);
    g_array_append_val(points, p);
    for (unsigned i = 0; i < 60; i++) {
        memcpy(old, model, CUT_DISK);
        step(r, &f, model, CUT_DISK);
        Point *last = &g_array_index(points, Point, points->len - 1);
        for (unsigned s = 0; s < CUT_DISK / 512; s++) {
            last->touched[s] |= memcmp(old + s * 512, model + s * 512, 512) != 0;
        }
        if (i == 30 && with_snapshot) {
            g_assert_true(qcow2_snapshot_create(&f, "s", NULL));
        }
        if (i == 45 && with_snapshot) {
            g_assert_true(qcow2_snapshot_delete(&f, "s", NULL));
        }
        if (i % 6 == 5) {
            g_assert_cmpint(f.driver->flush(f.file), ==, 0);
            p = (Point){m.log->len, g_memdup2(model, CUT_DISK), g_malloc0(CUT_DISK / 512)};
            g_array_append_val(points, p);
        }
    }
    f.driver->close(f.file);
    unsigned point = 0;
    for (unsigned i = 0; i <= m.log->len; i++) {
        while (point + 1 < points->len && g_array_index(points, Point, point + 1).at <= i) {
            point++;
        }
        const Point *pt = &g_array_index(points, Point, point);
        assert_cut(&now, pt);
        if (i == m.log->len) {
            break;
        }
        const LogItem *item = &g_array_index(m.log, LogItem, i);
        /* Out of order, too: some of the writes up to the next flush, and not others. */
        if (i == 0 || g_array_index(m.log, LogItem, i - 1).len == 0) {
            for (unsigned try = 0; try < 4; try++) {
                MemoryImage other = {.data = g_memdup2(now.data, now.len), .len = now.len};
                for (unsigned k = i; k < m.log->len; k++) {
                    const LogItem *w = &g_array_index(m.log, LogItem, k);
                    if (w->len == 0) {
                        break;
                    }
                    if (g_rand_boolean(r)) {
                        apply_item(&other, w);
                    }
                }
                assert_cut(&other, pt);
                g_free(other.data);
            }
        }
        apply_item(&now, item);
    }
    for (unsigned i = 0; i < m.log->len; i++) {
        g_free(g_array_index(m.log, LogItem, i).data);
    }
    for (unsigned i = 0; i < points->len; i++) {
        g_free(g_array_index(points, Point, i).model);
        g_free(g_array_index(points, Point, i).touched);
    }
    g_array_free(points, TRUE);
    g_array_free(m.log, TRUE);
    g_rand_free(r);
    g_free(now.data);
    g_free(m.data);
}

static void test_cuts(void)
{
    for (guint32 seed = 0; seed < 3; seed++) {
        run_cuts(&(Qcow2Create){CUT_DISK, 3, 9, 4}, false, seed);
        run_cuts(&(Qcow2Create){CUT_DISK, 3, 9, 6}, false, seed);
        run_cuts(&(Qcow2Create){CUT_DISK, 3, 12, 4}, false, seed);
        run_cuts(&(Qcow2Create){CUT_DISK, 2, 16, 4}, false, seed);
    }
}

static void test_cuts_lazy(void)
{
    run_cuts(&(Qcow2Create){CUT_DISK, 3, 9, 4, .lazy_refcounts = true}, false, 1);
    run_cuts(&(Qcow2Create){CUT_DISK, 3, 12, 4, .lazy_refcounts = true}, false, 2);
}

static void test_cuts_snapshots(void)
{
    run_cuts(&(Qcow2Create){CUT_DISK, 3, 9, 4}, true, 3);
    run_cuts(&(Qcow2Create){CUT_DISK, 3, 12, 1}, true, 4);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qcow2/data", test_data);
    g_test_add_func("/qcow2/snapshots", test_snapshots);
    g_test_add_func("/qcow2/vm-state", test_vm_state);
    g_test_add_func("/qcow2/narrow-refcounts", test_narrow);
    g_test_add_func("/qcow2/headers", test_headers);
    g_test_add_func("/qcow2/corrupt", test_corrupt);
    g_test_add_func("/qcow2/full", test_full);
    g_test_add_func("/qcow2/zlib", test_zlib);
#ifdef HAVE_ZSTD
    g_test_add_func("/qcow2/zstd", test_zstd);
#endif
    g_test_add_func("/qcow2/parallel", test_parallel);
    g_test_add_func("/qcow2/power-cuts", test_cuts);
    g_test_add_func("/qcow2/power-cuts-lazy", test_cuts_lazy);
    g_test_add_func("/qcow2/power-cuts-snapshots", test_cuts_snapshots);
    return g_test_run();
}
