/* The Goldfish RTC. */
#include "fuzz-io.h"
#include "hw/timer/goldfish_rtc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzIo f;
    unsigned sink = 0;

    fuzz_open(&f);
    goldfish_rtc_new(f.m, &f.m->memory_root, 0x101000, f.clk, (Irq){fuzz_sink, &sink, 0}, NULL);
    f.mmio[0] = (FuzzRange){0x101000, 0x24};
    fuzz_run(&f, data, size);
    fuzz_close(&f);
    return 0;
}
