/*
 * GDB remote serial protocol: GDB manual, appendix E "GDB Remote Serial Protocol".
 *
 * Threads are vCPUs, numbered from 1. All stop and run together. Addresses are virtual (linear)
 * as the thread chosen by Hg sees them, or physical after `maint packet Qqemu.PhyMemMode:1`.
 */
#include "system/gdbstub.h"
#include "chardev/chardev.h"
#include "core/log.h"
#include "monitor/monitor.h"
#include <inttypes.h>
#include <string.h>

#define PACKET_MAX 16384
#define MEM_MAX (PACKET_MAX / 2 - 16)
#define REG_MAX 512 /* bytes of the widest register */

typedef enum { RX_IDLE, RX_DATA, RX_SUM1, RX_SUM2 } RxState;

typedef struct Gdb {
    Machine *m;
    Chardev *chr;
    ChardevFront *front;
    bool own_chr;
    bool connected, no_ack, resumed, phys;
    unsigned g_cpu, c_cpu; /* index */
    RxState rx;
    bool rx_escape;
    uint8_t rx_sum, rx_got;
    GByteArray *packet;
    GByteArray *out;   /* not taken by the back end yet */
    GString *last;     /* last packet, for a resend */
    unsigned list_pos; /* of qsThreadInfo */
    int mon_cpu;
} Gdb;

/* The program serves one debugger. Machine lock. */
static Gdb *server;

/* ---- output ---- */

static void flush(Gdb *g)
{
    while (g->front && g->out->len) {
        size_t n = chardev_write(g->front, g->out->data, g->out->len);
        if (!n) {
            return;
        }
        g_byte_array_remove_range(g->out, 0, n);
    }
}

static void put(Gdb *g, const void *p, size_t n)
{
    g_byte_array_append(g->out, p, n);
    flush(g);
}

static void send_last(Gdb *g)
{
    uint8_t sum = 0;
    char tail[4];

    for (size_t i = 0; i < g->last->len; i++) {
        sum += (uint8_t)g->last->str[i];
    }
    g_snprintf(tail, sizeof(tail), "#%02x", sum);
    g_byte_array_append(g->out, (const uint8_t *)"$", 1);
    g_byte_array_append(g->out, (const uint8_t *)g->last->str, g->last->len);
    put(g, tail, 3);
}

static void reply(Gdb *g, const char *text)
{
    g_string_assign(g->last, text);
    send_last(g);
}

static void reply_printf(Gdb *g, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void reply_printf(Gdb *g, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_string_vprintf(g->last, fmt, ap);
    va_end(ap);
    send_last(g);
}

static void append_hex(GString *s, const void *buf, size_t n)
{
    const uint8_t *p = buf;

    for (size_t i = 0; i < n; i++) {
        g_string_append_printf(s, "%02x", p[i]);
    }
}

/* Binary replies escape these. */
static void append_binary(GString *s, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '#' || p[i] == '$' || p[i] == '}' || p[i] == '*') {
            g_string_append_c(s, '}');
            g_string_append_c(s, p[i] ^ 0x20);
        } else {
            g_string_append_c(s, p[i]);
        }
    }
}

/* ---- parsing ---- */

static bool parse_hex(const char **p, uint64_t *v)
{
    const char *s = *p;

    *v = 0;
    while (g_ascii_isxdigit(*s)) {
        *v = *v << 4 | g_ascii_xdigit_value(*s++);
    }
    bool ok = s != *p;
    *p = s;
    return ok;
}

static bool expect(const char **p, char c)
{
    if (**p != c) {
        return false;
    }
    (*p)++;
    return true;
}

/* Pairs of digits into @buf; how many bytes. */
static size_t hex_bytes(const char *p, uint8_t *buf, size_t max)
{
    size_t n = 0;

    while (n < max && g_ascii_isxdigit(p[0]) && g_ascii_isxdigit(p[1])) {
        buf[n++] = g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]);
        p += 2;
    }
    return n;
}

static VCpu *cpu_of(Gdb *g, unsigned i)
{
    return i < g->m->n_vcpus ? g->m->vcpus[i] : g->m->n_vcpus ? g->m->vcpus[0] : NULL;
}

/* "1", "-1" and "0" (any: the current one stays). */
static bool parse_thread(Gdb *g, const char **p, unsigned *cpu, bool *all)
{
    uint64_t n;

    *all = false;
    if (expect(p, '-')) {
        *all = true;
        return parse_hex(p, &n);
    }
    if (!parse_hex(p, &n)) {
        return false;
    }
    if (n == 0) {
        *all = true;
        return true;
    }
    if (n > g->m->n_vcpus) {
        return false;
    }
    *cpu = n - 1;
    return true;
}

/* ---- running ---- */

static void clear_steps(Gdb *g)
{
    for (unsigned i = 0; i < g->m->n_vcpus; i++) {
        g->m->vcpus[i]->debug_step = false;
    }
}

static const char *watch_kind(const VCpu *cpu)
{
    for (guint i = 0; i < cpu->watchpoints->len; i++) {
        const VCpuWatch *w = &g_array_index(cpu->watchpoints, VCpuWatch, i);
        if (cpu->debug_addr - w->addr < w->len) {
            return w->on_read ? w->on_write ? "awatch" : "rwatch" : "watch";
        }
    }
    return "watch";
}

static void send_stop_reply(Gdb *g)
{
    if (g->m->state == RUN_SHUTDOWN) {
        reply(g, "W00");
        return;
    }
    for (unsigned i = 0; i < g->m->n_vcpus; i++) {
        const VCpu *cpu = g->m->vcpus[i];

        if (cpu->debug_hit == VCPU_DEBUG_NONE) {
            continue;
        }
        g->g_cpu = g->c_cpu = i;
        if (cpu->debug_hit == VCPU_DEBUG_WATCH) {
            reply_printf(g, "T05thread:%02x;%s:%" PRIx64 ";", i + 1, watch_kind(cpu),
                         cpu->debug_addr);
        } else {
            reply_printf(g, "T05thread:%02x;", i + 1);
        }
        return;
    }
    reply_printf(g, "T02thread:%02x;", g->c_cpu + 1);
}

static void state_changed(void *opaque, bool running)
{
    Gdb *g = server;

    if (!running && g && g->connected && g->resumed && g->m == opaque) {
        g->resumed = false;
        clear_steps(g);
        send_stop_reply(g);
    }
}

static void resume(Gdb *g)
{
    g->resumed = true;
    machine_start(g->m);
}

static void stop(Gdb *g)
{
    if (machine_running(g->m)) {
        machine_stop(g->m, RUN_PAUSED);
    } else if (g->resumed) {
        state_changed(g->m, false);
    }
}

static void detach(Gdb *g)
{
    for (unsigned i = 0; i < g->m->n_vcpus; i++) {
        VCpu *cpu = g->m->vcpus[i];

        g_array_set_size(cpu->breakpoints, 0);
        g_array_set_size(cpu->watchpoints, 0);
        cpu->debug_step = false;
        if (cpu->accel && cpu->accel->flush_tlb) {
            cpu->accel->flush_tlb(cpu);
        }
    }
    g->resumed = false;
}

/* c, s, C sig, S sig: [addr] */
static void cmd_resume(Gdb *g, const char *p, bool step, bool signal)
{
    VCpu *cpu = cpu_of(g, g->c_cpu);
    uint64_t addr, sig;

    if (signal) {
        parse_hex(&p, &sig);
        expect(&p, ';');
    }
    if (cpu && parse_hex(&p, &addr)) {
        cpu->target->set_pc(cpu, addr);
    }
    if (cpu && step) {
        cpu->debug_step = true;
    }
    resume(g);
}

/* vCont;action[:thread]… : the first action that fits a thread is its. */
static void cmd_vcont(Gdb *g, const char *p)
{
    bool any = false;
    g_autofree uint8_t *decided = g_malloc0(g->m->n_vcpus + 1);

    while (expect(&p, ';')) {
        char action = *p ? *p++ : 0;
        uint64_t sig;
        unsigned cpu = 0;
        bool all = true;

        if (action == 'C' || action == 'S') {
            parse_hex(&p, &sig);
        } else if (action != 'c' && action != 's') {
            reply(g, "E22");
            clear_steps(g);
            return;
        }
        if (expect(&p, ':') && !parse_thread(g, &p, &cpu, &all)) {
            reply(g, "E22");
            clear_steps(g);
            return;
        }
        for (unsigned i = 0; i < g->m->n_vcpus; i++) {
            if ((all || i == cpu) && !decided[i]) {
                decided[i] = 1;
                g->m->vcpus[i]->debug_step = action == 's' || action == 'S';
            }
        }
        any = true;
    }
    if (any) {
        resume(g);
    } else {
        reply(g, "E22");
    }
}

/* ---- registers and memory ---- */

static void cmd_read_regs(Gdb *g)
{
    VCpu *cpu = cpu_of(g, g->g_cpu);
    uint8_t buf[REG_MAX];

    g_string_truncate(g->last, 0);
    for (int n = 0; cpu && n < cpu->target->gdb_num_regs; n++) {
        int size = cpu->target->gdb_read(cpu, n, buf);
        append_hex(g->last, buf, MAX(size, 0));
    }
    send_last(g);
}

static void cmd_write_regs(Gdb *g, const char *p)
{
    VCpu *cpu = cpu_of(g, g->g_cpu);
    uint8_t buf[REG_MAX], now[REG_MAX];

    for (int n = 0; cpu && n < cpu->target->gdb_num_regs; n++) {
        int size = cpu->target->gdb_read(cpu, n, now);
        if (size <= 0 || hex_bytes(p, buf, size) < (size_t)size) {
            break;
        }
        cpu->target->gdb_write(cpu, n, buf, size);
        p += size * 2;
    }
    reply(g, "OK");
}

static void cmd_read_reg(Gdb *g, const char *p)
{
    VCpu *cpu = cpu_of(g, g->g_cpu);
    uint8_t buf[REG_MAX];
    uint64_t n;
    int size = 0;

    if (cpu && parse_hex(&p, &n) && n < (uint64_t)cpu->target->gdb_num_regs) {
        size = cpu->target->gdb_read(cpu, n, buf);
    }
    if (size <= 0) {
        reply(g, "E14");
        return;
    }
    g_string_truncate(g->last, 0);
    append_hex(g->last, buf, size);
    send_last(g);
}

static void cmd_write_reg(Gdb *g, const char *p)
{
    VCpu *cpu = cpu_of(g, g->g_cpu);
    uint8_t buf[REG_MAX];
    uint64_t n;

    if (cpu && parse_hex(&p, &n) && expect(&p, '=') && n < (uint64_t)cpu->target->gdb_num_regs) {
        size_t size = hex_bytes(p, buf, sizeof(buf));
        if (size && cpu->target->gdb_write(cpu, n, buf, size) > 0) {
            reply(g, "OK");
            return;
        }
    }
    reply(g, "E14");
}

static bool memory(Gdb *g, uint64_t addr, void *buf, size_t len, bool write)
{
    VCpu *cpu = cpu_of(g, g->g_cpu);

    if (g->phys || !cpu) {
        return write ? mem_write_rom(g->m->memory, addr, buf, len)
                     : mem_read(g->m->memory, addr, buf, len);
    }
    return vcpu_debug_rw(cpu, addr, buf, len, write);
}

static void cmd_read_mem(Gdb *g, const char *p)
{
    uint64_t addr, len;

    if (!parse_hex(&p, &addr) || !expect(&p, ',') || !parse_hex(&p, &len) || len > MEM_MAX) {
        reply(g, "E22");
        return;
    }
    g_autofree uint8_t *buf = g_malloc0(len + 1);
    if (!memory(g, addr, buf, len, false)) {
        /* As much as can be read. */
        size_t n = 0;
        while (n < len && memory(g, addr + n, buf + n, 1, false)) {
            n++;
        }
        if (!n) {
            reply(g, "E14");
            return;
        }
        len = n;
    }
    g_string_truncate(g->last, 0);
    append_hex(g->last, buf, len);
    send_last(g);
}

static void cmd_write_mem(Gdb *g, const char *p, const char *end, bool binary)
{
    uint64_t addr, len;

    if (!parse_hex(&p, &addr) || !expect(&p, ',') || !parse_hex(&p, &len) || !expect(&p, ':') ||
        len > PACKET_MAX) {
        reply(g, "E22");
        return;
    }
    g_autofree uint8_t *buf = g_malloc0(len + 1);
    size_t have = binary ? MIN((size_t)(end - p), len) : hex_bytes(p, buf, len);
    if (binary) {
        memcpy(buf, p, have);
    }
    if (have < len) {
        reply(g, "E22");
    } else {
        reply(g, !len || memory(g, addr, buf, len, true) ? "OK" : "E14");
    }
}

/* ---- breakpoints ---- */

static bool change_break(VCpu *cpu, uint64_t addr, bool set)
{
    for (guint i = 0; i < cpu->breakpoints->len; i++) {
        if (g_array_index(cpu->breakpoints, uint64_t, i) == addr) {
            if (!set) {
                g_array_remove_index(cpu->breakpoints, i);
            }
            return true;
        }
    }
    if (set && cpu->breakpoints->len < 1024) {
        g_array_append_val(cpu->breakpoints, addr);
        return true;
    }
    return !set;
}

static bool change_watch(VCpu *cpu, const VCpuWatch *w, bool set)
{
    for (guint i = 0; i < cpu->watchpoints->len; i++) {
        const VCpuWatch *e = &g_array_index(cpu->watchpoints, VCpuWatch, i);
        if (e->addr == w->addr && e->len == w->len && e->on_read == w->on_read &&
            e->on_write == w->on_write) {
            if (!set) {
                g_array_remove_index(cpu->watchpoints, i);
            }
            return true;
        }
    }
    if (set && cpu->watchpoints->len < 1024) {
        g_array_append_val(cpu->watchpoints, *w);
        return true;
    }
    return !set;
}

/* Z type,addr,kind and z …; they hold for all vCPUs. */
static void cmd_break(Gdb *g, const char *p, bool set)
{
    uint64_t type, addr, kind;
    bool ok = true;

    if (!parse_hex(&p, &type) || !expect(&p, ',') || !parse_hex(&p, &addr) || !expect(&p, ',') ||
        !parse_hex(&p, &kind)) {
        reply(g, "E22");
        return;
    }
    if (type > 4) {
        reply(g, "");
        return;
    }
    for (unsigned i = 0; i < g->m->n_vcpus; i++) {
        VCpu *cpu = g->m->vcpus[i];

        if (type <= 1) {
            ok &= change_break(cpu, addr, set);
        } else {
            VCpuWatch w = {.addr = addr,
                           .len = CLAMP(kind, 1, 1 << 20),
                           .on_read = type >= 3,
                           .on_write = type != 3};
            ok &= change_watch(cpu, &w, set);
        }
        /* Accelerators look at the lists when they translate. */
        if (cpu->accel && cpu->accel->flush_tlb) {
            cpu->accel->flush_tlb(cpu);
        }
    }
    reply(g, ok ? "OK" : "E28");
}

/* ---- queries ---- */

static void thread_list(Gdb *g, bool first)
{
    if (first) {
        g->list_pos = 0;
    }
    if (g->list_pos >= g->m->n_vcpus) {
        reply(g, "l");
        return;
    }
    g_string_assign(g->last, "m");
    for (unsigned n = 0; g->list_pos < g->m->n_vcpus && n < 512; n++) {
        g_string_append_printf(g->last, "%s%x", n ? "," : "", ++g->list_pos);
    }
    send_last(g);
}

static void thread_info(Gdb *g, const char *p)
{
    unsigned cpu = 0;
    bool all;

    if (!parse_thread(g, &p, &cpu, &all) || all) {
        reply(g, "E22");
        return;
    }
    g_autofree char *text =
        g_strdup_printf("CPU#%u [%s]", cpu, g->m->vcpus[cpu]->halted ? "halted" : "running");
    g_string_truncate(g->last, 0);
    append_hex(g->last, text, strlen(text));
    send_last(g);
}

/* A piece of @text: "m…" or, with the end, "l…". */
static void transfer(Gdb *g, const char *text, const char *range)
{
    uint64_t off, len;

    if (!parse_hex(&range, &off) || !expect(&range, ',') || !parse_hex(&range, &len)) {
        reply(g, "E22");
        return;
    }
    size_t size = strlen(text);
    off = MIN(off, size);
    len = MIN(MIN(len, size - off), PACKET_MAX / 2);
    g_string_assign(g->last, off + len < size ? "m" : "l");
    append_binary(g->last, text + off, len);
    send_last(g);
}

static void features(Gdb *g, const char *p)
{
    VCpu *cpu = cpu_of(g, g->g_cpu);

    if (!g_str_has_prefix(p, "target.xml:") || !cpu) {
        reply(g, "E00");
        return;
    }
    p += strlen("target.xml:");
    if (cpu->target->gdb_xml) {
        transfer(g, cpu->target->gdb_xml, p);
        return;
    }
    g_autofree char *xml =
        g_strdup_printf("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
                        "<target><architecture>%s</architecture></target>",
                        cpu->target->gdb_arch ? cpu->target->gdb_arch : "");
    transfer(g, xml, p);
}

static void remote_command(Gdb *g, const char *p)
{
    size_t n = strlen(p) / 2;
    g_autofree char *line = g_malloc0(n + 1);

    hex_bytes(p, (uint8_t *)line, n);
    int cpu = g->mon_cpu;
    g_autofree char *out = monitor_hmp_line(g->m, &cpu, line);
    if (server != g) {
        return; /* the command ended the service */
    }
    g->mon_cpu = cpu;
    for (size_t pos = 0, len = strlen(out); pos < len;) {
        size_t part = MIN(len - pos, PACKET_MAX / 4);
        g_string_assign(g->last, "O");
        append_hex(g->last, out + pos, part);
        send_last(g);
        pos += part;
    }
    reply(g, "OK");
}

static void cmd_query(Gdb *g, const char *p)
{
    if (g_str_has_prefix(p, "Supported")) {
        reply_printf(g, "PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;vContSupported+",
                     PACKET_MAX);
    } else if (!strcmp(p, "C")) {
        reply_printf(g, "QC%x", g->g_cpu + 1);
    } else if (!strcmp(p, "fThreadInfo")) {
        thread_list(g, true);
    } else if (!strcmp(p, "sThreadInfo")) {
        thread_list(g, false);
    } else if (g_str_has_prefix(p, "ThreadExtraInfo,")) {
        thread_info(g, p + 16);
    } else if (g_str_has_prefix(p, "Xfer:features:read:")) {
        features(g, p + 19);
    } else if (g_str_has_prefix(p, "Attached")) {
        reply(g, "1");
    } else if (g_str_has_prefix(p, "Rcmd,")) {
        remote_command(g, p + 5);
    } else if (g_str_has_prefix(p, "Symbol:")) {
        reply(g, "OK");
    } else if (!strcmp(p, "Offsets")) {
        reply(g, "Text=0;Data=0;Bss=0");
    } else if (!strcmp(p, "qemu.PhyMemMode")) {
        reply(g, g->phys ? "1" : "0");
    } else {
        reply(g, "");
    }
}

static void cmd_set(Gdb *g, const char *p)
{
    if (!strcmp(p, "StartNoAckMode")) {
        reply(g, "OK");
        g->no_ack = true;
    } else if (g_str_has_prefix(p, "qemu.PhyMemMode:")) {
        g->phys = p[16] == '1';
        reply(g, "OK");
    } else {
        reply(g, "");
    }
}

static void cmd_v(Gdb *g, const char *p)
{
    if (!strcmp(p, "Cont?")) {
        reply(g, "vCont;c;C;s;S");
    } else if (g_str_has_prefix(p, "Cont")) {
        cmd_vcont(g, p + 4);
    } else if (g_str_has_prefix(p, "Kill")) {
        reply(g, "OK");
        machine_request_shutdown(g->m, SHUTDOWN_HOST_QUIT);
    } else {
        reply(g, "");
    }
}

static void cmd_thread(Gdb *g, const char *p)
{
    char op = *p ? *p++ : 0;
    unsigned cpu = 0;
    bool all;

    if (!parse_thread(g, &p, &cpu, &all)) {
        reply(g, "E22");
        return;
    }
    if (!all && op == 'g') {
        g->g_cpu = cpu;
    } else if (!all && op == 'c') {
        g->c_cpu = cpu;
    }
    reply(g, "OK");
}

static void cmd_alive(Gdb *g, const char *p)
{
    unsigned cpu = 0;
    bool all;

    reply(g, parse_thread(g, &p, &cpu, &all) ? "OK" : "E22");
}

static void handle(Gdb *g, const char *p, size_t len)
{
    const char *end = p + len;
    char c = *p++;

    switch (c) {
    case '!':
        reply(g, "OK");
        break;
    case '?':
        send_stop_reply(g);
        break;
    case 'c':
    case 'C':
        cmd_resume(g, p, false, c == 'C');
        break;
    case 's':
    case 'S':
        cmd_resume(g, p, true, c == 'S');
        break;
    case 'g':
        cmd_read_regs(g);
        break;
    case 'G':
        cmd_write_regs(g, p);
        break;
    case 'p':
        cmd_read_reg(g, p);
        break;
    case 'P':
        cmd_write_reg(g, p);
        break;
    case 'm':
        cmd_read_mem(g, p);
        break;
    case 'M':
        cmd_write_mem(g, p, end, false);
        break;
    case 'X':
        cmd_write_mem(g, p, end, true);
        break;
    case 'Z':
    case 'z':
        cmd_break(g, p, c == 'Z');
        break;
    case 'H':
        cmd_thread(g, p);
        break;
    case 'T':
        cmd_alive(g, p);
        break;
    case 'q':
        cmd_query(g, p);
        break;
    case 'Q':
        cmd_set(g, p);
        break;
    case 'v':
        cmd_v(g, p);
        break;
    case 'D':
        reply(g, "OK");
        detach(g);
        machine_start(g->m);
        break;
    case 'k':
        machine_request_shutdown(g->m, SHUTDOWN_HOST_QUIT);
        break;
    case 'R':
        machine_request_reset(g->m, SHUTDOWN_HOST_QUIT);
        break;
    default:
        reply(g, "");
        break;
    }
}

/* ---- input ---- */

static void packet_done(Gdb *g)
{
    if (g->rx_sum != g->rx_got) {
        if (!g->no_ack) {
            put(g, "-", 1);
        }
        return;
    }
    if (!g->no_ack) {
        put(g, "+", 1);
    }
    if (machine_running(g->m)) {
        g->resumed = false; /* somebody else let it run */
        machine_stop(g->m, RUN_PAUSED);
    }
    if (g->packet->len) {
        /* Terminated, and out of the way of what handling may bring in. */
        size_t len = g->packet->len;
        g_autofree char *text = g_malloc0(len + 1);
        memcpy(text, g->packet->data, len);
        handle(g, text, len);
    } else {
        reply(g, "");
    }
}

static void input(Gdb *g, uint8_t c)
{
    switch (g->rx) {
    case RX_IDLE:
        if (c == '$') {
            g_byte_array_set_size(g->packet, 0);
            g->rx_sum = 0;
            g->rx_escape = false;
            g->rx = RX_DATA;
        } else if (c == 3) {
            stop(g);
        } else if (c == '-' && !g->no_ack && g->last->len) {
            send_last(g);
        }
        break;
    case RX_DATA:
        if (c == '#') {
            g->rx = RX_SUM1;
        } else if (c == '$' || g->packet->len >= PACKET_MAX) {
            /* A packet that lost its end, or has none. */
            g_byte_array_set_size(g->packet, 0);
            g->rx_sum = 0;
            g->rx_escape = false;
            g->rx = c == '$' ? RX_DATA : RX_IDLE;
        } else {
            g->rx_sum += c;
            if (g->rx_escape) {
                c ^= 0x20;
                g->rx_escape = false;
            } else if (c == '}') {
                g->rx_escape = true;
                break;
            }
            g_byte_array_append(g->packet, &c, 1);
        }
        break;
    case RX_SUM1:
        g->rx_got = g_ascii_isxdigit(c) ? g_ascii_xdigit_value(c) << 4 : 0;
        g->rx = RX_SUM2;
        break;
    case RX_SUM2:
        g->rx_got |= g_ascii_isxdigit(c) ? g_ascii_xdigit_value(c) : 0;
        g->rx = RX_IDLE;
        packet_done(g);
        break;
    }
}

static size_t can_receive(void *opaque)
{
    return ((Gdb *)opaque)->out->len ? 0 : 512;
}

static void receive(void *opaque, const uint8_t *buf, size_t len)
{
    Gdb *g = opaque;

    /* A command may end the service. */
    for (size_t i = 0; i < len && server == g; i++) {
        input(g, buf[i]);
    }
}

static void event(void *opaque, ChardevEvent ev)
{
    Gdb *g = opaque;

    if (ev == CHARDEV_OPENED) {
        g->connected = true;
        g->no_ack = g->resumed = g->phys = false;
        g->g_cpu = g->c_cpu = 0;
        g->rx = RX_IDLE;
        g_string_truncate(g->last, 0);
        g_byte_array_set_size(g->out, 0);
        if (machine_running(g->m)) {
            machine_stop(g->m, RUN_PAUSED);
        }
    } else if (ev == CHARDEV_CLOSED) {
        g->connected = false;
        detach(g);
    } else if (ev == CHARDEV_BREAK) {
        stop(g);
    }
}

static void writable(void *opaque)
{
    Gdb *g = opaque;

    flush(g);
    if (!g->out->len) {
        chardev_accept_input(g->front);
    }
}

static const ChardevHandlers handlers = {
    .can_receive = can_receive, .receive = receive, .event = event, .writable = writable};

/* ---- life ---- */

void gdbstub_cleanup(void)
{
    Gdb *g = server;

    if (!g) {
        return;
    }
    server = NULL;
    chardev_detach(g->front);
    if (g->own_chr) {
        chardev_remove(g->chr, NULL);
    }
    g_byte_array_unref(g->packet);
    g_byte_array_unref(g->out);
    g_string_free(g->last, TRUE);
    g_free(g);
}

bool gdbstub_start(Machine *m, const char *spec, GError **err)
{
    GError *why = NULL;
    Machine *hooked = server ? server->m : NULL;

    gdbstub_cleanup();
    if (!strcmp(spec, "none")) {
        return true;
    }
    bool sock = g_str_has_prefix(spec, "tcp:") || g_str_has_prefix(spec, "unix:");
    g_autofree char *full = sock && !strstr(spec, ",server")
                                ? g_strconcat(spec, ",server=on,wait=off,nodelay=on", NULL)
                                : g_strdup(spec);
    Chardev *chr = chardev_new_from_spec("gdb", full, false, &why);
    if (!chr) {
        g_propagate_prefixed_error(err, why, "gdb server: ");
        return false;
    }
    Gdb *g = g_new0(Gdb, 1);
    g->m = m;
    g->chr = chr;
    g->own_chr = !g_str_has_prefix(spec, "chardev:");
    g->packet = g_byte_array_new();
    g->out = g_byte_array_new();
    g->last = g_string_new(NULL);
    server = g;
    g->front = chardev_attach(chr, &handlers, g, err);
    if (!g->front) {
        gdbstub_cleanup();
        return false;
    }
    if (hooked != m) {
        machine_add_state_hook(m, state_changed, m);
    }
    return true;
}
