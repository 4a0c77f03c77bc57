/*
 * -smbios: fields of structures (type=N,FIELD=VALUE…) and whole structures from a file (file=F).
 */
#include "core/log.h"
#include "core/option.h"
#include "hw/firmware/rom.h"
#include "hw/firmware/smbios.h"
#include <stdio.h>
#include <string.h>

typedef struct Field {
    unsigned type;
    const char *key;
    size_t off; /* of a string in SmbiosConfig */
} Field;

#define F(type, key, member)                                                                       \
    {                                                                                              \
        type, key, offsetof(SmbiosConfig, member)                                                  \
    }

static const Field fields[] = {
    F(0, "vendor", bios_vendor),
    F(0, "version", bios_version),
    F(0, "date", bios_date),
    F(1, "manufacturer", manufacturer),
    F(1, "product", product),
    F(1, "version", version),
    F(1, "serial", serial),
    F(1, "sku", sku),
    F(1, "family", family),
    F(2, "manufacturer", board_manufacturer),
    F(2, "product", board_product),
    F(2, "version", board_version),
    F(2, "serial", board_serial),
    F(2, "asset", board_asset),
    F(2, "location", board_location),
    F(3, "manufacturer", chassis_manufacturer),
    F(3, "version", chassis_version),
    F(3, "serial", chassis_serial),
    F(3, "asset", asset_tag),
    F(3, "sku", chassis_sku),
    F(4, "sock_pfx", cpu_socket),
    F(4, "manufacturer", cpu_vendor),
    F(4, "version", cpu_version),
    F(4, "serial", cpu_serial),
    F(4, "asset", cpu_asset),
    F(4, "part", cpu_part),
    F(17, "loc_pfx", dimm_locator),
    F(17, "bank", dimm_bank),
    F(17, "manufacturer", dimm_manufacturer),
    F(17, "serial", dimm_serial),
    F(17, "asset", dimm_asset),
    F(17, "part", dimm_part),
};

static const char *keep(SmbiosConfig *c, const char *text)
{
    return g_string_chunk_insert(c->strings, text);
}

/* "MAJOR.MINOR" of type 0. */
static bool get_release(SmbiosConfig *c, const char *text, GError **err)
{
    unsigned major, minor;
    char rest;

    if (sscanf(text, "%3u.%3u%c", &major, &minor, &rest) != 2 || major > 255 || minor > 255) {
        return fail(err, "-smbios: release=%s is not of the form MAJOR.MINOR, each up to 255",
                    text);
    }
    c->bios_release[0] = (uint8_t)major;
    c->bios_release[1] = (uint8_t)minor;
    c->has_release = true;
    return true;
}

static bool get_uuid(SmbiosConfig *c, const char *text, GError **err)
{
    if (!g_uuid_string_is_valid(text)) {
        return fail(err, "-smbios: uuid=%s is no UUID", text);
    }
    for (unsigned i = 0; i < 16; i++, text += 2) {
        text += *text == '-';
        c->uuid[i] = (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
    }
    return true;
}

static bool get_u16(Options *o, const char *key, uint16_t *out, GError **err)
{
    uint64_t v = *out;
    bool ok = options_get_uint(o, key, 0xffff, &v, err);
    *out = (uint16_t)v;
    return ok;
}

/* What is not a string. */
static bool get_others(SmbiosConfig *c, Options *o, unsigned type, GError **err)
{
    const char *v;
    uint64_t id;

    switch (type) {
    case 0:
        return options_get_bool(o, "uefi", &c->bios_uefi, err) &&
               (!(v = options_get(o, "release")) || get_release(c, v, err));
    case 1:
        return !(v = options_get(o, "uuid")) || get_uuid(c, v, err);
    case 4:
        id = (uint64_t)c->cpu_features << 32 | c->cpu_signature;
        if (!get_u16(o, "max-speed", &c->cpu_max_mhz, err) ||
            !get_u16(o, "current-speed", &c->cpu_mhz, err) ||
            !options_get_uint(o, "processor-id", UINT64_MAX, &id, err)) {
            return false;
        }
        c->cpu_signature = (uint32_t)id;
        c->cpu_features = (uint32_t)(id >> 32);
        return true;
    case 17:
        return get_u16(o, "speed", &c->dimm_mhz, err);
    }
    return true;
}

typedef struct Oem {
    SmbiosConfig *c;
    GError **err;
    bool ok;
} Oem;

/* Type 11: any number of strings, given or in files. */
static void oem_string(const char *key, const char *value, void *arg)
{
    Oem *x = arg;
    uint8_t *data = NULL;
    size_t len;

    if (!x->ok) {
        return;
    }
    if (!strcmp(key, "value")) {
        g_ptr_array_add(x->c->oem, (gpointer)keep(x->c, value));
    } else if (!strcmp(key, "path")) {
        x->ok = firmware_read_file("-smbios: file", value, &data, &len, x->err);
        if (x->ok && (!len || memchr(data, 0, len))) {
            x->ok = fail(x->err, "-smbios: file '%s' holds no text", value);
        } else if (x->ok) {
            g_ptr_array_add(x->c->oem,
                            g_string_chunk_insert_len(x->c->strings, (char *)data, (gssize)len));
        }
        g_free(data);
    }
}

static bool add_fields(SmbiosConfig *c, Options *o, unsigned type, GError **err)
{
    static const uint8_t known[] = {0, 1, 2, 3, 4, 11, 17};

    if (!memchr(known, (int)type, sizeof(known))) {
        return fail(err,
                    "-smbios: there are fields for type 0, 1, 2, 3, 4, 11 and 17, not %u; "
                    "file= takes any structure",
                    type);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
        const char *v = fields[i].type == type ? options_get(o, fields[i].key) : NULL;
        if (v) {
            *(const char **)((char *)c + fields[i].off) = keep(c, v);
        }
    }
    if (type == 11) {
        Oem x = {c, err, true};
        options_mark_used(o, "value");
        options_mark_used(o, "path");
        options_foreach(o, oem_string, &x);
        if (!x.ok) {
            return false;
        }
    }
    c->given |= 1u << type;
    return get_others(c, o, type, err);
}

/* Header and strings of the structure at @p; its length, 0 = broken. DSP0134 6.1.2, 6.1.3. */
static size_t structure_len(const uint8_t *p, size_t len)
{
    if (len < 6 || p[1] < 4) {
        return 0;
    }
    for (size_t at = p[1]; at + 2 <= len; at++) {
        if (!p[at] && !p[at + 1]) {
            return at + 2;
        }
    }
    return 0;
}

static bool add_file(SmbiosConfig *c, const char *path, GError **err)
{
    g_autofree uint8_t *data = NULL;
    size_t len, n;

    if (!firmware_read_file("-smbios: file", path, &data, &len, err)) {
        return false;
    }
    for (size_t at = 0; at < len || !len; at += n) {
        n = structure_len(data + at, len - at);
        if (!n) {
            return fail(err, "-smbios: file '%s' holds no complete structure at byte %zu", path,
                        at);
        }
        uint8_t type = data[at];
        if (type == 127) {
            return fail(err, "-smbios: file '%s' holds an end-of-table structure", path);
        }
        c->replaced[type / 32] |= 1u << type % 32;
        g_byte_array_append(c->blobs, data + at, (guint)n);
        c->blob_count++;
        c->blob_longest = MAX(c->blob_longest, (unsigned)n);
    }
    return true;
}

static bool add_option(SmbiosConfig *c, const char *text, GError **err)
{
    Options *o = options_parse("-smbios", text, NULL, err);
    if (!o) {
        return false;
    }
    const char *file = options_get(o, "file");
    uint64_t type = 0;
    bool ok = true;

    if (file) {
        ok = add_file(c, file, err);
    } else if (!options_has(o, "type")) {
        ok = fail(err, "-smbios %s: give type= or file=", text);
    } else {
        ok = options_get_uint(o, "type", 255, &type, err) && add_fields(c, o, (unsigned)type, err);
    }
    ok = ok && options_check_used(o, err);
    options_free(o);
    return ok;
}

bool smbios_add_options(SmbiosConfig *c, const GPtrArray *options, GError **err)
{
    c->strings = g_string_chunk_new(256);
    c->oem = g_ptr_array_new();
    c->blobs = g_byte_array_new();
    for (guint i = 0; options && i < options->len; i++) {
        if (!add_option(c, options->pdata[i], err)) {
            return false;
        }
    }
    for (unsigned t = 0; t < 32; t++) {
        if (c->given & c->replaced[0] & 1u << t) {
            return fail(err, "-smbios: type %u is given by fields and by a file; use one of them",
                        t);
        }
    }
    return true;
}

void smbios_clear_options(SmbiosConfig *c)
{
    g_clear_pointer(&c->strings, g_string_chunk_free);
    g_clear_pointer(&c->oem, g_ptr_array_unref);
    g_clear_pointer(&c->blobs, g_byte_array_unref);
}
