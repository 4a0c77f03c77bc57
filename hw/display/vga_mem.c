/*
 * VGA memory: what the CPU's window at A0000 does to the planes.
 * IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem" (1992).
 */
#include "hw/display/vga_regs.h"
#include <string.h>

enum {
    MISC_RAM = 2,
    MISC_PAGE = 0x20,
    SR_MEM_NO_ODD_EVEN = 4,
    SR_MEM_CHAIN4 = 8,
    GR_MODE_READ1 = 8,
    GR_MODE_ODD_EVEN = 0x10,
    GR_MISC_CHAIN = 2
};

bool vga_decode(const Vga *s, uint32_t *off)
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
    return (a + bank) & ((s->vram_size >> 2) - 1) &
           (vga_vbe_on(s) || s->ext_wrap ? 0xffffffff : 0xffff);
}

uint8_t vga_planes_read(Vga *s, uint32_t off)
{
    uint32_t a = off, pos;
    uint8_t mask, *p;

    if (vga_vbe_linear(s)) {
        return linear_offset(s, a, &pos) ? vga_planes(s)[pos] : 0xff;
    }
    p = vga_planes(s) + plane_address(s, a, &mask) * 4;
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

uint8_t vga_mem_read(Vga *s, uint32_t off)
{
    return vga_decode(s, &off) ? vga_planes_read(s, off) : 0xff;
}

void vga_planes_write(Vga *s, uint32_t a, uint8_t val)
{
    uint32_t pos;
    uint8_t mask;

    s->written = true;
    if (vga_vbe_linear(s)) {
        if (linear_offset(s, a, &pos)) {
            vga_planes(s)[pos] = val;
            mem_set_dirty(s->vram, pos, 1);
        }
        return;
    }
    pos = plane_address(s, a, &mask) * 4;
    mask &= s->sr[SR_MAP_MASK];
    for (unsigned i = 0; i < 4; i++) {
        if (mask & (1 << i)) {
            vga_planes(s)[pos + i] = plane_value(s, i, val);
        }
    }
    mem_set_dirty(s->vram, pos, 4);
    if (mask & 4) {
        s->redraw = true; /* it may be a font */
    }
}

void vga_mem_write(Vga *s, uint32_t off, uint8_t val)
{
    if (vga_decode(s, &off)) {
        vga_planes_write(s, off, val);
    }
}

/* ---- what the CPU sees in the window ---- */

/* The graphics controller stores bytes as they come and reads them back: no rotation, no logic, no
 * set/reset, all bits, write and read mode 0. */
static bool moves_bytes(const Vga *s)
{
    return !(s->gr[GR_MODE] & (3 | GR_MODE_READ1)) && !(s->gr[GR_ENABLE_SR] & 15) &&
           !s->gr[GR_ROTATE] && s->gr[GR_BIT_MASK] == 0xff;
}

/* In these modes a byte of the window is a byte of a plane. The one thing lost is that reads load
 * the latches, which nothing shows until a write mode 1 that follows without a read. */
static VgaMap shadow_map(const Vga *s)
{
    unsigned window = s->gr[GR_MISC] >> 2 & 3;

    if (vga_vbe_on(s) || s->ext_linear || s->ext_magic || !moves_bytes(s)) {
        return VGA_MAP_IO;
    }
    if (s->sr[SR_MEMORY] & SR_MEM_CHAIN4) {
        return window == 1 && s->sr[SR_MAP_MASK] == 15 ? VGA_MAP_CHAIN4 : VGA_MAP_IO;
    }
    if (!(s->sr[SR_MEMORY] & SR_MEM_NO_ODD_EVEN) && (s->gr[GR_MODE] & GR_MODE_ODD_EVEN) &&
        (s->gr[GR_MISC] & GR_MISC_CHAIN) && window >= 2 && s->sr[SR_MAP_MASK] == 3 &&
        !(s->gr[GR_READ_MAP] & 2)) {
        return VGA_MAP_TEXT;
    }
    return VGA_MAP_IO;
}

/* Where byte @a of the shadow is among the planes. */
static uint32_t shadow_pos(const Vga *s, uint32_t a)
{
    if (s->map == VGA_MAP_CHAIN4) {
        return (a & ~3u) * 4 + (a & 3);
    }
    return ((a & ~1u) | !(s->misc & MISC_PAGE)) * 4 + (a & 1);
}

static uint32_t shadow_size(const Vga *s)
{
    return s->map == VGA_MAP_CHAIN4 ? 0x10000 : 0x8000;
}

void vga_sync(Vga *s)
{
    if (s->map != VGA_MAP_TEXT && s->map != VGA_MAP_CHAIN4) {
        return;
    }
    for (uint32_t page = 0; page < shadow_size(s); page += MEM_PAGE_SIZE) {
        if (!mem_test_clear_dirty(&s->shadow, page, MEM_PAGE_SIZE, MEM_DIRTY_DISPLAY)) {
            continue;
        }
        for (uint32_t a = page; a < page + MEM_PAGE_SIZE; a++) {
            vga_planes(s)[shadow_pos(s, a)] = s->shadow.host[a];
        }
        mem_set_dirty(s->vram, shadow_pos(s, page), MEM_PAGE_SIZE * 4);
        s->written = true;
    }
}

static void load_shadow(Vga *s)
{
    uint32_t n = shadow_size(s);

    for (uint32_t a = 0; a < n; a++) {
        s->shadow.host[a] = vga_planes(s)[shadow_pos(s, a)];
    }
    mem_set_dirty(&s->shadow, 0, n);
    mem_test_clear_dirty(&s->shadow, 0, n, MEM_DIRTY_DISPLAY);
}

static bool linear_banks(const Vga *s, uint32_t bank[2])
{
    unsigned window = s->gr[GR_MISC] >> 2 & 3;

    if (s->ext_magic || window > 1) {
        return false;
    }
    if (vga_vbe_linear(s)) {
        bank[0] = (uint32_t)s->vbe[VBE_BANK] << 16;
        bank[1] = bank[0] + 0x8000;
    } else if (s->ext_linear) {
        bank[0] = s->ext_bank[0];
        bank[1] = s->ext_bank[1];
    } else {
        return false;
    }
    /* Pieces of a view are whole pages, and must be there. */
    return !((bank[0] | bank[1]) & MEM_PAGE_MASK) && bank[0] + 0x8000 <= s->vram_size &&
           bank[1] + 0x8000 <= s->vram_size;
}

void vga_remap(Vga *s)
{
    uint32_t bank[2] = {s->bank[0].target_off, s->bank[1].target_off};
    VgaMap map = VGA_MAP_IO;
    bool loaded = s->loaded;

    s->loaded = false;
    if (s->misc & MISC_RAM) {
        map = linear_banks(s, bank) ? VGA_MAP_LINEAR : shadow_map(s);
    }
    bool shadow = map == VGA_MAP_TEXT || map == VGA_MAP_CHAIN4;
    uint32_t at = map == VGA_MAP_CHAIN4 ? 0 : (s->gr[GR_MISC] >> 2 & 1) ? 0x18000 : 0x10000;

    if (map == s->map && bank[0] == s->bank[0].target_off && bank[1] == s->bank[1].target_off &&
        shadow == s->shadow_view.enabled && (!shadow || at == s->shadow_view.addr)) {
        return;
    }
    vga_sync(s);
    s->map = map;
    mem_transaction_begin();
    for (unsigned i = 0; i < 2; i++) {
        mem_region_set_enabled(&s->bank[i], map == VGA_MAP_LINEAR);
        mem_region_set_alias(&s->bank[i], s->vram, bank[i]);
    }
    mem_region_set_enabled(&s->shadow_view, shadow);
    if (shadow) {
        if (loaded) {
            mem_set_dirty(&s->shadow, 0, shadow_size(s));
        } else {
            load_shadow(s);
        }
        s->shadow_view.size = shadow_size(s);
        mem_region_set_addr(&s->shadow_view, at);
    }
    mem_transaction_commit();
}
