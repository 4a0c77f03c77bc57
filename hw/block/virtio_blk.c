/*
 * virtio block device: VIRTIO 1.2, section 5.2, and its legacy parts.
 *
 * Data goes between image and the guest's RAM directly; buffers elsewhere take a detour. Requests
 * are copied in before they are checked, and several run at once, in no order among each other. A
 * driver that has not agreed to flushes gets every write flushed (5.2.6.2).
 */
#include "block/drive.h"
#include "core/log.h"
#include "hw/virtio/virtio_types.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define SECTOR 512
#define BOUNCE_MAX (32u << 20) /* bytes on detours at once */
#define ID_BYTES 20

enum { /* features */
       F_SEG_MAX = 2,
       F_GEOMETRY = 4,
       F_RO = 5,
       F_BLK_SIZE = 6,
       F_FLUSH = 9,
       F_TOPOLOGY = 10,
       F_CONFIG_WCE = 11,
       F_MQ = 12,
       F_DISCARD = 13,
       F_WRITE_ZEROES = 14,
};
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
enum { HEADER = 16, SEGMENT = 16, SEGMENT_UNMAP = 1 };
enum { /* configuration space */
       CFG_CAPACITY = 0,
       CFG_SEG_MAX = 12,
       CFG_CYLINDERS = 16,
       CFG_HEADS = 18,
       CFG_SECTORS = 19,
       CFG_BLK_SIZE = 20,
       CFG_PHYSICAL_EXP = 24,
       CFG_MIN_IO = 26,
       CFG_OPT_IO = 28,
       CFG_WRITEBACK = 32,
       CFG_NUM_QUEUES = 34,
       CFG_MAX_DISCARD = 36,
       CFG_MAX_DISCARD_SEG = 40,
       CFG_DISCARD_ALIGN = 44,
       CFG_MAX_ZEROES = 48,
       CFG_MAX_ZEROES_SEG = 52,
       CFG_ZEROES_UNMAP = 56,
       CFG_SIZE = 60,
};

typedef struct VirtioBlk {
    VirtioDevice v;
    char *drive, *serial, *bootindex;
    uint16_t num_queues, queue_size;
    bool discard, write_zeroes, config_wce;
    uint32_t logical, physical, min_io, opt_io;
    uint32_t max_discard, max_zeroes; /* sectors */
    DriveSpec *spec;
    BlockDev *block;
    bool writeback;
    uint64_t bounced; /* bytes on detours now */
} VirtioBlk;

typedef struct Request {
    VirtioBlk *s;
    VirtQueue *q;
    VirtElem *e;
    uint32_t type;
    uint64_t off, len; /* bytes of the disk; of zeros: what is left */
    uint64_t in_len;   /* data bytes that the driver gets */
    uint8_t *bounce;   /* NULL: straight from and to the guest's RAM */
} Request;

/* ---- ends of requests ---- */

static void finish(Request *r, uint8_t status)
{
    VirtioBlk *s = r->s;
    uint32_t written = r->type == T_IN || r->type == T_GET_ID ? (uint32_t)r->in_len : 0;

    if (virtq_live(r->q)) {
        if (r->type == T_IN && r->bounce) {
            virtelem_put(&s->v, r->e, 0, r->bounce, r->in_len);
        } else if (r->type == T_IN) {
            virtelem_dirty(r->e, 0, r->in_len);
        }
        virtelem_put(&s->v, r->e, r->e->in_len - 1, &status, 1);
    }
    if (r->bounce) {
        s->bounced -= r->len;
        g_free(r->bounce);
    }
    virtq_push(r->q, r->e, written + 1);
    virtq_notify(r->q);
    g_free(r);
}

static void done(void *opaque, int ret)
{
    finish(opaque, ret < 0 ? S_IOERR : S_OK);
}

/* A driver that knows no flushes, or has switched the cache off, counts on what is written. */
static bool write_through(const VirtioBlk *s)
{
    return !s->writeback || !virtio_has(&s->v, VIRTIO_BIT(F_FLUSH));
}

static void zeroed(void *opaque, int ret)
{
    Request *r = opaque;

    if (ret == 0 && write_through(r->s)) {
        block_flush(r->s->block, done, r);
    } else {
        done(r, ret);
    }
}

/* ---- requests ---- */

/* @len bytes at sector @sector lie on the disk. */
static bool on_disk(const VirtioBlk *s, uint64_t sector, uint64_t len)
{
    uint64_t size = block_size(s->block) & ~(uint64_t)(SECTOR - 1);

    return len % SECTOR == 0 && len <= size && sector <= (size - len) / SECTOR;
}

static bool take_detour(Request *r)
{
    VirtioBlk *s = r->s;

    if (r->len > BOUNCE_MAX - MIN(s->bounced, BOUNCE_MAX)) {
        return false;
    }
    s->bounced += r->len;
    r->bounce = g_malloc(r->len);
    if (r->type == T_OUT) {
        virtelem_get(&s->v, r->e, HEADER, r->bounce, r->len);
    }
    return true;
}

static void transfer(Request *r, uint64_t sector)
{
    VirtioBlk *s = r->s;
    bool in = r->type == T_IN;
    struct iovec iov[VIRTQ_MAX_SIZE];

    r->len = in ? r->e->in_len - 1 : r->e->out_len - HEADER;
    if (!on_disk(s, sector, r->len)) {
        guest_error("virtio-blk: %" PRIu64 " bytes at sector %" PRIu64 " are not on the disk",
                    r->len, sector);
        r->in_len = 0;
        r->len = 0;
        finish(r, S_IOERR);
        return;
    }
    r->in_len = in ? r->len : 0;
    r->off = sector * SECTOR;
    int n = virtelem_iov(r->e, in, in ? 0 : HEADER, r->len, iov, G_N_ELEMENTS(iov));
    if (n < 0) {
        if (!take_detour(r)) {
            r->in_len = 0;
            finish(r, S_IOERR);
            return;
        }
        iov[0] = (struct iovec){r->bounce, r->len};
        n = 1;
    }
    if (in) {
        block_read(s->block, r->off, iov, (unsigned)n, done, r);
    } else {
        (write_through(s) ? block_write_fua : block_write)(s->block, r->off, iov, (unsigned)n, done,
                                                           r);
    }
}

static void discard_or_zero(Request *r)
{
    VirtioBlk *s = r->s;
    bool zero = r->type == T_WRITE_ZEROES;
    uint8_t seg[SEGMENT];

    if (r->e->out_len != HEADER + SEGMENT) {
        guest_error("virtio-blk: discard or zeroing with %" PRIu64 " bytes, not one segment",
                    r->e->out_len - HEADER);
        finish(r, S_IOERR);
        return;
    }
    virtelem_get(&s->v, r->e, HEADER, seg, sizeof(seg));
    uint64_t sector = virtio_get64(seg), count = virtio_get32(seg + 8);
    uint32_t flags = virtio_get32(seg + 12);
    if (flags & ~(zero ? SEGMENT_UNMAP : 0)) {
        finish(r, S_UNSUPP);
    } else if (count > (zero ? s->max_zeroes : s->max_discard) ||
               !on_disk(s, sector, count * SECTOR)) {
        guest_error("virtio-blk: discard or zeroing of what is not on the disk");
        finish(r, S_IOERR);
    } else if (block_read_only(s->block)) {
        finish(r, S_IOERR);
    } else if (zero) {
        block_write_zeroes(s->block, sector * SECTOR, count * SECTOR, flags & SEGMENT_UNMAP, zeroed,
                           r);
    } else {
        block_discard(s->block, sector * SECTOR, count * SECTOR, done, r);
    }
}

static void get_id(Request *r)
{
    VirtioBlk *s = r->s;
    char id[ID_BYTES] = "";

    if (s->serial) {
        memcpy(id, s->serial, MIN(strlen(s->serial), sizeof(id)));
    }
    r->in_len = MIN(r->e->in_len - 1, sizeof(id));
    virtelem_put(&s->v, r->e, 0, id, r->in_len);
    finish(r, S_OK);
}

static void start(VirtioBlk *s, VirtQueue *q, VirtElem *e)
{
    uint8_t head[HEADER];

    if (!e->in_len || virtelem_get(&s->v, e, 0, head, sizeof(head)) < sizeof(head)) {
        virtio_broken(&s->v, "queue %u: request without header or status", q->index);
        virtq_drop(q, e);
        return;
    }
    Request *r = g_new0(Request, 1);
    *r = (Request){.s = s, .q = q, .e = e, .type = virtio_get32(head)};
    switch (r->type) {
    case T_IN:
    case T_OUT:
        transfer(r, virtio_get64(head + 8));
        break;
    case T_FLUSH:
        block_flush(s->block, done, r);
        break;
    case T_GET_ID:
        get_id(r);
        break;
    case T_DISCARD:
    case T_WRITE_ZEROES:
        if (virtio_has(&s->v, VIRTIO_BIT(r->type == T_DISCARD ? F_DISCARD : F_WRITE_ZEROES))) {
            discard_or_zero(r);
            break;
        }
        /* fall through */
    default:
        finish(r, S_UNSUPP);
    }
}

static void handle(VirtioDevice *v, VirtQueue *q)
{
    VirtElem *e;

    virtq_want_kicks(q, false);
    while ((e = virtq_next(q))) {
        start((VirtioBlk *)v, q, e);
    }
    virtq_want_kicks(q, true);
    /* One that came before the wish for kicks was seen. */
    if (virtq_has(q)) {
        virtio_later(q);
    }
}

/* ---- configuration ---- */

static void get_config(VirtioDevice *v, uint8_t *c)
{
    VirtioBlk *s = (VirtioBlk *)v;
    uint64_t sectors = block_size(s->block) / SECTOR, cylinders = sectors / (16 * 63);
    uint32_t exp = 0;

    while (s->logical << exp < s->physical) {
        exp++;
    }
    virtio_put64(c + CFG_CAPACITY, sectors);
    virtio_put32(c + CFG_SEG_MAX, s->queue_size - 2);
    virtio_put16(c + CFG_CYLINDERS, (uint16_t)MIN(cylinders, 16383));
    c[CFG_HEADS] = 16;
    c[CFG_SECTORS] = 63;
    virtio_put32(c + CFG_BLK_SIZE, s->logical);
    c[CFG_PHYSICAL_EXP] = (uint8_t)exp;
    virtio_put16(c + CFG_MIN_IO, (uint16_t)(s->min_io / s->logical));
    virtio_put32(c + CFG_OPT_IO, s->opt_io / s->logical);
    c[CFG_WRITEBACK] = s->writeback;
    virtio_put16(c + CFG_NUM_QUEUES, s->num_queues);
    virtio_put32(c + CFG_MAX_DISCARD, s->max_discard);
    virtio_put32(c + CFG_MAX_DISCARD_SEG, 1);
    virtio_put32(c + CFG_DISCARD_ALIGN, s->logical / SECTOR);
    virtio_put32(c + CFG_MAX_ZEROES, s->max_zeroes);
    virtio_put32(c + CFG_MAX_ZEROES_SEG, 1);
    c[CFG_ZEROES_UNMAP] = block_discards(s->block);
}

static void set_config(VirtioDevice *v, const uint8_t *c, unsigned off, unsigned len)
{
    VirtioBlk *s = (VirtioBlk *)v;

    if (off <= CFG_WRITEBACK && off + len > CFG_WRITEBACK &&
        virtio_has(v, VIRTIO_BIT(F_CONFIG_WCE))) {
        s->writeback = c[CFG_WRITEBACK] & 1;
    }
}

static void blk_reset(VirtioDevice *v)
{
    VirtioBlk *s = (VirtioBlk *)v;

    block_drain(s->block);
    s->writeback = block_write_cache(s->block);
}

static void resized(void *opaque)
{
    virtio_config_changed(opaque);
}

/* ---- life ---- */

static bool power_of_two(const VirtioBlk *s, const char *what, uint32_t v, uint32_t min,
                         uint32_t max, GError **err)
{
    return (v >= min && v <= max && !(v & (v - 1))) ||
           fail(err, "%s: %s must be a power of two from %u to %u, not %u", s->v.dev->type->name,
                what, min, max, v);
}

static bool check_properties(VirtioBlk *s, GError **err)
{
    const char *name = s->v.dev->type->name;

    if (s->num_queues == 0) {
        s->num_queues = (uint16_t)CLAMP(s->v.dev->machine->cfg.smp, 1, VIRTIO_MAX_QUEUES);
    }
    if (s->num_queues > VIRTIO_MAX_QUEUES) {
        return fail(err, "%s: num-queues must be 1 to %u, not %u", name, VIRTIO_MAX_QUEUES,
                    s->num_queues);
    }
    if (!power_of_two(s, "queue-size", s->queue_size, 4, VIRTQ_MAX_SIZE, err) ||
        !power_of_two(s, "logical_block_size", s->logical, SECTOR, 32768, err) ||
        !power_of_two(s, "physical_block_size", s->physical, s->logical, 2u << 20, err)) {
        return false;
    }
    if (s->min_io % s->logical || s->opt_io % s->logical || s->min_io / s->logical > UINT16_MAX) {
        return fail(err, "%s: min_io_size and opt_io_size must be multiples of the block size, %u",
                    name, s->logical);
    }
    return true;
}

static bool blk_realize(VirtioDevice *v, GError **err)
{
    VirtioBlk *s = (VirtioBlk *)v;

    Machine *m = v->dev->machine;

    if (!check_properties(s, err)) {
        return false;
    }
    if (!s->drive || !*s->drive) {
        return fail(err, "%s needs drive=ID", v->dev->type->name);
    }
    s->spec = drive_find_free(m, s->drive, v->dev->type->name, err);
    if (!s->spec || !drive_take(m, s->spec, DRIVE_DISK, &s->block, err)) {
        return false;
    }
    if (!virtio_add_boot_path(v, s->bootindex, "scsi", "/disk@0,0", err)) {
        block_close(s->block);
        drive_give_back(s->spec);
        return false;
    }
    block_on_resize(s->block, resized, v);
    if (!s->serial && s->spec->serial) {
        s->serial = g_strdup(s->spec->serial);
    }
    for (unsigned i = 0; i < s->num_queues; i++) {
        virtio_add_queue(v, s->queue_size, handle);
    }
    bool ro = block_read_only(s->block);
    v->config_size = CFG_SIZE;
    v->host_features = VIRTIO_BIT(F_SEG_MAX) | VIRTIO_BIT(F_GEOMETRY) | VIRTIO_BIT(F_BLK_SIZE) |
                       VIRTIO_BIT(F_FLUSH) | VIRTIO_BIT(F_TOPOLOGY) | (ro ? VIRTIO_BIT(F_RO) : 0) |
                       (s->config_wce ? VIRTIO_BIT(F_CONFIG_WCE) : 0) |
                       (s->num_queues > 1 ? VIRTIO_BIT(F_MQ) : 0) |
                       (s->discard && !ro && s->max_discard ? VIRTIO_BIT(F_DISCARD) : 0) |
                       (s->write_zeroes && !ro && s->max_zeroes ? VIRTIO_BIT(F_WRITE_ZEROES) : 0);
    s->writeback = block_write_cache(s->block);
    return true;
}

static void blk_unrealize(VirtioDevice *v)
{
    VirtioBlk *s = (VirtioBlk *)v;

    block_drain(s->block);
    drive_release(v->dev->machine, s->spec);
    s->block = NULL;
    s->spec = NULL;
}

static void pre_save(void *obj)
{
    block_drain(((VirtioBlk *)obj)->block);
}

static const StateField fields[] = {
    VIRTIO_STATE(VirtioBlk, v),
    STATE_BOOL(VirtioBlk, writeback),
    STATE_END_FIELD,
};
static const StateTable state = {
    .name = "virtio-blk", .version = 1, .fields = fields, .pre_save = pre_save};

static const VirtioClass blk_class = {
    .name = "virtio-blk",
    .id = VIRTIO_ID_BLOCK,
    .legacy_pci_id = 0x1001,
    .pci_class = 0x010000,
    .realize = blk_realize,
    .unrealize = blk_unrealize,
    .reset = blk_reset,
    .get_config = get_config,
    .set_config = set_config,
};

#define PROPS(T)                                                                                   \
    {"drive", PROP_DRIVE, offsetof(T, d.drive), NULL, "id of the -drive"},                         \
        {"serial", PROP_STRING, offsetof(T, d.serial), NULL, "serial number, 20 bytes"},           \
        {"bootindex", PROP_STRING, offsetof(T, d.bootindex), NULL, "place in the boot order"},     \
        {"num-queues", PROP_U16, offsetof(T, d.num_queues), "0", "queues; 0: one a CPU"},          \
        {"queue-size", PROP_U16, offsetof(T, d.queue_size), "256", "places in a queue"},           \
        {"logical_block_size", PROP_U32, offsetof(T, d.logical), "512", "bytes"},                  \
        {"physical_block_size", PROP_U32, offsetof(T, d.physical), "512", "bytes"},                \
        {"min_io_size", PROP_U32, offsetof(T, d.min_io), "0", "bytes that are read at best"},      \
        {"opt_io_size", PROP_U32, offsetof(T, d.opt_io), "0", "bytes that are read at best"},      \
        {"discard", PROP_BOOL, offsetof(T, d.discard), "on", "offer discard"},                     \
        {"max-discard-sectors", PROP_U32, offsetof(T, d.max_discard), "4194303", "in a request"},  \
        {"write-zeroes", PROP_BOOL, offsetof(T, d.write_zeroes), "on", "offer write zeroes"},      \
        {"max-write-zeroes-sectors", PROP_U32, offsetof(T, d.max_zeroes), "4194303",               \
         "in a request"},                                                                          \
        {"config-wce", PROP_BOOL, offsetof(T, d.config_wce), "on",                                 \
         "let the driver switch the write cache"},

VIRTIO_PCI_TYPE(VirtioBlk, virtio_blk, "virtio-blk", "virtio-blk", "virtio block device", blk_class,
                state, PROPS);
VIRTIO_BUS_TYPE(VirtioBlk, virtio_blk, "virtio-blk", "virtio block device", blk_class, state,
                PROPS);
