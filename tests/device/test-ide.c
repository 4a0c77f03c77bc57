/* ATA disks behind the PIIX3, against ATA/ATAPI-7 and the bus master IDE interface text. */
#include "ide-fixture.h"
#include <unistd.h>

#define SECTORS 40000u

static IdeFixture disk(void)
{
    IdeFixture x = ide_new();
    ide_attach(&x, 0, ATA_DISK, ide_image(SECTORS, 512, false));
    ide_enable(&x);
    return x;
}

static void check_sector(const void *buf, uint64_t sector)
{
    const uint32_t *p = buf;
    for (unsigned i = 0; i < 128; i++) {
        g_assert_cmphex(p[i], ==, pattern(sector, i));
    }
}

static void test_decode(void)
{
    IdeFixture x = ide_new();
    ide_attach(&x, 0, ATA_DISK, ide_image(100, 512, false));
    g_assert_cmphex(cfg_read(x.f, IDE_DEVFN, 0, 4), ==, 0x70108086);
    g_assert_cmphex(cfg_read(x.f, IDE_DEVFN, 8, 4) >> 8, ==, 0x010180);
    g_assert_cmphex(ide_status(&x), ==, 0xff);
    cfg_write(x.f, IDE_DEVFN, 4, 1, 2);
    g_assert_cmphex(ide_status(&x), ==, 0xff);
    cfg_write(x.f, IDE_DEVFN, 0x40, 0x8000, 2);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    /* The second channel is off, then empty. */
    g_assert_cmphex(inb(x.f, 0x177), ==, 0xff);
    cfg_write(x.f, IDE_DEVFN, 0x42, 0x8000, 2);
    g_assert_cmphex(inb(x.f, 0x177), ==, 0xff);
    cfg_write(x.f, IDE_DEVFN, 4, 0, 2);
    g_assert_cmphex(ide_status(&x), ==, 0xff);
    fixture_free(x.f);
}

static void test_signature_and_selection(void)
{
    IdeFixture x = disk();
    g_assert_cmphex(inb(x.f, IDE + 1), ==, 0x01);
    g_assert_cmphex(inb(x.f, IDE + 2), ==, 0x01);
    g_assert_cmphex(inb(x.f, IDE + 3), ==, 0x01);
    g_assert_cmphex(inw(x.f, IDE + 4) & 0xff, ==, 0x00);
    /* Device 1 is absent: device 0 answers with status 0, and takes no commands. */
    outb(x.f, IDE + 6, 0xb0);
    g_assert_cmphex(ide_status(&x), ==, 0x00);
    outb(x.f, IDE + 7, 0xec);
    g_assert_cmphex(ide_status(&x), ==, 0x00);
    outb(x.f, IDE + 6, 0xa0);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    g_assert_cmpint(x.f->irq_level[14], ==, 0);
    /* EXECUTE DEVICE DIAGNOSTIC selects device 0. */
    outb(x.f, IDE + 6, 0xb0);
    ide_command(&x, 0x90);
    g_assert_cmpint(x.f->irq_level[14], ==, 1);
    g_assert_cmphex(inb(x.f, IDE + 6) & 0x10, ==, 0);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    g_assert_cmphex(inb(x.f, IDE + 1), ==, 0x01);
    fixture_free(x.f);
}

static void text(const uint16_t *id, unsigned from, unsigned words, char *out)
{
    for (unsigned i = 0; i < words; i++) {
        out[2 * i] = (char)(id[from + i] >> 8);
        out[2 * i + 1] = (char)id[from + i];
    }
    out[2 * words] = 0;
    g_strchomp(out);
}

static void test_identify(void)
{
    IdeFixture x = disk();
    uint16_t id[256];
    char s[48];
    uint8_t sum = 0;

    outb(x.f, IDE + 6, 0xa0);
    ide_command(&x, 0xec);
    g_assert_cmpint(x.f->irq_level[14], ==, 1);
    g_assert_cmphex(ide_alt(&x), ==, 0x58);
    g_assert_cmpint(x.f->irq_level[14], ==, 1); /* the alternate status does not clear it */
    g_assert_cmphex(ide_status(&x), ==, 0x58);
    g_assert_cmpint(x.f->irq_level[14], ==, 0);
    ide_read_data(&x, id, 512);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    g_assert_cmpint(x.f->irq_level[14], ==, 0); /* none after the last block */
    text(id, 10, 10, s);
    g_assert_cmpstr(s, ==, "RH00001");
    text(id, 27, 20, s);
    g_assert_cmpstr(s, ==, "RHEA HARDDISK");
    g_assert_cmphex(id[0] & 0x8000, ==, 0);
    g_assert_cmpuint(id[1], ==, SECTORS / (16 * 63));
    g_assert_cmpuint(id[3], ==, 16);
    g_assert_cmpuint(id[6], ==, 63);
    g_assert_cmphex(id[49] & 0x300, ==, 0x300);
    g_assert_cmpuint(id[60] | id[61] << 16, ==, SECTORS);
    g_assert_cmpuint(id[100] | id[101] << 16, ==, SECTORS);
    g_assert_cmphex(id[83] & 0xc400, ==, 0x4400);
    for (unsigned i = 0; i < 512; i++) {
        sum += ((uint8_t *)id)[i];
    }
    g_assert_cmphex(id[255] & 0xff, ==, 0xa5);
    g_assert_cmphex(sum, ==, 0);
    fixture_free(x.f);
}

static void test_pio_read(void)
{
    IdeFixture x = disk();
    uint8_t buf[512];

    ide_lba28(&x, 12345, 3, 0);
    ide_command(&x, 0x20);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(x.f->irq_level[14], ==, 1);
        g_assert_cmphex(ide_status(&x), ==, 0x58);
        ide_read_data(&x, buf, 512);
        check_sector(buf, 12345 + i);
    }
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    g_assert_cmpuint(x.f->irq_rises[14], ==, 3);
    /* 256 sectors, over several fetches; 32-bit data port */
    ide_lba28(&x, 1000, 0, 0);
    ide_command(&x, 0x20);
    for (unsigned i = 0; i < 256; i++) {
        g_assert_cmphex(ide_status(&x), ==, 0x58);
        for (unsigned j = 0; j < 128; j++) {
            g_assert_cmphex(inl(x.f, IDE), ==, pattern(1000 + i, j));
        }
        ide_settle(&x);
    }
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    /* CHS: cylinder 2, head 3, sector 4 */
    outb(x.f, IDE + 6, 0xa3);
    outb(x.f, IDE + 2, 1);
    outb(x.f, IDE + 3, 4);
    outb(x.f, IDE + 4, 2);
    outb(x.f, IDE + 5, 0);
    ide_command(&x, 0x20);
    ide_read_data(&x, buf, 512);
    check_sector(buf, (2 * 16 + 3) * 63 + 3);
    /* Sector 0 does not exist. */
    outb(x.f, IDE + 3, 0);
    outb(x.f, IDE + 2, 1);
    ide_command(&x, 0x20);
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    g_assert_cmphex(inb(x.f, IDE + 1), ==, 0x10);
    fixture_free(x.f);
}

static void test_multiple(void)
{
    IdeFixture x = disk();
    uint8_t buf[16 * 512];

    outb(x.f, IDE + 2, 0); /* switches it off */
    ide_command(&x, 0xc6);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    ide_lba28(&x, 5, 20, 0);
    ide_command(&x, 0xc4);
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    g_assert_cmphex(inb(x.f, IDE + 1), ==, 0x04);
    outb(x.f, IDE + 2, 3);
    ide_command(&x, 0xc6);
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    outb(x.f, IDE + 2, 16);
    ide_command(&x, 0xc6);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    x.f->irq_rises[14] = 0;
    ide_lba28(&x, 5, 20, 0);
    ide_command(&x, 0xc4);
    g_assert_cmphex(ide_status(&x), ==, 0x58);
    ide_read_data(&x, buf, 16 * 512);
    check_sector(buf + 15 * 512, 20);
    g_assert_cmphex(ide_status(&x), ==, 0x58);
    ide_read_data(&x, buf, 4 * 512); /* the rest */
    check_sector(buf + 3 * 512, 24);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    g_assert_cmpuint(x.f->irq_rises[14], ==, 2);
    fixture_free(x.f);
}

static void test_pio_write(void)
{
    IdeFixture x = disk();
    AtaDrive *d = piix3_ide_drive(x.ide, 0, 0);
    uint8_t buf[512], back[512];

    ide_lba28(&x, 777, 2, 0);
    ide_command(&x, 0x30);
    g_assert_cmpint(x.f->irq_level[14], ==, 0); /* none for the first block */
    g_assert_cmphex(ide_status(&x), ==, 0x58);
    memset(buf, 0xa1, 512);
    ide_write_data(&x, buf, 512);
    g_assert_cmpint(x.f->irq_level[14], ==, 1);
    g_assert_cmphex(ide_status(&x), ==, 0x58);
    memset(buf, 0xa2, 512);
    ide_write_data(&x, buf, 512);
    g_assert_cmpint(x.f->irq_level[14], ==, 1);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    g_assert_cmpint(block_pread(d->block, 777 * 512, back, 512), ==, 0);
    g_assert_cmphex(back[0], ==, 0xa1);
    g_assert_cmpint(block_pread(d->block, 778 * 512, back, 512), ==, 0);
    g_assert_cmpmem(back, 512, buf, 512);
    /* LBA48, last sector; then one too many */
    ide_lba48(&x, SECTORS - 1, 1);
    ide_command(&x, 0x34);
    ide_write_data(&x, buf, 512);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    ide_lba48(&x, SECTORS - 1, 2);
    ide_command(&x, 0x34);
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    g_assert_cmphex(inb(x.f, IDE + 1), ==, 0x10);
    ide_lba48(&x, 0xffffffffffffull, 0xffff);
    ide_command(&x, 0x24);
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    /* Flush */
    ide_command(&x, 0xe7);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    fixture_free(x.f);
}

static void test_dma(void)
{
    IdeFixture x = disk();
    MemSpace *mem = x.f->m->memory;
    AtaDrive *d = piix3_ide_drive(x.ide, 0, 0);
    uint8_t buf[512];

    /* Scattered over three pieces */
    ide_prd(&x, 0, 0x30000, 512, false);
    ide_prd(&x, 1, 0x40002, 1022, false);
    ide_prd(&x, 2, 0x50000, 514, true);
    ide_lba28(&x, 50, 4, 0);
    ide_command(&x, 0xc8);
    g_assert_cmpint(x.f->irq_level[14], ==, 0);
    bm_start(&x, true);
    g_assert_cmpint(x.f->irq_level[14], ==, 1);
    g_assert_cmphex(inb(x.f, BM + 2), ==, 0x04);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    mem_read(mem, 0x30000, buf, 512);
    check_sector(buf, 50);
    g_assert_cmphex(mem_load(mem, 0x40002 + 512, 4), ==, pattern(52, 0));
    g_assert_cmphex(mem_load(mem, 0x50000 + 510, 4), ==, pattern(53, 127));
    outb(x.f, BM, 0);
    outb(x.f, BM + 2, 4);
    g_assert_cmphex(inb(x.f, BM + 2), ==, 0);
    /* Engine first, command second; 64 KiB entry written as 0; 300 sectors */
    ide_prd(&x, 0, 0x100000, 65536, false);
    ide_prd(&x, 1, 0x110000, 65536, false);
    ide_prd(&x, 2, 0x120000, 300 * 512 - 131072, true);
    ide_lba48(&x, 100, 300);
    bm_start(&x, true);
    g_assert_cmphex(inb(x.f, BM + 2), ==, 0x01);
    ide_command(&x, 0x25);
    g_assert_cmphex(inb(x.f, BM + 2), ==, 0x04);
    for (unsigned i = 0; i < 300; i++) {
        mem_read(mem, 0x100000 + i * 512, buf, 512);
        check_sector(buf, 100 + i);
    }
    outb(x.f, BM, 0);
    /* Writing */
    memset(buf, 0x5c, 512);
    mem_write(mem, 0x30000, buf, 512);
    ide_prd(&x, 0, 0x30000, 512, true);
    ide_lba28(&x, 9, 1, 0);
    ide_command(&x, 0xca);
    bm_start(&x, false);
    g_assert_cmphex(inb(x.f, BM + 2), ==, 0x04);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    uint8_t back[512];
    block_pread(d->block, 9 * 512, back, 512);
    g_assert_cmpmem(back, 512, buf, 512);
    fixture_free(x.f);
}

static void test_dma_oddities(void)
{
    IdeFixture x = disk();

    /* Table longer than the transfer: active stays, interrupt comes. */
    ide_prd(&x, 0, 0x30000, 4096, true);
    ide_lba28(&x, 0, 1, 0);
    ide_command(&x, 0xc8);
    bm_start(&x, true);
    g_assert_cmphex(inb(x.f, BM + 2) & 7, ==, 0x05);
    outb(x.f, BM, 0);
    g_assert_cmphex(inb(x.f, BM + 2) & 1, ==, 0);
    ide_status(&x);
    /* Shorter: engine stops without interrupt, the drive goes on asking; a second start feeds it.
     */
    ide_prd(&x, 0, 0x30000, 512, true);
    ide_lba28(&x, 0, 2, 0);
    ide_command(&x, 0xc8);
    bm_start(&x, true);
    g_assert_cmphex(inb(x.f, BM + 2) & 7, ==, 0);
    g_assert_cmpint(x.f->irq_level[14], ==, 0);
    outb(x.f, BM, 0);
    bm_start(&x, true);
    g_assert_cmpint(x.f->irq_level[14], ==, 1);
    g_assert_cmphex(mem_load(x.f->m->memory, 0x30000, 4), ==, pattern(1, 0));
    outb(x.f, BM, 0);
    ide_status(&x);
    /* A descriptor at no memory, a target at no memory: error bit. */
    outl(x.f, BM + 4, 0xf0000000);
    outb(x.f, BM + 2, 6);
    ide_lba28(&x, 0, 1, 0);
    ide_command(&x, 0xc8);
    outb(x.f, BM, 9);
    ide_settle(&x);
    g_assert_cmphex(inb(x.f, BM + 2) & 7, ==, 2);
    outb(x.f, BM, 0);
    ide_prd(&x, 0, 0xf0000000, 512, true);
    bm_start(&x, true);
    g_assert_cmphex(inb(x.f, BM + 2) & 7, ==, 2);
    outb(x.f, BM, 0);
    /* Wrong direction: nothing moves. */
    ide_prd(&x, 0, 0x30000, 512, true);
    bm_start(&x, false);
    g_assert_cmphex(inb(x.f, BM + 2) & 7, ==, 1);
    outb(x.f, BM, 0);
    /* Bus mastering off. */
    cfg_write(x.f, IDE_DEVFN, 4, 1, 2);
    bm_start(&x, true);
    g_assert_cmphex(inb(x.f, BM + 2) & 2, ==, 2);
    /* Soft reset gets the drive back. */
    outb(x.f, 0x3f6, 4);
    g_assert_cmphex(ide_alt(&x), ==, 0x80);
    outb(x.f, 0x3f6, 0);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    g_assert_cmphex(inb(x.f, IDE + 1), ==, 0x01);
    /* A table of empty-looking entries without end does not hang the machine. */
    cfg_write(x.f, IDE_DEVFN, 4, 5, 2);
    for (unsigned i = 0; i < 8192; i++) {
        ide_prd(&x, i, 0x30000, 2, false);
    }
    ide_lba28(&x, 0, 0, 0);
    ide_command(&x, 0xc8);
    bm_start(&x, true);
    g_assert_cmphex(inb(x.f, BM + 2) & 7, ==, 0);
    fixture_free(x.f);
}

static void test_nien_and_hob(void)
{
    IdeFixture x = disk();
    outb(x.f, 0x3f6, 2);
    outb(x.f, IDE + 6, 0xa0);
    ide_command(&x, 0xec);
    g_assert_cmpint(x.f->irq_level[14], ==, 0);
    outb(x.f, 0x3f6, 0);
    g_assert_cmpint(x.f->irq_level[14], ==, 1);
    uint8_t buf[512];
    ide_status(&x);
    ide_read_data(&x, buf, 512);
    outb(x.f, IDE + 3, 0x12);
    outb(x.f, IDE + 3, 0x34);
    g_assert_cmphex(inb(x.f, IDE + 3), ==, 0x34);
    outb(x.f, 0x3f6, 0x80);
    g_assert_cmphex(inb(x.f, IDE + 3), ==, 0x12);
    outb(x.f, IDE + 2, 1); /* any command block write ends it */
    g_assert_cmphex(inb(x.f, IDE + 3), ==, 0x34);
    fixture_free(x.f);
}

static void test_small_commands(void)
{
    IdeFixture x = disk();
    uint8_t buf[512];

    /* CHECK POWER MODE through the states */
    outb(x.f, IDE + 6, 0xa0);
    ide_command(&x, 0xe5);
    g_assert_cmphex(inb(x.f, IDE + 2), ==, 0xff);
    ide_command(&x, 0xe0);
    ide_command(&x, 0xe5);
    g_assert_cmphex(inb(x.f, IDE + 2), ==, 0x00);
    /* SLEEP: deaf until reset */
    ide_command(&x, 0xe6);
    ide_status(&x);
    ide_command(&x, 0xec);
    g_assert_cmphex(ide_status(&x) & 8, ==, 0);
    outb(x.f, 0x3f6, 4);
    outb(x.f, 0x3f6, 0);
    ide_command(&x, 0xec);
    g_assert_cmphex(ide_status(&x), ==, 0x58);
    ide_read_data(&x, buf, 512);
    /* INITIALIZE DEVICE PARAMETERS: 8 heads, 32 sectors */
    outb(x.f, IDE + 2, 32);
    outb(x.f, IDE + 6, 0xa7);
    ide_command(&x, 0x91);
    outb(x.f, IDE + 6, 0xa1);
    outb(x.f, IDE + 2, 1);
    outb(x.f, IDE + 3, 1);
    outb(x.f, IDE + 4, 1);
    outb(x.f, IDE + 5, 0);
    ide_command(&x, 0x20);
    ide_read_data(&x, buf, 512);
    check_sector(buf, 8 * 32 + 32);
    outb(x.f, IDE + 2, 0);
    ide_command(&x, 0x91);
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    /* READ NATIVE MAX ADDRESS */
    outb(x.f, IDE + 6, 0xe0);
    ide_command(&x, 0xf8);
    g_assert_cmphex(inb(x.f, IDE + 3) | inb(x.f, IDE + 4) << 8 | inb(x.f, IDE + 5) << 16, ==,
                    SECTORS - 1);
    /* SET FEATURES: DMA mode shows in IDENTIFY */
    outb(x.f, IDE + 1, 3);
    outb(x.f, IDE + 2, 0x22);
    ide_command(&x, 0xef);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    ide_command(&x, 0xec);
    ide_read_data(&x, buf, 512);
    g_assert_cmphex(buf[127], ==, 0x04);
    outb(x.f, IDE + 1, 3);
    outb(x.f, IDE + 2, 0x47);
    ide_command(&x, 0xef);
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    /* SMART: with its key only */
    outb(x.f, IDE + 1, 0xd0);
    outb(x.f, IDE + 4, 0);
    outb(x.f, IDE + 5, 0);
    ide_command(&x, 0xb0);
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    outb(x.f, IDE + 4, 0x4f);
    outb(x.f, IDE + 5, 0xc2);
    ide_command(&x, 0xb0);
    g_assert_cmphex(ide_status(&x), ==, 0x58);
    ide_read_data(&x, buf, 512);
    uint8_t sum = 0;
    for (unsigned i = 0; i < 512; i++) {
        sum += buf[i];
    }
    g_assert_cmphex(sum, ==, 0);
    /* Unknown, and packet commands, abort. */
    static const uint8_t bad[] = {0x00, 0x08, 0x92, 0xa0, 0xa1, 0xf9, 0xff};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        ide_command(&x, bad[i]);
        g_assert_cmphex(ide_status(&x), ==, 0x51);
        g_assert_cmphex(inb(x.f, IDE + 1), ==, 0x04);
    }
    fixture_free(x.f);
}

static void test_trim(void)
{
    IdeFixture x = disk();
    MemSpace *mem = x.f->m->memory;

    for (unsigned i = 0; i < 128; i++) {
        mem_store(mem, 0x30000 + 4 * i, 0, 4);
    }
    mem_store(mem, 0x30000, 100 | 5ull << 48, 8);
    mem_store(mem, 0x30008, 200 | 1ull << 48, 8);
    ide_prd(&x, 0, 0x30000, 512, true);
    ide_lba48(&x, 0, 1);
    outb(x.f, IDE + 1, 1);
    ide_command(&x, 0x06);
    bm_start(&x, false);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    /* out of range */
    mem_store(mem, 0x30008, SECTORS | 1ull << 48, 8);
    ide_lba48(&x, 0, 1);
    ide_command(&x, 0x06);
    bm_start(&x, false);
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    ide_lba48(&x, 0, 9); /* more blocks than word 105 allows */
    ide_command(&x, 0x06);
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    fixture_free(x.f);
}

static void test_read_only_disk(void)
{
    IdeFixture x = ide_new();
    uint8_t buf[512] = {0};
    ide_attach(&x, 0, ATA_DISK, ide_image(100, 512, true));
    ide_enable(&x);
    ide_lba28(&x, 1, 1, 0);
    ide_command(&x, 0x30);
    ide_write_data(&x, buf, 512);
    g_assert_cmphex(ide_status(&x) & 0x81, ==, 0x01);
    g_assert_cmphex(inb(x.f, IDE + 1), ==, 0x04);
    fixture_free(x.f);
}

static void test_two_drives(void)
{
    IdeFixture x = disk();
    uint8_t buf[512];
    ide_attach(&x, 1, ATA_DISK, ide_image(2000, 512, false));
    ide_lba28(&x, 1999, 1, 0x10);
    ide_command(&x, 0x20);
    g_assert_cmphex(ide_status(&x), ==, 0x58);
    ide_read_data(&x, buf, 512);
    check_sector(buf, 1999);
    ide_lba28(&x, 2000, 1, 0x10);
    ide_command(&x, 0x20);
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    outb(x.f, IDE + 6, 0xe0);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    fixture_free(x.f);
}

/* Requests under way when a reset comes are nobody's afterwards. */
static void test_reset_while_busy(void)
{
    IdeFixture x = disk();
    for (unsigned i = 0; i < 50; i++) {
        ide_lba28(&x, i, 200, 0);
        outb(x.f, IDE + 7, i & 1 ? 0x20 : 0xe7);
        outb(x.f, 0x3f6, 4);
        outb(x.f, 0x3f6, 0);
        g_assert_cmphex(ide_status(&x), ==, 0x50);
        g_assert_cmpint(x.f->irq_level[14], ==, 0);
    }
    ide_lba28(&x, 0, 1, 0);
    outb(x.f, IDE + 7, 0x20);
    /* freed in the middle */
    fixture_free(x.f);
}

static void test_state_in_the_middle(void)
{
    IdeFixture x = disk();
    GByteArray *out = g_byte_array_new();
    GError *err = NULL;
    size_t pos = 0;
    uint8_t buf[512];

    ide_lba28(&x, 300, 2, 0);
    ide_command(&x, 0x20);
    ide_status(&x);
    for (unsigned i = 0; i < 10; i++) {
        inw(x.f, IDE);
    }
    state_save(piix3_ide_type.state, x.ide, out);
    machine_reset(x.f->m);
    g_assert_true(state_load(piix3_ide_type.state, x.ide, out->data, out->len, &pos, &err));
    g_assert_no_error(err);
    ide_read_data(&x, buf, 512 - 20);
    g_assert_cmphex(*(uint32_t *)buf, ==, pattern(300, 5));
    ide_read_data(&x, buf, 512);
    check_sector(buf, 301);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    g_byte_array_unref(out);
    fixture_free(x.f);
}

static void test_ide_hd_device(void)
{
    IdeFixture x = ide_new();
    Bus *ide0 = x.ide ? ((Device *)x.ide)->buses->data : NULL;
    DriveSpec *spec = drive_new(NULL, DRIVE_IF_NONE, -1, false);
    const DeviceType *type = device_type_find("ide-hd");
    GError *err = NULL;
    int fd = g_file_open_tmp("rhea-ide-XXXXXX", &spec->file, NULL);
    uint16_t id[256];
    char s[48];

    if (!type) {
        type = &ide_hd_type; /* linked without hw/types.c */
    }
    g_autofree char *file = g_strdup(spec->file);
    spec->id = g_strdup("d0");
    g_assert_cmpint(ftruncate(fd, 1 << 20), ==, 0);
    close(fd);
    x.f->m->cfg.drives = g_ptr_array_new_with_free_func((GDestroyNotify)drive_free);
    g_ptr_array_add(x.f->m->cfg.drives, spec);
    Device *dev = device_new(type, x.f->m);
    g_assert_true(device_set(dev, "drive", "nothing", &err));
    g_assert_false(device_realize(dev, ide0, &err));
    g_assert_nonnull(strstr(err->message, "no -drive with id=nothing"));
    g_clear_error(&err);
    g_assert_true(device_set(dev, "drive", "d0", &err));
    g_assert_true(device_set(dev, "serial", "S-1", &err));
    g_assert_true(device_set(dev, "unit", "0", &err));
    g_assert_true(device_realize(dev, ide0, &err));
    g_assert_true(spec->used);
    ide_enable(&x);
    outb(x.f, IDE + 6, 0xa0);
    ide_command(&x, 0xec);
    ide_status(&x);
    ide_read_data(&x, id, 512);
    text(id, 10, 10, s);
    g_assert_cmpstr(s, ==, "S-1");
    g_assert_cmpuint(id[60], ==, 2048);
    /* A second one has no drive left; the place is free again after the first is gone. */
    Device *two = device_new(type, x.f->m);
    g_assert_true(device_set(two, "drive", "d0", &err));
    g_assert_false(device_realize(two, ide0, &err));
    g_assert_nonnull(strstr(err->message, "in use"));
    g_clear_error(&err);
    device_free(two);
    ide_lba28(&x, 0, 1, 0);
    outb(x.f, IDE + 7, 0x20);
    device_free(dev);
    g_assert_cmphex(ide_status(&x), ==, 0xff);
    g_assert_cmpuint(x.f->m->cfg.drives->len, ==, 0); /* gone with its device */
    g_ptr_array_unref(x.f->m->cfg.drives);
    x.f->m->cfg.drives = NULL;
    unlink(file);
    fixture_free(x.f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ide/port-decode", test_decode);
    g_test_add_func("/ide/signature-and-selection", test_signature_and_selection);
    g_test_add_func("/ide/identify", test_identify);
    g_test_add_func("/ide/pio-read", test_pio_read);
    g_test_add_func("/ide/read-multiple", test_multiple);
    g_test_add_func("/ide/pio-write-and-range", test_pio_write);
    g_test_add_func("/ide/bus-master-dma", test_dma);
    g_test_add_func("/ide/bus-master-oddities", test_dma_oddities);
    g_test_add_func("/ide/nien-and-hob", test_nien_and_hob);
    g_test_add_func("/ide/small-commands", test_small_commands);
    g_test_add_func("/ide/trim", test_trim);
    g_test_add_func("/ide/read-only-disk", test_read_only_disk);
    g_test_add_func("/ide/two-drives", test_two_drives);
    g_test_add_func("/ide/reset-while-busy", test_reset_while_busy);
    g_test_add_func("/ide/state-in-the-middle", test_state_in_the_middle);
    g_test_add_func("/ide/ide-hd-device", test_ide_hd_device);
    return g_test_run();
}
