/*
 * What an x86 CPU asks of its interrupt controller: a local APIC, or the bare 8259 pair wired to
 * INTR. The board sets it on each vCPU through x86_set_intc(). Lock-free unless noted.
 */
#ifndef RHEA_CORE_X86_INTC_H
#define RHEA_CORE_X86_INTC_H

#include "core/vcpu.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct X86Intc {
    /* Vector to take now, and acknowledge it (INTA); -1 if there is none after all.
     * Takes the machine lock itself. */
    int (*ack)(void *opaque);
    /* Task priority, CR8 form (0…15). */
    uint8_t (*get_tpr)(void *opaque);
    void (*set_tpr)(void *opaque, uint8_t cr8);
    /* IA32_APIC_BASE, x2APIC registers (0x800…0x8ff), IA32_TSC_DEADLINE. false = no such MSR (#GP).
     */
    bool (*msr_read)(void *opaque, uint32_t msr, uint64_t *val);
    bool (*msr_write)(void *opaque, uint32_t msr, uint64_t val);
    /* INIT (not power-on) reached this CPU. */
    void (*init_reset)(void *opaque);
} X86Intc;

/* Implemented in target/x86. */
void x86_set_intc(VCpu *cpu, const X86Intc *intc, void *opaque);
/* A20 line (keyboard controller, port 92h). Machine lock. */
void x86_set_a20(VCpu *cpu, bool on);
/* SMI# through port B2h: in SMM if the CPU's SMBASE has it. Machine lock. */
void x86_set_apic_id(VCpu *cpu, uint32_t id);
/* FERR# → IRQ 13 of the legacy x87 error path; fn is called from the vCPU thread. */
void x86_set_ferr(VCpu *cpu, void (*fn)(void *opaque, int level), void *opaque);
/* SMIACT#: fn is called from the vCPU thread when SMM is entered and left (machine lock not held).
 */
void x86_set_smm_hook(VCpu *cpu, void (*fn)(void *opaque, bool in_smm), void *opaque);
/* The guest's TSC frequency in Hz and value at virtual time now (TSC deadline timer). */
uint64_t x86_tsc_hz(VCpu *cpu);
uint64_t x86_tsc_read(VCpu *cpu);
/* Direct entry for -kernel without a BIOS (PVH, Multiboot): 32-bit flat protected mode. */
void x86_enter_flat32(VCpu *cpu, uint32_t eip, uint32_t eax, uint32_t ebx);
/* Physical address bits of the CPU model. */
unsigned x86_phys_bits(VCpu *cpu);

#endif
