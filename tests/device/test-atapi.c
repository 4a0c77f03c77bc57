/* CD/DVD drives: PACKET protocol (ATA/ATAPI-7) and MMC-5 commands. */
#include "ide-fixture.h"

#define CD_SECTORS 5000u

typedef struct Tray {
    unsigned moves;
    bool open;
} Tray;

static void tray_moved(void *opaque, bool open)
{
    Tray *t = opaque;
    t->moves++;
    t->open = open;
}

static Tray tray;

static IdeFixture cd(BlockDev *medium)
{
    IdeFixture x = ide_new();
    AtaDriveConfig cfg = {
        .kind = ATA_CDROM, .block = medium, .tray_moved = tray_moved, .tray_opaque = &tray};
    tray = (Tray){0};
    g_assert_true(piix3_ide_attach(x.ide, 0, 0, &cfg, NULL));
    ide_enable(&x);
    return x;
}

static BlockDev *medium(void)
{
    return ide_image(CD_SECTORS, 2048, true);
}

/* Sends a packet. @limit: byte count; @features: 1 = DMA. */
static void packet_with(IdeFixture *x, const void *cdb, unsigned limit, uint8_t features)
{
    outb(x->f, IDE + 6, 0xa0);
    outb(x->f, IDE + 1, features);
    outb(x->f, IDE + 4, limit & 0xff);
    outb(x->f, IDE + 5, limit >> 8);
    outb(x->f, IDE + 7, 0xa0);
    g_assert_cmphex(ide_alt(x) & 0x88, ==, 0x08);
    g_assert_cmphex(inb(x->f, IDE + 2) & 3, ==, 1); /* command, to device */
    ide_write_data(x, cdb, 12);
}

static unsigned block_size_now(IdeFixture *x)
{
    return inb(x->f, IDE + 4) | inb(x->f, IDE + 5) << 8;
}

/* Packet with data to the host; length, or -1 with CHECK CONDITION. */
static int packet_in(IdeFixture *x, const void *cdb, uint8_t *buf, unsigned max)
{
    unsigned got = 0;
    packet_with(x, cdb, 0xfffe, 0);
    for (;;) {
        g_assert_cmpint(x->f->irq_level[14], ==, 1);
        uint8_t st = ide_status(x);
        if (!(st & 8)) {
            g_assert_cmphex(inb(x->f, IDE + 2) & 3, ==, 3);
            return st & 1 ? -1 : (int)got;
        }
        g_assert_cmphex(inb(x->f, IDE + 2) & 3, ==, 2);
        unsigned n = block_size_now(x);
        g_assert_cmpuint(got + n, <=, max);
        ide_read_data(x, buf + got, n + (n & 1));
        got += n;
    }
}

static int simple(IdeFixture *x, const void *cdb)
{
    uint8_t buf[16];
    return packet_in(x, cdb, buf, 0);
}

/* key << 16 | asc << 8 | ascq */
static uint32_t sense(IdeFixture *x)
{
    static const uint8_t cdb[12] = {0x03, 0, 0, 0, 18};
    uint8_t b[32];
    g_assert_cmpint(packet_in(x, cdb, b, 18), ==, 18);
    g_assert_cmphex(b[0], ==, 0x70);
    return (uint32_t)(b[2] << 16 | b[12] << 8 | b[13]);
}

static void settle_attention(IdeFixture *x)
{
    static const uint8_t tur[12] = {0};
    g_assert_cmpint(simple(x, tur), ==, -1);
    g_assert_cmphex(sense(x), ==, 0x062900); /* power on */
}

static const uint8_t tur[12] = {0};

static void test_signature(void)
{
    IdeFixture x = cd(medium());
    g_assert_cmphex(inb(x.f, IDE + 4), ==, 0x14);
    g_assert_cmphex(inb(x.f, IDE + 5), ==, 0xeb);
    g_assert_cmphex(ide_status(&x), ==, 0x00);
    /* IDENTIFY DEVICE aborts and shows the signature. */
    outb(x.f, IDE + 6, 0xa0);
    outb(x.f, IDE + 4, 0);
    ide_command(&x, 0xec);
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    g_assert_cmphex(inb(x.f, IDE + 4), ==, 0x14);
    g_assert_cmphex(inb(x.f, IDE + 5), ==, 0xeb);
    ide_command(&x, 0xa1);
    uint16_t id[256];
    g_assert_cmphex(ide_status(&x), ==, 0x58);
    ide_read_data(&x, id, 512);
    g_assert_cmphex(id[0], ==, 0x85c0);
    g_assert_cmphex(id[49] & 0x300, ==, 0x300);
    /* DEVICE RESET in the middle of a packet */
    ide_command(&x, 0xa0);
    g_assert_cmphex(ide_status(&x) & 8, ==, 8);
    ide_command(&x, 0x08);
    g_assert_cmphex(ide_status(&x), ==, 0x00);
    g_assert_cmphex(inb(x.f, IDE + 5), ==, 0xeb);
    fixture_free(x.f);
}

static void test_sense_and_inquiry(void)
{
    IdeFixture x = cd(medium());
    static const uint8_t inq[12] = {0x12, 0, 0, 0, 96}, short_inq[12] = {0x12, 0, 0, 0, 5};
    static const uint8_t none[12] = {0x12}, unknown[12] = {0xf7};
    uint8_t b[128];

    /* INQUIRY goes through in spite of the unit attention. */
    g_assert_cmpint(packet_in(&x, inq, b, 96), ==, 36);
    g_assert_cmphex(b[0], ==, 0x05);
    g_assert_cmphex(b[1], ==, 0x80);
    g_assert_cmpmem(b + 8, 16, "RHEA    DVD-ROM ", 16);
    settle_attention(&x);
    g_assert_cmpint(simple(&x, tur), ==, 0);
    g_assert_cmphex(sense(&x), ==, 0);
    g_assert_cmpint(packet_in(&x, short_inq, b, 6), ==, 5); /* odd length */
    g_assert_cmpint(simple(&x, none), ==, 0);
    g_assert_cmpint(simple(&x, unknown), ==, -1);
    g_assert_cmphex(inb(x.f, IDE + 1) >> 4, ==, 5);
    g_assert_cmphex(sense(&x), ==, 0x052000);
    fixture_free(x.f);
}

static void test_read_pio(void)
{
    IdeFixture x = cd(medium());
    static const uint8_t cap[12] = {0x25}, read[12] = {0x28, 0, 0, 0, 0x03, 0xe8, 0, 0, 100};
    static const uint8_t past[12] = {0x28, 0, 0, 0, 0x13, 0x87, 0, 0, 2};
    static const uint8_t zero[12] = {0x28, 0, 0, 0, 0x13, 0x87, 0, 0, 0};
    static const uint8_t huge[12] = {0xa8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t *b = g_malloc(100 * 2048 + 16);

    settle_attention(&x);
    g_assert_cmpint(packet_in(&x, cap, b, 8), ==, 8);
    g_assert_cmphex(b[2] << 8 | b[3], ==, CD_SECTORS - 1);
    g_assert_cmphex(b[6] << 8 | b[7], ==, 2048);
    g_assert_cmpint(packet_in(&x, read, b, 100 * 2048), ==, 100 * 2048);
    for (unsigned s = 0; s < 100; s++) {
        for (unsigned i = 0; i < 512; i++) {
            g_assert_cmphex(((uint32_t *)b)[s * 512 + i], ==, pattern(1000 + s, i));
        }
    }
    g_assert_cmpint(packet_in(&x, past, b, 0), ==, -1);
    g_assert_cmphex(sense(&x), ==, 0x052100);
    g_assert_cmpint(packet_in(&x, zero, b, 0), ==, 0);
    g_assert_cmpint(packet_in(&x, huge, b, 0), ==, -1);
    g_assert_cmphex(sense(&x), ==, 0x052100);
    g_free(b);
    fixture_free(x.f);
}

/* Blocks never exceed the host's byte count limit, and have even lengths but for the last. */
static void test_byte_count_limit(void)
{
    static const unsigned limits[] = {2, 3, 512, 2048, 2047, 5000, 0xfffe, 0xffff, 0, 1};
    static const uint8_t read[12] = {0x28, 0, 0, 0, 0, 7, 0, 0, 40};

    for (unsigned l = 0; l < G_N_ELEMENTS(limits); l++) {
        IdeFixture x = cd(medium());
        unsigned got = 0, limit = limits[l] < 2 ? 0xfffe : limits[l];
        uint16_t w = 0;
        settle_attention(&x);
        packet_with(&x, read, limits[l], 0);
        while (ide_status(&x) & 8) {
            unsigned n = block_size_now(&x);
            g_assert_cmpuint(n, >, 0);
            g_assert_cmpuint(n, <=, MIN(limit, 0xfffe));
            g_assert_cmpuint(n % 2, ==, 0);
            for (unsigned i = 0; i < n; i += 2, got += 2) {
                w = (uint16_t)inw(x.f, IDE);
                uint32_t want = pattern(7 + got / 2048, got % 2048 / 4);
                g_assert_cmphex(w, ==, (want >> (8 * (got & 2))) & 0xffff);
            }
            ide_settle(&x);
        }
        g_assert_cmpuint(got, ==, 40 * 2048);
        fixture_free(x.f);
    }
}

static void test_read_dma(void)
{
    IdeFixture x = cd(medium());
    static const uint8_t read[12] = {0xa8, 0, 0, 0, 0x01, 0x00, 0, 0, 0, 70};

    settle_attention(&x);
    ide_prd(&x, 0, 0x100000, 65536, false);
    ide_prd(&x, 1, 0x110000, 65536, false);
    ide_prd(&x, 2, 0x120000, 70 * 2048 - 131072, true);
    packet_with(&x, read, 0, 1);
    bm_start(&x, true);
    g_assert_cmphex(inb(x.f, BM + 2), ==, 0x04);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    g_assert_cmphex(mem_load(x.f->m->memory, 0x100000, 4), ==, pattern(256, 0));
    g_assert_cmphex(mem_load(x.f->m->memory, 0x100000 + 70 * 2048 - 4, 4), ==, pattern(325, 511));
    outb(x.f, BM, 0);
    fixture_free(x.f);
}

static void test_read_cd(void)
{
    IdeFixture x = cd(medium());
    uint8_t user[12] = {0xbe, 0, 0, 0, 0, 16, 0, 0, 2, 0x10};
    uint8_t raw[12] = {0xbe, 0, 0, 0, 0, 16, 0, 0, 60, 0xf8};
    uint8_t msf[12] = {0xb9, 0, 0, 0, 2, 16, 0, 2, 18, 0x10};
    uint8_t *b = g_malloc(60 * 2352);

    settle_attention(&x);
    g_assert_cmpint(packet_in(&x, user, b, 4096), ==, 4096);
    g_assert_cmphex(*(uint32_t *)b, ==, pattern(16, 0));
    g_assert_cmpint(packet_in(&x, raw, b, 60 * 2352), ==, 60 * 2352);
    for (unsigned s = 0; s < 60; s++) {
        const uint8_t *p = b + s * 2352;
        unsigned lba = 16 + s + 150;
        g_assert_cmphex(p[0], ==, 0);
        g_assert_cmphex(p[1], ==, 0xff);
        g_assert_cmphex(p[14], ==, (lba % 75) / 10 << 4 | lba % 75 % 10);
        g_assert_cmphex(p[15], ==, 1);
        g_assert_cmphex(*(uint32_t *)(p + 16), ==, pattern(16 + s, 0));
        g_assert_cmphex(*(uint32_t *)(p + 16 + 2044), ==, pattern(16 + s, 511));
    }
    g_assert_cmpint(packet_in(&x, msf, b, 4096), ==, 4096);
    g_assert_cmphex(*(uint32_t *)b, ==, pattern(16, 0));
    user[1] = 1 << 2; /* CD-DA */
    g_assert_cmpint(packet_in(&x, user, b, 0), ==, -1);
    g_assert_cmphex(sense(&x), ==, 0x056400);
    g_free(b);
    fixture_free(x.f);
}

static void test_information(void)
{
    IdeFixture x = cd(medium());
    uint8_t toc[12] = {0x43, 2, 0, 0, 0, 0, 0, 0, 200}, b[512];
    uint8_t mode[12] = {0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 200};
    uint8_t conf[12] = {0x46, 0, 0, 0, 0, 0, 0, 1, 0};
    static const uint8_t disc[12] = {0x51, 0, 0, 0, 0, 0, 0, 0, 34};
    static const uint8_t mech[12] = {0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8};

    settle_attention(&x);
    g_assert_cmpint(packet_in(&x, toc, b, 200), ==, 20);
    g_assert_cmphex(b[1], ==, 18);
    g_assert_cmphex(b[5], ==, 0x14);
    g_assert_cmpuint(b[9] * 60 * 75 + b[10] * 75 + b[11], ==, 150); /* 00:02:00 */
    g_assert_cmphex(b[14], ==, 0xaa);
    g_assert_cmpuint((b[17] * 60 + b[18]) * 75 + b[19], ==, 150 + CD_SECTORS);
    toc[1] = 0;
    toc[6] = 0xaa;
    g_assert_cmpint(packet_in(&x, toc, b, 200), ==, 12);
    g_assert_cmphex(b[10] << 8 | b[11], ==, CD_SECTORS);
    toc[6] = 2;
    g_assert_cmpint(packet_in(&x, toc, b, 200), ==, -1);
    toc[6] = 0;
    toc[2] = 1;
    g_assert_cmpint(packet_in(&x, toc, b, 200), ==, 12);
    toc[2] = 2;
    g_assert_cmpint(packet_in(&x, toc, b, 200), ==, 48);
    g_assert_cmpint(packet_in(&x, mode, b, 200), ==, 8 + 8 + 16 + 22);
    g_assert_cmphex(b[0] << 8 | b[1], ==, 8 + 8 + 16 + 22 - 2);
    mode[2] = 0x2a;
    g_assert_cmpint(packet_in(&x, mode, b, 200), ==, 30);
    mode[2] = 0x6a; /* changeable values of the page: none */
    g_assert_cmpint(packet_in(&x, mode, b, 200), ==, 30);
    g_assert_cmphex(b[8], ==, 0x2a);
    g_assert_cmphex(b[10] | b[12] | b[14], ==, 0);
    mode[2] = 0x05;
    g_assert_cmpint(packet_in(&x, mode, b, 200), ==, -1);
    mode[2] = 0xea;
    g_assert_cmpint(packet_in(&x, mode, b, 200), ==, -1);
    g_assert_cmphex(sense(&x), ==, 0x053900);
    int n = packet_in(&x, conf, b, 256);
    g_assert_cmpint(n, >, 16);
    g_assert_cmphex(b[3], ==, n - 4);
    g_assert_cmphex(b[6] << 8 | b[7], ==, 0x08);
    for (int i = 8; i < n; i += 4 + b[i + 3]) {
        g_assert_cmpint(i + 4 + b[i + 3], <=, n);
    }
    conf[1] = 2;
    conf[3] = 3;
    g_assert_cmpint(packet_in(&x, conf, b, 256), ==, 16);
    g_assert_cmphex(b[9], ==, 3);
    g_assert_cmpint(packet_in(&x, disc, b, 34), ==, 34);
    g_assert_cmpint(packet_in(&x, mech, b, 8), ==, 8);
    fixture_free(x.f);
}

static void test_no_medium(void)
{
    IdeFixture x = cd(NULL);
    static const uint8_t read[12] = {0x28, 0, 0, 0, 0, 0, 0, 0, 1};
    static const uint8_t event[12] = {0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8};
    uint8_t b[16];

    settle_attention(&x);
    g_assert_cmpint(simple(&x, tur), ==, -1);
    g_assert_cmphex(sense(&x), ==, 0x023a01);
    g_assert_cmpint(simple(&x, read), ==, -1);
    g_assert_cmpint(packet_in(&x, event, b, 8), ==, 8);
    g_assert_cmphex(b[2], ==, 4);
    g_assert_cmphex(b[5], ==, 0);
    fixture_free(x.f);
}

static void test_change_and_eject(void)
{
    IdeFixture x = cd(medium());
    AtaDrive *d = piix3_ide_drive(x.ide, 0, 0);
    static const uint8_t lock[12] = {0x1e, 0, 0, 0, 1}, unlock[12] = {0x1e};
    static const uint8_t eject[12] = {0x1b, 0, 0, 0, 2}, load[12] = {0x1b, 0, 0, 0, 3};
    static const uint8_t event[12] = {0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8};
    static const uint8_t cap[12] = {0x25};
    GError *err = NULL;
    uint8_t b[16];

    settle_attention(&x);
    /* Locked: neither guest nor operator opens it. */
    g_assert_cmpint(simple(&x, lock), ==, 0);
    g_assert_true(ata_cd_locked(d));
    g_assert_cmpint(simple(&x, eject), ==, -1);
    g_assert_cmphex(sense(&x), ==, 0x055302);
    g_assert_false(ata_cd_change(d, NULL, false, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    g_assert_cmpint(packet_in(&x, event, b, 8), ==, 8);
    g_assert_cmphex(b[4], ==, 1); /* the operator wants it out */
    g_assert_cmpint(simple(&x, unlock), ==, 0);
    /* Eject and load by the guest */
    g_assert_cmpint(simple(&x, eject), ==, 0);
    g_assert_true(tray.open && tray.moves == 1);
    g_assert_cmpint(simple(&x, tur), ==, -1);
    g_assert_cmphex(sense(&x), ==, 0x023a02);
    g_assert_cmpint(packet_in(&x, event, b, 8), ==, 8);
    g_assert_cmphex(b[4], ==, 3);
    g_assert_cmphex(b[5], ==, 1);
    g_assert_cmpint(simple(&x, load), ==, 0);
    g_assert_cmpint(simple(&x, tur), ==, -1);
    g_assert_cmphex(sense(&x), ==, 0x062800);
    g_assert_cmpint(simple(&x, tur), ==, 0);
    /* A new medium */
    g_assert_true(ata_cd_change(d, ide_image(77, 2048, true), false, &err));
    g_assert_cmpint(simple(&x, tur), ==, -1);
    g_assert_cmphex(sense(&x), ==, 0x062800);
    g_assert_cmpint(packet_in(&x, event, b, 8), ==, 8);
    g_assert_cmphex(b[4], ==, 2);
    g_assert_cmphex(b[5], ==, 2);
    g_assert_cmpint(packet_in(&x, event, b, 8), ==, 8);
    g_assert_cmphex(b[4], ==, 0);
    g_assert_cmpint(packet_in(&x, cap, b, 8), ==, 8);
    g_assert_cmphex(b[3], ==, 76);
    g_assert_true(ata_cd_change(d, NULL, true, &err));
    g_assert_cmpint(simple(&x, tur), ==, -1);
    g_assert_cmphex(sense(&x), ==, 0x023a01);
    fixture_free(x.f);
}

/*
 * The class of CVE-2015-5154: a command that ends the transfer while the host is in the middle of a
 * data block, or goes on at the data port beyond its end, must not move past the buffer.
 */
static void test_data_port_beyond_block(void)
{
    IdeFixture x = cd(medium());
    static const uint8_t inq[12] = {0x12, 0, 0, 0, 5}, stop[12] = {0x1b, 0, 0, 0, 0};
    static const uint8_t read[12] = {0x28, 0, 0, 0, 0, 0, 0, 0, 32};

    settle_attention(&x);
    /* Odd length by 32-bit accesses, then on and on */
    packet_with(&x, inq, 0xfffe, 0);
    ide_status(&x);
    for (unsigned i = 0; i < 70000; i++) {
        inl(x.f, IDE);
    }
    g_assert_cmphex(ide_status(&x) & 0x88, ==, 0);
    /* START STOP UNIT with the host "reading" at once */
    packet_with(&x, stop, 2, 0);
    for (unsigned i = 0; i < 70000; i++) {
        inw(x.f, IDE);
        outw(x.f, IDE, 0xffff);
    }
    /* A packet written by 32-bit accesses and further than 12 bytes */
    outb(x.f, IDE + 7, 0xa0);
    for (unsigned i = 0; i < 20000; i++) {
        outl(x.f, IDE, 0);
    }
    ide_settle(&x);
    /* A full buffer of 64 KiB, its limit larger than it */
    packet_with(&x, read, 0xffff, 0);
    for (unsigned i = 0; i < 40000; i++) {
        inl(x.f, IDE);
    }
    ide_settle(&x);
    /* A new command in the middle of a block; the media goes away in the middle of a read */
    packet_with(&x, read, 2048, 0);
    inl(x.f, IDE);
    packet_with(&x, stop, 2048, 0);
    ide_settle(&x);
    static const uint8_t big[12] = {0x28, 0, 0, 0, 0, 0, 0, 1, 0};
    packet_with(&x, big, 2048, 0);
    g_assert_true(ata_cd_change(piix3_ide_drive(x.ide, 0, 0), NULL, true, NULL));
    for (unsigned i = 0; i < 100000; i++) {
        inl(x.f, IDE);
    }
    g_assert_cmphex(ide_status(&x), ==, 0x51);
    fixture_free(x.f);
}

static void test_mode_select(void)
{
    IdeFixture x = cd(medium());
    static const uint8_t select[12] = {0x55, 0x10, 0, 0, 0, 0, 0, 0, 16};
    static const uint8_t large[12] = {0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff};
    uint8_t data[16] = {0};

    settle_attention(&x);
    packet_with(&x, select, 0xfffe, 0);
    g_assert_cmphex(ide_status(&x) & 0x88, ==, 8);
    g_assert_cmphex(inb(x.f, IDE + 2) & 3, ==, 0);
    g_assert_cmpuint(block_size_now(&x), ==, 16);
    ide_write_data(&x, data, 16);
    g_assert_cmphex(ide_status(&x), ==, 0x50);
    g_assert_cmpint(simple(&x, large), ==, -1);
    fixture_free(x.f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/atapi/signature-identify-reset", test_signature);
    g_test_add_func("/atapi/sense-and-inquiry", test_sense_and_inquiry);
    g_test_add_func("/atapi/read-pio", test_read_pio);
    g_test_add_func("/atapi/byte-count-limit", test_byte_count_limit);
    g_test_add_func("/atapi/read-dma", test_read_dma);
    g_test_add_func("/atapi/read-cd", test_read_cd);
    g_test_add_func("/atapi/information", test_information);
    g_test_add_func("/atapi/no-medium", test_no_medium);
    g_test_add_func("/atapi/change-and-eject", test_change_and_eject);
    g_test_add_func("/atapi/data-port-beyond-block", test_data_port_beyond_block);
    g_test_add_func("/atapi/mode-select", test_mode_select);
    return g_test_run();
}
