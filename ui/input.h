/*
 * Keys and pointers from displays, the monitor and QMP to the emulated input devices.
 *
 * Key codes are Linux's KEY_* numbers (evdev), buttons are numbered from 0. Every event goes to
 * the handler of its kind that was activated last. Machine lock.
 */
#ifndef RHEA_UI_INPUT_H
#define RHEA_UI_INPUT_H

#include "core/machine.h"
#include <stdbool.h>

enum { /* what a handler takes */
       INPUT_KEYS = 1,
       INPUT_REL = 2, /* relative pointer: mouse */
       INPUT_ABS = 4  /* absolute pointer: tablet */
};

enum { BUTTON_LEFT, BUTTON_RIGHT, BUTTON_MIDDLE, BUTTON_SIDE, BUTTON_EXTRA, BUTTON_COUNT };

#define INPUT_ABS_MAX 32767

enum { INPUT_LED_SCROLL = 1, INPUT_LED_NUM = 2, INPUT_LED_CAPS = 4 };

typedef struct InputHandler {
    const char *name; /* as in `info mice` */
    unsigned kinds;
    void (*key)(void *opaque, unsigned code, bool down);
    void (*rel)(void *opaque, int dx, int dy);
    void (*abs)(void *opaque, int x, int y); /* 0…INPUT_ABS_MAX */
    void (*button)(void *opaque, unsigned button, bool down);
    void (*wheel)(void *opaque, int dz); /* > 0: towards the user (down) */
    /* After a group of pointer events. May be NULL. */
    void (*sync)(void *opaque);
} InputHandler;

typedef struct InputSlot InputSlot;

/* @h stays the caller's. The new handler is the active one of its kinds. */
InputSlot *input_add(Machine *m, const InputHandler *h, void *opaque);
void input_remove(InputSlot *slot);
void input_activate(InputSlot *slot);
/* The last one of its kinds from now on: its guest driver is gone, or not there yet. */
void input_deactivate(InputSlot *slot);
/* Handlers in order, the active one first; for `info mice`. */
char *input_info(Machine *m);
/* `mouse_set INDEX` by the number input_info() gives. */
bool input_select(Machine *m, unsigned index, GError **err);

void input_key(Machine *m, unsigned code, bool down);
void input_rel(Machine *m, int dx, int dy);
void input_abs(Machine *m, int x, int y);
void input_button(Machine *m, unsigned button, bool down);
void input_wheel(Machine *m, int dz);
void input_sync(Machine *m);
/* Does the active pointer take absolute positions? */
bool input_is_abs(Machine *m);

/* The keyboard tells what its LEDs show; displays may ask. */
void input_set_leds(Machine *m, unsigned leds);
unsigned input_leds(Machine *m);

/* Names as `sendkey` and QMP use them ("ret", "ctrl_r", "kp_add"); 0 / NULL = unknown. Numbers
 * in hex ("0x1c") are scan codes of set 1. */
unsigned input_key_code(const char *name);
const char *input_key_name(unsigned code);
/* The i-th name in the table, NULL at the end (tab completion). */
const char *input_key_name_at(unsigned i);
/* Press the keys of "ctrl-alt-delete" and let them go after @hold_ms. */
bool input_send_keys(Machine *m, const char *keys, unsigned hold_ms, GError **err);

/* Scan code of set 1 (0xe0xx: with prefix) of a key code; 0 = none. */
unsigned input_scancode1(unsigned code);

#endif
