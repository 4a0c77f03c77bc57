/* Option lists: see option.h. */
#include "core/option.h"
#include "core/log.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Item {
    char *key, *value;
    bool used;
} Item;

struct Options {
    char *what;
    GArray *items; /* of Item */
};

static void item_clear(gpointer p)
{
    Item *it = p;
    g_free(it->key);
    g_free(it->value);
}

Options *options_new(const char *what)
{
    Options *o = g_new0(Options, 1);
    o->what = g_strdup(what);
    o->items = g_array_new(false, false, sizeof(Item));
    g_array_set_clear_func(o->items, item_clear);
    return o;
}

void options_free(Options *o)
{
    if (o) {
        g_array_free(o->items, true);
        g_free(o->what);
        g_free(o);
    }
}

const char *options_what(const Options *o)
{
    return o->what;
}

static Item *find(const Options *o, const char *key)
{
    for (guint i = o->items->len; i-- > 0;) {
        Item *it = &g_array_index(o->items, Item, i);
        if (!strcmp(it->key, key)) {
            return it;
        }
    }
    return NULL;
}

static void append(Options *o, const char *key, const char *value)
{
    Item it = {g_strdup(key), g_strdup(value), false};
    g_array_append_val(o->items, it);
}

void options_set(Options *o, const char *key, const char *value)
{
    Item *it = find(o, key);
    if (it) {
        char *copy = g_strdup(value); /* may be it->value itself */
        g_free(it->value);
        it->value = copy;
    } else {
        append(o, key, value);
    }
}

/* One item up to an unescaped comma; ",," is a comma of the text. */
static char *next_item(const char **text)
{
    GString *s = g_string_new(NULL);
    const char *p = *text;
    for (; *p; p++) {
        if (*p == ',') {
            if (p[1] != ',') {
                break;
            }
            p++;
        }
        g_string_append_c(s, *p);
    }
    *text = *p ? p + 1 : p;
    return g_string_free(s, false);
}

Options *options_parse(const char *what, const char *text, const char *implied_key, GError **err)
{
    Options *o = options_new(what);
    const char *p = text;
    for (bool first = true; *p; first = false) {
        char *item = next_item(&p);
        char *eq = strchr(item, '=');
        if (eq == item) {
            fail(err, "%s: '%s' has no name before '='", what, item);
            g_free(item);
            options_free(o);
            return NULL;
        }
        if (eq) {
            *eq = 0;
            append(o, item, eq + 1);
        } else if (first && implied_key) {
            append(o, implied_key, item);
        } else if (g_str_has_prefix(item, "no") && item[2]) {
            append(o, item + 2, "off");
        } else if (*item) {
            append(o, item, "on");
        }
        g_free(item);
    }
    return o;
}

const char *options_get(Options *o, const char *key)
{
    Item *it = find(o, key);
    if (!it) {
        return NULL;
    }
    options_mark_used(o, key);
    return it->value;
}

bool options_has(const Options *o, const char *key)
{
    return find(o, key) != NULL;
}

void options_mark_used(Options *o, const char *key)
{
    for (guint i = 0; i < o->items->len; i++) {
        Item *it = &g_array_index(o->items, Item, i);
        if (!strcmp(it->key, key)) {
            it->used = true;
        }
    }
}

void options_foreach(Options *o, void (*fn)(const char *key, const char *value, void *arg),
                     void *arg)
{
    for (guint i = 0; i < o->items->len; i++) {
        Item *it = &g_array_index(o->items, Item, i);
        fn(it->key, it->value, arg);
    }
}

bool options_check_used(const Options *o, GError **err)
{
    for (guint i = 0; i < o->items->len; i++) {
        Item *it = &g_array_index(o->items, Item, i);
        if (!it->used) {
            return fail(err, "%s: there is no parameter '%s'", o->what, it->key);
        }
    }
    return true;
}

bool options_get_bool(Options *o, const char *key, bool *out, GError **err)
{
    const char *v = options_get(o, key);
    if (!v) {
        return true;
    }
    g_autofree char *what = g_strdup_printf("%s %s", o->what, key);
    return parse_bool(what, v, out, err);
}

bool options_get_uint(Options *o, const char *key, uint64_t max, uint64_t *out, GError **err)
{
    const char *v = options_get(o, key);
    if (!v) {
        return true;
    }
    g_autofree char *what = g_strdup_printf("%s %s", o->what, key);
    return parse_uint(what, v, max, out, err);
}

bool options_get_size(Options *o, const char *key, uint64_t unit, uint64_t *out, GError **err)
{
    const char *v = options_get(o, key);
    if (!v) {
        return true;
    }
    g_autofree char *what = g_strdup_printf("%s %s", o->what, key);
    return parse_size(what, v, unit, out, err);
}

bool parse_bool(const char *what, const char *text, bool *out, GError **err)
{
    static const char *const yes[] = {"on", "yes", "true", "y", NULL};
    static const char *const no[] = {"off", "no", "false", "n", NULL};
    if (g_strv_contains(yes, text)) {
        *out = true;
    } else if (g_strv_contains(no, text)) {
        *out = false;
    } else {
        return fail(err, "%s: '%s' is neither 'on' nor 'off'", what, text);
    }
    return true;
}

bool parse_uint(const char *what, const char *text, uint64_t max, uint64_t *out, GError **err)
{
    char *end;
    errno = 0;
    uint64_t v = g_ascii_strtoull(text, &end, 0);
    if (!g_ascii_isdigit(*text) || *end) {
        return fail(err, "%s: '%s' is not a number", what, text);
    }
    if (errno || v > max) {
        return fail(err, "%s: %s is too large, at most %" G_GUINT64_FORMAT, what, text, max);
    }
    *out = v;
    return true;
}

bool parse_size(const char *what, const char *text, uint64_t unit, uint64_t *out, GError **err)
{
    static const char suffixes[] = "BKMGTPE";
    char *end;
    errno = 0;
    uint64_t whole = g_ascii_strtoull(text, &end, 0);
    double fraction = 0;
    if (!g_ascii_isdigit(*text)) {
        return fail(err, "%s: '%s' is not a size; write a number with k, M, G or T", what, text);
    }
    if (*end == '.') {
        char *start = end;
        fraction = g_ascii_strtod(start, &end);
    }
    if (*end) {
        const char *s = strchr(suffixes, g_ascii_toupper(*end));
        if (!s || end[1]) {
            return fail(err, "%s: '%s' is not a size; write a number with k, M, G or T", what,
                        text);
        }
        unit = 1ull << 10 * (s - suffixes);
    }
    uint64_t v;
    if (errno || __builtin_mul_overflow(whole, unit, &v) ||
        __builtin_add_overflow(v, (uint64_t)(fraction * unit), &v)) {
        return fail(err, "%s: %s is too large", what, text);
    }
    *out = v;
    return true;
}
