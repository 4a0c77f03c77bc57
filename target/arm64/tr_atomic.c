/*
 * A64 exclusives, atomics and ordered accesses: translation. DDI 0487 sections C3.2.6, B2.12.
 *
 * The host orders everything but a store before a later load, so only release stores that a later
 * acquire must not overtake need a fence. The exclusive monitor remembers address and value: a
 * store-exclusive succeeds if the value is still there.
 */
#include "target/arm64/helpers.h"
#include "target/arm64/translate.h"

static unsigned aligned(const Tr *t, unsigned log2)
{
    return ta_memop(t, log2) | IRM_ALIGN;
}

static size_t ex(unsigned n)
{
    return offsetof(Arm64Cpu, ex_val[n]);
}

static void ldx(Tr *t, unsigned log2, IrVal addr)
{
    IrVal v = ir_qld(t->b, IR_I64, aligned(t, log2), addr);

    ir_ste(t->b, IR_I64, IRM_64, ex(0), v);
    ir_ste(t->b, IR_I64, IRM_64, offsetof(Arm64Cpu, ex_addr), addr);
    ir_ste(t->b, IR_I32, IRM_32, offsetof(Arm64Cpu, ex_size), ta_i32(t, 1 << log2));
    ta_set_x(t, true, ta_rd(t), v);
}

/* Two words are one double word; two double words are read at once, as a vector. */
static void ldxp(Tr *t, unsigned log2, IrVal addr)
{
    IrVal lo, hi;

    if (log2 == 2) {
        IrVal v = ir_qld(t->b, IR_I64, aligned(t, 3), addr);

        ir_ste(t->b, IR_I64, IRM_64, ex(0), v);
        lo = ir_ext32u(t->b, v);
        hi = ir_shr(t->b, IR_I64, v, ta_i64(t, 32));
        if (t->mode & M_BE) {
            IrVal x = lo;

            lo = hi;
            hi = x;
        }
    } else {
        IrVal v = ir_qld(t->b, IR_V128, aligned(t, 4) & ~IRM_BE, addr);

        ir_vste(t->b, 16, ex(0), v);
        lo = ir_lde(t->b, IR_I64, IRM_64, ex(0));
        hi = ir_lde(t->b, IR_I64, IRM_64, ex(1));
        if (t->mode & M_BE) {
            lo = ir_bswap(t->b, IR_I64, lo);
            hi = ir_bswap(t->b, IR_I64, hi);
        }
    }
    ir_ste(t->b, IR_I64, IRM_64, offsetof(Arm64Cpu, ex_addr), addr);
    ir_ste(t->b, IR_I32, IRM_32, offsetof(Arm64Cpu, ex_size), ta_i32(t, 2 << log2));
    ta_set_x(t, true, ta_rd(t), lo);
    ta_set_x(t, true, ta_ra(t), hi);
}

/* Status 1 unless the monitor is set for this address and size, and memory is unchanged. */
static void stx(Tr *t, unsigned log2, bool two, IrVal addr)
{
    IrVal status = ir_local(t->b, IR_I64), where = ir_local(t->b, IR_I64), v, old, expect;
    unsigned done, size = two ? 2u << log2 : 1u << log2;

    ta_pack_flags(t);
    ir_mov(t->b, IR_I64, where, addr);
    done = ir_label(t->b);
    ir_mov(t->b, IR_I64, status, ta_i64(t, 1));
    ir_brcond(t->b, IR_I64, IRC_NE, ir_lde(t->b, IR_I64, IRM_64, offsetof(Arm64Cpu, ex_addr)),
              where, done);
    ir_brcond(t->b, IR_I32, IRC_NE, ir_lde(t->b, IR_I32, IRM_32, offsetof(Arm64Cpu, ex_size)),
              ta_i32(t, size), done);
    if (two && log2 == 3) {
        IrVal lo = ta_x(t, ta_rd(t)), hi = ta_x(t, ta_ra(t));

        if (t->mode & M_BE) {
            lo = ir_bswap(t->b, IR_I64, lo);
            hi = ir_bswap(t->b, IR_I64, hi);
        }
        ir_mov(t->b, IR_I64, status,
               ir_call4(t->b, &a64_hd_stxp, where, lo, hi, ta_i64(t, ta_mmu(t))));
    } else {
        expect = ir_lde(t->b, IR_I64, IRM_64, ex(0));
        if (two) {
            bool be = t->mode & M_BE;
            IrVal lo = ta_x(t, be ? ta_ra(t) : ta_rd(t)), hi = ta_x(t, be ? ta_rd(t) : ta_ra(t));

            v = ir_deposit(t->b, IR_I64, lo, hi, 32, 32);
            log2 = 3;
        } else {
            v = ta_x(t, ta_rd(t));
        }
        old = ir_qatomic(t->b, log2 == 3 ? IR_I64 : IR_I32, IRA_CMPXCHG, aligned(t, log2), where, v,
                         expect);
        ir_mov(t->b, IR_I64, status,
               log2 == 3 ? ir_setcond(t->b, IR_I64, IRC_NE, old, expect)
                         : ir_ext32u(t->b, ir_setcond(t->b, IR_I32, IRC_NE, old, expect)));
    }
    ir_place(t->b, done);
    ir_ste(t->b, IR_I32, IRM_32, offsetof(Arm64Cpu, ex_size), ta_i32(t, 0));
    ta_set_x(t, true, ta_rm(t), status);
}

static void cas(Tr *t, unsigned log2, IrVal addr)
{
    IrVal old = ir_qatomic(t->b, log2 == 3 ? IR_I64 : IR_I32, IRA_CMPXCHG, aligned(t, log2), addr,
                           ta_x(t, ta_rd(t)), ta_x(t, ta_rm(t)));

    ta_set_x(t, log2 == 3, ta_rm(t), old);
}

static bool casp(Tr *t, IrVal addr)
{
    bool wide = ta_bit(t, 30), be = t->mode & M_BE;
    unsigned rs = ta_rm(t), rt = ta_rd(t);

    if ((rs & 1) || (rt & 1) || ta_ra(t) != 31) {
        return false;
    }
    if (wide) {
        ir_call4(t->b, &a64_hd_casp, addr, ta_i64(t, rs), ta_i64(t, rt),
                 ta_i64(t, ta_mmu(t) | (be ? 1 << 8 : 0)));
        return true;
    }
    IrVal want = ir_deposit(t->b, IR_I64, ta_x(t, rs + be), ta_x(t, (rs + 1 - be)), 32, 32);
    IrVal now = ir_deposit(t->b, IR_I64, ta_x(t, rt + be), ta_x(t, (rt + 1 - be)), 32, 32);
    IrVal old = ir_qatomic(t->b, IR_I64, IRA_CMPXCHG, aligned(t, 3), addr, now, want);

    ta_set_x(t, true, rs + be, ir_ext32u(t->b, old));
    ta_set_x(t, true, rs + 1 - be, ir_shr(t->b, IR_I64, old, ta_i64(t, 32)));
    return true;
}

bool ta_exclusive(Tr *t)
{
    unsigned log2 = ta_bits(t, 31, 30);
    bool o2 = ta_bit(t, 23), load = ta_bit(t, 22), o1 = ta_bit(t, 21), o0 = ta_bit(t, 15);
    IrVal addr = ta_xsp(t, ta_rn(t));
    bool lse = id_field(t->c->isar0, 20) >= 2;

    if (!o2 && o1) {
        if (!(log2 & 2)) {
            return lse && casp(t, addr);
        }
        if (load) {
            ldxp(t, log2, addr);
        } else {
            stx(t, log2, true, addr);
        }
        return true;
    }
    if (!o2) {
        if (load) {
            ldx(t, log2, addr);
        } else {
            stx(t, log2, false, addr);
        }
        return true;
    }
    if (o1) {
        if (!lse || ta_ra(t) != 31) {
            return false;
        }
        cas(t, log2, addr);
        return true;
    }
    if (load) { /* LDAR, LDLAR */
        ta_set_x(t, true, ta_rd(t), ir_qld(t->b, IR_I64, aligned(t, log2), addr));
    } else { /* STLR, STLLR */
        ir_qst(t->b, log2 == 3 ? IR_I64 : IR_I32, aligned(t, log2), addr, ta_x(t, ta_rd(t)));
        ir_fence(t->b);
    }
    (void)o0;
    return true;
}

/* Maximum and minimum: no host atomic does them. */
static void minmax(Tr *t, unsigned log2, unsigned op, IrVal addr)
{
    static const uint8_t conds[] = {IRC_GT, IRC_LT, IRC_GTU, IRC_LTU};
    IrType ty = log2 == 3 ? IR_I64 : IR_I32;
    IrVal where = ir_local(t->b, IR_I64), old = ir_local(t->b, IR_I64), seen, a, v, r;
    unsigned done;

    ta_pack_flags(t);
    done = ir_label(t->b);
    ir_mov(t->b, IR_I64, where, addr);
    ir_mov(t->b, IR_I64, old, ir_qld(t->b, IR_I64, aligned(t, log2) | IRM_RMW, where));
    a = old;
    v = ta_x(t, ta_rm(t));
    if (log2 < 2) {
        a = ir_extract(t->b, IR_I32, a, 0, 8 << log2, op < 2);
        v = ir_extract(t->b, IR_I32, v, 0, 8 << log2, op < 2);
    }
    r = ir_movcond(t->b, ty, ty, conds[op], a, v, a, v);
    seen = ir_qatomic(t->b, ty, IRA_CMPXCHG, aligned(t, log2), where, r, old);
    if (ty == IR_I32) {
        seen = ir_ext32u(t->b, seen);
    }
    ir_brcond(t->b, IR_I64, IRC_EQ, seen, old, done);
    if (t->single) {
        ir_exit(t->b, ta_i64(t, t->pc));
    } else {
        ir_jmp(t->b, t->pc);
    }
    ir_place(t->b, done);
    ta_set_x(t, true, ta_rd(t), old);
}

bool ta_lse(Tr *t)
{
    unsigned log2 = ta_bits(t, 31, 30), opc = ta_bits(t, 14, 12);
    IrType ty = log2 == 3 ? IR_I64 : IR_I32;
    IrVal addr = ta_xsp(t, ta_rn(t)), v = ta_x(t, ta_rm(t)), old;
    IrAtomic op;

    if (ta_bit(t, 15)) {
        if (opc == 4 && ta_bit(t, 23) && !ta_bit(t, 22) && ta_rm(t) == 31) { /* LDAPR */
            if (!id_field(t->c->isar1, 20)) {
                return false;
            }
            ta_set_x(t, true, ta_rd(t), ir_qld(t->b, IR_I64, aligned(t, log2), addr));
            return true;
        }
        if (opc) {
            return false;
        }
        op = IRA_XCHG;
    } else if (opc >= 4) {
        if (id_field(t->c->isar0, 20) < 2) {
            return false;
        }
        minmax(t, log2, opc - 4, addr);
        return true;
    } else {
        static const uint8_t ops[] = {IRA_ADD, IRA_AND, IRA_XOR, IRA_OR};

        op = ops[opc];
        if (opc == 1) {
            v = ir_not(t->b, ty, v);
        }
    }
    if (id_field(t->c->isar0, 20) < 2) {
        return false;
    }
    old = ir_qatomic(t->b, ty, op, aligned(t, log2), addr, v, 0);
    ta_set_x(t, log2 == 3, ta_rd(t), old);
    return true;
}

/* LDAPUR, STLUR… */
bool ta_rcpc(Tr *t)
{
    unsigned log2 = ta_bits(t, 31, 30), opc = ta_bits(t, 23, 22);
    IrVal addr = ta_add_imm(t, ta_xsp(t, ta_rn(t)), ta_sbits(t, 20, 12));

    if (id_field(t->c->isar1, 20) < 2 || (opc == 2 && log2 == 3) || (opc == 3 && log2 >= 2)) {
        return false;
    }
    switch (opc) {
    case 0:
        ir_qst(t->b, log2 == 3 ? IR_I64 : IR_I32, aligned(t, log2), addr, ta_x(t, ta_rd(t)));
        ir_fence(t->b);
        return true;
    case 1:
        ta_set_x(t, true, ta_rd(t), ir_qld(t->b, IR_I64, aligned(t, log2), addr));
        return true;
    default:
        ta_set_x(t, opc == 2, ta_rd(t),
                 ir_qld(t->b, opc == 2 ? IR_I64 : IR_I32, aligned(t, log2) | IRM_SIGN, addr));
        return true;
    }
}
