/*
 * X key symbols to Linux key codes, for displays that get symbols only. The layouts are those of
 * the host's xkb data.
 */
#ifndef RHEA_UI_KEYMAP_H
#define RHEA_UI_KEYMAP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Keymap Keymap;

/* @layout as after -k: "de", "fr-ch", "en-us", "us(dvorak)"; NULL: "us". */
Keymap *keymap_new(const char *layout, GError **err);
void keymap_free(Keymap *k);
/* Key code that gives @keysym, 0 if none. With @shift and @altgr as held now if there is a choice.
 */
unsigned keymap_code(const Keymap *k, uint32_t keysym, bool shift, bool altgr);

#endif
