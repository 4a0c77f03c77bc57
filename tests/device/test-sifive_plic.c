/* PLIC against the RISC-V PLIC specification 1.0.0. */
#include "hw/intc/sifive_plic.h"
#include "riscv-rig.h"

enum { AT = 0xc000000, PENDING = AT + 0x1000, ENABLE = AT + 0x2000, CTX = AT + 0x200000 };

static void drive(Plic *s, unsigned n, int level)
{
    Irq irq = plic_irq(s, n);

    irq_set(&irq, level);
}

static void test_claim(void)
{
    Rig r;
    Clock *keep = riscv_rig_open(&r, 2);
    Plic *s = plic_new(r.m, &r.m->memory_root, AT, NULL);

    /* Source 10 for the supervisor context of hart 1 (context 3). */
    writel(&r, AT + 10 * 4, 3);
    writel(&r, ENABLE + 3 * 0x80, 1 << 10 | 1 << 5 | 1);
    g_assert_cmphex(readl(&r, ENABLE + 3 * 0x80), ==, 1 << 10 | 1 << 5);
    drive(s, 10, 1);
    g_assert_cmphex(readl(&r, PENDING), ==, 1 << 10);
    g_assert_true(pin(&r, 1, RISCV_IRQ_SEIP));
    g_assert_false(pin(&r, 1, RISCV_IRQ_MEIP));
    g_assert_false(pin(&r, 0, RISCV_IRQ_SEIP));
    /* A threshold of its priority masks it; one below does not. */
    writel(&r, CTX + 3 * 0x1000, 3);
    g_assert_false(pin(&r, 1, RISCV_IRQ_SEIP));
    writel(&r, CTX + 3 * 0x1000, 2);
    g_assert_true(pin(&r, 1, RISCV_IRQ_SEIP));
    g_assert_cmpuint(readl(&r, CTX + 3 * 0x1000 + 4), ==, 10);
    g_assert_false(pin(&r, 1, RISCV_IRQ_SEIP));
    g_assert_cmpuint(readl(&r, CTX + 3 * 0x1000 + 4), ==, 0);
    /* The level is still up: again after completion, not before. */
    writel(&r, CTX + 3 * 0x1000 + 4, 11); /* another source: nothing */
    g_assert_false(pin(&r, 1, RISCV_IRQ_SEIP));
    writel(&r, CTX + 3 * 0x1000 + 4, 10);
    g_assert_true(pin(&r, 1, RISCV_IRQ_SEIP));
    drive(s, 10, 0);
    g_assert_false(pin(&r, 1, RISCV_IRQ_SEIP));
    riscv_rig_close(&r, keep);
}

static void test_priority(void)
{
    Rig r;
    Clock *keep = riscv_rig_open(&r, 1);
    Plic *s = plic_new(r.m, &r.m->memory_root, AT, NULL);

    writel(&r, ENABLE, 0xffffffff);
    writel(&r, ENABLE + 4, 0xffffffff);
    writel(&r, AT + 4 * 4, 1);
    writel(&r, AT + 9 * 4, 2);
    writel(&r, AT + 40 * 4, 2);
    for (unsigned n = 1; n < 64; n++) {
        drive(s, n, 1);
    }
    /* Priority 0 never interrupts; ties go to the lowest number. */
    g_assert_cmpuint(readl(&r, CTX + 4), ==, 9);
    g_assert_cmpuint(readl(&r, CTX + 4), ==, 40);
    g_assert_cmpuint(readl(&r, CTX + 4), ==, 4);
    g_assert_cmpuint(readl(&r, CTX + 4), ==, 0);
    writel(&r, AT + 3 * 4, 0xffffffff);
    g_assert_cmpuint(readl(&r, AT + 3 * 4), ==, 7);
    g_assert_true(pin(&r, 0, RISCV_IRQ_MEIP));
    g_assert_false(pin(&r, 0, RISCV_IRQ_SEIP));
    rig_roundtrip((Device *)s);
    riscv_rig_close(&r, keep);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/plic/claim", test_claim);
    g_test_add_func("/plic/priority", test_priority);
    return g_test_run();
}
