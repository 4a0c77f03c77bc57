/* Monitor: expressions, commands, line editing, QMP. */
#include "fake-target.h"
#include "monitor/monitor.h"
#include "monitor/readline.h"
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static Machine *m;
static MemRegion ram;

static void begin(void)
{
    machine_lock();
    m = fake_machine(&ram, 2);
    FakeCpu *c = (FakeCpu *)m->vcpus[0];
    c->regs[1] = 0x1234;
    c->pc = 0x7c00;
    ((FakeCpu *)m->vcpus[1])->regs[1] = 99;
}

static void end(void)
{
    monitor_cleanup();
    chardev_cleanup();
    mem_region_destroy(&ram);
    machine_free(m);
    machine_unlock();
}

/* What @line prints. */
static char *run(const char *line)
{
    static char *last;
    int cpu = 0;

    g_free(last);
    last = monitor_hmp_line(m, &cpu, line);
    return last;
}

#define says(line, want) g_assert_cmpstr(run(line), ==, want)
#define contains(line, want) g_assert_nonnull(strstr(run(line), want))

static void test_expressions(void)
{
    begin();
    says("print 1+2*3", "7\n");
    says("p (1+2)*3", "9\n");
    says("p 0x10 + 010", "24\n");
    says("p 7 - 10", "-3\n");
    says("p/x -1", "0xffffffffffffffff\n");
    says("p/x 0xf0 | 0xf & 3 ^ 1", "0xf2\n");
    says("p/x 1 << 12", "0x1000\n");
    says("p/x ~0 >> 60", "0xf\n");
    says("p 17 % 5", "2\n");
    says("p 'A'", "65\n");
    says("p/c 65", "'A'\n");
    says("p/x $r1", "0x1234\n");
    says("p/x $r1+1", "0x1235\n");
    says("p/x $pc", "0x7c00\n");
    says("p/u -1", "18446744073709551615\n");
    says("p/o 8", "010\n");
    contains("p 1/0", "division by zero");
    contains("p 1%0", "division by zero");
    contains("p $nosuch", "nosuch");
    contains("p 12monkeys", "12monkeys");
    contains("p (1", "')'");
    contains("p", "missing");
    contains("p 1 2", "2");
    contains("p/q 1", "format");
    contains("p 99999999999999999999999", "no number");
    /* Deep nesting ends in a message. */
    GString *s = g_string_new("p ");
    for (int i = 0; i < 10000; i++) {
        g_string_append_c(s, '(');
    }
    contains(s->str, "nested");
    g_string_free(s, TRUE);
    end();
}

static void test_memory(void)
{
    g_autofree char *path = g_strdup_printf("%s/rhea-hmp-%d", g_get_tmp_dir(), getpid());
    g_autofree char *line = g_strdup_printf("pmemsave 0x1000 4 \"%s\"", path);
    g_autofree char *data = NULL;
    gsize len;

    begin();
    mem_write(m->memory, 0x1000, "\x01\x02\x03\x84\x05\x06\x07\x08", 8);
    says("xp 0x1000", "0000000000001000: 0x84030201\n");
    says("xp/2wx 0x1000", "0000000000001000: 0x84030201 0x08070605\n");
    says("x/4bx 0x1000", "0000000000001000: 0x01 0x02 0x03 0x84\n");
    says("xp/1gx 0x1000", "0000000000001000: 0x0807060584030201\n");
    says("xp/1bd 0x1003", "0000000000001003: -124\n");
    says("xp/1hu 0x1000", "0000000000001000: 513\n");
    says("xp/5wx 0x2000", "0000000000002000: 0x00000000 0x00000000 0x00000000 0x00000000\n"
                          "0000000000002010: 0x00000000\n");
    contains("x/x 0x200000", "Cannot access memory");
    contains("xp/70000x 0", "count");
    says("gva2gpa 0x1234", "gpa: 0x1234\n");
    says("gva2gpa 0x1234567", "Unmapped\n");
    says("sum 0x1000 2", "32770\n"); /* (1 rotated right) + 2 */
    says(line, "");
    g_assert_true(g_file_get_contents(path, &data, &len, NULL));
    g_assert_cmpmem(data, len, "\x01\x02\x03\x84", 4);
    g_unlink(path);
    contains("pmemsave 0 1 /nonexistent/f", "/nonexistent/f");
    says("i/1bx 0x80", "portb[0x0080] = 0xff\n");
    says("o/1b 0x80 1", "");
    end();
}

static void test_info(void)
{
    begin();
    says("info status", "VM status: paused (prelaunch)\n");
    contains("info registers", "R0=");
    contains("info registers -a", "CPU#1");
    contains("info cpus", "* CPU #0:");
    contains("info cpus", "  CPU #1:");
    contains("info mtree", "ram");
    contains("info mtree -f", "ram");
    contains("info version", "Rhea");
    says("info uuid", "00000000-0000-0000-0000-000000000000\n");
    says("info kvm", "kvm support: disabled\n");
    contains("info qtree", "main-system-bus");
    chardev_new_from_opts("null,id=c1", NULL);
    says("info chardev", "c1: filename=null\n");
    contains("info mice", "No mouse");
    contains("info nosuch", "unknown command: 'info nosuch'");
    contains("info", "info status");
    contains("nosuch", "unknown command: 'nosuch'");
    says("", "");
    says("   ", "");
    contains("help", "system_reset");
    contains("help info", "info registers");
    contains("help info cpus", "info cpus");
    contains("? x", "x /fmt addr");
    contains("help nosuch", "nosuch");
    end();
}

static void test_control(void)
{
    int cpu = 0;

    begin();
    g_autofree char *s = monitor_hmp_line(m, &cpu, "cpu 1");
    g_assert_cmpstr(s, ==, "");
    g_assert_cmpint(cpu, ==, 1);
    g_autofree char *v = monitor_hmp_line(m, &cpu, "p $r1");
    g_assert_cmpstr(v, ==, "99\n");
    contains("cpu 2", "invalid CPU");
    says("cont", "");
    g_assert_true(machine_running(m));
    says("info status", "VM status: running\n");
    says("stop", "");
    says("info status", "VM status: paused\n");
    says("c", "");
    says("s", "");
    contains("stop now", "extra text");
    contains("sendkey ctrl-x", "no keyboard");
    contains("sendkey bogus", "bogus");
    contains("screendump /tmp/x", "no console");
    contains("device_add e1000", "cannot be added");
    contains("device_del x", "not found");
    contains("gdbserver", "no gdb server");
    contains("log nosuch", "nosuch");
    says("log none", "");
    contains("trace-event x maybe", "maybe");
    says("chardev-add null,id=n", "");
    contains("chardev-add null,id=n", "exists");
    says("chardev-remove n", "");
    contains("chardev-remove n", "no chardev");
    end();
}

/* ---- line editing ---- */

static GString *printed, *lines;

static void rl_print(void *opaque, const char *text)
{
    g_string_append(printed, text);
}

static void rl_line(void *opaque, const char *line)
{
    g_string_append(lines, line);
    g_string_append_c(lines, '|');
}

static char **rl_complete(void *opaque, const char *line)
{
    static const char *const words[] = {"system_powerdown", "system_reset", "stop", NULL};
    GPtrArray *a = g_ptr_array_new();

    for (unsigned i = 0; words[i]; i++) {
        if (g_str_has_prefix(words[i], line)) {
            g_ptr_array_add(a, g_strdup(words[i]));
        }
    }
    g_ptr_array_add(a, NULL);
    return (char **)g_ptr_array_free(a, FALSE);
}

static const ReadlineOps rl_ops = {rl_print, rl_line, rl_complete};

static void typed(const char *keys, const char *want)
{
    Readline *rl = readline_new("> ", &rl_ops, NULL);

    printed = g_string_new(NULL);
    lines = g_string_new(NULL);
    for (; *keys; keys++) {
        readline_input(rl, *keys);
    }
    g_assert_cmpstr(lines->str, ==, want);
    readline_free(rl);
    g_string_free(printed, TRUE);
    g_string_free(lines, TRUE);
}

static void test_readline(void)
{
    typed("abc\r", "abc|");
    typed("abc\r\ndef\n\n", "abc|def||");
    typed("abc\b\x7f"
          "d\r",
          "ad|");
    typed("world\001hello \005!\r", "hello world!|");
    typed("ab\033[D\033[DX\033[CY\r", "XaYb|");
    typed("abc\001\013x\r", "x|");
    typed("one two\027three\r", "one three|");
    typed("gone\025kept\r", "kept|");
    typed("abc\001\004\r", "bc|");
    typed("abc\033[H\033[3~\r", "bc|");
    typed("first\rsecond\r\033[A\033[A\r", "first|second|first|");
    typed("first\rsecond\r\020\020\016\r", "first|second|second|");
    typed("typed\r\new\033[A\033[B!\r", "typed|ew!|");
    typed("sy\tp\t\r", "system_powerdown |");
    typed("sto\t\r", "stop |");
    typed("x\003y\r", "y|");
    typed("nothing\t\r", "nothing|");
}

/* ---- terminals ---- */

static void spin(void)
{
    machine_unlock();
    if (!g_main_context_iteration(NULL, FALSE)) {
        g_usleep(500);
    }
    machine_lock();
}

/* Until what came from @fd ends in @tail; caller frees. */
static char *read_until(int fd, const char *tail)
{
    GString *s = g_string_new(NULL);
    gint64 limit = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;
    char buf[4096];

    while (!g_str_has_suffix(s->str, tail) && g_get_monotonic_time() < limit) {
        ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n > 0) {
            g_string_append_len(s, buf, n);
        } else {
            spin();
        }
    }
    if (!g_str_has_suffix(s->str, tail)) {
        g_test_message("got: %s", s->str);
        g_test_fail();
    }
    return g_string_free(s, FALSE);
}

static int terminal(bool qmp)
{
    int sv[2];
    GError *err = NULL;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    g_autofree char *opts = g_strdup_printf("socket,id=mon,fd=%d", sv[0]);
    Chardev *c = chardev_new_from_opts(opts, &err);
    g_assert_no_error(err);
    g_assert_true(qmp ? monitor_attach_qmp(m, c, &err) : monitor_attach_hmp(m, c, &err));
    return sv[1];
}

static void say(int fd, const char *text)
{
    g_assert_cmpint(send(fd, text, strlen(text), MSG_NOSIGNAL), ==, strlen(text));
}

static void test_terminal(void)
{
    begin();
    int fd = terminal(false);
    g_autofree char *hello = read_until(fd, "(qemu) ");
    g_assert_nonnull(strstr(hello, "monitor - type 'help' for more information\r\n"));
    say(fd, "info status\n");
    g_autofree char *status = read_until(fd, "\r\n(qemu) ");
    g_assert_cmpstr(status, ==, "info status\r\nVM status: paused (prelaunch)\r\n(qemu) ");
    /* Much output to a slow reader: all of it arrives. */
    say(fd, "xp/65536bx 0\n");
    for (int i = 0; i < 100; i++) {
        spin();
    }
    g_autofree char *dump = read_until(fd, "\r\n(qemu) ");
    g_assert_cmpint(strlen(dump), >, 65536 * 5);
    close(fd);
    end();
}

static void expect_reply(int fd, const char *request, const char *reply)
{
    say(fd, request);
    g_autofree char *got = read_until(fd, "}\r\n");

    if (strcmp(got, reply)) {
        g_assert_cmpstr(got, ==, reply);
    }
}

static void test_qmp(void)
{
    begin();
    int fd = terminal(true);
    g_autofree char *hello = read_until(fd, "\r\n");
    g_assert_true(g_str_has_prefix(hello, "{\"QMP\":{\"version\":{\"qemu\":{"));
    expect_reply(fd, "{\"execute\":\"query-status\"}",
                 "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"Expecting capabilities "
                 "negotiation with 'qmp_capabilities'\"}}\r\n");
    expect_reply(fd, "{ 'execute': 'qmp_capabilities' }\n", "{\"return\":{}}\r\n");
    expect_reply(fd, "{\"execute\":\"query-status\",\"id\":7}\r\n",
                 "{\"return\":{\"status\":\"prelaunch\",\"running\":false,\"singlestep\":false},"
                 "\"id\":7}\r\n");
    expect_reply(fd, "{\"execute\":\"nosuch\",\"id\":\"x\"}",
                 "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"The command nosuch has not "
                 "been found\"},\"id\":\"x\"}\r\n");
    expect_reply(fd,
                 "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info "
                 "status\"}}",
                 "{\"return\":\"VM status: paused (prelaunch)\\r\\n\"}\r\n");
    expect_reply(fd, "{\"execute\":\"device-list-properties\",\"arguments\":{\"typename\":\"no\"}}",
                 "{\"error\":{\"class\":\"DeviceNotFound\",\"desc\":\"Device 'no' not found\"}}"
                 "\r\n");
    expect_reply(fd, "{\"execute\":\"human-monitor-command\"}",
                 "{\"error\":{\"class\":\"GenericError\",\"desc\":\"Parameter 'command-line' is "
                 "missing\"}}\r\n");
    expect_reply(
        fd, "garbage\n",
        "{\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON parse error, invalid token "
        "near 'garbage'\"}}\r\n");
    expect_reply(fd, "[1,{}]",
                 "{\"error\":{\"class\":\"GenericError\",\"desc\":\"QMP input must be "
                 "a JSON object\"}}\r\n");
    /* Several in one line, with events before the answer. */
    say(fd, "{\"execute\":\"cont\"}{\"execute\":\"stop\"}");
    g_autofree char *both = read_until(fd, "{\"return\":{}}\r\n");
    if (!strstr(both, "STOP")) {
        g_autofree char *more = read_until(fd, "{\"return\":{}}\r\n");
        g_autofree char *all = g_strconcat(both, more, NULL);
        g_free(both);
        both = g_steal_pointer(&all);
    }
    char *resume = strstr(both, "\"event\":\"RESUME\"}\r\n{\"return\":{}}\r\n");
    g_assert_nonnull(resume);
    g_assert_nonnull(strstr(resume, "\"event\":\"STOP\"}\r\n{\"return\":{}}\r\n"));
    expect_reply(fd, "{\"execute\":\"query-uuid\"}",
                 "{\"return\":{\"UUID\":\"00000000-0000-0000-0000-000000000000\"}}\r\n");
    close(fd);
    end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hmp/expressions", test_expressions);
    g_test_add_func("/hmp/memory", test_memory);
    g_test_add_func("/hmp/info", test_info);
    g_test_add_func("/hmp/control", test_control);
    g_test_add_func("/hmp/readline", test_readline);
    g_test_add_func("/hmp/terminal", test_terminal);
    g_test_add_func("/qmp/session", test_qmp);
    return g_test_run();
}
