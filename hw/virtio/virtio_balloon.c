/*
 * virtio memory balloon: VIRTIO 1.2, section 5.5, and its legacy parts. Pages that the guest gives
 * up go back to the host, and read as zeros when it takes them again. Statistics, free page hints
 * and reporting are not offered.
 */
#include "core/log.h"
#include "hw/virtio/virtio_types.h"
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u
#define PFN_BATCH 256
#define PFNS_MAX 65536 /* of one buffer */

enum { F_DEFLATE_ON_OOM = 2 };
enum { CFG_NUM_PAGES = 0, CFG_ACTUAL = 4, CFG_SIZE = 8 };
enum { Q_INFLATE, Q_DEFLATE };

typedef struct VirtioBalloon {
    VirtioDevice v;
    bool deflate_on_oom;
    uint32_t num_pages; /* that the guest shall give up */
    uint32_t actual;    /* that it says it has given up */
} VirtioBalloon;

static Machine *machine_of(const VirtioBalloon *s)
{
    return s->v.dev->machine;
}

/* ---- pages ---- */

static void give_back(VirtioBalloon *s, uint64_t addr, uint64_t len)
{
    const FlatRange *r = mem_view_find(s->v.view, addr);

    if (!r || r->region != machine_of(s)->ram || r->readonly || len > r->size - (addr - r->addr)) {
        guest_error("virtio-balloon: page %" G_GINT64_MODIFIER "x is no memory", addr / PAGE);
        return;
    }
    uint64_t off = r->off + (addr - r->addr);
    if (r->region->fd >= 0) {
        /* A file system that cannot do it keeps the memory; nothing else is lost. */
        (void)!fallocate(r->region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
                         (off_t)len);
    } else {
        madvise(r->region->host + off, len, MADV_DONTNEED);
    }
    mem_set_dirty(r->region, off, len);
}

/* Neighbours go together. */
static void inflate(VirtioBalloon *s, const VirtElem *e)
{
    uint8_t raw[PFN_BATCH * 4];
    uint64_t start = 0, pages = 0;

    for (uint64_t off = 0; off < PFNS_MAX * 4u;) {
        size_t n = virtelem_get(&s->v, e, off, raw, sizeof(raw));
        for (size_t i = 0; i + 4 <= n; i += 4) {
            uint64_t pfn = virtio_get32(raw + i);
            if (pages && pfn == start + pages) {
                pages++;
                continue;
            }
            if (pages) {
                give_back(s, start * PAGE, pages * PAGE);
            }
            start = pfn;
            pages = 1;
        }
        off += n;
        if (n < sizeof(raw)) {
            break;
        }
    }
    if (pages) {
        give_back(s, start * PAGE, pages * PAGE);
    }
}

static void handle(VirtioDevice *v, VirtQueue *q)
{
    VirtElem *e;

    while ((e = virtq_next(q))) {
        if (q->index == Q_INFLATE) {
            inflate((VirtioBalloon *)v, e);
        }
        virtq_push(q, e, 0);
    }
    virtq_notify(q);
}

/* ---- configuration and operator ---- */

static void get_config(VirtioDevice *v, uint8_t *c)
{
    const VirtioBalloon *s = (VirtioBalloon *)v;

    virtio_put32(c + CFG_NUM_PAGES, s->num_pages);
    virtio_put32(c + CFG_ACTUAL, s->actual);
}

static void set_config(VirtioDevice *v, const uint8_t *c, unsigned off, unsigned len)
{
    VirtioBalloon *s = (VirtioBalloon *)v;
    uint32_t now = virtio_get32(c + CFG_ACTUAL), was = s->actual;
    uint64_t all = machine_of(s)->cfg.ram_size / PAGE;

    if (off + len <= CFG_ACTUAL) {
        return;
    }
    if (now > all) {
        guest_error("virtio-balloon: %u pages of %u are in it", now, (unsigned)all);
        now = (uint32_t)all;
    }
    s->actual = now;
    if (now != was && machine_of(s)->balloon.changed) {
        machine_of(s)->balloon.changed(machine_of(s), (all - now) * PAGE);
    }
}

static void set_target(void *opaque, uint64_t bytes)
{
    VirtioBalloon *s = opaque;
    uint64_t all = machine_of(s)->cfg.ram_size;

    s->num_pages = (uint32_t)((all - MIN(bytes, all)) / PAGE);
    virtio_config_changed(&s->v);
}

static uint64_t get_actual(void *opaque)
{
    const VirtioBalloon *s = opaque;

    return machine_of(s)->cfg.ram_size - (uint64_t)s->actual * PAGE;
}

/* ---- life ---- */

static void balloon_reset(VirtioDevice *v)
{
    /* The operator's wish stays; a new driver starts with an empty balloon. */
    ((VirtioBalloon *)v)->actual = 0;
}

static bool balloon_realize(VirtioDevice *v, GError **err)
{
    VirtioBalloon *s = (VirtioBalloon *)v;
    MachineBalloon *b = &machine_of(s)->balloon;

    if (b->opaque) {
        return fail(err, "%s: there is a balloon already", v->dev->type->name);
    }
    b->set_target = set_target;
    b->get_actual = get_actual;
    b->opaque = s;
    v->config_size = CFG_SIZE;
    v->host_features = s->deflate_on_oom ? VIRTIO_BIT(F_DEFLATE_ON_OOM) : 0;
    virtio_add_queue(v, 128, handle);
    virtio_add_queue(v, 128, handle);
    return true;
}

static void balloon_unrealize(VirtioDevice *v)
{
    machine_of((VirtioBalloon *)v)->balloon.opaque = NULL;
}

static bool post_load(void *obj, GError **err)
{
    VirtioBalloon *s = obj;
    uint64_t all = machine_of(s)->cfg.ram_size / PAGE;

    return (s->num_pages <= all && s->actual <= all) ||
           fail(err, "the saved state of virtio-balloon has more pages than there is memory");
}

static const StateField fields[] = {
    VIRTIO_STATE(VirtioBalloon, v),
    STATE_U32(VirtioBalloon, num_pages),
    STATE_U32(VirtioBalloon, actual),
    STATE_END_FIELD,
};
static const StateTable state = {
    .name = "virtio-balloon", .version = 1, .fields = fields, .post_load = post_load};

static const VirtioClass balloon_class = {
    .name = "virtio-balloon",
    .id = VIRTIO_ID_BALLOON,
    .legacy_pci_id = 0x1002,
    .pci_class = 0x00ff00,
    .realize = balloon_realize,
    .unrealize = balloon_unrealize,
    .reset = balloon_reset,
    .get_config = get_config,
    .set_config = set_config,
};

#define PROPS(T)                                                                                   \
    {"deflate-on-oom", PROP_BOOL, offsetof(T, d.deflate_on_oom), "off",                            \
     "the guest may take pages back when it has none left"},

VIRTIO_PCI_TYPE(VirtioBalloon, virtio_balloon, "virtio-balloon", "virtio-balloon",
                "virtio memory balloon", balloon_class, state, PROPS);
VIRTIO_BUS_TYPE(VirtioBalloon, virtio_balloon, "virtio-balloon", "virtio memory balloon",
                balloon_class, state, PROPS);
