/* A CD drive (and a disk beside it): packets with every byte from the fuzzer. */
#include "fuzz-ide.h"

static void packet(FuzzPci *f, uint8_t what, uint32_t arg)
{
    static const uint8_t ops[] = {0x00, 0x03, 0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x28,
                                  0x2b, 0x42, 0x43, 0x44, 0x46, 0x4a, 0x51, 0x52,
                                  0x55, 0x5a, 0xa8, 0xad, 0xb9, 0xbd, 0xbe, 0xbb};
    uint8_t cdb[12];

    for (unsigned i = 1; i < 12; i++) {
        cdb[i] = (uint8_t)fuzz_take(&f->io, 1);
    }
    cdb[0] = ops[arg % G_N_ELEMENTS(ops)];
    fuzz_ide_out(f, 6, 0xa0);
    fuzz_ide_out(f, 1, what >> 7);
    fuzz_ide_out(f, 4, (uint8_t)arg);
    fuzz_ide_out(f, 5, (uint8_t)(arg >> 8));
    fuzz_ide_out(f, 7, 0xa0);
    for (unsigned i = 0; i < 12; i += 2) {
        mem_store(f->io.m->io, 0x1f0, cdb[i] | cdb[i + 1] << 8, 2);
    }
}

static void step(void *opaque, uint8_t what, uint32_t arg)
{
    FuzzPci *f = opaque;
    AtaDrive *d = piix3_ide_drive((Piix3Ide *)f->bus->functions[DEVFN], 0, 0);

    switch (what & 7) {
    case 0:
    case 1:
    case 2:
        packet(f, what, arg);
        break;
    case 3:
        fuzz_ide_bm(f, what, arg);
        break;
    case 4:
        fuzz_ide_data(f, what & 8, arg);
        break;
    case 5:
        ata_cd_change(d, what & 0x10 ? block_open_memory(NULL, (arg & 0xff) * 2048, true) : NULL,
                      true, NULL);
        break;
    default:
        fuzz_ide_settle(f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzPci f;

    fuzz_ide_open(&f, ATA_CDROM, ATA_DISK, 300 * 2048);
    f.io.extra = step;
    fuzz_run(&f.io, data, size);
    fuzz_pci_close(&f);
    return 0;
}
