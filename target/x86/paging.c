/*
 * Page-table walks: 32-bit, PAE and 4-level paging. Intel SDM volume 3, chapter 4.
 */
#include "core/machine.h"
#include "core/memory.h"
#include "target/x86/sys.h"
#include <inttypes.h>
#include <string.h>

enum {
    PTE_P = 1 << 0,
    PTE_W = 1 << 1,
    PTE_U = 1 << 2,
    PTE_A = 1 << 5,
    PTE_D = 1 << 6,
    PTE_PS = 1 << 7,
    PTE_G = 1 << 8,
    ERR_P = 1,
    ERR_W = 2,
    ERR_U = 4,
    ERR_RSVD = 8,
    ERR_ID = 16,
};
#define PTE_NX (1ull << 63)
enum { MAX_LEVELS = 4 };

typedef struct Walk {
    uint64_t entry[MAX_LEVELS], addr[MAX_LEVELS]; /* from the top */
    unsigned n, size;                             /* levels seen, bytes of an entry */
    uint64_t phys, leaf;                          /* of the page, and bytes mapped */
    bool w, u, nx, g;
    bool rsvd;  /* stopped on a reserved bit */
    bool debug; /* for a debugger: RAM only, any thread */
} Walk;

static uint64_t a20(const X86Cpu *c, uint64_t phys)
{
    return c->a20_off ? phys & ~(1ull << 20) : phys;
}

/* An entry for a debugger or the monitor, who hold the machine lock: devices are not read. */
static uint64_t debug_load(X86Cpu *c, uint64_t addr, unsigned size)
{
    uint64_t v = 0, len = size;
    void *p;

    if (!c->vcpu.machine) {
        return jit_phys_load(&c->vcpu, addr, size);
    }
    p = mem_host_ptr(c->vcpu.machine->memory, addr, &len, false);
    if (p && len >= size) {
        memcpy(&v, p, size);
    }
    return v;
}

static uint64_t read_entry(X86Cpu *c, Walk *w, uint64_t table, unsigned index)
{
    uint64_t addr = a20(c, table + index * w->size);

    w->addr[w->n] = addr;
    w->entry[w->n] =
        w->debug ? debug_load(c, addr, w->size) : jit_phys_load(&c->vcpu, addr, w->size);
    return w->entry[w->n++];
}

static void combine(Walk *w, uint64_t e)
{
    w->w &= (e & PTE_W) != 0;
    w->u &= (e & PTE_U) != 0;
    w->nx |= (e & PTE_NX) != 0;
}

/* PAE and 4-level entries: reserved bits of every level. */
static uint64_t rsvd64(const X86Cpu *c)
{
    uint64_t r = ~x86_phys_mask(c) & ((1ull << 52) - 1);

    if (!x86_lma(c)) {
        r |= 0x7ffull << 52;
    }
    return c->efer & EFER_NXE ? r : r | PTE_NX;
}

/* false: not present or reserved bits. */
static bool walk32(X86Cpu *c, Walk *w, uint64_t vaddr)
{
    uint64_t e;

    w->size = 4;
    e = read_entry(c, w, c->cr3 & 0xfffff000, vaddr >> 22 & 0x3ff);
    if (!(e & PTE_P)) {
        return false;
    }
    combine(w, e);
    if (e & PTE_PS && c->cr4 & CR4_PSE) {
        /* PSE-36: bits 13… hold address bits 32…39 as far as the CPU has them. */
        unsigned high = c->phys_bits > 40 ? 8 : c->phys_bits > 32 ? c->phys_bits - 32 : 0;

        if (e & 0x3fe000 & ~(((1ull << high) - 1) << 13)) {
            w->rsvd = true;
            return false;
        }
        w->leaf = 4 << 20;
        w->g = e & PTE_G;
        w->phys = (e & 0xffc00000) | (e >> 13 & ((1u << high) - 1)) << 32 |
                  (vaddr & (w->leaf - 1) & ~MEM_PAGE_MASK);
        return true;
    }
    e = read_entry(c, w, e & 0xfffff000, vaddr >> 12 & 0x3ff);
    if (!(e & PTE_P)) {
        return false;
    }
    combine(w, e);
    w->leaf = 4096;
    w->g = e & PTE_G;
    w->phys = e & 0xfffff000;
    return true;
}

static bool walk64(X86Cpu *c, Walk *w, uint64_t vaddr)
{
    uint64_t mask = x86_phys_mask(c) & ~MEM_PAGE_MASK, rsvd = rsvd64(c), e, table;
    bool lma = x86_lma(c), big1g = x86_feat(c, FEAT_80000001_EDX, 26);
    int shift;

    w->size = 8;
    if (lma) {
        table = c->cr3 & mask;
        shift = 39;
    } else {
        uint64_t pdpte = c->pdpte[vaddr >> 30 & 3];

        if (!(pdpte & PTE_P)) {
            return false;
        }
        table = pdpte & mask;
        shift = 21;
    }
    for (;; shift -= 9) {
        bool large;

        e = read_entry(c, w, table, vaddr >> shift & 0x1ff);
        if (!(e & PTE_P)) {
            return false;
        }
        large = shift > 12 && e & PTE_PS;
        if (e & rsvd || (large && (shift == 39 || (shift == 30 && !big1g) ||
                                   e & ((1ull << shift) - 1) & ~0x1fffull))) {
            w->rsvd = true;
            return false;
        }
        combine(w, e);
        if (shift == 12 || large) {
            break;
        }
        table = e & mask;
    }
    w->leaf = 1ull << shift;
    w->g = e & PTE_G;
    w->phys = (e & mask & ~(w->leaf - 1)) | (vaddr & (w->leaf - 1) & ~MEM_PAGE_MASK);
    return true;
}

static bool do_walk(X86Cpu *c, Walk *w, uint64_t vaddr, bool debug)
{
    *w = (Walk){.w = true, .u = true, .debug = debug};
    return c->cr4 & CR4_PAE ? walk64(c, w, vaddr) : walk32(c, w, vaddr);
}

/* Permissions of this translation for accesses by @mmu. */
static void permissions(X86Cpu *c, const Walk *w, unsigned mmu, JitPage *p)
{
    bool nx = w->nx && c->efer & EFER_NXE && c->cr4 & CR4_PAE;

    if (mmu == MMU_USER) {
        p->read = w->u;
        p->write = w->u && w->w;
        p->exec = w->u && !nx;
        return;
    }
    p->read = !(mmu == MMU_KERNEL_SMAP && w->u);
    p->write = p->read && (w->w || !(c->cr0 & CR0_WP));
    p->exec = !nx && !(w->u && c->cr4 & CR4_SMEP);
}

/* Set A in all entries and D in the leaf; false if somebody changed one: walk again. */
static bool set_accessed(X86Cpu *c, const Walk *w, bool dirty)
{
    for (unsigned i = 0; i < w->n; i++) {
        uint64_t now = w->entry[i] | PTE_A | (dirty && i == w->n - 1 ? PTE_D : 0);

        if (now != w->entry[i] && !jit_phys_cas(&c->vcpu, w->addr[i], w->entry[i], now, w->size)) {
            return false;
        }
    }
    return true;
}

static bool fault(X86Cpu *c, uint64_t vaddr, JitAccess access, unsigned mmu, bool probe,
                  uint32_t err)
{
    if (probe) {
        return false;
    }
    err |= access == JIT_WRITE ? ERR_W : 0;
    err |= mmu == MMU_USER ? ERR_U : 0;
    if (access == JIT_EXEC && ((c->efer & EFER_NXE && c->cr4 & CR4_PAE) || c->cr4 & CR4_SMEP)) {
        err |= ERR_ID;
    }
    c->exc_cr2 = vaddr;
    x86_set_exc(c, EXC_PF, EV_FAULT, true, err);
    return false;
}

static bool identity(X86Cpu *c, uint64_t vaddr, JitPage *page)
{
    *page = (JitPage){
        .phys = a20(c, vaddr & ~MEM_PAGE_MASK),
        .leaf_size = MEM_PAGE_SIZE,
        .read = true,
        .write = true,
        .exec = true,
    };
    return true;
}

bool x86_walk(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu, bool probe, JitPage *page)
{
    X86Cpu *c = x86(cpu);
    Walk w;
    bool ok, dirty;

    if (mmu == MMU_PHYS) {
        return identity(c, vaddr, page);
    }
    if (!(c->cr0 & CR0_PG)) {
        return identity(c, (uint32_t)vaddr, page);
    }
    if (x86_lma(c)) {
        if (!x86_canonical(vaddr)) {
            if (!probe) {
                x86_set_exc(c, EXC_GP, EV_FAULT, true, 0);
            }
            return false;
        }
    } else {
        vaddr = (uint32_t)vaddr;
    }
    do {
        if (!do_walk(c, &w, vaddr, false)) {
            return fault(c, vaddr, access, mmu, probe, w.rsvd ? ERR_RSVD | ERR_P : 0);
        }
        permissions(c, &w, mmu, page);
        ok = access == JIT_READ ? page->read : access == JIT_WRITE ? page->write : page->exec;
        if (!ok) {
            return fault(c, vaddr, access, mmu, probe, ERR_P);
        }
        /* A page that is entered for reading stays unwritable until D is set by a write. */
        dirty = w.entry[w.n - 1] & PTE_D || (access == JIT_WRITE && !probe);
    } while (!set_accessed(c, &w, dirty));
    page->write &= dirty;
    page->phys = a20(c, w.phys);
    page->leaf_size = w.leaf;
    page->global = w.g && c->cr4 & CR4_PGE;
    return true;
}

bool x86_load_pdptes(X86Cpu *c, uint64_t cr3)
{
    uint64_t rsvd = (~x86_phys_mask(c) & ~0ull) | 0x1e6, e[4];

    for (unsigned i = 0; i < 4; i++) {
        e[i] = jit_phys_load(&c->vcpu, a20(c, (cr3 & 0xffffffe0) + i * 8), 8);
        if (e[i] & PTE_P && e[i] & rsvd) {
            return false;
        }
    }
    memcpy(c->pdpte, e, sizeof(e));
    return true;
}

/* ---- debuggers ---- */

uint64_t x86_debug_translate(VCpu *cpu, uint64_t vaddr)
{
    X86Cpu *c = x86(cpu);
    Walk w;

    if (!(c->cr0 & CR0_PG)) {
        return a20(c, (uint32_t)vaddr);
    }
    if (x86_lma(c) ? !x86_canonical(vaddr) : vaddr >> 32 && vaddr >> 32 != 0xffffffff) {
        return UINT64_MAX;
    }
    if (!do_walk(c, &w, x86_lma(c) ? vaddr : (uint32_t)vaddr, true)) {
        return UINT64_MAX;
    }
    return a20(c, w.phys | (vaddr & MEM_PAGE_MASK));
}

/* All present leaves in address order: `info tlb`, or merged into ranges: `info mem`. */
typedef struct Dump {
    GString *s;
    bool ranges;
    int digits;
    uint64_t start, end;
    int prot; /* of the open range, -1 = none */
    unsigned lines, tables;
} Dump;
enum { DUMP_MAX_LINES = 200000, DUMP_MAX_TABLES = 100000 }; /* tables may map themselves */

static void dump_range_end(Dump *d)
{
    if (d->prot >= 0) {
        g_string_append_printf(d->s, "%0*" PRIx64 "-%0*" PRIx64 " %0*" PRIx64 " %c%c%c\n",
                               d->digits, d->start, d->digits, d->end, d->digits, d->end - d->start,
                               d->prot & PTE_U ? 'u' : '-', 'r', d->prot & PTE_W ? 'w' : '-');
        d->lines++;
    }
    d->prot = -1;
}

static void dump_leaf(Dump *d, uint64_t vaddr, uint64_t size, uint64_t phys, uint64_t e, int prot)
{
    if (!d->ranges) {
        g_string_append_printf(d->s, "%0*" PRIx64 ": %016" PRIx64 " %c%c%c%c%c%c%c%c%c\n",
                               d->digits, vaddr, phys, e & PTE_NX ? 'X' : '-',
                               e & PTE_G ? 'G' : '-', size > 4096 ? 'P' : '-',
                               e & PTE_D ? 'D' : '-', e & PTE_A ? 'A' : '-', e & 16 ? 'C' : '-',
                               e & 8 ? 'T' : '-', e & PTE_U ? 'U' : '-', e & PTE_W ? 'W' : '-');
        d->lines++;
        return;
    }
    if (d->prot == prot && d->end == vaddr) {
        d->end += size;
        return;
    }
    dump_range_end(d);
    d->start = vaddr;
    d->end = vaddr + size;
    d->prot = prot;
}

static void dump_table(X86Cpu *c, Dump *d, uint64_t table, uint64_t vbase, int shift, int prot)
{
    bool wide = c->cr4 & CR4_PAE;
    unsigned n = wide ? 512 : 1024, size = wide ? 8 : 4;
    uint64_t mask = wide ? x86_phys_mask(c) & ~MEM_PAGE_MASK : 0xfffff000;

    if (++d->tables > DUMP_MAX_TABLES) {
        return;
    }
    for (unsigned i = 0; i < n && d->lines < DUMP_MAX_LINES; i++) {
        uint64_t e = debug_load(c, a20(c, table + i * size), size);
        uint64_t vaddr = vbase + ((uint64_t)i << shift);
        int p = prot & e;

        if (!(e & PTE_P)) {
            continue;
        }
        if (x86_lma(c) && vaddr >> 47 & 1) {
            vaddr |= 0xffffull << 48;
        }
        if (shift == 12 || (e & PTE_PS && shift < 39 && (wide || c->cr4 & CR4_PSE))) {
            dump_leaf(d, vaddr, 1ull << shift, e & mask & ~((1ull << shift) - 1), e, p);
        } else {
            dump_table(c, d, e & mask, vaddr, shift - (wide ? 9 : 10), p);
        }
    }
}

char *x86_dump_tlb(VCpu *cpu, bool ranges)
{
    X86Cpu *c = x86(cpu);
    Dump d = {.s = g_string_new(NULL), .ranges = ranges, .digits = x86_lma(c) ? 16 : 8, .prot = -1};
    int all = PTE_U | PTE_W;

    if (!(c->cr0 & CR0_PG)) {
        g_string_append(d.s, "PG disabled\n");
    } else if (x86_lma(c)) {
        dump_table(c, &d, c->cr3 & x86_phys_mask(c) & ~MEM_PAGE_MASK, 0, 39, all);
    } else if (c->cr4 & CR4_PAE) {
        for (unsigned i = 0; i < 4; i++) {
            if (c->pdpte[i] & PTE_P) {
                dump_table(c, &d, c->pdpte[i] & x86_phys_mask(c) & ~MEM_PAGE_MASK,
                           (uint64_t)i << 30, 21, all);
            }
        }
    } else {
        dump_table(c, &d, c->cr3 & 0xfffff000, 0, 22, all);
    }
    dump_range_end(&d);
    return g_string_free(d.s, FALSE);
}
