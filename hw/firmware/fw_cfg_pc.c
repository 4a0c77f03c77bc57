/* The fw_cfg items that PC firmware reads. */
#include "core/log.h"
#include "hw/firmware/fw_cfg.h"
#include <string.h>

bool fw_cfg_setup_pc(FwCfg *s, const E820Entry *map, unsigned n_map, GError **err)
{
    const Machine *m = ((Device *)s)->machine;
    const MachineConfig *cfg = &m->cfg;
    uint16_t cpus = (uint16_t)MAX(cfg->smp, 1);
    g_autoptr(GByteArray) e820 = g_byte_array_new();
    g_autofree uint64_t *numa = g_new0(uint64_t, 1 + cpus);

    fw_cfg_set_u64(s, FW_CFG_RAM_SIZE, cfg->ram_size);
    fw_cfg_set_u16(s, FW_CFG_NB_CPUS, cpus);
    fw_cfg_set_u16(s, FW_CFG_MAX_CPUS, cpus);
    fw_cfg_set_bytes(s, FW_CFG_UUID, cfg->uuid, sizeof(cfg->uuid));
    fw_cfg_set_u16(s, FW_CFG_NOGRAPHIC, cfg->nographic);
    fw_cfg_set_u16(s, FW_CFG_BOOT_MENU, cfg->boot_menu);
    fw_cfg_set_bytes(s, FW_CFG_NUMA, numa, sizeof(uint64_t) * (1 + cpus));
    fw_cfg_set_u16(s, FW_CFG_BOOT_DEVICE, (uint16_t)(cfg->boot_order ? cfg->boot_order[0] : 'c'));
    /* IRQ 0 is wired to input 2 of the I/O APIC. */
    fw_cfg_set_u32(s, FW_CFG_IRQ0_OVERRIDE, 1);

    for (unsigned i = 0; i < n_map; i++) {
        uint64_t range[2] = {GUINT64_TO_LE(map[i].addr), GUINT64_TO_LE(map[i].len)};
        uint32_t type = GUINT32_TO_LE(map[i].type);
        g_byte_array_append(e820, (const uint8_t *)range, sizeof(range));
        g_byte_array_append(e820, (const uint8_t *)&type, sizeof(type));
    }
    if (!fw_cfg_set_file(s, "etc/e820", e820->data, e820->len, err)) {
        return false;
    }
    /* How long firmware waits before it reboots when nothing could be booted. */
    uint32_t retry = GUINT32_TO_LE((uint32_t)cfg->boot_retry);
    if (!fw_cfg_set_file(s, "etc/boot-fail-wait", &retry, sizeof(retry), err) ||
        (cfg->boot_splash && !fw_cfg_add_splash(s, cfg->boot_splash, err))) {
        return false;
    }
    if (cfg->boot_strict) {
        fw_cfg_set_boot_strict(s);
    }
    if (cfg->boot_menu_timeout) {
        uint16_t wait = GUINT16_TO_LE((uint16_t)MIN(cfg->boot_menu_timeout, 0xffff));
        return fw_cfg_set_file(s, "etc/boot-menu-wait", &wait, sizeof(wait), err);
    }
    return true;
}

bool pc_boot_order_cmos(const char *order, uint8_t *cmos38, uint8_t *cmos3d, GError **err)
{
    static const uint8_t codes[] = {['a'] = 1, ['b'] = 1, ['c'] = 2, ['d'] = 3, ['n'] = 4};
    uint8_t slot[3] = {0};
    unsigned n = 0;

    order = order && *order ? order : "cad";
    for (const char *p = order; *p; p++) {
        if (*p < 'a' || *p > 'p') {
            return fail(err,
                        "boot order '%s': '%c' is no drive letter; a, b (floppy), c (disk), "
                        "d (CD-ROM) and n (network) are",
                        order, *p);
        }
        if (strchr(p + 1, *p)) {
            return fail(err, "boot order '%s' names '%c' twice", order, *p);
        }
        /* Letters that name nothing in a PC are passed over. */
        uint8_t code = (unsigned)*p < sizeof(codes) ? codes[(unsigned)*p] : 0;
        if (n < 3 && code) {
            slot[n++] = code;
        }
    }
    *cmos3d = (uint8_t)(slot[0] | slot[1] << 4);
    *cmos38 = (uint8_t)(slot[2] << 4);
    return true;
}
