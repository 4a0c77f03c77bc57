/*
 * Between the files of the VNC server. The main thread and the machine lock own everything but
 * VncEncoder and a running VncJob, which belong to the worker.
 */
#ifndef RHEA_UI_VNC_INTERNAL_H
#define RHEA_UI_VNC_INTERNAL_H

#include "core/clock.h"
#include "ui/console.h"
#include "ui/vnc.h"
#include <zlib.h>

enum { /* RFC 6143, 7.7 and 7.8, and the community's registry */
       VNC_ENC_RAW = 0,
       VNC_ENC_HEXTILE = 5,
       VNC_ENC_ZLIB = 6,
       VNC_ENC_TIGHT = 7,
       VNC_ENC_ZRLE = 16,
       VNC_ENC_DESKTOP_SIZE = -223,
       VNC_ENC_POINTER_TYPE = -257,
       VNC_ENC_EXT_KEY = -258,
       VNC_ENC_LED = -261,
       VNC_ENC_EXT_DESKTOP_SIZE = -308
};

enum { VNC_SHARE_ALLOW_EXCLUSIVE, VNC_SHARE_FORCE, VNC_SHARE_IGNORE };

#define VNC_MAX_CLIENTS 32
#define VNC_PIXEL_MAX 4 /* bytes */

/* How a client wants its pixels. */
typedef struct VncFormat {
    unsigned bytes, depth; /* bytes: 1, 2 or 4 */
    bool big_endian, true_colour;
    unsigned max[3], shift[3]; /* red, green, blue */
    uint32_t table[3][256];    /* channel → its bits, in the byte order of the client */
    int cpixel;                /* ZRLE: first of the 3 bytes that count, -1: all do */
    bool tpixel;               /* Tight: pixels are sent as R, G, B */
} VncFormat;

/* False: not a format that can be served. */
bool vnc_format_set(VncFormat *f, unsigned bpp, unsigned depth, bool big_endian, bool true_colour,
                    const unsigned max[3], const unsigned shift[3]);
void vnc_format_default(VncFormat *f);
/* Convert @n pixels to the client's bytes; returns behind the last. */
uint8_t *vnc_put_pixels(const VncFormat *f, uint8_t *dst, const uint32_t *src, unsigned n);

typedef struct VncRect {
    int x, y, w, h;
    const uint32_t *pixels; /* 0x00rrggbb, rows of w */
} VncRect;

typedef struct VncEncoder {
    z_stream zlib, zrle, tight[4];
    bool zlib_on, zrle_on, tight_on[4];
} VncEncoder;

typedef struct VncClient VncClient;

/* One update on its way to the wire. */
typedef struct VncJob {
    VncClient *client;
    VncEncoder *enc;
    VncFormat fmt;
    int encoding, level, quality; /* quality: -1 = lossless */
    uint32_t *pixels;
    GArray *rects; /* of VncRect */
    GByteArray *out;
    unsigned n_out; /* rectangles in @out */
} VncJob;

/* The worker's part: a whole FramebufferUpdate into job->out. */
void vnc_encode(VncJob *job);
void vnc_encoder_fini(VncEncoder *e);
/* Parts of it. */
void vnc_encode_tight(VncJob *job, const VncRect *r);
void vnc_encode_zrle(VncJob *job, const VncRect *r);
void vnc_rect_header(VncJob *job, int x, int y, int w, int h, int encoding);
/* Append @n bytes; the space is to be filled. */
uint8_t *vnc_grow(GByteArray *a, size_t n);
void vnc_put16(GByteArray *a, uint16_t v);
void vnc_put32(GByteArray *a, uint32_t v);
/* Compress @in to the end of @out. */
void vnc_deflate(GByteArray *out, z_stream *z, bool *on, int level, const uint8_t *in, size_t len);

#define VNC_PALETTE_MAX 256
typedef struct VncPalette {
    unsigned n;
    uint32_t colour[VNC_PALETTE_MAX];
    uint16_t slot[1024]; /* index + 1 */
} VncPalette;
/* The colours of @n pixels in order of their first use; false: more than @max. */
bool vnc_palette_fill(VncPalette *p, const VncRect *r, int x, int y, int w, int h, unsigned max);
unsigned vnc_palette_index(const VncPalette *p, uint32_t colour);

typedef enum {
    VNC_VERSION,
    VNC_SECURITY,
    VNC_RESPONSE,
    VNC_REFUSING, /* wrong password: the answer is being delayed */
    VNC_INIT,
    VNC_RUNNING
} VncState;

typedef struct VncKey {
    uint32_t sym;
    unsigned code;
} VncKey;

#define VNC_KEYS_HELD 32

struct VncClient {
    VncServer *s;
    int fd;
    bool dead, job_running, drop_when_sent;
    char *peer;
    GSource *in_src, *out_src;
    GByteArray *in, *out;
    size_t out_pos;
    uint64_t skip; /* bytes of a cut text still to be thrown away */
    VncState state;
    int minor; /* protocol 3.x */
    uint8_t challenge[16];
    Timer timer; /* handshake limit, delay of a refusal */
    VncFormat fmt;
    VncEncoder *enc;
    int encoding, level, quality;
    bool can_resize, can_resize_ext, can_ext_key, can_pointer_type, can_led;
    bool send_size, send_ext_key, send_pointer_type, send_led, send_map;
    int size_reason, size_status;
    unsigned leds;
    int w, h; /* what the client thinks the screen is */
    bool wants_update, abs;
    pixman_region32_t dirty;
    VncKey held[VNC_KEYS_HELD];
    unsigned n_held;
    bool shift, altgr;
    int last_x, last_y;
    unsigned buttons;
};

struct VncServer {
    VncServer *next;
    Machine *m;
    char *address, *unix_path, *password;
    bool ask_password, lossy;
    int share;
    int fds[4];
    GSource *srcs[4];
    unsigned n_fds;
    Console *con, *own_con; /* own: black, when the machine has none */
    uint32_t *shadow;       /* what clients are told, 0x00rrggbb */
    int w, h;
    GList *clients;
    GList *jobs;
    GThreadPool *pool;
    Timer refresh;
    int64_t interval; /* ns between looks at the console */
    bool changed;     /* since the last look */
    Keymap *keymap, *own_keymap;
    bool no_keymap;
};

/* vnc.c */
VncServer *vnc_server_new(Machine *m, Keymap *keymap);
void vnc_server_free(VncServer *s);
/* A client is connected on @fd (taken over). */
VncClient *vnc_server_add_client(VncServer *s, int fd, const char *peer);
/* A client waits for an update or did something: look at the console soon. */
void vnc_server_wake(VncServer *s, bool active);
const Keymap *vnc_server_keymap(VncServer *s);

/* vnc-client.c */
VncClient *vnc_client_new(VncServer *s, int fd, const char *peer);
/* Close the connection; frees unless a job has yet to come back. @why: for the log, may be NULL. */
void vnc_client_drop(VncClient *c, const char *why);
void vnc_client_write(VncClient *c, const void *buf, size_t len);
void vnc_client_flush(VncClient *c);
/* Send what the client waits for, if it can take it. */
void vnc_client_update(VncClient *c);
void vnc_client_job_done(VncJob *job);
void vnc_job_free(VncJob *job);
void vnc_client_release_keys(VncClient *c);

/* vnc-input.c */
void vnc_key_event(VncClient *c, uint32_t sym, unsigned xt_code, bool down);
void vnc_pointer_event(VncClient *c, unsigned mask, int x, int y);

/* vnc-auth.c: RFC 6143, 7.2.2. False: cannot be done in this build. */
bool vnc_auth_response(const char *password, const uint8_t challenge[16], uint8_t response[16]);

#endif
