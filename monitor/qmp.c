/*
 * QMP: JSON commands, answers and events for programs. QEMU's documents "QMP protocol
 * specification" and "QMP reference manual" describe what clients expect; lines end in CR LF.
 */
#include "monitor/qmp.h"
#include "accel/kvm/kvm.h"
#include "chardev/chardev.h"
#include "config.h"
#include "core/log.h"
#include "monitor/hmp.h"
#include "ui/console.h"
#include "ui/input.h"
#include "ui/vnc.h"
#include <jansson.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INPUT_MAX (16u << 20)
#define OUTPUT_MAX (16u << 20)

typedef struct QmpTerm {
    Machine *m;
    ChardevFront *front;
    bool ready; /* qmp_capabilities was given */
    int cpu;    /* of human-monitor-command */
    /* Text of one JSON value being received, in double quotes. */
    GString *in;
    unsigned depth;
    char quote; /* of the string we are in, or 0 */
    bool escape, started;
    GByteArray *out;
} QmpTerm;

typedef struct NamedFd {
    char *name;
    int fd;
} NamedFd;

/* Monitors belong to the program. Machine lock. */
static struct {
    GPtrArray *terms;
    GArray *fds; /* of NamedFd: getfd */
    bool hooked;
} qmp;

/* ---- output ---- */

static void flush(QmpTerm *t)
{
    while (t->front && t->out->len) {
        size_t n = chardev_write(t->front, t->out->data, t->out->len);
        if (!n) {
            return;
        }
        g_byte_array_remove_range(t->out, 0, n);
    }
}

static void send_json(QmpTerm *t, json_t *v)
{
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);

    if (text && t->out->len < OUTPUT_MAX) {
        g_byte_array_append(t->out, (const uint8_t *)text, strlen(text));
        g_byte_array_append(t->out, (const uint8_t *)"\r\n", 2);
        flush(t);
    }
    free(text);
    json_decref(v);
}

static json_t *version_info(void)
{
    /* What clients take as the version of the protocol and the command line. */
    return json_pack("{s:{s:i,s:i,s:i},s:s}", "qemu", "major", 7, "minor", 2, "micro", 0, "package",
                     "Rhea " RHEA_VERSION);
}

static void greet(QmpTerm *t)
{
    send_json(t, json_pack("{s:{s:o,s:[]}}", "QMP", "version", version_info(), "capabilities"));
}

void monitor_qmp_event(const char *name, const char *data)
{
    gint64 now = g_get_real_time();

    for (guint i = 0; qmp.terms && i < qmp.terms->len; i++) {
        QmpTerm *t = qmp.terms->pdata[i];
        json_t *ev;

        if (!t->ready || !chardev_is_open(chardev_of(t->front))) {
            continue;
        }
        ev = json_pack("{s:{s:I,s:I},s:s}", "timestamp", "seconds", (json_int_t)(now / 1000000),
                       "microseconds", (json_int_t)(now % 1000000), "event", name);
        json_t *d = data ? json_loads(data, 0, NULL) : NULL;
        if (d) {
            json_object_set_new(ev, "data", d);
        }
        send_json(t, ev);
    }
}

static void on_state(void *opaque, bool running)
{
    monitor_qmp_event(running ? "RESUME" : "STOP", NULL);
}

static void on_block_event(Machine *m, const char *event, const char *json)
{
    monitor_qmp_event(event, json);
}

static void on_machine_event(Machine *m, MachineEvent ev, ShutdownCause cause)
{
    static const struct {
        bool guest;
        const char *reason;
    } causes[] = {
        [SHUTDOWN_NONE] = {false, "none"},
        [SHUTDOWN_HOST_QUIT] = {false, "host-qmp-quit"},
        [SHUTDOWN_HOST_SIGNAL] = {false, "host-signal"},
        [SHUTDOWN_GUEST_SHUTDOWN] = {true, "guest-shutdown"},
        [SHUTDOWN_GUEST_RESET] = {true, "guest-reset"},
        [SHUTDOWN_GUEST_PANIC] = {true, "guest-panic"},
        [SHUTDOWN_DEBUG_EXIT] = {true, "guest-shutdown"},
    };

    if (ev == MACHINE_EVENT_POWERDOWN) {
        monitor_qmp_event("POWERDOWN", NULL);
        return;
    }
    bool known = cause < G_N_ELEMENTS(causes);
    const char *reason = known ? causes[cause].reason : "none";
    if (ev == MACHINE_EVENT_RESET && cause == SHUTDOWN_HOST_QUIT) {
        reason = "host-qmp-system-reset";
    }
    g_autofree char *data =
        g_strdup_printf("{\"guest\": %s, \"reason\": \"%s\"}",
                        known && causes[cause].guest ? "true" : "false", reason);
    monitor_qmp_event(ev == MACHINE_EVENT_SHUTDOWN ? "SHUTDOWN" : "RESET", data);
}

/* ---- errors and arguments ---- */

json_t *qmp_error(QmpCall *c, const char *class, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_free(c->desc);
    c->desc = g_strdup_vprintf(fmt, ap);
    c->class = class;
    va_end(ap);
    return NULL;
}

json_t *qmp_gerror(QmpCall *c, GError *err)
{
    qmp_error(c, "GenericError", "%s", err->message);
    g_error_free(err);
    return NULL;
}

const char *qmp_str(QmpCall *c, const char *key)
{
    return json_string_value(json_object_get(c->args, key));
}

/* A mandatory string; NULL after an error. */
static const char *need_str(QmpCall *c, const char *key)
{
    const char *s = qmp_str(c, key);

    if (!s) {
        qmp_error(c, "GenericError", "Parameter '%s' is missing", key);
    }
    return s;
}

static json_t *hmp(QmpCall *c, const char *line)
{
    g_autofree char *out = monitor_hmp_line(c->m, c->cpu, line);
    g_auto(GStrv) lines = g_strsplit(out, "\n", -1);
    g_autofree char *text = g_strjoinv("\r\n", lines);

    return g_utf8_validate(text, -1, NULL) ? json_string(text) : json_string("");
}

/* ---- commands ---- */

static json_t *cmd_version(QmpCall *c)
{
    return version_info();
}

static json_t *cmd_status(QmpCall *c)
{
    return json_pack("{s:s,s:b,s:b}", "status", run_state_name(c->m->state), "running",
                     machine_running(c->m), "singlestep", 0);
}

static json_t *cmd_quit(QmpCall *c)
{
    machine_request_shutdown(c->m, SHUTDOWN_HOST_QUIT);
    return json_object();
}

static json_t *no_balloon(QmpCall *c)
{
    return qmp_error(c, "DeviceNotActive", "No balloon device has been activated");
}

static json_t *cmd_balloon(QmpCall *c)
{
    const json_t *value = json_object_get(c->args, "value");
    MachineBalloon *b = &c->m->balloon;

    if (!json_is_integer(value) || json_integer_value(value) <= 0) {
        return qmp_error(c, "GenericError", "Parameter 'value' must be a size in bytes");
    }
    if (!b->opaque) {
        return no_balloon(c);
    }
    b->set_target(b->opaque, (uint64_t)json_integer_value(value));
    return json_object();
}

static json_t *cmd_query_balloon(QmpCall *c)
{
    const MachineBalloon *b = &c->m->balloon;

    return b->opaque ? json_pack("{s:I}", "actual", (json_int_t)b->get_actual(b->opaque))
                     : no_balloon(c);
}

static void on_balloon(Machine *m, uint64_t bytes)
{
    g_autofree char *json = g_strdup_printf("{\"actual\": %" G_GUINT64_FORMAT "}", bytes);

    monitor_qmp_event("BALLOON_CHANGE", json);
}

static json_t *cmd_stop(QmpCall *c)
{
    machine_stop(c->m, RUN_PAUSED);
    return json_object();
}

static json_t *cmd_cont(QmpCall *c)
{
    if (c->m->state == RUN_SHUTDOWN || c->m->state == RUN_INTERNAL_ERROR) {
        return qmp_error(c, "GenericError", "Resetting the Virtual Machine is required");
    }
    machine_start(c->m);
    return json_object();
}

static json_t *cmd_reset(QmpCall *c)
{
    machine_request_reset(c->m, SHUTDOWN_HOST_QUIT);
    return json_object();
}

static json_t *cmd_powerdown(QmpCall *c)
{
    machine_request_powerdown(c->m);
    return json_object();
}

static json_t *cmd_nmi(QmpCall *c)
{
    json_decref(hmp(c, "nmi"));
    return json_object();
}

static json_t *cmd_hmp(QmpCall *c)
{
    const char *line = need_str(c, "command-line");
    const json_t *index = json_object_get(c->args, "cpu-index");

    if (!line) {
        return NULL;
    }
    if (json_is_integer(index)) {
        int cpu = (int)json_integer_value(index);
        c->cpu = &cpu;
        return hmp(c, line);
    }
    return hmp(c, line);
}

static void get_tid(VCpu *cpu, void *arg)
{
    *(long *)arg = syscall(SYS_gettid);
}

static json_t *cmd_cpus(QmpCall *c)
{
    json_t *list = json_array();
    unsigned n = c->m->n_vcpus;

    for (unsigned i = 0; i < n && i < c->m->n_vcpus; i++) {
        VCpu *cpu = c->m->vcpus[i];
        long tid = getpid();
        g_autofree char *path = g_strdup_printf("/machine/unattached/device[%u]", i);

        if (cpu->started && machine_lock_held()) {
            machine_unlock();
            vcpu_run_on(cpu, get_tid, &tid);
            machine_lock();
        }
        json_array_append_new(list,
                              json_pack("{s:i,s:s,s:I,s:s}", "cpu-index", (int)i, "qom-path", path,
                                        "thread-id", (json_int_t)tid, "target", cpu->target->name));
    }
    return list;
}

static const char *prop_type(PropKind kind)
{
    switch (kind) {
    case PROP_BOOL:
        return "bool";
    case PROP_U8:
        return "uint8";
    case PROP_U16:
        return "uint16";
    case PROP_U32:
        return "uint32";
    case PROP_U64:
        return "uint64";
    case PROP_SIZE:
        return "size";
    case PROP_PCI_ADDR:
        return "int32";
    default:
        return "str";
    }
}

static json_t *cmd_device_props(QmpCall *c)
{
    const char *name = need_str(c, "typename");
    const DeviceType *t = name ? device_type_find(name) : NULL;
    json_t *list;

    if (!name) {
        return NULL;
    }
    if (!t) {
        return qmp_error(c, "DeviceNotFound", "Device '%s' not found", name);
    }
    list = json_array();
    for (const Property *p = t->props; p && p->name; p++) {
        json_t *o = json_pack("{s:s,s:s}", "name", p->name, "type", prop_type(p->kind));
        if (p->help) {
            json_object_set_new(o, "description", json_string(p->help));
        }
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *cmd_qom_types(QmpCall *c)
{
    json_t *list = json_array();

    for (unsigned i = 0; device_types[i]; i++) {
        json_array_append_new(
            list, json_pack("{s:s,s:s}", "name", device_types[i]->name, "parent", "device"));
    }
    /* Clients ask by this name whether guests can be translated. */
    json_array_append_new(list, json_pack("{s:s,s:s}", "name", "tcg-accel", "parent", "accel"));
    return list;
}

static json_t *cmd_empty_list(QmpCall *c)
{
    return json_array();
}

static json_t *cmd_name(QmpCall *c)
{
    return c->m->cfg.name ? json_pack("{s:s}", "name", c->m->cfg.name) : json_object();
}

static json_t *cmd_uuid(QmpCall *c)
{
    int cpu = 0;
    g_autofree char *text = g_strchomp(monitor_hmp_line(c->m, &cpu, "info uuid"));

    return json_pack("{s:s}", "UUID", text);
}

static json_t *cmd_kvm(QmpCall *c)
{
    bool kvm = c->m->accel && !strcmp(c->m->accel->name, "kvm");

    return json_pack("{s:b,s:b}", "enabled", kvm, "present", kvm);
}

static json_t *cmd_set_accel(QmpCall *c)
{
    g_autoptr(GError) err = NULL;
    const char *name = json_string_value(json_object_get(c->args, "name"));

    if (!name) {
        return qmp_error(c, "GenericError", "Parameter 'name' is missing");
    }
    if (!accel_switch(c->m, name, &err)) {
        return qmp_error(c, "GenericError", "%s", err->message);
    }
    return json_object();
}

static json_t *cmd_target(QmpCall *c)
{
    const Target *t = c->m->cfg.target;

    return json_pack("{s:s}", "arch", t ? t->name : "x86_64");
}

static void add_chardev(Chardev *chr, void *arg)
{
    g_autofree char *file = chardev_filename(chr);

    json_array_append_new(arg, json_pack("{s:s,s:s,s:b}", "label", chardev_label(chr), "filename",
                                         file, "frontend-open", chardev_in_use(chr)));
}

static json_t *cmd_chardevs(QmpCall *c)
{
    json_t *list = json_array();

    chardev_foreach(add_chardev, list);
    return list;
}

static json_t *cmd_chardev_remove(QmpCall *c)
{
    const char *id = need_str(c, "id");
    Chardev *chr = id ? chardev_find(id) : NULL;
    GError *err = NULL;

    if (!id) {
        return NULL;
    }
    if (!chr) {
        return qmp_error(c, "GenericError", "Chardev '%s' not found", id);
    }
    return chardev_remove(chr, &err) ? json_object() : qmp_gerror(c, err);
}

/* {"driver": …, "id": …, …} as the text of -device. */
static json_t *cmd_device_add(QmpCall *c)
{
    const MonitorHooks *hooks = monitor_hooks();
    const char *driver = need_str(c, "driver");
    g_autoptr(GString) text = g_string_new(driver);
    const char *key;
    json_t *v;
    GError *err = NULL;

    if (!driver) {
        return NULL;
    }
    json_object_foreach(c->args, key, v)
    {
        g_auto(GStrv) parts = NULL;
        g_autofree char *value = NULL;

        if (!strcmp(key, "driver")) {
            continue;
        }
        if (json_is_boolean(v)) {
            value = g_strdup(json_is_true(v) ? "on" : "off");
        } else if (json_is_integer(v)) {
            value = g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
        } else if (json_is_string(v)) {
            parts = g_strsplit(json_string_value(v), ",", -1);
            value = g_strjoinv(",,", parts);
        } else {
            return qmp_error(c, "GenericError", "Parameter '%s' has a wrong type", key);
        }
        g_string_append_printf(text, ",%s=%s", key, value);
    }
    if (!hooks->device_add) {
        return qmp_error(c, "GenericError", "devices cannot be added here");
    }
    return hooks->device_add(c->m, text->str, &err) ? json_object() : qmp_gerror(c, err);
}

static json_t *cmd_send_key(QmpCall *c)
{
    json_t *keys = json_object_get(c->args, "keys"), *k;
    json_t *hold = json_object_get(c->args, "hold-time");
    g_autoptr(GString) text = g_string_new(NULL);
    GError *err = NULL;
    size_t i;

    json_array_foreach(keys, i, k)
    {
        json_t *data = json_object_get(k, "data");
        if (text->len) {
            g_string_append_c(text, '-');
        }
        if (json_is_integer(data)) {
            g_string_append_printf(text, "0x%x", (unsigned)json_integer_value(data));
        } else if (json_is_string(data)) {
            g_string_append(text, json_string_value(data));
        } else {
            return qmp_error(c, "GenericError", "Parameter 'keys' has a wrong type");
        }
    }
    unsigned ms = json_is_integer(hold) ? CLAMP(json_integer_value(hold), 0, 60000) : 100;
    return input_send_keys(c->m, text->str, ms, &err) ? json_object() : qmp_gerror(c, err);
}

static json_t *cmd_screendump(QmpCall *c)
{
    const char *file = need_str(c, "filename"), *format = qmp_str(c, "format");
    json_t *head = json_object_get(c->args, "head");
    Console *con = console_get(c->m, (unsigned)json_integer_value(head));
    GError *err = NULL;

    if (!file) {
        return NULL;
    }
    if (format && strcmp(format, "ppm")) {
        return qmp_error(c, "GenericError", "the format '%s' is not supported", format);
    }
    if (!con) {
        return qmp_error(c, "GenericError", "There is no console to take a screendump from");
    }
    return console_screendump(con, file, &err) ? json_object() : qmp_gerror(c, err);
}

static json_t *cmd_set_password(QmpCall *c)
{
    const char *protocol = need_str(c, "protocol"), *password = need_str(c, "password");
    GError *err = NULL;

    if (!protocol || !password) {
        return NULL;
    }
    if (strcmp(protocol, "vnc")) {
        return qmp_error(c, "GenericError", "there is no protocol '%s'; use vnc", protocol);
    }
    return vnc_set_password(c->m, password, &err) ? json_object() : qmp_gerror(c, err);
}

static int find_fd(const char *name)
{
    for (guint i = 0; qmp.fds && i < qmp.fds->len; i++) {
        if (!strcmp(g_array_index(qmp.fds, NamedFd, i).name, name)) {
            return i;
        }
    }
    return -1;
}

int monitor_take_fd(const char *name)
{
    int i = find_fd(name);

    if (i < 0) {
        return -1;
    }
    NamedFd *f = &g_array_index(qmp.fds, NamedFd, i);
    int fd = f->fd;
    g_free(f->name);
    g_array_remove_index(qmp.fds, i);
    return fd;
}

static json_t *cmd_getfd(QmpCall *c)
{
    const char *name = need_str(c, "fdname");
    int fd;

    if (!name) {
        return NULL;
    }
    fd = chardev_take_fd(c->front);
    if (fd < 0) {
        return qmp_error(c, "GenericError", "No file descriptor supplied via SCM_RIGHTS");
    }
    int old = monitor_take_fd(name);
    if (old >= 0) {
        close(old);
    }
    if (!qmp.fds) {
        qmp.fds = g_array_new(FALSE, FALSE, sizeof(NamedFd));
    }
    NamedFd f = {g_strdup(name), fd};
    g_array_append_val(qmp.fds, f);
    return json_object();
}

static json_t *cmd_closefd(QmpCall *c)
{
    const char *name = need_str(c, "fdname");
    int fd = name ? monitor_take_fd(name) : -1;

    if (!name) {
        return NULL;
    }
    if (fd < 0) {
        return qmp_error(c, "GenericError", "File descriptor named '%s' not found", name);
    }
    close(fd);
    return json_object();
}

static json_t *cmd_capabilities(QmpCall *c)
{
    json_t *enable = json_object_get(c->args, "enable");

    if (json_array_size(enable)) {
        return qmp_error(c, "GenericError", "Capability '%s' is not available",
                         json_string_value(json_array_get(enable, 0)));
    }
    return json_object();
}

static json_t *cmd_commands(QmpCall *c);

static const QmpCommand commands[] = {
    {"qmp_capabilities", cmd_capabilities},
    {"query-version", cmd_version},
    {"query-status", cmd_status},
    {"query-commands", cmd_commands},
    {"quit", cmd_quit},
    {"stop", cmd_stop},
    {"balloon", cmd_balloon},
    {"query-balloon", cmd_query_balloon},
    {"cont", cmd_cont},
    {"system_reset", cmd_reset},
    {"system_powerdown", cmd_powerdown},
    {"inject-nmi", cmd_nmi},
    {"human-monitor-command", cmd_hmp},
    {"query-cpus-fast", cmd_cpus},
    {"device-list-properties", cmd_device_props},
    {"qom-list-types", cmd_qom_types},
    {"qom-list-properties", cmd_empty_list},
    {"query-qmp-schema", cmd_empty_list},
    {"query-command-line-options", cmd_empty_list},
    {"query-name", cmd_name},
    {"query-uuid", cmd_uuid},
    {"query-kvm", cmd_kvm},
    {"x-rhea-accel", cmd_set_accel},
    {"query-target", cmd_target},
    {"query-chardev", cmd_chardevs},
    {"query-iothreads", cmd_empty_list},
    {"chardev-remove", cmd_chardev_remove},
    {"device_add", cmd_device_add},
    {"send-key", cmd_send_key},
    {"screendump", cmd_screendump},
    {"set_password", cmd_set_password},
    {"getfd", cmd_getfd},
    {"closefd", cmd_closefd},
    {NULL},
};

static const QmpCommand *const tables[] = {commands, qmp_block_commands};

static json_t *cmd_commands(QmpCall *c)
{
    json_t *list = json_array();

    for (size_t t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const QmpCommand *q = tables[t]; q->name; q++) {
            json_array_append_new(list, json_pack("{s:s}", "name", q->name));
        }
    }
    return list;
}

/* ---- dispatch ---- */

static json_t *execute(QmpTerm *t, QmpCall *c, const char *name)
{
    if (!t->ready && strcmp(name, "qmp_capabilities")) {
        return qmp_error(c, "CommandNotFound",
                         "Expecting capabilities negotiation with 'qmp_capabilities'");
    }
    if (t->ready && !strcmp(name, "qmp_capabilities")) {
        return qmp_error(c, "CommandNotFound", "Capabilities negotiation is already complete");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const QmpCommand *q = tables[i]; q->name; q++) {
            if (!strcmp(q->name, name)) {
                return q->fn(c);
            }
        }
    }
    return qmp_error(c, "CommandNotFound", "The command %s has not been found", name);
}

static void send_error(QmpTerm *t, const char *class, const char *desc, json_t *id)
{
    json_t *v = json_pack("{s:{s:s,s:s}}", "error", "class", class, "desc", desc);

    if (!v) { /* the text was no UTF-8 */
        v = json_pack("{s:{s:s,s:s}}", "error", "class", class, "desc", "failed");
    }
    if (id) {
        json_object_set(v, "id", id);
    }
    send_json(t, v);
}

static void handle(QmpTerm *t, json_t *req)
{
    json_t *id = json_object_get(req, "id"), *args = json_object_get(req, "arguments");
    const char *name = json_string_value(json_object_get(req, "execute"));
    QmpCall c = {.m = t->m, .cpu = &t->cpu, .front = t->front, .args = args};
    const char *key;
    json_t *v;

    json_object_foreach(req, key, v)
    {
        if (strcmp(key, "id") && strcmp(key, "arguments") && strcmp(key, "execute")) {
            g_autofree char *desc = g_strdup_printf("QMP input member '%s' is unexpected", key);
            send_error(t, "GenericError", desc, id);
            return;
        }
    }
    if (!name || (args && !json_is_object(args))) {
        send_error(t, "GenericError",
                   name ? "QMP input member 'arguments' must be an object"
                        : "QMP input lacks member 'execute'",
                   id);
        return;
    }
    json_t *ret = execute(t, &c, name);
    if (ret) {
        if (!strcmp(name, "qmp_capabilities")) {
            t->ready = true;
        }
        json_t *answer = json_pack("{s:o}", "return", ret);
        if (id) {
            json_object_set(answer, "id", id);
        }
        send_json(t, answer);
    } else {
        send_error(t, c.class ? c.class : "GenericError", c.desc ? c.desc : "failed", id);
    }
    g_free(c.desc);
}

static void value_done(QmpTerm *t)
{
    json_error_t e;
    json_t *v = json_loadb(t->in->str, t->in->len, JSON_DECODE_ANY, &e);

    g_string_truncate(t->in, 0);
    t->depth = 0;
    t->quote = 0;
    t->escape = t->started = false;
    if (!v) {
        g_autofree char *desc = g_strdup_printf("JSON parse error, %s", e.text);
        send_error(t, "GenericError", desc, NULL);
    } else if (!json_is_object(v)) {
        send_error(t, "GenericError", "QMP input must be a JSON object", NULL);
    } else {
        handle(t, v);
    }
    json_decref(v);
}

/* Strings may stand in single quotes; jansson wants double ones. */
static void string_byte(QmpTerm *t, char c)
{
    if (t->escape) {
        t->escape = false;
        if (c == '\'') {
            t->in->str[t->in->len - 1] = c; /* \' is no escape of JSON */
            return;
        }
    } else if (c == '\\') {
        t->escape = true;
    } else if (c == t->quote) {
        t->quote = 0;
        c = '"';
    } else if (c == '"') {
        g_string_append_c(t->in, '\\');
    }
    g_string_append_c(t->in, c);
}

static void input(QmpTerm *t, char c)
{
    if (t->quote) {
        string_byte(t, c);
        if (t->in->len > INPUT_MAX) {
            value_done(t);
        }
        return;
    }
    if (!t->started && (c == ' ' || c == '\t' || c == '\r' || c == '\n')) {
        return;
    }
    if (t->depth == 0 && t->started && (c == '\r' || c == '\n')) {
        value_done(t); /* something that is no object */
        return;
    }
    t->started = true;
    if (c == '"' || c == '\'') {
        t->quote = c;
        c = '"';
    }
    g_string_append_c(t->in, c);
    if (c == '{' || c == '[') {
        t->depth++;
    } else if ((c == '}' || c == ']') && (t->depth <= 1 || t->in->len > INPUT_MAX)) {
        value_done(t);
    } else if (c == '}' || c == ']') {
        t->depth--;
    } else if (t->in->len > INPUT_MAX) {
        value_done(t);
    }
}

/* ---- terminals ---- */

static size_t can_receive(void *opaque)
{
    return ((QmpTerm *)opaque)->out->len ? 0 : 4096;
}

static void receive(void *opaque, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        input(opaque, buf[i]);
    }
}

static void event(void *opaque, ChardevEvent ev)
{
    QmpTerm *t = opaque;

    if (ev == CHARDEV_OPENED) {
        t->ready = false;
        t->depth = 0;
        t->quote = 0;
        t->escape = t->started = false;
        g_string_truncate(t->in, 0);
        g_byte_array_set_size(t->out, 0);
        greet(t);
    } else if (ev == CHARDEV_CLOSED) {
        t->ready = false;
        g_byte_array_set_size(t->out, 0);
    }
}

static void writable(void *opaque)
{
    QmpTerm *t = opaque;

    flush(t);
    if (!t->out->len) {
        chardev_accept_input(t->front);
    }
}

static const ChardevHandlers handlers = {.can_receive = can_receive,
                                         .receive = receive,
                                         .event = event,
                                         .writable = writable,
                                         .background = true};

static void term_free(QmpTerm *t)
{
    chardev_detach(t->front);
    g_string_free(t->in, TRUE);
    g_byte_array_unref(t->out);
    g_free(t);
}

bool monitor_attach_qmp(Machine *m, Chardev *chr, GError **err)
{
    QmpTerm *t = g_new0(QmpTerm, 1);

    t->m = m;
    t->in = g_string_new(NULL);
    t->out = g_byte_array_new();
    t->front = chardev_attach(chr, &handlers, t, err); /* greets if it is open */
    if (!t->front) {
        term_free(t);
        return false;
    }
    flush(t);
    chardev_accept_input(t->front);
    if (!qmp.terms) {
        qmp.terms = g_ptr_array_new();
    }
    g_ptr_array_add(qmp.terms, t);
    if (!qmp.hooked) {
        qmp.hooked = true;
        machine_add_state_hook(m, on_state, m);
        m->event = on_machine_event;
        m->block_event = on_block_event;
        m->balloon.changed = on_balloon;
    }
    return true;
}

void monitor_cleanup(void)
{
    hmp_cleanup();
    for (guint i = 0; qmp.terms && i < qmp.terms->len; i++) {
        QmpTerm *t = qmp.terms->pdata[i];
        t->m->event = NULL;
        t->m->block_event = NULL;
        t->m->balloon.changed = NULL;
        term_free(t);
    }
    if (qmp.terms) {
        g_ptr_array_unref(qmp.terms);
        qmp.terms = NULL;
    }
    while (qmp.fds && qmp.fds->len) {
        close(monitor_take_fd(g_array_index(qmp.fds, NamedFd, 0).name));
    }
    g_clear_pointer(&qmp.fds, g_array_unref);
    qmp.hooked = false;
}
