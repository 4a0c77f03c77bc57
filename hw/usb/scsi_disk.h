/*
 * A SCSI direct-access block device, as the logical unit of a USB disk: it decodes commands,
 * answers the small ones, and keeps sense data. Moving blocks is left to the caller.
 */
#ifndef RHEA_HW_USB_SCSI_DISK_H
#define RHEA_HW_USB_SCSI_DISK_H

#include "block/block.h"
#include "core/state.h"

#define SCSI_BLOCK 512
#define SCSI_REPLY_MAX 256

enum { SCSI_GOOD = 0, SCSI_CHECK_CONDITION = 2 };

typedef enum {
    SCSI_NO_DATA,
    SCSI_REPLY, /* @len bytes in the caller's buffer, to the host */
    SCSI_READ,  /* @blocks from @lba, to the host */
    SCSI_WRITE, /* @blocks from the host to @lba */
    SCSI_FLUSH, /* no data; what was written must get to the medium */
} ScsiAction;

typedef struct ScsiCommand {
    uint8_t status;
    ScsiAction action;
    uint32_t len;
    uint64_t lba;
    uint32_t blocks;
} ScsiCommand;

typedef struct ScsiDisk {
    BlockDev *block; /* NULL: no medium */
    bool removable;
    char serial[40];
    uint8_t key, asc, ascq; /* sense data */
    bool locked;            /* the guest holds the medium */
    bool attention;         /* power was switched on, or the bus reset */
    bool changed;           /* a new medium */
} ScsiDisk;

/* Decode @len bytes of command; @reply has SCSI_REPLY_MAX bytes. */
ScsiCommand scsi_disk_command(ScsiDisk *s, const uint8_t *cdb, unsigned len, uint8_t *reply);
/* Moving blocks failed with the negative errno @ret: set the sense data. */
void scsi_disk_io_error(ScsiDisk *s, int ret);
void scsi_disk_reset(ScsiDisk *s);
/* Another medium, or none; the old one stays the caller's. */
void scsi_disk_set_medium(ScsiDisk *s, BlockDev *block);
extern const StateTable scsi_disk_state;

#endif
