/*
 * Debug registers, breakpoints, single step. Intel SDM volume 3, chapter 18 (debug).
 */
#include "target/x86/sys.h"

enum {
    DR6_BD = 1 << 13,
    DR6_BS = 1 << 14,
    DR7_GD = 1 << 13,
};
#define DR6_FIXED 0xffff0ff0u
#define DR7_FIXED 0x400u

/* Types in DR7. */
enum { BP_EXEC, BP_WRITE, BP_IO, BP_ACCESS };

static bool bp_enabled(const X86Cpu *c, unsigned i)
{
    return c->dr[7] >> (i * 2) & 3;
}
static unsigned bp_type(const X86Cpu *c, unsigned i)
{
    return c->dr[7] >> (16 + i * 4) & 3;
}
static unsigned bp_len(const X86Cpu *c, unsigned i)
{
    static const uint8_t len[4] = {1, 2, 8, 4};

    return len[c->dr[7] >> (18 + i * 4) & 3];
}

/* Bits of the enabled breakpoints whose type is in @types and that [addr, addr+size) touches. */
static uint32_t bp_match(const X86Cpu *c, unsigned types, uint64_t addr, unsigned size)
{
    uint32_t hits = 0;

    for (unsigned i = 0; i < 4; i++) {
        uint64_t len = bp_len(c, i), start = c->dr[i] & ~(len - 1);

        if (bp_enabled(c, i) && types >> bp_type(c, i) & 1 &&
            (addr - start < len || start - addr < size)) {
            hits |= 1u << i;
        }
    }
    return hits;
}

void x86_pend_db(X86Cpu *c, uint32_t dr6)
{
    c->pending_db |= dr6;
    vcpu_signal(&c->vcpu, VCPU_TRAP);
}

uint64_t x86_h_check_dbreak(VCpu *cpu, uint64_t linear, uint64_t bytes, uint64_t write)
{
    X86Cpu *c = x86(cpu);
    uint32_t hits = bp_match(c, 1u << BP_ACCESS | (write ? 1u << BP_WRITE : 0), linear, bytes);

    if (hits) {
        x86_pend_db(c, hits);
    }
    return 0;
}

void x86_io_break(X86Cpu *c, uint16_t port, unsigned size)
{
    if (x86_dr7_armed(c) && c->cr4 & CR4_DE) {
        uint32_t hits = bp_match(c, 1u << BP_IO, port, size);

        if (hits) {
            x86_pend_db(c, hits);
        }
    }
}

uint64_t x86_h_check_ibreak(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint64_t linear;
    uint32_t hits;

    jit_sync(cpu);
    linear = x86_code64(c) ? c->rip : (uint32_t)(c->seg[S_CS].base + c->rip);
    hits = bp_match(c, 1u << BP_EXEC, linear, 1);
    if (hits && !(c->eflags & EF_RF)) {
        c->dr[6] |= hits;
        /* A fault, but its frame has RF as it was: clear. */
        x86_set_exc(c, EXC_DB, EV_TRAP, false, 0);
        jit_raise(cpu);
    }
    return 0;
}

/* ---- single step ---- */

/* The instruction is complete: traps of the guest's and of the debugger's single step. */
static void step_done(X86Cpu *c)
{
    VCpu *cpu = &c->vcpu;

    /* MOV SS holds the trap back, together with interrupts. */
    if ((c->eflags & EF_TF || !cpu->debug_step) && !(c->shadow && c->shadow_ss)) {
        x86_pend_db(c, DR6_BS);
    }
    if (cpu->debug_step) {
        cpu->debug_hit = VCPU_DEBUG_STEP;
        vcpu_signal(cpu, VCPU_STOP);
    }
}

uint64_t x86_h_single_step(VCpu *cpu, uint64_t next)
{
    X86Cpu *c = x86(cpu);

    c->rip = next;
    step_done(c);
    jit_leave_done(cpu);
}

/* End of an instruction that leaves the block itself. */
G_NORETURN static void done_at(X86Cpu *c, uint64_t next)
{
    c->rip = next;
    c->shadow = false;
    if (c->eflags & EF_TF || c->vcpu.debug_step) {
        c->vcpu.halted = false;
        step_done(c);
    }
    jit_leave_done(&c->vcpu);
}

uint64_t x86_h_hlt(VCpu *cpu, uint64_t next)
{
    X86Cpu *c = x86(cpu);

    x86_need_cpl0(c);
    cpu->halted = true;
    done_at(c, next);
}

uint64_t x86_h_pause(VCpu *cpu, uint64_t next)
{
    g_thread_yield();
    done_at(x86(cpu), next);
}

uint64_t x86_h_monitor(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);

    if (!x86_feat(c, FEAT_1_ECX, 3)) {
        x86_raise(c, EXC_UD);
    }
    if ((uint32_t)c->regs[R_RCX]) {
        x86_raise_err(c, EXC_GP, 0);
    }
    return 0;
}

/* The monitored line is not watched. With one CPU only an interrupt can end the wait; with several
 * another may store to the line at any time, so the instruction just lets them run: it may
 * return for any reason. */
uint64_t x86_h_mwait(VCpu *cpu, uint64_t next)
{
    X86Cpu *c = x86(cpu);
    uint32_t ext = c->regs[R_RCX];

    if (!x86_feat(c, FEAT_1_ECX, 3)) {
        x86_raise(c, EXC_UD);
    }
    if (ext & ~1u) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (c->smp_total == 1 && c->eflags & EF_IF) {
        cpu->halted = true;
    } else {
        g_usleep(20);
    }
    done_at(c, next);
}

/* ---- MOV DRn ---- */

static unsigned dr_number(X86Cpu *c, unsigned n)
{
    if (n == 4 || n == 5) {
        if (c->cr4 & CR4_DE) {
            x86_raise(c, EXC_UD);
        }
        n += 2;
    }
    if (n > 7) {
        x86_raise(c, EXC_UD);
    }
    return n;
}

static void check_access(X86Cpu *c)
{
    x86_need_cpl0(c);
    if (c->dr[7] & DR7_GD) {
        c->dr[7] &= ~(uint64_t)DR7_GD;
        c->dr[6] |= DR6_BD;
        x86_raise(c, EXC_DB);
    }
}

uint64_t x86_h_mov_to_dr(VCpu *cpu, uint64_t n, uint64_t v)
{
    X86Cpu *c = x86(cpu);

    n = dr_number(c, n);
    check_access(c);
    if (!x86_code64(c)) {
        v = (uint32_t)v;
    }
    if (n >= 6 && v >> 32) {
        x86_raise_err(c, EXC_GP, 0);
    }
    if (n == 6) {
        v = (v & 0xe00f) | DR6_FIXED;
    } else if (n == 7) {
        v = (v & ~0xd800ull) | DR7_FIXED;
    }
    c->dr[n] = v;
    x86_update_mode(c);
    return 0;
}

uint64_t x86_h_mov_from_dr(VCpu *cpu, uint64_t n)
{
    X86Cpu *c = x86(cpu);

    n = dr_number(c, n);
    check_access(c);
    return c->dr[n];
}
