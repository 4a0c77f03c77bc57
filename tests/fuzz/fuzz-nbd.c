/*
 * Hostile NBD peers. First byte: bit 0 chooses who is fuzzed; the rest is what the other side
 * sends. Client: a server's bytes. Server: a client's, to an export of 1 MiB.
 */
#include "block/nbd-proto.h"
#include "block/nbd.h"
#include "core/log.h"
#include "core/machine.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What glib keeps for each thread looks like a leak while the thread ends: wait for ours. */
static bool threads_left(void)
{
    GDir *dir = g_dir_open("/proc/self/task", 0, NULL);
    const char *name;
    bool any = false;

    while (dir && !any && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_strdup_printf("/proc/self/task/%s/comm", name);
        g_autofree char *comm = NULL;
        any = g_file_get_contents(path, &comm, NULL, NULL) &&
              (g_str_has_prefix(comm, "nbd-") || g_str_has_prefix(comm, "peer"));
    }
    g_dir_close(dir);
    return any;
}

typedef struct Peer {
    int fd;
    const uint8_t *data;
    size_t len;
} Peer;

/* Sends everything, then reads until the other side is through. */
static gpointer peer(gpointer arg)
{
    Peer *p = arg;
    struct iovec iov = {(void *)p->data, p->len};
    char buf[4096];

    nbd_send(p->fd, &iov, 1);
    shutdown(p->fd, SHUT_WR);
    while (recv(p->fd, buf, sizeof(buf), 0) > 0) {
    }
    close(p->fd);
    return NULL;
}

static void fuzz_client(int fd)
{
    static uint8_t buf[70000];
    BlockFile f;
    BlockExtent e;

    if (!nbd_open_fd(&f, fd, "x", "fuzz", IMAGE_WRITE | IMAGE_AUTO_RO, NULL)) {
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        struct iovec iov[2] = {{buf, 1000}, {buf + 1000, 3096}};
        f.driver->read(f.file, i * 4096, iov, 2);
        f.driver->extent(f.file, i * 4096, 65536, &e);
    }
    struct iovec iov = {buf, 512};
    f.driver->write(f.file, 512, &iov, 1);
    f.driver->flush(f.file);
    f.driver->discard(f.file, 0, 65536);
    block_file_close(&f);
}

static void fuzz_server(int fd)
{
    const NbdServerConfig cfg = {0};
    const NbdExportConfig export = {.name = "", .writable = true};

    machine_lock();
    BlockDev *b = block_open_memory(NULL, 1 << 20, false);
    NbdServer *s = nbd_server_new(&cfg, NULL);
    nbd_server_add(s, b, &export, NULL);
    nbd_server_client(s, fd);
    /* The connection ends by itself: the other side sends no more. */
    while (nbd_server_clients(s)) {
        machine_unlock();
        g_main_context_iteration(NULL, FALSE);
        g_usleep(50);
        machine_lock();
    }
    nbd_server_free(s);
    block_close(b);
    machine_unlock();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    int pair[2];

    if (len < 1 || len > 65536 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        return 0;
    }
    Peer p = {pair[0], data + 1, len - 1};
    GThread *t = g_thread_new("peer", peer, &p);
    if (data[0] & 1) {
        fuzz_client(pair[1]);
    } else {
        fuzz_server(pair[1]);
    }
    g_thread_join(t);
    for (unsigned i = 0; i < 1000 && threads_left(); i++) {
        g_usleep(200);
    }
    return 0;
}
