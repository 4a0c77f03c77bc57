/*
 * What the formats with one kind of table have in common (vdi, vpc, qed, vmdk): a disk of blocks
 * that have no place in the file until they are written, and then stay there. Places are given
 * out at the end of the file only, where everything reads as zeros, and tables follow the data
 * (pages.h): a power cut leaves space that nothing refers to, at worst.
 *
 * A format embeds a Sparse as the first member of its own state and gives SparseOps.
 */
#ifndef RHEA_BLOCK_SPARSE_H
#define RHEA_BLOCK_SPARSE_H

#include "block/driver.h"
#include "block/format.h"
#include "block/pages.h"

typedef enum { SPARSE_NONE, SPARSE_ZERO, SPARSE_DATA, SPARSE_PACKED } SparseKind;

typedef struct SparseEntry {
    SparseKind kind;
    uint64_t off; /* in the file, of DATA and PACKED */
} SparseEntry;

typedef struct Sparse Sparse;

/* All with Sparse.lock held, but for those that say so; 0 or a negative errno. */
typedef struct SparseOps {
    BlockDriver driver; /* SPARSE_MEMBERS and what the format has more */
    int (*get)(Sparse *s, uint64_t block, SparseEntry *e);
    /* The tables get to know a block; NULL: the image cannot grow. Makes tables where needed. */
    int (*set)(Sparse *s, uint64_t block, const SparseEntry *e);
    /* Before a block that is there is written into; may be NULL. */
    int (*touch)(Sparse *s, uint64_t block);
    /* Room at s->end for up to *@n blocks in a row. NULL: there as it is. */
    int (*reserve)(Sparse *s, uint64_t *n, uint64_t *off);
    /* Without the lock: what else a new block has (NULL: nothing). */
    int (*prepare)(Sparse *s, uint64_t off);
    int (*settle)(Sparse *s); /* of Pages; may be NULL */
    /* Compressed blocks, without the lock; NULL: there are none. */
    int (*unpack)(Sparse *s, uint64_t off, uint8_t *out);
    /* A new compressed block at s->end. */
    int (*pack)(Sparse *s, uint64_t block, const uint8_t *data, SparseEntry *e);
    /* Before the first write, when it is opened or becomes writable. NULL: nothing. */
    bool (*begin)(Sparse *s, GError **err);
    /* Before a check; -EIO when the tables themselves are wrong. NULL: nothing. */
    int (*begin_check)(Sparse *s);
    /* Forgets a block that has no valid place, and cuts what is behind @end off; may be NULL. */
    int (*clear)(Sparse *s, uint64_t block);
    int (*trim)(Sparse *s, uint64_t end);
    /* Bytes that one block takes from the file, and those of header and tables. */
    void (*usage)(Sparse *s, uint64_t *stride, uint64_t *overhead);
    /* Redundant fields: compares with @blocks in use, calls @say; repairs with @fix. */
    int (*check)(Sparse *s, uint64_t blocks, unsigned fix, ImageCheck *res,
                 void (*say)(void *opaque, const char *line), void *opaque);
    bool can_zero;
    void (*free)(Sparse *s); /* what the format has of its own */
} SparseOps;

struct Sparse {
    const SparseOps *ops;
    BlockFile file, backing;
    bool has_backing, writable;
    char *path, *backing_name, *backing_format;
    unsigned block_bits;   /* 9 to 31 */
    uint64_t size, blocks; /* of the disk */
    uint64_t end;          /* of the file: where new blocks go */
    uint64_t stale;        /* up to here new space may hold something else than zeros */
    GMutex lock;           /* tables and what is above */
    GMutex alloc;          /* held around @lock by whoever places blocks */
    Pages pages;
};

/* Sets up what every format has; @s is from g_new0 with ops set. */
void sparse_init(Sparse *s, const BlockFile *file, const char *path);
/* The last step of open: begins writing, opens the backing file. False: the caller calls
 * sparse_free(). */
bool sparse_start(Sparse *s, BlockFile *out, unsigned flags, GSList *chain, GError **err);
/* Frees all but the file below. */
void sparse_free(Sparse *s);
/* "image 'path': …"; false. */
bool sparse_bad(const Sparse *s, GError **err, const char *what);

/* Straight from and to the file, past the tables' cache. */
int sparse_pread(const Sparse *s, uint64_t off, void *buf, size_t len);
int sparse_pwrite(const Sparse *s, uint64_t off, const void *buf, size_t len);
/* Zeros at the end make the file reach up to @end. */
int sparse_extend(const Sparse *s, uint64_t end);

/* Lock held. A table of @len bytes at the end of the file, of zeros, @align a power of 2. */
int sparse_new_table(Sparse *s, uint64_t len, uint64_t align, uint64_t *off);

/* The file ends at @end: for SparseOps.trim. */
int sparse_trim(Sparse *s, uint64_t end);

/* Members of SparseOps.driver. */
int sparse_read(void *file, uint64_t off, const struct iovec *iov, unsigned n);
int sparse_write(void *file, uint64_t off, const struct iovec *iov, unsigned n);
int sparse_flush(void *file);
int sparse_discard(void *file, uint64_t off, uint64_t len);
void sparse_close(void *file);
int sparse_extent(void *file, uint64_t off, uint64_t len, BlockExtent *e);
int sparse_write_zeroes(void *file, uint64_t off, uint64_t len, bool unmap);
bool sparse_set_writable(void *file, bool on, GError **err);
const char *sparse_path(void *file);
BlockFile *sparse_backing(void *file);
void sparse_set_backing(void *file, const BlockFile *backing);

#define SPARSE_MEMBERS(format)                                                                     \
    .name = format, .read = sparse_read, .write = sparse_write, .flush = sparse_flush,             \
    .discard = sparse_discard, .close = sparse_close, .extent = sparse_extent,                     \
    .write_zeroes = sparse_write_zeroes, .set_writable = sparse_set_writable, .path = sparse_path, \
    .backing = sparse_backing, .set_backing = sparse_set_backing

/* Of ImageFormat, for all of them. */
int sparse_check(const BlockFile *f, unsigned fix, ImageCheck *res,
                 void (*say)(void *opaque, const char *line), void *opaque);

#endif
