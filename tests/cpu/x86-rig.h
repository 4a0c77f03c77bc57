/*
 * A bare x86 CPU for tests of the system part: stand-ins for the translator's services over a flat
 * array of memory. Included by one file of a test program. Exceptions come back as numbers.
 */
#ifndef RHEA_TESTS_X86_RIG_H
#define RHEA_TESTS_X86_RIG_H

/* Variables of tests must survive longjmp(): keep them in memory. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O0")
#pragma GCC diagnostic ignored "-Wclobbered"
#pragma GCC diagnostic ignored "-Wunused-function"
#endif

#include "target/x86/sys.h"
#include "target/x86/x86.h"
#include <glib.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

enum { RAM_SIZE = 1 << 20, NO_EXC = -1, LEFT = -2 };

static uint8_t *ram;
static X86Cpu *c;
static jmp_buf rig_jmp;
static bool rig_armed;
static unsigned rig_flushes;

/* ---- stand-ins ---- */

static void rig_leave(int why)
{
    g_assert_true(rig_armed);
    longjmp(rig_jmp, why);
}

void jit_raise(VCpu *cpu)
{
    rig_leave(1);
    abort();
}
void jit_leave(VCpu *cpu)
{
    rig_leave(2);
    abort();
}
void jit_leave_done(VCpu *cpu)
{
    rig_leave(3);
    abort();
}
void jit_sync(VCpu *cpu)
{
}
bool jit_fetch(VCpu *cpu, uint64_t linear, uint8_t *byte)
{
    return false;
}

uint64_t jit_phys_load(VCpu *cpu, uint64_t paddr, unsigned size)
{
    uint64_t v = 0;

    if (paddr > RAM_SIZE - size) {
        return 0; /* so that stray table pointers find nothing present */
    }
    memcpy(&v, ram + paddr, size);
    return v;
}
void jit_phys_store(VCpu *cpu, uint64_t paddr, uint64_t val, unsigned size)
{
    if (paddr <= RAM_SIZE - size) {
        memcpy(ram + paddr, &val, size);
    }
}
bool jit_phys_cas(VCpu *cpu, uint64_t paddr, uint64_t old, uint64_t now, unsigned size)
{
    if (jit_phys_load(cpu, paddr, size) != old) {
        return false;
    }
    jit_phys_store(cpu, paddr, now, size);
    return true;
}

/* Physical address of one byte, or jit_raise(). */
static uint64_t rig_phys(uint64_t vaddr, JitAccess access, unsigned mmu)
{
    JitPage p;

    if (!x86_walk(&c->vcpu, vaddr, access, mmu, false, &p)) {
        jit_raise(&c->vcpu);
    }
    g_assert_true(access == JIT_READ ? p.read : access == JIT_WRITE ? p.write : p.exec);
    return p.phys | (vaddr & 4095);
}

uint64_t jit_load(VCpu *cpu, uint64_t vaddr, unsigned size, unsigned mmu)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < size; i++) {
        v |= jit_phys_load(cpu, rig_phys(vaddr + i, JIT_READ, mmu), 1) << (i * 8);
    }
    return v;
}
void jit_probe(VCpu *cpu, uint64_t vaddr, unsigned size, JitAccess access, unsigned mmu)
{
    for (unsigned i = 0; i < size; i++) {
        rig_phys(vaddr + i, access, mmu);
    }
}
void jit_store(VCpu *cpu, uint64_t vaddr, uint64_t val, unsigned size, unsigned mmu)
{
    jit_probe(cpu, vaddr, size, JIT_WRITE, mmu);
    for (unsigned i = 0; i < size; i++) {
        jit_phys_store(cpu, rig_phys(vaddr + i, JIT_WRITE, mmu), val >> (i * 8) & 0xff, 1);
    }
}
void *jit_host_ptr(VCpu *cpu, uint64_t vaddr, JitAccess access, unsigned mmu)
{
    return NULL;
}
bool jit_cas16(VCpu *cpu, uint64_t vaddr, const uint64_t expect[2], const uint64_t desired[2],
               uint64_t old[2], unsigned mmu)
{
    return false;
}
void jit_tlb_flush(VCpu *cpu, bool keep_global)
{
    rig_flushes++;
}
void jit_tlb_flush_page(VCpu *cpu, uint64_t vaddr)
{
    rig_flushes++;
}

/* ---- running things ---- */

/* Evaluate @expr; NO_EXC, the vector of the exception it raised, or LEFT. @expr must not contain
 * variables that it changes. */
#define CATCH(expr)                                                                                \
    ({                                                                                             \
        int rig_why = setjmp(rig_jmp);                                                             \
        int rig_result = NO_EXC;                                                                   \
        rig_armed = true;                                                                          \
        if (!rig_why) {                                                                            \
            (void)(expr);                                                                          \
        } else if (rig_why == 1) {                                                                 \
            rig_result = c->exc;                                                                   \
        } else {                                                                                   \
            rig_result = LEFT;                                                                     \
        }                                                                                          \
        rig_armed = false;                                                                         \
        rig_result;                                                                                \
    })

/* What the jit's loop does after jit_raise(): deliver, again for faults inside. */
static void rig_deliver(void)
{
    volatile int tries = 0;

    if (setjmp(rig_jmp)) {
        tries++;
    }
    g_assert_cmpint(tries, <, 5);
    rig_armed = true;
    x86_64_target.jit->deliver(&c->vcpu);
    rig_armed = false;
}

/* Boundary: events; faults inside are delivered. */
static bool rig_events(void)
{
    bool r;

    if (setjmp(rig_jmp)) {
        rig_deliver();
        return true;
    }
    rig_armed = true;
    r = x86_64_target.jit->take_event(&c->vcpu);
    rig_armed = false;
    return r;
}

static void rig_raise(int vec, bool has_err, uint32_t err)
{
    x86_set_exc(c, vec, EV_FAULT, has_err, err);
    rig_deliver();
}

/* A fresh CPU of @model. */
static void rig_reset(const char *model)
{
    GError *err = NULL;

    if (!ram) {
        ram = g_malloc(RAM_SIZE);
        c = g_malloc0(sizeof(*c) + 64);
        c = (X86Cpu *)(((uintptr_t)c + 63) & ~(uintptr_t)63);
    }
    memset(ram, 0, RAM_SIZE);
    memset(c, 0, sizeof(*c));
    c->vcpu.target = &x86_64_target;
    g_mutex_init(&c->vcpu.work_lock);
    g_cond_init(&c->vcpu.cond);
    x86_64_target.init(&c->vcpu, model, &err);
    g_assert_no_error(err);
}

static void wr(uint32_t at, uint64_t v, unsigned size)
{
    jit_phys_store(&c->vcpu, at, v, size);
}
static uint64_t rd(uint32_t at, unsigned size)
{
    return jit_phys_load(&c->vcpu, at, size);
}

/* ---- protected mode without paging: tables at fixed places ---- */

enum {
    GDT = 0x1000,
    LDT = 0x2000,
    IDT = 0x3000,
    TSS = 0x4000,
    TSS2 = 0x5000,
    STACK0 = 0x9000,
    STACK3 = 0xa000,
};
/* Descriptor attributes in the second dword. */
enum {
    D_P = 0x8000,
    D_CODE = 0x1a00, /* readable */
    D_XCODE = 0x1800,
    D_CONF = 0x1e00,
    D_DATA = 0x1200, /* writable */
    D_RODATA = 0x1000,
    D_DOWN = 0x1600,
    D_32 = 0x400000,
    D_L = 0x200000,
    D_G = 0x800000,
};
#define D_DPL(n) ((n) << 13)

static void desc(unsigned table, unsigned sel, uint32_t base, uint32_t limit, uint32_t attr)
{
    uint32_t at = table + (sel & ~7u);

    wr(at, (base & 0xffff) << 16 | (limit & 0xffff), 4);
    wr(at + 4, attr | (base >> 16 & 0xff) | (base & 0xff000000) | (limit & 0xf0000), 4);
}

static void gate(unsigned table, unsigned index, uint16_t sel, uint32_t off, unsigned type,
                 unsigned dpl, bool present)
{
    uint32_t at = table + index * 8;

    wr(at, (uint32_t)sel << 16 | (off & 0xffff), 4);
    wr(at + 4, (off & 0xffff0000) | (present ? D_P : 0) | dpl << 13 | type << 8, 4);
}

static void gate64(unsigned vec, uint16_t sel, uint64_t off, unsigned type, unsigned dpl,
                   unsigned ist)
{
    uint32_t at = IDT + vec * 16;

    wr(at, (uint32_t)sel << 16 | (off & 0xffff), 4);
    wr(at + 4, (off & 0xffff0000) | D_P | dpl << 13 | type << 8 | ist, 4);
    wr(at + 8, off >> 32, 8);
}

/* Selectors of the rig's GDT. */
enum {
    K_CODE = 0x08,
    K_DATA = 0x10,
    U_CODE = 0x18 | 3,
    U_DATA = 0x20 | 3,
    K_TSS = 0x28,
    K_CODE64 = 0x38,
    U_CODE64 = 0x40 | 3,
    K_LDT = 0x48,
    FREE = 0x60, /* for the test, up to 0xff */
};

/* Protected mode at level @cpl with flat segments. */
static void rig_prot(const char *model, unsigned cpl)
{
    rig_reset(model);
    desc(GDT, K_CODE, 0, 0xfffff, D_P | D_CODE | D_32 | D_G);
    desc(GDT, K_DATA, 0, 0xfffff, D_P | D_DATA | D_32 | D_G);
    desc(GDT, U_CODE, 0, 0xfffff, D_P | D_CODE | D_32 | D_G | D_DPL(3));
    desc(GDT, U_DATA, 0, 0xfffff, D_P | D_DATA | D_32 | D_G | D_DPL(3));
    desc(GDT, K_CODE64, 0, 0, D_P | D_CODE | D_L);
    desc(GDT, U_CODE64, 0, 0, D_P | D_CODE | D_L | D_DPL(3));
    desc(GDT, K_TSS, TSS, 0x67, D_P | 0xb00);
    desc(GDT, K_LDT, LDT, 0xff, D_P | 0x200);
    wr(TSS + 4, STACK0, 4);
    wr(TSS + 8, K_DATA, 2);
    c->gdt = (X86Table){GDT, 0xff};
    c->idt = (X86Table){IDT, 0x7ff};
    c->seg[S_TR] = (X86Seg){K_TSS, D_P | 0xb00, TSS, 0x67};
    c->seg[S_LDTR] = (X86Seg){K_LDT, D_P | 0x200, LDT, 0xff};
    c->cr0 |= CR0_PE;
    x86_flat_cs(c, cpl ? U_CODE : K_CODE, cpl, false);
    x86_flat_ss(c, cpl ? U_DATA : K_DATA, cpl);
    for (int i = 0; i < 6; i++) {
        if (i != S_CS && i != S_SS) {
            c->seg[i] = c->seg[S_SS];
        }
    }
    c->regs[R_RSP] = cpl ? STACK3 : STACK0;
    c->rip = 0x1234;
    x86_update_mode(c);
}

/* 64-bit mode at level @cpl, identity-mapped by one 1 GiB user page. */
enum { PML4 = 0x10000, PDPT = 0x11000 };

static void rig_long(const char *model, unsigned cpl)
{
    rig_prot(model, cpl);
    wr(PML4, PDPT | 7, 8);
    wr(PDPT, 0x87, 8);
    c->idt.limit = 0xfff;
    c->cr3 = PML4;
    c->cr4 |= CR4_PAE;
    c->efer = EFER_LME | EFER_LMA | EFER_SCE;
    c->cr0 |= CR0_PG | CR0_WP;
    x86_flat_cs(c, cpl ? U_CODE64 : K_CODE64, cpl, true);
    wr(TSS + 4, STACK0, 8);
    x86_update_mode(c);
}

#endif
