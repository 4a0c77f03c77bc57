/*
 * C helpers of the integer part of the x86 translator: division, decimal arithmetic, and the
 * string instructions that repeat or do I/O. Intel SDM volume 2.
 */
#include "target/x86/int_helpers.h"
#include "target/x86/cpu.h"
#include "target/x86/helpers.h"
#include <string.h>

#define X86_PROTO_0
#define X86_PROTO_1 , uint64_t
#define X86_PROTO_2 X86_PROTO_1, uint64_t
#define X86_PROTO_3 X86_PROTO_2, uint64_t
#define X(n, a, f)                                                                                 \
    static uint64_t x86_h_##n(VCpu *cpu X86_PROTO_##a);                                            \
    const IrHelper x86_hd_##n = {.name = #n, .fn = x86_h_##n, .nargs = a, .flags = f};
X86_INT_HELPERS(X)
#undef X

typedef unsigned __int128 u128;
typedef __int128 i128;

/* ---- division ---- */

static uint64_t x86_h_divu(VCpu *cpu, uint64_t num, uint64_t d, uint64_t bits)
{
    if (d == 0 || num / d >> bits) {
        x86_raise(x86(cpu), EXC_DE);
    }
    return num / d;
}

static uint64_t x86_h_divs(VCpu *cpu, uint64_t num, uint64_t d, uint64_t bits)
{
    int64_t n = num, s = d, q;

    if (s == 0 || (s == -1 && n == INT64_MIN)) {
        x86_raise(x86(cpu), EXC_DE);
    }
    q = n / s;
    if (q < -(1ll << (bits - 1)) || q >= 1ll << (bits - 1)) {
        x86_raise(x86(cpu), EXC_DE);
    }
    return q;
}

static uint64_t x86_h_div64(VCpu *cpu, uint64_t lo, uint64_t hi, uint64_t d)
{
    if (hi >= d) { /* d == 0, too */
        x86_raise(x86(cpu), EXC_DE);
    }
    return hi ? (uint64_t)(((u128)hi << 64 | lo) / d) : lo / d;
}

static uint64_t x86_h_idiv64(VCpu *cpu, uint64_t lo, uint64_t hi, uint64_t d)
{
    u128 num = (u128)hi << 64 | lo, q;
    bool neg_num = hi >> 63, neg_d = d >> 63, neg = neg_num != neg_d;
    uint64_t div = neg_d ? -d : d;

    num = neg_num ? -num : num;
    if ((uint64_t)(num >> 64) >= div) {
        x86_raise(x86(cpu), EXC_DE);
    }
    q = num / div;
    if (q > (neg ? 1ull << 63 : (1ull << 63) - 1)) {
        x86_raise(x86(cpu), EXC_DE);
    }
    return neg ? -(uint64_t)q : (uint64_t)q;
}

/* ---- decimal arithmetic ---- */

static uint32_t nzp_flags(uint8_t v)
{
    return (v & 0x80 ? IRF_N : 0) | (v == 0 ? IRF_Z : 0) | (__builtin_parity(v) ? 0 : IRF_P);
}

static uint64_t x86_h_bcd(VCpu *cpu, uint64_t op, uint64_t ax, uint64_t cc)
{
    uint8_t al = ax, ah = ax >> 8, low = al & 15;
    bool h = cc & IRF_H, c = cc & IRF_C, sub = op & 8;
    bool adjust_low = low > 9 || h, adjust_high = al > 0x99 || c;
    uint32_t f;

    if (op < 0x30) { /* DAA, DAS */
        if (adjust_low) {
            c |= sub ? al < 6 : al > 0xf9;
            al += sub ? -6 : 6;
        }
        if (adjust_high) {
            al += sub ? -0x60 : 0x60;
            c = true;
        }
        f = nzp_flags(al) | (c ? IRF_C : 0) | (adjust_low ? IRF_H : 0);
    } else { /* AAA, AAS */
        uint16_t w = ax;

        if (adjust_low) {
            w += sub ? -6 : 6;
            w += sub ? -0x100 : 0x100;
        }
        al = w & 15;
        ah = w >> 8;
        f = nzp_flags(al) | (adjust_low ? IRF_C | IRF_H : 0);
    }
    return (ax & 0xffff0000) | ah << 8 | al | (uint64_t)f << 32;
}

static uint64_t x86_h_aam(VCpu *cpu, uint64_t al, uint64_t base)
{
    return (al & 0xff) / base << 8 | (al & 0xff) % base;
}

/* ---- bits ---- */

/* CRC-32C, reflected. */
static uint64_t x86_h_crc32(VCpu *cpu, uint64_t crc, uint64_t v, uint64_t bytes)
{
    uint32_t r = crc;

#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        uint64_t wide = r;

        if (bytes == 8) {
            __asm__("crc32q %1, %0" : "+r"(wide) : "r"(v));
            return wide;
        }
        for (; bytes; bytes--, v >>= 8) {
            __asm__("crc32b %1, %0" : "+r"(r) : "r"((uint8_t)v));
        }
        return r;
    }
#endif
    for (; bytes; bytes--, v >>= 8) {
        r ^= v & 0xff;
        for (int i = 0; i < 8; i++) {
            r = r >> 1 ^ (r & 1 ? 0x82f63b78 : 0);
        }
    }
    return r;
}

static uint64_t x86_h_pdep(VCpu *cpu, uint64_t v, uint64_t mask)
{
    uint64_t r = 0;

    for (; mask; mask &= mask - 1, v >>= 1) {
        r |= v & 1 ? mask & -mask : 0;
    }
    return r;
}

static uint64_t x86_h_pext(VCpu *cpu, uint64_t v, uint64_t mask)
{
    uint64_t r = 0;

    for (unsigned n = 0; mask; mask &= mask - 1, n++) {
        r |= v & mask & -mask ? 1ull << n : 0;
    }
    return r;
}

/* ---- checks and state ---- */

static uint64_t x86_h_bound(VCpu *cpu, uint64_t index, uint64_t lower, uint64_t upper)
{
    if ((int64_t)index < (int64_t)lower || (int64_t)index > (int64_t)upper) {
        x86_raise(x86(cpu), EXC_BR);
    }
    return 0;
}

static uint64_t x86_h_umip(VCpu *cpu)
{
    if (x86(cpu)->cr4 & CR4_UMIP) {
        x86_raise_err(x86(cpu), EXC_GP, 0);
    }
    return 0;
}

static uint64_t x86_h_rd_segbase(VCpu *cpu, uint64_t seg)
{
    X86Cpu *c = x86(cpu);

    if (!(c->cr4 & CR4_FSGSBASE)) {
        x86_raise(c, EXC_UD);
    }
    return c->seg[seg].base;
}

static uint64_t x86_h_wr_segbase(VCpu *cpu, uint64_t seg, uint64_t v)
{
    X86Cpu *c = x86(cpu);
    unsigned shift = 64 - (c->virt_bits ? c->virt_bits : 48);

    if (!(c->cr4 & CR4_FSGSBASE)) {
        x86_raise(c, EXC_UD);
    }
    if ((uint64_t)((int64_t)(v << shift) >> shift) != v) {
        x86_raise_err(c, EXC_GP, 0);
    }
    c->seg[seg].base = v;
    return 0;
}

static uint64_t x86_h_check_stack(VCpu *cpu, uint64_t linear, uint64_t bytes)
{
    jit_probe(cpu, linear, bytes, JIT_WRITE, x86_mmu_data(x86(cpu)));
    return 0;
}

static uint64_t x86_h_cmpxchg16b(VCpu *cpu, uint64_t linear)
{
    X86Cpu *c = x86(cpu);
    const uint64_t expect[2] = {c->regs[R_RAX], c->regs[R_RDX]};
    const uint64_t now[2] = {c->regs[R_RBX], c->regs[R_RCX]};
    uint64_t old[2];

    if (linear & 15) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (jit_cas16(cpu, linear, expect, now, old, x86_mmu_data(c))) {
        return 1;
    }
    c->regs[R_RAX] = old[0];
    c->regs[R_RDX] = old[1];
    return 0;
}

/* ---- string instructions ---- */

enum {
    PAGE = 4096,
    STR_BUDGET = 256 << 10, /* bytes until events are looked at */
    STR_BUDGET_ELEMENTS = 4096,
};

typedef struct Str {
    VCpu *cpu;
    X86Cpu *c;
    uint32_t desc;
    unsigned size, seg, mmu;
    uint64_t mask; /* of the address size */
    int64_t step;  /* bytes from element to element */
    uint64_t left; /* elements to do */
    unsigned budget;
} Str;

static uint64_t address_mask(unsigned asz)
{
    return asz == 8 ? ~0ull : asz == 4 ? 0xffffffff : 0xffff;
}

static Str str_begin(VCpu *cpu, uint32_t desc)
{
    X86Cpu *c = x86(cpu);
    Str s = {.cpu = cpu, .c = c, .desc = desc, .size = desc & STR_SIZE};

    s.mask = address_mask(desc >> STR_ASZ_SHIFT & 15);
    s.seg = desc >> STR_SEG_SHIFT & 15;
    s.mmu = x86_mmu_data(c);
    s.step = c->eflags & EF_DF ? -(int64_t)s.size : s.size;
    s.left = desc & STR_REP ? c->regs[R_RCX] & s.mask : 1;
    s.budget = desc & STR_ONE ? 1 : STR_BUDGET_ELEMENTS;
    return s;
}

/* A register of the address size. */
static void put_reg(const Str *s, unsigned r, uint64_t v)
{
    uint64_t keep = s->mask == 0xffff ? s->c->regs[r] & ~s->mask : 0;

    s->c->regs[r] = keep | (v & s->mask);
}

static uint64_t seg_linear(const Str *s, unsigned seg, uint64_t off)
{
    if (s->desc & STR_CODE64) {
        return seg >= S_FS ? s->c->seg[seg].base + off : off;
    }
    return (uint32_t)(s->c->seg[seg].base + off);
}

/* Linear address of the element at @r in @seg, checked. */
static uint64_t element(const Str *s, unsigned seg, unsigned r, bool write)
{
    uint64_t off = s->c->regs[r] & s->mask;

    if (s->desc & STR_LIMITS) {
        uint64_t (*check)(VCpu *, uint64_t, uint64_t, uint64_t, uint64_t) = x86_hd_check_seg.fn;

        check(s->cpu, seg, off, s->size, write);
    }
    return seg_linear(s, seg, off);
}

static void note_access(const Str *s, uint64_t linear, bool write)
{
    if (s->desc & STR_DEBUG) {
        uint64_t (*check)(VCpu *, uint64_t, uint64_t, uint64_t) = x86_hd_check_dbreak.fn;

        check(s->cpu, linear, s->size, write);
    }
}

static void moved(Str *s, uint64_t n, bool source, bool dest)
{
    if (source) {
        put_reg(s, R_RSI, s->c->regs[R_RSI] + n * s->step);
    }
    if (dest) {
        put_reg(s, R_RDI, s->c->regs[R_RDI] + n * s->step);
    }
    s->left -= n;
    if (s->desc & STR_REP) {
        put_reg(s, R_RCX, s->c->regs[R_RCX] - n);
    }
}

/* How many elements from @r on lie inside one page, one segment and the address size, going
 * upward. 0: element by element. */
static uint64_t run_length(const Str *s, unsigned seg, unsigned r)
{
    uint64_t off = s->c->regs[r] & s->mask, linear = seg_linear(s, seg, off);
    uint64_t bytes = PAGE - (linear & (PAGE - 1));

    if (s->step < 0 || s->desc & (STR_ONE | STR_DEBUG)) {
        return 0;
    }
    if (s->mask - off < bytes) {
        bytes = s->mask - off + 1;
    }
    if (s->desc & STR_LIMITS) {
        const X86Seg *g = &s->c->seg[seg];
        bool down = (g->attr & (DESC_S | DESC_CODE | DESC_E)) == (DESC_S | DESC_E);

        if (down || off > g->limit) {
            return 0;
        }
        if (g->limit - off < bytes) {
            bytes = g->limit - off + 1;
        }
    }
    return MIN(bytes / s->size, s->left);
}

static bool out_of_budget(Str *s, uint64_t elements)
{
    if (s->budget <= elements) {
        s->budget = 0;
        return true;
    }
    s->budget -= elements;
    return false;
}

/* Forward copy as the CPU does it, element by element: what was just written is read again when
 * the ranges overlap so. */
static void copy_forward(uint8_t *to, const uint8_t *from, size_t bytes, size_t size)
{
    size_t gap = to - from;

    if (to <= from || gap >= bytes) {
        memmove(to, from, bytes);
    } else if (gap >= size) {
        for (size_t done = 0; done < bytes; done += gap) {
            memcpy(to + done, from + done, MIN(gap, bytes - done));
        }
    } else {
        for (size_t i = 0; i < bytes; i += size) {
            memmove(to + i, from + i, size);
        }
    }
}

static uint64_t x86_h_movs(VCpu *cpu, uint64_t desc)
{
    Str s = str_begin(cpu, desc);
    uint64_t budget = STR_BUDGET;

    while (s.left) {
        uint64_t from = element(&s, s.seg, R_RSI, false), to = element(&s, S_ES, R_RDI, true);
        uint64_t n = MIN(run_length(&s, s.seg, R_RSI), run_length(&s, S_ES, R_RDI)), v;
        uint8_t *hf = n ? jit_host_ptr(cpu, from, JIT_READ, s.mmu) : NULL;
        uint8_t *ht = hf ? jit_host_ptr(cpu, to, JIT_WRITE, s.mmu) : NULL;

        if (ht) {
            copy_forward(ht, hf, n * s.size, s.size);
            moved(&s, n, true, true);
            budget -= MIN(budget, n * s.size);
        } else {
            v = jit_load(cpu, from, s.size, s.mmu);
            jit_store(cpu, to, v, s.size, s.mmu);
            note_access(&s, from, false);
            note_access(&s, to, true);
            moved(&s, 1, true, true);
        }
        if (s.left && (!budget || out_of_budget(&s, ht ? 0 : 1))) {
            return 0;
        }
    }
    return 1;
}

static void fill(uint8_t *to, uint64_t v, size_t bytes, size_t size)
{
    if (size == 1 || v == (uint8_t)v * 0x0101010101010101ull >> (64 - size * 8)) {
        memset(to, v, bytes);
        return;
    }
    memcpy(to, &v, size);
    for (size_t done = size; done < bytes; done *= 2) {
        memcpy(to + done, to, MIN(done, bytes - done));
    }
}

static uint64_t low_bytes(uint64_t v, unsigned size)
{
    return size == 8 ? v : v & ((1ull << size * 8) - 1);
}

static uint64_t x86_h_stos(VCpu *cpu, uint64_t desc)
{
    Str s = str_begin(cpu, desc);
    uint64_t budget = STR_BUDGET, v = low_bytes(s.c->regs[R_RAX], s.size);

    while (s.left) {
        uint64_t to = element(&s, S_ES, R_RDI, true), n = run_length(&s, S_ES, R_RDI);
        uint8_t *ht = n ? jit_host_ptr(cpu, to, JIT_WRITE, s.mmu) : NULL;

        if (ht) {
            fill(ht, v, n * s.size, s.size);
            moved(&s, n, false, true);
            budget -= MIN(budget, n * s.size);
        } else {
            jit_store(cpu, to, v, s.size, s.mmu);
            note_access(&s, to, true);
            moved(&s, 1, false, true);
        }
        if (s.left && (!budget || out_of_budget(&s, ht ? 0 : 1))) {
            return 0;
        }
    }
    return 1;
}

static uint64_t x86_h_lods(VCpu *cpu, uint64_t desc)
{
    Str s = str_begin(cpu, desc);

    while (s.left) {
        uint64_t from = element(&s, s.seg, R_RSI, false), v;
        uint64_t *ax = &s.c->regs[R_RAX];

        v = jit_load(cpu, from, s.size, s.mmu);
        note_access(&s, from, false);
        *ax = s.size >= 4 ? v : (*ax & ~((1ull << s.size * 8) - 1)) | v;
        moved(&s, 1, true, false);
        if (s.left && out_of_budget(&s, 1)) {
            return 0;
        }
    }
    return 1;
}

/* The flags of a compare into the state: only at the end, for a fault on the way restores those
 * of the start. */
static void compare_flags(Str *s, uint64_t x, uint64_t y)
{
    unsigned top = s->size * 8 - 1;
    uint64_t r = low_bytes(x - y, s->size);

    s->c->cc = IRF_ONE | (r == 0 ? IRF_Z : 0) | (r >> top & 1 ? IRF_N : 0) |
               (__builtin_parity(r & 0xff) ? 0 : IRF_P) | (x < y ? IRF_C : 0) |
               ((x ^ y ^ r) & 16 ? IRF_H : 0) | ((x ^ y) & (x ^ r) & 1ull << top ? IRF_V : 0);
}

static bool stops(const Str *s, uint64_t x, uint64_t y)
{
    return (x == y) == !!(s->desc & STR_WHILE_NZ);
}

static uint64_t get(const uint8_t *p, size_t size)
{
    uint64_t v = 0;

    memcpy(&v, p, size);
    return v;
}

static uint64_t x86_h_scas(VCpu *cpu, uint64_t desc)
{
    Str s = str_begin(cpu, desc);
    uint64_t budget = STR_BUDGET, x = low_bytes(s.c->regs[R_RAX], s.size), y = 0;
    bool any = false;

    while (s.left) {
        uint64_t at = element(&s, S_ES, R_RDI, false), n = run_length(&s, S_ES, R_RDI), i;
        const uint8_t *h = n ? jit_host_ptr(cpu, at, JIT_READ, s.mmu) : NULL;
        bool stop = false;

        if (h) {
            for (i = 0; i < n && !stop; i++) {
                y = get(h + i * s.size, s.size);
                stop = stops(&s, x, y);
            }
        } else {
            y = jit_load(cpu, at, s.size, s.mmu);
            note_access(&s, at, false);
            stop = stops(&s, x, y);
            i = 1;
        }
        any = true;
        moved(&s, i, false, true);
        budget -= MIN(budget, i * s.size);
        if (stop) {
            break;
        }
        if (s.left && (!budget || out_of_budget(&s, h ? 0 : 1))) {
            compare_flags(&s, x, y);
            return 0;
        }
    }
    if (any) {
        compare_flags(&s, x, y);
    }
    return 1;
}

static uint64_t x86_h_cmps(VCpu *cpu, uint64_t desc)
{
    Str s = str_begin(cpu, desc);
    uint64_t budget = STR_BUDGET, x = 0, y = 0;
    bool any = false;

    while (s.left) {
        uint64_t from = element(&s, s.seg, R_RSI, false), at = element(&s, S_ES, R_RDI, false);
        uint64_t n = MIN(run_length(&s, s.seg, R_RSI), run_length(&s, S_ES, R_RDI)), i;
        const uint8_t *hf = n ? jit_host_ptr(cpu, from, JIT_READ, s.mmu) : NULL;
        const uint8_t *ht = hf ? jit_host_ptr(cpu, at, JIT_READ, s.mmu) : NULL;
        bool stop = false;

        if (ht) {
            for (i = 0; i < n && !stop; i++) {
                x = get(hf + i * s.size, s.size);
                y = get(ht + i * s.size, s.size);
                stop = stops(&s, x, y);
            }
        } else {
            x = jit_load(cpu, from, s.size, s.mmu);
            y = jit_load(cpu, at, s.size, s.mmu);
            note_access(&s, from, false);
            note_access(&s, at, false);
            stop = stops(&s, x, y);
            i = 1;
        }
        any = true;
        moved(&s, i, true, true);
        budget -= MIN(budget, i * s.size);
        if (stop) {
            break;
        }
        if (s.left && (!budget || out_of_budget(&s, ht ? 0 : 1))) {
            compare_flags(&s, x, y);
            return 0;
        }
    }
    if (any) {
        compare_flags(&s, x, y);
    }
    return 1;
}

static uint64_t x86_h_ins(VCpu *cpu, uint64_t desc)
{
    Str s = str_begin(cpu, desc);
    uint16_t port = s.c->regs[R_RDX];

    x86_check_io(cpu, port, s.size);
    while (s.left) {
        uint64_t to = element(&s, S_ES, R_RDI, true);

        jit_probe(cpu, to, s.size, JIT_WRITE, s.mmu); /* no port access in vain */
        jit_store(cpu, to, x86_port_in(cpu, port, s.size), s.size, s.mmu);
        note_access(&s, to, true);
        moved(&s, 1, false, true);
        if (s.left && out_of_budget(&s, 1)) {
            return 0;
        }
    }
    return 1;
}

static uint64_t x86_h_outs(VCpu *cpu, uint64_t desc)
{
    Str s = str_begin(cpu, desc);
    uint16_t port = s.c->regs[R_RDX];

    x86_check_io(cpu, port, s.size);
    while (s.left) {
        uint64_t from = element(&s, s.seg, R_RSI, false);

        x86_port_out(cpu, port, jit_load(cpu, from, s.size, s.mmu), s.size);
        note_access(&s, from, false);
        moved(&s, 1, true, false);
        if (s.left && out_of_budget(&s, 1)) {
            return 0;
        }
    }
    return 1;
}
