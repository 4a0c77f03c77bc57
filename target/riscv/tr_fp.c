/* Floating-point instructions: F, D, Zfh, Zfhmin. Unprivileged ISA, chapters 20-22. */
#include "accel/jit/ir-vec.h"
#include "target/riscv/fp.h"
#include "target/riscv/translate.h"

/* The encoding's fmt field. */
static RvFmt fmt_of(unsigned field)
{
    return (RvFmt)field;
}

/* ---- state ---- */

/* false: floating point is off, the instruction became an exception. */
static bool fp_on(Tr *t)
{
    if (t->mode & RM_FS_OFF) {
        rvt_illegal(t, 0);
        return false;
    }
    return true;
}

/* Something of the floating-point state is written; after everything that can fault. */
static void fp_dirty(Tr *t)
{
    if (!t->fs_dirty) {
        IrVal st = ir_lde(t->b, IR_I64, IRM_64, offsetof(RiscvCpu, mstatus));

        ir_ste(t->b, IR_I64, IRM_64, offsetof(RiscvCpu, mstatus),
               ir_or(t->b, IR_I64, st, rvt_k(t, MST_FS)));
        t->fs_dirty = true;
    }
}

/* Rounding mode of the instruction; false: reserved, the instruction became an exception. */
static bool rounding(Tr *t, unsigned *rm)
{
    *rm = t->insn >> 12 & 7;
    if (*rm == RM_DYN) {
        *rm = t->mode >> RM_FRM_SHIFT & 7;
    }
    if (*rm > RM_RMM) {
        rvt_illegal(t, 0);
        return false;
    }
    return true;
}

static IrVal fbits(Tr *t, unsigned n)
{
    return ir_vtoi(t->b, IR_I64, IRVOP_MOVD_TOI, rvt_fg(n), 0);
}

static void set_fbits(Tr *t, unsigned n, IrVal v, RvFmt f)
{
    fp_dirty(t);
    ir_mov(t->b, IR_V128, rvt_fg(n), ir_vfromi(t->b, IR_I64, IRVOP_MOVD_FROMI, 0, v, 0));
    t->boxed = (t->boxed & ~(1u << n)) | (f == FMT_S) << n;
}

/* Bits of f[n] as a number of format @f: unboxed, upper bits 0. */
static IrVal fnum(Tr *t, unsigned n, RvFmt f)
{
    IrVal v = fbits(t, n);

    if (f == FMT_D) {
        return v;
    }
    if (f == FMT_S && t->boxed >> n & 1) {
        return ir_ext32u(t->b, v);
    }
    v = ir_movcond(t->b, IR_I64, IR_I64, IRC_LTU, v, rvt_k(t, f == FMT_S ? BOX_S : BOX_H),
                   rvt_k(t, rv_nan(f)), v);
    return f == FMT_S ? ir_ext32u(t->b, v) : ir_ext16u(t->b, IR_I64, v);
}

static IrVal box(Tr *t, IrVal v, RvFmt f)
{
    return f == FMT_D ? v : ir_or(t->b, IR_I64, v, rvt_k(t, f == FMT_S ? BOX_S : BOX_H));
}

/* ---- moves, loads, stores ---- */

static void op_fload(Tr *t, unsigned f)
{
    IrVal addr, v;

    if (!fp_on(t)) {
        return;
    }
    addr = rvt_addr(t, rvt_rs1(t), rvt_imm_i(t));
    if (f == FMT_D) {
        v = ir_qld(t->b, IR_V128, rvt_memop(t, 3), addr);
        fp_dirty(t);
        ir_mov(t->b, IR_V128, rvt_fg(rvt_rd(t)), v);
        t->boxed &= ~(1u << rvt_rd(t));
    } else {
        v = ir_qld(t->b, IR_I64, rvt_memop(t, f == FMT_S ? 2 : 1), addr);
        set_fbits(t, rvt_rd(t), box(t, v, f), f);
    }
}

static void op_fstore(Tr *t, unsigned f)
{
    IrVal addr;

    if (!fp_on(t)) {
        return;
    }
    addr = rvt_addr(t, rvt_rs1(t), rvt_imm_s(t));
    if (f == FMT_H) {
        ir_qst(t->b, IR_I64, rvt_memop(t, 1), addr, fbits(t, rvt_rs2(t)));
    } else {
        ir_qst(t->b, IR_V128, rvt_memop(t, f == FMT_D ? 3 : 2), addr, rvt_fg(rvt_rs2(t)));
    }
}

static void op_fmv_to_x(Tr *t, unsigned f)
{
    IrVal v;

    if (!fp_on(t)) {
        return;
    }
    v = fbits(t, rvt_rs1(t));
    rvt_set_x(t, rvt_rd(t),
              f == FMT_D   ? v
              : f == FMT_S ? ir_ext32s(t->b, v)
                           : ir_ext16s(t->b, IR_I64, v));
}

static void op_fmv_from_x(Tr *t, unsigned f)
{
    if (fp_on(t)) {
        IrVal v = rvt_x(t, rvt_rs1(t));

        v = f == FMT_D ? v : f == FMT_S ? ir_ext32u(t->b, v) : ir_ext16u(t->b, IR_I64, v);
        set_fbits(t, rvt_rd(t), box(t, v, f), f);
    }
}

static void op_fsgnj(Tr *t, unsigned f)
{
    unsigned kind = t->insn >> 12 & 7, rs1 = rvt_rs1(t), rs2 = rvt_rs2(t);
    uint64_t sign = rv_sign(f);
    IrVal a, s;

    if (!fp_on(t)) {
        return;
    }
    if (rs1 == rs2 && kind == 0 && (f == FMT_D || (f == FMT_S && t->boxed >> rs1 & 1))) {
        fp_dirty(t);
        ir_mov(t->b, IR_V128, rvt_fg(rvt_rd(t)), rvt_fg(rs1));
        t->boxed = (t->boxed & ~(1u << rvt_rd(t))) | (f == FMT_S) << rvt_rd(t);
        return;
    }
    a = fnum(t, rs1, f);
    s = rs1 == rs2 ? a : fnum(t, rs2, f);
    if (kind == 1) {
        s = ir_not(t->b, IR_I64, s);
    }
    s = ir_and(t->b, IR_I64, s, rvt_k(t, sign));
    a = kind == 2 ? ir_xor(t->b, IR_I64, a, s)
                  : ir_or(t->b, IR_I64, ir_and(t->b, IR_I64, a, rvt_k(t, ~sign)), s);
    set_fbits(t, rvt_rd(t), box(t, a, f), f);
}

/* ---- arithmetic ---- */

/* Does the host's rounding control round as @rm while this block runs? */
static bool host_rounds(const Tr *t, unsigned rm)
{
    unsigned frm = t->mode >> RM_FRM_SHIFT & 7;

    return rm != RM_RMM && rv_mxcsr_rc(frm) == rv_mxcsr_rc(rm);
}

/* f[n] as a vector whose low part is a number of format @f, boxed right. */
static IrVal fvec(Tr *t, unsigned n, RvFmt f)
{
    if (f == FMT_D || t->boxed >> n & 1) {
        return rvt_fg(n);
    }
    return ir_vfromi(t->b, IR_I64, IRVOP_MOVD_FROMI, 0, box(t, fnum(t, n, f), f), 0);
}

/* f[rd] = @r, which is a local; a NaN becomes the canonical one. */
static void set_result(Tr *t, IrVal r, RvFmt f)
{
    unsigned number = ir_label(t->b), rd = rvt_rd(t);
    IrFlags unordered = {.kind = IRF_VALUE, .size = 4};

    unordered.a = ir_vcmpflags(t->b, f == FMT_D ? IRVOP_UCOMISD : IRVOP_UCOMISS, r, r);
    ir_brflag(t->b, IRFC_NP, &unordered, number);
    ir_mov(t->b, IR_V128, r,
           ir_vfromi(t->b, IR_I64, IRVOP_MOVD_FROMI, 0, rvt_k(t, rv_box(f, rv_nan(f))), 0));
    ir_place(t->b, number);
    ir_mov(t->b, IR_V128, rvt_fg(rd), r);
    t->boxed = (t->boxed & ~(1u << rd)) | (uint32_t)(f == FMT_S) << rd;
}

/* Arithmetic on the host's unit in line. */
static void op_host2(Tr *t, RvFpOp op, RvFmt f)
{
    static const uint16_t vops[][2] = {{IRVOP_ADDSS, IRVOP_ADDSD},
                                       {IRVOP_SUBSS, IRVOP_SUBSD},
                                       {IRVOP_MULSS, IRVOP_MULSD},
                                       {IRVOP_DIVSS, IRVOP_DIVSD},
                                       {IRVOP_SQRTSS, IRVOP_SQRTSD}};
    IrVal r = ir_local(t->b, IR_V128), a = fvec(t, rvt_rs1(t), f);
    IrVal b = op == FP_SQRT ? a : fvec(t, rvt_rs2(t), f);

    fp_dirty(t);
    ir_vop_to(t->b, vops[op][f], r, a, b, 0);
    set_result(t, r, f);
}

/* FLT and FLE are signalling, FEQ is quiet, as COMIS and UCOMIS are. */
static void op_host_cmp(Tr *t, RvFpOp op, RvFmt f)
{
    IrVal a = fvec(t, rvt_rs1(t), f), b = fvec(t, rvt_rs2(t), f), r;
    IrFlags flags = {.kind = IRF_VALUE, .size = 4};

    fp_dirty(t);
    if (op == FP_EQ) {
        flags.a = ir_vcmpflags(t->b, f == FMT_D ? IRVOP_UCOMISD : IRVOP_UCOMISS, a, b);
        r = ir_setflag(t->b, IRFC_Z, &flags);
        r = ir_and(t->b, IR_I64, ir_ext32u(t->b, r),
                   ir_ext32u(t->b, ir_setflag(t->b, IRFC_NP, &flags)));
    } else { /* b above a, b not below a: both are false when unordered */
        flags.a = ir_vcmpflags(t->b, f == FMT_D ? IRVOP_COMISD : IRVOP_COMISS, b, a);
        r = ir_ext32u(t->b, ir_setflag(t->b, op == FP_LT ? IRFC_NCZ : IRFC_NC, &flags));
    }
    rvt_set_x(t, rvt_rd(t), r);
}

static void op_f2(Tr *t, unsigned op)
{
    RvFmt f = fmt_of(t->insn >> 25 & 3);
    unsigned rm = 0;
    bool rounds = op <= FP_SQRT, to_int = op >= FP_LE;
    IrVal r;

    if (!fp_on(t) || (rounds && !rounding(t, &rm))) {
        return;
    }
    if (rounds && f != FMT_H && host_rounds(t, rm)) {
        op_host2(t, op, f);
        return;
    }
    if (f != FMT_H && to_int) {
        op_host_cmp(t, op, f);
        return;
    }
    fp_dirty(t);
    r = ir_call3(t->b, &rv_hd_fp_op2, rvt_k(t, op | f << 8 | rm << 16), fbits(t, rvt_rs1(t)),
                 op == FP_SQRT ? rvt_k(t, 0) : fbits(t, rvt_rs2(t)));
    if (to_int) {
        rvt_set_x(t, rvt_rd(t), r);
    } else {
        set_fbits(t, rvt_rd(t), r, f);
    }
}

static void op_f3(Tr *t, unsigned op)
{
    RvFmt f = fmt_of(t->insn >> 25 & 3);
    unsigned rm;

    if (!fp_on(t) || !rounding(t, &rm)) {
        return;
    }
    fp_dirty(t);
    set_fbits(t, rvt_rd(t),
              ir_call4(t->b, &rv_hd_fp_op3, rvt_k(t, op | f << 8 | rm << 16), fbits(t, rvt_rs1(t)),
                       fbits(t, rvt_rs2(t)), fbits(t, t->insn >> 27)),
              f);
}

/* Between S and D on the host's unit. */
static void op_host_cvt(Tr *t, RvFmt from)
{
    IrVal r = ir_local(t->b, IR_V128), a = fvec(t, rvt_rs1(t), from), into = a;

    fp_dirty(t);
    if (from == FMT_D) { /* what stays above the result is the box */
        into = ir_vfromi(t->b, IR_I64, IRVOP_MOVD_FROMI, 0, rvt_k(t, UINT64_MAX), 0);
    }
    ir_vop_to(t->b, from == FMT_D ? IRVOP_CVTSD2SS : IRVOP_CVTSS2SD, r, into, a, 0);
    set_result(t, r, from == FMT_D ? FMT_S : FMT_D);
}

/* aux: from format | to format << 4 */
static void op_fcvt(Tr *t, unsigned aux)
{
    unsigned rm;

    if (!fp_on(t) || !rounding(t, &rm)) {
        return;
    }
    if ((aux & 15) <= FMT_D && aux >> 4 <= FMT_D && ((aux & 15) == FMT_S || host_rounds(t, rm))) {
        op_host_cvt(t, aux & 15);
        return;
    }
    fp_dirty(t);
    set_fbits(t, rvt_rd(t),
              ir_call2(t->b, &rv_hd_fp_cvt, rvt_k(t, (aux & 15) | aux >> 4 << 8 | rm << 16),
                       fbits(t, rvt_rs1(t))),
              fmt_of(aux >> 4));
}

/* Signed integers on the host's unit; its "integer indefinite" goes to the helper. */
static void op_host_to_x(Tr *t, RvFmt f, RvFpInt kind, unsigned rm)
{
    static const uint16_t vops[2][2] = {{IRVOP_CVTSS2SI, IRVOP_CVTSD2SI},
                                        {IRVOP_CVTTSS2SI, IRVOP_CVTTSD2SI}};
    IrType ty = kind == FPI_W ? IR_I32 : IR_I64;
    IrVal r = ir_local(t->b, IR_I64), v, a = fvec(t, rvt_rs1(t), f);
    unsigned good = ir_label(t->b);

    fp_dirty(t);
    v = ir_vtoi(t->b, ty, vops[rm == RM_RTZ][f], a, 0);
    ir_mov(t->b, IR_I64, r, kind == FPI_W ? ir_ext32s(t->b, v) : v);
    ir_brcond(t->b, IR_I64, IRC_NE, r,
              rvt_k(t, kind == FPI_W ? (uint64_t)INT32_MIN : (uint64_t)INT64_MIN), good);
    ir_mov(
        t->b, IR_I64, r,
        ir_call2(t->b, &rv_hd_fp_to_int, rvt_k(t, kind | f << 8 | rm << 16), fbits(t, rvt_rs1(t))));
    ir_place(t->b, good);
    rvt_set_x(t, rvt_rd(t), r);
}

static void op_fcvt_to_x(Tr *t, unsigned f)
{
    unsigned rm, kind = rvt_rs2(t);

    if (!fp_on(t) || !rounding(t, &rm)) {
        return;
    }
    if (f != FMT_H && (kind == FPI_W || kind == FPI_L) && (rm == RM_RTZ || host_rounds(t, rm))) {
        op_host_to_x(t, f, kind, rm);
        return;
    }
    fp_dirty(t);
    rvt_set_x(
        t, rvt_rd(t),
        ir_call2(t->b, &rv_hd_fp_to_int, rvt_k(t, kind | f << 8 | rm << 16), fbits(t, rvt_rs1(t))));
}

static void op_fcvt_from_x(Tr *t, unsigned f)
{
    unsigned rm, kind = rvt_rs2(t);

    if (!fp_on(t) || !rounding(t, &rm)) {
        return;
    }
    fp_dirty(t);
    if (f != FMT_H && kind != FPI_LU && host_rounds(t, rm)) {
        IrVal v = rvt_x(t, rvt_rs1(t)), into;

        v = kind == FPI_W ? ir_ext32s(t->b, v) : kind == FPI_WU ? ir_ext32u(t->b, v) : v;
        into = ir_vfromi(t->b, IR_I64, IRVOP_MOVD_FROMI, 0, rvt_k(t, UINT64_MAX), 0);
        ir_mov(t->b, IR_V128, rvt_fg(rvt_rd(t)),
               ir_vfromi(t->b, IR_I64, f == FMT_D ? IRVOP_CVTSI2SD : IRVOP_CVTSI2SS, into, v, 0));
        t->boxed = (t->boxed & ~(1u << rvt_rd(t))) | (uint32_t)(f == FMT_S) << rvt_rd(t);
        return;
    }
    set_fbits(t, rvt_rd(t),
              ir_call2(t->b, &rv_hd_fp_from_int, rvt_k(t, kind | f << 8 | rm << 16),
                       rvt_x(t, rvt_rs1(t))),
              f);
}

static void op_fclass(Tr *t, unsigned f)
{
    if (fp_on(t)) {
        rvt_set_x(t, rvt_rd(t), ir_call2(t->b, &rv_hd_fp_class, rvt_k(t, f), fbits(t, rvt_rs1(t))));
    }
}

/* ---- rows ---- */

#define FR(f7, fmt) 0xfe00007f, (0x53 | (uint32_t)(f7) << 27 | (uint32_t)(fmt) << 25)
#define FR3(f7, fmt, f3)                                                                           \
    0xfe00707f, (0x53 | (uint32_t)(f7) << 27 | (uint32_t)(fmt) << 25 | (f3) << 12)
#define FU(f7, fmt, rs2)                                                                           \
    0xfff0007f, (0x53 | (uint32_t)(f7) << 27 | (uint32_t)(fmt) << 25 | (rs2) << 20)
#define FU3(f7, fmt, rs2, f3)                                                                      \
    0xfff0707f, (0x53 | (uint32_t)(f7) << 27 | (uint32_t)(fmt) << 25 | (rs2) << 20 | (f3) << 12)

/* What S, D and H have alike. */
#define FORMAT(fmt, ext)                                                                           \
    {FR(0x00, fmt), ext, 0, op_f2, FP_ADD}, {FR(0x01, fmt), ext, 0, op_f2, FP_SUB},                \
        {FR(0x02, fmt), ext, 0, op_f2, FP_MUL}, {FR(0x03, fmt), ext, 0, op_f2, FP_DIV},            \
        {FU(0x0b, fmt, 0), ext, 0, op_f2, FP_SQRT}, {FR3(0x04, fmt, 0), ext, 0, op_fsgnj, fmt},    \
        {FR3(0x04, fmt, 1), ext, 0, op_fsgnj, fmt}, {FR3(0x04, fmt, 2), ext, 0, op_fsgnj, fmt},    \
        {FR3(0x05, fmt, 0), ext, 0, op_f2, FP_MIN}, {FR3(0x05, fmt, 1), ext, 0, op_f2, FP_MAX},    \
        {FR3(0x14, fmt, 0), ext, 0, op_f2, FP_LE}, {FR3(0x14, fmt, 1), ext, 0, op_f2, FP_LT},      \
        {FR3(0x14, fmt, 2), ext, 0, op_f2, FP_EQ}, {FU3(0x1c, fmt, 0, 1), ext, 0, op_fclass, fmt}, \
        {FU(0x18, fmt, 0), ext, 0, op_fcvt_to_x, fmt},                                             \
        {FU(0x18, fmt, 1), ext, 0, op_fcvt_to_x, fmt},                                             \
        {FU(0x18, fmt, 2), ext, 64, op_fcvt_to_x, fmt},                                            \
        {FU(0x18, fmt, 3), ext, 64, op_fcvt_to_x, fmt},                                            \
        {FU(0x1a, fmt, 0), ext, 0, op_fcvt_from_x, fmt},                                           \
        {FU(0x1a, fmt, 1), ext, 0, op_fcvt_from_x, fmt},                                           \
        {FU(0x1a, fmt, 2), ext, 64, op_fcvt_from_x, fmt},                                          \
    {                                                                                              \
        FU(0x1a, fmt, 3), ext, 64, op_fcvt_from_x, fmt                                             \
    }

static const TrRow fp_rows[] = {
    FORMAT(FMT_S, RVE_F),
    FORMAT(FMT_D, RVE_D),
    FORMAT(FMT_H, RVE_ZFH),
    {FU3(0x1c, FMT_S, 0, 0), RVE_F, 0, op_fmv_to_x, FMT_S},
    {FU3(0x1e, FMT_S, 0, 0), RVE_F, 0, op_fmv_from_x, FMT_S},
    {FU3(0x1c, FMT_D, 0, 0), RVE_D, 64, op_fmv_to_x, FMT_D},
    {FU3(0x1e, FMT_D, 0, 0), RVE_D, 64, op_fmv_from_x, FMT_D},
    {FU3(0x1c, FMT_H, 0, 0), RVE_ZFHMIN, 0, op_fmv_to_x, FMT_H},
    {FU3(0x1e, FMT_H, 0, 0), RVE_ZFHMIN, 0, op_fmv_from_x, FMT_H},
    {FU(0x08, FMT_S, FMT_D), RVE_D, 0, op_fcvt, FMT_D | FMT_S << 4},
    {FU(0x08, FMT_D, FMT_S), RVE_D, 0, op_fcvt, FMT_S | FMT_D << 4},
    {FU(0x08, FMT_S, FMT_H), RVE_ZFHMIN, 0, op_fcvt, FMT_H | FMT_S << 4},
    {FU(0x08, FMT_H, FMT_S), RVE_ZFHMIN, 0, op_fcvt, FMT_S | FMT_H << 4},
    {FU(0x08, FMT_D, FMT_H), RVE_ZFHMIN, 0, op_fcvt, FMT_H | FMT_D << 4},
    {FU(0x08, FMT_H, FMT_D), RVE_ZFHMIN, 0, op_fcvt, FMT_D | FMT_H << 4},
    {0},
};

#define F4(op, fn)                                                                                 \
    {0x0600007f, (op) | FMT_S << 25, RVE_F, 0, op_f3, fn},                                         \
        {0x0600007f, (op) | FMT_D << 25, RVE_D, 0, op_f3, fn},                                     \
    {                                                                                              \
        0x0600007f, (op) | FMT_H << 25, RVE_ZFH, 0, op_f3, fn                                      \
    }

static const TrRow madd_rows[] = {F4(0x43, FP_MADD), {0}};
static const TrRow msub_rows[] = {F4(0x47, FP_MSUB), {0}};
static const TrRow nmsub_rows[] = {F4(0x4b, FP_NMSUB), {0}};
static const TrRow nmadd_rows[] = {F4(0x4f, FP_NMADD), {0}};

static const TrRow fload_rows[] = {
    {TR_I3(0x07, 1), RVE_ZFHMIN, 0, op_fload, FMT_H},
    {TR_I3(0x07, 2), RVE_F, 0, op_fload, FMT_S},
    {TR_I3(0x07, 3), RVE_D, 0, op_fload, FMT_D},
    {0},
};
static const TrRow fstore_rows[] = {
    {TR_I3(0x27, 1), RVE_ZFHMIN, 0, op_fstore, FMT_H},
    {TR_I3(0x27, 2), RVE_F, 0, op_fstore, FMT_S},
    {TR_I3(0x27, 3), RVE_D, 0, op_fstore, FMT_D},
    {0},
};

const TrRow *const rv_tr_fp_rows[32] = {
    [0x53 >> 2] = fp_rows,     [0x43 >> 2] = madd_rows,  [0x47 >> 2] = msub_rows,
    [0x4b >> 2] = nmsub_rows,  [0x4f >> 2] = nmadd_rows, [0x07 >> 2] = fload_rows,
    [0x27 >> 2] = fstore_rows,
};
