/*
 * A virtual CPU as everybody but its own target and accelerator sees it.
 *
 * One host thread runs each vCPU. The architectural state is one struct per target whose first
 * member is VCpu. Whatever others want of a vCPU goes through vcpu_signal() (architectural
 * events) and vcpu_run_on()/vcpu_queue() (run a function on its thread between instructions).
 */
#ifndef RHEA_CORE_VCPU_H
#define RHEA_CORE_VCPU_H

#include "core/state.h"
#include <glib.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VCpu VCpu;
typedef struct Target Target;
typedef struct Accelerator Accelerator;
typedef struct Machine Machine;
typedef struct JitTarget JitTarget;     /* accel/jit/jit-target.h */
typedef struct CpuBoardOps CpuBoardOps; /* core/intc.h */
typedef struct KvmTarget KvmTarget;     /* accel/kvm/kvm-target.h */

/* Architectural events, bits of VCpu.events. */
enum {
    VCPU_IRQ = 1 << 0,    /* level: the interrupt controller has something to deliver */
    VCPU_NMI = 1 << 1,    /* edge */
    VCPU_SMI = 1 << 2,    /* edge */
    VCPU_INIT = 1 << 3,   /* edge */
    VCPU_SIPI = 1 << 4,   /* edge; vector in VCpu.sipi_vector */
    VCPU_RESET = 1 << 5,  /* edge: power-on reset of this vCPU */
    VCPU_WORK = 1 << 6,   /* queued functions */
    VCPU_STOP = 1 << 7,   /* leave the run loop: machine stops, debugger, exit */
    VCPU_TIMER = 1 << 8,  /* target-specific timer */
    VCPU_SINGLE = 1 << 9, /* debugger single step */
    VCPU_TRAP = 1 << 10,  /* the target's own: a trap waits for the next instruction boundary */
};

typedef struct VCpuWork VCpuWork;

struct VCpu {
    /* Hot, read by translated code. Negative: look at @events before going on. Written by
     * vcpu_kick_word(), cleared by the vCPU thread. Offset 0 of the jit's environment. */
    int32_t exit_request; /* atomic */
    uint32_t events;      /* atomic, VCPU_* */
    int index;
    bool halted;  /* HLT, WFI; vCPU thread */
    bool stopped; /* parked in the loop; under the machine lock */
    bool started; /* thread exists */
    uint8_t sipi_vector;
    const Target *target;
    const Accelerator *accel;
    Machine *machine;
    void *accel_data; /* owned by the jit, which every machine has */
    void *kvm;        /* owned by accel/kvm; NULL without */
    GThread *thread;
    GCond cond; /* with work_lock: wakes a halted or stopped vCPU */
    GMutex work_lock;
    VCpuWork *work; /* FIFO, work_lock */
    /* Debugger, machine lock, vCPU stopped when changed */
    bool debug_step;
    GArray *breakpoints; /* of uint64_t pc */
    GArray *watchpoints; /* of VCpuWatch */
    int debug_hit;       /* why it stopped: VCPU_DEBUG_*; cleared by machine_start() */
    uint64_t debug_addr;
    uint32_t waiting; /* atomic: asleep in the loop, wants the cond */
    bool quit;        /* the thread must end; machine lock */
};

/* VCPU_DEBUG_ERROR: the accelerator cannot go on; the machine stops as internal-error. */
enum {
    VCPU_DEBUG_NONE,
    VCPU_DEBUG_BREAK,
    VCPU_DEBUG_WATCH,
    VCPU_DEBUG_STEP,
    VCPU_DEBUG_ERROR,
};

typedef struct VCpuWatch {
    uint64_t addr, len;
    bool on_read, on_write;
} VCpuWatch;

/* A register as debuggers, the monitor and migration see it. */
typedef struct VCpuReg {
    const char *name;
    uint32_t off;  /* in the state struct */
    uint16_t bits; /* 8…128 */
    int16_t gdb;   /* gdb's number, -1 = none */
} VCpuReg;

/* Which disassembler shows a target's code; get_reg("codebits") may choose among its modes. */
typedef enum {
    VCPU_DISAS_NONE,
    VCPU_DISAS_X86, /* codebits 16, 32, 64 */
    VCPU_DISAS_ARM, /* codebits 16 (Thumb), 32 */
    VCPU_DISAS_AARCH64,
    VCPU_DISAS_RISCV, /* codebits 32, 64 */
} VCpuDisas;

/* One guest architecture. A const table in target/<arch>/; target/targets.c lists them. */
struct Target {
    const char *name;            /* "x86_64": -arch, rhea-system-NAME */
    const char *default_machine; /* "pc" */
    VCpuDisas disas;
    size_t state_size; /* of the struct that begins with VCpu */
    size_t state_align;
    unsigned max_vcpus;
    const JitTarget *jit;
    const CpuBoardOps *board; /* pins and facts for the board; NULL = none */
    const KvmTarget *kvm;     /* NULL: this host's KVM cannot run it */
    const StateTable *state;
    const char *gdb_arch; /* "i386:x86-64" */
    const char *gdb_xml;  /* target description, or NULL */
    /* @model: text of -cpu, may be NULL = default. One sentence on failure. */
    bool (*init)(VCpu *cpu, const char *model, GError **err);
    void (*free)(VCpu *cpu);
    void (*reset)(VCpu *cpu);
    char *(*models)(void); /* text of -cpu help; caller frees */
    /* vCPU thread: does @events & mask allow progress of a halted vCPU? */
    bool (*has_work)(VCpu *cpu);
    uint64_t (*get_pc)(VCpu *cpu); /* linear address of the next instruction */
    void (*set_pc)(VCpu *cpu, uint64_t pc);
    /* Debug access: virtual → physical, no side effects; -1 if unmapped. */
    uint64_t (*debug_translate)(VCpu *cpu, uint64_t vaddr);
    char *(*dump)(VCpu *cpu, bool fpu);        /* `info registers`; caller frees */
    char *(*dump_tlb)(VCpu *cpu, bool ranges); /* `info tlb` / `info mem` */
    /* gdb: register @n into @buf; bytes used, 0 = no such register */
    int (*gdb_read)(VCpu *cpu, int n, uint8_t *buf);
    int (*gdb_write)(VCpu *cpu, int n, const uint8_t *buf, int len);
    int gdb_num_regs;
    /* monitor's `print $reg`: false if unknown */
    bool (*get_reg)(VCpu *cpu, const char *name, uint64_t *val);
};

/* What makes vCPUs run. */
struct Accelerator {
    const char *name; /* "jit", "kvm" */
    /* @opts: "key=value,…" of -accel after the name, or NULL. */
    bool (*init)(Machine *m, const char *opts, GError **err);
    void (*fini)(Machine *m);
    bool (*vcpu_init)(VCpu *cpu, GError **err);
    void (*vcpu_fini)(VCpu *cpu);
    /* vCPU thread, machine lock not held: run guest code until an event needs the outer loop
     * (events other than the target's own, halted, debug stop). */
    void (*run)(VCpu *cpu);
    void (*kick)(VCpu *cpu);      /* any thread: make run() look at events soon */
    void (*flush_tlb)(VCpu *cpu); /* vCPU thread or stopped */
    char *(*info)(Machine *m);    /* `info jit`; caller frees */
};

/* Storage for @target's state, zeroed, with VCPU_ACCEL_AREA bytes in front of it that belong to
 * the accelerator (so that translated code reaches both from one register). Initialises target
 * and accelerator and appends the vCPU to @m's list; its state is set by machine_reset(). */
#define VCPU_ACCEL_AREA (8u << 20)
VCpu *vcpu_new(Machine *m, const Target *target, const Accelerator *accel, int index,
               const char *model, GError **err);
void vcpu_free(VCpu *cpu); /* ends the thread, leaves the machine's list */
/* The thread parks (stopped) until the machine runs. */
void vcpu_start_thread(VCpu *cpu);
/* End the thread and wait for it; lets go of the machine lock meanwhile. */
void vcpu_join_thread(VCpu *cpu);

/* Set events and make the vCPU look at them. Any thread, lock or not. */
void vcpu_signal(VCpu *cpu, uint32_t events);
/* Clear a level event (VCPU_IRQ going away). Any thread. */
void vcpu_unsignal(VCpu *cpu, uint32_t events);
/* Run @fn on the vCPU's thread. queue: returns at once. run_on: waits until done; the caller
 * must not hold the machine lock unless it is the vCPU's own thread (then @fn runs now). @fn runs
 * without the machine lock, between instructions, also while the vCPU is halted or stopped. */
void vcpu_queue(VCpu *cpu, void (*fn)(VCpu *cpu, void *arg), void *arg);
void vcpu_run_on(VCpu *cpu, void (*fn)(VCpu *cpu, void *arg), void *arg);
VCpu *vcpu_current(void); /* of this thread, or NULL */
/* vCPU thread: run queued functions. */
void vcpu_do_work(VCpu *cpu);

/* Debug memory access by virtual address; false where unmapped. Machine lock, vCPU stopped. */
bool vcpu_debug_rw(VCpu *cpu, uint64_t vaddr, void *buf, size_t len, bool write);

#endif
