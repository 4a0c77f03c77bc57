/*
 * The software TLB and the slow paths of guest memory accesses.
 *
 * First level: per mmu index a read and a write array that translated code probes. An entry's
 * tag is the page's address; pages that need more than a plain access (devices, ROM writes, pages
 * with a clear dirty bit, watchpoints) are never entered, so they always come here. Second level:
 * JitPageEntry, set associative, holds whatever the walk found. A journal of filled first-level
 * entries makes flushes proportional to use.
 *
 * Dirty bits: a write entry exists only while all bits of the page's dirty byte are set. Whoever
 * clears one asks (made_clean) for the entries to be dropped; as the page may have been written
 * between the clearing and the drop, the drop sets the bits again.
 */
#include "accel/jit/host/host.h"
#include "accel/jit/ir-eval.h"
#include "accel/jit/jit-internal.h"
#include <string.h>

enum { JOURNAL_SIZE = JIT_MAX_MMU * 2 * JIT_TLB_SIZE };
#define NO_PAGE UINT64_MAX

bool jit_tlb_init(JitCpu *j, GError **err)
{
    j->journal[0] = g_new(uint32_t, JOURNAL_SIZE);
    j->journal[1] = g_new(uint32_t, JOURNAL_SIZE);
    j->l1_global = g_malloc0(JOURNAL_SIZE);
    for (unsigned m = 0; m < j->t->n_mmu; m++) {
        for (unsigned w = 0; w < 2; w++) {
            JitTlbEntry *e = jit_tlb_array(j->cpu, m, w);

            /* Of zeroed entries only the first could hit, and the last, when the last byte of an
             * access at the end of the address space is in page 0. */
            e[0].tag = e[JIT_TLB_SIZE - 1].tag = JIT_TLB_INVALID;
        }
    }
    j->gen_global = j->gen_local = 1;
    j->l2 = g_malloc0(sizeof j->l2[0] * JIT_L2_SETS);
    j->large_lo = UINT64_MAX;
    return true;
}

void jit_tlb_fini(JitCpu *j)
{
    g_free(j->l2);
    g_free(j->journal[0]);
    g_free(j->journal[1]);
    g_free(j->l1_global);
}

/* ---- first level ---- */

static JitTlbEntry *journal_entry(JitCpu *j, uint32_t n)
{
    return &jit_tlb_array(j->cpu, n >> (JIT_TLB_BITS + 1),
                          n >> JIT_TLB_BITS & 1)[n & (JIT_TLB_SIZE - 1)];
}

static void l1_flush(JitCpu *j, bool keep_global)
{
    for (unsigned g = 0; g < (keep_global ? 1 : 2); g++) {
        for (unsigned i = 0; i < j->n_journal[g]; i++) {
            uint32_t n = j->journal[g][i];

            if (!keep_global || !j->l1_global[n]) {
                journal_entry(j, n)->tag = JIT_TLB_INVALID;
            }
        }
        j->n_journal[g] = 0;
    }
}

static void l1_fill(JitCpu *j, const JitPageEntry *p, uint64_t vaddr, unsigned mmu, bool write)
{
    uint32_t n = (vaddr >> MEM_PAGE_BITS & (JIT_TLB_SIZE - 1)) | (uint32_t)write << JIT_TLB_BITS |
                 mmu << (JIT_TLB_BITS + 1);
    JitTlbEntry *e = journal_entry(j, n);
    uint64_t page = vaddr & ~MEM_PAGE_MASK;

    if (e->tag == JIT_TLB_INVALID || (e->tag == 0 && (n & (JIT_TLB_SIZE - 1))) ||
        j->l1_global[n] != p->global) {
        if (j->n_journal[p->global] == JOURNAL_SIZE) {
            l1_flush(j, false); /* entries dropped one by one left doubles in the journal */
        }
        j->journal[p->global][j->n_journal[p->global]++] = n;
    }
    e->addend = (uint64_t)(uintptr_t)p->host - page;
    e->tag = page;
    j->l1_global[n] = p->global;
    if (write && p->ram_page < j->m->map_pages) {
        uint32_t bit = jit_vcpu_bit(j->cpu);

        if (!(j->m->write_vcpu[p->ram_page] & bit)) {
            __atomic_or_fetch(&j->m->write_vcpu[p->ram_page], bit, __ATOMIC_SEQ_CST);
        }
    }
}

static void fill_read(JitCpu *j, const JitPageEntry *p, uint64_t vaddr, unsigned mmu)
{
    if (p->host && !p->watched && (p->perm & JIT_PERM_R)) {
        l1_fill(j, p, vaddr, mmu, false);
    }
}

static void fill_write(JitCpu *j, const JitPageEntry *p, uint64_t vaddr, unsigned mmu)
{
    if (p->host && !p->rom && !p->watched && (p->perm & JIT_PERM_W) &&
        __atomic_load_n(p->dirty, __ATOMIC_RELAXED) == MEM_DIRTY_ALL) {
        l1_fill(j, p, vaddr, mmu, true);
    }
}

void jit_tlb_drop_writes(JitCpu *j, const uint8_t *host, uint64_t len)
{
    for (unsigned g = 0; g < 2; g++) {
        for (unsigned i = 0; i < j->n_journal[g]; i++) {
            uint32_t n = j->journal[g][i];
            JitTlbEntry *e = journal_entry(j, n);

            if ((n >> JIT_TLB_BITS & 1) && e->tag != JIT_TLB_INVALID &&
                e->addend + e->tag - (uintptr_t)host < len) {
                e->tag = JIT_TLB_INVALID;
            }
        }
    }
}

/* ---- second level ---- */

static bool range_is_host(const FlatRange *r, uint64_t page)
{
    return (r->region->kind == MEM_RAM || r->region->kind == MEM_ROM) && r->addr <= page &&
           r->addr + r->size - page >= MEM_PAGE_SIZE &&
           !((r->off + (page - r->addr)) & MEM_PAGE_MASK);
}

static bool page_watched(JitCpu *j, uint64_t page)
{
    GArray *w = j->cpu->watchpoints;

    for (unsigned i = 0; w && i < w->len; i++) {
        const VCpuWatch *x = &g_array_index(w, VCpuWatch, i);

        if (x->addr < page + MEM_PAGE_SIZE && x->addr + x->len > page) {
            return true;
        }
    }
    return false;
}

static void describe(JitCpu *j, JitPageEntry *e, uint64_t vaddr, unsigned mmu, const JitPage *p)
{
    const FlatRange *r = mem_view_find(j->view, p->phys);

    *e = (JitPageEntry){
        .vpage = (vaddr & ~MEM_PAGE_MASK) | mmu,
        .phys = p->phys,
        .perm =
            (p->read ? JIT_PERM_R : 0) | (p->write ? JIT_PERM_W : 0) | (p->exec ? JIT_PERM_X : 0),
        .global = p->global,
        .gen = p->global ? j->gen_global : j->gen_local,
        .leaf_bits = 63 - __builtin_clzll(p->leaf_size | MEM_PAGE_SIZE),
        .ram_page = UINT64_MAX,
        .watched = page_watched(j, vaddr & ~MEM_PAGE_MASK),
    };
    if (r && range_is_host(r, p->phys)) {
        uint64_t off = r->off + (p->phys - r->addr);

        e->host = r->region->host + off;
        e->dirty = r->region->dirty + (off >> MEM_PAGE_BITS);
        e->ram_page = (r->region->ram_index + off) >> MEM_PAGE_BITS;
        e->rom = r->readonly || r->region->kind == MEM_ROM || r->region->readonly;
    }
    if (p->leaf_size > MEM_PAGE_SIZE) {
        uint64_t lo = vaddr & -p->leaf_size, hi = lo + p->leaf_size - 1;

        j->large_lo = MIN(j->large_lo, lo);
        j->large_hi = MAX(j->large_hi, hi);
        j->large_bits = MAX(j->large_bits, e->leaf_bits);
    }
}

static unsigned l2_set(uint64_t vpage)
{
    uint64_t p = vpage >> MEM_PAGE_BITS;

    return (p ^ p >> 12 ^ (vpage & 15) << 8) & (JIT_L2_SETS - 1);
}

static bool l2_valid(const JitCpu *j, const JitPageEntry *e)
{
    return e->gen && e->gen == (e->global ? j->gen_global : j->gen_local);
}

JitPageEntry *jit_page(JitCpu *j, uint64_t vaddr, JitAccess access, unsigned mmu, bool probe)
{
    uint64_t vpage = (vaddr & ~MEM_PAGE_MASK) | mmu;
    unsigned need = access == JIT_READ ? JIT_PERM_R : access == JIT_WRITE ? JIT_PERM_W : JIT_PERM_X;
    JitPageEntry *set = j->l2[l2_set(vpage)], *e = NULL;
    JitPage p = {0};

    for (unsigned w = 0; j->o->victim && w < JIT_L2_WAYS; w++) {
        if (set[w].vpage == vpage && l2_valid(j, &set[w])) {
            if (set[w].perm & need) {
                j->st.tlb_fills++;
                return &set[w];
            }
            e = &set[w];
            break;
        }
    }
    j->st.tlb_walks++;
    if (!j->t->walk(j->cpu, vaddr, access, mmu, probe, &p)) {
        return NULL;
    }
    if (!j->o->victim) {
        e = &j->uncached;
    } else if (!e) {
        for (unsigned w = 0; w < JIT_L2_WAYS && !e; w++) {
            if (!l2_valid(j, &set[w])) {
                e = &set[w];
            }
        }
        if (!e) {
            e = &set[j->l2_next[(set - j->l2[0]) / JIT_L2_WAYS]++ % JIT_L2_WAYS];
        }
    }
    p.phys &= ~MEM_PAGE_MASK;
    describe(j, e, vaddr, mmu, &p);
    return e;
}

static JitPageEntry *page_or_raise(JitCpu *j, uint64_t vaddr, JitAccess access, unsigned mmu)
{
    JitPageEntry *e = jit_page(j, vaddr, access, mmu, false);

    if (!e) {
        jit_raise(j->cpu);
    }
    return e;
}

/* ---- flushing ---- */

static void l2_flush(JitCpu *j, bool keep_global)
{
    j->gen_local++;
    if (!keep_global) {
        j->gen_global++;
        j->large_lo = UINT64_MAX;
        j->large_hi = 0;
        j->large_bits = 0;
    }
    if (j->gen_local == 0 || j->gen_global == 0) { /* the counters wrapped */
        memset(j->l2, 0, sizeof j->l2[0] * JIT_L2_SETS);
        j->gen_local = j->gen_global = 1;
    }
}

void jit_tlb_flush_all(JitCpu *j)
{
    j->st.tlb_flushes++;
    l1_flush(j, false);
    l2_flush(j, false);
    j->fetch_page = NO_PAGE;
    jit_fetch_flush(j);
}

void jit_tlb_flush(VCpu *cpu, bool keep_global)
{
    JitCpu *j = jit_cpu(cpu);

    if (!j) { /* the target resets itself before the accelerator is there */
        return;
    }
    j->st.tlb_flushes++;
    l1_flush(j, keep_global);
    l2_flush(j, keep_global);
    j->fetch_page = NO_PAGE;
    if (keep_global) {
        jit_fetch_flush_local(j);
    } else {
        jit_fetch_flush(j);
    }
}

/* A large page may be in the TLB in pieces: drop all of them. */
static void flush_range(JitCpu *j, uint64_t lo, uint64_t size)
{
    for (unsigned g = 0; g < 2; g++) {
        for (unsigned i = 0; i < j->n_journal[g]; i++) {
            JitTlbEntry *e = journal_entry(j, j->journal[g][i]);

            if (e->tag - lo < size) {
                e->tag = JIT_TLB_INVALID;
            }
        }
    }
    for (unsigned s = 0; s < JIT_L2_SETS; s++) {
        for (unsigned w = 0; w < JIT_L2_WAYS; w++) {
            if (j->l2[s][w].vpage - lo < size) {
                j->l2[s][w].gen = 0;
            }
        }
    }
}

void jit_tlb_flush_page(VCpu *cpu, uint64_t vaddr)
{
    JitCpu *j = jit_cpu(cpu);
    uint64_t page = vaddr & ~MEM_PAGE_MASK;
    unsigned n = page >> MEM_PAGE_BITS;

    if (!j) {
        return;
    }
    j->st.tlb_flush_pages++;
    j->fetch_page = NO_PAGE;
    if (vaddr >= j->large_lo && vaddr <= j->large_hi) {
        flush_range(j, vaddr & -(1ull << j->large_bits), 1ull << j->large_bits);
        jit_fetch_flush(j);
        return;
    }
    for (unsigned m = 0; m < j->t->n_mmu; m++) {
        JitPageEntry *set = j->l2[l2_set(page | m)];

        for (unsigned w = 0; w < 2; w++) {
            JitTlbEntry *e = &jit_tlb_array(cpu, m, w)[n & (JIT_TLB_SIZE - 1)];

            if (e->tag == page) {
                e->tag = JIT_TLB_INVALID;
            }
        }
        for (unsigned w = 0; w < JIT_L2_WAYS; w++) {
            if (set[w].vpage == (page | m)) {
                set[w].gen = 0;
            }
        }
    }
    uint64_t seen = j->fetch_seen[n % JIT_SEEN];

    if (seen == (page >> MEM_PAGE_BITS) + 1 || seen == JIT_SEEN_MORE) {
        jit_fetch_flush_page(j, page);
    }
}

void jit_view_update(JitCpu *j)
{
    FlatView *old = j->view;

    __atomic_store_n(&j->view_changed, 0, __ATOMIC_SEQ_CST);
    j->view = mem_view_get(j->m->m->memory);
    j->phys_range = NULL;
    j->st.view_changes++;
    jit_tlb_flush_all(j);
    mem_view_put(old);
}

/* ---- devices ---- */

static uint64_t io_load(JitCpu *j, uint64_t phys, unsigned size)
{
    uint32_t fp;
    uint64_t v;

    if (G_UNLIKELY(j->checking)) {
        jit_unwind(j, JIT_EXIT_LEAVE);
    }
    fp = jit_host_fp_begin();
    j->st.mem_io++;
    v = mem_view_load(j->view, phys, size, false);
    jit_host_fp_end(fp);
    if (__atomic_load_n(&j->view_changed, __ATOMIC_RELAXED)) {
        jit_view_update(j);
    }
    return v;
}

static void io_store(JitCpu *j, uint64_t phys, uint64_t v, unsigned size)
{
    uint32_t fp;

    if (G_UNLIKELY(j->checking)) {
        jit_unwind(j, JIT_EXIT_LEAVE);
    }
    fp = jit_host_fp_begin();
    j->st.mem_io++;
    mem_view_store(j->view, phys, v, size, false);
    jit_host_fp_end(fp);
    if (__atomic_load_n(&j->view_changed, __ATOMIC_RELAXED)) {
        jit_view_update(j);
    }
}

/* ---- one access inside a page ---- */

static void watch(JitCpu *j, const JitPageEntry *e, uint64_t addr, unsigned size, bool write)
{
    GArray *w = j->cpu->watchpoints;

    for (unsigned i = 0; e->watched && w && i < w->len; i++) {
        const VCpuWatch *x = &g_array_index(w, VCpuWatch, i);

        if (x->addr < addr + size && x->addr + x->len > addr &&
            (write ? x->on_write : x->on_read)) {
            j->cpu->debug_hit = VCPU_DEBUG_WATCH;
            j->cpu->debug_addr = addr;
        }
    }
}

/* Guest addresses need not be aligned; each of these is still one host access. */
typedef uint16_t __attribute__((aligned(1), may_alias)) Any16;
typedef uint32_t __attribute__((aligned(1), may_alias)) Any32;
typedef uint64_t __attribute__((aligned(1), may_alias)) Any64;

static uint64_t host_load(const void *p, unsigned size)
{
    uint64_t v = 0;

    switch (size) {
    case 1:
        return *(const uint8_t *)p;
    case 2:
        return *(const Any16 *)p;
    case 4:
        return *(const Any32 *)p;
    case 8:
        return *(const Any64 *)p;
    default:
        memcpy(&v, p, size);
        return v;
    }
}

static void host_store(void *p, uint64_t v, unsigned size)
{
    switch (size) {
    case 1:
        *(uint8_t *)p = v;
        break;
    case 2:
        *(Any16 *)p = v;
        break;
    case 4:
        *(Any32 *)p = v;
        break;
    case 8:
        *(Any64 *)p = v;
        break;
    default:
        memcpy(p, &v, size);
    }
}

/* @size bytes inside one page. @rmw: must be writable. */
static uint64_t load_in_page(JitCpu *j, uint64_t addr, unsigned size, unsigned mmu, bool rmw)
{
    JitPageEntry *e = page_or_raise(j, addr, rmw ? JIT_WRITE : JIT_READ, mmu);
    unsigned off = addr & MEM_PAGE_MASK;
    uint64_t v = 0;

    watch(j, e, addr, size, false);
    if (e->host) {
        if (j->o->fasttlb) {
            if (rmw) {
                fill_write(j, e, addr, mmu);
            } else {
                fill_read(j, e, addr, mmu);
            }
        }
        return host_load(e->host + off, size);
    }
    if (size == 1 || size == 2 || size == 4 || size == 8) {
        return io_load(j, e->phys + off, size);
    }
    uint64_t phys = e->phys + off;

    for (unsigned i = 0; i < size; i++) {
        v |= io_load(j, phys + i, 1) << i * 8;
    }
    return v;
}

/* Before a write of RAM: overwritten code. May not return (the instruction runs again alone). */
static void before_write(JitCpu *j, const JitPageEntry *e, unsigned off, unsigned size)
{
    if (G_UNLIKELY(j->checking) && e->host && !e->rom) {
        jit_check_store(j, e->host + off, size,
                        !(__atomic_load_n(e->dirty, __ATOMIC_RELAXED) & MEM_DIRTY_CODE));
        return;
    }
    if (e->host && !e->rom && !(__atomic_load_n(e->dirty, __ATOMIC_RELAXED) & MEM_DIRTY_CODE)) {
        jit_code_written(j, e->ram_page, off, size, true);
    }
}

static void after_write(JitCpu *j, const JitPageEntry *e, uint64_t addr, unsigned size,
                        unsigned mmu)
{
    const uint8_t others = MEM_DIRTY_ALL & ~MEM_DIRTY_CODE;

    if (!(__atomic_load_n(e->dirty, __ATOMIC_SEQ_CST) & MEM_DIRTY_CODE) && !j->checking) {
        jit_code_written_tell(j, e->ram_page, addr & MEM_PAGE_MASK, size);
    }
    if ((__atomic_load_n(e->dirty, __ATOMIC_RELAXED) & others) != others) {
        __atomic_or_fetch(e->dirty, others, __ATOMIC_SEQ_CST);
    }
    if (j->o->fasttlb) {
        fill_write(j, e, addr, mmu);
    }
}

static void store_in_page(JitCpu *j, uint64_t addr, uint64_t v, unsigned size, unsigned mmu)
{
    JitPageEntry *e = page_or_raise(j, addr, JIT_WRITE, mmu);
    unsigned off = addr & MEM_PAGE_MASK;

    watch(j, e, addr, size, true);
    if (e->host && !e->rom) {
        before_write(j, e, off, size);
        host_store(e->host + off, v, size);
        after_write(j, e, addr, size, mmu);
    } else if (size == 1 || size == 2 || size == 4 || size == 8) {
        io_store(j, e->phys + off, v, size);
    } else {
        uint64_t phys = e->phys + off;

        for (unsigned i = 0; i < size; i++) {
            io_store(j, phys + i, v >> i * 8 & 0xff, 1);
        }
    }
}

/* ---- any access ---- */

static bool crosses(uint64_t addr, unsigned size)
{
    return (addr & MEM_PAGE_MASK) + size > MEM_PAGE_SIZE;
}

static uint64_t load_any(JitCpu *j, uint64_t addr, unsigned size, unsigned mmu, bool rmw)
{
    unsigned first;
    uint64_t lo, hi;

    if (!crosses(addr, size)) {
        return load_in_page(j, addr, size, mmu, rmw);
    }
    first = MEM_PAGE_SIZE - (addr & MEM_PAGE_MASK);
    page_or_raise(j, addr, rmw ? JIT_WRITE : JIT_READ, mmu);
    page_or_raise(j, addr + first, rmw ? JIT_WRITE : JIT_READ, mmu);
    lo = load_in_page(j, addr, first, mmu, rmw);
    hi = load_in_page(j, addr + first, size - first, mmu, rmw);
    return lo | hi << first * 8;
}

static void store_any(JitCpu *j, uint64_t addr, uint64_t v, unsigned size, unsigned mmu)
{
    unsigned first;
    JitPageEntry a, b;

    if (!crosses(addr, size)) {
        store_in_page(j, addr, v, size, mmu);
        return;
    }
    /* Everything that can end the instruction comes before the first byte is written. */
    first = MEM_PAGE_SIZE - (addr & MEM_PAGE_MASK);
    a = *page_or_raise(j, addr, JIT_WRITE, mmu);
    b = *page_or_raise(j, addr + first, JIT_WRITE, mmu);
    before_write(j, &a, addr & MEM_PAGE_MASK, first);
    before_write(j, &b, 0, size - first);
    store_in_page(j, addr, ir_zext(v, first), first, mmu);
    store_in_page(j, addr + first, v >> first * 8, size - first, mmu);
}

static unsigned mem_mmu(unsigned mem)
{
    return mem >> IRM_MMU_SHIFT & 15;
}

static void check_align(JitCpu *j, uint64_t addr, unsigned mem, JitAccess access)
{
    if ((mem & IRM_ALIGN) && (addr & ((1u << (mem & IRM_SIZE)) - 1))) {
        j->t->set_align_fault(j->cpu, addr, access, mem_mmu(mem));
        jit_raise(j->cpu);
    }
}

static uint64_t swap(uint64_t v, unsigned size)
{
    return __builtin_bswap64(v) >> (64 - size * 8);
}

uint64_t jit_mem_load(JitCpu *j, uint64_t addr, unsigned mem, IrType t)
{
    unsigned size = 1u << (mem & IRM_SIZE);
    uint64_t v;

    check_align(j, addr, mem, mem & IRM_RMW ? JIT_WRITE : JIT_READ);
    v = load_any(j, addr, size, mem_mmu(mem), mem & IRM_RMW);
    if (mem & IRM_BE) {
        v = swap(v, size);
    }
    if (mem & IRM_SIGN) {
        v = ir_sext(v, size);
    }
    return ir_mask(t, v);
}

void jit_mem_store(JitCpu *j, uint64_t addr, unsigned mem, uint64_t v)
{
    unsigned size = 1u << (mem & IRM_SIZE);

    check_align(j, addr, mem, JIT_WRITE);
    v = ir_zext(v, size);
    store_any(j, addr, mem & IRM_BE ? swap(v, size) : v, size, mem_mmu(mem));
}

void jit_mem_load_vec(JitCpu *j, uint64_t addr, unsigned mem, void *v)
{
    unsigned size = 1u << (mem & IRM_SIZE), mmu = mem_mmu(mem);
    uint64_t q[2] = {0, 0};
    bool rmw = mem & IRM_RMW;

    check_align(j, addr, mem, rmw ? JIT_WRITE : JIT_READ);
    if (size < 16) {
        q[0] = load_any(j, addr, size, mmu, rmw);
    } else if (!crosses(addr, 16)) {
        JitPageEntry *e = page_or_raise(j, addr, rmw ? JIT_WRITE : JIT_READ, mmu);

        if (e->host && !e->watched) {
            memcpy(q, e->host + (addr & MEM_PAGE_MASK), 16);
            if (j->o->fasttlb) {
                if (rmw) {
                    fill_write(j, e, addr, mmu);
                } else {
                    fill_read(j, e, addr, mmu);
                }
            }
        } else {
            q[0] = load_any(j, addr, 8, mmu, rmw);
            q[1] = load_any(j, addr + 8, 8, mmu, rmw);
        }
    } else {
        page_or_raise(j, addr, rmw ? JIT_WRITE : JIT_READ, mmu);
        page_or_raise(j, addr + 15, rmw ? JIT_WRITE : JIT_READ, mmu);
        q[0] = load_any(j, addr, 8, mmu, rmw);
        q[1] = load_any(j, addr + 8, 8, mmu, rmw);
    }
    memcpy(v, q, 16);
}

void jit_mem_store_vec(JitCpu *j, uint64_t addr, unsigned mem, const void *v)
{
    unsigned size = 1u << (mem & IRM_SIZE), mmu = mem_mmu(mem);
    JitPageEntry a, b;
    uint64_t q[2];

    memcpy(q, v, 16);
    check_align(j, addr, mem, JIT_WRITE);
    if (size < 16) {
        store_any(j, addr, ir_zext(q[0], size), size, mmu);
        return;
    }
    a = *page_or_raise(j, addr, JIT_WRITE, mmu);
    if (crosses(addr, 16)) {
        unsigned first = MEM_PAGE_SIZE - (addr & MEM_PAGE_MASK);

        b = *page_or_raise(j, addr + first, JIT_WRITE, mmu);
        before_write(j, &a, addr & MEM_PAGE_MASK, first);
        before_write(j, &b, 0, 16 - first);
    } else if (a.host && !a.rom && !a.watched) {
        unsigned off = addr & MEM_PAGE_MASK;

        before_write(j, &a, off, 16);
        memcpy(a.host + off, q, 16);
        after_write(j, &a, addr, 16, mmu);
        return;
    }
    store_any(j, addr, q[0], 8, mmu);
    store_any(j, addr + 8, q[1], 8, mmu);
}

/* ---- atomics ---- */

static uint64_t atomic_result(IrAtomic op, uint64_t old, uint64_t v, uint64_t expected)
{
    switch (op) {
    case IRA_XCHG:
        return v;
    case IRA_ADD:
        return old + v;
    case IRA_AND:
        return old & v;
    case IRA_OR:
        return old | v;
    case IRA_XOR:
        return old ^ v;
    default:
        return old == expected ? v : old;
    }
}

#define ATOMIC_LOOP(T)                                                                             \
    do {                                                                                           \
        T *p = host;                                                                               \
        T old = __atomic_load_n(p, __ATOMIC_RELAXED), now;                                         \
        do {                                                                                       \
            now = (T)atomic_result(op, old, (T)v, (T)expected);                                    \
        } while (!__atomic_compare_exchange_n(p, &old, now, false, __ATOMIC_SEQ_CST,               \
                                              __ATOMIC_SEQ_CST));                                  \
        return old;                                                                                \
    } while (0)

/* The host locks across cache lines where the guest does not align. */
__attribute__((no_sanitize("alignment"))) static uint64_t
host_atomic(IrAtomic op, void *host, unsigned size, uint64_t v, uint64_t expected)
{
    switch (size) {
    case 1:
        ATOMIC_LOOP(uint8_t);
    case 2:
        ATOMIC_LOOP(uint16_t);
    case 4:
        ATOMIC_LOOP(uint32_t);
    default:
        ATOMIC_LOOP(uint64_t);
    }
}

uint64_t jit_mem_atomic(JitCpu *j, IrAtomic op, uint64_t addr, unsigned mem, uint64_t v,
                        uint64_t expected)
{
    unsigned size = 1u << (mem & IRM_SIZE), mmu = mem_mmu(mem);
    JitPageEntry e;
    uint64_t old;

    check_align(j, addr, mem, JIT_WRITE);
    e = *page_or_raise(j, addr, JIT_WRITE, mmu);
    v = ir_zext(v, size);
    expected = ir_zext(expected, size);
    if (!crosses(addr, size) && e.host && !e.rom && !e.watched) {
        unsigned off = addr & MEM_PAGE_MASK;

        before_write(j, &e, off, size);
        if (mem & IRM_BE) {
            uint64_t seen = swap(host_load(e.host + off, size), size);

            do {
                old = seen;
                seen = swap(host_atomic(IRA_CMPXCHG, e.host + off, size,
                                        swap(atomic_result(op, old, v, expected), size),
                                        swap(old, size)),
                            size);
            } while (seen != old);
        } else {
            old = host_atomic(op, e.host + off, size, v, expected);
        }
        after_write(j, &e, addr, size, mmu);
        return old;
    }
    /* Across pages or to a device: atomic among those that do the same. Checks come first,
     * because nothing may leave while the lock is held. */
    if (crosses(addr, size)) {
        JitPageEntry b = *page_or_raise(j, addr + size - 1, JIT_WRITE, mmu);
        unsigned first = MEM_PAGE_SIZE - (addr & MEM_PAGE_MASK);

        before_write(j, &e, addr & MEM_PAGE_MASK, first);
        before_write(j, &b, 0, size - first);
    }
    g_mutex_lock(&j->m->atomic_lock);
    old = load_any(j, addr, size, mmu, true);
    if (mem & IRM_BE) {
        old = swap(old, size);
    }
    v = ir_zext(atomic_result(op, old, v, expected), size);
    store_any(j, addr, mem & IRM_BE ? swap(v, size) : v, size, mmu);
    g_mutex_unlock(&j->m->atomic_lock);
    return old;
}

uint64_t jit_slow(VCpu *cpu, uint64_t addr, uint64_t val, uint32_t opword)
{
    JitCpu *j = jit_cpu(cpu);
    JitSlowOp op;

    memcpy(&op, &opword, sizeof op);
    j->st.mem_slow++;
    switch (op.kind) {
    case JIT_SLOW_LD:
        return jit_mem_load(j, addr, op.mem, op.type_atomic & 15);
    case JIT_SLOW_ST:
        jit_mem_store(j, addr, op.mem, val);
        return 0;
    case JIT_SLOW_VLD:
        jit_mem_load_vec(j, addr, op.mem, jit_host_vec_buf(j));
        return 0;
    case JIT_SLOW_VST:
        jit_mem_store_vec(j, addr, op.mem, jit_host_vec_buf(j));
        return 0;
    default:
        return jit_mem_atomic(j, op.type_atomic >> 4, addr, op.mem, val, jit_host_expected(j));
    }
}

/* ---- for helpers ---- */

uint64_t jit_load(VCpu *cpu, uint64_t vaddr, unsigned size, unsigned mmu)
{
    const JitTlbEntry *e =
        &jit_tlb_array(cpu, mmu, false)[vaddr >> MEM_PAGE_BITS & (JIT_TLB_SIZE - 1)];

    if (e->tag == ((vaddr + size - 1) & ~MEM_PAGE_MASK)) {
        return host_load((const void *)(uintptr_t)(vaddr + e->addend), size);
    }
    return load_any(jit_cpu(cpu), vaddr, size, mmu, false);
}

void jit_store(VCpu *cpu, uint64_t vaddr, uint64_t val, unsigned size, unsigned mmu)
{
    const JitTlbEntry *e =
        &jit_tlb_array(cpu, mmu, true)[vaddr >> MEM_PAGE_BITS & (JIT_TLB_SIZE - 1)];

    if (e->tag == ((vaddr + size - 1) & ~MEM_PAGE_MASK)) {
        host_store((void *)(uintptr_t)(vaddr + e->addend), val, size);
        return;
    }
    store_any(jit_cpu(cpu), vaddr, ir_zext(val, size), size, mmu);
}

void jit_probe(VCpu *cpu, uint64_t vaddr, unsigned size, JitAccess access, unsigned mmu)
{
    JitCpu *j = jit_cpu(cpu);

    page_or_raise(j, vaddr, access, mmu);
    if (size && crosses(vaddr, size)) {
        page_or_raise(j, vaddr + size - 1, access, mmu);
    }
}

void *jit_host_ptr(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu)
{
    JitCpu *j = jit_cpu(cpu);
    bool write = access == JIT_WRITE;
    const JitTlbEntry *t =
        &jit_tlb_array(cpu, mmu, write)[vaddr >> MEM_PAGE_BITS & (JIT_TLB_SIZE - 1)];
    JitPageEntry *e;

    if (access != JIT_EXEC && t->tag == (vaddr & ~MEM_PAGE_MASK)) {
        return (void *)(uintptr_t)(vaddr + t->addend);
    }
    e = page_or_raise(j, vaddr, access, mmu);
    if (!e->host || e->watched || (write && e->rom)) {
        return NULL;
    }
    if (write) {
        uint8_t d = __atomic_load_n(e->dirty, __ATOMIC_RELAXED);

        if (!(d & MEM_DIRTY_CODE)) {
            return NULL;
        }
        /* The write will come: from now on the page counts as written. */
        if (d != MEM_DIRTY_ALL) {
            __atomic_or_fetch(e->dirty, MEM_DIRTY_ALL & ~MEM_DIRTY_CODE, __ATOMIC_SEQ_CST);
        }
        if (j->o->fasttlb) {
            fill_write(j, e, vaddr, mmu);
        }
    } else if (j->o->fasttlb && access == JIT_READ) {
        fill_read(j, e, vaddr, mmu);
    }
    return e->host + (vaddr & MEM_PAGE_MASK);
}

static bool host_cas16(void *p, const uint64_t expect[2], const uint64_t desired[2],
                       uint64_t old[2])
{
#ifdef __x86_64__
    bool ok;
    uint64_t lo = expect[0], hi = expect[1];

    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(ok), "+m"(*(unsigned __int128 *)p), "+a"(lo), "+d"(hi)
                     : "b"(desired[0]), "c"(desired[1])
                     : "memory");
    old[0] = lo;
    old[1] = hi;
    return ok;
#else
    unsigned __int128 e = (unsigned __int128)expect[1] << 64 | expect[0];
    unsigned __int128 d = (unsigned __int128)desired[1] << 64 | desired[0];
    bool ok = __atomic_compare_exchange_n((unsigned __int128 *)p, &e, d, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST);

    old[0] = (uint64_t)e;
    old[1] = (uint64_t)(e >> 64);
    return ok;
#endif
}

bool jit_cas16(VCpu *cpu, uint64_t vaddr, const uint64_t expect[2], const uint64_t desired[2],
               uint64_t old[2], unsigned mmu)
{
    JitCpu *j = jit_cpu(cpu);
    JitPageEntry e = *page_or_raise(j, vaddr, JIT_WRITE, mmu);
    bool ok;

    if (e.host && !e.rom && !e.watched && !(vaddr & 15)) {
        before_write(j, &e, vaddr & MEM_PAGE_MASK, 16);
        ok = host_cas16(e.host + (vaddr & MEM_PAGE_MASK), expect, desired, old);
        after_write(j, &e, vaddr, 16, mmu);
        return ok;
    }
    if (crosses(vaddr, 16)) {
        JitPageEntry b = *page_or_raise(j, vaddr + 15, JIT_WRITE, mmu);
        unsigned first = MEM_PAGE_SIZE - (vaddr & MEM_PAGE_MASK);

        before_write(j, &e, vaddr & MEM_PAGE_MASK, first);
        before_write(j, &b, 0, 16 - first);
    }
    before_write(j, &e, vaddr & MEM_PAGE_MASK, MIN(16, MEM_PAGE_SIZE - (vaddr & MEM_PAGE_MASK)));
    g_mutex_lock(&j->m->atomic_lock);
    old[0] = load_any(j, vaddr, 8, mmu, true);
    old[1] = load_any(j, vaddr + 8, 8, mmu, true);
    ok = old[0] == expect[0] && old[1] == expect[1];
    store_any(j, vaddr, ok ? desired[0] : old[0], 8, mmu);
    store_any(j, vaddr + 8, ok ? desired[1] : old[1], 8, mmu);
    g_mutex_unlock(&j->m->atomic_lock);
    return ok;
}

/* ---- physical, for page walks ---- */

static uint8_t *phys_host(JitCpu *j, uint64_t paddr, unsigned size, const FlatRange **range)
{
    const FlatRange *r = j->phys_range;

    if (!r || paddr - r->addr >= r->size) {
        j->phys_range = r = mem_view_find(j->view, paddr);
    }
    *range = r;
    if (!r || (r->region->kind != MEM_RAM && r->region->kind != MEM_ROM) ||
        r->addr + r->size - paddr < size) {
        return NULL;
    }
    return r->region->host + r->off + (paddr - r->addr);
}

uint64_t jit_phys_load(VCpu *cpu, uint64_t paddr, unsigned size)
{
    JitCpu *j = jit_cpu(cpu);
    const FlatRange *r;
    uint8_t *p = phys_host(j, paddr, size, &r);

    return p ? host_load(p, size) : io_load(j, paddr, size);
}

/* The CPU itself wrote RAM at @p: dirty bits, code. */
static void phys_written(JitCpu *j, const FlatRange *r, uint64_t paddr, unsigned size)
{
    uint64_t off = r->off + (paddr - r->addr);
    uint8_t *d = &r->region->dirty[off >> MEM_PAGE_BITS];
    const uint8_t others = MEM_DIRTY_ALL & ~MEM_DIRTY_CODE;

    if (!(__atomic_load_n(d, __ATOMIC_RELAXED) & MEM_DIRTY_CODE)) {
        jit_code_written(j, (r->region->ram_index + off) >> MEM_PAGE_BITS, off & MEM_PAGE_MASK,
                         size, false);
        jit_code_written_tell(j, (r->region->ram_index + off) >> MEM_PAGE_BITS, off & MEM_PAGE_MASK,
                              size);
    }
    if ((__atomic_load_n(d, __ATOMIC_RELAXED) & others) != others) {
        __atomic_or_fetch(d, others, __ATOMIC_SEQ_CST);
    }
}

void jit_phys_store(VCpu *cpu, uint64_t paddr, uint64_t val, unsigned size)
{
    JitCpu *j = jit_cpu(cpu);
    const FlatRange *r;
    uint8_t *p = phys_host(j, paddr, size, &r);

    if (!p) {
        io_store(j, paddr, val, size);
    } else if (r->region->kind == MEM_RAM && !r->readonly) {
        host_store(p, val, size);
        phys_written(j, r, paddr, size);
    }
}

bool jit_phys_cas(VCpu *cpu, uint64_t paddr, uint64_t old, uint64_t now, unsigned size)
{
    JitCpu *j = jit_cpu(cpu);
    const FlatRange *r;
    uint8_t *p = phys_host(j, paddr, size, &r);

    if (!p || r->region->kind != MEM_RAM || r->readonly) {
        return true; /* tables in ROM or a device: accessed bits cannot be set */
    }
    if (host_atomic(IRA_CMPXCHG, p, size, now, old) != ir_zext(old, size)) {
        return false;
    }
    phys_written(j, r, paddr, size);
    return true;
}

/* ---- code fetch ---- */

void jit_tlb_protect(JitCpu *j, const JitPageEntry *e)
{
    uint32_t *who = &j->m->write_vcpu[e->ram_page];

    __atomic_and_fetch(e->dirty, (uint8_t)~MEM_DIRTY_CODE, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(who, __ATOMIC_SEQ_CST) & jit_vcpu_bit(j->cpu)) {
        jit_tlb_drop_writes(j, e->host, MEM_PAGE_SIZE);
        __atomic_and_fetch(who, ~jit_vcpu_own(j->cpu), __ATOMIC_SEQ_CST);
    }
    if (__atomic_load_n(who, __ATOMIC_SEQ_CST)) {
        jit_others_protect(j, e);
    }
}

bool jit_fetch_page(JitCpu *j, uint64_t linear)
{
    uint64_t page = linear & ~MEM_PAGE_MASK;
    JitPageEntry *e;

    if (j->n_block_pages == 2) {
        return false; /* a block covers two pages at most */
    }
    e = jit_page(j, linear, JIT_EXEC, j->fetch_mmu, true);
    if (!e) {
        return false;
    }
    j->fetch_page = page;
    j->fetch_entry = *e;
    j->block_page[j->n_block_pages++] = *e;
    j->fetch_granule = UINT64_MAX;
    if (!e->host || e->ram_page >= j->m->map_pages) {
        j->block_io = true;
    }
    return true;
}

bool jit_fetch(VCpu *cpu, uint64_t linear, uint8_t *byte)
{
    JitCpu *j = jit_cpu(cpu);
    const JitPageEntry *e = &j->fetch_entry;
    unsigned off = linear & MEM_PAGE_MASK;

    if (G_UNLIKELY((linear & ~MEM_PAGE_MASK) != j->fetch_page) && !jit_fetch_page(j, linear)) {
        return false;
    }
    if (G_UNLIKELY(j->block_io) && !e->host) {
        *byte = io_load(j, e->phys + off, 1);
        return true;
    }
    if (off >> 6 != j->fetch_granule && !j->block_io) {
        j->fetch_granule = off >> 6;
        jit_code_mark(j, e, off);
    }
    *byte = e->host[off];
    return true;
}
