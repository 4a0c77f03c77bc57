/* The key table: Linux key code, names, and scan codes of the three sets (0xe0xx: prefixed). */
#ifndef RHEA_UI_KEYS_H
#define RHEA_UI_KEYS_H

#include <stdint.h>

enum { /* Linux key codes that are treated specially */
       KEYCODE_LEFTCTRL = 29,
       KEYCODE_LEFTSHIFT = 42,
       KEYCODE_RIGHTSHIFT = 54,
       KEYCODE_LEFTALT = 56,
       KEYCODE_RIGHTCTRL = 97,
       KEYCODE_SYSRQ = 99,
       KEYCODE_RIGHTALT = 100,
       KEYCODE_PAUSE = 119
};

typedef struct KeyInfo {
    uint16_t code;
    const char *name, *alias;
    uint16_t set1, set2;
    uint8_t set3;
} KeyInfo;

extern const KeyInfo key_table[]; /* ends with .code == 0 */
const KeyInfo *key_find(unsigned code);

#endif
