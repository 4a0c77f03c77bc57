/* virtio-blk against VIRTIO 1.2, section 5.2: requests, their bounds, hostile drivers, reset. */
#include "block/drive.h"
#include "virtio-fixture.h"
#include <stdio.h>
#include <unistd.h>

#define HEAD 0x100000u
#define DATA 0x200000u
#define DISK 131072u /* bytes */
#define BAD_MMIO 0x70000000u

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
enum { OK, IOERR, UNSUPP };

typedef struct Bench {
    VFixture f;
    DriveSpec *spec;
    char *path;
} Bench;

static void bench_open(Bench *b, bool readonly, const char *prop, const char *val)
{
    g_autofree uint8_t *img = g_malloc(DISK);
    GError *err = NULL;
    int fd;

    vf_machine(&b->f, false);
    for (unsigned i = 0; i < DISK; i++) {
        img[i] = (uint8_t)(i / 512 + i);
    }
    b->path = NULL;
    fd = g_file_open_tmp("rhea-test-XXXXXX", &b->path, &err);
    g_assert_no_error(err);
    g_assert_cmpint(write(fd, img, DISK), ==, DISK);
    close(fd);
    b->spec = drive_new(b->path, DRIVE_IF_NONE, -1, false);
    b->spec->id = g_strdup("d");
    b->spec->format = g_strdup("raw");
    b->spec->readonly = readonly;
    b->f.r.m->cfg.drives = g_ptr_array_new_with_free_func((GDestroyNotify)drive_free);
    g_ptr_array_add(b->f.r.m->cfg.drives, b->spec);
    Device *dev = device_new(device_type_find("virtio-blk-device"), b->f.r.m);
    device_set(dev, "drive", "d", NULL);
    device_set(dev, "serial", "0123456789", NULL);
    if (prop) {
        g_assert_true(device_set(dev, prop, val, NULL));
    }
    vf_plug(&b->f, dev);
    g_assert_true(b->spec->used);
}

static void bench_close(Bench *b)
{
    rig_roundtrip(b->f.dev);
    GPtrArray *drives = b->f.r.m->cfg.drives;
    vf_close(&b->f);
    g_assert_cmpuint(drives->len, ==, 0); /* it went with its device */
    g_ptr_array_free(drives, TRUE);
    unlink(b->path);
    g_free(b->path);
}

/* Completions come from a worker, or the main loop. */
static void wait_used(Bench *b, unsigned n, uint16_t idx)
{
    for (unsigned i = 0; i < 600000 && vf_used_idx(&b->f, n) != idx; i++) {
        machine_unlock();
        g_main_context_iteration(NULL, FALSE);
        g_usleep(50);
        machine_lock();
    }
    g_assert_cmpuint(vf_used_idx(&b->f, n), ==, idx);
}

static void header(Bench *b, uint32_t type, uint64_t sector)
{
    writel(&b->f.r, HEAD, type);
    writel(&b->f.r, HEAD + 4, 0);
    writeq(&b->f.r, HEAD + 8, sector);
    mem_store(b->f.r.m->memory, HEAD + 16, 0xee, 1);
}

/* One request with a data buffer; returns the status byte, *@len what was used. */
static uint8_t request(Bench *b, uint32_t type, uint64_t sector, uint64_t addr, uint32_t n,
                       uint32_t *used)
{
    bool in = type == IN || type == GET_ID;
    const VfBuf bufs[] = {{HEAD, 16, false}, {addr, n, in}, {HEAD + 16, 1, true}};
    uint16_t idx = vf_used_idx(&b->f, 0);
    uint32_t head = 0, len = 0;

    header(b, type, sector);
    if (n) {
        vf_add(&b->f, 0, bufs, 3);
    } else {
        const VfBuf two[] = {bufs[0], bufs[2]};
        vf_add(&b->f, 0, two, 2);
    }
    vf_kick(&b->f, 0);
    wait_used(b, 0, (uint16_t)(idx + 1));
    g_assert_true(vf_used(&b->f, 0, &head, &len));
    if (used) {
        *used = len;
    }
    vf_ack(&b->f);
    return (uint8_t)mem_load(b->f.r.m->memory, HEAD + 16, 1);
}

static uint8_t peek(Bench *b, uint64_t addr)
{
    return (uint8_t)mem_load(b->f.r.m->memory, addr, 1);
}

static uint8_t on_disk(Bench *b, unsigned off)
{
    uint8_t c = 0;
    FILE *f = fopen(b->path, "rb");

    g_assert_nonnull(f);
    g_assert_cmpint(fseek(f, off, SEEK_SET), ==, 0);
    g_assert_cmpint(fread(&c, 1, 1, f), ==, 1);
    fclose(f);
    return c;
}

static void test_config(void)
{
    Bench b;

    bench_open(&b, false, "num-queues", "4");
    g_assert_cmpuint(vf_reg(&b.f, 0x100), ==, DISK / 512);
    g_assert_cmpuint(vf_reg(&b.f, 0x104), ==, 0);
    g_assert_cmpuint(vf_reg(&b.f, 0x10c), ==, 254);
    g_assert_cmpuint(vf_reg(&b.f, 0x114), ==, 512);
    g_assert_cmpuint(mem_load(b.f.r.m->memory, VF_BASE + 0x120, 1), ==, 1);
    g_assert_cmpuint(mem_load(b.f.r.m->memory, VF_BASE + 0x122, 2), ==, 4);
    g_assert_cmpuint(vf_reg(&b.f, 0x128), ==, 1);
    g_assert_cmphex(vf_reg(&b.f, 0x10) & 0x7fff, ==,
                    1 << 2 | 1 << 4 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 |
                        1 << 14);
    /* The cache's switch is writable once agreed on. */
    mem_store(b.f.r.m->memory, VF_BASE + 0x120, 0, 1);
    g_assert_cmpuint(mem_load(b.f.r.m->memory, VF_BASE + 0x120, 1), ==, 1);
    vf_start(&b.f, VIRTIO_BIT(11) | VIRTIO_BIT(9), 4, 16);
    mem_store(b.f.r.m->memory, VF_BASE + 0x120, 0, 1);
    g_assert_cmpuint(mem_load(b.f.r.m->memory, VF_BASE + 0x120, 1), ==, 0);
    bench_close(&b);
}

static void test_read_write(void)
{
    Bench b;
    uint32_t used = 0;

    bench_open(&b, false, NULL, NULL);
    vf_start(&b.f, VIRTIO_BIT(9), 1, 16);
    g_assert_cmpuint(request(&b, IN, 3, DATA, 1024, &used), ==, OK);
    g_assert_cmpuint(used, ==, 1025);
    for (unsigned i = 0; i < 1024; i++) {
        g_assert_cmphex(peek(&b, DATA + i), ==, (uint8_t)(3 + i / 512 + i));
    }
    for (unsigned i = 0; i < 1024; i++) {
        mem_store(b.f.r.m->memory, DATA + i, 0x55, 1);
    }
    g_assert_cmpuint(request(&b, OUT, 254, DATA, 1024, &used), ==, OK);
    g_assert_cmpuint(used, ==, 1);
    g_assert_cmpuint(request(&b, FLUSH, 0, 0, 0, &used), ==, OK);
    g_assert_cmphex(on_disk(&b, DISK - 1), ==, 0x55);
    g_assert_cmphex(on_disk(&b, DISK - 1024), ==, 0x55);
    g_assert_cmphex(on_disk(&b, DISK - 1025), ==, (uint8_t)(253 + 511));
    g_assert_cmpuint(request(&b, IN, 0, 0, 0, &used), ==, OK); /* nothing, successfully */
    bench_close(&b);
}

/* Header, data and status in pieces of any size (VERSION_1 says so, 2.7.4). */
static void test_any_layout(void)
{
    Bench b;
    const VfBuf bufs[] = {{HEAD, 7, false},
                          {HEAD + 7, 9, false},
                          {DATA, 1, true},
                          {DATA + 1, 510, true},
                          {DATA + 511, 2, true}};

    bench_open(&b, false, NULL, NULL);
    vf_start(&b.f, 0, 1, 16);
    header(&b, IN, 9);
    vf_add(&b.f, 0, bufs, 5);
    vf_kick(&b.f, 0);
    wait_used(&b, 0, 1);
    for (unsigned i = 0; i < 512; i++) {
        g_assert_cmphex(peek(&b, DATA + i), ==, (uint8_t)(9 + i));
    }
    g_assert_cmphex(peek(&b, DATA + 512), ==, OK);
    bench_close(&b);
}

static void test_bounds(void)
{
    Bench b;
    uint32_t used = 0;

    bench_open(&b, false, NULL, NULL);
    vf_start(&b.f, 0, 1, 16);
    g_assert_cmpuint(request(&b, IN, 256, DATA, 512, &used), ==, IOERR);
    g_assert_cmpuint(request(&b, IN, 255, DATA, 1024, &used), ==, IOERR);
    g_assert_cmpuint(request(&b, IN, UINT64_MAX, DATA, 512, &used), ==, IOERR);
    g_assert_cmpuint(request(&b, IN, 1ull << 55, DATA, 512, &used), ==, IOERR);
    g_assert_cmpuint(request(&b, OUT, 0, DATA, 511, &used), ==, IOERR);
    g_assert_cmpuint(request(&b, IN, 0, DATA, 513, &used), ==, IOERR);
    g_assert_cmpuint(request(&b, 99, 0, DATA, 512, &used), ==, UNSUPP);
    g_assert_cmpuint(request(&b, ZEROES, 0, DATA, 16, &used), ==, UNSUPP); /* not agreed on */
    g_assert_cmpuint(request(&b, IN, 255, DATA, 512, &used), ==, OK);
    g_assert_cmpuint(request(&b, GET_ID, 0, DATA, 20, &used), ==, OK);
    g_assert_cmpuint(used, ==, 21);
    g_assert_cmphex(readl(&b.f.r, DATA), ==, 0x33323130);
    g_assert_cmphex(peek(&b, DATA + 10), ==, 0);
    g_assert_cmpuint(request(&b, GET_ID, 0, DATA, 3, &used), ==, OK);
    /* Where nothing is: data by a detour, and too much for it. */
    g_assert_cmpuint(request(&b, IN, 0, BAD_MMIO, 512, &used), ==, OK);
    g_assert_cmpuint(request(&b, OUT, 1, BAD_MMIO, 512, &used), ==, OK);
    g_assert_cmphex(on_disk(&b, 600), ==, 0xff);
    g_assert_cmpuint(request(&b, IN, 0, BAD_MMIO, 0xfffffe00, &used), ==, IOERR);
    g_assert_cmpuint(request(&b, IN, 0, VF_BASE, 512, &used), ==, OK); /* its own registers */
    g_assert_cmphex(vf_reg(&b.f, 0x70), ==, 15);
    bench_close(&b);
}

static void segment(Bench *b, uint64_t sector, uint32_t n, uint32_t flags)
{
    writeq(&b->f.r, DATA, sector);
    writel(&b->f.r, DATA + 8, n);
    writel(&b->f.r, DATA + 12, flags);
}

static void test_discard(void)
{
    Bench b;

    bench_open(&b, false, NULL, NULL);
    vf_start(&b.f, VIRTIO_BIT(13) | VIRTIO_BIT(14), 1, 16);
    segment(&b, 4, 4, 0);
    g_assert_cmpuint(request(&b, ZEROES, 0, DATA, 16, NULL), ==, OK);
    g_assert_cmphex(on_disk(&b, 2048), ==, 0);
    g_assert_cmphex(on_disk(&b, 4095), ==, 0);
    g_assert_cmphex(on_disk(&b, 2047), ==, (uint8_t)(3 + 2047));
    g_assert_cmphex(on_disk(&b, 4096), ==, 8);
    segment(&b, 0, 256, 1);
    g_assert_cmpuint(request(&b, ZEROES, 0, DATA, 16, NULL), ==, OK);
    g_assert_cmphex(on_disk(&b, DISK - 1), ==, 0);
    g_assert_cmpuint(request(&b, DISCARD, 0, DATA, 16, NULL), ==, UNSUPP); /* unmap flag */
    segment(&b, 0, 256, 0);
    g_assert_cmpuint(request(&b, DISCARD, 0, DATA, 16, NULL), ==, OK);
    segment(&b, 1, 256, 0);
    g_assert_cmpuint(request(&b, DISCARD, 0, DATA, 16, NULL), ==, IOERR);
    segment(&b, UINT64_MAX, 2, 0);
    g_assert_cmpuint(request(&b, ZEROES, 0, DATA, 16, NULL), ==, IOERR);
    segment(&b, 0, 0xffffffff, 0);
    g_assert_cmpuint(request(&b, ZEROES, 0, DATA, 16, NULL), ==, IOERR);
    g_assert_cmpuint(request(&b, DISCARD, 0, DATA, 32, NULL), ==, IOERR);
    g_assert_cmpuint(request(&b, DISCARD, 0, DATA, 3, NULL), ==, IOERR);
    bench_close(&b);
}

static void test_read_only(void)
{
    Bench b;

    bench_open(&b, true, NULL, NULL);
    g_assert_cmphex(vf_reg(&b.f, 0x10) & (1 << 5 | 1 << 13 | 1 << 14), ==, 1 << 5);
    vf_start(&b.f, ~0ull, 1, 16);
    g_assert_cmpuint(request(&b, OUT, 0, DATA, 512, NULL), ==, IOERR);
    g_assert_cmphex(on_disk(&b, 1), ==, 1);
    g_assert_cmpuint(request(&b, IN, 0, DATA, 512, NULL), ==, OK);
    bench_close(&b);
}

/* Requests without room for a status, or without a header, stop the device. */
static void test_hostile(void)
{
    Bench b;
    const VfBuf no_status[] = {{HEAD, 16, false}},
                no_header[] = {{HEAD, 15, false}, {DATA, 9, true}};

    bench_open(&b, false, NULL, NULL);
    vf_start(&b.f, 0, 1, 16);
    vf_add(&b.f, 0, no_status, 1);
    vf_kick(&b.f, 0);
    g_assert_cmphex(vf_reg(&b.f, 0x70), ==, 15 | 64);
    vf_start(&b.f, 0, 1, 16);
    vf_add(&b.f, 0, no_header, 2);
    vf_kick(&b.f, 0);
    g_assert_cmphex(vf_reg(&b.f, 0x70), ==, 15 | 64);
    vf_start(&b.f, 0, 1, 16);
    g_assert_cmpuint(request(&b, IN, 0, DATA, 512, NULL), ==, OK);
    bench_close(&b);
}

/* Many at once on two queues; a reset in the middle: nothing is written to memory after it. */
static void test_reset_in_flight(void)
{
    Bench b;

    bench_open(&b, false, "num-queues", "2");
    for (unsigned round = 0; round < 20; round++) {
        vf_start(&b.f, 0, 2, 64);
        for (unsigned i = 0; i < 40; i++) {
            const VfBuf bufs[] = {
                {HEAD, 16, false}, {DATA + i * 4096, 4096, true}, {HEAD + 64 + i, 1, true}};
            header(&b, IN, i);
            vf_add(&b.f, i & 1, bufs, 3);
            vf_kick(&b.f, i & 1);
        }
        vf_set(&b.f, 0x70, 0);
        uint8_t zero[40 * 4096] = {0};
        mem_write(b.f.r.m->memory, DATA, zero, sizeof(zero));
        machine_unlock();
        while (g_main_context_iteration(NULL, FALSE)) {
        }
        machine_lock();
        for (unsigned i = 0; i < sizeof(zero); i += 512) {
            g_assert_cmphex(readl(&b.f.r, DATA + i + 4), ==, 0);
        }
    }
    vf_start(&b.f, 0, 2, 64);
    g_assert_cmpuint(request(&b, IN, 0, DATA, 512, NULL), ==, OK);
    bench_close(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio_blk/config", test_config);
    g_test_add_func("/virtio_blk/read-write", test_read_write);
    g_test_add_func("/virtio_blk/any-layout", test_any_layout);
    g_test_add_func("/virtio_blk/bounds", test_bounds);
    g_test_add_func("/virtio_blk/discard", test_discard);
    g_test_add_func("/virtio_blk/read-only", test_read_only);
    g_test_add_func("/virtio_blk/hostile", test_hostile);
    g_test_add_func("/virtio_blk/reset-in-flight", test_reset_in_flight);
    return g_test_run();
}
