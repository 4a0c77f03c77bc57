/*
 * rhea-nbd: serves an image of any format to NBD clients, with qemu-nbd's options.
 */
#include "block/drive.h"
#include "block/nbd.h"
#include "config.h"
#include "core/log.h"
#include "core/machine.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <glib-unix.h>
#include <linux/nbd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OPT_FORK = 256, OPT_PID, OPT_CACHE, OPT_AIO, OPT_DISCARD, OPT_ZEROES, OPT_IMAGE_OPTS };

typedef struct Args {
    const char *socket, *port, *bind, *name, *description, *format, *pid_file, *kernel, *detach;
    const char *cache, *aio, *discard, *zeroes, *image;
    bool read_only, persistent, fork, verbose, snapshot, image_opts;
    unsigned clients;
} Args;

typedef struct Run {
    GMainLoop *loop;
    NbdServer *server;
    BlockDev *block;
    const Args *a;
    bool had_client;
    int device; /* /dev/nbdN, or -1 */
} Run;

static void usage(void)
{
    puts("usage: rhea-nbd [OPTION]… FILE\n"
         "Serves an image to NBD clients until the last one leaves.\n\n"
         "  -k, --socket=PATH       Unix socket instead of TCP\n"
         "  -p, --port=PORT         TCP port (10809)\n"
         "  -b, --bind=ADDRESS      address to listen at (all)\n"
         "  -f, --format=FORMAT     raw, qcow2 …; else what is found\n"
         "  -r, --read-only         clients cannot write\n"
         "  -s, --snapshot          writes go to a temporary file\n"
         "  -x, --export-name=NAME  name of the export (empty)\n"
         "  -D, --description=TEXT  what clients are told of it\n"
         "  -t, --persistent        go on when the last client leaves\n"
         "  -e, --shared=N          clients at the same time (1; 0: any number)\n"
         "  -n, --nocache           --cache=none\n"
         "      --cache=MODE        writeback, writethrough, none, directsync, unsafe\n"
         "      --aio=MODE          threads, native, io_uring\n"
         "      --discard=MODE      ignore, unmap\n"
         "      --detect-zeroes=M   off, on, unmap\n"
         "      --image-opts        FILE is driver=…,file.filename=… \n"
         "  -c, --connect=/dev/nbdN attach to the kernel's NBD device\n"
         "  -d, --disconnect=/dev/nbdN\n"
         "      --fork              go to the background when ready\n"
         "      --pid-file=PATH     write the process id there\n"
         "  -v, --verbose           tell of clients\n"
         "  -h, --help   -V, --version");
}

static bool parse_args(Args *a, int argc, char **argv, GError **err)
{
    static const struct option longs[] = {
        {"socket", 1, NULL, 'k'},      {"port", 1, NULL, 'p'},
        {"bind", 1, NULL, 'b'},        {"format", 1, NULL, 'f'},
        {"read-only", 0, NULL, 'r'},   {"snapshot", 0, NULL, 's'},
        {"export-name", 1, NULL, 'x'}, {"description", 1, NULL, 'D'},
        {"persistent", 0, NULL, 't'},  {"shared", 1, NULL, 'e'},
        {"nocache", 0, NULL, 'n'},     {"cache", 1, NULL, OPT_CACHE},
        {"aio", 1, NULL, OPT_AIO},     {"discard", 1, NULL, OPT_DISCARD},
        {"connect", 1, NULL, 'c'},     {"detect-zeroes", 1, NULL, OPT_ZEROES},
        {"disconnect", 1, NULL, 'd'},  {"image-opts", 0, NULL, OPT_IMAGE_OPTS},
        {"fork", 0, NULL, OPT_FORK},   {"pid-file", 1, NULL, OPT_PID},
        {"verbose", 0, NULL, 'v'},     {"help", 0, NULL, 'h'},
        {"version", 0, NULL, 'V'},     {NULL},
    };
    uint64_t n;
    int c;

    *a = (Args){.name = "", .clients = 1};
    while ((c = getopt_long(argc, argv, "k:p:b:f:rsx:D:te:nc:d:vhV", longs, NULL)) != -1) {
        switch (c) {
        case 'k':
            a->socket = optarg;
            break;
        case 'p':
            a->port = optarg;
            break;
        case 'b':
            a->bind = optarg;
            break;
        case 'f':
            a->format = optarg;
            break;
        case 'r':
            a->read_only = true;
            break;
        case 's':
            a->snapshot = true;
            break;
        case 'x':
            a->name = optarg;
            break;
        case 'D':
            a->description = optarg;
            break;
        case 't':
            a->persistent = true;
            break;
        case 'e':
            if (!parse_uint("--shared", optarg, 1000000, &n, err)) {
                return false;
            }
            a->clients = (unsigned)n;
            break;
        case 'n':
            a->cache = "none";
            break;
        case OPT_CACHE:
            a->cache = optarg;
            break;
        case OPT_AIO:
            a->aio = optarg;
            break;
        case OPT_DISCARD:
            a->discard = optarg;
            break;
        case OPT_ZEROES:
            a->zeroes = optarg;
            break;
        case OPT_IMAGE_OPTS:
            a->image_opts = true;
            break;
        case 'c':
            a->kernel = optarg;
            break;
        case 'd':
            a->detach = optarg;
            break;
        case OPT_FORK:
            a->fork = true;
            break;
        case OPT_PID:
            a->pid_file = optarg;
            break;
        case 'v':
            a->verbose = true;
            break;
        case 'h':
            usage();
            exit(0);
        case 'V':
            puts("rhea-nbd " RHEA_VERSION);
            exit(0);
        default:
            return fail(err, "-h lists the options");
        }
    }
    if (a->detach) {
        return optind == argc || fail(err, "--disconnect takes no image");
    }
    if (optind + 1 != argc) {
        return fail(err, "exactly one image must be named; -h helps");
    }
    if (a->socket && (a->port || a->bind)) {
        return fail(err, "--socket and --port or --bind cannot be given together");
    }
    if (a->kernel && (a->socket || a->port || a->bind)) {
        return fail(err, "--connect serves the kernel alone: no --socket, --port or --bind");
    }
    a->image = argv[optind];
    return true;
}

/* ---- the image ---- */

static void add(GString *s, const char *key, const char *value)
{
    if (value) {
        g_auto(GStrv) parts = g_strsplit(value, ",", -1);
        g_autofree char *text = g_strjoinv(",,", parts);
        g_string_append_printf(s, "%s%s=%s", s->len ? "," : "", key, text);
    }
}

static BlockDev *open_image(const Args *a, GError **err)
{
    g_autoptr(GString) s = g_string_new(NULL);

    add(s, "if", "none");
    add(s, "file", a->image_opts ? NULL : a->image);
    add(s, "format", a->format);
    add(s, "cache", a->cache);
    add(s, "aio", a->aio);
    add(s, "discard", a->discard ? a->discard : "unmap");
    add(s, "detect-zeroes", a->zeroes);
    DriveSpec *d = drive_parse("rhea-nbd", s->str, err);
    if (!d) {
        return NULL;
    }
    BlockOptions o = *d->opts;
    Options *tree = NULL;
    if (a->image_opts) {
        tree = options_parse("--image-opts", a->image, "driver", err);
        if (!tree) {
            drive_free(d);
            return NULL;
        }
        o.tree = tree;
    }
    o.file = d->file;
    o.format = d->format;
    o.read_only = a->read_only;
    o.snapshot = a->snapshot;
    BlockDev *b = block_open(&o, err);
    options_free(tree);
    drive_free(d);
    return b;
}

/* ---- the kernel's client ---- */

static gpointer kernel_thread(gpointer arg)
{
    Run *r = arg;

    ioctl(r->device, NBD_DO_IT); /* until somebody disconnects */
    ioctl(r->device, NBD_CLEAR_QUE);
    ioctl(r->device, NBD_CLEAR_SOCK);
    g_main_loop_quit(r->loop);
    return NULL;
}

static bool attach_kernel(Run *r, GError **err)
{
    const char *path = r->a->kernel;
    uint64_t size;
    uint16_t flags;
    int pair[2];

    r->device = open(path, O_RDWR | O_CLOEXEC);
    if (r->device < 0) {
        return fail(err, "%s: %s%s", path, g_strerror(errno),
                    errno == ENOENT ? " (is the kernel module nbd loaded?)" : "");
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        return fail(err, "%s: %s", path, g_strerror(errno));
    }
    if (!nbd_server_kernel(r->server, pair[0], r->a->name, &size, &flags, err)) {
        return false;
    }
    if (ioctl(r->device, NBD_SET_SOCK, pair[1]) || ioctl(r->device, NBD_SET_BLKSIZE, 512ul) ||
        ioctl(r->device, NBD_SET_SIZE_BLOCKS, (unsigned long)(size / 512)) ||
        ioctl(r->device, NBD_SET_FLAGS, (unsigned long)flags)) {
        int e = errno;
        ioctl(r->device, NBD_CLEAR_SOCK);
        close(pair[1]);
        return fail(err, "%s: %s", path, e == EBUSY ? "it is in use" : g_strerror(e));
    }
    close(pair[1]); /* the kernel has it */
    g_thread_unref(g_thread_new("nbd-kernel", kernel_thread, r));
    return true;
}

static bool detach_kernel(const char *path, GError **err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return fail(err, "%s: %s", path, g_strerror(errno));
    }
    bool ok = (ioctl(fd, NBD_CLEAR_QUE) == 0 && ioctl(fd, NBD_DISCONNECT) == 0 &&
               ioctl(fd, NBD_CLEAR_SOCK) == 0) ||
              fail(err, "%s: %s", path, g_strerror(errno));
    close(fd);
    return ok;
}

/* ---- running ---- */

static gboolean on_signal(gpointer arg)
{
    g_main_loop_quit(arg);
    return G_SOURCE_CONTINUE;
}

static void on_clients(void *opaque, unsigned n)
{
    Run *r = opaque;

    if (r->a->verbose) {
        info_report("%u clients", n);
    }
    r->had_client |= n > 0;
    if (n == 0 && r->had_client && !r->a->persistent) {
        g_main_loop_quit(r->loop);
    }
}

/* The child's side of --fork tells the parent by one byte that it is ready. */
static bool go_to_background(int *ready, GError **err)
{
    int fds[2];
    char byte;

    if (pipe2(fds, O_CLOEXEC)) {
        return fail(err, "--fork: %s", g_strerror(errno));
    }
    pid_t pid = fork();
    if (pid < 0) {
        return fail(err, "--fork: %s", g_strerror(errno));
    }
    if (pid > 0) {
        close(fds[1]);
        ssize_t n = read(fds[0], &byte, 1);
        _exit(n == 1 ? 0 : 1); /* the child has said why */
    }
    close(fds[0]);
    setsid();
    *ready = fds[1];
    return true;
}

static bool is_ready(const Args *a, int ready, GError **err)
{
    g_autofree char *pid = g_strdup_printf("%d\n", (int)getpid());

    if (a->pid_file && !g_file_set_contents(a->pid_file, pid, -1, err)) {
        return false;
    }
    if (ready < 0) {
        return true;
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, 0);
        dup2(null, 1);
        if (!a->verbose) {
            dup2(null, 2);
        }
        close(null);
    }
    bool ok = write(ready, "", 1) == 1;
    close(ready);
    return ok || fail(err, "--fork: the parent is gone");
}

static bool serve(const Args *a, GError **err)
{
    Run r = {.a = a, .device = -1};
    int ready = -1;

    if (a->fork && !go_to_background(&ready, err)) {
        return false;
    }
    r.loop = g_main_loop_new(NULL, FALSE);
    const NbdServerConfig cfg = {
        .path = a->socket,
        .host = a->bind,
        .port = a->kernel || a->socket ? NULL
                : a->port              ? a->port
                                       : "10809",
        .max_clients = a->clients,
        .clients = on_clients,
        .opaque = &r,
    };
    const NbdExportConfig export = {
        .name = a->name, .description = a->description, .writable = !a->read_only};
    machine_lock();
    bool ok = (r.block = open_image(a, err)) != NULL;
    NbdExportConfig e = export;
    e.writable = ok && !block_read_only(r.block);
    ok = ok && (r.server = nbd_server_new(&cfg, err)) &&
         nbd_server_add(r.server, r.block, &e, err) && (!a->kernel || attach_kernel(&r, err));
    machine_unlock();
    ok = ok && is_ready(a, ready, err);
    if (ok) {
        g_unix_signal_add(SIGINT, on_signal, r.loop);
        g_unix_signal_add(SIGTERM, on_signal, r.loop);
        g_unix_signal_add(SIGHUP, on_signal, r.loop);
        g_main_loop_run(r.loop);
        if (r.device >= 0) {
            ioctl(r.device, NBD_DISCONNECT);
        }
        if (a->pid_file) {
            unlink(a->pid_file);
        }
    }
    machine_lock();
    nbd_server_free(r.server);
    block_close(r.block);
    machine_unlock();
    g_main_loop_unref(r.loop);
    return ok;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    Args a;

    g_set_prgname("rhea-nbd");
    signal(SIGPIPE, SIG_IGN);
    bool ok = parse_args(&a, argc, argv, &err) &&
              (a.detach ? detach_kernel(a.detach, &err) : serve(&a, &err));
    if (!ok) {
        error_report("%s", err ? err->message : "failed");
    }
    return ok ? 0 : 1;
}
