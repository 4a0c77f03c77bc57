/*
 * Address translation of AArch64: stage 1 of EL1&0, EL2 and EL3, stage 2. DDI 0487 chapter D8.
 */
#include "core/machine.h"
#include "core/memory.h"
#include "target/arm64/cpu.h"
#include <inttypes.h>
#include <string.h>

enum { FSC_SIZE = 0x00, FSC_TRANS = 0x04, FSC_ACCESS = 0x08, FSC_PERM = 0x0c, FSC_ALIGN = 0x21 };

typedef struct Regime {
    uint64_t table, mask; /* of the table base */
    unsigned el;
    unsigned tsz, granule;                     /* log2 of the granule */
    bool disabled, epd, ha, hd, hpd, el0, two; /* two: EL1&0, with two halves */
    bool is_high;
    unsigned pa_bits;
} Regime;

typedef struct Walk {
    uint64_t phys, leaf;
    bool r, w, x, user_r, user_w, user_x, global, dbm;
    uint8_t attr;
    uint64_t entry, entry_addr;
    unsigned fsc; /* fault status, when it failed */
    bool stage2;  /* the fault was of stage 2, at IPA… */
    uint64_t ipa;
    bool debug;
} Walk;

static const uint8_t pa_sizes[] = {32, 36, 40, 42, 44, 48, 48, 48};

static unsigned pa_bits(const Arm64Cpu *c, unsigned ips)
{
    return pa_sizes[MIN(ips & 7, id_field(c->mmfr0, 0))];
}

/* Granule codes of TG0 (and VTCR) and TG1. */
static unsigned granule0(unsigned tg)
{
    return tg == 1 ? 16 : tg == 2 ? 14 : 12;
}

static unsigned granule1(unsigned tg)
{
    return tg == 3 ? 16 : tg == 1 ? 14 : 12;
}

static void regime(const Arm64Cpu *c, unsigned mmu, uint64_t vaddr, Regime *r)
{
    uint64_t tcr, ttbr;

    *r = (Regime){.el = mmu == MMU_EL2 ? 2 : mmu == MMU_EL3 ? 3 : 1, .el0 = mmu == MMU_EL0};
    tcr = c->tcr[r->el];
    r->two = r->el == 1;
    r->disabled = !(c->sctlr[r->el] & SCTLR_M);
    if (r->el == 1 && a64_el2_enabled(c) && c->hcr & (HCR_TGE | HCR_DC)) {
        r->disabled = true;
    }
    if (r->two) {
        r->is_high = vaddr >> 55 & 1;
        ttbr = r->is_high ? c->ttbr1[1] : c->ttbr0[1];
        r->tsz = r->is_high ? tcr >> 16 & 63 : tcr & 63;
        r->granule = r->is_high ? granule1(tcr >> 30 & 3) : granule0(tcr >> 14 & 3);
        r->epd = tcr >> (r->is_high ? 23 : 7) & 1;
        r->ha = tcr >> 39 & 1;
        r->hd = tcr >> 40 & 1;
        r->hpd = tcr >> (r->is_high ? 42 : 41) & 1;
        r->pa_bits = pa_bits(c, tcr >> 32);
    } else {
        ttbr = c->ttbr0[r->el];
        r->tsz = tcr & 63;
        r->granule = granule0(tcr >> 14 & 3);
        r->ha = tcr >> 21 & 1;
        r->hd = tcr >> 22 & 1;
        r->hpd = tcr >> 24 & 1;
        r->pa_bits = pa_bits(c, tcr >> 16);
    }
    if (id_field(c->mmfr1, 0) < 1) {
        r->ha = false;
    }
    r->hd = r->hd && r->ha && id_field(c->mmfr1, 0) >= 2;
    r->hpd = r->hpd && id_field(c->mmfr1, 12);
    r->table = ttbr & ((1ull << 48) - 2);
}

/* Does the address have its upper bits as the regime wants them? Strips a tag. */
static bool in_range(const Arm64Cpu *c, const Regime *r, uint64_t *va)
{
    uint64_t v = *va, top;
    bool tbi;

    if (r->two) {
        tbi = c->tcr[1] >> (r->is_high ? 38 : 37) & 1;
        if (tbi) {
            v = (uint64_t)((int64_t)(v << 8) >> 8);
        }
        top = r->is_high ? ~v : v;
    } else {
        tbi = c->tcr[r->el] >> 20 & 1;
        if (tbi) {
            v = v << 8 >> 8;
        }
        top = v;
    }
    *va = v;
    return r->tsz >= 64 || !(top >> (64 - r->tsz));
}

static uint64_t load_entry(Arm64Cpu *c, const Walk *w, uint64_t addr)
{
    uint64_t v = 0, len = 8;
    void *p;

    if (!w->debug || !c->vcpu.machine) {
        return jit_phys_load(&c->vcpu, addr, 8);
    }
    /* For a debugger or the monitor, who hold the machine lock: devices are not read. */
    p = mem_host_ptr(c->vcpu.machine->memory, addr, &len, false);
    if (p && len >= 8) {
        memcpy(&v, p, 8);
    }
    return v;
}

static bool stage2(Arm64Cpu *c, Walk *w, uint64_t ipa, JitAccess access, bool s1ptw,
                   uint64_t *phys);

static bool stage2_on(const Arm64Cpu *c, const Regime *r)
{
    return r->el == 1 && a64_el2_enabled(c) && c->hcr & (HCR_VM | HCR_DC);
}

static bool fail_walk(Walk *w, unsigned fsc, int level)
{
    w->fsc = fsc | level;
    return false;
}

/* Stage 1. */
static bool walk_tables(Arm64Cpu *c, const Regime *r, uint64_t va, Walk *w)
{
    unsigned g = r->granule, stride = g - 3, va_bits = 64 - r->tsz;
    int level = 4 - (int)((va_bits - g + stride - 1) / stride);
    unsigned first = g + stride * (3 - level);
    uint64_t table, pa_mask = ((1ull << 48) - 1) & ~((1ull << g) - 1), e;
    bool ro = false, no_user = false, uxn = false, pxn = false;

    table = r->table & ~((1ull << (va_bits - first + 3)) - 1);
    for (;; level++) {
        unsigned shift = g + stride * (3 - level);
        unsigned n =
            level == 4 - (int)((va_bits - g + stride - 1) / stride) ? va_bits - shift : stride;
        uint64_t addr = table + (va >> shift & ((1ull << n) - 1)) * 8;

        if (stage2_on(c, r) && !stage2(c, w, addr, JIT_READ, true, &addr)) {
            return false;
        }
        e = load_entry(c, w, addr);
        if (!(e & 1) || (level == 3 && !(e & 2))) {
            return fail_walk(w, FSC_TRANS, level);
        }
        if (level < 3 && e & 2) {
            if (!r->hpd) {
                ro |= e >> 62 & 1;
                no_user |= e >> 61 & 1;
                uxn |= e >> 60 & 1;
                pxn |= e >> 59 & 1;
            }
            table = e & pa_mask;
            if (r->pa_bits < 48 && table >> r->pa_bits) {
                return fail_walk(w, FSC_SIZE, level);
            }
            continue;
        }
        /* Blocks: level 1 and 2 with 4 KiB, level 2 with the others. */
        if (level < 3 && (level == 0 || (level == 1 && g != 12))) {
            return fail_walk(w, FSC_TRANS, level);
        }
        w->leaf = 1ull << shift;
        w->phys = (e & pa_mask & ~(w->leaf - 1)) | (va & (w->leaf - 1));
        if (r->pa_bits < 48 && w->phys >> r->pa_bits) {
            return fail_walk(w, FSC_SIZE, level);
        }
        w->entry = e;
        w->entry_addr = addr;
        w->fsc = level;
        break;
    }
    ro |= e >> 7 & 1;
    no_user |= !(e >> 6 & 1);
    uxn |= e >> 54 & 1;
    pxn |= e >> 53 & 1;
    w->dbm = r->hd && e >> 51 & 1 && !(ro && !(e >> 7 & 1));
    w->attr = c->mair[r->el] >> (e >> 2 & 7) * 8;
    w->r = true;
    w->w = !ro;
    if (r->two) {
        w->user_r = !no_user;
        w->user_w = !no_user && !ro;
        w->user_x = !uxn;
        w->x = !pxn && !(w->user_w);
        w->global = !(e >> 11 & 1);
    } else {
        w->x = !uxn;
        w->global = true;
    }
    if (c->sctlr[r->el] & SCTLR_WXN) {
        w->user_x &= !w->user_w;
        w->x &= !w->w;
    }
    return true;
}

/* Stage 2: *phys of the intermediate address. */
static bool stage2(Arm64Cpu *c, Walk *w, uint64_t ipa, JitAccess access, bool s1ptw, uint64_t *phys)
{
    uint64_t vtcr = c->vtcr, pa_mask, table, e, leaf;
    unsigned tsz = vtcr & 63, g = granule0(vtcr >> 14 & 3), stride = g - 3, sl0 = vtcr >> 6 & 3;
    unsigned bits = 64 - tsz, ps = pa_bits(c, vtcr >> 16);
    int level = g == 12 ? 2 - (int)sl0 : 3 - (int)sl0;
    bool first = true, xn;

    w->ipa = ipa;
    w->stage2 = true;
    if (tsz < 16 || bits < g + stride || level < 0 || ipa >> bits) {
        return fail_walk(w, FSC_TRANS, 0);
    }
    pa_mask = ((1ull << 48) - 1) & ~((1ull << g) - 1);
    table = c->vttbr & ((1ull << 48) - 2);
    for (;; level++, first = false) {
        unsigned shift = g + stride * (3 - level), n = first ? bits - shift : stride;

        if (first) {
            if (n > stride + 4 || shift >= bits) {
                return fail_walk(w, FSC_TRANS, 0);
            }
            table &= ~((1ull << (n + 3)) - 1);
        }
        e = load_entry(c, w, table + (ipa >> shift & ((1ull << n) - 1)) * 8);
        if (!(e & 1) || (level == 3 && !(e & 2))) {
            return fail_walk(w, FSC_TRANS, level);
        }
        if (level < 3 && e & 2) {
            table = e & pa_mask;
            continue;
        }
        if (level < 3 && (level == 0 || (level == 1 && g != 12))) {
            return fail_walk(w, FSC_TRANS, level);
        }
        leaf = 1ull << shift;
        *phys = (e & pa_mask & ~(leaf - 1)) | (ipa & (leaf - 1));
        if (ps < 48 && *phys >> ps) {
            return fail_walk(w, FSC_SIZE, level);
        }
        break;
    }
    if (!(e >> 10 & 1)) {
        return fail_walk(w, FSC_ACCESS, level);
    }
    xn = e >> 54 & 1;
    if (!(e >> 6 & 1) && access != JIT_WRITE) {
        return fail_walk(w, FSC_PERM, level);
    }
    if ((access == JIT_WRITE && !(e >> 7 & 1)) || (access == JIT_EXEC && xn)) {
        return fail_walk(w, FSC_PERM, level);
    }
    if (!s1ptw) {
        w->leaf = MIN(w->leaf, leaf);
        w->w &= e >> 7 & 1;
        w->user_w &= e >> 7 & 1;
        w->x &= !xn;
        w->user_x &= !xn;
    }
    w->stage2 = false;
    return true;
}

static void perms(const Arm64Cpu *c, const Walk *w, unsigned mmu, JitPage *p)
{
    switch (mmu) {
    case MMU_EL0:
        p->read = w->user_r;
        p->write = w->user_w;
        p->exec = w->user_x;
        break;
    case MMU_EL1_PAN:
        p->read = w->r && !w->user_r;
        p->write = w->w && !w->user_r;
        p->exec = w->x;
        break;
    default:
        p->read = w->r;
        p->write = w->w;
        p->exec = w->x;
    }
}

static bool allowed(const JitPage *p, JitAccess access)
{
    return access == JIT_READ ? p->read : access == JIT_WRITE ? p->write : p->exec;
}

/* Access flag and dirty state by hardware. False with w->fsc, or *again. */
static bool update_flags(Arm64Cpu *c, const Regime *r, Walk *w, JitAccess access, bool probe,
                         bool *again)
{
    uint64_t now = w->entry;
    unsigned level = w->fsc & 3;

    *again = false;
    if (!(now >> 10 & 1)) {
        if (!r->ha) {
            return fail_walk(w, FSC_ACCESS, level);
        }
        now |= 1ull << 10;
    }
    if (w->dbm && now >> 7 & 1 && access == JIT_WRITE) {
        now &= ~(1ull << 7);
        w->w = true;
        w->user_w = w->user_r;
    }
    if (now != w->entry && !probe && !w->debug) {
        if (!jit_phys_cas(&c->vcpu, w->entry_addr, w->entry, now, 8)) {
            *again = true;
            return false;
        }
    }
    return true;
}

/* The whole translation. */
static bool translate(Arm64Cpu *c, uint64_t vaddr, JitAccess access, unsigned mmu, bool probe,
                      Walk *w, JitPage *page)
{
    bool debug = w->debug, again;
    Regime r;

    regime(c, mmu, vaddr, &r);
    do {
        uint64_t va = vaddr, phys;
        bool ok;

        *w = (Walk){.debug = debug};
        again = false;
        ok = in_range(c, &r, &va);
        if (va != vaddr) {
            c->tagged_va = true;
        }
        if (r.disabled) {
            unsigned top = pa_sizes[MIN(id_field(c->mmfr0, 0), 7)];

            if (va >> top) {
                return fail_walk(w, FSC_SIZE, 0);
            }
            *w = (Walk){.r = true,
                        .w = true,
                        .x = true,
                        .user_r = true,
                        .user_w = true,
                        .user_x = true,
                        .global = true,
                        .phys = va,
                        .leaf = 4096,
                        .debug = debug};
            w->attr = 0xff;
        } else {
            if (!ok || r.tsz < 16 || r.tsz > 48 - (r.granule == 16) || r.epd ||
                r.granule >= 64 - r.tsz) {
                return fail_walk(w, FSC_TRANS, 0);
            }
            if (!walk_tables(c, &r, va, w)) {
                return false;
            }
            if (!update_flags(c, &r, w, access, probe, &again)) {
                if (again) {
                    continue;
                }
                return false;
            }
        }
        perms(c, w, r.disabled && mmu == MMU_EL1_PAN ? MMU_EL1 : mmu, page);
        if (!allowed(page, access)) {
            return fail_walk(w, FSC_PERM, w->fsc & 3);
        }
        phys = w->phys;
        if (stage2_on(c, &r) && c->hcr & HCR_VM) {
            if (!stage2(c, w, w->phys, access, false, &phys)) {
                return false;
            }
            perms(c, w, r.disabled && mmu == MMU_EL1_PAN ? MMU_EL1 : mmu, page);
        }
        page->phys = phys & ~MEM_PAGE_MASK;
        page->leaf_size = MAX(w->leaf, MEM_PAGE_SIZE);
        page->global = w->global && !r.disabled && !stage2_on(c, &r);
    } while (again);
    return true;
}

static void set_abort(Arm64Cpu *c, uint64_t vaddr, JitAccess access, const Walk *w)
{
    bool s2 = w->stage2;
    uint32_t esr = esr_make(access == JIT_EXEC ? EC_IABT : EC_DABT,
                            w->fsc | (access == JIT_WRITE ? 1 << 6 : 0));
    unsigned el = s2 ? 2 : a64_sync_target(c);

    a64_set_exc(c, esr, el, false);
    c->exc_far = vaddr;
    c->exc_far_valid = true;
    c->exc_hpfar = s2 ? w->ipa >> 12 << 4 : c->hpfar;
}

bool a64_walk(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu, bool probe, JitPage *page)
{
    Arm64Cpu *c = arm64(cpu);
    Walk w = {0};

    *page = (JitPage){0};
    if (translate(c, vaddr, access, mmu, probe, &w, page)) {
        return true;
    }
    if (!probe) {
        set_abort(c, vaddr, access, &w);
    }
    return false;
}

void a64_set_align_fault(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu)
{
    Walk w = {.fsc = FSC_ALIGN};

    set_abort(arm64(cpu), vaddr, access, &w);
}

uint64_t a64_at(Arm64Cpu *c, uint64_t vaddr, JitAccess access, unsigned mmu, bool with_stage2)
{
    Walk w = {0};
    JitPage p;
    uint64_t hcr = c->hcr, par;
    bool ok;

    if (!with_stage2) {
        c->hcr &= ~(HCR_VM | HCR_DC);
    }
    ok = translate(c, vaddr, access, mmu, true, &w, &p);
    c->hcr = hcr;
    if (!ok) {
        return 1 | (uint64_t)w.fsc << 1 | 1 << 11 | (w.stage2 ? 1 << 9 : 0);
    }
    par = p.phys | 1 << 11 | (uint64_t)w.attr << 56;
    return par | (w.attr & 0xf0 ? 3 << 7 : 2 << 7);
}

void a64_flush(Arm64Cpu *c, bool keep_global)
{
    VCpu *cpu = &c->vcpu;

    if (cpu->accel && cpu->accel_data) {
        jit_tlb_flush(cpu, keep_global);
    }
}

/* ---- debuggers ---- */

static unsigned debug_mmu(const Arm64Cpu *c)
{
    return c->el == 2 ? MMU_EL2 : c->el == 3 ? MMU_EL3 : MMU_EL1;
}

uint64_t a64_debug_translate(VCpu *cpu, uint64_t vaddr)
{
    Arm64Cpu *c = arm64(cpu);
    Walk w = {.debug = true};
    bool tagged = c->tagged_va;
    JitPage p;

    if (!translate(c, vaddr, JIT_READ, debug_mmu(c), true, &w, &p)) {
        w = (Walk){.debug = true};
        if (!translate(c, vaddr, JIT_EXEC, debug_mmu(c), true, &w, &p)) {
            return UINT64_MAX;
        }
    }
    c->tagged_va = tagged;
    return p.phys | (vaddr & MEM_PAGE_MASK);
}
