/* Displays; see displays.h. */
#include "system/displays.h"
#include "config.h"
#include "core/log.h"
#include "core/option.h"
#include "ui/console.h"
#include "ui/sdl.h"
#include "ui/vnc.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without -display and where no window can be: the first free of these. */
#define DEFAULT_VNC "localhost:0,to=99"

bool displays_show_help(const SystemConfig *c)
{
    if (!c->display || (strcmp(c->display, "help") && strcmp(c->display, "?"))) {
        return false;
    }
    puts("Displays:\nnone");
#ifdef HAVE_SDL
    puts("sdl[,full-screen=on|off][,window-close=on|off]");
#endif
    puts("vnc=[HOST]:N|unix:PATH[,to=L][,share=allow-exclusive|force-shared|ignore]"
         "[,password=on][,lossy=on]");
    return true;
}

static bool open_sdl(Machine *m, const SystemConfig *c, GError **err)
{
    SdlOptions opts = {.full_screen = c->full_screen, .window_close = true};
    Options *o = options_parse("-display", c->display ? c->display : "sdl", "type", err);
    bool ok = o != NULL;

    if (o) {
        options_get(o, "type");
        ok = options_get_bool(o, "full-screen", &opts.full_screen, err) &&
             options_get_bool(o, "window-close", &opts.window_close, err) &&
             options_check_used(o, err);
    }
    options_free(o);
    return ok && sdl_start(m, &opts, err);
}

/* A window where there is a screen, else VNC. */
static bool open_default(Machine *m, const SystemConfig *c, Keymap *keymap, GError **err)
{
    g_autoptr(GError) why = NULL;

    if ((getenv("DISPLAY") || getenv("WAYLAND_DISPLAY")) && open_sdl(m, c, &why)) {
        return true;
    }
    if (why) {
        warn_report("%s", why->message);
    }
    if (!vnc_start(m, DEFAULT_VNC, keymap, err)) {
        return false;
    }
    info_report("the screen is at VNC %s (-display lists other ways)", vnc_address(m));
    return true;
}

bool displays_open(Machine *m, const SystemConfig *c, GError **err)
{
    const char *d = c->display;
    Keymap *keymap = NULL;

    if (c->keyboard) {
        keymap = keymap_new(c->keyboard, err);
        if (!keymap) {
            return false;
        }
        m->keymap = keymap;
    }
    for (guint i = 0; i < c->vncs->len; i++) {
        if (!vnc_start(m, c->vncs->pdata[i], keymap, err)) {
            return false;
        }
    }
    if (!d) {
        bool wanted = console_get(m, 0) && !c->m.nographic && !c->vncs->len;
        return !wanted || open_default(m, c, keymap, err);
    }
    if (g_str_has_prefix(d, "vnc=")) {
        return vnc_start(m, d + 4, keymap, err);
    }
    if (!strcmp(d, "sdl") || g_str_has_prefix(d, "sdl,")) {
        return open_sdl(m, c, err);
    }
    return !strcmp(d, "none") ||
           fail(err, "-display: there is no display '%s'; -display help lists all", d);
}

void displays_close(Machine *m)
{
    vnc_cleanup(m);
    sdl_cleanup(m);
    keymap_free(m->keymap);
    m->keymap = NULL;
}
