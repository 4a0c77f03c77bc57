/* Tablet, mouse and keyboard by HID 1.11: descriptors, reports, idle rate, protocols, routing. */
#include "ui/input.h"
#include "usb-fixture.h"

enum { IN = 0xa1, OUT = 0x21, GET_REPORT = 1, GET_IDLE = 2, GET_PROTOCOL = 3, SET_REPORT = 9 };
enum { SET_IDLE = 10, SET_PROTOCOL = 11, KEY_A = 30, KEY_LEFTSHIFT = 42, KEY_RIGHTALT = 100 };

static UsbRig *start(const char *type, unsigned *addr)
{
    UsbRig *r = usb_rig_new();

    usb_plug(r, type, NULL);
    usb_run(r);
    *addr = usb_set_up(r, 0, 8);
    return r;
}

static int poll(UsbRig *r, unsigned a, uint8_t d[8])
{
    memset(d, 0xee, 8);
    return usb_packet(r, USB_PID_IN, a, 1, d, 8, 4);
}

/* Bits of input reports as a report descriptor counts them (6.2.2). */
static unsigned input_bits(const uint8_t *p, unsigned len)
{
    unsigned size = 0, count = 0, bits = 0, depth = 0;

    for (unsigned i = 0; i < len;) {
        unsigned n = (p[i] & 3) == 3 ? 4 : p[i] & 3, tag = p[i] & 0xfc;
        g_assert_cmpuint(i + n, <, len);
        size = tag == 0x74 ? p[i + 1] : size;
        count = tag == 0x94 ? p[i + 1] : count;
        bits += tag == 0x80 ? size * count : 0;
        depth += tag == 0xa0;
        depth -= tag == 0xc0;
        i += n + 1;
    }
    g_assert_cmpuint(depth, ==, 0);
    return bits;
}

static void test_descriptors(void)
{
    static const struct {
        const char *type;
        uint8_t subclass, protocol;
        unsigned bytes;
    } kinds[] = {{"usb-tablet", 0, 0, 6}, {"usb-mouse", 1, 2, 4}, {"usb-kbd", 1, 1, 8}};

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        unsigned a;
        uint8_t d[256], rd[256], h[16];
        UsbRig *r = start(kinds[i].type, &a);
        g_assert_cmpint(usb_control(r, a, 8, 0x80, 6, 0x200, 0, 255, d), ==, 34);
        g_assert_cmphex(d[14], ==, 3);
        g_assert_cmphex(d[15], ==, kinds[i].subclass);
        g_assert_cmphex(d[16], ==, kinds[i].protocol);
        g_assert_cmpint(usb_control(r, a, 8, 0x81, 6, 0x2100, 0, 16, h), ==, 9);
        g_assert_cmpmem(h, 9, d + 18, 9);
        unsigned len = h[7] | h[8] << 8;
        g_assert_cmpint(usb_control(r, a, 8, 0x81, 6, 0x2200, 0, 255, rd), ==, (int)len);
        g_assert_cmpuint(input_bits(rd, len), ==, 8 * kinds[i].bytes);
        g_assert_cmpuint(d[31], >=, kinds[i].bytes); /* packet size */
        g_assert_cmpint(usb_control(r, a, 8, 0x81, 6, 0x2200, 1, 255, rd), ==, USB_STALL);
        g_assert_cmpint(usb_control(r, a, 8, IN, GET_REPORT, 0x100, 0, 64, d), ==,
                        (int)kinds[i].bytes);
        g_assert_cmpint(usb_control(r, a, 8, IN, GET_REPORT, 0x300, 0, 64, d), ==, USB_STALL);
        g_assert_cmpint(usb_packet(r, USB_PID_OUT, a, 1, d, 8, 4), ==, USB_SILENT);
        usb_rig_free(r);
    }
}

static void test_tablet(void)
{
    unsigned a;
    uint8_t d[8];
    UsbRig *r = start("usb-tablet", &a);
    Machine *m = r->f->m;

    g_assert_true(input_is_abs(m));
    g_assert_cmpint(poll(r, a, d), ==, USB_NAK);
    input_abs(m, 32767, 0);
    input_sync(m);
    input_abs(m, 0, 32767); /* overtakes the one that waits */
    input_sync(m);
    g_assert_cmpint(poll(r, a, d), ==, 6);
    g_assert_cmpmem(d, 6, ((uint8_t[]){0, 0, 0, 0xff, 0x7f, 0}), 6);
    g_assert_cmpint(poll(r, a, d), ==, USB_NAK);
    /* Clicks are never lost, nor where they were. */
    for (unsigned i = 0; i < 3; i++) {
        input_abs(m, 100 + i, 200);
        input_button(m, BUTTON_RIGHT, true);
        input_sync(m);
        input_button(m, BUTTON_RIGHT, false);
        input_sync(m);
    }
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(poll(r, a, d), ==, 6);
        g_assert_cmpmem(d, 6, ((uint8_t[]){2, (uint8_t)(100 + i), 0, 200, 0, 0}), 6);
        g_assert_cmpint(poll(r, a, d), ==, 6);
        g_assert_cmphex(d[0], ==, 0);
    }
    input_wheel(m, 1); /* towards the user: negative */
    input_sync(m);
    g_assert_cmpint(poll(r, a, d), ==, 6);
    g_assert_cmphex(d[5], ==, 0xff);
    /* A guest that sleeps while somebody clicks for hours: the end is right. */
    for (unsigned i = 0; i < 1001; i++) {
        input_abs(m, (int)i, (int)i);
        input_button(m, BUTTON_LEFT, !(i & 1));
        input_sync(m);
    }
    unsigned n = 0;
    for (uint8_t e[8]; poll(r, a, e) != USB_NAK; n++) {
        memcpy(d, e, 8);
    }
    g_assert_cmpuint(n, <=, 16);
    g_assert_cmpmem(d, 6, ((uint8_t[]){1, 0xe8, 3, 0xe8, 3, 0}), 6);
    usb_rig_free(r);
}

static void test_mouse(void)
{
    unsigned a;
    uint8_t d[8];
    UsbRig *r = start("usb-mouse", &a);
    Machine *m = r->f->m;
    int x = 0, y = 0, n;

    g_assert_false(input_is_abs(m));
    input_rel(m, 300, -5);
    input_sync(m);
    while ((n = poll(r, a, d)) == 4) {
        x += (int8_t)d[1];
        y += (int8_t)d[2];
    }
    g_assert_cmpint(n, ==, USB_NAK);
    g_assert_cmpint(x, ==, 300);
    g_assert_cmpint(y, ==, -5);
    input_button(m, BUTTON_SIDE, true);
    input_button(m, BUTTON_MIDDLE, true);
    input_sync(m);
    g_assert_cmpint(poll(r, a, d), ==, 4);
    g_assert_cmpmem(d, 4, ((uint8_t[]){0xc, 0, 0, 0}), 4);
    /* Boot protocol: three bytes, three buttons. */
    g_assert_cmpint(usb_control(r, a, 8, IN, GET_PROTOCOL, 0, 0, 1, d), ==, 1);
    g_assert_cmpint(d[0], ==, 1);
    g_assert_cmpint(usb_control(r, a, 8, OUT, SET_PROTOCOL, 0, 0, 0, NULL), ==, 0);
    g_assert_cmpint(usb_control(r, a, 8, OUT, SET_PROTOCOL, 2, 0, 0, NULL), ==, USB_STALL);
    input_rel(m, 1, 2);
    input_sync(m);
    g_assert_cmpint(poll(r, a, d), ==, 3);
    g_assert_cmpmem(d, 3, ((uint8_t[]){4, 1, 2}), 3);
    /* Moves of a guest that does not look add up, within bounds. */
    for (unsigned i = 0; i < 100000; i++) {
        input_rel(m, 30000, 0);
        input_sync(m);
    }
    for (n = 0; n < 1000 && poll(r, a, d) == 3; n++) {
    }
    g_assert_cmpint(n, <, 300);
    usb_rig_free(r);
}

static void test_keyboard(void)
{
    unsigned a;
    uint8_t d[8], leds;
    UsbRig *r = start("usb-kbd", &a);
    Machine *m = r->f->m;

    g_assert_cmpint(usb_control(r, a, 8, OUT, SET_IDLE, 0, 0, 0, NULL), ==, 0);
    input_key(m, KEY_LEFTSHIFT, true);
    input_key(m, KEY_A, true);
    input_key(m, KEY_A, false);
    input_key(m, KEY_LEFTSHIFT, false);
    const uint8_t want[4][2] = {{2, 0}, {2, 4}, {2, 0}, {0, 0}};
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpint(poll(r, a, d), ==, 8);
        g_assert_cmpmem(d, 8, ((uint8_t[]){want[i][0], 0, want[i][1], 0, 0, 0, 0, 0}), 8);
    }
    g_assert_cmpint(poll(r, a, d), ==, USB_NAK);
    /* Seven keys are too many: ErrorRollOver (1) in all places, modifiers stay. */
    input_key(m, KEY_RIGHTALT, true);
    for (unsigned k = 2; k < 9; k++) {
        input_key(m, k, true);
    }
    for (unsigned i = 0; i < 8; i++) {
        g_assert_cmpint(poll(r, a, d), ==, 8);
    }
    g_assert_cmpmem(d, 8, ((uint8_t[]){0x40, 0, 1, 1, 1, 1, 1, 1}), 8);
    for (unsigned k = 2; k < 9; k++) {
        input_key(m, k, false);
    }
    while (poll(r, a, d) == 8) {
    }
    /* The queue overflows: what is down at the end is right. */
    for (unsigned i = 0; i < 1000; i++) {
        input_key(m, 16, !(i & 1));
    }
    input_key(m, 17, true);
    uint8_t last[8];
    while (poll(r, a, d) == 8) {
        memcpy(last, d, 8);
    }
    g_assert_cmpmem(last, 8, ((uint8_t[]){0x40, 0, 0x1a, 0, 0, 0, 0, 0}), 8);
    /* LEDs: bit 0 Num, 1 Caps, 2 Scroll. */
    leds = 2;
    g_assert_cmpint(usb_control(r, a, 8, OUT, SET_REPORT, 0x200, 0, 1, &leds), ==, 1);
    g_assert_cmpuint(input_leds(m), ==, INPUT_LED_CAPS);
    leds = 5;
    usb_control(r, a, 8, OUT, SET_REPORT, 0x200, 0, 1, &leds);
    g_assert_cmpuint(input_leds(m), ==, INPUT_LED_NUM | INPUT_LED_SCROLL);
    g_assert_cmpint(usb_control(r, a, 8, OUT, SET_REPORT, 0x200, 0, 8, d), ==, USB_STALL);
    usb_rig_free(r);
}

/* Every key of the table that a keyboard has is some usage of its own. */
static void test_all_keys(void)
{
    unsigned a, found = 0;
    uint8_t d[8], seen[256] = {0};
    UsbRig *r = start("usb-kbd", &a);

    usb_control(r, a, 8, OUT, SET_IDLE, 0, 0, 0, NULL);
    for (unsigned code = 1; code < 128; code++) {
        input_key(r->f->m, code, true);
        if (poll(r, a, d) != 8) {
            continue;
        }
        unsigned usage = d[2];
        for (unsigned i = 0; i < 8; i++) {
            usage = d[0] & 1 << i ? 0xe0 + i : usage;
        }
        g_assert_cmpuint(usage, >=, 4);
        g_assert_cmpuint(seen[usage], ==, 0);
        seen[usage] = 1;
        found++;
        input_key(r->f->m, code, false);
        poll(r, a, d);
    }
    for (unsigned u = 4; u <= 0x65; u++) { /* a 105-key keyboard, less # of ISO */
        g_assert_cmpuint(seen[u], ==, u != 0x32);
    }
    g_assert_cmpuint(found, >=, 105);
    usb_rig_free(r);
}

/* 7.2.4: in steps of 4 ms; 0 is for ever; from the last report. */
static void test_idle(void)
{
    unsigned a, n = 0;
    uint8_t d[8];
    UsbRig *r = start("usb-kbd", &a);

    g_assert_cmpint(usb_control(r, a, 8, IN, GET_IDLE, 0, 0, 1, d), ==, 1);
    g_assert_cmpint(d[0], ==, 125);
    g_assert_cmpint(usb_control(r, a, 8, OUT, SET_IDLE, 25 << 8, 0, 0, NULL), ==, 0);
    for (unsigned ms = 0; ms < 1000; ms += 4) {
        n += poll(r, a, d) == 8;
    }
    g_assert_cmpuint(n, >=, 9);
    g_assert_cmpuint(n, <=, 10);
    g_assert_cmpint(usb_control(r, a, 8, OUT, SET_IDLE, 1 << 8, 0, 0, NULL), ==, 0);
    frames(r, 50);
    g_assert_cmpint(poll(r, a, d), ==, 8); /* one, not one for each 4 ms */
    g_assert_cmpint(usb_control(r, a, 8, OUT, SET_IDLE, 25 << 8 | 3, 0, 0, NULL), ==, USB_STALL);
    g_assert_cmpint(usb_control(r, a, 8, OUT, SET_IDLE, 0, 0, 0, NULL), ==, 0);
    frames(r, 2000);
    g_assert_cmpint(poll(r, a, d), ==, USB_NAK);
    g_assert_cmpint(usb_control(r, a, 8, OUT, SET_IDLE, 0xff00, 0, 0, NULL), ==, 0);
    /* Unplugged with its timer running. */
    device_free(r->f->m->devices->pdata[r->f->m->devices->len - 1]);
    frames(r, 2000);
    usb_rig_free(r);
}

static void abs_nothing(void *opaque, int x, int y)
{
    ++*(unsigned *)opaque;
}

/* Events go where a guest driver waits for them. */
static void test_routing(void)
{
    static const InputHandler ps2 = {.name = "PS/2", .kinds = INPUT_REL, .rel = abs_nothing};
    UsbRig *r = usb_rig_new();
    Machine *m = r->f->m;
    unsigned moves = 0;
    InputSlot *slot = input_add(m, &ps2, &moves);

    usb_plug(r, "usb-tablet", NULL);
    usb_run(r);
    g_assert_false(input_is_abs(m));
    input_rel(m, 1, 1);
    g_assert_cmpuint(moves, ==, 1);
    usb_set_up(r, 0, 8);
    g_assert_true(input_is_abs(m));
    g_autofree char *info = input_info(m);
    g_assert_nonnull(strstr(info, "* Mouse #1: USB Tablet (absolute)"));
    outw(r->f, UHCI + 0x10, 0x200); /* bus reset: the driver is gone */
    g_assert_false(input_is_abs(m));
    outw(r->f, UHCI + 0x10, 0);
    usb_set_up(r, 0, 8);
    g_assert_true(input_is_abs(m));
    device_free(m->devices->pdata[m->devices->len - 1]);
    g_assert_false(input_is_abs(m));
    input_remove(slot);
    usb_rig_free(r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/usb-hid/descriptors", test_descriptors);
    g_test_add_func("/usb-hid/tablet", test_tablet);
    g_test_add_func("/usb-hid/mouse", test_mouse);
    g_test_add_func("/usb-hid/keyboard", test_keyboard);
    g_test_add_func("/usb-hid/all-keys", test_all_keys);
    g_test_add_func("/usb-hid/idle", test_idle);
    g_test_add_func("/usb-hid/routing", test_routing);
    return g_test_run();
}
