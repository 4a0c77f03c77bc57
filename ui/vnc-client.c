/*
 * VNC: one client. Handshake, its messages, and the updates it gets.
 * RFC 6143; extended key events, pointer type, LED state and extended desktop size: the
 * community's RFB protocol text.
 */
#include "core/log.h"
#include "ui/input.h"
#include "ui/vnc-internal.h"
#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKE_LIMIT (30 * NS_PER_SEC)
#define REFUSAL_DELAY (2 * NS_PER_SEC)
#define READ_AT_ONCE 65536
#define MAX_ENCODINGS 1024
#define MAX_CUT_TEXT (16 << 20)
#define MAX_RECTS 1024
/* A client that has this much unread is not sent anything new. */
#define MAX_BACKLOG 4096

enum { SEC_NONE = 1, SEC_VNC = 2 };

static bool lock(void)
{
    bool held = machine_lock_held();

    if (!held) {
        machine_lock();
    }
    return !held;
}

static void unlock(bool taken)
{
    if (taken) {
        machine_unlock();
    }
}

/* ---- life ---- */

static void client_free(VncClient *c)
{
    vnc_encoder_fini(c->enc);
    g_free(c->enc);
    g_byte_array_unref(c->in);
    g_byte_array_unref(c->out);
    pixman_region32_fini(&c->dirty);
    g_free(c->peer);
    g_free(c);
}

static void remove_source(GSource **src)
{
    if (*src) {
        g_source_destroy(*src);
        g_source_unref(*src);
        *src = NULL;
    }
}

void vnc_client_drop(VncClient *c, const char *why)
{
    if (c->dead) {
        return;
    }
    if (why) {
        info_report("VNC client %s: %s", c->peer, why);
    }
    vnc_client_release_keys(c);
    c->dead = true;
    remove_source(&c->in_src);
    remove_source(&c->out_src);
    timer_del(&c->timer);
    close(c->fd);
    c->s->clients = g_list_remove(c->s->clients, c);
    if (!c->job_running) {
        client_free(c);
    }
}

static gboolean on_input(gint fd, GIOCondition cond, gpointer arg);
static gboolean on_writable(gint fd, GIOCondition cond, gpointer arg);

static GSource *watch(VncClient *c, GIOCondition cond, GUnixFDSourceFunc fn)
{
    GSource *src = g_unix_fd_source_new(c->fd, cond);

    g_source_set_callback(src, G_SOURCE_FUNC(fn), c, NULL);
    g_source_attach(src, NULL);
    return src;
}

static void on_timer(void *opaque)
{
    VncClient *c = opaque;
    static const char reason[] = "Authentication failed";

    if (c->state != VNC_REFUSING) {
        vnc_client_drop(c, "no end of the handshake, disconnected");
        return;
    }
    uint32_t result = GUINT32_TO_BE(1), len = GUINT32_TO_BE((uint32_t)strlen(reason));
    vnc_client_write(c, &result, 4);
    if (c->minor >= 8) {
        vnc_client_write(c, &len, 4);
        vnc_client_write(c, reason, strlen(reason));
    }
    c->drop_when_sent = true;
    vnc_client_flush(c);
}

VncClient *vnc_client_new(VncServer *s, int fd, const char *peer)
{
    VncClient *c = g_new0(VncClient, 1);

    c->s = s;
    c->fd = fd;
    c->peer = g_strdup(peer);
    c->in = g_byte_array_new();
    c->out = g_byte_array_new();
    c->enc = g_new0(VncEncoder, 1);
    c->level = 1;
    c->quality = -1;
    c->w = s->w;
    c->h = s->h;
    c->leds = ~0u;
    vnc_format_default(&c->fmt);
    pixman_region32_init(&c->dirty);
    timer_init(&c->timer, s->m->mono_clock, on_timer, c);
    timer_set(&c->timer, clock_now(s->m->mono_clock) + HANDSHAKE_LIMIT);
    c->in_src = watch(c, G_IO_IN | G_IO_HUP | G_IO_ERR, on_input);
    vnc_client_write(c, "RFB 003.008\n", 12);
    return c;
}

/* ---- output ---- */

void vnc_client_write(VncClient *c, const void *buf, size_t len)
{
    g_byte_array_append(c->out, buf, len);
}

static size_t backlog(const VncClient *c)
{
    return c->out->len - c->out_pos;
}

/* May free @c. */
void vnc_client_flush(VncClient *c)
{
    while (backlog(c)) {
        ssize_t n = send(c->fd, c->out->data + c->out_pos, backlog(c), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            c->out_pos += n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (!c->out_src) {
                c->out_src = watch(c, G_IO_OUT, on_writable);
            }
            return;
        } else {
            vnc_client_drop(c, NULL);
            return;
        }
    }
    remove_source(&c->out_src);
    g_byte_array_unref(c->out);
    c->out = g_byte_array_new();
    c->out_pos = 0;
    if (c->drop_when_sent) {
        vnc_client_drop(c, NULL);
    }
}

static gboolean on_writable(gint fd, GIOCondition cond, gpointer arg)
{
    VncClient *c = arg;
    VncServer *s = c->s;
    bool taken = lock();

    vnc_client_flush(c);
    if (g_list_find(s->clients, c)) {
        vnc_client_update(c);
    }
    unlock(taken);
    return G_SOURCE_CONTINUE; /* flush() takes it away */
}

/* ---- updates ---- */

void vnc_job_free(VncJob *job)
{
    g_array_unref(job->rects);
    if (job->out) {
        g_byte_array_unref(job->out);
    }
    g_free(job->pixels);
    g_free(job);
}

void vnc_client_job_done(VncJob *job)
{
    VncClient *c = job->client;
    VncServer *s = c->s;

    s->jobs = g_list_remove(s->jobs, job);
    c->job_running = false;
    if (c->dead) {
        client_free(c);
        vnc_job_free(job);
        return;
    }
    if (backlog(c)) {
        vnc_client_write(c, job->out->data, job->out->len);
    } else {
        g_byte_array_unref(c->out);
        c->out = g_steal_pointer(&job->out);
        c->out_pos = 0;
    }
    vnc_job_free(job);
    vnc_client_flush(c);
    if (g_list_find(s->clients, c)) {
        vnc_client_update(c);
    }
}

static void pseudo_rect(GByteArray *a, unsigned x, unsigned y, unsigned w, unsigned h, int enc)
{
    vnc_put16(a, x);
    vnc_put16(a, y);
    vnc_put16(a, w);
    vnc_put16(a, h);
    vnc_put32(a, enc);
}

static void begin_update(GByteArray *a)
{
    vnc_put16(a, 0);
    vnc_put16(a, 1);
}

/* What is not pixels; each in an update of its own. */
static void send_pseudo(VncClient *c)
{
    GByteArray *a = c->out;

    if (c->send_size && (c->can_resize || c->can_resize_ext)) {
        c->w = c->s->w;
        c->h = c->s->h;
        begin_update(a);
        if (c->can_resize_ext) {
            pseudo_rect(a, c->size_reason, c->size_status, c->w, c->h, VNC_ENC_EXT_DESKTOP_SIZE);
            vnc_put32(a, 1 << 24); /* one screen */
            vnc_put32(a, 0);       /* its number, place, size and flags */
            vnc_put32(a, 0);
            vnc_put16(a, c->w);
            vnc_put16(a, c->h);
            vnc_put32(a, 0);
        } else {
            pseudo_rect(a, 0, 0, c->w, c->h, VNC_ENC_DESKTOP_SIZE);
        }
    }
    c->send_size = false;
    c->size_reason = c->size_status = 0;
    if (c->send_ext_key) {
        begin_update(a);
        pseudo_rect(a, 0, 0, c->w, c->h, VNC_ENC_EXT_KEY);
        c->send_ext_key = false;
    }
    if (c->can_pointer_type && (c->send_pointer_type || c->abs != input_is_abs(c->s->m))) {
        c->abs = input_is_abs(c->s->m);
        begin_update(a);
        pseudo_rect(a, c->abs, 0, c->w, c->h, VNC_ENC_POINTER_TYPE);
        c->send_pointer_type = false;
    }
    if (c->can_led && c->leds != input_leds(c->s->m)) {
        uint8_t leds = c->leds = input_leds(c->s->m);
        begin_update(a);
        pseudo_rect(a, 0, 0, 1, 1, VNC_ENC_LED);
        g_byte_array_append(a, &leds, 1);
    }
}

/* The colour map that vnc_format_set() counts on: RFC 6143, 7.6.2. */
static void send_map(VncClient *c)
{
    uint8_t head[6] = {1, 0, 0, 0, 1, 0};

    vnc_client_write(c, head, sizeof(head));
    for (unsigned i = 0; i < 256; i++) {
        vnc_put16(c->out, (i >> 5) * 65535 / 7);
        vnc_put16(c->out, (i >> 2 & 7) * 65535 / 7);
        vnc_put16(c->out, (i & 3) * 65535 / 3);
    }
    c->send_map = false;
}

static VncJob *make_job(VncClient *c)
{
    VncServer *s = c->s;
    VncJob *job = g_new0(VncJob, 1);
    size_t area = 0;
    int n;

    pixman_region32_intersect_rect(&c->dirty, &c->dirty, 0, 0, MIN(c->w, s->w), MIN(c->h, s->h));
    pixman_box32_t all = *pixman_region32_extents(&c->dirty), *b = &all;
    const pixman_box32_t *boxes = pixman_region32_rectangles(&c->dirty, &n);
    if (n <= MAX_RECTS) {
        b = (pixman_box32_t *)boxes;
    } else {
        n = 1;
    }
    for (int i = 0; i < n; i++) {
        area += (size_t)(b[i].x2 - b[i].x1) * (b[i].y2 - b[i].y1);
    }
    job->client = c;
    job->enc = c->enc;
    job->fmt = c->fmt;
    job->encoding = c->encoding;
    job->level = c->level;
    job->quality = s->lossy ? c->quality : -1;
    job->rects = g_array_new(FALSE, FALSE, sizeof(VncRect));
    job->out = g_byte_array_new();
    uint32_t *to = job->pixels = g_new(uint32_t, area);
    for (int i = 0; i < n; i++) {
        VncRect r = {b[i].x1, b[i].y1, b[i].x2 - b[i].x1, b[i].y2 - b[i].y1, to};
        for (int y = 0; y < r.h; y++, to += r.w) {
            memcpy(to, s->shadow + (size_t)(r.y + y) * s->w + r.x, r.w * sizeof(uint32_t));
        }
        g_array_append_val(job->rects, r);
    }
    pixman_region32_clear(&c->dirty);
    return job;
}

/* May free @c. */
void vnc_client_update(VncClient *c)
{
    if (c->state != VNC_RUNNING || c->job_running || backlog(c) > MAX_BACKLOG) {
        return;
    }
    if (c->send_map) {
        send_map(c);
    }
    if (c->wants_update) {
        send_pseudo(c);
        pixman_region32_intersect_rect(&c->dirty, &c->dirty, 0, 0, MIN(c->w, c->s->w),
                                       MIN(c->h, c->s->h));
        if (pixman_region32_not_empty(&c->dirty)) {
            VncJob *job = make_job(c);
            c->wants_update = false;
            c->job_running = true;
            c->s->jobs = g_list_prepend(c->s->jobs, job);
            g_thread_pool_push(c->s->pool, job, NULL);
        }
    }
    if (c->wants_update) {
        vnc_server_wake(c->s, false);
    }
    if (backlog(c)) {
        vnc_client_flush(c);
    }
}

/* ---- handshake ---- */

static uint16_t get16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* Handlers: the bytes taken, 0: more are needed, < 0: @c is gone. */
static int drop(VncClient *c, const char *why)
{
    vnc_client_drop(c, why);
    return -1;
}

static int begin_auth(VncClient *c)
{
    if (getrandom(c->challenge, sizeof(c->challenge), 0) != sizeof(c->challenge)) {
        return drop(c, "the host has no random numbers");
    }
    vnc_client_write(c, c->challenge, sizeof(c->challenge));
    c->state = VNC_RESPONSE;
    return 1;
}

static int on_version(VncClient *c, const uint8_t *p, size_t len)
{
    uint32_t type = c->s->ask_password ? SEC_VNC : SEC_NONE;

    if (len < 12) {
        return 0;
    }
    if (memcmp(p, "RFB 003.", 8) || p[11] != '\n' || !g_ascii_isdigit(p[8]) ||
        !g_ascii_isdigit(p[9]) || !g_ascii_isdigit(p[10])) {
        return drop(c, "does not speak RFB 3, disconnected");
    }
    int minor = (p[8] - '0') * 100 + (p[9] - '0') * 10 + p[10] - '0';
    c->minor = minor >= 8 ? 8 : minor == 7 ? 7 : 3;
    if (c->minor >= 7) {
        uint8_t list[2] = {1, type};
        vnc_client_write(c, list, 2);
        c->state = VNC_SECURITY;
        return 12;
    }
    vnc_put32(c->out, type);
    c->state = VNC_INIT;
    return type == SEC_VNC && begin_auth(c) < 0 ? -1 : 12;
}

static int on_security(VncClient *c, const uint8_t *p, size_t len)
{
    unsigned type = c->s->ask_password ? SEC_VNC : SEC_NONE;

    if (p[0] != type) {
        return drop(c, "chose a security type that was not offered, disconnected");
    }
    if (type == SEC_VNC) {
        return begin_auth(c);
    }
    if (c->minor >= 8) {
        vnc_put32(c->out, 0);
    }
    c->state = VNC_INIT;
    return 1;
}

static int on_response(VncClient *c, const uint8_t *p, size_t len)
{
    uint8_t want[16], differ = 0;

    if (len < 16) {
        return 0;
    }
    bool ok = c->s->password && vnc_auth_response(c->s->password, c->challenge, want);
    for (int i = 0; ok && i < 16; i++) {
        differ |= want[i] ^ p[i];
    }
    if (ok && !differ) {
        vnc_put32(c->out, 0);
        c->state = VNC_INIT;
    } else {
        warn_report("VNC client %s: wrong password", c->peer);
        c->state = VNC_REFUSING;
        timer_set(&c->timer, clock_now(c->s->m->mono_clock) + REFUSAL_DELAY);
    }
    return 16;
}

static bool make_room(VncClient *c, bool shared)
{
    VncServer *s = c->s;

    if (shared || s->share == VNC_SHARE_IGNORE) {
        return true;
    }
    if (s->share == VNC_SHARE_FORCE) {
        return false;
    }
    for (GList *l = s->clients, *next; l; l = next) {
        next = l->next;
        if (l->data != c) {
            vnc_client_drop(l->data, "another client wanted the screen for itself");
        }
    }
    return true;
}

static int on_init(VncClient *c, const uint8_t *p, size_t len)
{
    const char *name = c->s->m->cfg.name ? c->s->m->cfg.name : "Rhea";
    g_autofree char *title =
        c->s->m->cfg.name ? g_strdup_printf("Rhea (%.200s)", name) : g_strdup(name);
    static const uint8_t format[16] = {32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0};

    if (!make_room(c, p[0])) {
        return drop(c, "wanted the screen for itself, which this server does not allow");
    }
    timer_del(&c->timer);
    c->w = c->s->w;
    c->h = c->s->h;
    vnc_put16(c->out, c->w);
    vnc_put16(c->out, c->h);
    vnc_client_write(c, format, sizeof(format));
    vnc_put32(c->out, strlen(title));
    vnc_client_write(c, title, strlen(title));
    c->state = VNC_RUNNING;
    return 1;
}

/* ---- messages ---- */

static int on_pixel_format(VncClient *c, const uint8_t *p, size_t len)
{
    unsigned max[3], shift[3];

    if (len < 20) {
        return 0;
    }
    for (int i = 0; i < 3; i++) {
        max[i] = get16(p + 8 + i * 2);
        shift[i] = p[14 + i];
    }
    if (!vnc_format_set(&c->fmt, p[4], p[5], p[6], p[7], max, shift)) {
        return drop(c, "asked for an impossible pixel format, disconnected");
    }
    c->send_map = !p[7];
    return 20;
}

static void set_encoding(VncClient *c, int32_t e, bool *chosen)
{
    switch (e) {
    case VNC_ENC_RAW:
    case VNC_ENC_HEXTILE:
    case VNC_ENC_ZLIB:
    case VNC_ENC_TIGHT:
    case VNC_ENC_ZRLE:
        if (!*chosen) {
            c->encoding = e;
            *chosen = true;
        }
        break;
    case VNC_ENC_DESKTOP_SIZE:
        c->can_resize = true;
        break;
    case VNC_ENC_EXT_DESKTOP_SIZE:
        c->send_size |= !c->can_resize_ext;
        c->can_resize_ext = true;
        break;
    case VNC_ENC_EXT_KEY:
        c->send_ext_key = c->can_ext_key = true;
        break;
    case VNC_ENC_POINTER_TYPE:
        c->send_pointer_type = c->can_pointer_type = true;
        break;
    case VNC_ENC_LED:
        c->can_led = true;
        break;
    default:
        if (e >= -32 && e <= -23) {
            c->quality = e + 32;
        } else if (e >= -256 && e <= -247) {
            c->level = e + 256;
        }
    }
}

static int on_encodings(VncClient *c, const uint8_t *p, size_t len)
{
    bool chosen = false;
    unsigned n;

    if (len < 4) {
        return 0;
    }
    n = get16(p + 2);
    if (n > MAX_ENCODINGS) {
        return drop(c, "sent a list of encodings without end, disconnected");
    }
    if (len < 4 + 4 * n) {
        return 0;
    }
    c->encoding = VNC_ENC_RAW;
    c->quality = -1;
    c->level = 1;
    c->can_resize = c->can_resize_ext = c->can_ext_key = c->can_pointer_type = c->can_led = false;
    c->send_ext_key = c->send_pointer_type = false;
    for (unsigned i = 0; i < n; i++) {
        set_encoding(c, (int32_t)get32(p + 4 + i * 4), &chosen);
    }
    c->send_size |= c->w != c->s->w || c->h != c->s->h;
    return 4 + 4 * n;
}

static int on_update_request(VncClient *c, const uint8_t *p, size_t len)
{
    if (len < 10) {
        return 0;
    }
    c->wants_update = true;
    if (!p[1]) {
        pixman_region32_union_rect(&c->dirty, &c->dirty, get16(p + 2), get16(p + 4), get16(p + 6),
                                   get16(p + 8));
    }
    vnc_server_wake(c->s, !p[1]);
    return 10;
}

static int on_key(VncClient *c, const uint8_t *p, size_t len)
{
    if (len < 8) {
        return 0;
    }
    vnc_key_event(c, get32(p + 4), 0, p[1]);
    vnc_server_wake(c->s, true);
    return 8;
}

static int on_pointer(VncClient *c, const uint8_t *p, size_t len)
{
    if (len < 6) {
        return 0;
    }
    vnc_pointer_event(c, p[1], get16(p + 2), get16(p + 4));
    vnc_server_wake(c->s, true);
    return 6;
}

static int on_cut_text(VncClient *c, const uint8_t *p, size_t len)
{
    if (len < 8) {
        return 0;
    }
    int32_t n = get32(p + 4);
    uint32_t size = n < 0 ? -(uint32_t)n : n;
    if (size > MAX_CUT_TEXT) {
        return drop(c, "sent a huge clipboard, disconnected");
    }
    c->skip = size;
    return 8;
}

/* SetDesktopSize: the guest decides. */
static int on_set_size(VncClient *c, const uint8_t *p, size_t len)
{
    if (len < 8) {
        return 0;
    }
    size_t size = 8 + 16 * p[6];
    if (len < size) {
        return 0;
    }
    c->send_size = true;
    c->size_reason = 1;
    c->size_status = 1; /* prohibited */
    return size;
}

static int on_extended(VncClient *c, const uint8_t *p, size_t len)
{
    if (len < 2) {
        return 0;
    }
    if (p[1] == 1) { /* audio, which is not offered */
        if (len < 4) {
            return 0;
        }
        return get16(p + 2) == 2 ? (len < 10 ? 0 : 10) : 4;
    }
    if (p[1]) {
        return drop(c, "sent an unknown message, disconnected");
    }
    if (len < 12) {
        return 0;
    }
    vnc_key_event(c, get32(p + 4), get32(p + 8), get16(p + 2));
    vnc_server_wake(c->s, true);
    return 12;
}

static int on_message(VncClient *c, const uint8_t *p, size_t len)
{
    switch (p[0]) {
    case 0:
        return on_pixel_format(c, p, len);
    case 2:
        return on_encodings(c, p, len);
    case 3:
        return on_update_request(c, p, len);
    case 4:
        return on_key(c, p, len);
    case 5:
        return on_pointer(c, p, len);
    case 6:
        return on_cut_text(c, p, len);
    case 251:
        return on_set_size(c, p, len);
    case 255:
        return on_extended(c, p, len);
    default:
        return drop(c, "sent an unknown message, disconnected");
    }
}

/* False: @c is gone. */
static bool parse(VncClient *c)
{
    size_t pos = 0;

    while (pos < c->in->len) {
        const uint8_t *p = c->in->data + pos;
        size_t len = c->in->len - pos;
        int n;

        if (c->skip) {
            size_t part = MIN(c->skip, len);
            c->skip -= part;
            pos += part;
            continue;
        }
        switch (c->state) {
        case VNC_VERSION:
            n = on_version(c, p, len);
            break;
        case VNC_SECURITY:
            n = on_security(c, p, len);
            break;
        case VNC_RESPONSE:
            n = on_response(c, p, len);
            break;
        case VNC_REFUSING:
            n = len;
            break; /* too late */
        case VNC_INIT:
            n = on_init(c, p, len);
            break;
        default:
            n = on_message(c, p, len);
            break;
        }
        if (n < 0) {
            return false;
        }
        if (!n) {
            break;
        }
        pos += n;
    }
    g_byte_array_remove_range(c->in, 0, pos);
    return true;
}

static gboolean on_input(gint fd, GIOCondition cond, gpointer arg)
{
    VncClient *c = arg;
    VncServer *s = c->s;
    bool taken = lock();
    g_autofree uint8_t *buf = g_malloc(READ_AT_ONCE);
    ssize_t n = recv(fd, buf, READ_AT_ONCE, MSG_DONTWAIT);

    if (n > 0) {
        g_byte_array_append(c->in, buf, n);
        if (parse(c)) {
            vnc_client_flush(c);
            if (g_list_find(s->clients, c)) {
                vnc_client_update(c);
            }
        }
    } else if (!n || (errno != EAGAIN && errno != EINTR)) {
        vnc_client_drop(c, NULL);
    }
    unlock(taken);
    return G_SOURCE_CONTINUE;
}
