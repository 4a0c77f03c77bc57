/* Device trees with libfdt: see fdt.h. */
#include "hw/firmware/fdt.h"
#include "core/log.h"
#include <libfdt.h>
#include <stdarg.h>
#include <string.h>

#define CAPACITY (1u << 20)

struct Fdt {
    void *blob;
    char *node; /* path properties go to */
    int error;  /* of libfdt, the first one */
    uint32_t phandle;
};

static void note(Fdt *f, int ret)
{
    if (ret < 0 && !f->error) {
        f->error = ret;
    }
}

Fdt *dt_new(void)
{
    Fdt *f = g_new0(Fdt, 1);

    f->blob = g_malloc0(CAPACITY);
    f->node = g_strdup("/");
    f->phandle = 1;
    note(f, fdt_create_empty_tree(f->blob, CAPACITY));
    return f;
}

Fdt *dt_open(const char *path, GError **err)
{
    g_autoptr(GError) why = NULL;
    g_autofree char *data = NULL;
    gsize len;
    Fdt *f;

    if (!g_file_get_contents(path, &data, &len, &why)) {
        fail(err, "device tree: %s", why->message);
        return NULL;
    }
    if (len < sizeof(struct fdt_header) || len > CAPACITY / 2 || fdt_check_full(data, len)) {
        fail(err, "device tree '%s' is damaged, or no device tree blob", path);
        return NULL;
    }
    f = g_new0(Fdt, 1);
    f->blob = g_malloc0(CAPACITY);
    f->node = g_strdup("/");
    note(f, fdt_open_into(data, f->blob, CAPACITY));
    uint32_t max = 0;
    fdt_find_max_phandle(f->blob, &max);
    f->phandle = max + 1;
    return f;
}

void dt_free(Fdt *f)
{
    if (f) {
        g_free(f->blob);
        g_free(f->node);
        g_free(f);
    }
}

void dt_node(Fdt *f, const char *path, ...)
{
    va_list ap;

    va_start(ap, path);
    g_autofree char *full = g_strdup_vprintf(path, ap);
    va_end(ap);
    char *slash = strrchr(full, '/');
    g_autofree char *parent = slash == full ? g_strdup("/") : g_strndup(full, slash - full);
    int at = fdt_path_offset(f->blob, parent);

    note(f, at);
    if (at >= 0) {
        note(f, fdt_add_subnode(f->blob, at, slash + 1));
    }
    dt_at(f, full);
}

bool dt_has_node(Fdt *f, const char *path)
{
    return fdt_path_offset(f->blob, path) >= 0;
}

void dt_at(Fdt *f, const char *path)
{
    g_free(f->node);
    f->node = g_strdup(path);
}

void dt_bytes(Fdt *f, const char *name, const void *data, size_t len)
{
    int at = fdt_path_offset(f->blob, f->node);

    note(f, at);
    if (at >= 0) {
        note(f, fdt_setprop(f->blob, at, name, data, (int)len));
    }
}

void dt_flag(Fdt *f, const char *name)
{
    dt_bytes(f, name, "", 0);
}

void dt_text(Fdt *f, const char *name, const char *text)
{
    dt_bytes(f, name, text, strlen(text) + 1);
}

void dt_texts(Fdt *f, const char *name, const char *first, ...)
{
    g_autoptr(GString) all = g_string_new(NULL);
    va_list ap;

    va_start(ap, first);
    for (const char *t = first; t; t = va_arg(ap, const char *)) {
        g_string_append_len(all, t, strlen(t) + 1);
    }
    va_end(ap);
    dt_bytes(f, name, all->str, all->len);
}

void dt_u64(Fdt *f, const char *name, uint64_t v)
{
    dt_u32s(f, name, (uint32_t)(v >> 32), (uint32_t)v);
}

void dt_cells(Fdt *f, const char *name, const uint32_t *cells, unsigned n)
{
    g_autofree uint32_t *be = g_new(uint32_t, n);

    for (unsigned i = 0; i < n; i++) {
        be[i] = cpu_to_fdt32(cells[i]);
    }
    dt_bytes(f, name, be, n * sizeof(*be));
}

void dt_reg(Fdt *f, uint64_t addr, uint64_t size)
{
    dt_u32s(f, "reg", (uint32_t)(addr >> 32), (uint32_t)addr, (uint32_t)(size >> 32),
            (uint32_t)size);
}

uint32_t dt_new_phandle(Fdt *f)
{
    return f->phandle++;
}

void dt_chosen(Fdt *f, const char *bootargs, uint64_t initrd, uint64_t initrd_end)
{
    if (dt_has_node(f, "/chosen")) {
        dt_at(f, "/chosen");
    } else {
        dt_node(f, "/chosen");
    }
    if (bootargs && *bootargs) {
        dt_text(f, "bootargs", bootargs);
    }
    if (initrd_end > initrd) {
        dt_u64(f, "linux,initrd-start", initrd);
        dt_u64(f, "linux,initrd-end", initrd_end);
    }
}

const void *dt_finish(Fdt *f, size_t *len, GError **err)
{
    if (!f->error) {
        note(f, fdt_pack(f->blob));
    }
    if (f->error) {
        fail(err, "the device tree cannot be made: %s", fdt_strerror(f->error));
        return NULL;
    }
    *len = fdt_totalsize(f->blob);
    return f->blob;
}

bool dt_dump(Fdt *f, const char *path, GError **err)
{
    g_autoptr(GError) why = NULL;
    size_t len;
    const void *blob = dt_finish(f, &len, err);

    if (!blob) {
        return false;
    }
    return g_file_set_contents(path, blob, (gssize)len, &why) ||
           fail(err, "-machine dumpdtb: %s", why->message);
}
