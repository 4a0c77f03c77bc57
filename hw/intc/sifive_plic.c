/* RISC-V Platform-Level Interrupt Controller specification 1.0.0. See sifive_plic.h. */
#include "hw/intc/sifive_plic.h"
#include "core/log.h"
#include "core/riscv-hart.h"
#include <string.h>

enum {
    PRIORITY = 0,
    PENDING = 0x1000,
    ENABLE = 0x2000,
    ENABLE_STRIDE = 0x80,
    CONTEXT = 0x200000,
    CONTEXT_STRIDE = 0x1000,
    THRESHOLD = 0,
    CLAIM = 4,
    MAX_PRIORITY = 7,
    WORDS = PLIC_SOURCES / 32,
};

struct Plic {
    Device dev;
    MemRegion mmio;
    unsigned n_contexts;
    uint8_t priority[PLIC_SOURCES];
    uint32_t level[WORDS];   /* lines as driven */
    uint32_t pending[WORDS]; /* gateway has passed a request on */
    uint32_t claimed[WORDS]; /* request is being served: the gateway is closed */
    uint32_t enable[PLIC_MAX_CONTEXTS * WORDS];
    uint8_t threshold[PLIC_MAX_CONTEXTS];
};

/* The source that context @c would claim, 0 for none: highest priority, lowest number. */
static unsigned best(const Plic *s, unsigned c, unsigned above)
{
    unsigned found = 0, prio = above;

    for (unsigned w = 0; w < WORDS; w++) {
        uint32_t on = s->pending[w] & s->enable[c * WORDS + w];

        for (; on; on &= on - 1) {
            unsigned n = w * 32 + __builtin_ctz(on);

            if (s->priority[n] > prio) {
                prio = s->priority[n];
                found = n;
            }
        }
    }
    return found;
}

/* Recompute gateways and all output pins. */
static void update(Plic *s)
{
    for (unsigned w = 0; w < WORDS; w++) {
        s->pending[w] |= s->level[w] & ~s->claimed[w];
    }
    for (unsigned c = 0; c < s->n_contexts; c++) {
        VCpu *cpu = s->dev.machine->vcpus[c / 2];

        riscv_set_irq(cpu, c & 1 ? RISCV_IRQ_SEIP : RISCV_IRQ_MEIP,
                      best(s, c, s->threshold[c]) != 0);
    }
}

static void set_line(void *opaque, int n, int level)
{
    Plic *s = opaque;
    uint32_t bit = 1u << (n & 31);

    if (level) {
        s->level[n / 32] |= bit;
    } else {
        s->level[n / 32] &= ~bit;
        /* A level that goes away before it was claimed takes its request along. */
        s->pending[n / 32] &= ~bit;
    }
    update(s);
}

static unsigned claim(Plic *s, unsigned c)
{
    unsigned n = best(s, c, 0); /* the threshold does not hide sources from a claim */

    if (n) {
        s->pending[n / 32] &= ~(1u << (n & 31));
        s->claimed[n / 32] |= 1u << (n & 31);
        update(s);
    }
    return n;
}

static void complete(Plic *s, unsigned c, uint32_t n)
{
    /* Ignored unless the source is enabled for the context. */
    if (n && n < PLIC_SOURCES && s->enable[c * WORDS + n / 32] >> (n & 31) & 1) {
        s->claimed[n / 32] &= ~(1u << (n & 31));
        update(s);
    }
}

static uint64_t plic_read(void *opaque, uint64_t off, unsigned size)
{
    Plic *s = opaque;
    uint64_t c, w;

    if (off < PENDING) {
        return off / 4 < PLIC_SOURCES ? s->priority[off / 4] : 0;
    }
    if (off < ENABLE) {
        w = (off - PENDING) / 4;
        return w < WORDS ? s->pending[w] : 0;
    }
    if (off < CONTEXT) {
        c = (off - ENABLE) / ENABLE_STRIDE;
        w = (off - ENABLE) % ENABLE_STRIDE / 4;
        return c < s->n_contexts && w < WORDS ? s->enable[c * WORDS + w] : 0;
    }
    c = (off - CONTEXT) / CONTEXT_STRIDE;
    if (c >= s->n_contexts) {
        return 0;
    }
    switch (off % CONTEXT_STRIDE) {
    case THRESHOLD:
        return s->threshold[c];
    case CLAIM:
        return claim(s, c);
    default:
        return 0;
    }
}

static void plic_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Plic *s = opaque;
    uint64_t c, w;

    if (off < PENDING) {
        if (off && off / 4 < PLIC_SOURCES) {
            s->priority[off / 4] = val & MAX_PRIORITY;
            update(s);
        }
        return;
    }
    if (off < ENABLE) {
        guest_error("plic: write to the pending bits");
        return;
    }
    if (off < CONTEXT) {
        c = (off - ENABLE) / ENABLE_STRIDE;
        w = (off - ENABLE) % ENABLE_STRIDE / 4;
        if (c < s->n_contexts && w < WORDS) {
            s->enable[c * WORDS + w] = w ? val : val & ~1u;
            update(s);
        }
        return;
    }
    c = (off - CONTEXT) / CONTEXT_STRIDE;
    if (c >= s->n_contexts) {
        guest_error("plic: write to context %u, there are %u", (unsigned)c, s->n_contexts);
        return;
    }
    switch (off % CONTEXT_STRIDE) {
    case THRESHOLD:
        s->threshold[c] = val & MAX_PRIORITY;
        update(s);
        break;
    case CLAIM:
        complete(s, c, (uint32_t)val);
        break;
    default:
        break;
    }
}

static const MemOps plic_ops = {
    .read = plic_read, .write = plic_write, .impl_min = 4, .impl_max = 4, .valid_min = 4};

static void plic_reset(Device *dev)
{
    Plic *s = (Plic *)dev;

    memset(s->priority, 0, sizeof(s->priority));
    memset(s->pending, 0, sizeof(s->pending));
    memset(s->claimed, 0, sizeof(s->claimed));
    memset(s->enable, 0, sizeof(s->enable));
    memset(s->threshold, 0, sizeof(s->threshold));
    update(s);
}

static bool plic_realize(Device *dev, GError **err)
{
    Plic *s = (Plic *)dev;

    s->n_contexts = dev->machine->n_vcpus * 2;
    if (s->n_contexts > PLIC_MAX_CONTEXTS) {
        return fail(err, "plic: at most %d harts", PLIC_MAX_CONTEXTS / 2);
    }
    mem_region_init_io(&s->mmio, "riscv.sifive.plic", &plic_ops, s, PLIC_SIZE);
    return true;
}

static void plic_unrealize(Device *dev)
{
    mem_region_destroy(&((Plic *)dev)->mmio);
}

static bool plic_post_load(void *obj, GError **err)
{
    Plic *s = obj;

    for (unsigned i = 0; i < PLIC_SOURCES; i++) {
        s->priority[i] &= MAX_PRIORITY;
    }
    for (unsigned c = 0; c < PLIC_MAX_CONTEXTS; c++) {
        s->threshold[c] &= MAX_PRIORITY;
        s->enable[c * WORDS] &= ~1u;
    }
    s->level[0] &= ~1u;
    s->pending[0] &= ~1u;
    s->claimed[0] &= ~1u;
    update(s);
    return true;
}

static const StateField plic_fields[] = {
    STATE_U8_ARRAY(Plic, priority),
    STATE_U32_ARRAY(Plic, level),
    STATE_U32_ARRAY(Plic, pending),
    STATE_U32_ARRAY(Plic, claimed),
    STATE_U32_ARRAY(Plic, enable),
    STATE_U8_ARRAY(Plic, threshold),
    STATE_END_FIELD,
};

static const StateTable plic_state = {
    .name = "riscv.sifive.plic", .version = 1, .fields = plic_fields, .post_load = plic_post_load};

const DeviceType plic_type = {
    .name = "riscv.sifive.plic",
    .desc = "RISC-V platform-level interrupt controller",
    .size = sizeof(Plic),
    .realize = plic_realize,
    .unrealize = plic_unrealize,
    .reset = plic_reset,
    .state = &plic_state,
};

Plic *plic_new(Machine *m, MemRegion *parent, uint64_t base, GError **err)
{
    Plic *s = (Plic *)device_new(&plic_type, m);

    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    mem_region_add(parent, &s->mmio, base, 0);
    return s;
}

Irq plic_irq(Plic *s, unsigned n)
{
    return n && n < PLIC_SOURCES ? (Irq){set_line, s, (int)n} : (Irq){0};
}
