/*
 * Files for boards that boot from a device tree: a kernel or firmware as an ELF executable, a flat
 * image, either of them compressed with gzip, put into guest memory. Memory is written again at
 * each reset.
 */
#ifndef RHEA_HW_FIRMWARE_BOOT_IMAGE_H
#define RHEA_HW_FIRMWARE_BOOT_IMAGE_H

#include "core/machine.h"

enum { BOOT_EM_ARM = 40, BOOT_EM_AARCH64 = 183, BOOT_EM_RISCV = 243 };

typedef struct BootPiece {
    uint64_t addr;
    GBytes *data;
    uint64_t size; /* ≥ that of the data; the rest is zero */
} BootPiece;

typedef struct BootImage {
    GArray *pieces; /* of BootPiece; empty: nothing loaded */
    bool elf;
    bool is64;
    uint64_t entry;     /* ELF: as physical address */
    uint64_t low, high; /* first and behind the last address */
} BootImage;

/* Read @path. @what for messages ("kernel"). ELF files must be for @machine; all else becomes one
 * piece at 0, to be moved. */
bool boot_image_read(BootImage *b, const char *what, const char *path, unsigned machine,
                     GError **err);
/* Move a flat image to @addr. */
void boot_image_place(BootImage *b, uint64_t addr);
/* Bytes of a flat image. */
const uint8_t *boot_image_data(const BootImage *b, size_t *len);
void boot_image_free(BootImage *b);

/* What is written into guest memory at each reset. */
typedef struct BootMemory BootMemory;
/* Frees itself with boot_memory_free(); registers a reset hook at @m. */
BootMemory *boot_memory_new(Machine *m);
void boot_memory_free(BootMemory *b);
/* One sentence if [addr, addr+len) is no RAM or ROM, or overlaps what another file has. The data is
 * referenced. */
bool boot_memory_add(BootMemory *b, const char *what, uint64_t addr, GBytes *data, uint64_t size,
                     GError **err);
bool boot_memory_add_image(BootMemory *b, const char *what, const BootImage *image, GError **err);

#endif
