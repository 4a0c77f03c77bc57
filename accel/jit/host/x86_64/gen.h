/*
 * The x86-64 code generator's state: where each value of the block is.
 *
 * A value is a constant, a global (pinned to a register, or living in the state with perhaps a
 * copy in a free register), or a temporary in a register, in a frame slot, or *lazy*: not
 * computed yet, known as base + (index << scale) + disp of other values. Copies are lazy values
 * with a base only, so most moves cost nothing. Before a value changes, the lazy ones that
 * depend on it are adjusted or computed (ra_before_write()).
 */
#ifndef RHEA_JIT_X86_GEN_H
#define RHEA_JIT_X86_GEN_H

#include "accel/jit/host/host.h"
#include "accel/jit/host/x86_64/asm.h"
#include "accel/jit/ir-vec.h"
#include "accel/jit/jit-internal.h"

enum {
    G_PINS = 8,
    /* frame, from rsp */
    G_F_ARGS = 0, /* third to fifth argument of helpers; expected value of atomics */
    G_F_OP = 24,  /* JitSlowOp */
    G_F_SLOTS = 32,
    G_N_SLOTS = 192,
    G_F_VSLOTS = G_F_SLOTS + G_N_SLOTS * 8,
    G_N_VSLOTS = 64,
    G_F_VEC = G_F_VSLOTS + G_N_VSLOTS * 16, /* vector of a slow path */
    G_F_SAVE = G_F_VEC + 16,                /* rax, r10, r11 during slow paths */
    G_F_XSAVE = G_F_SAVE + 32,
    G_FRAME = G_F_XSAVE + 16 * 16 + 8, /* + 8: the frame is 16-aligned after six pushes */
    G_MAX_LAZY = 64,
    G_MAX_SLOW = 512,
    G_MAX_EXITS = 64,
    G_XMM_SCRATCH = 15,
    G_XMM_SCRATCH2 = 14,
};

/* State of a value. */
typedef struct Val {
    uint8_t kind, type;
    bool lazy;
    bool defined;
    bool zext;    /* upper half known to be zero */
    bool slot_ok; /* the slot holds the value */
    bool pinned;
    uint8_t scale;
    int8_t reg; /* host register that holds it, or -1 */
    int16_t slot;
    uint16_t last_use;
    uint16_t base, index; /* lazy */
    int32_t disp;
    uint32_t off; /* global: in the state */
    uint32_t vn;  /* value number: equal numbers, equal values */
    uint16_t def; /* instruction that made the lazy sum */
    uint64_t imm;
} Val;

/* An operand of a host instruction. */
typedef struct Opd {
    bool mem;
    int8_t reg; /* register, or base of the memory operand */
    int32_t disp;
} Opd;

typedef struct Slow {
    JitSlowOp op;
    int8_t base, val, dst; /* host registers; val, dst: -1 = none; xmm for vectors */
    bool val_imm, xmm_live, has_exp;
    int8_t exp;
    int32_t disp, imm;
    uint8_t *jump[2];
    uint8_t *back;
    uint32_t fault; /* index of its JitFault */
} Slow;

/* Operands of flags, in places that stay as they are until the block is left. */
typedef struct FlagOpd {
    bool is_imm;
    int32_t imm;
    Opd o;
} FlagOpd;
typedef struct FlagSrc {
    uint8_t kind, size;
    bool cinv;
    FlagOpd a, b, c;
} FlagSrc;

typedef struct ExitRec {
    uint8_t *jump; /* its displacement */
    uint64_t pc;
    uint8_t *poll;    /* jump to the poll stub, or NULL */
    uint8_t *cond;    /* conditional jump to code that packs flags, then jumps */
    uint8_t *pack_at; /* packing code in line, before the jump */
    bool direct;      /* linkable; else only the poll stub */
    bool indirect;    /* jump, poll: stubs that store ind_reg as pc */
    bool back;        /* a conditional jump backward: polls */
    bool pack;        /* @src is to be packed… */
    bool host_flags;  /* …and is in the host's flags when the conditional jump is taken */
    int8_t ind_reg;
    FlagSrc src;
} ExitRec;

typedef struct LabelRec {
    uint8_t *fix[16];
    unsigned n;
} LabelRec;

struct JitGen {
    JitCpu *j;
    const IrBlock *b;
    const JitTarget *t;
    Asm a;
    uint8_t *start, *limit;
    ptrdiff_t rx; /* executable minus writable address */
    bool fail;    /* out of slots or tables */
    unsigned pos; /* of this instruction, + 1 */
    unsigned cur_mmu;
    uint8_t *pack_at;   /* FLAGS into the flags global that a JMP follows */
    uint32_t cc_off;    /* of the flags global */
    const IrInsn *insn; /* last IR_INSN */
    uint16_t hint;      /* JitLive.hint of this instruction */
    Val v[IR_MAX_VALS];
    JitLive live;
    bool pinned[IR_MAX_VALS / 4];
    int8_t pin_reg[IR_MAX_VALS / 4]; /* by global */
    uint16_t pin_global[G_PINS];
    unsigned n_pins;
    uint32_t next_vn;
    /* registers */
    uint16_t reg_val[16], xmm_val[16];
    uint32_t locked, xmm_locked;
    uint64_t slot_used[(G_N_SLOTS + 63) / 64];
    uint16_t slot_val[G_N_SLOTS];
    uint16_t vslot_val[G_N_VSLOTS];
    uint16_t lazies[G_MAX_LAZY];
    unsigned n_lazies;
    /* host flags */
    struct {
        bool valid, one; /* one: the second operand is the constant 1 */
        uint8_t kind, size;
        uint16_t good;                /* packed bits that they have right */
        uint32_t a, b, b2, c, result; /* value numbers; b2: an alternative to b */
    } hf;
    Slow slow[G_MAX_SLOW];
    unsigned n_slow;
    ExitRec exits[G_MAX_EXITS];
    unsigned n_exits;
    LabelRec labels[IR_MAX_LABELS];
    bool reachable;
    JitFault faults[G_MAX_SLOW];
    unsigned n_faults;
    JitLoc locs[G_MAX_SLOW * 3];
    unsigned n_locs;
    uint32_t fixed_fault_off[G_MAX_SLOW];
    /* constant over the life */
    bool has_bmi1, has_bmi2, has_lzcnt, has_popcnt;
};

#define G_LONG_BRANCH 1

/* ---- ra.c ---- */
void ra_begin(JitGen *g);
static inline Val *ra_v(JitGen *g, IrVal v)
{
    return &g->v[v];
}
static inline bool ra_is_int(const Val *v)
{
    return v->type != IR_V128;
}
/* Is this the last use (or earlier than that: already dead)? */
static inline bool ra_dying(JitGen *g, IrVal v)
{
    return g->v[v].kind >= IRV_TEMP && g->v[v].last_use <= g->pos;
}
static inline void ra_lock(JitGen *g, int reg)
{
    g->locked |= 1u << reg;
}
static inline void ra_unlock_all(JitGen *g)
{
    g->locked = g->xmm_locked = 0;
}
/* A free integer register (evicts); locked until the instruction's end. */
int ra_alloc(JitGen *g);
int ra_alloc_x(JitGen *g);
/* Make @reg free, moving its value elsewhere. */
void ra_take(JitGen *g, int reg);
/* The register that holds the value; loads or computes it. Locked. */
int ra_reg(JitGen *g, IrVal v);
int ra_xmm(JitGen *g, IrVal v);
/* The value as a register or memory operand of @size bytes. */
Opd ra_opd(JitGen *g, IrVal v, unsigned size);
Opd ra_xopd(JitGen *g, IrVal v);
/* A constant (through copies)? @size: sign-extended from that many bytes. */
bool ra_const(JitGen *g, IrVal v, uint64_t *k);
bool ra_imm32(JitGen *g, IrVal v, unsigned size, int32_t *k);
/* The value through plain copies. */
IrVal ra_root(JitGen *g, IrVal v);
/* Load the value into @reg, which belongs to nobody (scratch). */
void ra_load_to(JitGen *g, int reg, IrVal v, bool wide);
/* Address as base register and displacement. */
int ra_addr(JitGen *g, IrVal v, int32_t *disp);
/* @v changes now: copies of its old value get homes of their own. */
void ra_before_write(JitGen *g, IrVal v);
/* The same when it changes by adding @k (64-bit), so that dependents are adjusted. */
void ra_before_add(JitGen *g, IrVal v, int64_t k, bool wide);
/* old = new + index: dependents of @v become sums. */
void ra_before_sub(JitGen *g, IrVal v, IrVal by, bool wide);
/* Register for the result: the hinted global's, that of the dying @reuse, or a new one. Calls
 * ra_before_write() as needed; then ra_done() says that the result is there. */
int ra_dst(JitGen *g, IrVal d, IrVal reuse);
/* The pinned global that ra_dst() would write, or 0. */
IrVal ra_target(JitGen *g, IrVal d);
void ra_done(JitGen *g, IrVal d, int reg, bool zext);
int ra_dst_x(JitGen *g, IrVal d, IrVal reuse);
void ra_done_x(JitGen *g, IrVal d, int xmm);
/* d := lazy sum. False if it cannot be (the caller computes). */
bool ra_lazy(JitGen *g, IrVal d, IrVal base, IrVal index, unsigned scale, int64_t disp, bool zext);
/* The flags global := ax; its upper half is 0 already. */
void ra_store_flags(JitGen *g);
/* IR_MOV. */
void ra_mov(JitGen *g, IrType t, IrVal d, IrVal a);
/* Before a local branch: what is needed at or after @label_pos is in its slot. */
void ra_sync_branch(JitGen *g, unsigned label_pos);
/* At a label: registers hold nothing but pinned globals. */
void ra_at_label(JitGen *g);
/* Before a call: values that live on are out of the registers that calls clobber. */
void ra_before_call(JitGen *g, bool faults);
/* Registers of temporaries hold nothing any more. */
void ra_forget_temps(JitGen *g);
/* Copies of globals that live on get homes of their own. */
void ra_settle_globals(JitGen *g);
/* After a call that changes globals. */
void ra_globals_changed(JitGen *g);
bool ra_xmm_live(JitGen *g);
/* Where @v is for the side table; @in_call: temporaries are in slots, not in the save area. */
JitLoc ra_describe(JitGen *g, IrVal v);
uint32_t ra_new_vn(JitGen *g);

/* ---- flags.c ---- */
static inline void hf_clobber(JitGen *g)
{
    g->hf.valid = false;
}
/* Operands of an operation that will set host flags: value numbers before it. */
typedef struct HfOps {
    uint32_t a, b;
    bool one;
} HfOps;
HfOps hf_ops(JitGen *g, IrVal a, IrVal b);
/* Right after the operation was emitted, before ra_done(): keeps moves from touching flags. */
static inline void hf_hold(JitGen *g)
{
    g->hf.valid = true;
    g->hf.good = 0;
}
/* After ra_done(). */
void hf_set(JitGen *g, IrFlagKind kind, unsigned size, HfOps o, IrVal result, unsigned good);
/* Emit what makes a host condition code (returned) equal to @cc of flags @f. */
unsigned hf_cond(JitGen *g, const IrFlags *f, IrFlagCond cc);
/* The same for an integer comparison. */
unsigned hf_compare(JitGen *g, IrCond cc, IrType t, IrVal a, IrVal b);
/* Operands of @f as they are now; emits moves only. */
void hf_source(JitGen *g, const IrFlags *f, FlagSrc *src);
/* Are the host's flags just @f? */
bool hf_is(JitGen *g, const IrFlags *f);
/* At a way out: ax := packed flags of @src (rax, rcx, rdx are free). @ready: the host has them. */
void hf_pack_source(JitGen *g, const FlagSrc *src, bool ready);
/* The packed form of @f into ax (the rest of rax is undefined), which the caller has taken. */
void hf_pack(JitGen *g, const IrFlags *f);

/* ---- mem.c ---- */
void emit_qld(JitGen *g, const IrInsn *in);
void emit_qst(JitGen *g, const IrInsn *in);
void emit_qatomic(JitGen *g, const IrInsn *in);
void emit_slow_paths(JitGen *g);
uint32_t emit_fault(JitGen *g, bool host_fp);
void emit_ext_load(JitGen *g, unsigned mem, IrType t, int dst, int base, int index, int32_t disp);
void emit_store(JitGen *g, unsigned size, int base, int index, int32_t disp, int reg);

/* ---- vec.c ---- */
void emit_vec(JitGen *g, const IrInsn *in);

/* ---- emit.c ---- */
void emit_mov_rr(JitGen *g, bool wide, int dst, int src);

#endif
