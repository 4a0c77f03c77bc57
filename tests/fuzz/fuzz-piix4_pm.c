/* Power management and SMBus registers of the PIIX4 function. */
#include "fuzz-pci.h"
#include "hw/acpi/piix4_pm.h"

#define DEVFN 11

static void event(void *opaque, uint8_t what, uint32_t arg)
{
    FuzzPci *f = opaque;
    Piix4Pm *s = (Piix4Pm *)f->bus->functions[DEVFN];

    switch (what & 3) {
    case 0:
        piix4_pm_power_button(s);
        break;
    case 1:
        piix4_pm_gpe(s, arg);
        break;
    default:
        fuzz_pci_config(f, DEVFN, what, arg);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzPci f;

    fuzz_pci_open(&f);
    Piix4PmConfig cfg = {.clock = f.io.clk, .sci = fuzz_pci_line(&f, 9), .ram_size = 3ull << 30};
    piix4_pm_new(f.io.m, f.bus, DEVFN, &cfg, NULL);
    fuzz_pci_config(&f, DEVFN, 0x40, 0x601);
    fuzz_pci_config(&f, DEVFN, 0x80, 1);
    fuzz_pci_config(&f, DEVFN, 0x90, 0x701);
    fuzz_pci_config(&f, DEVFN, 0xd0, 0x090000);
    f.io.ports[0] = (FuzzRange){0x600, 0x40};
    f.io.ports[1] = (FuzzRange){0x700, 0x10};
    f.io.ports[2] = (FuzzRange){0xb2, 2};
    f.io.extra = event;
    f.io.opaque = &f;
    fuzz_run(&f.io, data, size);
    fuzz_pci_close(&f);
    return 0;
}
