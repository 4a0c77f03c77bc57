/*
 * Local APICs, one for each vCPU, and the bus that connects them with I/O APICs and MSI.
 *
 * Set-up by a board, in this order:
 *   bus = lapic_bus_new(m, memory);                    maps FEE00000h
 *   for each vCPU: l = lapic_new(bus, cpu, id, clock, err);
 *                  cpu_set_intc(cpu, &lapic_intc, l); board->set_local_id(cpu, id);
 *   pic = i8259_new(m, io, lapic_bus_intr(bus), err); lapic_bus_set_inta(bus, i8259_ack, pic);
 *   ioapic_new(…, bus, …)                              registers itself for EOI messages
 * The vCPUs exist before, and the bus is freed after, the local APICs (which are devices).
 */
#ifndef RHEA_HW_INTC_LAPIC_H
#define RHEA_HW_INTC_LAPIC_H

#include "core/intc.h"
#include "core/irq.h"
#include "core/machine.h"

#define LAPIC_BASE 0xfee00000u
/* Ticks of the timer a second with a divide value of 1. */
#define LAPIC_TIMER_HZ 1000000000u

typedef struct LapicBus LapicBus;
typedef struct Lapic Lapic;

/* Delivery modes, as in ICR, LVT, redirection entries and MSI data. */
enum { LAPIC_FIXED, LAPIC_LOWEST, LAPIC_SMI, LAPIC_NMI = 4, LAPIC_INIT, LAPIC_SIPI, LAPIC_EXTINT };

/* An interrupt message of a device: destinations are 8 bits wide. */
typedef struct LapicMsg {
    uint8_t vector, mode, dest;
    bool logical, level; /* level: level triggered (sets TMR) */
} LapicMsg;

/* Maps the register window into @mem. Accesses go to the APIC of the vCPU that makes them, those
 * of other threads to the first one. */
LapicBus *lapic_bus_new(Machine *m, MemRegion *mem);
void lapic_bus_free(LapicBus *bus);
/* INTR of the 8259 pair: drives LINT0 of all, and INTR of CPUs whose APIC is disabled. */
Irq lapic_bus_intr(LapicBus *bus);
/* NMI button and SERR#: drives LINT1 of all, and the NMI pin where the APIC is disabled. */
Irq lapic_bus_nmi(LapicBus *bus);
/* @inta(opaque) is the INTA cycle that a CPU makes for ExtINT; under the machine lock. */
void lapic_bus_set_inta(LapicBus *bus, int (*inta)(void *opaque), void *opaque);
/* @eoi(opaque, vector): a CPU ended a level-triggered interrupt. Machine lock. */
void lapic_bus_add_eoi(LapicBus *bus, void (*eoi)(void *opaque, uint8_t vector), void *opaque);
void lapic_bus_del_eoi(LapicBus *bus, void *opaque);
/* Deliver a message. Any thread, lock or not. False if no CPU took it. */
bool lapic_bus_send(LapicBus *bus, const LapicMsg *msg);
/* A write to FEExxxxxh by a device (PCI MSI, HPET). Any thread. */
void lapic_deliver_msi(LapicBus *bus, uint64_t addr, uint32_t data);

/* @apic_id: up to 254 (more in x2APIC mode only). The vCPU with index 0 is the BSP. */
Lapic *lapic_new(LapicBus *bus, VCpu *cpu, uint32_t apic_id, Clock *clk, GError **err);
/* The CPU's side; opaque is the Lapic. */
extern const LocalIntc lapic_intc;

/* What it asks of its CPU; the default asks Target.board. */
typedef struct LapicCpuOps {
    uint64_t (*tsc_hz)(VCpu *cpu);
    uint64_t (*tsc_read)(VCpu *cpu);
    unsigned (*phys_bits)(VCpu *cpu);
} LapicCpuOps;
void lapic_set_cpu_ops(Lapic *l, const LapicCpuOps *ops);

#endif
