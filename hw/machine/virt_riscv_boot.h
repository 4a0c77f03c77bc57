/*
 * How the RISC-V board starts: -bios, -kernel, -initrd, -append, the reset vector and what it hands
 * over. Used by virt_riscv.c.
 */
#ifndef RHEA_HW_MACHINE_VIRT_RISCV_BOOT_H
#define RHEA_HW_MACHINE_VIRT_RISCV_BOOT_H

#include "core/machine.h"
#include "hw/firmware/fdt.h"

typedef struct RiscvBoot RiscvBoot;

typedef struct RiscvBootMap {
    uint64_t dram, mrom;
    uint64_t flash[2];
    bool flash_used[2]; /* it has an image */
} RiscvBootMap;

/* Loads all files, completes and places the device tree. */
RiscvBoot *riscv_boot_new(Machine *m, const RiscvBootMap *map, Fdt *fdt, GError **err);
void riscv_boot_free(RiscvBoot *b);

#endif
