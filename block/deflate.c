/* Deflate by ISA-L or zlib; see deflate.h. */
#include "block/deflate.h"
#include "config.h"
#include <glib.h>
#ifdef HAVE_ISAL
#include <isa-l.h>

#define LEVEL 3
#define LEVEL_BYTES ISAL_DEF_LVL3_DEFAULT

size_t block_deflate(const uint8_t *data, size_t len, uint8_t *out, size_t room, unsigned window,
                     bool zlib)
{
    g_autofree struct isal_zstream *s = g_try_new(struct isal_zstream, 1);
    g_autofree uint8_t *work = g_try_malloc(LEVEL_BYTES);

    if (!s || !work || len > UINT32_MAX || room > UINT32_MAX) {
        return 0;
    }
    isal_deflate_init(s);
    s->level = LEVEL;
    s->level_buf = work;
    s->level_buf_size = LEVEL_BYTES;
    s->hist_bits = (uint16_t)window;
    s->gzip_flag = zlib ? IGZIP_ZLIB : IGZIP_DEFLATE;
    s->end_of_stream = 1;
    s->flush = NO_FLUSH;
    s->next_in = (uint8_t *)data;
    s->avail_in = (uint32_t)len;
    s->next_out = out;
    s->avail_out = (uint32_t)room;
    if (isal_deflate(s) != COMP_OK || s->internal_state.state != ZSTATE_END) {
        return 0;
    }
    return s->total_out;
}
#else
#include <zlib.h>

size_t block_deflate(const uint8_t *data, size_t len, uint8_t *out, size_t room, unsigned window,
                     bool zlib)
{
    z_stream z = {
        .next_in = (Bytef *)data, .avail_in = (uInt)len, .next_out = out, .avail_out = (uInt)room};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, zlib ? (int)window : -(int)window, 9,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        return 0;
    }
    int ret = deflate(&z, Z_FINISH);
    deflateEnd(&z);
    return ret == Z_STREAM_END ? room - z.avail_out : 0;
}
#endif
