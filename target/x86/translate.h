/*
 * The x86 decoder's state and what its parts share. Intel SDM volume 2.
 *
 * translate.c  prefixes, ModRM, block loop       tr_operand.c  addresses, registers, stack, flags
 * tr_alu.c     arithmetic, logic, exchanges      tr_bits.c  shifts, rotates, bits
 * tr_int.c     moves, stack, conversions         tr_ctl.c   branches, segment registers, flags
 * tr_string.c  string instructions               tr_sys.c   I/O, system instructions
 * tr_simd.c    MMX, SSE…                         tr_x87.c   x87
 * tr_bmi.c     VEX-encoded bit manipulation
 */
#ifndef RHEA_TARGET_X86_TRANSLATE_H
#define RHEA_TARGET_X86_TRANSLATE_H

#include "accel/jit/ir.h"
#include "target/x86/cpu.h"
#include <stdbool.h>
#include <stdint.h>

/* IR globals, in the order of x86_jit_globals[]. */
enum {
    XG_RAX, /* … XG_RAX + 15 = r15 */
    XG_CC = 16,
    XG_XMM0, /* … XG_XMM0 + 15 */
    XG_COUNT = XG_XMM0 + 16,
};
static inline IrVal xg(unsigned global)
{
    return ir_global(global);
}

typedef struct Tr {
    IrBlock *b;
    X86Cpu *c;
    uint64_t mode; /* M_* */
    uint64_t cs_base;
    uint64_t start;   /* rip of the block */
    uint64_t pc;      /* rip of this instruction */
    uint64_t next;    /* rip of the byte to fetch next; after decoding: of the next instruction */
    bool fetch_fault; /* a byte could not be fetched; bytes read as 0 from then on */
    bool too_long;    /* more than 15 bytes: #GP */
    bool ended;       /* the block's end was emitted */
    /* prefixes */
    bool lock, p66, p67;
    uint8_t rep;                 /* 0, 0xf3, 0xf2: the last one */
    int8_t seg;                  /* override, S_*, or -1 */
    uint8_t rex;                 /* 0x40…0x4f, or 0 */
    uint8_t rex_r, rex_x, rex_b; /* 0 or 8 */
    uint8_t osz;                 /* operand size in bytes: 2, 4, 8 */
    uint8_t asz;                 /* address size in bytes: 2, 4, 8 */
    /* opcode */
    uint8_t map; /* 0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A */
    uint8_t op;
    /* ModRM, after tr_modrm() */
    uint8_t modrm, mod;
    uint8_t reg, rm;    /* REX.R / REX.B applied (rm only for mod == 3) */
    int8_t base, index; /* register or -1 */
    uint8_t scale;
    int8_t ea_seg; /* S_* in use */
    bool rip_rel;
    int64_t disp;
    IrFlags flags; /* how the guest flags are to be computed now */
    /* private to the integer part (tr_util.h) */
    uint8_t bytes[16]; /* of the instruction, as far as they were fetched */
    uint8_t n_bytes;
    uint64_t fault_linear; /* of the byte that could not be fetched */
    bool lock_ok;          /* this instruction may have LOCK */
    bool repack;           /* this instruction must be decoded again with packed flags */
    bool sti_last;         /* the last instruction was STI: its shadow is the next one */
    bool single;           /* the block has one instruction and ends by EXIT */
    uint8_t side_exits;    /* conditional branches that the block goes on after */
    int8_t sp_adj;         /* POP to memory: what RSP has been advanced by, for the address */
    IrVal lim_addr;        /* tr_ea()'s last result, and of what, for limit checks */
    IrVal lim_off;
    int8_t lim_seg;
} Tr;

/* Instruction bytes. After a fault they return 0 and set fetch_fault. */
uint8_t tr_u8(Tr *t);
uint16_t tr_u16(Tr *t);
uint32_t tr_u32(Tr *t);
uint64_t tr_u64(Tr *t);
/* ModRM, SIB, displacement. Immediates follow and are read by the caller afterwards; because
 * RIP-relative addresses need the end of the instruction, the address itself is made only by
 * tr_ea(), after all bytes were read. */
void tr_modrm(Tr *t);
/* The memory operand's linear address (I64): segment base, wrap, limit checks where the mode needs
 * them. tr_ea_off(): the offset without segment (LEA). */
IrVal tr_ea(Tr *t);
IrVal tr_ea_off(Tr *t);
/* Linear address of @off (I64, wrapped to asz) in segment @seg. @size, @write: for limit checks. */
IrVal tr_linear(Tr *t, int seg, IrVal off, unsigned size, bool write);
/* Guest memory at a linear address with the mode's mmu index. @bytes 1…16; 16 is V128.
 * Loads zero-extend into I64 (I32 for ≤ 4 bytes is the low part). */
IrVal tr_ld(Tr *t, unsigned bytes, IrVal addr);
IrVal tr_ld_rmw(Tr *t, unsigned bytes, IrVal addr);
void tr_st(Tr *t, unsigned bytes, IrVal addr, IrVal v);
IrVal tr_ldv(Tr *t, IrVal addr, unsigned bytes); /* V128, 4, 8 or 16 bytes, zero-filled */
void tr_stv(Tr *t, IrVal addr, IrVal v, unsigned bytes);
/* General registers by number and size. Sub-word writes merge; 32-bit writes zero the upper half;
 * 8-bit numbers 4…7 are AH…BH when there is no REX. */
IrVal tr_reg(Tr *t, unsigned bytes, unsigned r);
void tr_set_reg(Tr *t, unsigned bytes, unsigned r, IrVal v);
/* This instruction raises an exception: emits the helper call and ends the block. */
void tr_exc(Tr *t, int vec);
void tr_exc_err(Tr *t, int vec, uint32_t err);
void tr_ud(Tr *t);
/* The flags from here on. Earlier lazy flags are forgotten. */
void tr_set_flags(Tr *t, IrFlags f);
/* Put the packed flags into XG_CC if they are not there (before helpers that read EFLAGS). */
void tr_pack_flags(Tr *t);
/* End the block after this instruction: go on at t->next through the dispatcher. */
void tr_end_exit(Tr *t);
static inline bool tr_mode(const Tr *t, uint64_t bit)
{
    return t->mode & bit;
}
static inline unsigned tr_cpl(const Tr *t)
{
    return t->mode & M_CPL;
}
IrVal tr_i32(Tr *t, uint32_t v);
IrVal tr_i64(Tr *t, uint64_t v);

/* One part each: the opcode was read (t->map, t->op), ModRM not yet. They do everything, also #UD.
 * false: not theirs. */
bool tr_int(Tr *t);
bool tr_ctl(Tr *t);
bool tr_string(Tr *t);
bool tr_simd(Tr *t); /* maps 1…3 after the integer ones said no; owns EMMS, FXSAVE…, LDMXCSR, XSAVE
                      * group 0F AE, prefetch, MOVNTI, fences of 0F AE */
bool tr_x87(Tr *t); /* D8…DF, 9B */

void x86_translate(VCpu *cpu, IrBlock *b, unsigned max);
extern const JitGlobal x86_jit_globals[XG_COUNT];

#endif
