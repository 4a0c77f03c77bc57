/*
 * Commands of hard disks: ATA/ATAPI-7 volume 1, chapter 6; DATA SET MANAGEMENT: ACS-2, 7.10.
 */
#include "core/log.h"
#include "hw/ide/ata.h"
#include <errno.h>
#include <string.h>

#define CHUNK_SECTORS (ATA_BUFFER / ATA_SECTOR)
#define TRIM_MAX_BLOCKS 8

enum {
    CMD_NOP = 0x00,
    CMD_TRIM = 0x06,
    CMD_RECALIBRATE = 0x10, /* …1Fh */
    CMD_READ = 0x20,
    CMD_READ_NORETRY = 0x21,
    CMD_READ_EXT = 0x24,
    CMD_READ_DMA_EXT = 0x25,
    CMD_READ_MAX_EXT = 0x27,
    CMD_READ_MULTIPLE_EXT = 0x29,
    CMD_WRITE = 0x30,
    CMD_WRITE_NORETRY = 0x31,
    CMD_WRITE_EXT = 0x34,
    CMD_WRITE_DMA_EXT = 0x35,
    CMD_WRITE_MULTIPLE_EXT = 0x39,
    CMD_WRITE_DMA_FUA_EXT = 0x3d,
    CMD_VERIFY = 0x40,
    CMD_VERIFY_NORETRY = 0x41,
    CMD_VERIFY_EXT = 0x42,
    CMD_SEEK = 0x70, /* …7Fh */
    CMD_INIT_PARAMS = 0x91,
    CMD_SMART = 0xb0,
    CMD_READ_MULTIPLE = 0xc4,
    CMD_WRITE_MULTIPLE = 0xc5,
    CMD_SET_MULTIPLE = 0xc6,
    CMD_READ_DMA = 0xc8,
    CMD_READ_DMA_NORETRY = 0xc9,
    CMD_WRITE_DMA = 0xca,
    CMD_WRITE_DMA_NORETRY = 0xcb,
    CMD_WRITE_MULTIPLE_FUA_EXT = 0xce,
    CMD_READ_BUFFER = 0xe4,
    CMD_FLUSH = 0xe7,
    CMD_WRITE_BUFFER = 0xe8,
    CMD_FLUSH_EXT = 0xea,
    CMD_IDENTIFY = 0xec,
    CMD_READ_MAX = 0xf8,

    DEV_LBA = 0x40,
    POWER_ACTIVE = 0xff,
};

/* ---- addresses ---- */

/* The sector that the registers name; false (and nothing) for an impossible CHS address. */
static bool get_lba(const AtaDrive *d, bool ext, uint64_t *lba)
{
    unsigned head = d->device & 15;

    if (ext) {
        *lba = d->lba_low[0] | d->lba_mid[0] << 8 | d->lba_high[0] << 16 |
               (uint64_t)d->lba_low[1] << 24 | (uint64_t)d->lba_mid[1] << 32 |
               (uint64_t)d->lba_high[1] << 40;
        return true;
    }
    if (d->device & DEV_LBA) {
        *lba = d->lba_low[0] | d->lba_mid[0] << 8 | d->lba_high[0] << 16 | (uint64_t)head << 24;
        return true;
    }
    unsigned cylinder = d->lba_mid[0] | d->lba_high[0] << 8, sector = d->lba_low[0];
    if (sector == 0 || sector > d->spt || head >= d->heads) {
        return false;
    }
    *lba = ((uint64_t)cylinder * d->heads + head) * d->spt + sector - 1;
    return true;
}

/* Where an error was, or the command ended. */
static void set_lba(AtaDrive *d, uint64_t lba)
{
    if (d->lba48) {
        d->lba_low[0] = (uint8_t)lba;
        d->lba_mid[0] = (uint8_t)(lba >> 8);
        d->lba_high[0] = (uint8_t)(lba >> 16);
        d->lba_low[1] = (uint8_t)(lba >> 24);
        d->lba_mid[1] = (uint8_t)(lba >> 32);
        d->lba_high[1] = (uint8_t)(lba >> 40);
    } else if (d->device & DEV_LBA) {
        d->lba_low[0] = (uint8_t)lba;
        d->lba_mid[0] = (uint8_t)(lba >> 8);
        d->lba_high[0] = (uint8_t)(lba >> 16);
        d->device = (uint8_t)((d->device & 0xf0) | ((lba >> 24) & 15));
    } else if (d->spt && d->heads) {
        uint64_t track = lba / d->spt, cylinder = track / d->heads;
        d->lba_low[0] = (uint8_t)(lba % d->spt + 1);
        d->device = (uint8_t)((d->device & 0xf0) | (track % d->heads));
        d->lba_mid[0] = (uint8_t)cylinder;
        d->lba_high[0] = (uint8_t)(cylinder >> 8);
    }
}

static uint32_t get_count(const AtaDrive *d, bool ext)
{
    if (ext) {
        uint32_t n = d->count[0] | (uint32_t)d->count[1] << 8;
        return n ? n : 65536;
    }
    return d->count[0] ? d->count[0] : 256;
}

/* Address and count of a command that moves sectors; ends it when they are not on the disk. */
static bool begin(AtaDrive *d, bool ext)
{
    d->lba48 = ext;
    d->power = POWER_ACTIVE;
    d->left = get_count(d, ext);
    if (!get_lba(d, ext, &d->lba) || d->lba >= d->sectors || d->left > d->sectors - d->lba) {
        ata_fail(d, ATA_ERR_IDNF);
        return false;
    }
    return true;
}

static void sectors_done(AtaDrive *d, uint32_t n)
{
    d->lba += n;
    d->left -= MIN(n, d->left);
}

static void end_transfer(AtaDrive *d)
{
    set_lba(d, d->lba - 1);
    d->count[0] = 0;
    if (d->phase == ATA_PIO_IN) {
        d->phase = ATA_IDLE;
        d->after = AFTER_END;
        d->status = ATA_DRDY | ATA_DSC;
    } else {
        ata_done(d);
    }
}

/* A request came back; false when nobody waits for it any more, or it failed (with @error). */
static bool completed(AtaDrive *d, int ret, uint8_t error)
{
    if (d->cancelled) {
        return false;
    }
    if (ret < 0) {
        ata_report_error(d, ret);
        set_lba(d, d->lba);
        ata_fail(d, error);
        return false;
    }
    return true;
}

/* ---- reading ---- */

static void offer_block(AtaDrive *d, uint32_t pos)
{
    uint32_t len = MIN(d->drq_sectors * ATA_SECTOR, d->chunk_end - pos);
    ata_pio_in(d, pos, len, AFTER_READ, true);
}

static void read_done(void *opaque, int ret)
{
    AtaDrive *d = opaque;

    if (!completed(d, ret, ATA_ERR_UNC)) {
        return;
    }
    if (d->dma) {
        ata_dma(d, true, d->chunk_end, AFTER_READ);
    } else {
        offer_block(d, 0);
    }
}

static void fetch(AtaDrive *d)
{
    uint32_t n = MIN(d->left, CHUNK_SECTORS);
    struct iovec iov = {d->buf, (size_t)n * ATA_SECTOR};

    d->chunk_end = n * ATA_SECTOR;
    ata_busy(d);
    block_read(d->block, d->lba * ATA_SECTOR, &iov, 1, read_done, d);
}

static void after_read(AtaDrive *d)
{
    if (d->dma) {
        sectors_done(d, d->chunk_end / ATA_SECTOR);
    } else {
        sectors_done(d, MIN(d->drq_sectors, d->left));
    }
    if (d->left == 0) {
        end_transfer(d);
    } else if (!d->dma && d->end < d->chunk_end) {
        offer_block(d, d->end);
    } else {
        fetch(d);
    }
}

static void cmd_read(AtaDrive *d, bool ext, bool dma, uint32_t drq_sectors)
{
    if (drq_sectors == 0) {
        ata_abort(d); /* READ MULTIPLE while it is switched off */
        return;
    }
    if (begin(d, ext)) {
        d->dma = dma;
        d->drq_sectors = drq_sectors;
        fetch(d);
    }
}

/* ---- writing ---- */

static void want_chunk(AtaDrive *d, bool irq)
{
    d->chunk_end = MIN(d->left, CHUNK_SECTORS) * ATA_SECTOR;
    if (d->dma) {
        ata_dma(d, false, d->chunk_end, AFTER_WRITE);
    } else {
        ata_pio_out(d, 0, MIN(d->drq_sectors * ATA_SECTOR, d->chunk_end), AFTER_WRITE, irq);
    }
}

static void write_flushed(void *opaque, int ret)
{
    AtaDrive *d = opaque;
    if (completed(d, ret, ATA_ERR_ABRT)) {
        end_transfer(d);
    }
}

static void write_done(void *opaque, int ret)
{
    AtaDrive *d = opaque;

    if (!completed(d, ret, ATA_ERR_ABRT)) {
        return;
    }
    sectors_done(d, d->chunk_end / ATA_SECTOR);
    if (d->left) {
        want_chunk(d, true);
    } else if ((d->fua || !d->write_cache) && block_write_cache(d->block)) {
        block_flush(d->block, write_flushed, d);
    } else {
        end_transfer(d);
    }
}

static void after_write(AtaDrive *d)
{
    if (!d->dma && d->end < d->chunk_end) {
        uint32_t len = MIN(d->drq_sectors * ATA_SECTOR, d->chunk_end - d->end);
        ata_pio_out(d, d->end, len, AFTER_WRITE, true);
        return;
    }
    struct iovec iov = {d->buf, d->chunk_end};
    ata_busy(d);
    block_write(d->block, d->lba * ATA_SECTOR, &iov, 1, write_done, d);
}

static void cmd_write(AtaDrive *d, bool ext, bool dma, uint32_t drq_sectors, bool fua)
{
    if (drq_sectors == 0) {
        ata_abort(d);
        return;
    }
    if (begin(d, ext)) {
        d->dma = dma;
        d->drq_sectors = drq_sectors;
        d->fua = fua;
        want_chunk(d, false);
    }
}

/* ---- flush and trim ---- */

static void flush_done(void *opaque, int ret)
{
    AtaDrive *d = opaque;
    if (completed(d, ret, ATA_ERR_ABRT)) {
        ata_done(d);
    }
}

static void cmd_flush(AtaDrive *d)
{
    ata_busy(d);
    block_flush(d->block, flush_done, d);
}

static void trim_done(void *opaque, int ret);

/* The next range of the list in the buffer: 48 bits of address, 16 of length. */
static void trim_next(AtaDrive *d)
{
    while (d->trim_pos + 8 <= d->chunk_end) {
        const uint8_t *p = d->buf + d->trim_pos;
        uint64_t lba = 0, n = p[6] | (uint64_t)p[7] << 8;
        for (unsigned i = 0; i < 6; i++) {
            lba |= (uint64_t)p[i] << (8 * i);
        }
        d->trim_pos += 8;
        if (n == 0) {
            continue;
        }
        if (lba >= d->sectors || n > d->sectors - lba) {
            ata_fail(d, ATA_ERR_IDNF);
            return;
        }
        block_discard(d->block, lba * ATA_SECTOR, n * ATA_SECTOR, trim_done, d);
        return;
    }
    ata_done(d);
}

static void trim_done(void *opaque, int ret)
{
    AtaDrive *d = opaque;
    if (completed(d, ret, ATA_ERR_ABRT)) {
        trim_next(d);
    }
}

static void cmd_trim(AtaDrive *d)
{
    uint32_t blocks = d->count[0] | (uint32_t)d->count[1] << 8;

    if (d->features[0] != 1 || blocks == 0 || blocks > TRIM_MAX_BLOCKS) {
        ata_abort(d);
        return;
    }
    d->chunk_end = blocks * ATA_SECTOR;
    d->trim_pos = 0;
    ata_dma(d, false, d->chunk_end, AFTER_TRIM);
}

void ata_disk_after(AtaDrive *d)
{
    switch (d->after) {
    case AFTER_READ:
        after_read(d);
        break;
    case AFTER_WRITE:
        after_write(d);
        break;
    case AFTER_TRIM:
        ata_busy(d);
        trim_next(d);
        break;
    }
}

/* ---- SMART: a disk without failures ---- */

static void smart_sum(uint8_t *buf)
{
    uint8_t sum = 0;
    for (unsigned i = 0; i < 511; i++) {
        sum += buf[i];
    }
    buf[511] = (uint8_t)-sum;
}

static void smart_data(AtaDrive *d, bool thresholds)
{
    /* id, flags, value, worst, raw: reallocated sectors, power-on hours, power cycles, pending */
    static const uint8_t attributes[][4] = {
        {5, 3, 100, 36}, {9, 3, 100, 0}, {12, 3, 100, 0}, {197, 3, 100, 0}};

    memset(d->buf, 0, ATA_SECTOR);
    d->buf[0] = 1;
    for (unsigned i = 0; i < G_N_ELEMENTS(attributes); i++) {
        uint8_t *p = d->buf + 2 + 12 * i;
        const uint8_t *a = attributes[i];
        p[0] = a[0];
        if (thresholds) {
            p[1] = a[3];
        } else {
            p[1] = a[1];
            p[3] = p[4] = a[2];
        }
    }
    if (!thresholds) {
        d->buf[362] = 0x82; /* off-line collection completed */
        d->buf[368] = 3;
        d->buf[372] = 2;
    }
    smart_sum(d->buf);
    ata_pio_in(d, 0, ATA_SECTOR, AFTER_END, true);
}

static void cmd_smart(AtaDrive *d)
{
    uint8_t sub = d->features[0];

    if (d->lba_mid[0] != 0x4f || d->lba_high[0] != 0xc2 || (!d->smart && sub != 0xd8)) {
        ata_abort(d);
        return;
    }
    switch (sub) {
    case 0xd0:
        smart_data(d, false);
        break;
    case 0xd1:
        smart_data(d, true);
        break;
    case 0xd8:
        d->smart = true;
        ata_done(d);
        break;
    case 0xd9:
        d->smart = false;
        ata_done(d);
        break;
    case 0xda: /* RETURN STATUS: unchanged registers mean good */
    case 0xd2: /* autosave, save, self-test: nothing to do */
    case 0xd3:
    case 0xd4:
        ata_done(d);
        break;
    default:
        ata_abort(d);
    }
}

/* ---- commands ---- */

static void cmd_init_params(AtaDrive *d)
{
    if (d->count[0] == 0) {
        ata_abort(d);
        return;
    }
    d->spt = d->count[0];
    d->heads = (uint16_t)((d->device & 15) + 1);
    uint64_t cylinders = MIN(d->sectors, 0xfc0000) / ((uint32_t)d->heads * d->spt);
    d->cylinders = (uint16_t)MIN(cylinders, 0xffff);
    ata_done(d);
}

static void cmd_set_multiple(AtaDrive *d)
{
    uint8_t n = d->count[0];

    if (n > ATA_MAX_MULTIPLE || (n & (n - 1))) {
        ata_abort(d);
        return;
    }
    d->multiple = n;
    ata_done(d);
}

static void cmd_verify(AtaDrive *d, bool ext)
{
    if (begin(d, ext)) {
        sectors_done(d, d->left);
        set_lba(d, d->lba - 1);
        ata_done(d);
    }
}

static void cmd_seek(AtaDrive *d)
{
    uint64_t lba;

    d->lba48 = false;
    if (!get_lba(d, false, &lba) || lba >= d->sectors) {
        ata_fail(d, ATA_ERR_IDNF);
        return;
    }
    ata_done(d);
}

static void cmd_read_max(AtaDrive *d, bool ext)
{
    d->lba48 = ext;
    if (ext) {
        set_lba(d, d->sectors - 1);
    } else {
        d->device |= DEV_LBA;
        set_lba(d, MIN(d->sectors, 0x10000000) - 1);
    }
    ata_done(d);
}

static bool data_command(AtaDrive *d, uint8_t cmd)
{
    switch (cmd) {
    case CMD_READ:
    case CMD_READ_NORETRY:
    case CMD_READ_EXT:
        cmd_read(d, cmd == CMD_READ_EXT, false, 1);
        return true;
    case CMD_READ_MULTIPLE:
    case CMD_READ_MULTIPLE_EXT:
        cmd_read(d, cmd == CMD_READ_MULTIPLE_EXT, false, d->multiple);
        return true;
    case CMD_READ_DMA:
    case CMD_READ_DMA_NORETRY:
    case CMD_READ_DMA_EXT:
        cmd_read(d, cmd == CMD_READ_DMA_EXT, true, 1);
        return true;
    case CMD_WRITE:
    case CMD_WRITE_NORETRY:
    case CMD_WRITE_EXT:
        cmd_write(d, cmd == CMD_WRITE_EXT, false, 1, false);
        return true;
    case CMD_WRITE_MULTIPLE:
    case CMD_WRITE_MULTIPLE_EXT:
        cmd_write(d, cmd == CMD_WRITE_MULTIPLE_EXT, false, d->multiple, false);
        return true;
    case CMD_WRITE_MULTIPLE_FUA_EXT:
        cmd_write(d, true, false, d->multiple, true);
        return true;
    case CMD_WRITE_DMA:
    case CMD_WRITE_DMA_NORETRY:
    case CMD_WRITE_DMA_EXT:
        cmd_write(d, cmd == CMD_WRITE_DMA_EXT, true, 1, false);
        return true;
    case CMD_WRITE_DMA_FUA_EXT:
        cmd_write(d, true, true, 1, true);
        return true;
    case CMD_VERIFY:
    case CMD_VERIFY_NORETRY:
    case CMD_VERIFY_EXT:
        cmd_verify(d, cmd == CMD_VERIFY_EXT);
        return true;
    default:
        return false;
    }
}

void ata_disk_command(AtaDrive *d, uint8_t cmd)
{
    if (data_command(d, cmd) || ata_common_command(d, cmd)) {
        return;
    }
    if ((cmd & 0xf0) == CMD_RECALIBRATE) {
        ata_done(d);
        return;
    }
    if ((cmd & 0xf0) == CMD_SEEK) {
        cmd_seek(d);
        return;
    }
    switch (cmd) {
    case CMD_IDENTIFY:
        ata_identify_disk(d, d->buf);
        ata_pio_in(d, 0, ATA_SECTOR, AFTER_END, true);
        break;
    case CMD_INIT_PARAMS:
        cmd_init_params(d);
        break;
    case CMD_SET_MULTIPLE:
        cmd_set_multiple(d);
        break;
    case CMD_FLUSH:
    case CMD_FLUSH_EXT:
        cmd_flush(d);
        break;
    case CMD_TRIM:
        cmd_trim(d);
        break;
    case CMD_SMART:
        cmd_smart(d);
        break;
    case CMD_READ_MAX:
    case CMD_READ_MAX_EXT:
        cmd_read_max(d, cmd == CMD_READ_MAX_EXT);
        break;
    case CMD_READ_BUFFER:
        ata_pio_in(d, 0, ATA_SECTOR, AFTER_END, true);
        break;
    case CMD_WRITE_BUFFER:
        ata_pio_out(d, 0, ATA_SECTOR, AFTER_END, false);
        break;
    default: /* NOP too: it always ends with an abort */
        if (cmd != CMD_NOP) {
            guest_error("ata: command %02x is not there", cmd);
        }
        ata_abort(d);
    }
}

void ata_disk_power_on(AtaDrive *d)
{
    d->default_heads = 16;
    d->default_spt = 63;
    d->default_cylinders = (unsigned)CLAMP(d->sectors / (16 * 63), 1, 16383);
    d->heads = (uint16_t)d->default_heads;
    d->spt = (uint16_t)d->default_spt;
    d->cylinders = (uint16_t)d->default_cylinders;
    d->multiple = ATA_MAX_MULTIPLE;
    d->smart = true;
}
