/*
 * Intel 82078 floppy disk controller.
 * Data sheets: "82078 CHMOS single-chip floppy disk controller" (290474), "82077AA" (290166).
 *
 * Command, data and result bytes each have a buffer of their own with its own position and
 * length, taken from constant tables: nothing the guest sends is an index.
 */
#include "hw/block/fdc82078.h"
#include "core/log.h"
#include "core/machine.h"
#include "hw/dma/i8237.h"
#include <string.h>

#define DRIVES 4
#define SECTOR 512
#define STEP_NS 100000  /* a seek, whatever its length */
#define SECTOR_NS 20000 /* between sectors */

enum { REG_SRA, REG_SRB, REG_DOR, REG_TDR, REG_MSR, REG_DATA, REG_DIR = 7 };

enum { DOR_SELECT = 3, DOR_NRESET = 4, DOR_DMAGATE = 8, DOR_MOTORS = 0xf0 };
enum { MSR_BUSY = 16, MSR_NON_DMA = 32, MSR_DIO = 64, MSR_RQM = 128 };
enum { DSR_RATE = 3, DSR_RESET = 128 };

enum {
    ST0_HEAD = 4,
    ST0_EC = 16, /* equipment check */
    ST0_SE = 32, /* seek end */
    ST0_ABNORMAL = 64,
    ST0_INVALID = 128,
    ST0_READY_CHANGE = 192,
    ST1_MA = 1, /* missing address mark */
    ST1_NW = 2, /* not writable */
    ST1_ND = 4, /* no data: sector not found */
    ST1_DE = 32,
    ST1_EN = 128, /* end of cylinder */
    ST2_MD = 1,
    ST2_SN = 4, /* scan not satisfied */
    ST2_SH = 8, /* scan equal hit */
    ST2_WC = 16,
    ST2_CM = 64,
    ST3_HEAD = 4,
    ST3_TWO_SIDED = 8,
    ST3_TRACK0 = 16,
    ST3_READY = 32,
    ST3_WP = 64
};

enum { CMD_MT = 128, CMD_SK = 32 };

typedef enum { PHASE_COMMAND, PHASE_EXECUTE, PHASE_RESULT } Phase;

/* What the execution phase does with each sector. */
typedef enum { OP_NONE, OP_READ, OP_WRITE, OP_VERIFY, OP_SCAN, OP_FORMAT, OP_READ_TRACK } Op;

typedef struct Format {
    uint32_t kib;
    uint8_t cyls, heads, sectors;
    uint8_t rate; /* as in CCR */
    FdcDriveType drive;
    const char *name;
} Format;

enum { RATE_500, RATE_300, RATE_250, RATE_1000 };

static const Format formats[] = {
    {1440, 80, 2, 18, RATE_500, FDC_DRIVE_1440K, "1.44M"},
    {2880, 80, 2, 36, RATE_1000, FDC_DRIVE_2880K, "2.88M"},
    {1680, 80, 2, 21, RATE_500, FDC_DRIVE_1440K, "1.68M"},
    {1722, 82, 2, 21, RATE_500, FDC_DRIVE_1440K, "1.72M"},
    {1200, 80, 2, 15, RATE_500, FDC_DRIVE_1200K, "1.2M"},
    {720, 80, 2, 9, RATE_250, FDC_DRIVE_1440K, "720K"},
    {360, 40, 2, 9, RATE_300, FDC_DRIVE_1200K, "360K"},
    {320, 40, 2, 8, RATE_300, FDC_DRIVE_1200K, "320K"},
    {180, 40, 1, 9, RATE_300, FDC_DRIVE_1200K, "180K"},
    {160, 40, 1, 8, RATE_300, FDC_DRIVE_1200K, "160K"},
};

typedef struct Drive {
    struct Fdc *fdc;
    unsigned number;
    BlockDev *media;
    DriveSpec *spec;      /* whose image it is; NULL: nobody's */
    const Format *format; /* NULL without media */
    FdcDriveType type;
    uint8_t track; /* where the heads are */
    uint8_t pcn;   /* where the controller thinks they are */
    bool changed;  /* DSKCHG */
    bool seeking;
    uint8_t seek_st0;  /* waits for SENSE INTERRUPT; 0 = none */
    uint8_t id_sector; /* next one that READ ID sees */
} Drive;

typedef struct Command Command;

struct Fdc {
    Device dev;
    uint32_t iobase, irq_no, dma_chan;
    MemRegion io, io7;
    Irq irq;
    I8237 *dma;
    Clock *clock;
    Drive drive[DRIVES];

    uint8_t dor, dsr, tdr, ccr;
    uint8_t srt_hut, hlt_nd; /* SPECIFY */
    uint8_t config, precomp; /* CONFIGURE */
    uint8_t perpendicular;
    bool lock;
    bool irq_pending;
    uint8_t reset_sense; /* drives whose reset status SENSE INTERRUPT still has to give */

    uint8_t phase; /* Phase */
    uint8_t cmd[20], cmd_len, cmd_want;
    uint8_t result[16], result_pos, result_len;

    /* Execution */
    uint8_t op;         /* Op */
    uint8_t unit, head; /* drive and side */
    uint8_t c, h, r, n, eot;
    uint8_t left; /* sectors of FORMAT, VERIFY (EC), READ TRACK */
    bool counted; /* @left counts */
    bool scan_hit, scan_miss;
    uint8_t data[SECTOR];
    uint16_t data_pos, data_len;
    bool to_host;
    bool ready; /* the data buffer is at the host's disposal */
    bool tc;
    bool block_busy, block_cancel;
    Timer step; /* next thing of the execution phase */
    Timer seek;
};

struct Command {
    uint8_t mask, code;
    uint8_t len; /* bytes, with the first */
    void (*fn)(Fdc *s);
};

static void execute_sector(Fdc *s);

/* ---- interrupt and phases ---- */

static void update_irq(Fdc *s)
{
    irq_set(&s->irq, s->irq_pending && (s->dor & DOR_DMAGATE));
}

static void raise_irq(Fdc *s)
{
    s->irq_pending = true;
    update_irq(s);
}

static void lower_irq(Fdc *s)
{
    s->irq_pending = false;
    update_irq(s);
}

static bool non_dma(const Fdc *s)
{
    return s->hlt_nd & 1;
}

static void to_command_phase(Fdc *s)
{
    s->phase = PHASE_COMMAND;
    s->cmd_len = s->cmd_want = 0;
    s->result_pos = s->result_len = 0;
    s->op = OP_NONE;
    s->ready = false;
}

static void result(Fdc *s, const uint8_t *bytes, unsigned n)
{
    n = MIN(n, sizeof(s->result));
    memcpy(s->result, bytes, n);
    s->result_pos = 0;
    s->result_len = n;
    s->phase = PHASE_RESULT;
    s->op = OP_NONE;
    s->ready = false;
}

static Drive *cur_drive(Fdc *s)
{
    return &s->drive[s->unit & (DRIVES - 1)];
}

/* ---- end of a data command ---- */

/* The sector after the last one, as the result phase shows it. */
static void next_id(Fdc *s)
{
    if (s->r < s->eot) {
        s->r++;
        return;
    }
    s->r = 1;
    if ((s->cmd[0] & CMD_MT) && !(s->h & 1)) {
        s->h |= 1;
        return;
    }
    s->c++;
    if (s->cmd[0] & CMD_MT) {
        s->h &= ~1;
    }
}

static void finish(Fdc *s, uint8_t st0, uint8_t st1, uint8_t st2)
{
    uint8_t bytes[7] = {st0 | (s->head ? ST0_HEAD : 0) | s->unit, st1, st2, s->c, s->h, s->r, s->n};

    timer_del(&s->step);
    i8237_dreq(s->dma, s->dma_chan, false);
    result(s, bytes, 7);
    raise_irq(s);
}

static void finish_scan(Fdc *s, bool end)
{
    uint8_t st2 = s->scan_miss ? ST2_SN : s->scan_hit ? ST2_SH : 0;

    finish(s, 0, 0, st2);
}

/* ---- media ---- */

/* Can the heads read what is under them? 0, or ST1 bits. */
static uint8_t media_error(Fdc *s)
{
    const Drive *d = cur_drive(s);

    if (!d->media || !(s->dor & (0x10 << s->unit))) {
        return ST1_MA | ST1_ND;
    }
    uint8_t rate = s->ccr & 3, want = d->format->rate;
    /* A 360K disk has another rate in a drive of its own. */
    if (rate != want && !(want == RATE_300 && rate == RATE_250 && d->type == FDC_DRIVE_360K)) {
        return ST1_MA;
    }
    return s->head >= d->format->heads || d->track >= d->format->cyls ? ST1_MA : 0;
}

/* Offset of sector C/H/R/N; -1 with ST1 and ST2 when there is none such on this track. */
static int64_t find_sector(Fdc *s, uint8_t c, uint8_t h, uint8_t r, uint8_t n, uint8_t *st1,
                           uint8_t *st2)
{
    const Drive *d = cur_drive(s);
    const Format *f = d->format;

    *st1 = media_error(s);
    *st2 = 0;
    if (*st1) {
        return -1;
    }
    if (c != d->track) {
        *st1 = ST1_ND;
        *st2 = ST2_WC;
        return -1;
    }
    if (n != 2 || r < 1 || r > f->sectors || h != s->head) {
        *st1 = ST1_ND;
        return -1;
    }
    return ((int64_t)(c * f->heads + s->head) * f->sectors + r - 1) * SECTOR;
}

/* ---- execution phase ---- */

static void after_block(void *opaque, int ret)
{
    Fdc *s = opaque;

    s->block_busy = false;
    if (s->block_cancel) {
        s->block_cancel = false;
        return;
    }
    if (ret < 0) {
        finish(s, ST0_ABNORMAL, ST1_DE, 0);
        return;
    }
    timer_set(&s->step, clock_now(s->clock) + SECTOR_NS);
}

static void start_block(Fdc *s, int64_t off, bool write)
{
    struct iovec iov = {s->data, SECTOR};
    Drive *d = cur_drive(s);

    uint64_t size = block_size(d->media);
    s->block_busy = true;
    if (off + SECTOR > size && !write) {
        /* The image is shorter than its disk: the rest reads as zeros. */
        memset(s->data, 0, SECTOR);
        iov.iov_len = (uint64_t)off < size ? size - off : 0;
    }
    if (!iov.iov_len) {
        after_block(s, 0);
    } else if (write) {
        block_write(d->media, off, &iov, 1, after_block, s);
    } else {
        block_read(d->media, off, &iov, 1, after_block, s);
    }
}

/* Requests in flight are waited for: their memory is ours. */
static void stop_block(Fdc *s)
{
    if (s->block_busy) {
        s->block_cancel = true;
        block_drain(cur_drive(s)->media);
    }
}

/* Let the host have (or fill) @len bytes of the data buffer. */
static void offer(Fdc *s, unsigned len, bool to_host)
{
    s->data_pos = 0;
    s->data_len = len;
    s->to_host = to_host;
    s->ready = true;
    if (non_dma(s)) {
        raise_irq(s);
    } else {
        i8237_dreq(s->dma, s->dma_chan, true);
    }
}

/* The host is through with the buffer, or ended the command. */
static void buffer_done(Fdc *s)
{
    s->ready = false;
    i8237_dreq(s->dma, s->dma_chan, false);
    if (!s->to_host && s->data_pos < s->data_len) {
        memset(s->data + s->data_pos, 0, s->data_len - s->data_pos);
    }
    timer_set(&s->step, clock_now(s->clock) + SECTOR_NS);
}

static size_t dma_transfer(void *opaque, uint8_t *buf, size_t len, bool from_mem)
{
    Fdc *s = opaque;
    size_t n;

    if (!s->ready || non_dma(s)) {
        return 0;
    }
    n = MIN(len, (size_t)s->data_len - s->data_pos);
    if (s->to_host && !from_mem) {
        memcpy(buf, s->data + s->data_pos, n);
    } else if (!s->to_host && from_mem) {
        memcpy(s->data + s->data_pos, buf, n);
    }
    s->data_pos += n;
    if (s->data_pos == s->data_len) {
        buffer_done(s);
    }
    return n;
}

static void dma_tc(void *opaque)
{
    Fdc *s = opaque;

    if (s->phase != PHASE_EXECUTE) {
        return;
    }
    s->tc = true;
    if (s->ready) {
        buffer_done(s);
    }
}

static const I8237Port dma_port = {.transfer = dma_transfer, .tc = dma_tc};

static void do_scan(Fdc *s, const uint8_t *disk)
{
    uint8_t code = s->cmd[0] & 0x1f;

    s->scan_hit = true;
    s->scan_miss = false;
    for (unsigned i = 0; i < SECTOR; i++) {
        uint8_t host = s->data[i];
        if (host == 0xff || disk[i] == host) {
            continue;
        }
        s->scan_hit = false;
        if (code == 0x11 || (code == 0x19 && disk[i] > host) || (code == 0x1d && disk[i] < host)) {
            s->scan_miss = true;
        }
        break;
    }
}

/* On to the next sector, or the end. */
static void sector_done(Fdc *s)
{
    bool last = s->r >= s->eot;
    bool other_side = last && (s->cmd[0] & CMD_MT) && !(s->h & 1) && s->op != OP_READ_TRACK;

    next_id(s);
    if (s->counted) {
        if (--s->left == 0) {
            finish(s, 0, 0, 0);
            return;
        }
    } else if (s->tc) {
        finish(s, 0, 0, 0);
        return;
    }
    if ((s->cmd[0] & 0x1f) == 0x0c) { /* READ DELETED met a normal sector: it was the last */
        finish(s, 0, 0, ST2_CM);
        return;
    }
    if (last && !other_side) {
        bool verify = s->op == OP_VERIFY; /* has no terminal count: the end is right */
        finish(s, verify ? 0 : ST0_ABNORMAL, verify ? 0 : ST1_EN, 0);
        return;
    }
    if (other_side) {
        s->head = 1;
    }
    execute_sector(s);
}

static void scan_done(Fdc *s)
{
    uint8_t host[SECTOR], disk[SECTOR], st1, st2;
    int64_t off = find_sector(s, s->c, s->h, s->r, s->n, &st1, &st2);

    memcpy(host, s->data, SECTOR);
    if (off < 0 || block_pread(cur_drive(s)->media, off, disk, SECTOR) < 0) {
        finish(s, ST0_ABNORMAL, ST1_ND, 0);
        return;
    }
    do_scan(s, disk);
    bool last = s->r >= s->eot;
    if (!s->scan_miss || s->tc || last) {
        finish_scan(s, last);
        return;
    }
    next_id(s);
    execute_sector(s);
}

/* FORMAT: the four bytes of one sector's ID came; the sector gets the fill byte. */
static void format_one(Fdc *s)
{
    const uint8_t *id = s->data;
    uint8_t st1, st2;
    int64_t off = find_sector(s, id[0], id[1], id[2], id[3], &st1, &st2);

    /* The layout of an image is fixed: other IDs cannot be made. */
    if (off < 0) {
        finish(s, ST0_ABNORMAL, st1, st2);
        return;
    }
    memset(s->data, s->cmd[5], SECTOR);
    s->data_len = SECTOR; /* marks that the write is under way */
    start_block(s, off, true);
}

/* The timer's turn: a buffer was filled or emptied, or a block request is through. */
static void on_step(void *opaque)
{
    Fdc *s = opaque;
    uint8_t st1, st2;
    int64_t off;

    if (s->phase != PHASE_EXECUTE) {
        return;
    }
    switch (s->op) {
    case OP_READ:
    case OP_READ_TRACK:
        if (s->data_pos == 0 && !s->tc) {
            offer(s, SECTOR, true); /* read from the disk */
        } else {
            sector_done(s);
        }
        break;
    case OP_VERIFY:
        sector_done(s);
        break;
    case OP_WRITE:
        if (s->data_len == SECTOR) {
            off = find_sector(s, s->c, s->h, s->r, s->n, &st1, &st2);
            s->data_len = 0;
            if (off < 0) {
                finish(s, ST0_ABNORMAL, st1, st2);
            } else {
                start_block(s, off, true);
            }
        } else {
            sector_done(s);
        }
        break;
    case OP_SCAN:
        scan_done(s);
        break;
    case OP_FORMAT:
        if (s->data_len == 4) {
            format_one(s);
        } else if (--s->left == 0) {
            finish(s, 0, 0, 0);
        } else {
            offer(s, 4, false);
        }
        break;
    default:
        break;
    }
}

/* Begin with sector C/H/R. */
static void execute_sector(Fdc *s)
{
    uint8_t st1, st2, r = s->r;
    int64_t off = find_sector(s, s->c, s->h, r, s->n, &st1, &st2);

    if (off < 0) {
        finish(s, ST0_ABNORMAL, st1, st2);
        return;
    }
    s->data_pos = 0;
    switch (s->op) {
    case OP_READ:
    case OP_READ_TRACK:
    case OP_VERIFY:
        s->data_len = SECTOR;
        start_block(s, off, false);
        break;
    default:
        offer(s, SECTOR, false);
        break;
    }
}

/* ---- commands with data ---- */

static void seek_to(Fdc *s, Drive *d, unsigned track)
{
    d->track = MIN(track, 84); /* the mechanical stop */
    d->pcn = track;
    if (d->media) {
        d->changed = false; /* a step pulse tells the drive that the change was noticed */
    }
}

static void begin_data(Fdc *s, Op op)
{
    const uint8_t *p = s->cmd;

    s->phase = PHASE_EXECUTE;
    s->op = op;
    s->unit = p[1] & 3;
    s->head = p[1] >> 2 & 1;
    s->c = p[2];
    s->h = p[3];
    s->r = p[4];
    s->n = p[5];
    s->eot = p[6];
    s->tc = s->counted = s->scan_hit = s->scan_miss = false;
    s->left = 0;
    if (s->config & 0x40) { /* implied seek */
        seek_to(s, cur_drive(s), s->c);
    }
}

static bool write_protected(Fdc *s)
{
    const Drive *d = cur_drive(s);

    return d->media && block_read_only(d->media);
}

static void cmd_read(Fdc *s)
{
    begin_data(s, OP_READ);
    execute_sector(s);
}

/* No sector of an image has a deleted mark: READ DELETED skips or stops with a control mark. */
static void cmd_read_deleted(Fdc *s)
{
    begin_data(s, OP_READ);
    if (s->cmd[0] & CMD_SK) {
        finish(s, ST0_ABNORMAL, ST1_EN | ST1_ND, ST2_CM);
    } else {
        execute_sector(s);
    }
}

static void cmd_write(Fdc *s)
{
    begin_data(s, OP_WRITE);
    if (write_protected(s)) {
        finish(s, ST0_ABNORMAL, ST1_NW, 0);
    } else {
        execute_sector(s);
    }
}

static void cmd_read_track(Fdc *s)
{
    begin_data(s, OP_READ_TRACK);
    s->r = 1;
    execute_sector(s);
}

static void cmd_verify(Fdc *s)
{
    begin_data(s, OP_VERIFY);
    if (s->cmd[1] & 0x80) { /* EC: DTL is the number of sectors */
        s->counted = true;
        s->left = s->cmd[8] ? s->cmd[8] : 255;
    }
    execute_sector(s);
}

static void cmd_scan(Fdc *s)
{
    begin_data(s, OP_SCAN);
    execute_sector(s);
}

static void cmd_format(Fdc *s)
{
    const uint8_t *p = s->cmd;

    s->phase = PHASE_EXECUTE;
    s->op = OP_FORMAT;
    s->unit = p[1] & 3;
    s->head = p[1] >> 2 & 1;
    s->n = p[2];
    s->left = p[3];
    s->c = s->h = s->r = 0;
    s->tc = s->counted = false;
    uint8_t st1 = media_error(s);
    if (st1) {
        finish(s, ST0_ABNORMAL, st1, 0);
    } else if (write_protected(s)) {
        finish(s, ST0_ABNORMAL, ST1_NW, 0);
    } else if (s->left == 0) {
        finish(s, 0, 0, 0);
    } else {
        offer(s, 4, false);
    }
}

static void cmd_read_id(Fdc *s)
{
    s->unit = s->cmd[1] & 3;
    s->head = s->cmd[1] >> 2 & 1;
    s->phase = PHASE_EXECUTE;
    s->c = s->h = s->r = s->n = 0;
    uint8_t st1 = media_error(s);
    Drive *d = cur_drive(s);
    if (st1) {
        finish(s, ST0_ABNORMAL, st1, 0);
        return;
    }
    s->c = d->track;
    s->h = s->head;
    d->id_sector = d->id_sector % d->format->sectors + 1;
    s->r = d->id_sector;
    s->n = 2;
    finish(s, 0, 0, 0);
}

/* ---- seeks and interrupts ---- */

static void on_seek(void *opaque)
{
    Fdc *s = opaque;

    for (unsigned i = 0; i < DRIVES; i++) {
        s->drive[i].seeking = false;
    }
    raise_irq(s);
}

static void start_seek(Fdc *s, unsigned unit, uint8_t st0)
{
    Drive *d = &s->drive[unit];

    d->seeking = true;
    d->seek_st0 = st0 | unit;
    to_command_phase(s);
    timer_set(&s->seek, clock_now(s->clock) + STEP_NS);
}

static void cmd_recalibrate(Fdc *s)
{
    unsigned unit = s->cmd[1] & 3;
    Drive *d = &s->drive[unit];

    if (d->type == FDC_DRIVE_NONE) {
        /* Track 0 is never seen. */
        start_seek(s, unit, ST0_SE | ST0_EC | ST0_ABNORMAL);
        return;
    }
    seek_to(s, d, 0);
    start_seek(s, unit, ST0_SE);
}

static void cmd_seek(Fdc *s)
{
    unsigned unit = s->cmd[1] & 3;

    seek_to(s, &s->drive[unit], s->cmd[2]);
    start_seek(s, unit, ST0_SE | (s->cmd[1] & 4));
}

static void cmd_relative_seek(Fdc *s)
{
    unsigned unit = s->cmd[1] & 3;
    Drive *d = &s->drive[unit];
    int to = s->cmd[0] & 0x40 ? d->track + s->cmd[2] : d->track - s->cmd[2];

    seek_to(s, d, CLAMP(to, 0, 255));
    start_seek(s, unit, ST0_SE | (s->cmd[1] & 4));
}

static void cmd_sense_interrupt(Fdc *s)
{
    lower_irq(s);
    for (unsigned i = 0; i < DRIVES; i++) {
        if (s->reset_sense & (1 << i)) {
            uint8_t bytes[2] = {ST0_READY_CHANGE | i, s->drive[i].pcn};
            s->reset_sense &= ~(1 << i);
            result(s, bytes, 2);
            return;
        }
    }
    for (unsigned i = 0; i < DRIVES; i++) {
        Drive *d = &s->drive[i];
        if (d->seek_st0 && !d->seeking) {
            uint8_t bytes[2] = {d->seek_st0, d->pcn};
            d->seek_st0 = 0;
            result(s, bytes, 2);
            return;
        }
    }
    uint8_t invalid = ST0_INVALID;
    result(s, &invalid, 1);
}

static void cmd_sense_drive(Fdc *s)
{
    s->unit = s->cmd[1] & 3;
    const Drive *d = cur_drive(s);
    uint8_t st3 = (s->cmd[1] & 7) | ST3_READY | ST3_TWO_SIDED;

    st3 |= d->track == 0 && d->type != FDC_DRIVE_NONE ? ST3_TRACK0 : 0;
    st3 |= write_protected(s) ? ST3_WP : 0;
    result(s, &st3, 1);
}

/* ---- settings ---- */

static void cmd_specify(Fdc *s)
{
    s->srt_hut = s->cmd[1];
    s->hlt_nd = s->cmd[2];
    to_command_phase(s);
}

static void cmd_configure(Fdc *s)
{
    s->config = s->cmd[2] & 0x7f;
    s->precomp = s->cmd[3];
    to_command_phase(s);
}

static void cmd_lock(Fdc *s)
{
    uint8_t v;

    s->lock = s->cmd[0] & 0x80;
    v = s->lock ? 0x10 : 0;
    result(s, &v, 1);
}

static void cmd_version(Fdc *s)
{
    uint8_t v = 0x90; /* enhanced controller */

    result(s, &v, 1);
}

static void cmd_part_id(Fdc *s)
{
    uint8_t v = 0x41; /* 82078, stepping 1 */

    result(s, &v, 1);
}

static void cmd_dumpreg(Fdc *s)
{
    uint8_t bytes[10] = {s->drive[0].pcn, s->drive[1].pcn,
                         s->drive[2].pcn, s->drive[3].pcn,
                         s->srt_hut,      s->hlt_nd,
                         s->eot,          (s->lock ? 0x80 : 0) | (s->perpendicular & 0x3f),
                         s->config,       s->precomp};

    result(s, bytes, 10);
}

static void cmd_perpendicular(Fdc *s)
{
    /* OW: the drive bits are written too. */
    if (s->cmd[1] & 0x80) {
        s->perpendicular = s->cmd[1] & 0x3f;
    } else {
        s->perpendicular = (s->perpendicular & 0x3c) | (s->cmd[1] & 3);
    }
    to_command_phase(s);
}

static void cmd_no_result(Fdc *s)
{
    to_command_phase(s);
}

static void cmd_powerdown_mode(Fdc *s)
{
    result(s, &s->cmd[1], 1);
}

static void cmd_save(Fdc *s)
{
    uint8_t bytes[16] = {s->dsr,
                         0,
                         0,
                         s->drive[0].pcn,
                         s->drive[1].pcn,
                         s->drive[2].pcn,
                         s->drive[3].pcn,
                         s->srt_hut,
                         s->hlt_nd,
                         s->eot,
                         (s->lock ? 0x80 : 0) | (s->perpendicular & 0x3f),
                         s->config,
                         s->precomp,
                         0,
                         0,
                         0};

    result(s, bytes, 16);
}

static void cmd_restore(Fdc *s)
{
    s->srt_hut = s->cmd[8];
    s->hlt_nd = s->cmd[9];
    s->lock = s->cmd[11] & 0x80;
    s->perpendicular = s->cmd[11] & 0x3f;
    s->config = s->cmd[12] & 0x7f;
    s->precomp = s->cmd[13];
    to_command_phase(s);
}

static void cmd_drive_spec(Fdc *s)
{
    if (s->cmd[s->cmd_len - 1] & 0x40) { /* NRP: no result phase */
        to_command_phase(s);
        return;
    }
    uint8_t bytes[4] = {0};
    result(s, bytes, 4);
}

static void cmd_invalid(Fdc *s)
{
    uint8_t v = ST0_INVALID;

    guest_error("82078: invalid command %02x", s->cmd[0]);
    result(s, &v, 1);
}

static const Command commands[] = {
    {0x1f, 0x06, 9, cmd_read},
    {0x1f, 0x0c, 9, cmd_read_deleted},
    {0x3f, 0x05, 9, cmd_write},
    {0x3f, 0x09, 9, cmd_write},
    {0x9f, 0x02, 9, cmd_read_track},
    {0x1f, 0x16, 9, cmd_verify},
    {0x1f, 0x11, 9, cmd_scan},
    {0x1f, 0x19, 9, cmd_scan},
    {0x1f, 0x1d, 9, cmd_scan},
    {0xbf, 0x0d, 6, cmd_format},
    {0xbf, 0x0a, 2, cmd_read_id},
    {0xff, 0x07, 2, cmd_recalibrate},
    {0xff, 0x08, 1, cmd_sense_interrupt},
    {0xff, 0x03, 3, cmd_specify},
    {0xff, 0x04, 2, cmd_sense_drive},
    {0xff, 0x0f, 3, cmd_seek},
    {0xbf, 0x8f, 3, cmd_relative_seek},
    {0xff, 0x13, 4, cmd_configure},
    {0x7f, 0x14, 1, cmd_lock},
    {0xff, 0x10, 1, cmd_version},
    {0xff, 0x18, 1, cmd_part_id},
    {0xff, 0x0e, 1, cmd_dumpreg},
    {0xff, 0x12, 2, cmd_perpendicular},
    {0xff, 0x17, 2, cmd_powerdown_mode},
    {0xff, 0x33, 2, cmd_no_result},
    {0xff, 0x2e, 1, cmd_save},
    {0xff, 0x4e, 17, cmd_restore},
    {0xff, 0x8e, 6, cmd_drive_spec},
};

static const Command invalid_command = {0, 0, 1, cmd_invalid};

static const Command *find_command(uint8_t first)
{
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if ((first & commands[i].mask) == commands[i].code) {
            return &commands[i];
        }
    }
    return &invalid_command;
}

/* ---- registers ---- */

static void soft_reset(Fdc *s)
{
    stop_block(s);
    timer_del(&s->step);
    timer_del(&s->seek);
    i8237_dreq(s->dma, s->dma_chan, false);
    to_command_phase(s);
    lower_irq(s);
    s->tc = false;
    if (!s->lock) {
        s->config = 0x20; /* FIFO off, polling on */
        s->precomp = 0;
    }
    s->perpendicular &= 0x3c;
    s->reset_sense = 0;
    for (unsigned i = 0; i < DRIVES; i++) {
        s->drive[i].seeking = false;
        s->drive[i].seek_st0 = 0;
        s->drive[i].pcn = 0;
    }
}

/* Out of reset: drive polling finds that every drive's ready line "changed". */
static void leave_reset(Fdc *s)
{
    if (!(s->config & 0x10)) {
        s->reset_sense = 15;
        raise_irq(s);
    }
}

static uint8_t read_msr(const Fdc *s)
{
    uint8_t v = 0;

    if (!(s->dor & DOR_NRESET)) {
        return 0;
    }
    for (unsigned i = 0; i < DRIVES; i++) {
        v |= s->drive[i].seeking ? 1 << i : 0;
    }
    switch (s->phase) {
    case PHASE_COMMAND:
        return v | MSR_RQM | (s->cmd_len ? MSR_BUSY : 0);
    case PHASE_RESULT:
        return v | MSR_RQM | MSR_DIO | MSR_BUSY;
    default:
        v |= MSR_BUSY;
        if (non_dma(s)) {
            v |= MSR_NON_DMA;
            if (s->ready) {
                v |= MSR_RQM | (s->to_host ? MSR_DIO : 0);
            }
        }
        return v;
    }
}

/* Programmed I/O of the execution phase: the interrupt goes away and comes back. */
static void pio_next(Fdc *s)
{
    lower_irq(s);
    if (s->data_pos == s->data_len) {
        buffer_done(s);
    } else {
        raise_irq(s);
    }
}

static uint8_t data_read(Fdc *s)
{
    uint8_t v;

    if (s->phase == PHASE_EXECUTE && non_dma(s) && s->ready && s->to_host) {
        v = s->data[s->data_pos++];
        pio_next(s);
        return v;
    }
    if (s->phase != PHASE_RESULT || s->result_pos >= s->result_len) {
        guest_error("82078: data register read out of turn");
        return 0;
    }
    lower_irq(s);
    v = s->result[s->result_pos++];
    if (s->result_pos == s->result_len) {
        to_command_phase(s);
    }
    return v;
}

static void data_write(Fdc *s, uint8_t val)
{
    if (!(s->dor & DOR_NRESET)) {
        return;
    }
    if (s->phase == PHASE_EXECUTE && non_dma(s) && s->ready && !s->to_host) {
        s->data[s->data_pos++] = val;
        pio_next(s);
        return;
    }
    if (s->phase != PHASE_COMMAND) {
        guest_error("82078: data register written out of turn");
        return;
    }
    if (s->cmd_len == 0) {
        s->cmd_want = find_command(val)->len;
    }
    s->cmd[s->cmd_len++] = val;
    /* DRIVE SPECIFICATION ends early with the byte that has DN set. */
    bool done_early = s->cmd[0] == 0x8e && s->cmd_len > 1 && (val & 0x80);
    if (s->cmd_len >= s->cmd_want || done_early) {
        trace("fdc_command", "%02x %02x %02x %02x %02x", s->cmd[0], s->cmd[1], s->cmd[2], s->cmd[3],
              s->cmd[4]);
        find_command(s->cmd[0])->fn(s);
    }
}

static void write_dor(Fdc *s, uint8_t val)
{
    bool was = s->dor & DOR_NRESET, now = val & DOR_NRESET;

    s->dor = val;
    if (was && !now) {
        soft_reset(s);
    } else if (!was && now) {
        leave_reset(s);
    }
    update_irq(s);
}

static void write_dsr(Fdc *s, uint8_t val)
{
    s->dsr = val & 0x7f;
    s->ccr = val & DSR_RATE;
    if ((val & DSR_RESET) && (s->dor & DOR_NRESET)) {
        soft_reset(s); /* the bit clears itself */
        leave_reset(s);
    }
}

static uint8_t read_dir(Fdc *s)
{
    unsigned unit = s->dor & DOR_SELECT;
    const Drive *d = &s->drive[unit];

    /* Only a drive that turns drives the line. */
    return (s->dor & (0x10 << unit)) && d->type != FDC_DRIVE_NONE && d->changed ? 0x80 : 0;
}

static uint8_t read_sra(Fdc *s)
{
    const Drive *d = &s->drive[s->dor & DOR_SELECT];
    bool wp = d->media && block_read_only(d->media);

    return (s->irq_pending ? 0x80 : 0) | 0x40 | (d->track ? 0x10 : 0) | (s->head ? 0x08 : 0) |
           0x04 | (wp ? 0 : 0x02);
}

static uint8_t read_srb(const Fdc *s)
{
    return 0xc0 | (s->dor & 1 ? 0x20 : 0) | (s->dor & 0x20 ? 2 : 0) | (s->dor & 0x10 ? 1 : 0);
}

static uint64_t io_read(void *opaque, uint64_t off, unsigned size)
{
    Fdc *s = opaque;

    switch (off) {
    case REG_SRA:
        return read_sra(s);
    case REG_SRB:
        return read_srb(s);
    case REG_DOR:
        return s->dor;
    case REG_TDR:
        return s->tdr | 0xfc;
    case REG_MSR:
        return read_msr(s);
    case REG_DATA:
        return data_read(s);
    default:
        return 0xff;
    }
}

static void io_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Fdc *s = opaque;

    switch (off) {
    case REG_DOR:
        write_dor(s, val);
        break;
    case REG_TDR:
        s->tdr = val & 3;
        break;
    case REG_MSR:
        write_dsr(s, val);
        break;
    case REG_DATA:
        data_write(s, val);
        break;
    default:
        break;
    }
}

static uint64_t io7_read(void *opaque, uint64_t off, unsigned size)
{
    return read_dir(opaque);
}

static void io7_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Fdc *s = opaque;

    s->ccr = val & 3;
    s->dsr = (s->dsr & ~DSR_RATE) | s->ccr;
}

static const MemOps io_ops = {.read = io_read, .write = io_write, .impl_max = 1};
static const MemOps io7_ops = {.read = io7_read, .write = io7_write, .impl_max = 1};

/* ---- drives ---- */

static const Format *format_of(const BlockDev *b, GError **err)
{
    uint64_t size = block_size(b);

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (size == (uint64_t)formats[i].kib * 1024) {
            return &formats[i];
        }
    }
    /* Boot floppies are often cut behind their last used sector: the smallest usual disk that
     * holds them. */
    if (size && size <= (uint64_t)formats[1].kib * 1024) {
        return size <= (uint64_t)formats[0].kib * 1024 ? &formats[0] : &formats[1];
    }
    fail(err,
         "floppy image '%s' has %" G_GUINT64_FORMAT " bytes; the largest floppy disk has 2.88M",
         block_name(b), size);
    return NULL;
}

static bool insert(Fdc *s, unsigned unit, BlockDev *media, GError **err)
{
    const Format *f = media ? format_of(media, err) : NULL;
    Drive *d = &s->drive[unit & (DRIVES - 1)];

    if (media && !f) {
        return false;
    }
    if (s->op != OP_NONE && s->unit == unit) {
        stop_block(s);
        if (s->phase == PHASE_EXECUTE) {
            finish(s, ST0_ABNORMAL, ST1_MA, 0);
        }
    }
    block_close(d->media);
    d->media = media;
    d->format = f;
    d->changed = true;
    return true;
}

bool fdc_attach(Fdc *s, unsigned unit, BlockDev *media, GError **err)
{
    if (unit >= DRIVES || s->drive[unit].type != FDC_DRIVE_NONE) {
        return fail(err, "floppy drive %u is in use or does not exist", unit);
    }
    if (!insert(s, unit, media, err)) {
        return false;
    }
    s->drive[unit].type = media ? s->drive[unit].format->drive : FDC_DRIVE_1440K;
    return true;
}

bool fdc_change_media(Fdc *s, unsigned unit, BlockDev *media, GError **err)
{
    if (unit >= DRIVES || s->drive[unit].type == FDC_DRIVE_NONE) {
        return fail(err, "there is no floppy drive %u", unit);
    }
    return insert(s, unit, media, err);
}

static bool change(void *opaque, BlockDev *medium, bool force, GError **err)
{
    Drive *d = opaque;
    return fdc_change_media(d->fdc, d->number, medium, err);
}

bool fdc_set_drive(Fdc *s, unsigned unit, DriveSpec *spec)
{
    static const DriveOps ops = {.change = change};
    Drive *d = &s->drive[unit & (DRIVES - 1)];

    d->fdc = s;
    d->number = unit;
    d->spec = spec;
    drive_set_ops(spec, &ops, d);
    return true;
}

FdcDriveType fdc_drive_type(const Fdc *s, unsigned unit)
{
    return unit < DRIVES ? s->drive[unit].type : FDC_DRIVE_NONE;
}

char *fdc_info(const Fdc *s)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; i < DRIVES; i++) {
        const Drive *d = &s->drive[i];
        if (d->type == FDC_DRIVE_NONE) {
            continue;
        }
        if (d->media) {
            g_string_append_printf(out, "floppy%u: %s (%s%s)\n", i, block_name(d->media),
                                   d->format->name, block_read_only(d->media) ? ", read only" : "");
        } else {
            g_string_append_printf(out, "floppy%u: [not inserted]\n", i);
        }
    }
    return g_string_free(out, FALSE);
}

/* ---- life ---- */

static void fdc_reset(Device *dev)
{
    Fdc *s = (Fdc *)dev;

    s->lock = false;
    soft_reset(s);
    s->dor = 0;
    s->dsr = s->ccr = RATE_250;
    s->tdr = s->srt_hut = s->hlt_nd = 0;
    s->perpendicular = 0;
    s->unit = s->head = s->c = s->h = s->r = s->n = s->eot = s->left = 0;
    memset(s->cmd, 0, sizeof(s->cmd));
    for (unsigned i = 0; i < DRIVES; i++) {
        s->drive[i].changed = true;
        s->drive[i].id_sector = 0;
    }
    update_irq(s);
}

static bool fdc_realize(Device *dev, GError **err)
{
    Fdc *s = (Fdc *)dev;
    IsaBus *isa = (IsaBus *)dev->bus;

    if (s->irq_no > 15 || s->iobase > 0xfff8) {
        return fail(err, "isa-fdc: iobase=0x%x,irq=%u are not possible", s->iobase, s->irq_no);
    }
    if (!isa->dma || !i8237_attach(isa->dma, s->dma_chan, &dma_port, s)) {
        return fail(err, "isa-fdc: DMA channel %u is not free", s->dma_chan);
    }
    s->dma = isa->dma;
    s->irq = isa->irq[s->irq_no];
    s->clock = isa->clock;
    timer_init(&s->step, s->clock, on_step, s);
    timer_init(&s->seek, s->clock, on_seek, s);
    mem_region_init_io(&s->io, "fdc", &io_ops, s, 6);
    mem_region_init_io(&s->io7, "fdc-dir", &io7_ops, s, 1);
    mem_region_add(isa->io, &s->io, s->iobase, 0);
    mem_region_add(isa->io, &s->io7, s->iobase + 7, 0);
    return true;
}

static void fdc_unrealize(Device *dev)
{
    Fdc *s = (Fdc *)dev;

    stop_block(s);
    timer_del(&s->step);
    timer_del(&s->seek);
    i8237_attach(s->dma, s->dma_chan, NULL, NULL);
    mem_region_destroy(&s->io);
    mem_region_destroy(&s->io7);
    for (unsigned i = 0; i < DRIVES; i++) {
        if (s->drive[i].spec) {
            drive_release(s->dev.machine, s->drive[i].spec);
        } else {
            block_close(s->drive[i].media);
        }
        s->drive[i].spec = NULL;
        s->drive[i].media = NULL;
    }
}

static void fdc_pre_save(void *obj)
{
    Fdc *s = obj;

    if (s->block_busy) {
        block_drain(cur_drive(s)->media);
    }
}

static bool fdc_post_load(void *obj, GError **err)
{
    Fdc *s = obj;

    if (s->phase > PHASE_RESULT || s->cmd_len >= sizeof(s->cmd) || s->cmd_want > sizeof(s->cmd) ||
        s->result_len > sizeof(s->result) || s->result_pos > s->result_len ||
        s->data_len > SECTOR || s->data_pos > s->data_len || s->op > OP_READ_TRACK ||
        s->unit >= DRIVES || (s->ready && s->data_pos == s->data_len) ||
        (s->phase == PHASE_RESULT && s->result_pos == s->result_len)) {
        return fail(err, "isa-fdc: impossible state");
    }
    s->block_busy = s->block_cancel = false;
    return true;
}

static const Property fdc_props[] = {
    {"iobase", PROP_U32, offsetof(Fdc, iobase), "0x3f0", "first I/O port"},
    {"irq", PROP_U32, offsetof(Fdc, irq_no), "6", "interrupt line"},
    {"dma", PROP_U32, offsetof(Fdc, dma_chan), "2", "DMA channel"},
    {NULL},
};

static const StateField drive_fields[] = {
    STATE_U8(Drive, track),
    STATE_U8(Drive, pcn),
    STATE_BOOL(Drive, changed),
    STATE_BOOL(Drive, seeking),
    STATE_U8(Drive, seek_st0),
    STATE_U8(Drive, id_sector),
    STATE_END_FIELD,
};
static const StateTable drive_state = {.name = "fdc-drive", .version = 1, .fields = drive_fields};

static const StateField fdc_fields[] = {
    STATE_STRUCT_ARRAY(Fdc, drive, Drive, &drive_state),
    STATE_U8(Fdc, dor),
    STATE_U8(Fdc, dsr),
    STATE_U8(Fdc, tdr),
    STATE_U8(Fdc, ccr),
    STATE_U8(Fdc, srt_hut),
    STATE_U8(Fdc, hlt_nd),
    STATE_U8(Fdc, config),
    STATE_U8(Fdc, precomp),
    STATE_U8(Fdc, perpendicular),
    STATE_BOOL(Fdc, lock),
    STATE_BOOL(Fdc, irq_pending),
    STATE_U8(Fdc, reset_sense),
    STATE_U8(Fdc, phase),
    STATE_U8_ARRAY(Fdc, cmd),
    STATE_U8(Fdc, cmd_len),
    STATE_U8(Fdc, cmd_want),
    STATE_U8_ARRAY(Fdc, result),
    STATE_U8(Fdc, result_pos),
    STATE_U8(Fdc, result_len),
    STATE_U8(Fdc, op),
    STATE_U8(Fdc, unit),
    STATE_U8(Fdc, head),
    STATE_U8(Fdc, c),
    STATE_U8(Fdc, h),
    STATE_U8(Fdc, r),
    STATE_U8(Fdc, n),
    STATE_U8(Fdc, eot),
    STATE_U8(Fdc, left),
    STATE_BOOL(Fdc, counted),
    STATE_BOOL(Fdc, scan_hit),
    STATE_BOOL(Fdc, scan_miss),
    STATE_U8_ARRAY(Fdc, data),
    STATE_U16(Fdc, data_pos),
    STATE_U16(Fdc, data_len),
    STATE_BOOL(Fdc, to_host),
    STATE_BOOL(Fdc, ready),
    STATE_BOOL(Fdc, tc),
    STATE_TIMER(Fdc, step),
    STATE_TIMER(Fdc, seek),
    STATE_END_FIELD,
};
static const StateTable fdc_state = {.name = "isa-fdc",
                                     .version = 1,
                                     .fields = fdc_fields,
                                     .pre_save = fdc_pre_save,
                                     .post_load = fdc_post_load};

const DeviceType isa_fdc_type = {
    .name = "isa-fdc",
    .desc = "82078 floppy controller",
    .bus = "ISA",
    .size = sizeof(Fdc),
    .props = fdc_props,
    .realize = fdc_realize,
    .unrealize = fdc_unrealize,
    .reset = fdc_reset,
    .state = &fdc_state,
};

Fdc *fdc_new(IsaBus *isa, uint16_t iobase, int irq, int dma, GError **err)
{
    Device *dev = device_new(&isa_fdc_type, isa_machine(isa));
    Fdc *s = (Fdc *)dev;

    s->iobase = iobase;
    s->irq_no = irq;
    s->dma_chan = dma;
    if (!device_realize(dev, &isa->bus, err)) {
        device_free(dev);
        return NULL;
    }
    return s;
}
