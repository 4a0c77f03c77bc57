/*
 * Start of the RISC-V board. Linux Documentation/arch/riscv/boot-image-header.rst and boot.rst;
 * OpenSBI docs/firmware/fw_dynamic.md (struct fw_dynamic_info in a2).
 */
#include "hw/machine/virt_riscv_boot.h"
#include "core/log.h"
#include "core/riscv-hart.h"
#include "hw/firmware/boot_image.h"
#include "hw/firmware/rom.h"
#include <inttypes.h>
#include <string.h>

#define MIB 0x100000ull
#define DYNAMIC_MAGIC 0x4942534f /* "OSBI" */

struct RiscvBoot {
    Machine *m;
    BootMemory *memory;
    const RiscvBootMap *map;
    bool rv32;
    uint64_t firmware_end; /* first free address after the firmware */
    uint64_t start;        /* where the reset vector jumps */
    uint64_t kernel;       /* entry, 0: none */
    uint64_t kernel_end;
    uint64_t fdt;
};

/* ---- firmware ---- */

static bool load_firmware(RiscvBoot *b, GError **err)
{
    const char *name = b->m->cfg.bios;
    bool flash = b->map->flash_used[0] && !b->m->cfg.bios;
    BootImage image;

    b->start = b->firmware_end = b->map->dram;
    if (flash) { /* machine-mode code in the first bank */
        b->start = b->map->flash[0];
        return true;
    }
    if (name && !strcmp(name, "none")) {
        if (b->map->flash_used[0]) {
            b->start = b->map->flash[0];
        }
        return true;
    }
    bool def = !name || !strcmp(name, "default");
    if (def && b->rv32) {
        name = "opensbi-riscv32-generic-fw_dynamic.bin";
    } else if (def) {
        name = "fw_dynamic.bin";
    }
    g_autofree char *path = firmware_find(b->m, name);
    if (!path && def) {
        /* A kernel for machine mode needs none; what else there is would not start. */
        return fail(err,
                    "the default firmware (OpenSBI, %s) is not installed: install package "
                    "opensbi, or give -bios FILE or -bios none",
                    name);
    }
    if (!boot_image_read(&image, "firmware", path ? path : name, BOOT_EM_RISCV, err)) {
        return false;
    }
    if (!image.elf) {
        boot_image_place(&image, b->map->dram);
    } else if (image.is64 == b->rv32) {
        boot_image_free(&image);
        return fail(err, "firmware '%s' is for a RISC-V of another width", name);
    }
    b->start = image.entry;
    b->firmware_end = image.high;
    bool ok = boot_memory_add_image(b->memory, "firmware", &image, err);
    boot_image_free(&image);
    return ok;
}

/* ---- kernel ---- */

/* The Image header: "RISCV" at 30h, "RSC\5" at 38h. */
static bool linux_image(const BootImage *image, uint64_t *text_offset, uint64_t *size)
{
    size_t len;
    const uint8_t *p = boot_image_data(image, &len);

    if (len < 64 || memcmp(p + 0x38, "RSC\x05", 4)) {
        return false;
    }
    memcpy(text_offset, p + 8, 8);
    memcpy(size, p + 16, 8);
    *text_offset = GUINT64_FROM_LE(*text_offset);
    *size = GUINT64_FROM_LE(*size);
    return true;
}

static bool load_kernel(RiscvBoot *b, GError **err)
{
    const char *path = b->m->cfg.kernel;
    uint64_t align = b->rv32 ? 4 * MIB : 2 * MIB, at, offset = 0, size = 0;
    BootImage image;

    if (!path) {
        return (!b->m->cfg.initrd && !b->m->cfg.append) ||
               fail(err, "-initrd and -append need -kernel");
    }
    if (!boot_image_read(&image, "kernel", path, BOOT_EM_RISCV, err)) {
        return false;
    }
    if (image.elf && image.is64 == b->rv32) {
        boot_image_free(&image);
        return fail(err, "kernel '%s' is for a RISC-V of another width", path);
    }
    if (!image.elf) {
        /* Behind the firmware, and never at the start of RAM: that is its place. */
        at = (b->firmware_end + align - 1) & ~(align - 1);
        if (at == b->map->dram && !(b->m->cfg.bios && !strcmp(b->m->cfg.bios, "none"))) {
            at += align;
        }
        size_t len;
        const uint8_t *data = boot_image_data(&image, &len);
        if (len > 1 && data[0] == 'M' && data[1] == 'Z' && !linux_image(&image, &offset, &size)) {
            boot_image_free(&image);
            return fail(err, "kernel '%s' is a Windows or Linux image for another processor", path);
        }
        if (size > 1ull << 32 || offset > 1ull << 32) {
            boot_image_free(&image);
            return fail(err, "kernel '%s' has a damaged image header", path);
        }
        boot_image_place(&image, at);
    }
    b->kernel = image.entry;
    b->kernel_end = MAX(image.high, image.low + size);
    bool ok = boot_memory_add_image(b->memory, "kernel", &image, err);
    boot_image_free(&image);
    return ok;
}

/* Behind the kernel with room for its decompression and growth, or as high as there is. */
static bool load_initrd(RiscvBoot *b, Fdt *fdt, GError **err)
{
    const char *path = b->m->cfg.initrd;
    uint64_t ram = b->m->cfg.ram_size, at;
    uint8_t *data;
    size_t len;

    if (!path) {
        dt_chosen(fdt, b->m->cfg.append, 0, 0);
        return true;
    }
    if (!firmware_read_file("initrd", path, &data, &len, err)) {
        return false;
    }
    at = MAX(b->map->dram + MIN(ram / 2, 128 * MIB), b->kernel_end);
    at = (at + 0xfff) & ~0xfffull;
    GBytes *bytes = g_bytes_new_take(data, len);
    bool ok = boot_memory_add(b->memory, "initrd", at, bytes, len, err);
    g_bytes_unref(bytes);
    dt_chosen(fdt, b->m->cfg.append, at, at + len);
    b->kernel_end = at + len;
    return ok;
}

/* ---- device tree and reset vector ---- */

static bool place_fdt(RiscvBoot *b, Fdt *fdt, GError **err)
{
    size_t len;
    const void *blob = dt_finish(fdt, &len, err);
    uint64_t ram = b->m->cfg.ram_size, top;

    if (!blob) {
        return false;
    }
    /* Below 3 GiB and the end of RAM, where 32-bit firmware and early page tables reach it. */
    top = b->map->dram + MIN(ram, 1024 * MIB);
    b->fdt = (top - len) & ~(2 * MIB - 1);
    if (b->fdt < b->map->dram || len > 2 * MIB) {
        b->fdt = (top - len) & ~7ull;
    }
    GBytes *bytes = g_bytes_new(blob, len);
    bool ok = boot_memory_add(b->memory, "device tree", b->fdt, bytes, len, err);
    g_bytes_unref(bytes);
    return ok;
}

static bool place_vector(RiscvBoot *b, GError **err)
{
    const uint32_t ld = b->rv32 ? 2u << 12 : 3u << 12; /* lw, ld */
    /* a0 = hart, a1 = device tree, a2 = fw_dynamic_info; jump */
    uint32_t code[10 + 12] = {
        0x00000297,               /* auipc t0, 0 */
        0x02828613,               /* addi a2, t0, 40 */
        0xf1402573,               /* csrr a0, mhartid */
        0x0202a583 & ~(7u << 12), /* l? a1, 32(t0) */
        0x0182a283 & ~(7u << 12), /* l? t0, 24(t0) */
        0x00028067,               /* jr t0 */
        (uint32_t)b->start,       /* 24 */
        (uint32_t)(b->start >> 32),
        (uint32_t)b->fdt, /* 32 */
        (uint32_t)(b->fdt >> 32),
    };
    uint64_t next = b->kernel ? b->kernel : b->map->flash_used[1] ? b->map->flash[1] : 0;
    const uint64_t info[6] = {DYNAMIC_MAGIC, 2, next, 1 /* supervisor mode */, 0, 0};
    unsigned n = 10;

    code[3] |= ld;
    code[4] |= ld;
    for (unsigned i = 0; i < G_N_ELEMENTS(info); i++) {
        code[n++] = (uint32_t)info[i];
        if (!b->rv32) {
            code[n++] = (uint32_t)(info[i] >> 32);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        code[i] = GUINT32_TO_LE(code[i]);
    }
    GBytes *bytes = g_bytes_new(code, n * 4);
    bool ok = boot_memory_add(b->memory, "reset vector", b->map->mrom, bytes, n * 4, err);
    g_bytes_unref(bytes);
    return ok;
}

RiscvBoot *riscv_boot_new(Machine *m, const RiscvBootMap *map, Fdt *fdt, GError **err)
{
    RiscvBoot *b = g_new0(RiscvBoot, 1);

    b->m = m;
    b->map = map;
    b->rv32 = riscv_is_32(m->vcpus[0]);
    b->memory = boot_memory_new(m);
    bool ok = load_firmware(b, err) && load_kernel(b, err) && load_initrd(b, fdt, err) &&
              place_fdt(b, fdt, err);
    /* Without firmware the kernel itself runs in machine mode. */
    if (ok && b->start == map->dram && b->firmware_end == map->dram && b->kernel) {
        b->start = b->kernel;
    }
    if (!ok || !place_vector(b, err)) {
        riscv_boot_free(b);
        return NULL;
    }
    b->map = NULL;
    for (unsigned i = 0; i < m->n_vcpus; i++) {
        riscv_set_start(m->vcpus[i], map->mrom);
    }
    return b;
}

void riscv_boot_free(RiscvBoot *b)
{
    if (b) {
        boot_memory_free(b->memory);
        g_free(b);
    }
}
