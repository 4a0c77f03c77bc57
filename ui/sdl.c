/*
 * SDL 2 window; see sdl.h. Scan codes of SDL are those of USB HID usage page 7 (HID Usage Tables
 * 1.12, chapter 10).
 */
#include "ui/sdl.h"
#include "config.h"
#include "core/log.h"

#ifdef HAVE_SDL
#include "ui/console.h"
#include "ui/input.h"
#include <dlfcn.h>
#include <SDL.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libSDL2-2.0.so.0"
#define INTERVAL (NS_PER_SEC / 50)
#define INTERVAL_HIDDEN (NS_PER_SEC / 5)

/* clang-format off */
#define SDL_FUNCTIONS(F) \
    F(Init) \
    F(Quit) \
    F(GetError) \
    F(SetHint) \
    F(CreateWindow) \
    F(DestroyWindow) \
    F(SetWindowSize) \
    F(SetWindowTitle) \
    F(SetWindowFullscreen) \
    F(CreateRenderer) \
    F(DestroyRenderer) \
    F(CreateTexture) \
    F(DestroyTexture) \
    F(UpdateTexture) \
    F(RenderClear) \
    F(RenderCopy) \
    F(RenderPresent) \
    F(RenderSetLogicalSize) \
    F(PollEvent) \
    F(SetRelativeMouseMode) \
    F(SetWindowGrab) \
    F(GetCurrentVideoDriver)
/* clang-format on */

typedef struct SdlApi {
#define MEMBER(name) __typeof__(&SDL_##name) name;
    SDL_FUNCTIONS(MEMBER)
#undef MEMBER
} SdlApi;

typedef struct SdlDisplay {
    Machine *m;
    Console *con;
    void *lib;
    SdlApi api;
    SDL_Window *win;
    SDL_Renderer *ren;
    SDL_Texture *tex;
    Timer timer;
    bool full_screen, grabbed, hidden, window_close, redraw;
    bool down[256]; /* by key code: what the guest was told */
} SdlDisplay;

/* HID usage → Linux key code. */
static const uint8_t key_codes[256] = {
    [4] = 30,    48,          46,          32,          18,          33,          34,
    35,          23,          36,          37,          38,          50,          49,
    24,          25,          16,          19,          31,          20,          22,
    47,          17,          45,          21,          44,          2,           3,
    4,           5,           6,           7,           8,           9,           10,
    11,          28,          1,           14,          15,          57,          12,
    13,          26,          27,          43,          43,          39,          40,
    41,          51,          52,          53,          58,          59,          60,
    61,          62,          63,          64,          65,          66,          67,
    68,          87,          88,          99,          70,          119,         110,
    102,         104,         111,         107,         109,         106,         105,
    108,         103,         69,          98,          55,          74,          78,
    96,          79,          80,          81,          75,          76,          77,
    71,          72,          73,          82,          83,          86,          127,
    116,         117,         [127] = 113, [128] = 115, [129] = 114, [133] = 121, [135] = 89,
    [136] = 93,  [137] = 124, [138] = 92,  [139] = 94,  [224] = 29,  [225] = 42,  [226] = 56,
    [227] = 125, [228] = 97,  [229] = 54,  [230] = 100, [231] = 126,
};

/* ---- the picture ---- */

static void set_title(SdlDisplay *d)
{
    const char *name = d->m->cfg.name;
    g_autofree char *title =
        g_strdup_printf("Rhea%s%s%s%s", name ? " (" : "", name ? name : "", name ? ")" : "",
                        d->grabbed ? " - Press Ctrl-Alt-G to release the pointer" : "");

    d->api.SetWindowTitle(d->win, title);
}

static void on_resized(void *opaque, Console *con)
{
    SdlDisplay *d = opaque;
    int w = console_width(con), h = console_height(con);

    if (d->tex) {
        d->api.DestroyTexture(d->tex);
    }
    d->tex =
        d->api.CreateTexture(d->ren, SDL_PIXELFORMAT_RGB888, SDL_TEXTUREACCESS_STREAMING, w, h);
    if (!d->full_screen) {
        d->api.SetWindowSize(d->win, w, h);
    }
    d->api.RenderSetLogicalSize(d->ren, w, h);
    d->redraw = true;
}

static void on_dirty(void *opaque, Console *con, int x, int y, int w, int h)
{
    SdlDisplay *d = opaque;
    int stride;
    const uint32_t *p = console_pixels(con, &stride);
    SDL_Rect r = {x, y, w, h};

    if (d->tex) {
        d->api.UpdateTexture(d->tex, &r, p + (size_t)y * stride + x, stride * 4);
        d->redraw = true;
    }
}

static const ConsoleListener listener = {.resized = on_resized, .dirty = on_dirty};

static void set_grab(SdlDisplay *d, bool on)
{
    d->grabbed = on;
    d->api.SetRelativeMouseMode(on && !input_is_abs(d->m) ? SDL_TRUE : SDL_FALSE);
    d->api.SetWindowGrab(d->win, on ? SDL_TRUE : SDL_FALSE);
    set_title(d);
}

static void set_full_screen(SdlDisplay *d, bool on)
{
    d->full_screen = on;
    d->api.SetWindowFullscreen(d->win, on ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0);
    if (!on) {
        d->api.SetWindowSize(d->win, console_width(d->con), console_height(d->con));
    }
    set_grab(d, on);
    d->redraw = true;
}

/* ---- events ---- */

static void release_keys(SdlDisplay *d)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(d->down); i++) {
        if (d->down[i]) {
            d->down[i] = false;
            input_key(d->m, i, false);
        }
    }
}

/* Ctrl-Alt and a letter is ours. */
static bool own_key(SdlDisplay *d, const SDL_KeyboardEvent *k)
{
    if (!(k->keysym.mod & KMOD_LCTRL) || !(k->keysym.mod & KMOD_LALT)) {
        return false;
    }
    switch (k->keysym.scancode) {
    case SDL_SCANCODE_G:
        set_grab(d, !d->grabbed);
        break;
    case SDL_SCANCODE_F:
        set_full_screen(d, !d->full_screen);
        break;
    case SDL_SCANCODE_U:
        d->api.SetWindowSize(d->win, console_width(d->con), console_height(d->con));
        break;
    default:
        return false;
    }
    /* The guest must not be left with Ctrl and Alt held. */
    release_keys(d);
    return true;
}

static void on_key(SdlDisplay *d, const SDL_KeyboardEvent *k)
{
    bool down = k->type == SDL_KEYDOWN;
    unsigned code = k->keysym.scancode < 256 ? key_codes[k->keysym.scancode] : 0;

    if ((down && !k->repeat && own_key(d, k)) || !code || (!down && !d->down[code])) {
        return;
    }
    /* The keyboard repeats by itself. */
    if (!k->repeat) {
        d->down[code] = down;
        input_key(d->m, code, down);
    }
}

static void on_motion(SdlDisplay *d, const SDL_MouseMotionEvent *e)
{
    if (input_is_abs(d->m)) {
        int w = MAX(console_width(d->con) - 1, 1), h = MAX(console_height(d->con) - 1, 1);
        input_abs(d->m, e->x * INPUT_ABS_MAX / w, e->y * INPUT_ABS_MAX / h);
    } else if (d->grabbed) {
        input_rel(d->m, e->xrel, e->yrel);
    } else {
        return;
    }
    input_sync(d->m);
}

static void on_button(SdlDisplay *d, const SDL_MouseButtonEvent *e)
{
    static const int8_t buttons[] = {-1,           BUTTON_LEFT, BUTTON_MIDDLE,
                                     BUTTON_RIGHT, BUTTON_SIDE, BUTTON_EXTRA};

    if (!input_is_abs(d->m) && !d->grabbed) {
        if (e->type == SDL_MOUSEBUTTONDOWN && e->button == SDL_BUTTON_LEFT) {
            set_grab(d, true);
        }
        return;
    }
    if (e->button >= 1 && e->button < G_N_ELEMENTS(buttons)) {
        input_button(d->m, buttons[e->button], e->type == SDL_MOUSEBUTTONDOWN);
        input_sync(d->m);
    }
}

static void on_window(SdlDisplay *d, const SDL_WindowEvent *e)
{
    switch (e->event) {
    case SDL_WINDOWEVENT_FOCUS_LOST:
        release_keys(d);
        if (d->grabbed && !d->full_screen) {
            set_grab(d, false);
        }
        break;
    case SDL_WINDOWEVENT_HIDDEN:
    case SDL_WINDOWEVENT_MINIMIZED:
        d->hidden = true;
        break;
    case SDL_WINDOWEVENT_SHOWN:
    case SDL_WINDOWEVENT_RESTORED:
        d->hidden = false;
        break;
    default:
        break;
    }
    d->redraw = true;
}

static void on_event(SdlDisplay *d, const SDL_Event *e)
{
    switch (e->type) {
    case SDL_QUIT:
        if (d->window_close) {
            machine_request_shutdown(d->m, SHUTDOWN_HOST_QUIT);
        }
        break;
    case SDL_KEYDOWN:
    case SDL_KEYUP:
        on_key(d, &e->key);
        break;
    case SDL_MOUSEMOTION:
        on_motion(d, &e->motion);
        break;
    case SDL_MOUSEBUTTONDOWN:
    case SDL_MOUSEBUTTONUP:
        on_button(d, &e->button);
        break;
    case SDL_MOUSEWHEEL:
        if (e->wheel.y && (d->grabbed || input_is_abs(d->m))) {
            input_wheel(d->m, -e->wheel.y);
            input_sync(d->m);
        }
        break;
    case SDL_RENDER_TARGETS_RESET:
    case SDL_RENDER_DEVICE_RESET:
        on_resized(d, d->con);
        console_update(d->con, true);
        break;
    case SDL_WINDOWEVENT:
        on_window(d, &e->window);
        break;
    default:
        break;
    }
}

static void on_tick(void *opaque)
{
    SdlDisplay *d = opaque;
    SDL_Event e;

    while (d->api.PollEvent(&e)) {
        on_event(d, &e);
    }
    if (!d->hidden) {
        console_update(d->con, false);
        if (d->redraw && d->tex) {
            d->redraw = false;
            d->api.RenderClear(d->ren);
            d->api.RenderCopy(d->ren, d->tex, NULL, NULL);
            d->api.RenderPresent(d->ren);
        }
    }
    timer_set(&d->timer, clock_now(d->m->mono_clock) + (d->hidden ? INTERVAL_HIDDEN : INTERVAL));
}

/* ---- life ---- */

static bool open_library(SdlDisplay *d, GError **err)
{
    d->lib = dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL);
    if (!d->lib) {
        return fail(err, "no window can be opened: %s is missing (package libsdl2-2.0-0)", LIBRARY);
    }
#define LOAD(name)                                                                                 \
    *(void **)&d->api.name = dlsym(d->lib, "SDL_" #name);                                          \
    if (!d->api.name) {                                                                            \
        return fail(err, "no window can be opened: %s has no SDL_%s", LIBRARY, #name);             \
    }
    SDL_FUNCTIONS(LOAD)
#undef LOAD
    return true;
}

static bool open_window(SdlDisplay *d, GError **err)
{
    SdlApi *a = &d->api;
    Uint32 flags = SDL_WINDOW_RESIZABLE;

    a->SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1");
    a->SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "1");
    a->SetHint(SDL_HINT_GRAB_KEYBOARD, "1");
    if (a->Init(SDL_INIT_VIDEO) < 0) {
        return fail(err, "no window can be opened: %s", a->GetError());
    }
    /* Drivers that show nothing are for those who name them. */
    const char *driver = a->GetCurrentVideoDriver();
    if (!getenv("SDL_VIDEODRIVER") &&
        (!driver || !strcmp(driver, "dummy") || !strcmp(driver, "offscreen"))) {
        return fail(err, "no window can be opened: there is no screen ($DISPLAY is not set)");
    }
    d->win = a->CreateWindow("Rhea", SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED,
                             console_width(d->con), console_height(d->con), flags);
    d->ren = d->win ? a->CreateRenderer(d->win, -1, 0) : NULL;
    if (!d->ren && d->win) {
        d->ren = a->CreateRenderer(d->win, -1, SDL_RENDERER_SOFTWARE);
    }
    return d->ren || fail(err, "no window can be opened: %s", a->GetError());
}

static void close_all(SdlDisplay *d)
{
    if (d->tex) {
        d->api.DestroyTexture(d->tex);
    }
    if (d->ren) {
        d->api.DestroyRenderer(d->ren);
    }
    if (d->win) {
        d->api.DestroyWindow(d->win);
    }
    if (d->api.Quit) {
        d->api.Quit();
    }
    /* The library stays open: what it loaded in turn does not like to be unloaded. */
    g_free(d);
}

bool sdl_start(Machine *m, const SdlOptions *opts, GError **err)
{
    Console *con = console_get(m, 0);

    if (!con) {
        return fail(err, "-display sdl: the machine has no graphics adapter");
    }
    SdlDisplay *d = g_new0(SdlDisplay, 1);
    d->m = m;
    d->con = con;
    d->window_close = opts->window_close;
    if (!open_library(d, err) || !open_window(d, err)) {
        close_all(d);
        return false;
    }
    m->sdl = d;
    console_add_listener(con, &listener, d);
    on_resized(d, con);
    if (opts->full_screen) {
        set_full_screen(d, true);
    }
    set_title(d);
    console_update(con, true);
    timer_init(&d->timer, m->mono_clock, on_tick, d);
    timer_set(&d->timer, clock_now(m->mono_clock));
    return true;
}

void sdl_cleanup(Machine *m)
{
    SdlDisplay *d = m->sdl;

    if (d) {
        timer_del(&d->timer);
        console_del_listener(d->con, &listener, d);
        m->sdl = NULL;
        close_all(d);
    }
}

#else

bool sdl_start(Machine *m, const SdlOptions *opts, GError **err)
{
    return fail(err, "-display sdl: this program was built without SDL");
}

void sdl_cleanup(Machine *m)
{
}

#endif
