/*
 * State of an AArch64 CPU. Arm Architecture Reference Manual for A-profile (DDI 0487).
 */
#ifndef RHEA_TARGET_ARM64_CPU_H
#define RHEA_TARGET_ARM64_CPU_H

#include "accel/jit/jit-target.h"
#include "core/arm64-board.h"
#include "core/clock.h"
#include "core/vcpu.h"
#include "target/arm64/fp.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Events: the target's meanings of the VCPU_* bits; levels. */
enum {
    EV_IRQ = VCPU_IRQ,
    EV_FIQ = VCPU_SMI,
    EV_VIRQ = VCPU_INIT,
    EV_VFIQ = VCPU_SIPI,
    EV_WAKE = VCPU_TRAP, /* SEV, power-on: look again */
};

/* PSTATE bits as in SPSR. */
#define PS_N (1u << 31)
#define PS_Z (1u << 30)
#define PS_C (1u << 29)
#define PS_V (1u << 28)
#define PS_DIT (1u << 24)
#define PS_UAO (1u << 23)
#define PS_PAN (1u << 22)
#define PS_SS (1u << 21)
#define PS_IL (1u << 20)
#define PS_SSBS (1u << 12)
#define PS_D (1u << 9)
#define PS_A (1u << 8)
#define PS_I (1u << 7)
#define PS_F (1u << 6)
#define PS_DAIF (PS_D | PS_A | PS_I | PS_F)
#define PS_NRW (1u << 4)
#define PS_EL_SHIFT 2
#define PS_SP 1u

/* SCTLR_ELx */
#define SCTLR_M (1ull << 0)
#define SCTLR_A (1ull << 1)
#define SCTLR_SA (1ull << 3)
#define SCTLR_SA0 (1ull << 4)
#define SCTLR_UMA (1ull << 9)
#define SCTLR_ENRCTX (1ull << 10)
#define SCTLR_ENDB (1ull << 13)
#define SCTLR_DZE (1ull << 14)
#define SCTLR_UCT (1ull << 15)
#define SCTLR_NTWI (1ull << 16)
#define SCTLR_NTWE (1ull << 18)
#define SCTLR_WXN (1ull << 19)
#define SCTLR_SPAN (1ull << 23)
#define SCTLR_E0E (1ull << 24)
#define SCTLR_EE (1ull << 25)
#define SCTLR_UCI (1ull << 26)
#define SCTLR_ENDA (1ull << 27)
#define SCTLR_ENIB (1ull << 30)
#define SCTLR_ENIA (1ull << 31)
#define SCTLR_DSSBS (1ull << 44)

#define HCR_VM (1ull << 0)
#define HCR_FMO (1ull << 3)
#define HCR_IMO (1ull << 4)
#define HCR_AMO (1ull << 5)
#define HCR_VF (1ull << 6)
#define HCR_VI (1ull << 7)
#define HCR_DC (1ull << 12)
#define HCR_TWI (1ull << 13)
#define HCR_TWE (1ull << 14)
#define HCR_TSC (1ull << 19)
#define HCR_TVM (1ull << 26)
#define HCR_TGE (1ull << 27)
#define HCR_HCD (1ull << 29)
#define HCR_TRVM (1ull << 30)
#define HCR_RW (1ull << 31)

#define SCR_NS (1ull << 0)
#define SCR_IRQ (1ull << 1)
#define SCR_FIQ (1ull << 2)
#define SCR_EA (1ull << 3)
#define SCR_SMD (1ull << 7)
#define SCR_HCE (1ull << 8)
#define SCR_RW (1ull << 10)

/* Arm64Cpu.mode: what translation depends on. */
#define M_EL 3ull
#define M_FP (1ull << 2)     /* FP and SIMD instructions do not trap */
#define M_FPSLOW (1ull << 3) /* FPCR asks for what the host does not do: FZ, DN */
#define M_ALIGN (1ull << 4)
#define M_BE (1ull << 5)
#define M_PAN (1ull << 6)
#define M_UAO (1ull << 7)
#define M_SS (1ull << 8)
#define M_TBI0 (1ull << 9)
#define M_TBI1 (1ull << 10)
#define M_IL (1ull << 11)
#define M_ILLEGAL_WFX (1ull << 12)

/* mmu indexes */
enum { MMU_EL0, MMU_EL1, MMU_EL1_PAN, MMU_EL2, MMU_EL3, MMU_COUNT };

/* Exception classes, ESR bits 31:26. */
enum {
    EC_UNKNOWN = 0x00,
    EC_WFX = 0x01,
    EC_FP = 0x07,
    EC_ILLEGAL = 0x0e,
    EC_SVC = 0x15,
    EC_HVC = 0x16,
    EC_SMC = 0x17,
    EC_MSR = 0x18,
    EC_IABT_LOWER = 0x20,
    EC_IABT = 0x21,
    EC_PC_ALIGN = 0x22,
    EC_DABT_LOWER = 0x24,
    EC_DABT = 0x25,
    EC_SP_ALIGN = 0x26,
    EC_SERROR = 0x2f,
    EC_BREAK_LOWER = 0x30,
    EC_STEP_LOWER = 0x32,
    EC_STEP = 0x33,
    EC_WATCH_LOWER = 0x34,
    EC_BRK = 0x3c,
};
#define ESR_IL (1u << 25)
static inline uint32_t esr_make(unsigned ec, uint32_t iss)
{
    return ec << 26 | ESR_IL | iss;
}

typedef enum { EXC_NONE, EXC_SYNC, EXC_IRQ, EXC_FIQ, EXC_SERROR } ExcKind;

typedef struct Arm64Timer {
    uint64_t cval;
    uint32_t ctl; /* ENABLE, IMASK; ISTATUS is derived */
    Timer timer;
    Irq irq;
    bool level;
} Arm64Timer;

typedef struct Arm64Model Arm64Model;

enum { BRPS = 6, WRPS = 4 };

typedef struct Arm64Cpu {
    VCpu vcpu;
    /* What translated code works on. */
    uint64_t x[31];
    uint64_t sp;    /* of the current level and PSTATE.SP */
    uint32_t cc;    /* NZCV packed as in ir.h, with C complemented: a borrow */
    uint32_t mxcsr; /* host form: rounding mode and sticky flags */
    uint64_t pc;
    FpState fp __attribute__((aligned(16))); /* V registers, FPCR, the rest of FPSR */
    VReg fp_save; /* V[rd] before an operation that may have to be done again */
    uint64_t mode;
    /* exclusive monitor */
    uint64_t ex_addr, ex_val[2];
    uint32_t ex_size;      /* 0: open */
    uint32_t tlbi_pending; /* atomic: broadcasts that others have not done */
    /* PSTATE besides NZCV */
    uint32_t daif; /* PS_DAIF bits */
    uint8_t el;
    bool spsel, pan, uao, dit, ssbs, ss, il;
    /* banked by exception level */
    uint64_t sp_el[4], elr[4], spsr[4], vbar[4], esr[4], far[4];
    uint64_t sctlr[4], actlr[4], afsr0[4], afsr1[4];
    uint64_t tcr[4], ttbr0[4], ttbr1[4], mair[4], amair[4];
    uint64_t contextidr[4], tpidr[4], cntkctl[4];
    uint64_t tpidrro, par, cpacr, cptr[4], csselr;
    uint64_t spsr_abt, spsr_und, spsr_irq, spsr_fiq, dacr32, ifsr32, fpexc32;
    /* EL2, EL3 */
    uint64_t hcr, hstr, hacr, hpfar, vttbr, vtcr, vpidr, vmpidr, mdcr2, mdcr3, cntvoff;
    uint64_t scr, sder, rvbar;
    /* debug */
    uint64_t mdscr, oslsr, osdlr, dbgclaim, mdccint;
    uint64_t dbgbvr[BRPS], dbgbcr[BRPS], dbgwvr[WRPS], dbgwcr[WRPS];
    /* PMU */
    uint64_t pmcr, pmccntr_base, pmcnten, pminten, pmovs, pmuserenr, pmselr, pmccfilt;
    /* PAuth keys: IA, IB, DA, DB, GA */
    uint64_t apkey[5][2];
    uint64_t rndr_seed;
    Arm64Timer timer[ARM64_TIMERS];
    /* power */
    bool powered_off, start_on, boot_on;
    uint8_t start_el;
    uint64_t start_pc, start_x0;
    uint64_t on_pc, on_x0; /* of a CPU_ON on its way */
    bool event_reg;
    /* the pending exception made by walk() or a helper */
    uint8_t exc; /* ExcKind */
    uint8_t exc_el;
    bool exc_next, exc_far_valid; /* return address is the next instruction */
    uint32_t exc_esr;
    uint64_t exc_far, exc_hpfar;
    /* constant after set-up */
    const Arm64Model *model;
    uint64_t isar0, isar1, isar2, pfr0, pfr1, mmfr0, mmfr1, mmfr2, dfr0;
    bool has_el2, has_el3;
    bool tagged_va; /* the TLB may hold addresses with tags */
    uint8_t psci;
    uint64_t mpidr;
    const Arm64Gic *gic;
    void *gic_opaque;
    Clock *clock;
} Arm64Cpu;

static inline Arm64Cpu *arm64(VCpu *cpu)
{
    return (Arm64Cpu *)cpu;
}

struct Arm64Model {
    const char *name, *compatible;
    uint32_t midr;
    uint64_t isar0, isar1, pfr0, pfr1, mmfr0, mmfr1, mmfr2;
    uint64_t clidr, ctr, ccsidr[4];
    bool aff1; /* MT-style affinity: CPU numbers in Aff1 */
};

/* Feature fields of ID registers. */
static inline unsigned id_field(uint64_t reg, unsigned shift)
{
    return reg >> shift & 15;
}

enum { CNT_HZ = 62500000 };

/* ---- target.c, models.c ---- */
void a64_update_mode(Arm64Cpu *c);
bool a64_model_init(Arm64Cpu *c, const char *model, GError **err);
char *a64_model_list(void);
void a64_power_on(Arm64Cpu *c);

/* ---- excp.c ---- */
/* NZCV as PSTATE bits, from and to the packed flags. */
uint32_t a64_get_nzcv(const Arm64Cpu *c);
void a64_set_nzcv(Arm64Cpu *c, uint32_t nzcv);
uint32_t a64_get_pstate(const Arm64Cpu *c);
/* Level that a synchronous exception from the current level goes to. */
unsigned a64_sync_target(const Arm64Cpu *c);
/* Make a synchronous exception to @el pending. @next: return behind the instruction. */
void a64_set_exc(Arm64Cpu *c, uint32_t esr, unsigned el, bool next);
G_NORETURN void a64_raise(Arm64Cpu *c, uint32_t esr);
G_NORETURN void a64_undef(Arm64Cpu *c);
void a64_deliver(VCpu *cpu);
bool a64_take_event(VCpu *cpu);
bool a64_has_work(VCpu *cpu);
bool a64_secure(const Arm64Cpu *c);
bool a64_el2_enabled(const Arm64Cpu *c);
/* PSTATE.SP, EL change: put the stack pointer away and fetch the other. */
void a64_save_sp(Arm64Cpu *c);
void a64_load_sp(Arm64Cpu *c);

/* ---- mmu.c ---- */
bool a64_walk(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu, bool probe, JitPage *page);
void a64_set_align_fault(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu);
uint64_t a64_debug_translate(VCpu *cpu, uint64_t vaddr);
char *a64_dump_tlb(VCpu *cpu, bool ranges);
/* AT S1E…: → PAR_EL1 */
uint64_t a64_at(Arm64Cpu *c, uint64_t vaddr, JitAccess access, unsigned mmu, bool stage2);
void a64_flush(Arm64Cpu *c, bool keep_global);

/* ---- tlbi.c ---- */
bool a64_tlbi(Arm64Cpu *c, uint32_t reg, uint64_t val);

/* ---- sysreg.c ---- */
/* How MRS/MSR of @reg can be done inline at level @el: offset of the storage, or -1. */
int a64_sysreg_plain(const Arm64Cpu *c, uint32_t reg, bool write, unsigned el);
#define SYSREG(op0, op1, crn, crm, op2)                                                            \
    ((op0) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))

/* ---- timer.c ---- */
void a64_timer_init(Arm64Cpu *c);
void a64_timer_free(Arm64Cpu *c);
void a64_timer_reset(Arm64Cpu *c);
void a64_timer_update(Arm64Cpu *c, unsigned n); /* takes the machine lock when not held */
uint64_t a64_count(Arm64Cpu *c);
bool a64_timer_sysreg(Arm64Cpu *c, uint32_t reg, bool write, uint64_t *val);

/* ---- psci.c ---- */
/* The call in x0…x3 was answered (x0). false: none of its functions. */
void a64_psci(Arm64Cpu *c);

/* ---- gdb.c, dump.c, state.c ---- */
char *a64_dump(VCpu *cpu, bool fpu);
int a64_gdb_read(VCpu *cpu, int n, uint8_t *buf);
int a64_gdb_write(VCpu *cpu, int n, const uint8_t *buf, int len);
bool a64_get_reg(VCpu *cpu, const char *name, uint64_t *val);
extern const char a64_gdb_xml[];
enum { A64_GDB_REGS = 68 };
extern const StateTable a64_state_table;

#endif
