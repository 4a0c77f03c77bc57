/*
 * VGA registers.
 * IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem" (1992); IBM VGA XGA Technical
 * Reference.
 */
#include "hw/display/vga_regs.h"
#include "core/log.h"
#include "core/machine.h"
#include <string.h>

enum { MISC_COLOR = 1, MISC_CLOCK = 0x0c, MISC_PAGE = 0x20, CR_PROTECT = 0x80 };

/* ---- CRTC timing ---- */

void vga_timing(const Vga *s, VgaTiming *t)
{
    const uint8_t *cr = s->cr;
    unsigned overflow = cr[7];

    t->char_width = s->sr[SR_CLOCKING] & 1 ? 8 : 9;
    t->columns = cr[1] + 1;
    t->lines = (cr[0x12] | (overflow & 2) << 7 | (overflow & 0x40) << 3) + 1;
    t->h_total = cr[0] + 5;
    t->v_total = (cr[6] | (overflow & 1) << 8 | (overflow & 0x20) << 4) + 2;
    t->v_sync_start = cr[0x10] | (overflow & 4) << 6 | (overflow & 0x80) << 2;
    t->v_sync_len = ((cr[0x11] & 15) - (t->v_sync_start & 15)) & 15;
    t->dot_hz = (s->misc & MISC_CLOCK) == 4 ? 28322000 : 25175000;
    if (s->ext_dot_hz) {
        t->dot_hz = s->ext_dot_hz;
    }
    if (s->sr[SR_CLOCKING] & 8) {
        t->dot_hz /= 2;
    }
    if (cr[0x17] & 4) { /* the vertical counter runs at half the line rate */
        t->lines *= 2;
        t->v_total *= 2;
        t->v_sync_start *= 2;
        t->v_sync_len *= 2;
    }
}

/* Input status 1: where the beam is. */
static uint8_t read_status1(Vga *s)
{
    VgaTiming t;

    vga_timing(s, &t);
    uint64_t line_dots = (uint64_t)t.h_total * t.char_width;
    uint64_t dots = muldiv64(clock_now(s->clock), t.dot_hz, NS_PER_SEC) % (line_dots * t.v_total);
    unsigned line = dots / line_dots, column = dots % line_dots / t.char_width;
    bool sync = line >= t.v_sync_start && line < t.v_sync_start + MAX(t.v_sync_len, 1);
    bool off = line >= t.lines || column >= t.columns;

    s->ar_flip = false;
    return (off ? 1 : 0) | (sync ? 8 : 0);
}

/* ---- registers ---- */

static uint8_t sr_mask(unsigned i)
{
    static const uint8_t masks[8] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0};

    return masks[i & 7];
}

static uint8_t gr_mask(unsigned i)
{
    static const uint8_t masks[16] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};

    return masks[i & 15];
}

static void write_cr(Vga *s, uint8_t val)
{
    unsigned i = s->cr_index & 31;

    if (i > 0x18) {
        return;
    }
    if (i <= 7 && (s->cr[0x11] & CR_PROTECT)) {
        if (i == 7) { /* line compare bit 8 is not protected */
            s->cr[7] = (s->cr[7] & ~0x10) | (val & 0x10);
        }
    } else {
        s->cr[i] = val;
    }
    /* The cursor moves without a new picture. */
    if (i != 0x0e && i != 0x0f) {
        s->redraw = true;
    }
}

static void write_ar(Vga *s, uint8_t val)
{
    unsigned i = s->ar_index & 31;

    if (!s->ar_flip) {
        s->ar_index = val & 0x3f;
        s->redraw = true;
    } else if (i < sizeof(s->ar) && !(i < 16 && (s->ar_index & 0x20))) {
        static const uint8_t masks[5] = {0xef, 0xff, 0x3f, 0x0f, 0x0f};
        s->ar[i] = val & (i < 16 ? 0x3f : masks[i - 16]);
        s->redraw = true;
    }
    s->ar_flip = !s->ar_flip;
}

static uint8_t read_dac(Vga *s)
{
    uint8_t v = s->dac[s->dac_read * 3 + s->dac_sub];

    if (++s->dac_sub == 3) {
        s->dac_sub = 0;
        s->dac_read++;
    }
    return v;
}

static void write_dac(Vga *s, uint8_t val)
{
    s->dac_cache[s->dac_sub] = s->vbe[VBE_ENABLE] & VBE_8BIT_DAC ? val : val & 0x3f;
    if (++s->dac_sub == 3) {
        memcpy(&s->dac[s->dac_write * 3], s->dac_cache, 3);
        s->dac_sub = 0;
        s->dac_write++;
        s->redraw = true;
    }
}

/* The CRTC and status ports are at 3Bx or 3Dx; the others are not decoded. */
static bool wrong_half(const Vga *s, unsigned port)
{
    bool mono_port = port >= 0x3b0 && port <= 0x3bf, color_port = port >= 0x3d0;

    return (mono_port && (s->misc & MISC_COLOR)) || (color_port && !(s->misc & MISC_COLOR));
}

uint8_t vga_port_read(Vga *s, unsigned port)
{
    if (wrong_half(s, port)) {
        return 0xff;
    }
    switch (port) {
    case 0x3c0:
        return s->ar_index;
    case 0x3c1:
        return (s->ar_index & 31) < sizeof(s->ar) ? s->ar[s->ar_index & 31] : 0;
    case 0x3c2: /* switch sense: a colour monitor; no interrupt */
        return 0x10;
    case 0x3c3:
        return 1;
    case 0x3c4:
        return s->sr_index;
    case 0x3c5:
        return s->sr[s->sr_index & 7];
    case 0x3c6:
        return s->dac_mask;
    case 0x3c7:
        return s->dac_state;
    case 0x3c8:
        return s->dac_write;
    case 0x3c9:
        return read_dac(s);
    case 0x3ca:
        return s->feature;
    case 0x3cc:
        return s->misc;
    case 0x3ce:
        return s->gr_index;
    case 0x3cf:
        return s->gr[s->gr_index & 15];
    case 0x3b4:
    case 0x3d4:
        return s->cr_index;
    case 0x3b5:
    case 0x3d5:
        return s->cr[s->cr_index & 31];
    case 0x3ba:
    case 0x3da:
        return read_status1(s);
    default:
        return 0xff;
    }
}

void vga_port_write(Vga *s, unsigned port, uint8_t val)
{
    if (wrong_half(s, port)) {
        return;
    }
    switch (port) {
    case 0x3c0:
        write_ar(s, val);
        break;
    case 0x3c2:
        vga_sync(s);
        if ((s->misc ^ val) & MISC_PAGE) { /* it decides where the planes have the text */
            s->map = VGA_MAP_IO;
        }
        s->misc = val & 0xef;
        s->redraw = true;
        vga_remap(s);
        break;
    case 0x3c4:
        s->sr_index = val & 7;
        break;
    case 0x3c5:
        s->sr[s->sr_index & 7] = val & sr_mask(s->sr_index);
        s->redraw |= s->sr_index != SR_MAP_MASK;
        vga_remap(s);
        break;
    case 0x3c6:
        s->dac_mask = val;
        s->redraw = true;
        break;
    case 0x3c7:
        s->dac_read = val;
        s->dac_sub = 0;
        s->dac_state = 3;
        break;
    case 0x3c8:
        s->dac_write = val;
        s->dac_sub = 0;
        s->dac_state = 0;
        break;
    case 0x3c9:
        write_dac(s, val);
        break;
    case 0x3ce:
        s->gr_index = val & 15;
        break;
    case 0x3cf:
        s->gr[s->gr_index & 15] = val & gr_mask(s->gr_index);
        s->redraw |= s->gr_index == GR_MODE || s->gr_index == GR_MISC;
        vga_remap(s);
        break;
    case 0x3b4:
    case 0x3d4:
        s->cr_index = val & 31;
        break;
    case 0x3b5:
    case 0x3d5:
        write_cr(s, val);
        break;
    case 0x3ba:
    case 0x3da:
        s->feature = val & 0x0b;
        break;
    default:
        break;
    }
}

/* ---- regions ---- */

static uint64_t io_read(void *opaque, uint64_t off, unsigned size)
{
    return vga_port_read(opaque, VGA_IO_BASE + off);
}

static void io_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    vga_port_write(opaque, VGA_IO_BASE + off, val);
}

static uint64_t window_read(void *opaque, uint64_t off, unsigned size)
{
    Vga *s = opaque;
    uint64_t v = 0;

    if (s->ext_read) {
        return s->ext_read(s->ext_opaque, off, size);
    }
    for (unsigned i = 0; i < size; i++) {
        v |= (uint64_t)vga_mem_read(s, off + i) << i * 8;
    }
    return v;
}

static void window_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Vga *s = opaque;

    if (s->ext_write) {
        s->ext_write(s->ext_opaque, off, val, size);
        return;
    }
    for (unsigned i = 0; i < size; i++) {
        vga_mem_write(s, off + i, val >> i * 8);
    }
}

/* Port 1CE is the index, 1CF and 1D0 the data. */
static uint64_t vbe_io_read(void *opaque, uint64_t off, unsigned size)
{
    Vga *s = opaque;

    if (size != 2) {
        return 0xff;
    }
    return off == 0 ? s->vbe_index : vga_vbe_read(s);
}

static void vbe_io_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Vga *s = opaque;

    if (size != 2) {
        return;
    }
    if (off == 0) {
        s->vbe_index = val;
    } else {
        vga_vbe_write(s, val);
    }
}

static const MemOps io_ops = {.read = io_read, .write = io_write, .impl_max = 1};
static const MemOps window_ops = {.read = window_read, .write = window_write, .impl_max = 8};
static const MemOps vbe_ops = {.read = vbe_io_read, .write = vbe_io_write, .impl_max = 2};

/* ---- life ---- */

void vga_reset(Vga *s)
{
    vga_sync(s);
    s->misc = s->feature = 0;
    s->sr_index = s->gr_index = s->cr_index = s->ar_index = 0;
    memset(s->sr, 0, sizeof(s->sr));
    memset(s->gr, 0, sizeof(s->gr));
    memset(s->cr, 0, sizeof(s->cr));
    memset(s->ar, 0, sizeof(s->ar));
    s->ar_flip = false;
    s->dac_mask = 0xff;
    s->dac_state = s->dac_read = s->dac_write = s->dac_sub = 0;
    memset(s->dac_cache, 0, sizeof(s->dac_cache));
    memset(s->dac, 0, sizeof(s->dac));
    memset(s->latch, 0, sizeof(s->latch));
    vga_vbe_reset(s);
    s->redraw = true;
    vga_remap(s);
}

static const ConsoleOps console_ops = {.update = vga_draw};

bool vga_init(Vga *s, Machine *m, const char *name, Clock *clock, MemRegion *vram,
              const ConsoleOps *ops, void *ops_opaque, GError **err)
{
    if (!mem_region_init_ram(&s->shadow, "vga-shadow", VGA_SHADOW, err)) {
        return false;
    }
    s->vram = vram;
    s->vram_size = vram->size;
    s->clock = clock;
    s->console =
        ops ? console_new(m, name, ops, ops_opaque) : console_new(m, name, &console_ops, s);
    s->redraw = true;
    s->pages = g_malloc(vram->size >> MEM_PAGE_BITS);
    s->map = VGA_MAP_IO;
    mem_region_init_io(&s->io, "vga-ports", &io_ops, s, VGA_IO_SIZE);
    mem_region_init_io(&s->vbe_io, "vbe-ports", &vbe_ops, s, 4);
    mem_region_init_container(&s->window, "vga-window", VGA_WINDOW);
    mem_region_init_io(&s->window_io, "vga-window-io", &window_ops, s, VGA_WINDOW);
    mem_region_add(&s->window, &s->window_io, 0, 0);
    for (unsigned i = 0; i < 2; i++) {
        mem_region_init_alias(&s->bank[i], "vga-bank", vram, 0, 0x8000);
        s->bank[i].enabled = false;
        mem_region_add(&s->window, &s->bank[i], i * 0x8000, 1);
    }
    mem_region_init_alias(&s->shadow_view, "vga-shadow-view", &s->shadow, 0, VGA_SHADOW);
    s->shadow_view.enabled = false;
    mem_region_add(&s->window, &s->shadow_view, 0, 1);
    return true;
}

void vga_fini(Vga *s)
{
    mem_region_destroy(&s->io);
    mem_region_destroy(&s->vbe_io);
    mem_region_destroy(&s->window);
    mem_region_destroy(&s->window_io);
    mem_region_destroy(&s->bank[0]);
    mem_region_destroy(&s->bank[1]);
    mem_region_destroy(&s->shadow_view);
    mem_region_destroy(&s->shadow);
    console_free(s->console);
    s->console = NULL;
    g_free(s->pages);
    s->pages = NULL;
}

static bool vga_post_load(void *obj, GError **err)
{
    Vga *s = obj;

    if (s->dac_sub > 2) {
        return fail(err, "vga: impossible state");
    }
    if (!vga_vbe_post_load(s, err)) {
        return false;
    }
    /* Memory is saved before devices are: what the shadow holds may not be in the planes. An
     * adapter around this one remaps when it has its own registers. */
    mem_region_set_enabled(&s->shadow_view, false);
    s->map = VGA_MAP_IO;
    s->loaded = true;
    if (!s->ext_opaque) {
        vga_remap(s);
    }
    s->redraw = true;
    return true;
}

static const StateField vga_fields[] = {
    STATE_U8(Vga, misc),
    STATE_U8(Vga, feature),
    STATE_U8(Vga, sr_index),
    STATE_U8_ARRAY(Vga, sr),
    STATE_U8(Vga, gr_index),
    STATE_U8_ARRAY(Vga, gr),
    STATE_U8(Vga, cr_index),
    STATE_U8_ARRAY(Vga, cr),
    STATE_U8(Vga, ar_index),
    STATE_U8_ARRAY(Vga, ar),
    STATE_BOOL(Vga, ar_flip),
    STATE_U8(Vga, dac_mask),
    STATE_U8(Vga, dac_state),
    STATE_U8(Vga, dac_read),
    STATE_U8(Vga, dac_write),
    STATE_U8(Vga, dac_sub),
    STATE_U8_ARRAY(Vga, dac_cache),
    STATE_U8_ARRAY(Vga, dac),
    STATE_U8_ARRAY(Vga, latch),
    STATE_U16(Vga, vbe_index),
    STATE_U16_ARRAY(Vga, vbe),
    STATE_END_FIELD,
};
const StateTable vga_state = {
    .name = "vga", .version = 1, .fields = vga_fields, .post_load = vga_post_load};
