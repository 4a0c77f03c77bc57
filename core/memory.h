/*
 * The guest memory map: a tree of regions, flattened into an immutable view.
 *
 * A MemRegion is RAM, ROM, a block of device registers, an alias of a part of
 * another region, or a container. Children have a priority inside their
 * container; the higher one wins where two overlap. A MemSpace (system memory,
 * I/O ports) has one root region and publishes a FlatView: a sorted array of
 * ranges. Views are immutable and reference counted, so readers on any thread
 * use the view they hold without a lock.
 *
 * Rules
 *  1. The tree is changed only under the machine lock (see core/machine.h).
 *  2. Reads of holes give all-ones; writes to holes vanish.
 *  3. Devices see offsets from their region's start, never absolute addresses,
 *     and only the access sizes their MemOps declare: the map splits the rest.
 *  4. A device never re-enters itself: an access that arrives while a callback
 *     of the same region is running (DMA into its own registers) reads all-ones
 *     and writes nothing, with one guest_error log line.
 */
#ifndef RHEA_CORE_MEMORY_H
#define RHEA_CORE_MEMORY_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEM_PAGE_BITS 12
#define MEM_PAGE_SIZE (1u << MEM_PAGE_BITS)
#define MEM_PAGE_MASK ((uint64_t)MEM_PAGE_SIZE - 1)

typedef struct MemRegion MemRegion;
typedef struct MemSpace MemSpace;
typedef struct FlatView FlatView;

/* Register access callbacks. @off is the offset inside the region, @size is
 * 1, 2, 4 or 8 and within [impl_min, impl_max]; values are host-endian numbers of
 * a little-endian bus (big_endian: of a big-endian device). */
typedef struct MemOps {
    uint64_t (*read)(void *opaque, uint64_t off, unsigned size);
    void (*write)(void *opaque, uint64_t off, uint64_t val, unsigned size);
    uint8_t impl_min;  /* smallest width the callbacks take; 0 means 1 */
    uint8_t impl_max;  /* largest width the callbacks take; 0 means 4 */
    uint8_t valid_min; /* narrower guest accesses: read all-ones, write ignored; 0 = 1 */
    uint8_t valid_max; /* wider guest accesses are refused likewise; 0 = 8 (split) */
    bool big_endian;
    bool lockless;  /* callbacks may run without the machine lock */
    bool unaligned; /* callbacks take accesses at any offset whole; else they are split into
                     * naturally aligned ones */
} MemOps;

typedef enum {
    MEM_CONTAINER,
    MEM_RAM,
    MEM_ROM, /* guest writes are ignored, or go to @ops */
    MEM_IO,
    MEM_ALIAS,
} MemKind;

/* Who wants to know that a RAM page was written. One byte a page holds a bit for
 * each client; a set bit means dirty. */
enum {
    MEM_DIRTY_DISPLAY = 1,
    MEM_DIRTY_CODE = 2, /* clear: the page holds translated code (jit) */
    MEM_DIRTY_MIGRATION = 4,
    MEM_DIRTY_ALL = 7,
};

struct MemRegion {
    const char *name; /* owned */
    MemKind kind;
    bool enabled;
    bool readonly; /* RAM or alias that the guest sees as ROM (PAM registers) */
    bool busy;     /* rule 4; under the machine lock */
    int priority;
    uint64_t addr; /* in the parent */
    uint64_t size;
    MemRegion *parent;
    GList *children; /* highest priority first; later addition first among equals */
    /* MEM_IO; MEM_ROM that takes writes */
    const MemOps *ops;
    void *opaque;
    /* MEM_RAM, MEM_ROM */
    uint8_t *host;      /* size bytes, page aligned */
    int fd;             /* memfd, or -1 */
    uint8_t *dirty;     /* one byte a page, see MEM_DIRTY_*; atomic access */
    uint64_t ram_index; /* unique, page-aligned offset of this block among all RAM */
    GSList *spaces;     /* spaces whose root this is */
    /* MEM_ALIAS */
    MemRegion *target;
    uint64_t target_off;
};

/* One contiguous piece of a flat view. @region is never a container or an alias. */
typedef struct FlatRange {
    uint64_t addr, size;
    MemRegion *region;
    uint64_t off; /* in @region, of @addr */
    bool readonly;
} FlatRange;

struct FlatView {
    int refs; /* atomic */
    unsigned n;
    FlatRange ranges[]; /* sorted, disjoint */
};

/* Told, under the machine lock, after a space published a new view. */
typedef struct MemListener {
    void (*changed)(void *opaque, MemSpace *space, const FlatView *old, const FlatView *now);
    void *opaque;
} MemListener;

/* Initialise a region. They only fill @r in; the caller owns the storage, which must
 * stay until mem_region_destroy(). Sizes are in bytes; RAM and ROM sizes are rounded
 * up to a page. */
void mem_region_init_container(MemRegion *r, const char *name, uint64_t size);
void mem_region_init_io(MemRegion *r, const char *name, const MemOps *ops, void *opaque,
                        uint64_t size);
void mem_region_init_alias(MemRegion *r, const char *name, MemRegion *target, uint64_t off,
                           uint64_t size);
/* memfd-backed, zeroed, MAP_NORESERVE. Fails when the host has no address space. */
bool mem_region_init_ram(MemRegion *r, const char *name, uint64_t size, GError **err);
bool mem_region_init_rom(MemRegion *r, const char *name, uint64_t size, GError **err);
/* ROM whose guest writes go to ops->write (flash memory, read as memory and programmed by
 * commands). ops->read is not used. */
bool mem_region_init_rom_device(MemRegion *r, const char *name, const MemOps *ops, void *opaque,
                                uint64_t size, GError **err);
/* The RAM and ROM blocks that there are, in the order of their making; @fn false: enough, which is
 * the result. Machine lock. */
bool mem_ram_foreach(bool (*fn)(MemRegion *r, void *opaque), void *opaque);
/* Takes @r out of its parent and frees what it holds (not @r). No vCPU may run with a view
 * that shows @r: stop the machine or wait for the accelerator to have taken the new view. */
void mem_region_destroy(MemRegion *r);

/* Tree changes; machine lock. Each publishes new views unless inside a transaction. */
void mem_region_add(MemRegion *parent, MemRegion *child, uint64_t addr, int priority);
void mem_region_del(MemRegion *child);
void mem_region_set_enabled(MemRegion *r, bool enabled);
void mem_region_set_addr(MemRegion *r, uint64_t addr);
void mem_region_set_readonly(MemRegion *r, bool readonly);
void mem_region_set_alias(MemRegion *r, MemRegion *target, uint64_t off);
void mem_transaction_begin(void);
void mem_transaction_commit(void);

MemSpace *mem_space_new(const char *name, MemRegion *root);
void mem_space_free(MemSpace *space);
const char *mem_space_name(const MemSpace *space);
void mem_space_add_listener(MemSpace *space, const MemListener *listener);
void mem_space_del_listener(MemSpace *space, const MemListener *listener);
/* For `info mtree`: the tree and the flat view as text; caller frees. */
char *mem_space_dump(MemSpace *space, bool flat);

/* A view stays valid until it is released. Any thread. */
FlatView *mem_view_get(MemSpace *space);
void mem_view_put(FlatView *view);
/* The range that holds @addr, or NULL for a hole. */
const FlatRange *mem_view_find(const FlatView *view, uint64_t addr);

/* One access of 1, 2, 4 or 8 bytes, little endian, as a CPU makes it (unaligned ones and
 * those that cross ranges are split). @in_lock: the caller holds the machine lock;
 * otherwise the function takes it where the region needs it. */
uint64_t mem_view_load(const FlatView *view, uint64_t addr, unsigned size, bool in_lock);
void mem_view_store(const FlatView *view, uint64_t addr, uint64_t val, unsigned size, bool in_lock);
/* One access to a device range found by mem_view_find(). */
uint64_t mem_range_load(const FlatRange *range, uint64_t addr, unsigned size, bool in_lock);
void mem_range_store(const FlatRange *range, uint64_t addr, uint64_t val, unsigned size,
                     bool in_lock);

/* The same for devices (DMA) and the monitor: machine lock held. Buffers of any length;
 * false when any byte was a hole (which read as all-ones, and swallowed the write). */
bool mem_read(MemSpace *space, uint64_t addr, void *buf, uint64_t len);
bool mem_write(MemSpace *space, uint64_t addr, const void *buf, uint64_t len);
uint64_t mem_load(MemSpace *space, uint64_t addr, unsigned size);
void mem_store(MemSpace *space, uint64_t addr, uint64_t val, unsigned size);
/* Writes RAM and ROM alike (loading firmware). */
bool mem_write_rom(MemSpace *space, uint64_t addr, const void *buf, uint64_t len);
/* Host pointer to @*len bytes of RAM at @addr (@*len is cut to what is contiguous), or NULL
 * when that is no RAM. Call mem_set_dirty() after writing through it. */
void *mem_host_ptr(MemSpace *space, uint64_t addr, uint64_t *len, bool write);

/* Mark @len bytes of RAM at @off of @r as written. Any thread. If the page holds translated
 * code (MEM_DIRTY_CODE clear) the code hook is called first. */
void mem_set_dirty(MemRegion *r, uint64_t off, uint64_t len);
/* Test and clear @client's bits over a range; true if any was set. Tells the write-fast-path
 * owner (accelerator) through the clean hook so that later writes are seen again. */
bool mem_test_clear_dirty(MemRegion *r, uint64_t off, uint64_t len, unsigned client);

/* The accelerator's interest in RAM; set once at start. */
typedef struct MemAccelHooks {
    /* A write by a device or another path hits pages that hold translated code. Sets
     * MEM_DIRTY_CODE in r->dirty[] itself once the page's code is gone (core does not). */
    void (*code_written)(void *opaque, MemRegion *r, uint64_t off, uint64_t len);
    /* Dirty bits of these pages were cleared: drop write fast paths to them. */
    void (*made_clean)(void *opaque, MemRegion *r, uint64_t off, uint64_t len);
    /* Somebody is about to look at the dirty bits of these pages: set those of pages that the guest
     * wrote unseen (KVM's log). @client as in mem_test_clear_dirty(). May be NULL. Machine lock. */
    void (*sync_dirty)(void *opaque, MemRegion *r, uint64_t off, uint64_t len, unsigned client);
    void *opaque;
} MemAccelHooks;
void mem_set_accel_hooks(const MemAccelHooks *hooks);

#endif
