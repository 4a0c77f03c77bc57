/*
 * EDID base block.
 * VESA Enhanced Extended Display Identification Data Standard, release A revision 2 (EDID 1.4);
 * VESA Coordinated Video Timings 1.2, reduced blanking version 1.
 */
#include "hw/display/edid.h"
#include "core/log.h"
#include <string.h>

#define REFRESH 60
#define H_BLANK 160 /* CVT reduced blanking: pixels */
#define H_FRONT 48
#define H_SYNC 32
#define V_FRONT 3 /* lines */
#define V_BACK_MIN 6
#define V_BLANK_MIN_NS 460000 /* at least so long */
#define MAX_CLOCK 65535       /* of 10 kHz */

enum { DESC_NAME = 0xfc, DESC_RANGE = 0xfd, DESC_DUMMY = 0x10 };

typedef struct Timing {
    unsigned v_blank, v_sync, clock; /* lines, lines, 10 kHz */
} Timing;

/* CVT codes the aspect ratio in the width of the vertical synchronisation. */
static unsigned sync_lines(unsigned w, unsigned h)
{
    static const struct {
        uint8_t x, y, lines;
    } ratios[] = {{4, 3, 4}, {16, 9, 5}, {16, 10, 6}, {5, 4, 7}, {15, 9, 7}};

    for (unsigned i = 0; i < G_N_ELEMENTS(ratios); i++) {
        if (w * ratios[i].y == h * ratios[i].x) {
            return ratios[i].lines;
        }
    }
    return 10;
}

static void make_timing(unsigned w, unsigned h, Timing *t)
{
    uint64_t line_ns = (1000000000 / REFRESH - V_BLANK_MIN_NS) / h;

    t->v_sync = sync_lines(w, h);
    t->v_blank = MAX(V_BLANK_MIN_NS / line_ns + 1, V_FRONT + t->v_sync + V_BACK_MIN);
    t->clock = (uint64_t)(w + H_BLANK) * (h + t->v_blank) * REFRESH / 10000;
}

static void put_timing(uint8_t *d, unsigned w, unsigned h, const Timing *t, unsigned w_mm,
                       unsigned h_mm)
{
    d[0] = t->clock;
    d[1] = t->clock >> 8;
    d[2] = w;
    d[3] = H_BLANK;
    d[4] = w >> 8 << 4 | H_BLANK >> 8;
    d[5] = h;
    d[6] = t->v_blank;
    d[7] = h >> 8 << 4 | t->v_blank >> 8;
    d[8] = H_FRONT;
    d[9] = H_SYNC;
    d[10] = V_FRONT << 4 | (t->v_sync & 15);
    d[11] = t->v_sync >> 4;
    d[12] = w_mm;
    d[13] = h_mm;
    d[14] = w_mm >> 8 << 4 | h_mm >> 8;
    d[17] = 0x1a; /* digital separate synchronisation, horizontal positive */
}

/* Text is ended by a line feed and padded with blanks. */
static void put_descriptor(uint8_t *d, uint8_t tag, const char *text)
{
    d[3] = tag;
    memset(d + 5, ' ', 13);
    d[5 + strlen(text)] = '\n';
    memcpy(d + 5, text, strlen(text));
}

static void put_standard_timings(uint8_t *e, unsigned w, unsigned h)
{
    static const struct {
        uint16_t w, h;
        uint8_t aspect;
    } modes[] = {{1920, 1200, 0}, {1920, 1080, 3}, {1680, 1050, 0}, {1600, 1200, 1}, {1440, 900, 0},
                 {1280, 1024, 2}, {1280, 960, 1},  {1280, 720, 3},  {1152, 864, 1}};
    unsigned n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(modes) && n < 8; i++) {
        if (modes[i].w <= w && modes[i].h <= h) {
            e[38 + n * 2] = modes[i].w / 8 - 31;
            e[39 + n * 2] = modes[i].aspect << 6 | (REFRESH - 60);
            n++;
        }
    }
    for (; n < 8; n++) {
        e[38 + n * 2] = e[39 + n * 2] = 1;
    }
}

bool edid_make(uint8_t e[EDID_SIZE], unsigned w, unsigned h, GError **err)
{
    static const uint8_t head[8] = {0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00};
    static const uint8_t srgb[10] = {0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54};
    Timing t;

    if (w < 640 || h < 480 || w > 4095 || h > 4095) {
        return fail(err, "A screen of %ux%u: the smallest is 640x480, the largest 4095x4095", w, h);
    }
    make_timing(w, h, &t);
    if (t.clock > MAX_CLOCK) {
        return fail(err, "A screen of %ux%u needs a pixel clock of %u MHz; EDID ends at 655", w, h,
                    t.clock / 100);
    }
    unsigned w_mm = w * 254 / 1000, h_mm = h * 254 / 1000; /* 100 dots an inch */
    memset(e, 0, EDID_SIZE);
    memcpy(e, head, 8);
    unsigned vendor = ('R' - '@') << 10 | ('H' - '@') << 5 | ('E' - '@');
    e[8] = vendor >> 8;
    e[9] = vendor;
    e[10] = 0x11;
    e[11] = 0x11;
    e[16] = 1; /* week and year of manufacture */
    e[17] = 2026 - 1990;
    e[18] = 1;
    e[19] = 4;
    e[20] = 0xa0; /* digital, 8 bits a colour */
    e[21] = (w_mm + 5) / 10;
    e[22] = (h_mm + 5) / 10;
    e[23] = 120;  /* gamma 2.2 */
    e[24] = 0x06; /* sRGB; the first timing is the native one */
    memcpy(e + 25, srgb, 10);
    e[35] = 0x20 | (w >= 800 && h >= 600); /* 640x480, 800x600 at 60 Hz */
    e[36] = w >= 1024 && h >= 768 ? 0x08 : 0;
    put_standard_timings(e, w, h);
    put_timing(e + 54, w, h, &t, w_mm, h_mm);
    put_descriptor(e + 72, DESC_NAME, "Rhea screen");
    /* 50–75 Hz, 30–160 kHz, 660 MHz; no timing formula beyond these */
    static const uint8_t range[7] = {50, 75, 30, 160, 66, 0x01, '\n'};
    put_descriptor(e + 90, DESC_RANGE, "");
    memcpy(e + 95, range, sizeof(range));
    e[108 + 3] = DESC_DUMMY;
    uint8_t sum = 0;
    for (unsigned i = 0; i < EDID_SIZE - 1; i++) {
        sum += e[i];
    }
    e[127] = -sum;
    return true;
}
