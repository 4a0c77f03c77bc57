/* A bounded write-back cache of tables; see pages.h. */
#include "block/pages.h"
#include <string.h>

#define PAGE 4096u
#define SECTOR 512u
#define MAX_PAGES 2048u /* 8 MiB */

typedef struct Page {
    uint64_t number;
    uint8_t dirty[PAGES_LEVELS]; /* a bit for each sector */
    uint8_t data[PAGE];
} Page;

void pages_init(Pages *p, const BlockFile *file)
{
    *p = (Pages){.file = file};
    p->map = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
}

void pages_free(Pages *p)
{
    if (p->map) {
        g_hash_table_destroy(p->map);
    }
    p->map = NULL;
}

static gboolean is_clean(gpointer key, gpointer value, gpointer opaque)
{
    const Page *pg = value;
    return !pg->dirty[PAGES_LEAF] && !pg->dirty[PAGES_ROOT];
}

/* Dropping all at once is crude, but neither a list nor a clock is needed for it, and a table is
 * read again at the price of one request per page. */
static int make_room(Pages *p)
{
    int ret = 0;

    if (g_hash_table_size(p->map) >= MAX_PAGES) {
        g_hash_table_foreach_remove(p->map, is_clean, NULL);
    }
    if (g_hash_table_size(p->map) >= MAX_PAGES / 2) {
        ret = pages_sync(p);
    }
    if (ret == 0 && g_hash_table_size(p->map) >= MAX_PAGES / 2) {
        g_hash_table_foreach_remove(p->map, is_clean, NULL);
    }
    return ret;
}

void pages_forget(Pages *p, uint64_t off, uint64_t len)
{
    GHashTableIter it;
    void *value;

    g_hash_table_iter_init(&it, p->map);
    while (g_hash_table_iter_next(&it, NULL, &value)) {
        Page *pg = value;
        uint64_t start = pg->number * PAGE;
        if (start >= off + len || start + PAGE <= off) {
            continue;
        }
        if (is_clean(NULL, pg, NULL)) {
            g_hash_table_iter_remove(&it);
        } else {
            uint64_t from = MAX(off, start), to = MIN(off + len, start + PAGE);
            memset(pg->data + (from - start), 0, to - from);
        }
    }
}

static int find(Pages *p, uint64_t number, Page **out)
{
    *out = g_hash_table_lookup(p->map, &number);
    if (*out) {
        return 0;
    }
    int ret = g_hash_table_size(p->map) >= MAX_PAGES ? make_room(p) : 0;
    if (ret) {
        return ret;
    }
    Page *pg = g_new0(Page, 1);
    struct iovec iov = {pg->data, PAGE};
    ret = p->file->driver->read(p->file->file, number * PAGE, &iov, 1);
    if (ret) {
        g_free(pg);
        return ret;
    }
    pg->number = number;
    g_hash_table_insert(p->map, &pg->number, pg);
    *out = pg;
    return 0;
}

int pages_read(Pages *p, uint64_t off, void *buf, size_t len)
{
    uint8_t *to = buf;

    while (len) {
        size_t in = off % PAGE, n = MIN(len, PAGE - in);
        Page *pg;
        int ret = find(p, off / PAGE, &pg);
        if (ret) {
            return ret;
        }
        memcpy(to, pg->data + in, n);
        to += n;
        off += n;
        len -= n;
    }
    return 0;
}

int pages_write(Pages *p, uint64_t off, const void *buf, size_t len, PagesLevel level)
{
    const uint8_t *from = buf;

    while (len) {
        size_t in = off % PAGE, n = MIN(len, PAGE - in);
        Page *pg;
        int ret = find(p, off / PAGE, &pg);
        if (ret) {
            return ret;
        }
        memcpy(pg->data + in, from, n);
        p->dirty[level] += !pg->dirty[level];
        for (size_t s = in / SECTOR; s <= (in + n - 1) / SECTOR; s++) {
            pg->dirty[level] |= (uint8_t)(1u << s);
        }
        from += n;
        off += n;
        len -= n;
    }
    return 0;
}

static int write_page(Pages *p, Page *pg, PagesLevel level)
{
    for (unsigned s = 0; s < PAGE / SECTOR;) {
        unsigned n = 0;
        while (s + n < PAGE / SECTOR && pg->dirty[level] & (1u << (s + n))) {
            n++;
        }
        if (n) {
            struct iovec iov = {pg->data + s * SECTOR, n * SECTOR};
            int ret =
                p->file->driver->write(p->file->file, pg->number * PAGE + s * SECTOR, &iov, 1);
            if (ret) {
                return ret;
            }
        }
        s += n + 1;
    }
    pg->dirty[level] = 0;
    p->dirty[level]--;
    return 0;
}

static int write_level(Pages *p, PagesLevel level)
{
    GHashTableIter it;
    void *value;

    g_hash_table_iter_init(&it, p->map);
    while (p->dirty[level] && g_hash_table_iter_next(&it, NULL, &value)) {
        Page *pg = value;
        int ret = pg->dirty[level] ? write_page(p, pg, level) : 0;
        if (ret) {
            return ret;
        }
    }
    return 0;
}

static int flush(Pages *p)
{
    return p->file->driver->flush(p->file->file);
}

int pages_sync(Pages *p)
{
    int ret = flush(p);

    if (ret == 0 && p->dirty[PAGES_LEAF]) {
        ret = write_level(p, PAGES_LEAF);
        ret = ret == 0 && p->settle ? p->settle(p->opaque) : ret;
        ret = ret ? ret : flush(p);
    }
    if (ret == 0 && p->dirty[PAGES_ROOT]) {
        ret = write_level(p, PAGES_ROOT);
        ret = ret ? ret : flush(p);
    }
    return ret;
}
