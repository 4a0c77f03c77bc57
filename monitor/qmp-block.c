/* QMP: drives. */
#include "block/drive.h"
#include "block/nbd.h"
#include "core/log.h"
#include "monitor/qmp.h"
#include <string.h>
#include <sys/stat.h>

static json_t *ok_or(QmpCall *c, bool ok, GError *err)
{
    return ok ? json_object() : qmp_gerror(c, err);
}

/* By "device", "id" or "node-name"; NULL after an error. */
static DriveSpec *need_drive(QmpCall *c)
{
    const char *id = qmp_str(c, "device");

    id = id ? id : qmp_str(c, "id");
    id = id ? id : qmp_str(c, "node-name");
    if (!id) {
        qmp_error(c, "GenericError", "Parameter 'device' is missing");
        return NULL;
    }
    DriveSpec *d = drive_find(c->m, id);
    if (!d) {
        qmp_error(c, "DeviceNotFound", "Device '%s' not found", id);
    }
    return d;
}

static DriveSpec *need_medium(QmpCall *c)
{
    DriveSpec *d = need_drive(c);

    if (d && !d->medium) {
        qmp_error(c, "GenericError", "Device '%s' has no medium", d->id);
        return NULL;
    }
    return d;
}

static bool flag(QmpCall *c, const char *key)
{
    return json_is_true(json_object_get(c->args, key));
}

/* ---- queries ---- */

static json_t *image_info(const BlockDev *b)
{
    struct stat st = {0};
    stat(block_name(b), &st);
    return json_pack("{s:s,s:s,s:I,s:I,s:b}", "filename", block_name(b), "format", block_format(b),
                     "virtual-size", (json_int_t)block_size(b), "actual-size",
                     (json_int_t)st.st_blocks * 512, "dirty-flag", 0);
}

static const char *const limit_names[THROTTLE_BUCKETS] = {"bps",  "bps_rd",  "bps_wr",
                                                          "iops", "iops_rd", "iops_wr"};

static json_t *inserted(const DriveSpec *d)
{
    static const char *const zeroes[] = {"off", "on", "unmap"};
    const BlockOptions *o = block_options(d->medium);
    g_auto(GStrv) chain = block_chain(d->medium);
    ThrottleConfig t;

    block_get_throttle(d->medium, &t);
    json_t *v = json_pack("{s:s,s:s,s:s,s:b,s:b,s:i,s:s,s:i,s:{s:b,s:b,s:b},s:o}", "file",
                          block_name(d->medium), "drv", block_format(d->medium), "node-name", d->id,
                          "ro", block_read_only(d->medium), "encrypted", 0, "backing_file_depth",
                          (int)g_strv_length(chain) - 1, "detect_zeroes", zeroes[o->detect_zeroes],
                          "write_threshold", 0, "cache", "writeback", !o->writethrough, "direct",
                          o->direct, "no-flush", o->no_flush, "image", image_info(d->medium));
    if (!v) {
        return json_object(); /* a file's name that is no UTF-8 */
    }
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        json_object_set_new(v, limit_names[i], json_integer((json_int_t)t.limit[i].avg));
        if (t.limit[i].max) {
            g_autofree char *name = g_strconcat(limit_names[i], "_max", NULL);
            json_object_set_new(v, name, json_integer((json_int_t)t.limit[i].max));
        }
    }
    if (throttle_enabled(&t)) {
        const char *group = block_throttle_group(d->medium);
        json_object_set_new(v, "group", json_string(group ? group : d->id));
    }
    if (chain[1]) {
        g_autofree char *name = g_strdup(chain[1]);
        char *format = strrchr(name, ' ');
        if (format) {
            *format = 0;
        }
        json_object_set_new(v, "backing_file", json_string(name));
    }
    return v;
}

static json_t *drive_info(const DriveSpec *d)
{
    bool removable = d->ops != NULL;
    json_t *v =
        json_pack("{s:s,s:s,s:b,s:b}", "device", d->id, "type", "unknown", "removable", removable,
                  "locked", removable && d->ops->locked && d->ops->locked(d->ops_opaque));
    if (removable && d->ops->tray_open) {
        json_object_set_new(v, "tray_open", json_boolean(d->ops->tray_open(d->ops_opaque)));
    }
    if (d->medium) {
        BlockStats s;
        block_get_stats(d->medium, &s);
        json_object_set_new(v, "io-status",
                            json_string(s.failure == BLOCK_ERROR_DEFAULT ? "ok"
                                        : s.no_space                     ? "nospace"
                                                                         : "failed"));
        json_object_set_new(v, "inserted", inserted(d));
    }
    return v;
}

static json_t *cmd_query_block(QmpCall *c)
{
    json_t *list = json_array();

    for (guint i = 0; c->m->cfg.drives && i < c->m->cfg.drives->len; i++) {
        const DriveSpec *d = c->m->cfg.drives->pdata[i];
        if (d->id && (d->medium || !d->node)) {
            json_array_append_new(list, drive_info(d));
        }
    }
    return list;
}

static json_t *cmd_query_nodes(QmpCall *c)
{
    json_t *list = json_array();

    for (guint i = 0; c->m->cfg.drives && i < c->m->cfg.drives->len; i++) {
        const DriveSpec *d = c->m->cfg.drives->pdata[i];
        if (d->medium) {
            json_array_append_new(list, inserted(d));
        }
    }
    return list;
}

static json_t *stats_of(const BlockDev *b)
{
    static const char *const names[BLOCK_KINDS] = {"rd", "wr", "flush", "unmap"};
    BlockStats s = {0};
    json_t *v = json_object();

    if (b) {
        block_get_stats(b, &s);
    }
    for (unsigned k = 0; k < BLOCK_KINDS; k++) {
        const struct {
            const char *format;
            uint64_t val;
        } fields[] = {{"%s_operations", s.ops[k]},
                      {"%s_total_time_ns", s.ns[k]},
                      {"failed_%s_operations", s.failed[k]},
                      {"invalid_%s_operations", s.invalid[k]},
                      {"%s_bytes", s.bytes[k]},
                      {"%s_merged", 0}};
        for (unsigned i = 0; i < G_N_ELEMENTS(fields) - (k == BLOCK_FLUSH ? 2 : 0); i++) {
            char key[48];
            g_snprintf(key, sizeof(key), fields[i].format, names[k]);
            json_object_set_new(v, key, json_integer((json_int_t)fields[i].val));
        }
    }
    json_object_set_new(v, "wr_highest_offset", json_integer((json_int_t)s.highest));
    if (s.last) {
        json_object_set_new(v, "idle_time_ns",
                            json_integer(g_get_monotonic_time() * 1000 - s.last));
    }
    json_object_set_new(v, "account_invalid", json_true());
    json_object_set_new(v, "account_failed", json_true());
    json_object_set_new(v, "timed_stats", json_array());
    return v;
}

static json_t *cmd_query_blockstats(QmpCall *c)
{
    json_t *list = json_array();

    for (guint i = 0; c->m->cfg.drives && i < c->m->cfg.drives->len; i++) {
        const DriveSpec *d = c->m->cfg.drives->pdata[i];
        if (d->id && (d->medium || (d->used && !d->node))) {
            json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "device", d->id, "node-name",
                                                  d->id, "stats", stats_of(d->medium)));
        }
    }
    return list;
}

/* ---- changes ---- */

static json_t *cmd_block_resize(QmpCall *c)
{
    json_t *size = json_object_get(c->args, "size");
    GError *err = NULL;
    DriveSpec *d;

    if (!json_is_integer(size) || json_integer_value(size) < 0) {
        return qmp_error(c, "GenericError", "Parameter 'size' must be a size in bytes");
    }
    if (!(d = need_medium(c))) {
        return NULL;
    }
    bool ok = block_resize(d->medium, (uint64_t)json_integer_value(size), &err);
    return ok_or(c, ok, err);
}

static json_t *cmd_set_throttle(QmpCall *c)
{
    DriveSpec *d = need_medium(c);
    ThrottleConfig t = {0};
    GError *err = NULL;

    if (!d) {
        return NULL;
    }
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        g_autofree char *max = g_strconcat(limit_names[i], "_max", NULL);
        g_autofree char *length = g_strconcat(max, "_length", NULL);
        const struct {
            const char *key;
            uint64_t *to;
        } keys[] = {{limit_names[i], &t.limit[i].avg},
                    {max, &t.limit[i].max},
                    {length, &t.limit[i].length}};
        for (unsigned k = 0; k < G_N_ELEMENTS(keys); k++) {
            json_int_t n = json_integer_value(json_object_get(c->args, keys[k].key));
            *keys[k].to = n > 0 ? (uint64_t)n : 0;
        }
    }
    t.iops_size = (uint64_t)MAX(0, json_integer_value(json_object_get(c->args, "iops_size")));
    if (!throttle_check(&t, &err)) {
        return qmp_gerror(c, err);
    }
    block_set_throttle(d->medium, &t, qmp_str(c, "group"));
    return json_object();
}

static json_t *cmd_snapshot_sync(QmpCall *c)
{
    const char *file = qmp_str(c, "snapshot-file"), *mode = qmp_str(c, "mode");
    DriveSpec *d = need_medium(c);
    GError *err = NULL;

    if (!d) {
        return NULL;
    }
    if (!file) {
        return qmp_error(c, "GenericError", "Parameter 'snapshot-file' is missing");
    }
    if (mode && strcmp(mode, "existing") && strcmp(mode, "absolute-paths")) {
        return qmp_error(c, "GenericError", "Parameter 'mode' does not accept value '%s'", mode);
    }
    bool ok = block_external_snapshot(d->medium, file, qmp_str(c, "format"),
                                      mode && !strcmp(mode, "existing"), &err);
    return ok_or(c, ok, err);
}

static json_t *cmd_eject(QmpCall *c)
{
    DriveSpec *d = need_drive(c);
    GError *err = NULL;

    if (!d) {
        return NULL;
    }
    bool ok = drive_eject(c->m, d, flag(c, "force"), &err);
    return ok_or(c, ok, err);
}

static json_t *cmd_change_medium(QmpCall *c)
{
    const char *file = qmp_str(c, "filename"), *mode = qmp_str(c, "read-only-mode");
    DriveSpec *d = need_drive(c);
    GError *err = NULL;

    if (!d) {
        return NULL;
    }
    if (!file) {
        return qmp_error(c, "GenericError", "Parameter 'filename' is missing");
    }
    DriveAccess access = !mode || !strcmp(mode, "retain") ? DRIVE_RETAIN
                         : !strcmp(mode, "read-only")     ? DRIVE_READ_ONLY
                                                          : DRIVE_READ_WRITE;
    bool ok = drive_change(c->m, d, file, qmp_str(c, "format"), access, flag(c, "force"), &err);
    return ok_or(c, ok, err);
}

static json_t *cmd_blockdev_add(QmpCall *c)
{
    char *text = json_dumps(c->args, JSON_COMPACT);
    GError *err = NULL;
    DriveSpec *d = text ? drive_parse_node("blockdev-add", text, &err) : NULL;

    free(text);
    bool ok = d && drive_add(c->m, d, &err);
    return ok_or(c, ok, err);
}

static json_t *cmd_blockdev_del(QmpCall *c)
{
    DriveSpec *d = need_drive(c);
    GError *err = NULL;

    if (!d) {
        return NULL;
    }
    if (d->used) {
        return qmp_error(c, "GenericError", "Node %s is in use", d->id);
    }
    bool ok = drive_del(c->m, d->id, &err);
    return ok_or(c, ok, err);
}

/* ---- NBD server ---- */

static json_t *cmd_nbd_start(QmpCall *c)
{
    json_t *addr = json_object_get(c->args, "addr"), *data = json_object_get(addr, "data");
    const char *type = json_string_value(json_object_get(addr, "type"));
    NbdServerConfig cfg = {.path = json_string_value(json_object_get(data, "path")),
                           .host = json_string_value(json_object_get(data, "host")),
                           .port = json_string_value(json_object_get(data, "port"))};
    json_t *max = json_object_get(c->args, "max-connections");
    GError *err = NULL;

    if (c->m->nbd) {
        return qmp_error(c, "GenericError", "NBD server already running");
    }
    bool ok = type && ((!strcmp(type, "unix") && cfg.path) ||
                       (!strcmp(type, "inet") && cfg.host && cfg.port && !cfg.path));
    if (!ok) {
        return qmp_error(c, "GenericError",
                         "Parameter 'addr' must be of type inet with host and port, or unix with "
                         "path");
    }
    if (qmp_str(c, "tls-creds")) {
        return qmp_error(c, "GenericError", "TLS is not supported");
    }
    cfg.max_clients = (unsigned)CLAMP(json_integer_value(max), 0, 1 << 20);
    c->m->nbd = nbd_server_new(&cfg, &err);
    return ok_or(c, c->m->nbd != NULL, err);
}

static json_t *cmd_nbd_add(QmpCall *c)
{
    DriveSpec *d = need_medium(c);
    const char *name = qmp_str(c, "name");
    GError *err = NULL;

    if (!d) {
        return NULL;
    }
    if (!c->m->nbd) {
        return qmp_error(c, "GenericError", "NBD server not running");
    }
    const NbdExportConfig e = {.name = name ? name : d->id,
                               .description = qmp_str(c, "description"),
                               .writable = flag(c, "writable")};
    bool ok = nbd_server_add(c->m->nbd, d->medium, &e, &err);
    return ok_or(c, ok, err);
}

static json_t *cmd_nbd_remove(QmpCall *c)
{
    const char *name = qmp_str(c, "name"), *mode = qmp_str(c, "mode");
    GError *err = NULL;

    if (!name) {
        return qmp_error(c, "GenericError", "Parameter 'name' is missing");
    }
    if (!c->m->nbd) {
        return qmp_error(c, "GenericError", "NBD server not running");
    }
    bool ok = nbd_server_remove(c->m->nbd, name, mode && !strcmp(mode, "hard"), &err);
    return ok_or(c, ok, err);
}

static json_t *cmd_nbd_stop(QmpCall *c)
{
    if (!c->m->nbd) {
        return qmp_error(c, "GenericError", "NBD server not running");
    }
    nbd_server_free(c->m->nbd);
    c->m->nbd = NULL;
    return json_object();
}

const QmpCommand qmp_block_commands[] = {
    {"nbd-server-start", cmd_nbd_start},
    {"nbd-server-add", cmd_nbd_add},
    {"nbd-server-remove", cmd_nbd_remove},
    {"nbd-server-stop", cmd_nbd_stop},
    {"query-block", cmd_query_block},
    {"query-blockstats", cmd_query_blockstats},
    {"query-named-block-nodes", cmd_query_nodes},
    {"block_resize", cmd_block_resize},
    {"block_set_io_throttle", cmd_set_throttle},
    {"blockdev-snapshot-sync", cmd_snapshot_sync},
    {"eject", cmd_eject},
    {"blockdev-change-medium", cmd_change_medium},
    {"blockdev-add", cmd_blockdev_add},
    {"blockdev-del", cmd_blockdev_del},
    {NULL},
};
