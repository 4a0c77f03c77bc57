/* The 16550A with a back end that gives and takes bytes. */
#include "fuzz-isa.h"
#include "hw/char/ns16550.h"

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
    FuzzIsa f;

    fuzz_isa_open(&f);
    Chardev *chr = chardev_new_from_opts("ringbuf,id=c,size=256", NULL);
    ns16550_new_isa(&f.isa, 0x3f8, 4, chr, NULL);
    f.io.ports[0] = (FuzzRange){0x3f8, 8};
    f.io.extra = other_side;
    f.io.opaque = chr;
    fuzz_run(&f.io, data, size);
    fuzz_isa_close(&f);
    machine_lock();
    chardev_cleanup();
    machine_unlock();
    return 0;
}
