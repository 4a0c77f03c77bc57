/*
 * The program's own terminal. The terminal's settings are given back at exit, when the job is
 * stopped, and when the program dies of a signal.
 */
#include "chardev/backend.h"
#include "core/log.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

typedef struct Stdio {
    Chardev chr;
    FdIo io;
    int out_flags; /* of the shared description of fd 1 when it had to be changed, else -1 */
} Stdio;

/* Signal handlers and atexit() reach only this. */
static struct {
    volatile sig_atomic_t raw; /* settings are changed */
    bool handlers;
    bool used; /* there is one stdin */
    struct termios saved, mine;
} term;

static bool in_foreground(void)
{
    return tcgetpgrp(0) == getpgrp();
}

static void term_restore(void)
{
    if (term.raw) {
        term.raw = 0;
        if (in_foreground()) {
            tcsetattr(0, TCSANOW, &term.saved);
        }
    }
}

static void on_fatal(int sig)
{
    term_restore();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void on_stop(int sig)
{
    bool raw = term.raw;
    sigset_t set;
    int e = errno;

    term_restore();
    signal(SIGTSTP, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    raise(SIGTSTP);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* stops here */
    signal(SIGTSTP, on_stop);
    if (raw && in_foreground()) {
        tcsetattr(0, TCSANOW, &term.mine);
        term.raw = 1;
    }
    errno = e;
}

/* Handlers only where nobody else has one; who replaces ours ends through exit(). */
static void install(int sig, void (*fn)(int))
{
    struct sigaction old, now = {.sa_handler = fn, .sa_flags = SA_RESTART};

    if (sigaction(sig, NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) &&
        old.sa_handler == SIG_DFL) {
        sigemptyset(&now.sa_mask);
        sigaction(sig, &now, NULL);
    }
}

static void term_raw(bool signals)
{
    if (!isatty(0) || tcgetattr(0, &term.saved) < 0) {
        return;
    }
    if (!term.handlers) {
        static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL,
                                    SIGTERM, SIGHUP,  SIGINT, SIGQUIT};
        for (size_t i = 0; i < G_N_ELEMENTS(fatal); i++) {
            install(fatal[i], on_fatal);
        }
        install(SIGTSTP, on_stop);
        atexit(term_restore);
        term.handlers = true;
    }
    term.mine = term.saved;
    term.mine.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    term.mine.c_oflag |= OPOST;
    term.mine.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals) {
        term.mine.c_lflag &= ~ISIG;
    }
    term.mine.c_cflag = (term.mine.c_cflag & ~(CSIZE | PARENB)) | CS8;
    term.mine.c_cc[VMIN] = 1;
    term.mine.c_cc[VTIME] = 0;
    if (in_foreground()) {
        tcsetattr(0, TCSANOW, &term.mine);
        term.raw = 1;
    }
}

/*
 * Descriptor 1 often shares its description with other programs of the pipeline, which must not
 * see O_NONBLOCK: open it anew where the kernel can, change (and restore) it where not.
 */
static int open_stdout(Stdio *s)
{
    struct stat st;
    int fd;

    if (fstat(1, &st) < 0) {
        return -1;
    }
    if (S_ISREG(st.st_mode)) {
        s->io.block = true;
        return fcntl(1, F_DUPFD_CLOEXEC, 3);
    }
    if (S_ISSOCK(st.st_mode)) {
        s->io.sock = true;
        return fcntl(1, F_DUPFD_CLOEXEC, 3);
    }
    fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        fd = fcntl(1, F_DUPFD_CLOEXEC, 3);
        s->out_flags = fcntl(1, F_GETFL);
        fcntl(1, F_SETFL, s->out_flags | O_NONBLOCK);
    }
    return fd;
}

static ssize_t stdio_read(FdIo *io, uint8_t *buf, size_t len)
{
    return read(io->in, buf, len); /* after poll() said so */
}

static bool stdio_open(Chardev *chr, const ChardevOpts *o, GError **err)
{
    Stdio *s = (Stdio *)chr;
    bool signals;

    fdio_init(&s->io, chr);
    s->out_flags = -1;
    if (!chardev_opt_bool(o, "signal", true, &signals, err)) {
        return false;
    }
    if (term.used) {
        return fail(err, "stdio cannot be used by chardev '%s': it is in use already", chr->label);
    }
    term.used = true;
    chr->open = true;
    s->io.read = stdio_read;
    fdio_open(&s->io, fcntl(0, F_DUPFD_CLOEXEC, 3), open_stdout(s), false);
    term_raw(signals);
    return true;
}

static void stdio_close(Chardev *chr)
{
    Stdio *s = (Stdio *)chr;

    if (chr->open || s->io.in >= 0) {
        term_restore();
        term.used = false;
    }
    fdio_fini(&s->io);
    if (s->out_flags >= 0) {
        fcntl(1, F_SETFL, s->out_flags);
        s->out_flags = -1;
    }
}

static size_t stdio_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    return fdio_write(&((Stdio *)chr)->io, buf, len);
}

static void stdio_accept_input(Chardev *chr)
{
    fdio_update(&((Stdio *)chr)->io);
}

static const char *const stdio_opts[] = {"signal", NULL};
const ChardevType chardev_stdio_type = {
    .name = "stdio",
    .opts = stdio_opts,
    .size = sizeof(Stdio),
    .open = stdio_open,
    .close = stdio_close,
    .write = stdio_write,
    .accept_input = stdio_accept_input,
};
