/*
 * The Bochs VBE extension: frame buffer modes by ports 1CE and 1CF.
 * Bochs VBE display API (vbe_display_api.txt).
 */
#include "core/log.h"
#include "hw/display/vga_regs.h"
#include <string.h>

#define VBE_VERSION 0xb0c5
#define VBE_MAX_X 16000
#define VBE_MAX_Y 12000

bool vga_vbe_on(const Vga *s)
{
    return s->vbe[VBE_ENABLE] & VBE_ENABLED;
}

bool vga_vbe_linear(const Vga *s)
{
    return vga_vbe_on(s) && s->vbe[VBE_BPP] > 4;
}

static unsigned vbe_bits(const Vga *s)
{
    return s->vbe[VBE_BPP] == 15 ? 16 : s->vbe[VBE_BPP];
}

uint32_t vga_vbe_pitch(const Vga *s)
{
    uint32_t w = MAX(s->vbe[VBE_VIRT_WIDTH], s->vbe[VBE_XRES]);

    /* Four bits: planar, an eighth of a byte a pixel in each plane; times four interleaved. */
    return vbe_bits(s) == 4 ? (w + 7) / 8 * 4 : w * (vbe_bits(s) / 8);
}

uint32_t vga_vbe_start(const Vga *s)
{
    uint32_t x = s->vbe[VBE_X_OFFSET];

    return s->vbe[VBE_Y_OFFSET] * vga_vbe_pitch(s) +
           (vbe_bits(s) == 4 ? x / 8 * 4 : x * (vbe_bits(s) / 8));
}

static bool vbe_depth_ok(uint16_t bpp)
{
    return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

/* A mode that memory cannot hold gets fewer lines. */
static void vbe_fit(Vga *s)
{
    uint16_t *v = s->vbe;

    v[VBE_XRES] = CLAMP(v[VBE_XRES] & ~7, 8, VBE_MAX_X);
    v[VBE_VIRT_WIDTH] = CLAMP(v[VBE_VIRT_WIDTH], v[VBE_XRES], VBE_MAX_X);
    uint32_t pitch = vga_vbe_pitch(s);
    if (pitch > s->vram_size) {
        v[VBE_VIRT_WIDTH] = v[VBE_XRES];
        pitch = vga_vbe_pitch(s);
    }
    uint32_t rows = MIN(s->vram_size / pitch, 0xffff);
    v[VBE_YRES] = CLAMP(v[VBE_YRES], 1, MIN(MAX(rows, 1), VBE_MAX_Y));
    v[VBE_VIRT_HEIGHT] = MAX(rows, 1);
    v[VBE_X_OFFSET] = MIN(v[VBE_X_OFFSET], v[VBE_VIRT_WIDTH] - v[VBE_XRES]);
    v[VBE_Y_OFFSET] = MIN(v[VBE_Y_OFFSET], MAX(v[VBE_VIRT_HEIGHT], v[VBE_YRES]) - v[VBE_YRES]);
}

static void vbe_enable(Vga *s, uint16_t val)
{
    bool was = vga_vbe_on(s), dac8 = val & VBE_8BIT_DAC;

    vga_sync(s);
    if ((val & VBE_ENABLED) && !was) {
        s->vbe[VBE_VIRT_WIDTH] = s->vbe[VBE_XRES];
        s->vbe[VBE_X_OFFSET] = s->vbe[VBE_Y_OFFSET] = s->vbe[VBE_BANK] = 0;
        vbe_fit(s);
        if (!(val & VBE_NOCLEAR)) {
            uint64_t len =
                MIN((uint64_t)vga_vbe_pitch(s) * s->vbe[VBE_YRES], (uint64_t)s->vram_size);
            memset(s->vram->host, 0, len);
            mem_set_dirty(s->vram, 0, len);
        }
    } else if (!(val & VBE_ENABLED)) {
        s->vbe[VBE_BANK] = 0;
    }
    /* Switching the DAC's width keeps the colours. */
    if (dac8 != !!(s->vbe[VBE_ENABLE] & VBE_8BIT_DAC)) {
        for (unsigned i = 0; i < sizeof(s->dac); i++) {
            s->dac[i] = dac8 ? s->dac[i] << 2 | s->dac[i] >> 4 : s->dac[i] >> 2;
        }
    }
    s->vbe[VBE_ENABLE] = val;
    s->redraw = true;
    vga_remap(s);
}

uint16_t vga_vbe_read(Vga *s)
{
    unsigned i = s->vbe_index;

    if (i >= VBE_REGS) {
        return 0xffff;
    }
    if (s->vbe[VBE_ENABLE] & VBE_GETCAPS) {
        switch (i) {
        case VBE_XRES:
            return VBE_MAX_X;
        case VBE_YRES:
            return VBE_MAX_Y;
        case VBE_BPP:
            return 32;
        default:
            break;
        }
    }
    return i == VBE_MEMORY_64K ? s->vram_size >> 16 : s->vbe[i];
}

void vga_vbe_write(Vga *s, uint16_t val)
{
    switch (s->vbe_index) {
    case VBE_ID: /* old interfaces may be asked for */
        if (val >= 0xb0c0 && val <= VBE_VERSION) {
            s->vbe[VBE_ID] = val;
        }
        return;
    case VBE_XRES:
    case VBE_YRES:
        if (!vga_vbe_on(s)) {
            s->vbe[s->vbe_index] = val;
        }
        return;
    case VBE_BPP:
        if (!vga_vbe_on(s)) {
            s->vbe[VBE_BPP] = val == 0 ? 8 : vbe_depth_ok(val) ? val : s->vbe[VBE_BPP];
        }
        return;
    case VBE_ENABLE:
        vbe_enable(s, val);
        return;
    case VBE_BANK:
        s->vbe[VBE_BANK] = val % (s->vram_size >> 16);
        vga_remap(s);
        return;
    case VBE_VIRT_WIDTH:
    case VBE_X_OFFSET:
    case VBE_Y_OFFSET:
        s->vbe[s->vbe_index] = val;
        if (vga_vbe_on(s)) {
            vbe_fit(s);
        }
        s->redraw = true;
        return;
    default:
        return;
    }
}

void vga_vbe_reset(Vga *s)
{
    memset(s->vbe, 0, sizeof(s->vbe));
    s->vbe[VBE_ID] = VBE_VERSION;
    s->vbe[VBE_BPP] = 8;
    s->vbe_index = 0;
}

bool vga_vbe_post_load(Vga *s, GError **err)
{
    if (!vbe_depth_ok(s->vbe[VBE_BPP])) {
        return fail(err, "vga: impossible VBE state");
    }
    s->vbe[VBE_BANK] %= s->vram_size >> 16;
    if (vga_vbe_on(s)) {
        vbe_fit(s);
    }
    return true;
}
