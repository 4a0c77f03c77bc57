/* Drives of a machine: see drive.h. */
#include "block/drive.h"
#include "block/dev.h"
#include "block/tree.h"
#include "core/log.h"
#include <string.h>

/* ---- options ---- */

static bool cache_mode(BlockOptions *b, const char *mode, GError **err)
{
    static const struct {
        const char *name;
        bool direct, writethrough, no_flush;
    } modes[] = {
        {"writeback", false, false, false}, {"writethrough", false, true, false},
        {"none", true, false, false},       {"off", true, false, false},
        {"directsync", true, true, false},  {"unsafe", false, false, true},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (!strcmp(mode, modes[i].name)) {
            b->direct = modes[i].direct;
            b->writethrough = modes[i].writethrough;
            b->no_flush = modes[i].no_flush;
            return true;
        }
    }
    return fail(err, "cache=%s is neither writeback, writethrough, none, directsync nor unsafe",
                mode);
}

static bool choice(const char *key, const char *value, const char *const *names, int *out,
                   GError **err)
{
    for (int i = 0; value && names[i]; i++) {
        if (!strcmp(value, names[i])) {
            *out = i;
            return true;
        }
    }
    if (value) {
        g_autofree char *all = g_strjoinv(", ", (char **)names);
        return fail(err, "%s=%s is none of %s", key, value, all);
    }
    return true;
}

static bool error_policies(Options *o, BlockOptions *b, GError **err)
{
    static const char *const names[] = {"auto", "report", "ignore", "stop", "enospc", NULL};
    int r = b->rerror, w = b->werror;

    if (!choice("rerror", options_get(o, "rerror"), names, &r, err) ||
        !choice("werror", options_get(o, "werror"), names, &w, err)) {
        return false;
    }
    if (r == BLOCK_ERROR_ENOSPC) {
        return fail(err, "rerror=enospc: reading needs no space; use report, ignore or stop");
    }
    b->rerror = (BlockErrorPolicy)r;
    b->werror = (BlockErrorPolicy)w;
    return true;
}

/* What -drive and -blockdev have in common. */
static bool tuning(Options *o, BlockOptions *b, GError **err)
{
    static const char *const aios[] = {"threads", "native", "io_uring", NULL};
    static const char *const zeroes[] = {"off", "on", "unmap", NULL};
    static const char *const discards[] = {"ignore", "unmap", "off", "on", NULL};
    const char *mode = options_get(o, "cache");
    int aio = b->aio, zero = b->detect_zeroes, discard = 0;
    bool writeback;

    if (mode && !cache_mode(b, mode, err)) {
        return false;
    }
    writeback = !b->writethrough;
    if (!options_get_bool(o, "cache.writeback", &writeback, err) ||
        !options_get_bool(o, "cache.direct", &b->direct, err) ||
        !options_get_bool(o, "cache.no-flush", &b->no_flush, err) ||
        !choice("aio", options_get(o, "aio"), aios, &aio, err) ||
        !choice("detect-zeroes", options_get(o, "detect-zeroes"), zeroes, &zero, err) ||
        !choice("discard", options_get(o, "discard"), discards, &discard, err) ||
        !options_get_bool(o, "auto-read-only", &b->auto_read_only, err) ||
        !options_get_bool(o, "force-share", &b->unlocked, err)) {
        return false;
    }
    b->writethrough = !writeback;
    b->aio = (BlockAio)aio;
    b->detect_zeroes = (BlockZeroes)zero;
    b->discard = discard & 1;
    return error_policies(o, b, err) && throttle_parse(o, &b->throttle, err);
}

static bool interface(DriveSpec *d, const char *name, GError **err)
{
    static const char *const names[] = {"ide", "floppy", "none", "virtio", "pflash", NULL};
    for (int i = 0; names[i]; i++) {
        if (!strcmp(names[i], name)) {
            d->iface = i;
            d->if_given = true;
            return true;
        }
    }
    return fail(err, "if=%s is not supported; use ide, virtio, floppy, pflash or none", name);
}

static void copy_tree(const char *key, const char *value, void *arg)
{
    if (g_str_has_prefix(key, "file.") || g_str_has_prefix(key, "backing.")) {
        options_set(arg, key, value);
    }
}

static void mark_tree(const char *key, const char *value, void *arg)
{
    if (g_str_has_prefix(key, "file.") || g_str_has_prefix(key, "backing.")) {
        options_mark_used(arg, key);
    }
}

/* file.driver=…, backing.…=…: more than a name. */
static void drive_tree(DriveSpec *d, Options *o)
{
    Options *t = options_new("-drive");
    options_foreach(o, copy_tree, t);
    options_foreach(o, mark_tree, o);
    if (options_has(t, "file.filename") || options_has(t, "file.driver") ||
        options_has(t, "backing.driver") || options_has(t, "file.locking") ||
        options_has(t, "file.file.filename")) {
        if (d->file) {
            options_set(t, "file.filename", d->file);
            g_clear_pointer(&d->file, g_free);
        }
        if (d->format) {
            options_set(t, "driver", d->format);
            g_clear_pointer(&d->format, g_free);
        }
        d->opts->tree = t;
        return;
    }
    options_free(t);
}

static DriveSpec *spec_new(void)
{
    DriveSpec *d = g_new0(DriveSpec, 1);
    d->opts = g_new0(BlockOptions, 1);
    d->index = -1;
    return d;
}

static bool parse_drive(DriveSpec *d, Options *o, GError **err)
{
    uint64_t index = UINT64_MAX, bus = 0, unit = UINT64_MAX;
    const char *iface = options_get(o, "if"), *media = options_get(o, "media");
    const char *format = options_get(o, "format"), *driver = options_get(o, "driver");
    bool ignored;

    d->file = g_strdup(options_get(o, "file"));
    d->format = g_strdup(format ? format : driver);
    d->id = g_strdup(options_get(o, "id"));
    d->serial = g_strdup(options_get(o, "serial"));
    d->opts->throttle_group = g_strdup(options_get(o, "group"));
    if (!d->opts->throttle_group) {
        d->opts->throttle_group = g_strdup(options_get(o, "throttling.group"));
    }
    if ((iface && !interface(d, iface, err)) || !options_get_uint(o, "index", 32, &index, err) ||
        !options_get_uint(o, "bus", 16, &bus, err) ||
        !options_get_uint(o, "unit", 16, &unit, err) ||
        !options_get_bool(o, "readonly", &d->readonly, err) ||
        !options_get_bool(o, "read-only", &d->readonly, err) ||
        !options_get_bool(o, "snapshot", &d->snapshot, err) ||
        !options_get_bool(o, "boot", &ignored, err) || !tuning(o, d->opts, err)) {
        return false;
    }
    if (media && strcmp(media, "disk") && strcmp(media, "cdrom")) {
        return fail(err, "media=%s is neither disk nor cdrom", media);
    }
    if (index != UINT64_MAX && unit != UINT64_MAX) {
        return fail(err, "index= and unit= say the same; use one of them");
    }
    d->cdrom = media && !strcmp(media, "cdrom");
    d->index = index != UINT64_MAX        ? (int)index
               : unit == UINT64_MAX       ? -1
               : d->iface == DRIVE_IF_IDE ? (int)(bus * 2 + unit)
                                          : (int)unit;
    if (d->file && !*d->file) {
        g_clear_pointer(&d->file, g_free); /* file= with nothing: no medium */
    }
    if (d->format && !image_format_known(d->format)) {
        return fail(err, "format=%s is not supported; raw, qcow2, qed, vdi, vmdk and vpc are",
                    d->format);
    }
    drive_tree(d, o);
    return options_check_used(o, err);
}

/* The sentence of a part gets the option's name in front. */
static void name_option(GError **err, const char *what)
{
    if (err && *err && !g_str_has_prefix((*err)->message, what)) {
        g_prefix_error(err, "%s: ", what);
    }
}

DriveSpec *drive_parse(const char *what, const char *text, GError **err)
{
    Options *o = options_parse(what, text, NULL, err);
    DriveSpec *d = o ? spec_new() : NULL;

    if (d && !parse_drive(d, o, err)) {
        name_option(err, what);
        drive_free(d);
        d = NULL;
    }
    options_free(o);
    return d;
}

DriveSpec *drive_parse_node(const char *what, const char *text, GError **err)
{
    Options *o = tree_parse(what, text, err);
    DriveSpec *d = spec_new();
    bool ok = o != NULL;

    d->opts->tree = o;
    d->iface = DRIVE_IF_NONE;
    d->if_given = d->node = true;
    if (ok) {
        d->id = g_strdup(options_get(o, "node-name"));
        ok = d->id || fail(err, "%s: node-name is missing", what);
        ok = ok && (options_has(o, "driver") || fail(err, "%s: driver is missing", what));
        /* What the device in front obeys; tree_open() looks at the rest of each node. */
        ok = ok && options_get_bool(o, "read-only", &d->readonly, err) && tuning(o, d->opts, err);
    }
    if (!ok) {
        name_option(err, what);
        drive_free(d);
        return NULL;
    }
    return d;
}

DriveSpec *drive_new(const char *file, int iface, int index, bool cdrom)
{
    DriveSpec *d = spec_new();
    d->file = file && *file ? g_strdup(file) : NULL;
    d->iface = iface;
    d->if_given = iface == DRIVE_IF_NONE;
    d->index = index;
    d->cdrom = cdrom;
    return d;
}

void drive_free(DriveSpec *d)
{
    if (!d) {
        return;
    }
    options_free(d->opts->tree);
    g_free((char *)d->opts->throttle_group);
    g_free(d->opts);
    g_free(d->file);
    g_free(d->format);
    g_free(d->id);
    g_free(d->serial);
    g_free(d);
}

/* ---- the list ---- */

DriveSpec *drive_find(const Machine *m, const char *id)
{
    for (guint i = 0; m->cfg.drives && i < m->cfg.drives->len; i++) {
        DriveSpec *d = m->cfg.drives->pdata[i];
        if (d->id && !strcmp(d->id, id)) {
            return d;
        }
    }
    return NULL;
}

DriveSpec *drive_find_free(const Machine *m, const char *id, const char *who, GError **err)
{
    DriveSpec *d = drive_find(m, id);

    if (!d) {
        fail(err, "%s: there is no -drive with id=%s and no -blockdev with this node-name", who,
             id);
    } else if (d->used) {
        fail(err, "%s: drive '%s' is in use", who, id);
        d = NULL;
    }
    return d;
}

static bool id_is_new(const Machine *m, const DriveSpec *d, GError **err)
{
    const DriveSpec *other = d->id ? drive_find(m, d->id) : NULL;
    return !other || other == d || fail(err, "there are two drives with the id '%s'", d->id);
}

bool drives_prepare(Machine *m, GError **err)
{
    for (guint i = 0; m->cfg.drives && i < m->cfg.drives->len; i++) {
        DriveSpec *d = m->cfg.drives->pdata[i];
        if (!id_is_new(m, d, err)) {
            return false;
        }
        d->snapshot |= m->cfg.snapshot && !d->cdrom;
    }
    return true;
}

static BlockDev *open_spec(Machine *m, DriveSpec *d, bool read_only, GError **err)
{
    BlockOptions o = *d->opts;

    /* How the file is read stands at the node of the file. */
    const char *below = d->node ? options_get(o.tree, "file") : NULL;
    const DriveSpec *file = below ? drive_find(m, below) : NULL;
    const char *aio = d->node ? options_get(o.tree, "file.aio") : NULL;
    if (file) {
        o.aio = file->opts->aio;
        o.direct |= file->opts->direct;
    } else if (aio) {
        o.aio = !strcmp(aio, "native")     ? BLOCK_AIO_NATIVE
                : !strcmp(aio, "io_uring") ? BLOCK_AIO_URING
                                           : BLOCK_AIO_THREADS;
    }
    o.file = d->file;
    o.format = d->format;
    o.id = d->id;
    o.read_only = d->readonly || read_only;
    o.snapshot = d->snapshot;
    o.machine = m;
    return block_open(&o, err);
}

bool drives_check(Machine *m, GError **err)
{
    for (guint i = 0; m->cfg.drives && i < m->cfg.drives->len; i++) {
        DriveSpec *d = m->cfg.drives->pdata[i];
        if (!d->used && (d->file || d->opts->tree)) {
            BlockDev *b = open_spec(m, d, d->cdrom, err);
            if (!b) {
                return false;
            }
            block_close(b);
        }
    }
    return true;
}

static void give_name(Machine *m, DriveSpec *d, DriveUse use)
{
    int i = MAX(d->index, 0);

    if (d->id) {
        return;
    }
    do {
        g_free(d->id);
        switch (d->iface) {
        case DRIVE_IF_IDE:
            d->id = g_strdup_printf("ide%d-%s%d", i / 2, use == DRIVE_CDROM ? "cd" : "hd", i % 2);
            break;
        case DRIVE_IF_FLOPPY:
            d->id = g_strdup_printf("floppy%d", i);
            break;
        case DRIVE_IF_VIRTIO:
            d->id = g_strdup_printf("virtio%d", i);
            break;
        case DRIVE_IF_PFLASH:
            d->id = g_strdup_printf("pflash%d", i);
            break;
        default:
            d->id = g_strdup_printf("none%d", i);
        }
        i++;
    } while (drive_find(m, d->id) && drive_find(m, d->id) != d);
}

bool drive_take(Machine *m, DriveSpec *d, DriveUse use, BlockDev **out, GError **err)
{
    *out = NULL;
    give_name(m, d, use);
    if (d->file || d->opts->tree) {
        *out = open_spec(m, d, use == DRIVE_CDROM, err);
        if (!*out) {
            return false;
        }
    } else if (use == DRIVE_DISK) {
        return fail(err, "drive '%s': a disk needs file=", d->id);
    }
    d->used = true;
    d->medium = *out;
    return true;
}

void drive_give_back(DriveSpec *d)
{
    d->used = false;
    d->medium = NULL;
    d->ops = NULL;
}

void drive_release(Machine *m, DriveSpec *d)
{
    block_close(d->medium);
    drive_give_back(d);
    if (!d->node && m->cfg.drives) {
        g_ptr_array_remove(m->cfg.drives, d);
    }
}

void drive_set_ops(DriveSpec *d, const DriveOps *ops, void *opaque)
{
    d->ops = ops;
    d->ops_opaque = opaque;
}

void drive_tray_moved(Machine *m, const DriveSpec *d, bool open)
{
    if (m && m->block_event && d->id) {
        g_autofree char *id = g_strescape(d->id, NULL);
        g_autofree char *json =
            g_strdup_printf("{\"device\": \"%s\", \"id\": \"%s\", \"tray-open\": %s}", id, id,
                            open ? "true" : "false");
        m->block_event(m, "DEVICE_TRAY_MOVED", json);
    }
}

/* ---- monitors ---- */

bool drive_add(Machine *m, DriveSpec *d, GError **err)
{
    bool ok = id_is_new(m, d, err);

    if (ok && d->iface != DRIVE_IF_NONE) {
        ok = fail(err, "a drive that is added to a running machine needs if=none");
    }
    if (ok && (d->file || d->opts->tree)) {
        BlockDev *b = open_spec(m, d, d->cdrom, err);
        ok = b != NULL;
        block_close(b);
    }
    if (!ok) {
        drive_free(d);
        return false;
    }
    give_name(m, d, DRIVE_DISK);
    g_ptr_array_add(m->cfg.drives, d);
    return true;
}

bool drive_del(Machine *m, const char *id, GError **err)
{
    DriveSpec *d = drive_find(m, id);

    if (!d) {
        return fail(err, "there is no drive '%s'", id);
    }
    if (!d->used) {
        g_ptr_array_remove(m->cfg.drives, d);
        return true;
    }
    if (!d->medium || d->ops) {
        return d->ops ? drive_eject(m, d, true, err) : true;
    }
    block_disconnect(d->medium);
    return true;
}

bool drive_change(Machine *m, DriveSpec *d, const char *file, const char *format,
                  DriveAccess access, bool force, GError **err)
{
    if (!d->used || !d->ops || !d->ops->change) {
        return fail(err, "drive '%s' has no removable medium", d->id);
    }
    if (d->ops->locked && !force && d->ops->locked(d->ops_opaque) &&
        !(d->ops->tray_open && d->ops->tray_open(d->ops_opaque))) {
        /* Asks the guest to let go. */
        return d->ops->change(d->ops_opaque, NULL, false, err);
    }
    BlockOptions o = *d->opts;
    bool cd = d->ops->tray_open != NULL;
    o.tree = NULL;
    o.file = file;
    o.format = format;
    o.id = d->id;
    o.machine = m;
    o.read_only = cd || access == DRIVE_READ_ONLY || (access == DRIVE_RETAIN && d->readonly);
    o.snapshot = m->cfg.snapshot && !cd;
    BlockDev *b = block_open(&o, err);
    if (!b) {
        return false;
    }
    if (!d->ops->change(d->ops_opaque, b, force, err)) {
        block_close(b);
        return false;
    }
    if (cd && d->medium) {
        drive_tray_moved(m, d, true);
    }
    if (cd) {
        drive_tray_moved(m, d, false);
    }
    d->medium = b;
    g_free(d->file);
    g_free(d->format);
    d->file = g_strdup(file);
    d->format = g_strdup(format);
    d->readonly = o.read_only;
    return true;
}

bool drive_eject(Machine *m, DriveSpec *d, bool force, GError **err)
{
    if (!d->used || !d->ops || !d->ops->change) {
        return fail(err, "drive '%s' has no removable medium", d->id);
    }
    if (!d->ops->change(d->ops_opaque, NULL, force, err)) {
        return false;
    }
    if (d->medium && d->ops->tray_open) {
        drive_tray_moved(m, d, true);
    }
    d->medium = NULL;
    g_clear_pointer(&d->file, g_free);
    return true;
}

const char *drive_cache_mode(const DriveSpec *d)
{
    const BlockOptions *o = d->medium ? block_options(d->medium) : d->opts;
    return o->no_flush       ? "writeback, ignore flushes"
           : o->direct       ? (o->writethrough ? "writethrough, direct" : "writeback, direct")
           : o->writethrough ? "writethrough"
                             : "writeback";
}
