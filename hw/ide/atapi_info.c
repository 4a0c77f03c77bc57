/*
 * ATAPI replies about drive and medium: INQUIRY, MODE SENSE, GET CONFIGURATION, READ TOC and
 * relatives. MMC-5 chapters 6 and 7; the medium is one data track.
 */
#include "hw/ide/atapi.h"
#include <string.h>

#define CD_MAX_SECTORS 405000u /* 90 minutes; larger is a DVD */
#define LEAD_OUT 0xaa

enum {
    INQUIRY = 0x12,
    MODE_SENSE_6 = 0x1a,
    READ_CAPACITY = 0x25,
    READ_SUB_CHANNEL = 0x42,
    READ_TOC = 0x43,
    READ_HEADER = 0x44,
    GET_CONFIGURATION = 0x46,
    READ_DISC_INFORMATION = 0x51,
    READ_TRACK_INFORMATION = 0x52,
    MODE_SENSE_10 = 0x5a,
    READ_DISC_STRUCTURE = 0xad,
    MECHANISM_STATUS = 0xbd,

    PROFILE_CD_ROM = 0x08,
    PROFILE_DVD_ROM = 0x10,
};

static void illegal_field(AtaDrive *d)
{
    atapi_check(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD, 0);
}

void atapi_msf(uint8_t *out, uint32_t lba)
{
    lba += 150;
    out[0] = (uint8_t)MIN(lba / 75 / 60, 255);
    out[1] = (uint8_t)(lba / 75 % 60);
    out[2] = (uint8_t)(lba % 75);
}

static void put_address(uint8_t *out, uint32_t lba, bool msf)
{
    if (msf) {
        out[0] = 0;
        atapi_msf(out + 1, lba);
    } else {
        put_be32(out, lba);
    }
}

static bool is_dvd(const AtaDrive *d)
{
    return d->sectors > CD_MAX_SECTORS;
}

static unsigned profile(const AtaDrive *d)
{
    return !atapi_has_medium(d) ? 0 : is_dvd(d) ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

static void inquiry(AtaDrive *d)
{
    uint8_t *b = d->buf;
    char text[29];

    if (d->packet[1] & 1) {
        illegal_field(d); /* vital product data */
        return;
    }
    memset(b, 0, 36);
    b[0] = 5;    /* CD/DVD */
    b[1] = 0x80; /* removable */
    b[3] = 0x21; /* ATAPI */
    b[4] = 31;
    g_snprintf(text, sizeof(text), "%-8.8s%-16.16s%-4.4s", "RHEA",
               g_str_has_prefix(d->model, "RHEA ") ? d->model + 5 : d->model, d->firmware);
    memcpy(b + 8, text, 28);
    atapi_reply(d, 36, d->packet[4]);
}

/* ---- mode pages ---- */

static uint32_t page_errors(uint8_t *p)
{
    memset(p, 0, 8);
    p[0] = 0x01;
    p[1] = 6;
    p[3] = 5; /* retries */
    return 8;
}

static uint32_t page_audio(uint8_t *p)
{
    memset(p, 0, 16);
    p[0] = 0x0e;
    p[1] = 14;
    p[2] = 4; /* immediate */
    p[8] = 1;
    p[9] = 0xff;
    p[10] = 2;
    p[11] = 0xff;
    return 16;
}

static uint32_t page_capabilities(const AtaDrive *d, uint8_t *p)
{
    memset(p, 0, 22);
    p[0] = 0x2a;
    p[1] = 20;
    p[2] = 0x3b; /* reads CD-R, CD-RW, packets, DVD-ROM, DVD-R */
    p[4] = 0x70; /* multi-session, mode 2 forms 1 and 2 */
    p[5] = 0x00;
    p[6] = (uint8_t)(0x29 | (d->locked ? 2 : 0)); /* tray, ejects, can be locked */
    put_be16(p + 8, 8467);                        /* 48 × 176.4 kB/s */
    put_be16(p + 10, 2);
    put_be16(p + 12, 512);
    put_be16(p + 14, 8467);
    return 22;
}

static void mode_sense(AtaDrive *d)
{
    const uint8_t *p = d->packet;
    bool six = p[0] == MODE_SENSE_6;
    uint32_t head = six ? 4 : 8, len = head, alloc = six ? p[4] : be16(p + 7);
    unsigned page = p[2] & 0x3f, control = p[2] >> 6;

    if (control == 3) {
        atapi_check(d, SENSE_ILLEGAL_REQUEST, 0x39, 0); /* saving parameters not supported */
        return;
    }
    memset(d->buf, 0, head);
    if (page == 0x01 || page == 0x3f) {
        len += page_errors(d->buf + len);
    }
    if (page == 0x0e || page == 0x3f) {
        len += page_audio(d->buf + len);
    }
    if (page == 0x2a || page == 0x3f) {
        len += page_capabilities(d, d->buf + len);
    }
    if (len == head) {
        illegal_field(d);
        return;
    }
    if (control == 1) {
        /* Which bits can be changed: none. */
        for (uint32_t at = head; at < len; at += 2 + d->buf[at + 1]) {
            memset(d->buf + at + 2, 0, d->buf[at + 1]);
        }
    }
    uint8_t medium = !atapi_has_medium(d) ? (d->tray_open ? 0x71 : 0x70) : 0x01;
    if (six) {
        d->buf[0] = (uint8_t)(len - 1);
        d->buf[1] = medium;
    } else {
        put_be16(d->buf, len - 2);
        d->buf[2] = medium;
    }
    atapi_reply(d, len, alloc);
}

/* ---- features ---- */

typedef struct Features {
    uint8_t *buf;
    uint32_t len;
    unsigned start, kind;
} Features;

/* Adds a feature when the host's selection wants it; room for its @extra bytes, or NULL. */
static uint8_t *feature(Features *f, unsigned code, unsigned version, bool persistent, bool current,
                        unsigned extra)
{
    bool wanted = f->kind == 2 ? code == f->start : code >= f->start;

    if (!wanted || (f->kind == 1 && !current)) {
        return NULL;
    }
    uint8_t *p = f->buf + f->len;
    memset(p, 0, 4 + extra);
    put_be16(p, code);
    p[2] = (uint8_t)(version << 2 | (persistent ? 2 : 0) | (current ? 1 : 0));
    p[3] = (uint8_t)extra;
    f->len += 4 + extra;
    return p + 4;
}

static void get_configuration(AtaDrive *d)
{
    Features f = {.buf = d->buf, .len = 8, .start = be16(d->packet + 2), .kind = d->packet[1] & 3};
    unsigned now = profile(d);
    uint8_t *p;

    if (f.kind == 3) {
        illegal_field(d);
        return;
    }
    memset(d->buf, 0, 8);
    put_be16(d->buf + 6, now);
    if ((p = feature(&f, 0x0000, 0, true, true, 8))) { /* profile list */
        put_be16(p, PROFILE_DVD_ROM);
        p[2] = now == PROFILE_DVD_ROM;
        put_be16(p + 4, PROFILE_CD_ROM);
        p[6] = now == PROFILE_CD_ROM;
    }
    if ((p = feature(&f, 0x0001, 2, true, true, 8))) { /* core: ATAPI */
        put_be32(p, 2);
        p[4] = 1;
    }
    if ((p = feature(&f, 0x0002, 1, true, true, 4))) { /* morphing */
        p[0] = 2;
    }
    if ((p = feature(&f, 0x0003, 0, true, true, 4))) { /* removable: tray, ejects, locks */
        p[0] = 0x29;
    }
    if ((p = feature(&f, 0x0010, 0, false, now, 8))) { /* random readable */
        put_be32(p, CD_SECTOR);
        put_be16(p + 4, 16);
    }
    feature(&f, 0x001d, 0, false, now, 0); /* multi-read */
    if ((p = feature(&f, 0x001e, 2, false, now == PROFILE_CD_ROM, 4))) {
        p[0] = 0;
    }
    feature(&f, 0x001f, 0, false, now == PROFILE_DVD_ROM, 0);
    feature(&f, 0x0105, 0, true, true, 0); /* timeout */
    put_be32(d->buf, f.len - 4);
    atapi_reply(d, f.len, be16(d->packet + 7));
}

/* ---- table of contents ---- */

static uint8_t *toc_track(uint8_t *p, unsigned track, uint32_t lba, bool msf)
{
    p[0] = 0;
    p[1] = 0x14; /* data track */
    p[2] = (uint8_t)track;
    p[3] = 0;
    put_address(p + 4, lba, msf);
    return p + 8;
}

/* Format 2: the lead-in's raw entries. */
static uint8_t *toc_raw(AtaDrive *d, uint8_t *p)
{
    static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 1};

    for (unsigned i = 0; i < G_N_ELEMENTS(points); i++) {
        memset(p, 0, 11);
        p[0] = 1; /* session */
        p[1] = 0x14;
        p[3] = points[i];
        if (points[i] == 0xa0 || points[i] == 0xa1) {
            p[8] = 1; /* first, last track */
        } else {
            atapi_msf(p + 8, points[i] == 1 ? 0 : (uint32_t)d->sectors);
        }
        p += 11;
    }
    return p;
}

static void read_toc(AtaDrive *d)
{
    bool msf = d->packet[1] & 2;
    unsigned format = d->packet[2] & 15, start = d->packet[6];
    uint8_t *b = d->buf, *p = b + 4;

    if (format == 0) {
        format = d->packet[9] >> 6; /* where old drives had it */
    }
    b[2] = b[3] = 1; /* first and last track or session */
    switch (format) {
    case 0:
        if (start > 1 && start != LEAD_OUT) {
            illegal_field(d);
            return;
        }
        if (start <= 1) {
            p = toc_track(p, 1, 0, msf);
        }
        p = toc_track(p, LEAD_OUT, (uint32_t)d->sectors, msf);
        break;
    case 1:
        p = toc_track(p, 1, 0, msf);
        break;
    case 2:
        p = toc_raw(d, p);
        break;
    default:
        illegal_field(d);
        return;
    }
    put_be16(b, (uint32_t)(p - b) - 2);
    atapi_reply(d, (uint32_t)(p - b), be16(d->packet + 7));
}

static void read_capacity(AtaDrive *d)
{
    put_be32(d->buf, d->sectors ? (uint32_t)MIN(d->sectors - 1, UINT32_MAX) : 0);
    put_be32(d->buf + 4, CD_SECTOR);
    atapi_reply(d, 8, 8);
}

static void read_header(AtaDrive *d)
{
    uint32_t lba = be32(d->packet + 2);

    if (lba >= d->sectors) {
        atapi_check(d, SENSE_ILLEGAL_REQUEST, ASC_LBA_RANGE, 0);
        return;
    }
    memset(d->buf, 0, 8);
    d->buf[0] = 1; /* mode 1 */
    put_address(d->buf + 4, lba, d->packet[1] & 2);
    atapi_reply(d, 8, be16(d->packet + 7));
}

static void read_sub_channel(AtaDrive *d)
{
    memset(d->buf, 0, 4);
    d->buf[1] = 0x15; /* no audio status */
    if (d->packet[2] & 0x40) {
        if (d->packet[3] != 1) {
            illegal_field(d);
            return;
        }
        memset(d->buf + 4, 0, 12);
        put_be16(d->buf + 2, 12);
        d->buf[4] = 1;
        d->buf[5] = 0x14;
        d->buf[6] = d->buf[7] = 1;
        put_address(d->buf + 8, 0, d->packet[1] & 2);
        atapi_reply(d, 16, be16(d->packet + 7));
        return;
    }
    atapi_reply(d, 4, be16(d->packet + 7));
}

static void read_disc_information(AtaDrive *d)
{
    uint8_t *b = d->buf;

    if (d->packet[1] & 7) {
        illegal_field(d);
        return;
    }
    memset(b, 0, 34);
    put_be16(b, 32);
    b[2] = 0x0e; /* finalised, last session complete */
    b[3] = b[4] = b[5] = b[6] = 1;
    b[7] = 0x20; /* unrestricted use */
    memset(b + 16, 0xff, 8);
    atapi_reply(d, 34, be16(d->packet + 7));
}

static void read_track_information(AtaDrive *d)
{
    uint8_t *b = d->buf;

    memset(b, 0, 36);
    put_be16(b, 34);
    b[2] = b[3] = 1;
    b[5] = 4; /* data, recorded uninterrupted */
    b[6] = 1; /* mode 1 */
    put_be32(b + 24, (uint32_t)d->sectors);
    atapi_reply(d, 36, be16(d->packet + 7));
}

/* Physical format (0) and copyright (1) of a DVD. */
static void read_disc_structure(AtaDrive *d)
{
    uint32_t alloc = be16(d->packet + 8);
    uint8_t *b = d->buf;

    if (!is_dvd(d) || (d->packet[1] & 15) || d->packet[6]) {
        illegal_field(d);
        return;
    }
    switch (d->packet[7]) {
    case 0:
        memset(b, 0, 4 + 2048);
        put_be16(b, 2048 + 2);
        b[4] = 0x01; /* DVD-ROM, version 1 */
        b[5] = 0x0f; /* 12 cm, no rate given */
        b[6] = 0x01; /* one layer, parallel, embossed */
        put_be32(b + 8, 0x30000);
        put_be32(b + 12, 0x30000 + (uint32_t)d->sectors - 1);
        atapi_reply(d, 4 + 2048, alloc);
        break;
    case 1:
        memset(b, 0, 8);
        put_be16(b, 6);
        atapi_reply(d, 8, alloc);
        break;
    default:
        illegal_field(d);
    }
}

static void mechanism_status(AtaDrive *d)
{
    memset(d->buf, 0, 8);
    d->buf[1] = d->tray_open ? 0x10 : 0;
    atapi_reply(d, 8, be16(d->packet + 8));
}

bool atapi_info_command(AtaDrive *d)
{
    switch (d->packet[0]) {
    case INQUIRY:
        inquiry(d);
        return true;
    case MODE_SENSE_6:
    case MODE_SENSE_10:
        mode_sense(d);
        return true;
    case READ_CAPACITY:
        read_capacity(d);
        return true;
    case READ_SUB_CHANNEL:
        read_sub_channel(d);
        return true;
    case READ_TOC:
        read_toc(d);
        return true;
    case READ_HEADER:
        read_header(d);
        return true;
    case GET_CONFIGURATION:
        get_configuration(d);
        return true;
    case READ_DISC_INFORMATION:
        read_disc_information(d);
        return true;
    case READ_TRACK_INFORMATION:
        read_track_information(d);
        return true;
    case READ_DISC_STRUCTURE:
        read_disc_structure(d);
        return true;
    case MECHANISM_STATUS:
        mechanism_status(d);
        return true;
    default:
        return false;
    }
}
