/* PIIX3 IDE with drives at the legacy ports, and the host's side of the ATA protocols. */
#ifndef RHEA_TESTS_IDE_FIXTURE_H
#define RHEA_TESTS_IDE_FIXTURE_H

#include "hw/ide/piix3_ide.h"
#include "pci-fixture.h"

#define IDE_DEVFN PCI_DEVFN(1, 1)
#define IDE 0x1f0u
#define BM 0xc000u
#define PRD 0x20000u

typedef struct IdeFixture {
    Fixture *f;
    Piix3Ide *ide;
} IdeFixture;

static inline IdeFixture ide_new(void)
{
    IdeFixture x = {.f = fixture_new(16 << 20)};
    GError *err = NULL;
    const Irq irq[2] = {fixture_line(x.f, 14), fixture_line(x.f, 15)};

    x.ide = piix3_ide_new(x.f->m, x.f->bus, IDE_DEVFN, irq, &err);
    g_assert_no_error(err);
    return x;
}

/* What firmware does. */
static inline void ide_enable(IdeFixture *x)
{
    cfg_write(x->f, IDE_DEVFN, 0x40, 0x80008000, 4);
    cfg_write(x->f, IDE_DEVFN, 0x20, BM, 4);
    cfg_write(x->f, IDE_DEVFN, 4, 5, 2);
}

/* Sector n holds the number n in each dword, plus the dword's index shifted up. */
static inline uint32_t pattern(uint64_t sector, unsigned i)
{
    return (uint32_t)sector | (uint32_t)i << 24;
}

static inline BlockDev *ide_image(uint64_t sectors, unsigned size, bool read_only)
{
    uint32_t *p = g_malloc0(sectors * size);
    for (uint64_t s = 0; s < sectors; s++) {
        for (unsigned i = 0; i < size / 4; i++) {
            p[s * size / 4 + i] = pattern(s, i);
        }
    }
    BlockDev *b = block_open_memory(p, sectors * size, read_only);
    g_free(p);
    return b;
}

static inline AtaDrive *ide_attach(IdeFixture *x, unsigned index, AtaKind kind, BlockDev *b)
{
    AtaDriveConfig cfg = {.kind = kind, .block = b};
    GError *err = NULL;
    piix3_ide_attach(x->ide, index / 2, index % 2, &cfg, &err);
    g_assert_no_error(err);
    return piix3_ide_drive(x->ide, index / 2, index % 2);
}

/* Until all drives are done with their images. */
static inline void ide_settle(IdeFixture *x)
{
    for (unsigned i = 0; i < 4; i++) {
        AtaDrive *d = piix3_ide_drive(x->ide, i / 2, i % 2);
        if (d && d->block) {
            block_drain(d->block);
        }
    }
}

static inline uint8_t ide_status(IdeFixture *x)
{
    return (uint8_t)inb(x->f, IDE + 7);
}

static inline uint8_t ide_alt(IdeFixture *x)
{
    return (uint8_t)inb(x->f, 0x3f6);
}

static inline void ide_command(IdeFixture *x, uint8_t cmd)
{
    outb(x->f, IDE + 7, cmd);
    ide_settle(x);
}

static inline void ide_lba28(IdeFixture *x, uint32_t lba, uint8_t count, uint8_t dev)
{
    outb(x->f, IDE + 6, 0xe0 | dev | ((lba >> 24) & 15));
    outb(x->f, IDE + 2, count);
    outb(x->f, IDE + 3, lba & 0xff);
    outb(x->f, IDE + 4, (lba >> 8) & 0xff);
    outb(x->f, IDE + 5, (lba >> 16) & 0xff);
}

static inline void ide_lba48(IdeFixture *x, uint64_t lba, uint16_t count)
{
    outb(x->f, IDE + 6, 0xe0);
    outb(x->f, IDE + 2, count >> 8);
    outb(x->f, IDE + 3, (lba >> 24) & 0xff);
    outb(x->f, IDE + 4, (lba >> 32) & 0xff);
    outb(x->f, IDE + 5, (lba >> 40) & 0xff);
    outb(x->f, IDE + 2, count & 0xff);
    outb(x->f, IDE + 3, lba & 0xff);
    outb(x->f, IDE + 4, (lba >> 8) & 0xff);
    outb(x->f, IDE + 5, (lba >> 16) & 0xff);
}

static inline void ide_read_data(IdeFixture *x, void *buf, unsigned len)
{
    uint16_t *p = buf;
    for (unsigned i = 0; i < len / 2; i++) {
        p[i] = (uint16_t)inw(x->f, IDE);
    }
    ide_settle(x);
}

static inline void ide_write_data(IdeFixture *x, const void *buf, unsigned len)
{
    const uint16_t *p = buf;
    for (unsigned i = 0; i < len / 2; i++) {
        outw(x->f, IDE, p[i]);
    }
    ide_settle(x);
}

static inline void ide_prd(IdeFixture *x, unsigned n, uint32_t addr, uint32_t len, bool last)
{
    mem_store(x->f->m->memory, PRD + 8 * n, addr, 4);
    mem_store(x->f->m->memory, PRD + 8 * n + 4, (len & 0xffff) | (last ? 0x80000000u : 0), 4);
}

static inline void bm_start(IdeFixture *x, bool to_memory)
{
    outl(x->f, BM + 4, PRD);
    outb(x->f, BM + 2, 6);
    outb(x->f, BM, to_memory ? 8 : 0);
    outb(x->f, BM, to_memory ? 9 : 1);
    ide_settle(x);
}

#endif
