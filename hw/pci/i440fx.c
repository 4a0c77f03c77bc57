/*
 * Intel 82441FX PCI and Memory Controller (PMC): "Intel 440FX PCIset 82441FX PCI AND MEMORY
 * CONTROLLER (PMC) AND 82442FX DATA BUS ACCELERATOR (DBX)", order number 290549.
 *
 * DRAM timing registers are stored and do nothing. SMRAM's D_CLS (data accesses of SMM code to
 * PCI) is stored and does nothing.
 */
#include "hw/pci/i440fx.h"
#include "core/log.h"
#include <string.h>

enum {
    REG_PMCCFG = 0x50,
    REG_DETURBO = 0x52,
    REG_DBC = 0x53,
    REG_AXC = 0x54,
    REG_DRT = 0x55,
    REG_DRAMC = 0x57,
    REG_DRAMT = 0x58,
    REG_PAM0 = 0x59, /* …5Fh */
    REG_DRB0 = 0x60, /* …67h */
    REG_FDHC = 0x68,
    REG_MTT = 0x70,
    REG_CLT = 0x71,
    REG_SMRAM = 0x72,
    REG_ERRCMD = 0x90,
    REG_ERRSTS = 0x91,
    REG_TRC = 0x93,

    SMRAM_OPEN = 0x40,
    SMRAM_CLOSED = 0x20,
    SMRAM_LOCK = 0x10,
    SMRAM_ENABLE = 0x08,
    SMRAM_BASE = 0x02, /* fixed: 0xa0000 */

    PAM_READ = 1, /* reads go to DRAM */
    PAM_WRITE = 2,

    TRC_HARD = 2,
    TRC_RESET = 4,
};

#define PAM_SEGMENTS 13
#define VGA_BASE 0xa0000u
#define VGA_SIZE 0x20000u
#define PCI_MEM_SIZE (1ull << 52)
#define MIB 0x100000u

typedef struct PamSegment {
    I440Fx *host;
    uint32_t addr, size;
    MemRegion ram;    /* reads from DRAM; read only: writes reach PCI, where nothing takes them */
    MemRegion shadow; /* reads from PCI, writes to DRAM: copying a ROM onto itself */
} PamSegment;

typedef struct I440FxFunction {
    PciDevice pci;
    I440Fx *host;
} I440FxFunction;

struct I440Fx {
    Device dev;
    PciBus bus;
    I440FxFunction *function;
    MemRegion *smm_root;
    MemSpace *pci_space; /* pci_mem alone */
    MemRegion pci_mem, ports;
    /* RAM at 0, 1 MiB and 4 GiB; at a0000h when SMRAM is open; the same for CPUs in SMM */
    MemRegion low_ram, mid_ram, high_ram, open_ram, smram;
    PamSegment pam[PAM_SEGMENTS];
    PcMemoryLayout layout;
    uint32_t config_address;
    uint8_t (*cf8_read)(void *opaque, unsigned off);
    void (*cf8_write)(void *opaque, unsigned off, uint8_t val);
    void *cf8_opaque;
};

PcMemoryLayout pc_memory_layout(uint64_t ram_size)
{
    PcMemoryLayout l = {.ram_size = ram_size, .below_4g = MIN(ram_size, PC_LOW_RAM_MAX)};
    l.above_4g = ram_size - l.below_4g;
    return l;
}

PciBus *i440fx_bus(I440Fx *s)
{
    return &s->bus;
}

MemRegion *i440fx_pci_mem(I440Fx *s)
{
    return &s->pci_mem;
}

void i440fx_set_cf8_bytes(I440Fx *s, uint8_t (*read)(void *opaque, unsigned off),
                          void (*write)(void *opaque, unsigned off, uint8_t val), void *opaque)
{
    s->cf8_read = read;
    s->cf8_write = write;
    s->cf8_opaque = opaque;
}

/* ---- PAM and SMRAM ---- */

static unsigned pam_nibble(const uint8_t *config, unsigned seg)
{
    /* Segment 0 is 0xf0000 in the high half of PAM0; then two a register. */
    unsigned n = seg + 1;
    return (config[REG_PAM0 + n / 2] >> (n & 1 ? 4 : 0)) & (PAM_READ | PAM_WRITE);
}

static void update_map(I440Fx *s)
{
    const uint8_t *c = s->function->pci.config;

    mem_transaction_begin();
    for (unsigned i = 0; i < PAM_SEGMENTS; i++) {
        PamSegment *p = &s->pam[i];
        unsigned mode = pam_nibble(c, i);
        mem_region_set_enabled(&p->ram, mode & PAM_READ);
        mem_region_set_readonly(&p->ram, !(mode & PAM_WRITE));
        mem_region_set_enabled(&p->shadow, mode == PAM_WRITE);
    }
    bool enabled = c[REG_SMRAM] & SMRAM_ENABLE;
    mem_region_set_enabled(&s->open_ram, enabled && (c[REG_SMRAM] & SMRAM_OPEN));
    if (s->smm_root) {
        mem_region_set_enabled(&s->smram, enabled);
    }
    mem_transaction_commit();
}

static uint64_t shadow_read(void *opaque, uint64_t off, unsigned size)
{
    PamSegment *p = opaque;
    return mem_load(p->host->pci_space, p->addr + off, size);
}

static void shadow_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    PamSegment *p = opaque;
    MemRegion *ram = p->host->dev.machine->ram;

    for (unsigned i = 0; i < size && off + i < p->size; i++) {
        ram->host[p->addr + off + i] = (uint8_t)(val >> (8 * i));
    }
    mem_set_dirty(ram, p->addr + off, MIN(size, p->size - off));
}

static const MemOps shadow_ops = {.read = shadow_read, .write = shadow_write, .impl_max = 8};

static void add_pam(I440Fx *s, unsigned i, uint32_t addr, uint32_t size)
{
    PamSegment *p = &s->pam[i];
    MemRegion *root = &s->dev.machine->memory_root, *ram = s->dev.machine->ram;

    p->host = s;
    p->addr = addr;
    p->size = size;
    mem_region_init_alias(&p->ram, "pam-ram", ram, addr, size);
    mem_region_init_io(&p->shadow, "pam-shadow", &shadow_ops, p, size);
    mem_region_set_enabled(&p->ram, false);
    mem_region_set_enabled(&p->shadow, false);
    mem_region_add(root, &p->ram, addr, 0);
    mem_region_add(root, &p->shadow, addr, 0);
}

static void add_memory(I440Fx *s)
{
    Machine *m = s->dev.machine;
    MemRegion *root = &m->memory_root;
    const PcMemoryLayout *l = &s->layout;

    mem_transaction_begin();
    mem_region_add(root, &s->pci_mem, 0, -1);
    mem_region_init_alias(&s->low_ram, "ram-low", m->ram, 0, VGA_BASE);
    mem_region_add(root, &s->low_ram, 0, 0);
    mem_region_init_alias(&s->mid_ram, "ram-below-4g", m->ram, MIB, l->below_4g - MIB);
    mem_region_add(root, &s->mid_ram, MIB, 0);
    if (l->above_4g) {
        mem_region_init_alias(&s->high_ram, "ram-above-4g", m->ram, l->below_4g, l->above_4g);
        mem_region_add(root, &s->high_ram, PC_HIGH_RAM, 0);
    }
    mem_region_init_alias(&s->open_ram, "smram-open", m->ram, VGA_BASE, VGA_SIZE);
    mem_region_set_enabled(&s->open_ram, false);
    mem_region_add(root, &s->open_ram, VGA_BASE, 0);
    if (s->smm_root) {
        mem_region_init_alias(&s->smram, "smram", m->ram, VGA_BASE, VGA_SIZE);
        mem_region_set_enabled(&s->smram, false);
        mem_region_add(s->smm_root, &s->smram, VGA_BASE, 2);
    }
    add_pam(s, 0, 0xf0000, 0x10000);
    for (unsigned i = 1; i < PAM_SEGMENTS; i++) {
        add_pam(s, i, 0xc0000 + (i - 1) * 0x4000, 0x4000);
    }
    mem_transaction_commit();
}

/* ---- the bridge function ---- */

static void function_written(PciDevice *d, unsigned off, unsigned size, const uint8_t *old)
{
    I440FxFunction *f = (I440FxFunction *)d;
    uint8_t *c = d->config;

    if (off <= REG_SMRAM && off + size > REG_SMRAM) {
        if (old[REG_SMRAM] & SMRAM_LOCK) {
            /* Locked until reset: only D_CLS and the cache bits can still change, none here. */
            c[REG_SMRAM] = (old[REG_SMRAM] & ~SMRAM_CLOSED) | (c[REG_SMRAM] & SMRAM_CLOSED);
        } else if (c[REG_SMRAM] & SMRAM_LOCK) {
            c[REG_SMRAM] &= ~SMRAM_OPEN;
        }
    }
    if (off <= REG_SMRAM && off + size > REG_PAM0) {
        update_map(f->host);
    }
    if (!(old[REG_TRC] & TRC_RESET) && (c[REG_TRC] & TRC_RESET)) {
        machine_request_reset(d->dev.machine, SHUTDOWN_GUEST_RESET);
    }
}

static const PciInfo i440fx_info = {
    .vendor_id = 0x8086,
    .device_id = 0x1237,
    .revision = 2,
    .class_code = 0x060000,
    .no_intx_disable = true,
    .not_pluggable = true,
    .command_mask = PCI_COMMAND_PARITY | PCI_COMMAND_SERR,
    .config_written = function_written,
};

static bool function_realize(Device *dev, GError **err)
{
    I440FxFunction *f = (I440FxFunction *)dev;
    uint8_t *c = f->pci.config, *w = f->pci.wmask;

    if (!f->host) {
        return fail(err, "%s is a part of the board", dev->type->name);
    }
    f->pci.devfn = 0;
    if (!pci_device_init(&f->pci, &i440fx_info, err)) {
        return false;
    }
    pci_set16(c + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    pci_set16(c + PCI_STATUS, PCI_STATUS_FAST_BACK | PCI_STATUS_DEVSEL_MEDIUM);
    w[PCI_INTERRUPT_LINE] = 0;
    w[PCI_CACHE_LINE_SIZE] = 0;
    w[PCI_LATENCY_TIMER] = 0xf8;
    pci_set16(w + REG_PMCCFG, 0xffff);
    w[REG_DETURBO] = 0xff;
    c[REG_DBC] = 0x80;
    w[REG_DBC] = 0xff;
    w[REG_AXC] = 0xff;
    pci_set16(w + REG_DRT, 0xffff);
    c[REG_DRAMC] = 0x01;
    w[REG_DRAMC] = 0xff;
    c[REG_DRAMT] = 0x10;
    w[REG_DRAMT] = 0xff;
    w[REG_PAM0] = 0x30;
    memset(w + REG_PAM0 + 1, 0x33, 6);
    memset(c + REG_DRB0, 0x01, 8);
    memset(w + REG_DRB0, 0xff, 8);
    w[REG_FDHC] = 0xc0;
    c[REG_MTT] = 0x20;
    w[REG_MTT] = 0xf8;
    c[REG_CLT] = 0x10;
    w[REG_CLT] = 0xff;
    c[REG_SMRAM] = SMRAM_BASE;
    w[REG_SMRAM] = SMRAM_OPEN | SMRAM_CLOSED | SMRAM_LOCK | SMRAM_ENABLE;
    w[REG_ERRCMD] = 0xff;
    f->pci.w1cmask[REG_ERRSTS] = 0x11;
    w[REG_TRC] = 0x0f;
    return true;
}

static void function_unrealize(Device *dev)
{
    pci_device_fini(&((I440FxFunction *)dev)->pci);
}

static void function_reset(Device *dev)
{
    I440FxFunction *f = (I440FxFunction *)dev;
    pci_device_reset(&f->pci);
    update_map(f->host);
}

static bool function_post_load(void *obj, GError **err)
{
    update_map(((I440FxFunction *)obj)->host);
    return true;
}

static const StateField function_fields[] = {
    PCI_STATE(I440FxFunction, pci),
    STATE_END_FIELD,
};

static const StateTable function_state = {
    .name = "i440fx",
    .version = 1,
    .fields = function_fields,
    .post_load = function_post_load,
};

const DeviceType i440fx_type = {
    .name = "i440FX",
    .desc = "Intel 82441FX host bridge",
    .bus = "PCI",
    .size = sizeof(I440FxFunction),
    .realize = function_realize,
    .unrealize = function_unrealize,
    .reset = function_reset,
    .state = &function_state,
};

/* ---- configuration mechanism 1 ---- */

static PciDevice *addressed(I440Fx *s)
{
    uint32_t a = s->config_address;

    if (!(a & 0x80000000u)) {
        return NULL;
    }
    return pci_bus_find(&s->bus, (a >> 16) & 0xff, (a >> 8) & 0xff);
}

static uint64_t ports_read(void *opaque, uint64_t off, unsigned size)
{
    I440Fx *s = opaque;
    uint32_t ones = 0xffffffffu >> (32 - 8 * size);

    if (off < 4) {
        if (off == 0 && size == 4) {
            return s->config_address;
        }
        uint32_t val = 0;
        for (unsigned i = 0; i < size; i++) {
            uint8_t b = s->cf8_read ? s->cf8_read(s->cf8_opaque, (unsigned)off + i) : 0xff;
            val |= (uint32_t)b << (8 * i);
        }
        return val;
    }
    PciDevice *d = addressed(s);
    if (!d || (off & 3) + size > 4) {
        return ones;
    }
    return pci_config_load(d, (s->config_address & 0xfc) | (off & 3), size) & ones;
}

static void ports_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    I440Fx *s = opaque;

    if (off < 4) {
        if (off == 0 && size == 4) {
            s->config_address = (uint32_t)val & 0x80fffffcu;
            return;
        }
        for (unsigned i = 0; i < size && s->cf8_write; i++) {
            s->cf8_write(s->cf8_opaque, (unsigned)off + i, (uint8_t)(val >> (8 * i)));
        }
        return;
    }
    PciDevice *d = addressed(s);
    if (d && (off & 3) + size <= 4) {
        pci_config_store(d, (s->config_address & 0xfc) | (off & 3), (uint32_t)val, size);
    }
}

static const MemOps ports_ops = {.read = ports_read, .write = ports_write, .impl_max = 4};

/* ---- host ---- */

static void host_unrealize(Device *dev)
{
    I440Fx *s = (I440Fx *)dev;

    pci_bus_fini(&s->bus);
    mem_transaction_begin();
    for (unsigned i = 0; i < PAM_SEGMENTS; i++) {
        mem_region_destroy(&s->pam[i].ram);
        mem_region_destroy(&s->pam[i].shadow);
    }
    if (s->smm_root) {
        mem_region_destroy(&s->smram);
    }
    if (s->layout.above_4g) {
        mem_region_destroy(&s->high_ram);
    }
    mem_region_destroy(&s->open_ram);
    mem_region_destroy(&s->mid_ram);
    mem_region_destroy(&s->low_ram);
    mem_region_destroy(&s->ports);
    mem_region_del(&s->pci_mem);
    mem_transaction_commit();
    mem_space_free(s->pci_space);
    mem_region_destroy(&s->pci_mem);
}

static bool host_realize(Device *dev, GError **err)
{
    I440Fx *s = (I440Fx *)dev;
    Machine *m = dev->machine;

    if (s->layout.below_4g < 2 * MIB) {
        return fail(err, "a PC needs at least 2 MiB of memory");
    }
    mem_region_init_container(&s->pci_mem, "pci", PCI_MEM_SIZE);
    s->pci_space = mem_space_new("pci", &s->pci_mem);
    add_memory(s);
    mem_region_init_io(&s->ports, "pci-config", &ports_ops, s, 8);
    mem_region_add(&m->io_root, &s->ports, 0xcf8, 0);
    pci_bus_init(&s->bus, "pci.0", dev, &s->pci_mem, &m->io_root, m->memory);

    s->function = (I440FxFunction *)device_new(&i440fx_type, m);
    s->function->host = s;
    if (!device_realize(&s->function->pci.dev, &s->bus.bus, err)) {
        device_free(&s->function->pci.dev);
        host_unrealize(dev);
        return false;
    }
    return true;
}

static void host_reset(Device *dev)
{
    ((I440Fx *)dev)->config_address = 0;
}

static const StateField host_fields[] = {
    STATE_U32(I440Fx, config_address),
    STATE_END_FIELD,
};

static const StateTable host_state = {.name = "i440fx-host", .version = 1, .fields = host_fields};

static const DeviceType host_type = {
    .name = "i440FX-pcihost",
    .desc = "PCI host of the 82441FX",
    .size = sizeof(I440Fx),
    .realize = host_realize,
    .unrealize = host_unrealize,
    .reset = host_reset,
    .state = &host_state,
};

I440Fx *i440fx_new(Machine *m, const PcMemoryLayout *layout, MemRegion *smm_root, GError **err)
{
    I440Fx *s = (I440Fx *)device_new(&host_type, m);

    s->layout = *layout;
    s->smm_root = smm_root;
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    return s;
}
