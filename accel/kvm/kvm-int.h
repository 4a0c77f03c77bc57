/*
 * What the files of accel/kvm share.
 *
 * sys.c      the real system calls
 * ioctl.c    ioctls; all that target/ calls
 * kvm.c      options, set-up of the VM and its vCPUs, ioctl helpers
 * slots.c    flat views to memory slots, dirty log
 * run.c      the run loop and its exits
 * handover.c the jit executes what the kernel cannot; reports when that fails
 * hybrid.c   hybrid=auto: measuring the kernel
 * switch.c   changing a running machine's accelerator
 * info.c     `info kvm`
 */
#ifndef RHEA_ACCEL_KVM_INT_H
#define RHEA_ACCEL_KVM_INT_H

#include "accel/kvm/kvm-target.h"
#include "core/machine.h"
#include "core/memory.h"
#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* The system as this accelerator sees it; tests bring their own. Results as the system call's
 * (-1 and errno). */
typedef struct KvmSys {
    int (*open)(void *opaque, const char *path);
    int (*close)(void *opaque, int fd);
    int (*ioctl)(void *opaque, int fd, unsigned long req, void *arg);
    void *(*mmap)(void *opaque, size_t size, int fd, size_t offset); /* NULL and errno */
    void (*munmap)(void *opaque, void *p, size_t size);
    /* Does the host's KVM keep shadow page tables (no EPT, NPT)? */
    bool (*shadow_paging)(void *opaque);
    void *opaque;
} KvmSys;
extern const KvmSys kvm_real_sys;

#define KVM_STATS(X)                                                                               \
    X(runs, "KVM_RUN")                                                                             \
    X(io, "exits: port I/O")                                                                       \
    X(mmio, "exits: memory-mapped I/O")                                                            \
    X(hlt, "exits: halt")                                                                          \
    X(intr, "exits: signals and kicks")                                                            \
    X(irq_window, "exits: interrupt window")                                                       \
    X(msr, "exits: model-specific registers")                                                      \
    X(other, "exits: other")                                                                       \
    X(puts, "states given to the kernel")                                                          \
    X(gets, "states taken back")                                                                   \
    X(handover_emulation, "hand-overs: the kernel could not interpret an instruction")             \
    X(handover_entry, "hand-overs: failed entry")                                                  \
    X(handover_shutdown, "hand-overs: triple fault that may be none")                              \
    X(handover_unknown, "hand-overs: unknown exit")                                                \
    X(handover_state, "hand-overs: state the kernel does not know (SMM, A20, debugger, INIT)")     \
    X(handover_insns, "instructions translated one by one in hand-overs")                          \
    X(handover_slices, "hand-overs that ran blocks for a while")                                   \
    X(handover_ns, "time in hand-overs, ns")                                                       \
    X(zaps, "shadow page tables dropped")                                                          \
    X(slot_changes, "memory slots changed")                                                        \
    X(dirty_syncs, "dirty logs read")

typedef struct KvmStats {
#define X(n, d) uint64_t n;
    KVM_STATS(X)
#undef X
} KvmStats;

typedef struct KvmSlot {
    uint32_t id;
    uint64_t addr, size, off;
    MemRegion *region;
    int64_t synced; /* us, when its log was read */
    bool readonly, logged;
} KvmSlot;

typedef enum { KVM_HYBRID_OFF, KVM_HYBRID_AUTO } KvmHybrid;

typedef struct KvmMachine {
    Machine *m;
    KvmSys sys;
    const KvmTarget *t;
    int fd, vm;
    size_t run_size;
    KvmHybrid hybrid;
    double insn_ns;  /* measured: kernel-mode instructions; 0: not measured */
    bool interprets; /* so slowly that the translator is faster, and hybrid=auto */
    bool readonly_mem, shadow;
    bool coalesced_pio;
    uint32_t max_slots;
    GArray *slots;    /* of KvmSlot; machine lock */
    GArray *free_ids; /* of uint32_t */
    uint32_t next_id;
    GHashTable *logged; /* regions whose writes are logged; machine lock */
    bool listening;
    MemListener listener;
    MemAccelHooks hooks;
    char *slot_error; /* the first slot that the kernel refused */
    void *zap_page;
    KvmStats st; /* of no vCPU: machine lock */
} KvmMachine;

typedef struct KvmCpu {
    VCpu *cpu;
    KvmMachine *k;
    int fd;
    struct kvm_run *run;
    struct kvm_coalesced_mmio_ring *ring;
    pthread_t thread;
    bool have_thread;
    int in_guest; /* atomic: a kick needs the signal */
    /* Views for exits; the vCPU's thread */
    FlatView *mem, *io;
    MemListener listener;
    int view_changed; /* atomic */
    bool attached;
    bool must_complete;  /* the last exit is finished by the next KVM_RUN */
    bool ran;            /* since the jit last looked at memory */
    uint64_t slice;      /* length of the next hand-over; see handover.c */
    int64_t last_return; /* ns, when the last hand-over ended */
    int64_t jit_until;
    void *target_data;
    KvmStats st;
} KvmCpu;

static inline KvmCpu *kvm_cpu(VCpu *cpu)
{
    return cpu->kvm;
}

/* ---- kvm.c ---- */
bool kvm_init_with(Machine *m, const KvmSys *sys, const char *opts, GError **err);
void kvm_destroy(Machine *m);
bool kvm_vcpu_create(VCpu *cpu, GError **err);
void kvm_vcpu_destroy(VCpu *cpu);
/* -errno on failure; only KVM_RUN gives EINTR. */
int kvm_ioctl(KvmMachine *k, int fd, unsigned long req, void *arg);

/* Runs by the jit; takes KVM down with the machine. */
extern const Accelerator kvm_jit_accel;

/* ---- slots.c ---- */
void kvm_slots_start(KvmMachine *k); /* machine lock */
void kvm_slots_stop(KvmMachine *k);
/* Make the kernel forget its shadow page tables: guest page tables may have been written behind its
 * back. */
bool kvm_zap(KvmMachine *k);
void kvm_sync_dirty(void *opaque, MemRegion *r, uint64_t off, uint64_t len, unsigned client);

/* ---- hybrid.c ---- */
/* How fast does the kernel execute kernel-mode code? Sets insn_ns and interprets. */
void kvm_measure(KvmMachine *k);

/* ---- run.c ---- */
void kvm_run_vcpu(VCpu *cpu);
void kvm_kick(VCpu *cpu);
void kvm_view_update(KvmCpu *v);

/* ---- handover.c ---- */
/* The kernel stopped at an instruction; state is in the target's struct. */
KvmNext kvm_handover(KvmCpu *v);
/* Run translated until the target says that the kernel can. */
void kvm_translate_until_fit(KvmCpu *v);
/* Deliver an event that the kernel had begun to deliver. */
void kvm_finish_event(KvmCpu *v);
/* Stop the machine with what people know from such a stop. */
KvmNext kvm_fatal(KvmCpu *v, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#endif
