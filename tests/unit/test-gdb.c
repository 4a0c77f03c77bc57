/* GDB stub: packets as the GDB manual's appendix E has them. */
#include "system/gdbstub.c"

#include "fake-target.h"
#include <sys/socket.h>
#include <unistd.h>

static Machine *m;
static MemRegion ram;
static int fd;

static void spin(void)
{
    machine_unlock();
    if (!g_main_context_iteration(NULL, FALSE)) {
        g_usleep(200);
    }
    machine_lock();
}

static void begin(void)
{
    int sv[2];
    GError *err = NULL;

    machine_lock();
    m = fake_machine(&ram, 2);
    for (unsigned i = 0; i < 4; i++) {
        ((FakeCpu *)m->vcpus[0])->regs[i] = 0x1111111111111111 * i;
    }
    ((FakeCpu *)m->vcpus[0])->pc = 0x8000;
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    g_autofree char *opts = g_strdup_printf("socket,id=g,fd=%d", sv[0]);
    g_assert_nonnull(chardev_new_from_opts(opts, &err));
    g_assert_true(gdbstub_start(m, "chardev:g", &err));
    fd = sv[1];
}

static void end(void)
{
    close(fd);
    gdbstub_cleanup();
    chardev_cleanup();
    mem_region_destroy(&ram);
    machine_free(m);
    machine_unlock();
}

static void say(const char *text, size_t len)
{
    g_assert_cmpint(send(fd, text, len, MSG_NOSIGNAL), ==, len);
}

static void send_packet(const char *body, size_t len)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += body[i];
    }
    g_autofree char *tail = g_strdup_printf("#%02x", sum);
    say("$", 1);
    say(body, len);
    say(tail, 3);
}

/* The next packet's contents, acknowledgements left out; "" after two seconds. */
static char *receive_packet(void)
{
    GString *s = g_string_new(NULL);
    gint64 limit = g_get_monotonic_time() + 2 * G_USEC_PER_SEC;
    unsigned tail = 0;
    bool in = false;
    char c;

    while (tail < 3 && g_get_monotonic_time() < limit) {
        if (recv(fd, &c, 1, MSG_DONTWAIT) != 1) {
            spin();
        } else if (!in) {
            in = c == '$';
        } else if (c == '#' || tail) {
            tail++;
        } else {
            g_string_append_c(s, c);
        }
    }
    return g_string_free(s, FALSE);
}

static void check(const char *request, const char *reply)
{
    send_packet(request, strlen(request));
    g_autofree char *got = receive_packet();
    g_assert_cmpstr(got, ==, reply);
}

static void test_registers(void)
{
    begin();
    check("?", "T02thread:01;");
    check("g", "0000000000000000"
               "1111111111111111"
               "2222222222222222"
               "3333333333333333"
               "0080000000000000");
    check("p1", "1111111111111111");
    check("p5", "E14");
    check("pffffffff", "E14");
    check("P2=0102030405060708", "OK");
    check("p2", "0102030405060708");
    check("P9=00", "E14");
    check("G"
          "0a00000000000000"
          "0b00000000000000",
          "OK");
    check("p0", "0a00000000000000");
    check("p1", "0b00000000000000");
    end();
}

static void test_memory(void)
{
    begin();
    check("M100,4:de12beef", "OK");
    check("m100,4", "de12beef");
    check("m101,2", "12be");
    send_packet("X200,4:a}\x03}\x5dz", 13);
    g_autofree char *ok = receive_packet();
    g_assert_cmpstr(ok, ==, "OK");
    check("m200,4", "61237d7a");
    /* Past the end of what is mapped: as much as there is. */
    check("mffffe,8", "0000");
    check("m200000,4", "E14");
    check("M200000,1:00", "E14");
    check("m0,ffffffff", "E22");
    check("mxyz", "E22");
    check("M100,4:de", "E22");
    check("Qqemu.PhyMemMode:1", "OK");
    check("qqemu.PhyMemMode", "1");
    check("m100,1", "de");
    end();
}

static void test_queries(void)
{
    begin();
    check("qfThreadInfo", "m1,2");
    check("qsThreadInfo", "l");
    check("qC", "QC1");
    check("Hg2", "OK");
    check("qC", "QC2");
    check("p1", "0000000000000000");
    check("Hg3", "E22");
    check("Hg0", "OK");
    check("T1", "OK");
    check("T7", "E22");
    check("vCont?", "vCont;c;C;s;S");
    check("vMustReplyEmpty", "");
    check("qNothing", "");
    check("qAttached", "1");
    check("qXfer:features:read:target.xml:0,6", "m<?xml ");
    check("qXfer:features:read:nosuch:0,6", "E00");
    send_packet("qRcmd,696e666f20737461747573", 28); /* info status */
    g_autofree char *out = receive_packet(), *ok = receive_packet();
    g_assert_cmpint(out[0], ==, 'O');
    g_assert_nonnull(strstr(out, "564d20737461747573")); /* "VM status" */
    g_assert_cmpstr(ok, ==, "OK");
    end();
}

static void test_breakpoints(void)
{
    VCpuWatch *w;

    begin();
    check("Z0,8000,1", "OK");
    check("Z0,8000,1", "OK"); /* twice is once */
    check("Z1,9000,1", "OK");
    g_assert_cmpint(m->vcpus[1]->breakpoints->len, ==, 2);
    check("z0,8000,1", "OK");
    g_assert_cmpint(m->vcpus[0]->breakpoints->len, ==, 1);
    g_assert_cmphex(g_array_index(m->vcpus[0]->breakpoints, uint64_t, 0), ==, 0x9000);
    check("Z2,1000,4", "OK");
    check("Z4,2000,8", "OK");
    w = &g_array_index(m->vcpus[0]->watchpoints, VCpuWatch, 0);
    g_assert_true(w->addr == 0x1000 && w->len == 4 && w->on_write && !w->on_read);
    check("z2,1000,4", "OK");
    g_assert_cmpint(m->vcpus[0]->watchpoints->len, ==, 1);
    check("Z5,0,0", "");
    check("Z0,zz", "E22");
    check("D", "OK");
    g_assert_cmpint(m->vcpus[0]->breakpoints->len, ==, 0);
    g_assert_cmpint(m->vcpus[0]->watchpoints->len, ==, 0);
    g_assert_true(machine_running(m));
    end();
}

static void test_running(void)
{
    begin();
    send_packet("vCont;s:1;c", 11);
    for (int i = 0; i < 50 && !machine_running(m); i++) {
        spin();
    }
    g_assert_true(machine_running(m));
    g_assert_true(m->vcpus[0]->debug_step);
    g_assert_false(m->vcpus[1]->debug_step);
    /* The step is done. */
    m->vcpus[0]->debug_hit = VCPU_DEBUG_STEP;
    machine_stop(m, RUN_DEBUG);
    g_autofree char *stop1 = receive_packet();
    g_assert_cmpstr(stop1, ==, "T05thread:01;");
    g_assert_false(m->vcpus[0]->debug_step);
    /* A watchpoint on the second CPU. */
    check("Z3,100,4", "OK");
    send_packet("c", 1);
    for (int i = 0; i < 50 && !machine_running(m); i++) {
        spin();
    }
    m->vcpus[1]->debug_hit = VCPU_DEBUG_WATCH;
    m->vcpus[1]->debug_addr = 0x102;
    machine_stop(m, RUN_DEBUG);
    g_autofree char *stop2 = receive_packet();
    g_assert_cmpstr(stop2, ==, "T05thread:02;rwatch:102;");
    /* Ctrl-C. */
    send_packet("c", 1);
    for (int i = 0; i < 50 && !machine_running(m); i++) {
        spin();
    }
    say("\x03", 1);
    g_autofree char *stop3 = receive_packet();
    g_assert_true(g_str_has_prefix(stop3, "T02thread:"));
    g_assert_false(machine_running(m));
    check("vCont;x", "E22");
    check("vCont", "E22");
    end();
}

static void test_framing(void)
{
    char c;

    begin();
    /* A wrong checksum is refused, then the right packet goes through. */
    say("$g#00", 5);
    gint64 limit = g_get_monotonic_time() + 2 * G_USEC_PER_SEC;
    while (recv(fd, &c, 1, MSG_DONTWAIT) != 1 && g_get_monotonic_time() < limit) {
        spin();
    }
    g_assert_cmpint(c, ==, '-');
    /* Noise, an unfinished packet, an empty one. */
    say("noise+++$m10", 12);
    check("qC", "QC1");
    check("", "");
    /* Asked for it again. */
    check("qC", "QC1");
    say("-", 1);
    g_autofree char *again = receive_packet();
    g_assert_cmpstr(again, ==, "QC1");
    check("QStartNoAckMode", "OK");
    /* Longer than any packet may be. */
    g_autofree char *big = g_strnfill(40000, 'A');
    say("$", 1);
    for (size_t i = 0; i < 40000; i += 1000) {
        say(big + i, 1000);
        spin();
    }
    say("#00", 3);
    check("qC", "QC1");
    end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gdb/registers", test_registers);
    g_test_add_func("/gdb/memory", test_memory);
    g_test_add_func("/gdb/queries", test_queries);
    g_test_add_func("/gdb/breakpoints", test_breakpoints);
    g_test_add_func("/gdb/running", test_running);
    g_test_add_func("/gdb/framing", test_framing);
    return g_test_run();
}
