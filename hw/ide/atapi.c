/*
 * ATAPI: packet commands of a CD/DVD drive. ATA/ATAPI-7 (PACKET protocol), "Multi-Media Commands -
 * 5" (MMC-5, T10/1675-D), SPC-3 for the common ones. Audio play is not there.
 */
#include "hw/ide/atapi.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>

#define RAW_SECTOR 2352u
#define MODE_SELECT_MAX 256u

enum {
    /* ATA */
    CMD_PACKET = 0xa0,
    CMD_IDENTIFY_PACKET = 0xa1,
    CMD_IDENTIFY = 0xec,
    FEATURE_DMA = 1,
    IR_COMMAND = 1, /* interrupt reason, in the count register */
    IR_TO_HOST = 2,

    /* Packets */
    TEST_UNIT_READY = 0x00,
    REQUEST_SENSE = 0x03,
    INQUIRY = 0x12,
    START_STOP = 0x1b,
    PREVENT_ALLOW = 0x1e,
    READ_10 = 0x28,
    SEEK_10 = 0x2b,
    VERIFY_10 = 0x2f,
    SYNCHRONIZE_CACHE = 0x35,
    GET_EVENT_STATUS = 0x4a,
    PLAY_AUDIO_10 = 0x45,
    PLAY_AUDIO_MSF = 0x47,
    PAUSE_RESUME = 0x4b,
    STOP_PLAY = 0x4e,
    MODE_SELECT_10 = 0x55,
    READ_12 = 0xa8,
    SET_READ_AHEAD = 0xa7,
    READ_CD_MSF = 0xb9,
    SET_CD_SPEED = 0xbb,
    READ_CD = 0xbe,
};

bool atapi_has_medium(const AtaDrive *d)
{
    return d->block && !d->tray_open;
}

/* ---- ends ---- */

static void end_packet(AtaDrive *d, uint8_t status, uint8_t error)
{
    d->count[0] = IR_COMMAND | IR_TO_HOST;
    d->phase = ATA_IDLE;
    d->after = AFTER_END;
    d->error = error;
    d->status = status;
    ata_raise(d);
}

void atapi_good(AtaDrive *d)
{
    d->sense_key = SENSE_NONE;
    d->asc = d->ascq = 0;
    end_packet(d, ATA_DRDY | ATA_DSC, 0);
}

void atapi_check(AtaDrive *d, uint8_t key, uint8_t asc, uint8_t ascq)
{
    d->sense_key = key;
    d->asc = asc;
    d->ascq = ascq;
    end_packet(d, ATA_DRDY | ATA_DSC | ATA_ERR, (uint8_t)(key << 4 | ATA_ERR_ABRT));
}

static void illegal_field(AtaDrive *d)
{
    atapi_check(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD, 0);
}

static void no_medium(AtaDrive *d)
{
    atapi_check(d, SENSE_NOT_READY, ASC_NO_MEDIUM, d->tray_open ? 2 : 1);
}

/* ---- data to the host ---- */

/* The next block of what the buffer holds, at most the host's byte count limit. */
static void send_block(AtaDrive *d, uint32_t pos, AtaAfter after)
{
    uint32_t len = d->chunk_end - pos, limit = d->byte_limit;

    /* Blocks but the last have an even length. */
    if (len > limit) {
        len = limit & ~1u;
    }
    d->count[0] = IR_TO_HOST;
    d->lba_mid[0] = (uint8_t)len;
    d->lba_high[0] = (uint8_t)(len >> 8);
    ata_pio_in(d, pos, len, after, true);
}

void atapi_reply(AtaDrive *d, uint32_t len, uint32_t alloc)
{
    len = MIN(len, MIN(alloc, ATA_BUFFER));
    d->sense_key = SENSE_NONE;
    d->asc = d->ascq = 0;
    if (len == 0) {
        atapi_good(d);
        return;
    }
    d->chunk_end = len;
    if (d->dma) {
        d->count[0] = IR_TO_HOST;
        ata_dma(d, true, len, AFTER_CD_REPLY);
    } else {
        send_block(d, 0, AFTER_CD_REPLY);
    }
}

/* ---- reading sectors ---- */

/* A mode 1 sector around the 2048 bytes at @data: sync, header; check codes are not made. */
static void make_raw(uint8_t *out, const uint8_t *data, uint32_t lba)
{
    memset(out, 0xff, 12);
    out[0] = out[11] = 0;
    atapi_msf(out + 12, lba);
    for (unsigned i = 12; i < 15; i++) {
        out[i] = (uint8_t)((out[i] / 10) << 4 | out[i] % 10);
    }
    out[15] = 1;
    memmove(out + 16, data, CD_SECTOR);
    memset(out + 16 + CD_SECTOR, 0, RAW_SECTOR - 16 - CD_SECTOR);
}

static uint32_t chunk_sectors(const AtaDrive *d)
{
    return MIN(d->left, ATA_BUFFER / d->raw_size);
}

static void cd_read_done(void *opaque, int ret)
{
    AtaDrive *d = opaque;
    uint32_t n = chunk_sectors(d);

    if (d->cancelled) {
        return;
    }
    if (ret < 0) {
        ata_report_error(d, ret);
        atapi_check(d, SENSE_MEDIUM_ERROR, ASC_READ_ERROR, 0);
        return;
    }
    if (d->raw_size == RAW_SECTOR) {
        /* Widen in place, from the last sector on. */
        for (uint32_t i = n; i-- > 0;) {
            uint8_t data[CD_SECTOR];
            memcpy(data, d->buf + i * CD_SECTOR, CD_SECTOR);
            make_raw(d->buf + i * RAW_SECTOR, data, (uint32_t)d->lba + i);
        }
    }
    d->chunk_end = n * d->raw_size;
    d->lba += n;
    d->left -= n;
    if (d->dma) {
        d->count[0] = IR_TO_HOST;
        ata_dma(d, true, d->chunk_end, AFTER_CD_READ);
    } else {
        send_block(d, 0, AFTER_CD_READ);
    }
}

static void cd_fetch(AtaDrive *d)
{
    if (!atapi_has_medium(d)) {
        no_medium(d); /* gone in the middle of a transfer */
        return;
    }
    struct iovec iov = {d->buf, (size_t)chunk_sectors(d) * CD_SECTOR};
    ata_busy(d);
    block_read(d->block, d->lba * CD_SECTOR, &iov, 1, cd_read_done, d);
}

static void cmd_read(AtaDrive *d, uint32_t lba, uint32_t n, uint16_t raw_size)
{
    if (n == 0) {
        atapi_good(d);
        return;
    }
    if (lba >= d->sectors || n > d->sectors - lba) {
        atapi_check(d, SENSE_ILLEGAL_REQUEST, ASC_LBA_RANGE, 0);
        return;
    }
    d->lba = lba;
    d->left = n;
    d->raw_size = raw_size;
    cd_fetch(d);
}

/* READ CD: byte 9 says which parts of a sector are wanted. */
static void read_cd(AtaDrive *d, uint32_t lba, uint32_t n)
{
    const uint8_t *p = d->packet;
    unsigned type = (p[1] >> 2) & 7, parts = p[9] & 0xf8;

    if (p[10] & 7) {
        illegal_field(d); /* sub-channel data */
    } else if (type != 0 && type != 2) {
        atapi_check(d, SENSE_ILLEGAL_REQUEST, ASC_ILLEGAL_MODE, 0);
    } else if (parts == 0 || n == 0) {
        atapi_good(d);
    } else if (parts == 0x10) {
        cmd_read(d, lba, n, CD_SECTOR);
    } else if (parts == 0xf8) {
        cmd_read(d, lba, n, RAW_SECTOR);
    } else {
        illegal_field(d);
    }
}

static uint32_t from_msf(const uint8_t *p)
{
    uint32_t lba = ((uint32_t)p[0] * 60 + p[1]) * 75 + p[2];
    return lba >= 150 ? lba - 150 : UINT32_MAX;
}

static void read_cd_msf(AtaDrive *d)
{
    uint32_t from = from_msf(d->packet + 3), to = from_msf(d->packet + 6);

    if (from == UINT32_MAX || to == UINT32_MAX || to < from) {
        illegal_field(d);
        return;
    }
    read_cd(d, from, to - from);
}

/* ---- tray ---- */

static void move_tray(AtaDrive *d, bool open)
{
    if (d->tray_open == open) {
        return;
    }
    d->tray_open = open;
    if (d->block) {
        d->event = open ? EVENT_REMOVED : EVENT_NEW_MEDIUM;
        d->attention = open ? 0 : ATTENTION_MEDIUM;
    }
    if (d->tray_moved) {
        d->tray_moved(d->tray_opaque, open);
    }
}

static void start_stop(AtaDrive *d)
{
    bool load_eject = d->packet[4] & 2, start = d->packet[4] & 1;

    if (d->packet[4] & 0xf0) {
        atapi_good(d); /* a power condition */
        return;
    }
    if (load_eject) {
        if (!start && d->locked && !d->tray_open) {
            atapi_check(d, atapi_has_medium(d) ? SENSE_ILLEGAL_REQUEST : SENSE_NOT_READY,
                        ASC_REMOVAL_PREVENTED, 2);
            return;
        }
        move_tray(d, !start);
    }
    atapi_good(d);
}

bool ata_cd_tray_open(const AtaDrive *d)
{
    return d->tray_open;
}

bool ata_cd_locked(const AtaDrive *d)
{
    return d->locked;
}

bool ata_cd_change(AtaDrive *d, BlockDev *block, bool force, GError **err)
{
    if (d->kind != ATA_CDROM) {
        return fail(err, "the drive has no removable medium");
    }
    if (d->locked && !d->tray_open && !force) {
        d->event = EVENT_EJECT_REQUEST;
        return fail(err, "the guest has locked the tray of the drive");
    }
    if (d->block && block_in_flight(d->block)) {
        block_drain(d->block);
    }
    block_close(d->block);
    d->block = block;
    d->sectors = block ? block_size(block) / CD_SECTOR : 0;
    d->tray_open = false;
    d->event = block ? EVENT_NEW_MEDIUM : EVENT_REMOVED;
    d->attention = block ? ATTENTION_MEDIUM : 0;
    return true;
}

static bool change_medium(void *opaque, BlockDev *medium, bool force, GError **err)
{
    return ata_cd_change(opaque, medium, force, err);
}

static bool tray_is_open(void *opaque)
{
    return ata_cd_tray_open(opaque);
}

static bool is_locked(void *opaque)
{
    return ata_cd_locked(opaque);
}

static void tell_tray(void *opaque, bool open)
{
    AtaDrive *d = opaque;
    drive_tray_moved(d->machine, d->drive, open);
}

void atapi_set_drive_ops(AtaDrive *d)
{
    static const DriveOps ops = {
        .change = change_medium, .tray_open = tray_is_open, .locked = is_locked};
    drive_set_ops(d->drive, &ops, d);
    if (!d->tray_moved) {
        d->tray_moved = tell_tray;
        d->tray_opaque = d;
    }
}

/* Media class only; the drive answers at once (polled). */
static void get_event_status(AtaDrive *d)
{
    uint32_t alloc = be16(d->packet + 7);

    if (!(d->packet[1] & 1)) {
        illegal_field(d); /* no asynchronous events */
        return;
    }
    memset(d->buf, 0, 8);
    d->buf[3] = 1 << 4; /* supported classes */
    if (!(d->packet[4] & (1 << 4))) {
        put_be16(d->buf, 2);
        d->buf[2] = 0x80; /* no event of a class that was asked for */
        atapi_reply(d, 4, alloc);
        return;
    }
    put_be16(d->buf, 6);
    d->buf[2] = 4;
    d->buf[4] = d->event;
    d->buf[5] = (uint8_t)((d->tray_open ? 1 : 0) | (atapi_has_medium(d) ? 2 : 0));
    if (alloc > 4) {
        d->event = EVENT_NONE; /* delivered */
    }
    atapi_reply(d, 8, alloc);
}

/* ---- packets ---- */

static void request_sense(AtaDrive *d)
{
    uint8_t *b = d->buf;

    if (d->sense_key == SENSE_NONE && d->attention) {
        d->sense_key = SENSE_UNIT_ATTENTION;
        d->asc = d->attention == ATTENTION_RESET ? ASC_RESET : ASC_MEDIUM_CHANGED;
        d->attention = 0;
    }
    memset(b, 0, 18);
    b[0] = 0x70;
    b[2] = d->sense_key;
    b[7] = 10;
    b[12] = d->asc;
    b[13] = d->ascq;
    atapi_reply(d, 18, d->packet[4]);
}

/* What a drive does in spite of a pending unit attention (SPC-3, 4.5.6 and 5.6). */
static bool passes_attention(uint8_t op)
{
    return op == INQUIRY || op == REQUEST_SENSE || op == GET_EVENT_STATUS;
}

static bool needs_medium(uint8_t op)
{
    switch (op) {
    case TEST_UNIT_READY:
    case READ_10:
    case READ_12:
    case SEEK_10:
    case VERIFY_10:
    case READ_CD:
    case READ_CD_MSF:
    case 0x25: /* READ CAPACITY */
    case 0x42: /* READ SUB-CHANNEL */
    case 0x43: /* READ TOC */
    case 0x44: /* READ HEADER */
    case 0x51: /* READ DISC INFORMATION */
    case 0x52: /* READ TRACK INFORMATION */
    case 0xad: /* READ DISC STRUCTURE */
        return true;
    default:
        return false;
    }
}

static void seek(AtaDrive *d)
{
    if (be32(d->packet + 2) >= d->sectors) {
        atapi_check(d, SENSE_ILLEGAL_REQUEST, ASC_LBA_RANGE, 0);
    } else {
        atapi_good(d);
    }
}

static void mode_select(AtaDrive *d)
{
    uint32_t len = be16(d->packet + 7);

    if (len == 0) {
        atapi_good(d);
    } else if (len > MODE_SELECT_MAX || d->dma) {
        illegal_field(d);
    } else {
        d->count[0] = 0;
        d->lba_mid[0] = (uint8_t)len;
        d->lba_high[0] = (uint8_t)(len >> 8);
        ata_pio_out(d, 0, len, AFTER_CD_SELECT, true);
    }
}

static void run_packet(AtaDrive *d)
{
    const uint8_t *p = d->packet;

    if (d->attention && !passes_attention(p[0])) {
        uint8_t asc = d->attention == ATTENTION_RESET ? ASC_RESET : ASC_MEDIUM_CHANGED;
        d->attention = 0;
        atapi_check(d, SENSE_UNIT_ATTENTION, asc, 0);
        return;
    }
    if (needs_medium(p[0]) && !atapi_has_medium(d)) {
        no_medium(d);
        return;
    }
    switch (p[0]) {
    case TEST_UNIT_READY:
    case SYNCHRONIZE_CACHE:
    case SET_READ_AHEAD:
    case SET_CD_SPEED:
    case STOP_PLAY:
        atapi_good(d);
        break;
    case REQUEST_SENSE:
        request_sense(d);
        break;
    case START_STOP:
        start_stop(d);
        break;
    case PREVENT_ALLOW:
        d->locked = p[4] & 1;
        atapi_good(d);
        break;
    case READ_10:
        cmd_read(d, be32(p + 2), be16(p + 7), CD_SECTOR);
        break;
    case READ_12:
        cmd_read(d, be32(p + 2), be32(p + 6), CD_SECTOR);
        break;
    case READ_CD:
        read_cd(d, be32(p + 2), be32(p + 5) & 0xffffff);
        break;
    case READ_CD_MSF:
        read_cd_msf(d);
        break;
    case SEEK_10:
    case VERIFY_10:
        seek(d);
        break;
    case GET_EVENT_STATUS:
        get_event_status(d);
        break;
    case MODE_SELECT_10:
        mode_select(d);
        break;
    case PLAY_AUDIO_10:
    case PLAY_AUDIO_MSF:
    case PAUSE_RESUME:
        atapi_check(d, SENSE_ILLEGAL_REQUEST, ASC_ILLEGAL_MODE, 0);
        break;
    default:
        if (!atapi_info_command(d)) {
            guest_error("atapi: packet command %02x is not there", p[0]);
            atapi_check(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_COMMAND, 0);
        }
    }
}

void atapi_after(AtaDrive *d)
{
    switch (d->after) {
    case AFTER_PACKET:
        memcpy(d->packet, d->buf, sizeof(d->packet));
        run_packet(d);
        break;
    case AFTER_CD_READ:
        if (!d->dma && d->end < d->chunk_end) {
            send_block(d, d->end, AFTER_CD_READ);
        } else if (d->left) {
            cd_fetch(d);
        } else {
            atapi_good(d);
        }
        break;
    case AFTER_CD_REPLY:
        if (!d->dma && d->end < d->chunk_end) {
            send_block(d, d->end, AFTER_CD_REPLY);
        } else {
            end_packet(d, ATA_DRDY | ATA_DSC, 0);
        }
        break;
    default: /* AFTER_CD_SELECT: there is nothing to change in what the pages offer */
        atapi_good(d);
    }
}

/* ---- ATA commands ---- */

static void cmd_packet(AtaDrive *d)
{
    uint32_t limit = d->lba_mid[0] | (uint32_t)d->lba_high[0] << 8;

    /* FFFFh means FFFEh; 0 and 1 would transfer nothing for ever. */
    d->byte_limit = (uint16_t)(limit < 2 || limit == 0xffff ? 0xfffe : limit);
    d->dma = d->features[0] & FEATURE_DMA;
    d->left = 0;
    d->chunk_end = 0;
    d->power = 0xff;
    d->count[0] = IR_COMMAND;
    ata_pio_out(d, 0, sizeof(d->packet), AFTER_PACKET, false);
}

void atapi_command(AtaDrive *d, uint8_t cmd)
{
    switch (cmd) {
    case CMD_PACKET:
        cmd_packet(d);
        break;
    case CMD_IDENTIFY_PACKET:
        ata_identify_cdrom(d, d->buf);
        ata_pio_in(d, 0, ATA_SECTOR, AFTER_END, true);
        break;
    default:
        if (ata_common_command(d, cmd)) {
            break;
        }
        /* IDENTIFY DEVICE, READ SECTORS and all else: abort, showing what this is. */
        ata_set_signature(d);
        ata_abort(d);
    }
}

void atapi_power_on(AtaDrive *d)
{
    d->attention = ATTENTION_RESET;
    d->event = EVENT_NONE;
    d->tray_open = false;
    d->sense_key = SENSE_NONE;
    d->asc = d->ascq = 0;
}

void atapi_reset(AtaDrive *d)
{
    d->locked = false;
    d->left = 0;
    d->raw_size = CD_SECTOR;
}
