/* Values and registers: see gen.h. */
#include "accel/jit/host/x86_64/gen.h"
#include <string.h>

/* Where temporaries live, in order of preference. rcx and rdx are the emitter's own. */
static const uint8_t temp_regs[] = {R10, R11, RAX};
#define N_TEMPS 3
#define N_XMM 14

uint32_t ra_new_vn(JitGen *g)
{
    return ++g->next_vn;
}

void ra_begin(JitGen *g)
{
    const IrBlock *b = g->b;

    for (unsigned i = 0; i < b->n_vals; i++) {
        const IrValInfo *in = &b->vals[i];
        Val *v = &g->v[i];

        *v = (Val){.kind = in->kind,
                   .type = in->type,
                   .reg = -1,
                   .slot = -1,
                   .last_use = g->live.last_use[i],
                   .vn = i + 1,
                   .imm = in->imm};
        if (in->kind == IRV_CONST) {
            v->zext = in->imm <= UINT32_MAX;
        }
        if (in->kind == IRV_GLOBAL) {
            v->off = g->t->globals[in->global].off;
            v->defined = true;
            v->pinned = g->pinned[in->global];
            v->reg = v->pinned ? g->pin_reg[in->global] : -1;
            v->zext = in->type == IR_I32;
        }
    }
    g->next_vn = b->n_vals + 1;
    memset(g->reg_val, 0, sizeof g->reg_val);
    memset(g->xmm_val, 0, sizeof g->xmm_val);
    memset(g->slot_val, 0, sizeof g->slot_val);
    memset(g->vslot_val, 0, sizeof g->vslot_val);
    g->n_lazies = 0;
    g->locked = g->xmm_locked = 0;
    g->hf.valid = false;
}

/* Is the value needed after or by this instruction? Globals and constants count as not needed:
 * they have another home. */
static bool needed(JitGen *g, IrVal v)
{
    return g->v[v].kind >= IRV_TEMP && g->v[v].last_use >= g->pos;
}

/* ---- slots ---- */

static int slot_of(JitGen *g, IrVal v)
{
    Val *x = &g->v[v];

    if (x->slot >= 0) {
        return x->slot;
    }
    if (x->type == IR_V128) {
        for (unsigned i = 0; i < G_N_VSLOTS; i++) {
            if (!g->vslot_val[i] || !needed(g, g->vslot_val[i])) {
                if (g->vslot_val[i]) {
                    g->v[g->vslot_val[i]].slot = -1;
                }
                g->vslot_val[i] = v;
                x->slot = i;
                return i;
            }
        }
    } else {
        for (unsigned i = 0; i < G_N_SLOTS; i++) {
            if (!g->slot_val[i] || !needed(g, g->slot_val[i])) {
                if (g->slot_val[i]) {
                    g->v[g->slot_val[i]].slot = -1;
                    g->v[g->slot_val[i]].slot_ok = false;
                }
                g->slot_val[i] = v;
                x->slot = i;
                return i;
            }
        }
    }
    g->fail = true;
    x->slot = 0;
    return 0;
}

static int32_t slot_off(JitGen *g, IrVal v)
{
    int s = slot_of(g, v);

    return g->v[v].type == IR_V128 ? G_F_VSLOTS + s * 16 : G_F_SLOTS + s * 8;
}

/* The register's value is (also) in its slot afterwards. */
static void save(JitGen *g, IrVal v)
{
    Val *x = &g->v[v];
    int32_t off;

    if (x->slot_ok) {
        return;
    }
    off = slot_off(g, v);
    if (x->type == IR_V128) {
        x_rm(&g->a, X0F | 0x29, x->reg, RSP, off);
    } else {
        x_store(&g->a, true, RSP, off, x->reg);
    }
    x->slot_ok = true;
}

/* ---- registers ---- */

/* Load a global from the state. The flags word is stored as 16 bits by blocks: loading just those
 * lets the host forward the store. */
static void load_global(JitGen *g, int reg, const Val *x, bool wide)
{
    if (x->off == g->cc_off && x->type == IR_I32) {
        x_rm(&g->a, X0F | 0xb7, reg, R14, x->off);
    } else {
        x_load(&g->a, wide && x->type == IR_I64, reg, R14, x->off);
    }
}

static void drop(JitGen *g, int reg)
{
    IrVal v = g->reg_val[reg];

    if (v) {
        g->v[v].reg = -1;
        g->reg_val[reg] = 0;
    }
}

static void drop_x(JitGen *g, int xmm)
{
    IrVal v = g->xmm_val[xmm];

    if (v) {
        g->v[v].reg = -1;
        g->xmm_val[xmm] = 0;
    }
}

static void own(JitGen *g, IrVal v, int reg)
{
    Val *x = &g->v[v];

    if (x->reg >= 0 && x->reg != reg && g->reg_val[x->reg] == v) {
        g->reg_val[x->reg] = 0;
    }
    if (g->reg_val[reg] && g->reg_val[reg] != v) {
        drop(g, reg);
    }
    g->reg_val[reg] = v;
    x->reg = reg;
}

static void own_x(JitGen *g, IrVal v, int xmm)
{
    Val *x = &g->v[v];

    if (x->reg >= 0 && x->reg != xmm && g->xmm_val[x->reg] == v) {
        g->xmm_val[x->reg] = 0;
    }
    if (g->xmm_val[xmm] && g->xmm_val[xmm] != v) {
        drop_x(g, xmm);
    }
    g->xmm_val[xmm] = v;
    x->reg = xmm;
}

static void evict(JitGen *g, int reg)
{
    IrVal v = g->reg_val[reg];

    if (v && needed(g, v)) {
        save(g, v);
    }
    drop(g, reg);
}

static int find_reg(JitGen *g, bool may_evict)
{
    int best = -1, best_cost = 1 << 30;

    for (unsigned i = 0; i < N_TEMPS; i++) {
        int r = temp_regs[i], cost;
        IrVal v = g->reg_val[r];

        if (g->locked & 1u << r) {
            continue;
        }
        if (!v || (g->v[v].kind >= IRV_TEMP && !needed(g, v))) {
            drop(g, r);
            return r;
        }
        cost = g->v[v].last_use <= g->pos ? 1 : needed(g, v) && !g->v[v].slot_ok ? 3 : 2;
        cost = (cost << 16) - g->v[v].last_use;
        if (cost < best_cost) {
            best_cost = cost;
            best = r;
        }
    }
    if (best < 0 || (!may_evict && best_cost > 2 << 16)) {
        return -1;
    }
    evict(g, best);
    return best;
}

int ra_alloc(JitGen *g)
{
    int r = find_reg(g, true);

    if (r < 0) {
        /* All locked: an operation with too many operands in registers is a bug. */
        g_assert_not_reached();
    }
    ra_lock(g, r);
    return r;
}

void ra_take(JitGen *g, int reg)
{
    IrVal v = g->reg_val[reg];

    if (v && needed(g, v)) {
        /* Prefer another free register to a store. */
        for (unsigned i = 0; i < N_TEMPS; i++) {
            int r = temp_regs[i];

            if (r != reg && !(g->locked & 1u << r) && !g->reg_val[r]) {
                x_mov_rr(&g->a, true, r, reg);
                own(g, v, r);
                g->reg_val[reg] = 0;
                ra_lock(g, reg);
                return;
            }
        }
    }
    evict(g, reg);
    ra_lock(g, reg);
}

int ra_alloc_x(JitGen *g)
{
    int best = -1, best_cost = 1 << 30;

    for (int r = 0; r < N_XMM; r++) {
        IrVal v = g->xmm_val[r];
        int cost;

        if (g->xmm_locked & 1u << r) {
            continue;
        }
        if (!v || (g->v[v].kind >= IRV_TEMP && !needed(g, v))) {
            best = r;
            break;
        }
        cost = needed(g, v) && !g->v[v].slot_ok ? 2 : 1;
        cost = (cost << 16) - g->v[v].last_use;
        if (cost < best_cost) {
            best_cost = cost;
            best = r;
        }
    }
    g_assert(best >= 0);
    if (g->xmm_val[best] && needed(g, g->xmm_val[best])) {
        save(g, g->xmm_val[best]);
    }
    drop_x(g, best);
    g->xmm_locked |= 1u << best;
    return best;
}

IrVal ra_root(JitGen *g, IrVal v)
{
    while (g->v[v].lazy && !g->v[v].index && !g->v[v].disp && g->v[v].base) {
        v = g->v[v].base;
    }
    return v;
}

bool ra_const(JitGen *g, IrVal v, uint64_t *k)
{
    v = ra_root(g, v);
    if (g->v[v].kind != IRV_CONST) {
        return false;
    }
    *k = g->v[v].imm;
    return true;
}

bool ra_imm32(JitGen *g, IrVal v, unsigned size, int32_t *k)
{
    uint64_t c;

    if (!ra_const(g, v, &c)) {
        return false;
    }
    switch (size) {
    case 1:
        *k = (int8_t)c;
        return true;
    case 2:
        *k = (int16_t)c;
        return true;
    case 4:
        *k = (int32_t)c;
        return true;
    default:
        *k = (int32_t)c;
        return (int64_t)c == (int32_t)c;
    }
}

static void load_const(JitGen *g, int reg, uint64_t k)
{
    if (k == 0 && !g->hf.valid) {
        x_rr(&g->a, 0x33, reg, reg);
    } else {
        x_mov_ri(&g->a, reg, k);
    }
}

static int find_reg(JitGen *g, bool may_evict);

/* A register with component @v of a lazy sum (never lazy itself); @scratch if none is free. */
static int part_reg(JitGen *g, IrVal v, int scratch)
{
    Val *x = &g->v[v];
    int r;

    if (x->reg >= 0) {
        return x->reg;
    }
    r = x->kind == IRV_GLOBAL && !g->j->o->cache ? -1 : find_reg(g, true);
    if (r < 0) {
        ra_load_to(g, scratch, v, true);
        return scratch;
    }
    ra_load_to(g, r, v, true);
    own(g, v, r);
    return r;
}

/* Emit the lazy sum @x into @reg. May use rcx (rdx when @reg is rcx). */
static void compute_lazy(JitGen *g, const Val *x, int reg, bool wide)
{
    uint32_t keep = g->locked;
    int b = -1, i = -1;

    ra_lock(g, reg);
    if (x->base) {
        b = part_reg(g, x->base, reg);
        ra_lock(g, b);
    }
    if (x->index) {
        i = part_reg(g, x->index, reg == RCX ? RDX : RCX);
    }
    g->locked = keep;
    if (i < 0 && b < 0) {
        load_const(g, reg, wide ? (uint64_t)(int64_t)x->disp : (uint32_t)x->disp);
    } else if (i < 0 && !x->disp) {
        if (b != reg || !wide) {
            x_mov_rr(&g->a, wide, reg, b);
        }
    } else if (b < 0 && x->scale == 0) {
        x_lea(&g->a, wide, reg, i, -1, 0, x->disp);
    } else {
        x_lea(&g->a, wide, reg, b, i, x->scale, x->disp);
    }
}

static void unlazy(JitGen *g, IrVal v)
{
    g->v[v].lazy = false;
    for (unsigned i = 0; i < g->n_lazies; i++) {
        if (g->lazies[i] == v) {
            g->lazies[i] = g->lazies[--g->n_lazies];
            return;
        }
    }
}

int ra_reg(JitGen *g, IrVal v)
{
    Val *x;
    int r;

    v = ra_root(g, v);
    x = &g->v[v];
    if (x->reg >= 0 && !x->lazy) {
        ra_lock(g, x->reg);
        return x->reg;
    }
    if (x->lazy) {
        bool wide = x->type != IR_I32;

        r = ra_alloc(g);
        compute_lazy(g, x, r, wide);
        unlazy(g, v);
        x->zext = !wide || x->zext;
        x->slot_ok = false;
        own(g, v, r);
        ra_lock(g, r);
        return r;
    }
    r = ra_alloc(g);
    switch (x->kind) {
    case IRV_CONST:
        load_const(g, r, x->imm);
        break;
    case IRV_GLOBAL:
        load_global(g, r, x, true);
        break;
    default:
        if (x->slot_ok) {
            x_load(&g->a, true, r, RSP, slot_off(g, v));
        } /* else: read before it was written; anything will do */
    }
    if (x->kind != IRV_GLOBAL || g->j->o->cache) {
        own(g, v, r);
    }
    return r;
}

int ra_xmm(JitGen *g, IrVal v)
{
    Val *x;
    int r;

    v = ra_root(g, v);
    x = &g->v[v];
    if (x->reg >= 0) {
        g->xmm_locked |= 1u << x->reg;
        return x->reg;
    }
    r = ra_alloc_x(g);
    if (x->kind == IRV_GLOBAL) {
        x_rm(&g->a, X0F | 0x28, r, R14, x->off);
    } else if (x->slot_ok) {
        x_rm(&g->a, X0F | 0x28, r, RSP, slot_off(g, v));
    }
    if (x->kind != IRV_GLOBAL || g->j->o->cache) {
        own_x(g, v, r);
    }
    return r;
}

Opd ra_opd(JitGen *g, IrVal v, unsigned size)
{
    IrVal r = ra_root(g, v);
    Val *x = &g->v[r];

    if (!x->lazy && x->reg < 0) {
        bool once = g->v[v].last_use <= g->pos && x->last_use <= g->pos;

        if (x->kind == IRV_GLOBAL && (size <= 4 || x->type == IR_I64) &&
            (x->off != g->cc_off || size <= 2) && (once || !g->j->o->cache)) {
            return (Opd){.mem = true, .reg = R14, .disp = x->off};
        }
        if (x->kind >= IRV_TEMP && x->slot_ok && once) {
            return (Opd){.mem = true, .reg = RSP, .disp = slot_off(g, r)};
        }
    }
    return (Opd){.reg = ra_reg(g, v)};
}

Opd ra_xopd(JitGen *g, IrVal v)
{
    IrVal r = ra_root(g, v);
    Val *x = &g->v[r];

    if (x->reg < 0) {
        bool once = g->v[v].last_use <= g->pos && x->last_use <= g->pos;

        if (x->kind == IRV_GLOBAL && (once || !g->j->o->cache)) {
            return (Opd){.mem = true, .reg = R14, .disp = x->off};
        }
        if (x->kind >= IRV_TEMP && x->slot_ok && once) {
            return (Opd){.mem = true, .reg = RSP, .disp = slot_off(g, r)};
        }
    }
    return (Opd){.reg = ra_xmm(g, v)};
}

void ra_load_to(JitGen *g, int reg, IrVal v, bool wide)
{
    IrVal r = ra_root(g, v);
    Val *x = &g->v[r];

    if (x->lazy) {
        compute_lazy(g, x, reg, wide && x->type != IR_I32);
    } else if (x->reg >= 0) {
        if (x->reg != reg) {
            x_mov_rr(&g->a, wide, reg, x->reg);
        }
    } else if (x->kind == IRV_CONST) {
        load_const(g, reg, wide ? x->imm : (uint32_t)x->imm);
    } else if (x->kind == IRV_GLOBAL) {
        load_global(g, reg, x, wide);
    } else if (x->slot_ok) {
        x_load(&g->a, wide, reg, RSP, slot_off(g, r));
    }
}

int ra_addr(JitGen *g, IrVal v, int32_t *disp)
{
    IrVal r = ra_root(g, v);
    Val *x = &g->v[r];

    *disp = 0;
    if (x->lazy && !x->index && x->base && x->disp > -0x7fffff00 && x->disp < 0x7fffff00 &&
        g->j->o->fold) {
        *disp = x->disp;
        return ra_reg(g, x->base);
    }
    return ra_reg(g, v);
}

/* ---- writes ---- */

/* Give the lazy value @v a home of its own: a free register or its slot. */
static void settle(JitGen *g, IrVal v)
{
    Val *x = &g->v[v];
    int r;

    if (x->type == IR_V128) {
        IrVal b = ra_root(g, x->base);
        Val *bx = &g->v[b];

        unlazy(g, v);
        x->slot_ok = false;
        if (bx->reg >= 0) {
            uint32_t keep = g->xmm_locked;

            g->xmm_locked |= 1u << bx->reg;
            r = ra_alloc_x(g);
            g->xmm_locked = keep | 1u << r;
            x_rr(&g->a, X0F | 0x28, r, bx->reg);
        } else {
            r = ra_alloc_x(g);
            if (bx->kind == IRV_GLOBAL) {
                x_rm(&g->a, X0F | 0x28, r, R14, bx->off);
            } else if (bx->slot_ok) {
                x_rm(&g->a, X0F | 0x28, r, RSP, slot_off(g, b));
            }
        }
        own_x(g, v, r);
        return;
    }
    bool wide = x->type != IR_I32;

    r = find_reg(g, false);
    if (r >= 0) {
        uint32_t keep = g->locked;

        ra_lock(g, r);
        compute_lazy(g, x, r, wide);
        g->locked = keep;
        unlazy(g, v);
        x->slot_ok = false;
        own(g, v, r);
    } else if (!x->index && !x->disp && x->base && g->v[x->base].reg >= 0 && wide) {
        int b = g->v[x->base].reg;

        unlazy(g, v);
        x_store(&g->a, true, RSP, slot_off(g, v), b);
        x->slot_ok = true;
    } else {
        /* rcx may be in use by the instruction being emitted: only before its operands are. */
        compute_lazy(g, x, RCX, wide);
        unlazy(g, v);
        x_store(&g->a, true, RSP, slot_off(g, v), RCX);
        x->slot_ok = true;
    }
    x->zext = !wide || x->zext;
}

/* Next lazy value that depends on @v and is needed after this instruction. */
static IrVal next_dependent(JitGen *g, IrVal v)
{
    for (unsigned i = 0; i < g->n_lazies;) {
        IrVal l = g->lazies[i];
        Val *x = &g->v[l];

        if (x->last_use < g->pos) {
            x->lazy = false;
            g->lazies[i] = g->lazies[--g->n_lazies];
            continue;
        }
        if ((x->base == v || x->index == v) && x->last_use > g->pos) {
            return l;
        }
        i++;
    }
    return 0;
}

/* Copies that are only read by this instruction: they keep meaning the old value, which the
 * operands already hold; but they must not be followed any more. */
static void detach_dying(JitGen *g, IrVal v)
{
    for (unsigned i = 0; i < g->n_lazies;) {
        IrVal l = g->lazies[i];
        Val *x = &g->v[l];

        if (x->base == v || x->index == v) {
            x->lazy = false;
            g->lazies[i] = g->lazies[--g->n_lazies];
        } else {
            i++;
        }
    }
}

void ra_before_write(JitGen *g, IrVal v)
{
    Val *x = &g->v[v];
    IrVal l;

    while ((l = next_dependent(g, v))) {
        Val *d = &g->v[l];

        /* A copy of a value whose register is about to be let go: take the register over. */
        if (!x->pinned && x->reg >= 0 && !d->index && !d->disp && d->type == x->type) {
            int r = x->reg;
            bool zext = x->zext;

            unlazy(g, l);
            d->slot_ok = false;
            if (x->type == IR_V128) {
                g->xmm_val[r] = 0;
                x->reg = -1;
                own_x(g, l, r);
            } else {
                g->reg_val[r] = 0;
                x->reg = -1;
                own(g, l, r);
                d->zext = zext;
            }
            /* The others are copies of that copy now. */
            for (unsigned i = 0; i < g->n_lazies; i++) {
                Val *o = &g->v[g->lazies[i]];

                if (o->base == v) {
                    o->base = l;
                }
                if (o->index == v) {
                    o->index = l;
                }
                if ((o->base == l || o->index == l) && d->last_use < o->last_use) {
                    d->last_use = o->last_use;
                }
            }
            return;
        }
        settle(g, l);
    }
    detach_dying(g, v);
}

void ra_before_add(JitGen *g, IrVal v, int64_t k, bool wide)
{
    for (unsigned i = 0; i < g->n_lazies; i++) {
        Val *x = &g->v[g->lazies[i]];
        int64_t nd = x->disp;

        if (x->type == IR_V128 || (!wide && x->type != IR_I32) || x->last_use <= g->pos) {
            continue;
        }
        if (x->base == v) {
            nd -= k;
        }
        if (x->index == v) {
            nd -= (int64_t)((uint64_t)k << x->scale);
        }
        if ((x->base == v || x->index == v) && nd == (int32_t)nd) {
            x->disp = nd;
            x->base = x->base == v ? x->base | 0x8000 : x->base;
            x->index = x->index == v ? x->index | 0x8000 : x->index;
        }
    }
    ra_before_write(g, v);
    for (unsigned i = 0; i < g->n_lazies; i++) {
        Val *x = &g->v[g->lazies[i]];

        if (x->base & 0x8000) {
            x->zext = false;
        }
        x->base &= 0x7fff;
        x->index &= 0x7fff;
    }
}

void ra_before_sub(JitGen *g, IrVal v, IrVal by, bool wide)
{
    IrVal r = ra_root(g, by);
    Val *b = &g->v[r];

    if (r != v && !b->lazy && b->kind != IRV_CONST && g->j->o->fold &&
        (b->kind == IRV_GLOBAL || b->reg >= 0 || b->slot_ok)) {
        for (unsigned i = 0; i < g->n_lazies; i++) {
            Val *x = &g->v[g->lazies[i]];

            if (x->type == IR_V128 || (!wide && x->type != IR_I32) || x->last_use <= g->pos ||
                x->base != v || x->index) {
                continue;
            }
            x->base |= 0x8000;
            x->index = r;
            x->scale = 0;
            x->zext = false;
            if (b->kind >= IRV_TEMP && b->last_use < x->last_use) {
                b->last_use = x->last_use;
            }
        }
    }
    ra_before_write(g, v);
    for (unsigned i = 0; i < g->n_lazies; i++) {
        g->v[g->lazies[i]].base &= 0x7fff;
    }
}

/* @d gets a new value: let go of the old one. */
static void forget(JitGen *g, IrVal d)
{
    Val *x = &g->v[d];

    if (x->defined) {
        ra_before_write(g, d);
    }
    if (x->lazy) {
        unlazy(g, d);
    }
    if (!x->pinned && x->reg >= 0) {
        if (x->type == IR_V128) {
            g->xmm_val[x->reg] = 0;
        } else {
            g->reg_val[x->reg] = 0;
        }
        x->reg = -1;
    }
    x->slot_ok = false;
    x->defined = true;
    x->vn = ra_new_vn(g);
}

/* A register of a temporary that dies here and is not a lazy value's base. */
static bool reusable(JitGen *g, IrVal v)
{
    Val *x = &g->v[v];

    return v && x->kind >= IRV_TEMP && !x->lazy && x->reg >= 0 && x->last_use <= g->pos;
}

IrVal ra_target(JitGen *g, IrVal d)
{
    Val *x = &g->v[d];

    if (g->hint && x->kind != IRV_GLOBAL && g->v[g->hint].pinned) {
        return g->hint;
    }
    return x->kind == IRV_GLOBAL && x->pinned ? d : 0;
}

int ra_dst(JitGen *g, IrVal d, IrVal reuse)
{
    Val *x = &g->v[d];
    int r;

    if (g->hint && x->kind != IRV_GLOBAL && g->v[g->hint].pinned) {
        ra_before_write(g, g->hint);
        return g->v[g->hint].reg;
    }
    if (g->hint && g->hint == reuse && g->v[reuse].reg >= 0 && ra_is_int(&g->v[reuse])) {
        /* About to be overwritten: the copy's register can be had; the state has the value. */
        r = g->v[reuse].reg;
        g->reg_val[r] = 0;
        g->v[reuse].reg = -1;
        ra_lock(g, r);
        g->hint = 0;
        return r;
    }
    g->hint = 0;
    if (x->kind == IRV_GLOBAL && x->pinned) {
        ra_before_write(g, d);
        return x->reg;
    }
    if (reusable(g, reuse)) {
        return g->v[reuse].reg;
    }
    r = ra_alloc(g);
    return r;
}

void ra_done(JitGen *g, IrVal d, int reg, bool zext)
{
    Val *x = &g->v[d];

    if (g->hint && x->kind != IRV_GLOBAL && g->v[g->hint].reg == reg) {
        Val *h = &g->v[g->hint];

        forget(g, d);
        h->zext = zext;
        h->vn = x->vn;
        x->lazy = true;
        x->base = g->hint;
        x->index = 0;
        x->disp = 0;
        x->scale = 0;
        x->zext = zext;
        if (g->n_lazies < G_MAX_LAZY) {
            g->lazies[g->n_lazies++] = d;
        } else {
            g->fail = true;
        }
        return;
    }
    if (x->kind == IRV_GLOBAL) {
        if (!x->pinned) {
            IrVal owner = g->reg_val[reg];

            if (owner && owner != d) {
                drop(g, reg);
            }
            forget(g, d);
            x_store(&g->a, x->type == IR_I64, R14, x->off, reg);
            if (g->j->o->cache) {
                own(g, d, reg);
            }
        } else {
            x->vn = ra_new_vn(g);
        }
        x->zext = zext || x->type == IR_I32;
        return;
    }
    forget(g, d);
    own(g, d, reg);
    x->zext = zext;
}

int ra_dst_x(JitGen *g, IrVal d, IrVal reuse)
{
    Val *u = &g->v[reuse];

    if (reuse && u->kind >= IRV_TEMP && !u->lazy && u->reg >= 0 && u->last_use <= g->pos) {
        return u->reg;
    }
    return ra_alloc_x(g);
}

void ra_done_x(JitGen *g, IrVal d, int xmm)
{
    Val *x = &g->v[d];

    if (g->xmm_val[xmm] && g->xmm_val[xmm] != d) {
        drop_x(g, xmm);
    }
    forget(g, d);
    if (x->kind == IRV_GLOBAL) {
        x_rm(&g->a, X0F | 0x29, xmm, R14, x->off);
        if (g->j->o->cache) {
            own_x(g, d, xmm);
        }
    } else {
        own_x(g, d, xmm);
    }
}

bool ra_lazy(JitGen *g, IrVal d, IrVal base, IrVal index, unsigned scale, int64_t disp, bool zext)
{
    Val *x = &g->v[d];

    if (disp != (int32_t)disp || g->n_lazies >= G_MAX_LAZY - 2 || x->kind < IRV_TEMP) {
        return false;
    }
    if (base == d || index == d) {
        return false;
    }
    forget(g, d);
    x->lazy = true;
    x->base = base;
    x->index = index;
    x->scale = scale;
    x->disp = disp;
    x->zext = zext;
    g->lazies[g->n_lazies++] = d;
    if (base && g->v[base].kind >= IRV_TEMP && g->v[base].last_use < x->last_use) {
        g->v[base].last_use = x->last_use;
    }
    if (index && g->v[index].kind >= IRV_TEMP && g->v[index].last_use < x->last_use) {
        g->v[index].last_use = x->last_use;
    }
    return true;
}

void ra_store_flags(JitGen *g)
{
    IrVal cc = ir_global(g->t->flags_global);

    forget(g, cc);
    x_rm(&g->a, 0x89 | X66, RAX, R14, g->cc_off);
    g->v[cc].zext = true;
}

/* ---- moves ---- */

/* Pinned global @d := the sum @d + k, flags set when wanted. */
static void add_to_pinned(JitGen *g, IrVal d, IrVal a, int32_t k)
{
    Val *x = &g->v[d], *y = &g->v[a];
    const IrInsn *def = &g->b->insns[y->def];
    bool is_sub = def->op == IR_SUB, wide = true;
    bool want = g->j->o->flags && (is_sub || g->live.flag_result[a]);
    uint32_t vn = y->vn;
    HfOps o = {0};
    bool sums = (def->op == IR_ADD || is_sub) && def->d == a && def->type == IR_I64;

    if (want && sums) {
        o = hf_ops(g, def->a, def->b);
        want = g->v[def->a].vn == x->vn;
    }
    y->disp = 0; /* it is the new value of d; keep it out of the adjustment */
    y->base = 0;
    ra_before_add(g, d, k, wide);
    y->base = d;
    if (want && sums) {
        if (is_sub) {
            x_alu_ri(&g->a, ALU_SUB, 8, x->reg, -k);
        } else {
            x_alu_ri(&g->a, ALU_ADD, 8, x->reg, k);
        }
        x->vn = vn;
        hf_set(g, is_sub ? IRF_SUB : IRF_ADD, 8, o, d, JIT_FLAGS_ALL);
    } else if (g->hf.valid) {
        x_lea(&g->a, true, x->reg, x->reg, -1, 0, k);
    } else {
        x_alu_ri(&g->a, ALU_ADD, 8, x->reg, k);
    }
    x->vn = vn;
    x->zext = false;
}

/* After d := a both are equal: a, if a temporary, becomes a copy of the global d. */
static void make_copy(JitGen *g, IrVal a, IrVal d)
{
    Val *x = &g->v[a];

    if (x->kind < IRV_TEMP || x->last_use <= g->pos || g->n_lazies >= G_MAX_LAZY - 2) {
        return;
    }
    if (x->reg >= 0 && !x->lazy) {
        if (x->type == IR_V128) {
            g->xmm_val[x->reg] = 0;
        } else {
            g->reg_val[x->reg] = 0;
        }
        x->reg = -1;
    }
    if (!x->lazy) {
        x->lazy = true;
        g->lazies[g->n_lazies++] = a;
    }
    /* What is computed from a is computed from d from now on: components are never lazy. */
    for (unsigned i = 0; i < g->n_lazies; i++) {
        Val *o = &g->v[g->lazies[i]];

        if (o->base == a) {
            o->base = d;
        }
        if (o->index == a) {
            o->index = d;
        }
    }
    x->base = d;
    x->index = 0;
    x->scale = 0;
    x->disp = 0;
}

static void mov_to_pinned(JitGen *g, IrType t, IrVal d, IrVal a)
{
    Val *x = &g->v[d];
    IrVal r = ra_root(g, a);
    Val *y = &g->v[r];
    uint32_t vn = g->v[a].vn;
    bool zext = g->v[a].zext || y->zext;

    if (r == d) { /* already there */
        x->vn = vn;
        return;
    }
    if (y->lazy && y->base == d && !y->index && y->type == IR_I64) {
        add_to_pinned(g, d, r, y->disp);
        if (a != r) {
            make_copy(g, a, d);
        }
        return;
    }
    if (y->lazy) {
        /* @r itself may depend on d: it is being computed now. */
        IrVal base = y->base, index = y->index;
        int b = base ? ra_reg(g, base) : -1, i = index ? ra_reg(g, index) : -1;
        Val sum = *y;

        y->base = y->index = 0;
        ra_before_write(g, d);
        y->base = base;
        y->index = index;
        if (b < 0 && i < 0) {
            load_const(g, x->reg, (uint64_t)(int64_t)sum.disp);
        } else if (b < 0 && sum.scale == 0) {
            x_lea(&g->a, true, x->reg, i, -1, 0, sum.disp);
        } else {
            x_lea(&g->a, true, x->reg, b, i, sum.scale, sum.disp);
        }
        x->zext = false;
    } else {
        ra_before_write(g, d);
        ra_load_to(g, x->reg, r, true);
        x->zext = zext;
    }
    x->vn = vn;
    make_copy(g, r, d);
    if (a != r) {
        make_copy(g, a, d);
    }
}

static void mov_to_unpinned(JitGen *g, IrType t, IrVal d, IrVal a)
{
    Val *x = &g->v[d];
    IrVal r = ra_root(g, a);
    Val *y = &g->v[r];
    uint32_t vn = g->v[a].vn;
    int32_t k;
    int reg;

    if (r == d) {
        return;
    }
    if (y->kind == IRV_CONST && y->reg < 0 && ra_imm32(g, r, x->type == IR_I64 ? 8 : 4, &k)) {
        forget(g, d);
        x_rm(&g->a, 0xc7 | (x->type == IR_I64 ? XW : 0), 0, R14, x->off);
        a32(&g->a, k);
        x->vn = vn;
        x->zext = y->zext || x->type == IR_I32;
        return;
    }
    reg = ra_reg(g, r);
    bool zext = g->v[r].zext;

    if (y->kind >= IRV_TEMP && y->reg == reg && g->reg_val[reg] == r && g->j->o->cache) {
        /* The register becomes the global's; the temporary a copy of it. */
        forget(g, d);
        x_store(&g->a, x->type == IR_I64, R14, x->off, reg);
        if (y->type == x->type || x->type == IR_I64) {
            g->reg_val[reg] = 0;
            y->reg = -1;
            own(g, d, reg);
            if (y->last_use > g->pos) {
                make_copy(g, r, d);
            }
            x->vn = vn;
            x->zext = zext;
            if (a != r) {
                make_copy(g, a, d);
            }
            return;
        }
    } else {
        forget(g, d);
        x_store(&g->a, x->type == IR_I64, R14, x->off, reg);
    }
    x->vn = vn;
    x->zext = zext || x->type == IR_I32;
}

static void mov_vec(JitGen *g, IrVal d, IrVal a)
{
    Val *x = &g->v[d];
    IrVal r = ra_root(g, a);
    int xmm;

    if (r == d) {
        return;
    }
    if (x->kind != IRV_GLOBAL) {
        uint32_t vn = g->v[a].vn;

        if (ra_lazy(g, d, r, 0, 0, 0, false)) {
            x->vn = vn;
            return;
        }
        g->fail = true;
        return;
    }
    xmm = ra_xmm(g, r);
    forget(g, d);
    x_rm(&g->a, X0F | 0x29, xmm, R14, x->off);
    if (g->v[r].kind >= IRV_TEMP && g->xmm_val[xmm] == r && g->j->o->cache) {
        g->xmm_val[xmm] = 0;
        g->v[r].reg = -1;
        own_x(g, d, xmm);
        make_copy(g, r, d);
        if (a != r) {
            make_copy(g, a, d);
        }
    }
}

void ra_mov(JitGen *g, IrType t, IrVal d, IrVal a)
{
    Val *x = &g->v[d];

    if (t == IR_V128) {
        mov_vec(g, d, a);
    } else if (x->pinned) {
        mov_to_pinned(g, t, d, a);
    } else if (x->kind == IRV_GLOBAL) {
        mov_to_unpinned(g, t, d, a);
    } else {
        IrVal r = ra_root(g, a);
        Val *y = &g->v[r];
        uint32_t vn = g->v[a].vn;
        bool zext = y->zext;

        if (r == d) {
            return;
        }
        if (y->lazy) {
            if (ra_lazy(g, d, y->base, y->index, y->scale, y->disp, zext)) {
                x->vn = vn;
                x->def = y->def;
                return;
            }
        } else if (ra_lazy(g, d, r, 0, 0, 0, zext)) {
            x->vn = vn;
            return;
        }
        int s = ra_reg(g, a), dst = ra_alloc(g);

        x_mov_rr(&g->a, true, dst, s);
        g->hint = 0;
        ra_done(g, d, dst, zext);
        x->vn = vn;
    }
}

/* ---- branches, labels, calls ---- */

void ra_sync_branch(JitGen *g, unsigned label_pos)
{
    ra_unlock_all(g);
    for (unsigned i = 0; i < g->n_lazies;) {
        IrVal l = g->lazies[i];
        Val *x = &g->v[l];

        if (x->last_use <= label_pos) {
            i++;
            continue;
        }
        if (x->type == IR_V128) {
            settle(g, l);
            save(g, l);
        } else {
            bool wide = x->type != IR_I32;

            compute_lazy(g, x, RCX, wide);
            unlazy(g, l);
            x_store(&g->a, true, RSP, slot_off(g, l), RCX);
            x->slot_ok = true;
        }
        ra_unlock_all(g);
        i = 0; /* the list was reordered */
    }
    for (int r = 0; r < 16; r++) {
        IrVal v = g->reg_val[r];

        if (v && g->v[v].kind >= IRV_TEMP && g->v[v].last_use > label_pos) {
            save(g, v);
        }
        v = g->xmm_val[r];
        if (v && g->v[v].kind >= IRV_TEMP && g->v[v].last_use > label_pos) {
            save(g, v);
        }
    }
}

void ra_at_label(JitGen *g)
{
    for (int r = 0; r < 16; r++) {
        drop(g, r);
        drop_x(g, r);
    }
    /* Lazy values that live on were settled at each branch; what is left is dead here. */
    for (unsigned i = 0; i < g->n_lazies; i++) {
        g->v[g->lazies[i]].lazy = false;
    }
    g->n_lazies = 0;
    for (unsigned i = 1; i < g->b->n_vals; i++) {
        Val *x = &g->v[i];

        if (x->kind == IRV_CONST) {
            continue;
        }
        x->vn = ra_new_vn(g);
        x->zext = x->kind == IRV_GLOBAL && x->type == IR_I32;
        if (x->kind >= IRV_TEMP) {
            x->slot_ok = x->slot >= 0;
        }
    }
    g->hf.valid = false;
}

void ra_before_call(JitGen *g, bool faults)
{
    unsigned from = faults ? g->pos : g->pos + 1;

    for (unsigned i = 0; i < N_TEMPS; i++) {
        IrVal v = g->reg_val[temp_regs[i]];

        if (v && g->v[v].kind >= IRV_TEMP && g->v[v].last_use >= from) {
            save(g, v);
        }
    }
    for (int r = 0; r < N_XMM; r++) {
        IrVal v = g->xmm_val[r];

        if (v && g->v[v].kind >= IRV_TEMP && g->v[v].last_use >= from) {
            save(g, v);
        }
    }
}

void ra_forget_temps(JitGen *g)
{
    for (unsigned i = 0; i < N_TEMPS; i++) {
        drop(g, temp_regs[i]);
    }
    for (int r = 0; r < N_XMM; r++) {
        drop_x(g, r);
    }
}

void ra_settle_globals(JitGen *g)
{
    for (unsigned n = 0; n < g->n_lazies;) {
        IrVal l = g->lazies[n];
        Val *x = &g->v[l];
        bool on_global = (x->base && g->v[x->base].kind == IRV_GLOBAL) ||
                         (x->index && g->v[x->index].kind == IRV_GLOBAL);

        if (x->last_use > g->pos && on_global) {
            settle(g, l);
            n = 0;
        } else {
            n++;
        }
    }
}

void ra_globals_changed(JitGen *g)
{
    for (unsigned i = 1; i <= g->t->n_globals; i++) {
        Val *x = &g->v[i];

        if (!x->pinned && x->reg >= 0) {
            if (x->type == IR_V128) {
                g->xmm_val[x->reg] = 0;
            } else {
                g->reg_val[x->reg] = 0;
            }
            x->reg = -1;
        }
        x->vn = ra_new_vn(g);
        x->zext = x->type == IR_I32;
    }
}

bool ra_xmm_live(JitGen *g)
{
    for (int r = 0; r < N_XMM; r++) {
        IrVal v = g->xmm_val[r];

        if (v && (g->v[v].last_use >= g->pos)) {
            return true;
        }
        if (v) {
            drop_x(g, r);
        }
    }
    return false;
}

/* One component: its place and kind; constants are added to @add. */
static unsigned describe_part(JitGen *g, IrVal v, uint16_t *where, int64_t *add, unsigned scale)
{
    Val *x;

    v = ra_root(g, v);
    x = &g->v[v];
    if (x->kind == IRV_CONST) {
        *add += (int64_t)(x->imm << scale);
    } else if (x->kind == IRV_GLOBAL) {
        *where = x->off;
        return x->type == IR_I32 ? JIT_LOC_ENV32 : JIT_LOC_ENV64;
    } else if (x->slot_ok) {
        *where = slot_off(g, v);
        return JIT_LOC_SLOT;
    } else if (x->reg >= 0) {
        *where = x->reg;
        return JIT_LOC_SAVED;
    }
    return JIT_LOC_NONE;
}

JitLoc ra_describe(JitGen *g, IrVal v)
{
    JitLoc l = {0};
    uint16_t base = 0, index = 0;
    unsigned kinds = 0;
    int64_t disp = 0;
    Val *x;

    v = ra_root(g, v);
    x = &g->v[v];
    if (x->lazy) {
        disp = x->disp;
        l.scale = x->scale;
        if (x->base) {
            kinds = describe_part(g, x->base, &base, &disp, 0);
        }
        if (x->index) {
            kinds |= describe_part(g, x->index, &index, &disp, x->scale) << 4;
        }
    } else {
        kinds = describe_part(g, v, &base, &disp, 0);
    }
    l.kinds = kinds;
    l.base = base;
    l.index = index;
    l.disp = disp;
    return l;
}
