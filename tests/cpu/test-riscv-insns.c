/*
 * RISC-V instructions of every encoding class with random operands, translated and interpreted,
 * against qemu-riscv64 and qemu-riscv32 (Debian's qemu-user) as separate programs. Both run the
 * same image: each case loads all registers from its block, executes one instruction, and stores
 * all registers, fcsr and a piece of memory back.
 */
#include "accel/jit/jit.h"
#include "core/machine.h"
#include "target/riscv/cpu.h"
#include "target/riscv/riscv.h"
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BASE = 0x10000000,
    CODE_SIZE = 0x400000,
    DATA = BASE + CODE_SIZE,
    BLOCK = 2048, /* of a case */
    FREGS = 256,
    FCSR = 512,
    MEM = 768, /* x30 points there; 128 bytes each way are the instruction's */
    OUT = 1024,
    CASES = 1500,
    DATA_SIZE = CASES * BLOCK,
    SIZE = CODE_SIZE + DATA_SIZE,
    PTR = 30,
    BLK = 31,
};

typedef enum {
    K_R,    /* rd rs1 rs2 */
    K_I,    /* rd rs1, random immediate */
    K_SH5,  /* 5-bit shift amount */
    K_SH6,  /* 6-bit (5 on RV32) */
    K_UN,   /* rd rs1 */
    K_U,    /* rd, 20-bit immediate */
    K_LD,   /* rd, memory */
    K_ST,   /* rs2, memory */
    K_AMO,  /* aligned memory */
    K_LRSC, /* lr rd; sc */
    K_BR,   /* branch over an addi */
    K_JAL,  /* jal, jalr over an addi */
    K_FR,   /* like K_R with a rounding mode */
    K_FUN,  /* like K_UN with a rounding mode */
    K_R4,   /* rd rs1 rs2 rs3 rm */
    K_C,    /* 16 bits; match has the fixed ones, the rest is random */
    K_CLD,  /* compressed with pointer in the x8+ register, or sp */
    K_CSR,  /* fcsr, frm, fflags */
} Kind;

typedef struct Form {
    const char *name;
    uint32_t match;
    Kind kind;
    uint8_t xlen;    /* 0, 32, 64 */
    uint32_t random; /* K_C: random bits */
} Form;

#define R(op, f3, f7) ((op) | (f3) << 12 | (uint32_t)(f7) << 25)
#define UN(op, f3, f12) ((op) | (f3) << 12 | (uint32_t)(f12) << 20)
#define F(f5, fmt) (0x53u | (uint32_t)(f5) << 27 | (fmt) << 25)

static const Form forms[] = {
    {"add", R(0x33, 0, 0), K_R},
    {"sub", R(0x33, 0, 0x20), K_R},
    {"sll", R(0x33, 1, 0), K_R},
    {"slt", R(0x33, 2, 0), K_R},
    {"sltu", R(0x33, 3, 0), K_R},
    {"xor", R(0x33, 4, 0), K_R},
    {"srl", R(0x33, 5, 0), K_R},
    {"sra", R(0x33, 5, 0x20), K_R},
    {"or", R(0x33, 6, 0), K_R},
    {"and", R(0x33, 7, 0), K_R},
    {"mul", R(0x33, 0, 1), K_R},
    {"mulh", R(0x33, 1, 1), K_R},
    {"mulhsu", R(0x33, 2, 1), K_R},
    {"mulhu", R(0x33, 3, 1), K_R},
    {"div", R(0x33, 4, 1), K_R},
    {"divu", R(0x33, 5, 1), K_R},
    {"rem", R(0x33, 6, 1), K_R},
    {"remu", R(0x33, 7, 1), K_R},
    {"addw", R(0x3b, 0, 0), K_R, 64},
    {"subw", R(0x3b, 0, 0x20), K_R, 64},
    {"sllw", R(0x3b, 1, 0), K_R, 64},
    {"srlw", R(0x3b, 5, 0), K_R, 64},
    {"sraw", R(0x3b, 5, 0x20), K_R, 64},
    {"mulw", R(0x3b, 0, 1), K_R, 64},
    {"divw", R(0x3b, 4, 1), K_R, 64},
    {"divuw", R(0x3b, 5, 1), K_R, 64},
    {"remw", R(0x3b, 6, 1), K_R, 64},
    {"remuw", R(0x3b, 7, 1), K_R, 64},
    {"addi", R(0x13, 0, 0), K_I},
    {"slti", R(0x13, 2, 0), K_I},
    {"sltiu", R(0x13, 3, 0), K_I},
    {"xori", R(0x13, 4, 0), K_I},
    {"ori", R(0x13, 6, 0), K_I},
    {"andi", R(0x13, 7, 0), K_I},
    {"addiw", R(0x1b, 0, 0), K_I, 64},
    {"slli", R(0x13, 1, 0), K_SH6},
    {"srli", R(0x13, 5, 0), K_SH6},
    {"srai", R(0x13, 5, 0x20), K_SH6},
    {"slliw", R(0x1b, 1, 0), K_SH5, 64},
    {"srliw", R(0x1b, 5, 0), K_SH5, 64},
    {"sraiw", R(0x1b, 5, 0x20), K_SH5, 64},
    {"lui", 0x37, K_U},
    {"auipc", 0x17, K_U},
    /* B */
    {"sh1add", R(0x33, 2, 0x10), K_R},
    {"sh2add", R(0x33, 4, 0x10), K_R},
    {"sh3add", R(0x33, 6, 0x10), K_R},
    {"add.uw", R(0x3b, 0, 4), K_R, 64},
    {"sh1add.uw", R(0x3b, 2, 0x10), K_R, 64},
    {"sh2add.uw", R(0x3b, 4, 0x10), K_R, 64},
    {"sh3add.uw", R(0x3b, 6, 0x10), K_R, 64},
    {"slli.uw", R(0x1b, 1, 4), K_SH6, 64},
    {"andn", R(0x33, 7, 0x20), K_R},
    {"orn", R(0x33, 6, 0x20), K_R},
    {"xnor", R(0x33, 4, 0x20), K_R},
    {"min", R(0x33, 4, 5), K_R},
    {"minu", R(0x33, 5, 5), K_R},
    {"max", R(0x33, 6, 5), K_R},
    {"maxu", R(0x33, 7, 5), K_R},
    {"rol", R(0x33, 1, 0x30), K_R},
    {"ror", R(0x33, 5, 0x30), K_R},
    {"rori", R(0x13, 5, 0x30), K_SH6},
    {"rolw", R(0x3b, 1, 0x30), K_R, 64},
    {"rorw", R(0x3b, 5, 0x30), K_R, 64},
    {"roriw", R(0x1b, 5, 0x30), K_SH5, 64},
    {"clz", UN(0x13, 1, 0x600), K_UN},
    {"ctz", UN(0x13, 1, 0x601), K_UN},
    {"cpop", UN(0x13, 1, 0x602), K_UN},
    {"sext.b", UN(0x13, 1, 0x604), K_UN},
    {"sext.h", UN(0x13, 1, 0x605), K_UN},
    {"orc.b", UN(0x13, 5, 0x287), K_UN},
    {"rev8", UN(0x13, 5, 0x6b8), K_UN, 64},
    {"rev8", UN(0x13, 5, 0x698), K_UN, 32},
    {"zext.h", UN(0x3b, 4, 0x080), K_UN, 64},
    {"zext.h", UN(0x33, 4, 0x080), K_UN, 32},
    {"clzw", UN(0x1b, 1, 0x600), K_UN, 64},
    {"ctzw", UN(0x1b, 1, 0x601), K_UN, 64},
    {"cpopw", UN(0x1b, 1, 0x602), K_UN, 64},
    {"bclr", R(0x33, 1, 0x24), K_R},
    {"bext", R(0x33, 5, 0x24), K_R},
    {"binv", R(0x33, 1, 0x34), K_R},
    {"bset", R(0x33, 1, 0x14), K_R},
    {"bclri", R(0x13, 1, 0x24), K_SH6},
    {"bexti", R(0x13, 5, 0x24), K_SH6},
    {"binvi", R(0x13, 1, 0x34), K_SH6},
    {"bseti", R(0x13, 1, 0x14), K_SH6},
    {"clmul", R(0x33, 1, 5), K_R},
    {"clmulr", R(0x33, 2, 5), K_R},
    {"clmulh", R(0x33, 3, 5), K_R},
    /* memory */
    {"lb", R(0x03, 0, 0), K_LD},
    {"lh", R(0x03, 1, 0), K_LD},
    {"lw", R(0x03, 2, 0), K_LD},
    {"ld", R(0x03, 3, 0), K_LD, 64},
    {"lbu", R(0x03, 4, 0), K_LD},
    {"lhu", R(0x03, 5, 0), K_LD},
    {"lwu", R(0x03, 6, 0), K_LD, 64},
    {"flw", R(0x07, 2, 0), K_LD},
    {"fld", R(0x07, 3, 0), K_LD},
    {"sb", R(0x23, 0, 0), K_ST},
    {"sh", R(0x23, 1, 0), K_ST},
    {"sw", R(0x23, 2, 0), K_ST},
    {"sd", R(0x23, 3, 0), K_ST, 64},
    {"fsw", R(0x27, 2, 0), K_ST},
    {"fsd", R(0x27, 3, 0), K_ST},
#define AMO(name, f5)                                                                              \
    {name ".w", 0x202f | (uint32_t)(f5) << 27, K_AMO},                                             \
    {                                                                                              \
        name ".d", 0x302f | (uint32_t)(f5) << 27, K_AMO, 64                                        \
    }
    AMO("amoswap", 1),
    AMO("amoadd", 0),
    AMO("amoxor", 4),
    AMO("amoand", 12),
    AMO("amoor", 8),
    AMO("amomin", 16),
    AMO("amomax", 20),
    AMO("amominu", 24),
    AMO("amomaxu", 28),
    {"lr/sc.w", 0x202f, K_LRSC},
    {"lr/sc.d", 0x302f, K_LRSC, 64},
    {"beq", R(0x63, 0, 0), K_BR},
    {"bne", R(0x63, 1, 0), K_BR},
    {"blt", R(0x63, 4, 0), K_BR},
    {"bge", R(0x63, 5, 0), K_BR},
    {"bltu", R(0x63, 6, 0), K_BR},
    {"bgeu", R(0x63, 7, 0), K_BR},
    {"jal", 0x6f, K_JAL},
/* F, D, Zfh */
#define FP(p, fmt)                                                                                 \
    {"fadd" p, F(0, fmt), K_FR}, {"fsub" p, F(1, fmt), K_FR}, {"fmul" p, F(2, fmt), K_FR},         \
        {"fdiv" p, F(3, fmt), K_FR}, {"fsqrt" p, F(11, fmt), K_FUN}, {"fsgnj" p, F(4, fmt), K_R},  \
        {"fsgnjn" p, F(4, fmt) | 1 << 12, K_R}, {"fsgnjx" p, F(4, fmt) | 2 << 12, K_R},            \
        {"fmin" p, F(5, fmt), K_R}, {"fmax" p, F(5, fmt) | 1 << 12, K_R},                          \
        {"fle" p, F(20, fmt), K_R}, {"flt" p, F(20, fmt) | 1 << 12, K_R},                          \
        {"feq" p, F(20, fmt) | 2 << 12, K_R}, {"fclass" p, F(28, fmt) | 1 << 12, K_UN},            \
        {"fcvt.w" p, F(24, fmt), K_FUN}, {"fcvt.wu" p, F(24, fmt) | 1 << 20, K_FUN},               \
        {"fcvt.l" p, F(24, fmt) | 2 << 20, K_FUN, 64},                                             \
        {"fcvt.lu" p, F(24, fmt) | 3 << 20, K_FUN, 64}, {"fcvt" p ".w", F(26, fmt), K_FUN},        \
        {"fcvt" p ".wu", F(26, fmt) | 1 << 20, K_FUN},                                             \
        {"fcvt" p ".l", F(26, fmt) | 2 << 20, K_FUN, 64},                                          \
        {"fcvt" p ".lu", F(26, fmt) | 3 << 20, K_FUN, 64}, {"fmadd" p, 0x43 | (fmt) << 25, K_R4},  \
        {"fmsub" p, 0x47 | (fmt) << 25, K_R4}, {"fnmsub" p, 0x4b | (fmt) << 25, K_R4},             \
    {                                                                                              \
        "fnmadd" p, 0x4f | (fmt) << 25, K_R4                                                       \
    }
    FP(".s", 0),
    FP(".d", 1),
    FP(".h", 2),
    {"fmv.x.w", F(28, 0), K_UN},
    {"fmv.w.x", F(30, 0), K_UN},
    {"fmv.x.d", F(28, 1), K_UN, 64},
    {"fmv.d.x", F(30, 1), K_UN, 64},
    {"fmv.x.h", F(28, 2), K_UN},
    {"fmv.h.x", F(30, 2), K_UN},
    {"fcvt.s.d", F(8, 0) | 1 << 20, K_FUN},
    {"fcvt.d.s", F(8, 1), K_FUN},
    {"fcvt.s.h", F(8, 0) | 2 << 20, K_FUN},
    {"fcvt.h.s", F(8, 2), K_FUN},
    {"fcvt.d.h", F(8, 1) | 2 << 20, K_FUN},
    {"fcvt.h.d", F(8, 2) | 1 << 20, K_FUN},
    {"csrrw", 0x1073, K_CSR},
    {"csrrs", 0x2073, K_CSR},
    {"csrrc", 0x3073, K_CSR},
    {"csrrwi", 0x5073, K_CSR},
    {"csrrsi", 0x6073, K_CSR},
    {"csrrci", 0x7073, K_CSR},
    /* C: bit 5 stays set in immediates that must not be zero */
    {"c.addi4spn", 0x0020, K_C, 0, 0x1fdc},
    {"c.addi", 0x0001, K_C, 0, 0x107c | 0x0b80},
    {"c.addiw", 0x2081, K_C, 64, 0x107c | 0x0b00},
    {"c.li", 0x4001, K_C, 0, 0x107c | 0x0b80},
    {"c.addi16sp", 0x6121, K_C, 0, 0x105c},
    {"c.lui", 0x6205 | 0x180, K_C, 0, 0x1078 | 0x0800},
    {"c.srli", 0x8001, K_C, 0, 0x03fc},
    {"c.srai", 0x8401, K_C, 0, 0x03fc},
    {"c.andi", 0x8801, K_C, 0, 0x13fc},
    {"c.sub", 0x8c01, K_C, 0, 0x039c},
    {"c.xor", 0x8c21, K_C, 0, 0x039c},
    {"c.or", 0x8c41, K_C, 0, 0x039c},
    {"c.and", 0x8c61, K_C, 0, 0x039c},
    {"c.subw", 0x9c01, K_C, 64, 0x039c},
    {"c.addw", 0x9c21, K_C, 64, 0x039c},
    {"c.slli", 0x0086, K_C, 0, 0x0b7c},
    {"c.mv", 0x8086 | 4, K_C, 0, 0x0b78},
    {"c.add", 0x9086 | 4, K_C, 0, 0x0b78},
    {"c.lw", 0x4000, K_CLD, 0, 0x1c7c & ~0x20},
    {"c.ld", 0x6000, K_CLD, 64, 0x0c1c},
    {"c.fld", 0x2000, K_CLD, 0, 0x0c1c},
    {"c.sw", 0xc000, K_CLD, 0, 0x1c7c & ~0x20},
    {"c.sd", 0xe000, K_CLD, 64, 0x0c1c},
    {"c.fsd", 0xa000, K_CLD, 0, 0x0c1c},
    {"c.flw", 0x6000, K_CLD, 32, 0x1c7c & ~0x20},
    {"c.fsw", 0xe000, K_CLD, 32, 0x1c7c & ~0x20},
};

/* ---- images ---- */

typedef struct Image {
    uint8_t *mem;
    unsigned at; /* code offset */
    bool rv32;
    uint8_t form[CASES];
    uint32_t insn[CASES];
} Image;

static uint64_t seed = 1;

static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1dull;
}

static uint64_t random_value(void)
{
    static const uint64_t special[] = {
        0,
        1,
        ~0ull,
        0x7fffffff,
        0x80000000,
        0xffffffff,
        1ull << 63,
        INT64_MAX,
        0xffffffff80000000ull,
        0x100000000ull,
        31,
        63,
    };
    unsigned k = rnd() & 7;

    return k == 0 ? special[rnd() % G_N_ELEMENTS(special)] : k < 3 ? rnd() >> (rnd() & 63) : rnd();
}

static uint64_t random_float(unsigned fmt)
{
    static const uint64_t d[] = {0,
                                 1ull << 63,
                                 0x3ff0000000000000,
                                 0xbff8000000000000,
                                 0x7ff0000000000000,
                                 0xfff0000000000000,
                                 0x7ff8000000000000,
                                 0x7ff0000000000001,
                                 1,
                                 0x000fffffffffffff,
                                 0x0010000000000000,
                                 0x7fefffffffffffff,
                                 0x41dfffffffc00000,
                                 0xc3e0000000000000,
                                 0x43e0000000000000,
                                 0x3fe0000000000000,
                                 0x4004000000000000};
    static const uint32_t s[] = {0,          0x80000000, 0x3f800000, 0xbfc00000, 0x7f800000,
                                 0xff800000, 0x7fc00000, 0x7f800001, 1,          0x007fffff,
                                 0x00800000, 0x7f7fffff, 0x4effffff, 0x5f000000, 0x3f000000,
                                 0x40200000, 0xffc12345};
    uint64_t v;

    switch (rnd() % 5) {
    case 0:
        v = fmt == 1 ? d[rnd() % G_N_ELEMENTS(d)] : s[rnd() % G_N_ELEMENTS(s)];
        break;
    case 1: /* near each other, to meet ties and cancellation */
        v = fmt == 1   ? 0x3ff0000000000000 + (rnd() & 0x80700000000001ff)
            : fmt == 0 ? 0x3f800000 + (rnd() & 0x8180000f)
                       : 0x3c00 + (rnd() & 0x8c07);
        break;
    default:
        v = rnd();
    }
    if (fmt == 1) {
        return v;
    }
    if (fmt == 2) {
        return (v & 0xffff) | (rnd() % 12 ? ~0xffffull : rnd() << 16);
    }
    return (v & 0xffffffff) | (rnd() % 12 ? ~0ull << 32 : rnd() << 32);
}

static void put32(Image *im, uint32_t v)
{
    memcpy(im->mem + im->at, &v, 4);
    im->at += 4;
}

static void put_insn(Image *im, uint32_t v)
{
    memcpy(im->mem + im->at, &v, (v & 3) == 3 ? 4 : 2);
    im->at += (v & 3) == 3 ? 4 : 2;
}

static uint32_t s_type(uint32_t base, unsigned rs1, unsigned rs2, int imm)
{
    return base | rs1 << 15 | rs2 << 20 | (imm & 31) << 7 | (uint32_t)(imm >> 5 & 127) << 25;
}

static uint32_t i_type(uint32_t base, unsigned rd, unsigned rs1, int imm)
{
    return base | rd << 7 | rs1 << 15 | (uint32_t)imm << 20;
}

/* li reg, value below 2^31 */
static void put_li(Image *im, unsigned reg, uint32_t v)
{
    uint32_t hi = (v + 0x800) & 0xfffff000;

    put32(im, 0x37 | reg << 7 | hi);
    put32(im, i_type(im->rv32 ? 0x13 : 0x1b, reg, reg, (int)(v - hi) & 0xfff));
}

static uint64_t *slot(Image *im, unsigned n, unsigned off)
{
    return (uint64_t *)(void *)(im->mem + CODE_SIZE + n * BLOCK + off);
}

static unsigned gpr(void)
{
    return rnd() % PTR; /* 0…29 */
}

/* The instruction under test; may change the case's inputs. */
static void put_case(Image *im, unsigned n, const Form *f)
{
    static const uint8_t rms[] = {0, 1, 2, 3, 4, 7, 7, 7};
    unsigned rd = gpr(), rs1 = gpr(), rs2 = rnd() % 6 ? gpr() : rs1, rm = rms[rnd() & 7];
    uint32_t i = f->match;
    int imm = (int)(rnd() & 127) - 64;

    switch (f->kind) {
    case K_R:
        i |= rd << 7 | rs1 << 15 | rs2 << 20;
        break;
    case K_FR:
        i |= rd << 7 | rs1 << 15 | rs2 << 20 | rm << 12;
        break;
    case K_R4:
        i |= rd << 7 | rs1 << 15 | rs2 << 20 | rm << 12 | gpr() << 27;
        break;
    case K_UN:
        if (i == UN(0x1b, 1, 0x601)) { /* ctzw of zero is 32; qemu-user 7.2 has 63 */
            rs1 = rs1 ? rs1 : 1;
            *slot(im, n, rs1 * 8) |= 1u << (rnd() & 31);
        }
        i |= rd << 7 | rs1 << 15;
        break;
    case K_FUN:
        i |= rd << 7 | rs1 << 15 | rm << 12;
        break;
    case K_I:
        i = i_type(i, rd, rs1, (int)rnd() & 0xfff);
        break;
    case K_SH5:
    case K_SH6:
        i |= rd << 7 | rs1 << 15 |
             (uint32_t)(rnd() & (f->kind == K_SH5 || im->rv32 ? 31 : 63)) << 20;
        break;
    case K_U:
        i |= rd << 7 | ((uint32_t)rnd() & 0xfffff000);
        break;
    case K_LD:
        i = i_type(i, rd, PTR, imm);
        break;
    case K_ST:
        i = s_type(i, PTR, rs2, imm);
        break;
    case K_AMO:
        i |= rd << 7 | PTR << 15 | rs2 << 20;
        break;
    case K_LRSC:
        put_insn(im, i | 2u << 27 | (rd ? rd : 1) << 7 | PTR << 15);
        i |= 3u << 27 | (1 + rnd() % 29) << 7 | PTR << 15 | rs2 << 20;
        break;
    case K_BR:
        put_insn(im, i | rs1 << 15 | rs2 << 20 | 8 << 7);
        i = i_type(0x13, 5, 5, 1);
        break;
    case K_JAL:
        put_insn(im, i | rd << 7 | 8 << 20);
        i = i_type(0x13, 5, 5, 1);
        break;
    case K_CSR:
        i |= rd << 7 | rs1 << 15 | (uint32_t)(1 + rnd() % 3) << 20;
        break;
    case K_C:
        i |= (uint32_t)rnd() & f->random;
        if (im->rv32) {
            i &= ~((i & 0xe003) == 0x8001 && (i & 0x0c00) < 0x800 ? 0x1000u : 0);
            i &= ~((i & 0xe003) == 2 ? 0x1000u : 0);
        }
        break;
    case K_CLD:
        i |= ((uint32_t)rnd() & f->random) | (14 - 8) << 7;
        *slot(im, n, 14 * 8) = *slot(im, n, PTR * 8);
        break;
    }
    im->insn[n] = i;
    put_insn(im, i);
}

static void put_block(Image *im, unsigned n)
{
    uint32_t block = DATA + n * BLOCK, load = im->rv32 ? 0x2003 : 0x3003,
             store = im->rv32 ? 0x2023 : 0x3023;
    const Form *f;
    unsigned fmt;

    do {
        im->form[n] = rnd() % G_N_ELEMENTS(forms);
        f = &forms[im->form[n]];
    } while (f->xlen && (f->xlen == 32) != im->rv32);
    fmt = (f->match & 0x7f) >= 0x43 && (f->match & 0x7f) <= 0x53 ? f->match >> 25 & 3 : rnd() % 3;
    if ((f->match & 0xf8000000) == 8u << 27) { /* conversions take the other format */
        fmt = f->match >> 20 & 3;
    }
    for (unsigned i = 1; i < 30; i++) {
        *slot(im, n, i * 8) = random_value();
    }
    *slot(im, n, PTR * 8) = block + MEM;
    for (unsigned i = 0; i < 32; i++) {
        *slot(im, n, FREGS + i * 8) = random_float(fmt);
    }
    *slot(im, n, FCSR) = rnd() % 5 << 5 | (rnd() & 3 ? 0 : rnd() & 31);
    for (unsigned i = MEM - 128; i < MEM + 256; i += 8) {
        *slot(im, n, i) = random_value();
    }
    put_li(im, BLK, block);
    put32(im, i_type(load, 1, BLK, FCSR));
    put32(im, 0x00309073); /* csrw fcsr, x1 */
    for (unsigned i = 0; i < 32; i++) {
        put32(im, i_type(0x3007, i, BLK, FREGS + i * 8));
    }
    unsigned gprs = im->at;
    im->at += 30 * 4;
    put_case(im, n, f);
    for (unsigned i = 1; i < 31; i++) { /* loads come last: the case may have changed inputs */
        uint32_t l = i_type(load, i, BLK, i * 8);
        memcpy(im->mem + gprs + (i - 1) * 4, &l, 4);
    }
    for (unsigned i = 1; i < 31; i++) {
        put32(im, s_type(store, BLK, i, OUT + i * 8));
    }
    put32(im, 0x003020f3); /* csrr x1, fcsr */
    put32(im, s_type(store, BLK, 1, OUT + FCSR));
    for (unsigned i = 0; i < 32; i++) {
        put32(im, s_type(0x3027, BLK, i, OUT + FREGS + i * 8));
    }
}

static void make_image(Image *im, bool rv32)
{
    *im = (Image){.mem = g_malloc0(SIZE), .rv32 = rv32};
    for (unsigned n = 0; n < CASES; n++) {
        put_block(im, n);
    }
    g_assert_cmpuint(im->at, <, CODE_SIZE - 64);
}

/* ---- the reference ---- */

static void write_elf(Image *im, FILE *f)
{
    g_autofree uint8_t *mem = g_memdup2(im->mem, SIZE);
    Image end = {.mem = mem, .at = im->at, .rv32 = im->rv32};

    put_li(&end, 10, 1);
    put_li(&end, 11, DATA);
    put_li(&end, 12, DATA_SIZE);
    put_li(&end, 17, 64); /* write */
    put32(&end, 0x73);
    put_li(&end, 10, 0);
    put_li(&end, 17, 93); /* exit */
    put32(&end, 0x73);
    if (im->rv32) {
        Elf32_Ehdr h = {.e_type = ET_EXEC,
                        .e_machine = EM_RISCV,
                        .e_version = 1,
                        .e_entry = BASE,
                        .e_phoff = sizeof(h),
                        .e_flags = 5,
                        .e_ehsize = sizeof(h),
                        .e_phentsize = sizeof(Elf32_Phdr),
                        .e_phnum = 1};
        Elf32_Phdr p = {.p_type = PT_LOAD,
                        .p_offset = 4096,
                        .p_vaddr = BASE,
                        .p_paddr = BASE,
                        .p_filesz = SIZE,
                        .p_memsz = SIZE,
                        .p_flags = 7,
                        .p_align = 4096};
        memcpy(h.e_ident, ELFMAG "\1\1\1", 7);
        fwrite(&h, sizeof(h), 1, f);
        fwrite(&p, sizeof(p), 1, f);
    } else {
        Elf64_Ehdr h = {.e_type = ET_EXEC,
                        .e_machine = EM_RISCV,
                        .e_version = 1,
                        .e_entry = BASE,
                        .e_phoff = sizeof(h),
                        .e_flags = 5,
                        .e_ehsize = sizeof(h),
                        .e_phentsize = sizeof(Elf64_Phdr),
                        .e_phnum = 1};
        Elf64_Phdr p = {.p_type = PT_LOAD,
                        .p_offset = 4096,
                        .p_vaddr = BASE,
                        .p_paddr = BASE,
                        .p_filesz = SIZE,
                        .p_memsz = SIZE,
                        .p_flags = 7,
                        .p_align = 4096};
        memcpy(h.e_ident, ELFMAG "\2\1\1", 7);
        fwrite(&h, sizeof(h), 1, f);
        fwrite(&p, sizeof(p), 1, f);
    }
    fseek(f, 4096, SEEK_SET);
    g_assert_cmpuint(fwrite(mem, 1, SIZE, f), ==, SIZE);
}

/* The data after the run; NULL if the program is not there. */
static uint8_t *run_reference(Image *im)
{
    g_autofree char *path = NULL;
    g_autofree char *qemu = g_find_program_in_path(im->rv32 ? "qemu-riscv32" : "qemu-riscv64");
    uint8_t *out = g_malloc0(DATA_SIZE);
    int fd = g_file_open_tmp("rhea-riscv-XXXXXX", &path, NULL);
    FILE *f = fdopen(fd, "wb"), *p;

    if (!qemu) {
        fclose(f);
        unlink(path);
        g_free(out);
        return NULL;
    }
    write_elf(im, f);
    fchmod(fd, 0700);
    fclose(f);
    g_autofree char *cmd = g_strdup_printf("timeout 120 %s -cpu rv%d,zba=on,zbb=on,zbc=on,zbs=on,"
                                           "Zfh=on %s",
                                           qemu, im->rv32 ? 32 : 64, path);
    p = popen(cmd, "r");
    size_t got = fread(out, 1, DATA_SIZE, p);
    int status = pclose(p);
    unlink(path);
    g_assert_cmpint(status, ==, 0);
    g_assert_cmpuint(got, ==, DATA_SIZE);
    return out;
}

/* ---- ours ---- */

static uint8_t *run_ours(Image *im, const char *opts)
{
    GError *err = NULL;
    MemRegion ram;
    uint8_t *out;

    machine_lock();
    Machine *m = machine_new(NULL, NULL);
    m->accel = &jit_accel;
    g_assert_true(jit_accel.init(m, opts, &err));
    g_assert_true(mem_region_init_ram(&ram, "ram", SIZE, &err));
    mem_region_add(&m->memory_root, &ram, BASE, 0);
    VCpu *cpu =
        vcpu_new(m, im->rv32 ? &riscv32_target : &riscv64_target, &jit_accel, 0, NULL, &err);
    g_assert_no_error(err);
    machine_unlock();
    memcpy(ram.host, im->mem, SIZE);
    memcpy(ram.host + im->at, &(uint32_t){0x10500073}, 4); /* wfi */
    riscv(cpu)->pc = BASE;
    riscv(cpu)->mstatus |= MST_FS;
    cpu->halted = false;
    cpu->events = 0;
    jit_accel.run(cpu);
    g_assert_cmphex(riscv(cpu)->pc, ==, BASE + im->at + 4);
    out = g_memdup2(ram.host + CODE_SIZE, DATA_SIZE);
    machine_lock();
    vcpu_free(cpu);
    mem_region_destroy(&ram);
    jit_accel.fini(m);
    m->accel = NULL;
    machine_free(m);
    machine_unlock();
    return out;
}

static bool same(const Image *im, unsigned n, const uint8_t *want, const uint8_t *got)
{
    const uint64_t *a = (const uint64_t *)(const void *)(want + n * BLOCK),
                   *b = (const uint64_t *)(const void *)(got + n * BLOCK);
    bool ok = true;

    for (unsigned i = 0; i < BLOCK / 8; i++) {
        if (a[i] != b[i]) {
            unsigned off = i * 8;

            g_test_message("%s %08x (fcsr %02x): %s%u is %016llx, not %016llx",
                           forms[im->form[n]].name, im->insn[n], (unsigned)a[FCSR / 8],
                           off >= OUT + FCSR    ? "fcsr "
                           : off >= OUT + FREGS ? "f"
                           : off >= OUT         ? "x"
                                                : "memory ",
                           off >= OUT + FCSR    ? 0
                           : off >= OUT + FREGS ? (off - OUT - FREGS) / 8
                           : off >= OUT         ? (off - OUT) / 8
                                                : off,
                           (unsigned long long)b[i], (unsigned long long)a[i]);
            ok = false;
        }
    }
    if (!ok) {
        uint32_t i = im->insn[n];
        g_test_message("  x%u=%016llx x%u=%016llx f%u=%016llx f%u=%016llx f%u=%016llx",
                       i >> 15 & 31, (unsigned long long)a[i >> 15 & 31], i >> 20 & 31,
                       (unsigned long long)a[i >> 20 & 31], i >> 15 & 31,
                       (unsigned long long)a[FREGS / 8 + (i >> 15 & 31)], i >> 20 & 31,
                       (unsigned long long)a[FREGS / 8 + (i >> 20 & 31)], i >> 27,
                       (unsigned long long)a[FREGS / 8 + (i >> 27)]);
    }
    return ok;
}

static void test_random(gconstpointer data)
{
    static const char *const modes[] = {"mode=jit", "mode=interp"};
    bool rv32 = data != NULL;
    unsigned rounds = g_test_slow() ? 40 : 4;

    for (unsigned r = 0; r < rounds; r++) {
        Image im;
        unsigned bad = 0;

        seed = 0x9e3779b97f4a7c15ull * (r + 1) + rv32;
        make_image(&im, rv32);
        uint8_t *want = run_reference(&im);
        if (!want) {
            g_free(im.mem);
            g_test_message("qemu-riscv64 and qemu-riscv32 are missing: package qemu-user");
            g_test_fail();
            return;
        }
        for (unsigned m = 0; m < G_N_ELEMENTS(modes); m++) {
            uint8_t *got = run_ours(&im, modes[m]);
            g_test_message("%s", modes[m]);
            for (unsigned n = 0; n < CASES; n++) {
                bad += !same(&im, n, want, got) && bad < 40;
            }
            g_free(got);
        }
        g_free(want);
        g_free(im.mem);
        g_assert_cmpuint(bad, ==, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/riscv/insns/rv64", NULL, test_random);
    g_test_add_data_func("/riscv/insns/rv32", "32", test_random);
    return g_test_run();
}
