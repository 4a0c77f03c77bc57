/*
 * Internal snapshots of a drive's image, with room for the state of a machine (`savevm`). Machine
 * lock; the machine is stopped. Each function waits for requests in flight.
 */
#ifndef RHEA_BLOCK_SNAPSHOT_H
#define RHEA_BLOCK_SNAPSHOT_H

#include "block/block.h"
#include "block/driver.h"

/* False and a sentence when the image has no place for snapshots, is read-only, or holds requests
 * that wait for the machine to go on. */
bool block_can_snapshot(BlockDev *b, GError **err);
/* The @i-th, from 0; false: there are not as many. */
bool block_snapshot_get(const BlockDev *b, unsigned i, BlockSnapshot *out);
/* By id or name; the first of several. */
bool block_snapshot_find(const BlockDev *b, const char *name, BlockSnapshot *out);
bool block_snapshot_create(BlockDev *b, const BlockSnapshot *what, GError **err);
bool block_snapshot_apply(BlockDev *b, const char *id, GError **err);
bool block_snapshot_remove(BlockDev *b, const char *id, GError **err);

/* A machine's state on its way to the image: pieces of any length, one after the other. */
typedef struct BlockVmWriter {
    BlockDev *dev;
    uint8_t *buf;
    size_t used;
    uint64_t size; /* bytes so far */
} BlockVmWriter;

void block_vm_begin(BlockVmWriter *w, BlockDev *b);
bool block_vm_write(BlockVmWriter *w, const void *data, size_t len, GError **err);
/* @keep: what is left reaches the image, for the snapshot that is made next. Else all is dropped;
 * also when it fails. */
bool block_vm_end(BlockVmWriter *w, bool keep, GError **err);

/* The same the other way; @len more bytes of @id's state of @size bytes. */
typedef struct BlockVmReader {
    BlockDev *dev;
    char *id;
    uint8_t *buf;
    size_t used, have;
    uint64_t pos, size;
} BlockVmReader;

void block_vm_open(BlockVmReader *r, BlockDev *b, const BlockSnapshot *from);
bool block_vm_read(BlockVmReader *r, void *data, size_t len, GError **err);
void block_vm_close(BlockVmReader *r);

#endif
