/*
 * The x86 CPU's state. Intel SDM volume 3, AMD APM volume 2.
 * Private to target/x86; others see core/vcpu.h and core/intc.h.
 */
#ifndef RHEA_TARGET_X86_CPU_H
#define RHEA_TARGET_X86_CPU_H

#include "accel/jit/jit-target.h"
#include "core/intc.h"
#include "core/vcpu.h"
#include <stdbool.h>
#include <stdint.h>

enum { R_RAX, R_RCX, R_RDX, R_RBX, R_RSP, R_RBP, R_RSI, R_RDI };
enum { S_ES, S_CS, S_SS, S_DS, S_FS, S_GS, S_LDTR, S_TR, S_COUNT };

/* EFLAGS bits. CF PF AF ZF SF OF live in X86Cpu.cc (packed, see IRF_*), not in X86Cpu.eflags. */
enum {
    EF_CF = 1 << 0,
    EF_PF = 1 << 2,
    EF_AF = 1 << 4,
    EF_ZF = 1 << 6,
    EF_SF = 1 << 7,
    EF_TF = 1 << 8,
    EF_IF = 1 << 9,
    EF_DF = 1 << 10,
    EF_OF = 1 << 11,
    EF_IOPL = 3 << 12,
    EF_NT = 1 << 14,
    EF_RF = 1 << 16,
    EF_VM = 1 << 17,
    EF_AC = 1 << 18,
    EF_VIF = 1 << 19,
    EF_VIP = 1 << 20,
    EF_ID = 1 << 21,
    EF_ARITH = EF_CF | EF_PF | EF_AF | EF_ZF | EF_SF | EF_OF,
};

enum {
    CR0_PE = 1 << 0,
    CR0_MP = 1 << 1,
    CR0_EM = 1 << 2,
    CR0_TS = 1 << 3,
    CR0_ET = 1 << 4,
    CR0_NE = 1 << 5,
    CR0_WP = 1 << 16,
    CR0_AM = 1 << 18,
    CR0_NW = 1 << 29,
    CR0_CD = 1 << 30,
};
#define CR0_PG (1u << 31)
enum {
    CR4_VME = 1 << 0,
    CR4_PVI = 1 << 1,
    CR4_TSD = 1 << 2,
    CR4_DE = 1 << 3,
    CR4_PSE = 1 << 4,
    CR4_PAE = 1 << 5,
    CR4_MCE = 1 << 6,
    CR4_PGE = 1 << 7,
    CR4_PCE = 1 << 8,
    CR4_OSFXSR = 1 << 9,
    CR4_OSXMMEXCPT = 1 << 10,
    CR4_UMIP = 1 << 11,
    CR4_FSGSBASE = 1 << 16,
    CR4_PCIDE = 1 << 17,
    CR4_OSXSAVE = 1 << 18,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21,
};
enum {
    EFER_SCE = 1 << 0,
    EFER_LME = 1 << 8,
    EFER_LMA = 1 << 10,
    EFER_NXE = 1 << 11,
    EFER_FFXSR = 1 << 14
};

/* Descriptor attributes: bits 8…23 of the descriptor's second dword, as they stand there. */
enum {
    DESC_TYPE_SHIFT = 8,
    DESC_A = 1 << 8,
    DESC_W = 1 << 9,
    DESC_R = 1 << 9,
    DESC_E = 1 << 10,
    DESC_C = 1 << 10,
    DESC_CODE = 1 << 11,
    DESC_S = 1 << 12,
    DESC_DPL_SHIFT = 13,
    DESC_P = 1 << 15,
    DESC_AVL = 1 << 20,
    DESC_L = 1 << 21,
    DESC_B = 1 << 22,
    DESC_G = 1 << 23,
};

/* Exceptions. */
enum {
    EXC_DE,
    EXC_DB,
    EXC_NMI,
    EXC_BP,
    EXC_OF,
    EXC_BR,
    EXC_UD,
    EXC_NM,
    EXC_DF,
    EXC_CSO,
    EXC_TS,
    EXC_NP,
    EXC_SS,
    EXC_GP,
    EXC_PF,
    EXC_MF = 16,
    EXC_AC,
    EXC_MC,
    EXC_XM
};

typedef struct X86Seg {
    uint16_t sel;
    uint32_t attr; /* DESC_* */
    uint64_t base;
    uint32_t limit; /* in bytes, granularity applied */
} X86Seg;

typedef struct X86Table {
    uint64_t base;
    uint16_t limit;
} X86Table;

typedef union X86Vec {
    uint8_t b[16];
    uint16_t w[8];
    uint32_t l[4];
    uint64_t q[2];
} __attribute__((aligned(16))) X86Vec;

/* An 80-bit register in memory form (as fstp m80 writes it); 16 bytes apart. MMX registers are
 * the low 8 bytes of physical register i. */
typedef union X86Fpr {
    uint8_t b[16];
    struct {
        uint64_t mant;
        uint16_t exp;
    };
} __attribute__((aligned(16))) X86Fpr;

/* Feature words of CPUID, as the model and -cpu flags made them. */
enum {
    FEAT_1_EDX,
    FEAT_1_ECX,
    FEAT_7_EBX,
    FEAT_7_ECX,
    FEAT_7_EDX,
    FEAT_80000001_EDX,
    FEAT_80000001_ECX,
    FEAT_80000007_EDX,
    FEAT_6_EAX,
    FEAT_D_1_EAX,
    FEAT_WORDS
};

/* CPU modes: JitTarget.get_mode()'s low half; the high half is the code segment base (32 bits;
 * in 64-bit mode it is 0). What is here is constant inside a block. */
enum {
    M_CPL = 3,          /* bits 0-1 */
    M_CODE32 = 1 << 2,  /* CS.D (operand and address size 32), not in long mode */
    M_CODE64 = 1 << 3,  /* 64-bit mode */
    M_LMA = 1 << 4,     /* long mode active (64-bit or compatibility) */
    M_STACK32 = 1 << 5, /* SS.B */
    M_PE = 1 << 6,      /* protected mode and not virtual-8086 */
    M_VM86 = 1 << 7,
    M_TF = 1 << 8,      /* EFLAGS.TF or debugger step: one instruction a block */
    M_SHADOW = 1 << 9,  /* first instruction after STI / MOV SS: no interrupts before it */
    M_ADDSEG = 1 << 10, /* DS, ES or SS base is not 0, or a limit must be checked */
    M_EM = 1 << 11,
    M_TS = 1 << 12,
    M_MP = 1 << 13,      /* CR0 */
    M_OSFXSR = 1 << 14,  /* CR4 */
    M_IOPL_SHIFT = 15,   /* two bits: EFLAGS.IOPL */
    M_AC_SMAP = 1 << 17, /* CR4.SMAP set and EFLAGS.AC clear: supervisor must not touch user */
    M_SMM = 1 << 18,
    M_DEBUG = 1 << 19,  /* data or I/O breakpoints armed in DR7: slow paths */
    M_LIMITS = 1 << 20, /* some data segment limit < 4 GiB-1 or unusable: check limits */
    M_ALIGN = 1 << 21,  /* CR0.AM, EFLAGS.AC, CPL 3: alignment checks */
    M_OSXSAVE = 1 << 22,
    M_CSLIMIT = 1 << 23, /* CS limit is not flat: check at block end crossing */
    M_RF = 1 << 24,      /* EFLAGS.RF set: clear it after one instruction */
    M_XMMEXC = 1 << 25,  /* an SSE exception is unmasked in MXCSR: FP by helpers that check */
    M_FPUEXC = 1 << 26,  /* an x87 exception is unmasked: (fctrl & 0x3f) != 0x3f */
};

/* mmu indexes */
enum { MMU_KERNEL, MMU_USER, MMU_KERNEL_SMAP, MMU_PHYS /* SMM, no paging helper use */, MMU_COUNT };

typedef struct X86Cpu {
    VCpu vcpu; /* must be first */
    /* Hot: globals of the IR */
    uint64_t regs[16];
    uint32_t cc;     /* packed arithmetic flags (IRF_*), upper 16 bits 0 */
    uint32_t eflags; /* all other EFLAGS bits; bit 1 always set; arithmetic bits 0 */
    uint64_t rip;    /* JitTarget.pc_off: offset in CS */
    uint32_t mxcsr;
    uint32_t mxcsr_pad;
    X86Vec xmm[16];
    X86Seg seg[S_COUNT];
    X86Table gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8_unused;
    uint64_t xcr0;
    uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, misc_enable, tsc_offset, tsc_adjust, tsc_deadline, smbase;
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
    uint64_t mcg_status, mcg_ctl, mc_bank[10 * 4];
    uint64_t debugctl;
    uint64_t dr[8];
    /* x87. fpr[] is indexed physically: ST(i) = fpr[(ftop + i) & 7]. */
    X86Fpr fpr[8];
    uint16_t fctrl;
    uint16_t fstat; /* without TOP */
    uint8_t ftop;
    uint8_t ftag_empty; /* bit i: physical register i is empty */
    uint16_t fop;
    uint64_t fip, fdp;
    uint16_t fcs, fds;
    /* Scratch of one SIMD or x87 instruction, not guest state: see simd.h */
    X86Vec simd_tmp;
    uint32_t simd_mxcsr;
    uint16_t fstat_next;
    /* Pending exception made by helpers and walk(), entered by deliver(). */
    int32_t exc; /* -1 = none */
    uint32_t exc_err;
    bool exc_has_err;
    bool exc_soft; /* INT n / INT3 / INTO: rip of the frame is exc_next_rip, DPL is checked */
    uint64_t exc_next_rip;
    uint64_t exc_cr2;
    bool in_delivery;   /* deliver() is running: a further fault is a double fault… */
    int32_t delivering; /* …of this vector */
    bool shadow;        /* interrupt shadow (STI, MOV SS) lasts for the next instruction */
    bool nmi_masked, in_smm, smi_pending;
    bool wait_sipi;
    bool a20_off;               /* A20 line forced low: physical bit 20 masked */
    uint32_t feat[FEAT_WORDS];  /* what the CPU can do */
    uint32_t shown[FEAT_WORDS]; /* what CPUID says: the same, but under KVM less (see models.c) */
    /* Model identity, constant after init */
    const struct X86Model *model;
    uint32_t cpuid_level, cpuid_xlevel, cpuid_version;
    char vendor[13];
    char brand[49];
    uint8_t phys_bits, virt_bits;
    unsigned smp_cores, smp_threads; /* topology for CPUID: cores a socket, threads a core */
    unsigned smp_total;
    uint64_t tsc_hz;
    const LocalIntc *intc; /* local APIC (or the bare PIC), set by the board */
    bool tsc_set;          /* tsc_hz was chosen by the user */
    void *intc_opaque;
    /* System part (sys.h) */
    uint64_t mode_cache; /* the M_* bits that segments, CRs, DR7 and SMM decide: x86_update_mode */
    uint64_t pdpte[4];   /* PAE: loaded with CR3 */
    uint32_t pending_db; /* DR6 bits of a debug trap to take at the next boundary */
    bool shadow_ss;      /* the shadow is that of MOV SS: it holds back debug traps and NMI, too */
    bool task_load;      /* a task switch has yet to load the new task's descriptors */
    bool shutdown;       /* triple fault: only RESET, INIT, SMI and NMI go on */
    bool deliver_ext;    /* with in_delivery: EXT bit of error codes that come up now */
    uint8_t exc_kind;    /* of exc: X86EventKind */
    bool smm_nmi_masked; /* nmi_masked as it was when SMM was entered */
    uint32_t saved_events; /* VCpu.events in the saved state */
    uint32_t apic_id;
    uint32_t ucode_rev;
    void (*ferr)(void *opaque, int level); /* FERR# pin, NULL: not wired */
    void *ferr_opaque;
    void (*smm_hook)(void *opaque, bool in_smm); /* SMIACT# pin, NULL: not wired */
    void *smm_opaque;
    /* Under KVM (kvm-*.c) */
    const struct X86KvmLimits *kvm_limits; /* what the host offers; NULL: translated */
    /* Registers that only KVM gives a meaning to. */
    uint32_t n_kvm_msrs, kvm_msr_index[32];
    uint64_t kvm_msr_val[32];
    const struct X86ExtState *ext; /* state beyond SSE that KVM keeps; NULL: there is none */
    bool may_give_back;            /* in a hand-over: the kernel is asked about undefined opcodes */
    bool give_back;                /* one was met */
} X86Cpu;

static inline X86Cpu *x86(VCpu *cpu)
{
    return (X86Cpu *)cpu;
}

/* Packed form <-> the six EFLAGS bits. IRF bits 8…15 are EFLAGS bits 0…7; bit 0 is OF. */
static inline uint32_t x86_cc_to_eflags(uint32_t cc)
{
    return ((cc >> 8) & (EF_CF | EF_PF | EF_AF | EF_ZF | EF_SF)) | (cc & 1) << 11;
}
static inline uint32_t x86_eflags_to_cc(uint32_t ef)
{
    return (ef & (EF_CF | EF_PF | EF_AF | EF_ZF | EF_SF)) << 8 | ((ef >> 11) & 1) | IRF_ONE;
}
static inline uint32_t x86_get_eflags(X86Cpu *c)
{
    return c->eflags | x86_cc_to_eflags(c->cc);
}
static inline void x86_set_eflags(X86Cpu *c, uint32_t ef)
{
    c->cc = x86_eflags_to_cc(ef);
    c->eflags = (ef & ~(EF_ARITH | 8u | 32u | 1u << 15)) | 2;
}
static inline unsigned x86_cpl(const X86Cpu *c)
{
    return c->eflags & EF_VM ? 3 : c->cr0 & CR0_PE ? (c->seg[S_SS].attr >> DESC_DPL_SHIFT) & 3 : 0;
}

/* ---- system.c, excp.c, segment.c, paging.c: contract among target/x86's files ---- */

/* Make an exception pending and leave the block (jit_raise). For helpers with IRH_FAULTS. */
G_NORETURN void x86_raise(X86Cpu *c, int vec);
G_NORETURN void x86_raise_err(X86Cpu *c, int vec, uint32_t err);
/* The mode word of the present state (JitTarget.get_mode). */
uint64_t x86_mode(VCpu *cpu);
/* The mmu index of ordinary data accesses now; of implicit supervisor accesses. */
unsigned x86_mmu_data(X86Cpu *c);
unsigned x86_mmu_system(X86Cpu *c);
uint64_t x86_tsc(X86Cpu *c);
/* Recompute mode_cache. To be called after changes of segments, CR0, CR4, EFER, DR7, in_smm. */
void x86_update_mode(X86Cpu *c);
/* x87: an unmasked exception waits. Raises #MF, or with CR0.NE = 0 drives FERR# and retries. */
G_NORETURN void x86_raise_fpu(X86Cpu *c);

#endif
