/*
 * What the system part of the x86 CPU shares among its files. Intel SDM volume 3.
 *
 * excp.c     exception and interrupt delivery     segment.c  descriptors, segment registers, mode
 * word far.c      far transfers, IRET                  syscall.c  SYSCALL, SYSENTER and their
 * returns task.c     hardware task switch                 paging.c   page walks cr.c       control
 * registers, EFER              msr.c      model-specific registers flags.c    EFLAGS instructions,
 * VME and PVI     io.c       ports and their permission debug.c    debug registers and traps gdb.c,
 * dump.c  the CPU as debuggers see it cpuid.c    CPUID                                models.c -cpu
 * smm.c      system management mode               state.c    saved state
 * target.c   the Target tables, reset, events     sys_helpers.c  what remains of the helpers
 *
 * Rule: a function that can fault (memory, checks) is done with all of that before it changes
 * state.
 */
#ifndef RHEA_TARGET_X86_SYS_H
#define RHEA_TARGET_X86_SYS_H

#include "target/x86/cpu.h"
#include "target/x86/helpers.h"

/* Prototypes of the helpers. */
#define X86_PROTO_0 VCpu *cpu
#define X86_PROTO_1 X86_PROTO_0, uint64_t a1
#define X86_PROTO_2 X86_PROTO_1, uint64_t a2
#define X86_PROTO_3 X86_PROTO_2, uint64_t a3
#define X86_PROTO_4 X86_PROTO_3, uint64_t a4
#define X(n, a, f) uint64_t x86_h_##n(X86_PROTO_##a);
X86_SYS_HELPERS(X)
#undef X

/* System descriptor types (with S = 0). */
enum {
    SYS_TSS16 = 1,
    SYS_LDT = 2,
    SYS_TSS16_BUSY = 3,
    SYS_CALL16 = 4,
    SYS_TASK_GATE = 5,
    SYS_INT16 = 6,
    SYS_TRAP16 = 7,
    SYS_TSS = 9,
    SYS_TSS_BUSY = 11,
    SYS_CALL = 12,
    SYS_INT = 14,
    SYS_TRAP = 15,
};

/* One 8-byte descriptor as read from a table. */
typedef struct X86Desc {
    uint16_t sel;
    uint32_t lo, hi;
    uint64_t addr;  /* linear address of it */
    uint32_t upper; /* bits 32…63 of the base or offset: 16-byte system descriptors in long mode */
} X86Desc;

static inline bool desc_is_seg(const X86Desc *d)
{
    return d->hi & DESC_S;
}
static inline bool desc_is_code(const X86Desc *d)
{
    return (d->hi & (DESC_S | DESC_CODE)) == (DESC_S | DESC_CODE);
}
static inline bool desc_is_conforming(const X86Desc *d)
{
    return (d->hi & (DESC_S | DESC_CODE | DESC_C)) == (DESC_S | DESC_CODE | DESC_C);
}
static inline bool desc_present(const X86Desc *d)
{
    return d->hi & DESC_P;
}
static inline unsigned desc_dpl(const X86Desc *d)
{
    return d->hi >> DESC_DPL_SHIFT & 3;
}
static inline unsigned desc_type(const X86Desc *d)
{
    return d->hi >> DESC_TYPE_SHIFT & 15;
}
static inline uint32_t desc_base32(const X86Desc *d)
{
    return d->lo >> 16 | (d->hi & 0xff) << 16 | (d->hi & 0xff000000);
}
static inline uint32_t desc_limit(const X86Desc *d)
{
    uint32_t limit = (d->lo & 0xffff) | (d->hi & 0xf0000);

    return d->hi & DESC_G ? limit << 12 | 0xfff : limit;
}
#define DESC_ATTR_MASK 0x00f0ff00u
/* Fill a segment register's hidden part from a descriptor. */
static inline void seg_from_desc(X86Seg *s, uint16_t sel, const X86Desc *d)
{
    s->sel = sel;
    s->attr = d->hi & DESC_ATTR_MASK;
    s->base = desc_base32(d);
    s->limit = desc_limit(d);
}

/* ---- segment.c ---- */
static inline bool x86_feat(const X86Cpu *c, unsigned word, unsigned bit)
{
    return c->feat[word] >> bit & 1;
}
static inline bool x86_real(const X86Cpu *c) /* real-address mode */
{
    return !(c->cr0 & CR0_PE);
}
static inline bool x86_v86(const X86Cpu *c)
{
    return c->eflags & EF_VM;
}
static inline bool x86_prot(const X86Cpu *c) /* protected mode and not virtual-8086 */
{
    return (c->cr0 & CR0_PE) && !(c->eflags & EF_VM);
}
static inline bool x86_lma(const X86Cpu *c)
{
    return c->efer & EFER_LMA;
}
static inline bool x86_code64(const X86Cpu *c)
{
    return (c->efer & EFER_LMA) && (c->seg[S_CS].attr & DESC_L);
}
static inline unsigned x86_iopl(const X86Cpu *c)
{
    return c->eflags >> 12 & 3;
}
static inline bool x86_canonical(uint64_t a)
{
    return (uint64_t)((int64_t)(a << 16) >> 16) == a;
}
/* #GP(0) unless CPL is 0. */
void x86_need_cpl0(X86Cpu *c);
/* Read a descriptor from the GDT or LDT. false: null selector or beyond the table's limit. With
 * @wide, 16 bytes (the caller is in long mode). */
bool x86_read_desc(X86Cpu *c, uint16_t sel, bool wide, X86Desc *d);
/* Set the accessed bit in memory if it is clear. */
void x86_desc_accessed(X86Cpu *c, X86Desc *d);
/* A segment register in real or virtual-8086 mode. */
void x86_seg_real(X86Cpu *c, int seg, uint16_t sel);
void x86_seg_v86(X86Cpu *c, int seg, uint16_t sel);
/* Make a segment unusable (null selector @sel). */
void x86_seg_null(X86Cpu *c, int seg, uint16_t sel);
/* Load ES, DS, SS, FS or GS; all checks of MOV Sreg. */
void x86_load_seg(X86Cpu *c, int seg, uint16_t sel);
/* After a return to an outer level: data segments that the new CPL may not see become null. */
void x86_drop_segs(X86Cpu *c, unsigned cpl);
/* Is [off, off+size) inside the segment's limit? */
bool x86_in_limit(const X86Seg *s, uint64_t off, unsigned size);
/* CS as a flat segment of SYSCALL and the like. */
void x86_flat_cs(X86Cpu *c, uint16_t sel, unsigned dpl, bool code64);
void x86_flat_ss(X86Cpu *c, uint16_t sel, unsigned dpl);
/* Load CS from a checked code descriptor, with @cpl as RPL. */
void x86_set_cs(X86Cpu *c, uint16_t sel, unsigned cpl, const X86Desc *d);
/* Descriptor of a stack segment for level @cpl, checked; @exc is EXC_TS (from a TSS or gate) or
 * EXC_GP (from the stack). A null selector is the caller's business. */
void x86_stack_desc(X86Cpu *c, uint16_t sel, unsigned cpl, int exc, X86Desc *d);

/* ---- stack access of far transfers and interrupts ---- */
typedef struct X86Stack {
    X86Seg seg;
    uint64_t sp;   /* moves */
    uint64_t mask; /* of the stack pointer: 16, 32, 64 bits */
    unsigned mmu;
    bool limits;      /* check against seg */
    uint32_t err_sel; /* error code of #SS */
} X86Stack;
/* The present stack. */
void x86_stack_now(X86Cpu *c, X86Stack *s);
/* A stack to which level @cpl goes. @code64: 64-bit mode rules. */
void x86_stack_init(X86Cpu *c, X86Stack *s, const X86Seg *ss, uint64_t sp, unsigned cpl,
                    bool code64);
void x86_push(X86Cpu *c, X86Stack *s, uint64_t val, unsigned size);
uint64_t x86_pop(X86Cpu *c, X86Stack *s, unsigned size);
/* Write the stack pointer back, as wide as it is. */
void x86_set_sp(X86Cpu *c, uint64_t sp, uint64_t mask);
static inline uint64_t x86_sp_mask(uint32_t ss_attr, bool code64)
{
    return code64 ? ~0ull : ss_attr & DESC_B ? 0xffffffffull : 0xffffull;
}
/* mmu index of ordinary accesses of level @cpl. */
unsigned x86_mmu_cpl(X86Cpu *c, unsigned cpl);

/* ---- excp.c ---- */
typedef enum {
    EV_FAULT, /* rip is that of the instruction; RF is pushed as 1 */
    EV_TRAP,  /* a debug trap */
    EV_EXT,   /* interrupt, NMI */
    EV_SOFT,  /* INT3, INTO */
    EV_INTN,  /* INT n: subject to IOPL and VME in virtual-8086 mode */
    EV_INT1,
} X86EventKind;
/* The event as JitTarget.deliver() describes. */
void x86_deliver(VCpu *cpu);
/* An event at an instruction boundary (state precise, no block is running). */
void x86_enter_event(X86Cpu *c, int vec, X86EventKind kind);
/* Make an exception pending without leaving (walk). */
void x86_set_exc(X86Cpu *c, int vec, X86EventKind kind, bool has_err, uint32_t err);
/* Inner stack from the TSS for @cpl (not long mode). */
void x86_tss_stack(X86Cpu *c, unsigned cpl, uint16_t *ss, uint32_t *esp);
/* RSP0…RSP2 (@n 0…2) or IST1…7 (@n 4…10: 3 + IST number) from the 64-bit TSS. */
uint64_t x86_tss_rsp(X86Cpu *c, unsigned n);

/* ---- task.c ---- */
typedef enum { TASK_JMP, TASK_CALL, TASK_IRET, TASK_INT } X86TaskReason;
/* Switch to the TSS @sel. @next: EIP that the old task goes on at; @flags: its EFLAGS. From a
 * helper
 * (@in_block) it does not return. */
void x86_task_switch(X86Cpu *c, uint16_t sel, X86TaskReason why, uint32_t next, uint32_t flags,
                     bool in_block);
/* Second half: descriptors of the new task. Outside of blocks. */
void x86_task_finish(X86Cpu *c);

/* ---- paging.c ---- */
bool x86_walk(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu, bool probe, JitPage *page);
uint64_t x86_debug_translate(VCpu *cpu, uint64_t vaddr);
/* Load the PDPTEs for @cr3; false if one has reserved bits (nothing changed). */
bool x86_load_pdptes(X86Cpu *c, uint64_t cr3);
static inline uint64_t x86_phys_mask(const X86Cpu *c)
{
    return (1ull << c->phys_bits) - 1;
}
char *x86_dump_tlb(VCpu *cpu, bool ranges);

/* ---- cr.c ---- */
/* CR0/CR4/EFER as a whole, without checks (reset, SMM, task switch); flushes. */
void x86_set_cr0(X86Cpu *c, uint64_t v);
uint64_t x86_cr4_mask(const X86Cpu *c);
uint64_t x86_efer_mask(const X86Cpu *c);
void x86_write_efer(X86Cpu *c, uint64_t v); /* with checks */

/* ---- debug.c ---- */
/* Make a debug trap pending: taken at the next instruction boundary. */
void x86_pend_db(X86Cpu *c, uint32_t dr6);
/* I/O breakpoint match. */
void x86_io_break(X86Cpu *c, uint16_t port, unsigned size);
static inline bool x86_dr7_armed(const X86Cpu *c)
{
    return c->dr[7] & 0xff;
}

/* ---- smm.c ---- */
void x86_smm_enter(X86Cpu *c);

/* ---- msr.c ---- */
/* false: #GP. Not for EFER, which raises it itself. */
bool x86_msr_read(X86Cpu *c, uint32_t msr, uint64_t *v);
bool x86_msr_write(X86Cpu *c, uint32_t msr, uint64_t v);
/* Where the value of a register is that only KVM gives a meaning to; NULL: not one. */
uint64_t *x86_kvm_msr(X86Cpu *c, uint32_t msr);
void x86_msr_reset(X86Cpu *c, bool init);

/* ---- models.c, cpuid.c ---- */
bool x86_model_init(X86Cpu *c, const char *text, bool long_mode, GError **err);
char *x86_model_list(bool long_mode);
void x86_cpuid(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4]);
bool x86_is_intel(const X86Cpu *c);
bool x86_is_amd(const X86Cpu *c);

/* ---- kvm-*.c ---- */
typedef struct X86KvmLeaf {
    uint32_t eax, ebx, ecx, edx;
} X86KvmLeaf;
/* Components of XSAVE that only KVM gives a meaning to (AVX…), in the standard form. */
typedef struct X86ExtState {
    uint8_t *image; /* an XSAVE area; x87 and SSE are in X86Cpu */
    struct {
        uint32_t size, off; /* size 0: no such component */
        bool align;         /* to 64 bytes, in the compacted form */
    } comp[64];
    uint64_t mask; /* components that have a size */
} X86ExtState;

/* What the host's KVM offers. */
typedef struct X86KvmLimits {
    uint32_t feat[FEAT_WORDS];
    uint32_t pv; /* paravirtual features that are passed on: leaf 4000_0001h, EAX */
    uint8_t phys_bits;
    X86KvmLeaf xsave[20]; /* leaf 0Dh */
} X86KvmLimits;
extern const KvmTarget x86_kvm_target;
bool x86_kvm_limits(Machine *m, X86KvmLimits *l, GError **err);
/* The translator wrote a register that only KVM gives a meaning to: do what the guest waits for
 * (fill kvmclock's pages). vCPU thread. */
void x86_kvm_msr_written(X86Cpu *c, uint32_t msr, uint64_t v);
/* With kvm_limits: a leaf that is the kernel's; false: not one. @out is zeroed. */
bool x86_kvm_cpuid(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4]);

/* ---- gdb.c, dump.c, state.c ---- */
extern const char x86_gdb_xml64[], x86_gdb_xml32[];
enum { X86_GDB_REGS64 = 59, X86_GDB_REGS32 = 41 };
int x86_gdb_read64(VCpu *cpu, int n, uint8_t *buf);
int x86_gdb_write64(VCpu *cpu, int n, const uint8_t *buf, int len);
int x86_gdb_read32(VCpu *cpu, int n, uint8_t *buf);
int x86_gdb_write32(VCpu *cpu, int n, const uint8_t *buf, int len);
bool x86_get_reg(VCpu *cpu, const char *name, uint64_t *val);
char *x86_dump(VCpu *cpu, bool fpu);
extern const StateTable x86_state_table;

/* ---- target.c ---- */
void x86_flush_all(X86Cpu *c);
void x86_init_reset(X86Cpu *c);

#endif
