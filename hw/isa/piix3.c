/*
 * Intel 82371SB (PIIX3) PCI ISA IDE Xcelerator, function 0. Data sheet: "82371FB (PIIX) and
 * 82371SB (PIIX3) PCI ISA IDE XCELERATOR", order number 290550.
 *
 * Registers that steer ISA timing, chip selects, motherboard devices and SMI are stored and do
 * nothing.
 */
#include "hw/isa/piix3.h"
#include "core/log.h"
#include <string.h>

enum {
    REG_IORT = 0x4c,
    REG_XBCS = 0x4e,
    REG_PIRQA = 0x60, /* …63h */
    REG_TOM = 0x69,
    REG_MSTAT = 0x6a,
    REG_MBIRQ0 = 0x70,
    REG_MBDMA0 = 0x76,
    REG_PCSC = 0x78,
    REG_APICBASE = 0x80,
    REG_DLC = 0x82,
    REG_SMICNTL = 0xa0,
    REG_SMIEN = 0xa2,
    REG_SEE = 0xa4,
    REG_FTMR = 0xa8,
    REG_SMIREQ = 0xaa,
    REG_CTLTMR = 0xac,
    REG_CTHTMR = 0xae,

    PIRQ_DISABLED = 0x80,

    RCR_HARD = 2,
    RCR_RESET = 4,
    RCR_MASK = RCR_HARD | RCR_RESET,
};

struct Piix3 {
    PciDevice pci;
    I440Fx *host;
    Irq irq[16];
    uint16_t isa_level; /* what ISA devices drive, a bit a line */
    uint16_t out_level; /* what the controllers see */
    uint8_t pirq_level; /* bits 0…3 */
    uint8_t reset_control;
};

int piix3_pirq_route(const Piix3 *s, unsigned pirq)
{
    uint8_t r = s->pci.config[REG_PIRQA + (pirq & 3)];
    unsigned irq = r & 15;
    /* Lines 0, 1, 2, 8 and 13 are reserved values. */
    bool valid = !(r & PIRQ_DISABLED) && !((1u << irq) & 0x2107);

    return valid ? (int)irq : -1;
}

static void update_irq(Piix3 *s)
{
    uint16_t level = s->isa_level;

    for (unsigned p = 0; p < 4; p++) {
        int irq = piix3_pirq_route(s, p);
        if (irq >= 0 && (s->pirq_level & (1u << p))) {
            level |= (uint16_t)(1u << irq);
        }
    }
    uint16_t changed = level ^ s->out_level;
    s->out_level = level;
    for (unsigned i = 0; i < 16; i++) {
        if (changed & (1u << i)) {
            irq_set(&s->irq[i], (level >> i) & 1);
        }
    }
}

static void isa_input(void *opaque, int n, int level)
{
    Piix3 *s = opaque;
    uint16_t bit = (uint16_t)(1u << n);

    s->isa_level = (uint16_t)(level ? s->isa_level | bit : s->isa_level & ~bit);
    update_irq(s);
}

Irq piix3_isa_irq(Piix3 *s, unsigned n)
{
    return (Irq){.fn = isa_input, .opaque = s, .n = (int)(n & 15)};
}

static void pirq_input(void *opaque, unsigned line, int level)
{
    Piix3 *s = opaque;

    if (line < 4) {
        uint8_t bit = (uint8_t)(1u << line);
        s->pirq_level = (uint8_t)(level ? s->pirq_level | bit : s->pirq_level & ~bit);
        update_irq(s);
    }
}

/* How the board of this machine wires slots: slot 1's INTA# to PIRQA, one further each slot. */
static unsigned map_pirq(void *opaque, unsigned devfn, unsigned pin)
{
    return (PCI_SLOT(devfn) + pin + 3) & 3;
}

/* ---- CF8h–CFBh by bytes: reset control ---- */

static uint8_t cf8_read(void *opaque, unsigned off)
{
    Piix3 *s = opaque;
    return off == 1 ? s->reset_control : 0xff;
}

static void cf8_write(void *opaque, unsigned off, uint8_t val)
{
    Piix3 *s = opaque;
    Machine *m = s->pci.dev.machine;

    if (off != 1) {
        return;
    }
    bool edge = !(s->reset_control & RCR_RESET) && (val & RCR_RESET);
    s->reset_control = val & RCR_MASK;
    if (!edge) {
        return;
    }
    if (val & RCR_HARD) {
        machine_request_reset(m, SHUTDOWN_GUEST_RESET);
        return;
    }
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        vcpu_signal(m->vcpus[i], VCPU_INIT);
    }
}

/* ---- device ---- */

static void config_written(PciDevice *d, unsigned off, unsigned size, const uint8_t *old)
{
    if (off < REG_PIRQA + 4 && off + size > REG_PIRQA) {
        update_irq((Piix3 *)d);
    }
}

static const PciInfo piix3_info = {
    .vendor_id = 0x8086,
    .device_id = 0x7000,
    .class_code = 0x060100,
    .no_intx_disable = true,
    .not_pluggable = true,
    .command_mask = 0x0008, /* special cycles */
    .config_written = config_written,
};

static bool piix3_realize(Device *dev, GError **err)
{
    Piix3 *s = (Piix3 *)dev;
    uint8_t *c = s->pci.config, *w = s->pci.wmask;

    if (!s->host) {
        return fail(err, "%s is a part of the board", dev->type->name);
    }
    s->pci.multifunction = true;
    if (!pci_device_init(&s->pci, &piix3_info, err)) {
        return false;
    }
    pci_set16(c + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    pci_set16(c + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM);
    w[PCI_INTERRUPT_LINE] = 0;
    w[PCI_CACHE_LINE_SIZE] = 0;
    w[PCI_LATENCY_TIMER] = 0;
    c[REG_IORT] = 0x4d;
    w[REG_IORT] = 0xff;
    pci_set16(c + REG_XBCS, 0x0003);
    pci_set16(w + REG_XBCS, 0x07ff);
    memset(c + REG_PIRQA, PIRQ_DISABLED, 4);
    memset(w + REG_PIRQA, 0x8f, 4);
    c[REG_TOM] = 0x02;
    w[REG_TOM] = 0xfe;
    pci_set16(w + REG_MSTAT, 0x8080);
    memset(c + REG_MBIRQ0, 0x80, 2);
    memset(w + REG_MBIRQ0, 0xef, 2);
    memset(c + REG_MBDMA0, 0x0c, 2);
    memset(w + REG_MBDMA0, 0x8f, 2);
    pci_set16(c + REG_PCSC, 0x0002);
    pci_set16(w + REG_PCSC, 0xffff);
    w[REG_APICBASE] = 0x7f;
    w[REG_DLC] = 0x0f;
    c[REG_SMICNTL] = 0x08;
    w[REG_SMICNTL] = 0x1f;
    pci_set16(w + REG_SMIEN, 0x01ff);
    pci_set32(w + REG_SEE, 0xffffffff);
    c[REG_FTMR] = 0x0f;
    w[REG_FTMR] = 0xff;
    pci_set16(w + REG_SMIREQ, 0x01ff);
    w[REG_CTLTMR] = 0xff;
    w[REG_CTHTMR] = 0xff;
    pci_bus_set_irqs(i440fx_bus(s->host), map_pirq, pirq_input, s);
    i440fx_set_cf8_bytes(s->host, cf8_read, cf8_write, s);
    return true;
}

static void piix3_unrealize(Device *dev)
{
    Piix3 *s = (Piix3 *)dev;

    pci_bus_set_irqs(i440fx_bus(s->host), NULL, NULL, NULL);
    i440fx_set_cf8_bytes(s->host, NULL, NULL, NULL);
    pci_device_fini(&s->pci);
}

static void piix3_reset(Device *dev)
{
    Piix3 *s = (Piix3 *)dev;

    /* Lines follow their sources, which are reset on their own. */
    pci_device_reset(&s->pci);
    s->reset_control = 0;
    update_irq(s);
}

static bool piix3_post_load(void *obj, GError **err)
{
    /* The controllers load the levels of their inputs themselves. */
    Piix3 *s = obj;
    s->pirq_level &= 15;
    return true;
}

static const StateField piix3_fields[] = {
    PCI_STATE(Piix3, pci),       STATE_U16(Piix3, isa_level),    STATE_U16(Piix3, out_level),
    STATE_U8(Piix3, pirq_level), STATE_U8(Piix3, reset_control), STATE_END_FIELD,
};

static const StateTable piix3_state = {
    .name = "piix3",
    .version = 1,
    .fields = piix3_fields,
    .post_load = piix3_post_load,
};

const DeviceType piix3_type = {
    .name = "PIIX3",
    .desc = "Intel 82371SB ISA bridge",
    .bus = "PCI",
    .size = sizeof(Piix3),
    .realize = piix3_realize,
    .unrealize = piix3_unrealize,
    .reset = piix3_reset,
    .state = &piix3_state,
};

Piix3 *piix3_new(Machine *m, I440Fx *host, int devfn, const Irq irq[16], GError **err)
{
    Piix3 *s = (Piix3 *)device_new(&piix3_type, m);

    s->host = host;
    s->pci.devfn = devfn;
    memcpy(s->irq, irq, sizeof(s->irq));
    if (!device_realize(&s->pci.dev, &i440fx_bus(host)->bus, err)) {
        device_free(&s->pci.dev);
        return NULL;
    }
    return s;
}
