/*
 * The Arm machine "virt": what firmware and kernels find through a device tree at the addresses
 * that they know. GICv2, generic timer, PL011, PL031, PL061 with the power button, two banks
 * of flash, fw_cfg, 32 virtio-mmio blocks, a PCI host, PSCI. Device tree specification 0.4 and the
 * kernel's bindings; arm64 boot protocol: Documentation/arch/arm64/booting.rst of Linux.
 */
#include "hw/machine/virt_arm.h"
#include "core/arm64-board.h"
#include "core/log.h"
#include "core/option.h"
#include "hw/block/pflash.h"
#include "hw/char/pl011.h"
#include "hw/firmware/boot_image.h"
#include "hw/firmware/fdt.h"
#include "hw/firmware/fw_cfg.h"
#include "hw/firmware/rom.h"
#include "hw/gpio/pl061.h"
#include "hw/intc/gicv2.h"
#include "hw/pci/pcie_ecam.h"
#include "hw/timer/pl031.h"
#include "hw/virtio/virtio_mmio.h"
#include <string.h>

#define FLASH_BASE UINT64_C(0x00000000)
#define FLASH_SIZE (64ull << 20)
#define GICD_BASE UINT64_C(0x08000000)
#define GICC_BASE UINT64_C(0x08010000)
#define UART_BASE UINT64_C(0x09000000)
#define RTC_BASE UINT64_C(0x09010000)
#define FW_CFG_BASE UINT64_C(0x09020000)
#define GPIO_BASE UINT64_C(0x09030000)
#define VIRTIO_BASE UINT64_C(0x0a000000)
#define PCI_MEM_BASE UINT64_C(0x10000000)
#define PCI_MEM_SIZE UINT64_C(0x2eff0000)
#define PCI_IO_BASE UINT64_C(0x3eff0000)
#define PCI_IO_SIZE UINT64_C(0x10000)
#define RAM_BASE UINT64_C(0x40000000)
#define PCI_ECAM_BASE UINT64_C(0x4010000000)
#define PCI_ECAM_SIZE UINT64_C(0x10000000)
#define PCI_MEM64_BASE UINT64_C(0x8000000000)
#define PCI_MEM64_SIZE UINT64_C(0x8000000000)
#define MAX_RAM (255ull << 30)
enum { VIRTIO_SLOTS = 32, IRQS = 288, POWER_PIN = 3 };
enum { SPI_UART = 1, SPI_RTC = 2, SPI_PCI = 3, SPI_GPIO = 7, SPI_VIRTIO = 16 };
enum { PPI_PMU = 23, PPI_HYP = 26, PPI_VIRT = 27, PPI_SEC = 29, PPI_PHYS = 30 };
enum { SPI = 0, PPI = 1, EDGE = 1, HIGH = 4 };

typedef struct VirtArm {
    MemRegion ram;
    GicV2 *gic;
    Pl061 *gpio;
    PcieEcam *pci;
    Pflash *flash[2];
    BootMemory *boot;
    Fdt *fdt;
    bool secure, virtualization;
    bool firmware; /* starts from flash */
    uint32_t gic_phandle, clk_phandle, gpio_phandle;
} VirtArm;

/* ---- options ---- */

static bool read_options(Machine *m, VirtArm *v, GError **err)
{
    Options *o = m->cfg.machine_opts;
    const char *gic;

    if (!o) {
        return true;
    }
    gic = options_get(o, "gic-version");
    if (gic && strcmp(gic, "2")) {
        return fail(err, "-machine virt: gic-version=%s is not in this version, only 2 is", gic);
    }
    return options_get_bool(o, "secure", &v->secure, err) &&
           options_get_bool(o, "virtualization", &v->virtualization, err);
}

/* ---- parts ---- */

static bool create_ram(Machine *m, VirtArm *v, GError **err)
{
    if (m->cfg.ram_size > MAX_RAM) {
        return fail(err, "-m: the machine virt has room for %d GiB of memory",
                    (int)(MAX_RAM >> 30));
    }
    if (!mem_region_init_ram(&v->ram, "virt.ram", m->cfg.ram_size, err)) {
        return false;
    }
    m->ram = &v->ram;
    mem_region_add(&m->memory_root, &v->ram, RAM_BASE, 0);
    return true;
}

static void cpu_line(void *opaque, int n, int level)
{
    arm64_set_irq(opaque, n, level);
}

static bool create_cpus(Machine *m, VirtArm *v, GError **err)
{
    static const uint8_t ppis[ARM64_TIMERS] = {[ARM64_TIMER_PHYS] = PPI_PHYS,
                                               [ARM64_TIMER_VIRT] = PPI_VIRT,
                                               [ARM64_TIMER_HYP] = PPI_HYP,
                                               [ARM64_TIMER_SEC] = PPI_SEC};
    GicV2Config cfg = {.dist = GICD_BASE, .cpu = GICC_BASE, .n_cpus = m->cfg.smp, .n_irqs = IRQS};

    for (unsigned i = 0; i < m->cfg.smp; i++) {
        VCpu *cpu = vcpu_new(m, m->cfg.target, m->accel, i, m->cfg.cpu_model, err);

        if (!cpu) {
            return false;
        }
        arm64_set_levels(cpu, v->virtualization, v->secure);
        cfg.irq[i] = (Irq){cpu_line, cpu, ARM64_IRQ};
        cfg.fiq[i] = (Irq){cpu_line, cpu, ARM64_FIQ};
    }
    v->gic = gicv2_new(m, &m->memory_root, &cfg, err);
    if (!v->gic) {
        return false;
    }
    for (unsigned i = 0; i < m->cfg.smp; i++) {
        for (unsigned t = 0; t < ARM64_TIMERS; t++) {
            if (ppis[t]) {
                arm64_set_timer_irq(m->vcpus[i], t, gicv2_ppi(v->gic, i, ppis[t]));
            }
        }
    }
    return true;
}

static bool create_devices(Machine *m, VirtArm *v, GError **err)
{
    MemRegion *root = &m->memory_root;
    Irq off[8] = {{0}};
    PcieEcamConfig pci = {
        .ecam = PCI_ECAM_BASE,
        .ecam_size = PCI_ECAM_SIZE,
        .io = PCI_IO_BASE,
        .io_size = PCI_IO_SIZE,
        .mem32 = PCI_MEM_BASE,
        .mem32_size = PCI_MEM_SIZE,
        .mem64 = PCI_MEM64_BASE,
        .mem64_size = PCI_MEM64_SIZE,
    };

    for (unsigned i = 0; i < 4; i++) {
        pci.irq[i] = gicv2_spi(v->gic, SPI_PCI + i);
    }
    if (!pl011_new(m, root, UART_BASE, gicv2_spi(v->gic, SPI_UART), m->cfg.serial[0], err) ||
        !pl031_new(m, root, RTC_BASE, gicv2_spi(v->gic, SPI_RTC), m->host_clock,
                   (uint32_t)(clock_now(m->host_clock) / NS_PER_SEC), err)) {
        return false;
    }
    v->gpio = pl061_new(m, root, GPIO_BASE, gicv2_spi(v->gic, SPI_GPIO), off, err);
    if (!v->gpio || !fw_cfg_new_mmio(m, root, FW_CFG_BASE, err)) {
        return false;
    }
    for (unsigned i = 0; i < VIRTIO_SLOTS; i++) {
        if (!virtio_mmio_new(m, root, VIRTIO_BASE + i * VIRTIO_MMIO_SIZE,
                             gicv2_spi(v->gic, SPI_VIRTIO + i), i, err)) {
            return false;
        }
    }
    v->pci = pcie_ecam_new(m, root, &pci, err);
    return v->pci;
}

/* ---- flash and drives ---- */

static bool create_flash(Machine *m, VirtArm *v, GError **err)
{
    static const char *const names[] = {"virt.flash0", "virt.flash1"};
    DriveSpec *drive[2] = {NULL, NULL};
    GPtrArray *drives = m->cfg.drives;
    unsigned next = 0;

    for (guint i = 0; drives && i < drives->len; i++) {
        DriveSpec *d = drives->pdata[i];
        unsigned n = d->index >= 0 ? (unsigned)d->index : next;

        if (d->iface != DRIVE_IF_PFLASH) {
            continue;
        }
        if (n > 1 || drive[n]) {
            return fail(err, "-drive if=pflash: the machine virt has two banks of flash memory");
        }
        drive[n] = d;
        next = n + 1;
    }
    for (unsigned i = 0; i < 2; i++) {
        v->flash[i] = pflash_new(m, &m->memory_root, names[i], FLASH_BASE + i * FLASH_SIZE,
                                 FLASH_SIZE, drive[i], err);
        if (!v->flash[i]) {
            return false;
        }
    }
    v->firmware = drive[0] != NULL;
    return true;
}

static bool load_bios(Machine *m, VirtArm *v, GError **err)
{
    g_autofree uint8_t *data = NULL;
    size_t len;

    if (!m->cfg.bios) {
        return true;
    }
    if (v->firmware) {
        return fail(err, "-bios: the first bank of flash memory has an image already");
    }
    data = firmware_load(m, m->cfg.bios, FLASH_SIZE, &len, err);
    if (!data) {
        return false;
    }
    v->firmware = true;
    return pflash_load(v->flash[0], data, len, err);
}

/* ---- device tree ---- */

static void fdt_cpus(Machine *m, VirtArm *v)
{
    Fdt *f = v->fdt;
    static const char *const methods[] = {"hvc", "smc"};
    bool smc = v->virtualization;

    dt_node(f, "/cpus");
    dt_u32s(f, "#address-cells", 1);
    dt_u32s(f, "#size-cells", 0);
    for (unsigned i = m->cfg.smp; i-- > 0;) { /* new nodes go to the front */
        dt_node(f, "/cpus/cpu@%x", (unsigned)arm64_mpidr(m->vcpus[i]));
        dt_text(f, "device_type", "cpu");
        dt_text(f, "compatible", arm64_compatible(m->vcpus[i]));
        dt_u32s(f, "reg", (uint32_t)arm64_mpidr(m->vcpus[i]));
        if (m->cfg.smp > 1) {
            dt_text(f, "enable-method", "psci");
        }
    }
    if (!v->secure) {
        dt_node(f, "/psci");
        dt_texts(f, "compatible", "arm,psci-1.0", "arm,psci-0.2", "arm,psci", NULL);
        dt_text(f, "method", methods[smc]);
        dt_u32s(f, "cpu_suspend", 0xc4000001);
        dt_u32s(f, "cpu_off", 0x84000002);
        dt_u32s(f, "cpu_on", 0xc4000003);
    }
    dt_node(f, "/timer");
    dt_texts(f, "compatible", "arm,armv8-timer", "arm,armv7-timer", NULL);
    dt_u32s(f, "interrupts", PPI, PPI_SEC - 16, 0xf04, PPI, PPI_PHYS - 16, 0xf04, PPI,
            PPI_VIRT - 16, 0xf04, PPI, PPI_HYP - 16, 0xf04);
    dt_flag(f, "always-on");
}

static void fdt_gic(VirtArm *v)
{
    Fdt *f = v->fdt;

    dt_node(f, "/intc@%" G_GINT64_MODIFIER "x", GICD_BASE);
    dt_text(f, "compatible", "arm,cortex-a15-gic");
    dt_u32s(f, "#interrupt-cells", 3);
    dt_flag(f, "interrupt-controller");
    dt_u32s(f, "#address-cells", 2);
    dt_u32s(f, "#size-cells", 2);
    dt_flag(f, "ranges");
    dt_u32s(f, "reg", 0, GICD_BASE, 0, 0x10000, 0, GICC_BASE, 0, 0x10000);
    dt_u32s(f, "phandle", v->gic_phandle);
}

static void fdt_primecell(VirtArm *v, const char *name, uint64_t base, const char *compatible,
                          unsigned spi)
{
    Fdt *f = v->fdt;

    dt_node(f, "/%s@%" G_GINT64_MODIFIER "x", name, base);
    dt_texts(f, "compatible", compatible, "arm,primecell", NULL);
    dt_reg(f, base, 0x1000);
    dt_u32s(f, "interrupts", SPI, spi, HIGH);
    if (spi == SPI_UART) {
        dt_u32s(f, "clocks", v->clk_phandle, v->clk_phandle);
        dt_texts(f, "clock-names", "uartclk", "apb_pclk", NULL);
    } else {
        dt_u32s(f, "clocks", v->clk_phandle);
        dt_text(f, "clock-names", "apb_pclk");
    }
}

static void fdt_devices(VirtArm *v)
{
    Fdt *f = v->fdt;
    const uint32_t pci_spec[] = {SPI, SPI_PCI, HIGH};

    dt_node(f, "/apb-pclk");
    dt_text(f, "compatible", "fixed-clock");
    dt_u32s(f, "#clock-cells", 0);
    dt_u32s(f, "clock-frequency", 24000000);
    dt_text(f, "clock-output-names", "clk24mhz");
    dt_u32s(f, "phandle", v->clk_phandle);
    dt_node(f, "/flash@0");
    dt_text(f, "compatible", "cfi-flash");
    dt_u32s(f, "reg", 0, FLASH_BASE, 0, FLASH_SIZE, 0, FLASH_BASE + FLASH_SIZE, 0, FLASH_SIZE);
    dt_u32s(f, "bank-width", 4);
    fdt_primecell(v, "pl011", UART_BASE, "arm,pl011", SPI_UART);
    fdt_primecell(v, "pl031", RTC_BASE, "arm,pl031", SPI_RTC);
    fdt_primecell(v, "pl061", GPIO_BASE, "arm,pl061", SPI_GPIO);
    dt_u32s(f, "#gpio-cells", 2);
    dt_flag(f, "gpio-controller");
    dt_u32s(f, "phandle", v->gpio_phandle);
    dt_node(f, "/gpio-keys");
    dt_text(f, "compatible", "gpio-keys");
    dt_node(f, "/gpio-keys/poweroff");
    dt_text(f, "label", "GPIO Key Poweroff");
    dt_u32s(f, "linux,code", 116);
    dt_u32s(f, "gpios", v->gpio_phandle, POWER_PIN, 0);
    dt_node(f, "/fw-cfg@%" G_GINT64_MODIFIER "x", FW_CFG_BASE);
    dt_text(f, "compatible", "qemu,fw-cfg-mmio");
    dt_reg(f, FW_CFG_BASE, FW_CFG_MMIO_SIZE);
    dt_flag(f, "dma-coherent");
    for (unsigned i = VIRTIO_SLOTS; i-- > 0;) {
        uint64_t base = VIRTIO_BASE + i * VIRTIO_MMIO_SIZE;

        dt_node(f, "/virtio_mmio@%" G_GINT64_MODIFIER "x", base);
        dt_text(f, "compatible", "virtio,mmio");
        dt_reg(f, base, VIRTIO_MMIO_SIZE);
        dt_u32s(f, "interrupts", SPI, SPI_VIRTIO + i, EDGE);
        dt_flag(f, "dma-coherent");
    }
    pcie_ecam_fdt(v->pci, f, "", v->gic_phandle, pci_spec, 3, 1, 2);
}

static bool build_fdt(Machine *m, VirtArm *v, GError **err)
{
    Fdt *f;

    if (m->cfg.dtb) {
        v->fdt = dt_open(m->cfg.dtb, err);
        return v->fdt;
    }
    v->fdt = f = dt_new();
    v->gic_phandle = dt_new_phandle(f);
    v->clk_phandle = dt_new_phandle(f);
    v->gpio_phandle = dt_new_phandle(f);
    dt_at(f, "/");
    dt_text(f, "compatible", "linux,dummy-virt");
    dt_text(f, "model", "linux,dummy-virt");
    dt_u32s(f, "#address-cells", 2);
    dt_u32s(f, "#size-cells", 2);
    dt_u32s(f, "interrupt-parent", v->gic_phandle);
    dt_node(f, "/memory@%" G_GINT64_MODIFIER "x", RAM_BASE);
    dt_text(f, "device_type", "memory");
    dt_reg(f, RAM_BASE, m->cfg.ram_size);
    fdt_cpus(m, v);
    fdt_gic(v);
    fdt_devices(v);
    dt_node(f, "/chosen");
    dt_text(f, "stdout-path", "/pl011@9000000");
    return true;
}

/* ---- kernel ---- */

/* Where an arm64 Image wants to be, from its header; 0: it has none. */
static bool image_header(const uint8_t *p, size_t len, uint64_t *offset, uint64_t *size)
{
    if (len < 64 || memcmp(p + 56, "ARM\x64", 4)) {
        return false;
    }
    memcpy(offset, p + 8, 8);
    memcpy(size, p + 16, 8);
    if (!*size) {
        *offset = 0x80000;
    }
    *size = MAX(*size, len);
    return true;
}

static bool load_kernel(Machine *m, VirtArm *v, uint64_t *entry, uint64_t *end, GError **err)
{
    BootImage image = {0};
    uint64_t offset = 0x80000, size = 0;
    const uint8_t *data;
    size_t len;
    bool ok;

    if (!boot_image_read(&image, "kernel", m->cfg.kernel, BOOT_EM_AARCH64, err)) {
        return false;
    }
    if (image.elf) {
        *entry = image.entry;
        *end = image.high;
    } else {
        data = boot_image_data(&image, &len);
        if (!image_header(data, len, &offset, &size)) {
            boot_image_free(&image);
            return fail(err,
                        "-kernel %s: this is neither an arm64 Linux image nor an ELF file for "
                        "AArch64",
                        m->cfg.kernel);
        }
        boot_image_place(&image, RAM_BASE + offset);
        *entry = RAM_BASE + offset;
        *end = *entry + size;
    }
    ok = boot_memory_add_image(v->boot, "kernel", &image, err);
    boot_image_free(&image);
    return ok;
}

static bool load_initrd(Machine *m, VirtArm *v, uint64_t *addr, uint64_t *end, GError **err)
{
    g_autoptr(GError) e = NULL;
    char *data;
    gsize len;
    GBytes *bytes;
    bool ok;

    if (!g_file_get_contents(m->cfg.initrd, &data, &len, &e)) {
        return fail(err, "-initrd: %s", e->message);
    }
    bytes = g_bytes_new_take(data, len);
    *addr = MAX(*addr, RAM_BASE + MIN(m->cfg.ram_size / 2, 128ull << 20));
    *addr = (*addr + 0xffff) & ~UINT64_C(0xffff);
    *end = *addr + len;
    ok = boot_memory_add(v->boot, "initrd", *addr, bytes, len, err);
    g_bytes_unref(bytes);
    return ok;
}

static bool set_up_boot(Machine *m, VirtArm *v, GError **err)
{
    uint64_t entry = FLASH_BASE, end = RAM_BASE, initrd = 0, initrd_end = 0, dtb = RAM_BASE;
    bool direct = m->cfg.kernel && !v->firmware;
    const char *dump = m->cfg.machine_opts ? options_get(m->cfg.machine_opts, "dumpdtb") : NULL;
    GBytes *blob;
    const void *p;
    size_t len;
    bool ok;

    v->boot = boot_memory_new(m);
    if (m->cfg.kernel && v->firmware) {
        return fail(err, "-kernel: with firmware in flash memory there is no way to start a kernel "
                         "in this version");
    }
    if (m->cfg.initrd && !m->cfg.kernel) {
        return fail(err, "-initrd needs -kernel");
    }
    if (m->cfg.append && !m->cfg.kernel) {
        return fail(err, "-append needs -kernel");
    }
    if (direct) {
        if (!load_kernel(m, v, &entry, &end, err)) {
            return false;
        }
        if (m->cfg.initrd) {
            initrd = end;
            if (!load_initrd(m, v, &initrd, &initrd_end, err)) {
                return false;
            }
            end = initrd_end;
        }
        /* 2 MiB, so that it lies in a block that no other image is in. */
        dtb = (end + 0x1fffff) & ~UINT64_C(0x1fffff);
    }
    dt_chosen(v->fdt, m->cfg.append ? m->cfg.append : "", initrd, initrd_end);
    if (dump) {
        if (dt_dump(v->fdt, dump, err)) {
            info_report("-machine dumpdtb: the device tree is in %s", dump);
            machine_request_exit(m, 0);
            return true;
        }
        return false;
    }
    p = dt_finish(v->fdt, &len, err);
    if (!p) {
        return false;
    }
    blob = g_bytes_new(p, len);
    ok = boot_memory_add(v->boot, "device tree", dtb, blob, len, err);
    g_bytes_unref(blob);
    for (unsigned i = 0; ok && i < m->cfg.smp; i++) {
        VCpu *cpu = m->vcpus[i];
        unsigned el = direct ? v->virtualization ? 2 : 1 : 0;

        arm64_set_psci(cpu, v->secure && !direct ? ARM64_PSCI_NONE
                            : v->virtualization  ? ARM64_PSCI_SMC
                                                 : ARM64_PSCI_HVC);
        arm64_set_start(cpu, entry, direct ? dtb : 0, el, i == 0 || (v->secure && !direct));
        cpu->target->reset(cpu);
    }
    return ok;
}

/* ---- the machine ---- */

static void power_button(Machine *m)
{
    VirtArm *v = m->board;
    Irq pin = pl061_pin(v->gpio, POWER_PIN);

    irq_set(&pin, 1);
    irq_set(&pin, 0);
}

static bool create_drives(Machine *m, GError **err)
{
    GPtrArray *drives = m->cfg.drives;

    for (guint i = 0; drives && i < drives->len; i++) {
        DriveSpec *d = drives->pdata[i];

        if (d->iface == DRIVE_IF_IDE || d->iface == DRIVE_IF_FLOPPY) {
            return fail(err,
                        "-drive %s: the machine virt has neither IDE nor floppy drives; use "
                        "if=virtio",
                        d->file ? d->file : "");
        }
    }
    return true;
}

static bool virt_init(Machine *m, GError **err)
{
    VirtArm *v = g_new0(VirtArm, 1);

    m->board = v;
    m->power_button = power_button;
    if (m->cfg.smp > GICV2_CPUS) {
        return fail(err, "-smp %u: a GICv2 serves at most %d CPUs", m->cfg.smp, GICV2_CPUS);
    }
    return read_options(m, v, err) && create_ram(m, v, err) && create_cpus(m, v, err) &&
           create_flash(m, v, err) && create_devices(m, v, err) && create_drives(m, err) &&
           load_bios(m, v, err) && build_fdt(m, v, err) && set_up_boot(m, v, err);
}

static void virt_fini(Machine *m)
{
    VirtArm *v = m->board;

    boot_memory_free(v->boot);
    if (v->fdt) {
        dt_free(v->fdt);
    }
    if (m->ram) {
        mem_region_destroy(&v->ram);
        m->ram = NULL;
    }
    g_free(v);
    m->board = NULL;
}

static const char *const archs[] = {"aarch64", NULL};

const MachineType virt_arm_machine = {
    .name = "virt",
    .alias = "virt-7.2",
    .desc = "Arm machine with virtio devices, made for a device tree",
    .archs = archs,
    .max_vcpus = GICV2_CPUS,
    .default_ram = 128 << 20,
    .default_drive_if = DRIVE_IF_VIRTIO,
    .init = virt_init,
    .fini = virt_fini,
};
