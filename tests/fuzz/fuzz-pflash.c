/* CFI flash. */
#include "fuzz-io.h"
#include "hw/block/pflash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzIo f;

    fuzz_open(&f);
    pflash_new(f.m, &f.m->memory_root, "flash", 0x20000000, 2 * PFLASH_BLOCK, NULL, NULL);
    f.mmio[0] = (FuzzRange){0x20000000, 0x400};
    f.mmio[1] = (FuzzRange){0x20000000 + PFLASH_BLOCK, PFLASH_BLOCK};
    fuzz_run(&f, data, size);
    fuzz_close(&f);
    return 0;
}
