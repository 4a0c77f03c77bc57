/*
 * System registers of AArch64: MRS, MSR and the SYS operations. DDI 0487 chapter D19.
 */
#include "core/log.h"
#include "core/machine.h"
#include "target/arm64/cpu.h"
#include "target/arm64/helpers.h"
#include <string.h>
#include <x86intrin.h>

enum {
    R_RO = 1,     /* no MSR: undefined */
    R_FLUSH = 2,  /* writing may change translations: flush if it does */
    R_MODE = 4,   /* writing changes what translation depends on */
    R_IGN = 8,    /* writes are ignored */
    R_W32 = 16,   /* the upper half is RES0 */
    R_FUNC = 32,  /* special() does it */
    R_PLAIN = 64, /* writing has no effect but storage: inline */
    R_TVM = 128,  /* trapped by HCR_EL2.TVM, TRVM */
};

typedef struct SysReg {
    uint16_t reg;
    uint8_t el; /* the lowest that may access it */
    uint8_t flags;
    uint32_t off; /* of the storage */
} SysReg;

#define F(f) offsetof(Arm64Cpu, f)
#define S(a, b, n, m, p) SYSREG(a, b, n, m, p)
/* Ascending by number. */
static const SysReg regs[] = {
    {S(2, 0, 0, 0, 2), 1, R_IGN | R_FUNC, 0},
    {S(2, 0, 0, 2, 0), 1, R_PLAIN, F(mdccint)},
    {S(2, 0, 0, 2, 2), 1, R_MODE, F(mdscr)},
    {S(2, 0, 0, 3, 2), 1, R_IGN | R_FUNC, 0},
    {S(2, 0, 0, 6, 2), 1, R_IGN | R_FUNC, 0},
    {S(2, 0, 1, 0, 0), 1, R_RO | R_FUNC, 0},
    {S(2, 0, 1, 0, 4), 1, R_FUNC, 0},
    {S(2, 0, 1, 1, 4), 1, R_RO | R_FUNC, 0},
    {S(2, 0, 1, 3, 4), 1, R_PLAIN, F(osdlr)},
    {S(2, 0, 1, 4, 4), 1, R_IGN | R_FUNC, 0},
    {S(2, 0, 7, 8, 6), 1, R_FUNC, 0},
    {S(2, 0, 7, 9, 6), 1, R_FUNC, 0},
    {S(2, 0, 7, 14, 6), 1, R_RO | R_FUNC, 0},
    {S(2, 3, 0, 1, 0), 0, R_RO | R_FUNC, 0},
    {S(3, 0, 0, 0, 0), 1, R_RO | R_FUNC, 0},
    {S(3, 0, 0, 0, 5), 1, R_RO | R_FUNC, 0},
    {S(3, 0, 0, 0, 6), 1, R_RO | R_FUNC, 0},
    {S(3, 0, 1, 0, 0), 1, R_FLUSH | R_MODE | R_TVM, F(sctlr[1])},
    {S(3, 0, 1, 0, 1), 1, R_PLAIN, F(actlr[1])},
    {S(3, 0, 1, 0, 2), 1, R_MODE, F(cpacr)},
    {S(3, 0, 2, 0, 0), 1, R_FUNC | R_TVM, F(ttbr0[1])},
    {S(3, 0, 2, 0, 1), 1, R_FUNC | R_TVM, F(ttbr1[1])},
    {S(3, 0, 2, 0, 2), 1, R_FLUSH | R_MODE | R_TVM, F(tcr[1])},
    {S(3, 0, 2, 1, 0), 1, R_PLAIN, F(apkey[0][0])},
    {S(3, 0, 2, 1, 1), 1, R_PLAIN, F(apkey[0][1])},
    {S(3, 0, 2, 1, 2), 1, R_PLAIN, F(apkey[1][0])},
    {S(3, 0, 2, 1, 3), 1, R_PLAIN, F(apkey[1][1])},
    {S(3, 0, 2, 2, 0), 1, R_PLAIN, F(apkey[2][0])},
    {S(3, 0, 2, 2, 1), 1, R_PLAIN, F(apkey[2][1])},
    {S(3, 0, 2, 2, 2), 1, R_PLAIN, F(apkey[3][0])},
    {S(3, 0, 2, 2, 3), 1, R_PLAIN, F(apkey[3][1])},
    {S(3, 0, 2, 3, 0), 1, R_PLAIN, F(apkey[4][0])},
    {S(3, 0, 2, 3, 1), 1, R_PLAIN, F(apkey[4][1])},
    {S(3, 0, 4, 0, 0), 1, R_PLAIN, F(spsr[1])},
    {S(3, 0, 4, 0, 1), 1, R_PLAIN, F(elr[1])},
    {S(3, 0, 4, 1, 0), 1, R_FUNC, F(sp_el[0])},
    {S(3, 0, 4, 2, 0), 1, R_FUNC, 0},
    {S(3, 0, 4, 2, 2), 1, R_RO | R_FUNC, 0},
    {S(3, 0, 4, 2, 3), 1, R_FUNC, 0},
    {S(3, 0, 4, 2, 4), 1, R_FUNC, 0},
    {S(3, 0, 5, 1, 0), 1, R_PLAIN | R_TVM, F(afsr0[1])},
    {S(3, 0, 5, 1, 1), 1, R_PLAIN | R_TVM, F(afsr1[1])},
    {S(3, 0, 5, 2, 0), 1, R_PLAIN | R_TVM, F(esr[1])},
    {S(3, 0, 6, 0, 0), 1, R_PLAIN | R_TVM, F(far[1])},
    {S(3, 0, 7, 4, 0), 1, R_PLAIN, F(par)},
    {S(3, 0, 9, 14, 1), 1, R_FUNC, F(pminten)},
    {S(3, 0, 9, 14, 2), 1, R_FUNC, F(pminten)},
    {S(3, 0, 10, 2, 0), 1, R_PLAIN | R_TVM, F(mair[1])},
    {S(3, 0, 10, 3, 0), 1, R_PLAIN | R_TVM, F(amair[1])},
    {S(3, 0, 12, 0, 0), 1, R_PLAIN, F(vbar[1])},
    {S(3, 0, 12, 1, 0), 1, R_RO | R_FUNC, 0},
    {S(3, 0, 13, 0, 1), 1, R_PLAIN | R_TVM, F(contextidr[1])},
    {S(3, 0, 13, 0, 4), 1, R_PLAIN, F(tpidr[1])},
    {S(3, 0, 14, 1, 0), 1, R_PLAIN, F(cntkctl[1])},
    {S(3, 1, 0, 0, 0), 1, R_RO | R_FUNC, 0},
    {S(3, 1, 0, 0, 1), 1, R_RO | R_FUNC, 0},
    {S(3, 1, 0, 0, 7), 1, R_RO | R_FUNC, 0},
    {S(3, 2, 0, 0, 0), 1, R_PLAIN, F(csselr)},
    {S(3, 3, 0, 0, 1), 0, R_RO | R_FUNC, 0},
    {S(3, 3, 0, 0, 7), 0, R_RO | R_FUNC, 0},
    {S(3, 3, 2, 4, 0), 0, R_RO | R_FUNC, 0},
    {S(3, 3, 2, 4, 1), 0, R_RO | R_FUNC, 0},
    {S(3, 3, 4, 2, 1), 0, R_FUNC, 0},
    {S(3, 3, 4, 2, 5), 0, R_FUNC, 0},
    {S(3, 3, 4, 2, 6), 0, R_FUNC, 0},
    {S(3, 3, 4, 4, 0), 0, R_FUNC, 0},
    {S(3, 3, 4, 4, 1), 0, R_FUNC, 0},
    {S(3, 3, 9, 12, 0), 0, R_FUNC, 0},
    {S(3, 3, 9, 12, 1), 0, R_FUNC, 0},
    {S(3, 3, 9, 12, 2), 0, R_FUNC, 0},
    {S(3, 3, 9, 12, 3), 0, R_FUNC, 0},
    {S(3, 3, 9, 12, 4), 0, R_FUNC, 0},
    {S(3, 3, 9, 12, 5), 0, R_FUNC, F(pmselr)},
    {S(3, 3, 9, 12, 6), 0, R_RO | R_FUNC, 0},
    {S(3, 3, 9, 12, 7), 0, R_RO | R_FUNC, 0},
    {S(3, 3, 9, 13, 0), 0, R_FUNC, 0},
    {S(3, 3, 9, 13, 1), 0, R_FUNC, 0},
    {S(3, 3, 9, 13, 2), 0, R_FUNC, 0},
    {S(3, 3, 9, 14, 0), 0, R_FUNC, F(pmuserenr)},
    {S(3, 3, 9, 14, 3), 0, R_FUNC, 0},
    {S(3, 3, 13, 0, 2), 0, R_PLAIN, F(tpidr[0])},
    {S(3, 3, 13, 0, 3), 0, R_FUNC, F(tpidrro)},
    {S(3, 3, 14, 15, 7), 0, R_FUNC, F(pmccfilt)},
    {S(3, 4, 0, 0, 0), 2, R_PLAIN, F(vpidr)},
    {S(3, 4, 0, 0, 5), 2, R_PLAIN, F(vmpidr)},
    {S(3, 4, 1, 0, 0), 2, R_FLUSH | R_MODE, F(sctlr[2])},
    {S(3, 4, 1, 0, 1), 2, R_PLAIN, F(actlr[2])},
    {S(3, 4, 1, 1, 0), 2, R_FLUSH | R_MODE, F(hcr)},
    {S(3, 4, 1, 1, 1), 2, R_PLAIN, F(mdcr2)},
    {S(3, 4, 1, 1, 2), 2, R_MODE, F(cptr[2])},
    {S(3, 4, 1, 1, 3), 2, R_PLAIN, F(hstr)},
    {S(3, 4, 1, 1, 7), 2, R_PLAIN, F(hacr)},
    {S(3, 4, 2, 0, 0), 2, R_FLUSH, F(ttbr0[2])},
    {S(3, 4, 2, 0, 2), 2, R_FLUSH | R_MODE, F(tcr[2])},
    {S(3, 4, 2, 1, 0), 2, R_FLUSH, F(vttbr)},
    {S(3, 4, 2, 1, 2), 2, R_FLUSH, F(vtcr)},
    {S(3, 4, 3, 0, 0), 2, R_PLAIN, F(dacr32)},
    {S(3, 4, 4, 0, 0), 2, R_PLAIN, F(spsr[2])},
    {S(3, 4, 4, 0, 1), 2, R_PLAIN, F(elr[2])},
    {S(3, 4, 4, 1, 0), 2, R_PLAIN, F(sp_el[1])},
    {S(3, 4, 4, 3, 0), 2, R_PLAIN, F(spsr_irq)},
    {S(3, 4, 4, 3, 1), 2, R_PLAIN, F(spsr_abt)},
    {S(3, 4, 4, 3, 2), 2, R_PLAIN, F(spsr_und)},
    {S(3, 4, 4, 3, 3), 2, R_PLAIN, F(spsr_fiq)},
    {S(3, 4, 5, 0, 1), 2, R_PLAIN, F(ifsr32)},
    {S(3, 4, 5, 1, 0), 2, R_PLAIN, F(afsr0[2])},
    {S(3, 4, 5, 1, 1), 2, R_PLAIN, F(afsr1[2])},
    {S(3, 4, 5, 2, 0), 2, R_PLAIN, F(esr[2])},
    {S(3, 4, 5, 3, 0), 2, R_PLAIN, F(fpexc32)},
    {S(3, 4, 6, 0, 0), 2, R_PLAIN, F(far[2])},
    {S(3, 4, 6, 0, 4), 2, R_PLAIN, F(hpfar)},
    {S(3, 4, 10, 2, 0), 2, R_PLAIN, F(mair[2])},
    {S(3, 4, 10, 3, 0), 2, R_PLAIN, F(amair[2])},
    {S(3, 4, 12, 0, 0), 2, R_PLAIN, F(vbar[2])},
    {S(3, 4, 13, 0, 2), 2, R_PLAIN, F(tpidr[2])},
    {S(3, 6, 1, 0, 0), 3, R_FLUSH | R_MODE, F(sctlr[3])},
    {S(3, 6, 1, 0, 1), 3, R_PLAIN, F(actlr[3])},
    {S(3, 6, 1, 1, 0), 3, R_FLUSH | R_MODE, F(scr)},
    {S(3, 6, 1, 1, 1), 3, R_PLAIN, F(sder)},
    {S(3, 6, 1, 1, 2), 3, R_MODE, F(cptr[3])},
    {S(3, 6, 1, 3, 1), 3, R_PLAIN, F(mdcr3)},
    {S(3, 6, 2, 0, 0), 3, R_FLUSH, F(ttbr0[3])},
    {S(3, 6, 2, 0, 2), 3, R_FLUSH | R_MODE, F(tcr[3])},
    {S(3, 6, 4, 0, 0), 3, R_PLAIN, F(spsr[3])},
    {S(3, 6, 4, 0, 1), 3, R_PLAIN, F(elr[3])},
    {S(3, 6, 4, 1, 0), 3, R_PLAIN, F(sp_el[2])},
    {S(3, 6, 5, 1, 0), 3, R_PLAIN, F(afsr0[3])},
    {S(3, 6, 5, 1, 1), 3, R_PLAIN, F(afsr1[3])},
    {S(3, 6, 5, 2, 0), 3, R_PLAIN, F(esr[3])},
    {S(3, 6, 6, 0, 0), 3, R_PLAIN, F(far[3])},
    {S(3, 6, 10, 2, 0), 3, R_PLAIN, F(mair[3])},
    {S(3, 6, 10, 3, 0), 3, R_PLAIN, F(amair[3])},
    {S(3, 6, 12, 0, 0), 3, R_PLAIN, F(vbar[3])},
    {S(3, 6, 13, 0, 2), 3, R_PLAIN, F(tpidr[3])},
};

static const SysReg *find(uint32_t reg)
{
    unsigned lo = 0, hi = sizeof(regs) / sizeof(regs[0]);

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;

        if (regs[mid].reg == reg) {
            return &regs[mid];
        }
        if (regs[mid].reg < reg) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return NULL;
}

/* Keys of pointer authentication, and other registers that only exist with a feature. */
static bool exists(const Arm64Cpu *c, const SysReg *r)
{
    if (r->reg >= S(3, 0, 2, 1, 0) && r->reg <= S(3, 0, 2, 3, 1)) {
        return c->isar1 & 0xff000ff0ull;
    }
    switch (r->reg) {
    case S(3, 0, 4, 2, 3):
        return id_field(c->mmfr1, 20);
    case S(3, 0, 4, 2, 4):
        return id_field(c->mmfr2, 4);
    case S(3, 3, 4, 2, 5):
        return id_field(c->pfr0, 48);
    case S(3, 3, 4, 2, 6):
        return id_field(c->pfr1, 4);
    case S(3, 3, 2, 4, 0):
    case S(3, 3, 2, 4, 1):
        return id_field(c->isar0, 60);
    default:
        break;
    }
    if (r->el == 2) {
        return c->has_el2;
    }
    return r->el < 3 || c->has_el3;
}

int a64_sysreg_plain(const Arm64Cpu *c, uint32_t reg, bool write, unsigned el)
{
    const SysReg *r = find(reg);

    if (!r || el < r->el || !exists(c, r) || (r->flags & R_TVM && c->has_el2)) {
        return -1;
    }
    if (reg == S(3, 3, 13, 0, 3)) {
        return !write || el ? (int)r->off : -1;
    }
    if (r->flags & R_FUNC || (write && !(r->flags & R_PLAIN))) {
        return -1;
    }
    return r->off;
}

/* ---- breakpoint registers ---- */

static uint64_t *debug_reg(Arm64Cpu *c, uint32_t reg)
{
    unsigned n = reg >> 3 & 15;

    if (reg >> 7 != S(2, 0, 0, 0, 0) >> 7) {
        return NULL;
    }
    switch (reg & 7) {
    case 4:
        return n < BRPS ? &c->dbgbvr[n] : NULL;
    case 5:
        return n < BRPS ? &c->dbgbcr[n] : NULL;
    case 6:
        return n < WRPS ? &c->dbgwvr[n] : NULL;
    case 7:
        return n < WRPS ? &c->dbgwcr[n] : NULL;
    default:
        return NULL;
    }
}

/* ---- identification ---- */

static bool id_reg(Arm64Cpu *c, uint32_t reg, uint64_t *val)
{
    if ((reg & ~0x7fu) != S(3, 0, 0, 0, 0) || !(reg >> 3 & 15) || (reg >> 3 & 15) > 7) {
        return false;
    }
    switch (reg) {
    case S(3, 0, 0, 4, 0):
        *val = c->pfr0;
        break;
    case S(3, 0, 0, 4, 1):
        *val = c->pfr1;
        break;
    case S(3, 0, 0, 5, 0):
        *val = c->dfr0;
        break;
    case S(3, 0, 0, 6, 0):
        *val = c->isar0;
        break;
    case S(3, 0, 0, 6, 1):
        *val = c->isar1;
        break;
    case S(3, 0, 0, 6, 2):
        *val = c->isar2;
        break;
    case S(3, 0, 0, 7, 0):
        *val = c->mmfr0;
        break;
    case S(3, 0, 0, 7, 1):
        *val = c->mmfr1;
        break;
    case S(3, 0, 0, 7, 2):
        *val = c->mmfr2;
        break;
    default:
        *val = 0;
    }
    return true;
}

/* ---- PMU: the cycle counter, no event counters ---- */

#define PMCR_E 1u
#define PMCR_C 4u
#define PMCNT_C (1ull << 31)

static uint64_t cycles(const Arm64Cpu *c)
{
    return c->clock ? (uint64_t)clock_now(c->clock) : 0; /* 1 GHz */
}

static bool counting(const Arm64Cpu *c)
{
    return c->pmcr & PMCR_E && c->pmcnten & PMCNT_C;
}

static uint64_t pmccntr(const Arm64Cpu *c)
{
    return counting(c) ? cycles(c) - c->pmccntr_base : c->pmccntr_base;
}

/* Call @set around changes of what lets it count. */
static void pm_change(Arm64Cpu *c, uint64_t pmcr, uint64_t cnten)
{
    uint64_t v = pmccntr(c);

    if (pmcr & PMCR_C) {
        v = 0;
    }
    c->pmcr = pmcr & ~6ull;
    c->pmcnten = cnten;
    c->pmccntr_base = counting(c) ? cycles(c) - v : v;
}

static bool pmu(Arm64Cpu *c, uint32_t reg, bool write, uint64_t *v)
{
    switch (reg) {
    case S(3, 0, 9, 14, 1):
    case S(3, 0, 9, 14, 2):
        if (write) {
            c->pminten = reg & 2 ? c->pminten & ~*v : c->pminten | (*v & PMCNT_C);
        } else {
            *v = c->pminten;
        }
        return true;
    case S(3, 3, 9, 12, 0):
        if (write) {
            pm_change(c, (*v & 0x7f) | (*v & PMCR_C), c->pmcnten);
        } else {
            *v = (c->pmcr & 0x79) | (uint64_t)(c->model->midr >> 24) << 24 | 1 << 6;
        }
        return true;
    case S(3, 3, 9, 12, 1):
    case S(3, 3, 9, 12, 2):
        if (write) {
            pm_change(c, c->pmcr, reg & 2 ? c->pmcnten & ~*v : c->pmcnten | (*v & PMCNT_C));
        } else {
            *v = c->pmcnten;
        }
        return true;
    case S(3, 3, 9, 12, 3):
    case S(3, 3, 9, 14, 3):
        if (write) {
            c->pmovs = (reg & 0x78) == (12 << 3) ? c->pmovs & ~*v : c->pmovs | (*v & PMCNT_C);
        } else {
            *v = c->pmovs;
        }
        return true;
    case S(3, 3, 9, 12, 4):
        *v = 0;
        return true;
    case S(3, 3, 9, 12, 5):
        if (write) {
            c->pmselr = *v & 31;
        } else {
            *v = c->pmselr;
        }
        return true;
    case S(3, 3, 9, 12, 6): /* PMCEID: CPU_CYCLES */
        *v = 1 << 17;
        return true;
    case S(3, 3, 9, 12, 7):
        *v = 0;
        return true;
    case S(3, 3, 9, 13, 0):
        if (write) {
            c->pmccntr_base = counting(c) ? cycles(c) - *v : *v;
        } else {
            *v = pmccntr(c);
        }
        return true;
    case S(3, 3, 9, 13, 1):
    case S(3, 3, 14, 15, 7):
        if (reg == S(3, 3, 9, 13, 1) && c->pmselr != 31) {
            *v = write ? *v : 0;
            return true;
        }
        if (write) {
            c->pmccfilt = *v & 0xfc000000;
        } else {
            *v = c->pmccfilt;
        }
        return true;
    case S(3, 3, 9, 13, 2):
        *v = write ? *v : 0;
        return true;
    case S(3, 3, 9, 14, 0):
        if (write) {
            c->pmuserenr = *v & 15;
        } else {
            *v = c->pmuserenr;
        }
        return true;
    default:
        return false;
    }
}

/* May EL0 do that? PMUSERENR_EL0: EN 0, SW 1, CR 2, ER 3. */
static bool pmu_el0(const Arm64Cpu *c, uint32_t reg, bool write)
{
    if (reg == S(3, 3, 9, 14, 0)) {
        return !write;
    }
    return c->pmuserenr & 1 || (reg == S(3, 3, 9, 13, 0) && !write && c->pmuserenr & 4);
}

/* ---- special registers ---- */

static uint64_t fpsr(const Arm64Cpu *c)
{
    return c->fp.fpsr | a64_fpsr_of(fp_getcsr());
}

static void set_fpcr(Arm64Cpu *c, uint32_t fpcr, uint32_t sticky)
{
    c->fp.fpcr = fpcr;
    c->mxcsr = a64_mxcsr_of(fpcr, sticky);
    fp_setcsr(c->mxcsr);
    a64_update_mode(c);
}

static uint64_t ttbr_asid(const Arm64Cpu *c)
{
    return (c->tcr[1] >> 22 & 1 ? c->ttbr1[1] : c->ttbr0[1]) >> 48;
}

static void set_ttbr(Arm64Cpu *c, bool high, uint64_t v)
{
    uint64_t *p = high ? &c->ttbr1[1] : &c->ttbr0[1], old = *p, asid = ttbr_asid(c);

    *p = v;
    if (high && (old ^ v) << 16) {
        a64_flush(c, false);
    } else if (old != v && ((old ^ v) << 16 || ttbr_asid(c) != asid)) {
        a64_flush(c, true);
    }
}

static uint64_t isr(const Arm64Cpu *c)
{
    uint32_t ev = __atomic_load_n(&c->vcpu.events, __ATOMIC_SEQ_CST);
    bool virt = c->el == 1 && a64_el2_enabled(c);
    uint64_t v = 0;

    if (virt && c->hcr & HCR_IMO ? ev & EV_VIRQ || c->hcr & HCR_VI : ev & EV_IRQ) {
        v |= PS_I;
    }
    if (virt && c->hcr & HCR_FMO ? ev & EV_VFIQ || c->hcr & HCR_VF : ev & EV_FIQ) {
        v |= PS_F;
    }
    return v;
}

static uint64_t rndr(Arm64Cpu *c)
{
    uint64_t z = c->rndr_seed += 0x9e3779b97f4a7c15ull;

    z ^= _rdtsc();
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static bool special_read(Arm64Cpu *c, uint32_t reg, uint64_t *v)
{
    const Arm64Model *m = c->model;
    bool virt = c->el == 1 && a64_el2_enabled(c);

    switch (reg) {
    case S(2, 0, 0, 0, 2):
    case S(2, 0, 0, 3, 2):
    case S(2, 0, 0, 6, 2):
    case S(2, 0, 1, 0, 0):
    case S(2, 0, 1, 4, 4):
    case S(2, 0, 7, 14, 6):
    case S(2, 3, 0, 1, 0):
        *v = 0;
        break;
    case S(2, 0, 1, 1, 4):
        *v = c->oslsr << 1 | 8;
        break;
    case S(2, 0, 7, 8, 6):
        *v = 0xff;
        break;
    case S(2, 0, 7, 9, 6):
        *v = c->dbgclaim;
        break;
    case S(3, 0, 0, 0, 0):
        *v = virt ? c->vpidr : m->midr;
        break;
    case S(3, 0, 0, 0, 5):
        *v = virt ? c->vmpidr : c->mpidr;
        break;
    case S(3, 0, 0, 0, 6):
    case S(3, 1, 0, 0, 7):
        *v = 0;
        break;
    case S(3, 0, 2, 0, 0):
        *v = c->ttbr0[1];
        break;
    case S(3, 0, 2, 0, 1):
        *v = c->ttbr1[1];
        break;
    case S(3, 0, 4, 1, 0):
        *v = c->spsel ? c->sp_el[0] : c->sp;
        break;
    case S(3, 0, 4, 2, 0):
        *v = c->spsel;
        break;
    case S(3, 0, 4, 2, 2):
        *v = c->el << 2;
        break;
    case S(3, 0, 4, 2, 3):
        *v = c->pan ? PS_PAN : 0;
        break;
    case S(3, 0, 4, 2, 4):
        *v = c->uao ? PS_UAO : 0;
        break;
    case S(3, 0, 12, 1, 0):
        *v = isr(c);
        break;
    case S(3, 1, 0, 0, 0):
        *v = c->csselr < 5 ? m->ccsidr[MIN(c->csselr, 3)] : 0;
        break;
    case S(3, 1, 0, 0, 1):
        *v = m->clidr;
        break;
    case S(3, 3, 0, 0, 1):
        *v = m->ctr;
        break;
    case S(3, 3, 0, 0, 7):
        *v = 4 | (c->el == 0 && !(c->sctlr[1] & SCTLR_DZE) ? 16 : 0);
        break;
    case S(3, 3, 2, 4, 0):
    case S(3, 3, 2, 4, 1):
        *v = rndr(c);
        a64_set_nzcv(c, 0);
        break;
    case S(3, 3, 4, 2, 1):
        *v = c->daif;
        break;
    case S(3, 3, 4, 2, 5):
        *v = c->dit ? PS_DIT : 0;
        break;
    case S(3, 3, 4, 2, 6):
        *v = c->ssbs ? PS_SSBS : 0;
        break;
    case S(3, 3, 4, 4, 0):
        *v = c->fp.fpcr;
        break;
    case S(3, 3, 4, 4, 1):
        *v = fpsr(c);
        break;
    case S(3, 3, 13, 0, 3):
        *v = c->tpidrro;
        break;
    default:
        return pmu(c, reg, false, v);
    }
    return true;
}

static void special_write(Arm64Cpu *c, uint32_t reg, uint64_t v)
{
    switch (reg) {
    case S(2, 0, 1, 0, 4):
        c->oslsr = v & 1;
        a64_update_mode(c);
        break;
    case S(2, 0, 7, 8, 6):
        c->dbgclaim |= v & 0xff;
        break;
    case S(2, 0, 7, 9, 6):
        c->dbgclaim &= ~v;
        break;
    case S(3, 0, 2, 0, 0):
        set_ttbr(c, false, v);
        break;
    case S(3, 0, 2, 0, 1):
        set_ttbr(c, true, v);
        break;
    case S(3, 0, 4, 1, 0):
        *(c->spsel ? &c->sp_el[0] : &c->sp) = v;
        break;
    case S(3, 0, 4, 2, 0):
        a64_save_sp(c);
        c->spsel = v & 1;
        a64_load_sp(c);
        break;
    case S(3, 0, 4, 2, 3):
        c->pan = v & PS_PAN;
        a64_update_mode(c);
        break;
    case S(3, 0, 4, 2, 4):
        c->uao = v & PS_UAO;
        a64_update_mode(c);
        break;
    case S(3, 3, 4, 2, 1):
        c->daif = v & PS_DAIF;
        a64_update_mode(c);
        break;
    case S(3, 3, 4, 2, 5):
        c->dit = v & PS_DIT;
        break;
    case S(3, 3, 4, 2, 6):
        c->ssbs = v & PS_SSBS;
        break;
    case S(3, 3, 4, 4, 0):
        set_fpcr(c, v & FPCR_MASK, fp_getcsr());
        break;
    case S(3, 3, 4, 4, 1):
        c->fp.fpsr = v & (FPSR_QC | FPSR_IDC);
        set_fpcr(c, c->fp.fpcr, a64_sticky_of(v));
        break;
    case S(3, 3, 13, 0, 3):
        c->tpidrro = v;
        break;
    default:
        pmu(c, reg, true, &v);
    }
}

/* ---- access ---- */

/* The access traps to EL1 (or EL2) with the register's syndrome. */
static G_NORETURN void trap(Arm64Cpu *c, uint32_t reg, uint32_t insn, bool read, unsigned el)
{
    uint32_t iss = (reg >> 14 & 3) << 20 | (reg & 7) << 17 | (reg >> 11 & 7) << 14 |
                   (reg >> 7 & 15) << 10 | (insn & 31) << 5 | (reg >> 3 & 15) << 1 | read;

    a64_set_exc(c, esr_make(EC_MSR, iss), el, false);
    jit_raise(&c->vcpu);
}

/* Controls over EL0's access, by EL1. */
static void check_el0(Arm64Cpu *c, uint32_t reg, uint32_t insn, bool write)
{
    bool ok = true;

    if (c->el) {
        return;
    }
    switch (reg) {
    case S(3, 3, 0, 0, 1):
        ok = c->sctlr[1] & SCTLR_UCT;
        break;
    case S(3, 3, 4, 2, 1):
        ok = c->sctlr[1] & SCTLR_UMA;
        break;
    case S(3, 3, 13, 0, 3):
        if (write) {
            a64_undef(c);
        }
        break;
    default:
        if (reg >> 7 == S(3, 3, 9, 0, 0) >> 7 || reg == S(3, 3, 14, 15, 7)) {
            ok = pmu_el0(c, reg, write);
        }
    }
    if (!ok) {
        trap(c, reg, insn, !write, a64_sync_target(c));
    }
}

static bool is_gic(uint32_t reg)
{
    unsigned op1 = reg >> 11 & 7, crn = reg >> 7 & 15, crm = reg >> 3 & 15;

    if (reg >> 14 != 3) {
        return false;
    }
    return reg == S(3, 0, 4, 6, 0) || (crn == 12 && crm >= 8 && (op1 == 0 || op1 == 4 || op1 == 6));
}

static bool is_timer(uint32_t reg)
{
    return reg >> 14 == 3 && (reg >> 7 & 15) == 14 && (reg >> 3 & 15) < 8;
}

static bool is_impdef(uint32_t reg)
{
    unsigned crn = reg >> 7 & 15;

    return reg >> 14 == 3 && (crn == 11 || crn == 15);
}

static void check_fp(Arm64Cpu *c, uint32_t reg)
{
    if ((reg == S(3, 3, 4, 4, 0) || reg == S(3, 3, 4, 4, 1)) && !(c->mode & M_FP)) {
        a64_h_trap_fp(&c->vcpu);
    }
}

static bool gic_access(Arm64Cpu *c, uint32_t reg, bool write, uint64_t *v)
{
    uint32_t fp;
    bool ok;

    if (!c->gic || c->el == 0 || ((reg >> 11 & 7) == 4 && c->el < 2) ||
        ((reg >> 11 & 7) == 6 && c->el < 3)) {
        return false;
    }
    fp = fp_getcsr();
    ok = write ? c->gic->write(c->gic_opaque, reg, *v) : c->gic->read(c->gic_opaque, reg, v);
    fp_setcsr(fp);
    return ok;
}

static const SysReg *checked(Arm64Cpu *c, uint32_t reg, uint32_t insn, bool write)
{
    const SysReg *r = find(reg);

    if (!r || c->el < r->el || !exists(c, r) || (write && r->flags & R_RO)) {
        return NULL;
    }
    if (r->flags & R_TVM && c->el == 1 && a64_el2_enabled(c) &&
        c->hcr & (write ? HCR_TVM : HCR_TRVM)) {
        trap(c, reg, insn, !write, 2);
    }
    check_el0(c, reg, insn, write);
    check_fp(c, reg);
    return r;
}

uint64_t a64_h_mrs(VCpu *cpu, uint64_t reg, uint64_t insn)
{
    Arm64Cpu *c = arm64(cpu);
    const SysReg *r = checked(c, reg, insn, false);
    uint64_t v = 0, *d;

    if (r) {
        if (!(r->flags & R_FUNC)) {
            return *(uint64_t *)((char *)c + r->off);
        }
        special_read(c, reg, &v);
        return v;
    }
    if ((is_timer(reg) && a64_timer_sysreg(c, reg, false, &v)) ||
        (is_gic(reg) && gic_access(c, reg, false, &v)) || (c->el && id_reg(c, reg, &v))) {
        return v;
    }
    d = c->el ? debug_reg(c, reg) : NULL;
    if (d) {
        return *d;
    }
    if (c->el && is_impdef(reg)) {
        return 0;
    }
    log_line(LOG_UNIMP, "MRS of system register %u_%u_C%u_C%u_%u at pc %" G_GINT64_MODIFIER "x",
             (unsigned)reg >> 14, (unsigned)reg >> 11 & 7, (unsigned)reg >> 7 & 15,
             (unsigned)reg >> 3 & 15, (unsigned)reg & 7, c->pc);
    a64_undef(c);
}

uint64_t a64_h_msr(VCpu *cpu, uint64_t reg, uint64_t insn, uint64_t v)
{
    Arm64Cpu *c = arm64(cpu);
    const SysReg *r = checked(c, reg, insn, true);
    uint64_t *d;

    if (r) {
        if (r->flags & R_IGN) {
            return 0;
        }
        if (r->flags & R_FUNC) {
            special_write(c, reg, v);
            return 0;
        }
        uint64_t *p = (uint64_t *)((char *)c + r->off), old = *p;

        *p = v;
        if (r->flags & R_FLUSH && old != v) {
            a64_flush(c, false);
        }
        if (r->flags & R_MODE) {
            a64_update_mode(c);
        }
        return 0;
    }
    if ((is_timer(reg) && a64_timer_sysreg(c, reg, true, &v)) ||
        (is_gic(reg) && gic_access(c, reg, true, &v))) {
        return 0;
    }
    d = c->el ? debug_reg(c, reg) : NULL;
    if (d) {
        *d = v;
        return 0;
    }
    if (c->el && is_impdef(reg)) {
        return 0;
    }
    log_line(LOG_UNIMP, "MSR of system register %u_%u_C%u_C%u_%u", (unsigned)reg >> 14,
             (unsigned)reg >> 11 & 7, (unsigned)reg >> 7 & 15, (unsigned)reg >> 3 & 15,
             (unsigned)reg & 7);
    a64_undef(c);
}

/* MSR (immediate) */
uint64_t a64_h_msr_imm(VCpu *cpu, uint64_t key, uint64_t imm)
{
    Arm64Cpu *c = arm64(cpu);

    switch (key) {
    case 3:
        c->uao = imm & 1;
        break;
    case 4:
        c->pan = imm & 1;
        break;
    case 5:
        a64_save_sp(c);
        c->spsel = imm & 1;
        a64_load_sp(c);
        break;
    case 3 << 3 | 1:
        c->ssbs = imm & 1;
        break;
    case 3 << 3 | 2:
        c->dit = imm & 1;
        break;
    case 3 << 3 | 6:
    case 3 << 3 | 7:
        if (c->el == 0 && !(c->sctlr[1] & SCTLR_UMA)) {
            /* As MSR DAIFSet would be encoded. */
            trap(c, SYSREG(0, 3, 4, (unsigned)imm, (unsigned)key & 7), 31, false,
                 a64_sync_target(c));
        }
        c->daif = (key & 1 ? c->daif & ~(imm << 6) : c->daif | imm << 6) & PS_DAIF;
        break;
    }
    a64_update_mode(c);
    return 0;
}

/* ---- SYS ---- */

static void zva(Arm64Cpu *c, uint64_t addr)
{
    unsigned mmu = c->el == 0   ? MMU_EL0
                   : c->el == 1 ? (c->pan ? MMU_EL1_PAN : MMU_EL1)
                   : c->el == 2 ? MMU_EL2
                                : MMU_EL3;

    addr &= ~63ull;
    jit_probe(&c->vcpu, addr, 64, JIT_WRITE, mmu);
    for (unsigned i = 0; i < 64; i += 8) {
        jit_store(&c->vcpu, addr + i, 0, 8, mmu);
    }
}

/* Cache maintenance by address: the caches are transparent, but the address must be mapped. */
static void cache_va(Arm64Cpu *c, uint64_t addr)
{
    unsigned mmu = c->el == 0 ? MMU_EL0 : c->el == 1 ? MMU_EL1 : c->el == 2 ? MMU_EL2 : MMU_EL3;

    jit_probe(&c->vcpu, addr, 1, JIT_READ, mmu);
}

static bool at(Arm64Cpu *c, uint32_t reg, uint64_t v)
{
    unsigned op1 = reg >> 11 & 7, op2 = reg & 7, crm = reg >> 3 & 15;
    JitAccess access = op2 & 1 ? JIT_WRITE : JIT_READ;
    unsigned mmu;
    bool s2 = false;

    if (crm == 9) { /* AT S1E1RP, WP */
        if (id_field(c->mmfr1, 20) < 2 || op1 || op2 > 1) {
            return false;
        }
        c->par = a64_at(c, v, access, c->pan ? MMU_EL1_PAN : MMU_EL1, false);
        return true;
    }
    switch (op1 << 3 | op2) {
    case 0:
    case 1:
        mmu = MMU_EL1;
        break;
    case 2:
    case 3:
        mmu = MMU_EL0;
        break;
    case 4 << 3 | 0:
    case 4 << 3 | 1:
        mmu = MMU_EL2;
        break;
    case 4 << 3 | 4:
    case 4 << 3 | 5:
        mmu = MMU_EL1;
        s2 = true;
        break;
    case 4 << 3 | 6:
    case 4 << 3 | 7:
        mmu = MMU_EL0;
        s2 = true;
        break;
    case 6 << 3 | 0:
    case 6 << 3 | 1:
        mmu = MMU_EL3;
        break;
    default:
        return false;
    }
    if ((op1 == 4 && (c->el < 2 || !c->has_el2)) || (op1 == 6 && c->el < 3)) {
        return false;
    }
    c->par = a64_at(c, v, access, mmu, s2);
    return true;
}

static bool cache_op(Arm64Cpu *c, uint32_t reg, uint32_t insn, uint64_t v)
{
    unsigned op1 = reg >> 11 & 7, crm = reg >> 3 & 15, op2 = reg & 7;

    if (op1 == 3) {
        if (crm == 4 && op2 == 1) {
            if (c->el == 0 && !(c->sctlr[1] & SCTLR_DZE)) {
                trap(c, reg, insn, false, a64_sync_target(c));
            }
            zva(c, v);
            return true;
        }
        if ((crm == 5 || crm == 10 || crm == 11 || crm == 14 ||
             (crm == 12 && id_field(c->isar1, 0))) &&
            op2 == 1) {
            if (c->el == 0 && !(c->sctlr[1] & SCTLR_UCI)) {
                trap(c, reg, insn, false, a64_sync_target(c));
            }
            cache_va(c, v);
            return true;
        }
        return false;
    }
    if (op1 || c->el == 0) {
        return false;
    }
    switch (crm) {
    case 1: /* IC IALLUIS */
    case 5:
        return op2 == 0;
    case 6: /* DC IVAC, ISW */
        if (op2 == 1) {
            cache_va(c, v);
            return true;
        }
        return op2 == 2;
    case 10:
    case 14:
        return op2 == 2;
    default:
        return false;
    }
}

uint64_t a64_h_sys(VCpu *cpu, uint64_t reg, uint64_t insn, uint64_t v)
{
    Arm64Cpu *c = arm64(cpu);
    unsigned crn = reg >> 7 & 15, crm = reg >> 3 & 15;
    bool ok = false;

    if (crn == 7 && (crm == 8 || crm == 9)) {
        ok = c->el && at(c, reg, v);
    } else if (crn == 7) {
        ok = cache_op(c, reg, insn, v);
    } else if (crn == 8) {
        ok = c->el && a64_tlbi(c, reg, v);
    } else if (crn == 11 || crn == 15) {
        ok = c->el;
    }
    if (!ok) {
        a64_undef(c);
    }
    return 0;
}
