/*
 * Parallel NOR flash with Intel's command set (CFI primary command set 1): a bank of two 16-bit
 * chips side by side on a 32-bit bus, 256 KiB blocks.
 */
#ifndef RHEA_HW_BLOCK_PFLASH_H
#define RHEA_HW_BLOCK_PFLASH_H

#include "core/machine.h"

typedef struct Pflash Pflash;

#define PFLASH_BLOCK 0x40000u

/* A bank of @size bytes (a multiple of PFLASH_BLOCK) at @base of @parent. @d: what it holds and
 * where it is written back, may be NULL: erased and volatile. One sentence when the image is larger
 * than the bank. */
Pflash *pflash_new(Machine *m, MemRegion *parent, const char *name, uint64_t base, uint64_t size,
                   DriveSpec *d, GError **err);
/* Contents before the guest runs, @len bytes from the bank's start (for -bios). */
bool pflash_load(Pflash *s, const void *data, size_t len, GError **err);
/* Is there an image in it? */
bool pflash_has_image(const Pflash *s);

#endif
