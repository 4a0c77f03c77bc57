/* Images from trees of options: see tree.h. */
#include "block/tree.h"
#include "block/format.h"
#include "block/nbd.h"
#include "core/log.h"
#include "core/machine.h"
#include <jansson.h>
#include <string.h>

#define MAX_DEPTH 32
#define NULL_NODE "\1" /* JSON's null as a value */

/* ---- parsing ---- */

static bool flatten(Options *o, const char *key, json_t *v, unsigned depth, GError **err)
{
    const char *name;
    json_t *child;
    size_t i;

    if (depth > MAX_DEPTH) {
        return fail(err, "%s: the description is nested too deeply", options_what(o));
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        json_object_foreach(v, name, child)
        {
            g_autofree char *sub = *key ? g_strdup_printf("%s.%s", key, name) : g_strdup(name);
            if (!flatten(o, sub, child, depth + 1, err)) {
                return false;
            }
        }
        return true;
    case JSON_ARRAY:
        json_array_foreach(v, i, child)
        {
            g_autofree char *sub = g_strdup_printf("%s.%zu", key, i);
            if (!flatten(o, sub, child, depth + 1, err)) {
                return false;
            }
        }
        return true;
    case JSON_STRING:
        options_set(o, key, json_string_value(v));
        return true;
    case JSON_INTEGER: {
        g_autofree char *text = g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
        options_set(o, key, text);
        return true;
    }
    case JSON_TRUE:
        options_set(o, key, "on");
        return true;
    case JSON_FALSE:
        options_set(o, key, "off");
        return true;
    case JSON_NULL:
        options_set(o, key, NULL_NODE);
        return true;
    default:
        return fail(err, "%s: the value of '%s' is not supported", options_what(o), key);
    }
}

bool tree_is_json(const char *text)
{
    return g_str_has_prefix(text, "json:") || *text == '{';
}

Options *tree_parse(const char *what, const char *text, GError **err)
{
    json_error_t e;

    if (!tree_is_json(text)) {
        return options_parse(what, text, "driver", err);
    }
    json_t *v = json_loads(*text == '{' ? text : text + 5, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(v)) {
        fail(err, "%s: no JSON object: %s", what, v ? "another value was found" : e.text);
        json_decref(v);
        return NULL;
    }
    Options *o = options_new(what);
    bool ok = flatten(o, "", v, 0, err);
    json_decref(v);
    if (!ok) {
        options_free(o);
        return NULL;
    }
    return o;
}

/* ---- opening ---- */

typedef struct Node {
    Options *o;
    const char *prefix; /* "", "file.", "backing.file." … */
    Machine *m;
    unsigned flags, depth;
    bool below;    /* a format: without driver= it is a plain file */
    GSList *chain; /* real paths above */
} Node;

static const char *get(const Node *n, const char *key)
{
    g_autofree char *full = g_strconcat(n->prefix, key, NULL);
    return options_get(n->o, full);
}

static bool get_bool(const Node *n, const char *key, bool *out, GError **err)
{
    g_autofree char *full = g_strconcat(n->prefix, key, NULL);
    return options_get_bool(n->o, full, out, err);
}

static bool is_null(const char *v)
{
    return v && !strcmp(v, NULL_NODE);
}

static bool open_node(BlockFile *out, const Node *n, GError **err);

/* The description of -blockdev @name. */
static Options *find_node(Machine *m, const char *name)
{
    GPtrArray *drives = m ? m->cfg.drives : NULL;
    for (guint i = 0; drives && i < drives->len; i++) {
        DriveSpec *d = drives->pdata[i];
        if (d->node && d->id && !strcmp(d->id, name) && d->opts) {
            d->used = true; /* as a part of another */
            return d->opts->tree;
        }
    }
    return NULL;
}

static bool has_prefix_key(const Node *n, const char *child)
{
    g_autofree char *dot = g_strconcat(n->prefix, child, ".driver", NULL);
    g_autofree char *file = g_strconcat(n->prefix, child, ".filename", NULL);
    g_autofree char *sub = g_strconcat(n->prefix, child, ".file.driver", NULL);
    g_autofree char *sub2 = g_strconcat(n->prefix, child, ".file.filename", NULL);
    g_autofree char *sub3 = g_strconcat(n->prefix, child, ".file", NULL);
    return options_has(n->o, dot) || options_has(n->o, file) || options_has(n->o, sub) ||
           options_has(n->o, sub2) || options_has(n->o, sub3);
}

/* Child "file" or "backing": described in place, or another node. */
static bool open_child(BlockFile *out, const Node *n, const char *child, bool below, unsigned flags,
                       GError **err)
{
    const char *name = get(n, child);
    g_autofree char *prefix = g_strconcat(n->prefix, child, ".", NULL);
    Node c = {.o = n->o,
              .prefix = prefix,
              .m = n->m,
              .flags = flags,
              .depth = n->depth + 1,
              .below = below,
              .chain = n->chain};

    if (name) {
        c.o = find_node(n->m, name);
        c.prefix = "";
        if (!c.o) {
            return fail(err, "%s: there is no -blockdev with node-name '%s'", options_what(n->o),
                        name);
        }
    }
    if (!open_node(out, &c, err)) {
        return false;
    }
    if (name && !options_check_used(c.o, err)) {
        block_file_close(out);
        return false;
    }
    return true;
}

/* Keys that every node has. */
static bool common(const Node *n, unsigned *flags, GError **err)
{
    bool direct = *flags & IMAGE_DIRECT, no_flush = *flags & IMAGE_NO_FLUSH, ro = false,
         auto_ro = *flags & IMAGE_AUTO_RO, share = *flags & IMAGE_UNLOCKED, ignored;
    const char *discard = get(n, "discard"), *zeroes = get(n, "detect-zeroes");

    get(n, "node-name");
    if (!get_bool(n, "cache.direct", &direct, err) ||
        !get_bool(n, "cache.no-flush", &no_flush, err) ||
        !get_bool(n, "cache.writeback", &ignored, err) || !get_bool(n, "read-only", &ro, err) ||
        !get_bool(n, "auto-read-only", &auto_ro, err) || !get_bool(n, "force-share", &share, err)) {
        return false;
    }
    if (discard && strcmp(discard, "unmap") && strcmp(discard, "ignore") && strcmp(discard, "on") &&
        strcmp(discard, "off")) {
        return fail(err, "%s: discard=%s is neither ignore nor unmap", options_what(n->o), discard);
    }
    if (zeroes && strcmp(zeroes, "on") && strcmp(zeroes, "off") && strcmp(zeroes, "unmap")) {
        return fail(err, "%s: detect-zeroes=%s is neither off, on nor unmap", options_what(n->o),
                    zeroes);
    }
    *flags = ro ? *flags & ~(unsigned)IMAGE_WRITE : *flags;
    *flags = direct ? *flags | IMAGE_DIRECT : *flags & ~(unsigned)IMAGE_DIRECT;
    *flags |= (no_flush ? IMAGE_NO_FLUSH : 0) | (auto_ro ? IMAGE_AUTO_RO : 0) |
              (share ? IMAGE_UNLOCKED : 0);
    return true;
}

static bool open_raw_file(BlockFile *out, const Node *n, unsigned flags, GError **err)
{
    const char *name = get(n, "filename"), *aio = get(n, "aio"), *locking = get(n, "locking");

    if (!name) {
        return fail(err, "%s: %sfilename is missing", options_what(n->o), n->prefix);
    }
    if (aio && strcmp(aio, "threads") && strcmp(aio, "native") && strcmp(aio, "io_uring")) {
        return fail(err, "%s: aio=%s is neither threads, native nor io_uring", options_what(n->o),
                    aio);
    }
    if (locking && !strcmp(locking, "off")) {
        flags |= IMAGE_UNLOCKED;
    } else if (locking && strcmp(locking, "on") && strcmp(locking, "auto")) {
        return fail(err, "%s: locking=%s is neither on, off nor auto", options_what(n->o), locking);
    }
    return raw_open(out, name, flags, err);
}

static bool open_format(const ImageFormat *format, BlockFile *out, const Node *n, unsigned flags,
                        GError **err)
{
    const char *backing = get(n, "backing");
    bool own = is_null(backing) || backing || has_prefix_key(n, "backing");
    const char *locking = get(n, "backing.file.locking");
    BlockFile file, under;

    if (!own && locking && !strcmp(locking, "off")) {
        flags |= IMAGE_BACKING_UNLOCKED; /* of the one that the image names */
    }
    if (!open_child(&file, n, "file", true, flags, err)) {
        return false;
    }
    if (file.read_only) {
        flags &= ~(unsigned)IMAGE_WRITE;
    }
    const char *path = file.driver->path ? file.driver->path(file.file) : NULL;
    GSList here = {(void *)(path ? path : ""), n->chain};
    if (!format->open(out, &file, path ? path : format->name, flags | (own ? IMAGE_NO_BACKING : 0),
                      &here, err)) {
        block_file_close(&file);
        return false;
    }
    out->read_only = file.read_only;
    if (own && !is_null(backing)) {
        if (!out->driver->set_backing) {
            block_file_close(out);
            return fail(err, "%s: %s images have no backing files", options_what(n->o),
                        format->name);
        }
        if (!open_child(&under, n, "backing", false, flags & IMAGE_INHERIT, err)) {
            block_file_close(out);
            return false;
        }
        out->driver->set_backing(out->file, &under);
    }
    return true;
}

static bool open_node(BlockFile *out, const Node *n, GError **err)
{
    const char *driver = get(n, "driver");
    unsigned flags = n->flags;

    if (n->depth > MAX_DEPTH) {
        return fail(err, "%s: nodes refer to each other in a circle", options_what(n->o));
    }
    if (!common(n, &flags, err)) {
        return false;
    }
    if (!driver) {
        const char *name = get(n, "filename");
        if (name && n->below) {
            return open_raw_file(out, n, flags, err);
        }
        if (name) {
            return image_open_chain(out, name, NULL, flags, n->chain, err);
        }
        return open_child(out, n, "file", false, flags, err);
    }
    if (!strcmp(driver, "file") || !strcmp(driver, "host_device") ||
        !strcmp(driver, "host_cdrom")) {
        return open_raw_file(out, n, flags, err);
    }
    if (!strcmp(driver, "nbd")) {
        return nbd_open_options(out, n->o, n->prefix, flags, err);
    }
    if (!strcmp(driver, "raw")) {
        return open_child(out, n, "file", true, flags, err);
    }
    const ImageFormat *format = image_format(driver);
    if (format) {
        return open_format(format, out, n, flags, err);
    }
    return fail(err,
                "%s: there is no driver '%s'; file, host_device, nbd, raw, qcow2, vmdk, vdi, vpc "
                "and qed are",
                options_what(n->o), driver);
}

bool tree_open(BlockFile *out, Options *o, struct Machine *m, unsigned flags, GError **err)
{
    const Node n = {.o = o, .prefix = "", .m = m, .flags = flags};

    if (!open_node(out, &n, err)) {
        return false;
    }
    if (!options_check_used(o, err)) {
        block_file_close(out);
        return false;
    }
    return true;
}
