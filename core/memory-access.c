/* Accesses through a flat view: finding the range, splitting, device callbacks, DMA. */
#include "core/log.h"
#include "core/machine.h"
#include "core/memory.h"
#include <inttypes.h>
#include <string.h>

static inline uint64_t ones(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (1ull << (size * 8)) - 1;
}

static inline uint64_t swap(uint64_t v, unsigned size)
{
    switch (size) {
    case 2:
        return __builtin_bswap16(v);
    case 4:
        return __builtin_bswap32(v);
    case 8:
        return __builtin_bswap64(v);
    default:
        return v;
    }
}

/* Single copies of the natural sizes, so that aligned ones are single accesses. */
static inline uint64_t host_load(const uint8_t *p, unsigned size)
{
    uint16_t w;
    uint32_t l;
    uint64_t q;

    switch (size) {
    case 1:
        return *p;
    case 2:
        memcpy(&w, p, 2);
        return GUINT16_FROM_LE(w);
    case 4:
        memcpy(&l, p, 4);
        return GUINT32_FROM_LE(l);
    default:
        memcpy(&q, p, 8);
        return GUINT64_FROM_LE(q);
    }
}

static inline void host_store(uint8_t *p, uint64_t val, unsigned size)
{
    uint16_t w = GUINT16_TO_LE(val);
    uint32_t l = GUINT32_TO_LE(val);
    uint64_t q = GUINT64_TO_LE(val);

    switch (size) {
    case 1:
        *p = val;
        break;
    case 2:
        memcpy(p, &w, 2);
        break;
    case 4:
        memcpy(p, &l, 4);
        break;
    default:
        memcpy(p, &q, 8);
    }
}

/* Index of the first range that ends after @addr; view->n if none. */
static inline unsigned view_index(const FlatView *v, uint64_t addr)
{
    unsigned lo = 0, n = v->n;

    while (n) {
        unsigned half = n / 2;
        const FlatRange *r = &v->ranges[lo + half];
        bool right = addr >= r->addr && addr - r->addr >= r->size;
        if (right) {
            lo += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return lo;
}

const FlatRange *mem_view_find(const FlatView *v, uint64_t addr)
{
    unsigned i = view_index(v, addr);

    return i < v->n && v->ranges[i].addr <= addr ? &v->ranges[i] : NULL;
}

/* ---- device callbacks ---- */

static inline unsigned impl_min(const MemOps *ops)
{
    return ops->impl_min ? ops->impl_min : 1;
}

static inline unsigned impl_max(const MemOps *ops)
{
    return ops->impl_max ? ops->impl_max : 4;
}

static bool io_refused(const MemRegion *r, uint64_t off, unsigned size, const char *what)
{
    const MemOps *ops = r->ops;

    if (size >= ops->valid_min && size <= (ops->valid_max ? ops->valid_max : 8)) {
        return false;
    }
    guest_error("%s: %s of %u bytes at 0x%" PRIx64 " is not possible", r->name, what, size, off);
    return true;
}

/* Widest natural piece at @off of what is left. */
static unsigned io_piece(const MemOps *ops, uint64_t off, unsigned left)
{
    unsigned n = impl_max(ops);

    while (n > left || off & (n - 1)) {
        n /= 2;
    }
    return n;
}

/* One callback, of a width and place that the device takes. */
static uint64_t io_read_one(MemRegion *r, uint64_t off, unsigned size)
{
    uint64_t v = r->ops->read ? r->ops->read(r->opaque, off, size) : UINT64_MAX;

    v &= ones(size);
    return r->ops->big_endian ? swap(v, size) : v;
}

static void io_write_one(MemRegion *r, uint64_t off, uint64_t val, unsigned size)
{
    if (r->ops->write) {
        val &= ones(size);
        r->ops->write(r->opaque, off, r->ops->big_endian ? swap(val, size) : val, size);
    }
}

static uint64_t io_read(MemRegion *r, uint64_t off, unsigned size)
{
    const MemOps *ops = r->ops;
    unsigned min = impl_min(ops);
    uint64_t v = 0;

    if (size >= min && size <= impl_max(ops) && (ops->unaligned || !(off & (size - 1)))) {
        return io_read_one(r, off, size);
    }
    for (unsigned done = 0, n; done < size; done += n) {
        uint64_t at = off + done, word = at & ~(uint64_t)(min - 1), x;
        n = io_piece(ops, at, size - done);
        if (n >= min) {
            x = io_read_one(r, at, n);
        } else if (word + min <= r->size) {
            x = io_read_one(r, word, min) >> ((at - word) * 8);
        } else {
            x = UINT64_MAX;
        }
        v |= (x & ones(n)) << (done * 8);
    }
    return v;
}

/* A piece narrower than the device's registers is merged into what a read gives. */
static void io_write_narrow(MemRegion *r, uint64_t at, uint64_t val, unsigned n)
{
    unsigned min = impl_min(r->ops);
    uint64_t word = at & ~(uint64_t)(min - 1);

    if (word + min > r->size) {
        return;
    }
    unsigned shift = (at - word) * 8;
    uint64_t old = io_read_one(r, word, min);
    io_write_one(r, word, (old & ~(ones(n) << shift)) | (val & ones(n)) << shift, min);
}

static void io_write(MemRegion *r, uint64_t off, uint64_t val, unsigned size)
{
    const MemOps *ops = r->ops;
    unsigned min = impl_min(ops);

    if (size >= min && size <= impl_max(ops) && (ops->unaligned || !(off & (size - 1)))) {
        io_write_one(r, off, val, size);
        return;
    }
    for (unsigned done = 0, n; done < size; done += n) {
        n = io_piece(ops, off + done, size - done);
        if (n >= min) {
            io_write_one(r, off + done, val >> (done * 8), n);
        } else {
            io_write_narrow(r, off + done, val >> (done * 8), n);
        }
    }
}

/* Rule 4. Lock-free devices look after themselves. */
static bool io_enter(MemRegion *r, bool in_lock, bool *locked)
{
    *locked = false;
    if (r->ops->lockless) {
        return true;
    }
    if (!in_lock) {
        machine_lock();
        *locked = true;
    }
    if (r->busy) {
        guest_error("%s: the device was made to access itself", r->name);
        if (*locked) {
            machine_unlock();
        }
        return false;
    }
    r->busy = true;
    return true;
}

static void io_leave(MemRegion *r, bool locked)
{
    if (!r->ops->lockless) {
        r->busy = false;
    }
    if (locked) {
        machine_unlock();
    }
}

static uint64_t region_load(MemRegion *r, uint64_t off, unsigned size, bool in_lock)
{
    bool locked;

    if (r->kind != MEM_IO) {
        return host_load(r->host + off, size);
    }
    if (io_refused(r, off, size, "a read") || !io_enter(r, in_lock, &locked)) {
        return ones(size);
    }
    uint64_t v = io_read(r, off, size);
    io_leave(r, locked);
    return v;
}

static void region_store(MemRegion *r, uint64_t off, uint64_t val, unsigned size, bool in_lock)
{
    bool locked;

    if (r->kind != MEM_IO && !(r->kind == MEM_ROM && r->ops)) {
        /* In this order a translation or a picture made in between is noticed. */
        host_store(r->host + off, val, size);
        mem_set_dirty(r, off, size);
        return;
    }
    if (!io_refused(r, off, size, "a write") && io_enter(r, in_lock, &locked)) {
        io_write(r, off, val, size);
        io_leave(r, locked);
    }
}

/* Are guest writes to @range lost? */
static inline bool drops_writes(const FlatRange *range)
{
    return range->readonly && !(range->region->kind == MEM_ROM && range->region->ops);
}

/* ---- single accesses ---- */

uint64_t mem_range_load(const FlatRange *range, uint64_t addr, unsigned size, bool in_lock)
{
    uint64_t off = addr - range->addr;

    if (G_UNLIKELY(off >= range->size || range->size - off < size)) {
        return ones(size);
    }
    return region_load(range->region, range->off + off, size, in_lock);
}

void mem_range_store(const FlatRange *range, uint64_t addr, uint64_t val, unsigned size,
                     bool in_lock)
{
    uint64_t off = addr - range->addr;

    if (drops_writes(range) || G_UNLIKELY(off >= range->size || range->size - off < size)) {
        return;
    }
    region_store(range->region, range->off + off, val, size, in_lock);
}

uint64_t mem_view_load(const FlatView *v, uint64_t addr, unsigned size, bool in_lock)
{
    unsigned i = view_index(v, addr);
    const FlatRange *r = &v->ranges[i];

    if (i < v->n && r->addr <= addr) {
        uint64_t off = addr - r->addr;
        if (G_LIKELY(r->size - off >= size)) {
            return region_load(r->region, r->off + off, size, in_lock);
        }
    } else if (addr <= UINT64_MAX - size && (i == v->n || r->addr >= addr + size)) {
        return ones(size);
    }
    if (size == 1) {
        return 0xff;
    }
    /* Two places: each half by itself. */
    unsigned half = size / 2;
    uint64_t lo = mem_view_load(v, addr, half, in_lock);
    return lo | mem_view_load(v, addr + half, half, in_lock) << (half * 8);
}

void mem_view_store(const FlatView *v, uint64_t addr, uint64_t val, unsigned size, bool in_lock)
{
    unsigned i = view_index(v, addr);
    const FlatRange *r = &v->ranges[i];

    if (i < v->n && r->addr <= addr) {
        uint64_t off = addr - r->addr;
        if (G_LIKELY(r->size - off >= size)) {
            if (!drops_writes(r)) {
                region_store(r->region, r->off + off, val, size, in_lock);
            }
            return;
        }
    } else if (addr <= UINT64_MAX - size && (i == v->n || r->addr >= addr + size)) {
        return;
    }
    if (size == 1) {
        return;
    }
    unsigned half = size / 2;
    mem_view_store(v, addr, val, half, in_lock);
    mem_view_store(v, addr + half, val >> (half * 8), half, in_lock);
}

/* ---- devices and the monitor ---- */

/* Bytes from @addr that lie in one range, or in the hole before the next one. */
static uint64_t piece_at(const FlatView *v, uint64_t addr, uint64_t len, const FlatRange **range)
{
    unsigned i = view_index(v, addr);

    *range = NULL;
    if (i == v->n) {
        return len;
    }
    const FlatRange *r = &v->ranges[i];
    if (r->addr > addr) {
        return MIN(len, r->addr - addr);
    }
    *range = r;
    return MIN(len, r->size - (addr - r->addr));
}

/* Next access of a buffer that goes to a device: natural, and a width it takes. */
static unsigned dma_width(const MemRegion *r, uint64_t off, uint64_t left)
{
    unsigned n = r->ops->valid_max ? MIN(r->ops->valid_max, 8) : 8;

    while (n > left || off & (n - 1)) {
        n /= 2;
    }
    return n;
}

static void range_read(const FlatRange *range, uint64_t addr, uint8_t *buf, uint64_t len)
{
    MemRegion *r = range->region;
    uint64_t off = range->off + (addr - range->addr);

    if (r->kind != MEM_IO) {
        memcpy(buf, r->host + off, len);
        return;
    }
    for (unsigned n; len; len -= n, buf += n, off += n) {
        n = dma_width(r, off, len);
        host_store(buf, region_load(r, off, n, true), n);
    }
}

static void range_write(const FlatRange *range, uint64_t addr, const uint8_t *buf, uint64_t len,
                        bool rom)
{
    MemRegion *r = range->region;
    uint64_t off = range->off + (addr - range->addr);

    if (r->kind != MEM_IO) {
        if (rom || !range->readonly) {
            memcpy(r->host + off, buf, len);
            mem_set_dirty(r, off, len);
        }
        return;
    }
    if (range->readonly) {
        return;
    }
    for (unsigned n; len; len -= n, buf += n, off += n) {
        n = dma_width(r, off, len);
        region_store(r, off, host_load(buf, n), n, true);
    }
}

/* A callback may change the map under us: each piece looks at the view of its moment. */
bool mem_read(MemSpace *space, uint64_t addr, void *buf, uint64_t len)
{
    uint8_t *p = buf;
    bool ok = true;

    while (len) {
        const FlatRange *r;
        FlatView *v = mem_view_get(space);
        uint64_t n = piece_at(v, addr, len, &r);
        if (r) {
            range_read(r, addr, p, n);
        } else {
            memset(p, 0xff, n);
            ok = false;
        }
        mem_view_put(v);
        addr += n;
        p += n;
        len -= n;
    }
    return ok;
}

bool mem_write(MemSpace *space, uint64_t addr, const void *buf, uint64_t len)
{
    const uint8_t *p = buf;
    bool ok = true;

    while (len) {
        const FlatRange *r;
        FlatView *v = mem_view_get(space);
        uint64_t n = piece_at(v, addr, len, &r);
        if (r) {
            range_write(r, addr, p, n, false);
        } else {
            ok = false;
        }
        mem_view_put(v);
        addr += n;
        p += n;
        len -= n;
    }
    return ok;
}

bool mem_write_rom(MemSpace *space, uint64_t addr, const void *buf, uint64_t len)
{
    const uint8_t *p = buf;
    FlatView *v = mem_view_get(space);
    bool ok = true;

    while (len) {
        const FlatRange *r;
        uint64_t n = piece_at(v, addr, len, &r);
        if (r && r->region->kind != MEM_IO) {
            range_write(r, addr, p, n, true);
        } else {
            ok = false;
        }
        addr += n;
        p += n;
        len -= n;
    }
    mem_view_put(v);
    return ok;
}

uint64_t mem_load(MemSpace *space, uint64_t addr, unsigned size)
{
    FlatView *v = mem_view_get(space);
    uint64_t val = mem_view_load(v, addr, size, true);

    mem_view_put(v);
    return val;
}

void mem_store(MemSpace *space, uint64_t addr, uint64_t val, unsigned size)
{
    FlatView *v = mem_view_get(space);

    mem_view_store(v, addr, val, size, true);
    mem_view_put(v);
}

void *mem_host_ptr(MemSpace *space, uint64_t addr, uint64_t *len, bool write)
{
    FlatView *v = mem_view_get(space);
    const FlatRange *r;
    uint64_t n = piece_at(v, addr, *len, &r);
    void *p = NULL;

    if (r && r->region->kind != MEM_IO && !(write && r->readonly)) {
        *len = n;
        p = r->region->host + r->off + (addr - r->addr);
    }
    mem_view_put(v);
    return p;
}
