/*
 * PS/2 keyboard and mouse, as parts of the board that has the ports (i8042).
 */
#ifndef RHEA_HW_PS2_H
#define RHEA_HW_PS2_H

#include "core/clock.h"
#include "core/machine.h"
#include "core/state.h"
#include "ui/input.h"

#define PS2_QUEUE 256 /* power of two */

/* Bytes on their way to the host. */
typedef struct Ps2Queue {
    uint8_t data[PS2_QUEUE];
    uint8_t head;
    uint16_t count;
    uint8_t last; /* for RESEND */
} Ps2Queue;

typedef struct Ps2Device {
    void (*ready)(void *opaque); /* there is something to read */
    void *opaque;
    Clock *clock;
    Machine *machine;
    InputSlot *slot;
    Ps2Queue q;
} Ps2Device;

typedef struct Ps2Kbd {
    Ps2Device d;
    uint8_t cmd; /* that waits for its argument, 0 = none */
    bool scanning;
    uint8_t leds, rate, set; /* set: 1…3 */
    uint8_t key_type[256];   /* of set 3 codes: KEY_* in ps2.c */
    uint8_t down[32];        /* a bit a key code */
    uint16_t repeat_key;     /* 0 = none */
    Timer repeat;
} Ps2Kbd;

typedef struct Ps2Mouse {
    Ps2Device d;
    uint8_t cmd;
    bool wrap, remote, reporting, scaling21;
    uint8_t resolution, rate, id; /* id: 0, 3 or 4 */
    uint8_t knock;                /* steps of the rate sequence that unlocks the wheel */
    uint8_t buttons, sent_buttons;
    int32_t dx, dy, dz; /* not reported yet; y upwards */
    Timer sample;
} Ps2Mouse;

extern const StateTable ps2_kbd_state, ps2_mouse_state;

/* @m: for input routing and LEDs; may be NULL in tests. */
void ps2_kbd_init(Ps2Kbd *k, Machine *m, Clock *clock, void (*ready)(void *), void *opaque);
void ps2_kbd_fini(Ps2Kbd *k);
void ps2_kbd_reset(Ps2Kbd *k); /* power on */
void ps2_kbd_write(Ps2Kbd *k, uint8_t val);
/* A key by its Linux code; what the input router calls. */
void ps2_kbd_key(Ps2Kbd *k, unsigned code, bool down);

void ps2_mouse_init(Ps2Mouse *s, Machine *m, Clock *clock, void (*ready)(void *), void *opaque);
void ps2_mouse_fini(Ps2Mouse *s);
void ps2_mouse_reset(Ps2Mouse *s);
void ps2_mouse_write(Ps2Mouse *s, uint8_t val);
void ps2_mouse_move(Ps2Mouse *s, int dx, int dy, int dz);
void ps2_mouse_button(Ps2Mouse *s, unsigned button, bool down);

bool ps2_has_data(const Ps2Device *d);
uint8_t ps2_read(Ps2Device *d); /* next byte; the last one again when there is none */

#endif
