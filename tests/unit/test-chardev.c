/* Character back ends: syntaxes, data both ways, flow control, mux. */
#include "chardev/chardev.h"
#include "core/machine.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

typedef struct Front {
    ChardevFront *f;
    GString *in;
    size_t room;
    unsigned opened, closed, breaks, writable, mux_in, mux_out;
} Front;

static size_t can_receive(void *opaque)
{
    return ((Front *)opaque)->room;
}

static void receive(void *opaque, const uint8_t *buf, size_t len)
{
    Front *f = opaque;

    g_assert_true(machine_lock_held());
    g_assert_cmpint(len, <=, f->room);
    f->room -= len;
    g_string_append_len(f->in, (const char *)buf, len);
}

static void event(void *opaque, ChardevEvent ev)
{
    Front *f = opaque;
    unsigned *counts[] = {&f->opened, &f->closed, &f->breaks, &f->mux_in, &f->mux_out};

    (*counts[ev])++;
}

static void writable(void *opaque)
{
    ((Front *)opaque)->writable++;
}

static const ChardevHandlers handlers = {
    .can_receive = can_receive, .receive = receive, .event = event, .writable = writable};
static const ChardevHandlers back_handlers = {.can_receive = can_receive,
                                              .receive = receive,
                                              .event = event,
                                              .writable = writable,
                                              .background = true};

static void attach_with(Front *f, Chardev *chr, const ChardevHandlers *h)
{
    GError *err = NULL;

    *f = (Front){.in = g_string_new(NULL), .room = 1 << 20};
    f->f = chardev_attach(chr, h, f, &err);
    g_assert_no_error(err);
}

static void attach(Front *f, Chardev *chr)
{
    attach_with(f, chr, &handlers);
}

static void detach(Front *f)
{
    chardev_detach(f->f);
    g_string_free(f->in, TRUE);
}

/* Let the main loop run until @cond holds, 5 s at most. */
#define wait_until(cond)                                                                           \
    do {                                                                                           \
        gint64 end_ = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;                                 \
        while (!(cond) && g_get_monotonic_time() < end_) {                                         \
            spin();                                                                                \
        }                                                                                          \
        g_assert_true(cond);                                                                       \
    } while (0)

static void spin(void)
{
    machine_unlock();
    if (!g_main_context_iteration(NULL, FALSE)) {
        g_usleep(500);
    }
    machine_lock();
}

static char *dir;

static char *path(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static Chardev *from_opts(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static Chardev *from_opts(const char *fmt, ...)
{
    va_list ap;
    GError *err = NULL;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    Chardev *c = chardev_new_from_opts(text, &err);
    g_assert_no_error(err);
    return c;
}

static int connect_unix(const char *p)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(un.sun_path, p, sizeof(un.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&un, sizeof(un)), ==, 0);
    return fd;
}

static void begin(void)
{
    machine_lock();
}

static void end(void)
{
    chardev_cleanup();
    machine_unlock();
}

static void bad(const char *text, const char *part)
{
    GError *err = NULL;

    g_assert_null(chardev_new_from_opts(text, &err));
    g_assert_nonnull(err);
    g_assert_nonnull(strstr(err->message, part));
    g_error_free(err);
}

static void bad_spec(const char *text, const char *part)
{
    GError *err = NULL;

    g_assert_null(chardev_new_from_spec("x", text, true, &err));
    g_assert_nonnull(err);
    g_assert_nonnull(strstr(err->message, part));
    g_error_free(err);
}

static void test_errors(void)
{
    begin();
    bad("nosuch,id=a", "nosuch");
    bad("null", "id=");
    bad("id=a", "back end");
    bad("null,id=a,color=red", "color");
    bad("spicevmc,id=a", "SPICE");
    bad("ringbuf,id=a,size=1000", "power of two");
    bad("ringbuf,id=a,size=99999999999", "size");
    bad("socket,id=a", "port");
    bad("socket,id=a,path=/x,server=maybe", "maybe");
    bad("socket,id=a,path=/nonexistent/socket", "/nonexistent/socket");
    bad("socket,id=a,path=/p,wait=off", "server=on");
    bad("socket,id=a,path=/p,server=on,reconnect=1", "reconnect");
    bad("socket,id=a,fd=999", "fd=999");
    bad("file,id=a", "path");
    bad("file,id=a,path=/nonexistent/file", "/nonexistent/file");
    bad("pipe,id=a,path=/nonexistent/pipe", "/nonexistent/pipe");
    bad_spec("tcp:localhost", "port");
    bad_spec("unix:", "path");
    bad_spec("chardev:nope", "nope");
    bad_spec("bogus", "bogus");
    bad_spec("websocket:x:1", "websocket");
    GError *err = NULL;
    g_assert_null(chardev_new_from_spec("x", "mon:null", false, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    g_assert_null(chardev_new_from_spec("x", "none", true, &err));
    g_assert_no_error(err);
    from_opts("null,id=a");
    bad("null,id=a", "exists");
    end();
}

static void test_file(void)
{
    g_autofree char *p = path("a,b"), *text = NULL;
    Front f;

    begin();
    /* Two commas stand for one. */
    attach(&f, from_opts("file,id=f,path=%s/a,,b", dir));
    g_assert_cmpint(chardev_write(f.f, "hello\n", 6), ==, 6);
    detach(&f);
    end();
    g_assert_true(g_file_get_contents(p, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "hello\n");
    begin();
    attach(&f, from_opts("file,id=f,path=%s/a,,b,append=on", dir));
    chardev_write(f.f, "more\n", 5);
    detach(&f);
    end();
    g_free(text);
    g_assert_true(g_file_get_contents(p, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "hello\nmore\n");
}

static void test_logfile(void)
{
    g_autofree char *p = path("log"), *text = NULL;
    Front f;

    begin();
    attach(&f, from_opts("null,id=f,logfile=%s", p));
    chardev_write(f.f, "logged", 6);
    detach(&f);
    end();
    g_assert_true(g_file_get_contents(p, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "logged");
}

static void test_socket_server(void)
{
    g_autofree char *p = path("s1"), *name = NULL;
    char buf[64];
    Front f;

    begin();
    Chardev *c = from_opts("socket,id=s,path=%s,server=on,wait=off", p);
    attach(&f, c);
    name = chardev_filename(c);
    g_assert_true(g_str_has_prefix(name, "disconnected:unix:"));
    /* Nobody there: output is dropped, the guest is not held. */
    g_assert_cmpint(chardev_write(f.f, "lost", 4), ==, 4);
    int fd = connect_unix(p);
    wait_until(f.opened == 1);
    g_assert_cmpint(write(fd, "to guest", 8), ==, 8);
    wait_until(f.in->len == 8);
    g_assert_cmpstr(f.in->str, ==, "to guest");
    g_assert_cmpint(chardev_write(f.f, "reply", 5), ==, 5);
    g_assert_cmpint(read(fd, buf, sizeof(buf)), ==, 5);
    close(fd);
    wait_until(f.closed == 1);
    /* The next client. */
    fd = connect_unix(p);
    wait_until(f.opened == 2);
    close(fd);
    wait_until(f.closed == 2);
    detach(&f);
    end();
    g_assert_cmpint(access(p, F_OK), !=, 0); /* removed */
}

static void test_back_pressure(void)
{
    g_autofree char *p = path("s2");
    static char block[4096];
    size_t total = 0, got = 0, n;
    Front f;

    begin();
    attach(&f, from_opts("socket,id=s,path=%s,server=on,wait=off", p));
    int fd = connect_unix(p);
    wait_until(f.opened == 1);
    /* The client does not read: at some point less than all is taken, and nothing blocks. */
    for (;;) {
        for (size_t i = 0; i < sizeof(block); i++) {
            block[i] = (char)((total + i) * 7 / 3);
        }
        n = chardev_write(f.f, block, sizeof(block));
        total += n;
        if (n < sizeof(block)) {
            break;
        }
        g_assert_cmpint(total, <, 64 << 20);
    }
    g_assert_cmpint(f.writable, ==, 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (got < total) {
        ssize_t r = read(fd, block, sizeof(block));
        if (r > 0) {
            for (ssize_t i = 0; i < r; i++) {
                g_assert_cmpint(block[i], ==, (char)((got + i) * 7 / 3));
            }
            got += r;
        } else {
            spin();
        }
    }
    wait_until(f.writable == 1);
    /* The other way: input waits while the front cannot take it. */
    f.room = 3;
    g_assert_cmpint(write(fd, "abcdef", 6), ==, 6);
    wait_until(f.in->len == 3);
    for (int i = 0; i < 50; i++) {
        spin();
    }
    g_assert_cmpint(f.in->len, ==, 3);
    f.room = 100;
    chardev_accept_input(f.f);
    wait_until(f.in->len == 6);
    g_assert_cmpstr(f.in->str, ==, "abcdef");
    /* The client dies while output waits: no signal, and the front goes on. */
    while (chardev_write(f.f, block, sizeof(block)) == sizeof(block)) {
        ;
    }
    close(fd);
    wait_until(f.closed == 1 || f.writable == 2);
    detach(&f);
    end();
}

static void test_inherited_fd(void)
{
    g_autofree char *p = path("s3");
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int l = socket(AF_UNIX, SOCK_STREAM, 0);
    Front f;

    g_strlcpy(un.sun_path, p, sizeof(un.sun_path));
    g_assert_cmpint(bind(l, (struct sockaddr *)&un, sizeof(un)), ==, 0);
    g_assert_cmpint(listen(l, 1), ==, 0);
    begin();
    attach(&f, from_opts("socket,id=charmonitor,fd=%d,server=on,wait=off", l));
    int fd = connect_unix(p);
    wait_until(f.opened == 1);
    /* A descriptor comes with the text. */
    int pipes[2];
    g_assert_cmpint(pipe(pipes), ==, 0);
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {(char *)"x", 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);
    cm->cmsg_level = SOL_SOCKET;
    cm->cmsg_type = SCM_RIGHTS;
    cm->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cm), &pipes[1], sizeof(int));
    g_assert_cmpint(sendmsg(fd, &msg, 0), ==, 1);
    wait_until(f.in->len == 1);
    int got = chardev_take_fd(f.f);
    g_assert_cmpint(got, >=, 0);
    g_assert_cmpint(write(got, "y", 1), ==, 1);
    char c;
    g_assert_cmpint(read(pipes[0], &c, 1), ==, 1);
    g_assert_cmpint(chardev_take_fd(f.f), ==, -1);
    close(got);
    close(pipes[0]);
    close(pipes[1]);
    close(fd);
    detach(&f);
    end();
}

static void test_client_reconnect(void)
{
    g_autofree char *p = path("s4");
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    Front f;

    begin();
    attach(&f, from_opts("socket,id=s,path=%s,reconnect-ms=20", p));
    g_assert_cmpint(f.opened, ==, 0);
    int l = socket(AF_UNIX, SOCK_STREAM, 0);
    g_strlcpy(un.sun_path, p, sizeof(un.sun_path));
    g_assert_cmpint(bind(l, (struct sockaddr *)&un, sizeof(un)), ==, 0);
    g_assert_cmpint(listen(l, 1), ==, 0);
    wait_until(f.opened == 1);
    close(accept(l, NULL, NULL));
    wait_until(f.closed == 1);
    wait_until(f.opened == 2);
    close(l);
    detach(&f);
    end();
}

static void test_telnet(void)
{
    static const uint8_t noise[] = {255, 253, 3,   'a', 255, 250, 24,  0,
                                    255, 240, 'b', 255, 255, 255, 243, 'c'};
    g_autofree char *p = path("s5");
    uint8_t buf[64];
    Front f;

    begin();
    attach(&f, from_opts("socket,id=s,path=%s,server=on,wait=off,telnet=on", p));
    int fd = connect_unix(p);
    wait_until(f.opened == 1);
    /* WILL ECHO comes among the offers. */
    ssize_t n = read(fd, buf, sizeof(buf));
    g_assert_cmpint(n, >=, 3);
    g_assert_cmpmem(buf, 3, "\xff\xfb\x01", 3);
    g_assert_cmpint(write(fd, noise, sizeof(noise)), ==, sizeof(noise));
    wait_until(f.in->len == 4);
    g_assert_cmpstr(f.in->str, ==,
                    "ab\xff"
                    "c");
    g_assert_cmpint(f.breaks, ==, 1);
    g_assert_cmpint(chardev_write(f.f, "x\xffy", 3), ==, 3);
    n = read(fd, buf, sizeof(buf));
    g_assert_cmpmem(buf, n, "x\xff\xffy", 4);
    close(fd);
    detach(&f);
    end();
}

static void test_tcp_spec(void)
{
    GError *err = NULL;
    Front f;

    begin();
    Chardev *c = chardev_new_from_spec("serial0", "tcp:127.0.0.1:0,server,nowait", true, &err);
    g_assert_no_error(err);
    attach(&f, c);
    g_assert_true(chardev_find("serial0") == c);
    detach(&f);
    end();
}

static void test_pty(void)
{
    char buf[16];
    Front f;

    begin();
    Chardev *c = from_opts("pty,id=p");
    attach(&f, c);
    g_autofree char *name = chardev_filename(c);
    g_assert_true(g_str_has_prefix(name, "pty:/dev/pts/"));
    g_assert_cmpint(f.opened, ==, 0);
    /* Without a reader output is dropped, whatever its length. */
    for (int i = 0; i < 1000; i++) {
        g_assert_cmpint(chardev_write(f.f, "0123456789abcdef", 16), ==, 16);
    }
    int fd = open(name + 4, O_RDWR | O_NOCTTY);
    g_assert_cmpint(fd, >=, 0);
    wait_until(f.opened == 1);
    g_assert_cmpint(chardev_write(f.f, "out\n", 4), ==, 4);
    g_assert_cmpint(read(fd, buf, sizeof(buf)), ==, 4);
    g_assert_cmpint(write(fd, "in\r", 3), ==, 3);
    wait_until(f.in->len == 3);
    g_assert_cmpstr(f.in->str, ==, "in\r"); /* raw */
    close(fd);
    wait_until(f.closed == 1);
    fd = open(name + 4, O_RDWR | O_NOCTTY);
    wait_until(f.opened == 2);
    close(fd);
    detach(&f);
    end();
}

static void test_pipe(void)
{
    g_autofree char *in = path("fifo.in"), *out = path("fifo.out");
    char buf[8];
    Front f;

    g_assert_cmpint(mkfifo(in, 0600), ==, 0);
    g_assert_cmpint(mkfifo(out, 0600), ==, 0);
    begin();
    attach(&f, from_opts("pipe,id=p,path=%s/fifo", dir));
    int wfd = open(in, O_WRONLY), rfd = open(out, O_RDONLY | O_NONBLOCK);
    g_assert_cmpint(write(wfd, "abc", 3), ==, 3);
    wait_until(f.in->len == 3);
    g_assert_cmpint(chardev_write(f.f, "def", 3), ==, 3);
    g_assert_cmpint(read(rfd, buf, 8), ==, 3);
    close(wfd);
    close(rfd);
    detach(&f);
    end();
}

static void test_ringbuf(void)
{
    uint8_t buf[32];
    Front f;

    begin();
    Chardev *c = from_opts("ringbuf,id=r,size=8");
    attach(&f, c);
    g_assert_cmpint(f.opened, ==, 1);
    chardev_write(f.f, "0123456789", 10);
    g_assert_cmpint(chardev_ringbuf_read(c, buf, sizeof(buf)), ==, 8); /* the newest */
    g_assert_cmpmem(buf, 8, "23456789", 8);
    f.room = 2;
    g_assert_cmpint(chardev_ringbuf_inject(c, (const uint8_t *)"abc", 3), ==, 2);
    detach(&f);
    end();
}

static bool quit_called;

static void on_quit(void *opaque)
{
    quit_called = true;
}

static void test_mux(void)
{
    const ChardevHooks hooks = {.quit = on_quit};
    g_autofree char *p = path("s6");
    Front a, b;
    char buf[1024];

    begin();
    chardev_set_hooks(&hooks);
    Chardev *c = from_opts("socket,id=m,path=%s,server=on,wait=off,mux=on", p);
    g_assert_true(chardev_is_mux(c));
    attach_with(&b, c, &back_handlers); /* a monitor, which came first */
    attach(&a, c);
    g_assert_cmpint(a.mux_in, ==, 1);
    int fd = connect_unix(p);
    wait_until(a.opened == 1 && b.opened == 1);
    g_assert_cmpint(write(fd, "one", 3), ==, 3);
    wait_until(a.in->len == 3);
    /* Ctrl-A c switches, Ctrl-A Ctrl-A is a Ctrl-A, Ctrl-A b a break. */
    g_assert_cmpint(write(fd, "\1ctwo\1\1\1b", 9), ==, 9);
    wait_until(b.in->len == 4);
    g_assert_cmpstr(b.in->str, ==, "two\1");
    g_assert_cmpstr(a.in->str, ==, "one");
    g_assert_cmpint(b.mux_in, ==, 2);
    g_assert_cmpint(a.mux_out, ==, 1);
    g_assert_cmpint(b.breaks, ==, 1);
    /* Output of both goes out. */
    chardev_write(a.f, "A", 1);
    chardev_write(b.f, "B", 1);
    g_assert_cmpint(read(fd, buf, 2), ==, 2);
    g_assert_cmpmem(buf, 2, "AB", 2);
    g_assert_cmpint(write(fd, "\1h", 2), ==, 2);
    for (int i = 0; i < 100; i++) {
        spin();
    }
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    g_assert_cmpint(n, >, 0);
    buf[n] = 0;
    g_assert_nonnull(strstr(buf, "C-a x"));
    /* The focus is away for good: the other gets the input. */
    detach(&b);
    g_assert_cmpint(write(fd, "back", 4), ==, 4);
    wait_until(a.in->len == 7);
    g_assert_false(quit_called);
    g_assert_cmpint(write(fd, "\1x", 2), ==, 2);
    wait_until(quit_called);
    close(fd);
    GError *err = NULL;
    g_assert_false(chardev_remove(c, &err));
    g_clear_error(&err);
    detach(&a);
    g_assert_true(chardev_remove(c, &err));
    g_assert_null(chardev_find("m"));
    end();
}

static void test_mon_spec(void)
{
    GError *err = NULL;

    begin();
    Chardev *c = chardev_new_from_spec("serial0", "mon:null", true, &err);
    g_assert_no_error(err);
    g_assert_true(chardev_wants_monitor(c));
    g_assert_true(chardev_is_mux(c));
    Front a, b;
    attach(&a, c);
    attach(&b, c);
    detach(&a);
    detach(&b);
    c = chardev_new_from_spec("serial1", "null", true, &err);
    g_assert_false(chardev_wants_monitor(c));
    attach(&a, c);
    g_assert_null(chardev_attach(c, &handlers, &b, &err)); /* one front only */
    g_assert_nonnull(err);
    g_clear_error(&err);
    detach(&a);
    end();
}

/* stdio in a child on a terminal of its own: raw while in use, restored at exit. */
static void test_stdio(void)
{
    struct termios before, during, after;
    char buf[64] = {0};
    int master, slave;
    pid_t pid;

    g_assert_cmpint(openpty(&master, &slave, NULL, NULL, NULL), ==, 0);
    g_assert_cmpint(tcgetattr(slave, &before), ==, 0);
    pid = fork();
    if (pid == 0) {
        setsid();
        login_tty(dup(slave));
        machine_lock();
        Front f;
        Chardev *c = chardev_new_from_spec("serial0", "stdio", true, NULL);
        attach(&f, c);
        chardev_write(f.f, "ready", 5);
        while (f.in->len < 2) {
            spin();
        }
        chardev_write(f.f, f.in->str, f.in->len);
        exit(0); /* without closing: atexit() restores */
    }
    g_assert_cmpint(read(master, buf, 5), ==, 5);
    g_assert_cmpstr(buf, ==, "ready");
    tcgetattr(slave, &during);
    g_assert_cmpint(during.c_lflag & (ICANON | ECHO), ==, 0);
    g_assert_cmpint(during.c_lflag & ISIG, ==, ISIG);
    g_assert_cmpint(write(master, "\rq", 2), ==, 2);
    g_assert_cmpint(read(master, buf, sizeof(buf)), ==, 2);
    g_assert_cmpmem(buf, 2, "\rq", 2);
    int status;
    waitpid(pid, &status, 0);
    g_assert_cmpint(status, ==, 0);
    tcgetattr(slave, &after);
    g_assert_cmpint(after.c_lflag, ==, before.c_lflag);
    g_assert_cmpint(after.c_iflag, ==, before.c_iflag);
    close(master);
    close(slave);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("chardevXXXXXX", NULL);
    g_test_add_func("/chardev/errors", test_errors);
    g_test_add_func("/chardev/file", test_file);
    g_test_add_func("/chardev/logfile", test_logfile);
    g_test_add_func("/chardev/socket-server", test_socket_server);
    g_test_add_func("/chardev/back-pressure", test_back_pressure);
    g_test_add_func("/chardev/inherited-fd", test_inherited_fd);
    g_test_add_func("/chardev/client-reconnect", test_client_reconnect);
    g_test_add_func("/chardev/telnet", test_telnet);
    g_test_add_func("/chardev/tcp-spec", test_tcp_spec);
    g_test_add_func("/chardev/pty", test_pty);
    g_test_add_func("/chardev/pipe", test_pipe);
    g_test_add_func("/chardev/ringbuf", test_ringbuf);
    g_test_add_func("/chardev/mux", test_mux);
    g_test_add_func("/chardev/mon-spec", test_mon_spec);
    g_test_add_func("/chardev/stdio", test_stdio);
    int r = g_test_run();
    g_autofree char *cmd = g_strdup_printf("rm -rf '%s'", dir);
    if (system(cmd)) {
        r = 1;
    }
    return r;
}
