/* Making images: create, measure, amend. */
#include "core/log.h"
#include "tools/img/img.h"
#include <stdio.h>
#include <string.h>

static void help_options(const char *format)
{
    static const struct {
        const char *format, *text;
    } all[] = {
        {"raw", "  preallocation=off|falloc|full\n"},
        {"qcow2", "  backing_file=FILE, backing_fmt=FORMAT\n  cluster_size=SIZE (512 to 2M)\n"
                  "  compat=0.10|1.1\n  compression_type=zlib|zstd\n  lazy_refcounts=on|off\n"
                  "  preallocation=off|metadata|falloc|full\n  refcount_bits=1|2|4|8|16|32|64\n"},
        {"vmdk", "  adapter_type=ide|lsilogic|buslogic|legacyESX\n  backing_file=FILE\n"
                 "  compat6=on|off\n  hwversion=NUMBER\n"
                 "  subformat=monolithicSparse|monolithicFlat|twoGbMaxExtentSparse|"
                 "twoGbMaxExtentFlat|streamOptimized\n  toolsversion=NUMBER\n"
                 "  zeroed_grain=on|off\n"},
        {"vdi", "  static=on|off\n"},
        {"vpc", "  force_size=on|off\n  subformat=dynamic|fixed\n"},
        {"qed", "  backing_file=FILE, backing_fmt=FORMAT\n  cluster_size=SIZE (4K to 64M)\n"
                "  table_size=1|2|4|8|16\n"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        if (!strcmp(all[i].format, format)) {
            printf("Supported %s options:\n%s", format, all[i].text);
        }
    }
}

/* Format and size of the backing file, where they are not given. */
static bool look_below(const Args *a, const char *path, ImageCreate *c, bool sized, char **format,
                       GError **err)
{
    BlockFile b;
    g_autofree char *full = image_backing_path(path, c->backing, err);

    if (!full || !image_open(&b, full, c->backing_format, IMAGE_UNLOCKED, err)) {
        return false;
    }
    if (!c->backing_format) {
        c->backing_format = *format = g_strdup(b.driver->name);
    }
    c->size = sized ? c->size : b.size;
    block_file_close(&b);
    return true;
}

bool cmd_create(Args *a, GError **err)
{
    const char *format = a->format ? a->format : "raw";
    ImageCreate c = {0};
    g_autofree char *found = NULL;

    if (a->options->len == 1 && (!strcmp(g_ptr_array_index(a->options, 0), "help") ||
                                 !strcmp(g_ptr_array_index(a->options, 0), "?"))) {
        help_options(format);
        return true;
    }
    if (!want_files(a, 1, 2, "create [-f FORMAT] [-o OPTIONS] [-b FILE -F FORMAT] FILE [SIZE]",
                    err)) {
        return false;
    }
    g_autoptr(GHashTable) options = creation_options(a, err);
    if (!options) {
        return false;
    }
    c.options = options;
    const char *path = file_at(a, 0), *text = file_at(a, 1);
    g_autofree char *backing = image_option(&c, "backing_file"),
                    *backing_format = image_option(&c, "backing_fmt"),
                    *size = image_option(&c, "size");
    text = text ? text : size;
    c.backing = a->backing ? a->backing : backing;
    c.backing_format = a->backing_format ? a->backing_format : backing_format;
    if (c.backing && !strcmp(format, "raw")) {
        return fail(err, "raw images have neither options nor backing files");
    }
    if (text && !image_parse_size(text, &c.size, err)) {
        return false;
    }
    if (c.backing && !a->unsafe) {
        if (!look_below(a, path, &c, text, &found, err)) {
            return false;
        }
    } else if (!text) {
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

/* ---- measure ---- */

static uint64_t clusters(uint64_t bytes, uint64_t cs)
{
    return bytes / cs + (bytes % cs != 0);
}

/* Bytes of a qcow2 file with @data clusters of a disk of @size: header, L1, L2 tables for all of
 * the disk, refcounts (which count themselves). */
static uint64_t qcow2_bytes(uint64_t size, uint64_t data, uint64_t cs, unsigned refcount_bits)
{
    uint64_t l2 = clusters(clusters(size, cs) * 8, cs), l1 = clusters(l2 * 8, cs);
    uint64_t rest = 1 + l1 + l2 + data, all = rest, before;

    do {
        before = all;
        uint64_t blocks = clusters(all * refcount_bits / 8 + (all * refcount_bits % 8 != 0), cs);
        all = rest + blocks + MAX(clusters(blocks * 8, cs), 1);
    } while (all != before);
    return all * cs;
}

/* Clusters that a copy has to hold. */
static int count_data(const BlockFile *f, uint64_t cs, uint64_t *n)
{
    uint64_t last = UINT64_MAX;
    BlockExtent e;

    *n = 0;
    for (uint64_t off = 0; off < f->size; off += e.len) {
        int ret = extent_of(f, off, f->size - off, &e);
        if (ret) {
            return ret;
        }
        if (e.zero) {
            continue;
        }
        uint64_t from = off / cs, to = (off + e.len - 1) / cs;
        from += from == last;
        *n += to + 1 - MIN(from, to + 1);
        last = to;
    }
    return 0;
}

typedef struct Measure {
    uint64_t size, required, full;
    bool have_file, bitmaps; /* bitmaps: the input could have some */
    BlockFile f;
} Measure;

static bool measure_qcow2(Measure *m, const ImageCreate *c, GError **err)
{
    uint64_t cs = 65536, width = 16, data = 0;
    g_autofree char *compat = image_option(c, "compat"), *mode = image_option(c, "preallocation");
    int ret = 0;

    if (!image_option_size(c, "cluster_size", &cs, err) ||
        !image_option_size(c, "refcount_bits", &width, err)) {
        return false;
    }
    if (cs < 512 || cs > 2u << 20 || (cs & (cs - 1)) || !width || width > 64 ||
        (width & (width - 1))) {
        return fail(err, "cluster_size or refcount_bits is out of range");
    }
    uint64_t all = clusters(m->size, cs);
    m->full = qcow2_bytes(m->size, all, cs, (unsigned)width);
    bool prealloc = mode && (!strcmp(mode, "falloc") || !strcmp(mode, "full"));
    if (prealloc) {
        data = all;
    } else if (m->have_file) {
        ret = count_data(&m->f, cs, &data);
    }
    m->required = m->full - (all - data) * cs;
    return ret == 0 || io_error(err, "", ret);
}

bool cmd_measure(Args *a, GError **err)
{
    const char *format = a->out_format ? a->out_format : "raw";
    Measure m = {.size = (a->size + 511) & ~511ull};
    bool ok = true;

    if (!want_files(a, 0, 1, "measure [-O FORMAT] [-o OPTIONS] [--size N | [-f FORMAT] FILE]",
                    err)) {
        return false;
    }
    if ((a->files->len == 0) != (a->size != 0)) {
        return fail(err, "measure: either --size N or a file name is needed");
    }
    g_autoptr(GHashTable) options = creation_options(a, err);
    ImageCreate c = {.options = options};
    if (!options) {
        return false;
    }
    if (a->files->len) {
        if (!open_arg(a, 0, a->format, 0, &m.f, err)) {
            return false;
        }
        m.have_file = true;
        ok = !a->snapshot || qcow2_view_snapshot(&m.f, a->snapshot, err);
        m.size = m.f.size;
        m.bitmaps = qcow2_is(&m.f) && !strcmp(format, "qcow2");
    }
    if (ok && !strcmp(format, "qcow2")) {
        ok = measure_qcow2(&m, &c, err);
    } else if (ok && !strcmp(format, "raw")) {
        uint64_t n = 0;
        int ret = m.have_file ? count_data(&m.f, 512, &n) : 0;
        m.required = n * 512;
        m.full = m.size;
        ok = ret == 0 || io_error(err, file_at(a, 0), ret);
    } else if (ok) {
        ok = fail(err, "measure knows raw and qcow2, not %s", format);
    }
    if (m.have_file) {
        block_file_close(&m.f);
    }
    if (ok && a->json) {
        json_t *j = json_pack("{s:I,s:I}", "required", (json_int_t)m.required, "fully-allocated",
                              (json_int_t)m.full);
        if (m.bitmaps) {
            json_object_set_new(j, "bitmaps", json_integer(0));
        }
        print_json(j);
    } else if (ok) {
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n%s", m.required,
               m.full, m.bitmaps ? "bitmaps size: 0\n" : "");
    }
    return ok;
}

/* ---- amend ---- */

/* What can change in an image that is there: its backing file and its size. */
bool cmd_amend(Args *a, GError **err)
{
    BlockFile f;

    if (!want_files(a, 1, 1, "amend [-f FORMAT] -o OPTIONS FILE", err)) {
        return false;
    }
    g_autoptr(GHashTable) options = creation_options(a, err);
    ImageCreate c = {.options = options};
    if (!options || !open_arg(a, 0, a->format, IMAGE_WRITE | IMAGE_NO_BACKING, &f, err)) {
        return false;
    }
    const ImageFormat *format = image_format_of(&f);
    g_autofree char *backing = image_option(&c, "backing_file"),
                    *backing_format = image_option(&c, "backing_fmt");
    ImageInfo info = {0};
    uint64_t size = f.size;
    bool lazy = false, ok = image_option_size(&c, "size", &size, err);
    const char *lazy_set = g_hash_table_lookup(options, "lazy_refcounts");
    bool change_lazy = lazy_set && qcow2_is(&f);
    GHashTableIter it;
    void *key;

    if (format) {
        format->info(&f, &info);
    }
    if (ok && change_lazy) {
        ok = image_option_bool(&c, "lazy_refcounts", &lazy, err);
    }
    g_hash_table_iter_init(&it, options);
    if (ok && g_hash_table_iter_next(&it, &key, NULL)) {
        ok = fail(err, "option '%s' of a %s image cannot be changed; convert makes a new one",
                  (char *)key, format ? format->name : "raw");
    }
    if (ok && (backing || backing_format)) {
        g_autofree char *name = g_strdup(backing ? backing : info.backing);
        ok = format && format->set_backing
                 ? format->set_backing(&f, name && *name ? name : NULL, backing_format, err)
                 : fail(err, "image '%s' cannot have a backing file", file_at(a, 0));
    }
    if (ok && change_lazy) {
        ok = qcow2_set_lazy(&f, lazy, err);
    }
    if (ok && size < f.size) {
        ok = fail(err, "amend does not make images smaller; resize --shrink does");
    } else if (ok && size != f.size) {
        ok = resize_image(&f, file_at(a, 0), size, err);
    }
    block_file_close(&f);
    return ok;
}
