/* C helpers of integer and memory instructions of A64; the table of all helpers. */
#include "target/arm64/helpers.h"
#include "core/machine.h"
#include "target/arm64/cpu.h"
#include <string.h>
#include <x86intrin.h>

uint64_t a64_h_raise_fetch(VCpu *cpu, uint64_t pc)
{
    Arm64Cpu *c = arm64(cpu);
    uint8_t byte;
    JitPage page;
    unsigned mmu = c->el == 0 ? MMU_EL0 : c->el == 1 ? MMU_EL1 : c->el == 2 ? MMU_EL2 : MMU_EL3;

    if (pc & 3) {
        a64_set_exc(c, esr_make(EC_PC_ALIGN, 0), a64_sync_target(c), false);
        c->exc_far = pc;
        c->exc_far_valid = true;
        jit_raise(cpu);
    }
    (void)byte;
    if (a64_walk(cpu, pc, JIT_EXEC, mmu, false, &page)) {
        jit_leave(cpu); /* it can be fetched after all: again */
    }
    jit_raise(cpu);
}

uint64_t a64_h_wfx(VCpu *cpu, uint64_t wfe, uint64_t next)
{
    Arm64Cpu *c = arm64(cpu);
    unsigned el = 0;

    (void)next;
    if (wfe) {
        if (c->event_reg) {
            c->event_reg = false;
            return 0;
        }
    } else if (a64_has_work(cpu)) {
        return 0;
    }
    if (c->el == 0 && !(c->sctlr[1] & (wfe ? SCTLR_NTWE : SCTLR_NTWI))) {
        el = a64_sync_target(c);
    } else if (c->el <= 1 && a64_el2_enabled(c) && c->hcr & (wfe ? HCR_TWE : HCR_TWI)) {
        el = 2;
    }
    if (el) {
        a64_set_exc(c, esr_make(EC_WFX, 0x1e << 20 | (uint32_t)wfe), el, false);
        jit_raise(cpu);
    }
    if (wfe) {
        /* Events from exclusive monitors are not modelled: a short rest, then go on. */
        g_thread_yield();
        return 0;
    }
    cpu->halted = true;
    return 0;
}

uint64_t a64_h_sev(VCpu *cpu)
{
    const Machine *m = cpu->machine;

    arm64(cpu)->event_reg = true;
    for (unsigned i = 0; m && i < m->n_vcpus; i++) {
        if (m->vcpus[i] != cpu) {
            vcpu_signal(m->vcpus[i], EV_WAKE);
        }
    }
    return 0;
}

uint64_t a64_h_udiv(VCpu *cpu, uint64_t a, uint64_t b)
{
    return b ? a / b : 0;
}

uint64_t a64_h_sdiv(VCpu *cpu, uint64_t a, uint64_t b)
{
    if (!b) {
        return 0;
    }
    return b == UINT64_MAX ? -a : (uint64_t)((int64_t)a / (int64_t)b);
}

uint64_t a64_h_sdiv32(VCpu *cpu, uint64_t a, uint64_t b)
{
    int32_t x = (int32_t)a, y = (int32_t)b;

    if (!y) {
        return 0;
    }
    return y == -1 ? (uint32_t) - (uint32_t)x : (uint32_t)(x / y);
}

uint64_t a64_h_rbit(VCpu *cpu, uint64_t v)
{
    v = (v >> 1 & 0x5555555555555555ull) | (v & 0x5555555555555555ull) << 1;
    v = (v >> 2 & 0x3333333333333333ull) | (v & 0x3333333333333333ull) << 2;
    v = (v >> 4 & 0x0f0f0f0f0f0f0f0full) | (v & 0x0f0f0f0f0f0f0f0full) << 4;
    return __builtin_bswap64(v);
}

static uint32_t crc(uint32_t c, uint64_t v, unsigned bytes, uint32_t poly)
{
    for (unsigned i = 0; i < bytes; i++) {
        c ^= v >> i * 8 & 0xff;
        for (unsigned k = 0; k < 8; k++) {
            c = c >> 1 ^ (c & 1 ? poly : 0);
        }
    }
    return c;
}

uint64_t a64_h_crc32(VCpu *cpu, uint64_t c, uint64_t v, uint64_t bytes)
{
    return crc(c, v, bytes, 0xedb88320);
}

uint64_t a64_h_crc32c(VCpu *cpu, uint64_t c, uint64_t v, uint64_t bytes)
{
    return crc(c, v, bytes, 0x82f63b78);
}

/* ---- exclusive and atomic pairs ---- */

uint64_t a64_h_stxp(VCpu *cpu, uint64_t addr, uint64_t lo, uint64_t hi, uint64_t mmu)
{
    Arm64Cpu *c = arm64(cpu);
    uint64_t old[2], want[2] = {lo, hi};

    if (addr & 15) {
        a64_set_align_fault(cpu, addr, JIT_WRITE, mmu);
        jit_raise(cpu);
    }
    return !jit_cas16(cpu, addr, c->ex_val, want, old, mmu);
}

uint64_t a64_h_casp(VCpu *cpu, uint64_t addr, uint64_t rs, uint64_t rt, uint64_t mode)
{
    Arm64Cpu *c = arm64(cpu);
    bool be = mode >> 8;
    uint64_t old[2], expect[2], now[2];

    if (addr & 15) {
        a64_set_align_fault(cpu, addr, JIT_WRITE, mode & 15);
        jit_raise(cpu);
    }
    for (unsigned i = 0; i < 2; i++) {
        expect[i] = rs + i == 31 ? 0 : c->x[rs + i];
        now[i] = rt + i == 31 ? 0 : c->x[rt + i];
        if (be) {
            expect[i] = __builtin_bswap64(expect[i]);
            now[i] = __builtin_bswap64(now[i]);
        }
    }
    jit_cas16(cpu, addr, expect, now, old, mode & 15);
    for (unsigned i = 0; i < 2; i++) {
        if (rs + i != 31) {
            c->x[rs + i] = be ? __builtin_bswap64(old[i]) : old[i];
        }
    }
    return 0;
}

/* ---- SIMD structures ---- */

typedef struct Struct {
    unsigned regs, rpt, esize; /* registers of a structure, repetitions, bytes of an element */
    unsigned elements;
    int lane; /* -1: all */
    bool replicate;
} Struct;

static Struct decode_struct(uint32_t insn)
{
    unsigned size = insn >> 10 & 3;
    bool q = insn >> 30 & 1;
    Struct s = {.rpt = 1, .lane = -1};

    if (!(insn >> 24 & 1)) {
        switch (insn >> 12 & 15) {
        case 0:
            s.regs = 4;
            break;
        case 4:
            s.regs = 3;
            break;
        case 8:
            s.regs = 2;
            break;
        case 2:
            s.regs = 1;
            s.rpt = 4;
            break;
        case 6:
            s.regs = 1;
            s.rpt = 3;
            break;
        case 10:
            s.regs = 1;
            s.rpt = 2;
            break;
        default:
            s.regs = 1;
        }
        s.esize = 1u << size;
        s.elements = (q ? 16 : 8) / s.esize;
        return s;
    }
    unsigned op = insn >> 13 & 7, sbit = insn >> 12 & 1, scale = op >> 1;

    s.regs = ((op & 1) << 1 | (insn >> 21 & 1)) + 1;
    s.elements = 1;
    switch (scale) {
    case 3:
        s.replicate = true;
        s.esize = 1u << size;
        s.elements = (q ? 16 : 8) / s.esize;
        break;
    case 0:
        s.esize = 1;
        s.lane = q << 3 | sbit << 2 | size;
        break;
    case 1:
        s.esize = 2;
        s.lane = q << 2 | sbit << 1 | size >> 1;
        break;
    default:
        s.esize = size & 1 ? 8 : 4;
        s.lane = size & 1 ? q : q << 1 | sbit;
    }
    return s;
}

static uint64_t swap_element(uint64_t v, unsigned esize)
{
    return __builtin_bswap64(v) >> (64 - esize * 8);
}

static void check_alignment(VCpu *cpu, uint64_t addr, unsigned esize, JitAccess access,
                            uint64_t mode)
{
    if (mode >> 9 & 1 && addr & (esize - 1)) {
        a64_set_align_fault(cpu, addr, access, mode & 15);
        jit_raise(cpu);
    }
}

uint64_t a64_h_simd_ld(VCpu *cpu, uint64_t insn, uint64_t addr, uint64_t mode)
{
    Arm64Cpu *c = arm64(cpu);
    Struct s = decode_struct(insn);
    unsigned rt = insn & 31, mmu = mode & 15;
    bool all = s.lane < 0, q = insn >> 30 & 1;
    VReg v[4];

    check_alignment(cpu, addr, s.esize, JIT_READ, mode);
    for (unsigned i = 0; i < s.regs * s.rpt; i++) {
        v[i] = all ? (VReg){{0, 0}} : c->fp.v[(rt + i) & 31];
    }
    for (unsigned r = 0; r < s.rpt; r++) {
        for (unsigned e = 0; e < (s.replicate ? 1 : s.elements); e++) {
            for (unsigned i = 0; i < s.regs; i++) {
                uint64_t x = jit_load(cpu, addr, s.esize, mmu);
                unsigned lane = all ? e : (unsigned)s.lane;

                if (mode >> 8 & 1) {
                    x = swap_element(x, s.esize);
                }
                memcpy(&v[r + i].b[lane * s.esize], &x, s.esize);
                for (unsigned k = 1; s.replicate && k < s.elements; k++) {
                    memcpy(&v[i].b[k * s.esize], &x, s.esize);
                }
                addr += s.esize;
            }
        }
    }
    for (unsigned i = 0; i < s.regs * s.rpt; i++) {
        if (all && !q) {
            v[i].d[1] = 0;
        }
        c->fp.v[(rt + i) & 31] = v[i];
    }
    return 0;
}

uint64_t a64_h_simd_st(VCpu *cpu, uint64_t insn, uint64_t addr, uint64_t mode)
{
    Arm64Cpu *c = arm64(cpu);
    Struct s = decode_struct(insn);
    unsigned rt = insn & 31, mmu = mode & 15;

    check_alignment(cpu, addr, s.esize, JIT_WRITE, mode);
    jit_probe(cpu, addr, s.regs * s.rpt * s.esize * s.elements, JIT_WRITE, mmu);
    for (unsigned r = 0; r < s.rpt; r++) {
        for (unsigned e = 0; e < s.elements; e++) {
            for (unsigned i = 0; i < s.regs; i++) {
                unsigned lane = s.lane < 0 ? e : (unsigned)s.lane;
                uint64_t x = 0;

                memcpy(&x, &c->fp.v[(rt + r + i) & 31].b[lane * s.esize], s.esize);
                if (mode >> 8 & 1) {
                    x = swap_element(x, s.esize);
                }
                jit_store(cpu, addr, x, s.esize, mmu);
                addr += s.esize;
            }
        }
    }
    return 0;
}

/* ---- floating point and SIMD ---- */

uint64_t a64_h_simd(VCpu *cpu, uint64_t insn)
{
    Arm64Cpu *c = arm64(cpu);

    c->fp.nzcv_set = false;
    c->fp.nzcv_in = a64_get_nzcv(c) >> 28;
    a64_fp_exec(&c->fp, c->x, insn);
    if (c->fp.nzcv_set) {
        a64_set_nzcv(c, (uint32_t)c->fp.nzcv << 28);
    }
    return 0;
}

uint64_t a64_h_simd_redo(VCpu *cpu, uint64_t insn, uint64_t saved)
{
    Arm64Cpu *c = arm64(cpu);

    if (saved) {
        c->fp.v[insn & 31] = c->fp_save;
    }
    return a64_h_simd(cpu, insn);
}

/* ---- pointer authentication ---- */

/* The hash is the implementation's choice (APA, GPA: impdef); any keyed mix that is quick will do.
 */
static uint64_t pac_hash(uint64_t v, uint64_t mod, const uint64_t key[2])
{
    uint64_t h = (v ^ key[0]) * 0x9e3779b97f4a7c15ull;

    h ^= h >> 29;
    h = (h ^ mod ^ key[1]) * 0xbf58476d1ce4e5b9ull;
    h ^= h >> 32;
    h *= 0x94d049bb133111ebull;
    return h ^ h >> 31;
}

/* Bits that hold the code: between the address and the tag or the top. */
static uint64_t pac_mask(const Arm64Cpu *c, uint64_t ptr, bool data)
{
    bool high = ptr >> 55 & 1, tbi;
    unsigned el = MAX(c->el, 1), tsz, bottom;
    uint64_t tcr = c->tcr[el];

    (void)data;
    if (el == 1) {
        tbi = tcr >> (high ? 38 : 37) & 1;
        tsz = high ? tcr >> 16 & 63 : tcr & 63;
    } else {
        tbi = tcr >> 20 & 1;
        tsz = tcr & 63;
    }
    tsz = CLAMP(tsz, 16, 39);
    bottom = 64 - tsz;
    return ((tbi ? 1ull << 55 : ~0ull) - (1ull << bottom)) & ~(1ull << 55) &
           (tbi ? (1ull << 56) - 1 : ~0ull);
}

/* @op: low two bits 0 sign, 1 authenticate, 2 strip, 3 generic; above: key 0 IA 1 IB 2 DA 3 DB 4 GA
 * (strip: bit 3 says data). */
uint64_t a64_h_pac(VCpu *cpu, uint64_t v, uint64_t mod, uint64_t op)
{
    static const uint64_t enable[] = {SCTLR_ENIA, SCTLR_ENIB, SCTLR_ENDA, SCTLR_ENDB};
    Arm64Cpu *c = arm64(cpu);
    unsigned key = op >> 2;
    uint64_t mask, ext, plain, code;

    if ((op & 3) == 3) {
        return pac_hash(v, mod, c->apkey[4]) & 0xffffffff00000000ull;
    }
    mask = pac_mask(c, v, key & 2);
    plain = v >> 55 & 1 ? v | mask : v & ~mask;
    if ((op & 3) == 2) {
        return plain;
    }
    if (!(c->sctlr[MAX(c->el, 1)] & enable[key & 3])) {
        return v;
    }
    ext = plain;
    code = pac_hash(ext, mod, c->apkey[key & 3]) & mask;
    if ((op & 3) == 0) {
        bool odd = (v & mask) != (v >> 55 & 1 ? mask : 0);

        if (odd) { /* the pointer was not canonical: a code that will not do */
            code ^= mask & -mask;
        }
        return (v & ~mask) | code;
    }
    if ((v & mask) == code) {
        return plain;
    }
    /* Failed: an error code in the top two bits of the field makes it fault when used. */
    unsigned top = 63 - __builtin_clzll(mask & ((1ull << 55) - 1));

    return (plain & ~(3ull << (top - 1))) | (uint64_t)(key & 1 ? 2 : 1) << (top - 1);
}

#define X(name, n, f) const IrHelper a64_hd_##name = {#name, (void *)a64_h_##name, n, f};
A64_HELPERS(X)
#undef X
