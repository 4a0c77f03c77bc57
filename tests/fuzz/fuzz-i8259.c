/* The 8259 pair. */
#include "fuzz-io.h"
#include "hw/intc/i8259.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void acknowledge(void *pic, uint8_t what, uint32_t arg)
{
    int v = i8259_ack(pic);

    g_assert_cmpint(v, >=, 0);
    g_assert_cmpint(v, <, 256);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzIo f;
    unsigned sink = 0;

    fuzz_open(&f);
    I8259 *pic = i8259_new(f.m, &f.m->io_root, (Irq){fuzz_sink, &sink, 0}, NULL);
    f.ports[0] = (FuzzRange){0x20, 2};
    f.ports[1] = (FuzzRange){0xa0, 2};
    f.ports[2] = (FuzzRange){0x4d0, 2};
    for (unsigned i = 0; i < 16; i++) {
        f.inputs[f.n_inputs++] = i8259_irq(pic, i);
    }
    f.extra = acknowledge;
    f.opaque = pic;
    fuzz_run(&f, data, size);
    fuzz_close(&f);
    return 0;
}
