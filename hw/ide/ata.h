/*
 * An ATA channel with up to two drives: hard disks and CD/DVD drives (ATAPI). Register interface,
 * transfers and commands; a host adapter (piix3_ide.h) maps the ports and gives DMA.
 * Machine lock throughout.
 */
#ifndef RHEA_HW_IDE_ATA_H
#define RHEA_HW_IDE_ATA_H

#include "block/drive.h"
#include "core/device.h"
#include "core/irq.h"
#include "core/memory.h"

#define ATA_SECTOR 512u
#define CD_SECTOR 2048u
#define ATA_BUFFER 65536u
#define ATA_MAX_MULTIPLE 16u

enum {
    ATA_BSY = 0x80,
    ATA_DRDY = 0x40,
    ATA_DF = 0x20,
    ATA_DSC = 0x10,
    ATA_DRQ = 0x08,
    ATA_ERR = 0x01,

    ATA_ERR_UNC = 0x40,
    ATA_ERR_IDNF = 0x10,
    ATA_ERR_ABRT = 0x04,
};

typedef struct AtaChannel AtaChannel;
typedef struct AtaDrive AtaDrive;

typedef enum { ATA_NONE, ATA_DISK, ATA_CDROM } AtaKind;

/* What a drive is doing. */
typedef enum {
    ATA_IDLE,
    ATA_PIO_IN,  /* the host reads the buffer */
    ATA_PIO_OUT, /* the host writes the buffer */
    ATA_DMA_IN,  /* waits for, or is in, a DMA transfer to memory */
    ATA_DMA_OUT,
    ATA_BUSY, /* a request to the image is under way */
    ATA_SLEEP /* left by a reset only */
} AtaPhase;

/* What comes when a transfer is over. */
typedef enum {
    AFTER_END,       /* the command is done */
    AFTER_READ,      /* disk: more sectors, or done */
    AFTER_WRITE,     /* disk: sectors to write are in the buffer */
    AFTER_TRIM,      /* disk: ranges to discard are in the buffer */
    AFTER_PACKET,    /* CD: the command packet is in the buffer */
    AFTER_CD_READ,   /* CD: more sectors, or done */
    AFTER_CD_REPLY,  /* CD: more of a reply in the buffer, or done */
    AFTER_CD_SELECT, /* CD: MODE SELECT data is in the buffer */
    AFTER_LAST
} AtaAfter;

/* Results of AtaChannel.dma. */
enum { ATA_DMA_NOT_STARTED = -1 };

struct AtaDrive {
    AtaChannel *channel;
    AtaKind kind;
    unsigned unit;
    BlockDev *block;  /* NULL: CD drive without a medium */
    DriveSpec *drive; /* whose image it is; NULL: nobody's */
    Machine *machine;
    char *serial, *model, *firmware;
    bool error_reported;
    uint64_t sectors; /* of 512 (disk) or 2048 (CD) bytes */
    unsigned default_cylinders, default_heads, default_spt;

    /* Registers; [1]: what was written before (LBA48) */
    uint8_t features[2], count[2], lba_low[2], lba_mid[2], lba_high[2], device, error, status;
    bool irq; /* INTRQ wanted */

    /* Transfer */
    uint8_t phase, after; /* AtaPhase, AtaAfter */
    uint8_t buf[ATA_BUFFER];
    uint32_t pos, end;  /* of the DRQ block or DMA chunk under way */
    uint32_t chunk_end; /* valid or wanted bytes of the buffer */
    bool dma;           /* data of this command goes by DMA */
    bool quiet;         /* DMA or packet data: no interrupt for this block */
    bool lba48, fua;    /* of this command */
    uint8_t command;
    uint64_t lba;         /* of the next sector */
    uint32_t left;        /* sectors still to move */
    uint32_t drq_sectors; /* per DRQ block */
    bool cancelled;       /* a request is under way whose command was reset away */
    uint32_t trim_pos;

    /* Settings */
    uint16_t cylinders, heads, spt;
    uint8_t multiple;
    uint8_t mode; /* transfer mode as set by SET FEATURES */
    bool write_cache, look_ahead, smart;
    uint8_t power; /* CHECK POWER MODE value */

    /* ATAPI */
    uint8_t packet[12];
    uint8_t sense_key, asc, ascq;
    uint8_t attention; /* unit attention to report: ATTENTION_* */
    uint8_t event;     /* media event for GET EVENT STATUS */
    bool tray_open, locked;
    uint16_t byte_limit;
    uint16_t raw_size; /* bytes per sector handed over: 2048 or 2352 */
    void (*tray_moved)(void *opaque, bool open);
    void *tray_opaque;
};

struct AtaChannel {
    AtaDrive drives[2];
    MemRegion command, control; /* 8 ports and 1 port; the adapter maps them */
    Irq irq;
    bool irq_level;
    uint8_t device_control;
    uint8_t selected;
    /* The adapter's DMA engine: moves up to @len bytes, how many it did, or ATA_DMA_NOT_STARTED. */
    int (*dma)(void *opaque, uint8_t *buf, unsigned len, bool to_memory);
    void (*irq_changed)(void *opaque, bool level);
    void *opaque;
};

/* What ide-hd and ide-cd plug into. */
typedef struct IdeBus {
    Bus bus; /* kind "IDE", named ide.N */
    AtaChannel *channel;
    unsigned number;
} IdeBus;

typedef struct AtaDriveConfig {
    AtaKind kind;
    BlockDev *block;    /* the drive's from now on; NULL: CD drive without a medium */
    DriveSpec *drive;   /* taken for it (block/drive.h), or NULL */
    Machine *machine;   /* with @drive */
    const char *serial; /* NULL: made up from the position */
    const char *model;  /* NULL: default */
    const char *firmware;
    /* CD: the guest opened or closed the tray. */
    void (*tray_moved)(void *opaque, bool open);
    void *tray_opaque;
} AtaDriveConfig;

void ata_channel_init(AtaChannel *c, const char *name, Irq irq);
void ata_channel_fini(AtaChannel *c);
/* One sentence when the place is taken or the image cannot be a disk. */
bool ata_attach(AtaChannel *c, unsigned unit, const AtaDriveConfig *cfg, GError **err);
/* Takes a drive away; its requests are waited for, its image is closed. */
void ata_detach(AtaDrive *d);
/* Power-on and bus reset. */
void ata_channel_reset(AtaChannel *c);
/* The DMA engine was started: go on with what waits for it. */
void ata_dma_started(AtaChannel *c);
extern const StateTable ata_channel_state;

/* CD drives, by the operator. Change: closes the old medium; @block NULL = none. Refused (false)
 * when the guest locked the tray, unless @force. */
bool ata_cd_change(AtaDrive *d, BlockDev *block, bool force, GError **err);
bool ata_cd_tray_open(const AtaDrive *d);
bool ata_cd_locked(const AtaDrive *d);

/* ---- between the files of this folder ---- */

void ata_update_irq(AtaChannel *c);
void ata_raise(AtaDrive *d);
/* End of a command: good, or with error bits; with an interrupt. */
void ata_done(AtaDrive *d);
void ata_fail(AtaDrive *d, uint8_t error);
void ata_abort(AtaDrive *d);
void ata_busy(AtaDrive *d);
/* Tells the user, once a drive, that its image failed. */
void ata_report_error(AtaDrive *d, int ret);
/* Hand buf[pos, pos+len) to the host, or take it; @irq: with INTRQ. */
void ata_pio_in(AtaDrive *d, uint32_t pos, uint32_t len, AtaAfter after, bool irq);
void ata_pio_out(AtaDrive *d, uint32_t pos, uint32_t len, AtaAfter after, bool irq);
void ata_dma(AtaDrive *d, bool to_memory, uint32_t len, AtaAfter after);
void ata_set_signature(AtaDrive *d);
void ata_drive_reset(AtaDrive *d);
/* Common to disks and CD drives; false: not one of them. */
bool ata_common_command(AtaDrive *d, uint8_t cmd);
void ata_set_features(AtaDrive *d);

void ata_disk_command(AtaDrive *d, uint8_t cmd);
void ata_disk_after(AtaDrive *d);
void ata_disk_power_on(AtaDrive *d);
void ata_identify_disk(const AtaDrive *d, uint8_t *out);
void ata_identify_cdrom(const AtaDrive *d, uint8_t *out);

void atapi_command(AtaDrive *d, uint8_t cmd);
void atapi_after(AtaDrive *d);
void atapi_power_on(AtaDrive *d);
void atapi_set_drive_ops(AtaDrive *d);
void atapi_reset(AtaDrive *d);

#endif
