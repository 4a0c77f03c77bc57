/* Keyboard controller, keyboard and mouse against IBM's PS/2 technical reference. */
#include "hw/input/i8042.h"
#include "hw/misc/port92.h"
#include "isa-fixture.h"
#include <string.h>

typedef struct Bench {
    IsaFixture f;
    I8042 *kbc;
} Bench;

enum { LINE_A20 = 16, LINE_RESET = 17 };

static void start(Bench *b)
{
    fixture_init(&b->f);
    b->kbc =
        i8042_new(&b->f.isa, fixture_line(&b->f, LINE_A20), fixture_line(&b->f, LINE_RESET), NULL);
    g_assert_nonnull(b->kbc);
}

static void stop(Bench *b)
{
    fixture_fini(&b->f);
}

/* Next byte at port 60h, within 5 ms; -1: none. */
static int get(Bench *b)
{
    for (int i = 0; i < 50; i++) {
        if (inb(&b->f, 0x64) & 1) {
            return inb(&b->f, 0x60);
        }
        clock_step(b->f.clock, 100000);
    }
    return -1;
}

static void command(Bench *b, uint8_t c)
{
    outb(&b->f, 0x64, c);
}

static void data(Bench *b, uint8_t c)
{
    outb(&b->f, 0x60, c);
}

static void aux(Bench *b, uint8_t c)
{
    command(b, 0xd4);
    data(b, c);
}

static void expect_bytes(Bench *b, unsigned n, const uint8_t *bytes)
{
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmphex(get(b), ==, bytes[i]);
    }
    g_assert_cmpint(get(b), ==, -1);
}

#define expect(b, ...)                                                                             \
    expect_bytes(b, sizeof((uint8_t[]){__VA_ARGS__}), (const uint8_t[]){__VA_ARGS__})
#define expect_nothing(b) g_assert_cmpint(get(b), ==, -1)

/* Command byte: no translation, interrupts as given. */
static void untranslated(Bench *b, uint8_t irqs)
{
    command(b, 0x60);
    data(b, irqs);
}

static void test_controller(void)
{
    Bench b;

    start(&b);
    command(&b, 0xaa);
    expect(&b, 0x55);
    g_assert_cmphex(inb(&b.f, 0x64) & 4, ==, 4); /* system flag */
    command(&b, 0xab);
    expect(&b, 0x00);
    command(&b, 0xa9);
    expect(&b, 0x00);
    command(&b, 0x60);
    g_assert_cmphex(inb(&b.f, 0x64) & 8, ==, 8); /* the last write was a command */
    data(&b, 0x30);
    g_assert_cmphex(inb(&b.f, 0x64) & 8, ==, 0);
    command(&b, 0x20);
    expect(&b, 0x30);
    command(&b, 0xae);
    command(&b, 0x20);
    expect(&b, 0x20);
    command(&b, 0xa8);
    command(&b, 0x20);
    expect(&b, 0x00);
    command(&b, 0xad);
    command(&b, 0xa7);
    command(&b, 0x20);
    expect(&b, 0x30);
    /* RAM behind the command byte. */
    command(&b, 0x7f);
    data(&b, 0x99);
    command(&b, 0x3f);
    expect(&b, 0x99);
    command(&b, 0xd2);
    data(&b, 0x12);
    g_assert_cmphex(inb(&b.f, 0x64) & 0x21, ==, 0x01);
    expect(&b, 0x12);
    command(&b, 0xd3);
    data(&b, 0x34);
    g_assert_cmphex(inb(&b.f, 0x64) & 0x21, ==, 0x21);
    expect(&b, 0x34);
    stop(&b);
}

static void test_a20_and_reset(void)
{
    Bench b;

    start(&b);
    g_assert_cmpint(b.f.level[LINE_A20], ==, 1);
    command(&b, 0xd0);
    g_assert_cmphex(get(&b) & 3, ==, 3);
    command(&b, 0xd1);
    data(&b, 0xdd);
    g_assert_cmpint(b.f.level[LINE_A20], ==, 0);
    command(&b, 0xd1);
    data(&b, 0xdf);
    g_assert_cmpint(b.f.level[LINE_A20], ==, 1);
    command(&b, 0xdd);
    g_assert_cmpint(b.f.level[LINE_A20], ==, 0);
    command(&b, 0xdf);
    g_assert_cmpint(b.f.level[LINE_A20], ==, 1);
    g_assert_cmpint(b.f.edges[LINE_RESET], ==, 0);
    command(&b, 0xfe);
    g_assert_cmpint(b.f.edges[LINE_RESET], ==, 1);
    command(&b, 0xff);
    g_assert_cmpint(b.f.edges[LINE_RESET], ==, 1);
    command(&b, 0xd1);
    data(&b, 0xde);
    g_assert_cmpint(b.f.edges[LINE_RESET], ==, 2);
    stop(&b);
}

static void test_port92(void)
{
    Bench b;

    fixture_init(&b.f);
    port92_new(&b.f.isa, fixture_line(&b.f, LINE_A20), fixture_line(&b.f, LINE_RESET), NULL);
    g_assert_cmpint(b.f.level[LINE_A20], ==, 0);
    outb(&b.f, 0x92, 2);
    g_assert_cmpint(b.f.level[LINE_A20], ==, 1);
    g_assert_cmphex(inb(&b.f, 0x92), ==, 2);
    outb(&b.f, 0x92, 3);
    g_assert_cmpint(b.f.edges[LINE_RESET], ==, 1);
    outb(&b.f, 0x92, 3); /* only the edge resets */
    g_assert_cmpint(b.f.edges[LINE_RESET], ==, 1);
    stop(&b);
}

static void test_keyboard_commands(void)
{
    Bench b;

    start(&b);
    untranslated(&b, 0x20);
    data(&b, 0xff);
    expect(&b, 0xfa, 0xaa);
    data(&b, 0xf2);
    expect(&b, 0xfa, 0xab, 0x83);
    data(&b, 0xee);
    expect(&b, 0xee);
    data(&b, 0xed);
    expect(&b, 0xfa);
    data(&b, 0x07);
    expect(&b, 0xfa);
    g_assert_cmpint(input_leds(b.f.m), ==, 7);
    data(&b, 0xf3);
    expect(&b, 0xfa);
    data(&b, 0x00);
    expect(&b, 0xfa);
    data(&b, 0xf0);
    expect(&b, 0xfa);
    data(&b, 0x00);
    expect(&b, 0xfa, 0x02);
    data(&b, 0xfe); /* the last byte again */
    expect(&b, 0x02);
    data(&b, 0xe0); /* unknown */
    expect(&b, 0xfe);
    /* A command instead of the argument. */
    data(&b, 0xed);
    expect(&b, 0xfa);
    data(&b, 0xf2);
    expect(&b, 0xfa, 0xab, 0x83);
    stop(&b);
}

static void key(Bench *b, unsigned code, bool down)
{
    input_key(b->f.m, code, down);
}

static void test_scan_sets(void)
{
    Bench b;

    start(&b);
    untranslated(&b, 0x20);
    key(&b, 30, true); /* a */
    key(&b, 30, false);
    expect(&b, 0x1c, 0xf0, 0x1c);
    key(&b, 103, true); /* up */
    key(&b, 103, false);
    expect(&b, 0xe0, 0x75, 0xe0, 0xf0, 0x75);
    key(&b, 119, true); /* pause */
    key(&b, 119, false);
    expect(&b, 0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77);
    key(&b, 99, true); /* print */
    key(&b, 99, false);
    expect(&b, 0xe0, 0x12, 0xe0, 0x7c, 0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12);
    key(&b, 56, true); /* alt + print: SysRq */
    key(&b, 99, true);
    key(&b, 99, false);
    key(&b, 56, false);
    expect(&b, 0x11, 0x84, 0xf0, 0x84, 0xf0, 0x11);
    data(&b, 0xf0);
    data(&b, 0x01);
    expect(&b, 0xfa, 0xfa);
    key(&b, 30, true);
    key(&b, 30, false);
    key(&b, 97, true);
    key(&b, 97, false);
    expect(&b, 0x1e, 0x9e, 0xe0, 0x1d, 0xe0, 0x9d);
    data(&b, 0xf0);
    data(&b, 0x03);
    expect(&b, 0xfa, 0xfa);
    key(&b, 30, true);
    key(&b, 30, false); /* typematic only: no break code */
    expect(&b, 0x1c);
    key(&b, 29, true);
    key(&b, 29, false);
    expect(&b, 0x11, 0xf0, 0x11);
    data(&b, 0xf8); /* all keys make and break */
    expect(&b, 0xfa);
    key(&b, 30, true);
    key(&b, 30, false);
    expect(&b, 0x1c, 0xf0, 0x1c);
    data(&b, 0xfd); /* "a": make only */
    data(&b, 0x1c);
    expect(&b, 0xfa, 0xfa);
    data(&b, 0xf4);
    expect(&b, 0xfa);
    key(&b, 30, true);
    key(&b, 30, false);
    expect(&b, 0x1c);
    stop(&b);
}

/* Through the controller every key gives its code of set 1. */
static void test_translation(void)
{
    Bench b;

    start(&b);
    for (unsigned code = 1; code <= 127; code++) {
        unsigned set1 = input_scancode1(code);

        if (!set1 || code == 99) {
            continue;
        }
        key(&b, code, true);
        if (set1 >> 8) {
            g_assert_cmphex(get(&b), ==, 0xe0);
        }
        g_assert_cmphex(get(&b), ==, set1 & 0xff);
        key(&b, code, false);
        if (set1 >> 8) {
            g_assert_cmphex(get(&b), ==, 0xe0);
        }
        g_assert_cmphex(get(&b), ==, (set1 & 0xff) | 0x80);
        expect_nothing(&b);
    }
    data(&b, 0xf2);
    expect(&b, 0xfa, 0xab, 0x41); /* the ID is translated too */
    stop(&b);
}

static void test_irq_and_gap(void)
{
    Bench b;

    start(&b);
    untranslated(&b, 0x03);
    key(&b, 30, true);
    clock_step(b.f.clock, 1000000);
    g_assert_cmpint(b.f.level[1], ==, 1);
    g_assert_cmphex(inb(&b.f, 0x60), ==, 0x1c);
    g_assert_cmpint(b.f.level[1], ==, 0);
    key(&b, 30, false);
    /* Reading again gives the same byte until the next has come over the wire. */
    g_assert_cmphex(inb(&b.f, 0x60), ==, 0x1c);
    clock_step(b.f.clock, 1000000);
    g_assert_cmpint(b.f.edges[1], ==, 2);
    g_assert_cmphex(inb(&b.f, 0x60), ==, 0xf0);
    clock_step(b.f.clock, 1000000);
    inb(&b.f, 0x60);
    aux(&b, 0xf2);
    clock_step(b.f.clock, 1000000);
    g_assert_cmpint(b.f.level[12], ==, 1);
    g_assert_cmpint(b.f.level[1], ==, 0);
    g_assert_cmphex(inb(&b.f, 0x64) & 0x21, ==, 0x21);
    g_assert_cmphex(inb(&b.f, 0x60), ==, 0xfa);
    g_assert_cmpint(b.f.level[12], ==, 0);
    /* A disabled port keeps its bytes. */
    while (get(&b) >= 0) {
        ;
    }
    command(&b, 0xad);
    key(&b, 31, true);
    expect_nothing(&b);
    command(&b, 0xae);
    expect(&b, 0x1b);
    stop(&b);
}

static void test_typematic(void)
{
    Bench b;

    start(&b);
    untranslated(&b, 0x20);
    data(&b, 0xf3);
    data(&b, 0x00); /* 250 ms, then 30 a second */
    expect(&b, 0xfa, 0xfa);
    key(&b, 30, true);
    g_assert_cmphex(get(&b), ==, 0x1c);
    clock_step(b.f.clock, 240000000);
    g_assert_cmphex(inb(&b.f, 0x64) & 1, ==, 0);
    clock_step(b.f.clock, 12000000);
    g_assert_cmphex(get(&b), ==, 0x1c);
    unsigned n = 0;
    for (int i = 0; i < 1000; i++) {
        clock_step(b.f.clock, 1000000);
        if (inb(&b.f, 0x64) & 1) {
            inb(&b.f, 0x60);
            n++;
        }
    }
    g_assert_cmpint(n, >=, 29);
    g_assert_cmpint(n, <=, 31);
    key(&b, 30, true); /* repeats of the host do not count */
    expect_nothing(&b);
    key(&b, 30, false);
    expect(&b, 0xf0, 0x1c);
    clock_step(b.f.clock, NS_PER_SEC);
    expect_nothing(&b);
    /* Nothing is scanned while disabled. */
    data(&b, 0xf5);
    expect(&b, 0xfa);
    key(&b, 31, true);
    key(&b, 31, false);
    expect_nothing(&b);
    stop(&b);
}

static void test_overrun(void)
{
    Bench b;
    int last = 0, n = 0, c;

    start(&b);
    untranslated(&b, 0x20);
    for (unsigned i = 16; i < 50; i++) {
        key(&b, i, true);
    }
    while ((c = get(&b)) >= 0) {
        last = c;
        n++;
    }
    g_assert_cmpint(n, <=, 26);
    g_assert_cmphex(last, ==, 0x00);
    stop(&b);
}

static void test_mouse_commands(void)
{
    Bench b;

    start(&b);
    aux(&b, 0xff);
    expect(&b, 0xfa, 0xaa, 0x00);
    aux(&b, 0xf2);
    expect(&b, 0xfa, 0x00);
    aux(&b, 0xe9);
    expect(&b, 0xfa, 0x00, 0x02, 100);
    aux(&b, 0xe8);
    aux(&b, 0x03);
    expect(&b, 0xfa, 0xfa);
    aux(&b, 0xe7);
    expect(&b, 0xfa);
    aux(&b, 0xf3);
    aux(&b, 40);
    expect(&b, 0xfa, 0xfa);
    aux(&b, 0xf4);
    expect(&b, 0xfa);
    aux(&b, 0xe9);
    expect(&b, 0xfa, 0x30, 0x03, 40);
    aux(&b, 0xf0);
    expect(&b, 0xfa);
    aux(&b, 0xe9);
    expect(&b, 0xfa, 0x70, 0x03, 40);
    aux(&b, 0xee); /* wrap */
    expect(&b, 0xfa);
    aux(&b, 0x55);
    expect(&b, 0x55);
    aux(&b, 0xf2);
    expect(&b, 0xf2);
    aux(&b, 0xec);
    expect(&b, 0xfa);
    aux(&b, 0x11);
    expect(&b, 0xfe);
    aux(&b, 0xe8);
    aux(&b, 0x09);
    expect(&b, 0xfa, 0xfc);
    stop(&b);
}

static void test_mouse_packets(void)
{
    Bench b;

    start(&b);
    input_rel(b.f.m, 5, 5); /* reporting is off */
    expect_nothing(&b);
    aux(&b, 0xf4);
    expect(&b, 0xfa);
    input_rel(b.f.m, 3, 5);
    expect(&b, 0x28, 3, (uint8_t)-5); /* y upwards */
    clock_step(b.f.clock, 20000000);
    input_rel(b.f.m, -3, -5);
    expect(&b, 0x18, (uint8_t)-3, 5);
    clock_step(b.f.clock, 20000000);
    input_button(b.f.m, BUTTON_LEFT, true);
    expect(&b, 0x09, 0, 0);
    clock_step(b.f.clock, 20000000);
    input_button(b.f.m, BUTTON_LEFT, false);
    input_button(b.f.m, BUTTON_RIGHT, true);
    clock_step(b.f.clock, 20000000);
    g_assert_cmphex(get(&b), ==, 0x08);
    get(&b);
    get(&b);
    clock_step(b.f.clock, 20000000);
    expect(&b, 0x0a, 0, 0);
    /* More than a packet holds comes in several. */
    clock_step(b.f.clock, 20000000);
    input_rel(b.f.m, 300, 0);
    g_assert_cmphex(get(&b), ==, 0x0a);
    g_assert_cmphex(get(&b), ==, 255);
    g_assert_cmphex(get(&b), ==, 0);
    clock_step(b.f.clock, 20000000);
    expect(&b, 0x0a, 45, 0);
    /* Polling. */
    aux(&b, 0xf0);
    expect(&b, 0xfa);
    input_rel(b.f.m, 7, 0);
    expect_nothing(&b);
    aux(&b, 0xeb);
    expect(&b, 0xfa, 0x0a, 7, 0);
    stop(&b);
}

static void set_rates(Bench *b, uint8_t r1, uint8_t r2, uint8_t r3)
{
    const uint8_t r[3] = {r1, r2, r3};

    for (unsigned i = 0; i < 3; i++) {
        aux(b, 0xf3);
        aux(b, r[i]);
        expect(b, 0xfa, 0xfa);
    }
}

static void test_wheel(void)
{
    Bench b;

    start(&b);
    set_rates(&b, 200, 200, 80); /* not before the wheel is on */
    aux(&b, 0xf2);
    expect(&b, 0xfa, 0x00);
    set_rates(&b, 200, 100, 80);
    aux(&b, 0xf2);
    expect(&b, 0xfa, 0x03);
    aux(&b, 0xf4);
    expect(&b, 0xfa);
    input_wheel(b.f.m, -1);
    expect(&b, 0x08, 0, 0, 0xff);
    clock_step(b.f.clock, 20000000);
    set_rates(&b, 200, 200, 80);
    aux(&b, 0xf2);
    expect(&b, 0xfa, 0x04);
    clock_step(b.f.clock, 20000000);
    input_button(b.f.m, BUTTON_SIDE, true);
    expect(&b, 0x08, 0, 0, 0x10);
    clock_step(b.f.clock, 20000000);
    input_button(b.f.m, BUTTON_EXTRA, true);
    input_wheel(b.f.m, 1);
    g_assert_cmphex(get(&b), ==, 0x08);
    stop(&b);
}

static void test_sendkey(void)
{
    Bench b;
    GError *err = NULL;

    start(&b);
    g_assert_true(input_send_keys(b.f.m, "ctrl-alt-delete", 0, &err));
    expect(&b, 0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d);
    g_assert_true(input_send_keys(b.f.m, "0x1e", 0, &err));
    expect(&b, 0x1e, 0x9e);
    g_assert_false(input_send_keys(b.f.m, "ctrl-nosuch", 0, &err));
    g_assert_nonnull(strstr(err->message, "nosuch"));
    g_clear_error(&err);
    stop(&b);
}

static void test_save_load(void)
{
    Bench b;
    GByteArray *s1 = g_byte_array_new(), *s2 = g_byte_array_new();
    size_t pos = 0;

    start(&b);
    untranslated(&b, 0x03);
    key(&b, 30, true);
    aux(&b, 0xf4);
    Device *dev = b.f.m->devices->pdata[0];
    state_save(dev->type->state, dev, s1);
    dev->type->reset(dev);
    g_assert_true(state_load(dev->type->state, dev, s1->data, s1->len, &pos, NULL));
    state_save(dev->type->state, dev, s2);
    g_assert_cmpmem(s1->data, s1->len, s2->data, s2->len);
    g_assert_cmphex(get(&b), ==, 0x1c);
    stop(&b);
    g_byte_array_unref(s1);
    g_byte_array_unref(s2);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8042/controller", test_controller);
    g_test_add_func("/i8042/a20-and-reset", test_a20_and_reset);
    g_test_add_func("/i8042/port92", test_port92);
    g_test_add_func("/i8042/keyboard-commands", test_keyboard_commands);
    g_test_add_func("/i8042/scan-sets", test_scan_sets);
    g_test_add_func("/i8042/translation", test_translation);
    g_test_add_func("/i8042/irq-and-gap", test_irq_and_gap);
    g_test_add_func("/i8042/typematic", test_typematic);
    g_test_add_func("/i8042/overrun", test_overrun);
    g_test_add_func("/i8042/mouse-commands", test_mouse_commands);
    g_test_add_func("/i8042/mouse-packets", test_mouse_packets);
    g_test_add_func("/i8042/wheel", test_wheel);
    g_test_add_func("/i8042/sendkey", test_sendkey);
    g_test_add_func("/i8042/save-load", test_save_load);
    return g_test_run();
}
