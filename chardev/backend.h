/*
 * What the back ends in chardev/ share: the ChardevType table, options, and the non-blocking
 * file descriptor pair that most of them are. Private to chardev/.
 */
#ifndef RHEA_CHARDEV_BACKEND_H
#define RHEA_CHARDEV_BACKEND_H

#include "chardev/chardev.h"
#include <sys/types.h>

#define CHARDEV_QUEUE_MAX 65536 /* bytes waiting for the host before writers are held */
#define CHARDEV_READ_MAX 4096

/* "a=b,c,d=e,,f" in order; a bare word has the value "on". */
typedef struct ChardevOpts {
    char *first; /* the back end's name, or NULL */
    GPtrArray *keys, *values;
    const char *const *known; /* set by chardev_opts_check() */
} ChardevOpts;

ChardevOpts *chardev_opts_parse(const char *text, bool first_is_name);
void chardev_opts_free(ChardevOpts *o);
void chardev_opts_set(ChardevOpts *o, const char *key, const char *value);
const char *chardev_opt(const ChardevOpts *o, const char *key); /* last one wins, or NULL */
bool chardev_opt_bool(const ChardevOpts *o, const char *key, bool def, bool *out, GError **err);
bool chardev_opt_uint(const ChardevOpts *o, const char *key, uint64_t def, uint64_t max,
                      uint64_t *out, GError **err);

typedef struct ChardevType {
    const char *name;
    const char *alias;
    const char *const *opts; /* accepted keys besides id, mux, logfile, logappend */
    size_t size;
    bool (*open)(Chardev *chr, const ChardevOpts *o, GError **err);
    void (*close)(Chardev *chr); /* also after a failed open */
    size_t (*write)(Chardev *chr, const uint8_t *buf, size_t len);
    void (*accept_input)(Chardev *chr);
    bool (*ctrl)(Chardev *chr, ChardevCtrl what, void *arg);
    int (*take_fd)(Chardev *chr);
    /* Muxes: after a front came, before it goes. */
    void (*attached)(Chardev *chr, ChardevFront *f);
    void (*detaching)(Chardev *chr, ChardevFront *f);
    char *(*filename)(const Chardev *chr);
} ChardevType;

struct ChardevFront {
    Chardev *chr;
    const ChardevHandlers *h;
    void *opaque;
    bool held;           /* a write was cut: owes a writable() */
    GByteArray *pending; /* mux: input that this front did not take yet */
};

/* Concrete back ends begin with this. Reference counted because a source of the main loop may be
 * about to run while another thread drops the back end. */
struct Chardev {
    const ChardevType *type;
    char *label;
    int refs;            /* atomic */
    ChardevFront *front; /* gets input and events; of a mux: the focus */
    GPtrArray *fronts;
    bool open; /* the other side is there */
    bool removed;
    bool wants_monitor;
    int log_fd;
};

extern const ChardevType chardev_null_type, chardev_stdio_type, chardev_file_type,
    chardev_pipe_type, chardev_pty_type, chardev_serial_type, chardev_socket_type, chardev_udp_type,
    chardev_ringbuf_type, chardev_vc_type, chardev_mux_type;

Chardev *chardev_create(const ChardevType *t, const char *label, const ChardevOpts *o,
                        GError **err);
Chardev *chardev_ref(Chardev *chr);
void chardev_unref(Chardev *chr);
const ChardevHooks *chardev_hooks(void);
/* A mux over @base (takes it over). */
Chardev *chardev_mux_new(const char *label, Chardev *base, GError **err);
Chardev *chardev_mux_base(Chardev *mux);

/* Back end → front. */
size_t chardev_be_can_receive(Chardev *chr);
void chardev_be_receive(Chardev *chr, const uint8_t *buf, size_t len);
void chardev_be_event(Chardev *chr, ChardevEvent ev); /* OPENED and CLOSED also set chr->open */
void chardev_be_writable(Chardev *chr);

/* Take the machine lock in a main loop callback unless it is held; the result goes to _leave. */
bool chardev_enter(void);
void chardev_leave(bool entered);

/* A pair of descriptors watched by the main loop. */
typedef struct FdIo FdIo;
struct FdIo {
    Chardev *chr;
    int in, out; /* -1: none; may be equal */
    bool sock;   /* use send() and recv() */
    bool block;  /* regular file: writes do not wait, no queue */
    GSource *in_src, *out_src;
    GByteArray *queue;
    size_t queue_pos;
    /* Replaces the plain read; < 0 with errno as read(). */
    ssize_t (*read)(FdIo *io, uint8_t *buf, size_t len);
    /* Bytes that came in; default: to the front. */
    void (*input)(FdIo *io, const uint8_t *buf, size_t len);
    /* The other side went away or an error; not called twice. Default: closed event. */
    void (*gone)(FdIo *io);
};
void fdio_init(FdIo *io, Chardev *chr);
/* Take over descriptors; sets O_NONBLOCK only when @nonblock. */
void fdio_open(FdIo *io, int in, int out, bool nonblock);
void fdio_update(FdIo *io); /* watch for input if the front can take it */
size_t fdio_write(FdIo *io, const uint8_t *buf, size_t len);
/* Stop watching, drop the queue, close the descriptors. */
void fdio_close(FdIo *io);
void fdio_fini(FdIo *io);

/* Attach a source for @fd to the main loop that holds a reference to @chr. */
GSource *chardev_watch(Chardev *chr, int fd, GIOCondition cond,
                       gboolean (*fn)(gint fd, GIOCondition cond, gpointer arg), void *arg);
void chardev_unwatch(GSource **src);

#endif
