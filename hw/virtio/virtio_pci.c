/*
 * virtio over PCI: VIRTIO 1.2, section 4.1; legacy interface: 4.1.4.10 and 4.1.5.1.1.1 and virtio
 * 0.9.5, section 2.2.2.
 *
 * BAR 0: legacy registers (I/O). BAR 1: MSI-X. BAR 4: the four structures of the 1.x interface, a
 * page each.
 */
#include "hw/virtio/virtio_pci.h"
#include "core/log.h"
#include "hw/firmware/fw_cfg.h"
#include "hw/firmware/rom.h"
#include <stdlib.h>
#include <string.h>

#define VENDOR 0x1af4
#define MODERN_ID 0x1040 /* + device id */
#define NOTIFY_MULTIPLIER 4

enum { BAR_LEGACY = 0, BAR_MSIX = 1, BAR_MODERN = 4 };
enum { PAGE_COMMON, PAGE_ISR, PAGE_DEVICE, PAGE_NOTIFY, PAGES };
enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4, CAP_PCI = 5 };
enum { /* of struct virtio_pci_cap */
       CAP_LEN = 2,
       CAP_TYPE = 3,
       CAP_BAR = 4,
       CAP_OFFSET = 8,
       CAP_LENGTH = 12,
       CAP_SIZE = 16,
       CAP_PCI_DATA = 16,
       CAP_NOTIFY_MULTIPLIER = 16,
};
enum { /* legacy registers */
       LEG_HOST_FEATURES = 0,
       LEG_GUEST_FEATURES = 4,
       LEG_PFN = 8,
       LEG_QUEUE_SIZE = 12,
       LEG_QUEUE_SEL = 14,
       LEG_NOTIFY = 16,
       LEG_STATUS = 18,
       LEG_ISR = 19,
       LEG_CONFIG_VECTOR = 20, /* these two with MSI-X only */
       LEG_QUEUE_VECTOR = 22,
       LEG_CONFIG = 20,
       LEG_CONFIG_MSIX = 24,
};
enum { /* struct virtio_pci_common_cfg */
       COM_FEATURE_SEL = 0,
       COM_FEATURE = 4,
       COM_GUEST_FEATURE_SEL = 8,
       COM_GUEST_FEATURE = 12,
       COM_CONFIG_VECTOR = 16,
       COM_NUM_QUEUES = 18,
       COM_STATUS = 20,
       COM_GENERATION = 21,
       COM_QUEUE_SEL = 22,
       COM_QUEUE_SIZE = 24,
       COM_QUEUE_VECTOR = 26,
       COM_QUEUE_ENABLE = 28,
       COM_QUEUE_NOTIFY_OFF = 30,
       COM_QUEUE_DESC = 32,
       COM_QUEUE_AVAIL = 40,
       COM_QUEUE_USED = 48,
       COM_SIZE = 56,
};

const char *const virtio_pci_on_off_auto[] = {"off", "on", "auto", NULL};

/* ---- interrupts ---- */

static void update_irq(VirtioPci *p)
{
    pci_set_irq(&p->pci, p->v->isr && !pci_msix_enabled(&p->msix));
}

static void signal_driver(VirtioPci *p, uint8_t isr, uint16_t vector)
{
    if (pci_msix_enabled(&p->msix)) {
        pci_msix_notify(&p->msix, vector); /* NO_VECTOR is none of them */
    } else {
        p->v->isr |= isr;
        update_irq(p);
    }
}

static void notify_queue(VirtioDevice *v, VirtQueue *q)
{
    signal_driver(v->transport_data, VIRTIO_ISR_QUEUE, q->vector);
}

static void notify_config(VirtioDevice *v)
{
    signal_driver(v->transport_data, VIRTIO_ISR_CONFIG, v->config_vector);
}

static bool may_dma(VirtioDevice *v)
{
    return ((VirtioPci *)v->transport_data)->pci.config[PCI_COMMAND] & PCI_COMMAND_MASTER;
}

static const VirtioTransport transport = {notify_queue, notify_config, may_dma};

static uint8_t read_isr(VirtioPci *p)
{
    uint8_t isr = p->v->isr;

    p->v->isr = 0;
    update_irq(p);
    return isr;
}

/* Vectors that are not there read back as NO_VECTOR. */
static uint16_t checked_vector(const VirtioPci *p, uint32_t n)
{
    return n < p->msix.vectors ? (uint16_t)n : VIRTIO_NO_VECTOR;
}

static void set_queue_vector(VirtioPci *p, uint32_t n)
{
    VirtQueue *q = virtio_selected(p->v);

    if (q) {
        q->vector = checked_vector(p, n);
    }
}

static void set_status(VirtioPci *p, uint8_t val, bool legacy)
{
    /* Drivers of the legacy interface's first years did not know about bus mastering. */
    if (legacy && (val & VIRTIO_DRIVER_OK)) {
        p->pci.config[PCI_COMMAND] |= PCI_COMMAND_MASTER;
    }
    virtio_set_status(p->v, val, legacy);
    update_irq(p);
}

/* ---- legacy registers ---- */

static unsigned legacy_config_off(const VirtioPci *p)
{
    return pci_msix_enabled(&p->msix) ? LEG_CONFIG_MSIX : LEG_CONFIG;
}

static void legacy_image(VirtioPci *p, uint8_t *r)
{
    const VirtQueue *q = virtio_selected(p->v);

    virtio_put32(r + LEG_HOST_FEATURES, virtio_host_features(p->v, 0, true));
    virtio_put32(r + LEG_GUEST_FEATURES, (uint32_t)p->v->guest_features);
    virtio_put32(r + LEG_PFN, q ? (uint32_t)(q->desc >> 12) : 0);
    virtio_put16(r + LEG_QUEUE_SIZE, q ? q->size : 0);
    virtio_put16(r + LEG_QUEUE_SEL, p->v->queue_sel);
    virtio_put16(r + LEG_NOTIFY, 0);
    r[LEG_STATUS] = p->v->status;
    r[LEG_ISR] = p->v->isr;
    virtio_put16(r + LEG_CONFIG_VECTOR, p->v->config_vector);
    virtio_put16(r + LEG_QUEUE_VECTOR, q ? q->vector : VIRTIO_NO_VECTOR);
}

static uint64_t legacy_read(void *opaque, uint64_t off, unsigned size)
{
    VirtioPci *p = opaque;
    uint8_t r[LEG_CONFIG_MSIX];
    uint32_t val = 0;

    if (virtio_busy(p->v)) {
        return UINT32_MAX;
    }
    if (off >= legacy_config_off(p)) {
        return virtio_config_read(p->v, (unsigned)off - legacy_config_off(p), size);
    }
    legacy_image(p, r);
    for (unsigned i = 0; i < size; i++) {
        val |= (uint32_t)r[(off + i) % sizeof(r)] << 8 * i;
    }
    if (off <= LEG_ISR && off + size > LEG_ISR) {
        read_isr(p);
    }
    return val;
}

static void legacy_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    VirtioPci *p = opaque;
    VirtioDevice *v = p->v;

    if (virtio_busy(v)) {
        return;
    }
    if (off >= legacy_config_off(p)) {
        virtio_config_write(v, (unsigned)off - legacy_config_off(p), (uint32_t)val, size);
        return;
    }
    switch (off) {
    case LEG_GUEST_FEATURES:
        virtio_set_features(v, 0, (uint32_t)val, true);
        break;
    case LEG_PFN:
        if (virtio_selected(v)) {
            virtq_set_legacy_addr(virtio_selected(v), (val & UINT32_MAX) << 12, 4096);
        }
        break;
    case LEG_QUEUE_SEL:
        v->queue_sel = (uint16_t)val;
        break;
    case LEG_NOTIFY:
        virtio_kick(v, (uint16_t)val);
        break;
    case LEG_STATUS:
        set_status(p, (uint8_t)val, true);
        break;
    case LEG_CONFIG_VECTOR:
        v->config_vector = checked_vector(p, (uint16_t)val);
        break;
    case LEG_QUEUE_VECTOR:
        set_queue_vector(p, (uint16_t)val);
        break;
    default:
        guest_error("%s: write to legacy register %u", v->cls->name, (unsigned)off);
    }
}

static const MemOps legacy_ops = {.read = legacy_read, .write = legacy_write, .impl_max = 4};

/* ---- 1.x structures ---- */

static void common_image(VirtioPci *p, uint8_t *r)
{
    VirtioDevice *v = p->v;
    const VirtQueue *q = virtio_selected(v);
    uint32_t accepted =
        v->guest_feature_sel > 1 ? 0 : (uint32_t)(v->guest_features >> 32 * v->guest_feature_sel);

    memset(r, 0, COM_SIZE);
    virtio_put32(r + COM_FEATURE_SEL, v->feature_sel);
    virtio_put32(r + COM_FEATURE, virtio_host_features(v, v->feature_sel, false));
    virtio_put32(r + COM_GUEST_FEATURE_SEL, v->guest_feature_sel);
    virtio_put32(r + COM_GUEST_FEATURE, accepted);
    virtio_put16(r + COM_CONFIG_VECTOR, v->config_vector);
    virtio_put16(r + COM_NUM_QUEUES, (uint16_t)v->n_queues);
    r[COM_STATUS] = v->status;
    r[COM_GENERATION] = v->config_gen;
    virtio_put16(r + COM_QUEUE_SEL, v->queue_sel);
    if (q) {
        virtio_put16(r + COM_QUEUE_SIZE, q->size);
        virtio_put16(r + COM_QUEUE_VECTOR, q->vector);
        virtio_put16(r + COM_QUEUE_ENABLE, q->ready);
        virtio_put16(r + COM_QUEUE_NOTIFY_OFF, q->index);
        virtio_put64(r + COM_QUEUE_DESC, q->desc);
        virtio_put64(r + COM_QUEUE_AVAIL, q->avail);
        virtio_put64(r + COM_QUEUE_USED, q->used);
    }
}

static uint32_t common_read(VirtioPci *p, unsigned off, unsigned size)
{
    uint8_t r[COM_SIZE];
    uint32_t val = 0;

    if (off + size > COM_SIZE) {
        return 0;
    }
    common_image(p, r);
    for (unsigned i = 0; i < size; i++) {
        val |= (uint32_t)r[off + i] << 8 * i;
    }
    return val;
}

static void set_queue_addr(VirtQueue *q, unsigned off, uint32_t val)
{
    uint64_t *a = off < COM_QUEUE_AVAIL ? &q->desc : off < COM_QUEUE_USED ? &q->avail : &q->used;

    if (q->ready) {
        guest_error("%s: address of queue %u while it is enabled", q->v->cls->name, q->index);
    } else if (off & 4) {
        *a = (*a & UINT32_MAX) | (uint64_t)val << 32;
    } else {
        *a = (*a & ~(uint64_t)UINT32_MAX) | val;
    }
}

static void common_write_queue(VirtioPci *p, unsigned off, uint32_t val)
{
    VirtQueue *q = virtio_selected(p->v);

    if (!q) {
        guest_error("%s: there is no queue %u", p->v->cls->name, p->v->queue_sel);
        return;
    }
    switch (off) {
    case COM_QUEUE_SIZE:
        virtq_set_size(q, (uint16_t)val);
        break;
    case COM_QUEUE_VECTOR:
        set_queue_vector(p, (uint16_t)val);
        break;
    case COM_QUEUE_ENABLE:
        /* Only a reset disables it again (4.1.4.3.2). */
        if ((uint16_t)val == 1) {
            virtq_set_ready(q, true);
        } else {
            guest_error("%s: %u written to queue_enable", p->v->cls->name, (uint16_t)val);
        }
        break;
    default:
        set_queue_addr(q, off, val);
    }
}

static void common_write(VirtioPci *p, unsigned off, uint32_t val, unsigned size)
{
    VirtioDevice *v = p->v;
    static const uint8_t width[COM_QUEUE_DESC] = {
        [COM_FEATURE_SEL] = 4,   [COM_GUEST_FEATURE_SEL] = 4,
        [COM_GUEST_FEATURE] = 4, [COM_CONFIG_VECTOR] = 2,
        [COM_STATUS] = 1,        [COM_QUEUE_SEL] = 2,
        [COM_QUEUE_SIZE] = 2,    [COM_QUEUE_VECTOR] = 2,
        [COM_QUEUE_ENABLE] = 2,
    };
    unsigned want = off < COM_QUEUE_DESC ? width[off] : off < COM_SIZE && !(off & 3) ? 4 : 0;

    if (!want || size != want) {
        guest_error("%s: write of %u bytes to common configuration at %u", v->cls->name, size, off);
        return;
    }
    switch (off) {
    case COM_FEATURE_SEL:
        v->feature_sel = val;
        break;
    case COM_GUEST_FEATURE_SEL:
        v->guest_feature_sel = val;
        break;
    case COM_GUEST_FEATURE:
        virtio_set_features(v, v->guest_feature_sel, val, false);
        break;
    case COM_CONFIG_VECTOR:
        v->config_vector = checked_vector(p, val);
        break;
    case COM_STATUS:
        set_status(p, (uint8_t)val, false);
        break;
    case COM_QUEUE_SEL:
        v->queue_sel = (uint16_t)val;
        break;
    default:
        common_write_queue(p, off, val);
    }
}

static uint64_t modern_read(void *opaque, uint64_t off, unsigned size)
{
    VirtioPci *p = opaque;
    unsigned o = off & MEM_PAGE_MASK;

    if (virtio_busy(p->v)) {
        return UINT32_MAX;
    }
    switch (off >> MEM_PAGE_BITS) {
    case PAGE_COMMON:
        return common_read(p, o, size);
    case PAGE_ISR:
        return o == 0 ? read_isr(p) : 0;
    case PAGE_DEVICE:
        return virtio_config_read(p->v, o, size);
    default:
        return 0;
    }
}

static void modern_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    VirtioPci *p = opaque;
    unsigned o = off & MEM_PAGE_MASK;

    if (virtio_busy(p->v)) {
        return;
    }
    switch (off >> MEM_PAGE_BITS) {
    case PAGE_COMMON:
        common_write(p, o, (uint32_t)val, size);
        break;
    case PAGE_DEVICE:
        virtio_config_write(p->v, o, (uint32_t)val, size);
        break;
    case PAGE_NOTIFY:
        if (size >= 2 && o % NOTIFY_MULTIPLIER == 0) {
            virtio_kick(p->v, o / NOTIFY_MULTIPLIER);
        }
        break;
    default:
        break;
    }
}

static const MemOps modern_ops = {.read = modern_read, .write = modern_write, .impl_max = 4};

/* ---- the window in configuration space (4.1.4.9) ---- */

static bool window(const VirtioPci *p, uint32_t *off, unsigned *len)
{
    const uint8_t *c = p->pci.config + p->cfg_cap;

    *off = pci_get32(c + CAP_OFFSET);
    *len = pci_get32(c + CAP_LENGTH);
    return c[CAP_BAR] == BAR_MODERN && (*len == 1 || *len == 2 || *len == 4) &&
           *off < PAGES * MEM_PAGE_SIZE && !(*off & (*len - 1));
}

static bool is_window_data(const VirtioPci *p, unsigned off)
{
    unsigned data = p->cfg_cap + CAP_PCI_DATA;

    return p->cfg_cap && off >= data && off < data + 4;
}

static uint32_t config_read(PciDevice *d, unsigned off, unsigned size)
{
    VirtioPci *p = (VirtioPci *)d;
    uint32_t val = 0, where;
    unsigned len;

    if (is_window_data(p, off) && window(p, &where, &len)) {
        pci_set32(d->config + p->cfg_cap + CAP_PCI_DATA, (uint32_t)modern_read(p, where, len));
    }
    for (unsigned i = 0; i < size; i++) {
        val |= (uint32_t)d->config[off + i] << 8 * i;
    }
    return val;
}

static void config_written(PciDevice *d, unsigned off, unsigned size, const uint8_t *old)
{
    VirtioPci *p = (VirtioPci *)d;
    uint32_t where;
    unsigned len;

    if (!p->v) {
        return;
    }
    if (is_window_data(p, off) && window(p, &where, &len)) {
        modern_write(p, where, pci_get32(d->config + p->cfg_cap + CAP_PCI_DATA), len);
        return;
    }
    pci_msix_written(&p->msix, off, size);
    update_irq(p);
}

/* ---- device ---- */

static bool add_cap(VirtioPci *p, uint8_t type, unsigned page, unsigned size, unsigned *cap)
{
    uint8_t *c;

    *cap = pci_add_capability(&p->pci, PCI_CAP_ID_VNDR, 0, size);
    if (!*cap) {
        return false;
    }
    c = p->pci.config + *cap;
    c[CAP_LEN] = (uint8_t)size;
    c[CAP_TYPE] = type;
    if (type != CAP_PCI) {
        c[CAP_BAR] = BAR_MODERN;
        pci_set32(c + CAP_OFFSET, page * MEM_PAGE_SIZE);
        pci_set32(c + CAP_LENGTH, MEM_PAGE_SIZE);
    }
    return true;
}

static bool add_modern(VirtioPci *p)
{
    unsigned cap;

    mem_region_init_io(&p->modern, "virtio-pci-modern", &modern_ops, p, PAGES * MEM_PAGE_SIZE);
    pci_add_bar(&p->pci, BAR_MODERN, PCI_BAR_MEM64 | PCI_BAR_PREFETCH, &p->modern);
    /* The list is found last first, and drivers take the first of a kind. */
    if (!add_cap(p, CAP_PCI, 0, CAP_SIZE + 4, &cap)) {
        return false;
    }
    p->cfg_cap = (uint8_t)cap;
    p->pci.wmask[cap + CAP_BAR] = 0xff;
    memset(p->pci.wmask + cap + CAP_OFFSET, 0xff, 12);
    if (!add_cap(p, CAP_NOTIFY, PAGE_NOTIFY, CAP_SIZE + 4, &cap)) {
        return false;
    }
    pci_set32(p->pci.config + cap + CAP_NOTIFY_MULTIPLIER, NOTIFY_MULTIPLIER);
    return add_cap(p, CAP_DEVICE, PAGE_DEVICE, CAP_SIZE, &cap) &&
           add_cap(p, CAP_ISR, PAGE_ISR, CAP_SIZE, &cap) &&
           add_cap(p, CAP_COMMON, PAGE_COMMON, CAP_SIZE, &cap);
}

static void add_legacy(VirtioPci *p)
{
    mem_region_init_io(&p->legacy, "virtio-pci-legacy", &legacy_ops, p,
                       LEG_CONFIG_MSIX + p->v->config_size);
    pci_add_bar(&p->pci, BAR_LEGACY, PCI_BAR_IO, &p->legacy);
}

static bool add_interfaces(VirtioPci *p, bool legacy, bool modern, GError **err)
{
    const char *name = p->pci.dev.type->name;
    unsigned def = p->v->cls->vectors ? p->v->cls->vectors : p->v->n_queues + 1;
    unsigned vectors = p->vectors == UINT32_MAX ? def : p->vectors;

    if (vectors > PCI_MSIX_MAX) {
        return fail(err, "%s: vectors must be 0 to %u, not %u", name, PCI_MSIX_MAX, vectors);
    }
    if (modern && !add_modern(p)) {
        return fail(err, "%s: no room for capabilities", name);
    }
    if (legacy) {
        add_legacy(p);
    }
    return !vectors || pci_msix_init(&p->msix, &p->pci, vectors, BAR_MSIX) ||
           fail(err, "%s: no room for capabilities", name);
}

bool virtio_pci_realize(VirtioPci *p, VirtioDevice *v, const VirtioClass *cls, GError **err)
{
    bool legacy = cls->legacy_pci_id && p->disable_legacy != 1, modern = !p->disable_modern;
    const char *name = p->pci.dev.type->name;

    if (!legacy && !modern) {
        return fail(err, "%s: it must have the legacy or the modern interface%s", name,
                    cls->legacy_pci_id ? "" : "; this device has only the modern one");
    }
    p->info = (PciInfo){
        .vendor_id = VENDOR,
        .device_id = legacy ? cls->legacy_pci_id : MODERN_ID + cls->id,
        .subsys_vendor = VENDOR,
        .subsys_id = legacy ? cls->id : PCI_SUBSYS_VM,
        .revision = legacy ? 0 : 1,
        .class_code = cls->pci_class,
        .int_pin = 1,
        .config_read = config_read,
        .config_written = config_written,
    };
    if (!pci_device_init(&p->pci, &p->info, err)) {
        return false;
    }
    if (!virtio_init(v, cls, &p->pci.dev, p->pci.bus->dma, &transport, p, err)) {
        pci_device_fini(&p->pci);
        return false;
    }
    p->v = v;
    if (!modern) {
        v->host_features &= UINT32_MAX;
    }
    if (add_interfaces(p, legacy, modern, err) &&
        firmware_add_option_rom(&p->pci, cls->boot_rom ? cls->boot_rom : "", err)) {
        return true;
    }
    virtio_pci_unrealize(p);
    return false;
}

void virtio_pci_unrealize(VirtioPci *p)
{
    virtio_fini(p->v);
    pci_device_fini(&p->pci);
    pci_msix_fini(&p->msix);
    if (p->legacy.name) {
        mem_region_destroy(&p->legacy);
    }
    if (p->modern.name) {
        mem_region_destroy(&p->modern);
    }
    p->v = NULL;
    p->cfg_cap = 0;
}

void virtio_pci_reset(VirtioPci *p)
{
    virtio_reset(p->v);
    pci_device_reset(&p->pci);
    pci_msix_reset(&p->msix);
    update_irq(p);
}

bool virtio_add_boot_path(VirtioDevice *v, const char *bootindex, const char *kind,
                          const char *below, GError **err)
{
    const char *name = v->dev->type->name;
    const PciDevice *pci = (const PciDevice *)v->dev;
    FwCfg *fw = fw_cfg_find(v->dev->machine);

    if (!bootindex) {
        return true;
    }
    if (!*bootindex || bootindex[strspn(bootindex, "0123456789")] || strlen(bootindex) > 9) {
        return fail(err, "%s: bootindex must be a number, not '%s'", name, bootindex);
    }
    if (v->transport != &transport) {
        return fail(err, "%s: bootindex is for devices on PCI", name);
    }
    if (fw) {
        g_autofree char *fn =
            PCI_FUNC(pci->devfn) ? g_strdup_printf(",%x", PCI_FUNC(pci->devfn)) : g_strdup("");
        g_autofree char *path =
            g_strdup_printf("/pci@i0cf8/%s@%x%s%s", kind, PCI_SLOT(pci->devfn), fn, below);
        fw_cfg_add_boot_path(fw, atoi(bootindex), path);
    }
    return true;
}

static const StateField fields[] = {
    PCI_STATE(VirtioPci, pci),
    PCI_MSIX_STATE(VirtioPci, msix),
    STATE_END_FIELD,
};

static bool post_load(void *obj, GError **err)
{
    VirtioPci *p = obj;
    uint8_t *c = p->pci.config;
    const uint8_t *w = p->pci.wmask, *r = p->pci.reset_config;

    /* Capabilities: what the guest cannot write is ours. */
    for (unsigned i = 0x40; i < PCI_CONFIG_SIZE; i++) {
        c[i] = (uint8_t)((c[i] & w[i]) | (r[i] & ~w[i]));
    }
    return true;
}

const StateTable virtio_pci_state = {
    .name = "virtio-pci", .version = 1, .fields = fields, .post_load = post_load};
