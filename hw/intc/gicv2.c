/*
 * Arm Generic Interrupt Controller, architecture version 2 (IHI 0048B.b), as GIC-400 has it,
 * without Security and Virtualization Extensions: distributor and CPU interfaces for up to eight
 * CPUs.
 */
#include "hw/intc/gicv2.h"
#include "core/log.h"
#include <string.h>

enum { SGIS = 16, PRIVATE = 32, SPURIOUS = 1023, PRIO_MASK = 0xf8, IDLE = 0xff };
enum { N_STATES = GICV2_CPUS * PRIVATE + GICV2_MAX_IRQS - PRIVATE + 4 };

/* Distributor */
enum {
    D_CTLR = 0x000,
    D_TYPER = 0x004,
    D_IIDR = 0x008,
    D_IGROUPR = 0x080,
    D_ISENABLER = 0x100,
    D_ICENABLER = 0x180,
    D_ISPENDR = 0x200,
    D_ICPENDR = 0x280,
    D_ISACTIVER = 0x300,
    D_ICACTIVER = 0x380,
    D_IPRIORITYR = 0x400,
    D_ITARGETSR = 0x800,
    D_ICFGR = 0xc00,
    D_SGIR = 0xf00,
    D_CPENDSGIR = 0xf10,
    D_SPENDSGIR = 0xf20,
    D_PIDR = 0xfd0,
};
/* CPU interface */
enum {
    C_CTLR = 0x00,
    C_PMR = 0x04,
    C_BPR = 0x08,
    C_IAR = 0x0c,
    C_EOIR = 0x10,
    C_RPR = 0x14,
    C_HPPIR = 0x18,
    C_ABPR = 0x1c,
    C_AIAR = 0x20,
    C_AEOIR = 0x24,
    C_AHPPIR = 0x28,
    C_APR = 0xd0,
    C_IIDR = 0xfc,
    C_DIR = 0x1000,
};
enum {
    CTLR_GRP0 = 1,
    CTLR_GRP1 = 2,
    CTLR_ACKCTL = 4,
    CTLR_FIQEN = 8,
    CTLR_CBPR = 16,
    CTLR_EOIMODE = 0x200
};

typedef struct GicIrq {
    bool enabled, pending, active, level, edge, group1;
    uint8_t prio, targets;
    uint8_t sources; /* SGI: which CPUs have it pending here */
    uint8_t active_source;
} GicIrq;

typedef struct GicCpu {
    uint32_t ctlr, apr;
    uint8_t pmr, bpr, abpr;
} GicCpu;

struct GicV2 {
    Device dev;
    MemRegion dist_mem, cpu_mem;
    GicV2Config cfg;
    bool attached;
    uint32_t ctlr;
    GicCpu cpu[GICV2_CPUS];
    GicIrq irq[N_STATES];
};

static GicIrq *state(GicV2 *g, unsigned cpu, unsigned id)
{
    return id < PRIVATE ? &g->irq[cpu * PRIVATE + id]
                        : &g->irq[GICV2_CPUS * PRIVATE + id - PRIVATE];
}

static bool is_pending(const GicIrq *i, unsigned id)
{
    return id < SGIS ? i->sources != 0 : i->pending || (i->level && !i->edge);
}

static unsigned group_mask(const GicCpu *c, bool group1)
{
    unsigned bpr = group1 && !(c->ctlr & CTLR_CBPR) ? c->abpr : c->bpr;

    if (group1 && !(c->ctlr & CTLR_CBPR) && bpr) {
        bpr--;
    }
    return (0xffu << (bpr + 1)) & 0xff;
}

/* Group priority of what the CPU works on. */
static unsigned running(const GicCpu *c)
{
    return c->apr ? (unsigned)__builtin_ctz(c->apr) << 3 : IDLE;
}

/* The pending interrupt of the highest priority for @cpu, or SPURIOUS. */
static unsigned best(GicV2 *g, unsigned cpu)
{
    unsigned id, found = SPURIOUS, prio = 0x100;

    for (id = 0; id < g->cfg.n_irqs; id++) {
        const GicIrq *i = state(g, cpu, id);

        if (!i->enabled || i->active || i->prio >= prio || !is_pending(i, id) ||
            !(g->ctlr & (i->group1 ? CTLR_GRP1 : CTLR_GRP0)) ||
            (id >= PRIVATE && !(i->targets >> cpu & 1))) {
            continue;
        }
        prio = i->prio;
        found = id;
    }
    return found;
}

/* Is it signalled to the CPU? */
static bool passes(GicV2 *g, unsigned cpu, unsigned id)
{
    const GicCpu *c = &g->cpu[cpu];
    const GicIrq *i;

    if (id == SPURIOUS) {
        return false;
    }
    i = state(g, cpu, id);
    return c->ctlr & (i->group1 ? CTLR_GRP1 : CTLR_GRP0) && i->prio < c->pmr &&
           (i->prio & group_mask(c, i->group1)) < running(c);
}

static void update_cpu(GicV2 *g, unsigned cpu)
{
    unsigned id = best(g, cpu);
    bool on = passes(g, cpu, id);
    bool fiq = on && !state(g, cpu, id)->group1 && g->cpu[cpu].ctlr & CTLR_FIQEN;

    irq_set(&g->cfg.irq[cpu], on && !fiq);
    irq_set(&g->cfg.fiq[cpu], fiq);
}

static void update(GicV2 *g)
{
    for (unsigned i = 0; i < g->cfg.n_cpus; i++) {
        update_cpu(g, i);
    }
}

/* ---- inputs ---- */

static void input(GicV2 *g, unsigned cpu, unsigned id, int level)
{
    GicIrq *i = state(g, cpu, id);

    if (i->level == !!level) {
        return;
    }
    i->level = level;
    if (level && i->edge) {
        i->pending = true;
    }
    if (id < PRIVATE) {
        update_cpu(g, cpu);
    } else {
        update(g);
    }
}

static void spi(void *opaque, int n, int level)
{
    input(opaque, 0, n, level);
}

static void ppi(void *opaque, int n, int level)
{
    input(opaque, n >> 8, n & 0xff, level);
}

Irq gicv2_spi(GicV2 *g, unsigned n)
{
    return (Irq){spi, g, (int)n + PRIVATE};
}

Irq gicv2_ppi(GicV2 *g, unsigned cpu, unsigned n)
{
    return (Irq){ppi, g, (int)(cpu << 8 | n)};
}

/* ---- CPU interface ---- */

static unsigned acknowledge(GicV2 *g, unsigned cpu, bool alias)
{
    GicCpu *c = &g->cpu[cpu];
    unsigned id = best(g, cpu), source = 0;
    GicIrq *i;

    if (!passes(g, cpu, id)) {
        return SPURIOUS;
    }
    i = state(g, cpu, id);
    if (i->group1 && !alias && !(c->ctlr & CTLR_ACKCTL) && g->ctlr & CTLR_GRP0 &&
        c->ctlr & CTLR_GRP0) {
        return 1022;
    }
    if (alias && !i->group1) {
        return SPURIOUS;
    }
    if (id < SGIS) {
        source = __builtin_ctz(i->sources);
        i->sources &= i->sources - 1;
        i->active_source = source;
    }
    i->pending = false;
    i->active = true;
    c->apr |= 1u << ((i->prio & group_mask(c, i->group1)) >> 3);
    update(g);
    return id | source << 10;
}

static void deactivate(GicV2 *g, unsigned cpu, uint32_t val)
{
    unsigned id = val & 0x3ff;

    if (id < g->cfg.n_irqs) {
        state(g, cpu, id)->active = false;
        update(g);
    }
}

static void end_of_interrupt(GicV2 *g, unsigned cpu, uint32_t val)
{
    GicCpu *c = &g->cpu[cpu];

    if ((val & 0x3ff) >= g->cfg.n_irqs) {
        return;
    }
    c->apr &= c->apr - 1; /* the highest priority: the lowest bit */
    if (!(c->ctlr & CTLR_EOIMODE)) {
        deactivate(g, cpu, val);
    }
    update_cpu(g, cpu);
}

static unsigned caller(const GicV2 *g)
{
    const VCpu *v = vcpu_current();

    return v && (unsigned)v->index < g->cfg.n_cpus ? (unsigned)v->index : 0;
}

static uint64_t cpu_read(void *opaque, uint64_t off, unsigned size)
{
    GicV2 *g = opaque;
    unsigned cpu = caller(g), id;
    GicCpu *c = &g->cpu[cpu];

    (void)size;
    switch (off) {
    case C_CTLR:
        return c->ctlr;
    case C_PMR:
        return c->pmr;
    case C_BPR:
        return c->bpr;
    case C_IAR:
        return acknowledge(g, cpu, false);
    case C_AIAR:
        return acknowledge(g, cpu, true);
    case C_RPR:
        return running(c);
    case C_HPPIR:
    case C_AHPPIR:
        id = best(g, cpu);
        return id < SGIS ? id | (uint32_t)__builtin_ctz(state(g, cpu, id)->sources) << 10 : id;
    case C_ABPR:
        return c->abpr;
    case C_APR:
        return c->apr;
    case C_IIDR:
        return 0x0202143b; /* GIC-400 r0p2 */
    default:
        return 0;
    }
}

static void cpu_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    GicV2 *g = opaque;
    unsigned cpu = caller(g);
    GicCpu *c = &g->cpu[cpu];

    (void)size;
    switch (off) {
    case C_CTLR:
        c->ctlr = val & 0x3ff & ~0x1e0u;
        break;
    case C_PMR:
        c->pmr = val & PRIO_MASK;
        break;
    case C_BPR:
        c->bpr = MAX(val & 7, 2);
        break;
    case C_ABPR:
        c->abpr = MAX(val & 7, 3);
        break;
    case C_EOIR:
    case C_AEOIR:
        end_of_interrupt(g, cpu, val);
        return;
    case C_APR:
        c->apr = val;
        break;
    case C_DIR:
        deactivate(g, cpu, val);
        return;
    default:
        guest_error("GIC: write of CPU interface register %" G_GINT64_MODIFIER "x", off);
        return;
    }
    update_cpu(g, cpu);
}

/* ---- distributor ---- */

enum { BIT_GROUP, BIT_ENABLE, BIT_PENDING, BIT_ACTIVE };

static bool get_bit(GicV2 *g, unsigned cpu, unsigned what, unsigned id)
{
    const GicIrq *i = state(g, cpu, id);

    switch (what) {
    case BIT_GROUP:
        return i->group1;
    case BIT_ENABLE:
        return i->enabled;
    case BIT_PENDING:
        return is_pending(i, id);
    default:
        return i->active;
    }
}

static void set_bit(GicV2 *g, unsigned cpu, unsigned what, unsigned id, bool on)
{
    GicIrq *i = state(g, cpu, id);

    switch (what) {
    case BIT_GROUP:
        i->group1 = on;
        break;
    case BIT_ENABLE:
        i->enabled = on || id < SGIS; /* SGIs are always enabled */
        break;
    case BIT_PENDING:
        if (id >= SGIS) {
            i->pending = on;
        }
        break;
    default:
        i->active = on;
    }
}

/* One bit an interrupt. */
static uint32_t bits_read(GicV2 *g, unsigned cpu, unsigned what, unsigned first)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < 32 && first + i < g->cfg.n_irqs; i++) {
        v |= (uint32_t)get_bit(g, cpu, what, first + i) << i;
    }
    return v;
}

static uint32_t dist_word(GicV2 *g, unsigned cpu, unsigned off)
{
    unsigned first = (off & 0x7f) * 8;
    uint32_t v = 0;

    switch (off) {
    case D_CTLR:
        return g->ctlr;
    case D_TYPER:
        return (g->cfg.n_irqs / 32 - 1) | (g->cfg.n_cpus - 1) << 5;
    case D_IIDR:
        return 0x0200143b;
    case 0xfe0:
        return 0x90;
    case 0xfe4:
        return 0xb4;
    case 0xfe8:
        return 0x2b;
    case 0xfd0:
        return 4;
    case 0xff0:
        return 0x0d;
    case 0xff4:
        return 0xf0;
    case 0xff8:
        return 5;
    case 0xffc:
        return 0xb1;
    }
    if (off >= D_IGROUPR && off < D_IGROUPR + 0x80) {
        return bits_read(g, cpu, BIT_GROUP, first);
    }
    if (off >= D_ISENABLER && off < D_ISPENDR) {
        return bits_read(g, cpu, BIT_ENABLE, first);
    }
    if (off >= D_ISPENDR && off < D_ISACTIVER) {
        return bits_read(g, cpu, BIT_PENDING, first);
    }
    if (off >= D_ISACTIVER && off < D_IPRIORITYR) {
        return bits_read(g, cpu, BIT_ACTIVE, first);
    }
    if (off >= D_ICFGR && off < D_ICFGR + 0x100) {
        first = (off - D_ICFGR) * 4;
        for (unsigned i = 0; i < 16 && first + i < g->cfg.n_irqs; i++) {
            v |= state(g, cpu, first + i)->edge ? 2u << i * 2 : 0;
        }
        return v;
    }
    for (unsigned i = 0; i < 4; i++) {
        unsigned id = (off & 0x3ff) + i;

        if (off >= D_IPRIORITYR && off < D_ITARGETSR && id < g->cfg.n_irqs) {
            v |= (uint32_t)state(g, cpu, id)->prio << i * 8;
        } else if (off >= D_ITARGETSR && off < D_ICFGR && id < g->cfg.n_irqs) {
            v |= (uint32_t)(id < PRIVATE ? 1u << cpu : state(g, cpu, id)->targets) << i * 8;
        } else if (off >= D_CPENDSGIR && off < D_CPENDSGIR + 0x20) {
            v |= (uint32_t)state(g, cpu, (off & 15) + i)->sources << i * 8;
        }
    }
    return v;
}

static uint64_t dist_read(void *opaque, uint64_t off, unsigned size)
{
    GicV2 *g = opaque;
    uint32_t v = dist_word(g, caller(g), off & ~3u) >> (off & 3) * 8;

    return size == 4 ? v : v & ((1u << size * 8) - 1);
}

static void send_sgi(GicV2 *g, unsigned cpu, uint32_t val)
{
    unsigned filter = val >> 24 & 3, all = (1u << g->cfg.n_cpus) - 1, id = val & 15;
    unsigned to = filter == 0 ? val >> 16 & 0xff : filter == 1 ? all & ~(1u << cpu) : 1u << cpu;

    if (filter == 3) {
        return;
    }
    for (unsigned i = 0; i < g->cfg.n_cpus; i++) {
        if (to >> i & 1) {
            state(g, i, id)->sources |= 1u << cpu;
            update_cpu(g, i);
        }
    }
}

/* Registers with a byte an interrupt. */
static bool dist_byte(GicV2 *g, unsigned cpu, unsigned off, uint8_t val)
{
    unsigned id = off & 0x3ff;

    if (off >= D_IPRIORITYR && off < D_ITARGETSR) {
        if (id < g->cfg.n_irqs) {
            state(g, cpu, id)->prio = val & PRIO_MASK;
        }
    } else if (off >= D_ITARGETSR && off < D_ICFGR) {
        if (id >= PRIVATE && id < g->cfg.n_irqs) {
            state(g, cpu, id)->targets = val & ((1u << g->cfg.n_cpus) - 1);
        }
    } else if (off >= D_CPENDSGIR && off < D_SPENDSGIR) {
        state(g, cpu, off & 15)->sources &= ~val;
    } else if (off >= D_SPENDSGIR && off < D_SPENDSGIR + 0x10) {
        state(g, cpu, off & 15)->sources |= val;
    } else {
        return false;
    }
    return true;
}

static void dist_bits(GicV2 *g, unsigned cpu, unsigned off, uint32_t val)
{
    static const uint8_t whats[] = {BIT_GROUP, BIT_ENABLE, BIT_PENDING, BIT_ACTIVE};
    unsigned what = whats[off >> 8], first = (off & 0x7f) * 8;
    bool on = !(off & 0x80);

    for (unsigned i = 0; i < 32 && first + i < g->cfg.n_irqs; i++) {
        if (what == BIT_GROUP) {
            set_bit(g, cpu, what, first + i, val >> i & 1);
        } else if (val >> i & 1) {
            set_bit(g, cpu, what, first + i, on);
        }
    }
}

static void dist_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    GicV2 *g = opaque;
    unsigned cpu = caller(g);
    bool bytes = true;

    for (unsigned i = 0; i < size && bytes; i++) {
        bytes = dist_byte(g, cpu, off + i, val >> i * 8);
    }
    if (bytes) {
        update(g);
        return;
    }
    if (size != 4 || off & 3) {
        guest_error("GIC: %u-byte write of distributor register %" G_GINT64_MODIFIER "x", size,
                    off);
        return;
    }
    if (off == D_CTLR) {
        g->ctlr = val & 3;
    } else if (off >= D_IGROUPR && off < D_IPRIORITYR) {
        dist_bits(g, cpu, off, val);
    } else if (off >= D_ICFGR && off < D_ICFGR + 0x100) {
        unsigned first = (off - D_ICFGR) * 4;

        for (unsigned i = 0; i < 16 && first + i < g->cfg.n_irqs; i++) {
            if (first + i >= SGIS) {
                state(g, cpu, first + i)->edge = val >> (i * 2 + 1) & 1;
            }
        }
    } else if (off == D_SGIR) {
        send_sgi(g, cpu, val);
        return;
    } else {
        guest_error("GIC: write of distributor register %" G_GINT64_MODIFIER "x", off);
        return;
    }
    update(g);
}

static const MemOps dist_ops = {
    .read = dist_read, .write = dist_write, .impl_min = 1, .impl_max = 4};
static const MemOps cpu_ops = {.read = cpu_read, .write = cpu_write, .impl_min = 4, .impl_max = 4};

/* ---- life ---- */

static void reset(Device *dev)
{
    GicV2 *g = (GicV2 *)dev;

    g->ctlr = 0;
    memset(g->cpu, 0, sizeof(g->cpu));
    for (unsigned i = 0; i < GICV2_CPUS; i++) {
        g->cpu[i].bpr = 2;
        g->cpu[i].abpr = 3;
    }
    for (unsigned i = 0; i < N_STATES; i++) {
        bool level = g->irq[i].level;

        g->irq[i] = (GicIrq){.level = level};
        g->irq[i].enabled = g->irq[i].edge = i < GICV2_CPUS * PRIVATE && i % PRIVATE < SGIS;
    }
    if (g->cfg.n_cpus == 1) { /* one CPU: it is the target of everything */
        for (unsigned i = GICV2_CPUS * PRIVATE; i < N_STATES; i++) {
            g->irq[i].targets = 1;
        }
    }
    update(g);
}

static bool realize(Device *dev, GError **err)
{
    return true;
}

static void unrealize(Device *dev)
{
    GicV2 *g = (GicV2 *)dev;

    if (g->attached) {
        mem_region_destroy(&g->dist_mem);
        mem_region_destroy(&g->cpu_mem);
    }
}

static const StateField irq_fields[] = {
    STATE_BOOL(GicIrq, enabled),
    STATE_BOOL(GicIrq, pending),
    STATE_BOOL(GicIrq, active),
    STATE_BOOL(GicIrq, level),
    STATE_BOOL(GicIrq, edge),
    STATE_BOOL(GicIrq, group1),
    STATE_U8(GicIrq, prio),
    STATE_U8(GicIrq, targets),
    STATE_U8(GicIrq, sources),
    STATE_U8(GicIrq, active_source),
    STATE_END_FIELD,
};
static const StateTable irq_table = {.name = "irq", .version = 1, .fields = irq_fields};
static const StateField cpu_fields[] = {
    STATE_U32(GicCpu, ctlr), STATE_U32(GicCpu, apr), STATE_U8(GicCpu, pmr),
    STATE_U8(GicCpu, bpr),   STATE_U8(GicCpu, abpr), STATE_END_FIELD,
};
static const StateTable cpu_table = {.name = "cpu", .version = 1, .fields = cpu_fields};
static const StateField fields[] = {
    STATE_U32(GicV2, ctlr),
    STATE_STRUCT_ARRAY(GicV2, cpu, GicCpu, &cpu_table),
    STATE_STRUCT_ARRAY(GicV2, irq, GicIrq, &irq_table),
    STATE_END_FIELD,
};

static bool post_load(void *obj, GError **err)
{
    GicV2 *g = obj;

    for (unsigned i = 0; i < GICV2_CPUS; i++) {
        if (g->cpu[i].bpr > 7 || g->cpu[i].abpr > 7) {
            return fail(err, "The saved state of the GIC cannot be: binary point");
        }
    }
    update(g);
    return true;
}

static const StateTable table = {
    .name = "gicv2", .version = 1, .fields = fields, .post_load = post_load};

const DeviceType gicv2_type = {
    .name = "gicv2",
    .desc = "Arm interrupt controller, version 2 (GIC-400)",
    .size = sizeof(GicV2),
    .realize = realize,
    .unrealize = unrealize,
    .reset = reset,
    .state = &table,
};

GicV2 *gicv2_new(Machine *m, MemRegion *parent, const GicV2Config *cfg, GError **err)
{
    GicV2 *g = (GicV2 *)device_new(&gicv2_type, m);

    g->cfg = *cfg;
    mem_region_init_io(&g->dist_mem, "gic-dist", &dist_ops, g, 0x1000);
    mem_region_init_io(&g->cpu_mem, "gic-cpu", &cpu_ops, g, 0x2000);
    mem_region_add(parent, &g->dist_mem, cfg->dist, 0);
    mem_region_add(parent, &g->cpu_mem, cfg->cpu, 0);
    g->attached = true;
    if (!device_realize(&g->dev, NULL, err)) {
        device_free(&g->dev);
        return NULL;
    }
    return g;
}
