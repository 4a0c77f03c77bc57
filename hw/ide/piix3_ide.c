/*
 * Intel 82371SB (PIIX3), function 1. Data sheet: order number 290550, 2.3; bus master registers:
 * "Programming Interface for Bus Master IDE Controller", revision 1.0.
 *
 * Timing registers are stored and do nothing.
 */
#include "hw/ide/piix3_ide.h"
#include "core/log.h"
#include <string.h>

enum {
    REG_BMIBA = 0x20,
    REG_IDETIM = 0x40, /* and 42h */
    REG_SIDETIM = 0x44,
    IDETIM_DECODE = 0x8000,

    BM_COMMAND = 0, /* of 8 ports a channel */
    BM_STATUS = 2,
    BM_TABLE = 4,

    BMC_START = 0x01,
    BMC_TO_MEMORY = 0x08,

    BMS_ACTIVE = 0x01,
    BMS_ERROR = 0x02,
    BMS_INTERRUPT = 0x04,
    BMS_DRIVE0 = 0x20, /* set by software: DMA capable */
    BMS_DRIVE1 = 0x40,

    PRD_MAX = 8192, /* the table lies inside 64 KiB */
    PRD_END = 0x8000,
};

typedef struct BmChannel {
    AtaChannel ata;
    IdeBus bus;
    Piix3Ide *ide;
    uint8_t command, status;
    uint32_t table;
    /* Where the engine is in the table. */
    uint32_t next;       /* entries taken */
    uint32_t addr, left; /* of the current entry */
    bool last;
} BmChannel;

struct Piix3Ide {
    PciDevice pci;
    Irq irq[2];
    BmChannel ch[2];
    MemRegion bm;
    bool decoded[2];
};

static const uint16_t command_ports[2] = {0x1f0, 0x170};
static const uint16_t control_ports[2] = {0x3f6, 0x376};

/* ---- bus master engine ---- */

static void stop(BmChannel *c, uint8_t status)
{
    c->status = (uint8_t)((c->status & ~BMS_ACTIVE) | status);
}

/* Takes the next table entry; false at the end, or when it cannot be read. */
static bool next_entry(BmChannel *c)
{
    uint8_t prd[8];

    if (c->last || c->next >= PRD_MAX) {
        stop(c, 0);
        return false;
    }
    /* The table pointer counts on inside its 64 KiB. */
    uint32_t at = (c->table & 0xffff0000) | ((c->table + 8 * c->next) & 0xfffc);
    if (!pci_dma_read(&c->ide->pci, at, prd, sizeof(prd))) {
        guest_error("piix3_ide: no memory at descriptor table %08x", at);
        stop(c, BMS_ERROR);
        return false;
    }
    c->next++;
    c->addr = pci_get32(prd) & ~1u;
    c->left = pci_get16(prd + 4) & 0xfffe;
    c->left = c->left ? c->left : 65536;
    c->last = pci_get16(prd + 6) & PRD_END;
    return true;
}

static int bm_dma(void *opaque, uint8_t *buf, unsigned len, bool to_memory)
{
    BmChannel *c = opaque;
    unsigned done = 0;

    if (!(c->status & BMS_ACTIVE)) {
        return ATA_DMA_NOT_STARTED;
    }
    if (to_memory != !!(c->command & BMC_TO_MEMORY)) {
        guest_error("piix3_ide: bus master goes the other way than the drive's command");
        return ATA_DMA_NOT_STARTED;
    }
    while (done < len) {
        if (c->left == 0 && !next_entry(c)) {
            break;
        }
        unsigned n = MIN(len - done, c->left);
        bool ok = to_memory ? pci_dma_write(&c->ide->pci, c->addr, buf + done, n)
                            : pci_dma_read(&c->ide->pci, c->addr, buf + done, n);
        if (!ok) {
            guest_error("piix3_ide: no memory at %08x", c->addr);
            stop(c, BMS_ERROR);
            break;
        }
        done += n;
        c->addr += n;
        c->left -= n;
    }
    return (int)done;
}

/* INTRQ of the drive: latched, and the end of a transfer whose table is used up. */
static void irq_changed(void *opaque, bool level)
{
    BmChannel *c = opaque;

    if (level) {
        c->status |= BMS_INTERRUPT;
        if (c->left == 0 && c->last) {
            c->status &= (uint8_t)~BMS_ACTIVE;
        }
    }
}

static void write_command(BmChannel *c, uint8_t val)
{
    bool was = c->command & BMC_START;

    c->command = val & (BMC_START | BMC_TO_MEMORY);
    if (!(val & BMC_START)) {
        c->status &= (uint8_t)~BMS_ACTIVE;
        return;
    }
    if (!was) {
        c->status |= BMS_ACTIVE;
        c->next = 0;
        c->left = 0;
        c->last = false;
        ata_dma_started(&c->ata);
    }
}

static uint64_t bm_read(void *opaque, uint64_t off, unsigned size)
{
    Piix3Ide *s = opaque;
    BmChannel *c = &s->ch[(off >> 3) & 1];

    switch (off & 7) {
    case BM_COMMAND:
        return c->command;
    case BM_STATUS:
        return c->status;
    case BM_TABLE:
    case BM_TABLE + 1:
    case BM_TABLE + 2:
    case BM_TABLE + 3:
        return (c->table >> (8 * (off & 3))) & 0xff;
    default:
        return 0;
    }
}

static void bm_write(void *opaque, uint64_t off, uint64_t val64, unsigned size)
{
    Piix3Ide *s = opaque;
    BmChannel *c = &s->ch[(off >> 3) & 1];
    uint8_t val = (uint8_t)val64;
    unsigned shift = 8 * (unsigned)(off & 3);

    switch (off & 7) {
    case BM_COMMAND:
        write_command(c, val);
        break;
    case BM_STATUS: {
        uint8_t keep = c->status & (uint8_t) ~(val & (BMS_ERROR | BMS_INTERRUPT));
        uint8_t rw = BMS_DRIVE0 | BMS_DRIVE1;
        c->status = (uint8_t)((keep & ~rw) | (val & rw));
        break;
    }
    case BM_TABLE:
    case BM_TABLE + 1:
    case BM_TABLE + 2:
    case BM_TABLE + 3:
        c->table = ((c->table & ~(0xffu << shift)) | (uint32_t)val << shift) & ~3u;
        break;
    }
}

static const MemOps bm_ops = {.read = bm_read, .write = bm_write, .impl_max = 1};

/* ---- configuration space ---- */

/* The legacy ports are decoded when the channel's timing register and the I/O bit say so. */
static void update_decode(Piix3Ide *s)
{
    const uint8_t *cfg = s->pci.config;
    MemRegion *io = &s->pci.dev.machine->io_root;

    mem_transaction_begin();
    for (unsigned i = 0; i < 2; i++) {
        bool on = (cfg[PCI_COMMAND] & PCI_COMMAND_IO) &&
                  (pci_get16(cfg + REG_IDETIM + 2 * i) & IDETIM_DECODE);
        if (on == s->decoded[i]) {
            continue;
        }
        s->decoded[i] = on;
        AtaChannel *c = &s->ch[i].ata;
        if (on) {
            mem_region_add(io, &c->command, command_ports[i], 0);
            mem_region_add(io, &c->control, control_ports[i], 1);
        } else {
            mem_region_del(&c->command);
            mem_region_del(&c->control);
        }
    }
    mem_transaction_commit();
}

static void config_written(PciDevice *d, unsigned off, unsigned size, const uint8_t *old)
{
    update_decode((Piix3Ide *)d);
}

static const PciInfo ide_info = {
    .vendor_id = 0x8086,
    .device_id = 0x7010,
    .class_code = 0x010180, /* bus master, legacy ports only */
    .no_intx_disable = true,
    .not_pluggable = true,
    .command_mask = PCI_COMMAND_IO | PCI_COMMAND_MASTER,
    .config_written = config_written,
};

static bool ide_realize(Device *dev, GError **err)
{
    Piix3Ide *s = (Piix3Ide *)dev;
    static const char *const names[2] = {"ide0", "ide1"};

    if (!pci_device_init(&s->pci, &ide_info, err)) {
        return false;
    }
    uint8_t *c = s->pci.config, *w = s->pci.wmask;
    pci_set16(c + PCI_STATUS, PCI_STATUS_FAST_BACK | PCI_STATUS_DEVSEL_MEDIUM);
    w[PCI_CACHE_LINE_SIZE] = 0;
    w[PCI_LATENCY_TIMER] = 0xf0;
    w[PCI_INTERRUPT_LINE] = 0;
    pci_set16(w + REG_IDETIM, 0xf3ff);
    pci_set16(w + REG_IDETIM + 2, 0xf3ff);
    w[REG_SIDETIM] = 0xff;
    for (unsigned i = 0; i < 2; i++) {
        BmChannel *b = &s->ch[i];
        ata_channel_init(&b->ata, names[i], s->irq[i]);
        b->ide = s;
        b->ata.dma = bm_dma;
        b->ata.irq_changed = irq_changed;
        b->ata.opaque = b;
        g_autofree char *bus_name = g_strdup_printf("ide.%u", i);
        bus_init(&b->bus.bus, "IDE", bus_name, dev);
        b->bus.channel = &b->ata;
        b->bus.number = i;
    }
    mem_region_init_io(&s->bm, "ide-bus-master", &bm_ops, s, 16);
    pci_add_bar(&s->pci, 4, PCI_BAR_IO, &s->bm);
    return true;
}

static void ide_unrealize(Device *dev)
{
    Piix3Ide *s = (Piix3Ide *)dev;

    bus_clear(&s->ch[0].bus.bus);
    bus_clear(&s->ch[1].bus.bus);
    pci_device_fini(&s->pci);
    mem_region_destroy(&s->bm);
    ata_channel_fini(&s->ch[0].ata);
    ata_channel_fini(&s->ch[1].ata);
}

static void ide_reset(Device *dev)
{
    Piix3Ide *s = (Piix3Ide *)dev;

    for (unsigned i = 0; i < 2; i++) {
        BmChannel *c = &s->ch[i];
        c->command = c->status = 0;
        c->table = c->next = c->addr = c->left = 0;
        c->last = false;
        ata_channel_reset(&c->ata);
        c->status = 0;
    }
    pci_device_reset(&s->pci);
    update_decode(s);
}

static bool ide_post_load(void *obj, GError **err)
{
    update_decode(obj);
    return true;
}

static const StateField channel_fields[] = {
    STATE_STRUCT_ARRAY(BmChannel, ata, AtaChannel, &ata_channel_state),
    STATE_U8(BmChannel, command),
    STATE_U8(BmChannel, status),
    STATE_U32(BmChannel, table),
    STATE_U32(BmChannel, next),
    STATE_U32(BmChannel, addr),
    STATE_U32(BmChannel, left),
    STATE_BOOL(BmChannel, last),
    STATE_END_FIELD,
};

static const StateTable channel_state = {
    .name = "bmide-channel", .version = 1, .fields = channel_fields};

static const StateField ide_fields[] = {
    PCI_STATE(Piix3Ide, pci),
    STATE_STRUCT_ARRAY(Piix3Ide, ch, BmChannel, &channel_state),
    STATE_END_FIELD,
};

static const StateTable ide_state = {
    .name = "piix3-ide",
    .version = 1,
    .fields = ide_fields,
    .post_load = ide_post_load,
};

const DeviceType piix3_ide_type = {
    .name = "piix3-ide",
    .desc = "Intel 82371SB IDE function",
    .bus = "PCI",
    .size = sizeof(Piix3Ide),
    .realize = ide_realize,
    .unrealize = ide_unrealize,
    .reset = ide_reset,
    .state = &ide_state,
};

Piix3Ide *piix3_ide_new(Machine *m, PciBus *bus, int devfn, const Irq irq[2], GError **err)
{
    Piix3Ide *s = (Piix3Ide *)device_new(&piix3_ide_type, m);

    memcpy(s->irq, irq, sizeof(s->irq));
    s->pci.devfn = devfn;
    if (!device_realize(&s->pci.dev, &bus->bus, err)) {
        device_free(&s->pci.dev);
        return NULL;
    }
    return s;
}

bool piix3_ide_attach(Piix3Ide *s, unsigned channel, unsigned unit, const AtaDriveConfig *cfg,
                      GError **err)
{
    if (channel > 1 || unit > 1) {
        block_close(cfg->block);
        return fail(err, "IDE has units 0 to 3 only");
    }
    if (!ata_attach(&s->ch[channel].ata, unit, cfg, err)) {
        block_close(cfg->block);
        return false;
    }
    return true;
}

AtaDrive *piix3_ide_drive(Piix3Ide *s, unsigned channel, unsigned unit)
{
    AtaDrive *d = channel < 2 && unit < 2 ? &s->ch[channel].ata.drives[unit] : NULL;
    return d && d->kind != ATA_NONE ? d : NULL;
}
