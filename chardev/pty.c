/*
 * Pseudo-terminals. While nobody has the slave open the master polls as hung up; inotify tells
 * when somebody opens it. Output is dropped until then, as on a real line without a listener.
 */
#include "chardev/backend.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <termios.h>
#include <unistd.h>

typedef struct Pty {
    Chardev chr;
    FdIo io;
    int master, notify;
    GSource *notify_src, *timer;
    char *path, *link;
} Pty;

static bool slave_open(const Pty *p)
{
    struct pollfd f = {.fd = p->master, .events = POLLOUT};

    return poll(&f, 1, 0) >= 0 && !(f.revents & POLLHUP);
}

static void check_slave(Pty *p)
{
    if (!p->chr.open && slave_open(p)) {
        fdio_open(&p->io, p->master, p->master, false);
        chardev_be_event(&p->chr, CHARDEV_OPENED);
        fdio_update(&p->io);
    }
}

static gboolean on_notify(gint fd, GIOCondition cond, gpointer arg)
{
    char buf[4096];

    while (read(fd, buf, sizeof(buf)) > 0) {
        ;
    }
    check_slave(arg);
    return G_SOURCE_CONTINUE;
}

static gboolean on_timer(gpointer arg)
{
    bool entered = chardev_enter();

    if (!g_source_is_destroyed(g_main_current_source())) {
        check_slave(arg);
    }
    chardev_leave(entered);
    return G_SOURCE_CONTINUE;
}

static void pty_gone(FdIo *io)
{
    Pty *p = (Pty *)io->chr;

    /* Keep the master; what nobody read is lost. */
    io->in = io->out = -1;
    fdio_close(io);
    tcflush(p->master, TCIOFLUSH);
    chardev_be_event(io->chr, CHARDEV_CLOSED);
    check_slave(p);
}

static bool watch_slave(Pty *p)
{
    p->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (p->notify >= 0 && inotify_add_watch(p->notify, p->path, IN_OPEN) >= 0) {
        p->notify_src = chardev_watch(&p->chr, p->notify, G_IO_IN, on_notify, p);
        return true;
    }
    p->timer = g_timeout_source_new(500);
    g_source_set_callback(p->timer, on_timer, chardev_ref(&p->chr), (GDestroyNotify)chardev_unref);
    g_source_attach(p->timer, NULL);
    return true;
}

static bool pty_open(Chardev *chr, const ChardevOpts *o, GError **err)
{
    Pty *p = (Pty *)chr;
    const char *link = chardev_opt(o, "path");
    char name[64];
    struct termios t;

    fdio_init(&p->io, chr);
    p->io.gone = pty_gone;
    p->notify = -1;
    p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (p->master < 0 || grantpt(p->master) < 0 || unlockpt(p->master) < 0 ||
        ptsname_r(p->master, name, sizeof(name)) != 0) {
        return fail(err, "chardev '%s' cannot have a pseudo-terminal: %s", chr->label,
                    g_strerror(errno));
    }
    p->path = g_strdup(name);
    /* Raw, and opened once so that the master sees the hang-up. */
    int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) {
        return fail(err, "chardev '%s' cannot open %s: %s", chr->label, name, g_strerror(errno));
    }
    if (tcgetattr(slave, &t) == 0) {
        cfmakeraw(&t);
        tcsetattr(slave, TCSANOW, &t);
    }
    close(slave);
    if (link) {
        if (symlink(name, link) < 0) {
            return fail(err, "chardev '%s' cannot make the link '%s': %s", chr->label, link,
                        g_strerror(errno));
        }
        p->link = g_strdup(link);
    }
    info_report("char device redirected to %s (label %s)", name, chr->label);
    return watch_slave(p);
}

static void pty_close(Chardev *chr)
{
    Pty *p = (Pty *)chr;

    chardev_unwatch(&p->notify_src);
    chardev_unwatch(&p->timer);
    if (p->notify >= 0) {
        close(p->notify);
    }
    p->io.in = p->io.out = -1;
    fdio_fini(&p->io);
    if (p->master >= 0) {
        close(p->master);
    }
    p->master = p->notify = -1;
    if (p->link) {
        unlink(p->link);
    }
    g_free(p->path);
    g_free(p->link);
    p->path = p->link = NULL;
}

static size_t pty_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    Pty *p = (Pty *)chr;

    if (!chr->open) {
        check_slave(p);
    }
    return fdio_write(&p->io, buf, len);
}

static void pty_accept_input(Chardev *chr)
{
    fdio_update(&((Pty *)chr)->io);
}

static char *pty_filename(const Chardev *chr)
{
    return g_strdup_printf("pty:%s", ((const Pty *)chr)->path);
}

static const char *const pty_opts[] = {"path", NULL};
const ChardevType chardev_pty_type = {
    .name = "pty",
    .opts = pty_opts,
    .size = sizeof(Pty),
    .open = pty_open,
    .close = pty_close,
    .write = pty_write,
    .accept_input = pty_accept_input,
    .filename = pty_filename,
};
