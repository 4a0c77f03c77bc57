/*
 * Character back ends: byte streams between a device (or monitor, or debugger) and the host.
 *
 * A Chardev is the host side (terminal, pty, socket, file…), a ChardevFront the one user of it.
 * A back end of type mux has several fronts, of which one at a time gets the input.
 *
 * Everything here is called with the machine lock held (before vCPUs run, the lock does not
 * matter); callbacks come from the main loop or from chardev_write() with the lock held. Nothing
 * blocks: what the host does not take is queued up to a limit, then chardev_write() takes less
 * and the front is told by writable() when to go on. The main loop may hold the lock or not
 * while it dispatches.
 */
#ifndef RHEA_CHARDEV_H
#define RHEA_CHARDEV_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Chardev Chardev;
typedef struct ChardevFront ChardevFront;

typedef enum {
    CHARDEV_OPENED, /* the other side is there; also sent on attach when it already is */
    CHARDEV_CLOSED,
    CHARDEV_BREAK,
    CHARDEV_MUX_IN, /* this front got the focus of a mux */
    CHARDEV_MUX_OUT,
} ChardevEvent;

/* All may be NULL. Without can_receive a front takes any amount. */
typedef struct ChardevHandlers {
    size_t (*can_receive)(void *opaque); /* bytes that it would take now */
    void (*receive)(void *opaque, const uint8_t *buf, size_t len); /* len <= can_receive() */
    void (*event)(void *opaque, ChardevEvent ev);
    void (*writable)(void *opaque); /* after chardev_write() took less than all */
    /* On a mux: does not take the focus from another front (monitors). */
    bool background;
} ChardevHandlers;

/* Line parameters and modem lines, for back ends that have them (host serial ports). */
typedef struct ChardevSerialParams {
    unsigned speed, data_bits, stop_bits;
    char parity; /* 'N' 'E' 'O' */
} ChardevSerialParams;

enum { /* modem lines of CHARDEV_GET_MODEM and CHARDEV_SET_MODEM */
       CHARDEV_CTS = 1,
       CHARDEV_DSR = 2,
       CHARDEV_RI = 4,
       CHARDEV_DCD = 8,
       CHARDEV_DTR = 16,
       CHARDEV_RTS = 32
};

typedef enum {
    CHARDEV_SET_SERIAL, /* const ChardevSerialParams * */
    CHARDEV_SET_BREAK,  /* const int *: on or off */
    CHARDEV_GET_MODEM,  /* int * */
    CHARDEV_SET_MODEM,  /* const int * */
} ChardevCtrl;

/* Creation. The label must be unused; it becomes the id. `chardev_new_from_spec` takes what
 * stands after -serial, -parallel, -monitor, -gdb…: stdio, mon:stdio, pty, file:F, pipe:F, tcp:…,
 * telnet:…, unix:…, udp:…, null, none, vc, ringbuf, chardev:ID, /dev/ttyS0. `none` gives NULL
 * without an error. @mux_ok: `mon:` is allowed; test chardev_wants_monitor() then.
 * `chardev_new_from_opts` takes what stands after -chardev: "socket,id=x,path=/p,server=on". */
Chardev *chardev_new_from_spec(const char *label, const char *spec, bool mux_ok, GError **err);
Chardev *chardev_new_from_opts(const char *opts, GError **err);
Chardev *chardev_find(const char *id);
/* Take it out of the list; fails when a front uses it. */
bool chardev_remove(Chardev *chr, GError **err);
/* At exit: restores the terminal, removes socket files. */
void chardev_cleanup(void);
void chardev_foreach(void (*fn)(Chardev *chr, void *arg), void *arg);
/* Names of all back ends, for -chardev help; caller frees. */
char *chardev_types(void);

const char *chardev_label(const Chardev *chr);
/* As in `info chardev`: "pty:/dev/pts/3", "disconnected:tcp:…"; caller frees. */
char *chardev_filename(const Chardev *chr);
bool chardev_is_open(const Chardev *chr); /* the other side is there */
bool chardev_in_use(const Chardev *chr);
bool chardev_is_mux(const Chardev *chr);
/* It came from `mon:…`: the caller attaches a monitor to it as well. */
bool chardev_wants_monitor(const Chardev *chr);

/* Fronts. attach fails when the back end has its front already (and is no mux). */
ChardevFront *chardev_attach(Chardev *chr, const ChardevHandlers *h, void *opaque, GError **err);
void chardev_detach(ChardevFront *f); /* NULL is fine */
Chardev *chardev_of(const ChardevFront *f);
/* Bytes taken. A back end whose other side is not there takes and drops all. */
size_t chardev_write(ChardevFront *f, const void *buf, size_t len);
/* can_receive() may have grown. */
void chardev_accept_input(ChardevFront *f);
/* false: the back end has no such thing. */
bool chardev_ctrl(ChardevFront *f, ChardevCtrl what, void *arg);
/* A file descriptor that came with the data (unix sockets), or -1; the caller owns it. */
int chardev_take_fd(ChardevFront *f);
/* Give a mux's focus to this front. */
void chardev_focus(ChardevFront *f);

/* What back ends ask of the program; set once at start. NULL members: default behaviour. */
typedef struct ChardevHooks {
    void (*quit)(void *opaque);       /* Ctrl-A x; default: SIGTERM to ourselves */
    void (*commit_all)(void *opaque); /* Ctrl-A s */
    void *opaque;
    uint8_t escape; /* of a mux (-echr); 0: Ctrl-A */
} ChardevHooks;
void chardev_set_hooks(const ChardevHooks *hooks);

/* Ring buffers (back ends ringbuf, memory and vc): take up to @len bytes; -1 for other types. */
ssize_t chardev_ringbuf_read(Chardev *chr, uint8_t *buf, size_t len);
/* As if @buf came from the other side: what fits in can_receive() is taken. Ring buffers and
 * null only; -1 for others. */
ssize_t chardev_ringbuf_inject(Chardev *chr, const uint8_t *buf, size_t len);

#endif
