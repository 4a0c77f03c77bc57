/*
 * The real `pc`, with every chip wired as its board wires it: random register traffic, then all
 * state saved, loaded into a second machine, and both dumps compared. Boot order and -global of a
 * whole machine.
 */
#include "accel/jit/jit.h"
#include "block/drive.h"
#include "core/log.h"
#include "hw/machine/pc.h"
#include "hw/pci/pci.h"
#include "migration/vmstate.h"
#include "target/x86/x86.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS 10
#define STEP_NS 12345678

static const char *disk; /* an image of some KiB */

static void add_drive(Machine *m, const char *options)
{
    GError *err = NULL;
    g_auto(GStrv) parts = g_strsplit(options, "%s", -1);
    g_autofree char *text = g_strjoinv(disk, parts);
    DriveSpec *d = drive_parse("-drive", text, &err);

    g_assert_no_error(err);
    g_ptr_array_add(m->cfg.drives, d);
}

/* Machine lock held from here to pc_down(). */
static Machine *pc_up_clock(ClockKind clock, const char *order, const char *once,
                            const char *global)
{
    GError *err = NULL;

    machine_lock();
    Machine *m = machine_new(&pc_machine, &jit_accel);
    /* Time that stands still, the same in both machines. */
    clock_free(m->virtual_clock);
    m->virtual_clock = clock_new(clock);
    m->cfg = (MachineConfig){
        .target = &x86_64_target,
        .ram_size = 32 << 20,
        .smp = 2,
        .sockets = 2,
        .cores = 1,
        .threads = 1,
        .rtc_base = "2026-11-20T00:00:00",
        .rtc_clock = "vm",
        .has_display = true,
        .boot_order = order,
        .boot_once = once,
        .drives = g_ptr_array_new_with_free_func((GDestroyNotify)drive_free),
    };
    add_drive(m, "file=%s,if=ide,index=0,format=raw,snapshot=on");
    add_drive(m, "file=%s,if=ide,index=1,format=raw,snapshot=on");
    add_drive(m, "file=%s,if=ide,index=2,format=raw,media=cdrom");
    add_drive(m, "if=ide,index=3,media=cdrom");
    add_drive(m, "file=%s,if=floppy,index=0,format=raw,snapshot=on");
    g_assert_true(drives_prepare(m, &err));
    if (global) {
        g_assert_true(device_add_global(m, global, &err));
    }
    g_assert_true(jit_accel.init(m, NULL, &err));
    pc_machine.init(m, &err);
    g_assert_no_error(err);
    /* One of each card that needs nothing from outside. */
    for (unsigned i = 0; device_types[i]; i++) {
        const DeviceType *t = device_types[i];
        if (t->user_creatable && t->bus && !strcmp(t->bus, "PCI")) {
            Device *dev = device_new(t, m);
            if (!device_realize(dev, m->root_bus, &err)) {
                g_test_message("%s: %s", t->name, err->message);
                g_clear_error(&err);
                device_free(dev);
            }
        }
    }
    machine_reset(m);
    return m;
}

static Machine *pc_up(const char *order, const char *once, const char *global)
{
    return pc_up_clock(CLOCK_KIND_MANUAL, order, once, global);
}

static void pc_down(Machine *m)
{
    GPtrArray *drives = m->cfg.drives;
    machine_free(m);
    g_ptr_array_unref(drives);
    machine_unlock();
}

/* What a BIOS does: addresses for all BARs, decoding on. */
static void place_bars(Machine *m)
{
    uint32_t mem = 0xe0000000, io = 0xc000;

    for (unsigned devfn = 8; devfn < 256; devfn++) {
        uint32_t base = 0x80000000u | devfn << 8;
        mem_store(m->io, 0xcf8, base, 4);
        if (mem_load(m->io, 0xcfc, 4) == 0xffffffff) {
            continue;
        }
        for (unsigned bar = 0x10; bar < 0x28; bar += 4) {
            mem_store(m->io, 0xcf8, base | bar, 4);
            mem_store(m->io, 0xcfc, 0xffffffff, 4);
            uint32_t mask = mem_load(m->io, 0xcfc, 4);
            if (mask & 1) {
                mem_store(m->io, 0xcfc, io, 4);
                io += 0x100;
            } else if (mask) {
                uint32_t size = -(mask & ~0xfu);
                mem = (mem + size - 1) & -size;
                mem_store(m->io, 0xcfc, mem, 4);
                mem += size;
            }
        }
        mem_store(m->io, 0xcf8, base | 4, 4);
        mem_store(m->io, 0xcfc, 7, 2);
    }
}

/* Reads and writes of all kinds, mostly where chips are. */
static void traffic(Machine *m, GRand *r, unsigned n)
{
    while (n--) {
        unsigned size = 1u << g_rand_int_range(r, 0, 3);
        uint32_t val = g_rand_int(r);
        bool write = g_rand_boolean(r), port = g_rand_int_range(r, 0, 4);
        uint64_t at;

        if (port) {
            static const uint16_t bases[] = {0,     0x40,  0x60,  0x80,  0x170, 0x1f0,  0x3b0,
                                             0x3f0, 0x3f8, 0x4d0, 0x510, 0xcf8, 0xc000, 0xb000};
            at = bases[g_rand_int_range(r, 0, G_N_ELEMENTS(bases))];
            at += g_rand_int_range(r, 0, at == 0xc000 ? 0x800 : at ? 0x20 : 0x100);
            if (at >= 0xcf8 && at < 0xcfc) {
                continue; /* the PCI functions stay where they are */
            }
        } else {
            static const uint32_t bases[] = {0xa0000,    0xb8000,    0xfec00000,
                                             0xfed00000, 0xfee00000, 0xe0000000};
            at = bases[g_rand_int_range(r, 0, G_N_ELEMENTS(bases))];
            at += g_rand_int_range(r, 0, at == 0xe0000000 ? 0x4000000 : 0x400) & -size;
        }
        MemSpace *space = port ? m->io : m->memory;
        if (write) {
            mem_store(space, at, val, size);
        } else {
            mem_load(space, at, size);
        }
    }
}

/* Text of every state table, in the machine's order. */
static char *dump_all(Machine *m)
{
    GString *out = g_string_new(NULL);

    for (guint i = 0; i < m->devices->len; i++) {
        Device *d = m->devices->pdata[i];
        if (d->type->state) {
            g_autofree char *text = state_dump(d->type->state, d);
            g_string_append_printf(out, "[%s]\n%s", d->type->name, text);
        }
    }
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        g_autofree char *text = state_dump(m->vcpus[i]->target->state, m->vcpus[i]);
        g_string_append_printf(out, "[cpu%u]\n%s", i, text);
    }
    return g_string_free(out, false);
}

static void save_all(Machine *m, GByteArray *out)
{
    for (guint i = 0; i < m->devices->len; i++) {
        Device *d = m->devices->pdata[i];
        if (d->type->state) {
            state_save(d->type->state, d, out);
        }
    }
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        state_save(m->vcpus[i]->target->state, m->vcpus[i], out);
    }
}

static void load_all(Machine *m, const GByteArray *in)
{
    GError *err = NULL;
    size_t pos = 0;

    for (guint i = 0; i < m->devices->len; i++) {
        Device *d = m->devices->pdata[i];
        if (d->type->state && !state_load(d->type->state, d, in->data, in->len, &pos, &err)) {
            g_error("%s: %s", d->type->name, err->message);
        }
    }
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        VCpu *cpu = m->vcpus[i];
        state_load(cpu->target->state, cpu, in->data, in->len, &pos, &err);
        g_assert_no_error(err);
    }
    g_assert_cmpuint(pos, ==, in->len);
}

/* The first line that differs, for the message. */
static void same_text(const char *a, const char *b)
{
    g_auto(GStrv) la = g_strsplit(a, "\n", -1), lb = g_strsplit(b, "\n", -1);
    const char *where = "";

    for (unsigned i = 0; la[i] && lb[i]; i++) {
        where = la[i][0] == '[' ? la[i] : where;
        if (strcmp(la[i], lb[i])) {
            g_error("%s: saved '%s', loaded '%s'", where, la[i], lb[i]);
        }
    }
    g_assert_cmpuint(g_strv_length(la), ==, g_strv_length(lb));
}

static void test_roundtrip(void)
{
    for (unsigned seed = 1; seed <= 6; seed++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        GRand *r = g_rand_new_with_seed(seed);
        Machine *m = pc_up(NULL, NULL, NULL);

        place_bars(m);
        for (unsigned i = 0; i < STEPS; i++) {
            traffic(m, r, 400);
            clock_step(m->virtual_clock, STEP_NS);
        }
        save_all(m, bytes);
        g_autofree char *before = dump_all(m);
        pc_down(m);

        m = pc_up(NULL, NULL, NULL);
        clock_step(m->virtual_clock, STEPS * STEP_NS);
        load_all(m, bytes);
        g_autofree char *after = dump_all(m);
        same_text(before, after);
        /* And the second machine goes on. */
        traffic(m, r, 1000);
        pc_down(m);
        g_rand_free(r);
    }
}

typedef struct Stream {
    const uint8_t *data;
    size_t len, pos;
} Stream;

static bool stream_write(void *opaque, const void *data, size_t len, GError **err)
{
    g_byte_array_append(opaque, data, len);
    return true;
}

static bool stream_read(void *opaque, void *data, size_t len, GError **err)
{
    Stream *s = opaque;

    if (s->len - s->pos < len) {
        return fail(err, "the stream ends");
    }
    memcpy(data, s->data + s->pos, len);
    s->pos += len;
    return true;
}

static bool load_stream(Machine *m, const uint8_t *data, size_t len, GError **err)
{
    Stream s = {data, len, 0};

    return vm_state_load(m, &(VmSource){stream_read, &s}, err);
}

/* The machine with its memory as one stream, whole and damaged. */
static void test_stream(void)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    GRand *r = g_rand_new_with_seed(99);
    GError *err = NULL;
    Machine *m = pc_up_clock(CLOCK_KIND_VIRTUAL, NULL, NULL, NULL);

    clock_stop(m->virtual_clock);
    place_bars(m);
    traffic(m, r, 2000);
    for (unsigned i = 0; i < 3000; i++) {
        mem_store(m->memory, g_rand_int_range(r, 0x100000, 30 << 20), g_rand_int(r), 4);
    }
    g_assert_true(vm_state_save(m, &(VmSink){stream_write, bytes}, &err));
    g_autofree char *before = dump_all(m);
    int64_t then = clock_now(m->virtual_clock);
    g_autofree uint8_t *ram = g_malloc(32 << 20), *ram2 = g_malloc(32 << 20);
    mem_read(m->memory, 0x100000, ram, 30 << 20);
    pc_down(m);

    m = pc_up_clock(CLOCK_KIND_VIRTUAL, NULL, NULL, NULL);
    clock_stop(m->virtual_clock);
    mem_store(m->memory, 0x123456, 0x55aa55aa, 4); /* must go */
    g_assert_true(load_stream(m, bytes->data, bytes->len, &err));
    g_assert_cmpint(clock_now(m->virtual_clock), ==, then);
    g_autofree char *after = dump_all(m);
    same_text(before, after);
    mem_read(m->memory, 0x100000, ram2, 30 << 20);
    g_assert_cmpmem(ram, 30 << 20, ram2, 30 << 20);
    /* Damage of any kind is refused by the checksum at the latest, and the machine lives. */
    for (unsigned i = 0; i < 60; i++) {
        g_autofree uint8_t *bad = g_memdup2(bytes->data, bytes->len);
        size_t len = bytes->len;
        if (i % 3 == 0) {
            len = g_rand_int_range(r, 0, len);
        } else { /* mostly in the devices at the end, and in the header */
            size_t at = i % 3 == 1 ? len - 1 - g_rand_int_range(r, 0, 30000)
                                   : (size_t)g_rand_int_range(r, 0, 64);
            bad[at] ^= 1u << g_rand_int_range(r, 0, 8);
        }
        g_assert_false(load_stream(m, bad, len, &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
        traffic(m, r, 50);
    }
    g_assert_true(load_stream(m, bytes->data, bytes->len, &err));
    g_autofree char *again = dump_all(m);
    same_text(before, again);
    pc_down(m);
    g_rand_free(r);
}

static uint8_t cmos(Machine *m, uint8_t index)
{
    mem_store(m->io, 0x70, index, 1);
    return mem_load(m->io, 0x71, 1);
}

/* CMOS 3Dh: first and second device, 1 floppy, 2 disk, 3 CD. */
static void test_boot_order(void)
{
    GError *err = NULL;
    Machine *m = pc_up("ca", "d", NULL);

    g_assert_cmphex(cmos(m, 0x3d), ==, 0x03);
    machine_reset(m); /* the guest's first one */
    g_assert_cmphex(cmos(m, 0x3d), ==, 0x12);
    g_assert_true(m->boot_set(m, "dc", &err));
    g_assert_cmphex(cmos(m, 0x3d), ==, 0x23);
    machine_reset(m);
    g_assert_cmphex(cmos(m, 0x3d), ==, 0x23);
    g_assert_false(m->boot_set(m, "dd", &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    pc_down(m);
}

static void test_global(void)
{
    GError *err = NULL;
    Machine *m = pc_up(NULL, NULL, "e1000.mac=52:54:00:01:02:03");
    unsigned found = 0;

    for (guint i = 0; i < m->devices->len; i++) {
        Device *d = m->devices->pdata[i];
        if (!strcmp(d->type->name, "e1000")) {
            g_autofree char *mac = device_get(d, "mac");
            g_assert_cmpstr(mac, ==, "52:54:00:01:02:03");
            found++;
        }
    }
    g_assert_cmpuint(found, ==, 1);
    static const char *const bad[] = {
        "nosuch.x=1", "e1000.nosuch=1", "e1000.mac=zz", "e1000", "driver=e1000,property=mac",
        "=",          "e1000.=1"};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(device_add_global(m, bad[i], &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
    }
    g_assert_true(device_add_global(m, "driver=e1000,property=mac,value=52:54:00:01:02:03", &err));
    pc_down(m);
}

int main(int argc, char **argv)
{
    char *path = NULL;

    g_test_init(&argc, &argv, NULL);
    int fd = g_file_open_tmp("rhea-machine-XXXXXX", &path, NULL);
    g_assert_cmpint(ftruncate(fd, 1474560), ==, 0);
    close(fd);
    disk = path;
    g_test_add_func("/machine/roundtrip", test_roundtrip);
    g_test_add_func("/machine/stream", test_stream);
    g_test_add_func("/machine/boot-order", test_boot_order);
    g_test_add_func("/machine/global", test_global);
    int rc = g_test_run();
    unlink(path);
    g_free(path);
    return rc;
}
