/* -fw_cfg and -boot splash=: files of fw_cfg that the user gives. */
#include "core/log.h"
#include "core/option.h"
#include "hw/firmware/fw_cfg.h"
#include "hw/firmware/rom.h"
#include <string.h>

static bool add_item(FwCfg *s, const char *text, GError **err)
{
    Options *o = options_parse("-fw_cfg", text, "name", err);
    if (!o) {
        return false;
    }
    const char *name = options_get(o, "name"), *file = options_get(o, "file"),
               *string = options_get(o, "string");
    g_autofree uint8_t *data = NULL;
    size_t len = 0;
    bool ok = options_check_used(o, err);

    if (ok && (!name || !*name)) {
        ok = fail(err, "-fw_cfg %s: name= is missing", text);
    } else if (ok && !file == !string) {
        ok = fail(err, "-fw_cfg name=%s: give one of file= and string=", name);
    } else if (ok && fw_cfg_file_key(s, name)) {
        ok = fail(err, "-fw_cfg name=%s: there is such an item already", name);
    }
    if (ok && !g_str_has_prefix(name, "opt/")) {
        warn_report("-fw_cfg name=%s: names of users' items should begin with opt/", name);
    }
    if (ok && file) {
        ok = firmware_read_file("-fw_cfg: file", file, &data, &len, err);
    } else if (ok) {
        len = strlen(string); /* without the closing zero */
        data = g_memdup2(string, len);
    }
    ok = ok && fw_cfg_set_file(s, name, data, len, err);
    options_free(o);
    return ok;
}

bool fw_cfg_add_user_items(FwCfg *s, const GPtrArray *items, GError **err)
{
    for (guint i = 0; items && i < items->len; i++) {
        if (!add_item(s, items->pdata[i], err)) {
            return false;
        }
    }
    return true;
}

bool fw_cfg_add_splash(FwCfg *s, const char *path, GError **err)
{
    g_autofree uint8_t *data = NULL;
    const char *item;
    size_t len;

    if (!firmware_read_file("-boot splash: file", path, &data, &len, err)) {
        return false;
    }
    /* BITMAPFILEHEADER, BITMAPINFOHEADER.biBitCount */
    if (len > 30 && data[0] == 'B' && data[1] == 'M') {
        if (data[28] != 24 || data[29]) {
            return fail(err, "-boot splash=%s: the BMP must have 24 bits a pixel", path);
        }
        item = "bootsplash.bmp";
    } else if (len > 30 && data[0] == 0xff && data[1] == 0xd8) {
        item = "bootsplash.jpg";
    } else {
        return fail(err, "-boot splash=%s: the file is neither JPEG nor BMP", path);
    }
    return fw_cfg_set_file(s, item, data, len, err);
}
