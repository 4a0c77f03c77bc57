/*
 * x86 segmentation: descriptors, segment register loads, limits, the mode word.
 * Intel SDM volume 3, chapters 3 and 5; instruction pages of volume 2.
 */
#include "target/x86/sys.h"

/* ---- the mode word ---- */

static bool data_seg_flat(const X86Seg *s)
{
    /* Present, writable, expand-up data. */
    return s->limit == 0xffffffff && (s->attr & (DESC_P | DESC_S | DESC_CODE | DESC_E | DESC_W)) ==
                                         (DESC_P | DESC_S | DESC_W);
}

void x86_update_mode(X86Cpu *c)
{
    const X86Seg *cs = &c->seg[S_CS];
    uint64_t m = 0;

    /* CPL, stack size and the rest depend on EFLAGS.VM only through what the segments hold. */
    if (c->cr0 & CR0_PE) {
        m |= (c->seg[S_SS].attr >> DESC_DPL_SHIFT) & 3;
    }
    if (x86_lma(c)) {
        m |= M_LMA;
    }
    if (x86_code64(c)) {
        m |= M_CODE64;
    } else {
        m |= cs->base << 32;
        if (cs->attr & DESC_B) {
            m |= M_CODE32;
        }
        if (cs->limit != 0xffffffff && (cs->attr & DESC_B || cs->limit != 0xffff)) {
            m |= M_CSLIMIT;
        }
        if (c->seg[S_DS].base || c->seg[S_ES].base || c->seg[S_SS].base) {
            m |= M_ADDSEG;
        }
        if (!data_seg_flat(&c->seg[S_DS]) || !data_seg_flat(&c->seg[S_ES]) ||
            !data_seg_flat(&c->seg[S_SS])) {
            m |= M_LIMITS | M_ADDSEG;
        }
    }
    m |= c->seg[S_SS].attr & DESC_B ? M_STACK32 : 0;
    m |= c->cr0 & CR0_EM ? M_EM : 0;
    m |= c->cr0 & CR0_TS ? M_TS : 0;
    m |= c->cr0 & CR0_MP ? M_MP : 0;
    m |= c->cr4 & CR4_OSFXSR ? M_OSFXSR : 0;
    m |= c->cr4 & CR4_OSXSAVE ? M_OSXSAVE : 0;
    m |= c->in_smm ? M_SMM : 0;
    m |= x86_dr7_armed(c) ? M_DEBUG : 0;
    c->mode_cache = m;
}

uint64_t x86_mode(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint32_t ef = c->eflags;
    uint64_t m = c->mode_cache;

    m |= (uint64_t)(ef >> 12 & 3) << M_IOPL_SHIFT;
    if (c->cr0 & CR0_PE) {
        m |= ef & EF_VM ? M_VM86 | M_CPL : M_PE;
    }
    if (c->shadow) {
        m |= M_SHADOW;
    }
    if (ef & EF_TF || cpu->debug_step) {
        m |= M_TF;
    }
    if (ef & EF_RF) {
        m |= M_RF;
    }
    if (ef & EF_AC) {
        if ((m & M_CPL) == 3 && c->cr0 & CR0_AM) {
            m |= M_ALIGN;
        }
    } else if (c->cr4 & CR4_SMAP) {
        m |= M_AC_SMAP;
    }
    if ((c->mxcsr & 0x1f80) != 0x1f80) {
        m |= M_XMMEXC;
    }
    if ((c->fctrl & 0x3f) != 0x3f) {
        m |= M_FPUEXC;
    }
    return m;
}

unsigned x86_mmu_cpl(X86Cpu *c, unsigned cpl)
{
    return cpl == 3                                    ? MMU_USER
           : c->cr4 & CR4_SMAP && !(c->eflags & EF_AC) ? MMU_KERNEL_SMAP
                                                       : MMU_KERNEL;
}

unsigned x86_mmu_data(X86Cpu *c)
{
    return x86_mmu_cpl(c, x86_cpl(c));
}

/* Accesses to descriptor tables and TSS: supervisor, and EFLAGS.AC does not help them. */
unsigned x86_mmu_system(X86Cpu *c)
{
    return c->cr4 & CR4_SMAP ? MMU_KERNEL_SMAP : MMU_KERNEL;
}

/* ---- descriptors ---- */

void x86_need_cpl0(X86Cpu *c)
{
    if (x86_cpl(c) != 0) {
        x86_raise_err(c, EXC_GP, 0);
    }
}

bool x86_read_desc(X86Cpu *c, uint16_t sel, bool wide, X86Desc *d)
{
    unsigned mmu = x86_mmu_system(c), off = sel & ~7u, bytes = wide ? 16 : 8;
    uint64_t base = c->gdt.base, raw;
    uint32_t limit = c->gdt.limit;

    *d = (X86Desc){.sel = sel};
    if (sel & 4) {
        if (!(c->seg[S_LDTR].attr & DESC_P)) {
            return false;
        }
        base = c->seg[S_LDTR].base;
        limit = c->seg[S_LDTR].limit;
    } else if (!(sel & ~3u)) {
        return false;
    }
    if (off + bytes - 1 > limit) {
        return false;
    }
    d->addr = base + off;
    if (!x86_lma(c)) {
        d->addr = (uint32_t)d->addr;
    }
    raw = jit_load(&c->vcpu, d->addr, 8, mmu);
    d->lo = raw;
    d->hi = raw >> 32;
    if (wide) {
        raw = jit_load(&c->vcpu, d->addr + 8, 8, mmu);
        d->upper = raw;
        /* The type field of the upper half must be 0: callers that care look here. */
        if (raw >> 40 & 0x1f) {
            return false;
        }
    }
    return true;
}

void x86_desc_accessed(X86Cpu *c, X86Desc *d)
{
    if (!(d->hi & DESC_A)) {
        d->hi |= DESC_A;
        jit_store(&c->vcpu, d->addr + 5, d->hi >> 8 & 0xff, 1, x86_mmu_system(c));
    }
}

/* ---- segment registers ---- */

void x86_seg_real(X86Cpu *c, int seg, uint16_t sel)
{
    X86Seg *s = &c->seg[seg];

    /* Limit and size stay what protected mode left in them ("unreal" mode). */
    if (!(s->attr & DESC_P)) {
        s->limit = 0xffff;
        s->attr = 0;
    }
    s->attr &= seg == S_CS ? 0 : DESC_G | DESC_B;
    s->attr |= DESC_P | DESC_S | DESC_W | DESC_A;
    if (seg == S_CS) {
        s->attr |= DESC_CODE;
    }
    s->sel = sel;
    s->base = (uint32_t)sel << 4;
    x86_update_mode(c);
}

void x86_seg_v86(X86Cpu *c, int seg, uint16_t sel)
{
    c->seg[seg] = (X86Seg){
        .sel = sel,
        .base = (uint32_t)sel << 4,
        .limit = 0xffff,
        .attr = DESC_P | DESC_S | DESC_W | DESC_A | 3u << DESC_DPL_SHIFT,
    };
    x86_update_mode(c);
}

void x86_seg_null(X86Cpu *c, int seg, uint16_t sel)
{
    c->seg[seg] = (X86Seg){.sel = sel};
    x86_update_mode(c);
}

void x86_stack_desc(X86Cpu *c, uint16_t sel, unsigned cpl, int exc, X86Desc *d)
{
    uint32_t err = sel & ~3u;

    if (!x86_read_desc(c, sel, false, d)) {
        x86_raise_err(c, exc, err);
    }
    if ((sel & 3) != cpl || (d->hi & (DESC_S | DESC_CODE | DESC_W)) != (DESC_S | DESC_W) ||
        desc_dpl(d) != cpl) {
        x86_raise_err(c, exc, err);
    }
    if (!desc_present(d)) {
        x86_raise_err(c, EXC_SS, err);
    }
    x86_desc_accessed(c, d);
}

/* SS = null: only for 64-bit code above level 3. */
static void load_null(X86Cpu *c, int seg, uint16_t sel)
{
    if (seg == S_SS) {
        unsigned cpl = x86_cpl(c);

        if (!x86_code64(c) || cpl == 3 || (sel & 3) != cpl) {
            x86_raise_err(c, EXC_GP, 0);
        }
        c->seg[S_SS] = (X86Seg){.sel = sel, .attr = cpl << DESC_DPL_SHIFT};
        x86_update_mode(c);
    } else {
        x86_seg_null(c, seg, sel);
    }
}

void x86_load_seg(X86Cpu *c, int seg, uint16_t sel)
{
    unsigned cpl = x86_cpl(c), rpl = sel & 3;
    uint32_t err = sel & ~3u;
    X86Desc d;

    if (x86_real(c)) {
        x86_seg_real(c, seg, sel);
        return;
    }
    if (x86_v86(c)) {
        x86_seg_v86(c, seg, sel);
        return;
    }
    if (!err) {
        load_null(c, seg, sel);
        return;
    }
    if (seg == S_SS) {
        x86_stack_desc(c, sel, cpl, EXC_GP, &d);
    } else {
        if (!x86_read_desc(c, sel, false, &d) || !desc_is_seg(&d) ||
            (d.hi & (DESC_CODE | DESC_R)) == DESC_CODE) {
            x86_raise_err(c, EXC_GP, err);
        }
        if (!desc_is_conforming(&d) && (rpl > desc_dpl(&d) || cpl > desc_dpl(&d))) {
            x86_raise_err(c, EXC_GP, err);
        }
        if (!desc_present(&d)) {
            x86_raise_err(c, EXC_NP, err);
        }
        x86_desc_accessed(c, &d);
    }
    seg_from_desc(&c->seg[seg], sel, &d);
    x86_update_mode(c);
}

uint64_t x86_h_load_seg(VCpu *cpu, uint64_t seg, uint64_t sel)
{
    x86_load_seg(x86(cpu), seg, sel);
    return 0;
}

void x86_drop_segs(X86Cpu *c, unsigned cpl)
{
    static const uint8_t segs[] = {S_ES, S_DS, S_FS, S_GS};

    for (unsigned i = 0; i < sizeof(segs); i++) {
        X86Seg *s = &c->seg[segs[i]];
        bool conforming = (s->attr & (DESC_CODE | DESC_C)) == (DESC_CODE | DESC_C);

        /* Null already: a base that was written by MSR stays. */
        if (s->attr & DESC_P && !conforming && (s->attr >> DESC_DPL_SHIFT & 3) < cpl) {
            *s = (X86Seg){.sel = 0};
        }
    }
    x86_update_mode(c);
}

void x86_flat_cs(X86Cpu *c, uint16_t sel, unsigned dpl, bool code64)
{
    c->seg[S_CS] = (X86Seg){
        .sel = sel,
        .limit = 0xffffffff,
        .attr = DESC_P | DESC_S | DESC_CODE | DESC_R | DESC_A | DESC_G | dpl << DESC_DPL_SHIFT |
                (code64 ? DESC_L : DESC_B),
    };
}

void x86_flat_ss(X86Cpu *c, uint16_t sel, unsigned dpl)
{
    c->seg[S_SS] = (X86Seg){
        .sel = sel,
        .limit = 0xffffffff,
        .attr = DESC_P | DESC_S | DESC_W | DESC_A | DESC_G | DESC_B | dpl << DESC_DPL_SHIFT,
    };
    x86_update_mode(c);
}

void x86_set_cs(X86Cpu *c, uint16_t sel, unsigned cpl, const X86Desc *d)
{
    seg_from_desc(&c->seg[S_CS], (sel & ~3u) | cpl, d);
    x86_update_mode(c);
}

/* ---- limits ---- */

bool x86_in_limit(const X86Seg *s, uint64_t off, unsigned size)
{
    uint64_t last = off + size - 1;

    if ((s->attr & (DESC_S | DESC_CODE | DESC_E)) == (DESC_S | DESC_E)) {
        uint64_t top = s->attr & DESC_B ? 0xffffffff : 0xffff;

        return off > s->limit && last <= top;
    }
    /* A flat segment wraps at 4 GiB. */
    return last <= s->limit || (s->limit == 0xffffffff && off <= 0xffffffff);
}

uint64_t x86_h_check_seg(VCpu *cpu, uint64_t seg, uint64_t off, uint64_t size, uint64_t write)
{
    X86Cpu *c = x86(cpu);
    const X86Seg *s = &c->seg[seg];
    bool ok = s->attr & DESC_P;

    if (ok && x86_prot(c)) {
        /* Code is never writable and not always readable; data not always writable. */
        if (write) {
            ok = (s->attr & (DESC_CODE | DESC_W)) == DESC_W;
        } else {
            ok = (s->attr & (DESC_CODE | DESC_R)) != DESC_CODE;
        }
    }
    if (!ok || !x86_in_limit(s, off, size)) {
        x86_raise_err(c, seg == S_SS ? EXC_SS : EXC_GP, 0);
    }
    return 0;
}

uint64_t x86_h_check_cs(VCpu *cpu, uint64_t off)
{
    X86Cpu *c = x86(cpu);

    if (x86_code64(c) ? !x86_canonical(off) : off > c->seg[S_CS].limit) {
        x86_raise_err(c, EXC_GP, 0);
    }
    return 0;
}

/* ---- LDTR, TR ---- */

uint64_t x86_h_lldt(VCpu *cpu, uint64_t sel)
{
    X86Cpu *c = x86(cpu);
    X86Desc d;
    uint32_t err;

    sel &= 0xffff;
    err = sel & ~3u;
    if (!x86_prot(c)) {
        x86_raise(c, EXC_UD);
    }
    x86_need_cpl0(c);
    if (!err) {
        c->seg[S_LDTR] = (X86Seg){.sel = sel};
        return 0;
    }
    if (sel & 4 || !x86_read_desc(c, sel, x86_lma(c), &d) || desc_is_seg(&d) ||
        desc_type(&d) != SYS_LDT) {
        x86_raise_err(c, EXC_GP, err);
    }
    if (!desc_present(&d)) {
        x86_raise_err(c, EXC_NP, err);
    }
    if (x86_lma(c) && !x86_canonical((uint64_t)d.upper << 32 | desc_base32(&d))) {
        x86_raise_err(c, EXC_GP, err);
    }
    seg_from_desc(&c->seg[S_LDTR], sel, &d);
    c->seg[S_LDTR].base |= (uint64_t)d.upper << 32;
    return 0;
}

uint64_t x86_h_ltr(VCpu *cpu, uint64_t sel)
{
    X86Cpu *c = x86(cpu);
    X86Desc d;
    uint32_t err;

    sel &= 0xffff;
    err = sel & ~3u;
    if (!x86_prot(c)) {
        x86_raise(c, EXC_UD);
    }
    x86_need_cpl0(c);
    if (!err) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (sel & 4 || !x86_read_desc(c, sel, x86_lma(c), &d) || desc_is_seg(&d) ||
        (desc_type(&d) != SYS_TSS && (x86_lma(c) || desc_type(&d) != SYS_TSS16))) {
        x86_raise_err(c, EXC_GP, err);
    }
    if (!desc_present(&d)) {
        x86_raise_err(c, EXC_NP, err);
    }
    if (x86_lma(c) && !x86_canonical((uint64_t)d.upper << 32 | desc_base32(&d))) {
        x86_raise_err(c, EXC_GP, err);
    }
    d.hi |= 2 << DESC_TYPE_SHIFT; /* busy */
    jit_store(cpu, d.addr + 5, d.hi >> 8 & 0xff, 1, x86_mmu_system(c));
    seg_from_desc(&c->seg[S_TR], sel, &d);
    c->seg[S_TR].base |= (uint64_t)d.upper << 32;
    return 0;
}

/* ---- LAR, LSL, VERR, VERW ---- */

#define BIT(n) (1u << (n))

/* Is the descriptor visible to LAR (or LSL) here? @types: system types that are. */
static bool visible(X86Cpu *c, uint16_t sel, uint32_t types, X86Desc *d)
{
    unsigned cpl = x86_cpl(c), rpl = sel & 3;

    if (!x86_prot(c)) {
        x86_raise(c, EXC_UD);
    }
    if (!x86_read_desc(c, sel, false, d)) {
        return false;
    }
    if (!desc_is_seg(d)) {
        if (!(types & BIT(desc_type(d)))) {
            return false;
        }
    } else if (desc_is_conforming(d)) {
        return true;
    }
    return cpl <= desc_dpl(d) && rpl <= desc_dpl(d);
}

uint64_t x86_h_lar(VCpu *cpu, uint64_t sel)
{
    X86Cpu *c = x86(cpu);
    uint32_t types = BIT(SYS_LDT) | BIT(SYS_TSS) | BIT(SYS_TSS_BUSY) | BIT(SYS_CALL);
    X86Desc d;

    if (!x86_lma(c)) {
        types |= BIT(SYS_TSS16) | BIT(SYS_TSS16_BUSY) | BIT(SYS_CALL16) | BIT(SYS_TASK_GATE);
    }
    return visible(c, sel, types, &d) ? (d.hi & 0x00ffff00) | 1ull << 32 : 0;
}

uint64_t x86_h_lsl(VCpu *cpu, uint64_t sel)
{
    X86Cpu *c = x86(cpu);
    uint32_t types = BIT(SYS_LDT) | BIT(SYS_TSS) | BIT(SYS_TSS_BUSY);
    X86Desc d;

    if (!x86_lma(c)) {
        types |= BIT(SYS_TSS16) | BIT(SYS_TSS16_BUSY);
    }
    return visible(c, sel, types, &d) ? desc_limit(&d) | 1ull << 32 : 0;
}

uint64_t x86_h_verr(VCpu *cpu, uint64_t sel)
{
    X86Desc d;

    return visible(x86(cpu), sel, 0, &d) && (d.hi & (DESC_CODE | DESC_R)) != DESC_CODE;
}

uint64_t x86_h_verw(VCpu *cpu, uint64_t sel)
{
    X86Desc d;

    return visible(x86(cpu), sel, 0, &d) && (d.hi & (DESC_CODE | DESC_W)) == DESC_W;
}

/* ---- GDTR, IDTR ---- */

static void load_table(X86Cpu *c, X86Table *t, uint64_t limit, uint64_t base)
{
    x86_need_cpl0(c);
    if (x86_code64(c) && !x86_canonical(base)) {
        x86_raise_err(c, EXC_GP, 0);
    }
    t->base = base;
    t->limit = limit;
}

uint64_t x86_h_lgdt(VCpu *cpu, uint64_t limit, uint64_t base)
{
    load_table(x86(cpu), &x86(cpu)->gdt, limit, base);
    return 0;
}

uint64_t x86_h_lidt(VCpu *cpu, uint64_t limit, uint64_t base)
{
    load_table(x86(cpu), &x86(cpu)->idt, limit, base);
    return 0;
}

/* ---- stacks of far transfers ---- */

void x86_stack_init(X86Cpu *c, X86Stack *s, const X86Seg *ss, uint64_t sp, unsigned cpl,
                    bool code64)
{
    *s = (X86Stack){
        .seg = *ss,
        .sp = sp,
        .mask = x86_sp_mask(ss->attr, code64),
        .mmu = x86_mmu_cpl(c, cpl),
        .limits = !code64,
    };
    if (code64) {
        s->seg.base = 0;
    }
    s->sp &= s->mask;
}

void x86_stack_now(X86Cpu *c, X86Stack *s)
{
    x86_stack_init(c, s, &c->seg[S_SS], c->regs[R_RSP], x86_cpl(c), x86_code64(c));
}

static uint64_t stack_linear(X86Cpu *c, X86Stack *s, uint64_t sp, unsigned size)
{
    if (s->limits) {
        if (!(s->seg.attr & DESC_P) || !x86_in_limit(&s->seg, sp, size)) {
            x86_raise_err(c, EXC_SS, s->err_sel);
        }
        return (uint32_t)(s->seg.base + sp);
    }
    if (!x86_canonical(sp) || !x86_canonical(sp + size - 1)) {
        x86_raise_err(c, EXC_SS, s->err_sel);
    }
    return sp;
}

void x86_push(X86Cpu *c, X86Stack *s, uint64_t val, unsigned size)
{
    uint64_t sp = (s->sp - size) & s->mask;

    jit_store(&c->vcpu, stack_linear(c, s, sp, size), val, size, s->mmu);
    s->sp = sp;
}

uint64_t x86_pop(X86Cpu *c, X86Stack *s, unsigned size)
{
    uint64_t v = jit_load(&c->vcpu, stack_linear(c, s, s->sp, size), size, s->mmu);

    s->sp = (s->sp + size) & s->mask;
    return v;
}

void x86_set_sp(X86Cpu *c, uint64_t sp, uint64_t mask)
{
    if (mask == 0xffff) {
        c->regs[R_RSP] = (c->regs[R_RSP] & ~0xffffull) | (sp & 0xffff);
    } else {
        c->regs[R_RSP] = sp & mask;
    }
}
