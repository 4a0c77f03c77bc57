/* qcow2, for tools: an internal snapshot as a disk to read; flags that can change. */
#include "block/qcow2-internal.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>

/* The one whose id is @name, or else whose name is. */
static const Qcow2Snapshot *find(const Qcow2 *s, const char *name)
{
    for (unsigned i = 0; i < s->n_snapshots; i++) {
        if (!strcmp(s->snapshots[i].id, name)) {
            return &s->snapshots[i];
        }
    }
    for (unsigned i = 0; i < s->n_snapshots; i++) {
        if (!strcmp(s->snapshots[i].name, name)) {
            return &s->snapshots[i];
        }
    }
    return NULL;
}

bool qcow2_view_snapshot(BlockFile *f, const char *name, GError **err)
{
    if (!qcow2_is(f)) {
        return fail(err, "%s images have no snapshots", f->driver->name);
    }
    Qcow2 *s = f->file;
    const Qcow2Snapshot *sn = find(s, name);

    if (!sn || s->writable) {
        return fail(err, "image '%s' %s '%s'", s->path,
                    sn ? "is open for writing and does not show snapshot" : "has no snapshot",
                    name);
    }
    uint64_t *l1 = g_new0(uint64_t, sn->l1_size + 1ull);
    int ret = qcow2_pread(s, sn->l1_offset, l1, sn->l1_size * 8ull);
    if (ret) {
        g_free(l1);
        return fail(err, "image '%s': %s", s->path, g_strerror(-ret));
    }
    for (uint32_t i = 0; i < sn->l1_size; i++) {
        l1[i] = GUINT64_FROM_BE(l1[i]);
    }
    g_mutex_lock(&s->lock);
    g_free(s->l1);
    s->l1 = l1;
    s->l1_size = sn->l1_size;
    s->l1_offset = sn->l1_offset;
    s->size = f->size = MIN(sn->disk_size, (uint64_t)sn->l1_size << (s->l2_bits + s->cluster_bits));
    g_mutex_unlock(&s->lock);
    return true;
}

bool qcow2_set_lazy(const BlockFile *f, bool on, GError **err)
{
    Qcow2 *s = f->file;
    uint64_t flags = on ? s->compatible | COMPAT_LAZY : s->compatible & ~(uint64_t)COMPAT_LAZY;
    uint8_t raw[8];

    if (!s->writable || s->version < 3) {
        return fail(err, "image '%s': %s", s->path,
                    s->writable ? "version 2 has no lazy refcounts" : "it is read-only");
    }
    put64(raw, flags);
    g_mutex_lock(&s->lock);
    int ret = qcow2_settle(s); /* refcounts are right before they need not be */
    ret = ret ? ret : qcow2_pwrite(s, 80, raw, sizeof(raw));
    ret = ret ? ret : qcow2_flush_file(s);
    s->compatible = ret ? s->compatible : flags;
    g_mutex_unlock(&s->lock);
    return ret == 0 || fail(err, "image '%s': %s", s->path, g_strerror(-ret));
}
