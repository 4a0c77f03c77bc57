/* What rhea-img's commands have in common. */
#include "block/tree.h"
#include "core/log.h"
#include "tools/img/img.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *file_at(const Args *a, unsigned i)
{
    return i < a->files->len ? g_ptr_array_index(a->files, i) : NULL;
}

bool want_files(const Args *a, unsigned min, unsigned max, const char *what, GError **err)
{
    return (a->files->len >= min && a->files->len <= max) || fail(err, "expected %s", what);
}

bool io_error(GError **err, const char *path, int ret)
{
    return fail(err, "image '%s': %s", path, g_strerror(-ret));
}

char *human_size(uint64_t n)
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

void print_json(json_t *j)
{
    char *text = json_dumps(j, JSON_INDENT(4));
    puts(text);
    free(text);
    json_decref(j);
}

bool is_device(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

bool is_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && p[n - 1] == 0 && !memcmp(p, p + 1, n - 1));
}

bool cache_flags(const char *cache, unsigned *flags, GError **err)
{
    *flags = 0;
    if (!cache || !strcmp(cache, "writeback") || !strcmp(cache, "writethrough")) {
        return true; /* tools flush at the end in any case */
    }
    if (!strcmp(cache, "none") || !strcmp(cache, "off") || !strcmp(cache, "directsync")) {
        *flags = IMAGE_DIRECT;
    } else if (!strcmp(cache, "unsafe")) {
        *flags = IMAGE_NO_FLUSH;
    } else {
        return fail(err,
                    "cache mode '%s' is none of none, writeback, writethrough, directsync, unsafe",
                    cache);
    }
    return true;
}

bool open_arg(const Args *a, unsigned i, const char *format, unsigned flags, BlockFile *f,
              GError **err)
{
    const char *name = file_at(a, i);

    flags |= a->unlocked && !(flags & IMAGE_WRITE) ? IMAGE_UNLOCKED : 0;
    if (!a->image_opts) {
        return image_open(f, name, format, flags, err);
    }
    if (format) {
        return fail(err, "--image-opts and -f do not go together; driver= names the format");
    }
    Options *o = tree_parse("--image-opts", name, err);
    bool ok = o && tree_open(f, o, NULL, flags, err);
    options_free(o);
    return ok;
}

int extent_of(const BlockFile *f, uint64_t off, uint64_t len, BlockExtent *e)
{
    *e = (BlockExtent){.len = len, .data = true, .present = true};
    return f->driver->extent ? f->driver->extent(f->file, off, len, e) : 0;
}

/* ---- creating ---- */

GHashTable *creation_options(const Args *a, GError **err)
{
    GHashTable *h = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

    for (unsigned i = 0; i < a->options->len; i++) {
        const char *p = g_ptr_array_index(a->options, i);
        while (*p) {
            g_autoptr(GString) word = g_string_new(NULL);
            for (; *p && (*p != ',' || p[1] == ','); p++) {
                g_string_append_c(word, *p);
                p += *p == ',';
            }
            p += *p == ',';
            char *eq = strchr(word->str, '=');
            if (!eq || eq == word->str) {
                fail(err, "-o: '%s' is not of the form key=value", word->str);
                g_hash_table_destroy(h);
                return NULL;
            }
            g_hash_table_replace(h, g_strndup(word->str, (gsize)(eq - word->str)),
                                 g_strdup(eq + 1));
        }
    }
    return h;
}

static bool create_file(const char *path, uint64_t size, GError **err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct stat st;
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

    if (fd < 0 || fstat(fd, &st)) {
        int e = errno;
        if (fd >= 0) {
            close(fd);
        }
        return fail(err, "image '%s': %s", path, g_strerror(e));
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

/* Space for all of the file that is there. */
static bool allocate(const char *path, GError **err)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    int ret = fd < 0 || fstat(fd, &st) ? errno
              : st.st_size             ? posix_fallocate(fd, 0, st.st_size)
                                       : 0;

    if (fd >= 0) {
        close(fd);
    }
    return ret == 0 || fail(err, "image '%s': %s", path, g_strerror(ret));
}

/* Zeros as data in all of the disk. */
static bool fill(const char *path, const char *format, GError **err)
{
    g_autofree uint8_t *zeros = g_malloc0(CHUNK);
    BlockFile f;
    int ret = 0;

    if (!image_open(&f, path, format, IMAGE_WRITE | IMAGE_NO_BACKING, err)) {
        return false;
    }
    for (uint64_t off = 0; off < f.size && ret == 0; off += CHUNK) {
        struct iovec iov = {zeros, MIN(CHUNK, f.size - off)};
        ret = f.driver->write(f.file, off, &iov, 1);
    }
    ret = ret ? ret : f.driver->flush(f.file);
    block_file_close(&f);
    return ret == 0 || io_error(err, path, ret);
}

static bool check_left(const char *format, GHashTable *options, GError **err)
{
    GHashTableIter it;
    void *key;

    g_hash_table_iter_init(&it, options);
    return !g_hash_table_iter_next(&it, &key, NULL) ||
           fail(err, "there is no option '%s' of %s images", (char *)key, format);
}

static bool create_formatted(const char *path, const char *format, const ImageCreate *c,
                             GError **err)
{
    const ImageFormat *driver = image_format(format);
    BlockFile f;

    if (!driver || !driver->create) {
        return fail(err, "format %s cannot be created; raw, qcow2, vmdk, vdi, vpc and qed can",
                    format);
    }
    if (is_device(path)) {
        return fail(err, "%s images on block devices are not supported", format);
    }
    if (!create_file(path, 0, err) || !raw_open(&f, path, IMAGE_WRITE, err)) {
        return false;
    }
    bool ok = driver->create(&f, path, c, err);
    block_file_close(&f);
    return ok && check_left(format, c->options, err);
}

bool create_image(const char *path, const char *format, ImageCreate *c, GError **err)
{
    bool raw = !strcmp(format, "raw"), qcow2 = !strcmp(format, "qcow2");
    const char *p = g_hash_table_lookup(c->options, "preallocation");
    g_autofree char *mode = g_strdup(p ? p : "off");
    bool falloc = !strcmp(mode, "falloc"), full = !strcmp(mode, "full");

    if (!falloc && !full && strcmp(mode, "off") && (raw || strcmp(mode, "metadata"))) {
        return fail(err, "preallocation=%s is none of off, %sfalloc, full", mode,
                    raw ? "" : "metadata, ");
    }
    if (p && !raw && !qcow2) {
        return fail(err, "there is no option 'preallocation' of %s images", format);
    }
    if (strcmp(mode, "off") && c->backing) {
        return fail(err, "preallocation=%s hides the backing file", mode);
    }
    if (raw) {
        g_hash_table_remove(c->options, "preallocation");
        if (c->backing) {
            return fail(err, "raw images have no backing files");
        }
        if (!check_left(format, c->options, err) ||
            !create_file(path, (c->size + 511) & ~511ull, err)) {
            return false;
        }
    } else if (!create_formatted(path, format, c, err)) {
        return false;
    }
    return (!falloc || allocate(path, err)) && (!full || fill(path, format, err));
}

/* ---- the rest ---- */

void progress(const Args *a, uint64_t done, uint64_t all)
{
    if (!a->progress || a->quiet) {
        return;
    }
    double part = all ? (double)done / (double)all : 1,
           s = (double)(g_get_monotonic_time() - a->began);
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

bool resize_image(BlockFile *f, const char *path, uint64_t size, GError **err)
{
    return f->driver->resize
               ? f->driver->resize(f, size, err)
               : fail(err, "image '%s': %s images cannot change their size", path, f->driver->name);
}

void keep_rate(const Args *a, uint64_t bytes)
{
    if (a->rate) {
        g_usleep((gulong)((double)bytes * 1e6 / (double)a->rate));
    }
}
