/* Encoding x86-64 instructions. No checks: callers reserve room and pass valid operands. */
#ifndef RHEA_JIT_X86_ASM_H
#define RHEA_JIT_X86_ASM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* Condition codes; the IR's flag conditions have the same numbers. */
enum {
    CC_O,
    CC_NO,
    CC_B,
    CC_AE,
    CC_E,
    CC_NE,
    CC_BE,
    CC_A,
    CC_S,
    CC_NS,
    CC_P,
    CC_NP,
    CC_L,
    CC_GE,
    CC_LE,
    CC_G
};

typedef struct Asm {
    uint8_t *p;
} Asm;

/* An opcode: byte, map (0, 0x0f, 0x38, 0x3a) << 8, mandatory prefix << 16, and: */
#define XW (1u << 24)  /* REX.W */
#define XB (1u << 25)  /* the r/m operand, when a register, is a byte register */
#define XRB (1u << 26) /* the reg operand is a byte register */
#define X66 (0x66u << 16)
#define X0F (0x0fu << 8)
#define X38 (0x38u << 8)
#define X3A (0x3au << 8)

static inline void a8(Asm *a, uint8_t v)
{
    *a->p++ = v;
}
static inline void a32(Asm *a, uint32_t v)
{
    memcpy(a->p, &v, 4);
    a->p += 4;
}
static inline void a64(Asm *a, uint64_t v)
{
    memcpy(a->p, &v, 8);
    a->p += 8;
}

static inline void x_prefix(Asm *a, uint32_t opc, unsigned rex)
{
    if (opc & 0xff0000) {
        a8(a, opc >> 16);
    }
    if (opc & XW) {
        rex |= 0x48;
    }
    if (rex) {
        a8(a, rex | 0x40);
    }
    switch (opc & 0xff00) {
    case X0F:
        a8(a, 0x0f);
        break;
    case X38:
        a8(a, 0x0f);
        a8(a, 0x38);
        break;
    case X3A:
        a8(a, 0x0f);
        a8(a, 0x3a);
        break;
    }
    a8(a, opc);
}

static inline void x_rr(Asm *a, uint32_t opc, unsigned reg, unsigned rm)
{
    unsigned rex = (reg >> 3) << 2 | rm >> 3;

    if (((opc & XB) && rm >= 4) || ((opc & XRB) && reg >= 4)) {
        rex |= 0x40;
    }
    x_prefix(a, opc, rex);
    a8(a, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* [base + index << scale + disp]; base or index may be -1. */
static inline void x_mem(Asm *a, uint32_t opc, unsigned reg, int base, int index, unsigned scale,
                         int32_t disp)
{
    unsigned rex = (reg >> 3) << 2, r = (reg & 7) << 3;

    if ((opc & XRB) && reg >= 4) {
        rex |= 0x40;
    }
    if (index >= 0) {
        rex |= (index >> 3) << 1;
    }
    if (base >= 0) {
        rex |= base >> 3;
    }
    x_prefix(a, opc, rex);
    if (base < 0) { /* disp32, perhaps with an index */
        a8(a, r | 4);
        a8(a, scale << 6 | (index < 0 ? 4 : index & 7) << 3 | 5);
        a32(a, disp);
        return;
    }
    unsigned mod = disp == 0 && (base & 7) != 5 ? 0 : disp >= -128 && disp < 128 ? 0x40 : 0x80;

    if (index >= 0 || (base & 7) == 4) {
        a8(a, mod | r | 4);
        a8(a, scale << 6 | (index < 0 ? 4 : index & 7) << 3 | (base & 7));
    } else {
        a8(a, mod | r | (base & 7));
    }
    if (mod == 0x40) {
        a8(a, disp);
    } else if (mod) {
        a32(a, disp);
    }
}

static inline void x_rm(Asm *a, uint32_t opc, unsigned reg, int base, int32_t disp)
{
    x_mem(a, opc, reg, base, -1, 0, disp);
}

/* Operand-size flags for 1, 2, 4, 8 bytes; byte instructions have opcode - 1. */
static inline uint32_t x_size(unsigned size)
{
    return size == 8 ? XW : size == 2 ? X66 : 0;
}

enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

static inline uint32_t x_alu_opc(unsigned op, unsigned size)
{
    return size == 1 ? (op * 8 + 2) | XB | XRB : (op * 8 + 3) | x_size(size);
}
static inline void x_alu_rr(Asm *a, unsigned op, unsigned size, unsigned dst, unsigned src)
{
    x_rr(a, x_alu_opc(op, size), dst, src);
}
static inline void x_alu_rm(Asm *a, unsigned op, unsigned size, unsigned dst, int base,
                            int32_t disp)
{
    x_rm(a, x_alu_opc(op, size), dst, base, disp);
}
static inline void x_imm(Asm *a, unsigned size, int32_t imm)
{
    if (size == 1) {
        a8(a, imm);
    } else if (size == 2) {
        a8(a, imm);
        a8(a, imm >> 8);
    } else {
        a32(a, imm);
    }
}
static inline void x_alu_ri(Asm *a, unsigned op, unsigned size, unsigned dst, int32_t imm)
{
    if (size == 1) {
        x_rr(a, 0x80 | XB, op, dst);
        a8(a, imm);
    } else if (imm >= -128 && imm < 128) {
        x_rr(a, 0x83 | x_size(size), op, dst);
        a8(a, imm);
    } else {
        x_rr(a, 0x81 | x_size(size), op, dst);
        x_imm(a, size, imm);
    }
}
static inline void x_alu_mi(Asm *a, unsigned op, unsigned size, int base, int32_t disp, int32_t imm)
{
    if (size == 1) {
        x_rm(a, 0x80, op, base, disp);
        a8(a, imm);
    } else if (imm >= -128 && imm < 128) {
        x_rm(a, 0x83 | x_size(size), op, base, disp);
        a8(a, imm);
    } else {
        x_rm(a, 0x81 | x_size(size), op, base, disp);
        x_imm(a, size, imm);
    }
}

static inline void x_mov_rr(Asm *a, bool wide, unsigned dst, unsigned src)
{
    x_rr(a, 0x8b | (wide ? XW : 0), dst, src);
}
static inline void x_load(Asm *a, bool wide, unsigned dst, int base, int32_t disp)
{
    x_rm(a, 0x8b | (wide ? XW : 0), dst, base, disp);
}
static inline void x_store(Asm *a, bool wide, int base, int32_t disp, unsigned src)
{
    x_rm(a, 0x89 | (wide ? XW : 0), src, base, disp);
}
static inline void x_mov_ri(Asm *a, unsigned dst, uint64_t imm)
{
    if (imm <= UINT32_MAX) {
        if (dst >= 8) {
            a8(a, 0x41);
        }
        a8(a, 0xb8 | (dst & 7));
        a32(a, imm);
    } else if ((int64_t)imm == (int32_t)imm) {
        x_rr(a, 0xc7 | XW, 0, dst);
        a32(a, imm);
    } else {
        a8(a, 0x48 | dst >> 3);
        a8(a, 0xb8 | (dst & 7));
        a64(a, imm);
    }
}
static inline void x_lea(Asm *a, bool wide, unsigned dst, int base, int index, unsigned scale,
                         int32_t disp)
{
    x_mem(a, 0x8d | (wide ? XW : 0), dst, base, index, scale, disp);
}
/* op: 0 rol, 1 ror, 4 shl, 5 shr, 7 sar */
static inline void x_shift_i(Asm *a, unsigned op, unsigned size, unsigned dst, unsigned n)
{
    uint32_t opc = (n == 1 ? 0xd1 : 0xc1) | x_size(size);

    if (size == 1) {
        opc = (opc & ~1u) | XB;
    }
    x_rr(a, opc, op, dst);
    if (n != 1) {
        a8(a, n);
    }
}
static inline void x_shift_cl(Asm *a, unsigned op, bool wide, unsigned dst)
{
    x_rr(a, 0xd3 | (wide ? XW : 0), op, dst);
}
/* Jump with a 32-bit displacement; returns where it stands. */
static inline uint8_t *x_jcc(Asm *a, unsigned cc)
{
    a8(a, 0x0f);
    a8(a, 0x80 | cc);
    a32(a, 0);
    return a->p - 4;
}
static inline uint8_t *x_jmp(Asm *a)
{
    a8(a, 0xe9);
    a32(a, 0);
    return a->p - 4;
}
static inline void x_fix(uint8_t *at, const uint8_t *target)
{
    int32_t d = target - (at + 4);

    memcpy(at, &d, 4);
}

#endif
