/*
 * Machine `pc`: see pc.h. Memory map of the i440FX; the chips in the order a board's designer would
 * name them. Reads top to bottom.
 */
#include "hw/machine/pc.h"
#include "block/block.h"
#include "core/intc.h"
#include "core/log.h"
#include "hw/acpi/acpi_tables.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/block/fdc82078.h"
#include "hw/char/debugcon.h"
#include "hw/char/ns16550.h"
#include "hw/char/parallel.h"
#include "hw/display/cirrus.h"
#include "hw/display/vga.h"
#include "hw/dma/i8237.h"
#include "hw/firmware/fw_cfg.h"
#include "hw/firmware/linux_boot.h"
#include "hw/firmware/rom.h"
#include "hw/firmware/smbios.h"
#include "hw/ide/piix3_ide.h"
#include "hw/input/i8042.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"
#include "hw/isa/isa.h"
#include "hw/isa/piix3.h"
#include "hw/misc/port92.h"
#include "hw/pci/i440fx.h"
#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "hw/timer/mc146818.h"
#include "hw/timer/pcspk.h"
#include "hw/usb/uhci.h"
#include <string.h>

typedef struct Pc {
    PcMemoryLayout layout;
    MemRegion ram;
    PcBios bios;
    I440Fx *host;
    Piix3 *south;
    IsaBus isa;
    LapicBus *apics;
    I8259 *pic;
    Ioapic *ioapic;
    I8254 *pit;
    Hpet *hpet;
    Mc146818 *rtc;
    FwCfg *fw_cfg;
    Piix4Pm *pm;
    Piix3Ide *ide;
    Fdc *fdc;
    uint8_t com_ports; /* bit n: COM(n+1) is fitted */
    uint8_t lpt_ports;
    Irq gsi[IOAPIC_PINS];
    bool boot_once; /* -boot once= is in CMOS, until the next reset */
    bool powered_on;
    /* A20 is open when either source opens it. */
    bool a20_kbc, a20_port92;
} Pc;

/* An ISA interrupt line n reaches the 8259 pair and the I/O APIC (line 0 its pin 2). */
static void isa_line(void *opaque, int n, int level)
{
    Pc *pc = opaque;
    Irq pic = i8259_irq(pc->pic, n), apic = ioapic_irq(pc->ioapic, n ? n : 2);
    if (n != 2) {
        irq_set(&pic, level);
        irq_set(&apic, level);
    }
}

static void update_a20(Machine *m)
{
    Pc *pc = m->board;
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        m->vcpus[i]->target->board->set_a20(m->vcpus[i], pc->a20_kbc || pc->a20_port92);
    }
}

static void a20_line(void *opaque, int n, int level)
{
    Machine *m = opaque;
    Pc *pc = m->board;
    *(n ? &pc->a20_port92 : &pc->a20_kbc) = level;
    update_a20(m);
}

static void cpu_reset_line(void *opaque, int n, int level)
{
    if (level) {
        machine_request_reset(opaque, SHUTDOWN_GUEST_RESET);
    }
}

static void send_msi(void *opaque, uint64_t addr, uint32_t data)
{
    lapic_deliver_msi(((Pc *)opaque)->apics, addr, data);
}

/* FERR# of any CPU: IRQ 13, as the coprocessor error of the AT. */
static void ferr(void *opaque, int level)
{
    machine_lock();
    isa_line(opaque, 13, level);
    machine_unlock();
}

static void power_button(Machine *m)
{
    Pc *pc = m->board;
    if (pc->pm) {
        piix4_pm_power_button(pc->pm);
    }
}

static void nmi_button(Machine *m)
{
    Irq nmi = lapic_bus_nmi(((Pc *)m->board)->apics);
    irq_pulse(&nmi);
}

/* Boot order, from the next start of the firmware on. */
static bool set_boot_order(Machine *m, const char *order, GError **err)
{
    Pc *pc = m->board;
    uint8_t cmos38, cmos3d;

    if (!pc_boot_order_cmos(order, &cmos38, &cmos3d, err)) {
        return false;
    }
    mc146818_set(pc->rtc, 0x38, cmos38);
    mc146818_set(pc->rtc, 0x3d, cmos3d);
    pc->boot_once = false;
    return true;
}

/* The first reset is power-on. */
static void undo_boot_once(void *opaque)
{
    Machine *m = opaque;
    Pc *pc = m->board;

    if (pc->powered_on && pc->boot_once) {
        set_boot_order(m, m->cfg.boot_order, NULL); /* fill_cmos() has checked it */
    }
    pc->powered_on = true;
}

static bool create_ram(Machine *m, Pc *pc, GError **err)
{
    pc->layout = pc_memory_layout(m->cfg.ram_size);
    if (!mem_region_init_ram(&pc->ram, "pc.ram", m->cfg.ram_size, err)) {
        return false;
    }
    m->ram = &pc->ram;
    return true;
}

static bool create_cpus(Machine *m, Pc *pc, GError **err)
{
    pc->apics = lapic_bus_new(m, &m->memory_root);
    for (unsigned i = 0; i < m->cfg.smp; i++) {
        VCpu *cpu = vcpu_new(m, m->cfg.target, m->accel, i, m->cfg.cpu_model, err);
        if (!cpu) {
            return false;
        }
        Lapic *l = lapic_new(pc->apics, cpu, i, m->virtual_clock, err);
        if (!l) {
            return false;
        }
        cpu_set_intc(cpu, &lapic_intc, l);
        cpu->target->board->set_local_id(cpu, i);
        cpu->target->board->set_fpu_error(cpu, ferr, pc);
    }
    return true;
}

/* Interrupt controllers, timers, RTC: what every PC since 1984 has. */
static bool create_core_chips(Machine *m, Pc *pc, GError **err)
{
    MemRegion *io = &m->io_root;
    if (!(pc->pic = i8259_new(m, io, lapic_bus_intr(pc->apics), err))) {
        return false;
    }
    lapic_bus_set_inta(pc->apics, i8259_ack, pc->pic);
    pc->ioapic = ioapic_new(m, &m->memory_root, IOAPIC_BASE, 0, pc->apics, err);
    if (!pc->ioapic) {
        return false;
    }
    for (unsigned i = 0; i < 16; i++) {
        pc->isa.irq[i] = (Irq){isa_line, pc, i};
    }
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        pc->gsi[i] = ioapic_irq(pc->ioapic, i);
    }
    pc->host = i440fx_new(m, &pc->layout, NULL, err);
    if (!pc->host) {
        return false;
    }
    m->root_bus = &i440fx_bus(pc->host)->bus;
    pci_bus_set_msi(i440fx_bus(pc->host), send_msi, pc);
    pc->south = piix3_new(m, pc->host, PCI_DEVFN(1, 0), pc->isa.irq, err);
    if (!pc->south) {
        return false;
    }
    for (unsigned i = 0; i < 16; i++) {
        pc->isa.irq[i] = piix3_isa_irq(pc->south, i);
    }
    Irq irq0 = pc->isa.irq[0], irq8 = pc->isa.irq[8];
    if (!m->cfg.no_hpet) {
        const Irq legacy[2] = {irq0, irq8};
        pc->hpet = hpet_new(m, &m->memory_root, m->virtual_clock, legacy, pc->gsi, err);
        if (!pc->hpet) {
            return false;
        }
        irq0 = hpet_legacy_in(pc->hpet, 0);
        irq8 = hpet_legacy_in(pc->hpet, 1);
    }
    const char *clk = m->cfg.rtc_clock;
    const Mc146818Config rtc = {
        .clock = !clk || !strcmp(clk, "host") ? m->host_clock
                 : !strcmp(clk, "vm")         ? m->virtual_clock
                                              : m->mono_clock,
        .host = m->host_clock,
        .base = m->cfg.rtc_base,
        .slew = m->cfg.rtc_slew,
        .irq = irq8,
    };
    return (pc->pit = i8254_new(m, io, m->virtual_clock, irq0, err)) &&
           pcspk_new(m, io, m->virtual_clock, pc->pit, err) &&
           (pc->rtc = mc146818_new(m, io, &rtc, err));
}

/* The low-speed devices behind the south bridge. */
static bool create_isa_devices(Machine *m, Pc *pc, GError **err)
{
    static const struct {
        uint16_t io;
        uint8_t irq;
    } com[4] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};
    IsaBus *isa = &pc->isa;
    const Irq reset = {cpu_reset_line, m, 0};

    bus_init(&isa->bus, "ISA", "isa.0", (Device *)pc->south);
    isa->io = &m->io_root;
    isa->mem = i440fx_pci_mem(pc->host);
    isa->mem_space = m->memory;
    isa->clock = m->virtual_clock;
    isa->machine = m;
    if (!i8237_new(isa, err) || !i8042_new(isa, (Irq){a20_line, m, 0}, reset, err) ||
        !port92_new(isa, (Irq){a20_line, m, 1}, reset, err)) {
        return false;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(com); i++) {
        if (m->cfg.serial[i]) {
            if (!ns16550_new_isa(isa, com[i].io, com[i].irq, m->cfg.serial[i], err)) {
                return false;
            }
            pc->com_ports |= 1 << i;
        }
    }
    static const struct {
        uint16_t io;
        uint8_t irq;
    } lpt[3] = {{0x378, 7}, {0x278, 5}, {0x3bc, 7}};
    for (unsigned i = 0; i < G_N_ELEMENTS(lpt); i++) {
        if (m->cfg.parallel[i]) {
            if (!parallel_new_isa(isa, lpt[i].io, lpt[i].irq, m->cfg.parallel[i], err)) {
                return false;
            }
            pc->lpt_ports |= 1 << i;
        }
    }
    if (m->cfg.has_display) {
        bool std = m->cfg.vga && !strcmp(m->cfg.vga, "std");
        if (!(std ? vga_new_pci : cirrus_new)(i440fx_bus(pc->host), PCI_DEVFN(2, 0), err)) {
            return false;
        }
    }
    if (!(pc->fdc = fdc_new(isa, 0x3f0, 6, 2, err))) {
        return false;
    }
    return !m->cfg.debugcon || debugcon_new(isa, 0xe9, m->cfg.debugcon, err);
}

/* Two floppy drives at most; the first one is always fitted, as users expect. */
static bool create_floppies(Machine *m, Pc *pc, GError **err)
{
    bool taken[2] = {false};
    GPtrArray *drives = m->cfg.drives;
    for (guint i = 0; drives && i < drives->len; i++) {
        DriveSpec *d = drives->pdata[i];
        if (d->iface != DRIVE_IF_FLOPPY) {
            continue;
        }
        int unit = d->index >= 0 ? d->index : taken[0];
        BlockDev *media = NULL;
        if (unit > 1 || taken[unit]) {
            return fail(err,
                        "-drive %s: there are two floppy drives, A and B, and this place is "
                        "taken",
                        d->file ? d->file : "");
        }
        d->index = unit;
        if (!drive_take(m, d, DRIVE_FLOPPY, &media, err)) {
            return false;
        }
        if (!fdc_attach(pc->fdc, unit, media, err)) {
            drive_release(m, d);
            return false;
        }
        fdc_set_drive(pc->fdc, unit, d);
        taken[unit] = true;
    }
    if (taken[0] || !m->cfg.default_devices) {
        return true;
    }
    DriveSpec *a = drive_new(NULL, DRIVE_IF_FLOPPY, 0, false);
    BlockDev *none;
    if (drives) {
        g_ptr_array_add(drives, a);
    }
    return drive_take(m, a, DRIVE_FLOPPY, &none, err) && fdc_attach(pc->fdc, 0, NULL, err) &&
           fdc_set_drive(pc->fdc, 0, a);
}

static bool attach_drive(Machine *m, Pc *pc, DriveSpec *d, unsigned index, GError **err)
{
    AtaDriveConfig cfg = {
        .kind = d->cdrom ? ATA_CDROM : ATA_DISK, .serial = d->serial, .drive = d, .machine = m};
    d->index = index;
    if (!drive_take(m, d, d->cdrom ? DRIVE_CDROM : DRIVE_DISK, &cfg.block, err)) {
        return false;
    }
    if (!piix3_ide_attach(pc->ide, index / 2, index % 2, &cfg, err)) {
        drive_give_back(d);
        return false;
    }
    return true;
}

static bool create_disks(Machine *m, Pc *pc, GError **err)
{
    const Irq irq[2] = {pc->isa.irq[14], pc->isa.irq[15]};
    bool taken[4] = {false};
    pc->ide = piix3_ide_new(m, i440fx_bus(pc->host), PCI_DEVFN(1, 1), irq, err);
    if (!pc->ide) {
        return false;
    }
    GPtrArray *drives = m->cfg.drives;
    for (guint i = 0; drives && i < drives->len; i++) {
        DriveSpec *d = drives->pdata[i];
        if (d->iface == DRIVE_IF_IDE && d->index >= 4) {
            return fail(err, "-drive %s: index %d is too high, there are four IDE drives",
                        d->file ? d->file : "", d->index);
        }
        if (d->iface == DRIVE_IF_IDE && d->index >= 0) {
            taken[d->index] = true;
        }
    }
    for (guint i = 0; drives && i < drives->len; i++) {
        DriveSpec *d = drives->pdata[i];
        int index = d->index;
        if (d->iface == DRIVE_IF_NONE || d->iface == DRIVE_IF_FLOPPY ||
            d->iface == DRIVE_IF_VIRTIO) {
            continue;
        }
        if (d->iface != DRIVE_IF_IDE) {
            return fail(err,
                        "-drive %s: a PC has no such drives; use if=ide, floppy, virtio or none",
                        d->file ? d->file : "");
        }
        if (index < 0) {
            /* CDs go to the second channel first, as people expect of -cdrom. */
            for (index = d->cdrom ? 2 : 0; index < 4 && taken[index]; index++) {
            }
            if (index == 4) {
                return fail(err, "-drive %s: all four IDE drives are in use",
                            d->file ? d->file : "");
            }
            taken[index] = true;
        }
        if (!attach_drive(m, pc, d, index, err)) {
            return false;
        }
    }
    /* As in a shop-bought PC: an empty CD drive. */
    if (m->cfg.default_devices && !taken[2]) {
        DriveSpec *cd = drive_new(NULL, DRIVE_IF_IDE, 2, true);
        if (drives) {
            g_ptr_array_add(drives, cd);
        }
        return attach_drive(m, pc, cd, 2, err);
    }
    return true;
}

static bool create_usb(Machine *m, Pc *pc, GError **err)
{
    return !m->cfg.usb || piix3_uhci_new(m, i440fx_bus(pc->host), PCI_DEVFN(1, 2), err);
}

static bool create_power_management(Machine *m, Pc *pc, GError **err)
{
    const Piix4PmConfig cfg = {
        .clock = m->virtual_clock,
        .sci = pc->isa.irq[PIIX4_SCI_IRQ],
        .ram_size = m->cfg.ram_size,
    };
    /* Firmware that finds this function makes ACPI tables of its own. */
    if (m->cfg.no_acpi) {
        return true;
    }
    pc->pm = piix4_pm_new(m, i440fx_bus(pc->host), PCI_DEVFN(1, 3), &cfg, err);
    return pc->pm;
}

/* Memory sizes and equipment as AT firmware looks for them in CMOS. */
static bool fill_cmos(Machine *m, Pc *pc, GError **err)
{
    uint64_t low = pc->layout.below_4g, high = pc->layout.above_4g;
    unsigned ext_kb = MIN((low >> 10) - 1024, 0xffff);
    unsigned above_16m = low > 16 << 20 ? MIN((low - (16 << 20)) >> 16, 0xffff) : 0;
    uint8_t cmos38, cmos3d;
    const char *once = m->cfg.boot_once;
    if (once && !pc_boot_order_cmos(m->cfg.boot_order, &cmos38, &cmos3d, err)) {
        return false;
    }
    const char *order = once ? once : m->cfg.boot_order;
    if (!pc_boot_order_cmos(order, &cmos38, &cmos3d, err)) {
        return false;
    }
    bool a = fdc_drive_type(pc->fdc, 0), b = fdc_drive_type(pc->fdc, 1);
    uint8_t floppies = b ? 0x41 : a ? 0x01 : 0;
    const struct {
        uint8_t index, val;
    } bytes[] = {
        {0x10, fdc_drive_type(pc->fdc, 0) << 4 | fdc_drive_type(pc->fdc, 1)},
        {0x14, floppies | 0x04 | 0x02}, /* mouse, x87 */
        {0x15, 640 & 0xff},
        {0x16, 640 >> 8},
        {0x17, ext_kb},
        {0x18, ext_kb >> 8},
        {0x30, ext_kb},
        {0x31, ext_kb >> 8},
        {0x34, above_16m},
        {0x35, above_16m >> 8},
        {0x5b, high >> 16},
        {0x5c, high >> 24},
        {0x5d, high >> 32},
        {0x5f, m->cfg.smp - 1},
        {0x38, cmos38},
        {0x3d, cmos3d},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bytes); i++) {
        mc146818_set(pc->rtc, bytes[i].index, bytes[i].val);
    }
    pc->boot_once = once;
    machine_add_reset_hook(m, undo_boot_once, m);
    return true;
}

static bool install_tables(Machine *m, Pc *pc, GError **err)
{
    const CpuIdentity cpu = cpu_identity(m->vcpus[0]);
    const E820Entry map[] = {
        {0, pc->layout.below_4g, E820_RAM},
        {PC_HIGH_RAM, pc->layout.above_4g, E820_RAM},
    };
    AcpiPcConfig acpi = {
        .layout = pc->layout,
        .n_cpus = m->cfg.smp,
        .phys_bits = cpu.phys_bits,
        .hpet = !m->cfg.no_hpet,
        .rtc = true,
        .keyboard = true,
        .mouse = true,
        .floppy = fdc_drive_type(pc->fdc, 0) || fdc_drive_type(pc->fdc, 1),
        .vga = m->cfg.has_display,
        .serial = pc->com_ports,
        .parallel = pc->lpt_ports,
    };
    SmbiosConfig smbios = {
        .layout = pc->layout,
        .sockets = m->cfg.sockets,
        .cores = m->cfg.cores,
        .threads = m->cfg.threads,
        .cpu_vendor = cpu.vendor,
        .cpu_signature = cpu.signature,
        .cpu_features = cpu.features,
    };
    memcpy(smbios.uuid, m->cfg.uuid, sizeof smbios.uuid);
    acpi.s4 = pc->pm && piix4_pm_has_s4(pc->pm, &acpi.s4_val);
    pc->fw_cfg = fw_cfg_new(m, err);
    bool ok = pc->fw_cfg && fw_cfg_setup_pc(pc->fw_cfg, map, pc->layout.above_4g ? 2 : 1, err) &&
              (m->cfg.no_acpi || acpi_tables_install(pc->fw_cfg, &acpi, err)) &&
              smbios_add_options(&smbios, m->cfg.smbios, err) &&
              smbios_install(pc->fw_cfg, &smbios, err) &&
              direct_boot_setup(m, pc->fw_cfg, &pc->layout, err) &&
              fw_cfg_add_user_items(pc->fw_cfg, m->cfg.fw_cfg, err);
    smbios_clear_options(&smbios);
    return ok;
}

static bool pc_init(Machine *m, GError **err)
{
    Pc *pc = g_new0(Pc, 1);
    m->board = pc;
    pc->a20_kbc = true;
    if (m->cfg.dtb) {
        return fail(err, "-dtb: machine '%s' has no device tree", m->type->name);
    }
    bool ok = create_ram(m, pc, err) && create_cpus(m, pc, err) && create_core_chips(m, pc, err) &&
              pc_bios_load(&pc->bios, m, i440fx_pci_mem(pc->host), m->cfg.bios, err) &&
              create_isa_devices(m, pc, err) && create_disks(m, pc, err) &&
              create_floppies(m, pc, err) && create_usb(m, pc, err) &&
              create_power_management(m, pc, err) && fill_cmos(m, pc, err) &&
              install_tables(m, pc, err);
    m->power_button = power_button;
    m->nmi = nmi_button;
    m->boot_set = set_boot_order;
    return ok;
}

/* Called after all devices and vCPUs are gone. */
static void pc_fini(Machine *m)
{
    Pc *pc = m->board;
    if (pc->apics) {
        lapic_bus_free(pc->apics);
    }
    pc_bios_free(&pc->bios);
    if (m->ram) {
        mem_region_destroy(&pc->ram);
        m->ram = NULL;
    }
    g_free(pc);
    m->board = NULL;
}

static const char *const pc_archs[] = {"x86_64", "i386", NULL};

const MachineType pc_machine = {
    .name = "pc",
    .alias = "pc-i440fx-7.2",
    .desc = "PC (i440FX, PIIX3, 1996)",
    .archs = pc_archs,
    .max_vcpus = 64,
    .has_usb = true,
    .default_ram = 128 << 20,
    .default_drive_if = DRIVE_IF_IDE,
    .init = pc_init,
    .fini = pc_fini,
};
