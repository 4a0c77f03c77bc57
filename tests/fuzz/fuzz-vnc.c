/*
 * VNC: bytes of a client. The first byte chooses the encoding, the second one how far the
 * handshake is done already; the console changes between pieces of input.
 */
#include "core/machine.h"
#include "ui/input.h"
#include "ui/vnc-internal.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ConsoleOps con_ops = {0};

static void on_key(void *opaque, unsigned code, bool down)
{
    if (!code || code > 255) {
        abort();
    }
}

static void on_rel(void *opaque, int dx, int dy)
{
}

static void on_button(void *opaque, unsigned button, bool down)
{
}

static void pump(int fd)
{
    static uint8_t sink[65536];

    for (int i = 0; i < 50 && g_main_context_iteration(NULL, FALSE); i++) {
        while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0) {
        }
    }
}

static void draw(Console *con, unsigned seed)
{
    int stride, w = console_width(con), h = console_height(con);
    uint32_t *p = console_pixels(con, &stride);

    for (int i = 0; i < w * h; i++) {
        p[i / w * stride + i % w] = (i % (seed % 29 + 1)) * 0x10305u * seed;
    }
    console_dirty(con, 0, 0, w, h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const InputHandler h = {.name = "fuzz",
                                   .kinds = INPUT_KEYS | INPUT_REL,
                                   .key = on_key,
                                   .rel = on_rel,
                                   .button = on_button};
    static const uint8_t encs[] = {VNC_ENC_RAW, VNC_ENC_HEXTILE, VNC_ENC_ZLIB, VNC_ENC_TIGHT,
                                   VNC_ENC_ZRLE};
    int sv[2];

    if (size < 2 || size > 4096 || socketpair(AF_UNIX, SOCK_STREAM, 0, sv)) {
        return 0;
    }
    uint8_t set[8] = {2, 0, 0, 1, 0, 0, 0, encs[data[0] % sizeof(encs)]};
    machine_lock();
    Machine *m = machine_new(NULL, NULL);
    Console *con = console_new(m, "fuzz", &con_ops, NULL);
    console_resize(con, 70, 40);
    InputSlot *slot = input_add(m, &h, NULL);
    VncServer *s = vnc_server_new(m, NULL);
    s->lossy = data[1] & 4;
    s->ask_password = data[1] & 8;
    vnc_server_add_client(s, sv[1], "fuzz");
    if (data[1] & 1) {
        (void)!write(sv[0], "RFB 003.003\n\1", 13);
        (void)!write(sv[0], set, sizeof(set));
    }
    machine_unlock();
    size_t step = data[1] & 2 ? 1 + data[0] : size;
    for (size_t pos = 2; pos < size; pos += step) {
        machine_lock();
        if (data[0] & 0x80) {
            console_resize(con, 1 + data[pos], 1 + data[0] % 90);
        }
        draw(con, data[pos]);
        machine_unlock();
        if (send(sv[0], data + pos, MIN(step, size - pos), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
            break;
        }
        pump(sv[0]);
    }
    machine_lock();
    for (GList *l = s->clients, *next; l; l = next) {
        VncClient *c = l->data;
        next = l->next;
        if (c->in->len > 70000 || c->n_held > VNC_KEYS_HELD) {
            abort();
        }
        vnc_client_update(c);
    }
    vnc_cleanup(m);
    input_remove(slot);
    console_free(con);
    machine_free(m);
    machine_unlock();
    close(sv[0]);
    return 0;
}
