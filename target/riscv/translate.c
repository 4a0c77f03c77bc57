/*
 * RISC-V code → IR: fetch, the decoder's loop, and what its parts share. The encodings are rows of
 * tables (tr_int.c, tr_fp.c, tr_sys.c), found by major opcode.
 */
#include "target/riscv/translate.h"
#include <string.h>

IrVal rvt_x(Tr *t, unsigned n)
{
    return n == 0 ? rvt_k(t, 0) : t->known >> n & 1 ? rvt_k(t, t->val[n]) : rvt_xg(n);
}

void rvt_set_x(Tr *t, unsigned n, IrVal v)
{
    uint64_t imm;

    if (!n) {
        return;
    }
    t->known &= ~(1u << n);
    if (ir_is_const(t->b, v, &imm)) {
        t->known |= 1u << n;
        t->val[n] = imm;
    }
    ir_mov(t->b, IR_I64, rvt_xg(n), v);
}

IrVal rvt_form(Tr *t, IrVal v)
{
    return t->rv32 ? ir_ext32s(t->b, v) : v;
}

IrVal rvt_addr(Tr *t, unsigned n, int64_t imm)
{
    IrVal a = ir_add(t->b, IR_I64, rvt_x(t, n), rvt_k(t, imm));

    return t->rv32 ? ir_ext32u(t->b, a) : a;
}

unsigned rvt_memop(const Tr *t, unsigned log2)
{
    return log2 | t->mmu << IRM_MMU_SHIFT;
}

void rvt_illegal(Tr *t, unsigned aux)
{
    ir_call2(t->b, &rv_hd_raise, rvt_k(t, EXC_ILLEGAL), rvt_k(t, t->raw));
    t->ended = true;
}

void rvt_goto(Tr *t, uint64_t pc)
{
    ir_jmp(t->b, rv_zext(t->c, pc));
    t->ended = true;
}

void rvt_goto_ind(Tr *t, IrVal pc, IrHint hint)
{
    uint64_t imm;

    if (ir_is_const(t->b, pc, &imm)) {
        rvt_goto(t, imm);
        return;
    }
    t->ended = true;
    if (t->rv32) {
        ir_jmp_ind(t->b, ir_ext32u(t->b, pc), hint);
        return;
    }
    /* The jump cache takes canonical addresses only; others go the slow way (and usually fault). */
    unsigned odd = ir_label(t->b);
    IrVal to = ir_local(t->b, IR_I64), top;

    ir_mov(t->b, IR_I64, to, pc);
    top = ir_add(t->b, IR_I64, ir_sar(t->b, IR_I64, to, rvt_k(t, 47)), rvt_k(t, 1));
    ir_brcond(t->b, IR_I64, IRC_GTU, top, rvt_k(t, 1), odd);
    ir_jmp_ind(t->b, to, hint);
    ir_place(t->b, odd);
    ir_exit(t->b, to);
}

void rvt_exit_next(Tr *t)
{
    ir_exit(t->b, rvt_k(t, t->next));
    t->ended = true;
}

/* ---- fetch ---- */

static uint16_t fetch16(Tr *t, uint64_t addr)
{
    uint8_t lo = 0, hi = 0;

    addr = rv_zext(t->c, addr);
    if (!jit_fetch(&t->c->vcpu, addr, &lo) || !jit_fetch(&t->c->vcpu, addr + 1, &hi)) {
        t->fetch_fault = true;
        t->fault_addr = addr;
        return 0;
    }
    return lo | hi << 8;
}

static void fetch(Tr *t)
{
    uint16_t low = fetch16(t, t->pc);

    t->raw = t->insn = low;
    t->next = t->pc + 2;
    if (t->fetch_fault) {
        return;
    }
    if ((low & 3) == 3) {
        t->raw = t->insn = low | (uint32_t)fetch16(t, t->pc + 2) << 16;
        t->next = t->pc + 4;
    } else {
        t->insn = rv_has(t->c, RVE_C) ? rv_expand(t->c, low) : 0;
    }
}

/* ---- decode ---- */

static const TrRow *find(const Tr *t, const TrRow *r)
{
    for (; r && r->fn; r++) {
        if ((t->insn & r->mask) == r->match && rv_has(t->c, r->ext) &&
            (!r->only || (r->only == 32) == t->rv32)) {
            return r;
        }
    }
    return NULL;
}

static void one_insn(Tr *t)
{
    unsigned op = t->insn >> 2 & 31;
    const TrRow *r = NULL;

    if ((t->insn & 3) == 3) {
        r = find(t, rv_tr_int_rows[op]);
        r = r ? r : find(t, rv_tr_fp_rows[op]);
        r = r ? r : find(t, rv_tr_sys_rows[op]);
    }
    if (r) {
        r->fn(t, r->aux);
    } else {
        rvt_illegal(t, 0);
    }
}

/* false: the instruction could not be fetched and nothing of it is left. */
static bool step(Tr *t, bool first)
{
    static const IrFlags none = {.kind = IRF_PACKED};
    IrMark mark = ir_mark(t->b);

    fetch(t);
    if (t->fetch_fault && !first) {
        ir_rollback(t->b, mark);
        return false;
    }
    ir_insn(t->b, t->pc, &none);
    if (t->fetch_fault) {
        t->b->transient = true;
        ir_call1(t->b, &rv_hd_raise_fetch, rvt_k(t, t->fault_addr));
        t->ended = true;
    } else {
        one_insn(t);
    }
    return true;
}

void rv_translate(VCpu *cpu, IrBlock *b, unsigned max)
{
    RiscvCpu *c = riscv(cpu);
    Tr tr = {.b = b,
             .c = c,
             .mode = b->mode,
             .pc = b->pc,
             .rv32 = c->rv32,
             .mmu = b->mode >> RM_MMU_SHIFT & 7,
             .fs_dirty = b->mode & RM_FS_DIRTY},
       *t = &tr;

    b->n_guest = 0;
    do {
        if (!step(t, b->n_guest == 0)) {
            break;
        }
        b->n_guest++;
        b->guest_bytes = t->next - b->pc;
        t->pc = t->next;
    } while (!t->ended && b->n_guest < max && !ir_full(b) && (t->pc ^ b->pc) >> 12 == 0);
    if (!t->ended) {
        rvt_goto(t, t->pc);
    }
}
