/*
 * ATA channel: task file, device selection, interrupts, resets, data transfers.
 * "AT Attachment with Packet Interface - 7" (T13/1532D), volumes 1 (commands) and 2 (parallel).
 */
#include "hw/ide/ata.h"
#include "core/log.h"
#include <string.h>

enum {
    R_DATA = 0,
    R_FEATURES = 1, /* read: error */
    R_COUNT = 2,
    R_LBA_LOW = 3,
    R_LBA_MID = 4,
    R_LBA_HIGH = 5,
    R_DEVICE = 6,
    R_COMMAND = 7, /* read: status */

    DEV_SELECT = 0x10,

    CTL_NIEN = 0x02,
    CTL_SRST = 0x04,
    CTL_HOB = 0x80,

    CMD_NOP = 0x00,
    CMD_DEVICE_RESET = 0x08,
    CMD_DIAGNOSTIC = 0x90,
    CMD_STANDBY_NOW = 0xe0,
    CMD_IDLE_NOW = 0xe1,
    CMD_STANDBY = 0xe2,
    CMD_IDLE = 0xe3,
    CMD_CHECK_POWER = 0xe5,
    CMD_SLEEP = 0xe6,
    CMD_SET_FEATURES = 0xef,

    POWER_STANDBY = 0x00,
    POWER_IDLE = 0x80,
    POWER_ACTIVE = 0xff,
};

static bool present(const AtaDrive *d)
{
    return d->kind != ATA_NONE;
}

static AtaDrive *selected(AtaChannel *c)
{
    return &c->drives[c->selected & 1];
}

/* ---- interrupts and ends of commands ---- */

void ata_update_irq(AtaChannel *c)
{
    AtaDrive *d = selected(c);
    bool level = present(d) && d->irq && !(c->device_control & CTL_NIEN);

    if (level != c->irq_level) {
        c->irq_level = level;
        if (c->irq_changed) {
            c->irq_changed(c->opaque, level);
        }
        irq_set(&c->irq, level);
    }
}

void ata_raise(AtaDrive *d)
{
    d->irq = true;
    ata_update_irq(d->channel);
}

static void finish(AtaDrive *d, uint8_t status, uint8_t error)
{
    d->phase = ATA_IDLE;
    d->after = AFTER_END;
    d->error = error;
    d->status = status;
    ata_raise(d);
}

void ata_done(AtaDrive *d)
{
    finish(d, ATA_DRDY | ATA_DSC, 0);
}

void ata_fail(AtaDrive *d, uint8_t error)
{
    finish(d, ATA_DRDY | ATA_DSC | ATA_ERR, error);
}

void ata_abort(AtaDrive *d)
{
    ata_fail(d, ATA_ERR_ABRT);
}

void ata_busy(AtaDrive *d)
{
    d->phase = ATA_BUSY;
    d->status = ATA_BSY;
    d->cancelled = false;
}

void ata_report_error(AtaDrive *d, int ret)
{
    if (!d->error_reported) {
        d->error_reported = true;
        warn_report("image '%s': %s; the guest sees the error",
                    d->block ? block_name(d->block) : "", g_strerror(-ret));
    }
}

/* ---- transfers ---- */

static void run_after(AtaDrive *d)
{
    switch (d->after) {
    case AFTER_READ:
    case AFTER_WRITE:
    case AFTER_TRIM:
        ata_disk_after(d);
        break;
    case AFTER_PACKET:
    case AFTER_CD_READ:
    case AFTER_CD_REPLY:
    case AFTER_CD_SELECT:
        atapi_after(d);
        break;
    default:
        /* The last block of a PIO read brings no further interrupt. */
        if (d->phase == ATA_PIO_IN) {
            d->phase = ATA_IDLE;
            d->status = ATA_DRDY | ATA_DSC;
        } else {
            ata_done(d);
        }
    }
}

static void pio(AtaDrive *d, AtaPhase phase, uint32_t pos, uint32_t len, AtaAfter after, bool irq)
{
    d->phase = (uint8_t)phase;
    d->after = (uint8_t)after;
    d->pos = MIN(pos, ATA_BUFFER);
    d->end = MIN(pos + len, ATA_BUFFER);
    d->error = 0;
    d->status = ATA_DRDY | ATA_DSC | ATA_DRQ;
    if (irq) {
        ata_raise(d);
    }
}

void ata_pio_in(AtaDrive *d, uint32_t pos, uint32_t len, AtaAfter after, bool irq)
{
    pio(d, ATA_PIO_IN, pos, len, after, irq);
}

void ata_pio_out(AtaDrive *d, uint32_t pos, uint32_t len, AtaAfter after, bool irq)
{
    pio(d, ATA_PIO_OUT, pos, len, after, irq);
}

static bool in_dma(const AtaDrive *d)
{
    return d->phase == ATA_DMA_IN || d->phase == ATA_DMA_OUT;
}

/* Move what the host adapter takes now. When its table ends early the drive goes on asking. */
static void dma_poll(AtaDrive *d)
{
    AtaChannel *c = d->channel;

    while (in_dma(d) && d->pos < d->end) {
        int n = c->dma ? c->dma(c->opaque, d->buf + d->pos, d->end - d->pos, d->phase == ATA_DMA_IN)
                       : ATA_DMA_NOT_STARTED;
        if (n <= 0) {
            return;
        }
        d->pos += MIN((uint32_t)n, d->end - d->pos);
    }
    if (in_dma(d)) {
        run_after(d);
    }
}

void ata_dma(AtaDrive *d, bool to_memory, uint32_t len, AtaAfter after)
{
    d->phase = to_memory ? ATA_DMA_IN : ATA_DMA_OUT;
    d->after = (uint8_t)after;
    d->pos = 0;
    d->end = MIN(len, ATA_BUFFER);
    d->status = ATA_DRDY | ATA_DSC | ATA_DRQ;
    dma_poll(d);
}

void ata_dma_started(AtaChannel *c)
{
    for (unsigned i = 0; i < 2; i++) {
        if (present(&c->drives[i]) && in_dma(&c->drives[i])) {
            dma_poll(&c->drives[i]);
        }
    }
}

/* The data register: @size bytes at once, never beyond the block. */
static uint32_t data_read(AtaDrive *d, unsigned size)
{
    uint32_t val = 0;

    if (d->phase != ATA_PIO_IN) {
        return 0;
    }
    for (unsigned i = 0; i < size && d->pos < d->end; i++) {
        val |= (uint32_t)d->buf[d->pos++] << (8 * i);
    }
    if (d->pos >= d->end) {
        run_after(d);
    }
    return val;
}

static void data_write(AtaDrive *d, uint32_t val, unsigned size)
{
    if (d->phase != ATA_PIO_OUT) {
        return;
    }
    for (unsigned i = 0; i < size && d->pos < d->end; i++) {
        d->buf[d->pos++] = (uint8_t)(val >> (8 * i));
    }
    if (d->pos >= d->end) {
        run_after(d);
    }
}

/* ---- resets ---- */

void ata_set_signature(AtaDrive *d)
{
    d->count[0] = d->lba_low[0] = 1;
    d->lba_mid[0] = d->kind == ATA_CDROM ? 0x14 : 0;
    d->lba_high[0] = d->kind == ATA_CDROM ? 0xeb : 0;
    d->device &= (uint8_t)~0x0f;
}

/* What every reset does to a drive: the command under way is gone. */
void ata_drive_reset(AtaDrive *d)
{
    if (!present(d)) {
        return;
    }
    if (d->block && block_in_flight(d->block)) {
        d->cancelled = true;
        block_drain(d->block);
    }
    d->cancelled = false;
    d->phase = ATA_IDLE;
    d->after = AFTER_END;
    d->pos = d->end = d->chunk_end = 0;
    d->irq = false;
    d->dma = false;
    d->power = POWER_ACTIVE;
    d->error = 1; /* diagnostics passed */
    ata_set_signature(d);
    if (d->kind == ATA_CDROM) {
        d->status = 0;
        atapi_reset(d);
    } else {
        d->status = ATA_DRDY | ATA_DSC;
    }
}

static void reset_both(AtaChannel *c)
{
    ata_drive_reset(&c->drives[0]);
    ata_drive_reset(&c->drives[1]);
    c->selected = 0;
    c->drives[0].device = c->drives[1].device = 0;
    ata_update_irq(c);
}

void ata_channel_reset(AtaChannel *c)
{
    c->device_control = 0;
    for (unsigned i = 0; i < 2; i++) {
        AtaDrive *d = &c->drives[i];
        if (!present(d)) {
            continue;
        }
        memset(d->features, 0, 2);
        memset(d->count, 0, 2);
        memset(d->lba_low, 0, 2);
        memset(d->lba_mid, 0, 2);
        memset(d->lba_high, 0, 2);
        d->mode = 0x0c; /* PIO 4 */
        d->write_cache = !d->block || block_write_cache(d->block);
        d->look_ahead = true;
        d->command = 0;
        if (d->kind == ATA_CDROM) {
            atapi_power_on(d);
        } else {
            ata_disk_power_on(d);
        }
    }
    reset_both(c);
}

static void diagnostic(AtaChannel *c)
{
    reset_both(c);
    if (present(&c->drives[0])) {
        ata_raise(&c->drives[0]);
    } else if (present(&c->drives[1])) {
        c->drives[1].irq = true; /* seen once it is selected */
    }
}

/* ---- commands ---- */

void ata_set_features(AtaDrive *d)
{
    uint8_t arg = d->count[0];

    switch (d->features[0]) {
    case 0x02:
        d->write_cache = true;
        break;
    case 0x82:
        d->write_cache = false;
        break;
    case 0x55:
        d->look_ahead = false;
        break;
    case 0xaa:
        d->look_ahead = true;
        break;
    case 0x66: /* keep, or go back to, defaults at a soft reset */
    case 0xcc:
        break;
    case 0x03: {
        unsigned kind = arg >> 3, n = arg & 7;
        bool ok = (kind == 0 && n <= 1) || (kind == 1 && n <= 4) || (kind == 4 && n <= 2) ||
                  (kind == 8 && n <= 5);
        if (!ok) {
            ata_abort(d);
            return;
        }
        d->mode = kind == 0 ? 0x0c : arg;
        break;
    }
    default:
        ata_abort(d);
        return;
    }
    ata_done(d);
}

bool ata_common_command(AtaDrive *d, uint8_t cmd)
{
    switch (cmd) {
    case CMD_STANDBY_NOW:
    case CMD_STANDBY:
    case 0x94:
    case 0x96:
        d->power = POWER_STANDBY;
        ata_done(d);
        return true;
    case CMD_IDLE_NOW:
    case CMD_IDLE:
    case 0x95:
    case 0x97:
        d->power = POWER_IDLE;
        ata_done(d);
        return true;
    case CMD_CHECK_POWER:
    case 0x98:
        d->count[0] = d->power;
        ata_done(d);
        return true;
    case CMD_SLEEP:
    case 0x99:
        d->power = POWER_STANDBY;
        ata_done(d);
        d->phase = ATA_SLEEP;
        return true;
    case CMD_SET_FEATURES:
        ata_set_features(d);
        return true;
    default:
        return false;
    }
}

static void command(AtaChannel *c, uint8_t cmd)
{
    AtaDrive *d = selected(c);

    if (cmd == CMD_DIAGNOSTIC) {
        /* For both, whichever is selected. */
        if (c->drives[0].phase != ATA_SLEEP) {
            diagnostic(c);
        }
        return;
    }
    if (!present(d)) {
        return;
    }
    if (cmd == CMD_DEVICE_RESET && d->kind == ATA_CDROM) {
        uint8_t device = d->device;
        ata_drive_reset(d);
        d->device = device & DEV_SELECT;
        ata_update_irq(c);
        return;
    }
    if (d->phase == ATA_SLEEP) {
        return;
    }
    if (d->phase != ATA_IDLE) {
        if (d->status & ATA_BSY) {
            guest_error("ata: command %02x while the drive is busy", cmd);
            return;
        }
        d->phase = ATA_IDLE; /* gives up the transfer under way */
    }
    trace("ata_command", "drive %u: %02x lba %02x%02x%02x count %02x dev %02x", d->unit, cmd,
          d->lba_high[0], d->lba_mid[0], d->lba_low[0], d->count[0], d->device);
    d->irq = false;
    ata_update_irq(c);
    d->command = cmd;
    d->error = 0;
    d->status = ATA_DRDY | ATA_DSC;
    if (d->kind == ATA_CDROM) {
        atapi_command(d, cmd);
    } else {
        ata_disk_command(d, cmd);
    }
}

/* ---- ports ---- */

static uint8_t status_of(AtaChannel *c)
{
    AtaDrive *d = selected(c);

    if (c->device_control & CTL_SRST) {
        return ATA_BSY;
    }
    if (present(d)) {
        return d->status;
    }
    /* The present drive answers for the absent one; an empty channel floats high. */
    return present(&c->drives[!d->unit]) ? 0 : 0xff;
}

static uint64_t command_read(void *opaque, uint64_t off, unsigned size)
{
    AtaChannel *c = opaque;
    AtaDrive *d = selected(c);
    unsigned hob = c->device_control & CTL_HOB ? 1 : 0;

    if (!present(&c->drives[0]) && !present(&c->drives[1])) {
        return 0xffffffff;
    }
    if (off == R_DATA) {
        return data_read(d, size);
    }
    if (!present(d)) {
        d = &c->drives[!d->unit];
    }
    if (off != R_COMMAND && (status_of(c) & ATA_BSY)) {
        return ATA_BSY; /* a busy drive gives its status, whatever is asked */
    }
    switch (off) {
    case R_FEATURES:
        return d->error;
    case R_COUNT:
        return d->count[hob];
    case R_LBA_LOW:
        return d->lba_low[hob];
    case R_LBA_MID:
        return d->lba_mid[hob];
    case R_LBA_HIGH:
        return d->lba_high[hob];
    case R_DEVICE:
        return (d->device & 0x4f) | 0xa0 | (c->selected ? DEV_SELECT : 0);
    default:
        selected(c)->irq = false;
        ata_update_irq(c);
        return status_of(c);
    }
}

static void push(uint8_t reg[2], uint8_t val)
{
    reg[1] = reg[0];
    reg[0] = val;
}

/* The drives share the bus: both hear every write. A busy one does not listen. */
static void register_write(AtaChannel *c, unsigned reg, uint8_t val)
{
    c->device_control &= (uint8_t)~CTL_HOB;
    if (reg == R_DEVICE) {
        c->selected = val & DEV_SELECT ? 1 : 0;
    }
    for (unsigned i = 0; i < 2; i++) {
        AtaDrive *d = &c->drives[i];
        if (!present(d) || (d->status & (ATA_BSY | ATA_DRQ))) {
            continue;
        }
        switch (reg) {
        case R_FEATURES:
            push(d->features, val);
            break;
        case R_COUNT:
            push(d->count, val);
            break;
        case R_LBA_LOW:
            push(d->lba_low, val);
            break;
        case R_LBA_MID:
            push(d->lba_mid, val);
            break;
        case R_LBA_HIGH:
            push(d->lba_high, val);
            break;
        case R_DEVICE:
            d->device = val;
            break;
        }
    }
    if (reg == R_DEVICE) {
        ata_update_irq(c);
    }
}

static void command_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    AtaChannel *c = opaque;

    if (c->device_control & CTL_SRST) {
        return;
    }
    if (off == R_DATA) {
        data_write(selected(c), (uint32_t)val, size);
        return;
    }
    for (unsigned i = 0; i < size && off + i <= R_COMMAND; i++, val >>= 8) {
        if (off + i == R_COMMAND) {
            command(c, (uint8_t)val);
        } else {
            register_write(c, (unsigned)off + i, (uint8_t)val);
        }
    }
}

static uint64_t control_read(void *opaque, uint64_t off, unsigned size)
{
    AtaChannel *c = opaque;
    return present(&c->drives[0]) || present(&c->drives[1]) ? status_of(c) : 0xff;
}

static void control_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    AtaChannel *c = opaque;
    bool was = c->device_control & CTL_SRST;

    c->device_control = (uint8_t)val & (CTL_NIEN | CTL_SRST | CTL_HOB);
    if ((val & CTL_SRST) && !was) {
        reset_both(c);
    }
    ata_update_irq(c);
}

static const MemOps command_ops = {.read = command_read, .write = command_write, .impl_max = 4};
static const MemOps control_ops = {.read = control_read, .write = control_write, .impl_max = 1};

/* ---- life ---- */

void ata_channel_init(AtaChannel *c, const char *name, Irq irq)
{
    g_autofree char *control = g_strdup_printf("%s-control", name);

    memset(c, 0, sizeof(*c));
    c->irq = irq;
    for (unsigned i = 0; i < 2; i++) {
        c->drives[i].channel = c;
        c->drives[i].unit = i;
    }
    mem_region_init_io(&c->command, name, &command_ops, c, 8);
    mem_region_init_io(&c->control, control, &control_ops, c, 1);
}

void ata_detach(AtaDrive *d)
{
    d->cancelled = true;
    if (d->drive) {
        drive_release(d->machine, d->drive);
    } else {
        block_close(d->block);
    }
    d->drive = NULL;
    d->block = NULL;
    d->kind = ATA_NONE;
    d->phase = ATA_IDLE;
    d->irq = false;
    ata_update_irq(d->channel);
    g_clear_pointer(&d->serial, g_free);
    g_clear_pointer(&d->model, g_free);
    g_clear_pointer(&d->firmware, g_free);
}

void ata_channel_fini(AtaChannel *c)
{
    ata_detach(&c->drives[0]);
    ata_detach(&c->drives[1]);
    mem_region_destroy(&c->command);
    mem_region_destroy(&c->control);
}

static void disk_resized(void *opaque)
{
    AtaDrive *d = opaque;
    d->sectors = block_size(d->block) / ATA_SECTOR;
}

bool ata_attach(AtaChannel *c, unsigned unit, const AtaDriveConfig *cfg, GError **err)
{
    AtaDrive *d = &c->drives[unit & 1];
    uint64_t size = cfg->block ? block_size(cfg->block) : 0;

    if (present(d)) {
        return fail(err, "there is a drive at unit %u of %s already", unit, c->command.name);
    }
    if (cfg->kind == ATA_DISK && size == 0) {
        return fail(err, "disk image '%s' is empty", cfg->block ? block_name(cfg->block) : "");
    }
    d->kind = cfg->kind;
    d->block = cfg->block;
    d->drive = cfg->drive;
    d->machine = cfg->machine;
    d->serial = g_strdup(cfg->serial ? cfg->serial : d->unit ? "RH00002" : "RH00001");
    d->model = g_strdup(cfg->model              ? cfg->model
                        : cfg->kind == ATA_DISK ? "RHEA HARDDISK"
                                                : "RHEA DVD-ROM");
    d->firmware = g_strdup(cfg->firmware ? cfg->firmware : "1.0");
    d->tray_moved = cfg->tray_moved;
    d->tray_opaque = cfg->tray_opaque;
    if (d->drive && d->kind == ATA_CDROM) {
        atapi_set_drive_ops(d);
    } else if (d->block) {
        block_on_resize(d->block, disk_resized, d);
    }
    unsigned sector = cfg->kind == ATA_DISK ? ATA_SECTOR : CD_SECTOR;
    d->sectors = size / sector;
    if (cfg->kind == ATA_DISK) {
        ata_disk_power_on(d);
    } else {
        atapi_power_on(d);
    }
    ata_drive_reset(d);
    return true;
}
