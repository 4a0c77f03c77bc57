/*
 * A machine with RAM and one virtio-mmio block, and the driver's side of VIRTIO 1.2 sections 2.7
 * and 4.2: set-up, rings in guest memory, kicks. For tests of queues and devices.
 */
#ifndef RHEA_TESTS_VIRTIO_FIXTURE_H
#define RHEA_TESTS_VIRTIO_FIXTURE_H

#include "harness.h"
#include "hw/virtio/virtio_mmio.h"

#define VF_RAM (8u << 20)
#define VF_BASE 0x10000000u
#define VF_RINGS 0x10000u /* queue n at VF_RINGS + n * 8 KiB */
#define VF_LINE 3

enum { VF_NEXT = 1, VF_WRITE = 2, VF_INDIRECT = 4 };

typedef struct VfQueue {
    unsigned n, size;
    uint64_t desc, avail, used;
    uint16_t avail_idx, used_seen;
    uint16_t free; /* next descriptor to take, round and round */
} VfQueue;

typedef struct VFixture {
    Rig r;
    MemRegion ram;
    VirtioMmio *mmio;
    Device *dev;
    VirtioDevice *v;
    uint64_t features;
    VfQueue q[VIRTIO_MAX_QUEUES];
    Clock *real;
} VFixture;

static inline uint32_t vf_reg(VFixture *f, unsigned off)
{
    return readl(&f->r, VF_BASE + off);
}

static inline void vf_set(VFixture *f, unsigned off, uint32_t val)
{
    writel(&f->r, VF_BASE + off, val);
}

/* The machine without a device. @legacy: the block shows version 1. */
static inline void vf_machine(VFixture *f, bool legacy)
{
    GError *err = NULL;

    memset(f, 0, sizeof(*f));
    rig_open(&f->r);
    f->real = f->r.m->virtual_clock;
    f->r.m->virtual_clock = f->r.clk;
    mem_region_init_ram(&f->ram, "ram", VF_RAM, &err);
    g_assert_no_error(err);
    mem_region_add(&f->r.m->memory_root, &f->ram, 0, 0);
    f->r.m->ram = &f->ram;
    f->mmio =
        virtio_mmio_new(f->r.m, &f->r.m->memory_root, VF_BASE, rig_irq(&f->r, VF_LINE), 0, &err);
    g_assert_no_error(err);
    virtio_mmio_set_legacy(f->mmio, legacy);
}

/* @dev (made by device_new(), properties set) on the bus. */
static inline void vf_plug(VFixture *f, Device *dev)
{
    GError *err = NULL;

    device_realize(dev, &virtio_mmio_bus(f->mmio)->bus, &err);
    g_assert_no_error(err);
    f->dev = dev;
    f->v = virtio_mmio_device(f->mmio);
}

static inline void vf_close(VFixture *f)
{
    f->r.m->virtual_clock = f->real;
    machine_free(f->r.m);
    mem_region_destroy(&f->ram);
    clock_free(f->r.clk);
    machine_unlock();
}

static inline void vf_queue(VFixture *f, unsigned n, unsigned size)
{
    VfQueue *q = &f->q[n];

    *q = (VfQueue){.n = n, .size = size};
    q->desc = VF_RINGS + n * 0x2000;
    q->avail = q->desc + 16 * size;
    q->used = (q->avail + 6 + 2 * size + 3) & ~3u;
    uint8_t zero[0x2000] = {0};
    mem_write(f->r.m->memory, q->desc, zero, sizeof(zero));
    vf_set(f, 0x30, n);
    vf_set(f, 0x38, size);
    vf_set(f, 0x80, (uint32_t)q->desc);
    vf_set(f, 0x84, 0);
    vf_set(f, 0x90, (uint32_t)q->avail);
    vf_set(f, 0x94, 0);
    vf_set(f, 0xa0, (uint32_t)q->used);
    vf_set(f, 0xa4, 0);
    vf_set(f, 0x44, 1);
}

/* Section 3.1.1, with @n_queues queues of @size and what is offered of @features. */
static inline void vf_start(VFixture *f, uint64_t features, unsigned n_queues, unsigned size)
{
    vf_set(f, 0x70, 0);
    vf_set(f, 0x70, 1);
    vf_set(f, 0x70, 3);
    vf_set(f, 0x14, 0);
    uint64_t offered = vf_reg(f, 0x10);
    vf_set(f, 0x14, 1);
    offered |= (uint64_t)vf_reg(f, 0x10) << 32;
    f->features = (features | VIRTIO_F_VERSION_1) & offered;
    vf_set(f, 0x24, 0);
    vf_set(f, 0x20, (uint32_t)f->features);
    vf_set(f, 0x24, 1);
    vf_set(f, 0x20, (uint32_t)(f->features >> 32));
    vf_set(f, 0x70, 11);
    g_assert_cmphex(vf_reg(f, 0x70), ==, 11);
    for (unsigned n = 0; n < n_queues; n++) {
        vf_queue(f, n, size);
    }
    vf_set(f, 0x70, 15);
}

static inline uint16_t vf_read16(VFixture *f, uint64_t addr)
{
    return (uint16_t)mem_load(f->r.m->memory, addr, 2);
}

static inline void vf_write16(VFixture *f, uint64_t addr, uint16_t val)
{
    mem_store(f->r.m->memory, addr, val, 2);
}

static inline void vf_desc_at(VFixture *f, uint64_t table, unsigned i, uint64_t addr, uint32_t len,
                              uint16_t flags, uint16_t next)
{
    writeq(&f->r, table + 16 * i, addr);
    writel(&f->r, table + 16 * i + 8, len);
    vf_write16(f, table + 16 * i + 12, flags);
    vf_write16(f, table + 16 * i + 14, next);
}

static inline void vf_avail(VFixture *f, unsigned n, uint16_t head)
{
    VfQueue *q = &f->q[n];

    vf_write16(f, q->avail + 4 + 2 * (q->avail_idx % q->size), head);
    vf_write16(f, q->avail + 2, ++q->avail_idx);
}

typedef struct VfBuf {
    uint64_t addr;
    uint32_t len;
    bool in;
} VfBuf;

/* A chain of @k buffers; returns its head. No kick. */
static inline uint16_t vf_add(VFixture *f, unsigned n, const VfBuf *b, unsigned k)
{
    VfQueue *q = &f->q[n];
    uint16_t head = q->free;

    for (unsigned i = 0; i < k; i++) {
        uint16_t at = q->free, next = (uint16_t)((at + 1) % q->size);
        vf_desc_at(f, q->desc, at, b[i].addr, b[i].len,
                   (b[i].in ? VF_WRITE : 0) | (i + 1 < k ? VF_NEXT : 0), next);
        q->free = next;
    }
    vf_avail(f, n, head);
    return head;
}

static inline void vf_kick(VFixture *f, unsigned n)
{
    vf_set(f, 0x50, n);
}

static inline uint16_t vf_used_idx(VFixture *f, unsigned n)
{
    return vf_read16(f, f->q[n].used + 2);
}

/* Next used element: false if there is none. */
static inline bool vf_used(VFixture *f, unsigned n, uint32_t *head, uint32_t *len)
{
    VfQueue *q = &f->q[n];

    if (q->used_seen == vf_used_idx(f, n)) {
        return false;
    }
    uint64_t at = q->used + 4 + 8 * (q->used_seen++ % q->size);
    *head = readl(&f->r, at);
    *len = readl(&f->r, at + 4);
    return true;
}

/* Was there an interrupt? Acknowledges it. */
static inline uint32_t vf_ack(VFixture *f)
{
    uint32_t isr = vf_reg(f, 0x60);

    g_assert_cmpint(f->r.level[VF_LINE], ==, isr != 0);
    vf_set(f, 0x64, isr);
    g_assert_cmpint(f->r.level[VF_LINE], ==, 0);
    return isr;
}

#endif
