/*
 * PCI function core: configuration space with write masks, base address registers, INTx.
 * PCI Local Bus Specification 3.0, chapters 6 (configuration space) and 6.8 (MSI).
 */
#include "hw/pci/pci.h"
#include "core/log.h"
#include "core/machine.h"
#include <inttypes.h>
#include <string.h>

/* ---- bus ---- */

static unsigned default_map_irq(void *opaque, unsigned devfn, unsigned pin)
{
    return (PCI_SLOT(devfn) + pin) & 3;
}

void pci_bus_init(PciBus *bus, const char *name, Device *owner, MemRegion *mem, MemRegion *io,
                  MemSpace *dma)
{
    memset(bus, 0, sizeof(*bus));
    bus_init(&bus->bus, "PCI", name, owner);
    bus->mem = mem;
    bus->io = io;
    bus->dma = dma;
    bus->map_irq = default_map_irq;
}

void pci_bus_set_irqs(PciBus *bus, unsigned (*map)(void *opaque, unsigned devfn, unsigned pin),
                      void (*set)(void *opaque, unsigned line, int level), void *opaque)
{
    bus->map_irq = map ? map : default_map_irq;
    bus->set_irq = set;
    bus->irq_opaque = opaque;
}

void pci_bus_set_msi(PciBus *bus, void (*msi)(void *opaque, uint64_t addr, uint32_t data),
                     void *opaque)
{
    bus->msi = msi;
    bus->msi_opaque = opaque;
}

PciDevice *pci_bus_find(PciBus *bus, unsigned bus_nr, unsigned devfn)
{
    if (bus_nr != bus->number || devfn > 255) {
        return NULL;
    }
    return bus->functions[devfn];
}

void pci_bus_fini(PciBus *bus)
{
    bus_clear(&bus->bus);
}

/* ---- interrupts ---- */

static void update_intx(PciDevice *d)
{
    uint16_t cmd = pci_get16(d->config + PCI_COMMAND);
    bool drive = d->intx_level && !(cmd & PCI_COMMAND_INTX_DISABLE);

    if (!d->info->no_intx_disable) {
        uint8_t st = d->config[PCI_STATUS] & ~PCI_STATUS_INTERRUPT;
        d->config[PCI_STATUS] = st | (d->intx_level ? PCI_STATUS_INTERRUPT : 0);
    }
    if (drive == d->intx_driven || !d->bus) {
        return;
    }
    d->intx_driven = drive;
    unsigned pin = d->info->int_pin;
    if (pin == 0 || pin > 4) {
        return;
    }
    PciBus *bus = d->bus;
    unsigned line = bus->map_irq(bus->irq_opaque, (unsigned)d->devfn, pin - 1) % PCI_MAX_LINES;
    bus->line_count[line] += drive ? 1 : -1;
    if (bus->set_irq) {
        bus->set_irq(bus->irq_opaque, line, bus->line_count[line] > 0);
    }
}

void pci_set_irq(PciDevice *d, int level)
{
    d->intx_level = level != 0;
    update_intx(d);
}

static void irq_input(void *opaque, int n, int level)
{
    pci_set_irq(opaque, level);
}

Irq pci_irq(PciDevice *d)
{
    return (Irq){.fn = irq_input, .opaque = d};
}

/* ---- base addresses ---- */

static unsigned bar_reg(unsigned n)
{
    return n == PCI_ROM_SLOT ? PCI_ROM_ADDRESS : PCI_BASE_ADDRESS_0 + 4 * n;
}

/* The address that the registers give for BAR @n; false when it is not decoded or is one of the
 * values that only sizing writes (nothing, or up to the very end of the space). */
static bool bar_decode(const PciDevice *d, unsigned n, uint64_t *addr)
{
    const PciBar *b = &d->bars[n];
    uint16_t cmd = pci_get16(d->config + PCI_COMMAND);
    uint32_t lo = pci_get32(d->config + bar_reg(n));
    uint64_t a, last;

    if (b->flags & PCI_BAR_IO) {
        a = lo & ~(uint64_t)3 & ~(b->size - 1);
        last = a + b->size - 1;
        *addr = a;
        return (cmd & PCI_COMMAND_IO) && a != 0 && last < 0xffff;
    }
    a = lo & ~(uint64_t)15;
    if (b->flags & PCI_BAR_MEM64) {
        a |= (uint64_t)pci_get32(d->config + bar_reg(n) + 4) << 32;
    }
    a &= ~(b->size - 1);
    last = a + b->size - 1;
    *addr = a;
    if (!(cmd & PCI_COMMAND_MEMORY) || a == 0 || last < a) {
        return false;
    }
    if (n == PCI_ROM_SLOT && !(lo & PCI_ROM_ENABLE)) {
        return false;
    }
    /* A region that would end beyond its space is what sizing leaves behind. */
    return b->flags & PCI_BAR_MEM64 ? last < d->bus->mem->size : last < 0xffffffff;
}

static void update_bars(PciDevice *d)
{
    for (unsigned n = 0; n <= PCI_NUM_BARS; n++) {
        PciBar *b = &d->bars[n];
        uint64_t addr = 0;
        if (!b->region) {
            continue;
        }
        bool on = bar_decode(d, n, &addr);
        if (on == b->mapped && (!on || addr == b->addr)) {
            continue;
        }
        mem_transaction_begin();
        if (b->mapped) {
            mem_region_del(b->region);
        }
        b->mapped = on;
        b->addr = addr;
        if (on) {
            MemRegion *space = b->flags & PCI_BAR_IO ? d->bus->io : d->bus->mem;
            mem_region_add(space, b->region, addr, 1);
        }
        mem_transaction_commit();
        trace("pci_bar", "%s bar %u %s at %" PRIx64, d->dev.type->name, n, on ? "on" : "off", addr);
    }
}

static void unmap_bars(PciDevice *d)
{
    for (unsigned n = 0; n <= PCI_NUM_BARS; n++) {
        PciBar *b = &d->bars[n];
        if (b->mapped) {
            mem_region_del(b->region);
            b->mapped = false;
        }
    }
}

static uint64_t round_up_pow2(uint64_t v)
{
    uint64_t p = 1;
    while (p < v && p < (uint64_t)1 << 62) {
        p <<= 1;
    }
    return p;
}

void pci_add_bar(PciDevice *d, unsigned n, unsigned flags, MemRegion *region)
{
    PciBar *b = &d->bars[n];
    uint64_t size = round_up_pow2(region->size);
    uint64_t min = flags & PCI_BAR_IO ? 4 : n == PCI_ROM_SLOT ? 2048 : 16;
    uint8_t *reg = d->config + bar_reg(n), *mask = d->wmask + bar_reg(n);

    g_assert(n <= PCI_ROM_SLOT && !b->region);
    b->region = region;
    b->size = MAX(size, min);
    b->flags = (uint8_t)flags;
    uint64_t bits = ~(b->size - 1);
    if (n == PCI_ROM_SLOT) {
        pci_set32(mask, (uint32_t)bits | PCI_ROM_ENABLE);
        return;
    }
    pci_set32(reg, flags & (PCI_BAR_IO | PCI_BAR_MEM64 | PCI_BAR_PREFETCH));
    pci_set32(mask, (uint32_t)bits);
    if (flags & PCI_BAR_MEM64) {
        g_assert(n + 1 < PCI_NUM_BARS && !d->bars[n + 1].region);
        pci_set32(mask + 4, (uint32_t)(bits >> 32));
    }
}

bool pci_add_rom(PciDevice *d, const void *data, size_t len, GError **err)
{
    if (d->rombar == 0 || len == 0) {
        return true;
    }
    if (len > 16u << 20) {
        return fail(err, "the expansion ROM of %s is larger than 16 MiB", d->dev.type->name);
    }
    uint64_t size = MAX(round_up_pow2(len), 2048);
    if (!mem_region_init_rom(&d->rom, "pci-rom", size, err)) {
        return false;
    }
    memcpy(d->rom.host, data, len);
    d->have_rom = true;
    pci_add_bar(d, PCI_ROM_SLOT, 0, &d->rom);
    return true;
}

uint64_t pci_bar_addr(const PciDevice *d, unsigned n)
{
    return n <= PCI_ROM_SLOT && d->bars[n].mapped ? d->bars[n].addr : UINT64_MAX;
}

/* ---- configuration space ---- */

uint32_t pci_config_load(PciDevice *d, unsigned off, unsigned size)
{
    uint32_t val = 0;

    off &= PCI_CONFIG_SIZE - 1;
    if (off + size > PCI_CONFIG_SIZE) {
        return 0xffffffff >> (32 - 8 * size);
    }
    if (d->info->config_read) {
        return d->info->config_read(d, off, size);
    }
    for (unsigned i = 0; i < size; i++) {
        val |= (uint32_t)d->config[off + i] << (8 * i);
    }
    return val;
}

void pci_config_store(PciDevice *d, unsigned off, uint32_t val, unsigned size)
{
    uint8_t old[PCI_CONFIG_SIZE];

    off &= PCI_CONFIG_SIZE - 1;
    if (off + size > PCI_CONFIG_SIZE) {
        return;
    }
    memcpy(old, d->config, sizeof(old));
    for (unsigned i = 0; i < size; i++) {
        uint8_t v = (uint8_t)(val >> (8 * i)), w = d->wmask[off + i];
        uint8_t c = (uint8_t)((d->config[off + i] & ~w) | (v & w));
        d->config[off + i] = (uint8_t)(c & ~(v & d->w1cmask[off + i]));
    }
    if (off < PCI_CAPABILITY_LIST && off + size > PCI_COMMAND) {
        update_bars(d);
        update_intx(d);
    }
    if (d->info->config_written) {
        d->info->config_written(d, off, size, old);
    }
}

static void init_header(PciDevice *d)
{
    const PciInfo *in = d->info;
    uint8_t *c = d->config, *w = d->wmask;

    pci_set16(c + PCI_VENDOR_ID, in->vendor_id);
    pci_set16(c + PCI_DEVICE_ID, in->device_id);
    c[PCI_REVISION_ID] = in->revision;
    c[PCI_CLASS_PROG] = (uint8_t)in->class_code;
    pci_set16(c + PCI_CLASS_DEVICE, (uint16_t)(in->class_code >> 8));
    if (!in->no_subsys) {
        bool own = in->subsys_vendor || in->subsys_id;
        pci_set16(c + PCI_SUBSYSTEM_VENDOR_ID, own ? in->subsys_vendor : PCI_SUBSYS_VENDOR_VM);
        pci_set16(c + PCI_SUBSYSTEM_ID, own ? in->subsys_id : PCI_SUBSYS_VM);
    }
    c[PCI_INTERRUPT_PIN] = in->int_pin;
    c[PCI_HEADER_TYPE] = d->multifunction ? PCI_HEADER_MULTIFUNCTION : 0;

    uint16_t cmd = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
                   PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE;
    cmd = in->command_mask ? in->command_mask : cmd;
    if (in->no_intx_disable) {
        cmd &= ~PCI_COMMAND_INTX_DISABLE;
    }
    pci_set16(w + PCI_COMMAND, cmd);
    pci_set16(d->w1cmask + PCI_STATUS, PCI_STATUS_W1C);
    w[PCI_CACHE_LINE_SIZE] = 0xff;
    w[PCI_LATENCY_TIMER] = 0xff;
    w[PCI_INTERRUPT_LINE] = 0xff;
    memset(d->used, 1, 0x40);
}

static bool take_slot(PciDevice *d, PciBus *bus, GError **err)
{
    if (d->devfn < 0) {
        for (int devfn = 0; devfn < 256; devfn += 8) {
            bool free = true;
            for (int fn = 0; fn < 8; fn++) {
                free &= !bus->functions[devfn + fn];
            }
            if (free) {
                d->devfn = devfn;
                return true;
            }
        }
        return fail(err, "no free slot on PCI bus %s for %s", bus->bus.name, d->dev.type->name);
    }
    if (d->devfn > 255) {
        return fail(err, "PCI address of %s: slot must be 0 to 1f, function 0 to 7",
                    d->dev.type->name);
    }
    PciDevice *there = bus->functions[d->devfn];
    if (there) {
        return fail(err, "PCI address %02x.%x of %s is taken by %s", PCI_SLOT(d->devfn),
                    PCI_FUNC(d->devfn), d->dev.type->name, there->dev.type->name);
    }
    there = bus->functions[d->devfn & ~7];
    if (PCI_FUNC(d->devfn) && there && !there->multifunction) {
        return fail(err, "%s at PCI address %02x.%x needs multifunction=on on %s, function 0",
                    d->dev.type->name, PCI_SLOT(d->devfn), PCI_FUNC(d->devfn),
                    there->dev.type->name);
    }
    return true;
}

bool pci_device_init(PciDevice *d, const PciInfo *info, GError **err)
{
    PciBus *bus = (PciBus *)d->dev.bus;

    if (!bus) {
        return fail(err, "%s needs a PCI bus", d->dev.type->name);
    }
    if (!take_slot(d, bus, err)) {
        return false;
    }
    d->bus = bus;
    d->info = info;
    bus->functions[d->devfn] = d;
    init_header(d);
    return true;
}

void pci_device_fini(PciDevice *d)
{
    if (!d->bus) {
        return;
    }
    pci_set_irq(d, 0);
    unmap_bars(d);
    if (d->have_rom) {
        mem_region_destroy(&d->rom);
        d->have_rom = false;
    }
    memset(d->bars, 0, sizeof(d->bars));
    if (d->bus->functions[d->devfn] == d) {
        d->bus->functions[d->devfn] = NULL;
    }
    d->bus = NULL;
}

void pci_device_reset(PciDevice *d)
{
    /* The first reset follows realize: what it finds are the power-on values. */
    if (!d->have_reset) {
        memcpy(d->reset_config, d->config, sizeof(d->config));
        d->have_reset = true;
    }
    memcpy(d->config, d->reset_config, sizeof(d->config));
    pci_set_irq(d, 0);
    update_bars(d);
}

/* ---- DMA ---- */

static bool may_master(PciDevice *d)
{
    if (d->config[PCI_COMMAND] & PCI_COMMAND_MASTER) {
        return true;
    }
    guest_error("%s: DMA while bus mastering is off", d->dev.type->name);
    return false;
}

bool pci_dma_read(PciDevice *d, uint64_t addr, void *buf, uint64_t len)
{
    if (!may_master(d)) {
        memset(buf, 0xff, len);
        return false;
    }
    return mem_read(d->bus->dma, addr, buf, len);
}

bool pci_dma_write(PciDevice *d, uint64_t addr, const void *buf, uint64_t len)
{
    return may_master(d) && mem_write(d->bus->dma, addr, buf, len);
}

/* ---- capabilities and MSI ---- */

static unsigned find_gap(const PciDevice *d, unsigned size)
{
    for (unsigned off = 0x40; off + size <= PCI_CONFIG_SIZE; off += 4) {
        unsigned i = 0;
        while (i < size && !d->used[off + i]) {
            i++;
        }
        if (i == size) {
            return off;
        }
    }
    return 0;
}

unsigned pci_add_capability(PciDevice *d, uint8_t id, unsigned off, unsigned size)
{
    size = (size + 3) & ~3u;
    if (off == 0) {
        off = find_gap(d, size);
    }
    if (off < 0x40 || off + size > PCI_CONFIG_SIZE) {
        return 0;
    }
    memset(d->used + off, 1, size);
    memset(d->config + off, 0, size);
    memset(d->wmask + off, 0, size);
    d->config[off] = id;
    d->config[off + 1] = d->config[PCI_CAPABILITY_LIST];
    d->config[PCI_CAPABILITY_LIST] = (uint8_t)off;
    d->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    return off;
}

unsigned pci_find_capability(const PciDevice *d, uint8_t id)
{
    unsigned off = d->config[PCI_CAPABILITY_LIST];

    for (int n = 0; off >= 0x40 && n < 48; n++) {
        if (d->config[off] == id) {
            return off;
        }
        off = d->config[(off + 1) & 0xff];
    }
    return 0;
}

bool pci_add_msi(PciDevice *d, unsigned vectors)
{
    unsigned log = 0;
    while ((1u << log) < vectors && log < 5) {
        log++;
    }
    unsigned cap = pci_add_capability(d, PCI_CAP_ID_MSI, 0, PCI_MSI_SIZE);
    if (!cap) {
        return false;
    }
    d->msi_cap = (uint8_t)cap;
    pci_set16(d->config + cap + PCI_MSI_CONTROL, (uint16_t)(PCI_MSI_64BIT | log << 1));
    pci_set16(d->wmask + cap + PCI_MSI_CONTROL, PCI_MSI_ENABLE | 7 << 4);
    pci_set32(d->wmask + cap + PCI_MSI_ADDR_LO, 0xfffffffc);
    pci_set32(d->wmask + cap + PCI_MSI_ADDR_HI, 0xffffffff);
    pci_set16(d->wmask + cap + PCI_MSI_DATA, 0xffff);
    return true;
}

bool pci_msi_enabled(const PciDevice *d)
{
    return d->msi_cap && (d->config[d->msi_cap + PCI_MSI_CONTROL] & PCI_MSI_ENABLE);
}

void pci_send_msi(PciDevice *d, uint64_t addr, uint32_t data)
{
    PciBus *bus = d->bus;

    /* The message is a memory write by the function. */
    if (!bus || !may_master(d)) {
        return;
    }
    if (bus->msi) {
        bus->msi(bus->msi_opaque, addr, data);
    } else {
        mem_store(bus->dma, addr, data, 4);
    }
}

void pci_msi_notify(PciDevice *d, unsigned n)
{
    if (!pci_msi_enabled(d)) {
        return;
    }
    const uint8_t *c = d->config + d->msi_cap;
    uint16_t ctl = pci_get16(c + PCI_MSI_CONTROL);
    /* Granted can be more than asked for (or reserved): the smaller holds. */
    unsigned log = MIN((ctl >> 4) & 7, (ctl >> 1) & 7);
    unsigned vectors = 1u << MIN(log, 5);
    uint32_t data = pci_get16(c + PCI_MSI_DATA);
    uint64_t addr = pci_get32(c + PCI_MSI_ADDR_LO) | (uint64_t)pci_get32(c + PCI_MSI_ADDR_HI) << 32;

    pci_send_msi(d, addr, (data & ~(vectors - 1)) | (n & (vectors - 1)));
}

/* ---- saved state ---- */

static bool pci_post_load(void *obj, GError **err)
{
    PciDevice *d = obj;

    if (!d->have_reset) {
        return fail(err, "%s was not reset before its state was loaded", d->dev.type->name);
    }
    /* What the guest cannot write is ours, whatever the stream says. Status, capability and
     * vendor registers that a function changes itself lie in bytes with some mask or above 40h. */
    for (unsigned i = 0; i < PCI_COMMAND; i++) {
        if (d->config[i] != d->reset_config[i]) {
            return fail(err, "the saved state is of another PCI function than %s",
                        d->dev.type->name);
        }
    }
    for (unsigned i = PCI_REVISION_ID; i < 0x40; i++) {
        uint8_t w = d->wmask[i];
        d->config[i] = (uint8_t)((d->config[i] & w) | (d->reset_config[i] & ~w));
    }
    if (d->msi_cap) {
        for (unsigned i = d->msi_cap; i < d->msi_cap + PCI_MSI_SIZE; i++) {
            uint8_t w = d->wmask[i];
            d->config[i] = (uint8_t)((d->config[i] & w) | (d->reset_config[i] & ~w));
        }
    }
    update_bars(d);
    update_intx(d);
    return true;
}

static const StateField pci_fields[] = {
    STATE_U8_ARRAY(PciDevice, config),
    STATE_BOOL(PciDevice, intx_level),
    STATE_END_FIELD,
};

const StateTable pci_device_state = {
    .name = "pci",
    .version = 1,
    .fields = pci_fields,
    .post_load = pci_post_load,
};
