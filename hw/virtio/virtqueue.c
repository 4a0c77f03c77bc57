/*
 * Split virtqueues: VIRTIO 1.2, section 2.7, with indirect descriptors (2.7.5.3) and event indexes
 * (2.7.7, 2.7.10).
 *
 * The three parts of a ring must lie in the machine's RAM; their host addresses are kept until the
 * memory map changes. Buffers may lie anywhere: what is not RAM is reached by ordinary DMA.
 * Everything read from a ring is read once and checked; a chain has at most VIRTQ_MAX_SIZE parts.
 */
#include "core/log.h"
#include "hw/virtio/virtio.h"
#include <inttypes.h>
#include <string.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_SIZE = 16 };
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };
enum { RING_HEAD = 4 }; /* flags and idx of both rings */

typedef struct Desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
} Desc;

/* ---- memory ---- */

/* Fills @s for [addr, addr + len); s->host stays NULL where it is not the machine's RAM. */
static void resolve(VirtioDevice *v, uint64_t addr, uint32_t len, bool write, VirtSeg *s)
{
    const FlatRange *r = mem_view_find(v->view, addr);

    s->addr = addr;
    s->len = len;
    s->host = NULL;
    if (!r || r->region != v->dev->machine->ram || (write && r->readonly) ||
        len > r->size - (addr - r->addr)) {
        return;
    }
    s->region = r->region;
    s->off = r->off + (addr - r->addr);
    s->host = r->region->host + s->off;
}

static bool map_part(VirtQueue *q, const char *what, uint64_t addr, uint32_t len, unsigned align,
                     bool write, VirtSeg *s)
{
    resolve(q->v, addr, len, write, s);
    if (s->host && !((uintptr_t)s->host & (align - 1))) {
        return true;
    }
    virtio_broken(q->v, "%s of queue %u at %" PRIx64 " is not aligned memory", what, q->index,
                  addr);
    return false;
}

static bool map_ring(VirtQueue *q)
{
    unsigned event = virtio_has(q->v, VIRTIO_F_EVENT_IDX) ? 2 : 0;

    if (q->mapped) {
        return true;
    }
    q->mapped =
        map_part(q, "descriptors", q->desc, DESC_SIZE * q->size, 16, false, &q->m_desc) &&
        map_part(q, "available ring", q->avail, RING_HEAD + 2 * q->size + event, 2, false,
                 &q->m_avail) &&
        map_part(q, "used ring", q->used, RING_HEAD + 8 * q->size + event, 4, true, &q->m_used);
    return q->mapped;
}

static uint16_t load16(const uint8_t *p)
{
    return GUINT16_FROM_LE(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}

static void store_used16(VirtQueue *q, unsigned off, uint16_t val)
{
    __atomic_store_n((uint16_t *)(q->m_used.host + off), GUINT16_TO_LE(val), __ATOMIC_RELEASE);
    mem_set_dirty(q->m_used.region, q->m_used.off + off, 2);
}

/* ---- the available ring ---- */

bool virtq_live(VirtQueue *q)
{
    return q->ready && virtio_running(q->v);
}

/* Buffers that wait; -1 when the ring is broken. Found empty, it asks for a kick. */
static int waiting(VirtQueue *q)
{
    for (unsigned look = 0;; look++) {
        uint16_t n = load16(q->m_avail.host + 2) - q->last_avail;
        if (n > q->size) {
            virtio_broken(q->v, "queue %u of %u has %u buffers", q->index, q->size, n);
            return -1;
        }
        if (n || q->quiet || look || !virtio_has(q->v, VIRTIO_F_EVENT_IDX)) {
            return n;
        }
        /* What comes between the look and the wish for a kick is seen by the second look. */
        store_used16(q, RING_HEAD + 8 * q->size, q->last_avail);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
}

bool virtq_has(VirtQueue *q)
{
    return virtq_live(q) && map_ring(q) && waiting(q) > 0;
}

typedef struct Walk {
    VirtQueue *q;
    const uint8_t *table;
    unsigned entries; /* of the table */
    unsigned n, n_out;
    uint64_t out_len, in_len;
    VirtSeg seg[VIRTQ_MAX_SIZE];
} Walk;

static bool enter_indirect(Walk *w, const Desc *d)
{
    VirtioDevice *v = w->q->v;
    VirtSeg s;

    if (!virtio_has(v, VIRTIO_F_INDIRECT_DESC) || (d->flags & DESC_NEXT) || d->len == 0 ||
        d->len % DESC_SIZE || d->len / DESC_SIZE > VIRTQ_MAX_SIZE) {
        virtio_broken(v, "queue %u: bad indirect descriptor, flags %x, %u bytes", w->q->index,
                      d->flags, d->len);
        return false;
    }
    resolve(v, d->addr, d->len, false, &s);
    if (!s.host) {
        virtio_broken(v, "queue %u: no memory at %" PRIx64 " for descriptors", w->q->index,
                      d->addr);
        return false;
    }
    w->table = s.host;
    w->entries = d->len / DESC_SIZE;
    return true;
}

static bool add_segment(Walk *w, const Desc *d)
{
    VirtioDevice *v = w->q->v;
    bool in = d->flags & DESC_WRITE;

    if (w->n == VIRTQ_MAX_SIZE || (!in && w->n > w->n_out) || d->addr + d->len < d->addr) {
        virtio_broken(v, "queue %u: bad chain of descriptors", w->q->index);
        return false;
    }
    resolve(v, d->addr, d->len, in, &w->seg[w->n++]);
    *(in ? &w->in_len : &w->out_len) += d->len;
    w->n_out += !in;
    return true;
}

static Desc load_desc(const uint8_t *p)
{
    return (Desc){virtio_get64(p), virtio_get32(p + 8), virtio_get16(p + 12), virtio_get16(p + 14)};
}

static bool walk_chain(Walk *w, unsigned head)
{
    bool indirect = false;

    for (unsigned i = head, seen = 0;;) {
        if (i >= w->entries || seen++ >= w->entries) {
            virtio_broken(w->q->v, "queue %u: descriptors in a loop, or number %u of %u",
                          w->q->index, i, w->entries);
            return false;
        }
        const Desc d = load_desc(w->table + i * DESC_SIZE);
        if (d.flags & DESC_INDIRECT) {
            if (indirect || !enter_indirect(w, &d)) {
                virtio_broken(w->q->v, "queue %u: bad indirect descriptors", w->q->index);
                return false;
            }
            indirect = true;
            i = seen = 0;
            continue;
        }
        if (!add_segment(w, &d)) {
            return false;
        }
        if (!(d.flags & DESC_NEXT)) {
            return true;
        }
        i = d.next;
    }
}

VirtElem *virtq_pop(VirtQueue *q)
{
    Walk w;

    if (!virtq_live(q) || !map_ring(q) || waiting(q) <= 0) {
        return NULL;
    }
    if (q->in_use >= q->size) {
        virtio_broken(q->v, "queue %u: more buffers than its %u places", q->index, q->size);
        return NULL;
    }
    uint16_t slot = q->last_avail & (q->size - 1);
    uint16_t head = load16(q->m_avail.host + RING_HEAD + 2 * slot);
    w.q = q;
    w.table = q->m_desc.host;
    w.entries = q->size;
    w.n = w.n_out = 0;
    w.out_len = w.in_len = 0;
    if (!walk_chain(&w, head)) {
        return NULL;
    }
    VirtElem *e = g_malloc(sizeof(*e) + w.n * sizeof(VirtSeg));
    e->head = head;
    e->n_out = w.n_out;
    e->n_in = w.n - w.n_out;
    e->out_len = w.out_len;
    e->in_len = w.in_len;
    memcpy(e->seg, w.seg, w.n * sizeof(VirtSeg));
    q->last_avail++;
    q->in_use++;
    return e;
}

VirtElem *virtq_next(VirtQueue *q)
{
    if (q->budget) {
        q->budget--;
        return virtq_pop(q);
    }
    if (virtq_has(q)) {
        virtio_later(q);
    }
    return NULL;
}

/* ---- the used ring ---- */

void virtq_drop(VirtQueue *q, VirtElem *e)
{
    q->in_use -= q->in_use > 0;
    g_free(e);
}

void virtq_unpop(VirtQueue *q, VirtElem *e)
{
    q->last_avail--;
    virtq_drop(q, e);
}

void virtq_fill(VirtQueue *q, VirtElem *e, uint32_t written, unsigned n)
{
    if (virtq_live(q) && map_ring(q)) {
        unsigned off = RING_HEAD + 8 * ((q->used_idx + n) & (q->size - 1));
        virtio_put32(q->m_used.host + off, e->head);
        virtio_put32(q->m_used.host + off + 4, written);
        mem_set_dirty(q->m_used.region, q->m_used.off + off, 8);
    }
    virtq_drop(q, e);
}

void virtq_flush(VirtQueue *q, unsigned count)
{
    if (count && virtq_live(q) && map_ring(q)) {
        q->used_idx += count;
        store_used16(q, 2, q->used_idx);
    }
}

void virtq_push(VirtQueue *q, VirtElem *e, uint32_t written)
{
    virtq_fill(q, e, written, 0);
    virtq_flush(q, 1);
}

static bool wants_interrupt(VirtQueue *q)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!virtio_has(q->v, VIRTIO_F_EVENT_IDX)) {
        return !(load16(q->m_avail.host) & AVAIL_NO_INTERRUPT);
    }
    uint16_t event = load16(q->m_avail.host + RING_HEAD + 2 * q->size), old = q->signalled;
    bool valid = q->signalled_valid;
    q->signalled = q->used_idx;
    q->signalled_valid = true;
    return !valid || (uint16_t)(q->used_idx - event - 1) < (uint16_t)(q->used_idx - old);
}

void virtq_notify(VirtQueue *q)
{
    if (virtq_live(q) && map_ring(q) && wants_interrupt(q)) {
        q->v->transport->notify_queue(q->v, q);
    }
}

void virtq_want_kicks(VirtQueue *q, bool want)
{
    bool was = !q->quiet;

    q->quiet = !want;
    if (want == was || !virtq_live(q) || !map_ring(q)) {
        return;
    }
    if (!virtio_has(q->v, VIRTIO_F_EVENT_IDX)) {
        store_used16(q, 0, want ? 0 : USED_NO_NOTIFY);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
}

/* ---- buffers ---- */

typedef void Copy(VirtioDevice *v, const VirtSeg *s, uint32_t off, uint8_t *buf, size_t n);

static void copy_from(VirtioDevice *v, const VirtSeg *s, uint32_t off, uint8_t *buf, size_t n)
{
    if (s->host) {
        memcpy(buf, s->host + off, n);
        return;
    }
    v->outside++;
    if (!mem_read(v->dma, s->addr + off, buf, n)) {
        guest_error("%s reads a buffer at %" PRIx64 ", where nothing is", v->cls->name, s->addr);
    }
    v->outside--;
}

static void copy_to(VirtioDevice *v, const VirtSeg *s, uint32_t off, uint8_t *buf, size_t n)
{
    if (s->host) {
        memcpy(s->host + off, buf, n);
        mem_set_dirty(s->region, s->off + off, n);
        return;
    }
    v->outside++;
    if (!mem_write(v->dma, s->addr + off, buf, n)) {
        guest_error("%s writes a buffer at %" PRIx64 ", where nothing is", v->cls->name, s->addr);
    }
    v->outside--;
}

static size_t copy(VirtioDevice *v, const VirtSeg *s, unsigned n_seg, uint64_t off, uint8_t *buf,
                   size_t len, Copy *fn)
{
    size_t done = 0;

    for (; n_seg && done < len; s++, n_seg--) {
        if (off >= s->len) {
            off -= s->len;
            continue;
        }
        size_t n = MIN(len - done, s->len - off);
        fn(v, s, (uint32_t)off, buf + done, n);
        done += n;
        off = 0;
    }
    return done;
}

size_t virtelem_get(VirtioDevice *v, const VirtElem *e, uint64_t off, void *buf, size_t len)
{
    return copy(v, e->seg, e->n_out, off, buf, len, copy_from);
}

size_t virtelem_put(VirtioDevice *v, const VirtElem *e, uint64_t off, const void *buf, size_t len)
{
    return copy(v, e->seg + e->n_out, e->n_in, off, (uint8_t *)buf, len, copy_to);
}

int virtelem_iov(const VirtElem *e, bool in, uint64_t off, uint64_t len, struct iovec *iov,
                 unsigned max)
{
    const VirtSeg *s = e->seg + (in ? e->n_out : 0);
    unsigned n_seg = in ? e->n_in : e->n_out, n = 0;

    for (; n_seg && len; s++, n_seg--) {
        if (off >= s->len) {
            off -= s->len;
            continue;
        }
        if (!s->host || n == max) {
            return -1;
        }
        uint64_t k = MIN(len, s->len - off);
        iov[n++] = (struct iovec){s->host + off, k};
        len -= k;
        off = 0;
    }
    return len ? -1 : (int)n;
}

void virtelem_dirty(const VirtElem *e, uint64_t off, uint64_t len)
{
    const VirtSeg *s = e->seg + e->n_out;

    for (unsigned n = e->n_in; n && len; s++, n--) {
        if (off >= s->len) {
            off -= s->len;
            continue;
        }
        uint64_t k = MIN(len, s->len - off);
        if (s->host) {
            mem_set_dirty(s->region, s->off + off, k);
        }
        len -= k;
        off = 0;
    }
}
