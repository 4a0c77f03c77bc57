/* -device ide-hd and ide-cd: drives that users put on an IDE channel. */
#include "core/log.h"
#include "core/machine.h"
#include "hw/firmware/fw_cfg.h"
#include "hw/ide/ata.h"
#include "hw/pci/pci.h"
#include <string.h>

#define UNIT_ANY 255

typedef struct IdeDrive {
    Device dev;
    AtaDrive *ata;
    char *drive, *serial, *model, *version, *bootindex;
    uint8_t unit;
} IdeDrive;

/* A CD drive without drive= is empty; the operator may name it by the device's id. */
static bool open_image(IdeDrive *s, AtaKind kind, AtaDriveConfig *cfg, GError **err)
{
    Machine *m = s->dev.machine;
    DriveSpec *d;

    if (!s->drive && kind != ATA_CDROM) {
        return fail(err, "%s needs drive=ID", s->dev.type->name);
    }
    if (s->drive) {
        d = drive_find_free(m, s->drive, s->dev.type->name, err);
    } else {
        d = drive_new(NULL, DRIVE_IF_NONE, -1, true);
        d->id = g_strdup(s->dev.id && !drive_find(m, s->dev.id) ? s->dev.id : NULL);
        g_ptr_array_add(m->cfg.drives, d);
    }
    if (!d || !drive_take(m, d, kind == ATA_CDROM ? DRIVE_CDROM : DRIVE_DISK, &cfg->block, err)) {
        return false;
    }
    if (!cfg->serial) {
        cfg->serial = d->serial;
    }
    cfg->drive = d;
    cfg->machine = m;
    return true;
}

static bool choose_unit(IdeDrive *s, const IdeBus *bus, unsigned *unit, GError **err)
{
    *unit = s->unit;
    if (s->unit == UNIT_ANY) {
        *unit = bus->channel->drives[0].kind == ATA_NONE ? 0 : 1;
    }
    if (*unit > 1 || bus->channel->drives[*unit].kind != ATA_NONE) {
        return fail(err, "%s: unit %u of %s is not free; a channel has units 0 and 1",
                    s->dev.type->name, *unit, bus->bus.name);
    }
    return true;
}

/* Open Firmware path, as SeaBIOS builds it (build_ata_path() of its boot.c). */
static void add_boot_path(const IdeDrive *s, const IdeBus *bus, unsigned unit)
{
    FwCfg *fw = fw_cfg_find(s->dev.machine);
    const PciDevice *host = (const PciDevice *)bus->bus.owner;

    if (s->bootindex && fw) {
        g_autofree char *path =
            g_strdup_printf("/pci@i0cf8/ide@%x,%x/drive@%x/disk@%x", PCI_SLOT(host->devfn),
                            PCI_FUNC(host->devfn), bus->number, unit);
        fw_cfg_add_boot_path(fw, (int)g_ascii_strtoll(s->bootindex, NULL, 0), path);
    }
}

static bool realize(IdeDrive *s, AtaKind kind, GError **err)
{
    IdeBus *bus = (IdeBus *)s->dev.bus;
    AtaDriveConfig cfg = {
        .kind = kind, .serial = s->serial, .model = s->model, .firmware = s->version};
    unsigned unit;

    if (s->bootindex && s->bootindex[strspn(s->bootindex, "0123456789")]) {
        return fail(err, "%s: bootindex must be a number, not '%s'", s->dev.type->name,
                    s->bootindex);
    }
    if (!choose_unit(s, bus, &unit, err) || !open_image(s, kind, &cfg, err)) {
        return false;
    }
    if (!ata_attach(bus->channel, unit, &cfg, err)) {
        block_close(cfg.block);
        drive_give_back(cfg.drive);
        return false;
    }
    s->ata = &bus->channel->drives[unit];
    add_boot_path(s, bus, unit);
    return true;
}

static bool hd_realize(Device *dev, GError **err)
{
    return realize((IdeDrive *)dev, ATA_DISK, err);
}

static bool cd_realize(Device *dev, GError **err)
{
    return realize((IdeDrive *)dev, ATA_CDROM, err);
}

static void drive_unrealize(Device *dev)
{
    ata_detach(((IdeDrive *)dev)->ata);
}

static void drive_reset(Device *dev)
{
    /* The channel resets its drives, and saves their state. */
}

static const Property drive_props[] = {
    {"drive", PROP_DRIVE, offsetof(IdeDrive, drive), NULL, "id of the -drive"},
    {"unit", PROP_U8, offsetof(IdeDrive, unit), "255", "0 or 1; 255: the first free"},
    {"serial", PROP_STRING, offsetof(IdeDrive, serial), NULL, "serial number"},
    {"model", PROP_STRING, offsetof(IdeDrive, model), NULL, "model name"},
    {"ver", PROP_STRING, offsetof(IdeDrive, version), NULL, "firmware revision"},
    {"bootindex", PROP_STRING, offsetof(IdeDrive, bootindex), NULL, "place in the boot order"},
    {NULL},
};

const DeviceType ide_hd_type = {
    .name = "ide-hd",
    .desc = "IDE hard disk",
    .bus = "IDE",
    .size = sizeof(IdeDrive),
    .user_creatable = true,
    .props = drive_props,
    .realize = hd_realize,
    .unrealize = drive_unrealize,
    .reset = drive_reset,
};

const DeviceType ide_cd_type = {
    .name = "ide-cd",
    .desc = "IDE CD/DVD drive",
    .bus = "IDE",
    .size = sizeof(IdeDrive),
    .user_creatable = true,
    .props = drive_props,
    .realize = cd_realize,
    .unrealize = drive_unrealize,
    .reset = drive_reset,
};
