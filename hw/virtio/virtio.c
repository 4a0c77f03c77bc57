/*
 * virtio device core: VIRTIO 1.2, chapter 2 (status, features, configuration space) and its legacy
 * sections; see virtio.h. Rings are in virtqueue.c.
 */
#include "hw/virtio/virtio.h"
#include "core/log.h"
#include <stdarg.h>
#include <string.h>

#define FEATURE_IMPOSSIBLE                                                                         \
    VIRTIO_BIT(49) /* reserved, never offered: a driver accepted what is not there */

/* ---- queues ---- */

static void unmap_queues(VirtioDevice *v)
{
    for (unsigned i = 0; i < v->n_queues; i++) {
        v->vq[i].mapped = false;
    }
}

static void queue_reset(VirtQueue *q)
{
    q->size = q->max_size;
    q->ready = q->mapped = q->signalled_valid = q->quiet = false;
    q->vector = VIRTIO_NO_VECTOR;
    q->desc = q->avail = q->used = 0;
    q->last_avail = q->used_idx = q->signalled = q->in_use = q->budget = 0;
}

VirtQueue *virtio_add_queue(VirtioDevice *v, uint16_t max_size, VirtQueueHandler *handler)
{
    VirtQueue *q = &v->vq[v->n_queues];

    g_assert(v->n_queues < VIRTIO_MAX_QUEUES && max_size && max_size <= VIRTQ_MAX_SIZE);
    *q = (VirtQueue){
        .v = v, .handler = handler, .index = (uint16_t)v->n_queues, .max_size = max_size};
    queue_reset(q);
    v->n_queues++;
    return q;
}

VirtQueue *virtio_queue(VirtioDevice *v, uint32_t n)
{
    return n < v->n_queues ? &v->vq[n] : NULL;
}

VirtQueue *virtio_selected(VirtioDevice *v)
{
    return virtio_queue(v, v->queue_sel);
}

void virtq_set_size(VirtQueue *q, uint32_t size)
{
    if (q->ready || !size || size > q->max_size || (size & (size - 1))) {
        guest_error("%s: size %u for queue %u", q->v->cls->name, size, q->index);
        return;
    }
    q->size = (uint16_t)size;
}

static void queue_start(VirtQueue *q, bool ready)
{
    q->last_avail = q->used_idx = q->signalled = 0;
    q->mapped = q->signalled_valid = q->quiet = false;
    q->ready = ready;
}

void virtq_set_ready(VirtQueue *q, bool ready)
{
    if (ready != q->ready) {
        queue_start(q, ready);
    }
}

void virtq_set_legacy_addr(VirtQueue *q, uint64_t addr, uint32_t align)
{
    q->desc = addr;
    q->avail = addr + 16u * q->size;
    q->used = (q->avail + 6 + 2u * q->size + align - 1) & ~((uint64_t)align - 1);
    queue_start(q, addr != 0);
}

static void run_queue(VirtQueue *q)
{
    if (q->handler && virtq_live(q)) {
        q->budget = q->size;
        q->handler(q->v, q);
        q->budget = 0;
    }
}

void virtio_kick(VirtioDevice *v, uint32_t n)
{
    VirtQueue *q = virtio_queue(v, n);

    if (q) {
        run_queue(q);
    } else {
        guest_error("%s: kick of queue %u of %u", v->cls->name, n, v->n_queues);
    }
}

void virtio_later(VirtQueue *q)
{
    VirtioDevice *v = q->v;

    v->pending |= VIRTIO_BIT(q->index);
    if (!timer_pending(&v->turn)) {
        timer_set(&v->turn, clock_now(v->dev->machine->virtual_clock));
    }
}

static void next_turn(void *opaque)
{
    VirtioDevice *v = opaque;
    uint64_t todo = v->pending;

    v->pending = 0;
    for (unsigned i = 0; i < v->n_queues; i++) {
        if (todo & VIRTIO_BIT(i)) {
            run_queue(&v->vq[i]);
        }
    }
}

/* ---- status and features ---- */

bool virtio_running(const VirtioDevice *v)
{
    uint8_t need = VIRTIO_DRIVER_OK | VIRTIO_FEATURES_OK;

    /* Legacy drivers use queues before they say that they are ready (1.2, 3.1.2). */
    return !v->broken && (!v->modern || (v->status & need) == need) &&
           v->transport->may_dma((VirtioDevice *)v);
}

void virtio_broken(VirtioDevice *v, const char *fmt, ...)
{
    va_list ap;

    if (v->broken) {
        return;
    }
    va_start(ap, fmt);
    g_autofree char *why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    guest_error("%s: %s; it stops until the driver resets it", v->cls->name, why);
    v->broken = true;
    if (virtio_has(v, VIRTIO_F_VERSION_1)) {
        v->status |= VIRTIO_NEEDS_RESET;
        virtio_config_changed(v);
    }
}

void virtio_config_changed(VirtioDevice *v)
{
    v->config_gen++;
    if (v->status & VIRTIO_DRIVER_OK) {
        v->transport->notify_config(v);
    }
}

uint32_t virtio_host_features(const VirtioDevice *v, uint32_t sel, bool legacy)
{
    uint64_t f = legacy ? (uint32_t)v->host_features : v->host_features & ~VIRTIO_F_ANY_LAYOUT;

    return sel > 1 ? 0 : (uint32_t)(f >> 32 * sel);
}

void virtio_set_features(VirtioDevice *v, uint32_t sel, uint32_t val, bool legacy)
{
    if (v->status & (legacy ? VIRTIO_DRIVER_OK : VIRTIO_FEATURES_OK)) {
        guest_error("%s: features are agreed on already", v->cls->name);
        return;
    }
    unmap_queues(v);
    if (legacy) {
        v->guest_features = sel ? v->guest_features : val & v->host_features & UINT32_MAX;
    } else if (sel > 1) {
        v->guest_features |= val ? FEATURE_IMPOSSIBLE : 0;
    } else {
        v->guest_features &= ~((uint64_t)UINT32_MAX << 32 * sel);
        v->guest_features |= (uint64_t)val << 32 * sel;
    }
}

static bool features_acceptable(const VirtioDevice *v)
{
    uint64_t offered = v->host_features & ~VIRTIO_F_ANY_LAYOUT;

    return !(v->guest_features & ~offered) && virtio_has(v, VIRTIO_F_VERSION_1);
}

void virtio_set_status(VirtioDevice *v, uint8_t status, bool legacy)
{
    uint8_t rising = status & ~v->status;

    if (status == 0) {
        virtio_reset(v);
        return;
    }
    v->modern = !legacy;
    if ((rising & VIRTIO_FEATURES_OK) && !legacy && !features_acceptable(v)) {
        guest_error("%s: the driver accepts features that are not offered, or not version 1",
                    v->cls->name);
        status &= ~VIRTIO_FEATURES_OK;
        rising &= ~VIRTIO_FEATURES_OK;
    }
    v->status = status | (v->status & VIRTIO_NEEDS_RESET);
    if (!(rising & VIRTIO_DRIVER_OK) || !(legacy || (status & VIRTIO_FEATURES_OK))) {
        return;
    }
    if (v->cls->start) {
        v->cls->start(v);
    }
    for (unsigned i = 0; i < v->n_queues; i++) {
        run_queue(&v->vq[i]);
    }
}

void virtio_reset(VirtioDevice *v)
{
    /* What comes back while the class lets go must not reach the rings. */
    v->broken = true;
    v->cls->reset(v);
    timer_del(&v->turn);
    v->pending = 0;
    v->broken = v->modern = false;
    v->status = v->isr = v->config_gen = 0;
    v->guest_features = 0;
    v->feature_sel = v->guest_feature_sel = 0;
    v->queue_sel = 0;
    v->config_vector = VIRTIO_NO_VECTOR;
    for (unsigned i = 0; i < v->n_queues; i++) {
        queue_reset(&v->vq[i]);
    }
}

/* ---- configuration space ---- */

uint32_t virtio_config_read(VirtioDevice *v, unsigned off, unsigned size)
{
    uint8_t cfg[VIRTIO_MAX_CONFIG] = {0};
    uint32_t val = 0;

    if (!v->cls->get_config || off >= v->config_size || size > v->config_size - off) {
        return UINT32_MAX >> (32 - 8 * size);
    }
    v->cls->get_config(v, cfg);
    for (unsigned i = 0; i < size; i++) {
        val |= (uint32_t)cfg[off + i] << 8 * i;
    }
    return val;
}

void virtio_config_write(VirtioDevice *v, unsigned off, uint32_t val, unsigned size)
{
    uint8_t cfg[VIRTIO_MAX_CONFIG] = {0};

    if (!v->cls->set_config || off >= v->config_size || size > v->config_size - off) {
        guest_error("%s: write to configuration space at %u", v->cls->name, off);
        return;
    }
    v->cls->get_config(v, cfg);
    for (unsigned i = 0; i < size; i++) {
        cfg[off + i] = (uint8_t)(val >> 8 * i);
    }
    v->cls->set_config(v, cfg, off, size);
}

/* ---- life ---- */

static void take_view(VirtioDevice *v)
{
    FlatView *old = v->view;

    v->view = mem_view_get(v->dma);
    if (old) {
        mem_view_put(old);
    }
    unmap_queues(v);
}

static void map_changed(void *opaque, MemSpace *space, const FlatView *old, const FlatView *now)
{
    take_view(opaque);
}

bool virtio_init(VirtioDevice *v, const VirtioClass *cls, Device *dev, MemSpace *dma,
                 const VirtioTransport *transport, void *transport_data, GError **err)
{
    v->cls = cls;
    v->dev = dev;
    v->dma = dma;
    v->transport = transport;
    v->transport_data = transport_data;
    v->n_queues = 0;
    v->host_features = 0;
    v->config_vector = VIRTIO_NO_VECTOR;
    timer_init(&v->turn, dev->machine->virtual_clock, next_turn, v);
    if (!cls->realize(v, err)) {
        return false;
    }
    g_assert(v->config_size <= VIRTIO_MAX_CONFIG);
    v->host_features |= VIRTIO_F_VERSION_1 | (v->any_layout ? VIRTIO_F_ANY_LAYOUT : 0) |
                        (v->indirect_desc ? VIRTIO_F_INDIRECT_DESC : 0) |
                        (v->event_idx ? VIRTIO_F_EVENT_IDX : 0);
    v->listener = (MemListener){map_changed, v};
    mem_space_add_listener(dma, &v->listener);
    take_view(v);
    return true;
}

void virtio_fini(VirtioDevice *v)
{
    v->broken = true;
    timer_del(&v->turn);
    if (v->cls->unrealize) {
        v->cls->unrealize(v);
    }
    mem_space_del_listener(v->dma, &v->listener);
    mem_view_put(v->view);
    v->view = NULL;
}

/* ---- saved state ---- */

static const StateField queue_fields[] = {
    STATE_U16(VirtQueue, size),       STATE_BOOL(VirtQueue, ready),
    STATE_U16(VirtQueue, vector),     STATE_U64(VirtQueue, desc),
    STATE_U64(VirtQueue, avail),      STATE_U64(VirtQueue, used),
    STATE_U16(VirtQueue, last_avail), STATE_U16(VirtQueue, used_idx),
    STATE_U16(VirtQueue, signalled),  STATE_BOOL(VirtQueue, signalled_valid),
    STATE_BOOL(VirtQueue, quiet),     STATE_END_FIELD,
};
static const StateTable queue_state = {.name = "queue", .version = 1, .fields = queue_fields};

static bool post_load(void *obj, GError **err)
{
    VirtioDevice *v = obj;
    uint64_t offered = v->host_features | FEATURE_IMPOSSIBLE;

    if ((v->status & VIRTIO_DRIVER_OK) && (v->guest_features & ~offered)) {
        return fail(err, "the saved state of %s uses features that are not offered here",
                    v->dev->type->name);
    }
    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
        VirtQueue *q = &v->vq[i];
        bool none = i >= v->n_queues;
        if (none ? q->ready || q->size
                 : !q->size || q->size > q->max_size || (q->size & (q->size - 1))) {
            return fail(err, "the saved state of %s has an impossible queue %u", v->dev->type->name,
                        i);
        }
        q->mapped = false;
        q->in_use = q->budget = 0;
        if (q->ready) {
            virtio_later(q); /* a turn too many does no harm */
        }
    }
    return true;
}

static const StateField fields[] = {
    STATE_U64(VirtioDevice, guest_features),
    STATE_BOOL(VirtioDevice, broken),
    STATE_BOOL(VirtioDevice, modern),
    STATE_U8(VirtioDevice, status),
    STATE_U8(VirtioDevice, isr),
    STATE_U8(VirtioDevice, config_gen),
    STATE_U16(VirtioDevice, config_vector),
    STATE_U32(VirtioDevice, feature_sel),
    STATE_U32(VirtioDevice, guest_feature_sel),
    STATE_U16(VirtioDevice, queue_sel),
    STATE_STRUCT_ARRAY(VirtioDevice, vq, VirtQueue, &queue_state),
    STATE_END_FIELD,
};

const StateTable virtio_state = {
    .name = "virtio", .version = 1, .fields = fields, .post_load = post_load};
