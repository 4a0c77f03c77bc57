/*
 * VGA registers and memory.
 * IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem" (1992); IBM VGA XGA Technical
 * Reference; Bochs VBE display API (vbe_display_api.txt).
 */
#include "hw/display/vga_regs.h"
#include "core/log.h"
#include "core/machine.h"
#include <string.h>

enum {
    MISC_COLOR = 1,
    MISC_RAM = 2,
    MISC_CLOCK = 0x0c,
    MISC_PAGE = 0x20,
    SR_MEM_NO_ODD_EVEN = 4,
    SR_MEM_CHAIN4 = 8,
    GR_MODE_READ1 = 8,
    GR_MODE_ODD_EVEN = 0x10,
    GR_MISC_CHAIN = 2,
    CR_PROTECT = 0x80
};

static uint8_t *planes(Vga *s)
{
    return s->vram->host;
}

/* ---- memory window ---- */

bool vga_vbe_on(const Vga *s)
{
    return s->vbe[VBE_ENABLE] & VBE_ENABLED;
}

static bool vbe_linear(const Vga *s)
{
    return vga_vbe_on(s) && s->vbe[VBE_BPP] > 4;
}

/* Offset from A0000 into the mapped window; false: not decoded. */
static bool decode(const Vga *s, uint32_t *off)
{
    uint32_t a = *off & (VGA_WINDOW - 1);

    if (!(s->misc & MISC_RAM)) {
        return false;
    }
    switch ((s->gr[GR_MISC] >> 2) & 3) {
    case 0:
        break;
    case 1:
        if (a >= 0x10000) {
            return false;
        }
        break;
    case 2:
        if (a < 0x10000 || a >= 0x18000) {
            return false;
        }
        a -= 0x10000;
        break;
    default:
        if (a < 0x18000) {
            return false;
        }
        a -= 0x18000;
        break;
    }
    *off = a;
    return true;
}

/* In linear VBE modes the window shows a 64 KiB bank of the frame buffer. */
static bool linear_offset(const Vga *s, uint32_t a, uint32_t *pos)
{
    *pos = ((uint32_t)s->vbe[VBE_BANK] << 16) + a;
    return *pos < s->vram_size;
}

/* Plane address and planes that CPU address @a selects. */
static uint32_t plane_address(const Vga *s, uint32_t a, uint8_t *mask)
{
    uint32_t bank = vga_vbe_on(s) ? (uint32_t)s->vbe[VBE_BANK] << 16 : 0;

    *mask = 15;
    if (s->sr[SR_MEMORY] & SR_MEM_CHAIN4) {
        *mask = 1 << (a & 3);
        a &= ~3u;
    } else if (!(s->sr[SR_MEMORY] & SR_MEM_NO_ODD_EVEN)) {
        *mask = a & 1 ? 0x0a : 0x05;
        if (s->gr[GR_MISC] & GR_MISC_CHAIN) {
            /* Address bit 0 is replaced: by A16 in the 128 KiB map, else by the page bit. */
            unsigned bit = (s->gr[GR_MISC] & 0x0c) == 0 ? a >> 16 & 1 : !(s->misc & MISC_PAGE);
            a = (a & ~1u) | bit;
        }
    }
    return (a + bank) & ((s->vram_size >> 2) - 1) & (vga_vbe_on(s) ? 0xffffffff : 0xffff);
}

uint8_t vga_mem_read(Vga *s, uint32_t off)
{
    uint32_t a = off, pos;
    uint8_t mask, *p;

    if (!decode(s, &a)) {
        return 0xff;
    }
    if (vbe_linear(s)) {
        return linear_offset(s, a, &pos) ? planes(s)[pos] : 0xff;
    }
    p = planes(s) + plane_address(s, a, &mask) * 4;
    memcpy(s->latch, p, 4);
    if (s->gr[GR_MODE] & GR_MODE_READ1) {
        uint8_t equal = 0xff;
        for (unsigned i = 0; i < 4; i++) {
            if (s->gr[GR_DONT_CARE] & (1 << i)) {
                equal &= ~(s->latch[i] ^ (s->gr[GR_COMPARE] & (1 << i) ? 0xff : 0));
            }
        }
        return equal;
    }
    if (s->sr[SR_MEMORY] & SR_MEM_CHAIN4) {
        return s->latch[off & 3];
    }
    if (s->gr[GR_MODE] & GR_MODE_ODD_EVEN) {
        return s->latch[(s->gr[GR_READ_MAP] & 2) | (off & 1)];
    }
    return s->latch[s->gr[GR_READ_MAP] & 3];
}

static uint8_t logic(const Vga *s, uint8_t v, uint8_t latch)
{
    switch ((s->gr[GR_ROTATE] >> 3) & 3) {
    case 1:
        return v & latch;
    case 2:
        return v | latch;
    case 3:
        return v ^ latch;
    default:
        return v;
    }
}

/* What the graphics controller stores into plane @i. */
static uint8_t plane_value(const Vga *s, unsigned i, uint8_t val)
{
    unsigned rot = s->gr[GR_ROTATE] & 7;
    uint8_t rotated = val >> rot | val << (8 - rot), bits = s->gr[GR_BIT_MASK], v;
    uint8_t set = s->gr[GR_SET_RESET] & (1 << i) ? 0xff : 0;

    switch (s->gr[GR_MODE] & 3) {
    case 0:
        v = s->gr[GR_ENABLE_SR] & (1 << i) ? set : rotated;
        break;
    case 1:
        return s->latch[i];
    case 2:
        v = val & (1 << i) ? 0xff : 0;
        break;
    default:
        v = set;
        bits &= rotated;
        break;
    }
    v = logic(s, v, s->latch[i]);
    return (v & bits) | (s->latch[i] & ~bits);
}

void vga_mem_write(Vga *s, uint32_t off, uint8_t val)
{
    uint32_t a = off, pos;
    uint8_t mask;

    if (!decode(s, &a)) {
        return;
    }
    s->written = true;
    if (vbe_linear(s)) {
        if (linear_offset(s, a, &pos)) {
            planes(s)[pos] = val;
            mem_set_dirty(s->vram, pos, 1);
        }
        return;
    }
    pos = plane_address(s, a, &mask) * 4;
    mask &= s->sr[SR_MAP_MASK];
    for (unsigned i = 0; i < 4; i++) {
        if (mask & (1 << i)) {
            planes(s)[pos + i] = plane_value(s, i, val);
        }
    }
    mem_set_dirty(s->vram, pos, 4);
    if (mask & 4) {
        s->redraw = true; /* it may be a font */
    }
}

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
    if (s->sr[SR_CLOCKING] & 8) {
        t->dot_hz /= 2;
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
        s->misc = val & 0xef;
        s->redraw = true;
        break;
    case 0x3c4:
        s->sr_index = val & 7;
        break;
    case 0x3c5:
        s->sr[s->sr_index & 7] = val & sr_mask(s->sr_index);
        s->redraw |= s->sr_index != SR_MAP_MASK;
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

/* ---- VBE ---- */

#define VBE_VERSION 0xb0c5
#define VBE_MAX_X 16000
#define VBE_MAX_Y 12000

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
    return vga_mem_read(opaque, off);
}

static void window_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    vga_mem_write(opaque, off, val);
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
static const MemOps window_ops = {.read = window_read, .write = window_write, .impl_max = 1};
static const MemOps vbe_ops = {.read = vbe_io_read, .write = vbe_io_write, .impl_max = 2};

/* ---- life ---- */

void vga_reset(Vga *s)
{
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
    memset(s->vbe, 0, sizeof(s->vbe));
    s->vbe[VBE_ID] = VBE_VERSION;
    s->vbe[VBE_BPP] = 8;
    s->vbe_index = 0;
    s->redraw = true;
}

static const ConsoleOps console_ops = {.update = vga_draw};

void vga_init(Vga *s, Machine *m, const char *name, Clock *clock, MemRegion *vram)
{
    s->vram = vram;
    s->vram_size = vram->size;
    s->clock = clock;
    s->console = console_new(m, name, &console_ops, s);
    s->redraw = true;
    mem_region_init_io(&s->io, "vga-ports", &io_ops, s, VGA_IO_SIZE);
    mem_region_init_io(&s->window, "vga-window", &window_ops, s, VGA_WINDOW);
    mem_region_init_io(&s->vbe_io, "vbe-ports", &vbe_ops, s, 4);
}

void vga_fini(Vga *s)
{
    mem_region_destroy(&s->io);
    mem_region_destroy(&s->window);
    mem_region_destroy(&s->vbe_io);
    console_free(s->console);
    s->console = NULL;
}

static bool vga_post_load(void *obj, GError **err)
{
    Vga *s = obj;

    if (!vbe_depth_ok(s->vbe[VBE_BPP]) || s->dac_sub > 2) {
        return fail(err, "vga: impossible state");
    }
    s->vbe[VBE_BANK] %= s->vram_size >> 16;
    if (vga_vbe_on(s)) {
        vbe_fit(s);
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
