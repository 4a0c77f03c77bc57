/* The 8254 and port 61h. */
#include "fuzz-io.h"
#include "hw/timer/i8254.h"
#include "hw/timer/pcspk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void gate_or_look(void *pit, uint8_t what, uint32_t arg)
{
    if (what & 1) {
        i8254_set_gate(pit, arg % 3, arg >> 8 & 1);
    } else {
        i8254_out(pit, arg % 3);
        i8254_frequency(pit, arg % 3);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzIo f;
    unsigned sink = 0;

    fuzz_open(&f);
    I8254 *pit = i8254_new(f.m, &f.m->io_root, f.clk, (Irq){fuzz_sink, &sink, 0}, NULL);
    pcspk_new(f.m, &f.m->io_root, f.clk, pit, NULL);
    f.ports[0] = (FuzzRange){0x40, 4};
    f.ports[1] = (FuzzRange){0x61, 1};
    f.extra = gate_or_look;
    f.opaque = pit;
    fuzz_run(&f, data, size);
    fuzz_close(&f);
    return 0;
}
