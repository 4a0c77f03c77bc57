/* What -kernel may be given: Linux image headers, Multiboot headers, ELF with PVH notes. */
#include "fuzz-pci.h"
#include "hw/firmware/linux_boot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzPci f;
    /* A large one: the Linux loader looks at a whole setup part. */
    size_t len = size && (data[0] & 1) ? size - 1 : size ? size + 4096 : 0;
    if (!size) {
        return 0;
    }
    uint8_t *copy = g_malloc0(len + 1);
    memcpy(copy, data + 1, size - 1);
    uint8_t *exact = g_memdup2(copy, len);
    KernelFile k = {.name = "k", .data = exact, .len = len, .append = "vga=ask mem=3M quiet"};

    fuzz_pci_open(&f);
    FwCfg *fw = fw_cfg_new(f.io.m, NULL);
    PcMemoryLayout l = pc_memory_layout(4 << 20);
    const E820Entry map[2] = {{0, 0x9fc00, 1}, {0x100000, 3 << 20, 1}};
    if (linux_boot_probe(&k)) {
        linux_boot_setup(fw, &k, &l, NULL);
    }
    for (int pvh = 0; pvh < 2; pvh++) {
        if (pvh ? pvh_probe(&k) : multiboot_probe(&k)) {
            Flat32Boot *b = pvh ? pvh_load(&k, &l, NULL) : multiboot_load(&k, &l, NULL);
            if (b) {
                b->machine = f.io.m;
                b->build(b, map, 2);
                flat32_boot_free(b);
            }
        }
    }
    fuzz_pci_close(&f);
    g_free(exact);
    g_free(copy);
    return 0;
}
