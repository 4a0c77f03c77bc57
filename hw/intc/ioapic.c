/*
 * Intel 82093AA I/O APIC.
 * Data sheet: 82093AA (290566-001).
 *
 * Inputs are signals ("asserted" or not): the polarity bits are kept, but boards wire their lines
 * as a guest that knows the board would set them. Machine lock.
 */
#include "hw/intc/ioapic.h"
#include "core/log.h"

enum {
    REG_ID = 0,
    REG_VERSION = 1,
    REG_ARBITRATION = 2,
    REG_TABLE = 0x10,

    RTE_MODE_SHIFT = 8,
    RTE_LOGICAL = 1 << 11,
    RTE_REMOTE_IRR = 1 << 14,
    RTE_LEVEL = 1 << 15,
    RTE_MASKED = 1 << 16,
    RTE_WRITABLE = 0x0001afff, /* of the low half; the high one: bits 31-24 */
};

struct Ioapic {
    Device dev;
    uint8_t select;
    uint8_t id, arbitration;
    uint8_t initial_id;
    uint32_t lines; /* levels */
    uint32_t low[IOAPIC_PINS], high[IOAPIC_PINS];
    LapicBus *bus;
    MemRegion regs;
};

/* Only fixed and lowest priority interrupts can be level triggered. */
static bool is_level(uint32_t low)
{
    unsigned mode = low >> RTE_MODE_SHIFT & 7;

    return (low & RTE_LEVEL) && (mode == LAPIC_FIXED || mode == LAPIC_LOWEST);
}

static bool send(Ioapic *s, unsigned pin)
{
    uint32_t low = s->low[pin];
    LapicMsg msg = {.vector = low,
                    .mode = low >> RTE_MODE_SHIFT & 7,
                    .dest = s->high[pin] >> 24,
                    .logical = low & RTE_LOGICAL,
                    .level = is_level(low)};

    if (msg.mode == 3 || msg.mode == LAPIC_SIPI) {
        guest_error("ioapic: pin %u has delivery mode %u, which is reserved", pin, msg.mode);
        return false;
    }
    return lapic_bus_send(s->bus, &msg);
}

/* A level-triggered pin is sent when it is active and the last one was ended. If nobody takes
 * it, the next change of the entry tries again. */
static void service_level(Ioapic *s, unsigned pin)
{
    uint32_t low = s->low[pin];

    if (is_level(low) && (s->lines >> pin & 1) && !(low & (RTE_MASKED | RTE_REMOTE_IRR)) &&
        send(s, pin)) {
        s->low[pin] |= RTE_REMOTE_IRR;
    }
}

static void input(void *opaque, int pin, int level)
{
    Ioapic *s = opaque;
    uint32_t bit = 1u << pin;
    bool rose = level && !(s->lines & bit);

    s->lines = level ? s->lines | bit : s->lines & ~bit;
    if (is_level(s->low[pin])) {
        service_level(s, pin);
    } else if (rose && !(s->low[pin] & RTE_MASKED)) {
        send(s, pin); /* edges on a masked pin are ignored, not remembered */
    }
}

static void end_of_interrupt(void *opaque, uint8_t vector)
{
    Ioapic *s = opaque;

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        if ((s->low[pin] & RTE_REMOTE_IRR) && (s->low[pin] & 0xff) == vector) {
            s->low[pin] &= ~RTE_REMOTE_IRR;
            service_level(s, pin);
        }
    }
}

/* ---- registers ---- */

static uint32_t read_reg(const Ioapic *s)
{
    unsigned i = s->select - REG_TABLE;

    switch (s->select) {
    case REG_ID:
        return s->id << 24;
    case REG_VERSION:
        return (IOAPIC_PINS - 1) << 16 | 0x11;
    case REG_ARBITRATION:
        return s->arbitration << 24;
    default:
        if (s->select >= REG_TABLE && i < 2 * IOAPIC_PINS) {
            return i & 1 ? s->high[i / 2] : s->low[i / 2];
        }
        return 0;
    }
}

static void write_low(Ioapic *s, unsigned pin, uint32_t val)
{
    uint32_t low = (val & RTE_WRITABLE) | (s->low[pin] & RTE_REMOTE_IRR);

    if (!is_level(low)) {
        low &= ~RTE_REMOTE_IRR;
    }
    s->low[pin] = low;
    service_level(s, pin);
}

static void write_reg(Ioapic *s, uint32_t val)
{
    unsigned i = s->select - REG_TABLE;

    trace("ioapic_write", "reg %02x val %08x", s->select, val);
    if (s->select == REG_ID) {
        s->id = s->arbitration = val >> 24 & 15;
    } else if (s->select >= REG_TABLE && i < 2 * IOAPIC_PINS) {
        if (i & 1) {
            s->high[i / 2] = val & 0xff000000;
        } else {
            write_low(s, i / 2, val);
        }
    }
}

static uint64_t ioapic_read(void *opaque, uint64_t off, unsigned size)
{
    const Ioapic *s = opaque;

    switch (off) {
    case 0x00:
        return s->select;
    case 0x10:
        return read_reg(s);
    default:
        return 0;
    }
}

static void ioapic_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Ioapic *s = opaque;

    if (off == 0x00) {
        s->select = val;
    } else if (off == 0x10) {
        write_reg(s, val);
    }
}

static const MemOps ioapic_ops = {
    .read = ioapic_read, .write = ioapic_write, .impl_min = 4, .impl_max = 4};

/* ---- life ---- */

static void ioapic_reset(Device *dev)
{
    Ioapic *s = (Ioapic *)dev;

    s->select = 0;
    s->id = s->initial_id;
    s->arbitration = 0;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        s->low[pin] = RTE_MASKED;
        s->high[pin] = 0;
    }
}

static bool ioapic_post_load(void *obj, GError **err)
{
    Ioapic *s = obj;

    s->id &= 15;
    s->arbitration &= 15;
    s->lines &= (1u << IOAPIC_PINS) - 1;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        s->low[pin] &= RTE_WRITABLE | RTE_REMOTE_IRR;
        s->high[pin] &= 0xff000000;
    }
    return true;
}

static const StateField ioapic_fields[] = {
    STATE_U8(Ioapic, select), STATE_U8(Ioapic, id),         STATE_U8(Ioapic, arbitration),
    STATE_U32(Ioapic, lines), STATE_U32_ARRAY(Ioapic, low), STATE_U32_ARRAY(Ioapic, high),
    STATE_END_FIELD,
};
static const StateTable ioapic_table = {
    .name = "ioapic", .version = 1, .fields = ioapic_fields, .post_load = ioapic_post_load};

static bool ioapic_realize(Device *dev, GError **err)
{
    Ioapic *s = (Ioapic *)dev;

    if (!s->bus) {
        return fail(err, "ioapic: no APIC bus");
    }
    mem_region_init_io(&s->regs, "ioapic", &ioapic_ops, s, 0x1000);
    lapic_bus_add_eoi(s->bus, end_of_interrupt, s);
    return true;
}

static void ioapic_unrealize(Device *dev)
{
    Ioapic *s = (Ioapic *)dev;

    lapic_bus_del_eoi(s->bus, s);
    mem_region_destroy(&s->regs);
}

const DeviceType ioapic_type = {
    .name = "ioapic",
    .desc = "82093AA I/O APIC",
    .size = sizeof(Ioapic),
    .realize = ioapic_realize,
    .unrealize = ioapic_unrealize,
    .reset = ioapic_reset,
    .state = &ioapic_table,
};

Ioapic *ioapic_new(Machine *m, MemRegion *mem, uint64_t addr, uint8_t id, LapicBus *bus,
                   GError **err)
{
    Ioapic *s = (Ioapic *)device_new(&ioapic_type, m);

    s->bus = bus;
    s->initial_id = id & 15;
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    mem_region_add(mem, &s->regs, addr, 1);
    return s;
}

Irq ioapic_irq(Ioapic *s, unsigned pin)
{
    g_assert(pin < IOAPIC_PINS);
    return (Irq){.fn = input, .opaque = s, .n = pin};
}
