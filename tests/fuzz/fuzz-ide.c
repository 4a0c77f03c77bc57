/* Hard disks: task file, data port, bus master. */
#include "fuzz-ide.h"

static void step(void *opaque, uint8_t what, uint32_t arg)
{
    static const uint8_t commands[] = {0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0xc4, 0xc5,
                                       0xc6, 0xc8, 0xca, 0x06, 0xb0, 0xe7, 0xec, 0xef, 0x91, 0xe4,
                                       0xe8, 0x3d, 0xce, 0xf8, 0x27, 0x40, 0x70, 0x90};
    FuzzPci *f = opaque;

    switch (what & 7) {
    case 0:
    case 1: /* a likely command at a likely place */
        fuzz_ide_out(f, 6, 0xe0 | (what & 0x10));
        fuzz_ide_out(f, 1, (uint8_t)(arg >> 12));
        fuzz_ide_out(f, 2, (uint8_t)(arg >> 8));
        fuzz_ide_out(f, 3, (uint8_t)arg);
        fuzz_ide_out(f, 4, 0);
        fuzz_ide_out(f, 5, 0);
        fuzz_ide_out(f, 7, commands[(what >> 3) % G_N_ELEMENTS(commands)]);
        break;
    case 2:
        fuzz_ide_bm(f, what, arg);
        break;
    case 3:
        fuzz_ide_data(f, what & 8, arg);
        break;
    case 4:
        mem_store(f->io.m->io, 0x3f6, what >> 3, 1);
        break;
    case 5:
        fuzz_pci_config(f, DEVFN, what & 0xfc, arg | arg << 16);
        break;
    default:
        fuzz_ide_settle(f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzPci f;

    fuzz_ide_open(&f, ATA_DISK, ATA_DISK, 300 * 512);
    f.io.extra = step;
    fuzz_run(&f.io, data, size);
    fuzz_pci_close(&f);
    return 0;
}
