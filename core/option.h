/*
 * Option lists as users type them: "key=value,key2=v,,with,,commas". A first item without "=" is
 * the value of the implied key, if there is one; a later one means key=on, and "nokey" means
 * key=off (old spelling). Every key must be read by somebody: options_check_used() names the one
 * that was not.
 */
#ifndef RHEA_CORE_OPTION_H
#define RHEA_CORE_OPTION_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Options Options;

/* @what: the option's name for messages ("-drive"). NULL and @err on malformed text. */
Options *options_parse(const char *what, const char *text, const char *implied_key, GError **err);
Options *options_new(const char *what);
void options_free(Options *o);
const char *options_what(const Options *o);
/* Append or replace; copies. */
void options_set(Options *o, const char *key, const char *value);
/* The last value given for @key, or NULL; marks it as used. Valid until the next set or free. */
const char *options_get(Options *o, const char *key);
bool options_has(const Options *o, const char *key); /* does not mark */
/* Typed: *@out is unchanged if the key is absent; false and a sentence if malformed. */
bool options_get_bool(Options *o, const char *key, bool *out, GError **err);
bool options_get_uint(Options *o, const char *key, uint64_t max, uint64_t *out, GError **err);
/* @unit: what a number without a suffix counts in (1 or 1 MiB). */
bool options_get_size(Options *o, const char *key, uint64_t unit, uint64_t *out, GError **err);
/* In the order given. @fn may not change @o. */
void options_foreach(Options *o, void (*fn)(const char *key, const char *value, void *arg),
                     void *arg);
void options_mark_used(Options *o, const char *key);
/* false and a sentence that names the first key nobody asked for. */
bool options_check_used(const Options *o, GError **err);

/* Scalars. @what names the option in the message. */
bool parse_bool(const char *what, const char *text, bool *out, GError **err);
bool parse_uint(const char *what, const char *text, uint64_t max, uint64_t *out, GError **err);
/* "128", "1.5G", "64k", "0x100000": suffix b k M G T P E (powers of 1024), default @unit. */
bool parse_size(const char *what, const char *text, uint64_t unit, uint64_t *out, GError **err);

#endif
