/* Making vmdk images, after VMware's "Virtual Disk Format 5.0"; see vmdk.c and vmdk-sparse.c. */
#include "block/bytes.h"
#include "block/vmdk.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512u
#define GRAIN 128u            /* sectors */
#define DESCRIPTOR 20u        /* sectors of an embedded one */
#define MAX_EXTENT 4192256ull /* sectors of a twoGbMaxExtent… file: 2047 MiB */
#define MAX_SPARSE (1ull << 32)

typedef struct Making {
    const ImageCreate *c;
    const char *path;
    char *sub, *adapter, *hw, *tools;
    bool flat, split, packed, zeroed;
    uint64_t sectors;
    uint32_t parent;
} Making;

static int put(const BlockFile *f, uint64_t off, const void *data, size_t len)
{
    struct iovec iov = {(void *)data, len};
    return f->driver->write(f->file, off, &iov, 1);
}

static char *descriptor(const Making *m, const char *extents)
{
    unsigned heads = strcmp(m->adapter, "ide") ? 255 : 16;
    uint64_t cylinders = MIN(m->sectors / (63 * heads), heads == 16 ? 16383 : UINT32_MAX);
    uint32_t cid = g_random_int();
    g_autofree char *hint = m->c->backing
                                ? g_strdup_printf("parentFileNameHint=\"%s\"\n", m->c->backing)
                                : g_strdup("");

    return g_strdup_printf("# Disk DescriptorFile\n"
                           "version=1\n"
                           "CID=%08x\n"
                           "parentCID=%08x\n"
                           "createType=\"%s\"\n"
                           "%s"
                           "\n"
                           "# Extent description\n"
                           "%s"
                           "\n"
                           "# The Disk Data Base\n"
                           "#DDB\n"
                           "\n"
                           "ddb.virtualHWVersion = \"%s\"\n"
                           "ddb.geometry.cylinders = \"%" G_GUINT64_FORMAT "\"\n"
                           "ddb.geometry.heads = \"%u\"\n"
                           "ddb.geometry.sectors = \"63\"\n"
                           "ddb.adapterType = \"%s\"\n"
                           "ddb.toolsVersion = \"%s\"\n",
                           cid == VMDK_NO_PARENT ? 1 : cid, m->parent, m->sub, hint, extents, m->hw,
                           cylinders, heads, m->adapter, m->tools);
}

/* A grain directory at sector @gd whose tables lie right behind it. */
static int write_directory(const BlockFile *f, uint64_t gd, uint64_t gd_len, uint64_t n)
{
    g_autofree uint8_t *raw = g_malloc0(gd_len * SECTOR);
    for (uint64_t i = 0; i < n; i++) {
        put_le32(raw + i * 4, (uint32_t)(gd + gd_len + i * (VMDK_GT_BYTES / SECTOR)));
    }
    return put(f, gd * SECTOR, raw, gd_len * SECTOR);
}

/* An empty sparse extent; @text: its descriptor, or NULL. */
static int write_sparse(const Making *m, const BlockFile *f, uint64_t sectors, const char *text)
{
    uint64_t grains = (sectors + GRAIN - 1) / GRAIN, n = (grains + VMDK_GTES - 1) / VMDK_GTES;
    uint64_t gd_len = (n * 4 + SECTOR - 1) / SECTOR, all = gd_len + n * (VMDK_GT_BYTES / SECTOR);
    uint8_t raw[VMDK_HEADER];
    static const uint8_t zeros[SECTOR];
    VmdkHeader h = {.version = m->packed   ? 3
                               : m->zeroed ? 2
                                           : 1,
                    .flags = 1 | VMDK_REDUNDANT | (m->zeroed ? VMDK_ZEROED : 0) |
                             (m->packed ? VMDK_PACKED | VMDK_MARKERS : 0),
                    .capacity = sectors,
                    .grain = GRAIN,
                    .descriptor = text ? 1 : 0,
                    .descriptor_len = text ? DESCRIPTOR : 0,
                    .rgd = 1 + DESCRIPTOR,
                    .gd = 1 + DESCRIPTOR + all,
                    .gtes = VMDK_GTES,
                    .compression = m->packed};
    h.overhead = (h.gd + all + GRAIN - 1) / GRAIN * GRAIN;
    vmdk_put_header(raw, &h);
    int ret = put(f, h.overhead * SECTOR - SECTOR, zeros, SECTOR);
    ret = ret ? ret : write_directory(f, h.rgd, gd_len, n);
    ret = ret ? ret : write_directory(f, h.gd, gd_len, n);
    if (ret == 0 && text) {
        g_autofree uint8_t *d = g_malloc0(DESCRIPTOR * SECTOR);
        size_t len = strlen(text);
        if (len >= DESCRIPTOR * SECTOR) {
            return -ENAMETOOLONG;
        }
        memcpy(d, text, len);
        ret = put(f, SECTOR, d, DESCRIPTOR * SECTOR);
    }
    return ret ? ret : put(f, 0, raw, sizeof(raw));
}

/* A file next to the descriptor. */
static bool write_extent(const Making *m, const char *name, uint64_t sectors, GError **err)
{
    g_autofree char *dir = g_path_get_dirname(m->path), *path = g_build_filename(dir, name, NULL);
    BlockFile f;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0) {
        return fail(err, "image '%s': %s", path, g_strerror(errno));
    }
    close(fd);
    if (!raw_open(&f, path, IMAGE_WRITE, err)) {
        return false;
    }
    bool ok =
        f.driver->resize(&f, 0, err) && (!m->flat || f.driver->resize(&f, sectors * SECTOR, err));
    int ret = ok && !m->flat ? write_sparse(m, &f, sectors, NULL) : 0;
    block_file_close(&f);
    return ok && (ret == 0 || fail(err, "image '%s': %s", path, g_strerror(-ret)));
}

/* Extents in files of their own, and the lines that name them. */
static char *write_extents(const Making *m, GError **err)
{
    g_autofree char *base = g_path_get_basename(m->path);
    g_autoptr(GString) lines = g_string_new(NULL);
    uint64_t left = m->sectors;

    if (g_str_has_suffix(base, ".vmdk")) {
        base[strlen(base) - 5] = 0;
    }
    if (strchr(base, '"') || strchr(base, '\n')) {
        fail(err, "image '%s': such a name cannot stand in a vmdk descriptor", m->path);
        return NULL;
    }
    for (unsigned i = 1; left || i == 1; i++) {
        uint64_t n = m->split ? MIN(left, MAX_EXTENT) : left;
        g_autofree char *name =
            m->split ? g_strdup_printf("%s-%c%03u.vmdk", base, m->flat ? 'f' : 's', i)
                     : g_strdup_printf("%s-flat.vmdk", base);
        if (!write_extent(m, name, n, err)) {
            return NULL;
        }
        g_string_append_printf(lines, "RW %" G_GUINT64_FORMAT " %s \"%s\"%s\n", n,
                               m->flat ? "FLAT" : "SPARSE", name, m->flat ? " 0" : "");
        left -= n;
    }
    return g_strdup(lines->str);
}

static bool find_parent(Making *m, GError **err)
{
    BlockFile b;

    if (!m->c->backing) {
        return true;
    }
    if (m->flat || m->split || m->packed) {
        return fail(err, "subformat=%s has no backing file; monolithicSparse has", m->sub);
    }
    if (strpbrk(m->c->backing, "\"\n")) {
        return fail(err, "such a name cannot stand in a vmdk descriptor");
    }
    g_autofree char *path = image_backing_path(m->path, m->c->backing, err);
    if (!path || !image_open(&b, path, "vmdk", IMAGE_UNLOCKED | IMAGE_NO_BACKING, err)) {
        return false;
    }
    m->parent = vmdk_cid(&b);
    block_file_close(&b);
    return true;
}

static bool read_options(Making *m, GError **err)
{
    static const char *const subs[] = {"monolithicSparse",     "monolithicFlat",
                                       "twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
                                       "streamOptimized",      NULL};
    static const char *const adapters[] = {"ide", "lsilogic", "buslogic", "legacyESX", NULL};
    bool compat6 = false;

    m->sub = image_option(m->c, "subformat");
    m->adapter = image_option(m->c, "adapter_type");
    m->hw = image_option(m->c, "hwversion");
    m->tools = image_option(m->c, "toolsversion");
    m->sub = m->sub ? m->sub : g_strdup("monolithicSparse");
    m->adapter = m->adapter ? m->adapter : g_strdup("ide");
    if (!image_option_bool(m->c, "zeroed_grain", &m->zeroed, err) ||
        !image_option_bool(m->c, "compat6", &compat6, err)) {
        return false;
    }
    if (!g_strv_contains(subs, m->sub)) {
        return fail(err,
                    "subformat=%s is none of monolithicSparse, monolithicFlat, "
                    "twoGbMaxExtentSparse, twoGbMaxExtentFlat, streamOptimized",
                    m->sub);
    }
    if (!g_strv_contains(adapters, m->adapter)) {
        return fail(err, "adapter_type=%s is none of ide, lsilogic, buslogic, legacyESX",
                    m->adapter);
    }
    m->hw = m->hw ? m->hw : g_strdup(compat6 ? "6" : "4");
    m->tools = m->tools ? m->tools : g_strdup("2147483647");
    if (strpbrk(m->hw, "\"\n") || strpbrk(m->tools, "\"\n")) {
        return fail(err, "hwversion and toolsversion are numbers");
    }
    m->flat = g_str_has_suffix(m->sub, "Flat");
    m->split = g_str_has_prefix(m->sub, "twoGb");
    m->packed = !strcmp(m->sub, "streamOptimized");
    if (m->flat && m->zeroed) {
        return fail(err, "zeroed_grain=on is for sparse extents");
    }
    if ((!m->flat && !m->split && m->sectors > MAX_SPARSE) || m->sectors > 1ull << 41) {
        return fail(err, "image '%s': the disk is too large for this kind of vmdk image", m->path);
    }
    return find_parent(m, err);
}

bool vmdk_create(const BlockFile *file, const char *path, const ImageCreate *c, GError **err)
{
    Making m = {
        .c = c, .path = path, .sectors = (c->size + SECTOR - 1) / SECTOR, .parent = VMDK_NO_PARENT};
    bool ok = read_options(&m, err);
    int ret = 0;

    if (ok && !m.flat && !m.split) {
        g_autofree char *base = g_path_get_basename(path);
        g_autofree char *line =
            g_strdup_printf("RW %" G_GUINT64_FORMAT " SPARSE \"%s\"\n", m.sectors, base);
        g_autofree char *text = descriptor(&m, line);
        ret = write_sparse(&m, file, m.sectors, text);
    } else if (ok) {
        g_autofree char *lines = write_extents(&m, err);
        g_autofree char *text = lines ? descriptor(&m, lines) : NULL;
        ok = lines;
        ret = ok ? put(file, 0, text, strlen(text)) : 0;
    }
    g_free(m.sub);
    g_free(m.adapter);
    g_free(m.hw);
    g_free(m.tools);
    return ok && (ret == 0 || fail(err, "image '%s': %s", path, g_strerror(-ret)));
}
