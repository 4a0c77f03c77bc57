/*
 * System management mode: SMI, RSM and the save-state maps. AMD APM volume 2, chapter 10 (map of
 * 64-bit processors, at SMBASE+FE00h); Intel SDM volume 3, chapter 32 (map of 32-bit processors).
 */
#include "core/log.h"
#include "core/machine.h"
#include "target/x86/sys.h"

enum {
    SMM_ENTRY = 0x8000,
    REV_64 = 0x00020064, /* SMBASE relocation, 64-bit layout */
    REV_32 = 0x00020000,
};

static void put(X86Cpu *c, unsigned off, uint64_t v, unsigned size)
{
    jit_phys_store(&c->vcpu, (uint32_t)(c->smbase + SMM_ENTRY + off), v, size);
}

static uint64_t get(X86Cpu *c, unsigned off, unsigned size)
{
    return jit_phys_load(&c->vcpu, (uint32_t)(c->smbase + SMM_ENTRY + off), size);
}

/* ---- 64-bit map; offsets from SMBASE+8000h ---- */

static const uint16_t seg_off64[S_COUNT] = {
    [S_ES] = 0x7e00, [S_CS] = 0x7e10, [S_SS] = 0x7e20,   [S_DS] = 0x7e30,
    [S_FS] = 0x7e40, [S_GS] = 0x7e50, [S_LDTR] = 0x7e70, [S_TR] = 0x7e90,
};

static void save64(X86Cpu *c)
{
    for (unsigned i = 0; i < S_COUNT; i++) {
        const X86Seg *s = &c->seg[i];

        put(c, seg_off64[i], s->sel, 2);
        put(c, seg_off64[i] + 2, s->attr >> 8 & 0xf0ff, 2);
        put(c, seg_off64[i] + 4, s->limit, 4);
        put(c, seg_off64[i] + 8, s->base, 8);
    }
    put(c, 0x7e64, c->gdt.limit, 4);
    put(c, 0x7e68, c->gdt.base, 8);
    put(c, 0x7e84, c->idt.limit, 4);
    put(c, 0x7e88, c->idt.base, 8);
    put(c, 0x7ec8, 0, 2); /* no I/O restart, no HLT restart */
    put(c, 0x7ed0, c->efer, 8);
    put(c, 0x7efc, REV_64, 4);
    put(c, 0x7f00, c->smbase, 4);
    put(c, 0x7f48, c->cr4, 8);
    put(c, 0x7f50, c->cr3, 8);
    put(c, 0x7f58, c->cr0, 8);
    put(c, 0x7f60, c->dr[7], 8);
    put(c, 0x7f68, c->dr[6], 8);
    put(c, 0x7f70, x86_get_eflags(c), 8);
    put(c, 0x7f78, c->rip, 8);
    for (unsigned i = 8; i < 16; i++) {
        put(c, 0x7fb8 - (i - 8) * 8, c->regs[i], 8);
    }
    put(c, 0x7fc0, c->regs[R_RDI], 8);
    put(c, 0x7fc8, c->regs[R_RSI], 8);
    put(c, 0x7fd0, c->regs[R_RBP], 8);
    put(c, 0x7fd8, c->regs[R_RSP], 8);
    put(c, 0x7fe0, c->regs[R_RBX], 8);
    put(c, 0x7fe8, c->regs[R_RDX], 8);
    put(c, 0x7ff0, c->regs[R_RCX], 8);
    put(c, 0x7ff8, c->regs[R_RAX], 8);
}

/* What RSM takes from the map besides segments and general registers. */
typedef struct Saved {
    uint64_t cr0, cr3, cr4, efer, dr6, dr7, rip;
    uint32_t eflags, smbase;
} Saved;

static void load64(X86Cpu *c, Saved *s)
{
    for (unsigned i = 0; i < S_COUNT; i++) {
        c->seg[i].sel = get(c, seg_off64[i], 2);
        c->seg[i].attr = (get(c, seg_off64[i] + 2, 2) & 0xf0ff) << 8;
        c->seg[i].limit = get(c, seg_off64[i] + 4, 4);
        c->seg[i].base = get(c, seg_off64[i] + 8, 8);
    }
    c->gdt.limit = get(c, 0x7e64, 4);
    c->gdt.base = get(c, 0x7e68, 8);
    c->idt.limit = get(c, 0x7e84, 4);
    c->idt.base = get(c, 0x7e88, 8);
    s->efer = get(c, 0x7ed0, 8);
    s->smbase = get(c, 0x7f00, 4);
    s->cr4 = get(c, 0x7f48, 8);
    s->cr3 = get(c, 0x7f50, 8);
    s->cr0 = get(c, 0x7f58, 8);
    s->dr7 = get(c, 0x7f60, 8);
    s->dr6 = get(c, 0x7f68, 8);
    s->eflags = get(c, 0x7f70, 8);
    s->rip = get(c, 0x7f78, 8);
    for (unsigned i = 8; i < 16; i++) {
        c->regs[i] = get(c, 0x7fb8 - (i - 8) * 8, 8);
    }
    c->regs[R_RDI] = get(c, 0x7fc0, 8);
    c->regs[R_RSI] = get(c, 0x7fc8, 8);
    c->regs[R_RBP] = get(c, 0x7fd0, 8);
    c->regs[R_RSP] = get(c, 0x7fd8, 8);
    c->regs[R_RBX] = get(c, 0x7fe0, 8);
    c->regs[R_RDX] = get(c, 0x7fe8, 8);
    c->regs[R_RCX] = get(c, 0x7ff0, 8);
    c->regs[R_RAX] = get(c, 0x7ff8, 8);
}

/* ---- 32-bit map ---- */

/* Selectors are where Intel documents them; the hidden parts (attributes, limit, base) and CR4 take
 * the reserved area below, 12 bytes a segment. */
static const uint16_t sel_off32[S_COUNT] = {
    [S_ES] = 0x7fa8, [S_CS] = 0x7fac, [S_SS] = 0x7fb0,   [S_DS] = 0x7fb4,
    [S_FS] = 0x7fb8, [S_GS] = 0x7fbc, [S_LDTR] = 0x7fc0, [S_TR] = 0x7fc4,
};
enum { HIDDEN32 = 0x7f10, CR4_32 = 0x7f80 };
/* From the top down: EDI at 7fec … EAX at 7fd0. */
static const uint8_t reg_order32[8] = {R_RAX, R_RCX, R_RDX, R_RBX, R_RSP, R_RBP, R_RSI, R_RDI};

static void save32(X86Cpu *c)
{
    for (unsigned i = 0; i < S_COUNT; i++) {
        const X86Seg *s = &c->seg[i];

        put(c, sel_off32[i], s->sel, 4);
        put(c, HIDDEN32 + i * 12, s->attr, 4);
        put(c, HIDDEN32 + i * 12 + 4, s->limit, 4);
        put(c, HIDDEN32 + i * 12 + 8, s->base, 4);
    }
    put(c, CR4_32, c->cr4, 4);
    put(c, 0x7f84, c->gdt.limit, 2);
    put(c, 0x7f86, c->idt.limit, 2);
    put(c, 0x7f88, c->gdt.base, 4);
    put(c, 0x7f94, c->idt.base, 4);
    put(c, 0x7f00, 0, 4);
    put(c, 0x7efc, REV_32, 4);
    put(c, 0x7ef8, c->smbase, 4);
    put(c, 0x7fc8, c->dr[7], 4);
    put(c, 0x7fcc, c->dr[6], 4);
    for (unsigned i = 0; i < 8; i++) {
        put(c, 0x7fd0 + i * 4, c->regs[reg_order32[i]], 4);
    }
    put(c, 0x7ff0, c->rip, 4);
    put(c, 0x7ff4, x86_get_eflags(c), 4);
    put(c, 0x7ff8, c->cr3, 4);
    put(c, 0x7ffc, c->cr0, 4);
}

static void load32(X86Cpu *c, Saved *s)
{
    for (unsigned i = 0; i < S_COUNT; i++) {
        c->seg[i].sel = get(c, sel_off32[i], 2);
        c->seg[i].attr = get(c, HIDDEN32 + i * 12, 4) & DESC_ATTR_MASK;
        c->seg[i].limit = get(c, HIDDEN32 + i * 12 + 4, 4);
        c->seg[i].base = get(c, HIDDEN32 + i * 12 + 8, 4);
    }
    c->gdt.limit = get(c, 0x7f84, 2);
    c->idt.limit = get(c, 0x7f86, 2);
    c->gdt.base = get(c, 0x7f88, 4);
    c->idt.base = get(c, 0x7f94, 4);
    s->efer = 0;
    s->smbase = get(c, 0x7ef8, 4);
    s->cr4 = get(c, CR4_32, 4);
    s->dr7 = get(c, 0x7fc8, 4);
    s->dr6 = get(c, 0x7fcc, 4);
    for (unsigned i = 0; i < 8; i++) {
        c->regs[reg_order32[i]] = get(c, 0x7fd0 + i * 4, 4);
    }
    s->rip = get(c, 0x7ff0, 4);
    s->eflags = get(c, 0x7ff4, 4);
    s->cr3 = get(c, 0x7ff8, 4);
    s->cr0 = get(c, 0x7ffc, 4);
}

/* ---- entry and exit ---- */

static bool wide_map(const X86Cpu *c)
{
    return x86_feat(c, FEAT_80000001_EDX, 29);
}

static void set_smm(X86Cpu *c, bool on)
{
    c->in_smm = on;
    if (c->smm_hook) {
        c->smm_hook(c->smm_opaque, on);
    }
}

void x86_smm_enter(X86Cpu *c)
{
    static const uint8_t data[] = {S_ES, S_SS, S_DS, S_FS, S_GS};

    set_smm(c, true);
    if (wide_map(c)) {
        save64(c);
    } else {
        save32(c);
    }
    c->smm_nmi_masked = c->nmi_masked;
    c->nmi_masked = true;
    x86_set_eflags(c, 2);
    c->efer = 0;
    c->cr4 = 0;
    c->dr[7] = 0x400;
    c->rip = SMM_ENTRY;
    c->shadow = false;
    c->vcpu.halted = false;
    c->shutdown = false;
    c->seg[S_CS] = (X86Seg){
        .sel = c->smbase >> 4,
        .base = c->smbase,
        .limit = 0xffffffff,
        .attr = DESC_P | DESC_S | DESC_W | DESC_A | DESC_G,
    };
    for (unsigned i = 0; i < sizeof(data); i++) {
        c->seg[data[i]] = (X86Seg){
            .limit = 0xffffffff,
            .attr = DESC_P | DESC_S | DESC_W | DESC_A | DESC_G,
        };
    }
    x86_set_cr0(c, c->cr0 & ~(uint64_t)(CR0_PE | CR0_EM | CR0_TS | CR0_PG));
    jit_tlb_flush(&c->vcpu, false);
}

static bool saved_state_ok(const X86Cpu *c, const Saved *s)
{
    bool pg = s->cr0 & CR0_PG, lma = s->efer & EFER_LMA;

    if (s->cr0 >> 32 || (pg && !(s->cr0 & CR0_PE)) || (s->cr0 & CR0_NW && !(s->cr0 & CR0_CD))) {
        return false;
    }
    if (s->cr4 & ~x86_cr4_mask(c) || s->efer & ~x86_efer_mask(c)) {
        return false;
    }
    if (lma && (!pg || !(s->efer & EFER_LME) || !(s->cr4 & CR4_PAE))) {
        return false;
    }
    return !(lma && s->cr3 & ~x86_phys_mask(c));
}

uint64_t x86_h_rsm(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    Saved s;

    if (!c->in_smm) {
        x86_raise(c, EXC_UD);
    }
    if (wide_map(c)) {
        load64(c, &s);
    } else {
        load32(c, &s);
    }
    if (!saved_state_ok(c, &s)) {
        guest_error("x86: RSM with an impossible state: shutdown");
        c->shutdown = true;
        cpu->halted = true;
        c->rip = s.rip;
        if (cpu->machine) {
            machine_request_reset(cpu->machine, SHUTDOWN_GUEST_RESET);
        }
        jit_leave_done(cpu);
    }
    c->smbase = s.smbase;
    c->efer = s.efer;
    c->cr4 = s.cr4;
    c->cr3 = s.cr3;
    c->dr[6] = (s.dr6 & 0xe00f) | 0xffff0ff0;
    c->dr[7] = (s.dr7 & 0xffff27ff) | 0x400;
    c->cr0 = s.cr0 | CR0_ET;
    if (x86_lma(c) || !(c->cr0 & CR0_PE)) {
        s.eflags &= ~EF_VM;
    }
    x86_set_eflags(c, s.eflags);
    if (c->cr0 & CR0_PG && c->cr4 & CR4_PAE && !x86_lma(c)) {
        x86_load_pdptes(c, c->cr3);
    }
    c->nmi_masked = c->smm_nmi_masked;
    set_smm(c, false);
    jit_tlb_flush(cpu, false);
    x86_update_mode(c);
    return s.rip;
}
