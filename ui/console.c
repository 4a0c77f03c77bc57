/* Consoles; see console.h. */
#include "ui/console.h"
#include "core/log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct ConsoleList ConsoleList;
struct ConsoleList {
    GPtrArray *list;
};

typedef struct Listener {
    const ConsoleListener *l;
    void *opaque;
} Listener;

struct Console {
    Machine *m;
    char *name;
    const ConsoleOps *ops;
    void *opaque;
    pixman_image_t *surface;
    GArray *listeners;
};

Console *console_new(Machine *m, const char *name, const ConsoleOps *ops, void *opaque)
{
    Console *c = g_new0(Console, 1);

    *c = (Console){.m = m, .name = g_strdup(name), .ops = ops, .opaque = opaque};
    c->listeners = g_array_new(FALSE, FALSE, sizeof(Listener));
    console_resize(c, 640, 480);
    if (m) {
        if (!m->consoles) {
            m->consoles = g_new0(ConsoleList, 1);
            m->consoles->list = g_ptr_array_new();
        }
        g_ptr_array_add(m->consoles->list, c);
    }
    return c;
}

void console_free(Console *c)
{
    if (!c) {
        return;
    }
    Machine *m = c->m;
    if (m) {
        g_ptr_array_remove(m->consoles->list, c);
        if (!m->consoles->list->len) {
            g_ptr_array_unref(m->consoles->list);
            g_free(m->consoles);
            m->consoles = NULL;
        }
    }
    pixman_image_unref(c->surface);
    g_array_unref(c->listeners);
    g_free(c->name);
    g_free(c);
}

bool console_resize(Console *c, int w, int h)
{
    if (w < 1 || h < 1 || w > CONSOLE_MAX_SIZE || h > CONSOLE_MAX_SIZE) {
        return false;
    }
    if (c->surface && console_width(c) == w && console_height(c) == h) {
        return true;
    }
    pixman_image_t *s = pixman_image_create_bits(PIXMAN_x8r8g8b8, w, h, NULL, 0);
    if (!s) {
        return false;
    }
    if (c->surface) {
        pixman_image_unref(c->surface);
    }
    c->surface = s;
    for (guint i = 0; i < c->listeners->len; i++) {
        Listener *l = &g_array_index(c->listeners, Listener, i);
        if (l->l->resized) {
            l->l->resized(l->opaque, c);
        }
    }
    return true;
}

void console_dirty(Console *c, int x, int y, int w, int h)
{
    int x1 = MIN(x + w, console_width(c)), y1 = MIN(y + h, console_height(c));

    x = MAX(x, 0);
    y = MAX(y, 0);
    if (x >= x1 || y >= y1) {
        return;
    }
    for (guint i = 0; i < c->listeners->len; i++) {
        Listener *l = &g_array_index(c->listeners, Listener, i);
        if (l->l->dirty) {
            l->l->dirty(l->opaque, c, x, y, x1 - x, y1 - y);
        }
    }
}

uint32_t *console_pixels(Console *c, int *stride)
{
    *stride = pixman_image_get_stride(c->surface) / 4;
    return pixman_image_get_data(c->surface);
}

Console *console_get(Machine *m, unsigned i)
{
    return m->consoles && i < m->consoles->list->len ? m->consoles->list->pdata[i] : NULL;
}

const char *console_name(const Console *c)
{
    return c->name;
}

pixman_image_t *console_surface(Console *c)
{
    return c->surface;
}

int console_width(const Console *c)
{
    return pixman_image_get_width(c->surface);
}

int console_height(const Console *c)
{
    return pixman_image_get_height(c->surface);
}

void console_update(Console *c, bool full)
{
    if (c->ops->update) {
        c->ops->update(c->opaque, full);
    }
}

void console_add_listener(Console *c, const ConsoleListener *l, void *opaque)
{
    Listener e = {l, opaque};

    g_array_append_val(c->listeners, e);
}

void console_del_listener(Console *c, const ConsoleListener *l, void *opaque)
{
    for (guint i = 0; i < c->listeners->len; i++) {
        Listener *e = &g_array_index(c->listeners, Listener, i);
        if (e->l == l && e->opaque == opaque) {
            g_array_remove_index(c->listeners, i);
            return;
        }
    }
}

bool console_screendump(Console *c, const char *path, GError **err)
{
    int stride;

    console_update(c, true);
    const uint32_t *p = console_pixels(c, &stride);
    int w = console_width(c), h = console_height(c);
    FILE *f = fopen(path, "wbe");
    if (!f) {
        return fail(err, "cannot write '%s': %s", path, g_strerror(errno));
    }
    g_autofree uint8_t *row = g_malloc(w * 3);
    fprintf(f, "P6\n%d %d\n255\n", w, h);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            uint32_t v = p[y * stride + x];
            row[x * 3] = v >> 16;
            row[x * 3 + 1] = v >> 8;
            row[x * 3 + 2] = v;
        }
        fwrite(row, 3, w, f);
    }
    bool bad = ferror(f);
    if (fclose(f) || bad) {
        return fail(err, "cannot write '%s': %s", path, g_strerror(errno));
    }
    return true;
}
