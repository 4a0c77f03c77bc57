/*
 * MMX, SSE … SHA and x87 instructions against the host CPU: every form with random operands that
 * are dense in NaNs, denormals, zeros, infinities, all rounding modes, unmasked exceptions.
 * X86_SIMD_ROUNDS=n: cases per form. X86_SIMD_SEED=n. X86_SIMD_ONLY=text: forms that contain it.
 */
#include "target/x86/simd.h"
#include "target/x86/x87.h"
#include "tests/cpu/x86-exec.h"
#include "tests/cpu/x86-native.c.inc"
#ifndef X86_EXEC_EXTERNAL
#include "tests/cpu/x86-exec.c.inc"
#endif

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- random values ---- */

static uint64_t rng;

static uint64_t rnd(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dull;
}

static unsigned below(unsigned n)
{
    return (rnd() >> 33) % n;
}

static bool one_in(unsigned n)
{
    return below(n) == 0;
}

static uint32_t rnd_f32(void)
{
    static const uint32_t pool[] = {
        0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
        0xffc00000, 0x7fa00001, 0xff812345, 0x7fc12345, 0x00000001, 0x80000001, 0x007fffff,
        0x00400000, 0x00800000, 0x80800000, 0x00800001, 0x7f7fffff, 0xff7fffff, 0x4f000000,
        0xcf000000, 0x4effffff, 0x5f000000, 0xdf000000, 0x3f000000, 0x3effffff, 0x3fc00000,
        0x40200000, 0x33800000, 0x4b000000, 0x1a000000, 0x65000000, 0x40490fdb,
    };
    uint32_t v = rnd();

    switch (below(6)) {
    case 0:
    case 1:
        return pool[below(G_N_ELEMENTS(pool))];
    case 2: /* near one */
        return (v & 0x80ffffff) | 0x3f000000;
    case 3: /* a small number of bits */
        return (v & 0xff800000) | (1u << below(23));
    default:
        return v;
    }
}

static uint64_t rnd_f64(void)
{
    static const uint64_t pool[] = {
        0,
        1ull << 63,
        0x3ff0000000000000,
        0xbff0000000000000,
        0x7ff0000000000000,
        0xfff0000000000000,
        0x7ff8000000000000,
        0xfff8000000000000,
        0x7ff4000000000001,
        0xfff0000012345678,
        0x7ff8123456789abc,
        1,
        0x8000000000000001,
        0x000fffffffffffff,
        0x0010000000000000,
        0x8010000000000000,
        0x7fefffffffffffff,
        0xffefffffffffffff,
        0x41e0000000000000,
        0xc1e0000000000000,
        0x41dfffffffe00000,
        0x43e0000000000000,
        0xc3e0000000000000,
        0x3fe0000000000000,
        0x3fdfffffffffffff,
        0x3ff8000000000000,
        0x4004000000000000,
        0x3810000000000000,
        0x380fffffffffffff,
        0x36a0000000000000,
        0x47efffffe0000000,
        0x47effffff0000000,
        0x3690000000000001,
        0x1ff0000000000000,
        0x2000000000000000,
        0x5fe0000000000000,
    };
    uint64_t v = rnd();

    switch (below(6)) {
    case 0:
    case 1:
        return pool[below(G_N_ELEMENTS(pool))];
    case 2:
        return (v & 0x801fffffffffffff) | 0x3fe0000000000000;
    case 3:
        return (v & 0xfff0000000000000) | (1ull << below(52));
    case 4: /* around the range of float */
        return (v & 0x8fffffffffffffff) | (one_in(2) ? 0x3000000000000000 : 0x4000000000000000);
    default:
        return v;
    }
}

static void rnd_f80(uint64_t *mant, uint16_t *exp)
{
    uint16_t sign = rnd() & 0x8000;

    *mant = rnd();
    *exp = sign | (rnd() & 0x7fff);
    switch (below(12)) {
    case 0:
        *mant = 0;
        *exp = sign;
        break;
    case 1: /* infinity */
        *mant = 1ull << 63;
        *exp = sign | 0x7fff;
        break;
    case 2: /* NaN */
        *mant |= one_in(2) ? 3ull << 62 : 1ull << 63;
        *exp = sign | 0x7fff;
        break;
    case 3: /* denormal, pseudo-denormal */
        *mant &= one_in(4) ? ~0ull : ~0ull >> 1;
        *mant >>= below(62);
        *exp = sign;
        break;
    case 4: /* unsupported */
        if (!one_in(4)) {
            *mant |= 1ull << 63;
        }
        break;
    case 5: /* near the ends of the range */
        *mant |= 1ull << 63;
        *exp = sign | (one_in(2) ? 1 + below(80) : 0x7ffe - below(80));
        break;
    case 6: /* around float's and double's */
        *mant |= 1ull << 63;
        *exp = sign | (16383 + (int)below(2200) - 1100);
        break;
    case 7: /* integers */
        *mant = 1ull << 63 | (rnd() << below(64) & ~0ull >> 1);
        *exp = sign | (16383 + below(66));
        break;
    default:
        *mant |= 1ull << 63;
        *exp = sign | (16383 + (int)below(40) - 20);
        break;
    }
}

/* 16 bytes: floats, doubles, integers, bytes near each other. */
static void rnd_vec(uint64_t q[2])
{
    switch (below(6)) {
    case 0:
    case 1:
        for (unsigned i = 0; i < 2; i++) {
            q[i] = rnd_f32() | (uint64_t)rnd_f32() << 32;
        }
        break;
    case 2:
    case 3:
        q[0] = rnd_f64();
        q[1] = rnd_f64();
        break;
    case 4: /* text with zero bytes, for string compares */
        for (unsigned i = 0; i < 16; i++) {
            ((uint8_t *)q)[i] = one_in(12) ? 0 : 'a' + below(3);
        }
        break;
    default:
        q[0] = rnd();
        q[1] = rnd();
        if (one_in(3)) { /* small shift count */
            q[0] &= 127;
            q[1] = 0;
        }
        break;
    }
}

static void rnd_x87(X86NFx *fx, bool unmasked)
{
    fx->fcw = 0x340 | (rnd() & 0xc3f);
    if (one_in(3)) {
        fx->fcw = (fx->fcw & ~0x300) | (below(4) << 8);
    }
    if (!unmasked) {
        fx->fcw |= 0x3f;
    }
    fx->fsw = rnd() & 0x7f7f;
    if (!one_in(8)) {
        fx->fsw &= ~(~fx->fcw & 0x3f); /* nothing pending */
    }
    if (one_in(2)) {
        fx->fsw &= ~0x7f;
    }
    if (fx->fsw & ~fx->fcw & 0x3f) {
        fx->fsw |= 0x8080;
    }
    fx->ftw = one_in(3) ? rnd() : 0xff;
    if (one_in(2)) { /* room for a load */
        fx->ftw &= ~(1 << (((fx->fsw >> 11) + 7) & 7));
    }
    for (unsigned i = 0; i < 8; i++) {
        memset(&fx->st[i], 0, 16);
        rnd_f80(&fx->st[i].mant, &fx->st[i].exp);
    }
    if (one_in(3)) { /* alike: for comparisons, cancellation */
        fx->st[1] = fx->st[0];
        fx->st[1].mant ^= below(3);
    }
    fx->fip = 0x123456;
    fx->fdp = 0x654321;
}

static void rnd_state(X86NState *s)
{
    bool unmasked = one_in(4);

    memset(s, 0, sizeof *s);
    for (unsigned i = 0; i < 16; i++) {
        s->gpr[i] = one_in(3) ? below(40) - 20ull : rnd();
    }
    s->gpr[4] = X86N_STACK;
    s->gpr[7] = X86N_OPERAND;
    s->rflags = 0x202 | (rnd() & 0x8d5);
    rnd_x87(&s->fx, unmasked);
    if (one_in(4)) { /* MMX state */
        for (unsigned i = 0; i < 8; i++) {
            s->fx.st[i].exp = 0xffff;
        }
    }
    s->fx.mxcsr = 0x1f80 | (rnd() & 0x6000) | (rnd() & 0x3f);
    s->fx.mxcsr |= one_in(3) ? rnd() & 0x8040 : 0;
    if (one_in(2)) {
        s->fx.mxcsr &= ~0x3f;
    }
    if (one_in(4)) {
        s->fx.mxcsr &= ~(rnd() & 0x1f80);
    }
    for (unsigned i = 0; i < 16; i++) {
        rnd_vec(s->fx.xmm[i].q);
    }
    s->trap = -1;
}

/* ---- instruction forms ---- */

typedef enum { K_TABLE, K_X87, K_GRP15, K_XSAVE, K_OTHER, K_SEQUENCE } Kind;

typedef struct Form {
    Kind kind;
    uint8_t map, op, pfx; /* pfx 0…3: none, 66, F3, F2 */
    int reg;              /* ModRM.reg & 7 that it needs, or -1 */
    int mem;              /* 1 memory only, 0 register only, -1 both */
    bool imm;
    uint8_t rm; /* ModRM for K_X87 register forms */
    const SimdOp *o;
    char name[40];
} Form;

static bool form_has_imm(const SimdOp *o)
{
    switch (o->form) {
    case SF_SHIFTI:
    case SF_PEXTR:
    case SF_PEXTRW:
    case SF_PINSR:
    case SF_INSERTPS:
    case SF_PCMPSTR:
    case SF_M_SHIFTI:
    case SF_M_PEXTRW:
    case SF_M_PINSRW:
    case SF_M_ALIGNR:
        return true;
    case SF_V:
    case SF_M_V:
        return x86_vop_flags(o->vop) & IRVF_IMM;
    default:
        return false;
    }
}

static GArray *make_forms(void)
{
    GArray *a = g_array_new(false, true, sizeof(Form));

    for (unsigned map = 1; map <= 3; map++) {
        for (unsigned op = 0; op < 256; op++) {
            for (unsigned pfx = 0; pfx < 4; pfx++) {
                const SimdOp *o = x86_simd_lookup(map, op, pfx);
                if (o) {
                    Form f = {K_TABLE, map, op, pfx, -1, -1, form_has_imm(o), 0, o, ""};
                    g_snprintf(f.name, sizeof f.name, "map%u/%02x/%s", map, op,
                               (const char *[]){"np", "66", "f3", "f2"}[pfx]);
                    g_array_append_val(a, f);
                }
            }
        }
    }
    for (unsigned op = 0xd8; op <= 0xdf; op++) {
        for (unsigned n = 0; n < 8; n++) {
            Form f = {K_X87, 0, op, 0, n, 1, false, 0, NULL, ""};
            g_snprintf(f.name, sizeof f.name, "x87/%02x/m%u", op, n);
            g_array_append_val(a, f);
        }
        for (unsigned rm = 0xc0; rm < 0x100; rm++) {
            Form f = {K_X87, 0, op, 0, -1, 0, false, rm, NULL, ""};
            g_snprintf(f.name, sizeof f.name, "x87/%02x/%02x", op, rm);
            g_array_append_val(a, f);
        }
    }
    for (unsigned n = 0; n < 4; n++) {
        Form f = {K_GRP15, 1, 0xae, 0, n, 1, false, 0, NULL, ""};
        g_snprintf(f.name, sizeof f.name, "grp15/m%u", n);
        g_array_append_val(a, f);
    }
    {
        static const Form others[] = {
            {K_XSAVE, 1, 0xae, 0, 4, 1, false, 0, NULL, "xsave"},
            {K_XSAVE, 1, 0xae, 0, 5, 1, false, 0, NULL, "xrstor"},
            {K_XSAVE, 1, 0xae, 0, 6, 1, false, 0, NULL, "xsaveopt"},
            {K_XSAVE, 1, 0xc7, 0, 4, 1, false, 0, NULL, "xsavec"},
            {K_OTHER, 0, 0x9b, 0, -1, 2, false, 0, NULL, "fwait"},
            {K_OTHER, 1, 0x77, 0, -1, 2, false, 0, NULL, "emms"},
            {K_OTHER, 1, 0xc3, 0, -1, -1, false, 0, NULL, "movnti"},
            {K_OTHER, 1, 0x18, 0, -1, -1, false, 0, NULL, "prefetch"},
            {K_OTHER, 1, 0x0d, 0, -1, 1, false, 0, NULL, "prefetchw"},
            {K_OTHER, 1, 0xae, 0, 5, 0, false, 0, NULL, "lfence"},
            {K_OTHER, 1, 0xae, 0, 6, 0, false, 0, NULL, "mfence"},
            {K_OTHER, 1, 0xae, 0, 7, 0, false, 0, NULL, "sfence"},
            {K_OTHER, 1, 0xae, 0, 7, 1, false, 0, NULL, "clflush"},
            {K_OTHER, 1, 0xae, 1, 7, 1, false, 0, NULL, "clflushopt"},
            {K_OTHER, 1, 0xae, 1, 6, 1, false, 0, NULL, "clwb"},
        };
        g_array_append_vals(a, others, G_N_ELEMENTS(others));
    }
    return a;
}

/* Bytes of one instance. */
static unsigned encode(const Form *f, uint8_t *p, uint8_t *disp_out)
{
    uint8_t *start = p, rex = 0x40, modrm;
    bool mem = f->mem == 1 || (f->mem == -1 && one_in(2));
    unsigned reg = f->reg >= 0 ? f->reg : below(8);
    uint8_t disp = one_in(4) ? below(64) : below(4) * 16;

    if (f->pfx) {
        *p++ = (const uint8_t[]){0, 0x66, 0xf3, 0xf2}[f->pfx];
    }
    if (f->kind == K_X87 && f->mem == 1 && one_in(8)) {
        *p++ = 0x66;
    }
    rex |= one_in(3) ? 8 : 0;
    rex |= f->kind != K_X87 && one_in(2) ? 4 : 0;
    rex |= !mem && one_in(2) ? 1 : 0;
    if ((f->kind == K_GRP15 || f->kind == K_XSAVE) && !one_in(4)) {
        rex |= 8;
    }
    if (rex != 0x40 || one_in(8)) {
        *p++ = rex;
    }
    if (f->map) {
        *p++ = 0x0f;
    }
    if (f->map >= 2) {
        *p++ = f->map == 2 ? 0x38 : 0x3a;
    }
    *p++ = f->op;
    *disp_out = 0;
    if (f->kind == K_XSAVE && !one_in(8)) {
        disp = 0; /* the operand is 64-byte aligned */
    }
    if (f->o && f->o->ext == XF_SHA) {
        disp &= 0x30; /* AMD CPUs do not insist on alignment here */
    }
    if (f->mem != 2) {
        modrm = mem ? 0x47 | reg << 3 : f->rm ? f->rm : 0xc0 | reg << 3 | below(8);
        *p++ = modrm;
        if (mem) {
            *p++ = disp;
            *disp_out = disp;
        }
    }
    if (f->imm) {
        *p++ = rnd();
    }
    return p - start;
}

/* ---- comparison ---- */

/* Does it set the x87 instruction pointer (and with a memory operand, the data pointer)? */
static bool sets_pointers(const Form *f)
{
    if (f->kind != K_X87) {
        return false;
    }
    if (f->mem == 1) {
        return !(f->op == 0xd9 && f->reg >= 4) && !(f->op == 0xdd && f->reg >= 4);
    }
    return !(f->op == 0xdb && (f->rm & 0xf8) == 0xe0) && !(f->op == 0xdf && f->rm == 0xe0);
}

/* FCOMI and its kin: Intel CPUs clear C1, AMD CPUs leave it alone. */
static bool is_comi(const Form *f)
{
    if (f->kind == K_SEQUENCE) {
        return true;
    }
    return f->kind == K_X87 && f->mem == 0 && (f->op == 0xdb || f->op == 0xdf) && f->rm >= 0xe8 &&
           f->rm < 0xf8;
}

/* Flags after #XM that are not modelled: PE with unmasked overflow or underflow says whether the
 * result would be inexact with unbounded exponent. */
static uint32_t unsure_mxcsr(const Form *f, const X86NState *n)
{
    if (n->trap != 19) {
        return 0;
    }
    if (f->kind == K_SEQUENCE) {
        return 0x3f;
    }
    return (n->fx.mxcsr & 0xc00) == 0xc00 ? 0 : 0x20;
}

static void diff_state(const Form *f, const X86NState *n, const X86NState *e, GString *why)
{
    if (n->trap != e->trap) {
        g_string_append_printf(why, " trap %d, got %d;", n->trap, e->trap);
    }
    if (n->rip != e->rip) {
        g_string_append_printf(why, " rip %lx, got %lx;", n->rip, e->rip);
    }
    for (unsigned i = 0; i < 16; i++) {
        if (n->gpr[i] != e->gpr[i]) {
            g_string_append_printf(why, " r%u %016lx, got %016lx;", i, n->gpr[i], e->gpr[i]);
        }
        if (memcmp(&n->fx.xmm[i], &e->fx.xmm[i], 16)) {
            g_string_append_printf(why, " xmm%u %016lx:%016lx, got %016lx:%016lx;", i,
                                   n->fx.xmm[i].q[1], n->fx.xmm[i].q[0], e->fx.xmm[i].q[1],
                                   e->fx.xmm[i].q[0]);
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        if (memcmp(&n->fx.st[i], &e->fx.st[i], 10)) {
            g_string_append_printf(why, " st%u %04x:%016lx, got %04x:%016lx;", i, n->fx.st[i].exp,
                                   n->fx.st[i].mant, e->fx.st[i].exp, e->fx.st[i].mant);
        }
    }
#define W(f, mask)                                                                                 \
    if ((n->f & (mask)) != (e->f & (mask))) {                                                      \
        g_string_append_printf(why, " " #f " %lx, got %lx;", (uint64_t)n->f, (uint64_t)e->f);      \
    }
    W(rflags, 0x8d5);
    W(fx.mxcsr, 0xffff & ~unsure_mxcsr(f, n));
    W(fx.fcw, 0xffff);
    W(fx.fsw, is_comi(f) ? 0xfdff : 0xffff);
    W(fx.ftw, 0xff);
    /* On AMD hosts a context switch clears the pointers. */
    if (n->trap < 0 && sets_pointers(f) && n->fx.fip) {
        W(fx.fip, ~0ull);
        if (f->mem == 1) {
            W(fx.fdp, ~0ull);
        }
    }
#undef W
}

static void describe(const Form *f, const uint8_t *code, unsigned len, const X86NState *in,
                     const uint8_t *mem, const char *exec, const char *why)
{
    g_autoptr(GString) s = g_string_new(NULL);

    for (unsigned i = 0; i < len; i++) {
        g_string_append_printf(s, "%02x ", code[i]);
    }
    g_print("# %s %s: %s:%s\n", exec, f->name, s->str, why);
    g_print("#   mxcsr %x fcw %x fsw %x ftw %x flags %lx rax %lx rdx %lx\n", in->fx.mxcsr,
            in->fx.fcw, in->fx.fsw, in->fx.ftw, in->rflags, in->gpr[0], in->gpr[2]);
    for (unsigned i = 0; i < 8; i++) {
        g_print("#   xmm%u %016lx:%016lx st%u %04x:%016lx mem+%02x %016lx:%016lx\n", i,
                in->fx.xmm[i].q[1], in->fx.xmm[i].q[0], i, in->fx.st[i].exp, in->fx.st[i].mant,
                i * 16, ((uint64_t *)mem)[i * 2 + 1], ((uint64_t *)mem)[i * 2]);
    }
}

/* Images in memory whose reserved parts differ among CPUs. */
static void normalise_mem(const Form *f, const uint8_t *code, uint8_t *mem, unsigned disp)
{
    uint8_t *p = mem + (X86N_OPERAND - X86N_DATA) + disp;
    bool env = f->kind == K_X87 && f->mem == 1 && f->reg == 6 && (f->op == 0xd9 || f->op == 0xdd);

    if ((f->kind == K_GRP15 && f->reg == 0) || f->kind == K_XSAVE) {
        memset(p + 6, 0, 18);   /* FOP, FIP, FDP: AMD CPUs save them only after exceptions */
        memset(p + 28, 0, 4);   /* MXCSR_MASK */
        memset(p + 416, 0, 96); /* reserved and available */
    } else if (env && (code[0] != 0x66 || (code[1] & 0xf8) == 0x48)) {
        memset(p + 12, 0, 16); /* pointers: see diff_state() */
    } else if (env) {
        memset(p + 6, 0, 8);
    }
}

static void fill_mem(const Form *f, uint8_t *mem, unsigned disp)
{
    uint64_t q[2];
    X86NState s;

    for (unsigned i = 0; i < X86N_DATA_SIZE; i += 16) {
        rnd_vec(q);
        memcpy(mem + i, q, 16);
    }
    mem += X86N_OPERAND - X86N_DATA;
    if (f->kind == K_SEQUENCE) {
        rnd_state(&s);
        memcpy(mem + 0x70, &s.fx.mxcsr, 4);
        memcpy(mem + 0x74, &s.fx.fcw, 2);
    } else if (f->kind == K_GRP15) {
        rnd_state(&s);
        memcpy(mem + disp, &s.fx, 512);
        if (f->reg == 2) {
            uint32_t v = one_in(8) ? rnd() & ~(1u << 17) : s.fx.mxcsr; /* 17: MM of AMD CPUs */
            memcpy(mem + disp, &v, 4);
        }
    } else if (f->kind == K_XSAVE) {
        uint64_t header[8] = {rnd() & 3};
        rnd_state(&s);
        memcpy(mem, &s.fx, 512);
        if (one_in(3)) { /* compact form */
            header[1] = 1ull << 63 | (header[0] | (rnd() & 3));
        }
        if (one_in(6)) { /* a bit that must not be set */
            unsigned i = below(8);
            header[i] |= 1ull << (i < 2 ? 20 + below(40) : below(64));
        }
        if (one_in(8)) {
            ((X86NFx *)mem)->mxcsr = rnd();
        }
        memcpy(mem + 512, header, sizeof header);
    } else if (f->kind == K_X87) {
        uint64_t mant;
        uint16_t exp;
        rnd_f80(&mant, &exp);
        if (f->op == 0xdb && f->reg == 5) {
            memcpy(mem + disp, &mant, 8);
            memcpy(mem + disp + 8, &exp, 2);
        } else if (f->op == 0xdf && f->reg == 4) { /* digits */
            for (unsigned i = 0; i < 9; i++) {
                mem[disp + i] = below(10) << 4 | below(10);
            }
            mem[disp + 9] = rnd() & 0x80;
        }
    }
}

typedef struct Totals {
    unsigned forms, cases, bad, traps;
} Totals;

/* Some code, with some different states. False: a mismatch, which was described. */
static bool run_code(const Form *f, const X86Exec *x, const uint8_t *code, unsigned len,
                     unsigned disp, unsigned n, Totals *tot)
{
    static X86NState in, nat, emu;
    static uint8_t before[X86N_DATA_SIZE], after[X86N_DATA_SIZE], got[X86N_DATA_SIZE];
    uint8_t *mem = (uint8_t *)X86N_DATA;
    g_autoptr(GString) why = g_string_new(NULL);
    uint64_t at = x86n_place(code, len);

    for (; n; n--) {
        rnd_state(&in);
        if (f->kind == K_XSAVE) { /* the host has more components than the guest */
            in.gpr[0] &= 3;
            in.gpr[2] = 0;
        }
        fill_mem(f, mem, disp);
        memcpy(before, mem, sizeof before);
        x86n_run(at, &in, &nat);
        memcpy(after, mem, sizeof after);
        memcpy(mem, before, sizeof before);
        if (f->kind == K_SEQUENCE && nat.gpr[7] != in.gpr[7]) {
            continue; /* it lost its address: what is there differs */
        }
        x->run(at, len, &in, &emu);
        memcpy(got, mem, sizeof got);
        tot->cases++;
        tot->traps += nat.trap >= 0;
        normalise_mem(f, code, after, disp);
        normalise_mem(f, code, got, disp);
        diff_state(f, &nat, &emu, why);
        for (unsigned i = 0; i < sizeof got; i++) {
            if (after[i] != got[i]) {
                g_string_append_printf(why, " mem[%d] %02x, got %02x;",
                                       (int)(i - (X86N_OPERAND - X86N_DATA)), after[i], got[i]);
            }
        }
        if (why->len) {
            describe(f, code, len, &in, before + (X86N_OPERAND - X86N_DATA), x->name, why->str);
            return false;
        }
    }
    return true;
}

/* One random encoding of a form. */
static bool run_cases(const Form *f, const X86Exec *x, unsigned n, Totals *tot)
{
    uint8_t code[16], disp;
    unsigned len = encode(f, code, &disp);

    return run_code(f, x, code, len, disp, n, tot);
}

static void test_forms(gconstpointer arg)
{
    const X86Exec *x = arg;
    GArray *forms = make_forms();
    const char *rounds_text = g_getenv("X86_SIMD_ROUNDS"), *only = g_getenv("X86_SIMD_ONLY");
    unsigned rounds = rounds_text ? atoi(rounds_text) : x->rounds;
    Totals tot = {0};

    for (unsigned i = 0; i < forms->len; i++) {
        const Form *f = &g_array_index(forms, Form, i);
        unsigned bad = 0;

        if (only && !strstr(f->name, only)) {
            continue;
        }
        tot.forms++;
        for (unsigned r = 0; r < rounds && bad < 3; r += 4) {
            bad += !run_cases(f, x, 4, &tot);
        }
        tot.bad += bad > 0;
    }
    g_test_message("%s: %u forms, %u cases, %u traps, %u bad forms", x->name, tot.forms, tot.cases,
                   tot.traps, tot.bad);
    g_array_free(forms, true);
    g_assert_cmpuint(tot.bad, ==, 0);
}

/* ---- arbitrary encodings: what is undefined, which prefixes count ---- */

static bool fuzzed_opcode(unsigned map, unsigned op)
{
    switch (map) {
    case 1:
        /* 78, 79: SSE4A; 0F FF is UD0; 77 is EMMS only without prefix */
        return (op >= 0x10 && op <= 0x17) || (op >= 0x28 && op <= 0x2f && op != 0x2b) ||
               (op >= 0x50 && op <= 0x7f && op != 0x77 && op != 0x78 && op != 0x79) ||
               (op >= 0xc2 && op <= 0xc6) || (op >= 0xd0 && op < 0xff);
    case 2: /* CF: GFNI; 80…82: VMX */
        return op < 0x80 || (op >= 0xc8 && op < 0xcf) || (op >= 0xd0 && op < 0xe0);
    default: /* CE, CF: GFNI */
        return op != 0xce && op != 0xcf;
    }
}

static void test_encodings(gconstpointer arg)
{
    static X86NState in, nat, emu;
    static uint8_t before[X86N_DATA_SIZE], after[X86N_DATA_SIZE];
    const X86Exec *x = arg;
    uint8_t *mem = (uint8_t *)X86N_DATA;
    g_autoptr(GString) why = g_string_new(NULL);
    Form f = {K_OTHER, .name = "any"};
    unsigned bad = 0, defined = 0, n = x->rounds * 300;
    uint64_t at;

    for (unsigned i = 0; i < n && bad < 20; i++) {
        uint8_t code[16], *p = code;
        unsigned map = 1 + below(3), op = rnd() & 0xff;

        while (!fuzzed_opcode(map, op)) {
            op = rnd() & 0xff;
        }
        for (unsigned k = below(3); k; k--) {
            *p++ = (const uint8_t[]){0x66, 0xf2, 0xf3, 0x66, 0xf3, 0x2e}[below(6)];
        }
        if (one_in(2)) {
            *p++ = 0x40 | (rnd() & 0xe);
        }
        *p++ = 0x0f;
        if (map > 1) {
            *p++ = map == 2 ? 0x38 : 0x3a;
        }
        *p++ = op;
        *p++ = one_in(2) ? 0xc0 | (rnd() & 0x3f) : 0x07 | (rnd() & 0x38);
        *p++ = 0x90; /* an immediate, or NOP */
        rnd_state(&in);
        in.gpr[0] = X86N_OPERAND;
        fill_mem(&f, mem, 0);
        memcpy(before, mem, sizeof before);
        at = x86n_place(code, p - code);
        x86n_run(at, &in, &nat);
        memcpy(after, mem, sizeof after);
        memcpy(mem, before, sizeof before);
        x->run(at, p - code, &in, &emu);
        defined += nat.trap != 6;
        if ((nat.trap == 6) != (emu.trap == 6)) {
            g_string_printf(why, " trap %d, got %d", nat.trap, emu.trap);
            describe(&f, code, p - code, &in, before + 0x800, x->name, why->str);
            bad++;
        }
        memcpy(mem, before, sizeof before);
    }
    g_test_message("%s: %u encodings, %u defined", x->name, n, defined);
    g_assert_cmpuint(bad, ==, 0);
    g_assert_cmpuint(defined, >, n / 10);
}

/* ---- several instructions in one block ---- */

static bool in_sequences(const Form *f)
{
    bool env = f->mem == 1 && f->reg >= 4 && (f->op == 0xd9 || f->op == 0xdd);

    if (f->kind == K_X87 && f->op == 0xdf && f->rm == 0xe0) {
        return false; /* FNSTSW AX: would show C1 of FCOMI, see is_comi() */
    }
    return f->kind == K_TABLE || (f->kind == K_X87 && !env) ||
           (f->kind == K_GRP15 && f->reg == 3) || (f->kind == K_OTHER && f->op != 0xae);
}

static void test_sequences(gconstpointer arg)
{
    const X86Exec *x = arg;
    GArray *forms = make_forms();
    Form seq = {K_SEQUENCE, .name = "sequence"};
    Totals tot = {0};
    unsigned bad = 0, ok;

    for (unsigned i = 0; i < x->rounds * 100 && bad < 5; i++) {
        uint8_t code[128], disp;
        unsigned len = 0, mix = below(4);

        for (unsigned k = 2 + below(7); k;) {
            const Form *f = &g_array_index(forms, Form, below(forms->len));
            /* mostly one kind, so that state goes from one instruction to the next */
            bool want = mix == 0   ? f->kind == K_X87
                        : mix == 1 ? f->kind == K_TABLE && f->o->form >= SF_M_V
                        : mix == 2 ? f->kind == K_TABLE && f->o->form < SF_M_V
                                   : true;
            if (one_in(200)) { /* ldmxcsr 0x70(%rdi), fldcw 0x74(%rdi) */
                memcpy(code + len, one_in(2) ? "\x0f\xae\x57\x70" : "\x40\xd9\x6f\x74", 4);
                len += 4;
                k--;
            } else if (in_sequences(f) && want) {
                len += encode(f, code + len, &disp);
                k--;
            }
        }
        ok = run_code(&seq, x, code, len, 0, 4, &tot);
        bad += !ok;
    }
    g_test_message("%s: %u sequences, %u traps", x->name, tot.cases, tot.traps);
    g_array_free(forms, true);
    g_assert_cmpuint(bad, ==, 0);
}

#ifndef X86_EXEC_EXTERNAL
/* Environments in the real-address formats: SDM volume 1 figures 8-10 and 8-12. */
static void test_real_env(void)
{
    static const uint16_t want16[7] = {0x37f, 0x3800, 0xffff, 0xcf04, 0xa5a5, 0x6788, 0x1000};
    static const uint32_t want32[7] = {0xffff037f, 0xffff3800, 0xffffffff, 0xffffcf04,
                                       0x0000a5a5, 0xffff6788, 0x00001000};
    typedef void Fn(VCpu *, uint64_t, uint64_t);
    X86Guest *g = exec_guest(NULL);
    X86GState s = {.rip = X86N_CODE, .rflags = 0x202};
    X86Cpu *c = x86g_cpu(g);
    uint8_t *p = x86g_ram(g) + X86N_OPERAND;

    memcpy(x86g_ram(g) + X86N_CODE, "\xcd\x81", 2);
    x86g_run(g, 64, &s); /* this thread is the vCPU's now */
    for (unsigned fmt = FE_REAL; fmt <= (FE_REAL | FE_16); fmt++) {
        x86_fpu_init(c);
        c->ftop = 7;
        c->fip = 0x1234;
        c->fcs = 0xabcd;
        c->fdp = 0x5678;
        c->fds = 0x1111;
        c->fop = 0x5a5;
        ((Fn *)x86_hd_fnstenv.fn)(&c->vcpu, X86N_OPERAND, fmt);
        g_assert_cmpmem(p, fmt & FE_16 ? 14 : 28, fmt & FE_16 ? (void *)want16 : (void *)want32,
                        fmt & FE_16 ? 14 : 28);
        x86_fpu_init(c);
        ((Fn *)x86_hd_fldenv.fn)(&c->vcpu, X86N_OPERAND, fmt);
        g_assert_cmphex(c->ftop, ==, 7);
        g_assert_cmphex(c->fip, ==, 0xacf04);
        g_assert_cmphex(c->fdp, ==, 0x16788);
        g_assert_cmphex(c->fop, ==, 0x5a5);
    }
    x86g_free(g);
}
#endif

int main(int argc, char **argv)
{
    const char *seed = getenv("X86_SIMD_SEED");

    g_test_init(&argc, &argv, NULL);
    rng = 0x9e3779b97f4a7c15ull + (seed ? strtoull(seed, NULL, 0) : 0);
    x86n_init();
    for (const X86Exec *const *x = x86_execs(); *x; x++) {
        g_autofree char *path = g_strdup_printf("/x86/simd/%s", (*x)->name);
        g_autofree char *path2 = g_strdup_printf("/x86/simd/encodings/%s", (*x)->name);
        g_test_add_data_func(path, *x, test_forms);
        g_test_add_data_func(path2, *x, test_encodings);
        g_autofree char *path3 = g_strdup_printf("/x86/simd/sequences/%s", (*x)->name);
        g_test_add_data_func(path3, *x, test_sequences);
    }
#ifndef X86_EXEC_EXTERNAL
    g_test_add_func("/x86/simd/real-env", test_real_env);
#endif
    return g_test_run();
}
