/*
 * SCSI direct-access device: INCITS 351 (SPC-2) and 405 (SBC-2), of T10; sense codes: SPC-2, table
 * 108. What USB mass storage drivers use.
 */
#include "hw/usb/scsi_disk.h"
#include "core/log.h"
#include <errno.h>
#include <string.h>

enum {
    TEST_UNIT_READY = 0x00,
    REQUEST_SENSE = 0x03,
    READ_6 = 0x08,
    WRITE_6 = 0x0a,
    INQUIRY = 0x12,
    MODE_SENSE_6 = 0x1a,
    START_STOP = 0x1b,
    PREVENT_REMOVAL = 0x1e,
    READ_FORMAT_CAPACITIES = 0x23,
    READ_CAPACITY_10 = 0x25,
    READ_10 = 0x28,
    WRITE_10 = 0x2a,
    SEEK_10 = 0x2b,
    VERIFY_10 = 0x2f,
    SYNCHRONIZE_CACHE = 0x35,
    MODE_SENSE_10 = 0x5a,
    READ_16 = 0x88,
    WRITE_16 = 0x8a,
    SYNCHRONIZE_CACHE_16 = 0x91,
    SERVICE_ACTION_IN = 0x9e,
    READ_CAPACITY_16 = 0x10,
    REPORT_LUNS = 0xa0,
    READ_12 = 0xa8,
    WRITE_12 = 0xaa,

    KEY_NONE = 0,
    KEY_NOT_READY = 2,
    KEY_MEDIUM_ERROR = 3,
    KEY_ILLEGAL_REQUEST = 5,
    KEY_UNIT_ATTENTION = 6,
    KEY_DATA_PROTECT = 7,

    ASC_WRITE_ERROR = 0x0c,
    ASC_READ_ERROR = 0x11,
    ASC_INVALID_OPCODE = 0x20,
    ASC_OUT_OF_RANGE = 0x21,
    ASC_INVALID_FIELD = 0x24,
    ASC_WRITE_PROTECTED = 0x27,
    ASC_MEDIUM_CHANGED = 0x28,
    ASC_RESET = 0x29,
    ASC_NO_MEDIUM = 0x3a,
    ASC_REMOVAL_PREVENTED = 0x53, /* with 02h */

    PAGE_CACHING = 0x08,
    PAGE_ALL = 0x3f,
};

static uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t be32(const uint8_t *p)
{
    return be16(p) << 16 | be16(p + 2);
}

static void put_be32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> (24 - 8 * i));
    }
}

static uint64_t blocks_of(const ScsiDisk *s)
{
    return s->block ? block_size(s->block) / SCSI_BLOCK : 0;
}

static ScsiCommand check(ScsiDisk *s, uint8_t key, uint8_t asc, uint8_t ascq)
{
    s->key = key;
    s->asc = asc;
    s->ascq = ascq;
    return (ScsiCommand){.status = SCSI_CHECK_CONDITION};
}

static ScsiCommand good(void)
{
    return (ScsiCommand){.status = SCSI_GOOD};
}

static ScsiCommand reply(uint32_t len, uint32_t allocation)
{
    return (ScsiCommand){.action = SCSI_REPLY, .len = MIN(len, allocation)};
}

static ScsiCommand invalid_field(ScsiDisk *s)
{
    return check(s, KEY_ILLEGAL_REQUEST, ASC_INVALID_FIELD, 0);
}

/* ---- what the device is ---- */

/* Fixed width, padded with blanks, as all texts of INQUIRY. */
static void put_text(uint8_t *p, const char *text, size_t width)
{
    memset(p, ' ', width);
    memcpy(p, text, MIN(strlen(text), width));
}

static ScsiCommand inquiry_page(ScsiDisk *s, uint8_t page, uint32_t allocation, uint8_t *out)
{
    size_t n = strlen(s->serial);

    out[1] = page;
    switch (page) {
    case 0x00: /* which pages there are */
        memcpy(out + 4, "\x00\x80\x83", 3);
        out[3] = 3;
        break;
    case 0x80:
        memcpy(out + 4, s->serial, n);
        out[3] = (uint8_t)n;
        break;
    case 0x83: /* T10 vendor identification */
        out[4] = 2;
        out[5] = 1;
        out[7] = (uint8_t)(8 + n);
        put_text(out + 8, "RHEA", 8);
        memcpy(out + 16, s->serial, n);
        out[3] = (uint8_t)(12 + n);
        break;
    default:
        return invalid_field(s);
    }
    return reply(4u + out[3], allocation);
}

static ScsiCommand inquiry(ScsiDisk *s, const uint8_t *cdb, uint8_t *out)
{
    uint32_t allocation = be16(cdb + 3);

    if (cdb[1] & 1) {
        return inquiry_page(s, cdb[2], allocation, out);
    }
    if (cdb[2]) {
        return invalid_field(s);
    }
    out[1] = s->removable ? 0x80 : 0;
    out[2] = 4; /* SPC-2 */
    out[3] = 2;
    out[4] = 36 - 5;
    put_text(out + 8, "RHEA", 8);
    put_text(out + 16, "USB DISK", 16);
    put_text(out + 32, "1.0", 4);
    return reply(36, allocation);
}

static ScsiCommand request_sense(ScsiDisk *s, const uint8_t *cdb, uint8_t *out)
{
    if (s->attention && s->key == KEY_NONE) {
        s->attention = false;
        check(s, KEY_UNIT_ATTENTION, ASC_RESET, 0);
    }
    out[0] = 0x70;
    out[2] = s->key;
    out[7] = 10;
    out[12] = s->asc;
    out[13] = s->ascq;
    check(s, KEY_NONE, 0, 0);
    return reply(18, cdb[4]);
}

static ScsiCommand mode_sense(ScsiDisk *s, const uint8_t *cdb, bool ten, uint8_t *out)
{
    uint8_t page = cdb[2] & 0x3f, control = cdb[2] >> 6;
    unsigned n = ten ? 8 : 4;
    uint8_t device = s->block && block_read_only(s->block) ? 0x80 : 0;

    if ((page != PAGE_CACHING && page != PAGE_ALL) || control == 3) {
        return invalid_field(s);
    }
    out[n] = PAGE_CACHING;
    out[n + 1] = 18;
    out[n + 2] = control == 1 ? 0 : 4; /* write cache; nothing can be changed */
    n += 20;
    if (ten) {
        out[1] = (uint8_t)(n - 2);
        out[3] = device;
        return reply(n, be16(cdb + 7));
    }
    out[0] = (uint8_t)(n - 1);
    out[2] = device;
    return reply(n, cdb[4]);
}

static ScsiCommand read_capacity(ScsiDisk *s, const uint8_t *cdb, bool sixteen, uint8_t *out)
{
    uint64_t last = blocks_of(s) - 1;

    if (sixteen) {
        put_be32(out, (uint32_t)(last >> 32));
        put_be32(out + 4, (uint32_t)last);
        put_be32(out + 8, SCSI_BLOCK);
        return reply(32, be32(cdb + 10));
    }
    put_be32(out, (uint32_t)MIN(last, UINT32_MAX));
    put_be32(out + 4, SCSI_BLOCK);
    return reply(8, 8);
}

/* Of UFI (USB Mass Storage UFI Command Specification 1.0, 4.10); Windows asks every USB disk. */
static ScsiCommand read_format_capacities(ScsiDisk *s, const uint8_t *cdb, uint8_t *out)
{
    out[3] = 8;
    put_be32(out + 4, (uint32_t)MIN(blocks_of(s), UINT32_MAX));
    put_be32(out + 8, SCSI_BLOCK);
    out[8] = s->block ? 2 : 3; /* formatted, or no medium */
    return reply(12, be16(cdb + 7));
}

/* ---- blocks ---- */

static ScsiCommand move(ScsiDisk *s, uint64_t lba, uint32_t blocks, bool write)
{
    uint64_t n = blocks_of(s);

    if (lba > n || blocks > n - lba || (lba == n && !blocks)) {
        return check(s, KEY_ILLEGAL_REQUEST, ASC_OUT_OF_RANGE, 0);
    }
    if (write && block_read_only(s->block)) {
        return check(s, KEY_DATA_PROTECT, ASC_WRITE_PROTECTED, 0);
    }
    return (ScsiCommand){.action = !blocks ? SCSI_NO_DATA
                                   : write ? SCSI_WRITE
                                           : SCSI_READ,
                         .lba = lba,
                         .blocks = blocks};
}

static ScsiCommand start_stop(ScsiDisk *s, const uint8_t *cdb)
{
    bool eject = cdb[4] & 2, start = cdb[4] & 1;

    if (eject && !start && s->removable && s->locked) {
        return check(s, KEY_ILLEGAL_REQUEST, ASC_REMOVAL_PREVENTED, 2);
    }
    return good(); /* there is no motor, and no tray */
}

/* Commands that need a medium. */
static ScsiCommand medium_command(ScsiDisk *s, const uint8_t *cdb, uint8_t *out)
{
    uint32_t n6 = cdb[4] ? cdb[4] : 256, lba6 = be32(cdb) & 0x1fffff;

    switch (cdb[0]) {
    case TEST_UNIT_READY:
    case SEEK_10:
        return good();
    case READ_6:
    case WRITE_6:
        return move(s, lba6, n6, cdb[0] == WRITE_6);
    case READ_10:
    case WRITE_10:
        return move(s, be32(cdb + 2), be16(cdb + 7), cdb[0] == WRITE_10);
    case READ_12:
    case WRITE_12:
        return move(s, be32(cdb + 2), be32(cdb + 6), cdb[0] == WRITE_12);
    case READ_16:
    case WRITE_16:
        return move(s, (uint64_t)be32(cdb + 2) << 32 | be32(cdb + 6), be32(cdb + 10),
                    cdb[0] == WRITE_16);
    case VERIFY_10: {
        if (cdb[1] & 2) {
            return invalid_field(s); /* comparing with data is not offered */
        }
        ScsiCommand c = move(s, be32(cdb + 2), be16(cdb + 7), false);
        c.action = SCSI_NO_DATA;
        return c;
    }
    case SYNCHRONIZE_CACHE:
    case SYNCHRONIZE_CACHE_16:
        return (ScsiCommand){.action = SCSI_FLUSH};
    case READ_CAPACITY_10:
        return read_capacity(s, cdb, false, out);
    case SERVICE_ACTION_IN:
        return (cdb[1] & 0x1f) == READ_CAPACITY_16 ? read_capacity(s, cdb, true, out)
                                                   : invalid_field(s);
    default:
        return check(s, KEY_ILLEGAL_REQUEST, ASC_INVALID_OPCODE, 0);
    }
}

/* Bytes of a command, by its group (SPC-2, 4.3). */
static unsigned command_len(uint8_t op)
{
    static const uint8_t lens[8] = {6, 10, 10, 16, 16, 12, 16, 16};

    return lens[op >> 5];
}

ScsiCommand scsi_disk_command(ScsiDisk *s, const uint8_t *cdb_in, unsigned len, uint8_t *out)
{
    uint8_t cdb[16] = {0};

    memset(out, 0, SCSI_REPLY_MAX);
    memcpy(cdb, cdb_in, MIN(len, sizeof(cdb)));
    if (cdb[0] == REQUEST_SENSE) {
        return request_sense(s, cdb, out);
    }
    check(s, KEY_NONE, 0, 0);
    if (len < MIN(command_len(cdb[0]), 10)) { /* some hosts cut zeros off behind */
        if (len < 6) {
            return invalid_field(s);
        }
    }
    if (cdb[0] == INQUIRY) {
        return inquiry(s, cdb, out);
    }
    if (cdb[0] == REPORT_LUNS) {
        put_be32(out, 8);
        return be32(cdb + 6) < 16 ? invalid_field(s) : reply(16, be32(cdb + 6));
    }
    if (s->attention || s->changed) {
        uint8_t asc = s->attention ? ASC_RESET : ASC_MEDIUM_CHANGED;
        *(s->attention ? &s->attention : &s->changed) = false;
        return check(s, KEY_UNIT_ATTENTION, asc, 0);
    }
    switch (cdb[0]) {
    case MODE_SENSE_6:
    case MODE_SENSE_10:
        return mode_sense(s, cdb, cdb[0] == MODE_SENSE_10, out);
    case START_STOP:
        return start_stop(s, cdb);
    case PREVENT_REMOVAL:
        if (!s->removable) {
            return invalid_field(s);
        }
        s->locked = cdb[4] & 1;
        return good();
    case READ_FORMAT_CAPACITIES:
        return read_format_capacities(s, cdb, out);
    default:
        break;
    }
    return s->block ? medium_command(s, cdb, out) : check(s, KEY_NOT_READY, ASC_NO_MEDIUM, 0);
}

void scsi_disk_io_error(ScsiDisk *s, int ret)
{
    if (ret == -EROFS) {
        check(s, KEY_DATA_PROTECT, ASC_WRITE_PROTECTED, 0);
    } else {
        check(s, KEY_MEDIUM_ERROR, ret == -ENOSPC ? ASC_WRITE_ERROR : ASC_READ_ERROR, 0);
    }
}

void scsi_disk_reset(ScsiDisk *s)
{
    check(s, KEY_NONE, 0, 0);
    s->locked = false;
    s->changed = false;
    s->attention = true;
}

void scsi_disk_set_medium(ScsiDisk *s, BlockDev *block)
{
    s->block = block;
    s->locked = false;
    s->changed = block != NULL;
}

static const StateField fields[] = {
    STATE_U8(ScsiDisk, key),
    STATE_U8(ScsiDisk, asc),
    STATE_U8(ScsiDisk, ascq),
    STATE_BOOL(ScsiDisk, locked),
    STATE_BOOL(ScsiDisk, attention),
    STATE_BOOL(ScsiDisk, changed),
    STATE_END_FIELD,
};
const StateTable scsi_disk_state = {.name = "scsi-disk", .version = 1, .fields = fields};
