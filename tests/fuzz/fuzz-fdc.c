/* Floppy controller with a disk, a write-protected one, and an empty drive. */
#include "fuzz-isa.h"
#include "hw/block/fdc82078.h"
#include "hw/dma/i8237.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void main_loop(void *opaque, uint8_t what, uint32_t arg)
{
    Fdc *fdc = opaque;

    if (what == 0xff) {
        fdc_change_media(fdc, arg & 3, NULL, NULL);
        return;
    }
    machine_unlock();
    for (unsigned i = 0; i < (what & 3) + 1; i++) {
        g_main_context_iteration(NULL, FALSE);
    }
    machine_lock();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t image[1440 * 1024];
    FuzzIsa f;

    fuzz_isa_open(&f);
    i8237_new(&f.isa, NULL);
    Fdc *fdc = fdc_new(&f.isa, 0x3f0, 6, 2, NULL);
    fdc_attach(fdc, 0, block_open_memory(image, 360 * 1024, false), NULL);
    fdc_attach(fdc, 1, block_open_memory(image, 160 * 1024, true), NULL);
    fdc_attach(fdc, 2, NULL, NULL);
    /* Out of reset, DMA channel 2 open for reading disks: most inputs should get further. */
    mem_store(f.io.m->io, 0x3f2, 0x3c, 1);
    mem_store(f.io.m->io, 0x3f7, 1, 1);
    mem_store(f.io.m->io, 0xd4, 0, 1);
    mem_store(f.io.m->io, 0x0b, 0x46, 1);
    mem_store(f.io.m->io, 0x0a, 2, 1);
    f.io.ports[0] = (FuzzRange){0x3f5, 1};
    f.io.ports[1] = (FuzzRange){0x3f0, 8};
    f.io.ports[2] = (FuzzRange){0x00, 16};
    f.io.extra = main_loop;
    f.io.opaque = fdc;
    fuzz_run(&f.io, data, size);
    fuzz_isa_close(&f);
    machine_lock();
    machine_unlock();
    return 0;
}
