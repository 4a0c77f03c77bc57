/* Compressed instructions: expansion to the 32-bit form. Unprivileged ISA, chapter 28 ("C"). */
#include "target/riscv/translate.h"

static uint32_t bits(uint32_t v, unsigned from, unsigned len, unsigned to)
{
    return (v >> from & ((1u << len) - 1)) << to;
}

static uint32_t enc_i(unsigned op, unsigned f3, unsigned rd, unsigned rs1, int32_t imm)
{
    return op | rd << 7 | f3 << 12 | rs1 << 15 | (uint32_t)imm << 20;
}

static uint32_t enc_s(unsigned op, unsigned f3, unsigned rs1, unsigned rs2, uint32_t imm)
{
    return op | (imm & 31) << 7 | f3 << 12 | rs1 << 15 | rs2 << 20 | (imm >> 5 & 127) << 25;
}

static uint32_t enc_r(unsigned op, unsigned f3, unsigned f7, unsigned rd, unsigned rs1,
                      unsigned rs2)
{
    return op | rd << 7 | f3 << 12 | rs1 << 15 | rs2 << 20 | f7 << 25;
}

static uint32_t enc_j(unsigned rd, int32_t imm)
{
    uint32_t u = imm;

    return 0x6f | rd << 7 | (u & 0xff000) | bits(u, 11, 1, 20) | bits(u, 1, 10, 21) |
           bits(u, 20, 1, 31);
}

static uint32_t enc_b(unsigned f3, unsigned rs1, int32_t imm)
{
    uint32_t u = imm;

    return 0x63 | f3 << 12 | rs1 << 15 | bits(u, 11, 1, 7) | bits(u, 1, 4, 8) | bits(u, 5, 6, 25) |
           bits(u, 12, 1, 31);
}

static int32_t sext(uint32_t v, unsigned width)
{
    return (int32_t)(v << (32 - width)) >> (32 - width);
}

static uint32_t quadrant0(const RiscvCpu *c, uint16_t i)
{
    unsigned rd = 8 + (i >> 2 & 7), rs1 = 8 + (i >> 7 & 7);
    uint32_t w = bits(i, 10, 3, 3) | bits(i, 6, 1, 2) | bits(i, 5, 1, 6);
    uint32_t d = bits(i, 10, 3, 3) | bits(i, 5, 2, 6);
    uint32_t imm;

    switch (i >> 13) {
    case 0:
        imm = bits(i, 11, 2, 4) | bits(i, 7, 4, 6) | bits(i, 6, 1, 2) | bits(i, 5, 1, 3);
        return imm ? enc_i(0x13, 0, rd, 2, imm) : 0;
    case 1:
        return enc_i(0x07, 3, rd, rs1, d);
    case 2:
        return enc_i(0x03, 2, rd, rs1, w);
    case 3:
        return c->rv32 ? enc_i(0x07, 2, rd, rs1, w) : enc_i(0x03, 3, rd, rs1, d);
    case 5:
        return enc_s(0x27, 3, rs1, rd, d);
    case 6:
        return enc_s(0x23, 2, rs1, rd, w);
    case 7:
        return c->rv32 ? enc_s(0x27, 2, rs1, rd, w) : enc_s(0x23, 3, rs1, rd, d);
    default:
        return 0;
    }
}

static uint32_t misc_alu(const RiscvCpu *c, uint16_t i, int32_t imm)
{
    unsigned rd = 8 + (i >> 7 & 7), rs2 = 8 + (i >> 2 & 7), shamt = imm & 63;
    static const uint8_t f3[4] = {0, 4, 6, 7};

    switch (i >> 10 & 3) {
    case 0:
        return c->rv32 && shamt > 31 ? 0 : enc_i(0x13, 5, rd, rd, shamt);
    case 1:
        return c->rv32 && shamt > 31 ? 0 : enc_i(0x13, 5, rd, rd, shamt | 0x400);
    case 2:
        return enc_i(0x13, 7, rd, rd, imm);
    default:
        break;
    }
    if (!(i & 0x1000)) {
        unsigned n = i >> 5 & 3;

        return enc_r(0x33, f3[n], n ? 0 : 0x20, rd, rd, rs2);
    }
    if (c->rv32 || (i >> 5 & 3) > 1) {
        return 0;
    }
    return enc_r(0x3b, 0, i >> 5 & 1 ? 0 : 0x20, rd, rd, rs2);
}

static uint32_t quadrant1(const RiscvCpu *c, uint16_t i)
{
    unsigned rd = i >> 7 & 31;
    int32_t imm = sext(bits(i, 12, 1, 5) | bits(i, 2, 5, 0), 6);
    int32_t j = sext(bits(i, 12, 1, 11) | bits(i, 11, 1, 4) | bits(i, 9, 2, 8) | bits(i, 8, 1, 10) |
                         bits(i, 7, 1, 6) | bits(i, 6, 1, 7) | bits(i, 3, 3, 1) | bits(i, 2, 1, 5),
                     12);
    int32_t b = sext(bits(i, 12, 1, 8) | bits(i, 10, 2, 3) | bits(i, 5, 2, 6) | bits(i, 3, 2, 1) |
                         bits(i, 2, 1, 5),
                     9);

    switch (i >> 13) {
    case 0:
        return enc_i(0x13, 0, rd, rd, imm);
    case 1:
        return c->rv32 ? enc_j(1, j) : rd ? enc_i(0x1b, 0, rd, rd, imm) : 0;
    case 2:
        return enc_i(0x13, 0, rd, 0, imm);
    case 3:
        if (rd == 2) {
            imm = sext(bits(i, 12, 1, 9) | bits(i, 6, 1, 4) | bits(i, 5, 1, 6) | bits(i, 3, 2, 7) |
                           bits(i, 2, 1, 5),
                       10);
            return imm ? enc_i(0x13, 0, 2, 2, imm) : 0;
        }
        return imm ? 0x37 | rd << 7 | (uint32_t)imm << 12 : 0;
    case 4:
        return misc_alu(c, i, imm);
    case 5:
        return enc_j(0, j);
    case 6:
        return enc_b(0, 8 + (i >> 7 & 7), b);
    default:
        return enc_b(1, 8 + (i >> 7 & 7), b);
    }
}

static uint32_t quadrant2(const RiscvCpu *c, uint16_t i)
{
    unsigned rd = i >> 7 & 31, rs2 = i >> 2 & 31, shamt = bits(i, 12, 1, 5) | bits(i, 2, 5, 0);
    uint32_t lw = bits(i, 12, 1, 5) | bits(i, 4, 3, 2) | bits(i, 2, 2, 6);
    uint32_t ld = bits(i, 12, 1, 5) | bits(i, 5, 2, 3) | bits(i, 2, 3, 6);
    uint32_t sw = bits(i, 9, 4, 2) | bits(i, 7, 2, 6), sd = bits(i, 10, 3, 3) | bits(i, 7, 3, 6);

    switch (i >> 13) {
    case 0:
        return c->rv32 && shamt > 31 ? 0 : enc_i(0x13, 1, rd, rd, shamt);
    case 1:
        return enc_i(0x07, 3, rd, 2, ld);
    case 2:
        return rd ? enc_i(0x03, 2, rd, 2, lw) : 0;
    case 3:
        return c->rv32 ? enc_i(0x07, 2, rd, 2, lw) : rd ? enc_i(0x03, 3, rd, 2, ld) : 0;
    case 4:
        if (!(i & 0x1000)) {
            return rs2 ? enc_r(0x33, 0, 0, rd, 0, rs2) : rd ? enc_i(0x67, 0, 0, rd, 0) : 0;
        }
        return rs2  ? enc_r(0x33, 0, 0, rd, rd, rs2)
               : rd ? enc_i(0x67, 0, 1, rd, 0)
                    : 0x00100073; /* c.ebreak */
    case 5:
        return enc_s(0x27, 3, 2, rs2, sd);
    case 6:
        return enc_s(0x23, 2, 2, rs2, sw);
    default:
        return c->rv32 ? enc_s(0x27, 2, 2, rs2, sw) : enc_s(0x23, 3, 2, rs2, sd);
    }
}

uint32_t rv_expand(const RiscvCpu *c, uint16_t insn)
{
    switch (insn & 3) {
    case 0:
        return quadrant0(c, insn);
    case 1:
        return quadrant1(c, insn);
    case 2:
        return quadrant2(c, insn);
    default:
        return 0;
    }
}
