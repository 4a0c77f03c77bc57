/*
 * Saved state. Each device has one const table of fields; from it come save, load, dump and
 * the round-trip test. A table names every field that the guest can see or that decides future
 * behaviour; what can be derived is derived in post_load. Structs are never written raw.
 * Stream form: for each device its name, table version, and each field little endian.
 */
#ifndef RHEA_CORE_STATE_H
#define RHEA_CORE_STATE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct StateTable StateTable;

typedef enum {
    STATE_BOOL,
    STATE_U8,
    STATE_U16,
    STATE_U32,
    STATE_U64,    /* also the signed ones, as two's complement */
    STATE_BYTES,  /* @count raw bytes */
    STATE_STRUCT, /* @count structs of @stride bytes, each by @table */
    STATE_TIMER,  /* struct Timer: its deadline */
    STATE_END,
} StateKind;

typedef struct StateField {
    const char *name;
    StateKind kind;
    uint32_t off;
    uint32_t count;  /* elements, 1 for a scalar */
    uint32_t stride; /* bytes from one element to the next */
    const StateTable *table;
} StateField;

struct StateTable {
    const char *name;
    unsigned version;
    const StateField *fields; /* ends with STATE_END */
    void (*pre_save)(void *obj);
    /* Check and derive. The stream is untrusted: return false (and set @err) for values that
     * would break an invariant (indexes, lengths). */
    bool (*post_load)(void *obj, GError **err);
};

#define STATE_FIELD_(S, f, K, T)                                                                   \
    {                                                                                              \
        .name = #f, .kind = K, .off = offsetof(S, f), .count = 1,                                  \
        .stride = sizeof(T) +                                                                      \
                  0 * sizeof(char[__builtin_types_compatible_p(typeof(((S *)0)->f), T) ? 1 : -1])  \
    }
#define STATE_ARRAY_(S, f, K, T)                                                                   \
    {                                                                                              \
        .name = #f, .kind = K, .off = offsetof(S, f), .count = sizeof(((S *)0)->f) / sizeof(T),    \
        .stride = sizeof(T)                                                                        \
    }
/* Scalars: S is the struct type, f the member. */
#define STATE_BOOL(S, f) STATE_FIELD_(S, f, STATE_BOOL, bool)
#define STATE_U8(S, f) STATE_FIELD_(S, f, STATE_U8, uint8_t)
#define STATE_U16(S, f) STATE_FIELD_(S, f, STATE_U16, uint16_t)
#define STATE_U32(S, f) STATE_FIELD_(S, f, STATE_U32, uint32_t)
#define STATE_U64(S, f) STATE_FIELD_(S, f, STATE_U64, uint64_t)
#define STATE_I32(S, f) STATE_FIELD_(S, f, STATE_U32, int32_t)
#define STATE_I64(S, f) STATE_FIELD_(S, f, STATE_U64, int64_t)
#define STATE_TIMER(S, f) STATE_FIELD_(S, f, STATE_TIMER, Timer)
/* Whole arrays, any number of dimensions. */
#define STATE_U8_ARRAY(S, f) STATE_ARRAY_(S, f, STATE_BYTES, uint8_t)
#define STATE_U16_ARRAY(S, f) STATE_ARRAY_(S, f, STATE_U16, uint16_t)
#define STATE_U32_ARRAY(S, f) STATE_ARRAY_(S, f, STATE_U32, uint32_t)
#define STATE_U64_ARRAY(S, f) STATE_ARRAY_(S, f, STATE_U64, uint64_t)
#define STATE_STRUCT_ARRAY(S, f, T, tab)                                                           \
    {                                                                                              \
        .name = #f, .kind = STATE_STRUCT, .off = offsetof(S, f),                                   \
        .count = sizeof(((S *)0)->f) / sizeof(T), .stride = sizeof(T), .table = (tab)              \
    }
#define STATE_END_FIELD                                                                            \
    {                                                                                              \
        .kind = STATE_END                                                                          \
    }

/* Append @obj's state to @out. */
void state_save(const StateTable *table, void *obj, GByteArray *out);
/* Read it back; *@pos moves over what was used. False and @err on a truncated, foreign or
 * impossible stream; @obj is then unspecified but safe to reset. */
bool state_load(const StateTable *table, void *obj, const uint8_t *data, size_t len, size_t *pos,
                GError **err);
/* One line a field, for people; caller frees. */
char *state_dump(const StateTable *table, const void *obj);

#endif
