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
    /* Type 0 (firmware adds its own when all are NULL) */
    const char *bios_vendor, *bios_version, *bios_date;
    /* Type 1 */
    const char *manufacturer, *product, *version, *serial, *sku, *family;
    /* Type 3 */
    const char *chassis_manufacturer, *chassis_serial, *asset_tag;
} SmbiosConfig;

bool smbios_install(FwCfg *fw, const SmbiosConfig *cfg, GError **err);

#endif
