/* Saved state of ATA channels and their drives. */
#include "core/log.h"
#include "hw/ide/ata.h"

static void pre_save(void *obj)
{
    AtaChannel *c = obj;
    /* No request survives in a stream. */
    for (unsigned i = 0; i < 2; i++) {
        if (c->drives[i].block) {
            block_drain(c->drives[i].block);
        }
    }
}

static bool drive_post_load(void *obj, GError **err)
{
    AtaDrive *d = obj;
    bool ok = d->pos <= d->end && d->end <= ATA_BUFFER && d->chunk_end <= ATA_BUFFER &&
              d->phase <= ATA_SLEEP && d->phase != ATA_BUSY && d->after < AFTER_LAST &&
              d->multiple <= ATA_MAX_MULTIPLE && d->drq_sectors <= ATA_MAX_MULTIPLE &&
              d->trim_pos <= ATA_BUFFER;
    bool cd_after = d->after >= AFTER_PACKET && d->after < AFTER_LAST;

    if (d->kind == ATA_NONE) {
        d->phase = ATA_IDLE;
        d->after = AFTER_END;
    }
    ok = ok && (d->kind != ATA_CDROM || d->raw_size == CD_SECTOR || d->raw_size == 2352);
    ok = ok && (d->drq_sectors || (d->after != AFTER_READ && d->after != AFTER_WRITE));
    ok = ok && (d->after == AFTER_END || cd_after == (d->kind == ATA_CDROM));
    if (!ok) {
        return fail(err, "saved state of an IDE drive is out of range");
    }
    return true;
}

static const StateField drive_fields[] = {
    STATE_U8_ARRAY(AtaDrive, features), STATE_U8_ARRAY(AtaDrive, count),
    STATE_U8_ARRAY(AtaDrive, lba_low),  STATE_U8_ARRAY(AtaDrive, lba_mid),
    STATE_U8_ARRAY(AtaDrive, lba_high), STATE_U8(AtaDrive, device),
    STATE_U8(AtaDrive, error),          STATE_U8(AtaDrive, status),
    STATE_BOOL(AtaDrive, irq),          STATE_U8(AtaDrive, phase),
    STATE_U8(AtaDrive, after),          STATE_U8_ARRAY(AtaDrive, buf),
    STATE_U32(AtaDrive, pos),           STATE_U32(AtaDrive, end),
    STATE_U32(AtaDrive, chunk_end),     STATE_BOOL(AtaDrive, dma),
    STATE_BOOL(AtaDrive, quiet),        STATE_BOOL(AtaDrive, lba48),
    STATE_BOOL(AtaDrive, fua),          STATE_U8(AtaDrive, command),
    STATE_U64(AtaDrive, lba),           STATE_U32(AtaDrive, left),
    STATE_U32(AtaDrive, drq_sectors),   STATE_U32(AtaDrive, trim_pos),
    STATE_U16(AtaDrive, cylinders),     STATE_U16(AtaDrive, heads),
    STATE_U16(AtaDrive, spt),           STATE_U8(AtaDrive, multiple),
    STATE_U8(AtaDrive, mode),           STATE_BOOL(AtaDrive, write_cache),
    STATE_BOOL(AtaDrive, look_ahead),   STATE_BOOL(AtaDrive, smart),
    STATE_U8(AtaDrive, power),          STATE_U8_ARRAY(AtaDrive, packet),
    STATE_U8(AtaDrive, sense_key),      STATE_U8(AtaDrive, asc),
    STATE_U8(AtaDrive, ascq),           STATE_U8(AtaDrive, attention),
    STATE_U8(AtaDrive, event),          STATE_BOOL(AtaDrive, tray_open),
    STATE_BOOL(AtaDrive, locked),       STATE_U16(AtaDrive, byte_limit),
    STATE_U16(AtaDrive, raw_size),      STATE_END_FIELD,
};

static const StateTable drive_state = {
    .name = "ata-drive", .version = 1, .fields = drive_fields, .post_load = drive_post_load};

static bool channel_post_load(void *obj, GError **err)
{
    AtaChannel *c = obj;
    c->selected &= 1;
    return true;
}

static const StateField channel_fields[] = {
    STATE_STRUCT_ARRAY(AtaChannel, drives, AtaDrive, &drive_state),
    STATE_BOOL(AtaChannel, irq_level),
    STATE_U8(AtaChannel, device_control),
    STATE_U8(AtaChannel, selected),
    STATE_END_FIELD,
};

const StateTable ata_channel_state = {
    .name = "ata-channel",
    .version = 1,
    .fields = channel_fields,
    .pre_save = pre_save,
    .post_load = channel_post_load,
};
