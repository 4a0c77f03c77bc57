/*
 * rhea-io: reads and writes patterns in images of any format, for tests. Commands and their output
 * are those of qemu-io; each goes the way that a guest's requests go.
 */
#include "block/dev.h"
#include "block/drive.h"
#include "config.h"
#include "core/log.h"
#include "core/machine.h"
#include "core/option.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_LENGTH (1u << 30)

typedef struct Io {
    BlockDev *b;
    bool failed, quit, quiet;
} Io;

typedef struct Words Words;

typedef struct Command {
    const char *name, *alias, *args, *help;
    unsigned min, max; /* words behind the options */
    const char *options;
    bool (*fn)(Io *io, Words *w, GError **err);
} Command;

/* A command line, taken apart: options first. */
struct Words {
    char **v;
    unsigned n;
    bool flag[128];
    const char *value[128];
};

static void on_done(void *opaque, int ret)
{
    *(int *)opaque = ret;
}

/* ---- arguments ---- */

static bool number(const char *what, const char *text, uint64_t *out, GError **err)
{
    return parse_size(what, text, 1, out, err);
}

static bool range(const Io *io, const Words *w, unsigned at, uint64_t *off, uint64_t *len,
                  GError **err)
{
    if (!number("offset", w->v[at], off, err) || !number("length", w->v[at + 1], len, err)) {
        return false;
    }
    if (*len > MAX_LENGTH && w->v[0][0] != 'd' && !w->flag['z']) {
        return fail(err, "%s: the length is at most %u bytes", w->v[0], MAX_LENGTH);
    }
    return true;
}

static bool pattern(const Words *w, uint8_t *byte, GError **err)
{
    uint64_t v = *byte;
    if (w->value['P'] && !parse_uint("pattern", w->value['P'], 255, &v, err)) {
        return false;
    }
    *byte = (uint8_t)v;
    return true;
}

/* ---- doing it ---- */

static char *size_text(double n)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    unsigned i = 0;
    while (n >= 1024 && i + 1 < G_N_ELEMENTS(units)) {
        n /= 1024;
        i++;
    }
    g_autofree char *text = g_strdup_printf("%.3f", n);
    if (strchr(text, '.')) {
        char *end = text + strlen(text) - 1;
        while (*end == '0') {
            *end-- = 0;
        }
        if (*end == '.') {
            *end = 0;
        }
    }
    return g_strdup_printf("%s %s", text, units[i]);
}

static void report(const Io *io, const Words *w, const char *verb, uint64_t off, uint64_t len,
                   int64_t us)
{
    double s = (double)MAX(us, 1) / 1e6;
    g_autofree char *size = size_text((double)len), *rate = size_text((double)len / s);

    if (!w->flag['q'] && !io->quiet) {
        printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n", verb, len, len, off);
        printf("%s, 1 ops; %.4f sec (%s/sec and %.4f ops/sec)\n", size, s, rate, 1 / s);
    }
}

static int finish(Io *io, const int *ret)
{
    block_drain(io->b);
    return *ret;
}

static bool failed_io(const char *what, int ret, GError **err)
{
    return fail(err, "%s failed: %s", what, g_strerror(-ret));
}

static void dump(const uint8_t *p, uint64_t off, uint64_t len)
{
    for (uint64_t i = 0; i < len; i += 16) {
        printf("%08" PRIx64 ":  ", off + i);
        for (uint64_t k = i; k < i + 16; k++) {
            k < len ? printf("%02x ", p[k]) : printf("   ");
        }
        printf(" ");
        for (uint64_t k = i; k < i + 16 && k < len; k++) {
            putchar(g_ascii_isprint(p[k]) ? p[k] : '.');
        }
        putchar('\n');
    }
}

static bool cmd_read(Io *io, Words *w, GError **err)
{
    uint64_t off, len;
    uint8_t want = 0;
    int ret = 0;

    if (!range(io, w, 1, &off, &len, err) || !pattern(w, &want, err)) {
        return false;
    }
    g_autofree uint8_t *buf = g_malloc(MAX(len, 1));
    struct iovec iov = {buf, len};
    int64_t t0 = g_get_monotonic_time();
    block_read(io->b, off, &iov, 1, on_done, &ret);
    if (finish(io, &ret)) {
        return failed_io("read", ret, err);
    }
    int64_t us = g_get_monotonic_time() - t0;
    for (uint64_t i = 0; w->value['P'] && i < len; i++) {
        if (buf[i] != want) {
            printf("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes\n", off,
                   len);
            return fail(err, "byte %" PRIu64 " is 0x%02x, not 0x%02x", off + i, buf[i], want);
        }
    }
    if (w->flag['v']) {
        dump(buf, off, len);
    }
    report(io, w, "read", off, len, us);
    return true;
}

static bool cmd_write(Io *io, Words *w, GError **err)
{
    uint64_t off, len;
    uint8_t byte = 0xcd;
    int ret = 0;

    if (!range(io, w, 1, &off, &len, err) || !pattern(w, &byte, err)) {
        return false;
    }
    if (w->flag['u'] && !w->flag['z']) {
        return fail(err, "write: -u needs -z");
    }
    if (w->flag['z'] && w->value['P']) {
        return fail(err, "write: -z and -P cannot be given together");
    }
    g_autofree uint8_t *buf = g_malloc(w->flag['z'] ? 1 : MAX(len, 1));
    int64_t t0 = g_get_monotonic_time();
    if (w->flag['z']) {
        block_write_zeroes(io->b, off, len, w->flag['u'], on_done, &ret);
        if (w->flag['f'] && finish(io, &ret) == 0) {
            block_flush(io->b, on_done, &ret);
        }
    } else {
        struct iovec iov = {buf, len};
        memset(buf, byte, len);
        (w->flag['f'] ? block_write_fua : block_write)(io->b, off, &iov, 1, on_done, &ret);
    }
    if (finish(io, &ret)) {
        return failed_io("write", ret, err);
    }
    report(io, w, "wrote", off, len, g_get_monotonic_time() - t0);
    return true;
}

static bool cmd_discard(Io *io, Words *w, GError **err)
{
    uint64_t off, len;
    int ret = 0;

    if (!range(io, w, 1, &off, &len, err)) {
        return false;
    }
    int64_t t0 = g_get_monotonic_time();
    block_discard(io->b, off, len, on_done, &ret);
    if (finish(io, &ret)) {
        return failed_io("discard", ret, err);
    }
    report(io, w, "discard", off, len, g_get_monotonic_time() - t0);
    return true;
}

static bool cmd_flush(Io *io, Words *w, GError **err)
{
    int ret = 0;
    block_flush(io->b, on_done, &ret);
    return finish(io, &ret) == 0 || failed_io("flush", ret, err);
}

/* ---- data that can be told from other data ---- */

/* Each 8 bytes from their place and the seed (the finalizer of splitmix64). */
static uint64_t word_at(uint64_t seed, uint64_t off)
{
    uint64_t z = seed * 0x9e3779b97f4a7c15ull + off;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static bool seeded(Io *io, Words *w, bool write, GError **err)
{
    uint64_t seed, off, len;
    int ret = 0;

    if (!parse_uint("seed", w->v[1], UINT64_MAX, &seed, err) ||
        !number("offset", w->v[2], &off, err) || !number("length", w->v[3], &len, err)) {
        return false;
    }
    if ((off | len) & 7) {
        return fail(err, "%s: offset and length must be multiples of 8", w->v[0]);
    }
    g_autofree uint64_t *buf = g_malloc(1 << 20);
    for (uint64_t at = off, left = len, n; left; at += n, left -= n) {
        struct iovec iov = {buf, n = MIN(left, 1u << 20)};
        for (uint64_t i = 0; write && i < n / 8; i++) {
            buf[i] = word_at(seed, at + 8 * i);
        }
        (write ? block_write : block_read)(io->b, at, &iov, 1, on_done, &ret);
        if (finish(io, &ret)) {
            return failed_io(w->v[0], ret, err);
        }
        for (uint64_t i = 0; !write && i < n / 8; i++) {
            if (buf[i] != word_at(seed, at + 8 * i)) {
                return fail(err, "verify: the data at offset %" PRIu64 " is not that of seed %s",
                            at + 8 * i, w->v[1]);
            }
        }
    }
    return true;
}

static bool cmd_fill(Io *io, Words *w, GError **err)
{
    return seeded(io, w, true, err);
}

static bool cmd_verify(Io *io, Words *w, GError **err)
{
    return seeded(io, w, false, err);
}

/* ---- facts ---- */

static bool cmd_length(Io *io, Words *w, GError **err)
{
    g_autofree char *text = size_text((double)block_size(io->b));
    printf("%s\n", text);
    return true;
}

static bool cmd_map(Io *io, Words *w, GError **err)
{
    const BlockFile *f = &io->b->file;

    for (uint64_t off = 0; off < f->size;) {
        BlockExtent e = {.len = f->size - off, .present = true, .data = true};
        int ret = f->driver->extent ? f->driver->extent(f->file, off, f->size - off, &e) : 0;
        if (ret || e.len == 0) {
            return failed_io("map", ret ? ret : -EIO, err);
        }
        printf("%" PRIu64 " %" PRIu64 " depth %u%s%s%s\n", off, e.len, e.depth,
               e.data ? " data" : "", e.zero ? " zero" : "", e.present ? "" : " unallocated");
        off += e.len;
    }
    return true;
}

static bool cmd_truncate(Io *io, Words *w, GError **err)
{
    uint64_t size;
    return number("size", w->v[1], &size, err) && block_resize(io->b, size, err);
}

static bool cmd_sleep(Io *io, Words *w, GError **err)
{
    uint64_t ms;
    if (!parse_uint("milliseconds", w->v[1], 3600000, &ms, err)) {
        return false;
    }
    g_usleep(ms * 1000);
    return true;
}

static bool cmd_quit(Io *io, Words *w, GError **err)
{
    io->quit = true;
    return true;
}

/* ---- speed ---- */

typedef struct Bench {
    Io *io;
    uint64_t left, in_flight, size, blocks, next, state;
    bool write, random;
    int ret;
    uint8_t *buf;
} Bench;

static void bench_done(void *opaque, int ret);

static void bench_start(Bench *b)
{
    uint64_t block = b->next++ % b->blocks;
    struct iovec iov = {b->buf, b->size};

    if (b->random) {
        b->state = b->state * 6364136223846793005ull + 1442695040888963407ull;
        block = (b->state >> 33) % b->blocks;
    }
    b->left--;
    b->in_flight++;
    (b->write ? block_write : block_read)(b->io->b, block * b->size, &iov, 1, bench_done, b);
}

static void bench_done(void *opaque, int ret)
{
    Bench *b = opaque;

    b->in_flight--;
    b->ret = b->ret ? b->ret : ret;
    if (b->left && b->ret == 0) {
        bench_start(b);
    } else if (b->in_flight == 0) {
        g_main_context_wakeup(NULL); /* this may be another thread */
    }
}

static bool option_number(const Words *w, char c, uint64_t def, uint64_t *out, GError **err)
{
    *out = def;
    return !w->value[(unsigned)c] || number("bench", w->value[(unsigned)c], out, err);
}

static bool cmd_bench(Io *io, Words *w, GError **err)
{
    Bench b = {.io = io, .write = w->flag['w'], .random = w->flag['r'], .state = 1};
    uint64_t depth;

    if (!option_number(w, 'c', 20000, &b.left, err) || !option_number(w, 'd', 1, &depth, err) ||
        !option_number(w, 's', 4096, &b.size, err)) {
        return false;
    }
    if (!b.size || b.size > (64 << 20) || block_size(io->b) < b.size || !depth || depth > 1024) {
        return fail(err, "bench: size or depth is out of range");
    }
    if (posix_memalign((void **)&b.buf, 4096, b.size)) {
        return fail(err, "bench: out of memory");
    }
    memset(b.buf, 0x5a, b.size);
    b.blocks = block_size(io->b) / b.size;
    uint64_t n = b.left;
    int64_t t0 = g_get_monotonic_time();
    for (uint64_t i = 0; i < depth && b.left; i++) {
        bench_start(&b);
    }
    while (b.in_flight) {
        machine_unlock();
        g_main_context_iteration(NULL, TRUE);
        machine_lock();
    }
    double s = (double)MAX(g_get_monotonic_time() - t0, 1) / 1e6;
    free(b.buf);
    if (b.ret) {
        return failed_io("bench", b.ret, err);
    }
    printf("%s %s of %" PRIu64 " bytes, depth %" PRIu64 ": %.0f requests/s, %.1f MiB/s\n",
           b.random ? "random" : "sequential", b.write ? "writes" : "reads", b.size, depth,
           (double)n / s, (double)(n * b.size) / s / (1 << 20));
    return true;
}

/* ---- the table ---- */

static bool cmd_help(Io *io, Words *w, GError **err);

static const Command commands[] = {
    {"read", "r", "[-q] [-v] [-P BYTE] OFF LEN", "read, and compare with BYTE", 2, 2,
     "qvP:", cmd_read},
    {"write", "w", "[-q] [-f] [-z [-u]] [-P BYTE] OFF LEN",
     "write BYTE (0xcd); -z zeros, -u by a hole; -f through the cache", 2, 2, "qfzuP:", cmd_write},
    {"discard", "d", "[-q] OFF LEN", "discard", 2, 2, "q", cmd_discard},
    {"flush", "f", "", "flush", 0, 0, "", cmd_flush},
    {"fill", NULL, "SEED OFF LEN", "write data made from SEED and its place", 3, 3, "", cmd_fill},
    {"verify", NULL, "SEED OFF LEN", "compare with what fill wrote", 3, 3, "", cmd_verify},
    {"length", "l", "", "the disk's size", 0, 0, "", cmd_length},
    {"map", NULL, "", "where data is", 0, 0, "", cmd_map},
    {"truncate", "t", "SIZE", "change the disk's size", 1, 1, "", cmd_truncate},
    {"bench", NULL, "[-w] [-r] [-c COUNT] [-d DEPTH] [-s SIZE]",
     "speed of writes (-w), at random (-r)", 0, 0, "wrc:d:s:", cmd_bench},
    {"sleep", NULL, "MS", "wait", 1, 1, "", cmd_sleep},
    {"help", "?", "", "this list", 0, 0, "", cmd_help},
    {"quit", "q", "", "end", 0, 0, "", cmd_quit},
};

static bool cmd_help(Io *io, Words *w, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        printf("  %s %s\n      %s\n", commands[i].name, commands[i].args, commands[i].help);
    }
    return true;
}

static bool take_options(const Command *c, Words *w, GError **err)
{
    while (w->n > 1 && w->v[1][0] == '-' && w->v[1][1]) {
        char *word = w->v[1];
        unsigned drop = 1;
        for (char *p = word + 1; *p; p++) {
            const char *o = strchr(c->options, *p);
            if (!o || *p == ':') {
                return fail(err, "%s: there is no option -%c: %s %s", c->name, *p, c->name,
                            c->args);
            }
            if (o[1] != ':') {
                w->flag[(unsigned char)*p & 127] = true;
                continue;
            }
            if (p[1] || w->n < 3) {
                return fail(err, "%s: option -%c needs a value", c->name, *p);
            }
            w->value[(unsigned char)*p & 127] = w->v[2];
            drop = 2;
        }
        memmove(w->v + 1, w->v + 1 + drop, (w->n - 1 - drop) * sizeof(*w->v));
        w->n -= drop;
    }
    return true;
}

static void run_line(Io *io, const char *line)
{
    g_autoptr(GError) err = NULL;
    g_auto(GStrv) argv = NULL;
    Words w = {0};
    int n = 0;

    if (!g_shell_parse_argv(line, &n, &argv, NULL)) {
        return; /* nothing in it */
    }
    g_autofree char **words = g_memdup2(argv, ((gsize)n + 1) * sizeof(*argv));
    w.v = words;
    w.n = (unsigned)n;
    const Command *c = NULL;
    for (unsigned i = 0; i < G_N_ELEMENTS(commands) && !c; i++) {
        if (!strcmp(argv[0], commands[i].name) ||
            (commands[i].alias && !strcmp(argv[0], commands[i].alias))) {
            c = &commands[i];
        }
    }
    if (!c) {
        fail(&err, "there is no command '%s'; help lists them", argv[0]);
    } else if (take_options(c, &w, &err) && (w.n - 1 < c->min || w.n - 1 > c->max)) {
        fail(&err, "usage: %s %s", c->name, c->args);
    } else if (!err) {
        c->fn(io, &w, &err);
    }
    if (err) {
        fflush(stdout);
        error_report("%s", err->message);
        io->failed = true;
    }
    fflush(stdout);
}

/* ---- the program ---- */

static void usage(void)
{
    puts("usage: rhea-io [OPTION]… [-c COMMAND]… FILE\n"
         "Reads and writes patterns in an image; without -c commands come from stdin.\n\n"
         "  -c, --cmd=COMMAND   do this; 'help' lists the commands\n"
         "  -f, --format=F      raw, qcow2 …; else what is found\n"
         "  -r, --read-only\n"
         "  -s, --snapshot      write to a temporary file\n"
         "  -n, --nocache       --cache=none\n"
         "  -t, --cache=MODE    writeback, writethrough, none, directsync, unsafe\n"
         "  -i, --aio=MODE      threads, native, io_uring\n"
         "  -d, --discard=MODE  ignore, unmap\n"
         "  -D, --drive=OPTS    more options of -drive: detect-zeroes=on,bps=1M …\n"
         "  -U, --force-share   read an image that others write to\n"
         "  -q, --quiet         no statistics\n"
         "      --image-opts    FILE is driver=…,file.filename=…\n"
         "  -h, --help   -V, --version");
}

static void add(GString *s, const char *key, const char *value)
{
    if (value) {
        g_auto(GStrv) parts = g_strsplit(value, ",", -1);
        g_autofree char *text = g_strjoinv(",,", parts);
        g_string_append_printf(s, "%s%s=%s", s->len ? "," : "", key, text);
    }
}

static BlockDev *open_image(const char *file, bool image_opts, const char *text,
                            const BlockOptions *more, GError **err)
{
    DriveSpec *d = drive_parse("rhea-io", text, err);
    Options *tree = NULL;

    if (!d) {
        return NULL;
    }
    BlockOptions o = *d->opts;
    o.file = file;
    o.format = d->format;
    o.read_only = more->read_only;
    o.unlocked = more->unlocked;
    o.snapshot = more->snapshot;
    if (image_opts) {
        o.file = NULL;
        o.tree = tree = options_parse("--image-opts", file, "driver", err);
    }
    BlockDev *b = image_opts && !tree ? NULL : block_open(&o, err);
    options_free(tree);
    drive_free(d);
    return b;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"cmd", 1, NULL, 'c'},         {"format", 1, NULL, 'f'},  {"read-only", 0, NULL, 'r'},
        {"snapshot", 0, NULL, 's'},    {"nocache", 0, NULL, 'n'}, {"cache", 1, NULL, 't'},
        {"aio", 1, NULL, 'i'},         {"discard", 1, NULL, 'd'}, {"drive", 1, NULL, 'D'},
        {"force-share", 0, NULL, 'U'}, {"quiet", 0, NULL, 'q'},   {"image-opts", 0, NULL, 256},
        {"help", 0, NULL, 'h'},        {"version", 0, NULL, 'V'}, {NULL},
    };
    g_autoptr(GPtrArray) lines = g_ptr_array_new();
    g_autoptr(GString) opts = g_string_new("if=none");
    g_autoptr(GError) err = NULL;
    BlockOptions more = {0};
    bool image_opts = false;
    Io io = {0};
    int c;

    g_set_prgname("rhea-io");
    while ((c = getopt_long(argc, argv, "c:f:rsnt:i:d:D:UqhV", longs, NULL)) != -1) {
        switch (c) {
        case 'c':
            g_ptr_array_add(lines, optarg);
            break;
        case 'f':
            add(opts, "format", optarg);
            break;
        case 'r':
            more.read_only = true;
            break;
        case 's':
            more.snapshot = true;
            break;
        case 'n':
            add(opts, "cache", "none");
            break;
        case 't':
            add(opts, "cache", optarg);
            break;
        case 'i':
            add(opts, "aio", optarg);
            break;
        case 'd':
            add(opts, "discard", optarg);
            break;
        case 'D':
            g_string_append_printf(opts, ",%s", optarg);
            break;
        case 'U':
            more.unlocked = true;
            break;
        case 'q':
            io.quiet = true;
            break;
        case 256:
            image_opts = true;
            break;
        case 'h':
            usage();
            return 0;
        case 'V':
            puts("rhea-io " RHEA_VERSION);
            return 0;
        default:
            return 1;
        }
    }
    if (optind + 1 != argc) {
        error_report("exactly one image must be named; -h helps");
        return 1;
    }
    machine_lock();
    io.b = open_image(argv[optind], image_opts, opts->str, &more, &err);
    if (!io.b) {
        error_report("%s", err->message);
        return 1;
    }
    for (guint i = 0; i < lines->len && !io.quit; i++) {
        run_line(&io, lines->pdata[i]);
    }
    char line[4096];
    while (!lines->len && !io.quit && fgets(line, sizeof(line), stdin)) {
        run_line(&io, line);
    }
    block_close(io.b);
    machine_unlock();
    return io.failed;
}
