/* Selector, data port and DMA of fw_cfg; requests are built in guest RAM. */
#include "fuzz-pci.h"
#include "hw/firmware/fw_cfg.h"

static void dma(void *opaque, uint8_t what, uint32_t arg)
{
    FuzzPci *f = opaque;
    MemSpace *mem = f->io.m->memory;
    uint32_t key = what & 0x40 ? 0x19 + (arg & 15) : arg;
    uint32_t control = key << 16 | (what & 0x1f);
    uint32_t len = what & 0x80 ? arg << 12 | 7 : arg & 63;
    uint64_t addr = what & 0x20 ? arg << 8 : (uint64_t)arg << 20 | 0x3ff0;

    mem_store(mem, 0x1000, GUINT32_TO_BE(control), 4);
    mem_store(mem, 0x1004, GUINT32_TO_BE(len), 4);
    mem_store(mem, 0x1008, GUINT64_TO_BE(addr), 8);
    mem_store(f->io.m->io, 0x518, GUINT32_TO_BE(0x1000), 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzPci f;

    fuzz_pci_open(&f);
    FwCfg *s = fw_cfg_new(f.io.m, NULL);
    fw_cfg_set_file(s, "a", "0123456789", 10, NULL);
    fw_cfg_set_file(s, "empty", "", 0, NULL);
    fw_cfg_set_file_rw(s, "rw", "................", 16, NULL, NULL, NULL, NULL);
    f.io.ports[0] = (FuzzRange){0x510, 12};
    f.io.ports[1] = (FuzzRange){0x514, 8};
    f.io.mmio[0] = (FuzzRange){0x1000, 16};
    f.io.extra = dma;
    f.io.opaque = &f;
    fuzz_run(&f.io, data, size);
    fuzz_pci_close(&f);
    return 0;
}
