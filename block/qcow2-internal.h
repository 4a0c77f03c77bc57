/*
 * The parts of qcow2 among each other.
 *
 * Order of writes. Tables change in memory and reach the file in qcow2_sync() only:
 *   1. refcount blocks, then (after a flush) refcount table entries that point at new blocks;
 *      L2 tables that the L1 table in the file does not point at yet; flush, which makes guest
 *      data safe as well;
 *   2. other L2 tables and L1 entries; flush;
 *   3. only now refcounts of clusters that nobody uses any more go down.
 * So whatever the tables in the file point at is there and counted, and a cut leaves leaks at
 * worst. Refcount blocks may be written at any other time, too.
 */
#ifndef RHEA_BLOCK_QCOW2_INTERNAL_H
#define RHEA_BLOCK_QCOW2_INTERNAL_H

#include "block/qcow2.h"

#define ENTRY_COPIED (1ull << 63)
#define ENTRY_COMPRESSED (1ull << 62)
#define ENTRY_ZERO 1ull
#define ENTRY_OFFSET 0x00fffffffffffe00ull
#define L1_RESERVED 0x7f000000000001ffull
#define L2_RESERVED 0x3f000000000001feull

#define INCOMPAT_DIRTY 1ull
#define INCOMPAT_CORRUPT 2ull
#define INCOMPAT_COMPRESSION 8ull
#define COMPAT_LAZY 1ull

#define MAX_L1_BYTES (32u << 20)
#define MAX_REFTABLE_BYTES (8u << 20)
#define MAX_SNAPSHOTS 65536u
#define MAX_SNAPSHOT_TABLE (64u << 20)
#define MAX_FILE_CLUSTERS (1ull << 32) /* of images that are written to */

typedef struct MetaTable {
    uint64_t offset;
    uint8_t *data;
    uint32_t lo, hi; /* bytes that differ from the file */
    bool fresh;      /* nothing in the file points here yet */
    uint64_t used;
} MetaTable;

typedef struct MetaCache {
    MetaTable *t;
    unsigned n, n_used;
    GHashTable *map; /* offset → MetaTable */
    uint64_t clock;
} MetaCache;

typedef struct Freed {
    uint64_t first, n; /* clusters */
} Freed;

typedef struct Writer {
    uint64_t first, last; /* guest clusters that get new host clusters */
} Writer;

typedef struct Qcow2 {
    BlockFile file, backing;
    bool has_backing, writable, has_bitmaps;
    char *path, *backing_name, *backing_format;
    unsigned version, cluster_bits, l2_bits, refcount_order, rb_bits;
    uint64_t cluster_size, size;
    uint64_t incompatible, compatible;
    uint32_t header_length;
    bool zstd;

    GMutex lock; /* all below */
    GCond cond;  /* a Writer went */
    uint64_t l1_offset, *l1;
    uint32_t l1_size, l1_lo, l1_hi; /* entries; dirty range */
    uint64_t reftable_offset, *reftable;
    uint32_t reftable_clusters, reftable_len, ref_lo, ref_hi;
    MetaCache l2, rb;
    uint8_t *meta;       /* bitmap of host clusters that hold tables; only when writable */
    uint64_t meta_len;   /* clusters it covers */
    uint64_t n_clusters; /* of the file: never used from here on */
    uint64_t hint;       /* no free cluster below */
    uint64_t packed;     /* where the next compressed cluster can go; 0 = nowhere */
    int error;           /* sticky: no more writes */
    GArray *pending;     /* of Freed: not yet unused in the file */
    GArray *quarantine;  /* of Freed: unused, but requests may be under way to them */
    unsigned epoch, quarantine_epoch, active[2];
    GSList *writers;
    Qcow2Snapshot *snapshots;
    unsigned n_snapshots;
    uint64_t snapshots_offset, snapshots_len;
} Qcow2;

static inline uint64_t be64(const void *p)
{
    uint64_t v;
    __builtin_memcpy(&v, p, 8);
    return GUINT64_FROM_BE(v);
}

static inline uint32_t be32(const void *p)
{
    uint32_t v;
    __builtin_memcpy(&v, p, 4);
    return GUINT32_FROM_BE(v);
}

static inline uint16_t be16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] << 8 | b[1]);
}

static inline void put64(void *p, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    __builtin_memcpy(p, &v, 8);
}

static inline void put32(void *p, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    __builtin_memcpy(p, &v, 4);
}

static inline void put16(void *p, uint16_t v)
{
    ((uint8_t *)p)[0] = (uint8_t)(v >> 8);
    ((uint8_t *)p)[1] = (uint8_t)v;
}

static inline uint64_t clusters_of(const Qcow2 *s, uint64_t bytes)
{
    return (bytes >> s->cluster_bits) + !!(bytes & (s->cluster_size - 1));
}

static inline uint64_t refcount_max(const Qcow2 *s)
{
    return s->refcount_order == 6 ? UINT64_MAX : (1ull << (1u << s->refcount_order)) - 1;
}

/* Where and how long a compressed cluster is. */
static inline void packed_place(const Qcow2 *s, uint64_t entry, uint64_t *off, uint64_t *len)
{
    unsigned x = 62 - (s->cluster_bits - 8);
    *off = entry & ((1ull << x) - 1);
    *len = (((entry & ~(ENTRY_COPIED | ENTRY_COMPRESSED)) >> x) + 1) * 512 - (*off & 511);
}

/* The lock is held for all that follows but where said. */

/* qcow2-table.c */
int qcow2_pread(Qcow2 *s, uint64_t off, void *buf, size_t len); /* of the file; any time */
int qcow2_pwrite(Qcow2 *s, uint64_t off, const void *buf, size_t len);
int qcow2_flush_file(Qcow2 *s);
void qcow2_cache_init(MetaCache *c, unsigned n);
void qcow2_cache_clear(MetaCache *c);
int qcow2_table(Qcow2 *s, MetaCache *c, uint64_t offset, bool read, MetaTable **out);
void qcow2_table_drop(MetaCache *c, uint64_t offset);
void qcow2_mark(MetaTable *t, uint32_t off, uint32_t len);
int qcow2_sync(Qcow2 *s);
/* All tables out and counts of freed clusters down; no request in flight. */
int qcow2_settle(Qcow2 *s);
int qcow2_corrupt(Qcow2 *s, const char *what); /* -EIO; says it once, ends writing */
bool qcow2_meta(const Qcow2 *s, uint64_t cluster);
bool qcow2_set_meta(Qcow2 *s, uint64_t cluster, bool on);
/* Requests that use clusters they looked up. */
unsigned qcow2_enter(Qcow2 *s);
void qcow2_leave(Qcow2 *s, unsigned epoch);
int qcow2_set_incompatible(Qcow2 *s, uint64_t bits);

/* qcow2-refcount.c */
int qcow2_refcount(Qcow2 *s, uint64_t cluster, uint64_t *count);
int qcow2_refcount_set(Qcow2 *s, uint64_t cluster, uint64_t count);
int qcow2_refcount_add(Qcow2 *s, uint64_t cluster, int64_t delta);
/* Up to @max clusters in a row. */
int qcow2_alloc(Qcow2 *s, uint64_t max, uint64_t *first, uint64_t *n);
/* A new refcount block, for entry @i of the table, in @cluster. */
int qcow2_new_block(Qcow2 *s, uint64_t i, uint64_t cluster, MetaTable **out);
/* Exactly @n in a row. */
int qcow2_alloc_row(Qcow2 *s, uint64_t n, uint64_t *first);
/* One reference less once the tables in the file do not have it any more. */
int qcow2_free_later(Qcow2 *s, uint64_t first, uint64_t n);
int qcow2_free_entry(Qcow2 *s, uint64_t entry);
uint64_t refcount_get_in(unsigned order, const uint8_t *block, uint64_t i);
void refcount_set_in(unsigned order, uint8_t *block, uint64_t i, uint64_t v);

/* qcow2-cluster.c */
extern const BlockDriver qcow2_driver;
/* L2 table for guest cluster @c: NULL in @out when there is none (@make: there is one, and it is
 * this image's alone). */
int qcow2_l2(Qcow2 *s, uint64_t c, bool make, MetaTable **out);
int qcow2_check_offset(Qcow2 *s, uint64_t off);
int qcow2_prealloc(Qcow2 *s);

/* qcow2.c */
void qcow2_close(void *file);
bool qcow2_set_writable(void *file, bool on, GError **err);
const char *qcow2_path(void *file);
BlockFile *qcow2_backing(void *file);
void qcow2_attach_backing(void *file, const BlockFile *backing);
/* Finds out again which clusters hold tables; false when two overlap (not in repair). */
bool qcow2_find_meta(Qcow2 *s, bool repair, GError **err);

/* qcow2-snapshot.c */
extern const BlockSnapshotOps qcow2_snapshot_ops;
bool qcow2_snapshots_read(Qcow2 *s, uint32_t n, GError **err);
void qcow2_snapshots_free(Qcow2 *s);
/* Sets the copied flags of the active tables by the refcounts, or clears them all. */
int qcow2_fix_copied(Qcow2 *s, bool clear);

/* qcow2.c */
/* Active L1 table for a disk of @size bytes; in the file when it returns. */
int qcow2_l1_grow(Qcow2 *s, uint64_t size);
/* A new active L1 table and disk size; the old table's clusters are free then. */
int qcow2_l1_replace(Qcow2 *s, const uint64_t *l1, uint32_t n, uint64_t size);

#endif
