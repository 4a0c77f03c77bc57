/*
 * Machine `pc`: see pc.h. Memory map of the i440FX; the chips in the order a board's designer would
 * name them. Reads top to bottom.
 */
#include "hw/machine/pc.h"
#include "block/block.h"
#include "core/log.h"
#include "core/x86-intc.h"
#include "hw/acpi/acpi_tables.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/block/fdc82078.h"
#include "hw/char/debugcon.h"
#include "hw/char/ns16550.h"
#include "hw/char/parallel.h"
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
    Irq gsi[IOAPIC_PINS];
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
        x86_set_a20(m->vcpus[i], pc->a20_kbc || pc->a20_port92);
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
    piix4_pm_power_button(((Pc *)m->board)->pm);
}

static void nmi_button(Machine *m)
{
    Irq nmi = lapic_bus_nmi(((Pc *)m->board)->apics);
    irq_pulse(&nmi);
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
        x86_set_intc(cpu, &lapic_intc, l);
        x86_set_apic_id(cpu, i);
        x86_set_ferr(cpu, ferr, pc);
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
