/* Parallel port against the PC/AT technical reference. */
#include "hw/char/parallel.h"
#include "isa-fixture.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BASE 0x378

static void start(IsaFixture *f, const char *opts)
{
    fixture_init(f);
    Chardev *c = opts ? chardev_new_from_opts(opts, NULL) : NULL;
    g_assert_nonnull(parallel_new_isa(&f->isa, BASE, 7, c, NULL));
}

static void stop(IsaFixture *f)
{
    fixture_fini(f);
    machine_lock();
    chardev_cleanup();
    machine_unlock();
}

static void print(IsaFixture *f, uint8_t c, uint8_t control)
{
    outb(f, BASE, c);
    outb(f, BASE + 2, control | 1);
    outb(f, BASE + 2, control);
}

static void test_print(void)
{
    IsaFixture f;
    uint8_t buf[8];

    start(&f, "ringbuf,id=p");
    Chardev *c = chardev_find("p");
    g_assert_cmphex(inb(&f, BASE + 2), ==, 0xcc);        /* select, not init; unused bits read 1 */
    g_assert_cmphex(inb(&f, BASE + 1) & 0xf8, ==, 0xd8); /* ready, on line, no error */
    outb(&f, BASE, 'x');
    g_assert_cmphex(inb(&f, BASE), ==, 'x');
    g_assert_cmpint(chardev_ringbuf_read(c, buf, 8), ==, 0); /* no strobe yet */
    print(&f, 'a', 0x0c);
    print(&f, 'b', 0x0c);
    g_assert_cmpint(chardev_ringbuf_read(c, buf, 8), ==, 2);
    g_assert_cmpmem(buf, 2, "ab", 2);
    g_assert_cmpint(f.edges[7], ==, 0);
    print(&f, 'c', 0x1c); /* acknowledged by an interrupt */
    g_assert_cmpint(f.edges[7], ==, 1);
    /* INIT low: the printer is not ready, strobes are ignored. */
    outb(&f, BASE + 2, 0x08);
    g_assert_cmphex(inb(&f, BASE + 1) & 0x80, ==, 0);
    print(&f, 'd', 0x08);
    g_assert_cmpint(chardev_ringbuf_read(c, buf, 8), ==, 1);
    /* Input direction: the data pins float. */
    outb(&f, BASE + 2, 0x2c);
    g_assert_cmphex(inb(&f, BASE), ==, 0xff);
    stop(&f);
}

static void test_nothing_connected(void)
{
    IsaFixture f;

    start(&f, NULL);
    g_assert_cmphex(inb(&f, BASE + 1) & 0x80, ==, 0);
    print(&f, 'a', 0x0c);
    stop(&f);
}

/* A back end that takes no more: BUSY, until it does. */
static void test_busy(void)
{
    IsaFixture f;
    int sv[2];
    char buf[65536];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    g_autofree char *opts = g_strdup_printf("socket,id=p,fd=%d", sv[0]);
    start(&f, opts);
    size_t n = 0;
    while ((inb(&f, BASE + 1) & 0x80) && n < 8 << 20) {
        print(&f, 'z', 0x0c);
        n++;
    }
    g_assert_cmpint(n, <, 8 << 20);
    size_t got = 0;
    gint64 end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;
    while (!(inb(&f, BASE + 1) & 0x80) && g_get_monotonic_time() < end) {
        ssize_t r = recv(sv[1], buf, sizeof(buf), MSG_DONTWAIT);
        got += r > 0 ? r : 0;
        machine_unlock();
        g_main_context_iteration(NULL, FALSE);
        machine_lock();
    }
    g_assert_cmphex(inb(&f, BASE + 1) & 0x80, ==, 0x80);
    while (got < n && g_get_monotonic_time() < end) {
        ssize_t r = recv(sv[1], buf, sizeof(buf), MSG_DONTWAIT);
        got += r > 0 ? r : 0;
        machine_unlock();
        g_main_context_iteration(NULL, FALSE);
        machine_lock();
    }
    g_assert_cmpint(got, ==, n); /* nothing was lost */
    close(sv[1]);
    stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/parallel/print", test_print);
    g_test_add_func("/parallel/nothing-connected", test_nothing_connected);
    g_test_add_func("/parallel/busy", test_busy);
    return g_test_run();
}
