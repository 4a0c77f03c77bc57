/* Formats: which one a file has, and chains of backing files. */
#include "block/format.h"
#include "block/nbd.h"
#include "block/tree.h"
#include "core/log.h"
#include <stdlib.h>
#include <string.h>

#define MAX_CHAIN 64

bool image_format_known(const char *format)
{
    return !strcmp(format, "raw") || image_format(format);
}

const char *image_probe(const uint8_t *head, size_t len)
{
    static const struct {
        const char *magic, *name;
    } known[] = {
        {"QFI\xfb", "qcow2"}, {"KDMV", "vmdk"}, {"vhdxfile", "vhdx"},        {"conectix", "vpc"},
        {"QED", "qed"},       {"<<< ", "vdi"},  {"# Disk Descript", "vmdk"},
    };
    static const uint8_t vdi[] = {0x7f, 0x10, 0xda, 0xbe};

    /* The text in front of it differs from program to program. */
    if (len >= 0x44 && memcmp(head + 0x40, vdi, sizeof(vdi)) == 0) {
        return "vdi";
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
        size_t n = strlen(known[i].magic);
        if (len >= n && memcmp(head, known[i].magic, n) == 0) {
            return known[i].name;
        }
    }
    return "raw";
}

char *image_backing_path(const char *path, const char *name, GError **err)
{
    const char *colon = strchr(name, ':'), *slash = strchr(name, '/');

    if (nbd_is_address(name)) {
        return g_strdup(name);
    }
    if (g_str_has_prefix(name, "file:")) {
        name += 5;
    } else if (colon && colon > name && (!slash || colon < slash)) {
        fail(err, "'%s' is not a file's name; other protocols are not supported", name);
        return NULL;
    }
    if (g_path_is_absolute(name)) {
        return g_strdup(name);
    }
    g_autofree char *dir = g_path_get_dirname(path);
    return strcmp(dir, ".") || g_str_has_prefix(path, "./") ? g_build_filename(dir, name, NULL)
                                                            : g_strdup(name);
}

bool image_open_chain(BlockFile *out, const char *path, const char *format, unsigned flags,
                      GSList *chain, GError **err)
{
    uint8_t head[512] = {0};
    BlockFile f;

    if (g_str_has_prefix(path, "file:")) {
        path += strlen("file:");
    } else if (g_str_has_prefix(path, "host_device:")) {
        path += strlen("host_device:");
    }
    if (format && !image_format_known(format)) {
        return fail(err,
                    "image '%s': format %s is not supported; raw, qcow2, vmdk, vdi, "
                    "vpc and qed are",
                    path, format);
    }
    char *real = realpath(path, NULL);
    g_autofree char *me = g_strdup(real ? real : path);
    free(real);
    for (GSList *l = chain; l; l = l->next) {
        if (!strcmp(l->data, me)) {
            return fail(err, "image '%s' is in its own chain of backing files", path);
        }
    }
    if (g_slist_length(chain) >= MAX_CHAIN) {
        return fail(err, "image '%s': the chain of backing files is longer than %d", path,
                    MAX_CHAIN);
    }
    bool ok =
        nbd_is_address(path) ? nbd_open(&f, path, flags, err) : raw_open(&f, path, flags, err);
    if (!ok) {
        return false;
    }
    if (f.read_only) {
        flags &= ~(unsigned)IMAGE_WRITE;
    }
    if (!format) {
        struct iovec iov = {head, MIN(sizeof(head), f.size)};
        format = f.driver->read(f.file, 0, &iov, 1) ? "raw" : image_probe(head, iov.iov_len);
    }
    if (!strcmp(format, "raw")) {
        *out = f;
        return true;
    }
    bool read_only = f.read_only;
    const ImageFormat *driver = image_format(format);
    if (!driver) {
        ok = fail(err,
                  "image '%s' is of format %s, which is not supported; format=raw takes it "
                  "as it is",
                  path, format);
    } else {
        GSList here = {me, chain};
        ok = driver->open(out, &f, path, flags, &here, err);
    }
    if (!ok) {
        f.driver->close(f.file);
        return false;
    }
    out->read_only = read_only;
    return true;
}

bool image_open(BlockFile *out, const char *path, const char *format, unsigned flags, GError **err)
{
    if (!g_str_has_prefix(path, "json:")) {
        return image_open_chain(out, path, format, flags, NULL, err);
    }
    Options *o = tree_parse("image", path, err);
    if (o && format && !options_has(o, "driver")) {
        options_set(o, "driver", format);
    }
    bool ok = o && tree_open(out, o, NULL, flags, err);
    options_free(o);
    return ok;
}
