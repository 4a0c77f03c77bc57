/*
 * CL-GD5446 registers: what they hold, and what they decide of the VGA part and the memory map.
 * Cirrus Logic, CL-GD5446 Technical Reference Manual (1996), chapters "External/General
 * Registers", "VGA …" and "Extension Registers".
 *
 * Not there: the video window (CRTC 31h–3Fh) and the feature connector.
 */
#include "core/log.h"
#include "hw/display/cirrus_int.h"
#include <string.h>

#define OSC_HZ 14318180u

enum { CR_EXT_DISPLAY = 0x1b, CR_OVERLAY = 0x1d, CR_LATCH = 0x22, CR_FLIP = 0x24 };
enum { CR_REVISION = 0x25, CR_AR_INDEX = 0x26, CR_CHIP_ID = 0x27 };

static bool unlocked(const Cirrus *s)
{
    return s->sr[SR_UNLOCK] == CIRRUS_UNLOCKED;
}

bool cirrus_packed(const Cirrus *s)
{
    return s->sr[SR_EXT_MODE] & SR7_PACKED;
}

/* ---- what follows from the registers ---- */

/* The video clock: OSC · N / D / (1 + P), or the memory clock or half of it. */
static uint64_t vclk(const Cirrus *s)
{
    unsigned n = s->vga.misc >> 2 & 3;
    uint8_t num = s->sr[SR_VCLK_NUM + n] & 0x7f, den = s->sr[SR_VCLK_DEN + n];
    uint64_t hz;

    if (s->sr[SR_MCLK] & 0x40) {
        hz = (uint64_t)OSC_HZ * (s->sr[SR_MCLK] & 0x3f) / 8 >> (s->sr[0x1e] & 1);
    } else {
        hz = (uint64_t)OSC_HZ * num / MAX(den >> 1 & 0x1f, 1) >> (den & 1);
    }
    if ((s->sr[SR_EXT_MODE] & 0x0f) == 3) { /* 16 bits a pixel in two clocks */
        hz /= 2;
    }
    return MAX(hz, 1000000);
}

static uint32_t bank_offset(const Cirrus *s, unsigned n)
{
    return (uint32_t)s->gr[GR_OFFSET0 + n] << (s->gr[GR_EXT] & GRB_16K ? 14 : 12);
}

static void update_lfb(Cirrus *s)
{
    uint8_t config = s->sr[SR_CONFIG];

    mem_transaction_begin();
    mem_region_set_enabled(&s->lfb_io, cirrus_magic(s));
    mem_region_set_enabled(&s->mmio_low, (config & (SR17_MMIO | SR17_MMIO_LINEAR)) == SR17_MMIO);
    mem_region_set_enabled(&s->mmio_lfb, (config & (SR17_MMIO | SR17_MMIO_LINEAR)) ==
                                             (SR17_MMIO | SR17_MMIO_LINEAR));
    mem_transaction_commit();
}

void cirrus_update(Cirrus *s)
{
    Vga *v = &s->vga;
    uint8_t cr1b = s->cr[CR_EXT_DISPLAY];
    uint32_t start = (cr1b & 1u) << 16 | (cr1b & 0x0cu) << 15 | (s->cr[CR_OVERLAY] & 0x80u) << 12;
    uint32_t offset = (cr1b & 0x10u) << 4;
    bool wrap = cr1b & 2, dual = s->gr[GR_EXT] & GRB_DUAL;

    v->redraw |= start != v->ext_start || offset != v->ext_offset || wrap != v->ext_wrap;
    v->ext_start = start;
    v->ext_offset = offset;
    v->ext_wrap = wrap;
    v->ext_dot_hz = vclk(s);
    v->ext_bank[0] = bank_offset(s, 0);
    v->ext_bank[1] = dual ? bank_offset(s, 1) : v->ext_bank[0] + 0x8000;
    v->ext_linear = cirrus_packed(s);
    v->ext_magic = cirrus_magic(s) || (!v->ext_linear && (v->ext_bank[0] || dual));
    mem_transaction_begin();
    update_lfb(s);
    vga_remap(v);
    mem_transaction_commit();
}

/* ---- sequencer ---- */

static uint8_t read_sr(Cirrus *s)
{
    unsigned i = s->vga.sr_index & 0x1f;

    if (i == SR_UNLOCK) {
        return s->sr[i];
    }
    if (i < 5) {
        s->vga.sr_index = i;
        return i == SR_MAP_MASK && (s->gr[GR_EXT] & GRB_WRITE_MODES) ? s->sr[i] : s->vga.sr[i];
    }
    if (i == 5 || !unlocked(s)) {
        return 0xff;
    }
    if (i == 8) { /* EEPROM and DDC pins: nothing is connected, the pull-ups win */
        return s->sr[i] | 0x84;
    }
    return s->sr[i];
}

static void write_sr(Cirrus *s, uint8_t val)
{
    unsigned i = s->vga.sr_index & 0x1f;

    if (i == SR_UNLOCK) {
        s->sr[i] = (val & 0x17) == 0x12 ? CIRRUS_UNLOCKED : CIRRUS_LOCKED;
        return;
    }
    if (i < 5) {
        uint8_t index = s->vga.sr_index;
        s->sr[i] = val;
        s->vga.sr_index = i;
        vga_port_write(&s->vga, 0x3c5, val);
        s->vga.sr_index = index;
        return;
    }
    if (i == 5 || !unlocked(s)) {
        return;
    }
    switch (i) {
    case SR_CURSOR_X: /* the index carries the lowest three bits */
        s->cursor_x_low = s->vga.sr_index >> 5;
        break;
    case SR_CURSOR_Y:
        s->cursor_y_low = s->vga.sr_index >> 5;
        break;
    case SR_CONFIG:
        val = (val & ~0x38) | 0x20; /* strapped for PCI */
        break;
    case 0x19: /* signature */
    case 0x1a:
        return;
    default:
        break;
    }
    s->vga.redraw |= i == SR_EXT_MODE && s->sr[i] != val;
    s->sr[i] = val;
    cirrus_update(s);
}

/* ---- graphics controller ---- */

static const uint8_t gr_masks[64] = {
    [9] = 0xff,    [0x0a] = 0xff, [0x0b] = 0x3f, [0x0c] = 0xff, [0x0d] = 0xff, [0x0e] = 0xff,
    [0x0f] = 0xff, [0x10] = 0xff, [0x11] = 0xff, [0x12] = 0xff, [0x13] = 0xff, [0x14] = 0xff,
    [0x15] = 0xff, [0x18] = 0xff, [0x19] = 0xff, [0x1a] = 0xff, [0x1b] = 0xff, [0x1c] = 0xff,
    [0x1d] = 0xff, [0x1e] = 0xff, [0x1f] = 0xff, [0x20] = 0xff, [0x21] = 0x1f, [0x22] = 0xff,
    [0x23] = 0x07, [0x24] = 0xff, [0x25] = 0x1f, [0x26] = 0xff, [0x27] = 0x1f, [0x28] = 0xff,
    [0x29] = 0xff, [0x2a] = 0x3f, [0x2c] = 0xff, [0x2d] = 0xff, [0x2e] = 0x3f, [0x2f] = 0x1f,
    [0x30] = 0xff, [0x32] = 0xff, [0x33] = 0xff, [0x34] = 0xff, [0x35] = 0xff, [0x38] = 0xff,
    [0x39] = 0xff,
};

static uint8_t read_gr(Cirrus *s, unsigned i)
{
    bool wide = s->gr[GR_EXT] & GRB_WRITE_MODES;

    if (i < 9) {
        return wide && (i <= GR_FG || i == GR_MODE) ? s->gr[i] : s->vga.gr[i];
    }
    if (!unlocked(s)) {
        return 0xff;
    }
    return i == GR_BLT_START ? cirrus_blt_status(s) : s->gr[i];
}

static void write_gr(Cirrus *s, unsigned i, uint8_t val)
{
    if (i < 9) {
        uint8_t index = s->vga.gr_index;
        s->gr[i] = val;
        s->vga.gr_index = i;
        vga_port_write(&s->vga, 0x3cf, val);
        s->vga.gr_index = index;
        if (i == GR_MODE || i == GR_MISC) {
            cirrus_update(s);
        }
        return;
    }
    if (!unlocked(s)) {
        return;
    }
    if (i == GR_BLT_START) {
        cirrus_blt_control(s, val);
        cirrus_update(s);
        return;
    }
    s->vga.redraw |= i == GR_POWER && s->gr[i] != val;
    s->gr[i] = val & gr_masks[i];
    if (i == GR_OFFSET0 || i == GR_OFFSET1 || i == GR_EXT) {
        cirrus_update(s);
    } else if (i == GR_DST + 2 && (s->gr[GR_BLT_START] & BLT_AUTOSTART)) {
        cirrus_blt_start(s);
        cirrus_update(s);
    }
}

/* ---- CRTC ---- */

static uint8_t read_cr(Cirrus *s)
{
    const Vga *v = &s->vga;
    unsigned i = v->cr_index & 0x3f;

    switch (i) {
    case CR_LATCH:
        return v->latch[v->gr[GR_READ_MAP] & 3];
    case CR_FLIP:
        return v->ar_flip << 7;
    case CR_AR_INDEX:
        return v->ar_index;
    default:
        break;
    }
    if (!unlocked(s)) {
        return 0xff;
    }
    return i == CR_CHIP_ID ? CIRRUS_ID : i == CR_REVISION ? 0 : s->cr[i];
}

static void write_cr(Cirrus *s, uint8_t val)
{
    unsigned i = s->vga.cr_index & 0x3f;

    if (!unlocked(s)) {
        return;
    }
    if (i > CR_OVERLAY) {
        if (val && i >= 0x31) {
            guest_error("cirrus: no video window behind CRTC register %02xh", i);
        }
        return;
    }
    s->vga.redraw |= s->cr[i] != val;
    s->cr[i] = val;
    cirrus_update(s);
}

/* ---- DAC ---- */

/* The fifth access to 3C6 after four reads in a row is to the hidden register. */
static uint8_t read_mask(Cirrus *s)
{
    if (s->hidden_count == 4) {
        s->hidden_count = 0;
        return s->hidden_dac;
    }
    s->hidden_count++;
    return s->vga.dac_mask;
}

static void write_mask(Cirrus *s, uint8_t val)
{
    if (s->hidden_count == 4) {
        s->vga.redraw |= s->hidden_dac != val;
        s->hidden_dac = val;
    } else {
        vga_port_write(&s->vga, 0x3c6, val);
    }
    s->hidden_count = 0;
}

/* The colours of the cursor and the border replace entries 0–15 while SR12 says so. */
static uint8_t read_ext_dac(Cirrus *s)
{
    Vga *v = &s->vga;
    uint8_t val = s->ext_dac[(v->dac_read & 15) * 3 + v->dac_sub];

    if (++v->dac_sub == 3) {
        v->dac_sub = 0;
        v->dac_read++;
    }
    return val;
}

static void write_ext_dac(Cirrus *s, uint8_t val)
{
    Vga *v = &s->vga;

    v->dac_cache[v->dac_sub] = val & 0x3f;
    if (++v->dac_sub == 3) {
        memcpy(&s->ext_dac[(v->dac_write & 15) * 3], v->dac_cache, 3);
        v->dac_sub = 0;
        v->dac_write++;
    }
}

/* ---- ports ---- */

/* CRTC index and data at 3Bx or 3Dx: -1 is no CRTC port, else 0 or 1. */
static int crtc_port(const Cirrus *s, unsigned port)
{
    unsigned base = s->vga.misc & 1 ? 0x3d4 : 0x3b4;

    return port == base ? 0 : port == base + 1 ? 1 : -1;
}

uint8_t cirrus_port_read(Cirrus *s, unsigned port)
{
    int crtc = crtc_port(s, port);

    if (port >= 0x3c7 && port <= 0x3c9) {
        s->hidden_count = 0;
    }
    switch (port) {
    case 0x3c5:
        return read_sr(s);
    case 0x3c6:
        return read_mask(s);
    case 0x3c9:
        if (s->sr[SR_CURSOR] & CURSOR_DAC) {
            return read_ext_dac(s);
        }
        break;
    case 0x3cf:
        return read_gr(s, s->vga.gr_index & 0x3f);
    default:
        break;
    }
    if (crtc == 1 && s->vga.cr_index > 0x18) {
        return read_cr(s);
    }
    return vga_port_read(&s->vga, port);
}

void cirrus_port_write(Cirrus *s, unsigned port, uint8_t val)
{
    int crtc = crtc_port(s, port);

    if (port >= 0x3c7 && port <= 0x3c9) {
        s->hidden_count = 0;
    }
    switch (port) {
    case 0x3c4:
        s->vga.sr_index = val;
        return;
    case 0x3c5:
        write_sr(s, val);
        return;
    case 0x3c6:
        write_mask(s, val);
        return;
    case 0x3c9:
        if (s->sr[SR_CURSOR] & CURSOR_DAC) {
            write_ext_dac(s, val);
            return;
        }
        break;
    case 0x3ce:
        s->vga.gr_index = val & 0x3f;
        return;
    case 0x3cf:
        write_gr(s, s->vga.gr_index & 0x3f, val);
        return;
    default:
        break;
    }
    if (crtc == 0) {
        s->vga.cr_index = val & 0x3f;
    } else if (crtc == 1 && s->vga.cr_index > 0x18) {
        write_cr(s, val);
    } else {
        vga_port_write(&s->vga, port, val);
        if (port == 0x3c2) {
            cirrus_update(s); /* the clock */
        }
    }
}

/* ---- memory-mapped BitBLT registers ---- */

/* Graphics register + 1 behind each byte. */
static const uint8_t mmio_gr[0x41] = {
    [0x00] = 0x01, [0x01] = 0x11, [0x02] = 0x13, [0x03] = 0x15, [0x04] = 0x02, [0x05] = 0x12,
    [0x06] = 0x14, [0x07] = 0x16, [0x08] = 0x21, [0x09] = 0x22, [0x0a] = 0x23, [0x0b] = 0x24,
    [0x0c] = 0x25, [0x0d] = 0x26, [0x0e] = 0x27, [0x0f] = 0x28, [0x10] = 0x29, [0x11] = 0x2a,
    [0x12] = 0x2b, [0x14] = 0x2d, [0x15] = 0x2e, [0x16] = 0x2f, [0x17] = 0x30, [0x18] = 0x31,
    [0x1a] = 0x33, [0x1b] = 0x34, [0x1c] = 0x35, [0x1d] = 0x36, [0x20] = 0x39, [0x21] = 0x3a,
    [0x40] = 0x32,
};

uint8_t cirrus_mmio_read(Cirrus *s, unsigned off)
{
    if (off >= sizeof(mmio_gr) || !mmio_gr[off]) {
        return 0xff;
    }
    unsigned i = mmio_gr[off] - 1;
    return i <= GR_FG ? s->gr[i] : read_gr(s, i);
}

void cirrus_mmio_write(Cirrus *s, unsigned off, uint8_t val)
{
    if (off < sizeof(mmio_gr) && mmio_gr[off]) {
        write_gr(s, mmio_gr[off] - 1, val);
    }
}

/* ---- reset ---- */

void cirrus_regs_reset(Cirrus *s)
{
    /* Clocks after reset: 25.180, 28.325, 41.165, 36.082 MHz. */
    static const uint8_t num[4] = {0x66, 0x5b, 0x45, 0x7e}, den[4] = {0x3b, 0x2f, 0x30, 0x33};

    memset(s->sr, 0, sizeof(s->sr));
    memset(s->gr, 0, sizeof(s->gr));
    memset(s->cr, 0, sizeof(s->cr));
    memset(s->ext_dac, 0, sizeof(s->ext_dac));
    memset(s->latch, 0, sizeof(s->latch));
    s->hidden_dac = s->hidden_count = s->cursor_x_low = s->cursor_y_low = 0;
    s->sr[SR_UNLOCK] = CIRRUS_LOCKED;
    memcpy(&s->sr[SR_VCLK_NUM], num, 4);
    memcpy(&s->sr[SR_VCLK_DEN], den, 4);
    /* 64-bit memory, one or two banks: 2 or 4 MiB. */
    s->sr[SR_DRAM] = s->vga.vram_size >= 4 << 20 ? 0x98 : 0x18;
    s->sr[SR_CONFIG] = 0x20;
    s->sr[SR_MCLK] = 0x1c;
    cirrus_blt_stop(s);
    vga_reset(&s->vga);
    cirrus_update(s);
}
