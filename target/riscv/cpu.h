/*
 * A RISC-V hart: state, CSR fields, modes. Unprivileged ISA 20240411, Privileged ISA 20240411.
 *
 * Integer registers are 64 bits wide. On RV32 they hold the 32-bit value sign-extended, which keeps
 * signed and unsigned comparisons right, so that the RV32 instruction is the RV64 one on words.
 */
#ifndef RHEA_TARGET_RISCV_CPU_H
#define RHEA_TARGET_RISCV_CPU_H

#include "accel/jit/jit-target.h"
#include "core/clock.h"
#include "core/riscv-hart.h"
#include "core/vcpu.h"

enum { PRV_U, PRV_S, PRV_M = 3 };

/* Exceptions */
enum {
    EXC_INSN_MISALIGNED,
    EXC_INSN_ACCESS,
    EXC_ILLEGAL,
    EXC_BREAK,
    EXC_LOAD_MISALIGNED,
    EXC_LOAD_ACCESS,
    EXC_STORE_MISALIGNED,
    EXC_STORE_ACCESS,
    EXC_ECALL_U,
    EXC_ECALL_S,
    EXC_ECALL_M = 11,
    EXC_INSN_PAGE,
    EXC_LOAD_PAGE,
    EXC_STORE_PAGE = 15,
};

/* Interrupts */
enum {
    IRQ_SSI = 1,
    IRQ_MSI = 3,
    IRQ_STI = 5,
    IRQ_MTI = 7,
    IRQ_SEI = 9,
    IRQ_MEI = 11,
};
#define MIP_S (1u << IRQ_SSI | 1u << IRQ_STI | 1u << IRQ_SEI)
#define MIP_M (1u << IRQ_MSI | 1u << IRQ_MTI | 1u << IRQ_MEI)

/* mstatus */
#define MST_SIE (1ull << 1)
#define MST_MIE (1ull << 3)
#define MST_SPIE (1ull << 5)
#define MST_MPIE (1ull << 7)
#define MST_SPP (1ull << 8)
#define MST_MPP_SHIFT 11
#define MST_MPP (3ull << MST_MPP_SHIFT)
#define MST_FS_SHIFT 13
#define MST_FS (3ull << MST_FS_SHIFT)
#define MST_VS (3ull << 9)
#define MST_MPRV (1ull << 17)
#define MST_SUM (1ull << 18)
#define MST_MXR (1ull << 19)
#define MST_TVM (1ull << 20)
#define MST_TW (1ull << 21)
#define MST_TSR (1ull << 22)
#define MST_UXL (3ull << 32)
#define MST_SXL (3ull << 34)

/* menvcfg, senvcfg */
#define ENV_FIOM (1ull << 0)
#define ENV_CBIE (3ull << 4)
#define ENV_CBCFE (1ull << 6)
#define ENV_CBZE (1ull << 7)
#define ENV_ADUE (1ull << 61)
#define ENV_PBMTE (1ull << 62)
#define ENV_STCE (1ull << 63)

/* Extensions, bits of RiscvCpu.ext */
#define RV_EXTS(X)                                                                                 \
    X(M, "m", 1)                                                                                   \
    X(A, "a", 1)                                                                                   \
    X(F, "f", 1)                                                                                   \
    X(D, "d", 1)                                                                                   \
    X(C, "c", 1)                                                                                   \
    X(S, "s", 1)                                                                                   \
    X(U, "u", 1)                                                                                   \
    X(ZICBOM, "zicbom", 1)                                                                         \
    X(ZICBOP, "zicbop", 1)                                                                         \
    X(ZICBOZ, "zicboz", 1)                                                                         \
    X(ZICOND, "zicond", 1)                                                                         \
    X(ZAWRS, "zawrs", 1)                                                                           \
    X(ZFH, "zfh", 1)                                                                               \
    X(ZFHMIN, "zfhmin", 1)                                                                         \
    X(ZBA, "zba", 1)                                                                               \
    X(ZBB, "zbb", 1)                                                                               \
    X(ZBC, "zbc", 1)                                                                               \
    X(ZBS, "zbs", 1)                                                                               \
    X(SSTC, "sstc", 1)                                                                             \
    X(SVADE, "svade", 0)                                                                           \
    X(SVINVAL, "svinval", 1)                                                                       \
    X(SVNAPOT, "svnapot", 1)                                                                       \
    X(SVPBMT, "svpbmt", 1)                                                                         \
    X(SV48, "sv48", 1)                                                                             \
    X(SV57, "sv57", 1)                                                                             \
    X(PMP, "pmp", 1)                                                                               \
    X(MMU, "mmu", 1)

enum {
#define X(n, name, def) RVE_##n,
    RV_EXTS(X)
#undef X
        RVE_COUNT,
    RVE_NONE = RVE_COUNT /* of the base ISA */
};

/* JitTarget.get_mode() */
enum {
    RM_PRV = 3,
    RM_MMU_SHIFT = 2, /* three bits: mmu index of data accesses */
    RM_FS_OFF = 1 << 5,
    RM_FS_DIRTY = 1 << 6,
    RM_FRM_SHIFT = 7,  /* three bits */
    RM_BARE = 1 << 10, /* satp.MODE is bare or M: effective addresses are physical */
};

/* mmu indexes: privilege, with MXR */
enum { MMU_U, MMU_S, MMU_S_SUM, MMU_M, MMU_MXR = 4, MMU_COUNT = 7 };

enum { RV_PMP_ENTRIES = 16, RV_CBO_BLOCK = 64 };

enum { G_CC = 0, G_X1 = 1, G_F0 = 32, G_COUNT = 64 };

typedef struct RiscvF {
    uint64_t v, pad;
} __attribute__((aligned(16))) RiscvF;

typedef struct RiscvCpu {
    VCpu vcpu; /* must be first */
    uint64_t x[32];
    uint64_t pc;    /* RV32: zero-extended */
    uint32_t cc;    /* the translator wants a flags global; RISC-V has none */
    uint32_t mxcsr; /* fflags and frm live here, in the host's form: fp.h */
    RiscvF f[32];
    uint8_t frm;
    uint8_t prv;
    bool rv32;
    uint64_t res_addr, res_val; /* LR: reserved address, -1 none, and the value seen there */
    uint64_t ext;               /* 1 << RVE_* */
    /* CSRs */
    uint64_t mstatus, mip, mie, mideleg, medeleg; /* mip: atomic */
    uint64_t mtvec, mepc, mcause, mtval, mscratch, mcounteren;
    uint64_t stvec, sepc, scause, stval, sscratch, scounteren, satp;
    uint64_t menvcfg, senvcfg, stimecmp;
    uint64_t cycle_off, instret_off; /* added to virtual time */
    uint8_t pmpcfg[RV_PMP_ENTRIES];
    uint64_t pmpaddr[RV_PMP_ENTRIES];
    /* Pending exception, entered by deliver() */
    int32_t exc; /* -1 = none */
    uint64_t exc_tval;
    /* Lines from outside, kept apart from what software wrote into mip */
    bool ext_seip, soft_seip;
    bool wfi_wrs; /* halted by wrs: any wake-up will do */
    /* Wiring, constant after creation */
    uint64_t start_pc, start_a0, start_a1;
    uint64_t (*time)(void *opaque);
    void *time_opaque;
    Timer stimer;
    char *isa;
    uint64_t pmp_lo[RV_PMP_ENTRIES], pmp_hi[RV_PMP_ENTRIES]; /* derived; hi exclusive */
    bool pmp_any;                                            /* derived: an entry is on */
} RiscvCpu;

static inline RiscvCpu *riscv(VCpu *cpu)
{
    return (RiscvCpu *)cpu;
}
static inline bool rv_has(const RiscvCpu *c, unsigned ext)
{
    return ext == RVE_NONE || c->ext >> ext & 1;
}
/* A register value as the XLEN of the hart has it. */
static inline uint64_t rv_sext(const RiscvCpu *c, uint64_t v)
{
    return c->rv32 ? (uint64_t)(int32_t)v : v;
}
static inline uint64_t rv_zext(const RiscvCpu *c, uint64_t v)
{
    return c->rv32 ? (uint32_t)v : v;
}

/* excp.c */
void rv_set_exc(RiscvCpu *c, int cause, uint64_t tval);
G_NORETURN void rv_raise(RiscvCpu *c, int cause, uint64_t tval);
void rv_deliver(VCpu *cpu);
bool rv_take_event(VCpu *cpu);
bool rv_has_work(VCpu *cpu);
/* mip or mie changed: tell the run loop. Any thread. */
void rv_update_irq(RiscvCpu *c);
void rv_set_mip(RiscvCpu *c, uint64_t bits, bool on);

/* csr.c */
uint64_t rv_time(RiscvCpu *c);
uint64_t rv_cycle(RiscvCpu *c);
void rv_stimer_update(RiscvCpu *c);
/* For debuggers: false if there is no such CSR. */
bool rv_csr_peek(RiscvCpu *c, unsigned csr, uint64_t *val);
void rv_set_mstatus(RiscvCpu *c, uint64_t val);
uint64_t rv_get_mstatus(const RiscvCpu *c); /* with SD */

/* mmu.c */
bool rv_walk(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu, bool probe, JitPage *page);
void rv_set_align_fault(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu);
uint64_t rv_debug_translate(VCpu *cpu, uint64_t vaddr);
char *rv_dump_tlb(VCpu *cpu, bool ranges);
void rv_pmp_update(RiscvCpu *c);
unsigned rv_mmu_data(const RiscvCpu *c);
unsigned rv_mmu_code(const RiscvCpu *c);

/* mode and tables */
uint64_t rv_mode(VCpu *cpu);
void rv_translate(VCpu *cpu, IrBlock *b, unsigned max);
extern const JitGlobal rv_globals[G_COUNT];
extern const StateTable rv_state_table;
bool rv_model_init(RiscvCpu *c, const char *model, bool rv32, GError **err);
char *rv_models(bool rv32);
char *rv_dump(VCpu *cpu, bool fpu);
bool rv_get_reg(VCpu *cpu, const char *name, uint64_t *val);
int rv_gdb_read(VCpu *cpu, int n, uint8_t *buf);
int rv_gdb_write(VCpu *cpu, int n, const uint8_t *buf, int len);
enum { RV_GDB_REGS = 65 + 3 + 1 };
extern const char rv_gdb_xml64[], rv_gdb_xml32[];
extern const char *const rv_xnames[32], *const rv_fnames[32];

#endif
