/*
 * Firmware files: where they are found, the BIOS at the top of 4 GiB, expansion ROMs.
 */
#ifndef RHEA_HW_FIRMWARE_ROM_H
#define RHEA_HW_FIRMWARE_ROM_H

#include "core/machine.h"
#include "hw/pci/pci.h"

/* Path of firmware file @name: itself if it is a path that exists, else in the -L directory
 * (@m->cfg.firmware_dir), PREFIX/share/rhea and where distributions put SeaBIOS and friends.
 * NULL if nowhere; caller frees. */
char *firmware_find(const Machine *m, const char *name);
/* Contents (g_free), at most @max bytes; one sentence on failure. */
uint8_t *firmware_load(const Machine *m, const char *name, size_t max, size_t *len, GError **err);

/* A whole file, for loaders; "@what 'PATH': reason" on failure. */
bool firmware_read_file(const char *what, const char *path, uint8_t **data, size_t *len,
                        GError **err);

/* The same without reading a regular file: a descriptor (the caller's, 3 and up) and *@len. Others
 * (pipes) are read: -1 and *@data. -1 and *@data NULL: failed. */
int firmware_open_file(const char *what, const char *path, uint8_t **data, size_t *len,
                       GError **err);

typedef struct PcBios {
    MemRegion rom; /* ends at 4 GiB */
    MemRegion low; /* its last 128 KiB below 1 MiB */
} PcBios;

/* @name NULL = bios-256k.bin. Maps into @pci_mem. */
bool pc_bios_load(PcBios *b, Machine *m, MemRegion *pci_mem, const char *name, GError **err);
void pc_bios_free(PcBios *b);

/* The expansion ROM of @d: property romfile, or @default_name (NULL: none), which may be missing.
 */
bool firmware_add_option_rom(PciDevice *d, const char *default_name, GError **err);

#endif
