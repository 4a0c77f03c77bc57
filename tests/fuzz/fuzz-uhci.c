/* UHCI with one of everything plugged in: registers, lists and packets of the fuzzer's making. */
#include "block/drive.h"
#include "chardev/chardev.h"
#include "fuzz-pci.h"
#include "hw/usb/uhci.h"
#include "hw/usb/usb.h"
#include "ui/input.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEVFN PCI_DEVFN(1, 2)
#define IO 0xc040u
#define LIST 0x1000u
#define QH 0x2000u
#define TDS 0x3000u
#define BUF 0x4000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const types[] = {"usb-tablet", "usb-hub",     "usb-mouse",
                                    "usb-kbd",    "usb-storage", "usb-serial"};

static void store(FuzzPci *f, uint32_t addr, uint32_t val)
{
    mem_store(f->io.m->memory, addr, val, 4);
}

static Bus *usb_bus(Machine *m)
{
    for (guint i = 0; i < m->devices->len; i++) {
        GList *b = ((Device *)m->devices->pdata[i])->buses;
        if (b && !strcmp(((Bus *)b->data)->kind, "usb")) {
            return b->data;
        }
    }
    return NULL;
}

static void settle(FuzzPci *f)
{
    for (guint i = 0; i < f->io.m->cfg.drives->len; i++) {
        DriveSpec *d = f->io.m->cfg.drives->pdata[i];
        if (d->medium) {
            block_drain(d->medium);
        }
    }
}

static void go(FuzzPci *f, unsigned n_td)
{
    store(f, QH, 1);
    store(f, QH + 4, n_td ? TDS : 1);
    clock_step(f->io.clk, 2 * NS_PER_SEC / 1000);
    settle(f);
}

static void td(FuzzPci *f, unsigned n, bool last, uint32_t token, uint32_t buf)
{
    store(f, TDS + 32 * n, last ? 1 : (TDS + 32 * (n + 1)) | 4);
    store(f, TDS + 32 * n + 4, 0x19800000);
    store(f, TDS + 32 * n + 8, token);
    store(f, TDS + 32 * n + 12, buf);
}

static void set_up(FuzzPci *f, unsigned addr, uint8_t type, uint8_t req, unsigned value,
                   unsigned index, unsigned len)
{
    store(f, BUF, type | req << 8 | value << 16);
    store(f, BUF + 4, index | len << 16);
    td(f, 0, false, 0x2d | addr << 8 | 7u << 21, BUF);
    unsigned n = 1;
    for (unsigned left = len; left && n < 6; n++) {
        unsigned packet = MIN(left, 64);
        td(f, n, false, (type & 0x80 ? 0x69 : 0xe1) | addr << 8 | ((packet - 1) & 0x7ff) << 21,
           BUF + 64 * n);
        left -= packet;
    }
    td(f, n, true, (type & 0x80 && len ? 0xe1 : 0x69) | addr << 8 | 0x7ffu << 21, BUF);
    go(f, n + 1);
}

/* A running schedule, both ports on, addresses 1, 2 and those behind the hub: 3 and up. */
static void start(FuzzPci *f)
{
    MemSpace *io = f->io.m->io;

    for (unsigned i = 0; i < 1024; i++) {
        store(f, LIST + 4 * i, QH | 2);
    }
    store(f, QH, 1);
    store(f, QH + 4, 1);
    mem_store(io, IO + 8, LIST, 4);
    mem_store(io, IO + 4, 15, 2);
    mem_store(io, IO, 0xc1, 2);
    for (unsigned p = 0; p < 2; p++) {
        mem_store(io, IO + 0x10 + 2 * p, 0x200, 2);
        mem_store(io, IO + 0x10 + 2 * p, 0, 2);
        mem_store(io, IO + 0x10 + 2 * p, 4, 2);
        set_up(f, 0, 0, 5, p + 1, 0, 0);
        set_up(f, p + 1, 0, 9, 1, 0, 0);
    }
    for (unsigned p = 1; p <= 4; p++) {
        set_up(f, 2, 0x23, 3, 8, p, 0);
        set_up(f, 2, 0x23, 3, 4, p, 0);
        set_up(f, 0, 0, 5, p + 2, 0, 0);
        set_up(f, p + 2, 0, 9, 1, 0, 0);
    }
}

static void command_block(FuzzPci *f, uint8_t what, uint32_t arg)
{
    static const uint8_t ops[16] = {0x00, 0x03, 0x08, 0x0a, 0x12, 0x1a, 0x23, 0x25,
                                    0x28, 0x2a, 0x35, 0x5a, 0x88, 0x8a, 0xa8, 0xaa};
    uint8_t p[31] = {'U', 'S', 'B', 'C', 1, 2, 3, 4};

    p[8] = (uint8_t)arg;
    p[9] = (uint8_t)(arg >> 8) & 7;
    p[12] = what & 0x80;
    p[14] = 16;
    p[15] = ops[what & 15];
    p[15 + 4] = 1;
    p[15 + 5] = (uint8_t)arg & 3;
    p[15 + 8] = (uint8_t)(arg >> 12);
    p[15 + 13] = p[15 + 9] = (uint8_t)(arg >> 13);
    mem_write(f->io.m->memory, BUF, p, sizeof(p));
    td(f, 0, true, 0xe1 | 5 << 8 | 2 << 15 | 30u << 21, BUF);
    go(f, 1);
}

static void extra(void *opaque, uint8_t what, uint32_t arg)
{
    FuzzPci *f = opaque;
    Machine *m = f->io.m;

    switch (what & 7) {
    case 0: /* a request */
        set_up(f, arg & 7, (uint8_t)(what & 0xe0) | (arg >> 3 & 3), (uint8_t)(arg >> 5 & 31),
               arg >> 2 & 0x3fff, arg >> 10 & 15,
               what & 8    ? arg & 0xff
               : what & 16 ? arg
                           : 0);
        break;
    case 1: /* a packet: addresses, endpoints, lengths */
        td(f, 0, true,
           (what & 8 ? 0x69 : 0xe1) | (arg & 7) << 8 | (arg >> 3 & 3) << 15 |
               (what & 16 ? 63u : arg >> 5) << 21,
           BUF);
        go(f, 1);
        break;
    case 2:
        command_block(f, (uint8_t)(what & 0x80) | (what >> 3 & 15), arg);
        break;
    case 3: /* words in the lists */
        store(f, (what & 8 ? QH : TDS) + (what >> 4) * 4,
              (arg & 0x7f) << 4 | (arg >> 8 & 7) | (arg & 0x8000 ? 0xfffff000 : 0x2000));
        break;
    case 4:
        input_abs(m, (int)arg, (int)arg * 3);
        input_rel(m, (int16_t)arg, (int8_t)arg);
        input_button(m, what >> 3 & 7, arg & 1);
        input_wheel(m, (int8_t)what);
        input_sync(m);
        input_key(m, arg & 0xff, what & 8);
        break;
    case 5: { /* plug and unplug */
        Device *last = m->devices->pdata[m->devices->len - 1];
        if (what & 8 && last->bus == usb_bus(m)) {
            device_free(last);
        } else if (m->devices->len < 24) {
            Device *d = device_new(device_type_find(types[what >> 4 & 3]), m);
            if (!device_realize(d, usb_bus(m), NULL)) {
                device_free(d);
            }
        }
        break;
    }
    case 6:
        start(f);
        break;
    default:
        if (chardev_find("ring")) {
            chardev_ringbuf_inject(chardev_find("ring"), (const uint8_t *)&arg, arg & 3);
        }
    }
}

static void plug(FuzzPci *f, const char *type, const char *prop, const char *val, Bus *bus)
{
    Device *d = device_new(device_type_find(type), f->io.m);

    if ((prop && !device_set(d, prop, val, NULL)) || !device_realize(d, bus, NULL)) {
        abort();
    }
}

/* 200 blocks in memory, for all runs of the process. */
static char *disk_path(void)
{
    static int fd = -1;

    if (fd < 0 && ((fd = memfd_create("disk", 0)) < 0 || ftruncate(fd, 200 * 512) < 0)) {
        abort();
    }
    return g_strdup_printf("if=none,id=d,format=raw,file=/proc/self/fd/%d", fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzPci f;

    fuzz_pci_open(&f);
    Machine *m = f.io.m;
    Clock *real = m->virtual_clock;
    m->virtual_clock = f.io.clk;
    m->cfg.drives = g_ptr_array_new_with_free_func((GDestroyNotify)drive_free);
    f.io.opaque = &f;
    f.io.extra = extra;
    f.io.ports[0] = f.io.ports[1] = (FuzzRange){IO, 32};
    f.io.ports[2] = (FuzzRange){0xcf8, 8};
    f.io.mmio[0] = (FuzzRange){QH, 64};
    f.io.mmio[1] = f.io.mmio[2] = (FuzzRange){TDS, 128};
    f.io.mmio[3] = (FuzzRange){BUF, 64};
    if (!chardev_find("ring") && !chardev_new_from_opts("ringbuf,id=ring,size=256", NULL)) {
        abort();
    }
    g_autofree char *disk = disk_path();
    DriveSpec *d = drive_parse("-drive", disk, NULL);
    if (!d) {
        abort();
    }
    g_ptr_array_add(m->cfg.drives, d);
    piix3_uhci_new(m, f.bus, DEVFN, NULL);
    fuzz_pci_config(&f, DEVFN, 0x20, IO);
    fuzz_pci_config(&f, DEVFN, 4, 5);
    Bus *bus = usb_bus(m);
    for (unsigned i = 0; i < 4; i++) {
        plug(&f, types[i], NULL, NULL, bus);
    }
    plug(&f, "usb-storage", "drive", "d", bus);
    plug(&f, "usb-serial", "chardev", "ring", bus);
    start(&f);
    fuzz_run(&f.io, data, size);
    settle(&f);
    while (m->devices->len > 1) {
        device_free(m->devices->pdata[m->devices->len - 1]);
    }
    GPtrArray *drives = m->cfg.drives;
    m->cfg.drives = NULL;
    g_ptr_array_free(drives, TRUE);
    m->virtual_clock = real;
    fuzz_pci_close(&f);
    return 0;
}
