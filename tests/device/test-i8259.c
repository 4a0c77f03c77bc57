/* hw/intc/i8259: the Intel 8259A data sheet, and ELCR of the PIIX3's. */
#include "harness.h"
#include "hw/intc/i8259.h"

enum { INTR, M0 = 0x20, M1 = 0x21, S0 = 0xa0, S1 = 0xa1, ELCR0 = 0x4d0, ELCR1 = 0x4d1 };

static I8259 *pic;

/* As every BIOS does it: vectors 8… and 70h…, 8086 mode, all unmasked. */
static void init_pair(Rig *r, uint8_t icw4)
{
    outb(r, M0, 0x11);
    outb(r, M1, 0x08);
    outb(r, M1, 0x04);
    outb(r, M1, icw4);
    outb(r, S0, 0x11);
    outb(r, S1, 0x70);
    outb(r, S1, 0x02);
    outb(r, S1, 0x01);
    outb(r, M1, 0);
    outb(r, S1, 0);
}

static void start(Rig *r)
{
    rig_open(r);
    pic = i8259_new(r->m, &r->m->io_root, rig_irq(r, INTR), NULL);
    g_assert_nonnull(pic);
    init_pair(r, 0x01);
}

static void line(unsigned n, int level)
{
    Irq irq = i8259_irq(pic, n);

    irq_set(&irq, level);
}

static void pulse(unsigned n)
{
    line(n, 1);
    line(n, 0);
}

static uint8_t isr(Rig *r, uint16_t port)
{
    outb(r, port, 0x0b);
    return inb(r, port);
}

static uint8_t irr(Rig *r, uint16_t port)
{
    outb(r, port, 0x0a);
    return inb(r, port);
}

static void test_edge(void)
{
    Rig r;

    start(&r);
    g_assert_cmpint(r.level[INTR], ==, 0);
    line(4, 1);
    g_assert_cmpint(r.level[INTR], ==, 1);
    g_assert_cmphex(irr(&r, M0), ==, 0x10);
    g_assert_cmphex(i8259_ack(pic), ==, 0x0c);
    g_assert_cmpint(r.level[INTR], ==, 0);
    g_assert_cmphex(irr(&r, M0), ==, 0);
    g_assert_cmphex(isr(&r, M0), ==, 0x10);
    outb(&r, M0, 0x20); /* EOI; the line is still high: no new edge */
    g_assert_cmpint(r.level[INTR], ==, 0);
    line(4, 0);
    line(4, 1);
    g_assert_cmpint(r.level[INTR], ==, 1);
    /* the mask holds it back but keeps it */
    outb(&r, M1, 0x10);
    g_assert_cmpint(r.level[INTR], ==, 0);
    outb(&r, M1, 0);
    g_assert_cmpint(r.level[INTR], ==, 1);
    rig_close(&r);
}

static void test_priorities(void)
{
    Rig r;

    start(&r);
    line(5, 1);
    line(3, 1);
    g_assert_cmphex(i8259_ack(pic), ==, 0x0b);
    g_assert_cmpint(r.level[INTR], ==, 0); /* 5 is lower */
    line(1, 1);
    g_assert_cmpint(r.level[INTR], ==, 1); /* nested */
    g_assert_cmphex(i8259_ack(pic), ==, 0x09);
    g_assert_cmphex(isr(&r, M0), ==, 0x0a);
    outb(&r, M0, 0x20);
    g_assert_cmphex(isr(&r, M0), ==, 0x08); /* the highest ended */
    outb(&r, M0, 0x63);                     /* specific EOI 3 */
    g_assert_cmphex(i8259_ack(pic), ==, 0x0d);
    rig_close(&r);
}

static void test_cascade(void)
{
    Rig r;

    start(&r);
    pulse(12);
    g_assert_cmpint(r.level[INTR], ==, 1);
    g_assert_cmphex(i8259_ack(pic), ==, 0x74);
    g_assert_cmphex(isr(&r, M0), ==, 0x04);
    g_assert_cmphex(isr(&r, S0), ==, 0x10);
    pulse(8); /* higher on the slave, but the master's input 2 is in service */
    g_assert_cmpint(r.level[INTR], ==, 0);
    pulse(1);
    g_assert_cmpint(r.level[INTR], ==, 1);
    g_assert_cmphex(i8259_ack(pic), ==, 0x09);
    outb(&r, M0, 0x20);
    outb(&r, M0, 0x20);
    g_assert_cmphex(i8259_ack(pic), ==, 0x70);
    outb(&r, S0, 0x20);
    outb(&r, M0, 0x20);
    outb(&r, S0, 0x20);
    g_assert_cmphex(isr(&r, S0), ==, 0);
    g_assert_cmpint(r.level[INTR], ==, 0);
    line(2, 1); /* nobody is there */
    g_assert_cmpint(r.level[INTR], ==, 0);
    rig_close(&r);
}

static void test_special_fully_nested(void)
{
    Rig r;

    start(&r);
    init_pair(&r, 0x11);
    pulse(12);
    g_assert_cmphex(i8259_ack(pic), ==, 0x74);
    pulse(8);
    g_assert_cmpint(r.level[INTR], ==, 1);
    g_assert_cmphex(i8259_ack(pic), ==, 0x70);
    pulse(14); /* lower than 12 on the slave */
    g_assert_cmpint(r.level[INTR], ==, 0);
    rig_close(&r);
}

static void test_spurious(void)
{
    Rig r;

    start(&r);
    outb(&r, ELCR0, 0xff); /* 3-7 level */
    g_assert_cmphex(inb(&r, ELCR0), ==, 0xf8);
    outb(&r, ELCR1, 0xff);
    g_assert_cmphex(inb(&r, ELCR1), ==, 0xde);
    g_assert_cmphex(i8259_ack(pic), ==, 0x0f);
    g_assert_cmphex(isr(&r, M0), ==, 0); /* not in service */
    line(5, 1);
    line(5, 0);
    g_assert_cmpint(r.level[INTR], ==, 0); /* level request withdrawn */
    g_assert_cmphex(i8259_ack(pic), ==, 0x0f);
    rig_close(&r);
}

static void test_level(void)
{
    Rig r;

    start(&r);
    outb(&r, ELCR1, 0x08); /* 11 */
    line(11, 1);
    g_assert_cmphex(i8259_ack(pic), ==, 0x73);
    g_assert_cmphex(irr(&r, S0), ==, 0x08); /* as long as the line is high */
    outb(&r, S0, 0x20);
    outb(&r, M0, 0x20);
    g_assert_cmpint(r.level[INTR], ==, 1); /* again */
    g_assert_cmphex(i8259_ack(pic), ==, 0x73);
    line(11, 0);
    outb(&r, S0, 0x20);
    outb(&r, M0, 0x20);
    g_assert_cmpint(r.level[INTR], ==, 0);
    rig_close(&r);
}

static void test_rotation(void)
{
    Rig r;

    start(&r);
    outb(&r, M0, 0xc3); /* 3 is lowest, 4 highest */
    line(0, 1);
    line(4, 1);
    line(3, 1);
    g_assert_cmphex(i8259_ack(pic), ==, 0x0c);
    outb(&r, M0, 0xa0); /* rotate on non-specific EOI: 4 becomes lowest, 5 highest */
    g_assert_cmphex(i8259_ack(pic), ==, 0x08);
    outb(&r, M0, 0xe0); /* rotate on specific EOI 0: 1 highest */
    line(4, 0);
    line(4, 1);
    g_assert_cmphex(i8259_ack(pic), ==, 0x0b);
    rig_close(&r);
}

static void test_auto_eoi(void)
{
    Rig r;

    start(&r);
    init_pair(&r, 0x03);
    pulse(3);
    g_assert_cmphex(i8259_ack(pic), ==, 0x0b);
    g_assert_cmphex(isr(&r, M0), ==, 0);
    outb(&r, M0, 0x80); /* rotate in automatic EOI mode */
    pulse(3);
    g_assert_cmphex(i8259_ack(pic), ==, 0x0b);
    pulse(3);
    pulse(7); /* 4 is highest now, 3 lowest */
    g_assert_cmphex(i8259_ack(pic), ==, 0x0f);
    rig_close(&r);
}

static void test_special_mask(void)
{
    Rig r;

    start(&r);
    pulse(3);
    g_assert_cmphex(i8259_ack(pic), ==, 0x0b);
    pulse(6);
    g_assert_cmpint(r.level[INTR], ==, 0);
    outb(&r, M1, 0x08);
    outb(&r, M0, 0x68); /* set special mask mode: 3 is masked and no longer in the way */
    g_assert_cmpint(r.level[INTR], ==, 1);
    g_assert_cmphex(i8259_ack(pic), ==, 0x0e);
    outb(&r, M0, 0x20); /* non-specific EOI passes over the masked 3 */
    g_assert_cmphex(isr(&r, M0), ==, 0x08);
    outb(&r, M0, 0x48); /* off again */
    pulse(6);
    g_assert_cmpint(r.level[INTR], ==, 0);
    rig_close(&r);
}

static void test_poll(void)
{
    Rig r;

    start(&r);
    outb(&r, M0, 0x0c);
    g_assert_cmphex(inb(&r, M0), ==, 0); /* nothing */
    pulse(5);
    outb(&r, M0, 0x0c);
    g_assert_cmphex(inb(&r, M0), ==, 0x85);
    g_assert_cmphex(isr(&r, M0), ==, 0x20);
    g_assert_cmpint(r.level[INTR], ==, 0);
    pulse(9);
    outb(&r, S0, 0x0c);
    g_assert_cmphex(inb(&r, S1), ==, 0x81); /* either address */
    g_assert_cmphex(isr(&r, S0), ==, 0x02);
    g_assert_cmphex(irr(&r, M0), ==, 0); /* INT of the slave went away */
    rig_close(&r);
}

static void test_init(void)
{
    Rig r;

    start(&r);
    pulse(3);
    i8259_ack(pic);
    line(6, 1);
    outb(&r, M1, 0x55);
    outb(&r, M0, 0x0b);
    outb(&r, M0, 0x11); /* ICW1: mask, ISR and edges are cleared, IRR is read, no interrupts */
    g_assert_cmphex(inb(&r, M0), ==, 0);
    g_assert_cmphex(isr(&r, M0), ==, 0);
    line(0, 1);
    g_assert_cmpint(r.level[INTR], ==, 0);
    outb(&r, M1, 0x47); /* low bits of ICW2 do not count */
    outb(&r, M1, 0x04);
    outb(&r, M1, 0x01);
    g_assert_cmphex(inb(&r, M1), ==, 0);
    g_assert_cmpint(r.level[INTR], ==, 1);
    g_assert_cmphex(i8259_ack(pic), ==, 0x40);
    /* single, no ICW4: one word only */
    outb(&r, M0, 0x12);
    outb(&r, M1, 0x20);
    outb(&r, M1, 0xfe);
    g_assert_cmphex(inb(&r, M1), ==, 0xfe);
    rig_close(&r);
}

static void test_state(void)
{
    Rig r;

    start(&r);
    outb(&r, ELCR1, 0x0e);
    line(11, 1);
    pulse(4);
    i8259_ack(pic);
    outb(&r, S0, 0x11);
    outb(&r, M0, 0x68);
    rig_roundtrip(r.m->devices->pdata[0]);
    g_assert_cmphex(isr(&r, M0), ==, 0x04);
    rig_close(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8259/edge", test_edge);
    g_test_add_func("/i8259/priorities", test_priorities);
    g_test_add_func("/i8259/cascade", test_cascade);
    g_test_add_func("/i8259/special-fully-nested", test_special_fully_nested);
    g_test_add_func("/i8259/spurious", test_spurious);
    g_test_add_func("/i8259/level", test_level);
    g_test_add_func("/i8259/rotation", test_rotation);
    g_test_add_func("/i8259/auto-eoi", test_auto_eoi);
    g_test_add_func("/i8259/special-mask", test_special_mask);
    g_test_add_func("/i8259/poll", test_poll);
    g_test_add_func("/i8259/init", test_init);
    g_test_add_func("/i8259/state", test_state);
    return g_test_run();
}
