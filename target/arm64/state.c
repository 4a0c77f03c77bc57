/* The AArch64 CPU's saved state. */
#include "core/log.h"
#include "target/arm64/cpu.h"

static const StateField timer_fields[] = {
    STATE_U64(Arm64Timer, cval),
    STATE_U32(Arm64Timer, ctl),
    STATE_END_FIELD,
};
static const StateTable timer_table = {.name = "timer", .version = 1, .fields = timer_fields};

#define W(f) STATE_U64(Arm64Cpu, f)
#define WA(f)                                                                                      \
    {                                                                                              \
        .name = #f, .kind = STATE_U64, .off = offsetof(Arm64Cpu, f),                               \
        .count = sizeof(((Arm64Cpu *)0)->f) / 8, .stride = 8                                       \
    }
#define B(f) STATE_BOOL(Arm64Cpu, f)

static const StateField fields[] = {
    WA(x),
    W(sp),
    STATE_U32(Arm64Cpu, cc),
    STATE_U32(Arm64Cpu, mxcsr),
    W(pc),
    WA(fp.v),
    STATE_U32(Arm64Cpu, fp.fpcr),
    STATE_U32(Arm64Cpu, fp.fpsr),
    W(ex_addr),
    WA(ex_val),
    STATE_U32(Arm64Cpu, ex_size),
    STATE_U32(Arm64Cpu, daif),
    STATE_U8(Arm64Cpu, el),
    B(spsel),
    B(pan),
    B(uao),
    B(dit),
    B(ssbs),
    B(ss),
    B(il),
    WA(sp_el),
    WA(elr),
    WA(spsr),
    WA(vbar),
    WA(esr),
    WA(far),
    WA(sctlr),
    WA(actlr),
    WA(afsr0),
    WA(afsr1),
    WA(tcr),
    WA(ttbr0),
    WA(ttbr1),
    WA(mair),
    WA(amair),
    WA(contextidr),
    WA(tpidr),
    WA(cntkctl),
    W(tpidrro),
    W(par),
    W(cpacr),
    WA(cptr),
    W(csselr),
    W(spsr_abt),
    W(spsr_und),
    W(spsr_irq),
    W(spsr_fiq),
    W(dacr32),
    W(ifsr32),
    W(fpexc32),
    W(hcr),
    W(hstr),
    W(hacr),
    W(hpfar),
    W(vttbr),
    W(vtcr),
    W(vpidr),
    W(vmpidr),
    W(mdcr2),
    W(mdcr3),
    W(cntvoff),
    W(scr),
    W(sder),
    W(mdscr),
    W(oslsr),
    W(osdlr),
    W(dbgclaim),
    W(mdccint),
    WA(dbgbvr),
    WA(dbgbcr),
    WA(dbgwvr),
    WA(dbgwcr),
    W(pmcr),
    W(pmccntr_base),
    W(pmcnten),
    W(pminten),
    W(pmovs),
    W(pmuserenr),
    W(pmselr),
    W(pmccfilt),
    WA(apkey),
    W(rndr_seed),
    STATE_STRUCT_ARRAY(Arm64Cpu, timer, Arm64Timer, &timer_table),
    B(powered_off),
    B(start_on),
    W(on_pc),
    W(on_x0),
    B(event_reg),
    STATE_BOOL(Arm64Cpu, vcpu.halted),
    STATE_END_FIELD,
};

static bool post_load(void *obj, GError **err)
{
    Arm64Cpu *c = obj;

    if (c->el > 3 || (c->el == 2 && !c->has_el2) || (c->el == 3 && !c->has_el3) ||
        c->daif & ~PS_DAIF || c->fp.fpcr & ~FPCR_MASK || c->mxcsr & ~0xffffu ||
        (c->ex_size & (c->ex_size - 1)) || c->ex_size > 16) {
        return fail(err, "The saved state of a CPU cannot be: its registers contradict each other");
    }
    c->exc = EXC_NONE;
    c->tagged_va = true;
    a64_update_mode(c);
    a64_flush(c, false);
    for (unsigned i = 0; i < ARM64_TIMERS; i++) {
        c->timer[i].ctl &= 3;
        a64_timer_update(c, i);
    }
    return true;
}

const StateTable a64_state_table = {
    .name = "arm64-cpu",
    .version = 1,
    .fields = fields,
    .post_load = post_load,
};
