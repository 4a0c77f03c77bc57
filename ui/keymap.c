/* Key symbols to key codes; see keymap.h. Symbols: X11/keysymdef.h, through libxkbcommon. */
#include "ui/keymap.h"
#include "config.h"
#include "core/log.h"
#include <string.h>

#ifdef HAVE_XKBCOMMON
#include <xkbcommon/xkbcommon.h>

#define XKB_EVDEV_OFFSET 8 /* key codes of xkb's evdev rules are Linux's plus this */
#define LEVELS 4           /* plain, Shift, AltGr, both */

typedef struct Entry {
    uint16_t code[LEVELS]; /* the key that gives the symbol on this level, 0 = none */
} Entry;

struct Keymap {
    GHashTable *by_sym; /* keysym → Entry */
};

/* Names that emulators' users know for layouts that xkb calls otherwise. */
static const struct {
    const char *name, *layout, *variant;
} aliases[] = {
    {"en-us", "us", ""}, {"en-gb", "gb", ""},    {"de-ch", "ch", ""}, {"fr-ch", "ch", "fr"},
    {"fr-be", "be", ""}, {"nl-be", "be", ""},    {"fr-ca", "ca", ""}, {"pt-br", "br", ""},
    {"da", "dk", ""},    {"sv", "se", ""},       {"ja", "jp", ""},    {"sl", "si", ""},
    {"et", "ee", ""},    {"bepo", "fr", "bepo"}, {"ar", "ara", ""},
};

static void add_key(struct xkb_keymap *map, xkb_keycode_t key, void *data)
{
    Keymap *k = data;
    unsigned levels = MIN(xkb_keymap_num_levels_for_key(map, key, 0), LEVELS);

    if (key < XKB_EVDEV_OFFSET || key - XKB_EVDEV_OFFSET > UINT8_MAX) {
        return;
    }
    for (unsigned level = 0; level < levels; level++) {
        const xkb_keysym_t *syms;
        int n = xkb_keymap_key_get_syms_by_level(map, key, 0, level, &syms);
        if (n != 1) {
            continue;
        }
        Entry *e = g_hash_table_lookup(k->by_sym, GUINT_TO_POINTER(syms[0]));
        if (!e) {
            e = g_new0(Entry, 1);
            g_hash_table_insert(k->by_sym, GUINT_TO_POINTER(syms[0]), e);
        }
        if (!e->code[level]) {
            e->code[level] = key - XKB_EVDEV_OFFSET;
        }
    }
}

static void no_log(struct xkb_context *ctx, enum xkb_log_level level, const char *format,
                   va_list args)
{
}

Keymap *keymap_new(const char *layout, GError **err)
{
    g_autofree char *name = g_strdup(layout ? layout : "us");
    const char *variant = "";
    struct xkb_rule_names names = {.rules = "evdev", .model = "pc105", .options = ""};
    char *open = strchr(name, '(');

    if (open && g_str_has_suffix(name, ")")) {
        *open = '\0';
        open[strlen(open + 1)] = '\0';
        variant = open + 1;
    }
    names.layout = name;
    for (unsigned i = 0; i < G_N_ELEMENTS(aliases); i++) {
        if (!strcmp(aliases[i].name, name)) {
            names.layout = aliases[i].layout;
            variant = *variant ? variant : aliases[i].variant;
        }
    }
    names.variant = variant;
    struct xkb_context *ctx = xkb_context_new(XKB_CONTEXT_NO_ENVIRONMENT_NAMES);
    struct xkb_keymap *map = NULL;
    if (ctx) {
        xkb_context_set_log_fn(ctx, no_log);
        map = xkb_keymap_new_from_names(ctx, &names, XKB_KEYMAP_COMPILE_NO_FLAGS);
    }
    if (!map) {
        xkb_context_unref(ctx);
        fail(err, "there is no keyboard layout '%s' in the host's xkb data (package xkb-data)",
             layout ? layout : "us");
        return NULL;
    }
    Keymap *k = g_new0(Keymap, 1);
    k->by_sym = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    xkb_keymap_key_for_each(map, add_key, k);
    xkb_keymap_unref(map);
    xkb_context_unref(ctx);
    return k;
}

void keymap_free(Keymap *k)
{
    if (k) {
        g_hash_table_unref(k->by_sym);
        g_free(k);
    }
}

unsigned keymap_code(const Keymap *k, uint32_t keysym, bool shift, bool altgr)
{
    const Entry *e = k ? g_hash_table_lookup(k->by_sym, GUINT_TO_POINTER(keysym)) : NULL;
    unsigned level = (shift ? 1 : 0) | (altgr ? 2 : 0);

    /* A capital comes without Shift when the client has Caps Lock on. */
    if (!e && keysym >= 'A' && keysym <= 'Z') {
        e = g_hash_table_lookup(k->by_sym, GUINT_TO_POINTER(keysym - 'A' + 'a'));
    }
    if (!e) {
        return 0;
    }
    if (e->code[level]) {
        return e->code[level];
    }
    for (unsigned i = 0; i < LEVELS; i++) {
        if (e->code[i]) {
            return e->code[i];
        }
    }
    return 0;
}

#else

Keymap *keymap_new(const char *layout, GError **err)
{
    fail(err, "keyboard layouts need libxkbcommon, which this program was built without");
    return NULL;
}

void keymap_free(Keymap *k)
{
}

unsigned keymap_code(const Keymap *k, uint32_t keysym, bool shift, bool altgr)
{
    return 0;
}

#endif
