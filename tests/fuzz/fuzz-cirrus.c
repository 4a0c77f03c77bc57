/* CL-GD5446: registers, BitBLTs of every kind, transfers, apertures, and the picture after each. */
#include "fuzz-pci.h"
#include "hw/display/cirrus.h"
#include "hw/display/cirrus_int.h"

#define LFB 0xe0000000u
#define MMIO 0xf0000000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void gfx(Cirrus *c, uint8_t i, uint8_t v)
{
    cirrus_port_write(c, 0x3ce, i);
    cirrus_port_write(c, 0x3cf, v);
}

/* A BitBLT whose addresses are near the ends of the memory, pitches and sizes near theirs. */
static void blt(Cirrus *c, uint8_t what, uint32_t arg)
{
    static const uint32_t places[4] = {0, 0x3fffff, 0x3ff000, 0x200000};
    uint32_t dst = places[arg & 3] + (arg >> 2 & 7) - 3,
             src = places[arg >> 5 & 3] - (arg >> 7 & 7);

    gfx(c, GR_DST, dst);
    gfx(c, GR_DST + 1, dst >> 8);
    gfx(c, GR_SRC, src);
    gfx(c, GR_SRC + 1, src >> 8);
    gfx(c, GR_SRC + 2, src >> 16);
    gfx(c, GR_WIDTH + 1, arg >> 10 & 1 ? 0x1f : 0);
    gfx(c, GR_HEIGHT + 1, 0);
    gfx(c, GR_DST_PITCH + 1, arg >> 11 & 1 ? 0x1f : 2);
    gfx(c, GR_DST + 2, dst >> 16);
    gfx(c, GR_BLT_START, what & 0x20 ? 2 : 0x22);
}

static void extra(void *opaque, uint8_t what, uint32_t arg)
{
    Cirrus *c = opaque;
    static const uint8_t modes[8] = {0, 0x11, 0x17, 0x15, 0x19, 0x13, 0x07, 0x0f};

    switch (what & 7) {
    case 0:
        cirrus_draw(c, true);
        break;
    case 1:
    case 2:
        gfx(c, GR_BLT_MODE, arg);
        gfx(c, GR_ROP, what & 8 ? 0x0d : arg);
        blt(c, what, arg);
        break;
    case 3: /* a mode that shows something */
        cirrus_port_write(c, 0x3c4, 7);
        cirrus_port_write(c, 0x3c5, modes[arg & 7]);
        cirrus_port_write(c, 0x3d4, 0x17);
        cirrus_port_write(c, 0x3d5, 0x80 | arg >> 8);
        c->vga.ar_index = 0x20;
        c->hidden_dac = what >> 3 & 1 ? 0xc0 | (arg >> 3 & 15) : arg;
        c->vga.redraw = true;
        break;
    case 4: /* data of a transfer */
        for (unsigned i = 0; i < (arg & 0x3ff); i++) {
            mem_store(c->pci.dev.machine->memory, what & 8 ? 0xa0000 : LFB + 0x1000000, arg, 4);
        }
        break;
    case 5: /* a cursor */
        cirrus_port_write(c, 0x3c4, 0x12);
        cirrus_port_write(c, 0x3c5, 1 | (arg & 4));
        cirrus_port_write(c, 0x3c4, 0x10 | (arg & 0xe0));
        cirrus_port_write(c, 0x3c5, arg >> 8);
        break;
    default:
        cirrus_draw(c, false);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzPci f;

    fuzz_pci_open(&f);
    Device *dev = device_new(&cirrus_vga_type, f.io.m);
    Cirrus *c = (Cirrus *)dev;
    device_set(dev, "romfile", "", NULL);
    device_set(dev, "addr", "2", NULL);
    if (!device_realize(dev, &f.bus->bus, NULL)) {
        device_free(dev);
        fuzz_pci_close(&f);
        return 0;
    }
    fuzz_pci_config(&f, 16, 0x10, LFB);
    fuzz_pci_config(&f, 16, 0x14, MMIO);
    fuzz_pci_config(&f, 16, 4, 3);
    cirrus_port_write(c, 0x3c2, 0x67);
    cirrus_port_write(c, 0x3c4, 6);
    cirrus_port_write(c, 0x3c5, 0x12);
    f.io.ports[0] = (FuzzRange){0x3c0, 16};
    f.io.ports[1] = (FuzzRange){0x3d4, 2};
    f.io.ports[2] = (FuzzRange){0x3ce, 2};
    f.io.ports[3] = (FuzzRange){0x3b0, 48};
    f.io.mmio[0] = (FuzzRange){0xa0000, 0x10000};
    f.io.mmio[1] = (FuzzRange){MMIO + 0x100, 0x44};
    f.io.mmio[2] = (FuzzRange){LFB + 0x3f8000, 0x10000};
    f.io.mmio[3] = (FuzzRange){0xb0000, 0x10000};
    f.io.extra = extra;
    f.io.opaque = c;
    fuzz_run(&f.io, data, size);
    cirrus_draw(c, true);
    fuzz_pci_close(&f);
    return 0;
}
