/* HMP: terminals, dispatch, argument parsing, help and completion. */
#include "monitor/hmp.h"
#include "config.h"
#include "core/log.h"
#include "monitor/readline.h"
#include <string.h>

typedef struct HmpTerm {
    Machine *m;
    ChardevFront *front;
    Readline *rl;
    int cpu;
    bool greeted, shown; /* shown: has a mux's focus, or there is none */
    GByteArray *out;     /* not taken by the back end yet */
} HmpTerm;

/* Monitors belong to the program. Machine lock. */
static struct {
    GPtrArray *terms; /* of HmpTerm* */
    MonitorHooks hooks;
} monitors;

static const HmpCommand *const tables[] = {hmp_control_commands, hmp_memory_commands,
                                           hmp_device_commands, hmp_block_commands};

void monitor_set_hooks(const MonitorHooks *hooks)
{
    monitors.hooks = *hooks;
}

const MonitorHooks *monitor_hooks(void)
{
    return &monitors.hooks;
}

char *hmp_product(void)
{
    return g_strdup(monitors.hooks.product ? monitors.hooks.product : "Rhea " RHEA_VERSION);
}

/* ---- output and errors ---- */

void hmp_printf(Hmp *h, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_string_append_vprintf(h->out, fmt, ap);
    va_end(ap);
}

void hmp_take(Hmp *h, char *text)
{
    if (text) {
        g_string_append(h->out, text);
        if (h->out->len && h->out->str[h->out->len - 1] != '\n') {
            g_string_append_c(h->out, '\n');
        }
        g_free(text);
    }
}

void hmp_error(Hmp *h, GError *err)
{
    hmp_printf(h, "Error: %s\n", err ? err->message : "unknown");
    g_clear_error(&err);
}

VCpu *hmp_vcpu(Hmp *h)
{
    if (*h->cpu < 0 || *h->cpu >= (int)h->m->n_vcpus) {
        *h->cpu = 0;
    }
    if (!h->m->n_vcpus) {
        hmp_printf(h, "Error: the machine has no CPU\n");
        return NULL;
    }
    return h->m->vcpus[*h->cpu];
}

/* ---- arguments ---- */

const HmpArg *hmp_arg(const HmpArgs *a, const char *name)
{
    for (unsigned i = 0; i < a->n; i++) {
        if (!strcmp(a->v[i].name, name)) {
            return a->v[i].present ? &a->v[i] : NULL;
        }
    }
    return NULL;
}

bool hmp_has(const HmpArgs *a, const char *name)
{
    return hmp_arg(a, name) != NULL;
}

const char *hmp_text(const HmpArgs *a, const char *name)
{
    const HmpArg *v = hmp_arg(a, name);

    return v ? v->text : NULL;
}

uint64_t hmp_num(const HmpArgs *a, const char *name, uint64_t def)
{
    const HmpArg *v = hmp_arg(a, name);

    return v ? v->num : def;
}

static void skip_spaces(const char **p)
{
    while (**p == ' ' || **p == '\t') {
        (*p)++;
    }
}

/* A word, or a "quoted string" with \" \\ \n. */
static bool parse_word(const char **p, char **out, GError **err)
{
    GString *s = g_string_new(NULL);
    const char *c = *p;

    if (*c == '"') {
        for (c++; *c && *c != '"'; c++) {
            if (*c == '\\' && c[1]) {
                c++;
                g_string_append_c(s, *c == 'n' ? '\n' : *c == 'r' ? '\r' : *c);
            } else {
                g_string_append_c(s, *c);
            }
        }
        if (*c != '"') {
            g_string_free(s, TRUE);
            return fail(err, "a '\"' is missing");
        }
        c++;
    } else {
        while (*c && *c != ' ' && *c != '\t') {
            g_string_append_c(s, *c++);
        }
    }
    *p = c;
    *out = g_string_free(s, FALSE);
    return true;
}

/* "/10xg" */
static bool parse_format(const char **p, HmpFormat *f, GError **err)
{
    const char *c = *p + 1;
    char *end;

    if (g_ascii_isdigit(*c)) {
        guint64 n = g_ascii_strtoull(c, &end, 10);
        if (!n || n > 65536) {
            return fail(err, "the count of a format is 1 to 65536");
        }
        f->count = n;
        c = end;
    }
    for (; *c && *c != ' ' && *c != '\t'; c++) {
        switch (*c) {
        case 'x':
        case 'd':
        case 'u':
        case 'o':
        case 'c':
        case 'i':
            f->format = *c;
            break;
        case 'b':
            f->size = 1;
            break;
        case 'h':
            f->size = 2;
            break;
        case 'w':
            f->size = 4;
            break;
        case 'g':
        case 'L':
            f->size = 8;
            break;
        default:
            return fail(err, "'%c' is no format; use x d u o c i and sizes b h w g", *c);
        }
    }
    if (f->format == 'c' && !f->size) {
        f->size = 1;
    }
    *p = c;
    return true;
}

static bool parse_value(Hmp *h, char type, const char **p, HmpArg *v, GError **err)
{
    VCpu *cpu = h->m && h->m->n_vcpus ? hmp_vcpu(h) : NULL;

    switch (type) {
    case 'S':
        v->text = g_strchomp(g_strdup(*p));
        *p += strlen(*p);
        return true;
    case 's':
        return parse_word(p, &v->text, err);
    case 'b':
        if (!parse_word(p, &v->text, err)) {
            return false;
        }
        v->num = !strcmp(v->text, "on");
        return v->num || !strcmp(v->text, "off") ||
               fail(err, "'%s' is neither on nor off", v->text);
    default: /* i, l */
        if (!hmp_expr(cpu, p, &v->num, err)) {
            return false;
        }
        if (type == 'i' && (int64_t)v->num != (int32_t)v->num && v->num > UINT32_MAX) {
            return fail(err, "a 32-bit number is needed");
        }
        return **p == 0 || **p == ' ' || **p == '\t' ||
               fail(err, "'%s' stands where the expression should end", *p);
    }
}

static void args_clear(HmpArgs *a)
{
    for (unsigned i = 0; i < a->n; i++) {
        g_free(a->v[i].text);
    }
}

static bool parse_args(Hmp *h, const HmpCommand *cmd, const char *line, HmpArgs *a, GError **err)
{
    g_auto(GStrv) specs = g_strsplit(cmd->args ? cmd->args : "", ",", -1);
    const char *p = line;

    *a = (HmpArgs){.fmt = {.count = 1}};
    for (char **s = specs; *s && a->n < HMP_MAX_ARGS; s++) {
        char *colon = strchr(*s, ':');
        HmpArg *v = &a->v[a->n++];
        char type = colon[1];
        bool optional = g_str_has_suffix(*s, "?");

        g_strlcpy(v->name, *s, MIN(sizeof(v->name), (size_t)(colon - *s + 1)));
        skip_spaces(&p);
        if (type == '/') {
            if (*p == '/' && !parse_format(&p, &a->fmt, err)) {
                return false;
            }
            continue;
        }
        if (type == '-') {
            if (p[0] == '-' && p[1] == colon[2] && (!p[2] || p[2] == ' ')) {
                v->present = true;
                p += 2;
            }
            continue;
        }
        if (!*p) {
            if (optional) {
                continue;
            }
            return fail(err, "the argument '%s' is missing; usage: %.*s %s", v->name,
                        (int)strcspn(cmd->name, "|"), cmd->name, cmd->params ? cmd->params : "");
        }
        v->present = true;
        if (!parse_value(h, type, &p, v, err)) {
            return false;
        }
    }
    skip_spaces(&p);
    return !*p || fail(err, "extra text at the end of the line: '%s'", p);
}

/* ---- dispatch ---- */

static bool name_matches(const char *names, const char *word, size_t n)
{
    while (*names) {
        size_t len = strcspn(names, "|");
        if (len == n && !strncmp(names, word, n)) {
            return true;
        }
        names += len + (names[len] == '|');
    }
    return false;
}

static const HmpCommand *find_in(const HmpCommand *t, const char *word, size_t n)
{
    for (; t->name; t++) {
        if (name_matches(t->name, word, n)) {
            return t;
        }
    }
    return NULL;
}

static const HmpCommand *find_command(const char *word, size_t n)
{
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
        const HmpCommand *c = find_in(tables[i], word, n);
        if (c) {
            return c;
        }
    }
    return NULL;
}

typedef struct OnCpu {
    void (*fn)(VCpu *cpu, void *arg);
    void *arg;
} OnCpu;

static void on_cpu_locked(VCpu *cpu, void *arg)
{
    OnCpu *o = arg;

    machine_lock();
    o->fn(cpu, o->arg);
    machine_unlock();
}

void hmp_on_vcpu(Machine *m, VCpu *cpu, void (*fn)(VCpu *cpu, void *arg), void *arg)
{
    OnCpu o = {fn, arg};

    if (!machine_running(m) || !cpu->started || vcpu_current() == cpu || !machine_lock_held()) {
        fn(cpu, arg);
        return;
    }
    machine_unlock();
    vcpu_run_on(cpu, on_cpu_locked, &o);
    machine_lock();
}

typedef struct Call {
    Hmp *h;
    const HmpCommand *cmd;
    const char *rest;
} Call;

/* Arguments are evaluated where the command runs: they may name registers. */
static void call(Call *c)
{
    GError *err = NULL;
    HmpArgs a;

    if (parse_args(c->h, c->cmd, c->rest, &a, &err)) {
        c->cmd->fn(c->h, &a);
    } else {
        hmp_error(c->h, err);
    }
    args_clear(&a);
}

static void call_on_cpu(VCpu *cpu, void *arg)
{
    call(arg);
}

static void run_command(Hmp *h, const HmpCommand *cmd, const char *rest)
{
    Call c = {h, cmd, rest};

    if (cmd->on_cpu && h->m->n_vcpus) {
        hmp_on_vcpu(h->m, hmp_vcpu(h), call_on_cpu, &c);
    } else {
        call(&c);
    }
}

/* "print/x" is "print /x". */
static size_t word_length(const char *p)
{
    return strcspn(p, " \t/");
}

static void help_line(Hmp *h, const char *prefix, const HmpCommand *c)
{
    hmp_printf(h, "%s%s%s%s -- %s\n", prefix, c->name, c->params ? " " : "",
               c->params ? c->params : "", c->help);
}

static void print_help(Hmp *h, const char *what)
{
    g_auto(GStrv) words = g_strsplit(what, " ", 2);

    if (words[0] && *words[0]) {
        const HmpCommand *c = find_command(words[0], strlen(words[0]));
        if (!c) {
            hmp_printf(h, "Error: there is no command '%s'\n", words[0]);
        } else if (!c->sub) {
            help_line(h, "", c);
        } else {
            for (const HmpCommand *s = c->sub; s->name; s++) {
                if (!words[1] || !*words[1] || name_matches(s->name, words[1], strlen(words[1]))) {
                    g_autofree char *prefix = g_strdup_printf("%s ", c->name);
                    help_line(h, prefix, s);
                }
            }
        }
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const HmpCommand *c = tables[i]; c->name; c++) {
            help_line(h, "", c);
        }
    }
}

static void run_line(Hmp *h, const char *line)
{
    const char *p = line;

    skip_spaces(&p);
    size_t n = word_length(p);
    if (!*p) {
        return;
    }
    const HmpCommand *cmd = find_command(p, n);
    if (!cmd) {
        hmp_printf(h, "unknown command: '%.*s'\n", (int)n, p);
        return;
    }
    p += n;
    if (!strcmp(cmd->name, "help|?")) {
        skip_spaces(&p);
        g_autofree char *what = g_strchomp(g_strdup(p));
        print_help(h, what);
        return;
    }
    if (cmd->sub) {
        skip_spaces(&p);
        n = word_length(p);
        const HmpCommand *sub = find_in(cmd->sub, p, n);
        if (!*p) {
            print_help(h, cmd->name);
            return;
        }
        if (!sub) {
            hmp_printf(h, "unknown command: '%s %.*s'\n", cmd->name, (int)n, p);
            return;
        }
        cmd = sub;
        p += n;
    }
    run_command(h, cmd, p);
}

char *monitor_hmp_line(Machine *m, int *cpu, const char *line)
{
    Hmp h = {.m = m, .cpu = cpu, .out = g_string_new(NULL)};

    run_line(&h, line);
    return g_string_free(h.out, FALSE);
}

/* ---- completion ---- */

static void add_names(GPtrArray *out, const char *names, const char *start)
{
    g_auto(GStrv) all = g_strsplit(names, "|", -1);

    for (char **n = all; *n; n++) {
        if (g_str_has_prefix(*n, start)) {
            g_ptr_array_add(out, g_strdup(*n));
        }
    }
}

static void add_table(GPtrArray *out, const HmpCommand *t, const char *start)
{
    for (; t->name; t++) {
        add_names(out, t->name, start);
    }
}

char **hmp_complete(const char *line)
{
    GPtrArray *out = g_ptr_array_new();
    const char *p = line;

    skip_spaces(&p);
    size_t n = word_length(p);
    if (!p[n]) {
        for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
            add_table(out, tables[i], p);
        }
    } else {
        const HmpCommand *cmd = find_command(p, n);
        const char *last = strrchr(p, ' ');

        p += n;
        skip_spaces(&p);
        if (cmd && cmd->sub && !strchr(p, ' ')) {
            add_table(out, cmd->sub, p);
        } else if (cmd && !strcmp(cmd->name, "help|?")) {
            for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
                add_table(out, tables[i], p);
            }
        } else if (cmd && cmd->complete && last) {
            /* Keys are joined by dashes. */
            const char *dash = strrchr(last, '-');
            const char *start = dash ? dash + 1 : last + 1;
            const char *name;
            for (unsigned i = 0; (name = cmd->complete(i)); i++) {
                if (g_str_has_prefix(name, start)) {
                    g_ptr_array_add(out, g_strdup(name));
                }
            }
        }
    }
    g_ptr_array_add(out, NULL);
    return (char **)g_ptr_array_free(out, FALSE);
}

/* ---- terminals ---- */

static void term_flush(HmpTerm *t)
{
    while (t->front && t->out->len) {
        size_t n = chardev_write(t->front, t->out->data, t->out->len);
        if (!n) {
            return;
        }
        g_byte_array_remove_range(t->out, 0, n);
    }
}

static void term_print(void *opaque, const char *text)
{
    HmpTerm *t = opaque;

    while (*text) {
        const char *nl = strchr(text, '\n');
        size_t n = nl ? nl - text : strlen(text);

        g_byte_array_append(t->out, (const uint8_t *)text, n);
        if (nl) {
            g_byte_array_append(t->out, (const uint8_t *)"\r\n", 2);
            n++;
        }
        text += n;
    }
    term_flush(t);
}

static void term_line(void *opaque, const char *line)
{
    HmpTerm *t = opaque;
    g_autofree char *out = monitor_hmp_line(t->m, &t->cpu, line);

    term_print(t, out);
    readline_show(t->rl);
}

static char **term_complete(void *opaque, const char *line)
{
    return hmp_complete(line);
}

static const ReadlineOps readline_ops = {
    .print = term_print, .line = term_line, .complete = term_complete};

static void greet(HmpTerm *t)
{
    if (!t->greeted) {
        g_autofree char *product = hmp_product();
        g_autofree char *text =
            g_strdup_printf("%s monitor - type 'help' for more information\n", product);
        term_print(t, text);
        t->greeted = true;
    }
    readline_show(t->rl);
}

static size_t term_can_receive(void *opaque)
{
    /* Not before the answers to earlier commands are out. */
    return ((HmpTerm *)opaque)->out->len ? 0 : 64;
}

static void term_receive(void *opaque, const uint8_t *buf, size_t len)
{
    HmpTerm *t = opaque;

    for (size_t i = 0; i < len; i++) {
        readline_input(t->rl, buf[i]);
    }
}

static void term_event(void *opaque, ChardevEvent ev)
{
    HmpTerm *t = opaque;

    switch (ev) {
    case CHARDEV_OPENED:
        t->greeted = false;
        if (t->shown) {
            greet(t);
        }
        break;
    case CHARDEV_CLOSED:
        readline_restart(t->rl);
        g_byte_array_set_size(t->out, 0);
        break;
    case CHARDEV_MUX_IN:
        t->shown = true;
        greet(t);
        break;
    case CHARDEV_MUX_OUT:
        t->shown = false;
        term_print(t, "\n");
        break;
    default:
        break;
    }
}

static void term_writable(void *opaque)
{
    HmpTerm *t = opaque;

    term_flush(t);
    if (!t->out->len) {
        chardev_accept_input(t->front);
    }
}

static const ChardevHandlers term_handlers = {
    .can_receive = term_can_receive,
    .receive = term_receive,
    .event = term_event,
    .writable = term_writable,
    .background = true,
};

static void term_free(HmpTerm *t)
{
    chardev_detach(t->front);
    readline_free(t->rl);
    g_byte_array_unref(t->out);
    g_free(t);
}

bool monitor_attach_hmp(Machine *m, Chardev *chr, GError **err)
{
    HmpTerm *t = g_new0(HmpTerm, 1);

    t->m = m;
    t->out = g_byte_array_new();
    t->rl = readline_new("(qemu) ", &readline_ops, t);
    t->front = chardev_attach(chr, &term_handlers, t, err);
    if (!t->front) {
        term_free(t);
        return false;
    }
    term_flush(t); /* a mux greets inside chardev_attach() */
    if (!chardev_is_mux(chr)) {
        t->shown = true;
        if (chardev_is_open(chr)) {
            greet(t);
        }
    }
    chardev_accept_input(t->front);
    if (!monitors.terms) {
        monitors.terms = g_ptr_array_new();
    }
    g_ptr_array_add(monitors.terms, t);
    return true;
}

void hmp_cleanup(void)
{
    for (guint i = 0; monitors.terms && i < monitors.terms->len; i++) {
        term_free(monitors.terms->pdata[i]);
    }
    if (monitors.terms) {
        g_ptr_array_unref(monitors.terms);
        monitors.terms = NULL;
    }
}
