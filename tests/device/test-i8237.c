/* 8237A pair of a PC against Intel's data sheet. */
#include "hw/char/debugcon.h"
#include "hw/dma/i8237.h"
#include "isa-fixture.h"
#include <string.h>

typedef struct Bench {
    IsaFixture f;
    I8237 *d;
    /* the device on a channel */
    uint8_t buf[70000];
    size_t pos, len;
    unsigned tcs;
    bool from_mem, endless;
    unsigned chan;
} Bench;

static size_t transfer(void *opaque, uint8_t *buf, size_t len, bool from_mem)
{
    Bench *b = opaque;

    if (b->endless) {
        return len;
    }
    len = MIN(len, b->len - b->pos);
    b->from_mem = from_mem;
    if (from_mem) {
        memcpy(b->buf + b->pos, buf, len);
    } else {
        memcpy(buf, b->buf + b->pos, len);
    }
    b->pos += len;
    if (b->pos == b->len) {
        i8237_dreq(b->d, b->chan, false);
    }
    return len;
}

static void tc(void *opaque)
{
    ((Bench *)opaque)->tcs++;
}

static const I8237Port port = {.transfer = transfer, .tc = tc};

static void start(Bench *b, unsigned chan)
{
    fixture_init(&b->f);
    b->d = i8237_new(&b->f.isa, NULL);
    b->pos = b->tcs = b->endless = 0;
    b->chan = chan;
    b->len = 0;
    g_assert_true(i8237_attach(b->d, chan, &port, b));
    g_assert_false(i8237_attach(b->d, chan, &port, b));
    g_assert_false(i8237_attach(b->d, 4, &port, b));
    outb(&b->f, 0xd6, 0xc0); /* cascade */
    outb(&b->f, 0xd4, 0x00);
}

static void stop(Bench *b)
{
    fixture_fini(&b->f);
}

/* Programme channel 0–3. */
static void program(Bench *b, unsigned chan, uint8_t mode, uint16_t addr, uint8_t page,
                    uint16_t count)
{
    static const uint8_t pages[] = {0x87, 0x83, 0x81, 0x82};

    outb(&b->f, 0x0a, 4 | chan);
    outb(&b->f, 0x0c, 0);
    outb(&b->f, 0x0b, mode | chan);
    outb(&b->f, chan * 2, addr);
    outb(&b->f, chan * 2, addr >> 8);
    outb(&b->f, chan * 2 + 1, count);
    outb(&b->f, chan * 2 + 1, count >> 8);
    outb(&b->f, pages[chan], page);
    outb(&b->f, 0x0a, chan);
}

static uint16_t read_word(Bench *b, uint16_t p)
{
    outb(&b->f, 0x0c, 0);
    uint8_t low = inb(&b->f, p);
    return low | inb(&b->f, p) << 8;
}

static void test_registers(void)
{
    Bench *b = g_new0(Bench, 1);

    start(b, 2);
    program(b, 1, 0x44, 0x1234, 0x05, 0x0fff);
    g_assert_cmphex(read_word(b, 2), ==, 0x1234);
    g_assert_cmphex(read_word(b, 3), ==, 0x0fff);
    g_assert_cmphex(inb(&b->f, 0x83), ==, 0x05);
    /* Page registers nobody uses are plain latches. */
    outb(&b->f, 0x80, 0x77);
    g_assert_cmphex(inb(&b->f, 0x80), ==, 0x77);
    outb(&b->f, 0x0d, 0); /* master clear masks everything */
    g_assert_cmphex(inb(&b->f, 0x0f) & 15, ==, 15);
    outb(&b->f, 0x0e, 0);
    g_assert_cmphex(inb(&b->f, 0x0f) & 15, ==, 0);
    outb(&b->f, 0x0f, 0x05);
    g_assert_cmphex(inb(&b->f, 0x0f) & 15, ==, 5);
    stop(b);
    g_free(b);
}

static void test_to_memory(void)
{
    Bench *b = g_new0(Bench, 1);
    uint8_t mem[12];

    start(b, 2);
    memcpy(b->buf, "floppy data!", 12);
    b->len = 12;
    program(b, 2, 0x44, 0xfff8, 0x01, 9);
    i8237_dreq(b->d, 2, true);
    g_assert_cmpint(b->pos, ==, 10); /* count + 1 */
    g_assert_cmpint(b->tcs, ==, 1);
    /* The address wraps inside its 64 KiB page. */
    mem_read(b->f.m->memory, 0x1fff8, mem, 8);
    mem_read(b->f.m->memory, 0x10000, mem + 8, 4);
    g_assert_cmpmem(mem, 10, "floppy dat", 10);
    g_assert_cmpint(mem[10], ==, 0);
    /* Status: terminal count of channel 2, cleared by reading; the channel is masked. */
    g_assert_cmphex(inb(&b->f, 0x08) & 0x0f, ==, 4);
    g_assert_cmphex(inb(&b->f, 0x08) & 0x0f, ==, 0);
    g_assert_cmphex(inb(&b->f, 0x0f) & 4, ==, 4);
    g_assert_cmphex(read_word(b, 5), ==, 0xffff);
    g_assert_cmphex(read_word(b, 4), ==, 0x0002);
    stop(b);
    g_free(b);
}

static void test_from_memory_when_unmasked(void)
{
    Bench *b = g_new0(Bench, 1);

    start(b, 3);
    mem_write(b->f.m->memory, 0x20010, "abcdef", 6);
    b->len = 6;
    i8237_dreq(b->d, 3, true);
    g_assert_cmpint(b->pos, ==, 0); /* masked */
    program(b, 3, 0x48, 0x0010, 0x02, 99);
    g_assert_cmpint(b->pos, ==, 6);
    g_assert_true(b->from_mem);
    g_assert_cmpmem(b->buf, 6, "abcdef", 6);
    g_assert_cmpint(b->tcs, ==, 0);
    g_assert_cmphex(read_word(b, 7), ==, 93);
    stop(b);
    g_free(b);
}

static void test_auto_init_and_down(void)
{
    Bench *b = g_new0(Bench, 1);
    uint8_t mem[4];

    start(b, 1);
    memcpy(b->buf, "12345678", 8);
    b->len = 8;
    program(b, 1, 0x74, 0x0103, 0x03, 3); /* down, auto */
    i8237_dreq(b->d, 1, true);
    g_assert_cmpint(b->pos, ==, 8);
    g_assert_cmpint(b->tcs, ==, 2);
    mem_read(b->f.m->memory, 0x30100, mem, 4);
    g_assert_cmpmem(mem, 4, "8765", 4);
    g_assert_cmphex(read_word(b, 2), ==, 0x0103);
    g_assert_cmphex(read_word(b, 3), ==, 3);
    g_assert_cmphex(inb(&b->f, 0x0f) & 2, ==, 0);
    stop(b);
    g_free(b);
}

static void test_words(void)
{
    Bench *b = g_new0(Bench, 1);
    uint8_t mem[8];

    start(b, 5);
    memcpy(b->buf, "wordword", 8);
    b->len = 8;
    outb(&b->f, 0xd8, 0);
    outb(&b->f, 0xd6, 0x45);
    outb(&b->f, 0xc4, 0x00); /* address 8000h words */
    outb(&b->f, 0xc4, 0x80);
    outb(&b->f, 0xc6, 3);
    outb(&b->f, 0xc6, 0);
    outb(&b->f, 0x8b, 0x05); /* bit 0 of the page does not count */
    outb(&b->f, 0xd4, 1);
    i8237_dreq(b->d, 5, true);
    g_assert_cmpint(b->tcs, ==, 1);
    mem_read(b->f.m->memory, 0x50000, mem, 8);
    g_assert_cmpmem(mem, 8, "wordword", 8);
    stop(b);
    g_free(b);
}

static void test_verify_and_bounds(void)
{
    Bench *b = g_new0(Bench, 1);
    uint8_t mem[4] = {1, 1, 1, 1};

    start(b, 2);
    mem_write(b->f.m->memory, 0x10000, mem, 4);
    b->len = 8;
    program(b, 2, 0x40, 0, 1, 3);
    i8237_dreq(b->d, 2, true);
    g_assert_cmpint(b->tcs, ==, 1);
    mem_read(b->f.m->memory, 0x10000, mem, 4);
    g_assert_cmphex(mem[0], ==, 1); /* nothing written */
    /* A device that never stops does not hang the machine. */
    b->endless = true;
    program(b, 2, 0x54, 0, 1, 0);
    i8237_dreq(b->d, 2, true);
    i8237_dreq(b->d, 2, false);
    /* The controller can be disabled. */
    b->endless = false;
    b->pos = 0;
    b->len = 4;
    program(b, 2, 0x44, 0, 1, 3);
    outb(&b->f, 0x08, 4);
    i8237_dreq(b->d, 2, true);
    g_assert_cmpint(b->pos, ==, 0);
    outb(&b->f, 0x08, 0);
    g_assert_cmpint(b->pos, ==, 4);
    stop(b);
    g_free(b);
}

static void test_memory_to_memory(void)
{
    Bench *b = g_new0(Bench, 1);
    uint8_t mem[6];

    start(b, 2);
    mem_write(b->f.m->memory, 0x10100, "copied", 6);
    program(b, 0, 0x88, 0x0100, 1, 5);
    program(b, 1, 0x84, 0x0200, 1, 5);
    outb(&b->f, 0x08, 1);
    outb(&b->f, 0x09, 4);
    mem_read(b->f.m->memory, 0x10200, mem, 6);
    g_assert_cmpmem(mem, 6, "copied", 6);
    g_assert_cmphex(inb(&b->f, 0x0d), ==, 'd');
    stop(b);
    g_free(b);
}

static void test_debugcon(void)
{
    IsaFixture f;
    uint8_t buf[4];

    fixture_init(&f);
    Chardev *c = chardev_new_from_opts("ringbuf,id=d", NULL);
    g_assert_nonnull(debugcon_new(&f.isa, 0xe9, c, NULL));
    g_assert_cmphex(inb(&f, 0xe9), ==, 0xe9);
    outb(&f, 0xe9, 'o');
    outb(&f, 0xe9, 'k');
    g_assert_cmpint(chardev_ringbuf_read(c, buf, 4), ==, 2);
    g_assert_cmpmem(buf, 2, "ok", 2);
    fixture_fini(&f);
    machine_lock();
    chardev_cleanup();
    machine_unlock();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8237/registers", test_registers);
    g_test_add_func("/i8237/to-memory", test_to_memory);
    g_test_add_func("/i8237/from-memory-when-unmasked", test_from_memory_when_unmasked);
    g_test_add_func("/i8237/auto-init-and-down", test_auto_init_and_down);
    g_test_add_func("/i8237/words", test_words);
    g_test_add_func("/i8237/verify-and-bounds", test_verify_and_bounds);
    g_test_add_func("/i8237/memory-to-memory", test_memory_to_memory);
    g_test_add_func("/debugcon/output", test_debugcon);
    return g_test_run();
}
