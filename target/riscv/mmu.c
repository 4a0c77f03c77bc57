/*
 * Address translation (Privileged ISA chapter 4.3: Sv32, 4.4: Sv39, 4.5: Sv48, 4.6: Sv57; Svnapot,
 * Svpbmt, Svade) and physical memory protection (3.7), with a grain of 4 KiB.
 */
#include "core/machine.h"
#include "core/memory.h"
#include "target/riscv/cpu.h"
#include "target/riscv/helpers.h"
#include <inttypes.h>

#define PTE_V 1u
#define PTE_R 2u
#define PTE_W 4u
#define PTE_X 8u
#define PTE_U 16u
#define PTE_G 32u
#define PTE_A 64u
#define PTE_D 128u
#define PTE_PBMT (3ull << 61)
#define PTE_N (1ull << 63)
#define PTE_RSVD (0x7full << 54)

enum { PMP_R = 1, PMP_W = 2, PMP_X = 4, PMP_ALL = 7 };

unsigned rv_mmu_code(const RiscvCpu *c)
{
    unsigned mxr = c->mstatus & MST_MXR ? MMU_MXR : 0;

    return c->prv == PRV_M   ? MMU_M
           : c->prv == PRV_U ? MMU_U + mxr
                             : (c->mstatus & MST_SUM ? MMU_S_SUM : MMU_S) + mxr;
}

unsigned rv_mmu_data(const RiscvCpu *c)
{
    unsigned prv = c->prv, mxr = c->mstatus & MST_MXR ? MMU_MXR : 0;

    if (prv == PRV_M && c->mstatus & MST_MPRV) {
        prv = c->mstatus >> MST_MPP_SHIFT & 3;
    }
    return prv == PRV_M   ? MMU_M
           : prv == PRV_U ? MMU_U + mxr
                          : (c->mstatus & MST_SUM ? MMU_S_SUM : MMU_S) + mxr;
}

/* ---- PMP ---- */

void rv_pmp_update(RiscvCpu *c)
{
    c->pmp_any = false;
    for (unsigned i = 0; i < RV_PMP_ENTRIES; i++) {
        uint64_t a = c->pmpaddr[i];
        unsigned mode = c->pmpcfg[i] >> 3 & 3;

        c->pmp_lo[i] = c->pmp_hi[i] = 0;
        if (mode == 1) {
            c->pmp_lo[i] = i ? (c->pmpaddr[i - 1] & ~0x3ffull) << 2 : 0;
            c->pmp_hi[i] = (a & ~0x3ffull) << 2;
        } else if (mode == 3) {
            uint64_t ones;

            a |= 0x1ff;
            ones = a ^ (a + 1); /* the low ones and the zero above them */
            c->pmp_lo[i] = (a & ~ones) << 2;
            c->pmp_hi[i] = ((a | ones) + 1) << 2;
        }
        c->pmp_any |= mode != 0;
    }
}

/* Permissions of the page at @phys for privilege @prv. */
static unsigned pmp_perm(const RiscvCpu *c, uint64_t phys, unsigned prv)
{
    if (!rv_has(c, RVE_PMP)) {
        return PMP_ALL;
    }
    for (unsigned i = 0; c->pmp_any && i < RV_PMP_ENTRIES; i++) {
        if (phys >= c->pmp_lo[i] && phys < c->pmp_hi[i]) {
            return prv == PRV_M && !(c->pmpcfg[i] & 0x80) ? PMP_ALL : c->pmpcfg[i] & PMP_ALL;
        }
    }
    return prv == PRV_M ? PMP_ALL : 0;
}

/* ---- page tables ---- */

static unsigned mmu_prv(unsigned mmu)
{
    return mmu == MMU_M ? PRV_M : (mmu & 3) == MMU_U ? PRV_U : PRV_S;
}

static bool fault(RiscvCpu *c, bool probe, uint64_t vaddr, JitAccess access, bool page)
{
    static const uint8_t page_exc[] = {EXC_LOAD_PAGE, EXC_STORE_PAGE, EXC_INSN_PAGE},
                         bus_exc[] = {EXC_LOAD_ACCESS, EXC_STORE_ACCESS, EXC_INSN_ACCESS};

    if (!probe) {
        rv_set_exc(c, page ? page_exc[access] : bus_exc[access], vaddr);
    }
    return false;
}

void rv_set_align_fault(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu)
{
    rv_set_exc(riscv(cpu), access == JIT_READ ? EXC_LOAD_MISALIGNED : EXC_STORE_MISALIGNED, vaddr);
}

typedef struct Format {
    uint8_t levels, bits, pte; /* bits of index a level, bytes of an entry */
    uint8_t va_bits;
} Format;

static bool bare(const RiscvCpu *c)
{
    return c->rv32 ? !(c->satp >> 31) : !(c->satp >> 60);
}

static Format format(const RiscvCpu *c)
{
    unsigned mode = c->satp >> 60;

    if (c->rv32) {
        return (Format){2, 10, 4, 32};
    }
    return mode == 8   ? (Format){3, 9, 8, 39}
           : mode == 9 ? (Format){4, 9, 8, 48}
                       : (Format){5, 9, 8, 57};
}

typedef struct Walk {
    uint64_t pte, pte_addr;
    unsigned shift; /* log2 of the leaf */
    bool access_fault, global;
} Walk;

static uint64_t debug_load(RiscvCpu *c, uint64_t addr, unsigned size)
{
    uint64_t v = 0;

    return mem_read(c->vcpu.machine->memory, addr, &v, size) ? v : 0;
}

static bool pte_reserved(const RiscvCpu *c, uint64_t pte, bool leaf)
{
    if (c->rv32) {
        return false;
    }
    if (pte & PTE_RSVD || (pte & PTE_N && (!leaf || !rv_has(c, RVE_SVNAPOT)))) {
        return true;
    }
    return (pte & PTE_PBMT) && (!leaf || !(c->menvcfg & ENV_PBMTE) || (pte & PTE_PBMT) == PTE_PBMT);
}

/* Find the leaf. @debug: without side effects, machine lock held. */
static bool find_leaf(RiscvCpu *c, Walk *w, uint64_t vaddr, bool debug)
{
    Format f = format(c);
    uint64_t table = c->rv32 ? (c->satp & 0x3fffff) << 12 : (c->satp & ((1ull << 44) - 1)) << 12;

    *w = (Walk){0};
    if (!c->rv32 && (uint64_t)((int64_t)(vaddr << (64 - f.va_bits)) >> (64 - f.va_bits)) != vaddr) {
        return false;
    }
    for (int level = f.levels - 1; level >= 0; level--) {
        unsigned shift = 12 + level * f.bits;
        uint64_t index = vaddr >> shift & ((1u << f.bits) - 1), ppn;

        w->pte_addr = table + index * f.pte;
        if (!(pmp_perm(c, w->pte_addr, PRV_S) & PMP_R)) {
            w->access_fault = true;
            return false;
        }
        w->pte =
            debug ? debug_load(c, w->pte_addr, f.pte) : jit_phys_load(&c->vcpu, w->pte_addr, f.pte);
        if (!(w->pte & PTE_V) || (w->pte & (PTE_R | PTE_W)) == PTE_W) {
            return false;
        }
        bool leaf = w->pte & (PTE_R | PTE_X);
        if (pte_reserved(c, w->pte, leaf)) {
            return false;
        }
        w->global |= w->pte & PTE_G;
        ppn = c->rv32 ? (uint32_t)w->pte >> 10 : w->pte >> 10 & ((1ull << 44) - 1);
        if (leaf) {
            w->shift = shift;
            if (w->pte & PTE_N && !c->rv32) {
                /* 64 KiB: the only size there is */
                if (level || (ppn & 15) != 8) {
                    return false;
                }
                w->shift = 16;
            } else if (ppn & ((1ull << (shift - 12)) - 1)) {
                return false; /* misaligned superpage */
            }
            return true;
        }
        if (w->pte & (PTE_D | PTE_A | PTE_U)) {
            return false;
        }
        table = ppn << 12;
    }
    return false;
}

static uint64_t leaf_phys(const RiscvCpu *c, const Walk *w, uint64_t vaddr)
{
    uint64_t ppn = c->rv32 ? (uint32_t)w->pte >> 10 : w->pte >> 10 & ((1ull << 44) - 1);
    uint64_t low = (1ull << w->shift) - 1;

    return ((ppn << 12) & ~low) | (vaddr & low);
}

/* Does anything answer at @phys? Accesses to nothing are access faults on this bus. */
static bool bus_has(RiscvCpu *c, uint64_t phys)
{
    FlatView *view = mem_view_get(c->vcpu.machine->memory);
    bool ok = mem_view_find(view, phys) != NULL;

    mem_view_put(view);
    return ok;
}

static bool finish(RiscvCpu *c, uint64_t vaddr, uint64_t phys, JitAccess access, unsigned mmu,
                   bool probe, JitPage *page)
{
    static const uint8_t need[] = {PMP_R, PMP_W, PMP_X};
    unsigned perm = pmp_perm(c, phys, mmu_prv(mmu));

    if (!(perm & need[access]) || !bus_has(c, phys)) {
        return fault(c, probe, vaddr, access, false);
    }
    page->phys = phys & ~MEM_PAGE_MASK;
    page->read &= (perm & PMP_R) != 0;
    page->write &= (perm & PMP_W) != 0;
    page->exec &= (perm & PMP_X) != 0;
    return true;
}

bool rv_walk(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu, bool probe, JitPage *page)
{
    RiscvCpu *c = riscv(cpu);
    bool user = (mmu & 3) == MMU_U, ok, hw_ad = !rv_has(c, RVE_SVADE) || c->menvcfg & ENV_ADUE;
    uint64_t now;
    Walk w;

    *page = (JitPage){.read = true, .write = true, .exec = true, .leaf_size = MEM_PAGE_SIZE};
    if (mmu == MMU_M || bare(c)) {
        return finish(c, vaddr, c->rv32 ? (uint32_t)vaddr : vaddr, access, mmu, probe, page);
    }
    do {
        if (!find_leaf(c, &w, vaddr, false)) {
            return fault(c, probe, vaddr, access, !w.access_fault);
        }
        page->read = w.pte & PTE_R || (mmu & MMU_MXR && w.pte & PTE_X);
        page->write = w.pte & PTE_W;
        page->exec = w.pte & PTE_X;
        if (user ? !(w.pte & PTE_U) : (w.pte & PTE_U) && (mmu & 3) != MMU_S_SUM) {
            page->read = page->write = false;
        }
        if (user != ((w.pte & PTE_U) != 0)) {
            page->exec = false;
        }
        ok = access == JIT_READ ? page->read : access == JIT_WRITE ? page->write : page->exec;
        if (!ok) {
            return fault(c, probe, vaddr, access, true);
        }
        now = w.pte | PTE_A | (access == JIT_WRITE ? PTE_D : 0);
        if (now == w.pte || probe) {
            break;
        }
        if (!hw_ad) {
            return fault(c, probe, vaddr, access, true);
        }
        if (!(pmp_perm(c, w.pte_addr, PRV_S) & PMP_W)) {
            return fault(c, probe, vaddr, access, false);
        }
    } while (!jit_phys_cas(cpu, w.pte_addr, w.pte, now, c->rv32 ? 4 : 8));
    /* Not writable until a write has set D. */
    page->write &= (now & PTE_D) != 0;
    page->leaf_size = 1ull << w.shift;
    page->global = w.global;
    return finish(c, vaddr, leaf_phys(c, &w, vaddr), access, mmu, probe, page);
}

uint64_t rv_h_sfence(VCpu *cpu, uint64_t insn, uint64_t rs1, uint64_t rs2)
{
    RiscvCpu *c = riscv(cpu);
    unsigned f7 = insn >> 25;

    /* SFENCE.W.INVAL and SFENCE.INVAL.IR (funct7 0Ch) order only. */
    if (!rv_has(c, RVE_S) || (f7 != 0x09 && f7 != 0x0b && f7 != 0x0c) ||
        (f7 != 0x09 && !rv_has(c, RVE_SVINVAL)) || c->prv == PRV_U ||
        (f7 != 0x0c && c->prv == PRV_S && c->mstatus & MST_TVM)) {
        rv_raise(c, EXC_ILLEGAL, insn);
    }
    if (f7 == 0x0c) {
        return 0;
    }
    if (insn >> 15 & 31) {
        jit_tlb_flush_page(cpu, rv_zext(c, rs1));
    } else {
        /* With an ASID in rs2, global translations may stay. */
        jit_tlb_flush(cpu, (insn >> 20 & 31) != 0);
    }
    return 0;
}

/* ---- debuggers ---- */

uint64_t rv_debug_translate(VCpu *cpu, uint64_t vaddr)
{
    RiscvCpu *c = riscv(cpu);
    Walk w;

    vaddr = rv_zext(c, vaddr);
    if (rv_mmu_data(c) == MMU_M || bare(c)) {
        return vaddr;
    }
    return find_leaf(c, &w, vaddr, true) ? leaf_phys(c, &w, vaddr) : UINT64_MAX;
}

typedef struct Dump {
    GString *s;
    unsigned lines, tables;
} Dump;
enum { DUMP_MAX_LINES = 200000, DUMP_MAX_TABLES = 100000 };

static void dump_table(RiscvCpu *c, Dump *d, Format f, uint64_t table, uint64_t vbase, int level)
{
    unsigned shift = 12 + level * f.bits;

    if (++d->tables > DUMP_MAX_TABLES) {
        return;
    }
    for (unsigned i = 0; i < 1u << f.bits && d->lines < DUMP_MAX_LINES; i++) {
        uint64_t pte = debug_load(c, table + i * f.pte, f.pte), va = vbase + ((uint64_t)i << shift);
        uint64_t ppn = c->rv32 ? (uint32_t)pte >> 10 : pte >> 10 & ((1ull << 44) - 1);

        if (!(pte & PTE_V)) {
            continue;
        }
        if (!c->rv32 && va >> (f.va_bits - 1) & 1) {
            va |= ~0ull << f.va_bits;
        }
        if (pte & (PTE_R | PTE_X)) {
            static const char letters[] = "rwxugad";

            g_string_append_printf(d->s, "%016" PRIx64 " %016" PRIx64 " %016" PRIx64 " ", va,
                                   ppn << 12, (uint64_t)1 << shift);
            for (unsigned b = 0; b < 7; b++) {
                g_string_append_c(d->s, pte >> (b + 1) & 1 ? letters[b] : '-');
            }
            g_string_append_c(d->s, '\n');
            d->lines++;
        } else if (level) {
            dump_table(c, d, f, ppn << 12, va, level - 1);
        }
    }
}

char *rv_dump_tlb(VCpu *cpu, bool ranges)
{
    RiscvCpu *c = riscv(cpu);
    Dump d = {.s = g_string_new(NULL)};

    if (bare(c)) {
        g_string_append(d.s, "No translation or protection\n");
    } else {
        Format f = format(c);

        g_string_append(d.s, "vaddr            paddr            size             attr\n");
        dump_table(c, &d, f,
                   c->rv32 ? (c->satp & 0x3fffff) << 12 : (c->satp & ((1ull << 44) - 1)) << 12, 0,
                   f.levels - 1);
    }
    return g_string_free(d.s, FALSE);
}
