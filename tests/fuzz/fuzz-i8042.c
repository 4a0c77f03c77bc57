/* Keyboard controller, keyboard, mouse and port 92h, with a user who types and moves. */
#include "fuzz-isa.h"
#include "hw/input/i8042.h"
#include "hw/misc/port92.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void user(void *opaque, uint8_t what, uint32_t arg)
{
    Machine *m = opaque;

    switch (what & 7) {
    case 0:
    case 1:
        input_key(m, arg & 0x1ff, what & 1);
        break;
    case 2:
        input_rel(m, (int16_t)arg, (int8_t)arg);
        break;
    case 3:
        input_wheel(m, (int16_t)arg);
        break;
    case 4:
        input_button(m, arg & 7, arg >> 8 & 1);
        break;
    default:
        input_key(m, 1 + arg % 127, arg >> 8 & 1);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzIsa f;
    const Irq line = {fuzz_sink, &f.sink, 0};

    fuzz_isa_open(&f);
    i8042_new(&f.isa, line, line, NULL);
    port92_new(&f.isa, line, line, NULL);
    f.io.ports[0] = (FuzzRange){0x60, 1};
    f.io.ports[1] = (FuzzRange){0x64, 1};
    f.io.ports[2] = (FuzzRange){0x60, 5};
    f.io.ports[3] = (FuzzRange){0x92, 1};
    f.io.extra = user;
    f.io.opaque = f.io.m;
    fuzz_run(&f.io, data, size);
    fuzz_isa_close(&f);
    return 0;
}
