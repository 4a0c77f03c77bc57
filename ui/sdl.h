/*
 * A window on the first console, by SDL 2. The library is opened when the first window is wanted.
 */
#ifndef RHEA_UI_SDL_H
#define RHEA_UI_SDL_H

#include "core/machine.h"
#include <glib.h>
#include <stdbool.h>

typedef struct SdlOptions {
    bool full_screen;
    bool window_close; /* closing the window ends the program */
} SdlOptions;

/* Main thread, machine lock (or before vCPUs run). False: no library, no screen, no console. */
bool sdl_start(Machine *m, const SdlOptions *opts, GError **err);
/* Without a window it does nothing. */
void sdl_cleanup(Machine *m);

#endif
