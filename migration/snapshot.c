/* savevm and its kin; see snapshot.h. */
#include "migration/snapshot.h"
#include "block/snapshot.h"
#include "core/log.h"
#include "migration/vmstate.h"
#include <string.h>

/* Drives whose contents are part of the machine: those that can be written to. */
static GPtrArray *disks(Machine *m)
{
    GPtrArray *a = g_ptr_array_new();

    for (guint i = 0; m->cfg.drives && i < m->cfg.drives->len; i++) {
        DriveSpec *d = m->cfg.drives->pdata[i];
        if (d->medium && !block_read_only(d->medium)) {
            g_ptr_array_add(a, d->medium);
        }
    }
    return a;
}

/* All of them, at rest; NULL and a sentence when one cannot take part. */
static GPtrArray *ready_disks(Machine *m, GError **err)
{
    g_autoptr(GPtrArray) a = disks(m);

    if (a->len == 0) {
        fail(err, "a snapshot of the machine needs a drive with a qcow2 image that can be written "
                  "to; there is none");
        return NULL;
    }
    for (guint i = 0; i < a->len; i++) {
        if (!block_can_snapshot(a->pdata[i], err)) {
            return NULL;
        }
    }
    return g_steal_pointer(&a);
}

/* The first drive with a state of that name. */
static BlockDev *find_state(GPtrArray *a, const char *name, BlockSnapshot *out)
{
    for (guint i = 0; i < a->len; i++) {
        if (block_snapshot_find(a->pdata[i], name, out) && out->vm_size) {
            return a->pdata[i];
        }
    }
    return NULL;
}

static bool sink_write(void *opaque, const void *data, size_t len, GError **err)
{
    return block_vm_write(opaque, data, len, err);
}

static bool source_read(void *opaque, void *data, size_t len, GError **err)
{
    return block_vm_read(opaque, data, len, err);
}

/* Those with @name but the @keep newest. */
static bool remove_named(BlockDev *b, const char *name, unsigned keep, GError **err)
{
    for (;;) {
        g_autofree char *oldest = NULL;
        BlockSnapshot sn;
        unsigned n = 0;

        for (unsigned i = 0; block_snapshot_get(b, i, &sn); i++) {
            if (!strcmp(sn.name, name)) {
                oldest = oldest ? oldest : g_strdup(sn.id);
                n++;
            }
        }
        if (n <= keep) {
            return true;
        }
        if (!block_snapshot_remove(b, oldest, err)) {
            return false;
        }
    }
}

static bool save(Machine *m, GPtrArray *a, const char *name, GError **err)
{
    BlockSnapshot what = {.name = name, .vm_clock = clock_now(m->virtual_clock)};
    BlockVmWriter w;
    guint done = 0;

    block_vm_begin(&w, a->pdata[0]);
    bool ok = vm_state_save(m, &(VmSink){sink_write, &w}, err);
    ok = block_vm_end(&w, ok, ok ? err : NULL) && ok;
    for (; ok && done < a->len; done += ok) {
        what.vm_size = done == 0 ? w.size : 0;
        ok = block_snapshot_create(a->pdata[done], &what, err);
    }
    /* An older one of the name goes only now. What is half done goes altogether. */
    for (guint i = 0; i < (ok ? a->len : done); i++) {
        BlockSnapshot sn, last = {0};
        if (ok) {
            ok = remove_named(a->pdata[i], name, 1, err);
            continue;
        }
        for (unsigned k = 0; block_snapshot_get(a->pdata[i], k, &sn); k++) {
            last = sn;
        }
        if (last.id) {
            g_autofree char *id = g_strdup(last.id);
            block_snapshot_remove(a->pdata[i], id, NULL);
        }
    }
    return ok;
}

bool snapshot_save(Machine *m, const char *name, GError **err)
{
    bool running = machine_running(m);
    RunState before = m->state;
    g_autofree char *made = NULL;

    if (!name || !*name) {
        g_autoptr(GDateTime) now = g_date_time_new_now_local();
        name = made = g_date_time_format(now, "vm-%Y%m%d%H%M%S");
    }
    machine_stop(m, running ? RUN_PAUSED : before);
    g_autoptr(GPtrArray) a = ready_disks(m, err);
    bool ok = a && save(m, a, name, err);
    if (running) {
        machine_start(m);
    }
    return ok;
}

bool snapshot_load(Machine *m, const char *name, GError **err)
{
    bool running = machine_running(m);
    RunState before = m->state;
    BlockSnapshot sn, other;
    BlockVmReader r;

    machine_stop(m, running ? RUN_PAUSED : before);
    g_autoptr(GPtrArray) a = ready_disks(m, err);
    BlockDev *b = a ? find_state(a, name, &sn) : NULL;
    bool ok = b != NULL;
    if (a && !b) {
        fail(err, "there is no snapshot '%s' with the state of a machine", name);
    }
    for (guint i = 0; ok && i < a->len; i++) {
        ok = block_snapshot_find(a->pdata[i], name, &other) ||
             fail(err, "drive '%s' has no snapshot '%s'", block_id(a->pdata[i]), name);
    }
    if (!ok) { /* nothing has changed yet */
        if (running) {
            machine_start(m);
        }
        return false;
    }
    block_vm_open(&r, b, &sn);
    for (guint i = 0; ok && i < a->len; i++) {
        ok = block_snapshot_apply(a->pdata[i], a->pdata[i] == b ? r.id : name, err);
    }
    ok = ok && vm_state_load(m, &(VmSource){source_read, &r}, err);
    block_vm_close(&r);
    if (ok && running) {
        machine_start(m);
    }
    return ok;
}

bool snapshot_delete(Machine *m, const char *name, GError **err)
{
    bool running = machine_running(m), found = false, ok;
    RunState before = m->state;
    BlockSnapshot sn;

    machine_stop(m, running ? RUN_PAUSED : before);
    g_autoptr(GPtrArray) a = ready_disks(m, err);
    ok = a != NULL;
    for (guint i = 0; ok && i < a->len; i++) {
        while (ok && block_snapshot_find(a->pdata[i], name, &sn)) {
            g_autofree char *id = g_strdup(sn.id);
            found = true;
            ok = block_snapshot_remove(a->pdata[i], id, err);
        }
    }
    if (ok && !found) {
        ok = fail(err, "there is no snapshot '%s'", name);
    }
    if (running) {
        machine_start(m);
    }
    return ok;
}

char *snapshot_list(Machine *m)
{
    g_autoptr(GPtrArray) a = disks(m);
    GString *out = g_string_new(NULL);
    BlockSnapshot sn;

    for (guint i = 0; i < a->len; i++) {
        for (unsigned k = 0; block_snapshot_get(a->pdata[i], k, &sn); k++) {
            g_autoptr(GDateTime) t = g_date_time_new_from_unix_local(sn.date_sec);
            g_autofree char *date = t ? g_date_time_format(t, "%Y-%m-%d %H:%M:%S") : g_strdup("");
            g_autofree char *size = g_format_size_full(sn.vm_size, G_FORMAT_SIZE_IEC_UNITS);
            uint64_t ms = sn.vm_clock / 1000000;

            if (!out->len) {
                g_string_printf(out, "%-10s%-10s%-20s%12s%20s%16s\n", "DRIVE", "ID", "TAG",
                                "VM SIZE", "DATE", "VM CLOCK");
            }
            g_string_append_printf(out, "%-10s%-10s%-20s%12s%20s   %02u:%02u:%02u.%03u\n",
                                   block_id(a->pdata[i]), sn.id, sn.name, size, date,
                                   (unsigned)(ms / 3600000), (unsigned)(ms / 60000 % 60),
                                   (unsigned)(ms / 1000 % 60), (unsigned)(ms % 1000));
        }
    }
    if (!out->len) {
        g_string_assign(out, "There is no snapshot available.\n");
    }
    return g_string_free(out, FALSE);
}
