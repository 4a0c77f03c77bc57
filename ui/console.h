/*
 * Consoles: what a display adapter draws and what displays (window, VNC, screendump) show.
 *
 * The device owns the contents: when a display asks (console_update), it renders into the surface
 * and says which rectangles changed. Machine lock.
 */
#ifndef RHEA_UI_CONSOLE_H
#define RHEA_UI_CONSOLE_H

#include "core/machine.h"
#include <pixman.h>
#include <stdbool.h>

#define CONSOLE_MAX_SIZE 16384

typedef struct Console Console;

/* The device's side. */
typedef struct ConsoleOps {
    /* Bring the surface up to date: console_resize() if the size changed, draw, console_dirty().
     * @full: draw everything. */
    void (*update)(void *opaque, bool full);
} ConsoleOps;

/* A display's side; members may be NULL. */
typedef struct ConsoleListener {
    void (*resized)(void *opaque, Console *c); /* the surface is another one */
    void (*dirty)(void *opaque, Console *c, int x, int y, int w, int h);
} ConsoleListener;

Console *console_new(Machine *m, const char *name, const ConsoleOps *ops, void *opaque);
void console_free(Console *c);
/* Surface of @w × @h, x8r8g8b8, black; does nothing when it has that size. False: out of range. */
bool console_resize(Console *c, int w, int h);
/* Part of the surface was drawn; clipped. */
void console_dirty(Console *c, int x, int y, int w, int h);
/* Pixels; @*stride in pixels. */
uint32_t *console_pixels(Console *c, int *stride);

/* The @i-th console, NULL behind the last. */
Console *console_get(Machine *m, unsigned i);
const char *console_name(const Console *c);
/* Owned by the console and valid until `resized`; displays take a reference to keep it. */
pixman_image_t *console_surface(Console *c);
int console_width(const Console *c);
int console_height(const Console *c);
/* Have the device draw what changed. */
void console_update(Console *c, bool full);
void console_add_listener(Console *c, const ConsoleListener *l, void *opaque);
void console_del_listener(Console *c, const ConsoleListener *l, void *opaque);

/* Write the current picture to @path as PPM. */
bool console_screendump(Console *c, const char *path, GError **err);

#endif
