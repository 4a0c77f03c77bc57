/*
 * Between a vCPU and its board, in neutral terms: what a local interrupt controller offers its CPU
 * (LocalIntc), and the pins and facts a CPU offers its board (CpuBoardOps, Target.board).
 */
#ifndef RHEA_CORE_INTC_H
#define RHEA_CORE_INTC_H

#include "core/vcpu.h"
#include <stdbool.h>
#include <stdint.h>

/* A local APIC, a GIC CPU interface, or a bare controller on the interrupt pin. The board sets it
 * on each vCPU with cpu_set_intc(). vCPU thread, lock-free unless noted; members may be NULL. */
typedef struct LocalIntc {
    /* Number to take now, and acknowledge it; -1 if there is none after all. Takes the machine
     * lock itself. */
    int (*ack)(void *opaque);
    /* Priority mask in the CPU's own form (x86: CR8, 0…15). */
    uint8_t (*get_priority)(void *opaque);
    void (*set_priority)(void *opaque, uint8_t priority);
    /* Registers of the controller that the CPU reaches as system registers, by the CPU's number
     * (x86: MSR 1Bh, 6E0h, 800h…8FFh). false = no such register. */
    bool (*reg_read)(void *opaque, uint32_t reg, uint64_t *val);
    bool (*reg_write)(void *opaque, uint32_t reg, uint64_t val);
    /* INIT (not power-on) reached this CPU. */
    void (*init_reset)(void *opaque);
} LocalIntc;

/* What tables for firmware say about a CPU model. */
typedef struct CpuIdentity {
    const char *vendor;  /* lives as long as the vCPU */
    uint32_t signature;  /* SMBIOS "processor ID", low and high half */
    uint32_t features;   /* (x86: CPUID.1 EAX and EDX) */
    unsigned phys_bits;  /* width of a physical address */
    bool long_addresses; /* 64-bit capable */
} CpuIdentity;

/* A member is NULL where the architecture has no such thing. */
typedef struct CpuBoardOps {
    void (*set_intc)(VCpu *cpu, const LocalIntc *intc, void *opaque);
    /* The number that interrupt controllers know this CPU by. */
    void (*set_local_id)(VCpu *cpu, uint32_t id);
    void (*identity)(VCpu *cpu, CpuIdentity *id);
    /* The CPU's time stamp or system counter: Hz, and its value at virtual time now. Any thread. */
    uint64_t (*counter_hz)(VCpu *cpu);
    uint64_t (*counter_read)(VCpu *cpu);
    /* A20M# (keyboard controller, port 92h). Machine lock. */
    void (*set_a20)(VCpu *cpu, bool on);
    /* FERR#: @fn is called from the vCPU thread. */
    void (*set_fpu_error)(VCpu *cpu, void (*fn)(void *opaque, int level), void *opaque);
    /* SMIACT#: @fn is called from the vCPU thread when it enters and leaves system management
     * mode, between two instructions, machine lock not held. */
    void (*set_smm_hook)(VCpu *cpu, void (*fn)(void *opaque, bool in_smm), void *opaque);
    /* Direct entry for -kernel without firmware: 32-bit flat protected mode. vCPU thread. */
    void (*enter_flat32)(VCpu *cpu, uint32_t pc, uint32_t arg0, uint32_t arg1);
} CpuBoardOps;

/* Nothing happens when the architecture has no such interface. */
static inline void cpu_set_intc(VCpu *cpu, const LocalIntc *intc, void *opaque)
{
    if (cpu->target->board && cpu->target->board->set_intc) {
        cpu->target->board->set_intc(cpu, intc, opaque);
    }
}

static inline CpuIdentity cpu_identity(VCpu *cpu)
{
    CpuIdentity id = {.vendor = "", .phys_bits = 36};
    if (cpu->target->board && cpu->target->board->identity) {
        cpu->target->board->identity(cpu, &id);
    }
    return id;
}

#endif
