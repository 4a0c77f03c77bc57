/* The list of image formats, and what their creation options have in common. */
#include "block/format.h"
#include "core/log.h"
#include <string.h>

static bool qcow2_format_create(const BlockFile *file, const char *path, const ImageCreate *c,
                                GError **err)
{
    Qcow2Create q = {.size = c->size,
                     .version = 3,
                     .cluster_bits = 16,
                     .refcount_order = 4,
                     .backing = c->backing,
                     .backing_format = c->backing_format};
    uint64_t cs = 65536, width = 16;
    g_autofree char *compat = image_option(c, "compat"),
                    *prealloc = image_option(c, "preallocation"),
                    *packing = image_option(c, "compression_type");
    bool old = compat && (!strcmp(compat, "0.10") || !strcmp(compat, "v2")), ext = false;

    if (compat && !old && strcmp(compat, "1.1") && strcmp(compat, "v3")) {
        return fail(err, "compat=%s is neither 0.10 nor 1.1", compat);
    }
    if (!image_option_size(c, "cluster_size", &cs, err) ||
        !image_option_size(c, "refcount_bits", &width, err) ||
        !image_option_bool(c, "lazy_refcounts", &q.lazy_refcounts, err) ||
        !image_option_bool(c, "extended_l2", &ext, err)) {
        return false;
    }
    if (ext) {
        return fail(err, "extended_l2=on is not supported");
    }
    if (cs < 512 || cs > 2u << 20 || (cs & (cs - 1))) {
        return fail(err, "cluster_size is not a power of 2 from 512 to 2M");
    }
    if (width == 0 || width > 64 || (width & (width - 1))) {
        return fail(err, "refcount_bits is not a power of 2 from 1 to 64");
    }
    if (packing && strcmp(packing, "zlib") && strcmp(packing, "zstd")) {
        return fail(err, "compression_type=%s is neither zlib nor zstd", packing);
    }
    q.version = old ? 2 : 3;
    q.cluster_bits = (unsigned)__builtin_ctzll(cs);
    q.refcount_order = (unsigned)__builtin_ctzll(width);
    q.zstd = packing && !strcmp(packing, "zstd");
    q.prealloc_metadata = prealloc && strcmp(prealloc, "off");
    return qcow2_create(file, path, &q, err);
}

static void qcow2_format_info(const BlockFile *f, ImageInfo *info)
{
    Qcow2Info q;
    qcow2_info(f, &q);
    *info = (ImageInfo){.cluster_size = q.cluster_size,
                        .dirty = q.dirty,
                        .backing = q.backing,
                        .backing_format = q.backing_format};
}

static const ImageFormat format_qcow2 = {
    .name = "qcow2",
    .open = qcow2_open,
    .create = qcow2_format_create,
    .check = qcow2_check,
    .info = qcow2_format_info,
    .compress = qcow2_compress,
    .write_packed = qcow2_write_compressed,
    .set_backing = qcow2_set_backing,
};

static const ImageFormat *const formats[] = {&format_qcow2, &format_vmdk, &format_vdi,
                                             &format_vpc,   &format_qed,  NULL};

const ImageFormat *image_format_nth(unsigned i)
{
    return i < G_N_ELEMENTS(formats) ? formats[i] : NULL;
}

const ImageFormat *image_format(const char *name)
{
    for (unsigned i = 0; formats[i]; i++) {
        if (!strcmp(formats[i]->name, name)) {
            return formats[i];
        }
    }
    return NULL;
}

const ImageFormat *image_format_of(const BlockFile *f)
{
    return image_format(f->driver->name);
}

bool image_parse_size(const char *text, uint64_t *size, GError **err)
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
    if (end == text || *end || !(v >= 0) || shift == 99 || v * (double)(1ull << shift) > 9.2e18) {
        return fail(err, "'%s' is not a size; sizes are like 512, 64k, 10G", text);
    }
    *size = (uint64_t)(v * (double)(1ull << shift));
    return true;
}

char *image_option(const ImageCreate *c, const char *key)
{
    char *v = c->options ? g_strdup(g_hash_table_lookup(c->options, key)) : NULL;
    if (v) {
        g_hash_table_remove(c->options, key);
    }
    return v;
}

bool image_option_size(const ImageCreate *c, const char *key, uint64_t *out, GError **err)
{
    g_autofree char *v = image_option(c, key);
    if (v && !image_parse_size(v, out, NULL)) {
        return fail(err, "%s=%s is not a size or a number", key, v);
    }
    return true;
}

bool image_option_bool(const ImageCreate *c, const char *key, bool *out, GError **err)
{
    g_autofree char *v = image_option(c, key);
    if (v && strcmp(v, "on") && strcmp(v, "off")) {
        return fail(err, "%s=%s is neither on nor off", key, v);
    }
    *out = v ? v[1] == 'n' : *out;
    return true;
}
