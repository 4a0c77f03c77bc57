/*
 * The memory map: the region tree, its flattening into views, dirty bytes. Accesses are in
 * memory-access.c.
 *
 * Flattening walks the tree from the highest priority to the lowest and gives each region what
 * no earlier one took, so every address is decided once. Addresses are computed in 128 bits:
 * an alias can put the origin of its target below zero, and a region may end at 2^64.
 */
#include "core/memory.h"
#include "core/log.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Aliases that lead back to themselves are a board's bug; they end here. */
#define MAX_DEPTH 32

typedef __int128 Addr;

struct MemSpace {
    char *name;
    MemRegion *root;
    FlatView *view; /* under lock, or the machine lock */
    GMutex lock;    /* between a reader's ref and the publisher's unref */
    GPtrArray *listeners;
};

/* Machine lock. */
static struct {
    GSList *spaces;
    unsigned depth; /* of transactions */
    bool changed;
    uint64_t next_ram;
    GSList *blocks; /* of MemRegion: RAM and ROM */
    MemAccelHooks hooks;
} mem;

/* ---- flattening ---- */

typedef struct Flat {
    GArray *ranges; /* FlatRange, sorted */
} Flat;

/* Give @r what is still free of [start, end); @base is the address of its offset 0. */
static void flat_fill(Flat *f, MemRegion *r, Addr base, Addr start, Addr end, bool readonly)
{
    unsigned i = 0;

    while (start < end) {
        FlatRange *at = NULL;
        for (; i < f->ranges->len; i++) {
            at = &g_array_index(f->ranges, FlatRange, i);
            if ((Addr)at->addr + at->size > start) {
                break;
            }
            at = NULL;
        }
        bool last = !at || at->addr >= end;
        Addr stop = last ? end : (Addr)at->addr;
        if (stop > start) {
            FlatRange n = {.addr = start,
                           .size = stop - start,
                           .region = r,
                           .off = start - base,
                           .readonly = readonly};
            g_array_insert_val(f->ranges, i, n);
            i++;
        }
        if (last) {
            return;
        }
        at = &g_array_index(f->ranges, FlatRange, i);
        start = (Addr)at->addr + at->size;
    }
}

static void flat_render(Flat *f, MemRegion *r, Addr base, Addr start, Addr end, bool readonly,
                        unsigned depth)
{
    if (!r->enabled || depth > MAX_DEPTH) {
        return;
    }
    start = MAX(start, base);
    end = MIN(end, base + (Addr)r->size);
    if (start >= end) {
        return;
    }
    readonly |= r->readonly || r->kind == MEM_ROM;
    for (GList *l = r->children; l; l = l->next) {
        MemRegion *c = l->data;
        flat_render(f, c, base + (Addr)c->addr, start, end, readonly, depth + 1);
    }
    switch (r->kind) {
    case MEM_CONTAINER:
        break;
    case MEM_ALIAS:
        if (r->target) {
            flat_render(f, r->target, base - (Addr)r->target_off, start, end, readonly, depth + 1);
        }
        break;
    default:
        flat_fill(f, r, base, start, end, readonly);
    }
}

/* Neighbours that continue each other become one. */
static void flat_merge(GArray *a)
{
    unsigned out = 0;

    for (unsigned i = 1; i < a->len; i++) {
        FlatRange *p = &g_array_index(a, FlatRange, out);
        const FlatRange *q = &g_array_index(a, FlatRange, i);
        if (p->addr + p->size == q->addr && p->region == q->region && p->off + p->size == q->off &&
            p->readonly == q->readonly) {
            p->size += q->size;
        } else {
            g_array_index(a, FlatRange, ++out) = *q;
        }
    }
    if (a->len) {
        g_array_set_size(a, out + 1);
    }
}

static FlatView *flatten(MemRegion *root)
{
    Flat f = {.ranges = g_array_new(FALSE, FALSE, sizeof(FlatRange))};

    flat_render(&f, root, 0, 0, (Addr)root->size, false, 0);
    flat_merge(f.ranges);
    size_t bytes = f.ranges->len * sizeof(FlatRange);
    FlatView *v = g_malloc0(sizeof(FlatView) + bytes);
    v->refs = 1;
    v->n = f.ranges->len;
    if (bytes) {
        memcpy(v->ranges, f.ranges->data, bytes);
    }
    g_array_free(f.ranges, TRUE);
    return v;
}

static bool view_equal(const FlatView *a, const FlatView *b)
{
    if (a->n != b->n) {
        return false;
    }
    for (unsigned i = 0; i < a->n; i++) {
        const FlatRange *p = &a->ranges[i], *q = &b->ranges[i];
        if (p->addr != q->addr || p->size != q->size || p->region != q->region ||
            p->off != q->off || p->readonly != q->readonly) {
            return false;
        }
    }
    return true;
}

static void space_update(MemSpace *s)
{
    FlatView *now = flatten(s->root), *old = s->view;

    if (view_equal(old, now)) {
        mem_view_put(now);
        return;
    }
    g_mutex_lock(&s->lock);
    __atomic_store_n(&s->view, now, __ATOMIC_RELEASE);
    g_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->listeners->len; i++) {
        const MemListener *l = s->listeners->pdata[i];
        l->changed(l->opaque, s, old, now);
    }
    mem_view_put(old);
}

/* Every space is flattened anew: aliases may show a change anywhere, and spaces are few. */
static void tree_changed(void)
{
    if (mem.depth) {
        mem.changed = true;
        return;
    }
    for (GSList *l = mem.spaces; l; l = l->next) {
        space_update(l->data);
    }
}

void mem_transaction_begin(void)
{
    mem.depth++;
}

void mem_transaction_commit(void)
{
    g_assert(mem.depth);
    if (!--mem.depth && mem.changed) {
        mem.changed = false;
        tree_changed();
    }
}

/* ---- regions ---- */

static void region_init(MemRegion *r, const char *name, MemKind kind, uint64_t size)
{
    *r = (MemRegion){.name = g_strdup(name), .kind = kind, .enabled = true, .size = size, .fd = -1};
}

void mem_region_init_container(MemRegion *r, const char *name, uint64_t size)
{
    region_init(r, name, MEM_CONTAINER, size);
}

void mem_region_init_io(MemRegion *r, const char *name, const MemOps *ops, void *opaque,
                        uint64_t size)
{
    region_init(r, name, MEM_IO, size);
    r->ops = ops;
    r->opaque = opaque;
}

void mem_region_init_alias(MemRegion *r, const char *name, MemRegion *target, uint64_t off,
                           uint64_t size)
{
    region_init(r, name, MEM_ALIAS, size);
    r->target = target;
    r->target_off = off;
}

static bool init_memory(MemRegion *r, const char *name, MemKind kind, uint64_t size, GError **err)
{
    uint64_t bytes = (size + MEM_PAGE_MASK) & ~MEM_PAGE_MASK;

    region_init(r, name, kind, bytes);
    if (!size || bytes < size || bytes > INT64_MAX) {
        g_free((char *)r->name);
        return fail(err, "%s cannot have a size of %" G_GUINT64_FORMAT " bytes", name, size);
    }
    r->fd = memfd_create(name, MFD_CLOEXEC);
    if (r->fd < 0 || ftruncate(r->fd, bytes) < 0) {
        goto bad;
    }
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, r->fd, 0);
    if (p == MAP_FAILED) {
        goto bad;
    }
    r->host = p;
    /* A byte a page; zero pages cost nothing until used, but "dirty" must be ones. */
    size_t pages = bytes >> MEM_PAGE_BITS;
    r->dirty = g_try_malloc(pages);
    if (!r->dirty) {
        errno = ENOMEM;
        munmap(p, bytes);
        goto bad;
    }
    memset(r->dirty, MEM_DIRTY_ALL, pages);
    r->ram_index = __atomic_fetch_add(&mem.next_ram, bytes, __ATOMIC_RELAXED);
    mem.blocks = g_slist_append(mem.blocks, r);
    return true;
bad:
    fail(err, "The host cannot give %" G_GUINT64_FORMAT " MiB for %s: %s", bytes >> 20, name,
         strerror(errno));
    if (r->fd >= 0) {
        close(r->fd);
    }
    g_free((char *)r->name);
    *r = (MemRegion){.fd = -1};
    return false;
}

bool mem_region_init_ram(MemRegion *r, const char *name, uint64_t size, GError **err)
{
    return init_memory(r, name, MEM_RAM, size, err);
}

bool mem_region_init_rom(MemRegion *r, const char *name, uint64_t size, GError **err)
{
    return init_memory(r, name, MEM_ROM, size, err);
}

bool mem_region_init_rom_device(MemRegion *r, const char *name, const MemOps *ops, void *opaque,
                                uint64_t size, GError **err)
{
    if (!init_memory(r, name, MEM_ROM, size, err)) {
        return false;
    }
    r->ops = ops;
    r->opaque = opaque;
    return true;
}

bool mem_ram_foreach(bool (*fn)(MemRegion *r, void *opaque), void *opaque)
{
    bool ok = true;

    for (GSList *l = mem.blocks; l && ok; l = l->next) {
        ok = fn(l->data, opaque);
    }
    return ok;
}

void mem_region_destroy(MemRegion *r)
{
    if (!r->name) {
        return;
    }
    mem_transaction_begin();
    if (r->parent) {
        mem_region_del(r);
    }
    while (r->children) {
        mem_region_del(r->children->data);
    }
    r->enabled = false;
    mem.changed = true; /* aliases of @r */
    mem_transaction_commit();
    if (r->host) {
        mem.blocks = g_slist_remove(mem.blocks, r);
        munmap(r->host, r->size);
        close(r->fd);
    }
    g_free(r->dirty);
    g_slist_free(r->spaces);
    g_free((char *)r->name);
    *r = (MemRegion){.fd = -1};
}

/* Place in the list: before the first child of the same or a lower priority. */
static void link_child(MemRegion *parent, MemRegion *child)
{
    GList *l = parent->children;

    while (l && ((MemRegion *)l->data)->priority > child->priority) {
        l = l->next;
    }
    parent->children = g_list_insert_before(parent->children, l, child);
    child->parent = parent;
}

void mem_region_add(MemRegion *parent, MemRegion *child, uint64_t addr, int priority)
{
    g_assert(!child->parent && child != parent);
    child->addr = addr;
    child->priority = priority;
    link_child(parent, child);
    tree_changed();
}

void mem_region_del(MemRegion *child)
{
    g_assert(child->parent);
    child->parent->children = g_list_remove(child->parent->children, child);
    child->parent = NULL;
    tree_changed();
}

void mem_region_set_enabled(MemRegion *r, bool enabled)
{
    if (r->enabled != enabled) {
        r->enabled = enabled;
        tree_changed();
    }
}

void mem_region_set_addr(MemRegion *r, uint64_t addr)
{
    if (r->addr != addr) {
        r->addr = addr;
        tree_changed();
    }
}

void mem_region_set_readonly(MemRegion *r, bool readonly)
{
    if (r->readonly != readonly) {
        r->readonly = readonly;
        tree_changed();
    }
}

void mem_region_set_alias(MemRegion *r, MemRegion *target, uint64_t off)
{
    g_assert(r->kind == MEM_ALIAS);
    if (r->target != target || r->target_off != off) {
        r->target = target;
        r->target_off = off;
        tree_changed();
    }
}

/* ---- spaces ---- */

MemSpace *mem_space_new(const char *name, MemRegion *root)
{
    MemSpace *s = g_new0(MemSpace, 1);

    s->name = g_strdup(name);
    s->root = root;
    s->listeners = g_ptr_array_new();
    g_mutex_init(&s->lock);
    s->view = flatten(root);
    root->spaces = g_slist_prepend(root->spaces, s);
    mem.spaces = g_slist_append(mem.spaces, s);
    return s;
}

void mem_space_free(MemSpace *s)
{
    if (!s) {
        return;
    }
    mem.spaces = g_slist_remove(mem.spaces, s);
    s->root->spaces = g_slist_remove(s->root->spaces, s);
    mem_view_put(s->view);
    g_ptr_array_free(s->listeners, TRUE);
    g_mutex_clear(&s->lock);
    g_free(s->name);
    g_free(s);
}

const char *mem_space_name(const MemSpace *space)
{
    return space->name;
}

void mem_space_add_listener(MemSpace *space, const MemListener *listener)
{
    g_ptr_array_add(space->listeners, (void *)listener);
}

void mem_space_del_listener(MemSpace *space, const MemListener *listener)
{
    g_ptr_array_remove(space->listeners, (void *)listener);
}

FlatView *mem_view_get(MemSpace *s)
{
    g_mutex_lock(&s->lock);
    FlatView *v = s->view;
    __atomic_add_fetch(&v->refs, 1, __ATOMIC_RELAXED);
    g_mutex_unlock(&s->lock);
    return v;
}

void mem_view_put(FlatView *v)
{
    if (v && !__atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL)) {
        g_free(v);
    }
}

/* ---- dump ---- */

static const char *kind_name(const MemRegion *r, bool readonly)
{
    switch (r->kind) {
    case MEM_CONTAINER:
        return "container";
    case MEM_RAM:
        return readonly ? "rom" : "ram";
    case MEM_ROM:
        return "rom";
    case MEM_IO:
        return "i/o";
    default:
        return "alias";
    }
}

static void dump_tree(GString *out, const MemRegion *r, uint64_t base, unsigned depth)
{
    uint64_t addr = base + r->addr;

    g_string_append_printf(out, "%*s%016" PRIx64 "-%016" PRIx64 " (prio %d, %s): ", (int)depth * 2,
                           "", addr, addr + (r->size ? r->size - 1 : 0), r->priority,
                           kind_name(r, r->readonly));
    if (r->kind == MEM_ALIAS && r->target) {
        g_string_append_printf(out, "alias %s @%s %016" PRIx64 "-%016" PRIx64, r->name,
                               r->target->name, r->target_off, r->target_off + r->size - 1);
    } else {
        g_string_append(out, r->name);
    }
    g_string_append(out, r->enabled ? "\n" : " [disabled]\n");
    if (depth > MAX_DEPTH) {
        return;
    }
    for (GList *l = r->children; l; l = l->next) {
        dump_tree(out, l->data, addr, depth + 1);
    }
}

char *mem_space_dump(MemSpace *s, bool flat)
{
    GString *out = g_string_new(NULL);

    g_string_append_printf(out, "%s: %s\n", flat ? "flat view" : "address-space", s->name);
    if (!flat) {
        dump_tree(out, s->root, 0, 1);
        return g_string_free(out, FALSE);
    }
    for (unsigned i = 0; i < s->view->n; i++) {
        const FlatRange *r = &s->view->ranges[i];
        g_string_append_printf(out, "  %016" PRIx64 "-%016" PRIx64 " (prio %d, %s): %s", r->addr,
                               r->addr + r->size - 1, r->region->priority,
                               kind_name(r->region, r->readonly), r->region->name);
        g_string_append_printf(out, r->off ? " @%016" PRIx64 "\n" : "\n", r->off);
    }
    return g_string_free(out, FALSE);
}

/* ---- dirty bytes ---- */

void mem_set_accel_hooks(const MemAccelHooks *hooks)
{
    mem.hooks = hooks ? *hooks : (MemAccelHooks){0};
}

void mem_set_dirty(MemRegion *r, uint64_t off, uint64_t len)
{
    if (!len || off >= r->size) {
        return;
    }
    uint64_t last = len > r->size - off ? r->size - 1 : off + len - 1;
    uint64_t first_page = off >> MEM_PAGE_BITS, last_page = last >> MEM_PAGE_BITS;

    for (uint64_t p = first_page; p <= last_page; p++) {
        uint8_t have = __atomic_load_n(&r->dirty[p], __ATOMIC_RELAXED);
        if (have == MEM_DIRTY_ALL) {
            continue;
        }
        if (!(have & MEM_DIRTY_CODE) && mem.hooks.code_written) {
            uint64_t from = MAX(off, p << MEM_PAGE_BITS);
            uint64_t to = MIN(last, (p << MEM_PAGE_BITS) + MEM_PAGE_MASK);
            mem.hooks.code_written(mem.hooks.opaque, r, from, to - from + 1);
        }
        __atomic_or_fetch(&r->dirty[p], MEM_DIRTY_ALL & ~MEM_DIRTY_CODE, __ATOMIC_RELAXED);
    }
}

bool mem_test_clear_dirty(MemRegion *r, uint64_t off, uint64_t len, unsigned client)
{
    if (!len || off >= r->size) {
        return false;
    }
    uint64_t last = len > r->size - off ? r->size - 1 : off + len - 1;
    uint64_t last_page = last >> MEM_PAGE_BITS;
    uint64_t run = UINT64_MAX; /* first page of the present run of cleaned pages */
    bool any = false;

    if (mem.hooks.sync_dirty) {
        mem.hooks.sync_dirty(mem.hooks.opaque, r, off, last - off + 1, client);
    }
    for (uint64_t p = off >> MEM_PAGE_BITS; p <= last_page + 1; p++) {
        bool was = p <= last_page && (__atomic_load_n(&r->dirty[p], __ATOMIC_RELAXED) & client) &&
                   (__atomic_fetch_and(&r->dirty[p], ~client, __ATOMIC_SEQ_CST) & client);
        if (was && run == UINT64_MAX) {
            run = p;
        } else if (!was && run != UINT64_MAX) {
            if (mem.hooks.made_clean) {
                mem.hooks.made_clean(mem.hooks.opaque, r, run << MEM_PAGE_BITS,
                                     (p - run) << MEM_PAGE_BITS);
            }
            run = UINT64_MAX;
        }
        any |= was;
    }
    return any;
}
