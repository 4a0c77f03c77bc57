/*
 * Snapshots of the machine and its disks inside their images: `savevm`, `loadvm`, `delvm`,
 * `info snapshots`. Every drive that can be written to must hold snapshots (qcow2); the first of
 * them also takes the machine's state. Main thread, machine lock.
 */
#ifndef RHEA_MIGRATION_SNAPSHOT_H
#define RHEA_MIGRATION_SNAPSHOT_H

#include "core/machine.h"
#include <glib.h>
#include <stdbool.h>

/* @name NULL: one made of the date. One with that name is replaced. The machine stands still
 * meanwhile. */
bool snapshot_save(Machine *m, const char *name, GError **err);
/* Disks and machine go back; a running machine goes on from there. When the state turns out to be
 * damaged the machine stays stopped, as after a reset, with the disks of the snapshot. */
bool snapshot_load(Machine *m, const char *name, GError **err);
/* Of all drives that have it. */
bool snapshot_delete(Machine *m, const char *name, GError **err);
/* Table for people; caller frees. */
char *snapshot_list(Machine *m);

#endif
