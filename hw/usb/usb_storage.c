/*
 * usb-storage: a disk. USB Mass Storage Class, Bulk-Only Transport, revision 1.0; its logical unit
 * is scsi_disk.c. The "cases" below are those of the transport's chapter 6.
 */
#include "block/drive.h"
#include "core/log.h"
#include "core/machine.h"
#include "hw/firmware/fw_cfg.h"
#include "hw/usb/scsi_disk.h"
#include "hw/usb/usb.h"
#include <errno.h>
#include <string.h>

enum {
    EP_IN = 1,
    EP_OUT = 2,
    PACKET = 64,

    CBW_LEN = 31,
    CSW_LEN = 13,
    CBW_SIGNATURE = 0x43425355,
    CSW_SIGNATURE = 0x53425355,

    CSW_PASSED = 0,
    CSW_FAILED = 1,
    CSW_PHASE_ERROR = 2,

    REQ_RESET = 0x21 << 8 | 0xff,
    REQ_MAX_LUN = 0xa1 << 8 | 0xfe,
};

#define CHUNK 65536 /* blocks move through a buffer of this size */

typedef enum {
    PHASE_COMMAND,
    PHASE_DATA_IN,
    PHASE_DATA_OUT,
    PHASE_STATUS,
    PHASE_INVALID, /* bad wrapper: both endpoints halt until reset recovery (6.6.1) */
    PHASE_COUNT
} Phase;

typedef struct UsbStorage {
    UsbDevice usb;
    ScsiDisk disk;
    char *drive, *bootindex;
    DriveSpec *spec;
    bool busy; /* the image is at work on @buf */
    bool drop; /* nobody waits for that any more */

    uint8_t phase, status;
    uint32_t tag;
    uint32_t host_left;   /* bytes of the host's data length that have not moved: the residue */
    uint64_t device_left; /* bytes that the command still has to give or take */
    uint64_t lba;         /* of the next block to be read or written */
    bool to_image;        /* device_left comes from or goes to the image */
    bool refuse;          /* the rest of the host's data is refused by a halt */
    uint32_t pos, end;    /* of buf: to the host, moved and filled; from it: end is what fits */
    uint8_t buf[CHUNK];
} UsbStorage;

static const uint8_t device_descriptor[18] = {
    18,   USB_DESC_DEVICE,
    0x10, 0x01,
    0,    0,
    0,    64, /* USB 1.1, class in the interface */
    0xf4, 0x46,
    0x01, 0x00,
    0x00, 1,
    1,    2,
    3,    1,
};

static const uint8_t config_descriptor[32] = {
    9,
    USB_DESC_CONFIG,
    32,
    0,
    1,
    1,
    0,
    0xc0,
    0, /* self powered */
    9,
    USB_DESC_INTERFACE,
    0,
    0,
    2,
    8,
    6,
    0x50,
    0, /* mass storage, SCSI, bulk only */
    7,
    USB_DESC_ENDPOINT,
    0x80 | EP_IN,
    2,
    PACKET,
    0,
    0,
    7,
    USB_DESC_ENDPOINT,
    EP_OUT,
    2,
    PACKET,
    0,
    0,
};

static const char *const strings[] = {"Rhea", "USB Disk", "000000000001", NULL};

/* ---- the image ---- */

static void data_over(UsbStorage *s)
{
    /* What the host still wants to move ends with a halt, then the status follows. */
    s->device_left = 0;
    s->pos = s->end = 0;
    if (s->host_left) {
        s->refuse = true;
    } else {
        s->phase = PHASE_STATUS;
    }
}

static void io_done(void *opaque, int ret)
{
    UsbStorage *s = opaque;
    bool drop = s->drop;

    s->busy = s->drop = false;
    if (!drop && ret < 0) {
        scsi_disk_io_error(&s->disk, ret);
        s->status = CSW_FAILED;
        if (s->phase == PHASE_DATA_IN || s->phase == PHASE_DATA_OUT) {
            data_over(s);
        }
    } else if (!drop && s->phase == PHASE_DATA_OUT) {
        s->pos = 0;
        s->end = (uint32_t)MIN(s->device_left, CHUNK);
        if (!s->device_left) {
            data_over(s);
        }
    }
    usb_wakeup(&s->usb);
}

static void read_chunk(UsbStorage *s)
{
    struct iovec iov = {s->buf, MIN(s->device_left, CHUNK)};
    uint64_t off = s->lba * SCSI_BLOCK;

    s->pos = 0;
    s->end = (uint32_t)iov.iov_len;
    s->lba += s->end / SCSI_BLOCK;
    s->busy = true;
    block_read(s->disk.block, off, &iov, 1, io_done, s);
}

static void write_chunk(UsbStorage *s)
{
    struct iovec iov = {s->buf, s->end};
    uint64_t off = s->lba * SCSI_BLOCK;

    s->lba += s->end / SCSI_BLOCK;
    s->busy = true;
    block_write(s->disk.block, off, &iov, 1, io_done, s);
}

/* Forget the command; the image may still be at work. */
static void abandon(UsbStorage *s)
{
    s->drop = s->busy;
    s->phase = PHASE_COMMAND;
    s->refuse = s->to_image = false;
    s->host_left = s->pos = s->end = 0;
    s->device_left = 0;
    s->status = CSW_PASSED;
}

/* ---- commands ---- */

static uint32_t le32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Host and device disagree about direction or length; 6.7. */
static void phase_error(UsbStorage *s)
{
    guest_error("usb-storage: the host's data length or direction does not fit the command");
    s->status = CSW_PHASE_ERROR;
    data_over(s);
}

static void start_data(UsbStorage *s, const ScsiCommand *c, bool host_in)
{
    bool device_in = c->action != SCSI_WRITE;

    s->to_image = c->action == SCSI_READ || c->action == SCSI_WRITE;
    s->device_left = s->to_image ? (uint64_t)c->blocks * SCSI_BLOCK : c->len;
    s->lba = c->lba;
    if (!s->device_left) {
        data_over(s); /* cases 1, 4 and 9 */
    } else if (!s->host_left || device_in != host_in) {
        phase_error(s); /* cases 2, 3, 8 and 10 */
    } else if (!device_in && s->device_left > s->host_left) {
        phase_error(s); /* case 13: nothing is written */
    } else if (c->action == SCSI_REPLY) {
        s->pos = 0;
        s->end = c->len;
    } else if (c->action == SCSI_READ) {
        read_chunk(s);
    } else {
        s->pos = 0;
        s->end = (uint32_t)MIN(s->device_left, CHUNK);
    }
}

static int take_command(UsbStorage *s, const uint8_t *p, unsigned len)
{
    uint8_t cdb_len = p[14];

    if (len != CBW_LEN || le32(p) != CBW_SIGNATURE || p[13] > 0 || cdb_len < 1 || cdb_len > 16 ||
        p[12] & 0x7f) {
        guest_error("usb-storage: invalid command block wrapper of %u bytes", len);
        s->phase = PHASE_INVALID;
        return USB_STALL;
    }
    bool host_in = p[12] & 0x80;
    s->tag = le32(p + 4);
    s->host_left = le32(p + 8);
    s->refuse = false;
    s->pos = s->end = 0;
    s->phase = host_in ? PHASE_DATA_IN : PHASE_DATA_OUT;
    ScsiCommand c = scsi_disk_command(&s->disk, p + 15, cdb_len, s->buf);
    s->status = c.status == SCSI_GOOD ? CSW_PASSED : CSW_FAILED;
    start_data(s, &c, host_in);
    if (c.action == SCSI_FLUSH && s->status == CSW_PASSED) {
        s->busy = true;
        block_flush(s->disk.block, io_done, s);
    }
    return 0;
}

/* ---- endpoints ---- */

static int data_in(UsbStorage *s, uint8_t *buf)
{
    if (s->refuse) {
        s->refuse = false;
        s->phase = PHASE_STATUS;
        return USB_STALL;
    }
    unsigned n = MIN(MIN(s->end - s->pos, PACKET), s->host_left);
    memcpy(buf, s->buf + s->pos, n);
    s->pos += n;
    s->host_left -= n;
    s->device_left -= n;
    if (!s->host_left && s->device_left) {
        phase_error(s); /* case 7 */
    } else if (!s->device_left) {
        uint32_t left = s->host_left;
        data_over(s);
        if (left && n < PACKET) { /* a short packet says it, no halt is needed */
            s->refuse = false;
            s->phase = PHASE_STATUS;
        }
    } else if (s->pos == s->end) {
        read_chunk(s);
    }
    return (int)n;
}

static int send_status(UsbStorage *s, uint8_t *buf)
{
    const uint32_t words[3] = {CSW_SIGNATURE, s->tag, s->host_left};

    for (unsigned i = 0; i < 12; i++) {
        buf[i] = (uint8_t)(words[i / 4] >> (8 * (i & 3)));
    }
    buf[12] = s->status;
    s->phase = PHASE_COMMAND;
    s->host_left = 0;
    return CSW_LEN;
}

static int ep_in(UsbDevice *d, unsigned ep, uint8_t *buf, unsigned max)
{
    UsbStorage *s = (UsbStorage *)d;

    switch (s->phase) {
    case PHASE_DATA_IN:
        return s->busy ? USB_NAK : data_in(s, buf);
    case PHASE_STATUS:
        return s->busy ? USB_NAK : send_status(s, buf);
    case PHASE_INVALID:
        return USB_STALL;
    default:
        return USB_NAK;
    }
}

static int data_out(UsbStorage *s, const uint8_t *buf, unsigned len)
{
    if (s->refuse || !s->device_left || len > s->host_left) {
        s->refuse = false;
        s->phase = PHASE_STATUS;
        return USB_STALL;
    }
    if (len < PACKET && len < s->host_left) { /* the host ends before the length it said */
        phase_error(s);
        return 0;
    }
    unsigned n = MIN(len, s->end - s->pos);
    memcpy(s->buf + s->pos, buf, n);
    s->pos += n;
    s->host_left -= len;
    s->device_left -= n;
    if (s->pos == s->end) {
        write_chunk(s);
    }
    return 0;
}

static int ep_out(UsbDevice *d, unsigned ep, const uint8_t *buf, unsigned len)
{
    UsbStorage *s = (UsbStorage *)d;

    switch (s->phase) {
    case PHASE_COMMAND:
        return s->busy ? USB_NAK : take_command(s, buf, len);
    case PHASE_DATA_OUT:
        return s->busy ? USB_NAK : data_out(s, buf, len);
    case PHASE_STATUS:
        return USB_NAK; /* the host has to read the status first */
    default:
        return USB_STALL;
    }
}

static bool unhalt(UsbDevice *d, unsigned ep, bool in)
{
    return ((UsbStorage *)d)->phase != PHASE_INVALID;
}

static int control(UsbDevice *d, const UsbSetup *r, uint8_t *data)
{
    UsbStorage *s = (UsbStorage *)d;

    if (!d->config || r->index != 0 || r->value != 0) {
        return USB_STALL;
    }
    switch (r->type << 8 | r->request) {
    case REQ_RESET:
        abandon(s);
        return 0;
    case REQ_MAX_LUN:
        data[0] = 0;
        return r->length == 1 ? 1 : USB_STALL;
    default:
        return USB_STALL;
    }
}

static void storage_reset(UsbDevice *d)
{
    UsbStorage *s = (UsbStorage *)d;

    abandon(s);
    scsi_disk_reset(&s->disk);
}

static void configured(UsbDevice *d, bool on)
{
    abandon((UsbStorage *)d);
}

static const UsbFunction function = {
    .device = device_descriptor,
    .config = config_descriptor,
    .strings = strings,
    .reset = storage_reset,
    .configured = configured,
    .control = control,
    .in = ep_in,
    .out = ep_out,
    .unhalt = unhalt,
};

/* ---- media ---- */

static bool too_small(const BlockDev *b, GError **err)
{
    return b && block_size(b) < SCSI_BLOCK &&
           !fail(err, "usb-storage: '%s' has less than one block of %d bytes", block_name(b),
                 SCSI_BLOCK);
}

static bool change_medium(void *opaque, BlockDev *medium, bool force, GError **err)
{
    UsbStorage *s = opaque;

    if (s->disk.block && s->disk.locked && !force) {
        return fail(err, "usb-storage: the guest has locked the medium");
    }
    if (too_small(medium, err)) {
        return false;
    }
    if (s->disk.block) {
        block_drain(s->disk.block); /* a command that is under way ends with the old medium … */
        if (s->to_image && s->device_left) {
            scsi_disk_io_error(&s->disk, -EIO); /* … or fails */
            s->status = CSW_FAILED;
            data_over(s);
        }
        block_close(s->disk.block);
    }
    scsi_disk_set_medium(&s->disk, medium);
    usb_wakeup(&s->usb);
    return true;
}

static bool is_locked(void *opaque)
{
    return ((UsbStorage *)opaque)->disk.locked;
}

static const DriveOps drive_ops = {.change = change_medium, .locked = is_locked};

static bool open_drive(UsbStorage *s, GError **err)
{
    Machine *m = s->usb.dev.machine;
    DriveSpec *d;

    if (!s->drive) {
        return fail(err, "usb-storage needs drive=ID");
    }
    if (!(d = drive_find_free(m, s->drive, "usb-storage", err))) {
        return false;
    }
    if (d->cdrom) {
        return fail(err, "usb-storage: drive '%s' is a CD; only disks can be attached", s->drive);
    }
    /* Only removable ones may be empty, as floppy drives. */
    if (!drive_take(m, d, s->disk.removable ? DRIVE_FLOPPY : DRIVE_DISK, &s->disk.block, err)) {
        return false;
    }
    if (too_small(s->disk.block, err)) {
        block_close(s->disk.block);
        s->disk.block = NULL;
        drive_give_back(d);
        return false;
    }
    if (s->disk.removable) {
        drive_set_ops(d, &drive_ops, s);
    }
    s->spec = d;
    return true;
}

/* ---- device ---- */

static void add_boot_path(const UsbStorage *s)
{
    FwCfg *fw = fw_cfg_find(s->usb.dev.machine);
    g_autofree char *bus = usb_firmware_path(&s->usb);

    if (s->bootindex && fw && bus) {
        g_autofree char *path =
            g_strdup_printf("%s/storage@%x/channel@0/disk@0,0", bus, s->usb.port->index + 1);
        fw_cfg_add_boot_path(fw, (int)g_ascii_strtoll(s->bootindex, NULL, 0), path);
    }
}

static bool storage_realize(Device *dev, GError **err)
{
    UsbStorage *s = (UsbStorage *)dev;

    if (s->bootindex && (!*s->bootindex || s->bootindex[strspn(s->bootindex, "0123456789")])) {
        return fail(err, "usb-storage: bootindex must be a number, not '%s'", s->bootindex);
    }
    if (!open_drive(s, err)) {
        return false;
    }
    if (!s->usb.serial) {
        s->usb.serial = g_strdup(s->spec->serial);
    }
    if (!usb_device_init(&s->usb, &function, err)) {
        block_close(s->disk.block);
        drive_give_back(s->spec);
        return false;
    }
    if (!s->usb.serial) { /* twelve digits at least, and one of its own: 4.1.1 */
        s->usb.serial = g_strdup_printf("52484541%04X", s->usb.number & 0xffff);
    }
    g_strlcpy(s->disk.serial, s->usb.serial, sizeof(s->disk.serial));
    add_boot_path(s);
    usb_device_attach(&s->usb);
    return true;
}

static void storage_unrealize(Device *dev)
{
    UsbStorage *s = (UsbStorage *)dev;

    usb_device_fini(&s->usb);
    abandon(s); /* what is in flight must not find a command that is gone */
    drive_release(dev->machine, s->spec);
}

/* No request survives in a stream. */
static void pre_save(void *obj)
{
    UsbStorage *s = obj;

    if (s->disk.block) {
        block_drain(s->disk.block);
    }
}

static bool post_load(void *obj, GError **err)
{
    UsbStorage *s = obj;
    bool image = s->to_image && s->device_left;
    bool in_buffer = s->device_left == s->end - s->pos;

    s->drop = s->busy;
    if (s->phase >= PHASE_COUNT || s->pos > s->end || s->end > CHUNK ||
        s->end - s->pos > s->device_left || s->lba > UINT64_MAX / SCSI_BLOCK ||
        (image && !s->disk.block) || (!image && !in_buffer) ||
        (s->phase == PHASE_DATA_OUT && s->device_left && !image)) {
        return fail(err, "The saved state of usb-storage is impossible");
    }
    return true;
}

static const StateField fields[] = {
    USB_STATE(UsbStorage, usb),
    STATE_STRUCT_ARRAY(UsbStorage, disk, ScsiDisk, &scsi_disk_state),
    STATE_U8(UsbStorage, phase),
    STATE_U8(UsbStorage, status),
    STATE_U32(UsbStorage, tag),
    STATE_U32(UsbStorage, host_left),
    STATE_U64(UsbStorage, device_left),
    STATE_U64(UsbStorage, lba),
    STATE_BOOL(UsbStorage, to_image),
    STATE_BOOL(UsbStorage, refuse),
    STATE_U32(UsbStorage, pos),
    STATE_U32(UsbStorage, end),
    STATE_U8_ARRAY(UsbStorage, buf),
    STATE_END_FIELD,
};
static const StateTable state = {.name = "usb-storage",
                                 .version = 1,
                                 .fields = fields,
                                 .pre_save = pre_save,
                                 .post_load = post_load};

static const Property props[] = {
    USB_PROPERTIES(UsbStorage),
    {"drive", PROP_DRIVE, offsetof(UsbStorage, drive), NULL, "id of the -drive"},
    {"removable", PROP_BOOL, offsetof(UsbStorage, disk) + offsetof(ScsiDisk, removable), "off",
     "the medium can be changed"},
    {"bootindex", PROP_STRING, offsetof(UsbStorage, bootindex), NULL, "place in the boot order"},
    {NULL},
};

const DeviceType usb_storage_type = {
    .name = "usb-storage",
    .desc = "USB disk",
    .bus = "usb",
    .size = sizeof(UsbStorage),
    .user_creatable = true,
    .props = props,
    .realize = storage_realize,
    .unrealize = storage_unrealize,
    .reset = usb_device_reset,
    .state = &state,
};
