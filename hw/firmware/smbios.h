/*
 * SMBIOS 2.8 tables for fw_cfg "etc/smbios/smbios-anchor" and "etc/smbios/smbios-tables".
 */
#ifndef RHEA_HW_FIRMWARE_SMBIOS_H
#define RHEA_HW_FIRMWARE_SMBIOS_H

#include "hw/firmware/fw_cfg.h"
#include "hw/pci/i440fx.h"

/* Strings may be NULL: the default is used (or the field left empty). */
typedef struct SmbiosConfig {
    PcMemoryLayout layout;
    unsigned sockets, cores, threads; /* 0 counts as 1 */
    uint32_t cpu_signature;           /* CPUID.1 EAX and EDX */
    uint32_t cpu_features;
    const char *cpu_vendor; /* "GenuineIntel" */
    uint8_t uuid[16];       /* in RFC 4122 order; zeros: not set */
    /* Type 0 (firmware adds its own when none of these is set) */
    const char *bios_vendor, *bios_version, *bios_date;
    uint8_t bios_release[2];
    bool has_release, bios_uefi;
    /* Type 1 */
    const char *manufacturer, *product, *version, *serial, *sku, *family;
    /* Type 2: only if one of them is set */
    const char *board_manufacturer, *board_product, *board_version, *board_serial, *board_asset,
        *board_location;
    /* Type 3 */
    const char *chassis_manufacturer, *chassis_version, *chassis_serial, *asset_tag, *chassis_sku;
    /* Type 4: cpu_socket is followed by the number; MHz, 0: 2000 */
    const char *cpu_socket, *cpu_version, *cpu_serial, *cpu_asset, *cpu_part;
    uint16_t cpu_max_mhz, cpu_mhz;
    /* Type 17: dimm_locator is followed by the number; 0 MHz: unknown */
    const char *dimm_locator, *dimm_bank, *dimm_manufacturer, *dimm_serial, *dimm_asset, *dimm_part;
    uint16_t dimm_mhz;
    /* Filled in by smbios_add_options(): type 11's strings, structures from files. */
    GStringChunk *strings;
    GPtrArray *oem; /* of char* */
    GByteArray *blobs;
    unsigned blob_count, blob_longest;
    uint32_t given;       /* bit n: type n < 32 has fields of the user's */
    uint32_t replaced[8]; /* types that come from a file */
} SmbiosConfig;

/* @options: of char*, what stands after -smbios. One sentence on failure; smbios_clear_options()
 * also then. */
bool smbios_add_options(SmbiosConfig *c, const GPtrArray *options, GError **err);
void smbios_clear_options(SmbiosConfig *c);
bool smbios_install(FwCfg *fw, const SmbiosConfig *cfg, GError **err);

#endif
