/* The real-time clock. */
#include "fuzz-io.h"
#include "hw/timer/mc146818.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Index and data together, so that registers are hit often; long times, too. */
static void access_register(void *opaque, uint8_t what, uint32_t arg)
{
    FuzzIo *f = opaque;

    if (what & 0x80) {
        clock_step(f->clk, (int64_t)(arg & 0xff) * 86400 * NS_PER_SEC / (1 + (what & 15)));
        return;
    }
    mem_store(f->m->io, 0x70, arg & 15, 1);
    if (what & 1) {
        mem_store(f->m->io, 0x71, arg >> 8, 1);
    } else {
        mem_load(f->m->io, 0x71, 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const bases[] = {NULL, "localtime", "1980-01-01", "9999-12-31T23:59:59"};
    FuzzIo f;
    unsigned sink = 0;

    if (!size) {
        return 0;
    }
    fuzz_open(&f);
    Mc146818Config cfg = {.clock = f.clk,
                          .host = f.clk,
                          .base = bases[data[0] & 3],
                          .slew = data[0] & 4,
                          .irq = {fuzz_sink, &sink, 0}};
    mc146818_new(f.m, &f.m->io_root, &cfg, NULL);
    f.ports[0] = (FuzzRange){0x70, 4};
    f.extra = access_register;
    f.opaque = &f;
    fuzz_run(&f, data + 1, size - 1);
    fuzz_close(&f);
    return 0;
}
