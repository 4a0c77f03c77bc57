/* 82371AB function 3 against data sheet 290562 and ACPI 4.8; SMBus with SPD (JEDEC 21-C). */
#include "hw/acpi/piix4_pm.h"
#include "pci-fixture.h"

#define DEVFN PCI_DEVFN(1, 3)
#define BASE 0x600u
#define SMB 0x700u
#define TICKS(n) ((int64_t)((n)*1000000000.0 / 3579545.0) + 1)

static unsigned smis;

static void smi(void *opaque)
{
    smis++;
}

static Piix4Pm *setup(Fixture *f, bool smm)
{
    Piix4PmConfig cfg = {.clock = f->clock,
                         .sci = fixture_line(f, 9),
                         .smi = smm ? smi : NULL,
                         .ram_size = 1536u << 20};
    GError *err = NULL;
    Piix4Pm *s = piix4_pm_new(f->m, f->bus, DEVFN, &cfg, &err);
    g_assert_no_error(err);
    cfg_write(f, DEVFN, 0x40, BASE | 1, 4);
    cfg_write(f, DEVFN, 0x80, 1, 1);
    cfg_write(f, DEVFN, 0x90, SMB | 1, 4);
    cfg_write(f, DEVFN, 0xd2, 9, 1);
    return s;
}

static void test_config(void)
{
    Fixture *f = fixture_new(4 << 20);
    setup(f, false);
    g_assert_cmphex(cfg_read(f, DEVFN, 0, 4), ==, 0x71138086);
    g_assert_cmphex(cfg_read(f, DEVFN, 8, 4) >> 8, ==, 0x068000);
    g_assert_cmphex(cfg_read(f, DEVFN, 0x3d, 1), ==, 1);
    g_assert_cmphex(cfg_read(f, DEVFN, 0x40, 4), ==, BASE | 1);
    cfg_write(f, DEVFN, 0x40, 0xffffffff, 4);
    g_assert_cmphex(cfg_read(f, DEVFN, 0x40, 4), ==, 0xffc1);
    cfg_write(f, DEVFN, 0x40, 0xe400, 4);
    g_assert_cmphex(inw(f, BASE), ==, 0xffff);
    g_assert_cmphex(inw(f, 0xe400), ==, 0);
    cfg_write(f, DEVFN, 0x80, 0, 1);
    g_assert_cmphex(inw(f, 0xe400), ==, 0xffff);
    /* Without SMM firmware sees it as set up already. */
    g_assert_cmphex(cfg_read(f, DEVFN, 0x58, 4) & 1 << 25, !=, 0);
    fixture_free(f);
}

static void test_timer(void)
{
    Fixture *f = fixture_new(4 << 20);
    setup(f, false);
    uint32_t start = inl(f, BASE + 8);
    clock_step(f->clock, NS_PER_SEC);
    g_assert_cmpuint((inl(f, BASE + 8) - start) & 0xffffff, ==, 3579545);
    /* 24 bits */
    clock_step(f->clock, 10 * NS_PER_SEC);
    g_assert_cmphex(inl(f, BASE + 8) & 0xff000000, ==, 0);
    g_assert_cmphex(inb(f, BASE + 0xb), ==, 0);
    fixture_free(f);
}

static void test_timer_interrupt(void)
{
    Fixture *f = fixture_new(4 << 20);
    setup(f, false);
    outw(f, BASE + 4, 1);
    outw(f, BASE + 2, 1);
    clock_step(f->clock, TICKS(0x800000) - 1000);
    g_assert_cmphex(inw(f, BASE) & 1, ==, 0);
    g_assert_cmpint(f->irq_level[9], ==, 0);
    clock_step(f->clock, 2000);
    g_assert_cmpint(f->irq_level[9], ==, 1);
    g_assert_cmphex(inw(f, BASE) & 1, ==, 1);
    outw(f, BASE, 1);
    g_assert_cmpint(f->irq_level[9], ==, 0);
    g_assert_cmphex(inw(f, BASE) & 1, ==, 0);
    /* The next change of bit 23, in the other direction. */
    clock_step(f->clock, TICKS(0x800000));
    g_assert_cmpint(f->irq_level[9], ==, 1);
    outw(f, BASE + 2, 0);
    g_assert_cmpint(f->irq_level[9], ==, 0);
    g_assert_cmpint((int)clock_next_deadline(f->clock), ==, -1);
    fixture_free(f);
}

static void test_power_button(void)
{
    Fixture *f = fixture_new(4 << 20);
    Piix4Pm *s = setup(f, false);
    outw(f, BASE + 2, 0x100);
    piix4_pm_power_button(s);
    g_assert_cmpint(f->irq_level[9], ==, 0); /* SCI is not enabled */
    outb(f, 0xb2, 0xf1);
    g_assert_cmphex(inw(f, BASE + 4) & 1, ==, 1);
    g_assert_cmpint(f->irq_level[9], ==, 1);
    g_assert_cmphex(inw(f, BASE), ==, 0x100);
    outw(f, BASE, 0x100);
    g_assert_cmpint(f->irq_level[9], ==, 0);
    outb(f, 0xb2, 0xf0);
    g_assert_cmphex(inw(f, BASE + 4) & 1, ==, 0);
    fixture_free(f);
}

static void test_gpe(void)
{
    Fixture *f = fixture_new(4 << 20);
    Piix4Pm *s = setup(f, false);
    outw(f, BASE + 4, 1);
    piix4_pm_gpe(s, 3);
    g_assert_cmphex(inw(f, BASE + 0xc), ==, 8);
    g_assert_cmpint(f->irq_level[9], ==, 0);
    outw(f, BASE + 0xe, 8);
    g_assert_cmpint(f->irq_level[9], ==, 1);
    outb(f, BASE + 0xc, 8);
    g_assert_cmpint(f->irq_level[9], ==, 0);
    fixture_free(f);
}

static void test_apm_and_smi(void)
{
    Fixture *f = fixture_new(4 << 20);
    setup(f, true);
    smis = 0;
    outb(f, 0xb3, 0x42);
    g_assert_cmphex(inb(f, 0xb3), ==, 0x42);
    outb(f, 0xb2, 0x07);
    g_assert_cmphex(inb(f, 0xb2), ==, 0x07);
    g_assert_cmpuint(smis, ==, 0);
    g_assert_cmphex(cfg_read(f, DEVFN, 0x58, 4), ==, 0);
    cfg_write(f, DEVFN, 0x58, 1 << 25, 4);
    outb(f, 0xb2, 0x07);
    g_assert_cmpuint(smis, ==, 0); /* SMI_EN is off */
    outl(f, BASE + 0x28, 1);
    outb(f, 0xb2, 0x07);
    g_assert_cmpuint(smis, ==, 1);
    g_assert_cmphex(inw(f, BASE + 0x18) & 0x20, ==, 0x20);
    outw(f, BASE + 0x18, 0x20);
    g_assert_cmphex(inw(f, BASE + 0x18) & 0x20, ==, 0);
    fixture_free(f);
}

/* SLP_EN reads 0; writing only one byte of a register leaves the other. */
static void test_bytes_of_registers(void)
{
    Fixture *f = fixture_new(4 << 20);
    setup(f, false);
    outb(f, BASE + 5, 0x14); /* SLP_TYP 5 */
    outb(f, BASE + 4, 0x01);
    g_assert_cmphex(inw(f, BASE + 4), ==, 0x1401);
    outb(f, BASE + 3, 0x01);
    outb(f, BASE + 2, 0x21);
    g_assert_cmphex(inw(f, BASE + 2), ==, 0x0121);
    g_assert_cmphex(inb(f, BASE + 3), ==, 0x01);
    /* S1…S3 are not there: nothing happens. */
    outw(f, BASE + 4, 0x2401);
    g_assert_cmphex(inw(f, BASE + 4), ==, 0x0401);
    fixture_free(f);
}

static uint8_t smb_read(Fixture *f, uint8_t addr, uint8_t cmd, uint8_t *status)
{
    outb(f, SMB, 0x1e);
    outb(f, SMB + 4, (uint8_t)(addr << 1 | 1));
    outb(f, SMB + 3, cmd);
    outb(f, SMB + 2, 0x48); /* start, byte data */
    *status = (uint8_t)inb(f, SMB);
    return (uint8_t)inb(f, SMB + 5);
}

static void test_smbus_spd(void)
{
    Fixture *f = fixture_new(4 << 20);
    setup(f, false);
    uint8_t st, sum = 0;

    /* 1.5 GiB: modules of 1 GiB and 512 MiB */
    g_assert_cmphex(smb_read(f, 0x50, 2, &st), ==, 8); /* DDR2 */
    g_assert_cmphex(st, ==, 2);
    g_assert_cmphex(smb_read(f, 0x50, 31, &st), ==, 0x01);
    g_assert_cmphex(smb_read(f, 0x51, 31, &st), ==, 0x80);
    for (unsigned i = 0; i < 63; i++) {
        sum += smb_read(f, 0x50, (uint8_t)i, &st);
    }
    g_assert_cmphex(smb_read(f, 0x50, 63, &st), ==, sum);
    smb_read(f, 0x52, 0, &st);
    g_assert_cmphex(st, ==, 4); /* nobody there */
    smb_read(f, 0x10, 0, &st);
    g_assert_cmphex(st, ==, 4);
    /* word data, and receive byte going on from there */
    outb(f, SMB, 0x1e);
    outb(f, SMB + 3, 0);
    outb(f, SMB + 4, 0xa1);
    outb(f, SMB + 2, 0x4c);
    g_assert_cmphex(inb(f, SMB + 5), ==, 128);
    g_assert_cmphex(inb(f, SMB + 6), ==, 8);
    outb(f, SMB + 2, 0x44);
    g_assert_cmphex(inb(f, SMB + 5), ==, 8);
    /* block read is cut to the 32 bytes of the buffer */
    outb(f, SMB, 0x1e);
    outb(f, SMB + 2, 0x54);
    g_assert_cmphex(inb(f, SMB + 5), ==, 32);
    inb(f, SMB + 2);
    for (unsigned i = 0; i < 100; i++) {
        inb(f, SMB + 7);
    }
    /* kill; interrupt on SCI */
    outb(f, SMB, 0x1e);
    g_assert_cmpint(f->irq_level[9], ==, 0);
    outb(f, SMB + 2, 0x49);
    g_assert_cmpint(f->irq_level[9], ==, 1);
    outb(f, SMB, 0x1e);
    g_assert_cmpint(f->irq_level[9], ==, 0);
    outb(f, SMB + 2, 0x02);
    g_assert_cmphex(inb(f, SMB), ==, 0x10);
    fixture_free(f);
}

static void test_state(void)
{
    Fixture *f = fixture_new(4 << 20);
    Piix4Pm *s = setup(f, false);
    GByteArray *out = g_byte_array_new();
    GError *err = NULL;
    size_t pos = 0;

    outw(f, BASE + 4, 1);
    outw(f, BASE + 2, 0x100);
    piix4_pm_power_button(s);
    state_save(piix4_pm_type.state, s, out);
    machine_reset(f->m);
    g_assert_cmphex(inw(f, BASE), ==, 0xffff);
    g_assert_cmpint(f->irq_level[9], ==, 0);
    g_assert_true(state_load(piix4_pm_type.state, s, out->data, out->len, &pos, &err));
    g_assert_cmphex(inl(f, BASE), ==, 0x01000100);
    g_assert_cmpint(f->irq_level[9], ==, 1);
    g_byte_array_unref(out);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/piix4_pm/config-space", test_config);
    g_test_add_func("/piix4_pm/timer-counts", test_timer);
    g_test_add_func("/piix4_pm/timer-interrupt", test_timer_interrupt);
    g_test_add_func("/piix4_pm/power-button-and-acpi-enable", test_power_button);
    g_test_add_func("/piix4_pm/gpe", test_gpe);
    g_test_add_func("/piix4_pm/apm-and-smi", test_apm_and_smi);
    g_test_add_func("/piix4_pm/bytes-of-registers", test_bytes_of_registers);
    g_test_add_func("/piix4_pm/smbus-spd", test_smbus_spd);
    g_test_add_func("/piix4_pm/state", test_state);
    return g_test_run();
}
