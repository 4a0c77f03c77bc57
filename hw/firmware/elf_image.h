/* ELF executables for x86, cut into the pieces a loader puts into memory. */
#ifndef RHEA_HW_FIRMWARE_ELF_IMAGE_H
#define RHEA_HW_FIRMWARE_ELF_IMAGE_H

#include "hw/firmware/linux_boot.h"

typedef struct ElfImage {
    bool is64;
    uint64_t entry; /* physical: moved like the segment it lies in */
    bool have_pvh;  /* note XEN_ELFNOTE_PHYS32_ENTRY */
    uint64_t pvh_entry;
    GArray *pieces;     /* of Flat32Piece */
    uint64_t low, high; /* first and behind the last address of the pieces */
} ElfImage;

bool elf_probe(const KernelFile *k);
/* One sentence when the file is damaged, or for another machine. */
bool elf_load(ElfImage *out, const KernelFile *k, GError **err);
void elf_free(ElfImage *e);

/* The machine-independent end of loading: pieces must lie in RAM between 1 MiB and what the BIOS
 * keeps at the end. */
bool flat32_check(const KernelFile *k, GArray *pieces, const PcMemoryLayout *layout, uint32_t *high,
                  GError **err);
/* -initrd "FILE ARGUMENTS,FILE,…" (",," is a comma) behind @*high as pieces and modules. */
bool flat32_add_modules(Flat32Boot *b, const KernelFile *k, const PcMemoryLayout *layout,
                        bool one_file, GError **err);

#endif
