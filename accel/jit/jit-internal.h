/*
 * What the parts of the jit share. See docs/jit-abi.md for the rules of translated code.
 *
 * tlb.c        software TLB, slow paths of guest memory accesses
 * code-cache.c blocks: arena, lookup, linking, invalidation
 * loop.c       the accelerator: dispatcher, exceptions, events, options
 * live.c       backward pass over a block
 * interp.c     executes IR directly
 * host/<arch>/ emits host code
 */
#ifndef RHEA_ACCEL_JIT_INTERNAL_H
#define RHEA_ACCEL_JIT_INTERNAL_H

#include "accel/jit/ir.h"
#include "accel/jit/jit-target.h"
#include "core/machine.h"
#include "core/memory.h"
#include "core/vcpu.h"
#include <glib.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- the area in front of the environment (VCPU_ACCEL_AREA), offsets from env ---- */

typedef struct JitTlbEntry {
    uint64_t tag;    /* page's virtual address, or with low bits set: never hits */
    uint64_t addend; /* host address - guest virtual address */
} JitTlbEntry;

typedef struct JitJumpEntry {
    uint64_t tag; /* pc ^ ctx << 48 */
    void *host;
} JitJumpEntry;

enum {
    JIT_TLB_BITS = 14,
    JIT_TLB_SIZE = 1 << JIT_TLB_BITS,
    JIT_TLB_WRITE = JIT_TLB_SIZE * 16, /* from read to write array */
    JIT_TLB_MMU = JIT_TLB_WRITE * 2,   /* from one mmu index to the next */
    JIT_JC_SIZE = 1 << 16,
    JIT_AREA = 8 << 20,
    JIT_OFF_TLB = -JIT_AREA,
    JIT_OFF_JC = -JIT_AREA + JIT_MAX_MMU * JIT_TLB_MMU,
    JIT_OFF_HOT = -128,  /* JitHot */
    JIT_TLB_INVALID = 1, /* 0 is invalid, too, but in the first and last entry */
};
G_STATIC_ASSERT(VCPU_ACCEL_AREA >= JIT_AREA);
G_STATIC_ASSERT(JIT_OFF_JC + JIT_JC_SIZE * 16 < JIT_OFF_HOT - 64);

/* Reached by translated code with one-byte displacements from env. */
typedef struct JitHot {
    uint64_t ctx;      /* context id << 48 */
    uint64_t frame_sp; /* host stack pointer of translated code */
    uint32_t mxcsr_host, mxcsr_tmp;
    uint64_t count_insns;
} JitHot;
G_STATIC_ASSERT(sizeof(JitHot) <= 128);

static inline JitHot *jit_hot(VCpu *cpu)
{
    return (JitHot *)((char *)cpu + JIT_OFF_HOT);
}
static inline JitTlbEntry *jit_tlb_array(VCpu *cpu, unsigned mmu, bool write)
{
    return (JitTlbEntry *)((char *)cpu + JIT_OFF_TLB + mmu * JIT_TLB_MMU +
                           (write ? JIT_TLB_WRITE : 0));
}
static inline JitJumpEntry *jit_jump_cache(VCpu *cpu)
{
    return (JitJumpEntry *)((char *)cpu + JIT_OFF_JC);
}

/* ---- side tables ---- */

/* Where a value is at a fault: base + (index << scale) + disp. */
enum { JIT_LOC_NONE, JIT_LOC_ENV64, JIT_LOC_ENV32, JIT_LOC_SLOT, JIT_LOC_SAVED };
typedef struct JitLoc {
    uint8_t kinds; /* of base | of index << 4 */
    uint8_t scale;
    uint16_t base, index; /* env offset, slot's frame offset, host register */
    int64_t disp;
} __attribute__((packed)) JitLoc;

enum { JIT_FAULT_CINV = 0x80 };
typedef struct JitFault {
    uint16_t host_off;  /* return address of the call, from the block's start */
    uint16_t pc_delta;  /* guest pc - block's pc */
    uint16_t locs;      /* index of the first */
    uint8_t kind, size; /* IrFlags.kind, | JIT_FAULT_CINV */
    uint8_t n_locs;
    uint8_t host_fp; /* the call runs with the host's MXCSR */
} JitFault;

/* ---- blocks ---- */

typedef struct JitBlock JitBlock;
/*
 * A jump to another block. It may stand behind code that packs the flags, which a target that
 * overwrites them first does not need: then the jump before that code is pointed elsewhere.
 */
typedef struct JitExit {
    /* offsets from the block's host code */
    uint16_t jump_off; /* of the 32-bit displacement of the jump to patch */
    uint16_t stub_off; /* call of the link thunk that an unlinked jump goes to */
    uint16_t cond_off; /* of the displacement of the conditional jump to full_off; 0: none */
    uint16_t full_off;
    uint16_t lite_off;      /* way without packing, for a target that needs a poll; 0: straight */
    uint16_t lite_jump_off; /* the jump at its end */
    uint16_t pack_off;      /* packing code that can be jumped over by overwriting it; 0: none */
    bool packing_skipped;
    uint8_t pack_bytes[5]; /* what stood there */
    int32_t pc_delta;      /* target's pc - block's pc */
    JitBlock *from, *to;
    struct JitExit *next_in; /* of to->in */
} JitExit;

struct JitBlock {
    uint64_t pc, mode;
    JitBlock *hash_next;
    uint8_t *host;        /* executable address */
    uint32_t ram_page[2]; /* (ram_index + offset) >> 12; JIT_NO_PAGE: not RAM */
    uint16_t host_size;
    uint16_t guest_bytes, n_guest;
    uint16_t page_off;    /* of the first byte in its page */
    uint8_t n_pages : 2;  /* 1 or 2 */
    uint8_t mmu : 3;      /* of fetch and ordinary data */
    bool dead : 1;        /* invalidated: in no table any more */
    bool one_shot : 1;    /* never entered in a table */
    bool is_break : 1;    /* stands on a breakpoint */
    bool kills_flags : 1; /* jit_kills_flags() */
    uint8_t n_exits;
    uint16_t n_faults;
    JitBlock *page_next[2]; /* in JitCodePage.blocks, by which of the pages */
    JitExit *in;            /* exits linked to this block */
    /* n_exits JitExit, n_faults JitFault and the JitLoc's follow; or a pointer to the IrCode when
     * host_size is 0 (mode=interp) */
};
#define JIT_NO_PAGE UINT32_MAX
static inline JitExit *jit_exits(const JitBlock *b)
{
    return (JitExit *)(b + 1);
}
static inline JitFault *jit_faults(const JitBlock *b)
{
    return (JitFault *)(jit_exits(b) + b->n_exits);
}
static inline JitLoc *jit_locs(const JitBlock *b)
{
    return (JitLoc *)(jit_faults(b) + b->n_faults);
}
static inline struct IrCode **jit_code(const JitBlock *b)
{
    return (struct IrCode **)(b + 1);
}

/* A RAM page that blocks were translated from. */
typedef struct JitCodePage {
    uint64_t ram_page;
    uint8_t *dirty; /* its dirty byte */
    JitBlock *blocks;
    uint32_t writes, patience; /* slow writes; how many before all blocks are dropped */
    struct JitCodePage *next;
} JitCodePage;

typedef struct JitSegment {
    uint8_t *start, *end; /* writable addresses */
    uint8_t *p;
    GPtrArray *blocks; /* of JitBlock, by ascending host address */
    uint8_t *meta;     /* block descriptions and side tables: bump allocation */
    size_t meta_used, meta_size;
} JitSegment;

enum { JIT_NO_CTX = 0x7fff }; /* an id that no block is entered under */
enum { JIT_JC_LOCAL = 8192, JIT_SEEN = 4096, JIT_CTXS = 32 };
#define JIT_SEEN_MORE UINT64_MAX
enum { JIT_SEGMENTS = 16, JIT_HASH_BITS = 16, JIT_PAGE_HASH_BITS = 12, JIT_PAGE_LOCKS = 64 };

/* IR as the interpreter keeps it. */
typedef struct IrCode {
    const IrBlock *full; /* or the four arrays below */
    unsigned n_insns, n_vals, n_flags, n_args;
    IrInsn *insns;
    IrValInfo *vals;
    IrFlags *flags;
    IrVal *args;
    uint16_t label_pos[IR_MAX_LABELS];
} IrCode;

/* ---- options ---- */

#define JIT_OPTS(X)                                                                                \
    X(link, "direct jumps inside a page go straight to their block")                               \
    X(jumpcache, "inline lookup of indirect and cross-page jumps")                                 \
    X(flags, "use the host flags that an operation left")                                          \
    X(lazyflags, "do not pack flags for a linked block that overwrites them")                      \
    X(pin, "keep hot guest registers in host registers across blocks")                             \
    X(fold, "fold addresses and copies into the operations that use them")                         \
    X(inplace, "compute into the guest register's host register")                                  \
    X(cache, "keep unpinned guest registers in free host registers inside a block")                \
    X(fasttlb, "inline TLB lookup of memory accesses")                                             \
    X(victim, "second-level TLB")                                                                  \
    X(atomics, "atomic operations inline")

typedef struct JitOpts {
    enum { JIT_MODE_JIT, JIT_MODE_INTERP, JIT_MODE_CHECK } run_mode;
    uint64_t tb_size; /* bytes */
    unsigned max_insns;
#define X(n, d) bool n;
    JIT_OPTS(X)
#undef X
} JitOpts;

/* ---- counters ---- */

#define JIT_STATS(X)                                                                               \
    X(blocks, "blocks translated")                                                                 \
    X(insns, "guest instructions translated")                                                      \
    X(guest_bytes, "guest bytes translated")                                                       \
    X(host_bytes, "host bytes emitted")                                                            \
    X(translate_ns, "translation time, ns")                                                        \
    X(retries, "translations repeated with a shorter block")                                       \
    X(lookups, "dispatcher lookups")                                                               \
    X(lookup_misses, "lookups that translated")                                                    \
    X(exit_exit, "exits: block asked for the dispatcher")                                          \
    X(exit_lookup, "exits: jump cache miss")                                                       \
    X(exit_poll, "exits: events to look at")                                                       \
    X(exit_raise, "exits: exceptions")                                                             \
    X(exit_leave, "exits: other")                                                                  \
    X(links_lite, "of them without packing flags")                                                 \
    X(links, "jumps linked")                                                                       \
    X(link_refused, "jumps not linkable")                                                          \
    X(mem_slow, "memory accesses in C")                                                            \
    X(mem_io, "of them to devices")                                                                \
    X(tlb_fills, "TLB fills from the second level")                                                \
    X(tlb_walks, "page-table walks")                                                               \
    X(tlb_flushes, "TLB flushes")                                                                  \
    X(tlb_flush_pages, "TLB page flushes")                                                         \
    X(ctx_new, "jump contexts")                                                                    \
    X(code_writes, "writes to pages with code")                                                    \
    X(invalidated, "blocks invalidated")                                                           \
    X(restarts, "instructions that overwrote their own block")                                     \
    X(evictions, "code segments evicted")                                                          \
    X(view_changes, "memory map changes")                                                          \
    X(checked, "blocks checked against the interpreter")

typedef struct JitStats {
#define X(n, d) uint64_t n;
    JIT_STATS(X)
#undef X
} JitStats;

/* ---- per vCPU ---- */

enum { JIT_L2_WAYS = 4, JIT_L2_SETS = 4096 };
enum { JIT_PERM_R = 1, JIT_PERM_W = 2, JIT_PERM_X = 4 };

/* Second-level TLB entry: everything known about one 4 KiB piece of a guest mapping. */
typedef struct JitPageEntry {
    uint64_t vpage; /* virtual page address | mmu index */
    uint64_t phys;
    uint8_t *host;  /* the page when it is whole RAM or ROM */
    uint8_t *dirty; /* its dirty byte */
    uint64_t ram_page;
    uint32_t gen; /* valid if it equals JitCpu.gen_global or .gen_local; 0: never */
    uint8_t perm;
    uint8_t leaf_bits; /* log2 of the guest's leaf size */
    bool global;
    bool rom;     /* writes are not RAM writes */
    bool watched; /* a watchpoint is on the page */
} JitPageEntry;
G_STATIC_ASSERT(sizeof(JitPageEntry) <= 64);

typedef struct JitCtx {
    uint64_t mode;
    uint32_t gen;
    uint16_t id;
} JitCtx;

typedef struct JitMachine JitMachine;
typedef struct JitGen JitGen;

typedef struct JitCpu {
    VCpu *cpu;
    const JitTarget *t;
    JitMachine *m;
    JitOpts *o;
    JitStats st;
    FlatView *view;
    MemListener listener;
    int view_changed;            /* atomic */
    const FlatRange *phys_range; /* of the last page-table access; of this view */

    /* TLB */
    JitPageEntry (*l2)[JIT_L2_WAYS]; /* JIT_L2_SETS of them */
    JitPageEntry uncached;           /* result when L2 is off */
    uint8_t l2_next[JIT_L2_SETS];
    uint32_t gen_global, gen_local;
    /* Filled first-level entries, those of global pages apart: index | write << 14 | mmu << 15. An
     * entry that was filled anew with the other kind is in both. */
    uint32_t *journal[2];
    unsigned n_journal[2];
    uint8_t *l1_global;          /* for each first-level entry, in journal numbering: survives */
    uint64_t large_lo, large_hi; /* addresses that large leaf entries may cover */
    uint8_t large_bits;

    /* Code fetch during translation */
    uint64_t fetch_page; /* linear page of fetch_entry, or all ones */
    JitPageEntry fetch_entry;
    JitPageEntry block_page[2];
    uint64_t block_lin; /* linear address of the block's start */
    unsigned n_block_pages;
    bool block_io; /* code outside RAM: not cacheable */
    unsigned fetch_mmu;

    /* Code */
    int code_fd;
    uint8_t *code_rw, *code_rx;
    size_t code_size;
    JitSegment seg[JIT_SEGMENTS];
    unsigned cur_seg;
    JitBlock *hash[1 << JIT_HASH_BITS];
    JitCodePage *pages[1 << JIT_PAGE_HASH_BITS];
    uint32_t fetch_gen; /* generation of fetch mappings */
    uint16_t *jc_local; /* jump cache entries of code in pages that are not global */
    unsigned n_jc_local;
    bool got_global; /* jit_block_get(): the block's pages are global */
    /* Linear pages that blocks were entered from: page number + 1, JIT_SEEN_MORE if several. */
    uint64_t fetch_seen[JIT_SEEN];
    uint64_t fetch_granule; /* last marked in code_map */
    JitCtx ctx[JIT_CTXS];
    uint32_t next_ctx;
    uint64_t ctx_mode; /* of hot->ctx */
    uint32_t evictions;
    const void *thunk_link, *thunk_exit[8], *thunk_slow[2], *thunk_call[8], *thunk_empty;
    void *thunk_enter;

    /* Running */
    bool in_code;           /* below jit_host_enter(), or in the interpreter */
    JitBlock *interp_block; /* while the interpreter runs */
    struct IrInterp *interp;
    uint64_t *frame;     /* saved registers, slots: frame_sp */
    uint32_t fp_loaded;  /* guest MXCSR that the host has, but for sticky flags */
    bool interp_host_fp; /* a helper with IRH_HOSTFP runs below the interpreter */
    bool single;         /* translate one instruction next */
    bool at_break;       /* stopped on a breakpoint: step over it */
    uint64_t break_pc, break_hash;
    bool attached; /* view and listener exist */
    /* jit_run_until() */
    bool (*until)(VCpu *cpu, void *arg);
    void *until_arg;
    bool until_single;
    uint64_t until_blocks;
    jmp_buf unwind; /* of the loop */
    struct JitCheck *check;
    bool checking; /* the interpreter runs ahead: stores are taken back, devices refused */
    IrBlock *ir;
    JitGen *gen;
} JitCpu;

struct JitMachine {
    Machine *m;
    JitOpts opts;
    uint64_t *code_map;   /* 64 granules of 64 bytes per RAM page; bit: some block covers it */
    uint32_t *code_vcpu;  /* who may have blocks there (jit_vcpu_bit) */
    uint32_t *write_vcpu; /* who may have a write fast path to the page */
    size_t map_pages;
    GMutex atomic_lock;               /* atomics that cross pages */
    GMutex page_lock[JIT_PAGE_LOCKS]; /* code_map, code_vcpu and MEM_DIRTY_CODE of a page */
    MemAccelHooks hooks;
    GMutex vop_lock;
    GHashTable *vop_stubs; /* of the interpreter */
};

/* The vCPU's bit in the masks of who uses a page; those from the 32nd on share the last one. */
static inline uint32_t jit_vcpu_bit(const VCpu *cpu)
{
    return 1u << MIN(cpu->index, 31);
}

/* What of such a mask is this vCPU's alone. */
static inline uint32_t jit_vcpu_own(const VCpu *cpu)
{
    return cpu->index < 31 ? 1u << cpu->index : 0;
}

static inline JitCpu *jit_cpu(VCpu *cpu)
{
    return cpu->accel_data;
}

/* Reasons that jit_host_enter() returns. */
enum {
    JIT_EXIT_EXIT,    /* pc is in the state: dispatcher */
    JIT_EXIT_LOOKUP,  /* pc is in the state: jump cache missed */
    JIT_EXIT_POLL,    /* pc is in the state: look at events */
    JIT_EXIT_RAISE,   /* jit_raise() */
    JIT_EXIT_LEAVE,   /* jit_leave(), jit_leave_done() */
    JIT_EXIT_RESTART, /* the instruction must run again on its own */
    JIT_EXIT_BREAK,
};

/* ---- live.c ---- */

typedef struct JitLive {
    uint16_t last_use[IR_MAX_VALS]; /* position + 1 of the last use; 0 = none */
    uint16_t hint[IR_MAX_INSNS];    /* global whose register should take the result, or 0 */
    uint16_t label_pos[IR_MAX_LABELS];
    uint16_t label_refs[IR_MAX_LABELS];
    uint8_t flag_result[IR_MAX_VALS]; /* a flag consumer wants flags of this result */
    bool dead[IR_MAX_INSNS];
} JitLive;
void jit_live(const IrBlock *b, JitLive *l, bool hints);
bool jit_kills_flags(const IrBlock *b);
/* Which of a (1), b (2), c (4) a consumer of flags @need of kind @kind reads. */
unsigned jit_flag_uses(IrFlagKind kind, unsigned need);
/* Packed bits that a condition reads. */
unsigned jit_flagcond_need(IrFlagCond cc);
enum { JIT_FLAGS_ALL = IRF_V | IRF_C | IRF_P | IRF_H | IRF_Z | IRF_N };

/* ---- tlb.c ---- */
bool jit_tlb_init(JitCpu *j, GError **err);
void jit_tlb_fini(JitCpu *j);
/* The page's entry with @access permitted, or NULL: fault (pending unless @probe). */
JitPageEntry *jit_page(JitCpu *j, uint64_t vaddr, JitAccess access, unsigned mmu, bool probe);
/* Slow path of translated code; kind and IrMemOp in @op. */
enum { JIT_SLOW_LD, JIT_SLOW_ST, JIT_SLOW_VLD, JIT_SLOW_VST, JIT_SLOW_ATOMIC };
typedef struct JitSlowOp {
    uint16_t mem;
    uint8_t kind, type_atomic; /* IrType | IrAtomic << 4 */
} JitSlowOp;
uint64_t jit_slow(VCpu *cpu, uint64_t addr, uint64_t val, uint32_t op);
/* The parts of it, also for the interpreter. Values are extended to @t. */
uint64_t jit_mem_load(JitCpu *j, uint64_t addr, unsigned mem, IrType t);
void jit_mem_store(JitCpu *j, uint64_t addr, unsigned mem, uint64_t v);
void jit_mem_load_vec(JitCpu *j, uint64_t addr, unsigned mem, void *v);
void jit_mem_store_vec(JitCpu *j, uint64_t addr, unsigned mem, const void *v);
uint64_t jit_mem_atomic(JitCpu *j, IrAtomic op, uint64_t addr, unsigned mem, uint64_t v,
                        uint64_t expected);
void jit_tlb_flush_all(JitCpu *j);
/* The page becomes a code page: writes to it must take the slow path from now on. */
void jit_tlb_protect(JitCpu *j, const JitPageEntry *e);
/* Find what block bytes come from; false if it cannot be fetched. */
bool jit_fetch_page(JitCpu *j, uint64_t linear);
/* Drop write entries to host pages in [host, host + len), marking those pages dirty. */
void jit_tlb_drop_writes(JitCpu *j, const uint8_t *host, uint64_t len);
/* Take the system memory's present view. */
void jit_view_update(JitCpu *j);

/* ---- code-cache.c ---- */
bool jit_cache_init(JitCpu *j, GError **err);
void jit_cache_fini(JitCpu *j);
/* The block at the state's pc in the present mode; translates it if need be. */
JitBlock *jit_block_get(JitCpu *j, uint64_t pc, uint64_t mode, bool one_step);
JitBlock *jit_block_by_host(JitCpu *j, const void *host);
void jit_block_invalidate(JitCpu *j, JitBlock *b);
void jit_cache_flush(JitCpu *j);
/* Bytes of a RAM page are about to be (@store by this vCPU) or were written. */
void jit_code_written(JitCpu *j, uint64_t ram_page, unsigned off, unsigned len, bool store);

/* After the bytes were written: other vCPUs drop their blocks. Not before, or they could
 * translate the old bytes once more. */
void jit_code_written_tell(JitCpu *j, uint64_t ram_page, unsigned off, unsigned len);

/* Before bytes [off, off + 64) of the page are translated: writes to them are noticed from now. */
void jit_code_mark(JitCpu *j, const JitPageEntry *e, unsigned off);
void *jit_link(VCpu *cpu, const void *stub_ret);
/* A debugger's breakpoint at this linear address? */
bool jit_is_break(JitCpu *j, uint64_t linear);
/* Another vCPU may have write fast paths to this new code page. */
void jit_others_protect(JitCpu *j, const JitPageEntry *e);
extern const MemAccelHooks jit_mem_hooks; /* opaque is the JitMachine */
/* Make the context of the present fetch generation and @mode current. */
void jit_ctx_set(JitCpu *j, uint64_t mode);
void jit_fetch_flush(JitCpu *j);
/* Forget jumps to code in pages that are not global; to code on one page. */
void jit_fetch_flush_local(JitCpu *j);
void jit_fetch_flush_page(JitCpu *j, uint64_t page);
void jit_jump_cache_put(JitCpu *j, uint64_t pc, JitBlock *b);
static inline unsigned jit_jump_index(uint64_t pc)
{
    return pc & (JIT_JC_SIZE - 1);
}
/* Room for a block's description; NULL: the segment is full. */
void *jit_meta_alloc(JitSegment *s, size_t size);

/* ---- loop.c ---- */
/* State of the instruction that the present call into C belongs to: pc, flags. */
void jit_restore(JitCpu *j);
/* Guest pc of that instruction; false when no translated code is running. */
bool jit_current_pc(JitCpu *j, uint64_t *pc, JitBlock **block);
G_NORETURN void jit_unwind(JitCpu *j, unsigned reason);

/* ---- interp.c ---- */
IrCode *ir_code_new(const IrBlock *b);
void ir_code_free(IrCode *c);
/* Runs one block; returns a JIT_EXIT_* with pc in the state. */
unsigned jit_interp(JitCpu *j, const IrCode *c, uint64_t pc0);
/* A fault inside: pc and flags of the instruction. */
void jit_interp_restore(JitCpu *j);
void jit_interp_free(JitCpu *j);
/* One vector operation on memory operands, by host instruction. a, b, d: 16 bytes. */
uint64_t jit_vop_run(JitMachine *m, unsigned vop, IrOp op, IrType t, uint8_t imm, void *d,
                     const void *a, const void *b, uint64_t i);
void jit_vfma_run(unsigned kind, void *d, const void *a, const void *b, const void *c);
void jit_vop_free(JitMachine *m);

/* ---- check.c ---- */
/* Run the block's translation, comparing it with the interpreter where that can be done. */
unsigned jit_check_enter(JitCpu *j, JitBlock *b);
void jit_check_free(JitCpu *j);
/* Blocks were evicted: new ones will have their addresses. */
void jit_check_forget(JitCpu *j);
/* The interpreter is about to store; @code: onto translated code. */
void jit_check_store(JitCpu *j, uint8_t *host, unsigned size, bool code);
/* Decode into j->ir (code-cache.c). */
void jit_decode(JitCpu *j, uint64_t pc, uint64_t mode, unsigned max);

/* ---- stats ---- */
char *jit_info(Machine *m);

#endif
