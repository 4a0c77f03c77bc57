/*
 * Control registers, EFER, XCR0, TLB instructions. Intel SDM volume 3, chapters 2, 4.10 and 9.
 */
#include "target/x86/sys.h"
#include <string.h>

G_NORETURN static void gp0(X86Cpu *c)
{
    x86_raise_err(c, EXC_GP, 0);
}

/* ---- CR0 ---- */

void x86_set_cr0(X86Cpu *c, uint64_t v)
{
    uint64_t changed = c->cr0 ^ v;

    c->cr0 = v;
    if (changed & (CR0_PG | CR0_PE | CR0_WP)) {
        jit_tlb_flush(&c->vcpu, false);
    }
    x86_update_mode(c);
}

static bool pae_paging(const X86Cpu *c)
{
    return (c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE) && !x86_lma(c);
}

static void write_cr0(X86Cpu *c, uint64_t v)
{
    uint64_t efer = c->efer;
    bool pg_on, pg_off;

    if (v >> 32) {
        gp0(c);
    }
    v = (v & (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |
              CR0_PG)) |
        CR0_ET;
    if ((v & CR0_PG && !(v & CR0_PE)) || (v & CR0_NW && !(v & CR0_CD))) {
        gp0(c);
    }
    pg_on = v & CR0_PG && !(c->cr0 & CR0_PG);
    pg_off = !(v & CR0_PG) && c->cr0 & CR0_PG;
    if (pg_on && efer & EFER_LME) {
        if (!(c->cr4 & CR4_PAE) || c->seg[S_CS].attr & DESC_L) {
            gp0(c);
        }
        efer |= EFER_LMA;
    } else if (pg_on && c->cr4 & CR4_PAE && !x86_load_pdptes(c, c->cr3)) {
        gp0(c);
    }
    if (pg_off) {
        if (x86_code64(c) || c->cr4 & CR4_PCIDE) {
            gp0(c);
        }
        efer &= ~EFER_LMA;
    }
    /* CD and NW reload the PDPTEs, too. */
    if (!pg_on && !pg_off && pae_paging(c) && (c->cr0 ^ v) & (CR0_CD | CR0_NW) &&
        !x86_load_pdptes(c, c->cr3)) {
        gp0(c);
    }
    c->efer = efer;
    if (!(c->cr0 & CR0_PE) && v & CR0_PE) {
        /* Level 0 is where protected mode begins. */
        c->seg[S_SS].attr &= ~(3u << DESC_DPL_SHIFT);
    }
    x86_set_cr0(c, v);
}

uint64_t x86_h_lmsw(VCpu *cpu, uint64_t v)
{
    X86Cpu *c = x86(cpu);
    uint64_t cr0 = c->cr0;

    x86_need_cpl0(c);
    /* PE can be set but not cleared. */
    write_cr0(c, (cr0 & ~0xeull) | (v & 0xf));
    return 0;
}

uint64_t x86_h_clts(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);

    x86_need_cpl0(c);
    c->cr0 &= ~(uint64_t)CR0_TS;
    x86_update_mode(c);
    return 0;
}

/* ---- CR3 ---- */

static void write_cr3(X86Cpu *c, uint64_t v)
{
    if (x86_lma(c)) {
        uint64_t rsvd = ~x86_phys_mask(c);

        if (c->cr4 & CR4_PCIDE) {
            rsvd &= ~(1ull << 63);
        }
        if (v & rsvd) {
            gp0(c);
        }
        v &= ~(1ull << 63); /* "keep": dropping more than asked is always right */
    } else {
        v = (uint32_t)v;
        if (pae_paging(c) && !x86_load_pdptes(c, v)) {
            gp0(c);
        }
    }
    c->cr3 = v;
    if (c->cr0 & CR0_PG) {
        jit_tlb_flush(&c->vcpu, true);
    }
}

/* ---- CR4 ---- */

uint64_t x86_cr4_mask(const X86Cpu *c)
{
    static const struct {
        uint32_t cr4;
        uint8_t word, bit;
    } bits[] = {
        {CR4_VME | CR4_PVI, FEAT_1_EDX, 1}, {CR4_DE, FEAT_1_EDX, 2},
        {CR4_PSE, FEAT_1_EDX, 3},           {CR4_TSD, FEAT_1_EDX, 4},
        {CR4_PAE, FEAT_1_EDX, 6},           {CR4_MCE, FEAT_1_EDX, 7},
        {CR4_PGE, FEAT_1_EDX, 13},          {CR4_OSFXSR, FEAT_1_EDX, 24},
        {CR4_OSXMMEXCPT, FEAT_1_EDX, 25},   {CR4_UMIP, FEAT_7_ECX, 2},
        {CR4_FSGSBASE, FEAT_7_EBX, 0},      {CR4_PCIDE, FEAT_1_ECX, 17},
        {CR4_OSXSAVE, FEAT_1_ECX, 26},      {CR4_SMEP, FEAT_7_EBX, 7},
        {CR4_SMAP, FEAT_7_EBX, 20},
    };
    /* Performance counters have no feature bit of their own. */
    uint64_t mask = x86_feat(c, FEAT_1_EDX, 23) ? CR4_PCE : 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++) {
        if (x86_feat(c, bits[i].word, bits[i].bit)) {
            mask |= bits[i].cr4;
        }
    }
    return mask;
}

static void write_cr4(X86Cpu *c, uint64_t v)
{
    uint64_t changed = c->cr4 ^ v;
    bool flush;

    if (v & ~x86_cr4_mask(c)) {
        gp0(c);
    }
    if (x86_lma(c) && !(v & CR4_PAE)) {
        gp0(c);
    }
    if (changed & v & CR4_PCIDE && (!x86_lma(c) || c->cr3 & 0xfff)) {
        gp0(c);
    }
    if (v & CR4_PAE && c->cr0 & CR0_PG && !x86_lma(c) &&
        changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP) && !x86_load_pdptes(c, c->cr3)) {
        gp0(c);
    }
    flush = changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP);
    c->cr4 = v;
    if (flush) {
        jit_tlb_flush(&c->vcpu, false);
    }
    x86_update_mode(c);
}

/* ---- MOV CRn ---- */

uint64_t x86_h_mov_to_cr(VCpu *cpu, uint64_t n, uint64_t v)
{
    X86Cpu *c = x86(cpu);

    x86_need_cpl0(c);
    if (!x86_code64(c)) {
        v = (uint32_t)v;
    }
    switch (n) {
    case 0:
        write_cr0(c, v);
        break;
    case 2:
        c->cr2 = v;
        break;
    case 3:
        write_cr3(c, v);
        break;
    case 4:
        write_cr4(c, v);
        break;
    case 8:
        if (v & ~15ull) {
            gp0(c);
        }
        if (c->intc && c->intc->set_priority) {
            c->intc->set_priority(c->intc_opaque, v);
        }
        break;
    default:
        x86_raise(c, EXC_UD);
    }
    return 0;
}

uint64_t x86_h_mov_from_cr(VCpu *cpu, uint64_t n)
{
    X86Cpu *c = x86(cpu);

    x86_need_cpl0(c);
    switch (n) {
    case 0:
        return c->cr0;
    case 2:
        return c->cr2;
    case 3:
        return c->cr3;
    case 4:
        return c->cr4;
    case 8:
        return c->intc && c->intc->get_priority ? c->intc->get_priority(c->intc_opaque) : 0;
    default:
        x86_raise(c, EXC_UD);
    }
}

/* ---- EFER ---- */

uint64_t x86_efer_mask(const X86Cpu *c)
{
    uint64_t mask = 0;

    mask |= x86_feat(c, FEAT_80000001_EDX, 11) ? EFER_SCE : 0;
    mask |= x86_feat(c, FEAT_80000001_EDX, 20) ? EFER_NXE : 0;
    mask |= x86_feat(c, FEAT_80000001_EDX, 29) ? EFER_LME | EFER_LMA : 0;
    mask |= x86_feat(c, FEAT_80000001_EDX, 25) ? EFER_FFXSR : 0;
    return mask;
}

void x86_write_efer(X86Cpu *c, uint64_t v)
{
    uint64_t changed = c->efer ^ v;

    if (v & ~x86_efer_mask(c)) {
        gp0(c);
    }
    if (changed & EFER_LME && c->cr0 & CR0_PG) {
        gp0(c);
    }
    c->efer = (v & ~(uint64_t)EFER_LMA) | (c->efer & EFER_LMA);
    if (changed & EFER_NXE) {
        jit_tlb_flush(&c->vcpu, false);
    }
    x86_update_mode(c);
}

/* ---- XCR0 ---- */

uint64_t x86_h_xgetbv(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint64_t v;

    if (!(c->cr4 & CR4_OSXSAVE)) {
        x86_raise(c, EXC_UD);
    }
    switch ((uint32_t)c->regs[R_RCX]) {
    case 0:
        v = c->xcr0;
        break;
    case 1:
        if (c->feat[FEAT_D_1_EAX] & 4) {
            v = c->xcr0; /* in use: everything that is enabled */
            break;
        }
        /* fall through */
    default:
        gp0(c);
    }
    c->regs[R_RAX] = (uint32_t)v;
    c->regs[R_RDX] = v >> 32;
    return 0;
}

uint64_t x86_h_xsetbv(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint64_t v = (uint32_t)c->regs[R_RAX] | c->regs[R_RDX] << 32;

    if (!(c->cr4 & CR4_OSXSAVE)) {
        x86_raise(c, EXC_UD);
    }
    x86_need_cpl0(c);
    /* x87 and SSE state are all there is, but for what KVM keeps. */
    if ((uint32_t)c->regs[R_RCX] != 0 || !(v & 1) || v & ~(3ull | (c->ext ? c->ext->mask : 0))) {
        gp0(c);
    }
    c->xcr0 = v;
    return 0;
}

/* ---- TLB ---- */

uint64_t x86_h_invlpg(VCpu *cpu, uint64_t addr)
{
    X86Cpu *c = x86(cpu);

    x86_need_cpl0(c);
    if (x86_lma(c) && !x86_canonical(addr)) {
        return 0;
    }
    jit_tlb_flush_page(cpu, addr);
    return 0;
}

uint64_t x86_h_invpcid(VCpu *cpu, uint64_t type, uint64_t addr)
{
    X86Cpu *c = x86(cpu);
    unsigned mmu = x86_mmu_data(c);
    uint64_t desc[2];

    if (!x86_feat(c, FEAT_7_EBX, 10) || x86_v86(c)) {
        x86_raise(c, EXC_UD);
    }
    x86_need_cpl0(c);
    desc[0] = jit_load(cpu, addr, 8, mmu);
    desc[1] = jit_load(cpu, addr + 8, 8, mmu);
    if (type > 3 || desc[0] >> 12 || (type < 2 && !(c->cr4 & CR4_PCIDE) && desc[0]) ||
        (type == 0 && x86_lma(c) && !x86_canonical(desc[1]))) {
        gp0(c);
    }
    /* Entries carry no PCID: all of them are of the present one. */
    if (type == 0) {
        jit_tlb_flush_page(cpu, desc[1]);
    } else {
        jit_tlb_flush(cpu, type != 2);
    }
    return 0;
}
