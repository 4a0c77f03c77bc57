/* Internal snapshots of block devices; see snapshot.h. */
#include "block/snapshot.h"
#include "block/dev.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>

#define PIECE (2u << 20) /* what vm_write wants in front of the last one */

static const BlockSnapshotOps *ops(const BlockDev *b)
{
    return b->file.driver->snapshots;
}

bool block_can_snapshot(BlockDev *b, GError **err)
{
    if (!ops(b)) {
        return fail(err, "drive '%s': format %s cannot hold snapshots; qcow2 can", block_id(b),
                    b->file.driver->name);
    }
    if (b->read_only) {
        return fail(err, "drive '%s' is read-only", block_id(b));
    }
    block_quiesce(b);
    if (block_in_flight(b)) {
        return fail(err, "drive '%s' has requests that wait for the machine to go on", block_id(b));
    }
    return true;
}

bool block_snapshot_get(const BlockDev *b, unsigned i, BlockSnapshot *out)
{
    return ops(b) && ops(b)->get(b->file.file, i, out);
}

bool block_snapshot_find(const BlockDev *b, const char *name, BlockSnapshot *out)
{
    for (unsigned i = 0; block_snapshot_get(b, i, out); i++) {
        if (!strcmp(out->id, name) || !strcmp(out->name, name)) {
            return true;
        }
    }
    return false;
}

bool block_snapshot_create(BlockDev *b, const BlockSnapshot *what, GError **err)
{
    return block_can_snapshot(b, err) && ops(b)->create(&b->file, what, err);
}

bool block_snapshot_apply(BlockDev *b, const char *id, GError **err)
{
    uint64_t size = b->file.size;

    if (!block_can_snapshot(b, err) || !ops(b)->apply(&b->file, id, err)) {
        return false;
    }
    if (b->file.size != size && b->on_resize) {
        b->on_resize(b->resize_opaque);
    }
    return true;
}

bool block_snapshot_remove(BlockDev *b, const char *id, GError **err)
{
    return block_can_snapshot(b, err) && ops(b)->remove(&b->file, id, err);
}

/* ---- a machine's state ---- */

void block_vm_begin(BlockVmWriter *w, BlockDev *b)
{
    *w = (BlockVmWriter){.dev = b, .buf = g_malloc(PIECE)};
}

static bool put_piece(BlockVmWriter *w, GError **err)
{
    int ret = ops(w->dev)->vm_write(w->dev->file.file, w->size - w->used, w->buf, w->used);

    w->used = 0;
    return ret == 0 || fail(err, "drive '%s': the machine's state cannot be written: %s",
                            block_id(w->dev), g_strerror(-ret));
}

bool block_vm_write(BlockVmWriter *w, const void *data, size_t len, GError **err)
{
    const uint8_t *p = data;

    while (len) {
        size_t n = MIN(len, PIECE - w->used);

        memcpy(w->buf + w->used, p, n);
        w->used += n;
        w->size += n;
        p += n;
        len -= n;
        if (w->used == PIECE && !put_piece(w, err)) {
            return false;
        }
    }
    return true;
}

bool block_vm_end(BlockVmWriter *w, bool keep, GError **err)
{
    bool ok = keep && (w->used == 0 || put_piece(w, err));

    if (!ok) {
        ops(w->dev)->vm_drop(w->dev->file.file);
    }
    g_clear_pointer(&w->buf, g_free);
    return ok;
}

void block_vm_open(BlockVmReader *r, BlockDev *b, const BlockSnapshot *from)
{
    *r = (BlockVmReader){
        .dev = b, .id = g_strdup(from->id), .buf = g_malloc(PIECE), .size = from->vm_size};
}

static bool get_piece(BlockVmReader *r, GError **err)
{
    size_t n = MIN(PIECE, r->size - r->pos);
    int ret = n ? ops(r->dev)->vm_read(r->dev->file.file, r->id, r->pos, r->buf, n) : -ENODATA;

    if (ret) {
        return fail(err, "drive '%s': the machine's state %s: %s", block_id(r->dev),
                    n ? "cannot be read" : "ends too early", g_strerror(-ret));
    }
    r->pos += n;
    r->have = n;
    r->used = 0;
    return true;
}

bool block_vm_read(BlockVmReader *r, void *data, size_t len, GError **err)
{
    uint8_t *p = data;

    while (len) {
        if (r->used == r->have && !get_piece(r, err)) {
            return false;
        }
        size_t n = MIN(len, r->have - r->used);

        memcpy(p, r->buf + r->used, n);
        r->used += n;
        p += n;
        len -= n;
    }
    return true;
}

void block_vm_close(BlockVmReader *r)
{
    g_clear_pointer(&r->id, g_free);
    g_clear_pointer(&r->buf, g_free);
}
