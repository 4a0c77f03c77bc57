/*
 * IDENTIFY DEVICE and IDENTIFY PACKET DEVICE data: ATA/ATAPI-7 volume 1, 6.17 and 6.18.
 */
#include "hw/ide/ata.h"
#include <string.h>

static void put(uint8_t *out, unsigned word, unsigned val)
{
    out[2 * word] = (uint8_t)val;
    out[2 * word + 1] = (uint8_t)(val >> 8);
}

static void put32(uint8_t *out, unsigned word, uint32_t val)
{
    put(out, word, val & 0xffff);
    put(out, word + 1, val >> 16);
}

/* Text fields: padded with blanks, the first letter in the high half of each word. */
static void put_text(uint8_t *out, unsigned word, unsigned words, const char *text)
{
    size_t n = strlen(text);

    for (unsigned i = 0; i < 2 * words; i++) {
        out[2 * word + (i ^ 1)] = i < n ? (uint8_t)text[i] : ' ';
    }
}

static void put_checksum(uint8_t *out)
{
    uint8_t sum = 0;

    out[510] = 0xa5;
    for (unsigned i = 0; i < 511; i++) {
        sum += out[i];
    }
    out[511] = (uint8_t)-sum;
}

/* Words 62–68, 88: transfer modes and which DMA mode is selected. */
static void put_modes(const AtaDrive *d, uint8_t *out)
{
    unsigned n = d->mode & 7, kind = d->mode >> 3;

    put(out, 63, 7 | (kind == 4 ? 0x100u << n : 0));
    put(out, 64, 3);
    put(out, 65, 120);
    put(out, 66, 120);
    put(out, 67, 120);
    put(out, 68, 120);
    put(out, 88, 0x3f | (kind == 8 ? 0x100u << n : 0));
}

static unsigned reset_result(const AtaDrive *d)
{
    /* 80-wire cable; passed diagnostics, found by jumper. */
    return d->unit ? 0x6b00 : 0x600b;
}

void ata_identify_disk(const AtaDrive *d, uint8_t *out)
{
    uint32_t chs = (uint32_t)d->cylinders * d->heads * d->spt;
    uint32_t lba28 = (uint32_t)MIN(d->sectors, 0x0fffffff);

    memset(out, 0, ATA_SECTOR);
    put(out, 0, 0x0040);
    put(out, 1, d->default_cylinders);
    put(out, 3, d->default_heads);
    put(out, 6, d->default_spt);
    put_text(out, 10, 10, d->serial);
    put(out, 20, 3);
    put(out, 21, 512);
    put(out, 22, 4);
    put_text(out, 23, 4, d->firmware);
    put_text(out, 27, 20, d->model);
    put(out, 47, 0x8000 | ATA_MAX_MULTIPLE);
    put(out, 48, 1);
    put(out, 49, 0x0f00); /* IORDY, LBA, DMA */
    put(out, 50, 0x4000);
    put(out, 51, 0x0200);
    put(out, 52, 0x0200);
    put(out, 53, 7);
    put(out, 54, d->cylinders);
    put(out, 55, d->heads);
    put(out, 56, d->spt);
    put32(out, 57, chs);
    put(out, 59, d->multiple ? 0x100 | d->multiple : 0);
    put32(out, 60, lba28);
    put_modes(d, out);
    put(out, 80, 0x00f0); /* ATA/ATAPI-4 to -7 */
    put(out, 81, 0x001a);
    /* SMART, power management, write cache, look-ahead, WRITE and READ BUFFER, NOP */
    unsigned sets = 1 << 0 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 12 | 1 << 13 | 1 << 14;
    put(out, 82, sets);
    put(out, 83, 1 << 14 | 1 << 13 | 1 << 12 | 1 << 10); /* FLUSH (EXT), LBA48 */
    put(out, 84, 1 << 14 | 1 << 6);                      /* WRITE FUA */
    put(out, 85,
        (sets & ~(1u | 1 << 5 | 1 << 6)) | (d->smart ? 1 : 0) | (d->write_cache ? 1 << 5 : 0) |
            (d->look_ahead ? 1 << 6 : 0));
    put(out, 86, 1 << 13 | 1 << 12 | 1 << 10);
    put(out, 87, 1 << 14 | 1 << 6);
    put(out, 93, reset_result(d));
    put32(out, 100, (uint32_t)d->sectors);
    put(out, 102, (unsigned)(d->sectors >> 32) & 0xffff);
    put(out, 105, 8); /* DATA SET MANAGEMENT takes 8 blocks */
    put(out, 169, 1);
    put_checksum(out);
}

void ata_identify_cdrom(const AtaDrive *d, uint8_t *out)
{
    memset(out, 0, ATA_SECTOR);
    put(out, 0, 0x85c0); /* ATAPI, CD-ROM, removable, DRQ within 50 us, 12-byte packets */
    put_text(out, 10, 10, d->serial);
    put(out, 20, 3);
    put(out, 21, 512);
    put(out, 22, 4);
    put_text(out, 23, 4, d->firmware);
    put_text(out, 27, 20, d->model);
    put(out, 48, 1);
    put(out, 49, 0x0f00);
    put(out, 51, 0x0200);
    put(out, 52, 0x0200);
    put(out, 53, 7);
    put_modes(d, out);
    put(out, 71, 30);
    put(out, 72, 30);
    put(out, 80, 0x00f0);
    put(out, 81, 0x001a);
    put(out, 82, 1 << 14 | 1 << 9 | 1 << 4 | 1 << 3); /* NOP, DEVICE RESET, PACKET, power */
    put(out, 83, 1 << 14);
    put(out, 84, 1 << 14);
    put(out, 85, 1 << 14 | 1 << 9 | 1 << 4 | 1 << 3);
    put(out, 87, 1 << 14);
    put(out, 93, reset_result(d));
    put_checksum(out);
}
