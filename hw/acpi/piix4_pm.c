/*
 * Intel 82371AB (PIIX4) PCI-to-ISA/IDE Xcelerator, function 3: power management. Data sheet: order
 * number 290562, chapters 7 (registers) and 11; ACPI fixed hardware: ACPI specification 6.x, 4.8.
 *
 * Left out: device monitors, throttling and thermal logic, GPI/GPO pins (registers are stored),
 * the suspend states S1–S3, in which a machine would have to wait.
 */
#include "hw/acpi/piix4_pm.h"
#include "core/log.h"
#include "hw/acpi/smbus.h"
#include <string.h>

/* Configuration space. */
enum {
    REG_PMBASE = 0x40,
    REG_CNTA = 0x44,
    REG_CNTB = 0x48,
    REG_GPICTL = 0x4c,
    REG_DEVRESD = 0x50,
    REG_DEVACTA = 0x54,
    REG_DEVACTB = 0x58,
    REG_DEVRESA = 0x5c, /* …7Bh device resources */
    REG_PMREGMISC = 0x80,
    REG_SMBBA = 0x90,
    REG_SMBHSTCFG = 0xd2,
    REG_SMBREV = 0xd6,

    DEVACTB_APMC_EN = 1 << 25,
};

/* I/O registers, from PMBASE. */
enum {
    IO_PMSTS = 0x00,
    IO_PMEN = 0x02,
    IO_PMCNTRL = 0x04,
    IO_PMTMR = 0x08,
    IO_GPSTS = 0x0c,
    IO_GPEN = 0x0e,
    IO_PCNTRL = 0x10,
    IO_GLBSTS = 0x18,
    IO_DEVSTS = 0x1c,
    IO_GLBEN = 0x20,
    IO_GLBCTL = 0x28,
    IO_DEVCTL = 0x2c,
    IO_GPIREG = 0x30,
    IO_GPOREG = 0x34,
    IO_SIZE = 0x40,

    TMR = 1 << 0, /* PMSTS and PMEN */
    BM_STS = 1 << 4,
    GBL = 1 << 5,
    PWRBTN = 1 << 8,
    RTC = 1 << 10,
    WAK_STS = 1 << 15,
    STS_ALL = TMR | BM_STS | GBL | PWRBTN | RTC | WAK_STS,
    EN_ALL = TMR | GBL | PWRBTN | RTC,

    CNT_SCI_EN = 1 << 0,
    CNT_BM_RLD = 1 << 1,
    CNT_GBL_RLS = 1 << 2,
    CNT_SLP_EN = 1 << 13,
    SLP_TYP_SHIFT = 10,

    GLBSTS_APM = 1 << 5,
    GLBCTL_SMI_EN = 1 << 0,
};

#define PM_TIMER_HZ 3579545u
#define PM_TIMER_MASK 0xffffffu
#define PM_TIMER_HALF 0x800000u /* status is set when bit 23 changes */

struct Piix4Pm {
    PciDevice pci;
    Piix4PmConfig cfg;
    bool disable_s3, disable_s4; /* properties */
    uint8_t s4_val;
    MemRegion ports, apm;
    bool ports_mapped, smbus_mapped;
    SmbusHost smbus;
    Timer timer;
    uint16_t pmsts, pmen, pmcntrl, gpsts, gpen, glbsts, glben;
    uint32_t pcntrl, devsts, glbctl, devctl, gporeg;
    uint8_t apmc, apms;
    bool smbus_level;
    int64_t toggle; /* tick number at which bit 23 changes next */
};

/* ---- timer ---- */

static int64_t ticks(Piix4Pm *s)
{
    return (int64_t)muldiv64((uint64_t)MAX(clock_now(s->cfg.clock), 0), PM_TIMER_HZ, NS_PER_SEC);
}

static void schedule_toggle(Piix4Pm *s)
{
    s->toggle = (ticks(s) / PM_TIMER_HALF + 1) * PM_TIMER_HALF;
}

static void update_status(Piix4Pm *s)
{
    if (ticks(s) >= s->toggle) {
        s->pmsts |= TMR;
        schedule_toggle(s);
    }
}

static void update_sci(Piix4Pm *s)
{
    update_status(s);
    bool level =
        (s->pmcntrl & CNT_SCI_EN) && ((s->pmsts & s->pmen & EN_ALL) || (s->gpsts & s->gpen));

    irq_set(&s->cfg.sci, level || s->smbus_level);
    if ((s->pmen & TMR) && !(s->pmsts & TMR)) {
        /* One more ns than the quotient: never before the tick. */
        timer_set(&s->timer,
                  (int64_t)muldiv64((uint64_t)s->toggle, (uint32_t)NS_PER_SEC, PM_TIMER_HZ) + 1);
    } else {
        timer_del(&s->timer);
    }
}

static void timer_fired(void *opaque)
{
    update_sci(opaque);
}

static void smbus_irq(void *opaque, bool level)
{
    Piix4Pm *s = opaque;
    /* SMBHSTCFG bits 3:1: 100 = IRQ 9, 000 = SMI. */
    s->smbus_level = level && (s->pci.config[REG_SMBHSTCFG] & 0x0e) == 0x08;
    update_sci(s);
}

void piix4_pm_power_button(Piix4Pm *s)
{
    s->pmsts |= PWRBTN;
    update_sci(s);
}

void piix4_pm_gpe(Piix4Pm *s, unsigned n)
{
    s->gpsts |= (uint16_t)(1u << (n & 15));
    update_sci(s);
}

bool piix4_pm_has_s4(const Piix4Pm *s, uint8_t *s4_val)
{
    *s4_val = s->s4_val;
    return !s->disable_s4;
}

/* ---- sleep and SMI ---- */

static void sleep_now(Piix4Pm *s)
{
    unsigned typ = (s->pmcntrl >> SLP_TYP_SHIFT) & 7;

    if (typ == 0 || (typ == s->s4_val && !s->disable_s4)) {
        machine_request_shutdown(s->pci.dev.machine, SHUTDOWN_GUEST_SHUTDOWN);
    } else {
        guest_error("piix4_pm: suspend type %u is not there", typ);
    }
}

static void send_smi(Piix4Pm *s)
{
    if (s->cfg.smi && (s->glbctl & GLBCTL_SMI_EN)) {
        s->cfg.smi(s->cfg.smi_opaque);
    }
}

static uint64_t apm_read(void *opaque, uint64_t off, unsigned size)
{
    Piix4Pm *s = opaque;
    return off ? s->apms : s->apmc;
}

static void apm_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Piix4Pm *s = opaque;

    if (off) {
        s->apms = (uint8_t)val;
        return;
    }
    s->apmc = (uint8_t)val;
    /* What the firmware's SMI handler would do for the operating system. */
    if (val == PIIX4_ACPI_ENABLE) {
        s->pmcntrl |= CNT_SCI_EN;
        update_sci(s);
    } else if (val == PIIX4_ACPI_DISABLE) {
        s->pmcntrl &= ~CNT_SCI_EN;
        update_sci(s);
    }
    if (pci_get32(s->pci.config + REG_DEVACTB) & DEVACTB_APMC_EN) {
        s->glbsts |= GLBSTS_APM;
        send_smi(s);
    }
}

static const MemOps apm_ops = {.read = apm_read, .write = apm_write, .impl_max = 1};

/* ---- I/O registers; bytes of 16 and 32-bit registers ---- */

static uint32_t reg_read(Piix4Pm *s, unsigned reg)
{
    switch (reg) {
    case IO_PMSTS:
        update_sci(s);
        return s->pmsts | (uint32_t)s->pmen << 16;
    case IO_PMCNTRL:
        return s->pmcntrl;
    case IO_PMTMR:
        return (uint32_t)ticks(s) & PM_TIMER_MASK;
    case IO_GPSTS:
        return s->gpsts | (uint32_t)s->gpen << 16;
    case IO_PCNTRL:
        return s->pcntrl;
    case IO_GLBSTS:
        return s->glbsts;
    case IO_DEVSTS:
        return s->devsts;
    case IO_GLBEN:
        return s->glben;
    case IO_GLBCTL:
        return s->glbctl;
    case IO_DEVCTL:
        return s->devctl;
    case IO_GPIREG:
        return 0x00ffffff; /* all inputs pulled up */
    case IO_GPOREG:
        return s->gporeg;
    default: /* PLVL2, PLVL3 and reserved */
        return 0;
    }
}

static void write_pmcntrl(Piix4Pm *s, uint32_t val, uint32_t mask)
{
    uint32_t rw = CNT_SCI_EN | CNT_BM_RLD | 7 << SLP_TYP_SHIFT;

    s->pmcntrl = (uint16_t)((s->pmcntrl & ~(mask & rw)) | (val & mask & rw));
    if (val & mask & CNT_GBL_RLS) {
        s->glbsts |= 1; /* BIOS_STS */
        send_smi(s);
    }
    if (val & mask & CNT_SLP_EN) {
        sleep_now(s);
    }
}

/* @val and @mask in place; only bytes under @mask are written. */
static void reg_write(Piix4Pm *s, unsigned reg, uint32_t val, uint32_t mask)
{
    switch (reg) {
    case IO_PMSTS:
        update_status(s);
        s->pmsts &= (uint16_t) ~(val & mask & STS_ALL);
        s->pmen = (uint16_t)((s->pmen & ~(mask >> 16)) | ((val & mask) >> 16 & EN_ALL));
        break;
    case IO_PMCNTRL:
        write_pmcntrl(s, val, mask);
        break;
    case IO_GPSTS:
        s->gpsts &= (uint16_t) ~(val & mask);
        s->gpen = (uint16_t)((s->gpen & ~(mask >> 16)) | ((val & mask) >> 16));
        break;
    case IO_PCNTRL:
        s->pcntrl = (s->pcntrl & ~mask) | (val & mask & 0x00023e3f);
        break;
    case IO_GLBSTS:
        s->glbsts &= (uint16_t) ~(val & mask);
        break;
    case IO_DEVSTS:
        s->devsts &= ~(val & mask);
        break;
    case IO_GLBEN:
        s->glben = (uint16_t)((s->glben & ~mask) | (val & mask));
        break;
    case IO_GLBCTL:
        s->glbctl = (s->glbctl & ~mask) | (val & mask & 0x05ffff07);
        break;
    case IO_DEVCTL:
        s->devctl = (s->devctl & ~mask) | (val & mask);
        break;
    case IO_GPOREG:
        s->gporeg = (s->gporeg & ~mask) | (val & mask & 0x7fffffff);
        break;
    }
    update_sci(s);
}

static uint64_t ports_read(void *opaque, uint64_t off, unsigned size)
{
    unsigned shift = 8 * (off & 3);
    return (reg_read(opaque, (unsigned)off & ~3u) >> shift) & (0xffffffffu >> (32 - 8 * size));
}

static void ports_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    unsigned shift = 8 * (off & 3);
    uint32_t mask = 0xffffffffu >> (32 - 8 * size);
    reg_write(opaque, (unsigned)off & ~3u, (uint32_t)val << shift, mask << shift);
}

static const MemOps ports_ops = {.read = ports_read, .write = ports_write, .impl_max = 4};

/* ---- configuration space ---- */

static void map_ports(Piix4Pm *s, MemRegion *r, bool *mapped, bool on, uint32_t base)
{
    mem_transaction_begin();
    if (*mapped) {
        mem_region_del(r);
        *mapped = false;
    }
    if (on && base) {
        mem_region_add(&s->pci.dev.machine->io_root, r, base, 1);
        *mapped = true;
    }
    mem_transaction_commit();
}

static void update_map(Piix4Pm *s)
{
    const uint8_t *c = s->pci.config;
    map_ports(s, &s->ports, &s->ports_mapped, c[REG_PMREGMISC] & 1,
              pci_get32(c + REG_PMBASE) & 0xffc0);
    map_ports(s, &s->smbus.ports, &s->smbus_mapped, c[REG_SMBHSTCFG] & 1,
              pci_get32(c + REG_SMBBA) & 0xfff0);
}

static void config_written(PciDevice *d, unsigned off, unsigned size, const uint8_t *old)
{
    if (memcmp(old + REG_PMBASE, d->config + REG_PMBASE, 4) ||
        old[REG_PMREGMISC] != d->config[REG_PMREGMISC] ||
        memcmp(old + REG_SMBBA, d->config + REG_SMBBA, 4) ||
        old[REG_SMBHSTCFG] != d->config[REG_SMBHSTCFG]) {
        update_map((Piix4Pm *)d);
    }
}

static const PciInfo pm_info = {
    .vendor_id = 0x8086,
    .device_id = 0x7113,
    .revision = 3,
    .class_code = 0x068000,
    .int_pin = 1,
    .no_intx_disable = true,
    .not_pluggable = true,
    .command_mask = PCI_COMMAND_IO,
    .config_written = config_written,
};

static void init_config(Piix4Pm *s)
{
    uint8_t *c = s->pci.config, *w = s->pci.wmask;

    pci_set16(c + PCI_STATUS, PCI_STATUS_FAST_BACK | PCI_STATUS_DEVSEL_MEDIUM);
    w[PCI_CACHE_LINE_SIZE] = w[PCI_LATENCY_TIMER] = 0;
    pci_set32(c + REG_PMBASE, 1);
    pci_set32(w + REG_PMBASE, 0xffc0);
    memset(w + REG_CNTA, 0xff, REG_PMREGMISC - 4 - REG_CNTA);
    w[REG_PMREGMISC] = 1;
    pci_set32(c + REG_SMBBA, 1);
    pci_set32(w + REG_SMBBA, 0xfff0);
    w[REG_SMBHSTCFG] = 0x0f;
    memset(w + REG_SMBHSTCFG + 1, 0xff, 3);
    if (!s->cfg.smi) {
        /* Firmware takes an enabled APMC for "SMM is set up" and leaves it alone. */
        pci_set32(c + REG_DEVACTB, DEVACTB_APMC_EN);
    }
}

static bool pm_realize(Device *dev, GError **err)
{
    Piix4Pm *s = (Piix4Pm *)dev;

    if (!s->cfg.clock) {
        return fail(err, "%s is a part of the board", dev->type->name);
    }
    if (!s->disable_s3) {
        warn_report("%s: suspend to memory (S3) is not there; disable_s3=off has no effect",
                    dev->type->name);
    }
    if (s->s4_val == 0 || s->s4_val > 7) {
        return fail(err, "%s: s4_val must be 1 to 7, not %u", dev->type->name, s->s4_val);
    }
    if (!pci_device_init(&s->pci, &pm_info, err)) {
        return false;
    }
    init_config(s);
    mem_region_init_io(&s->ports, "piix4-pm", &ports_ops, s, IO_SIZE);
    mem_region_init_io(&s->apm, "apm", &apm_ops, s, 2);
    mem_region_add(&dev->machine->io_root, &s->apm, PIIX4_SMI_CMD, 0);
    smbus_init(&s->smbus, smbus_irq, s);
    smbus_set_memory(&s->smbus, s->cfg.ram_size);
    timer_init(&s->timer, s->cfg.clock, timer_fired, s);
    return true;
}

static void pm_unrealize(Device *dev)
{
    Piix4Pm *s = (Piix4Pm *)dev;

    timer_del(&s->timer);
    mem_region_destroy(&s->smbus.ports);
    mem_region_destroy(&s->apm);
    mem_region_destroy(&s->ports);
    pci_device_fini(&s->pci);
}

static void pm_reset(Device *dev)
{
    Piix4Pm *s = (Piix4Pm *)dev;

    pci_device_reset(&s->pci);
    s->pmsts = s->pmen = s->pmcntrl = s->gpsts = s->gpen = s->glbsts = s->glben = 0;
    s->pcntrl = s->devsts = s->devctl = s->glbctl = 0;
    s->gporeg = 0x7fffbfff;
    s->apmc = s->apms = 0;
    s->smbus_level = false;
    schedule_toggle(s);
    smbus_reset(&s->smbus);
    update_map(s);
    update_sci(s);
}

static void pm_pre_save(void *obj)
{
    update_status(obj);
}

static bool pm_post_load(void *obj, GError **err)
{
    Piix4Pm *s = obj;
    int64_t now = ticks(s);

    if (s->toggle > now + PM_TIMER_HALF || s->toggle < 0) {
        schedule_toggle(s);
    }
    update_map(s);
    update_sci(s);
    return true;
}

static const StateField pm_fields[] = {
    PCI_STATE(Piix4Pm, pci),
    STATE_STRUCT_ARRAY(Piix4Pm, smbus, SmbusHost, &smbus_state),
    STATE_U16(Piix4Pm, pmsts),
    STATE_U16(Piix4Pm, pmen),
    STATE_U16(Piix4Pm, pmcntrl),
    STATE_U16(Piix4Pm, gpsts),
    STATE_U16(Piix4Pm, gpen),
    STATE_U16(Piix4Pm, glbsts),
    STATE_U16(Piix4Pm, glben),
    STATE_U32(Piix4Pm, pcntrl),
    STATE_U32(Piix4Pm, devsts),
    STATE_U32(Piix4Pm, glbctl),
    STATE_U32(Piix4Pm, devctl),
    STATE_U32(Piix4Pm, gporeg),
    STATE_U8(Piix4Pm, apmc),
    STATE_U8(Piix4Pm, apms),
    STATE_BOOL(Piix4Pm, smbus_level),
    STATE_I64(Piix4Pm, toggle),
    STATE_END_FIELD,
};

static const StateTable pm_state = {
    .name = "piix4_pm",
    .version = 1,
    .fields = pm_fields,
    .pre_save = pm_pre_save,
    .post_load = pm_post_load,
};

static const Property pm_props[] = {
    {"disable_s3", PROP_BOOL, offsetof(Piix4Pm, disable_s3), "on", "no suspend to memory"},
    {"disable_s4", PROP_BOOL, offsetof(Piix4Pm, disable_s4), "off", "no suspend to disk"},
    {"s4_val", PROP_U8, offsetof(Piix4Pm, s4_val), "2", "suspend type of S4"},
    {NULL},
};

const DeviceType piix4_pm_type = {
    .name = "PIIX4_PM",
    .desc = "Intel 82371AB power management",
    .bus = "PCI",
    .size = sizeof(Piix4Pm),
    .props = pm_props,
    .realize = pm_realize,
    .unrealize = pm_unrealize,
    .reset = pm_reset,
    .state = &pm_state,
};

Piix4Pm *piix4_pm_new(Machine *m, PciBus *bus, int devfn, const Piix4PmConfig *cfg, GError **err)
{
    Piix4Pm *s = (Piix4Pm *)device_new(&piix4_pm_type, m);

    s->cfg = *cfg;
    s->pci.devfn = devfn;
    if (!device_realize(&s->pci.dev, &bus->bus, err)) {
        device_free(&s->pci.dev);
        return NULL;
    }
    return s;
}
