/*
 * Hardware task switch, 16- and 32-bit. Intel SDM volume 3, chapter 8 (task management).
 *
 * Up to the commit point faults belong to the old task. What comes after it (the descriptors of
 * the new task's segments) faults in the new task, so from a helper it is left to the next
 * instruction boundary, where nothing is rolled back: X86Cpu.task_load.
 */
#include "target/x86/sys.h"

/* Field offsets of a TSS. Registers are eight in a row, segments follow. */
typedef struct TssLayout {
    uint8_t word; /* bytes of a general field */
    uint8_t cr3, ip, flags, regs, segs, seg_step, n_segs, ldt, trap, min_limit;
} TssLayout;

static const TssLayout tss16 = {2, 0, 0x0e, 0x10, 0x12, 0x22, 2, 4, 0x2a, 0, 0x2b};
static const TssLayout tss32 = {4, 0x1c, 0x20, 0x24, 0x28, 0x48, 4, 6, 0x60, 0x64, 0x67};

typedef struct TaskState {
    uint32_t cr3, ip, flags, regs[8];
    uint16_t segs[6], ldt;
    bool trap;
} TaskState;

static uint32_t tss_load(X86Cpu *c, uint64_t base, unsigned off, unsigned size)
{
    return jit_load(&c->vcpu, (uint32_t)(base + off), size, x86_mmu_system(c));
}

static void tss_store(X86Cpu *c, uint64_t base, unsigned off, uint32_t val, unsigned size)
{
    jit_store(&c->vcpu, (uint32_t)(base + off), val, size, x86_mmu_system(c));
}

static void read_state(X86Cpu *c, const TssLayout *l, uint64_t base, TaskState *t)
{
    *t = (TaskState){0};
    if (l->cr3) {
        t->cr3 = tss_load(c, base, l->cr3, 4);
    }
    t->ip = tss_load(c, base, l->ip, l->word);
    t->flags = tss_load(c, base, l->flags, l->word);
    for (unsigned i = 0; i < 8; i++) {
        t->regs[i] = tss_load(c, base, l->regs + i * l->word, l->word);
        if (l->word == 2) {
            t->regs[i] |= 0xffff0000; /* upper halves are undefined; processors set them */
        }
    }
    for (unsigned i = 0; i < l->n_segs; i++) {
        t->segs[i] = tss_load(c, base, l->segs + i * l->seg_step, 2);
    }
    t->ldt = tss_load(c, base, l->ldt, 2);
    t->trap = l->trap && tss_load(c, base, l->trap, 1) & 1;
}

static void save_state(X86Cpu *c, const TssLayout *l, uint64_t base, uint32_t ip, uint32_t flags)
{
    tss_store(c, base, l->ip, ip, l->word);
    tss_store(c, base, l->flags, flags, l->word);
    for (unsigned i = 0; i < 8; i++) {
        tss_store(c, base, l->regs + i * l->word, c->regs[i], l->word);
    }
    for (unsigned i = 0; i < l->n_segs; i++) {
        tss_store(c, base, l->segs + i * l->seg_step, c->seg[i].sel, 2);
    }
}

static void set_busy(X86Cpu *c, const X86Desc *d, bool busy)
{
    uint32_t hi = busy ? d->hi | 2 << DESC_TYPE_SHIFT : d->hi & ~(2u << DESC_TYPE_SHIFT);

    jit_store(&c->vcpu, d->addr + 5, hi >> 8 & 0xff, 1, x86_mmu_system(c));
}

static const TssLayout *read_new_tss(X86Cpu *c, uint16_t sel, X86TaskReason why, X86Desc *d)
{
    uint32_t err = sel & ~3u;
    int exc = why == TASK_IRET ? EXC_TS : EXC_GP;
    const TssLayout *l;
    unsigned type;

    if (sel & 4 || !x86_read_desc(c, sel, false, d) || desc_is_seg(d)) {
        x86_raise_err(c, exc, err);
    }
    type = desc_type(d);
    if ((type & ~8u) != (why == TASK_IRET ? SYS_TSS16_BUSY : SYS_TSS16)) {
        x86_raise_err(c, exc, err);
    }
    if (!desc_present(d)) {
        x86_raise_err(c, EXC_NP, err);
    }
    l = type & 8 ? &tss32 : &tss16;
    if (desc_limit(d) < l->min_limit) {
        x86_raise_err(c, EXC_TS, err);
    }
    return l;
}

/* The new task's registers; from here on faults are its own. */
static void commit(X86Cpu *c, const TssLayout *l, const TaskState *t, uint16_t sel,
                   const X86Desc *d)
{
    unsigned cpl;

    seg_from_desc(&c->seg[S_TR], sel, d);
    c->seg[S_TR].attr |= 2 << DESC_TYPE_SHIFT;
    if (l->cr3 && c->cr0 & CR0_PG) {
        c->cr3 = t->cr3;
        if (c->cr4 & CR4_PAE && !x86_lma(c)) {
            x86_load_pdptes(c, t->cr3);
        }
        jit_tlb_flush(&c->vcpu, true);
    }
    c->cr0 |= CR0_TS;
    for (unsigned i = 0; i < 8; i++) {
        c->regs[i] = t->regs[i];
    }
    x86_set_eflags(c, t->flags);
    c->rip = t->ip;
    c->seg[S_LDTR] = (X86Seg){.sel = t->ldt};
    cpl = t->flags & EF_VM ? 3 : t->segs[S_CS] & 3;
    for (int i = 0; i < 6; i++) {
        if (t->flags & EF_VM) {
            x86_seg_v86(c, i, t->segs[i]);
        } else {
            c->seg[i] = (X86Seg){.sel = t->segs[i], .attr = cpl << DESC_DPL_SHIFT};
        }
    }
    c->dr[7] &= ~0x55ull; /* local breakpoints belong to the old task */
    if (t->trap) {
        x86_pend_db(c, 1u << 15);
    }
    x86_update_mode(c);
}

void x86_task_switch(X86Cpu *c, uint16_t sel, X86TaskReason why, uint32_t next, uint32_t flags,
                     bool in_block)
{
    const X86Seg *tr = &c->seg[S_TR];
    X86Desc now, old;
    const TssLayout *l = read_new_tss(c, sel, why, &now), *old_l;
    uint64_t base = desc_base32(&now), old_base = tr->base;
    bool nested = why == TASK_CALL || why == TASK_INT;
    uint16_t old_sel = tr->sel;
    TaskState t;

    old_l = tr->attr >> DESC_TYPE_SHIFT & 8 ? &tss32 : &tss16;
    if (!(tr->attr & DESC_P) || tr->limit < old_l->min_limit) {
        x86_raise_err(c, EXC_TS, old_sel & ~3u);
    }
    read_state(c, l, base, &t);
    jit_probe(&c->vcpu, (uint32_t)(old_base + old_l->ip), old_l->ldt - old_l->ip, JIT_WRITE,
              x86_mmu_system(c));
    if (!nested && !x86_read_desc(c, old_sel, false, &old)) {
        x86_raise_err(c, EXC_TS, old_sel & ~3u);
    }
    if (why == TASK_IRET) {
        flags &= ~EF_NT;
    }
    if (!nested) {
        set_busy(c, &old, false);
    }
    save_state(c, old_l, old_base, next, flags);
    if (nested) {
        tss_store(c, base, 0, old_sel, 2);
        t.flags |= EF_NT;
    }
    if (why != TASK_IRET) {
        set_busy(c, &now, true);
    }
    commit(c, l, &t, sel, &now);
    c->task_load = true;
    if (in_block) {
        vcpu_signal(&c->vcpu, VCPU_TRAP);
        jit_leave_done(&c->vcpu);
    }
    x86_task_finish(c);
}

/* ---- the new task's descriptors ---- */

static void finish_ldt(X86Cpu *c)
{
    uint16_t sel = c->seg[S_LDTR].sel;
    X86Desc d;

    if (!(sel & ~3u)) {
        return;
    }
    if (sel & 4 || !x86_read_desc(c, sel, false, &d) || desc_is_seg(&d) ||
        desc_type(&d) != SYS_LDT || !desc_present(&d)) {
        x86_raise_err(c, EXC_TS, sel & ~3u);
    }
    seg_from_desc(&c->seg[S_LDTR], sel, &d);
}

static void finish_cs(X86Cpu *c)
{
    uint16_t sel = c->seg[S_CS].sel;
    unsigned cpl = sel & 3;
    X86Desc d;

    if (!x86_read_desc(c, sel, false, &d) || !desc_is_code(&d) ||
        (desc_is_conforming(&d) ? desc_dpl(&d) > cpl : desc_dpl(&d) != cpl)) {
        x86_raise_err(c, EXC_TS, sel & ~3u);
    }
    if (!desc_present(&d)) {
        x86_raise_err(c, EXC_NP, sel & ~3u);
    }
    x86_desc_accessed(c, &d);
    seg_from_desc(&c->seg[S_CS], sel, &d);
}

static void finish_data(X86Cpu *c, int seg, unsigned cpl)
{
    uint16_t sel = c->seg[seg].sel;
    X86Desc d;

    if (!(sel & ~3u)) {
        c->seg[seg] = (X86Seg){.sel = sel};
        return;
    }
    if (!x86_read_desc(c, sel, false, &d) || !desc_is_seg(&d) ||
        (d.hi & (DESC_CODE | DESC_R)) == DESC_CODE ||
        (!desc_is_conforming(&d) && (cpl > desc_dpl(&d) || (sel & 3) > desc_dpl(&d)))) {
        x86_raise_err(c, EXC_TS, sel & ~3u);
    }
    if (!desc_present(&d)) {
        x86_raise_err(c, EXC_NP, sel & ~3u);
    }
    x86_desc_accessed(c, &d);
    seg_from_desc(&c->seg[seg], sel, &d);
}

void x86_task_finish(X86Cpu *c)
{
    static const uint8_t data[] = {S_DS, S_ES, S_FS, S_GS};
    X86Desc d;
    uint16_t ss = c->seg[S_SS].sel;
    unsigned cpl = c->seg[S_CS].sel & 3;

    c->task_load = false;
    finish_ldt(c);
    if (!x86_v86(c)) {
        finish_cs(c);
        x86_update_mode(c);
        if (!(ss & ~3u)) {
            x86_raise_err(c, EXC_TS, 0);
        }
        x86_stack_desc(c, ss, cpl, EXC_TS, &d);
        seg_from_desc(&c->seg[S_SS], ss, &d);
        for (unsigned i = 0; i < sizeof(data); i++) {
            finish_data(c, data[i], cpl);
        }
    }
    x86_update_mode(c);
    if (c->rip > c->seg[S_CS].limit) {
        x86_raise_err(c, EXC_GP, 0);
    }
}
