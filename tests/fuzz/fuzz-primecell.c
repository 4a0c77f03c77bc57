/* PL011, PL031 and PL061 side by side. */
#include "chardev/chardev.h"
#include "fuzz-io.h"
#include "hw/char/pl011.h"
#include "hw/gpio/pl061.h"
#include "hw/timer/pl031.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void other_side(void *chr, uint8_t what, uint32_t arg)
{
    uint8_t buf[64];

    if (what & 1) {
        memset(buf, (int)arg, sizeof(buf));
        chardev_ringbuf_inject(chr, buf, 1 + arg % sizeof(buf));
    } else {
        chardev_ringbuf_read(chr, buf, 1 + arg % sizeof(buf));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzIo f = {.clk = clock_new(CLOCK_KIND_MANUAL)};
    const Irq none = {0};

    machine_lock();
    f.m = machine_new(NULL, NULL);
    Chardev *chr = chardev_new_from_opts("ringbuf,id=c,size=256", NULL);

    pl011_new(f.m, &f.m->memory_root, 0x10000, none, chr, NULL);
    pl031_new(f.m, &f.m->memory_root, 0x20000, none, f.clk, 5, NULL);
    Pl061 *gpio = pl061_new(f.m, &f.m->memory_root, 0x30000, none, NULL, NULL);

    for (unsigned i = 0; i < 8; i++) {
        f.inputs[i] = pl061_pin(gpio, i);
    }
    f.n_inputs = 8;
    for (unsigned i = 0; i < 3; i++) {
        f.mmio[i] = (FuzzRange){0x10000 * (i + 1), 0x1000};
    }
    f.extra = other_side;
    f.opaque = chr;
    machine_unlock();
    fuzz_run(&f, data, size);
    machine_lock();
    machine_free(f.m);
    chardev_cleanup();
    machine_unlock();
    clock_free(f.clk);
    return 0;
}
