/*
 * PS/2 keyboard and mouse.
 * IBM PS/2 Hardware Interface Technical Reference (1988): "Keyboards (101- and 102-Key)", "Mouse";
 * Microsoft "Keyboard Scan Code Specification" 1.3a; the IntelliMouse wheel and five-button
 * protocols as in Synaptics "PS/2 TouchPad Interfacing Guide" and Microsoft's driver notes.
 */
#include "hw/input/ps2.h"
#include "core/log.h"
#include "ui/keys.h"
#include <string.h>

enum { /* answers */
       ACK = 0xfa,
       BAT_OK = 0xaa,
       ECHO = 0xee,
       RESEND = 0xfe,
       MOUSE_ERROR = 0xfc
};

/* ---- queue ---- */

bool ps2_has_data(const Ps2Device *d)
{
    return d->q.count > 0;
}

uint8_t ps2_read(Ps2Device *d)
{
    if (d->q.count) {
        d->q.last = d->q.data[d->q.head];
        d->q.head = (d->q.head + 1) % PS2_QUEUE;
        d->q.count--;
    }
    return d->q.last;
}

static void clear_queue(Ps2Device *d)
{
    d->q.head = 0;
    d->q.count = 0;
}

static bool room(const Ps2Device *d, unsigned n)
{
    return d->q.count + n <= PS2_QUEUE;
}

static void put(Ps2Device *d, uint8_t c)
{
    if (room(d, 1)) {
        d->q.data[(d->q.head + d->q.count) % PS2_QUEUE] = c;
        d->q.count++;
        d->ready(d->opaque);
    }
}

static bool queue_sane(Ps2Device *d)
{
    return d->q.count <= PS2_QUEUE;
}

/* ---- keyboard ---- */

enum {
    KBD_LEDS = 0xed,
    KBD_ECHO = 0xee,
    KBD_SCAN_SET = 0xf0,
    KBD_ID = 0xf2,
    KBD_RATE = 0xf3,
    KBD_ENABLE = 0xf4,
    KBD_DISABLE = 0xf5,
    KBD_DEFAULTS = 0xf6,
    KBD_ALL_FIRST = 0xf7, /* …FA: all keys get a type */
    KBD_ALL_LAST = 0xfa,
    KBD_KEY_TYPEMATIC = 0xfb, /* …FD: the keys that follow */
    KBD_KEY_MAKE = 0xfd,
    KBD_RESEND = 0xfe,
    KBD_RESET = 0xff
};

enum { KEY_MAKE = 0, KEY_BREAK = 1, KEY_TYPEMATIC = 2 };

/* The buffer of the real keyboard; answers to commands have the rest of the queue. */
#define KBD_BUFFER 16
#define RATE_DEFAULT 0x2b /* 500 ms, 10.9 a second */

static void kbd_put(Ps2Kbd *k, const uint8_t *seq, unsigned n)
{
    if (k->d.q.count + n > KBD_BUFFER + 8) {
        return; /* the overrun byte is there already */
    }
    if (k->d.q.count + n > KBD_BUFFER) {
        put(&k->d, k->set == 1 ? 0xff : 0x00);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        put(&k->d, seq[i]);
    }
}

static bool is_down(const Ps2Kbd *k, unsigned code)
{
    return code < 256 && (k->down[code >> 3] & (1 << (code & 7)));
}

/* Prefix and code of one event in set 1 or 2. */
static unsigned encode(uint8_t *out, unsigned set, uint16_t code, bool down)
{
    unsigned n = 0;

    if (code >> 8) {
        out[n++] = code >> 8;
    }
    if (set == 2 && !down) {
        out[n++] = 0xf0;
    }
    out[n++] = set == 1 && !down ? (code & 0xff) | 0x80 : code & 0xff;
    return n;
}

static unsigned encode_print(const Ps2Kbd *k, uint8_t *out, bool down)
{
    bool shift = is_down(k, KEYCODE_LEFTSHIFT) || is_down(k, KEYCODE_RIGHTSHIFT) ||
                 is_down(k, KEYCODE_LEFTCTRL) || is_down(k, KEYCODE_RIGHTCTRL);
    bool alt = is_down(k, KEYCODE_LEFTALT) || is_down(k, KEYCODE_RIGHTALT);
    uint16_t fake = k->set == 1 ? 0xe02a : 0xe012, key = k->set == 1 ? 0xe037 : 0xe07c;
    unsigned n;

    if (alt) { /* SysRq */
        return encode(out, k->set, k->set == 1 ? 0x54 : 0x84, down);
    }
    if (shift) {
        return encode(out, k->set, key, down);
    }
    if (down) {
        n = encode(out, k->set, fake, true);
        return n + encode(out + n, k->set, key, true);
    }
    n = encode(out, k->set, key, false);
    return n + encode(out + n, k->set, fake, false);
}

/* Pause sends make and break at once when it is pressed. */
static unsigned encode_pause(const Ps2Kbd *k, uint8_t *out, bool down)
{
    static const uint8_t pause1[] = {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5};
    static const uint8_t break1[] = {0xe0, 0x46, 0xe0, 0xc6};
    static const uint8_t pause2[] = {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77};
    static const uint8_t break2[] = {0xe0, 0x7e, 0xe0, 0xf0, 0x7e};
    bool ctrl = is_down(k, KEYCODE_LEFTCTRL) || is_down(k, KEYCODE_RIGHTCTRL);
    const uint8_t *seq = k->set == 1 ? (ctrl ? break1 : pause1) : (ctrl ? break2 : pause2);
    unsigned n = k->set == 1 ? (ctrl ? sizeof(break1) : sizeof(pause1))
                             : (ctrl ? sizeof(break2) : sizeof(pause2));

    if (!down) {
        return 0;
    }
    memcpy(out, seq, n);
    return n;
}

static void send_key(Ps2Kbd *k, unsigned code, bool down, bool repeat)
{
    const KeyInfo *info = key_find(code);
    uint8_t seq[12];
    unsigned n;

    if (!info) {
        return;
    }
    if (k->set == 3) {
        uint8_t c = info->set3, type = k->key_type[c];
        if (!c || (!down && !(type & KEY_BREAK)) || (repeat && !(type & KEY_TYPEMATIC))) {
            return;
        }
        n = 0;
        if (!down) {
            seq[n++] = 0xf0;
        }
        seq[n++] = c;
    } else if (code == KEYCODE_SYSRQ) {
        n = encode_print(k, seq, down);
    } else if (code == KEYCODE_PAUSE) {
        n = repeat ? 0 : encode_pause(k, seq, down);
    } else {
        uint16_t c = k->set == 1 ? info->set1 : info->set2;
        n = c ? encode(seq, k->set, c, down) : 0;
    }
    if (n) {
        kbd_put(k, seq, n);
    }
}

static void stop_repeat(Ps2Kbd *k)
{
    k->repeat_key = 0;
    timer_del(&k->repeat);
}

static void on_repeat(void *opaque)
{
    Ps2Kbd *k = opaque;

    if (!k->repeat_key || !k->scanning) {
        return;
    }
    /* A typematic key does not fill the buffer. */
    if (!ps2_has_data(&k->d)) {
        send_key(k, k->repeat_key, true, true);
    }
    /* Period: (8 + A) * 2^B / 240 s. */
    int64_t period = (8 + (k->rate & 7)) * (1 << ((k->rate >> 3) & 3)) * (NS_PER_SEC / 240);
    timer_set(&k->repeat, clock_now(k->d.clock) + period);
}

void ps2_kbd_key(Ps2Kbd *k, unsigned code, bool down)
{
    if (code == 0 || code >= 256) {
        return;
    }
    bool was = is_down(k, code);
    if (down == was) {
        return; /* the keyboard repeats by itself */
    }
    k->down[code >> 3] ^= 1 << (code & 7);
    if (!k->scanning) {
        return;
    }
    send_key(k, code, down, false);
    if (down) {
        k->repeat_key = code;
        timer_set(&k->repeat,
                  clock_now(k->d.clock) + (1 + ((k->rate >> 5) & 3)) * (NS_PER_SEC / 4));
    } else if (k->repeat_key == code) {
        stop_repeat(k);
    }
}

/* Set 3: what each key does after power-on. */
static void default_types(Ps2Kbd *k)
{
    /* Make and break: the modifiers; make only: the keys that are no characters. */
    static const uint8_t make_break[] = {0x11, 0x12, 0x14, 0x19, 0x59};
    static const uint8_t make_only[] = {
        0x07, 0x08, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x39, 0x3f, 0x47, 0x4f, 0x56,
        0x57, 0x58, 0x5e, 0x5f, 0x62, 0x65, 0x67, 0x69, 0x6c, 0x6d, 0x6e, 0x6f, 0x70,
        0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x79, 0x7a, 0x7d, 0x7e, 0x84,
    };

    memset(k->key_type, KEY_TYPEMATIC, sizeof(k->key_type));
    for (size_t i = 0; i < sizeof(make_break); i++) {
        k->key_type[make_break[i]] = KEY_BREAK;
    }
    for (size_t i = 0; i < sizeof(make_only); i++) {
        k->key_type[make_only[i]] = KEY_MAKE;
    }
}

static void kbd_defaults(Ps2Kbd *k)
{
    k->cmd = 0;
    k->rate = RATE_DEFAULT;
    k->set = 2;
    default_types(k);
    stop_repeat(k);
}

static void kbd_set_leds(Ps2Kbd *k, uint8_t leds)
{
    k->leds = leds & 7;
    input_set_leds(k->d.machine, k->leds);
}

void ps2_kbd_reset(Ps2Kbd *k)
{
    clear_queue(&k->d);
    kbd_defaults(k);
    memset(k->down, 0, sizeof(k->down));
    kbd_set_leds(k, 0);
    k->scanning = true;
}

/* The byte after a command that takes one. False: it is a command itself. */
static bool kbd_argument(Ps2Kbd *k, uint8_t val)
{
    uint8_t cmd = k->cmd;

    if (cmd >= KBD_KEY_TYPEMATIC && cmd <= KBD_KEY_MAKE) {
        /* A list of keys, ended by the next command. */
        if (val >= KBD_LEDS) {
            k->cmd = 0;
            return false;
        }
        k->key_type[val] = cmd == KBD_KEY_TYPEMATIC ? KEY_TYPEMATIC
                           : cmd == KBD_KEY_MAKE    ? KEY_MAKE
                                                    : KEY_BREAK;
        put(&k->d, ACK);
        return true;
    }
    k->cmd = 0;
    if (val >= KBD_LEDS) {
        return false; /* a new command takes the place of the argument */
    }
    switch (cmd) {
    case KBD_LEDS:
        kbd_set_leds(k, val);
        put(&k->d, ACK);
        break;
    case KBD_RATE:
        k->rate = val & 0x7f;
        put(&k->d, ACK);
        break;
    default: /* KBD_SCAN_SET */
        if (val > 3) {
            put(&k->d, RESEND);
            break;
        }
        put(&k->d, ACK);
        if (val == 0) {
            put(&k->d, k->set);
        } else {
            k->set = val;
            stop_repeat(k);
        }
        break;
    }
    return true;
}

void ps2_kbd_write(Ps2Kbd *k, uint8_t val)
{
    trace("ps2_kbd_write", "val %02x", val);
    if (k->cmd && kbd_argument(k, val)) {
        return;
    }
    if (val == KBD_RESEND) {
        put(&k->d, k->d.q.last);
        return;
    }
    /* Any other command empties the buffer. */
    clear_queue(&k->d);
    switch (val) {
    case KBD_ECHO:
        put(&k->d, ECHO);
        return;
    case KBD_LEDS:
    case KBD_SCAN_SET:
    case KBD_RATE:
        k->cmd = val;
        break;
    case KBD_KEY_TYPEMATIC ... KBD_KEY_MAKE:
        k->cmd = val;
        break;
    case KBD_ID:
        put(&k->d, ACK);
        put(&k->d, 0xab);
        put(&k->d, 0x83);
        return;
    case KBD_ENABLE:
        k->scanning = true;
        break;
    case KBD_DISABLE:
        kbd_defaults(k);
        k->scanning = false;
        break;
    case KBD_DEFAULTS:
        kbd_defaults(k);
        k->scanning = true;
        break;
    case KBD_ALL_FIRST ... KBD_ALL_LAST: {
        static const uint8_t types[] = {KEY_TYPEMATIC, KEY_BREAK, KEY_MAKE,
                                        KEY_TYPEMATIC | KEY_BREAK};
        memset(k->key_type, types[val - KBD_ALL_FIRST], sizeof(k->key_type));
        break;
    }
    case KBD_RESET:
        ps2_kbd_reset(k);
        put(&k->d, ACK);
        put(&k->d, BAT_OK);
        return;
    default:
        guest_error("PS/2 keyboard: unknown command %02x", val);
        put(&k->d, RESEND);
        return;
    }
    put(&k->d, ACK);
}

static void kbd_input(void *opaque, unsigned code, bool down)
{
    ps2_kbd_key(opaque, code, down);
}

static const InputHandler kbd_handler = {
    .name = "PS/2 keyboard", .kinds = INPUT_KEYS, .key = kbd_input};

void ps2_kbd_init(Ps2Kbd *k, Machine *m, Clock *clock, void (*ready)(void *), void *opaque)
{
    k->d.ready = ready;
    k->d.opaque = opaque;
    k->d.clock = clock;
    k->d.machine = m;
    timer_init(&k->repeat, clock, on_repeat, k);
    k->d.slot = m ? input_add(m, &kbd_handler, k) : NULL;
}

void ps2_kbd_fini(Ps2Kbd *k)
{
    timer_del(&k->repeat);
    input_remove(k->d.slot);
    k->d.slot = NULL;
}

/* ---- mouse ---- */

enum {
    M_SCALE11 = 0xe6,
    M_SCALE21 = 0xe7,
    M_RESOLUTION = 0xe8,
    M_STATUS = 0xe9,
    M_STREAM = 0xea,
    M_POLL = 0xeb,
    M_UNWRAP = 0xec,
    M_WRAP = 0xee,
    M_REMOTE = 0xf0,
    M_ID = 0xf2,
    M_RATE = 0xf3,
    M_ENABLE = 0xf4,
    M_DISABLE = 0xf5,
    M_DEFAULTS = 0xf6,
    M_RESEND = 0xfe,
    M_RESET = 0xff
};

static int take(int32_t *from, int lo, int hi)
{
    int v = CLAMP(*from, lo, hi);

    *from -= v;
    return v;
}

static int scale21(int v)
{
    static const int8_t table[] = {0, 1, 1, 3, 6, 9};
    int a = v < 0 ? -v : v;
    int s = a < 6 ? table[a] : 2 * a;

    s = MIN(s, 255);
    return v < 0 ? -s : s;
}

/* One movement packet; @poll: scaling does not apply to polled data. */
static void send_packet(Ps2Mouse *s, bool poll)
{
    int dx = take(&s->dx, -255, 255), dy = take(&s->dy, -255, 255);
    int dz = 0;
    uint8_t b = s->buttons;

    if (s->id) {
        dz = take(&s->dz, s->id == 4 ? -8 : -127, s->id == 4 ? 7 : 127);
    } else {
        s->dz = 0;
    }
    if (s->scaling21 && !poll) {
        dx = scale21(dx);
        dy = scale21(dy);
    }
    put(&s->d, (b & 7) | 8 | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0));
    put(&s->d, dx);
    put(&s->d, dy);
    if (s->id == 3) {
        put(&s->d, dz);
    } else if (s->id == 4) {
        put(&s->d, (dz & 15) | (b & 0x18) << 1);
    }
    s->sent_buttons = b;
}

static bool something_to_report(const Ps2Mouse *s)
{
    return s->dx || s->dy || (s->dz && s->id) || s->buttons != s->sent_buttons;
}

static bool streaming(const Ps2Mouse *s)
{
    return s->reporting && !s->remote && !s->wrap;
}

static void on_sample(void *opaque)
{
    Ps2Mouse *s = opaque;

    if (!streaming(s) || !something_to_report(s)) {
        return;
    }
    /* Packets wait until the host took the last one; movement adds up meanwhile. */
    if (!ps2_has_data(&s->d)) {
        send_packet(s, false);
    }
    if (something_to_report(s) || ps2_has_data(&s->d)) {
        timer_set(&s->sample, clock_now(s->d.clock) + NS_PER_SEC / (s->rate ? s->rate : 100));
    }
}

static void mouse_changed(Ps2Mouse *s)
{
    if (!streaming(s)) {
        return;
    }
    if (!timer_pending(&s->sample)) {
        on_sample(s);
        if (!timer_pending(&s->sample)) {
            timer_set(&s->sample, clock_now(s->d.clock) + NS_PER_SEC / (s->rate ? s->rate : 100));
        }
    }
}

static void add_move(int32_t *acc, int d)
{
    /* Nobody moves a mouse further than this between two packets. */
    *acc = CLAMP((int64_t)*acc + d, -10000, 10000);
}

void ps2_mouse_move(Ps2Mouse *s, int dx, int dy, int dz)
{
    add_move(&s->dx, dx);
    add_move(&s->dy, -(int64_t)CLAMP(dy, -10000, 10000));
    add_move(&s->dz, dz);
    mouse_changed(s);
}

void ps2_mouse_button(Ps2Mouse *s, unsigned button, bool down)
{
    if (button < BUTTON_COUNT) {
        uint8_t bit = 1 << button;
        s->buttons = down ? s->buttons | bit : s->buttons & ~bit;
        mouse_changed(s);
    }
}

static void mouse_defaults(Ps2Mouse *s)
{
    s->rate = 100;
    s->resolution = 2;
    s->scaling21 = s->remote = s->reporting = s->wrap = false;
    s->dx = s->dy = s->dz = 0;
    timer_del(&s->sample);
}

void ps2_mouse_reset(Ps2Mouse *s)
{
    clear_queue(&s->d);
    mouse_defaults(s);
    s->cmd = s->knock = s->id = 0;
    s->sent_buttons = s->buttons;
}

/* The sequences of sample rates that turn on the wheel, and buttons 4 and 5. */
static void mouse_knock(Ps2Mouse *s, uint8_t rate)
{
    if (s->knock == 0 && rate == 200) {
        s->knock = 1;
    } else if (s->knock == 1 && rate == 100) {
        s->knock = 2;
    } else if (s->knock == 1 && rate == 200) {
        s->knock = 3;
    } else if (s->knock == 2 && rate == 80) {
        s->id = 3;
        s->knock = 0;
    } else if (s->knock == 3 && rate == 80) {
        if (s->id == 3) {
            s->id = 4;
        }
        s->knock = 0;
    } else {
        s->knock = rate == 200;
    }
}

static void mouse_argument(Ps2Mouse *s, uint8_t val)
{
    uint8_t cmd = s->cmd;

    s->cmd = 0;
    if (cmd == M_RESOLUTION) {
        if (val > 3) {
            put(&s->d, MOUSE_ERROR);
            return;
        }
        s->resolution = val;
    } else {
        if (!val || val > 200) {
            put(&s->d, MOUSE_ERROR);
            return;
        }
        s->rate = val;
        mouse_knock(s, val);
    }
    put(&s->d, ACK);
}

static void mouse_status(Ps2Mouse *s)
{
    uint8_t b = s->buttons;

    put(&s->d, ACK);
    /* Left is bit 2, right bit 0, middle bit 1: the reverse of the packet. */
    put(&s->d, (b & 2 ? 1 : 0) | (b & 4 ? 2 : 0) | (b & 1 ? 4 : 0) | (s->scaling21 ? 0x10 : 0) |
                   (s->reporting ? 0x20 : 0) | (s->remote ? 0x40 : 0));
    put(&s->d, s->resolution);
    put(&s->d, s->rate);
}

void ps2_mouse_write(Ps2Mouse *s, uint8_t val)
{
    trace("ps2_mouse_write", "val %02x", val);
    if (s->wrap && val != M_UNWRAP && val != M_RESET) {
        put(&s->d, val);
        return;
    }
    if (s->cmd) {
        mouse_argument(s, val);
        return;
    }
    if (val == M_RESEND) {
        put(&s->d, s->d.q.last);
        return;
    }
    clear_queue(&s->d);
    switch (val) {
    case M_SCALE11:
    case M_SCALE21:
        s->scaling21 = val == M_SCALE21;
        break;
    case M_RESOLUTION:
    case M_RATE:
        s->cmd = val;
        break;
    case M_STATUS:
        mouse_status(s);
        return;
    case M_STREAM:
        s->remote = false;
        break;
    case M_POLL:
        put(&s->d, ACK);
        send_packet(s, true);
        return;
    case M_UNWRAP:
        s->wrap = false;
        break;
    case M_WRAP:
        s->wrap = true;
        break;
    case M_REMOTE:
        s->remote = true;
        s->dx = s->dy = s->dz = 0;
        break;
    case M_ID:
        put(&s->d, ACK);
        put(&s->d, s->id);
        return;
    case M_ENABLE:
        s->reporting = true;
        s->dx = s->dy = s->dz = 0;
        s->sent_buttons = s->buttons;
        break;
    case M_DISABLE:
        s->reporting = false;
        break;
    case M_DEFAULTS:
        mouse_defaults(s);
        break;
    case M_RESET:
        ps2_mouse_reset(s);
        put(&s->d, ACK);
        put(&s->d, BAT_OK);
        put(&s->d, 0x00);
        return;
    default:
        guest_error("PS/2 mouse: unknown command %02x", val);
        put(&s->d, RESEND);
        return;
    }
    put(&s->d, ACK);
}

static void mouse_rel(void *opaque, int dx, int dy)
{
    ps2_mouse_move(opaque, dx, dy, 0);
}

static void mouse_wheel(void *opaque, int dz)
{
    ps2_mouse_move(opaque, 0, 0, dz);
}

static void mouse_button(void *opaque, unsigned button, bool down)
{
    ps2_mouse_button(opaque, button, down);
}

static const InputHandler mouse_handler = {
    .name = "PS/2 mouse",
    .kinds = INPUT_REL,
    .rel = mouse_rel,
    .wheel = mouse_wheel,
    .button = mouse_button,
};

void ps2_mouse_init(Ps2Mouse *s, Machine *m, Clock *clock, void (*ready)(void *), void *opaque)
{
    s->d.ready = ready;
    s->d.opaque = opaque;
    s->d.clock = clock;
    s->d.machine = m;
    timer_init(&s->sample, clock, on_sample, s);
    s->d.slot = m ? input_add(m, &mouse_handler, s) : NULL;
}

void ps2_mouse_fini(Ps2Mouse *s)
{
    timer_del(&s->sample);
    input_remove(s->d.slot);
    s->d.slot = NULL;
}

/* ---- state ---- */

static bool kbd_post_load(void *obj, GError **err)
{
    Ps2Kbd *k = obj;

    if (!queue_sane(&k->d) || k->set < 1 || k->set > 3) {
        return fail(err, "ps2-kbd: impossible state");
    }
    input_set_leds(k->d.machine, k->leds);
    return true;
}

static bool mouse_post_load(void *obj, GError **err)
{
    return queue_sane(&((Ps2Mouse *)obj)->d) || fail(err, "ps2-mouse: impossible state");
}

static const StateField queue_fields[] = {
    STATE_U8_ARRAY(Ps2Queue, data), STATE_U8(Ps2Queue, head), STATE_U16(Ps2Queue, count),
    STATE_U8(Ps2Queue, last),       STATE_END_FIELD,
};
static const StateTable queue_state = {.name = "ps2-queue", .version = 1, .fields = queue_fields};

#define STATE_QUEUE(S)                                                                             \
    {                                                                                              \
        .name = "queue", .kind = STATE_STRUCT, .off = offsetof(S, d) + offsetof(Ps2Device, q),     \
        .count = 1, .stride = sizeof(Ps2Queue), .table = &queue_state                              \
    }

static const StateField kbd_fields[] = {
    STATE_QUEUE(Ps2Kbd),
    STATE_U8(Ps2Kbd, cmd),
    STATE_BOOL(Ps2Kbd, scanning),
    STATE_U8(Ps2Kbd, leds),
    STATE_U8(Ps2Kbd, rate),
    STATE_U8(Ps2Kbd, set),
    STATE_U8_ARRAY(Ps2Kbd, key_type),
    STATE_U8_ARRAY(Ps2Kbd, down),
    STATE_U16(Ps2Kbd, repeat_key),
    STATE_TIMER(Ps2Kbd, repeat),
    STATE_END_FIELD,
};
const StateTable ps2_kbd_state = {
    .name = "ps2-kbd", .version = 1, .fields = kbd_fields, .post_load = kbd_post_load};

static const StateField mouse_fields[] = {
    STATE_QUEUE(Ps2Mouse),
    STATE_U8(Ps2Mouse, cmd),
    STATE_BOOL(Ps2Mouse, wrap),
    STATE_BOOL(Ps2Mouse, remote),
    STATE_BOOL(Ps2Mouse, reporting),
    STATE_BOOL(Ps2Mouse, scaling21),
    STATE_U8(Ps2Mouse, resolution),
    STATE_U8(Ps2Mouse, rate),
    STATE_U8(Ps2Mouse, id),
    STATE_U8(Ps2Mouse, knock),
    STATE_U8(Ps2Mouse, buttons),
    STATE_U8(Ps2Mouse, sent_buttons),
    STATE_I32(Ps2Mouse, dx),
    STATE_I32(Ps2Mouse, dy),
    STATE_I32(Ps2Mouse, dz),
    STATE_TIMER(Ps2Mouse, sample),
    STATE_END_FIELD,
};
const StateTable ps2_mouse_state = {
    .name = "ps2-mouse", .version = 1, .fields = mouse_fields, .post_load = mouse_post_load};
