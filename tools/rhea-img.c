/* rhea-img: makes, looks at, checks and converts disk images. */
#include "block/driver.h"
#include "block/qcow2.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (2u << 20)
#define PACK_CHUNK (16u << 20) /* enough for all cores at once */

typedef struct Args {
    const char *format, *out_format, *backing, *backing_format, *repair, *mode_arg;
    GPtrArray *options; /* of -o */
    GPtrArray *files;
    bool json, progress, compress, unlocked, quiet, shrink, unsafe;
    bool full; /* the output is a device: zeros have to be written, too */
    char mode; /* of snapshot: l, c, a, d */
} Args;

/* ---- arguments ---- */

static bool parse_size(const char *text, uint64_t *size, GError **err)
{
    char *end;
    static const char units[] = "BKMGTPE";
    double v = g_ascii_strtod(text, &end);
    unsigned shift = 0;

    if (end != text && *end) {
        const char *u = strchr(units, g_ascii_toupper(*end));
        shift = u ? 10 * (unsigned)(u - units) : 99;
        end += u ? 1 : 0;
    }
    if (end == text || *end || v < 0 || shift == 99 || v * (double)(1ull << shift) > 4.6e18) {
        return fail(err, "'%s' is not a size; sizes are like 512, 64k, 10G", text);
    }
    *size = (uint64_t)(v * (double)(1ull << shift));
    return true;
}

static bool on_off(const char *key, const char *v, bool *out, GError **err)
{
    if (strcmp(v, "on") && strcmp(v, "off")) {
        return fail(err, "%s=%s is neither on nor off", key, v);
    }
    *out = v[1] == 'n';
    return true;
}

static bool creation_option(Qcow2Create *c, const char *key, const char *v, GError **err)
{
    uint64_t n;
    bool on = false;

    if (!strcmp(key, "cluster_size")) {
        if (!parse_size(v, &n, err)) {
            return false;
        }
        if (n < 512 || n > 2u << 20 || (n & (n - 1))) {
            return fail(err, "cluster_size=%s is not a power of 2 from 512 to 2M", v);
        }
        c->cluster_bits = (unsigned)__builtin_ctzll(n);
    } else if (!strcmp(key, "compat")) {
        bool old = !strcmp(v, "0.10") || !strcmp(v, "v2");
        if (!old && strcmp(v, "1.1") && strcmp(v, "v3")) {
            return fail(err, "compat=%s is neither 0.10 nor 1.1", v);
        }
        c->version = old ? 2 : 3;
    } else if (!strcmp(key, "refcount_bits")) {
        n = strtoul(v, NULL, 10);
        if (n == 0 || n > 64 || (n & (n - 1))) {
            return fail(err, "refcount_bits=%s is not a power of 2 from 1 to 64", v);
        }
        c->refcount_order = (unsigned)__builtin_ctzll(n);
    } else if (!strcmp(key, "lazy_refcounts")) {
        return on_off(key, v, &c->lazy_refcounts, err);
    } else if (!strcmp(key, "preallocation")) {
        c->prealloc_metadata = !strcmp(v, "metadata");
        if (!c->prealloc_metadata && strcmp(v, "off")) {
            return fail(err, "preallocation=%s is neither off nor metadata", v);
        }
    } else if (!strcmp(key, "compression_type")) {
        c->zstd = !strcmp(v, "zstd");
        if (!c->zstd && strcmp(v, "zlib")) {
            return fail(err, "compression_type=%s is neither zlib nor zstd", v);
        }
    } else if (!strcmp(key, "backing_file")) {
        c->backing = v;
    } else if (!strcmp(key, "backing_fmt")) {
        c->backing_format = v;
    } else if (!strcmp(key, "extended_l2") && on_off(key, v, &on, err)) {
        return !on || fail(err, "extended_l2=on is not supported");
    } else {
        return (err && *err) || fail(err, "there is no option '%s' of qcow2 images", key);
    }
    return true;
}

/* The strings stay in @a. */
static bool creation_options(const Args *a, Qcow2Create *c, GError **err)
{
    *c = (Qcow2Create){.version = 3,
                       .cluster_bits = 16,
                       .refcount_order = 4,
                       .backing = a->backing,
                       .backing_format = a->backing_format};
    for (unsigned i = 0; i < a->options->len; i++) {
        for (char *p = g_ptr_array_index(a->options, i), *next; p && *p; p = next) {
            next = strchr(p, ',');
            if (next) {
                *next++ = 0;
            }
            char *eq = strchr(p, '=');
            if (!eq) {
                return fail(err, "-o: '%s' is not of the form key=value", p);
            }
            *eq = 0;
            if (!creation_option(c, p, eq + 1, err)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- files ---- */

static bool is_device(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

static bool create_file(const char *path, uint64_t size, GError **err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct stat st;
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

    if (fd < 0 || fstat(fd, &st)) {
        return fail(err, "image '%s': %s", path, g_strerror(errno));
    }
    bool ok = true;
    if (S_ISREG(st.st_mode)) {
        if (fcntl(fd, F_OFD_SETLK, &fl)) {
            ok = fail(err, "image '%s' is in use", path);
        } else if (ftruncate(fd, 0) || ftruncate(fd, (off_t)size)) {
            ok = fail(err, "image '%s': %s", path, g_strerror(errno));
        }
    }
    close(fd);
    return ok;
}

/* Makes an image of @format and leaves it closed. */
static bool create_image(const char *path, const char *format, const Qcow2Create *c, GError **err)
{
    BlockFile f;

    if (!strcmp(format, "raw")) {
        return create_file(path, (c->size + 511) & ~511ull, err);
    }
    if (strcmp(format, "qcow2")) {
        return fail(err, "format %s cannot be created; raw and qcow2 can", format);
    }
    if (is_device(path)) {
        return fail(err, "qcow2 images on block devices are not supported");
    }
    if (!create_file(path, 0, err) || !raw_open(&f, path, IMAGE_WRITE, err)) {
        return false;
    }
    bool ok = qcow2_create(&f, path, c, err);
    f.driver->close(f.file);
    return ok;
}

static unsigned flags_of(const Args *a)
{
    return a->unlocked ? IMAGE_UNLOCKED : 0;
}

static void close_image(BlockFile *f)
{
    f->driver->close(f->file);
}

static int extent_of(const BlockFile *f, uint64_t off, uint64_t len, BlockExtent *e)
{
    *e = (BlockExtent){.len = len, .data = true, .present = true};
    return f->driver->extent ? f->driver->extent(f->file, off, len, e) : 0;
}

static bool io_error(GError **err, const char *path, int ret)
{
    return fail(err, "image '%s': %s", path, g_strerror(-ret));
}

static const char *file_at(const Args *a, unsigned i)
{
    return i < a->files->len ? g_ptr_array_index(a->files, i) : NULL;
}

static bool want_files(const Args *a, unsigned min, unsigned max, const char *what, GError **err)
{
    return (a->files->len >= min && a->files->len <= max) || fail(err, "expected %s", what);
}

static char *human(uint64_t n)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)n;
    unsigned u = 0;
    while (v >= 999.5 && u < 6) {
        v /= 1024;
        u++;
    }
    return g_strdup_printf("%.3g %s", v, units[u]);
}

static void print_json(json_t *j)
{
    char *text = json_dumps(j, JSON_INDENT(4));
    puts(text);
    free(text);
    json_decref(j);
}

/* ---- create ---- */

static bool cmd_create(Args *a, GError **err)
{
    const char *format = a->format ? a->format : "raw";
    Qcow2Create c;

    if (!want_files(a, 1, 2, "create [-f FORMAT] [-o OPTIONS] [-b FILE -F FORMAT] FILE [SIZE]",
                    err) ||
        !creation_options(a, &c, err)) {
        return false;
    }
    const char *path = file_at(a, 0);
    if (!strcmp(format, "raw") && (c.backing || a->options->len)) {
        return fail(err, "raw images have neither options nor backing files");
    }
    if (file_at(a, 1) && !parse_size(file_at(a, 1), &c.size, err)) {
        return false;
    }
    if (c.backing && !a->unsafe) {
        BlockFile b;
        g_autofree char *full = image_backing_path(path, c.backing, err);
        if (!full || !image_open(&b, full, c.backing_format, IMAGE_UNLOCKED, err)) {
            return false;
        }
        if (!c.backing_format) {
            c.backing_format = b.driver->name;
        }
        c.size = file_at(a, 1) ? c.size : b.size;
        close_image(&b);
    } else if (!file_at(a, 1)) {
        return fail(err, "create: a size is missing");
    }
    if (!create_image(path, format, &c, err)) {
        return false;
    }
    if (!a->quiet) {
        printf("Formatting '%s', fmt=%s size=%" PRIu64 "\n", path, format, c.size);
    }
    return true;
}

/* ---- info ---- */

/* Instructions that had run; UINT64_MAX: not counted. */
static uint64_t icount_of(const Qcow2Snapshot *s)
{
    uint64_t v = UINT64_MAX;
    if (s->extra_len >= 24) {
        memcpy(&v, s->extra + 16, 8);
        v = GUINT64_FROM_BE(v);
    }
    return v;
}

static json_t *snapshots_json(const Qcow2Info *q)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < q->n_snapshots; i++) {
        const Qcow2Snapshot *s = &q->snapshots[i];
        json_t *j = json_pack("{s:I,s:s,s:I,s:I,s:I,s:s,s:I}", "vm-clock-nsec",
                              (json_int_t)(s->vm_clock % 1000000000), "name", s->name, "date-sec",
                              (json_int_t)s->date_sec, "date-nsec", (json_int_t)s->date_nsec,
                              "vm-clock-sec", (json_int_t)(s->vm_clock / 1000000000), "id", s->id,
                              "vm-state-size", (json_int_t)s->vm_size);
        if (j && icount_of(s) != UINT64_MAX) {
            json_object_set_new(j, "icount", json_integer((json_int_t)icount_of(s)));
        }
        if (j) { /* a name that is not UTF-8 has no place in JSON */
            json_array_append_new(list, j);
        }
    }
    return list;
}

static void print_snapshots(const Qcow2Info *q)
{
    printf("Snapshot list:\n%-9s %-16s %8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
           "VM CLOCK", "ICOUNT");
    for (unsigned i = 0; i < q->n_snapshots; i++) {
        const Qcow2Snapshot *s = &q->snapshots[i];
        g_autofree char *size = human(s->vm_size);
        char date[32];
        time_t t = s->date_sec;
        struct tm tm;
        uint64_t sec = s->vm_clock / 1000000000;
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm));
        printf("%-9s %-16s %8s%20s %02" PRIu64 ":%02u:%02u.%03u", s->id, s->name, size, date,
               sec / 3600, (unsigned)(sec / 60 % 60), (unsigned)(sec % 60),
               (unsigned)(s->vm_clock % 1000000000 / 1000000));
        uint64_t icount = icount_of(s);
        if (icount != UINT64_MAX) {
            printf(" %10" PRIu64, icount);
        }
        putchar('\n');
    }
}

static void info_json(const char *path, const BlockFile *f, const Qcow2Info *q, uint64_t actual)
{
    json_t *j = json_pack("{s:I,s:s,s:s,s:I,s:b}", "virtual-size", (json_int_t)f->size, "filename",
                          path, "format", f->driver->name, "actual-size", (json_int_t)actual,
                          "dirty-flag", (int)q->dirty);
    if (q->version) {
        json_object_set_new(j, "cluster-size", json_integer((json_int_t)q->cluster_size));
        json_t *d = json_pack("{s:s,s:s,s:i,s:b}", "compat", q->version == 2 ? "0.10" : "1.1",
                              "compression-type", q->zstd ? "zstd" : "zlib", "refcount-bits",
                              (int)q->refcount_bits, "extended-l2", 0);
        if (q->version >= 3) {
            json_object_set_new(d, "lazy-refcounts", json_boolean(q->lazy_refcounts));
            json_object_set_new(d, "corrupt", json_boolean(q->corrupt));
        }
        json_object_set_new(j, "format-specific",
                            json_pack("{s:s,s:o}", "type", "qcow2", "data", d));
    }
    if (q->backing) {
        g_autofree char *full = image_backing_path(path, q->backing, NULL);
        json_object_set_new(j, "backing-filename", json_string(q->backing));
        json_object_set_new(j, "full-backing-filename", json_string(full ? full : q->backing));
        if (q->backing_format) {
            json_object_set_new(j, "backing-filename-format", json_string(q->backing_format));
        }
    }
    if (q->n_snapshots) {
        json_object_set_new(j, "snapshots", snapshots_json(q));
    }
    print_json(j);
}

static void info_human(const char *path, const BlockFile *f, const Qcow2Info *q, uint64_t actual)
{
    g_autofree char *size = human(f->size), *disk = human(actual);

    printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n",
           path, f->driver->name, size, f->size, disk);
    if (!q->version) {
        return;
    }
    printf("cluster_size: %" PRIu64 "\n", q->cluster_size);
    if (q->dirty) {
        puts("cleanly shut down: no");
    }
    if (q->backing) {
        g_autofree char *full = image_backing_path(path, q->backing, NULL);
        printf("backing file: %s", q->backing);
        if (full && strcmp(full, q->backing)) {
            printf(" (actual path: %s)", full);
        }
        putchar('\n');
        if (q->backing_format) {
            printf("backing file format: %s\n", q->backing_format);
        }
    }
    if (q->n_snapshots) {
        print_snapshots(q);
    }
    printf("Format specific information:\n    compat: %s\n    compression type: %s\n",
           q->version == 2 ? "0.10" : "1.1", q->zstd ? "zstd" : "zlib");
    if (q->version >= 3) {
        printf("    lazy refcounts: %s\n", q->lazy_refcounts ? "true" : "false");
    }
    printf("    refcount bits: %u\n", q->refcount_bits);
    if (q->version >= 3) {
        printf("    corrupt: %s\n    extended l2: false\n", q->corrupt ? "true" : "false");
    }
}

static bool cmd_info(Args *a, GError **err)
{
    BlockFile f;
    Qcow2Info q = {0};
    struct stat st = {0};

    if (!want_files(a, 1, 1, "info [-f FORMAT] [-U] [--output=human|json] FILE", err)) {
        return false;
    }
    const char *path = file_at(a, 0);
    if (!image_open(&f, path, a->format, flags_of(a) | IMAGE_NO_BACKING, err)) {
        return false;
    }
    if (qcow2_is(&f)) {
        qcow2_info(&f, &q);
    }
    if (stat(path, &st)) {
        st.st_blocks = 0;
    }
    (a->json ? info_json : info_human)(path, &f, &q, (uint64_t)st.st_blocks * 512);
    close_image(&f);
    return true;
}

/* ---- check ---- */

static void check_line(void *opaque, const char *line)
{
    if (!((Args *)opaque)->json && !((Args *)opaque)->quiet) {
        puts(line);
    }
}

static void check_human(const Qcow2Check *r)
{
    if (r->corruptions_fixed || r->leaks_fixed) {
        printf("The following inconsistencies were found and repaired:\n\n    %" PRIu64
               " leaked clusters\n    %" PRIu64 " corruptions\n\n",
               r->leaks_fixed, r->corruptions_fixed);
    }
    if (!r->corruptions && !r->leaks && !r->check_errors) {
        puts("No errors were found on the image.");
    }
    if (r->corruptions) {
        printf("\n%" PRIu64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n",
               r->corruptions);
    }
    if (r->leaks) {
        printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
               "This means waste of disk space, but no harm to data.\n",
               r->leaks);
    }
    if (r->total_clusters && r->allocated) {
        double all = (double)r->allocated;
        printf("%" PRIu64 "/%" PRIu64 " = %.2f%% allocated, %.2f%% fragmented, %.2f%% compressed "
               "clusters\n",
               r->allocated, r->total_clusters, all * 100 / (double)r->total_clusters,
               (double)r->fragmented * 100 / all, (double)r->compressed * 100 / all);
    }
    printf("Image end offset: %" PRIu64 "\n", r->end_offset);
}

static void check_json(const char *path, const Qcow2Check *r)
{
    const struct {
        const char *name;
        uint64_t v;
        bool always;
    } all[] = {{"image-end-offset", r->end_offset, true},
               {"total-clusters", r->total_clusters, true},
               {"check-errors", r->check_errors, true},
               {"corruptions", r->corruptions, false},
               {"leaks", r->leaks, false},
               {"corruptions-fixed", r->corruptions_fixed, false},
               {"leaks-fixed", r->leaks_fixed, false},
               {"allocated-clusters", r->allocated, false},
               {"fragmented-clusters", r->fragmented, false},
               {"compressed-clusters", r->compressed, false}};
    json_t *j = json_pack("{s:s,s:s}", "filename", path, "format", "qcow2");
    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        if (all[i].v || all[i].always) {
            json_object_set_new(j, all[i].name, json_integer((json_int_t)all[i].v));
        }
    }
    print_json(j);
}

/* Exit status as qemu-img's: 0 fine, 2 corrupt, 3 leaks only, 63 no check for the format. */
static bool cmd_check(Args *a, int *status, GError **err)
{
    BlockFile f;
    Qcow2Check r;
    unsigned fix = 0;

    if (!want_files(a, 1, 1, "check [-f FORMAT] [-r leaks|all] [--output=human|json] FILE", err)) {
        return false;
    }
    if (a->repair) {
        fix = !strcmp(a->repair, "all")     ? QCOW2_FIX_LEAKS | QCOW2_FIX_ERRORS
              : !strcmp(a->repair, "leaks") ? QCOW2_FIX_LEAKS
                                            : 0;
        if (!fix) {
            return fail(err, "-r %s is neither leaks nor all", a->repair);
        }
    }
    const char *path = file_at(a, 0);
    unsigned flags = fix ? IMAGE_WRITE | IMAGE_REPAIR : flags_of(a);
    if (!image_open(&f, path, a->format, flags | IMAGE_NO_BACKING, err)) {
        return false;
    }
    if (!qcow2_is(&f)) {
        close_image(&f);
        *status = 63;
        return fail(err, "image '%s': images of format raw have nothing to check", path);
    }
    int ret = qcow2_check(&f, fix, &r, check_line, a);
    close_image(&f);
    if (ret) {
        return io_error(err, path, ret);
    }
    if (a->json) {
        check_json(path, &r);
    } else if (!a->quiet) {
        check_human(&r);
    }
    *status = r.corruptions ? 2 : r.leaks ? 3 : r.check_errors ? 1 : 0;
    return true;
}

/* ---- convert ---- */

static void progress(const Args *a, uint64_t done, uint64_t all, int64_t start)
{
    if (!a->progress) {
        return;
    }
    double part = all ? (double)done / (double)all : 1,
           s = (double)(g_get_monotonic_time() - start);
    char bar[31];
    for (unsigned i = 0; i < 30; i++) {
        bar[i] = i < part * 30 ? '#' : '.';
    }
    bar[30] = 0;
    printf("\r[%s] %6.2f%% %7.1f MiB/s", bar, part * 100,
           s > 0 ? (double)done / 1.048576 / s : 0.0);
    if (done == all) {
        putchar('\n');
    }
    fflush(stdout);
}

static bool is_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && !memcmp(p, p + 1, n - 1));
}

/* The parts of @buf that are not zeros, 4 KiB at a time. */
static int write_sparse(const BlockFile *out, uint64_t off, uint8_t *buf, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t n = MIN(4096, len - at);
        if (is_zero(buf + at, n)) {
            at += n;
            continue;
        }
        size_t end = at + n;
        while (end < len && !is_zero(buf + end, MIN(4096, len - end))) {
            end += MIN(4096, len - end);
        }
        struct iovec iov = {buf + at, end - at};
        int ret = out->driver->write(out->file, off + at, &iov, 1);
        if (ret) {
            return ret;
        }
        at = end;
    }
    return 0;
}

typedef struct Pack {
    const BlockFile *out;
    uint8_t *data, *packed;
    size_t len, packed_len;
} Pack;

static void pack_one(gpointer data, gpointer user)
{
    Pack *p = data;
    p->packed_len =
        is_zero(p->data, p->len) ? 0 : qcow2_compress(p->out, p->data, p->len, p->packed);
}

/* @buf cluster by cluster, packed by all cores, stored in order. */
static int write_packed(const BlockFile *out, uint64_t off, uint8_t *buf, size_t len, size_t cs)
{
    size_t n = (len + cs - 1) / cs;
    g_autofree Pack *p = g_new0(Pack, n);
    g_autofree uint8_t *packed = g_malloc(n * cs);
    GThreadPool *pool = g_thread_pool_new(pack_one, NULL, (int)g_get_num_processors(), FALSE, NULL);
    int ret = 0;

    memset(buf + len, 0, n * cs - len);
    for (size_t i = 0; i < n; i++) {
        p[i] = (Pack){.out = out, .data = buf + i * cs, .packed = packed + i * cs, .len = cs};
        g_thread_pool_push(pool, &p[i], NULL);
    }
    g_thread_pool_free(pool, FALSE, TRUE);
    for (size_t i = 0; i < n && ret == 0; i++) {
        uint64_t at = off + i * cs;
        if (p[i].packed_len) {
            ret = qcow2_write_compressed(out, at, p[i].packed, p[i].packed_len);
        } else if (!is_zero(p[i].data, cs)) {
            struct iovec iov = {p[i].data, MIN(cs, len - i * cs)};
            ret = out->driver->write(out->file, at, &iov, 1);
        }
    }
    return ret;
}

/* All of @in to @out, which reads as zeros so far. */
static int copy_image(const Args *a, const BlockFile *in, const BlockFile *out, size_t cs)
{
    size_t chunk = a->compress ? PACK_CHUNK : CHUNK;
    g_autofree uint8_t *buf = g_malloc(chunk);
    int64_t start = g_get_monotonic_time();
    int ret = 0;

    for (uint64_t off = 0; off < in->size && ret == 0;) {
        BlockExtent e;
        uint64_t len = MIN(chunk - off % chunk, in->size - off);
        ret = extent_of(in, off, in->size - off, &e);
        if (ret == 0 && e.zero && !a->full && (!a->compress || e.len >= cs)) {
            uint64_t skip = a->compress ? (off + e.len) / cs * cs - off : e.len;
            skip = off + e.len == in->size ? e.len : skip;
            if (skip && (!a->compress || off % cs == 0)) {
                off += skip;
                progress(a, off, in->size, start);
                continue;
            }
        }
        struct iovec iov = {buf, a->compress ? len : MIN(len, e.len)};
        ret = ret ? ret : in->driver->read(in->file, off, &iov, 1);
        if (ret == 0 && a->full) {
            ret = out->driver->write(out->file, off, &iov, 1);
        } else if (ret == 0) {
            ret = a->compress ? write_packed(out, off, buf, iov.iov_len, cs)
                              : write_sparse(out, off, buf, iov.iov_len);
        }
        off += iov.iov_len;
        progress(a, MIN(off, in->size), in->size, start);
    }
    return ret ? ret : out->driver->flush(out->file);
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool cmd_convert(Args *a, GError **err)
{
    const char *format = a->out_format ? a->out_format : "raw";
    BlockFile in, out;
    Qcow2Create c;

    if (!want_files(a, 2, 2, "convert [-f FORMAT] [-O FORMAT] [-c] [-p] [-o OPTIONS] FILE OUTPUT",
                    err) ||
        !creation_options(a, &c, err)) {
        return false;
    }
    const char *from = file_at(a, 0), *to = file_at(a, 1);
    if (a->compress && strcmp(format, "qcow2")) {
        return fail(err, "-c: images of format %s have no compression", format);
    }
    if (c.backing) {
        return fail(err, "convert writes whole images; a backing file is not supported");
    }
    if (same_file(from, to)) {
        return fail(err, "'%s' and '%s' are the same file", from, to);
    }
    if (!image_open(&in, from, a->format, flags_of(a), err)) {
        return false;
    }
    c.size = in.size;
    a->full = is_device(to);
    c.prealloc_metadata = c.prealloc_metadata && !a->compress;
    bool ok = create_image(to, format, &c, err) && image_open(&out, to, format, IMAGE_WRITE, err);
    if (ok && out.size < in.size) {
        close_image(&out);
        ok = fail(err, "'%s' is smaller than '%s'", to, from);
    }
    if (ok) {
        int ret = copy_image(a, &in, &out, 1u << c.cluster_bits);
        close_image(&out);
        ok = ret == 0 || io_error(err, to, ret);
    }
    close_image(&in);
    return ok;
}

/* ---- the smaller ones ---- */

static bool cmd_resize(Args *a, GError **err)
{
    BlockFile f;
    uint64_t n, size;

    if (!want_files(a, 2, 2, "resize [-f FORMAT] [--shrink] FILE [+|-]SIZE", err)) {
        return false;
    }
    const char *path = file_at(a, 0), *text = file_at(a, 1);
    if (!parse_size(text + (*text == '+' || *text == '-'), &n, err) ||
        !image_open(&f, path, a->format, IMAGE_WRITE, err)) {
        return false;
    }
    bool ok = *text != '-' || n <= f.size || fail(err, "'%s' is more than the image has", text);
    size = *text == '+' ? f.size + n : *text == '-' ? f.size - n : n;
    size = (size + 511) & ~511ull;
    if (ok && size < f.size && !a->shrink) {
        ok = fail(err, "image '%s' would lose data at its end; --shrink allows it", path);
    }
    if (ok && qcow2_is(&f)) {
        ok = qcow2_resize(&f, size, err);
    } else if (ok && truncate(path, (off_t)size)) {
        ok = io_error(err, path, -errno);
    }
    close_image(&f);
    if (ok && !a->quiet) {
        puts("Image resized.");
    }
    return ok;
}

static void map_line(const Args *a, const char *path, uint64_t off, const BlockExtent *e,
                     json_t *list)
{
    if (a->json) {
        json_t *j = json_pack("{s:I,s:I,s:i,s:b,s:b,s:b}", "start", (json_int_t)off, "length",
                              (json_int_t)e->len, "depth", (int)e->depth, "present",
                              (int)e->present, "zero", (int)e->zero, "data", (int)e->data);
        if (e->has_offset) {
            json_object_set_new(j, "offset", json_integer((json_int_t)e->offset));
        }
        json_array_append_new(list, j);
    } else if (e->data && e->has_offset) {
        g_autofree char *start = g_strdup_printf(off ? "%#" PRIx64 : "%" PRIx64, off);
        g_autofree char *len = g_strdup_printf("%#" PRIx64, e->len);
        g_autofree char *at = g_strdup_printf(e->offset ? "%#" PRIx64 : "%" PRIx64, e->offset);
        printf("%-16s%-16s%-16s%s\n", start, len, at, e->file ? e->file : path);
    }
}

static bool cmd_map(Args *a, GError **err)
{
    BlockFile f;
    BlockExtent e, run = {0};
    uint64_t start = 0;
    int ret = 0;

    if (!want_files(a, 1, 1, "map [-f FORMAT] [--output=human|json] FILE", err) ||
        !image_open(&f, file_at(a, 0), a->format, flags_of(a), err)) {
        return false;
    }
    json_t *list = json_array();
    if (!a->json) {
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    }
    for (uint64_t off = 0; off < f.size && ret == 0; off += e.len) {
        ret = extent_of(&f, off, f.size - off, &e);
        if (ret) {
            break;
        }
        if (run.len && run.depth == e.depth && run.present == e.present && run.data == e.data &&
            run.zero == e.zero && run.compressed == e.compressed &&
            run.has_offset == e.has_offset && run.file == e.file &&
            (!e.has_offset || run.offset + run.len == e.offset)) {
            run.len += e.len;
            continue;
        }
        if (run.len) {
            map_line(a, file_at(a, 0), start, &run, list);
        }
        run = e;
        start = off;
    }
    if (run.len && ret == 0) {
        map_line(a, file_at(a, 0), start, &run, list);
    }
    if (a->json) {
        print_json(list);
    } else {
        json_decref(list);
    }
    close_image(&f);
    return ret == 0 || io_error(err, file_at(a, 0), ret);
}

/* Status 1: they differ. */
static bool cmd_compare(Args *a, int *status, GError **err)
{
    BlockFile f[2];
    g_autofree uint8_t *x = g_malloc(CHUNK), *y = g_malloc(CHUNK);
    int ret = 0;

    *status = 2;
    if (!want_files(a, 2, 2, "compare [-f FORMAT] [-F FORMAT] FILE FILE", err) ||
        !image_open(&f[0], file_at(a, 0), a->format, flags_of(a), err)) {
        return false;
    }
    if (!image_open(&f[1], file_at(a, 1), a->backing_format, flags_of(a), err)) {
        close_image(&f[0]);
        return false;
    }
    uint64_t all = MAX(f[0].size, f[1].size), off = 0, at = UINT64_MAX;
    while (off < all && ret == 0 && at == UINT64_MAX) {
        BlockExtent e[2] = {{.len = all - off, .zero = true}, {.len = all - off, .zero = true}};
        uint64_t len = all - off;
        for (unsigned i = 0; i < 2 && ret == 0; i++) {
            if (off < f[i].size) {
                ret = extent_of(&f[i], off, f[i].size - off, &e[i]);
                len = MIN(len, e[i].len);
            }
        }
        len = e[0].zero && e[1].zero ? len : MIN(len, CHUNK);
        for (unsigned i = 0; i < 2 && ret == 0 && !(e[0].zero && e[1].zero); i++) {
            struct iovec iov = {i ? y : x, len};
            memset(iov.iov_base, 0, len);
            ret = e[i].zero ? 0 : f[i].driver->read(f[i].file, off, &iov, 1);
        }
        for (uint64_t k = 0; k < len && ret == 0 && !(e[0].zero && e[1].zero); k++) {
            if (x[k] != y[k]) {
                at = off + k;
                break;
            }
        }
        off += len;
    }
    close_image(&f[0]);
    close_image(&f[1]);
    if (ret) {
        return fail(err, "reading at offset %" PRIu64 ": %s", off, g_strerror(-ret));
    }
    *status = at != UINT64_MAX;
    if (at != UINT64_MAX && !a->quiet) {
        printf("Content mismatch at offset %" PRIu64 "!\n", at);
    } else if (!a->quiet) {
        puts(f[0].size == f[1].size ? "Images are identical."
                                    : "Warning: Image size mismatch!\nImages are identical.");
    }
    return true;
}

static bool cmd_snapshot(Args *a, GError **err)
{
    BlockFile f;
    Qcow2Info q;
    bool list = a->mode == 'l' || !a->mode, ok;

    if (!want_files(a, 1, 1, "snapshot [-l | -c NAME | -a NAME | -d NAME] FILE", err)) {
        return false;
    }
    unsigned flags = list ? flags_of(a) : IMAGE_WRITE;
    if (!image_open(&f, file_at(a, 0), a->format, flags | IMAGE_NO_BACKING, err)) {
        return false;
    }
    if (!qcow2_is(&f)) {
        ok = fail(err, "image '%s': raw images have no snapshots", file_at(a, 0));
    } else if (list) {
        qcow2_info(&f, &q);
        if (q.n_snapshots) {
            print_snapshots(&q);
        }
        ok = true;
    } else if (a->mode == 'c') {
        ok = qcow2_snapshot_create(&f, a->mode_arg, err);
    } else {
        ok = a->mode == 'a' ? qcow2_snapshot_apply(&f, a->mode_arg, err)
                            : qcow2_snapshot_delete(&f, a->mode_arg, err);
    }
    close_image(&f);
    return ok;
}

/* What @top has itself goes to @base. */
static int commit_data(const Args *a, const BlockFile *top, const BlockFile *base)
{
    g_autofree uint8_t *buf = g_malloc(CHUNK);
    int64_t start = g_get_monotonic_time();
    int ret = 0;

    for (uint64_t off = 0; off < top->size && ret == 0;) {
        BlockExtent e;
        ret = extent_of(top, off, top->size - off, &e);
        if (ret == 0 && (!e.present || e.depth)) {
            off += e.len;
            continue;
        }
        struct iovec iov = {buf, MIN(e.len, CHUNK)};
        ret = ret ? ret : top->driver->read(top->file, off, &iov, 1);
        ret = ret ? ret : base->driver->write(base->file, off, &iov, 1);
        off += iov.iov_len;
        progress(a, off, top->size, start);
    }
    return ret ? ret : base->driver->flush(base->file);
}

static bool commit_open(Args *a, BlockFile *top, BlockFile *base, GError **err)
{
    Qcow2Info q = {0};

    if (!image_open(top, file_at(a, 0), a->format, IMAGE_WRITE | IMAGE_NO_BACKING, err)) {
        return false;
    }
    if (qcow2_is(top)) {
        qcow2_info(top, &q);
    }
    g_autofree char *path = q.backing ? image_backing_path(file_at(a, 0), q.backing, err) : NULL;
    if (!q.backing) {
        fail(err, "image '%s' has no backing file", file_at(a, 0));
    }
    bool ok = path && image_open(base, path, q.backing_format, IMAGE_WRITE, err);
    if (ok && base->size < top->size) {
        ok = qcow2_is(base) ? qcow2_resize(base, top->size, err)
                            : truncate(path, (off_t)top->size) == 0 || io_error(err, path, -errno);
        if (!ok) {
            close_image(base);
        }
    }
    if (!ok) {
        close_image(top);
    }
    return ok;
}

static bool cmd_commit(Args *a, GError **err)
{
    BlockFile top, base;

    if (!want_files(a, 1, 1, "commit [-f FORMAT] [-p] FILE", err) ||
        !commit_open(a, &top, &base, err)) {
        return false;
    }
    int ret = commit_data(a, &top, &base);
    close_image(&base);
    ret = ret ? ret : qcow2_make_empty(&top);
    close_image(&top);
    if (ret == 0 && !a->quiet) {
        puts("Image committed.");
    }
    return ret == 0 || io_error(err, file_at(a, 0), ret);
}

static bool cmd_rebase(Args *a, GError **err)
{
    BlockFile f;

    if (!want_files(a, 1, 1, "rebase -u -b FILE [-F FORMAT] FILE", err)) {
        return false;
    }
    if (!a->unsafe) {
        return fail(err, "rebase copies no data; -u changes only the backing file's name");
    }
    if (!image_open(&f, file_at(a, 0), a->format, IMAGE_WRITE | IMAGE_NO_BACKING, err)) {
        return false;
    }
    const char *name = a->backing && *a->backing ? a->backing : NULL;
    bool ok = qcow2_is(&f) ? qcow2_set_backing(&f, name, a->backing_format, err)
                           : fail(err, "raw images have no backing file");
    close_image(&f);
    return ok;
}

/* ---- main ---- */

static void usage(void)
{
    puts("Usage: rhea-img COMMAND [OPTION]… FILE…\n"
         "  create [-f FORMAT] [-o OPTIONS] [-b FILE -F FORMAT] FILE [SIZE]\n"
         "  info [-f FORMAT] [-U] [--output=json] FILE\n"
         "  check [-f FORMAT] [-r leaks|all] [-U] [--output=json] FILE\n"
         "  convert [-f FORMAT] [-O FORMAT] [-c] [-p] [-o OPTIONS] FILE OUTPUT\n"
         "  resize [-f FORMAT] [--shrink] FILE [+|-]SIZE\n"
         "  map [-f FORMAT] [--output=json] FILE\n"
         "  compare [-f FORMAT] [-F FORMAT] FILE FILE\n"
         "  snapshot [-l | -c NAME | -a NAME | -d NAME] FILE\n"
         "  commit [-f FORMAT] [-p] FILE\n"
         "  rebase -u -b FILE [-F FORMAT] FILE\n"
         "Formats: raw, qcow2. Options of qcow2: cluster_size, compat=0.10|1.1, refcount_bits,\n"
         "lazy_refcounts=on|off, preallocation=off|metadata, compression_type=zlib|zstd,\n"
         "backing_file, backing_fmt.");
}

static bool parse_args(Args *a, const char *cmd, int argc, char **argv, GError **err)
{
    static const struct option longs[] = {{"output", required_argument, NULL, 1},
                                          {"shrink", no_argument, NULL, 2},
                                          {"force-share", no_argument, NULL, 'U'},
                                          {0}};
    const char *shorts = !strcmp(cmd, "snapshot") ? ":f:Uqlc:a:d:" : ":f:O:o:b:F:r:cpqUu";
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        switch (c) {
        case 1:
            a->json = !strcmp(optarg, "json");
            if (!a->json && strcmp(optarg, "human")) {
                return fail(err, "--output=%s is neither human nor json", optarg);
            }
            break;
        case 2:
            a->shrink = true;
            break;
        case 'f':
            a->format = optarg;
            break;
        case 'O':
            a->out_format = optarg;
            break;
        case 'o':
            g_ptr_array_add(a->options, optarg);
            break;
        case 'b':
            a->backing = optarg;
            break;
        case 'F':
            a->backing_format = optarg;
            break;
        case 'r':
            a->repair = optarg;
            break;
        case 'p':
            a->progress = true;
            break;
        case 'q':
            a->quiet = true;
            break;
        case 'u':
            a->unsafe = true;
            break;
        case 'U':
            a->unlocked = true;
            break;
        case 'c':
            if (strcmp(cmd, "snapshot")) {
                a->compress = true;
                break;
            } /* fall through */
        case 'l':
        case 'a':
        case 'd':
            a->mode = (char)c;
            a->mode_arg = optarg;
            break;
        case ':':
            return fail(err, "%s: option %s wants a value", cmd, argv[optind - 1]);
        default:
            return fail(err, "%s: there is no option %s", cmd, argv[optind - 1]);
        }
    }
    for (; optind < argc; optind++) {
        g_ptr_array_add(a->files, argv[optind]);
    }
    return true;
}

static bool run(const char *cmd, Args *a, int *status, GError **err)
{
    static const struct {
        const char *name;
        bool (*f)(Args *a, GError **err);
    } plain[] = {{"create", cmd_create}, {"info", cmd_info},    {"convert", cmd_convert},
                 {"resize", cmd_resize}, {"map", cmd_map},      {"snapshot", cmd_snapshot},
                 {"commit", cmd_commit}, {"rebase", cmd_rebase}};
    for (unsigned i = 0; i < G_N_ELEMENTS(plain); i++) {
        if (!strcmp(cmd, plain[i].name)) {
            return plain[i].f(a, err);
        }
    }
    if (!strcmp(cmd, "check")) {
        return cmd_check(a, status, err);
    }
    if (!strcmp(cmd, "compare")) {
        return cmd_compare(a, status, err);
    }
    return fail(err, "there is no command '%s'; rhea-img --help lists them", cmd);
}

int main(int argc, char **argv)
{
    Args a = {.options = g_ptr_array_new(), .files = g_ptr_array_new()};
    GError *err = NULL;
    int status = 0;

    setlocale(LC_TIME, "");
    g_set_prgname("rhea-img");
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        usage();
        return argc < 2;
    }
    const char *cmd = argv[1];
    bool ok = parse_args(&a, cmd, argc - 1, argv + 1, &err) && run(cmd, &a, &status, &err);
    g_ptr_array_free(a.options, TRUE);
    g_ptr_array_free(a.files, TRUE);
    if (!ok) {
        error_report("%s", err->message);
        g_error_free(err);
        return status ? status : 1;
    }
    return status;
}
