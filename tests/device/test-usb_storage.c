/* usb-storage by the Bulk-Only Transport 1.0 (its thirteen cases too), SPC-2 and SBC-2. */
#include "block/drive.h"
#include "usb-fixture.h"
#include <stdio.h>
#include <unistd.h>

#define BLOCKS 1000u
#define CBW_SIG 0x43425355u
#define CSW_SIG 0x53425355u

enum { IN = 0x80, OUT = 0, EP_IN = 1, EP_OUT = 2, PASSED = 0, FAILED = 1, PHASE = 2 };

typedef struct Disk {
    UsbRig *r;
    unsigned a;
    char *file;
    uint32_t tag, residue;
    Device *dev;
} Disk;

static void settle(Disk *s)
{
    for (guint i = 0; i < s->r->f->m->cfg.drives->len; i++) {
        DriveSpec *d = s->r->f->m->cfg.drives->pdata[i];
        if (d->medium) {
            block_drain(d->medium);
        }
    }
}

/* Byte k of block b. */
static uint8_t pattern(unsigned b, unsigned k)
{
    return (uint8_t)(b * 7 + k * 3 + (b >> 8));
}

static Disk *disk_new(bool removable, bool read_only)
{
    Disk *s = g_new0(Disk, 1);
    GError *err = NULL;
    int fd = g_file_open_tmp("rhea-usb-XXXXXX", &s->file, &err);

    g_assert_no_error(err);
    for (unsigned b = 0; b < BLOCKS; b++) {
        uint8_t d[512];
        for (unsigned k = 0; k < 512; k++) {
            d[k] = pattern(b, k);
        }
        g_assert_cmpint(write(fd, d, 512), ==, 512);
    }
    close(fd);
    s->r = usb_rig_new();
    s->r->f->m->cfg.drives = g_ptr_array_new_with_free_func((GDestroyNotify)drive_free);
    g_autofree char *text = g_strdup_printf("if=none,id=d,format=raw,file=%s,readonly=%s", s->file,
                                            read_only ? "on" : "off");
    DriveSpec *d = drive_parse("-drive", text, &err);
    g_assert_no_error(err);
    g_ptr_array_add(s->r->f->m->cfg.drives, d);
    const char *const props[] = {"drive", "d", "removable", removable ? "on" : "off", NULL};
    s->dev = usb_plug(s->r, "usb-storage", props);
    usb_run(s->r);
    s->a = usb_set_up(s->r, 0, 64);
    return s;
}

static void disk_free(Disk *s)
{
    GPtrArray *drives = s->r->f->m->cfg.drives;

    while (s->r->f->m->devices->len > 2) {
        device_free(s->r->f->m->devices->pdata[s->r->f->m->devices->len - 1]);
    }
    s->r->f->m->cfg.drives = NULL;
    g_ptr_array_free(drives, TRUE);
    usb_rig_free(s->r);
    remove(s->file);
    g_free(s->file);
    g_free(s);
}

static void put32(uint8_t *p, uint32_t v)
{
    pci_set32(p, v);
}

static int send_cbw(Disk *s, uint8_t dir, uint32_t len, const uint8_t *cdb, unsigned cdb_len)
{
    uint8_t p[31] = {0};

    put32(p, CBW_SIG);
    put32(p + 4, ++s->tag);
    put32(p + 8, len);
    p[12] = dir;
    p[14] = (uint8_t)cdb_len;
    memcpy(p + 15, cdb, cdb_len);
    int n = usb_packet(s->r, USB_PID_OUT, s->a, EP_OUT, p, 31, 5);
    settle(s);
    return n;
}

static void unhalt(Disk *s, bool in)
{
    g_assert_cmpint(usb_control(s->r, s->a, 64, 2, 1, 0, in ? 0x81 : 2, 0, NULL), ==, 0);
}

/* The status wrapper, after a halt as well. */
static uint8_t get_csw(Disk *s)
{
    uint8_t p[64];
    int n = usb_packet(s->r, USB_PID_IN, s->a, EP_IN, p, 64, 5);

    if (n == USB_STALL) {
        unhalt(s, true);
        n = usb_packet(s->r, USB_PID_IN, s->a, EP_IN, p, 64, 5);
    }
    g_assert_cmpint(n, ==, 13);
    g_assert_cmphex(pci_get32(p), ==, CSW_SIG);
    g_assert_cmphex(pci_get32(p + 4), ==, s->tag);
    s->residue = pci_get32(p + 8);
    return p[12];
}

/* A whole command; @moved: data bytes that came or went before a short packet or halt. */
static uint8_t command(Disk *s, uint8_t dir, uint32_t len, const uint8_t *cdb, unsigned cdb_len,
                       uint8_t *data, uint32_t *moved)
{
    uint32_t done = 0;

    g_assert_cmpint(send_cbw(s, dir, len, cdb, cdb_len), ==, 31);
    while (done < len) {
        uint8_t buf[64] = {0};
        unsigned want = MIN(len - done, 64);
        if (dir == OUT && data) {
            memcpy(buf, data + done, want);
        }
        int n = usb_packet(s->r, dir == IN ? USB_PID_IN : USB_PID_OUT, s->a,
                           dir == IN ? EP_IN : EP_OUT, buf, want, 5);
        settle(s);
        if (n == USB_STALL) {
            unhalt(s, dir == IN);
            break;
        }
        g_assert_cmpint(n, >=, 0);
        if (dir == IN && data && n > 0) {
            memcpy(data + done, buf, (size_t)n);
        }
        done += (uint32_t)n;
        if (n < (int)want) {
            break;
        }
    }
    if (moved) {
        *moved = done;
    }
    return get_csw(s);
}

static uint32_t sense(Disk *s)
{
    uint8_t d[18];
    const uint8_t cdb[6] = {3, 0, 0, 0, 18, 0};

    g_assert_cmpuint(command(s, IN, 18, cdb, 6, d, NULL), ==, PASSED);
    g_assert_cmphex(d[0] & 0x7f, ==, 0x70);
    return (uint32_t)(d[2] & 15) << 16 | d[12] << 8 | d[13];
}

static uint8_t ready(Disk *s)
{
    const uint8_t cdb[6] = {0};
    return command(s, OUT, 0, cdb, 6, NULL, NULL);
}

static void wake(Disk *s)
{
    g_assert_cmpuint(ready(s), ==, FAILED); /* unit attention: power on */
    g_assert_cmphex(sense(s), ==, 0x062900);
    g_assert_cmpuint(ready(s), ==, PASSED);
}

static void test_inquiry(void)
{
    Disk *s = disk_new(false, true);
    uint8_t d[256];
    uint32_t n;
    uint8_t lun;

    g_assert_cmpint(usb_control(s->r, s->a, 64, 0xa1, 0xfe, 0, 0, 1, &lun), ==, 1);
    g_assert_cmpint(lun, ==, 0);
    g_assert_cmpuint(command(s, IN, 36, (uint8_t[]){0x12, 0, 0, 0, 36, 0}, 6, d, &n), ==, PASSED);
    g_assert_cmpuint(n, ==, 36);
    g_assert_cmphex(d[0], ==, 0);
    g_assert_cmphex(d[1], ==, 0);
    g_assert_cmpuint(d[4], ==, 31);
    g_assert_cmpuint(command(s, IN, 255, (uint8_t[]){0x12, 1, 0x80, 0, 255, 0}, 6, d, &n), ==,
                     PASSED);
    g_assert_cmpuint(n, ==, 4u + d[3]);
    g_assert_cmpuint(s->residue, ==, 255 - n);
    g_assert_cmpuint(command(s, IN, 255, (uint8_t[]){0x12, 1, 0x99, 0, 255, 0}, 6, d, &n), ==,
                     FAILED);
    g_assert_cmphex(sense(s), ==, 0x052400);
    wake(s);
    g_assert_cmpuint(command(s, IN, 8, (uint8_t[]){0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 10, d, &n), ==,
                     PASSED);
    g_assert_cmpmem(d, 8, ((uint8_t[]){0, 0, 0x03, 0xe7, 0, 0, 2, 0}), 8);
    const uint8_t rc16[16] = {[0] = 0x9e, [1] = 0x10, [13] = 32};
    g_assert_cmpuint(command(s, IN, 32, rc16, 16, d, &n), ==, PASSED);
    g_assert_cmpmem(d, 12, ((uint8_t[]){0, 0, 0, 0, 0, 0, 0x03, 0xe7, 0, 0, 2, 0}), 12);
    g_assert_cmpuint(command(s, IN, 192, (uint8_t[]){0x1a, 0, 0x3f, 0, 192, 0}, 6, d, &n), ==,
                     PASSED);
    g_assert_cmphex(d[2], ==, 0x80); /* write protected */
    g_assert_cmpuint(n, ==, 1u + d[0]);
    g_assert_cmpuint(
        command(s, OUT, 512, (uint8_t[]){0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0}, 10, NULL, &n), ==,
        FAILED);
    g_assert_cmphex(sense(s), ==, 0x072700);
    g_assert_cmpuint(command(s, OUT, 0, (uint8_t[]){0xee, 0, 0, 0, 0, 0}, 6, NULL, NULL), ==,
                     FAILED);
    g_assert_cmphex(sense(s), ==, 0x052000);
    g_assert_cmpuint(
        command(s, IN, 16, (uint8_t[]){0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0}, 12, d, &n), ==,
        PASSED);
    g_assert_cmphex(d[3], ==, 8);
    disk_free(s);
}

static void check_blocks(const uint8_t *d, unsigned lba, unsigned n)
{
    for (unsigned b = 0; b < n; b++) {
        for (unsigned k = 0; k < 512; k++) {
            g_assert_cmphex(d[b * 512 + k], ==, pattern(lba + b, k));
        }
    }
}

static void test_read_write(void)
{
    Disk *s = disk_new(false, false);
    uint8_t *d = g_malloc0(200 * 512);
    uint32_t n;
    wake(s);
    /* 300 = 12Ch; 130 blocks are more than one chunk of 64 KiB. */
    const struct {
        uint8_t cdb[16];
        unsigned len, lba, blocks;
    } reads[] = {
        {{0x08, 0, 1, 0x2c, 3, 0}, 6, 300, 3},
        {{0x28, 0, 0, 0, 1, 0x2c, 0, 0, 130, 0}, 10, 300, 130},
        {{0xa8, 0, 0, 0, 3, 0xe7, 0, 0, 0, 1, 0, 0}, 12, 999, 1},
        {{0x88, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 128, 0, 0}, 16, 5, 128},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(reads); i++) {
        g_assert_cmpuint(command(s, IN, reads[i].blocks * 512, reads[i].cdb, reads[i].len, d, &n),
                         ==, PASSED);
        g_assert_cmpuint(n, ==, reads[i].blocks * 512);
        g_assert_cmpuint(s->residue, ==, 0);
        check_blocks(d, reads[i].lba, reads[i].blocks);
    }
    const uint8_t ops[4] = {0x0a, 0x2a, 0xaa, 0x8a}, lens[4] = {6, 10, 12, 16};
    for (unsigned i = 0; i < 4; i++) {
        unsigned lba = 100 + 200 * i, blocks = i == 0 ? 7 : 129;
        uint8_t cdb[16] = {ops[i]};
        unsigned at = i == 0   ? 2
                      : i == 3 ? 8
                               : 4,
                 count = i == 0   ? 4
                         : i == 1 ? 8
                         : i == 2 ? 9
                                  : 13;
        cdb[at] = (uint8_t)(lba >> 8);
        cdb[at + 1] = (uint8_t)lba;
        cdb[count] = (uint8_t)blocks;
        for (unsigned b = 0; b < blocks; b++) { /* block b gets the pattern of block b + 1 */
            for (unsigned k = 0; k < 512; k++) {
                d[b * 512 + k] = pattern(lba + b + 1, k);
            }
        }
        g_assert_cmpuint(command(s, OUT, blocks * 512, cdb, lens[i], d, &n), ==, PASSED);
        g_assert_cmpuint(s->residue, ==, 0);
        g_autofree char *got = NULL;
        gsize size;
        g_assert_true(g_file_get_contents(s->file, &got, &size, NULL));
        check_blocks((uint8_t *)got + lba * 512, lba + 1, blocks);
        check_blocks((uint8_t *)got + (lba - 1) * 512, lba - 1, 1);
        check_blocks((uint8_t *)got + (lba + blocks) * 512, lba + blocks, 1);
    }
    g_assert_cmpuint(
        command(s, OUT, 0, (uint8_t[]){0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 10, NULL, NULL), ==,
        PASSED);
    /* Past the end: all or nothing. */
    g_assert_cmpuint(
        command(s, IN, 1024, (uint8_t[]){0x28, 0, 0, 0, 3, 0xe7, 0, 0, 2, 0}, 10, d, &n), ==,
        FAILED);
    g_assert_cmpuint(n, ==, 0);
    g_assert_cmpuint(s->residue, ==, 1024);
    g_assert_cmphex(sense(s), ==, 0x052100);
    const uint8_t far[16] = {0x8a, 0,    0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                             0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,    0};
    g_assert_cmpuint(command(s, OUT, 512, far, 16, d, &n), ==, FAILED);
    g_assert_cmphex(sense(s), ==, 0x052100);
    g_free(d);
    disk_free(s);
}

/* Table 6.1: the host's expectation against the device's. */
static void test_cases(void)
{
    static const uint8_t rd[10] = {0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0};
    static const uint8_t wr[10] = {0x2a, 0, 0, 0, 0, 9, 0, 0, 1, 0};
    static const uint8_t tur[6] = {0};
    const struct {
        unsigned number;
        uint8_t dir;
        uint32_t len;
        const uint8_t *cdb;
        unsigned cdb_len;
        uint8_t status;
        uint32_t residue;
    } cases[] = {
        {1, OUT, 0, tur, 6, PASSED, 0},       {2, OUT, 0, rd, 10, PHASE, 0},
        {3, OUT, 0, wr, 10, PHASE, 0},        {4, IN, 64, tur, 6, PASSED, 64},
        {5, IN, 1024, rd, 10, PASSED, 512},   {6, IN, 512, rd, 10, PASSED, 0},
        {7, IN, 100, rd, 10, PHASE, 0},       {8, IN, 512, wr, 10, PHASE, 512},
        {9, OUT, 64, tur, 6, PASSED, 64},     {10, OUT, 512, rd, 10, PHASE, 512},
        {11, OUT, 1024, wr, 10, PASSED, 512}, {12, OUT, 512, wr, 10, PASSED, 0},
        {13, OUT, 100, wr, 10, PHASE, 100},
    };
    Disk *s = disk_new(false, false);
    uint8_t d[1024] = {0}, again[512];

    wake(s);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint8_t st =
            command(s, cases[i].dir, cases[i].len, cases[i].cdb, cases[i].cdb_len, d, NULL);
        g_test_message("case %u", cases[i].number);
        g_assert_cmpuint(st, ==, cases[i].status);
        g_assert_cmpuint(s->residue, ==, cases[i].residue);
        g_assert_cmpuint(ready(s), ==, PASSED); /* and it goes on */
    }
    g_assert_cmpuint(command(s, IN, 512, rd, 10, again, NULL), ==, PASSED);
    disk_free(s);
}

/* 6.6.1: not a valid wrapper. Everything halts until reset recovery. */
static void test_bad_wrappers(void)
{
    Disk *s = disk_new(false, false);
    uint8_t d[64];

    wake(s);
    for (unsigned i = 0; i < 6; i++) {
        uint8_t p[64] = {0};
        put32(p, i == 0 ? 0xdeadbeef : CBW_SIG);
        p[13] = i == 1;                       /* LUN 1 */
        p[14] = i == 2 ? 0 : i == 3 ? 17 : 6; /* length of the command */
        unsigned len = i == 4 ? 30 : i == 5 ? 32 : 31;
        g_assert_cmpint(usb_packet(s->r, USB_PID_OUT, s->a, EP_OUT, p, len, 5), ==, USB_STALL);
        unhalt(s, false);
        unhalt(s, true);
        g_assert_cmpint(usb_packet(s->r, USB_PID_IN, s->a, EP_IN, d, 64, 5), ==, USB_STALL);
        g_assert_cmpint(usb_packet(s->r, USB_PID_OUT, s->a, EP_OUT, p, 31, 5), ==, USB_STALL);
        g_assert_cmpint(usb_control(s->r, s->a, 64, 0x21, 0xff, 0, 0, 0, NULL), ==, 0);
        unhalt(s, true);
        unhalt(s, false);
        g_assert_cmpuint(ready(s), ==, PASSED);
    }
    disk_free(s);
}

/* Lengths that lie: 4 GiB of data, data that stops, resets and unplugging in between. */
static void test_hostile_lengths(void)
{
    Disk *s = disk_new(false, false);
    const uint8_t rd[16] = {0x28, 0, 0, 0, 0, 0, 0, 0, 200, 0},
                  wr[16] = {0x2a, 0, 0, 0, 0, 0, 0, 0, 200};
    uint8_t d[64] = {0};

    wake(s);
    g_assert_cmpint(send_cbw(s, IN, 0xffffffff, rd, 10), ==, 31);
    unsigned n = 0;
    while (usb_packet(s->r, USB_PID_IN, s->a, EP_IN, d, 64, 5) == 64) {
        settle(s);
        n += 64;
    }
    g_assert_cmpuint(n, ==, 200 * 512);
    unhalt(s, true);
    g_assert_cmpuint(get_csw(s), ==, PASSED);
    g_assert_cmpuint(s->residue, ==, 0xffffffff - 200 * 512);
    /* A short packet in the middle of writing. */
    g_assert_cmpint(send_cbw(s, OUT, 200 * 512, wr, 10), ==, 31);
    g_assert_cmpint(usb_packet(s->r, USB_PID_OUT, s->a, EP_OUT, d, 64, 5), ==, 64);
    g_assert_cmpint(usb_packet(s->r, USB_PID_OUT, s->a, EP_OUT, d, 10, 5), ==, 10);
    g_assert_cmpint(usb_packet(s->r, USB_PID_OUT, s->a, EP_OUT, d, 64, 5), ==, USB_STALL);
    unhalt(s, false);
    g_assert_cmpuint(get_csw(s), ==, PHASE);
    /* Reset recovery with a request in flight, again and again. */
    for (unsigned i = 0; i < 50; i++) {
        uint8_t p[31] = {0};
        put32(p, CBW_SIG);
        put32(p + 8, 200 * 512);
        p[12] = IN;
        p[14] = 10;
        memcpy(p + 15, rd, 10);
        usb_packet(s->r, USB_PID_OUT, s->a, EP_OUT, p, 31, 1);
        g_assert_cmpint(usb_control(s->r, s->a, 64, 0x21, 0xff, 0, 0, 0, NULL), ==, 0);
    }
    settle(s);
    g_assert_cmpuint(ready(s), ==, PASSED);
    uint8_t p[31] = {0};
    put32(p, CBW_SIG);
    put32(p + 8, 200 * 512);
    p[12] = IN;
    p[14] = 10;
    memcpy(p + 15, rd, 10);
    usb_packet(s->r, USB_PID_OUT, s->a, EP_OUT, p, 31, 1);
    device_free(s->dev); /* unplugged at work */
    frames(s->r, 20);
    disk_free(s);
}

static void test_media_change(void)
{
    Disk *s = disk_new(true, false);
    Machine *m = s->r->f->m;
    DriveSpec *d = drive_find(m, "d");
    GError *err = NULL;
    uint8_t buf[512];
    const uint8_t rd[10] = {0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0}, lock[6] = {0x1e, 0, 0, 0, 1, 0};

    wake(s);
    g_assert_cmpuint(command(s, OUT, 0, lock, 6, NULL, NULL), ==, PASSED);
    g_assert_false(drive_eject(m, d, false, &err));
    g_assert_nonnull(strstr(err->message, "locked"));
    g_clear_error(&err);
    g_assert_true(drive_eject(m, d, true, &err));
    g_assert_cmpuint(ready(s), ==, FAILED);
    g_assert_cmphex(sense(s), ==, 0x023a00); /* no medium */
    g_assert_cmpuint(command(s, IN, 512, rd, 10, buf, NULL), ==, FAILED);
    g_assert_false(drive_change(m, d, "/nonexistent/x", "raw", DRIVE_RETAIN, false, &err));
    g_clear_error(&err);
    g_assert_true(drive_change(m, d, s->file, "raw", DRIVE_RETAIN, false, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(ready(s), ==, FAILED);
    g_assert_cmphex(sense(s), ==, 0x062800); /* it may have changed */
    g_assert_cmpuint(command(s, IN, 512, rd, 10, buf, NULL), ==, PASSED);
    check_blocks(buf, 9, 1);
    disk_free(s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/usb-storage/inquiry", test_inquiry);
    g_test_add_func("/usb-storage/read-write", test_read_write);
    g_test_add_func("/usb-storage/cases", test_cases);
    g_test_add_func("/usb-storage/bad-wrappers", test_bad_wrappers);
    g_test_add_func("/usb-storage/hostile-lengths", test_hostile_lengths);
    g_test_add_func("/usb-storage/media-change", test_media_change);
    return g_test_run();
}
