/*
 * x86 string instructions. Without a repeat prefix they are a few operations in the block; with
 * it a helper works page by page (int_helpers.c). Intel SDM volume 2, REP.
 */
#include "target/x86/helpers.h"
#include "target/x86/int_helpers.h"
#include "target/x86/tr_util.h"

static IrVal index_off(Tr *t, unsigned r)
{
    IrVal v = xg(XG_RAX + r);

    return t->asz == 8 ? v : tr_zext(t, IR_I64, t->asz, v);
}

static int source_seg(const Tr *t)
{
    return t->seg >= 0 ? t->seg : S_DS;
}

/* What an index register advances by: the size, or its negative if DF is set. */
static IrVal advance(Tr *t, unsigned sz)
{
    IrBlock *b = t->b;
    IrVal df = ir_lde(b, IR_I64, IRM_32, offsetof(X86Cpu, eflags));

    df = ir_extract(b, IR_I64, df, 10, 1, false);
    df = ir_shl(b, IR_I64, df, tr_i64(t, tr_log2(sz) + 1));
    return ir_sub(b, IR_I64, tr_i64(t, sz), df);
}

static void move_index(Tr *t, unsigned r, IrVal by)
{
    tr_set_reg(t, t->asz, r, ir_add(t->b, tr_type(t->asz), xg(XG_RAX + r), by));
}

static IrVal ld_source(Tr *t, unsigned sz)
{
    return tr_ld(t, sz, tr_linear(t, source_seg(t), index_off(t, R_RSI), sz, false));
}

static IrVal ea_dest(Tr *t, unsigned sz, bool write)
{
    return tr_linear(t, S_ES, index_off(t, R_RDI), sz, write);
}

static void one_element(Tr *t, unsigned sz)
{
    IrVal x, y, by;

    switch (t->op & 0xfe) {
    case 0xa4: /* MOVS */
        x = ld_source(t, sz);
        tr_st(t, sz, ea_dest(t, sz, true), x);
        by = advance(t, sz);
        move_index(t, R_RSI, by);
        move_index(t, R_RDI, by);
        break;
    case 0xa6: /* CMPS */
        x = ld_source(t, sz);
        y = tr_ld(t, sz, ea_dest(t, sz, false));
        by = advance(t, sz);
        move_index(t, R_RSI, by);
        move_index(t, R_RDI, by);
        tr_set_flags(t, (IrFlags){IRF_SUB, sz, x, y});
        break;
    case 0xaa: /* STOS */
        tr_st(t, sz, ea_dest(t, sz, true), xg(XG_RAX));
        move_index(t, R_RDI, advance(t, sz));
        break;
    case 0xac: /* LODS */
        x = ld_source(t, sz);
        move_index(t, R_RSI, advance(t, sz));
        tr_set_reg_zx(t, sz, R_RAX, x);
        break;
    default: /* SCAS */
        x = tr_stable(t, tr_type(sz), xg(XG_RAX));
        y = tr_ld(t, sz, ea_dest(t, sz, false));
        move_index(t, R_RDI, advance(t, sz));
        tr_set_flags(t, (IrFlags){IRF_SUB, sz, x, y});
        break;
    }
}

static const IrHelper *helper(uint8_t op)
{
    switch (op & 0xfe) {
    case 0x6c:
        return &x86_hd_ins;
    case 0x6e:
        return &x86_hd_outs;
    case 0xa4:
        return &x86_hd_movs;
    case 0xa6:
        return &x86_hd_cmps;
    case 0xaa:
        return &x86_hd_stos;
    case 0xac:
        return &x86_hd_lods;
    default:
        return &x86_hd_scas;
    }
}

static void by_helper(Tr *t, unsigned sz)
{
    uint32_t desc = sz | t->asz << STR_ASZ_SHIFT | source_seg(t) << STR_SEG_SHIFT;
    unsigned done;
    IrVal r;

    desc |= t->rep ? STR_REP : 0;
    desc |= t->rep == 0xf2 ? STR_WHILE_NZ : 0;
    desc |= tr_mode(t, M_TF) ? STR_ONE : 0;
    desc |= tr_code64(t) ? STR_CODE64 : 0;
    desc |= !tr_code64(t) ? STR_LIMITS : 0;
    desc |= tr_mode(t, M_DEBUG) ? STR_DEBUG : 0;
    tr_pack_first(t);
    r = ir_call1(t->b, helper(t->op), tr_i64(t, desc));
    if (t->rep) {
        done = ir_label(t->b);
        ir_brcond(t->b, IR_I64, IRC_NE, r, tr_i64(t, 0), done);
        tr_exit(t, tr_i64(t, t->pc));
        ir_place(t->b, done);
    }
}

bool tr_string(Tr *t)
{
    unsigned sz = !(t->op & 1) ? 1 : t->osz;
    bool io = t->op >= 0x6c && t->op <= 0x6f;

    if (t->map || !(io || (t->op >= 0xa4 && t->op <= 0xa7) || (t->op >= 0xaa && t->op <= 0xaf))) {
        return false;
    }
    if (io) {
        sz = MIN(sz, 4);
    }
    if (io || t->rep) {
        by_helper(t, sz);
    } else {
        one_element(t, sz);
    }
    return true;
}
