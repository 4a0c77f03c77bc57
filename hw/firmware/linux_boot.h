/*
 * -kernel, -initrd, -append: Linux images by the Linux/x86 boot protocol, Multiboot 1 and PVH
 * kernels. The BIOS runs as always and finds an expansion ROM that boots the kernel.
 */
#ifndef RHEA_HW_FIRMWARE_LINUX_BOOT_H
#define RHEA_HW_FIRMWARE_LINUX_BOOT_H

#include "hw/firmware/fw_cfg.h"
#include "hw/pci/i440fx.h"

/* Puts what m->cfg.kernel names into fw_cfg, with the ROM and its place in the boot order. Does
 * nothing without a kernel. One sentence when it is no kernel, is damaged, or does not fit. */
bool direct_boot_setup(Machine *m, FwCfg *fw, const PcMemoryLayout *layout, GError **err);

/* ---- the parts, for tests ---- */

typedef struct KernelFile {
    const char *name; /* for messages */
    const uint8_t *data;
    size_t len;
    const char *initrd, *append; /* may be NULL */
    int fd; /* of the same bytes, stays the caller's; 0: there is none, they are copied */
} KernelFile;

/* The ROM's bytes with @enter_key and checksums; *@len is set; caller frees. */
uint8_t *direct_boot_rom(uint16_t enter_key, size_t *len);

bool linux_boot_probe(const KernelFile *k);
bool linux_boot_setup(FwCfg *fw, const KernelFile *k, const PcMemoryLayout *layout, GError **err);

/* A 32-bit kernel that is already cut into pieces: what is written where, and the registers. */
typedef struct Flat32Piece {
    uint64_t addr;
    GBytes *data; /* the rest up to @size is zeros */
    uint64_t size;
} Flat32Piece;

typedef struct Flat32Boot Flat32Boot;
struct Flat32Boot {
    GArray *pieces; /* of Flat32Piece */
    uint32_t eip, eax, ebx;

    uint32_t high; /* first address behind all pieces */
    char *cmdline;
    GArray *modules; /* of Flat32Module */
    Machine *machine;
    FwCfg *fw;
    const char *file; /* of the memory map, written by the ROM */
    /* Build the structures from the BIOS memory map; false: they do not fit. */
    bool (*build)(Flat32Boot *b, const E820Entry *map, unsigned n);
};

typedef struct Flat32Module {
    uint32_t addr, size;
    char *cmdline;
} Flat32Module;

bool multiboot_probe(const KernelFile *k);
Flat32Boot *multiboot_load(const KernelFile *k, const PcMemoryLayout *layout, GError **err);
bool pvh_probe(const KernelFile *k);
Flat32Boot *pvh_load(const KernelFile *k, const PcMemoryLayout *layout, GError **err);
void flat32_boot_free(Flat32Boot *b);

#endif
