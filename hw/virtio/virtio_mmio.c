/*
 * virtio over MMIO: VIRTIO 1.2, section 4.2 (version 2) and 4.2.4 (legacy, version 1).
 *
 * Which version the registers show is the board's or user's choice (property force-legacy); devices
 * without a legacy interface always show version 2.
 */
#include "hw/virtio/virtio_mmio.h"
#include "core/log.h"
#include <inttypes.h>
#include <string.h>

enum {
    REG_MAGIC = 0x000,
    REG_VERSION = 0x004,
    REG_DEVICE_ID = 0x008,
    REG_VENDOR_ID = 0x00c,
    REG_HOST_FEATURES = 0x010,
    REG_HOST_FEATURES_SEL = 0x014,
    REG_GUEST_FEATURES = 0x020,
    REG_GUEST_FEATURES_SEL = 0x024,
    REG_GUEST_PAGE_SIZE = 0x028, /* legacy */
    REG_QUEUE_SEL = 0x030,
    REG_QUEUE_NUM_MAX = 0x034,
    REG_QUEUE_NUM = 0x038,
    REG_QUEUE_ALIGN = 0x03c, /* legacy */
    REG_QUEUE_PFN = 0x040,   /* legacy */
    REG_QUEUE_READY = 0x044,
    REG_QUEUE_NOTIFY = 0x050,
    REG_INT_STATUS = 0x060,
    REG_INT_ACK = 0x064,
    REG_STATUS = 0x070,
    REG_DESC_LO = 0x080,
    REG_DESC_HI = 0x084,
    REG_AVAIL_LO = 0x090,
    REG_AVAIL_HI = 0x094,
    REG_USED_LO = 0x0a0,
    REG_USED_HI = 0x0a4,
    REG_SHM_FIRST = 0x0b0, /* …BCh: length and base of a shared memory region; there are none */
    REG_SHM_LAST = 0x0bc,
    REG_CONFIG_GEN = 0x0fc,
    REG_CONFIG = 0x100,
};

#define MAGIC 0x74726976     /* "virt" */
#define VENDOR_ID 0x554d4551 /* what drivers and users know from other virtual machines */

struct VirtioMmio {
    Device dev;
    VirtioBus bus;
    VirtioDevice *v; /* NULL: nothing plugged in */
    MemRegion mmio;
    Irq irq;
    bool force_legacy;
    uint32_t page_size, align; /* legacy */
};

static bool is_legacy(const VirtioMmio *s)
{
    return s->force_legacy && s->v->cls->legacy_pci_id;
}

/* ---- interrupt ---- */

static void update_irq(VirtioMmio *s)
{
    irq_set(&s->irq, s->v && s->v->isr);
}

static void signal_driver(VirtioDevice *v, uint8_t bits)
{
    v->isr |= bits;
    update_irq(v->transport_data);
}

static void notify_queue(VirtioDevice *v, VirtQueue *q)
{
    signal_driver(v, VIRTIO_ISR_QUEUE);
}

static void notify_config(VirtioDevice *v)
{
    signal_driver(v, VIRTIO_ISR_CONFIG);
}

static bool may_dma(VirtioDevice *v)
{
    return true;
}

extern const DeviceType virtio_mmio_type;

static const VirtioTransport transport = {notify_queue, notify_config, may_dma};

/* ---- registers ---- */

static uint32_t queue_read(VirtioMmio *s, unsigned off, bool legacy)
{
    const VirtQueue *q = virtio_selected(s->v);

    if (!q) {
        return 0;
    }
    switch (off) {
    case REG_QUEUE_NUM_MAX:
        return q->max_size;
    case REG_QUEUE_PFN:
        return legacy && s->page_size ? (uint32_t)(q->desc / s->page_size) : 0;
    default:
        return !legacy && q->ready;
    }
}

static uint32_t reg_read(VirtioMmio *s, unsigned off)
{
    VirtioDevice *v = s->v;
    bool legacy = is_legacy(s);

    switch (off) {
    case REG_VERSION:
        return legacy ? 1 : 2;
    case REG_DEVICE_ID:
        return v->cls->id;
    case REG_VENDOR_ID:
        return VENDOR_ID;
    case REG_HOST_FEATURES:
        return virtio_host_features(v, legacy && v->feature_sel ? 2 : v->feature_sel, legacy);
    case REG_QUEUE_NUM_MAX:
    case REG_QUEUE_PFN:
    case REG_QUEUE_READY:
        return queue_read(s, off, legacy);
    case REG_INT_STATUS:
        return v->isr;
    case REG_STATUS:
        return v->status;
    case REG_CONFIG_GEN:
        return legacy ? 0 : v->config_gen;
    default:
        if (off >= REG_SHM_FIRST && off <= REG_SHM_LAST) {
            return UINT32_MAX;
        }
        guest_error("virtio-mmio: read of register %03x", off);
        return 0;
    }
}

static uint64_t mmio_read(void *opaque, uint64_t off, unsigned size)
{
    VirtioMmio *s = opaque;

    if (off >= REG_CONFIG) {
        if (!s->v || virtio_busy(s->v)) {
            return UINT64_MAX;
        }
        return virtio_config_read(s->v, (unsigned)off - REG_CONFIG, size);
    }
    if (size != 4) {
        guest_error("virtio-mmio: read of %u bytes at %03" PRIx64, size, off);
        return 0;
    }
    if (off == REG_MAGIC) {
        return MAGIC;
    }
    if (!s->v) {
        /* An empty block: id 0, and the driver looks no further. */
        return off == REG_VERSION     ? (s->force_legacy ? 1 : 2)
               : off == REG_VENDOR_ID ? VENDOR_ID
                                      : 0;
    }
    return virtio_busy(s->v) ? UINT32_MAX : reg_read(s, (unsigned)off);
}

static void set_half(uint64_t *addr, uint32_t val, bool high)
{
    *addr =
        high ? (*addr & UINT32_MAX) | (uint64_t)val << 32 : (*addr & ~(uint64_t)UINT32_MAX) | val;
}

static void set_pfn(VirtioMmio *s, VirtQueue *q, uint32_t pfn)
{
    uint32_t align = s->align ? s->align : 4096;

    if (pfn && !s->page_size) {
        guest_error("virtio-mmio: queue address before the page size");
    } else {
        virtq_set_legacy_addr(q, (uint64_t)pfn * s->page_size, align);
    }
}

static void set_power_of_two(const char *what, uint32_t *reg, uint32_t val)
{
    if (val & (val - 1) || val > 1 << 20) {
        guest_error("virtio-mmio: %s %u", what, val);
    } else {
        *reg = val;
    }
}

static void queue_write(VirtioMmio *s, unsigned off, uint32_t val, bool legacy)
{
    VirtQueue *q = virtio_selected(s->v);

    if (!q || (legacy ? off > REG_QUEUE_PFN : off == REG_QUEUE_PFN)) {
        guest_error("virtio-mmio: write to register %03x of queue %u", off, s->v->queue_sel);
    } else if (off == REG_QUEUE_NUM) {
        virtq_set_size(q, val);
    } else if (off == REG_QUEUE_PFN) {
        set_pfn(s, q, val);
    } else if (off == REG_QUEUE_READY) {
        virtq_set_ready(q, val & 1);
    } else if (q->ready) {
        guest_error("virtio-mmio: address of queue %u while it is ready", q->index);
    } else {
        set_half(off < REG_AVAIL_LO  ? &q->desc
                 : off < REG_USED_LO ? &q->avail
                                     : &q->used,
                 val, off & 4);
    }
}

static void reg_write(VirtioMmio *s, unsigned off, uint32_t val)
{
    VirtioDevice *v = s->v;
    bool legacy = is_legacy(s);

    switch (off) {
    case REG_HOST_FEATURES_SEL:
        v->feature_sel = val;
        break;
    case REG_GUEST_FEATURES:
        virtio_set_features(v, v->guest_feature_sel, val, legacy);
        break;
    case REG_GUEST_FEATURES_SEL:
        v->guest_feature_sel = val;
        break;
    case REG_GUEST_PAGE_SIZE:
        set_power_of_two("page size", &s->page_size, legacy ? val : 0);
        break;
    case REG_QUEUE_SEL:
        v->queue_sel = (uint16_t)MIN(val, UINT16_MAX);
        break;
    case REG_QUEUE_ALIGN:
        set_power_of_two("queue alignment", &s->align, legacy ? val : 0);
        break;
    case REG_QUEUE_NUM:
    case REG_QUEUE_PFN:
    case REG_QUEUE_READY:
    case REG_DESC_LO:
    case REG_DESC_HI:
    case REG_AVAIL_LO:
    case REG_AVAIL_HI:
    case REG_USED_LO:
    case REG_USED_HI:
        queue_write(s, off, val, legacy);
        break;
    case REG_QUEUE_NOTIFY:
        virtio_kick(v, val);
        break;
    case REG_INT_ACK:
        v->isr &= ~val;
        update_irq(s);
        break;
    case REG_STATUS:
        virtio_set_status(v, (uint8_t)val, legacy);
        if (val == 0) {
            s->page_size = s->align = 0;
        }
        update_irq(s);
        break;
    default:
        if (off < REG_SHM_FIRST - 4 || off > REG_SHM_LAST) {
            guest_error("virtio-mmio: write to register %03x", off);
        }
    }
}

static void mmio_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    VirtioMmio *s = opaque;

    if (!s->v || virtio_busy(s->v)) {
        return;
    }
    if (off >= REG_CONFIG) {
        virtio_config_write(s->v, (unsigned)off - REG_CONFIG, (uint32_t)val, size);
    } else if (size != 4) {
        guest_error("virtio-mmio: write of %u bytes at %03" PRIx64, size, off);
    } else {
        reg_write(s, (unsigned)off, (uint32_t)val);
    }
}

static const MemOps mmio_ops = {.read = mmio_read, .write = mmio_write, .impl_max = 4};

/* ---- devices on the bus ---- */

bool virtio_mmio_plug(VirtioDevice *v, const VirtioClass *cls, Device *dev, GError **err)
{
    VirtioMmio *s = ((VirtioBus *)dev->bus)->mmio;

    if (s->v) {
        return fail(err, "%s: bus %s has a device already", dev->type->name, dev->bus->name);
    }
    if (!virtio_init(v, cls, dev, dev->machine->memory, &transport, s, err)) {
        return false;
    }
    s->v = v;
    return true;
}

void virtio_mmio_unplug(VirtioDevice *v)
{
    VirtioMmio *s = v->transport_data;

    virtio_fini(v);
    s->v = NULL;
    update_irq(s);
}

void virtio_mmio_reset_device(VirtioDevice *v)
{
    virtio_reset(v);
    update_irq(v->transport_data);
}

/* ---- the block ---- */

static bool mmio_realize(Device *dev, GError **err)
{
    VirtioMmio *s = (VirtioMmio *)dev;

    s->bus.mmio = s;
    mem_region_init_io(&s->mmio, "virtio-mmio", &mmio_ops, s, VIRTIO_MMIO_SIZE);
    return true;
}

static void mmio_unrealize(Device *dev)
{
    mem_region_destroy(&((VirtioMmio *)dev)->mmio);
}

static void mmio_reset(Device *dev)
{
    VirtioMmio *s = (VirtioMmio *)dev;

    /* The device on the bus is reset on its own. */
    s->page_size = s->align = 0;
    update_irq(s);
}

VirtioMmio *virtio_mmio_new(Machine *m, MemRegion *parent, uint64_t base, Irq irq, unsigned n,
                            GError **err)
{
    VirtioMmio *s = (VirtioMmio *)device_new(&virtio_mmio_type, m);
    g_autofree char *name = g_strdup_printf("virtio-mmio-bus.%u", n);

    s->irq = irq;
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    bus_init(&s->bus.bus, "virtio-bus", name, &s->dev);
    s->bus.bus.max_children = 1;
    mem_region_add(parent, &s->mmio, base, 0);
    return s;
}

VirtioBus *virtio_mmio_bus(VirtioMmio *s)
{
    return &s->bus;
}

VirtioDevice *virtio_mmio_device(VirtioMmio *s)
{
    return s->v;
}

void virtio_mmio_set_legacy(VirtioMmio *s, bool legacy)
{
    s->force_legacy = legacy;
}

static bool post_load(void *obj, GError **err)
{
    VirtioMmio *s = obj;

    if (s->page_size & (s->page_size - 1) || s->align & (s->align - 1) || s->align > 1 << 20) {
        return fail(err, "the saved state of virtio-mmio is impossible");
    }
    return true;
}

static const StateField fields[] = {
    STATE_U32(VirtioMmio, page_size),
    STATE_U32(VirtioMmio, align),
    STATE_END_FIELD,
};
static const StateTable state = {
    .name = "virtio-mmio", .version = 1, .fields = fields, .post_load = post_load};

static const Property props[] = {
    {"force-legacy", PROP_BOOL, offsetof(VirtioMmio, force_legacy), "on",
     "show the legacy registers (version 1)"},
    {NULL},
};

const DeviceType virtio_mmio_type = {
    .name = "virtio-mmio",
    .desc = "virtio registers in memory",
    .size = sizeof(VirtioMmio),
    .props = props,
    .realize = mmio_realize,
    .unrealize = mmio_unrealize,
    .reset = mmio_reset,
    .state = &state,
};
