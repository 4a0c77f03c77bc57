/* Monitor lines (first byte 0), keys at the line editor (1), QMP text (2). */
#include "../unit/fake-target.h"
#include "monitor/monitor.h"
#include "monitor/readline.h"
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Commands that touch the host's files, or start and stop things. */
static bool harmless(const char *line)
{
    static const char *const not [] = {"save",  "dump", "log",  "chardev-add", "device",
                                       "trace", "quit", "q",    "gdb",         "screen",
                                       "cont",  "c",    "stop", "sum"};

    line += strspn(line, " \t");
    for (size_t i = 0; i < G_N_ELEMENTS(not ); i++) {
        if (strstr(line, not [i]) && strncmp(line, "info", 4) && strncmp(line, "p", 1) &&
            strncmp(line, "x", 1) && strncmp(line, "help", 4) && strncmp(line, "sendkey", 7)) {
            return false;
        }
    }
    return !strstr(line, "save");
}

static void rl_print(void *opaque, const char *text)
{
}

static void rl_line(void *opaque, const char *line)
{
}

static char **rl_complete(void *opaque, const char *line)
{
    static const char *const some[] = {"system_powerdown", "system_reset", "x", NULL};

    return g_strdupv((char **)some);
}

static const ReadlineOps ops = {rl_print, rl_line, rl_complete};

static void keys(const uint8_t *data, size_t size)
{
    Readline *rl = readline_new("> ", &ops, NULL);

    for (size_t i = 0; i < size; i++) {
        readline_input(rl, data[i]);
    }
    readline_free(rl);
}

static void qmp(Machine *m, const uint8_t *data, size_t size)
{
    static const char hello[] = "{\"execute\":\"qmp_capabilities\"}";
    Chardev *c = chardev_new_from_opts("ringbuf,id=q,size=4096", NULL);

    /* No command that the text may hold writes files: screendump has no console. */
    monitor_attach_qmp(m, c, NULL);
    chardev_ringbuf_inject(c, (const uint8_t *)hello, strlen(hello));
    chardev_ringbuf_inject(c, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MemRegion ram;
    int cpu = 0;

    if (!size || size > 4000) {
        return 0;
    }
    if (data[0] % 3 == 1) {
        keys(data + 1, size - 1);
        return 0;
    }
    if (data[0] % 3 == 2 && g_strstr_len((const char *)data, (gssize)size, "save")) {
        return 0;
    }
    machine_lock();
    Machine *m = fake_machine(&ram, 2);
    if (data[0] % 3 == 0) {
        g_autofree char *text = g_strndup((const char *)data + 1, size - 1);
        g_auto(GStrv) lines = g_strsplit(text, "\n", 8);
        for (char **l = lines; *l; l++) {
            if (harmless(*l)) {
                g_free(monitor_hmp_line(m, &cpu, *l));
            }
        }
    } else if (!g_strstr_len((const char *)data, (gssize)size, "human-monitor")) {
        qmp(m, data + 1, size - 1);
    }
    monitor_cleanup();
    chardev_cleanup();
    mem_region_destroy(&ram);
    machine_free(m);
    machine_unlock();
    return 0;
}
