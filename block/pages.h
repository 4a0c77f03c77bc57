/*
 * A bounded cache of an image's tables, for formats whose tables lie anywhere in the file. Changes
 * stay in memory until pages_sync(), which writes them in two levels with a flush before each, so
 * that after a power cut nothing points at what was not written. The owner's lock protects it.
 */
#ifndef RHEA_BLOCK_PAGES_H
#define RHEA_BLOCK_PAGES_H

#include "block/driver.h"

/* LEAF: points at data. ROOT: points at tables, or must come last. */
typedef enum { PAGES_LEAF, PAGES_ROOT, PAGES_LEVELS } PagesLevel;

typedef struct Pages {
    const BlockFile *file;
    GHashTable *map; /* number of the page → Page */
    unsigned dirty[PAGES_LEVELS];
    /* Called between the leaves' flush and the end of a sync; may be NULL. */
    int (*settle)(void *opaque);
    void *opaque;
} Pages;

/* @file must stay where it is. */
void pages_init(Pages *p, const BlockFile *file);
void pages_free(Pages *p);
/* Any range; what the file has not is zeros. 0 or a negative errno. */
int pages_read(Pages *p, uint64_t off, void *buf, size_t len);
int pages_write(Pages *p, uint64_t off, const void *buf, size_t len, PagesLevel level);
/* What is cached of a range without changes is not so any more. */
void pages_forget(Pages *p, uint64_t off, uint64_t len);
/* Everything written so far, data first, is safe when it returns 0. */
int pages_sync(Pages *p);

#endif
