/*
 * Block devices above the formats: durability by cache mode, discard and zeroes, rerror and werror,
 * limits on a clock that the test moves, sizes, external snapshots, commit, locks, direct I/O.
 * Expectations: QEMU's manual on -drive and qemu-img's reading of the results; the rest is
 * arithmetic.
 */
#include "block/dev.h"
#include "block/drive.h"
#include "core/machine.h"
#include "memory-file.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

#define KIB 1024u

typedef struct Result {
    unsigned calls, bad;
    int ret;
} Result;

static void done(void *opaque, int ret)
{
    Result *r = opaque;
    r->calls++;
    r->ret = ret;
    r->bad += ret != 0;
}

typedef struct Rig {
    MemoryImage image;
    BlockDev *b;
    uint8_t buf[64 * KIB];
    Result r;
    unsigned zeroed, discarded;
    bool unmap;
} Rig;

/* ---- a driver that tells what it is asked ---- */

static Rig *rig_of(void *file)
{
    return file; /* @image is first */
}

static int rig_discard(void *file, uint64_t off, uint64_t len)
{
    rig_of(file)->discarded += len;
    return 0;
}

static int rig_zeroes(void *file, uint64_t off, uint64_t len, bool unmap)
{
    rig_of(file)->zeroed += len;
    rig_of(file)->unmap = unmap;
    return 0;
}

static const BlockDriver rig_driver = {
    .name = "test",
    .read = memory_image_read,
    .write = memory_image_write,
    .flush = memory_image_flush,
    .close = memory_image_close,
    .discard = rig_discard,
    .write_zeroes = rig_zeroes,
};

static Rig *rig_new(const BlockOptions *o)
{
    Rig *x = g_new0(Rig, 1);
    x->image.data = g_malloc0(1 << 20);
    x->image.len = 1 << 20;
    x->image.log = g_array_new(FALSE, FALSE, sizeof(LogItem));
    const BlockFile f = {.driver = &rig_driver, .file = x, .size = 1 << 20};
    if (!machine_lock_held()) {
        machine_lock();
    }
    x->b = block_wrap(&f, o);
    return x;
}

static void rig_free(Rig *x)
{
    block_close(x->b);
    for (unsigned i = 0; i < x->image.log->len; i++) {
        g_free(g_array_index(x->image.log, LogItem, i).data);
    }
    g_array_free(x->image.log, TRUE);
    g_free(x->image.data);
    g_free(x);
    machine_unlock();
}

/* The log as text: w write, f flush. */
static const char *history(Rig *x)
{
    static char text[64];
    unsigned n = 0;
    for (unsigned i = 0; i < x->image.log->len && n < sizeof(text) - 1; i++) {
        text[n++] = g_array_index(x->image.log, LogItem, i).len ? 'w' : 'f';
    }
    text[n] = 0;
    return text;
}

static void write_at(Rig *x, uint64_t off, size_t len, int byte)
{
    struct iovec iov = {x->buf, len};
    memset(x->buf, byte, len);
    block_write(x->b, off, &iov, 1, done, &x->r);
}

/* ---- durability ---- */

static void test_cache(void)
{
    Rig *x = rig_new(&(BlockOptions){0});
    write_at(x, 0, 512, 1);
    block_drain(x->b);
    g_assert_cmpstr(history(x), ==, "w");
    g_assert_true(block_write_cache(x->b));
    struct iovec iov = {x->buf, 512};
    block_write_fua(x->b, 512, &iov, 1, done, &x->r);
    block_drain(x->b);
    g_assert_cmpstr(history(x), ==, "wwf");
    block_flush(x->b, done, &x->r);
    block_drain(x->b);
    g_assert_cmpstr(history(x), ==, "wwff");
    rig_free(x);

    x = rig_new(&(BlockOptions){.writethrough = true});
    write_at(x, 0, 512, 1);
    block_drain(x->b);
    g_assert_cmpstr(history(x), ==, "wf");
    g_assert_false(block_write_cache(x->b));
    block_write_zeroes(x->b, 0, 4096, true, done, &x->r);
    block_drain(x->b);
    g_assert_cmpstr(history(x), ==, "wff");
    g_assert_cmpuint(x->r.calls, ==, 2);
    rig_free(x);
}

static void test_discard(void)
{
    Rig *x = rig_new(&(BlockOptions){0});
    block_discard(x->b, 0, 4096, done, &x->r);
    block_write_zeroes(x->b, 0, 512, true, done, &x->r);
    block_drain(x->b);
    g_assert_cmpuint(x->discarded, ==, 0); /* discard=ignore is the default */
    g_assert_cmpuint(x->zeroed, ==, 512);
    g_assert_false(x->unmap);
    write_at(x, 0, 4096, 0);
    block_drain(x->b);
    g_assert_cmpstr(history(x), ==, "w"); /* detect-zeroes=off is the default */
    rig_free(x);

    x = rig_new(&(BlockOptions){.discard = true, .detect_zeroes = BLOCK_ZEROES_ON});
    block_discard(x->b, 0, 4096, done, &x->r);
    write_at(x, 0, 64 * KIB, 0);
    block_drain(x->b);
    g_assert_cmpuint(x->discarded, ==, 4096);
    g_assert_cmpuint(x->zeroed, ==, 64 * KIB);
    g_assert_false(x->unmap);
    memset(x->buf, 0, sizeof(x->buf));
    x->buf[sizeof(x->buf) - 1] = 1;
    struct iovec iov = {x->buf, sizeof(x->buf)};
    block_write(x->b, 0, &iov, 1, done, &x->r);
    block_drain(x->b);
    g_assert_cmpstr(history(x), ==, "w");
    rig_free(x);

    x = rig_new(&(BlockOptions){.discard = true, .detect_zeroes = BLOCK_ZEROES_UNMAP});
    write_at(x, 0, 512, 0);
    block_drain(x->b);
    g_assert_true(x->unmap);
    rig_free(x);
}

/* ---- errors ---- */

static unsigned n_events;
static char last_event[300];

static void on_event(Machine *m, const char *event, const char *json)
{
    n_events++;
    g_snprintf(last_event, sizeof(last_event), "%s %s", event, json);
}

static Machine *machine(void)
{
    machine_lock();
    Machine *m = machine_new(NULL, NULL);
    m->block_event = on_event;
    n_events = 0;
    machine_start(m);
    return m;
}

/* Lets the main loop do what was requested of it. */
static void turn(void)
{
    machine_unlock();
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    machine_lock();
}

/* Until @x has no request under way but those that wait. */
static void settle(Rig *x)
{
    block_quiesce(x->b);
    turn();
}

static void test_report(void)
{
    Machine *m = machine();
    Rig *x = rig_new(&(BlockOptions){.machine = m, .id = "d0", .rerror = BLOCK_ERROR_DEFAULT});
    x->image.fail = EIO;
    write_at(x, 0, 512, 1);
    settle(x);
    g_assert_cmpuint(x->r.calls, ==, 1); /* werror=enospc: other errors are reported */
    g_assert_cmpint(x->r.ret, ==, -EIO);
    g_assert_true(machine_running(m));
    g_assert_cmpuint(n_events, ==, 1);
    g_assert_nonnull(strstr(last_event, "\"action\": \"report\""));
    block_close(x->b);
    x->b = block_wrap(&(BlockFile){.driver = &rig_driver, .file = x, .size = 1 << 20},
                      &(BlockOptions){.machine = m, .werror = BLOCK_ERROR_IGNORE});
    write_at(x, 0, 512, 1);
    settle(x);
    g_assert_cmpint(x->r.ret, ==, 0);
    g_assert_true(machine_running(m));
    rig_free(x);
    machine_free(m);
}

static void test_stop_and_cont(void)
{
    Machine *m = machine();
    Rig *x = rig_new(&(BlockOptions){.machine = m, .id = "d0"});
    BlockStats s;

    x->image.fail = ENOSPC;
    write_at(x, 4096, 512, 0x77);
    settle(x);
    g_assert_cmpuint(x->r.calls, ==, 0);
    g_assert_cmpuint(block_in_flight(x->b), ==, 1);
    g_assert_cmpint(m->state, ==, RUN_IO_ERROR);
    g_assert_nonnull(strstr(last_event, "BLOCK_IO_ERROR"));
    g_assert_nonnull(strstr(last_event, "\"action\": \"stop\""));
    g_assert_nonnull(strstr(last_event, "\"nospace\": true"));
    block_get_stats(x->b, &s);
    g_assert_true(s.no_space);
    /* Still full: it stops again. */
    machine_start(m);
    settle(x);
    g_assert_cmpint(m->state, ==, RUN_IO_ERROR);
    g_assert_cmpuint(x->r.calls, ==, 0);
    /* Now there is space. */
    x->image.fail = 0;
    machine_start(m);
    settle(x);
    g_assert_cmpuint(x->r.calls, ==, 1);
    g_assert_cmpint(x->r.ret, ==, 0);
    g_assert_cmphex(x->image.data[4096], ==, 0x77);
    g_assert_true(machine_running(m));
    block_get_stats(x->b, &s);
    g_assert_false(s.no_space);
    g_assert_cmpuint(s.failed[BLOCK_WRITE], ==, 2);
    g_assert_cmpuint(s.ops[BLOCK_WRITE], ==, 1);
    g_assert_cmpuint(s.highest, ==, 4096 + 512);
    /* A reset of the device ends what waits. */
    x->image.fail = ENOSPC;
    write_at(x, 0, 512, 1);
    settle(x);
    g_assert_cmpuint(x->r.calls, ==, 1);
    block_drain(x->b);
    g_assert_cmpuint(x->r.calls, ==, 2);
    g_assert_cmpint(x->r.ret, ==, -ENOSPC);
    rig_free(x);
    machine_free(m);
}

static void test_requests_out_of_range(void)
{
    Machine *m = machine();
    Rig *x = rig_new(&(BlockOptions){.machine = m, .werror = BLOCK_ERROR_STOP, .read_only = true});
    write_at(x, 0, 512, 1);
    settle(x);
    g_assert_cmpint(x->r.ret, ==, -EROFS); /* what is wrong with the request stops nothing */
    block_discard(x->b, (1 << 20) - 512, 1024, done, &x->r);
    settle(x);
    g_assert_cmpint(x->r.ret, ==, -EINVAL);
    g_assert_true(machine_running(m));
    BlockStats s;
    block_get_stats(x->b, &s);
    g_assert_cmpuint(s.invalid[BLOCK_WRITE], ==, 1);
    g_assert_cmpuint(s.invalid[BLOCK_UNMAP], ==, 1);
    rig_free(x);
    machine_free(m);
}

/* ---- limits ---- */

typedef struct Waiter {
    ThrottleItem it;
    unsigned *gone;
} Waiter;

static void go(ThrottleItem *it)
{
    (*((Waiter *)it)->gone)++;
}

static void test_throttle_rate(void)
{
    Clock *clock = clock_new(CLOCK_KIND_MANUAL);
    ThrottleGroup *g = throttle_group_get(NULL, NULL, clock);
    ThrottleConfig t = {.limit[THROTTLE_IOPS_TOTAL] = {.avg = 100}};
    Waiter w[1000];
    unsigned gone = 0;

    throttle_group_set(g, &t);
    for (unsigned i = 0; i < G_N_ELEMENTS(w); i++) {
        w[i] = (Waiter){{.bytes = 4096, .write = i & 1, .go = go}, &gone};
        throttle_submit(g, &w[i].it);
    }
    /* A tenth of a second's worth at once, then the rate. */
    g_assert_cmpuint(gone, >=, 10);
    g_assert_cmpuint(gone, <=, 12);
    for (unsigned s = 1; s <= 9; s++) {
        clock_step(clock, NS_PER_SEC);
        g_assert_cmpuint(gone, >=, 10 + 100 * s - 1);
        g_assert_cmpuint(gone, <=, 12 + 100 * s);
    }
    throttle_release(g, NULL); /* owner NULL: all of them */
    g_assert_cmpuint(gone, ==, 1000);
    throttle_group_put(g);
    clock_free(clock);
}

static unsigned passed_after(ThrottleConfig t, uint64_t bytes, int64_t ns, bool write)
{
    Clock *clock = clock_new(CLOCK_KIND_MANUAL);
    ThrottleGroup *g = throttle_group_get(NULL, NULL, clock);
    g_autofree Waiter *w = g_new0(Waiter, 5000);
    unsigned gone = 0, result;

    throttle_group_set(g, &t);
    for (unsigned i = 0; i < 5000; i++) {
        w[i] = (Waiter){{.bytes = bytes, .write = write, .go = go}, &gone};
        throttle_submit(g, &w[i].it);
    }
    clock_step(clock, ns);
    result = gone;
    throttle_release(g, NULL);
    throttle_group_put(g);
    clock_free(clock);
    return result;
}

#define near(n, want)                                                                              \
    do {                                                                                           \
        unsigned n_ = n;                                                                           \
        g_assert_cmpuint(n_, >=, (want)-2 - (want) / 50);                                          \
        g_assert_cmpuint(n_, <=, (want) + 2 + (want) / 50);                                        \
    } while (0)

static void test_throttle_kinds(void)
{
    ThrottleConfig t = {.limit[THROTTLE_BPS_WRITE] = {.avg = 1 << 20}};
    near(passed_after(t, 4096, 4 * NS_PER_SEC, true), 256 * 4 + 26);
    g_assert_cmpuint(passed_after(t, 4096, 0, false), ==, 5000); /* reads are free */
    /* A burst: 1000 a second for 2 seconds, then 100. */
    t = (ThrottleConfig){.limit[THROTTLE_IOPS_TOTAL] = {.avg = 100, .max = 1000, .length = 2}};
    near(passed_after(t, 512, NS_PER_SEC, false), 1000 + 100);
    /* The bucket of 2000 fills at 900 net a second. */
    near(passed_after(t, 512, 10 * NS_PER_SEC, false), 2000 + 1000);
    /* One second of burst, all at once. */
    t = (ThrottleConfig){.limit[THROTTLE_IOPS_TOTAL] = {.avg = 100, .max = 1000}};
    near(passed_after(t, 512, 0, false), 1000);
    /* Large requests count as several. */
    t = (ThrottleConfig){.limit[THROTTLE_IOPS_TOTAL] = {.avg = 100}, .iops_size = 4096};
    near(passed_after(t, 16384, 4 * NS_PER_SEC, false), 100 + 3);
}

static void test_throttle_options(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"bps=1M,iops=5", NULL},
        {"throttling.bps-total=1M,throttling.iops-read=7,throttling.iops-read-max=70", NULL},
        {"bps=1,bps_rd=1", "together"},
        {"iops_max=5", "needs the rate itself"},
        {"iops=5,iops_max=4", "must not be below"},
        {"iops=5,iops_max_length=4", "needs"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        Options *o = options_parse("-drive", cases[i].text, NULL, NULL);
        GError *err = NULL;
        ThrottleConfig t = {0};
        bool ok = throttle_parse(o, &t, &err) && options_check_used(o, &err);
        if (cases[i].error) {
            g_assert_false(ok);
            g_assert_nonnull(strstr(err->message, cases[i].error));
            g_error_free(err);
        } else {
            g_assert_no_error(err);
            g_assert_cmpuint(t.limit[THROTTLE_BPS_TOTAL].avg, ==, 1 << 20);
        }
        options_free(o);
    }
}

/* Two drives of one group share its limit; draining does not wait for it. */
static void test_throttle_group(void)
{
    Machine *m = machine();
    const BlockOptions o = {
        .machine = m, .throttle.limit[THROTTLE_IOPS_TOTAL] = {.avg = 10}, .throttle_group = "g"};
    Rig *x = rig_new(&o), *y = rig_new(&(BlockOptions){.machine = m, .throttle_group = "g"});
    ThrottleConfig t;

    block_get_throttle(y->b, &t);
    g_assert_cmpuint(t.limit[THROTTLE_IOPS_TOTAL].avg, ==, 10);
    for (unsigned i = 0; i < 50; i++) {
        write_at(x, 0, 512, 1);
        write_at(y, 0, 512, 1);
    }
    g_usleep(20000);
    turn();
    g_assert_cmpuint(x->r.calls + y->r.calls, <, 60);
    block_drain(x->b);
    g_assert_cmpuint(x->r.calls, ==, 50);
    g_assert_cmpuint(y->r.calls, <, 50);
    rig_free(x);
    machine_lock();
    rig_free(y);
    machine_lock();
    g_assert_null(m->throttle_groups);
    machine_unlock();
    machine_free(m);
}

/* ---- files ---- */

typedef struct Dir {
    char *path;
} Dir;

static char *in(Dir *d, const char *name)
{
    return g_build_filename(d->path, name, NULL);
}

static void make(const char *path, size_t len)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, (off_t)len), ==, 0);
    close(fd);
}

static void remove_dir(Dir *d)
{
    GDir *dir = g_dir_open(d->path, 0, NULL);
    const char *name;
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = in(d, name);
        g_unlink(path);
    }
    g_dir_close(dir);
    g_rmdir(d->path);
    g_free(d->path);
}

static void check(BlockDev *b, uint64_t off, int byte)
{
    uint8_t buf[512];
    g_assert_cmpint(block_pread(b, off, buf, sizeof(buf)), ==, 0);
    g_assert_cmphex(buf[0], ==, byte);
    g_assert_cmphex(buf[511], ==, byte);
}

static void fill(BlockDev *b, uint64_t off, int byte)
{
    uint8_t buf[512];
    memset(buf, byte, sizeof(buf));
    g_assert_cmpint(block_pwrite(b, off, buf, sizeof(buf)), ==, 0);
}

static void test_snapshot_and_commit(void)
{
    Dir d = {g_dir_make_tmp("rhea-XXXXXX", NULL)};
    g_autofree char *base = in(&d, "base.raw"), *top = in(&d, "top.qcow2");
    GError *err = NULL;

    make(base, 1 << 20);
    machine_lock();
    BlockDev *b = block_open(&(BlockOptions){.file = base, .format = "raw"}, &err);
    g_assert_no_error(err);
    fill(b, 0, 0x11);
    fill(b, 512, 0x12);
    g_assert_false(block_commit(b, &err));
    g_clear_error(&err);
    g_assert_false(block_external_snapshot(b, base, NULL, false, &err)); /* onto itself */
    g_clear_error(&err);
    g_assert_true(block_external_snapshot(b, top, "qcow2", false, &err));
    g_assert_cmpstr(block_format(b), ==, "qcow2");
    fill(b, 512, 0x22);
    check(b, 0, 0x11);
    check(b, 512, 0x22);
    /* The base is no longer locked for writing by us, but nobody may write to it either. */
    BlockDev *reader = block_open(&(BlockOptions){.file = base, .read_only = true}, &err);
    g_assert_no_error(err);
    check(reader, 512, 0x12);
    block_close(reader);
    g_assert_null(block_open(&(BlockOptions){.file = base, .format = "raw"}, &err));
    g_clear_error(&err);
    g_assert_true(block_resize(b, 2 << 20, &err));
    fill(b, (2 << 20) - 512, 0x33);
    g_assert_true(block_commit(b, &err));
    g_assert_no_error(err);
    check(b, 512, 0x22);
    check(b, (2 << 20) - 512, 0x33);
    block_close(b);
    b = block_open(&(BlockOptions){.file = base, .format = "raw", .read_only = true}, &err);
    g_assert_cmpuint(block_size(b), ==, 2 << 20);
    check(b, 0, 0x11);
    check(b, 512, 0x22);
    check(b, (2 << 20) - 512, 0x33);
    block_close(b);
    machine_unlock();
    remove_dir(&d);
}

static void test_commit_of_temporary(void)
{
    Dir d = {g_dir_make_tmp("rhea-XXXXXX", NULL)};
    g_autofree char *base = in(&d, "base.raw");
    GError *err = NULL;

    make(base, 1 << 20);
    machine_lock();
    BlockDev *b =
        block_open(&(BlockOptions){.file = base, .format = "raw", .snapshot = true}, &err);
    fill(b, 65536 * 3 + 512, 0x44);
    BlockDev *r = block_open(&(BlockOptions){.file = base, .read_only = true}, &err);
    check(r, 65536 * 3 + 512, 0);
    block_close(r);
    g_assert_true(block_commit(b, &err));
    check(b, 65536 * 3 + 512, 0x44);
    r = block_open(&(BlockOptions){.file = base, .read_only = true}, &err);
    g_assert_no_error(err);
    check(r, 65536 * 3 + 512, 0x44);
    block_close(r);
    block_close(b);
    machine_unlock();
    remove_dir(&d);
}

/* Unaligned requests through O_DIRECT, against a model; the file keeps its odd length. */
static void test_direct(void)
{
    Dir d = {g_dir_make_tmp("rhea-XXXXXX", NULL)};
    g_autofree char *path = in(&d, "a.raw");
    const size_t len = 100 * KIB + 512;
    g_autofree uint8_t *model = g_malloc0(len), *back = g_malloc(len);
    GRand *r = g_rand_new_with_seed(7);
    GError *err = NULL;
    struct stat st;

    make(path, len);
    machine_lock();
    BlockDev *b = block_open(&(BlockOptions){.file = path, .format = "raw", .direct = true}, &err);
    if (!b) {
        g_test_skip(err->message);
        g_error_free(err);
    }
    for (unsigned i = 0; b && i < 300; i++) {
        unsigned off = (unsigned)g_rand_int_range(r, 0, (int)len - 1);
        unsigned n = (unsigned)g_rand_int_range(r, 1, 9000);
        if (i % 3 == 0) {
            off &= ~4095u;
            n = 4096 * (1 + n % 3);
        }
        n = MIN(n, len - off);
        memset(model + off, (int)i, n);
        g_assert_cmpint(block_pwrite(b, off, model + off, n), ==, 0);
        off = (unsigned)g_rand_int_range(r, 0, (int)len - 1);
        n = MIN(n, len - off);
        g_assert_cmpint(block_pread(b, off, back + 1, MIN(n, len - 1)), ==, 0);
        g_assert_cmpmem(back + 1, MIN(n, len - 1), model + off, MIN(n, len - 1));
    }
    if (b) {
        block_close(b);
        g_autofree char *text = NULL;
        gsize got;
        g_assert_true(g_file_get_contents(path, &text, &got, NULL));
        g_assert_cmpmem(text, got, model, len);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpint(st.st_size, ==, (off_t)len);
    }
    machine_unlock();
    g_rand_free(r);
    remove_dir(&d);
}

/* The host's asynchronous I/O: many requests at once, some that it cannot take, FUA. */
static void test_aio(gconstpointer arg)
{
    const BlockAio aio = (BlockAio)GPOINTER_TO_INT(arg);
    Dir d = {g_dir_make_tmp("rhea-XXXXXX", NULL)};
    g_autofree char *path = in(&d, "a.raw");
    const size_t len = 1 << 20;
    g_autofree uint8_t *model = g_malloc0(len), *back = g_malloc(len);
    GRand *r = g_rand_new_with_seed(11);
    GError *err = NULL;

    make(path, len);
    machine_lock();
    BlockDev *b = block_open(&(BlockOptions){.file = path,
                                             .format = "raw",
                                             .direct = aio == BLOCK_AIO_NATIVE,
                                             .aio = aio,
                                             .writethrough = aio == BLOCK_AIO_URING},
                             &err);
    if (!b) {
        g_test_skip(err->message);
        g_error_free(err);
    }
    for (unsigned round = 0; b && round < 20; round++) {
        Result res = {0};
        unsigned n = 0;
        for (size_t off = 0; off < len;) {
            size_t k = (size_t)g_rand_int_range(r, 1, 40) * 512;
            k = MIN(k, len - off);
            if (round % 4 == 3) {
                k = MIN(k + 100, len - off); /* not aligned */
            }
            struct iovec iov[2] = {{model + off, k / 2}, {model + off + k / 2, k - k / 2}};
            memset(model + off, g_rand_int_range(r, 0, 256), k);
            (n % 5 ? block_write : block_write_fua)(b, off, iov, 2, done, &res);
            n++;
            off += k;
        }
        block_drain(b);
        g_assert_cmpuint(res.calls, ==, n);
        g_assert_cmpuint(res.bad, ==, 0);
        struct iovec all = {back, len};
        block_read(b, 0, &all, 1, done, &res);
        block_drain(b);
        g_assert_cmpint(res.ret, ==, 0);
        g_assert_cmpmem(back, len, model, len);
    }
    block_close(b);
    machine_unlock();
    g_rand_free(r);
    remove_dir(&d);
}

static void test_options(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"file=x,cache=none,aio=native,discard=unmap,detect-zeroes=unmap,format=raw", NULL},
        {"file=x,cache=unsafe,rerror=stop,werror=ignore,serial=S,id=a,index=1,media=disk", NULL},
        {"file=x,cache.direct=on,cache.no-flush=off,cache.writeback=off,boot=on", NULL},
        {"if=none,media=cdrom,id=c,readonly=on,format=raw", NULL},
        {"file=x,cache=maybe", "cache=maybe"},
        {"file=x,aio=fast", "aio=fast"},
        {"file=x,discard=1", "discard=1"},
        {"file=x,rerror=enospc", "rerror=enospc"},
        {"file=x,werror=never", "werror=never"},
        {"file=x,if=scsi", "if=scsi"},
        {"file=x,media=tape", "media=tape"},
        {"file=x,format=docx", "format=docx"},
        {"file=x,index=1,unit=1", "use one of them"},
        {"file=x,colour=red", "'colour'"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *err = NULL;
        DriveSpec *d = drive_parse("-drive", cases[i].text, &err);
        if (cases[i].error) {
            g_assert_null(d);
            g_assert_nonnull(strstr(err->message, cases[i].error));
            g_assert_true(g_str_has_prefix(err->message, "-drive"));
            g_error_free(err);
        } else {
            g_assert_no_error(err);
            drive_free(d);
        }
    }
    DriveSpec *d = drive_parse("-drive", "file=x,cache=directsync", NULL);
    g_assert_true(d->opts->direct && d->opts->writethrough && !d->opts->no_flush);
    drive_free(d);
    d = drive_parse("-drive", "file=x,bus=1,unit=1", NULL);
    g_assert_cmpint(d->index, ==, 3);
    drive_free(d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/blockdev/cache-modes", test_cache);
    g_test_add_func("/blockdev/discard-and-zeroes", test_discard);
    g_test_add_func("/blockdev/errors-reported-or-ignored", test_report);
    g_test_add_func("/blockdev/error-stops-and-cont-retries", test_stop_and_cont);
    g_test_add_func("/blockdev/wrong-requests-stop-nothing", test_requests_out_of_range);
    g_test_add_func("/blockdev/throttle-rate", test_throttle_rate);
    g_test_add_func("/blockdev/throttle-kinds-and-bursts", test_throttle_kinds);
    g_test_add_func("/blockdev/throttle-options", test_throttle_options);
    g_test_add_func("/blockdev/throttle-group", test_throttle_group);
    g_test_add_func("/blockdev/external-snapshot-and-commit", test_snapshot_and_commit);
    g_test_add_func("/blockdev/commit-of-temporary", test_commit_of_temporary);
    g_test_add_func("/blockdev/direct-unaligned", test_direct);
    g_test_add_data_func("/blockdev/aio-threads", GINT_TO_POINTER(BLOCK_AIO_THREADS), test_aio);
    g_test_add_data_func("/blockdev/aio-native", GINT_TO_POINTER(BLOCK_AIO_NATIVE), test_aio);
    g_test_add_data_func("/blockdev/aio-io_uring", GINT_TO_POINTER(BLOCK_AIO_URING), test_aio);
    g_test_add_func("/blockdev/drive-options", test_options);
    return g_test_run();
}
