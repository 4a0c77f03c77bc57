/* RISC-V ACLINT specification 1.0-rc4, chapters 2 (MTIMER) and 3 (MSWI). See aclint.h. */
#include "hw/intc/aclint.h"
#include "core/log.h"
#include "core/riscv-hart.h"
#include <string.h>

enum { MSIP = 0, MTIMECMP = 0x4000, MTIME = 0xbff8 };

#define TICK (NS_PER_SEC / RISCV_TIMEBASE)

typedef struct AclintHart {
    Aclint *s;
    VCpu *cpu;
    unsigned i;
    Timer timer;
} AclintHart;

struct Aclint {
    Device dev;
    MemRegion mmio;
    uint64_t offset; /* MTIME = virtual time in ticks + this; atomic */
    uint64_t mtimecmp[ACLINT_MAX_HARTS];
    uint8_t msip[ACLINT_MAX_HARTS];
    unsigned n;
    AclintHart harts[ACLINT_MAX_HARTS];
};

static uint64_t mtime(void *opaque)
{
    Aclint *s = opaque;
    uint64_t ns = (uint64_t)clock_now(s->dev.machine->virtual_clock);

    return ns / TICK + __atomic_load_n(&s->offset, __ATOMIC_RELAXED);
}

static void update_timer(AclintHart *h)
{
    uint64_t now = mtime(h->s), cmp = h->s->mtimecmp[h->i], left;

    riscv_set_irq(h->cpu, RISCV_IRQ_MTIP, now >= cmp);
    if (now >= cmp) {
        timer_del(&h->timer);
        return;
    }
    left = MIN(cmp - now, (uint64_t)RISCV_TIMEBASE * 86400); /* look again then */
    timer_set(&h->timer,
              clock_now(h->s->dev.machine->virtual_clock) + (int64_t)(left * (uint64_t)TICK));
}

static void fired(void *opaque)
{
    update_timer(opaque);
}

static uint64_t part(uint64_t v, uint64_t off)
{
    return v >> (off & 4) * 8;
}

static uint64_t aclint_read(void *opaque, uint64_t off, unsigned size)
{
    Aclint *s = opaque;
    uint64_t i;

    if (off < MTIMECMP) {
        i = off / 4;
        return i < s->n ? s->msip[i] : 0;
    }
    if (off >= MTIME) {
        return off < MTIME + 8 ? part(mtime(s), off) : 0;
    }
    i = (off - MTIMECMP) / 8;
    return i < s->n ? part(s->mtimecmp[i], off) : 0;
}

static uint64_t insert(uint64_t old, uint64_t off, uint64_t val, unsigned size)
{
    unsigned shift = (off & 4) * 8;

    return size == 8 ? val : (old & ~(0xffffffffull << shift)) | (uint64_t)(uint32_t)val << shift;
}

static void aclint_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Aclint *s = opaque;
    uint64_t i;

    if (off < MTIMECMP) {
        /* Two words come at once in a 64-bit access. */
        for (i = off / 4; i < off / 4 + size / 4; i++, val >>= 32) {
            if (i < s->n) {
                s->msip[i] = val & 1;
                riscv_set_irq(s->harts[i].cpu, RISCV_IRQ_MSIP, val & 1);
            }
        }
        return;
    }
    if (off >= MTIME) {
        if (off < MTIME + 8) {
            uint64_t now = mtime(s);

            __atomic_fetch_add(&s->offset, insert(now, off, val, size) - now, __ATOMIC_RELAXED);
            for (i = 0; i < s->n; i++) {
                update_timer(&s->harts[i]);
                riscv_time_changed(s->harts[i].cpu);
            }
        }
        return;
    }
    i = (off - MTIMECMP) / 8;
    if (i < s->n) {
        s->mtimecmp[i] = insert(s->mtimecmp[i], off, val, size);
        update_timer(&s->harts[i]);
    } else {
        guest_error("aclint: MTIMECMP of hart %u, which is not there", (unsigned)i);
    }
}

static const MemOps aclint_ops = {.read = aclint_read,
                                  .write = aclint_write,
                                  .impl_min = 4,
                                  .impl_max = 8,
                                  .valid_min = 4,
                                  .valid_max = 8};

static void aclint_reset(Device *dev)
{
    Aclint *s = (Aclint *)dev;

    s->offset = -(uint64_t)(clock_now(dev->machine->virtual_clock) / TICK);
    for (unsigned i = 0; i < s->n; i++) {
        AclintHart *h = &s->harts[i];

        s->msip[i] = 0;
        s->mtimecmp[i] = UINT64_MAX; /* unspecified; this one is silent */
        timer_del(&h->timer);
        riscv_set_irq(h->cpu, RISCV_IRQ_MSIP, 0);
        riscv_set_irq(h->cpu, RISCV_IRQ_MTIP, 0);
    }
}

static bool aclint_realize(Device *dev, GError **err)
{
    Aclint *s = (Aclint *)dev;
    Machine *m = dev->machine;

    if (m->n_vcpus > ACLINT_MAX_HARTS) {
        return fail(err, "aclint: at most %d harts", ACLINT_MAX_HARTS);
    }
    s->n = m->n_vcpus;
    for (unsigned i = 0; i < s->n; i++) {
        s->harts[i] = (AclintHart){.s = s, .cpu = m->vcpus[i], .i = i};
        timer_init(&s->harts[i].timer, m->virtual_clock, fired, &s->harts[i]);
        riscv_set_time(m->vcpus[i], mtime, s);
    }
    mem_region_init_io(&s->mmio, "riscv.aclint", &aclint_ops, s, ACLINT_SIZE);
    return true;
}

static void aclint_unrealize(Device *dev)
{
    Aclint *s = (Aclint *)dev;

    mem_region_destroy(&s->mmio);
    for (unsigned i = 0; i < s->n; i++) {
        timer_del(&s->harts[i].timer);
        riscv_set_time(s->harts[i].cpu, NULL, NULL);
    }
}

static bool aclint_post_load(void *obj, GError **err)
{
    Aclint *s = obj;

    for (unsigned i = 0; i < s->n; i++) {
        riscv_set_irq(s->harts[i].cpu, RISCV_IRQ_MSIP, s->msip[i] & 1);
        update_timer(&s->harts[i]);
    }
    return true;
}

static const StateField aclint_fields[] = {
    STATE_U64(Aclint, offset),
    STATE_U64_ARRAY(Aclint, mtimecmp),
    STATE_U8_ARRAY(Aclint, msip),
    STATE_END_FIELD,
};

static const StateTable aclint_state = {
    .name = "riscv.aclint", .version = 1, .fields = aclint_fields, .post_load = aclint_post_load};

const DeviceType aclint_type = {
    .name = "riscv.aclint",
    .desc = "RISC-V core local interruptor",
    .size = sizeof(Aclint),
    .realize = aclint_realize,
    .unrealize = aclint_unrealize,
    .reset = aclint_reset,
    .state = &aclint_state,
};

Aclint *aclint_new(Machine *m, MemRegion *parent, uint64_t base, GError **err)
{
    Aclint *s = (Aclint *)device_new(&aclint_type, m);

    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    mem_region_add(parent, &s->mmio, base, 0);
    return s;
}
