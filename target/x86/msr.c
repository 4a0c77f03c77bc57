/*
 * Model-specific registers. Intel SDM volume 4; AMD APM volume 2, appendix A, and the BIOS and
 * kernel developer's guides of families 0Fh and 10h.
 */
#include "core/clock.h"
#include "core/log.h"
#include "core/machine.h"
#include "target/x86/sys.h"
#include <inttypes.h>
#include <string.h>

enum {
    MSR_TSC = 0x10,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_FEATURE_CONTROL = 0x3a,
    MSR_TSC_ADJUST = 0x3b,
    MSR_BIOS_UPDT_TRIG = 0x79,
    MSR_BIOS_SIGN_ID = 0x8b,
    MSR_SMBASE = 0x9e,
    MSR_PLATFORM_INFO = 0xce,
    MSR_MTRRCAP = 0xfe,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP,
    MSR_SYSENTER_EIP,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS,
    MSR_MCG_CTL,
    MSR_PERF_STATUS = 0x198,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_MTRR_PHYS = 0x200,
    MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K = 0x258,
    MSR_MTRR_FIX4K = 0x268,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_MC_BANK = 0x400,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
    MSR_AMD_SMBASE = 0xc0010111,
};
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u

enum { N_MC_BANKS = 10, N_MTRR = 8 };

/* Registers that exist, read as zero and swallow writes: counters, power management, chip-set
 * configuration that has nothing behind it here. */
typedef struct QuietRange {
    uint32_t first, last;
    bool intel, amd;
} QuietRange;

static const QuietRange quiet[] = {
    {0x00, 0x01, true, true}, /* P5 machine check */
    {MSR_PLATFORM_ID, MSR_PLATFORM_ID, true, false},
    {0x2a, 0x2a, true, false},             /* EBL_CR_POWERON */
    {0xc1, 0xc2, true, false},             /* performance counters */
    {0xcd, 0xcd, true, false},             /* FSB_FREQ */
    {0xe2, 0xe2, true, false},             /* PKG_CST_CONFIG */
    {0x119, 0x119, true, false},           /* BBL_CR_CTL */
    {0x11e, 0x11e, true, false},           /* BBL_CR_CTL3 */
    {0x140, 0x140, true, false},           /* MISC_FEATURE_ENABLES */
    {0x186, 0x187, true, false},           /* event selects */
    {MSR_PERF_STATUS, 0x19d, true, false}, /* performance, clock modulation, thermal */
    {0x1ad, 0x1ad, true, false},           /* TURBO_RATIO_LIMIT */
    {0x1c9, 0x1c9, true, false},           /* last branch records */
    {0x1db, 0x1de, true, true},
    {0x1fc, 0x1fc, true, false},           /* POWER_CTL */
    {0xc0010000, 0xc0010007, false, true}, /* performance counters */
    {0xc0010010, 0xc0010010, false, true}, /* SYSCFG */
    {0xc0010015, 0xc001001a, false, true}, /* HWCR, IORRs, TOP_MEM */
    {0xc001001d, 0xc001001f, false, true}, /* TOP_MEM2, NB_CFG */
    {0xc0010030, 0xc0010035, false, true}, /* processor name */
    {0xc0010044, 0xc0010048, false, true}, /* machine check control masks */
    {0xc0010054, 0xc0010055, false, true}, /* interrupt pending message */
    {0xc0010058, 0xc0010058, false, true}, /* MMIO configuration */
    {0xc0010061, 0xc0010071, false, true}, /* P-states */
    {0xc0010112, 0xc0010117, false, true}, /* SMM, VM_CR */
    {0xc0010140, 0xc0010141, false, true}, /* OS visible workarounds */
    {0xc0011020, 0xc001102d, false, true}, /* core configuration */
};

static bool is_quiet(X86Cpu *c, uint32_t msr)
{
    bool intel = x86_is_intel(c), amd = x86_is_amd(c);

    for (unsigned i = 0; i < G_N_ELEMENTS(quiet); i++) {
        if (msr >= quiet[i].first && msr <= quiet[i].last) {
            return (intel && quiet[i].intel) || (amd && quiet[i].amd);
        }
    }
    return false;
}

/* ---- time ---- */

static uint64_t tsc_now(X86Cpu *c)
{
    uint64_t ns = c->vcpu.machine ? clock_now(c->vcpu.machine->virtual_clock) : 0;

    return c->tsc_hz == NS_PER_SEC ? ns : (unsigned __int128)ns * c->tsc_hz / NS_PER_SEC;
}

uint64_t x86_tsc(X86Cpu *c)
{
    return tsc_now(c) + c->tsc_offset;
}

static void write_tsc(X86Cpu *c, uint64_t v)
{
    uint64_t delta = v - x86_tsc(c);

    c->tsc_offset += delta;
    c->tsc_adjust += delta;
}

/* ---- which exist ---- */

static bool has_mtrr(const X86Cpu *c)
{
    return x86_feat(c, FEAT_1_EDX, 12);
}
static bool has_mca(const X86Cpu *c)
{
    return x86_feat(c, FEAT_1_EDX, 14);
}
static bool has_lm(const X86Cpu *c)
{
    return x86_feat(c, FEAT_80000001_EDX, 29);
}
static bool has_sep(const X86Cpu *c)
{
    return x86_feat(c, FEAT_1_EDX, 11);
}
static bool has_syscall(const X86Cpu *c)
{
    return x86_feat(c, FEAT_80000001_EDX, 11);
}

static uint64_t *fixed_mtrr(X86Cpu *c, uint32_t msr)
{
    if (!has_mtrr(c)) {
        return NULL;
    }
    if (msr == MSR_MTRR_FIX64K) {
        return &c->mtrr_fixed[0];
    }
    if (msr >= MSR_MTRR_FIX16K && msr < MSR_MTRR_FIX16K + 2) {
        return &c->mtrr_fixed[1 + msr - MSR_MTRR_FIX16K];
    }
    if (msr >= MSR_MTRR_FIX4K && msr < MSR_MTRR_FIX4K + 8) {
        return &c->mtrr_fixed[3 + msr - MSR_MTRR_FIX4K];
    }
    return NULL;
}

static uint64_t *var_mtrr(X86Cpu *c, uint32_t msr)
{
    unsigned n = msr - MSR_MTRR_PHYS;

    if (!has_mtrr(c) || n >= 2 * N_MTRR) {
        return NULL;
    }
    return n & 1 ? &c->mtrr_mask[n / 2] : &c->mtrr_base[n / 2];
}

static uint64_t *mc_bank(X86Cpu *c, uint32_t msr)
{
    unsigned n = msr - MSR_MC_BANK;

    return has_mca(c) && n < N_MC_BANKS * 4 ? &c->mc_bank[n] : NULL;
}

uint64_t *x86_kvm_msr(X86Cpu *c, uint32_t msr)
{
    for (uint32_t i = 0; i < c->n_kvm_msrs; i++) {
        if (c->kvm_msr_index[i] == msr) {
            return &c->kvm_msr_val[i];
        }
    }
    return NULL;
}

/* Registers that are plain storage; *@canonical: the value must be. */
static uint64_t *plain(X86Cpu *c, uint32_t msr, bool *canonical)
{
    *canonical = false;
    switch (msr) {
    case MSR_SYSENTER_CS:
        return has_sep(c) ? &c->sysenter_cs : NULL;
    case MSR_SYSENTER_ESP:
        *canonical = true;
        return has_sep(c) ? &c->sysenter_esp : NULL;
    case MSR_SYSENTER_EIP:
        *canonical = true;
        return has_sep(c) ? &c->sysenter_eip : NULL;
    case MSR_STAR:
        return has_syscall(c) ? &c->star : NULL;
    case MSR_LSTAR:
        *canonical = true;
        return has_lm(c) ? &c->lstar : NULL;
    case MSR_CSTAR:
        *canonical = true;
        return has_lm(c) ? &c->cstar : NULL;
    case MSR_FS_BASE:
        *canonical = true;
        return has_lm(c) ? &c->seg[S_FS].base : NULL;
    case MSR_GS_BASE:
        *canonical = true;
        return has_lm(c) ? &c->seg[S_GS].base : NULL;
    case MSR_KERNEL_GS_BASE:
        *canonical = true;
        return has_lm(c) ? &c->kernel_gs_base : NULL;
    case MSR_MISC_ENABLE:
        return x86_is_intel(c) ? &c->misc_enable : NULL;
    case MSR_MCG_STATUS:
        return has_mca(c) ? &c->mcg_status : NULL;
    case MSR_MCG_CTL:
        return has_mca(c) ? &c->mcg_ctl : NULL;
    }
    return NULL;
}

static bool is_intc(uint32_t msr)
{
    return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
           (msr >= MSR_X2APIC && msr <= MSR_X2APIC + 0xff);
}

/* ---- read ---- */

bool x86_msr_read(X86Cpu *c, uint32_t msr, uint64_t *v)
{
    bool canonical;
    uint64_t *p;

    if (is_intc(msr)) {
        return c->intc && c->intc->reg_read && c->intc->reg_read(c->intc_opaque, msr, v);
    }
    if ((p = plain(c, msr, &canonical)) || (p = fixed_mtrr(c, msr)) || (p = var_mtrr(c, msr)) ||
        (p = mc_bank(c, msr)) || (p = x86_kvm_msr(c, msr))) {
        *v = *p;
        return true;
    }
    *v = 0;
    switch (msr) {
    case MSR_TSC:
        *v = x86_tsc(c);
        return x86_feat(c, FEAT_1_EDX, 4);
    case MSR_TSC_ADJUST:
        *v = c->tsc_adjust;
        return x86_feat(c, FEAT_7_EBX, 1);
    case MSR_FEATURE_CONTROL:
        *v = 1; /* locked; no VMX */
        return x86_is_intel(c);
    case MSR_BIOS_SIGN_ID:
        *v = x86_is_intel(c) ? (uint64_t)c->ucode_rev << 32 : c->ucode_rev;
        return true;
    case MSR_PLATFORM_INFO:
        *v = c->tsc_hz / 100000000 << 8;
        return x86_is_intel(c);
    case MSR_SMBASE:
    case MSR_AMD_SMBASE:
        *v = c->smbase;
        return msr == MSR_SMBASE ? c->in_smm && x86_is_intel(c) : x86_is_amd(c);
    case MSR_MTRRCAP:
        *v = N_MTRR | 1 << 8 | 1 << 10; /* fixed ranges, write-combining */
        return has_mtrr(c);
    case MSR_MCG_CAP:
        *v = N_MC_BANKS | 1 << 8;
        return has_mca(c);
    case MSR_DEBUGCTL:
        *v = c->debugctl;
        return true;
    case MSR_PAT:
        *v = c->pat;
        return x86_feat(c, FEAT_1_EDX, 16);
    case MSR_MTRR_DEF_TYPE:
        *v = c->mtrr_def_type;
        return has_mtrr(c);
    case MSR_PERF_STATUS:
        /* Ratio 10, as PLATFORM_INFO has it; bus-ratio readers expect no zero. */
        *v = 10ull << 40 | 10 << 8;
        return x86_is_intel(c);
    case MSR_EFER:
        *v = c->efer;
        return x86_efer_mask(c) != 0;
    case MSR_SFMASK:
        *v = c->sfmask;
        return has_lm(c);
    case MSR_TSC_AUX:
        *v = c->tsc_aux;
        return x86_feat(c, FEAT_80000001_EDX, 27);
    }
    return is_quiet(c, msr);
}

/* ---- write ---- */

static bool memory_type(unsigned t)
{
    return t == 0 || t == 1 || t == 4 || t == 5 || t == 6;
}

static bool write_types(uint64_t *reg, uint64_t v, bool pat)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned t = v >> (i * 8) & 0xff;

        if (!memory_type(t) && !(pat && t == 7)) {
            return false;
        }
    }
    *reg = v;
    return true;
}

static bool write_var_mtrr(X86Cpu *c, uint32_t msr, uint64_t *reg, uint64_t v)
{
    if (v & ~x86_phys_mask(c)) {
        return false;
    }
    if (msr & 1 ? v & 0x7ff : (v & 0xf00 || !memory_type(v & 0xff))) {
        return false;
    }
    *reg = v;
    return true;
}

static bool write_plain(X86Cpu *c, uint32_t msr, uint64_t *reg, uint64_t v, bool canonical)
{
    if (canonical && has_lm(c) && !x86_canonical(v)) {
        return false;
    }
    switch (msr) {
    case MSR_SYSENTER_CS:
        v &= 0xffff;
        break;
    case MSR_MCG_CTL:
        if (v && v != ~0ull) {
            return false;
        }
        break;
    case MSR_SYSENTER_ESP:
    case MSR_SYSENTER_EIP:
        v = has_lm(c) ? v : (uint32_t)v;
        break;
    }
    *reg = v;
    return true;
}

bool x86_msr_write(X86Cpu *c, uint32_t msr, uint64_t v)
{
    bool canonical;
    uint64_t *p;

    if (is_intc(msr)) {
        return c->intc && c->intc->reg_write && c->intc->reg_write(c->intc_opaque, msr, v);
    }
    if ((p = plain(c, msr, &canonical))) {
        return write_plain(c, msr, p, v, canonical);
    }
    if ((p = fixed_mtrr(c, msr))) {
        return write_types(p, v, false);
    }
    if ((p = var_mtrr(c, msr))) {
        return write_var_mtrr(c, msr, p, v);
    }
    if ((p = x86_kvm_msr(c, msr))) {
        *p = v; /* the kernel learns of it at the next entry */
        x86_kvm_msr_written(c, msr, v);
        return true;
    }
    if ((p = mc_bank(c, msr))) {
        /* Status, address and information: only cleared. */
        if (msr & 3 && v != 0) {
            return false;
        }
        *p = v;
        return true;
    }
    switch (msr) {
    case MSR_TSC:
        if (!x86_feat(c, FEAT_1_EDX, 4)) {
            return false;
        }
        write_tsc(c, v);
        return true;
    case MSR_TSC_ADJUST:
        if (!x86_feat(c, FEAT_7_EBX, 1)) {
            return false;
        }
        c->tsc_offset += v - c->tsc_adjust;
        c->tsc_adjust = v;
        return true;
    case MSR_BIOS_UPDT_TRIG:
    case MSR_BIOS_SIGN_ID:
        return true; /* no microcode to load */
    case MSR_AMD_SMBASE:
        if (!x86_is_amd(c)) {
            return false;
        }
        c->smbase = (uint32_t)v;
        return true;
    case MSR_DEBUGCTL:
        /* Branch recording is not there: its bits read back but nothing is recorded. */
        c->debugctl = v & 0xffff;
        return true;
    case MSR_PAT:
        return x86_feat(c, FEAT_1_EDX, 16) && write_types(&c->pat, v, true);
    case MSR_MTRR_DEF_TYPE:
        if (!has_mtrr(c) || v & ~0xcffull || !memory_type(v & 0xff)) {
            return false;
        }
        c->mtrr_def_type = v;
        return true;
    case MSR_EFER:
        if (!x86_efer_mask(c)) {
            return false;
        }
        x86_write_efer(c, v);
        return true;
    case MSR_SFMASK:
        if (!has_lm(c)) {
            return false;
        }
        c->sfmask = (uint32_t)v;
        return true;
    case MSR_TSC_AUX:
        if (!x86_feat(c, FEAT_80000001_EDX, 27) || v >> 32) {
            return false;
        }
        c->tsc_aux = v;
        return true;
    }
    return is_quiet(c, msr);
}

/* ---- instructions ---- */

/* Writing a register that only KVM gives a meaning to (kvmclock's page, say): in a hand-over the
 * kernel shall execute the instruction. */
static void kernels_own(X86Cpu *c, uint32_t msr)
{
    if (c->may_give_back && x86_kvm_msr(c, msr)) {
        c->give_back = true;
        jit_leave(&c->vcpu);
    }
}

uint64_t x86_h_rdmsr(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint32_t msr = c->regs[R_RCX];
    uint64_t v = 0;

    x86_need_cpl0(c);
    if (!x86_msr_read(c, msr, &v)) {
        jit_sync(cpu);
        guest_error("x86: RDMSR of unknown register %08x at %016" PRIx64, msr, c->rip);
        x86_raise_err(c, EXC_GP, 0);
    }
    c->regs[R_RAX] = (uint32_t)v;
    c->regs[R_RDX] = v >> 32;
    return 0;
}

uint64_t x86_h_wrmsr(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint32_t msr = c->regs[R_RCX];
    uint64_t v = (uint32_t)c->regs[R_RAX] | c->regs[R_RDX] << 32;

    x86_need_cpl0(c);
    kernels_own(c, msr);
    if (!x86_msr_write(c, msr, v)) {
        guest_error("x86: WRMSR of %016" PRIx64 " to register %08x refused", v, msr);
        x86_raise_err(c, EXC_GP, 0);
    }
    return 0;
}

static void check_tsd(X86Cpu *c)
{
    if (c->cr4 & CR4_TSD && x86_cpl(c) != 0) {
        x86_raise_err(c, EXC_GP, 0);
    }
}

uint64_t x86_h_rdtsc(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);

    check_tsd(c);
    return x86_tsc(c);
}

uint64_t x86_h_rdtscp(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint64_t v;

    if (!x86_feat(c, FEAT_80000001_EDX, 27)) {
        x86_raise(c, EXC_UD);
    }
    check_tsd(c);
    v = x86_tsc(c);
    c->regs[R_RAX] = (uint32_t)v;
    c->regs[R_RDX] = v >> 32;
    c->regs[R_RCX] = (uint32_t)c->tsc_aux;
    return 0;
}

uint64_t x86_h_rdpmc(VCpu *cpu)
{
    X86Cpu *c = x86(cpu);
    uint32_t n = c->regs[R_RCX];

    if ((!(c->cr4 & CR4_PCE) && x86_cpl(c) != 0) || n >= (x86_is_amd(c) ? 4 : 2)) {
        x86_raise_err(c, EXC_GP, 0);
    }
    c->regs[R_RAX] = c->regs[R_RDX] = 0; /* the counters do not count */
    return 0;
}

void x86_msr_reset(X86Cpu *c, bool init)
{
    c->efer = 0;
    if (init) {
        return;
    }
    c->star = c->lstar = c->cstar = c->sfmask = c->kernel_gs_base = c->tsc_aux = 0;
    c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
    c->pat = 0x0007040600070406;
    c->misc_enable = 1 | 1 << 11 | 1 << 12; /* fast strings; no BTS, no PEBS */
    c->smbase = 0x30000;
    c->mtrr_def_type = 0;
    memset(c->mtrr_fixed, 0, sizeof(c->mtrr_fixed));
    memset(c->mtrr_base, 0, sizeof(c->mtrr_base));
    memset(c->mtrr_mask, 0, sizeof(c->mtrr_mask));
    c->mcg_status = 0;
    c->mcg_ctl = ~0ull;
    memset(c->mc_bank, 0, sizeof(c->mc_bank));
    c->debugctl = 0;
    c->tsc_adjust = 0;
    memset(c->kvm_msr_val, 0, sizeof(c->kvm_msr_val));
    /* Not to zero: all vCPUs must count alike, and they are reset one after the other. */
    c->tsc_offset = 0;
}
