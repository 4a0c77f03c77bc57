/*
 * Exception and interrupt delivery. Intel SDM volume 3, chapter 6; the INT instruction's page in
 * volume 2; virtual-8086 mode: volume 3, chapter 21.
 */
#include "core/log.h"
#include "core/machine.h"
#include "target/x86/sys.h"
#include <inttypes.h>

typedef struct Event {
    int vec;
    X86EventKind kind;
    bool has_err;
    uint32_t err;
    uint64_t rip; /* to push */
} Event;

/* ---- raising ---- */

static bool has_ext_bit(int vec)
{
    return vec == EXC_TS || vec == EXC_NP || vec == EXC_SS || vec == EXC_GP;
}

void x86_set_exc(X86Cpu *c, int vec, X86EventKind kind, bool has_err, uint32_t err)
{
    if (c->in_delivery && c->deliver_ext && has_ext_bit(vec)) {
        err |= 1;
    }
    c->exc = vec;
    c->exc_kind = kind;
    c->exc_soft = kind == EV_SOFT || kind == EV_INTN;
    c->exc_has_err = has_err;
    c->exc_err = err;
}

void x86_raise(X86Cpu *c, int vec)
{
    x86_set_exc(c, vec, EV_FAULT, false, 0);
    jit_raise(&c->vcpu);
}

void x86_raise_err(X86Cpu *c, int vec, uint32_t err)
{
    x86_set_exc(c, vec, EV_FAULT, true, err);
    jit_raise(&c->vcpu);
}

void x86_raise_fpu(X86Cpu *c)
{
    if (c->cr0 & CR0_NE || !c->ferr) {
        x86_raise(c, EXC_MF);
    }
    /* MS-DOS compatible: the instruction waits until the interrupt comes. */
    c->ferr(c->ferr_opaque, 1);
    jit_leave(&c->vcpu);
}

uint64_t x86_h_raise(VCpu *cpu, uint64_t vec)
{
    if (vec == EXC_UD && x86(cpu)->may_give_back) {
        /* Perhaps one that the host's processor has. */
        x86(cpu)->give_back = true;
        jit_leave(cpu);
    }
    if (vec == EXC_MF) {
        x86_raise_fpu(x86(cpu));
    }
    x86_raise(x86(cpu), vec);
}

uint64_t x86_h_raise_err(VCpu *cpu, uint64_t vec, uint64_t err)
{
    x86_raise_err(x86(cpu), vec, err);
}

uint64_t x86_h_raise_fetch(VCpu *cpu, uint64_t linear)
{
    X86Cpu *c = x86(cpu);
    JitPage page;

    if (!x86_walk(cpu, linear, JIT_EXEC, x86_mmu_data(c), false, &page)) {
        jit_raise(cpu);
    }
    jit_leave(cpu); /* the mapping has come meanwhile: try again */
}

uint64_t x86_h_soft_int(VCpu *cpu, uint64_t vec, uint64_t next, uint64_t kind)
{
    static const uint8_t kinds[4] = {EV_INTN, EV_SOFT, EV_SOFT, EV_INT1};
    X86Cpu *c = x86(cpu);

    x86_set_exc(c, vec & 0xff, kinds[kind & 3], false, 0);
    c->exc_next_rip = next;
    jit_raise(cpu);
}

/* ---- stacks from the TSS ---- */

void x86_tss_stack(X86Cpu *c, unsigned cpl, uint16_t *ss, uint32_t *esp)
{
    const X86Seg *tr = &c->seg[S_TR];
    bool big = tr->attr >> DESC_TYPE_SHIFT & 8;
    unsigned off = big ? cpl * 8 + 4 : cpl * 4 + 2, size = big ? 4 : 2;
    unsigned mmu = x86_mmu_system(c);

    if (!(tr->attr & DESC_P) || off + (big ? 6 : 4) - 1 > tr->limit) {
        x86_raise_err(c, EXC_TS, tr->sel & ~3u);
    }
    *esp = jit_load(&c->vcpu, (uint32_t)(tr->base + off), size, mmu);
    *ss = jit_load(&c->vcpu, (uint32_t)(tr->base + off + size), 2, mmu);
}

uint64_t x86_tss_rsp(X86Cpu *c, unsigned n)
{
    const X86Seg *tr = &c->seg[S_TR];
    unsigned off = 4 + n * 8;

    if (!(tr->attr & DESC_P) || off + 7 > tr->limit) {
        x86_raise_err(c, EXC_TS, tr->sel & ~3u);
    }
    return jit_load(&c->vcpu, tr->base + off, 8, x86_mmu_system(c));
}

/* ---- real mode, and virtual-8086 mode with VME ---- */

static uint32_t pushed_flags(X86Cpu *c, const Event *e)
{
    return x86_get_eflags(c) | (e->kind == EV_FAULT ? EF_RF : 0);
}

static void enter_real(X86Cpu *c, const Event *e)
{
    X86Stack s;
    uint32_t entry;

    if (e->vec * 4u + 3 > c->idt.limit) {
        x86_raise_err(c, EXC_GP, e->vec * 8u + 2);
    }
    entry = jit_load(&c->vcpu, (uint32_t)(c->idt.base + e->vec * 4u), 4, x86_mmu_system(c));
    x86_stack_now(c, &s);
    x86_push(c, &s, x86_get_eflags(c) & 0xffff, 2);
    x86_push(c, &s, c->seg[S_CS].sel, 2);
    x86_push(c, &s, e->rip & 0xffff, 2);
    if ((entry & 0xffff) > c->seg[S_CS].limit) {
        x86_raise_err(c, EXC_GP, 0);
    }
    x86_set_sp(c, s.sp, s.mask);
    c->eflags &= ~(EF_IF | EF_TF | EF_AC | EF_RF);
    x86_seg_real(c, S_CS, entry >> 16);
    c->rip = entry & 0xffff;
}

/* Does the TSS's interrupt redirection bitmap send INT @vec to the 8086 program? */
static bool v86_redirected(X86Cpu *c, int vec)
{
    const X86Seg *tr = &c->seg[S_TR];
    unsigned mmu = x86_mmu_system(c);
    uint32_t map;

    if (!(tr->attr & DESC_P) || !(tr->attr >> DESC_TYPE_SHIFT & 8) || tr->limit < 0x67) {
        return false;
    }
    map = jit_load(&c->vcpu, (uint32_t)(tr->base + 0x66), 2, mmu);
    if (map < 32) {
        return false;
    }
    map += vec / 8 - 32;
    if (map > tr->limit) {
        return false;
    }
    return !(jit_load(&c->vcpu, (uint32_t)(tr->base + map), 1, mmu) >> (vec & 7) & 1);
}

static void enter_v86_ivt(X86Cpu *c, const Event *e)
{
    uint32_t entry = jit_load(&c->vcpu, e->vec * 4u, 4, MMU_USER), flags = x86_get_eflags(c);
    bool virt = x86_iopl(c) < 3;
    X86Stack s;

    if (virt) {
        flags = (flags & ~(uint32_t)EF_IF) | EF_IOPL | (flags & EF_VIF ? EF_IF : 0);
    }
    x86_stack_now(c, &s);
    x86_push(c, &s, flags & 0xffff, 2);
    x86_push(c, &s, c->seg[S_CS].sel, 2);
    x86_push(c, &s, e->rip & 0xffff, 2);
    x86_set_sp(c, s.sp, s.mask);
    c->eflags &= ~((virt ? EF_VIF : EF_IF) | EF_TF | EF_RF);
    x86_seg_v86(c, S_CS, entry >> 16);
    c->rip = entry & 0xffff;
}

/* ---- protected mode ---- */

typedef struct Gate {
    unsigned type, dpl, ist;
    uint16_t sel;
    uint64_t off;
} Gate;

/* Read and check the IDT's gate; @wide: 16-byte gates of long mode. */
static Gate read_gate(X86Cpu *c, const Event *e, bool wide)
{
    unsigned bytes = wide ? 16 : 8, mmu = x86_mmu_system(c);
    uint32_t err = e->vec * 8u + 2;
    uint64_t addr = c->idt.base + e->vec * bytes, raw;
    uint32_t types = 1u << SYS_INT | 1u << SYS_TRAP;
    bool soft = e->kind == EV_SOFT || e->kind == EV_INTN;
    Gate g;

    if (e->vec * bytes + bytes - 1 > c->idt.limit) {
        x86_raise_err(c, EXC_GP, err);
    }
    addr = wide ? addr : (uint32_t)addr;
    raw = jit_load(&c->vcpu, addr, 8, mmu);
    g.type = raw >> 40 & 15;
    g.dpl = raw >> 45 & 3;
    g.ist = wide ? raw >> 32 & 7 : 0;
    g.sel = raw >> 16;
    g.off = (raw & 0xffff) | (raw >> 32 & 0xffff0000);
    if (wide) {
        g.off |= jit_load(&c->vcpu, addr + 8, 4, mmu) << 32;
    } else {
        types |= 1u << SYS_TASK_GATE | 1u << SYS_INT16 | 1u << SYS_TRAP16;
    }
    if (raw >> 44 & 1 || !(types >> g.type & 1)) {
        x86_raise_err(c, EXC_GP, err);
    }
    if (soft && g.dpl < x86_cpl(c)) {
        x86_raise_err(c, EXC_GP, err);
    }
    if (!(raw >> 47 & 1)) {
        x86_raise_err(c, EXC_NP, err);
    }
    if (g.type == SYS_INT16 || g.type == SYS_TRAP16) {
        g.off &= 0xffff;
    }
    return g;
}

/* The handler's code segment; returns the handler's CPL. */
static unsigned read_handler_cs(X86Cpu *c, uint16_t sel, X86Desc *d)
{
    uint32_t err = sel & ~3u;
    unsigned cpl = x86_cpl(c);

    if (!err) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (!x86_read_desc(c, sel, false, d) || !desc_is_code(d) || desc_dpl(d) > cpl) {
        x86_raise_err(c, EXC_GP, err);
    }
    if (!desc_present(d)) {
        x86_raise_err(c, EXC_NP, err);
    }
    if (!desc_is_conforming(d) && desc_dpl(d) < cpl) {
        cpl = desc_dpl(d);
    }
    if (x86_v86(c) && cpl != 0) {
        x86_raise_err(c, EXC_GP, err);
    }
    return cpl;
}

/* Registers that virtual-8086 mode pushes first, and which are null in the handler. */
static const uint8_t v86_segs[4] = {S_GS, S_FS, S_DS, S_ES};

static void enter_task_gate(X86Cpu *c, const Event *e, uint16_t sel)
{
    bool big;
    X86Stack s;

    x86_task_switch(c, sel, TASK_INT, e->rip, pushed_flags(c, e), false);
    if (e->has_err) {
        big = c->seg[S_TR].attr >> DESC_TYPE_SHIFT & 8;
        x86_stack_now(c, &s);
        x86_push(c, &s, e->err, big ? 4 : 2);
        x86_set_sp(c, s.sp, s.mask);
    }
}

static void enter_prot(X86Cpu *c, const Event *e)
{
    Gate g = read_gate(c, e, false);
    unsigned size = g.type & 8 ? 4 : 2, cpl, old_cpl = x86_cpl(c);
    uint32_t flags = pushed_flags(c, e);
    bool v86 = x86_v86(c), inner;
    X86Seg new_ss = c->seg[S_SS];
    X86Desc cs, ss;
    X86Stack s;

    if (g.type == SYS_TASK_GATE) {
        enter_task_gate(c, e, g.sel);
        return;
    }
    cpl = read_handler_cs(c, g.sel, &cs);
    inner = cpl < old_cpl;
    if (inner) {
        uint16_t sel;
        uint32_t esp;

        x86_tss_stack(c, cpl, &sel, &esp);
        if (!(sel & ~3u)) {
            x86_raise_err(c, EXC_TS, 0);
        }
        x86_stack_desc(c, sel, cpl, EXC_TS, &ss);
        seg_from_desc(&new_ss, sel, &ss);
        x86_stack_init(c, &s, &new_ss, esp, cpl, false);
        s.err_sel = sel & ~3u;
        for (unsigned i = 0; v86 && i < 4; i++) {
            x86_push(c, &s, c->seg[v86_segs[i]].sel, size);
        }
        x86_push(c, &s, c->seg[S_SS].sel, size);
        x86_push(c, &s, c->regs[R_RSP], size);
    } else {
        x86_stack_now(c, &s);
    }
    x86_push(c, &s, flags, size);
    x86_push(c, &s, c->seg[S_CS].sel, size);
    x86_push(c, &s, e->rip, size);
    if (e->has_err) {
        x86_push(c, &s, e->err, size);
    }
    if (g.off > desc_limit(&cs)) {
        x86_raise_err(c, EXC_GP, 0);
    }
    x86_desc_accessed(c, &cs);

    c->eflags &= ~(EF_TF | EF_NT | EF_VM | EF_RF | (g.type & 1 ? 0 : EF_IF));
    for (unsigned i = 0; v86 && i < 4; i++) {
        c->seg[v86_segs[i]] = (X86Seg){0};
    }
    if (inner) {
        c->seg[S_SS] = new_ss;
    }
    x86_set_sp(c, s.sp, s.mask);
    x86_set_cs(c, g.sel, cpl, &cs);
    c->rip = g.off;
}

/* ---- long mode ---- */

static void enter_long(X86Cpu *c, const Event *e)
{
    Gate g = read_gate(c, e, true);
    uint32_t flags = pushed_flags(c, e);
    uint64_t rsp = c->regs[R_RSP];
    X86Seg flat = {0};
    X86Desc cs;
    X86Stack s;
    unsigned cpl = read_handler_cs(c, g.sel, &cs), old_cpl = x86_cpl(c);

    if ((cs.hi & (DESC_L | DESC_B)) != DESC_L) {
        x86_raise_err(c, EXC_GP, g.sel & ~3u);
    }
    if (g.ist) {
        rsp = x86_tss_rsp(c, g.ist + 3);
    } else if (cpl < old_cpl) {
        rsp = x86_tss_rsp(c, cpl);
    }
    x86_stack_init(c, &s, &flat, rsp & ~15ull, cpl, true);
    x86_push(c, &s, c->seg[S_SS].sel, 8);
    x86_push(c, &s, c->regs[R_RSP], 8);
    x86_push(c, &s, flags, 8);
    x86_push(c, &s, c->seg[S_CS].sel, 8);
    x86_push(c, &s, e->rip, 8);
    if (e->has_err) {
        x86_push(c, &s, e->err, 8);
    }
    if (!x86_canonical(g.off)) {
        x86_raise_err(c, EXC_GP, 0);
    }
    x86_desc_accessed(c, &cs);

    c->eflags &= ~(EF_TF | EF_NT | EF_RF | (g.type & 1 ? 0 : EF_IF));
    if (cpl < old_cpl) {
        c->seg[S_SS] = (X86Seg){.sel = cpl, .attr = cpl << DESC_DPL_SHIFT};
    }
    c->regs[R_RSP] = s.sp;
    x86_set_cs(c, g.sel, cpl, &cs);
    c->rip = g.off;
}

/* ---- choosing what to deliver ---- */

static void enter(X86Cpu *c, const Event *e)
{
    c->in_delivery = true;
    c->delivering = e->kind == EV_FAULT || e->kind == EV_TRAP ? e->vec : -1;
    c->deliver_ext = e->kind != EV_SOFT && e->kind != EV_INTN;
    if (log_on(LOG_INT)) {
        log_line(LOG_INT,
                 "event %02x kind %d err %04x cpl %u at %04x:%016" PRIx64 " sp %04x:%016" PRIx64
                 " cr2 %016" PRIx64,
                 e->vec, e->kind, e->err, x86_cpl(c), c->seg[S_CS].sel, e->rip, c->seg[S_SS].sel,
                 c->regs[R_RSP], c->cr2);
    }
    if (x86_real(c)) {
        enter_real(c, e);
    } else if (x86_v86(c) && e->kind == EV_INTN && c->cr4 & CR4_VME && v86_redirected(c, e->vec)) {
        enter_v86_ivt(c, e);
    } else if (x86_v86(c) && e->kind == EV_INTN && x86_iopl(c) < 3) {
        x86_raise_err(c, EXC_GP, 0);
    } else if (x86_lma(c)) {
        enter_long(c, e);
    } else {
        enter_prot(c, e);
    }
    c->in_delivery = false;
    c->exc = -1;
    c->shadow = false;
    c->vcpu.halted = false;
}

void x86_enter_event(X86Cpu *c, int vec, X86EventKind kind)
{
    Event e = {.vec = vec, .kind = kind, .rip = c->rip};

    enter(c, &e);
}

static bool contributory(int vec)
{
    return vec == EXC_DE || has_ext_bit(vec);
}

/* SDM table 6-5: what becomes of @second while @first is being delivered; -1 = shutdown. */
static int combine(int first, int second)
{
    bool bad = contributory(second) || second == EXC_PF;

    if (first == EXC_DF) {
        return bad ? -1 : second;
    }
    if ((first == EXC_PF && bad) || (contributory(first) && contributory(second))) {
        return EXC_DF;
    }
    return second;
}

static void triple_fault(X86Cpu *c)
{
    guest_error("x86: triple fault at %04x:%016" PRIx64, c->seg[S_CS].sel, c->rip);
    c->in_delivery = false;
    c->exc = -1;
    c->shutdown = true;
    c->vcpu.halted = true;
    if (c->vcpu.machine) {
        machine_request_reset(c->vcpu.machine, SHUTDOWN_GUEST_RESET);
    }
}

void x86_deliver(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    Event e = {
        .vec = c->exc,
        .kind = c->exc_kind,
        .has_err = c->exc_has_err,
        .err = c->exc_err,
        .rip = c->rip,
    };

    if (e.vec < 0) {
        return;
    }
    if (e.vec == EXC_PF) {
        c->cr2 = c->exc_cr2;
    }
    if (e.kind == EV_SOFT || e.kind == EV_INTN || e.kind == EV_INT1) {
        e.rip = c->exc_next_rip;
    } else {
        c->pending_db = 0; /* of the instruction that did not complete */
    }
    if (c->in_delivery) {
        int vec = combine(c->delivering, e.vec);

        if (vec < 0) {
            triple_fault(c);
            return;
        }
        if (vec != e.vec) {
            e = (Event){.vec = vec, .kind = EV_TRAP, .has_err = true, .rip = c->rip};
        }
    }
    enter(c, &e);
}
