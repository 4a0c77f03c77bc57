/* What the two files of the ATAPI command set share. */
#ifndef RHEA_HW_IDE_ATAPI_H
#define RHEA_HW_IDE_ATAPI_H

#include "hw/ide/ata.h"

enum {
    SENSE_NONE = 0,
    SENSE_NOT_READY = 2,
    SENSE_MEDIUM_ERROR = 3,
    SENSE_ILLEGAL_REQUEST = 5,
    SENSE_UNIT_ATTENTION = 6,

    ASC_READ_ERROR = 0x11,
    ASC_INVALID_COMMAND = 0x20,
    ASC_LBA_RANGE = 0x21,
    ASC_INVALID_FIELD = 0x24,
    ASC_MEDIUM_CHANGED = 0x28,
    ASC_RESET = 0x29,
    ASC_NO_MEDIUM = 0x3a,
    ASC_REMOVAL_PREVENTED = 0x53, /* qualifier 2 */
    ASC_ILLEGAL_MODE = 0x64,

    ATTENTION_RESET = 1,
    ATTENTION_MEDIUM = 2,

    EVENT_NONE = 0,
    EVENT_EJECT_REQUEST = 1,
    EVENT_NEW_MEDIUM = 2,
    EVENT_REMOVED = 3,
};

static inline uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static inline uint32_t be32(const uint8_t *p)
{
    return be16(p) << 16 | be16(p + 2);
}

static inline void put_be16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
    put_be16(p, v >> 16);
    put_be16(p + 2, v);
}

/* The packet ended well; or with CHECK CONDITION. */
void atapi_good(AtaDrive *d);
void atapi_check(AtaDrive *d, uint8_t key, uint8_t asc, uint8_t ascq);
/* Send buf[0, len), cut to @alloc. */
void atapi_reply(AtaDrive *d, uint32_t len, uint32_t alloc);
bool atapi_has_medium(const AtaDrive *d);
/* Replies that describe drive and medium (atapi_info.c); false: not one of them. */
bool atapi_info_command(AtaDrive *d);
/* Minute, second, frame of a sector, with the lead-in's two seconds. */
void atapi_msf(uint8_t *out, uint32_t lba);

#endif
