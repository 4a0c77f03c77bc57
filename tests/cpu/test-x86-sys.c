/*
 * The x86 CPU's system part against the tables of Intel's SDM: segment loads, far transfers, event
 * delivery, task switches, virtual-8086 mode. No paging but where long mode needs it.
 */
#include "tests/cpu/x86-rig.h"

/* ---- segment loads: SDM volume 2, MOV; volume 3, 5.5 and 5.6 ---- */

typedef struct LoadCase {
    unsigned cpl;
    int seg;
    unsigned rpl;
    uint32_t attr;
    int exc;
} LoadCase;

static const LoadCase load_cases[] = {
    /* data into DS: max(CPL, RPL) <= DPL */
    {0, S_DS, 0, D_P | D_DATA, NO_EXC},
    {0, S_DS, 3, D_P | D_DATA, EXC_GP},
    {0, S_DS, 3, D_P | D_DATA | D_DPL(3), NO_EXC},
    {3, S_DS, 3, D_P | D_DATA, EXC_GP},
    {3, S_DS, 0, D_P | D_DATA | D_DPL(3), NO_EXC},
    {3, S_ES, 0, D_P | D_DATA | D_DPL(2), EXC_GP},
    {3, S_FS, 3, D_P | D_RODATA | D_DPL(3), NO_EXC},
    {0, S_GS, 0, D_P | D_DOWN, NO_EXC},
    {0, S_DS, 0, D_DATA, EXC_NP},
    /* code */
    {0, S_DS, 0, D_P | D_CODE, NO_EXC},
    {0, S_DS, 0, D_P | D_XCODE, EXC_GP},
    {3, S_DS, 3, D_P | D_CODE, EXC_GP},
    {3, S_DS, 3, D_P | D_CONF, NO_EXC},
    {0, S_DS, 0, D_CODE, EXC_NP},
    /* system descriptors */
    {0, S_DS, 0, D_P | 0x200, EXC_GP},
    {0, S_ES, 0, D_P | 0xc00, EXC_GP},
    /* SS: writable data, RPL = DPL = CPL */
    {0, S_SS, 0, D_P | D_DATA, NO_EXC},
    {0, S_SS, 0, D_P | D_DOWN, NO_EXC},
    {0, S_SS, 0, D_P | D_RODATA, EXC_GP},
    {0, S_SS, 0, D_P | D_CODE, EXC_GP},
    {0, S_SS, 1, D_P | D_DATA, EXC_GP},
    {0, S_SS, 0, D_P | D_DATA | D_DPL(3), EXC_GP},
    {3, S_SS, 3, D_P | D_DATA | D_DPL(3), NO_EXC},
    {3, S_SS, 3, D_P | D_DATA, EXC_GP},
    {3, S_SS, 2, D_P | D_DATA | D_DPL(3), EXC_GP},
    {0, S_SS, 0, D_DATA, EXC_SS},
    {0, S_SS, 0, D_RODATA, EXC_GP},
};

static void test_load_seg(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(load_cases); i++) {
        const LoadCase *k = &load_cases[i];
        unsigned sel = FREE | k->rpl;
        int exc;

        rig_prot("max", k->cpl);
        desc(GDT, sel, 0x123456, 0x4321, k->attr);
        exc = CATCH(x86_h_load_seg(&c->vcpu, k->seg, sel));
        if (exc != k->exc) {
            g_error("case %u: %d, expected %d", i, exc, k->exc);
        }
        if (exc == NO_EXC) {
            g_assert_cmphex(c->seg[k->seg].sel, ==, sel);
            g_assert_cmphex(c->seg[k->seg].base, ==, 0x123456);
            g_assert_cmphex(c->seg[k->seg].limit, ==, 0x4321);
            g_assert_cmphex(rd(GDT + FREE + 5, 1) & 1, ==, 1);
        } else {
            g_assert_cmphex(c->exc_err, ==, FREE);
            g_assert_cmphex(rd(GDT + FREE + 5, 1) & 1, ==, k->attr >> 8 & 1);
        }
    }
}

static void test_load_seg_limits(void)
{
    rig_prot("max", 0);
    /* the last byte of the descriptor must be in the table */
    c->gdt.limit = FREE + 6;
    desc(GDT, FREE, 0, 0xffff, D_P | D_DATA);
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_DS, FREE)), ==, EXC_GP);
    g_assert_cmphex(c->exc_err, ==, FREE);
    c->gdt.limit = FREE + 7;
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_DS, FREE)), ==, NO_EXC);
    /* LDT: TI is part of the error code */
    desc(LDT, 0x08, 0x777, 0xffff, D_P | D_DATA);
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_ES, 0x0c)), ==, NO_EXC);
    g_assert_cmphex(c->seg[S_ES].base, ==, 0x777);
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_ES, 0x14)), ==, EXC_GP);
    g_assert_cmphex(c->exc_err, ==, 0x14);
    c->seg[S_LDTR].attr = 0;
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_ES, 0x0c)), ==, EXC_GP);
    /* null: fine for data, not for SS */
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_ES, 3)), ==, NO_EXC);
    g_assert_cmphex(c->seg[S_ES].attr & D_P, ==, 0);
    g_assert_cmpint(CATCH(x86_h_check_seg(&c->vcpu, S_ES, 0, 1, 0)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_SS, 0)), ==, EXC_GP);
    g_assert_cmphex(c->exc_err, ==, 0);
    /* granularity */
    desc(GDT, FREE, 0, 0x12345, D_P | D_DATA | D_G);
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_DS, FREE)), ==, NO_EXC);
    g_assert_cmphex(c->seg[S_DS].limit, ==, 0x12345fff);
    /* null SS in 64-bit mode below level 3 */
    rig_long("max", 0);
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_SS, 0)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_SS, 1)), ==, EXC_GP);
    rig_long("max", 3);
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_SS, 3)), ==, EXC_GP);
}

static void test_check_seg(void)
{
    const struct {
        uint32_t attr, limit;
        uint64_t off;
        unsigned size;
        bool write, ok;
    } k[] = {
        {D_P | D_DATA, 0xfff, 0xffc, 4, true, true},
        {D_P | D_DATA, 0xfff, 0xffd, 4, true, false},
        {D_P | D_RODATA, 0xfff, 0, 4, false, true},
        {D_P | D_RODATA, 0xfff, 0, 4, true, false},
        {D_P | D_CODE, 0xfff, 0, 4, false, true},
        {D_P | D_CODE, 0xfff, 0, 4, true, false},
        {D_P | D_XCODE, 0xfff, 0, 4, false, false},
        /* expand-down: above the limit, up to 64 KiB or 4 GiB */
        {D_P | D_DOWN, 0xfff, 0xfff, 1, true, false},
        {D_P | D_DOWN, 0xfff, 0x1000, 4, true, true},
        {D_P | D_DOWN, 0xfff, 0xfffd, 4, true, false},
        {D_P | D_DOWN | D_32, 0xfff, 0xfffd, 4, true, true},
        {D_P | D_DOWN | D_32, 0xfff, 0xfffffffc, 4, true, true},
        {D_P | D_DOWN | D_32, 0xfff, 0xfffffffd, 4, true, false},
        {D_P | D_DATA, 0xffffffff, 0xfffffffc, 4, true, true},
    };

    rig_prot("max", 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(k); i++) {
        for (int seg = S_SS; seg <= S_DS; seg++) {
            int want = k[i].ok ? NO_EXC : seg == S_SS ? EXC_SS : EXC_GP;

            c->seg[seg].attr = k[i].attr;
            c->seg[seg].limit = k[i].limit;
            g_assert_cmpint(CATCH(x86_h_check_seg(&c->vcpu, seg, k[i].off, k[i].size, k[i].write)),
                            ==, want);
        }
    }
}

/* ---- far JMP and CALL: SDM volume 2, JMP ---- */

typedef struct FarCase {
    unsigned cpl, rpl;
    uint32_t attr;
    uint32_t off;
    int exc;
    uint32_t err;
} FarCase;

static const FarCase far_cases[] = {
    {0, 0, D_P | D_CODE, 0x100, NO_EXC, 0},
    {0, 0, D_P | D_XCODE, 0x100, NO_EXC, 0},
    {0, 1, D_P | D_CODE, 0x100, EXC_GP, FREE}, /* RPL > CPL */
    {3, 3, D_P | D_CODE | D_DPL(3), 0x100, NO_EXC, 0},
    {3, 0, D_P | D_CODE | D_DPL(3), 0x100, NO_EXC, 0},
    {3, 3, D_P | D_CODE, 0x100, EXC_GP, FREE}, /* DPL != CPL */
    {0, 0, D_P | D_CODE | D_DPL(3), 0x100, EXC_GP, FREE},
    {3, 3, D_P | D_CONF, 0x100, NO_EXC, 0}, /* conforming: DPL <= CPL */
    {0, 0, D_P | D_CONF | D_DPL(3), 0x100, EXC_GP, FREE},
    {0, 0, D_CODE, 0x100, EXC_NP, FREE},
    {0, 0, D_P | D_DATA, 0x100, EXC_GP, FREE},
    {0, 0, D_P | D_CODE, 0x10000, EXC_GP, 0}, /* beyond the limit */
    {0, 0, D_P | 0x200, 0x100, EXC_GP, FREE}, /* LDT */
    {0, 0, D_P | 0xe00, 0x100, EXC_GP, FREE}, /* interrupt gate */
    {0, 0, D_P | 0xb00, 0x100, EXC_GP, FREE}, /* busy TSS */
};

static void test_far_direct(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(far_cases); i++) {
        const FarCase *k = &far_cases[i];

        for (int call = 0; call < 2; call++) {
            uint64_t rip = 0;
            uint32_t sp;
            int exc;

            rig_prot("max", k->cpl);
            desc(GDT, FREE, 0, 0xffff, k->attr);
            sp = c->regs[R_RSP];
            if (call) {
                exc = CATCH(rip = x86_h_far_call(&c->vcpu, FREE | k->rpl, k->off, 4, 0x1240));
            } else {
                exc = CATCH(rip = x86_h_far_jmp(&c->vcpu, FREE | k->rpl, k->off, 4, 0x1240));
            }
            if (exc != k->exc || (exc != NO_EXC && c->exc_err != k->err)) {
                g_error("case %u: %d (%x), expected %d (%x)", i, exc, c->exc_err, k->exc, k->err);
            }
            if (exc != NO_EXC) {
                g_assert_cmphex(c->regs[R_RSP], ==, sp);
                g_assert_cmphex(c->seg[S_CS].sel, ==, k->cpl ? U_CODE : K_CODE);
                continue;
            }
            g_assert_cmphex(c->seg[S_CS].sel, ==, FREE | k->cpl);
            g_assert_cmpint(x86_cpl(c), ==, k->cpl);
            if (call) {
                g_assert_cmphex(c->regs[R_RSP], ==, sp - 8);
                g_assert_cmphex(rd(sp - 4, 4) & 0xffff, ==, k->cpl ? U_CODE : K_CODE);
                g_assert_cmphex(rd(sp - 8, 4), ==, 0x1240);
            }
        }
    }
    g_assert_cmpint(CATCH(x86_h_far_jmp(&c->vcpu, 3, 0, 4, 0)), ==, EXC_GP);
    g_assert_cmphex(c->exc_err, ==, 0);
}

/* Call gate to level 0 with two parameters and back: frame of SDM figure 5-13. */
static void test_call_gate(void)
{
    uint64_t rip = 0;

    rig_prot("max", 3);
    desc(GDT, FREE, 0, 0xfffff, D_P | D_CODE | D_32 | D_G);
    gate(GDT, FREE / 8 + 1, FREE, 0xabcd0, 0xc, 3, true);
    wr(GDT + FREE + 12, rd(GDT + FREE + 12, 4) | 2, 4); /* two parameters */
    wr(STACK3 - 8, 0x11111111, 4);
    wr(STACK3 - 4, 0x22222222, 4);
    c->regs[R_RSP] = STACK3 - 8;
    g_assert_cmpint(CATCH(rip = x86_h_far_call(&c->vcpu, (FREE + 8) | 3, 0, 4, 0x1240)), ==,
                    NO_EXC);
    g_assert_cmphex(rip, ==, 0xabcd0);
    g_assert_cmpint(x86_cpl(c), ==, 0);
    g_assert_cmphex(c->seg[S_CS].sel, ==, FREE);
    g_assert_cmphex(c->seg[S_SS].sel, ==, K_DATA);
    g_assert_cmphex(c->regs[R_RSP], ==, STACK0 - 24);
    g_assert_cmphex(rd(STACK0 - 4, 2), ==, U_DATA);
    g_assert_cmphex(rd(STACK0 - 8, 4), ==, STACK3 - 8);
    g_assert_cmphex(rd(STACK0 - 12, 4), ==, 0x22222222);
    g_assert_cmphex(rd(STACK0 - 16, 4), ==, 0x11111111);
    g_assert_cmphex(rd(STACK0 - 20, 2), ==, U_CODE);
    g_assert_cmphex(rd(STACK0 - 24, 4), ==, 0x1240);
    /* RETF 8: both stacks are cleaned, DS of level 0 is taken away */
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_DS, K_DATA)), ==, NO_EXC);
    g_assert_cmpint(CATCH(rip = x86_h_far_ret(&c->vcpu, 4, 8)), ==, NO_EXC);
    g_assert_cmphex(rip, ==, 0x1240);
    g_assert_cmpint(x86_cpl(c), ==, 3);
    g_assert_cmphex(c->regs[R_RSP], ==, STACK3);
    g_assert_cmphex(c->seg[S_DS].sel, ==, 0);
    g_assert_cmphex(c->seg[S_ES].sel, ==, U_DATA);

    /* privilege of the gate, of the target; presence */
    gate(GDT, FREE / 8 + 1, FREE, 0xabcd0, 0xc, 2, true);
    g_assert_cmpint(CATCH(x86_h_far_call(&c->vcpu, (FREE + 8) | 3, 0, 4, 0)), ==, EXC_GP);
    g_assert_cmphex(c->exc_err, ==, FREE + 8);
    gate(GDT, FREE / 8 + 1, FREE, 0xabcd0, 0xc, 3, false);
    g_assert_cmpint(CATCH(x86_h_far_call(&c->vcpu, (FREE + 8) | 3, 0, 4, 0)), ==, EXC_NP);
    gate(GDT, FREE / 8 + 1, 0, 0xabcd0, 0xc, 3, true);
    g_assert_cmpint(CATCH(x86_h_far_call(&c->vcpu, (FREE + 8) | 3, 0, 4, 0)), ==, EXC_GP);
    g_assert_cmphex(c->exc_err, ==, 0);
    gate(GDT, FREE / 8 + 1, FREE, 0xabcd0, 0xc, 3, true);
    g_assert_cmpint(CATCH(x86_h_far_jmp(&c->vcpu, (FREE + 8) | 3, 0, 4, 0)), ==, EXC_GP);
    g_assert_cmphex(c->exc_err, ==, FREE);
    /* inner stack: null, not present, too small */
    wr(TSS + 8, 0, 2);
    g_assert_cmpint(CATCH(x86_h_far_call(&c->vcpu, (FREE + 8) | 3, 0, 4, 0)), ==, EXC_TS);
    g_assert_cmphex(c->exc_err, ==, 0);
    wr(TSS + 8, FREE + 16, 2);
    desc(GDT, FREE + 16, 0, 0xfffff, D_DATA | D_32 | D_G);
    g_assert_cmpint(CATCH(x86_h_far_call(&c->vcpu, (FREE + 8) | 3, 0, 4, 0)), ==, EXC_SS);
    g_assert_cmphex(c->exc_err, ==, FREE + 16);
    desc(GDT, FREE + 16, 0, STACK0 - 30, D_P | D_DATA | D_32);
    g_assert_cmpint(CATCH(x86_h_far_call(&c->vcpu, (FREE + 8) | 3, 0, 4, 0)), ==, EXC_SS);
    g_assert_cmphex(c->exc_err, ==, FREE + 16);
    g_assert_cmpint(x86_cpl(c), ==, 3);
    c->seg[S_TR].limit = 8; /* SS0 is bytes 8 and 9 */
    g_assert_cmpint(CATCH(x86_h_far_call(&c->vcpu, (FREE + 8) | 3, 0, 4, 0)), ==, EXC_TS);
    g_assert_cmphex(c->exc_err, ==, K_TSS);
}

static void test_call_gate_long(void)
{
    uint64_t rip = 0;

    rig_long("max", 3);
    gate(GDT, FREE / 8, K_CODE64, 0x5678, 0xc, 3, true);
    wr(GDT + FREE + 8, 0xffff8000, 4);
    wr(GDT + FREE + 12, 0, 4);
    wr(TSS + 4, STACK0, 8);
    g_assert_cmpint(CATCH(rip = x86_h_far_call(&c->vcpu, FREE | 3, 0, 4, 0x1240)), ==, NO_EXC);
    g_assert_cmphex(rip, ==, 0xffff800000005678);
    g_assert_cmphex(c->regs[R_RSP], ==, STACK0 - 32);
    g_assert_cmphex(rd(STACK0 - 8, 8), ==, U_DATA);
    g_assert_cmphex(rd(STACK0 - 16, 8), ==, STACK3);
    g_assert_cmphex(rd(STACK0 - 24, 8), ==, U_CODE64);
    g_assert_cmphex(rd(STACK0 - 32, 8), ==, 0x1240);
    g_assert_cmphex(c->seg[S_SS].sel, ==, 0);
    /* the upper half's type must be 0; the target must be 64-bit code */
    rig_long("max", 3);
    gate(GDT, FREE / 8, K_CODE64, 0x5678, 0xc, 3, true);
    wr(GDT + FREE + 12, 0x100, 4);
    g_assert_cmpint(CATCH(x86_h_far_call(&c->vcpu, FREE | 3, 0, 4, 0)), ==, EXC_GP);
    wr(GDT + FREE + 12, 0, 4);
    gate(GDT, FREE / 8, K_CODE, 0x5678, 0xc, 3, true);
    g_assert_cmpint(CATCH(x86_h_far_call(&c->vcpu, FREE | 3, 0, 4, 0)), ==, EXC_GP);
    g_assert_cmphex(c->exc_err, ==, K_CODE);
}

static void test_real_far(void)
{
    uint64_t rip = 0;

    rig_reset("max");
    c->regs[R_RSP] = 0x8000;
    g_assert_cmpint(CATCH(rip = x86_h_far_call(&c->vcpu, 0x1234, 0x5678, 2, 0x9abc)), ==, NO_EXC);
    g_assert_cmphex(rip, ==, 0x5678);
    g_assert_cmphex(c->seg[S_CS].base, ==, 0x12340);
    g_assert_cmphex(rd(0x7ffe, 2), ==, 0xf000);
    g_assert_cmphex(rd(0x7ffc, 2), ==, 0x9abc);
    c->rip = rip;
    g_assert_cmpint(CATCH(rip = x86_h_far_ret(&c->vcpu, 2, 6)), ==, NO_EXC);
    g_assert_cmphex(rip, ==, 0x9abc);
    g_assert_cmphex(c->seg[S_CS].base, ==, 0xf0000);
    g_assert_cmphex(c->regs[R_RSP], ==, 0x8006);
    g_assert_cmpint(CATCH(x86_h_far_jmp(&c->vcpu, 0, 0x10000, 4, 0)), ==, EXC_GP);
    /* "unreal": limits of protected mode survive loads */
    c->seg[S_DS].limit = 0xffffffff;
    g_assert_cmpint(CATCH(x86_h_load_seg(&c->vcpu, S_DS, 0x40)), ==, NO_EXC);
    g_assert_cmphex(c->seg[S_DS].limit, ==, 0xffffffff);
    g_assert_cmphex(c->seg[S_DS].base, ==, 0x400);
    g_assert_cmpint(CATCH(x86_h_check_seg(&c->vcpu, S_ES, 0xffff, 2, 0)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_check_seg(&c->vcpu, S_ES, 0xffff, 1, 1)), ==, NO_EXC);
}

/* ---- event delivery ---- */

static void test_deliver_real(void)
{
    rig_reset("max");
    wr(0x21 * 4, 0x12345678, 4);
    c->regs[R_RSP] = 0x100;
    c->rip = 0x40;
    x86_set_eflags(c, EF_IF | EF_TF | EF_CF | 2);
    c->exc_next_rip = 0x42;
    g_assert_cmpint(CATCH(x86_h_soft_int(&c->vcpu, 0x21, 0x42, 0)), ==, 0x21);
    rig_deliver();
    g_assert_cmphex(c->seg[S_CS].sel, ==, 0x1234);
    g_assert_cmphex(c->rip, ==, 0x5678);
    g_assert_cmphex(c->regs[R_RSP], ==, 0xfa);
    g_assert_cmphex(rd(0xfe, 2), ==, EF_IF | EF_TF | EF_CF | 2);
    g_assert_cmphex(rd(0xfc, 2), ==, 0xf000);
    g_assert_cmphex(rd(0xfa, 2), ==, 0x42);
    g_assert_cmphex(x86_get_eflags(c), ==, EF_CF | 2);
    /* IRET brings everything back */
    c->rip = CATCH(0) == NO_EXC ? x86_h_iret(&c->vcpu, 2, 0) : 0;
    g_assert_cmphex(c->rip, ==, 0x42);
    g_assert_cmphex(x86_get_eflags(c), ==, EF_IF | EF_TF | EF_CF | 2);
    /* no error codes in real mode; a table that is too short ends in shutdown */
    rig_raise(EXC_GP, true, 0);
    g_assert_cmphex(c->regs[R_RSP], ==, 0xfa);
    c->idt.limit = 3;
    rig_raise(EXC_UD, false, 0);
    g_assert_true(c->shutdown);
    g_assert_true(c->vcpu.halted);
}

typedef struct GateCase {
    unsigned cpl, type, dpl;
    bool present, soft;
    uint16_t sel;
    int exc; /* what comes out: the vector itself or a fault */
    uint32_t err;
} GateCase;

enum { VEC = 0x40, GATE_ERR = VEC * 8 + 2 };

static const GateCase gate_cases[] = {
    {0, 14, 0, true, true, K_CODE, VEC, 0},
    {3, 14, 3, true, true, K_CODE, VEC, 0},
    {3, 14, 0, true, true, K_CODE, EXC_GP, GATE_ERR}, /* INT n checks the gate's DPL */
    {3, 14, 0, true, false, K_CODE, VEC, 0},          /* interrupts do not */
    {3, 15, 3, true, true, U_CODE, VEC, 0},           /* to the same level */
    {0, 14, 0, false, true, K_CODE, EXC_NP, GATE_ERR},
    {0, 14, 0, false, false, K_CODE, EXC_NP, GATE_ERR | 1}, /* EXT */
    {0, 12, 0, true, true, K_CODE, EXC_GP, GATE_ERR},       /* a call gate */
    {0, 9, 0, true, false, K_CODE, EXC_GP, GATE_ERR | 1},
    {0, 14, 0, true, true, 0, EXC_GP, 0},
    {0, 14, 0, true, false, 0, EXC_GP, 1},
    {0, 14, 0, true, true, K_DATA, EXC_GP, K_DATA}, /* not code */
    {0, 14, 0, true, true, U_CODE, EXC_GP, 0x18},   /* DPL > CPL */
    {0, 14, 0, true, false, 0xf8, EXC_GP, 0xf9}, /* beyond the table: limit is 0xff… here empty */
};

static void test_gates(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(gate_cases); i++) {
        const GateCase *k = &gate_cases[i];
        int got;

        rig_prot("max", k->cpl);
        gate(IDT, VEC, k->sel, 0x10000 + VEC, k->type, k->dpl, k->present);
        for (int v = 0; v < 32; v++) {
            gate(IDT, v, K_CODE, 0x10000 + v, 14, 0, true);
        }
        if (k->soft) {
            CATCH(x86_h_soft_int(&c->vcpu, VEC, 0x1236, 0));
            rig_deliver();
        } else {
            if (CATCH(x86_enter_event(c, VEC, EV_EXT)) != NO_EXC) {
                rig_deliver();
            }
        }
        got = c->rip - 0x10000;
        if (got != k->exc) {
            g_error("case %u: vector %d, expected %d", i, got, k->exc);
        }
        if (k->exc != VEC) {
            g_assert_cmphex(rd(c->regs[R_RSP], 4), ==, k->err);
            /* the fault is of the INT instruction: it is what returns */
            g_assert_cmphex(rd(c->regs[R_RSP] + 4, 4), ==, 0x1234);
        } else {
            g_assert_cmphex(rd(c->regs[R_RSP], 4), ==, k->soft ? 0x1236 : 0x1234);
        }
    }
}

/* Frames: SDM figures 6-4. */
static void test_frames_prot(void)
{
    for (int big = 0; big < 2; big++) {
        unsigned w = big ? 4 : 2;
        uint32_t sp;

        /* same level, error code, interrupt gate; a fault pushes RF */
        rig_prot("max", 0);
        gate(IDT, EXC_GP, K_CODE, 0x20000, big ? 14 : 6, 0, true);
        x86_set_eflags(c, EF_IF | EF_TF | EF_NT | EF_ZF | EF_AC | 2);
        rig_raise(EXC_GP, true, 0x1238);
        sp = STACK0 - 4 * w;
        g_assert_cmphex(c->regs[R_RSP], ==, sp);
        g_assert_cmphex(rd(sp, w), ==, 0x1238);
        g_assert_cmphex(rd(sp + w, w), ==, 0x1234);
        g_assert_cmphex(rd(sp + 2 * w, 2), ==, K_CODE);
        g_assert_cmphex(rd(sp + 3 * w, w), ==,
                        (EF_IF | EF_TF | EF_NT | EF_ZF | 2 | (big ? EF_RF | EF_AC : 0)));
        g_assert_cmphex(x86_get_eflags(c), ==, EF_ZF | EF_AC | 2);
        g_assert_cmphex(c->rip, ==, big ? 0x20000 : 0);

        /* inner level, trap gate: IF stays */
        rig_prot("max", 3);
        gate(IDT, VEC, K_CODE, 0x20000, big ? 15 : 7, 3, true);
        x86_set_eflags(c, EF_IF | 2);
        CATCH(x86_h_soft_int(&c->vcpu, VEC, 0x1236, 0));
        rig_deliver();
        sp = STACK0 - 5 * w;
        g_assert_cmpint(x86_cpl(c), ==, 0);
        g_assert_cmphex(c->seg[S_SS].sel, ==, K_DATA);
        g_assert_cmphex(c->regs[R_RSP], ==, sp);
        g_assert_cmphex(rd(sp, w), ==, 0x1236);
        g_assert_cmphex(rd(sp + w, 2), ==, U_CODE);
        g_assert_cmphex(rd(sp + 2 * w, w), ==, EF_IF | 2);
        g_assert_cmphex(rd(sp + 3 * w, w), ==, STACK3);
        g_assert_cmphex(rd(sp + 4 * w, 2), ==, U_DATA);
        g_assert_cmphex(c->eflags & EF_IF, ==, EF_IF);
        /* and back */
        c->rip = CATCH(0) == NO_EXC ? x86_h_iret(&c->vcpu, w, 0) : 0;
        g_assert_cmphex(c->rip, ==, 0x1236);
        g_assert_cmpint(x86_cpl(c), ==, 3);
        g_assert_cmphex(c->regs[R_RSP], ==, STACK3);
    }
}

static void test_frames_long(void)
{
    uint64_t sp;

    rig_long("max", 3);
    gate64(VEC, K_CODE64, 0xffffffff80000123, 14, 0, 0);
    x86_set_eflags(c, EF_IF | 2);
    wr(TSS + 4, STACK0 + 5, 8); /* RSP is aligned down to 16 */
    g_assert_cmpint(CATCH(x86_enter_event(c, VEC, EV_EXT)), ==, NO_EXC);
    sp = STACK0 - 40;
    g_assert_cmphex(c->rip, ==, 0xffffffff80000123);
    g_assert_cmphex(c->regs[R_RSP], ==, sp);
    g_assert_cmphex(rd(sp, 8), ==, 0x1234);
    g_assert_cmphex(rd(sp + 8, 8), ==, U_CODE64);
    g_assert_cmphex(rd(sp + 16, 8), ==, EF_IF | 2);
    g_assert_cmphex(rd(sp + 24, 8), ==, STACK3);
    g_assert_cmphex(rd(sp + 32, 8), ==, U_DATA);
    g_assert_cmphex(c->seg[S_SS].sel, ==, 0);
    g_assert_cmpint(x86_cpl(c), ==, 0);
    g_assert_cmphex(c->eflags & EF_IF, ==, 0);
    /* same level with IST 3 and error code: SS:RSP is pushed as well */
    wr(TSS + 0x24 + 2 * 8, 0xc000, 8);
    gate64(EXC_PF, K_CODE64, 0x8000, 14, 0, 3);
    c->rip = 0x4321;
    c->exc_cr2 = 0xdead;
    rig_raise(EXC_PF, true, 2);
    g_assert_cmphex(c->cr2, ==, 0xdead);
    g_assert_cmphex(c->regs[R_RSP], ==, 0xc000 - 48);
    g_assert_cmphex(rd(0xc000 - 48, 8), ==, 2);
    g_assert_cmphex(rd(0xc000 - 40, 8), ==, 0x4321);
    g_assert_cmphex(rd(0xc000 - 16, 8), ==, sp);
    g_assert_cmphex(rd(0xc000 - 8, 8), ==, 0);
    g_assert_cmphex(rd(0xc000 - 24, 8) & EF_RF, ==, EF_RF);
    /* IRETQ at the same level pops SS:RSP */
    c->regs[R_RSP] += 8;
    c->rip = CATCH(0) == NO_EXC ? x86_h_iret(&c->vcpu, 8, 0) : 0;
    g_assert_cmphex(c->rip, ==, 0x4321);
    g_assert_cmphex(c->regs[R_RSP], ==, sp);
    /* … and to level 3 */
    c->rip = CATCH(0) == NO_EXC ? x86_h_iret(&c->vcpu, 8, 0) : 0;
    g_assert_cmphex(c->rip, ==, 0x1234);
    g_assert_cmphex(c->regs[R_RSP], ==, STACK3);
    g_assert_cmpint(x86_cpl(c), ==, 3);
    /* 32-bit code as a handler, 16-bit gates, non-canonical stack */
    gate64(EXC_GP, K_CODE64, 0x7777, 14, 0, 0);
    gate64(EXC_SS, K_CODE64, 0x8888, 14, 0, 1);
    wr(TSS + 0x24, 0xd000, 8);
    gate64(VEC, K_CODE, 0x1000, 14, 0, 0);
    if (CATCH(x86_enter_event(c, VEC, EV_EXT)) != NO_EXC) {
        rig_deliver();
    }
    g_assert_cmphex(c->rip, ==, 0x7777);
    g_assert_cmphex(rd(c->regs[R_RSP], 8), ==, K_CODE | 1);
    rig_long("max", 3);
    gate64(EXC_SS, K_CODE64, 0x8888, 14, 0, 1);
    wr(TSS + 0x24, 0xd000, 8);
    gate64(VEC, K_CODE64, 0x1000, 14, 0, 0);
    wr(TSS + 4, 0x900000000000, 8);
    if (CATCH(x86_enter_event(c, VEC, EV_EXT)) != NO_EXC) {
        rig_deliver();
    }
    g_assert_cmphex(c->rip, ==, 0x8888);
    g_assert_cmphex(rd(c->regs[R_RSP], 8), ==, 1);
}

/* SDM table 6-5. Rows: first, columns: second. 0 benign, 1 contributory, 2 page fault. */
static void test_double_fault(void)
{
    static const int first[] = {EXC_UD, EXC_GP, EXC_NP, EXC_DE, EXC_PF, EXC_AC};

    for (unsigned i = 0; i < G_N_ELEMENTS(first); i++) {
        int v = first[i];
        bool contributory = v == EXC_GP || v == EXC_NP || v == EXC_DE;

        /* the first one's gate is not present: #NP, contributory */
        rig_prot("max", 0);
        for (int g = 0; g < 32; g++) {
            gate(IDT, g, K_CODE, 0x10000 + g, 14, 0, g != v);
        }
        rig_raise(v, v != EXC_UD && v != EXC_DE, 0);
        if (v == EXC_NP || contributory || v == EXC_PF) {
            g_assert_cmphex(c->rip, ==, 0x10000 + EXC_DF);
            g_assert_cmphex(rd(c->regs[R_RSP], 4), ==, 0);
        } else {
            g_assert_cmphex(c->rip, ==, 0x10000 + EXC_NP);
            g_assert_cmphex(rd(c->regs[R_RSP], 4), ==, v * 8 + 3);
        }
        g_assert_false(c->in_delivery);
    }
    /* no gate for #DF either: shutdown */
    rig_prot("max", 0);
    gate(IDT, EXC_NP, K_CODE, 0x10000, 14, 0, true);
    rig_raise(EXC_GP, true, 0);
    g_assert_true(c->shutdown);
    g_assert_cmphex(c->rip, ==, 0x1234);
    /* only NMI, SMI, INIT and RESET get on from there */
    c->eflags |= EF_IF;
    vcpu_signal(&c->vcpu, VCPU_IRQ);
    g_assert_false(x86_64_target.has_work(&c->vcpu));
    vcpu_signal(&c->vcpu, VCPU_INIT);
    g_assert_true(x86_64_target.has_work(&c->vcpu));
    g_assert_true(rig_events());
    g_assert_false(c->shutdown);
    g_assert_cmphex(c->rip, ==, 0xfff0);
}

/* ---- task switch: SDM volume 3, 8.3 ---- */

static void make_tss32(uint32_t at, uint32_t eip, uint32_t flags)
{
    memset(ram + at, 0, 0x68);
    wr(at + 0x20, eip, 4);
    wr(at + 0x24, flags, 4);
    for (unsigned i = 0; i < 8; i++) {
        wr(at + 0x28 + i * 4, 0x1000 * (i + 1), 4);
    }
    wr(at + 0x38, 0xb000, 4);
    wr(at + 0x48, K_DATA, 2);
    wr(at + 0x4c, K_CODE, 2);
    wr(at + 0x50, K_DATA, 2);
    wr(at + 0x54, K_DATA, 2);
    wr(at + 0x60, K_LDT, 2);
}

static void test_task(void)
{
    rig_prot("max", 0);
    desc(GDT, FREE, TSS2, 0x67, D_P | 0x900);
    make_tss32(TSS2, 0x4444, EF_IF | 2);
    c->regs[R_RAX] = 0xaaaa5555;
    x86_set_eflags(c, EF_ZF | 2);

    /* CALL: link, NT, both busy */
    g_assert_cmpint(CATCH(x86_h_far_call(&c->vcpu, FREE, 0, 4, 0x1240)), ==, LEFT);
    g_assert_true(c->task_load);
    g_assert_true(rig_events());
    g_assert_false(c->task_load);
    g_assert_cmphex(c->rip, ==, 0x4444);
    g_assert_cmphex(c->regs[R_RAX], ==, 0x1000);
    g_assert_cmphex(c->regs[R_RDI], ==, 0x8000);
    g_assert_cmphex(c->regs[R_RSP], ==, 0xb000);
    g_assert_cmphex(x86_get_eflags(c), ==, EF_IF | EF_NT | 2);
    g_assert_cmphex(c->seg[S_TR].sel, ==, FREE);
    g_assert_cmphex(c->seg[S_LDTR].sel, ==, K_LDT);
    g_assert_cmphex(c->cr0 & CR0_TS, ==, CR0_TS);
    g_assert_cmphex(rd(TSS2, 2), ==, K_TSS);
    g_assert_cmphex(rd(GDT + FREE + 5, 1), ==, 0x8b);
    g_assert_cmphex(rd(GDT + K_TSS + 5, 1), ==, 0x8b);
    g_assert_cmphex(rd(TSS + 0x20, 4), ==, 0x1240);
    g_assert_cmphex(rd(TSS + 0x24, 4), ==, EF_ZF | 2);
    g_assert_cmphex(rd(TSS + 0x28, 4), ==, 0xaaaa5555);
    g_assert_cmphex(rd(TSS + 0x4c, 2), ==, K_CODE);

    /* a second CALL to a busy task */
    g_assert_cmpint(CATCH(x86_h_far_call(&c->vcpu, FREE, 0, 4, 0)), ==, EXC_GP);
    g_assert_cmphex(c->exc_err, ==, FREE);

    /* IRET with NT: back; NT is clear in the old image; not busy any more */
    g_assert_cmpint(CATCH(x86_h_iret(&c->vcpu, 4, 0x4450)), ==, LEFT);
    g_assert_true(rig_events());
    g_assert_cmphex(c->rip, ==, 0x1240);
    g_assert_cmphex(c->regs[R_RAX], ==, 0xaaaa5555);
    g_assert_cmphex(x86_get_eflags(c), ==, EF_ZF | 2);
    g_assert_cmphex(rd(GDT + FREE + 5, 1), ==, 0x89);
    g_assert_cmphex(rd(TSS2 + 0x20, 4), ==, 0x4450);
    g_assert_cmphex(rd(TSS2 + 0x24, 4), ==, EF_IF | 2);

    /* JMP through a task gate: no link */
    gate(GDT, FREE / 8 + 1, FREE, 0, 5, 0, true);
    wr(TSS2, 0xffff, 2);
    g_assert_cmpint(CATCH(x86_h_far_jmp(&c->vcpu, FREE + 8, 0, 4, 0x1250)), ==, LEFT);
    g_assert_true(rig_events());
    g_assert_cmphex(c->rip, ==, 0x4450);
    g_assert_cmphex(rd(TSS2, 2), ==, 0xffff);
    g_assert_cmphex(rd(GDT + K_TSS + 5, 1), ==, 0x89);
    g_assert_cmphex(c->eflags & EF_NT, ==, 0);
}

static void test_task_faults(void)
{
    rig_prot("max", 0);
    desc(GDT, FREE, TSS2, 0x66, D_P | 0x900);
    g_assert_cmpint(CATCH(x86_h_far_jmp(&c->vcpu, FREE, 0, 4, 0)), ==, EXC_TS);
    g_assert_cmphex(c->exc_err, ==, FREE);
    desc(GDT, FREE, TSS2, 0x67, 0x900);
    g_assert_cmpint(CATCH(x86_h_far_jmp(&c->vcpu, FREE, 0, 4, 0)), ==, EXC_NP);

    /* a bad segment of the new task faults in the new task */
    desc(GDT, FREE, TSS2, 0x67, D_P | 0x900);
    make_tss32(TSS2, 0x4444, 2);
    wr(TSS2 + 0x54, 0xf0, 2); /* DS: an empty descriptor */
    gate(IDT, EXC_TS, K_CODE, 0x9999, 14, 0, true);
    g_assert_cmpint(CATCH(x86_h_far_jmp(&c->vcpu, FREE, 0, 4, 0x1240)), ==, LEFT);
    g_assert_true(rig_events());
    g_assert_cmphex(c->rip, ==, 0x9999);
    g_assert_cmphex(c->seg[S_TR].sel, ==, FREE);
    g_assert_cmphex(c->regs[R_RSP], ==, 0xb000 - 16);
    g_assert_cmphex(rd(0xb000 - 16, 4), ==, 0xf0);
    g_assert_cmphex(rd(0xb000 - 12, 4), ==, 0x4444);

    /* exception through a task gate: error code on the new stack */
    rig_prot("max", 3);
    desc(GDT, FREE, TSS2, 0x67, D_P | 0x900);
    make_tss32(TSS2, 0x4444, 2);
    gate(IDT, EXC_GP, FREE, 0, 5, 0, true);
    rig_raise(EXC_GP, true, 0x5678);
    g_assert_cmphex(c->rip, ==, 0x4444);
    g_assert_cmphex(c->regs[R_RSP], ==, 0xb000 - 4);
    g_assert_cmphex(rd(0xb000 - 4, 4), ==, 0x5678);
    g_assert_cmpint(x86_cpl(c), ==, 0);
    g_assert_cmphex(rd(TSS2, 2), ==, K_TSS);
    g_assert_cmphex(rd(TSS + 0x20, 4), ==, 0x1234);
    g_assert_cmphex(rd(TSS + 0x24, 4) & EF_RF, ==, EF_RF);
    g_assert_false(c->in_delivery);

    /* 16-bit TSS */
    rig_prot("max", 0);
    desc(GDT, FREE, TSS2, 0x2b, D_P | 0x100);
    wr(TSS2 + 0x0e, 0x3333, 2);
    wr(TSS2 + 0x10, 2, 2);
    wr(TSS2 + 0x1a, 0xb000, 2);
    wr(TSS2 + 0x22, K_DATA, 2);
    wr(TSS2 + 0x24, K_CODE, 2);
    wr(TSS2 + 0x26, K_DATA, 2);
    wr(TSS2 + 0x28, K_DATA, 2);
    g_assert_cmpint(CATCH(x86_h_far_call(&c->vcpu, FREE, 0, 4, 0x1240)), ==, LEFT);
    g_assert_true(rig_events());
    g_assert_cmphex(c->rip, ==, 0x3333);
    g_assert_cmphex(c->regs[R_RSP] & 0xffff, ==, 0xb000);
    g_assert_cmphex(c->seg[S_FS].attr & D_P, ==, 0);
    g_assert_cmphex(rd(TSS2, 2), ==, K_TSS);
}

/* ---- virtual-8086 mode: SDM volume 3, chapter 21 ---- */

static void enter_v86(unsigned iopl, uint64_t cr4)
{
    uint32_t at = STACK0 - 36;
    static const uint16_t segs[] = {0x2222, 0x3333, 0x4444, 0x5555, 0x6666}; /* SS ES DS FS GS */

    rig_prot("max", 0);
    c->cr4 = cr4;
    wr(TSS + 0x66, 0x88, 2); /* bitmaps: redirection at 0x68, ports at 0x88 */
    c->seg[S_TR].limit = 0x4000;
    wr(at, 0x1000, 4);
    wr(at + 4, 0x1111, 4);
    wr(at + 8, EF_VM | EF_IF | iopl << 12 | 2, 4);
    wr(at + 12, 0xfff0, 4);
    for (unsigned i = 0; i < 5; i++) {
        wr(at + 16 + i * 4, segs[i], 4);
    }
    c->regs[R_RSP] = at;
    g_assert_cmpint(CATCH(c->rip = x86_h_iret(&c->vcpu, 4, 0)), ==, NO_EXC);
}

static void test_v86_entry(void)
{
    uint32_t sp = STACK0 - 36;

    enter_v86(0, 0);
    g_assert_cmphex(c->rip, ==, 0x1000);
    g_assert_cmpint(x86_cpl(c), ==, 3);
    g_assert_cmphex(c->seg[S_CS].base, ==, 0x11110);
    g_assert_cmphex(c->seg[S_GS].base, ==, 0x66660);
    g_assert_cmphex(c->seg[S_ES].sel, ==, 0x3333);
    g_assert_cmphex(c->seg[S_DS].limit, ==, 0xffff);
    g_assert_cmphex(c->regs[R_RSP], ==, 0xfff0);
    g_assert_cmphex(x86_mode(&c->vcpu) & (M_VM86 | M_PE | M_CPL), ==, M_VM86 | 3);
    /* an exception goes to level 0 with the long frame, data segments become null */
    gate(IDT, EXC_GP, K_CODE, 0x9999, 14, 0, true);
    rig_raise(EXC_GP, true, 0);
    g_assert_cmphex(c->regs[R_RSP], ==, sp - 4);
    g_assert_cmphex(rd(sp, 4), ==, 0x1000);
    g_assert_cmphex(rd(sp + 4, 2), ==, 0x1111);
    g_assert_cmphex(rd(sp + 8, 4), ==, EF_VM | EF_IF | EF_RF | 2);
    g_assert_cmphex(rd(sp + 12, 4), ==, 0xfff0);
    g_assert_cmphex(rd(sp + 16, 2), ==, 0x2222);
    g_assert_cmphex(rd(sp + 20, 2), ==, 0x3333);
    g_assert_cmphex(rd(sp + 24, 2), ==, 0x4444);
    g_assert_cmphex(rd(sp + 28, 2), ==, 0x5555);
    g_assert_cmphex(rd(sp + 32, 2), ==, 0x6666);
    g_assert_cmphex(c->seg[S_DS].attr, ==, 0);
    g_assert_cmpint(x86_cpl(c), ==, 0);
    g_assert_cmphex(x86_mode(&c->vcpu) & M_VM86, ==, 0);
    /* a handler at level 3 is refused with its selector */
    enter_v86(0, 0);
    gate(IDT, EXC_GP, K_CODE, 0x9999, 14, 0, true);
    gate(IDT, EXC_UD, U_CODE, 0x8888, 14, 0, true);
    rig_raise(EXC_UD, false, 0);
    g_assert_cmphex(c->rip, ==, 0x9999);
    g_assert_cmphex(rd(c->regs[R_RSP], 4), ==, 0x18 | 1);
}

static void test_v86_flags(void)
{
    /* IOPL 3: as in real mode */
    enter_v86(3, 0);
    g_assert_cmpint(CATCH(x86_h_cli(&c->vcpu)), ==, NO_EXC);
    g_assert_cmphex(c->eflags & EF_IF, ==, 0);
    g_assert_cmpint(CATCH(x86_h_popf(&c->vcpu, EF_IF | EF_CF, 2)), ==, NO_EXC);
    g_assert_cmphex(x86_get_eflags(c), ==, EF_VM | EF_IOPL | EF_IF | EF_CF | 2);
    /* IOPL 0 without VME: all of them trap */
    enter_v86(0, 0);
    g_assert_cmpint(CATCH(x86_h_cli(&c->vcpu)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_sti(&c->vcpu)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_popf(&c->vcpu, 0, 2)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_pushf_check(&c->vcpu)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_iret(&c->vcpu, 2, 0)), ==, EXC_GP);
    gate(IDT, EXC_GP, K_CODE, 0x9999, 14, 0, true);
    gate(IDT, 0x21, K_CODE, 0x7777, 14, 3, true);
    CATCH(x86_h_soft_int(&c->vcpu, 0x21, 0x1002, 0));
    rig_deliver();
    g_assert_cmphex(c->rip, ==, 0x9999);
    g_assert_cmphex(rd(c->regs[R_RSP], 4), ==, 0);
    g_assert_cmphex(rd(c->regs[R_RSP] + 4, 4), ==, 0x1000);
    /* INT3 goes to the gate whatever IOPL is */
    enter_v86(0, 0);
    gate(IDT, EXC_BP, K_CODE, 0x7777, 14, 3, true);
    CATCH(x86_h_soft_int(&c->vcpu, EXC_BP, 0x1001, 1));
    rig_deliver();
    g_assert_cmphex(c->rip, ==, 0x7777);
    /* IOPL 0 with VME: VIF stands for IF */
    enter_v86(0, CR4_VME);
    g_assert_cmpint(CATCH(x86_h_sti(&c->vcpu)), ==, NO_EXC);
    g_assert_cmphex(c->eflags & (EF_IF | EF_VIF), ==, EF_IF | EF_VIF);
    g_assert_cmpint(CATCH(x86_h_cli(&c->vcpu)), ==, NO_EXC);
    g_assert_cmphex(c->eflags & (EF_IF | EF_VIF), ==, EF_IF);
    c->eflags |= EF_VIP;
    g_assert_cmpint(CATCH(x86_h_sti(&c->vcpu)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_popf(&c->vcpu, EF_IF, 2)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_popf(&c->vcpu, EF_CF, 2)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_popf(&c->vcpu, EF_CF, 4)), ==, EXC_GP);
    c->eflags &= ~EF_VIP;
    g_assert_cmpint(CATCH(x86_h_popf(&c->vcpu, EF_TF, 2)), ==, EXC_GP);
    g_assert_cmphex(x86_h_pushf_check(&c->vcpu) & (EF_IF | EF_IOPL), ==, EF_IOPL);
}

static void test_v86_redirect(void)
{
    enter_v86(0, CR4_VME);
    wr(0x21 * 4, 0x0abc0def, 4);
    c->eflags |= EF_VIF;
    CATCH(x86_h_soft_int(&c->vcpu, 0x21, 0x1002, 0));
    rig_deliver();
    g_assert_cmphex(c->seg[S_CS].base, ==, 0x0abc0);
    g_assert_cmphex(c->rip, ==, 0x0def);
    g_assert_cmphex(c->regs[R_RSP], ==, 0xffea);
    g_assert_cmphex(rd(0x22220 + 0xffee, 2), ==, EF_IF | EF_IOPL | 2);
    g_assert_cmphex(rd(0x22220 + 0xffec, 2), ==, 0x1111);
    g_assert_cmphex(rd(0x22220 + 0xffea, 2), ==, 0x1002);
    g_assert_cmphex(c->eflags & (EF_VIF | EF_IF), ==, EF_IF);
    /* IRET there restores VIF from the image's IF */
    g_assert_cmpint(CATCH(c->rip = x86_h_iret(&c->vcpu, 2, 0)), ==, NO_EXC);
    g_assert_cmphex(c->rip, ==, 0x1002);
    g_assert_cmphex(c->eflags & (EF_VIF | EF_IOPL), ==, EF_VIF);
    /* the bit set: to the monitor by #GP */
    wr(TSS + 0x68 + 0x21 / 8, 1 << (0x21 & 7), 1);
    gate(IDT, EXC_GP, K_CODE, 0x9999, 14, 0, true);
    CATCH(x86_h_soft_int(&c->vcpu, 0x21, 0x1004, 0));
    rig_deliver();
    g_assert_cmphex(c->rip, ==, 0x9999);
}

/* ---- ports ---- */

static void test_io_bitmap(void)
{
    rig_prot("max", 3);
    c->seg[S_TR].limit = 0x88 + 0x81; /* map up to port 0x40f, and the byte after */
    wr(TSS + 0x66, 0x88, 2);
    g_assert_cmpint(CATCH(x86_h_check_io(&c->vcpu, 0x60, 4)), ==, NO_EXC);
    wr(TSS + 0x88 + 0x60 / 8, 1 << 3, 1); /* port 0x63 */
    g_assert_cmpint(CATCH(x86_h_check_io(&c->vcpu, 0x60, 4)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_check_io(&c->vcpu, 0x60, 2)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_check_io(&c->vcpu, 0x63, 1)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_check_io(&c->vcpu, 0x407, 1)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_check_io(&c->vcpu, 0x408, 1)), ==, EXC_GP);
    c->eflags |= EF_IOPL;
    g_assert_cmpint(CATCH(x86_h_check_io(&c->vcpu, 0x63, 1)), ==, NO_EXC);
    c->eflags &= ~EF_IOPL;
    c->seg[S_TR].limit = 0x66;
    g_assert_cmpint(CATCH(x86_h_check_io(&c->vcpu, 0x60, 1)), ==, EXC_GP);
    rig_prot("max", 0);
    c->seg[S_TR].limit = 0x66;
    g_assert_cmpint(CATCH(x86_h_check_io(&c->vcpu, 0x60, 1)), ==, NO_EXC);
}

/* ---- events ---- */

static int irq_vector;

static int fake_ack(void *opaque)
{
    int v = irq_vector;

    irq_vector = -1;
    vcpu_unsignal(&c->vcpu, VCPU_IRQ);
    return v;
}

static const LocalIntc fake_intc = {.ack = fake_ack};

static void test_events(void)
{
    rig_prot("max", 0);
    cpu_set_intc(&c->vcpu, &fake_intc, NULL);
    for (int v = 0; v < 0x60; v++) {
        gate(IDT, v, K_CODE, 0x10000 + v, 14, 0, true);
    }
    irq_vector = 0x50;
    vcpu_signal(&c->vcpu, VCPU_IRQ);
    /* IF = 0; then the shadow of STI; then taken */
    g_assert_false(rig_events());
    g_assert_false(x86_64_target.has_work(&c->vcpu));
    g_assert_cmpint(CATCH(x86_h_sti(&c->vcpu)), ==, NO_EXC);
    g_assert_true(c->shadow);
    g_assert_false(rig_events());
    c->shadow = false;
    g_assert_true(x86_64_target.has_work(&c->vcpu));
    g_assert_true(rig_events());
    g_assert_cmphex(c->rip, ==, 0x10050);
    g_assert_cmphex(rd(c->regs[R_RSP] + 8, 4), ==, EF_IF | 2);

    /* NMI: once, until IRET */
    vcpu_signal(&c->vcpu, VCPU_NMI);
    g_assert_true(rig_events());
    g_assert_cmphex(c->rip, ==, 0x10002);
    vcpu_signal(&c->vcpu, VCPU_NMI);
    g_assert_false(rig_events());
    g_assert_cmpint(CATCH(c->rip = x86_h_iret(&c->vcpu, 4, 0)), ==, NO_EXC);
    g_assert_true(rig_events());
    g_assert_cmphex(c->rip, ==, 0x10002);

    /* single-step trap before NMI; no RF in its frame */
    g_assert_cmpint(CATCH(c->rip = x86_h_iret(&c->vcpu, 4, 0)), ==, NO_EXC);
    x86_set_eflags(c, EF_TF | 2);
    g_assert_cmpint(CATCH(x86_h_single_step(&c->vcpu, 0x5000)), ==, LEFT);
    vcpu_signal(&c->vcpu, VCPU_NMI);
    g_assert_true(rig_events());
    g_assert_cmphex(c->rip, ==, 0x10001);
    g_assert_cmphex(c->dr[6] & 0x4000, ==, 0x4000);
    g_assert_cmphex(rd(c->regs[R_RSP], 4), ==, 0x5000);
    g_assert_cmphex(rd(c->regs[R_RSP] + 8, 4), ==, EF_TF | 2);

    /* INIT keeps x87, MXCSR, CR0.CD/NW and MTRRs; SIPI has no meaning for a running CPU */
    c->mxcsr = 0x1fa0;
    c->mtrr_def_type = 0xc06;
    c->cr0 |= CR0_CD;
    c->cr0 &= ~(uint64_t)CR0_NW;
    vcpu_unsignal(&c->vcpu, VCPU_NMI);
    vcpu_signal(&c->vcpu, VCPU_INIT);
    g_assert_true(rig_events());
    g_assert_cmphex(c->cr0, ==, CR0_CD | CR0_ET);
    g_assert_cmphex(c->mxcsr, ==, 0x1fa0);
    g_assert_cmphex(c->mtrr_def_type, ==, 0xc06);
    g_assert_cmphex(c->seg[S_CS].base, ==, 0xffff0000);
    g_assert_false(c->wait_sipi);
}

static void test_sipi(void)
{
    rig_reset("max");
    c->vcpu.index = 1;
    x86_64_target.reset(&c->vcpu);
    g_assert_true(c->vcpu.halted);
    vcpu_signal(&c->vcpu, VCPU_NMI);
    g_assert_false(x86_64_target.has_work(&c->vcpu));
    c->vcpu.sipi_vector = 0x9a;
    vcpu_signal(&c->vcpu, VCPU_INIT | VCPU_SIPI);
    g_assert_true(x86_64_target.has_work(&c->vcpu));
    g_assert_true(rig_events());
    g_assert_true(rig_events());
    g_assert_false(c->vcpu.halted);
    g_assert_cmphex(c->seg[S_CS].sel, ==, 0x9a00);
    g_assert_cmphex(c->seg[S_CS].base, ==, 0x9a000);
    g_assert_cmphex(c->rip, ==, 0);
    vcpu_unsignal(&c->vcpu, VCPU_NMI);
    vcpu_signal(&c->vcpu, VCPU_SIPI);
    g_assert_false(rig_events());
    g_assert_cmphex(c->vcpu.events & VCPU_SIPI, ==, 0);
}

static void test_smm(void)
{
    for (int wide = 0; wide < 2; wide++) {
        rig_prot(wide ? "max" : "pentium3", 3);
        c->smbase = 0x30000;
        c->regs[R_RBX] = 0x12345678;
        x86_set_eflags(c, EF_IF | EF_CF | 2);
        vcpu_signal(&c->vcpu, VCPU_SMI);
        g_assert_true(rig_events());
        g_assert_true(c->in_smm);
        g_assert_cmphex(c->rip, ==, 0x8000);
        g_assert_cmphex(c->seg[S_CS].base, ==, 0x30000);
        g_assert_cmphex(c->cr0 & CR0_PE, ==, 0);
        g_assert_cmphex(x86_get_eflags(c), ==, 2);
        if (wide) {
            g_assert_cmphex(rd(0x3fff8 - 24, 8), ==, 0x12345678);
            g_assert_cmphex(rd(0x3ff78, 8), ==, 0x1234);
            g_assert_cmphex(rd(0x3fefc, 4) & 0xffff, ==, 0x64);
            wr(0x3ff00, 0xa0000, 4);
        } else {
            g_assert_cmphex(rd(0x3ffdc, 4), ==, 0x12345678);
            g_assert_cmphex(rd(0x3fff0, 4), ==, 0x1234);
            wr(0x3fef8, 0xa0000, 4);
        }
        c->regs[R_RBX] = 0;
        g_assert_cmpint(CATCH(c->rip = x86_h_rsm(&c->vcpu)), ==, NO_EXC);
        g_assert_cmphex(c->rip, ==, 0x1234);
        g_assert_cmphex(c->regs[R_RBX], ==, 0x12345678);
        g_assert_cmphex(c->smbase, ==, 0xa0000);
        g_assert_cmpint(x86_cpl(c), ==, 3);
        g_assert_cmphex(c->seg[S_SS].limit, ==, 0xffffffff);
        g_assert_cmphex(x86_get_eflags(c), ==, EF_IF | EF_CF | 2);
        g_assert_cmpint(CATCH(x86_h_rsm(&c->vcpu)), ==, EXC_UD);
    }
}

/* ---- debug registers ---- */

static void test_debug(void)
{
    rig_prot("max", 0);
    gate(IDT, EXC_DB, K_CODE, 0x7777, 14, 0, true);
    g_assert_cmpint(CATCH(x86_h_mov_to_dr(&c->vcpu, 0, 0x1234)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_mov_to_dr(&c->vcpu, 7, 1)), ==, NO_EXC);
    g_assert_cmphex(x86_h_mov_from_dr(&c->vcpu, 7), ==, 0x401);
    g_assert_cmphex(x86_mode(&c->vcpu) & M_DEBUG, ==, M_DEBUG);
    /* execution: a fault whose frame has RF clear; RF in EFLAGS lets it pass */
    g_assert_cmpint(CATCH(x86_h_check_ibreak(&c->vcpu)), ==, EXC_DB);
    rig_deliver();
    g_assert_cmphex(c->dr[6], ==, 0xffff0ff1);
    g_assert_cmphex(rd(c->regs[R_RSP] + 8, 4) & EF_RF, ==, 0);
    c->rip = 0x1234;
    c->eflags |= EF_RF;
    g_assert_cmpint(CATCH(x86_h_check_ibreak(&c->vcpu)), ==, NO_EXC);
    c->eflags &= ~EF_RF;
    /* data: 4 bytes at 0x2000, write only */
    g_assert_cmpint(CATCH(x86_h_mov_to_dr(&c->vcpu, 1, 0x2000)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_mov_to_dr(&c->vcpu, 7, 0xd << 20 | 4)), ==, NO_EXC);
    CATCH(x86_h_check_dbreak(&c->vcpu, 0x2003, 1, 0));
    g_assert_cmphex(c->pending_db, ==, 0);
    CATCH(x86_h_check_dbreak(&c->vcpu, 0x1ffd, 3, 1));
    g_assert_cmphex(c->pending_db, ==, 0);
    CATCH(x86_h_check_dbreak(&c->vcpu, 0x1ffd, 4, 1));
    g_assert_cmphex(c->pending_db, ==, 2);
    g_assert_true(rig_events());
    g_assert_cmphex(c->rip, ==, 0x7777);
    /* DR4 is DR6 without CR4.DE; GD */
    g_assert_cmphex(x86_h_mov_from_dr(&c->vcpu, 4), ==, c->dr[6]);
    c->cr4 |= CR4_DE;
    g_assert_cmpint(CATCH(x86_h_mov_from_dr(&c->vcpu, 4)), ==, EXC_UD);
    g_assert_cmpint(CATCH(x86_h_mov_to_dr(&c->vcpu, 7, 0x2000)), ==, NO_EXC);
    g_assert_cmpint(CATCH(x86_h_mov_from_dr(&c->vcpu, 0)), ==, EXC_DB);
    g_assert_cmphex(c->dr[6] & 0x2000, ==, 0x2000);
    g_assert_cmphex(c->dr[7], ==, 0x400);
}

/* ---- SYSCALL and SYSENTER ---- */

static void test_syscall(void)
{
    rig_long("max", 3);
    c->star = 0x0023001000000000ull | 0;
    c->star = (uint64_t)0x23 << 48 | (uint64_t)0x10 << 32;
    c->lstar = 0xffffffff81000000;
    c->sfmask = EF_IF | EF_TF | EF_DF;
    x86_set_eflags(c, EF_IF | EF_DF | EF_CF | 2);
    g_assert_cmpint(CATCH(c->rip = x86_h_syscall(&c->vcpu, 0x1236)), ==, NO_EXC);
    g_assert_cmphex(c->rip, ==, 0xffffffff81000000);
    g_assert_cmphex(c->regs[R_RCX], ==, 0x1236);
    g_assert_cmphex(c->regs[11], ==, EF_IF | EF_DF | EF_CF | 2);
    g_assert_cmphex(x86_get_eflags(c), ==, EF_CF | 2);
    g_assert_cmphex(c->seg[S_CS].sel, ==, 0x10);
    g_assert_cmphex(c->seg[S_SS].sel, ==, 0x18);
    g_assert_cmpint(x86_cpl(c), ==, 0);
    g_assert_cmpint(CATCH(c->rip = x86_h_sysret(&c->vcpu, 8)), ==, NO_EXC);
    g_assert_cmphex(c->rip, ==, 0x1236);
    g_assert_cmphex(c->seg[S_CS].sel, ==, 0x33);
    g_assert_cmphex(c->seg[S_SS].sel, ==, 0x2b);
    g_assert_cmpint(x86_cpl(c), ==, 3);
    g_assert_cmphex(x86_get_eflags(c), ==, EF_IF | EF_DF | EF_CF | 2);
    g_assert_true(x86_code64(c));
    g_assert_cmpint(CATCH(x86_h_sysret(&c->vcpu, 8)), ==, EXC_GP);
    c->efer &= ~EFER_SCE;
    g_assert_cmpint(CATCH(x86_h_syscall(&c->vcpu, 0)), ==, EXC_UD);

    rig_prot("core2duo", 3);
    g_assert_cmpint(CATCH(x86_h_sysenter(&c->vcpu, 0)), ==, EXC_GP);
    c->sysenter_cs = K_CODE;
    c->sysenter_esp = 0x8000;
    c->sysenter_eip = 0xc0100000;
    g_assert_cmpint(CATCH(c->rip = x86_h_sysenter(&c->vcpu, 0)), ==, NO_EXC);
    g_assert_cmphex(c->rip, ==, 0xc0100000);
    g_assert_cmphex(c->regs[R_RSP], ==, 0x8000);
    g_assert_cmpint(x86_cpl(c), ==, 0);
    c->regs[R_RDX] = 0x4000;
    c->regs[R_RCX] = 0x5000;
    g_assert_cmpint(CATCH(c->rip = x86_h_sysexit(&c->vcpu, 4)), ==, NO_EXC);
    g_assert_cmphex(c->seg[S_CS].sel, ==, 0x1b);
    g_assert_cmphex(c->seg[S_SS].sel, ==, 0x23);
    g_assert_cmphex(c->regs[R_RSP], ==, 0x5000);
    /* SYSCALL outside of 64-bit mode is AMD's */
    c->efer |= EFER_SCE;
    g_assert_cmpint(CATCH(x86_h_syscall(&c->vcpu, 0)), ==, EXC_UD);
}

/* ---- LAR, LSL, VERR, VERW, LLDT, LTR ---- */

static void test_verify(void)
{
    rig_prot("max", 3);
    desc(GDT, FREE, 0, 0x1234, D_P | D_RODATA | D_DPL(3));
    g_assert_cmphex(x86_h_verr(&c->vcpu, FREE | 3), ==, 1);
    g_assert_cmphex(x86_h_verw(&c->vcpu, FREE | 3), ==, 0);
    g_assert_cmphex(x86_h_lsl(&c->vcpu, FREE | 3), ==, 0x100001234);
    g_assert_cmphex(x86_h_lar(&c->vcpu, FREE | 3), ==, 0x10000f000);
    desc(GDT, FREE, 0, 0x1234, D_P | D_XCODE | D_DPL(3));
    g_assert_cmphex(x86_h_verr(&c->vcpu, FREE | 3), ==, 0);
    desc(GDT, FREE, 0, 0x1234, D_P | D_DATA | D_DPL(2));
    g_assert_cmphex(x86_h_lar(&c->vcpu, FREE | 3), ==, 0);
    desc(GDT, FREE, 0, 0x1234, D_P | D_CONF);
    g_assert_cmphex(x86_h_verr(&c->vcpu, FREE | 3), ==, 1);
    g_assert_cmphex(x86_h_lar(&c->vcpu, 0), ==, 0);
    /* system types */
    g_assert_cmphex(x86_h_lsl(&c->vcpu, K_TSS), ==, 0); /* DPL 0 */
    desc(GDT, FREE, 0, 0x67, D_P | 0x900 | D_DPL(3));
    g_assert_cmphex(x86_h_lsl(&c->vcpu, FREE), ==, 0x100000067);
    gate(GDT, FREE / 8, K_CODE, 0, 0xc, 3, true);
    g_assert_cmphex(x86_h_lar(&c->vcpu, FREE) >> 32, ==, 1);
    g_assert_cmphex(x86_h_lsl(&c->vcpu, FREE), ==, 0);
    gate(GDT, FREE / 8, K_CODE, 0, 0xe, 3, true);
    g_assert_cmphex(x86_h_lar(&c->vcpu, FREE), ==, 0);

    rig_prot("max", 0);
    desc(GDT, FREE, 0x5000, 0x67, D_P | 0x900);
    g_assert_cmpint(CATCH(x86_h_ltr(&c->vcpu, FREE)), ==, NO_EXC);
    g_assert_cmphex(rd(GDT + FREE + 5, 1), ==, 0x8b);
    g_assert_cmphex(c->seg[S_TR].base, ==, 0x5000);
    g_assert_cmpint(CATCH(x86_h_ltr(&c->vcpu, FREE)), ==, EXC_GP); /* busy */
    g_assert_cmphex(c->exc_err, ==, FREE);
    g_assert_cmpint(CATCH(x86_h_ltr(&c->vcpu, 0)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_lldt(&c->vcpu, FREE)), ==, EXC_GP);
    g_assert_cmpint(CATCH(x86_h_lldt(&c->vcpu, 0)), ==, NO_EXC);
    rig_long("max", 0);
    desc(GDT, FREE, 0x5000, 0x67, D_P | 0x900);
    wr(GDT + FREE + 8, 0xffff8000, 4);
    g_assert_cmpint(CATCH(x86_h_ltr(&c->vcpu, FREE)), ==, NO_EXC);
    g_assert_cmphex(c->seg[S_TR].base, ==, 0xffff800000005000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/segment/load", test_load_seg);
    g_test_add_func("/x86/segment/load-limits", test_load_seg_limits);
    g_test_add_func("/x86/segment/check", test_check_seg);
    g_test_add_func("/x86/segment/verify", test_verify);
    g_test_add_func("/x86/far/direct", test_far_direct);
    g_test_add_func("/x86/far/call-gate", test_call_gate);
    g_test_add_func("/x86/far/call-gate-long", test_call_gate_long);
    g_test_add_func("/x86/far/real", test_real_far);
    g_test_add_func("/x86/far/syscall", test_syscall);
    g_test_add_func("/x86/deliver/real", test_deliver_real);
    g_test_add_func("/x86/deliver/gates", test_gates);
    g_test_add_func("/x86/deliver/frames", test_frames_prot);
    g_test_add_func("/x86/deliver/frames-long", test_frames_long);
    g_test_add_func("/x86/deliver/double-fault", test_double_fault);
    g_test_add_func("/x86/task/switch", test_task);
    g_test_add_func("/x86/task/faults", test_task_faults);
    g_test_add_func("/x86/v86/entry", test_v86_entry);
    g_test_add_func("/x86/v86/flags", test_v86_flags);
    g_test_add_func("/x86/v86/redirect", test_v86_redirect);
    g_test_add_func("/x86/io-bitmap", test_io_bitmap);
    g_test_add_func("/x86/events", test_events);
    g_test_add_func("/x86/sipi", test_sipi);
    g_test_add_func("/x86/smm", test_smm);
    g_test_add_func("/x86/debug", test_debug);
    return g_test_run();
}
