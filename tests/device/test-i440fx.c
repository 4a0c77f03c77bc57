/* 82441FX: configuration mechanism 1, PAM, SMRAM, against data sheet 290549. */
#include "pci-fixture.h"

static MemRegion rom;

/* A ROM of 128 KiB below 1 MiB in PCI space: bytes 0xb1. */
static void add_rom(Fixture *f)
{
    g_assert_true(mem_region_init_rom(&rom, "rom", 0x20000, NULL));
    memset(rom.host, 0xb1, 0x20000);
    mem_region_add(i440fx_pci_mem(f->host), &rom, 0xe0000, 0);
}

static uint8_t peek(Fixture *f, uint64_t addr)
{
    return (uint8_t)mem_load(f->m->memory, addr, 1);
}

static void poke(Fixture *f, uint64_t addr, uint8_t val)
{
    mem_store(f->m->memory, addr, val, 1);
}

static void test_ids(void)
{
    Fixture *f = fixture_new(4 << 20);
    g_assert_cmphex(cfg_read(f, 0, 0, 4), ==, 0x12378086);
    g_assert_cmphex(cfg_read(f, 0, 4, 4), ==, 0x02800006);
    g_assert_cmphex(cfg_read(f, 0, 8, 4), ==, 0x06000002);
    g_assert_cmphex(cfg_read(f, 0, 0x53, 1), ==, 0x80);
    g_assert_cmphex(cfg_read(f, 0, 0x60, 4), ==, 0x01010101);
    g_assert_cmphex(cfg_read(f, 0, 0x72, 1), ==, 0x02);
    /* Memory access and bus mastering are hardwired on. */
    cfg_write(f, 0, 4, 0, 2);
    g_assert_cmphex(cfg_read(f, 0, 4, 2), ==, 0x0006);
    fixture_free(f);
}

static uint8_t cf9;

static uint8_t cf8_read(void *opaque, unsigned off)
{
    return off == 1 ? cf9 : 0xff;
}

static void cf8_write(void *opaque, unsigned off, uint8_t val)
{
    if (off == 1) {
        cf9 = val;
    }
}

static void test_mechanism_1(void)
{
    Fixture *f = fixture_new(4 << 20);

    i440fx_set_cf8_bytes(f->host, cf8_read, cf8_write, NULL);
    outl(f, 0xcf8, 0xffffffff);
    g_assert_cmphex(inl(f, 0xcf8), ==, 0x80fffffc);
    /* Narrow accesses do not reach CONFADD. */
    outl(f, 0xcf8, 0x80000000);
    outb(f, 0xcfb, 0x01);
    outb(f, 0xcf9, 0x5a);
    outw(f, 0xcf8, 0x1234);
    g_assert_cmphex(inl(f, 0xcf8), ==, 0x80000000);
    g_assert_cmphex(inb(f, 0xcf9), ==, 0x12);
    g_assert_cmphex(inb(f, 0xcf8), ==, 0xff);
    /* Bytes and words of the data register. */
    g_assert_cmphex(inb(f, 0xcfc), ==, 0x86);
    g_assert_cmphex(inb(f, 0xcfd), ==, 0x80);
    g_assert_cmphex(inw(f, 0xcfe), ==, 0x1237);
    /* Enable bit off: the data port is a plain port. */
    outl(f, 0xcf8, 0);
    g_assert_cmphex(inl(f, 0xcfc), ==, 0xffffffff);
    fixture_free(f);
}

/* Each of the 13 segments alone, in each of its four modes. */
static void test_pam(void)
{
    Fixture *f = fixture_new(4 << 20);
    uint8_t *ram = f->ram.host;

    add_rom(f);
    for (unsigned seg = 0; seg < 13; seg++) {
        uint32_t addr = seg ? 0xc0000 + (seg - 1) * 0x4000 : 0xf0000;
        uint32_t last = addr + (seg ? 0x3fff : 0xffff);
        unsigned reg = 0x59 + (seg + 1) / 2, shift = (seg + 1) & 1 ? 4 : 0;
        uint8_t pci = addr >= 0xe0000 ? 0xb1 : 0xff;

        ram[addr] = ram[last] = 0x11;
        /* 0: PCI both ways */
        g_assert_cmphex(peek(f, addr), ==, pci);
        poke(f, addr, 0x22);
        g_assert_cmphex(ram[addr], ==, 0x11);
        /* 1: reads from DRAM, writes to PCI */
        cfg_write(f, 0, reg, 1u << shift, 1);
        g_assert_cmphex(peek(f, addr), ==, 0x11);
        g_assert_cmphex(peek(f, last), ==, 0x11);
        poke(f, addr, 0x33);
        g_assert_cmphex(peek(f, addr), ==, 0x11);
        /* 2: reads from PCI, writes to DRAM */
        cfg_write(f, 0, reg, 2u << shift, 1);
        mem_store(f->m->memory, addr, 0x4444, 2);
        poke(f, last, 0x55);
        g_assert_cmphex(ram[addr], ==, 0x44);
        g_assert_cmphex(ram[last], ==, 0x55);
        g_assert_cmphex(mem_load(f->m->memory, addr, 4), ==, 0x01010101u * pci);
        /* 3: DRAM */
        cfg_write(f, 0, reg, 3u << shift, 1);
        poke(f, addr, 0x66);
        g_assert_cmphex(ram[addr], ==, 0x66);
        g_assert_cmphex(peek(f, addr), ==, 0x66);
        if (seg) {
            g_assert_cmphex(peek(f, last + 1), !=, 0x66);
        }
        cfg_write(f, 0, reg, 0, 1);
    }
    /* Reserved bits do not stick. */
    cfg_write(f, 0, 0x59, 0xff, 1);
    cfg_write(f, 0, 0x5a, 0xff, 1);
    g_assert_cmphex(cfg_read(f, 0, 0x59, 1), ==, 0x30);
    g_assert_cmphex(cfg_read(f, 0, 0x5a, 1), ==, 0x33);
    mem_region_destroy(&rom);
    fixture_free(f);
}

static void test_reset_shows_rom(void)
{
    Fixture *f = fixture_new(4 << 20);

    add_rom(f);
    cfg_write(f, 0, 0x59, 0x30, 1);
    poke(f, 0xffff0, 0x99);
    g_assert_cmphex(peek(f, 0xffff0), ==, 0x99);
    machine_reset(f->m);
    g_assert_cmphex(peek(f, 0xffff0), ==, 0xb1);
    mem_region_destroy(&rom);
    fixture_free(f);
}

static void test_smram(void)
{
    Fixture *f = fixture_new(4 << 20);

    g_assert_cmphex(peek(f, 0xa0000), ==, 0xff); /* PCI: nobody there */
    f->ram.host[0xa0000] = 0x77;
    cfg_write(f, 0, 0x72, 0x4a, 1); /* enabled and open */
    g_assert_cmphex(peek(f, 0xa0000), ==, 0x77);
    cfg_write(f, 0, 0x72, 0x0a, 1);
    g_assert_cmphex(peek(f, 0xa0000), ==, 0xff);
    /* Lock: closes, and stays so until reset. */
    cfg_write(f, 0, 0x72, 0x5a, 1);
    g_assert_cmphex(cfg_read(f, 0, 0x72, 1), ==, 0x1a);
    cfg_write(f, 0, 0x72, 0x42, 1);
    g_assert_cmphex(cfg_read(f, 0, 0x72, 1), ==, 0x1a);
    g_assert_cmphex(peek(f, 0xa0000), ==, 0xff);
    machine_reset(f->m);
    g_assert_cmphex(cfg_read(f, 0, 0x72, 1), ==, 0x02);
    fixture_free(f);
}

static void test_layout(void)
{
    PcMemoryLayout l = pc_memory_layout(512ull << 20);
    g_assert_cmphex(l.below_4g, ==, 512ull << 20);
    g_assert_cmphex(l.above_4g, ==, 0);
    l = pc_memory_layout(0xe0000000ull);
    g_assert_cmphex(l.above_4g, ==, 0);
    l = pc_memory_layout(6ull << 30);
    g_assert_cmphex(l.below_4g, ==, 0xe0000000ull);
    g_assert_cmphex(l.above_4g, ==, (6ull << 30) - 0xe0000000ull);

    Fixture *f = fixture_new(5ull << 30); /* sparse */
    poke(f, 0xdfffffff, 0x21);
    g_assert_cmphex(f->ram.host[0xdfffffff], ==, 0x21);
    poke(f, 0x100000000ull, 0x22);
    g_assert_cmphex(f->ram.host[0xe0000000ull], ==, 0x22);
    g_assert_cmphex(peek(f, 0xe0000000ull), ==, 0xff);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i440fx/power-on-values", test_ids);
    g_test_add_func("/i440fx/mechanism-1-and-narrow-accesses", test_mechanism_1);
    g_test_add_func("/i440fx/pam-all-segments-and-modes", test_pam);
    g_test_add_func("/i440fx/reset-shows-rom-again", test_reset_shows_rom);
    g_test_add_func("/i440fx/smram-open-and-lock", test_smram);
    g_test_add_func("/i440fx/memory-layout", test_layout);
    return g_test_run();
}
