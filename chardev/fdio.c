/* Non-blocking descriptors in the main loop: input when the front can take it, queued output. */
#include "chardev/backend.h"
#include "core/log.h"
#include "core/machine.h"
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

bool chardev_enter(void)
{
    if (machine_lock_held()) {
        return false;
    }
    machine_lock();
    return true;
}

void chardev_leave(bool entered)
{
    if (entered) {
        machine_unlock();
    }
}

typedef struct Watch {
    Chardev *chr;
    void *arg;
    gboolean (*fn)(gint fd, GIOCondition cond, gpointer arg);
} Watch;

static gboolean watch_fire(gint fd, GIOCondition cond, gpointer data)
{
    Watch *w = data;
    bool entered = chardev_enter();
    gboolean keep = G_SOURCE_REMOVE;

    /* Another thread may have destroyed the source while this one waited for the lock. */
    if (!g_source_is_destroyed(g_main_current_source())) {
        keep = w->fn(fd, cond, w->arg);
    }
    chardev_leave(entered);
    return keep;
}

static void watch_free(gpointer data)
{
    Watch *w = data;

    chardev_unref(w->chr);
    g_free(w);
}

GSource *chardev_watch(Chardev *chr, int fd, GIOCondition cond,
                       gboolean (*fn)(gint fd, GIOCondition cond, gpointer arg), void *arg)
{
    GSource *s = g_unix_fd_source_new(fd, cond);
    Watch *w = g_new(Watch, 1);

    *w = (Watch){.chr = chardev_ref(chr), .arg = arg, .fn = fn};
    g_source_set_callback(s, G_SOURCE_FUNC(watch_fire), w, watch_free);
    g_source_attach(s, NULL);
    return s;
}

void chardev_unwatch(GSource **src)
{
    if (*src) {
        g_source_destroy(*src);
        g_source_unref(*src);
        *src = NULL;
    }
}

void fdio_init(FdIo *io, Chardev *chr)
{
    *io = (FdIo){.chr = chr, .in = -1, .out = -1, .queue = g_byte_array_new()};
}

void fdio_open(FdIo *io, int in, int out, bool nonblock)
{
    io->in = in;
    io->out = out;
    if (nonblock) {
        if (in >= 0) {
            fcntl(in, F_SETFL, fcntl(in, F_GETFL) | O_NONBLOCK);
        }
        if (out >= 0) {
            fcntl(out, F_SETFL, fcntl(out, F_GETFL) | O_NONBLOCK);
        }
    }
}

static void fdio_gone(FdIo *io)
{
    chardev_unwatch(&io->in_src);
    if (io->gone) {
        io->gone(io);
    } else {
        chardev_be_event(io->chr, CHARDEV_CLOSED);
    }
}

static ssize_t raw_write(FdIo *io, const uint8_t *buf, size_t len)
{
    ssize_t n;

    do {
        n = io->sock ? send(io->out, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT)
                     : write(io->out, buf, len);
    } while (n < 0 && errno == EINTR);
    return n;
}

static gboolean on_input(gint fd, GIOCondition cond, gpointer arg)
{
    FdIo *io = arg;
    uint8_t buf[CHARDEV_READ_MAX];
    size_t room = chardev_be_can_receive(io->chr);
    ssize_t n;

    if (!room) {
        chardev_unwatch(&io->in_src);
        return G_SOURCE_REMOVE;
    }
    if (room > sizeof(buf)) {
        room = sizeof(buf);
    }
    if (io->read) {
        n = io->read(io, buf, room);
    } else if (io->sock) {
        n = recv(fd, buf, room, MSG_DONTWAIT);
    } else {
        n = read(fd, buf, room);
    }
    if (n > 0) {
        if (io->input) {
            io->input(io, buf, n);
        } else {
            chardev_be_receive(io->chr, buf, n);
        }
        fdio_update(io);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        fdio_gone(io);
    }
    /* The source may have been replaced meanwhile; a destroyed one does not come back. */
    return G_SOURCE_CONTINUE;
}

void fdio_update(FdIo *io)
{
    bool want = io->in >= 0 && chardev_be_can_receive(io->chr) > 0;

    if (want && !io->in_src) {
        io->in_src = chardev_watch(io->chr, io->in, G_IO_IN | G_IO_HUP | G_IO_ERR, on_input, io);
    } else if (!want) {
        chardev_unwatch(&io->in_src);
    }
}

static size_t queued(const FdIo *io)
{
    return io->queue->len - io->queue_pos;
}

static gboolean on_output(gint fd, GIOCondition cond, gpointer arg)
{
    FdIo *io = arg;

    while (queued(io)) {
        ssize_t n = raw_write(io, io->queue->data + io->queue_pos, queued(io));
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) { /* nobody will read it */
            n = queued(io);
        }
        io->queue_pos += n;
    }
    if (!queued(io)) {
        g_byte_array_set_size(io->queue, 0);
        io->queue_pos = 0;
        chardev_unwatch(&io->out_src);
    }
    if (queued(io) < CHARDEV_QUEUE_MAX / 2) {
        chardev_be_writable(io->chr);
    }
    return G_SOURCE_CONTINUE;
}

size_t fdio_write(FdIo *io, const uint8_t *buf, size_t len)
{
    size_t done = 0;

    if (io->out < 0) {
        return len;
    }
    while (done < len && !queued(io)) {
        ssize_t n = raw_write(io, buf + done, len - done);
        if (n < 0 && errno == EAGAIN && !io->block) {
            break;
        }
        if (n < 0) {
            return len;
        }
        done += n;
    }
    if (done < len) {
        size_t room = CHARDEV_QUEUE_MAX - MIN(queued(io), CHARDEV_QUEUE_MAX);
        size_t n = MIN(room, len - done);

        if (io->queue_pos > CHARDEV_QUEUE_MAX) {
            g_byte_array_remove_range(io->queue, 0, io->queue_pos);
            io->queue_pos = 0;
        }
        g_byte_array_append(io->queue, buf + done, n);
        done += n;
        if (!io->out_src && queued(io)) {
            io->out_src =
                chardev_watch(io->chr, io->out, G_IO_OUT | G_IO_HUP | G_IO_ERR, on_output, io);
        }
    }
    return done;
}

void fdio_close(FdIo *io)
{
    if (!io->queue) {
        return;
    }
    bool was_held = queued(io) > 0;

    chardev_unwatch(&io->in_src);
    chardev_unwatch(&io->out_src);
    if (io->out >= 0 && io->out != io->in) {
        close(io->out);
    }
    if (io->in >= 0) {
        close(io->in);
    }
    io->in = io->out = -1;
    g_byte_array_set_size(io->queue, 0);
    io->queue_pos = 0;
    if (was_held) {
        chardev_be_writable(io->chr);
    }
}

void fdio_fini(FdIo *io)
{
    if (io->queue) {
        /* At exit what is queued goes out if the host takes it at once. */
        if (queued(io) && io->out >= 0) {
            (void)!raw_write(io, io->queue->data + io->queue_pos, queued(io));
        }
        fdio_close(io);
        g_byte_array_unref(io->queue);
        io->queue = NULL;
    }
}
