/*
 * What the translator needs from a guest architecture, and what guest helpers may call.
 * This header, ir.h and ir-vec.h are all that target/ sees of the jit.
 */
#ifndef RHEA_ACCEL_JIT_TARGET_H
#define RHEA_ACCEL_JIT_TARGET_H

#include "accel/jit/ir.h"
#include "core/vcpu.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A register that blocks keep as an IR global. */
typedef struct JitGlobal {
    const char *name;
    uint8_t type;  /* IR_I64, IR_I32 (32 bits of storage) or IR_V128 (16-byte aligned) */
    uint16_t heat; /* > 0: the hottest ones are pinned to host registers across blocks */
    uint32_t off;  /* in the state struct */
} JitGlobal;

typedef enum { JIT_READ, JIT_WRITE, JIT_EXEC } JitAccess;

/* Answer of a page-table walk. */
typedef struct JitPage {
    uint64_t phys;          /* of the page that holds the address (page aligned) */
    uint64_t leaf_size;     /* bytes that the guest's leaf entry maps, ≥ 4096 */
    bool read, write, exec; /* what this entry permits without another walk (dirty bit set…) */
    bool global;            /* survives a flush of non-global entries */
} JitPage;

enum { JIT_MAX_MMU = 8 };

struct JitTarget {
    const JitGlobal *globals;
    unsigned n_globals;
    uint16_t flags_global; /* index of the packed flags global (I32) */
    uint32_t pc_off;       /* uint64_t program counter in the state struct, no global */
    unsigned n_mmu;        /* mmu indexes 0…n_mmu-1 */
    unsigned max_block;    /* guest instructions in a block */
    unsigned poll_bytes;   /* reserved, 0 */

    /* What a block's translation depends on besides code bytes and pc: execution level, operand
     * sizes, segment bases… 64 bits, compared whole. */
    uint64_t (*get_mode)(VCpu *cpu);
    /* Linear address of the instruction at @pc in @mode. */
    uint64_t (*linear_pc)(VCpu *cpu, uint64_t pc, uint64_t mode);
    /* mmu index of code fetch and ordinary data access in @mode. */
    unsigned (*mmu_index)(uint64_t mode);
    /* Decode from b->pc until a block end and emit IR. At most @max guest instructions. Code
     * bytes come from jit_fetch(). An undecodable or unfetchable first instruction becomes a
     * helper call that raises the exception; a later one ends the block before it. Must set
     * b->n_guest and b->guest_bytes. */
    void (*translate)(VCpu *cpu, IrBlock *b, unsigned max);
    /* Walk for @vaddr. true: *page is filled. false: a fault; if @probe is false the exception
     * was made pending in the state (set_fault), the jit then unwinds to the instruction and
     * calls deliver. */
    bool (*walk)(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu, bool probe,
                 JitPage *page);
    /* Alignment fault for IRM_ALIGN: make it pending. */
    void (*set_align_fault)(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu);
    /* The pending exception made by walk() or a helper: enter its handler (change the state as
     * the CPU does). State is precise. May itself end in jit_raise() (double fault). */
    void (*deliver)(VCpu *cpu);
    /* VCpu.events is not 0 at an instruction boundary: take an interrupt, NMI, INIT… if it can
     * be taken now. Returns true if the state changed. */
    bool (*take_event)(VCpu *cpu);
    /* Before and after running translated code (for instance guest MXCSR is at this offset;
     * -1 when the target has none) */
    int32_t mxcsr_off; /* uint32_t guest MXCSR in the state struct, or -1 */
};

/* ---- for translate() ---- */

/* One code byte at linear address; false if that page cannot be fetched (no side effect). Records
 * what the block covers. */
bool jit_fetch(VCpu *cpu, uint64_t linear, uint8_t *byte);

/* Does the host have the instruction-set extensions in @vop_flags (IRVF_SSE3…, ir-vec.h), so that
 * vector operations that need them may be emitted? */
bool jit_host_has(uint32_t vop_flags);

/* ---- for helpers, on the vCPU's thread ---- */

/* Leave the helper and the block: the state is rolled to the start of the current guest
 * instruction (pc, flags), then JitTarget.deliver() runs. For helpers with IRH_FAULTS. */
G_NORETURN void jit_raise(VCpu *cpu);
/* Same roll-back, without deliver(): back to the dispatcher (halt, debug stop). */
G_NORETURN void jit_leave(VCpu *cpu);
/* Leave without roll-back: the helper has set the whole state, pc and flags included. */
G_NORETURN void jit_leave_done(VCpu *cpu);
/* Make pc and packed flags in the state those of the current guest instruction's start without
 * leaving (for helpers that read them; needs IRH_FAULTS). */
void jit_sync(VCpu *cpu);

/* Guest memory from helpers: by linear address, full permission checks as mmu index @mmu; a fault
 * does jit_raise(). Any alignment; MMIO too. */
uint64_t jit_load(VCpu *cpu, uint64_t vaddr, unsigned size, unsigned mmu);
void jit_store(VCpu *cpu, uint64_t vaddr, uint64_t val, unsigned size, unsigned mmu);
/* Check that [vaddr, vaddr+size) can be written (or read); jit_raise() if not. */
void jit_probe(VCpu *cpu, uint64_t vaddr, unsigned size, JitAccess access, unsigned mmu);
/* Host address of @vaddr if it is ordinary RAM that may be accessed so now, up to the page's
 * end; NULL for MMIO, code pages (writes), watched pages. A fault does jit_raise(). For strings. */
void *jit_host_ptr(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu);
/* 16-byte compare and swap for cmpxchg16b-like instructions; *old is what was there. */
bool jit_cas16(VCpu *cpu, uint64_t vaddr, const uint64_t expect[2], const uint64_t desired[2],
               uint64_t old[2], unsigned mmu);

/* Physical access of the CPU itself (page tables): view of system memory held by this vCPU. */
uint64_t jit_phys_load(VCpu *cpu, uint64_t paddr, unsigned size);
void jit_phys_store(VCpu *cpu, uint64_t paddr, uint64_t val, unsigned size);
/* Atomic or into a page-table entry if it still equals @old (A/D bits); false if it changed. */
bool jit_phys_cas(VCpu *cpu, uint64_t paddr, uint64_t old, uint64_t now, unsigned size);

/* TLB maintenance, vCPU thread. Also forget fetch translations (links across pages). */
void jit_tlb_flush(VCpu *cpu, bool keep_global);
void jit_tlb_flush_page(VCpu *cpu, uint64_t vaddr);

#endif
