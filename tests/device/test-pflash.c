/* Flash against the CFI specification (JESD68.01) and the J3 data sheet's command set. */
#include "harness.h"
#include "hw/block/pflash.h"

enum { AT = 0x20000000, SIZE = 0x2000000 };

static Pflash *setup(Rig *r)
{
    rig_open(r);
    return pflash_new(r->m, &r->m->memory_root, "flash", AT, SIZE, NULL, NULL);
}

static void both(Rig *r, uint64_t off, uint16_t cmd)
{
    writel(r, AT + off, cmd | (uint32_t)cmd << 16);
}

static void test_query(void)
{
    Rig r;
    setup(&r);
    g_assert_cmphex(readl(&r, AT), ==, 0xffffffff);
    both(&r, 0x55 * 4, 0x98);
    g_assert_cmphex(readl(&r, AT + 0x10 * 4), ==, 0x00510051);
    g_assert_cmphex(readl(&r, AT + 0x11 * 4), ==, 0x00520052);
    g_assert_cmphex(readl(&r, AT + 0x12 * 4), ==, 0x00590059);
    g_assert_cmphex(readl(&r, AT + 0x13 * 4) & 0xff, ==, 1);
    /* Two chips of 16 MiB, 128 blocks of 128 KiB each. */
    g_assert_cmphex(readl(&r, AT + 0x27 * 4) & 0xff, ==, 24);
    g_assert_cmphex(readl(&r, AT + 0x2d * 4) & 0xff, ==, 127);
    g_assert_cmphex(readl(&r, AT + 0x30 * 4) & 0xff, ==, 2);
    both(&r, 0, 0xff);
    g_assert_cmphex(readl(&r, AT + 0x10 * 4), ==, 0xffffffff);
    rig_close(&r);
}

static void test_program_erase(void)
{
    Rig r;
    Pflash *s = setup(&r);
    both(&r, 0x100, 0x40);
    writel(&r, AT + 0x100, 0x12345678);
    g_assert_cmphex(readl(&r, AT), ==, 0x00800080); /* status: ready */
    both(&r, 0, 0xff);
    g_assert_cmphex(readl(&r, AT + 0x100), ==, 0x12345678);
    /* Bits are only cleared. */
    both(&r, 0x100, 0x40);
    writel(&r, AT + 0x100, 0xffff0000);
    both(&r, 0, 0xff);
    g_assert_cmphex(readl(&r, AT + 0x100), ==, 0x12340000);
    /* Buffer of three words. */
    both(&r, PFLASH_BLOCK, 0xe8);
    g_assert_cmphex(readl(&r, AT + PFLASH_BLOCK) & 0x80, ==, 0x80);
    both(&r, PFLASH_BLOCK, 2);
    for (unsigned i = 0; i < 3; i++) {
        writel(&r, AT + PFLASH_BLOCK + i * 4, 0xa0a0a0a0 + i);
    }
    both(&r, PFLASH_BLOCK, 0xd0);
    both(&r, 0, 0xff);
    g_assert_cmphex(readl(&r, AT + PFLASH_BLOCK + 8), ==, 0xa0a0a0a2);
    g_assert_cmphex(readl(&r, AT + PFLASH_BLOCK + 12), ==, 0xffffffff);
    /* Erase: one block. */
    both(&r, 0x100, 0x20);
    both(&r, 0x100, 0xd0);
    both(&r, 0, 0xff);
    g_assert_cmphex(readl(&r, AT + 0x100), ==, 0xffffffff);
    g_assert_cmphex(readl(&r, AT + PFLASH_BLOCK + 8), ==, 0xa0a0a0a2);
    /* A wrong second cycle is a sequence error until it is cleared. */
    both(&r, 0x100, 0x20);
    both(&r, 0x100, 0x33);
    g_assert_cmphex(readl(&r, AT) & 0x30, ==, 0x30);
    both(&r, 0, 0x50);
    both(&r, 0, 0x70);
    g_assert_cmphex(readl(&r, AT), ==, 0x00800080);
    rig_roundtrip((Device *)s);
    rig_close(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pflash/query", test_query);
    g_test_add_func("/pflash/program-erase", test_program_erase);
    return g_test_run();
}
