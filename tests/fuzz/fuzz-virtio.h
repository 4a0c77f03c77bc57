/*
 * A virtio-mmio block with a device, and what a hostile driver does with its rings: set-up with any
 * features, descriptors and available entries of the fuzzer's making, kicks.
 */
#ifndef RHEA_TESTS_FUZZ_VIRTIO_H
#define RHEA_TESTS_FUZZ_VIRTIO_H

#include "fuzz-io.h"
#include "hw/virtio/virtio_mmio.h"

#define FV_BASE 0x10000000u
#define FV_RAM (1u << 20)
#define FV_SIZE 16u /* places in each queue */
#define FV_RINGS 0x10000u
#define FV_DATA 0x40000u

typedef struct FuzzVirtio {
    FuzzIo io;
    MemRegion ram;
    VirtioMmio *mmio;
    Clock *real;
    unsigned sink, queues;
    uint16_t avail[8];
    bool legacy;
} FuzzVirtio;

static inline void fv_reg(FuzzVirtio *f, unsigned off, uint32_t val)
{
    mem_store(f->io.m->memory, FV_BASE + off, val, 4);
}

static inline void fv_open(FuzzVirtio *f, bool legacy, unsigned queues)
{
    memset(f, 0, sizeof(*f));
    fuzz_open(&f->io);
    f->real = f->io.m->virtual_clock;
    f->io.m->virtual_clock = f->io.clk;
    mem_region_init_ram(&f->ram, "ram", FV_RAM, NULL);
    mem_region_add(&f->io.m->memory_root, &f->ram, 0, 0);
    f->io.m->ram = &f->ram;
    f->queues = queues;
    f->legacy = legacy;
    f->mmio = virtio_mmio_new(f->io.m, &f->io.m->memory_root, FV_BASE,
                              (Irq){fuzz_sink, &f->sink, 1}, 0, NULL);
    virtio_mmio_set_legacy(f->mmio, legacy);
    f->io.mmio[0] = (FuzzRange){FV_BASE, 0x200};
    f->io.mmio[1] = (FuzzRange){FV_RINGS, 0x400};
    f->io.mmio[2] = (FuzzRange){FV_DATA, 0x40};
    f->io.opaque = f;
}

static inline void fv_close(FuzzVirtio *f)
{
    f->io.m->virtual_clock = f->real;
    machine_free(f->io.m);
    mem_region_destroy(&f->ram);
    clock_free(f->io.clk);
    machine_unlock();
}

static inline uint64_t fv_ring(const FuzzVirtio *f, unsigned n)
{
    return FV_RINGS + n * (f->legacy ? 0x2000u : 0x400u);
}

/* Reset and set-up with the features of @bits among the low ones and those of the rings. */
static inline void fv_start(FuzzVirtio *f, uint32_t bits, bool ring_features)
{
    fv_reg(f, 0x70, 0);
    fv_reg(f, 0x70, 3);
    fv_reg(f, 0x24, 0);
    fv_reg(f, 0x14, 0);
    uint32_t have = (uint32_t)mem_load(f->io.m->memory, FV_BASE + 0x10, 4);
    fv_reg(f, 0x20, have & ((bits & 0xffffff) | (ring_features ? 0xff000000u : 0)));
    fv_reg(f, 0x24, 1);
    fv_reg(f, 0x20, 1);
    fv_reg(f, 0x70, 11);
    fv_reg(f, 0x28, 4096);
    for (unsigned n = 0; n < f->queues; n++) {
        uint64_t ring = fv_ring(f, n);
        fv_reg(f, 0x30, n);
        fv_reg(f, 0x38, FV_SIZE);
        if (f->legacy) {
            fv_reg(f, 0x3c, 4096);
            fv_reg(f, 0x40, (uint32_t)(ring >> 12));
        } else {
            fv_reg(f, 0x80, (uint32_t)ring);
            fv_reg(f, 0x90, (uint32_t)ring + 0x100);
            fv_reg(f, 0xa0, (uint32_t)ring + 0x200);
            fv_reg(f, 0x44, 1);
        }
        mem_store(f->io.m->memory, ring + 0x100, 0, 4);
        f->avail[n] = 0;
    }
    fv_reg(f, 0x70, 15);
}

static inline void fv_desc(FuzzVirtio *f, unsigned n, unsigned i, uint64_t addr, uint32_t len,
                           uint16_t flags, uint16_t next)
{
    uint64_t at = fv_ring(f, n) + 16 * (i % FV_SIZE);
    MemSpace *m = f->io.m->memory;

    mem_store(m, at, addr, 8);
    mem_store(m, at + 8, len, 4);
    mem_store(m, at + 12, flags, 2);
    mem_store(m, at + 14, next, 2);
}

static inline void fv_avail(FuzzVirtio *f, unsigned n, uint16_t head)
{
    uint64_t ring = fv_ring(f, n) + 0x100;

    mem_store(f->io.m->memory, ring + 4 + 2 * (f->avail[n] % FV_SIZE), head, 2);
    mem_store(f->io.m->memory, ring + 2, ++f->avail[n], 2);
    fv_reg(f, 0x50, n);
}

/* Start, odd descriptors, odd heads; true if @what was one of these. */
static inline bool fv_step(FuzzVirtio *f, uint8_t what, uint32_t arg)
{
    static const uint64_t where[8] = {FV_DATA,      FV_DATA + 0x1000, FV_RINGS,   FV_BASE,
                                      0x7fffffffff, FV_RAM - 8,       UINT64_MAX, FV_DATA + 1};
    static const uint32_t lens[8] = {1, 16, 512, 4096, 12, 0, 0xffffffff, 65536};
    unsigned n = (what >> 3) % f->queues;

    switch (what & 7) {
    case 0:
        fv_start(f, arg | arg << 12, what & 0x80);
        return true;
    case 1:
    case 2:
        fv_desc(f, n, arg, where[arg >> 4 & 7], lens[arg >> 7 & 7], arg >> 10 & 7,
                (uint16_t)((arg & 15) + 1 + (arg >> 13 & 1)));
        return true;
    case 3:
        fv_avail(f, n, (uint16_t)(arg % (FV_SIZE + 1)));
        return true;
    default:
        return false;
    }
}

#endif
