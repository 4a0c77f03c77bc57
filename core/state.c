/* Saved state: one walk over a table of fields for save, load and dump each. */
#include "core/state.h"
#include "core/clock.h"
#include "core/log.h"
#include <inttypes.h>
#include <string.h>

/* Bytes of one element in the stream; 0 for structs. */
static unsigned kind_size(StateKind kind)
{
    switch (kind) {
    case STATE_BOOL:
    case STATE_U8:
    case STATE_BYTES:
        return 1;
    case STATE_U16:
        return 2;
    case STATE_U32:
        return 4;
    case STATE_U64:
    case STATE_TIMER:
        return 8;
    default:
        return 0;
    }
}

static uint64_t get_scalar(StateKind kind, const uint8_t *p)
{
    switch (kind) {
    case STATE_BOOL:
        return *(const bool *)p;
    case STATE_U8:
        return *p;
    case STATE_U16:
        return *(const uint16_t *)p;
    case STATE_U32:
        return *(const uint32_t *)p;
    case STATE_U64:
        return *(const uint64_t *)p;
    default:
        return ((const Timer *)p)->deadline;
    }
}

static void put_le(GByteArray *out, uint64_t v, unsigned size)
{
    uint64_t le = GUINT64_TO_LE(v);

    g_byte_array_append(out, (const uint8_t *)&le, size);
}

static void save_fields(const StateTable *table, uint8_t *obj, GByteArray *out)
{
    if (table->pre_save) {
        table->pre_save(obj);
    }
    for (const StateField *f = table->fields; f->kind != STATE_END; f++) {
        uint8_t *p = obj + f->off;
        if (f->kind == STATE_BYTES) {
            g_byte_array_append(out, p, f->count);
            continue;
        }
        for (uint32_t i = 0; i < f->count; i++, p += f->stride) {
            if (f->kind == STATE_STRUCT) {
                save_fields(f->table, p, out);
            } else {
                put_le(out, get_scalar(f->kind, p), kind_size(f->kind));
            }
        }
    }
}

void state_save(const StateTable *table, void *obj, GByteArray *out)
{
    size_t n = strlen(table->name);

    g_assert(n < 256);
    put_le(out, n, 1);
    g_byte_array_append(out, (const uint8_t *)table->name, n);
    put_le(out, table->version, 4);
    save_fields(table, obj, out);
}

typedef struct Reader {
    const uint8_t *data;
    size_t len, pos;
    const char *what; /* of the outermost table */
    GError **err;
} Reader;

static const uint8_t *take(Reader *r, size_t n)
{
    if (r->len - r->pos < n) {
        fail(r->err, "The saved state of %s ends too early", r->what);
        return NULL;
    }
    r->pos += n;
    return r->data + r->pos - n;
}

static bool take_le(Reader *r, unsigned size, uint64_t *v)
{
    const uint8_t *p = take(r, size);
    uint64_t le = 0;

    if (!p) {
        return false;
    }
    memcpy(&le, p, size);
    *v = GUINT64_FROM_LE(le);
    return true;
}

static bool load_timer(Reader *r, const StateField *f, Timer *t, int64_t deadline)
{
    if (deadline < -1 || (deadline != -1 && !t->clock)) {
        return fail(r->err, "The saved state of %s has an impossible %s", r->what, f->name);
    }
    timer_del(t);
    if (deadline != -1) {
        timer_set(t, deadline);
    }
    return true;
}

static bool load_scalar(Reader *r, const StateField *f, uint8_t *p)
{
    uint64_t v;

    if (!take_le(r, kind_size(f->kind), &v)) {
        return false;
    }
    switch (f->kind) {
    case STATE_BOOL:
        if (v > 1) {
            return fail(r->err, "The saved state of %s has an impossible %s", r->what, f->name);
        }
        *(bool *)p = v;
        break;
    case STATE_U8:
        *p = v;
        break;
    case STATE_U16:
        *(uint16_t *)p = v;
        break;
    case STATE_U32:
        *(uint32_t *)p = v;
        break;
    case STATE_U64:
        *(uint64_t *)p = v;
        break;
    default:
        return load_timer(r, f, (Timer *)p, v);
    }
    return true;
}

static bool load_fields(Reader *r, const StateTable *table, uint8_t *obj)
{
    for (const StateField *f = table->fields; f->kind != STATE_END; f++) {
        uint8_t *p = obj + f->off;
        if (f->kind == STATE_BYTES) {
            const uint8_t *bytes = take(r, f->count);
            if (!bytes) {
                return false;
            }
            memcpy(p, bytes, f->count);
            continue;
        }
        for (uint32_t i = 0; i < f->count; i++, p += f->stride) {
            if (!(f->kind == STATE_STRUCT ? load_fields(r, f->table, p) : load_scalar(r, f, p))) {
                return false;
            }
        }
    }
    return !table->post_load || table->post_load(obj, r->err);
}

bool state_load(const StateTable *table, void *obj, const uint8_t *data, size_t len, size_t *pos,
                GError **err)
{
    Reader r = {.data = data, .len = len, .pos = *pos, .what = table->name, .err = err};
    size_t n = strlen(table->name);
    uint64_t v;
    const uint8_t *name;

    if (r.pos > len || !take_le(&r, 1, &v) || !(name = take(&r, v))) {
        return err && *err ? false : fail(err, "The saved state has no %s", table->name);
    }
    if (v != n || memcmp(name, table->name, n)) {
        return fail(err, "The saved state has '%.*s' where %s should be", (int)v,
                    g_utf8_validate((const char *)name, v, NULL) ? (const char *)name : "",
                    table->name);
    }
    if (!take_le(&r, 4, &v)) {
        return false;
    }
    if (v != table->version) {
        return fail(err, "The saved state of %s has version %" PRIu64 ", this Rhea reads %u",
                    table->name, v, table->version);
    }
    if (!load_fields(&r, table, obj)) {
        return false;
    }
    *pos = r.pos;
    return true;
}

static void dump_fields(GString *out, const StateTable *table, const uint8_t *obj,
                        const char *prefix)
{
    for (const StateField *f = table->fields; f->kind != STATE_END; f++) {
        const uint8_t *p = obj + f->off;
        if (f->kind == STATE_STRUCT) {
            for (uint32_t i = 0; i < f->count; i++, p += f->stride) {
                char *inner = f->count > 1 ? g_strdup_printf("%s%s[%u].", prefix, f->name, i)
                                           : g_strdup_printf("%s%s.", prefix, f->name);
                dump_fields(out, f->table, p, inner);
                g_free(inner);
            }
            continue;
        }
        g_string_append_printf(out, "%s%s =", prefix, f->name);
        for (uint32_t i = 0; i < f->count; i++, p += f->stride) {
            if (f->kind == STATE_BYTES) {
                g_string_append_printf(out, " %02x", *p);
            } else if (f->kind == STATE_TIMER) {
                g_string_append_printf(out, " %" PRId64, (int64_t)get_scalar(f->kind, p));
            } else {
                g_string_append_printf(out, " 0x%" PRIx64, get_scalar(f->kind, p));
            }
        }
        g_string_append_c(out, '\n');
    }
}

char *state_dump(const StateTable *table, const void *obj)
{
    GString *out = g_string_new(NULL);

    dump_fields(out, table, obj, "");
    return g_string_free(out, FALSE);
}
