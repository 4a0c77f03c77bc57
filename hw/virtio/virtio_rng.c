/*
 * virtio entropy device: VIRTIO 1.2, section 5.4. Random numbers are the host kernel's
 * (getrandom(2)); max-bytes in each period milliseconds limit what a guest takes.
 */
#include "core/log.h"
#include "hw/virtio/virtio_types.h"
#include <sys/random.h>

#define CHUNK 256 /* getrandom() gives that many at once, uninterrupted */
#define BUFFER_MAX 65536

typedef struct VirtioRng {
    VirtioDevice v;
    uint64_t max_bytes; /* 0: no limit */
    uint32_t period;    /* ms */
    uint64_t left;
    Timer refill; /* runs while less than all is left */
} VirtioRng;

static uint32_t fill(VirtioRng *s, const VirtElem *e)
{
    uint64_t want = MIN(e->in_len, BUFFER_MAX), done = 0;
    uint8_t buf[CHUNK];

    want = s->max_bytes ? MIN(want, s->left) : want;
    while (done < want) {
        ssize_t n = getrandom(buf, MIN(sizeof(buf), want - done), 0);
        if (n <= 0) {
            break;
        }
        done += virtelem_put(&s->v, e, done, buf, (size_t)n);
    }
    return (uint32_t)done;
}

static void handle(VirtioDevice *v, VirtQueue *q)
{
    VirtioRng *s = (VirtioRng *)v;
    VirtElem *e;

    while ((!s->max_bytes || s->left) && (e = virtq_next(q))) {
        uint32_t n = fill(s, e);
        s->left -= s->max_bytes ? n : 0;
        virtq_push(q, e, n);
        virtq_notify(q);
    }
    if (s->max_bytes && s->left < s->max_bytes && !timer_pending(&s->refill)) {
        timer_set(&s->refill,
                  clock_now(v->dev->machine->virtual_clock) + (int64_t)s->period * 1000000);
    }
}

static void refill(void *opaque)
{
    VirtioRng *s = opaque;

    s->left = s->max_bytes;
    virtio_kick(&s->v, 0);
}

static void rng_reset(VirtioDevice *v)
{
    VirtioRng *s = (VirtioRng *)v;

    /* A driver that resets does not get more than the limit. */
    if (!timer_pending(&s->refill)) {
        s->left = s->max_bytes;
    }
}

static bool rng_realize(VirtioDevice *v, GError **err)
{
    VirtioRng *s = (VirtioRng *)v;

    if (!s->period) {
        return fail(err, "%s: period must be at least 1 ms", v->dev->type->name);
    }
    virtio_add_queue(v, 8, handle);
    timer_init(&s->refill, v->dev->machine->virtual_clock, refill, s);
    return true;
}

static void rng_unrealize(VirtioDevice *v)
{
    timer_del(&((VirtioRng *)v)->refill);
}

static bool post_load(void *obj, GError **err)
{
    VirtioRng *s = obj;

    s->left = MIN(s->left, s->max_bytes);
    return true;
}

static const StateField fields[] = {
    VIRTIO_STATE(VirtioRng, v),
    STATE_U64(VirtioRng, left),
    STATE_TIMER(VirtioRng, refill),
    STATE_END_FIELD,
};
static const StateTable state = {
    .name = "virtio-rng", .version = 1, .fields = fields, .post_load = post_load};

static const VirtioClass rng_class = {
    .name = "virtio-rng",
    .id = VIRTIO_ID_RNG,
    .legacy_pci_id = 0x1005,
    .pci_class = 0x00ff00,
    .realize = rng_realize,
    .unrealize = rng_unrealize,
    .reset = rng_reset,
};

#define PROPS(T)                                                                                   \
    {"max-bytes", PROP_U64, offsetof(T, d.max_bytes), NULL, "bytes in a period; 0: any number"},   \
        {"period", PROP_U32, offsetof(T, d.period), "65536", "length of a period in ms"},

VIRTIO_PCI_TYPE(VirtioRng, virtio_rng, "virtio-rng", "virtio-rng", "virtio entropy source",
                rng_class, state, PROPS);
VIRTIO_BUS_TYPE(VirtioRng, virtio_rng, "virtio-rng", "virtio entropy source", rng_class, state,
                PROPS);
