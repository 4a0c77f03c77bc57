/*
 * One back end shared by several fronts. Output of all goes out as it comes; input goes to the
 * one that has the focus. Ctrl-A is the escape character.
 */
#include "chardev/backend.h"
#include "core/log.h"
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define PENDING_MAX 1024

typedef struct Mux {
    Chardev chr;
    Chardev *base;
    ChardevFront *base_front;
    bool escaped; /* the last byte was the escape character */
    bool stamps;  /* time stamps at line starts */
    bool in_line; /* the output stands inside a line */
    gint64 t0;    /* µs; of the time stamps */
} Mux;

static uint8_t escape_char(void)
{
    return chardev_hooks()->escape ? chardev_hooks()->escape : 1;
}

static void say(Mux *m, const char *text)
{
    chardev_write(m->base_front, text, strlen(text));
}

static void set_focus(Mux *m, ChardevFront *f)
{
    ChardevFront *old = m->chr.front;

    if (old == f) {
        return;
    }
    m->chr.front = f;
    if (old && old->h->event) {
        old->h->event(old->opaque, CHARDEV_MUX_OUT);
    }
    if (f && f->h->event) {
        f->h->event(f->opaque, CHARDEV_MUX_IN);
    }
}

void chardev_focus(ChardevFront *f)
{
    if (chardev_is_mux(f->chr)) {
        set_focus((Mux *)f->chr, f);
    }
}

static void next_front(Mux *m)
{
    GPtrArray *a = m->chr.fronts;
    guint i;

    if (a->len > 1 && g_ptr_array_find(a, m->chr.front, &i)) {
        set_focus(m, a->pdata[(i + 1) % a->len]);
    }
}

static void print_help(Mux *m)
{
    char name[16], text[640];
    uint8_t e = escape_char();

    if (e < 32) {
        g_snprintf(name, sizeof(name), "C-%c", e + 'a' - 1);
    } else {
        g_snprintf(name, sizeof(name), "\\x%02x", e);
    }
    g_snprintf(text, sizeof(text),
               "\r\n%s h    print this help\r\n"
               "%s x    exit the emulator\r\n"
               "%s s    save disk data back to file (if -snapshot)\r\n"
               "%s t    toggle console timestamps\r\n"
               "%s b    send break (magic sysrq)\r\n"
               "%s c    switch between console and monitor\r\n"
               "%s %s  sends %s\r\n",
               name, name, name, name, name, name, name, name, name);
    say(m, text);
}

/* The byte after the escape character; false: it is data. */
static bool command(Mux *m, uint8_t c)
{
    const ChardevHooks *hooks = chardev_hooks();

    if (c == escape_char()) {
        return false;
    }
    switch (c) {
    case 'h':
    case '?':
        print_help(m);
        break;
    case 'x':
        say(m, "\r\nRhea: terminated by the user\r\n");
        if (hooks->quit) {
            hooks->quit(hooks->opaque);
        } else {
            kill(getpid(), SIGTERM);
        }
        break;
    case 's':
        if (hooks->commit_all) {
            hooks->commit_all(hooks->opaque);
        } else {
            say(m, "\r\nthere is nothing to save\r\n");
        }
        break;
    case 'b':
        chardev_be_event(&m->chr, CHARDEV_BREAK);
        break;
    case 'c':
        next_front(m);
        break;
    case 't':
        m->stamps = !m->stamps;
        m->t0 = g_get_monotonic_time();
        m->in_line = false;
        break;
    default:
        break; /* swallowed */
    }
    return true;
}

/* Hand over what waits for @f. */
static void flush_front(ChardevFront *f)
{
    uint8_t buf[256];

    while (f->pending && f->pending->len) {
        size_t n = f->h->can_receive ? f->h->can_receive(f->opaque) : sizeof(buf);

        n = MIN(MIN(n, sizeof(buf)), f->pending->len);
        if (!n) {
            break;
        }
        memcpy(buf, f->pending->data, n);
        g_byte_array_remove_range(f->pending, 0, n);
        if (f->h->receive) {
            f->h->receive(f->opaque, buf, n);
        }
    }
}

static size_t base_can_receive(void *opaque)
{
    Mux *m = opaque;
    ChardevFront *f = m->chr.front;
    size_t used = f && f->pending ? f->pending->len : 0;

    return f && used < PENDING_MAX ? PENDING_MAX - used : 0;
}

static void base_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Mux *m = opaque;

    for (size_t i = 0; i < len; i++) {
        uint8_t c = buf[i];

        if (m->escaped) {
            m->escaped = false;
            if (command(m, c)) {
                continue;
            }
        } else if (c == escape_char()) {
            m->escaped = true;
            continue;
        }
        ChardevFront *f = m->chr.front;
        if (f) {
            if (!f->pending) {
                f->pending = g_byte_array_new();
            }
            g_byte_array_append(f->pending, &c, 1);
        }
        /* Per byte: a byte can move the focus or detach a front. */
        if (f && (c == '\r' || c == '\n' || i + 1 == len || buf[i + 1] == escape_char())) {
            flush_front(f);
        }
    }
}

static void base_event(void *opaque, ChardevEvent ev)
{
    Mux *m = opaque;

    if (ev == CHARDEV_OPENED || ev == CHARDEV_CLOSED || ev == CHARDEV_BREAK) {
        chardev_be_event(&m->chr, ev);
    }
}

static void base_writable(void *opaque)
{
    Mux *m = opaque;

    chardev_be_writable(&m->chr);
}

static const ChardevHandlers base_handlers = {
    .can_receive = base_can_receive,
    .receive = base_receive,
    .event = base_event,
    .writable = base_writable,
};

static size_t mux_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    Mux *m = (Mux *)chr;
    size_t done = 0;

    if (!m->stamps) {
        return chardev_write(m->base_front, buf, len);
    }
    while (done < len) {
        const uint8_t *nl = memchr(buf + done, '\n', len - done);
        size_t part = nl ? nl + 1 - (buf + done) : len - done;

        if (!m->in_line) {
            int64_t t = (g_get_monotonic_time() - m->t0) / 1000;
            char stamp[32];

            g_snprintf(stamp, sizeof(stamp), "[%02d:%02d:%02d.%03d] ", (int)(t / 3600000 % 100),
                       (int)(t / 60000 % 60), (int)(t / 1000 % 60), (int)(t % 1000));
            say(m, stamp);
            m->in_line = true;
        }
        size_t n = chardev_write(m->base_front, buf + done, part);
        done += n;
        if (n < part) {
            break;
        }
        m->in_line = !nl;
    }
    return done;
}

static void mux_accept_input(Chardev *chr)
{
    Mux *m = (Mux *)chr;

    for (guint i = 0; i < chr->fronts->len; i++) {
        flush_front(chr->fronts->pdata[i]);
    }
    if (m->base_front) {
        chardev_accept_input(m->base_front);
    }
}

static void mux_attached(Chardev *chr, ChardevFront *f)
{
    Mux *m = (Mux *)chr;

    if (!chr->front || (chr->front->h->background && !f->h->background)) {
        set_focus(m, f);
    }
}

static void mux_detaching(Chardev *chr, ChardevFront *f)
{
    if (chr->front == f) {
        next_front((Mux *)chr);
    }
}

static void mux_close(Chardev *chr)
{
    Mux *m = (Mux *)chr;

    chardev_detach(m->base_front);
    m->base_front = NULL;
}

static bool mux_ctrl(Chardev *chr, ChardevCtrl what, void *arg)
{
    return chardev_ctrl(((Mux *)chr)->base_front, what, arg);
}

static int mux_take_fd(Chardev *chr)
{
    return chardev_take_fd(((Mux *)chr)->base_front);
}

static char *mux_filename(const Chardev *chr)
{
    char *base = chardev_filename(((const Mux *)chr)->base);
    char *s = g_strconcat("mux:", base, NULL);

    g_free(base);
    return s;
}

const ChardevType chardev_mux_type = {
    .name = "mux",
    .size = sizeof(Mux),
    .close = mux_close,
    .write = mux_write,
    .accept_input = mux_accept_input,
    .ctrl = mux_ctrl,
    .take_fd = mux_take_fd,
    .attached = mux_attached,
    .detaching = mux_detaching,
    .filename = mux_filename,
};

Chardev *chardev_mux_new(const char *label, Chardev *base, GError **err)
{
    Mux *m = g_new0(Mux, 1);

    m->chr = (Chardev){.type = &chardev_mux_type,
                       .label = g_strdup(label),
                       .refs = 1,
                       .fronts = g_ptr_array_new(),
                       .log_fd = -1};
    m->base = base;
    m->base_front = chardev_attach(base, &base_handlers, m, err);
    if (!m->base_front) {
        chardev_unref(&m->chr);
        return NULL;
    }
    return &m->chr;
}

Chardev *chardev_mux_base(Chardev *mux)
{
    return ((Mux *)mux)->base;
}
