/*
 * vmdk images: the descriptor, and disks of several extents.
 * Source: VMware, "Virtual Disk Format 5.0" (2011). A descriptor names the extents (SPARSE, FLAT,
 * VMFS, ZERO), or lies inside of the only one. CID is new whenever the contents may have changed,
 * so that a disk on top of it is refused.
 */
#include "block/vmdk.h"
#include "block/iov.h"
#include "core/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SECTOR 512u
#define MAX_EXTENTS 4096u
#define MAX_SECTORS (1ull << 42)

typedef enum { EXTENT_SPARSE, EXTENT_FLAT, EXTENT_ZERO } ExtentKind;

typedef struct Extent {
    ExtentKind kind;
    BlockFile f;
    uint64_t start, len, off; /* on the disk; bytes; in the file */
    char *name;               /* as the descriptor has it */
    bool open, read_only;
} Extent;

typedef struct Vmdk {
    char *path, *text, *type; /* text: the descriptor */
    BlockFile file;           /* of the descriptor, where it has a file of its own */
    bool embedded;
    bool writable;
    gint renamed; /* CID is new */
    uint64_t text_off, text_len;
    uint32_t cid, parent;
    char *parent_name;
    GArray *extents;
    uint64_t size;
} Vmdk;

static bool bad(const Vmdk *v, GError **err, const char *what)
{
    return fail(err, "image '%s': %s", v->path, what);
}

/* ---- the descriptor ---- */

/* Value of "key = value" or "key="value""; NULL: none. */
static char *value_of(const Vmdk *v, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = v->text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
        p += strspn(p, " \t\r");
        if (strncmp(p, key, n)) {
            continue;
        }
        const char *eq = p + n + strspn(p + n, " \t");
        if (*eq != '=') {
            continue;
        }
        eq += 1 + strspn(eq + 1, " \t\"");
        return g_strndup(eq, strcspn(eq, "\"\r\n"));
    }
    return NULL;
}

static uint32_t hex_of(const Vmdk *v, const char *key)
{
    g_autofree char *t = value_of(v, key);
    return t ? (uint32_t)strtoul(t, NULL, 16) : VMDK_NO_PARENT;
}

/* The first write: others see by the CID that the contents are not what they were. */
static int new_cid(Vmdk *v)
{
    const BlockFile *f = &v->file;
    const char *at = strstr(v->text, "CID=");

    if (!g_atomic_int_compare_and_exchange(&v->renamed, 0, 1) || !at ||
        (at != v->text && at[-1] != '\n')) {
        return 0;
    }
    char hex[9];
    do {
        v->cid = g_random_int();
    } while (v->cid == VMDK_NO_PARENT);
    snprintf(hex, sizeof(hex), "%08x", v->cid);
    struct iovec iov = {hex, MIN(8, strspn(at + 4, "0123456789abcdefABCDEF"))};
    return f->driver->write(f->file, v->text_off + (uint64_t)(at + 4 - v->text), &iov, 1);
}

static char *extent_path(const Vmdk *v, const char *name)
{
    g_autofree char *dir = g_path_get_dirname(v->path);
    return g_path_is_absolute(name) ? g_strdup(name) : g_build_filename(dir, name, NULL);
}

static bool open_extent(Vmdk *v, Extent *e, unsigned flags, GSList *chain, GError **err)
{
    BlockFile f;

    if (e->kind == EXTENT_ZERO) {
        return true;
    }
    g_autofree char *path = extent_path(v, e->name);
    if (!raw_open(&f, path, e->read_only ? flags & ~(unsigned)IMAGE_WRITE : flags, err)) {
        return false;
    }
    e->f = f;
    if (e->kind == EXTENT_SPARSE) {
        if (!vmdk_sparse_open(&e->f, &f, path, NULL, flags, chain, err)) {
            block_file_close(&f);
            return false;
        }
        e->open = true;
        return e->f.size >= e->len ||
               fail(err, "image '%s': extent '%s' is smaller than it should be", v->path, e->name);
    }
    e->open = true;
    if (e->off > f.size || e->len > f.size - e->off) {
        return fail(err, "image '%s': extent '%s' is smaller than it should be", v->path, e->name);
    }
    return true;
}

/* One line: RW 4192256 SPARSE "disk-s001.vmdk" [offset]. True also for lines that are none. */
static bool extent_line(Vmdk *v, const char *line, unsigned flags, GSList *chain, GError **err)
{
    char access[16], type[16];
    unsigned long long sectors, off = 0;
    int at = 0;
    Extent e = {.start = v->size};

    if (sscanf(line, " %15s %llu %15s %n", access, &sectors, type, &at) < 3 || !at ||
        (strcmp(access, "RW") && strcmp(access, "RDONLY") && strcmp(access, "NOACCESS"))) {
        return true;
    }
    if (!strcmp(access, "NOACCESS")) {
        return bad(v, err, "an extent is marked as NOACCESS");
    }
    if (sectors > MAX_SECTORS || v->extents->len >= MAX_EXTENTS ||
        v->size / SECTOR + sectors > MAX_SECTORS) {
        return bad(v, err, "there are too many extents, or the disk is too large");
    }
    e.len = sectors * SECTOR;
    e.read_only = !strcmp(access, "RDONLY");
    if (!strcmp(type, "SPARSE")) {
        e.kind = EXTENT_SPARSE;
    } else if (!strcmp(type, "FLAT") || !strcmp(type, "VMFS")) {
        e.kind = EXTENT_FLAT;
    } else if (!strcmp(type, "ZERO")) {
        e.kind = EXTENT_ZERO;
    } else {
        return fail(err, "image '%s': extents of type %s are not supported", v->path, type);
    }
    if (e.kind != EXTENT_ZERO) {
        const char *name = line + at, *end = *name == '"' ? strchr(name + 1, '"') : NULL;
        if (!end || end == name + 1) {
            return bad(v, err, "an extent has no file name");
        }
        if (e.kind == EXTENT_FLAT && sscanf(end + 1, " %llu", &off) == 1 && off > MAX_SECTORS) {
            return bad(v, err, "an extent's offset is too large");
        }
        e.off = off * SECTOR;
        e.name = g_strndup(name + 1, (gsize)(end - name - 1));
    }
    bool ok = open_extent(v, &e, flags, chain, err);
    v->size += e.len;
    g_array_append_val(v->extents, e);
    return ok;
}

static bool open_extents(Vmdk *v, unsigned flags, GSList *chain, GError **err)
{
    g_auto(GStrv) lines = g_strsplit(v->text, "\n", -1);

    for (unsigned i = 0; lines[i]; i++) {
        if (!extent_line(v, lines[i], flags, chain, err)) {
            return false;
        }
    }
    return v->extents->len || bad(v, err, "its descriptor names no extents");
}

/* ---- requests ---- */

static Extent *extent_at(const Vmdk *v, uint64_t off)
{
    guint lo = 0, hi = v->extents->len;
    while (lo + 1 < hi) {
        guint mid = (lo + hi) / 2;
        if (g_array_index(v->extents, Extent, mid).start <= off) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return &g_array_index(v->extents, Extent, lo);
}

static int transfer(Vmdk *v, uint64_t off, const struct iovec *iov, unsigned n, bool write)
{
    uint64_t len = iov_length(iov, n);
    g_autofree struct iovec *part = g_new(struct iovec, n + 2);
    int ret = write ? v->writable ? new_cid(v) : -EROFS : 0;

    for (uint64_t done = 0, now; done < len && ret == 0; done += now) {
        Extent *e = extent_at(v, off + done);
        uint64_t in = off + done - e->start;
        if (in >= e->len) {
            return -EINVAL;
        }
        now = MIN(len - done, e->len - in);
        unsigned k = iov_slice(iov, n, done, now, part);
        if (e->kind == EXTENT_ZERO) {
            ret = write ? -EROFS : 0;
            if (!write) {
                iov_zero(part, k);
            }
        } else if (write && e->read_only) {
            ret = -EROFS;
        } else {
            const BlockDriver *d = e->f.driver;
            ret = (write ? d->write : d->read)(e->f.file, e->off + in, part, k);
        }
    }
    return ret;
}

static int vmdk_read(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    return transfer(file, off, iov, n, false);
}

static int vmdk_write(void *file, uint64_t off, const struct iovec *iov, unsigned n)
{
    return transfer(file, off, iov, n, true);
}

static int vmdk_flush(void *file)
{
    Vmdk *v = file;
    int ret = v->embedded ? 0 : v->file.driver->flush(v->file.file);

    for (guint i = 0; i < v->extents->len && ret == 0; i++) {
        Extent *e = &g_array_index(v->extents, Extent, i);
        ret = e->open && !e->read_only ? e->f.driver->flush(e->f.file) : 0;
    }
    return ret;
}

/* Zeros, or a discard, extent by extent. */
static int change(Vmdk *v, uint64_t off, uint64_t len, bool discard, bool unmap)
{
    int ret = v->writable ? new_cid(v) : -EROFS;

    while (len && ret == 0) {
        Extent *e = extent_at(v, off);
        uint64_t in = off - e->start, n = MIN(len, e->len - MIN(in, e->len));
        if (n == 0) {
            return -EINVAL;
        }
        if (e->kind == EXTENT_ZERO) {
            ret = 0;
        } else if (e->read_only) {
            ret = -EROFS;
        } else if (!discard) {
            ret = block_file_zero(&e->f, e->off + in, n, unmap);
        } else if (e->f.driver->discard) {
            ret = e->f.driver->discard(e->f.file, e->off + in, n);
        }
        off += n;
        len -= n;
    }
    return ret;
}

static int vmdk_discard(void *file, uint64_t off, uint64_t len)
{
    return change(file, off, len, true, true);
}

static int vmdk_write_zeroes(void *file, uint64_t off, uint64_t len, bool unmap)
{
    return change(file, off, len, false, unmap);
}

static int vmdk_extent(void *file, uint64_t off, uint64_t len, BlockExtent *x)
{
    Vmdk *v = file;
    Extent *e = extent_at(v, off);
    uint64_t in = off - e->start;

    len = MIN(len, e->len - MIN(in, e->len));
    *x = (BlockExtent){.len = len, .zero = true, .present = true};
    if (e->kind == EXTENT_ZERO || len == 0) {
        return len ? 0 : -EINVAL;
    }
    x->zero = false;
    x->data = true;
    int ret = e->f.driver->extent ? e->f.driver->extent(e->f.file, e->off + in, len, x) : 0;
    return ret;
}

/* ---- life ---- */

static void vmdk_free(Vmdk *v)
{
    for (guint i = 0; v->extents && i < v->extents->len; i++) {
        Extent *e = &g_array_index(v->extents, Extent, i);
        if (e->open) {
            block_file_close(&e->f);
        }
        g_free(e->name);
    }
    if (v->extents) {
        g_array_free(v->extents, TRUE);
    }
    g_free(v->path);
    g_free(v->text);
    g_free(v->type);
    g_free(v->parent_name);
    g_free(v);
}

static void vmdk_close(void *file)
{
    Vmdk *v = file;

    if (!v->embedded) {
        block_file_close(&v->file);
    }
    vmdk_free(v);
}

static bool vmdk_set_writable(void *file, bool on, GError **err)
{
    Vmdk *v = file;
    const BlockDriver *d = v->file.driver;
    bool ok = true;

    if (on == v->writable) {
        return true;
    }
    if (!v->embedded) {
        ok = d->set_writable ? d->set_writable(v->file.file, on, err)
                             : bad(v, err, "it cannot be written to");
    }
    for (guint i = 0; i < v->extents->len && ok; i++) {
        Extent *e = &g_array_index(v->extents, Extent, i);
        if (e->open && !e->read_only) {
            ok = e->f.driver->set_writable(e->f.file, on, err);
        }
    }
    v->writable = ok ? on : v->writable;
    v->renamed = 0;
    return ok;
}

static const char *vmdk_path(void *file)
{
    return ((Vmdk *)file)->path;
}

static BlockFile *vmdk_backing(void *file)
{
    Vmdk *v = file;
    Extent *e = &g_array_index(v->extents, Extent, 0);
    return v->embedded ? e->f.driver->backing(e->f.file) : NULL;
}

static void vmdk_set_backing(void *file, const BlockFile *backing)
{
    Vmdk *v = file;
    Extent *e = &g_array_index(v->extents, Extent, 0);
    e->f.driver->set_backing(e->f.file, backing);
}

static const BlockDriver vmdk_driver = {
    .name = "vmdk",
    .read = vmdk_read,
    .write = vmdk_write,
    .flush = vmdk_flush,
    .discard = vmdk_discard,
    .close = vmdk_close,
    .extent = vmdk_extent,
    .write_zeroes = vmdk_write_zeroes,
    .set_writable = vmdk_set_writable,
    .path = vmdk_path,
    .backing = vmdk_backing,
    .set_backing = vmdk_set_backing,
};

/* ---- opening ---- */

static bool read_text(Vmdk *v, const BlockFile *f, uint64_t off, uint64_t len, GError **err)
{
    v->text = g_malloc0(len + 1);
    v->text_off = off;
    v->text_len = len;
    struct iovec iov = {v->text, len};
    int ret = len ? f->driver->read(f->file, off, &iov, 1) : 0;
    if (ret) {
        return fail(err, "image '%s': %s", v->path, g_strerror(-ret));
    }
    v->cid = hex_of(v, "CID");
    v->parent = hex_of(v, "parentCID");
    v->type = value_of(v, "createType");
    if (v->parent != VMDK_NO_PARENT) {
        v->parent_name = value_of(v, "parentFileNameHint");
        return v->parent_name || bad(v, err, "it has a parent, but does not name it");
    }
    return true;
}

/* The disk below must be as it was when this one was made. */
static bool check_parent(Vmdk *v, const BlockFile *below, GError **err)
{
    if (!below || below->driver != &vmdk_driver) {
        return !below || bad(v, err, "its parent is not a vmdk image");
    }
    const Vmdk *p = below->file;
    return p->cid == v->parent ||
           fail(err, "image '%s': its parent '%s' has been changed since (CID %08x, not %08x)",
                v->path, p->path, p->cid, v->parent);
}

static bool open_embedded(Vmdk *v, const BlockFile *file, const VmdkHeader *h, unsigned flags,
                          GSList *chain, GError **err)
{
    Extent e = {.kind = EXTENT_SPARSE, .name = g_strdup(v->path)};
    uint64_t len = h->descriptor ? h->descriptor_len * SECTOR : 0;

    v->embedded = true;
    if (h->descriptor > MAX_SECTORS || h->descriptor_len > VMDK_MAX_DESCRIPTOR / SECTOR ||
        (len && h->descriptor * SECTOR + len > file->size)) {
        g_free(e.name);
        return bad(v, err, "the descriptor is out of the file");
    }
    bool ok = read_text(v, file, h->descriptor * SECTOR, len, err) &&
              vmdk_sparse_open(&e.f, file, v->path, v->parent_name, flags, chain, err);
    if (!ok) {
        g_free(e.name);
        return false;
    }
    e.len = v->size = e.f.size;
    ok = check_parent(v, e.f.driver->backing(e.f.file), err);
    if (!ok) {
        vmdk_sparse_release(&e.f); /* the file stays the caller's */
        g_free(e.name);
        return false;
    }
    e.open = true;
    v->file = *file;
    g_array_append_val(v->extents, e);
    return true;
}

static bool vmdk_open(BlockFile *out, const BlockFile *file, const char *path, unsigned flags,
                      GSList *chain, GError **err)
{
    Vmdk *v = g_new0(Vmdk, 1);
    uint8_t raw[VMDK_HEADER] = {0};
    struct iovec iov = {raw, sizeof(raw)};
    VmdkHeader h;

    v->path = g_strdup(path);
    v->parent = VMDK_NO_PARENT;
    v->writable = flags & IMAGE_WRITE;
    v->extents = g_array_new(FALSE, FALSE, sizeof(Extent));
    bool ok = file->driver->read(file->file, 0, &iov, 1) == 0 || bad(v, err, "it cannot be read");
    if (ok && vmdk_get_header(raw, &h)) {
        ok = open_embedded(v, file, &h, flags, chain, err);
    } else if (ok && memcmp(raw, "COWD", 4) == 0) {
        ok = bad(v, err, "COWD extents of ESX are not supported");
    } else if (ok) {
        v->file = *file;
        ok = file->size <= VMDK_MAX_DESCRIPTOR || bad(v, err, "it is not a vmdk image");
        ok = ok && read_text(v, file, 0, file->size, err) &&
             (strstr(v->text, "createType") || bad(v, err, "it is not a vmdk image")) &&
             (!v->parent_name ||
              bad(v, err, "parents of disks with several extents are not supported")) &&
             open_extents(v, flags, chain, err);
    }
    if (!ok) {
        vmdk_free(v);
        return false;
    }
    *out = (BlockFile){.driver = &vmdk_driver, .file = v, .size = v->size};
    return true;
}

/* ---- for tools ---- */

static int vmdk_check(const BlockFile *f, unsigned fix, ImageCheck *res,
                      void (*say)(void *opaque, const char *line), void *opaque)
{
    Vmdk *v = f->file;
    int ret = 0;

    memset(res, 0, sizeof(*res));
    for (guint i = 0; i < v->extents->len && ret == 0; i++) {
        Extent *e = &g_array_index(v->extents, Extent, i);
        ImageCheck one = {0};
        if (e->kind == EXTENT_SPARSE) {
            ret = vmdk_sparse_check(&e->f, fix, &one, say, opaque);
        }
        res->corruptions += one.corruptions;
        res->corruptions_fixed += one.corruptions_fixed;
        res->leaks += one.leaks;
        res->leaks_fixed += one.leaks_fixed;
        res->check_errors += one.check_errors;
        res->total_clusters += one.total_clusters;
        res->allocated += one.allocated;
        res->fragmented += one.fragmented;
        res->compressed += one.compressed;
        res->end_offset = MAX(res->end_offset, one.end_offset);
    }
    return ret;
}

static void vmdk_info(const BlockFile *f, ImageInfo *info)
{
    const Vmdk *v = f->file;
    const Extent *e = &g_array_index(v->extents, Extent, 0);

    *info =
        (ImageInfo){.backing = v->parent_name, .backing_format = v->parent_name ? "vmdk" : NULL};
    if (e->kind == EXTENT_SPARSE) {
        info->cluster_size = vmdk_sparse_grain(&e->f);
        info->packs = v->embedded && vmdk_sparse_packed(&e->f);
    }
}

static const BlockFile *only(const BlockFile *f)
{
    const Vmdk *v = f->file;
    return &g_array_index(v->extents, Extent, 0).f;
}

static size_t vmdk_compress(const BlockFile *f, const uint8_t *data, size_t len, uint8_t *out)
{
    return vmdk_sparse_compress(only(f), data, len, out);
}

static int vmdk_write_packed(const BlockFile *f, uint64_t off, const uint8_t *packed, size_t len)
{
    return vmdk_sparse_write_packed(only(f), off, packed, len);
}

uint32_t vmdk_cid(const BlockFile *f)
{
    return f->driver == &vmdk_driver ? ((const Vmdk *)f->file)->cid : VMDK_NO_PARENT;
}

uint32_t vmdk_parent_cid(const BlockFile *f)
{
    return ((const Vmdk *)f->file)->parent;
}

const char *vmdk_type(const BlockFile *f)
{
    const Vmdk *v = f->file;
    return v->type ? v->type : "";
}

bool vmdk_extent_info(const BlockFile *f, unsigned i, VmdkExtentInfo *x)
{
    const Vmdk *v = f->file;

    if (i >= v->extents->len) {
        return false;
    }
    const Extent *e = &g_array_index(v->extents, Extent, i);
    bool sparse = e->kind == EXTENT_SPARSE;
    const char *path = e->open ? e->f.driver->path(e->f.file) : NULL;
    *x = (VmdkExtentInfo){.size = e->len,
                          .path = path      ? path
                                  : e->name ? e->name
                                            : "",
                          .format = sparse && v->embedded    ? ""
                                    : sparse                 ? "SPARSE"
                                    : e->kind == EXTENT_FLAT ? "FLAT"
                                                             : "ZERO",
                          .cluster_size = sparse ? vmdk_sparse_grain(&e->f) : 0,
                          .packed = sparse && vmdk_sparse_packed(&e->f)};
    return true;
}

uint64_t vmdk_other_files(const BlockFile *f)
{
    const Vmdk *v = f->file;
    uint64_t sum = 0;
    struct stat st;

    for (guint i = 0; i < v->extents->len && !v->embedded; i++) {
        const Extent *e = &g_array_index(v->extents, Extent, i);
        const char *path = e->open ? e->f.driver->path(e->f.file) : NULL;
        sum += path && stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
    }
    return sum;
}

/* Other lines of the descriptor stay as they are. */
static char *with_parent(const Vmdk *v, const char *name, uint32_t cid)
{
    g_autoptr(GString) s = g_string_new(NULL);
    g_auto(GStrv) lines = g_strsplit(v->text, "\n", -1);

    for (unsigned i = 0; lines[i]; i++) {
        if (g_str_has_prefix(lines[i], "parentFileNameHint")) {
            continue;
        }
        if (g_str_has_prefix(lines[i], "parentCID")) {
            g_string_append_printf(s, "parentCID=%08x", cid);
        } else {
            g_string_append(s, lines[i]);
            if (name && g_str_has_prefix(lines[i], "createType")) {
                g_string_append_printf(s, "\nparentFileNameHint=\"%s\"", name);
            }
        }
        if (lines[i + 1]) {
            g_string_append_c(s, '\n');
        }
    }
    return g_strdup(s->str);
}

static bool vmdk_rename_backing(const BlockFile *f, const char *name, const char *format,
                                GError **err)
{
    Vmdk *v = f->file;
    uint32_t cid = VMDK_NO_PARENT;
    BlockFile b;

    if (!v->embedded || !v->writable) {
        return bad(v, err, v->writable ? "it cannot have a backing file" : "it is read-only");
    }
    if (name) {
        g_autofree char *path = image_backing_path(v->path, name, err);
        if (strpbrk(name, "\"\n") || (format && strcmp(format, "vmdk"))) {
            return bad(v, err, "the backing file of a vmdk image is one, too");
        }
        if (!path || !image_open(&b, path, "vmdk", IMAGE_UNLOCKED | IMAGE_NO_BACKING, err)) {
            return false;
        }
        cid = vmdk_cid(&b);
        block_file_close(&b);
    }
    g_autofree char *text = with_parent(v, name, cid);
    size_t len = strlen(text);
    if (len > v->text_len) {
        return bad(v, err, "the backing file's name does not fit into the descriptor");
    }
    g_autofree char *padded = g_malloc0(v->text_len + 1);
    memcpy(padded, text, len);
    struct iovec iov = {padded, v->text_len};
    int ret = v->file.driver->write(v->file.file, v->text_off, &iov, 1);
    ret = ret ? ret : v->file.driver->flush(v->file.file);
    if (ret) {
        return bad(v, err, g_strerror(-ret));
    }
    g_free(v->text);
    v->text = g_steal_pointer(&padded);
    g_free(v->parent_name);
    v->parent_name = g_strdup(name);
    v->parent = cid;
    return true;
}

const ImageFormat format_vmdk = {
    .name = "vmdk",
    .open = vmdk_open,
    .create = vmdk_create,
    .check = vmdk_check,
    .info = vmdk_info,
    .compress = vmdk_compress,
    .write_packed = vmdk_write_packed,
    .set_backing = vmdk_rename_backing,
};
