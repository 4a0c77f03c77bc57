/*
 * What the tests of the formats of block/sparse.h have in common: data against a model, headers
 * with every number at its limits, and power cuts at every write, also out of order.
 */
#ifndef RHEA_TESTS_BLOCK_FORMAT_TEST_H
#define RHEA_TESTS_BLOCK_FORMAT_TEST_H

#include "block/format.h"
#include "tests/block/memory-file.h"
#include <errno.h>
#include <string.h>

typedef struct FormatTest {
    const ImageFormat *format;
    /* Makes an empty image of @size bytes, in small blocks where the format has them. */
    void (*make)(MemoryImage *m, uint64_t size);
    unsigned extra; /* IMAGE_* of every open */
} FormatTest;

/* "key=value,…" */
static inline GHashTable *test_options(const char *text)
{
    GHashTable *h = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_auto(GStrv) words = g_strsplit(text, ",", -1);

    for (unsigned i = 0; words[i] && *words[i]; i++) {
        g_auto(GStrv) pair = g_strsplit(words[i], "=", 2);
        g_hash_table_replace(h, g_strdup(pair[0]), g_strdup(pair[1]));
    }
    return h;
}

static inline void test_create(MemoryImage *m, const ImageFormat *format, uint64_t size,
                               const char *options)
{
    GError *err = NULL;
    g_autoptr(GHashTable) h = test_options(options);
    ImageCreate c = {.size = size, .options = h};
    BlockFile f = memory_image_file(m);

    g_assert_true(format->create(&f, "test", &c, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(g_hash_table_size(h), ==, 0);
}

static inline BlockFile test_open(const FormatTest *t, MemoryImage *m, unsigned flags)
{
    GError *err = NULL;
    BlockFile f = memory_image_file(m), image;

    t->format->open(&image, &f, "test", flags | t->extra, NULL, &err);
    g_assert_no_error(err);
    return image;
}

static inline int test_io(const BlockFile *f, bool write, uint64_t off, void *buf, size_t len)
{
    struct iovec iov[2] = {{buf, len / 3}, {(uint8_t *)buf + len / 3, len - len / 3}};
    return (write ? f->driver->write : f->driver->read)(f->file, off, iov, 2);
}

static inline void test_say(void *opaque, const char *line)
{
    if (g_str_has_prefix(line, "ERROR")) {
        g_test_message("%s", line);
    }
}

static inline void test_sound(const FormatTest *t, const BlockFile *f, bool leaks_allowed)
{
    ImageCheck r;
    g_assert_cmpint(t->format->check(f, 0, &r, test_say, NULL), ==, 0);
    g_assert_cmpuint(r.corruptions, ==, 0);
    g_assert_cmpuint(r.check_errors, ==, 0);
    if (!leaks_allowed) {
        g_assert_cmpuint(r.leaks, ==, 0);
    }
}

/* One random change to image and model. */
static inline void test_step(GRand *r, const BlockFile *f, uint8_t *model, size_t size)
{
    static uint8_t buf[65536];
    size_t len = (size_t)g_rand_int_range(r, 1, g_rand_int_range(r, 0, 4) ? 12 : 100) * 512;
    len = MIN(len, size / 2);
    uint64_t off = (uint64_t)g_rand_int_range(r, 0, (gint32)((size - len) / 512) + 1) * 512;

    if (g_rand_int_range(r, 0, 10) < 7) {
        for (size_t i = 0; i < len; i++) {
            buf[i] = (uint8_t)(g_rand_int(r) | 1);
        }
        g_assert_cmpint(test_io(f, true, off, buf, len), ==, 0);
        memcpy(model + off, buf, len);
    } else {
        bool unmap = g_rand_boolean(r);
        g_assert_cmpint(f->driver->write_zeroes(f->file, off, len, unmap), ==, 0);
        memset(model + off, 0, len);
    }
}

static inline void test_reads(const BlockFile *f, const uint8_t *model, size_t size)
{
    g_autofree uint8_t *back = g_malloc(size);
    g_assert_cmpint(test_io(f, false, 0, back, size), ==, 0);
    g_assert_cmpmem(back, size, model, size);
}

static inline void test_data(const FormatTest *t, uint64_t size, guint32 seed)
{
    MemoryImage m = {0};
    g_autofree uint8_t *model = g_malloc0(size);
    GRand *r = g_rand_new_with_seed(seed);

    t->make(&m, size);
    BlockFile f = test_open(t, &m, IMAGE_WRITE);
    g_assert_cmpuint(f.size, ==, size);
    for (unsigned i = 0; i < 300; i++) {
        test_step(r, &f, model, size);
        if (i % 37 == 0) {
            g_assert_cmpint(f.driver->flush(f.file), ==, 0);
        }
        if (i % 60 == 59) {
            test_reads(&f, model, size);
            f.driver->close(f.file);
            f = test_open(t, &m, i % 120 == 59 ? 0 : IMAGE_WRITE);
            test_sound(t, &f, false);
            test_reads(&f, model, size);
            f.driver->close(f.file);
            f = test_open(t, &m, IMAGE_WRITE);
        }
    }
    f.driver->close(f.file);
    g_rand_free(r);
    g_free(m.data);
}

/* A file that takes no more: the error is told, and what is there stays whole. */
static inline void test_full(const FormatTest *t, uint64_t size)
{
    MemoryImage m = {0};
    g_autofree uint8_t *model = g_malloc0(size);
    uint8_t buf[4096];
    GRand *r = g_rand_new_with_seed(99);

    t->make(&m, size);
    BlockFile f = test_open(t, &m, IMAGE_WRITE);
    memset(buf, 7, sizeof(buf));
    g_assert_cmpint(test_io(&f, true, 0, buf, sizeof(buf)), ==, 0);
    memcpy(model, buf, sizeof(buf));
    m.fail = ENOSPC;
    g_assert_cmpint(test_io(&f, true, size - sizeof(buf), buf, sizeof(buf)), ==, -ENOSPC);
    m.fail = 0;
    for (unsigned i = 0; i < 60; i++) {
        m.fail = i % 5 == 4 ? ENOSPC : 0;
        if (m.fail) {
            /* May have changed the place or not. */
            uint64_t off = (uint64_t)g_rand_int_range(r, 0, (gint32)(size / 4096)) * 4096;
            if (test_io(&f, true, off, buf, sizeof(buf)) == 0) {
                memcpy(model + off, buf, sizeof(buf));
            }
        } else {
            test_step(r, &f, model, size);
        }
    }
    m.fail = 0;
    g_assert_cmpint(f.driver->flush(f.file), ==, 0);
    test_reads(&f, model, size);
    test_sound(t, &f, true);
    f.driver->close(f.file);
    g_rand_free(r);
    g_free(m.data);
}

/* ---- headers ---- */

static inline void test_use(const FormatTest *t, BlockFile *f, bool write)
{
    static uint8_t buf[70000];
    uint64_t len = MIN(f->size, sizeof(buf));
    ImageCheck r;
    BlockExtent e;

    for (unsigned i = 0; i < 4; i++) {
        uint64_t off = (f->size - len) / 4 * i & ~511ull;
        struct iovec iov = {buf, len};
        f->driver->read(f->file, off, &iov, 1);
        if (f->size > off) {
            f->driver->extent(f->file, off, f->size - off, &e);
        }
        if (write) {
            iov.iov_len = MIN(len, i & 1 ? 512 : 66048);
            f->driver->write(f->file, off, &iov, 1);
            f->driver->write_zeroes(f->file, off, iov.iov_len, i & 2);
            f->driver->discard(f->file, off, iov.iov_len);
        }
    }
    if (write) {
        f->driver->flush(f->file);
    }
    if (f->size < 1ull << 32) { /* others take long */
        t->format->check(f, 0, &r, NULL, NULL);
    }
}

/* Every 32-bit number of the first @len bytes from @off on at its limits: refused in a sentence, or
 * used without harm. */
static inline void test_limits(const FormatTest *t, uint64_t off, uint64_t len, bool big,
                               void (*fix)(MemoryImage *m))
{
    static const uint32_t limits[] = {0,          1,          2,          511,       512,
                                      0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    MemoryImage good = {0};

    t->make(&good, 192 << 10);
    for (uint64_t at = off; at < off + len; at += 4) {
        for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
            for (unsigned flags = 0; flags <= IMAGE_WRITE; flags += IMAGE_WRITE) {
                MemoryImage m = {.data = g_memdup2(good.data, good.len), .len = good.len};
                uint32_t v = big ? GUINT32_TO_BE(limits[i]) : GUINT32_TO_LE(limits[i]);
                BlockFile f = memory_image_file(&m), image;
                GError *err = NULL;
                memcpy(m.data + at, &v, 4);
                if (fix) {
                    fix(&m);
                }
                if (t->format->open(&image, &f, "test", flags | t->extra | IMAGE_NO_BACKING, NULL,
                                    &err)) {
                    test_use(t, &image, flags);
                    image.driver->close(image.file);
                } else {
                    g_assert_nonnull(err);
                    g_assert_null(strchr(err->message, '\n'));
                }
                g_clear_error(&err);
                g_free(m.data);
            }
        }
    }
    g_free(good.data);
}

typedef struct WrongField {
    unsigned off, len; /* bytes of a number */
    uint64_t value;
    const char *says;
} WrongField;

static inline void test_wrong(const FormatTest *t, const WrongField *w, unsigned n, bool big,
                              void (*fix)(MemoryImage *m))
{
    MemoryImage good = {0};

    t->make(&good, 192 << 10);
    for (unsigned i = 0; i < n; i++) {
        MemoryImage m = {.data = g_memdup2(good.data, good.len), .len = good.len};
        BlockFile f = memory_image_file(&m), image;
        GError *err = NULL;
        for (unsigned k = 0; k < w[i].len; k++) {
            unsigned shift = 8 * (big ? w[i].len - 1 - k : k);
            m.data[w[i].off + k] = (uint8_t)(w[i].value >> shift);
        }
        if (fix) {
            fix(&m);
        }
        bool ok = t->format->open(&image, &f, "test", t->extra, NULL, &err);
        if (ok || !strstr(err->message, w[i].says)) {
            g_error("field %#x = %#" G_GINT64_MODIFIER "x: wanted '%s', got %s", w[i].off,
                    w[i].value, w[i].says, ok ? "an open image" : err->message);
        }
        g_clear_error(&err);
        g_free(m.data);
    }
    g_free(good.data);
}

/* ---- power cuts ---- */

#define CUT_DISK (192u << 10)

typedef struct Point {
    unsigned at; /* items of the log before it */
    uint8_t *model;
    uint8_t *touched; /* sectors written since the flush before */
} Point;

/* The image at a cut: opens, has leaks at worst, and what was flushed before (and not written
 * since) is there. Then it takes new data. */
static inline void test_cut(const FormatTest *t, const MemoryImage *cut, const Point *p)
{
    MemoryImage m = {.data = g_memdup2(cut->data, cut->len), .len = cut->len};
    g_autofree uint8_t *back = g_malloc(CUT_DISK);

    for (unsigned flags = 0; flags <= IMAGE_WRITE; flags += IMAGE_WRITE) {
        BlockFile f = test_open(t, &m, flags);
        test_sound(t, &f, true);
        g_assert_cmpint(test_io(&f, false, 0, back, CUT_DISK), ==, 0);
        for (unsigned s = 0; s < CUT_DISK / 512; s++) {
            if (!p->touched[s]) {
                g_assert_cmpmem(back + s * 512, 512, p->model + s * 512, 512);
            }
        }
        if (flags) {
            uint8_t one[512];
            memset(one, 0x11, sizeof(one));
            for (unsigned s = 5; s < CUT_DISK / 512; s += 16) {
                g_assert_cmpint(test_io(&f, true, s * 512, one, 512), ==, 0);
                memcpy(back + s * 512, one, 512);
            }
            f.driver->close(f.file);
            f = test_open(t, &m, 0);
            test_reads(&f, back, CUT_DISK);
            test_sound(t, &f, true);
        }
        f.driver->close(f.file);
    }
    g_free(m.data);
}

static inline void test_apply(MemoryImage *m, const LogItem *i)
{
    struct iovec iov = {i->data, i->len};
    memory_image_write(m, i->off, &iov, 1);
}

/* Some of the writes up to the next flush, and not others. */
static inline void test_reordered(const FormatTest *t, const MemoryImage *now, GArray *log,
                                  unsigned from, const Point *p, GRand *r)
{
    for (unsigned try = 0; try < 4; try++) {
        MemoryImage other = {.data = g_memdup2(now->data, now->len), .len = now->len};
        for (unsigned k = from; k < log->len && g_array_index(log, LogItem, k).len; k++) {
            if (g_rand_boolean(r)) {
                test_apply(&other, &g_array_index(log, LogItem, k));
            }
        }
        test_cut(t, &other, p);
        g_free(other.data);
    }
}

static inline void test_cuts(const FormatTest *t, guint32 seed)
{
    MemoryImage m = {0}, now = {0};
    g_autofree uint8_t *model = g_malloc0(CUT_DISK), *old = g_malloc(CUT_DISK);
    GArray *points = g_array_new(FALSE, TRUE, sizeof(Point));
    GRand *r = g_rand_new_with_seed(seed);
    Point p = {0, g_malloc0(CUT_DISK), g_malloc0(CUT_DISK / 512)};
    unsigned point = 0;

    t->make(&m, CUT_DISK);
    now.data = g_memdup2(m.data, m.len);
    now.len = m.len;
    m.log = g_array_new(FALSE, FALSE, sizeof(LogItem));
    BlockFile f = test_open(t, &m, IMAGE_WRITE);
    g_array_append_val(points, p);
    for (unsigned i = 0; i < 40; i++) {
        memcpy(old, model, CUT_DISK);
        test_step(r, &f, model, CUT_DISK);
        Point *last = &g_array_index(points, Point, points->len - 1);
        for (unsigned s = 0; s < CUT_DISK / 512; s++) {
            last->touched[s] |= memcmp(old + s * 512, model + s * 512, 512) != 0;
        }
        if (i % 5 == 4) {
            g_assert_cmpint(f.driver->flush(f.file), ==, 0);
            p = (Point){m.log->len, g_memdup2(model, CUT_DISK), g_malloc0(CUT_DISK / 512)};
            g_array_append_val(points, p);
        }
    }
    f.driver->close(f.file);
    g_assert_cmpuint(m.log->len, >, 40);
    for (unsigned i = 0; i <= m.log->len; i++) {
        while (point + 1 < points->len && g_array_index(points, Point, point + 1).at <= i) {
            point++;
        }
        const Point *pt = &g_array_index(points, Point, point);
        test_cut(t, &now, pt);
        if (i == m.log->len) {
            break;
        }
        if (i == 0 || g_array_index(m.log, LogItem, i - 1).len == 0) {
            test_reordered(t, &now, m.log, i, pt, r);
        }
        test_apply(&now, &g_array_index(m.log, LogItem, i));
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

#endif
