/*
 * fw_cfg: how the machine tells firmware about itself. Ports 510h–51Bh: selector, data, DMA.
 * Public interface text: "QEMU Firmware Configuration (fw_cfg) Device".
 */
#ifndef RHEA_HW_FIRMWARE_FW_CFG_H
#define RHEA_HW_FIRMWARE_FW_CFG_H

#include "core/machine.h"
#include <glib.h>
#include <stdint.h>

typedef struct FwCfg FwCfg;

/* Item numbers; files get 20h and up. */
enum {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_MACHINE_ID = 0x06,
    FW_CFG_KERNEL_ADDR = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_KERNEL_CMDLINE = 0x09,
    FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_DEVICE = 0x0c,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_ENTRY = 0x10,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_FILE_SLOTS = 0x200,
    FW_CFG_ARCH_LOCAL = 0x8000,
    FW_CFG_ACPI_TABLES = 0x8000,
    FW_CFG_SMBIOS_ENTRIES = 0x8001,
    FW_CFG_IRQ0_OVERRIDE = 0x8002,
    FW_CFG_E820_TABLE = 0x8003,
    FW_CFG_HPET = 0x8004,
    FW_CFG_NAME_MAX = 55,
};

/* Ports 510h… on @m->io_root, DMA to @m->memory. */
FwCfg *fw_cfg_new(Machine *m, GError **err);
/* The register block of boards without ports: data at 0 (8 bytes), selector at 8 (big endian), DMA
 * address at 16; FW_CFG_MMIO_SIZE bytes at @base of @parent. */
FwCfg *fw_cfg_new_mmio(Machine *m, MemRegion *parent, uint64_t base, GError **err);
#define FW_CFG_MMIO_SIZE 0x18

/* The machine's, or NULL. */
FwCfg *fw_cfg_find(Machine *m);

/* Items; data is copied, an item set before is replaced. Numbers are little endian. */
void fw_cfg_set_bytes(FwCfg *s, uint16_t key, const void *data, size_t len);
/* The same with a g_malloc'ed block that becomes the item's. */
void fw_cfg_take_bytes(FwCfg *s, uint16_t key, uint8_t *data, size_t len);
/* @len bytes at @off of file @fd, read when the guest reads them; @fd becomes the item's. */
void fw_cfg_take_fd(FwCfg *s, uint16_t key, int fd, uint64_t off, uint32_t len);
void fw_cfg_set_u16(FwCfg *s, uint16_t key, uint16_t val);
void fw_cfg_set_u32(FwCfg *s, uint16_t key, uint32_t val);
void fw_cfg_set_u64(FwCfg *s, uint16_t key, uint64_t val);
/* With the closing zero. */
void fw_cfg_set_string(FwCfg *s, uint16_t key, const char *text);

/* A named file; replaced when it is there already. False: name too long or directory full. */
bool fw_cfg_set_file(FwCfg *s, const char *name, const void *data, size_t len, GError **err);
/* A file the guest can write by DMA; @written (may be NULL) is called after each write. @opaque
 * becomes the file's and goes with @destroy (may be NULL), also on failure. */
bool fw_cfg_set_file_rw(FwCfg *s, const char *name, const void *data, size_t len,
                        void (*written)(void *opaque), void *opaque, void (*destroy)(void *opaque),
                        GError **err);
/* Item number of a file, 0 = no such file. */
uint16_t fw_cfg_file_key(FwCfg *s, const char *name);
/* @refresh runs when the guest selects the file and may call fw_cfg_set_file() for it. */
void fw_cfg_set_refresh(FwCfg *s, const char *name, void (*refresh)(void *opaque), void *opaque);
/* Contents of a file, NULL if there is none. */
const uint8_t *fw_cfg_get_file(FwCfg *s, const char *name, size_t *len);
/* Contents of an item; one in a file is read into memory. */
const uint8_t *fw_cfg_get_bytes(FwCfg *s, uint16_t key, size_t *len);

/* One line of file "bootorder": @path is tried @index-th (lower first; same index: as added). */
void fw_cfg_add_boot_path(FwCfg *s, int index, const char *path);

/* -boot strict=on: when there is a boot order at all, firmware tries nothing else. */
void fw_cfg_set_boot_strict(FwCfg *s);
/* @items: of char*, what stands after -fw_cfg. One sentence on failure. */
bool fw_cfg_add_user_items(FwCfg *s, const GPtrArray *items, GError **err);
/* A picture for the time the boot menu waits: JPEG, or BMP of 24 bits. */
bool fw_cfg_add_splash(FwCfg *s, const char *path, GError **err);

extern const DeviceType fw_cfg_type;

/* ---- the items of a PC (fw_cfg_pc.c) ---- */

typedef struct E820Entry {
    uint64_t addr, len;
    uint32_t type; /* E820_* */
} E820Entry;
enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };

/* RAM size, CPU counts, UUID, boot menu, "etc/e820", … from @m->cfg. @map: RAM and reservations. */
bool fw_cfg_setup_pc(FwCfg *s, const E820Entry *map, unsigned n_map, GError **err);
/* -boot order=LETTERS as the CMOS bytes 38h (bits 7:4) and 3Dh; a, b floppy, c disk, d CD, n net.
 * One sentence for other letters. NULL = "cad". */
bool pc_boot_order_cmos(const char *order, uint8_t *cmos38, uint8_t *cmos3d, GError **err);

#endif
