/*
 * Far jumps, calls and returns, IRET. Intel SDM volume 2, the instructions' pages; volume 3,
 * section 5.8 (privilege levels and call gates).
 */
#include "target/x86/sys.h"

/* ---- shared ---- */

/* Offset @off in the code segment @d: its limit, or canonical form in 64-bit code. */
static void check_target(X86Cpu *c, const X86Desc *d, uint64_t off)
{
    if (x86_lma(c) && d->hi & DESC_L) {
        if (!x86_canonical(off)) {
            x86_raise_err(c, EXC_GP, 0);
        }
    } else if (off > desc_limit(d)) {
        x86_raise_err(c, EXC_GP, 0);
    }
}

static void check_long_bits(X86Cpu *c, const X86Desc *d, uint32_t err)
{
    if (x86_lma(c) && (d->hi & (DESC_L | DESC_B)) == (DESC_L | DESC_B)) {
        x86_raise_err(c, EXC_GP, err);
    }
}

static uint64_t size_mask(unsigned bytes)
{
    return bytes == 2 ? 0xffff : bytes == 4 ? 0xffffffff : ~0ull;
}

/* Far JMP and CALL straight to a code segment: privilege. */
static void check_direct(X86Cpu *c, const X86Desc *d)
{
    unsigned cpl = x86_cpl(c);
    uint32_t err = d->sel & ~3u;

    if (desc_is_conforming(d) ? desc_dpl(d) > cpl : (d->sel & 3) > cpl || desc_dpl(d) != cpl) {
        x86_raise_err(c, EXC_GP, err);
    }
    check_long_bits(c, d, err);
    if (!desc_present(d)) {
        x86_raise_err(c, EXC_NP, err);
    }
}

typedef struct CallGate {
    uint16_t sel;
    uint64_t off;
    unsigned size, count; /* operand bytes, parameters */
    X86Desc cs;
} CallGate;

/* DPL and P of a gate or TSS descriptor that a far transfer names. */
static void check_gate(X86Cpu *c, const X86Desc *d)
{
    uint32_t err = d->sel & ~3u;

    if (desc_dpl(d) < x86_cpl(c) || desc_dpl(d) < (d->sel & 3)) {
        x86_raise_err(c, EXC_GP, err);
    }
    if (!desc_present(d)) {
        x86_raise_err(c, EXC_NP, err);
    }
}

static void read_call_gate(X86Cpu *c, X86Desc *d, bool call, CallGate *g)
{
    unsigned cpl = x86_cpl(c);
    uint32_t err;

    if (x86_lma(c) && !x86_read_desc(c, d->sel, true, d)) {
        x86_raise_err(c, EXC_GP, d->sel & ~3u);
    }
    check_gate(c, d);
    g->sel = d->lo >> 16;
    g->off = (d->lo & 0xffff) | (d->hi & 0xffff0000);
    g->count = d->hi & 31;
    g->size = 4;
    if (x86_lma(c)) {
        g->off |= (uint64_t)d->upper << 32;
        g->size = 8;
        g->count = 0;
    } else if (desc_type(d) == SYS_CALL16) {
        g->off &= 0xffff;
        g->size = 2;
    }
    err = g->sel & ~3u;
    if (!err) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (!x86_read_desc(c, g->sel, false, &g->cs) || !desc_is_code(&g->cs) ||
        desc_dpl(&g->cs) > cpl) {
        x86_raise_err(c, EXC_GP, err);
    }
    /* JMP cannot go to an inner level. */
    if (!call && !desc_is_conforming(&g->cs) && desc_dpl(&g->cs) != cpl) {
        x86_raise_err(c, EXC_GP, err);
    }
    if (x86_lma(c) && (g->cs.hi & (DESC_L | DESC_B)) != DESC_L) {
        x86_raise_err(c, EXC_GP, err);
    }
    if (!desc_present(&g->cs)) {
        x86_raise_err(c, EXC_NP, err);
    }
}

/* The descriptor that a far JMP or CALL names; false: real or virtual-8086 mode. */
static void read_target(X86Cpu *c, uint16_t sel, X86Desc *d)
{
    if (!(sel & ~3u)) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (!x86_read_desc(c, sel, false, d)) {
        x86_raise_err(c, EXC_GP, sel & ~3u);
    }
}

static void seg_real_or_v86(X86Cpu *c, int seg, uint16_t sel)
{
    if (x86_v86(c)) {
        x86_seg_v86(c, seg, sel);
    } else {
        x86_seg_real(c, seg, sel);
    }
}

/* System descriptors: call gates are left to the caller (returns true); tasks do not return. */
static bool sys_transfer(X86Cpu *c, X86Desc *d, X86TaskReason why, uint64_t next)
{
    uint32_t err = d->sel & ~3u, flags = x86_get_eflags(c);
    unsigned type = desc_type(d);

    if (type == SYS_CALL || (type == SYS_CALL16 && !x86_lma(c))) {
        return true;
    }
    if (x86_lma(c)) {
        x86_raise_err(c, EXC_GP, err);
    }
    switch (type) {
    case SYS_TSS16:
    case SYS_TSS:
        check_gate(c, d);
        x86_task_switch(c, d->sel, why, next, flags, true);
        break;
    case SYS_TASK_GATE:
        check_gate(c, d);
        x86_task_switch(c, d->lo >> 16, why, next, flags, true);
        break;
    default:
        x86_raise_err(c, EXC_GP, err);
    }
    return false;
}

/* ---- JMP ---- */

uint64_t x86_h_far_jmp(VCpu *cpu, uint64_t sel, uint64_t off, uint64_t bytes, uint64_t next)
{
    X86Cpu *c = x86(cpu);
    unsigned cpl = x86_cpl(c);
    CallGate g;
    X86Desc d;

    sel &= 0xffff;
    off &= size_mask(bytes);
    if (!x86_prot(c)) {
        if (off > c->seg[S_CS].limit) {
            x86_raise_err(c, EXC_GP, 0);
        }
        seg_real_or_v86(c, S_CS, sel);
        return off;
    }
    read_target(c, sel, &d);
    if (desc_is_seg(&d)) {
        if (!desc_is_code(&d)) {
            x86_raise_err(c, EXC_GP, sel & ~3u);
        }
        check_direct(c, &d);
    } else {
        sys_transfer(c, &d, TASK_JMP, next);
        read_call_gate(c, &d, false, &g);
        d = g.cs;
        off = g.off;
    }
    check_target(c, &d, off);
    x86_desc_accessed(c, &d);
    x86_set_cs(c, d.sel, cpl, &d);
    return off;
}

/* ---- CALL ---- */

/* Through a gate to an inner level: new stack, parameters copied. */
static uint64_t call_inner(X86Cpu *c, CallGate *g, uint64_t next)
{
    unsigned cpl = desc_dpl(&g->cs);
    bool lma = x86_lma(c);
    X86Seg ss = {.sel = cpl, .attr = cpl << DESC_DPL_SHIFT};
    uint32_t params[32];
    uint16_t sel = 0;
    uint32_t esp = 0;
    uint64_t rsp;
    X86Stack s, old;
    X86Desc d;

    if (lma) {
        rsp = x86_tss_rsp(c, cpl);
    } else {
        x86_tss_stack(c, cpl, &sel, &esp);
        if (!(sel & ~3u)) {
            x86_raise_err(c, EXC_TS, 0);
        }
        x86_stack_desc(c, sel, cpl, EXC_TS, &d);
        seg_from_desc(&ss, sel, &d);
        rsp = esp;
    }
    x86_stack_now(c, &old);
    for (unsigned i = 0; i < g->count; i++) {
        params[i] = x86_pop(c, &old, g->size);
    }
    x86_stack_init(c, &s, &ss, rsp, cpl, lma);
    s.err_sel = sel & ~3u;
    x86_push(c, &s, c->seg[S_SS].sel, g->size);
    x86_push(c, &s, c->regs[R_RSP], g->size);
    for (unsigned i = g->count; i-- > 0;) {
        x86_push(c, &s, params[i], g->size);
    }
    x86_push(c, &s, c->seg[S_CS].sel, g->size);
    x86_push(c, &s, next, g->size);
    check_target(c, &g->cs, g->off);
    x86_desc_accessed(c, &g->cs);
    c->seg[S_SS] = ss;
    x86_set_sp(c, s.sp, s.mask);
    x86_set_cs(c, g->sel, cpl, &g->cs);
    return g->off;
}

uint64_t x86_h_far_call(VCpu *cpu, uint64_t sel, uint64_t off, uint64_t bytes, uint64_t next)
{
    X86Cpu *c = x86(cpu);
    unsigned cpl = x86_cpl(c);
    CallGate g;
    X86Stack s;
    X86Desc d;

    sel &= 0xffff;
    off &= size_mask(bytes);
    x86_stack_now(c, &s);
    if (!x86_prot(c)) {
        x86_push(c, &s, c->seg[S_CS].sel, bytes);
        x86_push(c, &s, next, bytes);
        if (off > c->seg[S_CS].limit) {
            x86_raise_err(c, EXC_GP, 0);
        }
        x86_set_sp(c, s.sp, s.mask);
        seg_real_or_v86(c, S_CS, sel);
        return off;
    }
    read_target(c, sel, &d);
    if (desc_is_seg(&d)) {
        if (!desc_is_code(&d)) {
            x86_raise_err(c, EXC_GP, sel & ~3u);
        }
        check_direct(c, &d);
    } else {
        sys_transfer(c, &d, TASK_CALL, next);
        read_call_gate(c, &d, true, &g);
        if (!desc_is_conforming(&g.cs) && desc_dpl(&g.cs) < cpl) {
            return call_inner(c, &g, next);
        }
        d = g.cs;
        off = g.off;
        bytes = g.size;
    }
    x86_push(c, &s, c->seg[S_CS].sel, bytes);
    x86_push(c, &s, next, bytes);
    check_target(c, &d, off);
    x86_desc_accessed(c, &d);
    x86_set_sp(c, s.sp, s.mask);
    x86_set_cs(c, d.sel, cpl, &d);
    return off;
}

/* ---- returns ---- */

/* Code segment of RETF and IRET: to the same level or outwards. */
static void read_return_cs(X86Cpu *c, uint16_t sel, X86Desc *d)
{
    unsigned rpl = sel & 3;
    uint32_t err = sel & ~3u;

    if (!err) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (!x86_read_desc(c, sel, false, d) || !desc_is_code(d) || rpl < x86_cpl(c) ||
        (desc_is_conforming(d) ? desc_dpl(d) > rpl : desc_dpl(d) != rpl)) {
        x86_raise_err(c, EXC_GP, err);
    }
    check_long_bits(c, d, err);
    if (!desc_present(d)) {
        x86_raise_err(c, EXC_NP, err);
    }
}

/* Stack segment of a return to level @rpl with code segment @cs. */
static void read_return_ss(X86Cpu *c, uint16_t sel, unsigned rpl, const X86Desc *cs, X86Seg *ss)
{
    X86Desc d;

    if (!(sel & ~3u)) {
        if (!x86_lma(c) || !(cs->hi & DESC_L) || rpl == 3 || (sel & 3) != rpl) {
            x86_raise_err(c, EXC_GP, 0);
        }
        *ss = (X86Seg){.sel = sel, .attr = rpl << DESC_DPL_SHIFT};
        return;
    }
    x86_stack_desc(c, sel, rpl, EXC_GP, &d);
    seg_from_desc(ss, sel, &d);
}

static bool to_code64(X86Cpu *c, const X86Desc *cs)
{
    return x86_lma(c) && cs->hi & DESC_L;
}

uint64_t x86_h_far_ret(VCpu *cpu, uint64_t bytes, uint64_t pop)
{
    X86Cpu *c = x86(cpu);
    unsigned cpl = x86_cpl(c), rpl;
    X86Stack s;
    uint64_t off, sp;
    uint16_t sel;
    X86Desc d;
    X86Seg ss;

    x86_stack_now(c, &s);
    off = x86_pop(c, &s, bytes);
    sel = x86_pop(c, &s, bytes);
    if (!x86_prot(c)) {
        if (off > c->seg[S_CS].limit) {
            x86_raise_err(c, EXC_GP, 0);
        }
        x86_set_sp(c, s.sp + pop, s.mask);
        seg_real_or_v86(c, S_CS, sel);
        return off;
    }
    read_return_cs(c, sel, &d);
    rpl = sel & 3;
    check_target(c, &d, off);
    if (rpl == cpl) {
        x86_desc_accessed(c, &d);
        x86_set_sp(c, s.sp + pop, s.mask);
        x86_set_cs(c, sel, cpl, &d);
        return off;
    }
    s.sp = (s.sp + pop) & s.mask;
    sp = x86_pop(c, &s, bytes);
    sel = x86_pop(c, &s, bytes);
    read_return_ss(c, sel, rpl, &d, &ss);
    x86_desc_accessed(c, &d);
    c->seg[S_SS] = ss;
    x86_set_cs(c, d.sel, rpl, &d);
    x86_set_sp(c, sp + pop, x86_sp_mask(ss.attr, to_code64(c, &d)));
    x86_drop_segs(c, rpl);
    return off;
}

/* ---- IRET ---- */

static void merge_flags(X86Cpu *c, uint32_t val, uint32_t mask)
{
    uint32_t old = x86_get_eflags(c);

    x86_set_eflags(c, (old & ~mask) | (val & mask));
}

/* Bits that IRET loads at any level. */
static uint32_t iret_mask(unsigned bytes)
{
    uint32_t m = EF_ARITH | EF_TF | EF_DF | EF_NT;

    return bytes > 2 ? m | EF_RF | EF_AC | EF_ID : m;
}

static uint64_t iret_real(X86Cpu *c, unsigned bytes)
{
    uint32_t mask = iret_mask(bytes) | EF_IF | EF_IOPL, flags;
    X86Stack s;
    uint64_t off;
    uint16_t sel;
    bool virt = false;

    if (x86_v86(c)) {
        mask &= ~EF_IOPL;
        virt = x86_iopl(c) < 3;
        if (virt && (!(c->cr4 & CR4_VME) || bytes != 2)) {
            x86_raise_err(c, EXC_GP, 0);
        }
    }
    x86_stack_now(c, &s);
    off = x86_pop(c, &s, bytes);
    sel = x86_pop(c, &s, bytes);
    flags = x86_pop(c, &s, bytes);
    if (off > c->seg[S_CS].limit) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (virt) {
        if (flags & EF_TF || (flags & EF_IF && c->eflags & EF_VIP)) {
            x86_raise_err(c, EXC_GP, 0);
        }
        mask = (mask & ~EF_IF) | EF_VIF;
        flags = flags & EF_IF ? flags | EF_VIF : flags & ~EF_VIF;
    }
    x86_set_sp(c, s.sp, s.mask);
    merge_flags(c, flags, mask);
    seg_real_or_v86(c, S_CS, sel);
    return off;
}

static uint64_t iret_to_v86(X86Cpu *c, X86Stack *s, uint32_t ip, uint16_t cs, uint32_t flags)
{
    static const uint8_t order[] = {S_SS, S_ES, S_DS, S_FS, S_GS};
    uint16_t sels[5];
    uint32_t esp = x86_pop(c, s, 4);

    for (unsigned i = 0; i < 5; i++) {
        sels[i] = x86_pop(c, s, 4);
    }
    if (ip > 0xffff) {
        x86_raise_err(c, EXC_GP, 0);
    }
    x86_set_eflags(c, flags);
    x86_seg_v86(c, S_CS, cs);
    for (unsigned i = 0; i < 5; i++) {
        x86_seg_v86(c, order[i], sels[i]);
    }
    c->regs[R_RSP] = esp;
    return ip;
}

static uint64_t iret_prot(X86Cpu *c, unsigned bytes, uint64_t next)
{
    unsigned cpl = x86_cpl(c), rpl;
    uint32_t mask = iret_mask(bytes), flags;
    uint64_t off, sp;
    X86Seg ss = c->seg[S_SS];
    bool pop_stack;
    X86Stack s;
    uint16_t sel;
    X86Desc d;

    if (c->eflags & EF_NT) {
        if (x86_lma(c)) {
            x86_raise_err(c, EXC_GP, 0);
        }
        if (!(c->seg[S_TR].attr & DESC_P)) {
            x86_raise_err(c, EXC_TS, c->seg[S_TR].sel & ~3u);
        }
        sel = jit_load(&c->vcpu, (uint32_t)c->seg[S_TR].base, 2, x86_mmu_system(c));
        c->nmi_masked = false;
        x86_task_switch(c, sel, TASK_IRET, next, x86_get_eflags(c), true);
    }
    x86_stack_now(c, &s);
    off = x86_pop(c, &s, bytes);
    sel = x86_pop(c, &s, bytes);
    flags = x86_pop(c, &s, bytes);
    if (!x86_lma(c) && bytes == 4 && flags & EF_VM && cpl == 0) {
        return iret_to_v86(c, &s, off, sel, flags);
    }
    read_return_cs(c, sel, &d);
    rpl = sel & 3;
    check_target(c, &d, off);
    pop_stack = rpl != cpl || x86_code64(c);
    if (pop_stack) {
        uint16_t ss_sel;

        sp = x86_pop(c, &s, bytes);
        ss_sel = x86_pop(c, &s, bytes);
        read_return_ss(c, ss_sel, rpl, &d, &ss);
    } else {
        sp = s.sp;
    }
    x86_desc_accessed(c, &d);

    if (cpl <= x86_iopl(c)) {
        mask |= EF_IF;
    }
    if (cpl == 0) {
        mask |= EF_IOPL | (bytes > 2 ? EF_VIF | EF_VIP : 0);
    }
    merge_flags(c, flags, mask);
    c->seg[S_SS] = ss;
    x86_set_cs(c, sel, rpl, &d);
    x86_set_sp(c, sp, pop_stack ? x86_sp_mask(ss.attr, to_code64(c, &d)) : s.mask);
    if (rpl != cpl) {
        x86_drop_segs(c, rpl);
    }
    return off;
}

uint64_t x86_h_iret(VCpu *cpu, uint64_t bytes, uint64_t next)
{
    X86Cpu *c = x86(cpu);
    uint64_t rip = x86_prot(c) ? iret_prot(c, bytes, next) : iret_real(c, bytes);

    c->nmi_masked = false;
    return rip;
}
