/* A64 loads and stores: translation. DDI 0487 section C4.1.88. */
#include "accel/jit/ir-vec.h"
#include "target/arm64/helpers.h"
#include "target/arm64/translate.h"

/* What a single-register access does. */
typedef struct Access {
    bool vec, load, is_signed, prefetch, wide; /* wide: sign-extends to 64 bits */
    uint8_t log2;
} Access;

static bool access_of(const Tr *t, Access *a)
{
    unsigned size = ta_bits(t, 31, 30), opc = ta_bits(t, 23, 22);

    *a = (Access){.vec = ta_bit(t, 26), .log2 = size};
    if (a->vec) {
        a->load = opc & 1;
        if (opc & 2) {
            if (size) {
                return false;
            }
            a->log2 = 4;
        }
        return true;
    }
    a->load = opc != 0;
    if (opc >= 2) {
        if (size == 3) {
            a->prefetch = opc == 2;
            return a->prefetch;
        }
        if (size == 2 && opc == 3) {
            return false;
        }
        a->is_signed = true;
        a->wide = opc == 2;
    }
    return true;
}

/* V128 with the low 1 << @log2 bytes from memory, the rest zero. */
static IrVal load_vec(Tr *t, unsigned mem, IrVal addr)
{
    if ((mem & IRM_SIZE) < 2) {
        IrVal v = ir_qld(t->b, IR_I32, mem, addr);

        return ir_vfromi(t->b, IR_I32, IRVOP_MOVD_FROMI, 0, v, 0);
    }
    return ir_qld(t->b, IR_V128, mem, addr);
}

static void store_vec(Tr *t, unsigned mem, IrVal addr, unsigned r)
{
    if ((mem & IRM_SIZE) < 2) {
        ir_qst(t->b, IR_I32, mem, addr, ir_vtoi(t->b, IR_I32, IRVOP_MOVD_TOI, ta_v(r), 0));
    } else {
        ir_qst(t->b, IR_V128, mem, addr, ta_v(r));
    }
}

/* Big-endian vectors are rare: through integers. */
static bool vec_be(const Tr *t, const Access *a)
{
    return a->vec && t->mode & M_BE && a->log2;
}

static void load_vec_be(Tr *t, unsigned mem, IrVal addr, unsigned r)
{
    IrVal v, hi;

    if ((mem & IRM_SIZE) == 4) {
        mem = (mem & ~IRM_SIZE & ~IRM_ALIGN) | IRM_64;
        hi = ir_qld(t->b, IR_I64, mem, addr);
        v = ir_qld(t->b, IR_I64, mem, ta_add_imm(t, addr, 8));
        v = ir_vfromi(t->b, IR_I64, IRVOP_MOVD_FROMI, 0, v, 0);
        ta_set_v(t, r, ir_vfromi(t->b, IR_I64, IRVOP_PINSRD, v, hi, 1));
        return;
    }
    v = ir_qld(t->b, IR_I64, mem, addr);
    ta_set_v(t, r, ir_vfromi(t->b, IR_I64, IRVOP_MOVD_FROMI, 0, v, 0));
}

static void store_vec_be(Tr *t, unsigned mem, IrVal addr, unsigned r)
{
    IrVal lo = ir_vtoi(t->b, IR_I64, IRVOP_MOVD_TOI, ta_v(r), 0), hi;

    if ((mem & IRM_SIZE) == 4) {
        mem = (mem & ~IRM_SIZE & ~IRM_ALIGN) | IRM_64;
        hi = ir_vtoi(t->b, IR_I64, IRVOP_PEXTRD, ta_v(r), 1);
        ir_qst(t->b, IR_I64, mem, addr, hi);
        ir_qst(t->b, IR_I64, mem, ta_add_imm(t, addr, 8), lo);
        return;
    }
    ir_qst(t->b, IR_I64, mem, addr, lo);
}

/* The access itself; for a load the register is written by the returned value or here. */
static void do_access(Tr *t, const Access *a, unsigned mem, IrVal addr, unsigned r)
{
    if (a->vec) {
        if (vec_be(t, a)) {
            (a->load ? load_vec_be : store_vec_be)(t, mem, addr, r);
        } else if (a->load) {
            ta_set_v(t, r, load_vec(t, mem, addr));
        } else {
            store_vec(t, mem, addr, r);
        }
        return;
    }
    if (!a->load) {
        ir_qst(t->b, a->log2 == 3 ? IR_I64 : IR_I32, mem, addr, ta_x(t, r));
    } else if (a->is_signed && a->wide) {
        ta_set_x(t, true, r, ir_qld(t->b, IR_I64, mem | IRM_SIGN, addr));
    } else if (a->is_signed) {
        ta_set_x(t, false, r, ir_qld(t->b, IR_I32, mem | IRM_SIGN, addr));
    } else {
        ta_set_x(t, true, r, ir_qld(t->b, IR_I64, mem, addr));
    }
}

/* With write-back: the base changes after everything that can fault. */
static void access_wb(Tr *t, const Access *a, unsigned mem, IrVal addr, IrVal wb)
{
    unsigned rn = ta_rn(t), rt = ta_rd(t);
    IrVal v;

    if (!a->load || (a->vec && vec_be(t, a))) {
        if (a->load) {
            wb = ta_stable(t, IR_I64, wb);
        }
        do_access(t, a, mem, addr, rt);
        ta_set_xsp(t, true, rn, wb);
        return;
    }
    if (a->vec) {
        v = load_vec(t, mem, addr);
        ta_set_xsp(t, true, rn, wb);
        ta_set_v(t, rt, v);
        return;
    }
    v = ir_qld(t->b, a->is_signed && !a->wide ? IR_I32 : IR_I64,
               mem | (a->is_signed ? IRM_SIGN : 0), addr);
    ta_set_xsp(t, true, rn, wb);
    ta_set_x(t, !(a->is_signed && !a->wide), rt, v);
}

static bool fp_check(Tr *t, const Access *a)
{
    return !a->vec || ta_fp_ok(t);
}

static bool unsigned_imm(Tr *t)
{
    Access a;

    if (!access_of(t, &a)) {
        return false;
    }
    if (!a.prefetch && fp_check(t, &a)) {
        do_access(t, &a, ta_memop(t, a.log2),
                  ta_add_imm(t, ta_xsp(t, ta_rn(t)), (int64_t)ta_bits(t, 21, 10) << a.log2),
                  ta_rd(t));
    }
    return true;
}

static unsigned unpriv_memop(const Tr *t, unsigned log2)
{
    unsigned mem = ta_memop(t, log2);

    if (ta_el(t) == 1 && !(t->mode & M_UAO)) {
        mem = (mem & ~(15u << IRM_MMU_SHIFT)) | MMU_EL0 << IRM_MMU_SHIFT;
    }
    return mem;
}

static bool imm9(Tr *t)
{
    Access a;
    int64_t imm = ta_sbits(t, 20, 12);
    unsigned kind = ta_bits(t, 11, 10);
    IrVal base = ta_xsp(t, ta_rn(t)), addr;

    if (!access_of(t, &a) || (kind == 2 && (a.vec || a.prefetch)) || (a.prefetch && kind != 0)) {
        return false;
    }
    if (a.prefetch || !fp_check(t, &a)) {
        return true;
    }
    switch (kind) {
    case 0:
        do_access(t, &a, ta_memop(t, a.log2), ta_add_imm(t, base, imm), ta_rd(t));
        return true;
    case 2:
        do_access(t, &a, unpriv_memop(t, a.log2), ta_add_imm(t, base, imm), ta_rd(t));
        return true;
    case 1:
        access_wb(t, &a, ta_memop(t, a.log2), base, ta_add_imm(t, base, imm));
        return true;
    default:
        addr = ta_add_imm(t, base, imm);
        access_wb(t, &a, ta_memop(t, a.log2), addr, addr);
        return true;
    }
}

static bool reg_offset(Tr *t)
{
    Access a;
    unsigned option = ta_bits(t, 15, 13);
    IrVal m = ta_x(t, ta_rm(t));

    if (!(option & 2) || !access_of(t, &a)) {
        return false;
    }
    if (a.prefetch || !fp_check(t, &a)) {
        return true;
    }
    if (!(option & 1)) {
        m = option & 4 ? ir_ext32s(t->b, m) : ir_ext32u(t->b, m);
    }
    if (ta_bit(t, 12) && a.log2) {
        m = ir_shl(t->b, IR_I64, m, ta_i64(t, a.log2));
    }
    do_access(t, &a, ta_memop(t, a.log2), ir_add(t->b, IR_I64, ta_xsp(t, ta_rn(t)), m), ta_rd(t));
    return true;
}

static bool literal(Tr *t)
{
    unsigned opc = ta_bits(t, 31, 30);
    Access a = {.load = true, .vec = ta_bit(t, 26)};

    if (a.vec) {
        if (opc == 3) {
            return false;
        }
        a.log2 = 2 + opc;
    } else {
        a.log2 = opc == 1 ? 3 : 2;
        a.is_signed = a.wide = opc == 2;
        if (opc == 3) {
            return true; /* PRFM */
        }
    }
    if (fp_check(t, &a)) {
        do_access(t, &a, ta_memop(t, a.log2), ta_i64(t, t->pc + (ta_sbits(t, 23, 5) << 2)),
                  ta_rd(t));
    }
    return true;
}

/* ---- pairs ---- */

static void pair_int(Tr *t, unsigned log2, bool load, bool is_signed, IrVal addr, IrVal wb)
{
    unsigned mem = ta_memop(t, log2), rt = ta_rd(t), rt2 = ta_ra(t);
    IrVal second = ta_add_imm(t, addr, 1 << log2), v, w;

    if (load) {
        mem |= is_signed ? IRM_SIGN : 0;
        v = ir_qld(t->b, IR_I64, mem, addr);
        w = ir_qld(t->b, IR_I64, mem, second);
        if (wb) {
            ta_set_xsp(t, true, ta_rn(t), wb);
        }
        ta_set_x(t, true, rt, v);
        ta_set_x(t, true, rt2, w);
    } else {
        IrType ty = log2 == 3 ? IR_I64 : IR_I32;

        ir_qst(t->b, ty, mem, addr, ta_x(t, rt));
        ir_qst(t->b, ty, mem, second, ta_x(t, rt2));
        if (wb) {
            ta_set_xsp(t, true, ta_rn(t), wb);
        }
    }
}

static void pair_vec(Tr *t, unsigned log2, bool load, IrVal addr, IrVal wb)
{
    unsigned mem = ta_memop(t, log2), rt = ta_rd(t), rt2 = ta_ra(t);
    IrVal second = ta_add_imm(t, addr, 1 << log2), v, w;
    Access a = {.vec = true, .load = load, .log2 = log2};

    if (vec_be(t, &a)) {
        IrVal end = wb ? ta_stable(t, IR_I64, wb) : 0;

        /* The second half is touched first, so that its fault finds nothing changed. */
        if (load) {
            ir_qld(t->b, IR_I64, (mem & ~IRM_SIZE) | IRM_8, ta_add_imm(t, addr, (2 << log2) - 1));
        }
        do_access(t, &a, mem, addr, rt);
        do_access(t, &a, mem, second, rt2);
        if (wb) {
            ta_set_xsp(t, true, ta_rn(t), end);
        }
        return;
    }
    if (load) {
        v = load_vec(t, mem, addr);
        w = load_vec(t, mem, second);
        if (wb) {
            ta_set_xsp(t, true, ta_rn(t), wb);
        }
        ta_set_v(t, rt, v);
        ta_set_v(t, rt2, w);
    } else {
        store_vec(t, mem, addr, rt);
        store_vec(t, mem, second, rt2);
        if (wb) {
            ta_set_xsp(t, true, ta_rn(t), wb);
        }
    }
}

static bool pair(Tr *t)
{
    unsigned opc = ta_bits(t, 31, 30), mode = ta_bits(t, 24, 23), log2;
    bool vec = ta_bit(t, 26), load = ta_bit(t, 22), is_signed = false;
    int64_t imm;
    IrVal base, addr, wb = 0;

    if (opc == 3) {
        return false;
    }
    if (vec) {
        log2 = 2 + opc;
    } else {
        log2 = opc == 2 ? 3 : 2;
        is_signed = opc == 1;
        if (is_signed && (!load || mode == 0)) {
            return false;
        }
    }
    if (vec && !ta_fp_ok(t)) {
        return true;
    }
    imm = ta_sbits(t, 21, 15) * (1 << log2);
    base = ta_xsp(t, ta_rn(t));
    addr = mode == 1 ? ta_stable(t, IR_I64, base) : ta_add_imm(t, base, imm);
    if (mode == 1) {
        wb = ta_add_imm(t, addr, imm);
    } else if (mode == 3) {
        wb = addr;
    }
    if (vec) {
        pair_vec(t, log2, load, addr, wb);
    } else {
        pair_int(t, log2, load, is_signed, addr, wb);
    }
    return true;
}

/* ---- Advanced SIMD structures ---- */

/* LD1, ST1 of whole registers: one access each. */
static void multi_plain(Tr *t, unsigned n, bool load, IrVal base)
{
    unsigned log2 = ta_bit(t, 30) ? 4 : 3, mem = ta_memop(t, log2) & ~IRM_ALIGN, rt = ta_rd(t);
    IrVal v[4];

    for (unsigned i = 0; i < n; i++) {
        IrVal addr = ta_add_imm(t, base, i << log2);

        if (load) {
            v[i] = ir_qld(t->b, IR_V128, mem, addr);
        } else {
            ir_qst(t->b, IR_V128, mem, addr, ta_v((rt + i) & 31));
        }
    }
    for (unsigned i = 0; load && i < n; i++) {
        ta_set_v(t, (rt + i) & 31, v[i]);
    }
}

/* Registers and bytes of the structure instruction; false: unallocated. */
static bool struct_shape(const Tr *t, unsigned *regs, unsigned *bytes, bool *plain)
{
    *plain = false;
    if (!ta_bit(t, 24)) { /* multiple structures */
        static const uint8_t n[16] = {4, 0, 4, 0, 3, 0, 3, 1, 2, 0, 2};
        unsigned op = ta_bits(t, 15, 12);

        *regs = n[op];
        *plain = op == 2 || op == 6 || op == 7 || op == 10;
        *bytes = *regs * (ta_bit(t, 30) ? 16 : 8);
        return *regs && (*plain || ta_bits(t, 11, 10) != 3 || ta_bit(t, 30)) && !ta_bit(t, 21);
    } else {
        unsigned op = ta_bits(t, 15, 13), size = ta_bits(t, 11, 10), scale = op >> 1;

        *regs = ((op & 1) << 1 | ta_bit(t, 21)) + 1;
        if (scale == 3) {
            if (!ta_bit(t, 22) || ta_bit(t, 12)) {
                return false;
            }
            scale = size;
        } else if (scale == 1) {
            if (size & 1) {
                return false;
            }
        } else if (scale == 2) {
            if (size & 2) {
                return false;
            }
            if (size & 1) {
                if (ta_bit(t, 12)) {
                    return false;
                }
                scale = 3;
            }
        }
        *bytes = *regs << scale;
        return true;
    }
}

bool ta_simd_ls(Tr *t)
{
    unsigned regs, bytes;
    bool post = ta_bit(t, 23), load = ta_bit(t, 22), plain;
    IrVal base, wb = 0;

    if (ta_bit(t, 31) || (!post && ta_rm(t)) || !struct_shape(t, &regs, &bytes, &plain)) {
        return false;
    }
    if (!ta_fp_ok(t)) {
        return true;
    }
    base = ta_xsp(t, ta_rn(t));
    if (post) {
        wb = ta_rm(t) == 31 ? ta_add_imm(t, base, bytes)
                            : ir_add(t->b, IR_I64, base, ta_x(t, ta_rm(t)));
    }
    if (plain && !(t->mode & (M_BE | M_ALIGN))) {
        multi_plain(t, regs, load, base);
    } else {
        wb = wb ? ta_stable(t, IR_I64, wb) : 0;
        ir_call3(t->b, load ? &a64_hd_simd_ld : &a64_hd_simd_st, ta_i64(t, t->insn), base,
                 ta_i64(t, ta_mmu(t) | (t->mode & M_BE ? 1 << 8 : 0) |
                               (t->mode & M_ALIGN ? 1 << 9 : 0)));
    }
    if (wb) {
        ta_set_xsp(t, true, ta_rn(t), wb);
    }
    return true;
}

/* LDRAA, LDRAB */
static bool pac_load(Tr *t)
{
    IrVal addr, ptr;

    if (ta_bits(t, 31, 30) != 3 || ta_bit(t, 26) ||
        !(id_field(t->c->isar1, 4) | id_field(t->c->isar1, 8))) {
        return false;
    }
    ptr = ir_call3(t->b, &a64_hd_pac, ta_xsp(t, ta_rn(t)), ta_i64(t, 0),
                   ta_i64(t, (2 + ta_bit(t, 23)) << 2 | 1));
    addr = ta_add_imm(t, ptr, (ta_sbits(t, 22, 22) * 512 + ta_bits(t, 20, 12)) * 8);
    if (ta_bit(t, 11)) {
        Access a = {.load = true, .log2 = 3};

        access_wb(t, &a, ta_memop(t, 3), addr, addr);
    } else {
        ta_set_x(t, true, ta_rd(t), ir_qld(t->b, IR_I64, ta_memop(t, 3), addr));
    }
    return true;
}

bool ta_ls(Tr *t)
{
    switch (ta_bits(t, 29, 27)) {
    case 1:
        if (ta_bit(t, 26)) {
            return ta_simd_ls(t);
        }
        return !ta_bit(t, 24) && ta_exclusive(t);
    case 3:
        if (ta_bit(t, 24)) {
            return !ta_bit(t, 26) && !ta_bit(t, 21) && ta_bits(t, 11, 10) == 0 && ta_rcpc(t);
        }
        return literal(t);
    case 5:
        return pair(t);
    case 7:
        if (ta_bit(t, 24)) {
            return unsigned_imm(t);
        }
        if (!ta_bit(t, 21)) {
            return imm9(t);
        }
        switch (ta_bits(t, 11, 10)) {
        case 0:
            return !ta_bit(t, 26) && ta_lse(t);
        case 2:
            return reg_offset(t);
        default:
            return pac_load(t);
        }
    default:
        return ta_simd_ls(t);
    }
}
