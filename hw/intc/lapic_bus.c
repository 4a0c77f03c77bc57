/*
 * Messages between local APICs, I/O APICs and devices; the register window.
 * Intel SDM volume 3, chapter "Advanced programmable interrupt controller", 10.6 and 10.11.
 */
#include "core/log.h"
#include "hw/intc/lapic_int.h"

/* Does @msg name this APIC? Lock held. */
static bool is_for(const Lapic *l, const LapicMessage *msg)
{
    uint32_t all = msg->wide ? UINT32_MAX : 0xff;

    if (!lapic_hw_enabled(l)) {
        return false;
    }
    if (!msg->logical) {
        uint32_t id = lapic_x2(l) ? l->initial_id : l->id >> 24;
        return msg->dest == all || msg->dest == id;
    }
    if (lapic_x2(l)) {
        uint32_t cluster = l->initial_id >> 4, bit = 1u << (l->initial_id & 15);
        return msg->dest == UINT32_MAX || (msg->dest >> 16 == cluster && (msg->dest & bit));
    }
    uint32_t ldr = l->ldr >> 24;
    if (msg->dest > 0xff) {
        return msg->dest == UINT32_MAX;
    }
    if (l->dfr >> 28 == 0xf) {
        return ldr & msg->dest; /* flat */
    }
    uint32_t cluster = msg->dest >> 4;
    return (cluster == 0xf || cluster == ldr >> 4) && (ldr & msg->dest & 0xf);
}

/* Who takes a lowest priority message: its focus, or the least busy, each in its turn. */
static Lapic *choose_lowest(LapicBus *bus, const LapicMessage *msg)
{
    unsigned n = bus->apics->len, turn = __atomic_fetch_add(&bus->turn, 1, __ATOMIC_RELAXED);
    unsigned best_priority = 0x100;
    Lapic *best = NULL;

    for (unsigned i = 0; i < n; i++) {
        Lapic *l = bus->apics->pdata[(turn + i) % n];
        g_mutex_lock(&l->lock);
        bool usable = is_for(l, msg) && (l->svr & SVR_ENABLE);
        bool focus = usable && !(l->svr & SVR_NO_FOCUS) && lapic_has(l, msg->vector);
        unsigned priority = lapic_arbitration_priority(l);
        g_mutex_unlock(&l->lock);
        if (focus) {
            return l;
        }
        if (usable && priority < best_priority) {
            best_priority = priority;
            best = l;
        }
    }
    return best;
}

static bool give(Lapic *l, const LapicMessage *msg)
{
    return lapic_accept(l, msg->mode, msg->vector, msg->level);
}

bool lapic_bus_deliver(LapicBus *bus, const LapicMessage *msg)
{
    bool taken = false;

    if (msg->mode == LAPIC_LOWEST) {
        Lapic *l = choose_lowest(bus, msg);
        if (l) {
            g_mutex_lock(&l->lock);
            taken = give(l, msg);
            g_mutex_unlock(&l->lock);
        }
        return taken;
    }
    for (unsigned i = 0; i < bus->apics->len; i++) {
        Lapic *l = bus->apics->pdata[i];
        g_mutex_lock(&l->lock);
        if (is_for(l, msg)) {
            taken |= give(l, msg);
        }
        g_mutex_unlock(&l->lock);
    }
    return taken;
}

void lapic_bus_broadcast(LapicBus *bus, const LapicMessage *msg, const Lapic *except)
{
    for (unsigned i = 0; i < bus->apics->len; i++) {
        Lapic *l = bus->apics->pdata[i];
        if (l == except) {
            continue;
        }
        g_mutex_lock(&l->lock);
        if (lapic_hw_enabled(l)) {
            give(l, msg);
        }
        g_mutex_unlock(&l->lock);
    }
}

bool lapic_bus_send(LapicBus *bus, const LapicMsg *m)
{
    LapicMessage msg = {.vector = m->vector,
                        .mode = m->mode,
                        .dest = m->dest,
                        .logical = m->logical,
                        .level = m->level};

    return lapic_bus_deliver(bus, &msg);
}

void lapic_deliver_msi(LapicBus *bus, uint64_t addr, uint32_t data)
{
    LapicMessage msg = {.vector = data,
                        .mode = data >> 8 & 7,
                        .dest = addr >> 12 & 0xff,
                        .logical = addr & 4,
                        .level = data & 0x8000};

    if ((addr & ~(uint64_t)0xfffff) != LAPIC_BASE) {
        guest_error("MSI: 0x%" G_GINT64_MODIFIER "x is no interrupt message address", addr);
        return;
    }
    if (msg.level && !(data & 0x4000)) {
        return; /* deassert */
    }
    if ((addr & 8) && msg.mode == LAPIC_FIXED) {
        msg.mode = LAPIC_LOWEST; /* redirection hint */
    }
    lapic_bus_deliver(bus, &msg);
}

/* ---- lines ---- */

static void bus_line(void *opaque, int n, int level)
{
    LapicBus *bus = opaque;

    *(n ? &bus->nmi : &bus->intr) = level;
    for (unsigned i = 0; i < bus->apics->len; i++) {
        Lapic *l = bus->apics->pdata[i];
        g_mutex_lock(&l->lock);
        lapic_set_lint(l, n, level);
        g_mutex_unlock(&l->lock);
    }
}

Irq lapic_bus_intr(LapicBus *bus)
{
    return (Irq){.fn = bus_line, .opaque = bus, .n = 0};
}

Irq lapic_bus_nmi(LapicBus *bus)
{
    return (Irq){.fn = bus_line, .opaque = bus, .n = 1};
}

void lapic_bus_set_inta(LapicBus *bus, int (*inta)(void *opaque), void *opaque)
{
    bus->inta = inta;
    bus->inta_opaque = opaque;
}

void lapic_bus_add_eoi(LapicBus *bus, void (*eoi)(void *opaque, uint8_t vector), void *opaque)
{
    g_assert(bus->n_eoi < LAPIC_EOI_HOOKS);
    bus->eoi[bus->n_eoi].fn = eoi;
    bus->eoi[bus->n_eoi].opaque = opaque;
    bus->n_eoi++;
}

void lapic_bus_del_eoi(LapicBus *bus, void *opaque)
{
    for (unsigned i = 0; i < bus->n_eoi; i++) {
        if (bus->eoi[i].opaque == opaque) {
            bus->eoi[i] = bus->eoi[--bus->n_eoi];
            return;
        }
    }
}

void lapic_bus_eoi(LapicBus *bus, uint8_t vector)
{
    bool take = !machine_lock_held();

    if (take) {
        machine_lock();
    }
    for (unsigned i = 0; i < bus->n_eoi; i++) {
        bus->eoi[i].fn(bus->eoi[i].opaque, vector);
    }
    if (take) {
        machine_unlock();
    }
}

/* ---- the register window ---- */

static Lapic *accessed(LapicBus *bus)
{
    const VCpu *cpu = vcpu_current();
    unsigned n = bus->apics->len;

    if (cpu && cpu->index < n && ((Lapic *)bus->apics->pdata[cpu->index])->cpu == cpu) {
        return bus->apics->pdata[cpu->index]; /* created in this order, as a rule */
    }
    for (unsigned i = 0; cpu && i < n; i++) {
        Lapic *l = bus->apics->pdata[i];
        if (l->cpu == cpu) {
            return l;
        }
    }
    return n ? bus->apics->pdata[0] : NULL;
}

static uint64_t window_read(void *opaque, uint64_t off, unsigned size)
{
    Lapic *l = accessed(opaque);

    return l ? lapic_mmio_read(l, off) : UINT64_MAX;
}

static void window_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Lapic *l = accessed(opaque);

    if (l) {
        lapic_mmio_write(l, off, val);
    }
}

static const MemOps window_ops = {
    .read = window_read, .write = window_write, .impl_min = 4, .impl_max = 4, .lockless = true};

void lapic_bus_move(LapicBus *bus, uint64_t addr)
{
    bool take = !machine_lock_held();

    if (take) {
        machine_lock();
    }
    mem_region_set_addr(&bus->window, addr);
    if (take) {
        machine_unlock();
    }
}

LapicBus *lapic_bus_new(Machine *m, MemRegion *mem)
{
    LapicBus *bus = g_new0(LapicBus, 1);

    bus->machine = m;
    bus->apics = g_ptr_array_new();
    mem_region_init_io(&bus->window, "lapic", &window_ops, bus, 0x1000);
    mem_region_add(mem, &bus->window, LAPIC_BASE, 2);
    return bus;
}

void lapic_bus_free(LapicBus *bus)
{
    if (bus) {
        mem_region_destroy(&bus->window);
        g_ptr_array_free(bus->apics, TRUE);
        g_free(bus);
    }
}
