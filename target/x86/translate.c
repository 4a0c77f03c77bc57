/*
 * x86 decoder: the block loop, prefixes, ModRM, operands. Intel SDM volume 2, chapter 2.
 */
#include "target/x86/translate.h"
#include "target/x86/helpers.h"
#include "target/x86/tr_util.h"

enum { MAX_INSN_BYTES = 15 };

/* Heat: what compilers use most; the jit pins as many as the host has registers for. */
#define GPR(n, h)                                                                                  \
    {                                                                                              \
        .name = #n, .type = IR_I64, .heat = h, .off = offsetof(X86Cpu, regs[R_##n])                \
    }
#define GPRN(n, h)                                                                                 \
    {                                                                                              \
        .name = "R" #n, .type = IR_I64, .heat = h, .off = offsetof(X86Cpu, regs[n])                \
    }
#define XMM(n)                                                                                     \
    {                                                                                              \
        .name = "XMM" #n, .type = IR_V128, .heat = 0, .off = offsetof(X86Cpu, xmm[n])              \
    }
const JitGlobal x86_jit_globals[XG_COUNT] = {
    GPR(RAX, 100),
    GPR(RCX, 90),
    GPR(RDX, 92),
    GPR(RBX, 80),
    GPR(RSP, 98),
    GPR(RBP, 78),
    GPR(RSI, 84),
    GPR(RDI, 88),
    GPRN(8, 60),
    GPRN(9, 55),
    GPRN(10, 40),
    GPRN(11, 38),
    GPRN(12, 62),
    GPRN(13, 54),
    GPRN(14, 50),
    GPRN(15, 48),
    [XG_CC] = {.name = "CC", .type = IR_I32, .heat = 95, .off = offsetof(X86Cpu, cc)},
    XMM(0),
    XMM(1),
    XMM(2),
    XMM(3),
    XMM(4),
    XMM(5),
    XMM(6),
    XMM(7),
    XMM(8),
    XMM(9),
    XMM(10),
    XMM(11),
    XMM(12),
    XMM(13),
    XMM(14),
    XMM(15),
};

/* ---- instruction bytes ---- */

static uint64_t code_linear(const Tr *t, uint64_t pc)
{
    return tr_code64(t) ? pc : (uint32_t)(t->cs_base + pc);
}

/* Bytes are kept until the next instruction: one may be decoded twice. */
uint8_t tr_u8(Tr *t)
{
    uint64_t linear;
    unsigned at = t->next - t->pc;

    if (t->fetch_fault || t->too_long) {
        return 0;
    }
    if (at >= MAX_INSN_BYTES) {
        t->too_long = true;
        return 0;
    }
    if (at >= t->n_bytes) {
        linear = code_linear(t, t->next);
        if (!jit_fetch(&t->c->vcpu, linear, &t->bytes[at])) {
            t->fetch_fault = true;
            t->fault_linear = linear;
            return 0;
        }
        t->n_bytes = at + 1;
    }
    t->next++;
    return t->bytes[at];
}

uint16_t tr_u16(Tr *t)
{
    uint16_t v = tr_u8(t);

    return v | tr_u8(t) << 8;
}

uint32_t tr_u32(Tr *t)
{
    uint32_t v = tr_u16(t);

    return v | (uint32_t)tr_u16(t) << 16;
}

uint64_t tr_u64(Tr *t)
{
    uint64_t v = tr_u32(t);

    return v | (uint64_t)tr_u32(t) << 32;
}

int64_t tr_s8(Tr *t)
{
    return (int8_t)tr_u8(t);
}

/* ---- ModRM ---- */

static void modrm16(Tr *t)
{
    static const int8_t bases[8] = {R_RBX, R_RBX, R_RBP, R_RBP, R_RSI, R_RDI, R_RBP, R_RBX};
    static const int8_t indexes[8] = {R_RSI, R_RDI, R_RSI, R_RDI, -1, -1, -1, -1};
    unsigned rm = t->modrm & 7;

    t->base = bases[rm];
    t->index = indexes[rm];
    if (t->mod == 0 && rm == 6) {
        t->base = -1;
        t->disp = tr_u16(t);
    } else if (t->mod == 1) {
        t->disp = tr_s8(t);
    } else if (t->mod == 2) {
        t->disp = tr_u16(t);
    }
}

static void modrm32(Tr *t)
{
    unsigned rm = t->modrm & 7;

    if (rm == 4) {
        uint8_t sib = tr_u8(t);
        int index = (sib >> 3 & 7) | t->rex_x;

        t->scale = sib >> 6;
        t->index = index == 4 ? -1 : index;
        t->base = (sib & 7) | t->rex_b;
        if ((sib & 7) == 5 && t->mod == 0) {
            t->base = -1;
            t->disp = (int32_t)tr_u32(t);
        }
    } else if (rm == 5 && t->mod == 0) {
        t->disp = (int32_t)tr_u32(t);
        t->rip_rel = tr_code64(t);
    } else {
        t->base = rm | t->rex_b;
    }
    if (t->mod == 1) {
        t->disp = tr_s8(t);
    } else if (t->mod == 2) {
        t->disp = (int32_t)tr_u32(t);
    }
}

void tr_modrm(Tr *t)
{
    t->modrm = tr_u8(t);
    t->mod = t->modrm >> 6;
    t->reg = (t->modrm >> 3 & 7) | t->rex_r;
    t->base = t->index = -1;
    t->scale = 0;
    t->disp = 0;
    t->rip_rel = false;
    t->ea_seg = S_DS;
    if (t->mod == 3) {
        t->rm = (t->modrm & 7) | t->rex_b;
        return;
    }
    t->rm = 0;
    if (t->asz == 2) {
        modrm16(t);
    } else {
        modrm32(t);
    }
    if (t->seg >= 0) {
        t->ea_seg = t->seg;
    } else if (t->base == R_RSP || t->base == R_RBP) {
        t->ea_seg = S_SS;
    }
}

/* ---- ends ---- */

void tr_noreturn(Tr *t, const IrHelper *h, const IrVal *args, unsigned n)
{
    ir_call(t->b, h, args, n);
}

void tr_exc(Tr *t, int vec)
{
    tr_noreturn(t, &x86_hd_raise, (IrVal[]){tr_i64(t, vec)}, 1);
    t->ended = true;
}

void tr_exc_err(Tr *t, int vec, uint32_t err)
{
    tr_noreturn(t, &x86_hd_raise_err, (IrVal[]){tr_i64(t, vec), tr_i64(t, err)}, 2);
    t->ended = true;
}

void tr_ud(Tr *t)
{
    tr_exc(t, EXC_UD);
}

static bool mode_changed(const Tr *t)
{
    return t->single || t->mode != t->b->mode;
}

void tr_exit(Tr *t, IrVal pc)
{
    tr_pack_flags(t);
    if (tr_mode(t, M_TF)) {
        ir_insn(t->b, t->pc, &t->flags); /* a trap: what was written stays */
        tr_noreturn(t, &x86_hd_single_step, &pc, 1);
    } else {
        ir_exit(t->b, pc);
    }
}

void tr_goto(Tr *t, uint64_t pc)
{
    if (mode_changed(t)) {
        tr_exit(t, tr_i64(t, pc));
    } else {
        tr_pack_flags(t);
        ir_jmp(t->b, pc);
    }
}

void tr_goto_ind(Tr *t, IrVal pc, IrHint hint)
{
    if (mode_changed(t)) {
        tr_exit(t, pc);
    } else {
        tr_pack_flags(t);
        ir_jmp_ind(t->b, pc, hint);
    }
}

void tr_end_exit(Tr *t)
{
    tr_exit(t, tr_i64(t, tr_next(t)));
    t->ended = true;
}

uint64_t tr_target(const Tr *t, unsigned bytes, uint64_t pc)
{
    return bytes == 2 ? (uint16_t)pc : bytes == 4 ? (uint32_t)pc : pc;
}

void tr_exit_at(Tr *t, IrVal rip)
{
    t->flags = (IrFlags){.kind = IRF_PACKED};
    tr_exit(t, rip);
    t->ended = true;
}

bool tr_need_cpl0(Tr *t)
{
    if (tr_cpl(t)) {
        tr_exc_err(t, EXC_GP, 0);
        return false;
    }
    return true;
}

/* ---- one instruction ---- */

/* Prefixes up to the first opcode byte, which is left in t->op. */
static void prefixes(Tr *t)
{
    t->lock = t->p66 = t->p67 = false;
    t->rep = 0;
    t->seg = -1;
    t->rex = 0;
    for (;;) {
        uint8_t byte = tr_u8(t);

        switch (byte) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
            if (!tr_code64(t)) {
                t->seg = S_ES + (byte >> 3 & 3);
            }
            break;
        case 0x64:
        case 0x65:
            t->seg = S_FS + (byte & 1);
            break;
        case 0x66:
            t->p66 = true;
            break;
        case 0x67:
            t->p67 = true;
            break;
        case 0xf0:
            t->lock = true;
            break;
        case 0xf2:
        case 0xf3:
            t->rep = byte;
            break;
        default:
            if (tr_code64(t) && (byte & 0xf0) == 0x40) {
                t->rex = byte;
                continue;
            }
            t->op = byte;
            return;
        }
        t->rex = 0; /* REX counts only right before the opcode */
    }
}

static void sizes(Tr *t)
{
    t->rex_r = (t->rex & 4) << 1;
    t->rex_x = (t->rex & 2) << 2;
    t->rex_b = (t->rex & 1) << 3;
    if (tr_code64(t)) {
        t->osz = t->rex & 8 ? 8 : t->p66 ? 2 : 4;
        t->asz = t->p67 ? 4 : 8;
    } else {
        bool big = tr_mode(t, M_CODE32);

        t->osz = big != t->p66 ? 4 : 2;
        t->asz = big != t->p67 ? 4 : 2;
    }
}

static void one_insn(Tr *t)
{
    t->next = t->pc;
    t->fetch_fault = t->too_long = t->lock_ok = t->sti_last = t->repack = false;
    t->sp_adj = 0;
    t->lim_addr = 0;
    prefixes(t);
    sizes(t);
    t->map = 0;
    if (t->op == 0x0f) {
        t->map = 1;
        t->op = tr_u8(t);
        if (t->op == 0x38 || t->op == 0x3a) {
            t->map = t->op == 0x38 ? 2 : 3;
            t->op = tr_u8(t);
        }
    }
    if (t->map == 0 && (t->op & 0xfe) == 0xc4 && tr_vex(t)) {
        return;
    }
    if (t->map == 0 && (t->op == 0x9b || (t->op & 0xf8) == 0xd8)) {
        if (!tr_x87(t)) {
            tr_ud(t);
        }
    } else if (!tr_alu(t) && !tr_int(t) && !tr_bits(t) && !tr_ctl(t) && !tr_string(t) &&
               !tr_sys(t) && !(t->map && tr_simd(t))) {
        tr_ud(t);
    }
}

/* What must happen at the start of the first instruction of a block with special modes. */
static void prologue(Tr *t)
{
    if (tr_mode(t, M_SHADOW)) {
        ir_ste(t->b, IR_I32, IRM_8, offsetof(X86Cpu, shadow), tr_i32(t, 0));
    }
    if (tr_mode(t, M_RF)) {
        IrVal ef = ir_lde(t->b, IR_I32, IRM_32, offsetof(X86Cpu, eflags));

        ir_ste(t->b, IR_I32, IRM_32, offsetof(X86Cpu, eflags),
               ir_and(t->b, IR_I32, ef, tr_i32(t, ~(uint32_t)EF_RF)));
    } else if (tr_mode(t, M_DEBUG)) {
        ir_call0(t->b, &x86_hd_check_ibreak);
    }
}

/* Must the instruction be checked to lie inside the code segment? In 16-bit code M_CSLIMIT is
 * clear for the usual limit of 64 KiB, which only running off the end can exceed. */
static bool check_cs(const Tr *t)
{
    return tr_mode(t, M_CSLIMIT) || (!(t->mode & (M_CODE32 | M_CODE64)) && t->next > 0x10000);
}

static void reset(Tr *t, IrFlags flags, uint64_t mode)
{
    t->flags = flags;
    t->mode = mode;
    t->ended = false;
}

/* Translate the instruction at t->pc. false: it could not be fetched and nothing of it is left. */
static bool step(Tr *t, bool first)
{
    IrMark mark = ir_mark(t->b), body;
    IrFlags before = t->flags, flags = before;
    uint64_t mode = t->mode;
    bool sti_last = t->sti_last;

    t->n_bytes = 0;
    ir_insn(t->b, t->pc, &t->flags);
    if (first) { /* flags are packed here, so that this never needs to be redone */
        prologue(t);
    }
    body = ir_mark(t->b);
    one_insn(t);
    if (t->repack) { /* again, with packed flags */
        ir_rollback(t->b, mark);
        reset(t, before, mode);
        tr_pack_flags(t);
        flags = t->flags;
        ir_insn(t->b, t->pc, &t->flags);
        body = ir_mark(t->b);
        one_insn(t);
    }
    if (check_cs(t) && !t->fetch_fault && !t->too_long) {
        /* Again, behind a check that the instruction is inside the segment. */
        ir_rollback(t->b, body);
        reset(t, flags, mode);
        ir_call1(t->b, &x86_hd_check_cs, tr_i64(t, (uint32_t)(t->next - 1)));
        body = ir_mark(t->b);
        one_insn(t);
    }
    if (!t->fetch_fault && !t->too_long && (!t->lock || t->lock_ok)) {
        return true;
    }
    reset(t, flags, mode);
    if (t->fetch_fault && !first) {
        ir_rollback(t->b, mark);
        t->flags = before;
        t->sti_last = sti_last;
        return false;
    }
    ir_rollback(t->b, body);
    if (t->fetch_fault) {
        t->b->transient = true;
        tr_noreturn(t, &x86_hd_raise_fetch, (IrVal[]){tr_i64(t, t->fault_linear)}, 1);
        t->ended = true;
    } else if (t->too_long) {
        tr_exc_err(t, EXC_GP, 0);
    } else {
        tr_ud(t);
    }
    return true;
}

void x86_translate(VCpu *cpu, IrBlock *b, unsigned max)
{
    Tr tr = {.b = b,
             .c = x86(cpu),
             .mode = b->mode,
             .cs_base = b->mode >> 32,
             .start = b->pc,
             .pc = b->pc,
             .next = b->pc,
             .flags = {.kind = IRF_PACKED}},
       *t = &tr;
    uint64_t page;

    if (!tr_code64(t)) {
        t->start = t->pc = (uint32_t)t->pc;
    }
    page = code_linear(t, t->pc) >> 12;
    t->single = t->mode & (M_TF | M_SHADOW | M_RF | M_DEBUG);
    if (t->single) {
        max = 1;
    }
    b->n_guest = 0;
    do {
        if (!step(t, b->n_guest == 0)) {
            break;
        }
        b->n_guest++;
        b->guest_bytes = MAX((uint32_t)(t->next - t->start), 1);
        t->pc = tr_next(t);
    } while (!t->ended && b->n_guest < max && !ir_full(b) && code_linear(t, t->pc) >> 12 == page);
    if (t->ended) {
        return;
    }
    if (t->sti_last) {
        /* The instruction after STI is in another block: the shadow must last until there. */
        ir_ste(b, IR_I32, IRM_8, offsetof(X86Cpu, shadow), tr_i32(t, 1));
        ir_ste(b, IR_I32, IRM_8, offsetof(X86Cpu, shadow_ss), tr_i32(t, 0));
        tr_exit(t, tr_i64(t, t->pc));
    } else {
        tr_goto(t, t->pc);
    }
}
