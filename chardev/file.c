/* Back ends on named things: file (output), pipe (a pair of FIFOs), serial (a host terminal). */
#include "chardev/backend.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

typedef struct FileChr {
    Chardev chr;
    FdIo io;
    char *path;
} FileChr;

static bool need_path(FileChr *f, const ChardevOpts *o, GError **err)
{
    const char *path = chardev_opt(o, "path");

    fdio_init(&f->io, &f->chr);
    f->path = g_strdup(path);
    return (path && *path) ||
           fail(err, "chardev %s '%s' needs a path", f->chr.type->name, f->chr.label);
}

static void file_close(Chardev *chr)
{
    FileChr *f = (FileChr *)chr;

    fdio_fini(&f->io);
    g_free(f->path);
    f->path = NULL;
}

static size_t file_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    return fdio_write(&((FileChr *)chr)->io, buf, len);
}

static void file_accept_input(Chardev *chr)
{
    fdio_update(&((FileChr *)chr)->io);
}

static char *file_filename(const Chardev *chr)
{
    return g_strdup_printf("%s:%s", chr->type->name, ((const FileChr *)chr)->path);
}

/* ---- file ---- */

static bool file_open(Chardev *chr, const ChardevOpts *o, GError **err)
{
    FileChr *f = (FileChr *)chr;
    const char *in_path = chardev_opt(o, "input-path");
    bool append;
    int in = -1, out;

    if (!need_path(f, o, err) || !chardev_opt_bool(o, "append", false, &append, err)) {
        return false;
    }
    out = open(f->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | (append ? O_APPEND : O_TRUNC),
               0666);
    if (out < 0) {
        return fail(err, "cannot open '%s' for chardev '%s': %s", f->path, chr->label,
                    g_strerror(errno));
    }
    if (in_path) {
        in = open(in_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (in < 0) {
            close(out);
            return fail(err, "cannot open '%s' for chardev '%s': %s", in_path, chr->label,
                        g_strerror(errno));
        }
    }
    chr->open = true;
    /* O_NONBLOCK is meaningless for regular files, and right for FIFOs and devices. */
    fdio_open(&f->io, in, out, true);
    return true;
}

static const char *const file_opts[] = {"path", "append", "input-path", NULL};
const ChardevType chardev_file_type = {
    .name = "file",
    .opts = file_opts,
    .size = sizeof(FileChr),
    .open = file_open,
    .close = file_close,
    .write = file_write,
    .accept_input = file_accept_input,
    .filename = file_filename,
};

/* ---- pipe: PATH.in to the guest and PATH.out from it, or PATH for both ---- */

static bool pipe_open(Chardev *chr, const ChardevOpts *o, GError **err)
{
    FileChr *f = (FileChr *)chr;

    if (!need_path(f, o, err)) {
        return false;
    }
    char *in_path = g_strconcat(f->path, ".in", NULL);
    char *out_path = g_strconcat(f->path, ".out", NULL);
    /* Both ways: no end of file while nobody has the other end open. */
    int in = open(in_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    int out = open(out_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);

    g_free(in_path);
    g_free(out_path);
    if (in < 0 || out < 0) {
        if (in >= 0) {
            close(in);
        }
        if (out >= 0) {
            close(out);
        }
        in = out = open(f->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (in < 0) {
            return fail(err, "cannot open the pipes '%s.in' and '%s.out' (or '%s'): %s", f->path,
                        f->path, f->path, g_strerror(errno));
        }
    }
    chr->open = true;
    fdio_open(&f->io, in, out, true);
    return true;
}

static const char *const path_opts[] = {"path", NULL};
const ChardevType chardev_pipe_type = {
    .name = "pipe",
    .opts = path_opts,
    .size = sizeof(FileChr),
    .open = pipe_open,
    .close = file_close,
    .write = file_write,
    .accept_input = file_accept_input,
    .filename = file_filename,
};

/* ---- serial: a terminal device of the host ---- */

static bool serial_open(Chardev *chr, const ChardevOpts *o, GError **err)
{
    FileChr *f = (FileChr *)chr;
    struct termios t;
    int fd;

    if (!need_path(f, o, err)) {
        return false;
    }
    fd = open(f->path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        return fail(err, "cannot open '%s' for chardev '%s': %s", f->path, chr->label,
                    g_strerror(errno));
    }
    if (tcgetattr(fd, &t) < 0) {
        close(fd);
        return fail(err, "'%s' of chardev '%s' is no serial port", f->path, chr->label);
    }
    cfmakeraw(&t);
    t.c_cflag |= CLOCAL | CREAD;
    tcsetattr(fd, TCSANOW, &t);
    chr->open = true;
    fdio_open(&f->io, fd, fd, false);
    return true;
}

static const struct {
    unsigned rate;
    speed_t code;
} speeds[] = {
    {50, B50},       {75, B75},         {110, B110},       {134, B134},       {150, B150},
    {200, B200},     {300, B300},       {600, B600},       {1200, B1200},     {1800, B1800},
    {2400, B2400},   {4800, B4800},     {9600, B9600},     {19200, B19200},   {38400, B38400},
    {57600, B57600}, {115200, B115200}, {230400, B230400}, {460800, B460800}, {921600, B921600},
};

static void set_params(int fd, const ChardevSerialParams *p)
{
    static const tcflag_t sizes[] = {CS5, CS6, CS7, CS8};
    struct termios t;

    if (tcgetattr(fd, &t) < 0) {
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(speeds); i++) {
        /* The nearest from below, within 5 %. */
        if (p->speed + p->speed / 20 >= speeds[i].rate) {
            cfsetspeed(&t, speeds[i].code);
        }
    }
    t.c_cflag &= ~(CSIZE | CSTOPB | PARENB | PARODD);
    t.c_cflag |= sizes[CLAMP(p->data_bits, 5, 8) - 5];
    t.c_cflag |= p->stop_bits > 1 ? CSTOPB : 0;
    t.c_cflag |= p->parity == 'E' ? PARENB : p->parity == 'O' ? PARENB | PARODD : 0;
    tcsetattr(fd, TCSANOW, &t);
}

static const struct {
    int ours, theirs;
} modem_bits[] = {
    {CHARDEV_CTS, TIOCM_CTS}, {CHARDEV_DSR, TIOCM_DSR}, {CHARDEV_RI, TIOCM_RI},
    {CHARDEV_DCD, TIOCM_CAR}, {CHARDEV_DTR, TIOCM_DTR}, {CHARDEV_RTS, TIOCM_RTS},
};

static bool serial_ctrl(Chardev *chr, ChardevCtrl what, void *arg)
{
    int fd = ((FileChr *)chr)->io.out, bits;

    switch (what) {
    case CHARDEV_SET_SERIAL:
        set_params(fd, arg);
        return true;
    case CHARDEV_SET_BREAK:
        return ioctl(fd, *(const int *)arg ? TIOCSBRK : TIOCCBRK) == 0;
    case CHARDEV_GET_MODEM:
        if (ioctl(fd, TIOCMGET, &bits) < 0) {
            return false;
        }
        *(int *)arg = 0;
        for (size_t i = 0; i < G_N_ELEMENTS(modem_bits); i++) {
            *(int *)arg |= bits & modem_bits[i].theirs ? modem_bits[i].ours : 0;
        }
        return true;
    case CHARDEV_SET_MODEM:
        bits = *(const int *)arg;
        bits = (bits & CHARDEV_DTR ? TIOCM_DTR : 0) | (bits & CHARDEV_RTS ? TIOCM_RTS : 0);
        return ioctl(fd, TIOCMSET, &bits) == 0;
    default:
        return false;
    }
}

const ChardevType chardev_serial_type = {
    .name = "serial",
    .alias = "tty",
    .opts = path_opts,
    .size = sizeof(FileChr),
    .open = serial_open,
    .close = file_close,
    .write = file_write,
    .accept_input = file_accept_input,
    .ctrl = serial_ctrl,
    .filename = file_filename,
};
