/*
 * 8237A DMA controllers of the PC/AT.
 * Intel 8237A data sheet (September 1993); IBM PC/AT Technical Reference (page registers);
 * Intel 82371SB data sheet, section 2.5.
 */
#include "hw/dma/i8237.h"
#include "core/log.h"
#include <string.h>

enum { /* register numbers of a controller */
       R_STATUS = 8,
       R_REQUEST,
       R_MASK_BIT,
       R_MODE,
       R_CLEAR_FF,
       R_MASTER_CLEAR, /* read: temporary register */
       R_CLEAR_MASK,
       R_MASK_ALL
};

enum {
    CMD_MEM_TO_MEM = 1,
    CMD_HOLD_CH0 = 2,
    CMD_DISABLE = 4,
    MODE_TYPE = 0x0c,
    TYPE_VERIFY = 0,
    TYPE_WRITE = 4, /* device to memory */
    TYPE_READ = 8,  /* memory to device */
    MODE_AUTO = 0x10,
    MODE_DOWN = 0x20,
    MODE_KIND = 0xc0,
    KIND_BLOCK = 0x80,
    KIND_CASCADE = 0xc0
};

#define CHUNK 4096

typedef struct Channel {
    uint16_t base_addr, base_count;
    uint16_t addr, count;
    uint8_t mode;
} Channel;

typedef struct Controller {
    Channel ch[4];
    uint8_t command, temp;
    uint8_t mask, request, tc; /* a bit a channel */
    bool flip_flop;
} Controller;

struct I8237 {
    Device dev;
    MemRegion io0, io1, pages;
    MemSpace *mem;
    Controller dma[2]; /* 0: bytes, channels 0–3; 1: words, channels 4–7 */
    uint8_t page_regs[16];
    uint8_t dreq; /* a bit a channel, of both controllers */
    bool running;
    const I8237Port *port[8];
    void *opaque[8];
};

/* Page register of each channel, as offset from port 80h; channel 4 cascades. */
static const uint8_t page_of[8] = {7, 3, 1, 2, 15, 11, 9, 10};

static unsigned word_shift(unsigned chan)
{
    return chan >> 2;
}

static uint64_t phys_addr(const I8237 *d, unsigned chan, uint16_t addr)
{
    uint8_t page = d->page_regs[page_of[chan]];

    if (word_shift(chan)) {
        return (uint64_t)(page & 0xfe) << 16 | (uint32_t)addr << 1;
    }
    return (uint64_t)page << 16 | addr;
}

bool i8237_ready(const I8237 *d, unsigned chan)
{
    const Controller *c = &d->dma[(chan >> 2) & 1];
    /* The first controller reaches the CPU through channel 4. */
    bool cascade = (chan >> 2) || (!(d->dma[1].mask & 1) && !(d->dma[1].command & CMD_DISABLE));

    return chan < 8 && cascade && !(c->command & CMD_DISABLE) && !(c->mask & (1 << (chan & 3)));
}

/* Memory side of a burst that stays inside the 64 Ki-unit page; @down: units in falling order. */
static void move_memory(I8237 *d, unsigned chan, uint8_t *buf, unsigned units, bool to_mem)
{
    Channel *ch = &d->dma[chan >> 2].ch[chan & 3];
    unsigned size = 1u << word_shift(chan);

    if (!(ch->mode & MODE_DOWN)) {
        unsigned first = MIN(units, 0x10000u - ch->addr);
        uint64_t a = phys_addr(d, chan, ch->addr), b = phys_addr(d, chan, 0);

        if (to_mem) {
            mem_write(d->mem, a, buf, first * size);
            mem_write(d->mem, b, buf + first * size, (units - first) * size);
        } else {
            mem_read(d->mem, a, buf, first * size);
            mem_read(d->mem, b, buf + first * size, (units - first) * size);
        }
        return;
    }
    for (unsigned i = 0; i < units; i++) {
        uint64_t a = phys_addr(d, chan, ch->addr - i);

        if (to_mem) {
            mem_write(d->mem, a, buf + i * size, size);
        } else {
            mem_read(d->mem, a, buf + i * size, size);
        }
    }
}

/* Count @units done; true at terminal count. */
static bool advance(Controller *c, unsigned n, unsigned units)
{
    Channel *ch = &c->ch[n];
    bool tc = units > ch->count;

    ch->addr += ch->mode & MODE_DOWN ? -units : units;
    ch->count -= units;
    if (!tc) {
        return false;
    }
    c->tc |= 1 << n;
    c->request &= ~(1 << n);
    if (ch->mode & MODE_AUTO) {
        ch->addr = ch->base_addr;
        ch->count = ch->base_count;
    } else {
        c->mask |= 1 << n;
    }
    return true;
}

/* One burst; units moved. */
static unsigned burst(I8237 *d, unsigned chan, unsigned limit)
{
    Controller *c = &d->dma[chan >> 2];
    Channel *ch = &c->ch[chan & 3];
    unsigned shift = word_shift(chan), type = ch->mode & MODE_TYPE;
    unsigned units = MIN(MIN((unsigned)ch->count + 1, limit), CHUNK >> shift);
    const I8237Port *p = d->port[chan];
    uint8_t buf[CHUNK];
    bool from_mem = type == TYPE_READ;

    if (from_mem) {
        move_memory(d, chan, buf, units, false);
    } else {
        memset(buf, 0, units << shift);
    }
    size_t n = p->transfer(d->opaque[chan], buf, units << shift, from_mem);
    units = MIN(n >> shift, units);
    if (!units) {
        return 0;
    }
    if (type == TYPE_WRITE) {
        move_memory(d, chan, buf, units, true);
    }
    if (advance(c, chan & 3, units) && p->tc) {
        p->tc(d->opaque[chan]);
    }
    return units;
}

/* Serve the requests that are up. A device that never lowers its request gets 64 Ki units a
 * call, so that the guest's CPU goes on. */
static void run(I8237 *d)
{
    if (d->running) {
        return;
    }
    d->running = true;
    for (unsigned chan = 0; chan < 8; chan++) {
        unsigned left = 0x10000;

        while (left && chan != 4 && d->port[chan] && (d->dreq & (1 << chan)) &&
               i8237_ready(d, chan)) {
            const Channel *ch = &d->dma[chan >> 2].ch[chan & 3];
            if ((ch->mode & MODE_KIND) == KIND_CASCADE || (ch->mode & MODE_TYPE) == MODE_TYPE) {
                break; /* a bus master behind it, or an illegal type */
            }
            unsigned n = burst(d, chan, left);
            if (!n) {
                break;
            }
            left -= n;
        }
    }
    d->running = false;
}

/* Block transfer between channel 0 and channel 1 of a controller, by software request. */
static void mem_to_mem(I8237 *d, unsigned which)
{
    Controller *c = &d->dma[which];
    unsigned chan = which * 4;
    unsigned units = c->ch[1].count + 1;

    for (unsigned i = 0; i < units; i++) {
        uint8_t b[2] = {0};

        move_memory(d, chan, b, 1, false);
        c->temp = b[0];
        move_memory(d, chan + 1, b, 1, true);
        if (!(c->command & CMD_HOLD_CH0)) {
            c->ch[0].addr += c->ch[0].mode & MODE_DOWN ? -1 : 1;
        }
        advance(c, 1, 1);
    }
    c->request &= ~1;
}

/* A software request: the cycles run though no device takes part. */
static void software_request(I8237 *d, unsigned which, unsigned n)
{
    Controller *c = &d->dma[which];

    if (c->command & CMD_DISABLE) {
        return;
    }
    if (n == 0 && (c->command & CMD_MEM_TO_MEM)) {
        mem_to_mem(d, which);
    } else if ((c->ch[n].mode & MODE_KIND) == KIND_BLOCK) {
        advance(c, n, c->ch[n].count + 1);
    }
}

bool i8237_attach(I8237 *d, unsigned chan, const I8237Port *port, void *opaque)
{
    if (chan > 7 || chan == 4 || (port && d->port[chan])) {
        return false;
    }
    d->port[chan] = port;
    d->opaque[chan] = opaque;
    d->dreq &= ~(1 << chan);
    return true;
}

void i8237_dreq(I8237 *d, unsigned chan, bool level)
{
    if (chan > 7) {
        return;
    }
    if (level) {
        d->dreq |= 1 << chan;
        run(d);
    } else {
        d->dreq &= ~(1 << chan);
    }
}

/* ---- registers ---- */

static void master_clear(Controller *c)
{
    c->command = c->temp = c->request = c->tc = 0;
    c->flip_flop = false;
    c->mask = 15;
}

static uint8_t reg_read(I8237 *d, unsigned which, unsigned reg)
{
    Controller *c = &d->dma[which];
    uint8_t v;

    if (reg < 8) {
        Channel *ch = &c->ch[reg >> 1];
        uint16_t w = reg & 1 ? ch->count : ch->addr;
        v = c->flip_flop ? w >> 8 : w;
        c->flip_flop = !c->flip_flop;
        return v;
    }
    switch (reg) {
    case R_STATUS:
        v = c->tc | (c->request | ((d->dreq >> which * 4) & 15)) << 4;
        c->tc = 0;
        return v;
    case R_MASTER_CLEAR:
        return c->temp;
    case R_MASK_ALL:
        return c->mask | 0xf0; /* the 82371 can read it */
    default:
        return 0xff;
    }
}

static void write_word(Controller *c, unsigned reg, uint8_t val)
{
    Channel *ch = &c->ch[reg >> 1];
    uint16_t *base = reg & 1 ? &ch->base_count : &ch->base_addr;

    if (c->flip_flop) {
        *base = (*base & 0xff) | val << 8;
    } else {
        *base = (*base & 0xff00) | val;
    }
    c->flip_flop = !c->flip_flop;
    if (reg & 1) {
        ch->count = *base;
    } else {
        ch->addr = *base;
    }
}

static void reg_write(I8237 *d, unsigned which, unsigned reg, uint8_t val)
{
    Controller *c = &d->dma[which];
    uint8_t bit = 1 << (val & 3);

    trace("i8237_write", "controller %u reg %x val %02x", which, reg, val);
    if (reg < 8) {
        write_word(c, reg, val);
        return;
    }
    switch (reg) {
    case R_STATUS:
        c->command = val;
        break;
    case R_REQUEST:
        if (val & 4) {
            c->request |= bit;
            software_request(d, which, val & 3);
        } else {
            c->request &= ~bit;
        }
        break;
    case R_MASK_BIT:
        c->mask = val & 4 ? c->mask | bit : c->mask & ~bit;
        break;
    case R_MODE:
        c->ch[val & 3].mode = val & 0xfc;
        break;
    case R_CLEAR_FF:
        c->flip_flop = false;
        break;
    case R_MASTER_CLEAR:
        master_clear(c);
        break;
    case R_CLEAR_MASK:
        c->mask = 0;
        break;
    default:
        c->mask = val & 15;
        break;
    }
    run(d);
}

static uint64_t io0_read(void *opaque, uint64_t off, unsigned size)
{
    return reg_read(opaque, 0, off & 15);
}

static void io0_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    reg_write(opaque, 0, off & 15, val);
}

static uint64_t io1_read(void *opaque, uint64_t off, unsigned size)
{
    return reg_read(opaque, 1, (off >> 1) & 15);
}

static void io1_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    reg_write(opaque, 1, (off >> 1) & 15, val);
}

static uint64_t page_read(void *opaque, uint64_t off, unsigned size)
{
    return ((I8237 *)opaque)->page_regs[off & 15];
}

static void page_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    ((I8237 *)opaque)->page_regs[off & 15] = val;
}

static const MemOps io0_ops = {.read = io0_read, .write = io0_write, .impl_max = 1};
static const MemOps io1_ops = {.read = io1_read, .write = io1_write, .impl_max = 1};
static const MemOps page_ops = {.read = page_read, .write = page_write, .impl_max = 1};

/* ---- life ---- */

static void i8237_reset(Device *dev)
{
    I8237 *d = (I8237 *)dev;

    memset(d->dma, 0, sizeof(d->dma));
    memset(d->page_regs, 0, sizeof(d->page_regs));
    master_clear(&d->dma[0]);
    master_clear(&d->dma[1]);
}

static bool i8237_realize(Device *dev, GError **err)
{
    I8237 *d = (I8237 *)dev;
    IsaBus *isa = (IsaBus *)dev->bus;

    d->mem = isa->mem_space;
    mem_region_init_io(&d->io0, "i8237-bytes", &io0_ops, d, 16);
    mem_region_init_io(&d->io1, "i8237-words", &io1_ops, d, 32);
    mem_region_init_io(&d->pages, "dma-pages", &page_ops, d, 16);
    mem_region_add(isa->io, &d->io0, 0, 0);
    mem_region_add(isa->io, &d->io1, 0xc0, 0);
    /* Port 92h and others may lie over it. */
    mem_region_add(isa->io, &d->pages, 0x80, -1);
    isa->dma = d;
    return true;
}

static void i8237_unrealize(Device *dev)
{
    I8237 *d = (I8237 *)dev;

    ((IsaBus *)dev->bus)->dma = NULL;
    mem_region_destroy(&d->io0);
    mem_region_destroy(&d->io1);
    mem_region_destroy(&d->pages);
}

static const StateField channel_fields[] = {
    STATE_U16(Channel, base_addr), STATE_U16(Channel, base_count), STATE_U16(Channel, addr),
    STATE_U16(Channel, count),     STATE_U8(Channel, mode),        STATE_END_FIELD,
};
static const StateTable channel_state = {
    .name = "i8237-channel", .version = 1, .fields = channel_fields};
static const StateField controller_fields[] = {
    STATE_STRUCT_ARRAY(Controller, ch, Channel, &channel_state),
    STATE_U8(Controller, command),
    STATE_U8(Controller, temp),
    STATE_U8(Controller, mask),
    STATE_U8(Controller, request),
    STATE_U8(Controller, tc),
    STATE_BOOL(Controller, flip_flop),
    STATE_END_FIELD,
};
static const StateTable controller_state = {
    .name = "i8237-controller", .version = 1, .fields = controller_fields};
static const StateField i8237_fields[] = {
    STATE_STRUCT_ARRAY(I8237, dma, Controller, &controller_state),
    STATE_U8_ARRAY(I8237, page_regs),
    STATE_U8(I8237, dreq),
    STATE_END_FIELD,
};
static const StateTable i8237_state = {.name = "i8237", .version = 1, .fields = i8237_fields};

const DeviceType i8237_type = {
    .name = "i8237",
    .desc = "DMA controllers",
    .bus = "ISA",
    .size = sizeof(I8237),
    .realize = i8237_realize,
    .unrealize = i8237_unrealize,
    .reset = i8237_reset,
    .state = &i8237_state,
};

I8237 *i8237_new(IsaBus *isa, GError **err)
{
    Device *dev = device_new(&i8237_type, isa_machine(isa));

    if (!device_realize(dev, &isa->bus, err)) {
        device_free(dev);
        return NULL;
    }
    return (I8237 *)dev;
}
