/* HMP: info. */
#include "accel/jit/jit.h"
#include "accel/kvm/kvm.h"
#include "chardev/chardev.h"
#include "config.h"
#include "core/log.h"
#include "hw/pci/pci.h"
#include "hw/usb/usb.h"
#include "monitor/hmp.h"
#include "net/net.h"
#include "ui/input.h"
#include "ui/vnc.h"
#include <inttypes.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void info_status(Hmp *h, const HmpArgs *a)
{
    RunState s = h->m->state;

    hmp_printf(h, "VM status: %s", s == RUN_RUNNING ? "running" : "paused");
    if (s != RUN_RUNNING && s != RUN_PAUSED) {
        hmp_printf(h, " (%s)", run_state_name(s));
    }
    hmp_printf(h, "\n");
}

static void info_version(Hmp *h, const HmpArgs *a)
{
    hmp_take(h, hmp_product());
}

static void info_name(Hmp *h, const HmpArgs *a)
{
    if (h->m->cfg.name) {
        hmp_printf(h, "%s\n", h->m->cfg.name);
    }
}

static void info_uuid(Hmp *h, const HmpArgs *a)
{
    const uint8_t *u = h->m->cfg.uuid;

    for (unsigned i = 0; i < 16; i++) {
        hmp_printf(h, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
    }
    hmp_printf(h, "\n");
}

static void dump_registers(VCpu *cpu, void *arg)
{
    Hmp *h = arg;

    if (cpu->target->dump) {
        hmp_take(h, cpu->target->dump(cpu, true));
    }
}

static void info_registers(Hmp *h, const HmpArgs *a)
{
    bool all = hmp_has(a, "all");

    for (unsigned i = 0; all && i < h->m->n_vcpus; i++) {
        hmp_printf(h, "\nCPU#%u\n", i);
        hmp_on_vcpu(h->m, h->m->vcpus[i], dump_registers, h);
    }
    if (!all) {
        VCpu *cpu = hmp_vcpu(h);
        if (cpu) {
            hmp_printf(h, "\nCPU#%d\n", cpu->index);
            hmp_on_vcpu(h->m, cpu, dump_registers, h);
        }
    }
}

static void get_tid(VCpu *cpu, void *arg)
{
    *(long *)arg = syscall(SYS_gettid);
}

static void info_cpus(Hmp *h, const HmpArgs *a)
{
    hmp_vcpu(h);
    for (unsigned i = 0; i < h->m->n_vcpus; i++) {
        VCpu *cpu = h->m->vcpus[i];
        long tid = getpid();

        if (cpu->started) {
            machine_unlock();
            vcpu_run_on(cpu, get_tid, &tid);
            machine_lock();
        }
        hmp_printf(h, "%c CPU #%u: thread_id=%ld%s\n", (int)i == *h->cpu ? '*' : ' ', i, tid,
                   cpu->halted ? " (halted)" : "");
    }
}

static void dump_tlb(Hmp *h, bool ranges)
{
    VCpu *cpu = hmp_vcpu(h);

    if (cpu && cpu->target->dump_tlb) {
        hmp_take(h, cpu->target->dump_tlb(cpu, ranges));
    } else if (cpu) {
        hmp_printf(h, "Error: not available for this CPU\n");
    }
}

static void info_mem(Hmp *h, const HmpArgs *a)
{
    dump_tlb(h, true);
}

static void info_tlb(Hmp *h, const HmpArgs *a)
{
    dump_tlb(h, false);
}

static void info_mtree(Hmp *h, const HmpArgs *a)
{
    MemSpace *spaces[] = {h->m->memory, h->m->io};

    for (unsigned i = 0; i < G_N_ELEMENTS(spaces); i++) {
        hmp_printf(h, "address-space: %s\n", mem_space_name(spaces[i]));
        hmp_take(h, mem_space_dump(spaces[i], hmp_has(a, "flat")));
        hmp_printf(h, "\n");
    }
}

static void info_roms(Hmp *h, const HmpArgs *a)
{
    FlatView *v = mem_view_get(h->m->memory);

    for (unsigned i = 0; i < v->n; i++) {
        const FlatRange *r = &v->ranges[i];
        if (r->region->kind == MEM_ROM) {
            hmp_printf(h, "addr=%016" PRIx64 " size=0x%06" PRIx64 " mem=rom name=\"%s\"\n", r->addr,
                       r->size, r->region->name);
        }
    }
    mem_view_put(v);
}

static void info_jit(Hmp *h, const HmpArgs *a)
{
    if (h->m->accel_data && jit_accel.info) {
        hmp_take(h, jit_accel.info(h->m));
    } else {
        hmp_printf(h, "The accelerator has nothing to tell\n");
    }
}

static void one_chardev(Chardev *chr, void *arg)
{
    g_autofree char *file = chardev_filename(chr);

    hmp_printf(arg, "%s: filename=%s\n", chardev_label(chr), file);
}

static void info_chardev(Hmp *h, const HmpArgs *a)
{
    chardev_foreach(one_chardev, h);
}

static void info_usb(Hmp *h, const HmpArgs *a)
{
    hmp_take(h, usb_info(h->m));
}

static void info_mice(Hmp *h, const HmpArgs *a)
{
    hmp_take(h, input_info(h->m));
}

static void info_vnc(Hmp *h, const HmpArgs *a)
{
    hmp_take(h, vnc_info(h->m));
}

static void info_kvm(Hmp *h, const HmpArgs *a)
{
    hmp_take(h, kvm_info(h->m));
}

/* ---- registers of devices ---- */

/* State of the @nth device of type @name (-1: all); false: none. */
static bool dump_devices(Hmp *h, const char *name, int nth)
{
    int n = 0;

    for (guint i = 0; i < h->m->devices->len; i++) {
        Device *dev = h->m->devices->pdata[i];
        if (strcmp(dev->type->name, name) && (!dev->id || strcmp(dev->id, name))) {
            continue;
        }
        if (nth < 0 || n == nth) {
            hmp_printf(h, "%s %d:\n", dev->type->name, n);
            if (dev->type->state) {
                hmp_take(h, state_dump(dev->type->state, dev));
            }
        }
        n++;
    }
    return nth < 0 ? n > 0 : n > nth;
}

static void info_pic(Hmp *h, const HmpArgs *a)
{
    bool pic = dump_devices(h, "i8259", -1), io = dump_devices(h, "ioapic", -1);

    if (!pic && !io) {
        hmp_printf(h, "The machine has no interrupt controller of a PC\n");
    }
}

static void info_lapic(Hmp *h, const HmpArgs *a)
{
    VCpu *cpu = hmp_vcpu(h);

    if (cpu && !dump_devices(h, "lapic", hmp_num(a, "apic-id", cpu->index))) {
        hmp_printf(h, "There is no such local APIC\n");
    }
}

static void info_device(Hmp *h, const HmpArgs *a)
{
    if (!dump_devices(h, hmp_text(a, "name"), -1)) {
        hmp_printf(h, "Error: there is no device '%s'; see 'info qtree'\n", hmp_text(a, "name"));
    }
}

/* ---- the device tree ---- */

#define TREE_DEPTH 16

static void tree_bus(Hmp *h, const Bus *bus, unsigned depth);

static void tree_device(Hmp *h, const Device *dev, unsigned depth)
{
    hmp_printf(h, "%*sdev: %s, id \"%s\"\n", depth * 2, "", dev->type->name,
               dev->id ? dev->id : "");
    for (const Property *p = dev->type->props; p && p->name; p++) {
        g_autofree char *v = device_get(dev, p->name);
        hmp_printf(h, "%*s%s = %s\n", depth * 2 + 2, "", p->name, v ? v : "\"\"");
    }
    for (GList *l = dev->buses; l && depth < TREE_DEPTH; l = l->next) {
        tree_bus(h, l->data, depth + 1);
    }
}

static void tree_bus(Hmp *h, const Bus *bus, unsigned depth)
{
    hmp_printf(h, "%*sbus: %s\n%*stype %s\n", depth * 2, "", bus->name, depth * 2 + 2, "",
               bus->kind);
    for (GList *l = bus->children; l && depth < TREE_DEPTH; l = l->next) {
        tree_device(h, l->data, depth + 1);
    }
}

static void info_qtree(Hmp *h, const HmpArgs *a)
{
    hmp_printf(h, "bus: main-system-bus\n  type System\n");
    if (h->m->root_bus) {
        tree_bus(h, h->m->root_bus, 1);
    }
    for (guint i = 0; i < h->m->devices->len; i++) {
        const Device *dev = h->m->devices->pdata[i];
        if (!dev->bus) {
            tree_device(h, dev, 1);
        }
    }
}

/* ---- PCI ---- */

static const char *pci_class_name(uint16_t class)
{
    static const struct {
        uint16_t class;
        const char *name;
    } names[] = {
        {0x0100, "SCSI controller"},
        {0x0101, "IDE controller"},
        {0x0102, "Floppy controller"},
        {0x0106, "SATA controller"},
        {0x0200, "Ethernet controller"},
        {0x0300, "VGA controller"},
        {0x0380, "Display controller"},
        {0x0401, "Audio controller"},
        {0x0500, "RAM controller"},
        {0x0600, "Host bridge"},
        {0x0601, "ISA bridge"},
        {0x0604, "PCI bridge"},
        {0x0680, "Bridge"},
        {0x0700, "Serial port"},
        {0x0780, "Communication controller"},
        {0x0c03, "USB controller"},
        {0x0c05, "SMBus"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (names[i].class == class) {
            return names[i].name;
        }
    }
    return NULL;
}

static void pci_bars(Hmp *h, const PciDevice *d)
{
    for (unsigned n = 0; n <= PCI_ROM_SLOT; n++) {
        const PciBar *b = &d->bars[n];
        uint64_t addr;

        if (!b->region) {
            continue;
        }
        addr = pci_bar_addr(d, n);
        hmp_printf(h, "      BAR%u: ", n);
        if (b->flags & PCI_BAR_IO) {
            hmp_printf(h, "I/O at 0x%04" PRIx64 " [0x%04" PRIx64 "].\n", addr & 0xffff,
                       (addr + b->size - 1) & 0xffff);
        } else {
            hmp_printf(h, "%d bit%s memory at 0x%08" PRIx64 " [0x%08" PRIx64 "].\n",
                       b->flags & PCI_BAR_MEM64 ? 64 : 32,
                       b->flags & PCI_BAR_PREFETCH ? " prefetchable" : "", addr,
                       addr + b->size - 1);
        }
    }
}

static void info_pci(Hmp *h, const HmpArgs *a)
{
    for (guint i = 0; i < h->m->devices->len; i++) {
        const Device *dev = h->m->devices->pdata[i];
        if (!dev->bus || strcmp(dev->bus->kind, "PCI")) {
            continue;
        }
        const PciDevice *d = (const PciDevice *)dev;
        uint16_t class = pci_get16(d->config + 0x0a);
        const char *name = pci_class_name(class);

        hmp_printf(h, "  Bus %2u, device %3d, function %d:\n    ", d->bus ? d->bus->number : 0,
                   PCI_SLOT(d->devfn), PCI_FUNC(d->devfn));
        if (name) {
            hmp_printf(h, "%s", name);
        } else {
            hmp_printf(h, "Class %04x", class);
        }
        hmp_printf(h, ": PCI device %04x:%04x\n", pci_get16(d->config), pci_get16(d->config + 2));
        if (pci_get16(d->config + 0x2c)) {
            hmp_printf(h, "      PCI subsystem %04x:%04x\n", pci_get16(d->config + 0x2c),
                       pci_get16(d->config + 0x2e));
        }
        if (d->config[0x3d]) {
            hmp_printf(h, "      IRQ %d, pin %c\n", d->config[0x3c], d->config[0x3d] + 'A' - 1);
        }
        pci_bars(h, d);
        hmp_printf(h, "      id \"%s\"\n", dev->id ? dev->id : "");
    }
}

static void info_network(Hmp *h, const HmpArgs *a)
{
    hmp_take(h, net_info(h->m));
}

static void info_usernet(Hmp *h, const HmpArgs *a)
{
    hmp_take(h, net_user_info(h->m));
}

static void info_balloon(Hmp *h, const HmpArgs *a)
{
    const MachineBalloon *b = &h->m->balloon;

    if (b->opaque) {
        hmp_printf(h, "balloon: actual=%" PRIu64 "\n", b->get_actual(b->opaque) >> 20);
    } else {
        hmp_printf(h, "Error: No balloon device has been activated\n");
    }
}

const HmpCommand hmp_info_commands[] = {
    {"balloon", "", NULL, "show balloon information", info_balloon},
    {"status", "", NULL, "show the current VM status (running|paused)", info_status},
    {"version", "", NULL, "show the version of the program", info_version},
    {"name", "", NULL, "show the current VM name", info_name},
    {"uuid", "", NULL, "show the current VM UUID", info_uuid},
    {"registers", "all:-a", "[-a]", "show the CPU registers (-a: of all CPUs)", info_registers},
    {"cpus", "", NULL, "show infos for each CPU", info_cpus},
    {"mem", "", NULL, "show the active virtual memory mappings", info_mem, true},
    {"tlb", "", NULL, "show virtual to physical memory mappings", info_tlb, true},
    {"mtree", "flat:-f", "[-f]", "show memory tree (-f: dump flat view)", info_mtree},
    {"roms", "", NULL, "show roms", info_roms},
    {"jit", "", NULL, "show statistics of the translator", info_jit},
    {"block", "verbose:-v,device:s?", "[-v] [device]", "show the block devices", hmp_info_block},
    {"snapshots", "", NULL, "show the snapshots of the machine", hmp_info_snapshots},
    {"blockstats", "", NULL, "show block device statistics", hmp_info_blockstats},
    {"chardev", "", NULL, "show the character devices", info_chardev},
    {"mice", "", NULL, "show which guest mouse is receiving events", info_mice},
    {"usb", "", NULL, "show guest USB devices", info_usb},
    {"vnc", "", NULL, "show the vnc server status", info_vnc},
    {"network", "", NULL, "show the network state", info_network},
    {"usernet", "", NULL, "show user network stack connection states", info_usernet},
    {"kvm", "", NULL, "show KVM information", info_kvm},
    {"pic", "", NULL, "show PIC and I/O APIC state", info_pic},
    {"lapic", "apic-id:i?", "[apic-id]", "show local APIC state", info_lapic},
    {"device", "name:s", "type-or-id", "show the registers of a device", info_device},
    {"qtree", "", NULL, "show device tree", info_qtree},
    {"pci", "", NULL, "show PCI info", info_pci},
    {NULL},
};
