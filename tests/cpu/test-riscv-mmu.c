/*
 * RISC-V translation and protection as tables: leaf entries, privilege and access against what
 * Privileged ISA 4.3.2 (steps of the walk), Svnapot, Svpbmt, Svade and 3.7 (PMP) say; and traps
 * with delegation (3.1.6, 3.1.8).
 */
#include "accel/jit/jit.h"
#include "core/machine.h"
#include "target/riscv/cpu.h"
#include "target/riscv/riscv.h"
#include <string.h>

enum {
    RAM = 1 << 20,
    ROOT = 0x10000, /* Sv39: one table a level */
    MID = 0x11000,
    LEAF = 0x12000,
    PAGE = 0x80000, /* what is mapped; 64 KiB aligned */
    VA = 0x40008000,
};
#define V 1u
#define R 2u
#define W 4u
#define X 8u
#define U 16u
#define A 64u
#define D 128u
#define PBMT(n) ((uint64_t)(n) << 61)
#define N (1ull << 63)

typedef struct Rig {
    Machine *m;
    MemRegion ram;
    RiscvCpu *c;
} Rig;

static void put(Rig *r, uint64_t at, uint64_t v)
{
    memcpy(r->ram.host + at, &v, 8);
}

static uint64_t get(Rig *r, uint64_t at)
{
    uint64_t v;

    memcpy(&v, r->ram.host + at, 8);
    return v;
}

static void rig_open(Rig *r, const char *model)
{
    GError *err = NULL;

    machine_lock();
    r->m = machine_new(NULL, NULL);
    r->m->accel = &jit_accel;
    g_assert_true(jit_accel.init(r->m, "tb-size=2M", &err));
    g_assert_true(mem_region_init_ram(&r->ram, "ram", RAM, &err));
    mem_region_add(&r->m->memory_root, &r->ram, 0, 0);
    r->c = riscv(vcpu_new(r->m, &riscv64_target, &jit_accel, 0, model, &err));
    g_assert_no_error(err);
    machine_unlock();
    put(r, 0, 0x10500073); /* wfi: the accelerator takes the memory map */
    r->c->pc = 0;
    r->c->vcpu.events = 0;
    jit_accel.run(&r->c->vcpu);
}

static void rig_close(Rig *r)
{
    machine_lock();
    vcpu_free(&r->c->vcpu);
    mem_region_destroy(&r->ram);
    jit_accel.fini(r->m);
    r->m->accel = NULL;
    machine_free(r->m);
    machine_unlock();
}

typedef struct Row {
    uint64_t pte; /* without the page number unless it has one */
    uint8_t mmu, access;
    int8_t exc;   /* -1: none */
    uint64_t now; /* bits that are set afterwards, when there is no exception */
    uint64_t menvcfg;
    const char *model;
} Row;

static const Row rows[] = {
    {V | R | A | D, MMU_S, JIT_READ, -1},
    {V | R | A | D, MMU_S, JIT_WRITE, 15},
    {V | R | A | D, MMU_S, JIT_EXEC, 12},
    {V | X | A, MMU_S, JIT_EXEC, -1},
    {V | X | A, MMU_S, JIT_READ, 13},
    {V | X | A, MMU_S | MMU_MXR, JIT_READ, -1},
    {V | X | A, MMU_S | MMU_MXR, JIT_WRITE, 15},
    {R | W | X | A | D, MMU_S, JIT_READ, 13},
    {R | W | X | A | D, MMU_S, JIT_WRITE, 15},
    {R | W | X | A | D, MMU_S, JIT_EXEC, 12},
    {V | W | A | D, MMU_S, JIT_READ, 13}, /* W without R is reserved */
    {V | W | X | A | D, MMU_S, JIT_EXEC, 12},
    {V | A | D, MMU_S, JIT_READ, 13}, /* no leaf at the last level */
    /* user pages */
    {V | R | W | X | U | A | D, MMU_U, JIT_WRITE, -1},
    {V | R | W | X | U | A | D, MMU_U, JIT_EXEC, -1},
    {V | R | W | X | A | D, MMU_U, JIT_READ, 13},
    {V | R | W | X | A | D, MMU_U, JIT_EXEC, 12},
    {V | R | W | X | U | A | D, MMU_S, JIT_READ, 13},
    {V | R | W | X | U | A | D, MMU_S_SUM, JIT_READ, -1},
    {V | R | W | X | U | A | D, MMU_S_SUM, JIT_WRITE, -1},
    {V | R | W | X | U | A | D, MMU_S_SUM, JIT_EXEC, 12},
    /* accessed and dirty: by hardware, or by exceptions with Svade */
    {V | R | W, MMU_S, JIT_READ, -1, A},
    {V | R | W | A, MMU_S, JIT_WRITE, -1, A | D},
    {V | R | W, MMU_S, JIT_READ, 13, 0, 0, "rv64,svade=on"},
    {V | R | W | A, MMU_S, JIT_WRITE, 15, 0, 0, "rv64,svade=on"},
    {V | R | W | A, MMU_S, JIT_READ, -1, A, 0, "rv64,svade=on"},
    {V | R | W | A, MMU_S, JIT_WRITE, -1, A | D, ENV_ADUE, "rv64,svade=on"},
    /* bits 63…54 */
    {V | R | A | 1ull << 54, MMU_S, JIT_READ, 13},
    {V | R | A | PBMT(1), MMU_S, JIT_READ, 13},
    {V | R | A | PBMT(1), MMU_S, JIT_READ, -1, 0, ENV_PBMTE},
    {V | R | A | PBMT(2), MMU_S, JIT_READ, -1, 0, ENV_PBMTE},
    {V | R | A | PBMT(3), MMU_S, JIT_READ, 13, 0, ENV_PBMTE},
    {V | R | A | N | (PAGE >> 12 | 8) << 10, MMU_S, JIT_READ, -1},
    {V | R | A | N | (PAGE >> 12 | 4) << 10, MMU_S, JIT_READ, 13},
    {V | R | A | N | (PAGE >> 12 | 8) << 10, MMU_S, JIT_READ, 13, 0, 0, "rv64,svnapot=off"},
    /* nothing answers there */
    {V | R | A | (RAM >> 12) << 10, MMU_S, JIT_READ, 5},
    {V | R | W | A | D | (RAM >> 12) << 10, MMU_S, JIT_WRITE, 7},
    {V | X | A | (RAM >> 12) << 10, MMU_S, JIT_EXEC, 1},
};

static void open_pmp(RiscvCpu *c, uint8_t cfg)
{
    c->pmpaddr[0] = (1ull << 54) - 1;
    c->pmpcfg[0] = 0x18 | cfg;
    rv_pmp_update(c);
}

static void test_walk(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        const Row *w = &rows[i];
        uint64_t ppn = w->pte & 0x3ffffffffffc00 ? 0 : (uint64_t)PAGE >> 12 << 10;
        JitPage page;
        Rig r;

        rig_open(&r, w->model);
        open_pmp(r.c, 7);
        r.c->menvcfg = w->menvcfg;
        r.c->prv = PRV_S;
        r.c->satp = 8ull << 60 | ROOT >> 12;
        put(&r, ROOT + (VA >> 30 & 511) * 8, (uint64_t)MID >> 12 << 10 | V);
        put(&r, MID + (VA >> 21 & 511) * 8, (uint64_t)LEAF >> 12 << 10 | V);
        put(&r, LEAF + (VA >> 12 & 511) * 8, w->pte | ppn);
        r.c->exc = -1;
        bool ok = rv_walk(&r.c->vcpu, VA + 0x123, w->access, w->mmu, false, &page);
        if (ok != (w->exc < 0) || r.c->exc != w->exc) {
            g_test_message("row %u: exception %d", i, r.c->exc);
            g_test_fail();
        } else if (ok) {
            g_assert_cmphex(page.phys, ==, w->pte & N ? PAGE + (VA & 0xf000) : PAGE);
            g_assert_cmphex(get(&r, LEAF + (VA >> 12 & 511) * 8) & (w->now ? A | D : 0), ==,
                            w->now);
        } else {
            g_assert_cmphex(r.c->exc_tval, ==, VA + 0x123);
        }
        rig_close(&r);
    }
}

static void test_shapes(void)
{
    static const struct {
        uint64_t va;
        int exc;
    } addr[] = {
        {VA, -1}, {0x7fffffffffull, 13}, {0x8000000000ull, 13}, {0xffffff8000000000ull, 13}};
    JitPage page;
    Rig r;

    rig_open(&r, NULL);
    open_pmp(r.c, 7);
    r.c->prv = PRV_S;
    r.c->satp = 8ull << 60 | ROOT >> 12;
    /* A gigabyte leaf, aligned and not. */
    put(&r, ROOT + 8, V | R | A);
    for (unsigned i = 0; i < G_N_ELEMENTS(addr); i++) {
        r.c->exc = -1;
        g_assert_cmpint(rv_walk(&r.c->vcpu, addr[i].va, JIT_READ, MMU_S, false, &page), ==,
                        addr[i].exc < 0);
        g_assert_cmpint(r.c->exc, ==, addr[i].exc);
    }
    g_assert_true(rv_walk(&r.c->vcpu, VA, JIT_READ, MMU_S, false, &page));
    g_assert_cmphex(page.phys, ==, VA & 0x3fffffff);
    g_assert_cmphex(page.leaf_size, ==, 1 << 30);
    put(&r, ROOT + 8, V | R | A | 1 << 10);
    g_assert_false(rv_walk(&r.c->vcpu, VA, JIT_READ, MMU_S, false, &page));
    g_assert_cmpint(r.c->exc, ==, 13);
    /* PMP: a region without permissions hides page tables and pages from S, not from M. */
    put(&r, ROOT + 8, V | R | A);
    open_pmp(r.c, 0);
    g_assert_false(rv_walk(&r.c->vcpu, VA, JIT_READ, MMU_S, false, &page));
    g_assert_cmpint(r.c->exc, ==, 5);
    g_assert_true(rv_walk(&r.c->vcpu, 0x8000, JIT_READ, MMU_M, false, &page));
    r.c->pmpcfg[0] |= 0x80; /* locked: M, too */
    g_assert_false(rv_walk(&r.c->vcpu, 0x8000, JIT_READ, MMU_M, false, &page));
    rig_close(&r);
}

static void test_delegation(void)
{
    static const struct {
        uint8_t from, cause;
        bool deleg, to_s;
    } t[] = {
        {PRV_U, 8, true, true},    {PRV_U, 8, false, false}, {PRV_S, 9, true, true},
        {PRV_M, 11, true, false},  {PRV_M, 2, true, false},  {PRV_S, 13, true, true},
        {PRV_U, 12, false, false},
    };
    Rig r;

    rig_open(&r, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        RiscvCpu *c = r.c;

        c->medeleg = t[i].deleg ? UINT64_MAX : 0;
        c->mstatus = MST_SIE | MST_MIE;
        c->prv = t[i].from;
        c->pc = 0x4444;
        c->mtvec = 0x1001;
        c->stvec = 0x2001; /* exceptions are not vectored */
        rv_set_exc(c, t[i].cause, 0x99);
        rv_deliver(&c->vcpu);
        g_assert_cmpint(c->prv, ==, t[i].to_s ? PRV_S : PRV_M);
        g_assert_cmphex(c->pc, ==, t[i].to_s ? 0x2000 : 0x1000);
        g_assert_cmphex(t[i].to_s ? c->sepc : c->mepc, ==, 0x4444);
        g_assert_cmphex(t[i].to_s ? c->scause : c->mcause, ==, t[i].cause);
        g_assert_cmphex(t[i].to_s ? c->stval : c->mtval, ==, 0x99);
        g_assert_cmphex(c->mstatus & (t[i].to_s ? MST_SIE : MST_MIE), ==, 0);
        g_assert_cmphex(c->mstatus & (t[i].to_s ? MST_SPIE : MST_MPIE), !=, 0);
        g_assert_cmphex(t[i].to_s ? (c->mstatus & MST_SPP ? 1 : 0) : c->mstatus >> 11 & 3, ==,
                        t[i].from);
    }
    rig_close(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/riscv/mmu/walk", test_walk);
    g_test_add_func("/riscv/mmu/shapes", test_shapes);
    g_test_add_func("/riscv/trap/delegation", test_delegation);
    return g_test_run();
}
