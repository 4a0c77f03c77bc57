/* hw/intc/lapic: Intel SDM volume 3, chapter "Advanced programmable interrupt controller". */
#include "apic-rig.h"

enum {
    ID = 0x20,
    VER = 0x30,
    TPR = 0x80,
    APR = 0x90,
    PPR = 0xa0,
    EOI = 0xb0,
    LDR = 0xd0,
    DFR = 0xe0,
    SVR = 0xf0,
    ISR = 0x100,
    TMR = 0x180,
    IRR = 0x200,
    ESR = 0x280,
    ICR = 0x300,
    ICR2 = 0x310,
    LVTT = 0x320,
    LVTPC = 0x340,
    LINT0 = 0x350,
    LINT1 = 0x360,
    LVTERR = 0x370,
    INITIAL = 0x380,
    CURRENT = 0x390,
    DIVIDE = 0x3e0,
    MASKED = 0x10000,
};
#define X2(off) (0x800 + ((off) >> 4))
#define BASE_MSR 0x1b
#define DEADLINE_MSR 0x6e0

static ApicRig a;

static void start(unsigned n)
{
    apic_rig_open(&a, n);
    for (unsigned i = 0; i < n; i++) {
        apic_set(&a, i, SVR, 0x1ff);
    }
}

/* An interrupt message from a device to CPU @dest. */
static bool message(uint8_t dest, uint8_t mode, uint8_t vector, bool level)
{
    LapicMsg m = {.dest = dest, .mode = mode, .vector = vector, .level = level};

    return lapic_bus_send(a.bus, &m);
}

static bool in_set(unsigned i, unsigned reg, uint8_t v)
{
    return apic_get(&a, i, reg + v / 32 * 16) >> (v % 32) & 1;
}

static void ipi(unsigned from, uint32_t dest, uint32_t low)
{
    apic_set(&a, from, ICR2, dest << 24);
    apic_set(&a, from, ICR, low);
}

static void test_reset(void)
{
    uint64_t base;

    apic_rig_open(&a, 2);
    g_assert_cmphex(apic_get(&a, 0, ID), ==, 0);
    g_assert_cmphex(apic_get(&a, 1, ID), ==, 0x01000000);
    g_assert_cmphex(apic_get(&a, 0, VER), ==, 0x00050014);
    g_assert_cmphex(apic_get(&a, 0, SVR), ==, 0xff);
    g_assert_cmphex(apic_get(&a, 0, DFR), ==, 0xffffffff);
    g_assert_cmphex(apic_get(&a, 0, LDR), ==, 0);
    for (unsigned off = LVTT; off <= LVTERR; off += 0x10) {
        g_assert_cmphex(apic_get(&a, 0, off), ==, MASKED);
        apic_set(&a, 0, off, 0xffff); /* disabled by software: the mask stays */
        g_assert_cmphex(apic_get(&a, 0, off) & MASKED, ==, MASKED);
    }
    g_assert_true(rdmsr(&a, 0, BASE_MSR, &base));
    g_assert_cmphex(base, ==, 0xfee00900);
    g_assert_true(rdmsr(&a, 1, BASE_MSR, &base));
    g_assert_cmphex(base, ==, 0xfee00800);
    g_assert_false(message(0, LAPIC_FIXED, 0x40, false));
    g_assert_false(in_set(0, IRR, 0x40));
    apic_rig_close(&a);
}

static void test_priorities(void)
{
    start(1);
    g_assert_true(message(0, LAPIC_FIXED, 0x41, false));
    g_assert_true(irq_pending(&a, 0));
    g_assert_true(in_set(0, IRR, 0x41));
    message(0, LAPIC_FIXED, 0x63, false);
    message(0, LAPIC_FIXED, 0x63, false); /* one bit a vector */
    message(0, LAPIC_FIXED, 0x68, false);
    g_assert_cmphex(ack(&a, 0), ==, 0x68);
    g_assert_true(in_set(0, ISR, 0x68));
    g_assert_false(in_set(0, IRR, 0x68));
    g_assert_cmphex(apic_get(&a, 0, PPR), ==, 0x60);
    g_assert_false(irq_pending(&a, 0)); /* 63h is in the same class, 41h below */
    g_assert_cmpint(ack(&a, 0), ==, -1);
    message(0, LAPIC_FIXED, 0x75, false);
    g_assert_true(irq_pending(&a, 0));
    g_assert_cmphex(ack(&a, 0), ==, 0x75);
    apic_set(&a, 0, EOI, 0);
    g_assert_false(irq_pending(&a, 0));
    apic_set(&a, 0, EOI, 0);
    g_assert_cmphex(ack(&a, 0), ==, 0x63);
    apic_set(&a, 0, EOI, 0);
    g_assert_cmphex(ack(&a, 0), ==, 0x41);
    apic_set(&a, 0, EOI, 0);
    apic_set(&a, 0, EOI, 0); /* one too many */
    g_assert_false(irq_pending(&a, 0));
    g_assert_cmphex(apic_get(&a, 0, PPR), ==, 0);
    apic_rig_close(&a);
}

static void test_tpr(void)
{
    start(1);
    lapic_intc.set_priority(a.apic[0], 5);
    g_assert_cmphex(apic_get(&a, 0, TPR), ==, 0x50);
    g_assert_cmphex(apic_get(&a, 0, PPR), ==, 0x50);
    message(0, LAPIC_FIXED, 0x5f, false);
    g_assert_false(irq_pending(&a, 0));
    message(0, LAPIC_FIXED, 0x60, false);
    g_assert_true(irq_pending(&a, 0));
    lapic_intc.set_priority(a.apic[0], 15);
    g_assert_false(irq_pending(&a, 0));
    apic_set(&a, 0, TPR, 0x4f);
    g_assert_cmpuint(lapic_intc.get_priority(a.apic[0]), ==, 4);
    g_assert_true(irq_pending(&a, 0));
    g_assert_cmphex(ack(&a, 0), ==, 0x60);
    apic_set(&a, 0, EOI, 0);
    g_assert_cmphex(ack(&a, 0), ==, 0x5f);
    apic_rig_close(&a);
}

static void test_timer_one_shot(void)
{
    start(1);
    apic_set(&a, 0, DIVIDE, 0x3); /* by 16 */
    apic_set(&a, 0, LVTT, 0x50);
    apic_set(&a, 0, INITIAL, 1000);
    g_assert_cmpuint(apic_get(&a, 0, CURRENT), ==, 1000);
    clock_step(a.r.clk, 160);
    g_assert_cmpuint(apic_get(&a, 0, CURRENT), ==, 990);
    clock_step(a.r.clk, 15839);
    g_assert_false(irq_pending(&a, 0));
    g_assert_cmpuint(apic_get(&a, 0, CURRENT), ==, 1);
    clock_step(a.r.clk, 1);
    g_assert_true(irq_pending(&a, 0));
    g_assert_cmphex(ack(&a, 0), ==, 0x50);
    apic_set(&a, 0, EOI, 0);
    g_assert_cmpuint(apic_get(&a, 0, CURRENT), ==, 0);
    clock_step(a.r.clk, NS_PER_SEC);
    g_assert_false(irq_pending(&a, 0));
    /* masked: counts, tells nobody; 0 stops */
    apic_set(&a, 0, LVTT, MASKED | 0x50);
    apic_set(&a, 0, DIVIDE, 0xb); /* by 1 */
    apic_set(&a, 0, INITIAL, 1000);
    clock_step(a.r.clk, 400);
    g_assert_cmpuint(apic_get(&a, 0, CURRENT), ==, 600);
    clock_step(a.r.clk, 1000);
    apic_set(&a, 0, LVTT, 0x50);
    clock_step(a.r.clk, 1000);
    g_assert_false(irq_pending(&a, 0));
    apic_set(&a, 0, INITIAL, 1000);
    apic_set(&a, 0, INITIAL, 0);
    clock_step(a.r.clk, 5000);
    g_assert_false(irq_pending(&a, 0));
    static const struct {
        uint8_t code, by;
    } div[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
    for (unsigned i = 0; i < G_N_ELEMENTS(div); i++) {
        apic_set(&a, 0, DIVIDE, div[i].code);
        apic_set(&a, 0, INITIAL, 100);
        clock_step(a.r.clk, 100 * div[i].by - 1);
        g_assert_false(irq_pending(&a, 0));
        clock_step(a.r.clk, 1);
        g_assert_cmphex(ack(&a, 0), ==, 0x50);
        apic_set(&a, 0, EOI, 0);
    }
    apic_rig_close(&a);
}

static void test_timer_periodic(void)
{
    start(1);
    apic_set(&a, 0, DIVIDE, 0xb);
    apic_set(&a, 0, LVTT, 0x20050);
    apic_set(&a, 0, INITIAL, 1000000);
    for (unsigned i = 0; i < 5; i++) {
        clock_step(a.r.clk, 999999);
        g_assert_false(irq_pending(&a, 0));
        clock_step(a.r.clk, 1);
        g_assert_cmphex(ack(&a, 0), ==, 0x50);
        apic_set(&a, 0, EOI, 0);
    }
    clock_step(a.r.clk, 300000);
    g_assert_cmpuint(apic_get(&a, 0, CURRENT), ==, 700000);
    /* the smallest period does not hold up anything */
    apic_set(&a, 0, INITIAL, 1);
    clock_step(a.r.clk, NS_PER_SEC / 100);
    g_assert_true(irq_pending(&a, 0));
    /* illegal vector */
    apic_set(&a, 0, ESR, 0);
    apic_set(&a, 0, LVTT, 0x20005);
    clock_step(a.r.clk, 100000);
    apic_set(&a, 0, ESR, 0);
    g_assert_cmphex(apic_get(&a, 0, ESR), ==, 0x40);
    apic_rig_close(&a);
}

static void test_tsc_deadline(void)
{
    uint64_t v;

    start(1);
    clock_step(a.r.clk, 1000);
    g_assert_true(wrmsr(&a, 0, DEADLINE_MSR, 99999)); /* not in this mode: ignored */
    g_assert_true(rdmsr(&a, 0, DEADLINE_MSR, &v));
    g_assert_cmpuint(v, ==, 0);
    apic_set(&a, 0, LVTT, 0x40060);
    apic_set(&a, 0, INITIAL, 500); /* ignored in TSC-deadline mode */
    clock_step(a.r.clk, 1000000);
    g_assert_false(irq_pending(&a, 0));
    wrmsr(&a, 0, DEADLINE_MSR, apic_rig_tsc(NULL) + 20001);
    rdmsr(&a, 0, DEADLINE_MSR, &v);
    g_assert_cmpuint(v, ==, apic_rig_tsc(NULL) + 20001);
    g_assert_cmpuint(apic_get(&a, 0, CURRENT), ==, 0);
    clock_step(a.r.clk, 10000);
    g_assert_false(irq_pending(&a, 0));
    clock_step(a.r.clk, 1);
    g_assert_cmphex(ack(&a, 0), ==, 0x60);
    apic_set(&a, 0, EOI, 0);
    rdmsr(&a, 0, DEADLINE_MSR, &v);
    g_assert_cmpuint(v, ==, 0);
    wrmsr(&a, 0, DEADLINE_MSR, 1); /* the past: now */
    g_assert_cmphex(ack(&a, 0), ==, 0x60);
    apic_set(&a, 0, EOI, 0);
    wrmsr(&a, 0, DEADLINE_MSR, UINT64_MAX); /* far away */
    clock_step(a.r.clk, NS_PER_SEC);
    g_assert_false(irq_pending(&a, 0));
    wrmsr(&a, 0, DEADLINE_MSR, apic_rig_tsc(NULL) + 2000);
    wrmsr(&a, 0, DEADLINE_MSR, 0); /* disarmed */
    clock_step(a.r.clk, NS_PER_SEC);
    g_assert_false(irq_pending(&a, 0));
    wrmsr(&a, 0, DEADLINE_MSR, apic_rig_tsc(NULL) + 2000);
    apic_set(&a, 0, LVTT, 0x60); /* another mode disarms */
    clock_step(a.r.clk, NS_PER_SEC);
    g_assert_false(irq_pending(&a, 0));
    apic_rig_close(&a);
}

static unsigned who(uint8_t vector)
{
    unsigned set = 0;

    for (unsigned i = 0; i < a.n; i++) {
        if (in_set(i, IRR, vector)) {
            set |= 1u << i;
            g_assert_cmphex(ack(&a, i), ==, vector);
            apic_set(&a, i, EOI, 0);
        }
    }
    return set;
}

static void test_ipi_destinations(void)
{
    start(4);
    ipi(0, 2, 0x4040);
    g_assert_cmphex(who(0x40), ==, 4);
    ipi(0, 0xff, 0x4040); /* physical broadcast */
    g_assert_cmphex(who(0x40), ==, 15);
    ipi(0, 9, 0x4040);
    g_assert_cmphex(who(0x40), ==, 0);
    ipi(1, 0, 0x44040); /* shorthands: self, all, all but me */
    g_assert_cmphex(who(0x40), ==, 2);
    ipi(1, 0, 0x84040);
    g_assert_cmphex(who(0x40), ==, 15);
    ipi(1, 0, 0xc4040);
    g_assert_cmphex(who(0x40), ==, 13);
    /* flat: LDR is a set of bits */
    for (unsigned i = 0; i < 4; i++) {
        apic_set(&a, i, LDR, 1u << (24 + i));
    }
    ipi(0, 0x0a, 0x4840);
    g_assert_cmphex(who(0x40), ==, 10);
    ipi(0, 0xff, 0x4840);
    g_assert_cmphex(who(0x40), ==, 15);
    /* cluster: two APICs in each of two clusters */
    for (unsigned i = 0; i < 4; i++) {
        apic_set(&a, i, DFR, 0);
        apic_set(&a, i, LDR, (i / 2 << 4 | 1u << (i % 2)) << 24);
    }
    g_assert_cmphex(apic_get(&a, 0, DFR), ==, 0x0fffffff);
    ipi(0, 0x12, 0x4840);
    g_assert_cmphex(who(0x40), ==, 8);
    ipi(0, 0xf1, 0x4840); /* all clusters */
    g_assert_cmphex(who(0x40), ==, 5);
    ipi(0, 0x22, 0x4840);
    g_assert_cmphex(who(0x40), ==, 0);
    g_assert_cmphex(apic_get(&a, 0, ICR) & 0x1000, ==, 0); /* idle */
    g_assert_cmphex(apic_get(&a, 0, ICR2), ==, 0x22000000);
    apic_rig_close(&a);
}

static void test_lowest_priority(void)
{
    unsigned seen = 0;

    start(4);
    for (unsigned i = 0; i < 4; i++) {
        apic_set(&a, i, LDR, 1u << (24 + i));
    }
    apic_set(&a, 0, TPR, 0x30);
    apic_set(&a, 1, TPR, 0x20);
    apic_set(&a, 2, TPR, 0x10);
    apic_set(&a, 3, TPR, 0x40);
    ipi(0, 0x0f, 0x4940);
    g_assert_cmphex(who(0x40), ==, 4);
    ipi(0, 0x09, 0x4941);
    g_assert_true(in_set(0, IRR, 0x41));
    apic_set(&a, 2, SVR, 0xff); /* disabled ones do not take part */
    ipi(0, 0x0e, 0x4942);
    g_assert_true(in_set(1, IRR, 0x42));
    /* the focus keeps its interrupt, whatever its priority */
    message(3, LAPIC_FIXED, 0x77, false);
    ipi(0, 0x0f, 0x4977);
    g_assert_cmphex(who(0x77), ==, 8);
    /* equals take turns */
    for (unsigned i = 0; i < 4; i++) {
        apic_set(&a, i, SVR, 0x1ff);
        apic_set(&a, i, TPR, 0);
        while (ack(&a, i) >= 0) {
            apic_set(&a, i, EOI, 0);
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        ipi(0, 0x0f, 0x4980);
        seen |= who(0x80);
    }
    g_assert_cmphex(seen, ==, 15);
    apic_rig_close(&a);
}

static void test_special_modes(void)
{
    start(3);
    ipi(0, 1, 0x4500); /* INIT assert */
    g_assert_cmphex(apic_rig_events(&a, 1), ==, VCPU_INIT);
    ipi(0, 1, 0x8500); /* level de-assert: nothing */
    g_assert_cmphex(apic_rig_events(&a, 1), ==, 0);
    ipi(0, 1, 0x469a);
    g_assert_cmphex(apic_rig_events(&a, 1), ==, VCPU_SIPI);
    g_assert_cmphex(a.cpu[1].sipi_vector, ==, 0x9a);
    ipi(0, 0, 0xc4400);
    g_assert_cmphex(apic_rig_events(&a, 0), ==, 0);
    g_assert_cmphex(apic_rig_events(&a, 1), ==, VCPU_NMI);
    g_assert_cmphex(apic_rig_events(&a, 2), ==, VCPU_NMI);
    ipi(0, 2, 0x4200);
    g_assert_cmphex(apic_rig_events(&a, 2), ==, VCPU_SMI);
    apic_set(&a, 2, SVR, 0xff); /* a disabled APIC takes NMI and INIT, no fixed ones */
    ipi(0, 2, 0x4400);
    ipi(0, 2, 0x4040);
    g_assert_cmphex(apic_rig_events(&a, 2), ==, VCPU_NMI);
    ipi(0, 1, 0x4740); /* ExtINT and reserved modes cannot be sent */
    ipi(0, 1, 0x4340);
    g_assert_cmphex(apic_rig_events(&a, 1), ==, 0);
    /* INIT resets what the guest set, not the APIC's base */
    apic_set(&a, 1, TPR, 0x30);
    lapic_intc.init_reset(a.apic[1]);
    g_assert_cmphex(apic_get(&a, 1, TPR), ==, 0);
    g_assert_cmphex(apic_get(&a, 1, SVR), ==, 0xff);
    apic_rig_close(&a);
}

static void test_extint(void)
{
    start(2);
    Irq intr = lapic_bus_intr(a.bus), nmi = lapic_bus_nmi(a.bus);

    a.inta_vector = 0x31;
    irq_set(&intr, 1); /* LINT0 is masked */
    g_assert_false(irq_pending(&a, 0));
    apic_set(&a, 0, LINT0, 0x700);
    g_assert_true(irq_pending(&a, 0));
    g_assert_false(irq_pending(&a, 1));
    message(0, LAPIC_FIXED, 0x55, false);
    g_assert_cmphex(ack(&a, 0), ==, 0x55); /* the APIC's own first */
    g_assert_cmpuint(a.inta_count, ==, 0);
    lapic_intc.set_priority(a.apic[0], 15); /* ExtINT knows no priority */
    g_assert_cmphex(ack(&a, 0), ==, 0x31);
    g_assert_cmpuint(a.inta_count, ==, 1);
    g_assert_false(in_set(0, ISR, 0x31));
    g_assert_true(irq_pending(&a, 0)); /* as long as INTR is high */
    irq_set(&intr, 0);
    g_assert_false(irq_pending(&a, 0));
    /* NMI by LINT1, on the edge */
    irq_set(&nmi, 1);
    g_assert_cmphex(apic_rig_events(&a, 0), ==, 0);
    irq_set(&nmi, 0);
    apic_set(&a, 0, LINT1, 0x400);
    irq_set(&nmi, 1);
    irq_set(&nmi, 1);
    g_assert_cmphex(apic_rig_events(&a, 0), ==, VCPU_NMI);
    irq_set(&nmi, 0);
    /* globally disabled: the pins are INTR and NMI */
    g_assert_true(wrmsr(&a, 1, BASE_MSR, 0xfee00000));
    g_assert_cmphex(apic_get(&a, 1, VER), ==, 0xffffffff);
    irq_set(&intr, 1);
    g_assert_true(irq_pending(&a, 1));
    g_assert_cmphex(ack(&a, 1), ==, 0x31);
    irq_set(&intr, 0);
    g_assert_false(irq_pending(&a, 1));
    irq_pulse(&nmi);
    g_assert_cmphex(apic_rig_events(&a, 1), ==, VCPU_NMI);
    g_assert_false(message(1, LAPIC_FIXED, 0x40, false));
    /* ExtINT as a message (I/O APIC pin 0) */
    g_assert_true(message(0, LAPIC_EXTINT, 0, false));
    g_assert_cmphex(ack(&a, 0), ==, 0x31);
    g_assert_cmpint(ack(&a, 0), ==, -1);
    apic_rig_close(&a);
}

static void test_level_and_eoi(void)
{
    start(1);
    message(0, LAPIC_FIXED, 0x60, true);
    message(0, LAPIC_FIXED, 0x70, false);
    g_assert_true(in_set(0, TMR, 0x60));
    g_assert_false(in_set(0, TMR, 0x70));
    g_assert_cmphex(ack(&a, 0), ==, 0x70);
    apic_set(&a, 0, EOI, 0);
    g_assert_cmpuint(a.n_eoi, ==, 0);
    g_assert_cmphex(ack(&a, 0), ==, 0x60);
    apic_set(&a, 0, EOI, 0);
    g_assert_cmpuint(a.n_eoi, ==, 1);
    g_assert_cmphex(a.eoi[0], ==, 0x60);
    message(0, LAPIC_FIXED, 0x60, false); /* the trigger mode is that of the last message */
    g_assert_false(in_set(0, TMR, 0x60));
    /* the broadcast takes the lock itself where nobody holds it */
    message(0, LAPIC_FIXED, 0x61, true);
    g_assert_cmphex(ack(&a, 0), ==, 0x61);
    machine_unlock();
    lapic_mmio_write(a.apic[0], EOI, 0);
    machine_lock();
    g_assert_cmphex(a.eoi[1], ==, 0x61);
    apic_rig_close(&a);
}

static void test_lint_fixed(void)
{
    start(1);
    Irq intr = lapic_bus_intr(a.bus);

    apic_set(&a, 0, LINT0, 0x45); /* edge */
    irq_set(&intr, 1);
    g_assert_cmphex(ack(&a, 0), ==, 0x45);
    apic_set(&a, 0, EOI, 0);
    g_assert_false(irq_pending(&a, 0));
    irq_set(&intr, 0);
    apic_set(&a, 0, LINT0, 0x8045); /* level */
    irq_set(&intr, 1);
    g_assert_cmphex(apic_get(&a, 0, LINT0), ==, 0xc045); /* remote IRR */
    g_assert_cmphex(ack(&a, 0), ==, 0x45);
    g_assert_false(irq_pending(&a, 0));
    apic_set(&a, 0, EOI, 0);
    g_assert_true(irq_pending(&a, 0)); /* still high */
    g_assert_cmphex(ack(&a, 0), ==, 0x45);
    irq_set(&intr, 0);
    apic_set(&a, 0, EOI, 0);
    g_assert_cmphex(apic_get(&a, 0, LINT0), ==, 0x8045);
    g_assert_false(irq_pending(&a, 0));
    apic_rig_close(&a);
}

static void test_errors(void)
{
    start(2);
    apic_set(&a, 0, LVTERR, 0xe0);
    ipi(0, 1, 0x4005); /* vectors 0-15 are illegal */
    g_assert_cmphex(ack(&a, 0), ==, 0xe0);
    apic_set(&a, 0, EOI, 0);
    g_assert_cmphex(apic_get(&a, 0, ESR), ==, 0); /* shown after a write */
    apic_set(&a, 0, ESR, 0);
    g_assert_cmphex(apic_get(&a, 0, ESR), ==, 0x20);
    apic_set(&a, 0, ESR, 0);
    g_assert_cmphex(apic_get(&a, 0, ESR), ==, 0);
    message(0, LAPIC_FIXED, 0x0f, false);
    apic_set(&a, 0, ESR, 0);
    g_assert_cmphex(apic_get(&a, 0, ESR), ==, 0x40);
    apic_get(&a, 0, 0x40); /* reserved register */
    apic_set(&a, 0, ESR, 0);
    g_assert_cmphex(apic_get(&a, 0, ESR), ==, 0x80);
    apic_set(&a, 0, LVTERR, 0x03); /* an illegal error vector must not recurse */
    message(0, LAPIC_FIXED, 0x0f, false);
    apic_set(&a, 0, VER, 0); /* read-only: no error */
    apic_set(&a, 0, ISR, 0);
    apic_set(&a, 0, ESR, 0);
    g_assert_cmphex(apic_get(&a, 0, ESR), ==, 0x40);
    apic_rig_close(&a);
}

static void test_base_msr(void)
{
    uint64_t v;

    start(2);
    g_assert_false(wrmsr(&a, 0, BASE_MSR, 0xfee00d00 | 1)); /* reserved bits */
    g_assert_false(wrmsr(&a, 0, BASE_MSR, 1ull << 40 | 0x900));
    g_assert_false(wrmsr(&a, 0, BASE_MSR, 0xfee00500)); /* x2APIC without enable */
    g_assert_true(wrmsr(&a, 0, BASE_MSR, 0xfee00d00));
    g_assert_false(wrmsr(&a, 0, BASE_MSR, 0xfee00900)); /* not back */
    g_assert_true(wrmsr(&a, 0, BASE_MSR, 0xfee00100));
    g_assert_false(wrmsr(&a, 0, BASE_MSR, 0xfee00d00)); /* not in one step */
    g_assert_true(wrmsr(&a, 0, BASE_MSR, 0xfee00900));
    g_assert_cmphex(apic_get(&a, 0, SVR), ==, 0xff);   /* as after power-on */
    g_assert_true(wrmsr(&a, 1, BASE_MSR, 0xfee00900)); /* the BSP flag is not the guest's */
    g_assert_true(rdmsr(&a, 1, BASE_MSR, &v));
    g_assert_cmphex(v, ==, 0xfee00800);
    g_assert_true(wrmsr(&a, 0, BASE_MSR, 0xfed50900));
    g_assert_cmphex(readl(&a.r, LAPIC_BASE + VER), ==, 0xffffffff);
    g_assert_cmphex(readl(&a.r, 0xfed50000 + VER), ==, 0x00050014);
    Device *dev = a.r.m->devices->pdata[0];
    dev->type->reset(dev);
    g_assert_cmphex(apic_get(&a, 0, VER), ==, 0x00050014);
    apic_rig_close(&a);
}

static void test_x2apic(void)
{
    uint64_t v;

    start(3);
    g_assert_false(rdmsr(&a, 0, X2(ID), &v)); /* not in xAPIC mode */
    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(wrmsr(&a, i, BASE_MSR, i ? 0xfee00c00 : 0xfee00d00));
    }
    g_assert_cmphex(apic_get(&a, 0, VER), ==, 0xffffffff); /* the window is shut */
    g_assert_true(rdmsr(&a, 2, X2(ID), &v));
    g_assert_cmphex(v, ==, 2);
    g_assert_true(rdmsr(&a, 2, X2(LDR), &v));
    g_assert_cmphex(v, ==, 4);
    static const uint16_t gp_read[] = {0x80e, 0x80b, 0x831, 0x83f, 0x809, 0x80c, 0x840, 0x8ff};
    for (unsigned i = 0; i < G_N_ELEMENTS(gp_read); i++) {
        g_assert_false(rdmsr(&a, 0, gp_read[i], &v));
    }
    static const struct {
        uint16_t msr;
        uint64_t val;
    } gp_write[] = {
        {X2(ID), 0},
        {X2(VER), 0},
        {X2(LDR), 0},
        {X2(DFR), 0},
        {X2(PPR), 0},
        {X2(TPR), 0x100},
        {X2(EOI), 1},
        {X2(ESR), 1},
        {X2(SVR), 0x1000},
        {X2(LVTT), 0x80000},
        {X2(INITIAL), 1ull << 32},
        {X2(DIVIDE), 4},
        {X2(CURRENT), 0},
        {X2(ICR), 0x1000},
        {0x83f, 0x100},
        {X2(IRR), 0},
        {X2(LVTPC), 0x20000},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(gp_write); i++) {
        g_assert_false(wrmsr(&a, 0, gp_write[i].msr, gp_write[i].val));
    }
    g_assert_true(wrmsr(&a, 0, X2(ICR), 2ull << 32 | 0x4045));
    g_assert_true(rdmsr(&a, 0, X2(ICR), &v));
    g_assert_cmphex(v, ==, 2ull << 32 | 0x4045);
    g_assert_cmphex(ack(&a, 2), ==, 0x45);
    g_assert_true(wrmsr(&a, 2, X2(EOI), 0));
    wrmsr(&a, 0, X2(ICR), 0x5ull << 32 | 0x4846); /* logical: cluster 0, members 0 and 2 */
    g_assert_true(irq_pending(&a, 0) && !irq_pending(&a, 1) && irq_pending(&a, 2));
    wrmsr(&a, 0, X2(ICR), 0x10002ull << 32 | 0x4847); /* another cluster */
    g_assert_false(irq_pending(&a, 1));
    wrmsr(&a, 0, X2(ICR), 0xffffffffull << 32 | 0x4048);
    g_assert_true(irq_pending(&a, 1));
    g_assert_true(wrmsr(&a, 1, 0x83f, 0x99)); /* self IPI */
    g_assert_cmphex(ack(&a, 1), ==, 0x99);
    /* 8-bit messages of devices still reach it */
    g_assert_true(message(1, LAPIC_FIXED, 0xaa, false));
    g_assert_cmphex(ack(&a, 1), ==, 0xaa);
    apic_rig_close(&a);
}

static void test_msi(void)
{
    start(2);
    lapic_deliver_msi(a.bus, 0xfee01000, 0x0041);
    g_assert_cmphex(who(0x41), ==, 2);
    lapic_deliver_msi(a.bus, 0xfeeff000, 0x0041);
    g_assert_cmphex(who(0x41), ==, 3);
    apic_set(&a, 0, LDR, 1u << 24);
    apic_set(&a, 1, LDR, 2u << 24);
    lapic_deliver_msi(a.bus, 0xfee02004, 0x0142); /* logical, lowest priority */
    g_assert_cmphex(who(0x42), ==, 2);
    lapic_deliver_msi(a.bus, 0xfee0300c, 0x0043); /* redirection hint: one of both */
    unsigned one = who(0x43);
    g_assert_true(one == 1 || one == 2);
    lapic_deliver_msi(a.bus, 0xfee00000, 0xc044); /* level assert */
    g_assert_true(in_set(0, TMR, 0x44));
    lapic_deliver_msi(a.bus, 0xfee01000, 0x8045); /* level de-assert */
    g_assert_false(in_set(1, IRR, 0x45));
    lapic_deliver_msi(a.bus, 0xfee01000, 0x0400);
    g_assert_cmphex(apic_rig_events(&a, 1), ==, VCPU_NMI);
    lapic_deliver_msi(a.bus, 0x1000, 0x0041); /* no MSI address */
    lapic_deliver_msi(a.bus, UINT64_MAX, 0x0041);
    g_assert_cmphex(who(0x41), ==, 0);
    apic_rig_close(&a);
}

static unsigned taken; /* atomic */

static gpointer sender(gpointer unused)
{
    for (unsigned i = 0; i < 5000; i++) {
        g_assert_true(message(0, LAPIC_FIXED, 0x40 + i % 64, false));
        while (__atomic_load_n(&taken, __ATOMIC_SEQ_CST) != i + 1) {
            g_thread_yield();
        }
    }
    return NULL;
}

/* CR8 is written without the lock while interrupts arrive: none may be lost. */
static void test_cr8_race(void)
{
    start(1);
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    taken = 0;
    GThread *t = g_thread_new("sender", sender, NULL);
    for (unsigned n = 0; n < 5000;) {
        lapic_intc.set_priority(a.apic[0], 15);
        lapic_intc.set_priority(a.apic[0], 0);
        if (__atomic_load_n(&a.cpu[0].events, __ATOMIC_SEQ_CST) & VCPU_IRQ) {
            int v = ack(&a, 0);
            if (v >= 0) {
                g_assert_cmphex(v, ==, 0x40 + n % 64);
                n++;
                lapic_mmio_write(a.apic[0], EOI, 0);
                __atomic_store_n(&taken, n, __ATOMIC_SEQ_CST);
            }
        }
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_thread_join(t);
    g_assert_false(irq_pending(&a, 0));
    apic_rig_close(&a);
}

static void test_state(void)
{
    start(2);
    apic_set(&a, 0, LVTT, 0x20050);
    apic_set(&a, 0, INITIAL, 1000000);
    apic_set(&a, 0, LINT0, 0x700);
    message(0, LAPIC_FIXED, 0x61, true);
    ack(&a, 0);
    message(0, LAPIC_FIXED, 0x71, false);
    rig_roundtrip(a.r.m->devices->pdata[0]);
    g_assert_true(irq_pending(&a, 0));
    g_assert_cmphex(ack(&a, 0), ==, 0x71);
    g_assert_true(in_set(0, ISR, 0x61));
    apic_rig_close(&a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/lapic/reset", test_reset);
    g_test_add_func("/lapic/priorities", test_priorities);
    g_test_add_func("/lapic/tpr", test_tpr);
    g_test_add_func("/lapic/timer-one-shot", test_timer_one_shot);
    g_test_add_func("/lapic/timer-periodic", test_timer_periodic);
    g_test_add_func("/lapic/tsc-deadline", test_tsc_deadline);
    g_test_add_func("/lapic/ipi-destinations", test_ipi_destinations);
    g_test_add_func("/lapic/lowest-priority", test_lowest_priority);
    g_test_add_func("/lapic/special-modes", test_special_modes);
    g_test_add_func("/lapic/extint", test_extint);
    g_test_add_func("/lapic/level-eoi", test_level_and_eoi);
    g_test_add_func("/lapic/lint-fixed", test_lint_fixed);
    g_test_add_func("/lapic/errors", test_errors);
    g_test_add_func("/lapic/base-msr", test_base_msr);
    g_test_add_func("/lapic/x2apic", test_x2apic);
    g_test_add_func("/lapic/msi", test_msi);
    g_test_add_func("/lapic/cr8-race", test_cr8_race);
    g_test_add_func("/lapic/state", test_state);
    return g_test_run();
}
