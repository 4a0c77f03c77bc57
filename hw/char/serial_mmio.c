/* 16550A without an ISA bus: see serial_mmio.h and ns16550.c (National PC16550D data sheet). */
#include "hw/char/serial_mmio.h"
#include "core/log.h"
#include "hw/char/ns16550.h"

typedef struct SerialMmio {
    Device dev;
    Uart16550 uart;
    MemRegion mmio;
    uint64_t size;
    Irq irq;
    uint32_t base_baud;
    Chardev *chr;
} SerialMmio;

static bool realize(Device *dev, GError **err)
{
    SerialMmio *s = (SerialMmio *)dev;

    if (!s->size) {
        return fail(err, "serial-mm: only boards make it");
    }
    if (!uart16550_init(&s->uart, dev->machine->virtual_clock, s->irq, s->chr, err)) {
        return false;
    }
    s->uart.base_baud = s->base_baud;
    mem_region_init_io(&s->mmio, "serial", &uart16550_ops, &s->uart, UART16550_IO_SIZE);
    return true;
}

static void unrealize(Device *dev)
{
    SerialMmio *s = (SerialMmio *)dev;

    mem_region_destroy(&s->mmio);
    uart16550_fini(&s->uart);
}

static void reset(Device *dev)
{
    uart16550_reset(&((SerialMmio *)dev)->uart);
}

static const StateField fields[] = {
    {.name = "uart",
     .kind = STATE_STRUCT,
     .off = offsetof(SerialMmio, uart),
     .count = 1,
     .stride = sizeof(Uart16550),
     .table = &uart16550_state},
    STATE_END_FIELD,
};
static const StateTable state = {.name = "serial-mm", .version = 1, .fields = fields};

const DeviceType serial_mmio_type = {
    .name = "serial-mm",
    .desc = "16550A serial port on a memory bus",
    .size = sizeof(SerialMmio),
    .realize = realize,
    .unrealize = unrealize,
    .reset = reset,
    .state = &state,
};

bool serial_mmio_new(Machine *m, MemRegion *parent, uint64_t base, uint64_t size, Irq irq,
                     uint32_t base_baud, Chardev *chr, GError **err)
{
    SerialMmio *s = (SerialMmio *)device_new(&serial_mmio_type, m);

    s->size = size;
    s->irq = irq;
    s->base_baud = base_baud;
    s->chr = chr;
    if (!device_realize(&s->dev, NULL, err)) {
        device_free(&s->dev);
        return false;
    }
    mem_region_add(parent, &s->mmio, base, 0);
    return true;
}
