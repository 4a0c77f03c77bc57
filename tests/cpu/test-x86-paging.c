/*
 * Page walks, control registers, MSRs, CPUID and -cpu, saved state and debugger access of the x86
 * CPU, against Intel's SDM volume 3 chapter 4 and volume 4.
 */
#include "tests/cpu/x86-rig.h"

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
#define NX (1ull << 63)
enum { PD = 0x12000, PT = 0x13000, PAGE = 0x400000 };
#define VADDR 0x0000123456789000ull

/* ---- 4-level ---- */

static unsigned idx(uint64_t v, unsigned level)
{
    return v >> (12 + 9 * level) & 0x1ff;
}

/* Entry addresses of VADDR in the tables of map(). */
static uint32_t entry_at(unsigned level)
{
    static const uint32_t tables[4] = {PT, PD, PDPT, PML4};

    return tables[level] + idx(VADDR, level) * 8;
}

/* Map VADDR with attribute bits per level (0 = PT … 3 = PML4); leaf at @leaf. */
static void map(const uint64_t attr[4], unsigned leaf)
{
    static const uint32_t next[4] = {0, PT, PD, PDPT};

    for (unsigned l = 3;; l--) {
        if (l == leaf) {
            wr(entry_at(l), (uint64_t)PAGE << (l == 2 ? 9 : 0) | attr[l] | (l ? PS : 0), 8);
            break;
        }
        wr(entry_at(l), next[l] | attr[l], 8);
    }
}

static bool walk(JitAccess a, unsigned mmu, JitPage *p)
{
    return x86_walk(&c->vcpu, VADDR, a, mmu, false, p);
}

/* The permission matrix: which of the four levels lacks a right, the mode, the access. */
static void test_matrix(void)
{
    rig_long("max", 0);
    for (unsigned n = 0; n < 1u << 11; n++) {
        bool w = n & 1, u = n & 2, nx = n & 4, wp = n & 8, smep = n & 16, smap = n & 32;
        bool nxe = n & 64;
        unsigned leaf = (n >> 7) % 3, lacking = 3 - (n >> 9 & 3); /* the level that decides */
        uint64_t attr[4] = {P | W | U, P | W | U, P | W | U, P | W | U};

        if (lacking < leaf) {
            continue;
        }
        attr[lacking] = P | (w ? W : 0) | (u ? U : 0) | (nx && nxe ? NX : 0);
        c->cr0 = wp ? c->cr0 | CR0_WP : c->cr0 & ~(uint64_t)CR0_WP;
        c->cr4 = CR4_PAE | (smep ? CR4_SMEP : 0) | (smap ? CR4_SMAP : 0);
        c->efer = (c->efer & ~(uint64_t)EFER_NXE) | (nxe ? EFER_NXE : 0);
        for (unsigned mmu = MMU_KERNEL; mmu <= MMU_KERNEL_SMAP; mmu++) {
            bool user = mmu == MMU_USER, ac_off = mmu == MMU_KERNEL_SMAP;

            for (int a = JIT_READ; a <= JIT_EXEC; a++) {
                bool ok, got;
                uint32_t err;
                JitPage page;

                if (ac_off && !smap) {
                    continue;
                }
                /* SDM 4.6.1 */
                if (a == JIT_EXEC) {
                    ok = !(nx && nxe) && (user ? u : !(smep && u));
                } else if (user) {
                    ok = u && (a == JIT_READ || w);
                } else {
                    ok = !(u && ac_off) && (a == JIT_READ || w || !wp);
                }
                map(attr, leaf);
                got = walk(a, mmu, &page);
                if (got != ok) {
                    g_error("case %x leaf %u mmu %u access %d: %d", n, leaf, mmu, a, got);
                }
                if (!ok) {
                    /* SDM 4.7 */
                    err = 1 | (a == JIT_WRITE ? 2 : 0) | (user ? 4 : 0) |
                          (a == JIT_EXEC && (nxe || smep) ? 16 : 0);
                    g_assert_cmpint(c->exc, ==, EXC_PF);
                    g_assert_cmphex(c->exc_err, ==, err);
                    g_assert_cmphex(c->exc_cr2, ==, VADDR);
                    continue;
                }
                g_assert_cmphex(page.phys, ==,
                                leaf == 0   ? PAGE
                                : leaf == 1 ? PAGE + (VADDR & 0x1ff000)
                                            : ((uint64_t)PAGE << 9) + (VADDR & 0x3ffff000));
                g_assert_cmphex(page.leaf_size, ==, 1ull << (12 + 9 * leaf));
                /* A everywhere; D on the leaf by writes only, and no write access without it */
                for (unsigned l = leaf; l < 4; l++) {
                    g_assert_cmphex(rd(entry_at(l), 8) & A, ==, A);
                    g_assert_cmphex(rd(entry_at(l), 8) & D, ==,
                                    (l == leaf && a == JIT_WRITE ? D : 0));
                }
                g_assert_cmpint(page.write, ==, a == JIT_WRITE);
            }
        }
    }
}

static void test_walk_details(void)
{
    uint64_t all[4] = {P | W | U, P | W | U, P | W | U, P | W | U};
    JitPage page;

    rig_long("max", 0);
    c->efer |= EFER_NXE;
    /* not present: error code has no P; nothing marked */
    for (unsigned l = 0; l < 4; l++) {
        map(all, 0);
        wr(entry_at(l), rd(entry_at(l), 8) & ~1ull, 8);
        g_assert_false(walk(JIT_WRITE, MMU_USER, &page));
        g_assert_cmphex(c->exc_err, ==, 2 | 4);
        g_assert_cmphex(rd(entry_at(0), 8) & (A | D), ==, 0);
    }
    /* reserved bits: above the physical address width, PS in the PML4, low bits of large leaves */
    for (unsigned l = 0; l < 4; l++) {
        map(all, 0);
        wr(entry_at(l), rd(entry_at(l), 8) | 1ull << 40, 8);
        g_assert_false(walk(JIT_READ, MMU_KERNEL, &page));
        g_assert_cmphex(c->exc_err, ==, 8 | 1);
    }
    map(all, 0);
    wr(entry_at(3), rd(entry_at(3), 8) | PS, 8);
    g_assert_false(walk(JIT_READ, MMU_KERNEL, &page));
    g_assert_cmphex(c->exc_err, ==, 9);
    for (unsigned leaf = 1; leaf <= 2; leaf++) {
        map(all, leaf);
        wr(entry_at(leaf), rd(entry_at(leaf), 8) | 1 << 13, 8);
        g_assert_false(walk(JIT_READ, MMU_KERNEL, &page));
        g_assert_cmphex(c->exc_err, ==, 9);
        map(all, leaf);
        wr(entry_at(leaf), rd(entry_at(leaf), 8) | 1 << 12, 8); /* PAT */
        g_assert_true(walk(JIT_READ, MMU_KERNEL, &page));
    }
    c->feat[FEAT_80000001_EDX] &= ~(1u << 26); /* no 1 GiB pages */
    map(all, 2);
    g_assert_false(walk(JIT_READ, MMU_KERNEL, &page));
    g_assert_cmphex(c->exc_err, ==, 9);
    /* bit 63 is reserved while EFER.NXE is 0 */
    c->efer &= ~(uint64_t)EFER_NXE;
    map(all, 0);
    wr(entry_at(0), rd(entry_at(0), 8) | NX, 8);
    g_assert_false(walk(JIT_READ, MMU_KERNEL, &page));
    g_assert_cmphex(c->exc_err, ==, 9);
    /* D set already: a read entry may be written */
    map(all, 0);
    wr(entry_at(0), rd(entry_at(0), 8) | D, 8);
    g_assert_true(walk(JIT_READ, MMU_KERNEL, &page));
    g_assert_true(page.write);
    g_assert_false(page.global);
    wr(entry_at(0), rd(entry_at(0), 8) | G, 8);
    c->cr4 |= CR4_PGE;
    g_assert_true(walk(JIT_READ, MMU_KERNEL, &page));
    g_assert_true(page.global);
    /* probing for a write leaves D alone and makes nothing pending */
    map(all, 0);
    c->exc = -1;
    g_assert_true(x86_walk(&c->vcpu, VADDR, JIT_WRITE, MMU_KERNEL, true, &page));
    g_assert_false(page.write);
    g_assert_cmphex(rd(entry_at(0), 8) & D, ==, 0);
    g_assert_false(x86_walk(&c->vcpu, 0x5000000000ull, JIT_WRITE, MMU_KERNEL, true, &page));
    g_assert_cmpint(c->exc, ==, -1);
    /* not canonical */
    g_assert_false(x86_walk(&c->vcpu, 0x800000000000, JIT_READ, MMU_KERNEL, false, &page));
    g_assert_cmpint(c->exc, ==, EXC_GP);
    /* A20 */
    map(all, 0);
    wr(entry_at(0), 0x500000 | 7, 8);
    c->a20_off = true;
    g_assert_true(walk(JIT_READ, MMU_KERNEL, &page));
    g_assert_cmphex(page.phys, ==, 0x400000);
    g_assert_cmphex(x86_debug_translate(&c->vcpu, VADDR + 5), ==, 0x400005);
}

/* ---- 32-bit and PAE ---- */

static void test_walk32(void)
{
    JitPage page;

    rig_prot("max", 0);
    c->cr3 = PML4;
    c->cr0 |= CR0_PG | CR0_WP;
    wr(PML4 + 0x301 * 4, PT | 7, 4);
    wr(PT + 5 * 4, PAGE | 5, 4);
    g_assert_true(x86_walk(&c->vcpu, 0xc0405123, JIT_READ, MMU_USER, false, &page));
    g_assert_cmphex(page.phys, ==, PAGE);
    g_assert_false(x86_walk(&c->vcpu, 0xc0405123, JIT_WRITE, MMU_USER, false, &page));
    g_assert_cmphex(c->exc_err, ==, 7);
    g_assert_cmphex(c->exc_cr2, ==, 0xc0405123);
    g_assert_false(x86_walk(&c->vcpu, 0xc0405123, JIT_WRITE, MMU_KERNEL, false, &page));
    c->cr0 &= ~(uint64_t)CR0_WP;
    g_assert_true(x86_walk(&c->vcpu, 0xc0405123, JIT_WRITE, MMU_KERNEL, false, &page));
    g_assert_cmphex(rd(PT + 20, 4), ==, PAGE | 5 | A | D);
    g_assert_cmphex(rd(PML4 + 0x301 * 4, 4), ==, PT | 7 | A);
    /* the instruction bit of the error code needs NX or SMEP */
    g_assert_false(x86_walk(&c->vcpu, 0xd0000000, JIT_EXEC, MMU_USER, false, &page));
    g_assert_cmphex(c->exc_err, ==, 4);
    /* PS without CR4.PSE is ignored; PSE-36 */
    wr(PML4 + 4, 0x00800000 | 0x6000 | PS | 3, 4);
    g_assert_false(x86_walk(&c->vcpu, 0x00412000, JIT_READ, MMU_KERNEL, false, &page));
    c->cr4 |= CR4_PSE;
    g_assert_true(x86_walk(&c->vcpu, 0x00412000, JIT_READ, MMU_KERNEL, false, &page));
    g_assert_cmphex(page.phys, ==, 0x300812000);
    g_assert_cmphex(page.leaf_size, ==, 4 << 20);
    wr(PML4 + 4, 0x00800000 | 1 << 21 | PS | 3, 4);
    g_assert_false(x86_walk(&c->vcpu, 0x00412000, JIT_READ, MMU_KERNEL, false, &page));
    g_assert_cmphex(c->exc_err, ==, 9);
}

static void test_walk_pae(void)
{
    JitPage page;

    rig_prot("max", 0);
    wr(0x8020 + 3 * 8, PD | 1, 8);
    wr(PD + 0x1ff * 8, PT | 7, 8);
    wr(PT + 8, 0x300001000 | 7, 8);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 4, CR4_PAE)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 3, 0x8020)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 0, CR0_PE | CR0_PG)), ==, NO_EXC);
    g_assert_true(x86_walk(&c->vcpu, 0xffe01000, JIT_WRITE, MMU_USER, false, &page));
    g_assert_cmphex(page.phys, ==, 0x300001000);
    /* the PDPTEs are registers: memory is read with CR3 only */
    wr(0x8020 + 24, 0, 8);
    g_assert_true(x86_walk(&c->vcpu, 0xffe01000, JIT_READ, MMU_USER, false, &page));
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 3, 0x8020)), ==, NO_EXC);
    g_assert_false(x86_walk(&c->vcpu, 0xffe01000, JIT_READ, MMU_USER, false, &page));
    g_assert_cmphex(c->exc_err, ==, 4);
    /* reserved bits of a PDPTE: #GP, CR3 unchanged */
    wr(0x8040, PD | 3, 8);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 3, 0x8040)), ==, EXC_GP);
    g_assert_cmphex(c->cr3, ==, 0x8020);
    /* 2 MiB pages: bits 20…13 */
    wr(0x8020, PD | 1, 8);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 3, 0x8020)), ==, NO_EXC);
    wr(PD + 8, 0x600000 | PS | 7, 8);
    g_assert_true(x86_walk(&c->vcpu, 0x212345, JIT_READ, MMU_USER, false, &page));
    g_assert_cmphex(page.phys, ==, 0x612000);
    wr(PD + 8, 0x600000 | 1 << 14 | PS | 7, 8);
    g_assert_false(x86_walk(&c->vcpu, 0x212345, JIT_READ, MMU_USER, false, &page));
    g_assert_cmphex(c->exc_err, ==, 0xd);
}

/* ---- control registers ---- */

static void test_cr_checks(void)
{
    const struct {
        unsigned n;
        uint64_t v;
        int exc;
    } k[] = {
        {0, CR0_PG, EXC_GP},          /* paging without protection */
        {0, CR0_PE | CR0_NW, EXC_GP}, /* NW without CD */
        {0, CR0_PE | CR0_CD | CR0_NW, NO_EXC},
        {0, CR0_PE | 0x40, NO_EXC}, /* reserved low bits are ignored */
        {4, 1ull << 15, EXC_GP},
        {4, CR4_PSE | CR4_PGE, NO_EXC},
        {4, CR4_PCIDE, EXC_GP}, /* outside of long mode */
        {4, 1u << 13, EXC_GP},  /* VMXE */
        {1, 0, EXC_UD},
        {5, 0, EXC_UD},
        {2, 0x1234, NO_EXC},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(k); i++) {
        rig_prot("max", 0);
        g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, k[i].n, k[i].v)), ==, k[i].exc);
    }
    rig_prot("max", 3);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 0, CR0_PE)), ==, EXC_GP);
    rig_long("max", 0);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 0, 1ull << 32 | CR0_PE | CR0_PG)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 0, CR0_PE)), ==, EXC_GP); /* from CS.L */
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 4, 0)), ==, EXC_GP);      /* PAE */
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 3, 1ull << 40)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 3, 1ull << 63 | PML4)), ==, EXC_GP);
    c->cr3 = PML4 | 5;
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 4, CR4_PAE | CR4_PCIDE)), ==, EXC_GP);
    c->cr3 = PML4;
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 4, CR4_PAE | CR4_PCIDE)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 3, 1ull << 63 | PML4 | 7)), ==, NO_EXC);
    g_assert_cmphex(c->cr3, ==, PML4 | 7);
    /* LMSW sets PE and does not clear it */
    rig_reset("max");
    g_assert_cmpint(CATCH(x86_h_lmsw(&c->vcpu, 9)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_lmsw(&c->vcpu, 0)), ==, NO_EXC);
    g_assert_cmphex(c->cr0 & 0xf, ==, CR0_PE);
    /* features decide about CR4 */
    rig_prot("pentium", 0);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 4, CR4_PGE)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 4, CR4_PSE)), ==, NO_EXC);
}

/* Real mode → protected → long → 64-bit → back to real, as boot loaders and trampolines go. */
static void test_transitions(void)
{
    X86Cpu *cpu;

    rig_long("max", 0); /* for the tables */
    cpu = g_memdup2(c, sizeof(*c));
    x86_64_target.reset(&c->vcpu);
    c->gdt = cpu->gdt;
    c->idt = cpu->idt;
    g_free(cpu);
    g_assert_cmphex(x86_mode(&c->vcpu) & (M_PE | M_CODE32 | M_CODE64 | M_LMA | M_CPL), ==, 0);
    g_assert_cmphex(x86_mode(&c->vcpu) & M_LIMITS, ==, M_LIMITS);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 0, CR0_PE)), ==, NO_EXC);
    g_assert_cmphex(x86_mode(&c->vcpu) & (M_PE | M_CODE32), ==, M_PE);
    g_assert_cmpint(CATCH(c->rip = x86_h_far_jmp(&c->vcpu, K_CODE, 0x100000, 4, 0)), ==, NO_EXC);
    g_assert_cmphex(x86_mode(&c->vcpu) & (M_PE | M_CODE32), ==, M_PE | M_CODE32);
    for (int s = 0; s < 6; s++) {
        if (s != S_CS) {
            g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, s, K_DATA)), ==, NO_EXC);
        }
    }
    g_assert_cmphex(x86_mode(&c->vcpu) & (M_LIMITS | M_ADDSEG | M_STACK32), ==, M_STACK32);

    /* LME first, then PAE, CR3, PG */
    c->regs[R_RCX] = 0xc0000080;
    c->regs[R_RAX] = EFER_LME;
    c->regs[R_RDX] = 0;
    g_assert_cmpint(CATCH(x86_h_wrmsr(&c->vcpu)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 3, PML4)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 0, CR0_PE | CR0_PG)), ==, EXC_GP); /* no PAE */
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 4, CR4_PAE)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 0, CR0_PE | CR0_PG)), ==, NO_EXC);
    g_assert_cmphex(c->efer, ==, EFER_LME | EFER_LMA);
    g_assert_cmphex(x86_mode(&c->vcpu) & (M_LMA | M_CODE64 | M_CODE32), ==, M_LMA | M_CODE32);
    c->regs[R_RAX] = 0; /* LME cannot change while paging is on */
    g_assert_cmpint(CATCH(x86_h_wrmsr(&c->vcpu)), ==, EXC_GP);
    g_assert_cmpint(CATCH(c->rip = x86_h_far_jmp(&c->vcpu, K_CODE64, 0x1000, 4, 0)), ==, NO_EXC);
    g_assert_cmphex(x86_mode(&c->vcpu) & (M_LMA | M_CODE64 | M_CODE32), ==, M_LMA | M_CODE64);

    /* back: compatibility mode, paging off, real mode */
    g_assert_cmpint(CATCH(c->rip = x86_h_far_jmp(&c->vcpu, K_CODE, 0x1000, 4, 0)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 0, CR0_PE)), ==, NO_EXC);
    g_assert_cmphex(c->efer, ==, EFER_LME);
    desc(GDT, FREE, 0, 0xffff, D_P | D_CODE);
    g_assert_cmpint(CATCH(c->rip = x86_h_far_jmp(&c->vcpu, FREE, 0x1000, 2, 0)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_mov_to_cr(&c->vcpu, 0, 0)), ==, NO_EXC);
    g_assert_cmpint(CATCH(c->rip = x86_h_far_jmp(&c->vcpu, 0x100, 0x20, 2, 0)), ==, NO_EXC);
    g_assert_cmphex(c->seg[S_CS].base, ==, 0x1000);
    g_assert_cmphex(x86_mode(&c->vcpu) & (M_PE | M_CODE32 | M_CODE64 | M_LMA), ==, 0);
    g_assert_cmphex(c->seg[S_DS].limit, ==, 0xffffffff); /* unreal */
}

/* ---- MSRs ---- */

static int rdmsr(uint32_t msr, uint64_t *v)
{
    int exc;

    c->regs[R_RCX] = msr;
    exc = CATCH(x86_h_rdmsr(&c->vcpu));
    *v = c->regs[R_RDX] << 32 | (uint32_t)c->regs[R_RAX];
    return exc;
}

static int wrmsr(uint32_t msr, uint64_t v)
{
    c->regs[R_RCX] = msr;
    c->regs[R_RAX] = (uint32_t)v;
    c->regs[R_RDX] = v >> 32;
    return CATCH(x86_h_wrmsr(&c->vcpu));
}

static void test_msr(void)
{
    const struct {
        uint32_t msr;
        uint64_t v;
        int exc;
    } k[] = {
        {0xc0000082, 0xffffffff81000000, NO_EXC},
        {0xc0000082, 0x800000000000, EXC_GP}, /* not canonical */
        {0xc0000101, 0x123456789a, NO_EXC},
        {0xc0000102, 0x8000000000000000, EXC_GP},
        {0xc0000080, EFER_SCE | EFER_NXE | EFER_LME | EFER_LMA, NO_EXC},
        {0xc0000080, 1 << 12 | EFER_LME, EXC_GP}, /* SVME */
        {0x277, 0x0007040600070406, NO_EXC},
        {0x277, 0x0007040600070402, EXC_GP}, /* type 2 */
        {0x2ff, 0xc06, NO_EXC},
        {0x2ff, 0x1000, EXC_GP},
        {0x200, 0x80000006, NO_EXC},
        {0x200, 1ull << 40, EXC_GP},
        {0x201, 0xff80000800, NO_EXC},
        {0x201, 0xff80000801, EXC_GP},
        {0x250, 0x0606060606060606, NO_EXC},
        {0x250, 0x0606060606060702, EXC_GP},
        {0x401, 0, NO_EXC},
        {0x401, 1, EXC_GP}, /* status: only cleared */
        {0x12345678, 0, EXC_GP},
        {0xc0010015, 0, NO_EXC},
        {0x1a0, 0, EXC_GP}, /* Intel's, and this is AMD */
        {0xfe, 0, EXC_GP},  /* read only */
        {0x8b, 0, NO_EXC},
    };
    uint64_t v;

    rig_long("max", 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(k); i++) {
        int exc = wrmsr(k[i].msr, k[i].v);

        if (exc != k[i].exc) {
            g_error("msr %x value %" G_GINT64_MODIFIER "x: %d", k[i].msr, k[i].v, exc);
        }
    }
    g_assert_cmpint(rdmsr(0xc0000082, &v), ==, NO_EXC);
    g_assert_cmphex(v, ==, 0xffffffff81000000);
    g_assert_cmphex(c->seg[S_GS].base, ==, 0x123456789a);
    g_assert_cmpint(rdmsr(0x12345678, &v), ==, EXC_GP);
    g_assert_cmpint(rdmsr(0xfe, &v), ==, NO_EXC);
    g_assert_cmphex(v, ==, 0x508);
    /* TSC and TSC_ADJUST move together */
    g_assert_cmpint(wrmsr(0x10, 1000), ==, NO_EXC);
    g_assert_cmpint(rdmsr(0x3b, &v), ==, NO_EXC);
    g_assert_cmphex(v, ==, 1000);
    g_assert_cmpint(wrmsr(0x3b, 400), ==, NO_EXC);
    g_assert_cmphex(x86_tsc(c), ==, 400);
    /* SWAPGS */
    g_assert_cmpint(wrmsr(0xc0000102, 0x77), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_swapgs(&c->vcpu)), ==, NO_EXC);
    g_assert_cmphex(c->seg[S_GS].base, ==, 0x77);
    g_assert_cmphex(c->kernel_gs_base, ==, 0x123456789a);
    /* privilege, CR4.TSD */
    rig_long("max", 3);
    g_assert_cmpint(rdmsr(0x10, &v), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_rdtsc(&c->vcpu)), ==, NO_EXC);
    c->cr4 |= CR4_TSD;
    g_assert_cmpint(CATCH(x86_h_rdtsc(&c->vcpu)), ==, EXC_GP);
    rig_prot("core2duo", 0);
    g_assert_cmpint(rdmsr(0x1a0, &v), ==, NO_EXC);
    g_assert_cmpint(rdmsr(0xc0010015, &v), ==, EXC_GP);
    rig_prot("486", 0);
    g_assert_cmpint(rdmsr(0xc0000080, &v), ==, EXC_GP);
    g_assert_cmpint(rdmsr(0x277, &v), ==, EXC_GP);
}

/* ---- -cpu and CPUID ---- */

static char *model_error(const char *text)
{
    GError *err = NULL;
    char *msg;

    rig_reset("max");
    if (x86_model_init(c, text, true, &err)) {
        return NULL;
    }
    msg = g_strdup(err->message);
    g_error_free(err);
    g_assert_null(strchr(msg, '\n'));
    return msg;
}

static void test_models(void)
{
    static const char *const bad[] = {
        "nonsense",
        "qemu64,+nonsense",
        "qemu64,nonsense",
        "qemu64,vendor=x",
        "max,level=abc",
        "max,family=9999",
        "max,phys-bits=20",
        "max,sse2=maybe",
        "max,",
        "max,,",
        "max,+avx512f,enforce",
        "Qemu64",
    };
    uint32_t r[4];

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *msg = model_error(bad[i]);

        if (!msg) {
            g_error("accepted: %s", bad[i]);
        }
    }
    g_assert_null(
        model_error("qemu64,-sse3,+ssse3,sse4.1=on,sse4_2=on,check,family=6,model=42,"
                    "stepping=7,vendor=GenuineIntel,model-id=Test CPU,level=5,l3_cache=on"));
    x86_cpuid(c, 0, 0, r);
    g_assert_cmphex(r[0], ==, 5);
    g_assert_cmpmem(&r[1], 4, "Genu", 4);
    g_assert_cmpmem(&r[3], 4, "ineI", 4);
    g_assert_cmpmem(&r[2], 4, "ntel", 4);
    x86_cpuid(c, 1, 0, r);
    g_assert_cmphex(r[0], ==, 0x206a7);
    g_assert_cmphex(r[2] & 0x180201, ==, 0x180200);
    x86_cpuid(c, 0x80000002, 0, r);
    g_assert_cmpstr((char *)r, ==, "Test CPU");
    /* what the reference emulator shows for the default model */
    g_assert_null(model_error(NULL));
    x86_cpuid(c, 0, 0, r);
    g_assert_cmphex(r[0], ==, 0xd);
    g_assert_cmpmem(&r[1], 4, "Auth", 4);
    x86_cpuid(c, 1, 0, r);
    g_assert_cmphex(r[0], ==, 0x60fb1);
    g_assert_cmphex(r[2], ==, 0x80002001);
    g_assert_cmphex(r[3] | 1 << 9, ==, 0x078bfbfd);
    x86_cpuid(c, 0x80000001, 0, r);
    g_assert_cmphex(r[3], ==, 0x2193fbfd);
    x86_cpuid(c, 0x80000008, 0, r);
    g_assert_cmphex(r[0], ==, 0x3028);
    /* never what is not there: no AVX, FMA, F16C, 3DNow!, SVM */
    g_assert_null(model_error("max"));
    x86_cpuid(c, 1, 0, r);
    g_assert_cmphex(r[2] & (1u << 28 | 1 << 12 | 1 << 29 | 1 << 5), ==, 0);
    x86_cpuid(c, 0x80000001, 0, r);
    g_assert_cmphex(r[3] & 0xc0000000, ==, 0);
    g_assert_cmphex(r[2] & 4, ==, 0);
    x86_cpuid(c, 0xd, 0, r);
    g_assert_cmphex(r[0], ==, 3);
    g_assert_cmphex(r[1], ==, 576);
    /* OSXSAVE mirrors CR4 */
    c->cr4 |= CR4_OSXSAVE;
    x86_cpuid(c, 1, 0, r);
    g_assert_cmphex(r[2] >> 27 & 1, ==, 1);
}

static void test_topology(void)
{
    uint32_t r[4];

    rig_reset("Nehalem");
    c->smp_cores = 4;
    c->smp_threads = 2;
    c->smp_total = 8;
    g_assert_true(x86_model_init(c, "Nehalem", true, NULL));
    c->apic_id = 5;
    x86_cpuid(c, 1, 0, r);
    g_assert_cmphex(r[1], ==, 0x05080800);
    g_assert_cmphex(r[3] >> 28 & 1, ==, 1);
    x86_cpuid(c, 4, 0, r);
    g_assert_cmphex(r[0] >> 26, ==, 3);
    x86_cpuid(c, 0xb, 0, r);
    g_assert_cmphex(r[0], ==, 1);
    g_assert_cmphex(r[1], ==, 2);
    g_assert_cmphex(r[2], ==, 0x100);
    g_assert_cmphex(r[3], ==, 5);
    x86_cpuid(c, 0xb, 1, r);
    g_assert_cmphex(r[0], ==, 3);
    g_assert_cmphex(r[1], ==, 8);
    g_assert_cmphex(r[2], ==, 0x201);
    x86_cpuid(c, 0xb, 2, r);
    g_assert_cmphex(r[1], ==, 0);
    g_assert_cmphex(r[2], ==, 2);
    x86_cpuid(c, 0x80000008, 0, r);
    g_assert_cmphex(r[2], ==, 0x3007);
}

/* ---- saved state, debuggers ---- */

static void test_state(void)
{
    GByteArray *out = g_byte_array_new(), *again = g_byte_array_new();
    GError *err = NULL;
    size_t pos = 0;

    rig_long("max", 3);
    for (unsigned i = 0; i < 16; i++) {
        c->regs[i] = 0x0101010101010101ull * i;
        c->xmm[i].q[1] = ~c->regs[i];
    }
    c->fpr[3].mant = 0x8123456789abcdef;
    c->kernel_gs_base = 0xffff888000000000;
    c->pending_db = 3;
    vcpu_signal(&c->vcpu, VCPU_NMI | VCPU_TRAP | VCPU_IRQ);
    state_save(&x86_state_table, c, out);
    rig_reset("max");
    g_assert_true(state_load(&x86_state_table, c, out->data, out->len, &pos, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(pos, ==, out->len);
    state_save(&x86_state_table, c, again);
    g_assert_cmpmem(out->data, out->len, again->data, again->len);
    g_assert_cmpint(x86_cpl(c), ==, 3);
    g_assert_cmphex(x86_mode(&c->vcpu) & M_CODE64, ==, M_CODE64);
    g_assert_cmphex(c->vcpu.events, ==, VCPU_NMI | VCPU_TRAP);
    /* values that no CPU can have */
    c->mxcsr = 0x10000;
    g_byte_array_set_size(again, 0);
    state_save(&x86_state_table, c, again);
    pos = 0;
    g_assert_false(state_load(&x86_state_table, c, again->data, again->len, &pos, &err));
    g_clear_error(&err);
    rig_reset("max");
    c->cr0 = CR0_PG;
    g_byte_array_set_size(again, 0);
    state_save(&x86_state_table, c, again);
    pos = 0;
    g_assert_false(state_load(&x86_state_table, c, again->data, again->len, &pos, &err));
    g_clear_error(&err);
    g_byte_array_free(out, TRUE);
    g_byte_array_free(again, TRUE);
}

static void test_gdb(void)
{
    uint8_t buf[16];
    uint64_t v;

    rig_long("max", 0);
    c->regs[R_RBX] = 0x1122334455667788;
    g_assert_cmpint(x86_64_target.gdb_read(&c->vcpu, 1, buf), ==, 8);
    g_assert_cmphex(buf[0], ==, 0x88);
    buf[7] = 0x99;
    g_assert_cmpint(x86_64_target.gdb_write(&c->vcpu, 1, buf, 8), ==, 8);
    g_assert_cmphex(c->regs[R_RBX], ==, 0x9922334455667788);
    g_assert_cmpint(x86_64_target.gdb_write(&c->vcpu, 1, buf, 7), ==, 0);
    g_assert_cmpint(x86_64_target.gdb_read(&c->vcpu, 16, buf), ==, 8); /* rip */
    g_assert_cmphex(buf[0], ==, 0x34);
    g_assert_cmpint(x86_64_target.gdb_read(&c->vcpu, 24, buf), ==, 10); /* st0 */
    g_assert_cmpint(x86_64_target.gdb_read(&c->vcpu, 40, buf), ==, 16); /* xmm0 */
    g_assert_cmpint(x86_64_target.gdb_read(&c->vcpu, 56, buf), ==, 4);  /* mxcsr */
    g_assert_cmphex(buf[0], ==, 0x80);
    for (int n = 0; n < 2; n++) {
        const Target *t = n ? &i386_target : &x86_64_target;

        for (int i = 0; i < t->gdb_num_regs; i++) {
            g_assert_cmpint(t->gdb_read(&c->vcpu, i, buf), >, 0);
        }
        g_assert_cmpint(t->gdb_read(&c->vcpu, t->gdb_num_regs, buf), ==, 0);
        g_assert_cmpint(t->gdb_read(&c->vcpu, -1, buf), ==, 0);
    }
    g_assert_cmpint(i386_target.gdb_read(&c->vcpu, 3, buf), ==, 4); /* ebx */
    g_assert_cmphex(buf[0], ==, 0x88);
    g_assert_true(x86_64_target.get_reg(&c->vcpu, "rbx", &v));
    g_assert_cmphex(v, ==, 0x9922334455667788);
    g_assert_true(x86_64_target.get_reg(&c->vcpu, "r15", &v));
    g_assert_false(x86_64_target.get_reg(&c->vcpu, "r16", &v));
    g_assert_false(x86_64_target.get_reg(&c->vcpu, "xyz", &v));
    g_autofree char *regs = x86_64_target.dump(&c->vcpu, true);
    g_assert_nonnull(strstr(regs, "RBX=9922334455667788"));
    g_assert_nonnull(strstr(regs, "CPL=0"));
    g_autofree char *tlb = x86_64_target.dump_tlb(&c->vcpu, true);
    g_assert_cmpstr(tlb, ==, "0000000000000000-0000000040000000 0000000040000000 urw\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/paging/matrix", test_matrix);
    g_test_add_func("/x86/paging/details", test_walk_details);
    g_test_add_func("/x86/paging/32", test_walk32);
    g_test_add_func("/x86/paging/pae", test_walk_pae);
    g_test_add_func("/x86/cr/checks", test_cr_checks);
    g_test_add_func("/x86/cr/transitions", test_transitions);
    g_test_add_func("/x86/msr", test_msr);
    g_test_add_func("/x86/cpuid/models", test_models);
    g_test_add_func("/x86/cpuid/topology", test_topology);
    g_test_add_func("/x86/state", test_state);
    g_test_add_func("/x86/gdb", test_gdb);
    return g_test_run();
}
