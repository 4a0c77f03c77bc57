/*
 * Advanced SIMD data processing of A64, executed by C: decoding and the groups of moves, tables,
 * permutes and immediates. DDI 0487 section C4.1.95. Arithmetic is in simd_arith.c.
 */
#include "target/arm64/simd_exec.h"
#include <string.h>

uint64_t simd_get(const VReg *v, unsigned size, unsigned lane)
{
    switch (size) {
    case 0:
        return v->b[lane];
    case 1:
        return v->h[lane];
    case 2:
        return v->s[lane];
    default:
        return v->d[lane];
    }
}

int64_t simd_gets(const VReg *v, unsigned size, unsigned lane)
{
    switch (size) {
    case 0:
        return v->sb[lane];
    case 1:
        return v->sh[lane];
    case 2:
        return v->ss[lane];
    default:
        return v->sd[lane];
    }
}

void simd_set(VReg *v, unsigned size, unsigned lane, uint64_t x)
{
    switch (size) {
    case 0:
        v->b[lane] = x;
        break;
    case 1:
        v->h[lane] = x;
        break;
    case 2:
        v->s[lane] = x;
        break;
    default:
        v->d[lane] = x;
    }
}

/* ---- copies ---- */

static bool copy(FpState *f, uint64_t *x, const Simd *s)
{
    unsigned imm5 = s->insn >> 16 & 31, imm4 = s->insn >> 11 & 15, size, lane;
    VReg r = {{0, 0}};
    uint64_t v;

    if (!(imm5 & 15)) {
        return false;
    }
    size = __builtin_ctz(imm5);
    lane = imm5 >> (size + 1);
    if (s->scalar) { /* DUP (element) */
        if (s->u || imm4) {
            return false;
        }
        r.d[0] = simd_get(&f->v[s->rn], size, lane);
        f->v[s->rd] = r;
        return true;
    }
    if (s->u) { /* INS (element) */
        if (!s->q) {
            return false;
        }
        v = simd_get(&f->v[s->rn], size, imm4 >> size);
        simd_set(&f->v[s->rd], size, lane, v);
        return true;
    }
    switch (imm4) {
    case 0:
    case 1:
        if (size == 3 && !s->q) {
            return false;
        }
        v = imm4 ? s->rn == 31 ? 0 : x[s->rn] : simd_get(&f->v[s->rn], size, lane);
        for (unsigned i = 0; i < lanes(s, size); i++) {
            simd_set(&r, size, i, v);
        }
        f->v[s->rd] = r;
        return true;
    case 3: /* INS (general) */
        if (!s->q) {
            return false;
        }
        simd_set(&f->v[s->rd], size, lane, s->rn == 31 ? 0 : x[s->rn]);
        return true;
    case 5: /* SMOV */
        if (size > 2 || (size == 2 && !s->q)) {
            return false;
        }
        v = (uint64_t)simd_gets(&f->v[s->rn], size, lane);
        if (s->rd != 31) {
            x[s->rd] = s->q ? v : (uint32_t)v;
        }
        return true;
    case 7: /* UMOV */
        if ((size == 3) != s->q) {
            return false;
        }
        if (s->rd != 31) {
            x[s->rd] = simd_get(&f->v[s->rn], size, lane);
        }
        return true;
    default:
        return false;
    }
}

static bool table(FpState *f, const Simd *s)
{
    unsigned n = (s->insn >> 13 & 3) + 1;
    bool tbx = s->insn >> 12 & 1;
    uint8_t src[64];
    VReg r = {{0, 0}}, idx = f->v[s->rm];

    for (unsigned i = 0; i < n; i++) {
        memcpy(src + i * 16, f->v[(s->rn + i) & 31].b, 16);
    }
    for (unsigned i = 0; i < lanes(s, 0); i++) {
        r.b[i] = idx.b[i] < n * 16 ? src[idx.b[i]] : tbx ? f->v[s->rd].b[i] : 0;
    }
    f->v[s->rd] = r;
    return true;
}

static bool permute(FpState *f, const Simd *s)
{
    unsigned op = s->insn >> 12 & 7, n = lanes(s, s->size);
    VReg a = f->v[s->rn], b = f->v[s->rm], r = {{0, 0}};
    bool second = op >> 2;

    if ((op & 3) == 0 || (s->size == 3 && !s->q)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t v;

        switch (op & 3) {
        case 1: { /* UZP */
            unsigned k = 2 * i + second;

            v = k < n ? simd_get(&a, s->size, k) : simd_get(&b, s->size, k - n);
            break;
        }
        case 2: /* TRN */
            v = simd_get(i & 1 ? &b : &a, s->size, (i & ~1u) + second);
            break;
        default: /* ZIP */
            v = simd_get(i & 1 ? &b : &a, s->size, second * n / 2 + i / 2);
        }
        simd_set(&r, s->size, i, v);
    }
    f->v[s->rd] = r;
    return true;
}

static bool extract(FpState *f, const Simd *s)
{
    unsigned pos = s->insn >> 11 & 15, n = lanes(s, 0);
    uint8_t both[32];
    VReg r = {{0, 0}};

    if (s->size || (!s->q && pos >= 8)) {
        return false;
    }
    memcpy(both, f->v[s->rn].b, n);
    memcpy(both + n, f->v[s->rm].b, n);
    memcpy(r.b, both + pos, n);
    f->v[s->rd] = r;
    return true;
}

/* AdvSIMDExpandImm() */
uint64_t a64_simd_imm(unsigned op, unsigned cmode, unsigned imm8)
{
    uint64_t v = imm8, r = 0;

    switch (cmode >> 1) {
    case 0:
    case 1:
    case 2:
    case 3:
        v <<= (cmode >> 1) * 8;
        return v | v << 32;
    case 4:
    case 5:
        v <<= (cmode >> 1 & 1) * 8;
        return v * 0x0001000100010001ull;
    case 6:
        v = cmode & 1 ? v << 16 | 0xffff : v << 8 | 0xff;
        return v | v << 32;
    default:
        if (cmode & 1) {
            if (op) {
                return a64_fp_imm(imm8, 64);
            }
            v = a64_fp_imm(imm8, 32);
            return v | v << 32;
        }
        if (!op) {
            return v * 0x0101010101010101ull;
        }
        for (unsigned i = 0; i < 8; i++) {
            r |= v >> i & 1 ? 0xffull << i * 8 : 0;
        }
        return r;
    }
}

static bool modified_imm(FpState *f, const Simd *s)
{
    unsigned cmode = s->insn >> 12 & 15, imm8 = (s->insn >> 11 & 0xe0) | (s->insn >> 5 & 31);
    bool op = s->u, o2 = s->insn >> 11 & 1;
    uint64_t v;
    VReg *d = &f->v[s->rd];

    if (o2 || (s->insn >> 19 & 31) || (cmode == 15 && op && !s->q)) {
        return false;
    }
    v = a64_simd_imm(op, cmode, imm8);
    if (cmode < 12 && cmode & 1) { /* ORR, BIC */
        d->d[0] = op ? d->d[0] & ~v : d->d[0] | v;
        d->d[1] = !s->q ? 0 : op ? d->d[1] & ~v : d->d[1] | v;
        return true;
    }
    if (op && cmode < 14) {
        v = ~v;
    }
    d->d[0] = v;
    d->d[1] = s->q ? v : 0;
    return true;
}

/* ---- dispatch ---- */

static bool group_1110(FpState *f, uint64_t *x, const Simd *s)
{
    uint32_t insn = s->insn;
    bool b21 = insn >> 21 & 1, b15 = insn >> 15 & 1, b10 = insn >> 10 & 1, b11 = insn >> 11 & 1;

    if (b21) {
        if (b10) {
            return simd_three_same(f, s);
        }
        if (!b11) {
            return simd_three_diff(f, s);
        }
        switch (insn >> 17 & 15) {
        case 0:
            return simd_two_misc(f, s);
        case 8:
            return s->scalar ? simd_pairwise(f, s) : simd_across(f, s);
        default:
            return false;
        }
    }
    if (b15) {
        return b10 && simd_three_extra(f, s);
    }
    if (b10) {
        return !s->size && copy(f, x, s);
    }
    if (s->scalar) {
        return false;
    }
    if (s->u) {
        return extract(f, s);
    }
    if (!b11) {
        return !s->size && table(f, s);
    }
    return permute(f, s);
}

bool a64_simd_exec(FpState *f, uint64_t *x, uint32_t insn)
{
    Simd s = {.insn = insn,
              .rd = insn & 31,
              .rn = insn >> 5 & 31,
              .rm = insn >> 16 & 31,
              .size = insn >> 22 & 3,
              .q = insn >> 30 & 1,
              .u = insn >> 29 & 1,
              .scalar = insn >> 28 & 1};

    if ((insn & 0x8e000000) != 0x0e000000 || (s.scalar && !s.q)) {
        return false;
    }
    if (!(insn >> 24 & 1)) {
        return group_1110(f, x, &s);
    }
    if (!(insn >> 10 & 1)) {
        return simd_by_element(f, &s);
    }
    if (insn >> 23 & 1) {
        return false;
    }
    if (insn >> 19 & 15) {
        return simd_shift_imm(f, &s);
    }
    return !s.scalar && modified_imm(f, &s);
}
