/*
 * qcow2 images, versions 2 and 3. An image is opened with image_open() and used through its
 * BlockDriver; what only tools need is here. But for reading and writing, the functions want the
 * image for themselves: no request may be in flight.
 */
#ifndef RHEA_BLOCK_QCOW2_H
#define RHEA_BLOCK_QCOW2_H

#include "block/driver.h"

typedef struct Qcow2Create {
    uint64_t size; /* rounded up to 512 */
    unsigned version;
    unsigned cluster_bits;   /* 9 to 21 */
    unsigned refcount_order; /* 0 to 6 */
    bool lazy_refcounts;
    bool zstd;
    bool prealloc_metadata;
    const char *backing, *backing_format;
} Qcow2Create;

typedef struct Qcow2Snapshot {
    uint64_t l1_offset;
    uint32_t l1_size;
    char *id, *name;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock, vm_size, disk_size; /* ns, bytes, bytes */
    uint8_t *extra;                        /* as it is in the table */
    uint32_t extra_len;
} Qcow2Snapshot;

typedef struct Qcow2Info {
    unsigned version, refcount_bits;
    uint64_t cluster_size, virtual_size;
    bool lazy_refcounts, dirty, corrupt, zstd;
    const char *backing, *backing_format;
    const Qcow2Snapshot *snapshots;
    unsigned n_snapshots;
} Qcow2Info;

typedef struct Qcow2Check {
    uint64_t corruptions, leaks, corruptions_fixed, leaks_fixed, check_errors;
    uint64_t total_clusters, allocated, compressed, fragmented, end_offset;
} Qcow2Check;

enum { QCOW2_FIX_LEAKS = 1, QCOW2_FIX_ERRORS = 2 };

/* Takes @file when it succeeds. @chain: paths of the images above, for loops. */
bool qcow2_open(BlockFile *out, const BlockFile *file, const char *path, unsigned flags,
                GSList *chain, GError **err);
/* Writes an empty image over @file, which must be empty. */
bool qcow2_create(const BlockFile *file, const char *path, const Qcow2Create *o, GError **err);
bool qcow2_is(const BlockFile *f);
void qcow2_info(const BlockFile *f, Qcow2Info *info);
/* Finds what is wrong and calls @report (may be NULL) with a line for each; 0 or a negative
 * errno when the check itself could not be done. */
int qcow2_check(const BlockFile *f, unsigned fix, Qcow2Check *res,
                void (*report)(void *opaque, const char *line), void *opaque);
bool qcow2_resize(BlockFile *f, uint64_t size, GError **err);
bool qcow2_set_backing(const BlockFile *f, const char *name, const char *format, GError **err);
/* The image, opened read-only, shows the disk as it was at a snapshot from now on. */
bool qcow2_view_snapshot(BlockFile *f, const char *name, GError **err);
bool qcow2_set_lazy(const BlockFile *f, bool on, GError **err); /* lazy refcounts */
bool qcow2_snapshot_create(const BlockFile *f, const char *name, GError **err);
/* @name: the id or the name. */
bool qcow2_snapshot_apply(BlockFile *f, const char *name, GError **err);
bool qcow2_snapshot_delete(const BlockFile *f, const char *name, GError **err);
/* Drop all clusters of the image, so that its backing file shows again. */
int qcow2_make_empty(const BlockFile *f);

/* Compressed length of a cluster of @len bytes in @out of the same length; 0 when it does not get
 * smaller. Any thread. */
size_t qcow2_compress(const BlockFile *f, const uint8_t *data, size_t len, uint8_t *out);
/* Store a cluster at @off, not written before, that qcow2_compress() made. */
int qcow2_write_compressed(const BlockFile *f, uint64_t off, const uint8_t *packed, size_t len);

#endif
