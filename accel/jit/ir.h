/*
 * The intermediate representation of the translator: what guest decoders emit and what the
 * interpreter and the host back ends execute. One block of guest code is one IrBlock: a linear
 * list of instructions with forward local branches only.
 *
 * Values (IrVal) are small numbers: constants, globals (registers that the target describes in
 * its JitTarget.globals table), and temporaries of the block.
 *
 * Rules for whoever emits IR
 *  1. Precise exceptions. Each guest instruction begins with ir_insn(). Between it and the last
 *     operation of that guest instruction that can fault (guest memory access, helper with
 *     IRH_FAULTS) no global, and no environment field that the guest can see, is written. (A
 *     helper with IRH_FAULTS may do both if it checks before it writes.) A fault then finds the
 *     state of the instruction's start without any eager store of the program counter.
 *  2. Flags are lazy. ir_insn() names how the guest flags that are valid at its start are to be
 *     computed (IrFlags); the side table keeps that, so nothing is computed unless a fault or a
 *     consumer needs it. The packed flags global holds them only when IrFlags.kind is
 *     IRF_PACKED. Before each exit from the block the decoder packs them (ir_flags()).
 *  3. Temporaries die at labels and branches, unless made by ir_local(). They may be assigned
 *     more than once.
 *  4. I32 operations leave the upper half of a 64-bit temporary undefined; EXT32U/EXT32S make
 *     it defined. An I32 operation may read an I64 value (its low half).
 *  5. Guest addresses are I64 and already have segment base and address-size wrap applied.
 *  6. A block ends with exactly one of: JMP, JMP_IND, EXIT on every path.
 */
#ifndef RHEA_ACCEL_JIT_IR_H
#define RHEA_ACCEL_JIT_IR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint16_t IrVal; /* 0 = none */
typedef struct IrBlock IrBlock;

typedef enum { IR_I32, IR_I64, IR_V128 } IrType;

/* Conditions of SETCOND, MOVCOND, BRCOND on two integers. Numbering: bit 0 negates. */
typedef enum {
    IRC_EQ,
    IRC_NE,
    IRC_LTU,
    IRC_GEU,
    IRC_LEU,
    IRC_GTU,
    IRC_LT,
    IRC_GE,
    IRC_LE,
    IRC_GT,
    IRC_TSTZ,
    IRC_TSTNZ, /* (a & b) == 0, != 0 */
} IrCond;

/*
 * Packed flags: the live-out form, a 16-bit quantity (upper bits zero) in an I32 value. It is
 * what `lahf; seto al` leaves in ax on an x86 host; other hosts build it.
 */
enum {
    IRF_V = 1 << 0,  /* signed overflow */
    IRF_C = 1 << 8,  /* carry out; after subtraction: borrow */
    IRF_P = 1 << 10, /* even parity of the low 8 bits */
    IRF_H = 1 << 12, /* carry/borrow of bit 3 */
    IRF_Z = 1 << 14,
    IRF_N = 1 << 15,
    IRF_ONE = 1 << 9, /* always set in what the host packs; readers must ignore it */
};

/* How a set of flags is computed from values. @size: operand bytes 1, 2, 4, 8. */
typedef enum {
    IRF_PACKED, /* as in the packed flags global */
    IRF_VALUE,  /* a = I32 value in packed form */
    IRF_ADD,    /* result a, second operand b: first operand = a - b */
    IRF_SUB,    /* first operand a, second b: result = a - b  (a compare) */
    IRF_LOGIC,  /* result a; C = V = H = 0 */
    IRF_ADC,    /* result a, second operand b, carry in c (0 or 1) */
    IRF_SBB,    /* first operand a, second b, borrow in c (0 or 1) */
    IRF_INC,    /* result a; c = packed flags (IR value) that supply C */
    IRF_DEC,    /* result a; c as above */
    IRF_SHL, /* result a; b = operand shifted left by count-1 (bit size*8-1 of it is C); count != 0
              */
    IRF_SHR, /* result a; b = operand shifted right (logically) by count-1 (bit 0 is C);
                V = top bit of b, as for a count of 1 */
    IRF_SAR, /* likewise, V = 0 */
    IRF_MUL, /* result low half a; C = V = (b != 0), N Z P from a, H = 0 */
} IrFlagKind;

typedef struct IrFlags {
    uint8_t kind; /* IrFlagKind */
    uint8_t size;
    IrVal a, b, c;
    /* The packed form has C complemented: for guests whose carry means the opposite after this
     * operation. Conditions look at the flags before that. Not for PACKED and VALUE. */
    bool cinv;
} IrFlags;

/* Condition codes on flags: the sixteen of x86, in its numbering (bit 0 negates). */
typedef enum {
    IRFC_V,
    IRFC_NV,
    IRFC_C,
    IRFC_NC,
    IRFC_Z,
    IRFC_NZ,
    IRFC_CZ,
    IRFC_NCZ, /* o no b ae z nz be a */
    IRFC_N,
    IRFC_NN,
    IRFC_P,
    IRFC_NP,
    IRFC_LT,
    IRFC_GE,
    IRFC_LE,
    IRFC_GT, /* s ns p np l ge le g */
} IrFlagCond;

/* Guest memory operation: how QLD, QST and the atomics access memory. */
typedef enum {
    IRM_8 = 0,
    IRM_16 = 1,
    IRM_32 = 2,
    IRM_64 = 3,
    IRM_128 = 4,
    IRM_SIZE = 7,      /* log2 of bytes */
    IRM_SIGN = 8,      /* sign-extend to the type of the destination (else zero-extend) */
    IRM_BE = 16,       /* big-endian guest access */
    IRM_ALIGN = 32,    /* fault unless naturally aligned */
    IRM_RMW = 64,      /* load that must be permitted as a store, too (read-modify-write) */
    IRM_MMU_SHIFT = 8, /* bits 8…11: mmu index */
} IrMemOp;

typedef enum { IRA_XCHG, IRA_ADD, IRA_AND, IRA_OR, IRA_XOR, IRA_CMPXCHG } IrAtomic;

/*
 * Helpers: C functions that translated code calls.
 * uint64_t fn(void *env, uint64_t a1, …) with up to 5 arguments after env; void is fine without
 * IRH_RET. env is the VCpu. Helpers run with the guest's MXCSR loaded (x86 hosts): one that
 * does floating point of its own, or calls out of the CPU (devices), has IRH_HOSTFP.
 */
enum {
    IRH_RET = 1,    /* returns a value */
    IRH_READS = 2,  /* reads globals: they are in memory during the call */
    IRH_WRITES = 4, /* writes globals: reloaded afterwards */
    IRH_FAULTS = 8, /* may raise an exception (jit_raise…): side-table entry */
    IRH_NORETURN = 16,
    IRH_HOSTFP = 32,
    IRH_PURE = 64, /* result depends on arguments only; no env access */
    IRH_ALL = IRH_READS | IRH_WRITES | IRH_FAULTS,
};

typedef struct IrHelper {
    const char *name;
    void *fn;
    uint8_t nargs; /* without env */
    uint8_t flags;
} IrHelper;

/*
 * The operations. X(NAME, outputs, inputs, flags)
 *   P pure: no effect but its outputs; can be dropped when they are dead, and merged
 *   C commutative in its first two inputs
 *   M touches guest memory (may fault)   E ends or branches   S has another side effect
 * Unless noted, the instruction's type is that of inputs and outputs.
 */
#define IRO_P 1
#define IRO_C 2
#define IRO_M 4
#define IRO_E 8
#define IRO_S 16

#define IR_OPS(X)                                                                                  \
    X(NOP, 0, 0, IRO_S)                                                                            \
    X(INSN, 0, 0, IRO_S) /* guest instruction starts; imm = its pc, extra = IrFlags index */       \
    X(MOV, 1, 1, IRO_P)                                                                            \
    X(ADD, 1, 2, IRO_P | IRO_C)                                                                    \
    X(SUB, 1, 2, IRO_P)                                                                            \
    X(AND, 1, 2, IRO_P | IRO_C)                                                                    \
    X(OR, 1, 2, IRO_P | IRO_C)                                                                     \
    X(XOR, 1, 2, IRO_P | IRO_C)                                                                    \
    X(ANDN, 1, 2, IRO_P) /* a & ~b */                                                              \
    X(NOT, 1, 1, IRO_P)                                                                            \
    X(NEG, 1, 1, IRO_P)                                                                            \
    X(MUL, 1, 2, IRO_P | IRO_C)                                                                    \
    X(MULU2, 2, 2, IRO_P | IRO_C) /* d = low, d2 = high half of the unsigned product */            \
    X(MULS2, 2, 2, IRO_P | IRO_C)                                                                  \
    X(SHL, 1, 2, IRO_P) /* counts are taken modulo the width of the type */                        \
    X(SHR, 1, 2, IRO_P)                                                                            \
    X(SAR, 1, 2, IRO_P)                                                                            \
    X(ROL, 1, 2, IRO_P)                                                                            \
    X(ROR, 1, 2, IRO_P)                                                                            \
    X(EXT8U, 1, 1, IRO_P)                                                                          \
    X(EXT8S, 1, 1, IRO_P)                                                                          \
    X(EXT16U, 1, 1, IRO_P)                                                                         \
    X(EXT16S, 1, 1, IRO_P)                                                                         \
    X(EXT32U, 1, 1, IRO_P)   /* to I64 */                                                          \
    X(EXT32S, 1, 1, IRO_P)   /* to I64 */                                                          \
    X(DEPOSIT, 1, 2, IRO_P)  /* a with its bits [pos, pos+len) replaced by low bits of b;          \
                                imm = pos | len << 8 */                                            \
    X(EXTRACTU, 1, 1, IRO_P) /* bits [pos, pos+len) of a; imm as above */                          \
    X(EXTRACTS, 1, 1, IRO_P)                                                                       \
    X(BSWAP, 1, 1, IRO_P) /* all bytes of the type */                                              \
    X(CLZ, 1, 1, IRO_P)   /* width of the type for 0 */                                            \
    X(CTZ, 1, 1, IRO_P)   /* width of the type for 0 */                                            \
    X(POPCNT, 1, 1, IRO_P)                                                                         \
    X(SETCOND, 1, 2, IRO_P) /* d (I32 or I64) = 0 or 1; type is that of the inputs */              \
    X(MOVCOND, 1, 4, IRO_P) /* d = cond(a, b) ? c : e; type2 is that of a and b */                 \
    X(BRCOND, 0, 2, IRO_E)  /* to label imm if cond(a, b) */                                       \
    X(BR, 0, 0, IRO_E)                                                                             \
    X(LABEL, 0, 0, IRO_E)                                                                          \
    X(FLAGS, 1, 0, IRO_P)   /* d (I32) = packed form of IrFlags number extra; a, b, c are its      \
                               values */                                                           \
    X(SETFLAG, 1, 0, IRO_P) /* d (I32) = 0 or 1: flag condition cc of IrFlags number extra */      \
    X(MOVFLAG, 1, 2, IRO_P) /* d = cc of IrFlags number extra ? a : b */                           \
    X(BRFLAG, 0, 0, IRO_E)  /* to label imm if cc of IrFlags number extra */                       \
    X(BREXIT, 0, 0, IRO_E)  /* leave the block for guest pc imm if cc of IrFlags number extra,     \
                               which  are packed into the flags global on that way; linkable as    \
                               JMP.  Temporaries stay alive on the other way */                    \
    X(LDE, 1, 0, IRO_S)     /* load environment field at offset imm; mem: IRM_8…128|SIGN */      \
    X(STE, 0, 1, IRO_S)     /* must not name a global's storage */                                 \
    X(QLD, 1, 1, IRO_M)     /* d = guest memory at address a; mem */                               \
    X(QST, 0, 2, IRO_M)     /* guest memory at address a = b */                                    \
    X(QATOMIC, 1, 3, IRO_M) /* d = old value at a, zero-extended; value b; CMPXCHG: b is the new   \
                               value, c the expected one; cc = IrAtomic. Always sequentially       \
                               consistent */                                                       \
    X(FENCE, 0, 0, IRO_S)   /* full: orders earlier stores before later loads */                   \
    X(CALL, 1, 0, IRO_S)    /* d may be 0; helper, args[] at extra, count in cc */                 \
    X(JMP, 0, 0, IRO_E)     /* go on at guest pc imm, same mode; linkable */                       \
    X(JMP_IND, 0, 1, IRO_E) /* go on at guest pc a, same mode; cc = IrHint */                      \
    X(EXIT, 0, 1, IRO_E)    /* pc := a, back to the dispatcher, which looks at events and computes \
                               the mode anew (after changes of mode, mapping, interrupt flag) */   \
    /* vectors; see ir-vec.h for VOP's table */                                                    \
    X(VLDE, 1, 0, IRO_S)      /* V128 from env offset imm, mem size 4, 8, 16 bytes, rest zero */   \
    X(VSTE, 0, 1, IRO_S)      /* low 4, 8, 16 bytes */                                             \
    X(VOP, 1, 2, IRO_P)       /* d = vop(a, b), imm8 in imm; extra = IrVop. For one-input          \
                                 operations b is the input and a is what a partial result merges   \
                                 into (or 0) */                                                    \
    X(VCMPFLAGS, 1, 2, IRO_P) /* d (I32) = packed flags of ordered/unordered compare: C, Z, P as   \
                                 (u)comiss/(u)comisd set them, others 0; extra = IrVop */          \
    X(VTOI, 1, 1, IRO_P)      /* integer of type from vector: extra = IrVop (movd, movq, cvt…,   \
                                 movmskps, pmovmskb, pextr with imm) */                            \
    X(VFMA, 1, 3, IRO_S)      /* d = a * b + c with one rounding; extra: IRFMA_*. Host needs       \
                                 IRVF_FMA */                                                       \
    X(VFROMI, 1, 2, IRO_P)    /* vector from integer b, merged into a (movd, cvtsi2sd, pinsr…) */

typedef enum {
#define X(n, o, i, f) IR_##n,
    IR_OPS(X)
#undef X
        IR_N_OPS
} IrOp;

typedef struct IrOpInfo {
    const char *name;
    uint8_t outs, ins, flags;
} IrOpInfo;
extern const IrOpInfo ir_op_info[IR_N_OPS];

/* Hints of JMP_IND, for return prediction. */
typedef enum { IRJ_JUMP, IRJ_CALL, IRJ_RET } IrHint;

typedef struct IrInsn {
    uint8_t op;
    uint8_t type; /* IrType */
    uint8_t cc;   /* IrCond, IrFlagCond, IrAtomic, IrHint, or argument count */
    uint8_t type2;
    uint16_t mem;   /* IrMemOp */
    uint16_t extra; /* index: IrFlags, args, IrVop */
    IrVal d, d2, a, b, c, e;
    union {
        uint64_t imm;
        const IrHelper *helper;
    };
} IrInsn;

enum {
    IR_MAX_INSNS = 2048, /* decoders stop at about half of it: see ir_full() */
    IR_MAX_VALS = 2048,
    IR_MAX_FLAGS = 512,
    IR_MAX_ARGS = 1024,
    IR_MAX_LABELS = 128,
};

typedef struct IrValInfo {
    uint8_t kind; /* IRV_* */
    uint8_t type;
    uint16_t global; /* IRV_GLOBAL: index in JitTarget.globals */
    uint64_t imm;    /* IRV_CONST */
} IrValInfo;
enum { IRV_NONE, IRV_CONST, IRV_GLOBAL, IRV_TEMP, IRV_LOCAL };

struct JitTarget;
struct IrBlock {
    const struct JitTarget *target;
    uint64_t pc;   /* of the first instruction, as in the target's pc field */
    uint64_t mode; /* what the block was translated for: JitTarget.get_mode() */
    unsigned n_insns, n_vals, n_flags, n_args, n_labels;
    unsigned n_guest;     /* guest instructions */
    unsigned guest_bytes; /* that the block covers, from pc on */
    bool transient;       /* run it once, do not keep it: it raises a fetch fault */
    IrInsn insns[IR_MAX_INSNS];
    IrValInfo vals[IR_MAX_VALS];
    IrFlags flags[IR_MAX_FLAGS];
    IrVal args[IR_MAX_ARGS];
    uint16_t const_hash[64];
};

/* Start a block: globals take the values 1…n_globals. */
void ir_begin(IrBlock *b, const struct JitTarget *target, uint64_t pc, uint64_t mode);
/* True when the decoder should end the block before the next guest instruction. */
static inline bool ir_full(const IrBlock *b)
{
    return b->n_insns > IR_MAX_INSNS / 2 || b->n_vals > IR_MAX_VALS / 2 ||
           b->n_args > IR_MAX_ARGS / 2 || b->n_flags > IR_MAX_FLAGS / 2 ||
           b->n_labels > IR_MAX_LABELS / 2;
}
/* Undo: forget everything that was emitted since the mark (a guest instruction that turned out
 * not to be fetchable). */
typedef struct IrMark {
    unsigned n_insns, n_vals, n_flags, n_args, n_labels;
} IrMark;
static inline IrMark ir_mark(const IrBlock *b)
{
    return (IrMark){b->n_insns, b->n_vals, b->n_flags, b->n_args, b->n_labels};
}
static inline void ir_rollback(IrBlock *b, IrMark m)
{
    b->n_insns = m.n_insns;
    b->n_vals = m.n_vals; /* const_hash entries at or beyond n_vals count as empty */
    b->n_flags = m.n_flags;
    b->n_args = m.n_args;
    b->n_labels = m.n_labels;
}
/* Text of the whole block, for -d ir; caller frees. */
char *ir_dump(const IrBlock *b);
/* Checks the rules above that can be checked; NULL or a sentence (caller frees). Tests, debug. */
char *ir_verify(const IrBlock *b);

static inline IrVal ir_global(unsigned index)
{
    return (IrVal)(index + 1);
}
IrVal ir_const(IrBlock *b, IrType t, uint64_t v); /* interned; I32 is truncated */
IrVal ir_temp(IrBlock *b, IrType t);
IrVal ir_local(IrBlock *b, IrType t);
static inline bool ir_is_const(const IrBlock *b, IrVal v, uint64_t *imm)
{
    if (b->vals[v].kind != IRV_CONST) {
        return false;
    }
    *imm = b->vals[v].imm;
    return true;
}

/* Emitters. Each appends one instruction; those named ir_X(b, …) → IrVal make a new temporary
 * for the result and fold constants. `_to` forms write an existing value. */
void ir_insn(IrBlock *b, uint64_t pc, const IrFlags *flags);
void ir_op_to(IrBlock *b, IrOp op, IrType t, IrVal d, IrVal a, IrVal c);
IrVal ir_op(IrBlock *b, IrOp op, IrType t, IrVal a, IrVal c);
#define IR_BIN(fn, OP)                                                                             \
    static inline IrVal fn(IrBlock *b, IrType t, IrVal x, IrVal y)                                 \
    {                                                                                              \
        return ir_op(b, OP, t, x, y);                                                              \
    }
#define IR_UN(fn, OP)                                                                              \
    static inline IrVal fn(IrBlock *b, IrType t, IrVal x)                                          \
    {                                                                                              \
        return ir_op(b, OP, t, x, 0);                                                              \
    }
IR_BIN(ir_add, IR_ADD)
IR_BIN(ir_sub, IR_SUB)
IR_BIN(ir_and, IR_AND)
IR_BIN(ir_or, IR_OR)
IR_BIN(ir_xor, IR_XOR)
IR_BIN(ir_andn, IR_ANDN)
IR_BIN(ir_mul, IR_MUL)
IR_BIN(ir_shl, IR_SHL)
IR_BIN(ir_shr, IR_SHR)
IR_BIN(ir_sar, IR_SAR)
IR_BIN(ir_rol, IR_ROL)
IR_BIN(ir_ror, IR_ROR)
IR_UN(ir_not, IR_NOT)
IR_UN(ir_neg, IR_NEG)
IR_UN(ir_bswap, IR_BSWAP)
IR_UN(ir_clz, IR_CLZ)
IR_UN(ir_ctz, IR_CTZ)
IR_UN(ir_popcnt, IR_POPCNT)
IR_UN(ir_ext8u, IR_EXT8U)
IR_UN(ir_ext8s, IR_EXT8S)
IR_UN(ir_ext16u, IR_EXT16U)
IR_UN(ir_ext16s, IR_EXT16S)
static inline IrVal ir_ext32u(IrBlock *b, IrVal x)
{
    return ir_op(b, IR_EXT32U, IR_I64, x, 0);
}
static inline IrVal ir_ext32s(IrBlock *b, IrVal x)
{
    return ir_op(b, IR_EXT32S, IR_I64, x, 0);
}
void ir_mov(IrBlock *b, IrType t, IrVal d, IrVal a);
IrVal ir_copy(IrBlock *b, IrType t, IrVal a); /* a fresh temporary */
void ir_mul2(IrBlock *b, bool is_signed, IrType t, IrVal lo, IrVal hi, IrVal x, IrVal y);
IrVal ir_deposit(IrBlock *b, IrType t, IrVal into, IrVal v, unsigned pos, unsigned len);
IrVal ir_extract(IrBlock *b, IrType t, IrVal v, unsigned pos, unsigned len, bool is_signed);
IrVal ir_setcond(IrBlock *b, IrType t, IrCond cc, IrVal x, IrVal y);
IrVal ir_movcond(IrBlock *b, IrType t, IrType t_cmp, IrCond cc, IrVal x, IrVal y, IrVal yes,
                 IrVal no);
unsigned ir_label(IrBlock *b); /* a new label, not yet placed */
void ir_place(IrBlock *b, unsigned label);
void ir_br(IrBlock *b, unsigned label);
void ir_brcond(IrBlock *b, IrType t, IrCond cc, IrVal x, IrVal y, unsigned label);
IrVal ir_flags(IrBlock *b, const IrFlags *f); /* packed, a new I32 temporary */
IrVal ir_setflag(IrBlock *b, IrFlagCond cc, const IrFlags *f);
IrVal ir_movflag(IrBlock *b, IrType t, IrFlagCond cc, const IrFlags *f, IrVal yes, IrVal no);
void ir_brflag(IrBlock *b, IrFlagCond cc, const IrFlags *f, unsigned label);
/* if (cc of f) { flags global = packed f; go on at guest pc } */
void ir_brexit(IrBlock *b, IrFlagCond cc, const IrFlags *f, uint64_t pc);
IrVal ir_lde(IrBlock *b, IrType t, unsigned mem, size_t off);
void ir_ste(IrBlock *b, IrType t, unsigned mem, size_t off, IrVal v);
IrVal ir_qld(IrBlock *b, IrType t, unsigned mem, IrVal addr);
void ir_qst(IrBlock *b, IrType t, unsigned mem, IrVal addr, IrVal v);
IrVal ir_qatomic(IrBlock *b, IrType t, IrAtomic op, unsigned mem, IrVal addr, IrVal v,
                 IrVal expected);
void ir_fence(IrBlock *b);
/* Arguments are I64 or zero-extended I32. Returns the I64 result, or 0. */
IrVal ir_call(IrBlock *b, const IrHelper *h, const IrVal *args, unsigned n);
static inline IrVal ir_call0(IrBlock *b, const IrHelper *h)
{
    return ir_call(b, h, NULL, 0);
}
static inline IrVal ir_call1(IrBlock *b, const IrHelper *h, IrVal x)
{
    return ir_call(b, h, (IrVal[]){x}, 1);
}
static inline IrVal ir_call2(IrBlock *b, const IrHelper *h, IrVal x, IrVal y)
{
    return ir_call(b, h, (IrVal[]){x, y}, 2);
}
static inline IrVal ir_call3(IrBlock *b, const IrHelper *h, IrVal x, IrVal y, IrVal z)
{
    return ir_call(b, h, (IrVal[]){x, y, z}, 3);
}
static inline IrVal ir_call4(IrBlock *b, const IrHelper *h, IrVal x, IrVal y, IrVal z, IrVal w)
{
    return ir_call(b, h, (IrVal[]){x, y, z, w}, 4);
}
void ir_jmp(IrBlock *b, uint64_t pc);
void ir_jmp_ind(IrBlock *b, IrVal pc, IrHint hint);
void ir_exit(IrBlock *b, IrVal pc);
/* Vectors; @vop from ir-vec.h. */
IrVal ir_vlde(IrBlock *b, unsigned bytes, size_t off);
void ir_vste(IrBlock *b, unsigned bytes, size_t off, IrVal v);
void ir_vop_to(IrBlock *b, unsigned vop, IrVal d, IrVal x, IrVal y, uint8_t imm);
IrVal ir_vop(IrBlock *b, unsigned vop, IrVal x, IrVal y, uint8_t imm);
IrVal ir_vcmpflags(IrBlock *b, unsigned vop, IrVal x, IrVal y);
IrVal ir_vtoi(IrBlock *b, IrType t, unsigned vop, IrVal x, uint8_t imm);
enum { IRFMA_DOUBLE = 1, IRFMA_SCALAR = 2, IRFMA_NEG_PRODUCT = 4, IRFMA_NEG_ADDEND = 8 };
/* Scalar forms: the other lanes are those of @c. */
IrVal ir_vfma(IrBlock *b, unsigned kind, IrVal x, IrVal y, IrVal c);
IrVal ir_vfromi(IrBlock *b, IrType t, unsigned vop, IrVal into, IrVal i, uint8_t imm);

#endif
