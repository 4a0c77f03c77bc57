/* Options of -chardev: "name,key=value,flag", where ",," stands for a comma. */
#include "chardev/backend.h"
#include "core/log.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* One item up to the next single comma; *@p moves behind it, NULL at the end. */
static char *next_item(const char **p)
{
    GString *s = g_string_new(NULL);
    const char *c = *p;

    for (; *c; c++) {
        if (*c == ',') {
            if (c[1] != ',') {
                break;
            }
            c++;
        }
        g_string_append_c(s, *c);
    }
    *p = *c ? c + 1 : NULL;
    return g_string_free(s, FALSE);
}

void chardev_opts_set(ChardevOpts *o, const char *key, const char *value)
{
    g_ptr_array_add(o->keys, g_strdup(key));
    g_ptr_array_add(o->values, g_strdup(value));
}

ChardevOpts *chardev_opts_parse(const char *text, bool first_is_name)
{
    ChardevOpts *o = g_new0(ChardevOpts, 1);

    o->keys = g_ptr_array_new_with_free_func(g_free);
    o->values = g_ptr_array_new_with_free_func(g_free);
    while (text && *text) {
        char *item = next_item(&text);
        char *eq = strchr(item, '=');

        if (first_is_name && !o->first && (!eq || g_str_has_prefix(item, "backend="))) {
            o->first = g_strdup(eq ? eq + 1 : item);
        } else if (eq) {
            *eq = 0;
            chardev_opts_set(o, item, eq + 1);
        } else if (g_str_has_prefix(item, "no") &&
                   (!strcmp(item, "nowait") || !strcmp(item, "noserver") ||
                    !strcmp(item, "notelnet"))) {
            chardev_opts_set(o, item + 2, "off");
        } else {
            chardev_opts_set(o, item, "on");
        }
        g_free(item);
    }
    return o;
}

void chardev_opts_free(ChardevOpts *o)
{
    if (o) {
        g_ptr_array_unref(o->keys);
        g_ptr_array_unref(o->values);
        g_free(o->first);
        g_free(o);
    }
}

const char *chardev_opt(const ChardevOpts *o, const char *key)
{
    for (guint i = o->keys->len; i-- > 0;) {
        if (!strcmp(o->keys->pdata[i], key)) {
            return o->values->pdata[i];
        }
    }
    return NULL;
}

bool chardev_opt_bool(const ChardevOpts *o, const char *key, bool def, bool *out, GError **err)
{
    const char *v = chardev_opt(o, key);

    *out = def;
    if (!v) {
        return true;
    }
    if (!strcmp(v, "on") || !strcmp(v, "yes") || !strcmp(v, "true") || !strcmp(v, "y")) {
        *out = true;
    } else if (!strcmp(v, "off") || !strcmp(v, "no") || !strcmp(v, "false") || !strcmp(v, "n")) {
        *out = false;
    } else {
        return fail(err, "chardev option '%s' is '%s'; it must be on or off", key, v);
    }
    return true;
}

bool chardev_opt_uint(const ChardevOpts *o, const char *key, uint64_t def, uint64_t max,
                      uint64_t *out, GError **err)
{
    const char *v = chardev_opt(o, key);
    char *end;

    *out = def;
    if (!v) {
        return true;
    }
    errno = 0;
    uint64_t n = g_ascii_strtoull(v, &end, 0);
    switch (*end) {
    case 'k':
    case 'K':
        n = n > UINT64_MAX >> 10 ? UINT64_MAX : n << 10;
        end++;
        break;
    case 'm':
    case 'M':
        n = n > UINT64_MAX >> 20 ? UINT64_MAX : n << 20;
        end++;
        break;
    default:
        break;
    }
    if (end == v || *end || errno || *v == '-' || n > max) {
        return fail(err, "chardev option '%s' is '%s'; it must be a number up to %" PRIu64, key, v,
                    max);
    }
    *out = n;
    return true;
}
