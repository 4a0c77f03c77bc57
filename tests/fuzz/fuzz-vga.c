/* VGA: registers, memory window, VBE, and the picture after each. */
#include "fuzz-isa.h"
#include "hw/display/vga_regs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void draw(void *opaque, uint8_t what, uint32_t arg)
{
    Vga *v = opaque;

    switch (what & 7) {
    case 0:
        vga_draw(v, true);
        break;
    case 1: /* a VBE mode */
        v->vbe_index = arg & 15;
        vga_vbe_write(v, arg >> 4 & 0x7f);
        break;
    case 2:
        vga_port_write(v, 0x3c0, 0x20);
        vga_port_write(v, 0x3d4, 0x17);
        vga_port_write(v, 0x3d5, 0x80 | arg);
        break;
    default:
        vga_draw(v, false);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzIsa f;
    MemRegion vram;
    Vga *v = g_new0(Vga, 1);

    fuzz_isa_open(&f);
    mem_region_init_ram(&vram, "vram", 1 << 20, NULL);
    vga_init(v, f.io.m, "vga", f.io.clk, &vram, NULL, NULL, NULL);
    vga_reset(v);
    vga_port_write(v, 0x3c2, 0x67);
    mem_region_add(&f.io.m->io_root, &v->io, VGA_IO_BASE, 0);
    mem_region_add(&f.io.m->io_root, &v->vbe_io, 0x1ce, 0);
    mem_region_add(&f.io.m->memory_root, &v->window, 0xa0000, 1);
    f.io.ports[0] = (FuzzRange){0x3c0, 16};
    f.io.ports[1] = (FuzzRange){0x3d4, 2};
    f.io.ports[2] = (FuzzRange){0x3b0, 48};
    f.io.ports[3] = (FuzzRange){0x1ce, 4};
    f.io.mmio[0] = (FuzzRange){0xa0000, 0x10000};
    f.io.mmio[1] = (FuzzRange){0xb0000, 0x10000};
    f.io.extra = draw;
    f.io.opaque = v;
    fuzz_run(&f.io, data, size);
    vga_draw(v, true);
    vga_fini(v);
    g_free(v);
    mem_region_destroy(&vram);
    fuzz_isa_close(&f);
    return 0;
}
