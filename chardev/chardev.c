/* Character back ends: the list of them, creation from text, and the front-end interface. */
#include "chardev/chardev.h"
#include "chardev/backend.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The list of back ends is the program's, as are the terminal and the signals. Machine lock. */
static struct {
    GPtrArray *list; /* of Chardev*, each with a reference */
    ChardevHooks hooks;
} registry;

static const ChardevType *const types[] = {
    &chardev_null_type,    &chardev_stdio_type,  &chardev_file_type, &chardev_pipe_type,
    &chardev_pty_type,     &chardev_socket_type, &chardev_udp_type,  &chardev_serial_type,
    &chardev_ringbuf_type, &chardev_vc_type,
};

/* Known to users of other emulators, and why they are not here. */
static const struct {
    const char *name, *why;
} absent[] = {
    {"spicevmc", "SPICE is not supported"},
    {"spiceport", "SPICE is not supported"},
    {"braille", "braille displays are not supported"},
    {"msmouse", "the serial mouse is not supported; use the PS/2 mouse"},
    {"wctablet", "the Wacom tablet is not supported"},
    {"parallel", "host parallel ports are not supported; use file:/dev/lp0"},
    {"parport", "host parallel ports are not supported; use file:/dev/lp0"},
    {"dbus", "D-Bus is not supported"},
    {"websocket", "websocket is not supported; use tcp: or telnet:"},
};

const ChardevHooks *chardev_hooks(void)
{
    return &registry.hooks;
}

void chardev_set_hooks(const ChardevHooks *hooks)
{
    registry.hooks = *hooks;
}

Chardev *chardev_ref(Chardev *chr)
{
    g_atomic_int_inc(&chr->refs);
    return chr;
}

void chardev_unref(Chardev *chr)
{
    if (g_atomic_int_dec_and_test(&chr->refs)) {
        g_ptr_array_unref(chr->fronts);
        g_free(chr->label);
        g_free(chr);
    }
}

Chardev *chardev_find(const char *id)
{
    for (guint i = 0; id && registry.list && i < registry.list->len; i++) {
        Chardev *c = registry.list->pdata[i];
        if (!strcmp(c->label, id)) {
            return c;
        }
    }
    return NULL;
}

static void close_chardev(Chardev *chr)
{
    chr->removed = true;
    if (chr->type->close) {
        chr->type->close(chr);
    }
    if (chr->log_fd >= 0) {
        close(chr->log_fd);
        chr->log_fd = -1;
    }
}

static void registry_add(Chardev *chr)
{
    if (!registry.list) {
        registry.list = g_ptr_array_new();
    }
    g_ptr_array_add(registry.list, chr);
}

static bool open_log(Chardev *chr, const ChardevOpts *o, GError **err)
{
    const char *path = chardev_opt(o, "logfile");
    bool append;

    if (!chardev_opt_bool(o, "logappend", false, &append, err)) {
        return false;
    }
    if (path) {
        chr->log_fd =
            open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
        if (chr->log_fd < 0) {
            return fail(err, "cannot open log file '%s' of chardev '%s': %s", path, chr->label,
                        g_strerror(errno));
        }
    }
    return true;
}

static bool check_opts(const ChardevType *t, const ChardevOpts *o, GError **err)
{
    static const char *const common[] = {"id", "mux", "logfile", "logappend", NULL};

    for (guint i = 0; i < o->keys->len; i++) {
        const char *k = o->keys->pdata[i];
        if (!g_strv_contains(common, k) && !(t->opts && g_strv_contains(t->opts, k))) {
            return fail(err, "chardev %s has no option '%s'", t->name, k);
        }
    }
    return true;
}

/* A back end that is in no list yet. */
static Chardev *create_unlisted(const ChardevType *t, const char *label, const ChardevOpts *o,
                                GError **err)
{
    Chardev *chr;

    if (!check_opts(t, o, err)) {
        return NULL;
    }
    signal(SIGPIPE, SIG_IGN);
    chr = g_malloc0(t->size);
    chr->type = t;
    chr->label = g_strdup(label);
    chr->refs = 1;
    chr->fronts = g_ptr_array_new();
    chr->log_fd = -1;
    if (!open_log(chr, o, err)) {
        chardev_unref(chr);
        return NULL;
    }
    if (!t->open(chr, o, err)) {
        close_chardev(chr);
        chardev_unref(chr);
        return NULL;
    }
    return chr;
}

Chardev *chardev_create(const ChardevType *t, const char *label, const ChardevOpts *o, GError **err)
{
    Chardev *chr;

    if (!label || !*label) {
        fail(err, "a chardev needs an id");
        return NULL;
    }
    if (chardev_find(label)) {
        fail(err, "a chardev with the id '%s' exists already", label);
        return NULL;
    }
    bool mux;
    if (!chardev_opt_bool(o, "mux", false, &mux, err)) {
        return NULL;
    }
    if (mux) {
        char *base_label = g_strconcat(label, "-base", NULL);
        Chardev *base = chardev_find(base_label) ? NULL : create_unlisted(t, base_label, o, err);

        g_free(base_label);
        chr = base ? chardev_mux_new(label, base, err) : NULL;
        if (chr) {
            registry_add(base);
        }
    } else {
        chr = create_unlisted(t, label, o, err);
    }
    if (chr) {
        registry_add(chr);
    }
    return chr;
}

static const ChardevType *find_type(const char *name, GError **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        if (!strcmp(types[i]->name, name) || (types[i]->alias && !strcmp(types[i]->alias, name))) {
            return types[i];
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(absent); i++) {
        if (!strcmp(absent[i].name, name)) {
            fail(err, "chardev %s: %s", name, absent[i].why);
            return NULL;
        }
    }
    char *all = chardev_types();
    fail(err, "there is no character back end '%s'; there are %s", name, all);
    g_free(all);
    return NULL;
}

char *chardev_types(void)
{
    GString *s = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        g_string_append_printf(s, "%s%s", i ? " " : "", types[i]->name);
    }
    return g_string_free(s, FALSE);
}

Chardev *chardev_new_from_opts(const char *text, GError **err)
{
    ChardevOpts *o = chardev_opts_parse(text, true);
    Chardev *chr = NULL;

    if (!o->first) {
        fail(err, "-chardev needs the name of a back end first, as in 'socket,id=…'");
    } else {
        const ChardevType *t = find_type(o->first, err);
        const char *id = chardev_opt(o, "id");

        if (t && !id) {
            fail(err, "-chardev %s needs an id= to be named by", o->first);
        } else if (t) {
            chr = chardev_create(t, id, o, err);
        }
    }
    chardev_opts_free(o);
    return chr;
}

/* "host:port", "[v6]:port", ":port" into host= and port=. */
static bool split_address(ChardevOpts *o, const char *text, const char *host_key,
                          const char *port_key, const char *spec, GError **err)
{
    const char *colon = strrchr(text, ':');

    if (!colon || !colon[1]) {
        return fail(err, "'%s' names no port; write HOST:PORT", spec);
    }
    char *host = g_strndup(text, colon - text);
    size_t n = strlen(host);
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = 0;
        memmove(host, host + 1, n - 1);
    }
    if (*host) {
        chardev_opts_set(o, host_key, host);
    }
    chardev_opts_set(o, port_key, colon + 1);
    g_free(host);
    return true;
}

/* The socket family: KIND:ADDRESS[,OPTION…]. */
static ChardevOpts *socket_opts(const char *spec, GError **err)
{
    const char *colon = strchr(spec, ':');
    const char *addr = colon + 1, *comma = strchr(addr, ',');
    char *where = comma ? g_strndup(addr, comma - addr) : g_strdup(addr);
    ChardevOpts *o = chardev_opts_parse(comma ? comma + 1 : NULL, false);
    bool ok = true;

    if (g_str_has_prefix(spec, "unix:")) {
        chardev_opts_set(o, "path", where);
        ok = *where || fail(err, "'%s' names no path", spec);
    } else {
        ok = split_address(o, where, "host", "port", spec, err);
        if (g_str_has_prefix(spec, "telnet:")) {
            chardev_opts_set(o, "telnet", "on");
        }
    }
    g_free(where);
    if (!ok) {
        chardev_opts_free(o);
        o = NULL;
    }
    return o;
}

/* udp:[host]:port[@[localaddr]:localport] */
static ChardevOpts *udp_opts(const char *spec, GError **err)
{
    ChardevOpts *o = chardev_opts_parse(NULL, false);
    const char *at = strchr(spec, '@');
    char *remote = at ? g_strndup(spec + 4, at - spec - 4) : g_strdup(spec + 4);
    bool ok = split_address(o, remote, "host", "port", spec, err) &&
              (!at || split_address(o, at + 1, "localaddr", "localport", spec, err));

    g_free(remote);
    if (!ok) {
        chardev_opts_free(o);
        o = NULL;
    }
    return o;
}

/* Which back end and options @spec stands for. */
static const ChardevType *parse_spec(const char *spec, ChardevOpts **o, GError **err)
{
    *o = NULL;
    if (g_str_has_prefix(spec, "tcp:") || g_str_has_prefix(spec, "telnet:") ||
        g_str_has_prefix(spec, "unix:")) {
        *o = socket_opts(spec, err);
        return *o ? &chardev_socket_type : NULL;
    }
    if (g_str_has_prefix(spec, "udp:")) {
        *o = udp_opts(spec, err);
        return *o ? &chardev_udp_type : NULL;
    }
    if (g_str_has_prefix(spec, "file:") || g_str_has_prefix(spec, "pipe:")) {
        const char *comma = strchr(spec, ',');
        char *path = comma ? g_strndup(spec + 5, comma - spec - 5) : g_strdup(spec + 5);

        *o = chardev_opts_parse(comma ? comma + 1 : NULL, false);
        chardev_opts_set(*o, "path", path);
        g_free(path);
        return spec[0] == 'f' ? &chardev_file_type : &chardev_pipe_type;
    }
    if (spec[0] == '/') {
        *o = chardev_opts_parse(NULL, false);
        chardev_opts_set(*o, "path", spec);
        return &chardev_serial_type;
    }
    char *name = g_strndup(spec, strcspn(spec, ":,"));
    const ChardevType *t = find_type(name, err);
    const char *rest = spec + strlen(name);

    if (t && *rest == ':' && t != &chardev_vc_type) {
        fail(err, "'%s': nothing may stand behind '%s:'", spec, name);
        t = NULL;
    } else if (t) {
        *o = chardev_opts_parse(*rest == ',' ? rest + 1 : NULL, false);
    }
    g_free(name);
    return t;
}

Chardev *chardev_new_from_spec(const char *label, const char *spec, bool mux_ok, GError **err)
{
    bool mon = g_str_has_prefix(spec, "mon:");
    ChardevOpts *o;
    Chardev *chr = NULL;

    if (!strcmp(spec, "none")) {
        return NULL;
    }
    if (mon && !mux_ok) {
        fail(err, "'%s': mon: is not possible here", spec);
        return NULL;
    }
    if (mon) {
        spec += 4;
    }
    if (g_str_has_prefix(spec, "chardev:")) {
        chr = chardev_find(spec + 8);
        if (!chr) {
            fail(err, "there is no chardev with the id '%s'", spec + 8);
        }
        return chr;
    }
    const ChardevType *t = parse_spec(spec, &o, err);
    if (t) {
        if (mon) {
            chardev_opts_set(o, "mux", "on");
        }
        /* A terminal shared with a monitor passes Ctrl-C on; one alone ends the program. */
        if (t == &chardev_stdio_type && !chardev_opt(o, "signal")) {
            chardev_opts_set(o, "signal", mon ? "off" : "on");
        }
        chr = chardev_create(t, label, o, err);
        if (chr) {
            chr->wants_monitor = mon;
        }
    }
    chardev_opts_free(o);
    return chr;
}

bool chardev_remove(Chardev *chr, GError **err)
{
    if (chr->fronts->len) {
        return fail(err, "chardev '%s' is in use", chr->label);
    }
    Chardev *base = chardev_is_mux(chr) ? chardev_mux_base(chr) : NULL;
    g_ptr_array_remove(registry.list, chr);
    close_chardev(chr);
    chardev_unref(chr);
    return !base || chardev_remove(base, err);
}

void chardev_cleanup(void)
{
    /* Newest first: a mux before its base. */
    while (registry.list && registry.list->len) {
        Chardev *chr = registry.list->pdata[registry.list->len - 1];

        g_ptr_array_remove_index(registry.list, registry.list->len - 1);
        while (chr->fronts->len) {
            chardev_detach(chr->fronts->pdata[chr->fronts->len - 1]);
        }
        close_chardev(chr);
        chardev_unref(chr);
    }
    if (registry.list) {
        g_ptr_array_unref(registry.list);
        registry.list = NULL;
    }
}

void chardev_foreach(void (*fn)(Chardev *chr, void *arg), void *arg)
{
    for (guint i = 0; registry.list && i < registry.list->len; i++) {
        fn(registry.list->pdata[i], arg);
    }
}

const char *chardev_label(const Chardev *chr)
{
    return chr->label;
}

char *chardev_filename(const Chardev *chr)
{
    return chr->type->filename ? chr->type->filename(chr) : g_strdup(chr->type->name);
}

bool chardev_is_open(const Chardev *chr)
{
    return chr->open;
}

bool chardev_in_use(const Chardev *chr)
{
    return chr->fronts->len > 0;
}

bool chardev_is_mux(const Chardev *chr)
{
    return chr->type == &chardev_mux_type;
}

bool chardev_wants_monitor(const Chardev *chr)
{
    return chr->wants_monitor;
}

/* ---- fronts ---- */

ChardevFront *chardev_attach(Chardev *chr, const ChardevHandlers *h, void *opaque, GError **err)
{
    if (chr->fronts->len && !chr->type->attached) {
        fail(err, "chardev '%s' is in use already (give it mux=on to share it)", chr->label);
        return NULL;
    }
    ChardevFront *f = g_new0(ChardevFront, 1);
    *f = (ChardevFront){.chr = chr, .h = h, .opaque = opaque};
    g_ptr_array_add(chr->fronts, f);
    if (chr->open && h->event) {
        h->event(opaque, CHARDEV_OPENED);
    }
    if (chr->type->attached) {
        chr->type->attached(chr, f);
    } else {
        chr->front = f;
    }
    if (chr->type->accept_input) {
        chr->type->accept_input(chr);
    }
    return f;
}

void chardev_detach(ChardevFront *f)
{
    if (!f) {
        return;
    }
    Chardev *chr = f->chr;
    if (chr->type->detaching) {
        chr->type->detaching(chr, f);
    }
    g_ptr_array_remove(chr->fronts, f);
    if (chr->front == f) {
        chr->front = NULL;
    }
    if (f->pending) {
        g_byte_array_unref(f->pending);
    }
    g_free(f);
    if (chr->type->accept_input && !chr->removed) {
        chr->type->accept_input(chr);
    }
}

Chardev *chardev_of(const ChardevFront *f)
{
    return f->chr;
}

size_t chardev_write(ChardevFront *f, const void *buf, size_t len)
{
    Chardev *chr = f->chr;
    size_t n = chr->removed || !len ? len : chr->type->write(chr, buf, len);

    if (chr->log_fd >= 0 && n) {
        (void)!write(chr->log_fd, buf, n);
    }
    if (n < len) {
        f->held = true;
    }
    return n;
}

void chardev_accept_input(ChardevFront *f)
{
    if (f->chr->type->accept_input && !f->chr->removed) {
        f->chr->type->accept_input(f->chr);
    }
}

bool chardev_ctrl(ChardevFront *f, ChardevCtrl what, void *arg)
{
    return f->chr->type->ctrl && f->chr->type->ctrl(f->chr, what, arg);
}

int chardev_take_fd(ChardevFront *f)
{
    return f->chr->type->take_fd ? f->chr->type->take_fd(f->chr) : -1;
}

/* ---- back end → front ---- */

size_t chardev_be_can_receive(Chardev *chr)
{
    ChardevFront *f = chr->front;

    if (!f || chr->removed) {
        return 0;
    }
    if (!f->h->receive) {
        return CHARDEV_READ_MAX; /* read and dropped */
    }
    return f->h->can_receive ? f->h->can_receive(f->opaque) : CHARDEV_READ_MAX;
}

void chardev_be_receive(Chardev *chr, const uint8_t *buf, size_t len)
{
    ChardevFront *f = chr->front;

    if (f && f->h->receive && len) {
        f->h->receive(f->opaque, buf, len);
    }
}

void chardev_be_event(Chardev *chr, ChardevEvent ev)
{
    if (ev == CHARDEV_OPENED || ev == CHARDEV_CLOSED) {
        bool open = ev == CHARDEV_OPENED;
        if (chr->open == open) {
            return;
        }
        chr->open = open;
        for (guint i = 0; i < chr->fronts->len; i++) {
            ChardevFront *f = chr->fronts->pdata[i];
            if (f->h->event) {
                f->h->event(f->opaque, ev);
            }
        }
    } else if (chr->front && chr->front->h->event) {
        chr->front->h->event(chr->front->opaque, ev);
    }
}

void chardev_be_writable(Chardev *chr)
{
    for (guint i = 0; i < chr->fronts->len; i++) {
        ChardevFront *f = chr->fronts->pdata[i];
        if (f->held) {
            f->held = false;
            if (f->h->writable) {
                f->h->writable(f->opaque);
            }
        }
    }
}
