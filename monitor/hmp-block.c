/* HMP: drives. */
#include "block/drive.h"
#include "block/nbd.h"
#include "core/log.h"
#include "migration/snapshot.h"
#include "monitor/hmp.h"
#include <inttypes.h>
#include <string.h>

static DriveSpec *need_drive(Hmp *h, const HmpArgs *a)
{
    const char *id = hmp_text(a, "device");
    DriveSpec *d = drive_find(h->m, id);

    if (!d) {
        hmp_printf(h, "Error: there is no drive '%s'; 'info block' lists them\n", id);
    }
    return d;
}

/* With an image. */
static DriveSpec *need_medium(Hmp *h, const HmpArgs *a)
{
    DriveSpec *d = need_drive(h, a);

    if (d && !d->medium) {
        hmp_printf(h, "Error: drive '%s' has no medium\n", d->id);
        return NULL;
    }
    return d;
}

static void done(Hmp *h, bool ok, GError *err)
{
    if (!ok) {
        hmp_error(h, err);
    }
}

static void cmd_eject(Hmp *h, const HmpArgs *a)
{
    DriveSpec *d = need_drive(h, a);
    GError *err = NULL;

    if (d) {
        done(h, drive_eject(h->m, d, hmp_has(a, "force"), &err), err);
    }
}

void hmp_change_medium(Hmp *h, const HmpArgs *a)
{
    static const char *const modes[] = {"retain", "read-only", "read-write"};
    const char *mode = hmp_text(a, "read-only-mode");
    DriveSpec *d = need_drive(h, a);
    unsigned access = DRIVE_RETAIN;
    GError *err = NULL;

    while (mode && access < G_N_ELEMENTS(modes) && strcmp(mode, modes[access])) {
        access++;
    }
    if (access == G_N_ELEMENTS(modes)) {
        hmp_printf(h, "Error: '%s' is neither retain, read-only nor read-write\n", mode);
    } else if (d) {
        bool ok = drive_change(h->m, d, hmp_text(a, "target"), hmp_text(a, "arg"),
                               (DriveAccess)access, hmp_has(a, "force"), &err);
        done(h, ok, err);
    }
}

static void cmd_block_resize(Hmp *h, const HmpArgs *a)
{
    DriveSpec *d = need_medium(h, a);
    GError *err = NULL;
    uint64_t size;

    if (d) {
        bool ok = parse_size("block_resize", hmp_text(a, "size"), 1 << 20, &size, &err) &&
                  block_resize(d->medium, size, &err);
        done(h, ok, err);
    }
}

static void cmd_set_throttle(Hmp *h, const HmpArgs *a)
{
    static const char *const names[THROTTLE_BUCKETS] = {"bps",  "bps_rd",  "bps_wr",
                                                        "iops", "iops_rd", "iops_wr"};
    DriveSpec *d = need_medium(h, a);
    ThrottleConfig t = {0};
    GError *err = NULL;

    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        t.limit[i].avg = hmp_num(a, names[i], 0);
    }
    if (d && !throttle_check(&t, &err)) {
        hmp_error(h, err);
    } else if (d) {
        block_set_throttle(d->medium, &t, NULL);
    }
}

static void cmd_snapshot(Hmp *h, const HmpArgs *a)
{
    DriveSpec *d = need_medium(h, a);
    const char *file = hmp_text(a, "snapshot-file");
    GError *err = NULL;

    if (d && !file) {
        hmp_printf(h, "Error: the name of the new image is missing: snapshot_blkdev %s FILE\n",
                   d->id);
    } else if (d) {
        bool ok = block_external_snapshot(d->medium, file, hmp_text(a, "format"),
                                          hmp_has(a, "reuse"), &err);
        done(h, ok, err);
    }
}

static void cmd_commit(Hmp *h, const HmpArgs *a)
{
    const char *id = hmp_text(a, "device");
    GError *err = NULL;

    if (strcmp(id, "all")) {
        DriveSpec *d = need_medium(h, a);
        if (d) {
            done(h, block_commit(d->medium, &err), err);
        }
        return;
    }
    for (guint i = 0; h->m->cfg.drives && i < h->m->cfg.drives->len; i++) {
        DriveSpec *d = h->m->cfg.drives->pdata[i];
        err = NULL;
        if (d->medium && block_has_backing(d->medium)) {
            done(h, block_commit(d->medium, &err), err);
        }
    }
}

static void cmd_drive_add(Hmp *h, const HmpArgs *a)
{
    const char *text = hmp_text(a, "opts");
    GError *err = NULL;

    if (h->m->cfg.drives == NULL) {
        hmp_printf(h, "Error: this machine has no drives\n");
        return;
    }
    DriveSpec *d = hmp_has(a, "node") ? drive_parse_node("drive_add", text, &err)
                                      : drive_parse("drive_add", text, &err);
    if (d && drive_add(h->m, d, &err)) {
        hmp_printf(h, "OK\n");
    } else {
        hmp_error(h, err);
    }
}

static void cmd_drive_del(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;
    bool ok = drive_del(h->m, hmp_text(a, "device"), &err);

    done(h, ok, err);
}

/* ---- NBD server ---- */

static bool export(Machine *m, DriveSpec *d, const char *name, bool writable, GError **err)
{
    const NbdExportConfig e = {.name = name ? name : d->id, .writable = writable};
    return nbd_server_add(m->nbd, d->medium, &e, err);
}

/* HOST:PORT or unix:PATH */
static NbdServer *start_server(const char *text, GError **err)
{
    NbdAddress a = {0};
    NbdServer *s = NULL;
    g_autofree char *uri = g_strconcat("nbd:", text, NULL);

    if (nbd_address_parse(&a, uri, NULL)) {
        s = nbd_server_new(&(NbdServerConfig){.path = a.path, .host = a.host, .port = a.port}, err);
    } else {
        fail(err, "'%s' is no address; use HOST:PORT or unix:PATH", text);
    }
    nbd_address_clear(&a);
    return s;
}

static void cmd_nbd_start(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;

    if (h->m->nbd) {
        hmp_printf(h, "Error: the NBD server is running already\n");
        return;
    }
    if (hmp_has(a, "writable") && !hmp_has(a, "all")) {
        hmp_printf(h, "Error: -w only valid together with -a\n");
        return;
    }
    if (!(h->m->nbd = start_server(hmp_text(a, "uri"), &err))) {
        hmp_error(h, err);
        return;
    }
    for (guint i = 0; hmp_has(a, "all") && i < h->m->cfg.drives->len; i++) {
        DriveSpec *d = h->m->cfg.drives->pdata[i];
        bool w = hmp_has(a, "writable");
        if (d->medium && !export(h->m, d, NULL, w && !block_read_only(d->medium), &err)) {
            hmp_error(h, err);
            nbd_server_free(h->m->nbd);
            h->m->nbd = NULL;
            return;
        }
    }
}

static bool have_server(Hmp *h)
{
    if (!h->m->nbd) {
        hmp_printf(h, "Error: the NBD server is not running; nbd_server_start starts it\n");
    }
    return h->m->nbd != NULL;
}

static void cmd_nbd_add(Hmp *h, const HmpArgs *a)
{
    DriveSpec *d = have_server(h) ? need_medium(h, a) : NULL;
    GError *err = NULL;

    if (d) {
        bool ok = export(h->m, d, hmp_text(a, "name"), hmp_has(a, "writable"), &err);
        done(h, ok, err);
    }
}

static void cmd_nbd_remove(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;

    if (have_server(h)) {
        bool ok = nbd_server_remove(h->m->nbd, hmp_text(a, "name"), hmp_has(a, "force"), &err);
        done(h, ok, err);
    }
}

static void cmd_nbd_stop(Hmp *h, const HmpArgs *a)
{
    if (have_server(h)) {
        nbd_server_free(h->m->nbd);
        h->m->nbd = NULL;
    }
}

/* ---- info ---- */

static void limits(Hmp *h, const DriveSpec *d)
{
    static const char *const names[THROTTLE_BUCKETS] = {"bps",  "bps_rd",  "bps_wr",
                                                        "iops", "iops_rd", "iops_wr"};
    ThrottleConfig t;

    block_get_throttle(d->medium, &t);
    if (!throttle_enabled(&t)) {
        return;
    }
    hmp_printf(h, "    I/O throttling:  ");
    for (unsigned half = 0; half < THROTTLE_BUCKETS; half += 3) {
        for (unsigned i = half; i < half + 3; i++) {
            hmp_printf(h, " %s=%" PRIu64, names[i], t.limit[i].avg);
        }
        for (unsigned i = half; i < half + 3; i++) {
            hmp_printf(h, " %s_max=%" PRIu64, names[i], t.limit[i].max);
        }
    }
    const char *group = block_throttle_group(d->medium);
    hmp_printf(h, " iops_size=%" PRIu64 " group=%s\n", t.iops_size, group ? group : d->id);
}

static void show_medium(Hmp *h, const DriveSpec *d)
{
    g_auto(GStrv) chain = block_chain(d->medium);
    BlockStats s;

    hmp_printf(h, "%s: %s (%s%s)\n", d->id, block_name(d->medium), block_format(d->medium),
               block_read_only(d->medium) ? ", read-only" : "");
    if (d->ops) {
        bool tray = d->ops->tray_open;
        hmp_printf(h, "    Removable device: %slocked, tray %s\n",
                   d->ops->locked && d->ops->locked(d->ops_opaque) ? "" : "not ",
                   tray && d->ops->tray_open(d->ops_opaque) ? "open" : "closed");
    }
    hmp_printf(h, "    Cache mode:       %s\n", drive_cache_mode(d));
    if (chain[0] && chain[1]) {
        const char *format = strrchr(chain[1], ' ');
        hmp_printf(h, "    Backing file:     %.*s (chain depth: %u)\n",
                   (int)(format ? format - chain[1] : 0), chain[1], g_strv_length(chain) - 1);
    }
    static const char *const zeroes[] = {"off", "on", "unmap"};
    BlockZeroes z = block_options(d->medium)->detect_zeroes;
    if (z != BLOCK_ZEROES_OFF) {
        hmp_printf(h, "    Detect zeroes:    %s\n", zeroes[z]);
    }
    limits(h, d);
    block_get_stats(d->medium, &s);
    if (s.failure != BLOCK_ERROR_DEFAULT) {
        hmp_printf(h, "    I/O status:       %s\n", s.no_space ? "nospace" : "failed");
    }
}

void hmp_info_block(Hmp *h, const HmpArgs *a)
{
    const char *want = hmp_text(a, "device");
    bool any = false;

    for (guint i = 0; h->m->cfg.drives && i < h->m->cfg.drives->len; i++) {
        const DriveSpec *d = h->m->cfg.drives->pdata[i];
        if (!d->id || (want && strcmp(want, d->id)) || (d->node && !d->medium)) {
            continue;
        }
        hmp_printf(h, any ? "\n" : "");
        any = true;
        if (d->medium) {
            show_medium(h, d);
        } else if (d->used) {
            bool open = d->ops && d->ops->tray_open && d->ops->tray_open(d->ops_opaque);
            hmp_printf(h, "%s: [not inserted]\n    Removable device: %slocked, tray %s\n", d->id,
                       d->ops && d->ops->locked && d->ops->locked(d->ops_opaque) ? "" : "not ",
                       open ? "open" : "closed");
        } else {
            hmp_printf(h, "%s: %s (no device has it)\n", d->id, d->file ? d->file : "no image");
        }
        if (d->medium && hmp_has(a, "verbose")) {
            g_auto(GStrv) chain = block_chain(d->medium);
            hmp_printf(h, "\nImages:\n");
            for (char **c = chain; *c; c++) {
                hmp_printf(h, "image: %s\n", *c);
            }
            hmp_printf(h, "virtual size: %" PRIu64 " bytes\n", block_size(d->medium));
        }
    }
    if (want && !any) {
        hmp_printf(h, "Error: there is no drive '%s'\n", want);
    }
}

void hmp_info_blockstats(Hmp *h, const HmpArgs *a)
{
    int64_t now = g_get_monotonic_time() * 1000;

    for (guint i = 0; h->m->cfg.drives && i < h->m->cfg.drives->len; i++) {
        const DriveSpec *d = h->m->cfg.drives->pdata[i];
        BlockStats s = {0};
        if (!d->used || !d->id || (d->node && !d->medium)) {
            continue;
        }
        if (d->medium) {
            block_get_stats(d->medium, &s);
        }
        hmp_printf(h,
                   "%s: rd_bytes=%" PRIu64 " wr_bytes=%" PRIu64 " rd_operations=%" PRIu64
                   " wr_operations=%" PRIu64 " flush_operations=%" PRIu64
                   " wr_total_time_ns=%" PRIu64 " rd_total_time_ns=%" PRIu64
                   " flush_total_time_ns=%" PRIu64 " rd_merged=0 wr_merged=0 idle_time_ns=%" PRId64
                   "\n",
                   d->id, s.bytes[BLOCK_READ], s.bytes[BLOCK_WRITE], s.ops[BLOCK_READ],
                   s.ops[BLOCK_WRITE], s.ops[BLOCK_FLUSH], s.ns[BLOCK_WRITE], s.ns[BLOCK_READ],
                   s.ns[BLOCK_FLUSH], s.last ? now - s.last : 0);
    }
}

/* ---- snapshots of the machine ---- */

static void cmd_savevm(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;

    done(h, snapshot_save(h->m, hmp_text(a, "name"), &err), err);
}

static void cmd_loadvm(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;

    done(h, snapshot_load(h->m, hmp_text(a, "name"), &err), err);
}

static void cmd_delvm(Hmp *h, const HmpArgs *a)
{
    GError *err = NULL;

    done(h, snapshot_delete(h->m, hmp_text(a, "name"), &err), err);
}

void hmp_info_snapshots(Hmp *h, const HmpArgs *a)
{
    g_autofree char *text = snapshot_list(h->m);

    hmp_printf(h, "%s", text);
}

const HmpCommand hmp_block_commands[] = {
    {"savevm", "name:S?", "[tag]",
     "save a snapshot of the machine and its disks; one with that tag is replaced", cmd_savevm},
    {"loadvm", "name:S", "tag", "go back to a snapshot, by its tag or id", cmd_loadvm},
    {"delvm", "name:S", "tag", "delete a snapshot, by its tag or id", cmd_delvm},
    {"eject", "force:-f,device:s", "[-f] device", "eject a removable medium (use -f to force it)",
     cmd_eject},
    {"block_resize", "device:s,size:s", "device size",
     "resize a block image; size in MiB without a suffix", cmd_block_resize},
    {"block_set_io_throttle", "device:s,bps:l,bps_rd:l,bps_wr:l,iops:l,iops_rd:l,iops_wr:l",
     "device bps bps_rd bps_wr iops iops_rd iops_wr",
     "change I/O throttle limits for a block drive", cmd_set_throttle},
    {"snapshot_blkdev", "reuse:-n,device:s,snapshot-file:s?,format:s?",
     "[-n] device new-image-file [format]",
     "write to a new image over the present one from now on (-n: the file exists)", cmd_snapshot},
    {"commit", "device:s", "device|all",
     "commit changes to the disk images (if -snapshot is used) or backing files", cmd_commit},
    {"drive_add", "node:-n,pci_addr:s,opts:S",
     "[-n] [[domain:]bus:]slot [file=file][,if=none][,id=id][,format=f]…",
     "add a drive that a device can use, like -drive", cmd_drive_add},
    {"nbd_server_start", "all:-a,writable:-w,uri:s", "[-a] [-w] host:port|unix:path",
     "serve drives to NBD clients (-a: all of them, -w: for writing)", cmd_nbd_start},
    {"nbd_server_add", "writable:-w,device:s,name:s?", "[-w] device [name]",
     "export a drive by NBD", cmd_nbd_add},
    {"nbd_server_remove", "force:-f,name:s", "[-f] name",
     "end an export (-f: even while clients use it)", cmd_nbd_remove},
    {"nbd_server_stop", "", NULL, "end the NBD server", cmd_nbd_stop},
    {"drive_del", "device:s", "device", "remove a drive; a device that has it gets errors",
     cmd_drive_del},
    {NULL},
};
