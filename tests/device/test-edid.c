/* The monitor of the standard VGA, decoded as VESA's EDID 1.4 says. */
#include "hw/display/edid.h"
#include "hw/display/vga.h"
#include "pci-fixture.h"

static void check_block(const uint8_t *e, unsigned w, unsigned h)
{
    static const uint8_t head[8] = {0, 255, 255, 255, 255, 255, 255, 0};
    uint8_t sum = 0;

    for (unsigned i = 0; i < 128; i++) {
        sum += e[i];
    }
    g_assert_cmphex(sum, ==, 0);
    g_assert_cmpmem(e, 8, head, 8);
    g_assert_cmphex(e[18] << 8 | e[19], ==, 0x0104);
    g_assert_cmphex(e[20] & 0x80, ==, 0x80);
    g_assert_cmphex(e[24] & 2, ==, 2); /* the first timing is native */
    const uint8_t *d = e + 54;
    unsigned clock = d[0] | d[1] << 8;
    unsigned hact = d[2] | (d[4] & 0xf0) << 4, hblank = d[3] | (d[4] & 15) << 8;
    unsigned vact = d[5] | (d[7] & 0xf0) << 4, vblank = d[6] | (d[7] & 15) << 8;
    g_assert_cmpuint(hact, ==, w);
    g_assert_cmpuint(vact, ==, h);
    double hz = clock * 10000.0 / ((double)(hact + hblank) * (vact + vblank));
    g_assert_cmpfloat(hz, >, 59.5);
    g_assert_cmpfloat(hz, <, 60.5);
    /* Synchronisation lies inside the blanking. */
    unsigned hfront = d[8] | (d[11] & 0xc0) << 2, hsync = d[9] | (d[11] & 0x30) << 4;
    unsigned vfront = d[10] >> 4 | (d[11] & 0x0c) << 2, vsync = (d[10] & 15) | (d[11] & 3) << 4;
    g_assert_cmpuint(hfront + hsync, <, hblank);
    g_assert_cmpuint(vfront + vsync, <, vblank);
    g_assert_cmpuint(vblank * 1e6 / 60 / (vact + vblank), >=, 460); /* µs */
    for (unsigned i = 38; i < 54; i += 2) { /* no standard timing is larger */
        if (e[i] != 1) {
            g_assert_cmpuint((e[i] + 31) * 8, <=, w);
        }
    }
}

static void test_blocks(void)
{
    static const uint16_t sizes[][2] = {{640, 480},   {800, 600},   {1024, 768},  {1280, 800},
                                        {1920, 1080}, {2560, 1600}, {3840, 2160}, {641, 1337}};
    uint8_t e[128];
    GError *err = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_assert_true(edid_make(e, sizes[i][0], sizes[i][1], &err));
        check_block(e, sizes[i][0], sizes[i][1]);
    }
    static const uint16_t bad[][2] = {{639, 480}, {640, 479}, {4096, 480}, {4095, 4095}, {0, 0}};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(edid_make(e, bad[i][0], bad[i][1], &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
    }
}

static void test_device(void)
{
    Fixture *f = fixture_new(16 << 20);
    Device *d = device_new(&vga_pci_type, f->m);
    GError *err = NULL;
    uint8_t e[128];

    g_assert_true(device_set(d, "addr", "2", &err));
    g_assert_true(device_set(d, "xres", "100", &err));
    g_assert_false(device_realize(d, &f->bus->bus, &err));
    g_clear_error(&err);
    g_assert_true(device_set(d, "xres", "1600", &err));
    g_assert_true(device_set(d, "yres", "1200", &err));
    g_assert_true(device_realize(d, &f->bus->bus, &err));
    cfg_write(f, PCI_DEVFN(2, 0), 0x18, 0xf0000000, 4);
    cfg_write(f, PCI_DEVFN(2, 0), 4, 3, 2);
    for (unsigned i = 0; i < 128; i++) {
        e[i] = mem_load(f->m->memory, 0xf0000000 + i, 1);
    }
    check_block(e, 1600, 1200);
    g_assert_cmphex(mem_load(f->m->memory, 0xf0000000, 4), ==, 0xffffff00);
    fixture_free(f);

    f = fixture_new(16 << 20);
    d = device_new(&vga_pci_type, f->m);
    g_assert_true(device_set(d, "edid", "off", &err));
    g_assert_true(device_set(d, "addr", "2", &err));
    g_assert_true(device_realize(d, &f->bus->bus, &err));
    cfg_write(f, PCI_DEVFN(2, 0), 0x18, 0xf0000000, 4);
    cfg_write(f, PCI_DEVFN(2, 0), 4, 3, 2);
    g_assert_cmphex(mem_load(f->m->memory, 0xf0000000, 4), ==, 0);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/edid/blocks", test_blocks);
    g_test_add_func("/edid/device", test_device);
    return g_test_run();
}
