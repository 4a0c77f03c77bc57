/*
 * Intel 8259A programmable interrupt controller, two of them as in a PC, and the edge/level
 * control registers (ELCR) that EISA and PIIX chips add.
 * Data sheet: Intel 8259A (231468-003); ELCR: 82371SB (PIIX3) data sheet, 2.5.
 *
 * In one point the model is kinder than the chip: in edge mode a request stays latched when its
 * line falls before the CPU acknowledges. The chip would answer with a spurious IR7, depending
 * on times that emulation stretches.
 */
#include "hw/intc/i8259.h"
#include "core/log.h"

enum {
    ICW1_IC4 = 1 << 0,  /* ICW4 follows */
    ICW1_SNGL = 1 << 1, /* no ICW3 */
    ICW1_LTIM = 1 << 3, /* level triggered; PIIX has ELCR instead and ignores it */
    ICW1 = 1 << 4,      /* marks ICW1 among the writes with A0 = 0 */

    ICW4_UPM = 1 << 0, /* 8086 mode */
    ICW4_AEOI = 1 << 1,
    ICW4_SFNM = 1 << 4, /* special fully nested mode */

    OCW3_RIS = 1 << 0,
    OCW3_RR = 1 << 1,
    OCW3_POLL = 1 << 2,
    OCW3 = 1 << 3,
    OCW3_SMM = 1 << 5,
    OCW3_ESMM = 1 << 6,
};

/* Where the initialisation sequence stands: what the next write with A0 = 1 is. */
enum { INIT_DONE, INIT_ICW2, INIT_ICW3, INIT_ICW4 };

typedef struct Pic {
    uint8_t lines; /* levels of the inputs */
    uint8_t irr, isr, imr;
    uint8_t elcr;
    uint8_t icw1, icw2, icw3, icw4;
    uint8_t init;   /* INIT_* */
    uint8_t lowest; /* the input of lowest priority: 7 unless rotated */
    bool read_isr, poll, special_mask, rotate_aeoi;
    uint8_t elcr_mask; /* bits of elcr that exist; constant */
} Pic;

struct I8259 {
    Device dev;
    Pic pic[2]; /* master, slave */
    Irq intr;
    bool out; /* level on intr */
    MemRegion ports[2], elcr;
};

/* ---- priorities ---- */

/* Input of the highest priority in @set; -1 for none. */
static int highest(const Pic *p, uint8_t set)
{
    for (unsigned i = 1; set && i <= 8; i++) {
        unsigned n = (p->lowest + i) & 7;
        if (set & (1u << n)) {
            return n;
        }
    }
    return -1;
}

/* 0 = highest. */
static int rank(const Pic *p, int n)
{
    return n < 0 ? 8 : (n - p->lowest - 1) & 7;
}

/* The request that this chip would interrupt for now, -1 if none. */
static int pending(const Pic *p, bool master)
{
    uint8_t requests = p->irr & ~p->imr;
    uint8_t in_service = p->isr;

    if (p->init != INIT_DONE) {
        return -1;
    }
    if (p->special_mask) {
        /* Masked levels do not hold back others, not even lower ones; an input in service never
         * interrupts itself. */
        in_service &= ~p->imr;
        requests &= ~p->isr;
    }
    int n = highest(p, requests);
    int busy = highest(p, in_service);
    /* Special fully nested: the slave's input may interrupt its own service. */
    bool same = master && (p->icw4 & ICW4_SFNM) && n == 2 && busy == 2;
    return rank(p, n) < rank(p, busy) || same ? n : -1;
}

static void set_input(Pic *p, unsigned n, bool level)
{
    uint8_t bit = 1u << n;

    if (level) {
        if (!(p->lines & bit) || (p->elcr & bit)) {
            p->irr |= bit;
        }
        p->lines |= bit;
    } else {
        p->lines &= ~bit;
        if (p->elcr & bit) {
            p->irr &= ~bit;
        }
    }
}

static void update_irq(I8259 *s)
{
    /* INT of the slave is an input like any other. As between chips, a request that is withdrawn
     * before the acknowledge disappears. */
    bool slave = pending(&s->pic[1], false) >= 0;
    Pic *m = &s->pic[0];

    if (slave && !(m->lines & 4)) {
        set_input(m, 2, true);
    } else if (!slave) {
        set_input(m, 2, false);
        m->irr &= ~4u;
    }
    bool out = pending(m, true) >= 0;
    if (out != s->out) {
        s->out = out;
        irq_set(&s->intr, out);
    }
}

static void input(void *opaque, int n, int level)
{
    I8259 *s = opaque;

    if (n == 2) {
        return;
    }
    set_input(&s->pic[n >> 3], n & 7, level);
    update_irq(s);
}

/* ---- acknowledge ---- */

/* INTA for input @n. */
static void accept(Pic *p, int n)
{
    uint8_t bit = 1u << n;

    if (!(p->elcr & bit) || !(p->lines & bit)) {
        p->irr &= ~bit;
    }
    if (!(p->icw4 & ICW4_AEOI)) {
        p->isr |= bit;
    } else if (p->rotate_aeoi) {
        p->lowest = n;
    }
}

int i8259_ack(void *opaque)
{
    I8259 *s = opaque;
    Pic *m = &s->pic[0], *sl = &s->pic[1];
    int n = pending(m, true);
    int vector;

    if (n == 2) {
        int k = pending(sl, false);
        accept(m, 2);
        /* The slave's request gone: its spurious IR7, while the master shows IR2 in service. */
        m->lines &= ~4u; /* INT falls at the acknowledge; update_irq() raises it again */
        if (k >= 0) {
            accept(sl, k);
        }
        vector = sl->icw2 | (k < 0 ? 7 : k);
    } else if (n >= 0) {
        accept(m, n);
        vector = m->icw2 | n;
    } else {
        vector = m->icw2 | 7; /* spurious: nothing goes into service */
    }
    update_irq(s);
    return vector;
}

/* ---- registers ---- */

static void write_icw1(Pic *p, uint8_t val)
{
    p->icw1 = val;
    p->init = INIT_ICW2;
    p->imr = 0;
    p->isr = 0;
    p->lowest = 7;
    p->special_mask = p->read_isr = p->poll = p->rotate_aeoi = false;
    /* The edge sense circuits are reset: an input must rise again. Level inputs stay. */
    p->irr = p->lines & p->elcr;
    if (!(val & ICW1_IC4)) {
        p->icw4 = 0;
    }
    if (val & ICW1_LTIM) {
        guest_error("i8259: level mode by ICW1 is ignored, there are ELCR registers");
    }
}

static void write_ocw2(Pic *p, uint8_t val)
{
    unsigned level = val & 7;
    /* Non-specific EOI in special mask mode passes over what is masked. */
    int top = highest(p, p->special_mask ? p->isr & ~p->imr : p->isr);

    switch (val >> 5) {
    case 0: /* rotate in automatic EOI mode: clear */
    case 4: /* set */
        p->rotate_aeoi = val & 0x80;
        break;
    case 1: /* non-specific EOI */
    case 5: /* and rotate */
        if (top >= 0) {
            p->isr &= ~(1u << top);
            p->lowest = val & 0x80 ? top : p->lowest;
        }
        break;
    case 3: /* specific EOI */
        p->isr &= ~(1u << level);
        break;
    case 7: /* rotate on specific EOI */
        p->isr &= ~(1u << level);
        p->lowest = level;
        break;
    case 6: /* set priority */
        p->lowest = level;
        break;
    default: /* 2: no operation */
        break;
    }
}

static void write_ocw3(Pic *p, uint8_t val)
{
    if (val & OCW3_ESMM) {
        p->special_mask = val & OCW3_SMM;
    }
    p->poll = val & OCW3_POLL;
    if (!p->poll && (val & OCW3_RR)) {
        p->read_isr = val & OCW3_RIS;
    }
}

static void write_data(Pic *p, uint8_t val)
{
    switch (p->init) {
    case INIT_DONE:
        p->imr = val;
        break;
    case INIT_ICW2:
        p->icw2 = val & 0xf8;
        p->init = !(p->icw1 & ICW1_SNGL) ? INIT_ICW3 : p->icw1 & ICW1_IC4 ? INIT_ICW4 : INIT_DONE;
        break;
    case INIT_ICW3:
        p->icw3 = val;
        p->init = p->icw1 & ICW1_IC4 ? INIT_ICW4 : INIT_DONE;
        break;
    default:
        p->icw4 = val & 0x1f;
        p->init = INIT_DONE;
        if (!(val & ICW4_UPM)) {
            guest_error("i8259: MCS-80 mode has no meaning in a PC");
        }
    }
}

static void port_write(I8259 *s, unsigned chip, uint64_t off, uint8_t val)
{
    Pic *p = &s->pic[chip];

    trace("i8259_write", "chip %u a0 %u val %02x", chip, (unsigned)off, val);
    if (off) {
        write_data(p, val);
    } else if (val & ICW1) {
        write_icw1(p, val);
    } else if (val & OCW3) {
        write_ocw3(p, val);
    } else {
        write_ocw2(p, val);
    }
    update_irq(s);
}

/* A read after the poll command is the acknowledge. */
static uint8_t poll_read(I8259 *s, unsigned chip)
{
    Pic *p = &s->pic[chip];
    int n = pending(p, chip == 0);

    p->poll = false;
    if (n < 0) {
        return 0;
    }
    accept(p, n);
    if (chip == 0 && n == 2) {
        p->lines &= ~4u;
    }
    update_irq(s);
    return 0x80 | n;
}

static uint8_t port_read(I8259 *s, unsigned chip, uint64_t off)
{
    const Pic *p = &s->pic[chip];

    if (p->poll) {
        return poll_read(s, chip);
    }
    return off ? p->imr : p->read_isr ? p->isr : p->irr;
}

static uint64_t master_read(void *opaque, uint64_t off, unsigned size)
{
    return port_read(opaque, 0, off);
}

static void master_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    port_write(opaque, 0, off, val);
}

static uint64_t slave_read(void *opaque, uint64_t off, unsigned size)
{
    return port_read(opaque, 1, off);
}

static void slave_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    port_write(opaque, 1, off, val);
}

static uint64_t elcr_read(void *opaque, uint64_t off, unsigned size)
{
    return ((I8259 *)opaque)->pic[off].elcr;
}

static void elcr_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    I8259 *s = opaque;
    Pic *p = &s->pic[off];

    p->elcr = val & p->elcr_mask;
    /* Inputs that became level triggered follow their lines. */
    p->irr = (p->irr & ~p->elcr) | (p->lines & p->elcr);
    update_irq(s);
}

static const MemOps master_ops = {.read = master_read, .write = master_write, .impl_max = 1};
static const MemOps slave_ops = {.read = slave_read, .write = slave_write, .impl_max = 1};
static const MemOps elcr_ops = {.read = elcr_read, .write = elcr_write, .impl_max = 1};

/* ---- life ---- */

static void i8259_reset(Device *dev)
{
    I8259 *s = (I8259 *)dev;

    for (unsigned i = 0; i < 2; i++) {
        Pic *p = &s->pic[i];
        /* The 8259A has no reset pin; it comes up in need of ICW1. Line levels belong to others. */
        *p = (Pic){.lines = p->lines, .elcr_mask = p->elcr_mask, .imr = 0xff, .lowest = 7};
    }
    s->pic[0].lines &= ~4u;
    update_irq(s);
}

static bool pic_post_load(void *obj, GError **err)
{
    Pic *p = obj;

    if (p->init > INIT_ICW4 || p->lowest > 7) {
        return fail(err, "The saved state of the i8259 is impossible");
    }
    p->icw2 &= 0xf8;
    p->elcr &= p->elcr_mask;
    return true;
}

static const StateField pic_fields[] = {
    STATE_U8(Pic, lines),         STATE_U8(Pic, irr),
    STATE_U8(Pic, isr),           STATE_U8(Pic, imr),
    STATE_U8(Pic, elcr),          STATE_U8(Pic, icw1),
    STATE_U8(Pic, icw2),          STATE_U8(Pic, icw3),
    STATE_U8(Pic, icw4),          STATE_U8(Pic, init),
    STATE_U8(Pic, lowest),        STATE_BOOL(Pic, read_isr),
    STATE_BOOL(Pic, poll),        STATE_BOOL(Pic, special_mask),
    STATE_BOOL(Pic, rotate_aeoi), STATE_END_FIELD,
};
static const StateTable pic_table = {
    .name = "pic", .version = 1, .fields = pic_fields, .post_load = pic_post_load};
static const StateField i8259_fields[] = {
    STATE_STRUCT_ARRAY(I8259, pic, Pic, &pic_table),
    STATE_BOOL(I8259, out),
    STATE_END_FIELD,
};
static const StateTable i8259_table = {.name = "i8259", .version = 1, .fields = i8259_fields};

static void i8259_unrealize(Device *dev)
{
    I8259 *s = (I8259 *)dev;

    mem_region_destroy(&s->ports[0]);
    mem_region_destroy(&s->ports[1]);
    mem_region_destroy(&s->elcr);
}

static bool i8259_realize(Device *dev, GError **err)
{
    I8259 *s = (I8259 *)dev;

    mem_region_init_io(&s->ports[0], "pic-master", &master_ops, s, 2);
    mem_region_init_io(&s->ports[1], "pic-slave", &slave_ops, s, 2);
    mem_region_init_io(&s->elcr, "elcr", &elcr_ops, s, 2);
    s->pic[0].elcr_mask = 0xf8; /* not timer, keyboard, cascade */
    s->pic[1].elcr_mask = 0xde; /* not RTC, FPU */
    return true;
}

const DeviceType i8259_type = {
    .name = "i8259",
    .desc = "8259A interrupt controllers",
    .size = sizeof(I8259),
    .realize = i8259_realize,
    .unrealize = i8259_unrealize,
    .reset = i8259_reset,
    .state = &i8259_table,
};

I8259 *i8259_new(Machine *m, MemRegion *io, Irq intr, GError **err)
{
    I8259 *s = (I8259 *)device_new(&i8259_type, m);

    s->intr = intr;
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return NULL;
    }
    mem_region_add(io, &s->ports[0], 0x20, 0);
    mem_region_add(io, &s->ports[1], 0xa0, 0);
    mem_region_add(io, &s->elcr, 0x4d0, 0);
    return s;
}

Irq i8259_irq(I8259 *s, unsigned n)
{
    g_assert(n < 16);
    return (Irq){.fn = input, .opaque = s, .n = n};
}
