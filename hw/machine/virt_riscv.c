/* Machine `virt` (RISC-V): see virt_riscv.h. Reads top to bottom. */
#include "hw/machine/virt_riscv.h"
#include "core/log.h"
#include "core/option.h"
#include "core/riscv-hart.h"
#include "hw/block/pflash.h"
#include "hw/char/serial_mmio.h"
#include "hw/firmware/boot_image.h"
#include "hw/firmware/fdt.h"
#include "hw/firmware/fw_cfg.h"
#include "hw/intc/aclint.h"
#include "hw/intc/sifive_plic.h"
#include "hw/machine/virt_riscv_boot.h"
#include "hw/misc/sifive_test.h"
#include "hw/pci/pcie_ecam.h"
#include "hw/timer/goldfish_rtc.h"
#include "hw/virtio/virtio_mmio.h"
#include <string.h>
#include <sys/random.h>

enum {
    MAP_MROM = 0x1000,
    MROM_SIZE = 0xf000,
    MAP_TEST = 0x100000,
    MAP_RTC = 0x101000,
    MAP_CLINT = 0x2000000,
    MAP_PCIE_IO = 0x3000000,
    MAP_PLIC = 0xc000000,
    MAP_UART = 0x10000000,
    MAP_VIRTIO = 0x10001000,
    MAP_FW_CFG = 0x10100000,
    MAP_FLASH = 0x20000000,
    FLASH_SIZE = 0x2000000, /* each of two banks */
    MAP_ECAM = 0x30000000,
    MAP_PCIE_MEM = 0x40000000,
    MAP_DRAM = (int)0x80000000,

    IRQ_VIRTIO = 1, /* …8 */
    IRQ_UART = 10,
    IRQ_RTC = 11,
    IRQ_PCIE = 32, /* …35 */

    N_VIRTIO = 8,
    MAX_HARTS = 32,
};
#define DRAM_BASE 0x80000000ull
#define UART_CLOCK 3686400u

typedef struct Virt {
    MemRegion ram, mrom;
    bool have_ram, have_mrom;
    Plic *plic;
    PcieEcam *pcie;
    Pflash *flash[2];
    FwCfg *fw_cfg;
    Fdt *fdt;
    RiscvBoot *boot;
} Virt;

/* ---- chips ---- */

static bool create_memory(Machine *m, Virt *v, bool rv32, GError **err)
{
    if (rv32 && m->cfg.ram_size > 1ull << 31) {
        return fail(err, "-m: a 32-bit RISC-V machine has at most 2 GiB of memory");
    }
    if (!mem_region_init_ram(&v->ram, "riscv_virt_board.ram", m->cfg.ram_size, err)) {
        return false;
    }
    v->have_ram = true;
    m->ram = &v->ram;
    mem_region_add(&m->memory_root, &v->ram, DRAM_BASE, 0);
    if (!mem_region_init_rom(&v->mrom, "riscv_virt_board.mrom", MROM_SIZE, err)) {
        return false;
    }
    v->have_mrom = true;
    mem_region_add(&m->memory_root, &v->mrom, MAP_MROM, 0);
    return true;
}

static bool create_cpus(Machine *m, GError **err)
{
    for (unsigned i = 0; i < m->cfg.smp; i++) {
        if (!vcpu_new(m, m->cfg.target, m->accel, i, m->cfg.cpu_model, err)) {
            return false;
        }
    }
    return true;
}

static bool create_chips(Machine *m, Virt *v, GError **err)
{
    MemRegion *mem = &m->memory_root;

    if (!aclint_new(m, mem, MAP_CLINT, err) || !(v->plic = plic_new(m, mem, MAP_PLIC, err)) ||
        !sifive_test_new(m, mem, MAP_TEST, err) ||
        !goldfish_rtc_new(m, mem, MAP_RTC, m->host_clock, plic_irq(v->plic, IRQ_RTC), err) ||
        !serial_mmio_new(m, mem, MAP_UART, 0x100, plic_irq(v->plic, IRQ_UART), UART_CLOCK / 16,
                         m->cfg.serial[0], err)) {
        return false;
    }
    for (unsigned i = 1; i < G_N_ELEMENTS(m->cfg.serial); i++) {
        if (m->cfg.serial[i]) {
            return fail(err, "-serial: machine 'virt' of RISC-V has one serial port");
        }
    }
    return true;
}

static bool create_virtio(Machine *m, Virt *v, GError **err)
{
    for (unsigned i = 0; i < N_VIRTIO; i++) {
        if (!virtio_mmio_new(m, &m->memory_root, MAP_VIRTIO + i * 0x1000u,
                             plic_irq(v->plic, IRQ_VIRTIO + i), i, err)) {
            return false;
        }
    }
    return true;
}

static bool create_pcie(Machine *m, Virt *v, bool rv32, GError **err)
{
    PcieEcamConfig cfg = {
        .ecam = MAP_ECAM,
        .ecam_size = 0x10000000,
        .io = MAP_PCIE_IO,
        .io_size = 0x10000,
        .mem32 = MAP_PCIE_MEM,
        .mem32_size = 0x40000000,
    };

    if (!rv32) {
        /* Above RAM, on a multiple of its size. */
        cfg.mem64_size = 0x400000000ull;
        cfg.mem64 = (DRAM_BASE + m->cfg.ram_size + cfg.mem64_size - 1) & -cfg.mem64_size;
    }
    for (unsigned i = 0; i < 4; i++) {
        cfg.irq[i] = plic_irq(v->plic, IRQ_PCIE + i);
    }
    v->pcie = pcie_ecam_new(m, &m->memory_root, &cfg, err);
    if (!v->pcie) {
        return false;
    }
    m->root_bus = &pcie_ecam_bus(v->pcie)->bus;
    return true;
}

static bool create_flash(Machine *m, Virt *v, GError **err)
{
    static const char *const names[] = {"virt.flash0", "virt.flash1"};
    DriveSpec *drives[2] = {NULL};
    GPtrArray *all = m->cfg.drives;

    for (guint i = 0; all && i < all->len; i++) {
        DriveSpec *d = all->pdata[i];

        if (d->iface == DRIVE_IF_PFLASH) {
            int unit = d->index >= 0 ? d->index : drives[0] != NULL;

            if (unit > 1 || drives[unit]) {
                return fail(err, "-drive if=pflash: there are two flash banks, and this one is "
                                 "taken or not there");
            }
            drives[unit] = d;
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        v->flash[i] = pflash_new(m, &m->memory_root, names[i], MAP_FLASH + i * (uint64_t)FLASH_SIZE,
                                 FLASH_SIZE, drives[i], err);
        if (!v->flash[i]) {
            return false;
        }
    }
    return true;
}

/* ---- device tree ---- */

typedef struct Handles {
    uint32_t cpu[MAX_HARTS], intc[MAX_HARTS], plic, test;
} Handles;

static void describe_cpus(Machine *m, Fdt *f, Handles *h)
{
    dt_node(f, "/cpus");
    dt_u32s(f, "#address-cells", 1);
    dt_u32s(f, "#size-cells", 0);
    dt_u32s(f, "timebase-frequency", RISCV_TIMEBASE);
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        VCpu *cpu = m->vcpus[i];

        h->cpu[i] = dt_new_phandle(f);
        h->intc[i] = dt_new_phandle(f);
        dt_node(f, "/cpus/cpu@%x", i);
        dt_u32s(f, "phandle", h->cpu[i]);
        dt_text(f, "device_type", "cpu");
        dt_u32s(f, "reg", i);
        dt_text(f, "status", "okay");
        dt_text(f, "compatible", "riscv");
        dt_text(f, "riscv,isa", riscv_isa(cpu));
        if (riscv_mmu_type(cpu)) {
            dt_text(f, "mmu-type", riscv_mmu_type(cpu));
        }
        if (riscv_cbo_block(cpu)) {
            dt_u32s(f, "riscv,cbom-block-size", riscv_cbo_block(cpu));
            dt_u32s(f, "riscv,cboz-block-size", riscv_cbo_block(cpu));
        }
        dt_node(f, "/cpus/cpu@%x/interrupt-controller", i);
        dt_u32s(f, "#interrupt-cells", 1);
        dt_flag(f, "interrupt-controller");
        dt_text(f, "compatible", "riscv,cpu-intc");
        dt_u32s(f, "phandle", h->intc[i]);
    }
    dt_node(f, "/cpus/cpu-map");
    dt_node(f, "/cpus/cpu-map/cluster0");
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        dt_node(f, "/cpus/cpu-map/cluster0/core%u", i);
        dt_u32s(f, "cpu", h->cpu[i]);
    }
}

static void describe_intc(Machine *m, Fdt *f, Handles *h)
{
    uint32_t clint[MAX_HARTS * 4], plic[MAX_HARTS * 4];
    unsigned n = m->n_vcpus;

    for (unsigned i = 0; i < n; i++) {
        const uint32_t c[] = {h->intc[i], RISCV_IRQ_MSIP, h->intc[i], RISCV_IRQ_MTIP};
        const uint32_t p[] = {h->intc[i], RISCV_IRQ_MEIP, h->intc[i], RISCV_IRQ_SEIP};

        memcpy(clint + i * 4, c, sizeof(c));
        memcpy(plic + i * 4, p, sizeof(p));
    }
    dt_node(f, "/soc/clint@%x", MAP_CLINT);
    dt_texts(f, "compatible", "sifive,clint0", "riscv,clint0", NULL);
    dt_reg(f, MAP_CLINT, ACLINT_SIZE);
    dt_cells(f, "interrupts-extended", clint, n * 4);
    h->plic = dt_new_phandle(f);
    dt_node(f, "/soc/plic@%x", MAP_PLIC);
    dt_u32s(f, "phandle", h->plic);
    dt_texts(f, "compatible", "sifive,plic-1.0.0", "riscv,plic0", NULL);
    dt_u32s(f, "#interrupt-cells", 1);
    dt_u32s(f, "#address-cells", 0);
    dt_flag(f, "interrupt-controller");
    dt_reg(f, MAP_PLIC, PLIC_SIZE);
    dt_cells(f, "interrupts-extended", plic, n * 4);
    dt_u32s(f, "riscv,ndev", PLIC_SOURCES - 1);
}

static void irq_props(Fdt *f, const Handles *h, unsigned irq)
{
    dt_u32s(f, "interrupt-parent", h->plic);
    dt_u32s(f, "interrupts", irq);
}

static void describe_devices(Fdt *f, Handles *h)
{
    h->test = dt_new_phandle(f);
    dt_node(f, "/soc/test@%x", MAP_TEST);
    dt_u32s(f, "phandle", h->test);
    dt_texts(f, "compatible", "sifive,test1", "sifive,test0", "syscon", NULL);
    dt_reg(f, MAP_TEST, 0x1000);
    dt_node(f, "/soc/rtc@%x", MAP_RTC);
    dt_text(f, "compatible", "google,goldfish-rtc");
    dt_reg(f, MAP_RTC, 0x1000);
    irq_props(f, h, IRQ_RTC);
    dt_node(f, "/soc/serial@%x", MAP_UART);
    dt_text(f, "compatible", "ns16550a");
    dt_reg(f, MAP_UART, 0x100);
    dt_u32s(f, "clock-frequency", UART_CLOCK);
    irq_props(f, h, IRQ_UART);
    for (unsigned i = 0; i < N_VIRTIO; i++) {
        dt_node(f, "/soc/virtio_mmio@%x", MAP_VIRTIO + i * 0x1000);
        dt_text(f, "compatible", "virtio,mmio");
        dt_reg(f, MAP_VIRTIO + i * 0x1000u, 0x1000);
        irq_props(f, h, IRQ_VIRTIO + i);
    }
}

static void describe_root(Machine *m, Fdt *f, const Handles *h)
{
    dt_node(f, "/fw-cfg@%x", MAP_FW_CFG);
    dt_text(f, "compatible", "qemu,fw-cfg-mmio");
    dt_flag(f, "dma-coherent");
    dt_reg(f, MAP_FW_CFG, FW_CFG_MMIO_SIZE);
    dt_node(f, "/flash@%x", MAP_FLASH);
    dt_text(f, "compatible", "cfi-flash");
    dt_u32s(f, "reg", 0, MAP_FLASH, 0, FLASH_SIZE, 0, MAP_FLASH + FLASH_SIZE, 0, FLASH_SIZE);
    dt_u32s(f, "bank-width", 4);
    dt_node(f, "/memory@80000000");
    dt_text(f, "device_type", "memory");
    dt_reg(f, DRAM_BASE, m->cfg.ram_size);
    dt_node(f, "/poweroff");
    dt_text(f, "compatible", "syscon-poweroff");
    dt_u32s(f, "regmap", h->test);
    dt_u32s(f, "offset", 0);
    dt_u32s(f, "value", 0x5555);
    dt_node(f, "/reboot");
    dt_text(f, "compatible", "syscon-reboot");
    dt_u32s(f, "regmap", h->test);
    dt_u32s(f, "offset", 0);
    dt_u32s(f, "value", 0x7777);
    dt_node(f, "/chosen");
    dt_text(f, "stdout-path", "/soc/serial@10000000");
    /* Kernels have good random numbers from the start, and do not mix them at each system call. */
    uint8_t seed[32];
    if (getrandom(seed, sizeof(seed), 0) == sizeof(seed)) {
        dt_bytes(f, "rng-seed", seed, sizeof(seed));
    }
}

static Fdt *describe(Machine *m, Virt *v)
{
    static const uint32_t pcie_irq[] = {IRQ_PCIE};
    Fdt *f = dt_new();
    Handles h;

    dt_at(f, "/");
    dt_text(f, "compatible", "riscv-virtio");
    dt_text(f, "model", "riscv-virtio,qemu"); /* by which firmware and tests know the board */
    dt_u32s(f, "#address-cells", 2);
    dt_u32s(f, "#size-cells", 2);
    describe_cpus(m, f, &h);
    dt_node(f, "/soc");
    dt_text(f, "compatible", "simple-bus");
    dt_flag(f, "ranges");
    dt_u32s(f, "#address-cells", 2);
    dt_u32s(f, "#size-cells", 2);
    describe_intc(m, f, &h);
    describe_devices(f, &h);
    pcie_ecam_fdt(v->pcie, f, "/soc", h.plic, pcie_irq, 1, 0, 0);
    describe_root(m, f, &h);
    return f;
}

/* ---- machine ---- */

static bool create_fw_cfg(Machine *m, Virt *v, GError **err)
{
    v->fw_cfg = fw_cfg_new_mmio(m, &m->memory_root, MAP_FW_CFG, err);
    if (!v->fw_cfg) {
        return false;
    }
    fw_cfg_set_u16(v->fw_cfg, FW_CFG_NB_CPUS, m->cfg.smp);
    fw_cfg_set_u16(v->fw_cfg, FW_CFG_MAX_CPUS, m->cfg.smp);
    fw_cfg_set_u64(v->fw_cfg, FW_CFG_RAM_SIZE, m->cfg.ram_size);
    fw_cfg_set_u16(v->fw_cfg, FW_CFG_NOGRAPHIC, m->cfg.nographic);
    fw_cfg_set_bytes(v->fw_cfg, FW_CFG_UUID, m->cfg.uuid, sizeof(m->cfg.uuid));
    return true;
}

static bool dump_tree(Machine *m, Virt *v, GError **err)
{
    const char *path = m->cfg.machine_opts ? options_get(m->cfg.machine_opts, "dumpdtb") : NULL;

    if (!path) {
        return true;
    }
    if (!dt_dump(v->fdt, path, err)) {
        return false;
    }
    info_report("the device tree is in %s", path);
    machine_request_exit(m, 0);
    return true;
}

static bool virt_init(Machine *m, GError **err)
{
    Virt *v = g_new0(Virt, 1);
    bool rv32 = !strcmp(m->cfg.target->name, "riscv32");

    m->board = v;
    if (!create_memory(m, v, rv32, err) || !create_cpus(m, err) || !create_chips(m, v, err) ||
        !create_virtio(m, v, err) || !create_pcie(m, v, rv32, err) || !create_flash(m, v, err) ||
        !create_fw_cfg(m, v, err)) {
        return false;
    }
    v->fdt = m->cfg.dtb ? dt_open(m->cfg.dtb, err) : describe(m, v);
    if (!v->fdt) {
        return false;
    }
    const RiscvBootMap map = {
        .dram = DRAM_BASE,
        .mrom = MAP_MROM,
        .flash = {MAP_FLASH, MAP_FLASH + FLASH_SIZE},
        .flash_used = {pflash_has_image(v->flash[0]), pflash_has_image(v->flash[1])},
    };
    v->boot = riscv_boot_new(m, &map, v->fdt, err);
    return v->boot && dump_tree(m, v, err);
}

/* Called after all devices and vCPUs are gone. */
static void virt_fini(Machine *m)
{
    Virt *v = m->board;

    riscv_boot_free(v->boot);
    dt_free(v->fdt);
    if (v->have_mrom) {
        mem_region_destroy(&v->mrom);
    }
    if (v->have_ram) {
        mem_region_destroy(&v->ram);
        m->ram = NULL;
    }
    g_free(v);
    m->board = NULL;
}

static const char *const virt_archs[] = {"riscv64", "riscv32", NULL};

const MachineType virt_riscv_machine = {
    .name = "virt",
    .desc = "RISC-V board with virtio devices",
    .archs = virt_archs,
    .max_vcpus = MAX_HARTS,
    .default_ram = 128 << 20,
    .default_drive_if = DRIVE_IF_VIRTIO,
    .init = virt_init,
    .fini = virt_fini,
};
