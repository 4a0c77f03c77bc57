/* A CL-GD5446 on a PCI bus, with its registers at hand and a slow model of its BitBLT engine. */
#ifndef RHEA_TESTS_CIRRUS_RIG_H
#define RHEA_TESTS_CIRRUS_RIG_H

#include "hw/display/cirrus.h"
#include "hw/display/cirrus_int.h"
#include "pci-fixture.h"

#define LFB 0xe0000000u
#define MMIO 0xf0000000u
#define VRAM 0x400000u
#define DEVFN PCI_DEVFN(2, 0)

typedef struct Bench {
    Fixture *f;
    Cirrus *c;
    uint8_t *vram;
} Bench;

static inline void seq(Bench *b, uint8_t i, uint8_t v)
{
    outw(b->f, 0x3c4, i | v << 8);
}

static inline uint8_t get_seq(Bench *b, uint8_t i)
{
    outb(b->f, 0x3c4, i);
    return inb(b->f, 0x3c5);
}

static inline void gfx(Bench *b, uint8_t i, uint8_t v)
{
    outw(b->f, 0x3ce, i | v << 8);
}

static inline uint8_t get_gfx(Bench *b, uint8_t i)
{
    outb(b->f, 0x3ce, i);
    return inb(b->f, 0x3cf);
}

static inline void crtc(Bench *b, uint8_t i, uint8_t v)
{
    outw(b->f, 0x3d4, i | v << 8);
}

static inline uint8_t get_crtc(Bench *b, uint8_t i)
{
    outb(b->f, 0x3d4, i);
    return inb(b->f, 0x3d5);
}

static inline void attr(Bench *b, uint8_t i, uint8_t v)
{
    inb(b->f, 0x3da);
    outb(b->f, 0x3c0, i);
    outb(b->f, 0x3c0, v);
}

static inline void hidden(Bench *b, uint8_t v)
{
    inb(b->f, 0x3c8);
    for (unsigned i = 0; i < 4; i++) {
        inb(b->f, 0x3c6);
    }
    outb(b->f, 0x3c6, v);
}

static inline void poke(Bench *b, uint64_t a, uint64_t v, unsigned size)
{
    mem_store(b->f->m->memory, a, v, size);
}

static inline uint64_t peek(Bench *b, uint64_t a, unsigned size)
{
    return mem_load(b->f->m->memory, a, size);
}

static inline void start(Bench *b)
{
    GError *err = NULL;

    b->f = fixture_new(16 << 20);
    b->c = (Cirrus *)cirrus_new(b->f->bus, DEVFN, &err);
    g_assert_no_error(err);
    b->vram = b->c->vram.host;
    cfg_write(b->f, DEVFN, 0x10, LFB, 4);
    cfg_write(b->f, DEVFN, 0x14, MMIO, 4);
    cfg_write(b->f, DEVFN, 4, 3, 2);
    outb(b->f, 0x3c2, 0x6f);
    seq(b, 6, 0x12);
}

static inline void stop(Bench *b)
{
    fixture_free(b->f);
}

/* Packed pixels behind a 64 KiB window, as the tables of the manual's modes have them. */
static inline void packed(Bench *b, uint8_t sr7, uint8_t dac)
{
    seq(b, 2, 0x0f);
    seq(b, 4, 0x0e);
    seq(b, 7, sr7);
    gfx(b, 5, 0x40);
    gfx(b, 6, 0x05);
    gfx(b, 8, 0xff);
    hidden(b, dac);
    outb(b->f, 0x3c6, 0xff);
}

static inline void fill_random(Bench *b, GRand *r)
{
    for (uint32_t i = 0; i < VRAM; i += 4) {
        pci_set32(b->vram + i, g_rand_int(r));
    }
}

/* ---- the model ---- */

typedef struct Blt {
    uint8_t mode, ext, rop, clip;
    unsigned width, height, dst_pitch, src_pitch;
    uint32_t dst, src, fg, bg;
    uint16_t key;
} Blt;

static const uint8_t all_rops[16] = {0x00, 0x05, 0x06, 0x09, 0x0b, 0x0d, 0x0e, 0x50,
                                     0x59, 0x6d, 0x90, 0x95, 0xad, 0xd0, 0xd6, 0xda};

/* The manual's table of raster operations, as formulas. */
static inline uint8_t model_rop(uint8_t rop, uint8_t s, uint8_t d)
{
    switch (rop) {
    case 0x00:
        return 0;
    case 0x05:
        return s & d;
    case 0x09:
        return s & ~d;
    case 0x0b:
        return ~d;
    case 0x0d:
        return s;
    case 0x0e:
        return 0xff;
    case 0x50:
        return ~s & d;
    case 0x59:
        return s ^ d;
    case 0x6d:
        return s | d;
    case 0x90:
        return ~(s | d);
    case 0x95:
        return ~(s ^ d);
    case 0xad:
        return s | ~d;
    case 0xd0:
        return ~s;
    case 0xd6:
        return ~s | d;
    case 0xda:
        return ~(s & d);
    default:
        return d;
    }
}

/* Byte @x of row @y of the source, and whether it is drawn. @cpu: what the CPU sends, else NULL. */
static inline bool model_source(const Blt *p, const uint8_t *mem, const uint8_t *cpu, unsigned x,
                                unsigned y, uint8_t *out)
{
    unsigned bytes = (p->mode >> 4 & 3) + 1, pixel = x / bytes;
    unsigned pixels = (p->width + bytes - 1) / bytes;
    unsigned skip = bytes == 3 ? p->clip : (p->clip & 7) * bytes;

    if ((p->mode & 0xc0) && x < skip) {
        return false;
    }
    if (p->mode & 0x80) {
        unsigned row = p->ext & 1 ? (pixels + 31) / 32 * 4 : (pixels + 7) / 8;
        bool bit;
        if ((p->mode & 0x40) && (p->ext & 4)) {
            bit = true;
        } else if (p->mode & 0x40) {
            uint8_t v = mem[((p->src & ~7u) + ((p->src & 7) + y) % 8) % VRAM];
            bit = ((v >> (7 - pixel % 8)) & 1) ^ !!(p->ext & 2);
        } else {
            uint32_t at = y * row + pixel / 8;
            uint8_t v = cpu ? cpu[at] : mem[(p->src + at) % VRAM];
            bit = ((v >> (7 - pixel % 8)) & 1) ^ !!(p->ext & 2);
        }
        *out = (bit ? p->fg : p->bg) >> (x % bytes) * 8;
        return bit || !(p->mode & 8);
    }
    uint32_t first; /* of this pixel */
    if (p->mode & 0x40) {
        unsigned line = bytes == 3 ? 32 : bytes * 8;
        uint32_t base = p->src - p->src % (line * 8);
        first = base + ((p->src & 7) + y) % 8 * line + pixel % 8 * bytes;
    } else if (p->mode & 4) {
        first = y * ((p->width + 3) / 4 * 4) + pixel * bytes;
    } else if (p->mode & 1) {
        first = p->src - y * p->src_pitch - (p->width - 1) + pixel * bytes;
    } else {
        first = p->src + y * p->src_pitch + pixel * bytes;
    }
    const uint8_t *from = cpu ? cpu : mem;
    uint32_t wrap = cpu ? 0xffffffff : VRAM - 1;
    *out = from[(first + x % bytes) & wrap];
    if (!(p->mode & 8) || bytes > 2) {
        return true;
    }
    uint16_t color = from[first & wrap] | (bytes == 2 ? from[(first + 1) & wrap] << 8 : 0);
    return color != (bytes == 2 ? p->key : p->key & 0xff);
}

/* Rows one after the other; each row's source is read before the row is written. */
static inline void model_blt(const Blt *p, uint8_t *mem, const uint8_t *cpu)
{
    g_autofree uint8_t *src = g_malloc(p->width);
    g_autofree bool *on = g_new(bool, p->width);

    for (unsigned y = 0; y < p->height; y++) {
        for (unsigned x = 0; x < p->width; x++) {
            on[x] = model_source(p, mem, cpu, x, y, &src[x]);
        }
        uint32_t row =
            p->mode & 1 ? p->dst - y * p->dst_pitch - (p->width - 1) : p->dst + y * p->dst_pitch;
        for (unsigned x = 0; x < p->width; x++) {
            uint8_t *d = &mem[(row + x) % VRAM];
            *d = on[x] ? model_rop(p->rop, src[x], *d) : *d;
        }
    }
}

/* All but the start bit. */
static inline void program(Bench *b, const Blt *p)
{
    static const uint8_t colors[4] = {0x00, 0x10, 0x12, 0x14};

    for (unsigned k = 0; k < 4; k++) {
        gfx(b, colors[k], p->bg >> k * 8);
        gfx(b, colors[k] + 1, p->fg >> k * 8);
    }
    gfx(b, 0x20, p->width - 1);
    gfx(b, 0x21, (p->width - 1) >> 8);
    gfx(b, 0x22, p->height - 1);
    gfx(b, 0x23, (p->height - 1) >> 8);
    gfx(b, 0x24, p->dst_pitch);
    gfx(b, 0x25, p->dst_pitch >> 8);
    gfx(b, 0x26, p->src_pitch);
    gfx(b, 0x27, p->src_pitch >> 8);
    for (unsigned k = 0; k < 3; k++) {
        gfx(b, 0x28 + k, p->dst >> k * 8);
        gfx(b, 0x2c + k, p->src >> k * 8);
    }
    gfx(b, 0x2f, p->clip);
    gfx(b, 0x30, p->mode);
    gfx(b, 0x32, p->rop);
    gfx(b, 0x33, p->ext);
    gfx(b, 0x34, p->key);
    gfx(b, 0x35, p->key >> 8);
}

/* Bytes that the CPU has to send. */
static inline uint32_t cpu_bytes(const Blt *p)
{
    unsigned bytes = (p->mode >> 4 & 3) + 1, pixels = (p->width + bytes - 1) / bytes;
    uint32_t row = (p->width + 3) / 4 * 4;

    if (p->mode & 0x80) {
        row = p->ext & 1 ? (pixels + 31) / 32 * 4 : (pixels + 7) / 8;
    }
    return row * p->height;
}

/* Runs @p, on the chip and in the model; both memories must be equal. @to: where the CPU sends
 * what its part is. */
static inline void check_blt(Bench *b, const Blt *p, uint64_t to, GRand *r)
{
    uint32_t n = p->mode & 4 ? cpu_bytes(p) : 0;
    g_autofree uint8_t *want = g_memdup2(b->vram, VRAM), *cpu = n ? g_malloc(n + 8) : NULL;

    for (uint32_t i = 0; i < n + 8 && n; i++) {
        cpu[i] = g_rand_int(r);
    }
    program(b, p);
    gfx(b, 0x31, 2);
    for (uint32_t i = 0; i < n; i += 4) {
        g_assert_cmphex(get_gfx(b, 0x31) & 0x0b, ==, 0x0b);
        poke(b, to, pci_get32(cpu + i), 4);
    }
    g_assert_cmphex(get_gfx(b, 0x31) & 0x0b, ==, 0);
    model_blt(p, want, cpu);
    for (uint32_t i = 0; i < VRAM; i++) {
        if (b->vram[i] != want[i]) {
            g_error("mode %02x ext %02x rop %02x clip %u: %ux%u to %06x/%u from %06x/%u: "
                    "byte %06x is %02x, not %02x",
                    p->mode, p->ext, p->rop, p->clip, p->width, p->height, p->dst, p->dst_pitch,
                    p->src, p->src_pitch, i, b->vram[i], want[i]);
        }
    }
}

#endif
