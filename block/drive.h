/*
 * Drives: what -drive, -blockdev, -hda … describe (DriveSpec of core/machine.h), found by their id
 * and opened for the device that shows them to the guest. Machine lock, or before vCPUs run.
 *
 * A device does
 *     drive_take(m, d, DRIVE_DISK, &block, err)     opens the image with all the user's options
 *     drive_set_ops(d, &ops, self)                  when a medium can change
 * and, when it goes, drive_release(d), which also closes the image.
 */
#ifndef RHEA_BLOCK_DRIVE_H
#define RHEA_BLOCK_DRIVE_H

#include "block/block.h"
#include "core/machine.h"
#include "core/option.h"

/* What a device with a removable medium offers the operator. */
typedef struct DriveOps {
    /* Takes out what is there (block_close()) and puts @medium in, which it takes when it succeeds;
     * NULL: nothing. Refused when the guest has locked the tray, unless @force. */
    bool (*change)(void *opaque, BlockDev *medium, bool force, GError **err);
    bool (*tray_open)(void *opaque); /* NULL: there is no tray */
    bool (*locked)(void *opaque);
} DriveOps;

typedef enum { DRIVE_DISK, DRIVE_CDROM, DRIVE_FLOPPY } DriveUse;

/* -drive TEXT, -blockdev TEXT, -hda FILE …; NULL and a sentence. */
DriveSpec *drive_parse(const char *what, const char *text, GError **err);
DriveSpec *drive_parse_node(const char *what, const char *text, GError **err);
DriveSpec *drive_new(const char *file, int iface, int index, bool cdrom);
void drive_free(DriveSpec *d);

/* Once all are there: -snapshot, ids given twice. And once all devices are there: opens what nobody
 * took to see whether it can be opened. */
bool drives_prepare(Machine *m, GError **err);
bool drives_check(Machine *m, GError **err);

DriveSpec *drive_find(const Machine *m, const char *id); /* NULL: there is none */
/* By -device's drive=@id: a sentence (@who: the device) when there is none or it is in use. */
DriveSpec *drive_find_free(const Machine *m, const char *id, const char *who, GError **err);
/* Opens it for a device. *@out stays NULL for a drive without medium, which @use DRIVE_DISK
 * refuses. Names drives without id by interface and index. */
bool drive_take(Machine *m, DriveSpec *d, DriveUse use, BlockDev **out, GError **err);
/* The device has failed to come into being (its image is closed), or is gone: so is a -drive then.
 */
void drive_give_back(DriveSpec *d);
void drive_release(Machine *m, DriveSpec *d);
void drive_set_ops(DriveSpec *d, const DriveOps *ops, void *opaque);

/* The guest moved the tray: tells QMP clients. */
void drive_tray_moved(Machine *m, const DriveSpec *d, bool open);

/* ---- for monitors ---- */

typedef enum { DRIVE_RETAIN, DRIVE_READ_ONLY, DRIVE_READ_WRITE } DriveAccess;

bool drive_add(Machine *m, DriveSpec *d, GError **err); /* takes @d always */
/* A drive in use stays as a device whose requests fail. */
bool drive_del(Machine *m, const char *id, GError **err);
bool drive_change(Machine *m, DriveSpec *d, const char *file, const char *format,
                  DriveAccess access, bool force, GError **err);
bool drive_eject(Machine *m, DriveSpec *d, bool force, GError **err);
const char *drive_cache_mode(const DriveSpec *d);

#endif
