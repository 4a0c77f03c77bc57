/* Control and status registers. Privileged ISA, chapters 2 (listing), 3.1, 4.1 (WARL fields). */
#include "core/machine.h"
#include "target/riscv/cpu.h"
#include "target/riscv/fp.h"
#include "target/riscv/helpers.h"

enum {
    CSR_FFLAGS = 0x001,
    CSR_FRM,
    CSR_FCSR,
    CSR_SSTATUS = 0x100,
    CSR_SIE = 0x104,
    CSR_STVEC,
    CSR_SCOUNTEREN,
    CSR_SENVCFG = 0x10a,
    CSR_SSCRATCH = 0x140,
    CSR_SEPC,
    CSR_SCAUSE,
    CSR_STVAL,
    CSR_SIP,
    CSR_STIMECMP = 0x14d,
    CSR_STIMECMPH = 0x15d,
    CSR_SATP = 0x180,
    CSR_MSTATUS = 0x300,
    CSR_MISA,
    CSR_MEDELEG,
    CSR_MIDELEG,
    CSR_MIE,
    CSR_MTVEC,
    CSR_MCOUNTEREN,
    CSR_MENVCFG = 0x30a,
    CSR_MSTATUSH = 0x310,
    CSR_MENVCFGH = 0x31a,
    CSR_MCOUNTINHIBIT = 0x320,
    CSR_MHPMEVENT3 = 0x323,
    CSR_MSCRATCH = 0x340,
    CSR_MEPC,
    CSR_MCAUSE,
    CSR_MTVAL,
    CSR_MIP,
    CSR_PMPCFG0 = 0x3a0,
    CSR_PMPADDR0 = 0x3b0,
    CSR_PMPADDR_END = 0x3f0,
    CSR_MCYCLE = 0xb00,
    CSR_MINSTRET = 0xb02,
    CSR_MHPMCOUNTER3 = 0xb03,
    CSR_MCYCLEH = 0xb80,
    CSR_MINSTRETH = 0xb82,
    CSR_MHPMCOUNTER3H = 0xb83,
    CSR_CYCLE = 0xc00,
    CSR_TIME,
    CSR_INSTRET,
    CSR_CYCLEH = 0xc80,
    CSR_TIMEH,
    CSR_INSTRETH,
    CSR_MVENDORID = 0xf11,
    CSR_MARCHID,
    CSR_MIMPID,
    CSR_MHARTID,
    CSR_MCONFIGPTR,
};

/* ---- time ---- */

static uint64_t virtual_ns(RiscvCpu *c)
{
    Machine *m = c->vcpu.machine;

    return m && m->virtual_clock ? (uint64_t)clock_now(m->virtual_clock) : 0;
}

uint64_t rv_time(RiscvCpu *c)
{
    return c->time ? c->time(c->time_opaque) : virtual_ns(c) / (NS_PER_SEC / RISCV_TIMEBASE);
}

/* Both counters go with virtual time, at 1 GHz and one instruction a cycle. */
uint64_t rv_cycle(RiscvCpu *c)
{
    return virtual_ns(c) + c->cycle_off;
}

static uint64_t instret(RiscvCpu *c)
{
    return virtual_ns(c) + c->instret_off;
}

void rv_stimer_update(RiscvCpu *c)
{
    uint64_t now, left;

    if (!(c->menvcfg & ENV_STCE)) {
        if (c->stimer.clock) {
            timer_del(&c->stimer);
        }
        return;
    }
    now = rv_time(c);
    rv_set_mip(c, 1u << IRQ_STI, now >= c->stimecmp);
    if (!c->stimer.clock) {
        return;
    }
    if (now >= c->stimecmp) {
        timer_del(&c->stimer);
        return;
    }
    left = c->stimecmp - now;
    /* Further away than this: look again then. */
    left = MIN(left, (uint64_t)RISCV_TIMEBASE * 86400);
    timer_set(&c->stimer, (int64_t)(virtual_ns(c) + left * (NS_PER_SEC / RISCV_TIMEBASE)));
}

/* ---- fields ---- */

uint64_t rv_get_mstatus(const RiscvCpu *c)
{
    bool sd = (c->mstatus & MST_FS) == MST_FS;

    return c->mstatus | (sd ? 1ull << (c->rv32 ? 31 : 63) : 0);
}

static uint64_t sstatus_mask(const RiscvCpu *c)
{
    return MST_SIE | MST_SPIE | MST_SPP | MST_FS | MST_SUM | MST_MXR | (c->rv32 ? 0 : MST_UXL);
}

void rv_set_mstatus(RiscvCpu *c, uint64_t val)
{
    bool s = rv_has(c, RVE_S), u = rv_has(c, RVE_U), f = rv_has(c, RVE_F);
    uint64_t mask = MST_MIE | MST_MPIE | MST_MPP | (u ? MST_MPRV | MST_TW : 0) |
                    (s ? MST_SIE | MST_SPIE | MST_SPP | MST_SUM | MST_MXR | MST_TVM | MST_TSR : 0) |
                    (f ? MST_FS : 0);
    unsigned mpp = val >> MST_MPP_SHIFT & 3;

    if (mpp == 2 || (mpp == PRV_S && !s) || (mpp == PRV_U && !u)) {
        mask &= ~MST_MPP;
    }
    c->mstatus = (c->mstatus & ~mask) | (val & mask);
}

static uint64_t misa(const RiscvCpu *c)
{
    static const struct {
        uint8_t ext, letter;
    } bits[] = {{RVE_M, 'm'}, {RVE_A, 'a'}, {RVE_F, 'f'}, {RVE_D, 'd'},
                {RVE_C, 'c'}, {RVE_S, 's'}, {RVE_U, 'u'}};
    uint64_t v = c->rv32 ? 1ull << 30 : 2ull << 62;

    v |= 1u << ('i' - 'a');
    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++) {
        v |= rv_has(c, bits[i].ext) ? 1u << (bits[i].letter - 'a') : 0;
    }
    return v;
}

static uint64_t read_mip(RiscvCpu *c, bool for_write)
{
    uint64_t v = __atomic_load_n(&c->mip, __ATOMIC_SEQ_CST);

    /* A read-modify-write sees the bit that software wrote, not the pin (3.1.9). */
    if (for_write) {
        v = (v & ~(1ull << IRQ_SEI)) | (c->soft_seip ? 1u << IRQ_SEI : 0);
    }
    return v;
}

static void write_mip(RiscvCpu *c, uint64_t val, uint64_t mask)
{
    if (c->menvcfg & ENV_STCE) {
        mask &= ~(1ull << IRQ_STI); /* read-only: the timer's */
    }
    if (mask & 1u << IRQ_SEI) {
        __atomic_store_n(&c->soft_seip, (val >> IRQ_SEI & 1) != 0, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&c->ext_seip, __ATOMIC_SEQ_CST)) {
            val |= 1u << IRQ_SEI;
        }
    }
    __atomic_or_fetch(&c->mip, val & mask, __ATOMIC_SEQ_CST);
    __atomic_and_fetch(&c->mip, val | ~mask, __ATOMIC_SEQ_CST);
    rv_update_irq(c);
}

static void write_satp(RiscvCpu *c, uint64_t val)
{
    unsigned mode;
    bool ok;

    if (c->rv32) {
        val = (uint32_t)val;
        mode = val >> 31;
        ok = !mode || rv_has(c, RVE_MMU);
    } else {
        mode = val >> 60;
        ok = !mode || (rv_has(c, RVE_MMU) && (mode == 8 || (mode == 9 && rv_has(c, RVE_SV48)) ||
                                              (mode == 10 && rv_has(c, RVE_SV57))));
    }
    if (!ok || val == c->satp) {
        return; /* an unsupported mode: the write has no effect */
    }
    /* Translations are not tagged: those of the old address space go, global ones stay unless the
     * mode changes. */
    bool same_mode = c->rv32 ? (val >> 31) == (c->satp >> 31) : (val >> 60) == (c->satp >> 60);
    c->satp = val;
    c->res_addr = UINT64_MAX;
    jit_tlb_flush(&c->vcpu, same_mode);
}

static uint64_t envcfg_mask(const RiscvCpu *c, bool m)
{
    return ENV_FIOM | (rv_has(c, RVE_ZICBOM) ? ENV_CBIE | ENV_CBCFE : 0) |
           (rv_has(c, RVE_ZICBOZ) ? ENV_CBZE : 0) | (m && rv_has(c, RVE_SSTC) ? ENV_STCE : 0) |
           (m && rv_has(c, RVE_SVPBMT) ? ENV_PBMTE : 0) |
           (m && rv_has(c, RVE_SVADE) ? ENV_ADUE : 0);
}

static uint64_t legal_envcfg(uint64_t old, uint64_t val, uint64_t mask)
{
    if ((val & ENV_CBIE) == 2ull << 4) { /* reserved */
        mask &= ~ENV_CBIE;
    }
    return (old & ~mask) | (val & mask);
}

static void write_menvcfg(RiscvCpu *c, uint64_t val)
{
    uint64_t old = c->menvcfg;

    c->menvcfg = legal_envcfg(old, val, envcfg_mask(c, true));
    if ((old ^ c->menvcfg) & ENV_STCE) {
        rv_stimer_update(c);
    }
    if ((old ^ c->menvcfg) & (ENV_PBMTE | ENV_ADUE)) {
        jit_tlb_flush(&c->vcpu, false);
    }
}

/* ---- PMP ---- */

static uint64_t read_pmpcfg(const RiscvCpu *c, unsigned n)
{
    unsigned count = c->rv32 ? 4 : 8;
    uint64_t v = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned at = n * 4 + i;

        v |= at < RV_PMP_ENTRIES ? (uint64_t)c->pmpcfg[at] << i * 8 : 0;
    }
    return v;
}

static void write_pmpcfg(RiscvCpu *c, unsigned n, uint64_t val)
{
    unsigned count = c->rv32 ? 4 : 8;

    for (unsigned i = 0; i < count; i++) {
        unsigned at = n * 4 + i;
        uint8_t v = val >> i * 8 & 0x9f;

        if (at >= RV_PMP_ENTRIES || c->pmpcfg[at] & 0x80) {
            continue;
        }
        if ((v & 3) == 2) { /* W without R is reserved: keep */
            v = (v & ~7) | (c->pmpcfg[at] & 7);
        }
        if ((v >> 3 & 3) == 2) { /* NA4 cannot be selected with a grain of 4 KiB */
            v = (v & ~0x18) | (c->pmpcfg[at] & 0x18);
        }
        c->pmpcfg[at] = v;
    }
    rv_pmp_update(c);
    jit_tlb_flush(&c->vcpu, false);
}

/* Grain 4 KiB: bits 9…0 read as ones for NAPOT (9…0 except the top), as zeros otherwise (3.7.1). */
static uint64_t read_pmpaddr(const RiscvCpu *c, unsigned n)
{
    return c->pmpcfg[n] >> 3 & 2 ? c->pmpaddr[n] | 0x1ff : c->pmpaddr[n] & ~0x3ffull;
}

static void write_pmpaddr(RiscvCpu *c, unsigned n, uint64_t val)
{
    bool next_tor_locked =
        n + 1 < RV_PMP_ENTRIES && c->pmpcfg[n + 1] & 0x80 && (c->pmpcfg[n + 1] >> 3 & 3) == 1;

    if (c->pmpcfg[n] & 0x80 || next_tor_locked) {
        return;
    }
    c->pmpaddr[n] = val & (c->rv32 ? 0xffffffff : (1ull << 54) - 1);
    rv_pmp_update(c);
    jit_tlb_flush(&c->vcpu, false);
}

/* ---- access ---- */

static bool counter_ok(RiscvCpu *c, unsigned n)
{
    return c->prv == PRV_M || ((c->mcounteren >> n & 1) &&
                               (c->prv == PRV_S || !rv_has(c, RVE_S) || (c->scounteren >> n & 1)));
}

static bool stimecmp_ok(RiscvCpu *c)
{
    return rv_has(c, RVE_SSTC) &&
           (c->prv == PRV_M || (c->mcounteren >> 1 & 1 && c->menvcfg & ENV_STCE));
}

static bool read_counter(RiscvCpu *c, unsigned csr, uint64_t *v)
{
    bool high = csr & 0x80, user = csr >= CSR_CYCLE;
    unsigned n = csr & 0x1f;

    if ((high && !c->rv32) || (user && !counter_ok(c, n)) || (!user && n == 1)) {
        return false;
    }
    *v = n == 0 ? rv_cycle(c) : n == 1 ? rv_time(c) : n == 2 ? instret(c) : 0;
    *v = high ? *v >> 32 : *v;
    return true;
}

static bool read_fp(RiscvCpu *c, unsigned csr, uint64_t *v)
{
    if (!rv_has(c, RVE_F) || !(c->mstatus & MST_FS)) {
        return false;
    }
    *v = csr == CSR_FFLAGS ? rv_fflags(c)
         : csr == CSR_FRM  ? c->frm
                           : rv_fflags(c) | (unsigned)c->frm << 5;
    return true;
}

static bool read_super(RiscvCpu *c, unsigned csr, uint64_t *v, bool for_write)
{
    switch (csr) {
    case CSR_SSTATUS:
        *v = rv_get_mstatus(c) & (sstatus_mask(c) | 1ull << (c->rv32 ? 31 : 63));
        return true;
    case CSR_SIE:
        *v = c->mie & c->mideleg;
        return true;
    case CSR_STVEC:
        *v = c->stvec;
        return true;
    case CSR_SCOUNTEREN:
        *v = c->scounteren;
        return true;
    case CSR_SENVCFG:
        *v = c->senvcfg;
        return true;
    case CSR_SSCRATCH:
        *v = c->sscratch;
        return true;
    case CSR_SEPC:
        *v = c->sepc;
        return true;
    case CSR_SCAUSE:
        *v = c->scause;
        return true;
    case CSR_STVAL:
        *v = c->stval;
        return true;
    case CSR_SIP:
        *v = read_mip(c, for_write) & c->mideleg;
        return true;
    case CSR_STIMECMP:
        *v = c->stimecmp;
        return stimecmp_ok(c);
    case CSR_STIMECMPH:
        *v = c->stimecmp >> 32;
        return c->rv32 && stimecmp_ok(c);
    case CSR_SATP:
        *v = c->satp;
        return !(c->prv == PRV_S && c->mstatus & MST_TVM);
    default:
        return false;
    }
}

static bool read_machine(RiscvCpu *c, unsigned csr, uint64_t *v, bool for_write)
{
    switch (csr) {
    case CSR_MSTATUS:
        *v = rv_get_mstatus(c);
        return true;
    case CSR_MSTATUSH:
    case CSR_MENVCFGH:
        *v = csr == CSR_MENVCFGH ? c->menvcfg >> 32 : 0;
        return c->rv32;
    case CSR_MISA:
        *v = misa(c);
        return true;
    case CSR_MEDELEG:
        *v = c->medeleg;
        return rv_has(c, RVE_S);
    case CSR_MIDELEG:
        *v = c->mideleg;
        return rv_has(c, RVE_S);
    case CSR_MIE:
        *v = c->mie;
        return true;
    case CSR_MTVEC:
        *v = c->mtvec;
        return true;
    case CSR_MCOUNTEREN:
        *v = c->mcounteren;
        return rv_has(c, RVE_U);
    case CSR_MENVCFG:
        *v = c->menvcfg;
        return rv_has(c, RVE_U);
    case CSR_MCOUNTINHIBIT:
        *v = 0;
        return true;
    case CSR_MSCRATCH:
        *v = c->mscratch;
        return true;
    case CSR_MEPC:
        *v = c->mepc;
        return true;
    case CSR_MCAUSE:
        *v = c->mcause;
        return true;
    case CSR_MTVAL:
        *v = c->mtval;
        return true;
    case CSR_MIP:
        *v = read_mip(c, for_write);
        return true;
    case CSR_MVENDORID:
    case CSR_MARCHID:
    case CSR_MIMPID:
    case CSR_MCONFIGPTR:
        *v = 0;
        return true;
    case CSR_MHARTID:
        *v = c->vcpu.index;
        return true;
    default:
        break;
    }
    if (csr >= CSR_MHPMEVENT3 && csr < CSR_MHPMEVENT3 + 29) {
        *v = 0;
        return true;
    }
    if (rv_has(c, RVE_PMP) && csr >= CSR_PMPCFG0 && csr < CSR_PMPCFG0 + 16) {
        *v = read_pmpcfg(c, csr - CSR_PMPCFG0);
        return c->rv32 || !(csr & 1);
    }
    if (rv_has(c, RVE_PMP) && csr >= CSR_PMPADDR0 && csr < CSR_PMPADDR_END) {
        *v = csr - CSR_PMPADDR0 < RV_PMP_ENTRIES ? read_pmpaddr(c, csr - CSR_PMPADDR0) : 0;
        return true;
    }
    return false;
}

static bool csr_read(RiscvCpu *c, unsigned csr, uint64_t *v, bool for_write)
{
    unsigned group = csr & 0xf00;

    if (group == 0) {
        return csr >= CSR_FFLAGS && csr <= CSR_FCSR && read_fp(c, csr, v);
    }
    if (group == 0xb00 || group == 0xc00) {
        return !(csr & 0x60) && read_counter(c, csr, v);
    }
    if (group == 0x100) {
        return rv_has(c, RVE_S) && read_super(c, csr, v, for_write);
    }
    return (group == 0x300 || group == 0xf00) && read_machine(c, csr, v, for_write);
}

static void write_fp(RiscvCpu *c, unsigned csr, uint64_t v)
{
    if (csr != CSR_FRM) {
        rv_set_fflags(c, v & 31);
    }
    if (csr != CSR_FFLAGS) {
        rv_set_frm(c, csr == CSR_FRM ? v & 7 : v >> 5 & 7);
    }
    c->mstatus |= MST_FS;
}

/* @half: replace the low or the high 32 bits (RV32). */
static uint64_t half(uint64_t old, uint64_t v, bool high)
{
    return high ? (uint32_t)old | v << 32 : (old & ~0xffffffffull) | (uint32_t)v;
}

static uint64_t legal_tvec(uint64_t old, uint64_t v)
{
    return v & 2 ? (v & ~3ull) | (old & 3) : v;
}

static uint64_t epc_mask(const RiscvCpu *c)
{
    return rv_has(c, RVE_C) ? ~1ull : ~3ull;
}

static void set_mstatus(RiscvCpu *c, uint64_t val)
{
    uint64_t old = c->mstatus;

    rv_set_mstatus(c, val);
    (void)old; /* SUM, MXR, MPRV and privilege choose mmu indexes: nothing to flush */
}

static void write_super(RiscvCpu *c, unsigned csr, uint64_t v)
{
    uint64_t mask = sstatus_mask(c) & ~MST_UXL;

    switch (csr) {
    case CSR_SSTATUS:
        set_mstatus(c, (c->mstatus & ~mask) | (v & mask));
        break;
    case CSR_SIE:
        __atomic_store_n(&c->mie, (c->mie & ~c->mideleg) | (v & c->mideleg), __ATOMIC_SEQ_CST);
        rv_update_irq(c);
        break;
    case CSR_STVEC:
        c->stvec = legal_tvec(c->stvec, v);
        break;
    case CSR_SCOUNTEREN:
        c->scounteren = (uint32_t)v;
        break;
    case CSR_SENVCFG:
        c->senvcfg = legal_envcfg(c->senvcfg, v, envcfg_mask(c, false));
        break;
    case CSR_SSCRATCH:
        c->sscratch = v;
        break;
    case CSR_SEPC:
        c->sepc = v & epc_mask(c);
        break;
    case CSR_SCAUSE:
        c->scause = v;
        break;
    case CSR_STVAL:
        c->stval = v;
        break;
    case CSR_SIP:
        write_mip(c, v, c->mideleg & 1u << IRQ_SSI);
        break;
    case CSR_STIMECMP:
        c->stimecmp = c->rv32 ? half(c->stimecmp, v, false) : v;
        rv_stimer_update(c);
        break;
    case CSR_STIMECMPH:
        c->stimecmp = half(c->stimecmp, v, true);
        rv_stimer_update(c);
        break;
    case CSR_SATP:
        write_satp(c, v);
        break;
    default:
        break;
    }
}

static void write_machine(RiscvCpu *c, unsigned csr, uint64_t v)
{
    bool s = rv_has(c, RVE_S);

    switch (csr) {
    case CSR_MSTATUS:
        set_mstatus(c, v);
        break;
    case CSR_MEDELEG:
        c->medeleg = v & 0xb3ff;
        break;
    case CSR_MIDELEG:
        c->mideleg = v & MIP_S;
        rv_update_irq(c);
        break;
    case CSR_MIE:
        __atomic_store_n(&c->mie, v & (MIP_M | (s ? MIP_S : 0)), __ATOMIC_SEQ_CST);
        rv_update_irq(c);
        break;
    case CSR_MTVEC:
        c->mtvec = legal_tvec(c->mtvec, v);
        break;
    case CSR_MCOUNTEREN:
        c->mcounteren = (uint32_t)v;
        break;
    case CSR_MENVCFG:
        write_menvcfg(c, c->rv32 ? half(c->menvcfg, v, false) : v);
        break;
    case CSR_MENVCFGH:
        write_menvcfg(c, half(c->menvcfg, v, true));
        break;
    case CSR_MSCRATCH:
        c->mscratch = v;
        break;
    case CSR_MEPC:
        c->mepc = v & epc_mask(c);
        break;
    case CSR_MCAUSE:
        c->mcause = v;
        break;
    case CSR_MTVAL:
        c->mtval = v;
        break;
    case CSR_MIP:
        write_mip(c, v, s ? MIP_S : 0);
        break;
    case CSR_MCYCLE:
        c->cycle_off += (c->rv32 ? half(rv_cycle(c), v, false) : v) - rv_cycle(c);
        break;
    case CSR_MCYCLEH:
        c->cycle_off += half(rv_cycle(c), v, true) - rv_cycle(c);
        break;
    case CSR_MINSTRET:
        c->instret_off += (c->rv32 ? half(instret(c), v, false) : v) - instret(c);
        break;
    case CSR_MINSTRETH:
        c->instret_off += half(instret(c), v, true) - instret(c);
        break;
    default:
        if (csr >= CSR_PMPCFG0 && csr < CSR_PMPCFG0 + 16) {
            write_pmpcfg(c, csr - CSR_PMPCFG0, v);
        } else if (csr >= CSR_PMPADDR0 && csr < CSR_PMPADDR0 + RV_PMP_ENTRIES) {
            write_pmpaddr(c, csr - CSR_PMPADDR0, v);
        }
        break; /* misa, counters of events…: no effect */
    }
}

static void csr_write(RiscvCpu *c, unsigned csr, uint64_t v)
{
    if (csr < 0x100) {
        write_fp(c, csr, v);
    } else if ((csr & 0xf00) == 0x100) {
        write_super(c, csr, v);
    } else {
        write_machine(c, csr, v);
    }
}

static uint64_t checked_read(RiscvCpu *c, unsigned csr, uint64_t insn, bool write)
{
    uint64_t v = 0;

    if ((csr >> 8 & 3) > c->prv || (write && csr >> 10 == 3) || !csr_read(c, csr, &v, write)) {
        rv_raise(c, EXC_ILLEGAL, insn);
    }
    return rv_sext(c, v);
}

uint64_t rv_h_csr_read(VCpu *cpu, uint64_t csr, uint64_t insn)
{
    return checked_read(riscv(cpu), csr, insn, false);
}

uint64_t rv_h_csr_rw(VCpu *cpu, uint64_t csr, uint64_t val, uint64_t op, uint64_t insn)
{
    RiscvCpu *c = riscv(cpu);
    uint64_t old = checked_read(c, csr, insn, true), ret = old;

    if (csr == CSR_MIP || csr == CSR_SIP) { /* what rd gets includes the pin */
        uint64_t v;

        csr_read(c, csr, &v, false);
        ret = v;
    }
    csr_write(c, csr, op == 0 ? val : op == 1 ? old | val : old & ~val);
    return ret;
}

bool rv_csr_peek(RiscvCpu *c, unsigned csr, uint64_t *val)
{
    uint8_t prv = c->prv;
    bool ok;

    c->prv = PRV_M;
    ok = csr_read(c, csr, val, false);
    c->prv = prv;
    return ok;
}
