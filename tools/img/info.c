/* Looking at images: info, check, map. */
#include "block/vmdk.h"
#include "core/log.h"
#include "tools/img/img.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* ---- snapshots ---- */

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

void print_snapshots(const Qcow2Info *q)
{
    printf("Snapshot list:\n%-9s %-16s %8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
           "VM CLOCK", "ICOUNT");
    for (unsigned i = 0; i < q->n_snapshots; i++) {
        const Qcow2Snapshot *s = &q->snapshots[i];
        g_autofree char *size = human_size(s->vm_size);
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

/* ---- format-specific parts ---- */

static json_t *qcow2_json(const Qcow2Info *q)
{
    json_t *d = json_pack("{s:s,s:s,s:i,s:b}", "compat", q->version == 2 ? "0.10" : "1.1",
                          "compression-type", q->zstd ? "zstd" : "zlib", "refcount-bits",
                          (int)q->refcount_bits, "extended-l2", 0);
    if (q->version >= 3) {
        json_object_set_new(d, "lazy-refcounts", json_boolean(q->lazy_refcounts));
        json_object_set_new(d, "corrupt", json_boolean(q->corrupt));
    }
    return d;
}

static json_t *vmdk_json(const BlockFile *f)
{
    json_t *list = json_array();
    VmdkExtentInfo x;

    for (unsigned i = 0; vmdk_extent_info(f, i, &x); i++) {
        json_t *j = json_pack("{s:I,s:s,s:s}", "virtual-size", (json_int_t)x.size, "filename",
                              x.path, "format", x.format);
        if (x.cluster_size) {
            json_object_set_new(j, "cluster-size", json_integer((json_int_t)x.cluster_size));
        }
        if (x.packed) {
            json_object_set_new(j, "compressed", json_true());
        }
        json_array_append_new(list, j);
    }
    return json_pack("{s:I,s:I,s:s,s:o}", "cid", (json_int_t)vmdk_cid(f), "parent-cid",
                     (json_int_t)vmdk_parent_cid(f), "create-type", vmdk_type(f), "extents", list);
}

static void qcow2_human(const Qcow2Info *q)
{
    printf("    compat: %s\n    compression type: %s\n", q->version == 2 ? "0.10" : "1.1",
           q->zstd ? "zstd" : "zlib");
    if (q->version >= 3) {
        printf("    lazy refcounts: %s\n", q->lazy_refcounts ? "true" : "false");
    }
    printf("    refcount bits: %u\n", q->refcount_bits);
    if (q->version >= 3) {
        printf("    corrupt: %s\n    extended l2: false\n", q->corrupt ? "true" : "false");
    }
}

static void vmdk_human(const BlockFile *f)
{
    VmdkExtentInfo x;

    printf("    cid: %u\n    parent cid: %u\n    create type: %s\n    extents:\n", vmdk_cid(f),
           vmdk_parent_cid(f), vmdk_type(f));
    for (unsigned i = 0; vmdk_extent_info(f, i, &x); i++) {
        printf("        [%u]:\n%s            virtual size: %" PRIu64 "\n            filename: %s\n",
               i, x.packed ? "            compressed: true\n" : "", x.size, x.path);
        if (x.cluster_size) {
            printf("            cluster size: %" PRIu64 "\n", x.cluster_size);
        }
        printf("            format: %s\n", x.format);
    }
}

/* ---- info ---- */

typedef struct Shown {
    const char *path;
    const BlockFile *f;
    const char *format;
    ImageInfo i;
    Qcow2Info q; /* of qcow2 */
    uint64_t actual;
} Shown;

static bool has(const Shown *s, const char *format)
{
    return !strcmp(s->format, format);
}

static json_t *info_json(const Shown *s)
{
    const ImageInfo *i = &s->i;
    json_t *j = json_pack("{s:I,s:s,s:s,s:I,s:b}", "virtual-size", (json_int_t)s->f->size,
                          "filename", s->path, "format", s->format, "actual-size",
                          (json_int_t)s->actual, "dirty-flag", (int)i->dirty);
    if (i->cluster_size) {
        json_object_set_new(j, "cluster-size", json_integer((json_int_t)i->cluster_size));
    }
    if (has(s, "qcow2") || has(s, "vmdk")) {
        json_object_set_new(j, "format-specific",
                            json_pack("{s:s,s:o}", "type", s->format, "data",
                                      has(s, "qcow2") ? qcow2_json(&s->q) : vmdk_json(s->f)));
    }
    if (i->backing) {
        g_autofree char *full = image_backing_path(s->path, i->backing, NULL);
        json_object_set_new(j, "backing-filename", json_string(i->backing));
        json_object_set_new(j, "full-backing-filename", json_string(full ? full : i->backing));
        if (i->backing_format) {
            json_object_set_new(j, "backing-filename-format", json_string(i->backing_format));
        }
    }
    if (s->q.n_snapshots) {
        json_object_set_new(j, "snapshots", snapshots_json(&s->q));
    }
    return j;
}

static void info_human(const Shown *s)
{
    const ImageInfo *i = &s->i;
    g_autofree char *size = human_size(s->f->size), *disk = human_size(s->actual);

    printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n",
           s->path, s->format, size, s->f->size, disk);
    if (i->cluster_size) {
        printf("cluster_size: %" PRIu64 "\n", i->cluster_size);
    }
    if (i->dirty) {
        puts("cleanly shut down: no");
    }
    if (i->backing) {
        g_autofree char *full = image_backing_path(s->path, i->backing, NULL);
        printf("backing file: %s", i->backing);
        if (full && strcmp(full, i->backing)) {
            printf(" (actual path: %s)", full);
        }
        putchar('\n');
        if (i->backing_format) {
            printf("backing file format: %s\n", i->backing_format);
        }
    }
    if (s->q.n_snapshots) {
        print_snapshots(&s->q);
    }
    if (has(s, "qcow2") || has(s, "vmdk")) {
        puts("Format specific information:");
        if (has(s, "qcow2")) {
            qcow2_human(&s->q);
        } else {
            vmdk_human(s->f);
        }
    }
}

static void show(const Args *a, const char *path, const BlockFile *f, json_t *list, unsigned n)
{
    const ImageFormat *format = image_format_of(f);
    Shown s = {.path = path, .f = f, .format = format ? format->name : "raw"};
    struct stat st = {0};

    if (format) {
        format->info(f, &s.i);
    }
    if (qcow2_is(f)) {
        qcow2_info(f, &s.q);
    }
    if (stat(path, &st)) {
        st.st_blocks = 0;
    }
    s.actual = (uint64_t)st.st_blocks * 512;
    if (has(&s, "vmdk")) {
        s.actual += vmdk_other_files(f);
    }
    if (a->json) {
        json_array_append_new(list, info_json(&s));
        return;
    }
    if (n) {
        putchar('\n');
    }
    info_human(&s);
}

/* The image, and with --backing-chain those below it. */
static bool show_chain(Args *a, json_t *list, GError **err)
{
    g_autofree char *path = g_strdup(file_at(a, 0)), *format = g_strdup(a->format);
    BlockFile f;

    for (unsigned n = 0; path; n++) {
        unsigned flags = a->unlocked ? IMAGE_UNLOCKED : 0;
        if (n >= 64) {
            return fail(err, "the chain of backing files is longer than 64, or loops");
        }
        bool ok = n ? image_open(&f, path, format, flags | IMAGE_NO_BACKING, err)
                    : open_arg(a, 0, format, flags | IMAGE_NO_BACKING, &f, err);
        if (!ok) {
            return false;
        }
        show(a, path, &f, list, n);
        ImageInfo info = {0};
        if (image_format_of(&f)) {
            image_format_of(&f)->info(&f, &info);
        }
        char *next = a->chain && info.backing ? image_backing_path(path, info.backing, err) : NULL;
        ok = next || !a->chain || !info.backing;
        g_free(format);
        format = g_strdup(info.backing_format);
        block_file_close(&f);
        g_free(path);
        path = next;
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool cmd_info(Args *a, GError **err)
{
    if (!want_files(a, 1, 1, "info [-f FORMAT] [-U] [--output=human|json] FILE", err)) {
        return false;
    }
    json_t *list = json_array();
    bool ok = show_chain(a, list, err);
    if (ok && a->json) {
        print_json(a->chain ? json_incref(list) : json_incref(json_array_get(list, 0)));
    }
    json_decref(list);
    return ok;
}

/* ---- check ---- */

static void check_line(void *opaque, const char *line)
{
    if (!((Args *)opaque)->json && !((Args *)opaque)->quiet) {
        puts(line);
    }
}

static void check_human(const ImageCheck *r)
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
    if (r->end_offset) {
        printf("Image end offset: %" PRIu64 "\n", r->end_offset);
    }
}

static void check_json(const char *path, const char *format, const ImageCheck *r)
{
    const struct {
        const char *name;
        uint64_t v;
        bool always;
    } all[] = {{"image-end-offset", r->end_offset, false},
               {"total-clusters", r->total_clusters, true},
               {"check-errors", r->check_errors, true},
               {"corruptions", r->corruptions, false},
               {"leaks", r->leaks, false},
               {"corruptions-fixed", r->corruptions_fixed, false},
               {"leaks-fixed", r->leaks_fixed, false},
               {"allocated-clusters", r->allocated, false},
               {"fragmented-clusters", r->fragmented, false},
               {"compressed-clusters", r->compressed, false}};
    json_t *j = json_pack("{s:s,s:s}", "filename", path, "format", format);
    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        if (all[i].v || all[i].always) {
            json_object_set_new(j, all[i].name, json_integer((json_int_t)all[i].v));
        }
    }
    print_json(j);
}

/* Exit status as qemu-img's: 0 fine, 2 corrupt, 3 leaks only, 63 no check for the format. */
bool cmd_check(Args *a, int *status, GError **err)
{
    BlockFile f;
    ImageCheck r;
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
    unsigned flags = fix ? IMAGE_WRITE | IMAGE_REPAIR : 0;
    if (!open_arg(a, 0, a->format, flags | IMAGE_NO_BACKING, &f, err)) {
        return false;
    }
    const ImageFormat *format = image_format_of(&f);
    if (!format || !format->check) {
        block_file_close(&f);
        *status = 63;
        return fail(err, "image '%s': images of format raw have nothing to check", path);
    }
    int ret = format->check(&f, fix, &r, check_line, a);
    block_file_close(&f);
    if (ret) {
        return io_error(err, path, ret);
    }
    if (a->json) {
        check_json(path, format->name, &r);
    } else if (!a->quiet) {
        check_human(&r);
    }
    *status = r.corruptions ? 2 : r.leaks ? 3 : r.check_errors ? 1 : 0;
    return true;
}

/* ---- map ---- */

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

static bool joins(const BlockExtent *run, const BlockExtent *e)
{
    return run->len && run->depth == e->depth && run->present == e->present &&
           run->data == e->data && run->zero == e->zero && run->compressed == e->compressed &&
           run->has_offset == e->has_offset && run->file == e->file &&
           (!e->has_offset || run->offset + run->len == e->offset);
}

bool cmd_map(Args *a, GError **err)
{
    BlockFile f;
    BlockExtent e, run = {0};
    int ret = 0;

    if (!want_files(a, 1, 1, "map [-f FORMAT] [--output=human|json] FILE", err) ||
        !open_arg(a, 0, a->format, 0, &f, err)) {
        return false;
    }
    uint64_t start = MIN(a->start, f.size), end = f.size;
    if (a->length && a->length < end - start) {
        end = start + a->length;
    }
    json_t *list = json_array();
    if (!a->json) {
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    }
    for (uint64_t off = start; off < end && ret == 0; off += e.len) {
        ret = extent_of(&f, off, end - off, &e);
        if (ret == 0 && joins(&run, &e)) {
            run.len += e.len;
        } else if (ret == 0) {
            if (run.len) {
                map_line(a, file_at(a, 0), start, &run, list);
            }
            run = e;
            start = off;
        }
    }
    if (run.len && ret == 0) {
        map_line(a, file_at(a, 0), start, &run, list);
    }
    if (a->json) {
        print_json(list);
    } else {
        json_decref(list);
    }
    block_file_close(&f);
    return ret == 0 || io_error(err, file_at(a, 0), ret);
}
