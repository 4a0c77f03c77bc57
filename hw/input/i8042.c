/*
 * 8042 keyboard controller of the PC/AT and PS/2.
 * IBM PC/AT and PS/2 Hardware Interface Technical References, "Keyboard and Auxiliary Device
 * Controller"; Intel UPI-41AH/42AH user's manual.
 */
#include "hw/input/i8042.h"
#include "core/log.h"
#include "core/machine.h"
#include <string.h>

enum { /* status */
       ST_OBF = 1,
       ST_SYS = 4,
       ST_A2 = 8, /* the last write was a command */
       ST_UNLOCKED = 0x10,
       ST_AUX_OBF = 0x20
};

enum { /* command byte, RAM 0 */
       CB_KBD_IRQ = 1,
       CB_AUX_IRQ = 2,
       CB_SYS = 4,
       CB_KBD_OFF = 0x10,
       CB_AUX_OFF = 0x20,
       CB_XLATE = 0x40
};

enum { /* output port */
       OP_NO_RESET = 1,
       OP_A20 = 2,
       OP_KBD_OBF = 0x10,
       OP_AUX_OBF = 0x20,
       OP_LINES = 0xc0
};

enum {
    CMD_READ_RAM = 0x20,
    CMD_WRITE_RAM = 0x60,
    CMD_TEST_PASSWORD = 0xa4,
    CMD_AUX_OFF = 0xa7,
    CMD_AUX_ON = 0xa8,
    CMD_TEST_AUX = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_TEST_KBD = 0xab,
    CMD_KBD_OFF = 0xad,
    CMD_KBD_ON = 0xae,
    CMD_READ_INPUT = 0xc0,
    CMD_POLL_LOW = 0xc1,
    CMD_POLL_HIGH = 0xc2,
    CMD_READ_OUTPUT = 0xd0,
    CMD_WRITE_OUTPUT = 0xd1,
    CMD_FAKE_KBD = 0xd2,
    CMD_FAKE_AUX = 0xd3,
    CMD_WRITE_AUX = 0xd4,
    CMD_A20_OFF = 0xdd,
    CMD_A20_ON = 0xdf,
    CMD_READ_TEST = 0xe0,
    CMD_PULSE = 0xf0
};

/* A byte takes about a millisecond on the wire. Less here, but never nothing: programs read the
 * data port twice and rely on getting the same byte. */
#define BYTE_NS 200000

/* Keyboard locks, jumpers: not locked, colour display, as a PC/AT without options reads. */
#define INPUT_PORT 0xb0

struct I8042 {
    Device dev;
    Irq irq_kbd, irq_aux, a20, reset_line;
    Clock *clock;
    MemRegion data_io, cmd_io;
    uint8_t ram[32]; /* [0] is the command byte */
    uint8_t status, output_port, data;
    uint8_t cmd;  /* that waits for a byte at port 60h, 0 = none */
    bool release; /* translation: an F0 came */
    Timer next;
    Ps2Kbd kbd;
    Ps2Mouse mouse;
};

/* Set 2 to set 1, the controller's ROM; from 80h on codes stay, but for two. */
static const uint8_t xlate[128] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

Ps2Kbd *i8042_kbd(I8042 *s)
{
    return &s->kbd;
}

Ps2Mouse *i8042_mouse(I8042 *s)
{
    return &s->mouse;
}

static void update_irq(I8042 *s)
{
    bool kbd = (s->status & (ST_OBF | ST_AUX_OBF)) == ST_OBF && (s->ram[0] & CB_KBD_IRQ);
    bool aux =
        (s->status & (ST_OBF | ST_AUX_OBF)) == (ST_OBF | ST_AUX_OBF) && (s->ram[0] & CB_AUX_IRQ);

    irq_set(&s->irq_kbd, kbd);
    irq_set(&s->irq_aux, aux);
}

/* Fill the output buffer. */
static void output(I8042 *s, uint8_t val, bool aux)
{
    s->data = val;
    s->status = (s->status & ~ST_AUX_OBF) | ST_OBF | (aux ? ST_AUX_OBF : 0);
    update_irq(s);
}

static bool kbd_waiting(const I8042 *s)
{
    return !(s->ram[0] & CB_KBD_OFF) && ps2_has_data(&s->kbd.d);
}

static bool aux_waiting(const I8042 *s)
{
    return !(s->ram[0] & CB_AUX_OFF) && ps2_has_data(&s->mouse.d);
}

/* A byte of a device starts on its way when the buffer is free. */
static void schedule(I8042 *s)
{
    if (!(s->status & ST_OBF) && (kbd_waiting(s) || aux_waiting(s)) && !timer_pending(&s->next)) {
        timer_set(&s->next, clock_now(s->clock) + BYTE_NS);
    }
}

static void from_kbd(I8042 *s)
{
    uint8_t c = ps2_read(&s->kbd.d);

    if (!(s->ram[0] & CB_XLATE)) {
        s->release = false;
        output(s, c, false);
    } else if (c == 0xf0) {
        s->release = true;
        schedule(s);
    } else {
        uint8_t t = c < 0x80 ? xlate[c] : c == 0x83 ? 0x41 : c == 0x84 ? 0x54 : c;

        output(s, s->release ? t | 0x80 : t, false);
        s->release = false;
    }
}

static void on_next(void *opaque)
{
    I8042 *s = opaque;

    if (s->status & ST_OBF) {
        return;
    }
    if (kbd_waiting(s)) {
        from_kbd(s);
    } else if (aux_waiting(s)) {
        output(s, ps2_read(&s->mouse.d), true);
    }
}

static void device_ready(void *opaque)
{
    schedule(opaque);
}

static uint8_t output_port(const I8042 *s)
{
    uint8_t v = (s->output_port & (OP_NO_RESET | OP_A20)) | OP_LINES;

    if (s->status & ST_OBF) {
        v |= s->status & ST_AUX_OBF ? OP_AUX_OBF : OP_KBD_OBF;
    }
    return v;
}

static void write_output_port(I8042 *s, uint8_t val)
{
    bool reset = (s->output_port & OP_NO_RESET) && !(val & OP_NO_RESET);

    s->output_port = val;
    irq_set(&s->a20, !!(val & OP_A20));
    if (reset) {
        irq_pulse(&s->reset_line);
        s->output_port |= OP_NO_RESET; /* the reset of the CPU does not hold for ever */
    }
}

static void write_ram(I8042 *s, unsigned i, uint8_t val)
{
    s->ram[i & 31] = val;
    if (!(i & 31)) {
        s->status = (s->status & ~ST_SYS) | (val & CB_SYS);
        update_irq(s);
        schedule(s);
    }
}

static void command(I8042 *s, uint8_t val)
{
    trace("i8042_command", "%02x", val);
    s->status |= ST_A2;
    s->cmd = 0;
    switch (val) {
    case CMD_READ_RAM ... CMD_READ_RAM + 31:
        output(s, s->ram[val & 31], false);
        break;
    case CMD_WRITE_RAM ... CMD_WRITE_RAM + 31:
    case CMD_WRITE_OUTPUT:
    case CMD_FAKE_KBD:
    case CMD_FAKE_AUX:
    case CMD_WRITE_AUX:
        s->cmd = val;
        break;
    case CMD_TEST_PASSWORD:
        output(s, 0xf1, false); /* none is installed */
        break;
    case CMD_AUX_OFF:
        write_ram(s, 0, s->ram[0] | CB_AUX_OFF);
        break;
    case CMD_AUX_ON:
        write_ram(s, 0, s->ram[0] & ~CB_AUX_OFF);
        break;
    case CMD_TEST_AUX:
    case CMD_TEST_KBD:
        output(s, 0x00, false);
        break;
    case CMD_SELF_TEST:
        s->status |= ST_SYS;
        s->ram[0] |= CB_SYS;
        output(s, 0x55, false);
        break;
    case CMD_KBD_OFF:
        write_ram(s, 0, s->ram[0] | CB_KBD_OFF);
        break;
    case CMD_KBD_ON:
        write_ram(s, 0, s->ram[0] & ~CB_KBD_OFF);
        break;
    case CMD_READ_INPUT:
        output(s, INPUT_PORT, false);
        break;
    case CMD_POLL_LOW: /* half of the input port into status bits 4–7, once */
        s->status = (s->status & 0x0f) | (INPUT_PORT & 15) << 4;
        break;
    case CMD_POLL_HIGH:
        s->status = (s->status & 0x0f) | (INPUT_PORT & 0xf0);
        break;
    case CMD_READ_OUTPUT:
        output(s, output_port(s), false);
        break;
    case CMD_A20_OFF:
        write_output_port(s, s->output_port & ~OP_A20);
        break;
    case CMD_A20_ON:
        write_output_port(s, s->output_port | OP_A20);
        break;
    case CMD_READ_TEST: /* clock and data lines of the keyboard */
        output(s, s->ram[0] & CB_KBD_OFF ? 0x02 : 0x03, false);
        break;
    case CMD_PULSE ... 0xff: /* bits that are 0 go low for 6 µs */
        if (!(val & OP_NO_RESET)) {
            irq_pulse(&s->reset_line);
        }
        break;
    default:
        guest_error("i8042: unknown command %02x", val);
        break;
    }
}

static void data_write(I8042 *s, uint8_t val)
{
    uint8_t cmd = s->cmd;

    s->status &= ~ST_A2;
    s->cmd = 0;
    switch (cmd) {
    case CMD_WRITE_RAM ... CMD_WRITE_RAM + 31:
        write_ram(s, cmd & 31, val);
        break;
    case CMD_WRITE_OUTPUT:
        write_output_port(s, val);
        break;
    case CMD_FAKE_KBD:
        output(s, val, false);
        break;
    case CMD_FAKE_AUX:
        output(s, val, true);
        break;
    case CMD_WRITE_AUX:
        ps2_mouse_write(&s->mouse, val);
        break;
    default:
        /* Sending to the keyboard turns its line on. */
        s->ram[0] &= ~CB_KBD_OFF;
        ps2_kbd_write(&s->kbd, val);
        break;
    }
    schedule(s);
}

static uint64_t io_data_read(void *opaque, uint64_t off, unsigned size)
{
    I8042 *s = opaque;

    if (s->status & ST_OBF) {
        s->status &= ~(ST_OBF | ST_AUX_OBF);
        update_irq(s);
        schedule(s);
    }
    return s->data;
}

static void io_data_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    data_write(opaque, val);
}

static uint64_t io_status_read(void *opaque, uint64_t off, unsigned size)
{
    return ((I8042 *)opaque)->status;
}

static void io_cmd_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    command(opaque, val);
}

static const MemOps data_ops = {.read = io_data_read, .write = io_data_write, .impl_max = 1};
static const MemOps cmd_ops = {.read = io_status_read, .write = io_cmd_write, .impl_max = 1};

/* ---- life ---- */

static void i8042_reset(Device *dev)
{
    I8042 *s = (I8042 *)dev;

    memset(s->ram, 0, sizeof(s->ram));
    s->ram[0] = CB_KBD_IRQ | CB_AUX_IRQ | CB_XLATE;
    s->status = ST_UNLOCKED | ST_A2;
    s->output_port = OP_NO_RESET | OP_A20;
    s->data = s->cmd = 0;
    s->release = false;
    timer_del(&s->next);
    ps2_kbd_reset(&s->kbd);
    ps2_mouse_reset(&s->mouse);
    irq_set(&s->a20, 1);
    update_irq(s);
}

static bool i8042_realize(Device *dev, GError **err)
{
    I8042 *s = (I8042 *)dev;
    IsaBus *isa = (IsaBus *)dev->bus;

    s->irq_kbd = isa->irq[1];
    s->irq_aux = isa->irq[12];
    s->clock = isa->clock;
    timer_init(&s->next, s->clock, on_next, s);
    ps2_mouse_init(&s->mouse, dev->machine, s->clock, device_ready, s);
    ps2_kbd_init(&s->kbd, dev->machine, s->clock, device_ready, s);
    mem_region_init_io(&s->data_io, "i8042-data", &data_ops, s, 1);
    mem_region_init_io(&s->cmd_io, "i8042-cmd", &cmd_ops, s, 1);
    mem_region_add(isa->io, &s->data_io, 0x60, 0);
    mem_region_add(isa->io, &s->cmd_io, 0x64, 0);
    return true;
}

static void i8042_unrealize(Device *dev)
{
    I8042 *s = (I8042 *)dev;

    mem_region_destroy(&s->data_io);
    mem_region_destroy(&s->cmd_io);
    timer_del(&s->next);
    ps2_kbd_fini(&s->kbd);
    ps2_mouse_fini(&s->mouse);
}

static bool i8042_post_load(void *obj, GError **err)
{
    I8042 *s = obj;

    irq_set(&s->a20, !!(s->output_port & OP_A20));
    return true;
}

static const StateField i8042_fields[] = {
    STATE_U8_ARRAY(I8042, ram),
    STATE_U8(I8042, status),
    STATE_U8(I8042, output_port),
    STATE_U8(I8042, data),
    STATE_U8(I8042, cmd),
    STATE_BOOL(I8042, release),
    STATE_TIMER(I8042, next),
    {.name = "kbd",
     .kind = STATE_STRUCT,
     .off = offsetof(I8042, kbd),
     .count = 1,
     .stride = sizeof(Ps2Kbd),
     .table = &ps2_kbd_state},
    {.name = "mouse",
     .kind = STATE_STRUCT,
     .off = offsetof(I8042, mouse),
     .count = 1,
     .stride = sizeof(Ps2Mouse),
     .table = &ps2_mouse_state},
    STATE_END_FIELD,
};
static const StateTable i8042_state = {
    .name = "i8042", .version = 1, .fields = i8042_fields, .post_load = i8042_post_load};

const DeviceType i8042_type = {
    .name = "i8042",
    .desc = "keyboard controller, PS/2 keyboard and mouse",
    .bus = "ISA",
    .size = sizeof(I8042),
    .realize = i8042_realize,
    .unrealize = i8042_unrealize,
    .reset = i8042_reset,
    .state = &i8042_state,
};

I8042 *i8042_new(IsaBus *isa, Irq a20, Irq reset, GError **err)
{
    Device *dev = device_new(&i8042_type, isa_machine(isa));
    I8042 *s = (I8042 *)dev;

    s->a20 = a20;
    s->reset_line = reset;
    if (!device_realize(dev, &isa->bus, err)) {
        device_free(dev);
        return NULL;
    }
    return s;
}
